"""Machines that are boards: what they draw in each state, which is all that is known of their energy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from hwsim.energy.origin import EnergyBasis, EnergyOrigin
from hwsim.energy.spec import EnergySpec, PriceSpec
from hwsim.errors import nearest
from hwsim.fields import Frequency, Name, Power, Spec, Time, Voltage
from hwsim.machines.base import Machine

__all__ = ["Board", "PowerSpec"]

_DRAWN = "part of the board power, which is priced by time"


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


class Board(Machine):
    """A machine whose file has a `power` block."""

    @property
    def environment(self) -> str | None:
        """What software runs on it, where active power depends on that."""
        return None

    @property
    def power_state(self) -> str | None:
        """The environment that active power is of: the one asked for, the library's, or the first; None if unknown."""
        power = self.spec.power
        if power.active == "unknown":
            return None
        if power.use is not None:
            return str(power.use)
        environment = self.environment
        return environment if environment is not None and environment in power.active else str(next(iter(power.active)))

    @property
    def supply_factor(self) -> float:
        """What the board draws over what was measured, for being fed with another voltage."""
        power = self.spec.power
        if power.supply is None or power.measured_supply is None or power.regulator != "ldo":
            return 1.0
        return float(power.supply / power.measured_supply)

    def state_w(self, state: Literal["sleep", "deep_sleep", "waking"]) -> float | None:
        """Power in a state of `power`, in watts; None if unknown. Where none is told, waking draws active power."""
        watts = getattr(self.spec.power, state)
        if watts is None:
            return self.active_w
        return None if watts == "unknown" else float(watts) * self.supply_factor

    @property
    def active_w(self) -> float | None:
        """Active power at the machine's clock and supply, in watts; None if unknown."""
        power: PowerSpec = self.spec.power
        if power.active == "unknown" or self.power_state is None:
            return None
        full = float(power.active[self.power_state])
        if power.at is not None:
            asleep = 0.0 if power.sleep == "unknown" else min(float(power.sleep), full)
            full = asleep + (full - asleep) * float(self.spec.clock_hz(self.core_clock) / power.at)
        return full * self.supply_factor

    def drawn(self, parts: Iterable[str]) -> EnergySpec:
        """The energy block of a board with these components: active power over time, or unknown."""
        power, watts = self.spec.power, self.active_w
        if watts is None:
            price = PriceSpec(unknown=True, source=power.source)
            return EnergySpec(table="horowitz_45nm", prices=dict.fromkeys(parts, price))
        price = PriceSpec(energy="0 pJ", source=_DRAWN)
        return EnergySpec(
            table="horowitz_45nm",
            prices=dict.fromkeys(parts, price),
            static=f"{watts:.12f} W",
            static_source=f"active power, {self.power_state}: {power.source}",
        )

    @property
    def energy_origin(self) -> EnergyOrigin:
        """What the file says of its power."""
        return EnergyOrigin(self.spec.power.covers, self.spec.power.basis)
