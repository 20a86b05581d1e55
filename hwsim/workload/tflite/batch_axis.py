"""The batch axis of a TFLite file, followed from its inputs through every operator.

As for ONNX: an axis is a batch if no operator mixes along it. Then the layers are those of one input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from hwsim.message import Message
from hwsim.workload.batch_axis import BatchAxis, MixedError, Place, batch_note, gathered, mixed_note
from hwsim.workload.layer import Shape
from hwsim.workload.tflite.graph import Operator, Tensor, TfliteFile, bits_of

__all__ = ["SHAPE_OPERATORS", "one_input"]

#: Operators that read no values, but a shape.
SHAPE_OPERATORS = ("SHAPE", "RANK")
#: Constants of more bytes are not searched for differences along the batch.
MAX_BYTES = 2**22


#: The place of the batch in the outputs of an operator.
Rule: TypeAlias = "Callable[[_Walk, Operator], Place]"


def one_input(file: TfliteFile, constants: Mapping[int, Tensor]) -> tuple[TfliteFile, list[Message]]:
    """The file with the tensors of one input, if its inputs have a batch, and notes; else the file as it is."""
    shapes = {index: file.tensors[index].shape for index in file.inputs if index not in constants}
    sizes = {shape[0] for shape in shapes.values() if len(shape) > 1 and shape[0] != 1}
    if len(sizes) != 1 or (size := sizes.pop()) < 2:
        return file, []
    walk = _Walk(file, constants, size, {index: Place(0) for index, shape in shapes.items() if shape[:1] == (size,)})
    if (reason := walk.run()) is None:
        return walk.one(), [batch_note(size)]
    return file, [mixed_note(size, reason)]


class _Walk(BatchAxis[int]):
    """The place of the batch in each tensor of a file that has one."""

    def __init__(
        self, file: TfliteFile, constants: Mapping[int, Tensor], batch: int, places: Mapping[int, Place]
    ) -> None:
        super().__init__(batch, places)
        self.file, self.constants = file, constants
        #: Constants that an operator reads as the same for each of the batch, by operator and tensor, and where.
        self.repeated: dict[tuple[int, int], Place] = {}

    def run(self) -> str | None:
        """Follow the batch through all operators; returns why it is none, or None."""
        for op in self.file.operators:
            is_constant = op.outputs and all(index in self.constants for index in op.outputs)
            if is_constant or not any(index in self.places for index in op.inputs):
                continue
            try:
                if op.code not in RULES or op.custom:
                    raise MixedError("may mix along it")
                place = RULES[op.code](self, op)
                for index in op.outputs:
                    self.put(index, place)
            except MixedError as reason:
                return f"{op} {reason}"
            except (LookupError, TypeError, ValueError, ArithmeticError):  # the converter names what does not fit
                return f"{op} may mix along it"
        if any(index not in self.places and len(self.shape(index)) > 1 for index in self.file.outputs):
            return "an output does not have it"
        return None

    def one(self) -> TfliteFile:
        """The file with the tensors of one of the batch."""
        tensors = list(self.file.tensors)
        for index in self.places:
            tensors[index] = replace(tensors[index], shape=self.shape_of_one(index))
        parts: dict[tuple[int, int], int] = {}
        for (reader, index), place in self.repeated.items():
            parts[reader, index] = len(tensors)
            tensors.append(_part(self.constants[index], place, self.batch, len(tensors)))
        operators = (
            replace(op, inputs=tuple(parts.get((op.index, index), index) for index in op.inputs))
            for op in self.file.operators
        )
        return replace(self.file, tensors=tuple(tensors), operators=tuple(operators) if parts else self.file.operators)

    # What the rules ask for

    def repeat(self, op: Operator, index: int, place: Place) -> None:
        """Check that a factor of a product is the same for each of the batch: one of the batch reads one part."""
        self.alike(index, place.axis, place.inner)
        if place.axis < 0 or (size := self.shape(index)[place.axis]) == 1:
            return
        steps, constant = self.file.tensors[index].quantization, self.constants[index]
        scaled = steps is not None and steps.axis == place.axis and steps.scale.size == size
        if scaled or bits_of(constant.dtype) % 8:
            raise MixedError("reads other values for each index of it")
        self.repeated[op.index, index] = place

    def shape(self, key: int) -> Shape:
        return self.file.tensors[key].shape

    def values(self, key: int) -> np.ndarray[Any, Any] | None:
        constant = self.constants.get(key)
        if constant is None or constant.data is None or constant.sparse:
            return None
        if constant.bytes > MAX_BYTES:
            raise MixedError("may read other values for each index of it")
        self.file.budget.spend(2 * constant.bytes)
        return constant.values()

    def first(self, op: Operator, at: int = 0) -> Place:
        """The place in the input at `at`, which alone may have it."""
        if any(index in self.places for place, index in enumerate(op.inputs) if place != at):
            raise MixedError("reads it as a parameter")
        return self.places[op.inputs[at]]

    def integers(self, op: Operator, at: int) -> list[int]:
        """Integers of a constant input."""
        constant = self.constants.get(op.inputs[at])
        if constant is None or constant.elements > 64:
            raise MixedError("may mix along it")
        return [] if constant.data is None else [int(value) for value in constant.values().ravel()]


def _part(constant: Tensor, place: Place, batch: int, index: int) -> Tensor:
    """What one of the batch reads of a constant that is the same for each, as an array of its own."""
    shape = list(constant.shape)
    shape[place.axis] //= batch
    rest = math.prod(shape[place.axis + 1 :]) * bits_of(constant.dtype) // 8
    assert constant.data is not None
    data = constant.data.reshape(-1, shape[place.axis] // place.inner, batch, place.inner * rest)[:, :, 0]
    return replace(constant, index=index, shape=tuple(shape), data=data.ravel(), buffer=-1 - constant.index)


def _spread(w: _Walk, op: Operator) -> Place:
    """Value by value, broadcast as numpy does."""
    return w.broadcast((index for index in op.inputs if index >= 0), len(w.shape(op.outputs[0])))


def _reshape(w: _Walk, op: Operator) -> Place:
    return w.reshaped(w.first(op), w.shape(op.inputs[0]), w.shape(op.outputs[0]))


def _transpose(w: _Walk, op: Operator) -> Place:
    place, rank = w.first(op), len(w.shape(op.inputs[0]))
    return Place([axis % rank for axis in w.integers(op, 1)].index(place.axis), place.inner)


def _images(at: int = 0) -> Rule:
    """Convolutions, pools and other operators on each image."""

    def rule(w: _Walk, op: Operator) -> Place:
        place = w.first(op, at)
        if place.axis:
            raise MixedError("takes windows of it")
        return place

    return rule


def _keeps(at: int = 0) -> Rule:
    """Slices, pads and the like of other axes: they keep the number of values along the batch."""

    def rule(w: _Walk, op: Operator) -> Place:
        place = w.first(op, at)
        source = w.shape(op.inputs[at])
        if any(len(w.shape(o)) != len(source) or w.shape(o)[place.axis] != source[place.axis] for o in op.outputs):
            raise MixedError("takes a part of it")
        return place

    return rule


def _last(w: _Walk, op: Operator) -> Place:
    """An operator that mixes along the last axis."""
    place = w.first(op)
    if place.axis == len(w.shape(op.inputs[0])) - 1:
        raise MixedError("mixes along it")
    return place


def _reduce(w: _Walk, op: Operator) -> Place:
    place, rank = w.first(op), len(w.shape(op.inputs[0]))
    removed = {axis % rank for axis in w.integers(op, 1)}
    if place.axis in removed:
        raise MixedError("mixes along it")
    kept = len(w.shape(op.outputs[0])) == rank
    return Place(place.axis - (0 if kept else sum(axis < place.axis for axis in removed)), place.inner)


def _reverse(w: _Walk, op: Operator) -> Place:
    place, rank = w.first(op), len(w.shape(op.inputs[0]))
    if place.axis in {axis % rank for axis in w.integers(op, 1)}:
        raise MixedError("turns it round")
    return place


def _concat(w: _Walk, op: Operator) -> Place:
    place, rank = _spread(w, op), len(w.shape(op.outputs[0]))
    if int(op.options.get("axis", 0)) % rank == place.axis:
        raise MixedError("joins along it")
    if any(index not in w.places and index not in w.constants for index in op.inputs):
        raise MixedError("reads other values for each index of it")
    return place


def _pack(w: _Walk, op: Operator) -> Place:
    place = w.broadcast(op.inputs, len(w.shape(op.inputs[0])))
    axis = int(op.options.get("axis", 0)) % len(w.shape(op.outputs[0]))
    return Place(place.axis + (axis <= place.axis), place.inner)


def _unpack(w: _Walk, op: Operator) -> Place:
    place = w.first(op)
    axis = int(op.options.get("axis", 0)) % len(w.shape(op.inputs[0]))
    if axis == place.axis:
        raise MixedError("takes a part of it")
    return Place(place.axis - (axis < place.axis), place.inner)


def _gather(w: _Walk, op: Operator) -> Place:
    at, ids = (1, 0) if op.code == "EMBEDDING_LOOKUP" else (0, 1)
    data, indices = w.places.get(op.inputs[at]), w.places.get(op.inputs[ids])
    axis = int(op.options.get("axis", 0)) % max(len(w.shape(op.inputs[at])), 1)
    if op.options.get("batch_dims"):
        raise MixedError("picks from it")
    return gathered(data, indices, axis, len(w.shape(op.inputs[ids])))


def _dense(w: _Walk, op: Operator) -> Place:
    """FULLY_CONNECTED flattens what it reads to rows of as many values as its weights take."""
    place, source, out = w.first(op), w.shape(op.inputs[0]), w.shape(op.outputs[0])
    features = w.shape(op.inputs[1])[1]
    rows = math.prod(source) // features
    flat = w.reshaped(place, source, (rows, features))
    if flat.axis:
        raise MixedError("sums over it")
    return w.reshaped(flat, (rows, out[-1]), out)


def _product(w: _Walk, op: Operator) -> Place:
    """BATCH_MATMUL: the batch is among the axes before the matrices, in rows of the first or columns of the second."""
    rank, places = len(w.shape(op.outputs[0])), set()
    for side, turned in ((0, op.options.get("adj_x")), (1, op.options.get("adj_y"))):
        place, shape = w.places.get(op.inputs[side]), w.shape(op.inputs[side])
        if place is None:
            continue
        depth = len(shape) - 1 - place.axis  # 0: the last axis
        depth = 1 - depth if turned and depth < 2 else depth
        if depth == side:
            raise MixedError("sums over it")
        places.add(Place(rank - 1 - depth, place.inner))
    if len(places) != 1:
        raise MixedError("pairs each index of it with every other")
    place = places.pop()
    for index in op.inputs[:2]:
        if index not in w.places and place.axis < rank - 2:
            w.repeat(op, index, Place(place.axis - (rank - len(w.shape(index))), place.inner))
        elif index in w.places and place.axis >= rank - 2 and all(other in w.places for other in op.inputs[:2]):
            raise MixedError("pairs each index of it with every other")
    return place


def _sequence(w: _Walk, op: Operator) -> Place:
    """Recurrent operators step along the first axis where time comes first, along the second where the batch does."""
    place, major = w.first(op), bool(op.options.get("time_major"))
    if place.axis != int(major):
        raise MixedError("steps along it")
    return place


def _to_batch(w: _Walk, op: Operator) -> Place:
    """SPACE_TO_BATCH_ND and back: blocks of the image are more of the batch, around it."""
    place = w.first(op)
    if place.axis or place.inner != 1:
        raise MixedError("mixes along it")
    return place


def _each(rule: Rule, *codes: str) -> dict[str, Rule]:
    return dict.fromkeys(codes, rule)


RULES: dict[str, Rule] = {
    **_each(
        _spread, "ADD", "ADD_N", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "POW", "FLOOR_DIV", "FLOOR_MOD",
        "SQUARED_DIFFERENCE", "ATAN2", "EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL",
        "LOGICAL_AND", "LOGICAL_OR", "LOGICAL_NOT", "BITWISE_XOR", "RIGHT_SHIFT", "SELECT", "SELECT_V2", "SQUARE",
        "RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "LEAKY_RELU", "PRELU", "ELU", "GELU", "HARD_SWISH", "LOGISTIC",
        "TANH", "EXP", "ABS", "NEG", "SQRT", "RSQRT", "LOG", "SIN", "COS", "FLOOR", "CEIL", "ROUND", "SIGN",
        "QUANTIZE", "DEQUANTIZE", "CAST", "FAKE_QUANT", "ZEROS_LIKE",
    ),
    **_each(_reshape, "RESHAPE", "SQUEEZE", "EXPAND_DIMS"),
    "TRANSPOSE": _transpose,
    **_each(
        _images(), "CONV_2D", "DEPTHWISE_CONV_2D", "CONV_3D", "AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D",
        "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH", "SVDF", "RNN",
        "LOCAL_RESPONSE_NORMALIZATION",
    ),
    **_each(_images(2), "TRANSPOSE_CONV", "CONV_3D_TRANSPOSE"),
    **_each(_keeps(), "SLICE", "STRIDED_SLICE", "PAD", "PADV2", "MIRROR_PAD", "TILE", "BROADCAST_TO", "SPLIT_V"),
    "SPLIT": _keeps(1),
    **_each(_last, "SOFTMAX", "LOG_SOFTMAX", "L2_NORMALIZATION", "TOPK_V2"),
    **_each(
        _reduce, "MEAN", "SUM", "REDUCE_PROD", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_ANY", "REDUCE_ALL", "ARG_MAX",
        "ARG_MIN",
    ),
    **_each(_reverse, "REVERSE_V2", "CUMSUM"),
    "CONCATENATION": _concat,
    "PACK": _pack,
    "UNPACK": _unpack,
    **_each(_gather, "GATHER", "EMBEDDING_LOOKUP"),
    "FULLY_CONNECTED": _dense,
    "BATCH_MATMUL": _product,
    **_each(
        _sequence, "UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM", "UNIDIRECTIONAL_SEQUENCE_RNN",
        "BIDIRECTIONAL_SEQUENCE_RNN",
    ),
    **_each(_to_batch, "SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND"),
}  # fmt: skip
