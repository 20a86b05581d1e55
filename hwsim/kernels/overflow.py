"""When an int32 accumulator cannot overflow, proved from ranges; and the error where it might."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import InputError, excerpt
from hwsim.kernels.checks import INT32_MAX, limits

__all__ = ["accumulator_bound", "require_no_overflow"]

Range = tuple[int, int]


def accumulator_bound(k: int, a_range: Range, b_range: Range) -> int:
    """Largest magnitude that a sum of k products can reach.

    Parameters
    ----------
    k
        Number of products in the sum.
    a_range, b_range
        Smallest and largest value of either factor, after its zero point was taken off.

    Returns
    -------
    int
        The bound. Data can reach it, so int32 is safe for these ranges if and only if it is below 2**31. For uint8
        activations and weights of -127..127 that is k <= 66311.
    """
    for name, ends in (("a_range", a_range), ("b_range", b_range)):
        two = isinstance(ends, (tuple, list)) and len(ends) == 2 and all(isinstance(x, (int, np.integer)) for x in ends)
        if not two or ends[0] > ends[1]:
            raise InputError(f"must be (smallest, largest), got {excerpt(ends)}", path=name)
    if not isinstance(k, (int, np.integer)) or k < 0:
        raise InputError(f"must be an integer of at least 0, got {excerpt(k)}", path="k")
    return k * max(abs(a * b) for a in a_range for b in b_range)


def type_range(dtype: np.dtype[Any], lowest_zero: int, highest_zero: int) -> Range:
    """Range of values of a type less a zero point between the two."""
    least, most = limits(dtype)
    return least - highest_zero, most - lowest_zero


def require_no_overflow(
    a: NDArray[Any], a_zero: int, b: NDArray[Any], b_zero: NDArray[np.int64], bias: NDArray[np.int32] | None = None
) -> bool:
    """Raise unless no sum of products can leave int32: by the types alone (returns True) or by the data.

    `b` has one row an output channel (k along axis 1), `b_zero` and `bias` one value a row.
    """
    if not b.size or not a.size:
        return True
    k = b.shape[1]
    b_range = type_range(b.dtype, int(b_zero.min()), int(b_zero.max()))
    start = 0 if bias is None or not bias.size else max(abs(int(bias.min())), abs(int(bias.max())))
    if start + accumulator_bound(k, type_range(a.dtype, a_zero, a_zero), b_range) <= INT32_MAX:
        return True
    low, high = min(int(a.min()) - a_zero, 0), max(int(a.max()) - a_zero, 0)
    most = 0
    for row, zero, first in zip(b, b_zero, np.zeros(len(b), np.int64) if bias is None else bias):
        differences = row.astype(np.int64) - zero
        above, below = int(differences[differences > 0].sum()), int(differences[differences < 0].sum())
        most = max(most, int(first) + high * above + low * below, -(int(first) + high * below + low * above))
    if most > INT32_MAX:
        raise InputError(
            f"sums of {k} products must stay below 2**31, and on this data one can reach {most}: a less its zero point "
            f"lies in {low}..{high}; take a shorter k (k <= {INT32_MAX * k // most} is safe here) or smaller values"
        )
    return False
