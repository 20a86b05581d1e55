"""Convert the graph of an ONNX file to a workload: layer names, shapes, number formats and warnings."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from hwsim.errors import Fault, InputError
from hwsim.message import Message
from hwsim.workload.builder import Builder, UnmodeledError
from hwsim.workload.layer import Layer, Shape
from hwsim.workload.layers import DataMovement
from hwsim.workload.missing import Missing
from hwsim.workload.network import INPUT, Workload
from hwsim.workload.number_format import format_of
from hwsim.workload.onnx.canonical import MS, Op
from hwsim.workload.onnx.constants import Constant
from hwsim.workload.onnx.dead_channels import ChannelValues, dead_channels, mask_for
from hwsim.workload.onnx.graph import Graph, Tensor
from hwsim.workload.onnx.lowering import FREE, STORED, WEIGHTED, lower
from hwsim.workload.onnx.records import OnnxFile, text
from hwsim.workload.onnx.shape_hints import misfit, shape_option
from hwsim.workload.tensor import TensorSpec
from hwsim.workload.zeros import Axes, counted, few_channels, kept_of

__all__ = ["Converter", "Maker", "Values", "snake"]

Values: TypeAlias = dict[str, Any]
#: Makes the layer that reads all operands of an operator, or adds several rows itself and returns None.
Maker: TypeAlias = "Callable[[Converter, Op, str], Layer | None]"

_LONGEST = 80
#: Inputs that are scales and zero points of weights in blocks.
_SCALES = {
    f"{MS}MatMulNBits": (2, 3), f"{MS}MatMulBnb4": (2,), f"{MS}GatherBlockQuantized": (2, 3),
    f"{MS}QMoE": (3, 6, 9, 11, 12, 13), "DequantizeLinear": (1, 2),
}  # fmt: skip


def snake(code: str) -> str:
    """The name of an operator as layers have it: ``top_k`` of ``TopK``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", code.rpartition(".")[2]).lower()[:60] or "operator"


