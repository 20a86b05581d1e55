"""Accuracy of a machine's model against published measurements."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hwsim.report.html.page import Cell, Page
from hwsim.report.published import Comparison, Silicon

if TYPE_CHECKING:
    from hwsim.report.report import Report

__all__ = ["add_trust", "error_classes"]


def error_classes(found: Sequence[Comparison]) -> dict[str, tuple[int, float, float]]:
    """By quantity: rows, mean and worst relative error of a machine's predictions."""
    errors: dict[str, list[float]] = {}
    for row in found:
        errors.setdefault(row.column, []).append(row.error)
    return {
        column: (len(given), math.fsum(map(abs, given)) / len(given), max(given, key=abs))
        for column, given in errors.items()
    }


def add_trust(page: Page, report: Report, silicon: Silicon | None, found: Sequence[Comparison]) -> None:
    page.section("Accuracy")
    if silicon is None or not found:
        page.text(f"There is no published measurement for {report.machine.name}, so its model is not validated.")
        return
    page.text(
        f"{report.machine.name} as its file describes it, compared with {len(found)} published quantities. They "
        "include rows that constants were fitted on, so these are not errors of prediction alone."
    )
    page.text(silicon.source, "soft")
    if _changed(report):
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
        for column, (n, mean, worst) in error_classes(found).items()
    ]
    page.table(["quantity", "rows", "mean error", "worst"], rows)
    here = [row for row in found if row.workload.split(",")[0] == report.workload.name]
    each = [
        [
            Cell(c.layer, css="k"),
            Cell(c.column, css="k"),
            Cell(c.shown(c.predicted), c.predicted),
            Cell(c.shown(c.published), c.published),
            Cell(f"{c.error:+.1%}", c.error),
            Cell(c.workload, css="k"),
        ]
        for c in (here or found)
    ]
    what = f"of {report.workload.name}" if here else "of all workloads (there is none for this one)"
    page.table(["layer", "quantity", "predicted", "published", "error", "run"], each, fold=f"Each row {what}")


def _changed(report: Report) -> bool:
    """Whether keys of the machine were changed for this run."""
    return any(str(mark).startswith("--set") for mark in report.machine.document.marks.values())
