"""Tables of a FlatBuffers file, read field by field; for the tables of which a file has thousands."""

from __future__ import annotations

import struct
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Table"]

Array: TypeAlias = NDArray[Any]

_I32 = struct.Struct("<i").unpack_from
_U32 = struct.Struct("<I").unpack_from
_U16 = struct.Struct("<H").unpack_from
_NONE = np.zeros(0, np.int64)


class Table:
    """A table at a place of the file; its fields are numbered as in the schema.

    Raises struct.error, ValueError or IndexError where a field leads outside of the file.
    """

    __slots__ = ("at", "fields", "raw")

    def __init__(self, raw: bytes, at: int) -> None:
        start = at - _I32(raw, at)[0]
        if start < 0:
            raise IndexError("a table must have its list of fields in the file")
        self.raw, self.at = raw, at
        self.fields = struct.unpack_from(f"<{max(_U16(raw, start)[0] - 4, 0) // 2}H", raw, start + 4)

    def place(self, field: int) -> int:
        """Where a field is in the file; 0 if the table has none."""
        offset = self.fields[field] if field < len(self.fields) else 0
        return self.at + offset if offset else 0

    def target(self, field: int) -> int:
        """Where what a field refers to is in the file; 0 if the table has none."""
        place = self.place(field)
        return place + int(_U32(self.raw, place)[0]) if place else 0

    def integer(self, field: int) -> int:
        """A field of 32 bits; 0 if the table has none."""
        place = self.place(field)
        return int(_I32(self.raw, place)[0]) if place else 0

    def unsigned(self, field: int, size: int) -> int:
        """A field of `size` bytes; 0 if the table has none."""
        place = self.place(field)
        if place + size > len(self.raw):
            raise IndexError("a field must end within the file")
        return int.from_bytes(self.raw[place : place + size], "little") if place else 0

    def table(self, field: int) -> Table | None:
        """A table within it; None if there is none."""
        place = self.target(field)
        return Table(self.raw, place) if place else None

    def vector(self, field: int, dtype: str) -> Array:
        """A vector as a view into the file; empty if there is none."""
        place = self.target(field)
        size = _U32(self.raw, place)[0] if place else 0
        return np.frombuffer(self.raw, dtype, size, place + 4) if size else _NONE

    def tables(self, field: int) -> list[Table]:
        """The tables of a vector."""
        start = self.target(field) + 4
        offsets = self.vector(field, "<u4").tolist()
        return [Table(self.raw, start + 4 * place + offset) for place, offset in enumerate(offsets)]
