"""The Pareto front of points, and the volume that it dominates: everything here is minimised."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["dominated", "front", "hypervolume"]

Points = NDArray[np.float64]

_BLOCK = 2**22
"""Comparisons made at a time: some tens of megabytes."""


def front(points: ArrayLike) -> NDArray[np.bool_]:
    """Which points no other dominates.

    Parameters
    ----------
    points : array of shape (points, objectives)
        Smaller is better. A point with a NaN is no point.

    Returns
    -------
    array of bool, shape (points,)
        A point is dominated if another is nowhere worse and somewhere better: equal points are on the front together.
    """
    values = np.asarray(points, dtype=float)
    real = np.flatnonzero(~np.isnan(values).any(axis=1))
    kept = np.zeros(len(values), dtype=bool)
    # In the order of their first objectives only an earlier point can dominate a later one.
    order = real[np.lexsort(values[real].T[::-1])]
    found = np.empty((0, values.shape[1]))
    size = 256
    for start in range(0, len(order), size):
        block = order[start : start + size]
        block = block[~dominated(values[block], found)]
        block = block[~dominated(values[block], values[block])]
        kept[block] = True
        found = np.concatenate([found, values[block]])
    return kept


def dominated(points: ArrayLike, others: ArrayLike) -> NDArray[np.bool_]:
    """Which points one of the `others` dominates: nowhere worse, somewhere better."""
    values, rivals = np.asarray(points, dtype=float), np.asarray(others, dtype=float)
    found = np.zeros(len(values), dtype=bool)
    step = max(1, _BLOCK // max(1, rivals.size))
    for start in range(0, len(values) if len(rivals) else 0, step):
        part = values[start : start + step, None, :]
        found[start : start + step] = np.any(np.all(rivals <= part, axis=2) & np.any(rivals < part, axis=2), axis=1)
    return found


def hypervolume(points: ArrayLike, reference: ArrayLike) -> float:
    """Volume between the front of the points and a reference point, exact in any number of objectives.

    Two objectives are summed in steps, three are swept in slices. More are cut down by the exclusive volumes of While,
    Bradstreet and Barone ("A fast way of calculating exact hypervolumes", IEEE TEVC 16(1), 2012).

    Parameters
    ----------
    points : array of shape (points, objectives)
        Smaller is better; what is not better than the reference in every objective adds nothing.
    reference : array of shape (objectives,)
    """
    values, limit = np.asarray(points, dtype=float), np.asarray(reference, dtype=float)
    values = values.reshape(-1, len(limit))
    values = values[(values < limit).all(axis=1)]
    return _volume(np.unique(values[front(values)], axis=0), limit) if len(values) else 0.0


def _volume(values: Points, limit: Points) -> float:
    """Volume of a front without duplicates, ordered by its first objective."""
    if len(values) == 1 or len(limit) == 1:
        return float(np.prod(limit - values[0]))
    if len(limit) == 2:
        return _area(values, limit)
    if len(limit) == 3:
        values = values[np.argsort(values[:, 2], kind="stable")]
        heights = np.append(values[:, 2], limit[2])
        total, steps = 0.0, np.empty((0, 2))
        for place, point in enumerate(values):
            if not (steps <= point[:2]).all(axis=1).any():
                steps = np.concatenate([steps[~(steps >= point[:2]).all(axis=1)], point[None, :2]])
                steps = steps[np.argsort(steps[:, 0])]
            total += _area(steps, limit[:2]) * (heights[place + 1] - heights[place])
        return total
    # Each point adds its box less what of it the points after it dominate.
    total = 0.0
    for place, point in enumerate(values):
        box = float(np.prod(limit - point))
        rest = np.maximum(values[place + 1 :], point)
        total += box - (_volume(np.unique(rest[front(rest)], axis=0), limit) if len(rest) else 0.0)
    return total


def _area(steps: Points, limit: Points) -> float:
    """Area under a staircase that falls as its first objective grows."""
    widths = np.diff(np.append(steps[:, 0], limit[0]))
    return float(np.sum(widths * (limit[1] - steps[:, 1])))
