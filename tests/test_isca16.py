"""The dataflow study of Eyeriss (Chen, Emer, Sze, ISCA 2016): its figures, its rules, and its loops as nests."""

import re
import tracemalloc
from dataclasses import replace
from functools import cache
from unittest.mock import patch

import pytest
from hypothesis import given, settings, strategies as st

import hwsim
from hwsim.errors import InputError
from hwsim.machines.pe_array.isca16 import study
from hwsim.machines.pe_array.isca16.nest import LINE, count, nest, nest_words
from hwsim.machines.pe_array.isca16.study import LEVEL_COSTS, Budget, Choice, choose, explain_infeasible, register_words
from hwsim.machines.pe_array.work import ConvWork, as_conv
from hwsim.mapping import Problem, check_capacity, conv_problem
from hwsim.validation.predictions import comparisons

NAMES = {"dram": "dram", "glb": "glb", "rf": "rf"}
DATAFLOWS = (
    "row_stationary",
    "no_local_reuse",
    "weight_stationary",
    *(f"output_stationary_{variant}" for variant in "ABC"),
)
ALEXNET = hwsim.load_workload("alexnet")
CONVOLUTIONS = ALEXNET.select("conv*")


def settings_of(dataflow: str, rows: int = 16, cols: int = 16) -> dict[str, object]:
    name, _, variant = dataflow.rpartition("_")
    if name != "output_stationary":
        name, variant = dataflow, "B"
    return {"dataflow": name, "mapper.variant": variant, "array.rows": rows, "array.cols": cols}


def budget_of(dataflow: str, pes: int = 256, area: float = 1.6) -> Budget:
    """Storage of 256 words of register file and of buffer for each PE, at one area."""
    rf = register_words(dataflow, 256)
    return Budget(pes, int(pes * (256 + area * (256 - rf))), rf)


def problem_of(w: ConvWork) -> Problem:
    return conv_problem(w.n, w.g, w.k, w.c, w.p, w.q, w.r, w.s, w.stride, w.dilation)


def from_nest(choice: Choice, work: ConvWork) -> dict[tuple[str, str], int]:
    return nest_words(choice, count(choice, problem_of(work), nest(choice, work, NAMES), NAMES), NAMES)


@cache
def energy_per_mac(dataflow: str, pes: int, batch: int) -> float:
    shape = {256: (16, 16), 512: (32, 16), 1024: (32, 32)}[pes]
    machine = hwsim.load_machine("eyeriss_isca16", set=settings_of(dataflow, *shape))
    summary = hwsim.simulate(machine, CONVOLUTIONS, batch=batch).summary
    return summary.energy_pj / summary.macs


@pytest.mark.parametrize(
    "comparison", comparisons("eyeriss_isca16")["eyeriss_isca16"], ids=lambda c: f"{c.workload}-{c.layer}-{c.column}"
)
def test_published_figures(comparison) -> None:
    assert comparison.limit is not None
    assert abs(comparison.error) <= comparison.limit, comparison


def test_figure_10_is_met_within_a_percent() -> None:
    rows = [c for c in comparisons("eyeriss_isca16")["eyeriss_isca16"] if c.layer in ("conv1", "conv5", "fc6")]
    assert len(rows) == 15
    assert max(abs(c.error) for c in rows) < 0.01


@pytest.mark.parametrize("batch", [1, 16])
@pytest.mark.parametrize("pes", [256, 512, 1024])
def test_row_stationary_takes_the_least_energy(pes: int, batch: int) -> None:
    ours = energy_per_mac("row_stationary", pes, batch)
    others = {name: energy_per_mac(name, pes, batch) for name in DATAFLOWS[1:]}
    # The study: 1.4 to 2.5 times less energy in the convolutions of AlexNet, here within 8 percent.
    assert all(1.4 * 0.92 < other / ours < 2.5 * 1.08 for other in others.values()), (ours, others)
    # With one image, one pixel at a time fetches every weight from the buffer for each MAC.
    assert max(others, key=others.__getitem__) == ("output_stationary_C" if batch == 1 else "no_local_reuse")


@pytest.mark.parametrize("pes", [256, 512, 1024])
def test_order_of_the_dataflows_with_a_batch(pes: int) -> None:
    """Rows that stay cost least; then outputs of a patch, weights, outputs of a pixel; nothing that stays costs most."""
    order = sorted(DATAFLOWS, key=lambda name: energy_per_mac(name, pes, 16))
    assert order[0] == "row_stationary"
    assert order[1] == "output_stationary_B"
    assert set(order[2:4]) == {"output_stationary_A", "weight_stationary"}
    assert order[4:] == ["output_stationary_C", "no_local_reuse"]


