"""Chains: the tile sizes of one dim through the loops of a nest, from the outermost buffer down to a unit."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

__all__ = ["Ints", "chains", "multiples"]

_EACH = 12
"""Multiples up to here are all tried; beyond, four an octave."""
_PIECES = 1000
"""Dims below this are cut into every number of pieces for the outermost buffer, larger ones into multiples."""
_RAGGED = 64
"""Dims up to here are also cut into the least tile for each number of pieces, no multiple of what is inside."""


@lru_cache(maxsize=256)
def multiples(most: int) -> tuple[int, ...]:
    """Factors worth trying, up to `most`, which stands for all that are larger.

    They are the same for every layer and every machine. So a tiling of a larger layer, cut to a smaller one, is a
    tiling of that one too: the best cost never falls as a layer grows.
    """
    values = list(range(1, min(most, _EACH) + 1))
    octave, step = 8, 2
    while octave <= most:
        values += [v for v in range(octave, 2 * octave, step) if _EACH < v <= most]
        octave, step = 2 * octave, 2 * step
    return (*values, most) if values[-1] < most else tuple(values)


def _first_of(keys: tuple[Ints, ...], value: Ints) -> NDArray[np.bool_]:
    """Of rows with equal keys, the one with the least value."""
    order = np.lexsort((value, *keys[::-1]))
    keep = np.ones(len(value), dtype=bool)
    same = np.ones(len(value) - 1, dtype=bool)
    for key in keys:
        same &= key[order][1:] == key[order][:-1]
    keep[order[1:][same]] = False
    return keep


@lru_cache(maxsize=1024)
def chains(size: int, cuts: int, rows: int, cols: int, unit: int) -> Ints:
    """All chains of a dim worth trying, a row each: its tile under each buffer, in the array, in a row, in a unit.

    Parameters
    ----------
    cuts : int
        Blocks of loops above shared memories that may cut the dim.
    rows, cols : int
        Positions that it may take on each axis of the array.
    unit : int
        The largest tile inside a unit.
    """
    parts = []
    inside = multiples(size) if size <= unit else [r for r in multiples(size) if r <= unit]
    for r in inside:
        c = np.arange(1, min(cols, -(-size // r)) + 1, dtype=np.int64)
        x = np.minimum(r * c, size)
        across = -(-size // x)
        most = np.minimum(rows, across)
        index = np.repeat(np.arange(len(c)), most)
        down = np.arange(len(index)) - np.repeat(np.cumsum(most) - most, most) + 1
        parts.append(np.column_stack([np.full(len(index), r), c[index], down, x[index]]))
    array = np.vstack(parts)
    r, c, down, x = array.T
    u = np.minimum(x * down, size)
    tiles = np.column_stack([u, x, r])
    counts = [c, down]
    whole = np.zeros(len(tiles), dtype=np.int64)
    for cut in range(cuts):
        at_factor: list[Ints] = []
        factors: list[Ints] = []
        most = -(-size // tiles[:, 0])
        if cut == cuts - 1 and size < _PIECES:  # the least multiple for each number of pieces: no other is better
            for tile in sorted({-(-size // pieces) for pieces in range(1, size + 1)}):
                at_factor.append(np.arange(len(tiles)))
                factors.append(-(-tile // tiles[:, 0]))
        else:
            for j in multiples(int(most.max())):
                where = np.flatnonzero(most >= j)
                at_factor.append(where)
                factors.append(np.full(len(where), j))
        at_factor.append(np.arange(len(tiles)))
        factors.append(most)
        at, times = np.concatenate(at_factor), np.concatenate(factors)
        outer = np.minimum(tiles[at, 0] * times, size)
        # of multiples that leave as many pieces outside, the least
        keep = _first_of((-(-size // outer), *tiles[at].T, *(count[at] for count in counts)), times)
        outer, at, times = outer[keep], at[keep], times[keep]
        if cut == cuts - 1 and size <= _RAGGED:  # the least tile; a multiple where it takes fewer steps inside
            least = np.maximum(-(-size // -(-size // outer)), tiles[at, 0])
            fewer = (least < outer) & (_steps(size, outer, tiles[at, 0]) < _steps(size, least, tiles[at, 0]))
            outer, at, times = (
                np.concatenate([least, outer[fewer]]),
                np.append(at, at[fewer]),
                np.append(times, times[fewer]),
            )
            whole = np.append(np.zeros(len(least), dtype=np.int64), np.ones(int(fewer.sum()), dtype=np.int64))
        tiles = np.column_stack([outer, tiles[at]])
        counts = [count[at] for count in counts] + [times]
    if len(whole) != len(tiles):
        whole = np.zeros(len(tiles), dtype=np.int64)
    outer = -(-size // tiles[:, 0])
    for name in (0, 1, -1):  # the least of one factor where all the others are equal
        value = tiles[:, -1] if name == -1 else counts[name]
        others = [tiles[:, -1] if name != -1 else None, *(counts[i] for i in range(len(counts)) if i != name)]
        keep = _first_of((outer, whole, *(o for o in others if o is not None)), value)
        tiles, counts, outer, whole = tiles[keep], [count[keep] for count in counts], outer[keep], whole[keep]
    order = np.lexsort((*tiles.T, outer))
    return tiles[order]


def _steps(size: int, outer: Ints, inner: Ints) -> Ints:
    """Tiles of the inner size in all pieces of the outer one."""
    full, rest = np.divmod(size, outer)
    steps: Ints = full * -(-outer // inner) + -(-rest // inner)
    return steps
