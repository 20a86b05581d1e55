"""Arguments, options, console and output shared by the commands."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import IO, TYPE_CHECKING, Any, cast

import click

from hwsim.cli.completion import names
from hwsim.errors import HwsimError, InputError, one_line, printable
from hwsim.files import check_target, write_text

if TYPE_CHECKING:
    from rich.console import Console

    from hwsim.machines import NetworkPlan
    from hwsim.report.report import Report
    from hwsim.workload import Workload

__all__ = [
    "allows_missing",
    "batch_option",
    "changes_of",
    "check_order",
    "check_page",
    "console_of",
    "html_option",
    "json_option",
    "layers_option",
    "machine_argument",
    "network_of",
    "output_option",
    "plan_of",
    "print_written",
    "set_option",
    "shape_option",
    "shapes_of",
    "simulate",
    "workload_argument",
    "write",
]


_PIPE = 1000


machine_argument = click.argument("machine", shell_complete=names("arch_configs"))
workload_argument = click.argument("workload", shell_complete=names("workloads"))
set_option = click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key of the machine; may be repeated.",
)
_sizes_option = click.option(
    "--shape",
    "shapes",
    multiple=True,
    metavar="NAME=SIZE[,...]",
    help="Symbolic sizes of an .onnx: batch=1,sequence=128 or ids=1x128; may be repeated.",
)


def _set_missing(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    context.meta["hwsim.allow_missing"] = value


_missing_option = click.option(
    "--allow-missing",
    is_flag=True,
    expose_value=False,
    callback=_set_missing,
    help="Read a model file too if operators with weights, or over half of it, are in no row.",
)


def shape_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of how a model file is read."""
    return _sizes_option(_missing_option(command))


batch_option = click.option("--batch", default=1, show_default=True, metavar="N", help="Batch size.")
layers_option = click.option("--layers", metavar="PATTERN", help="Show only the layers whose name matches, as 'conv*'.")


def _output(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Refuse, before the work, a file that cannot be written or that another option writes too."""
    if value is None or context.resilient_parsing:
        return value
    name = parameter.opts[-1]
    if not value:
        raise InputError(f"{name} must name a file, or be '-' for standard output")
    if value != "-" and not any(option.name == "folder" for option in context.command.params):
        check_target(Path(value))
    outputs: dict[str, str] = context.meta.setdefault("hwsim.outputs", {})
    other = outputs.setdefault("-" if value == "-" else os.path.realpath(value), name)
    if other != name and (value == "-" or not Path(value).is_char_device()):
        raise InputError(f"{other} and {name} must not write to one file", value)
    return value


def output_option(*names: str, **settings: Any) -> Callable[..., Any]:
    """An option that names a file to write."""
    return click.option(*names, metavar="FILE", callback=_output, **settings)


json_option = output_option("--json", "json_file", help="Write everything as JSON ('-': standard output).")
html_option = output_option("--html", "html_file", help="Write a self-contained HTML page with charts.")


class _Plain:
    """A stream that strips the trailing blanks of table rows."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def console_of(error: bool = False) -> Console:
    from rich.console import Console

    stream = sys.stderr if error else sys.stdout
    if stream.isatty():
        return Console(file=stream, highlight=False)
    # A pipe has no width: nothing may wrap or be truncated.
    return Console(file=cast("IO[str]", _Plain(stream)), width=_PIPE, highlight=False)


def changes_of(pairs: tuple[str, ...]) -> dict[str, object]:
    changes: dict[str, object] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key or not value:
            raise InputError(f"--set must be key=value, as clocks.core='250 MHz', not {pair!r}")
        if printable(pair) != pair:
            raise InputError(f"--set must be printable text, not {pair!r}")
        changes[key] = value
    return changes


def shapes_of(texts: tuple[str, ...]) -> dict[str, int | Sequence[int]] | None:
    """The sizes of ``--shape``; None without the option."""
    if not texts:
        return None
    from hwsim.workload.onnx import parse_shapes

    return parse_shapes(texts)


def network_of(workload: str, shapes: tuple[str, ...]) -> Workload:
    """The workload, read as the options say."""
    import hwsim

    return hwsim.load_workload(workload, shape=shapes_of(shapes), allow_missing=allows_missing())


def allows_missing() -> bool:
    """Whether the command has ``--allow-missing``."""
    return bool(click.get_current_context().meta.get("hwsim.allow_missing"))


def check_order(machine: str, workload: str) -> None:
    """Refuse a workload in the place of the machine where the machine is in that of the workload; and a model."""
    from hwsim.report.catalogue import kind_of

    kinds = []
    for name in (machine, workload):
        try:
            kinds.append(kind_of(name))
        except HwsimError:  # what reads it says why
            kinds.append("")
    if kinds == ["workload", "machine"]:
        raise InputError(f"the machine comes before the workload: {workload} {machine}")
    if kinds[1] == "llm":
        raise InputError(f"{workload} is a language model: hwsim llm {machine} {workload}")


def plan_of(
    machine: str, workload: str, batch: int, changes: tuple[str, ...], shapes: tuple[str, ...] = ()
) -> NetworkPlan:
    import hwsim

    check_order(machine, workload)
    network = network_of(workload, shapes)
    return hwsim.load_machine(machine, set=changes_of(changes)).plan(network, batch)


def simulate(plan: NetworkPlan) -> Report:
    """Simulate a plan; on a terminal, planning that takes longer than a second has a progress bar."""
    import hwsim

    if sys.stderr.isatty():
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = TextColumn("planning {task.description:<24}"), BarColumn(), MofNCompleteColumn()
        bar = Progress(*columns, console=console_of(error=True), transient=True)
        task, begin = bar.add_task("", total=len(plan)), monotonic()
        try:
            for number, name in enumerate(plan.names):
                if monotonic() - begin > 1:
                    bar.start()  # or goes on
                bar.update(task, description=name, completed=number)
                plan[name]
        finally:
            bar.stop()
    return hwsim.simulate(plan)


def check_page(file: str | None, folder: str | None, tables: Sequence[Path] = ()) -> None:
    """Refuse a page in place of an input, or of a table that the command writes too; its folder may be made yet."""
    if file is None or file == "-":
        return
    path = os.path.realpath(file)
    if folder is None or os.path.dirname(path) != os.path.realpath(folder) or os.path.isdir(folder):
        check_target(Path(file))
    if path in map(os.path.realpath, tables):
        raise InputError("must not be a table that this command writes", file)


def print_written(console: Console, files: Sequence[Path | str]) -> None:
    """Tell which files were written."""
    from rich.text import Text

    console.print(Text("written: " + ", ".join(map(one_line, files))), soft_wrap=True)


def write(text: str, target: str) -> None:
    if target == "-":
        click.echo(text, nl=not text.endswith("\n"))
        return
    write_text(Path(target), text)
