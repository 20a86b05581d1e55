"""The command line. Heavy imports wait inside the commands, so that ``--help`` is quick."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hwsim import __version__
from hwsim.errors import HwsimError, InputError

if TYPE_CHECKING:
    from rich.console import Console

    from hwsim.report.report import Report

__all__ = ["main"]

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def _names(what: str) -> Any:
    """Shell completion for machine or workload names."""

    def complete(_context: click.Context, _parameter: click.Parameter, given: str) -> list[str]:
        import hwsim

        names = hwsim.machine_names() if what == "machines" else hwsim.workload_names()
        return [name for name in names if name.startswith(given)]

    return complete


machine_argument = click.argument("machine", shell_complete=_names("machines"))
workload_argument = click.argument("workload", shell_complete=_names("workloads"))
set_option = click.option(
    "--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change a key of the machine; may be given again."
)
batch_option = click.option("--batch", default=1, show_default=True, metavar="N", help="Inputs that run together.")
layers_option = click.option("--layers", metavar="PATTERN", help="Only the layers whose name matches, as 'conv*'.")


@click.group(context_settings=_SETTINGS)
@click.version_option(__version__, prog_name="hwsim")
def cli() -> None:
    """How long, how many picojoules, and what holds it back: networks on real hardware, layer by layer.

    \b
    Examples:
      hwsim run eyeriss_v1 alexnet --batch 4
      hwsim run systolic_ws resnet50_v1 --set array.rows=64 --set array.cols=64
      hwsim explain eyeriss_v1 alexnet conv3 --batch 4
      hwsim list machines
    """


def _console(error: bool = False) -> Console:
    from rich.console import Console

    stream = sys.stderr if error else sys.stdout
    # In a pipe there is no terminal to ask for its width, and nothing may wrap.
    return Console(file=stream, width=None if stream.isatty() else 120, highlight=False)


def _changes(pairs: tuple[str, ...]) -> dict[str, object]:
    changes: dict[str, object] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key or not value:
            raise InputError(f"--set must be key=value, as clocks.core='250 MHz', not {pair!r}")
        changes[key] = value
    return changes


def _simulate(machine: str, workload: str, batch: int, changes: tuple[str, ...], layers: str | None) -> Report:
    import hwsim

    network = hwsim.load_workload(workload)
    if layers:
        network = network.select(layers)
    return hwsim.simulate(hwsim.load_machine(machine, set=_changes(changes)), network, batch=batch)


def _write(text: str, target: str) -> None:
    if target == "-":
        click.echo(text, nl=not text.endswith("\n"))
        return
    try:
        Path(target).write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror or error}", target) from None


@cli.command()
@machine_argument
@workload_argument
@batch_option
@set_option
@layers_option
@click.option("--json", "json_file", metavar="FILE", help="Write everything as JSON ('-': standard output).")
@click.option("--csv", "csv_file", metavar="FILE", help="Write the layers as CSV ('-': standard output).")
@click.option("--trace", "trace_file", metavar="FILE", help="Write the timeline for ui.perfetto.dev.")
@click.option("--every", metavar="TIME", help="Run once every period, as '1 s', and sleep in between.")
@click.option("--battery", metavar="NAME", help="With --every: how long it lasts, as CR2032 or '1000 mAh 3.7 V'.")
@click.option("--for", "duration", metavar="TIME", help="With --every: how long it goes on; one day unless told.")
@click.option("--capture", metavar="TIME", help="With --every: how long the sensor fills its buffer before.")
@click.option("--jitter", metavar="TIME", help="With --every: periods differ at random by up to as much.")
@click.option("--seed", type=int, metavar="N", help="With --jitter: other numbers, other periods.")
def run(
    machine: str,
    workload: str,
    batch: int,
    changes: tuple[str, ...],
    layers: str | None,
    json_file: str | None,
    csv_file: str | None,
    trace_file: str | None,
    every: str | None,
    battery: str | None,
    duration: str | None,
    capture: str | None,
    jitter: str | None,
    seed: int | None,
) -> None:
    """Run WORKLOAD on MACHINE: latency, energy and bound of each layer.

    MACHINE and WORKLOAD are names that 'hwsim list' prints, or paths of files.

    \b
    Examples:
      hwsim run eyeriss_v1 alexnet --batch 4 --layers 'conv*'
      hwsim run eyeriss_v1 vgg16 --batch 3 --set clocks.core='250 MHz'
      hwsim run systolic_os my_layers.csv --json -
      hwsim run nucleo_l4r5zi kws --every '1 s' --battery CR2032
    """
    given = {"battery": battery, "duration": duration, "capture": capture, "jitter": jitter, "seed": seed}
    options: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if every is None and options:
        names = ", ".join("--for" if key == "duration" else f"--{key}" for key in options)
        raise InputError(f"{names} must come with --every, as --every '1 s'")
    report = _simulate(machine, workload, batch, changes, layers)
    scenario = None
    if every is not None:
        from hwsim.scenario import duty_cycle

        scenario = duty_cycle(report, every, **options)
    if json_file:
        _write(report.to_json(), json_file)
    if csv_file:
        _write(report.to_csv() or "", csv_file)
    if trace_file:
        _write(report.trace_json(), trace_file)
    if "-" not in (json_file, csv_file, trace_file):
        from hwsim.report.silicon import silicon_of
        from hwsim.report.table import print_report

        silicon = None if changes else silicon_of(report.machine.name, report.machine.folder)
        print_report(report, _console(), silicon)
    if scenario is not None:
        # Standard output may be a file that another program reads.
        for line in ("", *scenario.lines()):
            click.echo(line, err="-" in (json_file, csv_file, trace_file))
    if not report.summary.fits:
        raise SystemExit(1)


@cli.command("list")
@click.argument("what", type=click.Choice(["machines", "workloads"]), required=False)
def list_(what: str | None) -> None:
    """List the machines and workloads that come with hwsim."""
    from hwsim.report.catalogue import print_machines, print_workloads

    console = _console()
    if what != "workloads":
        print_machines(console)
    if what is None:
        console.print()
    if what != "machines":
        print_workloads(console)


@cli.command()
@click.argument("name", shell_complete=lambda c, p, g: _names("machines")(c, p, g) + _names("workloads")(c, p, g))
@set_option
def show(name: str, changes: tuple[str, ...]) -> None:
    """Show a machine's description, or a workload's layers.

    \b
    Examples:
      hwsim show eyeriss_v1
      hwsim show alexnet
    """
    from hwsim.report.catalogue import show_any

    show_any(name, _changes(changes), _console())


@cli.command()
@machine_argument
@workload_argument
@click.argument("layer")
@batch_option
@set_option
def explain(machine: str, workload: str, layer: str, batch: int, changes: tuple[str, ...]) -> None:
    """Explain one LAYER: its loop nest, every count and price with its source, and what it waits for.

    \b
    Examples:
      hwsim explain eyeriss_v1 alexnet conv3 --batch 4
    """
    from hwsim.report.explain import print_explanation

    report = _simulate(machine, workload, batch, changes, layer)
    print_explanation(report, _console())


def _execute(
    machine: str, workload: str, batch: int, changes: tuple[str, ...], layers: str | None, sample: int | None
) -> bool:
    """Execute a network's nests under a progress bar and print what was checked; whether all is equal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    import hwsim
    from hwsim.execution import print_checks, validate_layers

    network = hwsim.load_workload(workload)
    network = network.select(layers) if layers else network
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=_console(error=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("", total=None)

        def tell(layer: str, done: int, total: int) -> None:
            bar.update(task, description=layer, completed=done // 10**6, total=total // 10**6)

        found = list(validate_layers(hwsim.load_machine(machine, set=_changes(changes)), network, batch, sample, tell))
    return print_checks(found, _console())


@cli.command()
@click.argument("machine", required=False, shell_complete=_names("machines"))
@click.argument("workload", required=False, shell_complete=_names("workloads"))
@click.option("--markdown", is_flag=True, help="Print the published table as Markdown, as docs/accuracy.md holds it.")
@click.option("--layer", "layers", metavar="PATTERN", help="Execute only the layers whose name matches, as 'conv*'.")
@click.option("--sample", type=click.IntRange(min=1), metavar="N", help="Cut each dim of a layer to at most N.")
@batch_option
@set_option
def validate(
    machine: str | None,
    workload: str | None,
    markdown: bool,
    layers: str | None,
    sample: int | None,
    batch: int,
    changes: tuple[str, ...],
) -> None:
    """Compare predictions with published measurements; given both, execute WORKLOAD on MACHINE word by word.

    Without a MACHINE the kernels are checked too: against each other, against onnxruntime and TFLite where these are
    installed (bit for bit), Winograd against direct convolution, operation counts against published ones.

    Every layer's nest runs on seeded int8 data: its output must be that of the layer, and every word that is read,
    filled, updated or drained on the way must have been counted. Exit 1 where a prediction is outside its limit or an
    execution differs. Of a WORKLOAD.tflite the int8 graph runs too, on random input, and each operator's output is held
    against TFLite's reference interpreter where ai-edge-litert is installed.

    \b
    Examples:
      hwsim validate
      hwsim validate eyeriss_v1 alexnet --batch 4
      hwsim validate systolic_ws resnet50_v1 --layer 'res2*' --sample 64
    """
    from hwsim.validate import comparisons, markdown_tables

    executes = workload is not None and not markdown
    part = bool(changes or layers or sample)
    if part and not executes:
        raise InputError("--layer, --sample and --set are for the execution of a WORKLOAD on a MACHINE: give both")
    found = {} if part else comparisons(machine, workload)
    if not found and not executes:
        raise InputError(f"no published measurement is kept for {' on '.join(filter(None, (workload, machine)))}")
    if markdown:
        click.echo(markdown_tables(found), nl=False)
    elif found:
        from hwsim.report.table import comparison_table

        console = _console()
        for name, rows in found.items():
            console.print(f"[bold]{name}[/bold]")
            console.print(comparison_table(rows))
            console.print()
    rows_all = [row for rows in found.values() for row in rows]
    outside = [row for row in rows_all if not row.within]
    if found and not markdown:
        click.echo(f"{len(rows_all)} published quantities, {len(outside)} outside their limit")
    failed = bool(outside)
    if machine is None and not markdown:
        from hwsim.kernel_checks import print_checks

        failed |= not print_checks(_console())
    if executes and machine is not None and workload is not None:
        failed |= not _execute(machine, workload, batch, changes, layers, sample)
        if workload.lower().endswith(".tflite"):
            from hwsim.inference import print_graph
            from hwsim.workload.tflite import read_model

            failed |= not print_graph(read_model(workload), _console())
    if failed:
        raise SystemExit(1)


@cli.command("import")
@click.argument("model", metavar="MODEL.tflite")
@click.option("-o", "--output", required=True, metavar="TRACE", help="The trace to write ('-': standard output).")
@click.option("--name", metavar="NAME", default="", help="Its name; that of the file unless told otherwise.")
@click.option("--source", metavar="TEXT", default="", help="Where the model is from.")
def import_(model: str, output: str, name: str, source: str) -> None:
    """Write the network of a MODEL as a trace: shapes, densities, dead channels and a digest, but no weights.

    \b
    Examples:
      hwsim import person_detect.tflite -o person_detect.yaml
    """
    from hwsim.workload.tflite import read_model
    from hwsim.workload.trace_text import trace_text

    read = read_model(model, name)
    network = read.workload.replace([], source=source) if source else read.workload
    text = trace_text(network)
    _write(text, output)
    for warning in read.warnings:
        click.echo(f"hwsim: warning: {warning}", err=True)


@cli.command()
@click.argument("what", type=click.Choice(["machine", "workload"]), default="machine")
def schema(what: str) -> None:
    """Print the JSON Schema of machine or workload files, for an editor."""
    from hwsim.schema import machine_schema, workload_schema

    click.echo(json.dumps(machine_schema() if what == "machine" else workload_schema(), indent=1))


def main() -> None:
    """Run the command line: errors as text, exit 2 on bad input, never a traceback."""
    warnings.showwarning = lambda message, *_, **__: click.echo(f"hwsim: warning: {message}", err=True)
    try:
        cli.main(prog_name="hwsim", standalone_mode=False)
    except click.exceptions.Abort:
        raise SystemExit(130) from None
    except click.ClickException as error:
        error.show()
        raise SystemExit(error.exit_code) from None
    except HwsimError as error:
        for line in str(error).splitlines():
            click.echo(f"hwsim: {line}", err=True)
        raise SystemExit(2) from None
    except BrokenPipeError:
        sys.stderr.close()
        raise SystemExit(0) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except MemoryError:
        click.echo("hwsim: not enough memory for this input", err=True)
        raise SystemExit(2) from None
