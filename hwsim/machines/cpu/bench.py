"""A core at a number format with its library: the numbers that the costs of a layer follow from."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import inf

from hwsim.errors import nearest
from hwsim.machines.cpu.core import core_named, load_core, sequence_of
from hwsim.machines.cpu.library import Library, TypeSpec
from hwsim.machines.cpu.spec import CpuSpec, MemorySpec
from hwsim.machines.cpu.tiles import Ports
from hwsim.units import Rate

__all__ = ["Bench", "bench_of"]


@dataclass(frozen=True, slots=True)
class Bench:
    """A core at a number format with its library: all that the costs of a layer follow from.

    Bandwidths in bytes a cycle; `l3_latency` in cycles; `word` bytes of a value.
    """

    library: Library
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
        return {"int8": 1, "bf16": 2, "fp32": 4}[self.dtype]

    def cost(self, name: str) -> float:
        """Cycles of a unit of a cost of the library; 0 where it has none."""
        return self.type.costs.get(name, 0.0) * self.library.factor(self.sequence, name)


def bench_of(spec: CpuSpec, library: Library, dtype: str, efficient: bool = False) -> Bench:
    """A core of a machine, of its smaller kind if `efficient`; raises ValueError for a format that it cannot run."""
    core, hz = core_named(spec.core), float(spec.clock_hz(spec.clock))
    memories = dict(spec.memories)
    if efficient and spec.efficient is not None:
        core, hz = load_core(spec.efficient.core), hz * spec.efficient.clock
        memories["l1"] = MemorySpec.model_validate(core.memories.l1)
        memories["l2"] = MemorySpec.model_validate(core.memories.l2)
    # What the file names or measured is of its own cores.
    named = {} if efficient else {str(key): name for key, name in spec.instructions.items()}
    measured = {} if efficient else {str(key): rate for key, rate in spec.rates.items()}
    sequence = named.get(dtype) or core.best(dtype)
    if sequence is None:
        known = sorted({sequence_of(name).dtype for name in core.sequences})
        raise ValueError(
            f"must be a number format that the core has instructions for, not {dtype!r}{nearest(dtype, known)}"
        )
    rate = measured.get(dtype, float(core.rate(sequence)))
    given = sequence_of(sequence)
    cycles = given.macs_of(core.vector_bytes) / rate

    def speed(bandwidth: Rate | None) -> float:
        """Bytes a cycle of this core."""
        return float(bandwidth.bytes_per_second(Fraction(hz), 8)) / hz if bandwidth is not None else inf

    return Bench(
        library=library,
        type=library.type(dtype),
        dtype=dtype,
        sequence=sequence,
        ports=Ports(cycles, core.latency_of(sequence), core.vector_bytes, core.lanes, given.depth),
        rate=rate,
        fixed_tile=given.macs is not None,
        l1_load=speed(memories["l1"].load),
        l2=speed(memories["l2"].bandwidth),
        l3=min(speed(memories["l3"].core), speed(memories["l3"].bandwidth)),
        dram=min(speed(memories["dram"].core), speed(memories["dram"].bandwidth)),
        l2_size=int(memories["l2"].size or 0),
        l3_size=int(memories["l3"].size or 0),
        l3_latency=float(memories["l3"].latency or 0) * hz,
    )
