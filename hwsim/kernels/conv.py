"""Convolutions of 8-bit tensors: dense, grouped, depthwise.

`layout` is "NCHW" (ONNX, PyTorch: weights [output][input of a group][row][column]) or "NHWC" (TFLite: weights
[output][row][column][input of a group], depthwise [1][row][column][output]). Padding counts as the real number zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

import hwsim.kernels._int8 as _int8
from hwsim.errors import excerpt
from hwsim.kernels.checks import EIGHT_BITS, FLIP, array, channel_zeros, name, raw, require, vector, zero_point
from hwsim.kernels.counts import LoopCounts
from hwsim.kernels.gemm import aligned
from hwsim.kernels.geometry import LAYOUTS, Geometry, Ints, geometry
from hwsim.kernels.isa import isa, isa_number
from hwsim.kernels.overflow import require_no_overflow
from hwsim.kernels.requantize import Form, OnnxRequantization, TfliteRequantization

__all__ = [
    "PackedConv",
    "conv2d_int8",
    "count_conv2d_int8",
    "depthwise_int8",
    "pack_conv",
]

Requantization = OnnxRequantization | TfliteRequantization
Words = NDArray[np.int32]


class PackedConv:
    """Filters of a convolution, kept in the orders that the loops read them. Made by `pack_conv`.

    What depends on the instruction set or on the image is packed at the first use and kept; they must not change.
    """

    def __init__(self, w: NDArray[Any], groups: int, layout: str) -> None:
        name("layout", layout, LAYOUTS)
        self.w = array("w", w, EIGHT_BITS, 4)
        self.groups = groups
        self.layout = layout
        rows = w if layout == "NHWC" else np.ascontiguousarray(w.transpose(0, 2, 3, 1))
        self.rows: NDArray[Any] = rows.reshape(w.shape[0], -1)  # one filter a row, (row, column, channel)
        self._packed: dict[tuple[object, ...], tuple[NDArray[np.uint8], Words]] = {}

    @property
    def filters(self) -> tuple[int, int, int, int]:
        """(output channels, input channels of a group, rows, columns)."""
        k, a, b, c = self.w.shape
        return (k, a, b, c) if self.layout == "NCHW" else (k, c, a, b)

    @property
    def flip(self) -> int:
        """What makes the filters signed."""
        return FLIP if self.w.dtype == np.uint8 else 0

    def panels(self, z: Geometry, number: int) -> tuple[NDArray[np.uint8], Words]:
        """Each group as the right operand of a GEMM, and the sums of the filters by group and padded column."""
        key = ("panels", number)
        if key not in self._packed:
            depth, size = self.rows.shape[1], _int8.packed_bytes(number, self.rows.shape[1], z.k)
            data = aligned(z.g * size)
            sums = np.zeros((z.g, _int8.padded_columns(number, z.k)), np.int32)
            for group in range(z.g):
                part = raw(self.rows[group * z.k : (group + 1) * z.k])
                to = data[group * size : (group + 1) * size]
                _int8.pack_b(number, part, 1, depth, depth, z.k, self.flip, to, sums[group])
            self._packed[key] = data, sums
        return self._packed[key]

    def quads(self, z: Geometry) -> tuple[NDArray[np.uint8], Words]:
        """For the VNNI convolution."""
        key = ("quads", _int8.vnni_weight_bytes(z.numbers, z.nhwc), z.p * z.q, z.nhwc)
        if key not in self._packed:
            data = aligned(_int8.vnni_weight_bytes(z.numbers, z.nhwc))
            sums = np.zeros(z.g * z.k, np.int32)
            _int8.vnni_pack(raw(self.rows), self.flip, z.numbers, z.nhwc, data, sums)
            self._packed[key] = data, sums
        return self._packed[key]


def pack_conv(w: NDArray[Any], *, groups: int = 1, layout: str = "NCHW") -> PackedConv:
    """Keep filters packed for many convolutions (see `conv2d_int8` for w, groups and layout)."""
    return PackedConv(w, groups, layout)


def _outputs(
    z: Geometry, requantize: Requantization | None
) -> tuple[NDArray[Any], Words | None, NDArray[np.uint8] | None, Form | None]:
    """The result, the same as int32 or as bytes in a row, and how to requantize."""
    if requantize is None:
        out: NDArray[Any] = np.empty(z.output, np.int32)
        return out, out.reshape(-1), None, None
    form = requantize.form(z.g * z.k)
    out = np.empty(z.output, requantize.output())
    return out, None, raw(out), form


def _conv(
    x: NDArray[Any],
    w: NDArray[Any] | PackedConv,
    stride: Ints,
    pad: Ints,
    dilation: Ints,
    groups: int | None,
    x_zero: ArrayLike,
    w_zero: ArrayLike,
    bias: Words | None,
    layout: str | None,
    requantize: Requantization | None,
    count: bool,
) -> tuple[NDArray[Any], LoopCounts]:
    array("x", x, EIGHT_BITS, 4)
    if isinstance(w, PackedConv):
        rule = "must be as the filters were packed"
        require(
            layout is None or (isinstance(layout, str) and layout == w.layout),
            "layout",
            f"{rule} ({w.layout}), got {excerpt(layout)}",
        )
        require(
            groups is None or (isinstance(groups, (int, np.integer)) and groups == w.groups),
            "groups",
            f"{rule} ({w.groups}), got {excerpt(groups)}",
        )
        packed = w
    else:
        packed = PackedConv(w, 1 if groups is None else groups, "NCHW" if layout is None else layout)
    z = geometry(
        x.shape,
        packed.filters,
        stride=stride,
        pad=pad,
        dilation=dilation,
        groups=packed.groups,
        layout=packed.layout,
    )
    if z.c == 1 and z.g > 1 and not count:  # depthwise: a GEMM of one column would waste the tile
        w = packed.w if packed.layout == "NCHW" else np.ascontiguousarray(packed.w.transpose(3, 1, 2, 0))
        out = depthwise_int8(
            x,
            w,
            stride=stride,
            pad=pad,
            dilation=dilation,
            x_zero=x_zero,
            w_zero=w_zero,
            bias=bias,
            layout=packed.layout,
            requantize=requantize,
        )
        return out, LoopCounts(0, 0, 0, 0)
    channels = z.g * z.k
    xz = zero_point("x_zero", x_zero, x.dtype)
    wz = channel_zeros("w_zero", w_zero, channels, packed.w.dtype)
    start = np.zeros(channels, np.int64) if bias is None else vector("bias", bias, channels).astype(np.int64)
    require_no_overflow(x, xz, packed.rows, wz, bias)
    out, out32, out8, form = _outputs(z, requantize)
    flip = FLIP if x.dtype == np.int8 else 0
    unsigned, signed = xz + flip, wz - packed.flip
    number, zero_byte = isa_number(), int(np.array(xz, x.dtype).view(np.uint8))
    depth = packed.rows.shape[1]
    if isa() == "avx512vnni" and not signed.any():
        data, sums = packed.quads(z)
        init = (start - unsigned * sums.astype(np.int64)).astype(np.int32)
        tally = _int8.conv_blocks(raw(x), flip, zero_byte, z.numbers, z.nhwc, data, init, form, out32, out8, count)
        return out, LoopCounts(*tally)
    data, panel_sums = packed.panels(z, number)
    inits, zeros = np.zeros(panel_sums.shape, np.int64), np.zeros(panel_sums.shape, np.int32)
    zeros[:, : z.k] = signed.reshape(z.g, z.k)
    inits[:, : z.k] = start.reshape(z.g, z.k) - unsigned * panel_sums[:, : z.k].astype(np.int64)
    inits += depth * unsigned * zeros.astype(np.int64)
    offsets = zeros.reshape(-1) if signed.any() else None
    init = inits.astype(np.int32).reshape(-1)
    tally = _int8.conv(
        number, raw(x), flip, zero_byte, z.numbers, z.nhwc, data, init, offsets, form, out32, out8, count
    )
    return out, LoopCounts(*tally)


def conv2d_int8(
    x: NDArray[Any],
    w: NDArray[Any] | PackedConv,
    *,
    stride: Ints = 1,
    pad: Ints = 0,
    dilation: Ints = 1,
    groups: int | None = None,
    x_zero: ArrayLike = 0,
    w_zero: ArrayLike = 0,
    bias: Words | None = None,
    layout: str | None = None,
    requantize: Requantization | None = None,
) -> NDArray[Any]:
    """Convolution of 8-bit tensors with int32 sums, exactly.

    Parameters
    ----------
    x
        int8 or uint8, C-contiguous, in `layout`.
    w
        int8 or uint8 filters, C-contiguous: (k, c / groups, r, s) for NCHW, (k, r, s, c / groups) for NHWC; or what
        `pack_conv` made of them, which also fixes groups and layout.
    stride, dilation
        One number, or (vertical, horizontal).
    pad
        One number, (vertical, horizontal), or (top, left, bottom, right); padding counts as the real zero, `x_zero`.
    groups
        1 unless said otherwise.
    x_zero, w_zero
        Zero points; that of w may be one an output channel.
    bias
        int32, one an output channel.
    layout
        "NCHW" (unless said otherwise) or "NHWC".
    requantize
        Leave int32 in the same pass, block by block.

    Returns
    -------
    NDArray
        int32 in the same layout, or the 8-bit type of `requantize`.

    Raises
    ------
    InputError
        Where shapes, types or zero points do not fit, or a sum could leave int32 on this data.
    """
    arguments = (stride, pad, dilation, groups, x_zero, w_zero, bias, layout, requantize)
    return _conv(x, w, *arguments, count=False)[0]


def count_conv2d_int8(
    x: NDArray[Any],
    w: NDArray[Any] | PackedConv,
    *,
    stride: Ints = 1,
    pad: Ints = 0,
    dilation: Ints = 1,
    groups: int | None = None,
    x_zero: ArrayLike = 0,
    w_zero: ArrayLike = 0,
    bias: Words | None = None,
    layout: str | None = None,
    requantize: Requantization | None = None,
) -> tuple[NDArray[Any], LoopCounts]:
    """`conv2d_int8` by the counting build of the same loops; products with padding count as real ones."""
    arguments = (stride, pad, dilation, groups, x_zero, w_zero, bias, layout, requantize)
    return _conv(x, w, *arguments, count=True)


def depthwise_int8(
    x: NDArray[Any],
    w: NDArray[Any],
    *,
    stride: Ints = 1,
    pad: Ints = 0,
    dilation: Ints = 1,
    x_zero: ArrayLike = 0,
    w_zero: ArrayLike = 0,
    bias: Words | None = None,
    layout: str = "NCHW",
    requantize: Requantization | None = None,
) -> NDArray[Any]:
    """Depthwise convolution: one or more filters for each input channel. Arguments and result as in `conv2d_int8`.

    w is (outputs, 1, r, s) for NCHW and (1, r, s, outputs) for NHWC; output o belongs to input o // (outputs / c).
    """
    array("x", x, EIGHT_BITS, 4)
    array("w", w, EIGHT_BITS, 4)
    name("layout", layout, LAYOUTS)
    single = w.shape[1] if layout == "NCHW" else w.shape[0]
    rule = "must be (outputs, 1, r, s) for NCHW or (1, r, s, outputs) for NHWC"
    require(single == 1, "w", f"{rule}, got shape {w.shape}")
    outputs, _, r, s = w.shape if layout == "NCHW" else (w.shape[3], 1, w.shape[1], w.shape[2])
    groups = x.shape[1] if layout == "NCHW" else x.shape[3]
    require(groups > 0, "x", f"must have no empty dim, got shape {x.shape}")
    z = geometry(x.shape, (outputs, 1, r, s), stride=stride, pad=pad, dilation=dilation, groups=groups, layout=layout)
    xz = zero_point("x_zero", x_zero, x.dtype)
    wz = channel_zeros("w_zero", w_zero, outputs, w.dtype)
    start = np.zeros(outputs, np.int32) if bias is None else vector("bias", bias, outputs)
    by_filter = w.reshape(outputs, -1) if layout == "NCHW" else w.reshape(-1, outputs).T
    require_no_overflow(x, xz, by_filter, wz, bias)
    out, out32, out8, form = _outputs(z, requantize)
    along = wz.reshape(-1, 1, 1, 1) if layout == "NCHW" else wz
    weights = (w.astype(np.int16) - along.astype(np.int16)).reshape(-1)
    numbers = list(z.numbers)
    numbers[1], numbers[2], numbers[5] = 1, groups, outputs
    flip, zero_byte = FLIP if x.dtype == np.int8 else 0, int(np.array(xz, x.dtype).view(np.uint8))
    _int8.depthwise(
        isa_number(),
        raw(x),
        flip,
        zero_byte,
        tuple(numbers),
        z.nhwc,
        outputs // groups,
        weights,
        np.ascontiguousarray(start),
        form,
        out32,
        out8,
    )
    return out
