"""A gated activation: a function of one half of the values times the other half."""

from __future__ import annotations

from typing import ClassVar

from hwsim.workload.layer import ACTIVATIONS, Shape, kind
from hwsim.workload.layers.shaped import Shaped, shaped
from hwsim.workload.line import Line
from hwsim.workload.product import Stream

__all__ = ["Gated"]


@kind
class Gated(Shaped):
    """A function of the first half of the last axis times the second half: SwiGLU where it is ``silu``.

    Examples
    --------
    >>> Gated("act", shape=(7, 28672)).output.shape
    (7, 14336)
    """

    type: str = "silu"

    _lines: ClassVar[tuple[Line, ...]] = (
        shaped("gated", "A function of one half of the last axis times the other half (SwiGLU, GeGLU).", "type shape"),
    )
    _op: ClassVar[str] = "gated"
    _names: ClassVar[dict[str, tuple[str, ...]]] = {"type": ACTIVATIONS[1:]}

    def _settle(self) -> list[str]:
        faults = super()._settle()
        if not faults and self.shape[-1] % 2:
            faults.append(f"the last axis of the shape must be even, not {self.shape[-1]}")
        return faults

    def _output_shape(self) -> Shape:
        return (*self.shape[:-1], self.shape[-1] // 2)

    @property
    def ops(self) -> int:
        """A function and a product for each value written."""
        return 2 * self.outputs

    def lower(self, batch: int) -> Stream:
        """A pass over both halves."""
        return self._stream(batch, "activation", self.type)
