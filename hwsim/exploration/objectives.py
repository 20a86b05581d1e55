"""What is sought: columns of the results, and whether less or more of each is better."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import InputError, nearest
from hwsim.exploration.bounds import Bounds
from hwsim.sweeps.results import TOTALS

__all__ = ["Objective", "read_objectives"]

_WORDS = {
    "latency": "latency_s",
    "energy": "energy_per_inference_pj",
    "edp": "edp_pj_s",
    "area": "area_mm2",
    "cost": "cost_usd",
    "power": "power_w",
    "throughput": "inferences_per_s",
    "efficiency": "tops_per_w",
    "dram": "dram_bytes",
    "memory": "peak_memory_bytes",
}
_MORE = ("inferences_per_s", "tops_per_w", "utilization", "margin_bytes")
_MOST = 5
EXACT = ("area_mm2", "cost_usd")
"""Columns known without a simulation."""


@dataclass(frozen=True, slots=True)
class Objective:
    """One thing to have as little of as possible, or as much.

    Attributes
    ----------
    column : str
        Of the results.
    maximize : bool
    """

    column: str
    maximize: bool = False

    def __str__(self) -> str:
        return f"{'most' if self.maximize else 'least'} {self.column}"

    def cost(self, result: Mapping[str, Any]) -> float:
        """What is minimized: the value, or its negative; NaN where it is unknown."""
        value = result.get(self.column)
        found = math.nan if value is None else float(value)
        return -found if self.maximize else found

    def least_cost(self, bounds: Mapping[str, float]) -> float:
        """The cost that a point cannot beat; minus infinity where that is not known."""
        if self.column not in bounds or (self.column not in EXACT and self.maximize != Bounds.from_above(self.column)):
            return -math.inf
        return self.cost(bounds)


def read_objectives(texts: Sequence[str]) -> tuple[Objective, ...]:
    """Read ``latency``, ``energy_pj`` or ``max:utilization``.

    Raises
    ------
    InputError
        If there is none, one is given twice, or one is no column that can be compared.
    """
    if not 1 <= len(texts) <= _MOST:
        raise InputError(f"--objective must be given one to {_MOST} times, not {len(texts)}")
    found: list[Objective] = []
    numbers = [name for name in TOTALS if name != "fits"]
    for text in texts:
        sense, colon, name = text.strip().rpartition(":")
        if colon and sense not in ("min", "max"):
            raise InputError(f"an objective must begin with min: or max: if anything, not {text!r:.60}")
        column = _WORDS.get(name, name)
        component = column.startswith("energy_pj.") and len(column) > len("energy_pj.")
        if column not in numbers and not component:
            message = (
                f"an objective must be a column of the results, not {name!r:.60}{nearest(name, [*_WORDS, *numbers])}"
            )
            raise InputError(message)
        maximize = sense == "max" if colon else column in _MORE
        if any(objective.column == column for objective in found):
            raise InputError(f"each objective must be given once; {column!r} is given twice")
        found.append(Objective(column, maximize))
    return tuple(found)


def scaled(costs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Costs on axes where a factor is a distance: logarithms where all of an objective have one sign, else as is."""
    found = np.array(costs, dtype=float)
    for place in range(found.shape[1]):
        column = found[:, place]
        known = column[np.isfinite(column)]
        if len(known) and (known > 0).all():
            found[:, place] = np.log(column)
        elif len(known) and (known < 0).all():
            found[:, place] = -np.log(-column)
    return found
