"""Runs the micro-benchmarks in rounds and records the load of other processes."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from dataclasses import dataclass

from hwsim.calibration.host import Host, Load
from hwsim.calibration.numbers import Number, numbers, probes
from hwsim.errors import InputError
from hwsim.kernels import isa
from hwsim.kernels.probe import Timing
from hwsim.message import Message

__all__ = ["Calibration", "Tell", "calibrate"]

Tell = Callable[[str, int, int], None]
"""Current step, completed units, total units."""

ROUNDS, TIMES = 4, 10
QUICK_ROUNDS, QUICK_TIMES = 2, 5
WATCH_S = 0.25
BUSY = 0.15
WIDE = 0.05


@dataclass(frozen=True)
class Calibration:
    """The measured machine: numbers with their spread, host and notes."""

    host: Host
    threads: int
    date: datetime.date
    isa: str
    numbers: tuple[Number, ...]
    notes: tuple[Message, ...]

    def number(self, key: str) -> Number | None:
        """The number of a key of the machine file."""
        return next((number for number in self.numbers if number.key == key), None)


def calibrate(threads: int | None = None, quick: bool = False, tell: Tell | None = None) -> Calibration:
    """Measure this machine: clock, instructions, caches, memory, threads. About 30 s, with `quick` about 8.

    Every probe is run in several rounds, so that a disturbance that lasts does not spoil all of its repeats.

    Parameters
    ----------
    threads : int, optional
        Maximum number of threads (default: number of cores).
    quick : bool
        Fewer repeats.
    tell : callable, optional
        Called with the current step, completed units and total units.
    """
    host = Host()
    threads = host.cores if threads is None else threads
    if not isinstance(threads, int) or isinstance(threads, bool) or not 1 <= threads <= host.processors:
        raise InputError(f"threads must be a whole number from 1 to the {host.processors} processors, not {threads!r}")
    tell = tell or (lambda *_: None)
    before = Load.now()
    time.sleep(WATCH_S)
    idle = Load.now().since(before)
    notes: list[Message] = []
    if idle.others > BUSY:
        template = (
            "the machine is busy: other programs keep {busy:.1f} of its {processors} processors at work; "
            "close them and measure again"
        )
        values = {"busy": idle.others, "processors": host.processors}
        notes.append(Message("calibrate.busy", template, values, "warning"))
    rounds, times = (QUICK_ROUNDS, QUICK_TIMES) if quick else (ROUNDS, TIMES)
    todo = list(probes(host, threads, host.memory // 2))
    timings: dict[str, Timing] = {}
    begin = Load.now()
    for turn in range(rounds):
        for place, one in enumerate(todo):
            tell(one.name, turn * len(todo) + place, rounds * len(todo))
            timing = one.run(times)
            timings[one.name] = timings[one.name] + timing if one.name in timings else timing
    tell("", rounds * len(todo), rounds * len(todo))
    notes += Load.now().since(begin).notes()
    results = tuple(numbers(timings, threads))
    notes += _doubts(host, results, threads)
    return Calibration(host, threads, datetime.datetime.now(datetime.UTC).date(), isa(), results, tuple(notes))


def _doubts(host: Host, results: tuple[Number, ...], threads: int) -> list[Message]:
    """What was assumed, is missing, or spreads far."""
    notes: list[Message] = []

    def note(code: str, template: str, **values: object) -> None:
        notes.append(Message(f"calibrate.{code}", template, values))

    name, exact = host.core
    if not exact:
        template = "{processor} is not a known processor: unmeasured values are those of {core}"
        note("unknown_processor", template, processor=host.processor, core=name)
    if assumptions := [f"L{level}" for level, cache in host.caches.items() if not cache.is_reported]:
        note("cache_size", "the system does not report the size of {caches}: assumed", caches=assumptions)
    if host.virtual:
        note("virtual", "this is a virtual machine: its caches and memory may be shared with other guests")
    if threads < host.cores:
        template = "what cores do together was measured on {threads} of {cores}"
        note("threads", template, threads=threads, cores=host.cores)
    keys = {number.key for number in results}
    missing = [dtype for dtype in ("int8", "fp32") if f"rates.{dtype}" not in keys]
    if missing:
        template = "no {formats} instruction runs on instruction set {isa}: its rate is that of {core}"
        note("no_instruction", template, formats=" or ".join(missing), isa=isa(), core=name)
    if wide := [number.what for number in results if number.key and number.spread > WIDE]:
        note("spread", "the median lies more than {limit:.0%} from the best of: {numbers}", limit=WIDE, numbers=wide)
    return notes
