"""Comparison of runs as HTML."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hwsim.report.groups import Entry, Group, ratio
from hwsim.report.html.charts import Panel, stacked_rows
from hwsim.report.html.page import Cell, Page
from hwsim.report.quantity import energy, shown
from hwsim.units import format_si, format_size

__all__ = ["comparison_page"]

_ROWS = 120
_PANELS = 4


def comparison_page(groups: Sequence[Group], failed: Sequence[Entry]) -> Page:
    """Totals of all runs, then the layers of each group."""
    names = list(dict.fromkeys(entry.label for group in groups for entry in group.entries))
    labels = names if len(names) < 4 else [names[0], f"{len(names) - 1} others"]
    title = " and ".join(filter(None, (", ".join(labels[:-1]), labels[-1])))
    page = Page(title, ", ".join(group.name for group in groups))
    for group in groups:
        page.section(f"{group.name}, batch {group.base.summary.get('batch', 1)}")
        _totals(page, group)
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
            ]
        )
    page.table(["run", "latency", "ratio", "energy", "ratio", "power", "of peak", "memory"], rows)
    labels = [entry.label for entry in group.entries]
    times = [entry.time_by_bound() for entry in group.entries]
    energies = [dict(entry.components) for entry in group.entries]
    panels = [Panel("latency by bottleneck", _series(times), lambda t: format_si(t, "s"))]
    if any(map(any, energies)):
        panels.append(Panel("energy by component", _series(energies), lambda pj: format_si(pj * 1e-12, "J")))
    totals = "; ".join(f"{entry.label} {shown('_s', entry.total('latency_s'))}" for entry in group.entries)
    page.chart(stacked_rows(f"Totals of {group.name}", f"Horizontal bars, one row per run: {totals}.", labels, panels))


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
    if len(group.entries) <= _PANELS:
        top = max(longest.values(), default=0.0)
        panels = [
            Panel(
                entry.label,
                {entry.label: [_or_zero(entry.value(name, "latency_s")) for name in slowest]},
                lambda t: format_si(t, "s"),
                top=top,
            )
            for entry in group.entries
        ]
        runs = ", ".join(entry.label for entry in group.entries)
        description = f"Horizontal bars of the same scale, one row per layer and one panel per run: {runs}."
        note = f" The {len(slowest)} slowest of {len(names)} layers." if len(slowest) < len(names) else ""
        title = f"Latency of each layer of {group.name}"
        page.chart(stacked_rows(title, description, slowest, panels), f"All runs have the same scale.{note}")
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
