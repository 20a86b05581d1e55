"""Which instruction set the kernels run on: the best that the processor has, or the one that HWSIM_ISA names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import hwsim.kernels._int8 as _int8
from hwsim.errors import InputError, excerpt, nearest

__all__ = ["ISAS", "available", "force_isa", "isa", "isa_number"]

ISAS = ("portable", "avx2", "avx512vnni")
"""Slowest first; the position is the number of the instruction set in the C loops."""

_overrides: list[str] = []


def available() -> tuple[str, ...]:
    """The instruction sets that this processor runs, slowest first."""
    return tuple(name for number, name in enumerate(ISAS) if _int8.supported(number))


def _valid_name(name: str, source: str) -> str:
    """A name that exists and that runs here."""
    if name not in ISAS:
        rule = f"the instruction set must be one of {', '.join(ISAS)}"
        raise InputError(f"{rule}, got {excerpt(name)}{nearest(name, ISAS)}", source)
    if name not in available():
        raise InputError(f"this processor runs {', '.join(available())}, not {name}", source)
    return name


def isa() -> str:
    """Name of the instruction set in use: `portable`, `avx2` or `avx512vnni`."""
    if _overrides:
        return _overrides[-1]
    name = os.environ.get("HWSIM_ISA", "")
    return _valid_name(name, "HWSIM_ISA") if name else available()[-1]


def isa_number() -> int:
    """Number of the current instruction set in the C loops."""
    return ISAS.index(isa())


@contextmanager
def force_isa(name: str) -> Iterator[None]:
    """Run the kernels inside the block on one instruction set, over HWSIM_ISA (for tests: not per thread)."""
    _overrides.append(_valid_name(name, "force_isa"))
    try:
        yield
    finally:
        _overrides.pop()
