"""What a training step holds in the memory of a device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from hwsim.machines import Machine
from hwsim.machines.memory import MemoryUse
from hwsim.message import Message
from hwsim.training.passes import Moves
from hwsim.training.recipe import TrainingRecipe
from hwsim.workload import Workload
from hwsim.workload.network import INPUT

__all__ = ["TrainingMemory", "memory_of", "saved_values"]


@dataclass(frozen=True, slots=True)
class TrainingMemory:
    """Memory of one device, in bytes.

    Attributes
    ----------
    size_bytes : int or None
        Of the device; None where it is not known.
    weights_bytes, gradients_bytes, state_bytes : int
        Parameters with their copies in other formats, their gradients, what the optimizer keeps of them.
    saved_bytes : int
        Activations that are kept for the backward pass, the input among them.
    working_bytes : int
        Gradients of activations that are held at once: of the output and the inputs of one layer.
    context_bytes : int
        What the driver and its libraries take.
    """

    size_bytes: int | None
    weights_bytes: int
    gradients_bytes: int
    state_bytes: int
    saved_bytes: int
    working_bytes: int
    context_bytes: int

    @property
    def parts(self) -> tuple[tuple[str, int], ...]:
        """Each part by name."""
        parts = (
            ("weights", self.weights_bytes),
            ("gradients", self.gradients_bytes),
            ("optimizer", self.state_bytes),
            ("activations", self.saved_bytes),
            ("gradients of activations", self.working_bytes),
            ("context", self.context_bytes),
        )
        return tuple((name, size) for name, size in parts if size)

    @property
    def need_bytes(self) -> int:
        """All parts."""
        return sum(size for _, size in self.parts)

    @property
    def fits(self) -> bool:
        """Whether there is enough, or the memory is not known."""
        return self.size_bytes is None or self.need_bytes <= self.size_bytes

    def message(self) -> Message:
        """Whether it fits, with the parts."""
        if self.size_bytes is None:
            values = {"need_bytes": self.need_bytes, "parts": dict(self.parts)}
            template = "memory {need_bytes:size} ({parts:size}): the memory of the machine is not known"
            return Message("training.memory_unknown", template, values)
        return MemoryUse("memory", self.size_bytes, self.parts).message()


class LayerMemory(Protocol):
    """What a layer of a step keeps, and what it gives on."""

    @property
    def name(self) -> str: ...
    @property
    def saved_bytes(self) -> int: ...
    @property
    def output_bytes(self) -> int: ...


def saved_values(moves: Mapping[str, Moves]) -> dict[str, int]:
    """Values that are kept for the backward pass, by the layer that writes them."""
    tensors: dict[str, int] = {}
    for own in moves.values():
        tensors |= own.saved
    saved: dict[str, int] = {}
    for name, size in tensors.items():
        owner = name if name in moves or name == INPUT else name.rpartition(".")[0]
        saved[owner] = saved.get(owner, 0) + size
    return saved


def memory_of(
    machine: Machine,
    network: Workload,
    recipe: TrainingRecipe,
    layers: Sequence[LayerMemory],
    saved: Mapping[str, int],
    batch: int,
    bytes_each: int,
    params: int,
) -> TrainingMemory:
    """The memory of a step, by what its layers keep, the values that they save and its parameters."""
    size = machine.memory_bytes()
    uses = machine.memories(network, 1)
    context = dict(uses[0].parts).get("context", 0) if uses else 0
    kept = segment_bytes(network, layers) if recipe.recompute else sum(layer.saved_bytes for layer in layers)
    kept += saved.get(INPUT, 0) * batch * bytes_each
    working = max((layer.inputs + layer.outputs) * batch * bytes_each for layer in network)
    return TrainingMemory(
        size, recipe.weight_bytes * params, recipe.gradient_bytes * params, 4 * recipe.update.state * params, kept,
        working, context,
    )  # fmt: skip


def segment_bytes(network: Workload, layers: Sequence[LayerMemory]) -> int:
    """Activations that are held where each segment of a network is computed again before its backward pass.

    A segment ends where one tensor alone goes on, which is kept; of the segments one at a time is held. The best of
    some sizes of them is taken.
    """
    last = {name: i for i, layer in enumerate(network) for name in network.inputs[layer.name]}
    ends, reach = [], -1
    for i, layer in enumerate(layers):
        if reach <= i:
            ends.append(i)
        reach = max(reach, last.get(layer.name, i))
    whole = sum(layer.saved_bytes for layer in layers)
    best = whole
    for parts in (2, 3, 4, 6, 8, 11, 16, 23, 32, 48, 64, 96, 128):
        kept, held, most = 0, 0, 0
        start = 0
        for end in ends:
            held += sum(layer.saved_bytes for layer in layers[start : end + 1])
            start = end + 1
            most = max(most, held)
            if held >= whole / parts:
                kept, held = kept + layers[end].output_bytes, 0
        best = min(best, kept + most)
    return best
