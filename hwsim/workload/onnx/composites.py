"""Normalizations of onnxruntime that do more: with a sum before, with the look-up of embeddings."""

from __future__ import annotations

import math

from hwsim.workload.builder import UnmodeledError
from hwsim.workload.layers import Elementwise, Embedding, Normalization
from hwsim.workload.onnx.canonical import Op
from hwsim.workload.onnx.converter import Converter

__all__ = ["embed_norm", "skip_group_norm", "skip_norm"]


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


def skip_group_norm(c: Converter, op: Op, name: str) -> None:
    """onnxruntime's SkipGroupNorm and GroupNorm, of images with channels last: a sum, if any, and a normalization."""
    operands, out = c.operands(op), c.output(op)
    shape, spec = c.shape(out), c.spec(out)
    reads = [operands[0].name]
    if len(operands) > 1:
        total = c.between(op, "sum", shape)
        sums = [item for item in op.outputs[1:2] if item]
        addition = Elementwise(c.unique(f"{name}_add"), shape=shape, n=len(operands), input=spec, output=spec)
        c.row(addition, [tensor.name for tensor in operands], total, *sums)
        reads = [total]
    groups = (shape[-1], math.prod(shape[:-1]))
    activation = "silu" if op.options.get("activation") else "none"
    target = out.name if activation == "none" else c.between(op, "norm", shape)
    c.row(Normalization(name, shape=groups, type="group", input=spec, weight=spec, output=spec), reads, target)
    if activation != "none":
        swish = Elementwise(c.unique(f"{name}_silu"), shape=groups, n=1, activation=activation, input=spec, output=spec)
        c.row(swish, [target], out.name)


def embed_norm(c: Converter, op: Op, name: str) -> None:
    """onnxruntime's EmbedLayerNormalization: words, positions and segments looked up, their sum and its norm."""
    ids, out = c.input_tensor(op, 0), c.output(op)
    shape, spec = c.shape(out), c.spec(out)
    rows: list[str] = []
    for word, place, reads in (
        ("words", 2, op.input(0)),
        ("positions", 3, op.input(8) or op.input(0)),
        ("segments", 4, op.input(1)),
    ):
        table = c.constant(op, place)
        if table is None or not reads:
            continue
        if len(table.shape) != 2 or reads not in c.producers:
            raise UnmodeledError("its tables or indices are no matrices")
        count, dim = table.shape
        layer = Embedding(
            c.unique(f"{name}_{word}"), rows=count, dim=dim, tokens=ids.elements, output=spec,
            input=c.spec(c.tensors[reads]), weight=c.storage_spec(table),
        )  # fmt: skip
        rows.append(c.between(op, word, layer.output.shape))
        c.row(layer, [reads], rows[-1])
    if not rows:
        raise UnmodeledError("its tables are computed")
    total = c.between(op, "sum", shape)
    sums = [item for item in op.outputs[2:3] if item]
    c.row(Elementwise(c.unique(f"{name}_add"), shape=shape, n=len(rows), input=spec, output=spec), rows, total, *sums)
    c.row(Normalization(name, shape=shape, input=spec, weight=spec, output=spec), [total], out.name)
