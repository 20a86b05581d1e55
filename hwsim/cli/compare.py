"""``hwsim compare``: machines and networks side by side."""

from __future__ import annotations

import re
from itertools import product
from typing import TYPE_CHECKING

import click

from hwsim.cli.completion import items
from hwsim.cli.options import batch_option, changes_of, console_of, layers_option, set_option, write
from hwsim.errors import HwsimError, InputError

if TYPE_CHECKING:
    from hwsim.machines import Machine
    from hwsim.report.beside import Entry
    from hwsim.workload import Workload

__all__ = ["compare"]

_MOST = 64


def _machine(item: str, changes: dict[str, object]) -> tuple[str, Machine]:
    """A machine with its label, from ``NAME+KEY=VALUE+KEY=VALUE``; its own changes go over those for all."""
    import hwsim

    name, *own = re.split(r"\+(?=[A-Za-z_][\w.-]*=)", item)
    machine = hwsim.load_machine(name, set=changes | changes_of(tuple(own)))
    # The last two names of a key say what it is: memories.glb.size is glb.size.
    told = [re.sub(r"^(?:[^=]*\.)?([^.=]*\.[^.=]*=)", r"\1", change) for change in own]
    return ", ".join([machine.name, *told]), machine


def _entries(
    machines: list[tuple[str, Machine]], workloads: list[Workload], saved: list[Entry], batch: int
) -> list[Entry]:
    import hwsim
    from hwsim.report.beside import Entry, entry_of

    found = list(saved)
    faults: list[HwsimError] = []
    for workload, (label, machine) in product(workloads, machines):
        try:
            found.append(entry_of(hwsim.simulate(machine, workload, batch=batch), label))
        except HwsimError as error:
            faults.append(error)
            found.append(Entry(label, workload.name, error="; ".join(str(error).splitlines()[:3])))
    if faults and len(faults) == len(found):
        raise faults[0]
    return found


@click.command()
@click.argument("given", metavar="ITEM...", nargs=-1, required=True, shell_complete=items)
@batch_option
@set_option
@layers_option
@click.option("--json", "json_file", metavar="FILE", help="Write everything as JSON ('-': standard output).")
@click.option("--csv", "csv_file", metavar="FILE", help="Write the layers of all runs as CSV ('-': standard output).")
@click.option("--html", "html_file", metavar="FILE", help="Write a page with charts, one file for any browser.")
def compare(
    given: tuple[str, ...],
    batch: int,
    changes: tuple[str, ...],
    layers: str | None,
    json_file: str | None,
    csv_file: str | None,
    html_file: str | None,
) -> None:
    """Compare runs: every machine among the ITEMs with every workload among them, the first being the base.

    An ITEM is a machine or workload by name or path, or a report that 'hwsim run --json FILE' wrote. A machine may
    carry changes of its own, as eyeriss_v1+clocks.core='250 MHz'; --set changes all of them.

    \b
    Examples:
      hwsim compare nucleo_l4r5zi stm32h7a3 kws
      hwsim compare systolic_ws systolic_os mobilenet_v2_1.0_224 --html compare.html
      hwsim compare eyeriss_v1 eyeriss_v1+memories.glb.size='54 KiB' alexnet --batch 4 --layers 'conv*'
    """
    import hwsim
    from hwsim.report.beside import beside, read_entry
    from hwsim.report.catalogue import kind_of

    wanted: dict[str, list[str]] = {"machine": [], "workload": [], "report": []}
    for item in given:
        wanted[kind_of(re.split(r"\+(?=[A-Za-z_][\w.-]*=)", item)[0])].append(item)
    for here, missing in (("machine", "workload"), ("workload", "machine")):
        if wanted[here] and not wanted[missing]:
            raise InputError(f"a {missing} must be among what is compared too; see hwsim list {missing}s")
    runs = len(wanted["machine"]) * len(wanted["workload"]) + len(wanted["report"])
    if not 2 <= runs <= _MOST:
        raise InputError(f"2 to {_MOST} runs must be compared, not {runs}; add a machine, a workload or a saved report")
    shared = changes_of(changes)
    machines = [_machine(item, shared) for item in wanted["machine"]]
    workloads = [hwsim.load_workload(name) for name in wanted["workload"]]
    if layers:
        workloads = [workload.select(layers) for workload in workloads]
    found = beside(_entries(machines, workloads, [read_entry(path) for path in wanted["report"]], batch))
    if json_file:
        write(found.to_json(), json_file)
    if csv_file:
        write(found.to_csv(), csv_file)
    if html_file:
        write(found.to_html(), html_file)
    if "-" not in (json_file, csv_file, html_file):
        from hwsim.report.beside_table import print_side_by_side

        print_side_by_side(found, console_of())
