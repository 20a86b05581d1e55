"""Arrays on a multicast network: any dataflow on any memories by search, or by the rules of a published study.

The search takes the nests of the dataflow over the memories of the file, and the tile sizes with the least energy or
time; every word that is read, written or sent is counted. With `mapper.rules: isca16` the templates and conventions of
the Eyeriss dataflow study are followed instead (`study`). Time is the steps of the nest, or what a memory or a port
needs to move its words where that is more, beside the loads and stores of DRAM.
"""

from __future__ import annotations

from math import prod

from hwsim.engine.program import Pipeline, Program, Stage, spread
from hwsim.errors import Fault, InputError, MappingError, nearest
from hwsim.machines.pe_array.array import Array
from hwsim.machines.pe_array.isca16.nest import count, nest, nest_words
from hwsim.machines.pe_array.isca16.relative import energy_prices, level_costs
from hwsim.machines.pe_array.isca16.study import Budget, choose, explain_infeasible, register_words
from hwsim.machines.pe_array.work import ConvWork, as_conv, as_gemm, mac_actions
from hwsim.machines.plan import Action, LayerPlan
from hwsim.mapping import (
    Counts,
    Level,
    Loop,
    Mapping,
    Policy,
    Problem,
    batched_gemm_problem,
    check_capacity,
    conv_problem,
    counts,
    search,
    templates,
)
from hwsim.message import Message
from hwsim.units import format_size
from hwsim.workload import Layer
from hwsim.workload.product import geometry_of

__all__ = ["plan_by_hand", "plan_by_rules", "plan_by_search"]

_MOVES = ("read", "fill", "update", "drain")


def plan_by_hand(array: Array, layer: Layer, batch: int, lines: list[str]) -> LayerPlan:
    """Plan a layer by a loop nest that the file gives.

    Raises
    ------
    InputError
        If a line is no node, a tile or a side of the array is exceeded, or a buffer is too small (which, by how much).
    """
    spec = array.spec
    problem = _problem(layer, batch, array.bits(layer))
    try:
        mapping = Mapping.parse(lines)
        mapping.validate(problem)
        unknown = [memory for memory in mapping.memories if memory not in spec.memories]
        if unknown:
            raise MappingError(f"{unknown[0]!r} is not a memory of {spec.name}{nearest(unknown[0], spec.memories)}")
        check_capacity(problem, mapping, array.capacity_bits())
        pes = prod(mapping.spatial_extents(problem).values())
        if pes > array.pes:
            raise MappingError(f"the array has {array.pes} PEs; the spatial loops need {pes}")
    except MappingError as error:
        where = array.document.where(("mappings", layer.name))
        raise InputError([Fault(where, f"mappings.{layer.name}", str(error))]) from None
    counted = counts(problem, mapping, _policy(array))
    senders = {}
    for tensor in problem.tensors:
        shared = [memory for memory, _ in mapping.keeps(tensor) if spec.memories[memory].per == "chip"]
        senders[tensor] = shared[-1]
    extent = " x ".join(f"{n} {axis}" for axis, n in _extents(mapping, problem).items()) or "1 PE"
    why = (Message("pe_array.own_mapping", "the mapping comes from the machine file"),)
    return _lower(array, layer, batch, problem, mapping, counted, _actions(counted, senders), extent, why)


def _policy(array: Array) -> Policy:
    """Whether the shared memories keep what neighboring tiles share."""
    shared = tuple(name for name, memory in array.spec.memories.items() if memory.per == "chip")
    return Policy(refill=shared if array.spec.mapper.halo == "refill" else ())


def _actions(counted: Counts, senders: dict[str, str]) -> dict[Action, int]:
    """The words that move in and out of memories, and on the network from the innermost shared memories to the PEs."""
    actions: dict[Action, int] = {}
    for (memory, tensor, action), words in counted.actions.items():
        if words and action in _MOVES:
            actions[memory, tensor, action] = words
        elif words and memory == senders[tensor]:
            actions["noc", tensor, action] = words
    return actions


