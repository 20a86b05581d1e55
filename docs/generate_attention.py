"""Write the table of docs/gpu.md with the errors of attention kernels.

The measured rows are not part of the project: without the folder of them (`DATA`) the document stays as it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

import hwsim

DOCS = Path(__file__).resolve().parent
DATA = DOCS.parent.parent / "shared" / "data" / "llm"
FRAMEWORKS = {"trtllm": "tensorrt-llm", "vllm": "vllm", "sglang": "sglang"}
GPUS = {"A100-SXM-80GB": "a100", "H100-SXM-80GB": "h100"}
LEFT_OUT = {
    ("a100", "tensorrt-llm", "prefill"): 6.0,
    ("a100", "vllm", "prefill"): 7.2,
    ("a100", "vllm", "decode"): 10.2,
    ("a100", "sglang", "prefill"): 4.8,
    ("a100", "sglang", "decode"): 6.9,
    ("h100", "tensorrt-llm", "prefill"): 8.5,
    ("h100", "tensorrt-llm", "decode"): 12.4,
    ("h100", "vllm", "prefill"): 8.5,
    ("h100", "vllm", "decode"): 10.1,
    ("h100", "sglang", "prefill"): 11.6,
    ("h100", "sglang", "decode"): 9.1,
}
"""Mean errors in percent, each part of the rows against a fit to the other four; parts by heads and size of a head."""


@dataclass(frozen=True)
class Attended:
    """Predicted and measured seconds of one library on one GPU in one phase, and the format of each row's queries."""

    machine: str
    library: str
    phase: str
    predicted: np.ndarray
    measured: np.ndarray
    formats: np.ndarray


@cache
def results() -> list[Attended]:
    """Every library on every GPU that it was fitted on."""
    found = []
    for phase, length in (("prefill", "seq"), ("decode", "context")):
        rows = pd.read_csv(DATA / f"attention_{phase}.csv")
        rows = rows.replace({"q_dtype": {"bfloat16": "bf16"}, "kv_dtype": {"bfloat16": "bf16"}})
        library = rows.framework.str.rpartition("-")[0].map(FRAMEWORKS)
        for (device, name), some in rows.groupby([rows.device, library]):
            if device not in GPUS:
                continue
            machine = hwsim.load_machine(GPUS[device], set={"library": name})
            times = np.empty(len(some))
            for (dtype, cached), places in some.reset_index(drop=True).groupby(["q_dtype", "kv_dtype"]).groups.items():
                part = some.iloc[places]
                queries = part[length] if phase == "prefill" else 1
                times[places] = machine.attention_times(
                    part.batch, queries, part[length], part.heads, part.kv_heads, part.head_dim, dtype, cached,
                    window=part.window,
                )  # fmt: skip
            measured = some.latency_us.to_numpy() * 1e-6
            found.append(Attended(GPUS[device], name, phase, times, measured, some.q_dtype.to_numpy()))
    order = list(LEFT_OUT)
    return sorted(found, key=lambda one: order.index((one.machine, one.library, one.phase)))


def table() -> str:
    """The errors as Markdown."""
    lines = [
        "| GPU | library | phase | rows | mean | median | bias | rank | held back |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for one in results():
        error = one.predicted / one.measured - 1
        rank = pd.Series(one.predicted).rank().corr(pd.Series(one.measured).rank())
        cells = (
            f"`{one.machine}`", f"`{one.library}`", one.phase, len(error), f"{np.abs(error).mean():.1%}",
            f"{np.median(np.abs(error)):.1%}", f"{error.mean():+.1%}", f"{rank:.3f}",
            f"{LEFT_OUT[one.machine, one.library, one.phase]} %",
        )  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main() -> None:
    """Write the table, if the measured rows are there."""
    if not DATA.is_dir():
        print(f"{DATA} is absent: the table of attention in docs/gpu.md stays as it is")
        return
    path = DOCS / "gpu.md"
    between = re.compile(r"(<!-- attention: begin -->\n).*?(<!-- attention: end -->)", re.DOTALL)
    text = between.sub(lambda m: f"{m[1]}{table()}\n{m[2]}", path.read_text(encoding="utf-8"))
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
