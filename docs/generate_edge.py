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


@cache
def integers() -> str:
    """Time in fp32 over time in int8, published and predicted, as Markdown."""
    lines = ["| board, library, threads | network | published | predicted |", "|---|---|---:|---:|"]
    for name in hwsim.machine_names():
        machine = hwsim.load_machine(name)
        found = measurements_of(name, machine.folder) if machine.kind == "cpu" else None
        if found is None or not str(machine.spec.core).startswith(("cortex-a", "kryo")) or found.spec.software:
            continue
        times: dict[tuple[str, str, int], dict[str, tuple[float, float]]] = {}
        for run in found.spec.runs:
            changed = hwsim.load_machine(name, set=run.set)
            (row,) = found.compare(run, hwsim.simulate(changed, hwsim.load_workload(run.workload)))
            key = (changed.library.name, run.workload, changed.spec.threads_of_stream)
            times.setdefault(key, {})[str(run.set["precision"])] = (row.published, row.predicted)
        for (library, network, threads), of in times.items():
            if len(of) == 2:
                published, predicted = (of["fp32"][place] / of["int8"][place] for place in (0, 1))
                lines.append(f"| `{name}`, `{library}`, {threads} | {network} | {published:.2f} | {predicted:.2f} |")
    return "\n".join(lines)


TABLES = {"estimator": estimator, "integers": integers}


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