def test_one_pixel_of_each_image_by_hand() -> None:
    """CONV5: 256 PEs as 16 filters x one pixel of each of 16 images; windows of 3 x 3 overlap and are fetched whole."""
    work = as_conv(ALEXNET["conv5"], 16)
    assert work is not None
    choice = choose(work, "output_stationary_C", budget_of("output_stationary_C"))
    assert choice is not None
    assert {key: choice.tiles[key] for key in ("ms", "im", "y", "x", "m", "order")} == {
        "ms": 16, "im": 16, "y": 1, "x": 1, "m": 80, "order": 0,
    }  # fmt: skip
    assert 80 * 192 * 9 + 16 * 192 * 9 <= 256 * (256 + 1.6 * 255)  # filters and windows that the buffer holds
    assert choice.words["glb", "weight"] * 16 == work.macs
    assert choice.words["glb", "ifmap"] * 16 == work.macs
    assert choice.words["noc", "weight"] == choice.words["noc", "ifmap"] == work.macs
    assert choice.words["dram", "ifmap"] == 2 * (2 * 192 * 16 * 13 * 13 * 9)  # twice: 128 filters are 80 and 48
    alone = choose(replace(work, n=1), "output_stationary_C", budget_of("output_stationary_C"))
    assert alone is not None
    assert alone.words["glb", "weight"] == work.macs // 16


def test_weights_that_stay_let_ifmaps_stream() -> None:
    """CONV1: 2 filters of 11 x 11 fit 256 PEs, so the ifmaps come 48 times; their partial sums wait in the buffer."""
    work = as_conv(ALEXNET["conv1"], 16)
    assert work is not None
    choice = choose(work, "weight_stationary", budget_of("weight_stationary"))
    assert choice is not None
    assert choice.tiles == {"m": 2, "c": 1}
    assert choice.words["dram", "ifmap"] == choice.words["glb", "ifmap"] == 48 * 3 * 16 * 227 * 227
    assert choice.words["glb", "ofmap"] == 2 * 2 * 16 * 96 * 55 * 55  # three channels, one after another
    assert choice.words["rf", "weight"] == work.macs


def test_levels_of_the_figure_are_the_components() -> None:
    report = hwsim.simulate(hwsim.load_machine("eyeriss_isca16"), CONVOLUTIONS, batch=16)
    assert set(report.actions.component) == {"dram", "glb", "noc", "rf", "mac"}
    levels = report.actions.groupby(["layer", "component"]).energy_pj.sum()
    assert levels["conv5", "mac"] == CONVOLUTIONS["conv5"].macs * 16
    assert levels["conv1", "dram"] / 200 == report.results[0].plan.dram_bytes / 2


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_counts_of_the_nest_are_the_closed_form(dataflow: str) -> None:
    for network in ("alexnet", "vgg16"):
        checked = 0
        for layer in hwsim.load_workload(network):
            work = as_conv(layer, 16)
            choice = choose(work, dataflow, budget_of(dataflow)) if work is not None else None
            if work is None or choice is None or layer.name == "conv1_1":
                continue
            assert from_nest(choice, work) == {key: n for key, n in choice.words.items() if n}, layer.name
            checked += 1
        assert checked == (8 if network == "alexnet" else 15 - 3 * (dataflow == "weight_stationary"))


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_counts_of_the_plan_are_the_closed_form(dataflow: str) -> None:
    machine = hwsim.load_machine("eyeriss_isca16", set=settings_of(dataflow))
    for name, batch in (("conv1", 1), ("conv4", 16), ("fc6", 1), ("fc6", 16)):
        work = as_conv(ALEXNET[name], batch)
        assert work is not None
        choice = choose(work, dataflow, budget_of(dataflow))
        assert choice is not None
        words: dict[tuple[str, str], int] = {}
        for (component, tensor, _), n in machine.plan(ALEXNET[name], batch).counts.items():
            if component != "mac":
                words[component, tensor] = words.get((component, tensor), 0) + n
        assert words == {key: n for key, n in choice.words.items() if n}


