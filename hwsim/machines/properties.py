"""What of a layer has no effect on a machine: found by planning the layer again without it, for every kind alike.

No planner says what it uses, so none can say it wrongly. A layer is planned as it is and once more with a property
left out: a density, a format, dead channels. Where time, counts and bytes stay the same, the property is unused here,
and is told by name. A number format is held against the plan: what the MACs were counted as, how wide the words are,
and what a MAC is priced as.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from hwsim.engine.program import Run
from hwsim.errors import InputError
from hwsim.machines.base import Machine, NetworkPlan
from hwsim.machines.loader import machine_folder
from hwsim.machines.plan import Action, LayerPlan
from hwsim.message import Message, as_message
from hwsim.workload import INPUT, Layer
from hwsim.workload.number_format import DTYPES, weight_formats
from hwsim.workload.product import Stream
from hwsim.yaml_source import split_key

__all__ = ["CLAMPS", "Unused", "own_value", "requested", "same_cost", "takes_nothing", "unused"]

TENSORS = ("input", "weight", "output")
#: Activations that bound a value on its way out of an array or a kernel: free wherever they are fused.
CLAMPS = ("none", "relu", "relu6", "clip")

#: Above it the zeros of a tensor count as chance: some int8 weights of real networks are zero.
_PRUNING = 0.95
_UNITS = {"dp4a": "int8"}  # MACs that are counted by the instruction that does them
#: Components other than memories whose counts depend on the network, and actions of memories.
_PARTS = {"mac", "noc", "post", "transform", "link", "core", "instruction", "shared", "registers"}
_ACTIONS = {"read", "write", "fill", "update", "drain", "reduce", "move"}


@dataclass(frozen=True, slots=True)
class Unused:
    """Something asked for that the machine does not do, by name.

    Attributes
    ----------
    what : str
        ``unused``: changing it changes nothing; ``format``: run in another number format; ``free``: the layer takes no
        time and no energy; ``price``: priced as something else.
    layer : str
        The layer; empty for a key of the machine.
    property, value : str
        As in ``weight.density`` and ``0.09``; the dotted key of a machine. Empty where the whole layer is meant.
    reason : Message
        Why, and the way out if there is one.
    """

    what: Literal["unused", "format", "free", "price"]
    layer: str
    property: str
    value: str
    reason: Message

    def to_dict(self) -> dict[str, str]:
        """As plain data."""
        return {
            "what": self.what, "layer": self.layer, "property": self.property, "value": self.value,
            "reason": str(self.reason),
        }  # fmt: skip


def requested(layer: Layer) -> Iterator[tuple[str, str, Layer]]:
    """Each property of a layer that is not the default, but for number formats: name, value, the layer without it."""
    for tensor in TENSORS:
        kind = getattr(layer, tensor)
        if not kind.elements:
            continue
        plain = {"format": "dense"} if kind.format == "2:4" else {}  # it exists in its own pattern alone
        if kind.density < _PRUNING:
            without = layer.with_tensors(**{tensor: {"density": 1.0, "pattern": "dense"} | plain})
            yield f"{tensor}.density", f"{kind.density:.4g}", without
        if kind.pattern not in ("dense", "random"):
            without = layer.with_tensors(**{tensor: {"density": kind.density, "pattern": "random"} | plain})
            yield f"{tensor}.pattern", kind.pattern, without
        if kind.format != "dense":
            yield f"{tensor}.format", kind.format, layer.with_tensors(**{tensor: {"format": "dense"}})
    dead = {name: n for name in ("dead_in", "dead_out") if (n := getattr(layer, name, 0))}
    for name, n in dead.items():
        yield name, str(n), layer.with_(**dict.fromkeys(dead, 0))
    if (function := getattr(layer, "activation", "none")) not in CLAMPS:
        yield "activation", function, layer.with_(activation="none")


def _counts(machine: Machine, plan: LayerPlan) -> dict[Action, int]:
    """Counts, those of one price together: a gated MAC at the price of a computed one saves nothing."""
    prices, actions = machine.spec.energy.prices, dict[Action, int]()
    for (component, tensor, action), n in plan.counts.items():
        key = (component, tensor, action if f"{component}.{action}" in prices else "")
        actions[key] = actions.get(key, 0) + n
    return {key: n for key, n in actions.items() if n}


def same_cost(machine: Machine, one: LayerPlan, other: LayerPlan) -> bool:
    """Whether two plans take the same time, count the same, move the same bytes and are priced alike."""
    return (
        one.program == other.program
        and one.dram_bytes == other.dram_bytes
        and one.word_bits == other.word_bits
        and one.streams == other.streams
        and one.on_chip_energy == other.on_chip_energy
        and _counts(machine, one) == _counts(machine, other)
    )


def takes_nothing(plan: LayerPlan) -> bool:
    """Whether a plan takes no time and counts nothing."""

    def busy(runs: Iterable[Run]) -> bool:
        return any(
            run.count and any(busy([part]) if isinstance(part, Run) else part for part in run.body) for run in runs
        )

    return not any(plan.counts.values()) and not any(busy(pipeline.tiles) for pipeline in plan.program.pipelines)


def unused(network: NetworkPlan) -> tuple[Unused, ...]:
    """All that a network asks for and that has no effect on its machine, key by key and layer by layer."""
    machine = network.machine
    items = [*_keys(machine), *_priced_nothing(machine, network), *_clock_gating(machine, network)]
    alike: dict[tuple[object, ...], tuple[Unused, ...]] = {}
    names = [layer.name for layer in network.workload]
    before = dict(zip(names, (INPUT, *names)))
    for name, plan in zip(network.names, network, strict=True):
        layer, context = network.workload[name], network.context(name)
        if takes_nothing(plan):
            producers = network.workload.inputs[name] or (before[name],)
            if layer.inputs and layer.outputs and (reason := _free(machine, layer, plan, producers)):
                items.append(Unused("free", name, "", "", reason))
            continue
        key = (machine.planned_by_name(name), context, *layer.likeness)
        if key not in alike:
            alike[key] = (*_without_effect(network, layer, plan), *_formats(network, layer, plan))
        items += [replace(item, layer=name) for item in alike[key]]
    return tuple(items)


def _keys(machine: Machine) -> Iterator[Unused]:
    """Keys of the machine that the user gave for nothing."""
    for key, reason in machine.idle_keys().items():
        if (value := own_value(machine, key)) is not None:
            yield Unused("unused", "", key, "" if isinstance(value, dict) else str(value), as_message(reason))
    for key, value, reason in machine.odd_prices():
        memory = key.split(".")[2]
        if any(own_value(machine, own) is not None for own in (key, f"memories.{memory}")):
            yield Unused("price", "", key, value, as_message(reason))


def _priced_nothing(machine: Machine, plans: Iterable[LayerPlan]) -> Iterator[Unused]:
    """Prices that the user gave of parts that the machine does not have, or of actions that no memory has."""
    spec = machine.spec
    block, prices = ("prices", spec.prices) if hasattr(spec, "prices") else ("energy.prices", spec.energy.prices)
    kinds: dict[str, set[str]] = {}
    for plan in plans:
        for component, _, action in plan.counts:
            kinds.setdefault(component, set()).add(action)
    memories = set(getattr(spec, "memories", ()))
    for key in prices:
        component, _, action = key.partition(".")
        strange = component not in kinds and component not in memories | _PARTS
        if component in memories:
            strange = bool(action) and action not in _ACTIONS | kinds.get(component, set())
        if strange and own_value(machine, f"{block}.{key}") is not None:
            reason = Message("unused.price", "nothing in this run has this price")
            yield Unused("unused", "", f"{block}.{key}", "", reason)


def _clock_gating(machine: Machine, plans: Iterable[LayerPlan]) -> Iterator[Unused]:
    """A gated MAC that costs what a computed one costs, for want of a price."""
    prices, action = machine.spec.energy.prices, ("mac", "", "gated")
    if "mac.gated" not in prices and any(action in plan.counts for plan in plans):
        reason = Message("price.gated", "energy.prices has no mac.gated: it costs what a computed one does")
        yield Unused("price", "", "a gated MAC", "", reason)


def _free(machine: Machine, layer: Layer, plan: LayerPlan, producers: tuple[str, ...]) -> Message | None:
    """Why a layer takes nothing; None where another layer does its work, or there is none to do."""
    word = plan.bounds.get("", "")
    if word == "in place" or layer.op == "reshape":
        return None
    if word != "fused":
        return as_message(machine.why_unused(""))
    if set(producers) != {INPUT}:
        return None
    return Message("unused.no_producer", "would be fused into the previous layer, but there is none")


def _without_effect(network: NetworkPlan, layer: Layer, plan: LayerPlan) -> Iterator[Unused]:
    """Properties without which the layer's plan is the same."""
    machine = network.machine
    for name, value, without in requested(layer):
        if _stays(network, plan, layer.name, without):
            yield Unused("unused", layer.name, name, value, as_message(machine.why_unused(name)))
    x = layer.lower(1)
    if isinstance(x, Stream) and x.spectrum is not None and not machine.has_spectra:
        template = (
            "a pass over its bytes: a transform of {butterflies:,} butterflies and {logarithms} logarithms are left out"
        )
        values = {"butterflies": x.spectrum.butterflies, "logarithms": x.spectrum.bands}
        yield Unused(
            "unused",
            layer.name,
            "spectrum",
            f"{x.spectrum.samples} samples",
            Message("unused.spectrum", template, values),
        )


