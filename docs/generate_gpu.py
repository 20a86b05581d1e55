"""What docs/gpu.md shows: measured products and convolutions beside the model, a table and a picture a device.

The measured rows are not part of the project: without the folder of them (`DATA`) the document stays as it is.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

import hwsim

DOCS = Path(__file__).parent
DATA = DOCS.parent.parent / "shared" / "data" / "gpu"
DEEPBENCH = {"library": "cudnn-7", "harness": "deepbench"}
EAGER = {"library": "cudnn-7", "harness": "eager"}
PCIE40 = {"power.board": "250 W", "memories.dram.bandwidth": "1555 GB/s"}
LOOP = {"harness": "loop"}
TITAN = {"clocks.sm": "1597 MHz", "memories.dram.bandwidth": "480 GB/s"}


@dataclass(frozen=True)
class Case:
    """Rows of a file, and the machine that they are predicted with; `left_out` is the error with folds left out."""

    machine: str
    dtype: str
    output: str
    file: str
    device: str
    precision: str
    op: str = ""
    set: dict[str, str] = field(default_factory=dict)
    fitted: bool = True
    left_out: str = ""
    weights: str = "dense"

    @property
    def label(self) -> str:
        """What is set."""
        return ", ".join(f"{key}={value}" for key, value in self.set.items())


CASES = [
    Case("a100", "bf16", "bf16", "gemm_a100_h100", "A100-SXM4-80GB", "bf16", left_out="7.3"),
    Case(
        "a100",
        "int8",
        "bf16",
        "gemm_a100_h100",
        "A100-SXM4-80GB",
        "int8_w8a8",
        set={"library": "trtllm-w8a8"},
        left_out="7.4",
    ),
    Case("h100", "bf16", "bf16", "gemm_a100_h100", "H100-SXM5-80GB", "bf16", left_out="5.2"),
    Case("h100", "fp8", "bf16", "gemm_a100_h100", "H100-SXM5-80GB", "fp8", set={"library": "vllm-fp8"}, left_out="7.5"),
    Case("t4", "fp16", "fp16", "deepbench_gemm", "T4", "fp16_tc_fp32acc", "gemm", DEEPBENCH, left_out="8.7"),
    Case("v100", "fp16", "fp16", "deepbench_gemm", "V100-SXM2", "fp16_tc_fp32acc", "gemm", DEEPBENCH, left_out="9.4"),
    Case("t4", "int8", "int32", "deepbench_gemm", "T4", "int8", "gemm", DEEPBENCH, left_out="3.3"),
    Case("gtx1080ti", "int8", "int32", "deepbench_gemm", "GTX1080Ti", "int8", "gemm", DEEPBENCH, left_out="8.4"),
    Case("v100", "fp32", "fp32", "deepbench_gemm", "V100-SXM2", "fp32", "gemm", DEEPBENCH, left_out="5.5"),
    Case("p100", "fp32", "fp32", "deepbench_gemm", "P100-PCIe", "fp32", "gemm", DEEPBENCH, left_out="11"),
    Case("t4", "fp32", "fp32", "deepbench_gemm", "T4", "fp32", "gemm", DEEPBENCH, left_out="11"),
    Case("gtx1080ti", "fp32", "fp32", "deepbench_gemm", "GTX1080Ti", "fp32", "gemm", DEEPBENCH, False),
    Case(
        "gtx1080ti", "int8", "int32", "deepbench_gemm", "TitanX-Pascal", "int8", "gemm", {**DEEPBENCH, **TITAN}, False
    ),
    Case("a100", "fp16", "fp16", "llmcompass_gemm", "A100-SXM4-80GB", "fp16", "gemm", {"launch": "24 us"}, False),
    Case("a100_pcie", "bf16", "bf16", "gemm_2_4", "A100", "BF16", set=LOOP, left_out="6.7"),
    Case("a100_pcie", "fp16", "fp16", "gemm_2_4", "A100", "FP16", set=LOOP, fitted=False),
    Case("a100_pcie", "int8", "int32", "gemm_2_4", "A100", "INT8", set=LOOP, left_out="7.8"),
    Case("h100_pcie", "bf16", "bf16", "gemm_2_4", "H100", "BF16", set=LOOP, left_out="9.2"),
    Case("h100_pcie", "fp8", "bf16", "gemm_2_4", "H100", "FP8", set=LOOP),
    Case("h100_pcie", "int8", "int32", "gemm_2_4", "H100", "INT8", set=LOOP, left_out="16"),
    Case("rtx_4090", "bf16", "bf16", "gemm_2_4", "RTX4090", "BF16", set=LOOP, left_out="8.1"),
    Case("rtx_4090", "fp16", "fp16", "gemm_2_4", "RTX4090", "FP16", set=LOOP, fitted=False),
    Case("rtx_4090", "fp8", "bf16", "gemm_2_4", "RTX4090", "FP8", set=LOOP, left_out="8.4"),
    Case("rtx_4090", "int8", "int32", "gemm_2_4", "RTX4090", "INT8", set=LOOP, left_out="8.2"),
    Case("a100_pcie", "bf16", "bf16", "gemm_2_4", "A100", "BF16", set=LOOP, left_out="6.5", weights="2:4"),
    Case("a100_pcie", "fp16", "fp16", "gemm_2_4", "A100", "FP16", set=LOOP, fitted=False, weights="2:4"),
    Case("a100_pcie", "int8", "bf16", "gemm_2_4", "A100", "INT8", set=LOOP, left_out="4.2", weights="2:4"),
    Case("h100_pcie", "bf16", "bf16", "gemm_2_4", "H100", "BF16", set=LOOP, left_out="7.4", weights="2:4"),
    Case("h100_pcie", "fp8", "bf16", "gemm_2_4", "H100", "FP8", set=LOOP, left_out="8.0", weights="2:4"),
    Case("h100_pcie", "int8", "bf16", "gemm_2_4", "H100", "INT8", set=LOOP, left_out="7.9", weights="2:4"),
    Case("rtx_4090", "bf16", "bf16", "gemm_2_4", "RTX4090", "BF16", set=LOOP, left_out="8.1", weights="2:4"),
    Case("rtx_4090", "fp16", "fp16", "gemm_2_4", "RTX4090", "FP16", set=LOOP, fitted=False, weights="2:4"),
    Case("rtx_4090", "fp8", "bf16", "gemm_2_4", "RTX4090", "FP8", set=LOOP, left_out="9.0", weights="2:4"),
    Case("rtx_4090", "int8", "bf16", "gemm_2_4", "RTX4090", "INT8", set=LOOP, left_out="10", weights="2:4"),
    Case(
        "a100",
        "fp32",
        "fp32",
        "neusight_fp32_gemm",
        "NVIDIA A100-PCIE-40GB",
        "fp32_simt",
        "linear",
        {**EAGER, **PCIE40},
        False,
    ),
    Case(
        "a100_pcie",
        "fp32",
        "fp32",
        "neusight_fp32_gemm",
        "NVIDIA A100 80GB PCIe",
        "fp32_simt",
        "linear",
        EAGER,
        False,
    ),
    Case(
        "v100",
        "fp32",
        "fp32",
        "neusight_fp32_gemm",
        "Tesla V100-PCIE-32GB",
        "fp32_simt",
        "linear",
        {**EAGER, "clocks.sm": "1380 MHz", "power.board": "250 W"},
        False,
    ),
    Case("t4", "fp32", "fp32", "neusight_fp32_gemm", "Tesla T4", "fp32_simt", "linear", EAGER, False),
    Case("p4", "fp32", "fp32", "neusight_fp32_gemm", "Tesla P4", "fp32_simt", "linear", EAGER, False),
    Case("p100", "fp32", "fp32", "neusight_fp32_gemm", "Tesla P100-PCIE-16GB", "fp32_simt", "linear", EAGER, False),
    Case("t4", "fp16", "fp16", "deepbench_conv", "T4", "fp16_tc_fp32acc", "conv_fwd", DEEPBENCH, left_out="13"),
    Case(
        "v100", "fp16", "fp16", "deepbench_conv", "V100-SXM2", "fp16_tc_fp32acc", "conv_fwd", DEEPBENCH, left_out="15"
    ),
    Case("t4", "int8", "int8", "deepbench_conv", "T4", "int8", "conv_fwd", DEEPBENCH, left_out="16"),
    Case("gtx1080ti", "int8", "int8", "deepbench_conv", "GTX1080Ti", "int8", "conv_fwd", DEEPBENCH, left_out="9.9"),
    Case(
        "gtx1080ti",
        "int8",
        "int8",
        "deepbench_conv",
        "TitanX-Pascal",
        "int8",
        "conv_fwd",
        {**DEEPBENCH, **TITAN},
        False,
    ),
    Case("v100", "fp32", "fp32", "deepbench_conv", "V100-SXM2", "fp32", "conv_fwd", DEEPBENCH, False),
    Case("p100", "fp32", "fp32", "deepbench_conv", "P100-PCIe", "fp32", "conv_fwd", DEEPBENCH, False),
]


def convolution(row: object, dtype: str, output: str) -> hwsim.Conv2d:
    """A row of DeepBench as a layer of one input."""
    names = {"c": "C", "h": "H", "w": "W", "k": "K", "r": "R", "s": "S"}
    sizes = {name: int(getattr(row, column)) for name, column in names.items()}
    stride, pad = (int(row.stride_h), int(row.stride_w)), (int(row.pad_h), int(row.pad_w))
    return hwsim.Conv2d("c", **sizes, stride=stride, pad=pad, input=dtype, weight=dtype, output=output)


def predicted(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Predicted and measured seconds of each row."""
    if case.file == "gemm_2_4":
        rows = pd.read_csv(DATA.parent / "sparse" / "gemm_2_4.csv", comment="#").rename(columns={"dtype": "precision"})
        rows = rows.assign(latency_ms=(rows.dense_us if case.weights == "dense" else rows.sparse_us) * 1e-3)
    else:
        rows = pd.read_csv(DATA / f"{case.file}.csv", comment="#")
    chosen = (rows.device == case.device) & (rows.precision == case.precision)
    rows = rows[chosen & (rows.op == case.op)] if case.op else rows[chosen]
    machine = hwsim.load_machine(case.machine, set=case.set)
    if case.op == "conv_fwd":
        plans = [machine.plan(convolution(row, case.dtype, case.output), int(row.N)) for row in rows.itertuples()]
        return np.array([plan.columns["kernel_s"] for plan in plans]), rows.time_ms.to_numpy() * 1e-3
    if case.file == "deepbench_gemm":  # column-major: its N are our rows, its A transposed our weights by rows
        turned = hwsim.load_machine(case.machine, set={**case.set, "weights": "rows"})
        plain, other = (m.gemm_times(rows.N, rows.M, rows.K, case.dtype, case.output) for m in (machine, turned))
        return np.where(rows.transA == "T", other, plain), rows.time_ms.to_numpy() * 1e-3
    times = machine.gemm_times(rows.M, rows.N, rows.K, case.dtype, case.output, weight_format=case.weights)
    return times, rows.latency_ms.to_numpy() * 1e-3


