"""``hwsim compare MACHINE MODEL.onnx --measure RUNTIME``: the prediction against a measurement on this host."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence

from hwsim.cli.options import console_of, write
from hwsim.errors import InputError

__all__ = ["compare_with_runtime"]


def compare_with_runtime(
    items: Sequence[str],
    runtime: str,
    threads: int,
    batch: int,
    runs: int | None,
    changes: Mapping[str, object],
    shape: Mapping[str, int | Sequence[int]] | None = None,
    json_file: str | None = None,
    device: str = "cpu",
    csv_file: str | None = None,
) -> None:
    """Predict the model on the machine, measure it on this host, and print both.

    Raises
    ------
    InputError
        If the items are not one machine and one ``.onnx`` file, or the model cannot run.
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    import hwsim
    from hwsim.calibration.measure import compare_measured, print_measured

    models = [item for item in items if item.lower().endswith(".onnx")]
    machines = [item for item in items if item not in models]
    if len(models) != 1 or len(machines) != 1:
        raise InputError(f"--measure takes one MACHINE and one MODEL.onnx, not {' '.join(items)}")
    machine = hwsim.load_machine(machines[0], set=dict(changes))
    columns = TextColumn("{task.description:<24}"), BarColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console_of(error=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("", total=None)

        def tell(what: str, count: int, total: int) -> None:
            bar.update(task, description=what, completed=count, total=total)

        comparison = compare_measured(machine, models[0], runtime, threads, batch, runs, tell, shape, device)
    if json_file:
        write(json.dumps(comparison.document(), indent=1) + "\n", json_file)
    if csv_file:
        write(comparison.to_csv(), csv_file)
    if "-" not in (json_file, csv_file):
        print_measured(comparison, console_of())
