"""Values in few bits, and what that loses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["rounded_by_point", "signal_to_noise_db"]


def rounded_by_point(values: NDArray[np.float64], bits: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Integers of few bits at each point of a tile (the first two axes), rounded to nearest even, and their scales."""
    top = 2 ** (bits - 1) - 1
    scales = np.abs(values).max((2, 3)) / top
    scales[scales == 0] = 1.0
    return np.clip(np.rint(values / scales[..., None, None]), -top, top), scales


def signal_to_noise_db(output: NDArray[Any], truth: NDArray[Any]) -> float:
    """Power of the exact output over that of the difference, in decibels; infinite where they are equal."""
    truth = truth.astype(np.float64)
    noise, signal = float(np.mean((output - truth) ** 2)), float(np.mean(truth**2))
    return math.inf if not noise else 10 * math.log10(signal / noise) if signal else -math.inf
