"""What a neural processor's file says: its engine, where maps and weights lie, what it takes, and who runs the rest."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Literal

from pydantic import Field, model_validator

from hwsim.energy.spec import EnergySpec
from hwsim.errors import nearest
from hwsim.fields import Bandwidth, Name, OneOf, Positive, Size, Spec, Time
from hwsim.machines.board import PowerSpec
from hwsim.machines.npu.work import OPERATORS
from hwsim.machines.precision import Precision
from hwsim.machines.spec import MachineSpec
from hwsim.message import Message

__all__ = ["BlockEngineSpec", "NpuMemorySpec", "NpuSpec", "OutputSpec", "RateEngineSpec"]

Cycles = Annotated[float, Field(ge=0, le=1e9)]
Rate = Annotated[float, Field(gt=0, le=1e6)]
Held = Literal["maps", "weights", "copies"]
TAKEN = ("control", "port", "multipliers", "output unit", "mac", "npu", "host")
"""Names of other resources and components."""


class OutputSpec(Spec):
    """Cycles of the output unit for a value of a product, of a table, sum, product, and of the largest of a window."""

    value: Rate
    lookup: Rate
    add: Rate
    multiply: Rate
    largest: Rate


class BlockEngineSpec(Spec):
    """An engine that works on blocks of the output (`hwsim.machines.npu.block`).

    `micro_block` are the rows, columns and channels of the output that the multipliers of a core work on. `buffer`
    holds the inputs and sums of two blocks, in granules; `reserved` of it is for other uses. `pace` is
    the cycles of the multipliers over those of this description, where they were measured to wait.
    """

    method: Literal["blocks"]
    macs: Positive
    cores: Annotated[int, Field(gt=0, le=16, strict=True)] = 1
    micro_block: Annotated[tuple[Positive, Positive, Positive], Field(strict=False)]
    buffer: Size
    reserved: Size
    input_granule: Size
    sum_granule: Size
    output: OutputSpec
    pace: Annotated[float, Field(gt=0, le=100)] = 1.0

    @model_validator(mode="after")
    def _consistent(self) -> BlockEngineSpec:
        rows, cols, depth = self.micro_block
        if rows * cols * depth * 8 * self.cores != self.macs:
            raise ValueError(f"macs must be 8 for each output of the micro-blocks of all cores, not {self.macs}")
        for name in ("input_granule", "sum_granule"):
            if getattr(self, name) < 1024:
                raise ValueError(f"{name} must be at least a bank, 1 KiB")
        if self.buffer - self.reserved < 2 * max(self.input_granule, self.sum_granule):
            raise ValueError("buffer must have room for two granules beside what is reserved")
        return self


class RateEngineSpec(Spec):
    """An engine of which only rates are known: MACs a cycle of each kind of product.

    `array` are the input and output channels that it takes at a time: those of a layer are rounded up to it, its taps
    being packed where it has fewer input channels. Without `overlap`, weights, products and values take turns.
    """

    method: Literal["rates"]
    macs: Positive
    conv: Rate
    depthwise: Rate
    dense: Rate
    value_cycles: Cycles
    array: Annotated[tuple[Positive, Positive], Field(strict=False)] | None = None
    overlap: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> RateEngineSpec:
        for name in ("conv", "depthwise", "dense"):
            if getattr(self, name) > self.macs:
                raise ValueError(f"{name} must be at most macs, {self.macs}, not {getattr(self, name):g}")
        return self


class NpuMemorySpec(Spec):
    """A memory or link: what lies there or crosses it, its size and rate, and cycles until its first byte.

    Bytes are moved in bursts of `burst`. Inputs and outputs of the network, and of parts of it that run on the host,
    are `copies`: where a memory holds them, the engine reads the input of the network there.
    """

    holds: Annotated[list[Held], Field(min_length=1)]
    size: Size | None = None
    bandwidth: Bandwidth | None = None
    delay: Cycles = 0.0
    burst: Annotated[Size, Field(ge=1)] = Fraction(32)
    source: str


class NpuSpec(MachineSpec):
    """A neural processor beside a core.

    `operators` lists what it takes, `formats` the number formats of its multipliers. All else runs on `host`, a machine
    of kind mcu or cpu. Weights up to `cached` stay on the chip between inferences; while a layer is computed, up to
    `prefetch` of the next one's are loaded. `layer_cycles` is what each layer takes beside its work, `setup` what each
    inference takes.
    """

    kind: Literal["npu"]
    clock: Name = "npu"
    engine: Annotated[BlockEngineSpec | RateEngineSpec, Field(discriminator="method")]
    memories: Annotated[dict[Name, NpuMemorySpec], Field(min_length=1, max_length=8)]
    operators: Annotated[list[Annotated[str, OneOf(OPERATORS)]], Field(min_length=1)]
    formats: Annotated[list[Literal["int8", "int16", "fp16"]], Field(min_length=1)] = ["int8"]
    precision: Precision = "workload"
    cached: Size | None = None
    prefetch: Size | None = None
    layer_cycles: Cycles = 0.0
    setup: Time | None = None
    host: Annotated[str, Field(min_length=1, max_length=300)] | None = None
    power: PowerSpec
    # What it draws is that of its states; the energy block is made of it.
    energy: EnergySpec = EnergySpec(table="horowitz_45nm", prices={})

    @model_validator(mode="after")
    def _connected(self) -> NpuSpec:
        if self.clock not in self.clocks:
            raise ValueError(f"clock names {self.clock!r}, which is not defined{nearest(self.clock, self.clocks)}")
        if "energy" in self.model_fields_set:
            raise ValueError("a neural processor is priced by its power: give power, not energy")
        for name in self.memories:
            if name in TAKEN:
                raise ValueError(f"memories must have other names than the parts of the engine, not {name!r}")
        for what in ("maps", "weights"):
            holders = [name for name, memory in self.memories.items() if what in memory.holds]
            if len(holders) != 1:
                raise ValueError(f"memories must have one that holds {what}, not {len(holders)}")
        if self.memories[self.home("weights")].bandwidth is None:
            raise ValueError(f"memories.{self.home('weights')} must have a bandwidth: weights are read from it")
        return self

    @property
    def in_turns(self) -> bool:
        """Whether weights, copies, products and values take turns."""
        return isinstance(self.engine, RateEngineSpec) and not self.engine.overlap

    @property
    def idle(self) -> dict[str, Message | str]:
        """Keys without effect."""
        found: dict[str, Message | str] = {}
        if self.in_turns:
            found["prefetch"] = Message("unused.prefetch", "weights and products take turns: engine.overlap is false")
        if self.home("maps") == self.home("weights"):
            reason = Message("unused.cached", "maps and weights share a memory, which is on the chip")
            found |= dict.fromkeys(("cached", "prefetch"), reason)
        if isinstance(self.engine, RateEngineSpec):
            reason = Message("unused.port", "engines of which only rates are known have no port of their own")
            found |= {f"memories.{name}.{key}": reason for name in self.memories for key in ("delay", "burst")}
        return found

    def home(self, what: Held) -> str:
        """The memory that holds maps or weights, or the link that copies cross; "" where there is none."""
        return next((name for name, memory in self.memories.items() if what in memory.holds), "")
