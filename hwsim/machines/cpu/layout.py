"""Layout context of a layer: whether its tensors are reordered between the library's layout and the plain one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from hwsim.workload import Layer, Workload
from hwsim.workload.product import Product, Stream

__all__ = ["ALONE", "Merge", "Place", "places_of"]

Merge = Literal["", "absorbed", "accumulated", "skip"]
"""absorbed: another layer does it; accumulated: added as a convolution writes; skip: a normalization with its sum."""


@dataclass(frozen=True, slots=True)
class Place:
    """Layout and cache context of a layer in its network.

    Attributes
    ----------
    edges : (bool, bool)
        Whether the input and the output are reordered between the library's layout and the plain one.
    session : bool
        Whether it is the first layer, which is charged with the overhead of an inference.
    passed : bool
        Whether another layer reads its output.
    lost : float
        Fraction of its L3 lines that were evicted since the last inference.
    cold : bool
        Whether the other layers drive what it reads first out of the core's own caches.
    merged : str
        What the library makes of it in this graph, see `merges_of`.
    """

    edges: tuple[bool, bool] = (True, True)
    session: bool = True
    passed: bool = False
    lost: float = 0.0
    cold: bool = False
    merged: Merge = ""


ALONE = Place()
"""A layer outside any network."""


def places_of(workload: Workload, layout: str, floats: Collection[str] = ()) -> dict[str, Place]:
    """Layout context of each layer; without a graph, consumers are unknown.

    A layer reorders a tensor if a neighbor does not use the library's layout. `floats` are the layers that run in
    32-bit floats.
    """
    if not workload.graph:
        return {layer.name: Place(session=not number) for number, layer in enumerate(workload)}
    native: set[str] = set()
    for layer in workload:
        # In floats, several tensors are joined in the library's layout if all of them have it.
        x = layer.lower(1)
        joins = layer.name in floats and isinstance(x, Stream) and x.kind in ("elementwise", "concat")
        sources = workload.inputs[layer.name]
        whole = len(sources) == _operands(layer) and all(source in native for source in sources)
        if layout == "kept" or (_keeps_layout(layer) and (whole or not joins)):
            native.add(layer.name)
    read: dict[str, list[str]] = {layer.name: [] for layer in workload}
    for name, sources in workload.inputs.items():
        for source in sources:
            if source in read:
                read[source].append(name)
    merged = merges_of(workload, read, floats) if layout == "reorder" else {}
    return {
        layer.name: Place(
            (
                not all(source in native for source in workload.inputs[layer.name]),
                not read[layer.name] or not all(reader in native for reader in read[layer.name]),
            ),
            session=number == 0,
            passed=bool(read[layer.name]),
            merged=merged.get(layer.name, ""),
        )
        for number, layer in enumerate(workload)
    }


def _keeps_layout(layer: Layer) -> bool:
    """Whether the library's kernel reads and writes the library's own image layout."""
    x = layer.lower(1)
    if isinstance(x, Product):
        return x.geometry is not None
    return x.kind in ("pool", "elementwise", "activation", "concat")


def _operands(layer: Layer) -> int:
    """Tensors that a layer without MACs reads whole; a value for all of them counts as none."""
    x = layer.lower(1)
    return max(2, x.operands) if isinstance(x, Stream) else 1


def merges_of(workload: Workload, read: Mapping[str, list[str]], floats: Collection[str]) -> dict[str, Merge]:
    """Layers that the library joins with those before or behind them, by their place in the graph.

    x sigmoid(x) is one pass; a sum of two tensors is added as the convolution that made one of them writes it; a sum
    that a normalization alone reads becomes a part of this, whose kernel takes one value at a time.
    """
    layers = {layer.name: layer for layer in workload}
    merged: dict[str, Merge] = {}
    for name, sources in workload.inputs.items():
        layer = layers[name]
        x = layer.lower(1)
        if name not in floats or not isinstance(x, Stream):
            continue
        if x.kind == "norm" and len(sources) == 1 and sources[0] in layers and len(read[sources[0]]) == 1:
            y, inner = layers[sources[0]].lower(1), workload.inputs[sources[0]]
            if isinstance(y, Stream) and y.function == "add" and len(inner) == 2 and y.inputs == 2 * y.outputs:
                merged[sources[0]], merged[name] = "absorbed", "skip"
        elif x.kind == "elementwise" and len(sources) == 2 and x.inputs == 2 * x.outputs:
            for one, other in (sources, sources[::-1]):
                if one not in layers or len(read[one]) != 1:
                    continue
                y = layers[one].lower(1)
                gate = isinstance(y, Stream) and "sigmoid" in (y.function, y.activation) and y.kind == "activation"
                if x.function == "mul" and gate and workload.inputs[one] == (other,):
                    merged[name] = "absorbed"
                if x.function == "add" and isinstance(y, Product) and y.geometry is not None and y.activation == "none":
                    merged[name] = "accumulated"
    return merged
