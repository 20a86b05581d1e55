"""Read a trace file: expand its blocks, infer the sizes that producers give, make the layers.

The second half is a list, a few lines for each kind of layer, which makes the module long.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hwsim.errors import Fault, InputError, nearest
from hwsim.workload.attention import Attention
from hwsim.workload.conv import Conv2d, Pool2d
from hwsim.workload.experts import ExpertGemm, Moe
from hwsim.workload.layer import Layer, Shape, whole
from hwsim.workload.matmul import BatchedMatmul, Embedding, Gemm, Gru, Lstm
from hwsim.workload.network import INPUT, MAX_FAULTS, MAX_LAYERS, Node, Workload, hint
from hwsim.workload.pointwise import Activation, Concat, DataMovement, Elementwise, Normalization, Opaque, Softmax
from hwsim.workload.tensor import TensorSpec
from hwsim.yaml_source import Document

if TYPE_CHECKING:
    from hwsim.workload.trace_spec import LayerSpec, UseSpec, WorkloadSpec

__all__ = ["read_trace"]

MAX_DEPTH = 8
#: By this name the layers of a block read what the block is given.
BLOCK_INPUT = "in"

Place = tuple[str | int, ...]
Values = dict[str, Any]


@dataclass
class _Scope:
    """The names that one list of lines can read, and the parameters of its block."""

    prefix: str
    before: tuple[str, ...]
    names: dict[str, str] = field(default_factory=dict)
    arguments: Values = field(default_factory=dict)
    depth: int = 0


def read_trace(document: Document, base: Callable[[str], Workload]) -> Workload:
    """Make the network that a strict YAML document describes.

    Parameters
    ----------
    document : Document
    base : callable
        Gives the workload that the file derives from, by its name.

    Raises
    ------
    InputError
        With the place of every fault.
    """
    from hwsim.fields import check
    from hwsim.workload.trace_spec import WorkloadSpec

    return _Reader(document, check(WorkloadSpec, document)).read(base)


class _Reader:
    def __init__(self, document: Document, spec: WorkloadSpec) -> None:
        self.document = document
        self.spec = spec
        self.nodes: list[Node] = []
        self.shapes: dict[str, Shape | None] = {}  # None: of a faulty layer, so that what reads it is not at fault too
        self.faults: list[Fault] = []
        self.count = 0  # of layers, faulty ones too
        self.needs = {name: set(_parameters(lines)) for name, lines in spec.blocks.items()}
        self.places: dict[str, Place] = {}

    def fault(self, place: Place, message: str) -> InputError:
        shown = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")
        return InputError([Fault(self.document.where(place), shown, message)])

    def read(self, base: Callable[[str], Workload]) -> Workload:
        spec = self.spec
        if (spec.base is None) == (not spec.layers):
            raise self.fault((), "must have either 'layers' or a 'base' whose layers it takes")
        if spec.base is not None:
            for key in ("blocks", "input", "digest"):
                if getattr(spec, key):
                    raise self.fault((key,), f"must not be given where a base gives the layers, {spec.base!r}")
            try:
                origin = base(spec.base)
            except InputError as error:
                where = self.document.where(("base",))
                raise InputError([Fault(f.where or where, f.path or "base", f.message) for f in error.faults]) from None
            network = origin.replace([], name=spec.name, source=spec.source)
            if spec.dtype is not None:
                dtypes = {"input": spec.dtype.input, "weight": spec.dtype.weight, "output": spec.dtype.output}
                network = network.replace([layer.with_dtype(**dtypes) for layer in network])
        else:
            network = self.expanded()
        return self.with_densities(network)

    def expanded(self) -> Workload:
        spec = self.spec
        if spec.input is not None:
            self.shapes[INPUT] = tuple(spec.input)
            if not all(0 < size <= 2**31 for size in spec.input):
                raise self.fault(("input",), f"must be a list of sizes from 1 to 2^31, not {spec.input}")
        elif spec.graph:
            raise self.fault((), "input must be given: the shape of what the first layer reads, such as [3, 224, 224]")
        self.lines(spec.layers, ("layers",), _Scope("", (INPUT,), {INPUT: INPUT}))
        if self.faults:
            raise InputError(self.faults)
        try:
            return Workload(
                spec.name,
                self.nodes,
                graph=spec.graph,
                source=spec.source,
                input_shape=spec.input if spec.graph else None,
                digest=spec.digest or "",
            )
        except InputError as error:
            raise InputError([self.placed(item, self.places.get(item.path, ())) for item in error.faults]) from None

    def placed(self, fault: Fault, place: Place) -> Fault:
        """A layer's fault at the key that its message starts with, or else at the layer."""
        key = fault.message.split(" ", 1)[0].rstrip(":")
        return Fault(self.document.where((*place, key)), fault.path, fault.message)

    def note(self, faults: Sequence[Fault]) -> None:
        """Keep faults to be told together, but not without end."""
        self.faults.extend(faults)
        if len(self.faults) >= MAX_FAULTS:
            raise InputError(self.faults)

    def lines(self, lines: Sequence[LayerSpec | UseSpec], place: Place, scope: _Scope) -> tuple[str, ...]:
        """Make the layers of some lines; returns the name of the last."""
        for index, line in enumerate(lines):
            here = (*place, index)
            self.count += line.kind != "use"
            if self.count > MAX_LAYERS:
                raise self.fault(here, f"a network must have at most {MAX_LAYERS} layers")
            name = str(getattr(line, "name" if line.kind == "use" else line.kind))
            last = full = scope.prefix + name
            try:
                if name in scope.names or full in self.shapes:
                    raise self.fault(here, f"the name of a layer must be its own; {full!r} is given twice")
                producers = scope.before
                if line.from_ is not None:
                    producers = tuple(self.resolve(item, scope, (*here, "from")) for item in line.from_)
                if line.kind == "use":
                    last = self.use(line, full, producers, here, scope)  # type: ignore[arg-type]
                else:
                    self.layer(line, full, producers, here, scope)  # type: ignore[arg-type]
            except InputError as error:
                self.note(error.faults)
                self.shapes[full] = None
            scope.names[name] = last
            scope.before = (last,)
        return scope.before

    def resolve(self, name: str, scope: _Scope, place: Place) -> str:
        if name not in scope.names:
            raise self.fault(place, f"must name a layer that comes before, not {name!r}{hint(name, scope.names)}")
        return scope.names[name]

    def use(self, line: UseSpec, full: str, producers: tuple[str, ...], here: Place, scope: _Scope) -> str:
        """Make the layers of a block; returns the name of its last."""
        blocks = self.spec.blocks
        if line.use not in blocks:
            raise self.fault((*here, "use"), f"must name a block, not {line.use!r}{nearest(line.use, blocks)}")
        if scope.depth >= MAX_DEPTH:
            raise self.fault(here, f"blocks must be nested at most {MAX_DEPTH} deep, and none within itself")
        if len(producers) != 1:
            raise self.fault((*here, "from"), f"a block must read one layer, not {len(producers)}")
        needs = self.needs[line.use]
        for key in line.with_:
            if key not in needs:
                message = f"must be a parameter of the block {line.use!r}, not {key!r}{nearest(key, needs)}"
                raise self.fault((*here, "with", key), message)
        if missing := sorted(needs - set(line.with_)):
            raise self.fault(here, f"the block {line.use!r} must be given {', '.join(missing)}")
        arguments = {key: self.value(value, scope, here) for key, value in line.with_.items()}
        inner = _Scope(f"{full}_", producers, {BLOCK_INPUT: producers[0]}, arguments, scope.depth + 1)
        return self.lines(blocks[line.use], ("blocks", line.use), inner)[0]

    def value(self, value: Any, scope: _Scope, place: Place) -> Any:
        from hwsim.workload.trace_spec import parameter

        name = parameter(value)
        if name is None:
            return value
        if name not in scope.arguments:
            raise self.fault(place, f"a parameter must be of the block that uses it, not {value!r}")
        return scope.arguments[name]

    def layer(self, line: LayerSpec, full: str, producers: tuple[str, ...], here: Place, scope: _Scope) -> None:
        """Make one layer and remember the shape that it gives."""
        values: Values = {}
        for key in line.model_fields_set - {"from_", "input", "weight", "output", line.kind}:
            if (given := getattr(line, key)) is not None:
                values[key] = self.value(given, scope, (*here, key))
        if self.spec.graph:
            given_shapes = [self.shapes[name] for name in producers]
            shapes = tuple(shape for shape in given_shapes if shape is not None)
            if len(shapes) < len(given_shapes):
                self.shapes[full] = None
                return
        else:
            shapes, producers = (), ()
        try:
            for tensor in ("input", "weight", "output"):
                values[tensor] = self.tensor(line, tensor, scope, here)
            layer = _MAKERS[line.kind](full, values, shapes)
        except InputError as error:
            raise InputError([self.placed(Fault("", full, f.message), here) for f in error.faults]) from None
        self.nodes.append(Node(layer, producers))
        self.shapes[full] = layer.output.shape
        self.places[full] = here

    def tensor(self, line: LayerSpec, tensor: str, scope: _Scope, here: Place) -> TensorSpec:
        """The file's number format with what the line says of the tensor changed."""
        default = getattr(self.spec.dtype, tensor) if self.spec.dtype is not None else "int8"
        if line.kind == "embedding" and tensor == "input":
            default = "int32"  # what an embedding reads is indices, whatever the network computes in
        change = getattr(line, tensor)
        if change is None:
            return TensorSpec(default)
        given = {key: self.value(value, scope, here) for key, value in change if value is not None}
        return TensorSpec(default).merged(given)

    def with_densities(self, network: Workload) -> Workload:
        changed, faults = [], []
        for name, densities in self.spec.density.items():
            place: Place = ("density", name)
            if name not in network:
                near = hint(name, [layer.name for layer in network])
                faults.append(Fault(self.document.where(place), "density", f"must name a layer, not {name!r}{near}"))
                if len(faults) >= MAX_FAULTS:
                    break
                continue
            given = {
                tensor: {key: value for key, value in change if value is not None}
                for tensor, change in densities
                if change is not None
            }
            try:
                changed.append(network[name].with_tensors(**given))
            except InputError as error:
                faults.extend(self.placed(fault, place) for fault in error.faults)
        if faults:
            raise InputError(faults)
        return network.replace(changed) if changed else network


