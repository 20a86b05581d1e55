"""Conversion of each operator of ONNX to a layer."""

from __future__ import annotations

import math
from typing import Any

from hwsim.errors import InputError
from hwsim.workload.builder import UnmodeledError
from hwsim.workload.layer import Layer, Shape
from hwsim.workload.layers import (
    Activation,
    Concat,
    DataMovement,
    Elementwise,
    Embedding,
    Normalization,
    Opaque,
    Pool2d,
    Softmax,
)
from hwsim.workload.onnx.attention import (
    attention,
    group_query,
    masked_multi_head,
    multi_head,
    own_attention,
    rotary,
)
from hwsim.workload.onnx.canonical import MS, Op
from hwsim.workload.onnx.composites import embed_norm, skip_group_norm, skip_norm
from hwsim.workload.onnx.control_flow import BRANCH, START
from hwsim.workload.onnx.converter import Converter, Maker, Values, snake
from hwsim.workload.onnx.einsum import einsum
from hwsim.workload.onnx.experts import mixture
from hwsim.workload.onnx.lowering import FREE, UNARY, activation
from hwsim.workload.onnx.own_rules import packs
from hwsim.workload.onnx.products import few_bits, gemm, product
from hwsim.workload.onnx.recurrence import recurrent
from hwsim.workload.onnx.volumes import (
    any_convolution,
    any_pool,
    any_transposed_convolution,
    deformable_convolution,
)

__all__ = ["BYTES", "ELEMENTWISE", "MAKERS", "ROW_MAKERS", "MOVES", "NORMS", "POOLS", "REDUCED"]

ELEMENTWISE = {
    "Add": "add", "Sum": "add", "Sub": "sub", "Mul": "mul", "Div": "div", "Max": "max", "Min": "min", "Mean": "add",
    "Pow": "pow", "Mod": "mod", "Equal": "compare", "Less": "compare", "LessOrEqual": "compare", "Greater": "compare",
    "GreaterOrEqual": "compare", "And": "logic", "Or": "logic", "Xor": "logic", "BitwiseAnd": "logic",
    "BitwiseOr": "logic", "BitwiseXor": "logic", "BitShift": "logic", "Where": "select", f"{MS}BiasAdd": "add",
    "CumSum": "add", "CumProd": "mul",
}  # fmt: skip
MOVES = {
    **dict.fromkeys(FREE, "reshape"),
    "Transpose": "transpose", "DepthToSpace": "transpose", "SpaceToDepth": "transpose",
    "Slice": "slice", "Split": "slice", "Gather": "slice", "GatherElements": "slice", "GatherND": "slice", "Pad": "pad",
    "Resize": "resize", "Upsample": "resize", "Expand": "resize", "Tile": "resize", "Cast": "copy", "CastLike": "copy",
    "QuantizeLinear": "copy", "DequantizeLinear": "copy", "DynamicQuantizeLinear": "copy", "Trilu": "copy",
    "CenterCropPad": "resize",
}  # fmt: skip
NORMS = {
    "BatchNormalization": "batch", "InstanceNormalization": "instance", "GroupNormalization": "group",
    "LayerNormalization": "layer", "RMSNormalization": "rms", "LRN": "lrn",
    "MeanVarianceNormalization": "mvn", "LpNormalization": "lp",
}  # fmt: skip
POOLS = ("MaxPool", "AveragePool", "LpPool", "GlobalMaxPool", "GlobalAveragePool", "GlobalLpPool")
REDUCED = {
    "ReduceMean": "avg", "ReduceSum": "avg", "ReduceSumSquare": "avg", "ReduceL1": "avg", "ReduceL2": "avg",
    "ReduceProd": "avg", "ReduceLogSum": "avg", "ReduceLogSumExp": "avg", "ReduceMax": "max", "ReduceMin": "max",
    "ArgMax": "max", "ArgMin": "max",
}  # fmt: skip


