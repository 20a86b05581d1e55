"""Winograd's convolution executed on arrays: exact in integers, rounded as hardware rounds, or in floats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hwsim.algorithms.toom_cook import Matrices
from hwsim.algorithms.transform import Tally, apply_twice
from hwsim.algorithms.winograd import Winograd
from hwsim.kernels.rounding import rounded_by_point

__all__ = ["Arithmetic", "Executed", "execute"]

Array = NDArray[Any]
Arithmetic = Literal["exact", "rounded", "fp16", "fp32", "fp64"]


@dataclass(frozen=True, slots=True)
class Executed:
    """An executed convolution.

    Attributes
    ----------
    output : array, N x K x P x Q
    data, filter, inverse : Tally
        Operations of the transforms of all tiles.
    multiplications : int
    """

    output: Array
    data: Tally
    filter: Tally
    inverse: Tally
    multiplications: int


def execute(
    how: Winograd, x: Array, w: Array, pad: tuple[int, int, int, int] = (0, 0, 0, 0),
    arithmetic: Arithmetic = "exact", bits: int = 8,
) -> Executed:  # fmt: skip
    """A convolution of stride 1 through the transforms of `how`.

    Parameters
    ----------
    how : Winograd
    x : array, N x C x H x W
    w : array, K x C x R x S
    pad : (top, left, bottom, right)
    arithmetic : str
        ``exact``: whole numbers of 64 bits. ``rounded``: transformed inputs and weights rounded to integers of `bits`
        bits with a scale for each point of a tile, products and sums exact. ``fp16``: transformed values of half
        precision; ``fp32``: of single precision; sums of either exact and rounded once to single precision. ``fp64``.

    Raises
    ------
    ValueError
        If the filters are of another size.
    """
    if w.shape[2:] != (how.down.r, how.across.r):
        raise ValueError(f"filters must be of {how.down.r} x {how.across.r}, not {w.shape[2:]}")
    own = how.exact if arithmetic == "exact" else how
    kind = {"exact": np.int64, "rounded": np.float64, "fp16": np.float16, "fp32": np.float32}.get(
        arithmetic, np.float64
    )
    (n, c, h, wide), k = x.shape, len(w)
    p, q = h + pad[0] + pad[2] - own.down.r + 1, wide + pad[1] + pad[3] - own.across.r + 1
    rows, columns = -(-p // own.down.m), -(-q // own.across.m)
    # Tiles at the edges are whole: what they have beyond the map is zero.
    frame = np.zeros((n, c, rows * own.down.m + own.down.r - 1, columns * own.across.m + own.across.r - 1), kind)
    frame[:, :, pad[0] : pad[0] + h, pad[1] : pad[1] + wide] = x
    size = own.down.points, own.across.points
    windows = np.lib.stride_tricks.sliding_window_view(frame, size, (2, 3))[:, :, :: own.down.m, :: own.across.m]
    tiles = windows.transpose(4, 5, 0, 2, 3, 1).reshape(*size, -1, c)
    data, filters, inverse = Tally(), Tally(), Tally()
    v = _both(own.down, own.across, "data", tiles, data)
    u = _both(own.down, own.across, "filter", w.astype(kind).transpose(2, 3, 1, 0), filters)
    scales: Array | float = 1.0
    if arithmetic == "rounded":
        (v, first), (u, second) = rounded_by_point(v, bits), rounded_by_point(u, bits)
        scales = (first * second)[..., None, None]
    if arithmetic in ("fp16", "fp32"):
        sums = np.matmul(v.astype(np.float64), u.astype(np.float64)).astype(np.float32)  # the same on every processor
    else:
        sums = np.matmul(v, u)
    sums = sums * scales if arithmetic == "rounded" else sums
    y = _both(own.down, own.across, "output", sums, inverse)
    if arithmetic == "exact":
        y = y // (own.down.scale * own.across.scale)  # whole: the divisor is a factor of every output
    y = y.reshape(own.down.m, own.across.m, n, rows, columns, k).transpose(2, 5, 3, 0, 4, 1)
    y = y.reshape(n, k, rows * own.down.m, columns * own.across.m)[:, :, :p, :q]
    for tally, times in ((data, n * rows * columns * c), (filters, c * k), (inverse, n * rows * columns * k)):
        for name in ("sums", "products", "adds", "shifts"):
            setattr(tally, name, getattr(tally, name) * times)
    return Executed(np.ascontiguousarray(y), data, filters, inverse, how.points * n * rows * columns * c * k)


def _both(down: Matrices, across: Matrices, name: str, tile: Array, tally: Tally) -> Array:
    """One of the transforms, both ways, of all tiles at once."""
    rows = apply_twice(getattr(down, name), getattr(across, name), [list(row) for row in tile], tally)
    return np.stack([np.stack(row) for row in rows])
