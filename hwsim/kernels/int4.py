"""int4 values, two a byte: the even one in the low half, as TFLite and ONNX keep them."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import InputError, excerpt
from hwsim.kernels.checks import array, integer, require

__all__ = ["pack_int4", "unpack_int4"]


def pack_int4(values: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Two a byte, in C order; the last byte of an odd count has zero in its high half."""
    if not isinstance(values, np.ndarray):
        raise InputError(f"must be an array of int8, got {type(values).__name__}", path="values")
    flat = array("values", values, ("int8",), values.ndim).reshape(-1)
    if flat.size:
        low, high = int(flat.min()), int(flat.max())
        require(low >= -8 and high <= 7, "values", f"must lie in -8..7, got {low}..{high}")
    halves: NDArray[Any] = np.zeros(flat.size + flat.size % 2, np.uint8)
    halves[: flat.size] = flat.view(np.uint8) & 0xF
    packed: NDArray[np.uint8] = halves[0::2] | halves[1::2] << 4
    return packed


def unpack_int4(octets: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.int8]:
    """The int8 array of that shape which `pack_int4` packed."""
    array("octets", octets, ("uint8",), 1)
    require(isinstance(shape, tuple), "shape", f"must be a tuple of integers, got {excerpt(shape)}")
    shape = tuple(integer("shape", size, 0, 2**62) for size in shape)
    count = prod(shape)
    need = (count + 1) // 2
    require(octets.size == need, "octets", f"must have {need} bytes for shape {shape}, got {octets.size}")
    halves = np.empty(2 * octets.size, np.int8)
    signed = octets.view(np.int8)
    halves[0::2] = (signed << 4) >> 4
    halves[1::2] = signed >> 4
    return halves[:count].reshape(shape)
