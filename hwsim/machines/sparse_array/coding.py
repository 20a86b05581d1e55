"""Stored entries of real masks: values that are not zero, and the fillers that cut runs longer than an index holds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["coded_entries"]

Ints = NDArray[np.int64]


def coded_entries(mask: NDArray[np.bool_], index_bits: int) -> tuple[Ints, Ints]:
    """Entries and fillers of each row of a mask; zeros behind the last value of a row are not stored."""
    rows = len(mask)
    row, place = np.nonzero(mask)
    before = np.full(len(place), -1)
    same = row[1:] == row[:-1]
    before[1:][same] = place[:-1][same]
    fillers = np.bincount(row, (place - before - 1) >> index_bits, rows).astype(np.int64)
    return np.bincount(row, minlength=rows) + fillers, fillers