def _formats(network: NetworkPlan, layer: Layer, plan: LayerPlan) -> Iterator[Unused]:
    """Number formats that are run, kept or priced as others."""
    machine = network.machine
    precision = str(getattr(machine.spec, "precision", "workload"))
    names = {_UNITS.get(action, action) for part, tensor, action in plan.counts if part == "mac" and not tensor}
    formats = [name for name in names if name in DTYPES or name == precision]
    math = formats[0] if len(formats) == 1 else ""
    if precision != "workload":  # the user's own word, which overrules the network's
        if math and math != precision:
            yield Unused("format", layer.name, "precision", precision, _reason(machine, {"run_as": math}))
        return
    words = dict(zip(TENSORS, (plan.word_bits.get(tensor) for tensor in ("ifmap", "weight", "ofmap"))))
    kinds = {tensor: getattr(layer, tensor).dtype for tensor in TENSORS if getattr(layer, tensor).elements}
    as_one = machine.runs_as(layer) or ""
    # Kernels are called after the values; the weights of 16-bit ones have 8 bits.
    pair = math != "" and kinds.get("weight") == weight_formats(math)[0]
    wrong = {t for t in ("input", "weight") if math and kinds.get(t, math) != math and not (t == "weight" and pair)}
    whole = bool(wrong) and not any(words.values()) and _runs_as(network, layer, plan, math)
    for tensor, dtype in kinds.items():
        word, facts = words[tensor], dict[str, str | int]()
        if math and math != dtype and (whole or (wrong and word == DTYPES[math].bits and tensor in wrong | {"output"})):
            facts["run_as"] = math
        else:
            if tensor in wrong:
                facts["multiplied_as"] = math
            if not math and as_one not in ("", dtype):
                facts["run_as"] = as_one
            elif as_one not in ("", dtype) and word == DTYPES[dtype].bits and tensor not in wrong:
                facts["kept_as"] = as_one
            elif word is not None and word != DTYPES[dtype].bits:
                facts["word_bits"] = int(word)
        if math == dtype and tensor != "output":
            facts |= _price(machine, math)
        if facts:
            yield Unused("format", layer.name, f"{tensor}.dtype", dtype, _reason(machine, facts))


