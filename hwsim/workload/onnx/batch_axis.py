"""The batch axis of a graph, followed from the inputs through every operator.

An operator without a rule, or one that sums, sorts or steps along the axis, ends the hypothesis.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from hwsim.message import Message
from hwsim.workload.batch_axis import MixedError, Place, batch_note, mixed_note
from hwsim.workload.onnx.batch_rules import RULES, GraphAxis
from hwsim.workload.onnx.graph import Graph

__all__ = ["one_input", "open_axis_fault"]

#: Reasons that hold whatever the size of the axis is.
_CERTAIN = ("sums over it", "steps along it", "pairs each index of it with every other")


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
        axis = GraphAxis(graph, size, places)
        if (reason := _follow(axis)) is None:
            return axis.one(), [batch_note(size)]
        notes.append(mixed_note(size, reason))
    alone = any(len(shape) > 1 and shape[0] == 1 for shape in shapes.values())  # a batch of one, with states of layers
    return graph, [] if alone else notes[:1]


def open_axis_fault(graph: Graph, inputs: Iterable[str]) -> str | None:
    """Why the first axis of these inputs, which is open and was taken as a batch of 1, is none; None if it may be."""
    axis = GraphAxis(graph, 1, {name: Place(0) for name in inputs})
    reason = _follow(axis)
    return reason if reason is not None and reason.endswith(_CERTAIN) else None


def _follow(axis: GraphAxis) -> str | None:
    """Follow the batch through all operators; returns why it is none, or None."""
    graph = axis.graph
    for op in graph.ops:
        names = (*op.inputs, *op.captures, *op.outputs)
        results = [name for name in op.outputs if name and name not in graph.constants]
        if not results or not any(name in axis.places for name in names):
            continue
        try:
            if any(name in graph.unknown for name in names) or op.code not in RULES:
                raise MixedError("may mix along it")
            axis.put_all(op, RULES[op.code](axis, op))
        except MixedError as reason:
            return f"{op} {reason}"
        except (IndexError, KeyError, TypeError, ValueError):  # the converter names what does not fit
            return f"{op} may mix along it"
    outputs = [name for name in graph.outputs if name not in graph.constants]
    if any(name in graph.unknown for name in outputs):
        return "the shape of an output is unknown"
    if any(name not in axis.places and len(axis.shape(name)) > 1 for name in outputs):
        return "an output does not have it"
    return None
