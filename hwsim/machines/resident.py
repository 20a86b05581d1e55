"""Weights that stay in a cache from one inference to the next, and so are not read from DRAM again."""

from __future__ import annotations

from collections.abc import Mapping

from hwsim.machines.base import NetworkPlan
from hwsim.message import Message

__all__ = ["resident_weights"]


def resident_weights(plan: NetworkPlan, cache: str, bits: Mapping[str, int] | None = None) -> tuple[Message, ...]:
    """What DRAM bytes leave out in the steady state that a run is of: layers that move less than their weights.

    `bits` are those of the weights of a layer, where the machine runs it in another format than its own.
    """
    layers, whole, kept = [], 0, 0
    for part in plan:
        weights = part.layer.weights_read(part.batch)
        if not weights or part.layer.weight.format != "dense":
            continue
        own = (bits or {}).get(part.layer.name, part.layer.weight.bits)
        stored = int(weights * part.word_bits.get("weight", own) // 8)
        whole += stored
        if part.dram_bytes < stored:
            layers.append(part.layer.name)
            kept += stored - part.dram_bytes
    template = "weights stay in {cache} between inferences: {kept:size} of {whole:size} are not read from DRAM again"
    values = {"cache": cache, "kept": kept, "whole": whole}
    return (Message("memory.resident_weights", template, values, layers=tuple(layers)),) if layers else ()
