"""What a machine file says of energy: a cost table, and a price for each action."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from hwsim.errors import nearest
from hwsim.fields import Energy, Length, Power, Spec, Voltage
from hwsim.units import parse
from hwsim.workload.number_format import DTYPES

__all__ = ["EnergySpec", "PriceSpec"]


def _sram(text: object) -> object:
    return text if isinstance(text, Fraction) or text == "memory" else parse(text, "size")


SramSize = Annotated[
    Fraction | Literal["memory"],
    BeforeValidator(_sram),
    WithJsonSchema(
        {"type": "string", "examples": ["108 KiB", "memory"], "description": "a size, or that of the memory"}
    ),
]


class PriceSpec(Spec):
    """What one action costs: a given energy, an entry of the table, an SRAM of a size, or `unknown`.

    ``sram: memory`` is an SRAM of the size of the memory that is priced, or of its bank.

    A price of so many `bits` (an entry of the table has its own) is carried to the bits of the word that is moved. One
    of so many `words` is that of an access, which moves that many of a tensor; the last may move fewer.
    `format` lists the number formats whose MACs it is the price of; the first one is that of the multiplier. An entry
    such as ``int8_mac`` names its own; ``mac`` without a format is the table's entry of each: int8_mac, fp16_mac, ...
    """

    energy: Energy | None = None
    bits: Annotated[int, Field(gt=0, le=65536)] | None = None
    words: Annotated[int, Field(gt=0, le=65536)] = 1
    format: str | list[str] | None = None
    entry: str | None = None
    sram: SramSize | None = None
    times: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    unknown: bool = False
    source: str | None = None
    fitted: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> PriceSpec:
        ways = [w for w in ("energy", "entry", "sram") if getattr(self, w) is not None] + ["unknown"] * self.unknown
        if len(ways) != 1:
            names = " and ".join(ways) or "none of them"
            raise ValueError(f"a price must be exactly one of energy, entry, sram or unknown, not {names}")
        if self.words > 1 and (self.energy is None or self.bits is not None):
            raise ValueError("words must come with an energy, and without bits")
        if self.energy is not None and not self.source:
            raise ValueError("a price given as an energy must say its source")
        for name in self.formats:
            if name not in DTYPES:
                raise ValueError(f"format must be a number format, not {name!r}{nearest(name, DTYPES)}")
        return self

    @property
    def formats(self) -> tuple[str, ...]:
        """The number formats of a MAC: those given, or that of the entry's name."""
        if self.format is not None:
            return (self.format,) if isinstance(self.format, str) else tuple(self.format)
        name = (self.entry or "").removesuffix("_mac")
        return (name,) if name != self.entry and name in DTYPES else ()

    @property
    def each_format(self) -> bool:
        """Whether the price of a MAC is the table's entry of its number format."""
        return self.entry == "mac" and self.format is None

    @property
    def any_format(self) -> bool:
        """Whether it is the price of a MAC in every number format: nothing, or unknown."""
        return self.unknown or (self.energy is not None and not self.energy)


class EnergySpec(Spec):
    """The energy block: a cost table, the node it is carried to, and a price for each action.

    A key of `prices` is ``component.action``, or ``component`` for all of its actions. `static` power is drawn
    whatever the machine does. `off_chip` components are left out of the chip's power.
    """

    table: str
    node: Length | None = None
    voltage: Voltage | None = None
    prices: dict[str, PriceSpec]
    static: Power | None = None
    static_source: str | None = None
    off_chip: list[str] = ["dram"]

    @model_validator(mode="after")
    def _complete(self) -> EnergySpec:
        mac = self.prices.get("mac")
        if mac is not None and not (mac.formats or mac.any_format or mac.each_format):
            raise ValueError(
                "prices.mac must name the number formats of its MAC, as format: int8, or [int16, int8] for an int16 "
                "MAC that computes int8 too; entry: mac takes the entry of each format from the table"
            )
        if self.static is not None and not self.static_source:
            raise ValueError("static power must say its source in static_source")
        return self
