"""Layers that are given by one shape, which their output has too."""

from __future__ import annotations

from typing import Any

from hwsim.workload.layer import Converted, Layer, Shape, ShapeField, kind
from hwsim.workload.line import Line, Values

__all__ = ["Shaped", "shaped"]


def _read(values: Values, shapes: tuple[Shape, ...]) -> Values:
    return {"shape": shapes[0]} | values if shapes else values


def shaped(key: str, description: str, keys: str = "shape", **more: Any) -> Line:
    """A line whose shape is that of what the layer reads."""
    return Line(key, description, keys=keys, sizes="shape", read=_read, **more)


@kind
class Shaped(Layer):
    """A layer that is given by the shape of its input, which its output has too."""

    shape: ShapeField = Converted(())

    def _settle(self) -> list[str]:
        faults: list[str] = []
        self._put("shape", self._shape("shape", self.shape, faults))
        return faults

    def _input_shape(self) -> Shape:
        return self.shape

    def _output_shape(self) -> Shape:
        return self.shape

    @property
    def ops(self) -> int:
        """One operation a value."""
        return self.outputs
