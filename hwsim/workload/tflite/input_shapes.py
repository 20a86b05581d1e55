"""Shapes of a TFLite file with other sizes of its inputs, followed from operator to operator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from hwsim.errors import InputError, excerpt, nearest
from hwsim.message import Message
from hwsim.workload.layer import MAX_SIZE, Shape, whole
from hwsim.workload.tflite.batch_axis import SHAPE_OPERATORS
from hwsim.workload.tflite.graph import Operator, TfliteFile
from hwsim.workload.tflite.output_shapes import RULES, keeps
from hwsim.workload.tflite.shape_values import MAX_VALUES, Array, computed

__all__ = ["open_sizes", "resized", "settled"]


def open_sizes(file: TfliteFile) -> list[Message]:
    """A note for each input with open sizes beyond the first, which are read as the file has them."""
    notes = []
    for index in file.inputs:
        tensor = file.tensors[index]
        if any(size < 0 for size in tensor.signature[1:]):
            sizes = " x ".join("?" if size < 0 else str(size) for size in tensor.signature)
            template = "input {input!r} is {sizes}; its open sizes are read as {shape}: --shape sets them"
            values = {"input": tensor.name, "sizes": sizes, "shape": " x ".join(map(str, tensor.shape))}
            notes.append(Message("import.open_sizes", template, values, "warning"))
    return notes


def resized(file: TfliteFile, shape: Mapping[str, int | Sequence[int]]) -> TfliteFile:
    """The file with other shapes of its inputs, by their names, and all shapes that follow from them.

    Raises
    ------
    InputError
        For an unknown name, another rank, and the first operator whose output shape does not follow.
    """
    inputs = {file.tensors[index].name: index for index in file.inputs}
    shapes: dict[int, Shape] = {}
    for name, given in shape.items():
        if name not in inputs:
            raise InputError(f"shape must be of an input, not {excerpt(name)}{nearest(name, inputs)}")
        sizes = _sizes(given)
        rank = len(file.tensors[inputs[name]].shape)
        if sizes is None:
            raise InputError(f"shape must be sizes from 1 to 2^31, not {excerpt(given)}", path=f"input {name!r}")
        if len(sizes) != rank:
            raise InputError(f"shape must have {rank} sizes, not {len(sizes)}", path=f"input {name!r}")
        shapes[inputs[name]] = sizes
    return _Shapes(file, shapes).run()


def settled(file: TfliteFile) -> tuple[TfliteFile, list[Message]]:
    """The file with the shapes that it leaves open inside, where those of its inputs are known; and notes.

    A converter writes 1 where a size is computed when the network runs, as the frames of a spectrum are.
    """
    if open_sizes(file) or not any(_is_open(file, index) for op in file.operators for index in op.outputs):
        return file, []
    try:
        return _Shapes(file, {}, inside=True).run(), []
    except InputError as error:
        fault = error.faults[0]
        template = "it leaves sizes open inside, which are read as the file has them: {operator}: {reason}"
        values = {"operator": fault.path, "reason": fault.message}
        return file, [Message("import.open_inside", template, values, "warning")]


def _is_open(file: TfliteFile, index: int) -> bool:
    """Whether a tensor has an open size that is no batch: one has the first of several axes, if an input has it."""
    signature = file.tensors[index].signature
    has_batch = any(file.tensors[place].signature[:1] == (-1,) for place in file.inputs)
    return any(size < 0 for size in (signature[1:] if has_batch and len(signature) > 1 else signature))


def _sizes(given: object) -> Shape | None:
    """A shape of sizes from 1 to 2^31; None if it is none."""
    sizes = [whole(size) for size in (given if isinstance(given, (list, tuple)) else [given])]
    result = tuple(size for size in sizes if size is not None and 1 <= size <= MAX_SIZE)
    return result if len(result) == len(sizes) else None


class _Shapes:
    """Shapes of the tensors that differ from those of the file."""

    def __init__(self, file: TfliteFile, shapes: Mapping[int, Shape], inside: bool = False) -> None:
        self.file, self.inside = file, inside
        self.numbers: dict[int, Array] = {}
        self.shapes = {index: shape for index, shape in shapes.items() if shape != file.tensors[index].shape}

    def run(self) -> TfliteFile:
        for op in self.file.operators:
            if (numbers := self.computed(op)) is not None:
                self.numbers |= dict(zip(op.outputs, numbers))
                self.shapes |= {index: self.numbers[index].shape for index in op.outputs if index in self.numbers}
                continue
            if op.code in SHAPE_OPERATORS or not self.differs(op):
                continue
            try:
                outputs = RULES.get(op.code, keeps)(self, op)
            except (LookupError, TypeError, ValueError, ArithmeticError):
                raise InputError("its output has no shape that follows from the sizes given", path=str(op)) from None
            for index, shape in zip(op.outputs, outputs):
                if len(shape) != len(self.old(index)) or any(not 0 < size <= MAX_SIZE for size in shape):
                    raise InputError(f"its output would be of shape {shape}", path=str(op))
                if shape != self.old(index):
                    signature = self.file.tensors[index].signature
                    if self.inside and any(a > 0 and a != b for a, b in zip(signature, shape)):
                        raise InputError(f"its output would be of shape {shape}, not {signature}", path=str(op))
                    self.shapes[index] = shape
        tensors = [
            replace(tensor, shape=self.shapes[tensor.index]) if tensor.index in self.shapes else tensor
            for tensor in self.file.tensors
        ]
        return replace(self.file, tensors=tuple(tensors))

    def differs(self, op: Operator) -> bool:
        """Whether the shapes of an operator's outputs may not be those of the file."""
        if any(index in self.shapes or index in self.numbers for index in op.inputs):
            return True
        return self.inside and any(_is_open(self.file, index) for index in op.outputs)

    def computed(self, op: Operator) -> list[Array] | None:
        """The values of an operator on shapes and constants; None if they are unknown or many."""
        if op.custom:
            return None
        if op.code in SHAPE_OPERATORS:
            shape = self.new(op.inputs[0])
            return [np.array(shape if op.code == "SHAPE" else len(shape))]
        try:
            read = [self.number(index) for index in op.inputs if index >= 0]
            known = [values for values in read if values is not None]
            if len(known) < len(op.inputs) or not known or not op.outputs:
                return None
            return computed(op, known, self.file.tensors[op.outputs[0]].dtype)
        except (LookupError, TypeError, ValueError, ArithmeticError):
            return None

    def number(self, index: int) -> Array | None:
        """The values of a tensor, if they are few and known."""
        tensor = self.file.tensors[index]
        if not tensor.elements and index not in self.numbers:
            return np.zeros(tensor.shape, np.int64)
        if index in self.numbers or tensor.data is None or tensor.elements > MAX_VALUES:
            return self.numbers.get(index)
        return tensor.values() if tensor.dtype in ("int32", "int64", "bool") else None

    def old(self, index: int) -> Shape:
        return self.file.tensors[index].shape

    def new(self, index: int) -> Shape:
        return self.shapes.get(index, self.old(index))

    def values(self, index: int) -> list[int]:
        """The integers of a constant, or of what is computed of shapes."""
        values = self.number(index)
        if values is None or values.size > 64:
            raise ValueError
        return [int(value) for value in values.ravel()]