def plan_by_rules(array: Array, layer: Layer, batch: int) -> LayerPlan:
    """The Eyeriss dataflow study: its templates, its search, its conventions of counting."""
    spec, work = array.spec, as_conv(layer, batch)
    assert work is not None
    names = _parts(array)
    bits = array.bits(layer)
    dataflow = spec.dataflow + (f"_{spec.mapper.variant}" if spec.flow.variants else "")
    budget = _budget(array, dataflow, names, bits[0])
    choice = choose(work, dataflow, budget, level_costs(spec.energy, names, bits[0]))
    if choice is None:
        lacks = _explain_infeasible(work, dataflow, budget, names, bits[0])
        raise InputError([Fault("", layer.name, message) for message in lacks])
    w = work
    problem = conv_problem(w.n, w.g, w.k, w.c, w.p, w.q, w.r, w.s, w.stride, w.dilation, bits)
    mapping = nest(choice, work, names)
    counted = count(choice, problem, mapping, names)
    # The words of the closed form: those of the nest, but where loops have one step (named in `why`).
    actions: dict[Action, int] = {}
    for (level, tensor), words in choice.words.items():
        if not words:
            continue
        memory = names.get(level, level)
        if level == "noc":
            actions[memory, tensor, "reduce" if tensor == "ofmap" else "deliver"] = words
        elif level == "dram":
            actions[memory, tensor, "update" if tensor == "ofmap" else "read"] = words
        elif tensor == "ofmap":  # one read and one update for each partial sum that comes back
            actions[memory, tensor, "read"] = actions[memory, tensor, "update"] = words // 2
        else:
            actions[memory, tensor, "read"] = words
    why: tuple[Message, ...] = (
        Message(
            "pe_array.study_search",
            "feasible tilings: {feasible:,}, with {pes} PEs, {buffer_bytes:size} of {buffer} and {rf_words} words "
            "per PE; {tiling} has the least energy of data movement",
            {
                "feasible": choice.considered,
                "pes": budget.pes,
                "buffer": names["glb"],
                "buffer_bytes": budget.buffer * bits[0] / 8,
                "rf_words": budget.rf,
                "tiling": choice.text(),
            },
        ),
        Message(
            "pe_array.study_counts",
            "counted as in the ISCA 2016 study: fills and drains are free, "
            "a partial sum that is read back is two accesses",
        ),
    )
    exact = nest_words(choice, counted, names)
    template = "the study refetches tiles that the loop nest reuses: {tensor} from {memory} {words:,} (nest: {nest:,})"
    for (level, tensor), words in choice.words.items():
        if level in ("dram", "glb") and words > (reused := exact.get((level, tensor), 0)):
            values = {"tensor": tensor, "memory": names[level], "words": words, "nest": reused}
            why += (Message("pe_array.study_refetch", template, values),)
    return _lower(array, layer, batch, problem, mapping, counted, actions, choice.text(), why)


def _parts(array: Array) -> dict[str, str]:
    """Which memory is DRAM, the shared buffer and the register file; raises InputError unless there is one of each."""
    spec = array.spec
    inner = list(spec.memories.items())[1:]
    whole = {name: memory for name, memory in inner if len(memory.holds) == 3 and memory.size is not None}
    shared = [name for name, memory in whole.items() if memory.per == "chip"]
    private = [name for name, memory in whole.items() if memory.per == "pe"]
    if len(inner) != 2 or len(shared) != 1 or len(private) != 1:
        names = ", ".join(name for name, _ in inner) or "none"
        message = (
            f"rules {spec.mapper.rules} need one buffer on the chip and one in each PE, both with a size for all three "
            f"tensors together, not {names}; leave mapper.rules out for a search over any memories"
        )
        raise InputError([Fault(array.document.where(("memories",)), "memories", message)])
    if spec.mapper.rules not in spec.flow.rules:
        message = f"must be one of the dataflows of rules {spec.mapper.rules}, not {spec.dataflow}"
        raise InputError([Fault(array.document.where(("dataflow",)), "dataflow", message)])
    if spec.word_bits is None:
        message = f"must be given: rules {spec.mapper.rules} count words of one width"
        raise InputError([Fault(array.document.where(()), "word_bits", message)])
    return {"dram": spec.dram, "glb": shared[0], "rf": private[0]}


def _budget(array: Array, dataflow: str, names: dict[str, str], bits: int) -> Budget:
    """PEs and words of buffer and register file; area that a dataflow's register file does not need is buffer."""

    def words(name: str) -> int:
        memory = array.spec.memories[name]
        assert memory.size is not None
        return int(memory.size * 8) // (2 * bits if memory.double_buffered else bits)

    pes = array.pes
    registers = words(names["rf"])
    used = register_words(dataflow, registers)
    spare = pes * (registers - used) * (array.spec.mapper.rf_area or 0.0)
    return Budget(pes, int(words(names["glb"]) + spare), used)


