"""Lower bounds of the cost of a layer on a machine, without planning it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from hwsim.machines.plan import Action

__all__ = ["LowerBound", "total"]


@dataclass(frozen=True, slots=True)
class LowerBound:
    """Lower bounds of a layer: no plan is faster or has fewer of these actions.

    Attributes
    ----------
    seconds : Fraction
        No plan is faster.
    counts : dict
        No plan has fewer of these actions; the bound of others is zero.
    word_bits : dict
        Bits of a word of each tensor, as a plan has them.
    dram_bytes : int
        No plan moves less.
    """

    seconds: Fraction = Fraction(0)
    counts: Mapping[Action, int] = field(default_factory=dict)
    word_bits: Mapping[str, float] = field(default_factory=dict)
    dram_bytes: int = 0


def total(parts: Iterable[LowerBound]) -> LowerBound:
    """The lower bound of a layer that is planned in sequential parts."""
    bounds = list(parts)
    counts: Counter[Action] = Counter()
    for part in bounds:
        counts.update(part.counts)
    seconds = sum((part.seconds for part in bounds), Fraction(0))
    return LowerBound(seconds, dict(counts), bounds[0].word_bits, sum(part.dram_bytes for part in bounds))
