"""Result of a duty cycle, as text and as plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hwsim.energy.battery import Battery
from hwsim.engine import Timeline
from hwsim.message import Message
from hwsim.report.quantity import counted, span
from hwsim.units import format_si

__all__ = ["DutyCycle"]


@dataclass(frozen=True, slots=True)
class DutyCycle:
    """Result of a duty cycle.

    `time_s` is by state of the core: inference, wake-up, sleep (while the sensor captures), and deep sleep (sleep where
    only that is known). `energy_j` has the energy of each, and that of the sensor, which captures for `sensor_s` beside
    the core, if its power was given. An energy of None is unknown, and so are then `average_w` and `life_s`; `least_w`
    is what the known ones come to. `peak_w` is the most that is drawn at a time. `missed` counts the inferences that
    ended after the next capture was full, `backlog` the most inputs that waited or were worked on at a time.
    """

    every_s: float
    window_s: float
    inferences: int
    missed: int
    backlog: int
    duty: float
    time_s: Mapping[str, float]
    sensor_s: float
    energy_j: Mapping[str, float | None]
    peak_w: float | None
    battery: Battery | None
    timeline: Timeline
    notes: tuple[Message, ...] = ()

    @property
    def least_w(self) -> float:
        """Average power of the states whose power is known."""
        return math.fsum(e for e in self.energy_j.values() if e is not None) / self.window_s

    @property
    def average_w(self) -> float | None:
        """Average power; None if that of a state is unknown."""
        return None if None in self.energy_j.values() else self.least_w

    @property
    def life_s(self) -> float | None:
        """How long the battery lasts; None without one, or if a power is unknown."""
        if self.battery is None or not self.average_w:
            return None
        return self.battery.energy_j / self.average_w

    @property
    def warnings(self) -> tuple[Message, ...]:
        """Limits of the battery that the duty cycle exceeds."""
        if self.battery is None:
            return ()
        return tuple(self.battery.warnings(self.peak_w or 0.0, self.average_w, self.life_s))

    def lines(self) -> list[str]:
        """The result as text, with warnings and notes."""
        return [*self.figures(), *(f"WARNING: {text}" for text in self.warnings), *map(str, self.notes)]

    def figures(self) -> list[str]:
        """Power, times, energies and battery life as text."""
        is_known = self.average_w is not None
        power = format_si(self.least_w, "W", 5) if is_known else f"unknown, at least {format_si(self.least_w, 'W', 4)}"
        late = f"missed deadlines {self.missed:,}"
        if self.missed:
            late += f" ({self.missed / self.inferences:.1%}), largest backlog {counted(self.backlog, 'input')}"
        lines = [
            f"every {format_si(self.every_s, 's')}, {counted(self.inferences, 'inference')} in {span(self.window_s)}",
            f"average power {power}; duty {self.duty:.3%}; {late}",
        ]
        times = dict(self.time_s) | ({"sensor": self.sensor_s} if "sensor" in self.energy_j else {})
        for state, seconds in times.items():
            energy = self.energy_j[state]
            joules = "unknown" if energy is None else format_si(energy / self.inferences, "J", 4)
            lines.append(f"  {state}: {seconds / self.window_s:.4%} of the time, {joules} per inference")
        if self.battery is not None:
            life = "unknown" if self.life_s is None else span(self.life_s)
            if not is_known and self.least_w:
                life = f"unknown, at most {span(self.battery.energy_j / self.least_w)}"
            capacity = f"{float(self.battery.capacity_mah):g} mAh at {float(self.battery.voltage):g} V"
            lines.append(f"battery life {life}: {self.battery.name}, {capacity} ({self.battery.source})")
            if self.peak_w is not None:
                lines.append(f"peak current {self.battery.current_ma(self.peak_w):.4g} mA")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Everything but the timeline as plain data; unknown values are null."""
        cell = self.battery
        battery = None
        if cell is not None:
            peak = None if self.peak_w is None else cell.current_ma(self.peak_w)
            battery = {
                "name": cell.name,
                "capacity_mah": float(cell.capacity_mah),
                "voltage": float(cell.voltage),
                "energy_j": cell.energy_j,
                "rated_ma": cell.rated_ma,
                "pulse_ma": cell.pulse_ma,
                "source": cell.source,
                "peak_ma": peak,
                "life_s": self.life_s,
            }
        return {
            "every_s": self.every_s,
            "window_s": self.window_s,
            "inferences": self.inferences,
            "missed": self.missed,
            "backlog": self.backlog,
            "duty": self.duty,
            "average_w": self.average_w,
            "least_w": self.least_w,
            "peak_w": self.peak_w,
            "time_s": dict(self.time_s),
            "sensor_s": self.sensor_s,
            "energy_j": dict(self.energy_j),
            "battery": battery,
            "events": self.timeline.events,
            "warnings": list(map(str, self.warnings)),
            "notes": list(map(str, self.notes)),
            "messages": [message.to_dict() for message in (*self.warnings, *self.notes)],
        }
