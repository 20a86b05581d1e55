"""Checks of kernel arguments, before any work; each error states the rule and the value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import InputError, excerpt

__all__ = [
    "EIGHT_BITS",
    "FLIP",
    "INT32_MAX",
    "array",
    "channel_values",
    "channel_zeros",
    "integer",
    "limits",
    "name",
    "pair",
    "raw",
    "require",
    "values_of",
    "vector",
    "zero_point",
]

Array = NDArray[Any]
FLIP = 0x80
"""int8 x and uint8 x + 128 differ in this bit alone."""
INT32_MAX = 2**31 - 1
EIGHT_BITS = ("int8", "uint8")
_NAMES = {np.dtype(name): name for name in ("int8", "uint8", "int16", "int32", "int64", "float32")}
_LIMITS = {
    dtype: (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)) for dtype, name in _NAMES.items() if name != "float32"
}


def limits(dtype: np.dtype[Any]) -> tuple[int, int]:
    """Smallest and largest value of an integer type (numpy's iinfo costs a microsecond a call)."""
    return _LIMITS[dtype]


def require(holds: bool, path: str, message: str) -> None:
    """Raise an InputError about one argument unless it holds."""
    if not holds:
        raise InputError(message, path=path)


def array(path: str, argument: object, dtypes: Sequence[str], ndim: int) -> Array:
    """A C-contiguous array of one of the types and of so many dims; a copy where its values lie at odd addresses."""
    is_plain = not isinstance(argument, (np.matrix, np.ma.MaskedArray))  # one stays 2-D, of the other the mask is lost
    is_valid_type = isinstance(argument, np.ndarray) and is_plain and _NAMES.get(argument.dtype) in dtypes
    if isinstance(argument, np.ndarray) and is_valid_type and argument.ndim == ndim and argument.flags.c_contiguous:
        return argument if argument.flags.aligned else argument.copy()  # C reads whole words
    rule = f"must be a C-contiguous {ndim}-D array of {' or '.join(dtypes)}"
    if not isinstance(argument, np.ndarray) or not is_plain:
        raise InputError(f"{rule}, got {type(argument).__name__}", path=path)
    require(is_valid_type, path, f"{rule}, got {argument.dtype} ({argument.dtype.str})")
    require(argument.ndim == ndim, path, f"{rule}, got shape {argument.shape}")
    raise InputError(f"{rule}, got strides {argument.strides} for shape {argument.shape}", path=path)


def raw(values: Array) -> NDArray[np.uint8]:
    """The bytes of an 8-bit array, in a row."""
    return values.reshape(-1).view(np.uint8)


def zero_point(path: str, argument: object, dtype: np.dtype[Any]) -> int:
    """One zero point, in the range of the values that it belongs to."""
    low, high = limits(dtype)
    if type(argument) is int and low <= argument <= high:
        return argument
    rule = f"must be an integer in {low}..{high}, as the values are {dtype}"
    value = np.asarray(argument) if not isinstance(argument, (list, tuple, dict)) else np.empty(0)
    require(value.size == 1 and np.issubdtype(value.dtype, np.integer), path, f"{rule}, got {excerpt(argument)}")
    number = int(value.reshape(())[()])
    require(low <= number <= high, path, f"{rule}, got {number}")
    return number


def values_of(path: str, argument: object) -> Array:
    """Numbers of channels in an array, whatever they came in."""
    try:
        values = np.asarray(argument)
    except (TypeError, ValueError):  # a list of lists of different lengths
        values = np.empty(0, object)
    is_number = values.dtype.kind in "iuf"
    require(is_number or not values.size, path, f"must be a number, or an array of numbers, got {excerpt(argument)}")
    require(values.dtype != object, path, f"must be a number, or an array of numbers, got {excerpt(argument)}")
    require(values.size <= 2**24, path, f"must be at most 2**24 numbers, got shape {values.shape}")
    return values


def channel_values(path: str, argument: object, count: int, kind: str) -> Array:
    """One value, or one a channel, as a 1-D array of `count` of them; kind is `integer` or `number`."""
    value = values_of(path, argument)
    rule = f"must be one {kind}, or one for each of the {count} channels"
    numeric = np.issubdtype(value.dtype, np.integer) or (kind == "number" and np.issubdtype(value.dtype, np.floating))
    require(bool(numeric), path, f"{rule}, got {type(argument).__name__} of {value.dtype}")
    require(value.ndim == 0 or value.shape in {(1,), (count,)}, path, f"{rule}, got shape {value.shape}")
    return np.broadcast_to(value.reshape(-1) if value.ndim else value, (count,))


def channel_zeros(path: str, argument: object, count: int, dtype: np.dtype[Any]) -> NDArray[np.int64]:
    """Zero points of channels, in the range of the values that they belong to."""
    least, most = limits(dtype)
    if type(argument) is int and least <= argument <= most:
        return np.full(count, argument, np.int64)
    values = channel_values(path, argument, count, "integer").astype(np.int64)
    if count:
        low, high = int(values.min()), int(values.max())
        message = f"must lie in {least}..{most}, as the values are {dtype}, got {low}..{high}"
        require(least <= low and high <= most, path, message)
    return values


def vector(path: str, argument: object, count: int) -> NDArray[np.int32]:
    """A bias: int32, one a channel."""
    values = array(path, argument, ("int32",), 1)
    if values.size != count:
        raise InputError(f"must have one value for each of the {count} channels, got {values.size}", path=path)
    return values


def integer(path: str, argument: object, least: int, most: int) -> int:
    """One whole number within limits."""
    whole = isinstance(argument, (int, np.integer)) and bool(least <= argument <= most)
    require(whole, path, f"must be {least} to {most}, got {excerpt(argument)}")
    return int(argument)  # type: ignore[call-overload, no-any-return]


def name(path: str, argument: object, names: Sequence[str]) -> None:
    """One of some names."""
    is_name = isinstance(argument, str) and argument in names
    require(is_name, path, f"must be {', '.join(names[:-1])} or {names[-1]}, got {excerpt(argument)}")


def pair(path: str, argument: int | Sequence[int], least: int) -> tuple[int, int]:
    """One number for both axes, or (vertical, horizontal)."""
    numbers = tuple(argument) if isinstance(argument, Sequence) else (argument, argument)
    rule = f"must be an integer or a pair of integers, each at least {least} and below 2**31"
    valid = len(numbers) == 2 and all(isinstance(x, (int, np.integer)) and least <= x < 2**31 for x in numbers)
    require(valid, path, f"{rule}, got {excerpt(argument)}")
    return int(numbers[0]), int(numbers[1])
