"""Engine program of a kernel: a launch, then waves of threadblocks on SMs, L2 and DRAM in parallel.

Data of a wave is forwarded sector by sector from DRAM through L2 into shared memory while the wave multiplies, so
the three run in parallel: a wave lasts as long as the mean of its limits says, the copies beneath it as long as their
bytes take. A finished tile is written before the next wave of its SM begins. All SMs do the same: they are one server.
More than sixteen waves become sixteen bundles of equally many waves.

Of several streams, one is followed from its launch on; SMs, L2 and DRAM are busy for as long as its share of them takes
at their full rate, and for the other streams.
"""

from __future__ import annotations

from dataclasses import dataclass

from hwsim.engine.program import Pipeline, Program, Stage, spread

__all__ = ["Phases", "lower", "lower_concurrent", "lower_exchange", "nothing"]


@dataclass(frozen=True, slots=True)
class Phases:
    """Ticks of a kernel: launch, all main loops, all writes, the sum over a split; what L2 and DRAM are busy for."""

    launch: int = 0
    multiply: int = 0
    write: int = 0
    reduce: int = 0
    l2: int = 0
    dram: int = 0
    waves: int = 1

    @property
    def total(self) -> int:
        """From the first tick to the last."""
        return self.launch + self.multiply + self.write + self.reduce


_BUNDLES = 16
_RESOURCES = {"launch": 1, "SMs": 1, "L2": 1, "DRAM": 1}
_CONCURRENT = {"stream": 1, "SMs": 1, "L2": 1, "DRAM": 1}


def nothing(concurrent: bool = False) -> Program:
    """No kernel, on one stream or `concurrent` with others: the layer is part of another's, or a view."""
    return Program(_CONCURRENT if concurrent else _RESOURCES, ())


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


def lower_exchange(start: int, transfer: int) -> Program:
    """The program of a collective: it starts on all ranks, and then keeps the links busy."""
    stages = (Stage("launch", "launch"), Stage("exchange", "links"))
    return Program({"launch": 1, "links": 1}, (Pipeline("exchange", stages, spread(1, start, transfer)),))


def lower_concurrent(phases: Phases, wait: int, own: dict[str, int], others: dict[str, int]) -> Program:
    """The program of one kernel of one stream among others; it takes `phases.total + wait` ticks.

    Parameters
    ----------
    phases
        Of the kernel alone.
    wait
        Ticks that it takes longer for the others.
    own, others
        Ticks of each of SMs, L2 and DRAM: `own` at most those of the kernel after its launch, both at most all.
    """
    steps = {"multiply": phases.multiply, "write back": phases.write, "reduce": phases.reduce, "wait": wait}
    kernel = tuple(Stage(name, "stream") for name in steps)
    pipelines = [
        Pipeline("launch", (Stage("launch", "stream"),), spread(1, phases.launch)),
        Pipeline("kernel", kernel, spread(1, *steps.values()), after=("launch",)),
    ]
    waves = max(1, min(phases.waves, _BUNDLES))
    for resource, name in (("SMs", "tiles"), ("L2", "copy"), ("DRAM", "fetch")):
        if own[resource]:
            tiles = spread(min(waves, own[resource]), own[resource])
            pipelines.append(Pipeline(name, (Stage(name, resource),), tiles, after=("launch",)))
        if others[resource]:
            tiles = spread(min(waves, others[resource]), others[resource])
            pipelines.append(Pipeline(f"{name} of others", (Stage("other streams", resource),), tiles))
    return Program(_CONCURRENT, tuple(pipelines))
