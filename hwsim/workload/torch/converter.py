"""Operators of an exported program as layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from hwsim.errors import InputError
from hwsim.workload.builder import Builder, UnmodeledError, lead_axes
from hwsim.workload.layer import ACTIVATIONS, Layer, Shape
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
from hwsim.workload.network import Workload
from hwsim.workload.tensor import TensorSpec
from hwsim.workload.torch.program import Batch

__all__ = ["Converter"]

_DTYPES = {
    "float32": "fp32", "float64": "fp32", "float16": "fp16", "bfloat16": "bf16", "int8": "int8", "uint8": "int8",
    "bool": "int8", "int16": "int16", "int32": "int32", "int64": "int64", "float8_e4m3fn": "fp8", "float8_e5m2": "fp8",
}  # fmt: skip
#: Values stay where they are.
_VIEWS = {
    "view", "reshape", "flatten", "unsqueeze", "squeeze", "contiguous", "alias", "detach", "clone", "to", "type_as",
    "_to_copy", "dropout", "feature_dropout", "lift_fresh_copy", "lift_fresh", "view_as", "unflatten", "_unsafe_view",
    "expand", "expand_as", "_assert_tensor_metadata", "squeeze_", "unsqueeze_", "ravel", "resolve_conj", "dropout_",
}  # fmt: skip
_MOVES = {
    **dict.fromkeys(
        ("permute", "transpose", "t", "numpy_T", "movedim", "swapaxes", "mT", "pixel_shuffle"), "transpose"
    ),
    **dict.fromkeys(("slice", "select", "narrow", "index", "index_select", "gather", "getitem"), "slice"),
    **dict.fromkeys(("pad", "constant_pad_nd"), "pad"),
    **dict.fromkeys(
        ("upsample_nearest2d", "upsample_bilinear2d", "upsample_bicubic2d", "repeat", "repeat_interleave"), "resize"
    ),
    **dict.fromkeys(("roll", "flip", "copy", "tril", "triu", "masked_fill"), "copy"),
}
_UNARY = {
    **{name: name for name in ACTIVATIONS},
    "hardtanh": "clip", "clamp": "clip", "clamp_min": "relu", "rsqrt": "sqrt", "logical_not": "not",
    "bitwise_not": "not", "floor": "round", "ceil": "round",
}  # fmt: skip
_BINARY = {
    "add": "add", "sub": "sub", "rsub": "sub", "mul": "mul", "div": "div", "maximum": "max", "minimum": "min",
    "pow": "pow", "remainder": "mod", "fmod": "mod", "where": "select", "addcmul": "add",
    **dict.fromkeys(("eq", "ne", "lt", "le", "gt", "ge"), "compare"),
    **dict.fromkeys(("logical_and", "logical_or", "bitwise_and", "bitwise_or", "logical_xor", "__and__"), "logic"),
}  # fmt: skip
_NORMS = {
    "layer_norm": "layer", "native_layer_norm": "layer", "group_norm": "group", "instance_norm": "instance",
    "batch_norm": "batch", "_native_batch_norm_legit_no_training": "batch", "rms_norm": "rms", "_fused_rms_norm": "rms",
}  # fmt: skip
_SHORT = {"scaled_dot_product_attention": "attention", "getitem": "slice", "select": "slice"}
_SPLITS = ("split", "split_with_sizes", "chunk", "unbind", "tensor_split")
_PRODUCTS = ("matmul", "bmm", "mm", "addmm", "baddbmm", "dot", "mv")
_REDUCED = {
    "mean": "avg", "sum": "avg", "var": "avg", "amax": "max", "amin": "max", "max": "max", "argmax": "max",
    "any": "max",
}  # fmt: skip
_QUANTIZE = ("quantize_per_tensor", "quantize_per_channel", "quantize_per_token", "quantize_affine")
_DEQUANTIZE = ("dequantize_per_tensor", "dequantize_per_channel", "dequantize_per_token", "dequantize_affine")


class Converter:
    """Reads the nodes of a program in order.

    Attributes
    ----------
    builder : Builder
        Keyed by the names of the program's nodes.
    """

    def __init__(self, program: Any, batch: Batch) -> None:
        self.program, self.batch = program, batch
        specs = program.graph_signature.input_specs
        self.inputs = [spec.arg.name for spec in specs if spec.kind.name == "USER_INPUT" and hasattr(spec.arg, "name")]
        self.constants: set[str] = {spec.arg.name for spec in specs if spec.kind.name != "USER_INPUT"}
        self.builder: Builder[str] = Builder([])
        self.stored = {
            spec.arg.name: str(spec.target)
            for spec in specs
            if spec.kind.name in ("PARAMETER", "BUFFER") and spec.target
        }
        self.formats: dict[str, str] = {}  # of tensors that were quantized and are floats again
        self.norms: dict[str, str] = {}  # by the path of the module
        self.layers: dict[str, Layer] = {}
        self.shapes: list[Shape] = []

    def network(self, name: str) -> Workload:
        """The whole program."""
        for node in self.program.graph.nodes:
            if node.op == "placeholder" and node.name in self.inputs and hasattr(node.meta.get("val"), "shape"):
                self.builder.producers[node.name] = "input"
                self.shapes.append(self.shape(node))
            elif node.op == "call_function":
                self._read(node)
            elif node.op == "get_attr":
                self.constants.add(node.name)
        return self.builder.network(name, self.shapes, source="torch.export")

    # What nodes are.

    def shape(self, node: Any) -> Shape:
        """Without the batch; of several outputs, that of the first."""
        return self.batch.shape(self.value(node))

    @staticmethod
    def value(node: Any) -> Any:
        """The tensor that a node gives; of several, the first."""
        value = node.meta.get("val")
        return value[0] if isinstance(value, (list, tuple)) and value else value

    def format(self, node: Any) -> str:
        """The number format of a tensor."""
        if node.name in self.formats:
            return self.formats[node.name]
        return _DTYPES.get(str(self.value(node).dtype).removeprefix("torch."), "fp32")

    def spec(self, node: Any) -> TensorSpec:
        """The type of a tensor."""
        return TensorSpec(self.format(node))

    def reads(self, node: Any) -> list[Any]:
        """Operands that depend on the inputs, as often as they are read."""
        flat: list[Any] = []
        for arg in node.args:
            flat += arg if isinstance(arg, (list, tuple)) else [arg]
        return [arg for arg in flat if getattr(arg, "name", "") in self.builder.producers]

    def name(self, node: Any, kind: str) -> str:
        """The path of the weights where there are some, of a module that is one operator, or path and operator."""
        weights = [self.stored[arg.name] for arg in node.all_input_nodes if arg.name in self.stored]
        if weights and kind not in _BINARY:
            path, _, last = weights[0].rpartition(".")
            return self.unique(".".join(filter(None, (path, last.removesuffix("weight").rstrip("_")))) or kind)
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        path = str(stack[-1][0]).partition("@")[0] if stack else ""
        whole = path and "torch.nn." in str(stack[-1][1]) and (kind in _UNARY or "pool" in kind or "softmax" in kind)
        return self.unique(path if whole else f"{path}.{_SHORT.get(kind, kind)}".strip("."))

    # What nodes become.

    def _read(self, node: Any) -> None:
        if not hasattr(self.value(node), "shape"):
            return  # sizes
        kind = _kind(node)
        reads = self.reads(node)
        if kind in _DEQUANTIZE:
            self.formats[node.name] = self.format(node.args[0])  # it is multiplied as it was quantized
        if not reads:
            self.constants.add(node.name)  # computed from weights alone, once
            return
        if self._is_in_norm(node, reads):
            return
        # Conversions are a part of the layers around them.
        if kind not in (*_QUANTIZE, *_DEQUANTIZE, *_SPLITS) and not self._moves_nothing(node, kind):
            maker = _MAKERS.get(kind)
            try:
                if maker is None:
                    raise UnmodeledError(f"hwsim does not know aten.{kind}")
                layer = maker(self, node, kind)
            except (UnmodeledError, InputError, LookupError, TypeError, ValueError, AttributeError) as error:
                layer = self._opaque(node, kind, str(error))
            if layer is not None:
                self._put(node, layer, reads)
            return
        self.builder.producers[node.name] = self.builder.producers[reads[0].name]

    def _is_in_norm(self, node: Any, reads: Sequence[Any]) -> bool:
        """Whether a node is a part of a module that normalizes by the root mean square, all of which is one layer."""
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        if not stack or not str(stack[-1][1]).rstrip("'>").endswith("RMSNorm"):
            return False
        path = str(stack[-1][0])
        if path not in self.norms:
            shape, spec = self.shape(reads[0]), self.spec(reads[0])
            layer = Normalization(self.unique(path), type="rms", shape=shape, input=spec, output=spec)
            self.norms[path] = layer.name
            self._put(node, layer, reads)
        self.builder.producers[node.name] = self.norms[path]
        self.formats[node.name] = self.layers[self.norms[path]].output.dtype
        return True

    def _moves_nothing(self, node: Any, kind: str) -> bool:
        """Whether values stay where they are: views, the first of several outputs, axes of one value that move."""
        if kind in _VIEWS:
            return True
        if kind == "getitem":
            return node.args[1] == 0 and _kind(node.args[0]) not in _SPLITS
        before, after = self.shape(self.reads(node)[0]), self.shape(node)
        if _MOVES.get(kind) == "slice":
            return math.prod(before) == math.prod(after)
        if kind not in ("permute", "transpose", "t"):
            return False
        rank = len(self.value(node).shape)
        axes = list(range(rank))
        if kind == "permute":
            axes = [int(axis) % rank for axis in node.args[1]]
        elif rank > 1:
            one, other = (int(axis) % rank for axis in (node.args[1:3] if kind == "transpose" else (0, 1)))
            axes[one], axes[other] = other, one
        sizes = self.batch.sizes(self.value(node.args[0]))
        kept = [axis for axis in axes if sizes[axis] != 1]
        return kept == sorted(kept)

    def _put(self, node: Any, layer: Layer, reads: Sequence[Any]) -> None:
        """Add a layer, with what turns operands into the shape that it takes."""
        names = []
        for place, read in enumerate(reads[: len(layer.operands)]):
            source = self.builder.producers[read.name]
            before = self.layers[source].output.shape if source in self.layers else self._input_shape(read)
            if not layer.accepts(before, place) and math.prod(before) == math.prod(layer.operands[place]):
                view = self.unique(f"{layer.name}.view")
                move = DataMovement(
                    view, shape=before, to=layer.operands[place], input=self.spec(read), output=self.spec(read)
                )
                source = self._add(move, (source,), f"{node.name}:{place}")
            names.append(source)
        self._add(layer, names, node.name)

    def _add(self, layer: Layer, names: Sequence[str], key: str) -> str:
        self.layers[layer.name] = layer
        return self.builder.put(layer, names, key)

    def _input_shape(self, read: Any) -> Shape:
        """Of a view of an input of the network."""
        while read.name not in self.inputs and read.args:
            read = read.args[0]
        return self.shape(read)

    def _opaque(self, node: Any, kind: str, reason: str) -> Layer:
        self.builder.opaque_warning(self.name(node, kind), f"aten.{kind}", reason)
        constants = [arg for arg in node.all_input_nodes if arg.name in self.constants]
        sizes = [(math.prod(map(int, self.value(arg).shape)), self.spec(arg)) for arg in constants]
        operands = [(self.shape(arg), self.spec(arg)) for arg in self.reads(node)]
        return Builder.opaque(self.name(node, kind), kind, operands, (self.shape(node), self.spec(node)), sizes)

    # Helpers of the makers.

    def unique(self, base: str) -> str:
        """A name that no layer has."""
        name, number = base, 1
        while name in self.layers or name == "input":
            name, number = f"{base}_{number}", number + 1
        return name

    def is_constant(self, arg: Any) -> bool:
        """Whether an argument is a stored tensor."""
        return getattr(arg, "name", None) in self.constants

    def types(self, node: Any, weight: Any = None) -> dict[str, Any]:
        """Types of what a node reads, of its weights and of what it writes."""
        types = {"input": self.spec(self.reads(node)[0]), "output": self.spec(node)}
        return types | ({} if weight is None else {"weight": self.spec(weight)})

    def before(self, node: Any) -> Layer | None:
        """The layer whose output a node alone reads."""
        reads = self.reads(node)
        if len(reads) != 1 or len(reads[0].users) != 1:
            return None
        return self.layers.get(self.builder.producers[reads[0].name])

    def replace(self, node: Any, layer: Layer, **changes: Any) -> None:
        """Fold a node into the layer before it."""
        new = layer.with_(**changes)
        self.layers[layer.name] = new
        for place, item in enumerate(self.builder.nodes):
            if item.layer is layer:
                self.builder.nodes[place] = type(item)(new, item.inputs)
        self.builder.producers[node.name] = layer.name


def _kind(node: Any) -> str:
    """The operator's name: `relu` of ``aten::relu_``."""
    schema = getattr(node.target, "_schema", None)
    name = str(node.target.__name__ if schema is None else schema.name).rpartition("::")[2]
    return name if name.startswith("__") else name.rstrip("_")


