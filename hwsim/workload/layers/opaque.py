"""Operators without a model."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from hwsim.errors import excerpt
from hwsim.workload.layer import Converted, Layer, Shape, ShapeField, ShapesField, kind
from hwsim.workload.layers.elementwise import MAX_OPERANDS
from hwsim.workload.line import Line, Values
from hwsim.workload.product import Stream, StreamKind

__all__ = ["Opaque"]


def _read(values: Values, shapes: tuple[Shape, ...]) -> Values:
    return {"shapes": shapes} | values


@kind
class Opaque(Layer):
    """An operator that hwsim has no model of: a row with its name and the values that it moves.

    Parameters
    ----------
    name : str
    type : str
        What the model that it is from calls it, such as ``space_to_depth``.
    shapes : sequence of shapes
        Of each operand.
    to : sequence of int
        The shape of the output.
    stored : int
        Constants that it has: they count as weights, for what they take in memory.
    idle : int
        How many of those an inference does not read, such as the weights of a branch that does not run. If it is
        all of them, the row moves nothing.
    """

    type: str
    shapes: ShapesField = Converted(())
    to: ShapeField = Converted(())
    stored: int = 0
    idle: int = 0

    _lines: ClassVar[tuple[Line, ...]] = (
        Line(
            "opaque",
            "An operator that hwsim has no model of: what it moves, and the constants that it stores.",
            follows="shapes",
            needs="to",
            read=_read,
        ),
    )
    _counts: ClassVar[tuple[str, ...]] = ("stored", "idle")

    def _settle(self) -> list[str]:
        faults: list[str] = []
        if not isinstance(self.type, str) or not 1 <= len(self.type) <= 80 or not self.type.isprintable():
            faults.append(f"type must be 1 to 80 printable characters, not {excerpt(self.type)}")
        shapes: object = self.__dict__["shapes"]
        if not isinstance(shapes, (list, tuple)) or not 1 <= len(shapes) <= MAX_OPERANDS:
            return [*faults, f"shapes must be a list of 1 to {MAX_OPERANDS} shapes, not {excerpt(shapes)}"]
        self._put("shapes", tuple(self._shape("shapes", shape, faults) for shape in shapes))
        self._put("to", self._shape("to", self.to, faults))
        if self.idle > self.stored:
            faults.append(f"idle must be at most the {self.stored} stored, not {self.idle}")
        return faults

    def _input_shape(self) -> Shape:
        return self.shapes[0]

    def _weight_shape(self) -> Shape:
        return (self.stored,)

    def _output_shape(self) -> Shape:
        return self.to

    @property
    def op(self) -> str:
        """What it is called."""
        return self.type

    @property
    def operands(self) -> tuple[Shape, ...]:
        """The shape of each operand."""
        return self.shapes

    @property
    def weights(self) -> int:
        """Stored constants."""
        return self.stored

    def lower(self, batch: int) -> Stream:
        """What it moves, with the constants that it reads; nothing if all that it has is idle."""
        kind: StreamKind = "view" if 0 < self.stored == self.idle else "opaque"
        return replace(self._stream(batch, kind), stored=self.stored - self.idle)

    def weights_read(self, batch: int) -> int:
        """All but the idle ones."""
        return self.stored - self.idle
