"""What becomes of the operators of a model file, for the docs."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Fate"]


@dataclass(frozen=True)
class Fate:
    """What becomes of some operators: how they are counted and priced."""

    counted: str
    priced: str
    operators: tuple[str, ...]