def test_what_the_study_moves_and_a_nest_does_not() -> None:
    """All 3 x 64 filters of VGG-16 CONV1-1 stay in the register files; the study fetches them for each of 56 strips."""
    work = as_conv(hwsim.load_workload("vgg16")["conv1_1"], 1)
    assert work is not None
    choice = choose(work, "row_stationary", budget_of("row_stationary"))
    assert choice is not None
    assert choice.tiles["e"] * 56 == 224
    assert from_nest(choice, work)["dram", "weight"] == 64 * 3 * 9
    assert choice.words["dram", "weight"] == 56 * 64 * 3 * 9
    plan = hwsim.load_machine("eyeriss_isca16").plan(hwsim.load_workload("vgg16")["conv1_1"], 1)
    refetch = {m.values["memory"]: m.values for m in plan.why if m.code == "pe_array.study_refetch"}
    assert refetch["dram"] == {"tensor": "weight", "memory": "dram", "words": 56 * 64 * 3 * 9, "nest": 64 * 3 * 9}


def sized(axis: str, size: int, taps: int) -> ConvWork:
    dims = {"n": 2, "k": 31, "c": 29} | {axis: size}
    side = 7 if taps > 1 else 1
    return ConvWork(
        dims["n"], 1, dims["k"], dims["c"], side, side, taps, taps, (1, 1), (1, 1), side + taps - 1, side + taps - 1
    )


@pytest.mark.parametrize("taps", [1, 3])
@pytest.mark.parametrize("axis", ["n", "k", "c"])
@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_a_larger_layer_never_costs_less(dataflow: str, axis: str, taps: int) -> None:
    """Tiles need not divide a dim, so that no size is unlucky: batch, filters and channels from 1 to 257."""
    budget = budget_of(dataflow)
    costs = []
    for size in range(1, 258):
        choice = choose(sized(axis, size, taps), dataflow, budget)
        if choice is None:  # no room for the partial sums of the whole batch, nor for those of a larger one
            assert (dataflow, axis) == ("weight_stationary", "n")
            break
        costs.append(choice.cost)
    assert costs == sorted(costs)


def test_prime_sizes_use_the_array() -> None:
    machine = hwsim.load_machine("eyeriss_isca16")
    energy = {}
    for k in (256, 257, 258):
        layer = hwsim.Gemm("fc", m=16, n=k, k=k)
        plan = machine.plan(layer, 1)
        assert plan.columns["active_pes"] > 200
        work = as_conv(layer, 1)
        assert work is not None
        choice = choose(work, "row_stationary", budget_of("row_stationary"))
        assert choice is not None
        assert from_nest(choice, work) == {key: n for key, n in choice.words.items() if n}
        energy[k] = choice.cost
    assert energy[256] <= energy[257] <= energy[258] < 1.02 * energy[256]


def test_more_register_file_never_costs_more() -> None:
    for name in ("conv1", "conv2", "conv3", "fc6"):
        work = as_conv(ALEXNET[name], 4)
        assert work is not None
        choices = [choose(work, "row_stationary", Budget(256, 65536, rf)) for rf in (64, 128, 256, 512, 1024)]
        costs = [choice.cost for choice in choices if choice is not None]
        assert len(costs) == 5
        assert costs == sorted(costs, reverse=True)


works = st.builds(
    lambda n, g, k, c, p, q, r, s, stride: ConvWork(
        n, g, k, c, p, q, r, s, (stride, stride), (1, 1), (p - 1) * stride + r, (q - 1) * stride + s
    ),
    n=st.integers(1, 5),
    g=st.integers(1, 2),
    k=st.integers(1, 20),
    c=st.integers(1, 12),
    p=st.integers(1, 9),
    q=st.integers(1, 9),
    r=st.integers(1, 4),
    s=st.integers(1, 4),
    stride=st.integers(1, 5),
)


