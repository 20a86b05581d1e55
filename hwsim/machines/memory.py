"""Whether a network fits: what each memory of a machine must hold, and by how much it is too much."""

from __future__ import annotations

from dataclasses import dataclass

from hwsim.units import format_size

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

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {format_size(size)}" for name, size in self.parts)
        need, size = format_size(self.need_bytes), format_size(self.size_bytes)
        left = f"{format_size(abs(self.margin_bytes))} {'left' if self.fits else 'TOO MUCH, does not fit'}"
        return f"{self.memory} {need} of {size} ({parts}): {left}"
