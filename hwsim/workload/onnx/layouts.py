"""Operators in the layouts of onnxruntime, as files that it optimized have them, as plain operators.

Where tensors have their channels last, they are followed with the channels first, so that the transpositions at both
ends fall away; an operator without a rule reads a transposed one. Channels in blocks of 8 or 16
(``com.microsoft.nchwc``) are padded with zeros: what the padding adds is left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from hwsim.workload.layer import Shape
from hwsim.workload.onnx.canonical import MS
from hwsim.workload.onnx.constant_values import ConstantValues
from hwsim.workload.onnx.constants import Constant
from hwsim.workload.onnx.graph import Tensor
from hwsim.workload.onnx.lowering import UNARY
from hwsim.workload.onnx.records import OnnxFile, Operator

__all__ = ["Layouts"]

_BLOCKED = f"{MS}nchwc."
#: Operators that have no other layout than the channels last.
_LAST = {f"{MS}NhwcMaxPool"}
#: Operators on each value, whatever its place is.
_ANYWHERE = {
    *(code for code in UNARY if code != "PRelu"), "Add", "Sub", "Mul", "Div", "Min", "Max", "Sum", "Pow", "Cast",
    "Identity", "Dropout", "QuantizeLinear", "DequantizeLinear", f"{MS}QuantizeLinear", f"{MS}DequantizeLinear",
    f"{MS}QLinearAdd", f"{MS}QLinearMul", f"{MS}QLinearSigmoid", f"{MS}QLinearLeakyRelu", f"{MS}Gelu",
}  # fmt: skip
#: Operators along one axis.
_ALONG = {"Concat": 0, f"{MS}QLinearConcat": 0, "Softmax": -1, "LogSoftmax": -1, "Split": 0}
#: Attributes of pools that old opsets do not have: 0 is what they do.
_NEWER = {"ceil_mode", "storage_order", "count_include_pad"}
_FUSED = f"{MS}FusedConv"


class Inference(Protocol):
    """The shape inference that this is part of."""

    tensors: dict[str, Tensor]
    values: ConstantValues


class Layouts:
    """Rewrites operators one after the other; `index` gives the number of one more operator."""

    def __init__(self, inference: Inference, file: OnnxFile, index: Callable[[], int]) -> None:
        self.inference, self.outputs, self.opset = inference, set(file.outputs), file.opsets.get("", 1)
        self.active = any(_channels_last(operator) for operator in file.operators)
        self.index = index
        #: Of each tensor of the file with its channels last, the one with them first.
        self.first: dict[str, str] = {}
        #: Tensors with their channels in blocks.
        self.blocks: set[str] = set()

    def plain(self, operator: Operator) -> list[Operator]:
        """The plain operators that do what this one does; mostly itself."""
        if operator.code == _FUSED and len(operator.inputs) > 3:
            return self.fused(operator, operator.inputs[:3], {})
        if operator.code.startswith(_BLOCKED):
            code = operator.code.removeprefix(_BLOCKED)
            self.blocks.update(operator.outputs if code != "ReorderOutput" else ())
            return self.blocked(operator, code)
        if any(name in self.blocks for name in operator.inputs):
            self.blocks.update(operator.outputs)
            if operator.code == "Reshape":  # the axis of a block apart from the others, and back
                return [self.changed(operator, "Identity", operator.inputs[:1], operator.outputs, {})]
        if not self.active:
            return [operator]
        if _channels_last(operator) and operator.inputs[0] in self.inference.tensors:
            before, source = self.to_first(operator, operator.inputs[0])
            changes = {"channels_last": None, "storage_order": None}
            return [*before, *self.written(operator, [source, *operator.inputs[1:]], changes)]
        if operator.code == "Transpose":
            return self.transposed(operator)
        if not any(name in self.first for name in operator.inputs):
            return [operator]
        if self.anywhere(operator):
            inputs = [self.first.get(name, name) for name in operator.inputs]
            rank = max(self.rank(name) for name in inputs)
            axis = int(operator.options.get("axis", _ALONG.get(operator.code, 0)))
            along = operator.code in _ALONG and -rank <= axis < rank
            return self.written(operator, inputs, {"axis": _last(rank)[axis]} if along else {})
        if (moved := self.parameters(operator)) is not None:
            return self.written(operator, moved, {})
        before, names = [], {}
        for name in dict.fromkeys(operator.inputs):
            if name in self.first:
                perm, names[name] = _last(self.rank(self.first[name])), f"{name} (channels last of {operator.index})"
                before.append(self.node(operator, "Transpose", [self.first[name]], names[name], {"perm": perm}))
        inputs = [names.get(name, name) for name in operator.inputs]
        proto = type(operator.proto)()
        proto.CopyFrom(operator.proto)
        del proto.input[:]
        proto.input.extend(inputs)
        return [*before, replace(operator, inputs=inputs, proto=proto)]

    # Channels last

    def anywhere(self, operator: Operator) -> bool:
        """Whether an operator does the same with the channels first: it reads such tensors, and single values."""
        if operator.code not in _ANYWHERE and operator.code not in _ALONG:
            return False
        ranks = {self.rank(self.first[name]) for name in operator.inputs if name in self.first}
        single = (
            constant.elements == 1
            for name in operator.inputs[: 1 if operator.code == "Split" else None]
            if name and name not in self.first and (constant := self.inference.tensors.get(name)) is not None
        )
        return len(ranks) == 1 and all(single)

    def parameters(self, operator: Operator) -> list[str] | None:
        """The inputs of a Resize or Slice with the channels first; None if it is none, or its parameters are computed.

        What it is told of each axis is put in another order.
        """
        inputs = [self.first.get(name, name) for name in operator.inputs]
        order, values = _last(self.rank(inputs[0])), self.inference.values
        places = {"Resize": (2, 3), "Slice": (3,)}.get(operator.code, ())
        if not places or operator.inputs[0] not in self.first or operator.options.get("axes"):
            return None
        for place in places:
            if place >= len(inputs) or not inputs[place]:
                continue
            told = values.of(inputs[place])
            if told is None or (operator.code == "Resize" and told.size not in (0, len(order))):
                return None
            axes = order.index if operator.code == "Resize" else order.__getitem__
            parts = range(len(order)) if operator.code == "Resize" else map(int, told.ravel())
            moved = [axes(part) for part in parts] if told.size else []
            key = f"{inputs[place]} (channels first of {operator.index})"
            new = told[moved] if operator.code == "Resize" and told.size else np.asarray(moved, told.dtype)
            values.learn(key, new)
            inputs[place] = key
        return None if operator.code == "Slice" and len(operator.inputs) < 4 else inputs

    def to_first(self, operator: Operator, name: str) -> tuple[list[Operator], str]:
        """A tensor with its channels first, and the transposition that makes it, if it takes one."""
        if name in self.first:
            return [], self.first[name]
        own = f"{name} (channels first of {operator.index})"
        rank = self.rank(name)
        return [self.node(operator, "Transpose", [name], own, {"perm": (0, rank - 1, *range(1, rank - 1))})], own

    def transposed(self, operator: Operator) -> list[Operator]:
        source, out = operator.inputs[0], operator.outputs[0]
        rank = self.rank(self.first.get(source, source))
        perm = tuple(operator.options.get("perm") or reversed(range(rank)))
        if source in self.first and len(perm) == rank and sorted(perm) == list(range(rank)):
            perm, source = tuple(_last(rank)[axis] for axis in perm), self.first[source]
            code = "Identity" if perm == tuple(range(rank)) else "Transpose"
            options = {"perm": perm} if code == "Transpose" else {}
            return [self.changed(operator, code, [source], [out], options)]
        if rank > 2 and perm == _last(rank) and out not in self.outputs:
            self.first[out] = out
            return [self.changed(operator, "Identity", [source], [out], {})]
        return [operator]

    def written(self, operator: Operator, inputs: Sequence[str], changes: Mapping[str, Any]) -> list[Operator]:
        """An operator that writes tensors with their channels first; those that leave the network are transposed."""
        outputs, after = [], []
        for name in operator.outputs:
            outputs.append(name if name not in self.outputs else f"{name} (channels first)")
            if name and name in self.outputs:
                perm = _last(self.rank(inputs[0]))
                after.append(self.node(operator, "Transpose", [outputs[-1]], name, {"perm": perm}))
            elif name:
                self.first[name] = name
        options = {key: value for key, value in operator.options.items() if key not in changes}
        options |= {key: value for key, value in changes.items() if value is not None}
        return [self.changed(operator, operator.code, inputs, outputs, options), *after]

    # Channels in blocks

    def blocked(self, operator: Operator, code: str) -> list[Operator]:
        inputs, source = operator.inputs, self.inference.tensors.get(operator.inputs[0]) if operator.inputs else None
        shape = (source.shape or ()) if source is not None else ()
        last = bool(operator.options.get("channels_last"))
        if len(shape) < 3:
            return [operator]
        if code == "Conv":
            weights = self.inference.values.constants.get(inputs[1]) if len(inputs) > 1 else None
            return [operator] if weights is None else self.convolution(operator, weights, shape[1])
        if code == "ReorderInput":
            before, own = self.to_first(operator, inputs[0]) if last else ([], inputs[0])
            return [*before, self.changed(operator, "Identity", [own], operator.outputs, {})]
        if code == "ReorderOutput":
            same = shape[1] == operator.options.get("channels", shape[1])
            if not same:
                return [operator]
            if last:
                self.active = True
                return self.written(self.changed(operator, "Identity", inputs, operator.outputs, {}), inputs, {})
            return [self.changed(operator, "Identity", inputs, operator.outputs, {})]
        if code == "Upsample":
            key = f"scales of {operator.index}"
            self.inference.values.learn(key, np.asarray((1, 1, *operator.options.get("scales", ())[2:]), np.float32))
            region = f"region of {operator.index}" if self.opset in (11, 12) else ""
            if region:
                self.inference.values.learn(region, np.zeros(0, np.float32))
            names = [inputs[0], *([region] if self.opset > 10 else []), key]
            mode = {"mode": operator.options.get("mode", "nearest")}
            return [self.changed(operator, "Resize" if self.opset > 9 else code, names, operator.outputs, mode)]
        options = {key: value for key, value in operator.options.items() if value or key not in _NEWER}
        return [self.changed(operator, code, inputs, operator.outputs, options)]

    def convolution(self, operator: Operator, weights: Constant, channels: int) -> list[Operator]:
        """A convolution without the filters and channels that pad blocks."""
        group, inputs = int(operator.options.get("group", 1)), operator.inputs
        filters, own = weights.shape[:2]
        bias = self.inference.values.constants.get(inputs[2]) if len(inputs) > 2 else None
        if group == filters and own == 1:
            filters = group = channels
        elif group == 1:
            filters, own = _filters(weights, bias), channels
        names = [inputs[0]]
        shapes: tuple[Shape, ...] = (filters, own, *weights.shape[2:]), (filters,)
        for name, constant, shape in zip(inputs[1:3], (weights, bias), shapes):
            names.append(f"{name} (without padding, of {operator.index})" if name else "")
            if constant is not None:
                density, elements = constant.density, math.prod(shape)
                zeros = None if density is None else max(0.0, 1 - density * constant.elements / max(elements, 1))
                plain = Constant(shape, constant.dtype, constant.storage_dtype, zeros=zeros)
                self.inference.values.constants[names[-1]] = plain
                self.inference.tensors[names[-1]] = Tensor(names[-1], constant.dtype, shape)
        return self.fused(operator, names, {"group": group})

    def fused(self, operator: Operator, inputs: Sequence[str], changes: Mapping[str, Any]) -> list[Operator]:
        """A convolution, the sum of another tensor and an activation."""
        options = {
            key: value for key, value in operator.options.items() if key not in ("activation", "activation_params")
        } | dict(changes)
        activation = str(operator.options.get("activation") or "")
        parameters = operator.options.get("activation_params") or ()
        other = operator.inputs[3] if len(operator.inputs) > 3 else ""
        final, name = operator.outputs[0], operator.outputs[0]
        steps: list[tuple[str, list[str], dict[str, Any]]] = []
        if other:
            steps.append(("Add", [other], {}))
        if activation == "Clip" and len(parameters) == 2 and self.opset > 10:
            keys = [f"{word} of {operator.index}" for word in ("min", "max")]
            for key, value in zip(keys, parameters):
                self.inference.values.learn(key, np.asarray(value, np.float32))
            steps.append((activation, keys, {}))
        elif activation:
            words = {"Clip": ("min", "max"), "HardSigmoid": ("alpha", "beta")}.get(activation, ("alpha",))
            steps.append((activation, [], dict(zip(words, map(float, parameters)))))
        places = [f"{final} ({place} of {operator.index})" for place in range(len(steps))] + [final]
        nodes = [self.changed(operator, "Conv", inputs, [places[0]], options)]
        for place, (code, more, attributes) in enumerate(steps):
            name = places[place + 1]
            nodes.append(self.node(operator, code, [places[place], *more], name, attributes))
        return nodes

    # Operators

    def rank(self, name: str) -> int:
        tensor = self.inference.tensors.get(name)
        return len(tensor.shape or ()) if tensor is not None else 0

    def node(self, operator: Operator, code: str, inputs: list[str], out: str, options: dict[str, Any]) -> Operator:
        """One more operator beside another."""
        made = self.changed(operator, code, inputs, [out], options)
        made.index, made.name = self.index(), f"{operator.name}/{code}" if operator.name else ""
        return made

    def changed(
        self, operator: Operator, code: str, inputs: Sequence[str], outputs: Sequence[str], options: Mapping[str, Any]
    ) -> Operator:
        """An operator with other operands and attributes."""
        from onnx import helper

        domain, _, kind = code.rpartition(".")
        proto = helper.make_node(kind, list(inputs), list(outputs), operator.name, domain=domain)
        proto.attribute.extend(
            helper.make_attribute(key, value)
            for key, value in options.items()
            if isinstance(value, int | float | str) or (isinstance(value, tuple) and value)
        )
        return Operator(
            operator.index, code, operator.name, list(inputs), list(outputs), dict(options), proto, operator.captures,
            operator.subgraphs,
        )  # fmt: skip


def _channels_last(operator: Operator) -> bool:
    """Whether an operator reads and writes channels last, and has a plain form."""
    quantized = operator.code.startswith(f"{MS}QLinear") and bool(operator.options.get("channels_last"))
    return operator.code in _LAST or quantized


def _last(rank: int) -> tuple[int, ...]:
    """The order of axes that puts the channels last."""
    return (0, *range(2, rank), 1)


def _filters(weights: Constant, bias: Constant | None) -> int:
    """The number of filters without those of zeros that fill the last block of 8 or 16."""
    count, best = weights.shape[0], weights.shape[0]
    values = weights.values(2**28)
    if values is None:
        return count
    flat = values.reshape(-1)
    for block in (8, 16):
        if count % block:
            continue
        rows = flat.reshape(count // block, -1, block)[-1].any(axis=0)
        if bias is not None and (offsets := bias.values()) is not None and offsets.size == count:
            rows |= offsets.reshape(-1, block)[-1] != 0
        used = int(np.flatnonzero(rows)[-1]) + 1 if rows.any() else block
        best = min(best, count - block + used)
    return best
