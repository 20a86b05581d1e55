"""Network effects on a layer: tensor layouts of its neighbors, and DRAM contention between streams."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from hwsim.machines.cpu.costs import Place
from hwsim.workload import Layer, Workload
from hwsim.workload.product import Product

__all__ = ["contended", "places_of"]

_SHARPNESS = 4.0
"""Exponent of the norm that combines core time and DRAM time: concurrent inferences are not in step."""


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


def contended(moved: Sequence[float], core_s: float, bandwidth: float, beside: float, hz: float) -> list[int]:
    """Cycles that each layer waits for DRAM, shared by all streams of a socket.

    Streams are not in step, so memory limits the network and not a layer: with T_c and T_m the time that cores and DRAM
    need for an inference, it takes (T_c^4 + T_m^4)^(1/4).

    Parameters
    ----------
    moved : sequence of float
        DRAM traffic of each layer in bytes.
    core_s : float
        Seconds of an inference on its cores alone.
    bandwidth : float
        Achieved bandwidth of the socket in bytes per second.
    beside : float
        Concurrent inferences on the socket.
    hz : float
        Clock of the returned cycles.
    """
    total = sum(moved)
    if not total or not core_s:
        return [0] * len(moved)
    cores, memory = core_s / beside, total / bandwidth
    more = ((cores**_SHARPNESS + memory**_SHARPNESS) ** (1 / _SHARPNESS) - cores) * beside * hz
    return [ceil(more * part / total) for part in moved]
