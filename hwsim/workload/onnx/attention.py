"""Attention of ONNX and of onnxruntime in every form: packed or apart, with a cache, with grouped queries."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from hwsim.workload.builder import UnmodeledError
from hwsim.workload.layer import Shape
from hwsim.workload.layers import Attention, Concat, DataMovement, Elementwise, Gemm, Softmax
from hwsim.workload.onnx.canonical import Op
from hwsim.workload.onnx.converter import Converter
from hwsim.workload.onnx.einsum import Term, contract
from hwsim.workload.onnx.own_rules import shares, valid_positions

__all__ = ["attention", "group_query", "masked_multi_head", "multi_head", "own_attention", "rotary"]


@dataclass(frozen=True)
class _Heads:
    """Query, key and value of an attention: names of tensors, and sizes; a batch counts as more heads."""

    names: tuple[str, str, str]
    batch: int
    heads: int
    shared: int
    queries: int
    keys: int
    dim: int
    value_dim: int

    @property
    def rows(self) -> tuple[Shape, Shape, Shape]:
        """The shapes of query, new keys and new values, a row for each position."""
        queries, keys = self.batch * self.heads * self.dim, self.batch * self.shared * self.dim
        return (self.queries, queries), (self.keys, keys), (self.keys, self.batch * self.shared * self.value_dim)


def attention(c: Converter, op: Op, name: str) -> None:
    """Attention of ONNX 23 and later."""
    heads = int(op.options.get("q_num_heads", 0))
    parts = _apart(c, op, heads, int(op.options.get("kv_num_heads", 0)) or heads)
    left = int(op.options.get("left_window_size", -1))
    causal = bool(op.options.get("is_causal"))
    _attend(c, op, name, parts, (4, 5), causal, left + 1 if left >= 0 else 0)


def multi_head(c: Converter, op: Op, name: str) -> None:
    """onnxruntime's MultiHeadAttention: query, key and value apart, or two or three of them packed."""
    heads = int(op.options.get("num_heads", 0))
    packed = [len(c.tensors[op.input(place)].shape or ()) == 5 if op.input(place) else False for place in (0, 1)]
    if packed[0]:
        parts = _packed(c, op, name, op.input(0), 3)
    elif packed[1]:
        query = c.input_tensor(op, 0).shape or ()
        parts = _packed(c, op, name, op.input(1), 2)
        parts = replace(parts, names=(op.input(0), *parts.names[1:]), queries=query[1])
    else:
        parts = _apart(c, op, heads, heads)
    if op.input(3) in c.constants:
        parts = _biased(c, op, name, parts)
    _attend(c, op, name, parts, (6, 7), bool(op.options.get("unidirectional")), 0)


def masked_multi_head(c: Converter, op: Op, name: str) -> None:
    """onnxruntime's DecoderMaskedMultiHeadAttention: one new position, and a cache."""
    heads = int(op.options.get("num_heads", 0))
    _attend(c, op, name, _apart(c, op, heads, heads), (5, 6), False, 0)


def group_query(c: Converter, op: Op, name: str) -> None:
    """onnxruntime's GroupQueryAttention: causal, with a cache, and with rotary embeddings where it is told so."""
    heads, shared = int(op.options.get("num_heads", 0)), int(op.options.get("kv_num_heads", 0))
    if min(heads, shared) < 1:
        raise UnmodeledError(f"{heads} heads of queries share {shared} of keys")
    if op.input(1):
        parts = _apart(c, op, heads, shared)
    else:
        shape = c.input_tensor(op, 0).shape or ()
        if len(shape) != 3 or shape[2] % (heads + 2 * shared):
            raise UnmodeledError(f"it reads {shape}")
        dim = shape[2] // (heads + 2 * shared)
        parts = _Heads(("", "", ""), shape[0], heads, shared, shape[1], shape[1], dim, dim)
        parts = _cut(c, op, name, op.input(0), parts, (0, 1, 2))
    if op.options.get("do_rotary"):
        query, key = (_turn(c, op, f"{name}_rope_{word}", parts, place) for place, word in enumerate(("query", "key")))
        parts = replace(parts, names=(query, key, parts.names[2]))
    window = int(op.options.get("local_window_size", -1))
    _attend(c, op, name, parts, (3, 4), True, max(window, 0))


