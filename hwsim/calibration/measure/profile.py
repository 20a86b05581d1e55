"""The profile that onnxruntime writes: node times and profiling overhead."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hwsim.errors import InputError

__all__ = ["NodeTime", "line_of", "parse_profile", "without_profiler"]

MOST_WATCHED_S = 6e-6
INPUT_SHARE = 12.0
"""Profiling overhead of a node without its inputs, relative to that of one input (3.0 us with 7, 2.0 with 1)."""
SUFFIX = "_kernel_time"


@dataclass(frozen=True, slots=True)
class NodeTime:
    """A node that the runtime ran: its name and kernel, least and median time over the runs, and how many it reads."""

    name: str
    op: str
    least_s: float
    median_s: float
    inputs: int = 0


def line_of(error: Exception) -> str:
    """An error of another library in one line of a bearable length."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def without_profiler(
    nodes: tuple[NodeTime, ...], run_s: float, least_s: float = 0.0
) -> tuple[tuple[NodeTime, ...], float]:
    """The nodes without profiling overhead, and its mean per node.

    The overhead is the sum of the node times less the time of a run without the profiler, limited to `least_s` (from a
    chain of tiny nodes) to 6 us a node, since disturbances distort both. The profiler describes each input of a node,
    so the overhead grows with the inputs; at most half of a node's time is subtracted.
    """
    if not nodes:
        return nodes, 0.0
    each = (math.fsum(node.least_s for node in nodes) - run_s) / len(nodes)
    each = min(max(each, least_s), MOST_WATCHED_S)
    if each <= 0:
        return nodes, 0.0
    mean = sum(INPUT_SHARE + node.inputs for node in nodes) / len(nodes)
    less = []
    for node in nodes:
        over = each * (INPUT_SHARE + node.inputs) / mean
        least, median = max(node.least_s - over, node.least_s / 2), max(node.median_s - over, node.median_s / 2)
        less.append(replace(node, least_s=least, median_s=median))
    return tuple(less), each


def _least(times: np.ndarray[Any, Any]) -> float:
    """The mean of the times within a microsecond of the least: the profile counts whole ones."""
    return float(times[times <= times.min() + 1.01e-6].mean())


def parse_profile(text: str, runs: int, counts: Sequence[bool] | None = None) -> tuple[NodeTime, ...]:
    """The nodes of a profile of `runs` runs, of which only those count that `counts` names, by default all.

    A node that ran several times a run (in a loop) counts once, with the sum; one inside of another (the body of a
    loop) is part of that.

    Raises
    ------
    InputError
        If the text is no profile of onnxruntime, or holds another number of runs.
    """
    try:
        events = [event for event in json.loads(text) if event.get("cat") == "Node" and event["name"].endswith(SUFFIX)]
        events = [(int(e["ts"]), -int(e["dur"]), e["name"], e["args"]) for e in events]
        keys = [
            (ts, negative, name.removesuffix(SUFFIX), args.get("node_index", "")) for ts, negative, name, args in events
        ]
        ops = {key[2:]: str(event[3].get("op_name", "")) for key, event in zip(keys, events)}
        reads = {key[2:]: len(event[3].get("input_type_shape") or ()) for key, event in zip(keys, events)}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"must be a profile that onnxruntime wrote: {line_of(error)}") from None
    times_of: dict[tuple[str, str], list[float]] = {}
    end = -1
    for ts, negative, name, index in sorted(keys, key=lambda key: key[:2]):
        if ts - negative <= end:  # inside of the node before
            continue
        end = ts - negative
        times_of.setdefault((name, index), []).append(-negative * 1e-6)
    nodes = []
    for (name, index), times in times_of.items():
        if len(times) % runs:
            raise InputError(f"node {name!r} must run equally often in each of {runs} runs, not {len(times)} times")
        each = np.array(times).reshape(runs, -1).sum(axis=1)
        each = each if counts is None else each[np.array(counts)]
        nodes.append(NodeTime(name, ops[name, index], _least(each), float(np.median(each)), reads[name, index]))
    return tuple(nodes)
