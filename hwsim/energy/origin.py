"""What an energy is of, and what it rests on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["EnergyBasis", "EnergyOrigin"]

EnergyBasis = Literal["measured", "data sheet", "cost table", "estimate", "not stated"]
"""What an energy rests on: power measured on networks, power of a data sheet, prices of a cost table, a guess."""


@dataclass(frozen=True, slots=True)
class EnergyOrigin:
    """The parts that an energy is of (``board``, ``processor + DRAM``, ``chip at 45 nm``), and its basis."""

    scope: str
    basis: EnergyBasis
