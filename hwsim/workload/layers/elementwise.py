"""Tensors of one shape combined value by value."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from hwsim.workload.layer import ACTIVATIONS, Shape, kind
from hwsim.workload.layers.shaped import Shaped
from hwsim.workload.line import Line, Values
from hwsim.workload.product import Stream

__all__ = ["Elementwise"]


MAX_OPERANDS = 1000
ELEMENTWISE = ("add", "sub", "mul", "div", "max", "min", "pow", "mod", "compare", "logic", "select")


def _read(values: Values, shapes: tuple[Shape, ...]) -> Values:
    """The largest operand has the shape; the others are spread over it."""
    return {"shape": max(shapes, key=math.prod)} | values | {"n": len(shapes)} if shapes else values


def _line(key: str, description: str, keys: str = "shape n act", **more: Any) -> Line:
    return Line(key, description, keys=keys, sizes="shape", source="other layers", follows="n", read=_read, **more)


@kind
class Elementwise(Shaped):
    """`n` tensors of one shape combined value by value: ``add``, ``mul``, ``max`` and the others of `ELEMENTWISE`.

    An operand may have a size of 1, or none, where the shape has another: it is used again for each value.
    """

    type: str = "add"
    n: int = 2
    activation: str = "none"

    _lines: ClassVar[tuple[Line, ...]] = (
        _line(
            "add",
            "The sum of tensors of one shape; in a plain trace there are n of them, else as many as it reads.",
            settle=lambda values: values | {"type": "add"},
        ),
        _line(
            "mul",
            "The product, value by value, of tensors of one shape.",
            settle=lambda values: values | {"type": "mul"},
        ),
        _line("elementwise", "Tensors of one shape combined value by value.", "type shape n act", needs="type"),
    )
    _sizes: ClassVar[tuple[str, ...]] = ("n",)
    _names: ClassVar[dict[str, tuple[str, ...]]] = {
        "type": ELEMENTWISE,
        "activation": ACTIVATIONS,
    }

    def _settle(self) -> list[str]:
        faults = super()._settle()
        if self.n > MAX_OPERANDS:
            faults.append(f"n must be at most {MAX_OPERANDS}, not {self.n}")
        return faults

    @property
    def op(self) -> str:
        """The operation: ``add``, ``mul``, ..."""
        return self.type

    @property
    def operands(self) -> tuple[Shape, ...]:
        """The shape, `n` times."""
        return (self.shape,) * self.n

    @property
    def inputs(self) -> int:
        """Values read of one inference."""
        return self.n * math.prod(self.shape)

    def accepts(self, shape: Shape, operand: int) -> bool:
        """Whether the shape fits, or does once it is spread: its sizes but 1 are some of the shape's, in its order."""
        sizes = iter(self.shape)
        return all(size in sizes for size in shape if size != 1) or super().accepts(shape, operand)

    @property
    def ops(self) -> int:
        """Operations of one inference."""
        return self.outputs * max(self.n - 1, 1)

    def lower(self, batch: int) -> Stream:
        """A pass over all operands."""
        return self._stream(batch, "elementwise", self.type, self.activation)
