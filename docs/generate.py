"""Write what the docs show from the product itself: the README's picture, examples, accuracy tables, JSON Schemas.

python docs/generate.py
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import re
import shlex
import sys
import tempfile
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
from rich.console import Console
from rich.terminal_theme import TerminalTheme

import hwsim
from hwsim import cli
from hwsim.report.silicon import Comparison, silicon_of
from hwsim.report.table import print_report
from hwsim.schema import machine_schema, sweep_schema, workload_schema
from hwsim.validate import comparisons, markdown_tables

DOCS = Path(__file__).parent
OPERATORS = DOCS.parent.parent / "shared" / "data" / "cpu" / "zen5_onnxruntime.csv"
COMMAND = "hwsim run eyeriss_v1 alexnet --batch 4 --layers 'conv*'"
THEME = TerminalTheme(
    (255, 255, 255), (36, 41, 46),
    [(36, 41, 46), (215, 58, 73), (40, 167, 69), (176, 136, 0), (3, 102, 214), (111, 66, 193), (27, 124, 131), (106, 115, 125)],
)  # fmt: skip


def picture() -> str:
    """The README's run as SVG."""
    machine, network = hwsim.load_machine("eyeriss_v1"), hwsim.load_workload("alexnet").select("conv*")
    report = hwsim.simulate(machine, network, batch=4)
    console = Console(record=True, width=104, file=io.StringIO(), force_terminal=True)
    print_report(report, console, silicon_of(machine.name, machine.folder))
    svg = console.export_svg(title=COMMAND, theme=THEME, unique_id="hwsim")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # nothing is fetched from elsewhere
    return re.sub(r"Fira Code", "DejaVu Sans Mono, Menlo, Consolas", svg)


@cache
def published() -> dict[str, list[Comparison]]:
    """Every published quantity beside its prediction, once."""
    return comparisons()


def summary_row(head: str, rows: list[Comparison]) -> str:
    """A line of a table: how far one quantity of some rows is off."""
    mean = sum(abs(row.error) for row in rows) / len(rows)
    worst = max(rows, key=lambda row: abs(row.error))
    return f"| {head} | `{worst.column}` | {len(rows)} | {mean:.1%} | {worst.error:+.1%} |"


def by_column(rows: list[Comparison]) -> list[list[Comparison]]:
    """The rows of each quantity."""
    return [[row for row in rows if row.column == column] for column in dict.fromkeys(row.column for row in rows)]


def accuracy() -> str:
    """The accuracy tables as Markdown."""
    head = (
        "# Predicted and published\n\n"
        "Written by `hwsim validate --markdown`; a test holds it equal to what the models say today. Sources and the limit that\n"
        "the tests hold for each quantity are in [`arch_configs/measured`](../arch_configs/measured). Rows that the constants of\n"
        "a machine were fitted on are named in its file under `fitted:`.\n\n"
        "| machine | quantity | rows | mean error | largest | limit in the tests |\n|---|---|---:|---:|---:|---:|\n"
    )
    for name, rows in published().items():
        for same in by_column(rows):
            limit = same[0].limit
            shown = "" if limit is None else "exact" if limit == 0 else f"{limit:.0%}"
            head += f"{summary_row(f'`{name}`', same)} {shown} |\n"
    return f"{head}\n{markdown_tables(published())}"


def _printed(command: str) -> str:
    """What a command of the docs prints into a pipe; of ``| head -N`` and ``| tail -N`` at its end, those lines."""
    line, *cuts = re.split(r" \| (?=(?:head|tail) -\d+(?: \||$))", command)
    before, out = sys.argv, io.StringIO()
    sys.argv = shlex.split(line)
    try:
        with contextlib.redirect_stdout(out):
            cli.main()
    except SystemExit as stop:
        if stop.code:
            raise RuntimeError(f"{command}: exit {stop.code}") from None
    finally:
        sys.argv = before
    lines = out.getvalue().splitlines()
    for cut in cuts:
        count = int(cut.split("-")[1])
        lines = lines[:count] if cut.startswith("head") else lines[-count:]
    return "".join(f"{text}\n" for text in lines)


