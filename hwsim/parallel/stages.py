"""Stages of a pipeline: consecutive layers, so that the slowest stage takes as little time as can be."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

__all__ = ["balanced_cuts", "ranges"]


def balanced_cuts(seconds: Sequence[float], stages: int, legal: Sequence[int] | None = None) -> tuple[int, ...]:
    """The layers after which to cut, so that the longest stage is shortest.

    Parameters
    ----------
    seconds : sequence of float
        Of each layer.
    stages : int
    legal : sequence of int, optional
        Places after which a cut may be; default: all.

    Examples
    --------
    >>> balanced_cuts([1, 2, 3, 4], 2)
    (2,)
    """
    places = [place for place in (range(len(seconds) - 1) if legal is None else legal) if place < len(seconds) - 1]
    sums = [0.0, *accumulate(seconds)]
    ends = [*places, len(seconds) - 1]
    # best[j]: the least longest stage of the layers up to ends[j], and the cuts of it.
    best: list[tuple[float, tuple[int, ...]]] = [(sums[end + 1], ()) for end in ends]
    for stage in range(1, stages):
        new = list[tuple[float, tuple[int, ...]]]()
        for j, end in enumerate(ends):
            options = [
                (max(best[i][0], sums[end + 1] - sums[ends[i] + 1]), (*best[i][1], ends[i]))
                for i in range(stage - 1, j)
            ]
            new.append(min(options, default=(float("inf"), ())))
        best = new
    return best[-1][1]


def ranges(cuts: Sequence[int], layers: int) -> list[range]:
    """The layers of each stage."""
    return [range(a, b) for a, b in pairwise([0, *(cut + 1 for cut in cuts), layers])]
