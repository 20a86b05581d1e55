"""The timeline of a run as users get it: written as a trace, and of several runs one after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hwsim.engine.activity import Activity, Names, PipelineSpan, Record, ResourceTotals, StageKey, StageTotals
from hwsim.engine.clock import Timebase
from hwsim.engine.perfetto import trace
from hwsim.files import write_text

__all__ = ["Timeline", "concatenate"]


@dataclass(frozen=True, slots=True, eq=False)
class Timeline(Activity):
    """What happened in a run, in ticks; see `Activity` for what it holds."""

    def to_json(self, timebase: Timebase | None = None) -> str:
        """The trace as Chrome-trace JSON, which https://ui.perfetto.dev opens; ticks of `timebase`, else of its own."""
        base = timebase or self.timebase
        if base is None:
            raise ValueError("A timeline without a timebase must be given one to be written in seconds")
        return trace(self, base)

    def to_perfetto(self, path: str | Path, timebase: Timebase | None = None) -> None:
        """Write what `to_json` returns into a file."""
        write_text(Path(path), self.to_json(timebase))


def concatenate(parts: Iterable[tuple[str, Timeline]], timebase: Timebase | None = None) -> Timeline:
    """Timelines one after the other, each under a name that is put before those of its pipelines: `conv1/main`.

    The same timeline may occur more than once. No interval is touched, so this is cheap.
    """
    end = events = tiles = 0
    complete = True
    busy: Counter[str] = Counter()
    servers: dict[str, int] = {}
    stages: dict[StageKey, StageTotals] = {}
    pipelines: dict[str, PipelineSpan] = {}
    pieces: list[tuple[int, Names, Sequence[Record]]] = []
    for name, timeline in parts:
        for pipeline, span in timeline.pipelines.items():
            if f"{name}/{pipeline}" in pipelines:
                raise ValueError(f"Names of timelines must differ, {name!r} was given twice")
            pipelines[f"{name}/{pipeline}"] = PipelineSpan(span.start + end, span.end + end, span.tiles)
        for (pipeline, stage), totals in timeline.stages.items():
            blocked = {(f"{name}/{by}", stage_): ticks for (by, stage_), ticks in totals.blocked.items()}
            stages[f"{name}/{pipeline}", stage] = StageTotals(
                f"{name}/{pipeline}", totals.stage, totals.resource, totals.tiles, totals.start + end, totals.end + end,
                totals.busy, totals.input, totals.output, blocked,
            )  # fmt: skip
        for resource, usage in timeline.resources.items():
            busy[resource] += usage.busy
            servers[resource] = max(usage.servers, servers.get(resource, 0))
        for shift, names, records in timeline.parts:
            labels = tuple((resource, f"{name}/{pipeline}", stage) for resource, pipeline, stage in names)
            pieces.append((shift + end, labels, records))
        end += timeline.end
        events += timeline.events
        tiles += timeline.tiles
        complete &= timeline.complete
    resources = {name: ResourceTotals(n, busy[name], n * end - busy[name]) for name, n in servers.items()}
    return Timeline(end, events, tiles, resources, stages, pipelines, complete, tuple(pieces), timebase)
