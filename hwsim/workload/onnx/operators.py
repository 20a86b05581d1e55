"""The kind of layer that stands for each operator of ONNX, and its sizes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from hwsim.errors import InputError
from hwsim.workload.builder import UnmodelledError
from hwsim.workload.conv import Conv2d, Pool2d
from hwsim.workload.dead import dead_counts
from hwsim.workload.layer import Layer, Shape
from hwsim.workload.matmul import BatchedMatmul, Embedding, Gemm
from hwsim.workload.onnx.canonical import MS, Op
from hwsim.workload.onnx.composed import attention, multi_head, own_attention, recurrent, skip_norm
from hwsim.workload.onnx.lowering import FREE, UNARY, activation, channels
from hwsim.workload.pointwise import Activation, Concat, DataMovement, Elementwise, Normalisation, Softmax

if TYPE_CHECKING:
    from hwsim.workload.onnx.converter import Converter

__all__ = ["MAKERS", "Maker", "Values"]

Values: TypeAlias = dict[str, Any]
#: Makes the layer that reads all operands of an operator, or adds several rows itself and gives None.
Maker: TypeAlias = "Callable[[Converter, Op, str], Layer | None]"

_ELEMENTWISE = {
    "Add": "add", "Sum": "add", "Sub": "sub", "Mul": "mul", "Div": "div", "Max": "max", "Min": "min", "Mean": "add",
    "Pow": "pow", "Mod": "mod", "Equal": "compare", "Less": "compare", "LessOrEqual": "compare", "Greater": "compare",
    "GreaterOrEqual": "compare", "And": "logic", "Or": "logic", "Xor": "logic", "BitwiseAnd": "logic",
    "BitwiseOr": "logic", "BitwiseXor": "logic", "BitShift": "logic", "Where": "select",
}  # fmt: skip
_MOVES = {
    **dict.fromkeys(FREE, "reshape"),
    "Transpose": "transpose", "DepthToSpace": "transpose", "SpaceToDepth": "transpose",
    "Slice": "slice", "Split": "slice", "Gather": "slice", "GatherElements": "slice", "GatherND": "slice", "Pad": "pad",
    "Resize": "resize", "Upsample": "resize", "Expand": "resize", "Tile": "resize", "Cast": "copy", "CastLike": "copy",
    "QuantizeLinear": "copy", "DequantizeLinear": "copy", "DynamicQuantizeLinear": "copy", "Trilu": "copy",
    "CenterCropPad": "resize",
}  # fmt: skip
_NORMS = {
    "BatchNormalization": "batch", "InstanceNormalization": "instance", "GroupNormalization": "group",
    "LayerNormalization": "layer", "RMSNormalization": "rms", "LRN": "lrn",
}  # fmt: skip
_REDUCED = {
    "ReduceMean": "avg", "ReduceSum": "avg", "ReduceSumSquare": "avg", "ReduceL1": "avg", "ReduceL2": "avg",
    "ReduceProd": "avg", "ReduceMax": "max", "ReduceMin": "max", "ArgMax": "max", "ArgMin": "max",
}  # fmt: skip


def _pair(op: Op, key: str, rank: int, default: int = 1) -> tuple[int, int]:
    """Two numbers of an attribute; of a sequence, with one for its rows."""
    given = op.options.get(key)
    if given is None or given == ():
        return (1 if rank == 1 else default), default
    if not isinstance(given, tuple) or len(given) != rank:
        raise InputError(f"{key} must be {rank} numbers, not {given!r:.60}")
    return (1, int(given[0])) if rank == 1 else (int(given[0]), int(given[1]))


def _window(op: Op, image: Values, r: int, s: int, rank: int) -> Values:
    """Stride, dilation and padding over an image."""
    strides, dilations = _pair(op, "strides", rank), _pair(op, "dilations", rank)
    auto = str(op.options.get("auto_pad", "NOTSET"))
    pads: tuple[int, ...] = (0, 0, 0, 0)
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        found = []
        for size, window, stride, dilation in zip((image["h"], image["w"]), (r, s), strides, dilations):
            total = max((-(-size // max(stride, 1)) - 1) * stride + (window - 1) * dilation + 1 - size, 0)
            found.append((total // 2, -(-total // 2)) if auto == "SAME_UPPER" else (-(-total // 2), total // 2))
        pads = found[0][0], found[1][0], found[0][1], found[1][1]
    elif auto == "NOTSET":
        given = op.options.get("pads") or (0,) * 2 * rank
        if not isinstance(given, tuple) or len(given) != 2 * rank:
            raise InputError(f"pads must be {2 * rank} numbers, not {given!r:.60}")
        pads = (0, given[0], 0, given[1]) if rank == 1 else given
    elif auto != "VALID":
        raise InputError(f"auto_pad must be NOTSET, SAME_UPPER, SAME_LOWER or VALID, not {auto!r:.40}")
    return {"stride": strides, "dilation": dilations, "pad": pads}


def _biased(c: Converter, op: Op, count: int, place: int = 2) -> bool:
    """Whether a layer has a bias: of its own, or of what was taken into it."""
    names = [op.input(place), str(op.options.get("bias") or "")]
    for name in filter(None, names):
        bias = c.constants.get(name)
        if bias is None:
            raise UnmodelledError("its bias is computed")
        if bias.elements not in (1, count):
            raise InputError(f"bias must have a value for each of {count} outputs, not {bias.elements}")
    return any(names) or bool(op.bias) or op.norm is not None


def _weights(c: Converter, op: Op, ranks: tuple[int, ...]) -> Shape:
    """The shape of the weights of a convolution."""
    weights = c.constant(op, 1)
    if weights is None or op.input(0) in c.constants:
        raise UnmodelledError("its weights are computed")
    if len(weights.shape) not in ranks:
        raise UnmodelledError(f"its window has {len(weights.shape) - 2} axes")
    if not weights.elements:
        raise InputError(f"weights must have sizes above 0, not {weights.shape}")
    return weights.shape


def _conv(c: Converter, op: Op, name: str) -> Layer:
    shape = _weights(c, op, (3, 4))
    image, rank = c.image(c.given(op, 0)), len(shape) - 2
    if len(c.given(op, 0).shape or ()) != len(shape):
        raise InputError(f"weights must have as many axes as what they are used on, not {len(shape)}")
    k, per_group = shape[:2]
    r, s = (1, shape[2]) if rank == 1 else shape[2:]
    groups = int(op.options.get("group", 1))
    if groups < 1 or groups * per_group != image["c"] or k % groups:
        raise InputError(f"weights must be of a part of the {image['c']} input channels, not of {per_group} x {groups}")
    dead = dead_counts(c.dead_in(op, 1, image["c"]), c.dead_out(op, 1, k), image["c"], groups)
    given: Values = {"k": k, "r": r, "s": s, "groups": groups, "bias": _biased(c, op, k), "activation": op.activation}
    window = _window(op, image, r, s, rank)
    return c.checked(op, Conv2d(name, **image, **given, **window, **dead, **c.types(op, c.constant(op, 1))))


def _transposed(c: Converter, op: Op, name: str) -> None:
    """A transposed convolution: each value times all filters, and the sum of those that meet in one place."""
    shape = _weights(c, op, (3, 4))
    image, taps = c.image(c.given(op, 0)), math.prod(shape[2:])
    channels_in, per_group = shape[:2]
    groups = int(op.options.get("group", 1))
    if channels_in != image["c"] or groups < 1 or channels_in % groups:
        raise InputError(f"weights must be of the {image['c']} input channels in {groups} groups, not of {channels_in}")
    columns = per_group * groups * taps
    types, out = c.types(op, c.constant(op, 1)), c.output(op)
    bias = _biased(c, op, per_group * groups)
    layer = Conv2d(name, **image, k=columns, groups=groups, bias=False, **types)
    between = c.between(op, "columns", layer.output.shape)
    c.row(layer, [c.operands(op)[0].name], between)
    to, spec = c.shape(out), c.spec(out)
    fold = DataMovement(
        c.unique(f"{name}_fold"), type="resize", shape=layer.output.shape, to=to, input=spec, output=spec
    )
    if not bias and op.activation == "none":
        c.row(fold, [between], out.name)
        return
    folded = c.between(op, "folded", to)
    c.row(fold, [between], folded)
    added = Elementwise(c.unique(f"{name}_bias"), shape=to, n=1, activation=op.activation, input=spec, output=spec)
    c.row(added, [folded], out.name)


def _gemm(c: Converter, op: Op, name: str) -> Layer | None:
    left, right = (c.given(op, place).shape or () for place in (0, 1))
    if len(left) != 2 or len(right) != 2:
        raise InputError(f"must multiply two matrices, not {left} by {right}")
    m, k = reversed(left) if op.options.get("transA") else left
    added = c.tensors.get(op.input(2))
    if added is not None and (
        op.input(2) not in c.constants or added.elements not in (1, channels(op, c.output(op).shape or ()))
    ):
        _summed(c, op, name)
        return None
    if op.input(1) not in c.constants or op.input(0) in c.constants:
        return _product(c, op, name)
    k_, n = reversed(right) if op.options.get("transB") else right
    if k != k_:
        raise InputError(f"weights must have {k} inputs, not {k_}")
    return _dense(c, op, name, m, k, n)


def _summed(c: Converter, op: Op, name: str) -> None:
    """A Gemm that adds more than a bias: a product, and a sum of its own."""
    product, out = replace(op, inputs=op.inputs[:2], activation="none"), c.output(op)
    layer = _gemm(c, product, name)
    if layer is None:
        raise UnmodelledError("it adds a tensor to a product of another form")
    between = c.between(op, "product", layer.output.shape)
    c.row(layer, [item.name for item in c.operands(product)], between)
    reads = [between, *(item for item in op.inputs[2:3] if item not in c.constants)]
    given: Values = {"n": len(reads), "activation": op.activation, "input": c.spec(out), "output": c.spec(out)}
    c.row(Elementwise(c.unique(f"{name}_add"), shape=c.shape(out), **given), reads, out.name)


def _dense(c: Converter, op: Op, name: str, m: int, k: int, n: int) -> Layer:
    """A product with stored weights, by the sizes with the batch."""
    rows = m // c.batch if m % c.batch == 0 else m
    source = c.shape(c.given(op, 0))
    given: Values = {"m": rows, "n": n, "k": k, "bias": _biased(c, op, n), "activation": op.activation}
    producer = c.shapes.get(c.producers[c.operands(op)[0].name], source)
    if rows == 1 and len(producer) == 3 and math.prod(producer) == k:
        given["window"] = producer[1:]
    if not op.options.get("transA"):
        given |= dead_counts(c.dead_in(op, -1, k), c.dead_out(op, -1, n), k, 1)
    return c.checked(op, Gemm(name, **given, **c.types(op, c.constant(op, 1))))


def _product(c: Converter, op: Op, name: str) -> Layer | None:
    """MatMul, and a Gemm of two activations."""
    shapes = [c.given(op, place).shape or () for place in (0, 1)]
    turns = [op.options.get(key) for key in ("transA", "transB")]
    if not all(shapes):
        raise InputError("must multiply tensors with an axis")
    left, right = (
        (*shape[:-2], shape[-1], shape[-2]) if turn and len(shape) > 1 else shape for shape, turn in zip(shapes, turns)
    )
    left = (1, *left) if len(left) == 1 else left
    right = (*right, 1) if len(right) == 1 else right
    m, k, n = left[-2], left[-1], right[-1]
    if right[-2] != k:
        raise InputError(f"the second factor must have {k} rows, not {right[-2]}")
    fixed = [op.input(place) in c.constants for place in (0, 1)]
    if fixed[1] and math.prod(right[:-2]) == 1:
        return _dense(c, op, name, math.prod(left[:-1]), k, n)
    _biased(c, op, n)
    lead = _lead(left[:-2], right[:-2])
    if fixed[0] and math.prod(left[:-2]) == 1 and len(c.operands(op)) == 1:
        # The weights come first: the product of the other with their transpose has the same operations.
        count = math.prod(right[:-2])
        types = c.types(op, c.constant(op, 0))
        return c.checked(op, Gemm(name, m=max(count // c.batch, 1) * n, n=m, k=k, bias=bool(op.bias), **types))
    if any(fixed):
        if c.batch > 1:
            raise UnmodelledError("it multiplies by a stored matrix for each of the batch")
        weights, other = (left, right) if fixed[0] else (right, left)
        b = math.prod(weights[:-2])
        if b != math.prod(lead) or math.prod(other[:-2]) != b:
            raise UnmodelledError("it multiplies by several stored matrices, in turn")
        outs, rows = (m, n) if fixed[0] else (n, m)
        types = c.types(op, c.constant(op, 0 if fixed[0] else 1))
        given: Values = {"c": b * k, "k": b * outs, "groups": b, "bias": bool(op.bias), "activation": op.activation}
        return c.checked(op, Conv2d(name, **given, h=rows, w=1, **types))
    b = math.prod(lead)
    if b % c.batch == 0 and lead and lead[0] == c.batch:
        b //= c.batch
    if math.prod(right[:-2]) == 1 and b > 1:
        b, m = 1, b * m  # one matrix for all
    types = c.types(op) | {"weight": c.spec(c.given(op, 1))}
    layer = c.checked(op, BatchedMatmul(name, b=b, m=m, n=n, k=k, **types))
    if op.activation == "none" and not op.bias:
        return layer
    between = c.between(op, "product", layer.output.shape)
    c.row(layer, [tensor.name for tensor in c.operands(op)], between)
    shape, spec = layer.output.shape, c.spec(c.output(op))
    after = Elementwise(c.unique(f"{name}_after"), shape=shape, n=1, activation=op.activation, input=spec, output=spec)
    c.row(after, [between], c.output(op).name)
    return None


def _lead(left: Shape, right: Shape) -> Shape:
    """The axes before the matrices, each spread over the other's."""
    rank = max(len(left), len(right))
    pairs = list(zip((1,) * (rank - len(left)) + left, (1,) * (rank - len(right)) + right))
    if any(1 not in pair and pair[0] != pair[1] for pair in pairs):
        raise InputError(f"must multiply as many matrices as there are others, not {left} by {right}")
    return tuple(max(pair) for pair in pairs)


