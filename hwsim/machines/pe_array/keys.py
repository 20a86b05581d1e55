"""Which keys of a PE array's file its planner reads; each wiring and dataflow has its own planner."""

from __future__ import annotations

from collections.abc import Iterator

from hwsim.machines.pe_array.array import Array, Planner
from hwsim.machines.pe_array.spec import PeArraySpec
from hwsim.message import Message
from hwsim.units import format_size

__all__ = ["idle_keys", "sram_prices"]


def idle_keys(array: Array) -> Iterator[tuple[str, str]]:
    """Keys without effect, each with the reason; the test of all machine files changes every key and holds this."""
    spec, planner = array.spec, array.planner
    if planner != "streamed weights":
        yield "accumulator_bits", "partial sums have the word size of the output"
    if planner != "passes":
        yield "setup", "only row-stationary passes have a setup time"
        for key in ("row_words", "min_occupation", "pass_cycles"):
            yield f"mapper.{key}", "only row-stationary passes have this limit"
    if planner in ("folds", "streamed weights", "adder trees"):
        for key in ("objective", "halo", "rules", "variant", "rf_area"):
            yield f"mapper.{key}", f"{planner} have a fixed loop order: there is no search"
    elif spec.mapper.rules is None or not spec.flow.variants:
        yield "mapper.variant", "only output stationary with mapper.rules has variants"
    if planner == "study":
        yield "mapper.halo", "the study fetches shared rows by its own rules"
        if spec.dataflow == "row_stationary":
            yield "mapper.rf_area", "row stationary uses the whole register file: no area is spare"
    if planner in ("streamed weights", "adder trees"):
        yield "dataflow", f"{planner} have one dataflow"
    if spec.array.wiring != "systolic":
        yield "array.fifo_tiles", "only a systolic array streams its weights"
    parts = {"mac", "post", *spec.memories} | {"systolic": {"pe"}, "noc": {"noc"}}.get(spec.array.wiring, set())
    for key in spec.energy.prices:
        if key.partition(".")[0] not in parts:
            yield f"energy.prices.{key}", f"no part of this machine has that name; valid: {', '.join(sorted(parts))}"
    for index, (name, memory) in enumerate(spec.memories.items()):
        for key, reason in _of_memory(spec, planner, index, name):
            if getattr(memory, key) is not None:
                yield f"memories.{name}.{key}", reason


def _of_memory(spec: PeArraySpec, planner: Planner, index: int, name: str) -> Iterator[tuple[str, str]]:
    """Keys of one memory that its planner does not read."""
    memory, outer = spec.memories[name], index == 0
    inside = planner in ("study", "search")
    if planner == "search" and memory.per == "pe" and spec.flow.one_word and not spec.mappings:
        for key in ("size", "split", "double_buffered"):
            yield key, f"a PE keeps one word of each tensor in {spec.dataflow.replace('_', ' ')}"
    if not outer and planner in ("folds", "streamed weights", "adder trees") and spec.area is None:
        yield "per", f"{planner} give each memory a fixed role"
    if planner == "folds" and index > 1:
        for key in ("size", "split", "double_buffered"):
            yield key, "the PEs are fed from the second memory"
    if planner in ("streamed weights", "adder trees"):
        yield "double_buffered", f"{planner} always overlap loads with computation"
    if planner == "adder trees" and memory.holds == ["ofmap"]:
        yield "size", "the length of a stripe follows from the rows of the array"
    if outer or (planner == "passes" and "ofmap" not in memory.holds) or (planner == "passes" and memory.per == "pe"):
        yield "double_buffered", "only a shared memory that tiles are loaded into is double-buffered"
    if not outer and not inside:
        yield "bandwidth", f"{planner} do not model it"
    if (planner == "passes" and (outer or memory.per == "pe")) or not (inside or planner == "passes"):
        yield "ports", "this planner does not model its ports"
    if (planner == "passes") or (not outer and not inside):
        yield (
            "efficiency",
            "passes use the full rate of the link" if outer else "this planner does not read it",
        )
    if planner == "passes":
        if memory.per == "pe" or "ofmap" not in memory.holds or outer:
            yield "bank", "only the shared buffer is allocated in banks"
    elif planner != "adder trees" or not {"ifmap", "weight"} <= set(memory.holds) or outer:
        yield "bank", "this planner does not allocate banks"
    if planner != "adder trees" or not outer:
        yield "atom", "only the outermost memory of a broadcast array has atoms"
    if planner != "passes" or not outer:
        yield "compress", "only the link of a row-stationary chip (mapper.objective: dram) compresses"


def sram_prices(spec: PeArraySpec) -> Iterator[tuple[str, str, Message]]:
    """Prices of an SRAM of another size than the memory has, or its banks; a price that says why is left out."""
    for key, price in spec.energy.prices.items():
        memory = spec.memories.get(key.partition(".")[0])
        if memory is None or price.sram is None or price.source:
            continue
        sizes = [size for size in (memory.size, memory.bank, *memory.split.values()) if size is not None]
        if sizes and price.sram not in sizes:
            values = {"memory": key.partition(".")[0], "size_bytes": int(sizes[0])}
            reason = Message("price.sram_size", "memories.{memory} has {size_bytes:size}", values)
            yield f"energy.prices.{key}.sram", format_size(int(price.sram)), reason
