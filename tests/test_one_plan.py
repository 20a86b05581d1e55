"""One plan of a network behind every answer: what explain, validate, compare, sweeps, JSON and HTML say is what run says."""

import contextlib
import json
import sys
from pathlib import Path

import pytest

import hwsim
from hwsim.errors import HwsimError, InputError
from hwsim.machines import machine_names
from hwsim.report.groups import entry_of
from hwsim.sweeps.evaluation import Evaluator
from hwsim.sweeps.reader import read_space
from hwsim.validation.nests import validate_layers
from hwsim.validation.predictions import of_machine

NETWORKS = ("alexnet", "resnet50_v1_5", "mobilenet_v2_1.0_224", "kws", "bert_base", "lenet5_caffe")
ONE_OF_A_KIND = {"pe_array": "eyeriss_v1", "mcu": "nucleo_l4r5zi", "cpu": "epyc_zen5", "gpu": "a100"}


def rows_of(report: hwsim.Report) -> dict[str, str]:
    """Each layer's row as text: an unknown energy is NaN, which differs from itself."""
    return {row["layer"]: repr(row) for row in report.rows}


def runs(name: str, network: str, batch: int) -> hwsim.Report | None:
    """The run, or None where the machine refuses the network's formats."""
    try:
        return hwsim.simulate(hwsim.load_machine(name), hwsim.load_workload(network), batch=batch)
    except HwsimError:
        return None


