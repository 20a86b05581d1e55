"""``hwsim serve``: many requests of a network on a machine."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from hwsim.cli.options import (
    changes_of,
    check_order,
    console_of,
    machine_argument,
    network_of,
    output_option,
    set_option,
    shape_option,
    workload_argument,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["serve"]


def _seconds(name: str, text: str | None) -> float | None:
    """The time of an option."""
    from hwsim.scenario.schedule import quantity

    return None if text is None else float(quantity(name, text, "time"))


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """On a terminal, what is done now and for how long."""
    if not sys.stderr.isatty():
        yield lambda what: None
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=console_of(error=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda what: bar.update(task, description=what)


@click.command()
@machine_argument
@workload_argument
@click.option(
    "--scenario",
    type=click.Choice(["single", "multi", "server", "offline"]),
    help="Of MLPerf (default: server, unless --rate or --trace is given).",
)
@click.option("--bound", metavar="TIME", help="Of the latency, as '15 ms': the highest rate of queries under it.")
@click.option("--percentile", type=float, metavar="P", help="Of the bound (default: 99; 90 for single).")
@click.option("--rate", type=float, metavar="N", help="Poisson arrivals of N queries a second.")
@click.option("--trace", metavar="CSV", help="Arrivals in seconds, one a line.")
@click.option("--streams", type=int, metavar="N", help="Concurrent batches (default: the best number).")
@click.option("--max-batch", type=int, metavar="N", help="The most samples of a batch (default: the best).")
@click.option(
    "--max-wait", default="0 s", metavar="TIME", help="For a batch to fill while a stream is free (default: 0)."
)
@click.option("--deadline", metavar="TIME", help="Drop a query that would begin later after its arrival.")
@click.option(
    "--call", default="0 s", metavar="TIME", help="Of each batch besides its plan: calls, launch (default: 0)."
)
@click.option("--copy", default="0 s", metavar="TIME", help="Of each sample besides the plan: copies (default: 0).")
@click.option("--queries", type=int, metavar="N", help="How many are simulated.")
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Of the arrivals.")
@set_option
@shape_option
@output_option("--json", "json_file", help="Write everything as JSON ('-': standard output).")
@output_option("--html", "html_file", help="Write a self-contained HTML page with charts.")
@output_option("--timeline", "timeline_file", help="Write a Perfetto trace of the first 20,000 samples.")
def serve(
    machine: str,
    workload: str,
    scenario: str | None,
    bound: str | None,
    percentile: float | None,
    rate: float | None,
    trace: str | None,
    streams: int | None,
    max_batch: int | None,
    max_wait: str,
    deadline: str | None,
    call: str,
    copy: str,
    queries: int | None,
    seed: int,
    changes: tuple[str, ...],
    shapes: tuple[str, ...],
    json_file: str | None,
    html_file: str | None,
    timeline_file: str | None,
) -> None:
    """Predict the latency of requests under load, and the load that a bound of the latency allows.

    Requests wait in one queue; each free stream of MACHINE takes a batch of those that wait. Times are those of plans.

    \b
    Examples:
      hwsim serve xeon_8380 resnet50_v1_5 --scenario server --bound '15 ms'
      hwsim serve a100 bert_base --rate 5000 --max-batch 32 --max-wait '2 ms'
      hwsim serve a100 resnet50_v1_5 --scenario single --call '120 us'
      hwsim serve a100 resnet50_v1_5 --bound '15 ms' --html load.html
      hwsim serve nucleo_l4r5zi kws --trace arrivals.csv --deadline '100 ms' --json load.json
    """
    import hwsim
    from hwsim.report.json_text import json_text

    check_order(machine, workload)
    with _progress() as tell:
        load = hwsim.serve(
            hwsim.load_machine(machine, set=changes_of(changes)),
            network_of(workload, shapes),
            scenario or "",
            _seconds("--bound", bound),
            percentile,
            rate_per_s=rate,
            trace=trace,
            streams=streams,
            max_batch=max_batch,
            max_wait_s=_seconds("--max-wait", max_wait) or 0.0,
            deadline_s=_seconds("--deadline", deadline),
            call_s=_seconds("--call", call) or 0.0,
            copy_s=_seconds("--copy", copy) or 0.0,
            queries=queries,
            seed=seed,
            tell=tell,
        )
    if json_file:
        write(json_text(load.to_dict()), json_file)
    if html_file:
        from hwsim.report.html.requests import load_html

        write(load_html(load), html_file)
    if timeline_file:
        from hwsim.requests.timeline import timeline_json

        write(timeline_json(load), timeline_file)
    if "-" not in (json_file, html_file, timeline_file):
        from hwsim.report.requests import print_load

        print_load(load, console_of())
    if not load.fits:
        raise SystemExit(1)
