"""Whether a network fits: what each memory of a machine must hold, and by how much it is too much."""

from __future__ import annotations

from dataclasses import dataclass

from hwsim.message import Message

__all__ = ["ARENA", "MemoryUse"]

ARENA = "arena"
"""Name of the part that holds the activations."""


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """What a network needs of one memory, part by part, beside what there is."""

    memory: str
    size_bytes: int
    parts: tuple[tuple[str, int], ...]

    @property
    def need_bytes(self) -> int:
        """All parts."""
        return sum(size for _, size in self.parts)

    @property
    def margin_bytes(self) -> int:
        """What is left; negative: the shortage."""
        return self.size_bytes - self.need_bytes

    def room_bytes(self, part: str) -> int | None:
        """Bytes that the other parts leave for one of them; None if there is no such part."""
        sizes = dict(self.parts)
        return self.margin_bytes + sizes[part] if part in sizes else None

    @property
    def fits(self) -> bool:
        """Whether there is enough."""
        return self.margin_bytes >= 0

    def message(self) -> Message:
        """Whether it fits, with the parts."""
        values = {"memory": self.memory, "need_bytes": self.need_bytes, "size_bytes": self.size_bytes}
        values |= {"parts": dict(self.parts), "left_bytes": abs(self.margin_bytes)}
        head = "{memory} {need_bytes:size} of {size_bytes:size} ({parts:size}): {left_bytes:size}"
        if self.fits:
            return Message("memory.fits", f"{head} left", values)
        return Message("memory.too_small", f"{head} TOO MUCH, does not fit", values, "error")
