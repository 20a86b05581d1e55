"""Compressed matrices of integers: encoding, exact size in bits, and the matrix back.

Lines are rows (CSR) or columns (CSC). A relative index, as in EIE, is the run of zeros before a value; a run too long
for its bits is cut by a stored zero, which stands for one zero itself. Run-length coding (RLC) is the same over the
whole matrix as one stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import excerpt
from hwsim.kernels.checks import array, integer, require

__all__ = [
    "Bitmask",
    "Codebook",
    "Compressed",
    "Format",
    "Rlc",
    "TwoFour",
    "encode_2_4",
    "encode_bitmask",
    "encode_codebook",
    "encode_csc",
    "encode_csr",
    "encode_rlc",
    "runs_of",
]

Array = NDArray[Any]
Indices = NDArray[np.int64]
TYPES = ("int8", "uint8", "int16")
WORD_BITS = 64


@dataclass(frozen=True, slots=True)
class Compressed:
    """CSR or CSC: the values of each line, an index for each, and where lines start."""

    shape: tuple[int, int]
    values: Array
    indices: Indices
    pointers: Indices
    by: Literal["rows", "columns"]
    relative: bool
    value_bits: int
    index_bits: int
    pointer_bits: int

    @property
    def size_bits(self) -> int:
        """Values, indices and pointers."""
        return self.values.size * (self.value_bits + self.index_bits) + self.pointers.size * self.pointer_bits

    def decode(self) -> Array:
        """The matrix."""
        lines, width = self.shape if self.by == "rows" else self.shape[::-1]
        owner = np.repeat(np.arange(lines), np.diff(self.pointers))
        places = self.indices
        if self.relative:  # the sum of steps within a line
            steps = np.cumsum(self.indices + 1)
            before = np.concatenate(([0], steps))[self.pointers[:-1]]
            places = steps - before[owner] - 1
        matrix = np.zeros((lines, width), self.values.dtype)
        matrix[owner, places] = self.values
        return matrix if self.by == "rows" else np.ascontiguousarray(matrix.T)


@dataclass(frozen=True, slots=True)
class Bitmask:
    """One bit for each value, and the values that are not zero, row by row. Rows of `mask` are whole 64-bit words."""

    shape: tuple[int, int]
    values: Array
    mask: NDArray[np.uint64]
    value_bits: int

    @property
    def size_bits(self) -> int:
        """Bits of the mask, without the padding of its words, and values."""
        return self.shape[0] * self.shape[1] + self.values.size * self.value_bits

    def decode(self) -> Array:
        """The matrix."""
        bits = np.unpackbits(self.mask.astype("<u8").view(np.uint8), axis=1, count=self.shape[1], bitorder="little")
        matrix = np.zeros(self.shape, self.values.dtype)
        matrix[bits.astype(bool)] = self.values
        return matrix


@dataclass(frozen=True, slots=True)
class Rlc:
    """Pairs of a run of zeros and a value over the rows as one stream, packed in 64-bit words with a last-word bit."""

    shape: tuple[int, int]
    values: Array
    runs: Indices
    run_bits: int
    value_bits: int

    @property
    def size_bits(self) -> int:
        """Whole words: three pairs a word at 5 and 16 bits."""
        return WORD_BITS * -(-self.values.size // self._pairs)

    @property
    def _pairs(self) -> int:
        return (WORD_BITS - 1) // (self.run_bits + self.value_bits)

    def words(self) -> list[int]:
        """The stream as it is sent: the first pair lowest, the top bit of the last word set."""
        pair_bits = self.run_bits + self.value_bits
        pairs = [
            (run << self.value_bits) | (value & ((1 << self.value_bits) - 1))
            for run, value in zip(self.runs.tolist(), self.values.tolist())
        ]
        packed = [
            sum(p << (pair_bits * i) for i, p in enumerate(pairs[start : start + self._pairs]))
            for start in range(0, len(pairs), self._pairs)
        ]
        if packed:
            packed[-1] |= 1 << (WORD_BITS - 1)
        return packed

    def decode(self) -> Array:
        """The matrix."""
        flat = np.zeros(self.shape[0] * self.shape[1], self.values.dtype)
        flat[np.cumsum(self.runs + 1) - 1] = self.values
        return flat.reshape(self.shape)


@dataclass(frozen=True, slots=True)
class TwoFour:
    """2:4: two values of every four down a column with their places, 2 bits each: [group, slot, column]."""

    shape: tuple[int, int]
    values: Array
    places: NDArray[np.uint8]
    value_bits: int

    @property
    def size_bits(self) -> int:
        """Half of the values, zeros among them stored too, and their places."""
        return self.values.size * (self.value_bits + 2)

    def decode(self) -> Array:
        """The matrix."""
        groups = np.zeros((self.values.shape[0], 4, self.shape[1]), self.values.dtype)
        np.put_along_axis(groups, self.places.astype(np.int64), self.values, axis=1)
        return groups.reshape(self.shape)


@dataclass(frozen=True, slots=True)
class Codebook:
    """An index of few bits for each value, and the table of shared values."""

    shape: tuple[int, int]
    indices: NDArray[np.uint8]
    table: Array
    index_bits: int
    value_bits: int

    @property
    def size_bits(self) -> int:
        """Indices and the entries of the table that are used."""
        return self.indices.size * self.index_bits + self.table.size * self.value_bits

    def decode(self) -> Array:
        """The matrix."""
        matrix: Array = self.table[self.indices]
        return matrix


Format = Compressed | Bitmask | Rlc | TwoFour | Codebook


def encode_csr(
    matrix: Array,
    *,
    relative_bits: int | None = None,
    value_bits: int | None = None,
    index_bits: int | None = None,
    pointer_bits: int | None = None,
) -> Compressed:
    """Compress rows.

    Parameters
    ----------
    matrix : 2-D array of 8- or 16-bit integers
    relative_bits : int, optional
        Store runs of zeros of so many bits instead of column numbers (EIE: 4).
    value_bits, index_bits, pointer_bits : int, optional
        What each takes; as many as are needed unless given (EIE: 4-bit values, which are indices of a codebook).
    """
    return _compress(matrix, "rows", relative_bits, value_bits, index_bits, pointer_bits)


def encode_csc(
    matrix: Array,
    *,
    relative_bits: int | None = None,
    value_bits: int | None = None,
    index_bits: int | None = None,
    pointer_bits: int | None = None,
) -> Compressed:
    """Compress columns; parameters as in `encode_csr`."""
    return _compress(matrix, "columns", relative_bits, value_bits, index_bits, pointer_bits)


def encode_bitmask(matrix: Array) -> Bitmask:
    """Keep a bit for each value, and the values that are not zero."""
    matrix = _matrix(matrix)
    return Bitmask(_shape(matrix), matrix[matrix != 0], pack_bits(matrix != 0), _bits(matrix))


def encode_rlc(matrix: Array, *, run_bits: int = 5, value_bits: int = 16) -> Rlc:
    """Keep runs of zeros and values, as the Eyeriss chip does; trailing zeros are implied by the shape."""
    matrix = _matrix(matrix)
    run_bits = integer("run_bits", run_bits, 1, 31)
    wide = f"must hold the {_bits(matrix)} bits of {matrix.dtype}, and fit 63 with run_bits, got {excerpt(value_bits)}"
    fits = isinstance(value_bits, (int, np.integer)) and _bits(matrix) <= value_bits <= WORD_BITS - 1 - run_bits
    require(bool(fits), "value_bits", wide)
    flat = matrix.reshape(1, -1)
    runs, sources, _ = runs_of(flat, run_bits)
    values = np.where(sources < 0, 0, flat.ravel()[sources]) if flat.size else flat.ravel()
    if flat.size and not runs.size:  # an empty stream still sends a pair
        runs, values = np.zeros(1, np.int64), np.zeros(1, matrix.dtype)
    return Rlc(_shape(matrix), values.astype(matrix.dtype), runs, run_bits, value_bits)


def encode_2_4(matrix: Array) -> TwoFour:
    """Keep two of every four values down a column; there must be no third that is not zero."""
    matrix = _matrix(matrix)
    rows, columns = matrix.shape
    require(rows % 4 == 0, "matrix", f"must have a multiple of 4 rows, got {rows}")
    groups = matrix.reshape(rows // 4, 4, columns)
    overfull = np.argwhere((groups != 0).sum(1) > 2)
    if overfull.size:
        group, column = overfull[0].tolist()
        where = f"in rows {4 * group}..{4 * group + 3} of column {column}"
        quad = groups[group, :, column].tolist()
        require(False, "matrix", f"must have at most 2 values that are not zero in every 4 rows, got {quad} {where}")
    order = np.argsort(groups == 0, axis=1, kind="stable")[:, :2]  # nonzero values first
    places = np.sort(order, axis=1)
    return TwoFour(_shape(matrix), np.take_along_axis(groups, places, axis=1), places.astype(np.uint8), _bits(matrix))


def encode_codebook(matrix: Array, *, index_bits: int = 4) -> Codebook:
    """Keep an index of `index_bits` for each value; there must be at most 2**index_bits distinct values."""
    matrix = _matrix(matrix)
    index_bits = integer("index_bits", index_bits, 1, 8)
    table, indices = np.unique(matrix, return_inverse=True)
    message = f"must have at most {2**index_bits} different values for {index_bits}-bit indices, got {table.size}"
    require(table.size <= 2**index_bits, "matrix", message)
    return Codebook(_shape(matrix), indices.reshape(matrix.shape).astype(np.uint8), table, index_bits, _bits(matrix))


def pack_bits(bits: Array) -> NDArray[np.uint64]:
    """Rows of bits as 64-bit words, the first bit lowest; the last word is padded with zeros."""
    rows, columns = bits.shape
    whole = np.zeros((rows, -(-columns // WORD_BITS) * WORD_BITS), np.uint8)
    whole[:, :columns] = bits
    words: NDArray[np.uint64] = np.packbits(whole, axis=1, bitorder="little").view("<u8").astype(np.uint64)
    return words


def _compress(
    matrix: Array,
    by: Literal["rows", "columns"],
    relative_bits: int | None,
    value_bits: int | None,
    index_bits: int | None,
    pointer_bits: int | None,
) -> Compressed:
    matrix = _matrix(matrix)
    lines = matrix if by == "rows" else np.ascontiguousarray(matrix.T)
    for name, bits in (("value_bits", value_bits), ("index_bits", index_bits), ("pointer_bits", pointer_bits)):
        if bits is not None:
            integer(name, bits, 1, 64)
    if relative_bits is None:
        owner, indices = np.nonzero(lines)
        values, least = lines[owner, indices], _width(lines.shape[1])
        lengths = np.bincount(owner, minlength=len(lines))
    else:
        relative_bits = integer("relative_bits", relative_bits, 1, 16)
        message = f"must be left out or equal to relative_bits ({relative_bits}), got {excerpt(index_bits)}"
        require(index_bits in {None, relative_bits}, "index_bits", message)
        indices, sources, lengths = runs_of(lines, relative_bits)
        values = np.where(sources < 0, 0, lines.ravel()[sources]) if lines.size else lines.ravel()
        least = relative_bits
    require(
        index_bits is None or index_bits >= least, "index_bits", f"must be at least {least}, got {excerpt(index_bits)}"
    )
    pointers = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    most = _width(values.size + 1)
    enough = pointer_bits is None or pointer_bits >= most
    require(enough, "pointer_bits", f"must be at least {most}, got {excerpt(pointer_bits)}")
    return Compressed(
        _shape(matrix),
        values.astype(matrix.dtype),
        indices.astype(np.int64),
        pointers,
        by,
        relative_bits is not None,
        value_bits or _bits(matrix),
        index_bits or least,
        pointer_bits or most,
    )


def runs_of(lines: Array, bits: int) -> tuple[Indices, Indices, Indices]:
    """Runs of zeros before each stored value, where that lies (-1: a zero that cuts a run), and how many a line has."""
    owner, places = np.nonzero(lines)
    before = np.full(owner.size, -1)
    same = owner[1:] == owner[:-1]
    before[1:][same] = places[:-1][same]
    gaps = places - before - 1
    span = 2**bits  # a cut takes its run and its own zero
    cuts = gaps // span
    ends = np.cumsum(cuts + 1)
    runs, sources = np.full(int(ends[-1]) if ends.size else 0, span - 1), np.full(int(ends[-1]) if ends.size else 0, -1)
    runs[ends - 1] = gaps % span
    sources[ends - 1] = owner * lines.shape[1] + places
    lengths = np.zeros(len(lines), np.int64)
    np.add.at(lengths, owner, cuts + 1)
    return runs, sources, lengths


def _matrix(matrix: Array) -> Array:
    return array("matrix", matrix, TYPES, 2)


def _shape(matrix: Array) -> tuple[int, int]:
    return int(matrix.shape[0]), int(matrix.shape[1])


def _bits(matrix: Array) -> int:
    return 8 * matrix.dtype.itemsize


def _width(count: int) -> int:
    """Bits that index `number` items, at least one."""
    return max(1, (count - 1).bit_length())
