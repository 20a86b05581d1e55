"""What a run of requests comes to: latencies, batches, utilization, and why it is not more."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hwsim.lazy import lazy
from hwsim.message import Message
from hwsim.requests.arrivals import TICKS_PER_S
from hwsim.requests.energy import LoadEnergy
from hwsim.requests.station import Policy, Records
from hwsim.units import format_si

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = lazy("pandas")

__all__ = ["PERCENTILES", "Choice", "Latencies", "Load", "Point", "percentile_of"]

PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)


def percentile_of(ordered: NDArray[Any], percentile: float) -> float:
    """The least latency that so many percent of the queries do not exceed, of latencies in order."""
    rank = math.ceil(round(percentile * len(ordered) / 100, 9))
    return float(ordered[max(1, rank) - 1])


class Latencies:
    """The event log in queries: when each arrived, began and ended, in ticks; a dropped one never ended.

    Parameters
    ----------
    records : Records
    samples : int
        Samples of a query, which ends with the last of them.
    """

    def __init__(self, records: Records, samples: int = 1) -> None:
        self.records, self.samples = records, samples
        rows = [np.frombuffer(row, dtype=np.int64) for row in (records.arrivals, records.starts, records.ends)]
        arrivals, starts, ends = (row.reshape(-1, samples) for row in rows)
        self.arrivals: NDArray[np.int64] = arrivals[:, 0]
        self.starts: NDArray[np.int64] = starts.min(axis=1)
        self.ends: NDArray[np.int64] = ends.max(axis=1)
        self.dropped: NDArray[np.bool_] = ends.min(axis=1) < 0

    @cached_property
    def ordered_s(self) -> NDArray[np.float64]:
        """Latencies in order; that of a dropped query has no end."""
        seconds = (self.ends - self.arrivals) / TICKS_PER_S
        return np.sort(np.where(self.dropped, np.inf, seconds))

    @cached_property
    def waits_s(self) -> NDArray[np.float64]:
        """Times before the first sample of a query began, in order."""
        seconds = (self.starts - self.arrivals) / TICKS_PER_S
        return np.sort(np.where(self.dropped, np.inf, seconds))

    @property
    def span_s(self) -> float:
        """From the first arrival to the last end."""
        return max(0, int(self.ends.max()) - int(self.arrivals[0])) / TICKS_PER_S

    @property
    def arrival_rate(self) -> float:
        """Queries that arrive a second, from the first to the last; 0 of one alone, or of all at once."""
        span = int(self.arrivals[-1]) - int(self.arrivals[0])
        return (len(self.arrivals) - 1) / span * TICKS_PER_S if span else 0.0

    @property
    def completed(self) -> int:
        """Queries that were answered."""
        return int((~self.dropped).sum())

    @property
    def per_s(self) -> float:
        """Answered queries over the span."""
        return self.completed / self.span_s if self.span_s else 0.0

    def utilization(self, streams: int) -> float:
        """Share of the span in which a stream is busy, in the mean."""
        return self.records.busy / TICKS_PER_S / streams / self.span_s if self.span_s else 0.0

    @property
    def mean_batch(self) -> float:
        """Samples of a batch."""
        batches = self.records.batches
        return sum(size * number for size, number in batches.items()) / batches.total() if batches else 0.0


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to run the requests and what came of it.

    `loaded_s` is a full batch with every stream busy, `alone_s` one inference with the machine to itself.
    `queries_per_s` and `latency_s`, at the percentile asked for, are None where not simulated: `reason` says why.
    """

    streams: int
    threads: int | None
    max_batch: int
    alone_s: float
    loaded_s: float
    offline_per_s: float
    queries_per_s: float | None = None
    latency_s: float | None = None
    reason: Message | None = None


@dataclass(frozen=True, slots=True)
class Point:
    """Latency at one rate of arrivals, and the energy of a query if it is known."""

    rate_per_s: float
    p50_s: float
    p90_s: float
    p99_s: float
    utilization: float
    mean_batch: float
    query_pj: float | None

    def values(self) -> list[tuple[str, float | None]]:
        """Each field and its value."""
        return [(name, getattr(self, name)) for name in self.__slots__]


