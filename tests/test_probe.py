"""The micro-benchmarks do the work that they time: every count and checksum is known beforehand. No time is ever judged."""

import numpy as np
import pytest

from hwsim import kernels
from hwsim.errors import HwsimError
from hwsim.kernels import _probe, probe

ISAS = pytest.mark.parametrize("isa", kernels.available())


@ISAS
def test_every_instruction_counts_its_macs(isa: str) -> None:
    with kernels.force_isa(isa):
        found = probe.instructions()
        assert {one.dtype for one in found} >= {"fp32", "int32"}
        for one in found:
            assert len(probe.turns(one, times=2, n=50).ns) == 2  # raises where the accumulators count otherwise
            assert probe.turns(one, times=1, n=50).work == 50 * 12 * one.macs
            assert probe.turns(one, dependent=True, times=1, n=50).work == 50 * 12


def test_macs_of_an_instruction_follow_from_its_registers() -> None:
    wide = {"fp32": 32, "int32": 32, "bf16": 16, "int8": 8}
    for one in probe.instructions(everything=True):
        if one.bits == 8192:  # tiles: 16 rows of 64 bytes by 16 columns
            assert one.macs == 16 * 16 * 64 * 8 // wide[one.dtype]
        elif one.name.startswith("smull"):  # a widening multiply takes half a register
            assert one.macs == 64 // wide[one.dtype]
        else:
            assert one.macs == one.bits // wide[one.dtype]


def test_a_named_instruction_set_bounds_what_is_probed() -> None:
    with kernels.force_isa("portable"):
        assert {one.isa for one in probe.instructions()} == {"portable"}
        assert probe.registers() == (16,)
        assert probe.vector_bits() <= 128
    assert len(probe.instructions(everything=True)) >= len(probe.instructions())


@ISAS
def test_the_clock_adds_once_a_cycle(isa: str) -> None:
    with kernels.force_isa(isa):
        for load in (False, True):
            assert probe.clock(load, times=1, n=30).work == 600


@ISAS
@pytest.mark.parametrize("what", ["read", "write", "copy"])
@pytest.mark.parametrize("threads", [1, 2])
def test_streams_move_every_byte(isa: str, what: str, threads: int) -> None:
    with kernels.force_isa(isa):
        for register in probe.registers():
            timing = probe.stream(what, 5000, times=2, least_bytes=20000, threads=threads, register=register)
            assert timing.work == 4608 * (20000 // 4608) * threads  # whole blocks of 512 bytes


@pytest.mark.parametrize("threads", [1, 2])
def test_a_large_buffer_is_walked_in_pieces(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    monkeypatch.setattr(probe, "PIECE_BYTES", 8192)
    for what in probe.STREAMS:
        timing = probe.stream(what, 40000, times=10, threads=threads)  # 78 blocks in 4 pieces of 19
        assert timing.work == 19 * 512 * threads
        assert len(timing.ns) == 8


def test_a_chase_visits_every_line() -> None:
    for lines in (2, 3, 64, 1000):
        following, order = probe._ring(lines)
        assert sorted(order) == list(range(lines))
        at, seen = 0, set()
        for _ in range(lines):
            seen.add(at)
            at = int(following[at])
        assert at == 0
        assert len(seen) == lines
    timing = probe.chase(64 * 100, times=3, steps=250)
    assert (timing.work, len(timing.ns)) == (250, 3)
    assert probe.chase(64 * 100, times=3, steps=70, cold=True).work == 70


def test_a_flush_loses_nothing() -> None:
    words = np.arange(512, dtype=np.uint64).reshape(2, 256)
    _probe.flush(words)
    assert words.sum() == 511 * 256


def test_threads_start_meet_and_end() -> None:
    assert probe.start(times=1, n=3).work == 3
    for threads in (1, 2, 5):  # more of them than processors too
        assert probe.barrier(threads, times=1, n=20).work == 20
    one = probe.instructions()[0]
    assert probe.turns(one, times=1, n=50, threads=3).work == 50 * 12 * one.macs
    assert probe.call(times=1, n=10).work == 10


def test_of_several_times_the_least_is_kept_and_the_spread_told() -> None:
    timing = probe.Timing((12.0, 10.0, 11.0, 20.0, 10.0), 40.0)
    assert timing.rate == 4.0
    assert timing.each_ns == 0.25
    assert timing.spread == pytest.approx(0.1)
    assert timing.quartiles == pytest.approx(0.2)
    assert (timing + probe.Timing((5.0,), 40.0)).rate == 8.0


def test_work_that_was_not_done_is_refused() -> None:
    with pytest.raises(HwsimError, match=r"the work of a thing must come to 3, not 2: its time means nothing"):
        probe._check_work("a thing", 2, 3)


def test_no_call_reaches_outside_of_its_arrays() -> None:
    words = np.zeros((1, 64), np.uint64)
    for wrong in (
        lambda: _probe.instruction(999, False, 1),
        lambda: _probe.instruction(0, False, _probe.MAX_TURNS + 1),
        lambda: _probe.clock(123, 1),
        lambda: _probe.streams(0, 16, words[:, :63].copy(), words[:, :63].copy(), 1),
        lambda: _probe.streams(0, 16, words, np.zeros((2, 64), np.uint64), 1),
        lambda: _probe.streams(0, 24, words, words, 1),
        lambda: _probe.chase(np.array([1, 2], np.int64), 0, 1),
        lambda: _probe.chase(np.array([1, 0], np.int64), 2, 1),
        lambda: _probe.side_by_side(0, 1, 100000),
        lambda: _probe.barriers(0, 1),
        lambda: _probe.starts(0),
    ):
        with pytest.raises(ValueError):  # noqa: PT011 - the message is for developers
            wrong()


def test_what_lingers_is_read_whole() -> None:
    for dropped in (False, True):
        timing = probe.linger(5000, times=2, pause_ms=0.1, evict=dropped)
        assert len(timing.ns) == 2
        assert timing.work == 5000 // _probe.BLOCK * _probe.BLOCK
