"""Objectives: result columns and their direction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import InputError, excerpt, nearest
from hwsim.exploration.bounds import Bounds
from hwsim.sweeps.serving import SERVING_TOTALS
from hwsim.sweeps.totals import TOTALS, WORDS

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
_MORE = (
    "inferences_per_s", "tops_per_w", "utilization", "margin_bytes", "queries_per_s", "offline_per_s", "tokens_per_s",
)  # fmt: skip
_MOST = 5
EXACT = ("area_mm2", "cost_usd")
"""Columns known without a simulation."""


@dataclass(frozen=True, slots=True)
class Objective:
    """A column to minimize or maximize.

    Attributes
    ----------
    column : str
        A column of the results.
    maximize : bool
    """

    column: str
    maximize: bool = False

    def __str__(self) -> str:
        return f"{'most' if self.maximize else 'least'} {self.column}"

    def cost(self, result: Mapping[str, Any]) -> float:
        """The value to minimize: that of the column, or its negative; NaN if unknown."""
        value = result.get(self.column)
        number = math.nan if value is None else float(value)
        return -number if self.maximize else number

    def least_cost(self, bounds: Mapping[str, float]) -> float:
        """Lower bound of the cost; minus infinity if there is none."""
        if self.column not in bounds or (self.column not in EXACT and self.maximize != Bounds.from_above(self.column)):
            return -math.inf
        return self.cost(bounds)


def read_objectives(texts: Sequence[str]) -> tuple[Objective, ...]:
    """Read ``latency``, ``energy_pj`` or ``max:utilization``.

    Raises
    ------
    InputError
        If there is none, one occurs twice, or one is not a numeric column.
    """
    if not 1 <= len(texts) <= _MOST:
        raise InputError(f"there must be one to {_MOST} objectives, not {len(texts)}")
    objectives: list[Objective] = []
    numbers = [name for name in (*TOTALS, *SERVING_TOTALS) if name not in ("fits", *WORDS)]
    for text in texts:
        sense, colon, name = text.strip().rpartition(":")
        if colon and sense not in ("min", "max"):
            raise InputError(f"an objective must be NAME, min:NAME or max:NAME, not {excerpt(text)}")
        column = _WORDS.get(name, name)
        component = column.startswith("energy_pj.") and len(column) > len("energy_pj.")
        if column not in numbers and not component:
            message = (
                f"an objective must be a column of the results, not {excerpt(name)}{nearest(name, [*_WORDS, *numbers])}"
            )
            raise InputError(message)
        maximize = sense == "max" if colon else column in _MORE
        if any(objective.column == column for objective in objectives):
            raise InputError(f"objectives must be distinct; {column!r} occurs twice")
        objectives.append(Objective(column, maximize))
    return tuple(objectives)


def log_scaled(costs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithms of the costs of each objective whose values all have one sign; others are unchanged."""
    result = np.array(costs, dtype=float)
    for place in range(result.shape[1]):
        column = result[:, place]
        finite = column[np.isfinite(column)]
        if len(finite) and (finite > 0).all():
            result[:, place] = np.log(column)
        elif len(finite) and (finite < 0).all():
            result[:, place] = -np.log(-column)
    return result
