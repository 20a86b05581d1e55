"""The shape and type of every tensor of an ONNX graph, and which are constant.

The shapes come from ONNX's own rules, node by node, with the constants that are known so far; what exporters compute
shapes with (Shape, Gather, Concat, ...) is computed on the way. Nothing else is executed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from hwsim.errors import InputError
from hwsim.workload.layer import MAX_COUNT, Shape
from hwsim.workload.onnx.canonical import MS, Op, canonical
from hwsim.workload.onnx.constants import Array
from hwsim.workload.onnx.graph import Graph, Tensor
from hwsim.workload.onnx.known import Known
from hwsim.workload.onnx.records import OnnxFile, text
from hwsim.workload.onnx.rules import Found, Rules

__all__ = ["graph_of"]

#: Where the output has the shape of the first input, whatever the version.
_KEPT = {
    "Gelu", "RMSNormalization", "GroupNormalization", "Swish", "HardSwish", f"{MS}QuickGelu",
    f"{MS}SkipLayerNormalization", f"{MS}SkipSimplifiedLayerNormalization", f"{MS}MultiHeadAttention",
    f"{MS}RotaryEmbedding",
}  # fmt: skip


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
        self.file, self.symbols, self.given, self.described = file, symbols, given, described
        self.rules = Rules(file.opsets)
        self.tensors: dict[str, Tensor] = {}
        self.known = Known(file.constants, self.tensors, self.rules)
        self.unknown: dict[str, str] = {}
        self.warnings: list[str] = []
        for value in file.inputs:
            shape = inputs[value.name]
            self.tensors[value.name] = Tensor(value.name, value.dtype or "float", shape)
            if not math.prod(shape):
                self.known.empty(self.tensors[value.name])

    def run(self) -> Graph:
        ops = []
        newest = self.rules.newest
        if self.file.opsets.get("", 1) > newest:
            self.warnings.append(
                f"its opset {self.file.opsets['']} is read as {newest}, the newest that onnx here knows"
            )
        for operator in self.file.operators:
            try:
                self.rules.counted(operator)
                op = canonical(operator)
                self.operator(op)
            except InputError as error:
                if error.faults[0].path:
                    raise
                raise InputError(error.faults[0].message, path=str(operator)) from None
            ops.append(op)
        return Graph(
            ops, self.tensors, self.known.constants, [value.name for value in self.file.inputs], self.file.outputs,
            self.unknown, self.warnings,
        )  # fmt: skip

    def operator(self, op: Op) -> None:
        self.known.dequantize(op)
        read = [name for name in (*op.inputs, *op.captured) if name]
        if lost := next((name for name in read if name in self.unknown), None):
            for name in filter(None, op.outputs):
                if not self.told(name):
                    self.unknown[name] = self.unknown[lost]
            return
        if self.known.fold(op):
            return
        found, why = self.inferred(op)
        if self.known.constant(op):
            self.derived(op, found, why)
            return
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
            elif not self.told(name, dtype):
                reason = why or "it depends on values that are computed"
                self.unknown[name] = f"the shape of {text(name)!r}, which {op} writes, is not known: {reason}"
        if op.code == "DynamicQuantizeLinear":  # its scale and zero point are numbers beside the tensor
            for name in op.outputs[1:]:
                if name in self.tensors:
                    self.known.empty(self.tensors[name])
        if op.code == "Reshape" and op.input(0) in self.tensors and op.outputs[0] in self.tensors:
            self.same_size(op)
        for tensor in [self.tensors[name] for name in op.outputs if name in self.tensors]:
            if not tensor.elements:  # nothing is computed, and nothing read
                self.known.empty(tensor)

    def derived(self, op: Op, found: Found, why: str) -> None:
        """What an operator writes that reads constants too large to compute with."""
        for name in filter(None, op.outputs):
            size, dtype = found.get(name, (None, ""))
            if size is None:
                self.unknown[name] = f"the shape of {text(name)!r}, which {op} writes, is not known: {why or 'no rule'}"
                continue
            self.put(name, dtype or self.dtype_of(op), size, op)
            self.known.derive(op, self.tensors[name])

    def put(self, name: str, dtype: str, shape: Shape, op: Op) -> None:
        if any(size < 0 for size in shape):
            raise InputError(f"the sizes of what it writes must not be negative, not {shape}", path=str(op))
        if math.prod(shape) > MAX_COUNT:
            raise InputError(f"what it writes must have fewer than 2^63 values, not {shape}", path=str(op))
        self.tensors[name] = Tensor(name, dtype, tuple(shape))

    def told(self, name: str, dtype: str = "") -> bool:
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

    def dtype_of(self, op: Op) -> str:
        """The type of what an operator writes, where ONNX does not say."""
        if op.dtype:
            return op.dtype
        if op.rounding is not None:
            zero = self.tensors.get(op.rounding.zero)
            return zero.dtype if zero is not None else "uint8"
        first = next((self.tensors[name] for name in op.inputs if name in self.tensors), None)
        return first.dtype if first is not None else "float"

    def inferred(self, op: Op) -> tuple[Found, str]:
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
        return self.rules.infer(op, self.tensors, self.small)

    def small(self, name: str) -> tuple[Array | None, str]:
        """The values and the type of a constant that is small enough to compute with."""
        constant = self.known.constants.get(name)
        return (self.known.of(name), constant.dtype) if constant is not None else (None, "")

    def of_split(self, op: Op, shape: Shape) -> tuple[Found, str]:
        """The parts of a Split: sizes that are given, or equal ones, of which the last may be smaller."""
        axis, count = int(op.options.get("axis", 0)), len(op.outputs)
        if not -len(shape) <= axis < len(shape):
            raise InputError(f"axis must be one of {len(shape)}, not {axis}", path=str(op))
        axis %= len(shape)
        if op.input(1) and self.known.of(op.input(1)) is None:
            return {}, "the sizes of its parts are computed"
        given = self.known.of(op.input(1)) if op.input(1) else op.options.get("split")
        each = -(-shape[axis] // max(count, 1))
        even = [max(min(each, shape[axis] - each * place), 0) for place in range(count)]
        sizes = even if given is None else [int(size) for size in np.asarray(given).ravel()[: count + 1]]
        if len(sizes) != count or sum(sizes) != shape[axis] or min(sizes, default=0) < 0:
            raise InputError(f"its parts must be {count}, of {shape[axis]} together, not {sizes}", path=str(op))
        parts = [(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes]
        return {name: (part, "") for name, part in zip(op.outputs, parts)}, ""

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

    def of_branch(self, op: Op) -> Found:
        """What the first subgraph of an If says of its outputs."""
        found: Found = {}
        for name, value in zip(op.outputs, op.subgraphs[0].output if op.subgraphs else ()):
            kind = value.type.tensor_type
            sizes = [
                dim.dim_value if dim.HasField("dim_value") else self.symbols.get(dim.dim_param)
                for dim in kind.shape.dim
            ]
            known = kind.HasField("shape") and all(size is not None and size >= 0 for size in sizes)
            shape = tuple(size for size in sizes if size is not None) if known else None
            found[name] = shape, self.rules.names.get(kind.elem_type, "")
        return found

    def bound(self, op: Op, place: int) -> Shape | None:
        """The largest shape that an output can have, of operators that count what they find."""
        first = self.tensors[op.inputs[0]].shape if op.inputs and op.inputs[0] in self.tensors else None
        if first is None:
            return None
        shape: Shape | None = None
        if op.code == "NonZero":
            shape = (max(len(first), 1), math.prod(first))
        elif op.code == "NonMaxSuppression" and len(first) == 3 and (limit := self.known.of(op.input(2))) is not None:
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
