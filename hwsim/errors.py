"""Errors that a user reads: what must hold, what was given, the nearest valid name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

__all__ = ["Fault", "HwsimError", "HwsimWarning", "InputError", "MappingError", "nearest"]


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


class InputError(HwsimError):
    """An input that cannot be taken; carries all of its faults."""

    def __init__(self, faults: Iterable[Fault] | str, where: str = "", path: str = "") -> None:
        if isinstance(faults, str):
            faults = [Fault(where, path, faults)]
        self.faults: tuple[Fault, ...] = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


class MappingError(HwsimError):
    """A mapping that cannot exist on the given problem or memories."""


def nearest(given: object, valid: Iterable[str]) -> str:
    """Say which valid name is nearest to what was given, or list the few there are."""
    names = sorted(set(islice(valid, 1000)))  # more than that is no list to search for a slip of the pen
    if not names:
        return ""
    close = difflib.get_close_matches(str(given), names, n=1, cutoff=0.6)
    if close:
        return f"; nearest: {close[0]!r}"
    shown = ", ".join(repr(name) for name in names[:12])
    return f"; valid: {shown}" + (", ..." if len(names) > 12 else "")
