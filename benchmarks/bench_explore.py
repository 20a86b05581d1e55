"""Cost of exploring. The points that are simulated and pruned are asserted beside the time, and what they find."""

from __future__ import annotations

import numpy as np
import pytest
from moocore import hypervolume
from pytest_benchmark.fixture import BenchmarkFixture

import hwsim
from hwsim.exploration import Exploration
from hwsim.exploration.bounds import Bounds
from hwsim.report.pareto import front
from hwsim.sweeps.reader import read_space

SPACE = {
    "name": "systolic",
    "machines": ["systolic_ws", "systolic_os", "systolic_is"],
    "workloads": "kws",
    "batch": [1, 4],
    "set": {
        "array.rows": {"powers_of_two": [4, 64]},
        "array.cols": {"powers_of_two": [4, 64]},
        "memories.sram.split.ifmap": ["8 KiB", "16 KiB", "32 KiB"],
        "memories.sram.split.weight": ["8 KiB", "16 KiB", "32 KiB"],
        "memories.dram.bandwidth": ["2 B/cycle", "8 B/cycle"],
    },
}
GOALS = ("latency", "energy", "area")


@pytest.fixture(scope="module")
def whole() -> Exploration:
    return hwsim.explore(SPACE, GOALS, sampler="exhaustive", workers=1)


def test_a_tenth_of_the_points(benchmark: BenchmarkFixture, whole: Exploration) -> None:
    found = benchmark.pedantic(
        hwsim.explore, (SPACE, GOALS), {"budget": "10%", "workers": 1, "sampler": "model"}, rounds=1
    )
    assert len(found.outcomes) <= 270
    assert found.pruned > 0
    known = np.log(whole.costs[whole.feasible])
    best = known[front(known)]
    limit = best.max(axis=0) + 0.1 * (best.max(axis=0) - best.min(axis=0))
    share = hypervolume(np.log(found.costs[found.feasible]), ref=limit) / hypervolume(best, ref=limit)
    benchmark.extra_info["share of the hypervolume"] = share
    assert share >= 0.99


def test_bounds_of_a_point(benchmark: BenchmarkFixture) -> None:
    space = read_space(SPACE)
    found = benchmark(lambda: Bounds(space).of(1234))
    assert found.keys() >= {"latency_s", "energy_pj", "dram_bytes", "area_mm2"}


def test_volume_of_a_front_of_three_objectives(benchmark: BenchmarkFixture) -> None:
    """Points of a plane: all of them are on the front."""
    rng = np.random.default_rng(0)
    points = rng.dirichlet((1, 1, 1), 300)
    volume = benchmark(hypervolume, points, ref=[1.0, 1.0, 1.0])
    assert front(points).all()
    assert 0.7 < volume < 5 / 6
