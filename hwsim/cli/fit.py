"""``hwsim fit``: which boards a network fits, and by how much it does not fit the others."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from hwsim.cli.options import changes_of, console_of, network_of, output_option, set_option, shape_option, write
from hwsim.files import csv_text

if TYPE_CHECKING:
    from rich.console import Console

    from hwsim.machines import MemoryUse
    from hwsim.scenario.fit import Fit

__all__ = ["fit"]

_REASON = 60


@click.command()
@click.argument("workload")
@click.argument("patterns", metavar="[BOARD]...", nargs=-1)
@set_option
@shape_option
@click.option("--every", default="1 min", show_default=True, metavar="TIME", help="Time between two inferences.")
@click.option("--battery", default="CR2032", show_default=True, metavar="NAME", help="As CR2032 or '1000 mAh 3.7 V'.")
@output_option("--json", "json_file", help="Write the rows as JSON ('-': standard output).")
@output_option("--csv", "csv_file", help="Write the rows as CSV ('-': standard output).")
def fit(
    workload: str, patterns: tuple[str, ...], changes: tuple[str, ...], shapes: tuple[str, ...], every: str,
    battery: str, json_file: str | None, csv_file: str | None,
) -> None:  # fmt: skip
    """List the boards that a network fits, by latency, and by how much it does not fit the others.

    Boards are microcontrollers, neural processors, and phones and boards of application cores: all that 'hwsim list'
    has, or those that match a BOARD, a name or a quoted pattern. --set applies to each that has the key.

    \b
    Examples:
      hwsim fit vww
      hwsim fit mobilenet_v1_1.0_224 'arduino*' atmega328p
      hwsim fit model.tflite --every '10 s' --battery 2xAA
      hwsim fit mobilenet_v1_1.0_224 --set precision=fp32 --csv boards.csv
    """
    from fnmatch import fnmatchcase

    from hwsim.machines import load_machine
    from hwsim.scenario.fit import board_names, fits

    network, names = network_of(workload, shapes), board_names()
    if patterns:
        chosen = [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]
        others = [p for p in patterns if not any(fnmatchcase(name, p) for name in names)]
        names = [*chosen, *others]  # paths, and names that load_machine refuses with the nearest one
    machines = [load_machine(name, set=changes_of(changes)) for name in names]
    rows = fits(network, machines, every, battery)
    if json_file:
        write(json.dumps([row.to_dict() for row in rows], indent=1) + "\n", json_file)
    if csv_file:
        import pandas as pd

        write(csv_text(pd.DataFrame([row.to_dict() for row in rows])), csv_file)
    if "-" not in (json_file, csv_file):
        _print(rows, every, battery, console_of())
    if not any(row.fits for row in rows):
        raise SystemExit(1)


def _of(use: MemoryUse | None) -> str:
    from hwsim.units import format_size

    return "" if use is None else f"{format_size(use.need_bytes)} of {format_size(use.size_bytes)}"


def _verdict(row: Fit) -> str:
    from hwsim.units import format_size

    if row.refusal:
        text = row.refusal
        return text if len(text) <= _REASON else text[: _REASON - 3] + "..."
    if row.fits:
        return "fits"
    times = f"{row.times_too_large:.3g}" if row.times_too_large < 1000 else f"{row.times_too_large:,.0f}"
    return f"lacks {format_size(row.short_bytes)} ({times} x)"


def _life(row: Fit) -> str:
    from hwsim.report.quantity import span

    cycle = row.cycle
    if cycle is None:
        return "" if row.latency_s is None else "unknown"
    if cycle.missed:
        return "too slow"
    return "unknown" if cycle.life_s is None else span(cycle.life_s)


def _print(rows: list[Fit], every: str, battery: str, console: Console) -> None:
    from hwsim.report.quantity import energy
    from hwsim.report.terminal import Column, print_columns
    from hwsim.report.uncertainty import percent
    from hwsim.units import format_si

    errors = [
        "" if row.error is None else f"{percent(row.error.error)}{'' if row.error.measured else ' or worse'}"
        for row in rows
    ]
    columns = [
        Column("board", [row.machine.name for row in rows]),
        Column("flash", [_of(row.flash) for row in rows], right=True),
        Column("RAM", [_of(row.ram) for row in rows], right=True),
        Column("latency", ["" if row.latency_s is None else format_si(row.latency_s, "s") for row in rows], right=True),
        Column("error", errors, right=True),
        Column("energy", ["unknown" if row.energy_pj is None else energy(row.energy_pj) for row in rows], right=True),
        Column("battery life", [_life(row) for row in rows], right=True),
        Column("", [_verdict(row) for row in rows]),
    ]
    print_columns(console, columns)
    good = sum(row.fits for row in rows)
    console.print(f"\nfits {good} of {len(rows)} boards; the latency of others is as if it fitted")
    console.print(f"battery life: {battery}, an inference every {every}")
