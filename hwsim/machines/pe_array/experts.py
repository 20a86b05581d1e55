"""The products of experts: those with most rows first, then those with one row less."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from hwsim.engine.program import Pipeline, Program
from hwsim.machines.plan import Action, LayerPlan
from hwsim.message import Message
from hwsim.workload import Layer

__all__ = ["experts_plan"]


def experts_plan(layer: Layer, batch: int, spread: Sequence[tuple[int, int]], plans: Sequence[LayerPlan]) -> LayerPlan:
    """The plans of `Layer.grouped`, one after the other, as the plan of the layer.

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
        program=_in_turn([plan.program for plan in plans]),
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


def _in_turn(programs: Sequence[Program]) -> Program:
    """Programs one after the other."""
    pipelines: list[Pipeline] = []
    before: tuple[str, ...] = ()
    for number, program in enumerate(programs, 1):
        names = {pipeline.name: f"{pipeline.name} {number}" for pipeline in program.pipelines}
        for pipeline in program.pipelines:
            after = tuple(names[name] for name in pipeline.after) or before
            pipelines.append(replace(pipeline, name=names[pipeline.name], after=after))
        before = tuple(names.values())
    return Program(programs[0].resources, tuple(pipelines))
