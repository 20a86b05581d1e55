"""``hwsim sweep``: simulate a design space and store the results."""

from __future__ import annotations

import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hwsim.cli.options import check_page, console_of, output_option, print_written, write
from hwsim.errors import InputError, one_line

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
@click.option(
    "--salvage", "damaged", metavar="FILE", help="Take the results of a damaged store whose checksums hold, then run."
)
@click.option("--parquet", is_flag=True, help="Also write the table as Parquet.")
@output_option("--html", "html_file", help="Write an HTML page with the front, charts and tables.")
@click.option("--dry-run", is_flag=True, help="Check the file, print the number of points and a time estimate.")
def sweep(
    file: str,
    folder: str | None,
    workers: int | None,
    cluster: str | None,
    shard: str | None,
    damaged: str | None,
    parquet: bool,
    html_file: str | None,
    dry_run: bool,
) -> None:
    """Simulate every point of SWEEP.yaml. The results are written to DIR.

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

    if not (folder or dry_run):
        raise InputError("-o must name a folder for the results, as -o results")
    if workers is not None and cluster is not None:
        raise InputError("--workers and --cluster must not be given together: a cluster has its own workers")
    part = shard_of(shard) if shard is not None else None
    sweep_run = Sweep.start(
        file,
        folder=None if dry_run else Path(str(folder)),
        workers=workers,
        cluster=cluster,
        shard=part,
        damaged=None if damaged is None else Path(damaged),
    )
    with sweep_run.runner:
        check_page(html_file, folder, sweep_run.tables(Path(folder), parquet) if folder else ())
        if damaged is not None:
            count, points = sweep_run.salvaged, len(sweep_run.numbers)
            click.echo(
                f"{one_line(damaged)}: {count:,} sound results of {points:,} points; the rest is simulated", err=True
            )
        estimate = sweep_run.estimate()
        _announce(sweep_run, estimate)
        if dry_run:
            return
        try:
            _run(sweep_run)
        except KeyboardInterrupt:
            where = one_line(folder)
            click.echo(f"\nhwsim: stopped; finished points are in {where}. Repeat the command to resume.", err=True)
            raise SystemExit(130) from None
    if sweep_run.runner.deaths:
        click.echo(f"workers died {sweep_run.runner.deaths} times; their points were simulated again", err=True)
    files = sweep_run.write(Path(str(folder)), parquet)
    if html_file:
        write(sweep_run.page(), html_file)
        files.append(Path(html_file))
    from hwsim.sweeps.summary import print_summary

    console = console_of()
    print_summary(sweep_run.space, sweep_run.frame(everything=True), console)
    console.print()
    for note in sweep_run.notes():
        for line in textwrap.wrap(str(note), 100, subsequent_indent="  "):
            click.echo(line)
    print_written(console, files)


def _announce(sweep_run: Sweep, estimate: Estimate) -> None:
    from hwsim.report.quantity import counted
    from hwsim.sweeps.summary import duration

    where = "process" if sweep_run.runner.cluster is None else "thread"
    where += "es"[where == "thread" :] if sweep_run.runner.workers > 1 else ""
    where += " of the cluster" if sweep_run.runner.cluster is not None else ""
    line = f"{sweep_run.space.name}: {counted(estimate.points, 'point')}"
    if sweep_run.space.size > estimate.points:
        line += f" of {sweep_run.space.size:,}"
    if estimate.cache_hits:
        line += f", {estimate.cache_hits:,} already finished"
    if estimate.seconds:
        line += f"; about {duration(estimate.seconds)} on {sweep_run.runner.workers} {where}"
    click.echo(line, err=True)


class _Pace:
    """Simulation rate, without the points that were in the store."""

    def __init__(self, sweep_run: Sweep) -> None:
        self.runner, self.total = sweep_run.runner, len(sweep_run.numbers)
        self.before, self.start = sweep_run.runner.simulated, time.monotonic()

    def __call__(self, count: int) -> tuple[str, str]:
        """The rate and the remaining time as text; empty before the first point."""
        from hwsim.sweeps.summary import duration

        simulated, took = self.runner.simulated - self.before, time.monotonic() - self.start
        if not simulated or took < 0.2:
            return "", ""
        rate = simulated / took
        return f"{rate:,.0f}/s" if rate >= 1 else f"{60 * rate:,.0f}/min", duration((self.total - count) / rate)


def _run(sweep_run: Sweep) -> None:
    """Run with a progress bar on a terminal, else with a line every ten seconds."""
    pace = _Pace(sweep_run)
    if not sys.stderr.isatty():
        last = time.monotonic()

        def tell(count: int) -> None:
            nonlocal last
            if time.monotonic() - last >= _INTERVAL_S:
                last = time.monotonic()
                rate, remaining = pace(count)
                speed = f", {rate}, about {remaining} left" if rate else ""
                click.echo(f"{count:,} of {pace.total:,} points{speed}", err=True)

        sweep_run.run(tell)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TextColumn("{task.fields[left]}"))
    with Progress(*columns, console=console_of(error=True), transient=True) as progress:
        task = progress.add_task("", total=pace.total, rate="", left="")

        def show(count: int) -> None:
            rate, remaining = pace(count)
            progress.update(task, completed=count, rate=rate, left=f"{remaining} left" if remaining else "")

        sweep_run.run(show)
