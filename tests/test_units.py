"""Quantities mean what their unit says, exactly, or are refused."""

import contextlib
from fractions import Fraction

import pytest
from hypothesis import given, strategies as st

from hwsim.units import DIMENSIONS, format_si, format_size, parse, parse_rate

UNITS = [(d.name, unit) for d in DIMENSIONS.values() for unit in d.units]


@pytest.mark.parametrize(
    ("text", "dimension", "value"),
    [
        ("200 MHz", "frequency", 200_000_000),
        ("108 KiB", "size", 108 * 1024),
        ("108 kB", "size", 108_000),
        ("1 kb", "size", 125),
        ("1 Kib", "size", 128),
        ("1.3 nJ", "energy", 1300),
        ("0.2pJ", "energy", Fraction(1, 5)),
        ("50 us", "time", Fraction(50, 10**6)),
        ("50 µs", "time", Fraction(50, 10**6)),
        ("278 mW", "power", Fraction(278, 1000)),
        ("1e2 Hz", "frequency", 100),
        (".5 V", "voltage", Fraction(1, 2)),
        ("0 s", "time", 0),
        ("65 nm", "length", Fraction(65, 10**9)),
    ],
)
def test_quantities(text, dimension, value):
    assert parse(text, dimension) == value


def test_kilobytes_and_kibibytes_differ():
    assert parse("1 KiB", "size") - parse("1 kB", "size") == 24


@pytest.mark.parametrize(
    ("text", "dimension", "message"),
    [
        ("200", "frequency", r"must be a frequency such as '200 MHz', not '200'; the unit is missing"),
        (200, "frequency", r"must be a frequency such as '200 MHz', not 200"),
        ("200 Mhz", "frequency", r"must be a frequency such as '200 MHz', not '200 Mhz'; nearest: 'MHz'"),
        ("0 Hz", "frequency", r"must be a frequency such as '200 MHz' and more than zero, not '0 Hz'"),
        ("-1 pJ", "energy", r"must be a energy such as '1.3 nJ' and at least zero, not '-1 pJ'"),
        ("1e300 Hz", "frequency", r"must be a frequency such as '200 MHz' of a believable size, not '1e300 Hz'"),
        ("1 KB", "size", r"must be a size such as '108 KiB', not '1 KB'; nearest: '.?i?B'"),
        (None, "time", r"must be a time such as '50 us', not None"),
    ],
)
def test_refused_quantities(text, dimension, message):
    with pytest.raises(ValueError, match=message):
        parse(text, dimension)


@pytest.mark.parametrize(
    ("text", "bytes_per_second"),
    [("25.6 GB/s", 25.6e9), ("8 B/cycle", 8 * 100e6), ("4 words/cycle", 4 * 2 * 100e6), ("1 GiB/s", 2**30)],
)
def test_rates_on_a_clock_of_100_mhz_with_16_bit_words(text, bytes_per_second):
    assert parse_rate(text).bytes_per_second(Fraction(10**8), 16) == bytes_per_second


@pytest.mark.parametrize("bits", [1, 4, 12, 24])
def test_words_need_not_be_of_whole_bytes(bits):
    assert parse_rate("2 words/cycle").bytes_per_second(Fraction(100), bits) == Fraction(2 * bits * 100, 8)


@pytest.mark.parametrize("text", ["8 B", "8/cycle", "8 B/day", "8 lumps/s", "0 B/s", "-1 B/s", 8, "1e99 TB/s"])
def test_refused_rates(text):
    with pytest.raises(ValueError, match=r"must be a rate such as"):
        parse_rate(text)


@given(st.sampled_from(UNITS), st.fractions(min_value=Fraction(1, 10**6), max_value=1000, max_denominator=10**6))
def test_nothing_is_rounded(kind, number):
    dimension, unit = kind
    text = f"{number.numerator * 10**6 // number.denominator}e-6 {unit}"
    exact = Fraction(number.numerator * 10**6 // number.denominator, 10**6) * DIMENSIONS[dimension].units[unit]
    if 0 < exact <= DIMENSIONS[dimension].limit:
        assert parse(text, dimension) == exact


@given(st.one_of(st.text(max_size=40), st.integers(), st.floats(), st.none(), st.lists(st.integers(), max_size=3)))
def test_anything_else_is_a_value_error(text):
    for dimension in DIMENSIONS:
        with contextlib.suppress(ValueError):
            assert parse(text, dimension) >= 0
    with contextlib.suppress(ValueError):
        assert parse_rate(text).amount > 0


@given(st.floats(min_value=1e-12, max_value=999))
def test_si_text_reads_back(value):
    assert parse(format_si(value, "s", digits=6), "time") == pytest.approx(value, rel=2e-3)


def test_sizes_are_written_in_binary_units():
    assert [format_size(n) for n in (12, 1023, 1024, 93_184, 3 * 2**30)] == [
        "12 B", "1023 B", "1.0 KiB", "91.0 KiB", "3.0 GiB",
    ]  # fmt: skip


def test_si_text():
    assert [format_si(v, "J") for v in (0, 1.5e-12, 0.25, 12_300)] == ["0 J", "1.5 pJ", "250 mJ", "12.3 kJ"]


def test_earlier_names_of_keys_are_taken_with_a_warning() -> None:
    from hwsim.errors import HwsimWarning
    from hwsim.machines import load_machine

    changes: dict[str, object] = {"costs.requantise": 2.5}
    with pytest.warns(HwsimWarning, match="'requantise' is called 'requantize' now"):
        machine = load_machine("epyc_zen5", set=changes)
    assert machine.spec.costs == load_machine("epyc_zen5", set={"costs.requantize": 2.5}).spec.costs