def _pool(c: Converter, op: Op, name: str) -> Layer:
    source = c.given(op, 0)
    rank = len(source.shape or ()) - 2
    if op.options.get("channels_last"):
        raise UnmodelledError("its channels come last")
    image, kind = c.image(source), "max" if "Max" in op.code else "avg"
    if op.code.startswith("Global"):
        return c.checked(op, Pool2d(name, **image, type=kind, **c.types(op)))
    r, s = _pair(op, "kernel_shape", rank, 0)
    if min(r, s) < 1:
        raise InputError(f"kernel_shape must be {rank} numbers above 0, not {op.options.get('kernel_shape')}")
    ceil = bool(op.options.get("ceil_mode", 0))
    window = _window(op, image, r, s, rank)
    return c.checked(op, Pool2d(name, **image, r=r, s=s, **window, type=kind, ceil=ceil, **c.types(op)))


def _reduce(c: Converter, op: Op, name: str) -> Layer:
    """A reduction along neighbouring axes is a pool over them."""
    source = c.given(op, 0)
    shape = source.shape or ()
    axes: list[int] | None = (
        [int(op.options.get("axis", 0))] if op.code.startswith("Arg") else c.integers(op, "axes", 1)
    )
    if not axes and op.options.get("noop_with_empty_axes"):
        raise UnmodelledError("it reduces along no axis")
    places = sorted({axis % max(len(shape), 1) for axis in axes or range(len(shape))})
    places = [place for place in places if place or shape[0] != c.batch]
    if not places or places != list(range(places[0], places[-1] + 1)):
        raise UnmodelledError(f"it reduces along axes {places}")
    before, inside, after = shape[: places[0]], shape[places[0] : places[-1] + 1], shape[places[-1] + 1 :]
    if before and before[0] == c.batch:
        before = before[1:]
    given: Values = {"type": _REDUCED[op.code], **c.types(op)}
    if len(shape) == 4 and places == [2, 3]:
        return c.checked(op, Pool2d(name, **c.image(source), **given))
    rows, columns = math.prod(inside), math.prod(after)
    sizes: Values = {"c": math.prod(before), "h": rows, "w": columns, "r": rows, "s": 1, "stride": (rows, 1)}
    if columns == 1:  # along the last axis: a row of values each
        sizes |= {"h": 1, "w": rows, "r": 1, "s": rows, "stride": (1, rows)}
    return c.checked(op, Pool2d(name, **sizes, **given))


