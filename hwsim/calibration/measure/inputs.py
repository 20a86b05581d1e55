"""Random inputs of a model, of the shapes that it gives or the user does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hwsim.errors import InputError

__all__ = ["Shapes", "random_inputs"]

MAX_INPUT_ELEMENTS = 2**28
Shapes = Mapping[str, int | Sequence[int]]


def random_inputs(inputs: Any, batch: int, shapes: Shapes, path: str) -> dict[str, np.ndarray[Any, Any]]:
    """Random inputs: normal floats, 0 or 1 as indices (every table has these rows), any 8-bit value."""
    draw, feeds = np.random.default_rng(0), {}
    for tensor in inputs:
        shape: list[int] = []
        own = shapes.get(tensor.name)
        sizes = tensor.shape if own is None or isinstance(own, int) else own
        for axis, size in enumerate(sizes):
            if isinstance(size, int) and size >= 0:
                shape.append(size)
                if axis == 0 and size != batch and batch != 1:
                    raise InputError(f"the batch of input {tensor.name!r} is fixed at {size}, not {batch}", path)
            elif isinstance(size, str) and size in shapes:
                shape.append(_one(shapes[size]))
            elif axis == 0:
                shape.append(batch)
            else:
                axis_name = f"{size!r}" if size else f"axis {axis}"
                raise InputError(f"input {tensor.name!r} leaves {axis_name} open: its size must be given", path)
        if math.prod(shape) > MAX_INPUT_ELEMENTS:
            raise InputError(f"input {tensor.name!r} must have at most 2^28 elements, not {math.prod(shape):,}", path)
        feeds[tensor.name] = _values(draw, tensor.type, tuple(shape), tensor.name, path)
    return feeds


def _one(size: int | Sequence[int]) -> int:
    return size if isinstance(size, int) else math.prod(size)


def _values(draw: np.random.Generator, kind: str, shape: tuple[int, ...], name: str, path: str) -> np.ndarray[Any, Any]:
    dtype = {"tensor(float)": "float32", "tensor(double)": "float64"}.get(kind, kind[7:-1])
    if dtype in ("float16", "float32", "float64"):
        return draw.standard_normal(shape, np.float32).astype(dtype)
    if dtype in ("int8", "uint8"):
        return draw.integers(np.iinfo(dtype).min, np.iinfo(dtype).max + 1, shape).astype(dtype)
    if dtype in ("bool", "int16", "uint16", "int32", "uint32", "int64", "uint64"):
        return draw.integers(0, 2, shape).astype(dtype)
    raise InputError(f"input {name!r} must be a tensor of numbers, not {kind}", path)
