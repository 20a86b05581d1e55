"""Conversion of each operator of PyTorch to a layer."""

from __future__ import annotations

import math
from typing import Any

from hwsim.workload.builder import UnmodeledError, lead_axes
from hwsim.workload.layer import Layer
from hwsim.workload.layers import (
    Activation,
    Attention,
    BatchedMatmul,
    Concat,
    Conv2d,
    DataMovement,
    Elementwise,
    Embedding,
    Gemm,
    Normalization,
    Pool2d,
    Softmax,
)
from hwsim.workload.torch.converter import Converter, Maker
from hwsim.workload.torch.kinds import BINARY, MOVES, NORMS, PRODUCTS, REDUCED, UNARY, kind_of

__all__ = ["MAKERS"]


def _argument(node: Any, place: int, default: Any = None) -> Any:
    return node.args[place] if len(node.args) > place else default


def _pair(value: Any) -> tuple[int, int]:
    values = [value] if isinstance(value, int) else list(value)
    return (int(values[0]), int(values[-1]))


def _linear(c: Converter, node: Any, kind: str) -> Layer | None:
    weight = node.args[1]
    if not c.is_constant(weight):
        raise UnmodeledError("its weights are computed")
    n, k = map(int, c.value(weight).shape)
    m = math.prod(c.shape(node)) // n
    bias = _argument(node, 2) is not None
    return Gemm(c.name(node, kind), m=m, n=n, k=k, bias=bias, **c.types(node, weight))


def _convolution(c: Converter, node: Any, kind: str) -> Layer | None:
    weight = node.args[1]
    if not c.is_constant(weight):
        raise UnmodeledError("its weights are computed")
    filters, image = tuple(map(int, c.value(weight).shape)), c.shape(c.reads(node)[0])
    if kind == "convolution":
        if node.args[6]:
            raise UnmodeledError("a transposed convolution")
        stride, pad, dilation, groups = (node.args[place] for place in (3, 4, 5, 8))
    else:
        stride, pad, dilation = (_argument(node, place, default) for place, default in ((3, 1), (4, 0), (5, 1)))
        groups = _argument(node, 6, 1)
    if len(filters) not in (3, 4):
        raise UnmodeledError(f"a convolution of {len(filters) - 2} axes")
    channels, *sides = image
    taps = filters[2:]
    one = len(filters) == 3  # a sequence is an image of one column
    if isinstance(pad, str):
        pads: Any = "same" if pad == "same" else 0
    else:
        pads = (int(pad if isinstance(pad, int) else pad[0]), 0) if one else _pair(pad)
    step, spread = _pair(stride), _pair(dilation)
    return Conv2d(
        c.name(node, kind), c=channels, h=sides[0], w=1 if one else sides[1], k=filters[0], r=taps[0],
        s=1 if one else taps[1], stride=(step[0], 1) if one else step, pad=pads,
        dilation=(spread[0], 1) if one else spread, groups=int(groups), bias=_argument(node, 2) is not None,
        **c.types(node, weight),
    )  # fmt: skip


def _product(c: Converter, node: Any, kind: str) -> Layer | None:
    added = kind in ("addmm", "baddbmm")
    left, right = node.args[1:3] if added else node.args[:2]
    shapes = [tuple(map(int, c.value(arg).shape)) if c.is_constant(arg) else c.shape(arg) for arg in (left, right)]
    a, b = (shapes[0] if len(shapes[0]) > 1 else (1, *shapes[0])), shapes[1] if len(shapes[1]) > 1 else (*shapes[1], 1)
    bias = added and c.is_constant(node.args[0])
    if c.is_constant(right) and math.prod(b[:-2]) == 1:
        m = math.prod(c.shape(node)) // b[-1]
        return Gemm(c.name(node, kind), m=m, n=b[-1], k=b[-2], bias=bias, **c.types(node, right))
    if c.is_constant(left) and math.prod(a[:-2]) == 1:
        m = math.prod(c.shape(node)) // a[-2]
        return Gemm(c.name(node, kind), m=m, n=a[-2], k=a[-1], bias=bias, **c.types(node, left))
    if c.is_constant(left) or c.is_constant(right) or (added and not bias):
        raise UnmodeledError("a product with several stored matrices, or with a sum")
    lead, m = math.prod(lead_axes(a[:-2], b[:-2])), a[-2]
    if math.prod(b[:-2]) == 1 and lead > 1:
        lead, m = 1, lead * m
    return BatchedMatmul(c.name(node, kind), b=lead, m=m, n=b[-1], k=a[-1], **c.types(node, right))


