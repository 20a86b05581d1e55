"""``hwsim train``: a training step of a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from hwsim.cli.completion import names, words
from hwsim.cli.options import (
    changes_of,
    check_order,
    console_of,
    html_option,
    json_option,
    network_of,
    output_option,
    set_option,
    shape_option,
    write,
)
from hwsim.errors import InputError

if TYPE_CHECKING:
    from hwsim.machines import Machine
    from hwsim.workload import Workload

__all__ = ["train"]

_PRECISIONS = ("fp32", "tf32", "mixed")
_OPTIMIZERS = ("sgd", "momentum", "adam", "lamb")
_FUSIONS = ("none", "bn_relu", "bn_relu_add", "statistics")
_LAYOUTS = ("nhwc", "nchw")


@click.command()
@click.argument("machine", shell_complete=names("arch_configs", "arch_configs/clusters"))
@click.argument("workload", shell_complete=names("workloads"))
@click.option(
    "--batch", default=1, show_default=True, metavar="N", help="Inputs that go through the network of a device at once."
)
@click.option(
    "--parallel",
    metavar="SPLIT",
    help="On a cluster: data=8 and layers=, channels=, maps=, tensor=, pipeline=, with commas for products; micro= for "
    "the micro-batches of a pipeline (default: data, over a node).",
)
@click.option("--compare-parallel", is_flag=True, help="Bytes, time and memory of each split over so many devices.")
@click.option("--bucket", metavar="SIZE", help="Gradients leave when so many bytes are there (default: 25 MB).")
@click.option(
    "--overlap",
    type=float,
    metavar="SHARE",
    help="Of their time that the backward pass may hide (default: 1; 0: none).",
)
@click.option("--gradient", metavar="FORMAT", help="They are sent in this number format, as fp16 or int8.")
@click.option("--servers", type=int, metavar="N", help="Parameter servers sum them, not an all-reduce.")
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
    help="The 16 bits of mixed precision: fp16 (default on GPUs) or bf16 (default on processors).",
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
@click.option("--host", metavar="TIME", help="Of the host to launch a kernel, as '10 us' (default: 0 s).")
@click.option("--epochs", type=float, metavar="N", help="Of a schedule: with its hours and kWh (default: 1).")
@click.option("--samples", type=int, metavar="N", help="Of an epoch (default: 1,281,167, those of ImageNet).")
@set_option
@shape_option
@click.option("--all", "every_layer", is_flag=True, help="Print every layer, not repeated blocks once.")
@json_option
@output_option("--csv", "csv_file", help="Write a row for each layer as CSV.")
@html_option
def train(
    machine: str,
    workload: str,
    batch: int,
    parallel: str | None,
    compare_parallel: bool,
    bucket: str | None,
    overlap: float | None,
    gradient: str | None,
    servers: int | None,
    precision: str,
    half: str,
    optimizer: str,
    fusion: str,
    layout: str,
    accumulate: int,
    recompute: bool,
    host: str | None,
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

    MACHINE is a GPU, a processor or a cluster of them (`hwsim list clusters`). WORKLOAD may be a GPT by its sizes, as
    gpt:hidden=1024,layers=24,heads=16,sequence=1024. The command exits with 1 if the step does not fit its memory.

    \b
    Examples:
      hwsim train a100 resnet50_v1_5 --batch 256 --precision mixed
      hwsim train v100 resnet50_v1_5 --batch 128 --epochs 90
      hwsim train a100 bert_large_128 --batch 64 --precision mixed --optimizer lamb --accumulate 32
      hwsim train p100 vgg19 --batch 64 --recompute --csv -
      hwsim train dgx1_v100 resnet50_v1_5 --batch 64 --parallel data=8
      hwsim train dgx1_v100 vgg16 --batch 64 --compare-parallel
      hwsim train dgx_a100 gpt:hidden=3072,layers=30,heads=32 --parallel tensor=8,pipeline=2,data=4,micro=16
    """
    import hwsim
    from hwsim.files import csv_text
    from hwsim.parallel import ClusterStep, parallel_of
    from hwsim.report.json_text import json_text
    from hwsim.report.parallel import cluster_step_data, print_cluster_step
    from hwsim.report.training import print_step, step_data, step_table

    check_order(machine, workload)
    schedule = _schedule(epochs, samples)
    device = hwsim.load_machine(machine, set=changes_of(changes))
    network = workload if workload.startswith("gpt:") else network_of(workload, shapes)
    reduce = None if servers is None else "server"
    ways = {"bucket": bucket, "overlap": overlap, "gradient": gradient, "reduce": reduce, "servers": servers}
    if device.kind != "cluster" and (unused := [name for name, value in ways.items() if value is not None]):
        name = "servers" if "servers" in unused else unused[0]
        raise InputError(
            f"--{name} is of a cluster, as dgx1_v100 (`hwsim list clusters`), not of {machine}: leave it out"
        )
    split = None
    if parallel is not None or any(value is not None for value in ways.values()):
        split = parallel_of(parallel or _node(device), **ways)
    if compare_parallel:
        given = {"--csv": csv_file, "--html": html_file, "--epochs": epochs, "--samples": samples}
        if unused := [name for name, value in given.items() if value is not None]:
            raise InputError(f"--compare-parallel gives a table or --json: leave {', '.join(unused)} out")
        own = {
            "precision": precision, "half": half, "optimizer": optimizer, "fusion": fusion, "layout": layout,
            "accumulate": accumulate, "recompute": recompute, "host": host or "0 s",
        }  # fmt: skip
        _compare(device, network, batch, None if split is None else split.devices, own, json_file)
        return
    step = hwsim.train(
        device,
        network,
        batch,
        split,
        precision=precision,
        half=half,
        optimizer=optimizer,
        fusion=fusion,
        layout=layout,
        accumulate=accumulate,
        recompute=recompute,
        host=host or "0 s",
    )
    many = step if isinstance(step, ClusterStep) else None
    one = step.one if isinstance(step, ClusterStep) else step
    if json_file:
        data = step_data(one, schedule) if many is None else cluster_step_data(many, schedule)
        write(json_text(data), json_file)
    if csv_file:
        write(csv_text(step_table(one)), csv_file)
    if html_file:
        from hwsim.report.html.training import training_html

        write(training_html(one, schedule, many), html_file)
    if "-" not in (json_file, csv_file, html_file):
        if many is None:
            print_step(one, console_of(), not every_layer, schedule)
        else:
            print_cluster_step(many, console_of(), not every_layer, schedule)
    if not step.memory.fits:
        raise SystemExit(1)


