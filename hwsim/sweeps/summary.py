"""Summary of a sweep: the best points, the Pareto front of latency and energy, and failures."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from hwsim.report.pareto import pareto_front
from hwsim.report.quantity import counted, shown

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from hwsim.sweeps.space import Space

__all__ = ["OBJECTIVES", "best_of_both", "duration", "print_summary", "summary_line"]

OBJECTIVES = ("latency_s", "energy_per_inference_pj")
"""Objectives of the front; energy per inference, so that batch sizes are comparable."""

_BEST = (("latency_s", False), ("energy_per_inference_pj", False), ("edp_pj_s", False), ("inferences_per_s", True))
_ROWS = 20
_WIDTH = 100
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


def print_summary(space: Space, frame: pd.DataFrame, console: Console, narrow: int = _WIDTH) -> None:
    """Print the summary, within 100 columns."""
    failures = frame[frame.error != ""]
    good = frame[frame.feasible]
    console.print(Text(summary_line(frame), style="bold"))
    for message, times in Counter(failures.error).most_common(3):
        line = f"  {times:,} x {message.splitlines()[0]}"
        console.print(Text(line if len(line) <= narrow else line[: narrow - 3] + "..."), soft_wrap=True)
    variables = [p.name for p in space.parameters if len(p.values) > 1]
    for label in space.workloads:
        mine = good[good.workload == label]
        if len(mine) and len(space.workloads) <= _FRONTS:
            _print_one(label, mine, [name for name in variables if name != "workload"], console, narrow)


def _print_one(label: str, good: pd.DataFrame, variables: list[str], console: Console, narrow: int) -> None:
    console.print()
    columns = [(column, most) for column, most in _BEST if good[column].notna().any()]
    rows: list[tuple[str, Any]] = []
    for column, most in columns:
        order = good.sort_values(column, ascending=not most, kind="stable")
        rows.append(("most " if most else "least ", (column, order.iloc[0])))
    table = _table(variables, ["best", *OBJECTIVES], narrow)
    for word, (column, row) in rows:
        name = {"latency_s": "latency", "energy_per_inference_pj": "energy", "edp_pj_s": "energy x delay"}
        cells = [word + name.get(column, "throughput")]
        table.add_row(*cells, *_cells(row, table, variables))
    console.print(Text(f"{label}: best points", style="bold"))
    console.print(table)
    best = best_of_both(good)
    if not len(best):
        return
    console.print()
    console.print(
        Text(f"{label}: Pareto front of latency and energy per inference, {counted(len(best), 'point')}", style="bold")
    )
    table = _table(variables, ["point", *OBJECTIVES], narrow)
    some = best if len(best) <= _ROWS else best.iloc[[round(i * (len(best) - 1) / (_ROWS - 1)) for i in range(_ROWS)]]
    for _, row in some.iterrows():
        table.add_row(str(row["point"]), *_cells(row, table, variables))
    console.print(table)
    if len(some) < len(best):
        console.print(f"{counted(len(best) - len(some), 'more point')} in the CSV file")


def _table(variables: list[str], columns: list[str], narrow: int) -> Table:
    """A table with as many swept parameters as fit its width."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    head = {"latency_s": "latency", "energy_per_inference_pj": "energy"}
    for column in columns:
        table.add_column(head.get(column, column), justify="left" if column == "best" else "right", no_wrap=True)
    room = narrow - 16 * len(columns)
    for name in variables:
        width = max(len(name), 8) + 2
        if width > room:
            break
        room -= width
        table.add_column(name, no_wrap=True, max_width=max(len(name), 24), overflow="ellipsis")
    return table


def _cells(row: Any, table: Table, variables: list[str]) -> list[str]:
    heads = [str(column.header) for column in table.columns]
    return [shown(o, row[o], 3) for o in OBJECTIVES] + [str(row[name]) for name in variables if name in heads]
