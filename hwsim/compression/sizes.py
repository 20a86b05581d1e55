"""Bytes of a layer's weights as they are stored, part by part: expected of shape, density and bits, or counted.

Runs are counted over the whole tensor as one stream. A filler is a stored zero that stands for one zero itself: it has
the longest run, and of weights with shared values a code of its own. Codebooks are fp32, biases too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.compression.codebook import share
from hwsim.compression.huffman import TABLE_BITS, code_lengths
from hwsim.compression.storage import expected_bits, filler_rate
from hwsim.kernels.sparse_formats import runs_of
from hwsim.workload import TensorType
from hwsim.workload.coding import Coding
from hwsim.workload.tensor import N_OF_M

__all__ = [
    "PARTS", "Entries", "StoredSize", "file_bytes", "filters_first", "run_lengths", "run_odds", "stored_size",
]  # fmt: skip

#: What a compressed layer is stored as.
PARTS = ("values", "runs", "fillers", "codebook", "tables", "bias")
TABLE_VALUE_BITS = 32
_SAMPLE = 4096


@dataclass(frozen=True, slots=True)
class StoredSize:
    """Bits of the parts of a layer's weights.

    Attributes
    ----------
    bits : Mapping
        By part, of `PARTS`.
    kept, fillers : float
        Stored weights, and stored zeros that cut runs.
    expected : bool
        Whether they are expected of a density, not counted.
    """

    bits: dict[str, float]
    kept: float
    fillers: float = 0.0
    expected: bool = True
    about: Mapping[str, float] = field(default_factory=dict)

    @property
    def weight_bits(self) -> float:
        """All parts but biases."""
        return sum(bits for part, bits in self.bits.items() if part != "bias")


def run_odds(density: float, run_bits: int) -> NDArray[np.float64]:
    """How often each run 0, 1, ... is stored where zeros fall at random; that of fillers is the last."""
    z = 1 << run_bits
    runs = np.arange(z)
    if not 0 < density < 1:
        return np.where(runs == (0 if density else z - 1), 1.0, 0.0)
    log = math.log1p(-density)
    odds = density * np.exp(runs * log) / -math.expm1(z * log)
    odds[-1] += filler_rate(density, run_bits)
    out: NDArray[np.float64] = odds / odds.sum()
    return out


def stored_size(tensor: TensorType, biases: int = 0) -> StoredSize:
    """Size of a tensor of weights with its coding, and of fp32 biases: zeros as its mask has them, or at random."""
    coding, bits = tensor.spec.coding or Coding(), tensor.bits
    n, density = tensor.elements, tensor.density
    kept = n * density
    parts = dict.fromkeys(PARTS, 0.0)
    parts["bias"] = 32.0 * biases
    rate = filler_rate(density, coding.run_bits) if coding.run_bits else 0.0
    odds = run_odds(density, coding.run_bits) if coding.run_bits else np.ones(1)
    if coding.run_bits and tensor.spec.mask is not None:
        runs = run_lengths(filters_first(tensor.spec.mask.array), coding.run_bits).runs
        rate = len(runs) / kept - 1 if kept else 0.0
        odds = np.bincount(runs, minlength=1 << coding.run_bits) / max(1, len(runs))
    entries = _stored(tensor, coding) * (1 + rate)
    fillers = entries * rate / (1 + rate)
    value = filler = float(coding.shared_bits or bits)
    if coding.shared_bits:
        parts["codebook"] = float(TABLE_VALUE_BITS * (1 << coding.shared_bits))
    elif tensor.dtype in ("binary", "ternary"):
        # One scale for each filter of binary weights (the first axis of a convolution), two for a ternary layer.
        filters = tensor.shape[0] if len(tensor.shape) > 2 else tensor.shape[-1]
        parts["codebook"] = TABLE_VALUE_BITS * (filters if tensor.dtype == "binary" else 2.0)
    if "values" in coding.huffman and coding.shared_bits and not N_OF_M.match(tensor.pattern):
        zeros = (1 - density) if entries >= n else rate / (1 + rate)
        shares = _shared_odds(coding.shared_bits, density, max(2, round(kept)), zeros)
        lengths = code_lengths(shares)
        value, filler = _mean_lengths(shares, lengths, zeros if fillers else 0.0)
        parts["tables"] += TABLE_BITS * len(shares)
    index = last = float(coding.run_bits)
    if coding.run_bits and "indices" in coding.huffman:
        index, last = _mean_lengths(odds, code_lengths(odds), rate / (1 + rate))
        parts["tables"] += TABLE_BITS * len(odds)
    parts["values"] = (entries - fillers) * value
    parts["fillers"] = fillers * (filler + last)
    parts["runs"] = (entries - fillers) * index if coding.run_bits else _index_bits(tensor)
    share = fillers / entries if entries else 0.0
    about = {
        "value_bits": value * (1 - share) + filler * share, "index_bits": index * (1 - share) + last * share,
        "entries": entries,
    }  # fmt: skip
    groups = N_OF_M.match(tensor.pattern)  # as many values as groups have places, whatever the zeros
    drawn = not groups and (bool(coding.huffman and coding.shared_bits) or (density < 1 and tensor.spec.mask is None))
    return StoredSize(parts, kept, fillers, expected=drawn, about=about)


def _mean_lengths(odds: NDArray[np.float64], lengths: NDArray[np.int64], fillers: float) -> tuple[float, float]:
    """Bits of a code on average without fillers, which are a share of the last symbol's, and those of a filler's."""
    last = float(lengths[-1])
    whole = float((odds * lengths).sum())
    return (whole - fillers * last) / (1 - fillers) if fillers < 1 else last, last


def _stored(tensor: TensorType, coding: Coding) -> float:
    """Values that are stored, fillers apart."""
    match = N_OF_M.match(tensor.pattern)
    if match:
        return tensor.elements * int(match[1]) / int(match[2])
    compressed = coding.run_bits or tensor.format in ("csr", "csc", "bitmask", "rlc") or tensor.pattern == "channel"
    return tensor.elements * (tensor.density if compressed else 1.0)


def _index_bits(tensor: TensorType) -> float:
    """Bits that say where the stored values are, without relative runs."""
    match = N_OF_M.match(tensor.pattern)
    if match:
        kept, of = int(match[1]), int(match[2])
        return tensor.elements * kept / of * max(1, (of - 1).bit_length())
    if tensor.pattern == "channel" or tensor.format not in ("csr", "csc", "bitmask", "rlc"):
        return 0.0
    rows, columns = tensor.spec.coding.block if tensor.spec.coding is not None else (1, 1)
    if rows * columns > 1:
        filters = tensor.shape[0] if len(tensor.shape) > 2 else tensor.shape[-1]
        return float(-(-filters // rows) * -(-tensor.elements // filters // columns))
    whole = expected_bits(tensor.format, tensor.shape, tensor.density, tensor.bits)
    return max(0.0, whole - tensor.elements * tensor.density * tensor.bits)


@lru_cache(256)
def _shared_odds(bits: int, density: float, kept: int, zeros: float) -> NDArray[np.float64]:
    """How often each shared value is stored if weights are Laplacian: the code of zero, if any, is the last.

    Of such weights those of largest magnitude are kept. They stand for themselves up to 4,096, evenly among their
    quantiles: tails of trained layers end earlier than those of millions of draws.
    """
    half = max(1, min(kept, _SAMPLE) // 2)
    tail = -np.log((np.arange(half) + 0.5) / half * max(density, 1e-12))
    if kept // 2 > half:
        tail[0] = -math.log(0.5 / (kept // 2) * max(density, 1e-12))
    tail = np.sort(tail)
    shared = share(np.concatenate((-tail[::-1], tail)), bits)
    odds = shared.counts / shared.counts.sum() * (1 - zeros)
    out: NDArray[np.float64] = np.append(odds, zeros) if zeros else odds
    return out


def file_bytes(
    entries: int, filters: int, shared_bits: int, run_bits: int, coded_runs: int | None = None, head: int = 4
) -> int:
    """Bytes of a layer in a file laid out as the authors' of SqueezeNet (Han et al., ICLR 2016).

    A count of `head` bytes, the codebook and the biases in fp32, the code of each stored entry, the run before each;
    `coded_runs` are the bytes of Huffman-coded runs in their place.
    """
    table = TABLE_VALUE_BITS // 8
    codes, runs = -(-entries * shared_bits // 8), -(-entries * run_bits // 8)
    return head + (table << shared_bits) + table * filters + codes + (runs if coded_runs is None else coded_runs)


def filters_first(array: NDArray[Any]) -> NDArray[Any]:
    """A filter a row, in the order in which weights are stored: of a matrix of inputs x outputs its transpose."""
    return np.ascontiguousarray(array.T) if array.ndim == 2 else array.reshape(len(array), -1)


@dataclass(frozen=True, slots=True)
class Entries:
    """The stored entries of a flat tensor: runs of zeros, and where the value is; -1: a filler."""

    runs: NDArray[np.int64]
    places: NDArray[np.int64]

    def decode(self, values: NDArray[np.float64], size: int) -> NDArray[np.float64]:
        """The flat tensor, of a value for each entry."""
        out = np.zeros(size, dtype=values.dtype)
        out[np.cumsum(self.runs + 1) - 1] = values
        return out


def run_lengths(nonzero: NDArray[np.bool_], run_bits: int) -> Entries:
    """Entries of a flat tensor; zeros behind the last value are not stored."""
    runs, where, _ = runs_of(np.reshape(nonzero, (1, -1)), run_bits)
    return Entries(runs, where)
