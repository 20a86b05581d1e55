"""Accuracy of a machine's model against published measurements."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hwsim.report.html.page import Cell, Page
from hwsim.report.published import Measurements, Prediction

if TYPE_CHECKING:
    from hwsim.report.result import RunResult

__all__ = ["add_accuracy", "error_classes"]


def error_classes(predictions: Sequence[Prediction]) -> dict[str, tuple[int, float, float]]:
    """Rows, mean and worst relative error of the predictions of each quantity."""
    errors: dict[str, list[float]] = {}
    for row in predictions:
        errors.setdefault(row.column, []).append(row.error)
    return {
        column: (len(values), math.fsum(map(abs, values)) / len(values), max(values, key=abs))
        for column, values in errors.items()
    }


def add_accuracy(
    page: Page, report: RunResult, measurements: Measurements | None, predictions: Sequence[Prediction]
) -> None:
    """Errors by quantity, and each published quantity with its prediction."""
    page.section("Accuracy")
    if measurements is None:
        page.text(f"There is no published measurement for {report.machine.name}, so its model is not validated.")
        return
    if not predictions:
        page.text(f"'hwsim validate {report.machine.name}' compares predictions with published measurements.")
        page.text(measurements.source, "soft")
        return
    page.text(
        f"{report.machine.name} as its file describes it, compared with {len(predictions)} published quantities. They "
        "include rows that constants were fitted on, so these are not errors of prediction alone."
    )
    page.text(measurements.source, "soft")
    if _has_changes(report):
        page.text(
            "This run overrides keys of the machine (--set). The errors below are of the default machine.", "soft"
        )
    rows = [
        [
            Cell(column, css="k"),
            Cell(str(n), n),
            Cell(f"{mean:.1%}", mean),
            Cell(f"{worst:+.1%}", worst),
        ]
        for column, (n, mean, worst) in error_classes(predictions).items()
    ]
    page.table(["quantity", "rows", "mean error", "worst"], rows)
    here = [row for row in predictions if row.workload.split(",")[0] == report.workload.name]
    each = [
        [
            Cell(c.layer, css="k"),
            Cell(c.column, css="k"),
            Cell(c.shown(c.predicted), c.predicted),
            Cell(c.shown(c.published), c.published),
            Cell(f"{c.error:+.1%}", c.error),
            Cell(c.workload, css="k"),
        ]
        for c in (here or predictions)
    ]
    what = f"of {report.workload.name}" if here else "of all workloads (there is none for this one)"
    page.table(["layer", "quantity", "predicted", "published", "error", "run"], each, fold=f"Each row {what}")


def _has_changes(report: RunResult) -> bool:
    """Whether keys of the machine were changed for this run."""
    return any(str(mark).startswith("--set") for mark in report.machine.document.marks.values())
