"""The page of a training step: where its time and its memory go, layer by layer."""

from __future__ import annotations

from hwsim.parallel import ClusterStep
from hwsim.report.html.charts import Panel, stacked_rows
from hwsim.report.html.page import Cell, Page
from hwsim.report.parallel import cluster_step_lines, cluster_step_title
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


def training_html(step: Step, schedule: tuple[int, float] | None = None, many: ClusterStep | None = None) -> str:
    """The page as one self-contained document; `many`: the step on a cluster, of which `step` is a device's share."""
    whole = many or step
    title = step_title(step) if many is None else cluster_step_title(many)
    page = Page(title, f"{step.weight_count:,} parameters, {whole.samples:,} samples a step.")
    page.tiles(
        [
            (format_si(whole.step_s, "s", 4), "step", f"{whole.samples:,} samples"),
            (f"{whole.samples_per_s:,.4g}", "samples a second", "" if many is None else f"{many.speedup:,.4g} x one"),
            (format_size(whole.memory.need_bytes), "memory", "fits" if whole.memory.fits else "does not fit"),
            (energy(whole.energy_pj), "energy of a step", f"{format_si(whole.power_w, 'W')}"),
        ]
    )
    for line in step_lines(step, schedule) if many is None else cluster_step_lines(many, schedule):
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
    page.table(["part", "bytes"], [[Cell(name), Cell(format_size(size), size)] for name, size in whole.memory.parts])
    return page.document()