def _parameters(lines: Sequence[LayerSpec | UseSpec]) -> Iterator[str]:
    """The names of the parameters that lines use."""
    from hwsim.workload.trace_spec import parameter

    for line in lines:
        for key in line.model_fields_set:
            value = getattr(line, key)
            values = [value, *value.values()] if isinstance(value, dict) else [value]
            if hasattr(value, "model_fields_set"):
                values = [item for _, item in value]
            yield from (name for item in values if (name := parameter(item)) is not None)


# One function a kind: the sizes that the line leaves out are those of what its producers give.


def _wants(what: str, keys: Sequence[str], values: Values, shapes: tuple[Shape, ...]) -> None:
    """Say which sizes are missing where there is no producer, or not one of the right rank, to give them."""
    missing = [key for key in keys if key not in values]
    if missing:
        given = f"; what it reads is {shapes[0]}" if shapes else ""
        raise InputError(f"{', '.join(missing)} must be given, or read from {what}{given}")


def _image(values: Values, shapes: tuple[Shape, ...]) -> Values:
    if shapes and len(shapes[0]) == 3:
        values = dict(zip(("c", "h", "w"), shapes[0])) | values
    _wants("an image", ("c", "h", "w"), values, shapes)
    return values


def _renamed(values: Values) -> Values:
    """`act` in a file is `activation` in Python."""
    if "act" in values:
        values["activation"] = values.pop("act")
    return values


