"""What the makers of TFLite layers read of an operator: fused activation, bias, window, dead channels."""

from __future__ import annotations

from hwsim.errors import InputError
from hwsim.workload.builder import UnmodeledError
from hwsim.workload.tflite.converter import Converter, Values
from hwsim.workload.tflite.dead_channels import dead_counts
from hwsim.workload.tflite.graph import Operator

__all__ = ["axes_of", "dead_of", "fused_activation", "has_bias", "window_of"]

_FUSED = {"NONE": "none", "RELU": "relu", "RELU_N1_TO_1": "clip", "RELU6": "relu6", "TANH": "tanh", "SIGN_BIT": "sign"}


def fused_activation(op: Operator) -> str:
    """The fused activation of an operator."""
    return _FUSED[str(op.options.get("fused_activation_function", "NONE"))]


def window_of(op: Operator) -> Values:
    """Stride, dilation and padding of an operator with a window."""
    options = op.options
    strides = options["stride_h"], options["stride_w"]
    window: Values = {"stride": strides, "pad": str(options["padding"]).lower()}
    if "dilation_hfactor" in options:
        window["dilation"] = (options["dilation_hfactor"], options["dilation_wfactor"])
    return window


def has_bias(c: Converter, op: Operator, channels: int, place: int = 2) -> bool:
    """Whether an operator has a bias, which must have a value for each output channel."""
    bias = c.constant(op, place)
    if bias is not None and bias.elements != channels:
        raise InputError(f"bias must have a value for each of {channels} outputs, not {bias.elements}")
    return bias is not None


def dead_of(c: Converter, op: Operator, inputs: int, outputs: int, groups: int) -> Values:
    """The numbers of dead channels of a convolution."""
    masks = [c.dead.get(index) for index in (op.inputs[0], op.outputs[0])]
    sizes = (inputs, outputs)
    before, after = (mask if mask is not None and mask.size == size else None for mask, size in zip(masks, sizes))
    return dead_counts(before, after, inputs, groups)


def axes_of(c: Converter, op: Operator, place: int, rank: int) -> list[int]:
    """The axes of a tensor that a constant input names, in ascending order."""
    constant = c.constant(op, place)
    if constant is None or constant.data is None:
        raise UnmodeledError("its axes are computed")
    axes = [int(axis) for axis in constant.values().ravel()[:64]]
    if not rank or any(not -rank <= axis < rank for axis in axes):
        raise InputError(f"axes must be among the {rank} of the input, not {axes}")
    return sorted({axis % rank for axis in axes})
