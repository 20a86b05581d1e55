"""An option that gives all shapes which inference does not find."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from hwsim.workload.layer import Shape
from hwsim.workload.onnx.canonical import Op
from hwsim.workload.onnx.graph import Graph
from hwsim.workload.onnx.records import text

__all__ = ["misfit", "shape_option"]

_MOST = 8
_BINARY = ("Add", "Sub", "Mul", "Div")


def shape_option(graph: Graph, omissions: Iterable[Op]) -> str:
    """A ``--shape`` for each tensor at which shapes begin to be unknown: as the operators that read it need."""
    parts: list[str] = []
    for op in omissions:
        if any(name in graph.unknown for name in (*op.inputs, *op.captures)):
            continue
        sizes = [graph.tensors[name].shape or () for name in op.inputs if name in graph.tensors]
        for name in op.outputs:
            if name in graph.unknown:
                reader = next((item for item in graph.ops if name in item.inputs), None)
                shape = (reader and _needed(graph, reader, name)) or next(filter(None, sizes), (1,))
                parts.append(f"{text(name)}={'x'.join(map(str, shape))}")
    return f"--shape {','.join(parts[:_MOST])}"


def misfit(graph: Graph, omissions: Iterable[Op]) -> str | None:
    """The first sum or product whose operands do not fit each other: no shape of its result would mend that."""
    for op in omissions:
        shapes = [graph.tensors[name].shape for name in op.inputs if name in graph.tensors]
        known = [shape for shape in shapes if shape is not None]
        if op.code not in _BINARY or len(known) < 2 or any(name in graph.unknown for name in op.inputs):
            continue
        try:
            np.broadcast_shapes(*known)
        except ValueError:
            first, second = map(_sizes, known[:2])
            inputs = ", ".join(f"{text(name)}={_sizes(graph.tensors[name].shape or ())}" for name in graph.inputs)
            return f"{op} reads {first} and {second}, which do not fit each other, with {inputs}"
    return None


def _sizes(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "a scalar"


def _needed(graph: Graph, op: Op, name: str) -> Shape | None:
    """The shape that a weighted operator asks of its first operand."""
    weights = graph.constants.get(op.input(1))
    if weights is None or op.inputs[0] != name or len(weights.shape) < 2:
        return None
    if op.code == "Conv":
        return (1, weights.shape[1] * int(op.options.get("group", 1)), *(56,) * (len(weights.shape) - 2))
    if op.code in ("MatMul", "Gemm"):
        return (1, weights.shape[-1 if op.options.get("transB") else -2])
    return None
