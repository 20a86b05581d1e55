"""Convert the graph of a TFLite file to a workload: layer names, shapes, number formats and warnings."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from hwsim.errors import Fault, InputError
from hwsim.workload.buffers import ArenaRequests
from hwsim.workload.builder import Builder, UnmodeledError
from hwsim.workload.layer import Layer, Shape
from hwsim.workload.layers import Concat, DataMovement, Opaque
from hwsim.workload.missing import Missing
from hwsim.workload.network import INPUT, Workload
from hwsim.workload.number_format import format_of
from hwsim.workload.tensor import TensorSpec
from hwsim.workload.tflite.arena_requests import arena_requests
from hwsim.workload.tflite.batch_axis import SHAPE_OPERATORS, one_input
from hwsim.workload.tflite.dead_channels import Mask, dead_channels, nonzero
from hwsim.workload.tflite.graph import Operator, Tensor, TfliteFile, bits_of
from hwsim.workload.tflite.subgraphs import inlined
from hwsim.workload.zeros import Axes, counted, few_channels, kept_of

__all__ = ["OF_VARIABLES", "Converter", "Maker", "Values"]

Values: TypeAlias = dict[str, Any]
#: Makes the layer that stands for an operator, or adds several rows itself and returns None.
Maker: TypeAlias = "Callable[[Converter, Operator, str], Layer | None]"

#: Operators whose faults are errors; others become opaque layers.
_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "CONV_3D", "CONV_3D_TRANSPOSE")

#: Prefix of a layer's name, if it is not the operator's own name.
_SHORT = {
    "CONV_2D": "conv", "DEPTHWISE_CONV_2D": "dwconv", "FULLY_CONNECTED": "fc", "AVERAGE_POOL_2D": "pool",
    "MAX_POOL_2D": "pool", "CONCATENATION": "concat", "UNIDIRECTIONAL_SEQUENCE_LSTM": "lstm", "BATCH_MATMUL": "matmul",
}  # fmt: skip
#: Operators whose constants are weights.
_READS_WEIGHTS = {
    *_WEIGHTED, "BATCH_MATMUL", "GATHER", "EMBEDDING_LOOKUP", "SVDF",
    "UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM", "UNIDIRECTIONAL_SEQUENCE_RNN",
    "BIDIRECTIONAL_SEQUENCE_RNN", "RNN", "LSTM",
}  # fmt: skip
#: Operators on variables by their handles, and what sets them when the model is loaded.
OF_VARIABLES = ("VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE")
_LONGEST = 80
#: Sparse weights are unpacked up to so many values for each that is stored, and so many of a file.
_LOOSEST, _MOST_UNPACKED = 64, 2**28
_MOST_IMAGES = 64
#: A network that is compiled for an accelerator is one custom operator.
_COMPILED = {
    "ethos-u": "Vela compiled for an Ethos-U",
    "edgetpu-custom-op": "is compiled for an Edge TPU",
    "NeutronGraph": "is compiled for a Neutron NPU of NXP",
    "vsi-npu": "is compiled for an NPU of VeriSilicon",
}


class Converter(Builder[int]):
    """Makes the layers of one file; afterwards `layers` maps the index of an operator to the name of its layer.

    Shapes are without the batch and images have their channels first, as everywhere in hwsim.
    """

    def __init__(self, file: TfliteFile, makers: Mapping[str, Maker], allow_missing: bool = False) -> None:
        super().__init__(file.inputs)
        self.whole, self.makers, self.allow_missing = file, makers, allow_missing
        self.inlined = inlined(file)
        file, notes = self.inlined.file, self.inlined.notes
        self.lost: list[Operator] = []
        self.folded: set[int] = set()
        self.file = file
        self.warnings.extend(notes)
        self.tensors = list(file.tensors)
        self.layers: dict[int, str] = {}
        written = {index for op in file.operators for index in op.outputs} | set(file.inputs)
        self.constants = {
            t.index: t for t in file.tensors if t.data is not None or t.variable or t.index not in written
        }
        self.shapes: dict[str, Shape] = {}
        self.formats: dict[str, TensorSpec] = {}
        self.weight_specs: dict[tuple[int, Axes | None], TensorSpec] = {}
        self.unpacked = 0
        read = {index for op in file.operators for index in op.inputs}
        self.used = read | set(file.outputs)
        self._fold()
        self.file, notes = one_input(file, self.constants)
        self.batched = self.file is not file
        self.constants |= {tensor.index: tensor for tensor in self.file.tensors[len(file.tensors) :]}
        self.warnings.extend(notes)
        self.tensors = list(self.file.tensors)
        self.shared = self._shared()
        #: Buffers that operators read.
        self.stored = {self.constants[index].buffer for index in read if index in self.constants}
        if len(file.inputs) == 1:
            self.shapes[INPUT] = self.shape(self.file.tensors[file.inputs[0]])
        self.dead: Mapping[int, Mask] = {}

    def workload(self, name: str) -> Workload:
        """The network."""
        with np.errstate(all="ignore"):
            self.dead = dead_channels(self.file, self.constants)
            for place, op in enumerate(self.file.operators):
                self._idle(place)
                self._operator(op)
            self._idle(len(self.file.operators))
        source = f"{name}.tflite, {self.file.bytes} bytes"
        missing = self.missing()
        shapes = [self.shape(self.tensors[index]) for index in self.file.inputs]
        requests = self.requests if not self.batched else None
        digest = self.file.digest
        return self.network(name, shapes, source=source, digest=digest, requests=requests, missing=missing)

    def missing(self) -> Missing | None:
        """What is in no row; raises InputError if it is much, or has weights, and the user did not allow it."""
        lost: list[tuple[Sequence[Tensor], Operator]] = [(self.tensors, op) for op in self.lost]
        lost += [(graph.tensors, op) for graph in self.inlined.lost for op in graph.operators]
        if not lost:
            return None
        kept = [op for op in self.file.operators if op.index not in self.folded | {op.index for op in self.lost}]
        stored = {
            constant.buffer: constant.data.size
            for op in kept
            for index in op.inputs
            if (constant := self.constants.get(index)) is not None and constant.data is not None
        }
        gone = {
            tensors[index].buffer: data.size
            for tensors, op in lost
            for index in op.inputs
            if index >= 0 and (data := tensors[index].data) is not None and tensors[index].buffer not in stored
        }
        size = sum(gone.values())
        missing = Missing(len(lost), len(kept) + len(lost), size, sum(stored.values()) + size)
        weighted = next((op for tensors, op in lost if _has_weights(tensors, op)), None)
        if not self.allow_missing and (weighted or max(missing.operator_share, missing.byte_share) > 0.5):
            what = f"{weighted} has stored weights and" if weighted else f"{lost[0][1]} and others"
            why = "it writes no tensor" if self.lost else "hwsim can't put its subgraph in the place of what runs it"
            reads = f"--allow-missing reads the rest ({missing.message()})"
            raise InputError(f"{what} would be in no row: {why}; {reads}")
        return missing

    @cached_property
    def requests(self) -> ArenaRequests:
        """What the file asks of the arena of TensorFlow Lite Micro."""
        by_name = {node.layer.name: node.layer for node in self.nodes}
        return arena_requests(
            self.whole, {index: by_name[name] for index, name in self.layers.items() if name in by_name}
        )

    def _fold(self) -> None:
        """Fold operators on constants: TFLite runs them once, when the model is loaded.

        Shapes are constants too, with what is computed of them. States are where something else is read beside them:
        what is computed of them alone runs with every input.
        """
        of_shapes: set[int] = set()
        states = {tensor.index for tensor in self.tensors if tensor.variable}
        for op in self.file.operators:
            is_shape = op.code in SHAPE_OPERATORS and not op.custom
            if not is_shape and any(index >= 0 and index not in self.constants for index in op.inputs):
                continue
            if op.code not in OF_VARIABLES and (read := states & {*op.inputs}):
                for index in read:
                    del self.constants[index]
                    self.producers[index] = INPUT
                states -= read
                continue
            self.folded.add(op.index)
            if op.code == "READ_VARIABLE":
                states.update(op.outputs)
            for place, index in enumerate(op.outputs):
                tensor = self.tensors[index]
                # A float16 model widens its weights by DEQUANTIZE: they are stored, and counted, as float16.
                is_widened = op.code in ("DEQUANTIZE", "DENSIFY") and place == 0 and op.inputs
                self.constants[index] = self.constants.get(op.inputs[0], tensor) if is_widened else tensor
            if is_shape or of_shapes & {*op.inputs}:
                of_shapes.update(op.outputs)
            elif op.code not in ("DEQUANTIZE", "DENSIFY", *OF_VARIABLES):
                self._left_out(op, "constant", "reads constants alone")

    def _shared(self) -> dict[int, str]:
        """A name for each stored array that several operators read as weights, by its buffer."""
        arrays = (
            {constant.buffer: constant for index in op.inputs if (constant := self.constants.get(index)) is not None}
            for op in self.file.operators
            if op.code in _READS_WEIGHTS
        )
        readers = Counter(buffer for read in arrays for buffer, constant in read.items() if constant.data is not None)
        first = {tensor.buffer: tensor for tensor in reversed(self.file.tensors)}
        return {
            buffer: f"{first[buffer].name[:_LONGEST] or 'array'} {buffer}" for buffer, n in readers.items() if n > 1
        }

    def _operator(self, op: Operator) -> None:
        operands = self.operands(op)
        if not operands or (op.outputs and all(index in self.constants for index in op.outputs)):
            return
        if not op.outputs and op.code == "ASSIGN_VARIABLE":
            tensor = operands[-1]
            shape, spec = self.shape(tensor), self.spec(tensor)
            name = self.layers[op.index] = f"assign_variable_{op.index}"
            copy = DataMovement(name, shape=shape, to=shape, type="copy", input=spec, output=spec)
            self.row(copy, [self.producers[tensor.index]])
            return
        if not op.outputs:
            self._left_out(op, "no_output", "writes no tensor")
            self.lost.append(op)
            return
        prefix = _SHORT.get(op.code) or "".join(char if char.isalnum() else "_" for char in op.code.lower())[:60]
        name = self.layers[op.index] = f"{prefix}_{op.index}"
        inputs = tuple(self.producers[tensor.index] for tensor in operands)
        try:
            layer = self._layer(op, name)
        except InputError as error:
            messages = dict.fromkeys(fault.message for fault in error.faults)  # rows and columns can be wrong alike
            raise InputError([Fault("", str(op), message) for message in messages]) from None
        if layer is not None:
            self.row(layer, inputs, op.outputs[0])
        for place, index in enumerate(op.outputs[1:], 1):
            if index not in self.used:
                self.producers[index] = name
            elif index not in self.producers:
                out, first = self.tensors[index], operands[0]
                shapes = self.shape(first), self.shape(out)
                self.part(f"{name}_{place}", index, inputs[0], *shapes, self.spec(first), self.spec(out))

    def _idle(self, place: int) -> None:
        """Add rows for the weights of branches that do not run, before the operator at `place`."""
        for idle in (idle for idle in self.inlined.idle if idle.place == place):
            counts: dict[TensorSpec, int] = {}
            for tensor in idle.weights():
                if tensor.buffer not in self.stored and bits_of(tensor.dtype):
                    spec = self.spec(tensor)
                    counts[spec] = counts.get(spec, 0) + tensor.elements
                    self.stored.add(tensor.buffer)
            reads = [self.tensors[index] for index in idle.inputs if index in self.producers]
            for number, (weight, count) in enumerate(counts.items() if reads else (), 1):
                name = idle.name if number == 1 else f"{idle.name}_{number}"
                shape, spec = self.shape(reads[0]), self.spec(reads[0])
                types = {"input": spec, "weight": weight, "output": spec}
                row = Opaque(name, type="branch", shapes=(shape,), to=shape, stored=count, idle=count, **types)
                self.put(row, [self.producers[reads[0].index]])

    def _left_out(self, op: Operator, code: str, reason: str) -> None:
        self.warn(code, f"{{operator}} {reason} and is left out", f"operator {op.index}", operator=op.code)

    def row(self, layer: Layer, inputs: Sequence[str], *tensors: int) -> str:
        """Add a layer that reads these layers, each in another view where the layer takes another shape."""
        for place, producer in enumerate(inputs):
            shape = self.shapes.get(producer)
            if shape is not None and place < len(layer.operands) and not layer.accepts(shape, place):
                inputs = self._view(layer, inputs, place)
        self.shapes[layer.name], self.formats[layer.name] = layer.output.shape, layer.output.spec
        return self.put(layer, inputs, *tensors)

    def _view(self, layer: Layer, inputs: Sequence[str], place: int) -> Sequence[str]:
        """The inputs with that at `place` as a view in the shape of the operand, if it has as many values."""
        producer, to = inputs[place], layer.operands[place]
        shape = self.shapes[producer]
        if math.prod(shape) != math.prod(to) or not layer.accepts(to, place):
            return inputs
        name = f"{layer.name}_view{place or ''}"
        if producer == INPUT:
            spec = self.spec(self.tensors[self.file.inputs[0]])
        else:
            spec = self.formats[producer]
        self.put(DataMovement(name, shape=shape, to=to, input=spec, output=spec), (producer,))
        return [*inputs[:place], name, *inputs[place + 1 :]]

    def _layer(self, op: Operator, name: str) -> Layer | None:
        maker = self.makers.get(op.code)
        count = len(self.nodes)
        try:
            if op.code in _COMPILED:
                raise UnmodeledError(f"a block that {_COMPILED[op.code]}: the network inside is not read")
            if maker is None:
                raise UnmodeledError("hwsim does not know it")
            return maker(self, op, name)
        except UnmodeledError as reason:
            why = str(reason)
        except InputError as error:
            if op.code in _WEIGHTED:
                raise
            why = error.faults[0].message
        del self.nodes[count:]
        self.opaque_warning(name, op.code, why)
        return self.bytes_row(op, name)

    def bytes_row(self, op: Operator, name: str) -> Layer:
        """A row of what an operator reads and writes."""
        operands = self.operands(op)
        read = (self.constants[i] for i in dict.fromkeys(op.inputs) if i in self.constants)
        constants = [tensor for tensor in read if tensor.data is not None]
        out = self.tensors[op.outputs[0]]
        return self.opaque(
            name,
            name.rpartition("_")[0],
            [(self.shape(tensor), self.spec(tensor)) for tensor in operands],
            (self.shape(out), self.spec(out)),
            [(tensor.elements, self.spec(tensor)) for tensor in constants],
        )

    def each_image(self, make: Maker, op: Operator, name: str, at: int = 0) -> Layer | None:
        """The rows of an operator on images: of several that are no batch, those of each, of one stored array."""
        source, out = self.input_tensor(op, at), self.tensors[op.outputs[0]]
        count = source.shape[0] if len(source.shape) == len(out.shape) == 4 else 1
        if count == 1 or out.shape[0] != count or source.index in self.constants:
            return make(self, op, name)
        if count > _MOST_IMAGES:
            raise UnmodeledError(f"it reads {count} images that are no batch")
        weights = self.constant(op, 1)
        if weights is not None:
            self.shared.setdefault(weights.buffer, f"{weights.name[:_LONGEST] or 'array'} {weights.buffer}")
        producer, whole, spec = self.producers[source.index], self.shape(source), self.spec(source)
        for tensor in (source, out):
            self.tensors[tensor.index] = replace(tensor, shape=(1, *tensor.shape[1:]))
        to, rows = self.shape(self.tensors[source.index]), []
        try:
            for place in range(count):
                part = f"{name}_{place}"
                cut = DataMovement(f"{part}_image", type="slice", shape=whole, to=to, input=spec, output=spec)
                self.producers[source.index] = self.row(cut, [producer])
                layer = make(self, op, part)
                if layer is not None:
                    self.row(layer, [cut.name], out.index)
                rows.append(self.producers[out.index])
        finally:
            self.tensors[source.index], self.tensors[out.index] = source, out
            self.producers[source.index] = producer
        shape, spec = self.shapes[rows[0]], self.formats[rows[0]]
        parts = (1,) * count
        self.row(Concat(name, before=(), parts=parts, rest=shape, input=spec, output=spec), rows, out.index)
        return None

    # Queries of the makers about an operator's tensors.

    def operands(self, op: Operator) -> list[Tensor]:
        """The inputs that are produced by another operator or are inputs of the network."""
        return [self.tensors[i] for i in op.inputs if i >= 0 and i not in self.constants]

    def input_tensor(self, op: Operator, place: int) -> Tensor:
        """The input at `place`."""
        if place >= len(op.inputs) or op.inputs[place] < 0:
            raise InputError(f"must have input {place}, and has {len(op.inputs)}")
        return self.tensors[op.inputs[place]]

    def constant(self, op: Operator, place: int) -> Tensor | None:
        """The constant at `place`: None if there is none."""
        return self.constants.get(op.inputs[place]) if place < len(op.inputs) else None

    def weights(self, op: Operator, rank: int, place: int = 0) -> Tensor:
        """The weights of a layer, at place 1 beside one operand at `place`."""
        tensor = self.constant(op, 1)
        if tensor is None or len(self.operands(op)) != 1 or self.input_tensor(op, place).index in self.constants:
            raise UnmodeledError("its weights are computed")
        if len(tensor.shape) != rank or not tensor.elements:
            raise InputError(f"weights must have {rank} sizes, none of them 0, not {tensor.shape}")
        return tensor

    def shape(self, tensor: Tensor) -> Shape:
        """A tensor's shape without the first axis, if that is of size 1, and with the channels of an image first."""
        return tuple(tensor.shape[axis] if axis >= 0 else 1 for axis in self.axes(tensor)) or (1,)

    def last_axis_shape(self, tensor: Tensor) -> Shape:
        """A tensor's shape without the first axis, if that is of size 1, in the order of the file."""
        return tensor.shape[1:] if self.strips(tensor) and len(tensor.shape) > 2 else self.shape(tensor)

    def strips(self, tensor: Tensor) -> bool:
        """Whether the first axis of a tensor is the batch: one input, or one of the batch of the file."""
        return len(tensor.shape) > 1 and tensor.shape[0] == 1

    def axes(self, tensor: Tensor) -> tuple[int, ...]:
        """The tensor's axis for each axis of the layer's shape; -1 is an axis of size 1 in place of the batch."""
        rank = len(tensor.shape)
        if not self.strips(tensor):
            return tuple(range(rank))
        return {2: (-1, 1), 4: (3, 1, 2), 5: (4, 1, 2, 3)}.get(rank, tuple(range(1, rank)))

    def is_image(self, tensor: Tensor) -> bool:
        """Whether a tensor is one image."""
        return len(tensor.shape) == 4 and tensor.shape[0] == 1

    def image(self, op: Operator, place: int = 0) -> Values:
        """c, h and w of an operator's input."""
        tensor = self.input_tensor(op, place)
        if not self.is_image(tensor):
            raise UnmodeledError(f"it reads {' x '.join(map(str, tensor.shape))}, not one image")
        return dict(zip(("h", "w", "c"), tensor.shape[1:]))

    def volume(self, op: Operator, place: int = 0) -> Values:
        """c, d, h and w of an operator's input."""
        tensor = self.input_tensor(op, place)
        if len(tensor.shape) != 5 or tensor.shape[0] != 1:
            raise UnmodeledError(f"it reads {' x '.join(map(str, tensor.shape))}, not one volume")
        return dict(zip(("d", "h", "w", "c"), tensor.shape[1:]))

    def spec(self, tensor: Tensor) -> TensorSpec:
        """A tensor's number format."""
        if (name := format_of(tensor.dtype, "tflite")) is None:
            raise InputError(f"values must have at most 64 bits, not be {tensor.dtype}")
        return TensorSpec(name)

    def types(self, op: Operator, weights: Tensor | None = None, axes: Axes | None = None) -> Values:
        """The number formats of a layer's tensors; that of weights has their density, by channels with `axes`."""
        output = self.tensors[op.outputs[0]]
        types: Values = {"input": self.spec(self.operands(op)[0]), "output": self.spec(output)}
        if weights is not None:
            types["weight"] = self.weight_spec(weights, axes)
        return types

    def weight_spec(self, weights: Tensor, axes: Axes | None = None) -> TensorSpec:
        """The number format, the density and the stored array of weights; with `axes` what each channel has."""
        key = weights.index, axes
        if key not in self.weight_specs:
            self.weight_specs[key] = self._weight_spec(weights, axes)
        return self.weight_specs[key]

    def _weight_spec(self, weights: Tensor, axes: Axes | None) -> TensorSpec:
        spec = self.spec(weights)
        if weights.data is None or not weights.elements:
            return spec
        if weights.sparse:
            stored = weights.data.size * 8 // max(spec.bits, 1)
            spec = TensorSpec(spec.dtype, min(stored / weights.elements, 1.0), format="csr")
            self.unpacked += weights.elements
            if (
                axes is None
                or not few_channels(weights.shape, axes)
                or weights.elements > _LOOSEST * max(stored, 2**10)
                or self.unpacked > _MOST_UNPACKED
            ):
                return spec
            try:
                kept = weights.sparse.kept(weights.shape, stored)
            except InputError as error:
                raise InputError(error.faults[0].message, path=f"tensor {weights.index}") from None
            blocks = len(weights.sparse.blocked) > 0
            return counted(replace(spec, pattern="block") if blocks else spec, kept_of(kept, axes), sparse=True)
        mask = nonzero(weights, self.file.budget)
        density = int(np.count_nonzero(mask)) / weights.elements
        spec = TensorSpec(spec.dtype, density, array=self.shared.get(weights.buffer, ""))
        few = axes is not None and density < 1 and few_channels(weights.shape, axes)
        return counted(spec, kept_of(mask, axes)) if few and axes is not None else spec

    def check_output(self, op: Operator, layer: Layer) -> Layer:
        """The layer, if its output has as many values as the tensor in the file."""
        out, shape = self.tensors[op.outputs[0]], layer.output.shape
        if self.shape(out) != shape and math.prod(self.shape(out)) != math.prod(shape):
            sizes = " x ".join(map(str, out.shape))
            raise InputError(f"output must have {math.prod(shape)} values by its input and options, not {sizes}")
        return layer


def _has_weights(tensors: Sequence[Tensor], op: Operator) -> bool:
    """Whether an operator reads a stored matrix of numbers."""
    stored = [tensors[index] for index in op.inputs if index >= 0 and tensors[index].data is not None]
    matrices = [tensor for tensor in stored if len([size for size in tensor.shape if size > 1]) > 1]
    return any(tensor.dtype not in ("int32", "int64", "bool", "string") for tensor in matrices)
