"""Recurrent operators of TFLite: SVDF, LSTM and RNN."""

from __future__ import annotations

import math

from hwsim.errors import InputError
from hwsim.workload.builder import UnmodeledError
from hwsim.workload.layer import Layer
from hwsim.workload.layers import Conv2d, DataMovement, Gemm, Lstm
from hwsim.workload.tflite.converter import Converter
from hwsim.workload.tflite.file import Operator, Tensor
from hwsim.workload.tflite.parameters import fused_activation, has_bias

__all__ = ["lstm", "svdf"]


def svdf(c: Converter, op: Operator, name: str) -> None:
    """SVDF: filters over features, and over their results of the last steps, which are kept; then sums of a rank."""
    features, times, rank = _stored(c, op, 1), _stored(c, op, 2), int(op.options.get("rank", 1))
    if len(features.shape) != 2 or len(times.shape) != 2 or times.shape[0] != features.shape[0]:
        raise InputError("its filters must be filters x inputs and filters x steps")
    (filters, inputs), steps = features.shape, times.shape[1]
    if rank < 1 or filters % rank:
        raise InputError(f"rank must divide its {filters} filters, not be {rank}")
    values, units = math.prod(c.shape(c.input_tensor(op, 0))), filters // rank
    if values != inputs:
        raise UnmodeledError(f"it reads {values} values with filters of {inputs}")
    types, state = c.types(op), c.spec(c.input_tensor(op, 4))
    own, out, kept = {"weight": c.weight_spec(features), "output": state}, types["output"], (filters, 1, steps)
    first = Gemm(name, n=filters, k=inputs, bias=False, **(types | own))
    shift = DataMovement(f"{name}_state", type="pad", shape=(1, filters), to=kept, input=state, output=state)
    last = Conv2d(
        f"{name}_time", c=filters, h=1, w=steps, k=units, r=1, s=steps, groups=units, bias=has_bias(c, op, units, 3),
        activation=fused_activation(op), input=state, weight=c.weight_spec(times), output=out,
    )  # fmt: skip
    c.row(first, [c.producers[op.inputs[0]]])
    c.row(shift, [name])
    c.row(c.check_output(op, last), [shift.name], op.outputs[0])


def _stored(c: Converter, op: Operator, place: int) -> Tensor:
    tensor = c.constant(op, place)
    if tensor is None or tensor.data is None or not tensor.elements:
        raise UnmodeledError("its weights are computed")
    return tensor


def lstm(c: Converter, op: Operator, name: str) -> Layer:
    gates = [c.constant(op, place) for place in range(1, 9)]
    peepholes_or_projection = any(index >= 0 for index in (*op.inputs[9:12], *op.inputs[16:18]))
    first, own = gates[0], gates[4]
    if first is None or own is None or None in gates or peepholes_or_projection:
        raise UnmodeledError("it is not a plain LSTM of four gates")
    if len(first.shape) != 2 or own.shape != (first.shape[0],) * 2:
        raise UnmodeledError("its matrices are not hidden x input and hidden x hidden")
    hidden_size, size = first.shape
    steps = c.input_tensor(op, 0).elements // max(size, 1) // c.batch
    types = c.types(op) | {"weight": c.spec(first)}
    bias = c.constant(op, 12) is not None
    return c.check_output(op, Lstm(name, input_size=size, hidden_size=hidden_size, steps=steps, bias=bias, **types))
