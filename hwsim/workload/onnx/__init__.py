"""ONNX models: the network as layers, and warnings about the parts that were not imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hwsim.errors import Fault, InputError
from hwsim.message import Message
from hwsim.workload.layer import Shape
from hwsim.workload.network import Workload
from hwsim.workload.onnx.converter import Converter
from hwsim.workload.onnx.file import read_file
from hwsim.workload.onnx.graph import Graph
from hwsim.workload.onnx.input_shapes import Sizes, input_shapes, parse_shapes
from hwsim.workload.onnx.operators import MAKERS
from hwsim.workload.onnx.records import OnnxFile
from hwsim.workload.onnx.shapes import graph_of

__all__ = ["Model", "Sizes", "parse_shapes", "read_model"]

#: Exceptions of numpy and lists if an operator indexes outside of its tensors and no earlier check reported it.
_BROKEN: tuple[type[Exception], ...] = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError)
_RECURRENT = ("LSTM", "GRU", "RNN", "Scan", "Loop")


@dataclass(frozen=True, eq=False)
class Model:
    """An ONNX file as a `Workload`.

    Attributes
    ----------
    name, path, digest : str
        The file's name without its suffix, its path, and ``sha256:`` of its bytes.
    file_bytes : int
    producer : str
        The program that wrote the file.
    opsets : dict
        Opset versions by domain.
    inputs : dict
        The shape of each input, with a batch size of 1 unless the file has a fixed one.
    workload : Workload
    layers : dict
        The layer of each operator, by the operator's index in the file; operators that were fused into another, or
        move nothing, have none.
    warnings : tuple of Message
        Parts of the file that were not imported.
    """

    name: str
    path: str
    digest: str
    file_bytes: int
    producer: str
    opsets: Mapping[str, int]
    inputs: Mapping[str, Shape]
    workload: Workload
    layers: Mapping[int, str]
    warnings: tuple[Message, ...]

    def __repr__(self) -> str:
        return f"<Model {self.name}: {len(self.workload)} layers, {self.file_bytes:,} bytes>"


def read_model(path: str | Path, name: str = "", *, shape: Sizes | None = None) -> Model:
    """Read an ``.onnx`` file.

    Parameters
    ----------
    path : str or Path
    name : str, optional
        The name of the workload (default: that of the file).
    shape : mapping, optional
        Sizes by the name of a symbolic dimension (``{"batch": 1, "sequence": 128}``), or shapes by the name of an
        input (``{"ids": (1, 128)}``), which override those of the file, or of another tensor whose shape can't be
        inferred.

    Raises
    ------
    InputError
        Names the file if it is missing, truncated, corrupted or hostile, or if symbolic sizes have no value.
    """
    path = Path(path)
    file = read_file(path)
    try:
        return _model(file, name or path.stem, shape or {})
    except InputError as error:
        raise InputError([Fault(str(path), fault.path, fault.message) for fault in error.faults]) from None
    except RecursionError:
        raise InputError("must be nested less deeply", str(path)) from None
    except _BROKEN:
        raise InputError("must be a model whose operators fit their tensors", str(path)) from None


def _model(file: OnnxFile, name: str, shape: Sizes) -> Model:
    inputs, symbols, others, notes = input_shapes(file, shape)
    differs = any(value.shape != inputs[value.name] for value in file.inputs if _is_static(value.shape))
    graph, batch, left_out = _graph(file, inputs, symbols, others, not differs)
    shapes = {value: graph.tensors[value].shape or () for value in graph.inputs}
    converter = Converter(file, graph, batch, MAKERS)
    converter.warnings[:0] = notes
    if left_out > 1:
        what = "its layers are read for" if batch == 1 else "it is written into its operators; the layers are those of"
        converter.warn("batch", f"the file has a batch of {{batch}}: {what} one input", batch=left_out)
    workload = converter.workload(name)
    return Model(
        name=workload.name,
        path=file.path,
        digest=file.digest,
        file_bytes=file.bytes,
        producer=file.producer,
        opsets=file.opsets,
        inputs=shapes,
        workload=workload,
        layers=converter.layers,
        warnings=converter.facts(),
    )


def _is_static(shape: tuple[int | str | None, ...] | None) -> bool:
    return shape is not None and all(isinstance(size, int) for size in shape)


def _graph(
    file: OnnxFile, inputs: dict[str, Shape], symbols: dict[str, int], others: dict[str, Shape], use_value_info: bool
) -> tuple[Graph, int, int]:
    """The graph, with a batch size of 1 if it allows that; the batch size of its tensors, and that of the file."""
    graph = graph_of(file, inputs, symbols, others, use_value_info)
    batch = _batch(graph)
    if batch == 1:
        return graph, 1, 1
    single = {name: (1, *shape[1:]) if len(shape) > 1 else shape for name, shape in inputs.items()}
    try:
        other = graph_of(file, single, symbols, others, False)
    except InputError:
        return graph, batch, batch
    whole = not other.unknown and all(
        (other.tensors[name].shape or (1,))[0] == 1
        for name in graph.outputs
        if name in graph.tensors and len(graph.tensors[name].shape or ()) > 1
    )
    return (other, 1, batch) if whole else (graph, batch, batch)


def _batch(graph: Graph) -> int:
    """The size of the first axis if all inputs and outputs share it, else 1; recurrent networks may have time first."""
    if any(op.code in _RECURRENT for op in graph.ops):
        return 1
    ends = [graph.tensors[name].shape or () for name in (*graph.inputs, *graph.outputs) if name in graph.tensors]
    first = {shape[0] for shape in ends if len(shape) > 1}
    return max(first.pop(), 1) if len(first) == 1 else 1
