"""What the engine runs of a kernel: a launch, then waves of threadblocks over the SMs beside L2 and DRAM.

Data of a wave is forwarded sector by sector from DRAM through L2 into shared memory while the wave multiplies, so
the three run side by side: a wave lasts as long as the mean of its limits says, the copies beneath it as long as their
bytes take. A finished tile is written before the next wave of its SM begins. All SMs do the same: they are one server.
More than sixteen waves are told in sixteen bundles of as many waves each.
"""

from __future__ import annotations

from dataclasses import dataclass

from hwsim.program import Pipeline, Program, Stage, spread

__all__ = ["Phases", "lower", "nothing"]


@dataclass(frozen=True, slots=True)
class Phases:
    """Ticks of a kernel: launch, all main loops, all writes, the sum over a split; what L2 and DRAM are busy for."""

    launch: int
    multiply: int
    write: int
    reduce: int
    l2: int
    dram: int
    waves: int = 1

    @property
    def total(self) -> int:
        """From the first tick to the last."""
        return self.launch + self.multiply + self.write + self.reduce


_BUNDLES = 16
_RESOURCES = {"launch": 1, "SMs": 1, "L2": 1, "DRAM": 1}


def nothing() -> Program:
    """No kernel: the layer is part of another's, or a view."""
    return Program(_RESOURCES, ())


def lower(phases: Phases) -> Program:
    """The program of one kernel; it takes `phases.total` ticks."""
    waves = max(1, min(phases.waves, phases.multiply, _BUNDLES))
    busy = phases.multiply + phases.write
    pipelines = [Pipeline("launch", (Stage("launch", "launch"),), spread(1, phases.launch))]
    blocks = (Stage("multiply", "SMs", buffer=1), Stage("write back", "SMs"))
    pipelines.append(Pipeline("blocks", blocks, spread(waves, phases.multiply, phases.write), after=("launch",)))
    for name, resource, ticks in (("copy", "L2", phases.l2), ("fetch", "DRAM", phases.dram)):
        if ticks:
            tiles = spread(max(1, min(waves, ticks)), min(ticks, busy))
            pipelines.append(Pipeline(name, (Stage(name, resource),), tiles, after=("launch",)))
    if phases.reduce:
        pipelines.append(Pipeline("reduce", (Stage("reduce", "L2"),), spread(1, phases.reduce), after=("blocks",)))
    return Program(_RESOURCES, tuple(pipelines))
