"""Batteries: what they hold, and what current they can deliver without losing it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from hwsim.errors import InputError, excerpt, nearest
from hwsim.message import Message
from hwsim.units import parse

__all__ = ["BATTERIES", "Battery", "parse_battery"]


@dataclass(frozen=True, slots=True)
class Battery:
    """Charge at a nominal voltage; losses of a converter are left out.

    `rated_ma` is the steady current at which it holds its capacity, `pulse_ma` what it is said to deliver for
    milliseconds, `shelf_years` after how long it is empty by itself. None: not known.
    """

    name: str
    capacity_mah: Fraction
    voltage: Fraction
    source: str
    rated_ma: float | None = None
    pulse_ma: float | None = None
    shelf_years: float | None = None

    @property
    def energy_j(self) -> float:
        """Capacity times voltage."""
        return float(self.capacity_mah * Fraction(36, 10) * self.voltage)

    def current_ma(self, watts: float) -> float:
        """The current that draws this power at the nominal voltage."""
        return watts / float(self.voltage) * 1e3

    def warnings(self, peak_w: float, average_w: float | None, life_s: float | None) -> list[Message]:
        """Limits of the cell that a load exceeds."""
        warnings: list[Message] = []
        values: dict[str, float | str] = {"battery": self.name}
        peak = self.current_ma(peak_w)
        if self.pulse_ma is not None and peak > self.pulse_ma:
            template = (
                "peak current {peak_ma:.4g} mA is more than {battery} delivers, {pulse_ma:g} mA: its voltage drops and "
                "the board may reset; lower the clock, add a capacitor, or take another cell"
            )
            limits = {"peak_ma": peak, "pulse_ma": self.pulse_ma}
            warnings.append(Message("battery.peak_current", template, values | limits, "warning"))
        steady = 0.0 if average_w is None else self.current_ma(average_w)
        if self.rated_ma is not None and steady > self.rated_ma:
            template = (
                "average current {average_ma:.3g} mA is more than the {rated_ma:g} mA at which {battery} holds its "
                "rated capacity: the battery life is shorter than estimated"
            )
            limits = {"average_ma": steady, "rated_ma": self.rated_ma}
            warnings.append(Message("battery.average_current", template, values | limits, "warning"))
        if self.shelf_years is not None and life_s is not None and life_s > self.shelf_years * 365.25 * 86400:
            template = "{battery} self-discharges in about {shelf_years:g} years"
            limits = {"shelf_years": self.shelf_years}
            warnings.append(Message("battery.shelf_life", template, values | limits, "warning"))
        return warnings


BATTERIES: dict[str, Battery] = {
    battery.name: battery
    for battery in (
        Battery(
            "CR2032",
            Fraction(225),
            Fraction(3),
            "data sheets: 225 mAh to 2 V at 0.19 mA; 15 mA pulses commonly stated, Energizer tests 6.8 mA for 2 s",
            rated_ma=0.19,
            pulse_ma=15,
            shelf_years=10,
        ),
        Battery(
            "CR2450",
            Fraction(620),
            Fraction(3),
            "data sheets: 620 mAh (Panasonic, Energizer) to 2 V, at 0.2 mA; pulses of 15 mA at most (AVR Butterfly)",
            rated_ma=0.2,
            pulse_ma=15,
            shelf_years=10,
        ),
        Battery(
            "AA",
            Fraction(2500),
            Fraction(3, 2),
            "one alkaline cell of 1.5 V, as in 2xAA; Energizer E91 and Procell have 3000 mAh at 25 mA to 0.8 V",
            rated_ma=25,
            pulse_ma=1000,
            shelf_years=10,
        ),
        Battery(
            "AAA",
            Fraction(1200),
            Fraction(3, 2),
            "one alkaline cell of 1.5 V; 1200 mAh at 25 mA is typical of data sheets",
            rated_ma=25,
            shelf_years=10,
        ),
        Battery(
            "18650",
            Fraction(2600),
            Fraction(36, 10),
            "one lithium-ion cell; data sheets have 2000 to 3400 mAh at 3.6 V, one hour's charge in an hour",
            rated_ma=2600,
            pulse_ma=2600,
            shelf_years=2,
        ),
        Battery(
            "2xAA",
            Fraction(2500),
            Fraction(3),
            "two alkaline cells of 1.5 V in series; typical of data sheets, at 25 mA",
            rated_ma=25,
            pulse_ma=1000,
            shelf_years=10,
        ),
        Battery(
            "LiPo",
            Fraction(500),
            Fraction(37, 10),
            "one cell of 500 mAh; nominal voltage of data sheets, one hour's charge in an hour",
            rated_ma=500,
            pulse_ma=500,
            shelf_years=2,
        ),
    )
}

_CAPACITY = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(m?)ah[\s,]+(\S+?\s*[a-z]+)(?:[\s,]+(\d+(?:\.\d*)?|\.\d+)\s*(m?)a)?")


def parse_battery(text: str) -> Battery:
    """A battery by name, or by what it holds and can deliver, as ``1000 mAh 3.7 V`` or ``1000 mAh 3.7 V 500 mA``."""
    if not isinstance(text, str):
        raise InputError(f"battery must be a name or as '1000 mAh 3.7 V', not {excerpt(text)}")
    plain = text.strip().lower()
    for name, battery in BATTERIES.items():
        if plain == name.lower():
            return battery
    match = _CAPACITY.fullmatch(plain) if len(text) < 100 else None
    if match is None:
        raise InputError(
            f"battery must be a name or as '1000 mAh 3.7 V', not {excerpt(text)}{nearest(text, BATTERIES)}"
        )
    try:
        voltage = parse(match[3].replace("v", "V"), "voltage")
    except ValueError as error:
        raise InputError(f"battery {error}") from None
    capacity = Fraction(match[1]) * (1 if match[2] else 1000)
    if not capacity:
        raise InputError(f"battery must have a capacity above zero, not {excerpt(text)}")
    pulse = None if match[4] is None else float(match[4]) * (1 if match[5] else 1000)
    return Battery(text.strip(), capacity, voltage, "given", pulse_ma=pulse)
