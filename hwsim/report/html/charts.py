"""Charts of a report as SVG: stacked bars, roofline, memory, timeline. Data in, `Chart` out; nothing of machines."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from hwsim.report.html.svg import Scale, Svg, color, text_width, truncate
from hwsim.units import format_si

__all__ = ["Chart", "Legend", "Memory", "Panel", "Point", "Roof", "blocks", "roofline", "stacked_rows", "staircase"]

WIDTH = 960
_ROW = 17.0
_ALIKE = 2  # circles drawn at one spot


@dataclass(frozen=True)
class Legend:
    """Labels with their classes of color, of one part of a chart."""

    items: tuple[tuple[str, str], ...]
    of: str = ""


@dataclass(frozen=True)
class Chart:
    """A picture with its title, its text alternative, and its legends."""

    svg: Svg
    title: str
    description: str
    legends: tuple[Legend, ...] = ()


# Stacked bars


@dataclass(frozen=True)
class Panel:
    """Bars of one quantity: for each row its parts by series, and a mark (a measured value) where there is one.

    The scale goes to the longest bar, and at least to `top`. A logarithmic one (`log`, for bars of one part) starts
    a decade or less below the shortest bar, and below `low`. `totals` writes the sum of a bar at its end.
    """

    title: str
    series: Mapping[str, Sequence[float]]
    formatter: Callable[[float], str]
    marks: Sequence[float | None] = ()
    mark_name: str = "measured"
    colors: Mapping[str, str] = field(default_factory=dict)
    top: float = 0.0
    low: float = 0.0
    log: bool = False
    totals: bool = True

    def scale(self, bars: Sequence[float], start: float, end: float) -> Scale:
        """Values to pixels, for the lengths of the bars and marks."""
        top = max([self.top, *bars], default=0.0) or 1.0
        if not self.log:
            return Scale(0, top, start, end)
        low = min([*([self.low] if self.low else []), *(bar for bar in bars if bar > 0)], default=top)
        return Scale(10.0 ** math.floor(math.log10(low) - 1e-3), top, start, end, log=True)

    def css(self, name: str) -> str:
        """The class of a series."""
        return self.colors.get(name) or color(list(self.series).index(name))


def stacked_rows(title: str, description: str, labels: Sequence[str], panels: Sequence[Panel]) -> Chart:
    """A row per label and a panel per quantity, each with its own scale."""
    gutter = min(max(map(text_width, labels), default=0) + 10, 190.0)
    head, foot, gap, tail = 20.0, 22.0, 22.0, 58.0
    each = (WIDTH - gutter - gap * (len(panels) - 1)) / len(panels)
    svg = Svg(WIDTH, head + _ROW * len(labels) + foot)
    for row, label in enumerate(labels):
        y = head + _ROW * row
        if row % 2:
            svg.rect(0, y, WIDTH, _ROW, "band")
        svg.text(gutter - 8, y + _ROW * 0.72, truncate(label, gutter - 8), "label", "end")
    legends = []
    for place, panel in enumerate(panels):
        left = gutter + place * (each + gap)
        totals = [math.fsum(parts[row] for parts in panel.series.values()) for row in range(len(labels))]
        marks = [*panel.marks, *[None] * len(labels)][: len(labels)]
        scale = panel.scale([*totals, *(m for m in marks if m is not None)], left, left + each - tail)
        svg.text(left, 13, panel.title, "head")
        bottom = head + _ROW * len(labels)
        legend = {name: panel.css(name) for name, parts in panel.series.items() if any(parts)}
        for tick in scale.ticks():
            svg.line(scale(tick), head, scale(tick), bottom)
            svg.text(scale(tick), bottom + 14, panel.formatter(tick), "tick", "middle" if tick else "start")
        for row, label in enumerate(labels):
            y, at = head + _ROW * row + 3, scale.low
            for name, parts in panel.series.items():
                if (value := parts[row]) > 0:
                    tooltip = f"{label}: {name} {panel.formatter(value)} ({value / (totals[row] or 1):.1%})"
                    reach = value if panel.log else at + value
                    svg.rect(scale(at), y, scale(reach) - scale(at), _ROW - 6, panel.css(name), tooltip)
                    at = reach
            if totals[row] > 0 and panel.totals:
                after = max(scale(at), scale(mark) + 5 if (mark := marks[row]) is not None else 0)
                svg.text(after + 5, y + 9, panel.formatter(totals[row]), "value")
            if (mark := marks[row]) is not None:
                error = f", predicted {totals[row] / mark - 1:+.1%}" if mark else ""
                svg.diamond(
                    scale(mark), y + 5.5, 5, "mark", f"{label}: {panel.mark_name} {panel.formatter(mark)}{error}"
                )
                legend[panel.mark_name] = "mark"
        legends.append(Legend(tuple(legend.items()), panel.title))
    if len({legend.items for legend in legends}) == 1:
        legends = [Legend(legends[0].items)]
    if all(len(legend.items) == 1 for legend in legends):
        legends = []  # the title of the panel says it
    return Chart(svg, title, description, tuple(legends))


# Roofline


@dataclass(frozen=True)
class Roof:
    """A limit: `slope` bytes a second of a memory, or a flat top of so many operations a second."""

    name: str
    limit: float
    flat: bool


@dataclass(frozen=True)
class Point:
    """A layer at one memory: operations a byte, operations a second, which roof it belongs to."""

    name: str
    intensity: float
    rate: float
    roof: str
    share: float


def roofline(
    title: str, description: str, roofs: Sequence[Roof], points: Sequence[Point], formatter: Callable[[float], str]
) -> Chart:
    """Rate over intensity, both logarithmic; a point's area is its share of the time."""
    left, right, top, bottom = 74.0, 20.0, 14.0, 46.0
    height = 440.0
    svg = Svg(WIDTH, height)
    slopes = {roof.name: roof for roof in roofs if not roof.flat}
    flats = [roof for roof in roofs if roof.flat]
    peak = max((roof.limit for roof in flats), default=max(p.rate for p in points))
    knees = [peak / roof.limit for roof in slopes.values()]
    xs = [p.intensity for p in points] + knees
    low_x, high_x = min(xs) / 2, max(xs) * 2
    low_y = min([peak, *(p.rate for p in points)]) / 2
    x = Scale(low_x, high_x, left, WIDTH - right, log=True)
    y = Scale(low_y, peak * 2.2, height - bottom, top, log=True)
    for tick in x.ticks():
        svg.line(x(tick), top, x(tick), height - bottom)
        svg.text(x(tick), height - bottom + 15, f"{tick:g}", "tick", "middle")
    for tick in y.ticks():
        svg.line(left, y(tick), WIDTH - right, y(tick))
        svg.text(left - 6, y(tick) + 4, formatter(tick), "tick", "end")
    svg.text((left + WIDTH - right) / 2, height - 8, "operational intensity (MACs/byte)", "axis", "middle")
    css = {name: color(i) for i, name in enumerate(slopes)}
    for roof in sorted(flats, key=lambda r: r.limit):
        knee = max(min((roof.limit / s.limit for s in slopes.values()), default=low_x), low_x)
        svg.path(
            [(x(knee), y(roof.limit)), (x(high_x), y(roof.limit))], "roof", f"{roof.name}: {formatter(roof.limit)}"
        )
        svg.text(WIDTH - right - 4, y(roof.limit) - 6, f"{roof.name} {formatter(roof.limit)}", "rooflabel", "end")
    alike: dict[float, list[str]] = {}
    for name, roof in slopes.items():
        alike.setdefault(roof.limit, []).append(name)
    for place, (limit, names) in enumerate(sorted(alike.items(), reverse=True)):
        # From the left or lower edge up to the highest flat roof.
        start, end = max(low_x, low_y / limit), min(peak / limit, high_x)
        if end <= start:
            continue
        name = ", ".join(names)
        tooltip = f"{name}: {format_si(limit, 'B/s')}"
        svg.path([(x(start), y(start * limit)), (x(end), y(end * limit))], f"roof s {css[names[0]]}", tooltip)
        angle = -math.degrees(math.atan2(y(start * limit) - y(end * limit), x(end) - x(start)))
        mid = math.exp(math.log(start) + (0.5, 0.7, 0.3)[place % 3] * math.log(end / start))
        below = len(alike) > 1 and place == len(alike) - 1
        svg.text(
            x(mid) + (10 if below else 0), y(mid * limit) + (16 if below else -6), tooltip, "rooflabel", "middle", angle
        )
    spots: dict[tuple[str, int, int], int] = {}
    for point in sorted(points, key=lambda p: -p.share):
        # Layers repeat: those on one spot are one circle.
        spot = (point.roof, round(x(point.intensity)), round(y(point.rate)))
        spots[spot] = spots.get(spot, 0) + 1
        if spots[spot] > _ALIKE:
            continue
        radius = 3.2 + 9 * math.sqrt(point.share)
        tooltip = (
            f"{point.name}: {point.intensity:.4g} MACs/byte of {point.roof}, {formatter(point.rate)}, "
            f"{point.share:.1%} of the time"
        )
        svg.circle(x(point.intensity), y(point.rate), radius, f"point {css.get(point.roof, 'cx')}", tooltip)
    _name_points(svg, points, x, y)
    legend = Legend(tuple((f"at {name}", css[name]) for name in slopes))
    return Chart(svg, title, description, (legend,))


