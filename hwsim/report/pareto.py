"""The Pareto front of arrays and of the rows of a DataFrame."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwsim.lazy import lazy

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = lazy("pandas")

__all__ = ["dominated", "front", "pareto_front"]

_BLOCK = 2**22
"""Comparisons made at a time: some tens of megabytes."""


def front(points: ArrayLike) -> NDArray[np.bool_]:
    """Mark the points on the Pareto front.

    Parameters
    ----------
    points : array of shape (points, objectives)
        Smaller is better. A point with a NaN is no point.

    Returns
    -------
    array of bool, shape (points,)
        A point is dominated if another is nowhere worse and somewhere better: equal points are on the front together.
    """
    from moocore import is_nondominated

    values = np.asarray(points, dtype=float)
    valid: NDArray[np.bool_] = ~np.isnan(values).any(axis=1)
    # Ranks are compared as their values are, and are finite: moocore is undefined for infinities.
    ranks = [np.unique(column, return_inverse=True)[1] for column in values[valid].T]
    valid[valid] = is_nondominated(np.stack(ranks, axis=1), keep_weakly=True)
    return valid


def dominated(points: ArrayLike, others: ArrayLike) -> NDArray[np.bool_]:
    """Which points one of the `others` dominates: nowhere worse, somewhere better."""
    values, rivals = np.asarray(points, dtype=float), np.asarray(others, dtype=float)
    mask = np.zeros(len(values), dtype=bool)
    step = max(1, _BLOCK // max(1, rivals.size))
    for start in range(0, len(values) if len(rivals) else 0, step):
        part = values[start : start + step, None, :]
        mask[start : start + step] = np.any(np.all(rivals <= part, axis=2) & np.any(rivals < part, axis=2), axis=1)
    return mask


def pareto_front(frame: pd.DataFrame, objectives: Sequence[str], maximize: Collection[str] = ()) -> list[int]:
    """Positions of the rows on the front of some columns, in the order of the first objective, best first.

    Smaller is better but for the columns in `maximize`. Rows that are alike are all valid; rows with an objective that
    is NaN are not.
    """
    columns = [pd.to_numeric(frame[name], errors="coerce").to_numpy(float) for name in objectives]
    signs = [-1.0 if name in maximize else 1.0 for name in objectives]
    costs = np.stack([sign * column for sign, column in zip(signs, columns)], axis=1)
    places = np.flatnonzero(front(costs))
    order: list[int] = places[np.lexsort(costs[places].T[::-1])].tolist()
    return order
