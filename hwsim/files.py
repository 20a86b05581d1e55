"""Files of a user: one way in, one way out.

What is read is a regular file of limited size, and a file that is cut short while it is read is an error. What is
written appears whole or not at all, and never in place of a file that was read.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import sys
import tempfile
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hwsim.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "MAX_TEXT_BYTES", "FileView", "check_target", "csv_cell", "csv_text", "keep", "read_bytes", "read_text",
    "write_file", "write_text",
]  # fmt: skip

MAX_TEXT_BYTES = 8 * 2**20
_BLOCK = 2**16
_inputs: dict[tuple[int, int], Path] = {}
"""The files that this process has read, by device and inode."""
_no_outputs: set[str] = set()
"""Paths that are not written, whether there is a file or not."""
_READER_S = 10.0
_LINKS = 40


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


def keep(path: Path, *, beside: tuple[str, ...] = ()) -> None:
    """Write nothing in place of a file that a library opens by itself, nor of those that it has beside it."""
    with suppress(OSError, ValueError):
        status = path.stat()
        _inputs[status.st_dev, status.st_ino] = Path(os.path.abspath(path))
    with suppress(ValueError):
        _no_outputs.update(os.path.realpath(path) + suffix for suffix in ("", *beside))


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


def _descriptor(path: Path) -> int | None:
    """The open descriptor that a path stands for, as /dev/stdout; None if it names a file."""
    folders = {os.path.realpath("/proc/self/fd"), os.path.realpath("/dev/fd")}
    here = os.path.abspath(path)
    for _ in range(_LINKS):
        folder, name = os.path.split(here)
        if name.isascii() and name.isdigit() and len(name) < 10 and os.path.realpath(folder) in folders:
            return int(name)
        if not os.path.islink(here):
            break
        here = os.path.normpath(os.path.join(os.path.realpath(folder), os.readlink(here)))
    return None


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def check_target(path: Path) -> None:
    """Raise InputError if a file cannot be written here, before the work that it is the result of."""
    try:
        if _descriptor(path) is None:
            _target(path)
    except (OSError, ValueError) as error:
        raise _refused("written", path, error) from None


def _target(path: Path) -> tuple[Path, os.stat_result | None]:
    """The file that is written, behind links, and its status if there is one."""
    path = Path(os.path.realpath(path))
    status = _status(path)
    if str(path) in _no_outputs or (status is not None and _is_input(status)):
        raise InputError("must not be an input of this command: it would be replaced", str(path))
    if status is not None and stat.S_ISDIR(status.st_mode):
        raise InputError("cannot be written: it is a directory", str(path))
    if status is None or stat.S_ISREG(status.st_mode):
        folder = path.parent.stat()
        reason = None if stat.S_ISDIR(folder.st_mode) else errno.ENOTDIR
        if reason is None and not os.access(path.parent, os.W_OK | os.X_OK):
            reason = errno.EACCES
        if reason is not None:
            raise OSError(reason, os.strerror(reason))
    return path, status


def _opened(path: Path) -> int:
    """A descriptor of a device, or of a pipe that has a reader: it gets some seconds to come."""
    end = time.monotonic() + _READER_S
    while True:
        try:
            handle = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
            os.set_blocking(handle, True)
            return handle
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            if time.monotonic() > end:
                raise OSError(errno.ENXIO, "it is a pipe that nothing reads") from None
        time.sleep(0.02)


def _pour(write: Callable[[Path], object], handle: int) -> None:
    """Let `write` fill a temporary file, and copy it to a descriptor, where whatever was written before stays."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    with tempfile.TemporaryDirectory(prefix="hwsim-") as folder:
        write(temporary := Path(folder) / "output")
        with temporary.open("rb") as source, os.fdopen(handle, "wb", closefd=False) as target:
            shutil.copyfileobj(source, target)


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path`, then put it in its place; a full disk leaves the old file as it was.

    A device, a pipe, or an open descriptor such as /dev/stdout has no old content to keep: it is written to.

    Raises
    ------
    InputError
        If it cannot be written, or is one of the files that were read.
    """
    try:
        if (handle := _descriptor(path)) is not None:
            if _is_input(os.fstat(handle)):
                raise InputError("must not be an input of this command", str(path))
            with suppress(BrokenPipeError):  # as of `hwsim list | head`
                _pour(write, handle)
            return
        path, status = _target(path)
        if status is not None and not stat.S_ISREG(status.st_mode):
            handle = _opened(path)
            try:
                _pour(write, handle)
            finally:
                os.close(handle)
            return
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
