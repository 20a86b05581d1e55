"""Terminal output and tables of a training step: a row a layer, the step, its memory, a schedule."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console

from hwsim.report.folding import folded_places
from hwsim.report.quantity import energy
from hwsim.report.terminal import WIDTH, Column, heading, print_columns, shortened, wrapped
from hwsim.training.step import Step, StepLayer
from hwsim.units import format_si, format_size

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["StepRow", "print_step", "step_data", "step_lines", "step_rows", "step_table", "step_title"]

_NAME = 22
_LONG = 50
"""Layers of a network that is printed with repeated blocks once."""


@dataclass(frozen=True, slots=True)
class StepRow:
    """A layer, or those that repeated blocks have in the same place."""

    name: str
    layers: tuple[StepLayer, ...]

    def mean(self, field: str) -> float:
        """Mean of a quantity of one layer."""
        return math.fsum(getattr(layer, field) for layer in self.layers) / len(self.layers)

    @property
    def seconds(self) -> float:
        """Of all of them."""
        return math.fsum(layer.seconds for layer in self.layers)

    @property
    def bound(self) -> str:
        """What limits most of the time."""
        times: dict[str, float] = {}
        for layer in self.layers:
            times[layer.bound] = times.get(layer.bound, 0.0) + layer.seconds
        return max(times, key=lambda word: times[word])


def step_rows(layers: Sequence[StepLayer], fold: bool = True) -> list[StepRow]:
    """Rows of a table; `fold`: one for all layers that repeated blocks have alike in the same place."""
    if not fold or len(layers) <= _LONG:
        return [StepRow(layer.name, (layer,)) for layer in layers]
    keys = [(layer.op, layer.macs, layer.weight_count, layer.saved_bytes, layer.output_bytes) for layer in layers]
    rows = folded_places([layer.name for layer in layers], keys)
    return [StepRow(name, tuple(layers[places])) for name, places in rows]


def step_title(step: Step) -> str:
    """What is trained on what, and how."""
    r = step.recipe
    how = [
        r.precision,
        r.optimizer,
        *([f"fusion {r.fusion}"] if r.fusion != "none" else []),
        *([r.layout] if r.layout != "nhwc" else []),
    ]
    batch = f"batch {step.batch:,}" + (f" x {r.accumulate:,}" if r.accumulate > 1 else "")
    return f"training {step.workload} on {step.machine}, {batch}: {', '.join(how)}"


def _time(seconds: float) -> str:
    return format_si(seconds, "s") if seconds else "-"


def _bytes(size: float) -> str:
    return format_size(size) if size else "-"


def print_step(step: Step, console: Console, fold: bool = True, schedule: tuple[int, float] | None = None) -> None:
    """Print a step; `schedule`: samples of an epoch, and epochs."""
    heading(console, step_title(step))
    print_layers(step, console, fold)
    console.print()
    for line in (*step_lines(step, schedule), *map(str, step.messages)):
        wrapped(console, line)


def print_layers(step: Step, console: Console, fold: bool = True) -> None:
    """Print a row for each layer that takes time, or for all that repeated blocks have alike."""
    rows = [row for row in step_rows(step.layers, fold) if row.seconds]
    total = math.fsum(row.seconds for row in rows)
    longest = max(row.seconds for row in rows)
    repeated = any(len(row.layers) > 1 for row in rows)
    passes = [row.mean("forward_passes_s") + row.mean("backward_passes_s") for row in rows]
    columns = [
        Column("layer", [shortened(row.name, _NAME) for row in rows]),
        *([Column("", [f"x {len(row.layers)}" if len(row.layers) > 1 else "" for row in rows])] if repeated else []),
        Column("forward", [_time(row.mean("forward_s")) for row in rows], right=True),
        Column("d/input", [_time(row.mean("input_gradient_s")) for row in rows], right=True),
        Column("d/weight", [_time(row.mean("weight_gradient_s")) for row in rows], right=True),
        Column("passes", [_time(seconds) for seconds in passes], right=True),
        Column("saved", [_bytes(row.mean("saved_bytes")) for row in rows], right=True, rank=1),
        Column("gradient", [_bytes(row.mean("gradient_bytes")) for row in rows], right=True, rank=2),
        Column("bound by", [row.bound for row in rows], least=6, most=14),
        Column("share", [f"{row.seconds / total:.0%}" for row in rows], right=True),
    ]
    print_columns(console, columns, [row.seconds / longest for row in rows], WIDTH)
    if repeated:
        wrapped(console, "repeated blocks are printed once: values are means of one layer, the share is that of all")


def step_lines(step: Step, schedule: tuple[int, float] | None = None) -> list[str]:
    """The totals as a user reads them."""
    times, whole = step.recipe.accumulate, step.step_s
    parts = {
        "forward": times * step.forward_s,
        "backward": times * step.backward_s,
        "again": times * step.recompute_s,
        "host": times * step.host_s,
        "update": step.update_s,
    }
    shares = ", ".join(f"{name} {seconds / whole:.1%}" for name, seconds in parts.items() if seconds)
    power = "unknown" if math.isnan(step.power_w) else format_si(step.power_w, "W")
    lines = [
        f"step {format_si(whole, 's', 4)} ({shares}): {step.samples:,} samples, {step.samples_per_s:,.4g} samples/s",
        f"energy {energy(step.energy_pj)} a step; power {power}; {format_si(2 * step.macs / whole, 'FLOPS')}",
        str(step.memory.message()),
    ]
    if schedule is not None:
        samples, epochs = schedule
        hours, kwh = step.schedule(samples, epochs)
        cost = "unknown energy" if math.isnan(kwh) else f"{kwh:,.4g} kWh"
        lines.append(f"{epochs:g} epochs of {samples:,} samples: {hours:,.4g} h, {cost}")
    return lines


def step_data(step: Step, schedule: tuple[int, float] | None = None) -> dict[str, Any]:
    """Everything as plain data."""
    data: dict[str, Any] = {
        "machine": step.machine,
        "workload": step.workload,
        "batch": step.batch,
        "recipe": step.recipe.model_dump(),
        "step_s": step.step_s,
        "samples": step.samples,
        "samples_per_s": step.samples_per_s,
        "forward_s": step.forward_s,
        "backward_s": step.backward_s,
        "recompute_s": step.recompute_s,
        "host_s": step.host_s,
        "update_s": step.update_s,
        "energy_pj": _known(step.energy_pj),
        "power_w": _known(step.power_w),
        "macs": step.macs,
        "weight_count": step.weight_count,
        "gradient_bytes": step.gradient_bytes,
        "memory": {**asdict(step.memory), "need_bytes": step.memory.need_bytes, "fits": step.memory.fits},
        "layers": step_table_rows(step),
        "messages": [message.to_dict() for message in (*step.messages, step.memory.message())],
    }
    if schedule is not None:
        hours, kwh = step.schedule(*schedule)
        data["schedule"] = {"samples": schedule[0], "epochs": schedule[1], "hours": hours, "kwh": _known(kwh)}
    return data


def step_table_rows(step: Step) -> list[Mapping[str, Any]]:
    """One row a layer."""
    return [asdict(layer) | {"energy_pj": _known(layer.energy_pj)} for layer in step.layers]


def step_table(step: Step) -> pd.DataFrame:
    """One row a layer."""
    import pandas as pd

    return pd.DataFrame(step_table_rows(step))


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
