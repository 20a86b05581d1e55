"""Winograd convolution with 3x3 filters: exact in integers, and as hardware quantizes it, with its error and counts.

F(m x m, 3 x 3) makes m x m outputs from tiles of m + 2 by m + 2 inputs: y = A^T [(G g G^T) * (B^T d B)] A, one
multiplication for each position of a tile. `winograd_int8` equals direct convolution bit for bit; `winograd_quantized`
rounds transformed values to few bits, as an accelerator does, and says what that costs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import hwsim.kernels._winograd as _winograd
from hwsim.errors import InputError, excerpt
from hwsim.kernels.checks import array, pair, require, zero_point
from hwsim.kernels.geometry import Geometry, Ints, geometry
from hwsim.kernels.isa import isa_number
from hwsim.kernels.overflow import require_no_overflow
from hwsim.kernels.rounding import rounded_by_point, signal_to_noise_db

__all__ = [
    "PackedWinograd",
    "WinogradCounts",
    "WinogradQuantized",
    "pack_winograd",
    "winograd_counts",
    "winograd_int8",
    "winograd_quantized",
]

Array = NDArray[Any]
LIMIT = {2: 2**29, 4: 2**25}
"""Outputs below this come back whole from arithmetic modulo 2^32, whose last step divides by 4 or 576 = 64 x 9."""


@dataclass(frozen=True, slots=True)
class WinogradCounts:
    """Operations of F(m x m, 3 x 3) for one tile of one channel; adding a product with a constant is one.

    Attributes
    ----------
    multiplications : int
        Products of transformed inputs and weights.
    data_flops, filter_flops, inverse_flops : int
        Operations to transform a tile of inputs, a filter, a tile of sums.
    """

    m: int
    multiplications: int
    data_flops: int
    filter_flops: int
    inverse_flops: int

    @property
    def alpha(self) -> float:
        """Multiplications per output."""
        return self.multiplications / self.m**2

    @property
    def beta(self) -> float:
        """Operations of the data transform per multiplication."""
        return self.data_flops / self.multiplications

    @property
    def gamma(self) -> float:
        """Operations of the filter transform per multiplication."""
        return self.filter_flops / self.multiplications

    @property
    def delta(self) -> float:
        """Operations of the inverse transform per multiplication."""
        return self.inverse_flops / self.multiplications

    def layer(self, n: int, c: int, k: int, p: int, q: int) -> dict[str, int]:
        """Operations of a layer: n images, c inputs, k outputs of p x q, ragged tiles whole."""
        tiles = n * math.ceil(p / self.m) * math.ceil(q / self.m)
        return {
            "multiplications": tiles * c * k * self.multiplications,
            "data_flops": tiles * c * self.data_flops,
            "filter_flops": c * k * self.filter_flops,
            "inverse_flops": tiles * k * self.inverse_flops,
        }


@dataclass(frozen=True, slots=True)
class WinogradQuantized:
    """What a quantized Winograd unit puts out, and how far that is from direct convolution.

    Attributes
    ----------
    output : array of float64, NCHW
        In units of direct convolution's integers, before any requantization.
    max_error, rms_error : float
        Largest and root-mean-square difference from the exact output.
    snr_db : float
        Power of the exact output over that of the difference; infinite where they are equal.
    data_scales, weight_scales : array of float64, (m + 2) x (m + 2)
        Value of one step at each position of a tile.
    """

    output: NDArray[np.float64]
    max_error: float
    rms_error: float
    snr_db: float
    data_scales: NDArray[np.float64]
    weight_scales: NDArray[np.float64]


# --- transforms, as the operations that a unit executes -----------------------------------------------------------


class Operations:
    """Arithmetic that counts itself; an operand may be one number or one for each tile and channel."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, x: Array, y: Array) -> Array:
        return self.fma(1, x, y)

    def sub(self, x: Array, y: Array) -> Array:
        return self.fma(-1, y, x)

    def mul(self, c: float, x: Array) -> Array:
        self.count += 1
        product: Array = c * x
        return product

    def fma(self, c: float, x: Array, y: Array) -> Array:
        self.count += 1
        total: Array = c * x + y
        return total

    def fms(self, c: float, x: Array, y: Array) -> Array:
        self.count += 1
        total: Array = c * x - y
        return total


