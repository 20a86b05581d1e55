"""Shape inference of an ONNX graph, with constant propagation.

The shapes come from ONNX's own rules, node by node. Operators that exporters compute shapes with (Shape, Gather,
Concat, ...) are folded on the way. Nothing else is executed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from hwsim.errors import InputError
from hwsim.message import Message
from hwsim.workload.layer import MAX_COUNT, Shape
from hwsim.workload.onnx.canonical import Op, canonical
from hwsim.workload.onnx.constant_values import ConstantValues
from hwsim.workload.onnx.constants import Array
from hwsim.workload.onnx.control_flow import ControlFlow
from hwsim.workload.onnx.graph import Graph, Tensor
from hwsim.workload.onnx.layouts import Layouts
from hwsim.workload.onnx.lowering import UNARY
from hwsim.workload.onnx.own_rules import own_outputs
from hwsim.workload.onnx.records import OnnxFile, Operator, text
from hwsim.workload.onnx.rules import OutputTypes, Rules

__all__ = ["graph_of"]

#: Operators whose output has the shape of the first input, in every opset.
_KEPT = {
    *UNARY, "RMSNormalization", "GroupNormalization", "MeanVarianceNormalization", "RotaryEmbedding",
}  # fmt: skip


def graph_of(
    file: OnnxFile,
    inputs: Mapping[str, Shape],
    symbols: Mapping[str, int],
    overrides: Mapping[str, Shape],
    use_value_info: bool,
) -> Graph:
    """Infer all shapes and types from the shapes of the inputs.

    Parameters
    ----------
    file : OnnxFile
    inputs, symbols, given
        Shapes of inputs, sizes of symbolic dimensions, the user's shapes of other tensors.
    use_value_info : bool
        Whether the shapes of the file are valid; not if it is read with another batch size.
    """
    return _Inference(file, inputs, symbols, overrides, use_value_info).run()


class _Inference:
    def __init__(
        self,
        file: OnnxFile,
        inputs: Mapping[str, Shape],
        symbols: Mapping[str, int],
        overrides: Mapping[str, Shape],
        use_value_info: bool,
    ) -> None:
        self.file, self.symbols, self.overrides, self.use_value_info = file, symbols, overrides, use_value_info
        self.rules = Rules(file.opsets)
        self.tensors: dict[str, Tensor] = {}
        self.values = ConstantValues(file.constants, self.tensors, self.rules)
        self.unknown: dict[str, str] = {}
        self.warnings: list[Message] = []
        self.value_info = dict(file.value_info)
        self.ops: list[Op] = []
        self.control_flow = ControlFlow(self, 1 + max((op.index for op in file.operators), default=0))
        self.layouts = Layouts(self, file, self.control_flow.index)
        for value in file.inputs:
            shape = inputs[value.name]
            self.tensors[value.name] = Tensor(value.name, value.dtype or "float", shape)
            if not math.prod(shape):
                self.values.empty(self.tensors[value.name])

    def run(self) -> Graph:
        newest = self.rules.newest
        if self.file.opsets.get("", 1) > newest:
            template = "its opset {opset} is read as {newest}, the newest that onnx here supports"
            values = {"opset": self.file.opsets[""], "newest": newest}
            self.warnings.append(Message("import.opset", template, values, "warning"))
        for operator in self.file.operators:
            self.take(operator)
        inputs = [value.name for value in self.file.inputs]
        return Graph(
            self.ops, self.tensors, self.values.constants, inputs, self.file.outputs, self.unknown, self.warnings,
            self.file.opsets.get("", 1), self.control_flow.uncounted,
        )  # fmt: skip

    def take(self, operator: Operator) -> None:
        """Infer the outputs of an operator and add it to `ops`, or those of the body that it runs."""
        try:
            self.rules.check_arity(operator)
            if self.control_flow.expand(operator):
                return
            for plain in self.layouts.plain(operator):
                op = canonical(plain)
                self.operator(op)
                self.ops.append(op)
        except InputError as error:
            if error.faults[0].path:
                raise
            raise InputError(error.faults[0].message, path=str(operator)) from None

    def operator(self, op: Op) -> None:
        self.values.dequantize(op)
        read = [name for name in (*op.inputs, *op.captures) if name]
        if cause := next((name for name in read if name in self.unknown), None):
            for name in filter(None, op.outputs):
                if not self.declare(name):
                    self.unknown[name] = self.unknown[cause]
            return
        if self.values.fold(op):
            return
        outputs, why = self.infer(op)
        if self.values.constant(op):
            self.derive(op, outputs, why)
            return
        for place, name in enumerate(op.outputs):
            if not name:
                continue
            shape, dtype = outputs.get(name, (None, ""))
            if shape is None:
                shape = self.bound(op, place)
            dtype = dtype or self.dtype_of(op)
            if name in self.overrides:
                shape = self.overrides[name]
            if shape is not None:
                self.put(name, dtype, shape, op)
            elif not self.declare(name, dtype):
                reason = why or "it depends on values that are computed"
                self.unknown[name] = f"the shape of {text(name)!r}, which {op} writes, is not known: {reason}"
        if op.code == "DynamicQuantizeLinear":  # its scale and zero point are scalars
            for name in op.outputs[1:]:
                if name in self.tensors:
                    self.values.empty(self.tensors[name])
        if op.code == "Reshape" and op.input(0) in self.tensors and op.outputs[0] in self.tensors:
            self.same_size(op)
        for tensor in [self.tensors[name] for name in op.outputs if name in self.tensors]:
            if not tensor.elements:  # an empty tensor costs nothing
                self.values.empty(tensor)

    def derive(self, op: Op, outputs: OutputTypes, why: str) -> None:
        """Add the outputs of an operator on constants that are too large to fold."""
        for name in filter(None, op.outputs):
            size, dtype = outputs.get(name, (None, ""))
            if size is None:
                self.unknown[name] = f"the shape of {text(name)!r}, which {op} writes, is not known: {why or 'no rule'}"
                continue
            self.put(name, dtype or self.dtype_of(op), size, op)
            self.values.derive(op, self.tensors[name])

    def put(self, name: str, dtype: str, shape: Shape, op: Op) -> None:
        if any(size < 0 for size in shape):
            raise InputError(f"the sizes of what it writes must not be negative, not {shape}", path=str(op))
        if math.prod(shape) > MAX_COUNT:
            raise InputError(f"what it writes must have fewer than 2^63 values, not {shape}", path=str(op))
        self.tensors[name] = Tensor(name, dtype, tuple(shape))

    def declare(self, name: str, dtype: str = "") -> bool:
        """Take the shape of a tensor from the user or the file; returns whether one has it."""
        value = self.value_info.get(name)
        if name in self.overrides:
            self.tensors[name] = Tensor(name, dtype or (value.dtype if value else "") or "float", self.overrides[name])
            return True
        if value is None or value.shape is None or not self.use_value_info:
            return False
        sizes = [self.symbols.get(size) if isinstance(size, str) else size for size in value.shape]
        if any(size is None for size in sizes):
            return False
        self.tensors[name] = Tensor(
            name, dtype or value.dtype or "float", tuple(size for size in sizes if size is not None)
        )
        return True

    def dtype_of(self, op: Op) -> str:
        """The output type of an operator, if ONNX's rules have none."""
        if op.dtype:
            return op.dtype
        if op.rounding is not None:
            zero = self.tensors.get(op.rounding.zero)
            return zero.dtype if zero is not None else "uint8"
        first = next((self.tensors[name] for name in op.inputs if name in self.tensors), None)
        return first.dtype if first is not None else "float"

    def infer(self, op: Op) -> tuple[OutputTypes, str]:
        """Shape and type of each output by ONNX's rules, and the reason if there are none."""
        out = op.outputs[0] if op.outputs else ""
        first = self.tensors[op.inputs[0]].shape if op.input(0) in self.tensors else None
        if op.code in _KEPT and first is not None:
            return {out: (first, "")}, ""
        if op.code == "Dropout" and first is not None:
            mask = "bool" if self.file.opsets.get("", 1) > 9 else ""
            return {name: (first, mask if place else "") for place, name in enumerate(op.outputs) if name}, ""
        if op.code in ("GreaterOrEqual", "LessOrEqual") and first is not None and op.input(1) in self.tensors:
            try:
                return {out: (np.broadcast_shapes(first, self.tensors[op.inputs[1]].shape or ()), "bool")}, ""
            except ValueError:
                return {}, "its inputs do not fit each other"
        if op.code == "OneHot" and first is not None and (depth := self.values.of(op.input(1))) is not None:
            axis = int(op.options.get("axis", -1))
            if not -len(first) - 1 <= axis <= len(first) or depth.size != 1:
                raise InputError(f"axis must be one of {len(first) + 1}, not {axis}", path=str(op))
            axis %= len(first) + 1
            dtype = self.tensors[op.inputs[2]].dtype if op.input(2) in self.tensors else ""
            return {out: ((*first[:axis], int(depth.ravel()[0]), *first[axis:]), dtype)}, ""
        if op.code == "Split" and first is not None:
            return self.of_split(op, first)
        if op.code == "LayerNormalization" and first is not None:
            axis = int(op.options.get("axis", -1))
            if not -len(first) <= axis < len(first):
                raise InputError(f"axis must be one of {len(first)}, not {axis}", path=str(op))
            ones = (*first[: axis % len(first)], *(1,) * (len(first) - axis % len(first)))
            return {name: (shape, "") for name, shape in zip(op.outputs, (first, ones, ones))}, ""
        shapes = [self.tensors[name].shape or () if name else () for name in op.inputs]
        if shapes and (own := own_outputs(op, shapes, self.values.of)) is not None:
            types = {item: self.tensors[op.inputs[int(item)]].dtype for _, item in own.values() if item.isdigit()}
            return {name: (shape, types.get(item, item)) for name, (shape, item) in own.items()}, ""
        return self.rules.infer(op, self.tensors, self.small)

    def small(self, name: str) -> tuple[Array | None, str]:
        """The values and the type of a small constant."""
        constant = self.values.constants.get(name)
        return (self.values.of(name), constant.dtype) if constant is not None else (None, "")

    def of_split(self, op: Op, shape: Shape) -> tuple[OutputTypes, str]:
        """The parts of a Split: explicit sizes, or equal ones of which the last may be smaller."""
        axis, count = int(op.options.get("axis", 0)), len(op.outputs)
        if not -len(shape) <= axis < len(shape):
            raise InputError(f"axis must be one of {len(shape)}, not {axis}", path=str(op))
        axis %= len(shape)
        if op.input(1) and self.values.of(op.input(1)) is None:
            return {}, "the sizes of its parts are computed"
        split = self.values.of(op.input(1)) if op.input(1) else op.options.get("split")
        each = -(-shape[axis] // max(count, 1))
        even = [max(min(each, shape[axis] - each * place), 0) for place in range(count)]
        sizes = even if split is None else [int(size) for size in np.asarray(split).ravel()[: count + 1]]
        if len(sizes) != count or sum(sizes) != shape[axis] or min(sizes, default=0) < 0:
            raise InputError(f"its parts must be {count}, of {shape[axis]} together, not {sizes}", path=str(op))
        parts = [(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes]
        return {name: (part, "") for name, part in zip(op.outputs, parts)}, ""

    def bound(self, op: Op, place: int) -> Shape | None:
        """The largest possible output shape of an operator whose output size depends on values."""
        first = self.tensors[op.inputs[0]].shape if op.inputs and op.inputs[0] in self.tensors else None
        if first is None:
            return None
        shape: Shape | None = None
        if op.code == "NonZero":
            shape = (max(len(first), 1), math.prod(first))
        elif op.code == "NonMaxSuppression" and len(first) == 3 and (limit := self.values.of(op.input(2))) is not None:
            scores = self.tensors[op.inputs[1]].shape or ()
            if len(scores) != 3:
                raise InputError(f"its scores must have 3 axes, not {len(scores)}", path=str(op))
            shape = (first[0] * scores[1] * min(max(int(limit.ravel()[0]), 1), first[1]), 3)
        elif op.code in ("Unique", "Compress") and (place == 0 or op.code == "Unique"):
            axis = op.options.get("axis")
            shape = first if axis is not None and place == 0 else (math.prod(first),)
        if shape is not None:
            template = "{operator}: the size of its output depends on values; the maximum is assumed, {shape}"
            facts = {"operator": str(op), "shape": " x ".join(map(str, shape))}
            self.warnings.append(Message("import.maximum", template, facts, "warning"))
        return shape

    def same_size(self, op: Op) -> None:
        source, out = self.tensors[op.inputs[0]], self.tensors[op.outputs[0]]
        if source.elements != out.elements:
            raise InputError(f"a reshape must keep the number of values, not change {source.shape} to {out.shape}")
