"""Products that skip zeros: on compressed weights and activations, and on packed bits of binary and ternary networks.

Weights are K x N, activations M x K. Every result equals the dense one; the counts say what a machine that keeps its
operands so would execute, skip and read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import hwsim.kernels._sparse as _sparse
from hwsim.kernels.checks import INT32_MAX, array, integer, require
from hwsim.kernels.geometry import Ints, geometry
from hwsim.kernels.isa import isa
from hwsim.kernels.sparse_formats import (
    TYPES,
    Bitmask,
    Codebook,
    Compressed,
    Format,
    Rlc,
    TwoFour,
    encode_csr,
    pack_bits,
)

__all__ = [
    "BitCounts",
    "SparseCounts",
    "conv2d_binary",
    "conv2d_sparse",
    "conv2d_ternary",
    "gemm_binary",
    "gemm_sparse",
    "gemm_ternary",
]

Array = NDArray[Any]
Int32 = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class SparseCounts:
    """Executed and skipped products of a layer, and words read.

    Attributes
    ----------
    executed
        Products executed; with those skipped, all of the layer's.
    skipped_weight, skipped_activation, skipped_both
        Products skipped because the weight alone, the activation alone, or both are zero.
    padded
        Executed beside these, on zeros that the format stores: cuts of long runs, the second value of a 2:4 group.
    index_reads, pointer_reads
        Indices (runs, places, words of a mask) and pointers to lines that were read, of weights and of activations.
    weight_reads, activation_reads
        Values read.
    """

    executed: int
    skipped_weight: int
    skipped_activation: int
    skipped_both: int
    padded: int
    index_reads: int
    pointer_reads: int
    weight_reads: int
    activation_reads: int

    @property
    def macs(self) -> int:
        """All products of the layer."""
        return self.executed + self.skipped_weight + self.skipped_activation + self.skipped_both


@dataclass(frozen=True, slots=True)
class BitCounts:
    """Operations on 64-bit words and, for ternary values, executed and skipped products.

    Binary values skip nothing: `executed` is every product.
    """

    executed: int
    skipped_weight: int
    skipped_activation: int
    skipped_both: int
    xors: int
    ands: int
    popcounts: int
    adds: int
    load_bytes: int


def gemm_sparse(a: Array | Format, w: Format, *, skip_activations: bool = True) -> tuple[Int32, SparseCounts]:
    """Matrix product of activations and compressed weights, products with a zero left out.

    Parameters
    ----------
    a : 2-D array of 8- or 16-bit integers, M x K, or a format of it
        Compressed activations meet the rows of CSR weights as in EIE: a zero on either side is never read. With any
        other format of weights they are unpacked first.
    w : Format, K x N
        Weights, read in the order of their format. Each stored value meets all M activations of its row.
    skip_activations : bool
        Leave out products with a zero activation too.

    Returns
    -------
    output : array of int32, M x N
        Equal to the dense product.
    counts : SparseCounts
    """
    require(isinstance(w, Format), "w", f"must be a compressed matrix, got {type(w).__name__}")
    dense = a.decode() if isinstance(a, Format) else array("a", a, TYPES, 2)
    weights = w.decode()
    (m, k), n = dense.shape, w.shape[1]
    require(k == w.shape[0], "a", f"must have as many columns as w has rows ({w.shape[0]}), got {k}")
    _check_range(dense, weights)
    tally = np.zeros(7, np.int64)
    if isinstance(a, Format) and isinstance(w, Compressed) and w.by == "rows":
        require(skip_activations, "skip_activations", "must be true for compressed activations")
        output = _gather(dense, a, w, tally)
        live_rows = (weights != 0).sum(1)
        tally[1] = int(((dense == 0) * live_rows).sum())
    else:
        activations, transpose = np.ascontiguousarray(dense.T.astype(np.int32)), np.zeros((n, m), np.int32)
        _walk(activations, transpose, w, skip_activations, tally)
        output = np.ascontiguousarray(transpose.T)
        if isinstance(a, Format):
            tally[[3, 4, 6]] += _storage(a)
    empty, dead = (weights == 0).sum(1), (dense == 0).sum(0)  # of each k
    both = int((empty * dead).sum())
    executed, skipped, padded, indices, pointers, weight_reads, activation_reads = (int(t) for t in tally)
    weight_only = int((empty * (m - dead)).sum())
    counts = SparseCounts(
        executed, weight_only, skipped, both, padded, indices, pointers, weight_reads, activation_reads
    )
    return output, counts


def conv2d_sparse(
    x: Array,
    w: Array,
    *,
    encode: Callable[[Array], Format] = encode_csr,
    stride: Ints = 1,
    pad: Ints = 0,
    dilation: Ints = 1,
    skip_activations: bool = True,
) -> tuple[Int32, SparseCounts]:
    """Convolution, NCHW, on filters compressed by `encode`; padding counts among the zero activations.

    Filters become a matrix of C R S rows and K columns, inputs one of N P Q rows, as an im2col buffer holds them.
    """
    x = array("x", x, TYPES, 4)
    w = array("w", w, TYPES, 4)
    patches, shape = _patches(x, w, stride, pad, dilation, 0)
    filters = np.ascontiguousarray(w.reshape(len(w), -1).T)
    output, counts = gemm_sparse(patches, encode(filters), skip_activations=skip_activations)
    return _images(output, shape), counts


def gemm_binary(a: Array, b: Array, *, native: bool | None = None) -> tuple[Int32, BitCounts]:
    """Matrix product of int8 values -1 and 1, M x K times K x N, by XNOR and popcount of packed words.

    `native` selects the processor's popcount (default where available) or plain arithmetic.
    """
    _signs(a, b, (-1, 1))
    words_a, words_b = pack_bits(a < 0), pack_bits(np.ascontiguousarray(b.T) < 0)
    out = np.zeros((len(a), b.shape[1]), np.int32)
    _sparse.binary(words_a, words_b, a.shape[1], out, _native(native))
    words = out.size * words_a.shape[1]
    return out, BitCounts(out.size * a.shape[1], 0, 0, 0, words, 0, words, words, 16 * words)


def gemm_ternary(a: Array, b: Array, *, native: bool | None = None) -> tuple[Int32, BitCounts]:
    """Matrix product of int8 values -1, 0 and 1 in two bit planes: nonzero and negative."""
    _signs(a, b, (-1, 0, 1))
    transpose = np.ascontiguousarray(b.T)
    planes_a, planes_b = (np.stack([pack_bits(x != 0), pack_bits(x < 0)]) for x in (a, transpose))
    out, tally = np.zeros((len(a), b.shape[1]), np.int32), np.zeros(3, np.int64)
    _sparse.ternary(planes_a, planes_b, out, _native(native), tally)
    executed, weight, activation = (int(t) for t in tally)
    words = out.size * planes_a.shape[2]
    both = out.size * a.shape[1] - executed - weight - activation
    return out, BitCounts(executed, weight, activation, both, words, 2 * words, 2 * words, 2 * words, 32 * words)


def conv2d_binary(
    x: Array, w: Array, *, stride: Ints = 1, pad: Ints = 0, dilation: Ints = 1, pad_value: int = -1
) -> tuple[Int32, BitCounts]:
    """Convolution of int8 values -1 and 1, NCHW. One bit has no zero, so borders are `pad_value`.

    With ``pad_value=0`` borders count as real zeros; that takes a second plane, as `conv2d_ternary` has it.
    """
    integer("pad_value", pad_value, -1, 1)
    array("x", x, ("int8",), 4)
    array("w", w, ("int8",), 4)
    _signs_of("x", x, (-1, 1))
    _signs_of("w", w, (-1, 1))
    patches, shape = _patches(x, w, stride, pad, dilation, pad_value)
    filters = np.ascontiguousarray(w.reshape(len(w), -1).T)
    output, counts = gemm_binary(patches, filters) if patches.all() else gemm_ternary(patches, filters)
    return _images(output, shape), counts


def conv2d_ternary(
    x: Array, w: Array, *, stride: Ints = 1, pad: Ints = 0, dilation: Ints = 1
) -> tuple[Int32, BitCounts]:
    """Convolution of int8 values -1, 0 and 1, NCHW; padding is zero."""
    array("x", x, ("int8",), 4)
    array("w", w, ("int8",), 4)
    patches, shape = _patches(x, w, stride, pad, dilation, 0)
    output, counts = gemm_ternary(patches, np.ascontiguousarray(w.reshape(len(w), -1).T))
    return _images(output, shape), counts


def _walk(a: Int32, out: Int32, w: Format, skip: bool, tally: NDArray[np.int64]) -> None:
    """Run the walk of a format: a is K x M, out N x M."""
    if isinstance(w, Compressed):
        values = w.values.astype(np.int32)
        _sparse.walk_compressed(a, out, values, w.indices, w.pointers, w.by == "rows", w.relative, skip, tally)
    elif isinstance(w, Bitmask):
        _sparse.walk_bitmask(a, out, w.values.astype(np.int32), w.mask, skip, tally)
    elif isinstance(w, Rlc):
        _sparse.walk_rlc(a, out, w.values.astype(np.int32), w.runs, skip, tally)
    elif isinstance(w, TwoFour):
        _sparse.walk_two_four(a, out, np.ascontiguousarray(w.values, np.int32), w.places, skip, tally)
    else:
        _sparse.walk_codebook(a, out, w.indices, w.table.astype(np.int32), skip, tally)


def _gather(dense: Array, a: Format, w: Compressed, tally: NDArray[np.int64]) -> Int32:
    """Activations that are not zero, in the order of rows, with the rows of CSR weights."""
    rows, columns = (np.ascontiguousarray(places) for places in np.nonzero(dense))
    out = np.zeros((len(dense), w.shape[1]), np.int32)
    values = dense[rows, columns].astype(np.int32)
    weights = w.values.astype(np.int32)
    _sparse.walk_gathered(values, rows, columns, out, weights, w.indices, w.pointers, w.relative, tally)
    tally[6] = 0  # read as they are stored, cuts of runs included
    tally[[3, 4, 6]] += _storage(a)
    return out


def _storage(a: Format) -> list[int]:
    """Indices, pointers and values that unpacking reads."""
    if isinstance(a, Compressed):
        return [a.indices.size, a.pointers.size, a.values.size]
    if isinstance(a, Bitmask):
        return [a.mask.size, 0, a.values.size]
    if isinstance(a, Rlc):
        return [a.runs.size, 0, a.values.size]
    return [a.indices.size, 0, a.indices.size] if isinstance(a, Codebook) else [a.places.size, 0, a.values.size]


def _check_range(a: Array, w: Array) -> None:
    """Hold that no sum of products leaves int32."""
    if not a.size or not w.size:
        return
    most = int(np.abs(a.astype(np.int64)).max()) * int(np.abs(w.astype(np.int64)).sum(0).max())
    message = f"sums of {a.shape[1]} products must stay below 2**31, and on this data one can reach {most}"
    require(most <= INT32_MAX, "a", message)


def _patches(
    x: Array, w: Array, stride: Ints, pad: Ints, dilation: Ints, border: int
) -> tuple[Array, tuple[int, int, int, int]]:
    """Inputs as a matrix of N P Q rows and C R S columns, and the shape of the output."""
    z = geometry(x.shape, w.shape, stride=stride, pad=pad, dilation=dilation, groups=1, layout="NCHW")
    top, left, bottom, right = z.pad
    frame = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=border)
    (sh, sw), (dh, dw) = z.stride, z.dilation
    reach = ((z.r - 1) * dh + 1, (z.s - 1) * dw + 1)
    windows = np.lib.stride_tricks.sliding_window_view(frame, reach, (2, 3))[:, :, ::sh, ::sw, ::dh, ::dw]
    rows = windows.transpose(0, 2, 3, 1, 4, 5).reshape(z.n * z.p * z.q, -1)
    return np.ascontiguousarray(rows), z.output


def _images(output: Int32, shape: tuple[int, int, int, int]) -> Int32:
    """Rows of pixels as NCHW."""
    n, k, p, q = shape
    return np.ascontiguousarray(output.reshape(n, p, q, k).transpose(0, 3, 1, 2))


def _native(native: bool | None) -> bool:
    """Whether to use the processor's popcount: where it has one, unless HWSIM_ISA asks for the portable build."""
    there = _sparse.has_popcnt()
    require(not native or there, "native", "must not be true on a processor without popcnt")
    return there and isa() != "portable" if native is None else native


def _signs(a: Array, b: Array, values: tuple[int, ...]) -> None:
    """Hold that two matrices of few values can be multiplied."""
    for name, matrix in (("a", a), ("b", b)):
        array(name, matrix, ("int8",), 2)
        _signs_of(name, matrix, values)
    require(a.shape[1] == b.shape[0], "a", f"must have as many columns as b has rows ({b.shape[0]}), got {a.shape[1]}")


def _signs_of(name: str, values: Array, alphabet: tuple[int, ...]) -> None:
    """Hold that an array has these values alone."""
    strange = values[~np.isin(values, alphabet)]
    message = f"must hold {', '.join(map(str, alphabet[:-1]))} and {alphabet[-1]} alone"
    require(not strange.size, name, f"{message}, got {strange[0] if strange.size else ''}")
