"""Pruning by magnitude: which weights are kept, alone or in channels, blocks and N:M groups."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.workload import Layer
from hwsim.workload.recipe import Prune
from hwsim.workload.zeros import Kept, kept_of

__all__ = ["grouped", "layer_kept", "pruning_mask", "ungrouped"]

Bools = NDArray[np.bool_]


def pruning_mask(matrix: NDArray[Any], prune: Prune) -> Bools:
    """Which weights of a matrix of filters (rows) by inputs are kept: those of largest magnitude.

    Parameters
    ----------
    matrix : 2-D array
        A filter a row.
    prune : Prune
        ``channel`` keeps whole filters by their L2 norm, ``block`` tiles by theirs, N:M the N largest of every M along
        a row.
    """
    size = np.abs(np.asarray(matrix, dtype=np.float64))
    kept, of = prune.groups
    if of:
        return _groups(size, kept, of)
    if prune.pattern == "channel":
        rows = _largest((size**2).sum(1), prune.kept)
        return np.broadcast_to(rows[:, None], size.shape).copy()
    if prune.pattern == "block":
        return _blocks(size, prune)
    return _largest(size.ravel(), prune.kept).reshape(size.shape)


def grouped(weights: NDArray[Any]) -> NDArray[Any]:
    """Weights of a layer as filters (rows) by inputs; neighbors are input channels at one position of a filter."""
    if weights.ndim == 2:  # inputs x outputs
        return weights.T
    last = np.moveaxis(weights, 1, -1)
    return last.reshape(len(last), -1)


def layer_kept(layer: Layer, mask: Bools) -> Kept:
    """The mask of a layer's weights as groups x outputs x inputs x taps."""
    if mask.ndim == 2:
        return kept_of(mask, ("io", 1))
    groups = getattr(layer, "groups", 1)
    return kept_of(mask, ("oi" + "t" * (mask.ndim - 2), groups if len(mask) % groups == 0 else 1))


def ungrouped(rows: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """The weights in the shape of the layer again."""
    if len(shape) == 2:
        return rows.T
    return np.moveaxis(rows.reshape(shape[0], *shape[2:], shape[1]), -1, 1)


def _largest(values: NDArray[np.float64], share: float) -> Bools:
    """The largest values, so many as their share rounds to; of equal ones those that come first."""
    kept = round(values.size * share)
    if kept in (0, values.size):
        return np.full(values.size, bool(kept))
    limit = np.partition(values, values.size - kept)[values.size - kept]
    mask: Bools = values > limit
    mask[np.flatnonzero(values == limit)[: kept - int(mask.sum())]] = True
    return mask


def _groups(size: NDArray[np.float64], kept: int, of: int) -> Bools:
    groups = size.reshape(len(size), -1, of)
    order = np.argsort(-groups, axis=2, kind="stable")[:, :, :kept]
    mask = np.zeros(groups.shape, dtype=bool)
    np.put_along_axis(mask, order, True, axis=2)
    return mask.reshape(size.shape)


def _blocks(size: NDArray[np.float64], prune: Prune) -> Bools:
    (rows, columns), (high, wide) = size.shape, prune.block
    down, across = math.ceil(rows / high), math.ceil(columns / wide)
    padded = np.zeros((down * high, across * wide))
    padded[:rows, :columns] = size**2
    norms = padded.reshape(down, high, across, wide).sum((1, 3))
    chosen = _largest(norms.ravel(), prune.kept).reshape(norms.shape)
    return np.repeat(np.repeat(chosen, high, axis=0), wide, axis=1)[:rows, :columns].copy()
