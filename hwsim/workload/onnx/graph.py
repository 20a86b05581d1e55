"""An ONNX graph after shape inference."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from hwsim.message import Message
from hwsim.workload.layer import Shape
from hwsim.workload.onnx.canonical import Op
from hwsim.workload.onnx.constants import Constant

__all__ = ["Graph", "Tensor"]


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of the graph; its shape includes the batch, and is None if it depends on values."""

    name: str
    dtype: str
    shape: Shape | None

    @property
    def elements(self) -> int:
        """Number of values."""
        return math.prod(self.shape or ())


@dataclass(slots=True)
class Graph:
    """A graph with inferred shapes: operators in canonical form and topological order."""

    ops: list[Op]
    tensors: dict[str, Tensor]
    constants: dict[str, Constant]
    inputs: list[str]
    outputs: list[str]
    unknown: dict[str, str]
    warnings: list[Message]
    opset: int
    #: Operators of trips that are not counted, by the loop.
    uncounted: dict[str, int] = field(default_factory=dict)
