"""Calls of kernels on real arrays: shapes, types, strides, values and options at random, most of which fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from hwsim import kernels
from tests.fuzz.case import BrokenPromiseError, Case
from tests.fuzz.python_api import VALUES

SIZES = (1, 1, 2, 3, 7, 16, 31, 33, 127)
TYPES = ("float32", "int8", "uint8", "float32", "int8", "uint8", "float32", "int8", "uint8", "float64", "int32", ">f4")


def _array(draw: Random, shape: tuple[int, ...], dtype: str) -> np.ndarray[Any, Any]:
    """Values of a type, now and then no numbers, of another shape, in other strides or at odd addresses."""
    rng = np.random.default_rng(draw.getrandbits(32))
    values = (rng.standard_normal(shape) * 10.0 ** draw.choice((-40, -3, 0, 0, 0, 0, 0, 1, 2))).astype("float32")
    if draw.random() < 0.03:
        values.reshape(-1)[:1] = draw.choice((np.nan, np.inf, -np.inf, 3e38))
    with np.errstate(all="ignore"):
        values = np.clip(values, 0, 15).astype(dtype) if dtype == "uint8" else values.astype(dtype)
    change = draw.random()
    if change < 0.02:
        values = values.T
    elif change < 0.04:
        values = values[..., ::2]
    elif change < 0.06:
        values = values[:0]
    elif change < 0.08:
        values = values[None]
    elif change < 0.1:
        octets = np.zeros(values.nbytes + 1, np.uint8)
        moved = octets[1:].view(values.dtype).reshape(values.shape)
        moved[...] = values
        values = moved
    return values


def _option(draw: Random, *values: Any) -> Any:
    return draw.choice(VALUES) if draw.random() < 0.02 else draw.choice(values)


def _attention(draw: Random) -> Callable[[], object]:
    kv_heads, group = draw.choice((1, 2, 3, 5)), draw.choice((1, 1, 3, 4))
    queries, context, dim, value_dim = (draw.choice(SIZES) for _ in range(4))
    dtype = draw.choice(TYPES)
    context = max(context, queries) if draw.random() < 0.8 else context
    heads = kv_heads * group + (draw.random() < 0.03)
    q = _array(draw, (heads, queries, dim), draw.choice((dtype, "float32")))
    k, v = (_array(draw, (kv_heads, context, width), dtype) for width in (dim, value_dim))
    if draw.random() < 0.05:
        q = k = v  # one array in the place of all
    options = {
        "causal": _option(draw, True, False, True), "window": _option(draw, 0, 0, 0, 1, 5, 1000),
        "start": _option(draw, None, None, None, None, 0, context), "rows": _option(draw, 1, 8, 17, 64, 127, 256),
        "columns": _option(draw, 1, 8, 17, 64, 128), "splits": _option(draw, 1, 1, 3, 64, 2**40),
        "packed": _option(draw, True, False), "skips": _option(draw, True, False),
        "scale": _option(draw, None, None, 0.1, -1.0, 1e20), "q_scale": _option(draw, 1.0, 1e-3, 1e30),
        "k_scale": _option(draw, 1.0, 0.5), "v_scale": _option(draw, 1.0, 2), "fp8": _option(draw, "e4m3", "e5m2"),
    }  # fmt: skip
    options = {name: value for name, value in options.items() if draw.random() < 0.6 or name in ("rows", "columns")}

    def call() -> object:
        out, counts = kernels.attention(q, k, v, **options)
        if not np.isfinite(out).all() or counts.attended < 1 or counts.scores < counts.attended:
            raise BrokenPromiseError(f"attention gives {out.ravel()[:3]}, {counts}")
        return out

    return call


def _grouped(draw: Random) -> Callable[[], object]:
    m, n, k, group = (
        draw.choice(SIZES),
        draw.choice(SIZES),
        draw.choice((*SIZES, 300, 1000)),
        draw.choice((16, 32, 64, 128)),
    )
    groups = -(-k // group)
    a = _array(draw, (m, k), draw.choice(("float32",) * 9 + TYPES))
    b = _array(draw, (n, groups, group // 2), draw.choice(("uint8",) * 9 + TYPES))
    scales = _array(draw, (n, groups), "float32")
    zeros = draw.choice((None, _array(draw, (n, groups), "uint8")))
    size = _option(draw, group, group, group, 16, 48)
    return lambda: kernels.gemm_int4_grouped(a, b, scales, zeros, group=size)


def _fp8(draw: Random) -> Callable[[], object]:
    values, kind = (
        _array(draw, (draw.choice(SIZES), draw.choice(SIZES)), draw.choice(TYPES)),
        _option(draw, "e4m3", "e5m2"),
    )

    def call() -> object:
        codes = kernels.quantize_fp8(values, kind)
        if not np.isfinite(kernels.fp8_values(kind)[codes]).all():
            raise BrokenPromiseError("a finite value gets a code that is none")
        return codes

    return call


def case(draw: Random, folder: Path) -> Case:
    """One call."""
    make = draw.choice((_attention, _attention, _grouped, _fp8))
    return Case(make(draw), label=make.__name__)
