"""The algorithm of a convolution on an array: each that its units have is planned, the best is taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hwsim.algorithms import Requested, Winograd, algorithm_of, shape_of
from hwsim.engine import simulate
from hwsim.machines.pe_array.array import Array
from hwsim.machines.pe_array.transformed import plan_transformed
from hwsim.machines.plan import LayerPlan
from hwsim.message import Message, Row
from hwsim.workload import Layer

__all__ = ["chosen"]


def chosen(
    array: Array, layer: Layer, batch: int, planner: Callable[[Array, Layer, int], LayerPlan], asked: Requested
) -> LayerPlan:
    """The plan of a layer by the algorithm that is asked for, where it can be; ``auto``: the best under the objective.

    Time is that of the engine. `planner` plans a layer directly, and the products of transformed tiles.
    """
    direct = planner(array, layer, batch)
    shape, spec = shape_of(layer), array.spec.transform
    if shape is None or spec is None or asked == "direct":
        return direct
    plans: dict[str, LayerPlan] = {"direct": direct}
    refused: dict[str, str] = {}
    for name in spec.algorithms:
        how = algorithm_of(name, shape)
        plan = plan_transformed(array, layer, batch, shape, how, planner) if isinstance(how, Winograd) else how
        if isinstance(plan, LayerPlan):
            plans[name] = plan
        elif isinstance(plan, Message):
            refused[name] = str(plan)
    ticks = {name: simulate(plan.program).end for name, plan in plans.items()}
    best = min(plans, key=lambda name: array.cost(ticks[name], plans[name]))
    taken = best if asked == "auto" else asked if asked in plans else "direct"
    rows = [_row(array, name, plan, ticks[name]) for name, plan in plans.items()]
    rows += [{"algorithm": name, "why not": why} for name, why in refused.items()]
    return replace(plans[taken], why=(_reason(array, asked, taken, refused, tuple(rows)), *plans[taken].why))


def _reason(array: Array, asked: str, taken: str, refused: dict[str, str], rows: tuple[Row, ...]) -> Message:
    """Why this algorithm, with the others below."""
    values = {"asked": asked, "taken": taken, "objective": array.spec.mapper.objective, "why": refused.get(asked, "")}
    template = "algorithm {taken}: the least {objective} of those that the array has"
    if asked != "auto":
        template = "algorithm {taken}, as the file asks"
        if taken != asked:
            template = "algorithm {taken}, not {asked}, which the file asks for: {why}"
    return Message("algorithm.choice", template, values, rows=rows)


def _row(array: Array, name: str, plan: LayerPlan, ticks: int) -> Row:
    """An alternative: its time, its energy (unknown where a price is missing), and what it does."""
    words = adds = 0
    for (part, _, action), number in plan.counts.items():
        if part == "transform":
            adds += number if action == "add" else 0
        elif part not in ("mac", "post"):
            words += number
    return {
        "algorithm": name, "latency_s": ticks / float(array.timebase.rate_hz), "energy_pj": array.energy(ticks, plan),
        "multiplications": plan.macs_executed, "words": words, "adds": adds, "dram_bytes": plan.dram_bytes,
    }  # fmt: skip
