"""Catalogue of the built-in machines, workloads, language models and cost tables, and the listing of one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from os.path import isfile
from pathlib import Path

import yaml
from rich.console import Console
from rich.syntax import Syntax

from hwsim.energy import CostTable, load_table, table_names
from hwsim.errors import InputError, nearest
from hwsim.machines import Cluster, cluster_names, load_machine, machine_document, machine_names
from hwsim.machines.loader import HERE
from hwsim.report.quantity import counted
from hwsim.report.terminal import Column, print_columns
from hwsim.units import format_si, format_size
from hwsim.workload import Layer, Workload, load_workload, workload_names
from hwsim.workload.loader import check_suffix
from hwsim.workload.transformer import decode_network, llm_names, load_llm
from hwsim.yaml_source import read_yaml

__all__ = [
    "kind_of",
    "matches",
    "print_clusters",
    "print_llms",
    "print_machines",
    "print_tables",
    "print_workloads",
    "show_any",
]

_SUFFIXES = (".yaml", ".yml", ".cfg", ".csv", ".onnx", ".tflite", ".json")


def print_machines(console: Console) -> None:
    """The machines: name, kind and what they are."""
    specs = {name: load_machine(name).spec for name in machine_names()}
    columns = [
        Column("machine", list(specs)),
        Column("kind", [spec.kind for spec in specs.values()]),
        Column("description", [spec.description or spec.source for spec in specs.values()], least=20),
    ]
    print_columns(console, columns)


def print_clusters(console: Console) -> None:
    """The clusters: name, devices of a node, nodes and what they are."""
    clusters = [cluster for name in cluster_names() if isinstance(cluster := load_machine(name), Cluster)]
    columns = [
        Column("cluster", [cluster.name for cluster in clusters]),
        Column("devices", [f"{cluster.spec.devices} x {cluster.spec.device}" for cluster in clusters]),
        Column("nodes", [str(cluster.spec.nodes) for cluster in clusters], right=True),
        Column("description", [cluster.spec.description or cluster.spec.source for cluster in clusters], least=20),
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


def print_llms(console: Console) -> None:
    """The language models: name, parameters, blocks, and what a token takes of the cache in 16 bits."""
    models = [load_llm(name) for name in llm_names()]
    columns = [
        Column("model", [model.name for model in models], least=12),
        Column("parameters", [f"{model.counted_parameters:,}" for model in models], right=True),
        Column("blocks", [str(model.layers) for model in models], right=True),
        Column("hidden", [f"{model.hidden:,}" for model in models], right=True),
        Column("heads", [f"{model.heads}/{model.kv_heads} x {model.head}" for model in models], right=True),
        Column("cache a token", [format_size(2 * model.layers * model.kv_values) for model in models], right=True),
    ]
    print_columns(console, columns)


def print_tables(console: Console) -> None:
    """The cost tables: name, node, voltage, and where they come from."""
    tables = {name: load_table(name) for name in table_names()}
    columns = [
        Column("table", list(tables)),
        Column("node", [f"{table.node_nm:g} nm" for table in tables.values()], right=True),
        Column("voltage", [f"{float(table.voltage):g} V" for table in tables.values()], right=True),
        Column("entries", [str(len(table.entries)) for table in tables.values()], right=True),
        Column("source", [table.source for table in tables.values()], least=20),
    ]
    print_columns(console, columns)


def _show_table(table: CostTable, console: Console) -> None:
    """A cost table: its entries and its SRAM points, each with its source."""
    console.print(f"{table.name}: {table.node_nm:g} nm, {float(table.voltage):g} V\nsource: {table.source}")
    if table.note:
        console.print(f"note: {table.note}")
    rows = [
        (name, entry.energy, entry.bits, entry.source + (f"; fitted on {entry.fitted}" if entry.fitted else ""))
        for name, entry in table.entries.items()
    ]
    rows += [(f"sram {format_size(int(p.size))}", p.read, p.width, p.source) for p in table.sram]
    columns = [
        Column("entry", [row[0] for row in rows]),
        Column("energy", [format_si(float(row[1]) * 1e-12, "J", 4) for row in rows], right=True),
        Column("bits", [str(row[2] or "") for row in rows], right=True),
        Column("source", [row[3] for row in rows], least=20),
    ]
    console.print()
    print_columns(console, columns)


def show_any(
    name: str,
    changes: Mapping[str, object],
    console: Console,
    shape: Mapping[str, int | Sequence[int]] | None = None,
    allow_missing: bool = False,
) -> None:
    """Show a machine as resolved YAML, a workload's layers or a table's entries.

    `shape` and `allow_missing` are those of `load_workload`.
    """
    kind = kind_of(name)
    if kind == "machine":
        document = machine_document(name, changes)
        load_machine(name, set=changes)
        text = yaml.safe_dump(document.data, sort_keys=False, allow_unicode=True, width=110)
        console.print(Syntax(text, "yaml", background_color="default") if console.is_terminal else text)
        return
    if changes:
        raise InputError("--set applies to machines only")
    if kind == "table":
        _show_table(load_table(name), console)
        return
    if kind == "llm":
        model = load_llm(name)
        text = yaml.safe_dump(model.model_dump(), sort_keys=False, allow_unicode=True, width=110)
        console.print(Syntax(text, "yaml", background_color="default") if console.is_terminal else text)
        network = decode_network(model, 1)
    else:
        network = load_workload(name, shape=shape, allow_missing=allow_missing)
    columns = [
        Column("layer", [layer.name for layer in network], least=12),
        Column("op", [layer.op for layer in network]),
        Column("input", [_shape(layer, "input") for layer in network], least=12),
        Column("output", [_shape(layer, "output") for layer in network], least=12),
        Column("MACs", [f"{layer.macs:,}" for layer in network], right=True),
        Column("weights", [f"{layer.weights:,}" for layer in network], right=True),
        *_stored(network),
    ]
    print_columns(console, columns)
    peak = format_size(network.peak_activation_bytes(1))
    console.print(
        f"\n{counted(len(network.layers), 'layer')}, {network.macs:,} MACs, {network.weights:,} weights; "
        f"peak activations {peak}"
    )


_MOST_BASES = 32
"""Files that build on each other; a circle of them ends there."""


def matches(pattern: str) -> list[str]:
    """Names of built-in machines and workloads that match a shell pattern; of one with a folder or a suffix, files."""
    files = "/" in pattern or Path(pattern).suffix.lower() in _SUFFIXES
    if files:
        path = Path(pattern)
        root = Path(path.anchor)
        found = [str(file) for file in sorted(root.glob(str(path.relative_to(root)))) if file.is_file()]
    else:
        found = [name for name in (*machine_names(), *workload_names()) if fnmatchcase(name, pattern)]
    if not found:
        raise InputError(f"a pattern must match a machine, a workload or a file; {pattern!r} matches none")
    return found


def kind_of(name: str) -> str:
    """What a name or path is of: ``machine``, ``workload``, ``llm``, ``table`` or ``report`` (one saved as JSON)."""
    suffix = Path(name).suffix.lower()
    if name in machine_names() or name in cluster_names() or name in HERE or suffix == ".cfg":
        return "machine"
    if name in table_names():
        return "table"
    if name in llm_names():
        return "llm"
    if suffix == ".json":
        return "llm" if Path(name).name == "config.json" else "report"
    if name in workload_names() or suffix in (".csv", ".onnx", ".tflite"):
        return "workload"
    if suffix not in (".yaml", ".yml"):
        if isfile(name):
            check_suffix(Path(name), (".yaml", ".csv", ".onnx", ".tflite", ".cfg", ".json"))
        choices = [*machine_names(), *cluster_names(), *workload_names(), *llm_names(), *table_names()]
        near = nearest(name, choices, "`hwsim list` has all")
        raise InputError(f"no machine, workload or cost table is called {name!r}{near}")
    return _kind_of_file(Path(name))


def _kind_of_file(path: Path) -> str:
    """What a YAML file is of, by its keys or those of the files that it builds on."""
    for number in range(_MOST_BASES):
        data = read_yaml(path).data
        keys = set(data) if isinstance(data, dict) else set()
        if not number and {"entries", "node", "voltage"} <= keys:
            return "table"
        if "kind" in keys:
            return "llm" if data["kind"] == "llm" else "machine"
        # Only a network lists layers.
        if {"layers", "density", "dtype"} & keys or "base" not in keys:
            return "workload"
        base = data["base"]
        if not isinstance(base, str) or Path(base).suffix.lower() not in (".yaml", ".yml"):
            return (
                "machine"
                if base in (*machine_names(), *cluster_names()) or str(base).lower().endswith(".cfg")
                else "workload"
            )
        path = path.parent / base
        if not path.is_file():
            return "workload"
    return "workload"  # a circle of bases


def _stored(network: Workload) -> list[Column]:
    """The share of weights that is kept, and how they are stored, if any are pruned or in another format."""
    specs = [layer.weight.spec if layer.weights else None for layer in network]
    kept = [f"{spec.density:.3g}" if spec is not None and spec.density < 1 else "" for spec in specs]
    forms = [spec.format if spec is not None and spec.format != "dense" else "" for spec in specs]
    columns = {"kept": kept, "stored as": forms}
    return [Column(name, cells, right=name == "kept") for name, cells in columns.items() if any(cells)]


def _shape(layer: Layer, tensor: str) -> str:
    kind = getattr(layer, tensor)
    density = "" if kind.density == 1 else f" {kind.density:.0%}"
    return "x".join(map(str, kind.shape)) + f" {kind.spec.name}{density}"
