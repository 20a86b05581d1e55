"""What docs/training.md shows of many devices: bytes of splits, whole runs and scaling, in tables."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

import hwsim
from hwsim.machines import Cluster
from hwsim.parallel import ClusterStep, Gpt, Parallel, cluster_step, moved, parallel_of
from hwsim.training import TrainingRecipe
from hwsim.training.recipe import recipe_of
from hwsim.units import format_si

DATA = Path(__file__).parent.parent / "tests" / "data"
IMAGES = 90 * 1_281_167
SPLITS = ("data", "layers", "channels", "maps")


def split_bytes() -> str:
    """Bytes of the splits of some networks over four devices."""
    lines = ["| network, inputs | data | layers | channels | maps |", "|---|---:|---:|---:|---:|"]
    for name, inputs in (("alexnet_torchvision", 256), ("vgg16", 256), ("resnet50_v1_5", 256), ("resnet50_v1_5", 16)):
        rows = [moved(hwsim.load_workload(name), split, 4, inputs) for split in SPLITS]
        sizes = [row.weights_bytes if row.split == "data" else row.activations_bytes for row in rows]
        lines.append(f"| `{name}`, {inputs} | " + " | ".join(f"{size / 1e6:,.0f}" for size in sizes) + " |")
    return "\n".join(lines)


def _step(row: Any, recipe: TrainingRecipe, parallel: Parallel) -> ClusterStep:
    changes: dict[str, object] = {"device": row.device} if isinstance(row.device, str) else {}
    if not pd.isna(getattr(row, "efficiency", float("nan"))):
        changes["links.pcie.efficiency"] = row.efficiency
    machine = hwsim.load_machine(row.cluster, set=changes)
    assert isinstance(machine, Cluster)
    return cluster_step(machine, hwsim.load_workload(row.network), int(row.batch), parallel, recipe)


@cache
def whole_runs() -> pd.DataFrame:
    """Published whole runs with the hours that are predicted for their steps alone."""
    table = pd.read_csv(DATA / "training_runs.csv", comment="#")
    steps = [
        _step(row, TrainingRecipe(precision=row.precision), Parallel(data=int(row.devices)))
        for row in table.itertuples()
    ]
    table["predicted"] = [IMAGES / step.samples_per_s / 3600 for step in steps]
    table["ratio"] = table.hours / table.predicted
    return table


def runs_table() -> str:
    """Whole runs, published and predicted."""
    lines = ["| run | published | predicted | published / predicted | by |", "|---|---:|---:|---:|---|"]
    for row in whole_runs().itertuples():
        hours = [
            format_si(value * 3600, "s", 3) if value < 1 else f"{value:,.3g} h" for value in (row.hours, row.predicted)
        ]
        lines.append(f"| {row.what} | {hours[0]} | {hours[1]} | {row.ratio:.2f} | {row.source} |")
    return "\n".join(lines)


@cache
def scaling() -> pd.DataFrame:
    """Measured scaling with the efficiency that is predicted."""
    table = pd.read_csv(DATA / "scaling.csv", comment="#")
    efficiencies = []
    for row in table.itertuples():
        optimizer = "lamb" if row.network.startswith("bert") else "momentum"
        recipe = TrainingRecipe(precision=row.precision, accumulate=int(row.accumulate), optimizer=optimizer)
        parallel = Parallel(data=int(row.devices), overlap=float(row.overlap))
        efficiencies.append(_step(row, recipe, parallel).efficiency)
    table["predicted"] = efficiencies
    return table


def scaling_table() -> str:
    """Measured and predicted scaling."""
    lines = ["| cluster | network | devices | measured | predicted | by |", "|---|---|---:|---:|---:|---|"]
    lines += [
        f"| `{row.cluster}` | `{row.network}` {row.precision} {row.batch} | {row.devices} | {row.measured:.2f} | "
        f"{row.predicted:.2f} | {row.source} |"
        for row in scaling().itertuples()
    ]
    return "\n".join(lines)


@cache
def megatron() -> pd.DataFrame:
    """Measured iterations of GPT with those that are predicted."""
    table = pd.read_csv(DATA / "megatron.csv", comment="#")
    machine = hwsim.load_machine("dgx_a100")
    assert isinstance(machine, Cluster)
    recipe = recipe_of(
        {"precision": "mixed", "optimizer": "adam", "fusion": "bn_relu", "recompute": True, "host": "57 us"}
    )
    times = []
    for row in table.itertuples():
        model = Gpt(*(int(size) for size in (row.hidden, row.layers, row.heads, row.sequence)))
        ways = {"tensor": row.tensor, "pipeline": row.pipeline, "data": row.data, "micro": row.micro, "overlap": 0.0}
        times.append(cluster_step(machine, model, int(row.batch), parallel_of(ways), recipe).step_s * 1e3)
    table["predicted_ms"] = times
    return table


def megatron_table() -> str:
    """Measured and predicted iterations of GPT."""
    head = "| hidden, layers | tensor, pipeline, data | micro-batches | measured | predicted |\n|---|---|---|---:|---:|"
    lines = [
        f"| {row.hidden:,}, {row.layers} | {row.tensor}, {row.pipeline}, {row.data} | {row.micro} of {row.batch} | "
        f"{row.measured_ms:,.0f} ms | {row.predicted_ms:,.0f} ms |"
        for row in megatron().itertuples()
    ]
    return "\n".join([head, *lines])


def blocks() -> dict[str, str]:
    """Each table by its name."""
    return {"splits": split_bytes(), "runs": runs_table(), "scaling": scaling_table(), "megatron": megatron_table()}
