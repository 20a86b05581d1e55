"""Comparison tables for a terminal of 80 columns or more."""

from __future__ import annotations

import math

from rich.console import Console
from rich.text import Text

from hwsim.report.comparison import Comparison
from hwsim.report.groups import Entry, Group, ratio
from hwsim.report.quantity import energy
from hwsim.report.terminal import WIDTH, Column, print_columns, wrapped
from hwsim.units import format_si, format_size

__all__ = ["print_comparison"]

_LABEL = 34


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print totals and layers of each group; the first run of a group is what ratios are of."""
    for number, group in enumerate(comparison.groups):
        if number:
            console.print()
        heading = f"{group.name}, batch {group.base.summary.get('batch', 1)}"
        console.print(Text(heading, style="bold", no_wrap=True, overflow="ellipsis"))
        _totals(group, console)
        if len(group.entries) > 1:
            console.print()
            _layers(group, console)
    for entry in comparison.failed:
        console.print(Text(f"{entry.workload} on {entry.label}: {entry.error}", style="red"), soft_wrap=True)


def _ratio(value: float, base: float) -> str:
    times = ratio(value, base)
    if math.isnan(times):
        return ""
    return f"{times:.2g}x" if times < 0.1 else f"{times:.2f}x" if times < 100 else f"{times:.0f}x"


def _totals(group: Group, console: Console) -> None:
    base, entries = group.base, group.entries
    slowest = max(entry.total("latency_s") for entry in entries)

    def ratios(column: str) -> list[Column]:
        cells = [_ratio(entry.total(column), base.total(column)) for entry in entries]
        return [Column("ratio", cells, right=True)] if len(entries) > 1 else []

    watts = [entry.total("power_w") for entry in entries]
    columns = [
        Column("run", [entry.label for entry in entries], least=12, most=_LABEL),
        Column("time", [format_si(entry.total("latency_s"), "s") for entry in entries], right=True),
        *ratios("latency_s"),
        Column("energy", [energy(entry.total("energy_pj")) for entry in entries], right=True),
        *ratios("energy_pj"),
        Column("power", ["unknown" if math.isnan(w) else format_si(w, "W") for w in watts], right=True, rank=2),
        Column("memory", [_fits(entry) for entry in entries]),
        Column("bound by", [next(iter(entry.time_by_bound()), "") for entry in entries], rank=1),
    ]
    if not any(_fits(entry).plain for entry in entries):
        del columns[-2]
    shares = [entry.total("latency_s") / slowest if slowest else 0.0 for entry in entries]
    print_columns(console, columns, shares, WIDTH)


def _fits(entry: Entry) -> Text:
    margin = entry.summary.get("margin_bytes")
    if not entry.summary.get("fits", True):
        return Text("NO" if margin is None else f"NO, {format_size(-margin)} short", style="red")
    return Text("" if margin is None else f"{format_size(margin)} left")


def _layers(group: Group, console: Console) -> None:
    """Times of each layer; only ratios where there are many runs, and nothing where there are very many."""
    names = [name for name in group.layers if any(entry.value(name, "latency_s") > 0 for entry in group.entries)]
    first = [group.base.value(name, "latency_s") for name in names]
    columns = [Column("layer", names, most=22), Column("1", [_time(t) for t in first], right=True)]
    room = min(console.width, WIDTH) - sum(column.width + 2 for column in columns)
    others = group.entries[1:]
    both = 18 * len(others) <= room
    if not both and 8 * len(others) > room:
        wrapped(
            console,
            f"{len(names)} layers of {len(group.entries)} runs are too wide for this terminal: use --csv or --html",
        )
        return
    for number, entry in enumerate(others, 2):
        times = [entry.value(name, "latency_s") for name in names]
        ratios = [_ratio(time, base) for time, base in zip(times, first)]
        if both:
            columns.append(Column(str(number), [_time(time) for time in times], right=True))
        columns.append(Column("ratio" if both else str(number), ratios, right=True))
    what = "time of each layer" if both else "time of each layer for run 1, ratio to run 1 for the others"
    labels = "; ".join(f"{number} {entry.label}" for number, entry in enumerate(group.entries, 1))
    wrapped(console, f"{what}: {labels}")
    print_columns(console, columns, width=WIDTH)


def _time(seconds: float) -> str:
    return "" if math.isnan(seconds) else format_si(seconds, "s")
