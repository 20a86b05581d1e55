"""The machine as a queueing station on SimPy: one queue, a batcher, streams that share the hardware.

A batch is a unit of work. While `busy` streams run, a batch of n advances by 1 / service(n, busy) a tick, so that a
batch which begins slows down those that run, and one that ends speeds them up. What comes before the kernels of a batch
(calls, copies) is done by one host, a batch after the other, beside the kernels: from when its last sample has arrived.
The stream waits for what is left of it when it takes the batch, and slows down no other. Batches of one size keep their
order, so the next to end is the first of some size, and an event costs no more for many streams than for one.
"""

from __future__ import annotations

from array import array
from collections import Counter, deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import Any

import simpy

from hwsim.requests.arrivals import Ticks

__all__ = ["Policy", "Records", "Station", "run_closed", "run_open"]

Service = Callable[[int, int], int]
"""Ticks of a batch by its size and the number of busy streams."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How requests get to the streams, in ticks.

    A free stream takes the first `most` samples that wait, at once if there are so many, else when the first of them
    has waited for `wait`. A sample that would begin later than `deadline` after it arrived is dropped.
    """

    streams: int = 1
    most: int = 1
    wait: int = 0
    deadline: int | None = None


@dataclass(slots=True)
class Records:
    """The event log: a row for each sample; those that were dropped have no end (-1)."""

    arrivals: array[int] = field(default_factory=lambda: array("q"))
    starts: array[int] = field(default_factory=lambda: array("q"))
    ends: array[int] = field(default_factory=lambda: array("q"))
    batches: Counter[int] = field(default_factory=Counter)
    drops: int = 0
    busy: int = 0
    """Stream ticks."""


class _Size:
    """Batches of one size that run: how far that size has advanced, and where each ends."""

    __slots__ = ("ends", "progress")

    def __init__(self) -> None:
        self.progress = 0.0
        self.ends: list[tuple[float, int, list[int]]] = []


