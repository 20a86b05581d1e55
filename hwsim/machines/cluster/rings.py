"""Rings in a matrix of links: directed cycles through all devices that share no link in one direction.

A link carries data both ways at once, so it is two directed edges. On two devices a link is a ring by itself. The
search is exact: it branches over the cycles that begin with one directed edge, which some ring must use or none may.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

__all__ = ["edge_disjoint_rings"]

Matrix = tuple[tuple[int, ...], ...]
_STEPS = 1_000_000
"""Steps of the search; after so many the best packing so far is taken. Up to 8 devices it ends before."""


@lru_cache(maxsize=256)
def edge_disjoint_rings(links: Matrix) -> tuple[tuple[int, ...], ...]:
    """The most directed rings through all devices, each as the devices in their order.

    Parameters
    ----------
    links : matrix
        Links between each two devices: symmetric, nothing on the diagonal.

    Returns
    -------
    tuple of tuples
        Empty where not even one ring goes through all.

    Examples
    --------
    >>> edge_disjoint_rings(((0, 2), (2, 0)))
    ((0, 1), (0, 1))
    """
    return tuple(_Packing(links).best())


class _Packing:
    def __init__(self, links: Sequence[Sequence[int]]) -> None:
        self.left = [list(row) for row in links]
        self.size = len(links)
        self.steps = _STEPS
        self.seen: dict[Matrix, int] = {}
        self.record: list[tuple[int, ...]] = []
        self.most = self._bound()

    def _bound(self) -> int:
        """No more rings than directed links out of, or into, the device that has fewest."""
        return min(*map(sum, self.left), *map(sum, zip(*self.left, strict=True)))

    def best(self) -> list[tuple[int, ...]]:
        self._search([])
        return self.record

    def _search(self, rings: list[tuple[int, ...]]) -> bool:
        """Extend a packing; true once no better one can be."""
        if len(rings) > len(self.record):
            self.record = list(rings)
        if len(self.record) == self.most:
            return True
        if len(rings) + self._bound() <= len(self.record):
            return False
        key = tuple(map(tuple, self.left))
        if self.seen.get(key, -1) >= len(rings) or self.steps <= 0:
            return False
        self.seen[key] = len(rings)
        # Every ring leaves device 0 by some edge: take the first that is left, or give it up.
        first = next((device for device, count in enumerate(self.left[0]) if count), None)
        if first is None:
            return False
        for ring in self._cycles((0, first)):
            self._take(ring, -1)
            done = self._search([*rings, ring])
            self._take(ring, 1)
            if done:
                return True
        count, self.left[0][first] = self.left[0][first], 0
        done = self._search(rings)
        self.left[0][first] = count
        return done

    def _take(self, ring: tuple[int, ...], change: int) -> None:
        for a, b in zip(ring, (*ring[1:], ring[0]), strict=True):
            self.left[a][b] += change

    def _cycles(self, path: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        """Cycles through all devices that begin with a path, along edges that are left."""
        self.steps -= 1
        if self.steps <= 0:
            return
        if len(path) == self.size:
            if self.left[path[-1]][path[0]]:
                yield path
            return
        for device, count in enumerate(self.left[path[-1]]):
            if count and device not in path:
                yield from self._cycles((*path, device))
