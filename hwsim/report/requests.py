"""Terminal output of requests on a machine: the rate, percentiles, batches, what was tried."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Console

from hwsim.report.terminal import Column, heading, print_columns, wrapped
from hwsim.requests.load import Choice, Load
from hwsim.requests.service import ways
from hwsim.units import format_si

__all__ = ["best_of_streams", "headline", "joules", "load_title", "power", "print_load", "rate", "seconds"]


def rate(per_s: float | None) -> str:
    """A number of queries a second."""
    return "" if per_s is None else f"{per_s:,.0f}" if per_s >= 1000 else f"{per_s:.4g}"


def seconds(value: float | None) -> str:
    """A time; that of a dropped query has no end."""
    return "" if value is None else "dropped" if math.isinf(value) else format_si(value, "s", 4)


def joules(value: float | None) -> str:
    """An energy in pJ."""
    return "unknown" if value is None else format_si(value / 1e12, "J")


def load_title(load: Load) -> str:
    """What runs where."""
    what = {"rate": "Poisson arrivals", "trace": "a trace of arrivals"}.get(
        load.scenario, f"{load.scenario} scenario of MLPerf"
    )
    return f"{load.workload} on {load.machine}: {what}"


def headline(load: Load) -> str:
    """The result of the scenario in a line."""
    result = f"p{load.percentile:g} {seconds(load.result_s)}"
    if load.scenario == "single":
        return f"{result}, one query after the other"
    if load.scenario == "multi":
        return f"{result} for queries of {load.samples} samples"
    if load.scenario == "offline":
        return f"{rate(load.queries_per_s)} samples/s, {load.queries:,} at once"
    if load.scenario == "server":
        share = load.queries_per_s / load.offline_per_s
        return f"{rate(load.queries_per_s)} queries/s ({share:.2f} of {rate(load.offline_per_s)} offline), {result}"
    return f"{rate(load.queries_per_s)} queries/s answered of {load.queries:,}, {result}"


def power(load: Load) -> str:
    """Energy of a query and mean power in a line."""
    energy = load.energy
    if energy.work_pj is None:
        return "energy unknown"
    rough = "*" if load.energy_basis in ("cost table", "data sheet", "estimate") else ""
    if energy.query_pj is None or energy.average_w is None or energy.idle_w is None:
        work = format_si(energy.work_pj / 1e12, "J", 4)
        return f"{work}{rough} a query without idle time, whose power is unknown ({load.energy_scope})"
    total, watts, idle = (
        format_si(energy.query_pj / 1e12, "J", 4), format_si(energy.average_w, "W", 4), format_si(energy.idle_w, "W"),
    )  # fmt: skip
    return f"{total}{rough} a query, {watts} in the mean, {idle} while idle ({load.energy_scope})"


def best_of_streams(choices: Sequence[Choice]) -> list[Choice]:
    """Of each number of streams and threads the choice that came furthest, in order of the streams."""
    best: dict[tuple[int, int | None], Choice] = {}
    for choice in choices:
        best.setdefault((choice.streams, choice.threads), choice)
    return sorted(best.values(), key=lambda choice: (choice.streams, choice.threads or 0))


def print_load(load: Load, console: Console) -> None:
    """Print the result."""
    heading(console, load_title(load))
    batches = f"batches of {load.mean_batch:.3g} in the mean, at most {load.max_batch}"
    for line in (
        headline(load),
        f"{ways(load.streams, load.threads)}, busy {load.utilization:.0%} of the time; {batches}",
        power(load),
    ):
        wrapped(console, line)
    console.print()
    rows = load.percentiles
    columns = [
        Column("percentile", [f"p{row['percentile']:g}" for row in rows], right=True),
        Column("latency", [seconds(row["latency_s"]) for row in rows], right=True),
        Column("of it before the start", [seconds(row["wait_s"]) for row in rows], right=True),
    ]
    print_columns(console, columns)
    if len(choices := best_of_streams(load.choices)) > 1:
        console.print()
        print_columns(console, _tried(load, choices))
    if load.curve:
        console.print()
        print_columns(
            console,
            [
                Column("queries/s", [rate(point.rate_per_s) for point in load.curve], right=True),
                Column("p50", [seconds(point.p50_s) for point in load.curve], right=True),
                Column("p90", [seconds(point.p90_s) for point in load.curve], right=True),
                Column("p99", [seconds(point.p99_s) for point in load.curve], right=True),
                Column("busy", [f"{point.utilization:.0%}" for point in load.curve], right=True),
                Column("batch", [f"{point.mean_batch:.3g}" for point in load.curve], right=True),
                Column("a query", [joules(point.query_pj) for point in load.curve], right=True),
            ],
        )
    console.print()
    for message in load.messages:
        wrapped(console, ("" if message.severity == "note" else f"{message.severity.upper()}: ") + str(message))


def _tried(load: Load, choices: Sequence[Choice]) -> list[Column]:
    """The table of what was tried."""
    threads = [Column("threads", [str(c.threads) for c in choices], right=True)] if choices[0].threads else []
    return [
        Column("streams", [str(c.streams) for c in choices], right=True),
        *threads,
        Column("batch", [str(c.max_batch) for c in choices], right=True),
        Column("one alone", [seconds(c.alone_s) for c in choices], right=True),
        Column("full batch, all busy", [seconds(c.loaded_s) for c in choices], right=True),
        Column("offline/s", [rate(c.offline_per_s) for c in choices], right=True),
        Column("queries/s", [rate(c.queries_per_s) for c in choices], right=True),
        Column(f"p{load.percentile:g}", [seconds(c.latency_s) for c in choices], right=True),
        Column("", ["taken" if c is load.choices[0] else str(c.reason or "") for c in choices]),
    ]
