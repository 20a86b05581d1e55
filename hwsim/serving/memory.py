"""What a served model holds in the memory of each device, and how many sequences fit."""

from __future__ import annotations

from dataclasses import dataclass

from hwsim.message import Message

__all__ = ["ServedMemory"]


@dataclass(frozen=True, slots=True)
class ServedMemory:
    """Memory of one device.

    Attributes
    ----------
    size_bytes : int or None
        Of the device; None where it is not known.
    share : float
        What of it the library takes.
    weights_bytes, context_bytes : int
        Weights of the rank; what the driver and its libraries take.
    activations_bytes : int
        The most that a step holds between layers.
    tokens : int
        Of a sequence at its longest.
    sequence_bytes : int
        Keys and values of such a sequence.
    """

    size_bytes: int | None
    share: float
    weights_bytes: int
    context_bytes: int
    activations_bytes: int
    tokens: int
    sequence_bytes: int

    @property
    def fixed_bytes(self) -> int:
        """All but the cache."""
        return self.weights_bytes + self.context_bytes + self.activations_bytes

    @property
    def sequences(self) -> int | None:
        """Sequences that fit; None where the memory is not known."""
        if self.size_bytes is None:
            return None
        return self._room_bytes // max(1, self.sequence_bytes)

    @property
    def _room_bytes(self) -> int:
        """For the cache."""
        return max(0, int((self.size_bytes or 0) * self.share) - self.fixed_bytes)

    @property
    def cache_tokens(self) -> int | None:
        """Tokens that the cache holds, at least a sequence; None where the memory is not known."""
        if self.size_bytes is None:
            return None
        return max(self.tokens, self._room_bytes * self.tokens // max(1, self.sequence_bytes))

    def need_bytes(self, sequences: int) -> int:
        """All that so many sequences need."""
        return self.fixed_bytes + sequences * self.sequence_bytes

    def message(self) -> Message:
        """How many sequences fit, and why."""
        parts = (
            ("weights", self.weights_bytes),
            ("activations", self.activations_bytes),
            ("context", self.context_bytes),
        )
        values = {
            "tokens": self.tokens,
            "sequence_bytes": self.sequence_bytes,
            "parts": {name: size for name, size in parts if size},
        }
        cache = "a sequence of {tokens:,} tokens has {sequence_bytes:size} of keys and values"
        if self.size_bytes is None or self.sequences is None:
            return Message(
                "llm.memory_unknown", f"{cache}; beside them {{parts:size}}: the memory is not known", values
            )
        values |= {"size_bytes": self.size_bytes, "share": self.share, "sequences": self.sequences}
        room = "{share:.0%} of {size_bytes:size} less {parts:size}"
        if not self.sequences:
            return Message("llm.too_small", f"{cache}: not even one fits in {room}", values, "error")
        return Message("llm.memory", f"{cache}: {{sequences:,}} fit in {room}", values)
