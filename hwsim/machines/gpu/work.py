"""A layer as a GPU sees it: products of matrices, or values that stream past; and the type that it is computed in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from hwsim.machines.csr import CsrProduct
from hwsim.workload import Layer
from hwsim.workload.number_format import DTYPES
from hwsim.workload.product import Geometry, Product, geometry_of

__all__ = [
    "StreamingKernel",
    "TiledProduct",
    "Transform",
    "Types",
    "algorithms",
    "converted_weights",
    "half",
    "layer_kind",
    "memory_bits",
    "two_of_four",
    "wanted_type",
]

_DIRECT_CHANNELS = 8  # channels of a group below which a grouped convolution is no product worth a tile


@dataclass(frozen=True, slots=True)
class Types:
    """What multiplies (`math`), and the bits of activations, weights and outputs in memory.

    `fallback` is the format that `math` stands in for, where the library has no kernels for it; `converted` that of the
    weights, where these are converted to `math` as they are read.
    """

    math: str
    a: int
    w: int
    o: int
    fallback: str = ""
    converted: str = ""


@dataclass(frozen=True, slots=True)
class TiledProduct:
    """`b` products of m x k by k x n, `times` one after the other; `image` is the activations' bytes in memory.

    `inner` is k before its channels were padded. `scale` is the bytes of an activation, a weight and an output over
    those of a product of these sizes, where a `fused` kernel transforms values that it has loaded, at a
    `rate` of what it reaches without. `moved` are bytes
    that `around` kernels before and after it move: transforms of Winograd's tiles, zeros of a map that is then only
    partly written.
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
    fused: bool = False
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    rate: float = 1.0
    inner: int = 0
    moved: int = 0
    around: int = 0

    @property
    def unpadded(self) -> int:
        """The inner dimension without padding."""
        return self.inner or self.k


