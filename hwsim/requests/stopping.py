"""Early stopping of LoadGen: how many queries may be late in a run, so that the percentile holds with confidence.

Where a share 1 - p of queries is late, the number of late ones among n is binomial. A run with t late queries passes if
so few, or fewer, are seen with a probability of at most 1 - c (c = 99 %) although the share is 1 - p: the sum of
Binomial(n, x) p^(n - x) (1 - p)^x over x from 0 to t (MLPerf Inference rules, appendix on early stopping).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["CONFIDENCE", "estimate_of", "fewest_queries", "most_late", "within_bound"]

CONFIDENCE = 0.99


@lru_cache(maxsize=256)
def most_late(queries: int, percentile: float) -> int:
    """The most late queries with which a run passes; -1 if even none is too many."""
    p = percentile / 100
    if not 0 < p < 1:
        return -1
    # Terms relative to the first one, in logarithms, up to where the sum is past any confidence: beyond the mean.
    number = min(queries, math.ceil(queries * (1 - p)) + 1)
    late = np.arange(1, number + 1, dtype=np.float64)
    steps = np.log((queries - late + 1) / late) + math.log((1 - p) / p)
    logs = queries * math.log(p) + np.concatenate([[0.0], np.cumsum(steps)])
    return int(np.searchsorted(np.cumsum(np.exp(logs)), 1 - CONFIDENCE, "right")) - 1


def fewest_queries(percentile: float, late: int = 1) -> int:
    """The fewest queries that pass with so many late ones."""
    low, high = 1, 2
    while most_late(high, percentile) < late:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if most_late(middle, percentile) >= late else (middle, high)
    return high


def within_bound(ordered: NDArray[Any], percentile: float) -> float | None:
    """The least bound with which a run of latencies in order passes; None of too few queries."""
    late = most_late(len(ordered), percentile)
    return float(ordered[len(ordered) - late - 1]) if late >= 0 else None


def estimate_of(ordered: NDArray[Any], percentile: float) -> float | None:
    """The latency that LoadGen reports of latencies in order: the t-th highest; None of too few queries."""
    late = most_late(len(ordered), percentile)
    return float(ordered[len(ordered) - late]) if late >= 1 else None
