"""Simple convolutions, an output row at a time: 16-bit activations, and the fp32 reference. Layouts as in `conv.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwsim.kernels.checks import array, name, require
from hwsim.kernels.gemm import gemm_fp32, gemm_int16
from hwsim.kernels.geometry import LAYOUTS, Geometry, Ints, geometry

__all__ = ["conv2d_fp32", "conv2d_int16"]

Product = Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]


def _patches(x: NDArray[Any], z: Geometry, zero: ArrayLike, image: int, group: int, row: int) -> NDArray[Any]:
    """One output row of one image and group as a matrix: q x (r, s, c)."""
    channels = slice(group * z.c, (group + 1) * z.c)
    picture = x[image, :, :, channels] if z.nhwc else x[image, channels].transpose(1, 2, 0)
    (sh, sw), (dh, dw), (top, left) = z.stride, z.dilation, z.pad[:2]
    line = np.full((z.r, (z.q - 1) * sw + (z.s - 1) * dw + 1, z.c), zero, x.dtype)
    right = min(left + z.w, line.shape[1])
    for r in range(z.r):
        source = row * sh + r * dh - top
        if 0 <= source < z.h and right > left:
            line[r, left:right] = picture[source, : right - left]
    columns = np.arange(z.q)[:, None] * sw + np.arange(z.s) * dw
    return np.ascontiguousarray(line[:, columns].transpose(1, 0, 2, 3).reshape(z.q, -1))


def _by_rows(
    x: NDArray[Any], w: NDArray[Any], z: Geometry, zero: ArrayLike, out: NDArray[Any], product: Product
) -> NDArray[Any]:
    """Fill `out` one output row at a time, by a GEMM of its patches."""
    filters = w if z.nhwc else w.transpose(0, 2, 3, 1)
    view = out if z.nhwc else out.transpose(0, 2, 3, 1)
    for group in range(z.g):
        outputs = slice(group * z.k, (group + 1) * z.k)
        columns = np.ascontiguousarray(filters[outputs].reshape(z.k, -1).T)
        for image in range(z.n):
            for row in range(z.p):
                view[image, row, :, outputs] = product(_patches(x, z, zero, image, group, row), columns)
    return out


def _filters(w: NDArray[Any], layout: str) -> tuple[int, int, int, int]:
    name("layout", layout, LAYOUTS)
    k, a, b, c = w.shape
    return (k, a, b, c) if layout == "NCHW" else (k, c, a, b)


def conv2d_int16(
    x: NDArray[np.int16],
    w: NDArray[np.int8],
    *,
    stride: Ints = 1,
    pad: Ints = 0,
    dilation: Ints = 1,
    groups: int = 1,
    bias: NDArray[np.int64] | None = None,
    layout: str = "NHWC",
) -> NDArray[np.int64]:
    """TFLite's 16x8: int16 activations and int8 filters, both symmetric, with int64 sums and bias."""
    x = array("x", x, ("int16",), 4)
    array("w", w, ("int8",), 4)
    filters = _filters(w, layout)
    z = geometry(x.shape, filters, stride=stride, pad=pad, dilation=dilation, groups=groups, layout=layout)
    out = _by_rows(x, w, z, 0, np.empty(z.output, np.int64), gemm_int16)
    if bias is not None:
        bias = array("bias", bias, ("int64",), 1)
        require(bias.shape == (filters[0],), "bias", f"must have {filters[0]} values, got {bias.size}")
        out += bias if z.nhwc else bias.reshape(-1, 1, 1)
    return out


def conv2d_fp32(
    x: NDArray[np.float32],
    w: NDArray[np.float32],
    *,
    stride: Ints = 1,
    pad: Ints = 0,
    dilation: Ints = 1,
    groups: int = 1,
    bias: Sequence[float] | NDArray[np.float32] | None = None,
    layout: str = "NCHW",
) -> NDArray[np.float32]:
    """The reference: products are added in the order (filter row, filter column, channel), each rounded, then bias."""
    x = array("x", x, ("float32",), 4)
    w = array("w", w, ("float32",), 4)
    filters = _filters(w, layout)
    z = geometry(x.shape, filters, stride=stride, pad=pad, dilation=dilation, groups=groups, layout=layout)
    out = _by_rows(x, w, z, 0.0, np.empty(z.output, np.float32), gemm_fp32)
    if bias is not None:
        values = np.asarray(bias, np.float32)
        require(values.shape == (filters[0],), "bias", f"must have {filters[0]} values, got shape {values.shape}")
        out += values if z.nhwc else values.reshape(-1, 1, 1)
    return out