def _conv(name: str, values: Values, shapes: tuple[Shape, ...]) -> Layer:
    return Conv2d(name, **_image(_renamed(values), shapes))


def _dwconv(name: str, values: Values, shapes: tuple[Shape, ...]) -> Layer:
    values = _image(_renamed(values), shapes)
    channels, multiplier = whole(values["c"]), whole(values.pop("multiplier", 1))
    if channels is None or multiplier is None:  # a parameter can be of any type
        raise InputError("c and multiplier must be integers")
    return Conv2d(name, **values, groups=channels, k=channels * multiplier, depthwise=True)


def _pool(name: str, values: Values, shapes: tuple[Shape, ...]) -> Layer:
    return Pool2d(name, **_image(values, shapes))


def _fc(name: str, values: Values, shapes: tuple[Shape, ...]) -> Layer:
    if shapes:
        values.setdefault("k", math.prod(shapes[0]))
        if len(shapes[0]) == 3 and values["k"] == math.prod(shapes[0]):
            values["window"] = shapes[0][1:]
    _wants("another layer", ("k",), values, shapes)
    return Gemm(name, **_renamed(values), m=1)


def _gemm(name: str, values: Values, shapes: tuple[Shape, ...]) -> Layer:
    if shapes and len(shapes[0]) == 2:
        values = {"m": shapes[0][0], "k": shapes[0][1]} | values
    _wants("a matrix", ("m", "k"), values, shapes)
    return Gemm(name, **_renamed(values))


def _matmul(name: str, values: Values, shapes: tuple[Shape, ...]) -> Layer:
    return BatchedMatmul(name, **values)


def _attention(name: str, values: Values, shapes: tuple[Shape, ...]) -> Layer:
    """Rows of the queries, and of the new keys where there are any, from what gives them; else all keys are cached."""
    if shapes and (rows := _rows(shapes[0], values, ("heads", "dim"))):
        values.setdefault("queries", rows)
    if shapes and len(shapes) < 3 and "context" in values:
        values.setdefault("cached", values["context"])
    elif len(shapes) > 2 and (rows := _rows(shapes[1], {"kv_heads": values["heads"]} | values, ("kv_heads", "dim"))):
        context = values.setdefault("context", rows)
        if whole(context) is not None and context >= rows:
            values.setdefault("cached", context - rows)
    _wants("the rows of queries and keys", ("queries", "context"), values, shapes)
    return Attention(name, **values)