def _compares_positions(mask: Any) -> bool:
    """Whether a mask is made by a comparison of positions, as a causal one is."""
    seen, stack = set[str](), [mask]
    while stack:
        node = stack.pop()
        if node.op == "call_function" and kind_of(node) in ("le", "ge", "tril"):
            return True
        for arg in node.all_input_nodes:
            if arg.name not in seen:
                seen.add(arg.name)
                stack.append(arg)
    return False


def _attention(c: Converter, node: Any, kind: str) -> Layer | None:
    query, key, value = (c.shape(arg) for arg in node.args[:3])
    heads, queries, dim = math.prod(query[:-2]), *query[-2:]
    mask = node.kwargs.get("attn_mask", _argument(node, 3))
    causal = bool(node.kwargs.get("is_causal", _argument(node, 5, False)))
    name = c.name(node, kind)
    if mask is not None:
        causal = queries == key[-2] and _compares_positions(mask)
        taken = "a causal one" if causal else "one that leaves all positions"
        c.builder.warn("mask", "the mask of attention is taken as {taken}", name, taken=taken)
    # Keys that are repeated for the heads of queries are stored once.
    source = c.layers.get(c.builder.producers.get(node.args[1].name, ""))
    shared = math.prod(key) // math.prod(source.output.shape) if source is not None else 1
    kv_heads = math.prod(key[:-2]) // max(1, shared)
    return Attention(
        name, queries=queries, context=key[-2], heads=heads, kv_heads=kv_heads, dim=dim, value_dim=value[-1],
        causal=causal, cached=0, **c.types(node, node.args[1]),
    )  # fmt: skip


def _unary(c: Converter, node: Any, kind: str) -> Layer | None:
    type, before = UNARY[kind], c.before(node)
    if kind == "hardtanh" and node.args[1:] == (0.0, 6.0):
        type = "relu6"
    if before is not None and getattr(before, "activation", "") == "none" and before.op != "norm":
        c.replace(node, before, activation=type, output=c.spec(node))
        return None
    return Activation(c.name(node, kind), type=type, shape=c.shape(node), **c.types(node))


def _binary(c: Converter, node: Any, kind: str) -> Layer | None:
    shape = c.shape(node) or (1,)
    return Elementwise(c.name(node, kind), type=BINARY[kind], shape=shape, n=len(c.reads(node)), **c.types(node))


def _norm(c: Converter, node: Any, kind: str) -> Layer | None:
    type, before = NORMS[kind], c.before(node)
    if type == "batch" and isinstance(before, Conv2d | Gemm) and before.activation == "none":
        c.replace(node, before, bias=True, output=c.spec(node))
        return None
    return Normalization(c.name(node, kind), type=type, shape=c.shape(node), **c.types(node))


def _softmax(c: Converter, node: Any, kind: str) -> Layer | None:
    shape = c.shape(node)
    axis = int(node.args[1]) % len(c.value(node).shape) - (len(c.value(node).shape) - len(shape))
    return Softmax(c.name(node, kind), shape=shape, axis=axis, **c.types(node))


def _pool(c: Converter, node: Any, kind: str) -> Layer | None:
    channels, *sides = c.shape(c.reads(node)[0])
    one = len(sides) == 1
    height, width = (sides[0], 1) if one else sides
    size = _pair(node.args[1])
    step = _pair(_argument(node, 2) or node.args[1])
    pad, place = _pair(_argument(node, 3, 0)), 4 if kind.startswith("avg") else 5
    if one:
        size, step, pad = (size[0], 1), (step[0], 1), (pad[0], 0)
    return Pool2d(
        c.name(node, kind), c=channels, h=height, w=width, r=size[0], s=size[1], stride=step, pad=pad,
        type="avg" if "avg" in kind else "max", ceil=bool(_argument(node, place, False)), **c.types(node),
    )  # fmt: skip


