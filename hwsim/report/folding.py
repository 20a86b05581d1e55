"""Repeated blocks of a network as one: rows that several blocks have alike."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

from hwsim.report.result import LayerResult

__all__ = ["Fold", "Row", "folded", "folded_places", "folds", "pattern"]

_PERIOD = 400
"""Layers of the longest block that is looked for."""
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Fold:
    """`times` blocks of `period` layers from `start` on, each like the first; a block of one time is no fold."""

    start: int
    period: int
    times: int

    @property
    def stop(self) -> int:
        """The first place after it."""
        return self.start + self.period * self.times


def folds(keys: Sequence[Hashable]) -> list[Fold]:
    """Cover a sequence by blocks of two or more that repeat at least three times, and single items.

    Of the blocks that begin at a place the one that covers most is taken, and of those the shortest.

    >>> folds("xabababy")
    [Fold(start=0, period=1, times=1), Fold(start=1, period=2, times=3), Fold(start=7, period=1, times=1)]
    """
    codes: dict[Hashable, int] = {}
    numbers = [codes.setdefault(key, len(codes)) for key in keys]
    places: dict[int, list[int]] = {}
    for place, number in enumerate(numbers):
        places.setdefault(number, []).append(place)
    after = [0] * len(numbers)  # place of the same key in its list
    for spots in places.values():
        for index, place in enumerate(spots):
            after[place] = index
    parts: list[Fold] = []
    place, size = 0, len(numbers)
    while place < size:
        best = Fold(place, 1, 1)
        spots = places[numbers[place]]
        for other in spots[after[place] + 1 : after[place] + 41]:
            period = other - place
            if period > _PERIOD:
                break
            alike = 0
            while other + alike < size and numbers[place + alike] == numbers[other + alike]:
                alike += 1
            times = 1 + alike // period
            if times >= 3 and period > 1 and period * times > best.period * best.times:
                best = Fold(place, period, times)
        parts.append(best)
        place = best.stop
    return parts


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table of layers: one, or those that repeated blocks have in the same place."""

    name: str
    results: tuple[LayerResult, ...]

    @property
    def times(self) -> int:
        """How many layers it is of."""
        return len(self.results)

    @property
    def total_s(self) -> float:
        """Time of all of them."""
        return math.fsum(result.latency_s for result in self.results)

    @property
    def latency_s(self) -> float:
        """Mean time of one."""
        return self.total_s / self.times

    @property
    def cycles(self) -> int:
        """Mean cycles of one."""
        return round(sum(result.cycles for result in self.results) / self.times)

    @property
    def energy_pj(self) -> float:
        """Mean energy of one."""
        return math.fsum(result.energy_pj for result in self.results) / self.times

    @property
    def utilization(self) -> float:
        """Executed MACs over what the machine could have done in the time of all."""
        if self.times == 1:
            return self.results[0].utilization
        return sum(r.utilization * r.cycles for r in self.results) / max(1, sum(r.cycles for r in self.results))

    @property
    def bound(self) -> str:
        """What holds most of the time back."""
        times: dict[str, float] = {}
        for result in self.results:
            times[result.bound] = times.get(result.bound, 0.0) + result.latency_s
        return max(times, key=lambda bound: times[bound])


def folded(results: Sequence[LayerResult], apart: Callable[[str], object] = lambda name: None) -> list[Row]:
    """Rows of a table: one for all layers that repeated blocks have alike in the same place.

    `apart` tells layers apart by their name, such as by what was measured of them. Blocks whose names differ in numbers
    alone are looked for first.
    """
    keys = [(r.op, r.plan.macs, r.plan.layer.input.shape, r.plan.layer.output.shape, apart(r.name)) for r in results]
    return [Row(name, tuple(results[places])) for name, places in folded_places([r.name for r in results], keys)]


def folded_places(names: Sequence[str], keys: Sequence[tuple[Hashable, ...]]) -> Iterator[tuple[str, slice]]:
    """Rows of layers that have such names, and keys of what must be alike: the name and the places of each."""
    parts = folds([(*key, _NUMBER.sub("#", name)) for key, name in zip(keys, names, strict=True)])
    if all(part.times == 1 for part in parts):
        parts = folds(keys)
    for part in parts:
        for place in range(part.start, part.start + part.period):
            name = names[place] if part.times == 1 else pattern(names[place], names[place + part.period])
            yield name, slice(place, part.stop, part.period)


def pattern(one: str, other: str) -> str:
    """The name of two with a star for where they differ; that of the first where nothing is alike."""
    start = _alike(one, other)
    end = _alike(one[start:][::-1], other[start:][::-1])
    return f"{one[:start]}*{one[len(one) - end :]}" if start + end else one


def _alike(one: str, other: str) -> int:
    """Characters that two texts begin with alike."""
    return next((n for n, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other)))
