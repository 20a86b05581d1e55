"""One layer explained: its nest, every count and price with its source, its stages, and what they waited for."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from hwsim.engine import StageTotals
from hwsim.mapping import Loop
from hwsim.report.breakdown import binding, waits
from hwsim.report.messages import table
from hwsim.report.quantity import counted, energy, shown
from hwsim.report.result import LayerResult, RunResult
from hwsim.report.terminal import Column, heading, print_columns, wrapped
from hwsim.units import format_si

__all__ = ["print_explanation"]


def print_explanation(report: RunResult, console: Console) -> None:
    """Explain every layer of the report (the command line selects one)."""
    for result in report.results:
        _explain(report, result, console)


def _heading(console: Console, text: str) -> None:
    console.print()
    heading(console, text)


def _explain(report: RunResult, result: LayerResult, console: Console) -> None:
    plan = result.plan
    title = f"{result.name} ({result.op}) on {report.machine.name}, batch {plan.batch}: {plan.algorithm}"
    console.print(Text(title, style="bold"))
    layer = plan.layer
    for tensor in ("input", "weight", "output"):
        kind = getattr(layer, tensor)
        if kind.elements:
            shape = "x".join(map(str, kind.shape))
            form = f", {kind.format}" if kind.format != "dense" else ""
            console.print(f"  {tensor:7} {shape} {kind.spec.name}, density {kind.density:.4g}{form}")
    wrapped(
        console,
        f"{plan.macs:,} MACs, {plan.macs_live:,} live, {plan.macs_executed:,} executed; {result.cycles:,} cycles = "
        f"{format_si(result.latency_s, 's', 4)}",
        "  ",
    )
    wrapped(console, f"bound by {result.bound}: {binding(result)}", "  ")
    for message in (*plan.why, *report.machine.advice(report.plan, result.name)):
        wrapped(console, str(message), "  ")
        if message.rows:
            heads, rows = table(message)
            columns = [Column(f"  {head}", [f"  {row[i]}" for row in rows]) for i, head in enumerate(heads)]
            print_columns(console, columns)
    _nest(result, console)
    _stages(report, result, console)
    _prices(report, result, console)
    if result.columns:
        _heading(console, "columns of this machine")
        for name, value in result.columns.items():
            console.print(Text(f"  {name:24} {shown(name, value)}"))


def _nest(result: LayerResult, console: Console) -> None:
    """The loops that run more than once, indented, with how often they do."""
    mapping, problem = result.plan.mapping, result.plan.problem
    if mapping is None or problem is None:
        return
    _heading(console, "loop nest, from the outermost memory inwards (single-step loops omitted)")
    depth, piece = 0, dict(problem.dims)
    for node in mapping.nodes:
        if not isinstance(node, Loop):
            console.print(f"  {'  ' * depth}{node}", soft_wrap=True)
            continue
        size, piece[node.dim] = piece[node.dim], node.tile
        steps = -(-size // node.tile)
        if steps > 1:
            rest = f", the last one {size % node.tile}" if size % node.tile else ""
            console.print(f"  {'  ' * depth}{node}  # {steps} of {size}{rest}", soft_wrap=True)
            depth += 1


def _waits(totals: StageTotals) -> str:
    return ", ".join(f"{cause} {share:.0%}" for cause, share in waits(totals).items())


def _stages(report: RunResult, result: LayerResult, console: Console) -> None:
    timeline = result.timeline
    if not timeline.stages:
        return
    _heading(console, f"stages ({counted(timeline.tiles, 'tile')}, {counted(timeline.events, 'event')})")
    end, timebase = timeline.end, report.machine.timebase
    stages = {stage: totals for (_, stage), totals in timeline.stages.items()}
    # Stages in sequence stall on each other and on nothing else.
    in_turn = sum(totals.busy for totals in stages.values()) == end
    columns = [
        Column("stage", list(stages)),
        Column("resource", [totals.resource for totals in stages.values()]),
        Column("busy", [format_si(timebase.seconds(t.busy), "s", 4) for t in stages.values()], right=True),
        Column("share", [f"{t.busy / end if end else 0.0:.1%}" for t in stages.values()], right=True),
    ]
    if not in_turn:
        columns.append(Column("stalls", [_waits(totals) for totals in stages.values()], least=20))
    print_columns(console, columns)


def _prices(report: RunResult, result: LayerResult, console: Console) -> None:
    prices = report.machine.prices
    _heading(console, "energy: count x price")
    sources: dict[str, int] = {}
    rows: list[tuple[str, ...]] = []
    for (component, tensor, action), count in result.plan.counts.items():
        if not count:
            continue
        price = prices.of(component, action)
        picojoules = result.energy[component, tensor, action]
        source = price.source + (f"; fitted on {price.fitted}" if price.fitted else "")
        note = f"[{sources.setdefault(source, len(sources) + 1)}]"
        rows.append((component, tensor, action, f"{count:,}", energy(picojoules / count), energy(picojoules), note))
    if result.static_pj:
        seconds, watts = format_si(result.latency_s, "s", 4), format_si(prices.static_w, "W", 4)
        note = f"[{sources.setdefault(prices.spec.static_source or '', len(sources) + 1)}]"
        rows.append(("static", "", "leak", seconds, watts, energy(result.static_pj), note))
    heads = ("component", "tensor", "action", "count", "price", "energy", "source")
    if rows:
        numbers = ("count", "price", "energy")
        print_columns(console, [Column(h, cells, h in numbers) for h, cells in zip(heads, zip(*rows))])
    console.print(f"  total {energy(result.energy_pj)}")
    for source, number in sources.items():
        wrapped(console, f"[{number}] {source}", "  ")
