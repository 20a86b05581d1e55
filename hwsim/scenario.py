"""A microcontroller that sleeps most of the time: average power, duty, missed deadlines and battery life.

Every period a sensor fills a buffer by DMA while the core sleeps; when it is full the core wakes up, runs the network
and sleeps again. There are two buffers, so the next capture may start while the core still works. No capture is lost:
one that finds the core at work waits for it. The deadline of an inference is the moment at which the next capture is
full, and the window that is measured starts when the first one is, so that each period counts once.

The scenario runs on the engine: a day of equal periods costs as much as a dozen of them. Unequal ones (`jitter`) are
run one by one, so there is a limit to how many.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate

from hwsim.clock import Timebase
from hwsim.engine import Interval, Timeline
from hwsim.engine import simulate as run_program
from hwsim.errors import InputError, nearest
from hwsim.machines import Mcu
from hwsim.program import Pipeline, Program, Run, Stage
from hwsim.report.report import Report
from hwsim.units import format_si, parse

__all__ = ["BATTERIES", "Battery", "DutyCycle", "duty_cycle", "parse_battery"]

MAX_UNEQUAL = 10_000
"""Periods that are run where no two are alike; the averages of more would not be told from theirs."""

_YEAR = 365.25 * 86400


@dataclass(frozen=True, slots=True)
class Battery:
    """Charge at a nominal voltage; self-discharge, converter losses and the limit of its current are left out."""

    name: str
    capacity_mah: Fraction
    voltage: Fraction
    source: str

    @property
    def energy_j(self) -> float:
        """Capacity times voltage."""
        return float(self.capacity_mah * Fraction(36, 10) * self.voltage)


BATTERIES: dict[str, Battery] = {
    battery.name: battery
    for battery in (
        Battery("CR2032", Fraction(225), Fraction(3), "typical of data sheets, to 2 V at a fraction of a mA"),
        Battery("2xAA", Fraction(2500), Fraction(3), "two alkaline cells of 1.5 V in series; typical of data sheets"),
        Battery("LiPo", Fraction(500), Fraction(37, 10), "one cell of 500 mAh; nominal voltage of data sheets"),
    )
}


def parse_battery(text: str) -> Battery:
    """A battery by name, or by what it holds, as ``1000 mAh 3.7 V``."""
    plain = text.strip().lower()
    for name, battery in BATTERIES.items():
        if plain == name.lower():
            return battery
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*(m?)ah[\s,]+(.+)", plain) if len(text) < 100 else None
    if match is None:
        raise InputError(f"battery must be a name or as '1000 mAh 3.7 V', not {text!r:.60}{nearest(text, BATTERIES)}")
    voltage = _quantity("battery", match[3].replace("v", "V"), "voltage")
    capacity = Fraction(match[1]) * (1 if match[2] else 1000)
    if not capacity:
        raise InputError(f"battery must hold more than nothing, not {text!r:.60}")
    return Battery(text.strip(), capacity, voltage, "given")


@dataclass(frozen=True, slots=True)
class DutyCycle:
    """What a scenario came to.

    `time_s` and `energy_j` are by state: inference, wake-up, sleep (while the sensor captures), and deep sleep (sleep
    where only that is known). An energy of None is unknown, and so are then `average_w` and `life_s`; `least_w` is what
    the known states come to. `missed` counts the inferences that ended after the next capture was full.
    """

    every_s: float
    window_s: float
    inferences: int
    missed: int
    duty: float
    time_s: Mapping[str, float]
    energy_j: Mapping[str, float | None]
    battery: Battery | None
    timeline: Timeline
    notes: tuple[str, ...] = ()

    @property
    def least_w(self) -> float:
        """Average power of the states whose power is known."""
        return math.fsum(e for e in self.energy_j.values() if e is not None) / self.window_s

    @property
    def average_w(self) -> float | None:
        """Average power; None if that of a state is unknown."""
        return None if None in self.energy_j.values() else self.least_w

    @property
    def life_s(self) -> float | None:
        """How long the battery lasts; None without one, or if a power is unknown."""
        if self.battery is None or not self.average_w:
            return None
        return self.battery.energy_j / self.average_w

    def lines(self) -> list[str]:
        """The scenario as a person reads it."""
        known = self.average_w is not None
        power = format_si(self.least_w, "W", 5) if known else f"unknown, at least {format_si(self.least_w, 'W', 4)}"
        found = [
            f"every {format_si(self.every_s, 's')}, {self.inferences:,} inferences in {_span(self.window_s)}",
            f"average power {power}; duty {self.duty:.3%}; missed deadlines {self.missed:,}",
        ]
        for state, seconds in self.time_s.items():
            energy = self.energy_j[state]
            told = "unknown" if energy is None else format_si(energy / self.inferences, "J", 4)
            found.append(f"  {state}: {seconds / self.window_s:.4%} of the time, {told} a period")
        if self.battery is not None:
            life = "unknown" if self.life_s is None else _span(self.life_s)
            if not known and self.least_w:
                life = f"unknown, at most {_span(self.battery.energy_j / self.least_w)}"
            held = f"{float(self.battery.capacity_mah):g} mAh at {float(self.battery.voltage):g} V"
            found.append(f"battery life {life}: {self.battery.name}, {held} ({self.battery.source})")
        return [*found, *self.notes]


def _span(seconds: float) -> str:
    for unit, length in (("year", _YEAR), ("day", 86400.0), ("hour", 3600.0)):
        if seconds >= length:
            return f"{seconds / length:.4g} {unit}{'s' * (seconds != length)}"
    return format_si(seconds, "s", 4)


def _quantity(name: str, text: str, dimension: str) -> Fraction:
    try:
        return parse(text, dimension)
    except ValueError as error:
        raise InputError(f"{name} {error}") from None


def duty_cycle(
    report: Report,
    every: str,
    battery: str | None = None,
    duration: str = "86400 s",
    capture: str = "0 s",
    jitter: str = "0 s",
    seed: int = 0,
    fast_forward: bool = True,
) -> DutyCycle:
    """Run a network once every period, with sleep in between.

    Parameters
    ----------
    report : Report
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
        Each period is longer or shorter by up to as much, at random from `seed`; not for more than 10,000 periods.
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
    if filling + shake > period or shake == period:
        raise InputError(f"capture and jitter must fit in a period of {every}, not {capture!r} and {jitter!r}")
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
    starts: list[int] | None = None
    if shake:
        if count > MAX_UNEQUAL:
            notes.append(f"unequal periods are run one by one: the first {MAX_UNEQUAL:,} of {count:,}")
            count = MAX_UNEQUAL
        draw, most = random.Random(seed), ticks(shake)
        lengths = [ticks(period) + draw.randint(-most, most) for _ in range(count)]
        starts = list(accumulate(lengths, initial=0))
        tiles = tuple(Run(1, (after, *body)) for after in (0, *lengths[:-1]))
    else:
        tiles = (Run(1, (0, *body)), Run(count - 1, (ticks(period), *body)))
    timeline = run_program(_program(tiles, count if shake else 2), fast_forward)
    inferences = [i for i in timeline.each_interval() if i.stage == "inference"]
    if starts is None:
        missed = sum(_late(i, ticks(period), body[0]) for i in inferences)
        window = max(count * ticks(period), timeline.end - body[0])
        # The core waits only for captures, so all of a capture that the core does not work through is slept through.
        asleep = min(count * body[0], window - count * (body[1] + body[2]))
    else:
        missed = sum(i.end > starts[i.tile + 1] + body[0] for i in inferences)
        window = max(starts[-1], timeline.end - body[0])
        asleep = _asleep(inferences, starts, body[0], body[1])
    spent = {"inference": count * working, "wake-up": count * body[1], "sleep": asleep}
    rest = "sleep" if power.deep_sleep == "unknown" and power.sleep != "unknown" else "deep sleep"
    if rest == "sleep":
        notes.append(f"power.deep_sleep of {machine.name} is unknown: it sleeps lightly all the time")
    spent[rest] = spent.get(rest, 0) + window - sum(spent.values())
    watts = {
        "inference": machine.active_w,
        "wake-up": None if power.wake_up == "unknown" else machine.active_w,
        "sleep": None if power.sleep == "unknown" else float(power.sleep),
        "deep sleep": None if power.deep_sleep == "unknown" else float(power.deep_sleep),
    }
    taken = {s: timebase.seconds(n) for s, n in spent.items() if n or (s == "wake-up" and power.wake_up == "unknown")}
    energy = {s: None if (w := watts[s]) is None else w * seconds for s, seconds in taken.items()}
    keys = {"inference": "active", "wake-up": "wake_up", "sleep": "sleep", "deep sleep": "deep_sleep"}
    unknown = [f"power.{keys[state]}" for state, joules in energy.items() if joules is None]
    if unknown:
        notes.append(f"{machine.name} has no value for {', '.join(unknown)}: give it with --set")
    duty = float(Fraction(count * (body[1] + working), window))
    window_s = timebase.seconds(window)
    return DutyCycle(float(period), window_s, count, missed, duty, taken, energy, cell, timeline, tuple(notes))


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