class Converter(Builder[str]):
    """Makes the layers of one graph; afterwards `layers` maps the index of an operator to the name of its layer.

    Shapes are without the batch. If the file has a fixed batch size, `batch` is that size, and the layers are those of
    one input.
    """

    def __init__(
        self,
        file: OnnxFile,
        graph: Graph,
        makers: Mapping[str, tuple[str, Maker]],
        allow_missing: bool = False,
    ) -> None:
        super().__init__(graph.inputs)
        self.allow_missing = allow_missing
        self.file, self.graph, self.makers = file, graph, makers
        self.warnings.extend(graph.warnings)
        self.tensors, self.constants = graph.tensors, graph.constants
        self.layers: dict[int, str] = {}
        self.rows: list[tuple[str, ...]] = []
        self.names = {INPUT}
        self.shapes: dict[str, Shape] = {}
        self.dead: dict[str, ChannelValues] = {}
        self.omissions: list[Op] = []
        self.unmodeled: list[tuple[Op, str]] = []
        #: How many operators read a constant of the file as weights, and the names of those that several read.
        self.readers: Counter[int] = Counter()
        self.shared: dict[int, str] = {}
        self.used = set(graph.outputs)
        self.reshapes: dict[tuple[str, Shape], str] = {}
        self.weight_specs: dict[tuple[int, Axes], TensorSpec] = {}

    def workload(self, name: str) -> Workload:
        """The network."""
        ops = lower(self.graph)
        self.used |= {item for op in ops for item in (*op.inputs, *op.captures)}
        names = {id(constant): item for item, constant in reversed(self.constants.items())}
        self.readers = Counter(
            key for op in ops if op.code in (*STORED, "Gather") and self.results(op) for key in self.stored(op)
        )
        self.shared = {
            key: text(names.get(key, f"array {place}"))[:_LONGEST]
            for place, (key, count) in enumerate(self.readers.items())
            if count > 1
        }
        with np.errstate(all="ignore"):
            self.dead = dead_channels(self.graph, ops)
        for op in ops:
            self.operator(op)
        missing = self.missing(ops)
        self.tell_scales()
        for reason, unread in self.file.external.items():
            template = "the values of {constants} constants in external files are not read, as {reason}: they are dense"
            self.warn("external", template, constants=len(unread), reason=reason)
        if self.file.absent:
            template = "the file has no values for {constants} constants: they count as dense"
            self.warn("absent", template, constants=len(self.file.absent))
        inputs = [self.shape(self.tensors[item]) for item in self.graph.inputs if item not in self.constants]
        if not inputs:
            raise InputError("must have an input")
        source = f"{name}.onnx, {self.file.bytes} bytes"
        return self.network(name, inputs, alike=True, source=source, digest=self.file.digest, missing=missing)

    def tell_scales(self) -> None:
        """Add a note of what the scales and zero points of weights in blocks take, which are in no layer."""
        constants = {
            id(constant): constant.stored
            for op in self.graph.ops
            for place in _SCALES.get(op.code, ())
            if (op.code != "DequantizeLinear" or op.options.get("block_size"))
            and (constant := self.constants.get(op.input(place))) is not None
        }
        if constants:
            size = sum(constant.bytes for constant in constants.values())
            template = "the scales and zero points of weights in blocks, {bytes:size}, are in no layer"
            self.warnings.append(Message("import.scales", template, {"bytes": size}))

    def missing(self, ops: Sequence[Op]) -> Missing | None:
        """What is in no row; raises InputError if it is much, or has weights, and the user did not allow it.

        So does an operator without a model that has stored weights: its row has them, but no MACs.
        """
        uncounted = self.graph.uncounted
        if not self.allow_missing and self.unmodeled:
            first, why = self.unmodeled[0]
            raise InputError(f"{first} has stored weights and no model ({why}); --allow-missing reads it without MACs")
        if not self.omissions and not uncounted:
            return None
        if self.omissions:
            examples = list(map(str, self.omissions[:3]))
            template = "left out, because the shapes of their inputs or outputs are unknown: {examples}"
            template += " and {more} more" if len(self.omissions) > 3 else ""
            self.warn("unknown_shapes", template, examples=examples, more=len(self.omissions) - 3)
        omitted = {op.index for op in self.omissions}
        all_, kept = (
            {key: constant.bytes for op in group for key, constant in self.stored(op).items()}
            for group in (ops, [op for op in ops if op.index not in omitted])
        )
        lost = sum(size for key, size in all_.items() if key not in kept)
        trips = min(sum(uncounted.values()), 2**63 - 1 - len(ops))
        missing = Missing(len(omitted) + trips, len(ops) + trips, lost, sum(all_.values()))
        weighted = next((op for op in self.omissions if self.has_weights(op)), None)
        if not self.allow_missing and (weighted or max(missing.operator_share, missing.byte_share) > 0.5):
            unknown = self.graph.unknown
            if not weighted and trips > len(omitted):
                raise InputError(
                    f"{max(uncounted, key=uncounted.__getitem__)} has more trips than are counted one by one; "
                    f"--allow-missing reads one of them ({missing.message()})"
                )
            first = weighted or self.omissions[0]
            if (sizes := misfit(self.graph, self.omissions)) is not None:
                raise InputError(f"{sizes}; the network may take inputs of other sizes alone: give them with --shape")
            cause = next(unknown[name] for name in (*first.inputs, *first.captures, *first.outputs) if name in unknown)
            what = "has stored weights and would be in no row" if weighted else "and what follows would be in no row"
            raise InputError(
                f"{first} {what}: {cause}; give {shape_option(self.graph, self.omissions)}, or --allow-missing to read "
                f"the rest ({missing.message()})"
            )
        return missing

    def results(self, op: Op) -> list[str]:
        """What an operator writes that is no constant."""
        return [name for name in op.outputs if name and name not in self.constants]

    def stored(self, op: Op) -> dict[int, Constant]:
        """The constants of the file that an operator and its bodies read, by identity."""
        names = (*op.inputs, *op.captures)
        constants = [self.constants[item].stored for item in names if item in self.constants]
        bodies = list(op.subgraphs)
        for body in bodies:
            constants += body.constants.values()
            bodies += [inner for operator in body.operators for inner in operator.subgraphs]
        return {id(constant): constant for constant in constants}

    def has_weights(self, op: Op) -> bool:
        """Whether an operator multiplies by a stored matrix."""
        stored = self.stored(op).values()
        kind = self.makers.get(op.code, ("unknown",))[0]
        return (op.code in WEIGHTED and bool(stored)) or (
            kind != "moved"
            and any(
                len([size for size in constant.shape if size > 1]) > 1
                and constant.dtype not in ("int64", "bool", "string")
                for constant in stored
            )
        )

    # One operator

    def operator(self, op: Op) -> None:
        operands = self.operands(op)
        unknown = self.graph.unknown
        results = self.results(op)
        if cause := next((name for name in (*op.inputs, *op.captures, *results[:1]) if name in unknown), None):
            self.omissions.append(op)
            for name in results:
                if name in self.tensors:
                    self.producers[name] = INPUT  # its shape is in the file, so the operators after it are layers
                else:
                    unknown.setdefault(name, unknown[cause])
            return
        if not operands or not results:
            return
        if op.code in FREE and self.alias(op, operands[0], results[0]):
            return
        name, count = self.name(op), len(self.nodes)
        self.layers[op.index] = name
        try:
            self.convert(op, name, operands, results)
        except InputError as error:
            messages = dict.fromkeys(fault.message for fault in error.faults)  # rows and columns can be wrong alike
            raise InputError([Fault("", str(op), message) for message in messages]) from None
        for place, tensor in enumerate(results):
            if place and tensor not in self.producers and tensor in self.used and tensor in self.tensors:
                first, out = operands[0], self.tensors[tensor]
                sizes: Values = {"shape": self.shape(first), "to": self.shape(out)}
                types: Values = {"input": self.spec(first), "output": self.spec(out)}
                part = DataMovement(self.unique(f"{name}_{place}"), type="slice", **sizes, **types)
                self.row(part, [first.name], tensor)
        if len(self.nodes) > count + 1:
            self.rows.append((name, *(node.layer.name for node in self.nodes[count:])))

    def convert(self, op: Op, name: str, operands: list[Tensor], results: list[str]) -> None:
        entry = self.makers.get(op.code)
        count = len(self.nodes)
        try:
            if entry is None:
                raise UnmodeledError("hwsim does not know it" if not op.subgraphs else "it runs a subgraph")
            layer = entry[1](self, op, name)
            if layer is not None:
                self.row(layer, [tensor.name for tensor in operands], results[0])
            return
        except UnmodeledError as reason:
            why = str(reason)
        except InputError as error:
            if op.code in WEIGHTED:
                raise
            why = error.faults[0].message
        del self.nodes[count:]
        if self.has_weights(op):
            self.unmodeled.append((op, why))
        self.opaque_warning(name, op.source, why)
        out = self.tensors[results[0]]
        row = self.opaque(
            name,
            snake(op.source),
            [(self.shape(tensor), self.spec(tensor)) for tensor in operands],
            (self.shape(out), self.spec(out)),
            [(constant.elements, self.storage_spec(constant)) for constant in self.stored(op).values()],
        )
        self.row(row, [tensor.name for tensor in operands], results[0])

    def alias(self, op: Op, source: Tensor, out: str) -> bool:
        """Alias a reshape; it needs no layer."""
        if source.elements != self.tensors[out].elements or len(self.operands(op)) != 1:
            return False
        self.producers[out] = self.producers[source.name]
        return True

    def row(self, layer: Layer, reads: Sequence[str], *tensors: str) -> str:
        """Add a layer that reads these tensors of the graph, reshaped first where the layer needs another shape."""
        return self.put(layer, [self.fitting(layer, place, name) for place, name in enumerate(reads)], *tensors)

    def put(self, layer: Layer, inputs: Sequence[str], *tensors: str) -> str:
        """Add a layer that reads these layers and writes the tensors; returns its name."""
        self.shapes[layer.name] = layer.output.shape
        return super().put(layer, inputs, *tensors)

    def between(self, op: Op, name: str, shape: Shape, dtype: str = "") -> str:
        """An intermediate tensor within one operator; `shape` is without the batch."""
        key = f"{name} of {op.index}"
        self.tensors[key] = Tensor(key, dtype or self.output(op).dtype, (1, *shape))
        return key

    def fitting(self, layer: Layer, place: int, name: str) -> str:
        """The name of the layer that produces an operand in the shape that `layer` takes."""
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
        if (producer, to) not in self.reshapes:
            kind = "reshape" if to == own else "transpose"
            label = self.unique(f"{layer.name}_{kind}")
            spec = self.spec(self.tensors[name])
            move = DataMovement(label, type=kind, shape=source_shape, to=to, input=spec, output=spec)
            self.put(move, (producer,))
            self.reshapes[producer, to] = label
        return self.reshapes[producer, to]

    def name(self, op: Op) -> str:
        """A name for an operator's layer: its name in the file, for weighted operators without the trailing kind."""
        kind = op.source.rpartition(".")[2]
        full = (op.name or f"{kind.lower()}_{op.index}").removesuffix("_quant")
        parts = [part for part in full.split("/") if part]
        segments = [part for part, after in zip(parts, [*parts[1:], ""]) if not after.startswith(f"{part}.")]
        short = "/".join(segments[:-1]) if op.code in STORED and op.code in segments[-1:] else ""
        for candidate in (self.path(op, kind), short, "/".join(segments), f"{kind.lower()}_{op.index}"):
            label = "".join(char if char.isprintable() and char not in ",:\\ \t" else "_" for char in candidate)
            label = label.lstrip("/")[-_LONGEST:].lstrip("/_.")
            if label and label not in self.names:
                self.names.add(label)
                return label
        return self.unique(f"{kind.lower()[:60]}_{op.index}")

    def path(self, op: Op, kind: str) -> str:
        """A name as in the tree of PyTorch modules: that of the weights' owner, or module and kind of operator."""
        if not op.module:
            return ""
        if op.code not in STORED:
            return f"{op.module}.{snake(kind)}"
        weights = op.input(1)
        return weights.removesuffix(".weight") if weights.endswith(".weight") else op.module

    def unique(self, name: str) -> str:
        """A name that is not in use yet."""
        candidate, count = name, 1
        while candidate in self.names:
            count += 1
            candidate = f"{name}_{count}"
        self.names.add(candidate)
        return candidate

    # Queries of the makers about an operator's tensors.

    def operands(self, op: Op) -> list[Tensor]:
        """The inputs that are produced by another operator or are inputs of the network."""
        return [
            self.tensors[name]
            for name in (*op.inputs, *op.captures)
            if name in self.producers and name not in self.constants
        ]

    def input_tensor(self, op: Op, place: int) -> Tensor:
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
        """Integers of an attribute or, in later opsets, of an input; None if there are none."""
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
        """A tensor's shape without the batch."""
        shape = tensor.shape or ()
        if len(shape) > 1 and shape[0] == 1:
            return (1, shape[1]) if len(shape) == 2 else shape[1:]
        return shape or (1,)

    def image(self, tensor: Tensor) -> Values:
        """c, h and w of images, or of sequences with channels first; of several, all their channels."""
        shape = tensor.shape or ()
        if len(shape) not in (3, 4):
            raise UnmodeledError(f"it reads {' x '.join(map(str, shape))}, not images or sequences of them")
        return {"c": shape[0] * shape[1], "h": shape[2] if len(shape) == 4 else 1, "w": shape[-1]}

    def spec(self, tensor: Tensor) -> TensorSpec:
        """A tensor's number format."""
        return self._spec(tensor.dtype)

    def operand_spec(self, op: Op, tensor: Tensor) -> TensorSpec:
        """The number format in which an operator reads activations.

        Between DequantizeLinear and QuantizeLinear the sign is the runtime's: onnxruntime makes int8 activations uint8.
        """
        spec = self.spec(tensor)
        return TensorSpec("uint8") if spec.signed and op.source == op.code else spec

    def storage_spec(self, constant: Constant) -> TensorSpec:
        """The number format in which a constant is stored."""
        return self._spec(constant.storage_dtype)

    @staticmethod
    def _spec(dtype: str) -> TensorSpec:
        if dtype in ("int8", "uint8"):
            return TensorSpec("sint8" if dtype == "int8" else dtype)
        if (name := format_of(dtype, "onnx")) is None:
            raise InputError(f"values must have at most 64 bits, not be {dtype or 'of an unknown type'}")
        return TensorSpec(name)

    def types(self, op: Op, weights: Constant | None = None, axes: Axes | None = None) -> Values:
        """The number formats of a layer's tensors; that of weights has their density, by channels with `axes`."""
        first = self.operand_spec(op, self.operands(op)[0])
        types: Values = {"input": first, "output": self.spec(self.output(op))}
        if op.source in (f"{MS}DynamicQuantizeMatMul", f"{MS}DynamicQuantizeLSTM"):
            types["input"] = TensorSpec("uint8")  # quantized as they are read
        if weights is not None:
            density = weights.density
            name, array = self.storage_spec(weights).name, self.shared.get(id(weights.stored), "")
            spec = TensorSpec(name, 1.0 if density is None else density, array=array)
            types["weight"] = spec if axes is None else self._counted(weights, spec, axes)
        return types

    def _counted(self, weights: Constant, spec: TensorSpec, axes: Axes) -> TensorSpec:
        """The format of weights with the values of each channel that are not zero, where some are."""
        if spec.density == 1 or not few_channels(weights.shape, axes):
            return spec
        key = id(weights), axes
        if key not in self.weight_specs:
            mask = weights.mask()
            self.weight_specs[key] = spec if mask is None else counted(spec, kept_of(mask, axes))
        return self.weight_specs[key]

    def dead_in(self, op: Op, axis: int, channels: int) -> np.ndarray | None:
        """Mask of the dead input channels of an operator; a negative axis counts from the end."""
        rank = len(self.input_tensor(op, 0).shape or ())
        return mask_for(self.dead, op.input(0), axis % max(rank, 1), channels)

    def dead_out(self, op: Op, axis: int, channels: int) -> np.ndarray | None:
        """Mask of the dead output channels of an operator."""
        out = self.output(op)
        return mask_for(self.dead, out.name, axis % max(len(out.shape or ()), 1), channels)

    def check_output(self, op: Op, layer: Layer) -> Layer:
        """The layer, if its output has as many values as the tensor in the file."""
        file_shape, layer_shape = self.shape(self.output(op)), layer.output.shape
        if math.prod(file_shape) != math.prod(layer_shape):
            sizes = " x ".join(map(str, self.output(op).shape or ()))
            raise InputError(f"output must have {math.prod(layer_shape)} values by its input and options, not {sizes}")
        return layer
