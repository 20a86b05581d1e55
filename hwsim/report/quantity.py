"""Values with the unit that the name of their column says."""

from __future__ import annotations

import math

from hwsim.units import format_si

__all__ = ["base_unit", "count", "energy", "pace", "shown"]

_UNITS = {
    "_pj_s": ("Js", 1e-12),
    "_s": ("s", 1.0),
    "_pj": ("J", 1e-12),
    "_w": ("W", 1.0),
    "_hz": ("Hz", 1.0),
    "_mm2": ("mm²", 1.0),
    "_usd": ("USD", 1.0),
    "_bytes": ("B", 1.0),
}


def base_unit(column: str) -> tuple[str, float]:
    """The unit of a column that SI prefixes go with, and what its values are times; no unit: a plain number.

    A column of a part, as ``energy_pj.mac``, is in the unit of the whole.
    """
    for name in (column, column.partition(".")[0]):
        if name.endswith("_per_s"):
            return "/s", 1.0
        if "_per_" in name and not name.endswith("_per_inference_pj"):
            continue
        for suffix, unit in _UNITS.items():
            if name.endswith(suffix):
                return unit
    return "", 1.0


def shown(column: str, value: object, digits: int = 4) -> str:
    """A value of a column as a person reads it; NaN and None are unknown."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "unknown"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    unit, scale = base_unit(column)
    if unit == "/s":
        return f"{value:.{digits}g}/s"
    if column in ("utilization", "duty"):
        return f"{value:.1%}"
    if unit in ("mm²", "USD"):
        return f"{value:.{digits}g} {unit}"
    if unit and math.isfinite(value):
        return format_si(value * scale, unit, digits)
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
