"""``hwsim sweep``: a space of designs, simulated and kept."""

from __future__ import annotations

import sys
import textwrap
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
            _run(begun)
        except KeyboardInterrupt:
            click.echo(f"\nhwsim: stopped; finished points are in {folder}. The same command goes on.", err=True)
            raise SystemExit(130) from None
    if begun.runner.deaths:
        click.echo(f"workers died {begun.runner.deaths} times; what they had begun was begun again", err=True)
    written = begun.write(Path(str(folder)), parquet)
    if html_file:
        write(begun.page(), html_file)
        written.append(Path(html_file))
    from hwsim.sweeps.summary import print_summary

    console = console_of()
    print_summary(begun.space, begun.frame(everything=True), console)
    console.print()
    for note in begun.notes():
        for line in textwrap.wrap(note, 100, subsequent_indent="  "):
            click.echo(line)
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


class _Pace:
    """How fast points are simulated; those that the store had do not count."""

    def __init__(self, begun: Sweep) -> None:
        self.runner, self.total = begun.runner, len(begun.numbers)
        self.before, self.start = begun.runner.simulated, time.monotonic()

    def __call__(self, done: int) -> tuple[str, str]:
        """The rate and the time that is left, as words; nothing while there is nothing to go by."""
        from hwsim.sweeps.summary import duration

        simulated, took = self.runner.simulated - self.before, time.monotonic() - self.start
        if not simulated or took < 0.2:
            return "", ""
        rate = simulated / took
        return f"{rate:,.0f}/s" if rate >= 1 else f"{60 * rate:,.0f}/min", duration((self.total - done) / rate)


def _run(begun: Sweep) -> None:
    """Run with a bar where there is a terminal, with a line now and then where there is none."""
    pace = _Pace(begun)
    if not sys.stderr.isatty():
        last = time.monotonic()

        def tell(done: int) -> None:
            nonlocal last
            if time.monotonic() - last >= _TOLD_EVERY_S:
                last = time.monotonic()
                rate, left = pace(done)
                told = f", {rate}, about {left} left" if rate else ""
                click.echo(f"{done:,} of {pace.total:,} points{told}", err=True)

        begun.run(tell)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TextColumn("{task.fields[left]}"))
    with Progress(*columns, console=console_of(error=True), transient=True) as progress:
        task = progress.add_task("", total=pace.total, rate="", left="")

        def show(done: int) -> None:
            rate, left = pace(done)
            progress.update(task, completed=done, rate=rate, left=f"{left} left" if left else "")

        begun.run(show)
