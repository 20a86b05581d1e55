"""ONNX models: the network as layers, and warnings about the parts that were not imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hwsim.errors import Fault, InputError
from hwsim.message import Message
from hwsim.workload.layer import Shape
from hwsim.workload.network import Workload
from hwsim.workload.onnx.batch_axis import one_input, open_axis_fault
from hwsim.workload.onnx.converter import Converter
from hwsim.workload.onnx.file import read_file
from hwsim.workload.onnx.input_shapes import (
    OPEN_SIZE,
    InputShapes,
    OpenSizesError,
    Sizes,
    input_shapes,
    parse_shapes,
    times,
)
from hwsim.workload.onnx.operators import ROW_MAKERS
from hwsim.workload.onnx.records import OnnxFile
from hwsim.workload.onnx.shapes import graph_of

__all__ = ["Model", "Sizes", "parse_shapes", "read_model"]

#: Exceptions of numpy and lists if an operator indexes outside of its tensors and no earlier check reported it.
_BROKEN: tuple[type[Exception], ...] = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError)


_REFUSED: tuple[type[Exception], ...] = (InputError, *_BROKEN)


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
    rows : tuple of tuples
        The name in `layers` and those of all layers of each operator that became several.
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
    rows: tuple[tuple[str, ...], ...]
    warnings: tuple[Message, ...]

    def __repr__(self) -> str:
        return f"<Model {self.name}: {len(self.workload)} layers, {self.file_bytes:,} bytes>"


def read_model(path: str | Path, name: str = "", *, shape: Sizes | None = None, allow_missing: bool = False) -> Model:
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
    allow_missing : bool
        Read the file too if operators with stored weights, or more than half of it, are in no layer.

    Raises
    ------
    InputError
        Names the file if it is missing, truncated, corrupted or hostile, or if symbolic sizes have no value.
    """
    path = Path(path)
    file = read_file(path)
    try:
        return _model(file, name or path.stem, shape or {}, allow_missing)
    except InputError as error:
        raise InputError([Fault(str(path), fault.path, fault.message) for fault in error.faults]) from None
    except RecursionError:
        raise InputError("must be nested less deeply", str(path)) from None
    except _BROKEN:
        raise InputError("must be a model whose operators fit their tensors", str(path)) from None


def _model(file: OnnxFile, name: str, shape: Sizes, allow_missing: bool) -> Model:
    try:
        sizes = input_shapes(file, shape)
    except OpenSizesError as error:
        raise _usable(error, file, shape) from None
    return _network(file, name, sizes, allow_missing)


def _network(file: OnnxFile, name: str, sizes: InputShapes, allow_missing: bool) -> Model:
    inputs, symbols, others, notes = sizes
    differs = any(value.shape != inputs[value.name] for value in file.inputs if _is_static(value.shape))
    graph = graph_of(file, inputs, symbols, others, not differs)
    opened = [str(note.values["input"]) for note in notes if note.code == "import.default_batch"]
    if opened and (reason := open_axis_fault(graph, opened)) is not None:
        template = "the open first axis of {inputs} is 1, and is no batch: {reason}; --shape sets its size"
        notes = [Message("import.open_axis", template, {"inputs": opened, "reason": reason}, "warning")]
    graph, batch_notes = one_input(graph, times(file))
    shapes = {value: graph.tensors[value].shape or () for value in graph.inputs}
    converter = Converter(file, graph, ROW_MAKERS, allow_missing)
    converter.warnings[:0] = [*notes, *batch_notes]
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
        rows=tuple(converter.rows),
        warnings=converter.facts(),
    )


def _usable(error: OpenSizesError, file: OnnxFile, shape: Sizes) -> InputError:
    """The error with the first suggestion that the file can be read with: a sequence may be too short for a window."""
    for size in (OPEN_SIZE, 512, 4096, 16000):
        trial = error.with_size(size)
        try:
            _network(file, "trial", input_shapes(file, {**shape, **trial.suggestion}), True)
        except _REFUSED:
            continue
        return trial
    return error


def _is_static(shape: tuple[int | str | None, ...] | None) -> bool:
    return shape is not None and all(isinstance(size, int) for size in shape)
