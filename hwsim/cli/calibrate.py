"""``hwsim calibrate``: the machine in front of you as a machine file."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from hwsim.cli.options import console_of, write

if TYPE_CHECKING:
    from rich.console import Console

    from hwsim.calibration import Calibration

__all__ = ["calibrate"]


def _print(found: Calibration, console: Console) -> None:
    from rich.table import Table

    host = found.host
    table = Table(title=f"{host.processor}, {host.cores} cores, {host.system}", title_justify="left")
    table.add_column("measured")
    for name in ("best", "median off", "quartiles apart"):
        table.add_column(name, justify="right", no_wrap=True)
    for number in found.numbers:
        style = "bold" if number.key else None
        table.add_row(number.what, number.text, f"{number.spread:.1%}", f"{number.quartiles:.1%}", style=style)
    console.print(table)
    for note in found.notes:
        console.print(f"note: {note}")


@click.command()
@click.option("-o", "--output", default="host.yaml", show_default=True, metavar="FILE", help="'-': standard output.")
@click.option("--quick", is_flag=True, help="Fewer repeats: seconds instead of half a minute, and wider spreads.")
@click.option(
    "--runtime",
    type=click.Choice(["onnxruntime", "none"]),
    help="Fit the costs of an inference library to single operators too; onnxruntime where it is installed.",
)
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="Threads at most; one a core unless told.")
def calibrate(output: str, quick: bool, runtime: str | None, threads: int | None) -> None:
    """Measure this machine with micro-benchmarks, and write it as a machine file.

    Clock, instruction rates and latencies by number type, loads and stores, bandwidth and latency of each cache and of
    memory, one thread and all, thread start and barriers. Each number is the best of many repeats and carries how far
    they lie apart; what disturbed them is told. HWSIM_ISA=portable or avx2 measures less.

    Where onnxruntime is installed, single operators run through it, and the costs of its kernels (call, reorder, start
    of threads, ...) are fitted to them: ten numbers for int8 and for fp32, marked as fitted.

    The name 'host' stands for ./host.yaml in every other command.

    \b
    Examples:
      hwsim calibrate
      hwsim run host resnet50_v1 --set threads=1
      hwsim compare host MODEL.onnx --measure onnxruntime
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from hwsim.calibration import calibrate as measure
    from hwsim.calibration import (
        cold_seconds,
        fit_library,
        machine_text,
        measured_operators,
        missing_runtime,
        operator_seconds,
    )

    if runtime is None:
        runtime = "none" if missing_runtime() else "onnxruntime"
    columns = TextColumn("{task.description:<34}"), BarColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console_of(error=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("", total=None)

        def tell(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        found, fitted = measure(threads, quick, tell), None
        if runtime != "none":
            samples = measured_operators(found.threads, quick, tell)
            fitted = fit_library(machine_text(found), samples, operator_seconds(quick), cold_seconds(quick))
    write(machine_text(found, fitted), output)
    console = console_of(error=output == "-")
    _print(found, console)
    if fitted is None:
        console.print("note: costs of the inference library were not measured: they are those of its own file")
    else:
        for line in fitted.lines():
            console.print(line)
    if output != "-":
        click.echo(f"written to {output}")
