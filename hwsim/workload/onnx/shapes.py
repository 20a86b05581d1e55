"""The shape and type of every tensor of an ONNX graph, and which are constant.

The shapes come from ONNX's own rules, node by node, with the constants that are known so far; what exporters compute
shapes with (Shape, Gather, Concat, ...) is folded on the way. Nothing else is executed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwsim.errors import InputError
from hwsim.workload.layer import MAX_COUNT, Shape
from hwsim.workload.onnx.canonical import MS, Op, canonical
from hwsim.workload.onnx.constants import Array, Constant
from hwsim.workload.onnx.file import OnnxFile, Operator, text
from hwsim.workload.onnx.folding import MAX_VALUES, folded, numpy_type

__all__ = ["Graph", "Tensor", "graph_of"]

#: The version of ONNX's rules for operators that a file has in another form.
PLAIN_OPSET = 13
#: Where the output has the shape of the first input, whatever the version.
_KEPT = {
    "Gelu", "RMSNormalization", "GroupNormalization", "Swish", "HardSwish", f"{MS}QuickGelu",
    f"{MS}SkipLayerNormalization", f"{MS}SkipSimplifiedLayerNormalization", f"{MS}MultiHeadAttention",
    f"{MS}RotaryEmbedding",
}  # fmt: skip
#: Options that are places of axes, and those that may be as far out as there are numbers.
_PLACES = ("axis", "axes", "perm", "batch_dims", "batch_axis", "time_axis")
_ENDS = ("starts", "ends", "start", "end", "seed")
#: Operators that move a constant's values without changing them.
_MOVED = {"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"}


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of the graph; its shape is with the batch, and None where it depends on values."""

    name: str
    dtype: str
    shape: Shape | None

    @property
    def elements(self) -> int:
        """How many values it has."""
        return math.prod(self.shape or ())


@dataclass(slots=True)
class Graph:
    """A graph whose tensors have shapes: operators in their plain form, in an order in which they can run."""

    ops: list[Op]
    tensors: dict[str, Tensor]
    constants: dict[str, Constant]
    inputs: list[str]
    outputs: list[str]
    unknown: dict[str, str]
    warnings: list[str]


def graph_of(
    file: OnnxFile, inputs: Mapping[str, Shape], symbols: Mapping[str, int], given: Mapping[str, Shape], described: bool
) -> Graph:
    """Infer everything from the shapes of the inputs.

    Parameters
    ----------
    file : OnnxFile
    inputs, symbols, given
        Shapes of inputs, sizes of symbolic dimensions, shapes that the user gives of other tensors.
    described : bool
        Whether what the file says of its tensors holds: not where it is read with another batch.
    """
    return _Inference(file, inputs, symbols, given, described).run()


