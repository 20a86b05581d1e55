"""`hwsim.serve`: which latency holds at which load."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hwsim.errors import InputError, excerpt, nearest
from hwsim.machines import Machine, load_machine
from hwsim.message import Message
from hwsim.requests.arrivals import MOST_QUERIES, TICKS_PER_S, Ticks, poisson, read_trace, trace_of
from hwsim.requests.load import Choice, Latencies, Load, Point, percentile_of
from hwsim.requests.service import ServiceTimes, Share, shares_of
from hwsim.requests.station import Policy, run_closed, run_open
from hwsim.workload import Workload, load_workload
from hwsim.workload.layer import whole
from hwsim.workload.transformer import llm_names

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["SCENARIOS", "serve"]

#: The scenarios of MLPerf Inference and the percentile of each (LoadGen; the server bound of vision networks).
SCENARIOS = {"single": 90.0, "multi": 99.0, "server": 99.0, "offline": 99.0}
_SAMPLES = 8
"""Of a query of ``multi``."""
_QUERIES = {"single": 1024, "multi": 1024, "offline": 24_576}
_SERVED = 270_336
"""As many as LoadGen asks for at p99 with its first margin."""
_TRIAL = 32_768
"""Fewer tell the ways apart; near saturation they are too few to see the longest queues."""
_MOST_BATCH = 4096
_GAIN = 1.01
"""A larger batch is worth a trial where it gains more."""
_BATCHES = 3
"""The most batch sizes that are tried for each number of streams."""
_NEAR = 0.004
"""Of the offline rate: how near to the highest rate the search ends."""
_LOW, _HIGH = 0.01, 1 - _NEAR
"""Of the offline rate: the search is between these. At all of it no queue is stationary, however short the run."""
_FULL = 0.99
"""Of the offline rate: no longer bound allows more than what is left."""
_BELIEVABLE = 1e15
_CURVE = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)

Tell = Callable[[str], None]


@dataclass(frozen=True)
class _Task:
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
        return _SAMPLES if self.scenario == "multi" else 1


def serve(
    machine: str | Path | Machine,
    workload: str | Path | Workload,
    scenario: str = "",
    bound_s: float | None = None,
    percentile: float | None = None,
    *,
    rate_per_s: float | None = None,
    trace: str | Path | ArrayLike | None = None,
    streams: int | None = None,
    max_batch: int | None = None,
    max_wait_s: float = 0.0,
    deadline_s: float | None = None,
    call_s: float = 0.0,
    copy_s: float = 0.0,
    queries: int | None = None,
    seed: int = 0,
    tell: Tell = lambda what: None,
) -> Load:
    """Serve requests of a network on a machine.

    Parameters
    ----------
    machine : Machine, str or Path
    workload : Workload, str or Path
    scenario : str
        Of MLPerf: ``single`` (one query after the other), ``multi`` (each of 8 samples), ``server`` (Poisson arrivals:
        the highest rate under the bound) or ``offline`` (all at once). Default: ``server``, unless a rate or a trace
        is given.
    bound_s : float
        What the latency at `percentile` may be; ``server`` must have it.
    percentile : float
        90 for ``single``, else 99.
    rate_per_s : float
        Poisson arrivals at this rate instead of a scenario.
    trace : str, Path or array
        Arrivals at these seconds: a CSV file or the times.
    streams : int
        Concurrent batches; default: the best of those that the machine can have.
    max_batch : int
        The most samples of a batch; default: the best.
    max_wait_s : float
        How long a free stream waits for a batch to fill.
    deadline_s : float
        A query that would begin later after its arrival is dropped.
    call_s, copy_s : float
        Of each batch, and of each of its samples, besides the plan: calls, copies over the host link. They keep the
        stream busy.
    queries : int
        How many are simulated.
    seed : int
        Of the arrivals. All rates share the random numbers.
    tell : callable
        Gets a line of what is done now.

    Returns
    -------
    Load
        ``queries_per_s``, ``latency_s`` (a DataFrame of percentiles), ``offline_per_s``, batches, utilization, what
        limits, and what was tried.

    Raises
    ------
    InputError
        For a bound below one inference, a rate of zero, a trace out of order, and what no machine can be.
    """
    task = _task_of(scenario, bound_s, percentile, rate_per_s, trace, max_batch, max_wait_s, deadline_s, queries, seed)
    task = replace(task, tell=tell)
    if not isinstance(machine, Machine):
        machine = load_machine(machine)
    if not isinstance(workload, Workload) and str(workload) in llm_names():
        raise InputError(f"{workload} is a language model, whose requests are not simulated: use hwsim.llm")
    if not isinstance(workload, Workload):
        workload = load_workload(workload)
    if streams is not None and (whole(streams) is None or streams < 1):
        raise InputError(f"streams must be a whole number of at least 1, not {excerpt(streams)}")
    around = _number("call", call_s, 0, False), _number("copy", copy_s, 0, False)
    if sum(around) > 1e5:
        raise InputError(f"call and copy must be of a believable size, not {sum(around):g} s")
    ways = [_Way(ServiceTimes(machine, workload, share, *around), task) for share in shares_of(machine, streams)]
    if task.scenario == "single" and streams is None:
        ways = ways[-1:] if ways[-1].share.streams <= ways[0].share.streams else ways[:1]
    return _Search(machine, workload, task, ways).load()


def _number(name: str, value: object, least: float, above: bool = True) -> float:
    """A finite number that is more than `least`, or at least that."""
    must = f"{name} must be a number {'of more than' if above else 'of at least'} {least:g}"
    if isinstance(value, bool) or not isinstance(value, int | float | np.floating | np.integer):
        raise InputError(f"{must}, not {excerpt(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) or number < least or (above and number == least) or number > _BELIEVABLE:
        raise InputError(f"{must}, not {number:g}")
    return number


def _natural(name: str, value: object, most: int) -> int:
    number = whole(value)
    if number is None or not 1 <= number <= most:
        raise InputError(f"{name} must be a whole number from 1 to {most:,}, not {excerpt(value)}")
    return number


def _task_of(
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
) -> _Task:
    if sum((bool(scenario), rate_per_s is not None, trace is not None)) > 1:
        raise InputError("give one of a scenario, a rate and a trace")
    word = str(scenario or ("trace" if trace is not None else "rate" if rate_per_s is not None else "server"))
    if word not in SCENARIOS and (scenario or word not in ("rate", "trace")):
        raise InputError(f"scenario must be one of MLPerf, not {excerpt(scenario)}{nearest(word, SCENARIOS)}")
    bound = None if bound_s is None else _number("the bound", bound_s, 0)
    if word == "server" and bound is None:
        raise InputError("the server scenario must have a bound of the latency, as '15 ms' (or give a rate)")
    if bound is not None and word in ("single", "multi", "offline"):
        raise InputError(f"the {word} scenario of MLPerf has no bound: leave it out")
    share = SCENARIOS.get(word, 99.0) if percentile is None else _number("the percentile", percentile, 0)
    if share > 100:
        raise InputError(f"the percentile must be at most 100, not {share:g}")
    rate = None if rate_per_s is None else _number("the rate", rate_per_s, 0)
    deadline = None if deadline_s is None else round(_number("the deadline", deadline_s, 0, False) * TICKS_PER_S)
    if deadline is not None and word not in ("server", "rate", "trace"):
        raise InputError(f"the {word} scenario drops no query: leave the deadline out")
    wait = round(_number("the longest wait", max_wait_s, 0, False) * TICKS_PER_S)
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
    return _Task(
        scenario=word,
        percentile=share,
        bound_s=bound,
        rate_per_s=rate,
        times=times,
        max_batch=None if max_batch is None else _natural("the largest batch", max_batch, _MOST_BATCH),
        wait=wait,
        deadline=deadline,
        queries=len(times) if times is not None else _QUERIES.get(word, _SERVED) if queries is None
        else _natural("queries", queries, MOST_QUERIES),
        seed=int(whole(seed) or 0),
        tell=lambda what: None,
    )  # fmt: skip


def _floats(trace: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    try:
        return np.asarray(trace, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"a trace must be a file or numbers of seconds, not {excerpt(trace)}") from None


class _Way:
    """One way to divide the machine, and the runs on it."""

    def __init__(self, times: ServiceTimes, task: _Task) -> None:
        self.times, self.task, self.share = times, task, times.share

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
            return [max(1, -(-_SAMPLES // streams))]
        sizes, best, size = [1], self.times.per_s(1), 2
        while size <= _MOST_BATCH and self.times.fits(size):
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
        return Latencies(run_open(arrivals, self.times.ticks, self.policy(most)))

    def closed(self, queries: int, samples: int, most: int) -> Latencies:
        return Latencies(run_closed(1, queries, samples, self.times.ticks, self.policy(most)), samples)


class _Search:
    """Tries the ways and takes the best."""

    def __init__(self, machine: Machine, workload: Workload, task: _Task, ways: Sequence[_Way]) -> None:
        self.machine, self.workload, self.task, self.ways = machine, workload, task, ways

    def load(self) -> Load:
        task = self.task
        fastest = min(way.alone_s for way in self.ways)
        if task.bound_s is not None and task.bound_s < fastest:
            raise InputError(
                f"the bound must be at least what one inference takes, {fastest * 1e3:.4g} ms on {self.machine.name} "
                f"without other requests, not {task.bound_s * 1e3:.4g} ms"
            )
        trials: list[tuple[Choice, _Way]] = []
        for way in self.ways:
            task.tell(f"plans for {_words(way.share)}")
            trials += [(way.choice(most), way) for most in way.batches()]
        trials.sort(key=lambda trial: -trial[0].offline_per_s)
        attempt = {"server": self._server, "offline": self._offline}.get(task.scenario, self._latency)
        results: list[tuple[Choice, _Way, Latencies | None]] = []
        best: Choice | None = None
        for choice, way in trials:
            task.tell(f"{_words(way.share)}, batches of at most {choice.max_batch}")
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
        limited = task.scenario == "server" and (best.queries_per_s or 0.0) < _FULL * best.offline_per_s
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

    def _latency(self, choice: Choice, way: _Way, best: Choice | None) -> tuple[Choice, Latencies | None]:
        """The latency of a closed loop, of a rate or of a trace."""
        task = self.task
        if task.scenario in ("single", "multi"):
            log = way.closed(task.queries, task.samples, choice.max_batch)
        else:
            log = way.open(self._arrivals(_TRIAL), choice.max_batch)
        latency = percentile_of(log.ordered_s, task.percentile)
        return replace(choice, queries_per_s=log.per_s, latency_s=latency), log

    def _offline(self, choice: Choice, way: _Way, best: Choice | None) -> tuple[Choice, Latencies | None]:
        """All samples at once: enough for some batches of each stream."""
        if best is not None and choice.offline_per_s <= (best.queries_per_s or 0.0):
            return replace(choice, reason=_slower(choice, best)), None
        least = 8 * choice.streams * choice.max_batch
        log = way.open(np.zeros(max(self.task.queries, least), np.int64), choice.max_batch)
        latency = percentile_of(log.ordered_s, self.task.percentile)
        return replace(choice, queries_per_s=log.per_s, latency_s=latency), log

    def _server(self, choice: Choice, way: _Way, best: Choice | None) -> tuple[Choice, Latencies | None]:
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
        rate, latency, log = self._highest(way, choice, trial, low, max(low, _HIGH))
        if log is None:
            rate = low * choice.offline_per_s
            latency, log = self._at(rate, way, choice, trial)
        return replace(choice, queries_per_s=rate, latency_s=latency), log

    def _at(self, rate: float, way: _Way, choice: Choice, queries: int) -> tuple[float, Latencies]:
        """The latency at a rate: one seed, so that all rates have the same random numbers."""
        log = way.open(poisson(rate, queries, self.task.seed), choice.max_batch)
        return percentile_of(log.ordered_s, self.task.percentile), log

    def _highest(
        self, way: _Way, choice: Choice, queries: int, low: float, high: float
    ) -> tuple[float, float, Latencies | None]:
        """Bisection between two shares of the offline rate, of which the lower one is within the bound."""
        bound, offline = self.task.bound_s or math.inf, choice.offline_per_s
        share, result, kept = high, math.inf, None
        while True:
            latency, log = self._at(share * offline, way, choice, queries)
            if latency <= bound:
                low, result, kept = share, latency, log
            else:
                high = share
            if high - low <= _NEAR:
                return low * offline, result, kept
            share = (low + high) / 2

    def _confirmed(self, best: Choice, way: _Way) -> tuple[Choice, Latencies]:
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
        rate, result, better = self._highest(way, best, task.queries, low, top)
        if better is not None:
            latency, log = result, better
        else:
            rate = low * best.offline_per_s
        return replace(best, queries_per_s=rate, latency_s=latency), log

    def _more(self, best: Choice, way: _Way) -> list[Message]:
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
            search = _Search(self.machine, self.workload, other, ())
            rates[name] = search._highest(_Way(way.times, other), best, trial, 0.0, top / best.offline_per_s)[0]
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

    def _load(self, best: Choice, way: _Way, log: Latencies, choices: Sequence[Choice]) -> Load:
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
            drops=log.records.drops,
            utilization=log.utilization(policy.streams),
            mean_batch=log.mean_batch,
            batches=dict(sorted(log.records.batches.items())),
            fits=fits,
            log=log,
            choices=tuple(choices),
            curve=self._curve(best, way) if task.scenario == "server" else (),
        )
        return replace(load, messages=tuple(_messages(load, way)))

    def _curve(self, best: Choice, way: _Way) -> tuple[Point, ...]:
        """Latency over load up to the highest rate, and above it."""
        task, points = self.task, []
        highest = best.queries_per_s or 0.0
        for share in (*_CURVE, 1.05):
            self.task.tell(f"latency at {share:.0%} of the highest rate")
            rate = share * highest
            log = way.open(poisson(rate, min(task.queries, _TRIAL // 2), task.seed), best.max_batch)
            p50, p90, p99 = (percentile_of(log.ordered_s, p) for p in (50, 90, 99))
            points.append(Point(rate, p50, p90, p99, log.utilization(best.streams), log.mean_batch))
        return tuple(points)


def _words(share: Share) -> str:
    streams = f"{share.streams} stream{'s' * (share.streams != 1)}"
    return streams if share.threads is None else f"{streams} x {share.threads} thread{'s' * (share.threads != 1)}"


def _slower(choice: Choice, best: Choice) -> Message:
    values = {"offline": choice.offline_per_s, "rate": best.queries_per_s}
    return Message("requests.slower", "at most {offline:,.0f}/s, another reached {rate:,.0f}/s", values)


def _messages(load: Load, way: _Way) -> list[Message]:
    """What limits, and what is not in the model."""
    messages = []
    best = load.choices[0]
    if load.scenario == "server":
        share = load.queries_per_s / load.offline_per_s
        if load.queries_per_s >= _FULL * load.offline_per_s:
            template = "limited by throughput: {share:.0%} of offline, streams busy {busy:.0%} of the time"
        else:
            template = (
                "limited by the bound: {share:.0%} of offline, p{percentile:g} {latency_s:si s} of {bound_s:si s}; "
                "streams busy {busy:.0%} of the time"
            )
        values = {
            "share": share, "busy": load.utilization, "percentile": load.percentile, "latency_s": load.result_s,
            "bound_s": load.bound_s,
        }  # fmt: skip
        messages.append(Message("requests.limit", template, values))
    elif load.scenario in ("rate", "trace") and load.utilization > 0.98 and load.policy.deadline is None:
        template = "overloaded: streams busy {busy:.0%} of the time, and the queue grows with the length of the run"
        messages.append(Message("requests.overload", template, {"busy": load.utilization}, "warning"))
    if load.bound_s is not None and load.result_s > load.bound_s:
        late = float((load.log.ordered_s > load.bound_s).mean())
        template = "{late:.2%} of the queries are later than {bound_s:si s} or dropped"
        messages.append(Message("requests.late_share", template, {"late": late, "bound_s": load.bound_s}, "warning"))
    if load.drops:
        template = "{drops:,} of {queries:,} queries dropped: they would have begun after the deadline"
        values = {"drops": load.drops, "queries": load.queries}
        messages.append(Message("requests.drops", template, values, "warning"))
    if not load.fits:
        template = "{streams:count stream} with batches of {batch} do not fit the memory"
        messages.append(
            Message("requests.memory", template, {"streams": best.streams, "batch": best.max_batch}, "error")
        )
    if best.max_batch > 8 or best.streams > 4:
        messages.append(
            Message(
                "requests.grid", "times of batches above 8 and of more than 4 streams are interpolated between plans"
            )
        )
    if not (way.times.call_s or way.times.copy_s):
        template = "times are those of plans: calls and copies to the machine are not in them (call, copy)"
        messages.append(Message("requests.around", template))
    return messages
