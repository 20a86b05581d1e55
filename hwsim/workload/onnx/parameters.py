"""The weights and biases of an operator of ONNX."""

from __future__ import annotations

from hwsim.errors import InputError
from hwsim.workload.builder import UnmodeledError
from hwsim.workload.layer import Shape
from hwsim.workload.onnx.canonical import Op
from hwsim.workload.onnx.converter import Converter

__all__ = ["has_bias", "window_weights"]


def has_bias(c: Converter, op: Op, count: int, place: int = 2) -> bool:
    """Whether a layer has a bias, its own or a fused one."""
    names = [op.input(place), str(op.options.get("bias") or "")]
    for name in filter(None, names):
        bias = c.constants.get(name)
        if bias is None:
            raise UnmodeledError("its bias is computed")
        if bias.elements not in (1, count):
            raise InputError(f"bias must have a value for each of {count} outputs, not {bias.elements}")
    return any(names) or op.shifts


def window_weights(c: Converter, op: Op, ranks: tuple[int, ...]) -> Shape:
    """The shape of the weights of a convolution."""
    weights = c.constant(op, 1)
    if weights is None or op.input(0) in c.constants:
        raise UnmodeledError("its weights are computed")
    if len(weights.shape) not in ranks:
        raise UnmodeledError(f"its window has {len(weights.shape) - 2} axes")
    if not weights.elements:
        raise InputError(f"weights must have sizes above 0, not {weights.shape}")
    return weights.shape
