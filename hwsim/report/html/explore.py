"""Charts of many points: the Pareto front, parallel coordinates, and a curve."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from hwsim.report.html.charts import WIDTH, Chart, Legend
from hwsim.report.html.svg import Scale, Svg, color, text_width, truncate
from hwsim.report.quantity import shown, title
from hwsim.units import DIMENSIONS, parse

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MOST_WORDS", "Axis", "axis_of", "curve", "parallel", "scatter"]

_MOST_NAMES = 40
MOST_WORDS = 14
_THREADS = 400


@dataclass(frozen=True)
class Axis:
    """A column as numbers: its values (NaN: none), and where the ticks are (value, text); `log` if spread wide."""

    name: str
    values: tuple[float, ...]
    ticks: tuple[tuple[float, str], ...]
    log: bool = False

    def scale(self, start: float, end: float) -> Scale:
        """Values to pixels, with room at both ends."""
        finite = [v for v in self.values if math.isfinite(v)] or [0.0, 1.0]
        low, high = min(finite), max(finite)
        if self.log:
            return Scale(low / (high / low) ** 0.05, high * (high / low) ** 0.05, start, end, log=True)
        room = (high - low or abs(high) or 1.0) * 0.05
        return Scale(low - room, high + room, start, end)


def _quantity(text: str) -> float | None:
    """A number, or a quantity of any dimension in its base unit."""
    try:
        return float(text)
    except ValueError:
        pass
    for dimension in DIMENSIONS:
        try:
            return float(parse(text, dimension))
        except ValueError:
            continue
    return None


def axis_of(column: pd.Series, name: str) -> Axis:
    """A column of numbers as it is; of anything else, its values in order: by size where they have one."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        values = tuple(map(float, column.to_numpy(float, na_value=math.nan)))
        finite = sorted({v for v in values if math.isfinite(v)})
        log = bool(finite) and finite[0] > 0 and finite[-1] / finite[0] > 20
        if len(finite) <= 8:
            return Axis(name, values, tuple((v, _tick_label(name, v)) for v in finite), log)
        scale = Axis(name, values, (), log).scale(0, 1)
        return Axis(name, values, tuple((tick, _tick_label(name, tick)) for tick in scale.ticks()), log)
    texts = [str(v) for v in column]
    distinct = list(dict.fromkeys(texts))
    sizes = {text: _quantity(text) for text in distinct}
    if all(size is not None for size in sizes.values()):
        distinct.sort(key=lambda text: sizes[text] or 0.0)
    place = {text: float(i) for i, text in enumerate(distinct)}
    every = max(1, -(-len(distinct) // 12))
    return Axis(name, tuple(place[t] for t in texts), tuple((place[t], t) for t in distinct[::every]))


def _tick_label(name: str, value: float) -> str:
    return shown(name, int(value) if value == int(value) and abs(value) < 1e15 else value, 3)


def scatter(
    name: str,
    description: str,
    x: Axis,
    y: Axis,
    front: Sequence[int],
    labels: Sequence[str],
    tooltips: Sequence[str],
    maximize_x: bool = False,
) -> Chart:
    """Points in the plane of two objectives, those of the front larger and labeled, with a staircase through them.

    `labels` and `tooltips` are those of the points of `front`. Of two neighbors on the front, the one that is better in
    x holds up to the other, so that the line bounds what is reached.
    """
    left, right, top, base = 84.0, 24.0, 14.0, 402.0
    svg = Svg(WIDTH, base + 42)
    sx, sy = x.scale(left, WIDTH - right), y.scale(base, top)
    for tick in sx.ticks(7):
        svg.line(sx(tick), top, sx(tick), base)
        svg.text(sx(tick), base + 15, _tick_label(x.name, tick), "tick", "middle")
    for tick in sy.ticks(6):
        svg.line(left, sy(tick), WIDTH - right, sy(tick))
        svg.text(left - 6, sy(tick) + 4, _tick_label(y.name, tick), "tick", "end")
    svg.text((left + WIDTH - right) / 2, base + 34, title(x.name), "axis", "middle")
    svg.text(14, (top + base) / 2, title(y.name), "axis", "middle", -90)
    best, pixels = set(front), set()
    for index, (vx, vy) in enumerate(zip(x.values, y.values)):
        if index in best or not (math.isfinite(vx) and math.isfinite(vy)):
            continue
        # Thousands of points lie on each other: one for each two pixels is all that can be seen.
        spot = (round(sx(vx) / 2), round(sy(vy) / 2))
        if spot not in pixels:
            pixels.add(spot)
            svg.circle(2 * spot[0], 2 * spot[1], 2.4, "faint c0")
    # Only where no third objective counts do the best points form one line.
    spots = sorted((sx(x.values[i]), sy(y.values[i])) for i in front)
    rises = [b[1] - a[1] for a, b in pairwise(spots)]
    falls = max(rises, default=0) < 1e-9 or min(rises, default=0) > -1e-9
    if falls and len(spots) > 1:
        steps = [spots[0]]
        for before, after in pairwise(spots):
            steps += [(before[0], after[1]) if maximize_x else (after[0], before[1]), after]
        svg.path(steps, "frontline")
    for i, text in zip(front, tooltips):
        svg.circle(sx(x.values[i]), sy(y.values[i]), 5, "best c1", text)
    _name_spots(svg, [(sx(x.values[i]), sy(y.values[i])) for i in front], labels, (left, WIDTH - right, top, base))
    return Chart(svg, name, description, (Legend((("on the front", "c1"), ("dominated", "c0"))),))


def _name_spots(
    svg: Svg, spots: Sequence[tuple[float, float]], labels: Sequence[str], frame: tuple[float, float, float, float]
) -> None:
    """Labels beside their points, each where it covers neither a point nor another label, else left out."""
    boxes = [(x - 5, y - 5, x + 5, y + 5) for x, y in spots]
    label_count = 0
    for (x, y), label in zip(spots, labels):
        for text in (truncate(label, 230), label.split(":")[0])[len(spots) > MOST_WORDS :]:
            width = text_width(text)
            places = ((x + 8, y - 6), (x + 8, y + 14), (x - 8 - width, y - 6), (x - 8 - width, y + 14))
            box = next((b for px, py in places if _free(b := (px, py - 9, px + width, py + 3), boxes, frame)), None)
            if box is not None and label_count < _MOST_NAMES:
                label_count += 1
                boxes.append(box)
                svg.text(box[0], box[3] - 3, text, "pointlabel")
                break


def _free(
    box: tuple[float, float, float, float],
    boxes: Sequence[tuple[float, float, float, float]],
    frame: tuple[float, float, float, float],
) -> bool:
    if box[0] < frame[0] or box[2] > frame[1] or box[1] < frame[2] or box[3] > frame[3]:
        return False
    return not any(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in boxes)


def parallel(name: str, description: str, axes: Sequence[Axis], front: Sequence[int], tooltips: Sequence[str]) -> Chart:
    """A line a point through all axes; those of the front in color with `tooltips`."""
    right, top, base = 60.0, 36.0, 330.0
    # The values of the first axis stand to its left, where the names of machines have the room that they need.
    left = min(160.0, max(60.0, 14.0 + max((text_width(text) for _, text in axes[0].ticks), default=0.0)))
    svg = Svg(WIDTH, base + 16)
    step = (WIDTH - left - right) / max(len(axes) - 1, 1)
    scales = [axis.scale(base, top) for axis in axes]
    points = len(axes[0].values)
    best = set(front)
    others = [i for i in range(points) if i not in best and all(math.isfinite(a.values[i]) for a in axes)]
    every = max(1, -(-len(others) // _THREADS))
    for i in others[::every]:
        svg.path([(left + n * step, s(a.values[i])) for n, (a, s) in enumerate(zip(axes, scales))], "thread cx")
    for i, text in list(zip(front, tooltips))[:_THREADS]:
        line = [(left + n * step, s(a.values[i])) for n, (a, s) in enumerate(zip(axes, scales))]
        svg.path(line, "thread best c1", text)
    for n, (axis, scale) in enumerate(zip(axes, scales)):
        x = left + n * step
        anchor = "start" if n == 0 else "end" if n == len(axes) - 1 else "middle"
        svg.line(x, top, x, base, "axisline")
        svg.text(
            x + (-50 if n == 0 else 50 if n == len(axes) - 1 else 0), top - 16, _axis_label(axis, step), "head", anchor
        )
        side = n == len(axes) - 1
        for tick, text in axis.ticks:
            svg.line(x - 3, scale(tick), x + 3, scale(tick), "axisline")
            cut = truncate(text, min(step - 14, 110) if n else left - 8)
            svg.text(x + (-7 if not side else 7), scale(tick) + 4, cut, "pointlabel", "start" if side else "end")
    return Chart(svg, name, description, (Legend((("on the front", "c1"), ("other points", "cx"))),))


def _axis_label(axis: Axis, step: float) -> str:
    """The name without its unit, and without the blocks around its key where it is too long."""
    name = title(axis.name)
    return truncate(name if text_width(name) <= step * 0.9 else name.rsplit(".", 1)[-1], step * 0.95)


def curve(name: str, description: str, points: Sequence[tuple[float, float]], across: str, up: str) -> Chart:
    """One quantity over another."""
    left, right, top, base = 84.0, 24.0, 14.0, 192.0
    svg = Svg(WIDTH, base + 40)
    x = Scale(0, max(p[0] for p in points) or 1, left, WIDTH - right)
    low, high = min(p[1] for p in points), max(p[1] for p in points)
    y = Scale(low - (high - low) * 0.05, high + (high - low or abs(high) or 1.0) * 0.05, base, top)
    for tick in x.ticks(8):
        svg.text(x(tick), base + 15, f"{tick:g}", "tick", "middle")
        svg.line(x(tick), base, x(tick), base + 4)
    for tick in y.ticks(4):
        svg.line(left, y(tick), WIDTH - right, y(tick))
        svg.text(left - 6, y(tick) + 4, f"{tick:.4g}", "tick", "end")
    # A staircase: the value changes at a point, not between points.
    steps = [(x(points[0][0]), y(points[0][1]))]
    for at, value in points[1:]:
        steps += [(x(at), steps[-1][1]), (x(at), y(value))]
    svg.path(steps, f"curve {color(0)}", f"{up} {high:.6g} at the end")
    svg.text((left + WIDTH - right) / 2, base + 34, across, "axis", "middle")
    return Chart(svg, name, description)
