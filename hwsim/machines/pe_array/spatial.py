"""Arrays on a multicast network: any dataflow on any memories, by search or by a nest of the user.

The search takes the nests of the dataflow over the memories of the file, and the tiling with the least time, energy, or
both; every word that is read, written or sent is counted. Time is the steps of the nest, or what a memory or a port
needs to move its words where that is more, beside the loads and stores of DRAM: the same for a nest that is searched
and one that is written down (`cost_of`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping as ReadMapping
from dataclasses import replace
from fractions import Fraction
from math import ceil
from typing import cast

from hwsim.energy import word_width
from hwsim.engine.program import Pipeline, Program, Run, Stage
from hwsim.errors import Fault, HwsimError, InputError, MappingError
from hwsim.machines.pe_array.array import STEPS_BIT, Array
from hwsim.machines.pe_array.by_hand import bypasses, halves, mapping_by_hand
from hwsim.machines.pe_array.isca16.relative import relative_cost
from hwsim.machines.pe_array.spec import TENSORS, Tensor
from hwsim.machines.pe_array.work import as_conv, as_gemm, mac_actions, resting_words
from hwsim.machines.plan import Action, LayerPlan
from hwsim.mapping import (
    Cost,
    Counts,
    Level,
    Mapping,
    Policy,
    Problem,
    Rate,
    batched_gemm_problem,
    conv_problem,
    counts,
    search,
    templates,
    timing,
)
from hwsim.message import Message
from hwsim.units import Rate as Bandwidth
from hwsim.workload import Layer
from hwsim.workload.product import geometry_of

__all__ = ["cost_of", "lower", "plan_by_hand", "plan_by_search"]


def plan_by_hand(array: Array, layer: Layer, batch: int, lines: list[str]) -> LayerPlan:
    """Plan a layer by a loop nest that the file gives.

    Raises
    ------
    InputError
        If a line is no node, a tile or a side of the array is exceeded, or a buffer is too small (which, by how much).
    """
    problem = _problem(array, layer, batch)
    mapping = mapping_by_hand(array, problem, layer.name, lines)
    text, passed = "the mapping comes from the machine file", bypasses(array.spec, mapping)
    if passed:
        text += "; " + ", ".join(f"{', '.join(tensors)} bypass {name}" for name, tensors in passed.items())
    why = (Message("pe_array.own_mapping", text),)
    return lower(array, layer, batch, problem, mapping, counts(problem, mapping, _policy(array)), why)


def plan_by_search(array: Array, layer: Layer, batch: int) -> LayerPlan:
    """Plan a layer by the mapping with the least cost of all nests of the dataflow."""
    spec = array.spec
    problem = _problem(array, layer, batch)
    ordered = sorted(spec.memories.items(), key=lambda item: item[1].per == "pe")
    levels = [Level(name, tuple(memory.holds), memory.per == "pe") for name, memory in ordered]
    units = _units(array, problem)
    try:
        best = search(
            problem,
            templates(problem, spec.flow, levels, units=units),
            cost_of(array, layer, problem),
            array=(spec.array.rows, spec.array.cols),
            units=units,
            capacities=array.capacity_bits(),
            policy=_policy(array),
        )
    except MappingError as error:
        raise InputError([Fault("", layer.name, f"{error}{halves(array, str(error))}")]) from None
    objective = "DRAM traffic" if spec.mapper.objective == "dram" else spec.mapper.objective
    values = {
        "nests": best.nests,
        "branches": best.branches,
        "tilings": f"{best.tilings:.2g}" if best.tilings >= 1e6 else f"{best.tilings:,.0f}",
        "mappings": best.mappings,
        "objective": objective,
        "gap": max(best.gap, 0.001),
    }
    text = "least {objective} over {tilings} tilings of {nests:count loop nest}: {branches:,} branches, "
    text += "{mappings:,} counted; "
    if best.proved:
        text += "no other tiling is better"
    else:
        text += "stopped there, within {gap:.1%} of the lower bound"
    why = Message("pe_array.optimum" if best.proved else "pe_array.within_bound", text, values)
    plan = lower(array, layer, batch, problem, best.mapping, best.counts, (why,))
    if objective != "latency" and any(bound.startswith("array shape") for bound in plan.bounds.values()):
        template = "PEs stay idle where that saves {saved}; mapper.objective=latency looks for the least time"
        saved = {"edp": "energy times time"}.get(objective, objective)
        plan = replace(plan, why=(*plan.why, Message("pe_array.idle", template, {"saved": saved})))
    return plan


def cost_of(array: Array, layer: Layer, problem: Problem) -> Cost:
    """What a mapping of a layer costs on this array: what is reported of it."""
    spec = array.spec
    clock = array.timebase.rate_hz
    prices, fixed, gated = _prices(array, layer, problem)
    static = array.prices.static_w / float(clock) * 1e12
    dram = [(spec.dram, tensor, "read") for tensor in problem.tensors]
    dram += [(spec.dram, problem.output.name, "update")]
    traffic = {counter: width for counter, (width, _) in _widths(array, layer, problem, dram).items()}
    objective = "traffic" if spec.mapper.objective == "dram" else spec.mapper.objective
    return Cost(
        objective,
        array.cycle_ticks(1),
        _rates(array, layer, problem),
        prices,
        fixed,
        static,
        traffic,
        array.double_buffered,
        gated,
    )


def lower(
    array: Array, layer: Layer, batch: int, problem: Problem, mapping: Mapping, counted: Counts,
    why: tuple[Message, ...], actions: dict[Action, int] | None = None, text: str | None = None,
) -> LayerPlan:  # fmt: skip
    """The plan of a mapping: its tiles are loaded, computed, stored. `actions` are counted unless given."""
    spec = array.spec
    cost = cost_of(array, layer, problem)
    time = timing(cost, problem, mapping, counted)
    own = actions is not None
    actions = actions if actions is not None else _actions(array, layer, problem, counted)
    executed = _count_macs(array, layer, problem, actions)
    stored = array.stored_widths(layer)
    widths: dict[str, float] = {**array.widths(problem), **stored}
    if any(key.endswith(f".{problem.output.name}") for key in stored):
        widths["psum"] = problem.output.sum_bits  # dense, also where no wider than an output
    outer = {"read": Fraction(0), "update": Fraction(0)}
    for (memory, tensor, action), words in actions.items():
        if memory == spec.dram and action in outer:
            outer[action] += words * Fraction(word_width(widths, memory, tensor) or 0)
    if own:
        load, store = (rate.of_bits(bits) for rate, bits in zip(cost.rates, map(ceil, outer.values())))
        time = replace(time, load=load, store=store, first=min(time.first, load), last=min(time.last, store))
    busiest = time.busiest
    if busiest == "compute":
        busiest = array.compute_bound(problem.macs, counted)
    stages = (Stage("load", spec.dram, buffer=time.slots), Stage("compute", "array"), Stage("store", spec.dram))
    runs = tuple(Run(number, tuple(ticks)) for number, *ticks in time.runs)
    extents = " x ".join(f"{n} {axis}" for axis, n in mapping.spatial_extents(problem).items() if n > 1)
    return LayerPlan(
        layer,
        batch,
        _algorithm(array),
        Program({spec.dram: 1, "array": 1}, (Pipeline("tiles", stages, runs),)),
        actions,
        macs=problem.macs,
        macs_live=layer.macs_live * batch,
        macs_executed=executed,
        compute_cycles=counted.cycles,
        peak_macs_per_cycle=array.pes,
        dram_bytes=ceil(sum(outer.values()) / 8),
        bounds={"load": "dram", "compute": busiest, "store": "dram"},
        compute_bounds=("compute", busiest) if time.busiest == "compute" else ("compute",),
        word_bits=widths,
        problem=problem,
        mapping=mapping,
        parts=((problem, mapping, counted.policy),),
        cycles={"compute": counted.cycles},
        columns={
            "active_pes": counted.instances,
            "tiles": time.tiles,
            "mapping": text or extents or "1 PE",
        },
        why=why + _storage(array, layer, stored),
    )


def _storage(array: Array, layer: Layer, stored: ReadMapping[str, float]) -> tuple[Message, ...]:
    """What memories do not store dense."""
    dense, told = dict(zip(TENSORS, array.bits(layer))), []
    for key, width in stored.items():
        memory, _, tensor = key.rpartition(".")
        form = array.storage(layer, array.spec.memories[memory], cast(Tensor, tensor))
        values = {
            "memory": memory,
            "tensor": tensor,
            "form": form,
            "width": width,
            "dense": dense[cast(Tensor, tensor)],
        }
        template = "{memory} stores {tensor} as {form}: {width:.3g} bits a value, {dense} if dense"
        told.append(Message("pe_array.stored", template, values))
    return tuple(told)


def _policy(array: Array) -> Policy:
    """Whether the shared memories keep what neighboring tiles share."""
    shared = tuple(name for name, memory in array.spec.memories.items() if memory.per == "chip")
    return Policy(refill=shared if array.spec.mapper.halo == "refill" else ())


def _units(array: Array, problem: Problem) -> dict[str, int]:
    """The largest tile of each dim inside a PE.

    It is what the PE's memories hold; where one has no size, only the dims that the dataflow runs inside a PE are cut.
    """
    spec = array.spec
    private = [memory for memory in spec.memories.values() if memory.per == "pe"]
    if not private or not spec.flow.private:
        return {}
    inner = spec.flow.conv.inner if "P" in problem.dims else spec.flow.gemm.inner
    if any(memory.size is None and not memory.split for memory in private):
        return {dim: size for dim, size in problem.dims.items() if dim in inner}
    room = max(int(size) for m in private for size in (m.split.values() if m.split else [m.size]) if size is not None)
    words = max(1, room * 8 // min(operand.bits for operand in problem.operands))
    return {dim: min(size, words) for dim, size in problem.dims.items()}


def _innermost(array: Array, tensor: str, per: str) -> str | None:
    """The innermost memory of a tensor on the chip or in a PE; None if no PE keeps it."""
    if per == "pe" and not array.spec.flow.private:
        return None
    names = [name for name, memory in array.spec.memories.items() if memory.per == per and tensor in memory.holds]
    return names[-1] if names else None


def _widths(
    array: Array, layer: Layer, problem: Problem, counters: Iterable[Action]
) -> dict[Action, tuple[float, float]]:
    """Bits of a word of each counter, and of a final output among them.

    Partial sums are wide and dense. The last update of each output is narrower, or in the format of the memory.
    """
    stored, output = array.stored_widths(layer), problem.output
    widths: dict[Action, tuple[float, float]] = {}
    for counter in counters:
        memory, tensor, action = counter
        operand = problem.operand(tensor)
        wide: float = operand.sum_bits
        final = wide
        if tensor != output.name and action in ("read", "fill"):
            wide = final = stored.get(f"{memory}.{tensor}", wide)
        elif action == "drain" or (action == "update" and memory != _innermost(array, tensor, "pe")):
            final = stored.get(f"{memory}.{tensor}", operand.bits)  # in a PE, MACs accumulate
        widths[counter] = wide, final
    return widths


def _counters(array: Array, problem: Problem) -> list[tuple[Action, str]]:
    """Counters that happen on this array, each with the component that it is priced by."""
    result: list[tuple[Action, str]] = []
    for name, memory in array.spec.memories.items():
        if memory.per == "pe" and not array.spec.flow.private:
            continue
        for tensor in memory.holds:
            actions = ["read"] if name == array.spec.dram else ["read", "fill"]
            if tensor == problem.output.name:
                actions += ["update"] if name == array.spec.dram else ["update", "drain"]
            result += [((name, tensor, action), name) for action in actions]
    for operand in problem.operands:
        sender = _innermost(array, operand.name, "chip")
        assert sender is not None
        result.append(((sender, operand.name, "reduce" if operand.output else "deliver"), "noc"))
    return result


def _actions(array: Array, layer: Layer, problem: Problem, counted: Counts) -> dict[Action, int]:
    """The words that move in and out of memories, and on the network from the innermost shared memories to the PEs.

    Words of the output that are not final count as "psum" where their width is another.
    """
    actions: dict[Action, int] = {}
    output, stored = problem.output, array.stored_widths(layer)
    counters = dict(_counters(array, problem))
    for counter, (wide, narrow) in _widths(array, layer, problem, counters).items():
        (memory, tensor, action), component = counter, counters[counter]
        words = counted.of(*counter)
        if not words:
            continue
        final = words
        if tensor == output.name:
            if wide != narrow:
                final = min(words, problem.words(tensor))
            elif wide != output.bits or (component == memory and f"{memory}.{tensor}" in stored):
                final = 0
            if words > final:
                actions[component, "psum", action] = words - final
        if final:
            actions[component, tensor, action] = final
    return actions


def _prices(
    array: Array, layer: Layer, problem: Problem
) -> tuple[dict[Action, float], float, tuple[Action, float, int] | None]:
    """Energy of a word of each counter, energy that no mapping changes, and what gated MACs do not read."""
    macs = mac_actions(layer, problem.macs, array.spec.array)
    counters = _counters(array, problem)
    widths = _widths(array, layer, problem, dict(counters))
    own: dict[Action, float] = {}
    fixed, gated = 0.0, None
    try:
        for counter, component in counters:
            price = array.prices.of(component, counter[2])
            wide, final = widths[counter]
            own[counter] = price.of_word(wide)
            if final != wide:
                fixed += (price.of_word(final) - own[counter]) * problem.words(counter[1])
        for (component, _, action), number in macs.items():
            fixed += array.prices.of(component, action).of_word(None) * number
        for counter, number in _resting(array, layer, problem).items():
            if counter[1:] == (problem.output.name, "read"):
                gated = counter, own[counter], number
            else:
                fixed -= own[counter] * number
    except HwsimError:  # the report says which price is missing
        fixed = math.nan
    if math.isnan(fixed + sum(own.values())):
        return (
            {counter: relative_cost(array.spec, part) * widths[counter][0] / 16 for counter, part in counters},
            0.0,
            None,
        )
    return own, fixed, gated


def _rates(array: Array, layer: Layer, problem: Problem) -> tuple[Rate, ...]:
    """DRAM in and out, the bandwidth of each other memory, and its ports."""
    spec = array.spec
    narrow = min(operand.bits for operand in problem.operands)

    def rate(name: str, role: str, memory: str, bandwidth: Bandwidth, counters: list[Action], word: int) -> Rate:
        level = spec.memories[memory]
        speed = spec.bytes_per_second(bandwidth, level, word) * Fraction(level.efficiency)
        widths = _widths(array, layer, problem, counters)
        whole = all(width % 1 == 0 for pair in widths.values() for width in pair)
        steps = 1 if whole else STEPS_BIT
        fixed = sum((final - wide) * problem.words(tensor) for (_, tensor, _), (wide, final) in widths.items())
        words = {counter: int(wide * steps) for counter, (wide, _) in widths.items()}
        tile = {tensor: int(final * steps) for (_, tensor, _), (_, final) in widths.items()}
        ticks = Fraction(array.timebase.rate_hz) / speed / steps
        return Rate(name, role, ticks, words, int(fixed * steps), tile)  # type: ignore[arg-type]

    dram, rates = spec.memories[spec.dram], []
    assert dram.bandwidth is not None
    reads = [(spec.dram, tensor, "read") for tensor in problem.tensors]
    rates.append(rate("dram", "load", spec.dram, dram.bandwidth, reads, narrow))
    rates.append(rate("dram", "store", spec.dram, dram.bandwidth, [(spec.dram, problem.output.name, "update")], narrow))
    for name, memory in list(spec.memories.items())[1:]:
        if memory.per == "pe" and not spec.flow.private:
            continue
        role = "unit" if memory.per == "pe" else "work"
        if memory.bandwidth is not None:
            every = [counter for counter, part in _counters(array, problem) if part == name]
            rates.append(rate(name, role, name, memory.bandwidth, every, narrow))
        for tensor, port in memory.ports.items():  # a port moves words in and out at the same time
            for way in (("fill", "update"), ("read", "drain")):
                counters: list[Action] = [(name, tensor, action) for action in way]
                word = problem.operand(tensor).bits
                rates.append(rate(f"{name} {tensor} port", role, name, port, counters, word))
    return tuple(rates)


def _problem(array: Array, layer: Layer, batch: int) -> Problem:
    """A convolution, or a product of matrices for every other layer."""
    bits, wide = array.bits(layer), array.accumulator_bits(layer)
    if geometry_of(layer.lower(1)) is not None:
        w = as_conv(layer, batch)
        assert w is not None
        return conv_problem(
            w.n, w.g, w.k, w.c, w.p, w.q, w.r, w.s, w.stride, w.dilation, bits, accumulator_bits=wide
        )  # fmt: skip
    g = as_gemm(layer, batch)
    assert g is not None
    return batched_gemm_problem(g.b, g.m, g.n, g.k, bits, accumulator_bits=wide)


def _algorithm(array: Array) -> str:
    """The dataflow in words."""
    spec = array.spec
    variant = f", variant {spec.mapper.variant}" if spec.mapper.rules and spec.flow.variants else ""
    return spec.dataflow.replace("_", " ") + variant


def _resting(array: Array, layer: Layer, problem: Problem) -> dict[Action, int]:
    """Words that gated MACs leave where they are."""
    resting: dict[Action, int] = {}
    for tensor, idle in resting_words(layer, problem.macs, array.spec.array).items():
        memory = _innermost(array, tensor, "pe")
        if memory is not None:
            for action in ("read", "update") if tensor == problem.output.name else ("read",):
                resting[memory, tensor, action] = idle
    return resting


def _count_macs(array: Array, layer: Layer, problem: Problem, actions: dict[Action, int]) -> int:
    """Count the MACs, those that a zero gates apart; returns how many the array executes."""
    actions |= mac_actions(layer, problem.macs, array.spec.array)
    output = problem.output
    for (memory, tensor, action), number in _resting(array, layer, problem).items():
        name = "psum" if tensor == output.name and output.sum_bits != output.bits else tensor
        if (memory, name, action) in actions:
            actions[memory, name, action] -= min(number, actions[memory, name, action])
    return problem.macs
