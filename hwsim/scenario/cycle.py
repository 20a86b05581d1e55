"""A microcontroller that sleeps most of the time: average power, duty, missed deadlines and battery life.

Every period a sensor fills a buffer by DMA while the core sleeps; then the core wakes up, runs the network and sleeps
again. There are two buffers, so the next capture may start during an inference. No capture is lost: it waits until the
core is free. The deadline of an inference is the end of the next capture. The measured window starts at the end of the
first capture, so that each period counts once.

The scenario runs on the engine: fast-forward makes a day of equal periods as cheap as a dozen. Unequal periods
(`jitter`, `burst`) are simulated one by one, so their number is limited.
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
from hwsim.message import Message
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
    """Run a network once per period, with sleep in between.

    Parameters
    ----------
    report : RunResult
        Result of `hwsim.simulate` on a microcontroller with batch size 1: its latency is that of each inference.
    every : str
        The period, as ``1 s``.
    battery : str, optional
        A name of `BATTERIES`, or as ``1000 mAh 3.7 V``.
    duration : str
        Simulated time, rounded down to whole periods.
    capture : str
        Time that the sensor takes to fill a buffer; at most a period.
    jitter : str
        Maximum random deviation of a period; for at most 10,000 inputs.
    burst : int
        Maximum number of inputs per period, uniform from 1; their captures follow each other.
    sensor : str, optional
        Power of the sensor during a capture, as ``1.2 mW``; it is zero otherwise.
    fast_forward : bool
        Skip repetitions; the result is the same.

    Raises
    ------
    InputError
        If the machine is no microcontroller, or a time or the battery is invalid.
    """
    machine = report.machine
    if not isinstance(machine, Mcu):
        raise InputError(f"a duty cycle must be that of a microcontroller, {machine.name} is of kind {machine.kind}")
    if report.batch != 1:
        raise InputError(f"a duty cycle must run one input at a time, not a batch of {report.batch}")
    cell = None if battery is None else parse_battery(battery)
    period, length = _quantity("every", every, "time"), _quantity("duration", duration, "time")
    capture_s, jitter_s = _quantity("capture", capture, "time"), _quantity("jitter", jitter, "time")
    if not period:
        raise InputError(f"every must be more than zero, not {every!r}")
    if length < period:
        raise InputError(f"duration must be at least a period of {every}, not {duration!r}")
    if not 1 <= burst <= MAX_UNEQUAL:
        raise InputError(f"burst must be from 1 to {MAX_UNEQUAL:,} inputs, not {burst:,}")
    if capture_s * burst + jitter_s > period or jitter_s == period:
        times = f"{burst} captures" if burst > 1 else "capture"
        raise InputError(f"{times} and jitter must fit in a period of {every}, not {capture!r} and {jitter!r}")
    sensor_w = None if sensor is None else float(_quantity("sensor", sensor, "power"))
    if sensor_w and not capture_s:
        raise InputError("a sensor that draws power must take time to capture: give capture, as '100 ms'")
    power, notes = machine.spec.power, list[Message]()
    wake_up_s = Fraction(0) if power.wake_up == "unknown" else Fraction(power.wake_up)
    timebase = _timebase(machine.timebase.rate_hz, (period, capture_s, jitter_s, wake_up_s))

    def ticks(seconds: Fraction) -> int:
        return int(seconds * timebase.rate_hz)

    inference_ticks = ticks(sum(r.timeline.end for r in report.results) / machine.timebase.rate_hz)
    if not inference_ticks:
        raise InputError("a duty cycle must have an inference that takes time, this one takes none")
    count = int(length / period)
    body = (ticks(capture_s), ticks(wake_up_s), inference_ticks)
    unequal = bool(jitter_s) or burst > 1
    if unequal:
        period_count, starts = _starts(count, ticks(period), ticks(jitter_s), burst, body[0], random.Random(seed))
        if period_count < count:
            template = "unequal periods are simulated one by one: only the first {simulated:,} of {periods:,}"
            notes.append(
                Message("scenario.unequal_periods", template, {"simulated": period_count, "periods": count}, "warning")
            )
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
        sleep_ticks = _sleep_ticks(inferences, starts, body[0], body[1])
        timeline = with_states(timeline, timebase, report.timeline, starts, body[0], body[1])
    else:
        missed = sum(_late_count(i, ticks(period), body[0]) for i in inferences)
        # A core slower than the timer never sleeps: the inferences done at the end of the last capture follow.
        backlog = max(1, count - (count - 1) * ticks(period) // (body[1] + inference_ticks))
        window = max(count * ticks(period), timeline.end - body[0])
        # The core waits only for captures, so it sleeps during a capture unless it works.
        sleep_ticks = min(count * body[0], window - count * (body[1] + body[2]))
        timeline = with_states(timeline, timebase, report.timeline, ticks(period), body[0], body[1])
    state_ticks = {"inference": count * inference_ticks, "wake-up": count * body[1], "sleep": sleep_ticks}
    rest = "sleep" if power.deep_sleep == "unknown" and power.sleep != "unknown" else "deep sleep"
    if rest == "sleep":
        template = "power.deep_sleep of {machine} is unknown; light sleep is used instead"
        notes.append(Message("scenario.light_sleep", template, {"machine": machine.name}))
    state_ticks[rest] = state_ticks.get(rest, 0) + window - sum(state_ticks.values())
    supply_factor = 1.0
    if cell is not None and power.regulator == "ldo" and power.measured_supply is not None and power.supply is None:
        # A linear regulator draws the same current at any voltage; with a converter before it, power.supply is set.
        supply_factor = float(cell.voltage / power.measured_supply)
        template = (
            "powered directly by {battery}: the current measured at {measured_v:g} V, at {battery_v:g} V, "
            "is {factor:.3g} times the power; behind a converter, set power.supply"
        )
        values = {
            "battery": cell.name, "measured_v": float(power.measured_supply), "battery_v": float(cell.voltage),
            "factor": supply_factor,
        }  # fmt: skip
        notes.append(Message("scenario.unregulated", template, values))
    watts = {
        "inference": machine.active_w,
        "wake-up": None if power.wake_up == "unknown" else machine.state_w("waking"),
        "sleep": machine.state_w("sleep"),
        "deep sleep": machine.state_w("deep_sleep"),
    }
    watts = {state: None if w is None else w * supply_factor for state, w in watts.items()}
    seconds_of = {
        s: timebase.seconds(n) for s, n in state_ticks.items() if n or (s == "wake-up" and power.wake_up == "unknown")
    }
    energy = {s: None if (w := watts[s]) is None else w * seconds for s, seconds in seconds_of.items()}
    keys = {"inference": "active", "wake-up": "wake_up", "sleep": "sleep", "deep sleep": "deep_sleep"}
    unknown = [f"power.{keys[state]}" for state, joules in energy.items() if joules is None]
    if unknown:
        template = "{machine} has no value for {keys}; set it with --set"
        notes.append(Message("scenario.unknown_power", template, {"machine": machine.name, "keys": unknown}, "warning"))
    sensing = timebase.seconds(count * body[0])
    peak = max((w for state in seconds_of if (w := watts[state]) is not None), default=None)
    if sensor_w is not None:
        energy["sensor"] = sensor_w * sensing
        peak = None if peak is None else peak + sensor_w
    return DutyCycle(
        every_s=float(period),
        window_s=timebase.seconds(window),
        inferences=count,
        missed=missed,
        backlog=backlog,
        duty=float(Fraction(count * (body[1] + inference_ticks), window)),
        time_s=seconds_of,
        sensor_s=sensing,
        energy_j=energy,
        peak_w=peak,
        battery=cell,
        timeline=timeline,
        notes=tuple(notes),
    )


def _starts(
    periods: int, period: int, jitter: int, burst: int, capture: int, draw: random.Random
) -> tuple[int, list[int]]:
    """Number of simulated periods, and the start of each capture, with the end of the last period."""
    starts: list[int] = []
    now = 0
    for index in range(periods):
        inputs = draw.randint(1, burst) if burst > 1 else 1
        if len(starts) + inputs > MAX_UNEQUAL:
            return index, [*starts, now]
        starts += [now + nth * capture for nth in range(inputs)]
        now += period + (draw.randint(-jitter, jitter) if jitter else 0)
    return periods, [*starts, now]


def _backlog(inferences: Sequence[Interval], starts: Sequence[int], capture: int) -> int:
    """Maximum number of inputs that are captured and not finished at a time."""
    ends = [i.end for i in inferences]
    return max(nth + 1 - bisect_right(ends, start + capture) for nth, start in enumerate(starts[:-1]))


def _timebase(rate_hz: Fraction, times: tuple[Fraction, ...]) -> Timebase:
    """A common tick of the machine's clock and all times."""
    try:
        return Timebase({"machine": rate_hz} | {f"time {n}": 1 / time for n, time in enumerate(times) if time})
    except ValueError:
        raise InputError("every, capture and jitter must be rounder: a common tick is below an attosecond") from None


def _program(tiles: tuple[Run, ...], slots: int) -> Program:
    """The timer starts the sensor, which wakes the core; one slot after the wake-up limits the core to one input."""
    stages = (
        Stage("period", "timer", slots),
        Stage("capture", "sensor", slots),
        Stage("wake-up", "core", 1),
        Stage("inference", "core"),
    )
    return Program({"timer": 1, "sensor": 1, "core": 1}, (Pipeline("duty cycle", stages, tiles),))


def _late_count(interval: Interval, period: int, capture: int) -> int:
    """Number of inferences of an interval that end after their deadline."""
    late = interval.end - (interval.tile + 1) * period - capture
    grows = interval.period - period if interval.repeat > 1 else 0
    if grows <= 0:
        # The delay does not grow: the core is as fast as the timer, or this is one inference.
        return interval.repeat if late > 0 else 0
    return interval.repeat - max(0, min(interval.repeat, -late // grows + 1))


def _sleep_ticks(inferences: list[Interval], starts: list[int], capture: int, wake_up: int) -> int:
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
