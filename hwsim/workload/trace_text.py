"""Write a network as a trace file, in which each size that its producer gives is left out."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from hwsim.errors import InputError
from hwsim.workload.attention import Attention
from hwsim.workload.conv import Conv2d, Pool2d
from hwsim.workload.experts import ExpertGemm, Moe
from hwsim.workload.layer import Layer, Shape
from hwsim.workload.matmul import BatchedMatmul, Embedding, Gemm, Gru, Lstm
from hwsim.workload.network import INPUT, Workload
from hwsim.workload.pointwise import Activation, Concat, DataMovement, Elementwise, Normalization, Opaque, Softmax
from hwsim.workload.tensor import TensorSpec

__all__ = ["trace_text"]

Line = dict[str, Any]

_HEAD = "# yaml-language-server: $schema=../docs/schema/workload.json\n"
_TENSORS = ("input", "weight", "output")
#: Words that mean the same in YAML with and without quotes.
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*\Z")
_NAME = re.compile(r"[^\s,:/\\][^\n,:]{0,119}\Z")
_NOT_WORDS = {"true", "false", "null", "yes", "no", "on", "off"}


def trace_text(workload: Workload) -> str:
    """The text of a trace file that loads to an equal network, its shares of zeros and dead channels with it.

    Raises
    ------
    InputError
        Where the network has no form as a trace, such as names that a trace can't have.
    """
    for name in (workload.name, *(layer.name for layer in workload)):
        if not _NAME.match(name):
            raise InputError(
                f"names in a trace must have 1 to 120 characters, no comma, colon or slash, not {name!r:.130}"
            )
    dtypes = {
        tensor: Counter(getattr(layer, tensor).dtype for layer in workload if _has(layer, tensor))
        for tensor in _TENSORS
    }
    defaults = {tensor: (count.most_common(1)[0][0] if count else "int8") for tensor, count in dtypes.items()}
    head: Line = {"name": workload.name, "source": workload.source or workload.name}
    if workload.digest:
        head["digest"] = workload.digest
    if not workload.graph:
        head["graph"] = False
    elif workload.input_shape is not None:
        head["input"] = list(workload.input_shape)
    same = set(defaults.values())
    if same != {"int8"}:
        head["dtype"] = same.pop() if len(same) == 1 else defaults
    text = [_HEAD, *(f"{key}: {_shown(value)}\n" for key, value in head.items()), "layers:\n"]
    densities: dict[str, Line] = {}
    shapes: dict[str, Shape] = {INPUT: workload.input_shape or ()}
    before = INPUT
    for layer in workload:
        producers = workload.inputs[layer.name]
        line = _line(layer, [shapes[name] for name in producers])
        if workload.graph and producers != (before,):
            line["from"] = producers[0] if len(producers) == 1 else list(producers)
        for tensor in _TENSORS:
            spec = getattr(layer, tensor).spec
            default = "int32" if isinstance(layer, Embedding) and tensor == "input" else defaults[tensor]
            given = {"dtype": spec.dtype} if spec.dtype != default else {}
            if spec.format != "dense":
                given["format"] = spec.format
            if given:
                line[tensor] = given if len(given) > 1 else next(iter(given.values())) if "dtype" in given else given
            if (change := _density(spec)) is not None:
                densities.setdefault(layer.name, {})[tensor] = change
        text.append(f"  - {_shown(line)}\n")
        before, shapes[layer.name] = layer.name, layer.output.shape
    if densities:
        text.append("density:\n")
        text.extend(f"  {_shown(name)}: {_shown(given)}\n" for name, given in densities.items())
    return "".join(text)


def _has(layer: Layer, tensor: str) -> bool:
    """Whether a layer's tensor counts for the format that most have."""
    return tensor != "weight" or layer.weights > 0


def _density(spec: TensorSpec) -> Any:
    if spec == TensorSpec(spec.dtype, format=spec.format):
        return None
    if spec == TensorSpec(spec.dtype, spec.density, format=spec.format):
        return spec.density
    return {"density": spec.density, "pattern": spec.pattern}


