"""Quantities with units: the only module that knows powers of ten and of two.

Every quantity is text such as ``200 MHz`` or ``108 KiB``. It is read into an exact
`fractions.Fraction` of the base unit of its dimension (Hz, byte, bit, s, pJ, W, V, m, mm2, USD), so that nothing is
rounded before it must be. ``kB`` is 1000 bytes and ``KiB`` is 1024; ``b`` is a bit and ``B`` a byte.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from hwsim.errors import excerpt, nearest

__all__ = [
    "DIMENSIONS",
    "PICO",
    "ColumnUnit",
    "Dimension",
    "Rate",
    "column_unit",
    "format_count",
    "format_si",
    "format_size",
    "parse",
    "parse_rate",
]

_SI = {"f": -15, "p": -12, "n": -9, "u": -6, "µ": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12}
_IEC = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40}
_LONG = {"min": Fraction(60), "h": Fraction(3600), "day": Fraction(86400), "days": Fraction(86400)}
PICO = Fraction(1, 10**12)


def _si(symbol: str, prefixes: str, scale: Fraction = Fraction(1)) -> dict[str, Fraction]:
    """Units made of `symbol` with each of `prefixes` ('' is written '1')."""
    table = {}
    for prefix in prefixes:
        prefix = "" if prefix == "1" else prefix
        table[prefix + symbol] = scale * Fraction(10) ** _SI[prefix]
    return table


def _sizes(scale: int) -> dict[str, Fraction]:
    table = _si("B", "1kMGT", Fraction(scale))
    table.update({f"{prefix}B": Fraction(2**power * scale) for prefix, power in _IEC.items()})
    bits = {"b": Fraction(scale, 8), "kb": Fraction(125 * scale), "Mb": Fraction(125000 * scale)}
    return table | bits | {"bit": bits["b"]} | {f"{p}b": Fraction(2**power * scale, 8) for p, power in _IEC.items()}


def _ten(power: int) -> Fraction:
    return Fraction(10) ** power


@dataclass(frozen=True, slots=True)
class Dimension:
    """A physical dimension: its name, the units it may be written in, an example, the largest and least values."""

    name: str
    units: dict[str, Fraction]
    example: str
    limit: Fraction
    least: Fraction
    zero: bool = False


DIMENSIONS: dict[str, Dimension] = {
    d.name: d
    for d in (
        Dimension("frequency", _si("Hz", "1kMG"), "200 MHz", Fraction(10**12), _ten(-6)),
        Dimension("size", _sizes(1), "108 KiB", Fraction(2**60), _ten(-9)),
        Dimension("time", _si("s", "pnuµm1") | _LONG, "50 us", Fraction(10**9), _ten(-21), zero=True),
        Dimension("energy", _si("J", "fpnuµm1", 1 / PICO), "1.3 nJ", Fraction(10**18), _ten(-12), zero=True),
        Dimension("power", _si("W", "pnuµm1k"), "278 mW", Fraction(10**6), _ten(-18), zero=True),
        Dimension("voltage", _si("V", "m1"), "1.0 V", Fraction(10**4), _ten(-9)),
        Dimension("length", _si("m", "nuµm"), "65 nm", Fraction(1), _ten(-18)),
        Dimension(
            "area", {"mm2": Fraction(1), "um2": Fraction(1, 10**6)}, "12.25 mm2", Fraction(10**9), _ten(-12), zero=True
        ),
        Dimension("money", {"USD": Fraction(1)}, "4.50 USD", Fraction(10**9), _ten(-9), zero=True),
    )
}


@dataclass(frozen=True, slots=True)
class ColumnUnit:
    """The unit at the end of a column's name: its dimensions, its symbol with SI prefixes, and the scale to that."""

    suffix: str
    dimensions: tuple[str, ...]
    symbol: str
    scale: float = 1.0


_COLUMN_UNITS = (
    ColumnUnit("_per_s", ("frequency",), "/s"),
    ColumnUnit("_pj_s", ("energy", "time"), "Js", 1e-12),
    ColumnUnit("_s", ("time",), "s"),
    ColumnUnit("_pj", ("energy",), "J", 1e-12),
    ColumnUnit("_w", ("power",), "W"),
    ColumnUnit("_hz", ("frequency",), "Hz"),
    ColumnUnit("_mm2", ("area",), "mm²"),
    ColumnUnit("_usd", ("money",), "USD"),
    ColumnUnit("_bytes", ("size",), "B"),
)


def column_unit(column: str) -> ColumnUnit | None:
    """The unit of a column by its name, or None; a ratio, as ``tops_per_w``, has none.

    A column of a part, as ``energy_pj.mac``, is in the unit of the whole.
    """
    for name in (column, column.partition(".")[0]):
        for unit in _COLUMN_UNITS:
            if name.endswith(unit.suffix) and not name.endswith(f"_per{unit.suffix}"):
                return unit
    return None


