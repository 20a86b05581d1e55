"""``hwsim train``: a training step of a network."""

from __future__ import annotations

import click

from hwsim.cli.completion import words
from hwsim.cli.options import (
    changes_of,
    check_order,
    console_of,
    machine_argument,
    network_of,
    output_option,
    set_option,
    shape_option,
    workload_argument,
    write,
)
from hwsim.errors import InputError

__all__ = ["train"]

_PRECISIONS = ("fp32", "tf32", "mixed")
_OPTIMIZERS = ("sgd", "momentum", "adam", "lamb")
_FUSIONS = ("none", "bn_relu", "bn_relu_add", "statistics")
_LAYOUTS = ("nhwc", "nchw")


@click.command()
@machine_argument
@workload_argument
@click.option("--batch", default=1, show_default=True, metavar="N", help="Inputs that go through the network at once.")
@click.option(
    "--precision",
    default="fp32",
    metavar="NAME",
    shell_complete=words(*_PRECISIONS),
    help="fp32 (default), tf32 or mixed: 16 bits but for sums and the weights of the optimizer.",
)
@click.option(
    "--half",
    default="",
    metavar="NAME",
    shell_complete=words("fp16", "bf16"),
    help="The 16 bits of mixed precision: fp16 (default) or bf16.",
)
@click.option(
    "--optimizer",
    default="momentum",
    metavar="NAME",
    shell_complete=words(*_OPTIMIZERS),
    help="sgd, momentum (default), adam or lamb.",
)
@click.option(
    "--fusion",
    default="none",
    metavar="NAME",
    shell_complete=words(*_FUSIONS),
    help="One pass over memory for several: none (default), bn_relu, bn_relu_add or statistics.",
)
@click.option(
    "--layout",
    default="nhwc",
    metavar="NAME",
    shell_complete=words(*_LAYOUTS),
    help="Of images: nhwc (default), or nchw, which tensor cores need turned.",
)
@click.option("--accumulate", default=1, metavar="N", help="Batches between two updates (default: 1).")
@click.option("--recompute", is_flag=True, help="Compute activations again for the backward pass, to save memory.")
@click.option("--epochs", type=float, metavar="N", help="Of a schedule: with its hours and kWh (default: 1).")
@click.option("--samples", type=int, metavar="N", help="Of an epoch (default: 1,281,167, those of ImageNet).")
@set_option
@shape_option
@click.option("--all", "every_layer", is_flag=True, help="Print every layer, not repeated blocks once.")
@output_option("--json", "json_file", help="Write everything as JSON ('-': standard output).")
@output_option("--csv", "csv_file", help="Write a row for each layer as CSV.")
@output_option("--html", "html_file", help="Write a self-contained HTML page with charts.")
def train(
    machine: str,
    workload: str,
    batch: int,
    precision: str,
    half: str,
    optimizer: str,
    fusion: str,
    layout: str,
    accumulate: int,
    recompute: bool,
    epochs: float | None,
    samples: int | None,
    changes: tuple[str, ...],
    shapes: tuple[str, ...],
    every_layer: bool,
    json_file: str | None,
    csv_file: str | None,
    html_file: str | None,
) -> None:
    """Predict a training step of a network: time, memory and energy of each layer's forward and backward pass.

    MACHINE is a GPU or a processor. The command exits with 1 if the step does not fit its memory.

    \b
    Examples:
      hwsim train a100 resnet50_v1_5 --batch 256 --precision mixed
      hwsim train v100 resnet50_v1_5 --batch 128 --epochs 90
      hwsim train a100 bert_large_128 --batch 64 --precision mixed --optimizer lamb --accumulate 32
      hwsim train p100 vgg19 --batch 64 --recompute --csv -
    """
    import hwsim
    from hwsim.files import csv_text
    from hwsim.report.json_text import json_text
    from hwsim.report.training import print_step, step_data, step_table
    from hwsim.training import train as train_on_one

    check_order(machine, workload)
    schedule = _schedule(epochs, samples)
    step = train_on_one(
        hwsim.load_machine(machine, set=changes_of(changes)),
        network_of(workload, shapes),
        batch,
        precision=precision,
        half=half,
        optimizer=optimizer,
        fusion=fusion,
        layout=layout,
        accumulate=accumulate,
        recompute=recompute,
    )
    if json_file:
        write(json_text(step_data(step, schedule)), json_file)
    if csv_file:
        write(csv_text(step_table(step)), csv_file)
    if html_file:
        from hwsim.report.html.training import training_html

        write(training_html(step, schedule), html_file)
    if "-" not in (json_file, csv_file, html_file):
        print_step(step, console_of(), not every_layer, schedule)
    if not step.memory.fits:
        raise SystemExit(1)


def _schedule(epochs: float | None, samples: int | None) -> tuple[int, float] | None:
    """Samples of an epoch, and epochs; none where neither is given."""
    if epochs is None and samples is None:
        return None
    if samples is not None and not 1 <= samples <= 10**15:
        raise InputError(f"--samples must be a whole number from 1 to 10^15, not {samples}")
    if epochs is not None and not 0 < epochs <= 1e9:
        raise InputError(f"--epochs must be a number above 0, up to 10^9, not {epochs}")
    return (1_281_167 if samples is None else samples), (1.0 if epochs is None else epochs)
