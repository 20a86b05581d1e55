"""The shapes of an operator's outputs, from those of what it reads: a rule for each kind of operator."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol, TypeAlias

import numpy as np

from hwsim.workload.layer import Shape
from hwsim.workload.tflite.graph import Operator, TfliteFile
from hwsim.workload.tflite.shape_values import Array, strided_slice

__all__ = ["RULES", "TensorShapes", "keeps"]


class TensorShapes(Protocol):
    """What rules read: shapes of the file and those that replace them, and values that are computed of shapes."""

    file: TfliteFile
    shapes: dict[int, Shape]

    def old(self, index: int) -> Shape:
        """The shape of a tensor in the file."""

    def new(self, index: int) -> Shape:
        """Its shape now."""

    def number(self, index: int) -> Array | None:
        """Its values, if they are few and known."""

    def values(self, index: int) -> list[int]:
        """Its integers; raises ValueError where they are not known."""


#: The shapes of an operator's outputs.
Rule: TypeAlias = Callable[[TensorShapes, Operator], list[Shape]]


def _same(s: TensorShapes, op: Operator) -> list[Shape]:
    return [s.new(op.inputs[0])] * len(op.outputs)


def _broadcast(s: TensorShapes, op: Operator) -> list[Shape]:
    """Value by value, broadcast as numpy does."""
    shapes = [s.new(index) for index in op.inputs if index >= 0]
    rank, result = max(map(len, shapes)), []
    for sizes in zip(*((1,) * (rank - len(shape)) + shape for shape in shapes)):
        several = {size for size in sizes if size != 1}
        if len(several) > 1:
            raise ValueError
        result.append(several.pop() if several else 1)
    return [tuple(result)]


def keeps(s: TensorShapes, op: Operator) -> list[Shape]:
    """An axis that the file leaves as it is has the new size of the first changed input; others stay."""
    source = next((index for index in op.inputs if index in s.shapes), None)
    if source is None:
        raise ValueError
    old, new, outputs = s.old(source), s.new(source), []
    for index in op.outputs:
        out = s.old(index)
        if len(out) != len(old) or any(a != b and a != c for a, b, c in zip(old, new, out)):
            raise ValueError
        outputs.append(tuple(b if a == c else c for a, b, c in zip(old, new, out)))
    return outputs


def _window(size: Callable[[TensorShapes, Operator], tuple[int, int, int]]) -> Rule:
    """A window over rows and columns, padded as TensorFlow does."""

    def rule(s: TensorShapes, op: Operator) -> list[Shape]:
        n, *image, _ = s.new(op.inputs[0])
        options, places = op.options, []
        *windows, channels = size(s, op)
        for extent, window, axis in zip(image, windows, "hw"):
            stride = int(options[f"stride_{axis}"])
            reach = (window - 1) * int(options.get(f"dilation_{axis}factor", 1)) + 1
            places.append(-(-(extent if options["padding"] == "SAME" else extent - reach + 1) // stride))
        return [(n, *places, channels)]

    return rule


def _filter(s: TensorShapes, op: Operator) -> tuple[int, int, int]:
    """Rows, columns and output channels of the weights."""
    _, rows, columns, _ = s.old(op.inputs[1])
    return rows, columns, s.old(op.outputs[0])[3]


def _pool(s: TensorShapes, op: Operator) -> tuple[int, int, int]:
    return int(op.options["filter_height"]), int(op.options["filter_width"]), s.new(op.inputs[0])[3]


def _transposed(s: TensorShapes, op: Operator) -> list[Shape]:
    n, *image, _ = s.new(op.inputs[2])
    k, *window, _ = s.old(op.inputs[1])
    places = []
    for extent, reach, axis in zip(image, window, "hw"):
        stride = int(op.options[f"stride_{axis}"])
        places.append(
            extent * stride if op.options["padding"] == "SAME" else (extent - 1) * stride + max(reach, stride)
        )
    return [(n, *places, k)]


def _dense(s: TensorShapes, op: Operator) -> list[Shape]:
    source, out = s.new(op.inputs[0]), s.old(op.outputs[0])
    features = s.new(op.inputs[1])[1]
    if math.prod(source) % features:
        raise ValueError
    if op.options.get("keep_num_dims"):
        return [(*source[:-1], out[-1])]
    return [(math.prod(source) // features, out[-1])] if len(out) == 2 else keeps(s, op)


def _reshape(s: TensorShapes, op: Operator) -> list[Shape]:
    """Where the target is written in the file, the axis that stands for the changed ones changes with them."""
    old, new, out = s.old(op.inputs[0]), s.new(op.inputs[0]), s.old(op.outputs[0])
    total = math.prod(new)
    if len(op.inputs) > 1 and s.number(op.inputs[1]) is not None:
        to = s.values(op.inputs[1])
        rest = abs(math.prod(to))
        if -1 in to and rest and total % rest == 0:
            return [tuple(total // rest if size == -1 else size for size in to)]
        if math.prod(to) == total:
            return [tuple(to)]
    spare = [axis for axis, size in enumerate(s.file.tensors[op.outputs[0]].signature) if size < 0]
    if len(spare) == 2 and not spare[0] and new:
        out, spare = (new[0], *out[1:]), spare[1:]
    if len(spare) == 1 and total % (rest := math.prod(out[: spare[0]] + out[spare[0] + 1 :])) == 0:
        return [(*out[: spare[0]], total // rest, *out[spare[0] + 1 :])]
    changed = [(before, after) for before, after in zip(old, new) if before != after]
    result = list(out)
    for before, after in changed:
        if before in result:
            result[result.index(before)] = after
    if math.prod(result) == total:
        return [tuple(result)]
    ratio = total * math.prod(out), math.prod(old) * math.prod(out)
    fits = [axis for axis, size in enumerate(out) if size > 1 and size * ratio[0] % ratio[1] == 0]
    if len(fits) != 1:
        raise ValueError
    return [tuple(size * ratio[0] // ratio[1] if axis == fits[0] else size for axis, size in enumerate(out))]


def _cut(s: TensorShapes, op: Operator) -> list[Shape]:
    """A part of each axis, from begin to end."""
    ends = [s.number(index) for index in op.inputs[1:4]]
    if any(values is None for values in ends):
        return keeps(s, op)
    index = strided_slice(op, [values for values in ends if values is not None])
    return [np.broadcast_to(np.int8(0), s.new(op.inputs[0]))[index].shape]


def _filled(s: TensorShapes, op: Operator) -> list[Shape]:
    """A shape that is computed."""
    return [tuple(s.values(op.inputs[1 if op.code == "BROADCAST_TO" else 0]))]


def _range(s: TensorShapes, op: Operator) -> list[Shape]:
    """As many values as there are steps from the start to before the limit."""
    (start,), (limit,), (step,) = (s.values(index) for index in op.inputs)
    return [(max(-(-(limit - start) // step), 0),)]


def _spectrum(s: TensorShapes, op: Operator) -> list[Shape]:
    """The real transform of the last two axes."""
    rows, columns = s.values(op.inputs[1])
    return [(*s.new(op.inputs[0])[:-2], rows, columns // 2 + 1)]


def _transpose(s: TensorShapes, op: Operator) -> list[Shape]:
    source = s.new(op.inputs[0])
    return [tuple(source[axis] for axis in s.values(op.inputs[1]))]


def _pad(s: TensorShapes, op: Operator) -> list[Shape]:
    source, around = s.new(op.inputs[0]), s.values(op.inputs[1])
    return [tuple(size + sum(around[2 * axis : 2 * axis + 2]) for axis, size in enumerate(source))]


def _reduce(s: TensorShapes, op: Operator) -> list[Shape]:
    source = s.new(op.inputs[0])
    axes = {axis % len(source) for axis in s.values(op.inputs[1])}
    kept = len(s.old(op.outputs[0])) == len(source) and not op.code.startswith("ARG")
    return [tuple(1 if axis in axes else size for axis, size in enumerate(source) if kept or axis not in axes)]


def _concat(s: TensorShapes, op: Operator) -> list[Shape]:
    shapes = [s.new(index) for index in op.inputs]
    axis = int(op.options.get("axis", 0)) % len(shapes[0])
    if len({(*shape[:axis], -1, *shape[axis + 1 :]) for shape in shapes}) > 1:
        raise ValueError
    first = shapes[0]
    return [(*first[:axis], sum(shape[axis] for shape in shapes), *first[axis + 1 :])]


def _pack(s: TensorShapes, op: Operator) -> list[Shape]:
    source = s.new(op.inputs[0])
    axis = int(op.options.get("axis", 0)) % (len(source) + 1)
    return [(*source[:axis], len(op.inputs), *source[axis:])]


def _unpack(s: TensorShapes, op: Operator) -> list[Shape]:
    source = s.new(op.inputs[0])
    axis = int(op.options.get("axis", 0)) % len(source)
    if source[axis] != len(op.outputs):
        raise ValueError
    return [(*source[:axis], *source[axis + 1 :])] * len(op.outputs)


def _product(s: TensorShapes, op: Operator) -> list[Shape]:
    shapes = [s.new(index) for index in op.inputs[:2]]
    left, right = (
        (*shape[:-2], shape[-1], shape[-2]) if op.options.get(key) else shape
        for shape, key in zip(shapes, ("adj_x", "adj_y"))
    )
    if left[-1] != right[-2]:
        raise ValueError
    rank = max(len(left), len(right)) - 2
    lead = zip((1,) * (rank + 2 - len(left)) + left[:-2], (1,) * (rank + 2 - len(right)) + right[:-2])
    return [(*map(max, lead), left[-2], right[-1])]


def _gather(s: TensorShapes, op: Operator) -> list[Shape]:
    data, ids = (s.new(index) for index in (op.inputs if op.code == "GATHER" else op.inputs[::-1]))
    axis = int(op.options.get("axis", 0)) % len(data)
    if op.options.get("batch_dims"):
        raise ValueError
    return [(*data[:axis], *ids, *data[axis + 1 :])]


def _squeeze(s: TensorShapes, op: Operator) -> list[Shape]:
    """Axes of size 1 go; the others, open or of one size before and after, keep their order."""
    source, out = (s.file.tensors[index] for index in (op.inputs[0], op.outputs[0]))
    new, left, kept = s.new(source.index), [*(out.signature or out.shape)], []
    for size, old, now in zip(source.signature or source.shape, source.shape, new):
        if left and left[0] == size:
            left.pop(0)
            kept.append(now)
        elif (old, now) != (1, 1):
            raise ValueError
    if left:
        raise ValueError
    return [tuple(kept)]


def _expand(s: TensorShapes, op: Operator) -> list[Shape]:
    """A new axis of size 1."""
    source, (axis, *_) = s.new(op.inputs[0]), s.values(op.inputs[1])
    axis %= len(source) + 1
    return [(*source[:axis], 1, *source[axis:])]


def _sequence(s: TensorShapes, op: Operator) -> list[Shape]:
    return [(*s.new(op.inputs[0])[:-1], s.old(index)[-1]) for index in op.outputs]


def _depth(s: TensorShapes, op: Operator) -> list[Shape]:
    """Blocks of an image to channels, or back: the ratio of the sizes stays."""
    old, new, out = s.old(op.inputs[0]), s.new(op.inputs[0]), s.old(op.outputs[0])
    return [tuple(_scaled(c, b, a) for a, b, c in zip(old, new, out))]


def _scaled(size: int, new: int, old: int) -> int:
    if size * new % old:
        raise ValueError
    return size * new // old


def _each(rule: Rule, *codes: str) -> dict[str, Rule]:
    return dict.fromkeys(codes, rule)


RULES: dict[str, Rule] = {
    **_each(
        _same, "SOFTMAX", "LOG_SOFTMAX", "L2_NORMALIZATION", "LOCAL_RESPONSE_NORMALIZATION", "RELU", "RELU6",
        "RELU_N1_TO_1", "RELU_0_TO_1", "LEAKY_RELU", "PRELU", "ELU", "GELU", "HARD_SWISH", "LOGISTIC", "TANH", "EXP",
        "ABS", "NEG", "SQRT", "RSQRT", "LOG", "SIN", "COS", "FLOOR", "CEIL", "ROUND", "SIGN", "LOGICAL_NOT", "SQUARE",
        "QUANTIZE", "DEQUANTIZE", "CAST", "FAKE_QUANT", "REVERSE_V2", "CUMSUM", "ZEROS_LIKE",
    ),
    **_each(
        _broadcast, "ADD", "ADD_N", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "POW", "FLOOR_DIV", "FLOOR_MOD",
        "SQUARED_DIFFERENCE", "ATAN2", "EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL",
        "LOGICAL_AND", "LOGICAL_OR", "BITWISE_XOR", "RIGHT_SHIFT", "SELECT", "SELECT_V2",
    ),
    **_each(_window(_filter), "CONV_2D", "DEPTHWISE_CONV_2D"),
    **_each(_window(_pool), "AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"),
    "TRANSPOSE_CONV": _transposed,
    "FULLY_CONNECTED": _dense,
    "BATCH_MATMUL": _product,
    "RESHAPE": _reshape,
    "SQUEEZE": _squeeze,
    "EXPAND_DIMS": _expand,
    "TRANSPOSE": _transpose,
    **_each(_pad, "PAD", "PADV2", "MIRROR_PAD"),
    **_each(
        _reduce, "MEAN", "SUM", "REDUCE_PROD", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_ANY", "REDUCE_ALL", "ARG_MAX",
        "ARG_MIN",
    ),
    "CONCATENATION": _concat,
    "STRIDED_SLICE": _cut,
    "RFFT2D": _spectrum,
    "RANGE": _range,
    **_each(_filled, "FILL", "BROADCAST_TO"),
    "PACK": _pack,
    "UNPACK": _unpack,
    **_each(_gather, "GATHER", "EMBEDDING_LOOKUP"),
    **_each(_depth, "SPACE_TO_DEPTH", "DEPTH_TO_SPACE", "TILE"),
    **_each(
        _sequence, "SVDF", "RNN", "UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM",
        "UNIDIRECTIONAL_SEQUENCE_RNN", "BIDIRECTIONAL_SEQUENCE_RNN",
    ),
}  # fmt: skip
