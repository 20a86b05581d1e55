"""Binary and ternary weights: signs with a scale a filter, and -1, 0, 1 with two scales a layer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["THRESHOLD", "binarize", "ternarize", "xnor_speedup"]

THRESHOLD = 0.05
"""Of the largest magnitude: weights below it become zero in trained ternary quantization (Zhu et al., ICLR 2017)."""


def binarize(matrix: NDArray[Any]) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """Signs of the weights, and the mean magnitude of each row, the scale that is nearest (Rastegari et al., 2016)."""
    weights = np.asarray(matrix, dtype=np.float64)
    return np.where(weights < 0, -1, 1).astype(np.int8), np.abs(weights).mean(1)


def ternarize(matrix: NDArray[Any], threshold: float = THRESHOLD) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """-1, 0 and 1, and the mean magnitudes of the negative and of the positive weights beyond the threshold."""
    weights = np.asarray(matrix, dtype=np.float64)
    limit = threshold * float(np.abs(weights).max(initial=0.0))
    codes = np.where(weights > limit, 1, np.where(weights < -limit, -1, 0)).astype(np.int8)
    scales = [float(np.abs(weights[codes == sign]).mean()) if (codes == sign).any() else 0.0 for sign in (-1, 1)]
    return codes, np.array(scales)


def xnor_speedup(channels: int, weights: int, outputs: int) -> float:
    """Operations of a convolution over those with binary weights and inputs, 64 of which take one.

    ``64 c Nw Ni / (c Nw Ni + 64 Ni)`` of Rastegari et al., with filters of ``Nw`` positions and ``Ni`` outputs.
    """
    work = channels * weights * outputs
    return 64 * work / (work + 64 * outputs)
