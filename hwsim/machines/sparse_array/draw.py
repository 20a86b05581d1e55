"""How many stored entries a slice of a tensor has, where only its density is known: expectation and draws.

A slice of L values of density d has ``Binomial(L, d)`` values that are not zero. A run of 2^b zeros or more before one
of them is cut by fillers; zeros behind the last one are not stored. The expected number of fillers is

    sum over m >= 1 with m z < L of (L - m z) d (1 - d)^(m z),  z = 2^b,

the mean over positions e < L of the m-th filler before a value at e. Draws take fillers as Poisson of that mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

__all__ = ["Draw", "binomial", "draws_of", "expected_fillers"]

_DRAWS, _MOST_DRAWS, _NUMBERS = 16, 256, 2**19
_MOST_TERMS = 4096
_WIDEST, _QUANTILES = 2**14, 2**12


def draws_of(numbers: int) -> int:
    """How often so many numbers are drawn: the fewer, the more often, since few of them say little."""
    return min(_MOST_DRAWS, max(_DRAWS, _NUMBERS // max(1, numbers)))


def expected_fillers(values: int, density: float, index_bits: int) -> float:
    """Expected fillers of a slice of so many values."""
    span = 1 << index_bits
    if not 0 < density < 1 or values <= span:
        return 0.0
    terms = min((values - 1) // span, _MOST_TERMS)
    m = np.arange(1, terms + 1, dtype=float)
    return float(((values - m * span) * density * np.exp(m * span * math.log1p(-density))).sum())


@lru_cache(1024)
def _distribution(values: int, density: float, index_bits: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Numbers of entries of a slice, and their cumulative distribution; quantiles of a normal one for a wide range."""
    mean, fillers = values * density, expected_fillers(values, density, index_bits)
    spread = math.sqrt(mean * (1 - density))
    if 18 * spread + 18 > _WIDEST or fillers > _WIDEST:
        shares = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
        normal = np.array([NormalDist().inv_cdf(share) for share in shares])
        entries = np.rint(mean + fillers + math.hypot(spread, math.sqrt(fillers)) * normal).astype(np.int64)
        return np.maximum(entries, 0), np.arange(1, _QUANTILES + 1) / _QUANTILES
    low = max(0, math.floor(mean - 9 * spread - 9))
    high = min(values, math.ceil(mean + 9 * spread + 9))
    if 0 < density < 1:
        pmf = binomial(values, density, low, high)
    else:
        low, pmf = round(mean), np.ones(1)
    if fillers > 0:
        k = np.arange(math.ceil(fillers + 9 * math.sqrt(fillers) + 9) + 1, dtype=float)
        pmf = np.convolve(pmf, np.exp(k * math.log(fillers) - fillers - _log_factorials(k)))
    cumulative = np.cumsum(pmf)
    return low + np.arange(len(pmf)), cumulative / cumulative[-1]


def binomial(values: int, density: float, low: int, high: int) -> NDArray[np.float64]:
    """Odds of `low` to `high` values that are not zero, of a density between 0 and 1."""
    k = np.arange(low, high + 1, dtype=float)
    logs = math.lgamma(values + 1) - _log_factorials(k) - _log_factorials(values - k)
    odds: NDArray[np.float64] = np.exp(logs + k * math.log(density) + (values - k) * math.log1p(-density))
    return odds


def _log_factorials(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([math.lgamma(number + 1) for number in numbers])


_MOST_PERMUTED = 2**22
"""Places of a slice that are all put in random order."""


class Draw:
    """Draws of entries that are the same on every machine and for every version of numpy."""

    def __init__(self, seed: int) -> None:
        self._state = np.random.RandomState(seed % 2**32)

    def entries(self, values: int, density: float, index_bits: int, shape: tuple[int, ...]) -> NDArray[np.int64]:
        """Stored entries of slices of so many values each."""
        numbers, cumulative = _distribution(values, density, index_bits)
        if len(numbers) == 1:
            return np.full(shape, numbers[0], np.int64)
        return numbers[np.searchsorted(cumulative, self._state.random_sample(shape), side="right")]

    def of_sizes(
        self, sizes: Sequence[int], density: float, index_bits: int, shape: tuple[int, ...]
    ) -> NDArray[np.int64]:
        """Stored entries of slices of several sizes, a slice along the last axis: none where there are no values."""
        entries = np.zeros((*shape, len(sizes)), np.int64)
        for size in sorted(set(sizes) - {0}):
            own = [place for place, other in enumerate(sizes) if other == size]
            entries[..., own] = self.entries(size, density, index_bits, (*shape, len(own)))
        return entries

    def quantiles(self, values: int, density: float, number: int) -> NDArray[np.int64]:
        """So many quantiles of the values that are not zero of a slice, in random order."""
        numbers, cumulative = _distribution(values, density, 62)
        own = numbers[np.searchsorted(cumulative, (np.arange(number) + 0.5) / number, side="right")]
        return np.minimum(own[self._state.permutation(number)], values)

    def places(self, values: int, number: int) -> NDArray[np.int64]:
        """So many of the places of a slice, in order."""
        if values <= _MOST_PERMUTED or 2 * number > values:
            return np.sort(self._state.permutation(values)[:number])
        places: NDArray[np.int64] = np.zeros(0, np.int64)
        while len(places) < number:  # few of very many: most differ at once
            more = (self._state.random_sample(number) * values).astype(np.int64)
            places = np.unique(np.concatenate([places, more]))
        return np.sort(self._state.permutation(places)[:number])

    def mask(self, shape: tuple[int, ...], density: float) -> NDArray[np.bool_]:
        """Values that are not zero, each by itself."""
        return np.asarray(self._state.random_sample(shape) < density)
