"""A TFLite file as plain records: its tensors, its operators, its subgraphs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import InputError
from hwsim.workload.number_format import type_bits
from hwsim.workload.tflite.sparsity import Sparsity

__all__ = ["Budget", "Graph", "Operator", "Quantization", "Tensor", "TfliteFile", "bits_of"]

Array: TypeAlias = NDArray[Any]
#: Types whose values have no size of their own.
_HANDLES = ("string", "resource", "variant")


def bits_of(dtype: str) -> int:
    """Bits of one value; 0 where they are unknown."""
    return 0 if dtype in _HANDLES else type_bits(dtype, "tflite")


class Budget:
    """Limit of the bytes that reading one file may touch: tables that share their bytes could need far more."""

    def __init__(self, file_bytes: int) -> None:
        self._balance = 64 * 2**20 + 8 * file_bytes

    def spend(self, amount: int) -> None:
        """Charge `amount` bytes; raises InputError beyond the limit."""
        self._balance -= amount
        if self._balance < 0:
            raise InputError("its tables must not share their bytes: reading them takes many times the file")


@dataclass(frozen=True, eq=False, slots=True)
class Quantization:
    """``real = scale * (stored - zero_point)``, with one pair per tensor or per index of `axis`."""

    scale: NDArray[np.float32]
    zero_point: NDArray[np.int64]
    axis: int = 0


@dataclass(frozen=True, eq=False, slots=True)
class Tensor:
    """A tensor of the file: shape with the batch, channels last.

    `data` are the bytes of a constant, those of a `sparse` one its stored values; constants of one `buffer` are one
    stored array. `signature` is the shape with -1 for the sizes that are open.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    quantization: Quantization | None = None
    variable: bool = False
    sparse: Sparsity | None = None
    data: NDArray[np.uint8] | None = None
    buffer: int = 0
    signature: tuple[int, ...] = ()

    @property
    def elements(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Bytes of its values; those of a string or a handle count as one."""
        return -(-self.elements * (bits_of(self.dtype) or 8) // 8)

    def values(self) -> Array:
        """The values of a constant: a read-only view into the file, but int4 and bfloat16 widened.

        Raises
        ------
        InputError
            If the file has no values, or has them in an unsupported form.
        """
        if self.data is None or self.sparse or not bits_of(self.dtype):
            raise InputError(f"must be a dense constant of numbers, not {self.dtype}", path=f"tensor {self.index}")
        if self.dtype == "int4":
            pairs = np.stack([self.data << 4, self.data], axis=-1).view(np.int8) >> 4
            return pairs.reshape(-1)[: self.elements].reshape(self.shape)
        if self.dtype == "bfloat16":
            return (self.data.view("<u2").astype("<u4") << 16).view("<f4").reshape(self.shape)
        return self.data.view(np.dtype(self.dtype).newbyteorder("<")).reshape(self.shape)


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator: its name in TFLite or its custom name, its options, and indices of tensors (-1: none)."""

    index: int
    code: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, int | float | str]
    custom: bool = False

    def __str__(self) -> str:
        return f"operator {self.index}, {self.code}"


@dataclass(frozen=True, eq=False, slots=True)
class Graph:
    """A subgraph: its tensors, its operators in execution order, and indices of its inputs and outputs."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, eq=False, slots=True)
class TfliteFile:
    """The first subgraph of a file, the number of subgraphs, and the `others`.

    `offsets` has the place of each tensor in the arena where the file plans it itself (-1: it leaves it open).
    `held` are the tensors that operators read and nothing writes: memory of a custom operator, as Vela's scratch.
    `signatures` are the names of the subgraphs that programs call, by the subgraph's index.
    """

    path: str
    digest: str
    bytes: int
    description: str
    subgraphs: int
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    budget: Budget
    offsets: tuple[int, ...] = ()
    held: frozenset[int] = frozenset()
    others: tuple[Graph, ...] = ()
    signatures: Mapping[int, str] = field(default_factory=dict)
