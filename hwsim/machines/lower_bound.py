"""The least that a layer can cost on a machine, known without planning it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from hwsim.machines.plan import Action

__all__ = ["Least", "total"]


@dataclass(frozen=True, slots=True)
class Least:
    """Lower bounds of a layer: whatever plan is chosen takes as long, and does each of these actions as often.

    Attributes
    ----------
    seconds : Fraction
        No plan is faster.
    counts : dict
        No plan has fewer of these actions; those that are left out may not happen at all.
    word_bits : dict
        Bits of a word of each tensor, as a plan has them.
    dram_bytes : int
        No plan moves less.
    """

    seconds: Fraction = Fraction(0)
    counts: Mapping[Action, int] = field(default_factory=dict)
    word_bits: Mapping[str, int] = field(default_factory=dict)
    dram_bytes: int = 0


def total(parts: Iterable[Least]) -> Least:
    """The least of a layer that is planned in parts, one after the other."""
    found = list(parts)
    counts: Counter[Action] = Counter()
    for part in found:
        counts.update(part.counts)
    seconds = sum((part.seconds for part in found), Fraction(0))
    return Least(seconds, dict(counts), found[0].word_bits, sum(part.dram_bytes for part in found))
