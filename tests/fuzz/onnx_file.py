"""ONNX models of many operators: changed as messages (fields of their own type) and as bytes."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from onnx_builder import Graph

import hwsim
from tests.fuzz.case import Case, check_report
from tests.fuzz.mutation import mutated_bytes
from tests.fuzz.seeds import machines

INTEGERS = (0, 1, -1, 2, 3, 7, 255, 65536, 10**6, 10**9, 2**31 - 1, 2**31, 2**32, 2**62, 2**63 - 1, -(2**63), -(2**31))
FLOATS = (0.0, -1.0, float("nan"), float("inf"), 1e30, 0.5)
TEXTS = (
    "", "x\0y", "<script>", "[/]", "\x1b[31m", "a" * 5000, "Conv", "Loop", "If", "Gather", "MatMul", "Constant", "Einsum",
    "Reshape", "Shape", "../../etc/passwd", "/dev/zero", "Resize", "LSTM", "Tile", "Expand", "ij,jk->ik", "NonZero", "TopK",
    "QLinearMatMul", "MatMulInteger", "Transpose", "Split", "Pad", "Slice", "Concat", "Where", "Range", "Flatten",
    "ScatterND", "Attention", "DepthToSpace", "SpaceToDepth",
)  # fmt: skip
BYTES = (b"", b"\xff" * 8, b"\xff" * 7 + b"\x7f", b"ij,jk->ik", b"...ij->ii", b"SAME_UPPER", b"\1" + b"\0" * 7)


def _convolutions() -> Graph:
    g = Graph()
    x = g.input("x", ["N", 3, 16, 16])
    x = g.conv(x, 3, 8, 3, stride=2, pad=1, act="Relu")
    x = g.conv(x, 8, 8, 3, pad=1, groups=8, act="relu6")
    y = g.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    z = g.op("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = g.op("Flatten", g.op("GlobalAveragePool", g.op("Concat", y, z, axis=1)))
    g.output(g.op("Softmax", g.gemm(x, 16, 10), axis=-1))
    return g


def _attention() -> Graph:
    g = Graph()
    x = g.input("x", [1, 8, 16])
    shape = g.constant("shape", np.array([1, 8, 4, 4], np.int64))
    q, k, v = (
        g.op("Transpose", g.op("Reshape", g.linear(x, 16, 16, name), shape), perm=[0, 2, 1, 3]) for name in "qkv"
    )
    scores = g.op("MatMul", q, g.op("Transpose", k, perm=[0, 1, 3, 2]))
    scores = g.op("Softmax", g.op("Div", scores, g.constant("scale", np.float32(2))), axis=-1)
    x = g.op("Transpose", g.op("MatMul", scores, v), perm=[0, 2, 1, 3])
    x = g.op("Reshape", x, g.constant("flat", np.array([0, -1, 16], np.int64)))
    ones, zeros = g.weight("ln", 16), g.constant("lnb", np.zeros(16, np.float32))
    g.output(g.op("LayerNormalization", x, ones, zeros, axis=-1))
    return g


def _shapes() -> Graph:
    g = Graph()

    def whole(name: str, *values: int) -> str:
        return g.constant(name, np.array(values, np.int64))

    x = g.input("x", [1, 4, 8, 8])
    x = g.op("Slice", x, whole("st", 0), whole("en", 2), whole("ax", 1), whole("sp", 1))
    x = g.op("Pad", x, whole("pads", 0, 0, 1, 1, 0, 0, 1, 1))
    x = g.op("Squeeze", g.op("Unsqueeze", x, whole("ua", 0)), whole("sa", 0))
    size = g.op("Gather", g.op("Shape", x), whole("gi", 0, 1), axis=0)
    g.output(g.op("ConstantOfShape", size))
    x = g.op("Resize", g.op("Expand", x, whole("es", 2, 2, 10, 10)), "", g.constant("sc", np.float32([1, 1, 2, 2])))
    x = g.op("Split", g.op("ConvTranspose", x, g.weight("ctw", 2, 3, 2, 2), strides=[2, 2]), outputs=3, axis=1)[0]
    x = g.op("Tile", g.op("ReduceMean", x, axes=[2, 3], keepdims=0), whole("tr", 1, 3))
    bounds = (g.constant(f"r{i}", np.int64(value)) for i, value in enumerate((0, 5, 1)))
    g.output(g.op("Cast", g.op("Range", *bounds), to=1))
    g.output(g.op("Einsum", x, x, equation="ij,kj->ik"))
    return g


def _recurrent() -> Graph:
    g = Graph()
    x = g.input("x", ["T", 1, 8])
    bias = g.constant("b", np.zeros((1, 128), np.float32))
    y = g.op("LSTM", x, g.weight("w", 1, 64, 8), g.weight("r", 1, 64, 16), bias, outputs=3, hidden_size=16)
    g.output(y[0])
    g.output(g.op("GRU", x, g.weight("gw", 1, 48, 8), g.weight("gr", 1, 48, 16), outputs=2, hidden_size=16)[0])
    return g


def _quantized() -> Graph:
    g = Graph()
    x = g.input("x", [1, 3, 8, 8])
    s, z = g.constant("s", np.float32(0.1)), g.constant("z", np.int8(0))
    x = g.op("DequantizeLinear", g.op("QuantizeLinear", x, s, z), s, z)
    w = g.op("DequantizeLinear", g.constant("w", np.ones((4, 3, 3, 3), np.int8)), s, z)
    x = g.op("QuantizeLinear", g.op("Conv", x, w, kernel_shape=[3, 3]), s, z)
    x = g.op("QLinearConv", x, s, z, g.constant("w2", np.ones((4, 4, 1, 1), np.int8)), s, z, s, z)
    g.output(g.op("DequantizeLinear", x, s, z))
    return g


@cache
def _models() -> dict[str, Any]:
    made = (_convolutions, _attention, _shapes, _recurrent, _quantized)
    return {make.__name__.strip("_"): make().model(check=False) for make in made}


def _repeated(field: Any) -> bool:
    return bool(field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED)


def _fields(message: Any) -> Iterator[tuple[Any, Any]]:
    for field in message.DESCRIPTOR.fields:
        yield message, field
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for inner in value if _repeated(field) else [value]:
                yield from _fields(inner)


def _value(draw: Random, field: Any, names: list[str]) -> object:
    if field.type == field.TYPE_STRING:
        return draw.choice((*names, *TEXTS))
    if field.type == field.TYPE_BYTES:
        return draw.choice((*BYTES, draw.randbytes(8)))
    return draw.choice(FLOATS if field.type in (field.TYPE_FLOAT, field.TYPE_DOUBLE) else INTEGERS)


def _change(draw: Random, model: Any) -> None:
    """Change one field of the model, most often one that it has."""
    graph = model.graph
    names = [name for node in graph.node for name in node.output] + [item.name for item in graph.initializer]
    fields = list(_fields(model))
    if draw.random() < 0.8:
        fields = [
            (message, field)
            for message, field in fields
            if (len(getattr(message, field.name)) if _repeated(field) else message.HasField(field.name))
        ] or fields
    message, field = draw.choice(fields)
    now = getattr(message, field.name)
    way = draw.random()
    if field.type == field.TYPE_MESSAGE:
        if not _repeated(field):
            message.ClearField(field.name) if way < 0.7 else now.SetInParent()
        elif len(now) and way < 0.35:
            del now[draw.randrange(len(now))]
        elif len(now) and way < 0.7:
            now.add().CopyFrom(draw.choice(list(now)))
        elif len(now) > 1:
            one, other = draw.sample(range(len(now)), 2)
            kept = copy.deepcopy(now[one])
            now[one].CopyFrom(now[other])
            now[other].CopyFrom(kept)
        return
    value = _value(draw, field, names)
    try:
        if not _repeated(field):
            setattr(message, field.name, value)
        elif len(now) and way < 0.6:
            now[draw.randrange(len(now))] = value
        elif way < 0.8 or not len(now):
            now.append(value)
        else:
            del now[draw.randrange(len(now))]
    except ValueError:
        pass  # out of the range of the field


def case(draw: Random, folder: Path) -> Case:
    """A changed model on one machine."""
    models = _models()
    name = draw.choice(list(models))
    model = copy.deepcopy(models[name])
    if draw.random() < 0.2:
        data = mutated_bytes(draw, model.SerializeToString())
    else:
        for _ in range(draw.choice((1, 1, 2, 3, 5))):
            _change(draw, model)
        data = model.SerializeToString()
    path, machine = folder / "model.onnx", draw.choice(machines())
    shapes: tuple[dict[str, Any] | None, ...] = ({"N": 1}, {"N": 1}, {"T": 4}, {"T": 4}, None, {"x": (1, 3, 16, 16)})
    shape = (
        {"convolutions": shapes[0], "recurrent": shapes[2]}.get(name) if draw.random() < 0.8 else draw.choice(shapes)
    )
    whole = draw.random() < 0.01

    def action() -> None:
        check_report(hwsim.simulate(machine, hwsim.load_workload(path, shape=shape)), whole)

    return Case(action, {path.name: data}, f"{name} on {machine.name}, shape {shape}")
