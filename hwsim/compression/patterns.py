"""The pattern of zeros in real weights: whole filters, blocks, N of every M, or none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Pattern", "pattern_of"]

#: N:M patterns and blocks that are looked for, those with the most structure first.
_GROUPS = ((1, 4), (2, 4), (4, 8))
_BLOCKS = ((16, 16), (8, 8), (4, 4), (16, 1), (1, 16), (8, 1), (1, 8), (4, 1), (1, 4), (2, 2))
_PRUNED = 0.95
"""Share of weights that are not zero above which zeros count as chance."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern, as a `TensorSpec` calls it, and of blocks their filters by inputs."""

    name: str
    block: tuple[int, int] = (1, 1)


def pattern_of(mask: NDArray[np.bool_]) -> Pattern:
    """The pattern of a mask of filters (rows) by inputs, in which those of a group are neighbors."""
    kept = float(mask.mean()) if mask.size else 1.0
    if kept == 1:
        return Pattern("dense")
    if kept > _PRUNED:
        return Pattern("random")
    filters = mask.any(1)
    if (mask[filters].all() if filters.any() else True) and not filters.all():
        return Pattern("channel")
    for keep, of in _GROUPS:
        # Zeros at random fit a pattern too if there are many: most of what fits must be kept.
        full = kept > 0.9 * keep / of and not mask.shape[1] % of
        if full and (mask.reshape(len(mask), -1, of).sum(2) <= keep).all():
            return Pattern(f"{keep}:{of}")
    for block in _BLOCKS:
        if _is_blocks(mask, block):
            return Pattern("block", block)
    return Pattern("random")


def _is_blocks(mask: NDArray[np.bool_], block: tuple[int, int]) -> bool:
    """Whether each block is all zeros or none; blocks at the edge may be smaller."""
    (rows, columns), (high, wide) = mask.shape, block
    if rows < 2 * high or columns < 2 * wide:
        return False
    whole = mask[: rows // high * high, : columns // wide * wide]
    counts = whole.reshape(rows // high, high, columns // wide, wide).sum((1, 3))
    return bool(((counts == 0) | (counts == high * wide)).all()) and bool((counts == 0).any())