def examples() -> str:
    """The worked examples with what their commands print today; they run in a folder of their own, with the files shown."""
    text = (DOCS / "examples.md").read_text(encoding="utf-8")

    def fresh(match: re.Match[str]) -> str:
        commands = [line[2:] for line in match[1].splitlines() if line.startswith("$ ")]
        return "```console\n" + "".join(f"$ {command}\n{_printed(command)}" for command in commands) + "```\n"

    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for name, content in re.findall(r"Save this as `([\w.]+)`:\n\n```yaml\n(.*?)```\n", text, re.DOTALL):
            Path(name).write_text(content, encoding="utf-8")
        return re.sub(r"```console\n(.*?)```\n", fresh, text, flags=re.DOTALL)


def readme_table() -> str:
    """The README's table: how far each kind of machine is off."""
    lines = ["| machines | quantity | rows | mean error | largest |", "|---|---|---:|---:|---:|"]
    of_kind: dict[str, dict[str, list[Comparison]]] = {}
    for name, rows in published().items():
        of_kind.setdefault(hwsim.load_machine(name).kind, {})[name] = rows
    for kind, machines in of_kind.items():
        head = f"{len(machines)} of kind `{kind}`"
        lines += [summary_row(head, same) for same in by_column([row for rows in machines.values() for row in rows])]
    return "\n".join(lines)


def onnx_operators() -> str:
    """The table of ONNX's operators as Markdown, by what becomes of them."""
    from onnx import defs

    from hwsim.workload.onnx.coverage import FATES, operator_fates

    names = sorted({schema.name for schema in defs.get_all_schemas() if schema.domain == ""})
    lines = ["| becomes | operators |", "|---|---|"]
    for fate, found in operator_fates(names).items():
        shown = ", ".join(f"`{name}`" for name in found)
        lines.append(f"| **{fate}**: {FATES[fate]} | {shown} |")
    return "\n".join(lines)


def processors(text: str) -> str:
    """docs/cpu.md with the tables of today; that of operators stays where the measurements are not at hand."""
    blocks = {"networks": processor_networks(), "gains": processor_gains(), "others": processor_others()}
    if OPERATORS.exists():
        blocks["operators"] = processor_operators()
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
        return "matrix product"
    if row.groups > 1:
        return "depthwise"
    return "3 channels" if row.C == 3 else "pointwise" if row.R == 1 else "dense convolution"


def operator_errors() -> pd.DataFrame:
    """The measured operators with what is predicted for them, in microseconds, and the error."""
    table = pd.read_csv(OPERATORS)
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


def processor_operators() -> str:
    """Errors of single operators by group, and the worst of each."""
    lines = ["| operator | format | threads | rows | mean error | worst row | measured | predicted | error |", "|---|---|---:|---:|---:|---|---:|---:|---:|"]
    for (name, dtype, threads), rows in operator_errors().groupby(["group", "dtype", "threads"], sort=True):
        worst = rows.loc[rows.error.abs().idxmax()]
        layer = operator(worst)
        shape = f"{layer.m} x {layer.n} x {layer.k}" if worst.op == "gemm" else f"{layer.c} x {layer.h} x {layer.w} to {layer.k}, {layer.r} x {layer.s} / {layer.stride[0]}"
        cells = (name, dtype, threads, len(rows), f"{rows.error.abs().mean():.1%}", shape, f"{worst.min_us:.4g} us", f"{worst.predicted_us:.4g} us", f"{worst.error:+.0%}")
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def of_library(name: str) -> bool:
    """Whether what was published of a processor was measured with the library that it runs here."""
    silicon = silicon_of(name, hwsim.load_machine(name).folder)
    return silicon is not None and silicon.source.startswith("OpenVINO 2024.3")


def processor_rows(fitted: bool = True) -> pd.DataFrame:
    """The published quantities of processors beside the predicted ones, with the library of the fit or without."""
    found = [
        (name, row.workload.partition(",")[0], "int8" if "int8" in row.workload else "fp32", row.column, row.predicted, row.published)
        for name, rows in published().items()
        if hwsim.load_machine(name).spec.kind == "cpu" and of_library(name) == fitted
        for row in rows
    ]
    return pd.DataFrame(found, columns=["cpu", "network", "format", "column", "predicted", "published"])


