"""Values that only move."""

from __future__ import annotations

import math
from typing import ClassVar

from hwsim.workload.layer import Converted, Shape, ShapeField, kind
from hwsim.workload.layers.shaped import Shaped, shaped
from hwsim.workload.line import Line
from hwsim.workload.product import Stream

__all__ = ["DataMovement"]


@kind
class DataMovement(Shaped):
    """Values that only move: ``reshape`` and ``transpose`` keep them all, ``slice``, ``pad`` and ``resize`` do not.

    Parameters
    ----------
    name : str
    shape : sequence of int
        The shape of the input.
    to : sequence of int
        The shape of the output; default: that of the input.
    type : str
    """

    to: ShapeField = Converted(())
    type: str = "reshape"

    _lines: ClassVar[tuple[Line, ...]] = (shaped("move", "Values that only move.", "type shape to", follows="to"),)
    _names: ClassVar[dict[str, tuple[str, ...]]] = {"type": ("reshape", "transpose", "copy", "slice", "pad", "resize")}

    def _settle(self) -> list[str]:
        faults = super()._settle()
        self._put("to", self._shape("to", self.to, faults) if self.to != () else self.shape)
        if not faults and self.type in ("reshape", "transpose", "copy") and math.prod(self.to) != math.prod(self.shape):
            faults.append(f"a {self.type} must keep the number of values, not change {self.shape} to {self.to}")
        return faults

    def _output_shape(self) -> Shape:
        return self.to

    @property
    def op(self) -> str:
        """What is done: ``reshape``, ``transpose``, ..."""
        return self.type

    @property
    def ops(self) -> int:
        """None: values only move."""
        return 0

    def lower(self, batch: int) -> Stream:
        """A copy, or a view where the order of the values stays."""
        return self._stream(batch, "view" if self.type == "reshape" else "copy", self.type)
