"""An ONNX file as plain records: operators in an order in which they can run, constants, what the user gives."""

from __future__ import annotations

import hashlib
import heapq
import mmap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hwsim.errors import InputError, nearest
from hwsim.workload.onnx.constants import BITS, Constant, stored_constant, tensor_constant
from hwsim.workload.onnx.wire import Stored, slim

__all__ = ["Given", "Operator", "OnnxFile", "read_file"]

MAX_FILE_BYTES = 8 * 2**30
MAX_OPERATORS = 20_000
MAX_REFERENCES = 1_000_000
MAX_RANK = 64
MAX_TEXT = 200
STANDARD = ("", "ai.onnx")


@dataclass(frozen=True, slots=True)
class Given:
    """A tensor that the file describes: each size a number, a name (symbolic), or None where nothing is said."""

    name: str
    dtype: str
    shape: tuple[int | str | None, ...] | None


@dataclass(slots=True)
class Operator:
    """A node of the graph; `code` is its name, after its domain where that is not ONNX's own.

    `captured` are tensors of the graph around it that its subgraphs read.
    """

    index: int
    code: str
    name: str
    inputs: list[str]
    outputs: list[str]
    options: dict[str, Any]
    proto: Any
    captured: tuple[str, ...] = ()
    subgraphs: tuple[Any, ...] = ()

    def __str__(self) -> str:
        return f"operator {self.index}, {self.code}" + (f" {self.name!r}" if self.name else "")


@dataclass(eq=False, slots=True)
class OnnxFile:
    """What a file holds; `opsets` are the versions by domain, `external` the names of constants stored elsewhere."""

    path: str
    digest: str
    bytes: int
    producer: str
    opsets: dict[str, int]
    operators: list[Operator]
    constants: dict[str, Constant]
    inputs: list[Given]
    outputs: list[str]
    described: dict[str, Given]
    external: list[str] = field(default_factory=list)


def read_file(path: Path) -> OnnxFile:
    """Read a file; raises InputError that names it for whatever is wrong with it."""
    try:
        import onnx  # noqa: F401 - only to tell whether it is there
    except ImportError:
        raise InputError("needs the extra: pip install 'hwsim[onnx]'", str(path)) from None
    try:
        if not path.is_file():
            raise InputError("must be a file, not a directory or a device" if path.exists() else "is not there")
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise InputError(f"must be at most {MAX_FILE_BYTES // 2**30} GiB")
        if not size:
            raise InputError("must be an ONNX file; it is empty")
        with path.open("rb") as stream:
            data = memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
        return _Reader(str(path), data).read()
    except InputError as error:
        raise _at(path, error) from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", str(path)) from None


def _at(path: Path, error: InputError) -> InputError:
    from hwsim.errors import Fault

    return InputError([Fault(str(path), fault.path, fault.message) for fault in error.faults])


def text(raw: str | bytes) -> str:
    """Text of the file, on one line and never long."""
    given = raw[:MAX_TEXT].decode("utf-8", "replace") if isinstance(raw, bytes) else raw[:MAX_TEXT]
    return "".join(char if char.isprintable() else "?" for char in given)


