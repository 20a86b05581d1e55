"""Files of a user: one way in, one way out.

What is read is a regular file of limited size, and a file that is cut short while it is read is an error. What is
written appears whole or not at all, and never in place of a file that was read.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hwsim.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MAX_TEXT_BYTES", "FileView", "csv_cell", "csv_text", "read_bytes", "read_text", "write_file", "write_text"]

MAX_TEXT_BYTES = 8 * 2**20
_BLOCK = 2**16
_inputs: dict[tuple[int, int], Path] = {}
"""The files that this process has read, by device and inode."""


def _size(count: int) -> str:
    return f"{count // 2**30} GiB" if count >= 2**30 else f"{count // 2**20} MiB"


def _refused(what: str, path: Path, error: OSError | ValueError) -> InputError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return InputError(f"cannot be {what}: {reason}", str(path).replace("\0", "\\0"))


def _open(path: Path, limit: int) -> tuple[int, int]:
    """The descriptor of a regular file, and its size; a pipe is refused without waiting for its other end."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        raise _refused("read", path, error) from None
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
        os.close(handle)
        kind = "must be a file, not a directory, a pipe or a device"
        raise InputError(f"must be at most {_size(limit)}" if stat.S_ISREG(status.st_mode) else kind, str(path))
    _inputs[status.st_dev, status.st_ino] = Path(os.path.abspath(path))
    return handle, status.st_size


def read_bytes(path: Path, limit: int = MAX_TEXT_BYTES) -> bytes:
    """The bytes of a regular file; raises InputError for anything else, a larger one, or one that cannot be read."""
    handle, size = _open(path, limit)
    with os.fdopen(handle, "rb", buffering=0) as stream:
        try:
            parts = []
            left = limit + 1
            while left > 0 and (part := stream.read(min(left, size + 1))):
                parts.append(part)
                left -= len(part)
        except OSError as error:
            raise _refused("read", path, error) from None
    if left <= 0:
        raise InputError(f"must be at most {_size(limit)}", str(path))
    return b"".join(parts)


def read_text(path: Path, limit: int = MAX_TEXT_BYTES) -> str:
    """The text of a UTF-8 file without its byte order mark; raises InputError for a binary file too."""
    raw = read_bytes(path, limit)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"must be UTF-8 text; byte {error.start} is not", str(path)) from None
    if "\0" in text:
        raise InputError("must be text, not binary (it has a zero byte)", str(path))
    return text.removeprefix("\ufeff")


class FileView:
    """The bytes of a large file, read where they are asked for.

    Unlike a mapped file, one that is cut short meanwhile is an InputError, not a signal that ends the process.
    """

    def __init__(self, path: Path, limit: int) -> None:
        self.path = path
        self._handle, self._length = _open(path, limit)
        weakref.finalize(self, os.close, self._handle)
        self._block = b""
        self._start = 0

    def __len__(self) -> int:
        return self._length

    def at(self, offset: int) -> int:
        """One byte; those around it are kept."""
        here = offset - self._start
        if not 0 <= here < len(self._block):
            self._start = offset - offset % _BLOCK
            self._block = self.read(self._start, min(_BLOCK, self._length - self._start))
            here = offset - self._start
        return self._block[here]

    def read(self, offset: int, size: int) -> bytes:
        """So many bytes from an offset.

        Raises
        ------
        InputError
            If the file does not have them any more.
        """
        parts = []
        while size > 0:
            try:
                part = os.pread(self._handle, min(size, 2**30), offset)
            except OSError as error:
                raise _refused("read", self.path, error) from None
            if not part:
                raise InputError("was cut short while it was read", str(self.path))
            parts.append(part)
            offset, size = offset + len(part), size - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def sha256(self) -> str:
        """Hash of the whole file."""
        digest = hashlib.sha256()
        for offset in range(0, self._length, 2**24):
            digest.update(self.read(offset, min(2**24, self._length - offset)))
        return digest.hexdigest()


def _is_input(status: os.stat_result) -> bool:
    """Whether a file was read, by whatever name; inodes of files that are gone are used again."""
    key = (status.st_dev, status.st_ino)
    with suppress(OSError):
        return key in _inputs and (now := _inputs[key].stat()).st_ino == key[1] and now.st_dev == key[0]
    return False


def _forget(path: Path) -> None:
    """What now lies at a path was written here: it is no input, whatever lay there before."""
    absolute = Path(os.path.abspath(path))
    for key in [key for key, other in _inputs.items() if other == absolute]:
        del _inputs[key]


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path`, then put it in its place; a full disk leaves the old file as it was.

    Raises
    ------
    InputError
        If it cannot be written, or is one of the files that were read.
    """
    try:
        path = path.resolve() if path.is_symlink() else path
        status = path.stat() if path.exists() else None
        if status is not None and not stat.S_ISREG(status.st_mode):
            if stat.S_ISDIR(status.st_mode):
                raise InputError("cannot be written: it is a directory", str(path))
            write(path)  # a device or a pipe has no old content to keep
            return
        if status is not None and _is_input(status):
            raise InputError("must not be an input of this command: it would be replaced", str(path))
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:60]}.", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            write(temporary)
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask if status is None else stat.S_IMODE(status.st_mode))
            temporary.replace(path)
            _forget(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
    except (OSError, ValueError) as error:
        raise _refused("written", path, error) from None


def write_text(path: Path, text: str) -> None:
    """Write a text file whole, in UTF-8; raises InputError as `write_file` does."""

    def write(target: Path) -> None:
        with target.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
            stream.write(text)

    write_file(path, write)


def csv_cell(value: object) -> object:
    """A cell that no spreadsheet takes for a formula: text that begins like one gets an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def csv_text(frame: pd.DataFrame) -> str:
    """A DataFrame as CSV, its cells as of `csv_cell`."""
    return frame.map(csv_cell).to_csv(index=False, lineterminator="\n")