def _elementwise(c: Converter, op: Op, name: str) -> Layer:
    given: Values = {"n": len(c.operands(op)), "activation": op.activation}
    return Elementwise(name, shape=c.shape(c.output(op)), type=_ELEMENTWISE[op.code], **given, **c.types(op))


def _activation(c: Converter, op: Op, name: str) -> Layer:
    shape = c.shape(c.output(op))
    return c.checked(op, Activation(name, shape=shape, type=activation(op, c.constants), **c.types(op)))


def _softmax(c: Converter, op: Op, name: str) -> Layer:
    return c.checked(op, Softmax(name, shape=c.shape(c.output(op)), **c.types(op)))


def _norm(c: Converter, op: Op, name: str) -> Layer:
    scales = c.constant(op, 1)
    types = c.types(op) | ({} if scales is None else {"weight": c.stored(scales)})
    return c.checked(op, Normalisation(name, shape=c.shape(c.output(op)), type=_NORMS[op.code], **types))


def _move(c: Converter, op: Op, name: str) -> Layer | None:
    source, out = c.operands(op)[0], c.output(op)
    shape, to, kind = c.shape(source), c.shape(out), _MOVES[op.code]
    same = source.elements == out.elements and source.dtype == out.dtype
    if same and kind in ("slice", "pad", "resize", "copy") and len([item for item in op.outputs if item]) == 1:
        c.producers[out.name] = c.producers[source.name]  # nothing is cut off, added or changed
        return None
    if same and kind == "transpose" and "perm" in op.options and _stays(source.shape or (), op.options["perm"]):
        c.producers[out.name] = c.producers[source.name]
        return None
    if kind in ("reshape", "transpose", "copy") and source.elements != out.elements:
        raise InputError(f"must keep the number of values, not change {source.shape} to {out.shape}")
    return DataMovement(name, shape=shape, to=to, type=kind, **c.types(op))


