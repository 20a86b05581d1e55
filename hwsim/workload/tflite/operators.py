"""Conversion of each operator of TFLite to a layer."""

from __future__ import annotations

import math

from hwsim.errors import InputError
from hwsim.workload.builder import UnmodeledError
from hwsim.workload.layer import Layer
from hwsim.workload.layers import (
    Activation,
    BatchedMatmul,
    Concat,
    Conv2d,
    DataMovement,
    Elementwise,
    Embedding,
    Gemm,
    Lstm,
    Pool2d,
    Softmax,
)
from hwsim.workload.tflite.converter import Converter, Maker, Values
from hwsim.workload.tflite.dead_channels import channels_of, dead_counts
from hwsim.workload.tflite.file import Operator

__all__ = ["MAKERS"]

_FUSED = {"NONE": "none", "RELU": "relu", "RELU_N1_TO_1": "clip", "RELU6": "relu6", "TANH": "tanh"}
_ELEMENTWISE = {
    "ADD": "add", "ADD_N": "add", "SUB": "sub", "MUL": "mul", "DIV": "div", "MAXIMUM": "max", "MINIMUM": "min",
}  # fmt: skip
_ACTIVATION = {
    "RELU": "relu", "RELU6": "relu6", "RELU_N1_TO_1": "clip", "RELU_0_TO_1": "clip", "LEAKY_RELU": "leaky_relu",
    "PRELU": "prelu", "ELU": "elu", "GELU": "gelu", "HARD_SWISH": "hardswish", "LOGISTIC": "sigmoid", "TANH": "tanh",
    "EXP": "exp",
}  # fmt: skip
_MOVE = {
    "RESHAPE": "reshape", "SQUEEZE": "reshape", "EXPAND_DIMS": "reshape", "TRANSPOSE": "transpose", "PAD": "pad",
    "PADV2": "pad", "MIRROR_PAD": "pad", "SLICE": "slice", "STRIDED_SLICE": "slice", "SPLIT": "slice",
    "SPLIT_V": "slice", "UNPACK": "slice", "RESIZE_BILINEAR": "resize", "RESIZE_NEAREST_NEIGHBOR": "resize",
    "QUANTIZE": "copy", "DEQUANTIZE": "copy", "CAST": "copy",
}  # fmt: skip


def _activation_of(op: Operator) -> str:
    """The fused activation of an operator."""
    name = str(op.options.get("fused_activation_function", "NONE"))
    if name not in _FUSED:
        raise UnmodeledError(f"it has {name} fused")
    return _FUSED[name]


def _window(op: Operator) -> Values:
    options = op.options
    strides = options["stride_h"], options["stride_w"]
    window: Values = {"stride": strides, "pad": str(options["padding"]).lower()}
    if "dilation_h_factor" in options:
        window["dilation"] = (options["dilation_h_factor"], options["dilation_w_factor"])
    return window


def _bias(c: Converter, op: Operator, channels: int) -> bool:
    bias = c.constant(op, 2)
    if bias is not None and bias.elements != channels:
        raise InputError(f"bias must have a value for each of {channels} outputs, not {bias.elements}")
    return bias is not None


def _dead(c: Converter, op: Operator, inputs: int, outputs: int, groups: int) -> Values:
    """The numbers of dead channels of a convolution."""
    masks = [c.dead.get(index) for index in (op.inputs[0], op.outputs[0])]
    sizes = (inputs, outputs)
    before, after = (mask if mask is not None and mask.size == size else None for mask, size in zip(masks, sizes))
    return dead_counts(before, after, inputs, groups)


def _conv(c: Converter, op: Operator, name: str) -> Layer:
    weights, image = c.weights(op, 4), c.image(op)
    k, r, s, per_group = weights.shape
    groups = image["c"] // per_group
    if groups * per_group != image["c"] or k % max(groups, 1):
        raise InputError(f"weights must be of a part of the {image['c']} input channels, not of {per_group}")
    dead = _dead(c, op, image["c"], k, groups)
    options: Values = {
        "k": k,
        "r": r,
        "s": s,
        "groups": groups,
        "bias": _bias(c, op, k),
        "activation": _activation_of(op),
    }
    return c.check_output(op, Conv2d(name, **image, **options, **_window(op), **dead, **c.types(op, weights)))


