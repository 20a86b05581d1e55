"""What a network stores, and which weights stay in a cache from one inference to the next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hwsim.machines.base import NetworkPlan
from hwsim.message import Message
from hwsim.workload import Layer

__all__ = ["resident_weights", "stored_once"]


def stored_once(sizes: Iterable[tuple[Layer, int]]) -> int:
    """Sum of what layers store; an array that several of them read counts once."""
    return sum({layer.weight.spec.array or ("", layer.name): size for layer, size in sizes}.values())


def resident_weights(plan: NetworkPlan, cache: str, bits: Mapping[str, int] | None = None) -> tuple[Message, ...]:
    """What DRAM bytes leave out in the steady state that a run is of: layers that move less than their weights.

    `bits` are those of the weights of a layer, where the machine runs it in another format than its own.
    """
    layers: list[str] = []
    sizes: list[tuple[Layer, int]] = []
    moved: list[tuple[Layer, int]] = []
    for part in plan:
        weights = part.layer.weights_read(part.batch)
        if not weights or part.layer.weight.format != "dense":
            continue
        own = (bits or {}).get(part.layer.name, part.layer.weight.bits)
        stored = int(weights * part.word_bits.get("weight", own) // 8)
        sizes.append((part.layer, stored))
        moved.append((part.layer, min(stored, part.dram_bytes)))
        if part.dram_bytes < stored:
            layers.append(part.layer.name)
    whole = stored_once(sizes)
    kept = whole - min(whole, stored_once(moved))
    template = "weights stay in {cache} between inferences: {kept:size} of {whole:size} are not read from DRAM again"
    values = {"cache": cache, "kept": kept, "whole": whole}
    return (Message("memory.resident_weights", template, values, layers=tuple(layers)),) if layers else ()