def _stays(shape: Shape, order: tuple[int, ...]) -> bool:
    """Whether a transposition moves axes of size 1 alone."""
    kept = [axis for axis in order if axis < len(shape) and shape[axis] != 1]
    return kept == sorted(kept)


def _gather(c: Converter, op: Op, name: str) -> Layer | None:
    table, axis = c.constant(op, 0), int(op.options.get("axis", 0))
    if table is None:
        return _move(c, op, name)
    if len(table.shape) != 2 or axis % 2 or len(c.operands(op)) != 1:
        raise UnmodelledError("it is no look-up of the rows of a stored matrix")
    tokens = math.prod(c.shape(c.operands(op)[0]))
    rows, dim = table.shape
    return c.checked(op, Embedding(name, rows=rows, dim=dim, tokens=tokens, **c.types(op, table)))


def _concat(c: Converter, op: Op, name: str) -> Layer:
    operands, out = c.operands(op), c.output(op)
    shape, rank = c.shape(out), len(out.shape or ())
    if len(operands) == 1:
        # What is joined beside it is constant, and there when the network starts.
        return DataMovement(name, shape=c.shape(operands[0]), to=shape, type="pad", **c.types(op))
    if len(operands) < len(op.inputs):
        raise UnmodelledError("it joins several tensors and constants")
    axis = int(op.options.get("axis", 0)) % max(rank, 1)
    at = axis - (rank - len(shape))
    if (out.shape or ())[0] == c.batch and rank == 2:
        at = axis  # features keep an axis of one in the place of the batch
    if at < 0 or any(len(tensor.shape or ()) != rank for tensor in operands):
        raise UnmodelledError(f"it joins along axis {axis}")
    parts = tuple(c.shape(tensor)[at] for tensor in operands)
    return c.checked(op, Concat(name, before=shape[:at], parts=parts, rest=shape[at + 1 :], **c.types(op)))


