"""Buffers of an arena: how many bytes are held while which operators run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hwsim.errors import InputError

__all__ = ["BEFORE_INPUT", "INPUT_TIME", "ArenaRequests", "Buffer"]

#: The time of the inputs of a network, before its first operator runs, and that of what nothing writes.
INPUT_TIME, BEFORE_INPUT = -1, -2


@dataclass(frozen=True, slots=True)
class Buffer:
    """Bytes that are held from the operator `first` to the operator `last`, inclusive.

    Attributes
    ----------
    name : str
    bytes, first, last : int
        Operators count from 0; `INPUT_TIME` is before all of them.
    scratch : bool
        Whether it is working memory of a kernel.
    offset : int
        Its place, where a compiler has planned it; -1 leaves it open.
    """

    name: str
    bytes: int
    first: int
    last: int
    scratch: bool = False
    offset: int = -1

    def __post_init__(self) -> None:
        if self.bytes < 0 or not BEFORE_INPUT <= self.first <= self.last:
            raise InputError(f"{self.name!r} must have bytes and end after it starts, not {self!s:.120}")


@dataclass(frozen=True)
class ArenaRequests:
    """What a model file asks of the arena of its interpreter.

    Attributes
    ----------
    operators : tuple of str
        The layer of each operator, in execution order.
    tensors : tuple of Buffer
        In the order of the file.
    scratch : mapping
        Working memory by the kernels that ask for it: ``reference``, ``cmsis-nn`` and its variants.
    variable_bytes : int
        State that is kept from one inference to the next, outside of the plan.
    """

    operators: tuple[str, ...]
    tensors: tuple[Buffer, ...]
    scratch: Mapping[str, tuple[Buffer, ...]]
    variable_bytes: int = 0
