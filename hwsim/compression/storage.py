"""Compressed formats: the expected size in bits of a tensor, from its shape, its density and the bits of a value.

`hwsim.kernels.sparse_formats` encodes real matrices in them, with the exact size; `sizes` has those of weights.

Run-length compression as on the Eyeriss chip (Chen et al., ISSCC 2016, fig. 14.5.2): a 64-bit word holds three pairs of
a 5-bit run of zeros and a 16-bit value, and one bit that ends the stream.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = [
    "CODEBOOK_INDEX_BITS",
    "RLC_PAIRS",
    "RLC_WORD_BITS",
    "expected_bits",
    "filler_rate",
    "least_bits",
    "rlc_expected_bytes",
    "rlc_least_bytes",
    "rlc_pairs",
]

RLC_WORD_BITS = 64
RLC_PAIRS = 3
RLC_RUN_BITS = 5
CODEBOOK_INDEX_BITS = 4


def filler_rate(density: float, run_bits: int) -> float:
    """Fillers for each value that is not zero, in an endless stream whose zeros fall at random.

    A run reaches ``z = 2**run_bits`` zeros with the odds ``(1 - d)**z``, and again from there.
    """
    if not 0 < density < 1:
        return 0.0
    again = math.exp((1 << run_bits) * math.log1p(-density))
    return again / (1 - again)


def expected_bits(form: str, shape: Sequence[int], density: float, bits: int, run_bits: int = 0) -> float:
    """Expected bits of a tensor in a format, as the encoders of `hwsim.kernels` store it, if zeros fall at random.

    The first axis of the shape is the rows of the matrix, all others its columns. CSR and CSC have absolute indices and
    pointers, or with `run_bits` runs of zeros over the whole tensor as one stream, cut by fillers. A codebook has 16
    entries; an RLC word of 64 bits holds as many pairs of a 5-bit run and a value as fit.
    """
    rows, columns = shape[0], math.prod(shape[1:])
    values = rows * columns
    nonzero = values * density
    if not values:
        return 0.0
    if form in ("csr", "csc") and run_bits:
        return nonzero * (1 + filler_rate(density, run_bits)) * (bits + run_bits)
    if form in ("csr", "csc"):
        lines, width = (rows, columns) if form == "csr" else (columns, rows)
        pointer = max(1, math.ceil(nonzero).bit_length())
        return nonzero * (bits + max(1, (width - 1).bit_length())) + (lines + 1) * pointer
    if form == "rlc":
        pairs = max(1, (RLC_WORD_BITS - 1) // (RLC_RUN_BITS + bits))
        words = -(-(RLC_RUN_BITS + bits + 1) // RLC_WORD_BITS)  # of a pair that does not fit one
        lost = (pairs - 1) / (2 * pairs)  # of the last word, on average
        return RLC_WORD_BITS * words * max(1.0, rlc_pairs(values, density) / pairs + lost)
    if form == "codebook":
        index = min(CODEBOOK_INDEX_BITS, bits)
        return values * index + min(1 << index, math.ceil(nonzero) + 1) * bits
    return least_bits(form, values, density, bits)


def least_bits(form: str, values: int, density: float, bits: int) -> float:
    """Bits that so many values take at the least, however they are cut into matrices."""
    if form in ("csr", "csc"):
        return values * density * bits
    if form == "rlc":
        return values * rlc_least_bytes(1, density, math.inf) * 8 * RLC_PAIRS / max(1, 63 // (RLC_RUN_BITS + bits))
    return {
        "dense": values * bits,
        "bitmask": values * (1 + density * bits),
        "codebook": values * min(CODEBOOK_INDEX_BITS, bits),
        "2:4": values / 2 * (bits + 2),
    }[form]


def rlc_pairs(values: int, density: float) -> float:
    """Expected pairs of a stream: each value that is not zero, and one more for every 32 zeros before it."""
    if density >= 1:
        return float(values)
    return values * density / -math.expm1(32 * math.log1p(-density)) if density > 0 else 0.0


def rlc_expected_bytes(rows: int, row: int, density: float, raw_bytes: float = 2.0) -> float:
    """Expected bytes of `rows` streams of `row` values whose zeros fall at random, or raw where that is smaller.

    A row has ``row * d`` non-zero values, and a run of zeros before each costs a pair more for every 32 of them: with
    z = 1 - d that makes ``row * d / (1 - z^32)`` pairs. A word holds three; on average a third of the last one is lost.
    """
    if not rows or not row:
        return 0.0
    packed = RLC_WORD_BITS / 8 * max(1.0, rlc_pairs(row, density) / RLC_PAIRS + 1 / 3)
    return rows * min(raw_bytes * row, packed)


def rlc_least_bytes(values: int, density: float, raw_bytes: float = 2.0) -> float:
    """Bytes that so many values take at the least, however they are cut into streams."""
    pairs = density / -math.expm1(32 * math.log1p(-density)) if 0 < density < 1 else float(density > 0)
    return values * min(raw_bytes, RLC_WORD_BITS / 8 / RLC_PAIRS * pairs)
