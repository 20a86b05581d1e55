"""What is measured of a processor: each number with its unit and how far its repeats lie apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import log

import numpy as np

from hwsim.calibration.host import Host
from hwsim.kernels import probe
from hwsim.kernels.probe import Instruction, Timing

__all__ = ["Number", "Probe", "WorkingSets", "numbers", "probes", "working_sets"]

KIB, MIB = 2**10, 2**20
PAUSE_MS = 5.0
"""How long data lies in L3 untouched: as long as a small network takes."""


@dataclass(frozen=True, slots=True)
class Number:
    """A measured number: its key in a machine file ('' if it has none), value and unit."""

    key: str
    what: str
    value: float
    unit: str
    spread: float
    quartiles: float

    @property
    def text(self) -> str:
        """The value with its unit, to as many digits as mean something."""
        return f"{self.value:.4g} {self.unit}".strip()


@dataclass(frozen=True, slots=True)
class Probe:
    """A micro-benchmark for several rounds: its name and its timer for a number of repeats."""

    name: str
    run: Callable[[int], Timing]


@dataclass(frozen=True, slots=True)
class WorkingSets:
    """Buffer sizes within each level for one thread and for all threads, and capacities of the levels."""

    l1: int
    l2: int
    l3: int
    dram: int
    l3_each: int
    dram_each: int


def working_sets(host: Host, threads: int, memory: int = 0) -> WorkingSets:
    """Half of L1 and L2; of L3 an eighth, which a busy neighbor leaves alone; four times L3 for memory.

    `memory` bounds the largest: total available bytes.
    """
    caches = host.caches
    l1, l2 = caches[1].bytes, caches[2].bytes
    last = max(cache.bytes for cache in caches.values())
    # A level of its own must not fit in the one below.
    l3 = max(last // 8, l2 * 2) if 3 in caches else 0
    sharing = min(threads, caches[3].shared) if 3 in caches else 1
    largest = memory or max(8 * last, 128 * MIB)
    dram = min(max(4 * last, 64 * MIB), 512 * MIB, max(largest // 3, 16 * MIB))
    return WorkingSets(
        max(l1 // 2, 2 * KIB),
        max(l2 // 2, l1 * 2),
        l3,
        dram,
        max(last // (2 * sharing), l2 * 3 // 2) if 3 in caches else 0,
        min(max(dram // threads, 2 * last // threads, 4 * MIB), max(largest // (3 * threads), 2 * MIB)),
    )


def probes(host: Host, threads: int, memory: int = 0) -> Iterator[Probe]:
    """Every micro-benchmark of a processor, for `threads` threads at most."""
    sizes = working_sets(host, threads, memory)
    yield Probe("clock", lambda times: probe.clock(False, times))
    if probe.vector_bits():
        yield Probe("clock, vectors", lambda times: probe.clock(True, times))
    for one in probe.instructions():
        turns = 4000 if one.bits > 512 else 20000
        yield Probe(f"{one.name}", partial(_turns, one, False, 1, turns))
        yield Probe(f"{one.name}, latency", partial(_turns, one, True, 1, turns // 4))
        if threads > 1:
            yield Probe(f"{one.name}, all threads", partial(_turns, one, False, threads, turns))
    for what in probe.STREAMS:
        for register in probe.registers():
            yield Probe(f"l1 {what}, {register} B", partial(_stream, what, sizes.l1, 1, register))
        for level, size in (("l2", sizes.l2), ("l3", sizes.l3), ("dram", sizes.dram)):
            if size:
                yield Probe(f"{level} {what}", partial(_stream, what, size, 1, 0))
    if threads > 1:
        for level, size in (("l3", sizes.l3_each), ("dram", sizes.dram_each)):
            if size:
                yield Probe(f"{level} read, all threads", partial(_stream, "read", size, threads, 0))
                yield Probe(f"{level} copy, all threads", partial(_stream, "copy", size, threads, 0))
    if sizes.l3:
        yield Probe("l3 read at once", partial(probe.linger, sizes.l3))
        yield Probe("l3 read after a pause", lambda times: probe.linger(sizes.l3, times, PAUSE_MS))
        yield Probe("l3 read after four pauses", lambda times: probe.linger(sizes.l3, times, 4 * PAUSE_MS))
    for level, size in (("l1", sizes.l1), ("l2", sizes.l2), ("l3", sizes.l3)):
        if size:
            yield Probe(f"{level} latency", partial(_chase, size))
    yield Probe("dram latency", partial(_chase_memory, sizes.dram))
    yield Probe("call", probe.call)
    yield Probe("thread start", probe.start)
    if threads > 1:
        yield Probe("barrier", lambda times: probe.barrier(threads, times))


def _turns(one: Instruction, dependent: bool, threads: int, n: int, times: int) -> Timing:
    return probe.turns(one, dependent, times, n, threads)


def _stream(what: probe.Stream, size: int, threads: int, register: int, times: int) -> Timing:
    return probe.stream(what, size, times, 8 * MIB, threads, register)


def _chase(size: int, times: int) -> Timing:
    return probe.chase(size, times, 2**14)


def _chase_memory(size: int, times: int) -> Timing:
    return probe.chase(size, times, 2**12, cold=True)


LEVELS = (("l1", "L1"), ("l2", "L2"), ("l3", "L3"), ("dram", "DRAM"))


def numbers(timings: dict[str, Timing], threads: int) -> Iterator[Number]:
    """Rates per cycle of the clock measured in the same round, at the minimum time of each."""
    clock = timings.get("clock, vectors", timings["clock"])
    ghz = clock.rate

    def number(key: str, what: str, name: str, scale: float, unit: str, inverse: bool = False) -> Number:
        timing = timings[name]
        value = scale * (timing.each_ns if inverse else timing.rate)
        return Number(key, what, value, unit, timing.spread, timing.quartiles)

    has_vectors = "clock, vectors" in timings
    yield number(
        "clocks.core",
        f"clock{' under vector load' * has_vectors}",
        "clock, vectors" if has_vectors else "clock",
        1,
        "GHz",
    )
    if has_vectors:
        yield number("", "clock, scalar", "clock", 1, "GHz")
    yield from _rates(timings, number, ghz)
    registers = [name for name in timings if name.startswith("l1 ")]
    for what, key in (("read", "memories.l1.load"), ("write", "memories.l1.store"), ("copy", "")):
        widths = [name for name in registers if name.startswith(f"l1 {what},")]
        best = max(widths, key=lambda name: timings[name].rate)
        yield number(key, f"L1 {what}, one core", best, 1 / ghz, "B/cycle")
    for level, title in LEVELS[1:]:
        for what in ("read", "write", "copy"):
            if f"{level} {what}" in timings:
                key = {"l2": "memories.l2.bandwidth"}.get(level, f"memories.{level}.core") if what == "read" else ""
                unit, scale = ("GB/s", 1.0) if level == "dram" else ("B/cycle", 1 / ghz)
                yield number(key, f"{title} {what}, one core", f"{level} {what}", scale, unit)
                if f"{level} {what}, all threads" in timings:
                    key = f"memories.{level}.bandwidth" if what == "read" else ""
                    # The rate of all cores is at least that of one core, even if disturbed.
                    names = (f"{level} {what}, all threads", f"{level} {what}")
                    best = max(names, key=lambda name: timings[name].rate)
                    yield number(key, f"{title} {what}, {threads} threads", best, 1, "GB/s")
    for level, title in LEVELS:
        if f"{level} latency" in timings:
            key = f"memories.{level}.latency" if level in ("l3", "dram") else ""
            yield number(key, f"{title} latency", f"{level} latency", 1, "ns", inverse=True)
    if "l3 read after a pause" in timings:
        yield from _retention(timings)
    yield number("", "call from Python into compiled code", "call", 1, "ns", inverse=True)
    yield number("", "start and join of a thread", "thread start", 1e-3, "us", inverse=True)
    if "barrier" in timings:
        yield number("", f"barrier of {threads} spinning threads", "barrier", 1, "ns", inverse=True)


_LEAST_KEPT, _MOST_KEPT = 0.02, 0.95
"""Shares of data kept over a pause beyond which the pauses tell no residence time."""


def _retention(timings: dict[str, Timing]) -> Iterator[Number]:
    """Residence time of data in a shared L3: a pause of t loses 1 - exp(-t / residence) of it, by medians.

    A read of lines that others evicted is slower than one of lines that were flushed a moment ago: their page tables
    are gone too. So the residence time follows from two pauses t and 4 t alone: with x = exp(-t / residence), the
    slowdowns are as 1 to 1 + x + x^2 + x^3. Nothing where the longer one slows down by less than a twentieth.
    """
    pause = timings["l3 read after a pause"]
    near, then, far = (
        float(np.median(timings[f"l3 read{how}"].ns)) for how in (" at once", " after a pause", " after four pauses")
    )
    if far > 1.05 * near and then > near:
        ratio = min(4.0, max(1.0, (far - near) / (then - near)))
        x = min(_MOST_KEPT, max(_LEAST_KEPT, _root(ratio)))
        what = f"untouched data stays in L3 ({1 - x:.0%} gone after {PAUSE_MS:g} ms)"
        yield Number("memories.l3.kept", what, -PAUSE_MS / log(x), "ms", pause.spread, pause.quartiles)


def _root(ratio: float) -> float:
    """The x from 0 to 1 with 1 + x + x^2 + x^3 = ratio, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(40):
        x = (low + high) / 2
        low, high = (x, high) if 1 + x + x**2 + x**3 < ratio else (low, x)
    return low


def _rates(timings: dict[str, Timing], number: Callable[..., Number], ghz: float) -> Iterator[Number]:
    """MACs a cycle of each instruction; the best of each type is the core's rate."""
    for dtype in ("fp32", "int8", "bf16", "int32"):
        available = [one for one in probe.instructions() if one.dtype == dtype and one.name in timings]
        best = max(available, key=lambda one: timings[one.name].rate, default=None)
        for one in available:
            key = f"rates.{dtype}" if one is best and dtype != "int32" else ""
            yield number(key, f"{dtype} by {one.name}, one core", one.name, 1 / ghz, "MAC/cycle")
            yield number("", f"{one.name}, latency", f"{one.name}, latency", ghz, "cycles", True)
            if f"{one.name}, all threads" in timings and one is best:
                name = f"{one.name}, all threads"
                yield number("", f"{dtype} by {one.name}, a core of all", name, 1 / ghz, "MAC/cycle")
