"""An architecture with its mapping and its prices as a machine file of ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hwsim.errors import InputError
from hwsim.timeloop.architecture import Architecture
from hwsim.timeloop.nest import Level, memory_name
from hwsim.timeloop.source import Source
from hwsim.workload.number_format import DTYPES

__all__ = ["machine_data", "word_dtype"]

_NO_LIMIT = 10**6
"""Words a cycle of a memory without a bandwidth, which Timeloop never waits for."""


def word_dtype(source: Source, built: Architecture) -> str:
    """The number format of words of the outermost memory."""
    bits = built.storages[0].word_bits
    name = f"int{bits}"
    if name not in DTYPES:
        raise source.fault(built.storages[0].path, f"words must have 4, 8, 16, 32 or 64 bits, not {bits}")
    return name


def machine_data(
    source: Source,
    built: Architecture,
    levels: list[Level],
    prices: Mapping[str, Mapping[str, float]] | None,
    mappings: Mapping[str, list[str]],
    name: str,
) -> dict[str, Any]:
    """The keys of the machine.

    Every word is as wide as one of the outermost memory, as Timeloop counts words. Prices are of a word of an action:
    reads, fills (Timeloop's writes) and updates. What Timeloop does not price (drains, the network) costs nothing.
    """
    kept = [level for level in levels if level.keeps]
    outermost = kept[0].storage if kept else None
    if outermost is None or set(kept[0].keeps) != {"ifmap", "weight", "ofmap"}:
        raise source.fault(("architecture",), "the outermost memory must keep all data spaces")
    for level in kept:
        if level.storage.instances not in (1, built.macs):
            raise source.fault(
                level.storage.path,
                f"nested fan-outs are not modeled: {level.storage.name} has {level.storage.instances} instances for "
                f"{built.macs} of {built.mac}; a memory must be one, or one for each",
            )
    dtype = word_dtype(source, built)
    bits = outermost.word_bits
    memories: dict[str, Any] = {}
    table: dict[str, Any] = {}
    leak = 0.0
    for level in kept:
        storage = level.storage
        memory = memory_name(storage.name)
        memories[memory] = _memory(level, outermost is storage, bits, built.macs)
        own = (prices or {}).get(storage.name, {})
        table |= _prices(memory, own, storage.block)
        leak += own.get("leak", 0.0) * storage.instances
    mac = (prices or {}).get(built.mac, {})
    leak += mac.get("leak", 0.0) * built.macs
    if "mac" in mac:
        table["mac"] = {"energy": _pj(mac["mac"]), "format": dtype, "source": f"ERT: {built.mac}"}
    else:
        table["mac"] = {"unknown": True, "source": f"no energy of {built.mac} is given"}
    table["noc"] = {"energy": "0 pJ", "source": "Timeloop without a network model"}
    energy: dict[str, Any] = {"table": "horowitz_45nm", "prices": table}
    if leak:
        energy["static"] = f"{leak * 1e-12 / built.cycle_s:.9g} W"
        energy["static_source"] = "ERT: leak of all instances"
    energy["off_chip"] = [memory_name(level.storage.name) for level in kept if level.storage.dram]
    data: dict[str, Any] = {
        "kind": "pe_array",
        "name": re.sub(r"[\s,:/\\]", "_", name),
        "description": f"{built.rows} x {built.cols} MACs of an architecture of Timeloop",
        "source": f"architecture of {source.name.rpartition('/')[2]}",
        "clocks": {"core": f"{1e-6 / built.cycle_s:.9g} MHz"},
        "dataflow": "weight_stationary",
        "array": {"rows": built.rows, "cols": built.cols, "wiring": "noc"},
        "word_bits": bits,
        "accumulator_bits": bits,
        "memories": memories,
        "energy": energy,
    }
    if mappings:
        data["mappings"] = dict(mappings)
    else:
        data["mapper"] = {"objective": "latency"}  # as the exercises' mapper: delay before energy
    if max(built.rows, built.cols) > 65536:
        raise InputError("the array must have at most 65536 rows and columns", source.name)
    return data


def _memory(level: Level, outermost: bool, bits: int, macs: int) -> dict[str, Any]:
    storage = level.storage
    memory: dict[str, Any] = {"holds": list(level.keeps)}
    notes = []
    if not outermost and storage.words is not None:
        # Timeloop loads the next tile beside the one in use without a second half of the memory for it.
        memory["size"] = f"{int(2 * storage.words * bits / 8 / storage.buffering)} B"
        notes.append(f"{storage.words} words of {storage.word_bits} bits")
        if storage.buffering != 2:
            notes.append("twice, because Timeloop loads the next tile without a second half")
        if storage.word_bits != bits:
            notes.append(f"counted as words of {bits} bits")
    if storage.instances > 1 or (macs > 1 and storage.instances == macs):
        memory["per"] = "pe"
    speed = (storage.read or 0) + (storage.write or 0)
    if speed:
        memory["bandwidth"] = f"{speed:.9g} words/cycle"
        notes.append("bandwidth of reads and writes together")
    elif outermost:
        memory["bandwidth"] = f"{_NO_LIMIT} words/cycle"
        notes.append("no bandwidth is given")
    memory["source"] = "; ".join(notes) or "no size and no bandwidth are given"
    return memory


def _prices(memory: str, own: Mapping[str, float], block: int) -> dict[str, Any]:
    """Prices of a word, by action."""
    if not own:
        return {memory: {"unknown": True, "source": f"no energy of {memory} is given"}}
    words = {"words": block} if block > 1 else {}
    prices: dict[str, Any] = {
        f"{memory}.{action}": {"energy": _pj(own[action]), **words, "source": f"ERT: {memory}"}
        for action in ("read", "fill", "update")
        if action in own
    }
    for action in ("read", "fill", "update"):
        prices.setdefault(f"{memory}.{action}", {"unknown": True, "source": f"the ERT has no {action} of {memory}"})
    return prices | {f"{memory}.drain": {"energy": "0 pJ", "source": "Timeloop counts no drains"}}


def _pj(energy: float) -> str:
    return f"{energy:.12g} pJ"
