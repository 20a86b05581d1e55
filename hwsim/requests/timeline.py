"""The timeline of requests as a Chrome trace: batches on the streams, the queue as a counter; Perfetto opens it."""

from __future__ import annotations

import json
from heapq import heappop, heappush
from typing import Any

from hwsim.requests.arrivals import TICKS_PER_S
from hwsim.requests.load import Load

__all__ = ["MOST_SAMPLES", "timeline_json"]

MOST_SAMPLES = 20_000
"""The first of a run; more a viewer does not show well."""
_PER_US = TICKS_PER_S // 10**6


def timeline_json(load: Load) -> str:
    """JSON text of the first samples: a slice for each batch, and how many wait that are not dropped."""
    records = load.log.records
    rows = list(zip(records.arrivals[:MOST_SAMPLES], records.starts, records.ends))
    batches: dict[tuple[int, int], list[int]] = {}
    for sample, (_, start, end) in enumerate(rows):
        if end >= 0:
            batches.setdefault((start, end), []).append(sample)
    events: list[dict[str, Any]] = [_name("process_name", 0, f"{load.workload} on {load.machine}")]
    events += [_name("thread_name", lane, f"stream {lane}") for lane in range(1, load.streams + 1)]
    free, running = list(range(1, load.streams + 1)), list[tuple[int, int]]()
    for (start, end), samples in sorted(batches.items()):
        # Batches that begin and end together on several streams are told apart by their size.
        for place in range(0, len(samples), load.max_batch):
            part = samples[place : place + load.max_batch]
            while running and running[0][0] <= start:
                heappush(free, heappop(running)[1])
            lane = heappop(free) if free else load.streams
            heappush(running, (end, lane))
            waits = [(start - rows[sample][0]) / _PER_US for sample in part]
            arguments = {"samples": len(part), "first": part[0], "longest wait (us)": max(waits)}
            name = f"batch of {len(part)}"
            slice_ = {"name": name, "ph": "X", "pid": 1, "tid": lane, "ts": start / _PER_US}
            events.append(slice_ | {"dur": (end - start) / _PER_US, "args": arguments})
    served = [row for row in rows if row[2] >= 0]
    steps = [(arrival, 1) for arrival, *_ in served] + [(start, -1) for _, start, _ in served]
    waiting, before = 0, -1
    for time, step in sorted(steps):
        waiting += step
        if time != before:
            events.append({"name": "waiting", "ph": "C", "pid": 1, "ts": time / _PER_US, "args": {"samples": 0}})
            before = time
        events[-1]["args"]["samples"] = waiting
    other = {"samples shown": len(rows), "samples": len(records.arrivals), "dropped": records.drops}
    return json.dumps({"traceEvents": events, "displayTimeUnit": "ms", "otherData": other})


def _name(kind: str, lane: int, name: str) -> dict[str, Any]:
    return {"name": kind, "ph": "M", "pid": 1, "tid": lane, "args": {"name": name}}
