"""What is asked of a simulation of requests, checked."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.errors import InputError, excerpt, nearest
from hwsim.requests.arrivals import MOST_QUERIES, TICKS_PER_S, Ticks, read_trace, trace_of
from hwsim.workload.layer import whole
from hwsim.workload.transformer.network import count_of

__all__ = ["MOST_BATCH", "SAMPLES", "SCENARIOS", "Task", "Tell", "number_of", "task_of"]

#: The scenarios of MLPerf Inference and the percentile of each (LoadGen; the server bound of vision networks).
SCENARIOS = {"single": 90.0, "multi": 99.0, "server": 99.0, "offline": 99.0}
SAMPLES = 8
"""Of a query of ``multi``."""
_QUERIES = {"single": 1024, "multi": 1024, "offline": 24_576}
_SERVED = 270_336
"""As many as LoadGen asks for at p99 with its first margin."""
MOST_BATCH = 4096
_BELIEVABLE = 1e15

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Task:
    """What is asked for, checked."""

    scenario: str
    percentile: float
    bound_s: float | None
    rate_per_s: float | None
    times: Ticks | None
    max_batch: int | None
    wait: int
    deadline: int | None
    queries: int
    seed: int
    tell: Tell

    @property
    def samples(self) -> int:
        return SAMPLES if self.scenario == "multi" else 1


def number_of(name: str, value: object, least: float, above: bool = True) -> float:
    """A number that is more than `least`, or at least that, and at most 10^15."""
    must = f"{name} must be a number {'of more than' if above else 'of at least'} {least:g}"
    if isinstance(value, bool) or not isinstance(value, int | float | np.floating | np.integer):
        raise InputError(f"{must}, not {excerpt(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if math.isfinite(number) and number > _BELIEVABLE:
        raise InputError(f"{name} must be a number of at most {_BELIEVABLE:g}, not {number:g}")
    if not math.isfinite(number) or number < least or (above and number == least):
        raise InputError(f"{must}, not {number:g}")
    return number


def task_of(
    scenario: object,
    bound_s: object,
    percentile: object,
    rate_per_s: object,
    trace: Any,
    max_batch: object,
    max_wait_s: object,
    deadline_s: object,
    queries: object,
    seed: object,
) -> Task:
    if sum((bool(scenario), rate_per_s is not None, trace is not None)) > 1:
        raise InputError("give one of a scenario, a rate and a trace")
    word = str(scenario or ("trace" if trace is not None else "rate" if rate_per_s is not None else "server"))
    if word not in SCENARIOS and (scenario or word not in ("rate", "trace")):
        raise InputError(f"scenario must be one of MLPerf, not {excerpt(scenario)}{nearest(word, SCENARIOS)}")
    bound = None if bound_s is None else number_of("the bound", bound_s, 0)
    if word == "server" and bound is None:
        raise InputError("the server scenario must have a bound of the latency, as '15 ms' (or give a rate)")
    if bound is not None and word in ("single", "multi", "offline"):
        raise InputError(f"the {word} scenario of MLPerf has no bound: leave it out")
    share = SCENARIOS.get(word, 99.0) if percentile is None else number_of("the percentile", percentile, 0)
    if share > 100:
        raise InputError(f"the percentile must be at most 100, not {share:g}")
    rate = None if rate_per_s is None else number_of("the rate", rate_per_s, 0)
    deadline = None if deadline_s is None else round(number_of("the deadline", deadline_s, 0, False) * TICKS_PER_S)
    if deadline is not None and word not in ("server", "rate", "trace"):
        raise InputError(f"the {word} scenario drops no query: leave the deadline out")
    wait = round(number_of("the longest wait", max_wait_s, 0, False) * TICKS_PER_S)
    if wait and word not in ("server", "rate", "trace"):
        raise InputError(f"in the {word} scenario no batch waits to fill: leave the longest wait out")
    for name, ticks in (("longest wait", wait), ("deadline", deadline or 0)):
        if ticks > 10**6 * TICKS_PER_S:
            raise InputError(f"the {name} must be at most 1,000,000 s, not {ticks / TICKS_PER_S:g} s")
    if whole(seed) is None or not 0 <= whole(seed) < 2**64:  # type: ignore[operator]
        raise InputError(f"seed must be a whole number from 0 to 2^64 - 1, not {excerpt(seed)}")
    times = None
    if trace is not None:
        times = read_trace(trace) if isinstance(trace, str | Path) else trace_of(_floats(trace))
        if queries is not None:
            raise InputError("a trace has as many queries as arrivals: leave queries out")
    return Task(
        scenario=word,
        percentile=share,
        bound_s=bound,
        rate_per_s=rate,
        times=times,
        max_batch=None if max_batch is None else count_of("max_batch", max_batch, MOST_BATCH),
        wait=wait,
        deadline=deadline,
        queries=len(times) if times is not None else _QUERIES.get(word, _SERVED) if queries is None
        else count_of("queries", queries, MOST_QUERIES),
        seed=int(whole(seed) or 0),
        tell=lambda what: None,
    )  # fmt: skip


def _floats(trace: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    try:
        return np.asarray(trace, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"a trace must be a file or numbers of seconds, not {excerpt(trace)}") from None
