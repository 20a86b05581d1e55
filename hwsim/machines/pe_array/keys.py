"""Which keys of a PE array's file its planner reads; each wiring and dataflow has its own planner."""

from __future__ import annotations

from collections.abc import Iterator

from hwsim.machines.pe_array.array import Array, Planner
from hwsim.machines.pe_array.spec import PeArraySpec
from hwsim.message import Message
from hwsim.units import format_size

__all__ = ["idle_keys", "sram_prices"]


def _reason(code: str, template: str, **values: object) -> Message:
    return Message(f"unused.{code}", template, values)


def _of(price: str) -> str:
    """The part that a price is of."""
    return price.partition(".")[0]


def idle_keys(array: Array) -> Iterator[tuple[str, Message]]:
    """Keys without effect, each with the reason; the test of all machine files changes every key and holds this."""
    spec, planner = array.spec, array.planner
    if planner in ("passes", "study"):
        yield "accumulator_bits", _reason("accumulator", "partial sums have the word size of the output")
    if planner != "passes":
        yield "setup", _reason("setup", "only row-stationary passes have a setup time")
        for key in ("row_words", "min_occupation", "margin", "pass_cycles"):
            yield f"mapper.{key}", _reason("pass_limit", "only row-stationary passes have this limit")
    if planner in ("folds", "streamed weights", "adder trees"):
        template = "{planner} have a fixed loop order: there is no search"
        for key in ("objective",) * (planner != "adder trees") + ("halo", "rules", "variant", "rf_area"):
            yield f"mapper.{key}", _reason("no_search", template, planner=planner)
    elif spec.mapper.rules is None or not spec.flow.variants:
        yield "mapper.variant", _reason("variant", "only output stationary with mapper.rules has variants")
    if planner == "passes" and spec.mapper.objective != "dram":
        yield "mapper.min_occupation", _reason("occupation", "only objective dram asks how many PEs are active")
        yield "mapper.margin", _reason("margin", "only objective dram bounds latency and energy")
    if spec.mapper.rules == "jssc17" and (planner != "passes" or spec.mapper.objective == "dram"):
        template = "passes are those of row stationary on a multicast network, with objective dram always"
        yield "mapper.rules", _reason("passes", template)
    if planner == "study":
        yield "mapper.halo", _reason("halo", "the study fetches shared rows by its own rules")
        if spec.dataflow == "row_stationary":
            template = "row stationary uses the whole register file: no area is spare"
            yield "mapper.rf_area", _reason("rf_area", template)
    if planner in ("streamed weights", "adder trees"):
        yield "dataflow", _reason("dataflow", "{planner} have one dataflow", planner=planner)
    if spec.array.zeros == "compute":
        yield "array.zero_operands", _reason("zero_operands", "array.zeros is compute")
    if spec.post is not None:
        yield "host", _reason("host", "the post-processor runs layers without MACs")
    if spec.array.wiring != "systolic":
        yield "array.fifo_tiles", _reason("fifo_tiles", "only a systolic array streams its weights")
    units = {"transform"} if spec.transform is not None else set()
    if units and (planner == "study" or spec.algorithm == "direct"):
        why = "the study has direct convolutions alone" if planner == "study" else "algorithm is direct"
        for key in ("transform", *(f"energy.prices.{name}" for name in spec.energy.prices if _of(name) in units)):
            yield key, _reason("transform", "{why}", why=why)
    parts = {"mac", "post", *units, *spec.memories} | {"systolic": {"pe"}, "noc": {"noc"}}.get(spec.array.wiring, set())
    for key in spec.energy.prices:
        if _of(key) not in parts:
            template = "no part of this machine has that name; valid: {parts}"
            yield f"energy.prices.{key}", _reason("part", template, parts=sorted(parts))
    followed = {key.partition(".")[0] for key, price in spec.energy.prices.items() if price.sram == "memory"}
    for index, (name, memory) in enumerate(spec.memories.items()):
        priced = ("bank",) if memory.bank is not None else ("size", "split")
        for key, reason in _of_memory(spec, planner, index, name):
            if getattr(memory, key) is not None and not (name in followed and key in priced):
                yield f"memories.{name}.{key}", reason


