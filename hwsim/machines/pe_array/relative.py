"""What a mapper weighs energies by: the prices of the machine file where it states them, else relative costs.

The cost of a word grows with the memory that it lies in. The relative costs are those of ISCA 2016, table IV: 1 (a MAC) for
a register file of 0.5 KB, 2 between PEs, 6 for a buffer of 128 KB, 200 for DRAM; memories of other sizes lie on the
straight line through the two sizes on log-log axes. They decide which mapping is taken, and nothing else: what is reported
is priced by the machine's energy block.
"""

from __future__ import annotations

from math import log

from hwsim.machines.pe_array.spec import MemorySpec, PeArraySpec
from hwsim.machines.pe_array.study import LEVEL_COSTS
from hwsim.machines.spec import EnergySpec
from hwsim.mapping import Problem

__all__ = ["energy_prices", "level_costs"]

_SMALL, _LARGE = 512, 131072
_SLOPE = log(LEVEL_COSTS["glb"] / LEVEL_COSTS["rf"]) / log(_LARGE / _SMALL)


def _stated(energy: EnergySpec, component: str, action: str) -> tuple[float, int | None] | None:
    """The energy that the file itself gives for an action, and of how many bits; None where it names a table's entry."""
    price = energy.prices.get(f"{component}.{action}", energy.prices.get(component))
    if price is None or price.energy is None:
        return None
    return float(price.energy) * price.times, price.bits


def level_costs(energy: EnergySpec, names: dict[str, str]) -> dict[str, float]:
    """Cost of a word by level ("dram", "glb", "noc", "rf"): all as the file states them, or all relative."""
    found = {level: _stated(energy, names.get(level, level), "read") for level in LEVEL_COSTS}
    stated = {level: price[0] for level, price in found.items() if price is not None}
    return stated if len(stated) == len(found) else dict(LEVEL_COSTS)


def _relative(memory: MemorySpec, outermost: bool) -> float:
    if outermost:
        return LEVEL_COSTS["dram"]
    size = sum(memory.split.values()) if memory.split else memory.size
    if size is None:
        return LEVEL_COSTS["rf" if memory.per == "pe" else "glb"]
    return float(min(LEVEL_COSTS["dram"], LEVEL_COSTS["rf"] * max(1.0, float(size) / _SMALL) ** _SLOPE))


def energy_prices(spec: PeArraySpec, problem: Problem, senders: dict[str, str]) -> dict[tuple[str, ...], float]:
    """Price of each (memory, tensor, action) for a search; what is delivered or added between PEs crosses the network."""
    keys: list[tuple[str, str, str, str]] = []  # component, memory, tensor, action
    for name, memory in spec.memories.items():
        keys += [(name, name, t, a) for t in memory.holds for a in ("read", "fill", "update", "drain")]
    keys += [("noc", memory, tensor, action) for tensor, memory in senders.items() for action in ("deliver", "reduce")]
    if spec.mapper.objective == "dram":
        return {(memory, tensor, action): float(component == spec.dram) for component, memory, tensor, action in keys}
    stated = [_stated(spec.energy, component, action) for component, _, _, action in keys]
    prices: dict[tuple[str, ...], float] = {}
    for (component, memory, tensor, action), given in zip(keys, stated, strict=True):
        bits = problem.operand(tensor).bits
        if all(price is not None for price in stated):
            assert given is not None
            prices[memory, tensor, action] = given[0] * (bits / given[1] if given[1] else 1)
        else:
            relative = LEVEL_COSTS["noc"] if component == "noc" else _relative(spec.memories[component], component == spec.dram)
            prices[memory, tensor, action] = relative * bits / 16
    return prices
