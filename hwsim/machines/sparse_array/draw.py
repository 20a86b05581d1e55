"""How many stored entries a slice of a tensor has, where only its density is known: expectation and draws.

A slice of L values of density d has ``Binomial(L, d)`` values that are not zero. A run of 2^b zeros or more before one
of them is cut by fillers; zeros behind the last one are not stored. The expected number of fillers is

    sum over m >= 1 with m z < L of (L - m z) d (1 - d)^(m z),  z = 2^b,

the mean over positions e < L of the m-th filler before a value at e. Draws take fillers as Poisson of that mean.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["Draw", "expected_fillers"]

_MOST_TERMS = 4096


def expected_fillers(values: int, density: float, index_bits: int) -> float:
    """Expected fillers of a slice of so many values."""
    span = 1 << index_bits
    if not 0 < density < 1 or values <= span:
        return 0.0
    terms = min((values - 1) // span, _MOST_TERMS)
    m = np.arange(1, terms + 1, dtype=float)
    return float(((values - m * span) * density * np.exp(m * span * math.log1p(-density))).sum())


@lru_cache(1024)
def _cumulative(values: int, density: float, index_bits: int) -> tuple[int, NDArray[np.float64]]:
    """First number of entries and the cumulative distribution from there on."""
    mean = values * density
    fillers = expected_fillers(values, density, index_bits)
    spread = math.sqrt(mean * (1 - density))
    low = max(0, math.floor(mean - 9 * spread - 9))
    high = min(values, math.ceil(mean + 9 * spread + 9))
    if 0 < density < 1:
        k = np.arange(low, high + 1, dtype=float)
        gamma = np.vectorize(math.lgamma, otypes=[float])
        logs = math.lgamma(values + 1) - gamma(k + 1) - gamma(values - k + 1)
        pmf = np.exp(logs + k * math.log(density) + (values - k) * math.log1p(-density))
    else:
        low, pmf = round(mean), np.ones(1)
    if fillers > 0:
        most = math.ceil(fillers + 9 * math.sqrt(fillers) + 9)
        k = np.arange(most + 1, dtype=float)
        gamma = np.vectorize(math.lgamma, otypes=[float])
        pmf = np.convolve(pmf, np.exp(k * math.log(fillers) - fillers - gamma(k + 1)))
    cumulative = np.cumsum(pmf)
    return low, cumulative / cumulative[-1]


class Draw:
    """Draws of entries that are the same on every machine and for every version of numpy."""

    def __init__(self, seed: int) -> None:
        self._state = np.random.RandomState(seed % 2**32)

    def entries(self, values: int, density: float, index_bits: int, shape: tuple[int, ...]) -> NDArray[np.int64]:
        """Stored entries of slices of so many values each."""
        low, cumulative = _cumulative(values, density, index_bits)
        if len(cumulative) == 1:
            return np.full(shape, low, np.int64)
        uniform = self._state.random_sample(shape)
        return low + np.searchsorted(cumulative, uniform, side="right").astype(np.int64)

    def choice(self, among: int, number: int) -> NDArray[np.int64]:
        """So many of the first integers, in order."""
        return np.sort(self._state.permutation(among)[:number])

    def mask(self, shape: tuple[int, ...], density: float) -> NDArray[np.bool_]:
        """Values that are not zero, each by itself."""
        return np.asarray(self._state.random_sample(shape) < density)
