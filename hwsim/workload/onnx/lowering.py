"""Graph optimizations of a runtime: operator fusion and integer execution of QDQ operators.

An operator between DequantizeLinear and QuantizeLinear reads and writes integers. An added bias, batch normalizations
and factors per channel after a convolution, and an activation are fused into the operator before them if nothing else
reads the intermediate tensor: all runtimes fuse these, and the intermediate tensor is never in memory.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from hwsim.workload.layer import Shape
from hwsim.workload.onnx.canonical import MS, Op, Pair, Step
from hwsim.workload.onnx.constants import Constant
from hwsim.workload.onnx.graph import Graph

__all__ = ["FREE", "INTEGER", "STORED", "UNARY", "WEIGHTED", "lower"]

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
#: Operators that read stored matrices.
STORED = (*WEIGHTED, "LSTM", "GRU", "RNN", "Einsum", "DeformConv", f"{MS}FusedMatMul", f"{MS}Attention")
ELEMENTWISE = ("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum")
#: Operators whose output can alias their input under another shape.
FREE = ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Dropout")
_MOVES = (
    "Transpose", "Slice", "Split", "Gather", "Pad", "Resize", "Upsample", "Expand", "Tile", "DepthToSpace",
    "SpaceToDepth", "Concat", "Where",
)  # fmt: skip
#: Operators with integer kernels: they run on integers between DequantizeLinear and QuantizeLinear.
INTEGER = {
    *WEIGHTED, *FREE, *_MOVES, "Add", "Mul", "Sigmoid", "LeakyRelu", "Softmax", "Relu", "Clip", "MaxPool",
    "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "Max", "Min",
}  # fmt: skip
#: Elementwise functions by operator type, with the name that layers use.
UNARY = {
    "Relu": "relu", "LeakyRelu": "leaky_relu", "PRelu": "prelu", "Elu": "elu", "Gelu": "gelu", "Swish": "swish",
    "HardSwish": "hardswish", "Sigmoid": "sigmoid", "HardSigmoid": "hardsigmoid", "Tanh": "tanh", "Exp": "exp",
    "Clip": "clip", "Mish": "mish", "Softplus": "softplus", "ThresholdedRelu": "relu", "Erf": "erf", "Sqrt": "sqrt",
    "Log": "log", "Abs": "abs", "Neg": "neg", "Reciprocal": "reciprocal", "Sin": "sin", "Cos": "cos",
    "Floor": "round", "Ceil": "round", "Round": "round", "Sign": "sign", "Not": "not", "Selu": "selu",
    "Celu": "celu", "Softsign": "softsign", "Tan": "sin", "Sinh": "exp", "Cosh": "exp", "Asin": "sin", "Acos": "cos",
    "Atan": "sin", "Asinh": "log", "Acosh": "log", "Atanh": "log", "BitwiseNot": "not", "Shrink": "clip",
    "com.microsoft.QuickGelu": "silu",
}  # fmt: skip
#: Activations that are fused into convolutions and GEMMs, and those fused into elementwise operators.
_FUSED = {"Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish"}
_FUSED_ELEMENTWISE = {"Relu", "Clip"}


def lower(graph: Graph) -> list[Op]:
    """The operators that run, in order."""
    return _Lowering(graph).run()


def channels(op: Op, shape: Shape) -> int:
    """Number of output channels or features of a weighted operator with this output shape."""
    if not shape:
        return 1
    return shape[1] if op.code in ("Conv", "ConvTranspose") and len(shape) > 1 else shape[-1]


class _Lowering:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.constants = graph.constants
        self.readers: dict[str, list[Op]] = {}
        for op in graph.ops:
            for name in (*op.inputs, *op.captures):
                if name:
                    self.readers.setdefault(name, []).append(op)
        self.output_counts = Counter(graph.outputs)
        self.fused_indices: set[int] = set()
        self.ops: list[Op] = []
        #: The DequantizeLinear of each tensor; it is left out unless a reader needs real values.
        self.integers: dict[str, Op] = {}
        self.real_names: set[str] = set()

    def run(self) -> list[Op]:
        for op in self.graph.ops:
            results = [name for name in op.outputs if name]
            if op.index in self.fused_indices or all(name in self.constants for name in results):
                continue
            if op.code == "DequantizeLinear" and op.input(0) not in self.constants:
                self.integers[op.outputs[0]] = op
                continue
            self.operator(op)
        self.real(self.graph.outputs)
        return self.ops

    def operator(self, op: Op) -> None:
        dynamic = [name for name in op.inputs if name and name not in self.constants]
        behind = [name for name in dynamic if name in self.integers]
        if behind and len(behind) == len(dynamic) and op.code in INTEGER:
            inputs = [self.integers[name].inputs[0] if name in self.integers else name for name in op.inputs]
            trial = self.fuse(op)
            if op.rounding is not None or op.code in WEIGHTED:
                op.inputs = inputs
                self.fused_indices.update(trial)
                self.ops.append(op)
                return
            self.undo(op)
        self.real((*op.inputs, *op.captures))
        self.fused_indices.update(self.fuse(op))
        self.ops.append(op)

    def undo(self, op: Op) -> None:
        """Undo the fusion into an operator that is not requantized."""
        op.outputs = [self.first] + op.outputs[1:]
        op.steps, op.activation, op.has_scale = [], "none", False

    def real(self, names: Iterable[str]) -> None:
        """Add the DequantizeLinear of each of these tensors, once."""
        for name in names:
            if name in self.integers and name not in self.real_names:
                self.real_names.add(name)
                self.ops.append(self.integers[name])

    def fuse(self, op: Op) -> set[int]:
        """Fuse the operators that follow into an operator; returns their indices."""
        indices: set[int] = set()
        self.first = op.outputs[0] if op.outputs else ""
        while len([name for name in op.outputs if name]) == 1:
            out = op.outputs[0]
            readers = self.readers.get(out, [])
            if len(readers) != 1 or self.output_counts[out] or readers[0].captures or op.rounding is not None:
                break
            if out in self.graph.unknown or not self.take(op, readers[0], out):
                break
            indices.add(readers[0].index)
            op.outputs = [readers[0].outputs[0]]
        return indices

    def take(self, op: Op, after: Op, out: str) -> bool:
        """Fuse `after` into `op` if possible; returns whether it was."""
        plain = op.activation == "none" and out == after.input(0)
        if after.code == "QuantizeLinear":
            if out != after.input(0) or op.code not in INTEGER or not self.behind(op):
                return False
            op.rounding = Pair(after.input(1), after.input(2), int(after.options.get("axis", 1)))
            return True
        has_weights = op.code in WEIGHTED
        if has_weights and op.activation == "none":
            if after.code == "Cast" and op.source in ("ConvInteger", "MatMulInteger") and not op.has_scale:
                return True
            others = [name for name in after.inputs if name != out]
            constant = self.constants.get(others[0]) if len(after.inputs) == 2 and len(others) == 1 else None
            if constant is not None and self.over_channels(op, constant, out):
                if after.code == "Mul" and op.source in ("ConvInteger", "MatMulInteger") and not op.has_scale:
                    op.has_scale = True
                    return True
                if after.code == "Add" and self.weights(op) is not None and (op.code == "Conv" or not op.steps):
                    op.steps.append(Step("add", (constant,)))
                    return True
                if after.code == "Mul" and op.code == "Conv" and self.scales(op):
                    op.steps.append(Step("mul", (constant,)))
                    return True
            if after.code == "BatchNormalization" and op.code == "Conv" and not after.outputs[1:]:
                parameters = [self.constants.get(name) for name in after.inputs[1:5]]
                constants = tuple(item for item in parameters if item is not None)
                if len(constants) == 4 and out == after.inputs[0] and self.weights(op) is not None:
                    op.steps.append(Step("norm", constants, float(after.options.get("epsilon", 1e-5))))
                    return True
        functions = _FUSED if has_weights else _FUSED_ELEMENTWISE if op.code in ELEMENTWISE else set()
        if plain and after.code in functions and all(name in self.constants for name in after.inputs[1:] if name):
            op.activation = self.activation(after)
            return True
        return False

    def behind(self, op: Op) -> bool:
        """Whether all dynamic inputs of an operator come from a DequantizeLinear."""
        dynamic = [name for name in op.inputs if name and name not in self.constants]
        return bool(dynamic) and all(name in self.integers for name in dynamic)

    def scales(self, op: Op) -> bool:
        """Whether factors for each channel can go into the weights of a convolution: stored ones, of real numbers."""
        return self.weights(op) is not None and op.source == op.code and not self.behind(op)

    def weights(self, op: Op) -> Constant | None:
        operands = [self.constants.get(op.input(place)) for place in ((1,) if "Conv" in op.code else (0, 1))]
        return next((item for item in operands if item is not None), None)

    def over_channels(self, op: Op, constant: Constant, out: str) -> bool:
        """Whether a constant has one value, or one for each output channel of a weighted operator."""
        shape = self.graph.tensors[out].shape or ()
        count = channels(op, shape)
        if constant.elements == 1:
            return True
        axis = 1 if op.code in ("Conv", "ConvTranspose") else len(shape) - 1
        place = axis - (len(shape) - len(constant.shape))
        return constant.elements == count and 0 <= place < len(constant.shape) and constant.shape[place] == count

    def activation(self, op: Op) -> str:
        return activation(op, self.constants)


def activation(op: Op, constants: dict[str, Constant]) -> str:
    """The name of an activation; a Clip is a relu or relu6 if its limits match."""
    if op.code != "Clip":
        return UNARY[op.code]
    limits = []
    for key, place, default in (("min", 1, -math.inf), ("max", 2, math.inf)):
        constant = constants.get(op.input(place))
        value = constant.values(1) if constant is not None else None
        limit = float(value.ravel()[0]) if value is not None and value.size else op.options.get(key)
        limits.append(default if limit is None else float(limit))
    low, high = limits
    return "relu6" if (low, high) == (0, 6) else "relu" if low == 0 and high > 3e38 else "clip"
