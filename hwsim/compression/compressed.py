"""A network made small: what each layer is stored as, and the network to simulate."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hwsim.compression.arrays import Weights, read_weights, weights_of
from hwsim.compression.encoding import Encoded, encode, masked
from hwsim.compression.low_rank import factors_of
from hwsim.compression.pruning import layer_kept
from hwsim.compression.sizes import PARTS, StoredSize, stored_size
from hwsim.errors import InputError, excerpt
from hwsim.lazy import lazy
from hwsim.message import Message
from hwsim.workload import Workload, load_workload
from hwsim.workload.coding import Coding
from hwsim.workload.recipe import Recipe, compressed_network, layer_recipes, recipes_of
from hwsim.workload.tensor import N_OF_M
from hwsim.workload.zeros import Pattern, pattern_of

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = lazy("pandas")

__all__ = ["Compressed", "CompressedLayer", "compress"]

FP32_BITS = 32
_WORTH = 0.9
"""Share of the places of N:M groups that have values, below which runs of zeros take less."""


@dataclass(frozen=True, slots=True)
class CompressedLayer:
    """A layer's weights before and after.

    Attributes
    ----------
    name : str
    weights, biases : int
        Of the layer before; 0 of a second layer that takes the place of one.
    stored : int
        Weights after: fewer where the rank is low.
    density : float
        Share of `stored` that is not zero.
    format : str
    size : StoredSize
    """

    name: str
    weights: int
    biases: int
    stored: int
    density: float
    format: str
    size: StoredSize

    @property
    def bytes(self) -> dict[str, float]:
        """Bytes of each part."""
        return {part: self.size.bits[part] / 8 for part in PARTS}


@dataclass(frozen=True, eq=False)
class Compressed:
    """The result of `compress`.

    Attributes
    ----------
    workload : Workload
        The compressed network, to simulate.
    original : Workload
        The network before, with the zeros of real weights.
    layers : tuple of CompressedLayer
        Those with weights.
    weights : Mapping
        What compressed weights decode to, by layer; of networks with real weights alone.
    arrays : Mapping
        What is stored, by layer and name.
    notes : tuple of Message
    source : Weights
        What was compressed.
    chosen : Mapping
        The recipe of each layer.
    """

    workload: Workload
    original: Workload
    layers: tuple[CompressedLayer, ...]
    weights: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    arrays: Mapping[str, Mapping[str, NDArray[Any]]] = field(default_factory=dict)
    notes: tuple[Message, ...] = ()
    source: Weights | None = None
    chosen: Mapping[str, Recipe] = field(default_factory=dict)

    @property
    def path(self) -> Path | None:
        """The file that the weights are of."""
        return None if self.source is None else self.source.path

    @property
    def operators(self) -> Mapping[int, str]:
        """The layer of each operator of that file, by the operator's index."""
        return {} if self.source is None else self.source.operators

    def __repr__(self) -> str:
        return f"<Compressed {self.workload.name}: {self.ratio:.1f} times smaller than fp32>"

    @cached_property
    def sizes(self) -> pd.DataFrame:
        """A row for each layer and part: its bytes, and whether they are expected, not counted."""
        rows = [
            {"layer": layer.name, "part": part, "bytes": size, "expected": layer.size.expected and part != "bias"}
            for layer in self.layers
            for part, size in layer.bytes.items()
        ]
        return pd.DataFrame(rows, columns=["layer", "part", "bytes", "expected"])

    @property
    def weight_bytes(self) -> float:
        """Bytes of all weights as they are stored, with codebooks and tables and without biases."""
        return sum(layer.size.weight_bits for layer in self.layers) / 8

    @property
    def bias_bytes(self) -> float:
        """Bytes of all biases, in fp32."""
        return sum(layer.size.bits["bias"] for layer in self.layers) / 8

    @property
    def fp32_bytes(self) -> int:
        """Bytes of the weights before, in fp32."""
        return sum(layer.weights for layer in self.layers) * FP32_BITS // 8

    @property
    def ratio(self) -> float:
        """Weights in fp32 over stored weights, infinite if none is left; without biases, as published rates."""
        return _ratio(self.fp32_bytes, self.weight_bytes)

    @property
    def whole_ratio(self) -> float:
        """The same with biases, which stay fp32."""
        return _ratio(self.fp32_bytes + self.bias_bytes, self.weight_bytes + self.bias_bytes)

    @property
    def expected(self) -> bool:
        """Whether any size is expected, not counted."""
        return any(layer.size.expected for layer in self.layers)


def _ratio(before: float, after: float) -> float:
    return before / after if after else math.inf if before else 1.0


