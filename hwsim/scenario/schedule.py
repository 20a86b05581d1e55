"""The schedule of a duty cycle: its times, checked, and the start of each capture."""

from __future__ import annotations

import random
from dataclasses import dataclass
from fractions import Fraction

from hwsim.engine.clock import Timebase
from hwsim.errors import InputError, excerpt
from hwsim.units import parse
from hwsim.workload.layer import whole

__all__ = ["MAX_UNEQUAL", "Phases", "Schedule", "quantity", "schedule_of"]

MAX_UNEQUAL = 10_000
"""Most inputs simulated if periods differ; averages have converged by then."""


def quantity(name: str, text: str, dimension: str) -> Fraction:
    """The value of an argument in its SI unit."""
    try:
        return parse(text, dimension)
    except ValueError as error:
        raise InputError(f"{name} {error}") from None


@dataclass(frozen=True, slots=True)
class Phases:
    """Ticks of a period and of what happens in it."""

    period: int
    capture: int
    wake_up: int
    inference: int

    @property
    def work(self) -> int:
        """Ticks in which the core is on."""
        return self.wake_up + self.inference


@dataclass(frozen=True, slots=True)
class Schedule:
    """Times in seconds, and the maximum number of inputs per period."""

    every_s: Fraction
    duration_s: Fraction
    capture_s: Fraction
    jitter_s: Fraction
    burst: int

    @property
    def periods(self) -> int:
        """Whole periods of the duration."""
        return int(self.duration_s / self.every_s)

    @property
    def unequal(self) -> bool:
        """Whether periods differ, so that each is simulated."""
        return bool(self.jitter_s) or self.burst > 1

    def timebase(self, rate_hz: Fraction, wake_up_s: Fraction) -> Timebase:
        """A common tick of the machine's clock and all times."""
        times = (self.every_s, self.capture_s, self.jitter_s, wake_up_s)
        try:
            return Timebase({"machine": rate_hz} | {f"time {n}": 1 / time for n, time in enumerate(times) if time})
        except ValueError:
            raise InputError(
                "every, capture and jitter must be rounder: a common tick is below an attosecond"
            ) from None

    def starts(self, phases: Phases, jitter: int, draw: random.Random) -> tuple[int, list[int]]:
        """Number of simulated periods, and the start of each capture, with the end of the last period."""
        starts: list[int] = []
        now = 0
        for index in range(self.periods):
            inputs = draw.randint(1, self.burst) if self.burst > 1 else 1
            if len(starts) + inputs > MAX_UNEQUAL:
                return index, [*starts, now]
            starts += [now + nth * phases.capture for nth in range(inputs)]
            now += phases.period + (draw.randint(-jitter, jitter) if jitter else 0)
        return self.periods, [*starts, now]


def schedule_of(every: str, duration: str, capture: str, jitter: str, burst: int) -> Schedule:
    """The schedule of these arguments; raises InputError for times that do not fit."""
    every_s, duration_s = quantity("every", every, "time"), quantity("duration", duration, "time")
    capture_s, jitter_s = quantity("capture", capture, "time"), quantity("jitter", jitter, "time")
    if not every_s:
        raise InputError(f"every must be more than zero, not {excerpt(every)}")
    if duration_s < every_s:
        raise InputError(f"duration must be at least a period of {every}, not {excerpt(duration)}")
    if whole(burst) is None or not 1 <= burst <= MAX_UNEQUAL:
        raise InputError(f"burst must be from 1 to {MAX_UNEQUAL:,} inputs, not {excerpt(burst)}")
    if capture_s * burst + jitter_s > every_s or jitter_s == every_s:
        times = f"{burst} captures" if burst > 1 else "capture"
        raise InputError(
            f"{times} and jitter must fit in a period of {every}, not {excerpt(capture)} and {excerpt(jitter)}"
        )
    return Schedule(every_s, duration_s, capture_s, jitter_s, burst)