#: Files that differ from another in numbers alone.
LIKE_OTHERS = {
    "ethos_u55_64", "ethos_u55_256", "ethos_u65_256", "alif_e8_m55", "alif_e8_u55", "edge_tpu_pcie", "ndp120",
    "pixel_1", "pixel_2", "pixel_4", "raspberry_pi_2", "raspberry_pi_4", "raspberry_pi_5",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", [name for name in machine_names() if name not in LIKE_OTHERS])
def test_a_layer_is_the_same_wherever_it_is_asked_of(name: str, network: str) -> None:
    """Law 9, with plans made anew for each answer: a part of the network, a comparison, a point of a sweep."""
    batch = 3
    report = runs(name, network, batch)
    if report is None:
        with pytest.raises(HwsimError):
            hwsim.simulate(hwsim.load_machine(name).plan(hwsim.load_workload(network), batch))
        return
    run = rows_of(report)
    machine, workload = hwsim.load_machine(name), hwsim.load_workload(network)
    names = list(run)
    some = {names[0], names[len(names) // 2], names[-1]}
    explained = hwsim.simulate(machine.plan(workload, batch).part(some))
    assert rows_of(explained) == {layer: row for layer, row in run.items() if layer in some}
    assert list(rows_of(explained)) == [layer for layer in names if layer in some], "in the order in which they run"
    compared = entry_of(hwsim.simulate(hwsim.load_machine(name), workload, batch=batch), "one").layers
    assert compared == {row["layer"]: row for row in report.to_dict()["layers"]}
    space = read_space({"machines": name, "workloads": network, "batch": batch})
    outcome = Evaluator(space).outcome(0, per_layer=True)
    assert [repr(row) for row in outcome.layers or ()] == list(run.values())
    for layer in some:
        assert machine.plan(workload, batch)[layer].counts == report.plan[layer].counts
        assert machine.plan(workload, batch)[layer].layer.name == layer


@pytest.mark.parametrize("name", ONE_OF_A_KIND.values())
def test_files_say_what_the_run_says(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON and CSV of the command, of the whole and of a part of the network."""
    from hwsim import cli

    def run(*words: object) -> None:
        monkeypatch.setattr(sys, "argv", ["hwsim", "run", name, "mobilenet_v2_1.0_224", *map(str, words)])
        with contextlib.suppress(SystemExit):  # 1 where it does not fit
            cli.main()

    run("--json", tmp_path / "all.json", "--csv", tmp_path / "all.csv", "--html", tmp_path / "all.html")
    run("--json", tmp_path / "some.json", "--csv", tmp_path / "some.csv", "--layers", "b3_*")
    whole, part = (json.loads((tmp_path / f"{which}.json").read_text()) for which in ("all", "some"))
    assert part["layers"] == [row for row in whole["layers"] if row["layer"].startswith("b3_")]
    assert len(part["layers"]) == 4
    assert part["summary"]["peak_memory_bytes"] == whole["summary"]["peak_memory_bytes"]
    assert [m["values"] for m in part["messages"] if m["code"] == "run.selection"] == [{"part": 4, "whole": 65}]
    lines = {which: (tmp_path / f"{which}.csv").read_text().splitlines() for which in ("all", "some")}
    assert lines["some"][1:] == [line for line in lines["all"] if line.startswith("b3_")]
    report = hwsim.simulate(hwsim.load_machine(name), hwsim.load_workload("mobilenet_v2_1.0_224"))
    assert whole["layers"] == json.loads(report.to_json())["layers"]
    assert (tmp_path / "all.html").read_text() == report.to_html(predictions=of_machine(report.machine))


@pytest.mark.parametrize("name", ["epyc_zen5", "xeon_8280", "a100", "eyeriss_v1", "systolic_ws"])
def test_validate_executes_the_plan_that_a_run_prices(name: str) -> None:
    """It used to execute the plan of a layer alone; `own` of `priced` counts are those of the executed nest."""
    network = hwsim.load_workload("kws")
    plan = hwsim.load_machine(name).plan(network)
    priced = {result.name: result.plan for result in hwsim.simulate(plan).results}
    for check in validate_layers(plan):
        assert check.passed, check.difference
        assert plan[check.name] is priced[check.name]


@pytest.mark.parametrize(("name", "host"), [("a100", "conv1"), ("xeon_8280", "conv1")])
def test_explain_of_a_fused_layer_explains_its_host(name: str, host: str, capsys, monkeypatch) -> None:
    from hwsim import cli

    plan = hwsim.load_machine(name).plan(hwsim.load_workload("resnet50_v1_5"))
    fused, into = next(iter(plan.hosts.items()))
    assert plan[fused].bounds[""] == "fused"
    monkeypatch.setattr(sys, "argv", ["hwsim", "explain", name, "resnet50_v1_5", fused])
    cli.main()
    out = capsys.readouterr().out
    assert f"{fused} is fused into the kernel of {into}, which is explained" in out
    assert f"\n{into} (" in out
    assert f"\n{fused} (" not in out


def test_a_plan_is_made_once_and_knows_its_network() -> None:
    machine, network = hwsim.load_machine("eyeriss_v1"), hwsim.load_workload("alexnet")
    plan = machine.plan(network, batch=4)
    assert len(plan) == len(network) == len(list(plan))
    assert plan["conv3"] is plan["conv3"]
    assert plan["conv3"].batch == 4
    part = plan.select("conv*", "fc6")
    assert part.names == ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6")
    assert part["conv3"] is plan["conv3"]
    assert part.workload is network
    assert repr(part) == "<NetworkPlan alexnet on eyeriss_v1, batch 4: 6 of 14 layers>"
    with pytest.raises(InputError, match=r"^a layer of alexnet must match 'konv3'; nearest: 'conv3'$"):
        plan.select("konv3")
    with pytest.raises(InputError, match="is not a layer of alexnet"):
        plan["konv3"]
    with pytest.raises(InputError, match=r"^a plan has its workload and batch size already"):
        hwsim.simulate(plan, network)  # type: ignore[call-overload]
    with pytest.raises(InputError, match=r"^simulate must have a machine and a workload, or a plan of both$"):
        hwsim.simulate(machine)  # type: ignore[call-overload]
    with pytest.raises(InputError, match=r"^a plan has its workload and batch size already"):
        hwsim.simulate(plan, batch=8)  # type: ignore[call-overload]
    with pytest.raises(InputError, match=r"^simulate must have a machine and a workload"):
        hwsim.simulate(machine, plan)  # type: ignore[call-overload]
    with pytest.raises(InputError, match=r"^simulate must have a machine and a workload"):
        hwsim.simulate(3, "alexnet")  # type: ignore[call-overload]
    assert repr(plan["conv3"]).startswith("<LayerPlan conv3, batch 4: ")
    assert repr(hwsim.simulate(part)).startswith("<Report alexnet on eyeriss_v1, batch 4: 6 of 14 layers, ")
    for batch in (0, -1, 65537, 1.5, True, "4"):
        with pytest.raises(InputError, match=r"^batch must be a whole number from 1 to 65536"):
            machine.plan(network, batch)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", machine_names())
def test_a_layer_alone_is_a_network_of_one_layer(name: str) -> None:
    machine = hwsim.load_machine(name)
    layer = hwsim.Conv2d("c", c=31, h=17, w=13, k=127, r=3, pad=1)
    report = hwsim.simulate(machine, hwsim.Workload("one", [layer], graph=False), batch=7)
    assert machine.plan(layer, 7).counts == report.results[0].plan.counts
    assert machine.plan(layer, 7) is not None


PRICES = {
    "pe_array": {"energy.prices.dram": [{"energy": f"{pj} pJ", "source": "s"} for pj in (1, 900)]},
    "mcu": {"power.active": [{"any": "10 mW"}, {"any": "700 mW"}]},
    "cpu": {"energy": [{"table": "horowitz_45nm", "prices": {"dram": {"energy": f"{pj} pJ", "source": "s"}}} for pj in (1, 900)]},
    "gpu": {"prices": [{"dram": {"energy": f"{pj} pJ", "source": "s"}} for pj in (1, 2)]},
}  # fmt: skip


@pytest.mark.parametrize("kind", ONE_OF_A_KIND)
def test_a_point_that_differs_in_a_price_plans_nothing_anew(kind: str) -> None:
    """Points of a sweep share plans on every kind; where the work is done is counted, not timed."""
    space = read_space({"machines": ONE_OF_A_KIND[kind], "workloads": "resnet50_v1_5", "set": PRICES[kind]})
    together = Evaluator(space)
    numbers = list(space.numbers())
    assert len(numbers) == 2
    first = together.outcome(numbers[0])
    (cache,) = together.caches.values()
    fresh = cache.planned
    assert fresh > 10
    second = together.outcome(numbers[1])
    assert len(together.caches) == 1
    assert cache.planned - fresh < fresh / 5
    assert first.result is not None
    assert second.result is not None
    assert first.result["cycles"] == second.result["cycles"]
    assert first.result["energy_pj"] != second.result["energy_pj"]
    assert repr(second) == repr(Evaluator(space).outcome(numbers[1])), "what is shared is what would be made"


def test_a_composed_layer_is_named_by_its_products() -> None:
    plan = hwsim.load_machine("v100").plan(hwsim.load_workload("llama3_8b_block_decode"), 3)
    with pytest.raises(
        InputError, match=r"^'attn' is planned as attn.scores, .*: name one of them, or select\('attn'\)$"
    ):
        plan["attn"]
    assert [name.partition(".")[0] for name in plan.select("attn").names] == ["attn"] * 3


def test_a_sweep_tells_what_has_no_effect(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from hwsim import cli

    file = tmp_path / "s.yaml"
    file.write_text("machines: systolic_ws\nworkloads: lenet5_caffe\nset:\n  mapper.pass_cycles: [8, 16]\n")
    monkeypatch.setattr(sys, "argv", ["hwsim", "sweep", str(file), "-o", str(tmp_path / "out"), "--workers", "1"])
    cli.main()
    out = capsys.readouterr().out
    assert "lenet5_caffe on systolic_ws: no effect of mapper.pass_cycles 8" in " ".join(out.split())


def test_an_exact_name_is_that_layer_alone() -> None:
    layers = [hwsim.Gemm(name, n=31, k=n) for n, name in ((127, "a[0]"), (31, "a0"), (7, "*"))]
    network = hwsim.Workload("w", layers, graph=False)
    plan = hwsim.load_machine("systolic_ws").plan(network, 3)
    assert plan.select("a[0]").names == ("a[0]",)
    assert plan.select("*").names == ("*",)
    assert plan.select("a*").names == ("a[0]", "a0")
    assert [layer.name for layer in network.select("a[0]")] == ["a[0]"]
    with pytest.raises(InputError, match="must match 'a0'"):
        plan.select("*").select("a0")
    with pytest.raises(InputError, match="must have at least one of its layers"):
        plan.part({"nope"})


def test_names_with_markup_are_printed_as_they_are(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hwsim import cli

    file = tmp_path / "w.yaml"
    file.write_text(
        'name: w\nsource: s\ngraph: false\nlayers:\n  - {gemm: "b[/]", m: 3, n: 5, k: 7}\n  - {gemm: "[red]a", m: 3, n: 5, k: 5}\n'
    )
    for words in (["run", "systolic_ws"], ["validate", "systolic_ws"], ["explain", "systolic_ws"]):
        monkeypatch.setattr(sys, "argv", ["hwsim", *words, str(file), *(["*"] if words[0] == "explain" else [])])
        cli.main()
        out = capsys.readouterr().out
        assert "b[/]" in out
        assert "[red]a" in out


def test_sizes_of_numpy_are_taken() -> None:
    import numpy as np

    network = hwsim.load_workload("lenet5_caffe")
    plan = hwsim.load_machine("systolic_ws").plan(network, np.int64(7))
    assert plan.batch == 7
    assert type(plan.batch) is int
    for batch in (-1, 0, 1.5, "2"):
        with pytest.raises(InputError, match=r"^batch must be a whole number from 1"):
            network.peak_activation_bytes(batch)  # type: ignore[arg-type]
