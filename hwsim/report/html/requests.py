"""The page of requests on a machine: latency over load, batches, what was tried."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hwsim.report.html.charts import WIDTH, Chart, Legend, Panel, stacked_rows
from hwsim.report.html.page import Cell, Page
from hwsim.report.html.svg import Scale, Svg, color
from hwsim.report.requests import headline, joules, load_title, power, rate, seconds
from hwsim.requests.load import Load
from hwsim.requests.service import ways
from hwsim.units import format_si

__all__ = ["load_html"]

_PERCENTILES = ("p50", "p90", "p99")
_MOST_ROWS = 32


def load_html(load: Load) -> str:
    """The page as one self-contained document."""
    page = Page(load_title(load), headline(load))
    page.tiles(
        [
            (rate(load.queries_per_s), "queries a second", f"{rate(load.offline_per_s)} samples/s offline"),
            (seconds(load.result_s), f"p{load.percentile:g} of the latency", _bound(load)),
            (f"{load.utilization:.0%}", "streams busy", ways(load.streams, load.threads)),
            (f"{load.mean_batch:.3g}", "samples of a batch", f"at most {load.max_batch:,}"),
            (f"{load.drops:,}", "dropped", f"of {load.queries:,} queries"),
            (joules(load.energy.query_pj), "a query, idle time included", power(load)),
        ]
    )
    for message in load.messages:
        page.text(str(message), "bad" if message.severity != "note" else "soft")
    if load.curve:
        page.section("Latency over load")
        page.chart(_over_load(load), "Percentiles of the latency by the rate of Poisson arrivals.")
        page.table(["queries/s", *_PERCENTILES, "busy", "batch", "energy a query"], _points(load))
    page.section("Latency")
    rows = [
        [Cell(f"p{row['percentile']:g}", row["percentile"]), *(_time(row[name]) for name in ("latency_s", "wait_s"))]
        for row in load.percentiles
    ]
    page.table(["percentile", "latency", "of it before the start"], rows)
    page.section("Batches")
    page.chart(_batches(load), "How many samples ran in batches of each size.")
    if len(load.choices) > 1:
        page.section("What was tried")
        _tried(page, load)
    return page.document()


def _points(load: Load) -> list[list[Cell]]:
    """The curve as rows."""
    return [
        [
            Cell(rate(point.rate_per_s), point.rate_per_s),
            *(_time(value) for value in (point.p50_s, point.p90_s, point.p99_s)),
            Cell(f"{point.utilization:.0%}", point.utilization),
            Cell(f"{point.mean_batch:.3g}", point.mean_batch),
            Cell(joules(point.query_pj), point.query_pj, "n"),
        ]
        for point in load.curve
    ]


def _bound(load: Load) -> str:
    return "no bound" if load.bound_s is None else f"bound {format_si(load.bound_s, 's')}"


def _time(value: float | None) -> Cell:
    return Cell(seconds(value), value if value is not None else None, "n")


def _over_load(load: Load) -> Chart:
    """Three percentiles over the rate, with the bound."""
    left, right, top, base = 84.0, 24.0, 14.0, 232.0
    svg = Svg(WIDTH, base + 40)
    series = [[point.p50_s for point in load.curve], [point.p90_s for point in load.curve]]
    series.append([point.p99_s for point in load.curve])
    rates = [point.rate_per_s for point in load.curve]
    values = [value for row in [*series, [load.bound_s or math.inf]] for value in row if 0 < value < math.inf] or [1.0]
    x = Scale(0, max(rates), left, WIDTH - right)
    y = Scale(min(values) / 1.3, max(values) * 1.3, base, top, log=True)
    for tick in x.ticks(8):
        svg.text(x(tick), base + 15, rate(tick) or "0", "tick", "middle")
        svg.line(x(tick), base, x(tick), base + 4)
    for tick in y.ticks():
        svg.line(left, y(tick), WIDTH - right, y(tick))
        svg.text(left - 6, y(tick) + 4, format_si(tick, "s"), "tick", "end")
    if load.bound_s is not None:
        svg.line(left, y(load.bound_s), WIDTH - right, y(load.bound_s), "limit")
        svg.text(left + 6, y(load.bound_s) - 4, f"bound {format_si(load.bound_s, 's')}", "rooflabel")
    for index, (name, row) in enumerate(zip(_PERCENTILES, series, strict=True)):
        points = [(x(at), y(value)) for at, value in zip(rates, row, strict=True) if math.isfinite(value)]
        if len(points) > 1:
            svg.path(points, f"curve {color(index)}", name)
        for at, value in zip(rates, row, strict=True):
            if math.isfinite(value):
                tooltip = f"{name} {format_si(value, 's', 4)} at {rate(at)} queries/s"
                svg.circle(x(at), y(value), 3.5, f"point {color(index)}", tooltip)
    svg.text((left + WIDTH - right) / 2, base + 34, "queries/s", "axis", "middle")
    description = "99th percentile of the latency by rate: " + ", ".join(
        f"{rate(point.rate_per_s)}/s {seconds(point.p99_s)}" for point in load.curve
    )
    legend = Legend(tuple((name, color(index)) for index, name in enumerate(_PERCENTILES)))
    return Chart(svg, "Latency over load", description + ".", (legend,))


def _batches(load: Load) -> Chart:
    """Samples by the size of their batch; many sizes are put together."""
    most = max(load.batches, default=1)
    width = -(-most // _MOST_ROWS)
    groups: dict[int, list[int]] = {}
    for size, number in load.batches.items():
        group = groups.setdefault((size - 1) // width, [0, 0])
        group[0] += number
        group[1] += size * number
    labels = [_sizes(place * width + 1, min(most, (place + 1) * width)) for place in sorted(groups)]
    batches, samples = ([float(groups[place][part]) for place in sorted(groups)] for part in (0, 1))
    panels = [
        Panel("batches", {"batches": batches}, lambda number: f"{number:,.0f}"),
        Panel("samples in them", {"samples": samples}, lambda number: f"{number:,.0f}"),
    ]
    description = "Batches by size: " + ", ".join(f"{label}: {n:,.0f}" for label, n in zip(labels, batches)) + "."
    return stacked_rows("Batches", description, labels, panels)


def _sizes(first: int, last: int) -> str:
    return f"{first}" if first == last else f"{first} to {last}"


def _tried(page: Page, load: Load) -> None:
    threads = load.choices[0].threads is not None
    heads: Sequence[str] = [
        "streams", *(["threads"] if threads else []), "batch", "one alone", "full batch, all busy", "offline/s",
        "queries/s", f"p{load.percentile:g}", "",
    ]  # fmt: skip
    rows = [
        [
            Cell(f"{c.streams:,}", c.streams),
            *([Cell(f"{c.threads:,}", c.threads)] if c.threads is not None else []),
            Cell(f"{c.max_batch:,}", c.max_batch),
            _time(c.alone_s),
            _time(c.loaded_s),
            Cell(rate(c.offline_per_s), c.offline_per_s),
            Cell(rate(c.queries_per_s), c.queries_per_s, "n"),
            _time(c.latency_s),
            Cell("taken" if c is load.choices[0] else str(c.reason or ""), css="w"),
        ]
        for c in load.choices
    ]
    page.table(heads, rows)
