"""What every machine file says, whatever its kind: who it is, its clocks, and what its actions cost."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fractions import Fraction
from typing import Annotated

from pydantic import Field

from hwsim.algorithms.choice import Requested
from hwsim.energy.spec import EnergySpec
from hwsim.errors import nearest
from hwsim.fields import Area, Frequency, Money, Name, Spec

__all__ = ["AreaSpec", "CostSpec", "MachineSpec"]


class AreaSpec(Spec):
    """Silicon: the area of each part that the machine has many of, and of what it has once.

    A part is ``pe``, or a memory by its name: the area of one of its bytes. An `estimate` says so in its source.
    """

    parts: Annotated[dict[Name, Area], Field(max_length=32)] = {}
    fixed: Area = Fraction(0)
    source: str

    def check(self, parts: Collection[str]) -> None:
        """Every part must have its area, so that no swept part is free; raises ValueError."""
        for part in self.parts:
            if part not in parts:
                raise ValueError(f"area.parts must name parts of the machine, not {part!r}{nearest(part, parts)}")
        missing = [part for part in parts if part not in self.parts]
        if missing:
            raise ValueError(f"area.parts must give each part of the machine its area; missing: {', '.join(missing)}")

    def by_part(self, parts: Mapping[str, int]) -> dict[str, Fraction]:
        """Area of so many of each part, and of what there is once."""
        areas = {part: Fraction(number * self.parts[part]) for part, number in parts.items()}
        return areas | ({"fixed": Fraction(self.fixed)} if self.fixed else {})


class CostSpec(Spec):
    """Money: what each machine costs, and what a square millimetre of its silicon adds."""

    each: Money = Fraction(0)
    per_mm2: Money = Fraction(0)
    source: str


class MachineSpec(Spec):
    """Base of the machine files of every kind.

    `algorithm` is that of convolutions, of all or by name or pattern of a layer: one of them, which runs where it can,
    or ``auto``, the best of those that the machine has. `area` and `cost` are optional. `fitted` lists the numbers of
    the file that were fitted, and on what; a machine has at most ten a precision.
    """

    kind: str
    name: Name
    source: str
    description: str | None = None
    clocks: Annotated[dict[Name, Frequency], Field(min_length=1, max_length=16)]
    energy: EnergySpec
    algorithm: Requested | Annotated[dict[str, Requested], Field(max_length=20000)] = "auto"
    area: AreaSpec | None = None
    cost: CostSpec | None = None
    fitted: Annotated[dict[str, str], Field(max_length=10)] = {}

    def clock_hz(self, name: str) -> Fraction:
        """Frequency of a named clock; raises ValueError with the nearest name."""
        if name not in self.clocks:
            raise ValueError(f"clock {name!r} is not defined{nearest(name, self.clocks)}")
        return Fraction(self.clocks[name])