def _explain_infeasible(work: ConvWork, dataflow: str, budget: Budget, names: dict[str, str], bits: int) -> list[str]:
    """Why no tiling is feasible: each resource that the smallest tiles exceed, and by how much."""
    reasons = []
    for what, purpose, has, takes in explain_infeasible(work, dataflow, budget):
        if what == "pes":
            reasons.append(f"the array has {has} PEs; {purpose} takes {takes}: {takes - has} too few")
            continue
        room, need, missing = (format_size(words * bits / 8) for words in (has, takes, takes - has))
        name = names["glb" if what == "buffer" else "rf"]
        reasons.append(f"{name} holds {room}; {purpose} take {need}: {missing} too much")
    room = format_size(budget.buffer * bits / 8)
    return reasons or [f"no {dataflow} tiling fits {budget.pes} PEs and {room} of {names['glb']}"]


def plan_by_search(array: Array, layer: Layer, batch: int) -> LayerPlan:
    """The generic way: nests of the dataflow over the file's memories, searched with exact counts."""
    spec, bits = array.spec, array.bits(layer)
    problem = _problem(layer, batch, bits)
    ordered = sorted(spec.memories.items(), key=lambda item: item[1].per == "pe")
    levels = [Level(name, tuple(memory.holds), memory.per == "pe") for name, memory in ordered]
    nests = templates(problem, spec.dataflow, levels)
    capacities = array.capacity_bits()
    clock = array.clock_hz
    pes = array.pes
    bandwidths = {
        name: float(spec.bytes_per_second(memory.bandwidth, memory, bits[0]) * 8 / clock)
        * memory.efficiency * (pes if memory.per == "pe" else 1)
        for name, memory in spec.memories.items()
        if memory.bandwidth is not None
    }  # fmt: skip
    chip = [level for level in levels if not level.inside]
    senders = {tensor: level.memory for level in chip for tensor in level.tensors}  # the innermost of them counts
    objective = spec.mapper.objective
    try:
        best = search(
            problem,
            nests,
            capacities=capacities,
            limits={"rows": spec.array.rows, "cols": spec.array.cols},
            objective="energy" if objective == "dram" else objective,
            prices=energy_prices(spec, problem, senders),
            bandwidths=bandwidths,
            policy=_policy(array),
            tiles="ragged",
            exhaustive_limit=20_000,
            samples=150,  # within 1 % of what many more samples find, at a third of a second for a layer
            starts=1,
        )
    except MappingError as error:
        raise InputError([Fault("", layer.name, _too_small(problem, nests, capacities) or str(error))]) from None
    counted = best.counts
    actions = _actions(counted, senders)
    extent = " x ".join(f"{n} {axis}" for axis, n in _extents(best.mapping, problem).items())
    why = Message(
        "pe_array.exhaustive_search" if best.exhaustive else "pe_array.sampled_search",
        ("exhaustive search" if best.exhaustive else "sampling and local search")
        + " over {tilings:count tiling} of {nests:count loop nest}: feasible: {feasible:,}; minimized: {objective}",
        {
            "tilings": best.considered,
            "nests": len(nests),
            "feasible": best.evaluated,
            "objective": "DRAM traffic" if objective == "dram" else objective,
        },
    )
    return _lower(array, layer, batch, problem, best.mapping, counted, actions, extent or "1 PE", (why,))


def _extents(mapping: Mapping, problem: Problem) -> dict[str, int]:
    """Positions in use on each side of the array."""
    return {axis: n for axis, n in mapping.spatial_extents(problem).items() if n > 1}


def _problem(layer: Layer, batch: int, bits: tuple[int, int, int]) -> Problem:
    """A convolution, or a product of matrices for every other layer."""
    if geometry_of(layer.lower(1)) is not None:
        w = as_conv(layer, batch)
        assert w is not None
        return conv_problem(w.n, w.g, w.k, w.c, w.p, w.q, w.r, w.s, w.stride, w.dilation, bits)
    g = as_gemm(layer, batch)
    assert g is not None
    return batched_gemm_problem(g.b, g.m, g.n, g.k, bits)


def _too_small(problem: Problem, nests: list[Mapping], capacities: dict[str, int | dict[str, int]]) -> str | None:
    """Which memory cannot hold even the smallest tiles, and by how much."""
    for mapping in nests:
        try:
            check_capacity(problem, mapping.with_tiles([1] * len(mapping.loops)), capacities)
        except MappingError as error:
            return str(error)
    return None


