"""Traces of requests, changed, and options of `hwsim.serve` and `hwsim.serve_llm`."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import hwsim
from hwsim.workload.transformer import LlmSpec
from tests.fuzz.case import BrokenPromiseError, Case, check_numbers
from tests.fuzz.mutation import encoded, mutated

TRACES = (
    "arrival_s,in,out\n0,31,7\n0,127,1\n0.5,257,3\n",
    "0\n0.001\n0.002\n0.5\n",
    "arrival_s,who\n0,a\n0,b\n1.5,c\n",
    "0,31,7\n1e-3,31,7\n",
)
MODEL = LlmSpec(
    kind="llm", name="small", source="made", layers=2, hidden=96, heads=6, kv_heads=2, ffn=257, vocabulary=509
)
NETWORK = hwsim.Workload("w", [hwsim.Gemm("g", m=31, n=127, k=257, input="int8", weight="int8")])
NUMBERS = (0, -1, 1, 3, 31, 0.5, 1e-9, 1e9, float("nan"), float("inf"), True, "3", None, 10**400)
OPTIONS = {
    False: (
        "rate_per_s",
        "streams",
        "max_batch",
        "max_wait_s",
        "deadline_s",
        "call_s",
        "copy_s",
        "bound_s",
        "percentile",
    ),
    True: (
        "rate_per_s",
        "concurrency",
        "bound_ttft_s",
        "bound_tpot_s",
        "percentile",
        "input",
        "output",
        "spread",
        "tp",
    ),
}


def case(draw: Random, folder: Path) -> Case:
    """A changed trace or hostile options, of a network or of a language model."""
    model = draw.random() < 0.25
    machine = draw.choice(
        ("h100", "a100", "xeon_8280") if model else ("a100", "xeon_8280", "nucleo_l4r5zi", "systolic_ws")
    )
    words: dict[str, Any] = {draw.choice(OPTIONS[model]): draw.choice(NUMBERS) for _ in range(draw.choice((1, 2, 3)))}
    path = folder / "trace.csv"
    if draw.random() < 0.6:
        words = {name: value for name, value in words.items() if name != "rate_per_s"} | {"trace": path}
    else:
        words["requests" if model else "queries"] = draw.choice((1, 7, 127, 0))

    def action() -> None:
        if model:
            load = hwsim.serve_llm(machine, MODEL, **words)
            check_numbers([load.ttft_s, load.tpot_s, load.tokens_per_s, load.per_s, load.saturation_per_s])
            if (load.log.ends < load.log.firsts).any() or (load.log.firsts <= load.log.arrivals).any():
                raise BrokenPromiseError("a token comes before its request")
            load.to_dict()
            return
        other = hwsim.serve(machine, NETWORK, **words)
        if other.log.completed + other.drops != other.queries:
            raise BrokenPromiseError("a query was lost")
        other.to_dict()

    text = mutated(draw, draw.choice(TRACES), list(TRACES))
    return Case(action, {path.name: encoded(text)}, f"{sorted(words)} on {machine}")
