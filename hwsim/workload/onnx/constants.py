"""Constants of an ONNX graph; their values are read from the file on demand."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import InputError
from hwsim.files import FileView
from hwsim.workload.layer import Shape
from hwsim.workload.number_format import type_bits
from hwsim.workload.onnx.external import ExternalValues
from hwsim.workload.onnx.wire import ArraySpan

__all__ = ["Array", "Constant", "decode", "numpy_type", "stored_constant"]

Array: TypeAlias = NDArray[Any]
Reader: TypeAlias = Callable[[], Array]

_PLAIN = {
    "float": "<f4", "double": "<f8", "float16": "<f2", "uint8": "u1", "int8": "i1", "uint16": "<u2", "int16": "<i2",
    "int32": "<i4", "int64": "<i8", "uint32": "<u4", "uint64": "<u8", "bool": "?", "complex64": "<c8",
    "complex128": "<c16",
}  # fmt: skip
#: Larger weights are not searched for dead channels.
MAX_MASK = 2**28
_CHUNK = 2**22


@dataclass(frozen=True, eq=False)
class Constant:
    """A tensor whose values do not depend on the input of the network.

    Attributes
    ----------
    shape : tuple of int
        As operators see it, with the batch axis if it has one.
    dtype : str
        ONNX's name of the type that operators see.
    storage_dtype : str
        The type in the file, before a DequantizeLinear or a Cast that runs when the model is loaded.
    read : callable or None
        Returns numbers that are zero exactly where the real values are; None if the values are unknown.
    real : callable or None
        Returns the real values, or None.
    density_of : Constant or None
        A constant with the same density that is nearer to the file.
    origin : Constant or None
        The constant of the file that it is computed from: its values in another order, shape or type.
    """

    shape: Shape
    dtype: str
    storage_dtype: str
    read: Reader | None = None
    real: Reader | None = None
    density_of: Constant | None = None
    zeros: float | None = None
    origin: Constant | None = None

    @property
    def stored(self) -> Constant:
        """The constant of the file with these values, if it has as many."""
        return self.origin if self.origin is not None and self.origin.elements == self.elements else self

    @property
    def elements(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Bytes of its values as they are stored."""
        return -(-self.elements * type_bits(self.storage_dtype, "onnx") // 8)

    def mask(self) -> NDArray[np.bool_] | None:
        """Mask of the nonzero values; None if they are unknown or too many."""
        if self.read is None or self.elements > MAX_MASK:
            return None
        try:
            return np.asarray(self.read() != 0).reshape(self.shape)
        except (ValueError, IndexError):  # scales or indices that do not fit the values
            return None

    @cached_property
    def density(self) -> float | None:
        """The fraction of nonzero values; None if they are unknown."""
        if self.density_of is not None:
            return self.density_of.density
        if self.zeros is not None:
            return 1 - self.zeros
        if self.read is None or not self.elements:
            return None
        try:
            flat = self.read().reshape(-1)
        except (ValueError, IndexError):
            return None
        count = sum(int(np.count_nonzero(flat[at : at + _CHUNK])) for at in range(0, flat.size, _CHUNK))
        return count / self.elements

    def values(self, most: int = 2**20) -> Array | None:
        """The real values; None if they are unknown or more than `most`."""
        if self.real is None or self.elements > most:
            return None
        try:
            return np.asarray(self.real()).reshape(self.shape)
        except (ValueError, IndexError):
            return None

    def rearrange(self, shape: Shape, change: Callable[[Array], Array]) -> Constant:
        """The same values in another order or shape."""
        read, real = self.read, self.real
        return Constant(
            shape, self.dtype, self.storage_dtype,
            None if read is None else lambda: change(read().reshape(self.shape)),
            None if real is None else lambda: change(real().reshape(self.shape)),
            self.density_of or self, origin=self.origin or self,
        )  # fmt: skip

    def of_one(self, axis: int, batch: int, inner: int) -> Constant:
        """The values for one of a batch: `axis` has ``outer * batch * inner`` values, the same for each."""
        before, size, after = self.shape[:axis], self.shape[axis], self.shape[axis + 1 :]
        parts = (math.prod(before), size // (batch * inner), batch, inner * math.prod(after))
        shape = (*before, size // batch, *after)
        return self.rearrange(shape, lambda values: values.reshape(parts)[:, :, 0].reshape(shape))

    def cast(self, dtype: str) -> Constant:
        """The same values cast to another type when the model is loaded."""
        return Constant(
            self.shape,
            dtype,
            self.storage_dtype,
            self.read,
            self.real,
            self.density_of or self,
            origin=self.origin or self,
        )

    def dequantize(self, scale: Constant, zero: Constant | None, axis: int, block: int = 0) -> Constant:
        """``scale * (stored - zero)``, with one pair per tensor, per index of `axis` or per block along it."""
        rank = len(self.shape)
        axis = axis % max(rank, 1)
        read, real = self.read, self.real

        def spread(values: Array) -> Array:
            if values.ndim == rank and rank > 1 and values.size > 1 and block:
                return np.take(values, np.arange(self.shape[axis]) // block, axis=axis)
            return values.reshape([-1 if place == axis else 1 for place in range(rank)]) if values.size > 1 else values

        blocks = (
            tuple(-(-size // block) if place == axis else size for place, size in enumerate(self.shape))
            if block
            else ()
        )
        fits = scale.elements == 1 or (scale.shape == blocks if block else rank and scale.elements == self.shape[axis])
        scales = scale.values() if fits else None
        zeros = np.zeros((1,) * rank) if zero is None else zero.values()
        if zeros is None or read is None or real is None or not fits:
            return Constant(self.shape, scale.dtype, self.storage_dtype, origin=self.origin or self)
        if zeros.size > 1 and zeros.size != scale.elements:
            return Constant(self.shape, scale.dtype, self.storage_dtype, origin=self.origin or self)
        offset = spread(zeros)
        plain = not zeros.any()
        return Constant(
            self.shape, scale.dtype, self.storage_dtype,
            read if plain else lambda: _offset(read().reshape(self.shape), offset),
            None if scales is None else lambda: (real().reshape(self.shape) - offset) * spread(scales),
            (self.density_of or self) if plain else None, origin=self.origin or self,
        )  # fmt: skip


def numpy_type(dtype: str) -> np.dtype[Any] | None:
    """The numpy type of an ONNX type of real numbers; None if numpy has none."""
    return np.dtype(_PLAIN[dtype]) if dtype in _PLAIN and not dtype.startswith("complex") else None


def _offset(values: Array, zero: Array) -> Array:
    return np.asarray(values != zero.astype(np.int32))


def decode(raw: NDArray[np.uint8], dtype: str, elements: int) -> tuple[Array, Array | None]:
    """Bytes of a file as numbers that are zero where the real values are, and the real values if numpy has the type."""
    if dtype in _PLAIN:
        values = raw.view(np.uint8 if dtype == "bool" else _PLAIN[dtype])
        return values, values
    bits = type_bits(dtype, "onnx")
    if bits < 8:
        shifts = np.arange(0, 8, bits, dtype=np.uint8)
        values = ((raw[:, None] >> shifts) & (2**bits - 1)).reshape(-1)[:elements].astype(np.int8)
        if dtype.startswith("int"):
            values = np.where(values >= 2 ** (bits - 1), values - 2**bits, values)
        return (values & 7, None) if dtype.startswith("float") else (values, values)
    if dtype == "bfloat16":
        words = raw.view("<u2")
        return words & 0x7FFF, (words.astype("<u4") << 16).view("<f4")
    return raw & 0x7F, None  # eight bits of float, all but the sign


def stored_constant(
    shape: Shape, dtype: str, owner: str, raw: Reader | None, size: int, zeros: float | None = None
) -> Constant:
    """A constant of `size` bytes read by `raw`; without `raw` its values are unknown."""
    if not type_bits(dtype, "onnx"):
        raise InputError(f"type must be one of ONNX's, not {dtype}", path=owner)
    elements = math.prod(shape)
    expected_bytes = -(-elements * type_bits(dtype, "onnx") // 8)
    if raw is None or dtype == "string":
        return Constant(shape, dtype, dtype, zeros=zeros)
    if size != expected_bytes:
        sizes = " x ".join(map(str, shape)) or "a scalar"
        raise InputError(f"must have {expected_bytes} bytes, as {dtype} of shape {sizes} has, not {size}", path=owner)
    source = raw

    def read() -> Array:
        return decode(source(), dtype, elements)[0]

    def real() -> Array:
        values = decode(source(), dtype, elements)[1]
        assert values is not None
        return values

    return Constant(shape, dtype, dtype, read, None if dtype.startswith(("float8", "float4")) else real)


def tensor_constant(
    tensor: Any, dtype: str, owner: str, file: FileView, span: ArraySpan | None, external: ExternalValues
) -> Constant:
    """The constant of a TensorProto; `span` is the place of its array in the file, if it was not parsed."""
    shape = tuple(tensor.dims)
    if any(size < 0 for size in shape):
        raise InputError(f"sizes must not be negative, not {shape}", path=owner)
    if tensor.data_location == 1:
        size = -(-math.prod(shape) * type_bits(dtype, "onnx") // 8)
        return stored_constant(shape, dtype, owner, external.reader(tensor, owner, size), size)
    if span is not None and span.field == "raw":
        return stored_constant(
            shape, dtype, owner, lambda: np.frombuffer(file.read(span.offset, span.size), np.uint8), span.size
        )
    if tensor.raw_data:
        raw = np.frombuffer(tensor.raw_data, np.uint8)
        return stored_constant(shape, dtype, owner, lambda: raw, raw.size)
    if span is not None:
        dtypes = {"float": ("float", "complex64"), "double": ("double", "complex128")}[span.field]
        if dtype not in dtypes:
            raise InputError(f"values of {dtype} must not be stored as {span.field}", path=owner)
        return stored_constant(
            shape, dtype, owner, lambda: np.frombuffer(file.read(span.offset, span.size), np.uint8), span.size
        )
    values, size = _fields(tensor, dtype, owner)
    return stored_constant(shape, dtype, owner, values if size else None, size)


def _fields(tensor: Any, dtype: str, owner: str) -> tuple[Reader, int]:
    """The bytes of values in a repeated field of numbers."""
    name = {
        "float": "float_data", "complex64": "float_data", "double": "double_data", "complex128": "double_data",
        "int64": "int64_data", "uint64": "uint64_data", "uint32": "uint64_data", "string": "string_data",
    }.get(dtype, "int32_data")  # fmt: skip
    numbers: Sequence[Any] = getattr(tensor, name)
    if dtype == "string":
        return (lambda: np.zeros(0, np.uint8)), 0
    width = {"complex64": "float", "complex128": "double"}.get(dtype, dtype)
    try:
        if width in ("float", "double"):
            values = np.array(numbers, _PLAIN[width])
        else:
            kind = _PLAIN.get(width, "<u2" if type_bits(dtype, "onnx") == 16 else "u1")
            kind = "<u2" if dtype == "float16" else kind  # its bits, not its value
            values = np.array(numbers, np.int64 if name != "uint64_data" else np.uint64).astype(kind)
    except (OverflowError, ValueError, TypeError):
        raise InputError(f"values must be {dtype}", path=owner) from None
    raw = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    return (lambda: raw), raw.size
