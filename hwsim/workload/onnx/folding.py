"""The few operators that exporters compute shapes with, on small constants: Shape, Gather, Concat and the like."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from hwsim.workload.onnx.constants import Array

__all__ = ["FOLDED", "MAX_VALUES", "folded", "numpy_type"]

Options: TypeAlias = Mapping[str, Any]
Fold: TypeAlias = Callable[[Sequence[Array | None], Options], "Array | list[Array]"]

#: Values of a result or an operand; shapes have at most a few.
MAX_VALUES = 1024
_TYPES = {
    "float": "f4", "double": "f8", "float16": "f2", "int64": "i8", "int32": "i4", "int16": "i2", "int8": "i1",
    "uint64": "u8", "uint32": "u4", "uint16": "u2", "uint8": "u1", "bool": "?",
}  # fmt: skip


def numpy_type(dtype: str) -> np.dtype[Any] | None:
    """Numpy's type of ONNX's name, or None where it has none."""
    return np.dtype(_TYPES[dtype]) if dtype in _TYPES else None


def folded(code: str, operands: Sequence[Array | None], options: Options) -> list[Array] | None:
    """The outputs of an operator on known values (None: no such input), or None where it is not computed here."""
    if code not in FOLDED or any(item is not None and item.size > MAX_VALUES for item in operands):
        return None
    try:
        with np.errstate(all="ignore"):
            found = FOLDED[code](operands, options)
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError, ZeroDivisionError, MemoryError):
        return None  # the operands do not fit; the shape of the output tells what is wrong, if anything reads it
    results = found if isinstance(found, list) else [found]
    return results if all(item.size <= MAX_VALUES for item in results) else None


def _axes(operands: Sequence[Array | None], options: Options, place: int = 1) -> list[int] | None:
    given = operands[place] if len(operands) > place and operands[place] is not None else options.get("axes")
    return None if given is None else [int(axis) for axis in np.asarray(given).ravel()]


def _unsqueeze(x: Sequence[Any], options: Options) -> Array:
    axes = _axes(x, options) or []
    rank = x[0].ndim + len(axes)
    shape: list[int] = list(x[0].shape)
    for axis in sorted(axis % rank for axis in axes):
        shape.insert(axis, 1)
    return np.asarray(np.reshape(x[0], shape))


def _squeeze(x: Sequence[Any], options: Options) -> Array:
    axes = _axes(x, options)
    return np.asarray(np.squeeze(x[0], None if axes is None else tuple(axes)))


def _reshape(x: Sequence[Any], options: Options) -> Array:
    given = x[1] if len(x) > 1 else np.asarray(options["shape"])
    keep = not options.get("allowzero", 0)
    wanted = [x[0].shape[i] if size == 0 and keep else int(size) for i, size in enumerate(given.ravel())]
    return np.asarray(np.reshape(x[0], wanted))


def _slice(x: Sequence[Any], options: Options) -> Array:
    if len(x) > 1:
        starts, ends = x[1].ravel(), x[2].ravel()
        axes = x[3].ravel() if len(x) > 3 and x[3] is not None else range(len(starts))
        steps = x[4].ravel() if len(x) > 4 and x[4] is not None else [1] * len(starts)
    else:
        starts, ends, steps = options["starts"], options["ends"], [1] * len(options["starts"])
        axes = options.get("axes") or range(len(starts))
    found = [slice(None)] * x[0].ndim
    for start, end, axis, step in zip(starts, ends, axes, steps):
        low, high, by = int(start), int(end), int(step)
        found[int(axis)] = slice(low, None if by < 0 and high < -x[0].shape[int(axis)] else high, by)
    return np.asarray(x[0][tuple(found)])


def _limited(shape: Sequence[int]) -> tuple[int, ...]:
    """A shape that is asked for, if so many values may be made."""
    sizes = tuple(int(size) for size in shape)
    if math.prod(sizes) > MAX_VALUES:
        raise ValueError
    return sizes


def _fill(x: Sequence[Any], options: Options) -> Array:
    value = options.get("value")
    one = np.zeros(1, np.float32) if value is None else value.values()
    return np.full(_limited(x[0].ravel()), one.ravel()[0])


def _range(x: Sequence[Any], options: Options) -> Array:
    start, stop, step = (item.ravel()[0] for item in x)
    _limited([max(math.ceil((float(stop) - float(start)) / float(step)), 0)])
    return np.arange(start, stop, step, dtype=x[0].dtype)


def _expand(x: Sequence[Any], options: Options) -> Array:
    shape = np.broadcast_shapes(x[0].shape, tuple(int(size) for size in x[1].ravel()))
    return np.broadcast_to(x[0], _limited(shape))


def _tile(x: Sequence[Any], options: Options) -> Array:
    _limited([x[0].size, *x[1].ravel()])
    return np.tile(x[0], x[1].ravel())


def _divide(x: Sequence[Any], options: Options) -> Array:
    if np.issubdtype(x[0].dtype, np.floating):
        return np.asarray(x[0] / x[1])
    if not np.all(x[1]):
        raise ZeroDivisionError
    return np.asarray(np.trunc(x[0] / x[1])).astype(x[0].dtype)


def _split(x: Sequence[Any], options: Options) -> list[Array]:
    axis = int(options.get("axis", 0))
    sizes = x[1].ravel() if len(x) > 1 and x[1] is not None else options.get("split")
    if sizes is None:
        return [np.asarray(part) for part in np.array_split(x[0], int(options["num_outputs"]), axis)]
    return [np.asarray(part) for part in np.split(x[0], np.cumsum(np.asarray(sizes))[:-1], axis)]


def _reduce(function: Callable[..., Any]) -> Fold:
    def fold(x: Sequence[Any], options: Options) -> Array:
        axes = _axes(x, options)
        if axes is None and options.get("noop_with_empty_axes"):
            return np.asarray(x[0])
        keep = bool(options.get("keepdims", 1))
        return np.asarray(function(x[0], axis=None if not axes else tuple(axes), keepdims=keep)).astype(x[0].dtype)

    return fold


def _numpy(function: Callable[..., Any]) -> Fold:
    return lambda x, options: np.asarray(function(*x))


def _first(function: Callable[[Array, Options], Any]) -> Fold:
    return lambda x, options: np.asarray(function(x[0], options))  # type: ignore[arg-type]


def _power(x: Sequence[Any], options: Options) -> Array:
    return np.asarray(np.power(x[0].astype(np.float64), x[1])).astype(x[0].dtype)


FOLDED: dict[str, Fold] = {
    "Identity": _first(lambda x, o: x),
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Reshape": _reshape,
    "Flatten": _first(lambda x, o: x.reshape(math.prod(x.shape[: o.get("axis", 1)]), -1)),
    "Transpose": _first(lambda x, o: np.transpose(x, o.get("perm"))),
    "Slice": _slice,
    "Split": _split,
    "Gather": lambda x, o: np.asarray(np.take(x[0], x[1], axis=int(o.get("axis", 0)))),  # type: ignore[arg-type]
    "Concat": lambda x, o: np.concatenate(x, axis=int(o["axis"])),  # type: ignore[arg-type]
    "ConstantOfShape": _fill,
    "Range": _range,
    "Expand": _expand,
    "Tile": _tile,
    "Add": _numpy(np.add),
    "Sub": _numpy(np.subtract),
    "Mul": _numpy(np.multiply),
    "Div": _divide,
    "Mod": _numpy(np.mod),
    "Pow": _power,
    "Min": lambda x, o: np.minimum.reduce(np.broadcast_arrays(*x)),  # type: ignore[arg-type]
    "Max": lambda x, o: np.maximum.reduce(np.broadcast_arrays(*x)),  # type: ignore[arg-type]
    "Neg": _numpy(np.negative),
    "Abs": _numpy(np.abs),
    "Sqrt": _numpy(np.sqrt),
    "Reciprocal": _numpy(np.reciprocal),
    "Floor": _numpy(np.floor),
    "Ceil": _numpy(np.ceil),
    "Equal": _numpy(np.equal),
    "Less": _numpy(np.less),
    "LessOrEqual": _numpy(np.less_equal),
    "Greater": _numpy(np.greater),
    "GreaterOrEqual": _numpy(np.greater_equal),
    "And": _numpy(np.logical_and),
    "Or": _numpy(np.logical_or),
    "Not": _numpy(np.logical_not),
    "Where": _numpy(np.where),
    "ReduceProd": _reduce(np.prod),
    "ReduceSum": _reduce(np.sum),
    "ReduceMax": _reduce(np.max),
    "ReduceMin": _reduce(np.min),
}