class _Inference:
    def __init__(
        self,
        file: OnnxFile,
        inputs: Mapping[str, Shape],
        symbols: Mapping[str, int],
        given: Mapping[str, Shape],
        described: bool,
    ) -> None:
        import onnx

        self.onnx = onnx
        self.file, self.symbols, self.given, self.described = file, symbols, given, described
        self.numbers = {name.lower(): number for name, number in onnx.TensorProto.DataType.items()}
        self.names = {number: name for name, number in self.numbers.items()}
        self.constants = dict(file.constants)
        self.known: dict[str, Array] = {}
        self.tensors = {name: Tensor(name, c.dtype, c.shape) for name, c in self.constants.items()}
        self.unknown: dict[str, str] = {}
        self.warnings: list[str] = []
        for value in file.inputs:
            shape = inputs[value.name]
            self.tensors[value.name] = Tensor(value.name, value.dtype or "float", shape)
            if not math.prod(shape):
                self.constants[value.name] = Constant(shape, value.dtype or "float", value.dtype or "float")
        self.opsets = [onnx.helper.make_opsetid(domain, version) for domain, version in file.opsets.items()]

    def run(self) -> Graph:
        ops = []
        newest = self.onnx.defs.onnx_opset_version()
        if self.file.opsets.get("", 1) > newest:
            self.warnings.append(
                f"its opset {self.file.opsets['']} is read as {newest}, the newest that onnx here knows"
            )
        for operator in self.file.operators:
            try:
                self.counted(operator)
                op = canonical(operator)
                self.operator(op)
            except InputError as error:
                if error.faults[0].path:
                    raise
                raise InputError(error.faults[0].message, path=str(operator)) from None
            ops.append(op)
        return Graph(
            ops, self.tensors, self.constants, [value.name for value in self.file.inputs], self.file.outputs,
            self.unknown, self.warnings,
        )  # fmt: skip

    # One operator

    def counted(self, operator: Operator) -> None:
        """Hold that an operator has the inputs and outputs that its kind must have."""
        domain, defs = operator.code.rpartition(".")[0], self.onnx.defs
        if not defs.has(operator.proto.op_type, domain):
            return
        try:
            schema = defs.get_schema(operator.proto.op_type, self.file.opsets.get(domain, 1), domain)
        except defs.SchemaError:
            return
        for what, given, least, most in (
            ("inputs", operator.inputs, schema.min_input, schema.max_input),
            ("outputs", operator.outputs, schema.min_output, schema.max_output),
        ):
            if not least <= len(given) <= most:
                raise InputError(f"must have {least} to {most} {what}, not {len(given)}")
        for name, formal in zip(operator.inputs, schema.inputs):
            if not name and formal.option == defs.OpSchema.FormalParameterOption.Single:
                raise InputError(f"must have its input {formal.name!r}")

    def operator(self, op: Op) -> None:
        self.dequantise(op)
        read = [name for name in (*op.inputs, *op.captured) if name]
        if lost := next((name for name in read if name in self.unknown), None):
            for name in filter(None, op.outputs):
                if not self.told(name, self.unknown[lost]):
                    self.unknown[name] = self.unknown[lost]
            return
        if self.constant(op, read):
            return
        found, why = self.inferred(op)
        for place, name in enumerate(op.outputs):
            if not name:
                continue
            shape, dtype = found.get(name, (None, ""))
            if shape is None:
                shape = self.bound(op, place)
            dtype = dtype or self.dtype_of(op)
            if name in self.given:
                shape = self.given[name]
            if shape is not None:
                self.put(name, dtype, shape, op)
            elif not self.told(name, "", dtype):
                reason = why or "it depends on values that are computed"
                self.unknown[name] = f"the shape of {text(name)!r}, which {op} writes, is not known: {reason}"
        if op.code == "DynamicQuantizeLinear":  # its scale and zero point are numbers beside the tensor
            for name in op.outputs[1:]:
                if name in self.tensors:
                    tensor = self.tensors[name]
                    self.constants[name] = Constant(tensor.shape or (), tensor.dtype, tensor.dtype)
        if op.code == "Reshape" and op.input(0) in self.tensors and op.outputs[0] in self.tensors:
            self.same_size(op)
        elements = {name: self.tensors[name] for name in op.outputs if name in self.tensors}
        for name, tensor in elements.items():
            if not tensor.elements:  # nothing is computed, and nothing read
                self.constants[name] = Constant(tensor.shape or (), tensor.dtype, tensor.dtype)

    def put(self, name: str, dtype: str, shape: Shape, op: Op) -> None:
        if any(size < 0 for size in shape):
            raise InputError(f"the sizes of what it writes must not be negative, not {shape}", path=str(op))
        if math.prod(shape) > MAX_COUNT:
            raise InputError(f"what it writes must have fewer than 2^63 values, not {shape}", path=str(op))
        self.tensors[name] = Tensor(name, dtype, tuple(shape))

    def told(self, name: str, reason: str, dtype: str = "") -> bool:
        """Take what the user or the file says of a tensor; False where they say nothing."""
        value = self.file.described.get(name)
        if name in self.given:
            self.tensors[name] = Tensor(name, dtype or (value.dtype if value else "") or "float", self.given[name])
            return True
        if value is None or value.shape is None or not self.described:
            return False
        sizes = [self.symbols.get(size) if isinstance(size, str) else size for size in value.shape]
        if any(size is None for size in sizes):
            return False
        self.tensors[name] = Tensor(
            name, dtype or value.dtype or "float", tuple(size for size in sizes if size is not None)
        )
        return True

    def dequantise(self, op: Op) -> None:
        """Constants that integers with a scale beside them stand for."""
        for place, pair in op.stored.items():
            name = op.input(place)
            constant = self.constants.get(name)
            if constant is None:
                continue
            scale = self.constants.get(pair.scale) or Constant((), "float", "float", real=lambda: np.ones(()))
            zero = self.constants.get(pair.zero)
            if (pair.scale and pair.scale not in self.constants) or (pair.zero and zero is None):
                scale, zero = Constant((), "float", "float"), None
            made = constant.dequantised(scale, zero, pair.axis)
            known = made.density_of or made.read
            new = f"{name} (real values of {op.index})"
            self.constants[new] = made if known else constant
            self.tensors[new] = Tensor(new, scale.dtype, constant.shape)
            op.inputs[place] = new

    def dtype_of(self, op: Op) -> str:
        """The type of what an operator writes, where ONNX does not say."""
        if op.dtype:
            return op.dtype
        if op.rounding is not None:
            zero = self.tensors.get(op.rounding.zero)
            return zero.dtype if zero is not None else "uint8"
        first = next((self.tensors[name] for name in op.inputs if name in self.tensors), None)
        return first.dtype if first is not None else "float"

    # Constants

    def values(self, name: str) -> Array | None:
        """The values of a small constant of a type that numpy has."""
        if name not in self.known:
            constant = self.constants.get(name)
            kind = numpy_type(constant.dtype) if constant is not None else None
            found = constant.values(MAX_VALUES) if constant is not None and kind is not None else None
            if found is None or kind is None:
                return None
            self.known[name] = found.astype(kind) if found.dtype != kind else found
        return self.known[name]

    def learn(self, name: str, value: Array, dtype: str = "") -> None:
        """A constant whose values were computed."""
        kind = value.dtype
        dtype = dtype or next((key for key in self.numbers if numpy_type(key) == kind), "float")
        self.known[name] = value
        self.constants[name] = Constant(value.shape, dtype, dtype, lambda: value, lambda: value)
        self.tensors[name] = Tensor(name, dtype, value.shape)

    def constant(self, op: Op, read: list[str]) -> bool:
        """Fold an operator, if what it writes is constant."""
        out = op.outputs[0] if op.outputs else ""
        if op.code in ("Shape", "Size") and op.inputs and out:
            shape = self.tensors[op.inputs[0]].shape or ()
            part = shape[slice(op.options.get("start", 0), op.options.get("end"))]
            self.learn(out, np.array(part if op.code == "Shape" else math.prod(shape), np.int64))
            return True
        if op.code == "Constant":
            return self.literal(op, out)
        if op.code == "CastLike" and op.inputs[0] in self.constants:
            read = op.inputs[:1]  # of the other it takes the type alone
        if any(name not in self.constants for name in read) or op.subgraphs:
            return False
        first = self.constants.get(op.input(0))
        operands = [self.values(name) if name else None for name in op.inputs]
        known = all(value is not None for value, name in zip(operands, op.inputs) if name)
        if op.code in ("Cast", "CastLike") and first is not None:
            dtype = (
                self.names.get(op.options.get("to", 0), "") if op.code == "Cast" else self.tensors[op.input(1)].dtype
            )
            small, kind = operands[0], numpy_type(dtype)
            if small is not None and kind is not None:
                with np.errstate(all="ignore"):
                    self.learn(out, small.astype(kind), dtype)
            else:
                self.constants[out] = first.widened(dtype or first.dtype)
                self.tensors[out] = Tensor(out, dtype or first.dtype, first.shape)
            return True
        if op.code == "DequantizeLinear" and first is not None:
            zero = self.constants.get(op.input(2))
            axis, block = int(op.options.get("axis", 1)), int(op.options.get("block_size", 0))
            made = first.dequantised(self.constants[op.inputs[1]], zero, axis, block)
            self.constants[out] = made
            self.tensors[out] = Tensor(out, made.dtype, made.shape)
            return True
        results = folded(op.code, operands, op.options) if known else None
        if results is not None and len(results) == len(op.outputs):
            for name, value in zip(op.outputs, results):
                if name:
                    self.learn(name, value)
            return True
        found, why = self.inferred(op)
        for name in filter(None, op.outputs):
            size, dtype = found.get(name, (None, ""))
            if size is None:
                self.unknown[name] = f"the shape of {text(name)!r}, which {op} writes, is not known: {why or 'no rule'}"
                continue
            self.put(name, dtype or self.dtype_of(op), size, op)
            self.constants[name] = self.derived(op, first, self.tensors[name])
        return True

    def derived(self, op: Op, first: Constant | None, out: Tensor) -> Constant:
        """What an operator makes of a large constant."""
        shape = out.shape or ()
        if first is not None and first.elements == out.elements:
            if op.code in _MOVED:
                return first.moved(shape, lambda values: values.reshape(shape))
            if op.code == "Transpose":
                order = op.options.get("perm") or tuple(reversed(range(len(first.shape))))
                return first.moved(shape, lambda values: values.transpose(order))
        return Constant(shape, out.dtype, out.dtype)

    def literal(self, op: Op, out: str) -> bool:
        for key, value in op.options.items():
            if key == "value" and isinstance(value, Constant):
                self.constants[out] = value
                self.tensors[out] = Tensor(out, value.dtype, value.shape)
                return True
            if key in ("value_int", "value_ints"):
                self.learn(out, np.asarray(value, np.int64))
                return True
            if key in ("value_float", "value_floats"):
                self.learn(out, np.asarray(value, np.float32))
                return True
        self.constants[out] = Constant((), "string", "string")
        self.tensors[out] = Tensor(out, "string", ())
        return True

    # Shapes

    def type_of(self, name: str, plain: bool) -> Any:
        tensor = self.tensors[name]
        dtype = "float" if plain and tensor.dtype not in ("int64", "bool") else tensor.dtype
        return self.onnx.helper.make_tensor_type_proto(self.numbers.get(dtype, 1), tensor.shape)

    def inferred(self, op: Op) -> tuple[dict[str, tuple[Shape | None, str]], str]:
        """Shape and type of each output by ONNX's rules; and why not, where they give none."""
        out = op.outputs[0] if op.outputs else ""
        first = self.tensors[op.inputs[0]].shape if op.input(0) in self.tensors else None
        if op.code in _KEPT and first is not None:
            return {out: (first, "")}, ""
        if op.code == "Split" and first is not None:
            return self.of_split(op, first)
        if op.code == "LayerNormalization" and first is not None:
            axis = int(op.options.get("axis", -1))
            if not -len(first) <= axis < len(first):
                raise InputError(f"axis must be one of {len(first)}, not {axis}", path=str(op))
            ones = (*first[: axis % len(first)], *(1,) * (len(first) - axis % len(first)))
            return {name: (shape, "") for name, shape in zip(op.outputs, (first, ones, ones))}, ""
        if op.code == "If":
            return self.of_branch(op), "it is made by a subgraph"
        if (shape := self.own(op)) is not None:
            return {out: (shape, "")}, ""
        plain = op.code != op.source
        domain = "" if plain else op.proto.domain if op.proto.domain != "ai.onnx" else ""
        version = PLAIN_OPSET if plain else self.file.opsets.get(domain, 1)
        defs = self.onnx.defs
        if not defs.has(op.code if plain else op.proto.op_type, domain):
            return {}, "hwsim does not know the operator; its shape can be given, as --shape NAME=1x64x56x56"
        types = {name: self.type_of(name, plain) for name in op.inputs if name}
        data = {}
        for name in op.inputs:
            value = self.values(name) if name in self.constants else None
            if value is not None and not plain:
                dtype = self.constants[name].dtype
                data[name] = self.onnx.numpy_helper.from_array(np.asarray(value), name)
                data[name].data_type = self.numbers.get(dtype, data[name].data_type)
        try:
            schema = defs.get_schema(op.code if plain else op.proto.op_type, version, domain)
            self.within(op)
            node = op.proto
            if plain or op.stored:
                node = self.onnx.NodeProto(op_type=op.code, input=op.inputs, output=op.outputs)
                node.attribute.extend(item for item in op.proto.attribute if item.name in schema.attributes)
            found = self.onnx.shape_inference.infer_node_outputs(
                schema, node, types, data, opset_imports=self.opsets or [self.onnx.helper.make_opsetid("", version)]
            )
        except InputError:
            raise
        except Exception as error:  # what the C++ library raises has no common type
            return {}, text(" ".join(str(error).split()))
        result: dict[str, tuple[Shape | None, str]] = {}
        for name, kind in found.items():
            if kind.HasField("tensor_type"):
                tensor = kind.tensor_type
                dims = tensor.shape.dim if tensor.HasField("shape") else None
                known = dims is not None and all(dim.HasField("dim_value") for dim in dims)
                sizes = tuple(dim.dim_value for dim in dims or ()) if known else None
                result[name] = sizes, "" if plain else self.names.get(tensor.elem_type, "")
        return result, ""

    def of_split(self, op: Op, shape: Shape) -> tuple[dict[str, tuple[Shape | None, str]], str]:
        """The parts of a Split: sizes that are given, or equal ones, of which the last may be smaller."""
        axis, count = int(op.options.get("axis", 0)), len(op.outputs)
        if not -len(shape) <= axis < len(shape):
            raise InputError(f"axis must be one of {len(shape)}, not {axis}", path=str(op))
        axis %= len(shape)
        if op.input(1) and self.values(op.input(1)) is None:
            return {}, "the sizes of its parts are computed"
        given = self.values(op.input(1)) if op.input(1) else op.options.get("split")
        each = -(-shape[axis] // max(count, 1))
        even = [max(min(each, shape[axis] - each * place), 0) for place in range(count)]
        sizes = even if given is None else [int(size) for size in np.asarray(given).ravel()[: count + 1]]
        if len(sizes) != count or sum(sizes) != shape[axis] or min(sizes, default=0) < 0:
            raise InputError(f"its parts must be {count}, of {shape[axis]} together, not {sizes}", path=str(op))
        parts = [(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes]
        return {name: (part, "") for name, part in zip(op.outputs, parts)}, ""

    def within(self, op: Op) -> None:
        """Hold what ONNX's rules index by without a look: they end the process where it leads outside."""
        rank = max((len(self.tensors[name].shape or ()) for name in op.inputs if name), default=0)
        for key, value in op.options.items():
            numbers = value if isinstance(value, tuple) else (value,) if isinstance(value, int) else ()
            room = 2**63 if key in _ENDS else 2**31
            if key in _PLACES:
                room = rank + len(numbers)
            for number in numbers:
                if isinstance(number, int) and abs(number) > room:
                    raise InputError(f"{key} must be from {-room} to {room}, not {number}", path=str(op))

    def own(self, op: Op) -> Shape | None:
        """The output's shape of operators that ONNX has no rule for."""
        shapes = [self.tensors[name].shape or () if name else () for name in op.inputs]
        if op.code == f"{MS}FusedMatMul" and len(shapes) == 2 and min(map(len, shapes)) > 1:
            left, right = (
                (*shape[:-2], shape[-1], shape[-2]) if op.options.get(key) else shape
                for shape, key in zip(shapes, ("transA", "transB"))
            )
            return (*np.broadcast_shapes(left[:-2], right[:-2]), left[-2], right[-1])
        if op.code == f"{MS}MatMulNBits" and shapes and shapes[0]:
            return (*shapes[0][:-1], int(op.options.get("N", 0)))
        if op.code == f"{MS}Attention" and len(shapes) > 1 and len(shapes[0]) == 3 and len(shapes[1]) == 2:
            return (*shapes[0][:2], shapes[1][1] // 3)
        return None

    def of_branch(self, op: Op) -> dict[str, tuple[Shape | None, str]]:
        """What the first subgraph of an If says of its outputs."""
        found: dict[str, tuple[Shape | None, str]] = {}
        for name, value in zip(op.outputs, op.subgraphs[0].output if op.subgraphs else ()):
            kind = value.type.tensor_type
            sizes = [
                dim.dim_value if dim.HasField("dim_value") else self.symbols.get(dim.dim_param)
                for dim in kind.shape.dim
            ]
            known = kind.HasField("shape") and all(size is not None and size >= 0 for size in sizes)
            shape = tuple(size for size in sizes if size is not None) if known else None
            found[name] = shape, self.names.get(kind.elem_type, "")
        return found

    def bound(self, op: Op, place: int) -> Shape | None:
        """The largest shape that an output can have, of operators that count what they find."""
        first = self.tensors[op.inputs[0]].shape if op.inputs and op.inputs[0] in self.tensors else None
        if first is None:
            return None
        shape: Shape | None = None
        if op.code == "NonZero":
            shape = (max(len(first), 1), math.prod(first))
        elif op.code == "NonMaxSuppression" and len(first) == 3 and (limit := self.values(op.input(2))) is not None:
            scores = self.tensors[op.inputs[1]].shape or ()
            if len(scores) != 3:
                raise InputError(f"its scores must have 3 axes, not {len(scores)}", path=str(op))
            shape = (first[0] * scores[1] * min(max(int(limit.ravel()[0]), 1), first[1]), 3)
        elif op.code in ("Unique", "Compress") and (place == 0 or op.code == "Unique"):
            axis = op.options.get("axis")
            shape = first if axis is not None and place == 0 else (math.prod(first),)
        if shape is not None:
            self.warnings.append(
                f"{op}: how much it gives depends on values; it is taken for {' x '.join(map(str, shape))}, the most"
            )
        return shape

    def same_size(self, op: Op) -> None:
        source, out = self.tensors[op.inputs[0]], self.tensors[op.outputs[0]]
        if source.elements != out.elements:
            raise InputError(f"a reshape must keep the number of values, not change {source.shape} to {out.shape}")
