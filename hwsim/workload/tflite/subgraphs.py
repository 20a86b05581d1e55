"""Subgraphs of a TFLite file in the place of the operators that run them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from hwsim.message import Message
from hwsim.workload.tflite.file import MAX_OPERATORS, MAX_TENSORS
from hwsim.workload.tflite.graph import Graph, Operator, Tensor, TfliteFile

__all__ = ["BRANCHES", "CALLS", "Idle", "Inlined", "inlined"]

MAX_DEPTH = 8
#: Operators of which one of several subgraphs is counted.
BRANCHES = ("IF", "WHILE")
#: Operators that run one subgraph.
CALLS = ("CALL", "STABLEHLO_COMPOSITE")
#: Operators whose weights say what a branch costs.
_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED", "BATCH_MATMUL")


@dataclass(frozen=True, slots=True)
class Idle:
    """Subgraphs that an IF does not run, before the operator at `place`; `inputs` are the tensors that it reads."""

    name: str
    place: int
    inputs: tuple[int, ...]
    graphs: tuple[Graph, ...]

    def weights(self) -> Iterable[Tensor]:
        """The stored matrices that they read."""
        for graph in self.graphs:
            for index in (index for op in graph.operators for index in op.inputs if index >= 0):
                tensor = graph.tensors[index]
                if tensor.data is not None and len(tensor.shape) > 1:
                    yield tensor


@dataclass(frozen=True, slots=True)
class Inlined:
    """The file with subgraphs in line; notes; the subgraphs that are in no row; the branches that do not run."""

    file: TfliteFile
    notes: list[Message] = field(default_factory=list)
    lost: list[Graph] = field(default_factory=list)
    idle: list[Idle] = field(default_factory=list)


def inlined(file: TfliteFile) -> Inlined:
    """Put subgraphs in the place of what runs them.

    Of an IF it is the branch that a constant condition chooses, else the costlier one; of a WHILE one trip, with its
    condition. What CALL_ONCE runs, and what other signatures run, is no part of an inference.
    """
    if not file.others:
        return Inlined(file)
    inliner = _Inliner(file)
    inliner.graph(file.operators, list(range(len(file.tensors))), 0)
    tensors = tuple(replace(tensor, index=index) for index, tensor in enumerate(inliner.tensors))
    inside = _reached(file, (place for op in file.operators for place in _places(op)))
    signatures = sorted(index for index in file.signatures if index and index not in inside)
    if signatures:
        template = "the file has {networks} networks; the first, {first}, is read, and not {others}"
        others = [repr(file.signatures[index]) for index in signatures]
        first = repr(file.signatures.get(0, ""))
        values = {"networks": len(others) + 1, "first": first, "others": others}
        inliner.notes.append(Message("import.signatures", template, values, "warning"))
    known = inliner.counted | _reached(file, (*inliner.aside, *signatures))
    lost = {*range(1, len(file.others) + 1)} - known | _reached(file, inliner.left)
    if lost:
        template = "{subgraphs} of its subgraphs are not counted"
        inliner.notes.append(Message("import.subgraphs", template, {"subgraphs": len(lost)}, "warning"))
    graphs = [file.others[index - 1] for index in sorted(lost)]
    idle = [
        Idle(
            name,
            place,
            inputs,
            tuple(file.others[index - 1] for index in sorted(_reached(file, others) - inliner.counted)),
        )
        for name, place, inputs, others in inliner.idle
    ]
    file = replace(file, tensors=tensors, operators=tuple(inliner.operators))
    return Inlined(file, inliner.notes, graphs, idle)


def _places(op: Operator) -> list[int]:
    """Indices of the subgraphs that an operator runs."""
    if op.custom or op.code not in (*BRANCHES, *CALLS, "CALL_ONCE"):
        return []
    return [int(index) for index in op.options.values()]


def _reached(file: TfliteFile, start: Iterable[int]) -> set[int]:
    """The subgraphs that run if these do."""
    reached: set[int] = set()
    after = [*start]
    while after:
        index = after.pop()
        if 0 < index <= len(file.others) and index not in reached:
            reached.add(index)
            after.extend(place for op in file.others[index - 1].operators for place in _places(op))
    return reached


class _Inliner:
    def __init__(self, file: TfliteFile) -> None:
        self.others = file.others
        self.tensors: list[Tensor] = list(file.tensors)
        self.operators: list[Operator] = []
        self.notes: list[Message] = []
        self.count = len(file.operators)
        #: Subgraphs in the place of an operator, and those that are initializers and other branches.
        self.counted: set[int] = set()
        self.aside: set[int] = set()
        #: Those that can't be in the place of their operator.
        self.left: set[int] = set()
        #: Of each IF its name, the operators before it, what it reads, and the branches that do not run.
        self.idle: list[tuple[str, int, tuple[int, ...], set[int]]] = []

    def graph(self, operators: Sequence[Operator], places: list[int], depth: int) -> None:
        """Add operators whose tensors have these places."""
        for op in operators:
            inputs = tuple(places[index] if index >= 0 else -1 for index in op.inputs)
            outputs = tuple(places[index] for index in op.outputs)
            condition = self.truth(inputs[0]) if op.code == "IF" and inputs else None
            at = self.subgraph(op, depth, condition)
            if at and self.fits(self.others[at - 1], op, len(outputs)):
                self.tell(op, at, condition, inputs)
                branch = self.others[at - 1]
                if op.code == "WHILE":
                    self.condition(op, inputs, depth)
                inner = self.place(branch, inputs[1:] if op.code == "IF" else inputs, outputs)
                self.graph(branch.operators, inner, depth + 1)
                continue
            if op.code != "CALL_ONCE":
                self.left.update(_places(op))
            index = op.index if not depth else self.count
            self.count += bool(depth)
            self.operators.append(replace(op, index=index, inputs=inputs, outputs=outputs))

    def truth(self, index: int) -> bool | None:
        """The value of a condition, if it is a constant of the file."""
        tensor = self.tensors[index] if index >= 0 else None
        if tensor is None or tensor.data is None or tensor.variable or tensor.sparse or tensor.data.size != 1:
            return None
        return bool(tensor.data[0])

    def condition(self, op: Operator, inputs: tuple[int, ...], depth: int) -> None:
        """Add the operators of a loop's condition, which runs before each trip."""
        at = _places(op)[0]
        condition = self.others[at - 1]
        if self.fits(condition, op, 1):
            self.counted.add(at)
            self.graph(condition.operators, self.place(condition, inputs, ()), depth + 1)
        else:
            self.left.add(at)

    def subgraph(self, op: Operator, depth: int, condition: bool | None) -> int:
        """The index of the subgraph that stands for an operator; 0 if there is none, or it is too deep."""
        places = _places(op)
        if not places or depth > MAX_DEPTH or not all(0 < index <= len(self.others) for index in places):
            return 0
        if op.code == "CALL_ONCE":
            self.aside.update(places)
            return 0
        if op.code == "WHILE":
            return places[1]
        if condition is not None:
            return places[not condition]
        return max(places, key=lambda index: _cost(self.others[index - 1]))

    def tell(self, op: Operator, at: int, condition: bool | None, inputs: tuple[int, ...]) -> None:
        """Note which subgraph is counted, and why."""
        self.counted.add(at)
        if op.code == "WHILE":
            template = "one trip of {operator} is counted: how many there are depends on values"
            self.notes.append(Message("import.loop", template, {"operator": str(op)}, "warning"))
        elif op.code == "IF":
            others = {*_places(op)} - {at}
            self.aside.update(others)
            self.idle.append((f"if_{op.index}_other", len(self.operators), inputs, others))
            if condition is not None:
                return
            template = "of {operator}, the branch with more multiply-accumulates is counted"
            self.notes.append(Message("import.branch", template, {"operator": str(op)}, "warning"))

    def fits(self, graph: Graph, op: Operator, outputs: int) -> bool:
        """Whether a subgraph has the operands of its operator and so many outputs, and there is room for it."""
        operands = len(op.inputs) - (op.code == "IF")
        same = len(graph.inputs) == operands == len({*graph.inputs}) and len(graph.outputs) == outputs
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