def _lower(
    array: Array, layer: Layer, batch: int, problem: Problem, mapping: Mapping, counted: Counts,
    actions: dict[Action, int], text: str, why: tuple[Message, ...],
) -> LayerPlan:  # fmt: skip
    """Tiles of the nest above the innermost shared memory: loaded, computed, stored."""
    spec = array.spec
    width = {operand.name: operand.bits for operand in problem.operands}
    dram = spec.memories[spec.dram]
    outer = {"read": 0, "update": 0}
    for (memory, tensor, action), words in actions.items():
        if memory == spec.dram and action in outer:
            outer[action] += words * width[tensor]
    moved = {action: -(-bits // 8) for action, bits in outer.items()}
    parts = {"compute": array.cycle_ticks(counted.cycles)} | _memory_ticks(array, counted, width)
    longest = max(parts, key=lambda name: parts[name])
    buffers = [memory for memory in list(spec.memories.values())[1:] if memory.per == "chip"]
    double = all(memory.double_buffered for memory in buffers)
    stages = (Stage("load", spec.dram, buffer=2 if double else 1), Stage("compute", "array"), Stage("store", spec.dram))
    tiles = _tiles(mapping, problem, {name for name, m in list(spec.memories.items())[1:] if m.per == "chip"})
    times = (array.transfer_ticks(dram, moved["read"]), parts[longest], array.transfer_ticks(dram, moved["update"]))
    executed = _count_macs(array, layer, problem.macs, actions)
    return LayerPlan(
        layer,
        batch,
        _algorithm(array),
        Program({spec.dram: 1, "array": 1}, (Pipeline("tiles", stages, spread(tiles, *times)),)),
        actions,
        macs=problem.macs,
        macs_live=layer.macs_live * batch,
        macs_executed=executed,
        compute_cycles=counted.cycles,
        peak_macs_per_cycle=array.pes,
        dram_bytes=-(-sum(outer.values()) // 8),
        bounds={"load": "dram", "compute": longest, "store": "dram"},
        word_bits=width,
        problem=problem,
        mapping=mapping,
        parts=((problem, mapping, counted.policy),),
        cycles={"compute": counted.cycles},
        columns={"active_pes": counted.instances, "tiles": tiles, "mapping": text},
        why=why,
    )


def _algorithm(array: Array) -> str:
    """The dataflow in words."""
    spec = array.spec
    variant = f", variant {spec.mapper.variant}" if spec.mapper.rules and spec.flow.variants else ""
    return spec.dataflow.replace("_", " ") + variant


def _memory_ticks(array: Array, counted: Counts, width: dict[str, int]) -> dict[str, int]:
    """Ticks that each memory inside DRAM needs to move its words, and each of its ports."""
    ticks: dict[str, int] = {}
    for name, memory in list(array.spec.memories.items())[1:]:
        copies = max((n for (m, _), n in counted.used.items() if m == name), default=1) if memory.per == "pe" else 1
        total = 0
        for tensor, bits in width.items():
            # A port moves words in and out at the same time.
            ways = (("fill", "update"), ("read", "drain"))
            sizes = [sum(counted.of(name, tensor, action) for action in way) * bits for way in ways]
            total += sum(sizes)
            rate = memory.ports.get(tensor)  # type: ignore[call-overload]
            if rate is not None:
                size = -(-max(sizes) // (8 * copies))
                ticks[f"{name} {tensor} port"] = array.transfer_ticks(memory, size, rate, bits)
        ticks[name] = array.transfer_ticks(memory, -(-total // (8 * copies)), word_bits=min(width.values()))
    return ticks


def _tiles(mapping: Mapping, problem: Problem, shared: set[str]) -> int:
    """Steps of the loops above the innermost shared memory: what is loaded, computed and stored at a time."""
    current = dict(problem.dims)
    steps = tiles = 1
    for node in mapping.nodes:
        if isinstance(node, Loop):
            if node.spatial is None:
                steps *= -(-current[node.dim] // node.tile)
            current[node.dim] = node.tile
        elif node.memory in shared:
            tiles = steps
    return tiles


def _count_macs(array: Array, layer: Layer, macs: int, actions: dict[Action, int]) -> int:
    """Count the MACs, those that a zero in the ifmap gates apart; returns how many the array executes."""
    computed = mac_actions(layer, macs, array.spec.array.zeros)
    actions |= computed
    idle = macs - computed["mac", "", layer.input.dtype]
    if idle:
        # A gated PE reads the ifmap word that it finds to be zero; the weight and the partial sum rest.
        for key in [k for k in actions if k[1] in ("weight", "ofmap") and k[2] in ("read", "update")]:
            if key[0] in array.spec.memories and array.spec.memories[key[0]].per == "pe":
                actions[key] -= min(actions[key], idle)
    return macs
