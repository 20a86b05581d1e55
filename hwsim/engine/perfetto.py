"""The timeline as a Chrome trace: one track for each resource, one for each pipeline with its stalls."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import islice
from typing import Any

from hwsim.engine.activity import Activity, Interval, StageTotals
from hwsim.engine.clock import Timebase

__all__ = ["trace"]

MAX_SLICES = 100_000
"""More than this a viewer does not show well."""

RESOURCES, PIPELINES = 1, 2
"""The two groups of tracks: process ids of the trace."""


def trace(timeline: Activity, timebase: Timebase) -> str:
    """JSON text. A skipped stretch is one slice, its arguments say how many tiles it stands for.

    Work that overlaps on a resource (several servers, or stretches of two stages that took turns) goes to further
    tracks of that resource, because slices of one track must not overlap.
    """
    # Exact integers until the one division that makes microseconds.
    numerator, denominator = 10**6 * timebase.rate_hz.denominator, timebase.rate_hz.numerator

    def microseconds(ticks: int) -> float:
        return ticks * numerator / denominator

    def piece(pid: int, tid: int, name: str, start: int, end: int, args: dict[str, Any]) -> dict[str, Any]:
        ts = microseconds(start)
        return {
            "name": name, "ph": "X", "pid": pid, "tid": tid, "ts": ts, "dur": microseconds(end) - ts, "args": args
        }  # fmt: skip

    events = [_label("process_name", RESOURCES, 0, "resources"), _label("process_name", PIPELINES, 0, "pipelines")]
    tracks: dict[str, list[tuple[int, int]]] = {name: [] for name in timeline.resources}  # (free from, track id) each
    slices = sorted(islice(timeline.each_interval(), MAX_SLICES), key=lambda interval: (interval.start, interval.end))
    count = 0
    for interval in slices:
        lanes = tracks[interval.resource]
        last = interval.last_end
        for lane, (free, tid) in enumerate(lanes):
            if free <= interval.start:
                lanes[lane] = (last, tid)
                break
        else:
            count += 1
            tid = count
            lanes.append((last, tid))
            title = interval.resource if len(lanes) == 1 else f"{interval.resource} ({len(lanes)})"
            events.append(_label("thread_name", RESOURCES, tid, title))
        events.append(piece(RESOURCES, tid, _title(interval), interval.start, last, _arguments(interval, microseconds)))
    stages: dict[str, list[StageTotals]] = {}
    for totals in timeline.stages.values():
        stages.setdefault(totals.pipeline, []).append(totals)
    for tid, (name, span) in enumerate(timeline.pipelines.items(), count + 1):
        events.append(_label("thread_name", PIPELINES, tid, name))
        args: dict[str, Any] = {"tiles": span.tiles}
        for totals in stages[name]:
            args[f"{totals.stage} busy (us)"] = microseconds(totals.busy)
            for cause, ticks in totals.stalls().items():
                args[f"{totals.stage} waits for {cause} (us)"] = microseconds(ticks)
        events.append(piece(PIPELINES, tid, name, span.start, span.end, args))
    whole = timeline.complete and sum(len(records) for _, _, records in timeline.parts) <= MAX_SLICES
    other = {"tick rate (Hz)": str(timebase.rate_hz), "all intervals shown": whole}
    return json.dumps({"traceEvents": events, "displayTimeUnit": "ns", "otherData": other})


def _label(kind: str, pid: int, tid: int, name: str) -> dict[str, Any]:
    return {"name": kind, "ph": "M", "pid": pid, "tid": tid, "args": {"name": name}}


def _title(interval: Interval) -> str:
    return f"{interval.pipeline}/{interval.stage}" + (f" x{interval.tiles}" if interval.tiles > 1 else "")


def _arguments(interval: Interval, microseconds: Callable[[int], float]) -> dict[str, Any]:
    args: dict[str, Any] = {"tile": interval.tile}
    if interval.tiles > 1:
        args |= {
            "tiles": interval.tiles,
            "each busy (us)": microseconds(interval.end - interval.start),
            "repeats (count, period in us), outermost first": [
                [count, microseconds(period)] for count, period in (*interval.outer, (interval.repeat, interval.period))
            ],
        }
    return args
