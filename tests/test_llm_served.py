"""Served models against published measurements: time per output token, time to the first, offline throughput."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from hwsim.serving import Served
from hwsim.serving.table import with_library
from hwsim.workload.transformer import Formats, load_llm

#: H100-SXM5: framework, model, weights, tp, tokens in, tokens out, concurrency, TTFT and TPOT in ms. From the silicon
#: samples of aiconfigurator at 095f58a5 (Apache-2.0), every tenth or so of its rows for dense models.
PUBLISHED = [
    ("tensorrt-llm", "llama3_8b", "bf16", 1, 1024, 256, 8, 318.0, 7.549),
    ("tensorrt-llm", "llama3_8b", "bf16", 1, 2048, 256, 32, 255.9, 14.943),
    ("tensorrt-llm", "llama3_8b", "bf16", 2, 1024, 256, 16, 136.4, 5.854),
    ("tensorrt-llm", "llama3_8b", "bf16", 2, 4096, 128, 64, 331.3, 37.756),
    ("tensorrt-llm", "llama3_8b", "bf16", 4, 1024, 256, 16, 124.6, 4.519),
    ("tensorrt-llm", "llama3_8b", "bf16", 4, 2048, 512, 64, 189.6, 8.056),
    ("tensorrt-llm", "llama3_8b", "bf16", 8, 1024, 128, 16, 97.7, 4.852),
    ("tensorrt-llm", "llama3_8b", "bf16", 8, 1024, 512, 64, 405.0, 6.626),
    ("tensorrt-llm", "llama3_8b", "bf16", 8, 4096, 128, 16, 123.5, 6.065),
    ("tensorrt-llm", "llama3_8b", "bf16", 8, 4096, 512, 128, 1735.0, 12.647),
    ("tensorrt-llm", "qwen3_32b", "fp8", 1, 1024, 128, 8, 272.0, 18.652),
    ("tensorrt-llm", "qwen3_32b", "fp8", 1, 2048, 256, 8, 509.0, 19.095),
    ("tensorrt-llm", "qwen3_32b", "fp8", 1, 4096, 512, 32, 1202.6, 40.483),
    ("tensorrt-llm", "qwen3_32b", "fp8", 2, 2048, 256, 128, 872.6, 63.158),
    ("tensorrt-llm", "qwen3_32b", "fp8", 2, 4096, 256, 128, 1598.7, 113.325),
    ("tensorrt-llm", "qwen3_32b", "fp8", 4, 1024, 256, 16, 156.8, 9.181),
    ("tensorrt-llm", "qwen3_32b", "fp8", 4, 4096, 128, 32, 578.3, 34.249),
    ("tensorrt-llm", "qwen3_32b", "fp8", 8, 1024, 256, 32, 184.6, 10.784),
    ("tensorrt-llm", "qwen3_32b", "fp8", 8, 2048, 256, 64, 353.6, 19.676),
    ("tensorrt-llm", "qwen3_32b", "fp8", 8, 4096, 512, 128, 932.1, 32.597),
    ("vllm", "llama3_70b", "fp8", 2, 1024, 1024, 4, 121.3, 17.407),
    ("vllm", "llama3_70b", "fp8", 2, 1024, 1024, 64, 415.1, 28.769),
    ("vllm", "llama3_70b", "fp8", 2, 1024, 8192, 64, 30787.1, 41.682),
    ("vllm", "llama3_70b", "fp8", 2, 8192, 1024, 64, 59175.4, 52.406),
    ("vllm", "llama3_70b", "fp8", 4, 1024, 1024, 64, 256.4, 19.515),
    ("vllm", "llama3_70b", "fp8", 4, 1024, 8192, 64, 261.4, 23.407),
    ("vllm", "llama3_70b", "fp8", 4, 8192, 1024, 64, 1744.9, 53.495),
    ("vllm", "llama3_70b", "fp8", 8, 1024, 1024, 64, 184.8, 15.455),
    ("vllm", "llama3_70b", "fp8", 8, 1024, 8192, 64, 176.2, 16.489),
    ("vllm", "llama3_70b", "fp8", 8, 8192, 1024, 64, 1150.3, 34.483),
    ("vllm", "qwen3_32b", "bf16", 2, 1024, 128, 8, 154.2, 18.037),
    ("vllm", "qwen3_32b", "bf16", 2, 1024, 1024, 8, 154.3, 15.900),
    ("vllm", "qwen3_32b", "bf16", 2, 4096, 512, 8, 738.9, 19.145),
    ("vllm", "qwen3_32b", "bf16", 2, 4096, 1024, 16, 840.3, 21.878),
    ("vllm", "qwen3_32b", "bf16", 4, 1024, 128, 16, 149.4, 14.347),
    ("vllm", "qwen3_32b", "bf16", 4, 4096, 128, 32, 645.2, 43.833),
    ("vllm", "qwen3_32b", "bf16", 4, 4096, 1024, 32, 574.3, 18.723),
    ("vllm", "qwen3_32b", "bf16", 8, 1024, 1024, 64, 180.3, 13.278),
    ("vllm", "qwen3_32b", "bf16", 8, 4096, 512, 64, 583.2, 23.530),
    ("vllm", "qwen3_32b", "bf16", 8, 4096, 1024, 128, 889.4, 30.783),
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

LIBRARIES = ("tensorrt-llm", "vllm", "sglang")


@cache
def served(library: str, model: str, weights: str, tp: int) -> Served:
    kv = "fp8" if model == "llama3_70b" else "bf16"
    return Served(with_library("h100", library), load_llm(model), Formats(weights, kv), tp)


@pytest.mark.parametrize("library", LIBRARIES)
def test_time_per_output_token(library: str) -> None:
    rows = [row for row in PUBLISHED if row[0] == library]
    predicted, measured = [], []
    for _, model, weights, tp, tokens_in, tokens_out, concurrency, _, tpot in rows:
        point = served(library, model, weights, tp).at(concurrency, tokens_in, tokens_out)
        predicted.append(point.tpot_s * 1e3)
        measured.append(tpot)
    errors = np.array(predicted) / np.array(measured) - 1
    assert np.abs(errors).mean() < 0.11
    assert np.abs(errors).max() < 0.3
    ranks = [np.argsort(np.argsort(values)) for values in (predicted, measured)]
    assert np.corrcoef(*ranks)[0, 1] > 0.95


def test_time_to_the_first_token_with_few_requests() -> None:
    """vLLM with 4 requests: TTFT 121 ms."""
    point = served("vllm", "llama3_70b", "fp8", 2).at(4, 1024, 1024)
    assert point.ttft_s == pytest.approx(0.1213, rel=0.1)


@pytest.mark.parametrize("model,tp,tokens_in,tokens_out,rate", OFFLINE)
def test_offline(model: str, tp: int, tokens_in: int, tokens_out: int, rate: float) -> None:
    best = Served(with_library("h100"), load_llm(model), Formats("fp8", "fp8"), tp).offline(tokens_in, tokens_out)
    assert best.tokens_per_s / tp == pytest.approx(rate, rel=0.15)
    assert best.tokens == pytest.approx(best.sequences * (1 + (tokens_in - 1) / tokens_out), abs=1)
    assert best.tokens_per_s == pytest.approx(best.sequences / best.step_s)
