"""What docs/cpu.md shows: published throughput and measured operators beside the model, in tables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd

import hwsim
from hwsim.report.published import Prediction, measurements_of
from hwsim.report.quantity import shown

DOCS = Path(__file__).parent
OPERATORS = DOCS.parent / "tests" / "data" / "zen5_onnxruntime.csv"

Published = dict[str, list[Prediction]]
"""Every published quantity beside its prediction, by machine."""


def processors(text: str, published: Published) -> str:
    """docs/cpu.md with the tables of today."""
    blocks = {"networks": networks(published), "gains": gains(published), "others": others(published)}
    blocks["operators"] = operators()
    for name, table in blocks.items():
        between = re.compile(rf"(<!-- {name}: begin -->\n).*?(<!-- {name}: end -->)", re.DOTALL)
        text = between.sub(lambda m, table=table: f"{m[1]}{table}\n{m[2]}", text)
    return text


def operator(row: Any) -> hwsim.Layer:
    """A row of the measured operators as a layer."""
    if row.op == "gemm":
        return hwsim.Gemm("g", m=int(row.M), n=int(row.N), k=int(row.K))
    columns = {"c": "C", "h": "H", "w": "W", "k": "Kout", "r": "R", "s": "S"}
    given = {key: int(getattr(row, column)) for key, column in columns.items()}
    return hwsim.Conv2d("c", **given, stride=int(row.stride), pad=int(row.pad), groups=int(row.groups))


def operator_group(row: Any) -> str:
    """What kind of operator a row is."""
    if row.op == "gemm":
        return "GEMM"
    if row.groups > 1:
        return "depthwise"
    return "3 channels" if row.C == 3 else "pointwise" if row.R == 1 else "dense convolution"


def operator_errors() -> pd.DataFrame:
    """The measured operators with what is predicted for them, in microseconds, and the error."""
    table = pd.read_csv(OPERATORS, comment="#")
    table = table[(table.threads == 1) | table.clean].copy()
    machines = {
        key: hwsim.load_machine("epyc_zen5", set={"threads": key[0], "precision": key[1]})
        for key in {(int(row.threads), row.dtype) for row in table.itertuples()}
    }
    table["predicted_us"] = [
        hwsim.simulate(machines[row.threads, row.dtype], hwsim.Workload("one", [operator(row)])).summary.latency_s * 1e6
        for row in table.itertuples()
    ]
    table["group"] = [operator_group(row) for row in table.itertuples()]
    return table.assign(error=table.predicted_us / table.min_us - 1)


def operators() -> str:
    """Errors of single operators by group, and the worst of each."""
    lines = [
        "| operator | format | threads | rows | mean error | worst row | measured | predicted | error |",
        "|---|---|---:|---:|---:|---|---:|---:|---:|",
    ]
    for (name, dtype, threads), rows in operator_errors().groupby(["group", "dtype", "threads"], sort=True):
        worst = rows.loc[rows.error.abs().idxmax()]
        layer = operator(worst)
        shape = (
            f"{layer.m} x {layer.n} x {layer.k}"
            if worst.op == "gemm"
            else f"{layer.c} x {layer.h} x {layer.w} to {layer.k}, {layer.r} x {layer.s} / {layer.stride[0]}"
        )
        cells = (
            name,
            dtype,
            threads,
            len(rows),
            f"{rows.error.abs().mean():.1%}",
            shape,
            f"{worst.min_us:.4g} us",
            f"{worst.predicted_us:.4g} us",
            f"{worst.error:+.0%}",
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def of_library(name: str) -> bool:
    """Whether what was published of a processor was measured with the library that it runs here."""
    measurements = measurements_of(name, hwsim.load_machine(name).folder)
    return measurements is not None and measurements.spec.software is None


def rows_of(published: Published, fitted: bool = True) -> pd.DataFrame:
    """The published quantities of processors beside the predicted ones, with the library of the fit or without."""
    found = [
        (
            name,
            row.workload.partition(",")[0],
            "int8" if "int8" in row.workload else "fp32",
            row.column,
            row.predicted,
            row.published,
        )
        for name, rows in published.items()
        if hwsim.load_machine(name).spec.kind == "cpu" and of_library(name) == fitted
        for row in rows
    ]
    return pd.DataFrame(found, columns=["cpu", "network", "format", "column", "predicted", "published"])


def networks(published: Published) -> str:
    """Mean error of each processor."""
    table = rows_of(published)
    measured = table[table.column == "inferences_per_s"].cpu.unique()  # those under OpenVINO
    table = table[table.cpu.isin(measured)].copy()
    table["error"] = (table.predicted / table.published - 1).abs()
    lines = [
        "| processor | clock, all cores | int8 throughput | fp32 throughput | int8 latency |",
        "|---|---:|---:|---:|---:|",
    ]
    fitted = table[table.cpu != "atom_x6425e"]
    for name, rows in [*table.groupby("cpu"), ("**mean, without the Atom**", fitted)]:
        cells = [name if " " in name else f"`{name}`"]
        cells.append("" if " " in name else f"{hwsim.load_machine(name, set={'streams': 'all'}).hz / 1e9:.2f} GHz")
        for column, dtype in (("inferences_per_s", "int8"), ("inferences_per_s", "fp32"), ("latency_s", "int8")):
            cells.append(f"{rows[(rows.column == column) & (rows.format == dtype)].error.mean():.1%}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def others(published: Published) -> str:
    """Processors in no fit, under other software."""
    lines = ["| processor | workload | format | predicted | published | error |", "|---|---|---|---:|---:|---:|"]
    for row in rows_of(published, fitted=False).itertuples():
        error, values = (
            row.predicted / row.published - 1,
            (shown(row.column, v) for v in (row.predicted, row.published)),
        )
        lines.append(f"| `{row.cpu}` | {row.network} | {row.format} | {' | '.join(values)} | {error:+.0%} |")
    return "\n".join(lines)


def gains(published: Published) -> str:
    """What int8 gains over fp32 for each class of processor."""
    table = rows_of(published)
    table = table[(table.column == "inferences_per_s") & (table.cpu != "atom_x6425e")]
    wide = table.pivot_table(index=["cpu", "network"], columns="format", values=["predicted", "published"])
    gain = pd.DataFrame(
        {key: wide[key]["int8"] / wide[key]["fp32"] for key in ("predicted", "published")}
    ).reset_index()
    gain["sort"] = [
        f"{machine.core_model('int8').sequence}, {8 * machine.core_model('int8').ports.vector_bytes} bits"
        for machine in map(hwsim.load_machine, gain.cpu)
    ]
    lines = [
        "| instructions | processors | predicted | published | error | largest for a network |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, rows in gain.groupby("sort"):
        mean, worst = rows[["predicted", "published"]].mean(), (rows.predicted / rows.published - 1)
        largest = worst.loc[worst.abs().idxmax()]
        cells = (
            name,
            rows.cpu.nunique(),
            f"{mean.predicted:.2f}",
            f"{mean.published:.2f}",
            f"{mean.predicted / mean.published - 1:+.0%}",
            f"{largest:+.0%}",
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)
