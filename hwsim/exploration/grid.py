"""A space as a grid: the axes that vary, with coordinates, and the neighbors of a point."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.sweeps.space import Space

__all__ = ["Grid"]

_LISTED = 100_000


class Grid:
    """The axes of a space.

    Attributes
    ----------
    labels : list of str
        What varies on each axis; parameters that vary together share one.
    axes : list of (array or None, int)
        Coordinates of the places of an axis from 0 to 1 (of the logarithm, where all are above zero), None for words;
        and how many places there are.
    listed : array of int or None
        All points, in order, where they are few enough to list.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        sizes = [len(axis[0].values) for axis in space.axes]
        self._strides = [math.prod(sizes[place + 1 :]) for place in range(len(sizes))]
        self._varied = [place for place, size in enumerate(sizes) if size > 1]
        self.labels = [" + ".join(p.name for p in space.axes[place]) for place in self._varied]
        self.axes = [(_coordinates(space.axes[place][0].measured), sizes[place]) for place in self._varied]
        self.listed = np.array(space.numbers()) if space.size <= _LISTED else None

    def places(self, numbers: Iterable[int]) -> NDArray[np.int64]:
        """Places of points on the axes, shape (points, axes)."""
        given = list(numbers)
        rows = [
            [number // self._strides[axis] % size for axis, (_, size) in zip(self._varied, self.axes)]
            for number in given
        ]
        return np.array(rows, dtype=np.int64).reshape(len(given), len(self.axes))

    def number(self, places: Iterable[int]) -> int:
        """The point at these places."""
        return sum(int(place) * self._strides[axis] for place, axis in zip(places, self._varied))

    def neighbors(self, number: int, reach: int = 2) -> Iterator[int]:
        """Points that differ on one axis, by at most `reach` places where it has an order; allowed ones."""
        here = self.places([number])[0]
        for axis, (coordinates, size) in enumerate(self.axes):
            low, high = (0, size) if coordinates is None else (here[axis] - reach, here[axis] + reach + 1)
            for place in range(max(0, low), min(size, high)):
                if place != here[axis]:
                    there = here.copy()
                    there[axis] = place
                    found = self.number(there)
                    if self.space.allows(found):
                        yield found

    def corners(self, count: int, rng: np.random.Generator) -> dict[int, None]:
        """At most so many points at the first or last place of every axis, as far as they are allowed."""
        found: dict[int, None] = {}
        for _ in range(count):
            number = self.number(int(rng.integers(2)) * (size - 1) for _, size in self.axes)
            if self.space.allows(number):
                found[number] = None
        return found

    def spread(self, count: int, rng: np.random.Generator) -> list[int]:
        """Points with every value of every axis about equally often (a Latin hypercube), as far as they are allowed."""
        found: dict[int, None] = {}
        for _ in range(20):
            columns = [rng.permutation(np.resize(rng.permutation(size), count)) for _, size in self.axes]
            for places in zip(*columns):
                number = self.number(places)
                if len(found) < count and number not in found and self.space.allows(number):
                    found[number] = None
            if len(found) >= count or not self.axes:
                break
        if len(found) < count and self.listed is not None:
            for number in rng.permutation(self.listed).tolist():
                if len(found) >= count:
                    break
                found[number] = None
        return list(found)

    def sample(self, count: int, rng: np.random.Generator) -> list[int]:
        """Points at random, as far as they are allowed; fewer where few are."""
        if self.listed is not None:
            return [int(n) for n in rng.choice(self.listed, min(count, len(self.listed)), replace=False)]
        found: dict[int, None] = {}
        for _ in range(20 * count):
            number = self.number(int(rng.integers(size)) for _, size in self.axes)
            if self.space.allows(number):
                found[number] = None
            if len(found) >= count:
                break
        return list(found)


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
