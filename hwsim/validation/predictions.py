"""Predictions of published measurements: every published run is simulated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hwsim.machines import Machine, load_machine, machine_folder, machine_names
from hwsim.report.published import Measurements, Prediction, measurements_of
from hwsim.report.report import Report
from hwsim.simulation import simulate
from hwsim.workload import load_workload

__all__ = ["compared", "comparisons", "markdown_tables", "of_machine"]


Compared = tuple[Report, list[Prediction]]
"""A published run as it is simulated, and its quantities with their predictions."""


def compared(measurements: Measurements, machine: str | Path, workload: str | None = None) -> Iterator[Compared]:
    """Every published run (of one workload) on the machine of that name or file."""
    for run in measurements.spec.runs:
        if workload in (None, run.workload):
            plan = load_machine(machine, set=run.set).plan(load_workload(run.workload), run.batch)
            plan = plan.select(run.only) if run.only else plan
            report = simulate(plan)
            yield report, list(measurements.compare(run, report))


def _predictions(measurements: Measurements, machine: str | Path, workload: str | None = None) -> list[Prediction]:
    return [row for _, rows in compared(measurements, machine, workload) for row in rows]


def of_machine(machine: Machine) -> list[Prediction]:
    """Every published quantity of a machine with the prediction of its file, without the overrides of a run."""
    measurements = measurements_of(machine.name, machine.folder)
    return [] if measurements is None else _predictions(measurements, machine.document.name)


def comparisons(machine: str | None = None, workload: str | None = None) -> dict[str, list[Prediction]]:
    """Every published quantity of the built-in machines (or of one) with its prediction, by machine.

    Machines without a published quantity are left out.
    """
    names = machine_names() if machine is None else [machine]
    published = {name: measurements for name in names if (measurements := measurements_of(name, machine_folder()))}
    rows = {name: _predictions(measurements, name, workload) for name, measurements in published.items()}
    return {name: predictions for name, predictions in rows.items() if predictions}


def markdown_tables(predictions: dict[str, list[Prediction]]) -> str:
    """The predictions as Markdown, a table for each machine."""
    lines = []
    for name, rows in predictions.items():
        lines += [
            f"### {name}",
            "",
            "| workload | layer | quantity | predicted | published | error |",
            "|---|---|---|---:|---:|---:|",
        ]
        for c in rows:
            cells = (
                c.workload,
                c.layer,
                f"`{c.column}`",
                c.shown(c.predicted),
                c.shown(c.published),
                f"{c.error:+.1%}",
            )
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)
