"""What machines that plan alike have computed, and share."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from hwsim.engine.program import Program
from hwsim.machines.plan import LayerPlan

__all__ = ["PlanCache"]


class PlanCache:
    """What machines that plan alike have computed: plans of layers, contexts of networks, timelines of programs.

    Machines whose descriptions differ only in what no plan depends on (`Machine.planned_on`) may share one.

    Attributes
    ----------
    layers : dict
        Plans by batch, context and everything of the layer but its name.
    memo : dict
        What else a kind computes once, such as the contexts of a whole network.
    planned : int
        Layers that were planned anew, for tests and benchmarks: the work that sharing saves.
    """

    def __init__(self) -> None:
        self.layers: dict[tuple[object, ...], LayerPlan] = {}
        self.memo: dict[Hashable, Any] = {}
        self.planned = 0
        self._timelines: dict[int, tuple[Program, Any]] = {}

    def __len__(self) -> int:
        return len(self.layers)

    def timeline(self, program: Program) -> Any:
        """The timeline of a program of one of the plans, or None if it has not run yet."""
        entry = self._timelines.get(id(program))
        return None if entry is None else entry[1]

    def keep_timeline(self, program: Program, timeline: object) -> None:
        """Keep what the engine made of a program; the program is kept too, so that its identity stays its own."""
        self._timelines[id(program)] = program, timeline
