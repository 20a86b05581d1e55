"""Catalogue of the built-in machines and workloads, and the listing of one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml
from rich.console import Console
from rich.syntax import Syntax

from hwsim.errors import InputError, nearest
from hwsim.machines import load_machine, machine_document, machine_names
from hwsim.machines.loader import HERE
from hwsim.report.quantity import counted
from hwsim.report.terminal import Column, print_columns
from hwsim.units import format_size
from hwsim.workload import Layer, load_workload, workload_names
from hwsim.yaml_source import read_yaml

__all__ = ["kind_of", "print_machines", "print_workloads", "show_any"]


def print_machines(console: Console) -> None:
    """The machines: name, kind and what they are."""
    specs = {name: load_machine(name).spec for name in machine_names()}
    columns = [
        Column("machine", list(specs)),
        Column("kind", [spec.kind for spec in specs.values()]),
        Column("description", [spec.description or spec.source for spec in specs.values()], least=20),
    ]
    print_columns(console, columns)


def print_workloads(console: Console) -> None:
    """The workloads: name, layers, MACs and weights."""
    networks = {name: load_workload(name) for name in workload_names()}
    columns = [
        Column("workload", list(networks), least=12),
        Column("layers", [str(len(network.layers)) for network in networks.values()], right=True),
        Column("MACs", [f"{network.macs:,}" for network in networks.values()], right=True),
        Column("weights", [f"{network.weights:,}" for network in networks.values()], right=True),
    ]
    print_columns(console, columns)


def show_any(
    name: str,
    changes: Mapping[str, object],
    console: Console,
    shape: Mapping[str, int | Sequence[int]] | None = None,
) -> None:
    """Show a machine as resolved YAML, or a workload as a table of its layers; `shape` as of `load_workload`."""
    if kind_of(name) == "machine":
        document = machine_document(name, changes)
        load_machine(name, set=changes)
        text = yaml.safe_dump(document.data, sort_keys=False, allow_unicode=True, width=110)
        console.print(Syntax(text, "yaml", background_color="default") if console.is_terminal else text)
        return
    if changes:
        raise InputError("--set applies to machines only")
    network = load_workload(name, shape=shape)
    columns = [
        Column("layer", [layer.name for layer in network], least=12),
        Column("op", [layer.op for layer in network]),
        Column("input", [_shape(layer, "input") for layer in network], least=12),
        Column("output", [_shape(layer, "output") for layer in network], least=12),
        Column("MACs", [f"{layer.macs:,}" for layer in network], right=True),
        Column("weights", [f"{layer.weights:,}" for layer in network], right=True),
    ]
    print_columns(console, columns)
    peak = format_size(network.peak_activation_bytes(1))
    console.print(
        f"\n{counted(len(network.layers), 'layer')}, {network.macs:,} MACs, {network.weights:,} weights; "
        f"peak activations {peak}"
    )


def kind_of(name: str) -> str:
    """What a name or path is of: ``machine``, ``workload``, or ``report`` (one saved as JSON)."""
    if name in machine_names() or name in HERE:
        return "machine"
    suffix = Path(name).suffix.lower()
    if suffix == ".json":
        return "report"
    if name in workload_names() or suffix in (".csv", ".onnx", ".tflite"):
        return "workload"
    if suffix not in (".yaml", ".yml"):
        choices = [*machine_names(), *workload_names()]
        raise InputError(f"no machine or workload is called {name!r}{nearest(name, choices)}")
    data = read_yaml(Path(name)).data
    keys = set(data) if isinstance(data, dict) else set()
    # Only a network lists layers; only a machine has a kind, its own or that of its base.
    is_machine = "kind" in keys or (not {"layers", "density", "dtype"} & keys and data.get("base") in machine_names())
    return "machine" if is_machine else "workload"


def _shape(layer: Layer, tensor: str) -> str:
    kind = getattr(layer, tensor)
    density = "" if kind.density == 1 else f" {kind.density:.0%}"
    return "x".join(map(str, kind.shape)) + f" {kind.dtype}{density}"
