"""What there is: the machines and workloads that come with hwsim, and one of them shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import yaml
from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table

from hwsim.errors import InputError, nearest
from hwsim.machines import load_machine, machine_document, machine_names
from hwsim.units import format_size
from hwsim.workload import Layer, load_workload, workload_names

__all__ = ["print_machines", "print_workloads", "show_any"]


def _table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left", no_wrap=True, overflow="ellipsis")
    return table


def print_machines(console: Console) -> None:
    """The machines: name, kind and what they are."""
    table = _table("machine", "kind", "what it is")
    for name in machine_names():
        spec = load_machine(name).spec
        table.add_row(name, spec.kind, spec.description or spec.source)
    console.print(table)


def print_workloads(console: Console) -> None:
    """The workloads: name, layers, MACs and weights."""
    table = _table("workload", "layers", "MACs", "weights", right=("layers", "MACs", "weights"))
    for name in workload_names():
        network = load_workload(name)
        table.add_row(name, str(len(network.layers)), f"{network.macs:,}", f"{network.weights:,}")
    console.print(table)


def show_any(
    name: str,
    changes: Mapping[str, object],
    console: Console,
    shape: Mapping[str, int | Sequence[int]] | None = None,
) -> None:
    """Show a machine as resolved YAML, or a workload as a table of its layers; `shape` as of `load_workload`."""
    is_path = name.endswith((".yaml", ".yml"))
    if name in machine_names() or (is_path and _is_machine(name)):
        document = machine_document(name, changes)
        load_machine(name, set=changes)
        text = yaml.safe_dump(document.data, sort_keys=False, allow_unicode=True, width=110)
        console.print(Syntax(text, "yaml", background_color="default") if console.is_terminal else text)
        return
    if changes:
        raise InputError("--set changes machines only")
    if not is_path and not name.endswith((".csv", ".onnx", ".tflite")) and name not in workload_names():
        raise InputError(
            f"no machine or workload is called {name!r}{nearest(name, [*machine_names(), *workload_names()])}"
        )
    network = load_workload(name, shape=shape)
    table = _table("layer", "op", "input", "output", "MACs", "weights", right=("MACs", "weights"))
    for layer in network:
        table.add_row(
            layer.name,
            layer.op,
            _shape(layer, "input"),
            _shape(layer, "output"),
            f"{layer.macs:,}",
            f"{layer.weights:,}",
        )
    console.print(table)
    peak = format_size(network.peak_activation_bytes(1))
    console.print(
        f"\n{len(network.layers)} layers, {network.macs:,} MACs, {network.weights:,} weights; peak activations {peak}"
    )


def _is_machine(name: str) -> bool:
    data = machine_document(name).data
    return "kind" in data


def _shape(layer: Layer, tensor: str) -> str:
    kind = getattr(layer, tensor)
    density = "" if kind.density == 1 else f" {kind.density:.0%}"
    return "x".join(map(str, kind.shape)) + f" {kind.dtype}{density}"
