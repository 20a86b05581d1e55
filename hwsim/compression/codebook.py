"""Weight sharing: Lloyd's k-means in one dimension with a linear start (Han et al., ICLR 2016, section 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["SharedValues", "share"]

_PASSES = 300
_MOVED = 1e-4
"""Squared distance, as a share of the variance, below which centers that move stop."""


@dataclass(frozen=True, slots=True)
class SharedValues:
    """The table of shared values, which of them each value has, and how many values have each."""

    table: NDArray[np.float64]
    codes: NDArray[np.int64]
    counts: NDArray[np.int64]

    def decode(self) -> NDArray[np.float64]:
        """The shared values in place of the codes."""
        out: NDArray[np.float64] = self.table[self.codes]
        return out


def share(values: NDArray[Any], bits: int, spare: int = 0) -> SharedValues:
    """Cluster values around ``2**bits - spare`` centers, which start evenly between the least and the largest value.

    Each value then has the nearest center. Centers that no value has stay where they are. Values of which there are no
    more than centers are kept as they are.
    """
    flat = np.asarray(values, dtype=np.float64).ravel()
    number = (1 << bits) - spare
    if not flat.size:
        empty = np.zeros(0, dtype=np.int64)
        return SharedValues(np.zeros(number), empty, np.zeros(number, dtype=np.int64))
    order = np.argsort(flat, kind="stable")
    ordered = flat[order]
    sums = np.concatenate(([0.0], np.cumsum(ordered)))
    centers = np.linspace(ordered[0], ordered[-1], number)
    distinct = ordered[np.flatnonzero(np.diff(ordered, prepend=-np.inf))]
    if distinct.size <= centers.size:
        centers[: distinct.size], centers[distinct.size :] = distinct, distinct[-1]
        codes = np.searchsorted(distinct, flat)
        return SharedValues(centers, codes, np.bincount(codes, minlength=centers.size))
    limit = _MOVED * float(flat.var())
    for _ in range(_PASSES):
        edges = _edges(ordered, centers)
        counts = np.diff(edges)
        means = np.where(counts > 0, np.diff(sums[edges]) / np.maximum(counts, 1), centers)
        moved = float(((means - centers) ** 2).sum())
        centers = means
        if moved <= limit:
            break
    edges = _edges(ordered, centers)
    counts = np.diff(edges)
    codes = np.empty(flat.size, dtype=np.int64)
    codes[order] = np.repeat(np.arange(centers.size), counts)
    return SharedValues(centers, codes, counts)


def _edges(ordered: NDArray[np.float64], centers: NDArray[np.float64]) -> NDArray[np.int64]:
    """Where the values of each center begin, and the end of the last."""
    inner = np.searchsorted(ordered, (centers[1:] + centers[:-1]) / 2)
    return np.concatenate(([0], inner, [ordered.size])).astype(np.int64)
