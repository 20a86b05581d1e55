"""Cost of simulated requests: a million of them, and what is kept of each."""

from __future__ import annotations

from pytest_benchmark.fixture import BenchmarkFixture

from hwsim.requests.arrivals import TICKS_PER_S, poisson
from hwsim.requests.station import Policy, Records, run_open

_MS = TICKS_PER_S // 1000
_MILLION = 10**6


def _fixed(batch: int, busy: int) -> int:
    return _MS


def test_a_million_requests_one_by_one(benchmark: BenchmarkFixture) -> None:
    """Forty streams of 1 ms at 0.9 of what they can: the cost of an event does not grow with the streams."""
    times = poisson(36_000, _MILLION, 1)
    records: Records = benchmark.pedantic(run_open, (times, _fixed, Policy(40)), rounds=1)
    assert records.batches == {1: _MILLION}
    assert records.starts.itemsize + records.ends.itemsize + records.arrivals.itemsize == 24
    assert benchmark.stats["max"] < 60


def test_a_million_requests_in_batches(benchmark: BenchmarkFixture) -> None:
    times = poisson(50_000, _MILLION, 1)
    records: Records = benchmark.pedantic(run_open, (times, _fixed, Policy(2, 64, _MS)), rounds=1)
    assert sum(size * number for size, number in records.batches.items()) == _MILLION
    assert benchmark.stats["max"] < 60
