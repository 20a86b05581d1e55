"""The array as its planners see it: the file's description, its clocks, and what a word, a byte and a cycle take."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Literal

from hwsim.engine.clock import Timebase
from hwsim.errors import Fault, InputError
from hwsim.machines.pe_array.spec import MemorySpec, PeArraySpec
from hwsim.units import Rate
from hwsim.workload import Layer
from hwsim.yaml_source import Document

__all__ = ["Array", "Planner"]

Planner = Literal["folds", "streamed weights", "adder trees", "passes", "study", "search"]


@dataclass(frozen=True, eq=False)
class Array:
    """A PE array's description with its clocks.

    Attributes
    ----------
    spec : PeArraySpec
        The machine file.
    timebase : Timebase
        Ticks of its clocks.
    document : Document
        Places in the file, for errors.
    """

    spec: PeArraySpec
    timebase: Timebase
    document: Document

    @property
    def pes(self) -> int:
        """Processing elements; each does a MAC in a cycle."""
        return self.spec.array.rows * self.spec.array.cols

    @property
    def clock_hz(self) -> Fraction:
        """Frequency of the array."""
        return self.spec.clock_hz(self.spec.array.clock)

    @property
    def planner(self) -> Planner:
        """The planner of layers with MACs."""
        spec = self.spec
        if spec.array.wiring == "systolic":
            return "streamed weights" if spec.array.fifo_tiles else "folds"
        if spec.array.wiring == "broadcast":
            return "adder trees"
        if spec.flow.passes and spec.mapper.objective == "dram":
            return "passes"
        return "study" if spec.mapper.rules else "search"

    def bits(self, layer: Layer) -> tuple[int, int, int]:
        """Bits of a word of ifmap, weight and ofmap; raises InputError where the machine's words are too short."""
        own = (layer.input.bits, layer.weight.bits, layer.output.bits)
        word = self.spec.word_bits
        if word is None:
            return own
        if max(own) > word:
            dtype = next(kind.dtype for kind in (layer.input, layer.weight, layer.output) if kind.bits > word)
            message = (
                f"{self.spec.name} computes on words of {word} bits, but {dtype} has {max(own)}: quantize the network, "
                f"or widen the words with --set word_bits={max(own)}"
            )
            raise InputError([Fault("", layer.name, message)])
        return (word, word, word)

    def cycle_ticks(self, cycles: int, clock: str | None = None) -> int:
        """Ticks in cycles of a clock, the array's unless named."""
        return self.timebase.ticks(clock or self.spec.array.clock, cycles)

    def transfer_ticks(self, memory: MemorySpec, size_bytes: int, rate: Rate | None = None, word_bits: int = 8) -> int:
        """Ticks in which a memory moves so many bytes, at its bandwidth or at the given rate of one of its ports."""
        rate = rate or memory.bandwidth
        if rate is None or not size_bytes:
            return 0
        speed = self.spec.bytes_per_second(rate, memory, word_bits) * Fraction(memory.efficiency)
        return ceil(size_bytes / speed * self.timebase.rate_hz)

    def capacity_bits(self) -> dict[str, int | dict[str, int]]:
        """Bits of each bounded memory, as the mapping package wants them; a double buffer offers half."""
        limits: dict[str, int | dict[str, int]] = {}
        for name, memory in self.spec.memories.items():
            share = 2 if memory.double_buffered else 1
            if memory.split:
                limits[name] = {t: int(size) * 8 // share for t, size in memory.split.items()}
            elif memory.size is not None:
                limits[name] = int(memory.size) * 8 // share
        return limits
