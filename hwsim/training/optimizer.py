"""Optimizers as the bytes and operations that the update of one parameter takes, and the state that they keep of it."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

__all__ = ["OPTIMIZERS", "Optimizer", "OptimizerName"]

OptimizerName = Literal["sgd", "momentum", "adam", "lamb"]


@dataclass(frozen=True, slots=True)
class Optimizer:
    """What the update of one parameter does, all in fp32.

    Attributes
    ----------
    name : str
    state : int
        Values that are kept of a parameter between steps.
    read, written : int
        Values read and written, but for the gradient, which is read once more: weight and state.
    operations : int
        Additions, multiplications, roots.
    source : str
    """

    name: OptimizerName
    state: int
    read: int
    written: int
    operations: int
    source: str


OPTIMIZERS = MappingProxyType(
    {
        "sgd": Optimizer("sgd", 0, 1, 1, 4, "w -= rate (g + decay w)"),
        "momentum": Optimizer("momentum", 1, 2, 2, 6, "m = mu m + g + decay w; w -= rate m"),
        "adam": Optimizer("adam", 2, 3, 3, 14, "Kingma and Ba, ICLR 2015: two moments, a root, a quotient"),
        # Two kernels: moments and the direction, which is kept; its norm and the weight's; then the weight.
        "lamb": Optimizer(
            "lamb", 2, 5, 4, 22, "You et al., ICLR 2020: Adam, and a norm of weights and of steps a layer"
        ),
    }
)