def own_attention(c: Converter, op: Op, name: str) -> None:
    """onnxruntime's Attention and QAttention: the QKV projection and the attention."""
    weights, heads = c.constant(op, 1), int(op.options.get("num_heads", 0))
    source = c.input_tensor(op, 0)
    shape = source.shape or ()
    if weights is None or len(weights.shape) != 2 or len(shape) != 3 or heads < 1:
        raise UnmodeledError("its weights are computed")
    features, total = weights.shape
    sizes = op.options.get("qkv_hidden_sizes") or (total // 3,) * 3
    if (
        len(sizes) != 3
        or sum(sizes) != total
        or sizes[0] != sizes[1]
        or any(size % heads or size < 1 for size in sizes)
    ):
        raise UnmodeledError(f"its projections are {sizes}, in {heads} heads")
    gemm = Gemm(
        f"{name}_qkv", m=shape[0] * shape[1], n=total, k=features, bias=bool(op.input(2)), **c.types(op, weights)
    )
    rows = c.between(op, "qkv", gemm.output.shape)
    c.row(gemm, [source.name], rows)
    parts = _Heads(("", "", ""), shape[0], heads, heads, shape[1], shape[1], sizes[0] // heads, sizes[2] // heads)
    parts = _cut(c, op, name, rows, parts, (0, 1, 2))
    _attend(c, op, name, parts, (4, 4), bool(op.options.get("unidirectional")), 0)


def rotary(c: Converter, op: Op, name: str) -> None:
    """A rotary embedding: each value times a cosine, and its neighbor times a sine."""
    out = c.output(op)
    c.row(_rotation(name, c.shape(out), c.spec(out).name), [op.inputs[0]], out.name)


def _rotation(name: str, shape: Shape, dtype: str) -> Elementwise:
    return Elementwise(name, shape=shape, type="mul", n=1, input=dtype, output=dtype)


def _turn(c: Converter, op: Op, name: str, parts: _Heads, place: int) -> str:
    """The rotary embedding of queries or keys within an attention; returns the name of its tensor."""
    dtype = c.tensors[parts.names[place]].dtype
    target = c.between(op, name, parts.rows[place], dtype)
    c.row(_rotation(c.unique(name), parts.rows[place], c.spec(c.tensors[target]).name), [parts.names[place]], target)
    return target


def _apart(c: Converter, op: Op, heads: int, shared: int) -> _Heads:
    """Query, key and value as tensors of their own."""
    query, key, value = (op.input(place) for place in range(3))
    if any(item not in c.producers and item not in c.constants for item in (query, key, value)):
        raise UnmodeledError("its query, key or value is packed with another")
    shapes = [c.tensors[item].shape or () for item in (query, key, value)]
    ranks = [len(shape) for shape in shapes]
    if ranks[0] == 4:
        heads = shapes[0][1]
    if ranks[1] == 4:
        shared = shapes[1][1]
    if any(rank not in (3, 4) for rank in ranks) or min(heads, shared) < 1 or heads % shared:
        raise UnmodeledError(f"it reads {shapes} as {heads} heads of queries and {shared} of keys")
    batch, queries, keys = shapes[0][0], shapes[0][-2], shapes[1][-2]
    dim, own, value_dim = (
        shape[-1] if len(shape) == 4 else shape[-1] // count for shape, count in zip(shapes, (heads, shared, shared))
    )
    if dim != own:
        raise UnmodeledError(f"its queries have {dim} values in a head, and its keys {own}")
    return _Heads((query, key, value), batch, heads, shared, queries, keys, dim, value_dim)


def _packed(c: Converter, op: Op, name: str, source: str, count: int) -> _Heads:
    """Two or three of query, key and value in one tensor of batch x positions x heads x count x values."""
    shape = c.tensors[source].shape or ()
    if len(shape) != 5 or shape[3] != count:
        raise UnmodeledError(f"it reads {shape}")
    batch, positions, heads, _, dim = shape
    parts = _Heads(("", "", ""), batch, heads, heads, positions, positions, dim, dim)
    return _cut(c, op, name, source, parts, (0, 1, 2)[3 - count :])


def _cut(c: Converter, op: Op, name: str, source: str, parts: _Heads, places: tuple[int, ...]) -> _Heads:
    """Slices of a packed tensor."""
    tensor, names = c.tensors[source], ["", "", ""]
    spec = c.spec(tensor)
    for place in places:
        word, rows = ("query", "key", "value")[place], parts.rows[place]
        names[place] = c.between(op, word, rows, tensor.dtype)
        label = c.unique(f"{name}_{word}")
        cut = DataMovement(label, type="slice", shape=c.shape(tensor), to=rows, input=spec, output=spec)
        c.row(cut, [source], names[place])
    return replace(parts, names=(names[0], names[1], names[2]))


def _biased(c: Converter, op: Op, name: str, parts: _Heads) -> _Heads:
    """Query, key and value with the stored biases of their projections."""
    names = []
    for word, source, rows in zip(("query", "key", "value"), parts.names, parts.rows):
        if source in c.constants:
            names.append(source)
            continue
        spec, key = c.spec(c.tensors[source]), f"{word} bias"
        names.append(c.between(op, key, rows, c.tensors[source].dtype))
        addition = Elementwise(c.unique(f"{name}_{word}_bias"), shape=rows, n=1, input=spec, output=spec)
        c.row(addition, [source], names[-1])
    return replace(parts, names=(names[0], names[1], names[2]))


def _attend(c: Converter, op: Op, name: str, parts: _Heads, past: tuple[int, int], causal: bool, window: int) -> None:
    """The attention, and what its cache becomes."""
    if any(item in c.constants for item in parts.names):
        _products(c, op, name, parts, any(op.input(place) for place in past))
        if causal:
            queries, keys = parts.queries, parts.keys
            mask = Attention("mask", queries=queries, context=keys, heads=1, dim=1, causal=True, start=0, window=window)
            template = "{operator}: its query, keys or values are stored: all {pairs:,} pairs of positions count, "
            template += "of which its mask leaves {seen:,}"
            c.warn("stored_mask", template, operator=str(op), pairs=queries * keys, seen=mask.attended)
        return
    context, cached, start = _positions(c, op, parts, past)
    query, key, out = c.tensors[parts.names[0]], c.tensors[parts.names[1]], c.output(op)
    layer = Attention(
        name, queries=parts.queries, context=context, heads=parts.batch * parts.heads,
        kv_heads=parts.batch * parts.shared, dim=parts.dim, value_dim=parts.value_dim, causal=causal,
        window=window if causal else 0, cached=cached, start=start if causal else None,
        input=c.spec(query), weight=c.spec(key), output=c.spec(out),
    )  # fmt: skip
    c.check_output(op, layer)
    c.row(layer, parts.names[: len(layer.operands)], out.name)
    for place in (1, 2):
        tensor = op.outputs[place] if place < len(op.outputs) else ""
        if tensor and tensor in c.used and tensor not in c.constants:
            width = parts.dim if place == 1 else parts.value_dim
            _append(c, op, f"{name}_{('key', 'value')[place - 1]}_cache", parts, place, past, cached, width)


def _positions(c: Converter, op: Op, parts: _Heads, past: tuple[int, int]) -> tuple[int, int, int]:
    """Positions of keys, those of them that are cached, and the position of the first query."""
    shape = c.tensors[op.input(past[0])].shape or () if op.input(past[0]) else ()
    room = shape[-2] if len(shape) in (4, 5) else 0
    valid = valid_positions(
        op, parts.keys, lambda name: c.constants[name].values(1024) if name in c.constants else None
    )
    if valid is not None and op.code == "Attention":  # the keys are those of a cache, new ones with them
        context = min(valid, parts.keys)
        return context, context, max(context - parts.queries, 0)
    context = room if room and shares(op) else room + parts.keys
    if valid is not None:
        context = max(min(valid, context), parts.keys)
    return context, context - parts.keys, context - parts.keys


def _products(c: Converter, op: Op, name: str, parts: _Heads, cached: bool) -> None:
    """The attention of a stored query, or to stored keys or values: two products and a softmax."""
    if cached or all(item in c.constants for item in parts.names[:2]):
        raise UnmodeledError("its query and keys are stored, or it has a cache too")
    share = parts.heads // parts.shared
    sizes = {
        "b": parts.batch, "g": parts.shared, "h": share, "q": parts.queries, "k": parts.keys, "d": parts.dim,
        "v": parts.value_dim,
    }  # fmt: skip
    query, key, value = (
        Term(item, tuple(label for label in labels if sizes[label] > 1))
        for item, labels in zip(parts.names, ("bghqd", "bgkd", "bgkv"))
    )
    first, second = (key, query) if query.name in c.constants else (query, key)
    scores = contract(c, op, c.unique(f"{name}_scores"), first, second, set("bghqk"), sizes)
    spec, shape = c.spec(c.tensors[scores.name]), tuple(sizes[label] for label in scores.labels) or (1,)
    axis = scores.labels.index("k") - len(shape) if "k" in scores.labels else -1
    weights = c.between(op, "weights", shape)
    c.row(Softmax(c.unique(f"{name}_softmax"), shape=shape, axis=axis, input=spec, output=spec), [scores.name], weights)
    result = contract(c, op, name, Term(weights, scores.labels), value, set("bghqv"), sizes)
    c.producers[c.output(op).name] = c.producers[result.name]


def _append(
    c: Converter, op: Op, name: str, parts: _Heads, place: int, past: tuple[int, int], cached: int, width: int
) -> None:
    """The keys or values of a cache with the new ones behind them."""
    tensor, new, old = c.tensors[op.outputs[place]], parts.names[place], op.input(past[place - 1])
    if tensor.elements == c.tensors[new].elements:
        c.producers[tensor.name] = c.producers[new]
        return
    if old in c.producers and tensor.elements == c.tensors[old].elements:  # the buffer, written in place
        c.producers[tensor.name] = c.producers[old]
        return
    spec, rows = c.spec(tensor), parts.batch * parts.shared
    whole = Concat(
        c.unique(name), before=(rows,), parts=(cached, parts.keys), rest=(width,), input=spec, output=spec
    ) if cached else None  # fmt: skip
    if whole is None or math.prod(whole.output.shape) != tensor.elements or old not in c.producers:
        shape, to = parts.rows[place], c.shape(tensor)
        c.row(DataMovement(c.unique(name), type="pad", shape=shape, to=to, input=spec, output=spec), [new], tensor.name)
        return
    c.row(whole, [old, new], tensor.name)
