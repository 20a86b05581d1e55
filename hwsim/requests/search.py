"""The ways to divide a machine, tried until the best is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hwsim.errors import InputError
from hwsim.machines import Machine
from hwsim.message import Message
from hwsim.requests.arrivals import TICKS_PER_S, Ticks, poisson
from hwsim.requests.energy import LoadEnergy, load_energy
from hwsim.requests.limits import FULL, load_messages
from hwsim.requests.load import Choice, Latencies, Load, Point, percentile_of
from hwsim.requests.service import ServiceTimes, ways
from hwsim.requests.station import Policy, run_closed, run_open
from hwsim.requests.stopping import estimate_of, within_bound
from hwsim.requests.task import MOST_BATCH, SAMPLES, Task
from hwsim.workload import Workload

__all__ = ["Search", "Way"]

_TRIAL = 32_768
"""Fewer tell the ways apart; near saturation they are too few to see the longest queues."""
_GAIN = 1.01
"""A larger batch is worth a trial where it gains more."""
_BATCHES = 3
"""The most batch sizes that are tried for each number of streams."""
_NEAR = 0.004
"""Of the offline rate: how near to the highest rate the search ends."""
_LOW, _HIGH = 0.01, 1 - _NEAR
"""Of the offline rate: the search is between these. At all of it no queue is stationary, however short the run."""
_SHARES = (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
_CURVE = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)


class Way:
    """One way to divide the machine, and the runs on it."""

    def __init__(self, times: ServiceTimes, task: Task) -> None:
        self.times, self.task, self.share = times, task, times.share

    @property
    def words(self) -> str:
        return ways(self.share.streams, self.share.threads)

    @property
    def alone_s(self) -> float:
        return self.times.seconds(1, 1)

    def batches(self) -> list[int]:
        """The largest batches worth a trial, the one with most samples a second first."""
        task, streams = self.task, self.share.streams
        if task.max_batch is not None:
            return [task.max_batch]
        if task.scenario == "single":
            return [1]
        if task.scenario == "multi":
            return [max(1, -(-SAMPLES // streams))]
        sizes, best, size = [1], self.times.per_s(1), 2
        while size <= MOST_BATCH and self.times.fits(size):
            rate = self.times.per_s(size)
            if rate < _GAIN * best or (task.bound_s is not None and self.times.seconds(size, streams) > task.bound_s):
                break
            best = rate
            sizes.append(size)
            size *= 2
        return sizes[::-1][:1] if task.scenario == "offline" else sizes[::-1][:_BATCHES]

    def choice(self, most: int) -> Choice:
        times, streams = self.times, self.share.streams
        loaded = times.seconds(most, streams)
        # With fewer samples in a batch than it may have, more of them a second are possible on some machines.
        offline = max(times.per_s(size) for size in {1, most})
        return Choice(streams, self.share.threads, most, self.alone_s, loaded, offline)

    def policy(self, most: int) -> Policy:
        return Policy(self.share.streams, most, self.task.wait, self.task.deadline)

    def open(self, arrivals: Ticks, most: int) -> Latencies:
        return Latencies(run_open(arrivals, self.times.ticks, self.policy(most), before=self.times.before))

    def closed(self, queries: int, samples: int, most: int) -> Latencies:
        return Latencies(
            run_closed(1, queries, samples, self.times.ticks, self.policy(most), self.times.before), samples
        )


class Search:
    """Tries the ways and takes the best."""

    def __init__(self, machine: Machine, workload: Workload, task: Task, ways: Sequence[Way]) -> None:
        self.machine, self.workload, self.task, self.ways = machine, workload, task, ways

    def load(self) -> Load:
        task = self.task
        fastest = min(way.alone_s for way in self.ways)
        if task.bound_s is not None and task.bound_s < fastest:
            raise InputError(
                f"the bound must be at least what one inference takes, {fastest * 1e3:.4g} ms on {self.machine.name} "
                f"without other requests, not {task.bound_s * 1e3:.4g} ms"
            )
        trials: list[tuple[Choice, Way]] = []
        for way in self.ways:
            task.tell(f"plans for {way.words}")
            trials += [(way.choice(most), way) for most in way.batches()]
        trials.sort(key=lambda trial: -trial[0].offline_per_s)
        attempt = {"server": self._server, "offline": self._offline}.get(task.scenario, self._latency)
        results: list[tuple[Choice, Way, Latencies | None]] = []
        best: Choice | None = None
        for choice, way in trials:
            task.tell(f"{way.words}, batches of at most {choice.max_batch}")
            done, log = attempt(choice, way, best)
            results.append((done, way, log))
            if log is not None and (best is None or self._better(done, best)):
                best = done
        if best is None:
            reasons = "; ".join(dict.fromkeys(str(choice.reason) for choice, *_ in results))
            raise InputError(
                f"no way to run {self.workload.name} on {self.machine.name} is within the bound: {reasons}"
            )
        results.sort(key=lambda result: result[0] is not best)
        (_, way, log), choices = results[0], [choice for choice, *_ in results]
        assert log is not None
        if task.scenario in ("rate", "trace"):
            log = way.open(self._arrivals(None), best.max_batch)
        elif task.scenario == "server" and task.queries > _TRIAL:
            best, log = self._confirmed(best, way)
            choices[0] = best
        limited = task.scenario == "server" and (best.queries_per_s or 0.0) < FULL * best.offline_per_s
        more = self._more(best, way) if limited else []
        load = self._load(best, way, log, choices)
        return replace(load, messages=(*load.messages[:1], *more, *load.messages[1:])) if more else load

    def _better(self, one: Choice, other: Choice) -> bool:
        if self.task.scenario in ("server", "offline"):
            return (one.queries_per_s or 0.0) > (other.queries_per_s or 0.0)
        a, b = (math.inf if choice.latency_s is None else choice.latency_s for choice in (one, other))
        return a < b

    def _arrivals(self, most: int | None) -> Ticks:
        """The trace, or arrivals at the rate: all, or as many as a trial has."""
        task = self.task
        if task.times is not None:
            return task.times[:most]
        assert task.rate_per_s is not None
        return poisson(task.rate_per_s, min(task.queries, most or task.queries), task.seed)

    def _latency(self, choice: Choice, way: Way, best: Choice | None) -> tuple[Choice, Latencies | None]:
        """The latency of a closed loop, of a rate or of a trace."""
        task = self.task
        if task.scenario in ("single", "multi"):
            log = way.closed(task.queries, task.samples, choice.max_batch)
        else:
            log = way.open(self._arrivals(_TRIAL), choice.max_batch)
        latency = percentile_of(log.ordered_s, task.percentile)
        return replace(choice, queries_per_s=log.per_s, latency_s=latency), log

    def _offline(self, choice: Choice, way: Way, best: Choice | None) -> tuple[Choice, Latencies | None]:
        """All samples at once: enough for some batches of each stream."""
        if best is not None and choice.offline_per_s <= (best.queries_per_s or 0.0):
            return replace(choice, reason=_slower(choice, best)), None
        least = 8 * choice.streams * choice.max_batch
        log = way.open(np.zeros(max(self.task.queries, least), np.int64), choice.max_batch)
        latency = percentile_of(log.ordered_s, self.task.percentile)
        return replace(choice, queries_per_s=log.per_s, latency_s=latency), log

    def _server(self, choice: Choice, way: Way, best: Choice | None) -> tuple[Choice, Latencies | None]:
        """The highest rate under the bound."""
        task = self.task
        assert task.bound_s is not None
        loaded = way.times.seconds(1, way.share.streams)
        if choice.loaded_s > task.bound_s:
            template = "a batch of {batch} takes {time_s:si s} with every stream busy, more than the bound"
            values: dict[str, Any] = {"batch": choice.max_batch, "time_s": choice.loaded_s}
            if choice.max_batch == 1 or loaded > task.bound_s:
                template = "one inference takes {time_s:si s} with every stream busy, more than the bound"
                values = {"time_s": loaded}
            return replace(choice, reason=Message("requests.bound", template, values)), None
        if best is not None and _HIGH * choice.offline_per_s <= (best.queries_per_s or 0.0):
            return replace(choice, reason=_slower(choice, best)), None
        trial = min(task.queries, _TRIAL)
        low = _LOW if best is None else (best.queries_per_s or 0.0) / choice.offline_per_s
        latency = self._at(low * choice.offline_per_s, way, choice, trial)[0]
        if latency > task.bound_s:
            template = "{latency_s:si s} at p{percentile:g} with {rate:.4g} queries/s already"
            values = {"latency_s": latency, "percentile": task.percentile, "rate": low * choice.offline_per_s}
            return replace(choice, latency_s=latency, reason=Message("requests.late", template, values)), None
        rate, log = self._highest(way, choice, trial, low, max(low, _HIGH))
        if log is None:
            rate = low * choice.offline_per_s
            log = self._at(rate, way, choice, trial)[1]
        return replace(choice, queries_per_s=rate, latency_s=percentile_of(log.ordered_s, task.percentile)), log

    def _at(self, rate: float, way: Way, choice: Choice, queries: int) -> tuple[float, Latencies]:
        """The least bound that a rate keeps: one seed, so that all rates have the same random numbers.

        That is the latency at the percentile, and in a run of full length what LoadGen has confidence in.
        """
        task = self.task
        log = way.open(poisson(rate, queries, task.seed), choice.max_batch)
        least = within_bound(log.ordered_s, task.percentile) if queries == task.queries else None
        return percentile_of(log.ordered_s, task.percentile) if least is None else least, log

    def _highest(
        self, way: Way, choice: Choice, queries: int, low: float, high: float
    ) -> tuple[float, Latencies | None]:
        """Bisection between two shares of the offline rate, of which the lower one is within the bound."""
        bound, offline = self.task.bound_s or math.inf, choice.offline_per_s
        share, kept = high, None
        while True:
            latency, log = self._at(share * offline, way, choice, queries)
            if latency <= bound:
                low, kept = share, log
            else:
                high = share
            if high - low <= _NEAR:
                return low * offline, kept
            share = (low + high) / 2

    def _confirmed(self, best: Choice, way: Way) -> tuple[Choice, Latencies]:
        """The highest rate over a run of full length, at most that of the trial."""
        task, top = self.task, (best.queries_per_s or 0.0) / best.offline_per_s
        task.tell(f"{task.queries:,} queries at {best.queries_per_s:,.4g}/s")
        step = 4 * _NEAR
        low = top
        while True:
            low = max(low - step, _LOW * top)
            step *= 2
            latency, log = self._at(low * best.offline_per_s, way, best, task.queries)
            if latency <= (task.bound_s or math.inf) or low <= _LOW * top:
                break
        rate, better = self._highest(way, best, task.queries, low, top)
        if better is not None:
            log = better
        else:
            rate = low * best.offline_per_s
        return replace(best, queries_per_s=rate, latency_s=percentile_of(log.ordered_s, task.percentile)), log

    def _more(self, best: Choice, way: Way) -> list[Message]:
        """What a longer bound and, with batches, a longer wait would change, over runs of the length of a trial."""
        task = self.task
        bound = task.bound_s or math.inf
        tries = {"bound": replace(task, bound_s=1.1 * bound)}
        if best.max_batch > 1:
            tries["wait"] = replace(task, wait=task.wait + round(bound / 10 * TICKS_PER_S))
        trial, top = min(task.queries, _TRIAL), _HIGH * best.offline_per_s
        rates = {}
        for name, other in {"": task, **tries}.items():
            task.tell(f"what {name or 'the trial'} would change" if name else "the trial again")
            search = Search(self.machine, self.workload, other, ())
            rates[name] = search._highest(Way(way.times, other), best, trial, 0.0, top / best.offline_per_s)[0]
        templates = {
            "bound": "a bound 10 % longer: {change:+.1%} queries/s",
            "wait": "free streams that wait up to {more_s:si s} longer for a full batch: {change:+.1%} queries/s",
        }
        return [
            Message(
                f"requests.more_{name}",
                templates[name],
                {"change": rates[name] / rates[""] - 1 if rates[""] else 0.0, "more_s": bound / 10},
            )
            for name in tries
        ]

    def _load(self, best: Choice, way: Way, log: Latencies, choices: Sequence[Choice]) -> Load:
        task = self.task
        policy = way.policy(best.max_batch)
        rate = best.queries_per_s if task.scenario == "server" and best.queries_per_s else log.per_s
        fits = way.times.fits(best.max_batch)
        load = Load(
            machine=self.machine.name,
            workload=self.workload.name,
            scenario=task.scenario,
            percentile=task.percentile,
            bound_s=task.bound_s,
            queries=len(log.arrivals),
            samples=task.samples,
            seed=task.seed,
            policy=policy,
            call_s=way.times.call_s,
            copy_s=way.times.copy_s,
            threads=way.share.threads,
            queries_per_s=rate,
            offline_per_s=max(choice.offline_per_s for choice in choices),
            result_s=percentile_of(log.ordered_s, task.percentile),
            estimate_s=estimate_of(log.ordered_s, task.percentile) if task.scenario in ("single", "multi") else None,
            drops=log.records.drops,
            utilization=log.utilization(policy.streams),
            mean_batch=log.mean_batch,
            batches=dict(sorted(log.records.batches.items())),
            energy=_energy(way, log),
            energy_scope=self.machine.energy_origin.scope,
            energy_basis=self.machine.energy_origin.basis,
            fits=fits,
            log=log,
            choices=tuple(choices),
            curve=self._curve(best, way) if task.scenario in ("server", "rate") else (),
        )
        return replace(load, messages=tuple(load_messages(load, bool(way.times.call_s or way.times.copy_s))))

    def _curve(self, best: Choice, way: Way) -> tuple[Point, ...]:
        """Latency over load up to the highest rate, and above it; of a rate up to the most that is possible."""
        task, points = self.task, []
        rates = [share * (best.queries_per_s or 0.0) for share in (*_CURVE, 1.05)]
        if task.rate_per_s is not None:
            most = best.offline_per_s
            rates = sorted({*(share * most for share in _SHARES), min(task.rate_per_s, 1.05 * most)})
        for rate in rates:
            self.task.tell(f"latency at {rate:.4g} queries a second")
            log = way.open(poisson(rate, min(task.queries, _TRIAL // 2), task.seed), best.max_batch)
            p50, p90, p99 = (percentile_of(log.ordered_s, p) for p in (50, 90, 99))
            busy, energy = log.utilization(best.streams), _energy(way, log).query_pj
            points.append(Point(rate, p50, p90, p99, busy, log.mean_batch, energy))
        return tuple(points)


def _energy(way: Way, log: Latencies) -> LoadEnergy:
    busy = log.utilization(way.share.streams)
    return load_energy(way.times, log.records.batches, log.span_s, busy, log.completed)


def _slower(choice: Choice, best: Choice) -> Message:
    values = {"offline": choice.offline_per_s, "rate": best.queries_per_s}
    return Message("requests.slower", "at most {offline:,.0f}/s, another reached {rate:,.0f}/s", values)