#: Operators that select, order or make values: rows priced by the bytes that they read and write, without MACs.
BYTES = (
    "AffineGrid", "Bernoulli", "BitCast", "Col2Im", "Compress", "EyeLike", "GridSample", "Hardmax", "IsInf", "IsNaN",
    "MaxRoiPool", "MaxUnpool", "Multinomial", "NonMaxSuppression", "NonZero", "OneHot", "RandomNormalLike",
    "RandomUniformLike", "ReverseSequence", "RoiAlign", "Scatter", "ScatterElements", "ScatterND", "TensorScatter",
    "TopK", "Unique",
)  # fmt: skip


def _bytes(c: Converter, op: Op, name: str) -> Layer:
    """A row of what an operator of the table of moves reads and writes."""
    first, out = c.operands(op)[0], c.output(op)
    stored = [c.constants[item] for item in dict.fromkeys(op.inputs) if item in c.constants]
    return Opaque(
        name, type=snake(op.source), shapes=[c.shape(tensor) for tensor in c.operands(op)], to=c.shape(out),
        stored=sum(item.elements for item in stored), input=c.spec(first), output=c.spec(out),
        weight=c.storage_spec(max(stored, key=lambda item: item.elements)).name if stored else "int8",
    )  # fmt: skip


def _reduce(c: Converter, op: Op, name: str) -> Layer | None:
    """A reduction along neighboring axes is a pool over them; of others, one pool after the other, the last first."""
    source = c.input_tensor(op, 0)
    shape = source.shape or ()
    axes: list[int] | None = (
        [int(op.options.get("axis", 0))] if op.code.startswith("Arg") else c.integers(op, "axes", 1)
    )
    places = sorted({axis % max(len(shape), 1) for axis in axes or range(len(shape))})
    places = [place for place in places if place or shape[0] != 1]
    if not places or (not axes and op.options.get("noop_with_empty_axes")):  # each value alone
        sizes: Values = {"shape": c.shape(source), "to": c.shape(c.output(op))}
        return c.check_output(op, DataMovement(name, type="copy", **sizes, **c.types(op)))
    options: Values = {"type": REDUCED[op.code], **c.types(op)}
    if len(shape) == 4 and places == [2, 3]:
        return c.check_output(op, Pool2d(name, **c.image(source), **options))
    reads, firsts = source.name, [place for place in places if place - 1 not in places]
    for number, first in reversed(list(enumerate(firsts))):
        end = max(place for place in places if place < (firsts + [len(shape)])[number + 1]) + 1
        sizes = _run(shape[:first], shape[first:end], shape[end:])
        if not number:
            layer = c.check_output(op, Pool2d(name, **sizes, **options))
            if len(firsts) == 1:
                return layer
            c.row(layer, [reads], c.output(op).name)
            return None
        shape = (*shape[:first], *shape[end:])
        target = c.between(op, f"axes from {first}", shape[1:] if shape[:1] == (1,) else shape)
        c.row(Pool2d(c.unique(f"{name}_{number}"), **sizes, **options), [reads], target)
        reads = target
    return None


def _run(before: Shape, inside: Shape, after: Shape) -> Values:
    """The sizes of a pool along some neighboring axes, with those before and behind them."""
    rows, columns = math.prod(inside), math.prod(after)
    if columns == 1:  # along the last axis: a row of values each
        return {"c": math.prod(before), "h": 1, "w": rows, "r": 1, "s": rows, "stride": (1, rows)}
    return {"c": math.prod(before), "h": rows, "w": columns, "r": rows, "s": 1, "stride": (rows, 1)}


def _elementwise(c: Converter, op: Op, name: str) -> Layer:
    options: Values = {"n": len(c.operands(op)), "activation": op.activation}
    return Elementwise(name, shape=c.shape(c.output(op)), type=ELEMENTWISE[op.code], **options, **c.types(op))


def _activation(c: Converter, op: Op, name: str) -> Layer:
    shape = c.shape(c.output(op))
    return c.check_output(op, Activation(name, shape=shape, type=activation(op, c.constants), **c.types(op)))


def _softmax(c: Converter, op: Op, name: str) -> Layer:
    full, shape = c.output(op).shape or (), c.shape(c.output(op))
    # Before opset 13, all axes from this one on are one.
    axis = int(op.options.get("axis", -1)) if c.file.opsets.get("", 1) >= 13 else -1
    place = axis % max(1, len(full)) - len(full)
    while place < -1 and shape[-1] == 1:  # what follows the axis is one value
        shape, place = shape[:-1], place + 1
    return c.check_output(op, Softmax(name, shape=shape, axis=max(place, -len(shape)), **c.types(op)))


