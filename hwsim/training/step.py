"""One training step on one device: the passes of each layer on the plans of the machine, memory and energy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwsim.errors import InputError, excerpt
from hwsim.machines import Machine
from hwsim.machines.limits import check_batch
from hwsim.message import Message
from hwsim.report.result import LayerResult
from hwsim.simulation import simulate
from hwsim.training.device import half_of, trained_on
from hwsim.training.gradient import MemoryPass, input_gradient, weight_gradient
from hwsim.training.memory import TrainingMemory, memory_of, saved_values
from hwsim.training.notes import tensor_layout, training_notes
from hwsim.training.passes import Moves, moves_of, needs_gradient, parameters
from hwsim.training.recipe import TrainingRecipe, recipe_of
from hwsim.training.share import Share
from hwsim.training.throughput import Throughput
from hwsim.workload import Layer, Workload, load_workload
from hwsim.workload.product import Product

__all__ = ["Step", "StepLayer", "train", "training_step"]

_NOTES = ("gpu.library", "gpu.network_power", "cpu.library")
_PART = 2**30
"""Values that one pass of the update reads; more are as many passes."""
_PARTS = ("forward", "input_gradient", "weight_gradient", "forward_passes", "backward_passes")


@dataclass(frozen=True, slots=True)
class StepLayer:
    """One layer of a step, all inputs of a batch; in the order of the forward pass.

    The backward pass goes through the layers in reverse; the gradient of a layer's parameters is there when its
    `weight_gradient_s` is over, which comes last.

    Attributes
    ----------
    name, op : str
    macs : int
        Of all three products.
    forward_s, input_gradient_s, weight_gradient_s : float
        The products.
    forward_passes_s, backward_passes_s : float
        Passes over memory: normalization, activation, addition, pooling, layout.
    saved_bytes : int
        Activations that the layer keeps for the backward pass.
    gradient_bytes, weight_count : int
        Of its parameters.
    output_bytes : int
        Of what it gives to the layers after it.
    bound : str
        What limits most of its time.
    energy_pj : float
    """

    name: str
    op: str
    macs: int
    forward_s: float
    input_gradient_s: float
    weight_gradient_s: float
    forward_passes_s: float
    backward_passes_s: float
    saved_bytes: int
    gradient_bytes: int
    weight_count: int
    output_bytes: int
    bound: str
    energy_pj: float

    @property
    def forward_total_s(self) -> float:
        """Of the forward pass, passes over memory included."""
        return self.forward_s + self.forward_passes_s

    @property
    def backward_total_s(self) -> float:
        """Of the backward pass, passes over memory included."""
        return self.input_gradient_s + self.weight_gradient_s + self.backward_passes_s

    @property
    def seconds(self) -> float:
        """Of both."""
        return self.forward_total_s + self.backward_total_s


@dataclass(frozen=True, slots=True, repr=False)
class Step(Throughput):
    """A training step of a batch on one device.

    Attributes
    ----------
    machine, workload : str
    batch : int
        Inputs that go through the network at once; a step has `recipe.accumulate` of them.
    recipe : TrainingRecipe
    layers : tuple of StepLayer
        Of one batch.
    host_s : float
        By which the host, which launches the kernels, makes a batch longer than they are.
    recompute_s : float
        Of computing activations again, for a batch.
    update_s, update_pj : float
        Time and energy of the update, with the sums of the gradients of `recipe.accumulate` batches.
    sum_s, sum_pj : float
        Of adding the gradient of one batch to those before.
    static_w : float
        Power that is drawn all the time, which is part of every energy.
    memory : TrainingMemory
    """

    machine: str
    workload: str
    batch: int
    recipe: TrainingRecipe
    layers: tuple[StepLayer, ...]
    host_s: float
    recompute_s: float
    recompute_pj: float
    update_s: float
    update_pj: float
    sum_s: float
    sum_pj: float
    static_w: float
    memory: TrainingMemory
    messages: tuple[Message, ...] = ()

    @property
    def forward_s(self) -> float:
        """The forward pass of a batch."""
        return math.fsum(layer.forward_total_s for layer in self.layers)

    @property
    def backward_s(self) -> float:
        """The backward pass of a batch."""
        return math.fsum(layer.backward_total_s for layer in self.layers)

    @property
    def batch_s(self) -> float:
        """Both passes of a batch."""
        return self.forward_s + self.backward_s + self.recompute_s + self.host_s

    @property
    def step_s(self) -> float:
        """From one update to the next."""
        return self.recipe.accumulate * self.batch_s + self.update_s

    @property
    def samples(self) -> int:
        """Inputs of a step."""
        return self.recipe.accumulate * self.batch

    @property
    def energy_pj(self) -> float:
        """Of a step, static power included."""
        each = math.fsum(layer.energy_pj for layer in self.layers) + self.recompute_pj
        return self.recipe.accumulate * (each + self.host_s * self.static_w * 1e12) + self.update_pj

    @property
    def macs(self) -> int:
        """Of a step."""
        return self.recipe.accumulate * sum(layer.macs for layer in self.layers)

    @property
    def gradient_bytes(self) -> int:
        """Of all parameters."""
        return sum(layer.gradient_bytes for layer in self.layers)

    @property
    def weight_count(self) -> int:
        """Parameters."""
        return sum(layer.weight_count for layer in self.layers)


def _converted(layer: Layer, dtype: str) -> Layer:
    """A layer in the format of training; what it reads that is no number to compute with stays as it is."""
    if layer.op == "embedding":
        return layer.with_dtype(weight=dtype, output=dtype)
    return layer.with_dtype(input=dtype, weight=dtype, output=dtype)


def training_step(
    machine: str | Path | Machine,
    workload: str | Path | Workload,
    batch: int = 1,
    recipe: TrainingRecipe | None = None,
    share: Share | None = None,
) -> Step:
    """The step of a network on a machine.

    Parameters
    ----------
    machine : Machine, str or Path
    workload : Workload, str or Path
    batch : int
        Inputs of a batch.
    recipe : TrainingRecipe, optional
    share : Share, optional
        Of each layer for the inputs of all devices that share it; times and MACs are those of the share, parameters
        and values those of the whole layers for a batch.

    Raises
    ------
    InputError
        For a machine of a kind that trains nothing, or a layer that it has no kernel for.
    """
    recipe = recipe or TrainingRecipe()
    share = share or Share()
    batch = check_batch(batch)
    share.check(batch)
    machine = trained_on(machine, recipe)
    if isinstance(workload, str | Path):
        workload = load_workload(workload)
    if not isinstance(workload, Workload):
        raise InputError(f"a workload must be a network, its name or its file, not {excerpt(workload)}")
    dtype = half_of(machine, recipe)
    if dtype == "bf16":  # it needs no scaling of the loss
        recipe = recipe.model_copy(update={"half": dtype})
    network = workload.lowered()
    network = network.replace([_converted(layer, dtype) for layer in network])
    notes = training_notes(machine, workload, recipe, dtype)
    turned = recipe.layout == "nchw" and tensor_layout(machine, recipe, dtype)
    moves = moves_of(network, recipe, turned)
    parts = list(_parts(network, moves, dtype, share))
    results: list[LayerResult | None] = [None] * len(parts)
    remarks: list[Message] = []
    for whole in (False, True):  # layers that are not cut are those of a batch, shares those of all batches
        places = [i for i, part in enumerate(parts) if part.whole == whole]
        if places:
            plain = Workload(f"{workload.name} in training", [parts[i].layer for i in places], graph=False)
            report = simulate(machine, plain, batch * (1 if whole else share.devices))
            remarks += [note for note in report.remarks if note.code in _NOTES and note not in remarks]
            for i, result in zip(places, report.results, strict=True):
                results[i] = result
    params = parameters(network)
    count = sum(params.values())
    update_s, update_pj = _passed(machine, recipe.update_bytes * count)
    sum_s, sum_pj = _passed(machine, recipe.sum_bytes * count)
    if recipe.accumulate > 1:
        update_s += recipe.accumulate * sum_s
        update_pj += recipe.accumulate * sum_pj
    rows: dict[str, dict[str, list[LayerResult]]] = {layer.name: {part: [] for part in _PARTS} for layer in network}
    for part, row in zip(parts, results, strict=True):
        assert row is not None
        rows[part.name][part.role].append(row)
    bytes_each = {"fp32": 4}.get(dtype, 2)
    saved = saved_values(moves)
    layers = tuple(
        _step_layer(
            layer, rows[layer.name], saved.get(layer.name, 0) * batch * bytes_each, params[layer.name], recipe,
            layer.outputs * batch * bytes_each,
        )
        for layer in network
    )  # fmt: skip
    again = [layer.forward_total_s for layer in layers] if recipe.recompute else []
    ahead = [row for name in rows for role in ("forward", "forward_passes") for row in rows[name][role]]
    again_pj = math.fsum(row.energy_pj for row in ahead) if recipe.recompute else 0.0
    host_s = _host(recipe, [part.role for part in parts], layers)
    memory = memory_of(machine, network, recipe, layers, saved, batch, bytes_each, count)
    return Step(
        machine.name, workload.name, batch, recipe, layers, host_s, math.fsum(again), again_pj, update_s, update_pj,
        sum_s, sum_pj, machine.prices.static_w, memory,
        (*notes, *remarks),
    )  # fmt: skip


def _host(recipe: TrainingRecipe, parts: Sequence[str], layers: Sequence[StepLayer]) -> float:
    """By which launches make the passes of a batch longer than their kernels."""
    launch = float(recipe.host)
    forward = sum(part in ("forward", "forward_passes") for part in parts)
    passes = [(forward, math.fsum(layer.forward_total_s for layer in layers))] * (2 if recipe.recompute else 1)
    passes.append((len(parts) - forward, math.fsum(layer.backward_total_s for layer in layers)))
    return math.fsum(max(0.0, kernels * launch - seconds) for kernels, seconds in passes)


@dataclass(frozen=True, slots=True)
class _Part:
    """A kernel of a step: its layer, the part that it is of, what it asks, and whether of a layer that is not cut."""

    name: str
    role: str
    layer: Layer
    whole: bool = False


def _parts(network: Workload, moves: dict[str, Moves], dtype: str, share: Share) -> Iterator[_Part]:
    """Every kernel of a step."""
    wanted = needs_gradient(network)
    names = network.names
    for place, layer in enumerate(network):
        x = layer.lower(1)
        own, name = moves[layer.name], layer.name
        if isinstance(x, Product):
            before = network.inputs[name] if network.graph else names[place - 1 : place] if place else ()
            cut = share.part(layer)
            whole, part = cut is None, layer if cut is None else cut
            yield _Part(name, "forward", _bare(part), whole)
            inputs = any(other in wanted for other in before)
            if inputs and (gradient := input_gradient(part)) is not None:
                yield _Part(name, "input_gradient", gradient, whole)
            if (x.stored or inputs) and (gradient := weight_gradient(part)) is not None:
                yield _Part(name, "weight_gradient", gradient, whole)
        values = share.of_values(layer)
        for role, passes in (("forward_passes", own.forward), ("backward_passes", own.backward)):
            for number, (what, *sizes) in enumerate(passes):
                read, written = (max(1, math.ceil(size * values)) for size in sizes)
                label = f"{name}.{role[:-7]}{number} {what}"[:200]
                yield _Part(name, role, MemoryPass(label, read=read, written=written, input=dtype, output=dtype))


def _bare(layer: Layer) -> Layer:
    """A product without the activation, which is a pass of its own."""
    return layer.with_(activation="none") if getattr(layer, "activation", "none") != "none" else layer


def _passed(machine: Machine, moved: int) -> tuple[float, float]:
    """Seconds and energy in which so many bytes of parameters pass: half are read, half are written."""
    if not moved:
        return 0.0, 0.0
    values = -(-moved // 8)
    parts = -(-values // _PART)
    each = -(-values // parts)
    layer = MemoryPass("update", read=each, written=each, input="fp32", output="fp32")
    summary = simulate(machine, Workload("update", [layer], graph=False), parts).summary
    return summary.latency_s, summary.energy_pj


def _step_layer(
    layer: Layer, rows: dict[str, list[LayerResult]], saved: int, params: int, recipe: TrainingRecipe, out: int
) -> StepLayer:
    seconds = {part: math.fsum(row.latency_s for row in rows[part]) for part in _PARTS}
    everything = [row for part in _PARTS for row in rows[part]]
    bounds: dict[str, float] = {}
    for row in everything:
        bounds[row.bound] = bounds.get(row.bound, 0.0) + row.latency_s
    return StepLayer(
        layer.name, layer.op, sum(row.plan.macs for row in everything), seconds["forward"], seconds["input_gradient"],
        seconds["weight_gradient"], seconds["forward_passes"], seconds["backward_passes"], saved,
        params * recipe.gradient_bytes, params, out, max(bounds, key=lambda word: bounds[word]) if bounds else "",
        math.fsum(row.energy_pj for row in everything),
    )  # fmt: skip


def train(machine: str | Path | Machine, workload: str | Path | Workload, batch: int = 1, **recipe: Any) -> Step:
    """Predict a training step of a network on one device.

    Parameters
    ----------
    machine : Machine, str or Path
        A GPU or a processor, or its name or file.
    workload : Workload, str or Path
    batch : int
    **recipe
        Fields of `hwsim.training.TrainingRecipe`: ``precision="mixed"``, ``optimizer="lamb"``, ``accumulate=4``, ...

    Returns
    -------
    Step
        Times of each layer, samples a second, memory, energy.
    """
    return training_step(machine, workload, batch, recipe_of(recipe))
