"""What the network around a layer means to it: layouts of its neighbors, and the DRAM that streams share."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from hwsim.machines.cpu.costs import Place
from hwsim.workload import Layer, Workload
from hwsim.workload.product import Product

__all__ = ["contended", "places_of"]

_SHARPNESS = 4.0
"""How sharply the time of cores and that of DRAM add up: inferences side by side are not in step."""


def places_of(workload: Workload, layout: str) -> dict[str, Place]:
    """What the network asks of each layer; of layers without a graph nobody knows who takes what.

    A layer changes layout where a neighbor does not have the library's.
    """
    if not workload.graph:
        return {layer.name: Place(session=not number) for number, layer in enumerate(workload)}
    kept = {layer.name for layer in workload if _keeps_layout(layer)}
    kept = {layer.name for layer in workload} if layout == "kept" else kept
    read: dict[str, list[str]] = {layer.name: [] for layer in workload}
    for name, sources in workload.inputs.items():
        for source in sources:
            if source in read:
                read[source].append(name)
    return {
        layer.name: Place(
            (
                not all(source in kept for source in workload.inputs[layer.name]),
                not read[layer.name] or not all(reader in kept for reader in read[layer.name]),
            ),
            session=number == 0,
            passed=bool(read[layer.name]),
        )
        for number, layer in enumerate(workload)
    }


def _keeps_layout(layer: Layer) -> bool:
    """Whether a library's kernel reads and writes its own layout of images."""
    x = layer.lower(1)
    if isinstance(x, Product):
        return x.geometry is not None
    return x.kind in ("pool", "elementwise", "activation", "concat")


def contended(moved: Sequence[float], core_s: float, bandwidth: float, beside: float, hz: float) -> list[int]:
    """Cycles that each layer waits for DRAM, which all streams of a socket share.

    Streams are not in step, so memory binds the network and not a layer: with T_c and T_m the time that cores and DRAM
    need for an inference, it takes (T_c^4 + T_m^4)^(1/4).

    Parameters
    ----------
    moved : sequence of float
        Bytes of each layer that come from DRAM or go there.
    core_s : float
        Seconds of an inference on its cores alone.
    bandwidth : float
        Bytes a second that the socket reaches.
    beside : float
        Inferences side by side on the socket.
    hz : float
        The clock that is counted in.
    """
    total = sum(moved)
    if not total or not core_s:
        return [0] * len(moved)
    cores, memory = core_s / beside, total / bandwidth
    more = ((cores**_SHARPNESS + memory**_SHARPNESS) ** (1 / _SHARPNESS) - cores) * beside * hz
    return [ceil(more * part / total) for part in moved]