def _rows(shape: Shape, values: Values, keys: tuple[str, ...]) -> int | None:
    """How many rows of the product of some sizes a shape has; None if that is not whole."""
    sizes = [whole(values[key]) for key in keys]
    row = math.prod(size for size in sizes if size is not None)
    return None if None in sizes or row < 1 or math.prod(shape) % row else math.prod(shape) // row


def _moe(name: str, values: Values, shapes: tuple[Shape, ...]) -> Layer:
    if shapes and len(shapes[0]) == 2:
        values = {"tokens": shapes[0][0], "hidden": shapes[0][1]} | values
    _wants("a matrix", ("tokens", "hidden"), values, shapes)
    return Moe(name, **_renamed(values))


def _expert_gemm(name: str, values: Values, shapes: tuple[Shape, ...]) -> Layer:
    if shapes and len(shapes[0]) == 2:
        values = {"k": shapes[0][1]} | values
    if len(shapes) > 1 and len(shapes[1]) == 2:
        values = {"tokens": shapes[1][0], "experts": shapes[1][1]} | values
    _wants("a matrix and the shares of experts", ("tokens", "experts", "k"), values, shapes)
    return ExpertGemm(name, **_renamed(values))


def _shaped(make: Callable[..., Layer]) -> Callable[[str, Values, tuple[Shape, ...]], Layer]:
    def made(name: str, values: Values, shapes: tuple[Shape, ...]) -> Layer:
        if shapes:
            values.setdefault("shape", shapes[0])
        _wants("another layer", ("shape",), values, shapes)
        return make(name, **values)

    return made


def _elementwise(type_: str | None) -> Callable[[str, Values, tuple[Shape, ...]], Layer]:
    def made(name: str, values: Values, shapes: tuple[Shape, ...]) -> Layer:
        values = _renamed(values)
        if type_ is not None:
            values["type"] = type_
        if shapes:
            largest = max(shapes, key=math.prod)  # the others are spread over it
            values.setdefault("shape", largest)
            values["n"] = len(shapes)
        _wants("other layers", ("shape",), values, shapes)
        return Elementwise(name, **values)

    return made


def _concat(name: str, values: Values, shapes: tuple[Shape, ...]) -> Layer:
    axis = values.pop("axis", 0)
    if shapes and "parts" not in values:
        if whole(axis) is None or not 0 <= axis < len(shapes[0]):
            raise InputError(f"axis must be one of the {len(shapes[0])} axes of what is joined, not {axis!r:.60}")
        parts = [shape[axis] if axis < len(shape) else 1 for shape in shapes]
        values = {"before": shapes[0][:axis], "parts": parts, "rest": shapes[0][axis + 1 :]} | values
    _wants("other layers", ("parts",), values, shapes)
    return Concat(name, **values)


def _recurrent(make: Callable[..., Layer]) -> Callable[[str, Values, tuple[Shape, ...]], Layer]:
    def made(name: str, values: Values, shapes: tuple[Shape, ...]) -> Layer:
        values["hidden_size"] = values.pop("hidden")
        if shapes and len(shapes[0]) <= 2:
            values.setdefault("input_size", shapes[0][-1])
            values.setdefault("steps", shapes[0][0] if len(shapes[0]) == 2 else 1)
        _wants("a sequence", ("input_size",), values, shapes)
        return make(name, **values)

    return made


def _embedding(name: str, values: Values, shapes: tuple[Shape, ...]) -> Layer:
    if shapes:
        values.setdefault("tokens", math.prod(shapes[0]))
    return Embedding(name, **values)


def _opaque(name: str, values: Values, shapes: tuple[Shape, ...]) -> Layer:
    values.setdefault("shapes", shapes)
    return Opaque(name, **values)


_MAKERS: dict[str, Callable[[str, Values, tuple[Shape, ...]], Layer]] = {
    "conv": _conv,
    "dwconv": _dwconv,
    "pool": _pool,
    "fc": _fc,
    "gemm": _gemm,
    "matmul": _matmul,
    "attention": _attention,
    "moe": _moe,
    "expert_gemm": _expert_gemm,
    "add": _elementwise("add"),
    "mul": _elementwise("mul"),
    "elementwise": _elementwise(None),
    "activation": _shaped(Activation),
    "norm": _shaped(Normalization),
    "softmax": _shaped(Softmax),
    "concat": _concat,
    "move": _shaped(DataMovement),
    "lstm": _recurrent(Lstm),
    "gru": _recurrent(Gru),
    "embedding": _embedding,
    "opaque": _opaque,
}
