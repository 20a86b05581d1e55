"""Explorations: fronts and volumes against brute force, bounds against results, and searches that can be trusted."""

import itertools
import json
import math
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings, strategies as st
from moocore import hypervolume

import hwsim
from hwsim.cli import cli
from hwsim.exploration.bounds import Bounds
from hwsim.exploration.exploration import Exploration
from hwsim.exploration.grid import Grid
from hwsim.exploration.kriging import Kriging
from hwsim.exploration.objectives import read_objectives
from hwsim.exploration.terminal import _head as head_of, sparkline
from hwsim.report.pareto import dominated, front
from hwsim.sweeps.evaluation import Evaluator
from hwsim.sweeps.reader import read_space

SMALL = {
    "name": "small",
    "machines": "systolic_ws",
    "workloads": hwsim.Workload("two", [
        hwsim.Conv2d("c", c=16, h=28, w=28, k=32, r=3, pad=1, input="int8", weight="int8"),
        hwsim.Gemm("f", m=1, n=100, k=300, input="int8", weight="int8"),
    ], graph=False),
    "batch": [1, 2, 4],
    "set": {
        "array.rows": [4, 8, 16, 32],
        "array.cols": [4, 8, 16, 32],
        "memories.dram.bandwidth": ["4 B/cycle", "16 B/cycle"],
        "clocks.core": ["500 MHz", "1 GHz"],
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def whole() -> Exploration:
    return hwsim.explore(SMALL, ["latency", "energy", "area"], sampler="exhaustive", workers=1)


def grids(values: st.SearchStrategy[float]) -> st.SearchStrategy[list[list[float]]]:
    """A few points of one to four objectives."""
    return st.integers(1, 4).flatmap(
        lambda m: st.lists(st.lists(values, min_size=m, max_size=m), min_size=1, max_size=14)
    )


small_grids = grids(st.integers(0, 5))


@given(points=small_grids)
@settings(max_examples=150, deadline=None)
def test_front_is_what_brute_force_finds(points: list[list[int]]) -> None:
    """With ties and duplicates, of which small whole numbers have many."""

    def beats(a: list[int], b: list[int]) -> bool:
        return all(x <= y for x, y in zip(a, b)) and a != b

    expected = [not any(beats(other, point) for other in points) for point in points]
    assert front(points).tolist() == expected
    assert (~dominated(points, points)).tolist() == expected


@given(points=grids(st.sampled_from([-math.inf, -1.0, -0.0, 0.0, 0.5, math.inf, math.nan])))
@settings(max_examples=300, deadline=None)
def test_front_of_infinities_and_unknown_values(points: list[list[float]]) -> None:
    """Infinite values are ordered as any others; a point with a NaN neither is on the front nor dominates."""
    real = [point for point in points if not any(map(math.isnan, point))]

    def beats(a: list[float], b: list[float]) -> bool:
        return all(x <= y for x, y in zip(a, b)) and any(x < y for x, y in zip(a, b))

    expected = [point in real and not any(beats(other, point) for other in real) for point in points]
    assert front(points).tolist() == expected


@given(points=small_grids)
@settings(max_examples=150, deadline=None)
def test_hypervolume_is_the_number_of_unit_cells_that_the_points_dominate(points: list[list[int]]) -> None:
    limit = 5
    cells = itertools.product(range(limit), repeat=len(points[0]))
    count = sum(any(all(x <= c for x, c in zip(point, cell)) for point in points) for cell in cells)
    assert hypervolume(points, ref=[limit] * len(points[0])) == pytest.approx(count)


def test_fronts_leave_out_what_is_unknown_and_take_in_what_is_alike() -> None:
    assert front([[1, math.nan], [2, 2], [2, 2], [3, 1], [3, 2]]).tolist() == [False, True, True, True, False]
    assert hypervolume([[5, 5], [4, 0]], ref=[4, 4]) == 0
    big = np.random.default_rng(0).random((600, 3))
    kept = front(big)
    assert kept.tolist() == [not dominated(point[None], big)[0] for point in big]


@pytest.mark.slow
@pytest.mark.parametrize(
    "machine, workload, changes",
    [
        ("systolic_ws", "alexnet", {"array.rows": [7, 32, 200], "array.cols": [5, 64], "clocks.core": ["0.3 GHz", "2 GHz"]}),
        ("eyeriss_v1", "alexnet", {"array.cols": [9, 20], "memories.glb.size": ["64 KiB", "300 KiB"], "array.zeros": ["gate", "skip"]}),
        ("nvdla_256", "kws", {"array.rows": [4, 64], "memories.conv_buffer.size": ["64 KiB", "1024 KiB"], "memories.dram.bandwidth": ["1 GB/s", "50 GB/s"]}),
        ("tpu_v1", "tpu_mlp0", {"array.rows": [64, 256], "array.fifo_tiles": [2, 4], "memories.dram.bandwidth": ["1 GB/s", "900 GB/s"]}),
    ],
)  # fmt: skip
@given(data=st.data())
@settings(max_examples=5, deadline=None)
def test_no_result_beats_its_bounds(machine: str, workload: str, changes: dict, data: st.DataObject) -> None:
    """So what is left out because its bounds are dominated is dominated: no point of the front is lost."""
    space = read_space({"machines": machine, "workloads": workload, "batch": [1, 3], "set": changes})
    number = data.draw(st.integers(0, space.size - 1))
    bounds = Bounds(space).of(number)
    result = Evaluator(space).outcome(number).result
    assert result is not None
    assert {"latency_s", "energy_pj", "dram_bytes"} <= bounds.keys()
    for column, bound in bounds.items():
        if column in ("area_mm2", "cost_usd"):
            assert bound == result[column]
        elif Bounds.from_above(column):
            assert result[column] <= bound
        else:
            assert bound <= result[column]


@pytest.mark.slow
def test_exhaustive_exploration_is_the_sweep(whole: Exploration) -> None:
    sweep = hwsim.sweep(SMALL, workers=1)
    assert whole.complete
    costs = sweep[["latency_s", "energy_per_inference_pj", "area_mm2"]]
    assert sorted(whole.front["point"]) == sweep["point"][front(costs)].tolist()
    assert len(whole.outcomes) + whole.pruned == len(sweep)
    known = sweep.set_index("point").loc[whole.frame["point"]].reset_index()
    assert known.equals(whole.frame)


def test_a_fifth_of_the_points_comes_near_the_front(whole: Exploration) -> None:
    """Volumes below the same limit; a search that has only part of the points cannot have more."""
    limit = np.log(whole.costs.max(axis=0))
    most = hypervolume(np.log(whole.costs), ref=limit)
    for sampler, share in (("model", 0.97), ("random", 0.0)):
        found = hwsim.explore(SMALL, ["latency", "energy", "area"], budget="20%", sampler=sampler, workers=1)
        assert len(found.outcomes) <= math.ceil(0.2 * 192)
        assert share * most <= hypervolume(np.log(found.costs), ref=limit) <= most * (1 + 1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["model", "random", "nsga2", "tpe"])
def test_a_seed_finds_the_same_points_and_going_on_comes_to_the_same_end(sampler: str, tmp_path: Path) -> None:
    if sampler in ("nsga2", "tpe"):
        pytest.importorskip("optuna")
    options = {"budget": 24, "sampler": sampler, "seed": 7, "workers": 1}
    first = hwsim.explore(SMALL, store=tmp_path, **options)

    class KilledError(Exception):
        pass

    def kill(done: int, _most: int, _front: int) -> None:
        if done >= 16:
            raise KilledError

    with pytest.raises(KilledError):
        hwsim.explore(SMALL, store=tmp_path / "killed", tell=kill, **options)
    again = hwsim.explore(SMALL, store=tmp_path / "killed", **options)
    assert first.to_json() == again.to_json()
    assert [o.number for o in first.outcomes] == [o.number for o in again.outcomes]
    assert [o.number for o in hwsim.explore(SMALL, **options).outcomes] == [o.number for o in first.outcomes]
    other = hwsim.explore(SMALL, **{**options, "seed": 8})
    assert [o.number for o in other.outcomes] != [o.number for o in first.outcomes]


@pytest.mark.slow
def test_what_time_decided_is_kept(tmp_path: Path) -> None:
    """Going on must not depend on how fast the machine is today."""
    first = hwsim.explore(SMALL, store=tmp_path, affordable_s=0.0, workers=1)
    assert first.sampler == "model"
    assert hwsim.explore(SMALL, store=tmp_path, affordable_s=1e9, workers=1).sampler == "model"
    assert hwsim.explore(SMALL, affordable_s=1e9, workers=1).sampler == "exhaustive"


def test_constraints_hold_and_those_on_area_cost_no_simulation() -> None:
    found = hwsim.explore(
        SMALL, ["latency", "energy"], constraints=["area_mm2 < 4.8 mm2", "array.rows <= 16", "latency_s < 1 ms"],
        sampler="exhaustive", workers=1,
    )  # fmt: skip
    assert found.violations > 0
    assert (found.front["area_mm2"] < 4.8).all()
    assert (found.front["latency_s"] < 1e-3).all()
    assert found.frame["array.rows"].max() <= 16
    assert found.violations + len(found.outcomes) + found.pruned == 192


def test_more_can_be_better(whole: Exploration) -> None:
    found = hwsim.explore(SMALL, ["throughput", "max:utilization"], sampler="exhaustive", workers=1)
    assert found.front["inferences_per_s"].iloc[0] == whole.frame["inferences_per_s"].max()
    assert found.front["utilization"].is_monotonic_increasing
    one = hwsim.explore(SMALL, "edp", budget=40, workers=1)
    assert one.front["edp_pj_s"].iloc[0] == pytest.approx(whole.frame["edp_pj_s"].min())


def test_volumes_grow_to_the_whole(whole: Exploration) -> None:
    volumes = [volume for _, volume in whole.volumes]
    assert volumes == sorted(volumes)
    assert volumes[-1] == 1
    assert len(sparkline(volumes)) == len(volumes)


@pytest.mark.slow
def test_sensitivity_names_what_matters(whole: Exploration) -> None:
    """Area knows neither batch nor clock; rows and columns enter it as a product, so alike."""
    area = whole.sensitivity["area_mm2"]
    assert area["batch"] < 0.01
    assert area["clocks.core"] < 0.01
    assert area["array.rows"] == pytest.approx(area["array.cols"], abs=0.1)
    assert all(0 <= share <= 1 for shares in whole.sensitivity.values() for share in shares.values())


def test_kriging_knows_what_it_was_told_and_doubts_the_rest() -> None:
    axes = [(np.linspace(0, 1, 8), 8), (None, 3)]
    places = np.array([(a, b) for a in range(8) for b in range(3) if (a + b) % 2])
    model = Kriging(axes)
    model.fit(places, np.sin(places[:, 0]) + places[:, 1])
    assert model.predict(places) == pytest.approx(np.sin(places[:, 0]) + places[:, 1], abs=0.05)
    assert model.deviation(np.array([(4, 0)]))[0] > model.deviation(places).max()


def test_grid_places_are_numbers_and_back() -> None:
    space = read_space({**SMALL, "where": "array.rows <= array.cols"})
    grid = Grid(space)
    numbers = space.numbers()
    assert [grid.number(places) for places in grid.places(numbers)] == numbers
    spread = grid.spread(30, np.random.default_rng(1))
    assert len(set(spread)) == 30
    assert all(space.allows(number) for number in spread)
    near = list(grid.neighbors(numbers[5], reach=1))
    assert all((grid.places([n])[0] != grid.places([numbers[5]])[0]).sum() == 1 for n in near)


@pytest.mark.slow
def test_a_space_beyond_all_listing_is_explored() -> None:
    huge = {**SMALL, "set": {
        "array.rows": {"range": [1, 1000], "step": 1}, "array.cols": {"range": [1, 1000], "step": 1},
        "memories.dram.bandwidth": [f"{n} B/cycle" for n in range(1, 101)],
    }}  # fmt: skip
    found = hwsim.explore(huge, ["latency", "area"], budget=20, workers=1)
    assert len(found.outcomes) == 20
    assert not found.complete


@pytest.mark.slow
@pytest.mark.parametrize(
    "options, told",
    [
        ({"objectives": "latencies"}, r"objective must be a column of the results, not 'latencies'; nearest: 'latency_s'"),
        ({"objectives": "best:latency"}, "must be NAME, min:NAME or max:NAME"),
        ({"objectives": ["latency", "latency_s"]}, "must be distinct"),
        ({"objectives": []}, "one to 5 objectives, not 0"),
        ({"objectives": "fits"}, "not 'fits'"),
        ({"objectives": "cost"}, "cost_usd must be known for every machine; systolic_ws has no cost"),
        ({"budget": 0}, "above zero, or a share such as '10%', not 0"),
        ({"budget": "lots"}, "not 'lots'"),
        ({"budget": "nan%"}, "not 'nan%'"),
        ({"sampler": "nsga3"}, "nearest: 'nsga2'"),
        ({"seed": -1}, "a seed must be"),
        ({"constraints": "latency_s <"}, "must go on"),
        ({"constraints": "__import__('os')"}, "condition"),
        ({"constraints": "latencys < 1 s"}, "nearest: 'latency_s'"),
        ({"constraints": "latency_s < 1 ps"}, "no simulated point is feasible"),
        ({"constraints": "array.rows > 100"}, "192 violate a constraint by their parameters"),
    ],
)  # fmt: skip
def test_bad_questions_are_told(options: dict, told: str) -> None:
    with pytest.raises(hwsim.InputError, match=told):
        hwsim.explore(SMALL, **{"objectives": ("latency", "energy"), "workers": 1, **options})


def test_a_sampler_of_optuna_without_optuna_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(hwsim.InputError, match=r"hwsim\[explore\]"):
        hwsim.explore(SMALL, budget=10, sampler="tpe", workers=1)


def test_an_objective_that_no_point_tells_is_told() -> None:
    with pytest.raises(hwsim.InputError, match="energy_per_inference_pj is unknown"):
        hwsim.explore({"machines": "nrf5340", "workloads": "kws", "batch": [1, 2]}, "energy", workers=1)


def test_objectives_are_read() -> None:
    latency, most = read_objectives(["latency", "max:energy_pj.mac"])
    assert (latency.column, latency.maximize, most.column, most.maximize) == ("latency_s", False, "energy_pj.mac", True)
    assert latency.least_cost({}) == -math.inf
    assert most.least_cost({"energy_pj.mac": 1.0}) == -math.inf


def test_command_writes_the_front(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(
        "machines: systolic_ws\nworkloads: lenet5_caffe\nset:\n  array.rows: [8, 16, 32]\n  array.cols: [8, 16, 32]\n"
    )
    out = tmp_path / "out"
    words = ["explore", str(path), "-o", str(out), "--objective", "latency", "--objective", "area", "--workers", "1"]
    result = CliRunner().invoke(cli, [*words, "--html", str(tmp_path / "p.html")], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "Pareto front of min latency, min area" in result.stdout
    assert max(map(len, result.stdout.splitlines()[:-1])) <= 100
    data = json.loads((out / "s.front.json").read_text())
    csv = (out / "s.front.csv").read_text().splitlines()
    assert len(csv) == len(data["front"]) + 1 > 2
    assert "<svg" in (tmp_path / "p.html").read_text()
    again = CliRunner().invoke(cli, [*words, "--json", "-"], catch_exceptions=False)
    assert json.loads(again.stdout) == data


@pytest.mark.slow
def test_the_docs_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The worked example: a tenth of the points finds nearly all of the hypervolume."""
    text = (Path(__file__).parent.parent / "docs" / "explore.md").read_text(encoding="utf-8")
    found = {kind: re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL) for kind in ("yaml", "console", "python")}
    monkeypatch.chdir(tmp_path)
    Path("sizes.yaml").write_text(found["yaml"][0])
    for line in found["console"][0].splitlines():
        result = CliRunner().invoke(cli, [*shlex.split(line)[2:], "--workers", "1"], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        assert "hypervolume of the front" in result.stdout
    exec(compile(found["python"][0], "explore.md", "exec"), {})
    out = capsys.readouterr().out
    points, whole, share = re.match(r"(\d+) of (\d+) points find ([\d.]+)%", out).groups()
    assert int(points) == math.ceil(int(whole) / 10)
    assert float(share) > 97
    (text,) = [block for block in found["yaml"] if "cost:" in block]
    block = yaml.safe_load(text)
    changes = {f"{key}.{name}": value for key, values in block.items() for name, value in values.items()}
    machine = hwsim.load_machine("systolic_ws", set=changes)
    assert machine.area_mm2 == pytest.approx((1024 * 419 + 1280 * 1024 * 3.58) * 1e-6 + 0.1)
    assert machine.cost_usd == pytest.approx(0.4 + 0.08 * machine.area_mm2)


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"area.parts.pes": "1 mm2", "area.parts.sram": "1 um2"}, "must name parts of the machine, not 'pes'; nearest: 'pe'"),
        ({"area.parts": {"pe": "1 mm2"}}, "missing: sram"),
        ({"area.parts.pe": "1 mm"}, "must be an area|must be a area"),
        ({"cost.each": "3 EUR", "cost.source": "x"}, "nearest: 'USD'|must be a money"),
        ({"cost.each": "3 USD"}, "source: must be given"),
    ],
)  # fmt: skip
def test_bad_areas_and_costs_are_told(changes: dict, told: str) -> None:
    with pytest.raises(hwsim.InputError, match=told):
        hwsim.load_machine("systolic_ws", set=changes)


def test_the_area_of_eyeriss_is_the_published_one() -> None:
    """A core of 3.5 mm x 3.5 mm (JSSC 2017)."""
    assert hwsim.load_machine("eyeriss_v1").area_mm2 == pytest.approx(12.25, rel=1e-3)


@pytest.mark.parametrize("column, head", [("energy_pj.dram", "energy of dram"), ("peak_memory_bytes", "peak memory")])
def test_heads_name_no_unit_that_values_are_not_in(column: str, head: str) -> None:
    """A value beside it is 3.1 mJ or 16 KiB."""
    assert head_of(column) == head
