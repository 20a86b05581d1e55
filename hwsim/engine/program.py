"""What the engine runs: pipelines of stages on shared resources, their tiles told run by run.

A `Pipeline` passes a stream of tiles through its stages in order. A stage works on one tile at a time and occupies one
server of its resource while it works; for each tile it

1. waits until the stage before it has finished that tile            (a stall on `input`),
2. claims a slot in the buffer between itself and the next stage     (a stall on `output` while all are taken),
3. takes a server of its resource                                    (a stall on the stage that holds it),
4. works for the tile's duration, then hands the tile on and gives back the slot that it read the tile from.

So a slot is taken from the moment its producer begins until its consumer is done: `buffer=2` is a double buffer (the
next tile is loaded while this one is computed), with `buffer=1` producer and consumer take turns. A duration of 0 skips
the stage for this tile: the tile still passes in order and needs its slot, but it takes no resource and no time. A tile
that takes no time in any stage is no tile and is left out.

A resource serves those who wait in the order in which they came; those who came in the same tick in the order of the
pipelines in the program, then of the stages in the pipeline (so a load goes before a store, as in a memory controller
that prefers reads).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

__all__ = ["Body", "Pipeline", "Program", "Run", "Stage", "spread"]

MAX_RUNS = 100_000
"""Runs written out in one pipeline. More than this is a stream that somebody forgot to fold into loops."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of a pipeline.

    Parameters
    ----------
    name
        Unique in its pipeline.
    resource
        The resource of which one server is occupied while the stage works.
    buffer
        Tile slots between this stage and the next one; without meaning in the last stage.
    """

    name: str
    resource: str
    buffer: int = 2

    def __post_init__(self) -> None:
        if self.buffer < 1:
            raise ValueError(f"Buffer of stage {self.name!r} must have at least 1 slot, not {self.buffer}")


@dataclass(frozen=True, slots=True)
class Run:
    """*count* times the same *body*: one tile (its ticks in each stage), or shorter runs one after the other."""

    count: int
    body: Body

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError(f"Count of a run must not be negative, it is {self.count}")


Body: TypeAlias = "tuple[int, ...] | tuple[Run, ...]"


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A stream of tiles through stages.

    Parameters
    ----------
    name
        Unique in its program.
    stages
        In the order in which a tile passes them.
    tiles
        The stream. Write loops as runs: the time to simulate grows with the runs written down, not with their counts.
    after
        Names of pipelines that must have finished before this one starts.
    """

    name: str
    stages: tuple[Stage, ...]
    tiles: tuple[Run, ...]
    after: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        where = f"pipeline {self.name!r}"
        if not self.stages:
            raise ValueError(f"Stages of {where} must be at least one, none was given")
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError(f"Stage names of {where} must differ, they are {', '.join(names)}")
        for index, body in enumerate(_tiles(self.tiles, where)):
            if index == MAX_RUNS:
                raise ValueError(f"Tiles of {where} must be folded into at most {MAX_RUNS} runs, more were given")
            if len(body) != len(names):
                raise ValueError(
                    f"A tile of {where} must have {len(names)} durations ({', '.join(names)}), not {body!r}"
                )
            for ticks in body:
                if type(ticks) is not int or ticks < 0:
                    raise ValueError(f"Durations of {where} must be whole ticks, 0 or more, not {ticks!r} in {body!r}")


def _tiles(runs: tuple[Run, ...], where: str) -> Iterator[tuple[int, ...]]:
    """Every tile as it is written down, once."""
    for run in runs:
        if not isinstance(run, Run):
            raise ValueError(f"Tiles of {where} must be runs, not {run!r}; use Run(1, ...) for a single tile")
        if not run.body:
            continue
        if isinstance(run.body[0], Run):
            yield from _tiles(run.body, where)
        else:
            yield run.body


@dataclass(frozen=True, slots=True)
class Program:
    """Pipelines that run side by side on shared resources.

    Parameters
    ----------
    resources
        Servers of each resource.
    pipelines
        The order decides who goes first when two ask for a resource in the same tick.
    """

    resources: Mapping[str, int]
    pipelines: tuple[Pipeline, ...]

    def __post_init__(self) -> None:
        for name, servers in self.resources.items():
            if type(servers) is not int or servers < 1:
                raise ValueError(f"Resource {name!r} must have at least 1 server, not {servers!r}")
        names = [pipeline.name for pipeline in self.pipelines]
        if len(set(names)) < len(names):
            raise ValueError(f"Pipeline names must differ, they are {', '.join(names)}")
        for pipeline in self.pipelines:
            for stage in pipeline.stages:
                if stage.resource not in self.resources:
                    valid = ", ".join(sorted(self.resources)) or "none"
                    raise ValueError(
                        f"Resource of stage {pipeline.name}/{stage.name} must be a resource of the program ({valid}), "
                        f"not {stage.resource!r}"
                    )
            for name in pipeline.after:
                if name not in names:
                    raise ValueError(
                        f"Pipeline {pipeline.name!r} must come after a pipeline of the program, not {name!r}"
                    )
        waiting = {pipeline.name: set(pipeline.after) for pipeline in self.pipelines if pipeline.after}
        while ready := [name for name, after in waiting.items() if not after & waiting.keys()]:
            for name in ready:
                del waiting[name]
        if waiting:
            raise ValueError(f"Pipelines must not wait for each other in a circle: {', '.join(waiting)}")


def spread(tiles: int, *totals: int) -> tuple[Run, ...]:
    """Stage totals over so many tiles, whole ticks each, the sums kept exactly."""
    low = [total // tiles for total in totals]
    extra = [total % tiles for total in totals]
    cuts = sorted({0, tiles, *extra})
    return tuple(
        Run(end - start, tuple(base + (start < more) for base, more in zip(low, extra, strict=True)))
        for start, end in pairwise(cuts)
    )
