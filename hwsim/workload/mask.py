"""Where the values of a tensor are not zero: whole masks, and counts a channel, which are often all that is known."""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.lib import format as npy
from numpy.typing import ArrayLike, NDArray

from hwsim.errors import Fault, InputError, excerpt
from hwsim.files import read_bytes

__all__ = ["Mask", "each_array", "read_masks"]

MAX_FILE_BYTES = 2**30
MAX_BYTES = 2**31
"""Of all arrays of a file together, unpacked."""


@dataclass(frozen=True, eq=False)
class Mask:
    """Which values of a tensor are not zero, a bit each.

    Two masks are equal if their shapes and bits are.
    """

    shape: tuple[int, ...]
    bits: bytes

    @classmethod
    def of(cls, values: ArrayLike) -> Mask:
        """The mask of an array of numbers: what is not zero is kept."""
        array = np.asarray(values)
        if array.dtype.kind not in "biuf":
            raise InputError(f"a mask must be an array of numbers, not of {array.dtype}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise InputError("a mask must be of finite numbers: there is a NaN or an infinity among them")
        return cls(tuple(map(int, array.shape)), np.packbits(array != 0).tobytes())

    @cached_property
    def digest(self) -> str:
        """SHA-256 of shape and bits."""
        return hashlib.sha256(repr(self.shape).encode() + self.bits).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mask) and (self is other or (self.shape, self.bits) == (other.shape, other.bits))

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"<Mask {'x'.join(map(str, self.shape))}, {self.nonzeros:,} not zero>"

    @cached_property
    def nonzeros(self) -> int:
        """How many values are not zero."""
        return int(np.unpackbits(np.frombuffer(self.bits, np.uint8)).sum(dtype=np.int64))

    @property
    def array(self) -> NDArray[np.bool_]:
        """The mask as an array."""
        size = math.prod(self.shape)
        return np.unpackbits(np.frombuffer(self.bits, np.uint8), count=size).astype(bool).reshape(self.shape)


def read_masks(path: Path) -> dict[str, Mask]:
    """Read the masks of an ``.npz`` file by the names of its arrays; values that are not zero are kept.

    Raises
    ------
    InputError
        For a file that is no archive of numeric arrays, or too large.
    """
    masks: dict[str, Mask] = {}
    for name, array in each_array(path):
        try:
            masks[name] = Mask.of(array)
        except InputError as error:
            raise InputError([Fault(str(path), excerpt(name), fault.message) for fault in error.faults]) from None
    return masks


def each_array(path: Path) -> Iterator[tuple[str, NDArray[Any]]]:
    """The arrays of an ``.npz`` file, one after the other, with their names; nothing in the file is executed."""
    where = str(path)
    number = 0
    try:
        archive = zipfile.ZipFile(io.BytesIO(read_bytes(path, MAX_FILE_BYTES)))
        names = [name for name in archive.namelist() if name.endswith(".npy")]
        left = MAX_BYTES
        declared = sum(archive.getinfo(name).file_size for name in names)
        if declared > MAX_BYTES:
            raise InputError(f"must have arrays of at most {MAX_BYTES // 2**30} GiB in all, not {declared / 2**30:.3g}")
        for name in names:
            with archive.open(name) as stream:
                shape, dtype, order = _header(stream, f"array {excerpt(name)}")
                if min(shape, default=1) < 0:
                    raise InputError(f"array {excerpt(name)} must have no negative size, not {list(shape)}")
                size = math.prod(shape) * dtype.itemsize
                left -= size
                if left < 0:
                    raise InputError(f"must have arrays of at most {MAX_BYTES // 2**30} GiB in all, unpacked")
                raw = stream.read(size)
            if len(raw) < size:
                raise InputError(f"array {excerpt(name)} is cut short")
            number += 1
            yield name.removesuffix(".npy"), np.frombuffer(raw, dtype).reshape(shape, order=order)
    except InputError as error:
        raise InputError([replace(fault, where=fault.where or where) for fault in error.faults]) from None
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError) as error:
        raise InputError(f"must be an .npz file of arrays: {excerpt(str(error), 120)}", where) from None
    if not number:
        raise InputError("must be an .npz file with at least one array", where)


def _header(stream: Any, label: str) -> tuple[tuple[int, ...], np.dtype[Any], Literal["C", "F"]]:
    """Shape, number format and order of the array that follows."""
    version = npy.read_magic(stream)
    reader = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
    if reader is None:
        raise InputError(f"{label} is of a format that is not known, {version}")
    shape, fortran, dtype = reader(stream)
    if dtype.kind not in "biuf":
        raise InputError(f"{label} must be of numbers, not of {dtype}")
    return tuple(map(int, shape)), dtype, "F" if fortran else "C"
