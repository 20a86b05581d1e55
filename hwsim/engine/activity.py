"""What happened in a run: totals of every resource and stage, and the intervals in which they worked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import NamedTuple, Self

from hwsim.engine.clock import Timebase

__all__ = ["Activity", "Interval", "PipelineSpan", "ResourceTotals", "StageTotals"]

StageKey = tuple[str, str]
"""(pipeline, stage)"""

Names = tuple[tuple[str, str, str], ...]
"""(resource, pipeline, stage) of each station"""

Record = tuple[int, int, int, int, int, int, tuple[tuple[int, int], ...]]
"""station, tile, start, end, repeat, period, outer: an `Interval` without its names."""


class Interval(NamedTuple):
    """A stage at work on one tile, or on the like tiles of a stretch that was skipped.

    A stretch stands for `repeat` tiles, the first from `start` to `end` and each next one `period` ticks later. Where
    a whole stretch recurs in an outer loop, `outer` has (repeat, period) of each loop around it, outermost first.
    """

    resource: str
    pipeline: str
    stage: str
    tile: int
    start: int
    end: int
    repeat: int = 1
    period: int = 0
    outer: tuple[tuple[int, int], ...] = ()

    @property
    def tiles(self) -> int:
        """Tiles that this interval stands for."""
        return self.repeat * prod(count for count, _ in self.outer)

    @property
    def busy(self) -> int:
        """Ticks worked in all of them."""
        return (self.end - self.start) * self.tiles

    @property
    def last_end(self) -> int:
        """When the last of them was done."""
        return self.end + sum((count - 1) * period for count, period in (*self.outer, (self.repeat, self.period)))


@dataclass(frozen=True, slots=True)
class ResourceTotals:
    """Ticks of all servers of a resource together."""

    servers: int
    busy: int
    idle: int


@dataclass(frozen=True, slots=True)
class StageTotals:
    """Where the ticks of a stage went, from the start of its pipeline until its own last tile.

    `input`, `output` and `blocked` are stalls: the tile was not there, no slot downstream was free, the resource was
    held by that other stage. Together with `busy` they add up to `end - start`.
    """

    pipeline: str
    stage: str
    resource: str
    tiles: int
    start: int
    end: int
    busy: int
    input: int
    output: int
    blocked: Mapping[StageKey, int]

    def stalls(self) -> dict[str, int]:
        """Ticks of each stall by cause: `input`, `output`, or `pipeline/stage` of the stage that held the resource."""
        causes = {"input": self.input, "output": self.output}
        causes |= {f"{pipeline}/{stage}": ticks for (pipeline, stage), ticks in self.blocked.items()}
        return {cause: ticks for cause, ticks in causes.items() if ticks}


@dataclass(frozen=True, slots=True)
class PipelineSpan:
    """When a pipeline ran, and how many tiles passed it."""

    start: int
    end: int
    tiles: int


@dataclass(frozen=True, slots=True, eq=False)
class Activity:
    """What happened in a run, in ticks.

    `end` is when the last tile was done, `events` the SimPy events that the run took, `tiles` how many tiles it stands
    for, skipped ones included. `complete` is False if there were too many intervals to keep; totals are always exact.
    """

    end: int
    events: int
    tiles: int
    resources: Mapping[str, ResourceTotals]
    stages: Mapping[StageKey, StageTotals]
    pipelines: Mapping[str, PipelineSpan]
    complete: bool
    parts: tuple[tuple[int, Names, Sequence[Record]], ...]
    """The intervals as they were taken down: shift in ticks, names of the stations, records."""
    timebase: Timebase | None = None
    """What a tick is, where it is known."""

    @property
    def intervals(self) -> list[Interval]:
        """All work. The skipped stretches are one interval each."""
        return list(self.each_interval())

    def each_interval(self) -> Iterator[Interval]:
        """All work, one by one."""
        for shift, names, records in self.parts:
            for station, tile, start, end, repeat, period, outer in records:
                yield Interval(*names[station], tile, start + shift, end + shift, repeat, period, outer)

    def shifted(self, ticks: int) -> Self:
        """The same, *ticks* later; the resources idle until then."""
        return replace(
            self,
            end=self.end + ticks,
            resources={n: replace(r, idle=r.idle + r.servers * ticks) for n, r in self.resources.items()},
            stages={k: replace(s, start=s.start + ticks, end=s.end + ticks) for k, s in self.stages.items()},
            pipelines={n: replace(p, start=p.start + ticks, end=p.end + ticks) for n, p in self.pipelines.items()},
            parts=tuple((shift + ticks, names, records) for shift, names, records in self.parts),
        )
