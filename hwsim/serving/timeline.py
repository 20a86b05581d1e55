"""The timeline of a served model as a Chrome trace: steps, and how many sequences they hold; Perfetto opens it."""

from __future__ import annotations

import json
from typing import Any

from hwsim.requests.arrivals import TICKS_PER_S
from hwsim.serving.load import TokenLoad

__all__ = ["token_timeline_json"]

_PER_US = TICKS_PER_S // 10**6


def token_timeline_json(load: TokenLoad) -> str:
    """JSON text of the first steps: a slice for those that follow each other unchanged, counters of what is there."""
    records = load.log.records
    names = {"process_name": f"{load.model} on {load.machine}", "thread_name": "steps"}
    events: list[dict[str, Any]] = [
        {"name": kind, "ph": "M", "pid": 1, "tid": 1, "args": {"name": name}} for kind, name in names.items()
    ]
    until = records.segments[-1].end if records.segments else 0
    for segment in records.segments:
        name = f"{segment.sequences} answers" + (f", {segment.prompts} tokens of prompts" if segment.prompts else "")
        time = segment.start / _PER_US
        arguments = {"steps": segment.steps, "sequences": segment.sequences, "prompt tokens": segment.prompts}
        slice_ = {"name": name, "ph": "X", "pid": 1, "tid": 1, "ts": time, "args": arguments}
        events.append(slice_ | {"dur": (segment.end - segment.start) / _PER_US})
        events.append({"name": "sequences", "ph": "C", "pid": 1, "ts": time, "args": {"count": segment.sequences}})
    steps = [(time, 1) for time in records.arrivals] + [(time, -1) for time in records.starts]
    waiting = 0
    for time, step in sorted(steps):
        if time > until:
            break
        waiting += step
        events.append({"name": "waiting", "ph": "C", "pid": 1, "ts": time / _PER_US, "args": {"requests": waiting}})
    other = {"requests": load.requests, "events shown": len(records.segments)}
    return json.dumps({"traceEvents": events, "displayTimeUnit": "ms", "otherData": other})
