"""Composed layers, such as attention, as the layers that machines plan."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from hwsim.message import Message
from hwsim.workload.layer import Layer

__all__ = ["lowered", "lowering_notes"]

_LISTED = 3


def lowered(
    layers: Iterable[Layer], inputs: Mapping[str, tuple[str, ...]], whole: Collection[str] = ()
) -> Iterator[tuple[Layer, tuple[str, ...]]]:
    """The layers of a network, each composed one but those `whole` as its sublayers, and what each of them reads."""
    last: dict[str, str] = {}  # composed layer -> the sublayer that gives its output
    for layer in layers:
        reads = tuple(last.get(name, name) for name in inputs[layer.name])
        parts = () if layer.name in whole else layer.sublayers
        for part, items in parts or ((layer, tuple(range(len(reads)))),):
            yield part, tuple(reads[item] if isinstance(item, int) else item for item in items) if reads else ()
            last[layer.name] = part.name


def lowering_notes(layers: Iterable[Layer], batch: int, whole: Collection[str] = ()) -> tuple[Message, ...]:
    """How each composed layer of a network but those `whole` is planned, with what is assumed of it."""
    return tuple(_note(layer, batch) for layer in layers if layer.sublayers and layer.name not in whole)


def _note(layer: Layer, batch: int) -> Message:
    names = [part.name.removeprefix(f"{layer.name}.") for part, _ in layer.sublayers]
    parts = names if len(names) <= _LISTED else [*names[: _LISTED - 1], "...", names[-1]]
    assumption = layer.lowering(batch)
    template = "planned as {number} layers ({parts})" + (": {assumed}" if assumption else "")
    values = {"number": len(names), "parts": parts, "assumed": assumption}
    return Message("workload.composed", template, values, layers=(layer.name,))
