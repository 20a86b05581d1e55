"""Shapes of a TFLite file with other sizes of its inputs: each operator has a rule that gives those of its outputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from hwsim.errors import InputError, excerpt, nearest
from hwsim.message import Message
from hwsim.workload.layer import MAX_SIZE, Shape, whole
from hwsim.workload.tflite.batch_axis import SHAPE_OPERATORS
from hwsim.workload.tflite.graph import Operator, TfliteFile
from hwsim.workload.tflite.shape_values import MAX_VALUES, Array, computed, strided_slice

__all__ = ["open_sizes", "resized", "settled"]

#: The shapes of an operator's outputs.
Rule: TypeAlias = "Callable[[_Shapes, Operator], list[Shape]]"


def open_sizes(file: TfliteFile) -> list[Message]:
    """A note for each input with open sizes beyond the first, which are read as the file has them."""
    notes = []
    for index in file.inputs:
        tensor = file.tensors[index]
        if any(size < 0 for size in tensor.signature[1:]):
            sizes = " x ".join("?" if size < 0 else str(size) for size in tensor.signature)
            template = "input {input!r} is {sizes}; its open sizes are read as {shape}: --shape sets them"
            values = {"input": tensor.name, "sizes": sizes, "shape": " x ".join(map(str, tensor.shape))}
            notes.append(Message("import.open_sizes", template, values, "warning"))
    return notes


def resized(file: TfliteFile, shape: Mapping[str, int | Sequence[int]]) -> TfliteFile:
    """The file with other shapes of its inputs, by their names, and all shapes that follow from them.

    Raises
    ------
    InputError
        For an unknown name, another rank, and the first operator whose output shape does not follow.
    """
    inputs = {file.tensors[index].name: index for index in file.inputs}
    shapes: dict[int, Shape] = {}
    for name, given in shape.items():
        if name not in inputs:
            raise InputError(f"shape must be of an input, not {excerpt(name)}{nearest(name, inputs)}")
        sizes = _sizes(given)
        rank = len(file.tensors[inputs[name]].shape)
        if sizes is None:
            raise InputError(f"shape must be sizes from 1 to 2^31, not {excerpt(given)}", path=f"input {name!r}")
        if len(sizes) != rank:
            raise InputError(f"shape must have {rank} sizes, not {len(sizes)}", path=f"input {name!r}")
        shapes[inputs[name]] = sizes
    return _Shapes(file, shapes).run()


def settled(file: TfliteFile) -> tuple[TfliteFile, list[Message]]:
    """The file with the shapes that it leaves open inside, where those of its inputs are known; and notes.

    A converter writes 1 where a size is computed when the network runs, as the frames of a spectrum are.
    """
    if open_sizes(file) or not any(_is_open(file, index) for op in file.operators for index in op.outputs):
        return file, []
    try:
        return _Shapes(file, {}, inside=True).run(), []
    except InputError as error:
        fault = error.faults[0]
        template = "it leaves sizes open inside, which are read as the file has them: {operator}: {reason}"
        values = {"operator": fault.path, "reason": fault.message}
        return file, [Message("import.open_inside", template, values, "warning")]


def _is_open(file: TfliteFile, index: int) -> bool:
    """Whether a tensor has an open size that is no batch: one has the first of several axes, if an input has it."""
    signature = file.tensors[index].signature
    has_batch = any(file.tensors[place].signature[:1] == (-1,) for place in file.inputs)
    return any(size < 0 for size in (signature[1:] if has_batch and len(signature) > 1 else signature))


def _sizes(given: object) -> Shape | None:
    """A shape of sizes from 1 to 2^31; None if it is none."""
    sizes = [whole(size) for size in (given if isinstance(given, (list, tuple)) else [given])]
    result = tuple(size for size in sizes if size is not None and 1 <= size <= MAX_SIZE)
    return result if len(result) == len(sizes) else None


class _Shapes:
    """Shapes of the tensors that differ from those of the file."""

    def __init__(self, file: TfliteFile, shapes: Mapping[int, Shape], inside: bool = False) -> None:
        self.file, self.inside = file, inside
        self.numbers: dict[int, Array] = {}
        self.shapes = {index: shape for index, shape in shapes.items() if shape != file.tensors[index].shape}

    def run(self) -> TfliteFile:
        for op in self.file.operators:
            if (numbers := self.computed(op)) is not None:
                self.numbers |= dict(zip(op.outputs, numbers))
                self.shapes |= {index: self.numbers[index].shape for index in op.outputs if index in self.numbers}
                continue
            if op.code in SHAPE_OPERATORS or not self.differs(op):
                continue
            try:
                outputs = RULES.get(op.code, _keeps)(self, op)
            except (LookupError, TypeError, ValueError, ArithmeticError):
                raise InputError("its output has no shape that follows from the sizes given", path=str(op)) from None
            for index, shape in zip(op.outputs, outputs):
                if len(shape) != len(self.old(index)) or any(not 0 < size <= MAX_SIZE for size in shape):
                    raise InputError(f"its output would be of shape {shape}", path=str(op))
                if shape != self.old(index):
                    signature = self.file.tensors[index].signature
                    if self.inside and any(a > 0 and a != b for a, b in zip(signature, shape)):
                        raise InputError(f"its output would be of shape {shape}, not {signature}", path=str(op))
                    self.shapes[index] = shape
        tensors = [
            replace(tensor, shape=self.shapes[tensor.index]) if tensor.index in self.shapes else tensor
            for tensor in self.file.tensors
        ]
        return replace(self.file, tensors=tuple(tensors))

    def differs(self, op: Operator) -> bool:
        """Whether the shapes of an operator's outputs may not be those of the file."""
        if any(index in self.shapes or index in self.numbers for index in op.inputs):
            return True
        return self.inside and any(_is_open(self.file, index) for index in op.outputs)

    def computed(self, op: Operator) -> list[Array] | None:
        """The values of an operator on shapes and constants; None if they are unknown or many."""
        if op.custom:
            return None
        if op.code in SHAPE_OPERATORS:
            shape = self.new(op.inputs[0])
            return [np.array(shape if op.code == "SHAPE" else len(shape))]
        try:
            read = [self.number(index) for index in op.inputs if index >= 0]
            known = [values for values in read if values is not None]
            if len(known) < len(op.inputs) or not known or not op.outputs:
                return None
            return computed(op, known, self.file.tensors[op.outputs[0]].dtype)
        except (LookupError, TypeError, ValueError, ArithmeticError):
            return None

    def number(self, index: int) -> Array | None:
        """The values of a tensor, if they are few and known."""
        tensor = self.file.tensors[index]
        if not tensor.elements and index not in self.numbers:
            return np.zeros(tensor.shape, np.int64)
        if index in self.numbers or tensor.data is None or tensor.elements > MAX_VALUES:
            return self.numbers.get(index)
        return tensor.values() if tensor.dtype in ("int32", "int64", "bool") else None

    def old(self, index: int) -> Shape:
        return self.file.tensors[index].shape

    def new(self, index: int) -> Shape:
        return self.shapes.get(index, self.old(index))

    def values(self, index: int) -> list[int]:
        """The integers of a constant, or of what is computed of shapes."""
        values = self.number(index)
        if values is None or values.size > 64:
            raise ValueError
        return [int(value) for value in values.ravel()]