def _shown(value: Any) -> str:
    """A value as YAML on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_shown(key)}: {_shown(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_shown, value)) + "]"
    if isinstance(value, str):
        plain = _PLAIN.match(value) and value.lower() not in _NOT_WORDS
        return value if plain else json.dumps(value, ensure_ascii=False)
    return json.dumps(value)


def _line(layer: Layer, shapes: list[Shape]) -> Line:
    """The line of a layer that reads tensors of these shapes (none in a plain trace)."""
    for kind, write in _WRITERS.items():
        if isinstance(layer, kind):
            return write(layer, shapes)
    raise InputError(f"a trace has no line for a {type(layer).__name__}", path=layer.name)


def _unless(default: Any, **given: Any) -> Line:
    """The keys whose value is not the default."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in given.items() if value != default}


def _image(layer: Conv2d | Pool2d, shapes: list[Shape]) -> Line:
    image = (layer.c, layer.h, layer.w)
    return {} if shapes and shapes[0] == image else dict(zip(("c", "h", "w"), image))


def _window(layer: Conv2d | Pool2d) -> Line:
    line: Line = {"r": layer.r} | _unless(layer.r, s=layer.s)
    for key, default in (("stride", 1 if isinstance(layer, Conv2d) else (layer.r, layer.s)), ("dilation", 1)):
        pair = getattr(layer, key)
        if pair not in (default, (default, default)):
            line[key] = pair[0] if pair[0] == pair[1] else list(pair)
    if any(layer.pad):
        line["pad"] = "same" if layer.with_(pad="same") == layer else list(layer.pad)
    return line


def _conv(layer: Conv2d, shapes: list[Shape]) -> Line:
    multiplier = layer.k // layer.c
    if layer.depthwise:
        line: Line = {"dwconv": layer.name} | _image(layer, shapes) | _unless(1, multiplier=multiplier)
    else:
        line = {"conv": layer.name} | _image(layer, shapes) | {"k": layer.k} | _unless(1, groups=layer.groups)
    window = {key: value for key, value in _window(layer).items() if (key, value) != ("r", 1)}
    if "r" not in window and "s" in window:
        window = {"r": 1} | window
    return line | window | _dense(layer)


def _dense(layer: Conv2d | Gemm) -> Line:
    dead = _unless(0, dead_in=layer.dead_in, dead_out=layer.dead_out)
    return _unless("none", act=layer.activation) | _unless(True, bias=layer.bias) | dead


def _pool(layer: Pool2d, shapes: list[Shape]) -> Line:
    line: Line = {"pool": layer.name, "type": layer.type} | _image(layer, shapes)
    whole = Pool2d(
        layer.name, c=layer.c, h=layer.h, w=layer.w, type=layer.type, ceil=layer.ceil,
        input=layer.input, weight=layer.weight, output=layer.output,
    )  # fmt: skip
    return line | ({} if whole == layer else _window(layer)) | _unless(False, ceil=layer.ceil)


def _gemm(layer: Gemm, shapes: list[Shape]) -> Line:
    image = shapes[0][1:] if shapes and len(shapes[0]) == 3 and math.prod(shapes[0]) == layer.k else (1, 1)
    if layer.m == 1 and layer.window == image:
        known = bool(shapes) and math.prod(shapes[0]) == layer.k
        return {"fc": layer.name, "n": layer.n} | ({} if known else {"k": layer.k}) | _dense(layer)
    sizes = {} if shapes and shapes[0] == (layer.m, layer.k) else {"m": layer.m, "k": layer.k}
    return {"gemm": layer.name, "n": layer.n} | sizes | _dense(layer)


def _matmul(layer: BatchedMatmul, shapes: list[Shape]) -> Line:
    return (
        {"matmul": layer.name}
        | _unless(1, b=layer.b)
        | {"m": layer.m, "n": layer.n, "k": layer.k}
        | _unless(0, cached=layer.cached)
    )


def _attention(layer: Attention, shapes: list[Shape]) -> Line:
    """Sizes that the producers give are left out; how much is cached follows from them, and else from the mask."""
    line: Line = {"attention": layer.name}
    if not shapes:
        line["queries"] = layer.queries
    if len(shapes) < 3 or layer.cached:
        line["context"] = layer.context
    line |= {"heads": layer.heads} | _unless(layer.heads, kv_heads=layer.kv_heads) | {"dim": layer.dim}
    line |= _unless(layer.dim, value_dim=layer.value_dim) | _unless(False, causal=layer.causal)
    line |= _unless(0, window=layer.window)
    before = max(0, layer.context - layer.queries) if layer.causal else 0
    return line if shapes else line | _unless(before, cached=layer.cached)


