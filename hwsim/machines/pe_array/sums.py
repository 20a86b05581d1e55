"""Partial sums: words of the output that are not final, as wide as the accumulators."""

from __future__ import annotations

from collections.abc import Mapping

from hwsim.machines.plan import Action
from hwsim.mapping import Problem

__all__ = ["split_sums"]


def split_sums(problem: Problem, words: Mapping[Action, int], accumulator: str = "") -> dict[Action, int]:
    """Counts with the partial sums apart, as "psum", where they are wider than an output.

    An output is requantized once: behind the memory of the accumulators, which itself holds sums alone, or with its
    last update where a memory is updated by the array directly.
    """
    output = problem.output
    if output.sum_bits == output.bits:
        return dict(words)
    counts: dict[Action, int] = {}
    for (memory, tensor, action), number in words.items():
        final = number
        if tensor == output.name:
            narrow = memory != accumulator and action in ("update", "drain")
            final = min(number, problem.words(tensor)) if narrow else 0
            if number > final:
                counts[memory, "psum", action] = number - final
        if final:
            counts[memory, tensor, action] = final
    return counts
