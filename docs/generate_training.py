"""What docs/training.md shows: measured training rates and backward convolutions beside the model."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

import hwsim
from hwsim.training import Step, TrainingRecipe, input_gradient, training_step, weight_gradient

ROOT = Path(__file__).parent.parent
DATA = ROOT / "tests" / "data" / "training"
MACHINES = {
    "V100-SXM2": "v100", "T4": "t4", "P100-PCIe": "p100", "GTX1080Ti": "gtx1080ti", "M40": "m40",
    "TitanX-Maxwell": "titan_x",
}  # fmt: skip
GRADIENTS = {"conv_bwd_inputs": "inputs", "conv_bwd_params": "weights"}


@cache
def step(machine: str, changes: str, network: str, batch: int, recipe: TrainingRecipe) -> Step:
    """A step; several rows are of one."""
    pairs = dict(pair.split("=", 1) for pair in changes.split("; ") if pair)
    return training_step(hwsim.load_machine(machine, set=pairs), network, batch, recipe)


def rates(rows: pd.DataFrame) -> np.ndarray:
    """Predicted over measured samples a second of each row of `one_gpu.csv`."""
    ratios = []
    for row in rows.fillna("").itertuples():
        recipe = TrainingRecipe(
            precision=row.precision, optimizer=row.optimizer, fusion=row.fusion, layout=row.layout,
            accumulate=int(row.accumulate),
        )  # fmt: skip
        own = step(row.machine, row.set, row.network, int(row.batch), recipe)
        ratios.append(own.samples_per_s / row.samples_per_s)
    return np.array(ratios)


def one_gpu() -> pd.DataFrame:
    """Measured rates of one GPU."""
    return pd.read_csv(DATA / "one_gpu.csv")


def backward() -> pd.DataFrame:
    """Measured gradients of convolutions."""
    return pd.read_csv(DATA / "backward_conv.csv")


def gradients(rows: pd.DataFrame) -> np.ndarray:
    """Predicted over measured time of each row of `backward_conv.csv`, all of one device and precision."""
    device, half = rows.device.iloc[0], rows.precision.iloc[0] != "fp32"
    harness = "loop" if device in ("M40", "TitanX-Maxwell") else "deepbench"
    machine = hwsim.load_machine(MACHINES[device], set={"library": "cudnn-7", "harness": harness})
    dtype = "fp16" if half else "fp32"
    ratios = []
    for row in rows.itertuples():
        conv = hwsim.Conv2d(
            "c", c=row.C, h=row.H, w=row.W, k=row.K, r=row.R, s=row.S, stride=(row.stride_h, row.stride_w),
            pad=(row.pad_h, row.pad_w), input=dtype, weight=dtype, output=dtype,
        )  # fmt: skip
        layer = input_gradient(conv) if row.op == "conv_bwd_inputs" else weight_gradient(conv)
        assert layer is not None
        ratios.append(float(machine.plan(layer, row.N).columns["kernel_s"]) * 1e3 / row.time_ms)
    return np.array(ratios)


def errors(ratios: np.ndarray) -> str:
    """Mean and median error, and the geometric mean of predicted over measured."""
    off = np.abs(ratios - 1)
    return f"{off.mean():.1%} | {np.median(off):.1%} | {np.exp(np.log(ratios).mean()):.2f}"


def rates_table() -> str:
    """Errors of training rates by network, precision and machine."""
    rows = one_gpu()
    rows = rows.assign(ratio=rates(rows))
    lines = ["| rows | | mean error | median | predicted / measured |", "|---|---:|---:|---:|---:|"]
    others = rows[~rows.network.str.startswith("alexnet")]
    lines.append(f"| all networks but AlexNet | {len(others)} | {errors(others.ratio.to_numpy())} |")
    for column in ("network", "precision", "machine"):
        for name, part in rows.groupby(column) if column == "network" else others.groupby(column):
            lines.append(f"| `{name}` | {len(part)} | {errors(part.ratio.to_numpy())} |")
    return "\n".join(lines)


def gradients_table() -> str:
    """Errors of gradients of convolutions by device, precision and operand."""
    lines = [
        "| machine | format | gradient of | rows | mean error | median | predicted / measured |",
        "|---|---|---|---:|---:|---:|---:|",
    ]
    for (device, precision, op), part in backward().groupby(["device", "precision", "op"]):
        form = "fp32" if precision == "fp32" else "fp16"
        lines.append(
            f"| `{MACHINES[str(device)]}` | {form} | {GRADIENTS[str(op)]} | {len(part)} | {errors(gradients(part))} |"
        )
    return "\n".join(lines)
