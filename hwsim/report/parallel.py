"""Terminal output and data of a training step on many devices, and of splits side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console

from hwsim.parallel import ClusterStep, SplitRow
from hwsim.report.quantity import energy
from hwsim.report.terminal import Column, heading, print_columns, wrapped
from hwsim.report.training import print_layers, step_table_rows, step_title
from hwsim.units import format_count, format_si, format_size

__all__ = [
    "cluster_step_data",
    "cluster_step_lines",
    "cluster_step_title",
    "print_cluster_step",
    "print_splits",
    "splits_data",
]


def print_cluster_step(
    step: ClusterStep, console: Console, fold: bool = True, schedule: tuple[int, float] | None = None
) -> None:
    """Print a step: the layers as one device computes its share of a batch, then what the devices exchange."""
    heading(console, f"{cluster_step_title(step)}\neach device, a batch of {step.batch:,}")
    print_layers(step.one, console, fold)
    console.print()
    for line in (*cluster_step_lines(step, schedule), *map(str, step.messages)):
        wrapped(console, line)


def cluster_step_title(step: ClusterStep) -> str:
    """What is trained on what, and how it is split."""
    return step_title(step.one).replace(f" on {step.one.machine}, ", f" on {step.cluster}, {step.parallel}, ", 1)


def _time(seconds: float) -> str:
    return format_si(seconds, "s", 3)


def cluster_step_lines(step: ClusterStep, schedule: tuple[int, float] | None = None) -> list[str]:
    """The totals as a user reads them."""
    whole = step.step_s
    idle = step.bubble * step.compute_s if len(step.stages) > 1 else 0.0
    parts = {
        "computation": step.compute_s - step.inner_s / len(step.stages) - idle,
        "exchange of maps": step.inner_s / len(step.stages),
        "bubble and transfers": idle,
        "gradients": step.exposed_s,
        "update": step.update_s,
        "waiting for the slowest": step.waiting_s,
    }
    shares = ", ".join(f"{name} {seconds / whole:.1%}" for name, seconds in parts.items() if seconds > 1e-4 * whole)
    devices = format_count(step.devices, "device")
    lines = [
        f"step {format_si(whole, 's', 4)} ({shares}): {step.samples:,} samples, {step.samples_per_s:,.4g} samples/s",
        f"{devices}: {step.speedup:,.4g} times one device ({step.efficiency:.1%})",
    ]
    if step.buckets:
        size = sum(bucket.size_bytes for bucket in step.buckets)
        how = ", ".join(dict.fromkeys(_way(way.name, way.links, way.rings) for way in step.ways))
        whose = "" if len(step.stages) == 1 else " of one device of the last stage to end"
        lines.append(
            f"gradients{whose}: {format_size(round(size))} in {format_count(len(step.buckets), 'bucket')} ({how}), "
            f"{_time(step.communication_s)}, of which {_time(step.exposed_s)} exposed"
        )
    if len(step.stages) > 1:
        times = ", ".join(_time(stage.forward_s + stage.backward_s) for stage in step.stages[:8])
        more = ", ..." if len(step.stages) > 8 else ""
        lines.append(
            f"pipeline: {step.micro:,} micro-batches through "
            f"{format_count(len(step.stages), 'stage')} of {times}{more}; stages wait {step.bubble:.1%} of the time"
        )
    moved = {name: format_size(round(size)) for name, size in step.link_bytes.items() if size}
    if moved:
        lines.append("all links together: " + ", ".join(f"{name} {size}" for name, size in moved.items()))
    power = "unknown" if math.isnan(step.power_w) else format_si(step.power_w, "W")
    lines += [f"energy {energy(step.energy_pj)} a step, of all devices; power {power}"]
    lines.append(f"{'each device' if len(step.stages) == 1 else 'the fullest device'}: {step.memory.message()}")
    if schedule is not None:
        samples, epochs = schedule
        hours, kwh = step.schedule(samples, epochs)
        cost = "unknown energy" if math.isnan(kwh) else f"{kwh:,.4g} kWh"
        lines.append(f"{epochs:g} epochs of {samples:,} samples: {hours:,.4g} h, {cost}")
    return lines


def _way(name: str, links: str, rings: int) -> str:
    if name == "ring":
        return f"{format_count(rings, 'ring')} over {links}"
    if name == "server":
        return format_count(rings, "parameter server")
    return f"{name} over {links}".replace("in_switch", "summed in the switch")


def cluster_step_data(step: ClusterStep, schedule: tuple[int, float] | None = None) -> dict[str, Any]:
    """Everything as plain data."""
    data: dict[str, Any] = {
        "cluster": step.cluster,
        "workload": step.workload,
        "device": step.one.machine,
        "batch": step.batch,
        "parallel": step.parallel.model_dump() | {"bucket": float(step.parallel.bucket)},
        "recipe": step.recipe.model_dump(),
        "devices": step.devices,
        "samples": step.samples,
        "step_s": step.step_s,
        "samples_per_s": step.samples_per_s,
        "compute_s": step.compute_s,
        "inner_s": step.inner_s,
        "bubble": step.bubble,
        "communication_s": step.communication_s,
        "exposed_s": step.exposed_s,
        "update_s": step.update_s,
        "waiting_s": step.waiting_s,
        "speedup": step.speedup,
        "efficiency": step.efficiency,
        "link_bytes": step.link_bytes,
        "energy_pj": None if math.isnan(step.energy_pj) else step.energy_pj,
        "power_w": None if math.isnan(step.power_w) else step.power_w,
        "memory": {**asdict(step.memory), "need_bytes": step.memory_bytes, "fits": step.fits},
        "buckets": [asdict(bucket) for bucket in step.buckets],
        "stages": [
            {
                "first": step.layers[stage.layers.start].name if len(stage.layers) else None,
                "layers": len(stage.layers),
                "forward_s": stage.forward_s,
                "backward_s": stage.backward_s,
                "sent_bytes": stage.sent_bytes,
                "memory_bytes": stage.memory.need_bytes,
            }
            for stage in step.stages
        ],
        "layers": step_table_rows(step.one),
        "messages": [message.to_dict() for message in (*step.messages, step.memory.message())],
    }
    if schedule is not None:
        hours, kwh = step.schedule(*schedule)
        data["schedule"] = {
            "samples": schedule[0], "epochs": schedule[1], "hours": hours, "kwh": None if math.isnan(kwh) else kwh,
        }  # fmt: skip
    return data


def _megabytes(size: float | None) -> str:
    return "" if size is None else f"{size / 1e6:,.0f} MB"


def print_splits(title: str, rows: Sequence[SplitRow], console: Console) -> None:
    """Print splits side by side: bytes that they move in a step, time, memory of the fullest device."""
    heading(console, title)
    steps = [row.step for row in rows]
    columns = [Column("split", [row.name for row in rows], least=12)]
    if any(row.counted for row in rows):
        columns.append(Column("counted", [_megabytes(row.counted_bytes) for row in rows], right=True))
    columns += [
        Column("moved", [_megabytes(None if step is None else step.moved_bytes) for step in steps], right=True),
        Column("step", ["-" if step is None else _time(step.step_s) for step in steps], right=True),
        Column("samples/s", ["" if step is None else f"{step.samples_per_s:,.4g}" for step in steps], right=True),
        Column("speedup", ["" if step is None else f"{step.speedup:,.3g}" for step in steps], right=True),
        Column("memory", ["" if step is None else format_size(step.memory_bytes) for step in steps], right=True),
        Column("fits", ["" if step is None else "yes" if step.fits else "no" for step in steps]),
    ]
    print_columns(console, columns)
    console.print()
    if any(row.counted for row in rows):
        wrapped(
            console,
            "counted: by shapes, of weights alone (data), maps at the cuts (layers: the smallest), outputs (channels), "
            "borders and inputs of products (maps); moved: also biases, maps beside a cut, gradients of shared weights",
        )
    for row in rows:
        if row.reason:
            wrapped(console, f"{row.name}: {row.reason}")
    for note in dict.fromkeys(str(note) for step in steps if step is not None for note in step.messages):
        wrapped(console, note)


def splits_data(rows: Sequence[SplitRow]) -> list[dict[str, Any]]:
    """Splits as plain data."""
    return [row.to_dict() for row in rows]
