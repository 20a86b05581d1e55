"""Served models against published measurements: time per output token, time to the first, offline throughput."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from hwsim.serving import Served
from hwsim.serving.table import with_library
from hwsim.workload.transformer import Formats, load_llm

#: H100-SXM5: framework, model, weights, tp, tokens in, tokens out, concurrency, TTFT and TPOT in ms. From the silicon
#: samples of aiconfigurator at 095f58a5 (Apache-2.0), some rows of dense models on several devices.
PUBLISHED = [
    ("tensorrt-llm", "llama3_8b", "bf16", 2, 1024, 256, 16, 136.4, 5.854),
    ("tensorrt-llm", "llama3_8b", "bf16", 2, 4096, 128, 64, 331.3, 37.756),
    ("tensorrt-llm", "llama3_8b", "bf16", 4, 1024, 256, 16, 124.6, 4.519),
    ("tensorrt-llm", "llama3_8b", "bf16", 4, 2048, 512, 64, 189.6, 8.056),
    ("tensorrt-llm", "qwen3_32b", "fp8", 2, 2048, 256, 128, 872.6, 63.158),
    ("tensorrt-llm", "qwen3_32b", "fp8", 2, 4096, 256, 128, 1598.7, 113.325),
    ("tensorrt-llm", "qwen3_32b", "fp8", 4, 1024, 256, 16, 156.8, 9.181),
    ("tensorrt-llm", "qwen3_32b", "fp8", 4, 4096, 128, 32, 578.3, 34.249),
    ("vllm", "llama3_70b", "fp8", 2, 1024, 1024, 4, 121.3, 17.407),
    ("vllm", "llama3_70b", "fp8", 2, 1024, 1024, 64, 415.1, 28.769),
    ("vllm", "llama3_70b", "fp8", 2, 1024, 8192, 64, 30787.1, 41.682),
    ("vllm", "llama3_70b", "fp8", 2, 8192, 1024, 64, 59175.4, 52.406),
    ("vllm", "llama3_70b", "fp8", 4, 1024, 1024, 64, 256.4, 19.515),
    ("vllm", "llama3_70b", "fp8", 4, 1024, 8192, 64, 261.4, 23.407),
    ("vllm", "llama3_70b", "fp8", 4, 8192, 1024, 64, 1744.9, 53.495),
    ("vllm", "qwen3_32b", "bf16", 4, 1024, 128, 16, 149.4, 14.347),
    ("vllm", "qwen3_32b", "bf16", 4, 4096, 128, 32, 645.2, 43.833),
    ("vllm", "qwen3_32b", "bf16", 4, 4096, 1024, 32, 574.3, 18.723),
    ("sglang", "qwen3_32b", "bf16", 2, 1024, 128, 16, 840.8, 16.539),
    ("sglang", "qwen3_32b", "bf16", 2, 2048, 256, 64, 4281.4, 36.725),
    ("sglang", "qwen3_32b", "bf16", 2, 4096, 256, 16, 2607.8, 23.635),
    ("sglang", "qwen3_32b", "bf16", 4, 1024, 128, 64, 1322.0, 19.770),
    ("sglang", "qwen3_32b", "bf16", 4, 1024, 256, 128, 2395.8, 23.650),
    ("sglang", "qwen3_32b", "bf16", 4, 4096, 128, 64, 4684.4, 53.237),
    ("sglang", "qwen3_32b", "bf16", 8, 1024, 256, 16, 361.7, 7.568),
    ("sglang", "qwen3_32b", "bf16", 8, 2048, 128, 64, 1628.9, 19.620),
    ("sglang", "qwen3_32b", "bf16", 8, 2048, 512, 16, 424.3, 8.347),
    ("sglang", "qwen3_32b", "bf16", 8, 4096, 512, 128, 4912.7, 28.509),
]

#: Tokens a second of an accelerator: MLPerf Inference v5.1, closed, offline, fp8, the median of the submissions with
#: H100-SXM-80GB; the mean tokens in and out of the two data sets.
OFFLINE = [("llama2_70b", 2, 294, 294, 3900.0), ("llama3_8b", 1, 778, 73, 5777.0)]


@cache
def served(library: str, model: str, weights: str, tp: int) -> Served:
    """As many sequences fit as were measured with the cache in fp8 for fp8 weights of TensorRT-LLM, else in bf16."""
    kv = "fp8" if weights == "fp8" and library == "tensorrt-llm" else "bf16"
    return Served(with_library("h100", library), load_llm(model), Formats(weights, kv), tp)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("library", "tpot", "ttft"), [("tensorrt-llm", 0.08, 0.3), ("vllm", 0.05, 0.25), ("sglang", 0.05, 0.15)]
)
def test_times_of_tokens(library: str, tpot: float, ttft: float) -> None:
    rows = [row for row in PUBLISHED if row[0] == library]
    predicted = []
    for _, model, weights, tp, tokens_in, tokens_out, concurrency, *_ in rows:
        point = served(library, model, weights, tp).at(concurrency, tokens_in, tokens_out)
        predicted.append((point.ttft_s * 1e3, point.tpot_s * 1e3))
    times, measured = np.array(predicted), np.array([row[-2:] for row in rows], dtype=float)
    errors = np.abs(times / measured - 1)
    assert errors[:, 1].mean() < tpot
    assert errors[:, 1].max() < 0.25
    assert np.median(errors[:, 0]) < ttft
    ranks = [np.argsort(np.argsort(values[:, 1])) for values in (times, measured)]
    assert np.corrcoef(*ranks)[0, 1] > 0.95


@pytest.mark.slow
def test_requests_wait_where_the_cache_is_full() -> None:
    """Llama 3.1 70B on two H100, 64 requests of 8,192 tokens: half of them wait for a whole request, 59 s."""
    rows = [row for row in PUBLISHED if row[1] == "llama3_70b" and row[3:7] == (2, 8192, 1024, 64)]
    ((*_, measured, tpot),) = rows
    point = served("vllm", "llama3_70b", "fp8", 2).at(64, 8192, 1024)
    assert point.running < 40
    assert point.ttft_s * 1e3 == pytest.approx(measured, rel=0.5)
    assert point.tpot_s * 1e3 == pytest.approx(tpot, rel=0.2)


@pytest.mark.slow
@pytest.mark.parametrize("model,tp,tokens_in,tokens_out,rate", OFFLINE)
def test_offline(model: str, tp: int, tokens_in: int, tokens_out: int, rate: float) -> None:
    best = Served(with_library("h100"), load_llm(model), Formats("fp8", "fp8"), tp).offline(tokens_in, tokens_out)
    assert best.tokens_per_s / tp == pytest.approx(rate, rel=0.15)
    assert best.tokens == pytest.approx(best.sequences * (1 + (tokens_in - 1) / tokens_out), abs=1)
    assert best.tokens_per_s == pytest.approx(best.sequences / best.step_s)
