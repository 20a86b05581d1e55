"""The algorithm of a convolution on an array: each that its units have is planned, the best is taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hwsim.algorithms import Requested, Winograd, algorithm_of, shape_of
from hwsim.energy import dynamic_energy
from hwsim.engine import simulate
from hwsim.errors import HwsimError
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
    seconds = {name: n / float(array.timebase.rate_hz) for name, n in ticks.items()}
    rows = [_row(array, name, plan, seconds[name]) for name, plan in plans.items()]
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


def _row(array: Array, name: str, plan: LayerPlan, seconds: float) -> Row:
    """An alternative: its time, its energy without static power, and what it does."""
    try:
        energy = sum(dynamic_energy(plan.counts, plan.word_bits, array.prices).values())
        energy += array.prices.static_w * seconds * 1e12
    except HwsimError:  # the report says which price is missing
        energy = float("nan")
    moved = sum(n for (part, _, action), n in plan.counts.items() if part not in ("mac", "post") and action != "shift")
    return {
        "algorithm": name, "latency_s": seconds, "energy_pj": energy, "multiplications": plan.macs_executed,
        "words": moved - sum(n for (part, _, _), n in plan.counts.items() if part == "transform"),
        "adds": sum(n for (part, _, action), n in plan.counts.items() if (part, action) == ("transform", "add")),
        "dram_bytes": plan.dram_bytes,
    }  # fmt: skip
