"""The machine as a queueing station on SimPy: queues, a batcher, streams that share the hardware.

A batch is a unit of work. While `busy` streams run, a batch of n advances by 1 / service(n, busy) a tick, so that a
batch which begins slows down those that run, and one that ends speeds them up. What comes before the kernels of a batch
(calls, copies) is done by one host, a batch after the other, beside the kernels: from when its last sample has arrived.
The stream waits for what is left of it when it takes the batch, and slows down no other. Batches of one size keep their
order, so the next to end is the first of some size, and an event costs no more for many streams than for one.
"""

from __future__ import annotations

from array import array
from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import Any

import simpy

from hwsim.requests.arrivals import Ticks

__all__ = ["Line", "Policy", "Records", "Station", "run_closed", "run_open", "run_shared"]

Service = Callable[[int, int], int]
"""Ticks of a batch by its size and the number of busy streams."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How requests get to the streams, in ticks.

    A free stream takes the first `most` samples that wait, at once if there are so many, else when the first of them
    has waited for `wait`. A sample that would begin later than `deadline` after it arrived is dropped. Of several
    queues the one of the highest `priority` goes first.
    """

    streams: int = 1
    most: int = 1
    wait: int = 0
    deadline: int | None = None
    priority: int = 0


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
    """Batches of one line and size that run: how far they have advanced, and where each ends."""

    __slots__ = ("ends", "line", "progress", "size")

    def __init__(self, line: Line, size: int) -> None:
        self.line, self.size, self.progress = line, size, 0.0
        self.ends: list[tuple[float, int, list[int]]] = []


