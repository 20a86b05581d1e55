"""The array as its planners see it: the file's description, its clocks, and what a word, a byte and a cycle take."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import ceil
from typing import Literal

from hwsim.compression.storage import CODEBOOK_INDEX_BITS, expected_bits
from hwsim.energy.price import Prices, dynamic_energy
from hwsim.engine.clock import Timebase
from hwsim.errors import HwsimError
from hwsim.machines.pe_array.spec import TENSORS, MemorySpec, PeArraySpec, Tensor
from hwsim.machines.plan import LayerPlan
from hwsim.machines.precision import is_value, too_wide
from hwsim.mapping import Counts, Problem
from hwsim.units import Rate
from hwsim.workload import Layer, TensorType
from hwsim.workload.network import Matcher
from hwsim.yaml_source import Document

__all__ = ["STEPS_BIT", "Array", "Planner", "layer_operand"]

STEPS_BIT = 64
"""Steps in a bit of the average word of a format."""

Planner = Literal["folds", "streamed weights", "adder trees", "passes", "study", "search"]

_IDLE_SHARE = 0.5
"""Share of the PEs below which the array's shape, not its speed, is what a layer waits for."""


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
    prices : Prices
        Energy of its actions.
    """

    spec: PeArraySpec
    timebase: Timebase
    document: Document
    prices: Prices

    @property
    def double_buffered(self) -> bool:
        """Whether tiles are loaded while others are worked on: no shared memory is in use by one at a time."""
        shared = [memory for memory in list(self.spec.memories.values())[1:] if memory.per == "chip"]
        return all(memory.double_buffered for memory in shared)

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
        if spec.flow.passes and (spec.mapper.objective == "dram" or spec.mapper.rules == "jssc17"):
            return "passes"
        return "study" if spec.mapper.rules == "isca16" else "search"

    @cached_property
    def mapping_key(self) -> Matcher:
        """The key of the mapping by hand of a layer, by its name."""
        return Matcher(self.spec.mappings)

    def bits(self, layer: Layer) -> tuple[int, int, int]:
        """Bits of a word of ifmap, weight and ofmap; raises InputError where the machine's words are too short.

        Indices of a look-up are as wide as they are.
        """
        own = (layer.input.bits, layer.weight.bits, layer.output.bits)
        word = self.spec.word_bits
        if word is None:
            return own
        kinds = (layer.input, layer.weight, layer.output)
        words = tuple(word if layer.macs or is_value(kind.dtype) else kind.bits for kind in kinds)
        if any(bits > size for bits, size in zip(own, words)):
            dtype = next(kind.dtype for kind in kinds if kind.bits > word)
            raise too_wide(self.spec.name, layer.name, dtype, max(own), word)
        return (words[0], words[1], words[2])

    def accumulator_bits(self, layer: Layer) -> int:
        """Bits of a partial sum: those of the file, of its words, or 32 (int32 and fp32)."""
        spec = self.spec
        bits = spec.accumulator_bits or spec.word_bits or 32
        return max(bits, self.bits(layer)[2])

    def storage(self, layer: Layer, memory: MemorySpec, tensor: Tensor) -> str:
        """The format in which a memory stores a tensor: the chip's own code, or the network's where it takes that."""
        kind = layer_operand(layer, tensor)
        form = kind.format
        if form == "codebook" and kind.spec.coding is not None and kind.spec.coding.shared_bits != CODEBOOK_INDEX_BITS:
            form = "dense"  # codebooks of arrays have 16 entries
        return memory.compress.get(tensor) or (form if form in memory.formats.get(tensor, ()) else "dense")

    def run_bits(self, layer: Layer, memory: MemorySpec, tensor: Tensor) -> int:
        """Bits of the runs of zeros that the network's own code of a tensor has; 0: none, or the chip's own code."""
        coding = layer_operand(layer, tensor).spec.coding
        return 0 if coding is None or tensor in memory.compress else coding.run_bits

    def stored_widths(self, layer: Layer) -> dict[str, float]:
        """Bits of a word, on average, by "memory.tensor" where a shared memory does not store it dense.

        They are rounded up to a 64th of a bit, so that ticks stay whole numbers. A chip that codes a tensor itself
        leaves it dense where that is smaller.
        """
        widths: dict[str, float] = {}
        if self.planner != "search":
            return widths
        dense = dict(zip(TENSORS, self.bits(layer)))
        for name, memory in self.spec.memories.items():
            for tensor in memory.holds if memory.per == "chip" else ():
                kind, bits = layer_operand(layer, tensor), dense[tensor]
                form = self.storage(layer, memory, tensor)
                if form == "dense" or not kind.elements:
                    continue
                size = expected_bits(form, kind.shape, kind.density, bits, self.run_bits(layer, memory, tensor))
                size /= kind.elements
                width = ceil((min(size, bits) if tensor in memory.compress else size) * STEPS_BIT) / STEPS_BIT
                if width != bits:
                    widths[f"{name}.{tensor}"] = width
        return widths

    def widths(self, problem: Problem) -> dict[str, int]:
        """Bits of a word of each tensor; "psum" is a partial sum where that is wider than an output."""
        widths = {operand.name: operand.bits for operand in problem.operands}
        output = problem.output
        return widths | ({"psum": output.sum_bits} if output.sum_bits != output.bits else {})

    def layer_widths(self, layer: Layer) -> dict[str, int]:
        """Bits of a word of each tensor of a layer; passes and the study have sums as wide as outputs."""
        bits = self.bits(layer)
        psum = bits[2] if self.planner in ("passes", "study") else self.accumulator_bits(layer)
        return dict(zip(TENSORS, bits)) | ({"psum": psum} if psum != bits[2] else {})

    def compute_bound(self, macs: int, counted: Counts) -> str:
        """What holds back a layer that waits for the array: its shape, where most PEs are idle."""
        if macs < _IDLE_SHARE * counted.cycles * self.pes:
            return f"array shape ({counted.instances} of {self.pes} PEs)"
        return "compute"

    def cheapest(self, plans: Iterable[tuple[int, LayerPlan]]) -> LayerPlan:
        """The plan of least cost under the objective of the file; each comes with its ticks."""
        candidates = list(plans)
        if len(candidates) == 1:
            return candidates[0][1]
        return min(candidates, key=lambda candidate: self.cost(*candidate))[1]

    def cost(self, ticks: int, plan: LayerPlan) -> tuple[float, float]:
        """What the objective minimizes, and what decides between equals; bytes over DRAM where a price is unknown."""
        objective = self.spec.mapper.objective
        if objective == "latency":
            return ticks, plan.dram_bytes
        energy = math.nan if objective == "dram" else self.energy(ticks, plan)
        if math.isnan(energy):
            energy = float(plan.dram_bytes)
        return energy * (ticks if objective == "edp" else 1), ticks

    def energy(self, ticks: int, plan: LayerPlan) -> float:
        """Picojoules of a plan that takes so many ticks; not a number where a price is missing or unknown."""
        try:
            dynamic = sum(dynamic_energy(plan.counts, plan.word_bits, self.prices).values())
        except HwsimError:  # the report says which price is missing
            return math.nan
        return dynamic + self.prices.static_w * ticks / self.timebase.rate_hz * 1e12

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


def layer_operand(layer: Layer, tensor: Tensor) -> TensorType:
    """The tensor of a layer that an array knows under that name."""
    return {"ifmap": layer.input, "weight": layer.weight, "ofmap": layer.output}[tensor]