def _adaptive(c: Converter, node: Any, kind: str) -> Layer | None:
    channels, *sides = c.shape(c.reads(node)[0])
    height, width = (sides[0], 1) if len(sides) == 1 else sides
    _, *outs = c.shape(node)
    rows, columns = (outs[0], 1) if len(outs) == 1 else outs
    if height % rows or width % columns:
        raise UnmodeledError(f"windows of {height} x {width} values are not alike for {rows} x {columns} outputs")
    return Pool2d(
        c.name(node, kind), c=channels, h=height, w=width, r=height // rows, s=width // columns,
        type="avg" if "avg" in kind else "max", **c.types(node),
    )  # fmt: skip


def _reduced(c: Converter, node: Any, kind: str) -> Layer | None:
    before, after = c.shape(c.reads(node)[0]), c.shape(node)
    outputs = max(1, math.prod(after))
    size = max(1, math.prod(before) // outputs)
    if size == 1:
        return Elementwise(c.name(node, kind), type="add", shape=before or (1,), n=1, **c.types(node))
    return Pool2d(c.name(node, kind), c=outputs, h=size, w=1, type=REDUCED[kind], **c.types(node))


def _move(c: Converter, node: Any, kind: str) -> Layer | None:
    before, after = c.shape(c.reads(node)[0]) or (1,), c.shape(node) or (1,)
    type = MOVES[kind]
    if type == "slice" and math.prod(before) == math.prod(after):
        type = "copy"
    return DataMovement(c.name(node, kind), type=type, shape=before, to=after, **c.types(node))


def _concat(c: Converter, node: Any, kind: str) -> Layer | None:
    reads, shape = c.reads(node), c.shape(node)
    shapes = [c.shape(read) for read in reads]
    if kind == "stack" or len(reads) != len(node.args[0]) or len({len(item) for item in shapes}) != 1:
        moved = max(shapes, key=math.prod)
        return DataMovement(c.name(node, kind), type="resize", shape=moved, to=shape, **c.types(node))
    axis = int(_argument(node, 1, 0)) % len(c.value(node).shape) - (len(c.value(node).shape) - len(shape))
    return Concat(
        c.name(node, kind), before=shape[:axis], parts=[item[axis] for item in shapes], rest=shape[axis + 1 :],
        **c.types(node),
    )  # fmt: skip


def _embedding(c: Converter, node: Any, kind: str) -> Layer | None:
    rows, dim = map(int, c.value(node.args[0]).shape)
    types = {"input": c.spec(node.args[1]), "weight": c.spec(node.args[0]), "output": c.spec(node)}
    return Embedding(c.name(node, kind), rows=rows, dim=dim, tokens=math.prod(c.shape(node)) // dim, **types)


MAKERS: dict[str, Maker] = {
    "linear": _linear,
    **dict.fromkeys(("conv1d", "conv2d", "convolution", "conv3d"), _convolution),
    **dict.fromkeys(PRODUCTS, _product),
    "scaled_dot_product_attention": _attention,
    **dict.fromkeys(UNARY, _unary),
    **dict.fromkeys(BINARY, _binary),
    **dict.fromkeys(NORMS, _norm),
    **dict.fromkeys(("softmax", "_softmax", "log_softmax", "_log_softmax"), _softmax),
    **dict.fromkeys(("max_pool2d", "avg_pool2d", "max_pool1d", "avg_pool1d", "max_pool2d_with_indices"), _pool),
    **dict.fromkeys(
        ("adaptive_avg_pool2d", "_adaptive_avg_pool2d", "adaptive_avg_pool1d", "adaptive_max_pool2d"), _adaptive
    ),
    **dict.fromkeys(REDUCED, _reduced),
    **dict.fromkeys(MOVES, _move),
    **dict.fromkeys(("cat", "concat", "stack"), _concat),
    "embedding": _embedding,
}