Transform = Callable[[Operations, Array], list[Array]]


def data_2(o: Operations, d: Array) -> list[Array]:
    """B^T of F(2, 3)."""
    return [o.sub(d[0], d[2]), o.add(d[1], d[2]), o.sub(d[2], d[1]), o.sub(d[1], d[3])]


def filter_2(o: Operations, g: Array) -> list[Array]:
    """G of F(2, 3): the sum of the ends is made once."""
    ends = o.mul(0.5, o.add(g[0], g[2]))
    return [g[0], o.fma(0.5, g[1], ends), o.fma(-0.5, g[1], ends), g[2]]


def inverse_2(o: Operations, m: Array) -> list[Array]:
    """A^T of F(2, 3)."""
    return [o.add(o.add(m[0], m[1]), m[2]), o.sub(o.sub(m[1], m[2]), m[3])]


def data_4(o: Operations, d: Array) -> list[Array]:
    """B^T of F(4, 3): the doubled difference is made once, for two outputs."""
    even, odd = o.fma(-4, d[2], d[4]), o.fma(-4, d[1], d[3])
    near, far = o.sub(d[4], d[2]), o.mul(2, o.sub(d[3], d[1]))
    first, last = o.fma(4, d[0], o.fma(-5, d[2], d[4])), o.fma(4, d[1], o.fma(-5, d[3], d[5]))
    return [first, o.add(even, odd), o.sub(even, odd), o.add(near, far), o.sub(near, far), last]


def filter_4(o: Operations, g: Array) -> list[Array]:
    """G of F(4, 3): g2 / 6 serves both pairs of rows."""
    sixth = o.mul(1 / 6, g[2])
    ends, far = o.fms(-1 / 6, g[0], sixth), o.fma(1 / 24, g[0], sixth)
    return [
        o.mul(1 / 4, g[0]),
        o.fma(-1 / 6, g[1], ends),
        o.fma(1 / 6, g[1], ends),
        o.fma(1 / 12, g[1], far),
        o.fma(-1 / 12, g[1], far),
        g[2],
    ]


def inverse_4(o: Operations, m: Array) -> list[Array]:
    """A^T of F(4, 3)."""
    sum1, less1, sum2, less2 = o.add(m[1], m[2]), o.sub(m[1], m[2]), o.add(m[3], m[4]), o.sub(m[3], m[4])
    return [
        o.add(o.add(m[0], sum1), sum2),
        o.fma(2, less2, less1),
        o.fma(4, sum2, sum1),
        o.add(o.fma(8, less2, less1), m[5]),
    ]


TRANSFORMS: dict[int, tuple[Transform, Transform, Transform]] = {
    2: (data_2, filter_2, inverse_2),
    4: (data_4, filter_4, inverse_4),
}


def both_ways(o: Operations, transform: Transform, tile: Array) -> Array:
    """The transform down the columns, then along the rows; tiles and channels are the other axes."""
    half = np.stack([np.stack(transform(o, tile[:, j])) for j in range(tile.shape[1])], axis=1)
    return np.stack([np.stack(transform(o, half[i])) for i in range(half.shape[0])])


def winograd_counts(m: Literal[2, 4], *, scaled: bool = False) -> WinogradCounts:
    """Count the operations of F(m x m, 3 x 3) by running its transforms on one tile.

    Parameters
    ----------
    m : 2 or 4
        Outputs of a tile, each way.
    scaled : bool
        Of the exact integer kernel, whose filters are scaled to integers and whose outputs make up for it, instead of
        the transforms with fractions.
    """
    _valid_size(m)
    a = m + 2
    if scaled:
        lanes = 8  # of the counting build: one register of input and of output channels
        x, w = np.ones((1, lanes, a, a), np.uint8), np.ones((lanes, lanes, 3, 3), np.int8)
        out, tally = np.empty((1, lanes, m, m), np.int32), np.zeros(6, np.int64)
        u = _winograd.transform_filters(0, True, m, w, 0, lanes, tally)
        _winograd.convolve(0, True, m, x, False, 0, u, 0, lanes, 0, 0, False, out, tally)
        data, filters, inverse, tiles_in, tiles_out, products = (int(t) for t in tally)
        registers_in, registers_out = tiles_in // lanes, tiles_out // (lanes // 2)  # 16 and 32 bits a lane
        return WinogradCounts(
            m, products // (lanes * lanes), data // registers_in, filters // lanes, inverse // registers_out
        )
    counts, ends = [], []
    for transform, size in zip(TRANSFORMS[m], (a, 3, a)):
        operations = Operations()
        ends.append(both_ways(operations, transform, np.ones((size, size))))
        counts.append(operations.count)
    return WinogradCounts(m, (ends[0] * ends[1]).size, *counts)


