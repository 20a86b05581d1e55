"""The batch axis of a graph, followed from the inputs through every operator.

An axis is a batch if no operator mixes along it: then the file does the same for each index, and its layers are those
of one. Each operator has a rule that says where the axis goes, as `jax.vmap` has. One without a rule, or one that sums,
sorts or steps along the axis, ends the hypothesis.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from hwsim.message import Message
from hwsim.workload.layer import Shape
from hwsim.workload.onnx.canonical import MS, Op
from hwsim.workload.onnx.graph import Graph
from hwsim.workload.onnx.lowering import UNARY

__all__ = ["one_input", "open_axis_fault"]

#: Constants of more values are not searched for differences along the batch.
MAX_VALUES = 2**20


#: Reasons that hold whatever the size of the axis is.
_CERTAIN = ("sums over it", "steps along it", "pairs each index of it with every other")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the batch lies in a tensor: `axis` has a size of ``outer * batch * inner``."""

    axis: int
    inner: int = 1


class _MixedError(Exception):
    """Why an axis is no batch."""


Places: TypeAlias = "Place | list[Place | None]"
#: The place of the batch in all outputs of an operator, or in each.
Rule: TypeAlias = "Callable[[_Walk, Op], Places]"


def one_input(graph: Graph, excluded: Collection[str]) -> tuple[Graph, list[Message]]:
    """The graph of one input, if its inputs have a batch, and notes; else the graph as it is.

    The first axis of the inputs is tried, and any other axis of that size in inputs that begin with another size, as
    the states of recurrent networks do. The first axis of the inputs in `excluded` is none.
    """
    shapes = {name: graph.tensors[name].shape or () for name in graph.inputs if name not in graph.constants}
    sizes = [shape[0] for name, shape in shapes.items() if len(shape) > 1 and name not in excluded]
    notes: list[Message] = []
    for size in dict.fromkeys(size for size in sizes if size > 1):
        places = {name: Place(shape.index(size)) for name, shape in shapes.items() if size in shape}
        if any(name not in places and len(shape) > 1 and shape[0] > 1 for name, shape in shapes.items()):
            continue
        if any(name in excluded and place.axis == 0 for name, place in places.items()):
            continue
        walk = _Walk(graph, size, places)
        if (reason := walk.run()) is None:
            template = "the file has a batch of {batch}: its layers are read for one input"
            return walk.one(), [Message("import.batch", template, {"batch": size}, "warning")]
        template = "the first axis, {size}, is no batch: {reason}; the layers are those of the whole file"
        notes.append(Message("import.no_batch", template, {"size": size, "reason": reason}))
    alone = any(len(shape) > 1 and shape[0] == 1 for shape in shapes.values())  # a batch of one, with states of layers
    return graph, [] if alone else notes[:1]


def open_axis_fault(graph: Graph, inputs: Iterable[str]) -> str | None:
    """Why the first axis of these inputs, which is open and was taken as a batch of 1, is none; None if it may be."""
    walk = _Walk(graph, 1, {name: Place(0) for name in inputs})
    reason = walk.run()
    return reason if reason is not None and reason.endswith(_CERTAIN) else None