def _norm(c: Converter, op: Op, name: str) -> Layer:
    scales = c.constant(op, 1)
    types = c.types(op) | ({} if scales is None else {"weight": c.storage_spec(scales)})
    return c.check_output(op, Normalization(name, shape=c.shape(c.output(op)), type=NORMS[op.code], **types))


def _move(c: Converter, op: Op, name: str) -> Layer | None:
    source, out = c.operands(op)[0], c.output(op)
    shape, to, kind = c.shape(source), c.shape(out), MOVES[op.code]
    same = source.elements == out.elements and source.dtype == out.dtype and not _shuffles(op, source.shape or ())
    if same and kind in ("slice", "pad", "resize", "copy") and len([item for item in op.outputs if item]) == 1:
        c.producers[out.name] = c.producers[source.name]  # no value is dropped, added or changed
        return None
    if same and kind == "transpose" and "perm" in op.options and _stays(source.shape or (), op.options["perm"]):
        c.producers[out.name] = c.producers[source.name]
        return None
    if kind == "transpose" and op.options.get("perm", ())[-1:] == (len(source.shape or ()) - 1,):
        kind = "copy"  # rows of the last axis move whole
    if kind in ("reshape", "transpose", "copy") and source.elements != out.elements:
        raise InputError(f"must keep the number of values, not change {source.shape} to {out.shape}")
    return DataMovement(name, shape=shape, to=to, type=kind, **c.types(op))


def _shuffles(op: Op, shape: Shape) -> bool:
    """Whether an operator may change values or their order where it keeps their number."""
    if op.code == "Gather":
        axis = int(op.options.get("axis", 0))
        return -len(shape) <= axis < len(shape) and shape[axis] > 1
    return op.code in ("Trilu", "GatherElements", "GatherND")


def _stays(shape: Shape, order: tuple[int, ...]) -> bool:
    """Whether a transposition moves axes of size 1 alone."""
    axes = [axis for axis in order if axis < len(shape) and shape[axis] != 1]
    return axes == sorted(axes)


def _gather(c: Converter, op: Op, name: str) -> Layer | None:
    table, axis = c.constant(op, 0), int(op.options.get("axis", 0))
    if table is None:
        return _move(c, op, name)
    if len(table.shape) != 2 or axis % 2 or len(c.operands(op)) != 1:
        raise UnmodeledError("it is no look-up of the rows of a stored matrix")
    tokens = math.prod(c.shape(c.operands(op)[0]))
    rows, dim = table.shape
    return c.check_output(op, Embedding(name, rows=rows, dim=dim, tokens=tokens, **c.types(op, table)))


def _block_rows(c: Converter, op: Op, name: str) -> Layer:
    """The look-up of rows of a table of a few bits, in blocks with scales."""
    table, bits = c.constant(op, 0), int(op.options.get("bits", 4))
    if table is None or len(c.operands(op)) != 1:
        raise UnmodeledError("its table is computed")
    tokens, dim = c.operands(op)[0].elements, (c.output(op).shape or (1,))[-1]
    weight = c.storage_spec(table).name if not packs(op) else f"int{bits}"
    types = c.types(op) | {"weight": weight}
    return c.check_output(op, Embedding(name, rows=table.shape[0], dim=dim, tokens=tokens, **types))


def _concat(c: Converter, op: Op, name: str) -> Layer | None:
    operands, out = c.operands(op), c.output(op)
    shape, rank = c.shape(out), len(out.shape or ())
    if len(operands) == 1:
        # The other parts are constants, in place when the network starts.
        return DataMovement(name, shape=c.shape(operands[0]), to=shape, type="pad", **c.types(op))
    axis = int(op.options.get("axis", 0)) % max(rank, 1)
    at = axis - (rank - len(shape))
    if (out.shape or ())[0] == 1 and rank == 2:
        at = axis  # features keep an axis of size 1 in place of the batch
    if at < 0 or any(len(tensor.shape or ()) != rank for tensor in operands):
        raise UnmodeledError(f"it joins along axis {axis}")
    parts = tuple((tensor.shape or ())[axis] for tensor in operands)
    layer = Concat(name, before=shape[:at], parts=parts, rest=shape[at + 1 :], **c.types(op))
    if len(operands) == len(op.inputs):
        return c.check_output(op, layer)
    joined = c.between(op, "joined", layer.output.shape, out.dtype)
    c.row(layer.with_(name=c.unique(f"{name}_tensors")), [tensor.name for tensor in operands], joined)
    pad = DataMovement(name, shape=layer.output.shape, to=shape, type="pad", **c.types(op))
    c.row(pad, [joined], out.name)
    return None


