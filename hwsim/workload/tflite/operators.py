"""Conversion of each operator of TFLite to a layer: the table, and the makers of operators without weights."""

from __future__ import annotations

import math
from collections.abc import Iterable

from hwsim.workload.builder import UnmodeledError
from hwsim.workload.layer import Layer
from hwsim.workload.layers import (
    Activation,
    Concat,
    DataMovement,
    Elementwise,
    Embedding,
    Normalization,
    Pool2d,
    Softmax,
)
from hwsim.workload.tflite.converter import Converter, Maker, Values
from hwsim.workload.tflite.graph import Operator
from hwsim.workload.tflite.parameters import axes_of, fused_activation
from hwsim.workload.tflite.products import fully_connected, product
from hwsim.workload.tflite.recurrent import RECURRENT, recurrent, svdf
from hwsim.workload.tflite.windows import (
    convolution,
    depthwise_convolution,
    pool,
    transposed_convolution,
    volume_convolution,
)

__all__ = ["ACTIVATIONS", "BYTES", "ELEMENTWISE", "MAKERS", "MOVES", "REDUCTIONS"]

#: Tensors combined value by value, with the name that layers use.
ELEMENTWISE = {
    "ADD": "add", "ADD_N": "add", "SUB": "sub", "MUL": "mul", "DIV": "div", "MAXIMUM": "max", "MINIMUM": "min",
    "POW": "pow", "FLOOR_DIV": "div", "FLOOR_MOD": "mod", "SQUARED_DIFFERENCE": "sub", "ATAN2": "div",
    **dict.fromkeys(("EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL"), "compare"),
    **dict.fromkeys(("LOGICAL_AND", "LOGICAL_OR", "BITWISE_XOR", "RIGHT_SHIFT"), "logic"),
    **dict.fromkeys(("SELECT", "SELECT_V2"), "select"),
}  # fmt: skip
#: Functions of each value.
ACTIVATIONS = {
    "RELU": "relu", "RELU6": "relu6", "RELU_N1_TO_1": "clip", "RELU_0_TO_1": "clip", "LEAKY_RELU": "leaky_relu",
    "PRELU": "prelu", "ELU": "elu", "GELU": "gelu", "HARD_SWISH": "hardswish", "LOGISTIC": "sigmoid", "TANH": "tanh",
    "EXP": "exp", "ABS": "abs", "NEG": "neg", "SQRT": "sqrt", "RSQRT": "sqrt", "LOG": "log", "SIN": "sin", "COS": "cos",
    "FLOOR": "round", "CEIL": "round", "ROUND": "round", "SIGN": "sign", "LOGICAL_NOT": "not",
}  # fmt: skip
#: Values that only move, or change their format.
MOVES = {
    "RESHAPE": "reshape", "SQUEEZE": "reshape", "EXPAND_DIMS": "reshape", "BITCAST": "reshape",
    **dict.fromkeys(("TRANSPOSE", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH", "REVERSE_V2", "REVERSE_SEQUENCE"), "transpose"),
    **dict.fromkeys(("PAD", "PADV2", "MIRROR_PAD", "SPACE_TO_BATCH_ND", "DILATE"), "pad"),
    **dict.fromkeys(("SLICE", "STRIDED_SLICE", "SPLIT", "SPLIT_V", "UNPACK"), "slice"),
    **dict.fromkeys(("GATHER_ND", "BATCH_TO_SPACE_ND"), "slice"),
    **dict.fromkeys(("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "TILE", "BROADCAST_TO"), "resize"),
    **dict.fromkeys(("QUANTIZE", "DEQUANTIZE", "CAST", "FAKE_QUANT"), "copy"),
}  # fmt: skip
#: Operators that choose, place or make values, and multiply none.
BYTES = (
    "BROADCAST_ARGS", "BUCKETIZE", "COMPLEX_ABS", "CUMSUM", "DYNAMIC_UPDATE_SLICE", "EMBEDDING_LOOKUP_SPARSE", "FILL",
    "HASHTABLE_FIND", "HASHTABLE_LOOKUP", "IMAG", "MATRIX_DIAG", "MATRIX_SET_DIAG", "MULTINOMIAL",
    "NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5", "ONE_HOT", "RANDOM_STANDARD_NORMAL", "RANDOM_UNIFORM", "RANGE",
    "REAL", "SCATTER_ND", "SEGMENT_SUM", "SPARSE_TO_DENSE", "TFLite_Detection_PostProcess", "TOPK_V2", "UNIQUE",
    "UNSORTED_SEGMENT_MAX", "UNSORTED_SEGMENT_MIN", "UNSORTED_SEGMENT_PROD", "UNSORTED_SEGMENT_SUM", "WHERE",
    "ZEROS_LIKE",
)  # fmt: skip
#: Reductions along axes, with the pool that they count as.
REDUCTIONS = {
    **dict.fromkeys(("MEAN", "SUM", "REDUCE_PROD"), "avg"),
    **dict.fromkeys(("REDUCE_MAX", "REDUCE_MIN", "REDUCE_ANY", "REDUCE_ALL", "ARG_MAX", "ARG_MIN"), "max"),
}  # fmt: skip


def _reduce(c: Converter, op: Operator, name: str) -> Layer:
    """A reduction along any axes is a pool: over rows and columns of an image, else over all values of a group."""
    source = c.input_tensor(op, 0)
    if c.constant(op, 0) is not None:
        raise UnmodeledError("it reads constants")
    axes = axes_of(c, op, 1, len(source.shape))
    options: Values = {"type": REDUCTIONS[op.code], **c.types(op)}
    if axes in ([1, 2], [1], [2]) and c.is_image(source):
        image = c.image(op)
        window: Values = {"r": image["h"] if 1 in axes else 1, "s": image["w"] if 2 in axes else 1}
        return c.check_output(op, Pool2d(name, **image, **window, **options))
    size = math.prod(source.shape[axis] for axis in axes)
    values = math.prod(c.shape(source))
    if not size or not values:
        raise UnmodeledError("it reduces no values")
    return c.check_output(op, Pool2d(name, c=values // size, h=1, w=size, r=1, s=size, **options))


def _elementwise(c: Converter, op: Operator, name: str) -> Layer:
    shape = c.shape(c.tensors[op.outputs[0]])
    options: Values = {"n": len(c.operands(op)), "activation": fused_activation(op)}
    return Elementwise(name, shape=shape, type=ELEMENTWISE[op.code], **options, **c.types(op))


def _square(c: Converter, op: Operator, name: str) -> Layer:
    return Elementwise(name, shape=c.shape(c.tensors[op.outputs[0]]), type="mul", n=1, **c.types(op))


def _activation(c: Converter, op: Operator, name: str) -> Layer:
    shape = c.shape(c.tensors[op.outputs[0]])
    return c.check_output(op, Activation(name, shape=shape, type=ACTIVATIONS[op.code], **c.types(op)))


def _softmax(c: Converter, op: Operator, name: str) -> Layer:
    return Softmax(name, shape=c.last_axis_shape(c.tensors[op.outputs[0]]), **c.types(op))


def _norm(c: Converter, op: Operator, name: str) -> Layer:
    shape = c.shape(c.tensors[op.outputs[0]])
    return c.check_output(op, Normalization(name, shape=shape, type="lrn", **c.types(op)))


def _move(c: Converter, op: Operator, name: str) -> Layer:
    to = c.shape(c.tensors[op.outputs[0]])
    source, kind = c.operands(op)[0], MOVES[op.code]
    if kind == "transpose" and source.elements != c.tensors[op.outputs[0]].elements:
        kind = "slice"
    return DataMovement(name, shape=c.shape(source), to=to, type=kind, **c.types(op))


def _concat(c: Converter, op: Operator, name: str) -> Layer:
    tensors = [c.input_tensor(op, place) for place in range(len(op.inputs))]
    out = c.tensors[op.outputs[0]]
    if len(c.operands(op)) == 1:
        # The other parts are constants, in place when the network starts.
        return DataMovement(name, shape=c.shape(c.operands(op)[0]), to=c.shape(out), type="pad", **c.types(op))
    if len(c.operands(op)) != len(tensors):
        raise UnmodeledError("it joins several tensors and constants")
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


def _pack(c: Converter, op: Operator, name: str) -> Layer:
    """PACK: a concatenation along a new axis."""
    operands = c.operands(op)
    if len(operands) != len(op.inputs):
        raise UnmodeledError("it joins several tensors and constants")
    rank = len(operands[0].shape) + 1
    axis = int(op.options.get("axis", 0)) % rank
    full = operands[0].shape
    start = 1 if axis and c.strips(operands[0]) else 0
    before, rest = full[start:axis], full[axis:]
    return c.check_output(op, Concat(name, before=before, parts=(1,) * len(operands), rest=rest, **c.types(op)))


def _gather(c: Converter, op: Operator, name: str) -> Layer:
    place = 1 if op.code == "EMBEDDING_LOOKUP" else 0  # the ids come first there
    table = c.constant(op, place)
    plain = op.options.get("axis", 0) == 0 and op.options.get("batch_dims", 0) == 0
    if table is None:
        out = c.tensors[op.outputs[0]]
        return DataMovement(name, shape=c.shape(c.operands(op)[0]), to=c.shape(out), type="slice", **c.types(op))
    if table.data is None or len(table.shape) != 2 or len(c.operands(op)) != 1 or not plain:
        raise UnmodeledError("it is no look-up of the rows of a stored matrix")
    rows, dim = table.shape
    tokens = math.prod(c.shape(c.operands(op)[0]))
    return c.check_output(op, Embedding(name, rows=rows, dim=dim, tokens=tokens, **c.types(op, table)))


def _bytes(c: Converter, op: Operator, name: str) -> Layer:
    """A row of what an operator of the table of moves reads and writes."""
    return c.bytes_row(op, name)


def _each(names: Iterable[str], make: Maker) -> dict[str, Maker]:
    return dict.fromkeys(names, make)


def _on_images(make: Maker, at: int = 0) -> Maker:
    return lambda c, op, name: c.each_image(make, op, name, at)


#: The maker of each operator that has a model.
MAKERS: dict[str, Maker] = {
    "CONV_2D": _on_images(convolution),
    "DEPTHWISE_CONV_2D": _on_images(depthwise_convolution),
    "CONV_3D": volume_convolution,
    "TRANSPOSE_CONV": _on_images(transposed_convolution, 2),
    "CONV_3D_TRANSPOSE": transposed_convolution,
    "Convolution2DTransposeBias": _on_images(transposed_convolution),
    "FULLY_CONNECTED": fully_connected,
    "BATCH_MATMUL": product,
    "SVDF": svdf,
    **_each(RECURRENT, recurrent),
    **_each(("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"), _on_images(pool)),
    **_each(REDUCTIONS, _reduce),
    **_each(ELEMENTWISE, _elementwise),
    "SQUARE": _square,
    **_each(ACTIVATIONS, _activation),
    **_each(("SOFTMAX", "LOG_SOFTMAX"), _softmax),
    **_each(("L2_NORMALIZATION", "LOCAL_RESPONSE_NORMALIZATION"), _norm),
    **_each(MOVES, _move),
    "CONCATENATION": _concat,
    "PACK": _pack,
    **_each(("GATHER", "EMBEDDING_LOOKUP"), _gather),
    **_each(BYTES, _bytes),
}
