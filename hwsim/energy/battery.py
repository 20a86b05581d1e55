"""Batteries: what they hold, and what current they can deliver without losing it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from hwsim.errors import InputError, nearest
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

    def warnings(self, peak_w: float, average_w: float | None, life_s: float | None) -> list[str]:
        """What the cell cannot do of what is asked of it."""
        warnings = []
        peak = self.current_ma(peak_w)
        if self.pulse_ma is not None and peak > self.pulse_ma:
            warnings.append(
                f"peak current {peak:.4g} mA is more than {self.name} delivers, {self.pulse_ma:g} mA: its voltage "
                f"drops and the board may reset; lower the clock, add a capacitor, or take another cell"
            )
        steady = 0.0 if average_w is None else self.current_ma(average_w)
        if self.rated_ma is not None and steady > self.rated_ma:
            warnings.append(
                f"average current {steady:.3g} mA is more than the {self.rated_ma:g} mA at which {self.name} holds its "
                f"rated capacity: the battery life is shorter than estimated"
            )
        if self.shelf_years is not None and life_s is not None and life_s > self.shelf_years * 365.25 * 86400:
            warnings.append(f"{self.name} self-discharges in about {self.shelf_years:g} years")
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

_GIVEN = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(m?)ah[\s,]+(\S+?\s*[a-z]+)(?:[\s,]+(\d+(?:\.\d*)?|\.\d+)\s*(m?)a)?")


def parse_battery(text: str) -> Battery:
    """A battery by name, or by what it holds and can deliver, as ``1000 mAh 3.7 V`` or ``1000 mAh 3.7 V 500 mA``."""
    plain = text.strip().lower()
    for name, battery in BATTERIES.items():
        if plain == name.lower():
            return battery
    match = _GIVEN.fullmatch(plain) if len(text) < 100 else None
    if match is None:
        raise InputError(f"battery must be a name or as '1000 mAh 3.7 V', not {text!r:.60}{nearest(text, BATTERIES)}")
    try:
        voltage = parse(match[3].replace("v", "V"), "voltage")
    except ValueError as error:
        raise InputError(f"battery {error}") from None
    capacity = Fraction(match[1]) * (1 if match[2] else 1000)
    if not capacity:
        raise InputError(f"battery must have a capacity above zero, not {text!r:.60}")
    pulse = None if match[4] is None else float(match[4]) * (1 if match[5] else 1000)
    return Battery(text.strip(), capacity, voltage, "given", pulse_ma=pulse)
