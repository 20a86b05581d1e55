"""Continuous batching as discrete events: requests wait, their prompts and tokens share steps, their caches the memory.

A step begins when the last has ended, with the requests that are there then. Those whose prompt is done get a token
each; prompts of others take what is left of the tokens of a step, or the whole step where prompts come first. First
come, first served: a request enters once its cache fits. Steps in which nothing but the contexts changes are one event.
All times are in ticks of a picosecond.
"""

from __future__ import annotations

from array import array
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import InputError
from hwsim.machines.serving import BatchingSpec
from hwsim.requests.arrivals import TICKS_PER_S, Ticks
from hwsim.serving.steps import Chunk, StepTimes, knot

__all__ = ["MOST_SEGMENTS", "Batcher", "Lengths", "Segment", "TokenRecords", "draw_lengths"]

MOST_SEGMENTS = 20_000
"""Events that the timeline keeps: the first of a run."""

_LAST = 100 * 86_400 * TICKS_PER_S
"""Ticks of a picosecond that 64 bits have room for, in days."""

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of each request: of its prompt and of its answer."""

    inputs: Numbers
    outputs: Numbers


def draw_lengths(requests: int, input: int, output: int, spread: float, seed: int) -> Lengths:
    """Uniform from (1 - spread) of the tokens up to all of them; one seed gives the same lengths."""
    if not spread:
        return Lengths(np.full(requests, input, np.int64), np.full(requests, output, np.int64))
    draw = np.random.default_rng([seed, 1])
    shares = 1 - spread * draw.random((2, requests))
    inputs, outputs = (np.maximum(1, np.rint(most * row)) for most, row in zip((input, output), shares))
    return Lengths(inputs.astype(np.int64), outputs.astype(np.int64))


@dataclass(frozen=True, slots=True)
class Segment:
    """Equal steps after one another: when they began and ended, and what was in each."""

    start: int
    end: int
    steps: int
    sequences: int
    prompts: int
    """Tokens of prompts."""


@dataclass(slots=True)
class TokenRecords:
    """The event log: when each request arrived, entered, had its first token and ended; and how long steps were busy.

    `sequences` has the ticks in which so many sequences got a token each step, `full` those in which the first that
    waits did not fit the memory.
    """

    arrivals: array[int]
    starts: array[int]
    firsts: array[int]
    ends: array[int]
    sequences: Counter[int] = field(default_factory=Counter)
    steps: Counter[int] = field(default_factory=Counter)
    segments: list[Segment] = field(default_factory=list)
    busy: int = 0
    prompts: int = 0
    """Ticks of steps with prompts."""
    full: int = 0
    preemptions: int = 0
    peak_tokens: int = 0
    tokens: int = 0
    """That were computed, those again after preemption among them."""


class Batcher:
    """Runs requests in the steps of a model.

    Parameters
    ----------
    times : StepTimes
    rules : BatchingSpec
        Of the library.
    lengths : Lengths
        Of each request in the order of arrival.
    capacity : int, optional
        Tokens that the caches of all sequences hold; None is unlimited.
    host, sequence : int
        Ticks of the host a step, and for each sequence of it.
    """

    def __init__(
        self,
        times: StepTimes,
        rules: BatchingSpec,
        lengths: Lengths,
        capacity: int | None = None,
        host: int = 0,
        sequence: int = 0,
    ) -> None:
        self.times, self.rules, self.capacity = times, rules, capacity
        self.host, self.sequence = host, sequence
        self.inputs: list[int] = lengths.inputs.tolist()
        self.outputs: list[int] = lengths.outputs.tolist()
        number = len(self.inputs)
        blank = array("q", [-1]) * number
        self.records = TokenRecords(blank[:], blank[:], blank[:], blank[:])
        self.now = 0
        self._coming: list[tuple[int, int]] = []  # when a request arrives, and its number
        self._waiting: deque[int] = deque()
        self._prefilling: deque[int] = deque()
        self._left: dict[int, tuple[int, int]] = {}  # tokens of a prompt that have run, of how many
        self._running: list[tuple[int, int]] = []  # the step in which a sequence ends, and its number
        self._generated: dict[int, int] = {}  # tokens of an answer before the sequence entered, or entered again
        self._entered: dict[int, int] = {}  # the step in which it did
        self._step = 0
        self._contexts = 0  # tokens of all running sequences, the newest of each among them
        self._used = 0  # tokens that the caches hold or are kept for

    def arrive(self, request: int, time: int) -> None:
        """A request gets to the queue at a time."""
        self.records.arrivals[request] = time
        heappush(self._coming, (time, request))

    def run_open(self, arrivals: Ticks) -> TokenRecords:
        """Serve requests that arrive at given times, until all have ended."""
        for request, time in enumerate(arrivals.tolist()):
            self.arrive(request, time)
        self._run(None)
        return self.records

    def run_closed(self, clients: int) -> TokenRecords:
        """Serve clients that each send a request when the last is answered."""
        following = iter(range(min(clients, len(self.inputs)), len(self.inputs)))
        for request in range(min(clients, len(self.inputs))):
            self.arrive(request, 0)
        self._run(lambda: next(following, None))
        return self.records

    def _run(self, follow: Callable[[], int | None] | None) -> None:
        while self._coming or self._waiting or self._running or self._prefilling:
            while self._coming and self._coming[0][0] <= self.now:
                self._waiting.append(heappop(self._coming)[1])
            if not (self._waiting or self._running or self._prefilling):
                self.now = self._coming[0][0]
                continue
            chunks, full = ([], True) if self._preempt() else self._next()
            ended = self._advance(chunks, full)
            if self.now > _LAST:
                raise InputError("these requests take months: at most 100 days are simulated")
            for request in ended:
                self.records.ends[request] = self.now
                if follow is not None and (other := follow()) is not None:
                    self.arrive(other, self.now)

    def _next(self) -> tuple[list[tuple[int, Chunk]], bool]:
        """Prompts of the next step, and whether one waits that does not fit the memory."""
        rules = self.rules
        running = len(self._running)
        room = rules.tokens if rules.prompts == "first" else rules.tokens - running
        chunks: list[tuple[int, Chunk]] = []
        for request in self._prefilling:
            if room <= 0:
                break
            done, need = self._left[request]
            end = min(need, done + room)
            chunks.append((request, Chunk(done, end)))
            room -= end - done
        active = running + len(self._prefilling)
        full = False
        while self._waiting and room > 0 and active < rules.sequences:
            request = self._waiting[0]
            need = self.inputs[request] + self._generated.get(request, 0)
            kept = self._kept(request, need)
            if self.capacity is not None and active and self._used + running + kept > self.capacity:
                full = True
                break
            if not rules.chunked and need > room and chunks:
                break
            self._waiting.popleft()
            end = min(need, room) if rules.chunked else need
            chunks.append((request, Chunk(0, end)))
            room -= end
            active += 1
            self._used += kept
            self._left[request] = 0, need
            if self.records.starts[request] < 0:
                self.records.starts[request] = self.now
        return chunks, full

    def _kept(self, request: int, need: int) -> int:
        """Tokens for which room is kept when a request enters."""
        if self.rules.reserve == "prompt":
            return need
        return self.inputs[request] + self.outputs[request]

    def _advance(self, chunks: Sequence[tuple[int, Chunk]], full: bool) -> list[int]:
        """Run a step, or equal steps up to the next event; the requests that ended."""
        running = 0 if chunks and self.rules.prompts == "first" else len(self._running)
        context = self._contexts / running if running else 0.0
        parts = [chunk for _, chunk in chunks]
        steps = 1
        ticks = self._ticks(running, context, parts)
        if not chunks and running:
            steps = min(self._running[0][0] - self._step, knot(context) - int(context))
            if self.capacity is not None and self.rules.reserve == "prompt":
                steps = min(steps, (self.capacity - self._used) // running)
            if self._coming and not self._waiting:
                steps = min(steps, -(-(self._coming[0][0] - self.now) // ticks))
            steps = max(1, steps)
            if steps > 1:
                ticks = steps * self._ticks(running, context + (steps - 1) / 2, parts)
        self._note(steps, ticks, running, parts, full)
        self.now += ticks
        ended = []
        if running:
            self._step += steps
            self._contexts += steps * running
            if self.rules.reserve == "prompt":
                self._used += steps * running
            while self._running and self._running[0][0] <= self._step:
                ended.append(self._leave(heappop(self._running)[1]))
        for request, chunk in chunks:
            done, need = chunk.end, self._left[request][1]
            if done < need:
                self._left[request] = done, need
                if not chunk.start:
                    self._prefilling.append(request)
                continue
            if chunk.start:
                self._prefilling.popleft()
            if self._enter(request, need):
                ended.append(request)
        self.records.peak_tokens = max(self.records.peak_tokens, self._used)
        return ended

    def _ticks(self, running: int, context: float, parts: Sequence[Chunk]) -> int:
        seconds = self.times.seconds(running, context, parts)
        host = self.host + self.sequence * (running + len(parts))
        return max(1, round(seconds * TICKS_PER_S) + host)

    def _note(self, steps: int, ticks: int, running: int, parts: Sequence[Chunk], full: bool) -> None:
        records = self.records
        tokens = sum(end - start for start, end in parts)
        records.busy += ticks
        records.tokens += steps * running + tokens
        records.sequences[running] += ticks
        records.steps[running] += steps
        if tokens:
            records.prompts += ticks
        if full:
            records.full += ticks
        if len(records.segments) < MOST_SEGMENTS:
            records.segments.append(Segment(self.now, self.now + ticks, steps, running, tokens))

    def _enter(self, request: int, need: int) -> bool:
        """The prompt is done: it gave a token. Whether that was the last."""
        del self._left[request]
        if self.records.firsts[request] < 0:
            self.records.firsts[request] = self.now
        generated = need - self.inputs[request] + 1
        self._generated[request] = generated
        if generated >= self.outputs[request]:
            self._used -= self._kept(request, need)
            del self._generated[request]
            return True
        self._entered[request] = self._step
        self._contexts += need + 1
        heappush(self._running, (self._step + self.outputs[request] - generated, request))
        return False

    def _leave(self, request: int) -> int:
        tokens = self.inputs[request] + self.outputs[request]
        self._contexts -= tokens
        self._used -= tokens if self.rules.reserve == "all" else tokens - 1
        del self._generated[request], self._entered[request]
        return request

    def _preempt(self) -> bool:
        """Where a further token of each does not fit, the last to arrive gives up its cache and waits again."""
        if self.capacity is None or self.rules.reserve == "all":
            return False
        before = self.records.preemptions
        while self._running and self._used + len(self._running) > self.capacity:
            inside = [request for _, request in self._running] + list(self._prefilling)
            if len(inside) == 1:
                break
            request = max(inside)
            if request in self._left:
                self._prefilling.remove(request)
                self._used -= self._left.pop(request)[1]
            else:
                self._running = [item for item in self._running if item[1] != request]
                heapify(self._running)
                generated = self._generated[request] + self._step - self._entered.pop(request)
                self._contexts -= self.inputs[request] + generated
                self._used -= self.inputs[request] + generated - 1
                self._generated[request] = generated
            self._waiting.appendleft(request)
            self.records.preemptions += 1
        return self.records.preemptions > before