def _moe(layer: Moe, shapes: list[Shape]) -> Line:
    line: Line = {"moe": layer.name}
    if not shapes or shapes[0] != (layer.tokens, layer.hidden):
        line |= {"tokens": layer.tokens, "hidden": layer.hidden}
    line |= {"intermediate": layer.intermediate, "experts": layer.experts, "topk": layer.topk}
    line |= _unless(0, shared=layer.shared) | _unless(True, gated=layer.gated) | _unless("silu", act=layer.activation)
    return line | _unless(True, router=layer.router) | _unless(False, bias=layer.bias)


def _expert_gemm(layer: ExpertGemm, shapes: list[Shape]) -> Line:
    line: Line = {"expert_gemm": layer.name} | _unless("up", type=layer.type)
    if len(shapes) < 2 or shapes[1] != (layer.tokens, layer.experts):
        line |= {"tokens": layer.tokens, "experts": layer.experts}
    line |= {"topk": layer.topk, "n": layer.n}
    if not shapes or len(shapes[0]) != 2 or shapes[0][1] != layer.k:
        line["k"] = layer.k
    return line | _unless("none", act=layer.activation) | _unless(False, bias=layer.bias)


def _shape(shape: Shape, shapes: list[Shape]) -> Line:
    return {} if shapes and shapes[0] == shape else {"shape": list(shape)}


def _elementwise(layer: Elementwise, shapes: list[Shape]) -> Line:
    line: Line = {"elementwise": layer.name, "type": layer.type}
    if layer.type in ("add", "mul"):
        line = {layer.type: layer.name}
    if not shapes or max(shapes, key=math.prod) != layer.shape:
        line["shape"] = list(layer.shape)
    return line | ({} if shapes else _unless(2, n=layer.n)) | _unless("none", act=layer.activation)


def _typed(key: str) -> Callable[[Any, list[Shape]], Line]:
    def write(layer: Activation | Normalization, shapes: list[Shape]) -> Line:
        return {key: layer.name, "type": layer.type} | _shape(layer.shape, shapes)

    return write


def _softmax(layer: Softmax, shapes: list[Shape]) -> Line:
    return {"softmax": layer.name} | _shape(layer.shape, shapes)


def _concat(layer: Concat, shapes: list[Shape]) -> Line:
    if shapes == list(layer.operands):
        return {"concat": layer.name} | _unless(0, axis=len(layer.before))
    sizes = {"before": layer.before, "parts": layer.parts, "rest": layer.rest}
    return {"concat": layer.name} | {key: list(value) for key, value in sizes.items() if value}


def _move(layer: DataMovement, shapes: list[Shape]) -> Line:
    line: Line = {"move": layer.name} | _unless("reshape", type=layer.type) | _shape(layer.shape, shapes)
    return line | _unless(layer.shape, to=layer.to)


def _recurrent(key: str) -> Callable[[Any, list[Shape]], Line]:
    def write(layer: Lstm | Gru, shapes: list[Shape]) -> Line:
        sizes = {"input_size": layer.input_size, "steps": layer.steps}
        given = {} if shapes and shapes[0] == (layer.steps, layer.input_size) else sizes
        return {key: layer.name, "hidden": layer.hidden_size} | given | _unless(True, bias=layer.bias)

    return write


def _embedding(layer: Embedding, shapes: list[Shape]) -> Line:
    known = bool(shapes) and math.prod(shapes[0]) == layer.tokens
    return {"embedding": layer.name, "rows": layer.rows, "dim": layer.dim} | ({} if known else {"tokens": layer.tokens})


def _opaque(layer: Opaque, shapes: list[Shape]) -> Line:
    line: Line = {"opaque": layer.name, "type": layer.type}
    if shapes != list(layer.shapes):
        line["shapes"] = [list(shape) for shape in layer.shapes]
    return line | {"to": list(layer.to)} | _unless(0, stored=layer.stored)


_WRITERS: dict[type[Layer], Callable[[Any, list[Shape]], Line]] = {
    Conv2d: _conv,
    Pool2d: _pool,
    Gemm: _gemm,
    BatchedMatmul: _matmul,
    Attention: _attention,
    Moe: _moe,
    ExpertGemm: _expert_gemm,
    Elementwise: _elementwise,
    Activation: _typed("activation"),
    Normalization: _typed("norm"),
    Softmax: _softmax,
    Concat: _concat,
    DataMovement: _move,
    Lstm: _recurrent("lstm"),
    Gru: _recurrent("gru"),
    Embedding: _embedding,
    Opaque: _opaque,
}
