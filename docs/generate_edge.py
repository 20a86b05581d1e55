"""Write the tables of docs/edge.md."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import hwsim
from hwsim.report.published import measurements_of

PAGE = Path(__file__).parent / "edge.md"


@cache
def estimator() -> str:
    """NPU cycles of the engines against those of their maker's estimator, as Markdown."""
    lines = ["| machine | layers | mean error | largest | mean error of networks |", "|---|---:|---:|---:|---:|"]
    for name in hwsim.machine_names():
        machine = hwsim.load_machine(name)
        found = measurements_of(name, machine.folder) if machine.kind == "npu" else None
        if found is None or found.spec.software != "Vela":
            continue
        errors: list[float] = []
        sums: list[float] = []
        for run in found.spec.runs:
            report = hwsim.simulate(machine, hwsim.load_workload(run.workload))
            workload = report.plan.workload
            rows = {workload[row.layer].likeness: row for row in found.compare(run, report)}
            every = [rows[layer.likeness] for layer in workload if layer.likeness in rows]
            errors += [row.error for row in every]
            sums.append(sum(row.predicted for row in every) / sum(row.published for row in every) - 1)
        mean, largest = sum(map(abs, errors)) / len(errors), max(errors, key=abs)
        whole = sum(map(abs, sums)) / len(sums)
        lines.append(f"| `{name}` | {len(errors)} | {mean:.1%} | {largest:+.1%} | {whole:.1%} |")
    return "\n".join(lines)


TABLES = {"estimator": estimator}


def text() -> str:
    """The page with the tables of today."""
    page = PAGE.read_text(encoding="utf-8")
    for name, table in TABLES.items():
        between = re.compile(rf"(<!-- {name}: begin -->\n).*?(<!-- {name}: end -->)", re.DOTALL)
        page = between.sub(lambda match, table=table: f"{match[1]}{table()}\n{match[2]}", page)
    return page


def main() -> None:
    """Write the page."""
    PAGE.write_text(text(), encoding="utf-8")