# --- convolutions -----------------------------------------------------------------------------------------------------


class PackedWinograd:
    """Filters of an exact Winograd convolution, transformed once for many. Made by `pack_winograd`; they must not
    change."""

    def __init__(self, w: Array, m: int) -> None:
        _valid_size(m)
        self.w = array("w", w, ("int8",), 4)
        require(w.shape[2:] == (3, 3), "w", f"must hold filters of 3 x 3, got shape {w.shape}")
        self.m = m
        self._parts: dict[tuple[int, int], list[tuple[int, int, NDArray[np.int16]]]] = {}

    def parts(self, isa: int, reach: int) -> list[tuple[int, int, NDArray[np.int16]]]:
        """Channels (first, last) and their filters, so that inputs up to `reach` keep sums under the limit."""
        if (isa, reach) not in self._parts:
            sums = np.abs(self.w.astype(np.int64)).sum((2, 3)) * reach
            cuts, part = [0], np.zeros(len(self.w), np.int64)
            for c in range(sums.shape[1]):
                part += sums[:, c]
                if part.max() >= LIMIT[self.m]:
                    cuts.append(c)
                    part = sums[:, c].copy()
            cuts.append(sums.shape[1])
            tally = np.zeros(6, np.int64)
            self._parts[isa, reach] = [
                (first, last, _winograd.transform_filters(isa, False, self.m, self.w, first, last, tally))
                for first, last in itertools.pairwise(cuts)
            ]
        return self._parts[isa, reach]


def pack_winograd(w: Array, *, m: Literal[2, 4] = 4) -> PackedWinograd:
    """Keep int8 filters, K x C x 3 x 3, transformed for many convolutions; that is done at the first of them."""
    return PackedWinograd(w, m)


def winograd_int8(
    x: Array,
    w: Array | PackedWinograd,
    *,
    m: Literal[2, 4] | None = None,
    pad: Ints = 0,
    x_zero: int = 0,
    exact: bool = True,
) -> NDArray[np.int32]:
    """Convolution of 8-bit tensors with 3x3 filters and stride 1 through F(m x m, 3 x 3).

    Parameters
    ----------
    x : array of int8 or uint8, NCHW
    w : array of int8, K x C x 3 x 3, or what `pack_winograd` made of it
    m : 2 or 4
        Outputs of a tile in each direction; the default is that of packed filters, or 4.
    pad : int or sequence
        One number, (vertical, horizontal) or (top, left, bottom, right) of padding; it counts as the real zero.
    x_zero : int
        Zero point of x.
    exact : bool
        Equal to direct convolution bit for bit. If not, transformed values are rounded to 8 bits as in
        `winograd_quantized`, and the output to integers.

    Returns
    -------
    array of int32, NCHW

    Notes
    -----
    The exact form works modulo 2^32 on filters scaled to integers. That leaves outputs below 2^29 (m = 2) or 2^25 (m =
    4) whole; where the weights could pass that, the channels are split and the parts added.
    """
    packed = w if isinstance(w, PackedWinograd) else PackedWinograd(w, 4 if m is None else m)
    require(
        m is None or (isinstance(m, int) and m == packed.m),
        "m",
        f"must be that of the packed filters ({packed.m}), got {excerpt(m)}",
    )
    z, zero = _valid_filters(x, packed.w, packed.m, pad, x_zero)
    if not exact:
        quantized = winograd_quantized(x, packed.w, m=2 if packed.m == 2 else 4, pad=pad, x_zero=x_zero)
        integers: NDArray[np.int32] = np.rint(quantized.output).astype(np.int32)
        return integers
    out, tally, isa, limits = np.empty(z.output, np.int32), np.zeros(6, np.int64), isa_number(), np.iinfo(x.dtype)
    bits, signed = x.view(np.uint8), x.dtype == np.int8
    reach = max(int(limits.max) - zero, zero - int(limits.min))
    for first, last, u in packed.parts(isa, reach):
        top, left = z.pad[:2]
        _winograd.convolve(isa, False, packed.m, bits, signed, zero, u, first, last, top, left, first > 0, out, tally)
    return out


