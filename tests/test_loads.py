"""Loads as points of sweeps, and their energy."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from commands import call

import hwsim
from hwsim.errors import InputError

KWS = "kws"


def test_keys_of_a_load_are_axes_of_a_sweep() -> None:
    table = hwsim.sweep(
        {
            "name": "loads",
            "machines": ["nucleo_l4r5zi"],
            "workloads": [KWS],
            "set": {"serve.rate": [3, 11.5], "serve.deadline": ["31 ms", "1 s"], "serve.queries": 257},
        },
        workers=1,
    )
    assert len(table) == 4
    for row in table.to_dict("records"):
        deadline = {"31 ms": 0.031, "1 s": 1.0}[row["serve.deadline"]]
        load = hwsim.serve("nucleo_l4r5zi", KWS, rate_per_s=row["serve.rate"], deadline_s=deadline, queries=257)
        assert row["queries_per_s"] == load.queries_per_s
        assert row["latency_s"] == load.result_s or (math.isnan(row["latency_s"]) and math.isinf(load.result_s))
        assert row["drops"] == load.drops
        assert row["energy_per_query_pj"] == load.energy.query_pj


@pytest.mark.slow
def test_language_models_under_load_are_points_too() -> None:
    table = hwsim.sweep(
        {
            "name": "tokens",
            "machines": ["h100"],
            "workloads": ["llama3_8b"],
            "set": {"serve.rate": 3, "serve.out": [31, 127], "serve.queries": 67, "llm.weights": "fp8"},
            "metrics": ["ttft_s", "tpot_s", "energy_per_token_pj"],
        },
        workers=1,
    )
    for row in table.to_dict("records"):
        load = hwsim.serve_llm("h100", "llama3_8b", rate_per_s=3, output=row["serve.out"], requests=67, weights="fp8")
        assert (row["ttft_s"], row["tpot_s"]) == (load.ttft_s, load.tpot_s)
        assert row["energy_per_token_pj"] == load.energy_per_token_pj
    assert "queries_per_s" not in table


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"serve.rat": 5}, "unknown key; nearest: 'rate'"),
        ({"serve.concurrency": 5}, "is of language models alone"),
        ({"serve.bound": 5}, "must be a time with its unit, as 15 ms, not 5"),
        ({"serve.bound": "5 MB"}, "time"),
        ({"serve.threads": 5}, "is a key of the machine: write threads"),
    ],
)
def test_keys_that_no_load_has_are_refused(keys: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        hwsim.sweep({"name": "bad", "machines": ["a100"], "workloads": [KWS], "set": keys})


def test_batch_is_not_an_axis_of_a_load() -> None:
    space = {"name": "bad", "machines": ["a100"], "workloads": [KWS], "batch": [1, 8], "set": {"serve.rate": 5}}
    with pytest.raises(InputError, match="must be with batch 1"):
        hwsim.sweep(space)


def test_a_rate_of_zero_is_a_row_with_its_error() -> None:
    table = hwsim.sweep(
        {"name": "zero", "machines": ["nucleo_l4r5zi"], "workloads": [KWS], "set": {"serve.rate": [0, 5], "serve.queries": 7}},
        workers=1,
    )  # fmt: skip
    assert "more than 0" in table.error[0]
    assert table.feasible.tolist() == [False, True]


def test_explore_finds_the_front_of_latency_and_energy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "front.yaml"
    file.write_text(
        "name: front\nmachines: [nucleo_l4r5zi]\nworkloads: [kws]\nset: {serve.rate: [1, 5, 9, 13], serve.queries: 257}\n"
    )
    code, out, error = call(capsys, "explore", file, "--objective", "p99_s", "--objective", "energy_per_query_pj")
    assert code == 0, error
    assert "front of min p99, min energy per query, 4 points" in out


def test_energy_of_one_query_after_the_other_is_that_of_runs() -> None:
    report = hwsim.simulate("nucleo_l4r5zi", KWS)
    load = hwsim.serve("nucleo_l4r5zi", KWS, "single", queries=31)
    assert load.energy.query_pj == pytest.approx(report.summary.energy_pj, rel=1e-9)
    assert load.energy.work_pj == pytest.approx(load.energy.query_pj)


@pytest.mark.parametrize("machine", ["nucleo_l4r5zi", "a100", "eyeriss_v1"])
def test_power_is_that_of_idle_machines_without_load_and_grows_with_it(machine: str) -> None:
    one = hwsim.simulate(machine, KWS).summary.latency_s
    loads = [
        hwsim.serve(machine, KWS, rate_per_s=share / one, streams=1, max_batch=1, queries=257)
        for share in (1e-4, 0.1, 0.3, 0.9)
    ]
    idle = loads[0].energy.idle_w
    assert idle is not None
    watts = [load.energy.average_w or math.nan for load in loads]
    assert watts[0] == pytest.approx(idle, rel=2e-3)
    assert watts == sorted(watts)
    queries = [load.energy.query_pj or math.nan for load in loads]
    assert queries == sorted(queries, reverse=True), "idle time is shared by more queries"
    for load in loads:
        total = (load.energy.query_pj or 0.0) * load.log.completed / 1e12
        assert total == pytest.approx((load.energy.average_w or 0.0) * load.log.span_s)


def test_unknown_power_is_unknown() -> None:
    machine = hwsim.load_machine("nucleo_l4r5zi", set={"power.sleep": "unknown"})
    load = hwsim.serve(machine, KWS, rate_per_s=3, queries=31)
    assert load.energy.query_pj is None
    assert load.energy.average_w is None
    assert load.energy.work_pj == pytest.approx(hwsim.simulate(machine, KWS).summary.energy_pj)
    machine = hwsim.load_machine("nucleo_l4r5zi", set={"power.active": "unknown"})
    assert hwsim.serve(machine, KWS, rate_per_s=3, queries=31).energy.work_pj is None


def test_a_rate_has_a_curve_that_goes_through_it() -> None:
    load = hwsim.serve("nucleo_l4r5zi", KWS, rate_per_s=11, queries=4001)
    assert [point.rate_per_s for point in load.curve] == sorted(point.rate_per_s for point in load.curve)
    (at,) = (point for point in load.curve if point.rate_per_s == 11)
    assert at.p99_s == pytest.approx(load.log.ordered_s[math.ceil(0.99 * 4001) - 1])
    assert [point.p99_s for point in load.curve] == sorted(point.p99_s for point in load.curve)
    known = [point.query_pj for point in load.curve if point.query_pj is not None]
    assert len(known) == len(load.curve)
    assert known == sorted(known, reverse=True)


@pytest.mark.parametrize("deadline", ["0 s", "50 ms"])
def test_a_page_of_a_rate_whose_queries_drop(deadline: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "load.html"
    words = ["serve", "nucleo_l4r5zi", KWS, "--rate", 50, "--deadline", deadline, "--queries", 301, "--html", page]
    code, _, error = call(capsys, *words)
    assert code == 0, error
    assert "Latency over load" in page.read_text(encoding="utf-8")
