"""Mappings evaluated and searched per second, on one core."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import pytest

from hwsim.mapping import Cost, Level, Mapping, Policy, Rate, compile_template, conv_problem, search, templates

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
            size = current[loop.dim]
            choice = sorted({-(-size // i) for i in range(1, size + 1) if kind == "ragged" or size % i == 0})
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


RESNET18_3X3 = conv_problem(k=64, c=64, p=56, q=56, r=3, s=3, bits=(8, 8, 8), accumulator_bits=32)


def test_search_a_3x3_layer(benchmark: BenchmarkFixture) -> None:
    """Weight stationary, 16 x 16 PEs, 64 KiB: every ragged tiling of three nests, the least cycles proved."""
    levels = [Level("dram", ALL), Level("glb", ALL), Level("reg", ALL, inside=True)]
    nests = templates(RESNET18_3X3, "weight_stationary", levels)
    reads = {("dram", tensor, "read"): 32 if tensor == "ofmap" else 8 for tensor in ALL}
    spare = -24 * RESNET18_3X3.words("ofmap")
    rates = (
        Rate("dram", "load", Fraction(1, 8), reads),
        Rate("dram", "store", Fraction(1, 8), {("dram", "ofmap", "update"): 32}, spare),
    )
    cost = Cost("latency", 1, rates)

    def run() -> tuple[int, int, float, bool]:
        best = search(RESNET18_3X3, nests, cost, array=(16, 16), capacities={"glb": 64 * 8192})
        return best.branches, best.mappings, best.tilings, best.proved

    branches, mappings, tilings, proved = benchmark.pedantic(run, rounds=3)
    assert proved
    assert (branches, mappings, tilings) == WORK
    seconds = benchmark.stats.stats.min
    benchmark.extra_info["branches_per_s"] = round(branches / seconds)
    benchmark.extra_info["tilings_per_s"] = round(tilings / seconds)
    print(
        f"\nsearch: {mappings:,} mappings counted, {1 - mappings / tilings:.7%} of {tilings:.2g} proved away in {seconds:.2f} s"
    )
    print(f"{branches / seconds:,.0f} branches/s, {tilings / seconds:.2g} tilings/s")


WORK = (1509277, 4305, 698858859312)
"""No chance is in the search: the same numbers on every machine, until the search itself changes."""
