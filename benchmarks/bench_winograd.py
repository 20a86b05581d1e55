"""Exact Winograd against direct int8 convolution on 3x3 layers, one thread: the ratio on each instruction set."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest

from hwsim.kernels import available, conv2d_int8, force_isa, pack_conv
from hwsim.kernels.winograd import pack_winograd, winograd_counts, winograd_int8

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

LAYERS = [(64, 64, 56), (128, 128, 28), (256, 256, 14), (512, 512, 14), (256, 512, 28)]
"""Input and output channels and rows of 3x3 layers of ResNet-50 and VGG-16, with C and K of 64 and more."""
ROUNDS = 5


def fastest(run: Callable[[], Any]) -> float:
    """Least time of a few: what disturbs a run can only make it longer."""
    run()
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


@pytest.mark.parametrize("isa", available())
@pytest.mark.parametrize("m", [2, 4])
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: "x".join(map(str, layer)))
def test_winograd_against_direct(
    benchmark: BenchmarkFixture, layer: tuple[int, int, int], m: Literal[2, 4], isa: str
) -> None:
    c, k, size = layer
    rng = np.random.default_rng(1)
    x = rng.integers(-128, 128, (1, c, size, size), dtype=np.int8)
    w = rng.integers(-128, 128, (k, c, 3, 3), dtype=np.int8)
    transformed, packed = pack_winograd(w, m=m), pack_conv(w)
    with force_isa(isa):
        result = benchmark.pedantic(winograd_int8, (x, transformed), {"pad": 1}, rounds=ROUNDS, warmup_rounds=1)
        assert np.array_equal(result, conv2d_int8(x, packed, pad=1))
        direct = fastest(lambda: conv2d_int8(x, packed, pad=1))
    counts = winograd_counts(m).layer(1, c, k, size, size)
    assert counts["multiplications"] == (m + 2) ** 2 * (-(-size // m)) ** 2 * c * k
    winograd = benchmark.stats.stats.min
    macs = 9 * c * k * size * size
    benchmark.extra_info["ratio"] = round(direct / winograd, 2)
    benchmark.extra_info["multiplications_saved"] = round(macs / counts["multiplications"], 2)
    print(
        f"\nF({m}x{m}) {c}x{k}x{size} {isa}: {macs / winograd / 1e9:.1f} GMAC/s of the direct layer, "
        f"direct {macs / direct / 1e9:.1f}: {direct / winograd:.2f} times as fast"
    )
