"""Matrix products: int8 with int32 sums, int16 with int64 sums, int4 weights, and the fp32 reference."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

import hwsim.kernels._int8 as _int8
import hwsim.kernels._wide as _wide
from hwsim.errors import excerpt
from hwsim.kernels.checks import EIGHT_BITS, FLIP, array, channel_zeros, raw, require, vector, zero_point
from hwsim.kernels.counts import LoopCounts
from hwsim.kernels.int4 import unpack_int4
from hwsim.kernels.isa import ISAS, isa_number
from hwsim.kernels.overflow import require_no_overflow

__all__ = [
    "PackedB",
    "count_gemm_int8",
    "fully_connected_int8",
    "gemm_fp32",
    "gemm_int4",
    "gemm_int8",
    "gemm_int16",
    "pack_b",
]

Start = tuple[NDArray[np.int32], NDArray[np.int32] | None]


@dataclass(frozen=True, eq=False)
class PackedB:
    """The right operand of a GEMM in the order that the loops read it, for one instruction set. Made by `pack_b`.

    Attributes
    ----------
    columns
        A view of the matrix that was packed, one row a column of it; it must not change while this object lives.
    isa
        Name of the instruction set, which a product with this operand runs on.
    """

    columns: NDArray[Any]
    isa: str
    data: NDArray[np.uint8] = field(repr=False)
    sums: NDArray[np.int32] = field(repr=False)
    _starts: dict[tuple[object, ...], Start] = field(default_factory=dict, repr=False)

    @property
    def shape(self) -> tuple[int, int]:
        """(k, n)."""
        return self.columns.shape[1], self.columns.shape[0]

    def start(self, a: NDArray[Any], a_zero: ArrayLike, b_zero: ArrayLike, bias: NDArray[np.int32] | None) -> Start:
        """What each column's sum starts from, and b's zero points (None if all are zero), after all checks of values.

        Both are those of unsigned a and signed b. What the types alone prove to be safe is kept for the next call.
        """
        key = (a.dtype, a_zero, b_zero) if type(a_zero) is int and type(b_zero) is int and bias is None else None
        if key and key in self._starts:
            return self._starts[key]
        k, n = self.shape
        az, bz = zero_point("a_zero", a_zero, a.dtype), channel_zeros("b_zero", b_zero, n, self.columns.dtype)
        if bias is not None:
            vector("bias", bias, n)
        safe = require_no_overflow(a, az, self.columns, bz, bias)
        unsigned, signed = az + (128 if a.dtype == np.int8 else 0), bz - (128 if self.columns.dtype == np.uint8 else 0)
        first = np.zeros(self.sums.size, np.int64)
        first[:n] = k * unsigned * signed - unsigned * self.sums[:n].astype(np.int64) + (0 if bias is None else bias)
        start = first.astype(np.int32), np.ascontiguousarray(signed, np.int32) if signed.any() else None
        if key and safe:
            self._starts[key] = start
        return start


def _pack(columns: NDArray[Any], number: int) -> PackedB:
    """Pack from the transposed view, whichever way it lies in memory."""
    n, k = columns.shape
    owner = columns if columns.flags.c_contiguous else columns.T
    sk, sn = (1, k) if columns.flags.c_contiguous else (n, 1)
    data = aligned(_int8.packed_bytes(number, k, n))
    sums = np.empty(_int8.padded_columns(number, n), np.int32)
    _int8.pack_b(number, raw(owner), sk, sn, k, n, FLIP if columns.dtype == np.uint8 else 0, data, sums)
    return PackedB(columns, ISAS[number], data, sums)


def aligned(size: int) -> NDArray[np.uint8]:
    """Bytes that start at a cache line, so that vector loads never straddle two."""
    block = np.empty(size + 64, np.uint8)
    start = -block.ctypes.data % 64
    return block[start : start + size]


def pack_b(b: NDArray[Any]) -> PackedB:
    """Pack the right operand (k x n, int8 or uint8) once, for many products."""
    return _pack(array("b", b, EIGHT_BITS, 2).T, isa_number())


def _meet(shape: tuple[int, ...], k: int) -> None:
    """The inner dims of a product are one."""
    require(shape[1] == k, "a", f"must have as many columns as b has rows ({k}), got shape {shape}")


def _product(
    a: NDArray[Any],
    b: PackedB,
    a_zero: ArrayLike,
    b_zero: ArrayLike,
    bias: NDArray[np.int32] | None,
    threads: int,
    count: bool,
) -> tuple[NDArray[np.int32], LoopCounts]:
    """The product and its counts (zeros unless counted)."""
    m, (k, n) = a.shape[0], b.shape
    _meet(a.shape, k)
    require(
        isinstance(threads, int) and threads >= 1,
        "threads",
        f"must be an integer of at least 1, got {excerpt(threads)}",
    )
    start, zeros = b.start(a, a_zero, b_zero, bias)
    out = np.empty((m, n), np.int32)
    if not m or not n:
        return out, LoopCounts(0, 0, 0, 0)
    flip = FLIP if a.dtype == np.int8 else 0
    number, octets = ISAS.index(b.isa), a.view(np.uint8)
    panels = start.size // _int8.padded_columns(number, 1)

    def part(rows: slice, first: int, last: int) -> tuple[int, int, int, int]:
        return _int8.gemm(number, octets[rows], flip, b.data, n, first, last, start, zeros, out[rows], count)

    if threads == 1:
        return out, LoopCounts(*part(slice(None), 0, panels))
    if m >= 24 * threads:
        cuts = [m * i // threads for i in range(threads + 1)]
        jobs = [(slice(x, y), 0, panels) for x, y in pairwise(cuts)]
    else:
        threads = min(threads, panels)
        cuts = [panels * i // threads for i in range(threads + 1)]
        jobs = [(slice(None), x, y) for x, y in pairwise(cuts) if x < y]
    with ThreadPoolExecutor(threads) as pool:
        tallies = list(pool.map(lambda job: part(*job), jobs))
    return out, LoopCounts(*(sum(column) for column in zip(*tallies)))


def gemm_int8(
    a: NDArray[Any],
    b: NDArray[Any] | PackedB,
    *,
    a_zero: ArrayLike = 0,
    b_zero: ArrayLike = 0,
    threads: int = 1,
) -> NDArray[np.int32]:
    """(a - a_zero) x (b - b_zero), exactly.

    Parameters
    ----------
    a
        int8 or uint8, m x k, C-contiguous.
    b
        int8 or uint8, k x n, C-contiguous, or what `pack_b` made of it.
    a_zero, b_zero
        Zero points; that of b may be one a column.
    threads
        Among which rows or columns are divided.

    Returns
    -------
    NDArray[np.int32]
        m x n.

    Raises
    ------
    InputError
        Where shapes, types or zero points do not fit, or a sum could leave int32 on this data.
    """
    packed = b if isinstance(b, PackedB) else pack_b(b)
    return _product(array("a", a, EIGHT_BITS, 2), packed, a_zero, b_zero, None, threads, count=False)[0]


def count_gemm_int8(
    a: NDArray[Any], b: NDArray[Any] | PackedB, *, a_zero: ArrayLike = 0, b_zero: ArrayLike = 0
) -> tuple[NDArray[np.int32], LoopCounts]:
    """`gemm_int8` by the counting build of the same loops: the product and the loop counts."""
    packed = b if isinstance(b, PackedB) else pack_b(b)
    return _product(array("a", a, EIGHT_BITS, 2), packed, a_zero, b_zero, None, 1, count=True)


def fully_connected_int8(
    x: NDArray[Any],
    w: NDArray[Any],
    *,
    x_zero: ArrayLike = 0,
    w_zero: ArrayLike = 0,
    bias: NDArray[np.int32] | None = None,
    threads: int = 1,
) -> NDArray[np.int32]:
    """x (batch x inputs) times w (outputs x inputs, as TFLite and PyTorch keep it) transposed, plus bias."""
    array("x", x, EIGHT_BITS, 2)
    packed = _pack(array("w", w, EIGHT_BITS, 2), isa_number())
    return _product(x, packed, x_zero, w_zero, bias, threads, count=False)[0]


def gemm_int4(
    a: NDArray[Any], b: NDArray[np.uint8], n: int, *, a_zero: ArrayLike = 0, b_zero: ArrayLike = 0, threads: int = 1
) -> NDArray[np.int32]:
    """`gemm_int8` with b (k x n) given as int4, two a byte (see `pack_int4`), row by row without gaps."""
    k = array("a", a, EIGHT_BITS, 2).shape[1]
    return gemm_int8(a, unpack_int4(b, (k, n)), a_zero=a_zero, b_zero=b_zero, threads=threads)


def gemm_int16(
    a: NDArray[np.int16], b: NDArray[Any], *, a_zero: ArrayLike = 0, b_zero: ArrayLike = 0
) -> NDArray[np.int64]:
    """int16 a (m x k) times int8 or int16 b (k x n) with int64 sums, as TFLite's 16x8 kernels keep them."""
    a = array("a", a, ("int16",), 2)
    b = array("b", b, ("int8", "int16"), 2)
    _meet(a.shape, b.shape[0])
    az, bz = zero_point("a_zero", a_zero, a.dtype), zero_point("b_zero", b_zero, b.dtype)
    out = np.empty((a.shape[0], b.shape[1]), np.int64)
    _wide.gemm_int16(a, np.ascontiguousarray(b.T, np.int16), az, bz, out)
    return out


def gemm_fp32(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """The reference: each result starts at 0 and takes its products in the order of k, each product and sum rounded."""
    a = array("a", a, ("float32",), 2)
    b = array("b", b, ("float32",), 2)
    _meet(a.shape, b.shape[0])
    out = np.empty((a.shape[0], b.shape[1]), np.float32)
    _wide.gemm_fp32(a, b, out)
    return out
