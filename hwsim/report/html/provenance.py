"""The machine and the workload as a run used them: every constant with its source, every layer with its shapes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from hwsim.report.html.page import Cell, Page, merged
from hwsim.report.provenance import provenance
from hwsim.report.quantity import shown
from hwsim.units import format_si

if TYPE_CHECKING:
    from hwsim.report.result import RunResult
    from hwsim.workload import Layer

__all__ = ["add_machine", "add_workload", "machine_rows"]

_METADATA = {"source", "fitted", "name", "description", "kind", "base"}
_MOST_ROWS = 1000


def machine_rows(data: Any, path: tuple[str, ...] = (), source: str = "") -> Iterator[tuple[tuple[str, ...], str, str]]:
    """Each value of a machine file with its path and its nearest source."""
    if not isinstance(data, dict):
        text = ", ".join(map(str, data)) if isinstance(data, list) else str(data)
        yield path, text, source
        return
    own = str(data["source"]) if isinstance(data.get("source"), str) else source
    for key, value in data.items():
        key = str(key)
        if key in _METADATA or key.endswith("_source"):
            continue
        own_source = data.get(f"{key}_source")
        yield from machine_rows(value, (*path, key), str(own_source) if own_source is not None else own)


def add_machine(page: Page, report: RunResult) -> None:
    """Values of the machine's file, prices of its actions, and constants from elsewhere."""
    machine = report.machine
    page.section("Machine as used")
    page.text(f"{machine.name}, kind {machine.kind}: {machine.spec.description or ''}")
    page.text(f"Default source: {machine.spec.source}", "soft")
    made = provenance(report)
    digests = ", ".join(f"{what} {made[what][:12]}" for what in ("machine", "workload", "tables"))
    page.text(f"hwsim {made['hwsim']}; SHA-256 of the values used begins with: {digests}.", "soft")
    marks, origins = machine.document.marks, dict(machine.spec.fitted)
    data = {key: value for key, value in machine.document.data.items() if key != "energy"}
    rows = []
    for path, value, source in machine_rows(data):
        key = ".".join(path)
        origin = source if source != machine.spec.source else ""
        if any(str(marks.get(path[:depth], "")).startswith("--set") for depth in range(1, len(path) + 1)):
            origin = "changed for this run (--set)"
        why = next((reason for name, reason in origins.items() if key == name or key.startswith(f"{name}.")), "")
        rows.append((key, value, origin, why))
    heads = ["key", "value", "source", "fitted on"] if any(row[3] for row in rows) else ["key", "value", "source"]
    page.table(heads, merged([row[: len(heads)] for row in rows], (2, 3)), sorts=False)
    _area(page, report)
    _prices(page, report)
    constants = [(c.name, c.value, c.source, c.fitted or "") for c in machine.constants()]
    if constants:
        page.add("<h3>Constants of its libraries</h3>")
        heads = ["constant", "value", "source", "fitted on"]
        page.table(heads, merged(constants, (2, 3)), sorts=False, fold=f"{len(constants)} constants")


def _area(page: Page, report: RunResult) -> None:
    """Silicon area by part, where the machine's file gives it."""
    parts, total, spec = report.machine.area_parts_mm2(), report.machine.area_mm2, report.machine.spec.area
    if not total:
        return
    page.add("<h3>Area by component</h3>")
    page.text(f"{shown('area_mm2', total)}: {spec.source}")
    numbers = report.machine.parts()
    page.table(
        ["component", "count", "area", "share"],
        [
            [
                Cell(part, css="k"),
                Cell(f"{numbers[part]:,}" if part in numbers else "", numbers.get(part, 0)),
                Cell(shown("area_mm2", area), area),
                Cell(f"{area / total:.1%}", area / total),
            ]
            for part, area in parts.items()
        ],
    )


def _prices(page: Page, report: RunResult) -> None:
    prices = report.machine.prices
    origins = report.machine.spec.fitted
    totals: dict[tuple[str, str], tuple[int, float]] = {}
    for _, component, _, action, number, pj in report.action_rows():
        if component != "static":
            n, energy_pj = totals.get((component, action), (0, 0.0))
            totals[component, action] = (n + number, energy_pj + pj)
    rows = []
    for (component, action), (number, energy_pj) in totals.items():
        if not number:
            continue
        price = prices.of(component, action)
        each = "unknown" if math.isnan(price.energy_pj) else format_si(price.energy_pj * 1e-12, "J", 4)
        bits = f" for {price.bits} bits" if price.bits else ""
        rows.append(
            [
                Cell(f"{component}.{action}", css="k"),
                Cell(f"{number:,}", number),
                Cell(f"{each}{bits}", price.energy_pj),
                Cell("unknown" if math.isnan(energy_pj) else format_si(energy_pj * 1e-12, "J"), energy_pj),
                Cell(price.source, css="w"),
                Cell(price.fitted or "", css="w"),
            ]
        )
    page.add("<h3>Energy: counts and prices</h3>")
    if prices.static_w:
        text = f"static {format_si(prices.static_w, 'W', 4)} continuously: {prices.spec.static_source}"
        text += f"; fitted on {origins['energy.static']}" if "energy.static" in origins else ""
        page.text(text)
    if rows:
        page.table(["action", "count", "price", "energy", "source", "fitted on"], rows)


def _shape(layer: Layer, tensor: str) -> str:
    kind = getattr(layer, tensor)
    if not kind.elements:
        return ""
    density = "" if kind.density == 1 else f" {kind.density:.0%}"
    return "x".join(map(str, kind.shape)) + f" {kind.dtype}{density}"


def add_workload(page: Page, report: RunResult) -> None:
    """The network's layers with their tensors, and where they are from."""
    network = report.workload
    page.section("Workload as used")
    page.text(
        f"{network.name}: {len(network):,} layers, {network.macs:,} MACs ({network.macs_live:,} live), "
        f"{network.weights:,} weights and {network.biases:,} biases for each input; batch {report.batch}."
    )
    if network.source:
        page.text(f"Source: {network.source}", "soft")
    if network.digest:
        page.text(f"Model file {network.digest}", "soft")
    if not network.graph:
        page.text("An unordered list of layers without dataflow edges.", "soft")
    rows = [
        [
            Cell(layer.name, css="k"),
            Cell(layer.op, css="k"),
            *(Cell(_shape(layer, tensor), css="k") for tensor in ("input", "weight", "output")),
            Cell(f"{layer.macs:,}", layer.macs),
            Cell(f"{layer.weights:,}", layer.weights),
            Cell(", ".join(network.inputs.get(layer.name, ())), css="w"),
        ]
        for layer in network.layers[:_MOST_ROWS]
    ]
    more = f", the first {_MOST_ROWS:,}" if len(network) > _MOST_ROWS else ""
    heads = ["layer", "op", "input", "weight", "output", "MACs", "weights", "reads"]
    page.table(heads, rows, fold=f"{len(network):,} layers{more}")
