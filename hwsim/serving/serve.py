"""`hwsim.serve_llm`: requests of a language model under load."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from hwsim.errors import InputError, excerpt
from hwsim.machines import Machine
from hwsim.message import Message
from hwsim.requests.arrivals import TICKS_PER_S, Ticks, poisson
from hwsim.requests.task import Tell, number_of
from hwsim.serving.batching import Lengths, draw_lengths
from hwsim.serving.limits import limit_messages
from hwsim.serving.load import TokenLoad, TokenPoint, at_percentile
from hwsim.serving.log import TokenLog
from hwsim.serving.memory import ServedMemory
from hwsim.serving.served import Served
from hwsim.serving.table import formats_on, with_library
from hwsim.serving.trace import MOST_REQUESTS, token_trace
from hwsim.workload.layer import whole
from hwsim.workload.transformer import LlmSpec, load_llm
from hwsim.workload.transformer.network import MAX_TOKENS, count_of

__all__ = ["serve_llm"]

_REQUESTS, _TRIAL = 1000, 500
_NEAR = 0.01
"""Of the highest rate: how near to it the search ends."""
_LOW = 0.01
_MOST_NUMBERS = 100
_CURVE = (0.1, 0.25, 0.4, 0.55, 0.7, 0.8, 0.9, 0.95, 1.0)


@dataclass(frozen=True)
class _Task:
    """What is asked for, checked."""

    served: Served
    memory: ServedMemory
    input: int
    output: int
    spread: float
    rate_per_s: float | None
    clients: tuple[int, ...]
    times: Ticks | None
    lengths: Lengths
    percentile: float
    bound_ttft_s: float | None
    bound_tpot_s: float | None
    seed: int
    tell: Tell

    def open(self, times: Ticks) -> TokenLog:
        """Requests at these times."""
        lengths = Lengths(self.lengths.inputs[: len(times)], self.lengths.outputs[: len(times)])
        return self.served.log(self.served.batcher(lengths, self.memory).run_open(times), lengths)

    def at_rate(self, rate_per_s: float, most: int) -> TokenLog:
        """Poisson arrivals: one seed, so that all rates have the same random numbers."""
        return self.open(poisson(rate_per_s, min(most, len(self.lengths.inputs)), self.seed))

    def closed(self, clients: int, most: int) -> TokenLog:
        """Clients that each send a request when the last is answered."""
        self.tell(f"{clients:,} clients")
        lengths = Lengths(self.lengths.inputs[:most], self.lengths.outputs[:most])
        return self.served.log(self.served.batcher(lengths, self.memory).run_closed(clients), lengths)

    def within(self, log: TokenLog) -> bool:
        """Whether both bounds hold."""
        ttft, tpot = (at_percentile(seconds, self.percentile) for seconds in (log.ttft_s, log.tpot_s))
        return ttft <= (self.bound_ttft_s or math.inf) and tpot <= (self.bound_tpot_s or math.inf)

    @property
    def bounded(self) -> bool:
        """Whether there is a bound at all."""
        return self.bound_ttft_s is not None or self.bound_tpot_s is not None


def serve_llm(
    machine: str | Path | Machine,
    model: str | Path | LlmSpec,
    *,
    rate_per_s: float | None = None,
    concurrency: int | Sequence[int] | None = None,
    trace: str | Path | ArrayLike | None = None,
    bound_ttft_s: float | None = None,
    bound_tpot_s: float | None = None,
    percentile: float = 99.0,
    input: int = 1024,
    output: int = 256,
    spread: float | None = None,
    weights: str = "",
    kv: str = "",
    activations: str = "",
    tp: int = 1,
    library: str = "",
    requests: int | None = None,
    seed: int = 0,
    tell: Tell = lambda what: None,
) -> TokenLoad:
    """Serve requests of a language model: continuous batching as the library does it, as discrete events.

    Parameters
    ----------
    machine : Machine, str or Path
    model : LlmSpec, str or Path
        As of `hwsim.llm`, and so are `weights`, `kv`, `activations`, `tp` and `library`.
    rate_per_s : float
        Poisson arrivals. Without it, a concurrency or a trace: the highest rate under the bounds.
    concurrency : int or sequence of int
        Clients that each send a request when the last is answered; of several numbers, the curve has each and the
        load is that of the most.
    trace : str, Path or array
        Arrivals in seconds: a CSV file, whose second and third columns may be tokens in and out, or the times.
    bound_ttft_s, bound_tpot_s : float
        What the time to the first token, and that of each further one, may be at `percentile`.
    percentile : float
    input, output : int
        Tokens of a prompt and of an answer, at most.
    spread : float
        Lengths are uniform from 1 - `spread` of these on; default: as in the benchmarks of the library.
    requests : int
        How many are simulated; default: 1,000, or ten of each client.
    seed : int
        Of arrivals and lengths. All rates share the random numbers.
    tell : callable
        Gets a line of what is done now.

    Returns
    -------
    TokenLoad

    Raises
    ------
    InputError
        For bounds below one request, a rate of zero, a trace out of order, and what `hwsim.llm` refuses.
    """
    device = with_library(machine, library)
    served = Served(device, load_llm(model), formats_on(device, weights, kv, activations), tp)
    ways = {"rate": rate_per_s, "concurrency": concurrency, "trace": trace}
    if sum(value is not None for value in ways.values()) > 1:
        raise InputError("give one of a rate, a concurrency and a trace")
    if rate_per_s is concurrency is trace is None and bound_ttft_s is None and bound_tpot_s is None:
        raise InputError("give a rate, a concurrency, a trace, or a bound of the time to the first token or of a token")
    input, output = count_of("input", input, MAX_TOKENS), count_of("output", output, MAX_TOKENS)
    if whole(seed) is None or not 0 <= int(seed) < 2**64:
        raise InputError(f"seed must be a whole number from 0 to 2^64 - 1, not {excerpt(seed)}")
    share = served.constants.spread if spread is None else number_of("the spread", spread, 0, False)
    if share >= 1:
        raise InputError(f"the spread must be less than 1, not {share:g}")
    clients = _clients(concurrency)
    times = lengths = None
    if trace is not None:
        if requests is not None:
            raise InputError("a trace has as many requests as arrivals: leave requests out")
        times, lengths = token_trace(trace)
        requests = len(times)
    number = min(MOST_REQUESTS, max(_REQUESTS, 10 * max(clients, default=0)))
    number = number if requests is None else count_of("requests", requests, MOST_REQUESTS)
    lengths = draw_lengths(number, input, output, share, int(seed)) if lengths is None else lengths
    input, output = int(lengths.inputs.max()), int(lengths.outputs.max())
    served.decode(1, count_of("tokens of a sequence", input + output, MAX_TOKENS))
    rank = number_of("the percentile", percentile, 0)
    if rank > 100:
        raise InputError(f"the percentile must be at most 100, not {rank:g}")
    task = _Task(
        served=served,
        memory=served.memory(input + output, served.prefill(input)),
        input=input,
        output=output,
        spread=share,
        rate_per_s=None if rate_per_s is None else number_of("the rate", rate_per_s, 0),
        clients=clients,
        times=times,
        lengths=lengths,
        percentile=rank,
        bound_ttft_s=None if bound_ttft_s is None else number_of("the bound of the first token", bound_ttft_s, 0),
        bound_tpot_s=None if bound_tpot_s is None else number_of("the bound of a token", bound_tpot_s, 0),
        seed=int(seed),
        tell=tell,
    )
    return _load(task)


def _clients(concurrency: object) -> tuple[int, ...]:
    """Numbers of clients in order, none if they are not asked for."""
    if concurrency is None:
        return ()
    numbers = (
        list(concurrency) if isinstance(concurrency, Sequence) and not isinstance(concurrency, str) else [concurrency]
    )
    if not 1 <= len(numbers) <= _MOST_NUMBERS:
        raise InputError(f"concurrency must be one to {_MOST_NUMBERS} numbers, not {len(numbers)}")
    return tuple(sorted({count_of("concurrency", number, MOST_REQUESTS // 2) for number in numbers}))


def _load(task: _Task) -> TokenLoad:
    if task.bounded:
        _check_bounds(task)
    saturation = _saturation(task)
    rate, arrivals = task.rate_per_s, "rate"
    if task.times is not None:
        arrivals, log = "trace", task.open(task.times)
    elif task.clients:
        arrivals, log = "closed", task.closed(task.clients[-1], len(task.lengths.inputs))
    elif rate is None:
        arrivals = "bounds"
        rate, log = _highest(task, saturation)
    else:
        task.tell(f"{rate:g} requests a second")
        log = task.at_rate(rate, len(task.lengths.inputs))
    curve = list[TokenPoint]()
    if arrivals in ("rate", "bounds"):
        shares = sorted({*_CURVE, *([rate / saturation] if rate else [])})
        for at in shares:
            task.tell(f"{at * saturation:.4g} requests a second")
            curve.append(_point(task, at * saturation, task.at_rate(at * saturation, _TRIAL)))
    elif len(task.clients) > 1:
        logs = [task.closed(clients, max(_TRIAL, 10 * clients)) for clients in task.clients[:-1]]
        curve = [_point(task, one.per_s, one, clients) for clients, one in zip(task.clients, [*logs, log])]
    return _result(task, arrivals, rate, saturation, log, tuple(curve))


def _check_bounds(task: _Task) -> None:
    """A request alone must be within the bounds."""
    alone = task.served.log(
        task.served.batcher(one := Lengths(task.lengths.inputs[:1], task.lengths.outputs[:1]), task.memory).run_open(
            np.zeros(1, np.int64)
        ),
        one,
    )
    for what, bound, time in (
        ("time to the first token", task.bound_ttft_s, alone.mean_ttft_s),
        ("time of a token", task.bound_tpot_s, alone.mean_tpot_s),
    ):
        if bound is not None and bound < time:
            raise InputError(
                f"the bound of the {what} must be at least what one request takes, {time * 1e3:.4g} ms on "
                f"{task.served.machine.name} without others, not {bound * 1e3:.4g} ms"
            )


def _saturation(task: _Task) -> float:
    """Requests a second while the queue is never empty: of the middle half of as many as fill the machine twice."""
    task.tell("the most requests a second")
    room = task.memory.sequences
    together = min(task.served.constants.batching.sequences, 1024 if room is None else max(1, room))
    number = max(64, 4 * together)
    lengths = draw_lengths(number, task.input, task.output, task.spread, task.seed)
    records = task.served.batcher(lengths, task.memory).run_open(np.zeros(number, np.int64))
    ends = np.sort(np.frombuffer(records.ends, dtype=np.int64))
    first, last = number // 4, 3 * number // 4
    return (last - first) / (int(ends[last] - ends[first]) or int(ends[-1])) * TICKS_PER_S


def _highest(task: _Task, saturation: float) -> tuple[float, TokenLog]:
    """Bisection for the highest rate within the bounds, at most what the machine can answer."""
    low, high, kept = _LOW, 1.0, None
    share = low
    while high - low > _NEAR or kept is None:
        task.tell(f"{share * saturation:.4g} requests a second")
        log = task.at_rate(share * saturation, len(task.lengths.inputs))
        if task.within(log):
            low, kept = share, log
        elif kept is None:
            raise InputError(
                f"no rate of {task.served.model.name} on {task.served.machine.name} is within the bounds: at "
                f"{share * saturation:.3g} requests/s p{task.percentile:g} is more already"
            )
        else:
            high = share
        share = (low + high) / 2
    return low * saturation, kept


def _point(task: _Task, rate: float, log: TokenLog, clients: int | None = None) -> TokenPoint:
    records = log.records
    return TokenPoint(
        rate,
        log.tokens_per_s,
        at_percentile(log.ttft_s, task.percentile),
        at_percentile(log.tpot_s, task.percentile),
        log.mean_ttft_s,
        log.mean_tpot_s,
        records.busy / TICKS_PER_S / log.span_s,
        _mean(records.sequences),
        clients,
    )


def _mean(ticks: Counter[int]) -> float:
    """Sequences in the mean of the busy time."""
    return sum(number * time for number, time in ticks.items()) / max(1, ticks.total())


def _result(
    task: _Task, arrivals: str, rate: float | None, saturation: float, log: TokenLog, curve: tuple[TokenPoint, ...]
) -> TokenLoad:
    served, records = task.served, log.records
    busy = max(1, records.busy)
    mean = _mean(records.sequences)
    machine = served.machine
    tokens_per_s = log.tokens_per_s
    dynamic = served.dynamic_pj(max(1, round(mean)), task.input, task.output)
    load = TokenLoad(
        machine=machine.name,
        library=machine.library_name or "" if machine.serving is not None else "",
        model=served.model.name,
        tp=served.tp,
        weights=served.formats.weights,
        kv=served.formats.kv,
        input=task.input,
        output=task.output,
        spread=task.spread,
        arrivals=arrivals,
        rate_per_s=rate,
        concurrency=task.clients[-1] if task.clients else None,
        requests=len(log.arrivals),
        seed=task.seed,
        percentile=task.percentile,
        bound_ttft_s=task.bound_ttft_s,
        bound_tpot_s=task.bound_tpot_s,
        per_s=log.per_s,
        tokens_per_s=tokens_per_s,
        saturation_per_s=saturation,
        ttft_s=at_percentile(log.ttft_s, task.percentile),
        tpot_s=at_percentile(log.tpot_s, task.percentile),
        utilization=records.busy / TICKS_PER_S / log.span_s,
        prompts=records.prompts / busy,
        full=records.full / busy,
        mean_sequences=mean,
        sequences={number: ticks / busy for number, ticks in sorted(records.sequences.items())},
        preemptions=records.preemptions,
        cache_tokens=task.memory.cache_tokens,
        peak_tokens=records.peak_tokens,
        energy_per_token_pj=served.tp * (dynamic + machine.prices.static_w * 1e12 / tokens_per_s),
        fits=task.memory.sequences is None or task.memory.sequences >= 1,
        log=log,
        curve=curve,
    )
    return replace(load, messages=(*limit_messages(load), *_notes(task, load)))


def _notes(task: _Task, load: TokenLoad) -> list[Message]:
    """What is assumed."""
    rules = task.served.constants.batching
    values = {
        "prompts": "before answers" if rules.prompts == "first" else "with answers",
        "parts": "in parts" if rules.chunked else "whole",
        "tokens": rules.tokens,
        "kept": "its prompt" if rules.reserve == "prompt" else "all its tokens",
    }
    template = "prompts run {prompts}, {parts}, {tokens:,} tokens a step; a request enters with room for {kept}"
    plans = "step times are interpolated between {plans} plans"
    lengths = "lengths vary from {share:.0%} of the tokens up to all of them"
    return [
        task.memory.message(),
        Message("serving.rules", template, values),
        *([Message("serving.lengths", lengths, {"share": 1 - load.spread})] if load.spread else []),
        Message("serving.plans", plans, {"plans": task.served.steps.plans}),
        *task.served.messages(task.input + task.output, [max(1, round(load.mean_sequences))]),
    ]
