"""Mappings evaluated and searched per second, on one core."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from hwsim.mapping import Level, Mapping, Policy, candidates, compile_template, conv_problem, search, templates

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pytest_benchmark.fixture import BenchmarkFixture

ALL = ("ifmap", "weight", "ofmap")
ALEXNET_CONV2 = conv_problem(n=4, g=2, k=128, c=48, p=27, q=27, r=5, s=5)
NEST = Mapping.parse("""
dram keeps ifmap, weight, ofmap
for K by 1
for C by 1
for P by 1
glb keeps ifmap, ofmap
for Q by 1
for C by 1
for K by 1
spatial K by 1 on rows
spatial R by 1 on rows
spatial P by 1 on cols
spad keeps ifmap, weight, ofmap
for N by 1
for G by 1
for C by 1
for S by 1
for K by 1
""")
N = 50_000


def vectors(kind: str) -> NDArray[np.int64]:
    """Random chains of candidate tile sizes, the last of each dim 1."""
    rng = np.random.default_rng(1)
    last = {loop.dim: i for i, loop in enumerate(NEST.loops)}
    rows = []
    for _ in range(N):
        current, row = dict(ALEXNET_CONV2.dims), []
        for i, loop in enumerate(NEST.loops):
            choice = candidates(current[loop.dim], kind)
            current[loop.dim] = 1 if last[loop.dim] == i else choice[int(rng.integers(len(choice)))]
            row.append(current[loop.dim])
        rows.append(row)
    return np.array(rows, dtype=np.int64)


@pytest.mark.parametrize("multicast", ["tile", "word"])
@pytest.mark.parametrize("kind", ["divisors", "ragged"])
def test_evaluate_a_three_level_convolution(benchmark: BenchmarkFixture, kind: str, multicast: str) -> None:
    tiles = vectors(kind)
    compiled = compile_template(ALEXNET_CONV2, NEST, Policy(multicast=multicast))
    result = benchmark.pedantic(compiled.evaluate, (tiles,), rounds=5, warmup_rounds=1)
    assert result.shape == (N, len(compiled.counters))
    assert (result[:, 0] == ALEXNET_CONV2.macs).all()
    rate = N / benchmark.stats.stats.min
    benchmark.extra_info["mappings_per_s"] = round(rate)
    print(f"\n{kind}, {multicast}: {rate:,.0f} mappings/s")


def test_search_row_stationary(benchmark: BenchmarkFixture) -> None:
    levels = [Level("dram", ALL), Level("glb", ("ifmap", "ofmap")), Level("spad", ALL, inside=True)]
    nests = templates(ALEXNET_CONV2, "row_stationary", levels)

    def run() -> int:
        return search(
            ALEXNET_CONV2,
            nests,
            capacities={"glb": 100 * 8192, "spad": {"ifmap": 12 * 16, "weight": 224 * 16, "ofmap": 24 * 16}},
            limits={"rows": 12, "cols": 14},
            bandwidths={"dram": 64.0},
        ).evaluated

    evaluated = benchmark.pedantic(run, rounds=1)
    assert evaluated == EVALUATED
    rate = evaluated / benchmark.stats.stats.min
    benchmark.extra_info["mappings_per_s"] = round(rate)
    print(f"\nsearch: {evaluated} mappings evaluated, {rate:,.0f} mappings/s")


EVALUATED = 74182
"""Seeded, so the same number on every machine; it changes only with the search itself."""
