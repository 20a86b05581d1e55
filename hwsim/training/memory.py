"""What a training step holds in the memory of a device."""

from __future__ import annotations

from dataclasses import dataclass

from hwsim.machines.memory import MemoryUse
from hwsim.message import Message

__all__ = ["TrainingMemory"]


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
