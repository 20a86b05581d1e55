"""The page of a served model: what users wait for over concurrency, kernels over context, rooflines of both phases."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hwsim.report.html.charts import Panel, stacked_rows
from hwsim.report.html.page import Cell, Page
from hwsim.report.html.views import add_roofline
from hwsim.report.quantity import energy
from hwsim.report.served import growth, kernel_times, served_title
from hwsim.serving.memory import ServedMemory
from hwsim.serving.served import Served, ServedPoint
from hwsim.units import format_si, format_size
from hwsim.workload.transformer.network import MAX_TOKENS

__all__ = ["served_html"]

_CONTEXTS = 6


def served_html(served: Served, points: Sequence[ServedPoint], input: int, output: int, memory: ServedMemory) -> str:
    """The page as one self-contained document."""
    machine = served.machine
    about = f"{input:,} tokens in, {output:,} out. {machine.name}: {machine.spec.description or machine.kind}."
    page = Page(served_title(served), about)
    _summary(page, served, points, memory, input + output)
    _concurrency(page, served, points, input, output)
    _contexts(page, served, points[-1], input, output)
    step = served.decode(points[-1].running, input + output // 2)
    for title, report in (("Roofline of a decode step", step), ("Roofline of a prompt", served.prefill(input))):
        add_roofline(page, report, title)
    return page.document()


def _summary(page: Page, served: Served, points: Sequence[ServedPoint], memory: ServedMemory, tokens: int) -> None:
    first, best = points[0], max(points, key=lambda point: point.tokens_per_s)
    page.tiles(
        [
            (format_si(first.ttft_s, "s"), "time to the first token", f"{first.concurrency:,} at a time"),
            (format_si(first.tpot_s, "s"), "time of each further token", f"{first.concurrency:,} at a time"),
            (f"{best.tokens_per_s:,.0f}", "tokens a second", f"{best.concurrency:,} at a time"),
            (energy(best.energy_per_token_pj), "energy of a token", f"{best.concurrency:,} at a time"),
            (
                "unknown" if memory.sequences is None else f"{memory.sequences:,}",
                "sequences fit",
                f"{format_size(memory.sequence_bytes)} of keys and values each",
            ),
        ]
    )
    for message in (memory.message(), *served.messages(tokens, [point.running for point in points])):
        page.text(str(message), "bad" if message.severity == "error" else "soft")


def _concurrency(page: Page, served: Served, points: Sequence[ServedPoint], input: int, output: int) -> None:
    page.section("Concurrency")
    hosts = [float(served.host.host) + point.running * float(served.host.sequence) for point in points]
    labels = [f"{point.concurrency:,}" for point in points]
    parts = {
        "step": [point.step_s for point in points],
        "host": hosts,
        "other prompts": [max(0.0, p.tpot_s - p.step_s - host) for p, host in zip(points, hosts, strict=True)],
    }
    panels = [
        Panel("tokens/s", {"tokens/s": [point.tokens_per_s for point in points]}, lambda rate: f"{rate:,.0f}"),
        Panel("time of a token", parts, lambda time: format_si(time, "s")),
    ]
    description = "Tokens a second and the time of each token by concurrency: " + ", ".join(
        f"{point.concurrency:,}: {point.tokens_per_s:,.0f} tokens/s, {format_si(point.tpot_s, 's')}"
        for point in points[:8]
    )
    page.chart(stacked_rows("Concurrency", description + ".", labels, panels), "One row for each number of requests.")
    heads = ["requests", "running", "TTFT", "TPOT", "request", "tokens/s", "energy/token", "power", "memory"]
    rows = []
    for p in points:
        power = "unknown" if math.isnan(p.power_w) else format_si(p.power_w, "W")
        rows.append(
            [
                Cell(f"{p.concurrency:,}", p.concurrency),
                Cell(f"{p.running:,}", p.running),
                Cell(format_si(p.ttft_s, "s"), p.ttft_s),
                Cell(format_si(p.tpot_s, "s"), p.tpot_s),
                Cell(format_si(p.latency_s, "s"), p.latency_s),
                Cell(f"{p.tokens_per_s:,.0f}", p.tokens_per_s),
                Cell(energy(p.energy_per_token_pj), p.energy_per_token_pj),
                Cell(power, p.power_w),
                Cell(format_size(p.memory_bytes), float(p.memory_bytes)),
            ]
        )
    page.table(heads, rows)


def _contexts(page: Page, served: Served, point: ServedPoint, input: int, output: int) -> None:
    """Time of each kernel over the context, as far as the sequences fit."""
    page.section("Kernels over context")
    now = input + output // 2
    contexts: list[int] = []
    for power in range(-3, _CONTEXTS - 3):
        context = min(max(1, math.ceil(now * 2.0**power)), MAX_TOKENS)
        room = served.memory(context).sequences
        if room is None or room >= point.running or not contexts:
            contexts.append(context)
    contexts = sorted(set(contexts))
    times = [kernel_times(served.decode(point.running, context)) for context in contexts]
    totals: dict[str, float] = {}
    for row in times:
        for name, (time, _) in row.items():
            totals[name] = totals.get(name, 0.0) + time
    names = sorted(totals, key=lambda name: -totals[name])
    series = {name: [row.get(name, (0.0, ""))[0] for row in times] for name in names[:7]}
    if names[7:]:
        series["others"] = [math.fsum(row.get(name, (0.0, ""))[0] for name in names[7:]) for row in times]
    panel = Panel("a decode step", series, lambda time: format_si(time, "s"))
    labels = [f"{context:,} tokens" for context in contexts]
    description = f"Time of a step of {point.running:,} sequences by kernel, all blocks together, over the context."
    page.chart(stacked_rows("Kernels over context", description, labels, [panel]), description)
    for message in growth(served, point.running, now):
        page.text(str(message), "soft")
