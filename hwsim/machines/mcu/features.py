"""What a layer gives a kernel library to do: units of each term, whose cost in cycles the library's table has.

A kernel's inner loop takes its multiply-accumulates; around it each output is requantized, clamped and stored, and a
convolution with a window copies each patch (one call for each filter tap of each position) into a column first. That
copy is why few input channels are dear: the call is paid for one, three or sixty-four bytes alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from hwsim.compression.sizes import stored_size
from hwsim.workload import Layer
from hwsim.workload.cmsis_nn import VARIANTS, average_pool, convolution
from hwsim.workload.number_format import weight_formats
from hwsim.workload.product import Geometry, Product, Spectrum, Stream, geometry_of
from hwsim.workload.taps import live_taps

__all__ = [
    "BOUNDS",
    "CLASSES",
    "DEFAULTS",
    "SIGNAL",
    "TERMS",
    "features",
    "live_macs",
    "number_format",
    "read_bytes",
    "scratch_bytes",
    "stored_bytes",
    "weight_bytes",
]

#: Each term with the class of code whose speed the core's factors give, and the word for a layer that it holds back.
_TERMS = {
    "pointwise_mac": ("pointwise", "mac"),
    "conv_mac": ("conv", "mac"),
    "narrow_mac": ("conv", "mac"),
    "depthwise_mac": ("depthwise", "mac"),
    "window_mac": ("depthwise", "mac"),
    "multiplied_mac": ("depthwise", "mac"),
    "depthwise_output": ("depthwise", "output stage"),
    "dense_mac": ("dense", "mac"),
    "output": ("other", "output stage"),
    "dense_output": ("other", "output stage"),
    "patch": ("other", "im2col"),
    "patch_byte": ("other", "im2col"),
    "element": ("other", "output stage"),
    "averaged": ("other", "output stage"),
    "compared": ("other", "output stage"),
    "softmax": ("other", "output stage"),
    "operator": ("other", "overhead"),
}
#: Terms of the spectrum of audio, which no kernel library computes: floating-point code whose costs the cores have.
SIGNAL: tuple[str, ...] = ("sample", "pass", "butterfly", "root", "logarithm")
TERMS: tuple[str, ...] = tuple(_TERMS)
CLASSES: dict[str, str] = {term: code for term, (code, _) in _TERMS.items()}
#: Terms that a library's table may leave out, with the one whose cost is then taken: kernels for depthwise layers with
#: another window than 3 x 3, or with several outputs for each channel, are other ones in some libraries.
DEFAULTS: dict[str, str] = {"window_mac": "depthwise_mac", "multiplied_mac": "depthwise_mac"}
BOUNDS: dict[str, str] = {term: bound for term, (_, bound) in _TERMS.items()} | dict.fromkeys(SIGNAL, "mac")

# Values without a term of their own, in additions of two int8 values with scales (the unit of `element`).
_MOVED, _NORMALIZED = 0.1, 5.0
# Kernels with fewer input channels than a word has bytes take another path: no packed multiply, a call for each tap.
_NARROW = 4


def _conv(layer: Layer, x: Product, shape: Geometry, drop: bool) -> dict[str, float]:
    """A convolution: depthwise, pointwise, or through a column of patches."""
    pixels = shape.p * shape.q
    outputs = pixels * _live_out(x, shape, drop)
    macs = live_macs(layer, drop)
    if shape.depthwise:
        kernel = "window_mac" if (shape.r, shape.s) != (3, 3) else "depthwise_mac"
        inside = macs * _taps_inside(shape) // (pixels * shape.taps)
        return {kernel if shape.k == shape.c else "multiplied_mac": inside, "depthwise_output": outputs}
    units: dict[str, float] = {"output": outputs}
    channels = shape.c - x.dead_in * drop
    if shape.taps == 1:
        units["pointwise_mac"] = macs
        gathers = max(shape.stride) > 1
    else:
        units["narrow_mac" if shape.channels < _NARROW else "conv_mac"] = macs
        gathers = True
    if gathers:
        units |= {"patch": pixels * shape.taps * shape.groups, "patch_byte": pixels * shape.taps * channels}
    return units


def _taps_inside(shape: Geometry) -> int:
    """Taps of all positions that lie on the image: kernels of depthwise layers skip those on padding."""
    (down, across), (y, x), (top, left) = shape.stride, shape.dilation, shape.pad[:2]
    rows = live_taps(shape.h, shape.r, down, top, shape.p, y)
    return rows * live_taps(shape.w, shape.s, across, left, shape.q, x)


def _live_out(x: Product, shape: Geometry | None, drop: bool) -> int:
    """Output channels or features that are computed."""
    outputs = x.n if shape is None else shape.k
    if not drop:
        return outputs
    if shape is not None and shape.depthwise:
        return shape.k - max(x.dead_out, x.dead_in * (shape.k // shape.c))
    return outputs - x.dead_out


def live_macs(layer: Layer, drop: bool) -> int:
    """Multiply-accumulates that are run: all, or those of live channels where the stack drops dead ones."""
    return layer.macs_live if drop else layer.macs


def weight_bytes(layer: Layer, drop: bool) -> int:
    """Bytes of weights and biases that are stored; biases have 32 bits, beside 16-bit inputs 64."""
    return sum(_weight_parts(layer, drop))


def _weight_parts(layer: Layer, drop: bool) -> tuple[int, int]:
    """Bytes of dense weights, and of biases."""
    weights, biases = layer.weights, layer.biases
    if drop and layer.macs:
        weights = -(-weights * layer.macs_live // layer.macs)
        x = layer.lower(1)
        if biases and isinstance(x, Product) and not x.recurrent and not x.spread:
            biases = _live_out(x, x.geometry, drop)
    return -(-weights * layer.weight.bits // 8), (8 if number_format(layer).startswith("int16") else 4) * biases


def stored_bytes(layers: Iterable[Layer], drop: bool) -> int:
    """Bytes of weights and biases of all layers; an array that several of them read is stored once.

    Weights in a format that is not dense are as large as that makes them, whatever the kernels read, and those of
    channels that are left out as much less.
    """
    total, arrays = 0, set()
    for layer in layers:
        array, (weights, biases) = layer.weight.spec.array, _weight_parts(layer, drop)
        if weights and (layer.weight.format != "dense" or layer.weight.spec.coding is not None):
            share = weights / _weight_parts(layer, False)[0]
            weights = math.ceil(stored_size(layer.weight).weight_bits / 8 * share)
        total += biases + (0 if array and array in arrays else weights)
        arrays.add(array)
    return total


def read_bytes(layer: Layer, drop: bool) -> int:
    """Bytes of weights and biases that one inference reads: of experts and tables, those that it uses."""
    stored, weights = weight_bytes(layer, drop), layer.weights
    return -(-stored * layer.weights_read(1) // weights) if weights else stored


def scratch_bytes(layer: Layer, kernels: str = "columns") -> int:
    """Bytes that a kernel keeps beside the tensors.

    Reference kernels have none for layers with weights, CMSIS-NN's are as its functions say; ``columns`` are patches of
    16-bit values, two positions at a time. A spectrum keeps two buffers of floats.
    """
    x = layer.lower(1)
    shape = geometry_of(x)
    if isinstance(x, Stream) and x.spectrum is not None:
        return 2 * 4 * x.spectrum.samples
    variant = next((name for name in VARIANTS if name == kernels), None)
    if variant is not None and isinstance(x, Stream) and (x.kind, x.function) == ("pool", "avg"):
        return average_pool(layer.output.shape, variant)
    if shape is None or kernels == "reference":
        return 0
    if variant is not None:
        return convolution(shape, 1, variant)
    if shape.taps == 1:
        return 0
    return 2 * shape.taps * shape.c if shape.depthwise else 4 * shape.taps * shape.channels


def _spectrum(x: Spectrum, outputs: int) -> dict[str, float]:
    """Samples to floats, passes over samples and bins, transform, magnitudes, two filters a bin, logarithms."""
    bins = x.samples // 2
    return {
        "sample": x.samples, "pass": 3 * x.samples + 4 * bins + 2 * outputs, "butterfly": x.butterflies, "root": bins,
        "logarithm": x.bands,
    }  # fmt: skip


def number_format(layer: Layer) -> str:
    """The kernels that a layer's types ask for: that of its inputs, and of its weights where these are not as usual.

    An int8 network may keep state in 16 bits, as the filters over time of SVDF do: its kernels are those of int8.
    """
    values, weight = layer.input.dtype, layer.weight.dtype
    if (values, weight, layer.output.dtype) == ("int16", "int16", "int8"):
        return "int8"
    usual = not layer.macs or not layer.weights or weight in weight_formats(values)
    return values if usual else f"{values} x {weight}"


def features(layer: Layer, drop: bool) -> dict[str, float]:
    """Units of each term that one inference of a layer has; `drop`: dead channels are left out."""
    x = layer.lower(1)
    units: dict[str, float]
    if isinstance(x, Product):
        units = _product(layer, x, drop)
    elif x.spectrum is not None:
        units = _spectrum(x.spectrum, x.outputs)
    elif x.kind == "elementwise":
        units = {"element": x.ops}
    elif x.kind == "pool":
        units = {"averaged" if x.function == "avg" else "compared": x.ops}
    elif x.kind == "softmax":
        units = {"softmax": x.outputs}
    elif x.kind == "norm":
        units = {"element": _NORMALIZED * x.outputs}
    elif x.kind in ("concat", "gather", "copy"):
        units = {"element": _MOVED * x.outputs}
    elif x.kind == "view":
        units = {}
    else:
        units = {"element": float(max(x.ops, x.outputs))}
    return {term: n for term, n in (units | {"operator": 1}).items() if n and not math.isnan(n)}


def _product(layer: Layer, x: Product, drop: bool) -> dict[str, float]:
    """The kernel of a product: of images, of one row, or of several."""
    if x.geometry is not None:
        return _conv(layer, x, x.geometry, drop)
    if x.recurrent:
        return {"dense_mac": x.macs, "dense_output": layer.outputs, "element": layer.ops}
    if x.spread:
        return {"pointwise_mac": x.macs, "output": x.outputs, "element": layer.ops}
    if not x.stored:
        return {"pointwise_mac": x.macs, "output": x.outputs}
    kind = ("dense_mac", "dense_output") if x.m == 1 else ("pointwise_mac", "output")
    return dict(zip(kind, (live_macs(layer, drop), x.m * _live_out(x, None, drop))))
