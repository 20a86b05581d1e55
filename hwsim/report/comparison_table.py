"""Comparison tables for a terminal: as many as its width needs, with every column."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.text import Text

from hwsim.report.comparison import Comparison
from hwsim.report.groups import Entry, Group, ratio
from hwsim.report.quantity import battery_life, cycle_setting, energy, shown
from hwsim.report.terminal import WIDTH, Column, print_folded, shortened, wrapped
from hwsim.units import format_si, format_size

__all__ = ["print_comparison"]

_LABEL = 34
_MOST_TABLES = 3


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print totals and layers of each group; the first run of a group is what ratios are of."""
    for number, group in enumerate(comparison.groups):
        if number:
            console.print()
        heading = f"{group.name}, batch {group.base.summary.get('batch', 1)}"
        console.print(Text(heading, style="bold", no_wrap=True, overflow="ellipsis"))
        _totals(group, console)
        _cycles(group, console)
        if len(group.entries) > 1:
            console.print()
            _layers(group, console)
    _networks(comparison.entries, console)
    if comparison.messages:
        console.print()
    for message in comparison.messages:
        wrapped(console, f"WARNING: {message}" if message.severity == "warning" else str(message))
    for entry in comparison.failed:
        console.print(Text(f"{entry.workload} on {entry.label}: {entry.error}", style="red"), soft_wrap=True)


def _networks(entries: Sequence[Entry], console: Console) -> None:
    """Networks whose accuracy was given side by side on each machine, as a student and its teacher."""
    machines: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.accuracy is not None:
            machines.setdefault(entry.run_on or entry.label, []).append(entry)
    for label, nets in machines.items():
        if len(nets) < 2:
            continue
        base = nets[0]
        console.print()
        console.print(Text(f"networks on {label}, accuracy as given", style="bold"))
        points = ["" if net is base else f"{(net.accuracy or 0) - (base.accuracy or 0):+.2f}" for net in nets]
        parts = [
            [
                Column("accuracy", [f"{net.accuracy:.2f}%" for net in nets], right=True),
                Column("points", points, right=True),
            ],
            *(
                [Column(name, [show(net.total(key)) for net in nets], right=True),
                 Column("ratio", [_ratio(net.total(key), base.total(key)) for net in nets], right=True)]
                for name, key, show in (("time", "latency_s", _seconds), ("energy", "energy_pj", energy))
            ),
        ]  # fmt: skip
        print_folded(console, Column("network", [net.workload for net in nets], least=12, most=_LABEL), parts)


def _seconds(value: float) -> str:
    return format_si(value, "s")


def _ratio(value: float, base: float) -> str:
    times = ratio(value, base)
    if math.isnan(times):
        return ""
    return f"{times:.2g}x" if times < 0.0995 else f"{times:.2f}x" if times < 100 else f"{times:.0f}x"


def _key(entries: Sequence[Entry]) -> Column:
    return Column("run", [entry.label for entry in entries], least=12, most=_LABEL)


def _totals(group: Group, console: Console) -> None:
    base, entries = group.base, group.entries
    slowest = max(entry.total("latency_s") for entry in entries)

    def ratios(column: str) -> list[Column]:
        cells = [_ratio(entry.total(column), base.total(column)) for entry in entries]
        return [Column("ratio", cells, right=True)] if len(entries) > 1 else []

    times = [format_si(entry.total("latency_s"), "s") for entry in entries]
    parts = [
        [Column("time", times, right=True), *ratios("latency_s")],
        [Column("energy", [energy(entry.total("energy_pj")) for entry in entries], right=True), *ratios("energy_pj")],
        [Column("power", [shown("_w", entry.total("power_w"), 3) for entry in entries], right=True)],
    ]
    if any(_fits(entry).plain for entry in entries):
        parts.append([Column("memory", [_fits(entry) for entry in entries])])
    parts.append([Column("bound by", [entry.bound for entry in entries])])
    words = {
        "library": [entry.word("library_name") for entry in entries],
        "energy of": [entry.energy_origin for entry in entries],
        "time error": [entry.expected_error("latency") for entry in entries],
        "energy error": [entry.expected_error("energy") for entry in entries],
    }
    parts += [[Column(name, cells)] for name, cells in words.items() if any(cells)]
    shares = [entry.total("latency_s") / slowest if slowest else 0.0 for entry in entries]
    print_folded(console, _key(entries), parts, shares)


def _fits(entry: Entry) -> Text:
    margin = entry.summary.get("margin_bytes")
    if not entry.summary.get("fits", True):
        return Text("NO" if margin is None else f"NO, {format_size(-margin)} short", style="red")
    return Text("" if margin is None else f"{format_size(margin)} left")


def _cycles(group: Group, console: Console) -> None:
    """Power and battery life of the runs with a duty cycle."""
    entries = [entry for entry in group.entries if entry.scenario]
    if not entries:
        return
    cycles = [entry.scenario for entry in entries]
    batteries = [cycle.get("battery") for cycle in cycles]
    console.print()
    settings = list(dict.fromkeys(map(cycle_setting, cycles)))
    if len(settings) == 1:
        console.print(Text(settings[0], style="bold"))
    longest = max(life_s) if (life_s := [b["life_s"] for b in batteries if b and b["life_s"]]) else 0.0
    parts = [
        [Column("average power", [_power(cycle) for cycle in cycles], right=True)],
        [Column("duty", [f"{cycle['duty']:.2%}" for cycle in cycles], right=True)],
        [Column("missed", [f"{cycle['missed']:,}" for cycle in cycles], right=True)],
    ]
    if any(batteries):
        parts.append([Column("battery life", [battery_life(cycle) for cycle in cycles], right=True)])
    if len(settings) > 1:
        parts.append([Column("cycle", list(map(cycle_setting, cycles)))])
    shares = [(b["life_s"] or 0.0) / longest if b and longest else 0.0 for b in batteries]
    print_folded(console, _key(entries), parts, shares if longest else None)


def _power(cycle: Mapping[str, float | None]) -> str:
    average, least = cycle["average_w"], cycle["least_w"]
    return f"more than {shown('_w', least, 3)}" if average is None and least else shown("_w", average, 3)


def _layers(group: Group, console: Console) -> None:
    """Times of each layer; only ratios where there are many runs, and nothing where there are very many."""
    names = [name for name in group.layers if any(entry.value(name, "latency_s") > 0 for entry in group.entries)]
    first = [group.base.value(name, "latency_s") for name in names]
    key = Column("layer", [shortened(name, 22) for name in names])
    base = [Column("1", [_time(t) for t in first], right=True)]
    room = min(console.width, WIDTH) - key.width - 2
    others = group.entries[1:]
    both = 18 * len(others) + 9 <= room * 2
    if 7 * len(others) + 9 > room * _MOST_TABLES:
        wrapped(console, f"{len(names)} layers of {len(group.entries)} runs: --layer-csv FILE or --html FILE has them")
        return
    parts = [base]
    for number, entry in enumerate(others, 2):
        times = [entry.value(name, "latency_s") for name in names]
        ratios = [_ratio(time, base) for time, base in zip(times, first)]
        own = [Column(str(number), [_time(time) for time in times], right=True)] if both else []
        parts.append([*own, Column("ratio" if both else str(number), ratios, right=True)])
    what = "time of each layer" if both else "time of each layer for run 1, ratio to run 1 for the others"
    labels = "; ".join(f"{number} {entry.label}" for number, entry in enumerate(group.entries, 1))
    wrapped(console, f"{what}: {labels}")
    print_folded(console, key, parts)


def _time(seconds: float) -> str:
    return "" if math.isnan(seconds) else format_si(seconds, "s")
