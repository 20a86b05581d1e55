"""The kernel of a layer on a processor: its products, the model of the core that runs it, and its threads."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hwsim.machines.cpu.core_model import CoreModel
from hwsim.machines.cpu.threads import pass_threads, shares_of
from hwsim.machines.cpu.work import Share, Work, fused, work_of
from hwsim.workload import Layer
from hwsim.workload.product import Stream

__all__ = ["Kernel", "kernel_of"]


@dataclass(frozen=True, slots=True, eq=False)
class Kernel:
    """A layer for `batch` inputs on cores of one model.

    Attributes
    ----------
    work : Work or None
        None: a layer without MACs.
    shares : list of Share
        The share of each thread; the first is the largest.
    """

    layer: Layer
    batch: int
    model: CoreModel
    work: Work | None
    shares: list[Share]

    @property
    def fused(self) -> bool:
        """Whether the library runs the layer inside the previous one."""
        return self.model.library.fuses and fused(self.layer.lower(self.batch))

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights that the kernel reads."""
        return self.layer.weights_read(self.batch) * self.model.word


def kernel_of(layer: Layer, batch: int, model: CoreModel, threads: int) -> Kernel:
    """The kernel of a layer on at most `threads` threads."""
    work, x = work_of(layer, batch), layer.lower(batch)
    if work is not None and work.depthwise and work.n > 1 and model.library.layout == "reorder":
        work = replace(work, depthwise=False)  # several filters of a channel: a group like any other
    if isinstance(x, Stream):
        threads = pass_threads(layer, x, batch, model, threads)
    return Kernel(layer, batch, model, work, shares_of(work, model, threads))
