"""``hwsim sweep``: simulate a design space and store the results."""

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

_INTERVAL_S = 10.0


@click.command()
@click.argument("file", metavar="SWEEP.yaml")
@click.option("-o", "--out", "folder", metavar="DIR", help="Output folder; created if missing.")
@click.option("--workers", type=int, metavar="N", help="Number of worker processes (default: all cores).")
@click.option("--cluster", metavar="ADDRESS", help="Use the workers of a Dask scheduler, as tcp://host:8786.")
@click.option("--shard", metavar="K/N", help="Simulate part K of N; a run without --shard merges the parts.")
@click.option("--parquet", is_flag=True, help="Also write the table as Parquet.")
@click.option("--html", "html_file", metavar="FILE", help="Write an HTML page with the front, charts and tables.")
@click.option("--dry-run", is_flag=True, help="Check the file, print the number of points and a time estimate.")
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
    """Simulate every point of SWEEP.yaml and write the results to DIR.

    An interrupted sweep resumes with the same command; finished points are not simulated again.

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
            click.echo(f"\nhwsim: stopped; finished points are in {folder}. Repeat the command to resume.", err=True)
            raise SystemExit(130) from None
    if begun.runner.deaths:
        click.echo(f"workers died {begun.runner.deaths} times; their points were simulated again", err=True)
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
    from hwsim.report.quantity import counted
    from hwsim.sweeps.summary import duration

    where = "process" if begun.runner.cluster is None else "thread"
    where += "es"[where == "thread" :] if begun.runner.workers > 1 else ""
    where += " of the cluster" if begun.runner.cluster is not None else ""
    line = f"{begun.space.name}: {counted(estimate.points, 'point')}"
    if begun.space.size > estimate.points:
        line += f" of {begun.space.size:,}"
    if estimate.stored:
        line += f", {estimate.stored:,} already finished"
    if estimate.seconds:
        line += f"; about {duration(estimate.seconds)} on {begun.runner.workers} {where}"
    click.echo(line, err=True)


class _Pace:
    """Simulation rate, without the points that were in the store."""

    def __init__(self, begun: Sweep) -> None:
        self.runner, self.total = begun.runner, len(begun.numbers)
        self.before, self.start = begun.runner.simulated, time.monotonic()

    def __call__(self, done: int) -> tuple[str, str]:
        """The rate and the remaining time as text; empty before the first point."""
        from hwsim.sweeps.summary import duration

        simulated, took = self.runner.simulated - self.before, time.monotonic() - self.start
        if not simulated or took < 0.2:
            return "", ""
        rate = simulated / took
        return f"{rate:,.0f}/s" if rate >= 1 else f"{60 * rate:,.0f}/min", duration((self.total - done) / rate)


def _run(begun: Sweep) -> None:
    """Run with a progress bar on a terminal, else with a line every ten seconds."""
    pace = _Pace(begun)
    if not sys.stderr.isatty():
        last = time.monotonic()

        def tell(done: int) -> None:
            nonlocal last
            if time.monotonic() - last >= _INTERVAL_S:
                last = time.monotonic()
                rate, left = pace(done)
                speed = f", {rate}, about {left} left" if rate else ""
                click.echo(f"{done:,} of {pace.total:,} points{speed}", err=True)

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
