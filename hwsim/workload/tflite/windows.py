"""Convolutions and pools of TFLite."""

from __future__ import annotations

from hwsim.errors import InputError
from hwsim.workload.builder import UnmodeledError
from hwsim.workload.layer import Layer
from hwsim.workload.layers import Conv2d, Conv3d, DataMovement, Elementwise, Pool2d
from hwsim.workload.tflite.converter import Converter, Values
from hwsim.workload.tflite.graph import Operator
from hwsim.workload.tflite.parameters import dead_of, fused_activation, has_bias, window_of

__all__ = ["convolution", "depthwise_convolution", "pool", "transposed_convolution", "volume_convolution"]


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
    types = c.types(op, weights, ("otti", groups))
    return c.check_output(op, Conv2d(name, **image, **options, **window_of(op), **dead, **types))


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
    types = c.types(op, weights, ("itto", image["c"]))
    return c.check_output(op, Conv2d(name, **image, **options, **window_of(op), **dead, **types))


def volume_convolution(c: Converter, op: Operator, name: str) -> Layer:
    """CONV_3D: its filters are slices x rows x columns x inputs x outputs."""
    weights, volume = c.weights(op, 5), c.volume(op)
    t, r, s, inputs, k = weights.shape
    groups = volume["c"] // inputs
    if groups * inputs != volume["c"] or k % max(groups, 1):
        raise InputError(f"weights must be of a part of the {volume['c']} input channels, not of {inputs}")
    stride, dilation = (
        tuple(int(op.options[key.format(axis)]) for axis in "dhw") for key in ("stride_{}", "dilation_{}factor")
    )
    around = [(0, 0)] * 3
    if op.options["padding"] == "SAME":
        reach = [(window - 1) * step + 1 for window, step in zip((t, r, s), dilation)]
        totals = (
            max((-(-volume[axis] // max(step, 1)) - 1) * step + window - volume[axis], 0)
            for axis, window, step in zip("dhw", reach, stride)
        )
        around = [(total // 2, total - total // 2) for total in totals]
    layer = Conv3d(
        name, **volume, k=k, t=t, r=r, s=s, groups=groups, stride=stride, dilation=dilation,
        pad=[before for before, _ in around] + [after for _, after in around], bias=has_bias(c, op, k),
        activation=fused_activation(op), **c.types(op, weights),
    )  # fmt: skip
    return c.check_output(op, layer)


def transposed_convolution(c: Converter, op: Operator, name: str) -> None:
    """TRANSPOSE_CONV and its like: a product of each position with all taps of all filters, and sums in place.

    MediaPipe's operator reads the image first and no shape of the output.
    """
    is_volume, at, bias_at = op.code == "CONV_3D_TRANSPOSE", *((0, 2) if op.custom else (2, 3))
    weights, shape = c.weights(op, 5 if is_volume else 4, at), c.volume(op, at) if is_volume else c.image(op, at)
    k, channels = weights.shape[3 if is_volume else 0], weights.shape[-1]
    out = c.tensors[op.outputs[0]]
    if channels != shape["c"] or len(out.shape) != len(weights.shape) or out.shape[-1] != k:
        raise InputError(f"weights must be of {shape['c']} inputs and of the outputs, not {weights.shape}")
    columns: Values = {"k": weights.elements // channels, "bias": False, **c.types(op, weights)}
    layer: Layer = Conv3d(name, **shape, **columns) if is_volume else Conv2d(name, **shape, **columns)
    c.row(layer, [c.producers[op.inputs[at]]])
    spec, to, bias, activation = c.spec(out), c.shape(out), has_bias(c, op, k, bias_at), fused_activation(op)
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
