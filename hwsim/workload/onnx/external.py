"""Values of constants in files beside the model: read in its folder only, within limits."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import InputError
from hwsim.files import FileView

__all__ = ["ExternalValues"]

#: All values in other files together: a hostile model may name one array many times.
MAX_BYTES = 8 * 2**30
#: One array is read whole; arrays in the model itself cannot be larger either.
MAX_ARRAY_BYTES = 2 * 2**30


class ExternalValues:
    """The files beside a model; `unread` has the names of constants whose values are not read, by the reason."""

    def __init__(self, model: Path) -> None:
        self.folder = Path(os.path.realpath(model)).parent
        self.unread: dict[str, list[str]] = {}
        self._left = MAX_BYTES

    def reader(self, tensor: Any, name: str, expected_bytes: int) -> Callable[[], NDArray[np.uint8]] | None:
        """What reads the bytes of a TensorProto; None, with a reason, if they must not or cannot be read."""
        try:
            path, offset = self._place(tensor, expected_bytes)
        except (InputError, OSError, ValueError) as error:
            fault = error.faults[0].message if isinstance(error, InputError) else "its file cannot be found"
            self.unread.setdefault(fault, []).append(name)
            return None
        return lambda: np.frombuffer(FileView(path, 2**63 - 1).read(offset, expected_bytes), np.uint8)

    def _place(self, tensor: Any, expected_bytes: int) -> tuple[Path, int]:
        entries = {item.key: item.value for item in tensor.external_data}
        location = entries.get("location", "")
        if not location or "\0" in location or "\\" in location:
            raise InputError("their file has no valid name")
        path = Path(os.path.realpath(self.folder / location))  # behind links
        if os.path.isabs(location) or not path.is_relative_to(self.folder) or ".." in Path(location).parts:
            raise InputError("their file is outside of the model's folder")
        if not path.exists():
            raise InputError("their file is not there")
        offset = _number(entries.get("offset", "0"))
        length = _number(entries.get("length", str(expected_bytes)))
        if length != expected_bytes:
            raise InputError("their number of bytes is not that of their shape")
        if not path.is_file() or offset + length > path.stat().st_size:
            raise InputError("they are beyond the end of their file")
        if length > MAX_ARRAY_BYTES:
            raise InputError(f"they are more than {MAX_ARRAY_BYTES // 2**30} GiB")
        if length > self._left:
            raise InputError(f"they are beyond the first {MAX_BYTES // 2**30} GiB")
        FileView(path, 2**63 - 1)  # whether it may be read
        self._left -= length
        return path, offset


def _number(digits: str) -> int:
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
        raise InputError("their place in the file is no number of bytes")
    return int(digits)
