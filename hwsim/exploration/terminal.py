"""Terminal output of an exploration: the front, its hypervolume and the sensitivities."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from hwsim.report.estimates import footnote, marked
from hwsim.report.quantity import counted, title
from hwsim.report.terminal import Column, print_folded

if TYPE_CHECKING:
    from rich.console import Console

    from hwsim.exploration.exploration import Exploration

__all__ = ["print_exploration", "sparkline"]

_ROWS = 20
_BAR = 30
_BARS = 6
_BLOCKS = "▁▂▃▄▅▆▇█"
_HEADS = {
    "latency_s": "latency",
    "energy_pj": "energy",
    "energy_per_inference_pj": "energy/inf.",
    "edp_pj_s": "energy x delay",
    "area_mm2": "area",
    "cost_usd": "cost",
    "power_w": "power",
    "inferences_per_s": "throughput",
    "tops_per_w": "TOPS/W",
}


def _head(column: str) -> str:
    """The name of an objective without the unit of its column, which its values do not have: 3.1 mJ of energy_pj."""
    return _HEADS.get(column) or title(column)


def sparkline(values: list[float]) -> str:
    """A curve in one line: a block per value, from the lowest value to 1."""
    low = min(values, default=0.0)
    span = 1.0 - low or 1.0
    return "".join(_BLOCKS[min(7, max(0, int((value - low) / span * 7.999)))] for value in values)


def _bar(share: float) -> str:
    """A bar of a share, at least thin if the share is above 0.1%."""
    full = max(0.0, min(1.0, share)) * _BAR
    part = " ▏▎▍▌▋▊▉"[int((full - int(full)) * 8)]
    return ("█" * int(full) + part).rstrip() or ("▏" if share > 0.001 else "")


def print_exploration(exploration: Exploration, console: Console) -> None:
    """Print an exploration, within 100 columns."""
    goals = ", ".join(f"{'max' if o.maximize else 'min'} {_head(o.column)}" for o in exploration.objectives)
    numbers = exploration.front_numbers
    console.print(
        Text(f"{exploration.space.name}: Pareto front of {goals}, {counted(len(numbers), 'point')}", style="bold"),
        soft_wrap=True,
    )
    _print_front(exploration, console)
    if len(numbers) > _ROWS:
        console.print(f"{counted(len(numbers) - _ROWS, 'point')} not shown; -o DIR writes all")
    console.print()
    volumes = [volume for _, volume in exploration.volumes]
    if len(volumes) > 1:
        last = exploration.volumes[-1][0]
        enough = next(step for step, volume in exploration.volumes if volume >= 0.99)
        console.print(Text("hypervolume of the front", style="bold"))
        console.print(
            Text.assemble(
                (sparkline(volumes), "cyan"),
                f"  99% after {enough:,} of {counted(last, 'point')}",
            )
        )
        console.print()
    for objective in exploration.objectives:
        _print_sensitivity(exploration, objective.column, console)
    for note in exploration.notes:
        console.print(str(note), soft_wrap=True)


def _print_front(exploration: Exploration, console: Console) -> None:
    """The front with every varied parameter, evenly thinned out if it is long."""
    numbers = exploration.front_numbers
    if len(numbers) > _ROWS:
        numbers = [numbers[round(place * (len(numbers) - 1) / (_ROWS - 1))] for place in range(_ROWS)]
    results = {outcome.number: outcome.result or {} for outcome in exploration.outcomes}
    rows = [results[number] for number in numbers]
    columns = [o.column for o in exploration.objectives]
    parts = [[Column(_head(name), [marked(name, row) for row in rows], right=True)] for name in columns]
    for parameter in exploration.space.parameters:
        if len(parameter.values) > 1:
            cells = [str(exploration.space.point(number).values[parameter.name]) for number in numbers]
            name = parameter.name
            while len(name) > 20 and "." in name:  # a long key is shortened to its last parts
                name = name.partition(".")[2]
            parts.append([Column(name, cells, most=24)])
    print_folded(console, Column("point", [str(number) for number in numbers], right=True), parts)
    if note := footnote(rows):
        console.print(note)


def _print_sensitivity(exploration: Exploration, column: str, console: Console) -> None:
    shares = sorted(exploration.sensitivity.get(column, {}).items(), key=lambda item: -item[1])
    shares = [(name, share) for name, share in shares if not math.isnan(share)][:_BARS]
    if not shares or shares[0][1] < 0.001:
        return
    console.print(Text(f"sensitivity of {_head(column)} (share of its variance)", style="bold"))
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, max_width=44, overflow="ellipsis")
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    for name, share in shares:
        table.add_row(name, f"{share:.1%}", Text(_bar(share), style="cyan"))
    console.print(table)
    console.print()
