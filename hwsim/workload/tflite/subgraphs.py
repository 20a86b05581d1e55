"""Subgraphs of a TFLite file in the place of the operators that run them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from hwsim.message import Message
from hwsim.workload.tflite.file import MAX_OPERATORS, MAX_TENSORS
from hwsim.workload.tflite.graph import Graph, Operator, Tensor, TfliteFile

__all__ = ["CONTROL", "inlined"]

MAX_DEPTH = 8
#: Operators in whose place a subgraph is counted.
CONTROL = ("IF", "WHILE")
#: Operators whose weights say what a branch costs.
_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED", "BATCH_MATMUL")


def inlined(file: TfliteFile) -> tuple[TfliteFile, list[Message]]:
    """The file with the costlier branch of each IF, and one trip of each WHILE, in its place; and notes."""
    if not file.others:
        return file, []
    inliner = _Inliner(file)
    inliner.graph(file.operators, list(range(len(file.tensors))), 0)
    tensors = tuple(replace(tensor, index=index) for index, tensor in enumerate(inliner.tensors))
    missing = len(file.others) - len(inliner.read)
    if missing:
        template = "{subgraphs} of its subgraphs are not counted"
        inliner.notes.append(Message("import.subgraphs", template, {"subgraphs": missing}, "warning"))
    return replace(file, tensors=tensors, operators=tuple(inliner.operators)), inliner.notes


class _Inliner:
    def __init__(self, file: TfliteFile) -> None:
        self.others = file.others
        self.tensors: list[Tensor] = list(file.tensors)
        self.operators: list[Operator] = []
        self.notes: list[Message] = []
        self.count = len(file.operators)
        #: Subgraphs that are counted, or that are conditions and initializers.
        self.read: set[int] = set()

    def graph(self, operators: Sequence[Operator], places: list[int], depth: int) -> None:
        """Add operators whose tensors have these places."""
        for op in operators:
            inputs = tuple(places[index] if index >= 0 else -1 for index in op.inputs)
            outputs = tuple(places[index] for index in op.outputs)
            branch = self.branch(op, depth)
            if branch is not None and self.fits(branch, op):
                inner = self.place(branch, inputs[1:] if op.code == "IF" else inputs, outputs)
                self.graph(branch.operators, inner, depth + 1)
                continue
            index = op.index if not depth else self.count
            self.count += bool(depth)
            self.operators.append(replace(op, index=index, inputs=inputs, outputs=outputs))

    def branch(self, op: Operator, depth: int) -> Graph | None:
        """The subgraph that stands for an operator; None if there is none, or too many."""
        if op.custom or op.code not in (*CONTROL, "CALL_ONCE") or depth > MAX_DEPTH:
            return None
        places = [int(index) for index in op.options.values()]
        if not places or not all(0 < index <= len(self.others) for index in places):
            return None
        self.read.update(places)
        if op.code == "CALL_ONCE":
            return None
        graphs = [self.others[index - 1] for index in places]
        if op.code == "WHILE":
            template = "one trip of {operator} is counted: how many there are depends on values"
            self.notes.append(Message("import.loop", template, {"operator": str(op)}, "warning"))
            return graphs[1]
        template = "of {operator}, the branch with more multiply-accumulates is counted"
        self.notes.append(Message("import.branch", template, {"operator": str(op)}, "warning"))
        return max(graphs, key=_cost)

    def fits(self, graph: Graph, op: Operator) -> bool:
        """Whether a subgraph has the operands of its operator, and there is room for it."""
        operands = len(op.inputs) - (op.code == "IF")
        same = len(graph.inputs) == operands == len({*graph.inputs}) and len(graph.outputs) == len(op.outputs)
        size = len(self.tensors) + len(graph.tensors), self.count + len(graph.operators)
        return same and min(op.inputs, default=0) >= 0 and size[0] <= MAX_TENSORS and size[1] <= MAX_OPERATORS

    def place(self, graph: Graph, inputs: Sequence[int], outputs: Sequence[int]) -> list[int]:
        """Places of a subgraph's tensors: its inputs and outputs are the operator's, others are new."""
        written = {index for op in graph.operators for index in op.outputs}
        known = dict(zip(graph.inputs, inputs))
        known |= {own: place for own, place in zip(graph.outputs, outputs) if own in written and own not in known}
        places = []
        for tensor in graph.tensors:
            if tensor.index not in known:
                self.tensors.append(tensor)
            places.append(known.get(tensor.index, len(self.tensors) - 1))
        return places


def _cost(graph: Graph) -> int:
    """Multiply-accumulates of a subgraph, about: outputs by the weights of each."""
    total = 0
    for op in graph.operators:
        if op.code in _WEIGHTED and len(op.inputs) > 1 and op.inputs[1] >= 0 and op.outputs:
            shape, out = graph.tensors[op.inputs[1]].shape, graph.tensors[op.outputs[0]]
            channels = shape[-1 if op.code in ("DEPTHWISE_CONV_2D", "BATCH_MATMUL") else 0] if shape else 1
            total += out.elements * math.prod(shape) // max(channels, 1)
    return total
