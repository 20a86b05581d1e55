"""Files of language models: a config.json or a YAML of sizes, changed, served by a machine of each kind."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from random import Random

from hwsim.serving import Served
from hwsim.serving.table import formats_on, with_library
from hwsim.workload.loader import library
from hwsim.workload.transformer import load_llm
from tests.fuzz.case import BrokenPromiseError, Case, check_numbers, check_report
from tests.fuzz.mutation import encoded, mutated

LLAMA = {
    "model_type": "llama", "hidden_size": 96, "intermediate_size": 257, "num_attention_heads": 6, "num_hidden_layers": 3,
    "num_key_value_heads": 2, "vocab_size": 1009, "hidden_act": "silu", "max_position_embeddings": 8192,
    "tie_word_embeddings": False, "attention_bias": False, "quantization_config": None, "_name_or_path": "a/b",
}  # fmt: skip
GPT2 = {"model_type": "gpt2", "n_embd": 96, "n_layer": 2, "n_head": 6, "vocab_size": 1009, "n_positions": 1024}
TYPES = ("gemma", "gemma2", "mistral", "phi", "phi3", "qwen2", "qwen3")
WINDOW = {"sliding_window": 31, "use_sliding_window": True, "head_dim": 16}
MACHINES = ("h100", "a100", "t4", "xeon_8280", "epyc_zen5", "eyeriss_v1", "systolic_ws", "stm32h7a3", "scnn")


@cache
def texts() -> dict[str, str]:
    """Models of each form and type."""
    configs = {"llama": LLAMA, "gpt2": GPT2} | {kind: LLAMA | WINDOW | {"model_type": kind} for kind in TYPES}
    own = {f"{name}.json": json.dumps(config, indent=1) for name, config in configs.items()}
    folder = library("workloads") / "llm"
    return own | {path.name: path.read_text("utf-8") for path in sorted(folder.glob("*.yaml"))}


def case(draw: Random, folder: Path) -> Case:
    """A changed model, in some formats, on one machine."""
    name = draw.choice(list(texts()))
    path = folder / name
    machine = draw.choice(MACHINES)
    formats = [draw.choice(("", "", *names)) for names in (("fp8", "int8", "int4", "w8a8", "fp32"), ("fp8", "int8"))]
    sizes = [draw.choice((1, 2, 31, 127, 1024)) for _ in range(3)]
    tp, whole = draw.choice((1, 1, 2, 3)), draw.random() < 0.02

    def action() -> None:
        device = with_library(machine)
        served = Served(device, load_llm(path), formats_on(device, *formats), tp)
        check_report(served.decode(sizes[0], sizes[1]), whole)
        point = served.at(*sizes)
        check_numbers([point.ttft_s, point.tpot_s, point.latency_s, point.tokens_per_s, point.power_w])
        if min(point.ttft_s, point.tpot_s, point.tokens_per_s) <= 0:
            raise BrokenPromiseError("a time or rate is not positive")

    return Case(action, {name: encoded(mutated(draw, texts()[name], list(texts().values())))}, f"{name} on {machine}")
