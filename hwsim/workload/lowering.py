"""Composed layers, such as attention, as the layers that machines plan."""

from __future__ import annotations

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


def lowering_notes(workload: Workload, batch: int) -> tuple[str, ...]:
    """A sentence for the composed layers of a network that are alike, with what is assumed of them."""
    alike: dict[tuple[object, ...], list[Layer]] = {}
    for layer in workload:
        if layer.sublayers:
            alike.setdefault(layer.likeness, []).append(layer)
    return tuple(_note(layers, batch) for layers in alike.values())


def _note(layers: list[Layer], batch: int) -> str:
    first = layers[0]
    names = [part.name for part, _ in first.sublayers]
    shown = ", ".join(names if len(names) <= _SHOWN else (*names[: _SHOWN - 1], "...", names[-1]))
    more = f" and {len(layers) - 1:,} like it are" if len(layers) > 1 else " is"
    why = first.lowering(batch)
    return f"{first.name}{more} planned as {len(names)} layers ({shown}){': ' if why else ''}{why}"
