"""What others, and the network itself, evict from a shared L3 before it is used again: weights and activations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from math import exp

from hwsim.machines.cpu.kernel import Kernel
from hwsim.machines.cpu.layout import Place
from hwsim.machines.cpu.placement import Placement
from hwsim.machines.cpu.spec import CpuSpec
from hwsim.workload import Workload

__all__ = ["with_evictions"]


def with_evictions(
    workload: Workload,
    placement: Placement,
    kernels: Sequence[Kernel],
    places: Sequence[Place],
    seconds: Sequence[float],
) -> list[Place]:
    """Places with the fractions of each layer's weights and activations that are no longer in L3 when it uses them.

    Parameters
    ----------
    seconds : sequence of float
        Time of each layer without evictions.
    """
    kept = float(placement.spec.memories["l3"].kept or 1)
    gone = round(1 - exp(-sum(seconds) / kept), 3)
    weights = _weights(placement.spec, placement.weights or 0, kernels, sum(seconds))
    activations = _activations(workload, placement.spec, kernels, seconds)
    return [
        replace(place, lost=round(lost, 3), gone=gone, away=round(away, 3))
        for place, lost, away in zip(places, weights, activations, strict=True)
    ]


def _weights(spec: CpuSpec, stored: int, kernels: Sequence[Kernel], time: float) -> list[float]:
    """Of the weights, since the last inference: 1 - exp(-time / kept - bytes / L3)."""
    level = spec.memories["l3"]
    uses = Counter(kernel.layer.weight.spec.array for kernel in kernels)
    most = max((k.layer.inputs + k.layer.outputs) * k.model.word * k.batch for k in kernels)
    gone = []
    for kernel in kernels:
        beside = max(0, stored - kernel.layer.weights * kernel.model.word) + most
        # A shared array is read again within the inference.
        turns = uses[array] if (array := kernel.layer.weight.spec.array) else 1
        gone.append(1 - exp(-(time / float(level.kept or 1) + beside / float(level.size or 1)) / turns))
    return gone


def _activations(workload: Workload, spec: CpuSpec, kernels: Sequence[Kernel], seconds: Sequence[float]) -> list[float]:
    """Of the activations, since a layer wrote them, or since the last inference read the input: 1 - exp(-age / kept).

    What was used less than an L2 of bytes ago is in L2, where others evict nothing.
    """
    kept = float(spec.memories["l3"].kept or 1)
    room = spec.threads_of_stream * kernels[0].model.l2_size
    order = {layer.name: number for number, layer in enumerate(workload)}
    moved = [(k.layer.inputs + k.layer.outputs) * k.batch * k.model.word for k in kernels]
    ends, totals = [0.0], [0.0]
    for kernel, time, size in zip(kernels, seconds, moved, strict=True):
        ends.append(ends[-1] + time)
        totals.append(totals[-1] + size + kernel.weight_bytes)

    def gone(i: int, j: int) -> float:
        if j < 0:  # an input
            age, distance = ends[-1], totals[-1]
        else:
            age = (ends[i + 1] + ends[i] - ends[j + 1] - ends[j]) / 2
            distance = moved[i] + kernels[j].weight_bytes + totals[i] - totals[j + 1]
        return 1 - exp(-age / kept) if distance > room else 0.0

    shares = []
    for i, layer in enumerate(workload):
        sources = [order.get(source, -1) for source in workload.inputs[layer.name]] if workload.graph else [i - 1]
        shares.append(sum(gone(i, j) for j in sources or [-1]) / max(1, len(sources)))
    return shares
