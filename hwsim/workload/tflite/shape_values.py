"""Values that a file computes of shapes, as exporters write windows over audio: small arrays of integers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hwsim.workload.tflite.graph import Operator

__all__ = ["MAX_VALUES", "computed", "strided_slice"]

Array: TypeAlias = NDArray[Any]
#: Arrays of more values are none of shapes.
MAX_VALUES = 4096

_VALUEWISE: dict[str, Callable[..., Any]] = {
    "ADD": np.add, "SUB": np.subtract, "MUL": np.multiply, "FLOOR_DIV": np.floor_divide, "FLOOR_MOD": np.mod,
    "MAXIMUM": np.maximum, "MINIMUM": np.minimum, "EQUAL": np.equal, "NOT_EQUAL": np.not_equal, "LESS": np.less,
    "LESS_EQUAL": np.less_equal, "GREATER": np.greater, "GREATER_EQUAL": np.greater_equal, "NEG": np.negative,
    "ABS": np.abs, "LOGICAL_AND": np.logical_and, "LOGICAL_OR": np.logical_or, "LOGICAL_NOT": np.logical_not,
    "SELECT": np.where, "SELECT_V2": np.where,
}  # fmt: skip
_REDUCED: dict[str, Callable[..., Any]] = {
    "REDUCE_PROD": np.prod, "SUM": np.sum, "REDUCE_MAX": np.max, "REDUCE_MIN": np.min,
}  # fmt: skip


def computed(op: Operator, read: Sequence[Array], dtype: str) -> list[Array] | None:
    """The outputs of an operator on these values; None if they are no integers, or it is none of shapes."""
    if sum(values.size for values in read) > MAX_VALUES or any(values.dtype.kind not in "iub" for values in read):
        return None
    if op.code in _VALUEWISE and math.prod(np.broadcast_shapes(*(values.shape for values in read))) > MAX_VALUES:
        return None
    if op.code == "GATHER" and read[0].size * read[1].size > MAX_VALUES:
        return None
    with np.errstate(all="ignore"):
        outputs = _outputs(op, read)
    if outputs is None or any(values.size > MAX_VALUES for values in outputs):
        return None
    return [np.asarray(values, dtype if op.code == "CAST" else None) for values in outputs]


def _outputs(op: Operator, read: Sequence[Array]) -> list[Array] | None:
    code, options = op.code, op.options
    axis = int(options.get("axis", 0))
    if code in _VALUEWISE:
        return [_VALUEWISE[code](*read)]
    if code in _REDUCED:
        return [_REDUCED[code](read[0], axis=tuple(read[1].ravel()), keepdims=bool(options.get("keep_dims")))]
    match code:
        case "CAST":
            return [read[0]] if read else None
        case "RESHAPE":
            return [read[0].reshape(read[1].ravel())] if len(read) > 1 else None
        case "EXPAND_DIMS":
            return [np.expand_dims(read[0], int(read[1].ravel()[0]))]
        case "PACK":
            return [np.stack(read, axis)]
        case "UNPACK":
            return list(np.moveaxis(read[0], axis, 0))
        case "CONCATENATION":
            return [np.concatenate(read, axis)]
        case "SPLIT_V":
            return np.split(read[0], np.cumsum(read[1])[:-1], int(read[2].ravel()[0]))
        case "GATHER":
            return [np.take(read[0], read[1], axis)] if not options.get("batch_dims") else None
        case "SLICE":
            begin, size = (values.ravel().tolist() for values in read[1:3])
            return [read[0][tuple(slice(b, None if n < 0 else b + n) for b, n in zip(begin, size))]]
        case "STRIDED_SLICE":
            return [read[0][strided_slice(op, read[1:4])]]
        case "RANGE":
            start, stop, step = (int(values.ravel()[0]) for values in read)
            return [np.arange(start, stop, step)] if step and abs((stop - start) // step) <= MAX_VALUES else None
        case "FILL":
            return [np.full(read[0].ravel(), read[1])] if np.prod(read[0], dtype=float) <= MAX_VALUES else None
    return None


def strided_slice(op: Operator, ends: Sequence[Array]) -> tuple[Any, ...]:
    """The index of a STRIDED_SLICE: its begins, ends and strides, but what its masks say."""
    masks = {key: int(op.options.get(f"{key}_mask", 0)) for key in ("begin", "end", "shrink_axis")}
    if op.options.get("ellipsis_mask") or op.options.get("new_axis_mask") or op.options.get("offset"):
        raise ValueError
    index: list[Any] = []
    for place, (begin, end, step) in enumerate(zip(*(values.ravel().tolist() for values in ends))):
        bit = 1 << place
        if masks["shrink_axis"] & bit:
            index.append(begin)
        else:
            first, last = None if masks["begin"] & bit else begin, None if masks["end"] & bit else end
            index.append(slice(first, last, step))
    return tuple(index)
