"""Contention for DRAM: what each layer waits for its own traffic and for that of concurrent streams."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from hwsim.machines.cpu.kernel import Kernel
from hwsim.machines.cpu.placement import Placement

__all__ = ["waits_of"]

_SHARPNESS = 4.0
"""Exponent of the norm that combines core time and DRAM time: concurrent inferences are not in step."""


def waits_of(kernels: Sequence[Kernel], cycles: Sequence[float], placement: Placement, streams: float) -> list[int]:
    """Cycles that each layer waits for DRAM, given those of its busiest thread."""
    spec, bandwidth = placement.spec, placement.spec.dram_bandwidth
    if bandwidth is None:
        return [0] * len(kernels)
    sizes = {kernel: float(sum(placement.dram_words(kernel).values()) * kernel.model.word) for kernel in set(kernels)}
    moved = [sizes[kernel] for kernel in kernels]
    core = spec.memories["dram"].core
    alone = bandwidth if core is None else min(bandwidth, spec.threads_of_stream * spec.speed(core))
    waits = [max(0, ceil(size / alone * spec.hz - own)) for size, own in zip(moved, cycles, strict=True)]
    library = kernels[0].model.library
    if library.generated:
        beside = max(1.0, streams / spec.sockets)
        together = _contended(moved, sum(cycles) / spec.hz, bandwidth * library.dram_efficiency, beside, spec.hz)
        # The contended wait already includes the stream's own transfer time.
        others = max(0.0, 1 - sum(waits) / (sum(together) or 1))
        waits = [own + ceil(more * others) for own, more in zip(waits, together, strict=True)]
    return waits


def _contended(moved: Sequence[float], core_s: float, bandwidth: float, beside: float, hz: float) -> list[int]:
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
