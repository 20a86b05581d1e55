"""Layout context of a layer: whether its tensors are reordered between the library's layout and the plain one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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
    native : bool or None
        Whether the library's kernel for its own layout takes the layer; None outside any network.
    session : bool
        Whether it is the first layer, which is charged with the overhead of an inference.
    passed : bool
        Whether another layer reads its output.
    lost : float
        Fraction of its weights' L3 lines that were evicted since the last inference.
    gone : float
        Fraction of any L3 lines that others evicted since the last inference.
    away : float
        Fraction of its activations that were evicted from L3 since a layer before it, or the last inference, used them.
    cold : bool
        Whether the other layers drive what it reads first out of the core's own caches.
    first : bool
        Whether no layer before it runs the same kernel, whose code so is as cold as the weights.
    merged : str
        What the library makes of it in this graph, see `merges_of`.
    """

    edges: tuple[bool, bool] = (True, True)
    native: bool | None = None
    session: bool = True
    passed: bool = False
    lost: float = 0.0
    gone: float = 0.0
    away: float = 0.0
    cold: bool = False
    first: bool = False
    merged: Merge = ""


_FILTER_CHANNELS = 4
"""Channels at a time that the kernels of dense convolutions take."""

ALONE = Place()
"""A layer outside any network."""


def places_of(workload: Workload, layout: str, floats: Collection[str] = (), lanes: int = 16) -> dict[str, Place]:
    """Layout context of each layer; without a graph, consumers are unknown.

    A layer reorders a tensor if a neighbor does not use the library's layout; a tensor that several read is reordered
    for the first of them. `floats` are the layers in 32-bit floats, whose layout is blocks of `lanes` channels.
    """
    if not workload.graph:
        return {layer.name: Place(session=not number) for number, layer in enumerate(workload)}
    native: set[str] = set()
    for layer in workload:
        takes = [source in native for source in workload.inputs[layer.name]]
        if layout == "kept" or (
            _keeps_blocks(layer, takes, lanes) if layer.name in floats else _keeps_layout(layer, takes)
        ):
            native.add(layer.name)
    read: dict[str, list[str]] = {layer.name: [] for layer in workload}
    for name, sources in workload.inputs.items():
        for source in sources:
            if source in read:
                read[source].append(name)
    merged = merges_of(workload, read, floats, native) if layout == "reorder" else {}
    places, reordered = {}, set[str]()
    for number, layer in enumerate(workload):
        name, readers = layer.name, read[layer.name]
        foreign = {source for source in workload.inputs[name] if source not in native}
        enters = name in native and (bool(foreign - reordered) or not workload.inputs[name])
        leaves = name in native and (not readers or not all(reader in native for reader in readers))
        if name in native:
            reordered |= foreign
        places[name] = Place(
            (enters, leaves),
            native=name in native,
            session=number == 0,
            passed=bool(readers),
            merged=merged.get(name, ""),
        )
    return places


def _keeps_layout(layer: Layer, takes: Sequence[bool]) -> bool:
    """Whether the library's kernel reads and writes 8-bit images with channels last, as `takes` says of its inputs.

    Convolutions change the layout of what they read. See ONNX Runtime's ``nhwc_transformer.cc``.
    """
    x = layer.lower(1)
    if isinstance(x, Product):
        return x.geometry is not None
    return x.kind in ("pool", "elementwise", "activation", "concat") and bool(takes) and all(takes)


def _keeps_blocks(layer: Layer, takes: Sequence[bool], lanes: int) -> bool:
    """Whether the library's kernel reads and writes images in blocks of channels; `takes` says which inputs lie so.

    Convolutions and pools change the layout of what they read; the others keep it. See ONNX Runtime's
    ``nchwc_transformer.cc``.
    """
    x = layer.lower(1)
    if isinstance(x, Product):
        g = x.geometry
        if g is None:
            return False
        if g.groups == 1:
            return g.c < lanes or g.c % _FILTER_CHANNELS == 0
        return (g.depthwise and g.filters == 1) or (g.channels % lanes == 0 and g.filters % lanes == 0)
    if x.kind == "pool":
        return layer.input.shape[0] % lanes == 0
    if not takes or not all(takes):
        return False
    if x.kind == "concat":
        return all(shape[0] % lanes == 0 for shape in layer.operands) and len(takes) == len(layer.operands)
    if x.kind == "elementwise":
        # A scale of each channel is a convolution of one tap; a value that is added is not.
        return len(takes) == max(1 if x.function == "mul" else 2, x.operands)
    return x.kind == "activation" or (x.kind == "norm" and x.function == "batch")


def merges_of(
    workload: Workload, read: Mapping[str, list[str]], floats: Collection[str], native: Collection[str]
) -> dict[str, Merge]:
    """Layers that the library joins with those before or behind them, by their place in the graph.

    x sigmoid(x) is one pass; a sum of two tensors is added as the convolution that made one of them writes it in the
    library's layout, in which `native` layers are; a sum that a normalization alone reads becomes a part of this, whose
    kernel takes one value at a time.
    """
    layers = {layer.name: layer for layer in workload}
    merged: dict[str, Merge] = {}
    for name, sources in workload.inputs.items():
        layer = layers[name]
        x = layer.lower(1)
        if name not in floats or not isinstance(x, Stream):
            continue
        if (
            x.kind == "norm"
            and x.function in ("layer", "rms")
            and len(sources) == 1
            and sources[0] in layers
            and len(read[sources[0]]) == 1
        ):
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
                adds = isinstance(y, Product) and y.geometry is not None and y.activation == "none"
                if x.function == "add" and adds and one in native and name in native:
                    merged[name] = "accumulated"
    return merged
