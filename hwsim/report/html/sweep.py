"""A sweep or exploration as HTML: parameters, results and the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

from hwsim.errors import InputError, nearest
from hwsim.report.estimates import footnote, marked
from hwsim.report.html.charts import Panel, stacked_rows
from hwsim.report.html.explore import MOST_WORDS, axis_of, curve, parallel, scatter
from hwsim.report.html.page import Cell, Page
from hwsim.report.pareto import pareto_front
from hwsim.report.quantity import counted, head, shown, title
from hwsim.units import column_unit

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SweepPoints", "sweep_fragment", "sweep_html"]

_ROWS = 2000
_ROWS_IN_A_NOTEBOOK = 200
_FRONT = 100
_OPEN = 25
_AXES = 10
_EXTRA = 12


@dataclass(frozen=True)
class SweepPoints:
    """Points of a sweep or an exploration, and what a page shows of them.

    Attributes
    ----------
    frame : DataFrame
        A row per point; one with a NaN among its objectives failed and is not drawn.
    parameters, objectives : sequence of str
        Columns of the parameters, and of the objectives (their unit is in their name).
    title : str
    front : sequence of int, optional
        Positions of the points on the Pareto front; default: computed from the objectives.
    maximize : collection of str
        Objectives to maximize.
    hypervolume : sequence of (int, float)
        Hypervolume that the front dominates after a number of points.
    sensitivity : mapping
        Effect of each parameter by objective.
    notes : sequence of str
        Sentences to begin with.
    """

    frame: pd.DataFrame
    parameters: Sequence[str]
    objectives: Sequence[str]
    title: str
    front: Sequence[int] | None = None
    maximize: Collection[str] = ()
    hypervolume: Sequence[tuple[int, float]] = ()
    sensitivity: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    notes: Sequence[str] = ()


def sweep_html(points: SweepPoints) -> str:
    """Points as one self-contained HTML document."""
    return _page(points, _ROWS).document()


def sweep_fragment(points: SweepPoints) -> str:
    """The same for a notebook, with a shorter table."""
    return _page(points, _ROWS_IN_A_NOTEBOOK).fragment()


def _page(points: SweepPoints, most: int) -> Page:
    frame, parameters, objectives, maximize = points.frame, points.parameters, points.objectives, points.maximize
    hypervolume = points.hypervolume
    for name in (*parameters, *objectives):
        if name not in frame.columns:
            raise InputError(
                f"a column of the sweep must be named, not {name!r}{nearest(name, map(str, frame.columns))}"
            )
    if not objectives:
        raise InputError("a sweep page must have at least one objective")
    best = pareto_front(frame, objectives, maximize) if points.front is None else list(points.front)
    failures = int(frame[list(objectives)].isna().any(axis=1).sum())
    page = Page(points.title, f"{counted(len(frame), 'point')}, {len(best):,} on the Pareto front")
    page.tiles(_tiles(frame, objectives, maximize, best))
    for note in points.notes:
        page.text(note, "soft")
    if failures:
        page.text(f"{counted(failures, 'point')} failed.", "bad")
    if best:
        variables = [name for name in parameters if frame[name].astype(str).nunique() > 1]
        _front(page, frame, variables, objectives, best, maximize)
        _parallel(page, frame, variables, objectives, best)
    if len(hypervolume) > 1:
        page.section("Hypervolume")
        rise = f"Rises from {hypervolume[0][1]:.4g} to {hypervolume[-1][1]:.4g} over {hypervolume[-1][0]:,} points."
        page.chart(
            curve("Hypervolume over points simulated", rise, hypervolume, "points simulated", "hypervolume"),
            "Volume of the objective space that the front dominates; flat where more points did not improve the front.",
        )
    if points.sensitivity:
        _sensitivity(page, points.sensitivity)
    _table(page, frame, parameters, objectives, best, most)
    return page


def _tiles(
    frame: pd.DataFrame, objectives: Sequence[str], maximize: Collection[str], best: Sequence[int]
) -> list[tuple[str, str, str]]:
    tiles = []
    for name in objectives:
        values = frame[name].dropna()
        if len(values):
            top = values.max() if name in maximize else values.min()
            worst = values.min() if name in maximize else values.max()
            tiles.append((shown(name, float(top), 3), f"best {title(name)}", f"worst {shown(name, float(worst), 3)}"))
    return [*tiles, (f"{len(best):,}", "points on the front", f"of {len(frame):,}")]


def _words(frame: pd.DataFrame, names: Sequence[str], index: int) -> str:
    return ", ".join(shown(name, _plain(frame[name].iloc[index])) for name in names)


def _plain(value: Any) -> Any:
    """Numbers of numpy as Python's."""
    return value.item() if hasattr(value, "item") else value


def _tooltip(frame: pd.DataFrame, names: Sequence[str], index: int) -> str:
    return "; ".join(f"{title(name)} {shown(name, _plain(frame[name].iloc[index]))}" for name in names)


