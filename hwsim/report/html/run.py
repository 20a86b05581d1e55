"""The report of one run: totals, breakdown of time and energy, bottlenecks, and provenance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hwsim.report.breakdown import OVERLAP, binding, bound_by_layer, busy_shares, energy_parts, in_turn, latency_parts
from hwsim.report.html.accuracy import add_accuracy, error_classes
from hwsim.report.html.charts import Panel, stacked_rows
from hwsim.report.html.page import Cell, Page, meter
from hwsim.report.html.provenance import add_machine, add_workload
from hwsim.report.html.svg import color, escape
from hwsim.report.html.views import add_memory, add_roofline, add_timeline
from hwsim.report.messages import table
from hwsim.report.published import Measurements, Prediction, measurements_of
from hwsim.report.quantity import count, counted, energy, head, pace, shown
from hwsim.report.uncertainty import error_messages, percent
from hwsim.units import format_si, format_size

if TYPE_CHECKING:
    from hwsim.report.result import LayerResult, RunResult
    from hwsim.scenario import DutyCycle

__all__ = ["report_fragment", "report_html"]

_ROWS = 90
_TABLE = 1000
_SLOWEST = 3
_OPEN = 40


def report_html(report: RunResult, scenario: DutyCycle | None = None, predictions: Sequence[Prediction] = ()) -> str:
    """The report as one self-contained HTML document."""
    page = _page(report)
    measurements = measurements_of(report.machine.name, report.machine.folder)
    _summary(page, report, error_classes(predictions))
    if scenario is not None:
        _scenario(page, scenario)
    _layers(page, report, measurements)
    _binding(page, report)
    add_roofline(page, report)
    add_memory(page, report)
    add_timeline(page, report)
    add_accuracy(page, report, measurements, predictions)
    add_machine(page, report)
    add_workload(page, report)
    return page.document()


def report_fragment(report: RunResult) -> str:
    """Totals and layers, for a notebook."""
    page = _page(report)
    _summary(page, report, {})
    _layers(page, report, None)
    return page.fragment()


def _page(report: RunResult) -> Page:
    machine = report.machine
    about = f"batch {report.batch}. {machine.name}: {machine.spec.description or machine.kind}."
    return Page(f"{report.workload.name} on {machine.name}", about)


def _summary(page: Page, report: RunResult, errors: dict[str, tuple[int, float, float]]) -> None:
    s = report.summary
    rate = s.inferences_per_s
    each = pace(rate)
    tiles = [
        (format_si(s.latency_s, "s"), "latency" if s.batch == 1 else f"latency of batch {s.batch}", each),
        (
            energy(s.energy_per_inference_pj),
            "energy per inference",
            "" if math.isnan(s.energy_pj) else format_si(s.tops_per_w * 1e12, "OPS/W"),
        ),
        (
            "unknown" if math.isnan(s.power_w) else format_si(s.power_w, "W"),
            "power",
            "without off-chip memory" if s.dram_bytes else "total",
        ),
        (f"{s.utilization:.0%}", "utilization of the peak", f"{count(s.macs)} MACs"),
    ]
    if s.margin_bytes is not None:
        suffix = "left" if s.margin_bytes >= 0 else "short: does not fit"
        tiles.append((format_size(abs(s.margin_bytes)), suffix, "in the fullest memory"))
    else:
        tiles.append(
            (format_size(s.peak_memory_bytes), "peak activations", f"DRAM traffic {format_size(s.dram_bytes)}")
        )
    expected = report.expected_error["latency"]
    how = f"95 of 100 within {percent(expected.error_95)}" if expected.measured else "or worse: not measured"
    tiles.append((percent(expected.error), "expected latency error", how))
    if "latency_s" in errors:
        rows, mean, worst = errors["latency_s"]
        tiles.append((f"{mean:.1%}", "mean latency error", f"worst {worst:+.1%} of {rows} published"))
    page.tiles(tiles)
    by_bound: dict[str, float] = {}
    for result in report.results:
        by_bound[result.bound] = by_bound.get(result.bound, 0.0) + result.latency_s
    if s.latency_s:
        shares = sorted(((t / s.latency_s, bound) for bound, t in by_bound.items() if t), reverse=True)
        page.text("Latency by bottleneck: " + ", ".join(f"{bound} {share:.0%}" for share, bound in shares[:6]) + ".")
    for message in error_messages(report.expected_error):
        page.text(str(message))
    for message, note in zip(report.messages, report.notes, strict=True):
        if message.code != "memory.fits":  # in the table of memories
            page.text(note, "bad" if message.severity == "error" else "soft")
    unpriced = [r.name for r in report.results if math.isnan(r.energy_pj)]
    if unpriced:
        page.text(
            f"Energy of {counted(len(unpriced), 'layer')} is unknown: an action has no price.",
            "soft",
        )


def _slowest(results: Sequence[LayerResult], most: int) -> tuple[list[LayerResult], list[LayerResult]]:
    """The slowest layers in their order, and the others."""
    if len(results) <= most:
        return list(results), []
    slow = set(sorted(range(len(results)), key=lambda i: -results[i].latency_s)[: most - 1])
    return [r for i, r in enumerate(results) if i in slow], [r for i, r in enumerate(results) if i not in slow]


def _series(parts: Sequence[dict[str, float]]) -> dict[str, list[float]]:
    """Parts of each row as series over the rows, the largest first."""
    totals: dict[str, float] = {}
    for row in parts:
        for name, value in row.items():
            totals[name] = totals.get(name, 0.0) + value
    names = sorted((n for n in totals if totals[n]), key=lambda n: -totals[n])
    if len(names) > 8:
        largest, rest = names[:7], names[7:]
        return {n: [row.get(n, 0.0) for row in parts] for n in largest} | {
            "others": [math.fsum(row.get(n, 0.0) for n in rest) for row in parts]
        }
    return {n: [row.get(n, 0.0) for row in parts] for n in names}


def _sum(parts: Sequence[dict[str, float]]) -> dict[str, float]:
    series = _series(parts)
    return {name: math.fsum(values) for name, values in series.items()}


def _layers(page: Page, report: RunResult, measurements: Measurements | None) -> None:
    ran = [r for r in report.results if r.latency_s or r.energy_pj > 0]
    idle = len(report.results) - len(ran)
    if not ran:
        return
    page.section("Latency and energy of each layer")
    rows, rest = _slowest(ran, _ROWS)
    labels = [r.name for r in rows] + ([f"{len(rest)} faster layers"] if rest else [])
    times = [latency_parts(r) for r in rows] + ([_sum([latency_parts(r) for r in rest])] if rest else [])
    energies = [energy_parts(r) for r in rows] + ([_sum([energy_parts(r) for r in rest])] if rest else [])
    measured = measurements.rows(report.workload.name, report.batch) if measurements is not None else {}
    marks = [measured.get(label, {}).get("latency_s") for label in labels]
    panels = [
        Panel("latency", series := _series(times), lambda t: format_si(t, "s"), marks, "measured", _colors(series))
    ]
    if any(map(any, energies)):
        series = _series(energies)
        panels.append(Panel("energy", series, lambda pj: format_si(pj * 1e-12, "J"), colors=_colors(series)))
    total = report.summary.latency_s
    slow = max(ran, key=lambda r: r.latency_s)
    description = (
        f"Horizontal bars, one row per layer. The slowest is {slow.name} with {format_si(slow.latency_s, 's')}, "
        f"{slow.latency_s / total if total else 0:.0%} of the total. Energy by component: "
        + ", ".join(f"{name} {energy(pj)}" for name, pj in list(report.component_energy().items())[:6])
        + "."
    )
    caption = (
        "Stages run in sequence and are stacked. "
        if all(map(in_turn, ran))
        else (
            "Latency is split into compute time and what the bottleneck adds to it"
            f"{'; for concurrent pipelines, by the busiest resource' if _concurrent(ran) else ''}. "
        )
    )
    caption += f"{counted(idle, 'layer')} without time (in place, or not run by this machine) omitted. " if idle else ""
    caption += "A diamond is a measured value." if any(marks) else ""
    page.chart(stacked_rows("Latency and energy of each layer", description, labels, panels), caption.strip())
    _layer_table(page, report)


def _concurrent(results: Sequence[LayerResult]) -> bool:
    return any(len(r.timeline.pipelines) > 1 for r in results)


def _colors(series: dict[str, list[float]]) -> dict[str, str]:
    """Gray for static power and overhead; other series by place."""
    gray = {"static", OVERLAP, "overhead"}
    palette = [name for name in series if name not in gray]
    return {name: color(palette.index(name)) if name in palette else "cx" for name in series}


def _layer_table(page: Page, report: RunResult) -> None:
    rows = report.rows if len(report.rows) <= _TABLE else sorted(report.rows, key=lambda r: -r["latency_s"])[:_TABLE]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = []
    for row in rows:
        cells = []
        for column in columns:
            value = row.get(column)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            text = "" if value is None else shown(column, value)
            cells.append(Cell(text, float(value) if number and value is not None else None, "n" if number else "k"))
        table.append(cells)
    less = f", the slowest {_TABLE:,} of {len(report.rows):,}" if len(rows) < len(report.rows) else ""
    page.table(list(map(head, columns)), table, fold=f"All columns of each layer{less}")


def _binding(page: Page, report: RunResult) -> None:
    ran = [r for r in report.results if r.timeline.end]
    if not ran:
        return
    page.section("Bottleneck of each layer")
    words: dict[str, float] = {}
    by_stage = bound_by_layer(ran)
    for r in ran:
        for word, share in busy_shares(r, by_stage).items():
            words[word] = words.get(word, 0.0) + share * r.latency_s
    one_by_one = all(map(in_turn, ran))
    # A table of them all needs room for the sentence, where there is one.
    heads = sorted(words, key=lambda w: -words[w])[: 6 if one_by_one else 4]
    total = report.summary.latency_s or 1.0

    def row(r: LayerResult) -> list[Cell]:
        shares = busy_shares(r, by_stage)
        cells = [
            Cell(r.name, css="k"),
            Cell(format_si(r.latency_s, "s"), r.latency_s),
            Cell(f"{r.latency_s / total:.1%}", r.latency_s / total),
            Cell(r.bound, css="k"),
        ]
        for i, word in enumerate(heads):
            share = shares.get(word, 0.0)
            cells.append(Cell(value=share, css="k", html=meter(share, f"{share:.0%}", color(i)) if share else ""))
        return cells if one_by_one else [*cells, Cell(binding(r), css="w")]

    columns = ["layer", "time", "share", "bound by", *heads, *([] if one_by_one else ["details"])]
    slow, rest = _slowest(ran, _OPEN)
    page.table(columns, map(row, slow))
    how = "add up, since the stages run in sequence" if one_by_one else "overlap, since the stages run in parallel"
    page.text(f"Bars are the share of the layer's time in which each resource is busy; they {how}.", "soft")
    if rest:
        most = _slowest(ran, _TABLE)[0]
        less = f", the slowest {len(most):,} of {len(ran):,}" if len(most) < len(ran) else ""
        page.table(columns, map(row, most), fold=f"All {len(ran):,} layers{less}")
    slowest: dict[tuple[str, ...], LayerResult] = {}
    seen: set[int] = set()
    for r in sorted(ran, key=lambda r: -r.latency_s):
        if len(slowest) == _SLOWEST:
            break
        if not r.plan.why or id(r.plan.why) not in seen:  # layers that are alike share what is said of them
            seen.add(id(r.plan.why))
            slowest.setdefault(tuple(map(str, r.plan.why)) or (r.plan.algorithm,), r)
    for r in slowest.values():
        advice = report.machine.advice(report.plan, r.name)
        if r.plan.why or advice:
            page.add(f"<h3>{escape(f'{r.name}: {r.latency_s / total:.0%} of the time, {r.plan.algorithm}')}</h3>")
        for message in r.plan.why:
            page.text(str(message), "soft")
        for message in advice:
            if message.rows:
                heads, rows = table(message)
                page.table(heads, [[Cell(text, css="k") for text in row] for row in rows], fold=str(message))
            else:
                page.text(str(message), "soft")


def _scenario(page: Page, scenario: DutyCycle) -> None:
    page.section("Duty cycle")
    for line in scenario.figures():
        page.text(line.strip())
    for warning in scenario.warnings:
        page.text(str(warning), "bad")
    for note in scenario.notes:
        page.text(str(note))
    panels = [
        Panel(
            "time per inference",
            {state: [t / scenario.inferences] for state, t in scenario.time_s.items()},
            lambda t: format_si(t, "s"),
        ),
        Panel(
            "energy per inference",
            {state: [(e or 0.0) / scenario.inferences] for state, e in scenario.energy_j.items()},
            lambda e: format_si(e, "J"),
        ),
    ]
    shares = ", ".join(f"{state} {t / scenario.window_s:.2%}" for state, t in scenario.time_s.items())
    page.chart(stacked_rows("Time and energy by state", f"Stacked bars. Time: {shares}.", ["inference"], panels))
