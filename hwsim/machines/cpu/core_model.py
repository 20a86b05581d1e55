"""Performance model of a core with its library, for one number format."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import inf

from hwsim.errors import nearest
from hwsim.machines.cpu.core import core_named, load_core, sequence_of
from hwsim.machines.cpu.library import CpuLibrary, TypeSpec
from hwsim.machines.cpu.spec import CpuMemorySpec, CpuSpec
from hwsim.machines.cpu.tiles import Ports
from hwsim.units import Rate
from hwsim.workload.number_format import DTYPES

__all__ = ["CoreModel", "core_model_of"]


@dataclass(frozen=True, slots=True)
class CoreModel:
    """Performance parameters of a core with its library, for one number format.

    Bandwidths are in bytes per cycle, `l3_latency` is in cycles, `word` is the bytes of a value.
    """

    library: CpuLibrary
    type: TypeSpec
    dtype: str
    sequence: str
    ports: Ports
    rate: float
    fixed_tile: bool
    l1_load: float
    l2: float
    l3: float
    dram: float
    l2_size: int
    l3_size: int
    l3_latency: float

    @property
    def word(self) -> int:
        """Bytes of a value."""
        return -(-DTYPES[self.dtype].bits // 8)

    def cost(self, name: str) -> float:
        """Cycles per unit of a cost of the library; 0 if it has none."""
        return self.type.costs.get(name, 0.0) * self.library.factor(self.sequence, name)


def core_model_of(spec: CpuSpec, library: CpuLibrary, dtype: str, efficient: bool = False) -> CoreModel:
    """The model of a machine's core, or of its efficient core; raises ValueError for an unsupported format."""
    core, hz = core_named(spec.core), float(spec.clock_hz(spec.clock))
    memories = dict(spec.memories)
    if efficient and spec.efficient is not None:
        core, hz = load_core(spec.efficient.core), hz * spec.efficient.clock
        memories["l1"] = CpuMemorySpec.model_validate(core.memories.l1)
        memories["l2"] = CpuMemorySpec.model_validate(core.memories.l2)
    # Instructions and rates of the machine file hold for its performance cores.
    named = {} if efficient else {str(key): name for key, name in spec.instructions.items()}
    measured = {} if efficient else {str(key): rate for key, rate in spec.rates.items()}
    sequence = named.get(dtype) or core.best(dtype)
    if sequence is None:
        formats = sorted({sequence_of(name).dtype for name in core.sequences})
        raise ValueError(
            f"must be a number format that the core has instructions for, not {dtype!r}{nearest(dtype, formats)}"
        )
    rate = measured.get(dtype, float(core.rate(sequence)))
    instruction = sequence_of(sequence)
    cycles = instruction.macs_of(core.vector_bytes) / rate

    def speed(bandwidth: Rate | None) -> float:
        """Bytes per cycle of this core."""
        return float(bandwidth.bytes_per_second(Fraction(hz), 8)) / hz if bandwidth is not None else inf

    return CoreModel(
        library=library,
        type=library.type(dtype),
        dtype=dtype,
        sequence=sequence,
        ports=Ports(cycles, core.latency_of(sequence), core.vector_bytes, core.lanes, instruction.depth),
        rate=rate,
        fixed_tile=instruction.macs is not None,
        l1_load=speed(memories["l1"].load),
        l2=speed(memories["l2"].bandwidth),
        l3=min(speed(memories["l3"].core), speed(memories["l3"].bandwidth)),
        dram=min(speed(memories["dram"].core), speed(memories["dram"].bandwidth)),
        l2_size=int(memories["l2"].size or 0),
        l3_size=int(memories["l3"].size or 0),
        l3_latency=float(memories["l3"].latency or 0) * hz,
    )
