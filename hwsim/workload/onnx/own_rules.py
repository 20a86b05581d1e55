"""Output shapes of operators that ONNX has no rule for, or not the one that runtimes follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from hwsim.errors import InputError
from hwsim.workload.layer import Shape
from hwsim.workload.onnx.canonical import MS, Op
from hwsim.workload.onnx.constants import Array
from hwsim.workload.onnx.equation import axes_of
from hwsim.workload.taps import ceil_positions

__all__ = ["factors", "own_outputs", "packs", "shares", "valid_positions"]

#: Shape and type of each output in turn; a type of "" is that of the first input, "2" that of input 2.
Outputs: TypeAlias = Sequence[tuple[Shape, str]]
Rule: TypeAlias = Callable[[Op, Sequence[Shape]], Outputs | None]
#: The values of a small constant.
Lookup: TypeAlias = Callable[[str], Array | None]
#: Inputs with the number of valid positions of keys, and how many it lacks; None: the new ones.
_LENGTHS: Mapping[str, Sequence[tuple[int, int | None]]] = {
    "Attention": ((6, 0),),
    f"{MS}GroupQueryAttention": ((5, 1), (6, 0)),
    f"{MS}MultiHeadAttention": ((8, None),),
    f"{MS}DecoderMaskedMultiHeadAttention": ((7, None),),
}


def own_outputs(op: Op, shapes: Sequence[Shape], values: Lookup) -> Mapping[str, tuple[Shape, str]] | None:
    """Shape and type of each output by the shapes of the inputs; None if ONNX's own rule holds or there is none."""
    rule = RULES.get(op.code)
    outputs = rule(op, shapes) if rule is not None else None
    if outputs is None:
        return None
    if op.code in _PAST and len(outputs) == 3:
        past = shapes[_PAST[op.code]] if len(shapes) > _PAST[op.code] else ()
        room = past[2] if len(past) == 4 else 0
        valid = valid_positions(op, shapes[0][1], values)
        if room and (shares(op) or (valid is not None and valid <= room)):  # written in place
            outputs = [outputs[0], *(((*shape[:2], room, shape[3]), item) for shape, item in outputs[1:])]
    return {name: output for name, output in zip(op.outputs, outputs) if name}


def shares(op: Op) -> bool:
    """Whether new keys are written into the buffer of the past."""
    own = op.code == f"{MS}MultiHeadAttention" and bool(op.input(8))
    return own or bool(op.options.get("past_present_share_buffer"))


def valid_positions(op: Op, keys: int, values: Lookup) -> int | None:
    """How many positions of keys are valid, `keys` new ones with them, if a constant tells; buffers may have more."""
    for place, more in _LENGTHS.get(op.code, ()):
        lengths = values(op.input(place)) if op.input(place) else None
        if lengths is not None and lengths.size:
            return max(int(lengths.max()) + (keys if more is None else more), 1)
    return None


def _pool(op: Op, shapes: Sequence[Shape]) -> Outputs | None:
    """With `ceil_mode` no window starts in the padding at the end, as in PyTorch and onnxruntime."""
    rank, kernel = len(shapes[0]) - 2, op.options.get("kernel_shape")
    if not op.options.get("ceil_mode") or op.options.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return None
    values = [op.options.get(key) or default for key, default in (("strides", (1,) * rank), ("dilations", (1,) * rank))]
    pads = op.options.get("pads") or (0,) * 2 * rank
    if any(not isinstance(item, tuple) or len(item) != rank for item in (kernel, *values)) or len(pads) != 2 * rank:
        return None
    sizes = []
    for size, reach, step, gap, before, after in zip(shapes[0][2:], kernel or (), *values, pads, pads[rank:]):
        room = size + before + after - (reach - 1) * gap - 1
        if room < 0 or step < 1:
            return None
        sizes.append(ceil_positions(room, step, size + before))
    shape = (*shapes[0][:2], *sizes)
    return (shape, ""), (shape, "int64")


def _binary(op: Op, shapes: Sequence[Shape]) -> Outputs | None:
    """Two operands that fit each other; ONNX's rule names what does not."""
    try:
        return ((tuple(map(int, np.broadcast_shapes(*shapes))), ""),) if len(shapes) == 2 else None
    except ValueError:
        return None


