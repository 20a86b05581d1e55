"""TFLite models: the network as layers, with the tensors and operators of the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hwsim.errors import Fault, InputError
from hwsim.message import Message, sentence
from hwsim.workload.buffers import ArenaRequests
from hwsim.workload.network import Workload
from hwsim.workload.tflite.converter import Converter
from hwsim.workload.tflite.file import read_tables
from hwsim.workload.tflite.graph import Operator, Quantization, Tensor
from hwsim.workload.tflite.input_shapes import open_sizes, resized, settled
from hwsim.workload.tflite.operators import MAKERS

__all__ = ["Model", "Operator", "Quantization", "Tensor", "read_model"]


@dataclass(frozen=True, eq=False)
class Model:
    """A TFLite file: its graph as stored (`operators` on `tensors`), and as a `Workload`.

    Attributes
    ----------
    name, path, digest : str
        The file's name without its suffix, its path, and ``sha256:`` of its bytes.
    file_bytes : int
    tensors : tuple of Tensor
        By index; `values` of a constant is a numpy array, a view into the file that is made on demand.
    operators : tuple of Operator
        In execution order, with their options.
    inputs, outputs : tuple of int
        Input and output tensors of the network.
    workload : Workload
    layers : dict
        The layer of each operator, by the operator's index.
    warnings : tuple of Message
        Parts of the file that were not imported.
    requests : ArenaRequests
        What the file asks of the arena of TensorFlow Lite Micro.
    constant_bytes : int
        Bytes of all constants that operators read, an array that several read once: weights, biases, shapes.
    """

    name: str
    path: str
    digest: str
    file_bytes: int
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    workload: Workload
    layers: dict[int, str]
    warnings: tuple[Message, ...]
    requests: ArenaRequests

    @cached_property
    def constant_bytes(self) -> int:
        """Bytes of all constants that operators read, each stored array once."""
        read = {index for op in self.operators for index in op.inputs if index >= 0}
        stored = {tensor.buffer: tensor.data.size for index in read if (tensor := self.tensors[index]).data is not None}
        return sum(stored.values())

    def __repr__(self) -> str:
        return f"<Model {self.name}: {len(self.operators)} operators, {self.file_bytes:,} bytes>"


def read_model(
    path: str | Path,
    name: str = "",
    *,
    shape: Mapping[str, int | Sequence[int]] | None = None,
    allow_missing: bool = False,
) -> Model:
    """Read a ``.tflite`` file.

    Parameters
    ----------
    path : str or Path
    name : str, optional
        The name of the workload (default: that of the file).
    shape : mapping, optional
        Shapes by the name of an input, as ``{"ids": (1, 128)}``, instead of those of the file.
    allow_missing : bool
        Read the file too if operators with stored weights, or more than half of it, are in no layer.

    Raises
    ------
    InputError
        Names the file if it is missing, truncated, corrupted or hostile.
    """
    path = Path(path)
    file = read_tables(path)
    try:
        resized_file, notes = (resized(file, shape), []) if shape else settled(file)
        converter = Converter(resized_file, MAKERS, allow_missing)
        converter.warnings[:0] = [] if shape else [*open_sizes(file), *notes]
        workload = converter.workload(name or path.stem)
    except InputError as error:
        faults = [Fault(str(path), fault.path, fault.message) for fault in error.faults]
        if not shape:
            faults += [Fault(str(path), "", sentence(note)) for note in open_sizes(file)]
        raise InputError(faults) from None
    return Model(
        name=workload.name,
        path=str(path),
        digest=file.digest,
        file_bytes=file.bytes,
        tensors=resized_file.tensors,
        operators=file.operators,
        inputs=file.inputs,
        outputs=file.outputs,
        workload=workload,
        layers=converter.layers,
        warnings=converter.facts(),
        requests=converter.requests,
    )
