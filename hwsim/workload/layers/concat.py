"""Concatenation."""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar

from hwsim.errors import InputError, excerpt
from hwsim.workload.layer import Converted, Layer, Shape, ShapeField, kind, whole
from hwsim.workload.line import Line, Values
from hwsim.workload.product import Stream

__all__ = ["Concat"]


def _read(values: Values, shapes: tuple[Shape, ...]) -> Values:
    axis = values.pop("axis", 0)
    if shapes and "parts" not in values:
        if whole(axis) is None or not 0 <= axis < len(shapes[0]):
            raise InputError(f"axis must be one of the {len(shapes[0])} axes of what is joined, not {excerpt(axis)}")
        parts = [shape[axis] if axis < len(shape) else 1 for shape in shapes]
        values = {"before": shapes[0][:axis], "parts": parts, "rest": shapes[0][axis + 1 :]} | values
    return values


@kind
class Concat(Layer):
    """Tensors joined along one axis: `parts` are their sizes on it, `before` and `rest` those on the axes around it.

    Nothing before the axis, the default, joins images by their channels.

    Examples
    --------
    >>> Concat("3a", parts=(64, 128, 32, 32), rest=(28, 28)).output.shape
    (256, 28, 28)
    """

    parts: ShapeField = Converted(())
    rest: ShapeField = Converted(())
    before: ShapeField = Converted(())

    _lines: ClassVar[tuple[Line, ...]] = (
        Line(
            "concat",
            "Tensors concatenated along an axis, by default 0 (channels).",
            keys="axis before parts rest",
            sizes="parts",
            source="other layers",
            follows="before rest",
            extra={"axis": 0},
            read=_read,
            write=lambda layer, shapes: (
                {"axis": len(layer.before)} if layer.before and shapes == layer.operands else {}
            ),
        ),
    )
    _op: ClassVar[str] = "concat"

    def _settle(self) -> list[str]:
        faults: list[str] = []
        parts: object = self.__dict__["parts"]
        if not isinstance(parts, (list, tuple)) or not parts:
            return [f"parts must be a list of sizes such as [64, 128], not {excerpt(parts)}"]
        self._put("parts", tuple(self._integer("parts", part, 1, faults) for part in parts))
        for name in ("rest", "before"):
            value: object = self.__dict__[name]
            self._put(name, () if isinstance(value, (list, tuple)) and not value else self._shape(name, value, faults))
        return faults

    def _input_shape(self) -> Shape:
        return (*self.before, sum(self.parts), *self.rest)

    def _output_shape(self) -> Shape:
        return (*self.before, sum(self.parts), *self.rest)

    @property
    def operands(self) -> tuple[Shape, ...]:
        """The shape of each part."""
        return self._operands

    @cached_property
    def _operands(self) -> tuple[Shape, ...]:
        # Of many parts, each asks for its own.
        return tuple((*self.before, part, *self.rest) for part in self.parts)

    def lower(self, batch: int) -> Stream:
        """A copy, if the parts are not written in place."""
        return self._stream(batch, "concat")