def compress(
    workload: Workload | str | Path,
    recipes: Mapping[str, object],
    *,
    weights: Mapping[str, object] | str | Path | None = None,
    shape: Mapping[str, Any] | None = None,
    allow_missing: bool = False,
) -> Compressed:
    """Compress the weights of a network, or say what that would come to.

    Parameters
    ----------
    workload : Workload, str or Path
        A network, the name of one, or a file. Of ``.onnx``, ``.tflite`` and ``.npz`` files the weights are compressed
        and sizes are counted; of others, sizes are expected of shape, density and bits, with zeros at random.
    recipes : mapping
        By patterns of layers: ``{"fc*": {"prune": {"density": 0.09}, "share": {"bits": 5}, "index": {"bits": 4},
        "huffman": True}}``. Where two match a layer, the later one comes first, key by key.
    weights : mapping or path, optional
        Arrays, or an ``.npz`` file of them, by the names of layers: matrices of inputs x outputs, filters as OIHW.
    shape, allow_missing
        As in `load_workload`.

    Raises
    ------
    InputError
        For unknown keys, patterns that match nothing, and weights that do not fit.
    """
    asked = recipes_of(recipes)
    source = _source(workload, shape, allow_missing)
    network = source.network
    arrays, notes = dict(source.arrays), source.notes
    if weights is not None:
        if not isinstance(weights, Mapping | str | Path):
            raise InputError(f"weights must be arrays by layer or a path to an .npz file, not {excerpt(weights)}")
        own = weights_of(network, weights)
        arrays, notes = arrays | dict(own.arrays), (*notes, *own.notes)
    original = network.replace([masked(network[name], array != 0) for name, array in arrays.items()])
    network = _with_zeros(network, arrays)
    chosen = layer_recipes(network, asked)
    packed = compressed_network(network, asked)
    encoded, layers = _layers(network, packed, chosen, arrays)
    changed = packed.replace([item.layer for item in encoded.values()]) if encoded else packed
    return Compressed(
        changed,
        original,
        tuple(layers),
        {name: item.weights for name, item in encoded.items()},
        {name: item.arrays for name, item in encoded.items()},
        (*notes, *_notes(layers, chosen, network, packed, asked)),
        source,
        chosen,
    )


def _source(workload: Workload | str | Path, shape: Mapping[str, Any] | None, allow_missing: bool) -> Weights:
    if isinstance(workload, Workload):
        return Weights(workload, {})
    if not isinstance(workload, str | Path):
        raise InputError(f"workload must be a Workload, a name or a path, not {excerpt(workload)}")
    path = Path(workload)
    if path.suffix.lower() in (".onnx", ".tflite", ".npz"):
        if path.suffix.lower() == ".npz" and shape:
            raise InputError("shape can be given for .onnx and .tflite files alone", str(path))
        return read_weights(path, shape, allow_missing)
    return Weights(load_workload(workload, shape=shape, allow_missing=allow_missing), {})


def _with_zeros(network: Workload, arrays: Mapping[str, NDArray[Any]]) -> Workload:
    """The network with the zeros of arrays that were pruned before: densities, and patterns that are recognized."""
    changed = []
    for name, array in arrays.items():
        layer = network[name]
        mask = np.asarray(array) != 0
        if mask.all():
            continue
        density = float(mask.mean()) if mask.size else 1.0
        pattern = pattern_of(layer_kept(layer, mask))
        groups = N_OF_M.match(pattern.name)
        if groups and density < _WORTH * int(groups[1]) / int(groups[2]):
            pattern = Pattern("random")
        spec: dict[str, Any] = {"density": density, "pattern": pattern.name, "format": "dense"}
        if pattern.name == "block":
            spec["coding"] = replace(layer.weight.spec.coding or Coding(), block=pattern.block)
        changed.append(layer.with_tensors(weight=spec))
    return network.replace(changed)


def _layers(
    network: Workload, packed: Workload, chosen: Mapping[str, Recipe], arrays: Mapping[str, NDArray[Any]]
) -> tuple[dict[str, Encoded], list[CompressedLayer]]:
    """Each layer of the compressed network that has weights, and the real weights of those whose arrays are there."""
    encoded: dict[str, Encoded] = {}
    layers: list[CompressedLayer] = []
    owners: dict[str, str] = {}
    rest = iter(packed.names)
    for name in network.names:  # the layers in place of one end with its name
        for part in rest:
            owners[part] = name
            if part == name:
                break
    parts: dict[str, list[str]] = {}
    for layer in packed:
        if layer.weights:
            parts.setdefault(owners[layer.name], []).append(layer.name)
    seen: set[str] = set()
    for owner, members in parts.items():
        origin, recipe = network[owner], chosen.get(owner, Recipe())
        shared = origin.weight.spec.array
        if shared and shared in seen:  # an array that several layers read is stored once
            continue
        seen.add(shared)
        factors = factors_of(arrays[owner], recipe) if owner in arrays else ()
        for number, name in enumerate(members):
            layer = packed[name]
            biases = origin.biases if number == len(members) - 1 else 0
            if factors:
                item = encode(layer, factors[number], recipe)
                encoded[name] = item
                layer, size = item.layer, item.size
            else:
                size = stored_size(layer.weight, layer.biases)
            size.bits["bias"] = FP32_BITS * biases
            weights, spec = origin.weights if not number else 0, layer.weight.spec
            layers.append(CompressedLayer(name, weights, biases, layer.weights, spec.density, spec.format, size))
    return encoded, layers


