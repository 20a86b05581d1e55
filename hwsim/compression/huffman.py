"""Huffman codes: their lengths, the canonical code of the lengths, and streams of it written and read back."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import InputError

__all__ = ["TABLE_BITS", "HuffmanCode", "code_lengths"]

TABLE_BITS = 8
"""Of the length of each symbol's code, which is all that a canonical code needs to be read."""

_WINDOW = 56
"""Bits of the longest code, which billions of symbols do not need."""

Floats = NDArray[np.float64]


def code_lengths(weights: Sequence[float] | Floats) -> NDArray[np.int64]:
    """Bits of each symbol in a Huffman code; 0 of a symbol that does not occur. A single symbol takes one bit."""
    counts = np.asarray(weights, dtype=np.float64)
    used = np.flatnonzero(counts > 0).tolist()
    lengths = np.zeros(len(counts), dtype=np.int64)
    if len(used) < 2:
        lengths[used] = 1
        return lengths
    heap: list[tuple[float, int]] = [(float(counts[symbol]), node) for node, symbol in enumerate(used)]
    heapq.heapify(heap)
    parents = [0] * (2 * len(used) - 1)
    node = len(used)
    while len(heap) > 1:
        (one, a), (two, b) = heapq.heappop(heap), heapq.heappop(heap)
        parents[a] = parents[b] = node
        heapq.heappush(heap, (one + two, node))
        node += 1
    depths = [0] * node
    for child in range(node - 2, -1, -1):
        depths[child] = depths[parents[child]] + 1
    lengths[used] = depths[: len(used)]
    return lengths


class HuffmanCode:
    """A canonical Huffman code of symbols 0, 1, ...

    Parameters
    ----------
    lengths : array of int
        Bits of each symbol's code; 0 of those without one.
    """

    def __init__(self, lengths: NDArray[np.int64]) -> None:
        self.lengths = lengths
        order = sorted((int(length), symbol) for symbol, length in enumerate(lengths) if length)
        if order and sum(2.0**-length for length, _ in order) > 1:
            raise InputError("lengths must be those of a prefix code")
        self.codes: dict[int, tuple[int, int]] = {}
        code, before = 0, 0
        for length, symbol in order:
            code <<= length - before
            self.codes[symbol] = code, length
            code, before = code + 1, length

    @classmethod
    def of(cls, counts: Sequence[float] | Floats) -> HuffmanCode:
        """The code for symbols that occur so often."""
        return cls(code_lengths(counts))

    @property
    def table_bits(self) -> int:
        """Bits of the table that a decoder needs: the length of each symbol that the stream may have."""
        return TABLE_BITS * len(self.lengths)

    def bits(self, counts: NDArray[Any]) -> int:
        """Bits of a stream in which symbols occur so often."""
        return int((np.asarray(counts, dtype=np.int64) * self.lengths).sum())

    def encode(self, symbols: NDArray[Any]) -> bytes:
        """The stream of some symbols, the first bit highest in the first byte."""
        flat = np.asarray(symbols, dtype=np.int64).ravel()
        lengths = self.lengths[flat]
        if flat.size and not lengths.all():
            raise InputError("symbols must be of the code")
        codes = np.zeros(len(self.lengths), dtype=np.uint64)
        for symbol, (code, _) in self.codes.items():
            codes[symbol] = code
        values = codes[flat]
        starts = np.concatenate(([0], np.cumsum(lengths)[:-1])) if flat.size else lengths
        bits = np.zeros(int(lengths.sum()), dtype=np.uint8)
        for place in range(int(lengths.max(initial=0))):
            has = lengths > place
            shift = (lengths[has] - 1 - place).astype(np.uint64)
            bits[starts[has] + place] = (values[has] >> shift) & np.uint64(1)
        return np.packbits(bits).tobytes()

    def decode(self, stream: bytes, count: int) -> NDArray[np.int64]:
        """The first `count` symbols of a stream.

        A code read at every bit says where the next one would begin; from the first on, twice as many are known with
        each step.
        """
        if not count:
            return np.zeros(0, dtype=np.int64)
        pairs = sorted((code << (_WINDOW - length), symbol, length) for symbol, (code, length) in self.codes.items())
        heads = np.array([head for head, _, _ in pairs], dtype=np.uint64)
        symbols = np.array([symbol for _, symbol, _ in pairs], dtype=np.int64)
        lengths = np.array([length for _, _, length in pairs], dtype=np.int64)
        windows = _windows(stream)
        read = np.maximum(np.searchsorted(heads, windows, side="right") - 1, 0)
        end = len(windows)
        jump = np.append(np.minimum(np.arange(end) + lengths[read], end), end)
        starts = np.zeros(1, dtype=np.int64)
        while len(starts) < count:
            starts = np.concatenate((starts, jump[starts]))
            jump = jump[jump]
        starts = starts[:count]
        if int(starts[-1]) >= end:
            raise InputError(f"a stream of {count} symbols must not end before them")
        out: NDArray[np.int64] = symbols[read[starts]]
        return out


def _windows(stream: bytes) -> NDArray[np.uint64]:
    """The bits that follow each bit of a stream, as many as a code may have, with zeros behind the end."""
    raw = np.frombuffer(stream + bytes(8), dtype=np.uint8).astype(np.uint64)
    words = np.zeros(len(stream), dtype=np.uint64)
    for place in range(8):
        words = words << np.uint64(8) | raw[place : place + len(stream)]
    shifts = np.arange(8, dtype=np.uint64)
    out: NDArray[np.uint64] = ((words[:, None] << shifts) >> np.uint64(64 - _WINDOW)).ravel()
    return out