def _same(s: _Shapes, op: Operator) -> list[Shape]:
    return [s.new(op.inputs[0])] * len(op.outputs)


def _broadcast(s: _Shapes, op: Operator) -> list[Shape]:
    """Value by value, broadcast as numpy does."""
    shapes = [s.new(index) for index in op.inputs if index >= 0]
    rank, result = max(map(len, shapes)), []
    for sizes in zip(*((1,) * (rank - len(shape)) + shape for shape in shapes)):
        several = {size for size in sizes if size != 1}
        if len(several) > 1:
            raise ValueError
        result.append(several.pop() if several else 1)
    return [tuple(result)]


def _keeps(s: _Shapes, op: Operator) -> list[Shape]:
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


def _window(size: Callable[[_Shapes, Operator], tuple[int, int, int]]) -> Rule:
    """A window over rows and columns, padded as TensorFlow does."""

    def rule(s: _Shapes, op: Operator) -> list[Shape]:
        n, *image, _ = s.new(op.inputs[0])
        options, places = op.options, []
        *windows, channels = size(s, op)
        for extent, window, axis in zip(image, windows, "hw"):
            stride = int(options[f"stride_{axis}"])
            reach = (window - 1) * int(options.get(f"dilation_{axis}factor", 1)) + 1
            places.append(-(-(extent if options["padding"] == "SAME" else extent - reach + 1) // stride))
        return [(n, *places, channels)]

    return rule


def _filter(s: _Shapes, op: Operator) -> tuple[int, int, int]:
    """Rows, columns and output channels of the weights."""
    _, rows, columns, _ = s.old(op.inputs[1])
    return rows, columns, s.old(op.outputs[0])[3]


def _pool(s: _Shapes, op: Operator) -> tuple[int, int, int]:
    return int(op.options["filter_height"]), int(op.options["filter_width"]), s.new(op.inputs[0])[3]


def _transposed(s: _Shapes, op: Operator) -> list[Shape]:
    n, *image, _ = s.new(op.inputs[2])
    k, *window, _ = s.old(op.inputs[1])
    places = []
    for extent, reach, axis in zip(image, window, "hw"):
        stride = int(op.options[f"stride_{axis}"])
        places.append(
            extent * stride if op.options["padding"] == "SAME" else (extent - 1) * stride + max(reach, stride)
        )
    return [(n, *places, k)]


def _dense(s: _Shapes, op: Operator) -> list[Shape]:
    source, out = s.new(op.inputs[0]), s.old(op.outputs[0])
    features = s.new(op.inputs[1])[1]
    if math.prod(source) % features:
        raise ValueError
    if op.options.get("keep_num_dims"):
        return [(*source[:-1], out[-1])]
    return [(math.prod(source) // features, out[-1])] if len(out) == 2 else _keeps(s, op)


def _reshape(s: _Shapes, op: Operator) -> list[Shape]:
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


def _cut(s: _Shapes, op: Operator) -> list[Shape]:
    """A part of each axis, from begin to end."""
    ends = [s.number(index) for index in op.inputs[1:4]]
    if any(values is None for values in ends):
        return _keeps(s, op)
    index = strided_slice(op, [values for values in ends if values is not None])
    return [np.broadcast_to(np.int8(0), s.new(op.inputs[0]))[index].shape]


def _filled(s: _Shapes, op: Operator) -> list[Shape]:
    """A shape that is computed."""
    return [tuple(s.values(op.inputs[1 if op.code == "BROADCAST_TO" else 0]))]


def _range(s: _Shapes, op: Operator) -> list[Shape]:
    """As many values as there are steps from the start to before the limit."""
    (start,), (limit,), (step,) = (s.values(index) for index in op.inputs)
    return [(max(-(-(limit - start) // step), 0),)]


def _spectrum(s: _Shapes, op: Operator) -> list[Shape]:
    """The real transform of the last two axes."""
    rows, columns = s.values(op.inputs[1])
    return [(*s.new(op.inputs[0])[:-2], rows, columns // 2 + 1)]


def _transpose(s: _Shapes, op: Operator) -> list[Shape]:
    source = s.new(op.inputs[0])
    return [tuple(source[axis] for axis in s.values(op.inputs[1]))]


def _pad(s: _Shapes, op: Operator) -> list[Shape]:
    source, around = s.new(op.inputs[0]), s.values(op.inputs[1])
    return [tuple(size + sum(around[2 * axis : 2 * axis + 2]) for axis, size in enumerate(source))]


def _reduce(s: _Shapes, op: Operator) -> list[Shape]:
    source = s.new(op.inputs[0])
    axes = {axis % len(source) for axis in s.values(op.inputs[1])}
    kept = len(s.old(op.outputs[0])) == len(source) and not op.code.startswith("ARG")
    return [tuple(1 if axis in axes else size for axis, size in enumerate(source) if kept or axis not in axes)]


def _concat(s: _Shapes, op: Operator) -> list[Shape]:
    shapes = [s.new(index) for index in op.inputs]
    axis = int(op.options.get("axis", 0)) % len(shapes[0])
    if len({(*shape[:axis], -1, *shape[axis + 1 :]) for shape in shapes}) > 1:
        raise ValueError
    first = shapes[0]
    return [(*first[:axis], sum(shape[axis] for shape in shapes), *first[axis + 1 :])]


def _pack(s: _Shapes, op: Operator) -> list[Shape]:
    source = s.new(op.inputs[0])
    axis = int(op.options.get("axis", 0)) % (len(source) + 1)
    return [(*source[:axis], len(op.inputs), *source[axis:])]


def _unpack(s: _Shapes, op: Operator) -> list[Shape]:
    source = s.new(op.inputs[0])
    axis = int(op.options.get("axis", 0)) % len(source)
    if source[axis] != len(op.outputs):
        raise ValueError
    return [(*source[:axis], *source[axis + 1 :])] * len(op.outputs)


def _product(s: _Shapes, op: Operator) -> list[Shape]:
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


def _gather(s: _Shapes, op: Operator) -> list[Shape]:
    data, ids = (s.new(index) for index in (op.inputs if op.code == "GATHER" else op.inputs[::-1]))
    axis = int(op.options.get("axis", 0)) % len(data)
    if op.options.get("batch_dims"):
        raise ValueError
    return [(*data[:axis], *ids, *data[axis + 1 :])]


def _squeeze(s: _Shapes, op: Operator) -> list[Shape]:
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


def _expand(s: _Shapes, op: Operator) -> list[Shape]:
    """A new axis of size 1."""
    source, (axis, *_) = s.new(op.inputs[0]), s.values(op.inputs[1])
    axis %= len(source) + 1
    return [(*source[:axis], 1, *source[axis:])]


def _sequence(s: _Shapes, op: Operator) -> list[Shape]:
    return [(*s.new(op.inputs[0])[:-1], s.old(index)[-1]) for index in op.outputs]


def _depth(s: _Shapes, op: Operator) -> list[Shape]:
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
