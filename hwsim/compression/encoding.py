"""Real weights, compressed: pruned, shared, indexed and coded, decoded again and compared bit for bit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.compression.binary import binarize, ternarize
from hwsim.compression.codebook import share
from hwsim.compression.huffman import HuffmanCode
from hwsim.compression.pruning import grouped, layer_kept, pruning_mask, ungrouped
from hwsim.compression.sizes import PARTS, TABLE_VALUE_BITS, StoredSize, filters_first, run_lengths, stored_size
from hwsim.errors import HwsimError, InputError
from hwsim.workload import Layer, TensorType
from hwsim.workload.coding import Coding
from hwsim.workload.mask import Mask
from hwsim.workload.recipe import Prune, Recipe
from hwsim.workload.tensor import N_OF_M
from hwsim.workload.zeros import Pattern, stored_places

__all__ = ["Encoded", "encode", "masked"]

_BLOCK = 2**18


@dataclass(frozen=True, eq=False)
class Encoded:
    """The weights of a layer as they are stored.

    Attributes
    ----------
    layer : Layer
        With the density, the mask and the coding of the weights.
    weights : array
        What the stored values decode to, in the layer's shape.
    size : StoredSize
        Counted.
    arrays : dict
        What is stored, by name: ``mask``, ``codes``, ``codebook``, ``runs``, and lengths of codes.
    """

    layer: Layer
    weights: NDArray[np.float64]
    size: StoredSize
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)


def encode(layer: Layer, weights: NDArray[Any], recipe: Recipe) -> Encoded:
    """Compress the weights of a layer, which has the formats of the recipe already (`compressed_layer`).

    Raises
    ------
    HwsimError
        Should the stored values not decode to the compressed weights.
    """
    shape = layer.weight.shape
    rows = filters_first(np.asarray(weights, dtype=np.float64).reshape(shape))
    if recipe.binary or recipe.ternary:
        codes, scales = binarize(rows) if recipe.binary else ternarize(rows)
        out = codes * (scales[:, None] if recipe.binary else scales[np.where(codes > 0, 1, 0)])
        size = stored_size(layer.weight, layer.biases)
        parts = StoredSize(size.bits, float(np.count_nonzero(codes)), expected=False)
        arrays: dict[str, NDArray[Any]] = {"codes": _as_layer(codes, shape), "scales": scales}
        return Encoded(masked(layer, arrays["codes"] != 0), _as_layer(out, shape), parts, arrays)
    mask = rows != 0 if recipe.prune is None else _pruned(rows, shape, recipe.prune) & (rows != 0)
    pruned = np.where(mask, rows, 0.0)
    coded = masked(layer, _as_layer(mask, shape))
    arrays = {"mask": _as_layer(mask, shape)}
    spec = coded.weight.spec
    block = spec.coding.block if spec.coding is not None else (1, 1)
    stored = stored_places(layer_kept(coded, arrays["mask"]), Pattern(spec.pattern, block)).reshape(mask.shape)
    size, values = _stored(coded.weight, pruned, mask, stored, layer.biases, arrays)
    return Encoded(coded, _as_layer(values, shape), size, arrays)


def _pruned(rows: NDArray[np.float64], shape: tuple[int, ...], prune: Prune) -> NDArray[np.bool_]:
    """Which weights are kept; neighbors are input channels at one position of a filter."""
    mask = pruning_mask(grouped(_as_layer(rows, shape)), prune)
    kept: NDArray[np.bool_] = filters_first(ungrouped(mask, shape))
    return kept


def masked(layer: Layer, mask: NDArray[np.bool_]) -> Layer:
    """The layer with the mask of its weights; of a kind that has none, with their density."""
    if mask.all():
        return layer if layer.weight.density == 1 else layer.with_tensors(weight={"density": 1.0})
    pattern = layer.weight.pattern
    pattern = "random" if pattern == "dense" else pattern
    try:
        return layer.with_tensors(weight={"mask": Mask.of(mask), "pattern": pattern})
    except InputError:
        return layer.with_tensors(weight={"density": float(mask.mean()), "pattern": pattern})


def _stored(
    tensor: TensorType, rows: NDArray[np.float64], mask: NDArray[np.bool_], places: NDArray[np.bool_], biases: int,
    arrays: dict[str, NDArray[Any]],
) -> tuple[StoredSize, NDArray[np.float64]]:  # fmt: skip
    """The size of stored weights part by part, and what they decode to.

    `places` are those that the pattern holds: weights of channels and blocks that are zero themselves are stored.
    """
    coding = tensor.spec.coding or Coding()
    match = N_OF_M.match(tensor.pattern)
    compressed = (
        bool(coding.run_bits) or tensor.format in ("csr", "csc", "bitmask", "rlc") or match is not None
        or tensor.pattern == "channel"
    )  # fmt: skip
    parts = dict.fromkeys(PARTS, 0.0)
    parts["bias"] = 32.0 * biases
    kept = int(mask.sum())
    flat, flags = rows.ravel(), mask.ravel()
    chosen = places.ravel() if compressed else np.ones(flat.size, dtype=bool)
    entries = run_lengths(flags, coding.run_bits) if coding.run_bits else None
    out = flat
    symbols: NDArray[np.int64] | None = None
    bits = tensor.bits
    stored = len(entries.runs) if entries is not None else int(chosen.sum())
    huffman = "values" in coding.huffman and match is None
    if coding.shared_bits:
        # A stored zero has a code: one more in a Huffman code, one of the 2^bits where all have one width.
        held = flat.size * int(match[1]) // int(match[2]) if match is not None else stored
        spare = int(held > kept and not huffman)
        zero = (1 << coding.shared_bits) - spare
        shared = share(flat[flags], coding.shared_bits, spare)
        parts["codebook"] = float(TABLE_VALUE_BITS * (1 << coding.shared_bits))
        out = np.zeros(flat.size)
        out[flags] = shared.decode()
        codes = np.full(flat.size, zero, dtype=np.int64)
        codes[flags] = shared.codes
        symbols = codes[chosen]
        if entries is not None:
            symbols = np.append(codes, zero)[entries.places]
        arrays["codebook"], arrays["codes"], bits = (
            shared.table.astype(np.float32),
            symbols.astype(np.uint16),
            coding.shared_bits,
        )
        out = out.astype(np.float32).astype(np.float64)
    fillers = stored - kept if entries is not None else 0
    value_bits, filler_bits = float((stored - fillers) * bits), float(fillers * bits)
    if huffman and symbols is not None and stored:
        code, counts = _coded(symbols, (1 << coding.shared_bits) + 1, "values")
        whole = code.bits(counts)
        filler_bits = float(fillers * code.lengths[-1]) if fillers else 0.0
        value_bits = whole - filler_bits
        parts["tables"] += code.table_bits
        arrays["value_lengths"] = code.lengths.astype(np.uint8)
    parts["values"] = value_bits
    if entries is not None:
        arrays["runs"] = entries.runs.astype(np.uint16)
        index_bits, filler_index = float((stored - fillers) * coding.run_bits), float(fillers * coding.run_bits)
        if "indices" in coding.huffman and stored:
            code, counts = _coded(entries.runs, 1 << coding.run_bits, "indices")
            filler_index = float(fillers * code.lengths[-1])
            index_bits = code.bits(counts) - filler_index
            parts["tables"] += code.table_bits
            arrays["run_lengths"] = code.lengths.astype(np.uint8)
        parts["runs"] = index_bits
        filler_bits += filler_index
        stream = np.where(entries.places < 0, 0.0, np.append(out, 0.0)[entries.places])
        _same(entries.decode(stream, flat.size), out)
    else:
        parts["runs"] = stored_size(tensor).bits["runs"]
        if match is not None:  # every group stores its N values, zeros among them
            parts["values"] = flat.size * int(match[1]) / int(match[2]) * bits
    parts["fillers"] = filler_bits
    about = {"entries": float(stored)}
    if stored:
        about["value_bits"] = value_bits / max(1, stored - fillers)
        about["index_bits"] = parts["runs"] / max(1, stored - fillers)
    return StoredSize(parts, float(kept), float(fillers), expected=False, about=about), out.reshape(rows.shape)


def _coded(symbols: NDArray[np.int64], count: int, what: str) -> tuple[HuffmanCode, NDArray[np.int64]]:
    """The Huffman code of a stream, which is written, read back and compared in parts, as each bit takes words."""
    counts = np.bincount(symbols, minlength=count).astype(np.int64)
    if not counts[-1] and what == "values":  # no stored zero: its symbol has no code
        counts = counts[:-1]
    code = HuffmanCode.of(counts.astype(np.float64))
    for start in range(0, symbols.size, _BLOCK):
        part = symbols[start : start + _BLOCK]
        _same(code.decode(code.encode(part), part.size), part)
    return code, counts


def _same(decoded: NDArray[Any], before: NDArray[Any]) -> None:
    if not np.array_equal(decoded, before):
        raise HwsimError("compressed weights did not decode to what they were")


def _as_layer(rows: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """What `filters_first` made rows of, in the layer's shape again."""
    return np.ascontiguousarray(rows.T) if len(shape) == 2 else rows.reshape(shape)
