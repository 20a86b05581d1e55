"""A layer as a processor sees it: products of matrices with stored or computed right sides, and passes over values."""

from __future__ import annotations

from dataclasses import dataclass

from hwsim.workload import Layer
from hwsim.workload.product import Product, Stream
from hwsim.workload.taps import live_taps

__all__ = ["Share", "Work", "fused", "is_hybrid", "live_taps", "signs_of", "transcendental", "work_of"]

#: Functions that take polynomials or divisions; the others are a comparison or a product.
_COSTLY = ("elu", "gelu", "silu", "swish", "sigmoid", "tanh", "exp", "mish", "softplus")


_FLOATS = ("fp32", "fp16", "bf16")


@dataclass(frozen=True, slots=True)
class Work:
    """`b` products of an m x k by a k x n matrix; a convolution is one of its pixels by its filters.

    Attributes
    ----------
    taps : int
        Rows times columns of the filter, 1 of a plain product.
    channels : int
        Input values of one pixel and group that a tap multiplies; k = taps x channels.
    conv, depthwise : bool
        What it is; a depthwise layer is one product of one column for each channel.
    macs, live : int
        MACs by the shape, and those whose input is not in the padding.
    rows : int
        Rows of output positions of each product of a convolution.
    inputs : int
        Values of the image of a convolution.
    joint : bool
        Whether all threads do each product together: those of steps, and those of experts.
    in_place : bool
        Whether the rows are the pixels as they lie: a filter of one tap without stride or padding.
    """

    b: int
    m: int
    n: int
    k: int
    taps: int
    channels: int
    conv: bool
    depthwise: bool
    macs: int
    live: int
    joint: bool = False
    rows: int = 0
    inputs: int = 0
    in_place: bool = False


@dataclass(frozen=True, slots=True)
class Share:
    """A thread's share of a layer: matrices, rows and columns, and the resulting `part` of the MACs."""

    b: int
    m: int
    n: int
    threads: int
    part: float


def signs_of(layer: Layer) -> str:
    """Signs of 8-bit activations and weights, such as ``s8s8``; those that a layer does not say are ``u8s8``."""
    if not layer.macs:
        return ""
    signed = bool(layer.input.signed), layer.weight.signed is not False
    return {(False, True): "u8s8", (False, False): "u8u8"}.get(signed, "s8s8")


def is_hybrid(layer: Layer, dtype: str) -> bool:
    """Whether a layer has 8-bit weights and float activations, which kernels of 8 bits quantize as they run."""
    return dtype == "int8" and layer.macs > 0 and layer.weight.dtype == "int8" and layer.input.dtype in _FLOATS


def work_of(layer: Layer, batch: int) -> Work | None:
    """The products of a layer for `batch` inputs, or None where it has no MACs."""
    x = layer.lower(batch)
    if not isinstance(x, Product):
        return None
    g = x.geometry
    if g is None:
        return Work(x.b * x.steps, x.m, x.n, x.k, 1, x.k, False, False, x.macs, x.macs, bool(x.spread) or x.recurrent)
    live = live_taps(g.h, g.r, g.stride[0], g.pad[0], g.p, g.dilation[0])
    live *= live_taps(g.w, g.s, g.stride[1], g.pad[1], g.q, g.dilation[1])
    live *= g.k * g.channels * batch
    in_place = g.taps == 1 and g.stride == (1, 1) and not any(g.pad)
    return Work(
        x.b, x.m, x.n, x.k, g.taps, g.channels, True, g.depthwise, x.macs, live,
        rows=x.m // g.q, inputs=layer.inputs * batch, in_place=in_place,
    )  # fmt: skip


def transcendental(x: Product | Stream) -> int:
    """Number of outputs with a transcendental function."""
    if isinstance(x, Product):
        return x.outputs if x.activation in _COSTLY else 0
    function = x.function if x.kind == "activation" else x.activation
    if x.kind == "norm" and x.function == "batch":  # a scale and a shift of each channel, known before
        return 0
    return x.outputs if x.kind in ("softmax", "norm") or function in _COSTLY else 0


def fused(x: Product | Stream) -> bool:
    """Whether a fusing library runs the layer inside the previous one."""
    if isinstance(x, Product):
        return False
    return x.kind in ("elementwise", "view", "copy", "concat") or (x.kind == "activation" and not transcendental(x))