Maker = Callable[[Converter, Any, str], Layer | None]


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
        if node.op == "call_function" and _kind(node) in ("le", "ge", "tril"):
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
    type, before = _UNARY[kind], c.before(node)
    if kind == "hardtanh" and node.args[1:] == (0.0, 6.0):
        type = "relu6"
    if before is not None and getattr(before, "activation", "") == "none" and before.op != "norm":
        c.replace(node, before, activation=type, output=c.spec(node))
        return None
    return Activation(c.name(node, kind), type=type, shape=c.shape(node), **c.types(node))


def _binary(c: Converter, node: Any, kind: str) -> Layer | None:
    shape = c.shape(node) or (1,)
    return Elementwise(c.name(node, kind), type=_BINARY[kind], shape=shape, n=len(c.reads(node)), **c.types(node))


def _norm(c: Converter, node: Any, kind: str) -> Layer | None:
    type, before = _NORMS[kind], c.before(node)
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
    return Pool2d(c.name(node, kind), c=outputs, h=size, w=1, type=_REDUCED[kind], **c.types(node))


def _move(c: Converter, node: Any, kind: str) -> Layer | None:
    before, after = c.shape(c.reads(node)[0]) or (1,), c.shape(node) or (1,)
    type = _MOVES[kind]
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


_MAKERS: dict[str, Maker] = {
    "linear": _linear,
    **dict.fromkeys(("conv1d", "conv2d", "convolution", "conv3d"), _convolution),
    **dict.fromkeys(_PRODUCTS, _product),
    "scaled_dot_product_attention": _attention,
    **dict.fromkeys(_UNARY, _unary),
    **dict.fromkeys(_BINARY, _binary),
    **dict.fromkeys(_NORMS, _norm),
    **dict.fromkeys(("softmax", "_softmax", "log_softmax", "_log_softmax"), _softmax),
    **dict.fromkeys(("max_pool2d", "avg_pool2d", "max_pool1d", "avg_pool1d", "max_pool2d_with_indices"), _pool),
    **dict.fromkeys(
        ("adaptive_avg_pool2d", "_adaptive_avg_pool2d", "adaptive_avg_pool1d", "adaptive_max_pool2d"), _adaptive
    ),
    **dict.fromkeys(_REDUCED, _reduced),
    **dict.fromkeys(_MOVES, _move),
    **dict.fromkeys(("cat", "concat", "stack"), _concat),
    "embedding": _embedding,
}
