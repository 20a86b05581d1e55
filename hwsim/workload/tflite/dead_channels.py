"""Dead channels of a TFLite file: channels that are zero for every input, by the values of the weights.

An output channel of a convolution is dead if its weights over all live input channels are zero and its bias gives the
zero point. Another constant stays live, because a padded layer after it would see the zero of the border beside it; so
does a depthwise channel with a dead input and a nonzero bias.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hwsim.workload.tflite.graph import Budget, Operator, Tensor, TfliteFile

__all__ = ["Mask", "channels_of", "dead_channels", "dead_counts", "nonzero"]

#: One flag for each channel, the last axis of a tensor: true if it is dead.
Mask: TypeAlias = NDArray[np.bool_]

MAX_CHANNELS = 2**20
#: Operators whose output channel is zero if the channel of all their inputs is.
_ZERO_KEPT = {
    "ADD", "SUB", "ADD_N", "AVERAGE_POOL_2D", "MAX_POOL_2D", "RELU", "RELU6", "RELU_N1_TO_1", "LEAKY_RELU", "PRELU",
    "ELU", "GELU", "HARD_SWISH", "TANH", "ABS", "NEG", "MAXIMUM", "MINIMUM", "QUANTIZE", "DEQUANTIZE",
}  # fmt: skip


def dead_channels(file: TfliteFile, constants: Mapping[int, Tensor]) -> dict[int, Mask]:
    """The dead channels of each tensor that has any."""
    dead: dict[int, Mask] = {}
    live = set(file.outputs)  # outputs of the network are never left out
    for op in file.operators:
        if not op.outputs or op.outputs[0] in live:
            continue
        out = file.tensors[op.outputs[0]]
        mask = _mask(file, constants, op, out, dead)
        if mask is not None and mask.any():
            file.budget.spend(mask.size)
            dead[out.index] = mask
    return dead


def nonzero(tensor: Tensor, budget: Budget) -> Mask:
    """Mask of the nonzero real values of a constant."""
    budget.spend(2 * tensor.bytes + tensor.elements)
    values = tensor.values()
    quantization = tensor.quantization
    if quantization is None or tensor.dtype.startswith(("float", "bfloat")):
        return np.asarray(values != 0)
    zero = quantization.zero_point
    if zero.size > 1:
        zero = zero.reshape([-1 if axis == quantization.axis else 1 for axis in range(len(tensor.shape))])
    return np.asarray(values != zero)


def channels_of(mask: Mask | None, channels: int) -> Mask | None:
    """A mask of `channels` after a flatten or reshape, which keep the order of values; None if unknown."""
    if mask is None or not mask.size or not 0 < channels <= MAX_CHANNELS:
        return None
    if channels % mask.size == 0:
        return np.tile(mask, channels // mask.size)
    if mask.size % channels == 0:
        return np.asarray(mask.reshape(-1, channels).all(axis=0))
    return None


def dead_counts(dead_in: Mask | None, dead_out: Mask | None, inputs: int, groups: int) -> dict[str, Any]:
    """The numbers of dead channels of a layer with `inputs` channels.

    A depthwise channel with a dead input and a nonzero bias has no work, and a live output.
    """
    counts: dict[str, Any] = {}
    for key, mask in (("dead_in", dead_in), ("dead_out", dead_out)):
        if mask is not None:
            counts[key] = int(mask.sum())
            if 1 < groups < inputs:  # a layer has one number for all groups
                counts[key] = groups * int(mask.reshape(groups, -1).sum(axis=1).min())
    return counts


def _mask(
    file: TfliteFile, constants: Mapping[int, Tensor], op: Operator, out: Tensor, dead: Mapping[int, Mask]
) -> Mask | None:
    read = [index for index in op.inputs if index >= 0 and index not in constants]
    masks = [dead.get(index) for index in read]
    if op.code in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
        weights = constants.get(op.inputs[1]) if len(op.inputs) > 1 else None
        if weights is None or weights.data is None or weights.sparse or len(read) != 1:
            return None
        bias = constants.get(op.inputs[2]) if len(op.inputs) > 2 else None
        return _weight_mask(op, file.tensors[read[0]], weights, bias, out, masks[0], file.budget)
    if op.code == "CONCATENATION":
        return _concat_mask(op, file, read, out, dead)
    if not any(mask is not None for mask in masks):
        return None
    if op.code == "MUL":
        fits = [mask for mask in masks if mask is not None and mask.size == _channels(out)]
        return np.asarray(np.logical_or.reduce(fits)) if fits else None
    first = masks[0]
    if op.code in ("RESHAPE", "SQUEEZE", "EXPAND_DIMS"):
        return channels_of(first, _channels(out))
    if op.code == "PAD":
        return first if first is not None and first.size == _channels(out) else None
    if op.code == "MEAN" and len(op.inputs) > 1 and (axes := constants.get(op.inputs[1])) is not None:
        whole = axes.data is not None and sorted(axes.values().ravel().tolist()) == [1, 2]
        return first if whole and len(file.tensors[read[0]].shape) == 4 else None
    if op.code in _ZERO_KEPT and (op.code in ("PRELU", "QUANTIZE") or len(read) == len(op.inputs)):
        if any(mask is None or mask.size != _channels(out) for mask in masks):
            return None
        return np.asarray(np.logical_and.reduce([mask for mask in masks if mask is not None]))
    return None


def _channels(tensor: Tensor) -> int:
    return tensor.shape[-1] if tensor.shape else 1


def _concat_mask(
    op: Operator, file: TfliteFile, read: Sequence[int], out: Tensor, dead: Mapping[int, Mask]
) -> Mask | None:
    axis = int(op.options.get("axis", 0))
    rank = len(out.shape)
    if axis % max(rank, 1) != rank - 1 or len(read) != len(op.inputs) or _channels(out) > MAX_CHANNELS:
        return None
    if not any(index in dead for index in read):
        return None
    sizes = [_channels(file.tensors[index]) for index in read]
    if sum(sizes) != _channels(out):
        return None
    parts = [dead.get(index, np.zeros(size, np.bool_)) for index, size in zip(read, sizes)]
    return np.concatenate(parts)


def _weight_mask(
    op: Operator, source: Tensor, weights: Tensor, bias: Tensor | None, out: Tensor, mask: Mask | None, budget: Budget
) -> Mask | None:
    """Output channels with zero weights over live inputs and a zero constant."""
    used = nonzero(weights, budget)
    if op.code == "DEPTHWISE_CONV_2D":
        if used.ndim != 4 or not _channels(source):
            return None
        alive = used.any(axis=(0, 1, 2))
        multiplier = alive.size // _channels(source)
        if mask is not None and mask.size * multiplier == alive.size:
            alive = alive & ~np.repeat(mask, multiplier)
    else:
        if used.ndim < 2:
            return None
        inputs = used.shape[-1]
        flat = channels_of(mask, inputs)
        if flat is not None and mask is not None and (op.code == "FULLY_CONNECTED" or mask.size == inputs):
            used = used & ~flat
        alive = used.any(axis=tuple(range(1, used.ndim)))
    constant = _zero_constant(op, source, weights, bias, out, alive.size)
    return None if constant is None else np.asarray(~alive & constant)


def _zero_constant(
    op: Operator, source: Tensor, weights: Tensor, bias: Tensor | None, out: Tensor, channels: int
) -> Mask | None:
    """Whether each output channel is zero when its inputs are; None if the file does not say."""
    if bias is None:
        real = np.zeros(channels)
    elif bias.data is None or bias.elements != channels or bias.sparse:
        return None
    else:
        real = bias.values().ravel().astype(np.float64)
    activation = op.options.get("fused_activation_function", "NONE")
    if out.dtype.startswith(("float", "bfloat")):
        return np.asarray(real <= 0 if activation in ("RELU", "RELU6") else real == 0)
    quantizations = (source.quantization, weights.quantization, out.quantization)
    if any(item is None for item in quantizations):
        return None
    scale_in, scale_w, scale_out = (item.scale.astype(np.float64) for item in quantizations if item is not None)
    if scale_w.size not in (1, channels) or scale_in.size != 1 or scale_out.size != 1 or not scale_out[0]:
        return None
    steps = np.rint(real * (scale_in * scale_w / scale_out[0]))
    return np.asarray(steps <= 0 if activation in ("RELU", "RELU6") else steps == 0)
