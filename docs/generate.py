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
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from rich.console import Console
from rich.terminal_theme import TerminalTheme

import hwsim
from hwsim import cli
from hwsim.cli.schema import machine_schema, report_schema, sweep_schema, workload_schema
from hwsim.report.columns import columns_markdown
from hwsim.report.published import Prediction, measurements_of
from hwsim.report.table import print_report
from hwsim.validation.predictions import markdown_tables

DOCS = Path(__file__).parent
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
    print_report(report, console, measurements_of(machine.name, machine.folder))
    svg = console.export_svg(title=COMMAND, theme=THEME, unique_id="hwsim")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # nothing is fetched from elsewhere
    return re.sub(r"Fira Code", "DejaVu Sans Mono, Menlo, Consolas", svg)


def residuals() -> ModuleType:
    """What writes the residuals of each kind of machine, and docs/uncertainty.md."""
    return beside("generate_residuals")


@cache
def published() -> dict[str, list[Prediction]]:
    """Every published quantity beside its prediction, once."""
    return {name: [row for run in runs for row in run.rows] for name, runs in residuals().published().items()}


def summary_row(head: str, rows: list[Prediction]) -> str:
    """A line of a table: how far one quantity of some rows is off."""
    mean = sum(abs(row.error) for row in rows) / len(rows)
    worst = max(rows, key=lambda row: abs(row.error))
    return f"| {head} | `{worst.column}` | {len(rows)} | {mean:.1%} | {worst.error:+.1%} |"


def by_column(rows: list[Prediction]) -> list[list[Prediction]]:
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


def examples(page: str = "examples.md") -> str:
    """A page with what its commands print today; they run in a folder of their own, with the files that it shows."""
    text = (DOCS / page).read_text(encoding="utf-8")

    def fresh(match: re.Match[str]) -> str:
        commands = [line[2:] for line in match[1].splitlines() if line.startswith("$ ")]
        return "```console\n" + "".join(f"$ {command}\n{_printed(command)}" for command in commands) + "```\n"

    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for name, content in re.findall(r"Save this as `([\w.]+)`:\n\n```\w*\n(.*?)```\n", text, re.DOTALL):
            Path(name).write_text(content, encoding="utf-8")
        return re.sub(r"```console\n(.*?)```\n", fresh, text, flags=re.DOTALL)


def readme_table() -> str:
    """The README's table: how far each kind of machine is off."""
    lines = ["| machines | quantity | rows | mean error | largest |", "|---|---|---:|---:|---:|"]
    of_kind: dict[str, dict[str, list[Prediction]]] = {}
    for name, rows in published().items():
        of_kind.setdefault(hwsim.load_machine(name).kind, {})[name] = rows
    for kind, machines in of_kind.items():
        head = f"{len(machines)} of kind `{kind}`"
        lines += [summary_row(head, same) for same in by_column([row for rows in machines.values() for row in rows])]
    return "\n".join(lines)


def onnx_operators() -> str:
    """The table of ONNX's operators as Markdown: how each is counted and priced."""
    from onnx import defs

    from hwsim.workload.onnx.coverage import operator_fates

    names = sorted({schema.name for schema in defs.get_all_schemas() if schema.domain == ""})
    return fates_table(operator_fates(names))


def tflite_operators() -> str:
    """The table of TFLite's operators as Markdown: how each is counted and priced."""
    import tflite

    from hwsim.workload.tflite.coverage import operator_fates

    names = (name for name, code in vars(tflite.BuiltinOperator).items() if isinstance(code, int))
    return fates_table(operator_fates(names))


def fates_table(fates: Iterable[Any]) -> str:
    """Operators by how they are counted and priced."""
    lines = ["| operators | MACs and operations | priced as |", "|---|---|---|"]
    for fate in fates:
        shown = ", ".join(f"`{name}`" for name in fate.operators)
        lines.append(f"| {shown} | {fate.counted} | {fate.priced} |")
    return "\n".join(lines)


def tflite_scratch() -> str:
    """The operators of TFLite whose reference kernels ask for working memory."""
    from hwsim.workload.tflite.coverage import scratch_operators

    return ", ".join(f"`{name}`" for name in scratch_operators()) + "."


def beside(name: str) -> ModuleType:
    """The script beside this one that writes what a page of its own shows."""
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # a dataclass of its looks itself up
    spec.loader.exec_module(module)
    return module


def gpu() -> ModuleType:
    """What writes docs/gpu.md."""
    return beside("generate_gpu")


def processors(text: str) -> str:
    """docs/cpu.md with the tables of today."""
    return str(beside("generate_cpu").processors(text, published()))


def put(path: Path, name: str, table: str) -> None:
    """Put a table where a file has the marks of its name."""
    between = re.compile(rf"(<!-- {name}: begin -->\n).*?(<!-- {name}: end -->)", re.DOTALL)
    text = between.sub(lambda match: f"{match[1]}{table}\n{match[2]}", path.read_text(encoding="utf-8"))
    path.write_text(text, encoding="utf-8")


def main() -> None:
    """Write the files."""
    residuals().main()
    gpu().main()
    beside("generate_attention").main()
    beside("generate_edge").main()
    put(DOCS.parent / "README.md", "accuracy", readme_table())
    (DOCS / "eyeriss_alexnet.svg").write_text(picture(), encoding="utf-8")
    for page in (
        "examples.md",
        "workloads.md",
        "hardware.md",
        "mapping.md",
        "compression.md",
        "edge.md",
        "algorithms.md",
    ):
        (DOCS / page).write_text(examples(page), encoding="utf-8")
    (DOCS / "accuracy.md").write_text(accuracy(), encoding="utf-8")
    for name, table in beside("generate_scale").blocks().items():
        put(DOCS / "training.md", name, table)
    training = beside("generate_training")
    put(DOCS / "training.md", "one-gpu", training.rates_table())
    put(DOCS / "training.md", "backward", training.gradients_table())
    put(DOCS / "onnx.md", "operators", onnx_operators())
    put(DOCS / "tflite.md", "operators", tflite_operators())
    put(DOCS / "tflite.md", "scratch", tflite_scratch())
    put(DOCS / "columns.md", "columns", columns_markdown())
    cpu = DOCS / "cpu.md"
    cpu.write_text(processors(cpu.read_text(encoding="utf-8")), encoding="utf-8")
    schemas = {
        "machine": machine_schema(),
        "workload": workload_schema(),
        "sweep": sweep_schema(),
        "report": report_schema(),
    }
    for name, schema in schemas.items():
        (DOCS / "schema" / f"{name}.json").write_text(json.dumps(schema, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