class _Reader:
    def __init__(self, path: str, data: memoryview) -> None:
        self.path = path
        self.data = data

    def read(self) -> OnnxFile:
        import onnx
        from google.protobuf.message import DecodeError

        self.types = {number: name.lower() for name, number in onnx.TensorProto.DataType.items()}
        small, self.stored = slim(self.data)
        try:
            model = onnx.ModelProto.FromString(small)
        except (DecodeError, ValueError, RecursionError):
            raise InputError(
                "must be an ONNX file; its protobuf message is cut off, broken or nested too deep"
            ) from None
        if not model.HasField("graph") or not model.opset_import:
            raise InputError("must be an ONNX model, with a graph and its opset_import")
        _texts(item.domain for item in model.opset_import)
        opsets = {"" if item.domain in STANDARD else item.domain: item.version for item in model.opset_import}
        if not 1 <= opsets.get("", 1) <= 10**6:
            raise InputError(f"opset must be a positive number, not {opsets['']}")
        for function in model.functions:
            _texts((function.name, function.domain, *function.input, *function.output))
            _named(onnx.GraphProto(node=function.node))
        if model.functions:
            model = _inlined(model)
        graph = model.graph
        _named(graph)
        self.external: list[str] = []
        constants = self.constants(graph)
        operators = [self.operator(index, node, constants) for index, node in enumerate(self.bounded(graph.node))]
        inputs = [self.given(value) for value in graph.input if value.name not in constants]
        described = {value.name: self.given(value) for value in (*graph.value_info, *graph.output)}
        outputs = [value.name for value in graph.output]
        _unique(inputs, operators, constants)
        ordered = _ordered(operators, {*constants, *(value.name for value in inputs)}, outputs)
        return OnnxFile(
            self.path, "sha256:" + hashlib.sha256(self.data).hexdigest(), len(self.data),
            text(f"{model.producer_name} {model.producer_version}".strip()), opsets, ordered, constants, inputs,
            outputs, described, self.external,
        )  # fmt: skip

    def bounded(self, nodes: Any) -> Any:
        if len(nodes) > MAX_OPERATORS:
            raise InputError(f"must have at most {MAX_OPERATORS} operators, not {len(nodes)}")
        if sum(len(node.input) + len(node.output) for node in nodes) > MAX_REFERENCES:
            raise InputError(f"must have at most {MAX_REFERENCES} inputs and outputs of operators")
        return nodes

    def dtype(self, number: int, owner: str) -> str:
        name: str = self.types.get(number, "")
        if name not in BITS:
            raise InputError(f"type must be one of ONNX's, not number {number}", path=owner)
        return name

    def constants(self, graph: Any) -> dict[str, Constant]:
        found: dict[str, Constant] = {}
        for index, tensor in enumerate(graph.initializer):
            owner = f"initializer {text(tensor.name)!r}"
            if tensor.name in found:
                raise InputError("must be given once", path=owner)
            found[tensor.name] = self.constant(tensor, owner, self.stored.get(index))
            if tensor.data_location == 1:
                self.external.append(text(tensor.name))
        for sparse in graph.sparse_initializer:
            owner = f"sparse initializer {text(sparse.values.name)!r}"
            found[sparse.values.name] = self.sparse(sparse, owner)
        return found

    def constant(self, tensor: Any, owner: str, stored: Stored | None = None) -> Constant:
        if len(tensor.dims) > MAX_RANK:
            raise InputError(f"must have at most {MAX_RANK} axes, not {len(tensor.dims)}", path=owner)
        return tensor_constant(tensor, self.dtype(tensor.data_type, owner), owner, self.data, stored)

    def sparse(self, tensor: Any, owner: str) -> Constant:
        shape = tuple(tensor.dims)
        kept = tensor.values.dims[0] if tensor.values.dims else 0
        constant = stored_constant(shape, self.dtype(tensor.values.data_type, owner), owner, None, 0)
        if len(shape) > MAX_RANK or any(size < 1 for size in shape) or not 0 <= kept <= constant.elements:
            raise InputError(f"must hold at most as many values as its sizes {shape} allow, not {kept}", path=owner)
        return stored_constant(shape, constant.dtype, owner, None, 0, 1 - kept / constant.elements)

    def given(self, value: Any) -> Given:
        owner = f"tensor {text(value.name)!r}"
        if not value.type.HasField("tensor_type"):
            return Given(value.name, "", None)  # a sequence, a map or an optional: only an opaque row can read it
        kind = value.type.tensor_type
        dtype = self.dtype(kind.elem_type, owner) if kind.elem_type else ""
        if not kind.HasField("shape"):
            return Given(value.name, dtype, None)
        if len(kind.shape.dim) > MAX_RANK:
            raise InputError(f"must have at most {MAX_RANK} axes, not {len(kind.shape.dim)}", path=owner)
        sizes: list[int | str | None] = []
        for dim in kind.shape.dim:
            if dim.HasField("dim_value"):
                if dim.dim_value < 0:
                    raise InputError(f"sizes must not be negative, not {dim.dim_value}", path=owner)
                sizes.append(dim.dim_value)
            else:
                sizes.append(text(dim.dim_param) or None)
        return Given(value.name, dtype, tuple(sizes))

    def operator(self, index: int, node: Any, constants: dict[str, Constant]) -> Operator:
        domain = "" if node.domain in STANDARD else text(node.domain)
        code = f"{domain}.{text(node.op_type)}" if domain else text(node.op_type)
        owner = f"operator {index}, {code}"
        if not node.op_type:
            raise InputError("must have a name of what it does", path=owner)
        options: dict[str, Any] = {}
        subgraphs: list[Any] = []
        for item in node.attribute:
            if item.name in options:
                raise InputError(f"attribute {text(item.name)!r} must be given once", path=owner)
            options[item.name] = self.option(item, owner, subgraphs)
        captured = tuple(dict.fromkeys(name for graph in subgraphs for name in _free(graph)))
        inputs, outputs = list(node.input), list(node.output)
        return Operator(index, code, text(node.name), inputs, outputs, options, node, captured, tuple(subgraphs))

    def option(self, item: Any, owner: str, subgraphs: list[Any]) -> Any:
        kind = item.AttributeType.Name(item.type) if item.type in item.AttributeType.values() else "UNDEFINED"
        if kind == "UNDEFINED":
            given = [field.name for field, _ in item.ListFields() if field.name not in ("name", "doc_string")]
            if len(given) > 1:
                raise InputError(f"attribute {text(item.name)!r} must have one value", path=owner)
            kind = {"f": "FLOAT", "i": "INT", "s": "STRING", "t": "TENSOR", "g": "GRAPH"}.get(
                given[0] if given else "", given[0].upper() if given else "UNDEFINED"
            )
        if kind in ("FLOAT", "INT"):
            return item.f if kind == "FLOAT" else item.i
        if kind == "STRING":
            return text(item.s)
        if kind in ("FLOATS", "INTS"):
            return tuple(item.floats if kind == "FLOATS" else item.ints)
        if kind == "TENSOR":
            return self.constant(item.t, f"{owner}: attribute {text(item.name)!r}")
        if kind == "GRAPH":
            subgraphs.append(item.g)
        elif kind == "GRAPHS":
            subgraphs.extend(item.graphs)
        return None  # lists of texts or tensors, types: no operator that is computed has one


