"""One layer explained: its nest, every count and price with its source, its stages, and what they waited for."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hwsim.engine import StageTotals
from hwsim.mapping import Loop
from hwsim.report.breakdown import waits
from hwsim.report.report import LayerResult, Report
from hwsim.simulation import prices_of
from hwsim.units import format_si

__all__ = ["print_explanation"]


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for i, name in enumerate(columns):
        number = name in ("count", "price", "energy", "busy", "share", "stalled") and i
        table.add_column(name, justify="right" if number else "left", no_wrap=True)
    return table


def print_explanation(report: Report, console: Console) -> None:
    """Explain every layer of the report (the command line selects one)."""
    for result in report.results:
        _explain(report, result, console)


def _heading(console: Console, text: str) -> None:
    console.print()
    console.print(Text(text, style="bold"), highlight=False)


def _explain(report: Report, result: LayerResult, console: Console) -> None:
    plan = result.plan
    title = f"{result.name} ({result.op}) on {report.machine.name}, batch {plan.batch}: {plan.algorithm}"
    console.print(Text(title, style="bold"))
    layer = plan.layer
    for tensor in ("input", "weight", "output"):
        kind = getattr(layer, tensor)
        if kind.elements:
            shape = "x".join(map(str, kind.shape))
            console.print(f"  {tensor:7} {shape} {kind.dtype}, density {kind.density:.4g}")
    console.print(
        f"  {plan.macs:,} MACs, {plan.macs_live:,} live, {plan.macs_executed:,} executed; "
        f"{result.cycles:,} cycles = {format_si(result.latency_s, 's', 4)}, bound by {result.bound}"
    )
    for sentence in (*plan.why, *report.machine.advice(layer, plan.batch)):
        console.print(f"  {sentence}", soft_wrap=True)
    _nest(result, console)
    _stages(report, result, console)
    _prices(report, result, console)
    if plan.columns:
        _heading(console, "columns of this machine")
        for name, value in plan.columns.items():
            console.print(f"  {name:18} {value:,}" if isinstance(value, int) else f"  {name:18} {value}")


def _nest(result: LayerResult, console: Console) -> None:
    """The loops that run more than once, indented, with how often they do."""
    mapping, problem = result.plan.mapping, result.plan.problem
    if mapping is None or problem is None:
        return
    _heading(console, "loop nest, from the outermost memory in (loops of one step left out)")
    depth, piece = 0, dict(problem.dims)
    for node in mapping.nodes:
        if not isinstance(node, Loop):
            console.print(f"  {'  ' * depth}{node}", soft_wrap=True)
            continue
        size, piece[node.dim] = piece[node.dim], node.tile
        steps = -(-size // node.tile)
        if steps > 1:
            rest = f", the last of {size % node.tile}" if size % node.tile else ""
            console.print(f"  {'  ' * depth}{node}  # {steps} of {size}{rest}", soft_wrap=True)
            depth += 1


def _waits(totals: StageTotals) -> str:
    return ", ".join(f"{share:.0%} for {cause}" for cause, share in waits(totals).items())


def _stages(report: Report, result: LayerResult, console: Console) -> None:
    timeline = result.timeline
    if not timeline.stages:
        return
    _heading(console, f"stages ({timeline.tiles:,} tiles, {timeline.events} events)")
    table = _table("stage", "resource", "busy", "share", "waits")
    for (_, stage), totals in timeline.stages.items():
        share = totals.busy / timeline.end if timeline.end else 0.0
        seconds = report.machine.timebase.seconds(totals.busy)
        table.add_row(stage, totals.resource, format_si(seconds, "s", 4), f"{share:.1%}", _waits(totals))
    console.print(table)


def _prices(report: Report, result: LayerResult, console: Console) -> None:
    prices = prices_of(report.machine)
    _heading(console, "energy: count x price")
    table = _table("component", "tensor", "action", "count", "price", "energy", "source")
    sources: dict[str, int] = {}
    for (component, tensor, action), count in result.plan.counts.items():
        if not count:
            continue
        price = prices.of(component, action)
        word = price.of_word(result.plan.word_bits.get(tensor))
        energy = result.energy[component, tensor, action]
        source = price.source + (f"; fitted on {price.fitted}" if price.fitted else "")
        note = f"[{sources.setdefault(source, len(sources) + 1)}]"
        table.add_row(
            component,
            tensor,
            action,
            f"{count:,}",
            format_si(word * 1e-12, "J"),
            format_si(energy * 1e-12, "J"),
            Text(note),
        )
    if result.static_pj:
        seconds, watts = format_si(result.latency_s, "s", 4), format_si(prices.static_w, "W", 4)
        note = f"[{sources.setdefault(prices.spec.static_source or '', len(sources) + 1)}]"
        energy = result.static_pj
        table.add_row("static", "", "leak", seconds, watts, format_si(energy * 1e-12, "J"), Text(note))
    console.print(table)
    console.print(f"  sum {format_si(result.energy_pj * 1e-12, 'J', 4)}")
    for source, number in sources.items():
        console.print(Text(f"  [{number}] {source}"), soft_wrap=True)
