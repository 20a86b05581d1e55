"""Attention as one fused kernel runs it: tiles of queries, blocks of keys, an online softmax, splits of the context."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

import hwsim.kernels._attention as _attention
from hwsim.errors import excerpt
from hwsim.kernels.checks import array, integer, require
from hwsim.kernels.fp8 import fp8_values

__all__ = ["AttentionCounts", "attention"]

Array = NDArray[Any]

_TYPES = ("float32", "int8", "uint8")
_LARGEST = 2**26
"""Floats of all buffers of a tile."""
_LARGEST_TILE = 2**12
"""Rows and columns; those of GPUs have at most some hundreds."""
_LARGEST_DIM = 2**17 - 1
"""Values of a head whose products of int8 fit int32: 2^14 (2^17 - 1) < 2^31."""


@dataclass(frozen=True, slots=True)
class AttentionCounts:
    """Counted inside the loops, as they ran.

    Attributes
    ----------
    tiles
        Threadblocks of a GPU: a tile of rows and a part of the context each.
    blocks
        Blocks of keys and values that tiles went through.
    scores, attended
        Scores that were computed: rows x columns of each block; those of them that neither a mask nor the end of the
        context or of the tile leaves out.
    score_macs, value_macs
        Multiply-accumulates of scores, and of exponentials with values.
    exponentials
        One a score.
    rescales
        Rows whose sums were scaled to a new maximum, one a row and block but the first; each takes an exponential too.
    combined
        Rows of parts of a split context that were added at the end.
    q_words, kv_words, output_words
        Values of queries, of keys and values that were read, of the output.
    kv_padding
        Values that fill up blocks that end behind the last position.
    """

    tiles: int
    blocks: int
    scores: int
    attended: int
    score_macs: int
    value_macs: int
    exponentials: int
    rescales: int
    combined: int
    q_words: int
    kv_words: int
    kv_padding: int
    output_words: int

    def __add__(self, other: AttentionCounts) -> AttentionCounts:
        return AttentionCounts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


def _number(path: str, argument: object, *, positive: bool) -> float:
    plain = isinstance(argument, (int, float, np.integer, np.floating)) and not isinstance(argument, (bool, np.bool_))
    rule = f"must be a {'positive ' if positive else ''}finite number"
    require(plain, path, f"{rule}, got {excerpt(argument)}")
    try:
        value = float(argument)  # type: ignore[arg-type]
    except OverflowError:
        value = float("inf")
    require(isfinite(value) and (value > 0 or not positive), path, f"{rule}, got {excerpt(argument)}")
    return value


def _flag(path: str, argument: object) -> bool:
    require(isinstance(argument, (bool, np.bool_)), path, f"must be true or false, got {excerpt(argument)}")
    return bool(argument)


def _largest(path: str, values: Array, table: NDArray[np.float32]) -> float:
    """Largest magnitude; every value must be finite."""
    if values.dtype == np.int8:
        return 128.0
    if values.dtype == np.uint8:
        codes = np.bincount(values.reshape(-1), minlength=256) > 0
        floats = table[codes]
    else:
        floats = values.reshape(-1)
    top = max(float(floats.max()), -float(floats.min()))  # NaN if one is
    require(isfinite(top), path, "must be finite numbers")
    return top


def _octets(values: Array) -> NDArray[np.uint8]:
    return values.reshape(-1).view(np.uint8)


def attention(
    q: Array,
    k: Array,
    v: Array,
    *,
    causal: bool = False,
    window: int = 0,
    start: int | None = None,
    rows: int = 64,
    columns: int = 64,
    splits: int = 1,
    packed: bool = True,
    skips: bool = True,
    scale: float | None = None,
    q_scale: float = 1.0,
    k_scale: float = 1.0,
    v_scale: float = 1.0,
    fp8: str = "e4m3",
) -> tuple[NDArray[np.float32], AttentionCounts]:
    """softmax(Q K^T) V of one sequence, tile by tile, and what the loops did.

    A tile of `rows` rows of queries goes through blocks of `columns` positions, and keeps for each row the largest
    score so far, the sum of the exponentials and the sum of the values. Where a block has a larger score the sums are
    scaled down to it. Blocks begin at the first position that the tile's first query attends to, and end behind the
    last that its last one attends to, so they have scores that the mask leaves out. Tiles are full from the last row
    on.

    Products of int8 queries with int8 keys are summed in int32, all others in float32 in the order of their dim.
    Exponentials stay in float32, and are not quantized.

    No row is without a score: a causal query attends to its own position, or to the last of the context that is in its
    window. In a single block, or a part of the context, a row may be; its maximum is minus infinity there, and its
    sums stay zero.

    Parameters
    ----------
    q : array, heads x queries x dim
        float32, int8, or the codes of fp8 in uint8.
    k, v : array, kv_heads x context x dim or value_dim
        Both of one type: that of q, or with q in float32 any. heads / kv_heads heads of queries share a head of keys.
    causal : bool
        Whether query i is position start + i and attends to it and those before.
    window : int
        The last positions that a query attends to; 0: all.
    start : int, optional
        The position of the first query where causal; by default the queries are the last positions.
    rows, columns, splits : int
        Rows of a tile, positions of a block, parts that the blocks of a tile are split into.
    packed : bool
        Whether a tile holds rows of all heads that share keys, query by query; else those of one head.
    skips : bool
        Whether blocks before the window are left out; else their scores are masked.
    scale : float, optional
        Of the scores; 1 / sqrt(dim) by default.
    q_scale, k_scale, v_scale : float
        What one of a quantized value stands for.
    fp8 : str
        ``e4m3`` or ``e5m2``, what uint8 stands for.

    Returns
    -------
    output : array of float32, heads x queries x value_dim
    counts : AttentionCounts
    """
    q, k, v = (array(path, values, _TYPES, 3) for path, values in (("q", q), ("k", k), ("v", v)))
    for path, values in (("q", q), ("k", k), ("v", v)):
        require(values.size > 0, path, f"must not be empty, got shape {values.shape}")
    (heads, queries, dim), (kv_heads, context, value_dim) = q.shape, v.shape
    rule = f"must have {kv_heads} heads and {context} positions of {dim} values, as v and q do"
    require(k.shape == (kv_heads, context, dim), "k", f"{rule}, got shape {k.shape}")
    require(heads % kv_heads == 0, "q", f"must have a multiple of {kv_heads} heads, as k has that many, got {heads}")
    require(v.dtype == k.dtype, "v", f"must be {k.dtype} as k is, got {v.dtype}")
    types = dict.fromkeys(("float32", k.dtype.name))
    require(q.dtype.name in types, "q", f"must be {' or '.join(types)} as k is, got {q.dtype}")
    require(max(dim, value_dim) <= _LARGEST_DIM, "q", f"must have at most {_LARGEST_DIM} values a head, got {dim}")
    causal, packed, skips = _flag("causal", causal), _flag("packed", packed), _flag("skips", skips)
    window = integer("window", window, 0, 2**62)
    require(causal or not window, "window", f"must be 0 where causal is not true, got {window}")
    first = context - queries if start is None else start
    if causal:
        require(start is not None or first >= 0, "q", f"must be at most {context} queries where causal, got {queries}")
        first = integer("start", first, 0, 2**62)
        most = context + window - queries - 1
        rule = f"must be at most {most}, so that each query attends to a position"
        require(not window or first <= most, "start", f"{rule}, got {first}")
    else:
        require(start is None, "start", f"must be left out where causal is not true, got {excerpt(start)}")
    rows, columns = integer("rows", rows, 1, _LARGEST_TILE), integer("columns", columns, 1, _LARGEST_TILE)
    splits = min(integer("splits", splits, 1, 2**20), -(-context // columns))
    buffers = rows * (dim + columns) + columns * (dim + value_dim) + splits * rows * (value_dim + 2)
    rule = f"must be fewer: the buffers of a tile of {rows} rows by {columns} columns and {splits} splits"
    require(buffers <= _LARGEST, "rows", f"{rule} must take at most {_LARGEST:,} values, not {buffers:,}")

    table = fp8_values(fp8)
    largest = [_largest(path, values, table) for path, values in (("q", q), ("k", k), ("v", v))]
    factor = dim**-0.5 if scale is None else _number("scale", scale, positive=False)
    scales = [_number(f"{name}_scale", x, positive=True) for name, x in zip("qkv", (q_scale, k_scale, v_scale))]
    factor *= scales[0] * scales[1]
    products = dim * largest[0] * largest[1]
    limit = float(np.finfo(np.float32).max) / 4  # a difference of two scores fits too
    require(
        abs(factor) <= limit and products * max(1.0, abs(factor)) <= limit, "q", f"must have scores below {limit:.3g}"
    )
    require(context * largest[2] * max(1.0, scales[2]) <= limit, "v", f"must have sums below {limit:.3g}")

    out = np.empty((heads, queries, value_dim), np.float32)
    counts = np.zeros(len(fields(AttentionCounts)), np.int64)
    _attention.attention(
        _octets(q), _octets(k), _octets(v), _TYPES.index(q.dtype.name),
        _TYPES.index(k.dtype.name), table, (heads, kv_heads, queries, context, dim, value_dim),
        (causal, first if causal else 0, window), (rows, columns, splits, packed, skips), factor, scales[2],
        out.reshape(-1), np.empty(buffers, np.float32), np.empty(columns, np.int32), counts,
    )  # fmt: skip
    return out, AttentionCounts(*counts.tolist())
