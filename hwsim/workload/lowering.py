"""Composed layers, such as attention, as the layers that machines plan."""

from __future__ import annotations

from hwsim.message import Message
from hwsim.workload.layer import Layer
from hwsim.workload.network import Node, Workload

__all__ = ["lowered", "lowering_notes"]

_SHOWN = 3


def lowered(workload: Workload) -> Workload:
    """A network with each composed layer replaced by its sublayers; the network itself where there is none."""
    if not any(layer.sublayers for layer in workload):
        return workload
    nodes: list[Node] = []
    last: dict[str, str] = {}  # composed layer -> the sublayer that gives its output
    for layer in workload:
        inputs = tuple(last.get(name, name) for name in workload.inputs[layer.name])
        for part, reads in layer.sublayers or ((layer, tuple(range(len(inputs)))),):
            sources = tuple(inputs[item] if isinstance(item, int) else item for item in reads) if inputs else ()
            nodes.append(Node(part, sources))
            last[layer.name] = part.name
    return Workload(
        workload.name,
        nodes,
        graph=workload.graph,
        source=workload.source,
        input_shape=workload.input_shape,
        digest=workload.digest,
        origin=workload,
    )


def lowering_notes(workload: Workload, batch: int) -> tuple[Message, ...]:
    """How each composed layer of a network is planned, with what is assumed of it."""
    return tuple(_note(layer, batch) for layer in workload if layer.sublayers)


def _note(layer: Layer, batch: int) -> Message:
    names = [part.name.removeprefix(f"{layer.name}.") for part, _ in layer.sublayers]
    shown = names if len(names) <= _SHOWN else [*names[: _SHOWN - 1], "...", names[-1]]
    assumed = layer.lowering(batch)
    template = "planned as {number} layers ({parts})" + (": {assumed}" if assumed else "")
    values = {"number": len(names), "parts": shown, "assumed": assumed}
    return Message("workload.composed", template, values, layers=(layer.name,))
