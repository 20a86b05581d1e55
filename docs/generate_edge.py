"""Write the tables of docs/edge.md."""

from __future__ import annotations

import math
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


#: Renner et al., Nature Communications 2024, table 1: publication, chip and network, uJ and ms an inference or a step of
#: learning, accuracy in percent.
SPIKING = (
    ("Renner 2024", "Loihi, 400-400-10, learns on the chip", 590, 1.5, 96.3),
    ("Shrestha 2021", "Loihi, CNN-CNN-100-10, learns on the chip", 8400, 20, 94.7),
    ("Park 2019", "65 nm, 784-200-200-10, learns on the chip", 0.253, 0.01, 98.1),
    ("Chen 2018", "10 nm, 236-20, learns on the chip", 17, 0.16, 89.0),
    ("Lin 2018", "Loihi, 1920-10, learns on the chip", 553, None, 96.4),
    ("Shrestha 2021", "Loihi, CNN", 2470, 10, 94.7),
    ("Frenkel 2020", "SPOON, 28 nm, CNN-10", 0.313, 0.12, 97.5),
    ("Lin 2018", "Loihi, 1920-10", 12.8, None, 96.4),
    ("Chen 2018", "10 nm, 784-1024-512-10", 1.7, None, 97.9),
    ("Esser 2015", "TrueNorth, 28 nm, 3840 neurons", 108, 1, 99.4),
)
LENET = 99.1
"""Accuracy of LeNet-5 on MNIST in percent (Caffe's example)."""
OURS = ("eyeriss_v1", "nvdla_256", "gap9", "ndp120", "stm32u575", "nucleo_l4r5zi", "arduino_nano33ble", "t4")
Point = tuple[str, str, float, float | None, float]


@cache
def digits() -> tuple[Point, ...]:
    """LeNet-5 on machines of hwsim."""
    points: list[Point] = []
    for name in OURS:
        machine = hwsim.load_machine(name)
        keys = {} if machine.kind == "pe_array" else {"precision": "int8"}
        summary = hwsim.simulate(hwsim.load_machine(name, set=keys), hwsim.load_workload("lenet5_caffe")).summary
        points.append(("hwsim", f"`{name}`, LeNet-5", summary.energy_pj / 1e6, summary.latency_s * 1e3, LENET))
    return tuple(points)


@cache
def mnist() -> str:
    """Energy, time and accuracy of an inference on MNIST, as Markdown, the least energy first."""
    lines = ["| source | what | energy | time | accuracy |", "|---|---|---:|---:|---:|"]
    for source, what, energy, time, accuracy in sorted((*SPIKING, *digits()), key=lambda point: point[2]):
        took = "" if time is None else f"{time:.3g} ms"
        size = f"{energy:,.0f}" if energy >= 100 else f"{energy:.3g}"
        lines.append(f"| {source} | {what} | {size} uJ | {took} | {accuracy:g} % |")
    return "\n".join(lines)


def plot() -> str:
    """The same as a picture: accuracy over the logarithm of the energy."""
    width, height, left, top = 640, 300, 50, 20
    low, high, least = -1, 5, 88

    def place(energy: float, accuracy: float) -> tuple[float, float]:
        x = left + (math.log10(energy) - low) / (high - low) * (width - left - 20)
        return x, top + (100 - accuracy) / (100 - least) * (height - top - 40)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">'
    ]
    parts.append(f'<rect width="{width}" height="{height}" fill="white"/>')
    for power in range(low, high + 1):
        x, y = place(10.0**power, least)
        label = f"{10**power:g} uJ" if power < 3 else f"{10 ** (power - 3):g} mJ"
        parts.append(f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{x:.1f}" y="{y + 16:.1f}" text-anchor="middle">{label}</text>')
    for accuracy in range(least, 101, 4):
        x, y = place(10.0**low, accuracy)
        parts.append(f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{width - 20}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{x - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{accuracy} %</text>')
    for points, color in ((SPIKING, "#d73a49"), (digits(), "#0366d6")):
        for _, what, energy, _, accuracy in points:
            x, y = place(energy, accuracy)
            title = what.replace("`", "")
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{color}"><title>{title}</title></circle>')
    caption = "energy of an inference on MNIST; red: published chips, blue: LeNet-5 on machines of hwsim"
    parts.append(f'<text x="{width / 2}" y="{height - 6}" text-anchor="middle">{caption}</text></svg>')
    return "\n".join(parts) + "\n"


TABLES = {"estimator": estimator, "integers": integers, "mnist": mnist}


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
    PAGE.with_name("edge_mnist.svg").write_text(plot(), encoding="utf-8")
