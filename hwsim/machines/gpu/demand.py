"""Demand of kernels on shared resources of a GPU, their context in the network, their plan."""

from __future__ import annotations

from dataclasses import dataclass, field

from hwsim.machines.gpu.lower import Phases
from hwsim.machines.plan import LayerPlan

__all__ = ["KernelContext", "GpuKernelPlan", "Load", "StreamShare"]


@dataclass(frozen=True, slots=True)
class Load:
    """Demand of a kernel on the shared resources.

    Attributes
    ----------
    phases : Phases
    sms, l2, dram : float
        Microseconds of all SMs, of L2 and of DRAM.
    us : float
        Microseconds of one of its products, which `amounts` are of.
    amounts : tuple of (str, float)
        How often one product does each priced action.
    slow : float
        How much slower the power cap makes the clock.
    once : bool
        Whether the kernel was timed in a single run, which ends before the power controller reacts.
    """

    phases: Phases = field(default_factory=Phases)
    sms: float = 0.0
    l2: float = 0.0
    dram: float = 0.0
    us: float = 0.0
    amounts: tuple[tuple[str, float], ...] = ()
    slow: float = 1.0
    once: bool = False


@dataclass(frozen=True, slots=True)
class StreamShare:
    """Slowdown of one kernel by other streams.

    Attributes
    ----------
    streams : int
    late : int
        Ticks that it takes longer.
    own, others : tuple of int
        Ticks of SMs, L2 and DRAM that it and the other streams are busy with.
    part : float
        Microseconds of the interval in which one inference is finished.
    bound : str
        The saturated resource if it holds this kernel back, else "".
    slow : float
        How much slower the power cap makes the clock for all streams together.
    """

    streams: int
    late: int
    own: tuple[int, ...]
    others: tuple[int, ...]
    part: float
    bound: str
    slow: float = 1.0


@dataclass(frozen=True, slots=True)
class KernelContext:
    """Network context of a kernel.

    Attributes
    ----------
    read : int
        Bytes that fused layers read in addition.
    slow : float
        How much slower the power cap makes the clock.
    host : str
        The layer whose kernel does this one; "" for a kernel of its own.
    share : StreamShare or None
        Its share of the GPU among other streams; None if it is alone.
    """

    read: int = 0
    slow: float = 1.0
    host: str = ""
    share: StreamShare | None = None


@dataclass(frozen=True, eq=False, repr=False)
class GpuKernelPlan(LayerPlan):
    """The plan of a layer with the demand of its kernel on the GPU.

    Attributes
    ----------
    load : Load
    seconds : float
        Of the kernel on a GPU of its own; 0 for a layer without one.
    fill : float
        How full the waves of a tiled kernel are on average; 1 for others.
    """

    load: Load = Load()
    compute_bounds: tuple[str, ...] = ("tensor", "issue")
    seconds: float = 0.0
    fill: float = 1.0
