"""Values with the unit that the name of their column says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hwsim.units import column_unit, format_si

__all__ = ["battery_life", "count", "counted", "cycle_setting", "energy", "head", "pace", "shown", "span", "title"]

_YEAR = 365.25 * 86400


def title(column: str) -> str:
    """The name of a column without its unit, for values that are shown with theirs: energy of energy_pj."""
    unit = column_unit(column)
    name, _, part = column.partition(".")
    if unit is None or not name.endswith(unit.suffix):
        return column
    return (
        name.removesuffix(unit.suffix).replace("_", " ")
        + (unit.symbol if unit.symbol == "/s" else "")
        + (f" of {part}" if part else "")
    )


def head(column: str) -> str:
    """The head of a column of shown values, with the unit that these have: energy (J) of energy_pj."""
    unit, name = column_unit(column), title(column)
    return name if unit is None or unit.symbol == "/s" or name == column else f"{name} ({unit.symbol})"


def shown(column: str, value: object, digits: int = 4) -> str:
    """A value of a column as a person reads it; NaN and None are unknown."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "unknown"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    unit = column_unit(column)
    if column in ("utilization", "duty"):
        return f"{value:.1%}"
    if unit and unit.symbol == "/s":
        return f"{value:.{digits}g}/s"
    if unit and unit.symbol in ("mm²", "USD"):
        return f"{value:.{digits}g} {unit.symbol}"
    if unit and math.isfinite(value):
        return format_si(value * unit.scale, unit.symbol, digits)
    return f"{value:,}" if isinstance(value, int) else f"{value:.{digits}g}"


def count(value: float) -> str:
    """A count with at most four digits: 421.7 M."""
    for scale, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= scale * 0.9995:
            return f"{value / scale:.4g} {suffix}"
    return f"{value:.0f}"


def counted(number: int, noun: str) -> str:
    """A number with its noun: 1 layer, 2,000 layers."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def pace(per_second: float) -> str:
    """Inferences per second, or seconds per inference below 0.1 inferences/s."""
    if 0 < per_second < 0.1:
        return f"{1 / per_second:.3g} s/inference"
    return f"{per_second:,.0f} inferences/s" if per_second >= 1000 else f"{per_second:.3g} inferences/s"


def energy(pj: float) -> str:
    """An energy in joules; NaN is unknown."""
    return "unknown" if math.isnan(pj) else format_si(pj * 1e-12, "J")


def span(seconds: float) -> str:
    """A time in years, days or hours: 12.5 days."""
    for unit, length in (("year", _YEAR), ("day", 86400.0), ("hour", 3600.0)):
        if seconds >= length:
            return f"{seconds / length:.4g} {unit}{'s' * (seconds != length)}"
    return format_si(seconds, "s", 4)


def cycle_setting(scenario: Mapping[str, Any]) -> str:
    """The period and the battery of a duty cycle."""
    every, battery = f"one inference every {format_si(scenario['every_s'], 's')}", scenario.get("battery")
    return (
        f"{every}, {battery['name']} of {battery['capacity_mah']:g} mAh at {battery['voltage']:g} V"
        if battery
        else every
    )


def battery_life(scenario: Mapping[str, Any]) -> str:
    """The battery life of a duty cycle, as `DutyCycle.to_dict` has it; the most it can be where a power is unknown."""
    battery = scenario.get("battery")
    if not battery:
        return ""
    if battery["life_s"] is not None:
        return span(battery["life_s"])
    return f"at most {span(battery['energy_j'] / scenario['least_w'])}" if scenario["least_w"] else "unknown"
