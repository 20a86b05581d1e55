"""Operators of ONNX that become several layers: attention and skip normalization."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hwsim.workload.builder import UnmodeledError
from hwsim.workload.layers import (
    BatchedMatmul,
    DataMovement,
    Elementwise,
    Gemm,
    Normalization,
    Softmax,
)
from hwsim.workload.onnx.canonical import Op
from hwsim.workload.onnx.converter import Converter

__all__ = ["attention", "multi_head", "own_attention", "skip_norm"]


def _heads(
    c: Converter, op: Op, name: str, reads: Sequence[str], heads: int, rows: int, keys: int, depth: int, value: int
) -> None:
    """Scores, their softmax and the weighted sum of values; several queries may share a head of keys and values."""
    spec = c.spec(c.output(op))
    types: dict[str, Any] = {"input": spec, "weight": spec, "output": spec}
    scores = BatchedMatmul(f"{name}_scores", b=heads, m=rows, n=keys, k=depth, **types)
    shape = scores.output.shape
    first, second = c.between(op, "scores", shape), c.between(op, "shares", shape)
    c.row(scores, reads[:2], first)
    c.row(Softmax(f"{name}_softmax", shape=shape, input=spec, output=spec), [first], second)
    context = BatchedMatmul(f"{name}_context", b=heads, m=rows, n=value, k=keys, **types)
    c.row(context, [second, reads[2]], c.output(op).name)


def _three(c: Converter, op: Op, heads: int, shared: int) -> tuple[list[str], tuple[int, int, int, int, int]]:
    """Names of query, key and value; and heads, rows, keys, depth and depth of a value."""
    names = [op.input(place) for place in range(3)]
    if any(item not in c.producers for item in names):
        raise UnmodeledError("its query, key or value is stored, or packed with another")
    shapes = [c.tensors[item].shape or () for item in names]
    if all(len(shape) == 4 for shape in shapes):
        heads, shared = shapes[0][1], shapes[1][1]
        (rows, depth), (keys, value) = shapes[0][2:], (shapes[1][2], shapes[2][3])
    elif all(len(shape) == 3 for shape in shapes) and min(heads, shared) > 0:
        rows, keys = shapes[0][1], shapes[1][1]
        depth, value = shapes[0][2] // heads, shapes[2][2] // shared
    else:
        raise UnmodeledError(f"it reads {shapes}")
    if shared < 1 or heads % shared:
        raise UnmodeledError(f"{heads} heads of queries share {shared} of keys")
    return names, (shared, rows * (heads // shared), keys, depth, value)


def attention(c: Converter, op: Op, name: str) -> None:
    """Attention of ONNX 23 and later, without a cache of past keys."""
    if op.input(4) or op.input(5):
        raise UnmodeledError("it reads keys and values of the past")
    heads = int(op.options.get("q_num_heads", 0))
    names, sizes = _three(c, op, heads, int(op.options.get("kv_num_heads", 0)) or heads)
    _heads(c, op, name, names, *sizes)


def multi_head(c: Converter, op: Op, name: str) -> None:
    """onnxruntime's MultiHeadAttention."""
    heads = int(op.options.get("num_heads", 0))
    names, sizes = _three(c, op, heads, heads)
    _heads(c, op, name, names, *sizes)


def own_attention(c: Converter, op: Op, name: str) -> None:
    """onnxruntime's Attention: the QKV projection and the attention."""
    weights, heads = c.constant(op, 1), int(op.options.get("num_heads", 0))
    source = c.input_tensor(op, 0)
    shape = source.shape or ()
    if weights is None or len(weights.shape) != 2 or len(shape) != 3 or heads < 1 or op.input(4):
        raise UnmodeledError("its weights are computed, or it reads keys of the past")
    features, total = weights.shape
    width = total // 3
    types = c.types(op, weights)
    gemm = Gemm(f"{name}_qkv", m=shape[1], n=total, k=features, bias=bool(op.input(2)), **types)
    all_ = c.between(op, "qkv", gemm.output.shape)
    c.row(gemm, [source.name], all_)
    parts = []
    spec = c.spec(c.output(op))
    for part in ("query", "key", "value"):
        target = c.between(op, part, (shape[1], width))
        cut = DataMovement(
            f"{name}_{part}", type="slice", shape=gemm.output.shape, to=(shape[1], width), input=spec, output=spec
        )
        c.row(cut, [all_], target)
        parts.append(target)
    _heads(c, op, name, parts, heads, shape[1], shape[1], width // heads, width // heads)


def skip_norm(c: Converter, op: Op, name: str) -> None:
    """onnxruntime's SkipLayerNormalization: a residual addition and its normalization."""
    operands, out = c.operands(op), c.output(op)
    shape, spec = c.shape(out), c.spec(out)
    total = c.between(op, "sum", shape)
    addition = Elementwise(f"{name}_add", shape=shape, n=len(operands), input=spec, output=spec)
    sums = [item for item in op.outputs[3:4] if item]
    c.row(addition, [tensor.name for tensor in operands], total, *sums)
    kind = "rms" if "Simplified" in op.source else "layer"
    c.row(Normalization(name, shape=shape, type=kind, input=spec, weight=spec, output=spec), [total], out.name)
