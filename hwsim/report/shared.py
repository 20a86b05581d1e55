"""Terminal output of networks that share a machine: what each of them sees."""

from __future__ import annotations

from rich.console import Console

from hwsim.report.requests import joules, rate, seconds
from hwsim.report.terminal import Column, heading, print_columns, wrapped
from hwsim.requests.service import ways
from hwsim.requests.shared import SharedLoad
from hwsim.units import format_si

__all__ = ["print_shared"]


def print_shared(load: SharedLoad, console: Console) -> None:
    """Print the result."""
    heading(console, f"{len(load.networks)} networks on {load.machine}")
    wrapped(console, f"{ways(load.streams, load.threads)}, busy {load.utilization:.0%} of the time")
    power = "mean power unknown"
    if load.average_w is not None and load.idle_w is not None:
        power = f"{format_si(load.average_w, 'W', 4)} in the mean, {format_si(load.idle_w, 'W')} while idle"
    wrapped(console, f"{power} ({load.energy_scope})")
    console.print()
    rows = load.networks
    columns = [
        Column("network", [row.workload for row in rows]),
        Column("priority", [str(row.priority) for row in rows], right=True),
        Column("arrivals/s", [rate(row.rate_per_s) for row in rows], right=True),
        Column("answered/s", [rate(row.per_s) for row in rows], right=True),
        Column("dropped", [f"{row.drops:,}" for row in rows], right=True),
        *(
            Column(f"p{percentile:g}", [seconds(row.latency_s[percentile]) for row in rows], right=True)
            for percentile in (50.0, 90.0, 99.0, 99.9)
        ),
        Column("batch", [f"{row.mean_batch:.3g} of {row.max_batch}" for row in rows], right=True),
        Column("busy", [f"{row.busy:.0%}" for row in rows], right=True),
        Column("work of a query", [joules(row.work_pj) for row in rows], right=True),
    ]
    print_columns(console, columns)
    console.print()
    for message in load.messages:
        wrapped(console, ("" if message.severity == "note" else f"{message.severity.upper()}: ") + str(message))
