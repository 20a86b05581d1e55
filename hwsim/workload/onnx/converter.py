"""From the graph of an ONNX file to a workload: names, shapes, types, and what of the file is lost."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

from hwsim.errors import Fault, InputError
from hwsim.workload.builder import Builder, UnmodeledError
from hwsim.workload.layer import Layer, Shape
from hwsim.workload.layers import DataMovement
from hwsim.workload.network import INPUT, Workload
from hwsim.workload.onnx.canonical import MS, Op
from hwsim.workload.onnx.constants import Constant
from hwsim.workload.onnx.dead import Fixed, dead_channels, mask_for
from hwsim.workload.onnx.graph import Graph, Tensor
from hwsim.workload.onnx.lowering import FREE, WEIGHTED, lowered
from hwsim.workload.onnx.operators import MAKERS
from hwsim.workload.onnx.records import OnnxFile, text
from hwsim.workload.onnx.stored import Values
from hwsim.workload.tensor import TensorSpec

__all__ = ["Converter"]

#: ONNX's types by the format whose bits they have.
DTYPES = {
    "float": "fp32", "double": "fp64", "float16": "fp16", "bfloat16": "bf16", "complex64": "fp64", "int64": "int64",
    "uint64": "int64", "int32": "int32", "uint32": "int32", "int16": "int16", "uint16": "int16", "int8": "int8",
    "uint8": "int8", "bool": "int8", "string": "int8", "int4": "int4", "uint4": "int4", "float4e2m1": "int4",
    "int2": "ternary", "uint2": "ternary", "float8e4m3fn": "fp8", "float8e4m3fnuz": "fp8", "float8e5m2": "fp8",
    "float8e5m2fnuz": "fp8", "float8e8m0": "fp8",
}  # fmt: skip
_LONGEST = 80


class Converter(Builder[str]):
    """Makes the layers of one graph; afterwards `layers` says which operator of the file became which.

    Shapes are without the batch. Where the batch of the file is written into it and can't be changed, `batch` is its
    size, and the layers are those of one input.
    """

    def __init__(self, file: OnnxFile, graph: Graph, batch: int) -> None:
        super().__init__(graph.inputs)
        self.file, self.graph, self.batch = file, graph, batch
        self.warnings.extend(graph.warnings)
        self.tensors, self.constants = graph.tensors, graph.constants
        self.layers: dict[int, str] = {}
        self.names = {INPUT}
        self.shapes: dict[str, Shape] = {}
        self.dead: dict[str, Fixed] = {}
        self.lost: list[str] = []
        self.used = set(graph.outputs)
        self.moved: dict[tuple[str, Shape], str] = {}

    def workload(self, name: str) -> Workload:
        """The network."""
        ops = lowered(self.graph)
        self.used |= {item for op in ops for item in (*op.inputs, *op.captured)}
        with np.errstate(all="ignore"):
            self.dead = dead_channels(self.graph, ops)
        for op in ops:
            self.operator(op)
        if self.lost:
            shown = ", ".join(self.lost[:3]) + (f" and {len(self.lost) - 3} more" if len(self.lost) > 3 else "")
            self.warn(f"left out, as the shapes of what they read or write are not known: {shown}")
        if self.file.external:
            count = len(self.file.external)
            self.warn(f"the values of {count} constants are in other files and are not read: they count as dense")
        inputs = [self.shape(self.tensors[item]) for item in self.graph.inputs if item not in self.constants]
        if not inputs:
            raise InputError("must have an input")
        source = f"{name}.onnx, {self.file.bytes} bytes"
        return self.network(name, inputs, alike=True, source=source, digest=self.file.digest)

    # One operator

    def operator(self, op: Op) -> None:
        operands = self.operands(op)
        unknown = self.graph.unknown
        if lost := next((name for name in (*op.inputs, *op.captured, *op.outputs) if name in unknown), None):
            if op.code in WEIGHTED:
                raise InputError(f"{unknown[lost]}; it can be given, as --shape {text(lost)}=1x64x56x56")
            self.lost.append(str(op))
            for name in op.outputs:
                unknown.setdefault(name, unknown[lost])
            return
        written = [name for name in op.outputs if name and name not in self.constants]
        if not operands or not written:
            return
        if op.code in FREE and self.alias(op, operands[0], written[0]):
            return
        name = self.layers[op.index] = self.name(op)
        try:
            self.made(op, name, operands, written)
        except InputError as error:
            messages = dict.fromkeys(fault.message for fault in error.faults)  # rows and columns can be wrong alike
            raise InputError([Fault("", str(op), message) for message in messages]) from None
        for place, tensor in enumerate(written):
            if place and tensor not in self.producers and tensor in self.used and tensor not in self.constants:
                first, made = operands[0], self.tensors[tensor]
                shapes = self.shape(first), self.shape(made)
                part = self.unique(f"{name}_{place}")
                self.part(part, tensor, self.producers[first.name], *shapes, self.spec(first), self.spec(made))

    def made(self, op: Op, name: str, operands: list[Tensor], written: list[str]) -> None:
        entry = MAKERS.get(op.code)
        count = len(self.nodes)
        try:
            if entry is None:
                raise UnmodeledError("hwsim does not know it" if not op.subgraphs else "it runs a subgraph")
            layer = entry[1](self, op, name)
            if layer is not None:
                self.row(layer, [tensor.name for tensor in operands], written[0])
            return
        except UnmodeledError as reason:
            why = str(reason)
        except InputError as error:
            if op.code in WEIGHTED:
                raise
            why = error.faults[0].message
        del self.nodes[count:]
        self.opaque_warning(op, why)
        out = self.tensors[written[0]]
        stored = [self.constants[item] for item in dict.fromkeys(op.inputs) if item in self.constants]
        code = op.source.rpartition(".")[2]
        row = self.opaque(
            name,
            re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", code).lower()[:60] or "operator",
            [(self.shape(tensor), self.spec(tensor)) for tensor in operands],
            (self.shape(out), self.spec(out)),
            [(constant.elements, self.stored(constant)) for constant in stored],
        )
        self.row(row, [tensor.name for tensor in operands], written[0])

    def alias(self, op: Op, source: Tensor, out: str) -> bool:
        """Alias a reshape; it needs no layer."""
        if source.elements != self.tensors[out].elements or len(self.operands(op)) != 1:
            return False
        self.producers[out] = self.producers[source.name]
        return True

    def row(self, layer: Layer, reads: Sequence[str], *tensors: str) -> str:
        """Add a layer that reads these tensors of the graph; those of another shape are reshaped first."""
        return self.put(layer, [self.fitting(layer, place, name) for place, name in enumerate(reads)], *tensors)

    def put(self, layer: Layer, inputs: Sequence[str], *tensors: str) -> str:
        """Add a layer that reads these layers and writes the tensors; returns its name."""
        self.shapes[layer.name] = layer.output.shape
        return super().put(layer, inputs, *tensors)

    def between(self, op: Op, name: str, shape: Shape, dtype: str = "") -> str:
        """A tensor between the rows of one operator; its shape has no batch."""
        made = f"{name} of {op.index}"
        self.tensors[made] = Tensor(made, dtype or self.output(op).dtype, (self.batch, *shape))
        return made

    def fitting(self, layer: Layer, place: int, name: str) -> str:
        """The name of the layer that gives an operand, in a shape that the layer takes."""
        producer = self.producers[name]
        operands = layer.operands
        if place >= len(operands):
            return producer
        source_shape = self.shapes.get(producer) or self.shape(self.tensors[self.graph.inputs[0]])
        operand = operands[place]
        if layer.accepts(source_shape, place) or (producer == INPUT and len(self.graph.inputs) > 1):
            return producer
        own = self.shape(self.tensors[name])
        to = operand if math.prod(operand) == math.prod(source_shape) else own
        if math.prod(to) != math.prod(source_shape) or not layer.accepts(to, place):
            return producer
        if (producer, to) not in self.moved:
            kind = "reshape" if to == own else "transpose"
            made = self.unique(f"{layer.name}_{kind}")
            spec = self.spec(self.tensors[name])
            move = DataMovement(made, type=kind, shape=source_shape, to=to, input=spec, output=spec)
            self.put(move, (producer,))
            self.moved[producer, to] = made
        return self.moved[producer, to]

    def name(self, op: Op) -> str:
        """A name for an operator's layer: that of the file, of one with weights without its kind at the end."""
        kind = op.source.rpartition(".")[2]
        given = (op.name or f"{kind.lower()}_{op.index}").removesuffix("_quant")
        parts = [part for part in given.split("/") if part]
        segments = [part for part, after in zip(parts, [*parts[1:], ""]) if not after.startswith(f"{part}.")]
        short = "/".join(segments[:-1]) if op.code in (*WEIGHTED, "LSTM", "GRU") and op.code in segments[-1:] else ""
        for candidate in (short, "/".join(segments), f"{kind.lower()}_{op.index}"):
            made = "".join(char if char.isprintable() and char not in ",:\\ \t" else "_" for char in candidate)
            made = made.lstrip("/")[-_LONGEST:].lstrip("/_.")
            if made and made not in self.names:
                self.names.add(made)
                return made
        return self.unique(f"{kind.lower()[:60]}_{op.index}")

    def unique(self, name: str) -> str:
        """A name that nothing has yet."""
        made, count = name, 1
        while made in self.names:
            count += 1
            made = f"{name}_{count}"
        self.names.add(made)
        return made

    # What the makers ask of an operator's tensors.

    def operands(self, op: Op) -> list[Tensor]:
        """The inputs that another operator, or the user, gives."""
        return [
            self.tensors[name]
            for name in (*op.inputs, *op.captured)
            if name in self.producers and name not in self.constants
        ]

    def given(self, op: Op, place: int) -> Tensor:
        """The input at `place`."""
        name = op.input(place)
        if name not in self.tensors:
            raise InputError(f"must have input {place}, and has {len(op.inputs)}")
        return self.tensors[name]

    def output(self, op: Op) -> Tensor:
        """The first output."""
        return self.tensors[next(name for name in op.outputs if name and name not in self.constants)]

    def constant(self, op: Op, place: int) -> Constant | None:
        """The constant at `place`: None if there is none."""
        return self.constants.get(op.input(place))

    def integers(self, op: Op, key: str, place: int) -> list[int] | None:
        """Integers that are an attribute or, in later versions, an input; None where they are not given."""
        if key in op.options:
            option = op.options[key]
            return [int(value) for value in option] if isinstance(option, tuple) else [int(option)]
        if not op.input(place):
            return None
        constant = self.constant(op, place)
        values = constant.values(1024) if constant is not None else None
        if values is None:
            raise UnmodeledError(f"its {key} are computed")
        return [int(value) for value in values.ravel()]

    def shape(self, tensor: Tensor) -> Shape:
        """A tensor's shape as layers have it."""
        shape = tensor.shape or ()
        if len(shape) > 1 and shape[0] == self.batch:
            return (1, shape[1]) if len(shape) == 2 else shape[1:]
        return shape or (1,)

    def image(self, tensor: Tensor) -> Values:
        """c, h and w of images, or of sequences with channels first."""
        shape = tensor.shape or ()
        if len(shape) not in (3, 4) or shape[0] != self.batch:
            raise UnmodeledError(f"it reads {' x '.join(map(str, shape))}, not images or sequences of them")
        return {"c": shape[1], "h": shape[2] if len(shape) == 4 else 1, "w": shape[-1]}

    def spec(self, tensor: Tensor) -> TensorSpec:
        """A tensor's number format."""
        if tensor.dtype not in DTYPES:
            raise InputError(f"values must have at most 64 bits, not be {tensor.dtype or 'of an unknown type'}")
        return TensorSpec(DTYPES[tensor.dtype])

    def stored(self, constant: Constant) -> TensorSpec:
        """The number format in which a constant is stored."""
        if constant.stored not in DTYPES:
            raise InputError(f"values must have at most 64 bits, not be {constant.stored}")
        return TensorSpec(DTYPES[constant.stored])

    def types(self, op: Op, weights: Constant | None = None) -> Values:
        """The types of a layer's tensors; of weights with the share that is not zero."""
        first = self.spec(self.operands(op)[0])
        types: Values = {"input": first, "output": self.spec(self.output(op))}
        if op.source == f"{MS}DynamicQuantizeMatMul":
            types["input"] = TensorSpec("int8")  # they are rounded as they are read
        if weights is not None:
            density = weights.density
            types["weight"] = TensorSpec(self.stored(weights).dtype, 1.0 if density is None else density)
        return types

    def dead_in(self, op: Op, axis: int, channels: int) -> np.ndarray | None:
        """Which of the channels that an operator reads are dead; a negative axis counts from the end."""
        rank = len(self.given(op, 0).shape or ())
        return mask_for(self.dead, op.input(0), axis % max(rank, 1), channels)

    def dead_out(self, op: Op, axis: int, channels: int) -> np.ndarray | None:
        """Which of the channels that an operator writes are dead."""
        out = self.output(op)
        return mask_for(self.dead, out.name, axis % max(len(out.shape or ()), 1), channels)

    def checked(self, op: Op, layer: Layer) -> Layer:
        """The layer, if its output has as many values as the file's shapes say."""
        declared, computed = self.shape(self.output(op)), layer.output.shape
        if math.prod(declared) != math.prod(computed):
            shown = " x ".join(map(str, self.output(op).shape or ()))
            raise InputError(f"output must have {math.prod(computed)} values by its input and options, not {shown}")
        return layer
