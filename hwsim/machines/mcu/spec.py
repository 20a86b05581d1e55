"""What a microcontroller's file says: core and clock, flash and RAM, the library it runs, and what the board draws."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PrivateAttr, model_validator

from hwsim.energy.origin import EnergyBasis
from hwsim.energy.spec import EnergySpec
from hwsim.errors import excerpt, nearest
from hwsim.fields import Frequency, Name, Power, Size, Spec, Time, Voltage
from hwsim.machines.mcu.library import load_core
from hwsim.machines.precision import Precision
from hwsim.machines.spec import MachineSpec
from hwsim.workload import Workload, load_workload, workload_names

__all__ = ["FlashSpec", "McuSpec", "MeasuredSpec", "PowerSpec", "RamSpec"]


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


def _active(value: Any) -> Any:
    """One power is that of the board."""
    return {"board": value} if isinstance(value, str) and value != "unknown" else value


class PowerSpec(Spec):
    """What the board draws: active by environment (`use` picks one), asleep, and how long it takes to wake up.

    `waking` is drawn while it wakes up; default: active power. All powers were measured at
    `measured_supply`: fed with another `supply`, a linear regulator (`ldo`) draws the same current, a switching one
    (`smps`) the same power.

    Active power was measured `at` a clock; at another, what is above sleep goes with the clock. `covers` says what it
    is the power of, and `basis` what it rests on: a measurement of networks, a data sheet, or an estimate. `spread` is
    the relative standard deviation of the active power of published runs, over networks and submissions in a state.
    """

    active: Annotated[
        dict[Name, Power] | Literal["unknown"],
        BeforeValidator(_active, json_schema_input_type=str | dict[Name, Power]),
    ]
    use: Name | None = None
    at: Frequency | None = None
    covers: Literal["chip", "board"] = "board"
    basis: EnergyBasis = "not stated"
    sleep: Power | Literal["unknown"] = "unknown"
    deep_sleep: Power | Literal["unknown"] = "unknown"
    wake_up: Time | Literal["unknown"] = "unknown"
    waking: Power | None = None
    supply: Voltage | None = None
    measured_supply: Voltage | None = None
    spread: Annotated[float, Field(gt=0, le=2)] | None = None
    regulator: Literal["ldo", "smps"] | None = None
    source: str

    @model_validator(mode="after")
    def _known(self) -> PowerSpec:
        if self.active != "unknown" and not self.active:
            raise ValueError("active must name at least one power, or be unknown")
        if self.use is not None and (self.active == "unknown" or self.use not in self.active):
            valid = () if self.active == "unknown" else tuple(self.active)
            raise ValueError(f"use names {self.use!r}, which active does not have{nearest(self.use, valid)}")
        if self.supply is not None and (self.measured_supply is None or self.regulator is None):
            raise ValueError("supply needs measured_supply and regulator to scale the power")
        return self


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
