"""The nodes of an ONNX graph: function inlining, single assignment and topological order."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from typing import Any

from hwsim.errors import InputError, nearest
from hwsim.workload.onnx.constants import Constant
from hwsim.workload.onnx.records import MAX_OPERATORS, Operator, ValueInfo, text

__all__ = ["free", "inline_functions", "sort_operators", "subgraphs_of", "unique"]


def subgraphs_of(item: Any) -> list[Any]:
    """The subgraphs of an attribute."""
    return ([item.g] if item.HasField("g") else []) + list(item.graphs)


def free(graph: Any) -> list[str]:
    """The outer-scope tensors that a subgraph reads."""
    own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    own |= {name for node in graph.node for name in node.output}
    read = [name for node in graph.node for name in node.input]
    for node in graph.node:
        for item in node.attribute:
            for inner in subgraphs_of(item):
                read += free(inner)
    read += [value.name for value in graph.output]
    return [name for name in dict.fromkeys(read) if name and name not in own]


def unique(inputs: Iterable[ValueInfo], operators: Iterable[Operator], constants: Mapping[str, Constant]) -> None:
    """Check that every tensor has one source."""
    names = set()
    for value in inputs:
        if value.name in names:
            raise InputError("must be given once", path=f"input {text(value.name)!r}")
        names.add(value.name)
    for op in operators:
        for name in op.outputs:
            if name and (name in names or name in constants):
                raise InputError(f"must write a tensor that nothing else gives, not {text(name)!r}", path=str(op))
            names.add(name)


def sort_operators(operators: list[Operator], sources: set[str], outputs: list[str]) -> list[Operator]:
    """Operators in topological order, otherwise as in the file."""
    writer = {name: place for place, op in enumerate(operators) for name in op.outputs if name}
    names = [*sources, *writer]
    for op in operators:
        for name in (*op.inputs, *op.captures):
            if name and name not in sources and name not in writer:
                message = (
                    f"must read a tensor of the graph; nothing gives {text(name)!r}, and no initializer is called so"
                )
                raise InputError(message + _near(name, names), path=str(op))
    for name in outputs:
        if name not in sources and name not in writer:
            raise InputError(f"outputs must be written by an operator; {text(name)!r} is not", path="the graph")
    waits: list[int] = []
    readers: dict[int, list[int]] = {}
    for place, op in enumerate(operators):
        needs = {writer[name] for name in (*op.inputs, *op.captures) if name in writer}
        waits.append(len(needs))
        for need in needs:
            readers.setdefault(need, []).append(place)
    ready = [place for place, count in enumerate(waits) if not count]
    order = []
    while ready:
        place = heapq.heappop(ready)
        order.append(operators[place])
        for reader in readers.get(place, ()):
            waits[reader] -= 1
            if not waits[reader]:
                heapq.heappush(ready, reader)
    if len(order) < len(operators):
        cycle = ", ".join(str(op) for place, op in enumerate(operators) if waits[place])
        raise InputError(f"must have no cycle; these wait for each other: {cycle:.300}")
    return order


def _near(name: str, names: list[str]) -> str:
    return nearest(name, names) if len(names) <= 1000 else ""


def inline_functions(model: Any) -> Any:
    """The model with its local functions inlined."""
    from onnx import inliner

    bodies = {(item.domain, item.name): item for item in model.functions}
    sizes: dict[tuple[str, str], int] = {}

    def size(nodes: Any, above: frozenset[tuple[str, str]]) -> int:
        total = 0
        for node in nodes:
            key = (node.domain, node.op_type)
            if key in above or len(above) > 64:
                raise InputError(
                    f"functions must not call themselves; {text(node.op_type)!r} does, or is nested too deep"
                )
            if key in bodies and key not in sizes:
                sizes[key] = size(bodies[key].node, above | {key})
            total += sizes.get(key, 1)
            for item in node.attribute:
                for graph in subgraphs_of(item):
                    total += size(graph.node, above)
        if total > MAX_OPERATORS:
            raise InputError(f"must have at most {MAX_OPERATORS} operators, and its functions stand for more")
        return total

    size(model.graph.node, frozenset())
    try:
        return inliner.inline_local_functions(model)
    except Exception as error:  # what the C++ library raises has no common type
        raise InputError(f"functions of the model must fit where they are called: {error!s:.200}") from None
