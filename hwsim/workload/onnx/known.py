"""What is constant in an ONNX graph, and what constants become on the way through it."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from hwsim.workload.onnx.canonical import Op
from hwsim.workload.onnx.constants import Array, Constant, numpy_type
from hwsim.workload.onnx.folding import MAX_VALUES, folded
from hwsim.workload.onnx.graph import Tensor
from hwsim.workload.onnx.rules import PLAIN_OPSET, Rules

__all__ = ["Known"]

#: Operators that move a constant's values without changing them.
_MOVED = {"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"}


class Known:
    """The constants of a graph, as they are found out; `tensors` gets the type and shape of each."""

    def __init__(self, constants: Mapping[str, Constant], tensors: dict[str, Tensor], rules: Rules) -> None:
        self.constants, self.tensors = dict(constants), tensors
        self.names, self.versions = rules.names, rules.versions
        self.known: dict[str, Array] = {}
        tensors.update({name: Tensor(name, c.dtype, c.shape) for name, c in constants.items()})

    def empty(self, tensor: Tensor) -> None:
        """A tensor whose values nobody reads: it counts as constant."""
        self.constants[tensor.name] = Constant(tensor.shape or (), tensor.dtype, tensor.dtype)

    def of(self, name: str) -> Array | None:
        """The values of a small constant of a type that numpy has."""
        if name not in self.known:
            constant = self.constants.get(name)
            kind = numpy_type(constant.dtype) if constant is not None else None
            found = constant.values(MAX_VALUES) if constant is not None and kind is not None else None
            if found is None or kind is None:
                return None
            self.known[name] = found.astype(kind) if found.dtype != kind else found
        return self.known[name]

    def learn(self, name: str, value: Array, dtype: str = "") -> None:
        """A constant whose values were computed."""
        kind = value.dtype
        dtype = dtype or next((key for key in self.names.values() if numpy_type(key) == kind), "float")
        self.known[name] = value
        self.constants[name] = Constant(value.shape, dtype, dtype, lambda: value, lambda: value)
        self.tensors[name] = Tensor(name, dtype, value.shape)

    def fold(self, op: Op) -> bool:
        """Compute what an operator writes, if it is constant and small, or known without its values."""
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
        known = all(value is not None for value, name in zip(operands, op.inputs) if name)
        if op.code in ("Cast", "CastLike") and first is not None:
            dtype = (
                self.names.get(op.options.get("to", 0), "") if op.code == "Cast" else self.tensors[op.input(1)].dtype
            )
            small, kind = operands[0], numpy_type(dtype)
            if small is not None and kind is not None:
                with np.errstate(all="ignore"):
                    self.learn(out, small.astype(kind), dtype)
            else:
                self.constants[out] = first.widened(dtype or first.dtype)
                self.tensors[out] = Tensor(out, dtype or first.dtype, first.shape)
            return True
        if op.code == "DequantizeLinear" and first is not None:
            zero = self.constants.get(op.input(2))
            axis, block = int(op.options.get("axis", 1)), int(op.options.get("block_size", 0))
            made = first.dequantized(self.constants[op.inputs[1]], zero, axis, block)
            self.constants[out] = made
            self.tensors[out] = Tensor(out, made.dtype, made.shape)
            return True
        version = self.versions.get("", 1) if op.code == op.source else PLAIN_OPSET
        results = folded(op, operands, version) if known else None
        if results is not None and len(results) == len(op.outputs):
            for name, value in zip(op.outputs, results):
                if name:
                    self.learn(name, value)
            return True
        return False

    def constant(self, op: Op) -> bool:
        """Whether an operator reads nothing but constants."""
        read = [name for name in (*op.inputs, *op.captured) if name]
        if op.code == "CastLike" and op.inputs[0] in self.constants:
            read = op.inputs[:1]  # of the other it takes the type alone
        return not op.subgraphs and all(name in self.constants for name in read)

    def derive(self, op: Op, out: Tensor) -> None:
        """What an operator makes of a large constant."""
        shape, first = out.shape or (), self.constants.get(op.input(0))
        made = Constant(shape, out.dtype, out.dtype)
        if first is not None and first.elements == out.elements:
            if op.code in _MOVED:
                made = first.moved(shape, lambda values: values.reshape(shape))
            if op.code == "Transpose":
                order = op.options.get("perm") or tuple(reversed(range(len(first.shape))))
                made = first.moved(shape, lambda values: values.transpose(order))
        self.constants[out.name] = made

    def literal(self, op: Op, out: str) -> bool:
        """What a Constant holds."""
        for key, value in op.options.items():
            if key == "value" and isinstance(value, Constant):
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
        """Constants that integers with a scale beside them stand for."""
        for place, pair in op.stored.items():
            name = op.input(place)
            constant = self.constants.get(name)
            if constant is None:
                continue
            scale = self.constants.get(pair.scale) or Constant((), "float", "float", real=lambda: np.ones(()))
            zero = self.constants.get(pair.zero)
            if (pair.scale and pair.scale not in self.constants) or (pair.zero and zero is None):
                scale, zero = Constant((), "float", "float"), None
            made = constant.dequantized(scale, zero, pair.axis)
            known = made.density_of or made.read
            new = f"{name} (real values of {op.index})"
            self.constants[new] = made if known else constant
            self.tensors[new] = Tensor(new, scale.dtype, constant.shape)
            op.inputs[place] = new