def _name_points(svg: Svg, points: Sequence[Point], x: Scale, y: Scale) -> None:
    """Names of the layers that take most time, where there is room for them; each once."""
    boxes: list[tuple[float, float, float, float]] = []
    labels: set[str] = set()
    outermost = {point.name: point for point in reversed(points)}
    for point in sorted(outermost.values(), key=lambda p: -p.share):
        if len(labels) >= 14:
            break
        text = truncate(point.name, 110)
        px, py, width = x(point.intensity), y(point.rate), text_width(text)
        reach = 3.2 + 9 * math.sqrt(point.share) + 3
        for left, base in ((px + reach, py + 4), (px - reach - width, py + 4), (px - width / 2, py + reach + 9)):
            box = (left, base - 10, left + width, base + 2)
            inside = left > 74 and box[2] < svg.width
            if inside and not any(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in boxes):
                boxes.append(box)
                labels.add(point.name)
                svg.text(left, base, text, "pointlabel")
                break


# Memory


@dataclass(frozen=True)
class Memory:
    """A block of memory: live from operator `first` to `last`, at `offset`."""

    name: str
    first: int
    last: int
    offset: float
    bytes: float
    scratch: bool = False


def _operator_axis(svg: Svg, names: Sequence[str], left: float, step: float, bottom: float) -> None:
    every = max(1, math.ceil(15 / step))
    for index in range(0, len(names), every):
        at = left + (index + 0.5) * step
        svg.text(at + 4, bottom + 10, truncate(names[index], 95), "tick", "end", -50)


