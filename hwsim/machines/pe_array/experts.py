"""The products of experts: those with most rows first, then those with one row less."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from hwsim.engine.program import Program
from hwsim.machines.plan import Action, LayerPlan
from hwsim.message import Message
from hwsim.workload import Layer

__all__ = ["experts_plan"]


def experts_plan(layer: Layer, batch: int, spread: Sequence[tuple[int, int]], plans: Sequence[LayerPlan]) -> LayerPlan:
    """The plans of `Layer.grouped` as the plan of the layer: one stream of tiles, for no expert waits for another.

    There is a nest where all experts have as many rows.
    """
    first = plans[0]
    template = "{experts:,} experts with {rows:,} rows each"
    why = tuple(Message("pe_array.experts", template, {"experts": count, "rows": rows}) for count, rows in spread)
    if len(plans) == 1:
        return replace(first, layer=layer, batch=batch, why=(*why, *first.why))
    counts: Counter[Action] = Counter()
    for plan in plans:
        counts.update(plan.counts)
    return replace(
        first,
        layer=layer,
        batch=batch,
        program=_one_stream([plan.program for plan in plans]),
        counts=dict(counts),
        macs=sum(plan.macs for plan in plans),
        macs_live=sum(plan.macs_live for plan in plans),
        macs_executed=sum(plan.macs_executed for plan in plans),
        compute_cycles=sum(plan.compute_cycles for plan in plans),
        dram_bytes=sum(plan.dram_bytes for plan in plans),
        problem=None,
        mapping=None,
        parts=(),
        cycles={unit: sum(plan.cycles[unit] for plan in plans) for unit in first.cycles},
        columns={},
        why=tuple(line for head, plan in zip(why, plans, strict=True) for line in (head, *plan.why)),
    )


def _one_stream(programs: Sequence[Program]) -> Program:
    """The tiles of programs of one pipeline each, behind each other; a buffer has the slots that all leave it."""
    pipelines = [pipeline for program in programs for pipeline in program.pipelines]
    stages = tuple(
        min(same, key=lambda stage: stage.buffer) for same in zip(*(p.stages for p in pipelines), strict=True)
    )
    tiles = tuple(run for pipeline in pipelines for run in pipeline.tiles)
    return Program(programs[0].resources, (replace(pipelines[0], stages=stages, tiles=tiles),))