def _nbits(c: Converter, op: Op, name: str) -> Layer:
    """A product with weights of a few bits, packed in blocks."""
    k, n, bits = (int(op.options.get(key, default)) for key, default in (("K", 0), ("N", 0), ("bits", 4)))
    known = {2: "ternary", 4: "int4", 8: "int8"}
    values = c.given(op, 0).elements // c.batch
    if bits not in known or k < 1 or n < 1 or values % k:
        raise UnmodelledError(f"it has weights of {bits} bits, {k} x {n}")
    return c.checked(op, Gemm(name, m=values // k, n=n, k=k, bias=bool(op.input(5)), **c.types(op), weight=known[bits]))


def _each(names: dict[str, Any] | tuple[str, ...], make: Maker, kind: str = "computed") -> dict[str, tuple[str, Maker]]:
    return dict.fromkeys(names, (kind, make))


#: By the operator's plain name: what becomes of it (``computed`` or ``moved``), and how.
MAKERS: dict[str, tuple[str, Maker]] = {
    "Conv": ("computed", _conv),
    "ConvTranspose": ("computed", _transposed),
    "Gemm": ("computed", _gemm),
    "MatMul": ("computed", _product),
    f"{MS}FusedMatMul": ("computed", _product),
    f"{MS}MatMulNBits": ("computed", _nbits),
    **_each(("MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool"), _pool),
    **_each(_REDUCED, _reduce),
    **_each(_ELEMENTWISE, _elementwise),
    **_each(UNARY, _activation),
    f"{MS}QuickGelu": ("computed", _activation),
    **_each(("Softmax", "LogSoftmax"), _softmax),
    **_each(_NORMS, _norm),
    f"{MS}SkipLayerNormalization": ("computed", skip_norm),
    f"{MS}SkipSimplifiedLayerNormalization": ("computed", skip_norm),
    **_each(("LSTM", "GRU"), recurrent),
    "Attention": ("computed", attention),
    f"{MS}MultiHeadAttention": ("computed", multi_head),
    f"{MS}Attention": ("computed", own_attention),
    **_each(_MOVES, _move, "moved"),
    "Gather": ("moved", _gather),
    "Concat": ("moved", _concat),
}
