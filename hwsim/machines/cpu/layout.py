"""Layout context of a layer: whether its tensors are reordered between the library's layout and the plain one."""

from __future__ import annotations

from dataclasses import dataclass

from hwsim.workload import Layer, Workload
from hwsim.workload.product import Product

__all__ = ["ALONE", "Place", "places_of"]


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
    """

    edges: tuple[bool, bool] = (True, True)
    session: bool = True
    passed: bool = False
    lost: float = 0.0


ALONE = Place()
"""A layer outside any network."""


def places_of(workload: Workload, layout: str) -> dict[str, Place]:
    """Layout context of each layer; without a graph, consumers are unknown.

    A layer reorders a tensor if a neighbor does not use the library's layout.
    """
    if not workload.graph:
        return {layer.name: Place(session=not number) for number, layer in enumerate(workload)}
    native = {layer.name for layer in workload if _keeps_layout(layer)}
    native = {layer.name for layer in workload} if layout == "kept" else native
    read: dict[str, list[str]] = {layer.name: [] for layer in workload}
    for name, sources in workload.inputs.items():
        for source in sources:
            if source in read:
                read[source].append(name)
    return {
        layer.name: Place(
            (
                not all(source in native for source in workload.inputs[layer.name]),
                not read[layer.name] or not all(reader in native for reader in read[layer.name]),
            ),
            session=number == 0,
            passed=bool(read[layer.name]),
        )
        for number, layer in enumerate(workload)
    }


def _keeps_layout(layer: Layer) -> bool:
    """Whether the library's kernel reads and writes the library's own image layout."""
    x = layer.lower(1)
    if isinstance(x, Product):
        return x.geometry is not None
    return x.kind in ("pool", "elementwise", "activation", "concat")
