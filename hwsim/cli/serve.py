"""``hwsim serve``: many requests of a network, or of a language model, on a machine."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from hwsim.cli.model_options import model_options, numbers_of
from hwsim.cli.options import (
    changes_of,
    check_order,
    console_of,
    html_option,
    json_option,
    machine_argument,
    network_of,
    output_option,
    set_option,
    shape_option,
    workload_argument,
    write,
)
from hwsim.cli.tenants import serve_beside
from hwsim.errors import InputError

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


def _serve_model(machine: str, model: str, changes: tuple[str, ...], files: Sequence[str | None], **words: Any) -> None:
    """Requests of a language model."""
    import hwsim
    from hwsim.files import csv_text
    from hwsim.report.json_text import json_text

    json_file, csv_file, html_file, timeline_file = files
    with _progress() as tell:
        load = hwsim.serve_llm(hwsim.load_machine(machine, set=changes_of(changes)), model, **words, tell=tell)
    if json_file:
        write(json_text(load.to_dict()), json_file)
    if csv_file:
        write(csv_text(load.table), csv_file)
    if html_file:
        from hwsim.report.html.token_load import token_load_html

        write(token_load_html(load), html_file)
    if timeline_file:
        from hwsim.serving.timeline import token_timeline_json

        write(token_timeline_json(load), timeline_file)
    if "-" not in files:
        from hwsim.report.token_load import print_token_load

        print_token_load(load, console_of())
    if not load.fits:
        raise SystemExit(1)


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
@click.option("--trace", metavar="CSV", help="Arrivals in seconds, one a line (of a model also tokens in and out).")
@click.option("--streams", type=int, metavar="N", help="Concurrent batches (default: the best number).")
@click.option("--max-batch", type=int, metavar="N", help="The most samples of a batch (default: the best).")
@click.option("--max-wait", metavar="TIME", help="For a batch to fill while a stream is free (default: 0).")
@click.option("--deadline", metavar="TIME", help="Drop a query that would begin later after its arrival.")
@click.option(
    "--call", metavar="TIME", help="Of each batch before its kernels: calls, launch (default: of the machine)."
)
@click.option("--copy", metavar="TIME", help="Of each sample before the kernels: copies (default: of the machine).")
@click.option(
    "--beside", multiple=True, metavar="NETWORK", help="Another that shares the machine: 'kws, rate=5, priority=1'."
)
@click.option("--priority", type=int, metavar="N", help="Of the network among others: the highest goes first.")
@click.option("--queries", type=int, metavar="N", help="How many are simulated.")
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Of the arrivals.")
@click.option("--in", "input_tokens", type=int, metavar="N", help="Model: most tokens of a prompt (default: 1024).")
@click.option("--out", "output_tokens", type=int, metavar="N", help="Model: most tokens of an answer (default: 256).")
@click.option("--spread", type=float, metavar="X", help="Model: lengths from 1 - X of these on (default: by library).")
@click.option("--concurrency", metavar="N,...", help="Model: clients that send a request after each answer.")
@click.option("--bound-ttft", metavar="TIME", help="Model: of the time to the first token.")
@click.option("--bound-tpot", metavar="TIME", help="Model: of the time of each further token.")
@model_options
@set_option
@shape_option
@json_option
@output_option("--csv", "csv_file", help="Model: write a row for each request as CSV.")
@html_option
@output_option("--timeline", "timeline_file", help="Write a Perfetto trace of the first 20,000 samples or steps.")
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
    max_wait: str | None,
    deadline: str | None,
    call: str | None,
    copy: str | None,
    beside: tuple[str, ...],
    priority: int | None,
    queries: int | None,
    seed: int,
    input_tokens: int | None,
    output_tokens: int | None,
    spread: float | None,
    concurrency: str | None,
    bound_ttft: str | None,
    bound_tpot: str | None,
    weights: str,
    kv: str,
    activations: str,
    tp: int,
    library: str,
    changes: tuple[str, ...],
    shapes: tuple[str, ...],
    json_file: str | None,
    csv_file: str | None,
    html_file: str | None,
    timeline_file: str | None,
) -> None:
    """Predict the latency of requests under load, and the load that a bound of the latency allows.

    Requests wait in one queue; each free stream of MACHINE takes a batch of those that wait. Times are those of plans.
    Requests of a language model share steps: prompts and tokens of many run together (continuous batching).

    \b
    Examples:
      hwsim serve xeon_8380 resnet50_v1_5 --scenario server --bound '15 ms'
      hwsim serve a100 bert_base --rate 5000 --max-batch 32 --max-wait '2 ms'
      hwsim serve a100 resnet50_v1_5 --scenario single --call '120 us'
      hwsim serve a100 resnet50_v1_5 --bound '15 ms' --html load.html
      hwsim serve nucleo_l4r5zi kws --trace arrivals.csv --deadline '100 ms' --json load.json
      hwsim serve t4 resnet50_v1_5 --rate 800 --beside 'kws, rate=500, priority=1, deadline=5 ms'
      hwsim serve h100 llama3_8b --in 1024 --out 256 --rate 8
      hwsim serve h100 llama3_8b --bound-ttft '500 ms' --bound-tpot '50 ms' --library vllm
    """
    import hwsim
    from hwsim.report.json_text import json_text
    from hwsim.workload.transformer import is_llm

    network = {
        "--scenario": scenario, "--bound": bound, "--streams": streams, "--max-batch": max_batch,
        "--max-wait": max_wait, "--deadline": deadline, "--call": call, "--copy": copy, "--shape": shapes or None,
        "--beside": beside or None, "--priority": priority,
    }  # fmt: skip
    model = {
        "--in": input_tokens, "--out": output_tokens, "--spread": spread, "--concurrency": concurrency,
        "--bound-ttft": bound_ttft, "--bound-tpot": bound_tpot, "--weights": weights or None, "--kv": kv or None,
        "--activations": activations or None, "--tp": None if tp == 1 else tp, "--library": library or None,
        "--csv": csv_file,
    }  # fmt: skip
    wrong, what = (network, "network") if is_llm(workload) else (model, "language model")
    if given := [name for name, value in wrong.items() if value is not None]:
        raise InputError(f"{', '.join(given)} must be given with a {what}, as {workload} is not one")
    if is_llm(workload):
        _serve_model(
            machine,
            workload,
            changes,
            (json_file, csv_file, html_file, timeline_file),
            rate_per_s=rate,
            concurrency=None if concurrency is None else numbers_of(concurrency),
            trace=trace,
            bound_ttft_s=_seconds("--bound-ttft", bound_ttft),
            bound_tpot_s=_seconds("--bound-tpot", bound_tpot),
            percentile=99.0 if percentile is None else percentile,
            input=1024 if input_tokens is None else input_tokens,
            output=256 if output_tokens is None else output_tokens,
            spread=spread,
            weights=weights,
            kv=kv,
            activations=activations,
            tp=tp,
            library=library,
            requests=queries,
            seed=seed,
        )
        return
    check_order(machine, workload)
    if beside or priority is not None:
        alone = {
            "--scenario": scenario, "--bound": bound, "--percentile": percentile, "--call": call, "--copy": copy,
            "--html": html_file, "--timeline": timeline_file,
        }  # fmt: skip
        if given := [name for name, value in alone.items() if value is not None]:
            raise InputError(f"{', '.join(given)} must be given with one network, without --beside and --priority")
        own = hwsim.Tenant(
            network_of(workload, shapes),
            rate,
            trace,
            priority or 0,
            max_batch,
            _seconds("--max-wait", max_wait) or 0.0,
            _seconds("--deadline", deadline),
        )
        serve_beside(machine, changes, own, beside, json_file, streams=streams, queries=queries, seed=seed)
        return
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
            call_s=_seconds("--call", call),
            copy_s=_seconds("--copy", copy),
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
