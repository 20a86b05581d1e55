"""When requests arrive: a Poisson process, or a file of times. All in ticks of a picosecond."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import Fault, InputError, excerpt
from hwsim.files import read_text

__all__ = ["MOST_QUERIES", "TICKS_PER_S", "poisson", "read_trace", "trace_of"]

TICKS_PER_S = 10**12
MOST_QUERIES = 4_000_000
_MOST_BYTES = 64 * 2**20
_MOST_SECONDS = 10**6
"""Some days: in ticks, with room for queues behind them, they fit 64 bits."""
_HEADS = ("arrival_s", "time_s", "s")

Ticks = NDArray[np.int64]


def poisson(rate_per_s: float, queries: int, seed: int | Sequence[int]) -> Ticks:
    """Arrivals of a Poisson process.

    One seed gives the same exponential gaps for every rate, scaled: common random numbers.
    """
    gaps = np.random.default_rng(seed).standard_exponential(queries)
    return _ticks(np.cumsum(gaps) / rate_per_s, f"{queries:,} queries at {rate_per_s:g} a second")


def _ticks(seconds: NDArray[np.float64], what: str) -> Ticks:
    if seconds[-1] > _MOST_SECONDS:
        raise InputError(f"{what} must be at most {_MOST_SECONDS:,} s long, not {seconds[-1]:.3g} s")
    return np.rint(seconds * TICKS_PER_S).astype(np.int64)


def trace_of(seconds: NDArray[np.float64], where: str = "trace") -> Ticks:
    """Arrivals at given times; raises InputError if they are not finite, at least zero and in order."""
    if seconds.ndim != 1 or not seconds.size:
        raise InputError("must have at least one arrival", where)
    if seconds.size > MOST_QUERIES:
        raise InputError(f"must have at most {MOST_QUERIES:,} arrivals, not {seconds.size:,}", where)
    wrong = ~np.isfinite(seconds) | (seconds < 0)
    if wrong.any():
        place = int(np.argmax(wrong))
        raise InputError(f"arrival {place + 1} must be a time of at least 0 s, not {seconds[place]:g}", where)
    late = np.diff(seconds) < 0
    if late.any():
        place = int(np.argmax(late)) + 1
        raise InputError(
            f"arrivals must be in order: number {place + 1} at {seconds[place]:.12g} s comes after one at "
            f"{seconds[place - 1]:.12g} s",
            where,
        )
    return _ticks(seconds, where)


def read_trace(path: str | Path) -> Ticks:
    """Arrivals of a CSV file: its first column, in seconds, one request a line, with or without a head."""
    text = read_text(Path(path), _MOST_BYTES)
    lines = text.splitlines()
    seconds, faults = [], []
    for number, line in enumerate(lines, 1):
        cell = line.partition(",")[0].strip().strip('"')
        if not cell or (number == 1 and cell in _HEADS):
            continue
        try:
            value = float(cell)
        except ValueError:
            value = math.nan
        if not 0 <= value < math.inf:
            faults.append(Fault(f"{path}:{number}", "", f"must be a time of at least 0 s, not {excerpt(cell)}"))
        seconds.append(value)
    if faults:
        raise InputError(faults)
    return trace_of(np.array(seconds), str(path))
