"""The run: SimPy moves the tiles, tick by tick, and whole periods are skipped where the state repeats."""

from __future__ import annotations

from simpy.core import Infinity

from hwsim.engine.plant import Plant
from hwsim.engine.program import Program
from hwsim.engine.repetition import Jumper
from hwsim.engine.station import Clockwork, Line, Pool
from hwsim.engine.timeline import Timeline

__all__ = ["simulate"]

MAX_RECORDS = 50_000
"""Intervals kept of one run. Only a stream that hardly repeats has more; its totals stay exact."""


def simulate(program: Program, fast_forward: bool = True) -> Timeline:
    """Run *program* and return what happened.

    Parameters
    ----------
    program
        The pipelines and the resources that they share.
    fast_forward
        Skip whole periods where the state repeats. The result is the same to the last tick; `False` is for tests.
    """
    plant = Plant(program, MAX_RECORDS)
    events = sum(_run(lines, pools, plant, fast_forward) for lines, pools in plant.islands())
    return plant.timeline(events)


def _run(lines: list[Line], pools: list[Pool], plant: Plant, fast_forward: bool) -> int:
    """Run lines that have to do with each other from start to end; return how many events that took."""
    env = Clockwork()
    agenda = plant.agenda
    jumper = Jumper(lines, pools, plant.records)
    for line in lines:
        if not line.awaits and line.start < 0:
            line.begin(env)
    events = 0
    upcoming = env.peek()
    while upcoming != Infinity:
        env.step()
        events += 1
        now = env.now
        upcoming = env.peek()
        if upcoming == now:
            continue
        if agenda:
            for pool in agenda:
                pool.settle(now)
            agenda.clear()
        if fast_forward:
            later = jumper.look(now)
            if later is not None:
                # All state is in the stations, so that fresh processes go on where the old ones were.
                env = Clockwork(later)
                for line in lines:
                    if line.start >= 0 > line.end:
                        line.resume(env)
        upcoming = env.peek()
    assert all(line.end >= 0 for line in lines)
    return events
