"""Several networks on one machine: priorities, drops, and each network's event log."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from commands import call
from hypothesis import given, settings, strategies as st

import hwsim
from hwsim.errors import InputError
from hwsim.requests.arrivals import TICKS_PER_S, Ticks, poisson
from hwsim.requests.load import Latencies
from hwsim.requests.station import Line, Policy, run_shared

MS = TICKS_PER_S // 1000


def fixed(batch: int, busy: int) -> int:
    return MS


def latencies(line: Line) -> np.ndarray:
    log = Latencies(line.records)
    return log.ends - log.arrivals


def arrivals(rate: float, queries: int, place: int) -> Ticks:
    return poisson(rate, queries, [5, place])


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    policies=st.lists(
        st.builds(
            Policy,
            most=st.sampled_from([1, 2, 7]),
            wait=st.sampled_from([0, MS // 3, 2 * MS]),
            deadline=st.sampled_from([None, 0, 3 * MS]),
            priority=st.integers(-1, 2),
        ),
        min_size=1,
        max_size=4,
    ),
    streams=st.sampled_from([1, 2, 3]),
    rate=st.sampled_from([50.0, 400.0, 3001.0]),
)
def test_arrivals_are_completions_and_drops_of_each_network(policies: list[Policy], streams: int, rate: float) -> None:
    lines = [Line(lambda batch, busy: (500 + 100 * batch) * (1 + busy) * MS // 1000, policy) for policy in policies]
    times = [arrivals(rate * (1 + place), 127, place) for place in range(len(lines))]
    run_shared(streams, list(zip(times, lines, strict=True)))
    busy = 0
    for line, own in zip(lines, times, strict=True):
        log = Latencies(line.records)
        assert list(line.records.arrivals) == own.tolist()
        assert log.completed + line.records.drops == len(own)
        started = log.starts[~log.dropped]
        assert (np.diff(started) >= 0).all(), "each network is served first come, first served"
        if line.policy.deadline is not None:
            assert (started - log.arrivals[~log.dropped] <= line.policy.deadline).all()
        busy += line.records.busy
    last = max(0, *(int(Latencies(line.records).ends.max()) for line in lines))
    assert busy <= streams * last


def test_waits_of_two_priorities_are_those_of_cobham() -> None:
    """Cobham 1954: W = R / (1 - load of higher) / (1 - load of higher and own), R the work that runs on arrival."""
    rates, runs = (200.0, 500.0), [[], []]
    for seed in range(8):
        lines = [Line(fixed, Policy(priority=1)), Line(fixed, Policy())]
        times = [poisson(rate, round(rate * 60), [seed, place]) for place, rate in enumerate(rates)]
        run_shared(1, list(zip(times, lines, strict=True)))
        for row, line in zip(runs, lines, strict=True):
            row.append((latencies(line) - MS).mean() / MS)
    left = sum(rates) / 1e3 / 2
    exact = left / (1 - 0.2), left / (1 - 0.2) / (1 - 0.7)
    for row, wait in zip(runs, exact, strict=True):
        error = np.std(row, ddof=1) / math.sqrt(len(row))
        assert abs(np.mean(row) - wait) < 3 * error + 1e-3
        assert error < 0.05 * wait


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 99), rate=st.sampled_from([100.0, 700.0, 1500.0]))
def test_a_higher_priority_is_never_worse(seed: int, rate: float) -> None:
    """With batches of one time each query ends at the same time or sooner."""
    ends = []
    for priority in (0, 1, 2):
        lines = [Line(fixed, Policy(priority=priority)), Line(fixed, Policy(priority=1))]
        times = [poisson(rate, 257, [seed, place]) for place in range(2)]
        run_shared(1, list(zip(times, lines, strict=True)))
        ends.append(np.array(lines[0].records.ends))
    assert (ends[1] <= ends[0]).all()
    assert (ends[2] <= ends[1]).all()


def test_by_hand() -> None:
    """One runs; the urgent one that came last goes before the two that wait, which share a batch."""
    low, high = Line(fixed, Policy(most=2)), Line(fixed, Policy(priority=1))
    run_shared(1, [(np.array([0, 1, 2]), low), (np.array([3]), high)])
    assert list(high.records.ends) == [2 * MS]
    assert list(low.records.ends) == [MS, 3 * MS, 3 * MS]
    assert low.records.batches == {1: 1, 2: 1}


def test_a_network_alone_is_served_as_by_itself() -> None:
    alone = hwsim.serve("nucleo_l4r5zi", "kws", rate_per_s=11, queries=257, max_batch=1)
    (network,) = hwsim.serve_shared(
        "nucleo_l4r5zi", [{"workload": "kws", "trace": alone.log.arrivals / TICKS_PER_S, "max_batch": 1}]
    ).networks
    assert network.log.ends.tolist() == alone.log.ends.tolist()
    assert network.work_pj == pytest.approx(alone.energy.work_pj)


def test_priorities_of_networks_on_a_machine() -> None:
    def p99(priority: int) -> float:
        mine = hwsim.Tenant("kws", rate_per_s=8, priority=priority)
        load = hwsim.serve_shared("nucleo_l4r5zi", [mine, hwsim.Tenant("kws", rate_per_s=9)], queries=2003)
        assert sum(network.busy for network in load.networks) == pytest.approx(load.utilization)
        assert load.idle_w is not None
        assert load.average_w is not None
        assert load.idle_w < load.average_w
        return load.networks[0].latency_s[99.0]

    assert p99(1) < p99(0) < p99(-1)


def test_memories_must_hold_all_networks() -> None:
    one = {"workload": "kws", "rate_per_s": 1.0}
    few, many = (hwsim.serve_shared("stm32g0b1", [one] * number, queries=127) for number in (1, 20))
    assert few.fits
    assert not [message for message in few.messages if message.code == "requests.shared_memory"]
    texts = [str(message) for message in many.messages if message.code == "requests.shared_memory"]
    assert texts
    assert all("all networks together need" in text for text in texts)


@pytest.mark.parametrize(
    ("network", "says"),
    [
        ({"workload": "kws"}, "must have a rate or a trace"),
        ({"workload": "kws", "rate_per_s": 5, "trace": [1]}, "must have a rate or a trace, one of them"),
        ({"workload": "kws", "rate_per_s": 0}, "more than 0"),
        ({"workload": "kws", "rate_per_s": math.nan}, "the rate must be a number"),
        ({"workload": "kws", "rate_per_s": 1e30}, r"rate must be a number of at most 1e\+15, not 1e\+30"),
        ({"workload": "kws", "rate_per_s": 5, "priority": 0.5}, "priority must be a whole number"),
        ({"workload": "kws", "rat": 5}, "has no 'rat'"),
        ({"rate_per_s": 5}, "must have a workload"),
        ({"workload": "llama3_8b", "rate_per_s": 5}, "is a language model"),
        ({"workload": "kws", "trace": []}, "must have at least one arrival"),
        ({"workload": "kws", "trace": [2, 1]}, "must be in order"),
        ({"workload": "kws", "rate_per_s": 5, "deadline_s": -1}, "the deadline must be a number of at least 0"),
        (5, "must be a mapping"),
    ],
)
def test_bad_networks(network: object, says: str) -> None:
    with pytest.raises(InputError, match=says):
        hwsim.serve_shared("nucleo_l4r5zi", [network])  # type: ignore[list-item]


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["serve", "nucleo_l4r5zi", "kws", "--rate", 7, "--queries", 301]
    code, out, error = call(capsys, *words, "--beside", "kws, rate=5, priority=1, deadline=50 ms")
    assert code == 0, error
    assert "2 networks on nucleo_l4r5zi" in out
    code, out, _ = call(capsys, *words, "--beside", "kws,rate=5", "--json", "-")
    assert code == 0
    assert [network["workload"] for network in json.loads(out)["networks"]] == ["kws", "kws"]
    for beside, says in [
        ("kws", "must have a rate or a trace"), ("kws, rat=5", "KEY=VALUE"), ("kws, rate=x", "must be a number"),
        ("rate=5", "must begin with a network"), ("kws, rate=5, rate=6", "must be given once"),
    ]:  # fmt: skip
        code, _, error = call(capsys, *words, "--beside", beside)
        assert code == 2
        assert says in error
    code, _, error = call(capsys, *words, "--beside", "kws, rate=5", "--bound", "5 s")
    assert code == 2
    assert "--bound must be given with one network" in error
