"""Comparison of runs as HTML."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from hwsim.report.comparability import comparability
from hwsim.report.groups import Entry, Group, ratio
from hwsim.report.html.charts import Panel, stacked_rows
from hwsim.report.html.page import Cell, Page
from hwsim.report.quantity import battery_life, cycle_setting, energy, shown
from hwsim.units import format_si, format_size

__all__ = ["comparison_page"]

_ROWS = 120
_PANELS = 4
_NAMES = 6
_DECADES = 30.0
"""Ratio of the longest bars of two runs from which the shorter ones cannot be read on a linear scale."""


def comparison_page(groups: Sequence[Group], failed: Sequence[Entry]) -> Page:
    """Totals of all runs, then the layers of each group."""
    names = list(dict.fromkeys(entry.label for group in groups for entry in group.entries))
    labels = names if len(names) <= _NAMES else [names[0], f"{len(names) - 1} others"]
    title = " and ".join(filter(None, (", ".join(labels[:-1]), labels[-1])))
    page = Page(title, ", ".join(group.name for group in groups))
    for group in groups:
        page.section(f"{group.name}, batch {group.base.summary.get('batch', 1)}")
        _totals(page, group)
        _cycles(page, group)
        for message in comparability(group):
            page.text(f"Warning: {message}." if message.severity == "warning" else f"{message}.", "soft")
        if len(group.entries) > 1:
            _layers(page, group)
    if failed:
        page.section("Failed runs")
        for entry in failed:
            page.text(f"{entry.workload} on {entry.label}: {entry.error}", "bad")
    return page


def _times(value: float, base: float) -> Cell:
    times = ratio(value, base)
    return Cell("" if math.isnan(times) or not value else f"{times:.3g}x", times, "n")


def _totals(page: Page, group: Group) -> None:
    base = group.base
    rows = []
    for entry in group.entries:
        margin = entry.summary.get("margin_bytes")
        fits = (
            "" if margin is None else f"{format_size(abs(margin))} {'left' if margin >= 0 else 'short: does not fit'}"
        )
        rows.append(
            [
                Cell(entry.label, css="w"),
                Cell(shown("_s", entry.total("latency_s")), entry.total("latency_s")),
                _times(entry.total("latency_s"), base.total("latency_s")),
                Cell(energy(entry.total("energy_pj")), entry.total("energy_pj")),
                _times(entry.total("energy_pj"), base.total("energy_pj")),
                Cell(shown("_w", entry.total("power_w")), entry.total("power_w")),
                Cell(f"{entry.total('utilization'):.0%}", entry.total("utilization")),
                Cell(fits, margin, "k"),
                Cell(entry.bound, css="k"),
                Cell(entry.word("library_name"), css="k"),
                Cell(entry.energy_origin, css="k"),
                *(_error(entry, quantity) for quantity in ("latency", "energy")),
            ]
        )
    heads = ["run", "latency", "ratio", "energy", "ratio", "power", "of peak", "memory", "bound by", "library"]
    heads += ["energy of", "expected error", "of energy"]
    filled = [i for i in range(len(heads)) if any(row[i].text for row in rows)]
    page.table([heads[i] for i in filled], [[row[i] for i in filled] for row in rows])
    labels = [entry.label for entry in group.entries]
    times = [entry.time_by_bound() for entry in group.entries]
    energies = [dict(entry.components) for entry in group.entries]
    panels = _total_panels("latency", "bottleneck", times, lambda t: format_si(t, "s"))
    if any(map(any, energies)):
        panels += _total_panels("energy", "component", energies, lambda pj: format_si(pj * 1e-12, "J"))
    totals = "; ".join(f"{entry.label} {shown('_s', entry.total('latency_s'))}" for entry in group.entries)
    page.chart(stacked_rows(f"Totals of {group.name}", f"Horizontal bars, one row per run: {totals}.", labels, panels))


def _error(entry: Entry, quantity: str) -> Cell:
    return Cell(entry.expected_error(quantity), entry.errors.get(quantity, {}).get("error"), "n")


def _total_panels(what: str, by: str, parts: list[dict[str, float]], formatter: Callable[[float], str]) -> list[Panel]:
    """Bars of totals by their parts; where they span decades, totals on a logarithmic scale, and shares."""
    series = _series(parts)
    totals = [math.fsum(values[row] for values in series.values()) for row in range(len(parts))]
    if not _spans_decades(totals):
        return [Panel(f"{what} by {by}", series, formatter)]
    shares = {name: [v / t if t else 0.0 for v, t in zip(values, totals)] for name, values in series.items()}
    return [
        Panel(f"{what}, logarithmic", {what: totals}, formatter, colors={what: "c0"}, log=True),
        Panel(f"share of {what} by {by}", shares, lambda share: f"{share:.0%}", totals=False),
    ]


def _spans_decades(totals: Sequence[float]) -> bool:
    positive = [total for total in totals if total > 0]
    return bool(positive) and max(positive) > _DECADES * min(positive)


def _cycles(page: Page, group: Group) -> None:
    """Power and battery life of the runs with a duty cycle."""
    rows = []
    for entry in group.entries:
        if cycle := entry.scenario:
            average, life = cycle["average_w"], (cycle.get("battery") or {}).get("life_s")
            least = cycle["least_w"]
            power = f"more than {shown('_w', least)}" if average is None and least else shown("_w", average)
            rows.append(
                [
                    Cell(entry.label, css="w"),
                    Cell(cycle_setting(cycle), css="k"),
                    Cell(power, average, "n"),
                    Cell(f"{cycle['duty']:.2%}", cycle["duty"]),
                    Cell(f"{cycle['missed']:,}", cycle["missed"]),
                    Cell(battery_life(cycle), life, "n"),
                ]
            )
    if rows:
        page.table(["run", "duty cycle", "average power", "duty", "missed deadlines", "battery life"], rows)


def _series(parts: list[dict[str, float]]) -> dict[str, list[float]]:
    totals: dict[str, float] = {}
    for row in parts:
        for name, value in row.items():
            totals[name] = max(totals.get(name, 0.0), _or_zero(value))
    names = sorted(totals, key=lambda name: -totals[name])
    largest, rest = names[:8], names[8:]
    series = {name: [_or_zero(row.get(name)) for row in parts] for name in largest}
    return series | ({"others": [math.fsum(_or_zero(row.get(n)) for n in rest) for row in parts]} if rest else {})


def _or_zero(value: float | None) -> float:
    return 0.0 if value is None or math.isnan(value) else value


def _layers(page: Page, group: Group) -> None:
    base, several = group.base, group.entries[1:]
    longest = {n: max(_or_zero(e.value(n, "latency_s")) for e in group.entries) for n in group.layers}
    names = [name for name in group.layers if longest[name] > 0]
    slow = set(sorted(names, key=lambda name: -longest[name])[:_ROWS])
    slowest = [name for name in names if name in slow]
    times = {entry.label: [_or_zero(entry.value(name, "latency_s")) for name in slowest] for entry in group.entries}
    top = max(longest.values(), default=0.0)
    # The layers of the fastest run would be dots.
    log = _spans_decades([max(values, default=0.0) for values in times.values()])
    low = min((t for values in times.values() for t in values if t > 0), default=0.0)
    panels = [
        Panel(label, {label: values}, lambda t: format_si(t, "s"), top=top, low=low, log=log)
        for label, values in times.items()
    ]
    scale = "the same logarithmic scale" if log else "the same scale"
    note = f" The {len(slowest)} slowest of {len(names)} layers." if len(slowest) < len(names) else ""
    for first in range(0, len(panels), _PANELS):
        row = panels[first : first + _PANELS]
        runs = ", ".join(panel.title for panel in row)
        description = f"Horizontal bars of {scale}, one row per layer and one panel per run: {runs}."
        title = f"Latency of each layer of {group.name}" + (f": {runs}" if len(panels) > _PANELS else "")
        page.chart(stacked_rows(title, description, slowest, row), f"All runs have {scale}.{note}")
    rows = []
    for name in slowest:
        cells = [Cell(name, css="k"), *_layer_cells(base.value(name, "latency_s"), base.value(name, "energy_pj"))]
        for entry in several:
            time, pj = entry.value(name, "latency_s"), entry.value(name, "energy_pj")
            cells += [
                _layer_cells(time, pj)[0],
                _times(time, base.value(name, "latency_s")),
                _times(pj, base.value(name, "energy_pj")),
            ]
        cells.append(Cell(", ".join(str(e.layers[name]["bound"]) for e in group.entries if name in e.layers), css="k"))
        rows.append(cells)
    heads = ["layer", f"{base.label} time", "energy"]
    for entry in several:
        heads += [f"{entry.label} time", "ratio", "energy ratio"]
    page.table([*heads, "bound by"], rows)


def _layer_cells(time: float, pj: float) -> list[Cell]:
    return [
        Cell("" if math.isnan(time) else format_si(time, "s"), time, "n"),
        Cell("" if math.isnan(pj) else energy(pj), pj, "n"),
    ]
