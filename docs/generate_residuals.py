"""What uncertainty is derived from: the error of every measured value, from fits that leave its like out.

    python docs/generate_residuals.py        # writes residuals.csv of each kind of machine, about a minute

`docs/generate.py` does it too. A column "without network" has log(measured / predicted) of fits without the row's
network, "without machine" without its board, processor or GPU, and so on; empty: there is nothing else to fit on.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import math
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

import hwsim
from hwsim.machines import machine_folder
from hwsim.machines.cpu.library import library_names, load_library
from hwsim.machines.registry import kinds
from hwsim.machines.uncertainty import ExpectedError, conditions_of, residuals_of
from hwsim.report.published import Prediction, measurements_of
from hwsim.validation.predictions import compared

ROOT = Path(__file__).parent.parent
ENOUGH_NETWORKS = 10
"""Networks that a handful of costs were fitted on, of which one more or less hardly matters."""
QUANTILES = 20
"""Errors that stand for the rows of a table of thousands."""

Row = dict[str, Any]


def script(path: str) -> ModuleType:
    """A script of the project as a module."""
    name = Path(path).stem
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, ROOT / path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@dataclass(frozen=True)
class PublishedRun:
    """A published run as it is planned, its quantities with their predictions, and other software than the machine's."""

    kind: str
    report: hwsim.Report
    rows: list[Prediction]
    software: str | None


@cache
def published() -> dict[str, list[PublishedRun]]:
    """Every published run by machine, once."""
    found: dict[str, list[PublishedRun]] = {}
    for name in hwsim.machine_names():
        measurements = measurements_of(name, machine_folder())
        if measurements is not None:
            software, kind = measurements.spec.software, hwsim.load_machine(name).kind
            runs = compared(measurements, name)
            found[name] = [PublishedRun(kind, report, rows, software) for report, rows in runs]
    return found


def conditions(report: hwsim.Report) -> Row:
    """What was run, in the format of most time."""
    first = conditions_of(report.plan, [result.latency_s for result in report.results])[0]
    return {key: value for key, value in first.items() if key != "layers"}  # these are the measured ones


def size(row: Prediction) -> float:
    """log(measured / predicted) of a time or an energy, from it or from a rate."""
    error = math.log(row.published / row.predicted)
    return -error if row.column in ("inferences_per_s", "tops") else error


LATENCY = ("latency_s", "inferences_per_s", "tops")


def rows_of(kind: str, columns: Sequence[str], quantity: str) -> Iterator[tuple[Row, Prediction]]:
    """A row without errors for each published value of some quantities."""
    for run in (run for runs in published().values() for run in runs if run.kind == kind):
        ran = {**conditions(run.report), **({"library": run.software} if run.software else {})}
        for row in run.rows:
            if row.column in columns:
                name = run.report.workload.name
                network = name if row.layer == "all" else f"{name} {row.layer}"
                yield {"quantity": quantity, **ran, "network": network}, row


