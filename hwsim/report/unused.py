"""Inputs that a run did not use, as messages: one per reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from hwsim.machines.base import NetworkPlan
from hwsim.machines.properties import TENSORS, Unused
from hwsim.message import Message
from hwsim.workload import Layer

__all__ = ["unused_messages"]

_TEMPLATES = {
    "unused": "no effect of {property}",
    "format": "{property} in another number format",
    "free": "no time and no energy",
    "price": "priced as something else: {property}",
}


def unused_messages(items: Iterable[Unused], plan: NetworkPlan | None = None) -> tuple[Message, ...]:
    """A message for the layers and properties that share a reason; with the share of the plan that takes nothing."""
    # Numbers, as of densities and channels, differ from layer to layer; formats are kept apart.
    groups: dict[tuple[str, str, str], list[Unused]] = {}
    for item in items:
        groups.setdefault((item.what, str(item.reason), "" if _number(item) else item.value), []).append(item)
    facts: dict[tuple[str, str, str, tuple[str, ...]], list[Unused]] = {}
    for (what, reason, value), members in groups.items():
        properties: dict[str, list[Unused]] = {}
        for item in members:
            properties.setdefault("" if _number(item) else item.property, []).append(item)
        for several in properties.values():
            layers = tuple(dict.fromkeys(item.layer for item in several))
            facts.setdefault((what, reason, value, layers), []).extend(several)
    return tuple(_left_out(_message(several), several[0].what, plan) for several in facts.values())


def _left_out(message: Message, what: str, plan: NetworkPlan | None) -> Message:
    """The message, with what part of the network its layers are where they take nothing."""
    if plan is None or what != "free":
        return message
    free = [plan.workload[name] for name in message.layers]
    every = [plan.workload[name] for name in plan.names]
    part, whole = _work(free, plan.batch), _work(every, plan.batch)
    shares = {name: part[name] / whole[name] if whole[name] else 0.0 for name in whole}
    template = "; {layers} of {of} layers, {macs:.0%} of MACs, {values:.0%} of values, {bytes:.0%} of bytes"
    values = {**message.values, **shares, "layers": len(free), "of": len(every)}
    return replace(message, template=message.template + template, values=values)


def _work(layers: Iterable[Layer], batch: int) -> Counter[str]:
    """MACs, and values with their bytes that layers read and write: inputs, weights and outputs."""
    work = Counter(macs=0, values=0, bytes=0)
    for layer in layers:
        sizes = (layer.inputs * batch, layer.weights_read(batch), layer.outputs * batch)
        bits = (layer.input.bits, layer.weight.bits, layer.output.bits)
        moved = sum(-(-size * width // 8) for size, width in zip(sizes, bits, strict=True))
        work.update(macs=layer.macs * batch, values=sum(sizes), bytes=moved)
    return work


def _number(item: Unused) -> bool:
    return item.property.endswith("density") or item.property.startswith("dead")


def _message(items: Sequence[Unused]) -> Message:
    first = items[0]
    names = list(dict.fromkeys(item.property for item in items))
    names = ["dtype"] if set(names) == {f"{tensor}.dtype" for tensor in TENSORS} else names
    values = sorted({item.value for item in items if item.value}, key=float if _number(first) else str)
    text = f"{values[0]} to {values[-1]}" if len(values) > 2 else _and(values)
    layers = tuple(dict.fromkeys(item.layer for item in items if item.layer))
    facts = {"property": f"{_and(names)} {text}".strip(), "reason": first.reason, "values": values}
    return Message(f"property.{first.what}", _TEMPLATES[first.what] + " ({reason})", facts, layers=layers)


def _and(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else list(words))
