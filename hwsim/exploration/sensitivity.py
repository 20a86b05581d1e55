"""How much each parameter matters to each objective."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hwsim.exploration.grid import Grid
from hwsim.exploration.kriging import Kriging
from hwsim.exploration.objectives import scaled

__all__ = ["sensitivity"]

_POINTS = 400
_SAMPLES = 1024


def sensitivity(grid: Grid, numbers: Sequence[int], costs: NDArray[np.float64], seed: int = 0) -> NDArray[np.float64]:
    """Total Sobol index of each axis for each objective.

    That is the share of an objective's variance (of its logarithm) over the whole space that would go if this
    parameter alone were held, so that its effects together with others count for each of them: shares may add up to
    more than 1. What an exploration simulated crowds around the front, so the shares are not taken of those points, but
    of points drawn evenly, as a kriging model through the simulated ones sees them, by the estimator of Jansen
    ("Analysis of variance designs for model output", Computer Physics Communications 117, 1999).

    Parameters
    ----------
    grid : Grid
    numbers : sequence of int
        Simulated points, and their `costs`, shape (points, objectives).

    Returns
    -------
    array of shape (objectives, axes)
        From 0 to 1; zeros where an objective does not vary.
    """
    rng = np.random.default_rng(seed)
    sizes = np.array([size for _, size in grid.axes])
    found = np.zeros((costs.shape[1], len(sizes)))
    if len(numbers) < 3 or not len(sizes):
        return found
    part = np.sort(rng.choice(len(numbers), min(_POINTS, len(numbers)), replace=False))
    places, values = grid.places([numbers[place] for place in part]), scaled(costs[part])
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
            mixed = first.copy()
            mixed[:, axis] = second[:, axis]
            found[objective, axis] = min(1.0, float(((base - model.predict(mixed)) ** 2).mean()) / 2 / variance)
    return found
