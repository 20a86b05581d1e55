"""Summary of a sweep: the best points, the Pareto front of latency and energy, and failures."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from rich.text import Text

from hwsim.report.estimates import footnote, marked, unmeasured
from hwsim.report.pareto import pareto_front
from hwsim.report.quantity import counted
from hwsim.report.terminal import WIDTH, Column, print_folded

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from hwsim.sweeps.space import Space

__all__ = ["OBJECTIVES", "best_of_both", "duration", "print_summary", "summary_line"]

OBJECTIVES = ("latency_s", "energy_per_inference_pj")
"""Objectives of the front; energy per inference, so that batch sizes are comparable."""

_BEST = (("latency_s", False), ("energy_per_inference_pj", False), ("edp_pj_s", False), ("inferences_per_s", True))
_NAMES = {"latency_s": "latency", "energy_per_inference_pj": "energy", "edp_pj_s": "energy x delay"}
_ROWS = 20
_FRONTS = 4


def duration(seconds: float) -> str:
    """A rounded time: 8 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def best_of_both(frame: pd.DataFrame, first: str = OBJECTIVES[0], second: str = OBJECTIVES[1]) -> pd.DataFrame:
    """The non-dominated rows for two minimized columns, in order of the first, without duplicates."""
    return frame.iloc[pareto_front(frame, [first, second])].drop_duplicates([first, second])


def summary_line(frame: pd.DataFrame) -> str:
    """The numbers of points: all, feasible, infeasible, failed."""
    good, failures = int(frame.feasible.sum()), int((frame.error != "").sum())
    text = f"{counted(len(frame), 'point')}: {good:,} feasible"
    if infeasible := len(frame) - good - failures:
        text += f", {infeasible:,} infeasible (do not fit or violate a constraint)"
    return text + (f", {failures:,} failed" if failures else "")


def print_summary(space: Space, frame: pd.DataFrame, console: Console) -> None:
    """Print the summary, within 100 columns."""
    failures = frame[frame.error != ""]
    good = frame[frame.feasible]
    console.print(Text(summary_line(frame), style="bold"))
    for message, times in Counter(failures.error).most_common(3):
        line = f"  {times:,} x {message.splitlines()[0]}"
        console.print(Text(line if len(line) <= WIDTH else line[: WIDTH - 3] + "..."), soft_wrap=True)
    variables = [p.name for p in space.parameters if len(p.values) > 1]
    for label in space.workloads:
        mine = good[good.workload == label]
        if len(mine) and len(space.workloads) <= _FRONTS:
            _print_one(label, mine, [name for name in variables if name != "workload"], console)


def _print_one(label: str, good: pd.DataFrame, variables: list[str], console: Console) -> None:
    rows: list[dict[str, Any]] = []
    words: list[str] = []
    for column, most in _BEST:
        if good[column].notna().any():
            rows.append(_first(good, column, most))
            words.append(("most " if most else "least ") + _NAMES.get(column, "throughput"))
        if column == OBJECTIVES[1] and rows and unmeasured(rows[-1]):
            others = good[[not unmeasured(_row(row)) for _, row in good.iterrows()]]
            if others[column].notna().any():
                rows.append(_first(others, column))
                words.append("least energy, no *")
    console.print()
    console.print(Text(f"{label}: best points", style="bold"))
    _print_rows(Column("best", words), rows, variables, console)
    best = best_of_both(good)
    if not len(best):
        return
    console.print()
    head = f"{label}: Pareto front of latency and energy per inference, {counted(len(best), 'point')}"
    console.print(Text(head, style="bold"))
    some = best if len(best) <= _ROWS else best.iloc[[round(i * (len(best) - 1) / (_ROWS - 1)) for i in range(_ROWS)]]
    points = [_row(row) for _, row in some.iterrows()]
    _print_rows(Column("point", [str(row["point"]) for row in points], right=True), points, variables, console)
    if len(some) < len(best):
        console.print(f"{counted(len(best) - len(some), 'more point')} in the CSV file")


def _first(frame: pd.DataFrame, column: str, most: bool = False) -> dict[str, Any]:
    """The best row, the fastest of equal ones."""
    order = [column, *(name for name in OBJECTIVES[:1] if name != column)]
    ranked = frame.sort_values(order, ascending=[not most, *(True for _ in order[1:])], kind="stable")
    return _row(ranked.iloc[0])


def _row(row: pd.Series) -> dict[str, Any]:
    return {str(name): value for name, value in row.items()}


def _print_rows(key: Column, rows: list[dict[str, Any]], variables: list[str], console: Console) -> None:
    """Objectives and every swept parameter of some points, and what the star of an energy means."""
    parts = [[Column(_NAMES[name], [marked(name, row, 3) for row in rows], right=True)] for name in OBJECTIVES]
    parts += [[Column(name, [str(row[name]) for row in rows], most=max(len(name), 24))] for name in variables]
    print_folded(console, key, parts)
    if note := footnote(rows):
        console.print(note)
