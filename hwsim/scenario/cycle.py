"""A microcontroller that sleeps most of the time: average power, duty, missed deadlines and battery life.

Every period a sensor fills a buffer by DMA while the core sleeps; when it is full the core wakes up, runs the network
and sleeps again. There are two buffers, so the next capture may start while the core still works. No capture is lost:
one that finds the core at work waits for it. The deadline of an inference is the moment at which the next capture is
full, and the window that is measured starts when the first one is, so that each period counts once.

The scenario runs on the engine: a day of equal periods costs as much as a dozen of them. Unequal ones (`jitter`, and
the bursts of `burst`) are run one by one, so there is a limit to how many.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

from hwsim.energy.battery import parse_battery
from hwsim.engine import Interval, simulate as run_program
from hwsim.engine.clock import Timebase
from hwsim.engine.program import Pipeline, Program, Run, Stage
from hwsim.errors import InputError
from hwsim.machines import Mcu
from hwsim.report.result import RunResult
from hwsim.scenario.result import DutyCycle
from hwsim.scenario.states import with_states
from hwsim.units import parse

__all__ = ["MAX_UNEQUAL", "duty_cycle"]

MAX_UNEQUAL = 10_000
"""Most inputs simulated if periods differ; averages have converged by then."""


def _quantity(name: str, text: str, dimension: str) -> Fraction:
    try:
        return parse(text, dimension)
    except ValueError as error:
        raise InputError(f"{name} {error}") from None


def duty_cycle(
    report: RunResult,
    every: str,
    battery: str | None = None,
    duration: str = "86400 s",
    capture: str = "0 s",
    jitter: str = "0 s",
    burst: int = 1,
    sensor: str | None = None,
    seed: int = 0,
    fast_forward: bool = True,
) -> DutyCycle:
    """Run a network once every period, with sleep in between.

    Parameters
    ----------
    report : RunResult
        Of `hwsim.simulate` on a microcontroller, batch 1: its latency is that of each inference.
    every : str
        The period, as ``1 s``.
    battery : str, optional
        A name of `BATTERIES`, or as ``1000 mAh 3.7 V``.
    duration : str
        How long it goes on; whole periods of it are run.
    capture : str
        How long the sensor fills a buffer; at most a period.
    jitter : str
        Each period is longer or shorter by up to as much, at random from `seed`; not for more than 10,000 inputs.
    burst : int
        Each period brings from one input to this many, at random from `seed`, their captures one right after the other.
    sensor : str, optional
        What the sensor draws while it captures, as ``1.2 mW``; it draws nothing else.
    fast_forward : bool
        Skip what repeats; the result is the same.

    Raises
    ------
    InputError
        If the machine is no microcontroller, or a time or the battery cannot be.
    """
    machine = report.machine
    if not isinstance(machine, Mcu):
        raise InputError(f"a duty cycle must be that of a microcontroller, {machine.name} is of kind {machine.kind}")
    if report.batch != 1:
        raise InputError(f"a duty cycle must run one input at a time, not a batch of {report.batch}")
    cell = None if battery is None else parse_battery(battery)
    period, length = _quantity("every", every, "time"), _quantity("duration", duration, "time")
    filling, shake = _quantity("capture", capture, "time"), _quantity("jitter", jitter, "time")
    if not period:
        raise InputError(f"every must be more than zero, not {every!r}")
    if length < period:
        raise InputError(f"duration must be at least a period of {every}, not {duration!r}")
    if not 1 <= burst <= MAX_UNEQUAL:
        raise InputError(f"burst must be from 1 to {MAX_UNEQUAL:,} inputs, not {burst:,}")
    if filling * burst + shake > period or shake == period:
        times = f"{burst} captures" if burst > 1 else "capture"
        raise InputError(f"{times} and jitter must fit in a period of {every}, not {capture!r} and {jitter!r}")
    sensor_w = None if sensor is None else float(_quantity("sensor", sensor, "power"))
    if sensor_w and not filling:
        raise InputError("a sensor that draws power must take time to capture: give capture, as '100 ms'")
    power, notes = machine.spec.power, []
    waking = Fraction(0) if power.wake_up == "unknown" else Fraction(power.wake_up)
    timebase = _timebase(machine.timebase.rate_hz, (period, filling, shake, waking))

    def ticks(seconds: Fraction) -> int:
        return int(seconds * timebase.rate_hz)

    working = ticks(sum(r.timeline.end for r in report.results) / machine.timebase.rate_hz)
    if not working:
        raise InputError("a duty cycle must have an inference that takes time, this one takes none")
    count = int(length / period)
    body = (ticks(filling), ticks(waking), working)
    unequal = bool(shake) or burst > 1
    if unequal:
        ran, starts = _starts(count, ticks(period), ticks(shake), burst, body[0], random.Random(seed))
        if ran < count:
            notes.append(f"unequal periods are simulated one by one: only the first {ran:,} of {count:,}")
        gaps = [after - before for before, after in pairwise(starts)]
        count = len(gaps)
        tiles = tuple(Run(1, (after, *body)) for after in (0, *gaps[:-1]))
    else:
        tiles = (Run(1, (0, *body)), Run(count - 1, (ticks(period), *body)))
    timeline = run_program(_program(tiles, count if unequal else 2), fast_forward)
    inferences = [i for i in timeline.each_interval() if i.stage == "inference"]
    if unequal:
        missed = sum(i.end > starts[i.tile + 1] + body[0] for i in inferences)
        backlog = _backlog(inferences, starts, body[0])
        window = max(starts[-1], timeline.end - body[0])
        asleep = _asleep(inferences, starts, body[0], body[1])
        timeline = with_states(timeline, timebase, report.timeline, starts, body[0], body[1])
    else:
        missed = sum(_late(i, ticks(period), body[0]) for i in inferences)
        # The core never rests if it is slower than the timer: when the last capture is full, so many are done.
        backlog = max(1, count - (count - 1) * ticks(period) // (body[1] + working))
        window = max(count * ticks(period), timeline.end - body[0])
        # The core waits only for captures, so all of a capture that the core does not work through is slept through.
        asleep = min(count * body[0], window - count * (body[1] + body[2]))
        timeline = with_states(timeline, timebase, report.timeline, ticks(period), body[0], body[1])
    spent = {"inference": count * working, "wake-up": count * body[1], "sleep": asleep}
    rest = "sleep" if power.deep_sleep == "unknown" and power.sleep != "unknown" else "deep sleep"
    if rest == "sleep":
        notes.append(f"power.deep_sleep of {machine.name} is unknown; light sleep is used instead")
    spent[rest] = spent.get(rest, 0) + window - sum(spent.values())
    fed = 1.0
    if cell is not None and power.regulator == "ldo" and power.measured_supply is not None and power.supply is None:
        # A linear regulator draws the same current from any voltage; who converts it before says so by power.supply.
        fed = float(cell.voltage / power.measured_supply)
        notes.append(
            f"fed straight from {cell.name}: the current measured at {float(power.measured_supply):g} V, at "
            f"{float(cell.voltage):g} V, is {fed:.3g} times the power; behind a converter, set power.supply"
        )
    watts = {
        "inference": machine.active_w,
        "wake-up": None if power.wake_up == "unknown" else machine.state_w("waking"),
        "sleep": machine.state_w("sleep"),
        "deep sleep": machine.state_w("deep_sleep"),
    }
    watts = {state: None if w is None else w * fed for state, w in watts.items()}
    taken = {s: timebase.seconds(n) for s, n in spent.items() if n or (s == "wake-up" and power.wake_up == "unknown")}
    energy = {s: None if (w := watts[s]) is None else w * seconds for s, seconds in taken.items()}
    keys = {"inference": "active", "wake-up": "wake_up", "sleep": "sleep", "deep sleep": "deep_sleep"}
    unknown = [f"power.{keys[state]}" for state, joules in energy.items() if joules is None]
    if unknown:
        notes.append(f"{machine.name} has no value for {', '.join(unknown)}; set it with --set")
    sensing = timebase.seconds(count * body[0])
    peak = max((w for state in taken if (w := watts[state]) is not None), default=None)
    if sensor_w is not None:
        energy["sensor"] = sensor_w * sensing
        peak = None if peak is None else peak + sensor_w
    return DutyCycle(
        every_s=float(period),
        window_s=timebase.seconds(window),
        inferences=count,
        missed=missed,
        backlog=backlog,
        duty=float(Fraction(count * (body[1] + working), window)),
        time_s=taken,
        sensor_s=sensing,
        energy_j=energy,
        peak_w=peak,
        battery=cell,
        timeline=timeline,
        notes=tuple(notes),
    )


def _starts(
    periods: int, period: int, shake: int, burst: int, capture: int, draw: random.Random
) -> tuple[int, list[int]]:
    """How many periods are run, and when each capture starts in them; after the last, when its period ends."""
    starts: list[int] = []
    now = 0
    for ran in range(periods):
        inputs = draw.randint(1, burst) if burst > 1 else 1
        if len(starts) + inputs > MAX_UNEQUAL:
            return ran, [*starts, now]
        starts += [now + nth * capture for nth in range(inputs)]
        now += period + (draw.randint(-shake, shake) if shake else 0)
    return periods, [*starts, now]


def _backlog(inferences: Sequence[Interval], starts: Sequence[int], capture: int) -> int:
    """The most inputs that were full and not yet done with at a time."""
    ends = [i.end for i in inferences]
    return max(nth + 1 - bisect_right(ends, start + capture) for nth, start in enumerate(starts[:-1]))


def _timebase(rate_hz: Fraction, times: tuple[Fraction, ...]) -> Timebase:
    """Ticks of which the machine's are a multiple, and all given times too."""
    try:
        return Timebase({"machine": rate_hz} | {f"time {n}": 1 / time for n, time in enumerate(times) if time})
    except ValueError:
        raise InputError("every, capture and jitter must be rounder: a common tick is below an attosecond") from None


