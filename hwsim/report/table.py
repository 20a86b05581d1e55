"""Terminal tables of a run and of published quantities: at most 100 columns, plain text in a pipe."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console

from hwsim.message import layer_names
from hwsim.report.breakdown import energy_parts
from hwsim.report.folding import Row, folded
from hwsim.report.published import Measurements, Prediction
from hwsim.report.quantity import count, counted, energy, pace, shown, title
from hwsim.report.result import LayerResult, RunResult
from hwsim.report.terminal import WIDTH, Column, heading, print_columns, shortened, wrapped
from hwsim.report.uncertainty import error_messages
from hwsim.units import format_si, format_size

__all__ = ["print_energy_parts", "print_layers", "print_predictions", "print_report"]

_NAME = 22
_LONG = 50
"""Rows of a table in which repeated blocks are printed once."""


def _measured(results: Sequence[LayerResult], measurements: dict[str, dict[str, float]]) -> list[Column]:
    """The measured time of the layers and the error: of the machine's own column of time if published, else latency."""
    published = {column for values in measurements.values() for column in values}
    column = next((r.plan.time_column for r in results if r.plan.time_column in published), "latency_s")
    rows = [(r.row().get(column), measurements.get(r.name, {}).get(column)) for r in results]
    if not any(measured for _, measured in rows):
        return []
    columns = []
    if column != "latency_s":
        own = [format_si(float(predicted), "s") if predicted is not None else "" for predicted, _ in rows]
        name = title(column)
        columns.append(Column(name if len(name) <= 8 else f"{name[:4]}.", own, right=True))
    comparable = [measured if predicted is not None else None for predicted, measured in rows]
    errors = [f"{float(p) / m - 1:+.1%}" if p is not None and m else "" for p, m in rows]
    cells = [format_si(m, "s") if m else "" for m in comparable]
    return [*columns, Column("measured", cells, right=True), Column("error", errors, right=True)]


def print_layers(
    results: Sequence[LayerResult], measurements: dict[str, dict[str, float]], console: Console, fold: bool
) -> None:
    """Print a row for each layer that takes time or energy, or for all that repeated blocks have alike."""
    total = math.fsum(r.latency_s for r in results)
    ran = sum(bool(r.cycles or r.energy_pj != 0) for r in results)
    if fold and ran > _LONG:
        rows = folded(results, lambda name: repr(measurements.get(name)))
    else:
        rows = [Row(r.name, (r,)) for r in results]
    rows = [row for row in rows if any(r.cycles or r.energy_pj != 0 for r in row.results)]
    longest = max(row.total_s for row in rows)
    repeated = any(row.times > 1 for row in rows)
    columns = [
        Column("layer", [shortened(row.name, _NAME) for row in rows]),
        *([Column("", [f"x {row.times}" if row.times > 1 else "" for row in rows], right=True)] if repeated else []),
        Column("MACs", [count(row.results[0].plan.macs) for row in rows], right=True, rank=2),
        Column("cycles", [count(row.cycles) for row in rows], right=True, rank=3),
        Column("time", [format_si(row.latency_s, "s") for row in rows], right=True),
        *_measured([row.results[0] for row in rows], measurements),
        Column("util.", [f"{row.utilization:.0%}" for row in rows], right=True, rank=1),
        Column("energy", [energy(row.energy_pj) for row in rows], right=True),
        Column("bound by", [row.bound for row in rows], least=8, most=20),
        Column("share", [f"{row.total_s / total:.0%}" if total else "" for row in rows], right=True),
    ]
    print_columns(console, columns, [row.total_s / longest if longest else 0.0 for row in rows], WIDTH)
    if repeated:
        wrapped(console, "repeated blocks are printed once: values are means of one layer, the share is that of all")


def _energies(report: RunResult) -> dict[str, float]:
    """Energy by component, largest first; NaN where a price is unknown."""
    totals: dict[str, float] = {}
    for result in report.results:
        for part, pj in energy_parts(result).items():
            totals[part] = totals.get(part, 0.0) + pj
    unpriced = {name: pj for name, pj in report.component_energy().items() if math.isnan(pj)}
    return dict(sorted(totals.items(), key=lambda item: -item[1])) | unpriced


