"""Constant propagation through an ONNX graph."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from hwsim.workload.onnx.canonical import Op
from hwsim.workload.onnx.constants import Array, Constant, numpy_type
from hwsim.workload.onnx.folding import MAX_VALUES, fold_operator
from hwsim.workload.onnx.graph import Tensor
from hwsim.workload.onnx.rules import PLAIN_OPSET, Rules

__all__ = ["ConstantValues"]

#: Operators that change a constant's shape alone.
_MOVED = {"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"}


class ConstantValues:
    """The constants of a graph, extended operator by operator; `tensors` gets the type and shape of each."""

    def __init__(self, constants: Mapping[str, Constant], tensors: dict[str, Tensor], rules: Rules) -> None:
        self.constants, self.tensors = dict(constants), tensors
        self.names, self.versions = rules.names, rules.versions
        self.arrays: dict[str, Array] = {}
        tensors.update({name: Tensor(name, c.dtype, c.shape) for name, c in constants.items()})

    def empty(self, tensor: Tensor) -> None:
        """Make a tensor without readers or without values a constant."""
        self.constants[tensor.name] = Constant(tensor.shape or (), tensor.dtype, tensor.dtype)

    def of(self, name: str) -> Array | None:
        """The values of a small constant, if numpy has its type."""
        if name not in self.arrays:
            constant = self.constants.get(name)
            kind = numpy_type(constant.dtype) if constant is not None else None
            if constant is not None and kind is not None and not constant.elements:
                self.arrays[name] = np.zeros(constant.shape, kind)  # such as the shape of a scalar
                return self.arrays[name]
            values = constant.values(MAX_VALUES) if constant is not None and kind is not None else None
            if values is None or kind is None:
                return None
            self.arrays[name] = values.astype(kind) if values.dtype != kind else values
        return self.arrays[name]

    def learn(self, name: str, value: Array, dtype: str = "") -> None:
        """Add a constant with computed values."""
        kind = value.dtype
        dtype = dtype or next((key for key in self.names.values() if numpy_type(key) == kind), "float")
        self.arrays[name] = value
        self.constants[name] = Constant(value.shape, dtype, dtype, lambda: value, lambda: value)
        self.tensors[name] = Tensor(name, dtype, value.shape)

    def fold(self, op: Op) -> bool:
        """Compute the outputs of an operator if they are small constants or follow from shapes alone."""
        out = op.outputs[0] if op.outputs else ""
        if op.code in ("Shape", "Size") and op.inputs and out:
            shape = self.tensors[op.inputs[0]].shape or ()
            part = shape[slice(op.options.get("start", 0), op.options.get("end"))]
            self.learn(out, np.array(part if op.code == "Shape" else math.prod(shape), np.int64))
            return True
        if op.code == "Constant":
            return self.literal(op, out)
        if not self.constant(op):
            return False
        first = self.constants.get(op.input(0))
        operands = [self.of(name) if name else None for name in op.inputs]
        complete = all(value is not None for value, name in zip(operands, op.inputs) if name)
        if op.code in ("Cast", "CastLike") and first is not None:
            dtype = (
                self.names.get(op.options.get("to", 0), "") if op.code == "Cast" else self.tensors[op.input(1)].dtype
            )
            small, kind = operands[0], numpy_type(dtype)
            if small is not None and kind is not None:
                with np.errstate(all="ignore"):
                    self.learn(out, small.astype(kind), dtype)
                storage = first.storage_dtype
                self.constants[out] = replace(self.constants[out], storage_dtype=storage, origin=first.origin or first)
            else:
                self.constants[out] = first.cast(dtype or first.dtype)
                self.tensors[out] = Tensor(out, dtype or first.dtype, first.shape)
            return True
        if op.code == "DequantizeLinear" and first is not None:
            zero = self.constants.get(op.input(2))
            axis, block = int(op.options.get("axis", 1)), int(op.options.get("block_size", 0))
            real = first.dequantize(self.constants[op.inputs[1]], zero, axis, block)
            self.constants[out] = real
            self.tensors[out] = Tensor(out, real.dtype, real.shape)
            return True
        version = self.versions.get("", 1) if op.code == op.source else PLAIN_OPSET
        results = fold_operator(op, operands, version) if complete else None
        if results is not None and len(results) == len(op.outputs):
            for name, value in zip(op.outputs, results):
                if name:
                    self.learn(name, value)
            if first is not None and op.code in (*_MOVED, "Transpose"):
                self.constants[out] = replace(
                    self.constants[out], storage_dtype=first.storage_dtype, origin=first.origin or first
                )
            return True
        return False

    def constant(self, op: Op) -> bool:
        """Whether an operator reads only constants."""
        read = [name for name in (*op.inputs, *op.captures) if name]
        if op.code == "CastLike" and op.inputs[0] in self.constants:
            read = op.inputs[:1]  # the second input gives only a type
        return not op.subgraphs and all(name in self.constants for name in read)

    def derive(self, op: Op, out: Tensor) -> None:
        """Add the output of an operator on a large constant."""
        shape, first = out.shape or (), self.constants.get(op.input(0))
        result = Constant(shape, out.dtype, out.dtype)
        if first is not None and first.elements == out.elements:
            if op.code in _MOVED:
                result = first.rearrange(shape, lambda values: values.reshape(shape))
            if op.code == "Transpose":
                order = op.options.get("perm") or tuple(reversed(range(len(first.shape))))
                result = first.rearrange(shape, lambda values: values.transpose(order))
        elif first is not None and op.code == "Expand":
            result = first.rearrange(shape, lambda values: np.broadcast_to(values, shape))
        elif first is not None and op.code == "Tile" and len(first.shape) == len(shape):
            counts = [size // max(own, 1) for size, own in zip(shape, first.shape)]
            result = first.rearrange(shape, lambda values: np.tile(values, counts))
        elif op.code == "ConstantOfShape":
            value = op.options.get("value")
            same = value.values(1) if isinstance(value, Constant) else np.zeros(1, np.float32)
            if same is not None:
                result = replace(result, real=lambda: np.broadcast_to(same, shape))
        self.constants[out.name] = result

    def literal(self, op: Op, out: str) -> bool:
        """Add the value of a Constant."""
        for key, value in op.options.items():
            if key in ("value", "sparse_value") and isinstance(value, Constant):
                self.constants[out] = value
                self.tensors[out] = Tensor(out, value.dtype, value.shape)
                return True
            if key in ("value_int", "value_ints"):
                self.learn(out, np.asarray(value, np.int64))
                return True
            if key in ("value_float", "value_floats"):
                self.learn(out, np.asarray(value, np.float32))
                return True
        self.constants[out] = Constant((), "string", "string")
        self.tensors[out] = Tensor(out, "string", ())
        return True

    def dequantize(self, op: Op) -> None:
        """Replace the quantized constants of an operator by dequantized ones."""
        for place, pair in op.dequantization.items():
            name = op.input(place)
            constant = self.constants.get(name)
            if constant is None:
                continue
            scale = self.constants.get(pair.scale) or Constant((), "float", "float", real=lambda: np.ones(()))
            zero = self.constants.get(pair.zero)
            if (pair.scale and pair.scale not in self.constants) or (pair.zero and zero is None):
                scale, zero = Constant((), "float", "float"), None
            real = constant.dequantize(scale, zero, pair.axis)
            has_values = real.density_of or real.read
            new = f"{name} (real values of {op.index})"
            self.constants[new] = real if has_values else constant
            self.tensors[new] = Tensor(new, scale.dtype, constant.shape)
            op.inputs[place] = new