def _program(tiles: tuple[Run, ...], slots: int) -> Program:
    """The timer starts the sensor, which wakes the core; one slot after the wake-up keeps the core to one input."""
    stages = (
        Stage("period", "timer", slots),
        Stage("capture", "sensor", slots),
        Stage("wake-up", "core", 1),
        Stage("inference", "core"),
    )
    return Program({"timer": 1, "sensor": 1, "core": 1}, (Pipeline("duty cycle", stages, tiles),))


def _late(interval: Interval, period: int, capture: int) -> int:
    """How many of the inferences that an interval stands for end after the next capture is full."""
    late = interval.end - (interval.tile + 1) * period - capture
    grows = interval.period - period if interval.repeat > 1 else 0
    if grows <= 0:
        # They never get later: the core is as fast as the timer, or this is one inference.
        return interval.repeat if late > 0 else 0
    return interval.repeat - max(0, min(interval.repeat, -late // grows + 1))


def _asleep(inferences: list[Interval], starts: list[int], capture: int, waking: int) -> int:
    """Ticks of captures after the first in which the core neither wakes up nor works; captures do not overlap."""
    asleep = capture * (len(starts) - 1)
    at = 1
    for work in inferences:
        begin = work.start - waking
        while at < len(starts) and starts[at] + capture <= begin:
            at += 1
        reach = at
        while reach < len(starts) and starts[reach] < work.end:
            asleep -= max(0, min(work.end, starts[reach] + capture) - max(begin, starts[reach]))
            reach += 1
    return asleep
