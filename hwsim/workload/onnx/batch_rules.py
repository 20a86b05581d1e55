"""Where each operator of ONNX puts the batch axis of what it reads.

A rule raises `MixedError` where the operator sums, sorts or steps along the axis, or pairs each index with every other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from hwsim.errors import InputError
from hwsim.workload.batch_axis import BatchAxis, MixedError, Place, gathered
from hwsim.workload.layer import Shape
from hwsim.workload.onnx.canonical import MS, Op
from hwsim.workload.onnx.equation import axes_of
from hwsim.workload.onnx.graph import Graph
from hwsim.workload.onnx.lowering import UNARY

__all__ = ["RULES", "GraphAxis"]

#: Constants of more values are not searched for differences along the batch.
MAX_VALUES = 2**20

Places: TypeAlias = "Place | list[Place | None]"
#: The place of the batch in all outputs of an operator, or in each.
Rule: TypeAlias = "Callable[[GraphAxis, Op], Places]"


class GraphAxis(BatchAxis[str]):
    """The place of the batch in each tensor of a graph that has one."""

    def __init__(self, graph: Graph, batch: int, places: Mapping[str, Place]) -> None:
        super().__init__(batch, places)
        self.graph = graph
        #: Where operators read constants that are the same for each of the batch, by index of the operator.
        self.copies: dict[int, dict[str, Place]] = {}
        self._alike: dict[str, Place] = {}

    def alike(self, key: str, axis: int, inner: int) -> None:
        super().alike(key, axis, inner)
        if 0 <= axis < len(self.shape(key)) and self.shape(key)[axis] > 1:
            self._alike[key] = Place(axis, inner)

    def put_all(self, op: Op, result: Places) -> None:
        """Note where the batch lies in the outputs of an operator, and in the constants that it reads."""
        if self._alike:
            self.copies[op.index], self._alike = self._alike, {}
        for place, name in zip([result] * len(op.outputs) if isinstance(result, Place) else result, op.outputs):
            if place is not None and name and name not in self.graph.constants:
                self.put(name, place)

    def one(self) -> Graph:
        """The graph of one of the batch."""
        own = {name: replace(self.graph.tensors[name], shape=self.shape_of_one(name)) for name in self.places}
        constants, tensors = dict(self.graph.constants), dict(self.graph.tensors) | own
        ops = []
        for op in self.graph.ops:
            parts = {}
            for name, place in self.copies.get(op.index, {}).items():
                parts[name] = part = f"{name} (of one along axis {place.axis})"
                if part not in constants:
                    constants[part] = constants[name].of_one(place.axis, self.batch, place.inner)
                    tensors[part] = replace(tensors[name], name=part, shape=constants[part].shape)
            ops.append(replace(op, inputs=[parts.get(name, name) for name in op.inputs]) if parts else op)
        return replace(self.graph, ops=ops, constants=constants, tensors=tensors)

    # What the rules ask for

    def shape(self, key: str) -> Shape:
        return self.graph.tensors[key].shape or ()

    def values(self, key: str) -> np.ndarray[Any, Any] | None:
        constant = self.graph.constants.get(key)
        return constant.values(MAX_VALUES) if constant is not None else None

    def first(self, op: Op) -> Place:
        """The place in the first input, which alone may have it."""
        self.alone(op, range(1, len(op.inputs)))
        return self.places[op.inputs[0]]

    def alone(self, op: Op, places: Iterable[int]) -> None:
        """Check that none of these inputs has the batch."""
        if any(op.input(place) in self.places for place in places):
            raise MixedError("reads it as a parameter")

    def integers(self, op: Op, key: str, place: int) -> tuple[int, ...]:
        """Integers of an attribute or of a constant input; empty if there are none."""
        if key in op.options:
            option = op.options[key]
            return tuple(map(int, option)) if isinstance(option, tuple) else (int(option),)
        if not op.input(place):
            return ()
        constant = self.graph.constants.get(op.input(place))
        values = constant.values(1024) if constant is not None else None
        if values is None:
            raise MixedError("may mix along it")
        return tuple(int(value) for value in values.ravel())


def _spread(w: GraphAxis, op: Op) -> Place:
    """Value by value, broadcast as numpy does."""
    return w.broadcast([name for name in op.inputs if name], len(w.shape(op.outputs[0])))


def _reshape(w: GraphAxis, op: Op) -> Place:
    """The batch is a run of values at a stride: it may lie in one axis of the result, with others around it."""
    place, source, out = w.first(op), w.shape(op.inputs[0]), w.shape(op.outputs[0])
    if w.batch > 1:
        return w.reshaped(place, source, out)
    # Which of several axes of size 1 it is, values do not say.
    if math.prod(source) != math.prod(out) or place.axis or not out or out[0] != 1:
        raise MixedError("may mix along it")
    return place


def _transpose(w: GraphAxis, op: Op) -> Place:
    place, rank = w.first(op), len(w.shape(op.inputs[0]))
    order = [int(axis) for axis in op.options.get("perm") or reversed(range(rank))]
    return Place(order.index(place.axis), place.inner)


def _images(w: GraphAxis, op: Op) -> Place:
    """Convolutions, pools and other operators on each image."""
    place = w.first(op)
    if place.axis:
        raise MixedError("sums over it" if "Conv" in op.code and place.axis == 1 else "takes windows of it")
    return place


def _keeps(w: GraphAxis, op: Op) -> Place:
    """Slices, pads and the like of other axes: they keep the number of values along the batch."""
    place = w.first(op)
    source, out = w.shape(op.inputs[0]), w.shape(op.outputs[0])
    if len(source) != len(out) or source[place.axis] != out[place.axis]:
        raise MixedError("takes a part of it")
    return place


def _not_along(default: int) -> Rule:
    """An operator that mixes along its attribute `axis` alone."""

    def rule(w: GraphAxis, op: Op) -> Place:
        place, rank = w.first(op), len(w.shape(op.inputs[0]))
        if int(op.options.get("axis", default)) % rank == place.axis:
            raise MixedError("mixes along it")
        return place

    return rule


def _from(default: int) -> Rule:
    """An operator that mixes along all axes from its attribute `axis` on."""

    def rule(w: GraphAxis, op: Op) -> Place:
        place, rank = w.places.get(op.inputs[0]), len(w.shape(op.inputs[0]))
        if place is None or int(op.options.get("axis", default)) % rank <= place.axis:
            raise MixedError("mixes along it")
        return w.first(op)

    return rule


def _skip_norm(w: GraphAxis, op: Op) -> Place:
    rank = len(w.shape(op.inputs[0]))
    place = w.broadcast([name for name in op.inputs[:2] if name], rank)
    if place.axis == rank - 1:
        raise MixedError("mixes along it")
    return place


def _softmax(w: GraphAxis, op: Op) -> Places:
    return (_not_along(-1) if w.graph.opset >= 13 else _from(1))(w, op)


def _reduce(w: GraphAxis, op: Op) -> Place:
    place, rank = w.first(op), len(w.shape(op.inputs[0]))
    axes = (int(op.options.get("axis", 0)),) if op.code.startswith("Arg") else w.integers(op, "axes", 1)
    if not axes and op.options.get("noop_with_empty_axes"):
        return place
    removed = {axis % rank for axis in axes or range(rank)}
    if place.axis in removed:
        raise MixedError("sums over it" if "Sum" in op.code or "Mean" in op.code else "mixes along it")
    lower = 0 if int(op.options.get("keepdims", 1)) else sum(axis < place.axis for axis in removed)
    return Place(place.axis - lower, place.inner)


def _sums_along(w: GraphAxis, op: Op) -> Place:
    place, rank = w.first(op), len(w.shape(op.inputs[0]))
    if any(axis % rank == place.axis for axis in w.integers(op, "axis", 1) or (place.axis,)):
        raise MixedError("mixes along it")
    return place


def _mean_variance(w: GraphAxis, op: Op) -> Place:
    place, rank = w.first(op), len(w.shape(op.inputs[0]))
    if place.axis in {axis % rank for axis in w.integers(op, "axes", 1) or (0, 2, 3)}:
        raise MixedError("mixes along it")
    return place


def _concat(w: GraphAxis, op: Op) -> Place:
    names, rank = [name for name in op.inputs if name], len(w.shape(op.outputs[0]))
    place = w.broadcast(names, rank)
    if int(op.options.get("axis", 1)) % rank == place.axis:
        raise MixedError("joins along it")
    for name in names:
        if name not in w.places and name not in w.graph.constants:
            raise MixedError("reads other values for each index of it")
    return place


def _gather(w: GraphAxis, op: Op) -> Place:
    data, indices = (w.places.get(op.input(place)) for place in (0, 1))
    axis = int(op.options.get("axis", 0)) % len(w.shape(op.inputs[0]))
    return gathered(data, indices, axis, len(w.shape(op.inputs[1])))


def _elements(w: GraphAxis, op: Op) -> Place:
    """GatherElements and ScatterElements: all operands are of one form."""
    places = {w.places.get(name) for name in op.inputs if name}
    place = places.pop()
    axis = int(op.options.get("axis", 0)) % len(w.shape(op.inputs[0]))
    if places or place is None or place.axis == axis:
        raise MixedError("picks from it")
    return place


def _one_hot(w: GraphAxis, op: Op) -> Place:
    place, rank = w.first(op), len(w.shape(op.outputs[0]))
    axis = int(op.options.get("axis", -1)) % rank
    return Place(place.axis + (axis <= place.axis), place.inner)


def _square(w: GraphAxis, op: Op) -> Place:
    """An operator on the last two axes."""
    place = w.first(op)
    if place.axis >= len(w.shape(op.inputs[0])) - 2:
        raise MixedError("mixes along it")
    return place


def _product(w: GraphAxis, op: Op) -> Place:
    """MatMul and Gemm."""
    if op.options.get("transBatchA") or op.options.get("transBatchB"):
        raise MixedError("may mix along it")
    left, right = (w.shape(op.inputs[place]) for place in (0, 1))
    rank = len(w.shape(op.outputs[0]))
    lead = rank - (len(left) > 1) - (len(right) > 1)
    places: dict[int, Place] = {}
    for side, shape, turned in ((0, left, op.options.get("transA")), (1, right, op.options.get("transB"))):
        place = w.places.get(op.inputs[side])
        if place is None:
            continue
        depth = len(shape) - 1 - place.axis  # 0: the last axis
        if turned and len(shape) > 1 and depth < 2:
            depth = 1 - depth
        inside = depth if len(shape) > 1 else side
        if inside == side:
            raise MixedError("sums over it")
        if inside > 1:
            places[side] = Place(lead + 1 - inside, place.inner)
        else:  # rows of the left matrix, columns of the right one
            places[side] = Place(rank - 1 if side or len(right) == 1 else rank - 2, place.inner)
    if len(set(places.values())) != 1:
        raise MixedError("pairs each index of it with every other")
    place = next(iter(places.values()))
    for side, shape in ((0, left), (1, right)):
        if side not in places and place.axis < lead:
            w.alike(op.inputs[side], place.axis - lead + len(shape) - 2, place.inner)
    if op.code == "Gemm" and op.input(2):
        if op.input(2) in w.places:
            return _broadcast_onto(w, op.input(2), place, rank)
        w.alike(op.input(2), place.axis - rank + len(w.shape(op.input(2))), place.inner)
    return place


def _broadcast_onto(w: GraphAxis, name: str, place: Place, rank: int) -> Place:
    own = w.places[name]
    if Place(own.axis + rank - len(w.shape(name)), own.inner) != place:
        raise MixedError("pairs each index of it with every other")
    return place


def _tokens(w: GraphAxis, op: Op) -> Place:
    """A product over the last axis with stored weights."""
    place = w.first(op)
    if place.axis == len(w.shape(op.inputs[0])) - 1:
        raise MixedError("sums over it")
    return place


def _leading(w: GraphAxis, op: Op) -> Place:
    """Every operand with the batch has it first."""
    places = {place for name in op.inputs if (place := w.places.get(name))}
    if len(places) != 1 or (place := next(iter(places))).axis:
        raise MixedError("mixes along it")
    return place


def _attends(past: int) -> Rule:
    """Attention, whose keys and values of the past are two inputs from `past` on."""

    def rule(w: GraphAxis, op: Op) -> Place:
        place = _leading(w, op)
        for at in (0, 1, 2, past, past + 1):
            name = op.input(at)
            if name and name not in w.places and len(w.shape(name)) > 2:
                w.alike(name, 0, place.inner)
        return place

    return rule


def _recurrent(w: GraphAxis, op: Op) -> Places:
    """Steps along the first axis, or along the second with the layout that has the batch first."""
    w.alone(op, (1, 2, 3, 7))
    place, own = w.places.get(op.inputs[0]), 0 if op.options.get("layout") else 1
    if place is None or place.axis != own:
        raise MixedError("steps along it")
    for at in (5, 6):
        state = w.places.get(op.input(at))
        if state is not None and state != place:
            raise MixedError("mixes along it")
    return [Place(own + (not op.options.get("layout")), place.inner), *[place] * 2]


def _einsum(w: GraphAxis, op: Op) -> Place:
    """The axis of the batch stands in every operand that has it, and in the result."""
    try:
        terms, out, _ = axes_of(str(op.options.get("equation", "")), [w.shape(name) for name in op.inputs])
    except InputError:
        raise MixedError("may mix along it") from None
    batch = {(term[place.axis], place.inner) for name, term in zip(op.inputs, terms) if (place := w.places.get(name))}
    ((own, inner),) = batch if len(batch) == 1 else {("", 1)}
    if own not in out or any(term.count(own) > 1 for term in terms):
        raise MixedError("sums over it")
    for name, term in zip(op.inputs, terms):
        if name not in w.places and own in term:
            w.alike(name, term.index(own), inner)
    return Place(out.index(own), inner)


def _each(rule: Rule, codes: Iterable[str]) -> dict[str, Rule]:
    return dict.fromkeys(codes, rule)


_ELEMENTWISE = (
    "Add", "Sum", "Sub", "Mul", "Div", "Max", "Min", "Mean", "Pow", "Mod", "Equal", "Less", "LessOrEqual", "Greater",
    "GreaterOrEqual", "And", "Or", "Xor", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitShift", "Where", "BitwiseNot",
    "IsInf", "IsNaN", "Tan", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Cosh", "Sinh", "Shrink",
)  # fmt: skip
RULES: dict[str, Rule] = {
    **_each(_spread, (*_ELEMENTWISE, *(code for code in UNARY if code != "Clip"), f"{MS}QuickGelu", f"{MS}BiasAdd")),
    **_each(_reshape, ("Reshape", "Flatten", "Squeeze", "Unsqueeze")),
    **_each(_images, (
        "Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool", "GlobalMaxPool", "GlobalAveragePool",
        "GlobalLpPool", "BatchNormalization", "InstanceNormalization", "GroupNormalization", "LRN", "DepthToSpace",
        "SpaceToDepth",
    )),
    **_each(_keeps, (
        "Identity", "Dropout", "Clip", "Cast", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Slice",
        "Split", "Pad", "Resize", "Upsample", "Tile", "CenterCropPad", "BitCast", "Bernoulli", "RandomNormalLike",
        "RandomUniformLike",
    )),
    "CastLike": lambda w, op: w.places[op.inputs[0]],
    "Transpose": _transpose,
    "Expand": lambda w, op: w.broadcast(op.inputs[:1], len(w.shape(op.outputs[0]))),
    **_each(_not_along(-1), ("Hardmax", "LpNormalization", "TopK")),
    **_each(_sums_along, ("CumSum", "CumProd")),
    **_each(_softmax, ("Softmax", "LogSoftmax")),
    **_each(_from(-1), ("LayerNormalization", "RMSNormalization")),
    **_each(_skip_norm, (f"{MS}SkipLayerNormalization", f"{MS}SkipSimplifiedLayerNormalization")),
    "MeanVarianceNormalization": _mean_variance,
    **_each(_reduce, (
        "ReduceMean", "ReduceSum", "ReduceSumSquare", "ReduceL1", "ReduceL2", "ReduceProd", "ReduceMax", "ReduceMin",
        "ReduceLogSum", "ReduceLogSumExp", "ArgMax", "ArgMin",
    )),
    "Concat": _concat,
    "Gather": _gather,
    **_each(_elements, ("GatherElements", "ScatterElements")),
    "OneHot": _one_hot,
    "Trilu": _square,
    **_each(_product, ("MatMul", "Gemm", f"{MS}FusedMatMul")),
    **_each(_tokens, (f"{MS}MatMulNBits", f"{MS}MatMulBnb4")),
    "Attention": _attends(4),
    f"{MS}MultiHeadAttention": _attends(6),
    f"{MS}DecoderMaskedMultiHeadAttention": _attends(5),
    f"{MS}GroupQueryAttention": _attends(3),
    **_each(_leading, (
        f"{MS}Attention", "RotaryEmbedding", f"{MS}RotaryEmbedding", f"{MS}EmbedLayerNormalization",
        f"{MS}GroupNorm", f"{MS}SkipGroupNorm", "DeformConv", "GridSample", "AffineGrid", "Col2Im",
    )),
    **_each(_recurrent, ("LSTM", "GRU", "RNN", f"{MS}DynamicQuantizeLSTM")),
    "Einsum": _einsum,
}  # fmt: skip
