"""Bytes that devices exchange in a step, by how a network is split: counts, no model of time.

For n devices, of all links together:

    data      the sum of all gradients goes round:         2 (n - 1) gradients
    layers    a map and its gradient cross each cut:       2 maps a cut, for each input
    channels  each device gathers all outputs of a layer, and their gradients are summed: 2 (n - 1) outputs
    maps      borders exchange r - 1 rows of an r x s window: 2 (n - 1) (r - 1) rows; a product that reads the whole
              map gathers it: 2 (n - 1) inputs
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hwsim.errors import InputError, excerpt
from hwsim.workload import Layer, Workload
from hwsim.workload.product import Product

__all__ = ["Moved", "cheapest_cuts", "crossing", "halo_rows", "halo_values", "moved", "own_product"]


@dataclass(frozen=True, slots=True)
class Moved:
    """Bytes of a step on all links together.

    Attributes
    ----------
    split : str
    activations_bytes : int
        Maps and their gradients.
    weights_bytes : int
        Gradients of weights that several devices have: of `maps` those of convolutions.
    shortcuts_bytes : int
        Of `layers`: maps that cross a cut besides the one that the next layer reads first.
    """

    split: str
    activations_bytes: int
    weights_bytes: int
    shortcuts_bytes: int = 0


def own_product(layer: Layer) -> Product | None:
    """The product of a layer for one input, where it has weights."""
    x = layer.lower(1)
    return x if isinstance(x, Product) and x.stored else None


def halo_rows(layer: Layer) -> int:
    """Rows that a border between two parts of a map exchanges: one less than the window has; none of 1 x 1."""
    x = own_product(layer)
    return 0 if x is None or x.geometry is None else (x.geometry.r - 1) * x.geometry.dilation[0]


def halo_values(layer: Layer) -> int:
    """Values of these rows; of a product that reads the whole map, all of its inputs."""
    x = own_product(layer)
    if x is None:
        return 0
    if x.geometry is None:
        return layer.inputs
    return halo_rows(layer) * x.geometry.w * x.geometry.c


def crossing(network: Workload, place: int) -> int:
    """Values for one input that go from the layers up to a place to those after it."""
    names = network.names
    before, after = set(names[: place + 1]), names[place + 1 :]
    if not network.graph:
        return network[names[place]].outputs
    tensors = {name for layer in after for name in network.inputs[layer] if name in before}
    return sum(network[name].outputs for name in tensors)


def cheapest_cuts(network: Workload, cuts: int) -> tuple[int, ...]:
    """Places of the smallest outputs of products, of a pooling before a product, and of the last layer."""
    sizes = sorted((layer.outputs, -place) for place, layer in enumerate(network) if _is_cut(layer))
    return tuple(sorted(-place for _, place in sizes[:cuts]))


def _is_cut(layer: Layer) -> bool:
    x = layer.lower(1)
    return isinstance(x, Product) or x.kind == "pool"


def moved(network: Workload, split: str, devices: int, batch: int, value_bytes: int = 4) -> Moved:
    """Bytes that a step moves between devices under one split.

    Parameters
    ----------
    network : Workload
    split : str
        ``data``, ``layers`` (cut at the smallest maps), ``channels`` or ``maps``.
    devices : int
    batch : int
        Inputs of all devices together.
    value_bytes : int
        Of a value, and of its gradient.

    Examples
    --------
    >>> import hwsim
    >>> moved(hwsim.load_workload("alexnet_torchvision"), "data", 4, 256).weights_bytes // 10**6
    1466
    """
    network = network.lowered()
    others, each = devices - 1, 2 * value_bytes
    products: Sequence[Layer] = [layer for layer in network if own_product(layer) is not None]
    if split == "data":
        return Moved(split, 0, others * each * network.weights)
    if split == "layers":
        cuts = cheapest_cuts(network, others)
        maps = sum(network[network.names[place]].outputs for place in cuts)
        whole = sum(max(crossing(network, place), network[network.names[place]].outputs) for place in cuts)
        return Moved(split, each * batch * maps, 0, each * batch * (whole - maps))
    if split == "channels":
        return Moved(split, others * each * batch * sum(layer.outputs for layer in products), 0)
    if split == "maps":
        shared = sum(layer.weights for layer in products if (x := own_product(layer)) is not None and x.geometry)
        return Moved(split, others * each * batch * sum(map(halo_values, products)), others * each * shared)
    raise InputError(f"bytes are counted of data, layers, channels and maps, not {excerpt(split)}")
