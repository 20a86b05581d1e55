"""What a runtime does before it runs: it takes an operator with what directly follows it, and integers as integers.

An operator between DequantizeLinear and QuantizeLinear reads and writes the integers themselves. A bias that is added,
a batch normalization after a convolution, and an activation become part of the operator before them, if nothing else
reads what is between: all runtimes fuse these, and the tensor between is never in memory.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from hwsim.workload.layer import Shape
from hwsim.workload.onnx.canonical import Op, Pair
from hwsim.workload.onnx.constants import Constant
from hwsim.workload.onnx.graph import Graph

__all__ = ["FREE", "INTEGER", "UNARY", "WEIGHTED", "lowered"]

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
ELEMENTWISE = ("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum")
#: Operators that move no value where their output may be their input under another shape.
FREE = ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Dropout")
_MOVES = (
    "Transpose", "Slice", "Split", "Gather", "Pad", "Resize", "Upsample", "Expand", "Tile", "DepthToSpace",
    "SpaceToDepth", "Concat", "Where",
)  # fmt: skip
#: Operators that runtimes have in integers: between DequantizeLinear and QuantizeLinear they run so.
INTEGER = {
    *WEIGHTED, *FREE, *_MOVES, "Add", "Mul", "Sigmoid", "LeakyRelu", "Softmax", "Relu", "Clip", "MaxPool",
    "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "Max", "Min",
}  # fmt: skip
#: Functions of each value alone, by the name that layers have for them.
UNARY = {
    "Relu": "relu", "LeakyRelu": "leaky_relu", "PRelu": "prelu", "Elu": "elu", "Gelu": "gelu", "Swish": "swish",
    "HardSwish": "hardswish", "Sigmoid": "sigmoid", "HardSigmoid": "hardsigmoid", "Tanh": "tanh", "Exp": "exp",
    "Clip": "clip", "Mish": "mish", "Softplus": "softplus", "ThresholdedRelu": "relu", "Erf": "erf", "Sqrt": "sqrt",
    "Log": "log", "Abs": "abs", "Neg": "neg", "Reciprocal": "reciprocal", "Sin": "sin", "Cos": "cos",
    "Floor": "round", "Ceil": "round", "Round": "round", "Sign": "sign", "Not": "not", "Selu": "selu",
    "Celu": "celu", "Softsign": "softsign", "com.microsoft.QuickGelu": "silu",
}  # fmt: skip
#: Functions that are taken into a convolution or a product of matrices, and those taken into a sum and the like.
_FUSED = {"Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish"}
_FUSED_ELEMENTWISE = {"Relu", "Clip"}


def lowered(graph: Graph) -> list[Op]:
    """The operators that run, in order."""
    return _Lowering(graph).run()


def channels(op: Op, shape: Shape) -> int:
    """How many output channels or features an operator with weights has, by the shape of what it writes."""
    if not shape:
        return 1
    return shape[1] if op.code in ("Conv", "ConvTranspose") and len(shape) > 1 else shape[-1]


class _Lowering:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.constants = graph.constants
        self.readers: dict[str, list[Op]] = {}
        for op in graph.ops:
            for name in (*op.inputs, *op.captured):
                if name:
                    self.readers.setdefault(name, []).append(op)
        self.kept = Counter(graph.outputs)
        self.done: set[int] = set()
        self.found: list[Op] = []
        #: The DequantizeLinear that gives a tensor; it is left out unless a reader wants real values.
        self.integers: dict[str, Op] = {}
        self.made: set[str] = set()

    def run(self) -> list[Op]:
        for op in self.graph.ops:
            written = [name for name in op.outputs if name]
            if op.index in self.done or all(name in self.constants for name in written):
                continue
            if op.code == "DequantizeLinear" and op.input(0) not in self.constants:
                self.integers[op.outputs[0]] = op
                continue
            self.operator(op)
        self.real(self.graph.outputs)
        return self.found

    def operator(self, op: Op) -> None:
        dynamic = [name for name in op.inputs if name and name not in self.constants]
        behind = [name for name in dynamic if name in self.integers]
        if behind and len(behind) == len(dynamic) and op.code in INTEGER:
            inputs = [self.integers[name].inputs[0] if name in self.integers else name for name in op.inputs]
            trial = self.taken(op)
            if op.rounding is not None or op.code in WEIGHTED:
                op.inputs = inputs
                self.done.update(trial)
                self.found.append(op)
                return
            self.undo(op)
        self.real((*op.inputs, *op.captured))
        self.done.update(self.taken(op))
        self.found.append(op)

    def undo(self, op: Op) -> None:
        """Nothing was taken into an operator that has no rounding but functions and sums: these may stay."""
        op.outputs = [self.first] + op.outputs[1:]
        op.bias, op.norm, op.activation, op.scaled = [], None, "none", False

    def real(self, names: Iterable[str]) -> None:
        """Make the real values of integers, once, where they are read."""
        for name in names:
            if name in self.integers and name not in self.made:
                self.made.add(name)
                self.found.append(self.integers[name])

    def taken(self, op: Op) -> set[int]:
        """Take into an operator what directly follows; returns the places of the operators that are gone."""
        gone: set[int] = set()
        self.first = op.outputs[0] if op.outputs else ""
        while len([name for name in op.outputs if name]) == 1:
            out = op.outputs[0]
            readers = self.readers.get(out, [])
            if len(readers) != 1 or self.kept[out] or readers[0].captured or op.rounding is not None:
                break
            if out in self.graph.unknown or not self.take(op, readers[0], out):
                break
            gone.add(readers[0].index)
            op.outputs = [readers[0].outputs[0]]
        return gone

    def take(self, op: Op, after: Op, out: str) -> bool:
        """Whether `after` becomes part of `op`."""
        plain = op.activation == "none" and out == after.input(0)
        if after.code == "QuantizeLinear":
            if out != after.input(0) or op.code not in INTEGER or not self.behind(op):
                return False
            op.rounding = Pair(after.input(1), after.input(2), int(after.options.get("axis", 1)))
            return True
        weighted = op.code in WEIGHTED
        if weighted and op.activation == "none":
            if after.code == "Cast" and op.source in ("ConvInteger", "MatMulInteger") and not op.scaled:
                return True
            others = [name for name in after.inputs if name != out]
            constant = self.constants.get(others[0]) if len(after.inputs) == 2 and len(others) == 1 else None
            if constant is not None and self.over_channels(op, constant, out):
                if after.code == "Mul" and op.source in ("ConvInteger", "MatMulInteger") and not op.scaled:
                    op.scaled = True
                    return True
                if after.code == "Add" and not op.bias and op.norm is None and self.weights(op) is not None:
                    op.bias.append(constant)
                    return True
            if after.code == "BatchNormalization" and op.code == "Conv" and op.norm is None and not after.outputs[1:]:
                given = [self.constants.get(name) for name in after.inputs[1:5]]
                known = [item for item in given if item is not None]
                if len(known) == 4 and out == after.inputs[0]:
                    op.norm = known, float(after.options.get("epsilon", 1e-5))
                    return True
        fused = _FUSED if weighted else _FUSED_ELEMENTWISE if op.code in ELEMENTWISE else set()
        if plain and after.code in fused and all(name in self.constants for name in after.inputs[1:] if name):
            op.activation = self.activation(after)
            return True
        return False

    def behind(self, op: Op) -> bool:
        """Whether all that an operator reads are integers behind a DequantizeLinear."""
        dynamic = [name for name in op.inputs if name and name not in self.constants]
        return bool(dynamic) and all(name in self.integers for name in dynamic)

    def weights(self, op: Op) -> Constant | None:
        found = [self.constants.get(op.input(place)) for place in ((1,) if "Conv" in op.code else (0, 1))]
        return next((item for item in found if item is not None), None)

    def over_channels(self, op: Op, constant: Constant, out: str) -> bool:
        """Whether a constant has one value, or one for each output channel of an operator with weights."""
        shape = self.graph.tensors[out].shape or ()
        wanted = channels(op, shape)
        if constant.elements == 1:
            return True
        axis = 1 if op.code in ("Conv", "ConvTranspose") else len(shape) - 1
        place = axis - (len(shape) - len(constant.shape))
        return constant.elements == wanted and 0 <= place < len(constant.shape) and constant.shape[place] == wanted

    def activation(self, op: Op) -> str:
        return activation(op, self.constants)


def activation(op: Op, constants: dict[str, Constant]) -> str:
    """The name of a function; a Clip is a relu or relu6 where its limits say so."""
    if op.code != "Clip":
        return UNARY[op.code]
    limits = []
    for key, place, default in (("min", 1, -math.inf), ("max", 2, math.inf)):
        constant = constants.get(op.input(place))
        value = constant.values(1) if constant is not None else None
        given = float(value.ravel()[0]) if value is not None and value.size else op.options.get(key)
        limits.append(default if given is None else float(given))
    low, high = limits
    return "relu6" if (low, high) == (0, 6) else "relu" if low == 0 and high > 3e38 else "clip"