class Line:
    """Requests that wait in one queue: those of a network.

    Parameters
    ----------
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
        service: Service,
        policy: Policy,
        work: Callable[[], float] | None = None,
        before: Callable[[int], int] | None = None,
    ) -> None:
        self.service, self.policy, self.work, self.before = service, policy, work, before
        self.records = Records()
        self.queue: deque[int] = deque()
        self.taken = 0  # streams that have a batch of it
        self.sizes: dict[int, _Size] = {}
        self.clients: dict[int, tuple[simpy.Event, list[int]]] = {}

    def drop(self, now: int) -> None:
        """Drop those that can no longer begin in time."""
        deadline, queue, records = self.policy.deadline, self.queue, self.records
        if deadline is None:
            return
        while queue and now > records.arrivals[queue[0]] + deadline:
            records.drops += 1
            self.leave(queue.popleft())

    @property
    def ready(self) -> int:
        """When the first batch may begin at the latest: at once if there are samples enough."""
        policy, queue = self.policy, self.queue
        if len(queue) >= policy.most:
            return -1
        return self.records.arrivals[queue[0]] + policy.wait

    def leave(self, sample: int) -> None:
        """Tell the client of a sample once it is the last of its query."""
        if (client := self.clients.pop(sample, None)) is not None:
            done, left = client
            left[0] -= 1
            if not left[0]:
                done.succeed()


class Station:
    """Queues in front of the streams of a machine, each with a priority.

    A free stream takes a batch of the line of the highest priority that may begin; of several, of that whose first
    request came first. A batch that runs is not interrupted.

    Parameters
    ----------
    env : simpy.Environment
    streams : int
    lines : sequence of Line
    """

    def __init__(self, env: simpy.Environment, streams: int, lines: Sequence[Line]) -> None:
        self.env, self.streams = env, streams
        self.lines = tuple(sorted(lines, key=lambda line: -line.policy.priority))
        self.taken = 0  # streams that have a batch
        self.busy = 0  # those of them that run kernels
        self._sizes: list[_Size] = []
        self._since = 0
        self._plan: simpy.Event | None = None
        self._next: _Size | None = None
        self._alarm = -1
        self._order = count()
        self._host = 0  # when it is done with the last batch

    def arrive(self, line: Line, samples: int = 1, done: simpy.Event | None = None) -> None:
        """A query of some samples, which all arrive now; `done` happens when the last of them has ended."""
        records, now = line.records, int(self.env.now)
        first = len(records.arrivals)
        for sample in range(first, first + samples):
            records.arrivals.append(now)
            records.starts.append(-1)
            records.ends.append(-1)
            line.queue.append(sample)
        if done is not None:
            left = [samples]
            for sample in range(first, first + samples):
                line.clients[sample] = done, left
        if self.taken < self.streams:
            self._dispatch()

    def _chosen(self, now: int) -> tuple[Line | None, int]:
        """The line whose batch begins now; None and when the next one may, or -1 if nobody waits."""
        best: Line | None = None
        first, alarm = 0, -1
        for line in self.lines:
            if best is not None and line.policy.priority < best.policy.priority:
                break
            line.drop(now)
            if not line.queue:
                continue
            ready = line.ready
            if now < ready:
                alarm = ready if alarm < 0 else min(alarm, ready)
                continue
            came = line.records.arrivals[line.queue[0]]
            if best is None or came < first:
                best, first = line, came
        return best, alarm

    def _dispatch(self) -> None:
        """Give free streams what may begin; else set the alarm for when it may."""
        now = int(self.env.now)
        begun = False
        while self.taken < self.streams:
            line, ready = self._chosen(now)
            if line is None:
                if ready >= 0 and self._alarm != ready:
                    self._alarm = ready
                    self._at(ready - now, self._ring)
                break
            if not begun:
                self._advance()
                begun = True
            self._begin(line, [line.queue.popleft() for _ in range(min(len(line.queue), line.policy.most))])
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
            for line in self.lines:
                line.records.busy += line.taken * elapsed
            if busy:
                for running in self._sizes:
                    if running.ends:
                        running.progress += elapsed / running.line.service(running.size, busy)

    def _begin(self, line: Line, batch: list[int]) -> None:
        """A stream takes a batch."""
        self.taken += 1
        line.taken += 1
        line.records.batches[len(batch)] += 1
        now, starts = int(self.env.now), line.records.starts
        for sample in batch:
            starts[sample] = now
        if line.before is not None:
            self._host = max(self._host, line.records.arrivals[batch[-1]]) + line.before(len(batch))
            if self._host > now:
                self._at(self._host - now, lambda _event: self._prepared(line, batch))
                return
        self._launch(line, batch)

    def _prepared(self, line: Line, batch: list[int]) -> None:
        self._advance()
        self._launch(line, batch)
        self._schedule()

    def _launch(self, line: Line, batch: list[int]) -> None:
        """The kernels of a batch begin."""
        size = len(batch)
        running = line.sizes.get(size)
        if running is None:
            running = line.sizes[size] = _Size(line, size)
            self._sizes.append(running)
        if not running.ends:
            running.progress = 0.0
        work = 1.0 if line.work is None else line.work()
        self.busy += 1
        heappush(running.ends, (running.progress + work, next(self._order), batch))

    def _schedule(self) -> None:
        """Plan the event of the batch that ends next; an event that was planned before has no effect."""
        best, chosen, busy = -1.0, None, self.busy
        for running in self._sizes:
            if running.ends:
                left = max(0.0, running.ends[0][0] - running.progress) * running.line.service(running.size, busy)
                if best < 0 or left < best:
                    best, chosen = left, running
        self._plan = None
        if chosen is not None:
            self._next = chosen
            self._plan = self._at(round(best), self._end)

    def _end(self, event: simpy.Event) -> None:
        running = self._next
        if event is not self._plan or running is None:
            return
        self._advance()
        line = running.line
        running.progress, _, batch = heappop(running.ends)
        self.busy -= 1
        self.taken -= 1
        line.taken -= 1
        now, ends = int(self.env.now), line.records.ends
        for sample in batch:
            ends[sample] = now
        if line.clients:
            for sample in batch:
                line.leave(sample)
        before = self.taken
        self._dispatch()
        if self.taken == before:
            self._schedule()


def _arrivals(
    env: simpy.Environment, station: Station, line: Line, times: Ticks, tell: Callable[[int], None] | None = None
) -> Any:
    """The process of an open system: requests come when they come."""
    block = 8192
    for place in range(0, len(times), block):
        if tell is not None:
            tell(place)
        for time in times[place : place + block].tolist():
            if time > env.now:
                yield env.timeout(time - env.now)
            station.arrive(line)


def _client(
    env: simpy.Environment, station: Station, line: Line, queries: int, samples: int
) -> Generator[simpy.Event, Any, None]:
    """The process of a client in a closed system: the next query follows the answer of the last."""
    for _ in range(queries):
        done = env.event()
        station.arrive(line, samples, done)
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
    line = Line(service, policy, work, before)
    env.process(_arrivals(env, Station(env, policy.streams, [line]), line, times, tell))
    env.run()
    return line.records


def run_shared(streams: int, lines: Sequence[tuple[Ticks, Line]]) -> None:
    """Serve requests of several lines that share the streams; each line has its event log then."""
    env = simpy.Environment(0)
    station = Station(env, streams, [line for _, line in lines])
    for times, line in lines:
        env.process(_arrivals(env, station, line, times))
    env.run()


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
    line = Line(service, policy, before=before)
    station = Station(env, policy.streams, [line])
    for _ in range(clients):
        env.process(_client(env, station, line, queries, samples))
    env.run()
    return line.records
