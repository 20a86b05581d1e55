"""Rotary position embedding, with normalized queries and keys, and the write of keys and values to the cache."""

from __future__ import annotations

from typing import ClassVar

from hwsim.workload.layer import Converted, Layer, OptionalInt, Shape, kind
from hwsim.workload.line import Line, Values
from hwsim.workload.product import Stream

__all__ = ["Rotary"]


def _read(values: Values, shapes: tuple[Shape, ...]) -> Values:
    return {"tokens": shapes[0][0]} | values if shapes else values


@kind
class Rotary(Layer):
    """Queries and keys turned by their position; the keys and the values go to the cache, the queries on.

    It reads the output of one product for queries, keys and values (`tokens` rows). Its output tensor is the queries.

    Parameters
    ----------
    name : str
    tokens : int
    heads, kv_heads, dim : int
        As of `Attention`; kv_heads defaults to heads.
    norm : bool
        Whether each head of the queries and keys is normalized before, with a scale for each of its values.
    input, weight, output
        Types of what is read, of the scales, and of what is written.

    Examples
    --------
    >>> one = Rotary("rope", heads=32, kv_heads=8, dim=128)
    >>> one.input.shape, one.output.shape, one.outputs
    ((1, 6144), (1, 4096), 6144)
    """

    tokens: int = 1
    heads: int
    kv_heads: OptionalInt = Converted(None)
    dim: int
    norm: bool = False

    _lines: ClassVar[tuple[Line, ...]] = (
        Line(
            "rotary",
            "Queries and keys turned by their position; keys and values are written to the cache.",
            sizes="tokens",
            notes={
                "kv_heads": "heads of keys and values; heads if left out",
                "dim": "values of a query and key of one head",
            },
            read=_read,
        ),
    )
    _op: ClassVar[str] = "rotary"
    _sizes: ClassVar[tuple[str, ...]] = ("tokens", "heads", "dim")
    _flags: ClassVar[tuple[str, ...]] = ("norm",)

    def _settle(self) -> list[str]:
        faults: list[str] = []
        kv_heads = self._optional("kv_heads", self.heads, 1, faults)
        if self.heads % kv_heads:
            faults.append(f"kv_heads must divide heads, {self.heads}, not {kv_heads}")
        return faults

    def _input_shape(self) -> Shape:
        return (self.tokens, (self.heads + 2 * self.kv_heads) * self.dim)

    def _weight_shape(self) -> Shape:
        return (2 * self.dim,) if self.norm else (0,)

    def _output_shape(self) -> Shape:
        return (self.tokens, self.heads * self.dim)

    @property
    def weights(self) -> int:
        """Scales of a query's and of a key's values."""
        return 2 * self.dim if self.norm else 0

    @property
    def outputs(self) -> int:
        """Values written: queries, and keys and values that go to the cache."""
        return self.input.elements

    @property
    def ops(self) -> int:
        """Two products and a sum for each value of a query or key; of normalized ones three more."""
        return (6 if self.norm else 3) * self.tokens * (self.heads + self.kv_heads) * self.dim

    def lower(self, batch: int) -> Stream:
        """A pass over the values."""
        return self._stream(batch, "elementwise", "normalized rotary" if self.norm else "rotary")
