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
from fractions import Fraction

from hwsim.energy.battery import parse_battery
from hwsim.errors import InputError, excerpt
from hwsim.machines.board import Board
from hwsim.message import Message
from hwsim.report.result import RunResult
from hwsim.scenario.power import rest_state, state_watts, unknown_power
from hwsim.scenario.result import DutyCycle
from hwsim.scenario.schedule import Phases, quantity, schedule_of
from hwsim.scenario.states import with_states
from hwsim.scenario.window import equal_window, unequal_window
from hwsim.workload.layer import whole

__all__ = ["duty_cycle"]


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
        If the machine is no board, or a time or the battery is invalid.
    """
    if not isinstance(report, RunResult):
        raise InputError(f"a duty cycle must be that of a report, not of {excerpt(report)}")
    if whole(seed) is None:
        raise InputError(f"seed must be a whole number, not {excerpt(seed)}")
    machine = report.machine
    if not isinstance(machine, Board):
        raise InputError(f"a duty cycle must be that of a board, {machine.name} is of kind {machine.kind}")
    if report.batch != 1:
        raise InputError(f"a duty cycle must run one input at a time, not a batch of {report.batch}")
    cell = None if battery is None else parse_battery(battery)
    schedule = schedule_of(every, duration, capture, jitter, burst)
    sensor_w = None if sensor is None else float(quantity("sensor", sensor, "power"))
    if sensor_w and not schedule.capture_s:
        raise InputError("a sensor that draws power must take time to capture: give capture, as '100 ms'")
    power, notes = machine.spec.power, list[Message]()
    wake_up_s = Fraction(0) if power.wake_up == "unknown" else Fraction(power.wake_up)
    timebase = schedule.timebase(machine.timebase.rate_hz, wake_up_s)
    inference_s = sum(r.timeline.end for r in report.results) / machine.timebase.rate_hz
    times = (schedule.every_s, schedule.capture_s, wake_up_s, inference_s)
    phases = Phases(*(int(seconds * timebase.rate_hz) for seconds in times))
    if not phases.inference:
        raise InputError("a duty cycle must have an inference that takes time, this one takes none")
    if schedule.unequal:
        jitter_ticks = int(schedule.jitter_s * timebase.rate_hz)
        periods, starts = schedule.starts(phases, jitter_ticks, random.Random(whole(seed)))
        if periods < schedule.periods:
            template = "unequal periods are simulated one by one: only the first {simulated:,} of {periods:,}"
            values = {"simulated": periods, "periods": schedule.periods}
            notes.append(Message("scenario.unequal_periods", template, values, "warning"))
        window = unequal_window(phases, starts, fast_forward)
    else:
        window = equal_window(phases, schedule.periods, fast_forward)
    count = window.inferences
    rest, rest_notes = rest_state(machine)
    watts, supply_notes = state_watts(machine, cell)
    state_ticks = {
        "inference": count * phases.inference,
        "wake-up": count * phases.wake_up,
        "sleep": window.sleep_ticks,
    }
    state_ticks[rest] = state_ticks.get(rest, 0) + window.ticks - sum(state_ticks.values())
    seconds_of = {
        s: timebase.seconds(n) for s, n in state_ticks.items() if n or (s == "wake-up" and power.wake_up == "unknown")
    }
    energy = {s: None if (w := watts[s]) is None else w * seconds for s, seconds in seconds_of.items()}
    notes += [*rest_notes, *supply_notes, *unknown_power(machine, energy)]
    sensing = timebase.seconds(count * phases.capture)
    peak = max((w for state in seconds_of if (w := watts[state]) is not None), default=None)
    if sensor_w is not None:
        energy["sensor"] = sensor_w * sensing
        peak = None if peak is None else peak + sensor_w
    return DutyCycle(
        every_s=float(schedule.every_s),
        window_s=timebase.seconds(window.ticks),
        inferences=count,
        missed=window.missed,
        backlog=window.backlog,
        duty=float(Fraction(count * phases.work, window.ticks)),
        time_s=seconds_of,
        sensor_s=sensing,
        energy_j=energy,
        peak_w=peak,
        battery=cell,
        timeline=with_states(window, phases, timebase, report.timeline),
        notes=tuple(notes),
    )
