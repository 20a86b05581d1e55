"""The simulated window of a duty cycle: missed deadlines, backlog, and sleep during captures."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from hwsim.engine import Interval, Timeline, simulate as run_program
from hwsim.engine.program import Pipeline, Program, Run, Stage
from hwsim.scenario.schedule import Phases

__all__ = ["Window", "equal_window", "unequal_window"]


@dataclass(frozen=True, slots=True)
class Window:
    """Counts of inputs, and ticks: of the whole window, and of captures in which the core sleeps.

    `starts` are the starts of the captures, or the period between them.
    """

    timeline: Timeline
    starts: Sequence[int] | int
    inferences: int
    missed: int
    backlog: int
    ticks: int
    sleep_ticks: int


def equal_window(phases: Phases, count: int, fast_forward: bool) -> Window:
    """The window of `count` equal periods."""
    body = (phases.capture, phases.wake_up, phases.inference)
    tiles = (Run(1, (0, *body)), Run(count - 1, (phases.period, *body)))
    timeline = run_program(_program(tiles, 2), fast_forward)
    ticks = max(count * phases.period, timeline.end - phases.capture)
    return Window(
        timeline,
        phases.period,
        count,
        missed=sum(_late_count(i, phases.period, phases.capture) for i in _inferences(timeline)),
        # A core slower than the timer never sleeps: the inferences done at the end of the last capture follow.
        backlog=max(1, count - (count - 1) * phases.period // phases.work),
        ticks=ticks,
        # The core waits only for captures, so it sleeps during a capture unless it works.
        sleep_ticks=min(count * phases.capture, ticks - count * phases.work),
    )


def unequal_window(phases: Phases, starts: Sequence[int], fast_forward: bool) -> Window:
    """The window of captures at `starts`, the last of which is the end of the last period."""
    capture, gaps = phases.capture, [after - before for before, after in pairwise(starts)]
    body = (capture, phases.wake_up, phases.inference)
    timeline = run_program(
        _program(tuple(Run(1, (after, *body)) for after in (0, *gaps[:-1])), len(gaps)), fast_forward
    )
    inferences = _inferences(timeline)
    return Window(
        timeline,
        starts,
        len(gaps),
        missed=sum(i.end > starts[i.tile + 1] + capture for i in inferences),
        backlog=_backlog(inferences, starts, capture),
        ticks=max(starts[-1], timeline.end - capture),
        sleep_ticks=_sleep_ticks(inferences, starts, capture, phases.wake_up),
    )


def _inferences(timeline: Timeline) -> list[Interval]:
    return [i for i in timeline.each_interval() if i.stage == "inference"]


def _program(tiles: tuple[Run, ...], slots: int) -> Program:
    """The timer starts the sensor, which wakes the core; one slot after the wake-up limits the core to one input."""
    stages = (
        Stage("period", "timer", slots),
        Stage("capture", "sensor", slots),
        Stage("wake-up", "core", 1),
        Stage("inference", "core"),
    )
    return Program({"timer": 1, "sensor": 1, "core": 1}, (Pipeline("duty cycle", stages, tiles),))


def _backlog(inferences: Sequence[Interval], starts: Sequence[int], capture: int) -> int:
    """Maximum number of inputs that are captured and not finished at a time."""
    ends = [i.end for i in inferences]
    return max(nth + 1 - bisect_right(ends, start + capture) for nth, start in enumerate(starts[:-1]))


def _late_count(interval: Interval, period: int, capture: int) -> int:
    """Number of inferences of an interval that end after their deadline."""
    late = interval.end - (interval.tile + 1) * period - capture
    grows = interval.period - period if interval.repeat > 1 else 0
    if grows <= 0:
        # The delay does not grow: the core is as fast as the timer, or this is one inference.
        return interval.repeat if late > 0 else 0
    return interval.repeat - max(0, min(interval.repeat, -late // grows + 1))


def _sleep_ticks(inferences: list[Interval], starts: Sequence[int], capture: int, wake_up: int) -> int:
    """Ticks of captures after the first in which the core sleeps; captures do not overlap."""
    ticks = capture * (len(starts) - 1)
    at = 1
    for work in inferences:
        begin = work.start - wake_up
        while at < len(starts) and starts[at] + capture <= begin:
            at += 1
        reach = at
        while reach < len(starts) and starts[reach] < work.end:
            ticks -= max(0, min(work.end, starts[reach] + capture) - max(begin, starts[reach]))
            reach += 1
    return ticks
