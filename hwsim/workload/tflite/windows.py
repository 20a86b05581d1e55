"""Convolutions and pools of TFLite."""

from __future__ import annotations

from hwsim.errors import InputError
from hwsim.workload.builder import UnmodeledError
from hwsim.workload.layer import Layer
from hwsim.workload.layers import Conv2d, DataMovement, Elementwise, Pool2d
from hwsim.workload.tflite.converter import Converter, Values
from hwsim.workload.tflite.file import Operator
from hwsim.workload.tflite.parameters import dead_of, fused_activation, has_bias, window_of

__all__ = ["convolution", "depthwise_convolution", "pool", "transposed_convolution"]


def convolution(c: Converter, op: Operator, name: str) -> Layer:
    """CONV_2D: its filters are outputs x rows x columns x inputs of a group."""
    weights, image = c.weights(op, 4), c.image(op)
    k, r, s, per_group = weights.shape
    groups = image["c"] // per_group
    if groups * per_group != image["c"] or k % max(groups, 1):
        raise InputError(f"weights must be of a part of the {image['c']} input channels, not of {per_group}")
    dead = dead_of(c, op, image["c"], k, groups)
    options: Values = {"k": k, "r": r, "s": s, "groups": groups}
    options |= {"bias": has_bias(c, op, k), "activation": fused_activation(op)}
    return c.check_output(op, Conv2d(name, **image, **options, **window_of(op), **dead, **c.types(op, weights)))


def depthwise_convolution(c: Converter, op: Operator, name: str) -> Layer:
    """DEPTHWISE_CONV_2D: its filters are 1 x rows x columns x outputs."""
    weights, image = c.weights(op, 4), c.image(op)
    one, r, s, k = weights.shape
    multiplier = k // max(image["c"], 1)
    if one != 1 or not multiplier or multiplier * image["c"] != k:
        raise InputError(f"weights must be 1 x rows x columns x a multiple of {image['c']}, not {weights.shape}")
    dead = dead_of(c, op, image["c"], k, image["c"])
    options: Values = {"k": k, "r": r, "s": s, "groups": image["c"], "depthwise": True}
    options |= {"bias": has_bias(c, op, k), "activation": fused_activation(op)}
    return c.check_output(op, Conv2d(name, **image, **options, **window_of(op), **dead, **c.types(op, weights)))


def transposed_convolution(c: Converter, op: Operator, name: str) -> None:
    """TRANSPOSE_CONV: a product of each position with all taps of all filters, and their sums in place."""
    weights, image = c.weights(op, 4, 2), c.image(op, 2)
    k, r, s, channels = weights.shape
    out = c.file.tensors[op.outputs[0]]
    if channels != image["c"] or len(out.shape) != 4 or out.shape[3] != k:
        raise InputError(f"weights must be of {image['c']} inputs and of the outputs, not {weights.shape}")
    types = c.types(op, weights)
    layer = Conv2d(name, **image, k=k * r * s, bias=False, **types)
    c.row(layer, [c.producers[op.inputs[2]]])
    spec, to, bias, activation = c.spec(out), c.shape(out), has_bias(c, op, k, 3), fused_activation(op)
    fold = DataMovement(f"{name}_fold", type="resize", shape=layer.output.shape, to=to, input=spec, output=spec)
    if not bias and activation == "none":
        c.row(fold, [name], op.outputs[0])
        return
    c.row(fold, [name])
    add = Elementwise(f"{name}_bias", shape=to, n=1, activation=activation, input=spec, output=spec)
    c.row(add, [fold.name], op.outputs[0])


def pool(c: Converter, op: Operator, name: str) -> Layer:
    """A pool over rows and columns."""
    size: Values = {"r": op.options["filter_height"], "s": op.options["filter_width"]}
    kind = "max" if op.code == "MAX_POOL_2D" else "avg"
    if not all(value > 0 for value in size.values()):
        raise InputError(f"the window must have rows and columns, not {size}")
    if fused_activation(op) not in ("none", "relu", "relu6", "clip"):
        raise UnmodeledError(f"it has {fused_activation(op)} fused")
    return c.check_output(op, Pool2d(name, **c.image(op), **size, **window_of(op), type=kind, **c.types(op)))
