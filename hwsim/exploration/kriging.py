"""Kriging: prediction of a value between samples, with its standard deviation.

A value is a linear trend over the axes plus a Gaussian process (Rasmussen and Williams, "Gaussian processes for machine
learning", 2006, ch. 2 and 5) whose correlation is a product over the axes: Matern 3/2 of the distance on a numeric axis
(of logarithms), a constant for different words. Length scales and noise maximize the likelihood of a subset of the
points, by coordinate search on a grid of factors of two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Kriging"]

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

_TUNING_POINTS = 160
_RIDGE = 1e-6


class Kriging:
    """A model of one value over a grid.

    Parameters
    ----------
    axes : sequence of (array or None, int)
        Coordinates of an axis from 0 to 1, or None if it has no order, and its size.
    """

    def __init__(self, axes: Sequence[tuple[Floats | None, int]]) -> None:
        self.axes = [(axis, size) for axis, size in axes]
        self._gaps = [
            np.abs(axis[:, None] - axis) if axis is not None else 1.0 - np.eye(size) for axis, size in self.axes
        ]
        self._lengths = np.ones(len(self.axes))
        self._noise = 1e-3
        self._tuning_points = 0

    def fit(self, places: Places, values: Floats) -> None:
        """Fit values, shape (points,), at indices on the axes, shape (points, axes)."""
        self._mean, self._scale = float(values.mean()), float(values.std()) or 1.0
        target = (values - self._mean) / self._scale
        trend = self._trend(places)
        self._slopes = np.linalg.solve(trend.T @ trend + _RIDGE * np.eye(trend.shape[1]), trend.T @ target)
        rest = target - trend @ self._slopes
        if len(values) >= 1.5 * self._tuning_points:
            self._tune(places, rest, 3 if not self._tuning_points else 1)
            self._tuning_points = len(values)
        self._places = places
        covariance = self._correlation(self._lengths, places, places)
        covariance[np.diag_indices(len(places))] += self._noise
        self._root = np.linalg.inv(np.linalg.cholesky(covariance))
        white = self._root @ rest
        self._weights = self._root.T @ white
        self._variance = float(white @ white) / len(values)

    def predict(self, places: Places) -> Floats:
        """Mean of the prediction."""
        correlation = self._correlation(self._lengths, places, self._places)
        guess = self._trend(places) @ self._slopes + correlation @ self._weights
        return np.asarray(guess * self._scale + self._mean)

    def deviation(self, places: Places) -> Floats:
        """Standard deviation of the prediction."""
        correlation = self._correlation(self._lengths, places, self._places)
        rest = 1.0 - ((correlation @ self._root.T) ** 2).sum(axis=1)
        return np.asarray(np.sqrt(np.maximum(rest, 0.0) * self._variance) * self._scale)

    def _trend(self, places: Places) -> Floats:
        columns = [np.ones(len(places))]
        for d, (axis, size) in enumerate(self.axes):
            if axis is not None:
                columns.append(axis[places[:, d]])
            else:
                columns += [(places[:, d] == place).astype(float) for place in range(1, size)]
        return np.stack(columns, axis=1)

    def _correlation(self, lengths: Floats, a: Places, b: Places) -> Floats:
        product = np.ones((len(a), len(b)))
        for d, gaps in enumerate(self._gaps):
            if len(gaps) > 1:
                distance = gaps * (math.sqrt(3) / lengths[d])
                table = (1 + distance) * np.exp(-distance)
                product *= table[a[:, d]][:, b[:, d]]
        return product

    def _tune(self, places: Places, rest: Floats, rounds: int) -> None:
        """Maximize the likelihood over length scales and noise, on an even subset of the points."""
        part = np.unique(np.linspace(0, len(rest) - 1, min(_TUNING_POINTS, len(rest))).astype(int))
        places, rest = places[part], rest[part]

        def unlikely(lengths: Floats, noise: float) -> float:
            covariance = self._correlation(lengths, places, places)
            covariance[np.diag_indices(len(places))] += noise
            try:
                root = np.linalg.cholesky(covariance)
            except np.linalg.LinAlgError:
                return math.inf
            white = np.linalg.solve(root, rest)
            fit = max(float(white @ white) / len(rest), 1e-300)
            return len(rest) / 2 * math.log(fit) + float(np.log(np.diag(root)).sum())

        best = unlikely(self._lengths, self._noise)
        for _ in range(rounds):
            for d, gaps in enumerate(self._gaps):
                for factor in (0.5, 2.0) if len(gaps) > 1 else ():
                    lengths = self._lengths.copy()
                    lengths[d] = min(max(lengths[d] * factor, 1 / 16), 32.0)
                    if (score := unlikely(lengths, self._noise)) < best:
                        best, self._lengths = score, lengths
            for factor in (0.1, 10.0):
                noise = min(max(self._noise * factor, 1e-6), 0.1)
                if (score := unlikely(self._lengths, noise)) < best:
                    best, self._noise = score, noise
