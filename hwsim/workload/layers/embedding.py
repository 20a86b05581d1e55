"""The look-up of rows in a table."""

from __future__ import annotations

import math
from typing import ClassVar

from hwsim.workload.layer import Layer, Shape, TensorField, kind, tensor
from hwsim.workload.line import Line, Values
from hwsim.workload.product import Stream

__all__ = ["Embedding"]


def _read(values: Values, shapes: tuple[Shape, ...]) -> Values:
    return {"tokens": math.prod(shapes[0])} | values if shapes else values


@kind
class Embedding(Layer):
    """The look-up of `tokens` rows of `dim` values in a table of `rows`; tokens default to ``int32``."""

    rows: int
    dim: int
    tokens: int = 1
    input: TensorField = tensor("int32")

    _lines: ClassVar[tuple[Line, ...]] = (
        Line(
            "embedding",
            "The look-up of rows in a table.",
            follows="tokens",
            read=_read,
            write=lambda layer, shapes: {} if shapes else {"tokens": layer.tokens},
        ),
    )
    _op: ClassVar[str] = "embedding"
    _sizes: ClassVar[tuple[str, ...]] = ("rows", "dim", "tokens")

    def _input_shape(self) -> Shape:
        return (self.tokens,)

    def _weight_shape(self) -> Shape:
        return (self.rows, self.dim)

    def _output_shape(self) -> Shape:
        return (self.tokens, self.dim)

    @property
    def weights(self) -> int:
        """Stored weights; one inference reads `tokens` rows of them."""
        return self.rows * self.dim

    def lower(self, batch: int) -> Stream:
        """Rows of the table, one a token."""
        return self._stream(batch, "gather")

    def weights_read(self, batch: int) -> int:
        """The rows that one inference looks up: those of a batch may be the same."""
        return self.outputs