@dataclass(frozen=True, slots=True)
class Transform:
    """Winograd's F(m x m, r x r): `outputs` m, `filters` r, and the tiles of a threadblock of one kernel for all."""

    outputs: int
    filters: int
    block: tuple[int, int] | None = None
    images: int = 1
    inside: float | None = None

    def blocks(self, batch: int) -> tuple[int, int, int]:
        """Images, and tiles along height and width, of a threadblock."""
        assert self.block is not None
        images, (tall, across) = 1, self.block
        while images < min(self.images, batch):
            images *= 2
            tall, across = (tall, across // 2) if across > tall else (tall // 2, across)
        return images, tall, across

    @property
    def name(self) -> str:
        """As the literature writes it."""
        m, r = self.outputs, self.filters
        return f"Winograd F({m}x{m}, {r}x{r})" + (" in one kernel" if self.block else "")


@dataclass(frozen=True, slots=True)
class StreamingKernel:
    """Bytes that are read and written, and MACs done in passing on CUDA cores; no kernel at all if it only renames.

    `csr` are weights that only their values are stored of; at the `full_rate` MACs are done as fast as fp32 can be.
    """

    read: int
    written: int
    algorithm: str
    macs: int = 0
    kernels: int = 1
    csr: CsrProduct | None = None
    full_rate: bool = False


def layer_kind(layer: Layer) -> str:
    """What a library tells apart: ``conv``, its gradients ``dgrad`` and ``wgrad``, or ``gemm``."""
    x = layer.lower(1)
    if isinstance(x, Product) and x.of is not None:
        return "dgrad" if x.role == "input" else "wgrad"
    return "gemm" if geometry_of(x) is None else "conv"


def two_of_four(layer: Layer) -> bool:
    """Whether the weights are stored as two of every four."""
    return layer.weight.pattern == "2:4" and layer.weight.format == "2:4"


def memory_bits(dtype: str) -> int:
    """Bits of a value in memory; tf32 is rounded from fp32 on its way to the tensor core, dp4a multiplies int8."""
    return DTYPES[{"tf32": "fp32", "dp4a": "int8"}.get(dtype, dtype)].bits


def half(math: str) -> bool:
    """Whether it is multiplied in floats of 16 bits."""
    return math in DTYPES and DTYPES[math].half


def converted_weights(layer: Layer, precision: str) -> str:
    """The format of weights that kernels convert to the wider one of the activations; "" is none."""
    return wanted_type(layer, precision).converted


def wanted_type(layer: Layer, precision: str) -> Types:
    """The types of a layer where every type could be multiplied.

    Weights narrower than activations of 16 bits are widened on their way (weight-only quantization); of two integer
    types the wider one is multiplied.
    """
    if precision != "workload":
        bits = memory_bits(precision)
        return Types(precision, bits, bits, max(bits, 8))
    a, w, o = layer.input, layer.weight, layer.output
    if half(a.dtype) and w.bits < a.bits:
        return Types(a.dtype, a.bits, w.bits, o.bits, converted=w.dtype)
    wider = a if a.bits >= w.bits else w
    return Types(wider.dtype, a.bits, w.bits, o.bits)


def _up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


def _bytes(values: int, bits: int) -> int:
    return -(-values * bits // 8)


def algorithms(
    layer: Layer,
    batch: int,
    types: Types,
    pad: int = 1,
    winograd: Sequence[Transform] = (),
    rows: bool = False,
    taps: int = 1,
) -> tuple[TiledProduct | StreamingKernel, ...]:
    """What a layer asks for, in each way that the library has; it takes the fastest.

    Parameters
    ----------
    layer, batch, types
    pad : int
        What input channels are padded to a multiple of.
    winograd : sequence of Transform
        In which domains convolutions of stride 1 may be done.
    rows : bool
        Whether gradients of strided inputs are computed for whole rows of the finer map.
    taps : int
        Neighbors of a row of the filter that share padded channels, where they divide the row and fit.
    """
    work = _direct(layer, batch, types, pad, rows, taps)
    x = layer.lower(batch)
    shape = (x.geometry or x.of) if isinstance(x, Product) else None
    if shape is None or shape.groups > 1 or shape.stride != (1, 1) or shape.dilation != (1, 1):
        return (work,)
    if not isinstance(work, TiledProduct):
        return (work,)
    assert isinstance(x, Product)
    mine = [t for t in winograd if (shape.r, shape.s) == (t.filters, t.filters)]
    return (work, *(_winograd(x, shape, batch, types, t) for t in mine))


def _direct(layer: Layer, batch: int, types: Types, pad: int, rows: bool, taps: int) -> TiledProduct | StreamingKernel:
    """What a layer asks for without transforms."""
    x = layer.lower(batch)
    if isinstance(x, Product):
        if x.geometry is not None:
            return _conv(layer, x.geometry, batch, types, pad)
        if x.of is not None:
            return _gradient(x, x.of, batch, types, pad, rows, taps)
        name = "step GEMM" if x.recurrent else "grouped GEMM" if x.spread else "GEMM" if x.stored else "batched GEMM"
        each = x.macs // (x.steps * x.n * x.k)
        values = each * x.k if x.recurrent or not x.stored else min(each * x.k, layer.inputs * batch)
        return TiledProduct(x.b, x.m, x.n, x.k, _bytes(values, types.a), name, times=x.steps)
    read, output = _bytes(x.inputs, types.a), _bytes(x.outputs, types.o)
    if x.kind == "gather":
        return StreamingKernel(output + _bytes(x.inputs, 32), output, "gather")
    if x.kind == "view":
        return StreamingKernel(0, 0, "view of its input", kernels=0)
    if x.kind == "pool":
        return StreamingKernel(read, output, "pooling")
    if x.kind == "concat":
        return StreamingKernel(read, output, "copy")
    return StreamingKernel(read + _bytes(x.stored, max(types.w, 16)), output, "streaming kernel")


def _conv(layer: Layer, shape: Geometry, batch: int, types: Types, pad: int) -> TiledProduct | StreamingKernel:
    channels, filters = shape.channels, shape.filters
    image = _bytes(batch * shape.c * shape.h * shape.w, types.a)
    outputs = batch * shape.p * shape.q
    if shape.groups > 1 and min(channels, filters) < _DIRECT_CHANNELS:
        read = image + _bytes(layer.weights, types.w)
        output = _bytes(layer.outputs * batch, types.o)
        return StreamingKernel(read, output, "direct grouped convolution", layer.macs * batch)
    k = _up(channels, pad) * shape.taps
    pixels = image * _up(channels, pad) // channels
    # A filter of one value with a stride reads only what it meets.
    if prod(shape.stride) > 1 and shape.taps == 1:
        pixels = min(pixels, _bytes(outputs * shape.groups * k, types.a))
    return TiledProduct(shape.groups, outputs, filters, k, pixels, "implicit GEMM", inner=channels * shape.taps)


def _gradient(
    x: Product, shape: Geometry, batch: int, types: Types, pad: int, whole: bool, taps: int
) -> TiledProduct | StreamingKernel:
    """The gradient of a convolution: of its inputs one over the output map, of its weights a product."""
    pixels = batch * shape.p * shape.q
    above = _bytes(pixels * shape.k, types.a)
    image = _bytes(batch * shape.c * shape.h * shape.w, types.w if x.role == "weight" else types.o)
    written = _bytes(x.b * x.m * x.n, types.o) if x.role == "weight" else image
    read = above + (image if x.role == "weight" else 0)
    # A transposed convolution with less than no padding is none of the tiled kernels; it is done on the finer map.
    reach = shape.dilation[0] * (shape.r - 1), shape.dilation[1] * (shape.s - 1)
    if max(shape.pad[0], shape.pad[2]) > reach[0] or max(shape.pad[1], shape.pad[3]) > reach[1]:
        macs = x.macs * prod(shape.stride)
        return StreamingKernel(read, written, "direct gradient", macs, full_rate=True)
    if shape.groups > 1 and min(shape.channels, shape.filters) < _DIRECT_CHANNELS:
        return StreamingKernel(read, written, "direct grouped convolution", x.macs)
    if x.role == "weight":
        together = taps if shape.s % taps == 0 and taps * shape.channels <= pad else 1
        rows = shape.taps // together * _up(together * shape.channels, pad)
        if prod(shape.stride) > 1 and shape.taps == 1:
            image = min(image, _bytes(pixels * shape.groups * rows, types.w))
        return TiledProduct(shape.groups, rows, shape.filters, pixels, image, "weight gradient")
    k = _up(shape.filters, pad) * shape.taps
    zeros = image if prod(shape.stride) > 1 and not whole else 0
    rows = pixels * (shape.stride[1] if whole else 1)
    inner = shape.filters * shape.taps
    return TiledProduct(shape.groups, rows, shape.channels, k, above, "input gradient", inner=inner, read=zeros)


def _winograd(x: Product, shape: Geometry, batch: int, types: Types, way: Transform) -> TiledProduct:
    """A convolution of stride 1, or its gradient, in the domain of Winograd: what is one product there."""
    edge = way.outputs + way.filters - 1
    points, inputs = edge**2, shape.c * shape.h * shape.w
    c, k, maps, size = shape.c, shape.k, inputs, (shape.p, shape.q)
    if x.role == "input":
        c, k, maps, size = shape.k, shape.c, shape.k * shape.p * shape.q, (shape.h, shape.w)
    high, wide = (-(-n // way.outputs) for n in size)
    filters = c * k * (way.filters**2 + points)
    if way.block is None:
        tiles = batch * high * wide
        more = batch * shape.c * shape.h * shape.w + batch * shape.k * shape.p * shape.q + points * tiles * (c + k)
        rows = (c, k, tiles) if x.role == "weight" else (tiles, k, c)
        image = _bytes(points * rows[0] * rows[2], types.a)
        moved = _bytes(more + filters, types.a)
        return TiledProduct(points, *rows, image, way.name, winograd=True, moved=moved, around=3)
    # As a product of the outputs of all tiles by as many values for each filter: its tile of rows x columns has as many
    # sums as the points of a block of tiles with some of the filters.
    images, tall, across = way.blocks(batch)
    blocks = -(-batch // images) * -(-high // tall) * -(-wide // across)
    each, some = way.outputs**2, points // way.outputs**2
    seen = (tall * way.outputs + way.filters - 1) * (across * way.outputs + way.filters - 1)
    rows_m, rows_n = blocks * images * tall * across * each, k * some
    stored = points if way.inside is None else way.filters**2
    scale = seen / (tall * across * each), stored / some, 1 / some
    moved, around = (_bytes(filters, types.w), 1) if way.inside is None else (0, 0)
    return TiledProduct(
        1, rows_m, rows_n, c, _bytes(batch * maps, types.a), way.name, winograd=True, fused=True, scale=scale,
        rate=way.inside or 1.0, moved=moved, around=around,
    )  # fmt: skip
