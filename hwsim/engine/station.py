"""The moving parts of a run: a station is a stage at work (a SimPy process), a pool servers that stations share."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator

import simpy

from hwsim.engine.activity import Record
from hwsim.engine.cursor import Cursor, Tile

__all__ = ["Clockwork", "Line", "Pool", "Records", "Station"]

INPUT, OUTPUT, QUEUE, WORK, DONE = range(5)
"""What a station does: waits for its tile, for a free slot downstream, for a server; works; has no tile left."""

TILES, BUSY, WAIT_INPUT, WAIT_OUTPUT, WAIT_PEERS = range(5)
"""Places in `Station.totals`; from the last one on, there is one place for each station of the pool."""


class Clockwork(simpy.Environment):
    """A SimPy environment whose time is an integer."""

    _now: int

    @property
    def now(self) -> int:
        """The present tick."""
        return self._now


class Alarm(simpy.Event):
    """What a sleeping station waits for. Rung by whoever ends the wait, at once or after a delay."""

    def ring(self, delay: int = 0) -> None:
        """Wake the sleeper *delay* ticks from now."""
        self._ok = True
        self._value = None
        self.env.schedule(self, delay=delay)


class Records:
    """The intervals of a run, up to a limit."""

    __slots__ = ("complete", "limit", "list")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.list: list[Record] = []
        self.complete = True

    def add(self, record: Record) -> None:
        """Keep *record* while there is room."""
        if len(self.list) < self.limit:
            self.list.append(record)
        else:
            self.complete = False


class Pool:
    """The servers of one resource that more stations use than it has servers.

    Requests are settled once a tick, when all that happens in the tick has happened. So the outcome does not depend on
    the order in which SimPy processes the events of one tick, and the state between two ticks is a complete one.
    """

    def __init__(self, servers: int, agenda: list[Pool]) -> None:
        self.free = servers
        self.users: list[Station] = []
        self.queue: list[Station] = []
        self._arrivals: list[Station] = []
        self._released: list[Station] = []
        self._agenda = agenda

    def request(self, station: Station) -> None:
        """*station* wants a server."""
        if not self._arrivals and not self._released:
            self._agenda.append(self)
        self._arrivals.append(station)

    def release(self, station: Station) -> None:
        """*station* gives its server back."""
        if not self._arrivals and not self._released:
            self._agenda.append(self)
        self._released.append(station)

    def settle(self, now: int) -> None:
        """The tick is over: charge those who waited to the one who left, let the next ones work."""
        queue = self.queue
        if self._released:
            self.free += len(self._released)
            if queue:
                culprit = WAIT_PEERS + min(station.peer for station in self._released)
                for station in queue:
                    station.totals[culprit] += now - station.when
                    station.when = now
            self._released.clear()
        if self._arrivals:
            self._arrivals.sort(key=_peer)
            queue += self._arrivals
            self._arrivals.clear()
        while queue and self.free:
            self.free -= 1
            queue.pop(0).serve(now)


def _peer(station: Station) -> int:
    return station.peer


class Line:
    """A pipeline at work: its stations, its place in the stream of tiles, and the lines that come after it."""

    def __init__(self, cursor: Cursor, tiles: int) -> None:
        self.cursor = cursor
        self.tiles = tiles
        self.stations: list[Station] = []
        self.start = -1
        self.end = -1
        self.awaits = 0
        self.followers: list[Line] = []

    def begin(self, env: Clockwork) -> None:
        """All that had to come before has finished."""
        self.start = env.now
        for station in self.stations:
            station.when = env.now
        if self.tiles:
            self.resume(env)
        else:
            self.finish(env)

    def resume(self, env: Clockwork) -> None:
        """Let every station go on from the phase that it is in."""
        for station in self.stations:
            if station.phase != DONE:
                env.process(station.process(env))

    def finish(self, env: Clockwork) -> None:
        """The last tile has left the last stage."""
        self.end = env.now
        for line in self.followers:
            line.awaits -= 1
            if not line.awaits:
                line.begin(env)


class Station:
    """A stage at work.

    The whole state is in the attributes, none in the generator: so a run can be halted between two ticks, moved on by
    whole periods, and taken up by fresh processes.
    """

    __slots__ = (
        "alarm", "before", "behind", "env", "free", "inbox", "index", "line", "peer", "phase", "pool", "position",
        "records", "tile", "totals", "when",
    )  # fmt: skip

    def __init__(self, index: int, position: int, line: Line, slots: int, pool: Pool | None, records: Records) -> None:
        self.index = index
        self.position = position
        self.line = line
        self.free = slots
        self.pool = pool
        self.peer = 0
        self.records = records
        self.before: Station | None = None
        self.behind: Station | None = None
        self.inbox: deque[Tile] = deque()
        self.tile: Tile = ()
        self.phase = INPUT
        self.when = 0  # until when it works, or since when it waits
        self.totals = [0] * WAIT_PEERS
        self.alarm: Alarm | None = None
        self.env: Clockwork

    def sleep(self) -> Alarm:
        """Wait until somebody rings."""
        self.alarm = alarm = Alarm(self.env)
        return alarm

    def wake(self) -> None:
        """What this station waits for is there."""
        alarm = self.alarm
        if alarm is not None:
            self.alarm = None
            alarm.ring()

    def serve(self, now: int) -> None:
        """The station got a server: it is woken when the work is done."""
        duration = self.tile[self.position]
        self.phase = WORK
        self.when = now + duration
        alarm = self.alarm
        assert alarm is not None
        self.alarm = None
        alarm.ring(duration)

    def process(self, env: Clockwork) -> Generator[simpy.Event, None, None]:
        """The life of a stage, from whatever phase it is in."""
        self.env = env
        before, behind, pool, totals, position = self.before, self.behind, self.pool, self.totals, self.position
        cursor, tiles = self.line.cursor, self.line.tiles
        while totals[TILES] < tiles:
            if self.phase == INPUT:
                if before is None:
                    self.tile = cursor.next()
                else:
                    if not self.inbox:
                        yield self.sleep()
                        totals[WAIT_INPUT] += env._now - self.when
                    self.tile = self.inbox.popleft()
                self.when = env._now
                self.phase = OUTPUT
            if self.phase == OUTPUT:
                duration = self.tile[position]
                if behind is not None:
                    if not self.free:
                        yield self.sleep()
                        totals[WAIT_OUTPUT] += env._now - self.when
                    self.free -= 1
                if duration and pool is not None:
                    self.when = env._now
                    self.phase = QUEUE
                    pool.request(self)
                else:
                    self.when = env._now + duration
                    self.phase = WORK
                    if duration:
                        yield env.timeout(duration)
            elif self.phase == WORK:
                yield env.timeout(self.when - env._now)
            if self.phase == QUEUE:
                yield self.sleep()
            now = env._now
            duration = self.tile[position]
            if duration:
                if pool is not None:
                    pool.release(self)
                totals[BUSY] += duration
                self.records.add((self.index, totals[TILES], now - duration, now, 1, 0, ()))
            totals[TILES] += 1
            if behind is not None:
                behind.inbox.append(self.tile)
                if behind.phase == INPUT:
                    behind.wake()
            if before is not None:
                before.free += 1
                if before.phase == OUTPUT:
                    before.wake()
            self.phase = INPUT
            self.when = now
        self.phase = DONE
        if behind is None:
            self.line.finish(env)
