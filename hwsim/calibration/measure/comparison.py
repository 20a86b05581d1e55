"""Comparison of a measured run with its simulation, layer by layer."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwsim.calibration.measure.nodes import GraphNode, cover, groups, parts_of
from hwsim.calibration.measure.runtime import Measurement, Tell, check_request, measure
from hwsim.fields import check
from hwsim.files import csv_cell
from hwsim.message import Message, sentence
from hwsim.units import format_count, format_si

if TYPE_CHECKING:
    from rich.console import Console

    from hwsim.machines import Machine
    from hwsim.report.report import Report
    from hwsim.report.result import LayerResult
    from hwsim.workload import Layer

__all__ = ["MeasuredComparison", "MeasuredRow", "compare_measured", "print_measured"]


@dataclass(frozen=True, slots=True)
class MeasuredRow:
    """Layers and the nodes that ran them: predicted time, minimum and median of the measured times."""

    layers: tuple[str, ...]
    kind: str
    kernels: tuple[str, ...]
    predicted_s: float
    measured_s: float
    median_s: float
    bound: str

    @property
    def error(self) -> float:
        """Predicted over measured, less one."""
        return self.predicted_s / self.measured_s - 1 if self.measured_s else math.inf


@dataclass(frozen=True)
class MeasuredComparison:
    """The result of `compare_measured`: rows, unmatched layers and nodes, totals."""

    machine: str
    workload: str
    measurement: Measurement
    rows: tuple[MeasuredRow, ...]
    only_predicted: tuple[tuple[str, float], ...]
    only_measured: tuple[tuple[str, float], ...]
    predicted_s: float
    notes: tuple[Message, ...]

    @property
    def error(self) -> float:
        """Of the whole run, measured without the profiler."""
        return self.predicted_s / self.measurement.latency_s - 1

    def by_kind(self) -> dict[str, tuple[int, float, float, float]]:
        """Kind of layer -> rows, mean absolute error, their predicted and measured time together."""
        kinds: dict[str, list[MeasuredRow]] = {}
        for row in self.rows:
            kinds.setdefault(row.kind, []).append(row)
        return {
            kind: (
                len(rows),
                statistics.fmean(abs(row.error) for row in rows),
                math.fsum(row.predicted_s for row in rows),
                math.fsum(row.measured_s for row in rows),
            )
            for kind, rows in sorted(kinds.items())
        }

    def document(self) -> dict[str, Any]:
        """Plain numbers for JSON, with their units in the keys."""
        measurement = self.measurement
        return {
            "machine": self.machine,
            "workload": self.workload,
            "model": measurement.model,
            "runtime": measurement.runtime,
            "threads": measurement.threads,
            "batch": measurement.batch,
            "runs": measurement.runs,
            "predicted_s": self.predicted_s,
            "measured_s": measurement.latency_s,
            "measured_median_s": measurement.median_s,
            "measured_nodes_s": measurement.nodes_s,
            "error": self.error,
            "measured_energy_j": measurement.energy_j,
            "layers": [{**asdict(row), "error": row.error} for row in self.rows],
            "by_kind": {
                kind: {"rows": rows, "mean_absolute_error": error, "predicted_s": predicted, "measured_s": measured}
                for kind, (rows, error, predicted, measured) in self.by_kind().items()
            },
            "only_predicted": [{"layer": name, "predicted_s": time} for name, time in self.only_predicted],
            "only_measured": [{"node": name, "measured_s": time} for name, time in self.only_measured],
            "notes": list(map(sentence, self.notes)),
            "messages": [note.to_dict() for note in self.notes],
        }

    def to_csv(self) -> str:
        """One line per row, then what was only predicted or only measured, then the whole run."""
        run, text = self.measurement, io.StringIO()
        lines: list[tuple[object, ...]] = [
            ("machine", "workload", "threads", "batch", "layer", "kind", "ran_as", "predicted_s", "measured_s")
            + ("measured_median_s", "error", "bound")
        ]
        names = self.machine, self.workload, run.threads, run.batch
        for row in self.rows:
            words = " + ".join(row.layers), row.kind, " + ".join(row.kernels)
            lines.append((*names, *words, row.predicted_s, row.measured_s, row.median_s, row.error, row.bound))
        lines += [(*names, name, "not measured", "", time, "", "", "", "") for name, time in self.only_predicted]
        lines += [(*names, "", "not predicted", name, "", time, "", "", "") for name, time in self.only_measured]
        total = self.predicted_s, run.latency_s, run.median_s, self.error
        lines.append((*names, "", "whole run", run.runtime, *total, ""))
        csv.writer(text, lineterminator="\n").writerows(map(csv_cell, line) for line in lines)
        return text.getvalue()


def kind_of(layer: Layer) -> str:
    """Layer kind by which errors are grouped."""
    from hwsim.workload.product import Product

    x = layer.lower(1)
    if not isinstance(x, Product) or x.recurrent or x.spread:
        return "other"
    shape = x.geometry
    if shape is None:
        return "GEMM"
    if shape.groups > 1:
        return "depthwise convolution" if shape.groups == shape.c else "grouped convolution"
    if shape.c <= 4:
        return "convolution of few channels"
    return "pointwise convolution" if shape.taps == 1 else "dense convolution"


KINDS = (
    "dense convolution",
    "pointwise convolution",
    "convolution of few channels",
    "grouped convolution",
    "depthwise convolution",
    "GEMM",
    "other",
)
"""Of several layers compared as one, the first of these is the kind: it dominates the time."""


def comparison_of(
    report: Report,
    measurement: Measurement,
    layer_of: Mapping[str, str],
    notes: Iterable[Message] = (),
    together: Iterable[Sequence[str]] = (),
) -> MeasuredComparison:
    """Compare a prediction with a measurement of the same model.

    `layer_of` maps each file's node to its layer; `together` are names of layers that one node became.
    """
    layers = {layer.name: layer for layer in report.workload}
    results: dict[str, LayerResult] = {result.name: result for result in report.results}
    times = {node.name: node for node in measurement.nodes}
    covering = cover(measurement.optimized or _bare_nodes(measurement), measurement.original)
    rows, only_predicted, only_measured = [], [], []
    # Where no node was timed, no layer is missing.
    parts = parts_of(measurement.original, layer_of)
    for group in groups(layers, times, covering, layer_of, parts, together) if measurement.nodes else ():
        if not group.nodes:
            only_predicted += [(name, results[name].latency_s) for name in group.layers]
        elif not group.layers:
            only_measured += [(name, times[name].least_s) for name in group.nodes]
        else:
            longest = max(group.layers, key=lambda name: results[name].latency_s)
            rows.append(
                MeasuredRow(
                    group.layers,
                    min((kind_of(layers[name]) for name in group.layers), key=KINDS.index),
                    tuple(dict.fromkeys(times[name].op for name in group.nodes)),
                    math.fsum(results[name].latency_s for name in group.layers),
                    math.fsum(times[name].least_s for name in group.nodes),
                    math.fsum(times[name].median_s for name in group.nodes),
                    results[longest].bound,
                )
            )
    return MeasuredComparison(
        report.machine.name,
        report.workload.name,
        measurement,
        tuple(rows),
        tuple(only_predicted),
        tuple(only_measured),
        report.summary.latency_s,
        (*notes, *measurement.notes),
    )


def _bare_nodes(measurement: Measurement) -> tuple[GraphNode, ...]:
    """The nodes that ran, where the runtime did not write its graph: their names alone."""
    return tuple(GraphNode(node.name, node.op, (), ()) for node in measurement.nodes)


def with_threads(machine: Machine, threads: int) -> tuple[Machine, list[Message]]:
    """The machine with a number of threads, or a note if its kind has no threads."""
    spec_class = type(machine).spec_class
    if "threads" not in spec_class.model_fields:
        template = "{machine} has no threads setting: it is compared as it is"
        return machine, [Message("measure.no_threads", template, {"machine": machine.name})]
    document = deepcopy(machine.document)
    document.override({"threads": threads})
    return type(machine)(check(spec_class, document), machine.folder, document), []


def compare_measured(
    machine: Machine,
    model: str | Path,
    runtime: str = "onnxruntime",
    threads: int = 1,
    batch: int = 1,
    runs: int | None = None,
    tell: Tell | None = None,
    shapes: Mapping[str, int | Sequence[int]] | None = None,
    device: str = "cpu",
) -> MeasuredComparison:
    """Predict a model on `machine`, run it on this one, and compare the times.

    Parameters
    ----------
    machine : Machine
        Usually what ``hwsim calibrate`` wrote; it is predicted with `threads`.
    model, runtime, threads, batch, runs, tell, shapes, device
        As `measure` takes them.
    """
    from hwsim.simulation import simulate
    from hwsim.workload.onnx import read_model

    check_request(model, runtime, threads, batch, runs, device)
    predicting, notes = with_threads(machine, threads) if device == "cpu" else (machine, [])
    source_model = read_model(model, shape=shapes)
    report = simulate(predicting, source_model.workload, batch=batch)
    run = measure(model, runtime, threads, batch, runs, shapes, tell, device=device)
    layer_of = {
        run.original[place].name: name for place, name in source_model.layers.items() if place < len(run.original)
    }
    composed = [(layer.name, *(part.name for part, _ in layer.sublayers)) for layer in source_model.workload]
    together = [*source_model.rows, *composed]
    return comparison_of(report, run, layer_of, [*source_model.warnings, *notes], together)


def print_measured(comparison: MeasuredComparison, console: Console) -> None:
    """Print the rows, unmatched layers and nodes, errors by kind of layer, and totals."""
    from hwsim.report.terminal import Column, print_columns, print_folded

    def time(seconds: float) -> str:
        return format_si(seconds, "s")

    run = comparison.measurement
    title = f"{comparison.workload} on {comparison.machine}: predicted, and measured with {run.runtime}"
    if comparison.rows:
        rows = comparison.rows
        console.print(f"{title}, {format_count(run.threads, 'thread')}, batch {run.batch}", soft_wrap=True)
        layer = Column("layer", [" + ".join(row.layers) for row in rows], least=12)
        times = [
            Column(name, [time(value) for value in values], True)
            for name, values in (
                ("predicted", [row.predicted_s for row in rows]),
                ("measured", [row.measured_s for row in rows]),
                ("median", [row.median_s for row in rows]),
            )
        ]
        error = Column("error", [f"{row.error:+.1%}" for row in rows], True)
        bound = Column("bound", [row.bound for row in rows])
        ran = Column("ran as", [" + ".join(row.kernels) for row in rows], least=12)
        print_folded(console, layer, [[*times, error], [bound], [ran]])
        console.print()
        kinds = comparison.by_kind()
        print_columns(
            console,
            [
                Column("kind of layer", list(kinds)),
                Column("rows", [str(count) for count, *_ in kinds.values()], True),
                Column("mean error", [f"{mean:.1%}" for _, mean, *_ in kinds.values()], True),
                Column("predicted", [time(predicted) for *_, predicted, _ in kinds.values()], True),
                Column("measured", [time(measured) for *_, measured in kinds.values()], True),
            ],
        )
    for what, names in (
        ("measured, but not predicted", comparison.only_measured),
        ("predicted, but not measured", comparison.only_predicted),
    ):
        if names:
            total = math.fsum(seconds for _, seconds in names)
            names_text = ", ".join(name for name, _ in names[:6]) + (", ..." if len(names) > 6 else "")
            console.print(f"{what}: {len(names)}, {time(total)} together: {names_text}")
    nodes = ""
    if run.nodes:
        nodes = f"; least times of its nodes {time(run.nodes_s)}, error {comparison.predicted_s / run.nodes_s - 1:+.1%}"
    else:
        console.print(f"{comparison.workload} on {comparison.machine}: predicted, and measured with {run.runtime}")
    console.print(
        f"whole run: predicted {time(comparison.predicted_s)}, measured {time(run.latency_s)} "
        f"(median {time(run.median_s)} of {run.runs}), error {comparison.error:+.1%}{nodes}"
    )
    if run.energy_j is not None:
        console.print(
            f"energy of the processor for one run, idle power included: {format_si(run.energy_j, 'J')} (RAPL)"
        )
    for note in comparison.notes:
        console.print(f"note: {sentence(note)}")
