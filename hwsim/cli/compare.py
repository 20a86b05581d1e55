"""``hwsim compare``: comparison of machines and networks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING

import click

from hwsim.cli.completion import items
from hwsim.cli.options import (
    allows_missing,
    batch_option,
    changes_of,
    console_of,
    html_option,
    json_option,
    layers_option,
    output_option,
    set_option,
    shape_option,
    shapes_of,
    simulate,
    write,
)
from hwsim.errors import HwsimError, InputError, excerpt, nearest
from hwsim.files import csv_text

if TYPE_CHECKING:
    from hwsim.machines import Machine
    from hwsim.report.groups import Entry
    from hwsim.workload import Workload

__all__ = ["OWN", "compare"]

_MOST = 64
OWN = re.compile(r'\+(?=[A-Za-z_][\w."-]*=)')
"""Between the name of a machine and its overrides in ``NAME+KEY=VALUE``."""
_LABEL = re.compile(r'^(?:[^=]*\.)?((?:"[^"]*"|[^.="]*)\.(?:"[^"]*"|[^.="]*)=)')
"""Start of an override in ``NAME+KEY=VALUE``."""


def _machine(item: str, changes: dict[str, object]) -> tuple[str, Machine]:
    """A machine with its label, from ``NAME+KEY=VALUE+KEY=VALUE``; its own overrides take precedence."""
    import hwsim

    name, *own = OWN.split(item)
    machine = hwsim.load_machine(name, set=changes | changes_of(tuple(own)))
    # A label has the last two names of a key: memories.glb.size is glb.size.
    overrides = [_LABEL.sub(r"\1", change) for change in own]
    return ", ".join([machine.name, *overrides]), machine


def _by_algorithm(item: str, shared: dict[str, object], names: str) -> list[tuple[str, Machine]]:
    """The machine once for each algorithm of convolutions: those of a list, or all that it has."""
    asked = [name.strip() for name in names.split(",")]
    if names == "all":
        _, machine = _machine(item, shared)
        asked = [*machine.algorithms(), "auto"]
        if len(asked) == 2:
            raise InputError(f"--algorithm all must come with machines that have more than one; {machine.why_direct()}")
    return [_machine(f"{item}+algorithm={name}", shared) for name in asked]


def _expanded(arguments: Sequence[str]) -> list[str]:
    """The items, with each pattern replaced by what it matches and is not there already."""
    from hwsim.report.catalogue import matches

    items: list[str] = []
    for argument in arguments:
        name, *own = OWN.split(argument)
        if set("*?[").isdisjoint(name):
            items.append(argument)
            continue
        found = ["+".join((match, *own)) for match in matches(name)]
        items += [item for item in found if item not in arguments and item not in items]
    return items


def _entries(
    machines: list[tuple[str, Machine]],
    workloads: list[Workload],
    reports: list[Entry],
    batch: int,
    layers: str | None,
    every: str | None,
    battery: str | None,
) -> list[Entry]:
    from hwsim.report.groups import Entry, entry_of
    from hwsim.scenario import duty_cycle

    entries = list(reports)
    faults: list[HwsimError] = []
    for workload, (label, machine) in product(workloads, machines):
        try:
            plan = machine.plan(workload, batch)
            report = simulate(plan.select(layers) if layers else plan)
            entries.append(entry_of(report, label, duty_cycle(report, every, battery) if every else None))
        except HwsimError as error:
            faults.append(error)
            entries.append(Entry(label, workload.name, error="; ".join(str(error).splitlines()[:3])))
    if faults and len(faults) == len(entries):
        raise faults[0]
    return entries


def _with_accuracies(entries: list[Entry], accuracies: tuple[str, ...]) -> list[Entry]:
    """The entries with the accuracy of their networks."""
    from dataclasses import replace

    names = {entry.workload for entry in entries}
    given: dict[str, float] = {}
    for text in accuracies:
        name, _, value = text.rpartition("=")
        try:
            percent = float(value.removesuffix("%"))
        except ValueError:
            percent = -1.0
        if not name or not 0 <= percent <= 100:
            raise InputError(f"--accuracy must be WORKLOAD=PERCENT, as ic=85.3, not {excerpt(text)}")
        if name not in names:
            raise InputError(
                f"--accuracy must name a workload of the comparison, not {excerpt(name)}{nearest(name, names)}"
            )
        given[name] = percent
    return [replace(entry, accuracy=given.get(entry.workload), run_on=entry.label) for entry in entries]


@click.command()
@click.argument("arguments", metavar="ITEM...", nargs=-1, required=True, shell_complete=items)
@batch_option
@set_option
@layers_option
@shape_option
@click.option("--every", metavar="TIME", help="Duty cycle of each board with one inference per period, as '1 s'.")
@click.option(
    "--battery", metavar="NAME", help="With --every: battery life of each board, as CR2032 or '1000 mAh 3.7 V'."
)
@click.option(
    "--accuracy",
    "accuracies",
    multiple=True,
    metavar="WORKLOAD=PERCENT",
    help="Accuracy of a network, as of a student and its teacher; may be repeated.",
)
@click.option(
    "--measure",
    type=click.Choice(["onnxruntime"]),
    help="Measure MODEL.onnx on this machine too.",
)
@click.option(
    "--algorithm",
    metavar="all|NAME,...",
    help="Each machine once for each of these algorithms of convolutions, as direct,winograd-2x2.",
)
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="With --measure: threads per operator.")
@click.option(
    "--device", type=click.Choice(["cpu", "cuda"]), help="With --measure: device that runs the model (default: cpu)."
)
@click.option(
    "--runs",
    type=click.IntRange(min=1),
    metavar="N",
    help="With --measure: number of runs (default: ten seconds).",
)
@json_option
@output_option("--csv", "csv_file", help="Write a row per run as CSV; with --measure, per layer.")
@output_option("--layer-csv", help="Write the layers of all runs as CSV ('-': standard output).")
@html_option
def compare(
    arguments: tuple[str, ...],
    batch: int,
    changes: tuple[str, ...],
    layers: str | None,
    shapes: tuple[str, ...],
    every: str | None,
    battery: str | None,
    accuracies: tuple[str, ...],
    measure: str | None,
    algorithm: str | None,
    threads: int | None,
    device: str | None,
    runs: int | None,
    json_file: str | None,
    csv_file: str | None,
    layer_csv: str | None,
    html_file: str | None,
) -> None:
    """Compare every machine on every workload among the ITEMs. The first run is the baseline.

    An ITEM is a machine or workload by name, path or quoted pattern ('stm32*'), or a report that 'hwsim run --json
    FILE' wrote. A machine may have its own overrides, as eyeriss_v1+clocks.core='250 MHz'; --set applies to all of
    them.

    \b
    Examples:
      hwsim compare nucleo_l4r5zi stm32h7a3 kws
      hwsim compare 'stm32*' kws --set library=tflm-cmsis-nn-2021 --csv boards.csv
      hwsim compare nucleo_l4r5zi stm32u575 kws --every '10 s' --battery 2xAA
      hwsim compare systolic_ws systolic_os mobilenet_v2_1.0_224 --html compare.html
      hwsim compare eyeriss_v1 eyeriss_v1+memories.glb.size='54 KiB' alexnet --batch 4 --layers 'conv*'
      hwsim compare nvdla_2048 resnet50_v1 --algorithm all
      hwsim compare nucleo_l4r5zi ic_large ic --accuracy ic_large=87 --accuracy ic=85
      hwsim compare host mobilenet.onnx --measure onnxruntime --threads 2
      hwsim compare cuda mobilenet.onnx --measure onnxruntime --device cuda
    """
    if measure is not None:
        from hwsim.cli.runtime import compare_with_runtime

        conflicts: dict[str, object] = {"--html": html_file, "--layers": layers, "--layer-csv": layer_csv}
        conflicts |= {"--every": every, "--battery": battery, "--accuracy": accuracies, "--algorithm": algorithm}
        if names := [name for name, value in conflicts.items() if value]:
            raise InputError(f"{', '.join(names)} must be left out with --measure, which writes --json and --csv")
        if device == "cuda" and threads:
            raise InputError("--threads must be left out with --device cuda")
        sizes = shapes_of(shapes)
        compare_with_runtime(
            arguments,
            measure,
            threads or 1,
            batch,
            runs,
            changes_of(changes),
            sizes,
            json_file,
            device or "cpu",
            csv_file,
        )
        return
    if threads or runs or device:
        raise InputError(
            "--threads, --device and --runs must come with --measure; a machine's threads are --set threads=N"
        )
    if battery and every is None:
        raise InputError("--battery must come with --every, as --every '1 s'")
    import hwsim
    from hwsim.report.catalogue import kind_of
    from hwsim.report.comparison import Comparison
    from hwsim.report.groups import read_entry

    names_of: dict[str, list[str]] = {"machine": [], "workload": [], "report": []}
    for item in _expanded(arguments):
        if (kind := kind_of(OWN.split(item)[0])) not in names_of:
            what = "language model (see hwsim llm)" if kind == "llm" else kind
            raise InputError(f"the ITEMs must be machines, workloads or saved reports, not the {what} {item!r}")
        names_of[kind].append(item)
    for here, missing in (("machine", "workload"), ("workload", "machine")):
        if names_of[here] and not names_of[missing]:
            raise InputError(f"the ITEMs must include a {missing}; see hwsim list {missing}s")
    shared = changes_of(changes)
    machines = [
        entry
        for item in names_of["machine"]
        for entry in (_by_algorithm(item, shared, algorithm) if algorithm else [_machine(item, shared)])
    ]
    pairs = len(machines) * len(names_of["workload"]) + len(names_of["report"])
    if not 2 <= pairs <= _MOST:
        raise InputError(
            f"2 to {_MOST} runs must be compared, not {pairs}; add a machine, a workload or a saved report"
        )
    sizes = shapes_of(shapes)
    workloads = [
        hwsim.load_workload(
            name,
            shape=sizes if name.lower().endswith((".onnx", ".tflite")) else None,
            allow_missing=allows_missing(),
        )
        for name in names_of["workload"]
    ]
    reports = [read_entry(path) for path in names_of["report"]]
    entries = _entries(machines, workloads, reports, batch, layers, every, battery)
    comparison = Comparison.of(_with_accuracies(entries, accuracies))
    if json_file:
        write(comparison.to_json(), json_file)
    if csv_file:
        write(comparison.to_csv(), csv_file)
    if layer_csv:
        write(csv_text(comparison.layers), layer_csv)
    if html_file:
        write(comparison.to_html(), html_file)
    if "-" not in (json_file, csv_file, layer_csv, html_file):
        from hwsim.report.comparison_table import print_comparison

        print_comparison(comparison, console_of())
