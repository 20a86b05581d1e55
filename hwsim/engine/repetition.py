"""Exact fast-forward: when the state of a run repeats, whole periods are skipped by arithmetic.

Between two ticks the state is: what each station does and with which tile, the tiles in the buffers, who queues for
what, the place of each leading stage in its stream (all discrete), and until or since when each station works or waits
(numbers). What happens next depends on nothing else. Places in a stream are compared without the iteration at one level
of the nest, so that a loop looks the same in each of its iterations; `Cursor.left` says how many more there are.

Two kinds of repetition are skipped:

- *Periodic*: a state comes back, with all its numbers relative to the present. So does all that follows, until a loop
  ends.
- *Drifting*: the discrete state comes back twice, the same stations finish in the same order in both periods, and every
  number moves by as much in the second period as in the first. While that order stays, each number is an earlier one
  plus a constant (it is the latest of several, and the order says which), so each goes on moving by the same amount.
  The order stays until the first gap between two events that shrinks is used up. So a buffer that fills by one tick a
  tile, or a long transfer beside many short tiles, costs no more than a periodic loop.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from hwsim.engine.activity import Record
from hwsim.engine.cursor import Cursor
from hwsim.engine.station import DONE, TILES, WORK, Line, Pool, Records, Station

__all__ = ["Jumper"]

MAX_STATES = 4096
"""States remembered at a time. A run that has not repeated by then is not likely to, and memory stays bounded."""

MIN_PERIODIC, MIN_DRIFTING = 2, 6
"""Fewest periods worth a jump: to restart the processes costs about as much as to simulate a period."""


class Snapshot:
    """The numbers of a state, and how far the records were."""

    __slots__ = ("iterations", "now", "records", "totals", "when")

    def __init__(self, now: int, when: list[int], totals: list[list[int]], iterations: list[int], records: int) -> None:
        self.now = now
        self.when = when
        self.totals = totals
        self.iterations = iterations
        self.records = records


class Sightings:
    """When a discrete state was seen: with which numbers, and the last two times."""

    __slots__ = ("last", "same", "second_last")

    def __init__(self) -> None:
        self.same: dict[tuple[int, ...], Snapshot] = {}
        self.last: Snapshot | None = None
        self.second_last: Snapshot | None = None


class Jumper:
    """Watches a run for repetition."""

    def __init__(self, lines: Sequence[Line], pools: Sequence[Pool], records: Records) -> None:
        self._lines = lines
        self._pools = pools
        self._records = records
        self._sightings: dict[Hashable, Sightings] = {}
        self._states = 0
        self._barrier = 0  # records before this one may stand for skipped stretches

    def look(self, now: int) -> int | None:
        """The tick is over. Skip what can be skipped and return the new time, or None when nothing was."""
        level = Cursor.STILL
        for line in self._lines:
            cursor = line.cursor
            level = min(level, cursor.outermost)
            cursor.outermost = Cursor.STILL
        if level == Cursor.STILL:
            return None
        lines = [line for line in self._lines if line.start >= 0 > line.end]
        depth = max([len(line.cursor.frames) for line in lines])
        # Where no loop has iterations left to skip, there is nothing to look for.
        levels = [i for i in range(level, depth) if max([line.cursor.remaining(i) for line in lines]) >= MIN_PERIODIC]
        if not levels:
            return None
        stations = [station for line in lines for station in line.stations]
        discrete: list[Hashable] = []
        for station in stations:
            discrete += (station.index, station.phase, station.tile, *station.inbox)
        for pool in self._pools:
            discrete += [station.index for station in pool.queue]
        state = tuple(discrete)
        when = [station.when for station in stations]
        numbers = tuple([station.when - now if station.phase != DONE else 0 for station in stations])
        totals = [station.totals.copy() for station in stations]
        for at in levels:
            places = tuple([line.cursor.place(at) for line in lines])
            iterations = [line.cursor.iteration(at) for line in lines]
            snapshot = Snapshot(now, when, totals, iterations, len(self._records.list))
            if self._states >= MAX_STATES:
                self._sightings.clear()
                self._states = 0
            sightings = self._sightings.setdefault((at, places, state), Sightings())
            earlier = sightings.same.get(numbers)
            if earlier is not None:
                periods = self._room(lines, at, earlier, snapshot)
                if periods >= MIN_PERIODIC:
                    return self._jump(lines, at, (earlier, earlier, snapshot), periods)
            else:
                self._states += 1
                first, second = sightings.second_last, sightings.last
                if first is not None and second is not None and first.records >= self._barrier:
                    periods = self._room(lines, at, second, snapshot)
                    if periods >= MIN_DRIFTING:
                        periods = min(periods, self._drift(stations, first, second, snapshot))
                        if periods >= MIN_DRIFTING:
                            return self._jump(lines, at, (first, second, snapshot), periods)
            sightings.same[numbers] = snapshot
            sightings.second_last, sightings.last = sightings.last, snapshot
        return None

    @staticmethod
    def _room(lines: list[Line], level: int, earlier: Snapshot, later: Snapshot) -> int:
        """Whole periods that fit in the iterations that are left."""
        return min(
            line.cursor.remaining(level) // (new - old)
            for line, old, new in zip(lines, earlier.iterations, later.iterations, strict=True)
            if new > old
        )

    def _drift(self, stations: list[Station], first: Snapshot, second: Snapshot, third: Snapshot) -> int:
        """Periods for which the drift goes on unchanged, 0 if it is none."""
        period = third.now - second.now
        if second.now - first.now != period or not self._records.complete:
            return 0
        if any(c - b != b - a for a, b, c in zip(first.iterations, second.iterations, third.iterations, strict=True)):
            return 0
        if any(c - b != b - a for a, b, c in zip(first.when, second.when, third.when, strict=True)):
            return 0
        one, two = self._records_of(first, second), self._records_of(second, third)
        if [record[0] for record in one] != [record[0] for record in two]:
            return 0
        periods = 1 << 62
        last_one, last_two = first.now, second.now
        ends = [(r[3], s[3]) for r, s in zip(one, two, strict=True)]
        for end_one, end_two in (*ends, (second.now, third.now)):
            gap_one, gap_two = end_one - last_one, end_two - last_two
            if (gap_one == 0) != (gap_two == 0):
                return 0
            if gap_two < gap_one:
                periods = min(periods, (gap_two - 1) // (gap_one - gap_two))
            last_one, last_two = end_one, end_two
        for station, until_one, until_two in zip(stations, second.when, third.when, strict=True):
            if station.phase == WORK:  # one that is still at work when a period ends has to be so in every period
                gap_one, gap_two = until_one - second.now, until_two - third.now
                if gap_two < gap_one:
                    periods = min(periods, (gap_two - 1) // (gap_one - gap_two))
        return periods

    def _records_of(self, since: Snapshot, until: Snapshot) -> list[Record]:
        """What was finished in a period, by time; in the same tick by station, whatever order SimPy took."""
        return sorted(self._records.list[since.records : until.records], key=lambda record: (record[3], record[0]))

    def _jump(self, lines: list[Line], level: int, snapshots: tuple[Snapshot, Snapshot, Snapshot], periods: int) -> int:
        """Add *periods* periods like that from the second to the third snapshot; the first tells how periods change."""
        first, second, third = snapshots
        drifts = first is not second
        period = third.now - second.now
        triangle = periods * (periods + 1) // 2
        stations = [station for line in lines for station in line.stations]
        tiles: dict[int, int] = {}
        for i, station in enumerate(stations):
            totals = station.totals
            tiles[station.index] = totals[TILES] - second.totals[i][TILES]
            for j, (a, b) in enumerate(zip(first.totals[i], second.totals[i], strict=True)):
                change = totals[j] - b
                totals[j] += change * periods + ((change - (b - a)) * triangle if drifts else 0)
            station.when += (third.when[i] - second.when[i] if drifts else period) * periods
        for line, old, new in zip(lines, second.iterations, third.iterations, strict=True):
            if new > old:
                line.cursor.skip(level, (new - old) * periods)

        if drifts:
            before, after = self._records_of(first, second), self._records_of(second, third)
            shifts = [new[3] - old[3] for old, new in zip(before, after, strict=True)]
        else:
            after = self._records.list[second.records :]
            shifts = [period] * len(after)
        for (index, tile, start, end, repeat, inner, outer), shift in zip(after, shifts, strict=True):
            if repeat > 1:
                outer = ((periods, shift), *outer)
            else:
                repeat, inner = periods, shift
            self._records.add((index, tile + tiles[index], start + shift, end + shift, repeat, inner, outer))
        self._barrier = len(self._records.list)
        return third.now + period * periods
