"""Products by weights of few bits that kernels convert as they are read."""

from __future__ import annotations

import numpy as np
import pytest

import hwsim
from hwsim.machines import Gpu
from hwsim.workload import Gemm, Workload

#: m, n, k and microseconds on A100-SXM4-80GB under TensorRT-LLM 1.0.0, bf16 activations, int4 in groups of 128: every
#: thirtieth row or so of aiconfigurator at 095f58a5 (Apache-2.0).
PUBLISHED = {
    "int4": [
        (1, 1024, 3584, 26.624), (2, 1024, 256, 9.216), (2, 65536, 16384, 327.68), (4, 16384, 1024, 18.432),
        (8, 10240, 128, 13.312), (16, 12288, 1536, 19.456), (32, 3072, 7168, 37.888), (48, 1536, 2048, 21.504),
        (64, 256, 65536, 117.76), (64, 12288, 1536, 23.552), (80, 8192, 8192, 92.16), (96, 16384, 2048, 55.296),
        (160, 128, 128, 9.216), (160, 10240, 3584, 82.944), (192, 10240, 256, 15.36), (256, 5120, 65536, 735.232),
        (384, 2560, 8192, 111.616), (512, 2048, 8192, 98.304), (768, 1536, 8192, 134.144), (1024, 256, 65536, 235.52),
        (1024, 16384, 512, 90.112), (2048, 7168, 1024, 145.408), (4096, 5120, 65536, 10656.8), (8192, 7168, 8192, 3803.14),
    ],
    "int8": [
        (1, 1536, 7168, 25.6), (2, 1024, 3072, 16.384), (2, 65536, 256, 21.504), (8, 128, 2048, 13.312),
        (8, 16384, 2048, 31.744), (16, 65536, 10240, 409.6), (48, 256, 128, 10.24), (64, 1536, 12288, 48.128),
        (80, 1024, 512, 11.264), (80, 65536, 1024, 87.04), (96, 65536, 1024, 87.04), (128, 8192, 10240, 105.472),
        (160, 4096, 16384, 129.024), (192, 2560, 16384, 105.472), (256, 1024, 10240, 50.176), (384, 256, 128, 9.216),
        (384, 65536, 2560, 538.624), (512, 16384, 512, 51.2), (768, 4096, 65536, 1754.11), (1024, 3072, 10240, 276.48),
        (2048, 512, 16384, 159.744), (2048, 65536, 5120, 5230.59), (8192, 256, 256, 18.432), (8192, 12288, 7168, 5456.9),
    ],
}  # fmt: skip


def gpu(name: str, library: str = "tensorrt-llm") -> Gpu:
    machine = hwsim.load_machine(name, set={"library": library})
    assert isinstance(machine, Gpu)
    return machine


@pytest.mark.parametrize("weight", PUBLISHED)
def test_published_times(weight: str) -> None:
    m, n, k, measured = np.array(PUBLISHED[weight]).T
    errors = gpu("a100").gemm_times(m, n, k, "bf16", weight=weight) * 1e6 / measured - 1
    assert np.abs(errors).mean() < 0.15
    assert np.median(np.abs(errors)) < 0.1
    assert abs(errors.mean()) < 0.08


@pytest.mark.parametrize("library", ["tensorrt", "tensorrt-llm", "vllm", "sglang"])
@pytest.mark.parametrize("name", ["a100", "h100", "l40s"])
def test_few_rows_gain_by_fewer_bytes(name: str, library: str) -> None:
    """A product of one row of a large matrix: int4 before int8 before bf16, none faster than its bytes."""
    machine = gpu(name, library)
    times = [float(machine.gemm_times(1, 16384, 16384, "bf16", weight=w)) for w in ("int4", "int8", "bf16")]
    assert times == sorted(times)
    for bits, time in zip((4 + 16 / 128, 8, 16), times):
        assert time >= 16384**2 * bits / 8 / (machine.timer.dram * 1e6)


@pytest.mark.parametrize("weight", ["int4", "int8"])
def test_times_are_those_of_layers(weight: str) -> None:
    machine = gpu("a100")
    for m, n, k in ((1, 257, 127), (5, 4096, 4096), (31, 1031, 521), (257, 4096, 2048)):
        layer = Gemm("fc", m=m, n=n, k=k, bias=False, input="bf16", weight=weight, output="bf16")
        seconds = float(machine.gemm_times(m, n, k, "bf16", weight=weight))
        assert hwsim.simulate(machine, Workload("one", [layer])).summary.latency_s == pytest.approx(seconds, abs=2e-9)


def test_scales_are_stored() -> None:
    """A scale of 16 bits for each 128 weights of four: 4.125 bits a weight."""
    layer = Gemm("fc", n=4096, k=4096, bias=False, input="bf16", weight="int4", output="bf16")
    (use,) = gpu("a100").memories(Workload("one", [layer]), 1)
    assert dict(use.parts)["weights"] == 4096 * 4096 * 4.125 / 8