def _size_axis(svg: Svg, top: float, formatter: Callable[[float], str], left: float, height: float) -> Scale:
    # Steps of binary units, so that the ticks are whole ones.
    unit = 2.0 ** (10 * int(math.log2(top) // 10)) if top > 1 else 1.0
    y = Scale(0, top, height, 14)
    for tick in Scale(0, top / unit, 0, 1).ticks():
        svg.line(left, y(tick * unit), WIDTH - 8, y(tick * unit))
        svg.text(left - 6, y(tick * unit) + 4, formatter(tick * unit), "tick", "end")
    return y


def blocks(
    title: str,
    description: str,
    operators: Sequence[str],
    buffers: Sequence[Memory],
    formatter: Callable[[float], str],
    limit: tuple[str, float] | None = None,
) -> Chart:
    """Blocks in an arena: operators from left to right, bytes upwards."""
    left, base, height = 74.0, 300.0, 370.0
    svg = Svg(WIDTH, height)
    total = max((b.offset + b.bytes for b in buffers), default=1.0)
    top = max(total * 1.08, limit[1] * 1.04 if limit and limit[1] < 4 * total else 0)
    y = _size_axis(svg, top, formatter, left, base)
    step = (WIDTH - 8 - left) / max(len(operators), 1)
    for index, block in enumerate(sorted(buffers, key=lambda b: (b.first, b.offset))):
        x, width = left + block.first * step, (block.last - block.first + 1) * step
        high, low = y(block.offset + block.bytes), y(block.offset)
        tooltip = (
            f"{block.name}: {formatter(block.bytes)} at offset {block.offset:,.0f}, "
            f"{operators[block.first]} to {operators[block.last]}"
        )
        css = "cx" if block.scratch else color(index % 6)
        svg.rect(x + 0.5, high, width - 1, low - high, f"block {css}", tooltip)
        text = truncate(block.name, width - 4)
        if low - high > 11 and width > 26 and len(text) > 2:
            svg.text(x + width / 2, (low + high) / 2 + 4, text, "inside", "middle")
    _limit(svg, y, left, limit)
    _operator_axis(svg, operators, left, step, base)
    scratch = any(block.scratch for block in buffers)
    legend = Legend((("im2col buffer of a kernel (scratch)", "cx"),) if scratch else ())
    return Chart(svg, title, description, (legend,))


def _limit(svg: Svg, y: Scale, left: float, limit: tuple[str, float] | None) -> None:
    if limit is not None and 0 < limit[1] <= y.high:
        svg.line(left, y(limit[1]), WIDTH - 8, y(limit[1]), "limit")
        svg.text(WIDTH - 12, y(limit[1]) - 4, limit[0], "rooflabel", "end")


def staircase(
    title: str,
    description: str,
    operators: Sequence[str],
    values: Sequence[float],
    tooltips: Sequence[str],
    formatter: Callable[[float], str],
    limit: tuple[str, float] | None = None,
) -> Chart:
    """Live bytes at each operator."""
    left, base, height = 74.0, 230.0, 300.0
    svg = Svg(WIDTH, height)
    most = max([*values, 1.0])
    top = max(most * 1.08, limit[1] * 1.04 if limit and limit[1] < 4 * most else 0)
    y = _size_axis(svg, top, formatter, left, base)
    step = (WIDTH - 8 - left) / max(len(operators), 1)
    for index, value in enumerate(values):
        css = "c0 strong" if value == most else "c0 soft"
        svg.rect(left + index * step, y(value), max(step - 0.6, 0.4), base - y(value), css, tooltips[index])
    _limit(svg, y, left, limit)
    _operator_axis(svg, operators, left, step, base)
    return Chart(svg, title, description)
