"""Composed layers, such as attention, as the layers that machines plan."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from hwsim.workload.layer import Layer

__all__ = ["lowered", "lowering_notes"]

_SHOWN = 3


def lowered(layers: Iterable[Layer], inputs: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[Layer, tuple[str, ...]]]:
    """The layers of a network, each composed one as its sublayers, and what each of them reads."""
    last: dict[str, str] = {}  # composed layer -> the sublayer that gives its output
    for layer in layers:
        reads = tuple(last.get(name, name) for name in inputs[layer.name])
        for part, items in layer.sublayers or ((layer, tuple(range(len(reads)))),):
            yield part, tuple(reads[item] if isinstance(item, int) else item for item in items) if reads else ()
            last[layer.name] = part.name


def lowering_notes(layers: Iterable[Layer], batch: int) -> tuple[str, ...]:
    """A sentence for the composed layers of a network that are alike, with what is assumed of them."""
    alike: dict[tuple[object, ...], list[Layer]] = {}
    for layer in layers:
        if layer.sublayers:
            alike.setdefault(layer.likeness, []).append(layer)
    return tuple(_note(like, batch) for like in alike.values())


def _note(layers: list[Layer], batch: int) -> str:
    first = layers[0]
    names = [part.name for part, _ in first.sublayers]
    shown = ", ".join(names if len(names) <= _SHOWN else (*names[: _SHOWN - 1], "...", names[-1]))
    more = f" and {len(layers) - 1:,} like it are" if len(layers) > 1 else " is"
    why = first.lowering(batch)
    return f"{first.name}{more} planned as {len(names)} layers ({shown}){': ' if why else ''}{why}"
