"""``hwsim calibrate``: measure this machine and write a machine file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from hwsim.cli.options import console_of, output_option, print_written, write
from hwsim.errors import InputError
from hwsim.files import check_target

if TYPE_CHECKING:
    from rich.console import Console

    from hwsim.calibration import Calibration

__all__ = ["calibrate"]


def _print(calibration: Calibration, console: Console) -> None:
    from rich.table import Table

    host = calibration.host
    table = Table(title=f"{host.processor}, {host.cores} cores, {host.system}", title_justify="left")
    table.add_column("measured")
    for name in ("best", "median deviation", "interquartile range"):
        table.add_column(name, justify="right", no_wrap=True)
    for number in calibration.numbers:
        style = "bold" if number.key else None
        table.add_row(number.what, number.text, f"{number.spread:.1%}", f"{number.quartiles:.1%}", style=style)
    console.print(table)
    for note in calibration.notes:
        console.print(f"note: {note}")


@click.command()
@output_option(
    "-o",
    "--output",
    help="Output file, '-' for standard output (default: host.yaml, with --device cuda: cuda.yaml).",
)
@click.option(
    "--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Device to measure."
)
@click.option("--quick", is_flag=True, help="Fewer repetitions: seconds instead of half a minute, with larger spread.")
@click.option(
    "--runtime",
    type=click.Choice(["onnxruntime", "none"]),
    help="Also fit the overheads of an inference library to single operators (default: onnxruntime if installed).",
)
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="Number of threads (default: one per core).")
@click.option(
    "--through",
    type=click.Choice(["torch", "cupy"]),
    help="With --device cuda: library that runs the kernels (default: torch if installed, else cupy).",
)
@output_option("--record", help="With --device cuda: also write every timing to a file.")
@click.option(
    "--replay", metavar="FILE", help="With --device cuda: read the timings from such a file instead of measuring."
)
def calibrate(
    output: str | None,
    device: str,
    quick: bool,
    runtime: str | None,
    threads: int | None,
    through: Literal["torch", "cupy"] | None,
    record: str | None,
    replay: str | None,
) -> None:
    """Measure this machine and write it as a machine file.

    Micro-benchmarks measure the clock, instruction rates and latencies per data type, loads and stores, bandwidth and
    latency of each cache and of DRAM, with one thread and with all, thread start and barriers. Each number is the best
    of many repetitions and is printed with their spread; disturbances are reported. HWSIM_ISA=portable or avx2
    restricts the instruction set.

    If onnxruntime is installed, single operators run through it, and the overheads of its kernels (call, reorder,
    thread start, ...) are fitted: ten numbers for int8 and ten for fp32, marked as fitted.

    With --device cuda it measures the first CUDA device: GEMMs in each data type, L2 and DRAM copies and reads, empty
    kernels, in CUDA graphs if the library supports them. At most four constants of the generation are fitted.

    The names 'host' and 'cuda' stand for ./host.yaml and ./cuda.yaml in every other command.

    \b
    Examples:
      hwsim calibrate
      hwsim calibrate --device cuda --record h100_run.yaml
      hwsim run host resnet50_v1 --set threads=1
      hwsim compare host MODEL.onnx --measure onnxruntime
    """
    of_cuda = {"--through": through, "--record": record, "--replay": replay}
    of_cpu = {"--runtime": runtime, "--threads": threads}
    conflicts = [name for name, value in (of_cpu if device == "cuda" else of_cuda).items() if value is not None]
    if conflicts:
        raise InputError(f"{', '.join(conflicts)} must be left out with --device {device}")
    output = output or ("cuda.yaml" if device == "cuda" else "host.yaml")
    if output != "-":
        check_target(Path(output))
    if device == "cuda":
        from hwsim.cli.cuda import calibrate_cuda

        calibrate_cuda(output, quick, through, replay, record)
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from hwsim.calibration import (
        calibrate as measure,
        cold_seconds,
        filter_seconds,
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

        def tell(what: str, count: int, total: int) -> None:
            bar.update(task, description=what, completed=count, total=total)

        calibration, fit = measure(threads, quick, tell), None
        if runtime != "none":
            samples = measured_operators(calibration.threads, quick, tell)
            alone = operator_seconds(quick), cold_seconds(quick), filter_seconds(quick)
            fit = fit_library(machine_text(calibration), samples, *alone)
    write(machine_text(calibration, fit), output)
    console = console_of(error=output == "-")
    _print(calibration, console)
    if fit is None:
        console.print("note: the overheads of the inference library were not measured; those of its library file apply")
    else:
        for line in fit.lines():
            console.print(line)
    if output != "-":
        print_written(console, [output])
