"""Recurrent networks of ONNX: LSTM, GRU and RNN, in one direction or both."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hwsim.workload.builder import UnmodeledError
from hwsim.workload.layer import Layer, Shape
from hwsim.workload.layers import Concat, DataMovement, Gru, Lstm, Rnn
from hwsim.workload.onnx.canonical import Op
from hwsim.workload.onnx.constants import Constant
from hwsim.workload.onnx.converter import Converter, Values

__all__ = ["recurrent"]

_KINDS: dict[str, tuple[type[Lstm] | type[Gru] | type[Rnn], int]] = {
    "LSTM": (Lstm, 4),
    "GRU": (Gru, 3),
    "RNN": (Rnn, 1),
}


def recurrent(c: Converter, op: Op, name: str) -> None:
    """A recurrent network: a layer for each direction; the last states are slices of its output."""
    kind, gates = _KINDS[op.code]
    weights, source = c.constant(op, 1), c.input_tensor(op, 0)
    if source.name not in c.producers:
        raise UnmodeledError("its sequence is stored")
    if weights is None or c.constant(op, 2) is None:
        template = "{operator}: its weights are computed; they count as stored"
        c.warn("computed_weights", template, operator=str(op))
    shape = source.shape or ()
    matrices = [c.input_tensor(op, place).shape or () for place in (1, 2)]
    directions, size, hidden = _matrices(op, matrices[0], matrices[1], gates)
    if len(shape) != 3 or shape[2] != size:
        raise UnmodeledError(f"it reads {shape} with weights of {size} inputs")
    whole, sequences = (shape[1], shape[0]) if op.options.get("layout") else shape[:2]
    for place in (5, 6) if op.code == "LSTM" else (5,):
        _check_state(c, op, place, (directions, sequences, hidden))
    steps = _steps(c, op, whole)
    options: Values = {"input_size": size, "hidden_size": hidden, "steps": steps, "sequences": sequences}
    if op.input(7):
        options["peepholes"] = True
    types = _types(c, op, weights, directions)
    target = op.outputs[0]
    if not target or steps < whole:
        target = c.between(op, "all", _both(steps, sequences, directions, hidden))
    rows: list[str] = []
    for direction in range(directions):
        label = name if directions == 1 else f"{name}_{('forward', 'backward')[direction]}"
        layer: Layer = kind(label, bias=bool(op.input(3)), **options, **types)
        rows.append(target if directions == 1 else c.between(op, label, layer.output.shape))
        c.row(layer, [source.name], rows[-1])
    spec = types["output"]
    if directions == 2:
        parts, rest = ((hidden, hidden), ()) if sequences == 1 else ((1, 1), (sequences, hidden))
        c.row(Concat(name, before=(steps,), parts=parts, rest=rest, input=spec, output=spec), rows, target)
    reads = c.producers[target]
    if op.outputs[0] and steps < whole:
        sizes = (_both(count, sequences, directions, hidden) for count in (steps, whole))
        pad = DataMovement(
            c.unique(f"{name}_pad"), type="pad", shape=next(sizes), to=next(sizes), input=spec, output=spec
        )
        c.put(pad, [reads], op.outputs[0])
    for place, tensor in enumerate(op.outputs[1:], 1):
        if tensor and tensor in c.used and tensor not in c.constants:
            part = c.unique(f"{name}_last{place if place > 1 else ''}")
            to = (1, directions * hidden) if sequences == 1 else (directions, sequences, hidden)
            c.part(part, tensor, reads, _both(steps, sequences, directions, hidden), to, spec, spec)


def _check_state(c: Converter, op: Op, place: int, sizes: Shape) -> None:
    """Check that a state before the first step has the sizes of directions, sequences and hidden values."""
    shape = c.tensors[op.input(place)].shape if op.input(place) in c.tensors else None
    if op.options.get("layout"):
        sizes = (sizes[1], sizes[0], sizes[2])
    if shape is None or shape == sizes:
        return
    batch = 0 if op.options.get("layout") else 1  # constant states may be those of a whole batch
    constant = op.input(place) in c.constants and len(shape) == 3
    if not constant or [*shape[:batch], *shape[batch + 1 :]] != [*sizes[:batch], *sizes[batch + 1 :]]:
        given, needed = (" x ".join(map(str, item)) for item in (shape, sizes))
        raise UnmodeledError(f"its state must be {needed}, not {given}")


def _steps(c: Converter, op: Op, whole: int) -> int:
    """How many steps run: as many as the longest sequence has, if the lengths are constant."""
    if not op.input(4):
        return whole
    lengths = c.constants.get(op.input(4))
    values = lengths.values() if lengths is not None else None
    if values is None or not values.size:
        template = "{operator}: the lengths of its sequences are computed; all {steps:count step} are counted"
        c.warn("steps", template, operator=str(op), steps=whole)
        return whole
    return min(max(int(values.max()), 1), whole)


def _both(steps: int, sequences: int, directions: int, hidden: int) -> Shape:
    """The shape of the outputs of all steps."""
    return (steps, directions * hidden) if sequences == 1 else (steps, directions, sequences, hidden)


def _matrices(op: Op, weights: Shape, own: Shape, gates: int) -> tuple[int, int, int]:
    """Number of directions, of inputs and of hidden values, by the matrices of all gates."""
    if len(weights) != 3 or len(own) != 3:
        raise UnmodeledError("its matrices are not those of plain gates")
    (directions, rows, size), (_, rows_, hidden) = weights, own
    if op.source != op.code:  # those of DynamicQuantizeLSTM are stored by inputs
        (rows, size), (rows_, hidden) = (size, rows), (hidden, rows_)
    if rows != rows_ or rows != gates * hidden or directions not in (1, 2):
        raise UnmodeledError("its matrices are not those of plain gates")
    return directions, size, hidden


def _types(c: Converter, op: Op, weights: Constant | None, directions: int) -> Values:
    types: dict[str, Any] = c.types(op, weights)
    if weights is None:
        types["weight"] = c.spec(c.input_tensor(op, 1))
    if weights is not None and directions == 2 and types["weight"].array:  # each direction reads a part of it
        types["weight"] = replace(types["weight"], array="")
    return types
