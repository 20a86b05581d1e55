"""Placement of a network's operands: weights in the caches of each core, what DRAM moves, what L3 evicts."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from hwsim.machines.cpu.core_model import CoreModel
from hwsim.machines.cpu.costs import ThreadCost, level_of, spend
from hwsim.machines.cpu.kernel import Kernel
from hwsim.machines.cpu.layout import Place
from hwsim.machines.cpu.spec import CpuSpec
from hwsim.machines.cpu.work import Share
from hwsim.machines.plan import Action
from hwsim.workload.product import Product

__all__ = ["Placement"]


@dataclass(frozen=True, slots=True)
class Placement:
    """The memories of a machine with the weights of a network.

    Attributes
    ----------
    spec : CpuSpec
        The machine file.
    weights : int or None
        Bytes of all weights of the network, which share the caches; None: a layer outside any network.
    """

    spec: CpuSpec
    weights: int | None = None

    def cost(self, kernel: Kernel, share: Share, place: Place) -> ThreadCost:
        """Cycles of one thread of a kernel."""
        cost = spend(kernel, share, self._home(kernel, share), place)
        if more := kernel.model.cost("contend") * (share.threads - 1):
            alone = cost.total - cost.cycles.get("call", 0.0) - cost.cycles.get("threads", 0.0)
            cost.cycles["contended"] += more * alone
        return cost

    def _home(self, kernel: Kernel, share: Share) -> tuple[float, float]:
        """Bytes of the network's weights in a thread's own cache, by its columns, and in the shared one."""
        if not kernel.layer.weights or kernel.work is None:
            return 0.0, 0.0
        stored = max(kernel.layer.weights * kernel.model.word, self.weights or 0)
        own = stored * share.n / kernel.work.n
        return own, min(float(stored), own * min(share.threads, self.spec.l3_cores))

    def dram_words(self, kernel: Kernel) -> dict[Action, int]:
        """DRAM words of a layer: activations that L2 and L3 cannot hold, weights that L3 cannot hold.

        Tiled kernels have one place for all weights (`level_of`); those of generated ones stay in part, as the network
        goes round them: half of L3 is theirs.
        """
        layer, batch, model = kernel.layer, kernel.batch, kernel.model
        inputs, stored, outputs = layer.inputs * batch, layer.weights_read(batch), layer.outputs * batch
        words: dict[Action, float] = {}
        x = layer.lower(batch)
        if isinstance(x, Product) or x.kind == "pool" or not model.library.fuses:
            values = inputs + outputs
            over = max(0.0, values - self._activation_bytes(model) / model.word)
            if over:
                words["dram", "ifmap", "read"] = over * inputs / values
                words["dram", "ofmap", "update"] = over * outputs / values
        if stored and model.library.generated:
            size = max(kernel.weight_bytes, self.weights or 0)
            words["dram", "weight", "read"] = stored * max(0.0, 1 - self.spec.l3_bytes / (2 * size))
        elif stored and kernel.work is not None:
            far = level_of(model, self._home(kernel, kernel.shares[0])) == "dram"
            words["dram", "weight", "read"] = stored * far
        return {key: ceil(n) for key, n in words.items() if n}

    def _activation_bytes(self, model: CoreModel) -> float:
        """Bytes of L2 and L3 for the activations of a stream: those of its cores, at most its share of L3."""
        spec, threads = self.spec, self.spec.threads_of_stream
        part = spec.l3_bytes / max(1.0, spec.stream_count / spec.sockets)
        return threads * model.l2_size + min(part, int(spec.memories["l3"].size or 0) * -(-threads // spec.l3_cores))
