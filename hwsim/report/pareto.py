"""Which points of a sweep no other beats: the Pareto front."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["costs", "pareto_front"]


def costs(frame: pd.DataFrame, objectives: Sequence[str], maximise: Collection[str] = ()) -> NDArray[np.float64]:
    """Objectives of each point (points x objectives), less is better; NaN where a point failed."""
    import pandas as pd

    columns = [pd.to_numeric(frame[name], errors="coerce").to_numpy(float) for name in objectives]
    signs = [-1.0 if name in maximise else 1.0 for name in objectives]
    return np.stack([sign * column for sign, column in zip(signs, columns)], axis=1)


def pareto_front(frame: pd.DataFrame, objectives: Sequence[str], maximise: Collection[str] = ()) -> list[int]:
    """Positions of the points that no other is at least as good as in all objectives and better in one.

    Points that are alike are all kept; points with an objective that is NaN are not. In the order of the first
    objective, best first.
    """
    given = costs(frame, objectives, maximise)
    left = np.flatnonzero(~np.isnan(given).any(axis=1))
    # In this order a point can be beaten by one before it alone, so what comes first is always on the front.
    left = left[np.lexsort(given[left].T[::-1])]
    found: list[int] = []
    while left.size:
        best = given[left[0]]
        alike = (given[left] == best).all(axis=1)
        found += left[alike].tolist()
        left = left[~(given[left] >= best).all(axis=1)]
    return found
