"""What a microcontroller's file says: core and clock, flash and RAM, the library it runs, and what the board draws."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PrivateAttr, model_validator

from hwsim.energy.spec import EnergySpec
from hwsim.errors import excerpt, nearest
from hwsim.fields import Name, Size, Spec, Time
from hwsim.machines.board import PowerSpec
from hwsim.machines.mcu.library import load_core
from hwsim.machines.precision import Precision
from hwsim.machines.spec import MachineSpec
from hwsim.workload import Workload, load_workload, workload_names

__all__ = ["FlashSpec", "McuSpec", "MeasuredSpec", "RamSpec"]


class FlashSpec(Spec):
    """Memory of code and weights.

    `weight_byte` is the cycles that the core waits for a byte of weights; each is read once.
    `wait_states` and `line` (bytes read at once) say where that is from.
    """

    size: Size
    weight_byte: Annotated[float, Field(ge=0, le=100)]
    wait_states: Annotated[int, Field(ge=0, le=255)] | None = None
    line: Size | None = None
    source: str


class RamSpec(Spec):
    """Memory of activations; `reserved` is what stack, operating system and drivers keep."""

    size: Size
    reserved: Size
    source: str


class MeasuredSpec(Spec):
    """The latency of a workload that somebody measured on the board itself: all cycles are scaled to meet it."""

    workload: Name
    latency: Time
    _network: Workload = PrivateAttr()

    @model_validator(mode="after")
    def _consistent(self) -> MeasuredSpec:
        if not self.latency:
            raise ValueError("latency must be more than zero")
        name = self.workload
        self._network = load_workload(name if name in workload_names() or name.endswith(".yaml") else name.lower())
        return self

    @property
    def network(self) -> Workload:
        """The workload, read with the machine file."""
        return self._network


def _measured(value: Any) -> Any:
    """``KWS 95 ms`` is short for a mapping."""
    match = re.fullmatch(r"\s*(\S+)\s+(\S+\s*[a-zµ]+)\s*", value) if isinstance(value, str) else None
    if isinstance(value, str) and not match:
        raise ValueError(f"must be a workload and its latency, as 'kws 95 ms', not {excerpt(value)}")
    return {"workload": match[1], "latency": match[2]} if match else value


class McuSpec(MachineSpec):
    """A microcontroller on its board.

    `pace` is the board's cycles over those of the core's factors (flash, cache, bus); `library` a name or a path.
    `precision` is the number format that all layers run in; ``workload``: each in that of its tensors.
    """

    kind: Literal["mcu"]
    core: Name
    clock: Name = "core"
    library: Annotated[str, Field(min_length=1, max_length=300)]
    precision: Precision = "workload"
    flash: FlashSpec
    ram: RamSpec
    power: PowerSpec
    pace: Annotated[float, Field(gt=0, le=100)] = 1.0
    measured: Annotated[MeasuredSpec, BeforeValidator(_measured, json_schema_input_type=str | MeasuredSpec)] | None = (
        None
    )
    # A board draws the power of its state; the energy block is made of it.
    energy: EnergySpec = EnergySpec(table="horowitz_45nm", prices={})

    @model_validator(mode="after")
    def _connected(self) -> McuSpec:
        if self.clock not in self.clocks:
            raise ValueError(f"clock names {self.clock!r}, which is not defined{nearest(self.clock, self.clocks)}")
        if "energy" in self.model_fields_set:
            raise ValueError("a microcontroller is priced by its board power: give power, not energy")
        load_core(self.core)
        return self