def _texts(names: Iterable[object]) -> None:
    for name in names:
        if not isinstance(name, str):
            raise InputError(f"names must be text in UTF-8, not {name!r:.60}")


def _named(graph: Any) -> None:
    """Hold that all names are text: the parser gives bytes where they are not."""
    names = [graph.name, *(tensor.name for tensor in graph.initializer)]
    names += [tensor.values.name for tensor in graph.sparse_initializer]
    names += [value.name for value in (*graph.input, *graph.output, *graph.value_info)]
    for node in graph.node:
        names += [node.name, node.op_type, node.domain, *node.input, *node.output]
        for item in node.attribute:
            names.append(item.name)
            for inner in ([item.g] if item.HasField("g") else []) + list(item.graphs):
                _named(inner)
    _texts(names)


def _free(graph: Any) -> list[str]:
    """The tensors that a subgraph reads of the graph around it."""
    own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    own |= {name for node in graph.node for name in node.output}
    read = [name for node in graph.node for name in node.input]
    for node in graph.node:
        for item in node.attribute:
            for inner in ([item.g] if item.HasField("g") else []) + list(item.graphs):
                read += _free(inner)
    read += [value.name for value in graph.output]
    return [name for name in dict.fromkeys(read) if name and name not in own]


def _unique(inputs: Iterable[Given], operators: Iterable[Operator], constants: Mapping[str, Constant]) -> None:
    """Every tensor has one source."""
    names = set()
    for value in inputs:
        if value.name in names:
            raise InputError("must be given once", path=f"input {text(value.name)!r}")
        names.add(value.name)
    for op in operators:
        for name in op.outputs:
            if name and (name in names or name in constants):
                raise InputError(f"must write a tensor that nothing else gives, not {text(name)!r}", path=str(op))
            names.add(name)


def _ordered(operators: list[Operator], known: set[str], outputs: list[str]) -> list[Operator]:
    """Operators so that each comes after those that it reads, otherwise as in the file."""
    writer = {name: place for place, op in enumerate(operators) for name in op.outputs if name}
    names = [*known, *writer]
    for op in operators:
        for name in (*op.inputs, *op.captured):
            if name and name not in known and name not in writer:
                message = (
                    f"must read a tensor of the graph; nothing gives {text(name)!r}, and no initializer is called so"
                )
                raise InputError(message + _near(name, names), path=str(op))
    for name in outputs:
        if name not in known and name not in writer:
            raise InputError(f"outputs must be written by an operator; {text(name)!r} is not", path="the graph")
    waits: list[int] = []
    readers: dict[int, list[int]] = {}
    for place, op in enumerate(operators):
        needs = {writer[name] for name in (*op.inputs, *op.captured) if name in writer}
        waits.append(len(needs))
        for need in needs:
            readers.setdefault(need, []).append(place)
    ready = [place for place, count in enumerate(waits) if not count]
    found = []
    while ready:
        place = heapq.heappop(ready)
        found.append(operators[place])
        for reader in readers.get(place, ()):
            waits[reader] -= 1
            if not waits[reader]:
                heapq.heappush(ready, reader)
    if len(found) < len(operators):
        stuck = ", ".join(str(op) for place, op in enumerate(operators) if waits[place])
        raise InputError(f"must have no cycle; these wait for each other: {stuck:.300}")
    return found


def _near(name: str, names: list[str]) -> str:
    return nearest(name, names) if len(names) <= 1000 else ""


def _inlined(model: Any) -> Any:
    """The model with its own functions put in place of the nodes that call them."""
    from onnx import inliner

    bodies = {(item.domain, item.name): item for item in model.functions}
    sizes: dict[tuple[str, str], int] = {}

    def size(nodes: Any, above: frozenset[tuple[str, str]]) -> int:
        total = 0
        for node in nodes:
            key = (node.domain, node.op_type)
            if key in above or len(above) > 64:
                raise InputError(
                    f"functions must not call themselves; {text(node.op_type)!r} does, or is nested too deep"
                )
            if key in bodies and key not in sizes:
                sizes[key] = size(bodies[key].node, above | {key})
            total += sizes.get(key, 1)
            for item in node.attribute:
                for graph in ([item.g] if item.HasField("g") else []) + list(item.graphs):
                    total += size(graph.node, above)
        if total > MAX_OPERATORS:
            raise InputError(f"must have at most {MAX_OPERATORS} operators, and its functions stand for more")
        return total

    size(model.graph.node, frozenset())
    try:
        return inliner.inline_local_functions(model)
    except Exception as error:  # what the C++ library raises has no common type
        raise InputError(f"functions of the model must fit where they are called: {error!s:.200}") from None
