"""A layer as a GPU sees it: products of matrices, or values that stream past; and the type that it is computed in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from hwsim.workload import (
    BatchedMatmul,
    Concat,
    Conv2d,
    DataMovement,
    Embedding,
    ExpertGemm,
    Gemm,
    Gru,
    Layer,
    Lstm,
    Pool2d,
)
from hwsim.workload.tensor import DTYPES

__all__ = ["Product", "Stream", "Types", "layer_kind", "layer_work", "wanted_type"]

#: Bits of a value in memory; tf32 is rounded from fp32 on its way to the tensor core.
BITS: Mapping[str, int] = {**DTYPES, "tf32": 32}
_WIDE = ("fp16", "bf16")
_NARROW = ("int8", "int4", "fp8")
_DIRECT_CHANNELS = 8  # channels of a group below which a grouped convolution is no product worth a tile


@dataclass(frozen=True, slots=True)
class Types:
    """What multiplies (`math`), and the bits of activations, weights and outputs in memory."""

    math: str
    a: int
    w: int
    o: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Product:
    """`b` products of m x k by k x n, `times` one after the other; `image` is the activations' bytes in memory.

    `inner` is k before its channels were padded.
    """

    b: int
    m: int
    n: int
    k: int
    image: int
    algorithm: str
    times: int = 1
    read: int = 0
    winograd: bool = False
    inner: int = 0

    @property
    def unpadded(self) -> int:
        """The inner dimension without padding."""
        return self.inner or self.k


@dataclass(frozen=True, slots=True)
class Stream:
    """Bytes that are read and written, and MACs done in passing on CUDA cores; no kernel at all if it only renames."""

    read: int
    written: int
    algorithm: str
    macs: int = 0
    kernels: int = 1


def layer_kind(layer: Layer) -> str:
    """What a library tells apart: ``conv`` or ``gemm``."""
    return "conv" if isinstance(layer, Conv2d) else "gemm"


def wanted_type(layer: Layer, precision: str) -> Types:
    """The types of a layer where every type could be multiplied.

    Weights narrower than activations of 16 bits are widened on their way (weight-only quantisation); of two integer
    types the wider one is multiplied.
    """
    if precision != "workload":
        bits = BITS[precision]
        return Types(precision, bits, bits, max(bits, 8))
    a, w, o = layer.input, layer.weight, layer.output
    if a.dtype in _WIDE and w.dtype in _NARROW:
        return Types(a.dtype, a.bits, w.bits, o.bits, f"{w.dtype} weights are widened to {a.dtype} as they are read")
    wider = a if a.bits >= w.bits else w
    return Types(wider.dtype, a.bits, w.bits, o.bits)


def _up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


def _bytes(values: int, bits: int) -> int:
    return -(-values * bits // 8)


def layer_work(layer: Layer, batch: int, types: Types, pad: int = 1, winograd: bool = False) -> Product | Stream:
    """What a layer asks for.

    Parameters
    ----------
    layer, batch, types
    pad : int
        What input channels are padded to a multiple of.
    winograd : bool
        Whether 3 x 3 convolutions of stride 1 are done in the transformed domain: F(2x2, 3x3), 16 products for 4
        outputs in place of 36.
    """
    if isinstance(layer, Conv2d):
        return _conv(layer, batch, types, pad, winograd)
    if isinstance(layer, Gemm):
        m = layer.m * batch
        return Product(1, m, layer.n, layer.k, _bytes(m * layer.k, types.a), "GEMM")
    if isinstance(layer, BatchedMatmul):
        b = layer.b * batch
        return Product(b, layer.m, layer.n, layer.k, _bytes(b * layer.m * layer.k, types.a), "batched GEMM")
    if isinstance(layer, ExpertGemm):
        (_, rows), *_ = layer.spread(batch)
        image = _bytes(layer.rows * batch * layer.k, types.a)
        return Product(layer.used(batch), rows, layer.n, layer.k, image, "grouped GEMM")
    if isinstance(layer, (Lstm, Gru)):
        gates, k = layer.gates * layer.hidden_size, layer.input_size + layer.hidden_size
        return Product(1, batch, gates, k, _bytes(batch * k, types.a), "GEMM a step", times=layer.steps)
    read, written = _bytes(layer.inputs * batch, types.a), _bytes(layer.outputs * batch, types.o)
    if isinstance(layer, Embedding):
        return Stream(written + _bytes(layer.tokens * batch, 32), written, "gather")
    if isinstance(layer, DataMovement) and layer.type == "reshape":
        return Stream(0, 0, "view of its input", kernels=0)
    if isinstance(layer, Pool2d):
        return Stream(read, written, "pooling")
    if isinstance(layer, Concat):
        return Stream(read, written, "copy")
    stored = _bytes(layer.weights + layer.biases, max(types.w, 16))
    return Stream(read + stored, written, "streaming kernel")


def _conv(layer: Conv2d, batch: int, types: Types, pad: int, winograd: bool) -> Product | Stream:
    group_c, group_k = layer.c // layer.groups, layer.k // layer.groups
    image = _bytes(batch * layer.c * layer.h * layer.w, types.a)
    outputs = batch * layer.p * layer.q
    if layer.groups > 1 and min(group_c, group_k) < _DIRECT_CHANNELS:
        read = image + _bytes(layer.weights, types.w)
        written = _bytes(layer.outputs * batch, types.o)
        return Stream(read, written, "direct grouped convolution", layer.macs * batch)
    if winograd and layer.groups == 1 and (layer.r, layer.s) == (3, 3) and layer.stride == layer.dilation == (1, 1):
        tiles = batch * -(-layer.p // 2) * -(-layer.q // 2)
        return Product(16, tiles, layer.k, layer.c, 4 * image, "Winograd F(2x2, 3x3)", winograd=True)
    k = _up(group_c, pad) * layer.r * layer.s
    pixels = image * _up(group_c, pad) // group_c
    # A filter of one value with a stride reads only what it meets.
    if prod(layer.stride) > 1 and layer.r == layer.s == 1:
        pixels = min(pixels, _bytes(outputs * layer.groups * k, types.a))
    inner = group_c * layer.r * layer.s
    return Product(layer.groups, outputs, group_k, k, pixels, "implicit GEMM", inner=inner)
