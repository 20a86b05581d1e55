"""Recurrent operators of TFLite: SVDF, LSTM and RNN."""

from __future__ import annotations

import math

from hwsim.errors import InputError
from hwsim.workload.builder import UnmodeledError
from hwsim.workload.layer import Layer
from hwsim.workload.layers import Concat, Conv2d, DataMovement, Gemm, Lstm, Rnn
from hwsim.workload.tflite.converter import Converter, Values
from hwsim.workload.tflite.graph import Operator, Tensor
from hwsim.workload.tflite.parameters import fused_activation, has_bias

__all__ = ["RECURRENT", "recurrent", "svdf"]

RECURRENT = (
    "LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM", "RNN", "UNIDIRECTIONAL_SEQUENCE_RNN",
    "BIDIRECTIONAL_SEQUENCE_RNN",
)  # fmt: skip


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


#: Places of an LSTM's operands after its input: of input weights, state weights, peepholes, biases, projection.
_LSTM = {"": (1, 5, 9, 12, 16), "forward": (1, 5, 9, 12, 16), "backward": (18, 22, 26, 29, 33)}
#: Places of an RNN's operands: weights, state weights, bias.
_RNN = {"": (1, 2, 3), "forward": (1, 2, 3), "backward": (5, 6, 7)}


def recurrent(c: Converter, op: Operator, name: str) -> None:
    """An LSTM or RNN, over a sequence or for one step, in one direction or both."""
    cell = _lstm if "LSTM" in op.code else _rnn
    if "BIDIRECTIONAL" not in op.code or op.code.startswith("UNI"):
        cell(c, op, name, "", op.outputs[0])
        return
    if any(index >= 0 for index in op.inputs[39 if "LSTM" in op.code else 9 :]):
        raise UnmodeledError("it reads an auxiliary input")
    merged = len(op.outputs) == 1
    rows = [
        cell(c, op, f"{name}_{direction}", direction, None if merged else op.outputs[place])
        for place, direction in enumerate(("forward", "backward"))
    ]
    if merged:
        sizes = [c.shapes[row] for row in rows]
        spec = c.spec(c.tensors[op.outputs[0]])
        parts = tuple(shape[-1] for shape in sizes)
        join = Concat(name, before=sizes[0][:-1], parts=parts, input=spec, output=spec)
        c.row(c.check_output(op, join), rows, op.outputs[0])


def _sequence(c: Converter, op: Operator, size: int) -> Values:
    """Steps and sequences of what an operator reads, whose tokens have `size` values."""
    shape = c.input_tensor(op, 0).shape
    if not shape or shape[-1] != size or len(shape) not in (2, 3):
        raise UnmodeledError(f"it reads {' x '.join(map(str, shape))} with weights of {size} inputs")
    if "SEQUENCE" not in op.code or len(shape) == 2:
        return {"input_size": size, "steps": 1, "sequences": math.prod(shape[:-1])}
    steps, sequences = shape[:2] if op.options.get("time_major") else shape[1::-1]
    return {"input_size": size, "steps": steps, "sequences": sequences}


def _optional(c: Converter, op: Operator, place: int) -> Tensor | None:
    """A stored operand that an operator may do without."""
    return None if place >= len(op.inputs) or op.inputs[place] < 0 else _stored(c, op, place)


def _put(c: Converter, op: Operator, layer: Layer, reads: str, output: int | None) -> str:
    return c.row(layer, [reads], *(() if output is None else (output,)))


def _rnn(c: Converter, op: Operator, name: str, direction: str, output: int | None) -> str:
    weights, own, bias = (_stored(c, op, place) for place in _RNN[direction])
    if len(weights.shape) != 2 or own.shape != (weights.shape[0],) * 2 or bias.elements != weights.shape[0]:
        raise InputError("its matrices must be hidden x input and hidden x hidden")
    sizes = _sequence(c, op, weights.shape[1])
    types = c.types(op) | {"weight": c.weight_spec(weights)}
    layer = Rnn(name, hidden_size=weights.shape[0], **sizes, **types)
    return _put(c, op, layer, c.producers[op.inputs[0]], output)


def _lstm(c: Converter, op: Operator, name: str, direction: str, output: int | None) -> str:
    if op.code == "LSTM" and op.options.get("kernel_type"):
        return _basic_lstm(c, op, name)
    inputs, states, peepholes, biases, projection = _LSTM[direction]
    gates = [_optional(c, op, inputs + gate) for gate in range(4)]
    own = [_optional(c, op, states + gate) for gate in range(4)]
    last = _optional(c, op, projection)
    weights, state = gates[1], own[1]
    if (
        weights is None
        or state is None
        or None in gates[1:]
        or None in own[1:]
        or (gates[0] is None) != (own[0] is None)
    ):
        raise InputError("it must have three or four gates")
    if len(weights.shape) != 2 or len(state.shape) != 2 or state.shape[0] != weights.shape[0]:
        raise InputError("its matrices must be hidden x input and hidden x state")
    (hidden, size), width = weights.shape, state.shape[1]
    if (last is None and width != hidden) or (last is not None and last.shape != (width, hidden)):
        raise InputError(f"its state must have {hidden} values, or be projected to {width}")
    sizes = _sequence(c, op, size)
    types = c.types(op) | {"weight": c.weight_spec(weights)}
    layer = Lstm(
        name, hidden_size=hidden, state_size=width if width != hidden else 0, **sizes, coupled=gates[0] is None,
        bias=_optional(c, op, biases + 1) is not None, peepholes=_optional(c, op, peepholes + 1) is not None, **types,
    )  # fmt: skip
    reads = c.producers[op.inputs[0]]
    if last is None:
        return _put(c, op, layer, reads, output)
    c.row(layer, [reads])
    rows, bias = sizes["steps"] * sizes["sequences"], _optional(c, op, projection + 1) is not None
    types = types | {"input": types["output"], "weight": c.weight_spec(last)}
    return _put(c, op, Gemm(f"{name}_projection", m=rows, n=width, k=hidden, bias=bias, **types), name, output)


def _basic_lstm(c: Converter, op: Operator, name: str) -> str:
    """LSTM with one matrix for all gates, over the input and the activations of the step before."""
    weights, size = _stored(c, op, 2), c.input_tensor(op, 0).shape[-1]
    hidden = weights.shape[0] // 4
    if weights.shape != (4 * hidden, size + hidden) or not hidden:
        raise InputError(f"its matrix must be four times outputs x (inputs + outputs), not {weights.shape}")
    layer = Lstm(name, hidden_size=hidden, **_sequence(c, op, size), **c.types(op) | {"weight": c.weight_spec(weights)})
    return c.row(layer, [c.producers[op.inputs[0]]], op.outputs[0])