@cache
def results() -> list[tuple[Case, np.ndarray, np.ndarray]]:
    """Every case with its predicted and measured seconds."""
    return [(case, *predicted(case)) for case in CASES]


def rank(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rank correlation."""
    return float(pd.Series(a).rank().corr(pd.Series(b).rank()))


def table(found: list[tuple[Case, np.ndarray, np.ndarray]]) -> str:
    """The errors as Markdown."""
    lines = [
        "| rows | machine | set | rows | mean | median | rank | fitted here | mean, folds left out |",
        "|---|---|---|---:|---:|---:|---:|---|---:|",
    ]
    for case, ours, theirs in found:
        error = np.abs(ours / theirs - 1)
        weights = "" if case.weights == "dense" else f", {case.weights} weights"
        what = f"{case.file}: {case.device} {case.precision} {case.op}".rstrip() + weights
        out = f"{case.left_out} %" if case.left_out else ""
        cells = (
            what, f"`{case.machine}`", case.label, str(len(ours)), f"{error.mean():.1%}", f"{np.median(error):.1%}",
            f"{rank(ours, theirs):.3f}", "yes" if case.fitted else "no", out,
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


SINGLE = {"a100": "0.51 ms", "t4": "0.87 to 1.2 ms"}
"""Latencies of ResNet-50 in int8 with batch size 1 in MLPerf Inference v0.5 and v0.7, single stream."""


def single() -> str:
    """Latencies with batch size 1 as Markdown."""
    lines = ["| GPU | predicted | published |", "|---|---:|---:|"]
    network = hwsim.load_workload("resnet50_v1_5")
    for name, published in SINGLE.items():
        seconds = hwsim.simulate(hwsim.load_machine(name), network).summary.latency_s
        lines.append(f"| `{name}` | {1e3 * seconds:.2f} ms | {published} |")
    return "\n".join(lines)


def picture(name: str, found: list[tuple[Case, np.ndarray, np.ndarray]], dots: int = 350) -> str:
    """Predicted against measured of one device as SVG: both axes are logarithms of the time."""
    own = [(case, ours, theirs) for case, ours, theirs in found if case.machine == name]
    times = np.concatenate([np.concatenate(pair[1:]) for pair in own])
    low, high = math.floor(math.log10(times.min())), math.ceil(math.log10(times.max()))
    size, left, top = 320, 62, 14
    scale = size / (high - low)
    colors = ("#0366d6", "#d73a49", "#28a745", "#6f42c1", "#b08800", "#1b7c83", "#6a737d", "#000000")
    unit = {
        -6: "1 us",
        -5: "10 us",
        -4: "100 us",
        -3: "1 ms",
        -2: "10 ms",
        -1: "100 ms",
        0: "1 s",
        1: "10 s",
        -7: "0.1 us",
    }
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + size + 250}" height="{size + 60}" font-family="sans-serif" font-size="11">',
        f'<rect x="{left}" y="{top}" width="{size}" height="{size}" fill="none" stroke="#999"/>',
        f'<path d="M{left} {top + size}L{left + size} {top}" stroke="#999"/>',
    ]
    for power in range(low, high + 1):
        at = (power - low) * scale
        out.append(f'<text x="{left + at:.0f}" y="{top + size + 15}" text-anchor="middle">{unit[power]}</text>')
        out.append(f'<text x="{left - 5}" y="{top + size - at + 4:.0f}" text-anchor="end">{unit[power]}</text>')
    out.append(f'<text x="{left + size / 2}" y="{top + size + 34}" text-anchor="middle">measured</text>')
    out.append(
        f'<text x="12" y="{top + size / 2}" transform="rotate(-90 12 {top + size / 2})" text-anchor="middle">predicted</text>'
    )
    for i, (case, ours, theirs) in enumerate(own):
        some = np.linspace(0, len(ours) - 1, min(dots, len(ours))).astype(int)
        points = zip(np.log10(theirs[some]), np.log10(ours[some]), strict=True)
        path = "".join(f"M{left + (x - low) * scale:.0f} {top + size - (y - low) * scale:.0f}h0" for x, y in points)
        out.append(f'<path d="{path}" stroke="{colors[i]}" stroke-width="3" stroke-linecap="round" opacity="0.5"/>')
        weights = "" if case.weights == "dense" else f" {case.weights}"
        label = f"{case.precision} {case.op or 'gemm'}{weights}" + ("" if case.fitted else ", not fitted")
        error = np.abs(ours / theirs - 1).mean()
        out.append(
            f'<text x="{left + size + 10}" y="{top + 14 + 16 * i}" fill="{colors[i]}">{label}: {error:.1%}</text>'
        )
    return "\n".join([*out, "</svg>", ""])


def main() -> None:
    """Write the tables and the pictures, those of measured rows if these are there."""
    path = DOCS / "gpu.md"
    between = re.compile(r"(<!-- single: begin -->\n).*?(<!-- single: end -->)", re.DOTALL)
    text = between.sub(lambda m: f"{m[1]}{single()}\n{m[2]}", path.read_text(encoding="utf-8"))
    path.write_text(text, encoding="utf-8")
    if not DATA.is_dir():
        print(f"{DATA} is absent: docs/gpu.md stays as it is")
        return
    found = results()
    between = re.compile(r"(<!-- gpu: begin -->\n).*?(<!-- gpu: end -->)", re.DOTALL)
    text = between.sub(lambda m: f"{m[1]}{table(found)}\n{m[2]}", path.read_text(encoding="utf-8"))
    path.write_text(text, encoding="utf-8")
    for name in dict.fromkeys(case.machine for case in CASES):
        (DOCS / f"gpu_{name}.svg").write_text(picture(name, found), encoding="utf-8")


if __name__ == "__main__":
    main()