@dataclass(frozen=True, repr=False)
class Load:
    """Requests on a machine.

    Attributes
    ----------
    scenario : str
        ``single``, ``multi``, ``server``, ``offline``, ``rate`` or ``trace``.
    queries_per_s : float
        Of ``server`` the highest rate of arrivals under the bound; else queries answered a second.
    offline_per_s : float
        Samples a second with every stream busy.
    result_s : float
        The latency at `percentile`.
    estimate_s : float, optional
        What LoadGen reports of ``single`` and ``multi``: early stopping's estimate of it; None of too few queries.
    batches : mapping
        How many batches ran, by their size.
    energy : LoadEnergy
        Of a query, and mean power.
    choices : tuple of Choice
        What was tried; the first is the one that was taken.
    curve : tuple of Point
        Latency over load, of ``server`` and of a rate.
    """

    machine: str
    workload: str
    scenario: str
    percentile: float
    bound_s: float | None
    queries: int
    samples: int
    seed: int
    policy: Policy
    threads: int | None
    call_s: float
    copy_s: float
    queries_per_s: float
    offline_per_s: float
    result_s: float
    estimate_s: float | None
    drops: int
    utilization: float
    mean_batch: float
    batches: Mapping[int, int]
    energy: LoadEnergy
    energy_scope: str
    energy_basis: str
    fits: bool
    log: Latencies
    choices: tuple[Choice, ...] = ()
    curve: tuple[Point, ...] = ()
    messages: tuple[Message, ...] = ()

    def __repr__(self) -> str:
        latency = "dropped" if math.isinf(self.result_s) else format_si(self.result_s, "s")
        return (
            f"<{type(self).__name__} {self.scenario}, {self.workload} on {self.machine}: {self.queries_per_s:,.4g}/s, "
            f"p{self.percentile:g} {latency}>"
        )

    @property
    def streams(self) -> int:
        """Streams of the machine."""
        return self.policy.streams

    @property
    def max_batch(self) -> int:
        """The most samples of a batch."""
        return self.policy.most

    @cached_property
    def percentiles(self) -> list[dict[str, float]]:
        """Latency and wait at some percentiles, that of the scenario among them; infinite where queries dropped."""
        names = sorted({*PERCENTILES, self.percentile})
        latencies, waits = self.log.ordered_s, self.log.waits_s
        return [
            {"percentile": p, "latency_s": percentile_of(latencies, p), "wait_s": percentile_of(waits, p)}
            for p in names
        ]

    @cached_property
    def latency_s(self) -> pd.DataFrame:
        """The same as a table."""
        return pd.DataFrame(self.percentiles)

    @property
    def mean_s(self) -> float:
        """Mean latency of the queries that were answered."""
        answered = self.log.ordered_s[: self.log.completed]
        return float(answered.mean()) if answered.size else math.inf

    def to_dict(self) -> dict[str, Any]:
        """Everything but the event log as plain data; None is unknown or infinite."""
        policy = self.policy
        choices = [
            {
                name: str(value) if isinstance(value, Message) else value
                for name in Choice.__slots__
                for value in (getattr(choice, name),)
            }
            for choice in self.choices
        ]
        return {
            "machine": self.machine,
            "workload": self.workload,
            "scenario": self.scenario,
            "percentile": self.percentile,
            "bound_s": self.bound_s,
            "queries": self.queries,
            "samples": self.samples,
            "seed": self.seed,
            "streams": policy.streams,
            "threads": self.threads,
            "max_batch": policy.most,
            "max_wait_s": policy.wait / TICKS_PER_S,
            "deadline_s": None if policy.deadline is None else policy.deadline / TICKS_PER_S,
            "call_s": self.call_s,
            "copy_s": self.copy_s,
            "queries_per_s": self.queries_per_s,
            "offline_per_s": self.offline_per_s,
            "result_s": _finite(self.result_s),
            "estimate_s": self.estimate_s,
            "mean_s": _finite(self.mean_s),
            "latency_s": [{name: _finite(value) for name, value in row.items()} for row in self.percentiles],
            "drops": self.drops,
            "utilization": self.utilization,
            "mean_batch": self.mean_batch,
            "batches": {str(size): number for size, number in sorted(self.batches.items())},
            "energy_per_query_pj": self.energy.query_pj,
            "work_per_query_pj": self.energy.work_pj,
            "average_w": self.energy.average_w,
            "idle_w": self.energy.idle_w,
            "energy_scope": self.energy_scope,
            "energy_basis": self.energy_basis,
            "fits": self.fits,
            "choices": choices,
            "curve": [
                {name: value if value is None else _finite(value) for name, value in point.values()}
                for point in self.curve
            ],
            "messages": [message.to_dict() for message in self.messages],
        }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
