"""An ONNX graph whose tensors have shapes and types."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hwsim.workload.layer import Shape
from hwsim.workload.onnx.canonical import Op
from hwsim.workload.onnx.constants import Constant

__all__ = ["Graph", "Tensor"]


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of the graph; its shape is with the batch, and None where it depends on values."""

    name: str
    dtype: str
    shape: Shape | None

    @property
    def elements(self) -> int:
        """How many values it has."""
        return math.prod(self.shape or ())


@dataclass(slots=True)
class Graph:
    """A graph whose tensors have shapes: operators in their plain form, in an order in which they can run."""

    ops: list[Op]
    tensors: dict[str, Tensor]
    constants: dict[str, Constant]
    inputs: list[str]
    outputs: list[str]
    unknown: dict[str, str]
    warnings: list[str]
