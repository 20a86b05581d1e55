"""The page of a training step: where its time and its memory go, layer by layer."""

from __future__ import annotations

from hwsim.report.html.charts import Panel, stacked_rows
from hwsim.report.html.page import Cell, Page
from hwsim.report.quantity import energy
from hwsim.report.training import step_lines, step_rows, step_title
from hwsim.training.step import Step
from hwsim.units import format_si, format_size

__all__ = ["training_html"]

_PARTS = {
    "forward": "forward_s",
    "d/input": "input_gradient_s",
    "d/weight": "weight_gradient_s",
    "forward passes": "forward_passes_s",
    "backward passes": "backward_passes_s",
}


def training_html(step: Step, schedule: tuple[int, float] | None = None) -> str:
    """The page as one self-contained document."""
    page = Page(step_title(step), f"{step.weight_count:,} parameters, {step.samples:,} samples a step.")
    page.tiles(
        [
            (format_si(step.step_s, "s", 4), "step", f"{step.samples:,} samples"),
            (f"{step.samples_per_s:,.4g}", "samples a second", ""),
            (format_size(step.memory.need_bytes), "memory", "fits" if step.memory.fits else "does not fit"),
            (energy(step.energy_pj), "energy of a step", f"{format_si(step.power_w, 'W')}"),
        ]
    )
    for line in step_lines(step, schedule):
        page.text(line, "soft")
    for message in step.messages:
        page.text(str(message), "soft")
    rows = [row for row in step_rows(step.layers) if row.seconds]
    page.section("Layers")
    series = {name: [row.mean(field) * len(row.layers) for row in rows] for name, field in _PARTS.items()}
    saved = {"saved": [row.mean("saved_bytes") * len(row.layers) for row in rows]}
    panels = [
        Panel("time", series, lambda time: format_si(time, "s")),
        Panel("saved activations", saved, format_size),
    ]
    labels = [f"{row.name} x {len(row.layers)}" if len(row.layers) > 1 else row.name for row in rows]
    text = "Time of each layer in a step by pass, and what it keeps for the backward pass."
    page.chart(stacked_rows("Layers", text, labels, panels), text)
    heads = ["layer", "times", *_PARTS, "saved", "gradient", "parameters", "bound by", "energy"]
    page.table(
        heads,
        [
            [
                Cell(row.name),
                Cell(str(len(row.layers)), len(row.layers)),
                *(Cell(format_si(row.mean(field), "s"), row.mean(field)) for field in _PARTS.values()),
                Cell(format_size(row.mean("saved_bytes")), row.mean("saved_bytes")),
                Cell(format_size(row.mean("gradient_bytes")), row.mean("gradient_bytes")),
                Cell(f"{row.mean('weight_count'):,.0f}", row.mean("weight_count")),
                Cell(row.bound),
                Cell(energy(row.mean("energy_pj")), row.mean("energy_pj")),
            ]
            for row in rows
        ],
    )
    page.section("Memory")
    page.table(["part", "bytes"], [[Cell(name), Cell(format_size(size), size)] for name, size in step.memory.parts])
    return page.document()