def _front(
    page: Page,
    frame: pd.DataFrame,
    variables: Sequence[str],
    objectives: Sequence[str],
    best: Sequence[int],
    maximize: Collection[str],
) -> None:
    page.section("Pareto front")
    totals = [{name: _plain(frame[name].iloc[i]) for name in map(str, frame.columns)} for i in best[:_FRONT]]
    labels = [f"{n}: {_words(frame, variables, i)}" for n, i in enumerate(best, 1)]
    tooltips = [f"{n}: {_tooltip(frame, [*variables, *objectives], i)}" for n, i in enumerate(best, 1)]
    words = f"; labels are {', '.join(variables)}" if variables and len(best) <= MOST_WORDS else ""
    pairs = list(combinations(objectives, 2))[:3]
    for across, up in pairs:
        description = (
            f"Each point by its {title(across)} and {title(up)}; {counted(len(best), 'point')} not dominated, "
            f"from {tooltips[0]} to {tooltips[-1]}."
        )
        x, y = axis_of(frame[across], across), axis_of(frame[up], up)
        name = f"{title(up)} over {title(across)}"
        page.chart(
            scatter(name, description, x, y, best, labels, tooltips, across in maximize),
            f"Points of the front are numbered as in the table below{words}.",
        )
    rows = [
        [
            Cell(str(n), n),
            *(_cell(name, frame[name].iloc[i]) for name in variables),
            *(replace(_cell(name, frame[name].iloc[i]), text=marked(name, row)) for name in objectives),
        ]
        for (n, i), row in zip(enumerate(best, 1), totals)
    ]
    more = f", the first {_FRONT} of {len(best):,}" if len(best) > _FRONT else ""
    heads = ["#", *map(head, (*variables, *objectives))]
    page.table(heads, rows, fold=f"Points of the front{more}" if len(best) > _OPEN else "")
    if note := footnote(totals):
        page.text(note, "soft")


def _parallel(
    page: Page, frame: pd.DataFrame, variables: Sequence[str], objectives: Sequence[str], best: Sequence[int]
) -> None:
    names = [*variables[: _AXES - min(len(objectives), 3)], *objectives[:3]]
    if len(names) < 2:
        return
    page.section("Parameters and objectives")
    axes = [axis_of(frame[name], name) for name in names]
    tooltips = [_tooltip(frame, names, i) for i in best]
    description = f"One line per point through {', '.join(map(title, names))}; the lines of the front are in color."
    left_out = "" if len(names) == len(variables) + len(objectives) else " Not every parameter has an axis."
    page.chart(
        parallel("Parallel coordinates", description, axes, best, tooltips),
        f"One line per point: all of the front and at most a few hundred others.{left_out}",
    )


def _sensitivity(page: Page, sensitivity: Mapping[str, Mapping[str, float]]) -> None:
    totals: dict[str, float] = {}
    for effects in sensitivity.values():
        for name, effect in effects.items():
            if math.isfinite(effect):
                totals[name] = totals.get(name, 0.0) + max(effect, 0.0)
    labels = sorted(totals, key=lambda name: -totals[name])[:40]
    if not labels:
        return
    page.section("Sensitivity")
    panels = [
        Panel(
            title(objective),
            {objective: [v if math.isfinite(v := max(effects.get(name, 0.0), 0.0)) else 0.0 for name in labels]},
            lambda value: f"{value:.3g}",
        )
        for objective, effects in list(sensitivity.items())[:3]
    ]
    description = f"Bars by parameter, the largest effect first: {', '.join(labels[:5])}."
    page.chart(
        stacked_rows("Sensitivity of each objective", description, labels, panels),
        "Share of the variance of each objective that depends on each parameter.",
    )


def _cell(name: str, value: Any) -> Cell:
    value = _plain(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 and column_unit(name) is None:
            value = int(value)
        return Cell("" if math.isnan(value) else shown(name, value), float(value), "n")
    return Cell("" if value is None else str(value), css="k")


def _table(
    page: Page,
    frame: pd.DataFrame,
    parameters: Sequence[str],
    objectives: Sequence[str],
    best: Sequence[int],
    most: int,
) -> None:
    page.section("All points")
    order = frame[objectives[0]].reset_index(drop=True).sort_values(kind="stable").index
    places = list(dict.fromkeys([*best, *order.tolist()]))[:most]
    on_front = set(best)
    extra = [name for name in map(str, frame.columns) if name not in (*parameters, *objectives)]
    columns = [*parameters, *objectives, *extra[:_EXTRA]]
    if left_out := extra[_EXTRA:]:
        page.text(f"Without {counted(len(left_out), 'column')} of the CSV file: {', '.join(left_out)}.", "soft")
    values = {name: frame[name].tolist() for name in columns}
    rows = [
        [Cell("front" if i in on_front else "", css="k"), *(_cell(name, values[name][i]) for name in columns)]
        for i in places
    ]
    if len(places) < len(frame):
        page.text(
            f"{len(places):,} of {len(frame):,} points: the front, then the best by {title(objectives[0])}. The others "
            "are in the CSV file."
        )
    page.table(["", *map(head, columns)], rows)