def _fused_matmul(op: Op, shapes: Sequence[Shape]) -> Outputs | None:
    if len(shapes) < 2 or not all(shapes[:2]):
        return None
    left, right = factors(op, shapes)
    vectors = [len(shape) == 1 for shape in (left, right)]
    left, right = (1, *left) if vectors[0] else left, (*right, 1) if vectors[1] else right
    try:
        lead = np.broadcast_shapes(left[:-2], right[:-2])
    except ValueError:
        raise InputError(f"must multiply as many matrices as there are others, not {left} by {right}") from None
    ends = (() if vectors[0] else left[-2:-1]) + (() if vectors[1] else right[-1:])
    return (((*map(int, lead), *ends), ""),)


def factors(op: Op, shapes: Sequence[Shape]) -> tuple[Shape, Shape]:
    """The shapes of both factors of a product after the transpositions that it is told."""
    turned = []
    for shape, side in zip(shapes, "AB"):
        if op.options.get(f"transBatch{side}") and len(shape) > 2:
            shape = (*shape[1:-1], shape[0], shape[-1])
        if op.options.get(f"trans{side}") and len(shape) > 1:
            shape = (*shape[:-2], shape[-1], shape[-2])
        turned.append(shape)
    return turned[0], turned[1]


def _few_bits(op: Op, shapes: Sequence[Shape]) -> Outputs | None:
    return (((*shapes[0][:-1], int(op.options.get("N", 0))), ""),) if shapes[0] else None


