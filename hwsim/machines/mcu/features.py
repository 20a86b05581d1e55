"""What a layer gives a kernel library to do: units of each term, whose cost in cycles the library's table has.

A kernel's inner loop takes its multiply-accumulates; around it each output is requantised, clamped and stored, and a
convolution with a window copies each patch (one call for each filter tap of each position) into a column first. That
copy is why few input channels are dear: the call is paid for one, three or sixty-four bytes alike.
"""

from __future__ import annotations

import math

from hwsim.workload import (
    BatchedMatmul,
    Concat,
    Conv2d,
    DataMovement,
    Elementwise,
    Embedding,
    ExpertGemm,
    Gemm,
    Gru,
    Layer,
    Lstm,
    Normalisation,
    Pool2d,
    Softmax,
)

__all__ = [
    "BOUNDS",
    "CLASSES",
    "DEFAULTS",
    "TERMS",
    "features",
    "live_macs",
    "number_format",
    "read_bytes",
    "scratch_bytes",
    "weight_bytes",
]

#: Each term with the class of code whose speed the core's factors give, and the word for a layer that it holds back.
_TERMS = {
    "pointwise_mac": ("pointwise", "mac"),
    "conv_mac": ("conv", "mac"),
    "narrow_mac": ("conv", "mac"),
    "depthwise_mac": ("depthwise", "mac"),
    "multiplied_mac": ("depthwise", "mac"),
    "depthwise_output": ("depthwise", "per output"),
    "dense_mac": ("dense", "mac"),
    "output": ("other", "per output"),
    "dense_output": ("other", "per output"),
    "patch": ("other", "im2col"),
    "patch_byte": ("other", "im2col"),
    "element": ("other", "per output"),
    "averaged": ("other", "per output"),
    "compared": ("other", "per output"),
    "softmax": ("other", "per output"),
    "operator": ("other", "overhead"),
}
TERMS: tuple[str, ...] = tuple(_TERMS)
CLASSES: dict[str, str] = {term: code for term, (code, _) in _TERMS.items()}
#: Terms that a library's table may leave out, with the one whose cost is then taken: kernels for depthwise layers with
#: several outputs for each channel are other ones in some libraries.
DEFAULTS: dict[str, str] = {"multiplied_mac": "depthwise_mac"}
BOUNDS: dict[str, str] = {term: bound for term, (_, bound) in _TERMS.items()}

# Values without a term of their own, in additions of two int8 values with scales (the unit of `element`).
_MOVED, _NORMALISED = 0.1, 5.0
# Kernels with fewer input channels than a word has bytes take another path: no packed multiply, a call for each tap.
_NARROW = 4


def _conv(layer: Conv2d, drop: bool) -> dict[str, float]:
    """A convolution: depthwise, pointwise, or through a column of patches."""
    pixels, window = layer.p * layer.q, layer.r * layer.s
    outputs = pixels * _live_out(layer, drop)
    macs = live_macs(layer, drop)
    if layer.depthwise:
        return {"depthwise_mac" if layer.k == layer.c else "multiplied_mac": macs, "depthwise_output": outputs}
    found: dict[str, float] = {"output": outputs}
    channels = layer.c - layer.dead_in * drop
    if layer.r == layer.s == 1:
        found["pointwise_mac"] = macs
        gathered = max(layer.stride) > 1
    else:
        found["narrow_mac" if layer.c // layer.groups < _NARROW else "conv_mac"] = macs
        gathered = True
    if gathered:
        found |= {"patch": pixels * window * layer.groups, "patch_byte": pixels * window * channels}
    return found


def _live_out(layer: Conv2d, drop: bool) -> int:
    if not drop:
        return layer.k
    if layer.depthwise:
        return layer.k - max(layer.dead_out, layer.dead_in * (layer.k // layer.c))
    return layer.k - layer.dead_out


def live_macs(layer: Layer, drop: bool) -> int:
    """Multiply-accumulates that are run: all, or those of live channels where the stack drops dead ones."""
    return layer.macs_live if drop else layer.macs


def weight_bytes(layer: Layer, drop: bool) -> int:
    """Bytes of weights and biases that are stored; biases have 32 bits, beside 16-bit inputs 64."""
    weights, biases = layer.weights, layer.biases
    if drop and layer.macs:
        weights = -(-weights * layer.macs_live // layer.macs)
        if isinstance(layer, Conv2d) and biases:
            biases = _live_out(layer, drop)
        elif isinstance(layer, Gemm) and biases:
            biases = layer.n - layer.dead_out
    return -(-weights * layer.weight.bits // 8) + (8 if layer.input.dtype == "int16" else 4) * biases


def read_bytes(layer: Layer, drop: bool) -> int:
    """Bytes of weights and biases that one inference reads: of experts, those that it uses."""
    stored = weight_bytes(layer, drop)
    return -(-stored * layer.used() // layer.experts) if isinstance(layer, ExpertGemm) else stored


def scratch_bytes(layer: Layer) -> int:
    """Bytes of the column of patches that a kernel keeps beside the tensors: 16-bit values, two positions at a time."""
    if not isinstance(layer, Conv2d) or layer.r == layer.s == 1:
        return 0
    taps = layer.r * layer.s
    return 2 * taps * layer.c if layer.depthwise else 4 * taps * (layer.c // layer.groups)


def number_format(layer: Layer) -> str:
    """The kernels that a layer's types ask for: that of its inputs, and of its weights where these are not as usual.

    8-bit inputs have weights of at most 8 bits, 16-bit ones have 8-bit weights, and floats have their own.
    """
    given, weight = layer.input.dtype, layer.weight.dtype
    usual = {"int8": ("int8", "int4"), "int16": ("int8",)}.get(given, (given,))
    return given if not layer.macs or not layer.weights or weight in usual else f"{given} x {weight}"


def features(layer: Layer, drop: bool) -> dict[str, float]:
    """Units of each term that one inference of a layer has; `drop`: dead channels are left out."""
    found: dict[str, float] = {}
    if isinstance(layer, Conv2d):
        found = _conv(layer, drop)
    elif isinstance(layer, Gemm):
        outputs = layer.m * (layer.n - layer.dead_out * drop)
        kind = ("dense_mac", "dense_output") if layer.m == 1 else ("pointwise_mac", "output")
        found = dict(zip(kind, (live_macs(layer, drop), outputs)))
    elif isinstance(layer, ExpertGemm):
        found = {"pointwise_mac": layer.macs, "output": layer.rows * layer.n, "element": layer.ops}
    elif isinstance(layer, BatchedMatmul):
        found = {"pointwise_mac": layer.macs, "output": layer.outputs}
    elif isinstance(layer, (Lstm, Gru)):
        found = {"dense_mac": layer.macs, "dense_output": layer.outputs, "element": layer.ops}
    elif isinstance(layer, Elementwise):
        found = {"element": layer.ops}
    elif isinstance(layer, Pool2d):
        found = {"averaged" if layer.type == "avg" else "compared": layer.ops}
    elif isinstance(layer, Softmax):
        found = {"softmax": layer.outputs}
    elif isinstance(layer, Normalisation):
        found = {"element": _NORMALISED * layer.outputs}
    elif isinstance(layer, (Concat, Embedding)) or (isinstance(layer, DataMovement) and layer.type != "reshape"):
        found = {"element": _MOVED * layer.outputs}
    elif layer.op != "reshape":
        found = {"element": float(max(layer.ops, layer.outputs))}
    return {term: units for term, units in (found | {"operator": 1}).items() if units and not math.isnan(units)}
