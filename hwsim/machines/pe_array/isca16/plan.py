"""Layers planned by the rules of the Eyeriss dataflow study: its templates, its search, its conventions of counting."""

from __future__ import annotations

from hwsim.errors import Fault, InputError
from hwsim.machines.pe_array.array import Array
from hwsim.machines.pe_array.isca16.nest import count, nest, nest_words
from hwsim.machines.pe_array.isca16.relative import level_costs
from hwsim.machines.pe_array.isca16.study import Budget, choose, explain_infeasible, register_words
from hwsim.machines.pe_array.spatial import lower
from hwsim.machines.pe_array.work import ConvWork, as_conv
from hwsim.machines.plan import Action, LayerPlan
from hwsim.mapping import conv_problem
from hwsim.message import Message
from hwsim.units import format_size
from hwsim.workload import Layer

__all__ = ["plan_by_rules"]


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
    return lower(array, layer, batch, problem, mapping, counted, why, actions, choice.text())


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