class _Walk:
    """The place of the batch in each tensor that has one."""

    def __init__(self, graph: Graph, batch: int, places: Mapping[str, Place]) -> None:
        self.graph, self.batch, self.places = graph, batch, dict(places)

    def run(self) -> str | None:
        """Follow the batch through all operators; returns why it is none, or None."""
        for op in self.graph.ops:
            names = (*op.inputs, *op.captures, *op.outputs)
            results = [name for name in op.outputs if name and name not in self.graph.constants]
            if not results or not any(name in self.places for name in names):
                continue
            try:
                if any(name in self.graph.unknown for name in names) or op.code not in RULES:
                    raise _MixedError("may mix along it")
                self.put(op, RULES[op.code](self, op))
            except _MixedError as reason:
                return f"{op} {reason}"
            except (IndexError, KeyError, TypeError, ValueError):  # the converter names what does not fit
                return f"{op} may mix along it"
        outputs = [name for name in self.graph.outputs if name not in self.graph.constants]
        if any(name in self.graph.unknown for name in outputs):
            return "the shape of an output is unknown"
        if any(name not in self.places and len(self.shape(name)) > 1 for name in outputs):
            return "an output does not have it"
        return None

    def put(self, op: Op, result: Places) -> None:
        for place, name in zip([result] * len(op.outputs) if isinstance(result, Place) else result, op.outputs):
            if place is None or not name or name in self.graph.constants:
                continue
            if self.shape(name)[place.axis] % (self.batch * place.inner):
                raise _MixedError("may mix along it")
            self.places[name] = place

    def one(self) -> Graph:
        """The graph of one of the batch."""
        tensors = dict(self.graph.tensors)
        for name, place in self.places.items():
            shape = list(self.shape(name))
            shape[place.axis] //= self.batch
            tensors[name] = replace(tensors[name], shape=tuple(shape))
        return replace(self.graph, tensors=tensors)

    # What the rules ask for

    def shape(self, name: str) -> Shape:
        return self.graph.tensors[name].shape or ()

    def first(self, op: Op) -> Place:
        """The place in the first input, which alone may have it."""
        self.alone(op, range(1, len(op.inputs)))
        return self.places[op.inputs[0]]

    def alone(self, op: Op, places: Iterable[int]) -> None:
        """Check that none of these inputs has the batch."""
        if any(op.input(place) in self.places for place in places):
            raise _MixedError("reads it as a parameter")

    def alike(self, name: str, axis: int, inner: int) -> None:
        """Check that a tensor without the batch is the same for each index of an axis that has the batch elsewhere."""
        shape = self.shape(name)
        if not 0 <= axis < len(shape) or shape[axis] == 1:
            return
        constant = self.graph.constants.get(name)
        values = constant.values(MAX_VALUES) if constant is not None else None
        if values is None or shape[axis] % (self.batch * inner):
            raise _MixedError("reads other values for each index of it")
        parts = values.reshape(math.prod(shape[:axis]), -1, self.batch, inner, math.prod(shape[axis + 1 :]))
        if not np.array_equal(parts, np.broadcast_to(parts[:, :, :1], parts.shape)):
            raise _MixedError("reads other values for each index of it")

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
            raise _MixedError("may mix along it")
        return tuple(int(value) for value in values.ravel())


def _spread(w: _Walk, op: Op) -> Place:
    """Value by value, broadcast as numpy does."""
    return _broadcast(w, [name for name in op.inputs if name], len(w.shape(op.outputs[0])))


def _broadcast(w: _Walk, names: list[str], rank: int) -> Place:
    """The place that these inputs have in a result of `rank` axes."""
    places = {
        Place(place.axis + rank - len(w.shape(name)), place.inner) for name in names if (place := w.places.get(name))
    }
    if len(places) > 1:
        raise _MixedError("pairs each index of it with every other")
    (place,) = places
    sizes = set()
    for name in names:
        shape = w.shape(name)
        axis = place.axis - (rank - len(shape))
        if name in w.places:
            sizes.add(shape[axis])
        else:
            w.alike(name, axis, place.inner)
    if len(sizes) > 1:
        raise _MixedError("pairs each index of it with every other")
    return place