def _node(machine: Machine) -> str:
    """Data parallelism over a node of a cluster."""
    return f"data={machine.spec.devices if machine.kind == 'cluster' else 1}"


def _compare(
    machine: Machine,
    network: str | Workload,
    batch: int,
    devices: int | None,
    recipe: Mapping[str, object],
    json_file: str | None,
) -> None:
    from hwsim.machines import Cluster
    from hwsim.parallel import compare_splits
    from hwsim.parallel.train import network_to_train
    from hwsim.report.json_text import json_text
    from hwsim.report.parallel import print_splits, splits_data
    from hwsim.training.recipe import recipe_of

    if not isinstance(machine, Cluster):
        raise InputError(f"splits are compared on a cluster, as dgx1_v100 (`hwsim list clusters`), not {machine.name}")
    count = machine.spec.devices if devices is None else devices
    model = network_to_train(network)
    rows = compare_splits(machine, model, batch, count, recipe_of(dict(recipe)))
    if json_file:
        write(json_text(splits_data(rows)), json_file)
    if json_file != "-":
        title = f"training {model.name} on {count} devices of {machine.name}, a batch of {batch:,} on each"
        print_splits(title, rows, console_of())


def _schedule(epochs: float | None, samples: int | None) -> tuple[int, float] | None:
    """Samples of an epoch, and epochs; none where neither is given."""
    if epochs is None and samples is None:
        return None
    if samples is not None and not 1 <= samples <= 10**15:
        raise InputError(f"--samples must be a whole number from 1 to 10^15, not {samples}")
    if epochs is not None and not 0 < epochs <= 1e9:
        raise InputError(f"--epochs must be a number above 0, up to 10^9, not {epochs}")
    return (1_281_167 if samples is None else samples), (1.0 if epochs is None else epochs)
