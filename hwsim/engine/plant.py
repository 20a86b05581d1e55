"""The live counterpart of a program: built from it before a run, read out after."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from hwsim.engine.activity import PipelineSpan, ResourceTotals, StageTotals
from hwsim.engine.cursor import Cursor, fold
from hwsim.engine.program import Pipeline, Program
from hwsim.engine.station import BUSY, TILES, WAIT_INPUT, WAIT_OUTPUT, WAIT_PEERS, Line, Pool, Records, Station
from hwsim.engine.timeline import Timeline

__all__ = ["Plant"]


class Plant:
    """The live counterpart of a program."""

    def __init__(self, program: Program, max_records: int) -> None:
        self.program = program
        self.names: list[tuple[str, str, str]] = []
        self.lines: dict[str, Line] = {}
        self.pools: dict[str, Pool] = {}
        self.agenda: list[Pool] = []
        self.records = Records(max_records)
        users = Counter(stage.resource for pipeline in program.pipelines for stage in pipeline.stages)
        for name, servers in program.resources.items():
            if users[name] > servers:
                self.pools[name] = Pool(servers, self.agenda)
        for pipeline in program.pipelines:
            self.lines[pipeline.name] = self._line(pipeline)
        for pipeline in program.pipelines:
            line = self.lines[pipeline.name]
            line.awaits = len(set(pipeline.after))
            for name in dict.fromkeys(pipeline.after):
                self.lines[name].followers.append(line)
        for pool in self.pools.values():
            for station in pool.users:
                station.totals += [0] * len(pool.users)

    def _line(self, pipeline: Pipeline) -> Line:
        loops = fold(pipeline.tiles)
        line = Line(Cursor(loops), sum(loop.tiles for loop in loops))
        before: Station | None = None
        for position, stage in enumerate(pipeline.stages):
            pool = self.pools.get(stage.resource)
            station = Station(len(self.names), position, line, stage.buffer, pool, self.records)
            self.names.append((stage.resource, pipeline.name, stage.name))
            if pool is not None:
                station.peer = len(pool.users)
                pool.users.append(station)
            if before is not None:
                before.behind = station
                station.before = before
            line.stations.append(station)
            before = station
        return line

    def islands(self) -> Iterator[tuple[list[Line], list[Pool]]]:
        """Lines that wait for each other or share a pool, and their pools; lines of two islands never meet."""
        leader = {name: name for name in self.lines}

        def find(name: str) -> str:
            while leader[name] != name:
                name = leader[name]
            return name

        first_user: dict[str, str] = {}
        for pipeline in self.program.pipelines:
            for name in pipeline.after:
                leader[find(pipeline.name)] = find(name)
            for stage in pipeline.stages:
                if stage.resource in self.pools:
                    leader[find(pipeline.name)] = find(first_user.setdefault(stage.resource, pipeline.name))
        islands: dict[str, list[Line]] = {}
        for name, line in self.lines.items():
            islands.setdefault(find(name), []).append(line)
        for root, lines in islands.items():
            yield lines, [pool for name, pool in self.pools.items() if find(first_user[name]) == root]

    def timeline(self, events: int) -> Timeline:
        """What happened."""
        stages: dict[tuple[str, str], StageTotals] = {}
        busy = dict.fromkeys(self.program.resources, 0)
        for line in self.lines.values():
            for station in line.stations:
                resource, pipeline, stage = self.names[station.index]
                totals = station.totals
                waits = {}
                if station.pool is not None:
                    for peer, ticks in zip(station.pool.users, totals[WAIT_PEERS:], strict=True):
                        if ticks:
                            waits[self.names[peer.index][1:]] = ticks
                stages[pipeline, stage] = StageTotals(
                    pipeline=pipeline,
                    stage=stage,
                    resource=resource,
                    tiles=totals[TILES],
                    start=line.start,
                    end=station.when,
                    busy=totals[BUSY],
                    input=totals[WAIT_INPUT],
                    output=totals[WAIT_OUTPUT],
                    blocked=waits,
                )
                busy[resource] += totals[BUSY]
        end = max((line.end for line in self.lines.values()), default=0)
        return Timeline(
            end=end,
            events=events,
            tiles=sum(line.tiles for line in self.lines.values()),
            resources={
                name: ResourceTotals(servers, busy[name], servers * end - busy[name])
                for name, servers in self.program.resources.items()
            },
            stages=stages,
            pipelines={name: PipelineSpan(line.start, line.end, line.tiles) for name, line in self.lines.items()},
            complete=self.records.complete,
            parts=((0, tuple(self.names), self.records.list),),
        )
