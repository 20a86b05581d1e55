"""Network context of each layer, pass by pass: layouts, cycles, evictions, concurrent streams, waits for DRAM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hwsim.machines.cpu.contention import waits_of
from hwsim.machines.cpu.kernel import Kernel
from hwsim.machines.cpu.layout import ALONE, Place, places_of
from hwsim.machines.cpu.placement import Placement
from hwsim.machines.cpu.retention import with_evictions
from hwsim.machines.cpu.spec import CpuSpec
from hwsim.machines.resident import stored_once
from hwsim.workload import Workload

__all__ = ["CpuContext", "contexts_of"]


@dataclass(frozen=True, slots=True)
class CpuContext:
    """Network context of a layer.

    Attributes
    ----------
    weights : int or None
        Bytes of all weights of the network, which share the caches.
    place : Place
        Layout changes and L3 evictions.
    shared : int
        Cycles of waiting for DRAM.
    streams : float
        Concurrent inferences.
    """

    weights: int | None = None
    place: Place = ALONE
    shared: int = 0
    streams: float = 1.0


def contexts_of(
    workload: Workload, spec: CpuSpec, kernels: Sequence[Kernel], efficient: Sequence[Kernel]
) -> tuple[list[CpuContext], float]:
    """The network context of each layer, and the total seconds.

    `kernels` are those of the layers on the machine's cores, equal ones the same object; `efficient` those on its
    smaller cores, empty if no stream runs there.
    """
    placement = Placement(spec, stored_once(zip(workload, (kernel.weight_bytes for kernel in kernels), strict=True)))
    floats = {layer.name for layer, kernel in zip(workload, kernels, strict=True) if kernel.model.dtype == "fp32"}
    layouts = places_of(workload, kernels[0].model.library.layout, floats, kernels[0].model.float_lanes)
    cold = placement.weights is not None and placement.weights > kernels[0].model.l2_size
    seen = set[tuple[str, str]]()
    places = []
    for layer, kernel in zip(workload, kernels, strict=True):
        code = layer.op, kernel.model.dtype
        places.append(replace(layouts[layer.name], cold=cold, first=code not in seen))
        seen.add(code)
    cycles = _cycles(kernels, places, placement)
    if spec.memories["l3"].kept is not None:
        # What is evicted depends on the time of an inference, here that of one without evictions.
        places = with_evictions(workload, placement, kernels, places, [n / spec.hz for n in cycles])
        cycles = _cycles(kernels, places, placement)
    time, streams = sum(cycles) / spec.hz, spec.stream_count
    if efficient and spec.efficient is not None:
        slow = sum(_cycles(efficient, places, placement)) / (spec.hz * spec.efficient.clock)
        streams = spec.sockets * (spec.cores + spec.efficient.cores * (time / slow if slow else 1.0))
    waits = waits_of(kernels, cycles, placement, streams)
    contexts = [CpuContext(placement.weights, place, wait, streams) for place, wait in zip(places, waits, strict=True)]
    return contexts, time + sum(waits) / spec.hz


def _cycles(kernels: Sequence[Kernel], places: Sequence[Place], placement: Placement) -> list[float]:
    """Cycles of the busiest thread of each layer; equal layers in equal places are computed once."""
    pairs = list(zip(kernels, places, strict=True))
    totals = {(kernel, place): placement.cost(kernel, kernel.shares[0], place).total for kernel, place in set(pairs)}
    return [totals[pair] for pair in pairs]
