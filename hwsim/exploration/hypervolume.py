"""The volume that the Pareto front of some points dominates: everything here is minimised."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwsim.report.pareto import front

__all__ = ["hypervolume"]

Points = NDArray[np.float64]


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