_FORMATS = {
    "run_as": "run as {run_as}{by}",
    "multiplied_as": "multiplied as {multiplied_as}{by}",
    "kept_as": "kept as {kept_as}{by}",
    "word_bits": "in words of {word_bits} bits",
    "priced_as": "a MAC is priced as {priced_as} by energy.prices.mac",
}


def _reason(machine: Machine, facts: Mapping[str, str | int]) -> Message:
    """What becomes of a number format, and whose kernels do that."""
    runner = machine.why_unused("dtype")
    values = {**facts, "by": f" by {runner}" if runner else ""}
    return Message(f"format.{next(iter(facts))}", ", ".join(_FORMATS[fact] for fact in facts), values)


def _runs_as(network: NetworkPlan, layer: Layer, plan: LayerPlan, math: str) -> bool:
    """Whether a layer takes as much as one with all tensors in the format that its MACs ran in."""
    other = layer.with_dtype(**{tensor: math for tensor in TENSORS if getattr(layer, tensor).elements})
    return _stays(network, plan, layer.name, other)


def _stays(network: NetworkPlan, plan: LayerPlan, name: str, other: Layer) -> bool:
    """Whether another layer in the place of this one costs the same; no, where the machine refuses it."""
    try:
        return same_cost(network.machine, plan, network.instead(name, other))
    except InputError:
        return False


def _price(machine: Machine, math: str) -> dict[str, str | int]:
    """What a MAC is priced as, where one price stands for several formats and this is not that of the multiplier."""
    prices = machine.spec.energy.prices
    price = prices.get("mac")
    if f"mac.{math}" in prices or price is None or price.any_format or not price.formats:
        return {}
    return {} if price.formats[0] == math else {"priced_as": price.formats[0]}


def own_value(machine: Machine, key: str) -> object | None:
    """What the user gave for a dotted key, in a file or with ``--set``; None where hwsim's own files say it."""
    node, path, rest = machine.document.data, tuple[str, ...](), key or None
    while rest is not None:
        part, rest = split_key(rest, node)
        if not isinstance(node, dict) or part not in node:
            return None
        node, path = node[part], (*path, part)
    marks = machine.document.marks
    places = [where for mark, where in marks.items() if mark[: len(path)] == path]
    if not places:  # given as part of a whole block, which alone has a place
        places = [marks[path[:size]] for size in range(len(path), 0, -1) if path[:size] in marks][:1]
    prefix = f"{machine_folder()}/"
    return None if all(where.startswith(prefix) for where in places) else node
