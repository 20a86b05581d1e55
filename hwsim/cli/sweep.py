"""``hwsim sweep``: a space of designs, simulated and kept."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hwsim.cli.options import console_of, write
from hwsim.errors import InputError

if TYPE_CHECKING:
    from hwsim.sweeps.runner import Estimate
    from hwsim.sweeps.sweep import Sweep

__all__ = ["sweep"]

_TOLD_EVERY_S = 10.0


@click.command()
@click.argument("file", metavar="SWEEP.yaml")
@click.option("-o", "--out", "folder", metavar="DIR", help="Folder of the store and the tables; made where it is not.")
@click.option("--workers", type=int, metavar="N", help="Processes; all cores unless told.")
@click.option("--cluster", metavar="ADDRESS", help="Use the workers of a Dask scheduler, as tcp://host:8786.")
@click.option("--shard", metavar="K/N", help="Only the K-th of N parts, for a job array; run without it to join them.")
@click.option("--parquet", is_flag=True, help="Write the table as Parquet too.")
@click.option("--html", "html_file", metavar="FILE", help="Write a page with the front, charts and tables.")
@click.option("--dry-run", is_flag=True, help="Check the file, tell the number of points and the time, and stop.")
def sweep(
    file: str,
    folder: str | None,
    workers: int | None,
    cluster: str | None,
    shard: str | None,
    parquet: bool,
    html_file: str | None,
    dry_run: bool,
) -> None:
    """Simulate every point of SWEEP.yaml, and write them to DIR.

    Kill it whenever you like: the same command goes on, and no finished point is simulated again.

    \b
    Examples:
      hwsim sweep sizes.yaml --dry-run
      hwsim sweep sizes.yaml -o results
      hwsim sweep sizes.yaml -o results --shard $SLURM_ARRAY_TASK_ID/100

    \b
    A Dask cluster on Slurm, and a sweep on it:
      sbatch --wrap 'dask scheduler --scheduler-file dask.json'
      sbatch --array 1-16 --wrap 'dask worker --scheduler-file dask.json --nthreads 1'
      hwsim sweep sizes.yaml -o results --cluster "$(jq -r .address dask.json)"
    """
    from hwsim.sweeps.sweep import Sweep, shard_of

    if folder is None and not dry_run:
        raise InputError("-o must name a folder for the results, as -o results")
    if workers is not None and cluster is not None:
        raise InputError("--workers and --cluster must not be given together: a cluster has its own workers")
    part = shard_of(shard) if shard is not None else None
    begun = Sweep.start(
        file, folder=None if dry_run else Path(str(folder)), workers=workers, cluster=cluster, shard=part
    )
    with begun.runner:
        estimate = begun.estimate()
        _announce(begun, estimate)
        if dry_run:
            return
        try:
            _run(begun, estimate)
        except KeyboardInterrupt:
            click.echo(f"\nhwsim: stopped; finished points are in {folder}. The same command goes on.", err=True)
            raise SystemExit(130) from None
    written = begun.write(Path(str(folder)), parquet)
    if html_file:
        write(begun.page(), html_file)
        written.append(Path(html_file))
    from hwsim.sweeps.summary import print_summary

    console = console_of()
    print_summary(begun.space, begun.frame(everything=True), console)
    console.print()
    console.print("written: " + ", ".join(map(str, written)), soft_wrap=True)


def _announce(begun: Sweep, estimate: Estimate) -> None:
    from hwsim.sweeps.summary import duration

    where = "process" if begun.runner.cluster is None else "thread"
    where += "es"[where == "thread" :] if begun.runner.workers > 1 else ""
    where += " of the cluster" if begun.runner.cluster is not None else ""
    told = f"{begun.space.name}: {estimate.points:,} points"
    if begun.space.size > estimate.points:
        told += f" of {begun.space.size:,}"
    if estimate.stored:
        told += f", {estimate.stored:,} finished before"
    if estimate.seconds:
        told += f"; about {duration(estimate.seconds)} on {begun.runner.workers} {where}"
    click.echo(told, err=True)


def _run(begun: Sweep, estimate: Estimate) -> None:
    """Run with a bar where there is a terminal, with a line now and then where there is none."""
    if not sys.stderr.isatty():
        begun.run(_Lines(len(begun.numbers), estimate.stored))
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn(compact=True),
    )  # fmt: skip
    with Progress(*columns, console=console_of(error=True), transient=True, speed_estimate_period=10) as progress:
        task = progress.add_task("", total=len(begun.numbers), completed=estimate.stored, rate="")

        def tell(done: int) -> None:
            speed = progress.tasks[0].speed
            progress.update(task, completed=done, rate=f"{speed:,.0f}/s" if speed else "")

        begun.run(tell)


class _Lines:
    """Tells how far a sweep is, every ten seconds."""

    def __init__(self, total: int, stored: int) -> None:
        self.total, self.stored = total, stored
        self.start = self.last = time.monotonic()

    def __call__(self, done: int) -> None:
        from hwsim.sweeps.summary import duration

        now = time.monotonic()
        if now - self.last < _TOLD_EVERY_S or done <= self.stored:
            return
        self.last = now
        rate = (done - self.stored) / (now - self.start)
        left = duration((self.total - done) / rate)
        click.echo(f"{done:,} of {self.total:,} points, {rate:,.0f}/s, about {left} left", err=True)
