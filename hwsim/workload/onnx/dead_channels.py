"""Dead channels of an ONNX graph: channels that are zero for every input, by the values of the weights.

An output channel whose weights over all live inputs are zero is constant: its value follows from its bias, a batch
normalization, an activation and a requantization. If that value is zero the channel is dead. Another constant stays
live, because a padded layer after it would see the zero of the border beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwsim.workload.onnx.canonical import Op, Pair, Step
from hwsim.workload.onnx.constants import Constant
from hwsim.workload.onnx.graph import Graph
from hwsim.workload.onnx.lowering import FREE, UNARY, activation
from hwsim.workload.tflite.dead_channels import channels_of

__all__ = ["ChannelValues", "dead_channels"]

Values = NDArray[np.float64]
#: Channels of one tensor, at most.
MAX_CHANNELS = 2**20
_RANGES = {"uint8": (0, 255), "int8": (-128, 127), "uint16": (0, 65535), "int16": (-32768, 32767)}
_ZERO_KEPT = {
    "LeakyRelu", "PRelu", "Elu", "Gelu", "HardSwish", "Tanh", "Abs", "Neg", "Erf", "Swish", "Mish", "Selu", "Celu",
    "Softsign", "Sqrt", "Sin", "Sign", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Clip", "Relu",
}  # fmt: skip
_SUMS = {"Add", "Sub", "Max", "Min", "Sum"}


@dataclass(frozen=True, eq=False, slots=True)
class ChannelValues:
    """The constant value of each channel along an axis of a tensor; NaN if the channel is not constant."""

    axis: int
    values: Values

    @property
    def dead(self) -> NDArray[np.bool_]:
        """Mask of the channels that are zero."""
        return np.asarray(self.values == 0)


def dead_channels(graph: Graph, ops: list[Op]) -> dict[str, ChannelValues]:
    """Channel values of each tensor that has constant channels."""
    return _Search(graph).run(ops)


class _Search:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.constants = graph.constants
        self.channel_values: dict[str, ChannelValues] = {}

    def run(self, ops: list[Op]) -> dict[str, ChannelValues]:
        outputs = set(self.graph.outputs)  # outputs of the network are never left out
        with np.errstate(all="ignore"):
            for op in ops:
                has_shapes = not any(name in self.graph.unknown for name in (*op.inputs, *op.outputs))
                if has_shapes and op.outputs and op.outputs[0] and op.outputs[0] not in outputs:
                    result = self.of(op)
                    if result is not None and result.values.size <= MAX_CHANNELS and not np.isnan(result.values).all():
                        self.channel_values[op.outputs[0]] = result
        return self.channel_values

    def of(self, op: Op) -> ChannelValues | None:
        if op.code in ("Conv", "Gemm", "MatMul"):
            return self.weight_layer(op)
        read = [self.channel_values.get(name) for name in op.inputs if name and name not in self.constants]
        if not read or not any(item is not None for item in read):
            return None
        first = read[0]
        if op.code == "Concat":
            return self.concat(op)
        if op.code in _SUMS | {"Mul"}:
            return self.elementwise(op, read)
        if first is None:
            return None
        if op.code in FREE:
            return self.reshape(op, first)
        if op.code == "Transpose":
            rank = len(self.graph.tensors[op.inputs[0]].shape or ())
            order = op.options.get("perm") or tuple(reversed(range(rank)))
            return ChannelValues(order.index(first.axis), first.values) if first.axis in order else None
        if op.code == "DequantizeLinear":
            return first
        if op.code == "QuantizeLinear":
            return self.finish(op, first.axis, first.values, Pair(op.input(1), op.input(2)))
        if op.code == "Clip" and activation(op, self.constants) == "clip":
            return None  # its limits may exclude zero
        if op.code in _ZERO_KEPT:
            if op.code in UNARY or first.axis == 1:
                values = np.maximum(first.values, 0) if op.code == "Relu" else first.values
                return self.finish(op, first.axis, np.where(values == 0, 0, np.nan), op.rounding)
            return None
        if op.code == "BatchNormalization" and first.axis == 1:
            parameters = [self.constants.get(name) for name in op.inputs[1:5]]
            norm = [item for item in parameters if item is not None]
            normal = _normalize(first.values, norm, float(op.options.get("epsilon", 1e-5))) if len(norm) == 4 else None
            return None if normal is None else ChannelValues(1, normal)
        return None

    def rank(self, name: str) -> int:
        return len(self.graph.tensors[name].shape or ())

    def elementwise(self, op: Op, read: list[ChannelValues | None]) -> ChannelValues | None:
        out = self.graph.tensors[op.outputs[0]].shape or ()
        alike = [
            item
            for item, name in zip(read, [name for name in op.inputs if name and name not in self.constants])
            if item is not None and self.rank(name) == len(out) and item.values.size == out[item.axis]
        ]
        if op.code == "Mul":
            if not alike:
                return None
            axis = alike[0].axis
            dead = np.logical_or.reduce([item.dead for item in alike if item.axis == axis])
            return self.finish(op, axis, np.where(dead, 0, np.nan), op.rounding)
        if len(alike) != len(op.inputs) or len({item.axis for item in alike}) != 1:
            return None
        dead = np.logical_and.reduce([item.dead for item in alike])
        return self.finish(op, alike[0].axis, np.where(dead, 0, np.nan), op.rounding)

    def reshape(self, op: Op, first: ChannelValues) -> ChannelValues | None:
        """After a reshape: the channels are still an axis, or were flattened into the last one."""
        before, after = (self.graph.tensors[name].shape or () for name in (op.inputs[0], op.outputs[0]))
        axis = first.axis
        if axis == len(before) - 1 and after and after[-1] == before[-1]:
            return ChannelValues(len(after) - 1, first.values)
        if after[: axis + 1] == before[: axis + 1]:
            return first
        rest = math.prod(before[axis + 1 :])
        if len(after) == axis + 1 and after[:axis] == before[:axis] and rest * first.values.size <= MAX_CHANNELS:
            return ChannelValues(axis, np.repeat(first.values, rest))
        return None

    def concat(self, op: Op) -> ChannelValues | None:
        rank = self.rank(op.outputs[0])
        axis = int(op.options.get("axis", 0)) % max(rank, 1)
        parts = []
        for name in op.inputs:
            shape = self.graph.tensors[name].shape or ()
            part = self.channel_values.get(name)
            if len(shape) != rank or shape[axis] > MAX_CHANNELS:
                return None
            whole = part is not None and part.axis == axis
            parts.append(part.values if whole and part is not None else np.full(shape[axis], np.nan))
        return self.finish(op, axis, np.concatenate(parts), op.rounding) if parts else None

    def weight_layer(self, op: Op) -> ChannelValues | None:
        conv = op.code == "Conv"
        weights = self.constants.get(op.input(1))
        if weights is None or op.input(0) in self.constants or len(weights.shape) < 2:
            return None
        mask = weights.mask()
        if mask is None or (not conv and mask.ndim != 2):
            return None
        before = self.channel_values.get(op.inputs[0])
        source, out = (self.graph.tensors[name].shape or () for name in (op.inputs[0], op.outputs[0]))
        if not source or not out or op.options.get("transA"):
            return None
        used: NDArray[np.bool_] = mask if conv or op.options.get("transB") else mask.T
        if mask.ndim > 2:
            used = np.asarray(mask.any(axis=tuple(range(2, mask.ndim))))
        outputs, inputs = used.shape
        groups = int(op.options.get("group", 1)) if conv else 1
        axis = 1 if conv else len(source) - 1
        if before is not None and groups > 0 and before.axis == axis and before.values.size == inputs * groups:
            dead = before.dead.reshape(groups, inputs)
            if outputs % groups == 0:
                used = used & ~np.repeat(dead, outputs // groups, axis=0)
        alive = used.any(axis=1)
        if alive.all():
            return None
        values = self.bias(op, outputs)
        if values is None:
            return None
        for step in op.steps:
            if (after := _stepped(values, step)) is None:
                return None
            values = after
        values = np.where(alive, np.nan, values)
        return self.finish(op, 1 if conv else len(out) - 1, values, op.rounding)

    def bias(self, op: Op, channels: int) -> Values | None:
        """The sum of its own biases as real values."""
        total = np.zeros(channels)
        names = [name for name in (op.input(2), str(op.options.get("bias") or "")) if name]
        for constant in map(self.constants.get, names):
            values = constant.values() if constant is not None else None
            if values is None or values.size not in (1, channels):
                return None
            values = values.ravel().astype(np.float64)
            if op.scales:
                for name in op.scales:
                    scale = self.constants.get(name)
                    factor = scale.values() if scale is not None else None
                    if factor is None or factor.size not in (1, channels):
                        return None
                    values = values * factor.ravel()
            total = total + values
        return total

    def finish(self, op: Op, axis: int, values: Values, rounding: Pair | None) -> ChannelValues | None:
        """The values after activation and requantization."""
        if op.activation in ("relu", "relu6"):
            values = np.clip(values, 0, 6 if op.activation == "relu6" else None)
        elif op.activation != "none":
            values = (
                np.where(values == 0, 0, np.nan)
                if op.activation in ("leaky_relu", "tanh", "hardswish")
                else values * np.nan
            )
        if rounding is not None:
            scale, zero = self.single(rounding.scale), self.single(rounding.zero)
            constant = self.constants.get(rounding.zero)
            low, high = _RANGES.get(constant.dtype if constant is not None else "uint8", (None, None))
            if scale is None or low is None or high is None or not scale > 0:
                return None
            offset = zero or 0.0
            values = (np.clip(np.rint(values / scale) + offset, low, high) - offset) * scale
        return ChannelValues(axis, values)

    def single(self, name: str) -> float | None:
        constant: Constant | None = self.constants.get(name)
        values = constant.values(1) if constant is not None else None
        return float(values.ravel()[0]) if values is not None and values.size == 1 else None


def _stepped(values: Values, step: Step) -> Values | None:
    """The values of the channels after a fused step; None if its constants are not known."""
    if step.kind == "norm":
        return _normalize(values, list(step.constants), step.epsilon)
    constant = step.constants[0].values()
    if constant is None or constant.size not in (1, values.size):
        return None
    other = constant.ravel().astype(np.float64)
    return np.asarray(values * other if step.kind == "mul" else values + other)


def _normalize(values: Values, parameters: list[Constant], epsilon: float) -> Values | None:
    """Batch normalization of these values by scale, offset, mean and variance."""
    arrays = [item.values() for item in parameters]
    vectors = [item.ravel().astype(np.float64) for item in arrays if item is not None and item.size == values.size]
    if len(vectors) != 4:
        return None
    scale, offset, mean, variance = vectors
    return np.asarray((values - mean) / np.sqrt(variance + epsilon) * scale + offset)


def mask_for(
    channel_values: Mapping[str, ChannelValues], name: str, axis: int, channels: int
) -> NDArray[np.bool_] | None:
    """Mask of the dead ones among `channels` along an axis of a tensor."""
    entry = channel_values.get(name)
    if entry is None or entry.axis != axis:
        return None
    return channels_of(entry.dead, channels)