def print_energy_parts(energies: Mapping[str, float], console: Console) -> None:
    """Print energy by component; NaN where a price is unknown."""
    total = math.fsum(e for e in energies.values() if not math.isnan(e))
    shares = [0.0 if math.isnan(pj) or not total else pj / total for pj in energies.values()]
    cells = ["" if math.isnan(pj) else f"{share:.1%}" for pj, share in zip(energies.values(), shares)]
    columns = [
        Column("", list(energies)),
        Column("", [energy(pj) for pj in energies.values()], right=True),
        Column("", cells, right=True),
    ]
    print_columns(console, columns, shares, WIDTH, heads=False)


def _idle(results: Sequence[LayerResult]) -> str:
    """Layers without time and energy, by reason."""
    reasons: dict[str, list[str]] = {}
    for result in results:
        reasons.setdefault(result.bound, []).append(result.name)
    return f"no time: {'; '.join(f'{layer_names(names)} ({reason})' for reason, names in reasons.items())}"


def print_report(
    report: RunResult, console: Console, measurements: Measurements | None = None, fold: bool = True
) -> None:
    """Print the layers, the energy by component and the totals of a run; `fold`: repeated blocks once."""
    s = report.summary
    part = "" if report.plan.whole else f", {len(report.plan)} of {len(report.workload)} layers"
    heading(console, f"{report.workload.name} on {report.machine.name}, batch {s.batch}{part}")
    measured = measurements.rows(s.workload, s.batch) if measurements else {}
    free = {item.layer for item in report.unused if item.what == "free"}  # listed in the notes
    idle = [r for r in report.results if not r.cycles and r.energy_pj == 0 and r.name not in free]
    ran = [r for r in report.results if r.cycles or r.energy_pj != 0]
    if ran:
        print_layers(report.results, measured, console, fold)
    if idle:
        wrapped(console, _idle(idle))
    if ran:
        console.print()
        heading(console, "energy by component")
        print_energy_parts(_energies(report), console)
    console.print()
    for line in [
        *_totals(report),
        *([f"measured: {measurements.source}"] if measured and measurements else []),
        *report.notes,
    ]:
        wrapped(console, line)


def _totals(report: RunResult) -> list[str]:
    s = report.summary
    dram = (" with DRAM", f"DRAM {format_size(s.dram_bytes)}; ") if s.dram_bytes else ("", "")
    concurrent = f", {s.streams:.4g} concurrent streams" if s.streams != 1 else ""
    efficiency = "" if math.isnan(s.energy_pj) else f"; {format_si(s.tops_per_w * 1e12, 'OPS/W')}{dram[0]}"
    each = f", {energy(s.energy_per_inference_pj)} per inference" if s.batch > 1 else ""
    area = report.machine.area_mm2
    power = "unknown" if math.isnan(s.power_w) else format_si(s.power_w, "W")
    return [
        f"latency {format_si(s.latency_s, 's')}{concurrent}, {pace(s.inferences_per_s)}; "
        f"{count(s.macs)} MACs, {s.utilization:.0%} of peak",
        f"energy {energy(s.energy_pj)}{each}; chip power {power}{efficiency}",
        *map(str, error_messages(report.expected_error)),
        f"{dram[1]}peak activations {format_size(s.peak_memory_bytes)}; {counted(s.events, 'event')}",
        *([] if area is None else [f"area {shown('area_mm2', area)}"]),
    ]


def print_predictions(predictions: Iterable[Prediction], console: Console) -> None:
    """Predicted against published, a row each."""
    rows = list(predictions)
    limits = ["exact" if c.limit == 0 else f"{c.limit:.0%}" if c.limit is not None else "" for c in rows]
    columns = [
        Column("workload", [c.workload for c in rows], least=12),
        Column("layer", [c.layer for c in rows], least=8),
        Column("quantity", [c.column for c in rows]),
        Column("predicted", [c.shown(c.predicted) for c in rows], right=True),
        Column("published", [c.shown(c.published) for c in rows], right=True),
        Column("error", [f"{c.error:+.1%}" for c in rows], right=True),
        Column("limit", limits, right=True),
    ]
    print_columns(console, columns, styles=["" if c.within else "red" for c in rows])
