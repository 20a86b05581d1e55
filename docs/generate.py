"""Write what the docs show from the product itself: the README's picture, examples, accuracy tables, JSON Schemas.

python docs/generate.py
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme

import hwsim
from hwsim import cli
from hwsim.report.silicon import silicon_of
from hwsim.report.table import print_report
from hwsim.schema import machine_schema, sweep_schema, workload_schema
from hwsim.validate import comparisons, markdown_tables

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
    print_report(report, console, silicon_of(machine.name, machine.folder))
    svg = console.export_svg(title=COMMAND, theme=THEME, unique_id="hwsim")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # nothing is fetched from elsewhere
    return re.sub(r"Fira Code", "DejaVu Sans Mono, Menlo, Consolas", svg)


def accuracy() -> str:
    """The accuracy tables as Markdown."""
    head = (
        "# Predicted and published\n\n"
        "Written by `hwsim validate --markdown`; a test holds it equal to what the models say today. Sources and the limit that\n"
        "the tests hold for each quantity are in [`arch_configs/measured`](../arch_configs/measured). Rows that the constants of\n"
        "a machine were fitted on are named in its file under `fitted:`.\n\n"
    )
    return head + markdown_tables(comparisons())


def _printed(command: str) -> str:
    """What a command of the docs prints into a pipe; of ``| head -N`` and ``| tail -N`` at its end, those lines."""
    line, *cuts = re.split(r" \| (?=(?:head|tail) -\d+$)", command)
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
    """The README's table: the range of errors of each machine and quantity."""
    lines = [
        "| machine | quantity | rows | mean error | largest | limit in the tests |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for name, rows in comparisons().items():
        for column in dict.fromkeys(row.column for row in rows):
            found = [row for row in rows if row.column == column]
            mean = sum(abs(row.error) for row in found) / len(found)
            worst = max(found, key=lambda row: abs(row.error))
            limit = "" if worst.limit is None else "exact" if worst.limit == 0 else f"{worst.limit:.0%}"
            cells = (f"`{name}`", f"`{column}`", str(len(found)), f"{mean:.1%}", f"{worst.error:+.1%}", limit)
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Write the files."""
    readme = DOCS.parent / "README.md"
    between = re.compile(r"(<!-- accuracy: begin -->\n).*?(<!-- accuracy: end -->)", re.DOTALL)
    table = readme_table()
    readme.write_text(
        between.sub(lambda m: f"{m[1]}{table}\n{m[2]}", readme.read_text(encoding="utf-8")), encoding="utf-8"
    )
    (DOCS / "eyeriss_alexnet.svg").write_text(picture(), encoding="utf-8")
    (DOCS / "examples.md").write_text(examples(), encoding="utf-8")
    (DOCS / "accuracy.md").write_text(accuracy(), encoding="utf-8")
    for name, schema in (("machine", machine_schema()), ("workload", workload_schema()), ("sweep", sweep_schema())):
        (DOCS / "schema" / f"{name}.json").write_text(json.dumps(schema, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
