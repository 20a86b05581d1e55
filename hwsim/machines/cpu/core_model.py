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

    Bandwidths are in bytes per cycle, latencies are in cycles, `word` is the bytes of a value. `signs` are those of
    8-bit operands that the library's own kernels do not take, else ""; `compiled` says that a loop in C++ takes them.
    `rate` is that of these kernels, `peak` that of the own ones.
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
    dram_latency: float
    peak: float
    signs: str = ""
    compiled: bool = False

    @property
    def label(self) -> str:
        """The number format, or the signs of 8-bit operands where they have kernels of their own."""
        return self.signs or self.dtype

    def reads_pixels(self, channels: int, filters: int) -> bool:
        """Whether a convolution of so many channels by so many filters has a kernel that copies no patches.

        Those of 8 bits take whole groups of channels, of which a sequence sums one, and as many filters.
        """
        group = self.ports.depth
        return not self.signs and channels % group == 0 and (self.dtype != "int8" or filters % group == 0)

    @property
    def float_lanes(self) -> int:
        """Values of 32 bits in a vector."""
        return max(1, self.ports.vector_bytes // 4)

    @property
    def word(self) -> int:
        """Bytes of a value."""
        return -(-DTYPES[self.dtype].bits // 8)

    def cost(self, name: str) -> float:
        """Cycles per unit of a cost of the library; 0 if it has none."""
        return self.type.costs.get(name, 0.0) * self.library.factor(self.sequence, name)


def core_model_of(
    spec: CpuSpec, library: CpuLibrary, dtype: str, efficient: bool = False, signs: str = ""
) -> CoreModel:
    """The model of a machine's core, or of its efficient core; raises ValueError for an unsupported format.

    Parameters
    ----------
    signs : str
        Of 8-bit activations and weights: ``u8u8``.
    """
    core, hz = core_named(spec.core), float(spec.clock_hz(spec.clock))
    memories = dict(spec.memories)
    if efficient and spec.efficient is not None:
        core, hz = load_core(spec.efficient.core), hz * spec.efficient.clock
        memories["l1"] = CpuMemorySpec.model_validate(core.memories.l1)
        memories["l2"] = CpuMemorySpec.model_validate(core.memories.l2)
    # Instructions and rates of the machine file hold for its performance cores.
    named = {} if efficient else {str(key): name for key, name in spec.instructions.items()}
    measured = {} if efficient else {str(key): rate for key, rate in (library.rates | spec.rates).items()}
    sequence = named.get(dtype) or core.best(dtype)
    if sequence is None:
        formats = sorted({sequence_of(name).dtype for name in core.sequences})
        raise ValueError(
            f"must be a number format that the core has instructions for, not {dtype!r}{nearest(dtype, formats)}"
        )
    kind = library.type(dtype)
    peak = rate = measured.get(dtype, float(core.rate(sequence)))
    if dtype in library.rates:
        peak = max(rate, float(core.rate(sequence)))
    other = kind.signs.get(signs)
    compiled = False
    if other is None or sequence not in other.instead_of:
        signs = ""
    else:
        kind = kind.model_copy(update={"gemm": other.gemm, "costs": kind.costs | other.costs})
        compiled = other.sequence is None
        sequence = other.sequence or sequence
        rate = 1 / (kind.costs.get("mac") or 1.0) if compiled else float(core.rate(sequence))
    instruction = sequence_of(sequence)
    macs = instruction.macs_of(core.vector_bytes)
    cycles, word = macs / rate, -(-DTYPES[dtype].bits // 8)

    def speed(bandwidth: Rate | None) -> float:
        """Bytes per cycle of this core."""
        return float(bandwidth.bytes_per_second(Fraction(hz), 8)) / hz if bandwidth is not None else inf

    return CoreModel(
        library=library,
        type=kind,
        dtype=dtype,
        sequence=sequence,
        ports=Ports(cycles, core.latency_of(sequence), core.vector_bytes, core.lanes, instruction.depth, macs * word),
        rate=rate,
        fixed_tile=instruction.macs is not None,
        l1_load=speed(memories["l1"].load),
        l2=speed(memories["l2"].bandwidth),
        l3=min(speed(memories["l3"].core), speed(memories["l3"].bandwidth)),
        dram=min(speed(memories["dram"].core), speed(memories["dram"].bandwidth)),
        l2_size=int(memories["l2"].size or 0),
        l3_size=int(memories["l3"].size or 0),
        l3_latency=float(memories["l3"].latency or 0) * hz,
        dram_latency=float(memories["dram"].latency or 0) * hz,
        peak=peak,
        signs=signs,
        compiled=compiled,
    )