@settings(max_examples=60, deadline=None)
@given(
    work=works,
    dataflow=st.sampled_from(DATAFLOWS),
    pes=st.integers(4, 64),
    rf=st.integers(8, 64),
    glb=st.integers(60, 2000),
)
def test_a_nest_fits_and_never_moves_more_than_the_closed_form(
    work: ConvWork, dataflow: str, pes: int, rf: int, glb: int
) -> None:
    budget = Budget(pes, glb, register_words(dataflow, rf))
    choice = choose(work, dataflow, budget)
    if choice is None:
        return
    problem, mapping = problem_of(work), nest(choice, work, NAMES)
    mapping.validate(problem)
    assert mapping.spatial_extents(problem).get("pe", 1) <= pes
    if dataflow == "weight_stationary":  # ifmaps that stream through the buffer take no room
        check_capacity(problem, mapping, {"glb": {"ofmap": glb * 16, "ifmap": 10**9}, "rf": budget.rf * 16})
    else:
        check_capacity(problem, mapping, {"glb": glb * 16, "rf": budget.rf * 16})
    words = from_nest(choice, work)
    # A loop of one step moves nothing when it comes round; the closed form moves its tile all the same. Partial sums
    # that so remain in a PE are added in its register file.
    for key, n in words.items():
        assert n <= choice.words.get(key, 0) or key == ("rf", "ofmap"), (key, choice)
    for tensor in ("ifmap", "weight", "ofmap"):
        assert words["dram", tensor] >= problem.words(tensor)


@settings(max_examples=40, deadline=None)
@given(work=works, dataflow=st.sampled_from(DATAFLOWS), glb=st.integers(60, 2000), more=st.integers(0, 2000))
def test_more_buffer_never_costs_more(work: ConvWork, dataflow: str, glb: int, more: int) -> None:
    small, large = (
        choose(work, dataflow, Budget(32, size, register_words(dataflow, 48))) for size in (glb, glb + more)
    )
    if small is not None:
        assert large is not None
        assert large.cost <= small.cost


@settings(max_examples=40, deadline=None)
@given(work=works, dataflow=st.sampled_from(DATAFLOWS), glb=st.integers(60, 2000), block=st.integers(1, 31))
def test_candidates_may_be_priced_block_by_block(work: ConvWork, dataflow: str, glb: int, block: int) -> None:
    budget = Budget(32, glb, register_words(dataflow, 48))
    whole = choose(work, dataflow, budget)
    with patch.object(study, "_BLOCK", block):
        pieces = choose(work, dataflow, budget)
    assert (whole is None) == (pieces is None)
    if whole is not None and pieces is not None:
        assert (pieces.cost, pieces.considered) == (whole.cost, whole.considered)