class Station:
    """One queue in front of the streams of a machine.

    Parameters
    ----------
    env : simpy.Environment
    service : callable
        Ticks of a batch by its size and the number of busy streams.
    policy : Policy
    work : callable, optional
        Work of the next batch relative to the mean; 1 by default.
    before : callable, optional
        Ticks of the host before the kernels of a batch by its size; none by default.
    """

    def __init__(
        self,
        env: simpy.Environment,
        service: Service,
        policy: Policy,
        work: Callable[[], float] | None = None,
        before: Callable[[int], int] | None = None,
    ) -> None:
        self.env, self.service, self.policy, self.work, self.before = env, service, policy, work, before
        self.records = Records()
        self.queue: deque[int] = deque()
        self.taken = 0  # streams that have a batch
        self.busy = 0  # those of them that run kernels
        self._sizes: dict[int, _Size] = {}
        self._since = 0
        self._plan: simpy.Event | None = None
        self._next = 0
        self._alarm = -1
        self._order = count()
        self._host = 0  # when it is done with the last batch
        self._clients: dict[int, tuple[simpy.Event, list[int]]] = {}

    def arrive(self, samples: int = 1, done: simpy.Event | None = None) -> None:
        """A query of some samples, which all arrive now; `done` happens when the last of them has ended."""
        records, now = self.records, int(self.env.now)
        first = len(records.arrivals)
        for sample in range(first, first + samples):
            records.arrivals.append(now)
            records.starts.append(-1)
            records.ends.append(-1)
            self.queue.append(sample)
        if done is not None:
            left = [samples]
            for sample in range(first, first + samples):
                self._clients[sample] = done, left
        if self.taken < self.policy.streams:
            self._dispatch()

    def _dispatch(self) -> None:
        """Give free streams what may begin; else set the alarm for when it may."""
        policy, queue, records, now = self.policy, self.queue, self.records, int(self.env.now)
        begun = False
        while queue and self.taken < policy.streams:
            if policy.deadline is not None:
                while queue and now > records.arrivals[queue[0]] + policy.deadline:
                    records.drops += 1
                    self._leave(queue.popleft())
                if not queue:
                    break
            ready = records.arrivals[queue[0]] + policy.wait
            if len(queue) < policy.most and now < ready:
                if self._alarm != ready:
                    self._alarm = ready
                    self._at(ready - now, self._ring)
                break
            if not begun:
                self._advance()
                begun = True
            self._begin([queue.popleft() for _ in range(min(len(queue), policy.most))])
        if begun:
            self._schedule()

    def _ring(self, _event: simpy.Event) -> None:
        self._alarm = -1
        self._dispatch()

    def _at(self, delay: int, act: Callable[[simpy.Event], None]) -> simpy.Event:
        event = self.env.timeout(delay)
        event.callbacks.append(act)
        return event

    def _advance(self) -> None:
        """Bring what runs up to now."""
        now, busy = int(self.env.now), self.busy
        if elapsed := now - self._since:
            self._since = now
            self.records.busy += self.taken * elapsed
            if busy:
                for size, running in self._sizes.items():
                    if running.ends:
                        running.progress += elapsed / self.service(size, busy)

    def _begin(self, batch: list[int]) -> None:
        """A stream takes a batch."""
        self.taken += 1
        self.records.batches[len(batch)] += 1
        now, starts = int(self.env.now), self.records.starts
        for sample in batch:
            starts[sample] = now
        if self.before is not None:
            self._host = max(self._host, self.records.arrivals[batch[-1]]) + self.before(len(batch))
            if self._host > now:
                self._at(self._host - now, lambda _event: self._prepared(batch))
                return
        self._launch(batch)

    def _prepared(self, batch: list[int]) -> None:
        self._advance()
        self._launch(batch)
        self._schedule()

    def _launch(self, batch: list[int]) -> None:
        """The kernels of a batch begin."""
        size = len(batch)
        running = self._sizes.get(size)
        if running is None:
            running = self._sizes[size] = _Size()
        if not running.ends:
            running.progress = 0.0
        work = 1.0 if self.work is None else self.work()
        self.busy += 1
        heappush(running.ends, (running.progress + work, next(self._order), batch))

    def _schedule(self) -> None:
        """Plan the event of the batch that ends next; an event that was planned before has no effect."""
        best, chosen, busy = -1.0, 0, self.busy
        for size, running in self._sizes.items():
            if running.ends:
                left = max(0.0, running.ends[0][0] - running.progress) * self.service(size, busy)
                if best < 0 or left < best:
                    best, chosen = left, size
        self._plan = None
        if best >= 0:
            self._next = chosen
            self._plan = self._at(round(best), self._end)

    def _end(self, event: simpy.Event) -> None:
        if event is not self._plan:
            return
        self._advance()
        running = self._sizes[self._next]
        running.progress, _, batch = heappop(running.ends)
        self.busy -= 1
        self.taken -= 1
        now, ends = int(self.env.now), self.records.ends
        for sample in batch:
            ends[sample] = now
        if self._clients:
            for sample in batch:
                self._leave(sample)
        before = self.taken
        self._dispatch()
        if self.taken == before:
            self._schedule()

    def _leave(self, sample: int) -> None:
        """Tell the client of a sample once it is the last of its query."""
        if (client := self._clients.pop(sample, None)) is not None:
            done, left = client
            left[0] -= 1
            if not left[0]:
                done.succeed()


def _arrivals(env: simpy.Environment, station: Station, times: Ticks, tell: Callable[[int], None] | None) -> Any:
    """The process of an open system: requests come when they come."""
    block = 8192
    for place in range(0, len(times), block):
        if tell is not None:
            tell(place)
        for time in times[place : place + block].tolist():
            if time > env.now:
                yield env.timeout(time - env.now)
            station.arrive()


def _client(env: simpy.Environment, station: Station, queries: int, samples: int) -> Generator[simpy.Event, Any, None]:
    """The process of a client in a closed system: the next query follows the answer of the last."""
    for _ in range(queries):
        done = env.event()
        station.arrive(samples, done)
        yield done


def run_open(
    times: Ticks,
    service: Service,
    policy: Policy,
    work: Callable[[], float] | None = None,
    tell: Callable[[int], None] | None = None,
    before: Callable[[int], int] | None = None,
) -> Records:
    """Serve requests that arrive at given times, until all have ended."""
    env = simpy.Environment(0)
    station = Station(env, service, policy, work, before)
    env.process(_arrivals(env, station, times, tell))
    env.run()
    return station.records


def run_closed(
    clients: int,
    queries: int,
    samples: int,
    service: Service,
    policy: Policy,
    before: Callable[[int], int] | None = None,
) -> Records:
    """Serve clients that each send a query of some samples when the last is answered."""
    env = simpy.Environment(0)
    station = Station(env, service, policy, before=before)
    for _ in range(clients):
        env.process(_client(env, station, queries, samples))
    env.run()
    return station.records
