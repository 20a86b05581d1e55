"""The part of a model file that its network does not count."""

from __future__ import annotations

from dataclasses import dataclass

from hwsim.message import Message

__all__ = ["Missing"]


@dataclass(frozen=True, slots=True)
class Missing:
    """How many operators of a file, and bytes of stored values that they read, do not count, and of how many.

    They are in no layer, or in one without MACs.
    """

    operators: int
    of_operators: int
    bytes: int
    of_bytes: int

    @property
    def operator_share(self) -> float:
        """Share of the operators."""
        return self.operators / self.of_operators if self.of_operators else 0.0

    @property
    def byte_share(self) -> float:
        """Share of the stored bytes."""
        return self.bytes / self.of_bytes if self.of_bytes else 0.0

    def message(self) -> Message:
        """What a user should know."""
        template = (
            "not counted: {operators:,} of {of_operators:,} operators ({operator_share:.1%}) and {bytes:size} of "
        )
        template += "{of_bytes:size} stored ({byte_share:.1%}) of the model file"
        values = {
            "operators": self.operators,
            "of_operators": self.of_operators,
            "operator_share": self.operator_share,
            "bytes": self.bytes,
            "of_bytes": self.of_bytes,
            "byte_share": self.byte_share,
        }
        return Message("import.missing", template, values, "warning")
