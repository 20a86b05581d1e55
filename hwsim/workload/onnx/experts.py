"""onnxruntime's mixtures of experts: MoE, and QMoE with weights of a few bits."""

from __future__ import annotations

import math

from hwsim.workload.builder import UnmodeledError
from hwsim.workload.layer import ACTIVATIONS
from hwsim.workload.layers import Moe
from hwsim.workload.onnx.canonical import Op
from hwsim.workload.onnx.converter import Converter, Values

__all__ = ["mixture"]


def mixture(c: Converter, op: Op, name: str) -> None:
    """A mixture of experts whose router is another operator."""
    quantized = op.code.endswith("QMoE")
    step = 3 if quantized else 2  # weights, scales, bias
    first, second, third = (c.constant(op, 2 + step * place) for place in range(3))
    source, shares = c.input_tensor(op, 0), c.input_tensor(op, 1)
    if first is None or second is None or len(first.shape) != 3 or len(second.shape) != 3:
        raise UnmodeledError("its weights are computed")
    shape, bits = source.shape or (1,), int(op.options.get("expert_weight_bits", 4))
    if quantized and bits not in (4, 8):
        raise UnmodeledError(f"it has weights of {bits} bits")
    packed = 8 // bits if quantized else 1
    hidden, experts = shape[-1], first.shape[0]
    inner = second.elements * packed // (experts * hidden)
    gated = third is not None or first.elements * packed == 2 * experts * hidden * inner
    if first.elements * packed != (1 if third is not None or not gated else 2) * experts * hidden * inner:
        raise UnmodeledError(f"its weights are {first.shape} and {second.shape}")
    activation = str(op.options.get("activation_type", "relu"))
    activation = "silu" if activation == "swiglu" else activation if activation in ACTIVATIONS else "none"
    types: Values = c.types(op, first) | ({"weight": f"int{bits}"} if quantized else {})
    layer = Moe(
        name, tokens=math.prod(shape[:-1]), hidden=hidden, intermediate=inner, experts=experts,
        topk=int(op.options.get("k", 1)), gated=gated, activation=activation, router=False,
        bias=bool(op.input(1 + step)), **types,
    )  # fmt: skip
    c.row(c.check_output(op, layer), [source.name, shares.name], c.output(op).name)
