"""Prices of a processor: operations and accesses at its node, and the power of its data sheet.

A multiply-accumulate is a small part of what a superscalar core draws. Under vector load at its sustained clock a part
draws its TDP: a cycle of a busy core costs TDP less idle power over all cores, less a tenth that operations and
accesses are priced at.
"""

from __future__ import annotations

from hwsim.energy.spec import EnergySpec, PriceSpec
from hwsim.energy.table import load_table
from hwsim.machines.cpu.core import run_formats
from hwsim.machines.cpu.spec import CpuSpec
from hwsim.workload.number_format import DTYPES

__all__ = ["IDLE_SHARE", "energy_of"]

IDLE_SHARE, _CORE_SHARE = 0.3, 0.9
_NODES = (45, 32, 20, 16, 14, 10, 7)  # with published polynomials
_TABLE = "horowitz_45nm"
_DRAM = "Horowitz, ISSCC 2014, fig. 1.1.9 (1.3 to 2.6 nJ for 64 bits), not scaled to the process node of the cores"


def _entry(dtype: str) -> str:
    """The entry of a MAC in a format: its own, or that of the narrowest priced format that holds as many bits."""
    kind, entries = DTYPES[dtype], load_table(_TABLE).entries
    priced = [name for name, other in DTYPES.items() if other.sort == kind.sort and other.bits >= kind.bits]
    names = [f"{name}_mac" for name in (dtype, *sorted(priced, key=lambda name: DTYPES[name].bits))]
    return next((name for name in names if name in entries), names[0])


def energy_of(spec: CpuSpec) -> EnergySpec:
    """The prices that follow from node, TDP and idle power; those of the file go first."""
    energy = spec.energy
    nm = float(spec.node) * 1e9 if spec.node is not None else 14.0
    node = min(_NODES, key=lambda option: abs(option - nm))
    tdp = spec.tdp if spec.tdp is not None else spec.sustained_clock and spec.sustained_clock.tdp
    prices = {f"mac.{dtype}": PriceSpec(entry=_entry(dtype)) for dtype in run_formats()}
    nothing = PriceSpec(energy="0 pJ", source="not run")
    prices |= {"mac.padding": nothing, "mac.skipped": nothing, "registers": PriceSpec(entry="register_32b")}
    for name in ("l1", "l2", "l3"):
        size = spec.memories[name].size
        prices[name] = PriceSpec(sram=f"{int(size or 2**15)} B", bits=64)
    prices["dram"] = PriceSpec(energy="1300 pJ", bits=64, source=_DRAM)
    static, source = None, None
    if tdp:
        idle = float(spec.idle) if spec.idle is not None else IDLE_SHARE * float(tdp)
        cores = spec.cores + (spec.efficient.cores if spec.efficient else 0)
        cycle = _CORE_SHARE * max(0.0, float(tdp) - idle) / (cores * float(spec.clock_hz(spec.clock))) * 1e12
        why = f"{_CORE_SHARE:g} of TDP ({float(tdp):g} W) less idle power, over {cores} cores at their clock"
        prices["core"] = PriceSpec(energy=f"{cycle:.6f} pJ", source=why)
        static = f"{idle * spec.sockets * spec.used_cores / spec.all_cores:.9f} W"
        source = "idle power of the file" if spec.idle is not None else f"idle power assumed {IDLE_SHARE:g} of TDP"
        source += f", of {spec.used_cores} of {spec.all_cores} cores"
    else:
        prices["core"] = PriceSpec(unknown=True, source="the file gives no tdp")
    table = energy.table if "energy" in spec.model_fields_set else _TABLE
    return EnergySpec(
        table=table,
        node=energy.node if energy.node is not None else f"{node} nm",
        voltage=energy.voltage if energy.voltage is not None else "0.8 V",
        prices=prices | energy.prices,
        static=energy.static if energy.static is not None else static,
        static_source=energy.static_source if energy.static is not None else source,
    )
