"""Clocks on one integer tick: cycles are whole ticks, ratios are exact, times are never rounded on the way."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, strategies as st

from hwsim.engine import Timebase

FREQUENCIES = st.one_of(
    st.integers(1, 4000).map(lambda mhz: mhz * 10**6),
    st.fractions(min_value=Fraction(1, 1000), max_value=10**6, max_denominator=1000),
)


def test_two_clocks_of_eyeriss() -> None:
    # 200 MHz core and 60 MHz link: lcm is 600 MHz.
    timebase = Timebase({"core": 200_000_000, "link": 60_000_000})
    assert timebase.rate_hz == 600_000_000
    assert timebase.ticks("core", 1) == 3
    assert timebase.ticks("link", 1) == 10
    assert timebase.ticks("core", 10) == timebase.ticks("link", 3)
    assert timebase.seconds(600_000_000) == 1.0
    assert timebase.fraction(1) == Fraction(1, 600_000_000)


def test_begun_cycles_count() -> None:
    timebase = Timebase({"core": 200_000_000, "link": 60_000_000})
    assert [timebase.cycles("core", ticks) for ticks in (0, 1, 3, 4)] == [0, 1, 1, 2]


def test_a_clock_that_is_no_whole_number_of_hertz() -> None:
    timebase = Timebase({"third": Fraction(100, 3), "core": 50})
    assert timebase.rate_hz == 100
    assert (timebase.ticks("third", 1), timebase.ticks("core", 1)) == (3, 2)


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from("abc"), FREQUENCIES, min_size=1), st.integers(0, 10**9))
def test_every_cycle_is_a_whole_number_of_ticks(clocks: dict[str, int | Fraction], cycles: int) -> None:
    try:
        timebase = Timebase(clocks)
    except ValueError as error:
        assert "common multiple" in str(error)
        return
    for name, hz in clocks.items():
        ticks = timebase.ticks(name, cycles)
        assert timebase.fraction(ticks) == cycles / Fraction(hz)
        assert timebase.cycles(name, ticks) == cycles
        assert timebase.cycles(name, ticks + 1) == cycles + 1


@given(st.dictionaries(st.sampled_from("abc"), FREQUENCIES, min_size=1))
def test_no_coarser_tick_would_do(clocks: dict[str, int | Fraction]) -> None:
    try:
        timebase = Timebase(clocks)
    except ValueError:
        return
    periods = [timebase.period(name) for name in clocks]
    assert all(any(period % divisor for period in periods) for divisor in (2, 3, 5, 7, 11, 13))


@pytest.mark.parametrize(
    ("clocks", "message"),
    [
        ({}, r"^A timebase must have at least one clock, none was given$"),
        ({"core": 0}, r"^Frequency of clock 'core' must be positive, not 0 Hz$"),
        ({"core": -5}, r"^Frequency of clock 'core' must be positive, not -5 Hz$"),
        ({"core": 2e8}, r"^Frequency of clock 'core' must be an int or a Fraction in Hz, not 200000000\.0$"),
        ({"core": True}, r"^Frequency of clock 'core' must be an int or a Fraction in Hz, not True$"),
        (
            {"core": 199_999_999, "link": 60_000_001, "bus": 123_456_789},
            r"^The common multiple of all clocks must be at most 10\*\*18 Hz, not \d+ Hz \(core = 199999999 Hz, .*\)\. "
            r"Round the frequencies to what the data sheet says\.$",
        ),
    ],
)
def test_refused(clocks: dict[str, int | Fraction], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Timebase(clocks)


def test_unknown_clock() -> None:
    with pytest.raises(ValueError, match=r"^A clock must be one of core, link, not 'cor'$"):
        Timebase({"link": 1, "core": 2}).ticks("cor", 1)
