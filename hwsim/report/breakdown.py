"""Breakdown of a layer's time and energy into parts that add up, and its bottleneck in a sentence."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from hwsim.engine import StageTotals

if TYPE_CHECKING:
    from hwsim.report.result import LayerResult

__all__ = ["OVERLAP", "binding", "bound_by_layer", "busy_shares", "energy_parts", "in_turn", "latency_parts", "waits"]

#: The rest of a compute-bound layer's time: pipeline fill, drain and stalls.
OVERLAP = "fill, drain and stalls"


def _last(result: LayerResult) -> dict[str, int] | None:
    """Ticks by bound of the pipeline that ends last, if its stages run one after the other and are all of the time."""
    timeline = result.timeline
    last = max(timeline.pipelines, key=lambda name: timeline.pipelines[name].end, default=None)
    ticks_of: dict[str, int] = {}
    for (pipeline, stage), totals in timeline.stages.items():
        if pipeline == last and totals.busy:
            word = result.plan.bounds.get(stage, stage)
            ticks_of[word] = ticks_of.get(word, 0) + totals.busy
    return ticks_of if sum(ticks_of.values()) == timeline.end else None


def in_turn(result: LayerResult) -> bool:
    """Whether the stages of a layer run in sequence, so that its parts are exact."""
    return _last(result) is not None


def busy_shares(result: LayerResult, by_stage: bool = False) -> dict[str, float]:
    """Share of the layer's time in which each bound is busy; shares overlap where stages run in parallel.

    Stages on one resource add up; of several resources of one bound, the busiest counts. `by_stage` gives the share of
    each stage, for layers whose stages have one bound.
    """
    timeline = result.timeline
    if not timeline.end:
        return {}
    last = _last(result)
    if last is not None and not by_stage:
        return {word: ticks / timeline.end for word, ticks in last.items()}
    busy: dict[tuple[str, str], float] = {}
    for (_, stage), totals in timeline.stages.items():
        word = stage if by_stage else result.plan.bounds.get(stage, stage)
        share = totals.busy / (timeline.end * timeline.resources[totals.resource].servers)
        busy[word, totals.resource] = busy.get((word, totals.resource), 0.0) + share
    shares: dict[str, float] = {}
    for (word, _), share in busy.items():
        shares[word] = max(shares.get(word, 0.0), share)
    return {word: share for word, share in shares.items() if share}


def bound_by_layer(results: Iterable[LayerResult]) -> bool:
    """Whether every layer has one bound for all of its stages, so that stages tell more than bounds."""
    several = False
    for result in results:
        words = {result.plan.bounds.get(stage, stage) for _, stage in result.timeline.stages}
        if len(words) > 1:
            return False
        several |= len(result.timeline.stages) > 1
    return several


def latency_parts(result: LayerResult) -> dict[str, float]:
    """Seconds of a layer in parts that add up to its latency.

    Stages in sequence are the parts. Stages in parallel have two: the compute time, and what the bottleneck adds to it;
    concurrent pipelines have the work of their busiest resource, and the rest.
    """
    end = result.timeline.end
    if not end:
        return {}
    last = _last(result)
    if last is not None:
        return {word: result.latency_s * ticks / end for word, ticks in last.items()}
    if len(result.timeline.pipelines) > 1:
        return _busiest(result)
    if not result.plan.compute_cycles or not result.cycles:
        return {result.bound: result.latency_s}
    computing = min(result.plan.compute_cycles / result.cycles, 1.0) * result.latency_s
    rest = OVERLAP if result.bound in result.plan.compute_bounds else f"stalled: {result.bound}"
    return {"compute": computing, rest: result.latency_s - computing}


def _busiest(result: LayerResult) -> dict[str, float]:
    """Seconds by bound of the resource that works most, and the rest."""
    timeline, parts = result.timeline, dict[str, float]()
    name = max(timeline.resources, key=lambda n: timeline.resources[n].busy / timeline.resources[n].servers)
    second = result.latency_s / timeline.end / timeline.resources[name].servers
    for (_, stage), totals in timeline.stages.items():
        if totals.resource == name and totals.busy:
            word = result.plan.bounds.get(stage, stage)
            parts[word] = parts.get(word, 0.0) + totals.busy * second
    return parts | {OVERLAP: max(result.latency_s - math.fsum(parts.values()), 0.0)}


def energy_parts(result: LayerResult) -> dict[str, float]:
    """Energy in pJ of a layer by component; unknown ones are left out.

    Static power is split by the weights of the plan, where it has them.
    """
    parts: dict[str, float] = {}
    for (component, _, _), pj in result.energy.items():
        if pj and not math.isnan(pj):
            parts[component] = parts.get(component, 0.0) + pj
    weights, static = result.plan.static_parts, result.static_pj
    whole = math.fsum(weights.values())
    if whole and static:
        return parts | {bound: static * weight / whole for bound, weight in weights.items() if weight}
    return parts | ({"static": static} if static else {})


def waits(totals: StageTotals) -> dict[str, float]:
    """Causes of a stage's stalls, as shares of its span, the longest first."""
    span = totals.end - totals.start
    stalls = {"starved": totals.input, "output buffer full": totals.output}
    stalls |= {f"{totals.resource} held by {stage}": ticks for (_, stage), ticks in totals.blocked.items()}
    return {cause: ticks / span for cause, ticks in sorted(stalls.items(), key=lambda stall: -stall[1]) if ticks}


def _join(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {share:.0%}" for name, share in shares.items() if share >= 0.005)


def binding(result: LayerResult) -> str:
    """The bottleneck of a layer, in a sentence."""
    shares = dict(sorted(busy_shares(result).items(), key=lambda item: -item[1]))
    name = "the array" if result.bound.startswith("array shape") else result.bound
    if not shares:
        return f"takes no time: {result.bound}"
    if result.plan.limits and result.latency_s:
        alone = sorted(result.plan.limits.items(), key=lambda item: -item[1])[:3]
        return f"each resource alone: {_join({word: seconds / result.latency_s for word, seconds in alone})}"
    if len(shares) == 1 and len({totals.resource for totals in result.timeline.stages.values()}) > 1:
        busiest, part = max(busy_shares(result, by_stage=True).items(), key=lambda item: item[1])
        return f"{result.bound} limits the layer as a whole; {busiest} is busy {part:.0%} of the time"
    if len(shares) == 1 and math.isclose(shares.get(result.bound, 0.0), 1.0):
        return f"{name} is busy all the time"
    if in_turn(result):
        return f"in sequence: {_join(shares)}"
    stages = [t for (_, stage), t in result.timeline.stages.items() if result.plan.bounds.get(stage) == result.bound]
    stage = max(stages, key=lambda totals: totals.busy, default=None)
    sentence = f"{name} is busy {shares.get(result.bound, 0.0):.0%} of the time"
    causes = waits(stage) if stage is not None and len(stages) == 1 else {}
    if causes and stage is not None:
        cause, share = next(iter(causes.items()))
        if share >= 0.005:
            sentence += f"; {stage.stage} stalls {share:.0%}: {cause}"
    return sentence
