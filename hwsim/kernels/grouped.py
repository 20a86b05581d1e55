"""Products with int4 weights in groups, each with a scale and a zero point: weight-only quantization in integers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import hwsim.kernels._grouped as _grouped
from hwsim.errors import excerpt
from hwsim.kernels.checks import array, require

__all__ = ["GROUPS", "gemm_int4_grouped", "pack_int4_grouped", "quantize_groups"]

GROUPS = (16, 32, 64, 128, 256)
"""Sizes of a group."""
_LARGEST = 2**28
"""Values of quantized activations, padding included."""


def _group(group: object) -> int:
    whole = isinstance(group, (int, np.integer)) and group in GROUPS
    require(whole, "group", f"must be one of {', '.join(map(str, GROUPS))}, got {excerpt(group)}")
    return int(group)  # type: ignore[call-overload, no-any-return]


def quantize_groups(a: NDArray[np.float32], group: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Quantize each group of a row to -127..127, symmetric, as ONNX Runtime does for integer products.

    The scale is max |a| / 127; a value is a times 127 / max |a|, rounded to the nearest, ties to even. Both quotients
    are rounded to float32. Where the second is infinite, values are 0.

    Returns
    -------
    values : array of int8, m x groups x group
        The last group is filled up with zeros.
    scales : array of float32, m x groups
    """
    group, a = _group(group), array("a", a, ("float32",), 2)
    (m, k), groups = a.shape, -(-a.shape[1] // group)
    require(m * groups * group <= _LARGEST, "a", f"must have at most {_LARGEST:,} values, got shape {a.shape}")
    require(bool(np.isfinite(a).all()), "a", "must be finite numbers")
    padded = np.zeros((m, groups * group), np.float32)
    padded[:, :k] = a
    padded = padded.reshape(m, groups, group)
    most = np.abs(padded).max(axis=2)
    with np.errstate(all="ignore"):
        inverse = np.where(most > 0, np.float32(127) / most, np.float32(0))
        values = np.rint(padded * inverse[:, :, None])
    values[~np.isfinite(inverse)] = 0
    return values.astype(np.int8), most / np.float32(127)


def pack_int4_grouped(values: NDArray[np.uint8], group: int) -> NDArray[np.uint8]:
    """Weights (n x k, 0 to 15) as n x groups x group / 2 bytes, the even one in the low half; zeros fill up a group."""
    group, values = _group(group), array("values", values, ("uint8",), 2)
    most = int(values.max(initial=0))
    require(most <= 15, "values", f"must lie in 0..15, got {most}")
    n, k = values.shape
    padded = np.zeros((n, -(-k // group) * group), np.uint8)
    padded[:, :k] = values
    packed: NDArray[np.uint8] = (padded[:, 0::2] | padded[:, 1::2] << 4).reshape(n, -1, group // 2)
    return packed


def gemm_int4_grouped(
    a: NDArray[np.float32],
    b: NDArray[np.uint8],
    scales: NDArray[np.float32],
    zeros: NDArray[np.uint8] | None = None,
    *,
    group: int,
) -> NDArray[np.float32]:
    """a (m x k) times the transpose of int4 weights, in integers a group, as MatMulNBits with `accuracy_level` 4.

    Activations are quantized a row and group (`quantize_groups`). The sums of products in a group are exact; they,
    times both scales, are added in float32 in the lanes and the order that ONNX Runtime has on AVX512-VNNI with one
    thread: equal to it bit for bit there. Zero points are taken off at the end, by the sums of activations.

    Parameters
    ----------
    a : array of float32, m x k
    b : array of uint8, n x groups x group / 2
        Two weights of 0..15 a byte, the even one in the low half (`pack_int4_grouped`), as ONNX keeps them.
    scales : array of float32, n x groups
    zeros : array of uint8, n x groups, optional
        Zero points of 0..15; 8 by default.
    group : int
        Weights along k that share a scale: 16, 32, 64, 128 or 256. k need not be a multiple.

    Returns
    -------
    NDArray[np.float32]
        m x n.
    """
    group, b = _group(group), array("b", b, ("uint8",), 3)
    values, a_scales = quantize_groups(a, group)
    (m, groups, _), n = values.shape, b.shape[0]
    shape = f"{groups} groups of {group // 2} bytes"
    require(b.shape[1:] == (groups, group // 2), "b", f"must have {shape} a row, got shape {b.shape}")
    scales = array("scales", scales, ("float32",), 2)
    require(scales.shape == (n, groups), "scales", f"must have shape {(n, groups)}, got {scales.shape}")
    require(bool(np.isfinite(scales).all()), "scales", "must be finite numbers")
    points: NDArray[Any] = np.full((n, groups), 8, np.uint8) if zeros is None else array("zeros", zeros, ("uint8",), 2)
    require(points.shape == (n, groups), "zeros", f"must have shape {(n, groups)}, got {points.shape}")
    most = int(points.max(initial=0))
    require(most <= 15, "zeros", f"must lie in 0..15, got {most}")
    out = np.zeros((m, n), np.float32)
    with np.errstate(all="ignore"):  # scales that make infinities do so in the runtime too
        a_sums = a_scales * values.sum(axis=2, dtype=np.int32).astype(np.float32)
        b_sums = -(scales * points.astype(np.float32))
    _grouped.gemm(values, a_scales, a_sums, b, scales, b_sums, np.empty(groups * group, np.uint8), out)
    return out