_NUMBER = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?"
_QUANTITY = re.compile(rf"\s*({_NUMBER})\s*([A-Za-zµ]*2?)\s*\Z")
_RATE = re.compile(rf"\s*({_NUMBER})\s*([A-Za-zµ]+)\s*/\s*([A-Za-z]+)\s*\Z")


def parse(text: object, dimension: str) -> Fraction:
    """Read a quantity of the named dimension.

    Parameters
    ----------
    text : str
        A number and a unit, such as ``"200 MHz"``.
    dimension : str
        A key of `DIMENSIONS`.

    Returns
    -------
    Fraction
        The exact value in Hz, B, s, pJ, W, V, m, mm2 or USD.

    Raises
    ------
    ValueError
        If the text is not a number with a unit of that dimension, or is negative, zero where zero has no
        meaning, or absurdly large.
    """
    kind = DIMENSIONS[dimension]
    wanted = f"must be a {kind.name} such as '{kind.example}'"
    match = _QUANTITY.match(text) if isinstance(text, str) and len(text) < 100 else None
    if not match:
        raise ValueError(f"{wanted}, not {_shown(text)}")
    number, unit = match.groups()
    if unit not in kind.units:
        raise ValueError(f"{wanted}, not {text!r}" + (nearest(unit, kind.units) if unit else "; the unit is missing"))
    value = Fraction(number) * kind.units[unit]
    return _bounded(value, kind, text, wanted)


def _bounded(value: Fraction, kind: Dimension, text: object, wanted: str) -> Fraction:
    if value < 0 or (value == 0 and not kind.zero):
        raise ValueError(f"{wanted} and {'at least zero' if kind.zero else 'more than zero'}, not {text!r}")
    if value > kind.limit or 0 < value < kind.least:
        raise ValueError(f"{wanted} of a believable size, not {text!r}")
    return value


def _shown(value: object) -> str:
    text = excerpt(value, 61)
    return text if len(text) <= 60 else text[:57] + "..."


@dataclass(frozen=True, slots=True)
class Rate:
    """An amount of bytes or words per second or per cycle of some clock."""

    amount: Fraction
    unit: str
    per: str

    def bytes_per_second(self, clock_hz: Fraction, word_bits: int) -> Fraction:
        """The rate in bytes a second, on a clock of `clock_hz` and words of `word_bits`."""
        amount = self.amount * Fraction(word_bits, 8) if self.unit == "words" else self.amount
        return amount if self.per == "s" else amount * clock_hz


def parse_rate(text: object) -> Rate:
    """Read ``25.6 GB/s``, ``8 B/cycle`` or ``4 words/cycle``; raises ValueError otherwise."""
    wanted = "must be a rate such as '25.6 GB/s', '8 B/cycle' or '4 words/cycle'"
    match = _RATE.match(text) if isinstance(text, str) and len(text) < 100 else None
    if not match:
        raise ValueError(f"{wanted}, not {_shown(text)}")
    number, unit, per = match.groups()
    sizes = DIMENSIONS["size"].units
    if per not in ("s", "cycle"):
        raise ValueError(f"{wanted}, not {text!r}{nearest(per, ['s', 'cycle'])}")
    if unit in ("word", "words"):
        amount, unit = Fraction(number), "words"
    elif unit in sizes:
        amount, unit = Fraction(number) * sizes[unit], "B"
    else:
        raise ValueError(f"{wanted}, not {text!r}{nearest(unit, [*sizes, 'words'])}")
    if amount <= 0:
        raise ValueError(f"{wanted} and more than zero, not {text!r}")
    if not DIMENSIONS["size"].least <= amount <= DIMENSIONS["size"].limit:
        raise ValueError(f"{wanted} of a believable size, not {text!r}")
    return Rate(amount, unit, per)


def format_si(value: float, unit: str, digits: int = 3) -> str:
    """Write a value of the base unit with the SI prefix that leaves one to three digits before the point."""
    if value == 0:
        return f"0 {unit}"
    for prefix in ("T", "G", "M", "k", "", "m", "u", "n", "p", "f"):
        scale = 10.0 ** _SI[prefix]
        if abs(value) >= scale * 0.9995 or prefix == "f":
            return (
                f"{value / scale:.{digits}g} {prefix}{unit}"
                if abs(value) < 999.5 * scale
                else f"{value / scale:.0f} {prefix}{unit}"
            )
    raise AssertionError("unreachable: the last prefix always returns")


def format_count(count: float, noun: str) -> str:
    """Write a number of things with their noun: ``1 thread``, ``1,024 threads``."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def format_size(size: float) -> str:
    """Write a number of bytes in binary units, as ``91.0 KiB``."""
    for prefix, power in reversed(_IEC.items()):
        if size >= 2**power:
            return f"{size / 2**power:.1f} {prefix}B"
    return f"{size:.0f} B"
