"""The timeline as a chart: each piece of work where there are few, how busy each resource was where there are many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from hwsim.engine import Interval, Timeline
from hwsim.report.html.charts import WIDTH, Chart, Legend
from hwsim.report.html.svg import Scale, Svg, color, linear_ticks, text_width, truncate
from hwsim.units import format_si

__all__ = ["busy_shares", "gantt"]

_MOST = 500
"""Pieces of work that are drawn one by one; of more, the share of the time in each of `_BINS` slices."""
_BINS = 420
_MOST_OUTER = 4096
_LANES = 12


def _spans(intervals: Sequence[Interval]) -> NDArray[np.float64]:
    """Start, end and busy ticks of each interval; a stretch of like tiles counts as busy evenly from end to end."""
    rows = []
    for interval in intervals:
        width = (interval.repeat - 1) * interval.period + interval.end - interval.start
        busy = (interval.end - interval.start) * interval.repeat
        loops = [range(count) for count, _ in interval.outer]
        if interval.tiles // interval.repeat <= _MOST_OUTER:
            for place in product(*loops):
                start = interval.start + sum(i * period for i, (_, period) in zip(place, interval.outer))
                rows.append((start, start + width, busy))
        else:
            rows.append((interval.start, interval.last_end, interval.busy))
    return np.array(rows, float).reshape(-1, 3)


def busy_shares(intervals: Sequence[Interval], end: int, servers: int, bins: int) -> NDArray[np.float64]:
    """The share of each of `bins` equal slices of 0 to `end` in which a resource of so many servers works."""
    spans = _spans(intervals)
    spans = spans[spans[:, 1] > spans[:, 0]]
    # Work done until t is the sum of slope * (t - start) over what has begun, less the same from its end on.
    slopes = spans[:, 2] / (spans[:, 1] - spans[:, 0])
    times = np.concatenate([spans[:, 0], spans[:, 1]]) / end
    steps = np.concatenate([slopes, -slopes])
    order = np.argsort(times, kind="stable")
    times, steps = times[order], steps[order]
    edges = np.linspace(0, 1, bins + 1)
    starts = np.searchsorted(times, edges, side="right")
    level = np.concatenate([[0.0], np.cumsum(steps)])[starts]
    moment = np.concatenate([[0.0], np.cumsum(steps * times)])[starts]
    shares: NDArray[np.float64] = np.clip(np.diff(level * edges - moment) * bins / servers, 0, 1)
    return shares


def gantt(title: str, timeline: Timeline, rate_hz: float, layers: Sequence[tuple[str, int]]) -> Chart | None:
    """Lanes of resources over time, the layers above them; None where nothing ran.

    Parameters
    ----------
    rate_hz : float
        Ticks in a second.
    layers : sequence of (str, int)
        Each layer with its ticks, in order of execution.
    """
    if not timeline.end:
        return None

    def formatter(ticks: float) -> str:
        return format_si(ticks / rate_hz, "s")

    lanes: dict[str, list[Interval]] = {name: [] for name in timeline.resources}
    for interval in timeline.each_interval():
        lanes[interval.resource].append(interval)
    busiest = sorted(lanes, key=lambda name: -timeline.resources[name].busy / timeline.resources[name].servers)
    left_out = len(lanes) - _LANES
    if left_out > 0:
        lanes = {name: spans for name, spans in lanes.items() if name in busiest[:_LANES]}
    gutter = min(max(map(text_width, [*lanes, "100% busy"])) + 16, 150.0)
    lane, top = 44.0, 30.0
    bottom = top + lane * len(lanes)
    svg = Svg(WIDTH, bottom + 24)
    x = Scale(0, timeline.end, gutter, WIDTH - 8)
    _layers(svg, x, layers, formatter, bottom)
    for seconds in linear_ticks(timeline.end / rate_hz, 8):
        at = x(seconds * rate_hz)
        svg.line(at, bottom - 2, at, bottom + 3)
        svg.text(at, bottom + 16, format_si(seconds, "s"), "tick", "middle" if seconds else "start")
    each = sum(map(len, lanes.values())) <= _MOST and all(i.tiles == 1 for spans in lanes.values() for i in spans)
    stages = list(dict.fromkeys(i.stage for spans in lanes.values() for i in spans)) if each else []
    for place, (name, spans) in enumerate(lanes.items()):
        base = top + lane * (place + 1) - 4
        totals = timeline.resources[name]
        share = totals.busy / (totals.servers * timeline.end)
        svg.text(gutter - 8, base - 12, truncate(name, gutter - 8), "label", "end")
        svg.text(gutter - 8, base, f"{share:.0%} busy", "tick", "end")
        svg.line(gutter, base, WIDTH - 8, base)
        if each:
            for i in spans:
                tooltip = f"{i.pipeline}/{i.stage}: {formatter(i.start)} to {formatter(i.end)}"
                css = color(stages.index(i.stage))
                svg.rect(
                    x(i.start), base - lane + 10, max(x(i.end) - x(i.start), 0.4), lane - 10, f"work {css}", tooltip
                )
        elif spans:
            _profile(svg, x, busy_shares(spans, timeline.end, totals.servers, _BINS), base, lane - 10, place)
    how = (
        "Each rectangle is one execution of a stage."
        if each
        else f"The height is the share of each {formatter(timeline.end / _BINS)} in which the resource is busy."
    )
    shares = {name: totals.busy / (totals.servers * timeline.end) for name, totals in timeline.resources.items()}
    rates = ", ".join(f"{name} {shares[name]:.0%}" for name in busiest[:_LANES])
    how += f" The {_LANES} busiest of {len(shares)} resources." if left_out > 0 else ""
    description = f"{how} Busy: {rates}."
    legend = Legend(tuple((stage, color(n)) for n, stage in enumerate(stages)))
    return Chart(svg, title, description, (legend,))


def _layers(
    svg: Svg, x: Scale, layers: Sequence[tuple[str, int]], formatter: Callable[[float], str], bottom: float
) -> None:
    at = 0
    for index, (name, ticks) in enumerate(layers):
        left, width = x(at), x(at + ticks) - x(at)
        if width >= 0.3:
            tooltip = f"{name}: {formatter(ticks)}"
            svg.rect(left, 4, max(width - 0.5, 0.2), 18, f"layer{index % 2}", tooltip)
            if width > 24 and len(text := truncate(name, width - 4)) > 2:
                svg.text(left + width / 2, 17, text, "inside", "middle")
            if width > 3:
                svg.line(left + width, 22, left + width, bottom - 4)
        at += ticks


def _profile(svg: Svg, x: Scale, shares: NDArray[np.float64], base: float, height: float, place: int) -> None:
    """Shares as an area; like neighbors become one step."""
    points, step = [(x.start, base)], (x.end - x.start) / len(shares)
    levels = np.round(shares * height, 1)
    last = None
    for index, level in enumerate(levels.tolist()):
        if level != last:
            at = x.start + index * step
            points += [(at, points[-1][1]), (at, base - level)]
            last = level
    points += [(x.end, points[-1][1]), (x.end, base)]
    svg.path(points, f"area {color(place % 6)}", close=True)
