"""Sensitivity of each objective to each parameter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hwsim.exploration.grid import Grid
from hwsim.exploration.kriging import Kriging
from hwsim.exploration.objectives import log_scaled

__all__ = ["sensitivity"]

_POINTS = 400
_SAMPLES = 1024


def sensitivity(grid: Grid, numbers: Sequence[int], costs: NDArray[np.float64], seed: int = 0) -> NDArray[np.float64]:
    """Total Sobol index of each axis for each objective.

    The fraction of the variance of an objective (of its logarithm) over the whole space that involves this parameter.
    Interactions count for each of their parameters, so the indices may sum to more than 1. Simulated points crowd
    around the front, so the indices are those of a kriging model at uniform random points, by the estimator of Jansen
    ("Analysis of variance designs for model output", Computer Physics Communications 117, 1999).

    Parameters
    ----------
    grid : Grid
    numbers : sequence of int
        Simulated points, and their `costs`, shape (points, objectives).

    Returns
    -------
    array of shape (objectives, axes)
        From 0 to 1; zeros if an objective is constant.
    """
    rng = np.random.default_rng(seed)
    sizes = np.array([size for _, size in grid.axes])
    indices = np.zeros((costs.shape[1], len(sizes)))
    if len(numbers) < 3 or not len(sizes):
        return indices
    part = np.sort(rng.choice(len(numbers), min(_POINTS, len(numbers)), replace=False))
    places, values = grid.places([numbers[place] for place in part]), log_scaled(costs[part])
    first = rng.integers(0, sizes, (_SAMPLES, len(sizes)))
    second = rng.integers(0, sizes, (_SAMPLES, len(sizes)))
    for objective in range(costs.shape[1]):
        if float(np.ptp(values[:, objective])) < 1e-12:
            continue
        model = Kriging(grid.axes)
        model.fit(places, values[:, objective])
        base = model.predict(first)
        variance = float(base.var())
        if not variance:
            continue
        for axis in range(len(sizes)):
            hybrid = first.copy()
            hybrid[:, axis] = second[:, axis]
            indices[objective, axis] = min(1.0, float(((base - model.predict(hybrid)) ** 2).mean()) / 2 / variance)
    return indices
