"""Predictions beside published measurements: the error of the models, by machine."""

from __future__ import annotations

from hwsim.machines import machine_folder, machine_names
from hwsim.report.published import Comparison, silicon_of

__all__ = ["comparisons", "markdown_tables"]


def comparisons(machine: str | None = None, workload: str | None = None) -> dict[str, list[Comparison]]:
    """Every published quantity of the shipped machines (or of one) beside what is predicted for it.

    Empty where nothing has been published for what was asked.
    """
    found: dict[str, list[Comparison]] = {}
    for name in machine_names() if machine is None else [machine]:
        silicon = silicon_of(name, machine_folder())
        if silicon is None:
            continue
        if rows := silicon.comparisons(name, workload):
            found[name] = rows
    return found


def markdown_tables(found: dict[str, list[Comparison]]) -> str:
    """The comparisons as Markdown, a table for each machine."""
    lines = []
    for name, rows in found.items():
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
