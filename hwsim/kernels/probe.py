"""Micro-benchmarks of this processor: each times a fixed amount of work and raises unless all of it was done.

Interference can only lengthen a time, so the minimum of several is the estimate, reported with their spread.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from time import perf_counter_ns
from typing import Any, Literal

import numpy as np

import hwsim.kernels._probe as _probe
from hwsim.errors import HwsimError
from hwsim.kernels.isa import ISAS, isa_number

__all__ = [
    "Instruction",
    "Timing",
    "barrier",
    "call",
    "chase",
    "clock",
    "drop",
    "instructions",
    "linger",
    "registers",
    "start",
    "stream",
    "turns",
    "vector_bits",
]

Array = np.ndarray[Any, Any]
CHAIN, ADDITIONS = 12, 20
LINE_BYTES = 64
Stream = Literal["read", "write", "copy"]
PIECE_BYTES = 8 * 2**20
STREAMS: tuple[Stream, ...] = ("read", "write", "copy")


@dataclass(frozen=True, slots=True)
class Instruction:
    """An instruction, or the sequence that does its work: operand type, register bits, MACs."""

    index: int
    name: str
    dtype: str
    isa: str
    bits: int
    macs: int


@dataclass(frozen=True, slots=True)
class Timing:
    """Repeated times in ns of the same amount of work, in the unit of the probe (cycles, MACs, bytes, steps)."""

    ns: tuple[float, ...]
    work: float

    @property
    def least_ns(self) -> float:
        """The least time of all."""
        return min(self.ns)

    @property
    def rate(self) -> float:
        """Work a nanosecond at the least time."""
        return self.work / self.least_ns

    @property
    def each_ns(self) -> float:
        """Nanoseconds of one unit of work at the least time."""
        return self.least_ns / self.work

    @property
    def spread(self) -> float:
        """How far the median lies above the least, relative."""
        return float(np.median(self.ns)) / self.least_ns - 1

    @property
    def quartiles(self) -> float:
        """Distance between the quartiles, relative to the least."""
        low, high = np.percentile(self.ns, [25, 75])
        return float(high - low) / self.least_ns

    def __add__(self, other: Timing) -> Timing:
        return Timing(self.ns + other.ns, self.work)


def _check_work(what: str, actual: object, expected: object) -> None:
    if actual != expected:
        raise HwsimError(f"the work of {what} must come to {expected}, not {actual}: its time means nothing")


@cache
def _all() -> tuple[tuple[Instruction, bool], ...]:
    return tuple(
        (Instruction(index, name, dtype, ISAS[isa], bits, macs), runs)
        for index, (name, dtype, isa, bits, macs, runs) in enumerate(_probe.instructions())
    )


def instructions(everything: bool = False) -> tuple[Instruction, ...]:
    """Instructions of this processor in the current instruction set (HWSIM_ISA), or all of the build."""
    number = isa_number()
    return tuple(one for one, runs in _all() if everything or (runs and ISAS.index(one.isa) <= number))


def turns(
    instruction: Instruction, dependent: bool = False, times: int = 10, n: int = 20000, threads: int = 1
) -> Timing:
    """Time `n` x 12 of an instruction: independent, each on the result of the last, or on several threads at once.

    The work is MACs of one thread where they are independent, instructions where they are `dependent`.
    """
    ns, macs = [], float(instruction.macs * CHAIN * n)
    for _ in range(times):
        if threads > 1:
            time, counts = _probe.side_by_side(instruction.index, n, threads)
            _check_work(instruction.name, counts, [macs] * threads)
        else:
            time, one = _probe.instruction(instruction.index, dependent, n)
            _check_work(instruction.name, one, macs)
        ns.append(time)
    return Timing(tuple(ns), CHAIN * n if dependent else macs)


def vector_bits() -> int:
    """Widths of the vector multiplies that `clock` can run in parallel with its chain, in bits; 0 for none."""
    return _probe.clock_load(isa_number())


def clock(load: bool = False, times: int = 10, n: int = 20000) -> Timing:
    """Time a chain of `n` x 20 one-cycle additions, optionally with parallel vector multiplies; the work is cycles."""
    ns = []
    for _ in range(times):
        time, total = _probe.clock(vector_bits() if load else 0, n)
        _check_work("the clock", total, ADDITIONS * n)
        ns.append(time)
    return Timing(tuple(ns), ADDITIONS * n)


def registers() -> tuple[int, ...]:
    """Bytes of the registers that `stream` can move with, narrowest first."""
    widest = _probe.width(isa_number())
    return tuple(width for width in (16, 32, 64) if width <= widest)


def _buffer(rows: int, size: int, offset: int = 0) -> Array:
    """Rows of `size` bytes (whole blocks), the first at `offset` from the start of a page."""
    raw = np.zeros(rows * size + 8192, np.uint8)
    first = -raw.ctypes.data % 4096 + offset
    return raw[first : first + rows * size].view(np.uint64).reshape(rows, size // 8)


def stream(
    what: Stream,
    size: int,
    times: int = 10,
    least_bytes: int = 2**24,
    threads: int = 1,
    register: int = 0,
) -> Timing:
    """Time streaming through `size` bytes a thread (two buffers of it where they are copied), again and again.

    The work is bytes of all threads: read, written, or copied (a byte that is read and written counts once). Registers
    are the widest there are, or of `register` bytes.
    """
    size = max(_probe.BLOCK, size // _probe.BLOCK * _probe.BLOCK)
    # A large buffer is walked in pieces, each timed, since long times are the first to be disturbed; and dropped from
    # the caches before, so that no piece is found there.
    pieces = max(1, size // PIECE_BYTES)
    size = size // pieces // _probe.BLOCK * _probe.BLOCK
    passes = max(1, least_bytes // size) if pieces == 1 else 1
    source = _buffer(pieces * threads, size)
    source[:] = np.arange(size // 8, dtype=np.uint64) % 251
    # Half a page apart, so that no load seems to depend on a store to the same place of another page.
    target = source if what == "read" else _buffer(pieces * threads, size, 2048)
    expected = [int(source[0].sum()) * passes] * threads
    wide = register or registers()[-1]
    ns = []
    for _ in range(max(1, times // pieces) if pieces > 1 else times):
        if what != "read":
            target[:] = 252
        for piece in range(pieces):
            rows = slice(piece * threads, (piece + 1) * threads)
            if pieces > 1:
                _probe.flush(source[rows])
                _probe.flush(target[rows])
            time, sums = _probe.streams(STREAMS.index(what), wide, source[rows], target[rows], passes)
            if what == "read":
                _check_work("reading", sums, expected)
            ns.append(time)
        if what != "read":
            _check_work(f"a {what}", bool(np.all(target == (source if what == "copy" else 1))), True)
    return Timing(tuple(ns), size * passes * threads)


def drop(buffer: Array) -> bool:
    """Drop an array of 64-bit words from every cache; whether this processor lets us."""
    return bool(_probe.flush(buffer.reshape(1, -1)))


def linger(size: int, times: int = 10, pause_ms: float = 0.0, evict: bool = False) -> Timing:
    """Time reading `size` bytes that were read `pause_ms` ago, or, with `evict`, evicted from the caches.

    A longer time than without a pause means that other processes evicted the data. The work is bytes.
    """
    size = max(_probe.BLOCK, size // _probe.BLOCK * _probe.BLOCK)
    source = _buffer(1, size)
    source[:] = np.arange(size // 8, dtype=np.uint64) % 251
    expected = [int(source.sum())]
    wide = registers()[-1]
    ns = []
    for _ in range(times):
        if evict:
            drop(source)
        else:
            _probe.streams(0, wide, source, source, 1)
        until = perf_counter_ns() + int(pause_ms * 1e6)
        while perf_counter_ns() < until:
            pass
        time, sums = _probe.streams(0, wide, source, source, 1)
        _check_work("reading", sums, expected)
        ns.append(time)
    return Timing(tuple(ns), size)


def _ring(lines: int, seed: int = 0) -> tuple[Array, Array]:
    """A way through all lines of a buffer in random order, as `chase` follows it, and that order."""
    order = np.random.default_rng(seed).permutation(lines)
    order = np.roll(order, -int(np.flatnonzero(order == 0)[0]))
    words = LINE_BYTES // 8
    following = _buffer(1, -(-lines * LINE_BYTES // _probe.BLOCK) * _probe.BLOCK)[0].view(np.int64)
    following[order * words] = np.roll(order, -1) * words
    return following, order


def chase(size: int, times: int = 5, steps: int = 2**15, cold: bool = False) -> Timing:
    """Time dependent loads through the lines of `size` bytes in random order; the work is steps.

    Each repetition continues where the last one ended. Lines start in the smallest cache that fits all, or in DRAM.
    """
    following, order = _ring(max(2, size // LINE_BYTES))
    words, lines = LINE_BYTES // 8, len(order)
    if cold:
        _probe.flush(following.view(np.uint64)[None])
    else:
        _, at = _probe.chase(following, 0, lines)
        _check_work("the chase", at, 0)
    ns, at = _probe.chase(following, 0, steps, times)
    _check_work("the chase", at, int(order[steps * times % lines]) * words)
    return Timing(tuple(ns), steps)


def barrier(threads: int, times: int = 10, n: int = 1000) -> Timing:
    """Time barriers of spinning threads; the work is barriers."""
    ns = []
    for _ in range(times):
        time, counts = _probe.barriers(n, threads)
        _check_work("the barriers", counts, [n] * threads)
        ns.append(time)
    return Timing(tuple(ns), n)


def start(times: int = 10, n: int = 20) -> Timing:
    """Time starting and joining a thread of the operating system; the work is threads."""
    ns = []
    for _ in range(times):
        time, ran = _probe.starts(n)
        _check_work("the threads", ran, n)
        ns.append(time)
    return Timing(tuple(ns), n)


def call(times: int = 10, n: int = 2000) -> Timing:
    """Time calls from Python into a compiled function that does nothing; the work is calls."""
    ns, nothing = [], _probe.nothing
    for _ in range(times):
        before = perf_counter_ns()
        for _ in range(n):
            nothing()
        ns.append(float(perf_counter_ns() - before))
    return Timing(tuple(ns), n)
