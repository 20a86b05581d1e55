"""A space as a grid: axes with coordinates, sampling, and the neighbors of a point."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.sweeps.space import Space

__all__ = ["Grid"]

_MAX_POINTS = 100_000


class Grid:
    """The axes of a space.

    Attributes
    ----------
    labels : list of str
        Parameter names of each axis; parameters that vary together share one.
    axes : list of (array or None, int)
        Coordinates of an axis from 0 to 1 (of the logarithm, if all are positive), None for words; and its size.
    all_points : array of int or None
        All points, in order, if there are at most 100,000.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        sizes = [len(axis[0].values) for axis in space.axes]
        self._strides = [math.prod(sizes[place + 1 :]) for place in range(len(sizes))]
        self._free_axes = [place for place, size in enumerate(sizes) if size > 1]
        self.labels = [" + ".join(p.name for p in space.axes[place]) for place in self._free_axes]
        self.axes = [(_coordinates(space.axes[place][0].quantities), sizes[place]) for place in self._free_axes]
        self.all_points = np.array(space.numbers()) if space.size <= _MAX_POINTS else None

    def places(self, numbers: Iterable[int]) -> NDArray[np.int64]:
        """Indices of points on the axes, shape (points, axes)."""
        points = list(numbers)
        rows = [
            [number // self._strides[axis] % size for axis, (_, size) in zip(self._free_axes, self.axes)]
            for number in points
        ]
        return np.array(rows, dtype=np.int64).reshape(len(points), len(self.axes))

    def number(self, places: Iterable[int]) -> int:
        """The number of the point with these indices."""
        return sum(int(place) * self._strides[axis] for place, axis in zip(places, self._free_axes))

    def neighbors(self, number: int, reach: int = 2) -> Iterator[int]:
        """Allowed points that differ on one axis, by at most `reach` indices if the axis is ordered."""
        here = self.places([number])[0]
        for axis, (coordinates, size) in enumerate(self.axes):
            low, high = (0, size) if coordinates is None else (here[axis] - reach, here[axis] + reach + 1)
            for place in range(max(0, low), min(size, high)):
                if place != here[axis]:
                    there = here.copy()
                    there[axis] = place
                    other = self.number(there)
                    if self.space.allows(other):
                        yield other

    def corners(self, count: int, rng: np.random.Generator) -> dict[int, None]:
        """At most `count` allowed points at the ends of every axis."""
        points: dict[int, None] = {}
        for _ in range(count):
            number = self.number(int(rng.integers(2)) * (size - 1) for _, size in self.axes)
            if self.space.allows(number):
                points[number] = None
        return points

    def spread(self, count: int, rng: np.random.Generator) -> list[int]:
        """Allowed points of a Latin hypercube: every value of every axis about equally often."""
        points: dict[int, None] = {}
        for _ in range(20):
            columns = [rng.permutation(np.resize(rng.permutation(size), count)) for _, size in self.axes]
            for places in zip(*columns):
                number = self.number(places)
                if len(points) < count and number not in points and self.space.allows(number):
                    points[number] = None
            if len(points) >= count or not self.axes:
                break
        if len(points) < count and self.all_points is not None:
            for number in rng.permutation(self.all_points).tolist():
                if len(points) >= count:
                    break
                points[number] = None
        return list(points)

    def sample(self, count: int, rng: np.random.Generator) -> list[int]:
        """At most `count` random allowed points."""
        if self.all_points is not None:
            return [int(n) for n in rng.choice(self.all_points, min(count, len(self.all_points)), replace=False)]
        points: dict[int, None] = {}
        for _ in range(20 * count):
            number = self.number(int(rng.integers(size)) for _, size in self.axes)
            if self.space.allows(number):
                points[number] = None
            if len(points) >= count:
                break
        return list(points)


def _coordinates(values: Sequence[Any]) -> NDArray[np.float64] | None:
    if any(isinstance(value, (str, bool)) for value in values):
        return None
    numbers = np.asarray(list(map(float, values)), dtype=np.float64)
    if not np.isfinite(numbers).all():
        return None
    if (numbers > 0).all():
        numbers = np.log(numbers)
    low, span = float(numbers.min()), float(np.ptp(numbers))
    return np.asarray((numbers - low) / (span or 1.0))
