"""The page of requests of a language model: times of tokens over the rate, what steps hold."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hwsim.report.html.charts import WIDTH, Chart, Legend, Panel, stacked_rows
from hwsim.report.html.page import Cell, Page
from hwsim.report.html.svg import Scale, Svg, color
from hwsim.report.quantity import energy
from hwsim.report.requests import rate, seconds
from hwsim.report.token_load import grouped, token_headline, token_title
from hwsim.serving.load import TokenLoad
from hwsim.units import format_si

__all__ = ["token_load_html"]


def token_load_html(load: TokenLoad) -> str:
    """The page as one self-contained document."""
    page = Page(token_title(load), token_headline(load))
    p = f"p{load.percentile:g}"
    page.tiles(
        [
            (rate(load.per_s), "requests a second", f"{rate(load.saturation_per_s)} at most"),
            (rate(load.tokens_per_s), "tokens a second", f"energy {energy(load.energy_per_token_pj)} a token"),
            (seconds(load.ttft_s), f"{p} of the time to the first token", _bound(load.bound_ttft_s)),
            (seconds(load.tpot_s), f"{p} of the time of a token", _bound(load.bound_tpot_s)),
            (f"{load.mean_sequences:.3g}", "sequences a step", f"busy {load.utilization:.0%} of the time"),
        ]
    )
    for message in load.messages:
        page.text(str(message), "bad" if message.severity != "note" else "soft")
    if load.curve:
        over = "the number of clients" if load.concurrency else "the rate"
        page.section(f"Times over {over}")
        first = [("mean", [c.mean_ttft_s for c in load.curve]), (p, [c.ttft_s for c in load.curve])]
        further = [("mean", [c.mean_tpot_s for c in load.curve]), (p, [c.tpot_s for c in load.curve])]
        for name, series, bound in (
            ("Time to the first token", first, load.bound_ttft_s),
            ("Time of a token", further, load.bound_tpot_s),
        ):
            page.chart(
                _over_rate(load, name, series, bound),
                f"{name} by {over}{'' if load.concurrency else ' of Poisson arrivals'}.",
            )
    page.section("Percentiles")
    rows = [
        [
            Cell(f"p{row['percentile']:g}", row["percentile"]),
            *(_time(row[n]) for n in ("ttft_s", "tpot_s", "latency_s")),
        ]
        for row in load.percentiles
    ]
    page.table(["percentile", "TTFT", "TPOT", "request"], rows)
    page.section("Sequences of a step")
    groups = grouped(load)
    panel = Panel("of the busy time", {"share": [share for _, share in groups]}, lambda share: f"{share:.0%}")
    text = "Share of the busy time by the number of sequences that get a token."
    page.chart(stacked_rows("Sequences of a step", text, [label for label, _ in groups], [panel]), text)
    return page.document()


def _bound(bound_s: float | None) -> str:
    return "no bound" if bound_s is None else f"bound {format_si(bound_s, 's')}"


def _time(value: float) -> Cell:
    return Cell(seconds(value), value, "n")


def _over_rate(load: TokenLoad, name: str, series: Sequence[tuple[str, list[float]]], bound: float | None) -> Chart:
    """A mean and a percentile over the rate, with the bound."""
    left, right, top, base = 84.0, 24.0, 14.0, 212.0
    svg = Svg(WIDTH, base + 40)
    rates = [point.rate_per_s if point.clients is None else float(point.clients) for point in load.curve]
    unit = "clients" if load.concurrency else "requests/s"
    values = [value for _, row in series for value in row if value > 0] + ([bound] if bound else [])
    x = Scale(0, max(rates), left, WIDTH - right)
    y = Scale(min(values, default=1.0) / 1.3, max(values, default=1.0) * 1.3, base, top, log=True)
    for tick in x.ticks(8):
        svg.text(x(tick), base + 15, rate(tick) or "0", "tick", "middle")
        svg.line(x(tick), base, x(tick), base + 4)
    for tick in y.ticks():
        svg.line(left, y(tick), WIDTH - right, y(tick))
        svg.text(left - 6, y(tick) + 4, format_si(tick, "s"), "tick", "end")
    if bound is not None:
        svg.line(left, y(bound), WIDTH - right, y(bound), "limit")
        svg.text(left + 6, y(bound) - 4, f"bound {format_si(bound, 's')}", "rooflabel")
    for index, (label, row) in enumerate(series):
        points = [(x(at), y(value)) for at, value in zip(rates, row, strict=True) if 0 < value < math.inf]
        if len(points) > 1:
            svg.path(points, f"curve {color(index)}", label)
        for at, value in zip(rates, row, strict=True):
            if 0 < value < math.inf:
                tooltip = f"{label} {format_si(value, 's', 4)} at {rate(at)} {unit}"
                svg.circle(x(at), y(value), 3.5, f"point {color(index)}", tooltip)
    svg.text((left + WIDTH - right) / 2, base + 34, unit, "axis", "middle")
    last = series[-1]
    description = f"{name}, {last[0]}, by {unit}: " + ", ".join(
        f"{rate(at)} {seconds(value)}" for at, value in zip(rates, last[1], strict=True)
    )
    legend = Legend(tuple((label, color(index)) for index, (label, _) in enumerate(series)))
    return Chart(svg, name, description + ".", (legend,))
