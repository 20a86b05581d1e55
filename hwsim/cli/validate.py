"""``hwsim validate``: predictions against measurements; execution of nests and kernels."""

from __future__ import annotations

import sys

import click

from hwsim.cli.completion import names
from hwsim.cli.options import batch_option, changes_of, console_of, network_of, set_option, shape_option
from hwsim.errors import InputError

__all__ = ["validate"]


def _execute(
    machine: str,
    workload: str,
    batch: int,
    changes: tuple[str, ...],
    layers: str | None,
    sample: int | None,
    shapes: tuple[str, ...],
) -> bool:
    """Execute the loop nests of a network and print the checks; True if all are equal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    import hwsim
    from hwsim.validation.nests import print_checks, validate_layers

    network = network_of(workload, shapes)
    plan = hwsim.load_machine(machine, set=changes_of(changes)).plan(network, batch)
    plan = plan.select(layers) if layers else plan
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console_of(error=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("", total=None)

        def tell(layer: str, count: int, total: int) -> None:
            bar.update(task, description=layer, completed=count // 10**6, total=total // 10**6)

        checks = list(validate_layers(plan, sample, tell))
    return print_checks(checks, console_of())


def _algorithm(
    machine: str | None, workload: str | None, name: str, layers: str | None, sample: int | None,
    changes: tuple[str, ...], shapes: tuple[str, ...],
) -> None:  # fmt: skip
    """Execute the convolutions of a network by an algorithm; exit code 1 if whole numbers differ."""
    import hwsim
    from hwsim.validation.algorithm import check_algorithm, print_algorithm

    if machine is None or workload is None:
        raise InputError("--algorithm must come with both MACHINE and WORKLOAD")
    plan = hwsim.load_machine(machine, set=changes_of(changes)).plan(network_of(workload, shapes))
    plan = plan.select(layers) if layers else plan
    network = hwsim.Workload(plan.workload.name, plan.layers, graph=False)
    checks = list(check_algorithm(network, name, sample))
    if not checks:
        raise InputError(f"--algorithm must come with convolutions, which {plan.workload.name} has none of here")
    if not print_algorithm(checks, name, console_of()):
        sys.exit(1)


@click.command()
@click.argument("machine", required=False, shell_complete=names("machines"))
@click.argument("workload", required=False, shell_complete=names("workloads"))
@click.option("--markdown", is_flag=True, help="Print the published table as Markdown, as docs/accuracy.md holds it.")
@click.option("--layer", "layers", metavar="PATTERN", help="Execute only the layers whose name matches, as 'conv*'.")
@click.option("--sample", type=click.IntRange(min=1), metavar="N", help="Truncate each dimension to at most N.")
@click.option(
    "--algorithm",
    metavar="NAME",
    help="Execute convolutions by this algorithm, as winograd-4x4: bits needed, signal to noise per layer.",
)
@batch_option
@set_option
@shape_option
def validate(
    machine: str | None,
    workload: str | None,
    markdown: bool,
    layers: str | None,
    sample: int | None,
    algorithm: str | None,
    batch: int,
    changes: tuple[str, ...],
    shapes: tuple[str, ...],
) -> None:
    """Compare predictions with published measurements. With both arguments, WORKLOAD is also executed on MACHINE.

    Without MACHINE, the int8 kernels are checked too: against each other, bit for bit against onnxruntime and TFLite if
    installed, Winograd against direct convolution, operation counts against published ones.

    Execution runs the loop nest of each layer on seeded int8 data: the output must equal that of the layer, and every
    word read, filled, updated or drained must equal the predicted counts. Fused attention of GPUs runs in its tiles and
    formats; its output must be exact to the roundings of float32. For a WORKLOAD.tflite the int8 graph runs too on
    random input, and each operator is compared with TFLite's reference interpreter if ai-edge-litert is installed.
    Exit code 1: a prediction is outside its limit or an execution differs.

    \b
    Examples:
      hwsim validate
      hwsim validate eyeriss_v1 alexnet --batch 4
      hwsim validate systolic_ws resnet50_v1 --layer 'res2*' --sample 64
      hwsim validate nvdla_2048 vgg16 --algorithm winograd-2x2 --layer 'conv1*'
    """
    if algorithm is not None:
        _algorithm(machine, workload, algorithm, layers, sample, changes, shapes)
        return
    from hwsim.validation.predictions import comparisons, markdown_tables

    executes = workload is not None and not markdown
    part = bool(changes or layers or sample)
    if part and not executes:
        raise InputError("--layer, --sample and --set must come with both MACHINE and WORKLOAD")
    published = {} if part else comparisons(machine, workload)
    if not published and not executes:
        raise InputError(f"there is no published measurement for {' on '.join(filter(None, (workload, machine)))}")
    if markdown:
        click.echo(markdown_tables(published), nl=False)
    elif published:
        from hwsim.report.table import print_predictions

        console = console_of()
        for name, rows in published.items():
            console.print(f"[bold]{name}[/bold]")
            print_predictions(rows, console)
            console.print()
    rows_all = [row for rows in published.values() for row in rows]
    outside = [row for row in rows_all if not row.within]
    if published and not markdown:
        click.echo(f"published quantities: {len(rows_all)}, outside their limit: {len(outside)}")
    failure = bool(outside)
    if machine is None and not markdown:
        from hwsim.validation.kernels import print_checks

        failure |= not print_checks(console_of())
    if executes and machine is not None and workload is not None:
        failure |= not _execute(machine, workload, batch, changes, layers, sample, shapes)
        if workload.lower().endswith(".tflite"):
            from hwsim.validation.tflite import print_graph
            from hwsim.workload.tflite import read_model

            failure |= not print_graph(read_model(workload), console_of())
    if failure:
        raise SystemExit(1)
