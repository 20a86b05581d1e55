"""Errors that a user reads: what must hold, what was given, the nearest valid name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any
from unicodedata import category

__all__ = [
    "Fault", "HwsimError", "HwsimWarning", "InputError", "MappingError", "excerpt", "items_of", "nearest", "one_line",
    "printable",
]  # fmt: skip

MAX_FAULTS = 100
MAX_LINE = 2000


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode()


def printable(text: str) -> str:
    """Text with its invisible characters (control, direction, ...) escaped; line ends, tabs and spaces stay."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in "\n\t" or category(char) == "Zs" else _escaped(char) for char in text
    )


def one_line(text: object) -> str:
    """A path or another text of a user as a part of one printed line: line ends and tabs are escaped too."""
    return printable(str(text)).replace("\n", "\\n").replace("\t", "\\t")


def excerpt(value: object, most: int = 60) -> str:
    """The beginning of a value's repr, for an error; of one that has none, its type."""
    try:
        return f"{value!r:.{most}}"
    except Exception:  # an integer of thousands of digits, or an object whose own repr raises
        return f"a value of type {type(value).__name__}"


def items_of(value: object) -> list[Any] | None:
    """The items of a list or another iterable that is no text; None for what cannot be iterated."""
    if isinstance(value, str | bytes):
        return None
    try:
        return [*value]  # type: ignore[misc]
    except Exception:  # an array of no axes, or an object whose own iterator raises
        return None


class HwsimError(Exception):
    """Base of every error that hwsim raises on purpose."""


class HwsimWarning(UserWarning):
    """What an input holds and a result does not."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong in an input: where it is, which key, and what must hold."""

    where: str
    path: str
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, self.path, self.message) if part)


def _line(fault: Fault) -> str:
    text = printable(str(fault))
    return text if len(text) <= MAX_LINE else f"{text[: MAX_LINE - 3]}..."


class InputError(HwsimError):
    """An input that cannot be taken; carries all of its faults, and says the first hundred."""

    def __init__(self, faults: Iterable[Fault] | str, where: str = "", path: str = "") -> None:
        if isinstance(faults, str):
            faults = [Fault(where, path, faults)]
        self.faults: tuple[Fault, ...] = tuple(faults)
        lines = [_line(fault) for fault in self.faults[:MAX_FAULTS]]
        if more := len(self.faults) - len(lines):
            lines.append(f"... and {more:,} more")
        super().__init__("\n".join(lines))


class MappingError(HwsimError):
    """A mapping that cannot exist on the given problem or memories."""


def _begun(text: str, names: list[str]) -> list[str]:
    """The shortest name that begins with a text of three letters or more, whatever the case and signs between words."""
    plain = _plain(text)
    return sorted((name for name in names if len(plain) > 2 and _plain(name).startswith(plain)), key=len)[:1]


def _plain(text: str) -> str:
    return "".join(filter(str.isalnum, str.lower(text)))


def nearest(given: object, valid: Iterable[str], listed: str = "") -> str:
    """Say which valid name is nearest to what was given, or list the few there are; `listed` says where all are."""
    names = sorted(set(islice(valid, 1000)))  # more than that is no list to search for a slip of the pen
    if not names:
        return ""
    close: list[str] = []
    if isinstance(given, str):
        slip, like = (difflib.get_close_matches(given, names, n=1, cutoff=cutoff) for cutoff in (0.9, 0.6))
        close = slip or _begun(given, names) or like
    if close:
        return f"; nearest: {close[0]!r}"
    shown = ", ".join(repr(name) for name in names[:12])
    if len(names) > 12:
        shown += f" and {len(names) - 12} more" + (f": {listed}" if listed else "")
    return f"; valid: {shown}"
