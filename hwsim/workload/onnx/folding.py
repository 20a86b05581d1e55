"""Constant folding of the operators that exporters compute shapes with: Gather, Concat and the like.

ONNX's reference implementation computes them if their outputs are small.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hwsim.workload.onnx.canonical import Op
from hwsim.workload.onnx.constants import Array, Constant

__all__ = ["FOLDED", "MAX_VALUES", "fold_operator"]

#: Maximum number of values of a result or an operand.
MAX_VALUES = 1024
_ELEMENTWISE = {
    "Add", "Sub", "Mul", "Div", "Mod", "Pow", "Min", "Max", "Neg", "Abs", "Sqrt", "Reciprocal", "Floor", "Ceil",
    "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "And", "Or", "Not", "Where",
}  # fmt: skip
#: Operators that write no more values than their first operand has.
_SHRINKING = {
    "Identity", "Unsqueeze", "Squeeze", "Reshape", "Flatten", "Transpose", "Slice", "Split", "ReduceProd", "ReduceSum",
    "ReduceMax", "ReduceMin",
}  # fmt: skip
FOLDED = _ELEMENTWISE | _SHRINKING | {"Gather", "Concat", "ConstantOfShape", "Range", "Expand", "Tile"}


def fold_operator(op: Op, operands: Sequence[Array | None], version: int) -> list[Array] | None:
    """The outputs of an operator on constant operands (None: no such input), or None if it is not folded.

    `version` is the opset version.
    """
    if op.code not in FOLDED or any(item is not None and item.size > MAX_VALUES for item in operands):
        return None
    try:
        if _most(op, operands) > MAX_VALUES:
            return None
        with np.errstate(all="ignore"):
            results = _evaluate(op, operands, version)
    except Exception:  # the reference raises any exception for operands that do not fit
        return None  # shape inference reports the fault if the output is used
    return results if all(item.size <= MAX_VALUES for item in results) else None


def _most(op: Op, operands: Sequence[Array | None]) -> int:
    """Maximum number of values an operator writes; raises any exception if its operands do not fit."""
    x = [item for item in operands if item is not None]
    shapes = [item.shape for item in x]
    sizes: Sequence[int] = shapes[0]
    if op.code in _ELEMENTWISE:
        sizes = np.broadcast_shapes(*shapes)
        if op.code in ("Div", "Mod") and x[1].dtype.kind in "iu" and not x[1].all():
            raise ZeroDivisionError
    elif op.code == "Gather":
        sizes = [x[1].size, *np.delete(shapes[0], op.options.get("axis", 0))]
    elif op.code == "Concat":
        sizes = [sum(item.size for item in x)]
    elif op.code == "ConstantOfShape":
        sizes = x[0].ravel().tolist()
    elif op.code == "Range":
        start, stop, step = (item.item() for item in x)
        sizes = [math.ceil((stop - start) / step)]
    elif op.code == "Expand":
        sizes = np.broadcast_shapes(shapes[0], x[1].tolist())
    elif op.code == "Tile":
        sizes = [x[0].size, *x[1].tolist()]
    elif op.code == "Split" and op.options.get("num_outputs", len(op.outputs)) != len(op.outputs):
        raise ValueError
    return math.prod(max(abs(int(size)), 1) for size in sizes)  # a size of 0 hides no other


def _evaluate(op: Op, operands: Sequence[Array | None], version: int) -> list[Array]:
    """The results of ONNX's reference for a node with the integer attributes of the file."""
    from onnx import AttributeProto, defs, helper, numpy_helper
    from onnx.reference import ReferenceEvaluator

    if op.code in ("Squeeze", "Unsqueeze") and version < 13 and "axes" in op.options:
        # The form with axes as an input; the older reference is wrong for negative axes.
        operands, version = [operands[0], np.asarray(op.options["axes"], np.int64)], 13
    inputs = ["" if item is None else f"input {place}" for place, item in enumerate(operands)]
    outputs = [f"output {place}" for place in range(len(op.outputs))]
    node = helper.make_node(op.code, inputs, outputs)
    valid = defs.get_schema(op.code, version).attributes
    plain = (AttributeProto.INT, AttributeProto.INTS)
    node.attribute.extend(item for item in op.proto.attribute if item.name in valid and item.type in plain)
    if isinstance(value := op.options.get("value"), Constant):
        node.attribute.append(helper.make_attribute("value", numpy_helper.from_array(np.asarray(value.values(1)))))
    feeds = {name: item for name, item in zip(inputs, operands) if name}
    model = helper.make_function("hwsim", op.code, list(feeds), outputs, [node], [helper.make_opsetid("", version)])
    return [np.asarray(item) for item in ReferenceEvaluator(model).run(None, feeds, attributes={})]