def _of_memory(spec: PeArraySpec, planner: Planner, index: int, name: str) -> Iterator[tuple[str, Message]]:
    """Keys of one memory that its planner does not read."""
    memory, outer = spec.memories[name], index == 0
    inside = planner in ("study", "search")
    if planner == "search" and memory.per == "pe" and not spec.flow.private and not spec.mappings:
        template = "PEs keep nothing in {dataflow}"
        for key in ("size", "split", "double_buffered", "bandwidth", "ports"):
            yield key, _reason("no_private", template, dataflow=spec.dataflow.replace("_", " "))
    if not outer and planner in ("folds", "streamed weights", "adder trees") and spec.area is None:
        yield "per", _reason("fixed_role", "{planner} give each memory a fixed role", planner=planner)
    if planner == "folds" and index > 1:
        for key in ("size", "split", "double_buffered"):
            yield key, _reason("inner_memory", "the PEs are fed from the second memory")
    if planner in ("streamed weights", "adder trees"):
        template = "{planner} always overlap loads with computation"
        yield "double_buffered", _reason("double_buffered", template, planner=planner)
    if planner == "adder trees" and memory.holds == ["ofmap"]:
        yield "size", _reason("stripe", "the length of a stripe follows from the rows of the array")
    if outer or (planner == "passes" and "ofmap" not in memory.holds) or (planner == "passes" and memory.per == "pe"):
        template = "only a shared memory that tiles are loaded into is double-buffered"
        yield "double_buffered", _reason("not_loaded", template)
    if not outer and not inside:
        yield "bandwidth", _reason("bandwidth", "{planner} do not model it", planner=planner)
    if (planner == "passes" and (outer or memory.per == "pe")) or not (inside or planner == "passes"):
        yield "ports", _reason("ports", "this planner does not model its ports")
    if planner == "passes":
        template = "passes use the full rate of the link" if outer else "this planner does not read it"
        yield "efficiency", _reason("full_rate" if outer else "efficiency", template)
    elif not outer and not inside:
        yield "efficiency", _reason("efficiency", "this planner does not read it")
    if planner == "passes":
        if memory.per == "pe" or "ofmap" not in memory.holds or outer:
            yield "bank", _reason("bank", "only the shared buffer is allocated in banks")
    elif planner != "adder trees" or not {"ifmap", "weight"} <= set(memory.holds) or outer:
        yield "bank", _reason("no_banks", "this planner does not allocate banks")
    if planner != "adder trees" or not outer:
        yield "atom", _reason("atom", "only the outermost memory of a broadcast array has atoms")
    if memory.per == "pe" or not (planner == "search" or (planner == "passes" and outer)):
        template = (
            "only shared memories of searched mappings and the link of a row-stationary chip (mapper.rules: jssc17) "
            "store tensors compressed"
        )
        for key in ("compress", "formats"):
            yield key, _reason("compress", template)


def sram_prices(spec: PeArraySpec) -> Iterator[tuple[str, str, Message]]:
    """Prices of an SRAM of another size than the memory has, or its banks; a price that says why is left out."""
    for key, price in spec.energy.prices.items():
        memory = spec.memories.get(key.partition(".")[0])
        if memory is None or price.sram in (None, "memory") or price.source:
            continue
        sizes = [size for size in (memory.size, memory.bank, *memory.split.values()) if size is not None]
        if sizes and price.sram not in sizes:
            values = {"memory": key.partition(".")[0], "size_bytes": int(sizes[0])}
            reason = Message("price.sram_size", "memories.{memory} has {size_bytes:size}", values)
            yield f"energy.prices.{key}.sram", format_size(int(price.sram)), reason