def processor_networks() -> str:
    """Mean error of each processor."""
    table = processor_rows()
    table["error"] = (table.predicted / table.published - 1).abs()
    lines = ["| processor | clock, all cores | int8 throughput | fp32 throughput | int8 latency |", "|---|---:|---:|---:|---:|"]
    fitted = table[table.cpu != "atom_x6425e"]
    for name, rows in [*table.groupby("cpu"), ("**mean, without the Atom**", fitted)]:
        cells = [name if " " in name else f"`{name}`"]
        cells.append("" if " " in name else f"{hwsim.load_machine(name, set={'streams': 'all'}).hz / 1e9:.2f} GHz")
        for column, dtype in (("inferences_per_s", "int8"), ("inferences_per_s", "fp32"), ("latency_s", "int8")):
            cells.append(f"{rows[(rows.column == column) & (rows.format == dtype)].error.mean():.1%}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def processor_others() -> str:
    """Processors in no fit, under other software."""
    lines = ["| processor | workload, int8 | predicted | published | error |", "|---|---|---:|---:|---:|"]
    for row in processor_rows(fitted=False).itertuples():
        error = row.predicted / row.published - 1
        lines.append(f"| `{row.cpu}` | {row.network} | {row.predicted:.4g}/s | {row.published:.4g}/s | {error:+.0%} |")
    return "\n".join(lines)


def processor_gains() -> str:
    """What int8 gains over fp32 for each class of processor."""
    table = processor_rows()
    table = table[(table.column == "inferences_per_s") & (table.cpu != "atom_x6425e")]
    wide = table.pivot_table(index=["cpu", "network"], columns="format", values=["predicted", "published"])
    gain = pd.DataFrame({key: wide[key]["int8"] / wide[key]["fp32"] for key in ("predicted", "published")}).reset_index()
    gain["sort"] = [f"{machine.bench('int8').sequence}, {8 * machine.bench('int8').ports.vector_bytes} bits" for machine in map(hwsim.load_machine, gain.cpu)]
    lines = ["| instructions | processors | predicted | published | error | largest for a network |", "|---|---:|---:|---:|---:|---:|"]
    for name, rows in gain.groupby("sort"):
        mean, worst = rows[["predicted", "published"]].mean(), (rows.predicted / rows.published - 1)
        largest = worst.loc[worst.abs().idxmax()]
        cells = (name, rows.cpu.nunique(), f"{mean.predicted:.2f}", f"{mean.published:.2f}", f"{mean.predicted / mean.published - 1:+.0%}", f"{largest:+.0%}")
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def gpu() -> ModuleType:
    """The script beside this one that writes the table and pictures of docs/gpu.md."""
    spec = importlib.util.spec_from_file_location("generate_gpu", DOCS / "generate_gpu.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["generate_gpu"] = module  # its dataclass looks itself up
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Write the files."""
    gpu().main()
    readme = DOCS.parent / "README.md"
    between = re.compile(r"(<!-- accuracy: begin -->\n).*?(<!-- accuracy: end -->)", re.DOTALL)
    table = readme_table()
    readme.write_text(
        between.sub(lambda m: f"{m[1]}{table}\n{m[2]}", readme.read_text(encoding="utf-8")), encoding="utf-8"
    )
    (DOCS / "eyeriss_alexnet.svg").write_text(picture(), encoding="utf-8")
    (DOCS / "examples.md").write_text(examples(), encoding="utf-8")
    (DOCS / "accuracy.md").write_text(accuracy(), encoding="utf-8")
    page = DOCS / "onnx.md"
    marks = re.compile(r"(<!-- operators: begin -->\n).*?(<!-- operators: end -->)", re.DOTALL)
    operators = onnx_operators()
    page.write_text(
        marks.sub(lambda m: f"{m[1]}{operators}\n{m[2]}", page.read_text(encoding="utf-8")), encoding="utf-8"
    )
    cpu = DOCS / "cpu.md"
    cpu.write_text(processors(cpu.read_text(encoding="utf-8")), encoding="utf-8")
    for name, schema in (("machine", machine_schema()), ("workload", workload_schema()), ("sweep", sweep_schema())):
        (DOCS / "schema" / f"{name}.json").write_text(json.dumps(schema, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