def _reshape(w: _Walk, op: Op) -> Place:
    """The batch is a run of values at a stride: it may lie in one axis of the result, with others around it."""
    place, source, out = w.first(op), w.shape(op.inputs[0]), w.shape(op.outputs[0])
    stride, step = place.inner * math.prod(source[place.axis + 1 :]), 1
    if math.prod(source) != math.prod(out):
        raise _MixedError("may mix along it")
    if w.batch == 1:  # which of several axes of size 1 it is, values do not say
        if place.axis or not out or out[0] != 1:
            raise _MixedError("may mix along it")
        return place
    for axis in reversed(range(len(out))):
        after = step * out[axis]
        if step <= stride < after:
            if stride % step or after % (stride * w.batch):
                break
            return Place(axis, stride // step)
        step = after
    raise _MixedError("cuts across it")


def _transpose(w: _Walk, op: Op) -> Place:
    place, rank = w.first(op), len(w.shape(op.inputs[0]))
    order = [int(axis) for axis in op.options.get("perm") or reversed(range(rank))]
    return Place(order.index(place.axis), place.inner)


def _images(w: _Walk, op: Op) -> Place:
    """Convolutions, pools and other operators on each image."""
    place = w.first(op)
    if place.axis:
        raise _MixedError("sums over it" if "Conv" in op.code and place.axis == 1 else "takes windows of it")
    return place


def _keeps(w: _Walk, op: Op) -> Place:
    """Slices, pads and the like of other axes: they keep the number of values along the batch."""
    place = w.first(op)
    source, out = w.shape(op.inputs[0]), w.shape(op.outputs[0])
    if len(source) != len(out) or source[place.axis] != out[place.axis]:
        raise _MixedError("takes a part of it")
    return place


def _not_along(default: int) -> Rule:
    """An operator that mixes along its attribute `axis` alone."""

    def rule(w: _Walk, op: Op) -> Place:
        place, rank = w.first(op), len(w.shape(op.inputs[0]))
        if int(op.options.get("axis", default)) % rank == place.axis:
            raise _MixedError("mixes along it")
        return place

    return rule


def _from(default: int) -> Rule:
    """An operator that mixes along all axes from its attribute `axis` on."""

    def rule(w: _Walk, op: Op) -> Place:
        place, rank = w.places.get(op.inputs[0]), len(w.shape(op.inputs[0]))
        if place is None or int(op.options.get("axis", default)) % rank <= place.axis:
            raise _MixedError("mixes along it")
        return w.first(op)

    return rule


def _skip_norm(w: _Walk, op: Op) -> Place:
    rank = len(w.shape(op.inputs[0]))
    place = _broadcast(w, [name for name in op.inputs[:2] if name], rank)
    if place.axis == rank - 1:
        raise _MixedError("mixes along it")
    return place


def _softmax(w: _Walk, op: Op) -> Places:
    return (_not_along(-1) if w.graph.opset >= 13 else _from(1))(w, op)


def _reduce(w: _Walk, op: Op) -> Place:
    place, rank = w.first(op), len(w.shape(op.inputs[0]))
    axes = (int(op.options.get("axis", 0)),) if op.code.startswith("Arg") else w.integers(op, "axes", 1)
    if not axes and op.options.get("noop_with_empty_axes"):
        return place
    removed = {axis % rank for axis in axes or range(rank)}
    if place.axis in removed:
        raise _MixedError("sums over it" if "Sum" in op.code or "Mean" in op.code else "mixes along it")
    lower = 0 if int(op.options.get("keepdims", 1)) else sum(axis < place.axis for axis in removed)
    return Place(place.axis - lower, place.inner)


def _sums_along(w: _Walk, op: Op) -> Place:
    place, rank = w.first(op), len(w.shape(op.inputs[0]))
    if any(axis % rank == place.axis for axis in w.integers(op, "axis", 1) or (place.axis,)):
        raise _MixedError("mixes along it")
    return place


def _mean_variance(w: _Walk, op: Op) -> Place:
    place, rank = w.first(op), len(w.shape(op.inputs[0]))
    if place.axis in {axis % rank for axis in w.integers(op, "axes", 1) or (0, 2, 3)}:
        raise _MixedError("mixes along it")
    return place


def _concat(w: _Walk, op: Op) -> Place:
    names, rank = [name for name in op.inputs if name], len(w.shape(op.outputs[0]))
    place = _broadcast(w, names, rank)
    if int(op.options.get("axis", 1)) % rank == place.axis:
        raise _MixedError("joins along it")
    for name in names:
        if name not in w.places and name not in w.graph.constants:
            raise _MixedError("reads other values for each index of it")
    return place


def _gather(w: _Walk, op: Op) -> Place:
    data, indices = (w.places.get(op.input(place)) for place in (0, 1))
    axis = int(op.options.get("axis", 0)) % len(w.shape(op.inputs[0]))
    if data is not None and (indices is not None or data.axis == axis):
        raise _MixedError("picks from it")
    if data is not None:
        return Place(data.axis + (len(w.shape(op.inputs[1])) - 1 if data.axis > axis else 0), data.inner)
    assert indices is not None
    return Place(axis + indices.axis, indices.inner)


def _elements(w: _Walk, op: Op) -> Place:
    """GatherElements and ScatterElements: all operands are of one form."""
    places = {w.places.get(name) for name in op.inputs if name}
    place = places.pop()
    axis = int(op.options.get("axis", 0)) % len(w.shape(op.inputs[0]))
    if places or place is None or place.axis == axis:
        raise _MixedError("picks from it")
    return place


def _one_hot(w: _Walk, op: Op) -> Place:
    place, rank = w.first(op), len(w.shape(op.outputs[0]))
    axis = int(op.options.get("axis", -1)) % rank
    return Place(place.axis + (axis <= place.axis), place.inner)


def _square(w: _Walk, op: Op) -> Place:
    """An operator on the last two axes."""
    place = w.first(op)
    if place.axis >= len(w.shape(op.inputs[0])) - 2:
        raise _MixedError("mixes along it")
    return place


def _product(w: _Walk, op: Op) -> Place:
    """MatMul and Gemm."""
    if op.options.get("transBatchA") or op.options.get("transBatchB"):
        raise _MixedError("may mix along it")
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
            raise _MixedError("sums over it")
        if inside > 1:
            places[side] = Place(lead + 1 - inside, place.inner)
        else:  # rows of the left matrix, columns of the right one
            places[side] = Place(rank - 1 if side or len(right) == 1 else rank - 2, place.inner)
    if len(set(places.values())) != 1:
        raise _MixedError("pairs each index of it with every other")
    place = next(iter(places.values()))
    for side, shape in ((0, left), (1, right)):
        if side not in places and place.axis < lead:
            w.alike(op.inputs[side], place.axis - lead + len(shape) - 2, place.inner)
    if op.code == "Gemm" and op.input(2):
        if op.input(2) in w.places:
            return _broadcast_onto(w, op.input(2), place, rank)
        w.alike(op.input(2), place.axis - rank + len(w.shape(op.input(2))), place.inner)
    return place


def _broadcast_onto(w: _Walk, name: str, place: Place, rank: int) -> Place:
    own = w.places[name]
    if Place(own.axis + rank - len(w.shape(name)), own.inner) != place:
        raise _MixedError("pairs each index of it with every other")
    return place


def _tokens(w: _Walk, op: Op) -> Place:
    """A product over the last axis with stored weights."""
    place = w.first(op)
    if place.axis == len(w.shape(op.inputs[0])) - 1:
        raise _MixedError("sums over it")
    return place


def _leading(w: _Walk, op: Op) -> Place:
    """Every operand with the batch has it first."""
    places = {place for name in op.inputs if (place := w.places.get(name))}
    if len(places) != 1 or (place := next(iter(places))).axis:
        raise _MixedError("mixes along it")
    return place


def _recurrent(w: _Walk, op: Op) -> Places:
    """Steps along the first axis, or along the second with the layout that has the batch first."""
    w.alone(op, (1, 2, 3, 7))
    place, own = w.places.get(op.inputs[0]), 0 if op.options.get("layout") else 1
    if place is None or place.axis != own:
        raise _MixedError("steps along it")
    for at in (5, 6):
        state = w.places.get(op.input(at))
        if state is not None and state != place:
            raise _MixedError("mixes along it")
    return [Place(own + (not op.options.get("layout")), place.inner), *[place] * 2]


def _einsum(w: _Walk, op: Op) -> Place:
    """The letter of the batch stands in every operand that has it, and in the result."""
    equation = str(op.options.get("equation", "")).replace(" ", "")
    terms, arrow, out = equation.partition("->")
    letters = terms.split(",")
    if "." in equation or not arrow or len(letters) != len(op.inputs):
        raise _MixedError("may mix along it")
    batch = {
        (letter[place.axis], place.inner) for name, letter in zip(op.inputs, letters) if (place := w.places.get(name))
    }
    ((own, inner),) = batch if len(batch) == 1 else {("", 1)}
    if not own or own not in out or any(letter.count(own) > 1 for letter in letters):
        raise _MixedError("sums over it")
    for name, letter in zip(op.inputs, letters):
        if name not in w.places and own in letter:
            w.alike(name, letter.index(own), inner)
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
    "Expand": lambda w, op: _broadcast(w, op.inputs[:1], len(w.shape(op.outputs[0]))),
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
    **_each(_leading, (
        "Attention", f"{MS}MultiHeadAttention", f"{MS}Attention", f"{MS}GroupQueryAttention", "RotaryEmbedding",
        f"{MS}RotaryEmbedding", f"{MS}DecoderMaskedMultiHeadAttention", f"{MS}EmbedLayerNormalization",
        f"{MS}GroupNorm", f"{MS}SkipGroupNorm", "DeformConv", "GridSample", "AffineGrid", "Col2Im",
    )),
    **_each(_recurrent, ("LSTM", "GRU", "RNN", f"{MS}DynamicQuantizeLSTM")),
    "Einsum": _einsum,
}  # fmt: skip
