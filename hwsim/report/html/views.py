"""Charts of a run: roofline, memory and timeline."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hwsim.machines.memory import ARENA
from hwsim.report.html.charts import Chart, Memory, Point, Roof, blocks, roofline, staircase
from hwsim.report.html.gantt import gantt
from hwsim.report.html.page import Cell, Page, meter
from hwsim.report.quantity import counted
from hwsim.units import format_si, format_size

if TYPE_CHECKING:
    from hwsim.report.result import RunResult

__all__ = ["add_memory", "add_roofline", "add_timeline"]

_STEPS = 300


def roofline_of(report: RunResult) -> tuple[list[Point], dict[str, Roof], int, int]:
    """Points by layer and memory, roofs by name, and how many layers have no MACs, or are served from caches."""
    machine = report.machine
    hz = float(machine.timebase.clocks[machine.core_clock])
    total = report.summary.latency_s
    points, roofs, without, cache_hits = list[Point](), dict[str, Roof](), 0, 0
    for r in report.results:
        if not r.plan.macs_executed or not r.latency_s:
            without += 1
            continue
        rate = r.plan.macs_executed / r.latency_s
        peak = r.plan.peak_macs_per_cycle * hz
        roofs[f"peak {peak}"] = Roof("compute", peak, True)
        flows = machine.traffic(r.plan)
        cache_hits += bool(flows) and not any(traffic.bytes for traffic in flows)
        for traffic in flows:
            # A memory faster than any number has no roof.
            if traffic.bytes and traffic.bytes_per_s > 0 and peak / traffic.bytes_per_s > 0:
                roofs[traffic.memory] = Roof(traffic.memory, traffic.bytes_per_s, False)
                intensity = r.plan.macs_executed / traffic.bytes
                points.append(Point(r.name, intensity, rate, traffic.memory, r.latency_s / total))
    return points, roofs, without, cache_hits


def add_roofline(page: Page, report: RunResult, title: str = "Roofline") -> None:
    """The layers of a run under the roofs of its machine."""
    points, roofs, without, cache_hits = roofline_of(report)
    if not points:
        if cache_hits:
            page.section(title)
            page.text("No layer has traffic at a memory with a bandwidth limit: all data stays in caches.")
        return
    page.section(title)
    near = max(points, key=lambda p: p.rate)
    description = (
        "Throughput over operational intensity, both logarithmic. Roofs: "
        + ", ".join(
            f"{roof.name} {_mac_rate(roof.limit) if roof.flat else format_si(roof.limit, 'B/s')}"
            for roof in roofs.values()
        )
        + f". {len(points)} points; the fastest layer is {near.name} at {_mac_rate(near.rate)}."
    )
    caption = (
        "One point per layer and memory with a bandwidth; right of the ridge point the layer is compute bound. Larger "
        "points take more time. Executed MACs count, so no point is above a roof."
    )
    if without:
        caption += f" {counted(without, 'layer')} without MACs not shown."
    if cache_hits:
        caption += f" {counted(cache_hits, 'layer')} served from caches not shown."
    page.chart(roofline(title, description, list(roofs.values()), points, _mac_rate), caption)


def _mac_rate(rate: float) -> str:
    return format_si(rate, "MAC/s")


def add_memory(page: Page, report: RunResult) -> None:
    page.section("Memory over the run")
    arena = report.arena
    if arena is not None:
        rooms = ((use.memory, use.room_bytes(ARENA)) for use in report.memories)
        limit = next(((f"{name} available for the arena", float(room)) for name, room in rooms if room), None)
        buffers = [Memory(b.name, b.first, b.last, b.offset, b.bytes, b.scratch) for b in arena.blocks if b.bytes]
        description = (
            f"Rectangles: the arena bytes of each tensor over its lifetime. The arena takes "
            f"{format_size(arena.bytes)} with its peak at {arena.peak}."
        )
        page.chart(
            blocks("The arena over the operators", description, arena.operators, buffers, format_size, limit),
            f"The tensor arena of {format_size(arena.bytes)}: buffers at their offsets over the "
            f"operators of their lifetime. Peak at {arena.peak}; fragmentation costs {format_size(arena.wasted)}.",
        )
    else:
        page.chart(_live_chart(report), _live_caption(report))
    if report.memories:
        rows = []
        for use in report.memories:
            share = use.need_bytes / use.size_bytes if use.size_bytes else math.inf
            parts = ", ".join(f"{name} {format_size(size)}" for name, size in use.parts)
            margin = format_size(abs(use.margin_bytes)) + ("" if use.fits else " short")
            bar = meter(share, f"{share:.0%}", "c0" if use.fits else "c1")
            rows.append(
                [
                    Cell(use.memory, css="k"),
                    Cell(format_size(use.size_bytes), use.size_bytes),
                    Cell(format_size(use.need_bytes), use.need_bytes),
                    Cell(html=bar, css="k"),
                    Cell(margin, use.margin_bytes),
                    Cell(parts, css="w"),
                ]
            )
        page.table(["memory", "size", "needed", "used", "left", "parts"], rows, sorts=False)


def _live_caption(report: RunResult) -> str:
    if report.workload.graph:
        return "Live activation bytes at each layer. A tensor is live from its producer to its last consumer."
    return "Input and output bytes of each layer; without dataflow edges no other tensor is live."


def _live_chart(report: RunResult) -> Chart:
    live = report.workload.live_bytes(report.batch)
    step = -(-len(live) // _STEPS)
    most = {max(range(i, min(i + step, len(live))), key=live.__getitem__) for i in range(0, len(live), step)}
    groups = list(report.workload.held(most, report.batch).values())
    tooltips = []
    for moment in groups:
        largest = sorted(moment.tensors, key=lambda item: -item[1])[:5]
        names = ", ".join(f"{name} {format_size(size)}" for name, size in largest)
        tooltips.append(f"{moment.layer}: {format_size(moment.bytes)} ({names})")
    peak = max(groups, key=lambda moment: moment.bytes)
    capacity = report.machine.memory_bytes()
    limit = ("memory size", float(capacity)) if capacity is not None else None
    description = f"One bar per layer: live activation bytes. Peak {format_size(peak.bytes)} at {peak.layer}."
    values = [float(moment.bytes) for moment in groups]
    return staircase("Live activations", description, [m.layer for m in groups], values, tooltips, format_size, limit)


def add_timeline(page: Page, report: RunResult) -> None:
    timeline = report.timeline
    layers = [(r.name, r.timeline.end) for r in report.results]
    chart = gantt("Timeline", timeline, float(report.machine.timebase.rate_hz), layers)
    if chart is None:
        return
    page.section("Timeline")
    note = "" if timeline.complete else " Some intervals were not recorded and are not shown."
    how = chart.description.split(" Busy:")[0]
    page.chart(chart, f"{how} hwsim run --trace writes the same for ui.perfetto.dev.{note}")