def test_a_language_model_takes_little_memory() -> None:
    """The gate of Llama 3 8B for 16 prompts of 2,048 tokens: an array of all candidates takes 40 MiB, two dozen 1 GiB."""
    work = as_conv(hwsim.Gemm("gate", m=2048, n=14336, k=4096), 16)
    assert work is not None
    tracemalloc.start()
    choice = choose(work, "row_stationary", budget_of("row_stationary"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert choice is not None
    assert 24 * 8 * choice.considered > 2**29
    assert peak < 2**27


def test_tiles_of_figure_10_by_hand() -> None:
    """CONV5: two groups of 128 filters of 192 x 3 x 3, 13 x 13 outputs, 16 images."""
    work = as_conv(ALEXNET["conv5"], 16)
    assert work is not None
    choice = choose(work, "row_stationary", budget_of("row_stationary"))
    assert choice is not None
    t = choice.tiles
    assert t == {"m": 75, "n": 4, "e": 13, "p": 9, "q": 8, "r": 2, "t": 3}
    assert t["p"] * t["q"] * 3 + t["q"] * 3 + t["p"] <= 256  # weights, ifmap window and partial sums of a PE
    assert t["r"] * t["t"] * 3 * t["e"] <= 256
    assert t["n"] * (t["q"] * t["r"] * 15 * 15 + t["m"] * 13 * 13) <= 65536
    # Two tiles of filters: all ifmaps (15 x 15 with their padding) twice; four tiles of images: all weights four times.
    assert choice.words["dram", "ifmap"] == 2 * (2 * 192 * 16 * 15 * 15)
    assert choice.words["dram", "weight"] == 4 * (2 * 128 * 192 * 9)
    # A PE adds q S = 24 products before a partial sum leaves: 4 - 2 / 24 accesses to its register file for a MAC.
    rf = sum(n for (level, _), n in choice.words.items() if level == "rf")
    assert rf * 24 == work.macs * (4 * 24 - 2)


def test_storage_area_is_shared() -> None:
    """256 words of register file that a PE does without are 1.6 x 256 words of buffer, for each of 256 PEs."""
    machine = hwsim.load_machine("eyeriss_isca16", set={"dataflow": "no_local_reuse"})
    search = machine.plan(CONVOLUTIONS["conv5"], 16).why[0].values
    words = int(64 * 1024 + 256 * 1.6 * 256)
    assert (search["buffer"], search["buffer_bytes"], search["rf_words"]) == ("glb", words * 2, 0)
    for rows, kib in ((16, 128), (32, 256)):
        machine = hwsim.load_machine("eyeriss_isca16", set={"array.rows": rows})
        search = machine.plan(CONVOLUTIONS["conv5"], 16).why[0].values
        assert (search["buffer_bytes"], search["rf_words"]) == (kib * 1024, 256)


def test_prices_of_the_file_decide() -> None:
    """Where a word from the buffer costs as much as one from DRAM, the tiles change so that fewer are read there."""
    work = as_conv(CONVOLUTIONS["conv3"], 16)
    assert work is not None
    dear = choose(work, "row_stationary", budget_of("row_stationary"), {**LEVEL_COSTS, "glb": 200.0})
    usual = choose(work, "row_stationary", budget_of("row_stationary"))
    assert dear is not None
    assert usual is not None
    of_dear, of_usual = (sum(n for (level, _), n in c.words.items() if level == "glb") for c in (dear, usual))
    assert of_dear < of_usual


def test_a_whole_network_is_timed() -> None:
    report = hwsim.simulate(hwsim.load_machine("eyeriss_isca16"), ALEXNET, batch=16)
    for result in report.results:
        if not result.plan.macs:
            continue
        assert result.plan.compute_cycles * result.plan.columns["active_pes"] >= result.plan.macs
        assert result.cycles >= max(result.plan.compute_cycles, result.plan.dram_bytes / 8)
        assert 0 < result.utilization <= 1
    assert {r.name: r.bound for r in report.results}["fc7"] == "dram"


@pytest.mark.parametrize(
    ("changes", "workload", "batch", "message"),
    [
        # 64 images x 55 x 55 partial sums of one filter are 378.1 KiB, and the buffer has 332.0.
        (
            {"dataflow": "weight_stationary"},
            "alexnet",
            64,
            "glb holds 332.0 KiB; .* 378.1 KiB: 46.1 KiB too much",
        ),
        ({"array.rows": 2, "array.cols": 5}, "alexnet", 1, "10 PEs; a filter takes 11: 1 too few"),
        ({"memories.rf.size": "44 B"}, "alexnet", 1, "rf holds 44 B; .* 46 B: 2 B too much"),
        (
            {"dataflow": "input_stationary"},
            "alexnet",
            1,
            "dataflow: must be one of the dataflows of rules isca16",
        ),
        (
            {"memories.rf.size": "1 KiB", "memories.glb.holds": ["ifmap", "ofmap"]},
            "alexnet",
            1,
            "one buffer on the chip",
        ),
    ],
)
def test_what_does_not_fit_is_told(changes: dict[str, object], workload: str, batch: int, message: str) -> None:
    machine = hwsim.load_machine("eyeriss_isca16", set=changes)
    with pytest.raises(InputError, match=message):
        hwsim.simulate(machine, hwsim.load_workload(workload), batch=batch)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mapper.objective": "latency"}, "objective must be energy, not latency"),
        ({"mapper.rules": "isca17"}, "nearest: 'isca16'"),
        ({"mapper.variant": "D"}, "known names, not 'D'"),
        ({"array.zeros": "skip"}, "array.zeros: must be compute or gate, not skip"),
    ],
)
def test_bad_rules_are_told_at_once(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        hwsim.load_machine("eyeriss_isca16", set=changes)


def test_what_lacks_is_lacking() -> None:
    work = as_conv(CONVOLUTIONS["conv1"], 1)
    assert work is not None
    for dataflow in DATAFLOWS:
        assert not explain_infeasible(work, dataflow, budget_of(dataflow))
        assert choose(work, dataflow, replace(budget_of(dataflow), buffer=10)) is None
        assert [what for what, *_ in explain_infeasible(work, dataflow, replace(budget_of(dataflow), buffer=10))] == [
            "buffer"
        ]


def test_the_line_buffer_is_no_component() -> None:
    report = hwsim.simulate(
        hwsim.load_machine("eyeriss_isca16", set={"dataflow": "weight_stationary"}), CONVOLUTIONS, batch=2
    )
    assert LINE not in set(report.actions.component)
    assert LINE in report.results[0].plan.mapping.text()