def _attention(op: Op, shapes: Sequence[Shape]) -> Outputs | None:
    """The output, keys and values with those of the past before them, and the scores."""
    query, key, value = (*shapes, (), (), ())[:3]
    heads = query[1] if len(query) == 4 else int(op.options.get("q_num_heads", 0))
    shared = key[1] if len(key) == 4 else int(op.options.get("kv_num_heads", 0))
    if not len(query) == len(key) == len(value) or len(query) not in (3, 4) or min(heads, shared) < 1:
        return None
    old = shapes[4][2] if len(shapes) > 4 and len(shapes[4]) == 4 else 0
    dim, width = (shape[-1] // (1 if len(shape) == 4 else shared) for shape in (key, value))
    batch, positions, context = query[0], query[-2], old + key[-2]
    out = (batch, heads, positions, width) if len(query) == 4 else (batch, positions, heads * width)
    caches = ((batch, shared, context, dim), ""), ((batch, shared, context, width), "")
    return (out, ""), *caches, ((batch, heads, positions, context), "")


def _own_attention(op: Op, shapes: Sequence[Shape]) -> Outputs | None:
    """The output, and keys and values in one cache."""
    if len(shapes) < 2 or len(shapes[0]) != 3 or len(shapes[1]) != 2:
        return None
    (batch, positions, _), heads = shapes[0], int(op.options.get("num_heads", 0))
    sizes = op.options.get("qkv_hidden_sizes") or (shapes[1][1] // 3,) * 3
    if len(sizes) != 3 or heads < 1:
        return None
    past = shapes[4][3] if len(shapes) > 4 and len(shapes[4]) == 5 else 0
    cache = (2, batch, heads, past + positions, sizes[2] // heads)
    return ((batch, positions, int(sizes[2])), ""), (cache, "")


def _multi_head(op: Op, shapes: Sequence[Shape]) -> Outputs | None:
    """The output, keys and values with those of the past before them."""
    heads = int(op.options.get("num_heads", 0))
    query, key, value = (*shapes, (), ())[:3]
    past = 6 if op.code == f"{MS}MultiHeadAttention" else 5
    if heads < 1 or len(query) not in (3, 5):
        return None
    batch, positions = query[:2]
    if len(query) == 5:  # batch x positions x heads x 3 x values
        keys, widths = positions, (query[4] * heads,) * 2
    elif len(key) == 5:
        keys, widths = key[1], (key[4] * heads,) * 2
    elif len(key) in (3, 4) and len(key) == len(value):
        keys = key[-2]
        widths = (key[2], value[2]) if len(key) == 3 else (key[3] * heads, value[3] * heads)
    else:
        return None
    old = shapes[past][2] if len(shapes) > past and len(shapes[past]) == 4 else 0
    caches = [((batch, heads, old + keys, width // heads), "") for width in widths]
    return [((batch, positions, widths[1]), ""), *caches]


def _group_query(op: Op, shapes: Sequence[Shape]) -> Outputs | None:
    heads, shared = (int(op.options.get(key, 0)) for key in ("num_heads", "kv_num_heads"))
    if min(heads, shared) < 1 or len(shapes[0]) != 3:
        return None
    batch, positions, width = shapes[0]
    dim = width // heads if op.input(1) else width // (heads + 2 * shared)
    old = shapes[3][2] if len(shapes) > 3 and len(shapes[3]) == 4 else 0
    cache = (batch, shared, old + positions, dim)
    return ((batch, positions, heads * dim), ""), (cache, ""), (cache, "")


def _embed_norm(op: Op, shapes: Sequence[Shape]) -> Outputs | None:
    if len(shapes) < 3 or len(shapes[0]) != 2 or len(shapes[2]) != 2:
        return None
    out = ((*shapes[0], shapes[2][1]), "2")
    return out, (shapes[0][:1], "int32"), out


def _skip_norm(op: Op, shapes: Sequence[Shape]) -> Outputs | None:
    """The output, mean and deviation that only training writes, and the sum."""
    return (shapes[0], ""), ((*shapes[0][:-1], 1), ""), ((*shapes[0][:-1], 1), ""), (shapes[0], "")


def _skip_group_norm(op: Op, shapes: Sequence[Shape]) -> Outputs | None:
    return (shapes[0], ""), (shapes[0], "")


def _rows_of_blocks(op: Op, shapes: Sequence[Shape]) -> Outputs | None:
    """GatherBlockQuantized: rows of a table whose values may be packed in bytes."""
    if len(shapes) < 3 or len(shapes[0]) != 2 or len(shapes[2]) != 2:
        return None
    axis = int(op.options.get("gather_axis", 0))
    if axis % 2 or int(op.options.get("quantize_axis", 1)) % 2 != 1:
        return None
    width = shapes[0][1] * (8 // int(op.options.get("bits", 4)) if packs(op) else 1)
    return (((*shapes[1], width), "2"),)


def packs(op: Op) -> bool:
    """Whether several values lie in a byte: only then the operator says of how many bits they are."""
    return "bits" in op.options


def _einsum(op: Op, shapes: Sequence[Shape]) -> Outputs | None:
    _, result, sizes = axes_of(str(op.options.get("equation", "")), shapes)
    return ((tuple(sizes[label] for label in result), ""),)


#: The input with the keys of the past.
_PAST = {f"{MS}GroupQueryAttention": 3, f"{MS}MultiHeadAttention": 6, f"{MS}DecoderMaskedMultiHeadAttention": 5}
RULES: Mapping[str, Rule] = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), _binary),
    "Attention": _attention,
    "Einsum": _einsum,
    "MaxPool": _pool,
    "AveragePool": _pool,
    "LpPool": _pool,
    f"{MS}FusedMatMul": _fused_matmul,
    f"{MS}MatMulNBits": _few_bits,
    f"{MS}MatMulBnb4": _few_bits,
    f"{MS}Attention": _own_attention,
    f"{MS}MultiHeadAttention": _multi_head,
    f"{MS}DecoderMaskedMultiHeadAttention": _multi_head,
    f"{MS}GroupQueryAttention": _group_query,
    f"{MS}EmbedLayerNormalization": _embed_norm,
    f"{MS}SkipLayerNormalization": _skip_norm,
    f"{MS}SkipSimplifiedLayerNormalization": _skip_norm,
    f"{MS}GroupNorm": _skip_group_norm,
    f"{MS}SkipGroupNorm": _skip_group_norm,
    f"{MS}MoE": lambda op, shapes: ((shapes[0], ""),),
    f"{MS}QMoE": lambda op, shapes: ((shapes[0], ""),),
    f"{MS}BiasAdd": lambda op, shapes: ((shapes[0], ""),),
    f"{MS}GatherBlockQuantized": _rows_of_blocks,
}