def _dwconv(c: Converter, op: Operator, name: str) -> Layer:
    weights, image = c.weights(op, 4), c.image(op)
    one, r, s, k = weights.shape
    multiplier = k // max(image["c"], 1)
    if one != 1 or not multiplier or multiplier * image["c"] != k:
        raise InputError(f"weights must be 1 x rows x columns x a multiple of {image['c']}, not {weights.shape}")
    dead = _dead(c, op, image["c"], k, image["c"])
    options: Values = {
        "k": k,
        "r": r,
        "s": s,
        "groups": image["c"],
        "bias": _bias(c, op, k),
        "activation": _activation_of(op),
    }
    options["depthwise"] = True
    return c.check_output(op, Conv2d(name, **image, **options, **_window(op), **dead, **c.types(op, weights)))


def _fc(c: Converter, op: Operator, name: str) -> Layer:
    weights = c.weights(op, 2)
    n, k = weights.shape
    values = c.input_tensor(op, 0).elements // c.batch
    if values % k or not values:
        raise InputError(f"weights must be of {k} inputs where it reads a multiple of that, not {values} values")
    dead: Values = {}
    for key, index, features in (("dead_in", op.inputs[0], k), ("dead_out", op.outputs[0], n)):
        if (mask := channels_of(c.dead.get(index), features)) is not None:
            dead[key] = int(mask.sum())
    options: Values = {"m": values // k, "n": n, "k": k, "bias": _bias(c, op, n), "activation": _activation_of(op)}
    image = c.shape(c.input_tensor(op, 0))
    if len(image) == 3 and math.prod(image) == k:
        options["window"] = image[1:]
    return c.check_output(op, Gemm(name, **options, **dead, **c.types(op, weights)))


def _pool(c: Converter, op: Operator, name: str) -> Layer:
    size: Values = {"r": op.options["filter_height"], "s": op.options["filter_width"]}
    kind = "max" if op.code == "MAX_POOL_2D" else "avg"
    if not all(value > 0 for value in size.values()):
        raise InputError(f"the window must have rows and columns, not {size}")
    return c.check_output(op, Pool2d(name, **c.image(op), **size, **_window(op), type=kind, **c.types(op)))


def _mean(c: Converter, op: Operator, name: str) -> Layer:
    axes = c.constant(op, 1)
    if axes is None or axes.data is None or sorted(axes.values().ravel().tolist()[:3]) != [1, 2]:
        raise UnmodeledError("it is no mean over rows and columns")
    return c.check_output(op, Pool2d(name, **c.image(op), type="avg", **c.types(op)))


def _elementwise(c: Converter, op: Operator, name: str) -> Layer:
    shape = c.shape(c.file.tensors[op.outputs[0]])
    options: Values = {"n": len(c.operands(op)), "activation": _activation_of(op)}
    return Elementwise(name, shape=shape, type=_ELEMENTWISE[op.code], **options, **c.types(op))


def _activation(c: Converter, op: Operator, name: str) -> Layer:
    shape = c.shape(c.file.tensors[op.outputs[0]])
    return c.check_output(op, Activation(name, shape=shape, type=_ACTIVATION[op.code], **c.types(op)))


def _softmax(c: Converter, op: Operator, name: str) -> Layer:
    return Softmax(name, shape=c.shape(c.file.tensors[op.outputs[0]]), **c.types(op))


def _move(c: Converter, op: Operator, name: str) -> Layer:
    to = c.shape(c.file.tensors[op.outputs[0]])
    return DataMovement(name, shape=c.shape(c.operands(op)[0]), to=to, type=_MOVE[op.code], **c.types(op))


def _concat(c: Converter, op: Operator, name: str) -> Layer:
    tensors = [c.input_tensor(op, place) for place in range(len(op.inputs))]
    if len(c.operands(op)) != len(tensors):
        raise UnmodeledError("it joins constants")
    rank, first = len(tensors[0].shape), c.shape(tensors[0])
    axis = int(op.options.get("axis", 0))
    axes = c.axes(tensors[0])
    axis = axis + rank if axis < 0 else axis
    if axis not in axes or any(len(tensor.shape) != rank for tensor in tensors):
        raise UnmodeledError(f"it joins along axis {axis}")
    at = axes.index(axis)
    parts = tuple(c.shape(tensor)[at] for tensor in tensors)
    layer = Concat(name, before=first[:at], parts=parts, rest=first[at + 1 :], **c.types(op))
    return c.check_output(op, layer)


def _matmul(c: Converter, op: Operator, name: str) -> Layer:
    shapes = [c.input_tensor(op, place).shape for place in (0, 1)]
    if min(map(len, shapes)) < 2 or len(c.operands(op)) != 2:
        raise UnmodeledError("it is no product of two activations")
    left, right = ((*s[:-2], s[-1], s[-2]) if op.options.get(f) else s for s, f in zip(shapes, ("adj_x", "adj_y")))
    if left[:-2] != right[:-2] or left[-1] != right[-2]:
        raise UnmodeledError(f"it multiplies {left} by {right}")
    b = math.prod(left[:-2]) // (c.batch if len(left) > 2 and left[0] == c.batch else 1)
    types = c.types(op) | {"weight": c.spec(c.input_tensor(op, 1))}
    return c.check_output(op, BatchedMatmul(name, b=b, m=left[-2], n=right[-1], k=left[-1], **types))


def _gather(c: Converter, op: Operator, name: str) -> Layer:
    place = 1 if op.code == "EMBEDDING_LOOKUP" else 0  # the ids come first there
    table = c.constant(op, place)
    plain = op.options.get("axis", 0) == 0 and op.options.get("batch_dims", 0) == 0
    if table is None or len(table.shape) != 2 or len(c.operands(op)) != 1 or not plain:
        raise UnmodeledError("it is no look-up of the rows of a stored matrix")
    rows, dim = table.shape
    tokens = c.operands(op)[0].elements
    return c.check_output(op, Embedding(name, rows=rows, dim=dim, tokens=tokens, **c.types(op, table)))


def _lstm(c: Converter, op: Operator, name: str) -> Layer:
    gates = [c.constant(op, place) for place in range(1, 9)]
    peepholes_or_projection = any(index >= 0 for index in (*op.inputs[9:12], *op.inputs[16:18]))
    first, own = gates[0], gates[4]
    if first is None or own is None or None in gates or peepholes_or_projection:
        raise UnmodeledError("it is not a plain LSTM of four gates")
    if len(first.shape) != 2 or own.shape != (first.shape[0],) * 2:
        raise UnmodeledError("its matrices are not hidden x input and hidden x hidden")
    hidden_size, size = first.shape
    steps = c.input_tensor(op, 0).elements // max(size, 1) // c.batch
    types = c.types(op) | {"weight": c.spec(first)}
    bias = c.constant(op, 12) is not None
    return c.check_output(op, Lstm(name, input_size=size, hidden_size=hidden_size, steps=steps, bias=bias, **types))


MAKERS: dict[str, Maker] = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _dwconv,
    "FULLY_CONNECTED": _fc,
    "AVERAGE_POOL_2D": _pool,
    "MAX_POOL_2D": _pool,
    "MEAN": _mean,
    "SOFTMAX": _softmax,
    "LOG_SOFTMAX": _softmax,
    "CONCATENATION": _concat,
    "BATCH_MATMUL": _matmul,
    "GATHER": _gather,
    "EMBEDDING_LOOKUP": _gather,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm,
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    **dict.fromkeys(_ACTIVATION, _activation),
    **dict.fromkeys(_MOVE, _move),
}