def _idle(c: Converter, op: Op, name: str) -> Layer | None:
    """The stored weights of a branch that does not run, and of no other row: a row that reads the condition."""
    operand, out = c.operands(op)[0], c.output(op)
    constants = [constant for key, constant in c.stored(op).items() if key not in c.readers]
    if not constants:
        return None
    stored = [(constant.elements, c.storage_spec(constant)) for constant in constants]
    row = c.opaque(name, "branch", [(c.shape(operand), c.spec(operand))], (c.shape(out), c.spec(out)), stored)
    return row.with_(idle=row.weights)


def _start(c: Converter, op: Op, name: str) -> Layer:
    """A loop's first state, which is constant: a copy that the loop may overwrite."""
    source, out = c.operands(op)[0], c.output(op)
    return DataMovement(
        name, shape=c.shape(source), to=c.shape(out), type="pad", input=c.spec(source), output=c.spec(out)
    )


def _each(names: dict[str, Any] | tuple[str, ...], make: Maker, kind: str = "computed") -> dict[str, tuple[str, Maker]]:
    return dict.fromkeys(names, (kind, make))


#: How an operator is imported (``computed`` or ``moved``) and its maker, by the plain operator type.
MAKERS: dict[str, tuple[str, Maker]] = {
    "Conv": ("computed", any_convolution),
    "ConvTranspose": ("computed", any_transposed_convolution),
    "DeformConv": ("computed", deformable_convolution),
    "Gemm": ("computed", gemm),
    "MatMul": ("computed", product),
    f"{MS}FusedMatMul": ("computed", product),
    **_each((f"{MS}MatMulNBits", f"{MS}MatMulBnb4"), few_bits),
    **_each(POOLS, any_pool),
    **_each(REDUCED, _reduce),
    **_each(ELEMENTWISE, _elementwise),
    **_each(UNARY, _activation),
    f"{MS}QuickGelu": ("computed", _activation),
    **_each(("Softmax", "LogSoftmax"), _softmax),
    **_each(NORMS, _norm),
    f"{MS}SkipLayerNormalization": ("computed", skip_norm),
    f"{MS}SkipSimplifiedLayerNormalization": ("computed", skip_norm),
    **_each(("LSTM", "GRU", "RNN"), recurrent),
    "Einsum": ("computed", einsum),
    "Attention": ("computed", attention),
    f"{MS}MultiHeadAttention": ("computed", multi_head),
    f"{MS}DecoderMaskedMultiHeadAttention": ("computed", masked_multi_head),
    f"{MS}GroupQueryAttention": ("computed", group_query),
    f"{MS}Attention": ("computed", own_attention),
    **_each((f"{MS}MoE", f"{MS}QMoE"), mixture),
    "RotaryEmbedding": ("computed", rotary),
    f"{MS}EmbedLayerNormalization": ("computed", embed_norm),
    **_each((f"{MS}GroupNorm", f"{MS}SkipGroupNorm"), skip_group_norm),
    f"{MS}BiasAdd": ("computed", _elementwise),
    f"{MS}GatherBlockQuantized": ("moved", _block_rows),
    **_each(MOVES, _move, "moved"),
    **_each(BYTES, _bytes, "bytes"),
    "Gather": ("moved", _gather),
    "Concat": ("moved", _concat),
}
#: Those, and rows that stand for no operator of a file.
ROW_MAKERS: dict[str, tuple[str, Maker]] = MAKERS | {BRANCH: ("computed", _idle), START: ("moved", _start)}