def winograd_quantized(
    x: Array,
    w: Array,
    *,
    m: Literal[2, 4] = 4,
    pad: Ints = 0,
    x_zero: int = 0,
    bits: int | tuple[int, int] = 8,
) -> WinogradQuantized:
    """The same as hardware does it: transformed inputs and weights in few bits, and the error that this makes.

    Each of the (m + 2)^2 positions of a tile has a scale of its own for inputs and one for weights, the largest
    magnitude over the greatest integer, and values are rounded to nearest even. Products and sums are exact.

    Parameters
    ----------
    x, w, m, pad, x_zero
        As in `winograd_int8`.
    bits : int or (int, int)
        Of transformed inputs and transformed weights, 2 to 16.
    """
    z, zero = _valid_filters(x, w, m, pad, x_zero)
    data_bits, weight_bits = pair("bits", bits, 1)
    rule = f"must be one or two integers in 2..16 (inputs, weights), got {excerpt(bits)}"
    require(2 <= data_bits <= 16 and 2 <= weight_bits <= 16, "bits", rule)
    data, filters, inverse = TRANSFORMS[m]
    a, down, across = m + 2, -(-z.p // m), -(-z.q // m)
    frame = np.zeros((z.n, z.c, down * m + 2, across * m + 2))
    frame[:, :, z.pad[0] : z.pad[0] + z.h, z.pad[1] : z.pad[1] + z.w] = x.astype(np.float64) - zero
    windows = np.lib.stride_tricks.sliding_window_view(frame, (a, a), (2, 3))[:, :, ::m, ::m]
    tiles = windows.transpose(4, 5, 0, 2, 3, 1).reshape(a, a, -1, z.c)
    v, data_scales = rounded_by_point(both_ways(Operations(), data, tiles), data_bits)
    u, weight_scales = rounded_by_point(
        both_ways(Operations(), filters, w.astype(np.float64).transpose(2, 3, 1, 0)), weight_bits
    )
    sums = (v @ u) * (data_scales * weight_scales)[..., None, None]  # integers below 2^53: exact
    y = both_ways(Operations(), inverse, sums).reshape(m, m, z.n, down, across, z.k)
    output = y.transpose(2, 5, 3, 0, 4, 1).reshape(z.n, z.k, down * m, across * m)[:, :, : z.p, : z.q].copy()
    truth = winograd_int8(x, w, m=m, pad=pad, x_zero=x_zero).astype(np.float64)
    error = output - truth
    rms, snr = math.sqrt(float(np.mean(error**2))), signal_to_noise_db(output, truth)
    return WinogradQuantized(output, float(np.abs(error).max()), rms, snr, data_scales, weight_scales)


def _valid_size(m: object) -> None:
    """Hold that F(m x m, 3 x 3) is there."""
    require(isinstance(m, int) and m in TRANSFORMS, "m", f"must be 2 or 4, got {excerpt(m)}")


def _valid_filters(x: Array, w: Array, m: int, pad: Ints, x_zero: int) -> tuple[Geometry, int]:
    """Hold that a layer can be run exactly: its shape, and its zero point."""
    _valid_size(m)
    array("x", x, ("int8", "uint8"), 4)
    array("w", w, ("int8",), 4)
    if w.shape[2:] != (3, 3):
        raise InputError(f"must hold filters of 3 x 3, got shape {w.shape}", path="w")
    z = geometry(x.shape, w.shape, stride=1, pad=pad, dilation=1, groups=1, layout="NCHW")
    zero = zero_point("x_zero", x_zero, x.dtype)
    require_no_overflow(x, zero, w.reshape(len(w), -1), np.zeros(len(w), np.int64))
    return z, zero
