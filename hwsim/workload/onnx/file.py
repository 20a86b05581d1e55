"""Read an ONNX file into records: operators in topological order, constants, inputs and outputs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hwsim.errors import Fault, InputError, excerpt
from hwsim.files import FileView
from hwsim.workload.number_format import type_bits
from hwsim.workload.onnx.constants import Constant, stored_constant, tensor_constant
from hwsim.workload.onnx.external import ExternalValues
from hwsim.workload.onnx.nodes import free, inline_functions, sort_operators, subgraphs_of, unique
from hwsim.workload.onnx.records import MAX_OPERATORS, OnnxFile, Operator, Subgraph, ValueInfo, text
from hwsim.workload.onnx.wire import ArraySpan, slim

__all__ = ["read_file"]

MAX_FILE_BYTES = 8 * 2**30
MAX_REFERENCES = 1_000_000
MAX_RANK = 64
STANDARD = ("", "ai.onnx")


def read_file(path: Path) -> OnnxFile:
    """Read a file; every fault raises an InputError that names it."""
    try:
        import onnx  # noqa: F401 - only to tell whether it is there
    except ImportError:
        raise InputError("needs the extra: pip install 'hwsim[onnx]'", str(path)) from None
    try:
        data = FileView(path, MAX_FILE_BYTES)
        if not len(data):
            raise InputError("must be an ONNX file; it is empty")
        return _Reader(str(path), data).read()
    except InputError as error:
        raise _at(path, error) from None


def _at(path: Path, error: InputError) -> InputError:
    return InputError([Fault(str(path), fault.path, fault.message) for fault in error.faults])


class _Reader:
    def __init__(self, path: str, data: FileView) -> None:
        self.path = path
        self.data = data

    def read(self) -> OnnxFile:
        import onnx
        from google.protobuf.message import DecodeError

        self.types = {number: name.lower() for name, number in onnx.TensorProto.DataType.items()}
        small, self.spans = slim(self.data)
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
            _check_names(onnx.GraphProto(node=function.node))
        if model.functions:
            model = inline_functions(model)
        graph = model.graph
        _check_names(graph)
        self.external = ExternalValues(Path(self.path))
        self.absent: list[str] = []
        constants = self.constants(graph, self.spans)
        operators = [self.operator(index, node) for index, node in enumerate(self.within_limits(graph.node))]
        inputs = [self.describe(value) for value in graph.input if value.name not in constants]
        value_info = {value.name: self.describe(value) for value in (*graph.value_info, *graph.output)}
        outputs = [value.name for value in graph.output]
        unique(inputs, operators, constants)
        in_order = sort_operators(operators, {*constants, *(value.name for value in inputs)}, outputs)
        return OnnxFile(
            self.path, f"sha256:{self.data.sha256()}", len(self.data),
            text(f"{model.producer_name} {model.producer_version}".strip()), opsets, in_order, constants, inputs,
            outputs, value_info, self.external.unread, self.absent,
        )  # fmt: skip

    def within_limits(self, nodes: Any) -> Any:
        if len(nodes) > MAX_OPERATORS:
            raise InputError(f"must have at most {MAX_OPERATORS} operators, not {len(nodes)}")
        if sum(len(node.input) + len(node.output) for node in nodes) > MAX_REFERENCES:
            raise InputError(f"must have at most {MAX_REFERENCES} inputs and outputs of operators")
        return nodes

    def dtype(self, number: int, owner: str) -> str:
        name: str = self.types.get(number, "")
        if not type_bits(name, "onnx"):
            raise InputError(f"type must be one of ONNX's, not number {number}", path=owner)
        return name

    def constants(self, graph: Any, spans: Mapping[int, ArraySpan]) -> dict[str, Constant]:
        constants: dict[str, Constant] = {}
        for index, tensor in enumerate(graph.initializer):
            owner = f"initializer {text(tensor.name)!r}"
            if tensor.name in constants:
                raise InputError("must be given once", path=owner)
            constants[tensor.name] = constant = self.constant(tensor, owner, spans.get(index))
            if tensor.data_location != 1 and constant.read is None and constant.elements and constant.dtype != "string":
                self.absent.append(text(tensor.name))
        for sparse in graph.sparse_initializer:
            owner = f"sparse initializer {text(sparse.values.name)!r}"
            constants[sparse.values.name] = self.sparse(sparse, owner)
        return constants

    def constant(self, tensor: Any, owner: str, span: ArraySpan | None = None) -> Constant:
        if len(tensor.dims) > MAX_RANK:
            raise InputError(f"must have at most {MAX_RANK} axes, not {len(tensor.dims)}", path=owner)
        return tensor_constant(tensor, self.dtype(tensor.data_type, owner), owner, self.data, span, self.external)

    def sparse(self, tensor: Any, owner: str) -> Constant:
        shape = tuple(tensor.dims)
        count = tensor.values.dims[0] if tensor.values.dims else 0
        constant = stored_constant(shape, self.dtype(tensor.values.data_type, owner), owner, None, 0)
        if len(shape) > MAX_RANK or any(size < 1 for size in shape) or not 0 <= count <= constant.elements:
            raise InputError(f"must hold at most as many values as its sizes {shape} allow, not {count}", path=owner)
        return stored_constant(shape, constant.dtype, owner, None, 0, 1 - count / constant.elements)

    def describe(self, value: Any) -> ValueInfo:
        owner = f"tensor {text(value.name)!r}"
        if not value.type.HasField("tensor_type"):
            return ValueInfo(value.name, "", None)  # a sequence, a map or an optional: only an opaque layer can read it
        kind = value.type.tensor_type
        dtype = self.dtype(kind.elem_type, owner) if kind.elem_type else ""
        if not kind.HasField("shape"):
            return ValueInfo(value.name, dtype, None)
        if len(kind.shape.dim) > MAX_RANK:
            raise InputError(f"must have at most {MAX_RANK} axes, not {len(kind.shape.dim)}", path=owner)
        sizes: list[int | str | None] = []
        for dim in kind.shape.dim:
            if dim.HasField("dim_value"):
                sizes.append(dim.dim_value if dim.dim_value > 0 else None)  # exporters write -1 and 0 for open sizes
            else:
                sizes.append(text(dim.dim_param).strip("?") or None)
        return ValueInfo(value.name, dtype, tuple(sizes))

    def operator(self, index: int, node: Any) -> Operator:
        domain = "" if node.domain in STANDARD else text(node.domain)
        code = f"{domain}.{text(node.op_type)}" if domain else text(node.op_type)
        owner = f"operator {index}, {code}"
        if not node.op_type:
            raise InputError("must have an operator type", path=owner)
        options: dict[str, Any] = {}
        subgraphs: list[Subgraph] = []
        for item in node.attribute:
            if item.name in options:
                raise InputError(f"attribute {text(item.name)!r} must be given once", path=owner)
            options[item.name] = self.option(item, owner, subgraphs)
        free_of = [graph for item in node.attribute for graph in subgraphs_of(item)]
        captures = tuple(dict.fromkeys(name for graph in free_of for name in free(graph)))
        inputs, outputs = list(node.input), list(node.output)
        return Operator(
            index, code, text(node.name), inputs, outputs, options, node, captures, tuple(subgraphs), _module(node)
        )

    def subgraph(self, graph: Any) -> Subgraph:
        """A body; a Constant in it is one of its constants, which are stored once however often it runs."""
        constants = self.constants(graph, {})
        operators = []
        for index, node in enumerate(self.within_limits(graph.node)):
            operator = self.operator(index, node)
            value = operator.options.get("value") or operator.options.get("sparse_value")
            if operator.code == "Constant" and isinstance(value, Constant) and len(operator.outputs) == 1:
                constants[operator.outputs[0]] = value
            else:
                operators.append(operator)
        return Subgraph(
            tuple(value.name for value in graph.input),
            tuple(value.name for value in graph.output),
            tuple(operators),
            constants,
            {value.name: self.describe(value) for value in (*graph.value_info, *graph.output)},
        )

    def option(self, item: Any, owner: str, subgraphs: list[Subgraph]) -> Any:
        kind = item.AttributeType.Name(item.type) if item.type in item.AttributeType.values() else "UNDEFINED"
        if kind == "UNDEFINED":
            fields = [field.name for field, _ in item.ListFields() if field.name not in ("name", "doc_string")]
            if len(fields) > 1:
                raise InputError(f"attribute {text(item.name)!r} must have one value", path=owner)
            kind = {"f": "FLOAT", "i": "INT", "s": "STRING", "t": "TENSOR", "g": "GRAPH"}.get(
                fields[0] if fields else "", fields[0].upper() if fields else "UNDEFINED"
            )
        if kind in ("FLOAT", "INT"):
            return item.f if kind == "FLOAT" else item.i
        if kind == "STRING":
            return text(item.s)
        if kind in ("FLOATS", "INTS"):
            return tuple(item.floats if kind == "FLOATS" else item.ints)
        if kind == "TENSOR":
            return self.constant(item.t, f"{owner}: attribute {text(item.name)!r}")
        if kind == "SPARSE_TENSOR":
            return self.sparse(item.sparse_tensor, f"{owner}: attribute {text(item.name)!r}")
        if kind == "GRAPH":
            subgraphs.append(self.subgraph(item.g))
            return subgraphs[-1]
        if kind == "GRAPHS":
            subgraphs.extend(map(self.subgraph, item.graphs))
        return None  # lists of strings or tensors, types: no modeled operator has one


def _module(node: Any) -> str:
    """The path of the PyTorch module that a node is of; empty if its exporter did not write it."""
    for item in getattr(node, "metadata_props", ()):  # of onnx 1.16 on
        if item.key == "pkg.torch.onnx.name_scopes":
            scopes = re.findall(
                r"'([^'\\]*)'", item.value[:4096]
            )  # the path of each module around it, then its own name
            return text(scopes[-2]) if len(scopes) > 1 else ""
    return ""


def _texts(names: Iterable[object]) -> None:
    for name in names:
        if not isinstance(name, str):
            raise InputError(f"names must be text in UTF-8, not {excerpt(name)}")


def _check_names(graph: Any) -> None:
    """Check that all names are text; the parser returns bytes for invalid UTF-8."""
    names = [graph.name, *(tensor.name for tensor in graph.initializer)]
    names += [tensor.values.name for tensor in graph.sparse_initializer]
    names += [value.name for value in (*graph.input, *graph.output, *graph.value_info)]
    for node in graph.node:
        names += [node.name, node.op_type, node.domain, *node.input, *node.output]
        for item in node.attribute:
            names.append(item.name)
            for inner in subgraphs_of(item):
                _check_names(inner)
    _texts(names)
