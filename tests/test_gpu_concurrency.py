"""Kernels of several streams as events: by hand, against the closed form where that is exact, and its bounds."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from hwsim.machines.gpu.concurrency import MOST_STREAMS, interval_of, rates_of

SHARES = st.sampled_from([0.0, 0.1, 0.31, 0.5, 0.9, 1.0])
KERNELS = st.lists(st.tuples(st.sampled_from([0.0, 1.0, 2.7, 31.0]), SHARES, SHARES), min_size=1, max_size=7)


def split(kernels: list[tuple[float, float, float]]) -> tuple[list[float], list[tuple[float, ...]]]:
    return [time for time, *_ in kernels], [tuple(time * share for share in own) for time, *own in kernels]


def test_rates_by_hand() -> None:
    assert rates_of([]) == []
    assert rates_of([(0.5, 0.1), (0.5, 0.9)]) == [1.0, 1.0]
    assert rates_of([(1.0, 0.0), (1.0, 0.0)]) == [0.5, 0.5]
    # The first resource is full at a rate of one half; the third kernel does not need it, and goes on.
    assert rates_of([(1.0, 0.0), (1.0, 0.2), (0.0, 0.6)]) == pytest.approx([0.5, 0.5, 1.0])


@given(st.lists(st.tuples(SHARES, SHARES, SHARES), min_size=1, max_size=8))
def test_rates_share_fairly_what_there_is(demands: list[tuple[float, ...]]) -> None:
    rates = rates_of(demands)
    use = [sum(rate * demand[r] for rate, demand in zip(rates, demands, strict=True)) for r in range(3)]
    assert max(use) <= 1 + 1e-6
    assert all(0 < rate <= 1 + 1e-9 for rate in rates)
    for rate, demand in zip(rates, demands, strict=True):
        assert rate > 1 - 1e-6 or any(demand[r] and use[r] > 1 - 1e-6 for r in range(3)), "held back by a full resource"


def test_kernels_of_two_resources_overlap_wholly() -> None:
    assert interval_of([1.0, 1.0], [(1.0, 0.0), (0.0, 1.0)], 2) == pytest.approx(1.0)


def test_streams_that_meet_badly_take_longer_than_the_closed_form() -> None:
    """A long kernel that needs all of a resource, and a short one that needs nothing: two streams wait at the long one."""
    interval = interval_of([3.0, 1.0, 1.0], [(2.4,), (0.8,), (0.0,)], 2)
    assert max(5 / 2, 3.2) < interval < 5


@settings(max_examples=60, deadline=None)
@given(kernels=KERNELS, streams=st.integers(1, 12))
def test_events_are_never_better_than_what_is_shared(kernels: list[tuple[float, float, float]], streams: int) -> None:
    times, work = split(kernels)
    least = max(sum(times) / streams, *(sum(column) for column in zip(*work, strict=True)))
    interval = interval_of(times, work, streams)
    assert least - 1e-9 <= interval <= sum(times) + 1e-6
    if streams == 1:
        assert interval == pytest.approx(sum(times))
    elif streams <= MOST_STREAMS:
        assert interval <= interval_of(times, work, streams - 1) * (1 + 1e-9)


@given(kernels=KERNELS, streams=st.integers(2, 8))
def test_the_closed_form_is_exact_without_contention_and_with_one_full_resource(
    kernels: list[tuple[float, float, float]], streams: int
) -> None:
    times, _ = split(kernels)
    light = [(time / streams, 0.0) for time in times]
    assert interval_of(times, light, streams) == pytest.approx(sum(times) / streams)
    full = [(time, 0.0) for time in times]
    assert interval_of(times, full, streams) == pytest.approx(sum(times))
