"""A layer as a processor sees it: products of matrices with stored or computed right sides, and passes over values."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from hwsim.workload import BatchedMatmul, Conv2d, Embedding, ExpertGemm, Gemm, Gru, Layer, Lstm

__all__ = ["COSTLY", "Work", "live_taps", "work_of"]

#: Functions that take polynomials or divisions; the others are a comparison or a product.
COSTLY = ("elu", "gelu", "silu", "swish", "sigmoid", "tanh", "exp", "mish", "softplus")


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


def live_taps(size: int, window: int, stride: int, before: int, out: int, dilation: int = 1) -> int:
    """Pairs of output position and filter tap, along one axis, that read a value and not the padding.

    >>> live_taps(4, 3, 1, 1, 4), live_taps(4, 1, 2, 0, 2)
    (10, 2)
    """
    total = 0
    for tap in range(window):
        offset = tap * dilation - before
        first = max(0, -(offset // stride)) if offset < 0 else 0
        last = min(out - 1, (size - 1 - offset) // stride)
        total += max(0, last - first + 1)
    return total


def work_of(layer: Layer, batch: int) -> Work | None:
    """The products of a layer for `batch` inputs, or None where it has no MACs."""
    if isinstance(layer, Conv2d):
        live = live_taps(layer.h, layer.r, layer.stride[0], layer.pad[0], layer.p, layer.dilation[0])
        live *= live_taps(layer.w, layer.s, layer.stride[1], layer.pad[1], layer.q, layer.dilation[1])
        channels, taps, pixels = layer.c // layer.groups, layer.r * layer.s, batch * layer.p * layer.q
        macs = layer.macs * batch
        live *= layer.k * channels * batch
        groups = layer.groups
        filters, depth = layer.k // groups, taps * channels
        return Work(groups, pixels, filters, depth, taps, channels, True, layer.depthwise, macs, live)
    if isinstance(layer, Gemm):
        return _product(1, batch * layer.m, layer.n, layer.k)
    if isinstance(layer, BatchedMatmul):
        return _product(batch * layer.b, layer.m, layer.n, layer.k)
    if isinstance(layer, ExpertGemm):
        (_, rows), *_ = layer.spread(batch)
        macs = layer.macs * batch
        return Work(layer.used(batch), rows, layer.n, layer.k, 1, layer.k, False, False, macs, macs)
    if isinstance(layer, (Lstm, Gru)):
        # Each step waits for the one before.
        return _product(layer.steps, batch, layer.gates * layer.hidden_size, layer.input_size + layer.hidden_size)
    return None


def _product(b: int, m: int, n: int, k: int) -> Work:
    macs = prod((b, m, n, k))
    return Work(b, m, n, k, 1, k, False, False, macs, macs)


def weights_read(layer: Layer, batch: int) -> int:
    """Stored weights that a batch reads: all, of a table the rows that are looked up, of experts those in use."""
    if isinstance(layer, ExpertGemm):
        return layer.used(batch) * layer.n * layer.k
    return layer.outputs if isinstance(layer, Embedding) else layer.weights
