"""The part of a model file that is in no layer of its network."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from hwsim.message import Message
from hwsim.workload.layer import Layer
from hwsim.workload.layers.opaque import Opaque

__all__ = ["Missing", "bytes_alone"]


@dataclass(frozen=True, slots=True)
class Missing:
    """How many operators of a file, and bytes of stored values that they read, are in no layer, and of how many."""

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
        template = "in no row: {operators:,} of {of_operators:,} operators ({operator_share:.1%}) and {bytes:size} of "
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


def bytes_alone(layers: Collection[Layer], of_weights: int) -> Message | None:
    """What a user should know of rows of operators without a model, which count bytes alone; None if there are none."""
    rows = [layer for layer in layers if isinstance(layer, Opaque)]
    if not rows:
        return None
    template = "rows of bytes alone, without multiply-accumulates: {rows:,} of {of_rows:,}, with {weights:,} of "
    template += "{of_weights:,} stored weights ({share:.1%}): {layers}"
    weights = sum(layer.weights for layer in rows)
    values = {
        "rows": len(rows),
        "of_rows": len(layers),
        "weights": weights,
        "of_weights": of_weights,
        "share": weights / of_weights if of_weights else 0.0,
        "layers": [layer.name for layer in rows[:3]] + (["..."] if len(rows) > 3 else []),
    }
    return Message("import.bytes_alone", template, values)
