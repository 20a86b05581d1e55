"""A layer as a neural processor sees it: operators on feature maps, one after the other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isqrt
from typing import Literal

from hwsim.workload import Layer
from hwsim.workload.product import Geometry, Product, Stream

__all__ = ["IN_PLACE", "OPERATORS", "Operator", "fused_function", "operator_name", "operators_of"]

Kind = Literal["conv", "depthwise", "dense", "pool", "elementwise"]

OPERATORS: tuple[str, ...] = (
    "conv", "depthwise", "dense", "matmul", "recurrent", "experts",
    "pool", "elementwise", "activation", "softmax", "norm", "copy", "gather",
)  # fmt: skip
"""What a file may list as taken: products by their kind, other layers by what is done to their values."""
IN_PLACE = ("concat", "view")
"""Layers whose producers write in place."""

_LOOKUPS = ("sigmoid", "hardsigmoid", "tanh", "swish", "silu", "hardswish", "gelu", "exp", "elu", "mish", "softplus")
_RECIPROCAL = 24
"""Operators on one value a row that a softmax takes for its reciprocal: Newton's steps, shifts, counts of zeros."""


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator: `repeats` times the same shapes, one after the other.

    Attributes
    ----------
    kind : str
    c, h, w : int
        Channels, rows and columns of the input.
    k, p, q : int
        Those of the output.
    r, s : int
        Rows and columns of the window.
    stride, dilation : (rows, columns)
    function : str
        What is done to each value: ``add``, ``multiply``, ``max``, ``lookup``; "" of a product.
    operands : int
        Maps that are read.
    repeats : int
    stored : bool
        Whether one operand is weights.
    """

    kind: Kind
    c: int
    h: int
    w: int
    k: int
    p: int
    q: int
    r: int = 1
    s: int = 1
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    function: str = ""
    operands: int = 1
    repeats: int = 1
    stored: bool = False

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all repeats."""
        if self.kind not in ("conv", "depthwise", "dense"):
            return 0
        inner = 1 if self.kind == "depthwise" else self.c
        return self.p * self.q * self.k * self.r * self.s * inner * self.repeats

    @property
    def outputs(self) -> int:
        """Values written by all repeats."""
        return self.k * self.p * self.q * self.repeats


def operator_name(layer: Layer) -> str:
    """The name in `OPERATORS` of what a layer asks for; that of its stream where it is none of them."""
    x = layer.lower(1)
    if isinstance(x, Stream):
        return x.kind
    if x.recurrent:
        return "recurrent"
    if x.spread:
        return "experts"
    if x.geometry is not None:
        return "depthwise" if x.geometry.depthwise else "conv"
    return "dense" if x.stored else "matmul"


def fused_function(layer: Layer) -> str:
    """How the function that is fused into a layer is done: ``lookup``, ``clamp``, or "" where there is none."""
    activation = layer.lower(1).activation
    return "" if activation == "none" else "lookup" if activation in _LOOKUPS else "clamp"


def operators_of(layer: Layer) -> tuple[Operator, ...]:
    """The operators of one inference, without the function that is fused into them."""
    x = layer.lower(1)
    if isinstance(x, Stream):
        return _streamed(layer, x)
    if x.geometry is not None:
        return (_windowed(x, x.geometry),)
    each = x.macs // (x.n * x.k)  # rows of all products
    rows = max(1, each // (x.b * x.steps))
    kind: Kind = "conv" if rows > 1 else "dense"  # several rows are a convolution of one tap
    return (Operator(kind, x.k, 1, rows, x.n, 1, rows, repeats=x.b * x.steps, stored=x.stored),)


def _windowed(x: Product, z: Geometry) -> Operator:
    if z.depthwise:
        return Operator("depthwise", z.k, z.h, z.w, z.k, z.p, z.q, z.r, z.s, z.stride, z.dilation, stored=True)
    return Operator(
        "conv", z.channels, z.h, z.w, z.filters, z.p, z.q, z.r, z.s, z.stride, z.dilation,
        repeats=z.groups, stored=True,
    )  # fmt: skip


def _image(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Channels, rows and columns of a tensor; of a matrix, its last axis are the channels."""
    if len(shape) == 3:
        return shape[0], shape[1], shape[2]
    rows = 1
    for size in shape[:-1]:
        rows *= size
    return shape[-1], 1, rows


def _streamed(layer: Layer, x: Stream) -> tuple[Operator, ...]:
    c, h, w = _image(layer.input.shape)
    k, p, q = _image(layer.output.shape)
    one = Operator("elementwise", k, p, q, k, p, q, operands=x.operands)
    if x.kind == "pool":
        taps = max(1, x.ops // max(1, x.outputs))
        side = isqrt(taps)
        window = (h, w) if taps == h * w else (side, side) if side * side == taps else (taps, 1)
        stride = max(1, h // max(1, p)), max(1, w // max(1, q))
        return (Operator("pool", c, h, w, k, p, q, *window, stride, function=x.function),)
    if x.kind == "softmax":
        k = layer.output.shape[-1]
        rows = max(1, x.outputs // k)
        one, row = Operator("elementwise", k, 1, rows, k, 1, rows), Operator("elementwise", 1, 1, rows, 1, 1, rows)
        return (
            Operator("pool", 1, rows, k, 1, rows, 1, 1, k, function="max"),
            replace(one, function="lookup"),
            Operator("conv", k, 1, rows, 1, 1, rows),
            replace(row, function="add", repeats=_RECIPROCAL),
            replace(one, function="multiply"),
        )
    if x.kind == "norm":
        return (replace(one, function="multiply", operands=2), replace(one, function="add", operands=2))
    if x.kind == "elementwise":
        return (replace(one, function="multiply" if x.function in ("mul", "div") else "add"),)
    if x.kind == "activation":
        return (replace(one, function="lookup" if x.function in _LOOKUPS else ""),)
    return (one,)
