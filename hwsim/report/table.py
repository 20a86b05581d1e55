"""The tables a person reads in a terminal: at most 100 columns, plain text in a pipe."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hwsim.report.report import LayerResult, Report
from hwsim.report.silicon import Comparison, Silicon
from hwsim.units import format_si, format_size

__all__ = ["comparison_table", "print_report"]

_BAR = 34
_WIDTH = 100


def _count(value: float) -> str:
    """A count with at most four characters of digits: 421.7 M."""
    if value < 1000:
        return f"{value:.0f}"
    for scale, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= scale * 0.9995:
            return f"{value / scale:.4g} {suffix}"
    return f"{value:.0f}"


def _energy(pj: float) -> str:
    return "unknown" if math.isnan(pj) else format_si(pj * 1e-12, "J")


def _bar(share: float, width: int = _BAR) -> str:
    full = share * width
    whole = int(full)
    eighths = " ▏▎▍▌▋▊▉"[int((full - whole) * 8)]
    return ("█" * whole + eighths).rstrip() or ("▏" if share > 0 else "")


def _layer_table(results: Iterable[LayerResult], silicon: dict[str, dict[str, float]]) -> Table:
    results = list(results)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("layer", no_wrap=True, max_width=22, overflow="ellipsis")
    for name in ("MACs", "cycles", "time"):
        table.add_column(name, justify="right", no_wrap=True)
    shown = "processing_s" if any("processing_s" in m for m in silicon.values()) else "latency_s"
    if not any(shown in measured for measured in silicon.values()):
        silicon = {}
    if silicon:
        table.add_column("silicon" if shown == "latency_s" else "proc.", justify="right", no_wrap=True)
        if shown != "latency_s":
            table.add_column("silicon", justify="right", no_wrap=True)
        table.add_column("error", justify="right", no_wrap=True)
    table.add_column("util.", justify="right", no_wrap=True)
    table.add_column("energy", justify="right", no_wrap=True)
    table.add_column("bound by", no_wrap=True, max_width=20, overflow="ellipsis")
    for result in results:
        row = result.row()
        cells = [result.name, _count(result.plan.macs), _count(result.cycles), format_si(result.latency_s, "s")]
        if silicon:
            predicted, measured = row.get(shown), silicon.get(result.name, {}).get(shown)
            if shown != "latency_s":
                cells.append(format_si(float(predicted), "s") if predicted is not None else "")
            if measured and predicted is not None:
                cells += [format_si(measured, "s"), f"{float(predicted) / measured - 1:+.1%}"]
            else:
                cells += ["", ""]
        cells += [f"{result.utilization:.0%}", _energy(result.energy_pj), result.bound]
        table.add_row(*cells)
    return table


def _energy_table(report: Report) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    energies = report.component_energy()
    known = math.fsum(e for e in energies.values() if not math.isnan(e))
    for component, energy in energies.items():
        share = 0.0 if math.isnan(energy) or not known else energy / known
        table.add_row(component, _energy(energy), f"{share:.1%}", Text(_bar(share), style="cyan"))
    return table


def print_report(report: Report, console: Console, silicon: Silicon | None = None) -> None:
    """Print the layers, the energy by component and the totals of a run."""
    s = report.summary
    title = f"{report.workload.name} on {report.machine.name}, batch {s.batch}"
    console.print(Text(title, style="bold"), highlight=False)
    measured = silicon.rows(s.workload, s.batch) if silicon else {}
    console.print(_layer_table(report.results, measured), highlight=False)
    console.print()
    console.print(Text("energy by component", style="bold"), highlight=False)
    console.print(_energy_table(report), highlight=False)
    console.print()
    per_second = s.inferences_per_s
    rate = f"{per_second:.3g} inferences/s" if per_second >= 0.1 else f"{1 / per_second:.3g} s an inference"
    dram = (" with DRAM", f"DRAM {format_size(s.dram_bytes)}; ") if s.dram_bytes else ("", "")
    beside = f", {s.streams:.4g} side by side" if s.streams != 1 else ""
    lines = [
        f"latency {format_si(s.latency_s, 's')}{beside}, {rate}; {_count(s.macs)} MACs, {s.utilization:.0%} of peak",
        f"energy {_energy(s.energy_pj)}, {_energy(s.energy_per_inference_pj)} an inference; chip power "
        f"{format_si(s.power_w, 'W') if not math.isnan(s.power_w) else 'unknown'}; {s.tops_per_w:.3g} TOPS/W{dram[0]}",
        f"{dram[1]}peak activations {format_size(s.peak_memory_bytes)}; {s.events} events",
    ]
    if measured and silicon is not None:
        lines += textwrap.wrap(f"silicon: {silicon.source}", _WIDTH, subsequent_indent="  ")
    for line in [*lines, *report.notes]:
        console.print(line, highlight=False, soft_wrap=True)


def comparison_table(comparisons: Iterable[Comparison]) -> Table:
    """Predicted against published, a row each."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("workload", "layer", "quantity"):
        table.add_column(name, no_wrap=True)
    for name in ("predicted", "published", "error", "limit"):
        table.add_column(name, justify="right", no_wrap=True)
    for c in comparisons:
        style = "red" if not c.within else ""
        limit = "exact" if c.limit == 0 else f"{c.limit:.0%}" if c.limit is not None else ""
        table.add_row(
            c.workload,
            c.layer,
            c.column,
            c.shown(c.predicted),
            c.shown(c.published),
            f"{c.error:+.1%}",
            limit,
            style=style,
        )
    return table
