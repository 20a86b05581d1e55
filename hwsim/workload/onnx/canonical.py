"""The canonical form of an operator: a quantized operator becomes the plain one with quantization parameters.

``QLinearConv(x, xs, xz, w, ws, wz, ys, yz, b)`` is a ``Conv(x, w, b)`` with dequantized constants and a requantized
output. One reader then serves float convolutions, QLinearConv, and convolutions between DequantizeLinear and
QuantizeLinear.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from hwsim.errors import InputError, excerpt
from hwsim.workload.onnx.constants import Constant
from hwsim.workload.onnx.records import Operator, Subgraph

__all__ = ["MS", "QUANTIZED", "Op", "Pair", "Step", "canonical"]

#: The domain of onnxruntime's own operators.
MS = "com.microsoft."


@dataclass(frozen=True, slots=True)
class Pair:
    """Names of a scale and a zero point (empty: none), and the axis of per-channel quantization."""

    scale: str
    zero: str = ""
    axis: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """Constants for each channel that were fused into an operator.

    They are added (``add``), multiplied by (``mul``), or scale, offset, mean and variance of a batch normalization
    (``norm``).
    """

    kind: str
    constants: tuple[Constant, ...]
    epsilon: float = 0.0


@dataclass(slots=True)
class Op:
    """An operator in its plain form.

    Attributes
    ----------
    index, name, source : int and str
        Index, name and operator type in the file.
    code : str
        The plain operator type.
    inputs, outputs : list of str
        Names of tensors; empty for an omitted one.
    dequantization : dict of Pair
        Scale and zero point by the index of an input.
    rounding : Pair or None
        Scale and zero point of the output.
    dtype : str
        The output type, if the plain operator does not define it.
    steps, activation
        What was fused from the operators that follow: constants for each channel, in order, and an activation.
    scales : tuple of str
        Scales of input and weights: the stored bias is in steps of their product.
    has_scale : bool
        Whether the Mul that scales integer sums to real values was fused.
    module : str
        The path of its PyTorch module, or empty.
    """

    index: int
    code: str
    source: str
    name: str
    inputs: list[str]
    outputs: list[str]
    options: dict[str, Any]
    proto: Any
    captures: tuple[str, ...] = ()
    subgraphs: tuple[Subgraph, ...] = ()
    dequantization: dict[int, Pair] = field(default_factory=dict)
    rounding: Pair | None = None
    dtype: str = ""
    steps: list[Step] = field(default_factory=list)
    activation: str = "none"
    scales: tuple[str, ...] = ()
    has_scale: bool = False
    module: str = ""

    def __str__(self) -> str:
        return f"operator {self.index}, {self.source}" + (f" {self.name!r}" if self.name else "")

    @property
    def shifts(self) -> bool:
        """Whether a fused constant is added: it becomes a bias."""
        return any(step.kind != "mul" for step in self.steps)

    def input(self, place: int) -> str:
        """The name of an input; empty if there is none."""
        return self.inputs[place] if place < len(self.inputs) else ""


Change: TypeAlias = Callable[[Op], None]


def canonical(operator: Operator) -> Op:
    """The plain form of an operator of a file."""
    op = Op(
        operator.index, operator.code, operator.code, operator.name, list(operator.inputs), list(operator.outputs),
        dict(operator.options), operator.proto, operator.captures, operator.subgraphs, module=operator.module,
    )  # fmt: skip
    if operator.code in QUANTIZED:
        QUANTIZED[operator.code][1](op)
        op.code = QUANTIZED[operator.code][0]
    return op


def _pick(op: Op, *inputs: int) -> None:
    """Keep some inputs, in this order, without trailing empty ones."""
    names = [op.input(place) for place in inputs]
    while names and not names[-1]:
        names.pop()
    op.inputs = names


def _pairs(op: Op, *places: tuple[int, int, int]) -> dict[int, Pair]:
    """Quantization parameters of (input in the plain form, its scale, axis); the zero point follows the scale."""
    return {new: Pair(op.input(scale), op.input(scale + 1), axis) for new, scale, axis in places}


def _set_rounding(op: Op, scale: int) -> None:
    if op.input(scale):
        op.rounding = Pair(op.input(scale), op.input(scale + 1))


def _conv(op: Op) -> None:
    op.dequantization = _pairs(op, (1, 4, 0))
    op.scales = op.input(1), op.input(4)
    _set_rounding(op, 6)
    _pick(op, 0, 3, 8)


def _matmul(op: Op) -> None:
    op.dequantization = _pairs(op, (1, 4, -1))
    _set_rounding(op, 6)
    _pick(op, 0, 3)


def _integer(op: Op) -> None:
    """ConvInteger and MatMulInteger: integer sums, with zero points and no scales."""
    zero, axis = op.input(3), (0 if "Conv" in op.code else -1)
    op.dequantization = {1: Pair("", zero, axis)}
    op.dtype = "int32"
    _pick(op, 0, 1)


def _gemm(op: Op) -> None:
    op.dequantization = _pairs(op, (1, 4, 0 if op.options.get("transB") else -1))
    op.scales = op.input(1), op.input(4)
    _set_rounding(op, 7)
    op.dtype = "" if op.rounding else "float"
    _pick(op, 0, 3, 6)


def _binary(op: Op) -> None:
    op.dequantization = _pairs(op, (0, 1, 0), (1, 4, 0))
    _set_rounding(op, 6)
    _pick(op, 0, 3)


def _unary(op: Op) -> None:
    op.dequantization = _pairs(op, (0, 1, 0))
    _set_rounding(op, 3)
    _pick(op, 0)


def _where(op: Op) -> None:
    op.dequantization = _pairs(op, (1, 2, 0), (2, 5, 0))
    _set_rounding(op, 7)
    _pick(op, 0, 1, 4)


def _concat(op: Op) -> None:
    _set_rounding(op, 0)
    places = range(2, len(op.inputs), 3)
    op.dequantization = {new: Pair(op.input(place + 1), op.input(place + 2)) for new, place in enumerate(places)}
    _pick(op, *places)


def _dynamic(op: Op) -> None:
    """DynamicQuantizeMatMul(a, b, bs, bz, bias): floats in and out; the activations become integers inside."""
    op.dequantization = {1: Pair(op.input(2), op.input(3), -1)}
    bias = op.input(4)
    op.options["bias"] = bias
    _pick(op, 0, 1)


def _matmul_to_float(op: Op) -> None:
    """MatMulIntegerToFloat(a, b, as, bs, az, bz, bias)."""
    op.dequantization = {1: Pair(op.input(3), op.input(5), -1)}
    op.options["bias"] = op.input(6)
    op.dtype = "float"
    _pick(op, 0, 1)


def _dynamic_lstm(op: Op) -> None:
    """DynamicQuantizeLSTM(x, w, r, b, lengths, h, c, p, ws, wz, rs, rz): its matrices are stored by inputs."""
    op.dequantization = _pairs(op, (1, 8, -1), (2, 10, -1))
    _pick(op, *range(8))


def _fused_activation(op: Op) -> None:
    name = str(op.options.pop("activation", "") or "")
    functions = {
        "Relu": "relu", "Clip": "clip", "LeakyRelu": "leaky_relu", "Sigmoid": "sigmoid", "Tanh": "tanh",
        "HardSigmoid": "hardsigmoid", "Elu": "elu", "Selu": "selu", "Softplus": "softplus", "Softsign": "softsign",
        "ThresholdedRelu": "relu", "": "none",
    }  # fmt: skip
    if name not in functions:
        raise InputError(f"activation must be one of {', '.join(filter(None, functions))}, not {excerpt(name, 40)}")
    op.activation = functions[name]
    if len(op.inputs) > 3:
        raise InputError("a fused sum of another tensor is not read")


def _own_attention(op: Op) -> None:
    """QAttention(x, w, bias, xs, ws, mask, xz, wz, past)."""
    op.dequantization = {1: Pair(op.input(4), op.input(7), -1)}
    op.dtype = "float"
    _pick(op, 0, 1, 2, 5, 8)


def _gelu_with_bias(op: Op) -> None:
    op.options["bias"] = op.input(1)
    _pick(op, 0)


def _same(op: Op) -> None:
    pass


#: Plain operator type and conversion, by the operator type in the file.
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
    f"{MS}NhwcMaxPool": ("MaxPool", _same),
    f"{MS}QLinearReduceMean": ("ReduceMean", _unary),
    f"{MS}QLinearWhere": ("Where", _where),
    f"{MS}QLinearConcat": ("Concat", _concat),
    f"{MS}DynamicQuantizeMatMul": ("MatMul", _dynamic),
    f"{MS}DynamicQuantizeLSTM": ("LSTM", _dynamic_lstm),
    f"{MS}MatMulIntegerToFloat": ("MatMul", _matmul_to_float),
    f"{MS}FusedConv": ("Conv", _fused_activation),
    f"{MS}FusedGemm": ("Gemm", _fused_activation),
    f"{MS}QuantizeLinear": ("QuantizeLinear", _same),
    f"{MS}DequantizeLinear": ("DequantizeLinear", _same),
    f"{MS}QAttention": (f"{MS}Attention", _own_attention),
    f"{MS}TransposeMatMul": (f"{MS}FusedMatMul", _same),
    f"{MS}RotaryEmbedding": ("RotaryEmbedding", _same),
    f"{MS}Gelu": ("Gelu", _same),
    f"{MS}FastGelu": ("Gelu", _gelu_with_bias),
    f"{MS}BiasGelu": ("Gelu", _gelu_with_bias),
    "SimplifiedLayerNormalization": ("RMSNormalization", _same),
}