#: Why a pattern takes no runs of zeros, no other format and no Huffman codes of values.
_PLACES = {
    "N:M": "groups of {pattern} have N values and their places in the group",
    "channel": "filters that are left out take no index",
    "block": "blocks have a bit each",
    "dense": "no weights are pruned",
    "more zeros": "more weights are zero already",
}


def _unused(chosen: Mapping[str, Recipe], network: Workload, packed: Workload) -> Iterator[Message]:
    """What a recipe asks for and the pattern of the zeros has no place for."""
    unused: dict[tuple[str, str], list[str]] = {}
    for name, recipe in chosen.items():
        spec = packed[f"{name}_1" if recipe.factored else name].weight.spec
        coding, groups = spec.coding or Coding(), N_OF_M.match(spec.pattern)
        if recipe.index is not None and not coding.run_bits:
            unused.setdefault(("index", spec.pattern), []).append(name)
        if recipe.format is not None and (groups or spec.pattern == "channel"):
            unused.setdefault(("format", spec.pattern), []).append(name)
        prune, density = recipe.prune, network[name].weight.density
        if prune is not None and prune.pattern == "random" and prune.kept >= density and density < 1:
            unused.setdefault(("prune", "more zeros"), []).append(name)
        if groups and "values" in recipe.huffman and coding.shared_bits:
            unused.setdefault(("huffman of values", spec.pattern), []).append(name)
    for (key, pattern), names in unused.items():
        template = "no effect of {key}: " + _PLACES.get("N:M" if N_OF_M.match(pattern) else pattern, _PLACES["dense"])
        yield Message("compression.unused", template, {"key": key, "pattern": pattern}, layers=tuple(names))


def _notes(
    layers: list[CompressedLayer],
    chosen: Mapping[str, Recipe],
    network: Workload,
    packed: Workload,
    asked: Mapping[str, Recipe],
) -> tuple[Message, ...]:
    notes: list[Message] = []
    groups = any(recipe.prune is not None and recipe.prune.groups[1] for recipe in asked.values())
    dense = tuple(
        name for name, recipe in chosen.items() if recipe.prune is None and "prune" in recipe.model_fields_set
    )
    if groups and dense:
        template = "not pruned: their input channels are no multiple of the groups"
        notes.append(Message("compression.groups", template, layers=dense))
    expected = tuple(layer.name for layer in layers if layer.size.expected)
    if expected:
        notes.append(
            Message(
                "compression.expected",
                "expected of zeros at random and Laplacian weights; trained zeros cluster: more fillers, shorter codes",
                layers=expected,
            )
        )
    plain = tuple(
        layer.name
        for layer in layers
        if (coding := packed[layer.name].weight.spec.coding) is not None
        and "values" in coding.huffman and not coding.shared_bits and not coding.run_bits
    )  # fmt: skip
    if plain:
        template = "no Huffman codes: they are of shared values and of runs, and there are neither"
        notes.append(Message("compression.huffman", template, layers=plain))
    notes += _unused(chosen, network, packed)
    windows = tuple(
        name
        for name, recipe in chosen.items()
        if recipe.prune is not None and recipe.prune.kept < 1 and recipe.prune.pattern not in ("channel",)
        and getattr(network[name], "stride", None) == (1, 1) and network[name].weight.shape[1:] != (1, 3, 3)
        and network[name].weight.shape[2:] == (3, 3)
    )  # fmt: skip
    if windows:
        notes.append(
            Message(
                "compression.winograd",
                "pruning and Winograd exclude each other: transformed filters have no zeros, so a library that runs "
                "these 3x3 layers as Winograd either keeps them dense or gives its 2.25 times fewer multiplications up",
                layers=windows,
            )
        )
    trains = tuple(name for name, recipe in chosen.items() if recipe.tensor_train is not None and network[name].biases)
    if trains:
        notes.append(
            Message("compression.train", "biases are in the sizes and not in the network to simulate", layers=trains)
        )
    return tuple(notes)
