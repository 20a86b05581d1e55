"""``hwsim explore``: the Pareto front of a space of designs."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from hwsim.cli.options import check_page, console_of, output_option, print_written, write
from hwsim.errors import InputError, one_line

__all__ = ["explore"]

_INTERVAL_S = 10.0


@click.command()
@click.argument("file", metavar="SWEEP.yaml")
@click.option("-o", "--out", "folder", metavar="DIR", help="Output folder for the store, the front and all points.")
@click.option(
    "--objective",
    "objectives",
    multiple=True,
    metavar="NAME",
    help="Objective; may be repeated (default: latency and energy).",
)
@click.option("--budget", metavar="N", help="Maximum number of points to simulate, as 500 or 10%.")
@click.option(
    "--constraint",
    "constraints",
    multiple=True,
    metavar="TEXT",
    help="Constraint, as 'power_w < 1 W'.",
)
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Random seed.")
@click.option(
    "--sampler", default="auto", show_default=True, metavar="NAME",
    help="auto, exhaustive, model, nsga2, tpe or random.",
)  # fmt: skip
@click.option("--workers", type=int, metavar="N", help="Number of worker processes (default: all cores).")
@output_option("--json", "json_file", help="Write the front as JSON ('-': standard output).")
@output_option("--html", "html_file", help="Write an HTML page with the front, charts and tables.")
def explore(
    file: str,
    folder: str | None,
    objectives: tuple[str, ...],
    budget: str | None,
    constraints: tuple[str, ...],
    seed: int,
    sampler: str,
    workers: int | None,
    json_file: str | None,
    html_file: str | None,
) -> None:
    """Find the Pareto front of SWEEP.yaml with few simulations.

    Objectives to minimize: latency, energy (per inference), edp, area, cost, power, dram, memory. To maximize:
    throughput, efficiency. Or any column of the results, as min:latency_s or max:utilization.

    \b
    Examples:
      hwsim explore sizes.yaml
      hwsim explore sizes.yaml -o results --objective latency --objective energy --objective area --budget 10%
      hwsim explore sizes.yaml --objective edp --constraint 'area_mm2 < 5 mm2' --html front.html
    """
    from hwsim.exploration import explore as run
    from hwsim.exploration.terminal import print_exploration

    if folder == "":
        raise InputError("-o must name a folder for the results, as -o results")
    for page in (html_file, json_file):
        check_page(page, folder)
    progress = _Bar() if sys.stderr.isatty() else _Lines()
    with progress:
        try:
            exploration = run(
                file,
                objectives or ("latency", "energy"),
                budget=budget,
                constraints=constraints,
                seed=seed,
                sampler=sampler,
                store=folder,
                workers=workers,
                tell=progress.tell,
            )
        except KeyboardInterrupt:
            if folder is None:
                raise
            where = one_line(folder)
            click.echo(f"\nhwsim: stopped; finished points are in {where}. Repeat the command to resume.", err=True)
            raise SystemExit(130) from None
    files = exploration.write(Path(folder)) if folder is not None else []
    for page in (html_file, json_file):
        check_page(page, folder, files)
    if html_file:
        write(exploration.page(), html_file)
        files.append(Path(html_file))
    if json_file:
        write(exploration.to_json(), json_file)
        if json_file == "-":
            return
        files.append(Path(json_file))
    console = console_of()
    print_exploration(exploration, console)
    if files:
        print_written(console, files)


class _Lines:
    """Progress as a line every ten seconds."""

    def __enter__(self) -> _Lines:
        self.last = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def tell(self, count: int, total: int, front: int) -> None:
        """Report the number of finished points and of those on the front."""
        if time.monotonic() - self.last >= _INTERVAL_S:
            from hwsim.report.quantity import counted

            self.last = time.monotonic()
            click.echo(f"{count:,} of at most {counted(total, 'point')}, {front:,} on the front", err=True)


class _Bar(_Lines):
    """A bar with the points that are done, and those on the front."""

    def __enter__(self) -> _Bar:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn(compact=True),
        )  # fmt: skip
        self.progress = Progress(*columns, console=console_of(error=True), transient=True)
        self.progress.start()
        self.task = self.progress.add_task("", total=None)
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def tell(self, count: int, total: int, front: int) -> None:
        """Move the bar."""
        self.progress.update(self.task, completed=count, total=total, description=f"{front} on the front")