def microcontrollers() -> Iterator[Row]:
    """Latency from fits of all boards that leave rows out; energy is that, and how far the power is off."""
    held = script("benchmarks/held_out_mcu.py")
    rows = held.published()
    fit = held.Fit(rows)
    known = {
        "network": np.ones(len(rows), bool),
        "machine": np.array([any(o.library == r.library and o.board != r.board for o in rows) for r in rows]),
        "core": np.array([any(o.library == r.library and o.core != r.core for o in rows) for r in rows]),
        "library": np.ones(len(rows), bool),
    }
    keys = {
        "network": lambda row: (row.library, row.network),
        "machine": lambda row: row.board,
        "core": lambda row: row.core,
        "library": lambda row: row.library,
    }
    left = {name: -np.log1p(fit.nearly_left_out(key, 1 if name == "network" else 3)) for name, key in keys.items()}
    places: dict[tuple[str, str, str], list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault((row.board, row.library, row.network), []).append(place)

    def key_of(row: Row) -> tuple[str, str, str]:
        return row["machine"].partition(",")[0], held.SAME.get(row["library"], row["library"]), row["network"]

    own: dict[tuple[str, str, str], float] = {}
    scaled: dict[tuple[str, str], dict[str, tuple[Row, float]]] = defaultdict(dict)
    for row, shown in rows_of("mcu", ("latency_s",), "latency"):
        key = key_of(row)
        place, own[key] = places[key].pop(0), size(shown)
        if known["machine"][place]:
            scaled[key[:2]].setdefault(key[2], (row, left["machine"][place]))
        yield row | {f"without {name}": left[name][place] for name in left if known[name][place]}
    for (board, _), networks in scaled.items():
        base = networks.get("kws", next(iter(networks.values())))
        for row, error in networks.values():
            if row is not base[0]:
                same = {key: row[key] for key in ("quantity", "library", "format", "network")}
                yield same | {"scaled": "yes", "board": board, "without board": error - base[1]}
    for row, shown in rows_of("mcu", ("energy_pj",), "power"):
        yield row | {
            "without network": size(shown) - own[row["machine"].partition(",")[0], row["library"], row["network"]]
        }


def processors() -> Iterator[Row]:
    """OpenVINO by network and processor, ONNX Runtime by operator and by run on calibrated machines, and other software."""
    fit = script("benchmarks/fit_processors.py").OpenVino()
    left = jackknife(fit)
    for row, shown in rows_of("cpu", LATENCY, "latency"):
        error = size(shown)
        if row["library"] not in library_names():
            yield row | {"without library": error}
            continue
        if (use := load_library(row["library"]).on.get(row["core"], {}).get(row["format"])) is not None:
            moved = dict.fromkeys(("machine", "core"), elsewhere(row, shown))
            moved |= {"network": error} if use.networks >= ENOUGH_NETWORKS else {}
            yield row | {f"without {name}": e for name, e in moved.items()}
            continue
        key = (row["machine"], row["network"], row["format"], shown.published)
        moved = left.get(key) if shown.column == "inferences_per_s" else None  # latencies are in no fit
        names = ("network", "machine", "core")
        yield row | {f"without {name}": e for name, e in (moved or dict.fromkeys(names, error)).items()}
    operators = script("docs/generate_cpu.py")
    for one in operators.operator_errors().itertuples():
        machine = hwsim.load_machine("epyc_zen5", set={"threads": int(one.threads), "precision": one.dtype})
        layer = operators.operator(one)
        ran = conditions(hwsim.simulate(machine, hwsim.Workload("one", [layer])))
        shape = "x".join(map(str, (*layer.weight.shape, *layer.output.shape)))
        yield {"quantity": "latency", **ran, "network": shape, "without network": -math.log1p(one.error)}
    for run in pd.read_csv(ROOT / "tests" / "data" / "calibrated_runs.csv", comment="#").itertuples():
        ran = {
            "machine": "calibrated", "core": run.core, "library": "onnxruntime-1.31", "format": run.format,
            "use": "latency", "costs": "measured", "part": "network", "threads": run.threads, "network": run.network,
        }  # fmt: skip
        error = -math.log1p(run.error)
        yield {"quantity": "latency", **ran, "without network": error, "without machine": error}


def elsewhere(row: Row, shown: Prediction) -> float:
    """The error with the costs that the library has on a core without rows, which are the mean of the others."""
    name, *changes = str(row["machine"]).split(", ")
    keys = dict(change.split("=", 1) for change in changes)
    keys |= {"library": row["library"], "precision": row["format"], "threads": row["threads"]}
    machine = hwsim.load_machine(name, set=keys)
    machine.use(load_library(row["library"]))
    seconds = hwsim.simulate(machine, row["network"], batch=shown.batch).summary.latency_s
    return math.log(shown.published / seconds)


def jackknife(fit: Any) -> dict[tuple[str, str, str, float], dict[str, float]]:
    """The errors of OpenVINO's rows by fits without their network, processor or core: one step from the full fit.

    With r the logarithms of predicted over measured, J their slopes and W the weights of the loss, a fit without some
    rows differs by (J'WJ of the others)^-1 J'Wr of those rows. Rows that alone determine a number have no such error.
    """
    logs = np.log(np.array(list(fit.start.values())))
    names = list(fit.start)

    def errors(at: np.ndarray) -> np.ndarray:
        return np.log(np.array(fit.predict(dict(zip(names, np.exp(at))), fit.rows)) / fit.measured)

    start = errors(logs)
    step = 0.02
    slopes = np.stack([(errors(logs + step * unit) - start) / step for unit in np.eye(len(logs))], axis=1)
    fit.predict(fit.start, fit.rows)
    weights = 1 / np.sqrt(1 + (start / 0.1) ** 2)
    cores = [fit.machines[row[0], row[2]].spec.core for row in fit.rows]
    keys = {"network": [row[1] for row in fit.rows], "machine": [row[0] for row in fit.rows], "core": cores}
    left: dict[tuple[str, str, str, float], dict[str, float]] = {(*row[:3], row[3]): {} for row in fit.rows}
    for name, values in keys.items():
        for value in dict.fromkeys(values):
            out = np.array([other == value for other in values])
            weighted = slopes * weights[:, None]
            square = slopes[~out].T @ weighted[~out]
            moved = np.linalg.pinv(square, rcond=1e-6) @ (weighted[out].T @ start[out])
            lost = np.abs(slopes[~out]).max(axis=0) < 1e-6  # numbers that no other row says anything of
            for place in np.flatnonzero(out):
                if not np.abs(slopes[place][lost]).any():
                    key = (*fit.rows[place][:3], fit.rows[place][3])
                    left[key][name] = -float(start[place] + slopes[place] @ moved)
    return left


def gpus() -> Iterator[Row]:
    """Published runs of networks, and measured kernels, each table of them as a number of quantiles."""
    for row, shown in rows_of("gpu", LATENCY, "latency"):
        yield row | {"without network": size(shown)}
    cases = script("docs/generate_gpu.py")
    for case, ours, theirs in cases.results():
        machine = hwsim.load_machine(case.machine, set=case.set)
        layer = hwsim.Gemm("g", m=64, n=64, k=64, input=case.dtype, weight=case.dtype, output=case.output)
        ran = conditions(hwsim.simulate(machine, hwsim.Workload("one", [layer])))
        ran["network"] = f"{case.device} {case.file}" + ("" if case.weights == "dense" else f", {case.weights} weights")
        errors = np.quantile(np.log(theirs / ours), (np.arange(QUANTILES) + 0.5) / QUANTILES)
        apart = ("shape",) if case.fitted else ("shape", "machine")
        values = len(ours) / QUANTILES
        for place, error in enumerate(errors):
            yield {"quantity": "latency", **ran, "shape": place, "values": values} | {
                f"without {name}": error for name in apart
            }
    yield from attention()


def attention() -> Iterator[Row]:
    """Attention kernels, each library on each GPU in each format as a number of quantiles."""
    found = script("docs/generate_attention.py").results()
    for name, library, dtype in sorted({(one.machine, one.library, f) for one in found for f in one.formats}):
        machine = hwsim.load_machine(name, set={"library": library})
        layer = hwsim.Attention("a", context=64, heads=8, dim=64, input=dtype, weight=dtype, output="bf16")
        ran = conditions(hwsim.simulate(machine, hwsim.Workload("one", [layer], graph=False)))
        ran["network"] = f"{name} attention"
        own = [one for one in found if (one.machine, one.library) == (name, library)]
        errors = np.concatenate([np.log(one.measured / one.predicted)[one.formats == dtype] for one in own])
        for place, error in enumerate(np.quantile(errors, (np.arange(QUANTILES) + 0.5) / QUANTILES)):
            values = len(errors) / QUANTILES
            yield {"quantity": "latency", **ran, "shape": place, "values": values, "without shape": error}


def arrays() -> Iterator[Row]:
    """Layers and networks on PE arrays; power apart where it was fitted on them."""
    for columns, quantity in ((LATENCY, "latency"), (("power_w",), "power"), (("energy_pj_per_mac",), "energy")):
        for row, shown in rows_of("pe_array", columns, quantity):
            fitted = quantity == "power" and "energy.static" in hwsim.load_machine(row["machine"]).spec.fitted
            yield row | {"layer": row["network"], f"without {'layer' if fitted else 'network'}": size(shown)}


FITTED_ON = {
    "edge_tpu_usb": (16, 0), "edge_tpu_pcie": (16, 0), "stm32n6": (11, 0), "gap9": (4, 4), "ndp120": (4, 4),
    "alif_e8_u85": (3, 0),
}  # fmt: skip
"""Rows that the times of neural processors were fitted on, and their powers."""


def neural_processors() -> Iterator[Row]:
    """Latency, and power where it is published: errors of the fit over the share of rows that it left free.

    With p numbers on n rows, a fit without a row errs by 1 / (1 - p / n) of the fit with it (generalized
    cross-validation).
    """
    own: dict[tuple[str, str], float] = {}
    for row, shown in rows_of("npu", ("latency_s",), "latency"):
        machine = hwsim.load_machine(row["machine"].partition(",")[0])
        own[machine.name, row["network"]] = size(shown)
        rows, _ = FITTED_ON.get(machine.name, (0, 0))
        numbers = sum(not key.startswith("power") for key in machine.spec.fitted)
        if rows > numbers:
            yield row | {"without network": size(shown) / (1 - numbers / rows)}
    for row, shown in rows_of("npu", ("energy_pj",), "power"):
        name = row["machine"].partition(",")[0]
        rows = FITTED_ON[name][1]
        yield row | {"without network": (size(shown) - own[name, row["network"]]) / (1 - 1 / rows)}


@dataclass(frozen=True)
class Held:
    """A measured value whose like was left out: which rows were near, its error, and the error that was to expect."""

    words: str
    size: float
    expected: ExpectedError


def left_out(kind: str, quantity: str, key: str) -> list[Held]:
    """Each value of a kind against the rule without the rows of its network, machine, ...; if anything is near then."""
    store = residuals_of(kinds()[kind])
    rows = [row for row in store.rows if row.quantity == quantity and row.conditions.get(key)]
    held = []
    for value in dict.fromkeys(row.conditions[key] for row in rows):
        less = store.without(key, value)
        for row in (row for row in rows if row.conditions[key] == value):
            level, _ = less.near(row.conditions, quantity)
            if level is not None and level.measured and level.apart in row.errors:
                size = math.expm1(abs(row.errors[level.apart]))
                held.append(Held(level.words, size, less.expected(row.conditions, quantity)))
    return held


CASES = [
    (kind, quantity, key)
    for kind, quantities in (("cpu", ("latency",)), ("gpu", ("latency",)), ("mcu", ("latency", "power")))
    for quantity in quantities
    for key in ("network", "machine")
    if (quantity, key) != ("power", "machine")
] + [
    ("mcu", "latency", "board"),
    ("npu", "latency", "network"),
    ("npu", "power", "network"),
    ("pe_array", "latency", "network"),
    ("pe_array", "power", "network"),
]


def coverage() -> str:
    """How many measured values lie within what was to expect without their like, as Markdown."""
    lines = [
        "| kind | quantity | left out | rows near | values | within, of 68 | within, of 95 | expected error, median |",
        "|---|---|---|---|---:|---:|---:|---:|",
    ]
    for kind, quantity, key in CASES:
        groups: dict[str, list[Held]] = defaultdict(list)
        for one in left_out(kind, quantity, key):
            groups[one.words].append(one)
        for words, held in groups.items():
            one, two = within(held)
            middle = sorted(item.expected.error for item in held)[len(held) // 2]
            cells = (f"`{kind}`", quantity, key, words, len(held), f"{one:.0%}", f"{two:.0%}", f"{middle:.1%}")
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def within(held: Sequence[Held]) -> tuple[float, float]:
    """The shares within the two claims."""
    return (
        sum(one.size <= one.expected.error for one in held) / len(held),
        sum(one.size <= one.expected.error_95 for one in held) / len(held),
    )


KINDS = {"cpu": processors, "gpu": gpus, "mcu": microcontrollers, "npu": neural_processors, "pe_array": arrays}


def text(kind: str, rows: Iterable[Row]) -> str:
    """The table of a kind."""
    rows = list(rows)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    columns.sort(key=lambda name: name.startswith("without "))
    out = io.StringIO()
    out.write("# log(measured / predicted), written by docs/generate_residuals.py; docs/uncertainty.md explains it.\n")
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: f"{v:.4f}" if isinstance(v, float) else v for k, v in row.items()})
    return out.getvalue()


def main(names: Sequence[str] = ()) -> None:
    """Write the tables, and what they say of themselves into docs/uncertainty.md."""
    for kind in names or KINDS:
        path = ROOT / "hwsim" / "machines" / kind / "residuals.csv"
        if kind == "gpu" and not script("docs/generate_gpu.py").DATA.is_dir():
            print(f"{path.name} of {kind} stays as it is: the measured kernels are absent")
            continue
        path.write_text(text(kind, KINDS[kind]()), encoding="utf-8")
    residuals_of.cache_clear()
    page = ROOT / "docs" / "uncertainty.md"
    between = re.compile(r"(<!-- coverage: begin -->\n).*?(<!-- coverage: end -->)", re.DOTALL)
    page.write_text(
        between.sub(lambda m: f"{m[1]}{coverage()}\n{m[2]}", page.read_text(encoding="utf-8")), encoding="utf-8"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
