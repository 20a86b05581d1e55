"""Attention kernels timed per second, on one core: 100,000 shapes of prompts and of steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import hwsim

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

SHAPES = 100_000


@pytest.mark.parametrize("library", ["tensorrt-llm", "vllm", "sglang"])
@pytest.mark.parametrize("most", [1, 8192])
def test_attention_times(benchmark: BenchmarkFixture, library: str, most: int) -> None:
    machine = hwsim.load_machine("h100", set={"library": library})
    rng = np.random.default_rng(7)
    context, kv_heads = rng.integers(1, 131072, SHAPES), 2 ** rng.integers(0, 4, SHAPES)
    queries = np.minimum(context, rng.integers(1, most + 1, SHAPES))
    heads = kv_heads * rng.integers(1, 9, SHAPES)
    batch = rng.integers(1, 64, SHAPES)
    times = benchmark(lambda: machine.attention_times(batch, queries, context, heads, kv_heads, 128))
    assert times.shape == (SHAPES,)
