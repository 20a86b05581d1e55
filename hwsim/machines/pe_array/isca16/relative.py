"""What a mapper weighs energies by: the prices of the machine file where it states them, else relative costs.

The cost of a word grows with the memory that it lies in. The relative costs are those of ISCA 2016, table IV: 1 (a MAC)
for a register file of 0.5 KB, 2 between PEs, 6 for a buffer of 128 KB, 200 for DRAM; memories of other sizes lie on the
straight line through these two on log-log axes. They decide which mapping is taken, and nothing else: what is reported
is priced by the machine's energy block.
"""

from __future__ import annotations

from math import log

from hwsim.energy.spec import EnergySpec
from hwsim.machines.pe_array.isca16.study import LEVEL_COSTS
from hwsim.machines.pe_array.spec import MemorySpec, PeArraySpec

__all__ = ["level_costs", "relative_cost"]

_SMALL, _LARGE = 512, 131072
_SLOPE = log(LEVEL_COSTS["glb"] / LEVEL_COSTS["rf"]) / log(_LARGE / _SMALL)


def _base_price(energy: EnergySpec, component: str, action: str, bits: int) -> float | None:
    """The energy that the file itself gives for an action on a word; None where it names an entry of a table."""
    price = energy.prices.get(f"{component}.{action}", energy.prices.get(component))
    if price is None or price.energy is None:
        return None
    return float(price.energy) * price.times * (bits / price.bits if price.bits else 1)


def level_costs(energy: EnergySpec, names: dict[str, str], bits: int) -> dict[str, float]:
    """Cost of a word by level ("dram", "glb", "noc", "rf"): all as the file states them, or all relative."""
    costs = {level: _base_price(energy, names.get(level, level), "read", bits) for level in LEVEL_COSTS}
    own_prices = {level: price for level, price in costs.items() if price is not None}
    return own_prices if len(own_prices) == len(costs) else dict(LEVEL_COSTS)


def _relative(memory: MemorySpec, outermost: bool) -> float:
    if outermost:
        return LEVEL_COSTS["dram"]
    size = sum(memory.split.values()) if memory.split else memory.size
    if size is None:
        return LEVEL_COSTS["rf" if memory.per == "pe" else "glb"]
    return float(min(LEVEL_COSTS["dram"], LEVEL_COSTS["rf"] * max(1.0, float(size) / _SMALL) ** _SLOPE))


def relative_cost(spec: PeArraySpec, component: str) -> float:
    """Cost of a 16-bit word of a memory, or of the network between PEs, relative to a MAC."""
    memory = spec.memories.get(component)
    return LEVEL_COSTS["noc"] if memory is None else _relative(memory, component == spec.dram)
