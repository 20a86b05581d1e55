"""Collectives on a ring, executed on arrays: what every rank has in the end, and the bytes that each link carried.

Arrays are cut into as many chunks as there are ranks; the first ones are an element longer where that leaves a rest.
Rank r sends to rank r + 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["all_gather", "all_reduce", "reduce_scatter", "ring_bytes"]

Array = NDArray[Any]


def _chunks(size: int, ranks: int) -> list[slice]:
    """The place of each chunk."""
    least, rest = divmod(size, ranks)
    ends = np.cumsum([least + (place < rest) for place in range(ranks)])
    return [slice(int(end) - (least + (place < rest)), int(end)) for place, end in enumerate(ends)]


def reduce_scatter(arrays: Sequence[Array]) -> tuple[list[Array], list[int]]:
    """Sum arrays of all ranks; rank r ends with chunk r + 1 of the sum.

    Returns
    -------
    (arrays, sent)
        What lies at each rank (chunks besides its own are partial sums), and the bytes that each link carried.
    """
    ranks = len(arrays)
    held, sent = [np.array(array) for array in arrays], [0] * ranks
    chunks = _chunks(held[0].size, ranks)
    for step in range(ranks - 1):
        moved = [held[rank][chunks[(rank - step) % ranks]].copy() for rank in range(ranks)]
        for rank, values in enumerate(moved):
            sent[rank] += values.nbytes
            held[(rank + 1) % ranks][chunks[(rank - step) % ranks]] += values
    return held, sent


def all_gather(arrays: Sequence[Array]) -> tuple[list[Array], list[int]]:
    """Give every rank the chunks of all, where rank r has chunk r + 1; and the bytes that each link carried."""
    ranks = len(arrays)
    held, sent = [np.array(array) for array in arrays], [0] * ranks
    chunks = _chunks(held[0].size, ranks)
    for step in range(ranks - 1):
        moved = [held[rank][chunks[(rank + 1 - step) % ranks]].copy() for rank in range(ranks)]
        for rank, values in enumerate(moved):
            sent[rank] += values.nbytes
            held[(rank + 1) % ranks][chunks[(rank + 1 - step) % ranks]] = values
    return held, sent


def all_reduce(arrays: Sequence[Array]) -> tuple[list[Array], list[int]]:
    """Give every rank the sum of all arrays, around a ring; and the bytes that each link carried.

    Examples
    --------
    >>> sums, sent = all_reduce([np.arange(3), np.arange(3)])
    >>> sums[0].tolist(), sent
    ([0, 2, 4], [24, 24])
    """
    parts, first = reduce_scatter(arrays)
    sums, second = all_gather(parts)
    return sums, [a + b for a, b in zip(first, second, strict=True)]


def ring_bytes(size: int, ranks: int, itemsize: int = 1) -> list[int]:
    """Bytes that each link of a ring carries in an all-reduce: all chunks twice, but for one in each half."""
    lengths = [(chunk.stop - chunk.start) * itemsize for chunk in _chunks(size, ranks)]
    if ranks == 1:
        return [0]
    whole = 2 * size * itemsize
    return [whole - lengths[(rank + 1) % ranks] - lengths[(rank + 2) % ranks] for rank in range(ranks)]
