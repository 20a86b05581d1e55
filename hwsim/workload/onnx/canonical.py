"""One form for each kind of operator: what stores integers with scales beside them becomes the plain operator.

``QLinearConv(x, xs, xz, w, ws, wz, ys, yz, b)`` is a ``Conv(x, w, b)`` whose constants are dequantized by the given
pairs and whose output is rounded by another; so it is read by the code that reads a convolution of floats, and by that
which reads a convolution between DequantizeLinear and QuantizeLinear.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from hwsim.errors import InputError
from hwsim.workload.onnx.constants import Constant
from hwsim.workload.onnx.records import Operator

__all__ = ["MS", "QUANTIZED", "Op", "Pair", "canonical"]

#: The domain of onnxruntime's own operators.
MS = "com.microsoft."


@dataclass(frozen=True, slots=True)
class Pair:
    """Names of a scale and a zero point (of none, empty), and the axis along which there are several."""

    scale: str
    zero: str = ""
    axis: int = 0


@dataclass(slots=True)
class Op:
    """An operator in its plain form.

    Attributes
    ----------
    index, name, source : int and str
        Place, name and code in the file.
    code : str
        What it is here.
    inputs, outputs : list of str
        Names of tensors; empty where there is none.
    stored : dict of Pair
        By the place of an input: how its integers stand for real values.
    rounding : Pair or None
        How real outputs become stored ones.
    dtype : str
        The type of the output, where the plain operator does not give it.
    bias, norm, activation
        What was taken into it of the operators that follow: constants that are added, a batch normalization's four,
        and a function.
    scales : tuple of str
        Of inputs and weights: the bias that is stored with them is in steps of their product.
    scaled : bool
        Whether a product that turns integer sums into real values was taken into it.
    """

    index: int
    code: str
    source: str
    name: str
    inputs: list[str]
    outputs: list[str]
    options: dict[str, Any]
    proto: Any
    captured: tuple[str, ...] = ()
    subgraphs: tuple[Any, ...] = ()
    stored: dict[int, Pair] = field(default_factory=dict)
    rounding: Pair | None = None
    dtype: str = ""
    bias: list[Constant] = field(default_factory=list)
    norm: tuple[list[Constant], float] | None = None
    activation: str = "none"
    scales: tuple[str, ...] = ()
    scaled: bool = False

    def __str__(self) -> str:
        return f"operator {self.index}, {self.source}" + (f" {self.name!r}" if self.name else "")

    def input(self, place: int) -> str:
        """The name of an input, empty where there is none."""
        return self.inputs[place] if place < len(self.inputs) else ""


Change: TypeAlias = Callable[[Op], None]


def canonical(operator: Operator) -> Op:
    """The plain form of an operator of a file."""
    op = Op(
        operator.index, operator.code, operator.code, operator.name, list(operator.inputs), list(operator.outputs),
        dict(operator.options), operator.proto, operator.captured, operator.subgraphs,
    )  # fmt: skip
    if operator.code in QUANTIZED:
        QUANTIZED[operator.code][1](op)
        op.code = QUANTIZED[operator.code][0]
    return op


def _pick(op: Op, *inputs: int) -> None:
    """Keep some inputs, in this order; trailing ones that are not there are left out."""
    found = [op.input(place) for place in inputs]
    while found and not found[-1]:
        found.pop()
    op.inputs = found


def _pairs(op: Op, *places: tuple[int, int, int]) -> dict[int, Pair]:
    """Of (input in the plain form, its scale, axis), with the zero point after the scale."""
    return {new: Pair(op.input(scale), op.input(scale + 1), axis) for new, scale, axis in places}


def _rounded(op: Op, scale: int) -> None:
    if op.input(scale):
        op.rounding = Pair(op.input(scale), op.input(scale + 1))


def _conv(op: Op) -> None:
    op.stored = _pairs(op, (1, 4, 0))
    op.scales = op.input(1), op.input(4)
    _rounded(op, 6)
    _pick(op, 0, 3, 8)


def _matmul(op: Op) -> None:
    op.stored = _pairs(op, (1, 4, -1))
    _rounded(op, 6)
    _pick(op, 0, 3)


def _integer(op: Op) -> None:
    """ConvInteger and MatMulInteger: sums as they are, with zero points alone."""
    zero, axis = op.input(3), (0 if "Conv" in op.code else -1)
    op.stored = {1: Pair("", zero, axis)}
    op.dtype = "int32"
    _pick(op, 0, 1)


def _gemm(op: Op) -> None:
    op.stored = _pairs(op, (1, 4, 0 if op.options.get("transB") else -1))
    op.scales = op.input(1), op.input(4)
    _rounded(op, 7)
    op.dtype = "" if op.rounding else "float"
    _pick(op, 0, 3, 6)


def _binary(op: Op) -> None:
    op.stored = _pairs(op, (0, 1, 0), (1, 4, 0))
    _rounded(op, 6)
    _pick(op, 0, 3)


def _unary(op: Op) -> None:
    op.stored = _pairs(op, (0, 1, 0))
    _rounded(op, 3)
    _pick(op, 0)


def _where(op: Op) -> None:
    op.stored = _pairs(op, (1, 2, 0), (2, 5, 0))
    _rounded(op, 7)
    _pick(op, 0, 1, 4)


def _concat(op: Op) -> None:
    _rounded(op, 0)
    places = range(2, len(op.inputs), 3)
    op.stored = {new: Pair(op.input(place + 1), op.input(place + 2)) for new, place in enumerate(places)}
    _pick(op, *places)


def _dynamic(op: Op) -> None:
    """DynamicQuantizeMatMul(a, b, bs, bz, bias): floats in and out; the activations become integers inside."""
    op.stored = {1: Pair(op.input(2), op.input(3), -1)}
    bias = op.input(4)
    op.options["bias"] = bias
    _pick(op, 0, 1)


def _widened(op: Op) -> None:
    """MatMulIntegerToFloat(a, b, as, bs, az, bz, bias)."""
    op.stored = {1: Pair(op.input(3), op.input(5), -1)}
    op.options["bias"] = op.input(6)
    op.dtype = "float"
    _pick(op, 0, 1)


def _fused(op: Op) -> None:
    name = str(op.options.pop("activation", "") or "")
    known = {
        "Relu": "relu", "Clip": "clip", "LeakyRelu": "leaky_relu", "Sigmoid": "sigmoid", "Tanh": "tanh",
        "HardSigmoid": "hardsigmoid", "": "none",
    }  # fmt: skip
    if name not in known:
        raise InputError(f"activation must be one that is known, not {name!r:.40}")
    op.activation = known[name]
    if len(op.inputs) > 3:
        raise InputError("a fused sum of another tensor is not read")


def _added(op: Op) -> None:
    op.options["bias"] = op.input(1)
    _pick(op, 0)


def _same(op: Op) -> None:
    pass


#: By the operator's name in the file: the plain one, and how it becomes that.
QUANTIZED: dict[str, tuple[str, Change]] = {
    "QLinearConv": ("Conv", _conv),
    "QLinearMatMul": ("MatMul", _matmul),
    "ConvInteger": ("Conv", _integer),
    "MatMulInteger": ("MatMul", _integer),
    f"{MS}QLinearConv": ("Conv", _conv),
    f"{MS}QGemm": ("Gemm", _gemm),
    f"{MS}QLinearAdd": ("Add", _binary),
    f"{MS}QLinearMul": ("Mul", _binary),
    f"{MS}QLinearSigmoid": ("Sigmoid", _unary),
    f"{MS}QLinearLeakyRelu": ("LeakyRelu", _unary),
    f"{MS}QLinearSoftmax": ("Softmax", _unary),
    f"{MS}QLinearAveragePool": ("AveragePool", _unary),
    f"{MS}QLinearGlobalAveragePool": ("GlobalAveragePool", _unary),
    f"{MS}QLinearReduceMean": ("ReduceMean", _unary),
    f"{MS}QLinearWhere": ("Where", _where),
    f"{MS}QLinearConcat": ("Concat", _concat),
    f"{MS}DynamicQuantizeMatMul": ("MatMul", _dynamic),
    f"{MS}MatMulIntegerToFloat": ("MatMul", _widened),
    f"{MS}FusedConv": ("Conv", _fused),
    f"{MS}FusedGemm": ("Gemm", _fused),
    f"{MS}QuantizeLinear": ("QuantizeLinear", _same),
    f"{MS}DequantizeLinear": ("DequantizeLinear", _same),
    f"{MS}Gelu": ("Gelu", _same),
    f"{MS}FastGelu": ("Gelu", _added),
    f"{MS}BiasGelu": ("Gelu", _added),
    "SimplifiedLayerNormalization": ("RMSNormalization", _same),
}
