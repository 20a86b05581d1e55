"""The GPU: plans each layer as kernels of its library, with fusion and the bottleneck of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil, inf
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from hwsim.algorithms import Algorithm, algorithm_of, shape_of
from hwsim.algorithms.choice import WINOGRAD
from hwsim.energy.origin import EnergyOrigin
from hwsim.machines.base import NetworkPlan
from hwsim.machines.csr import csr_product
from hwsim.machines.gpu.attention_plan import plan_attention
from hwsim.machines.gpu.constants import constants_of
from hwsim.machines.gpu.demand import GpuKernelPlan, KernelContext
from hwsim.machines.gpu.fusion import fused_into
from hwsim.machines.gpu.kernel import plan_collective, plan_nothing, plan_product, plan_stream
from hwsim.machines.gpu.kernels import GpuKernels
from hwsim.machines.gpu.spec import GpuSpec
from hwsim.machines.gpu.streams import ConcurrentStreams, concurrent_idle_plan, concurrent_plan, total_energy
from hwsim.machines.gpu.work import (
    StreamingKernel,
    TiledProduct,
    Transform,
    Types,
    algorithms,
    layer_kind,
    wanted_type,
)
from hwsim.machines.limits import MAX_MACS, check_size
from hwsim.machines.memory import MemoryUse
from hwsim.machines.nearness import Conditions, Level
from hwsim.machines.plan import Constant, LayerPlan, Traffic
from hwsim.machines.resident import resident_weights, stored_once
from hwsim.message import Message
from hwsim.workload import Layer, Workload
from hwsim.workload.attention_pattern import with_attention
from hwsim.workload.product import Attended, Product, Stream

__all__ = ["Gpu"]

_USE = ("library", "format", "streams", "kernels")
_CONTEXT = 500_000_000
"""Bytes of device memory that a CUDA context with its libraries takes; 0.3 to 0.6 GB by version."""


class Gpu(GpuKernels):
    """A GPU with the library that its kernels are from.

    Attributes
    ----------
    spec : GpuSpec
        The machine file.
    """

    kind: ClassVar[str] = "gpu"
    spec_class: ClassVar[type[GpuSpec]] = GpuSpec
    residuals: ClassVar[Path | None] = Path(__file__).parent / "residuals.csv"
    measured_layers: ClassVar[frozenset[str]] = frozenset({"attention", "convolutions", "matrix products"})
    nearness: ClassVar[Mapping[str, tuple[Level, ...]]] = {"latency": (
        Level(("machine", "part", *_USE), "network", "networks on this GPU with this library"),
        Level(("machine", *_USE), "shape", "single kernels on this GPU with this library"),
        Level(("generation", *_USE), "machine", "single kernels on other GPUs of this generation"),
        Level((), "machine", "other GPUs", measured=False),
    )}  # fmt: skip
    run_keys: ClassVar[tuple[str, ...]] = ("harness", "library", "precision", "streams", "weights")
    spec: GpuSpec

    def merged(self, network: Workload, batch: int) -> Workload:
        """The network with a layer of attention for two products around a softmax, where that is the faster kernel."""
        if not self.timer.library.fuses or self.spec.streams > 1:
            return network
        key = ("merged", network, batch)
        if key not in self.cache.memo:
            self.cache.memo[key] = with_attention(network, lambda layer: self._is_faster_whole(layer, batch))
        merged: Workload = self.cache.memo[key]
        return merged

    def _is_faster_whole(self, layer: Layer, batch: int) -> bool:
        """Whether attention takes less time as one kernel than as its products and softmax."""
        if not self.runs_whole(layer):
            return False
        parts = [self.layer_plan(part, batch) for part, _ in layer.sublayers]
        return _seconds(self.layer_plan(layer, batch)) < sum(map(_seconds, parts))

    @property
    def energy_origin(self) -> EnergyOrigin:
        """Idle power is the board's; most prices are estimates."""
        return EnergyOrigin("board", "estimate")

    def _works(self, layer: Layer, batch: int, types: Types) -> tuple[TiledProduct | StreamingKernel, ...]:
        library, kind = self.timer.library, layer_kind(layer)
        unit = self.timer.unit(types.math, kind)
        pad = library.pad.get(types.math, 1)
        if unit is not None and unit.menu.channels is not None:
            pad = unit.menu.channels
        elif library.pad_stem and kind in ("conv", "wgrad") and _channels(layer) <= 4:
            pad = min(pad, 4)
        rows = unit is not None and unit.menu.strided == "rows"
        asked = self.requested_algorithm(layer.name)
        measured = not self.timer.harness.heuristic or asked != "auto"
        ways = [
            Transform(way.outputs, way.filters, way.block, way.images, way.inside)
            for way in library.transforms(types.math, self.timer.generation.name, kind)
            if asked in ("auto", f"winograd-{way.outputs}x{way.outputs}")
            and (measured or (batch >= way.batch and _channels(layer) >= way.channels))
        ]
        taps = 1 if unit is None or unit.menu.channels is None else unit.menu.taps
        works = algorithms(layer, batch, types, pad, ways, rows, taps)
        return works[1:] if asked not in ("auto", "direct") and len(works) > 1 else works

    def algorithms(self) -> tuple[Algorithm, ...]:
        """The direct one, and Winograd's that the library has kernels of for some format."""
        library, generation = self.timer.library, self.timer.generation.name
        sizes = {
            way.outputs
            for spec in library.winograd
            for dtype in spec.types
            for way in library.transforms(dtype, generation, "conv")
        }
        return ("direct", *(name for name in WINOGRAD if name in {f"winograd-{m}x{m}" for m in sizes}))

    def why_direct(self) -> str:
        """The library lacks the others."""
        return f"{self.timer.library.name} has no other kernels on {self.timer.generation.name}"

    def _not_as_asked(self, layer: Layer, plan: GpuKernelPlan) -> GpuKernelPlan:
        """A plan without transforms, with the reason where the file asks for another algorithm."""
        asked, shape = self.requested_algorithm(layer.name), shape_of(layer)
        if shape is None or asked == "auto" or asked == "direct":
            return plan
        how = algorithm_of(asked, shape)
        why = str(how) if isinstance(how, Message) else f"{self.timer.library.name} has no such kernel in this format"
        template = "algorithm direct, not {asked}, which the file asks for: {why}"
        return replace(plan, why=(Message("algorithm.choice", template, {"asked": asked, "why": why}), *plan.why))

    def _csr_work(self, layer: Layer, batch: int, types: Types) -> StreamingKernel | None:
        """A layer that the library runs from weights in CSR format, by one stream."""
        csr = self.spec.csr
        if csr is None or types.math != "fp32" or self.spec.streams > 1:
            return None
        product = csr_product(layer, batch, types.w)
        if product is None:
            return None
        image, output = (-(-values * bits // 8) for values, bits in ((layer.inputs, types.a), (layer.outputs, types.o)))
        return StreamingKernel(product.bytes + image, output, f"CSR product of {csr.library}", csr=product)

    def planned_on(self) -> dict[str, Any]:
        """Prices act on plans only through the clock under the power cap, which is part of each layer's context."""
        data = super().planned_on()
        data.pop("prices", None)
        return data

    def _plan(self, layer: Layer, batch: int) -> GpuKernelPlan:
        return self._plan_in(layer, batch, KernelContext())

    def _plan_in(self, layer: Layer, batch: int, context: KernelContext) -> GpuKernelPlan:
        if self.spec.streams == 1:
            return self._kernel(layer, batch, context)
        kernel = self._alone_plan(layer, batch, replace(context, share=None))
        if context.share is None:
            return concurrent_idle_plan(kernel, self.spec.streams)
        return concurrent_plan(kernel, context.share, self.timer.rate_hz * 1e-6)

    def _kernel(self, layer: Layer, batch: int, context: KernelContext) -> GpuKernelPlan:
        if context.host:
            return plan_nothing(self.timer, layer, batch, f"fused into {context.host}")
        x = layer.lower(batch)
        if isinstance(x, Stream) and x.kind == "collective":
            return plan_collective(self.timer, layer, batch, *self._collective(x.function, layer.name), context.slow)
        types = self.types(layer)
        if (fused := self._fused_attention(layer)) is not None:
            return plan_attention(fused, layer, batch, types, context.slow)
        csr = self._csr_work(layer, batch, types)
        works = self._works(layer, batch, types) if csr is None else (csr,)
        if not isinstance(works[0], TiledProduct):
            plan = plan_stream(self.timer, layer, batch, types, works[0], context.read, context.slow)
            return self._not_as_asked(layer, plan)
        products = [work for work in works if isinstance(work, TiledProduct)]
        plan = plan_product(self.timer, layer, batch, types, products, context.read, context.slow)
        return plan if products[0].winograd else self._not_as_asked(layer, plan)

    def hosts(self, workload: Workload) -> Mapping[str, str]:
        """What the library fuses into the kernel before it."""
        return {name: host for name, (host, _) in self._fused(workload).items()}

    def _fused(self, workload: Workload) -> dict[str, tuple[str, int]]:
        """What `fused_into` says, where the library fuses; the contexts and the hosts of a plan both ask for it."""
        library = self.timer.library
        if not library.fuses or not workload.graph or len(workload) == 1:
            return {}
        key = ("fused", workload)
        if key not in self.cache.memo:
            self.cache.memo[key] = fused_into(workload, library.fuses_norms, library.fuses_rotary)
        into: dict[str, tuple[str, int]] = self.cache.memo[key]
        return into

    def contexts(self, workload: Workload, batch: int) -> Sequence[KernelContext]:
        """What is fused into each kernel, the clock of the whole network under the power cap, other streams."""
        return self._network(workload, batch)[0]

    def _network(self, workload: Workload, batch: int) -> tuple[list[KernelContext], ConcurrentStreams | None]:
        """The context of each layer, and the shared resources of concurrent streams.

        The power controller sees the mean of a network: all layers are slowed alike.
        """
        into = self._fused(workload)
        read: dict[str, int] = {}
        for name, (host, operands) in into.items():
            layer = workload[name]
            extra = operands * (layer.outputs * batch * wanted_type(layer, self.spec.precision).a // 8)
            read[host] = read.get(host, 0) + extra
        contexts = [
            KernelContext(host=into[layer.name][0]) if layer.name in into else KernelContext(read.get(layer.name, 0))
            for layer in workload
        ]
        free = self._alone(workload, batch, contexts)
        if len(workload) == 1:
            load = free[0].load
            us, (energy, off_chip), once = load.us, self.timer.picojoules(load), load.once
        else:
            (us, energy, off_chip), once = total_energy(self.timer, free), False
        one = np.ones(1)
        slow = float(self.timer.slowdown(us * one, energy * one, off_chip * one, once)[0])
        if len(workload) > 1:
            slow = round(slow, 3)
            slow = slow if slow >= 1.002 else 1.0
        if slow > 1:
            contexts = [context if context.host else replace(context, slow=slow) for context in contexts]
        if self.spec.streams == 1:
            return contexts, None
        alone = self._alone(workload, batch, contexts) if slow > 1 else free
        streams = ConcurrentStreams(self.timer, alone, free)
        shares = zip(contexts, streams.shares(), strict=True)
        return [replace(context, share=share) for context, share in shares], streams

    def _alone(self, workload: Workload, batch: int, contexts: Sequence[KernelContext]) -> list[GpuKernelPlan]:
        """Plans of a network that has the GPU to itself."""
        return [self._alone_plan(layer, batch, context) for layer, context in zip(workload, contexts, strict=True)]

    def _alone_plan(self, layer: Layer, batch: int, context: KernelContext) -> GpuKernelPlan:
        """The plan of a kernel that has the GPU to itself, also where streams share it."""
        if self.spec.streams == 1:
            plan = self.layer_plan(layer, batch, context)
            assert isinstance(plan, GpuKernelPlan)
            return plan
        key = ("alone", batch, context, *layer.likeness)
        if key not in self.cache.memo:
            check_size(layer, batch, self.runs_whole(layer))
            self.cache.memo[key] = self._kernel(layer, batch, context)
        alone: GpuKernelPlan = self.cache.memo[key]
        return alone

    def power_columns(self, plan: LayerPlan) -> dict[str, float | int | str]:
        """What the board draws while the kernel runs."""
        if not isinstance(plan, GpuKernelPlan) or not plan.load.amounts:
            return {}
        return {"draw_w": self.timer.draw_w(plan.load) + float(self.spec.power.idle)}

    def traffic(self, plan: LayerPlan) -> tuple[Traffic, ...]:
        """Device memory."""
        return (Traffic("dram", plan.dram_bytes, self.timer.dram * 1e6),)

    def constants(self) -> tuple[Constant, ...]:
        """The generation's constants, the launch floor of the harness, and constants of the library's kernels."""
        return constants_of(self.spec, self.timer)

    def request_s(self, network: Workload) -> tuple[float, float]:
        request = self.timer.harness.request
        if request is None:
            return 0.0, 0.0
        link = request.links.get(self.timer.generation.name)
        rate = float(link.amount) if link is not None else inf
        return float(request.call), network.input_bytes / rate

    def activation_bits(self, workload: Workload) -> dict[str, int]:
        """Output type of the kernels: that of `precision` or the fallback of the library."""
        converts = self.spec.precision != "workload"
        return {layer.name: self.types(layer).o for layer in workload if layer.macs or converts}

    def memory_bytes(self) -> int:
        """Bytes of device memory."""
        return int(self.spec.memories["dram"].size)

    def memories(self, workload: Workload, batch: int) -> tuple[MemoryUse, ...]:
        """Device memory: weights, the most activations at a time, and the context."""
        weights = stored_once((layer, self._weight_bytes(layer, batch)) for layer in workload)
        weights += sum(4 * layer.biases for layer in workload)
        # Weights are shared by streams.
        live = workload.peak_activation_bytes(batch, self.activation_bits(workload)) * self.spec.streams
        cache = workload.cache_bytes(batch) * self.spec.streams
        residents = (("key and value cache", cache),) if cache else ()
        parts = (("weights", weights), ("activations", live), *residents, ("context", _CONTEXT))
        return (MemoryUse("device memory", self.memory_bytes(), parts),)

    def _weight_bytes(self, layer: Layer, batch: int) -> int:
        types = self.types(layer)
        if (work := self._csr_work(layer, batch, types)) is not None and work.csr is not None:
            return work.csr.bytes
        unit = self.timer.unit_of(layer, types.math) if layer.macs else None
        return ceil(layer.weights * (types.w / 8 if unit is None else unit.weight_bytes(types.w)))

    def format_of(self, layer: Layer) -> str:
        """The type of the MACs."""
        return self.types(layer).math

    def conditions(self, plan: NetworkPlan, number_format: str) -> Conditions:
        """Generation, library, format, streams, and whether it is a network or one layer.

        The library is the one that has the kernels: that of attention where this is all there is.
        """
        timer, part = self.timer, "network" if len(plan) > 1 else "kernel"
        library = timer.library.bases[0] if timer.library.bases else timer.library.name
        if all(self.runs_whole(layer) for layer in plan.layers):
            library = timer.attention_library.name
        named = {"generation": timer.generation.name, "library": library, "format": number_format}
        return {**named, "part": part, "streams": self.spec.streams, "kernels": self._kernels(plan)}

    def _kernels(self, plan: NetworkPlan) -> str:
        """``long``, or ``short`` in a network whose launches take as long as its MACs at the peak rate, or longer."""
        if len(plan) == 1:
            return "long"
        launches = self.timer.floor * 1e-6 * len(plan)
        peak = sum(layer.macs / layer.peak_macs_per_cycle for layer in plan if layer.peak_macs_per_cycle)
        return "short" if launches >= peak / (self.timer.clock * 1e6) else "long"

    def notes(self, plan: NetworkPlan) -> tuple[Message, ...]:
        """Library and launch mode; resources that streams share."""
        timer, workload = self.timer, plan.workload
        values = {"library": timer.library.name, "generation": timer.generation.name, "launch": timer.harness.name}
        notes = [Message("gpu.library", "kernels of {library} on {generation}, launch mode: {launch}", values)]
        if self.spec.streams > 1:
            streams = self._network(workload, plan.batch)[1]
            notes += [streams.message()] if streams is not None else []
        slow = max(plan.context(layer.name).slow for layer in workload)
        if slow > 1 and len(workload) > 1:
            power = {"cap_w": float(self.spec.power.board), "clock_hz": timer.clock * 1e6 / slow}
            template = (
                "the power cap of {cap_w:g} W slows the clock to {clock_hz:si Hz} in all layers alike, by the mean "
                "power of the network: simulate a layer by itself for its time alone"
            )
            notes.append(Message("gpu.network_power", template, power))
        notes += self._attention_notes(workload)
        bits = {layer.name: self.types(layer).w for layer in workload}
        return (*notes, *resident_weights(plan, "L2", bits))

    def _attention_notes(self, workload: Workload) -> list[Message]:
        """Whose attention kernels these are, and what of them was not measured."""
        layers = [layer for layer in workload if self.runs_whole(layer)]
        notes = []
        if layers and self.timer.attention_library.name != self.library_name:
            values = {"library": self.library_name, "other": self.timer.attention_library.name}
            notes.append(
                Message("gpu.attention_library", "attention kernels of {library} are those of {other}", values)
            )
        unmeasured: dict[str, str] = {}
        for layer in layers:
            fused, x = self._fused_attention(layer), layer.lower(1)
            assert fused is not None
            assert isinstance(x, Attended)
            unmeasured |= fused.unmeasured("decode" if x.queries == 1 else "prefill")
            if x.causal and 1 < x.queries < x.context:
                unmeasured["queries after a cached prefix"] = "tiles as without one, with a split context"
        template = "attention: {what} not measured: {reason}"
        notes += [
            Message("gpu.attention_unmeasured", template, {"what": what, "reason": reason})
            for what, reason in unmeasured.items()
        ]
        return notes

    def idle_keys(self) -> dict[str, Message | str]:
        """What of the data sheet no equation uses."""
        reasons = {
            "sm.l1": "tiles are kept in shared memory (sm.shared)",
            "memories.l2.bandwidth": "L2 time follows from 64 B per cycle and SM and the generation's l2_share",
            "memories.l2.partitions": "the usable part of L2 is the generation's l2_kept",
        }
        return {key: Message(f"unused.{key}", reason) for key, reason in reasons.items()}

    def why_unused(self, property: str) -> Message | str:
        """The library has kernels for some formats, and its kernels skip zeros in the 2:4 format alone."""
        library = self.timer.library.name
        if property == "dtype":
            return library
        if property.rpartition(".")[2] in ("density", "pattern", "format"):
            template = "kernels of {library} on {generation} are dense"
            if self._sparse_formats():
                template += ", except for weights in pattern and format 2:4"
            if self.spec.csr is not None:
                template += ", except for fp32 weights in format csr of fully connected layers, with batch size 1"
            values = {"library": library, "generation": self.timer.generation.name}
            return Message("unused.dense_kernels", template, values)
        return super().why_unused(property)

    def advice(self, plan: NetworkPlan, name: str) -> tuple[Message, ...]:
        """What fills the last wave: the rows that the same waves would have held."""
        layer, batch = plan.workload[name], plan.batch
        kernel = plan[name]
        assert isinstance(kernel, GpuKernelPlan)
        fill = kernel.fill
        if self.spec.streams > 1 or not layer.macs or fill > 0.97:
            return ()  # tiles of other streams fill the waves
        now = _seconds(self.plan(layer, batch)) / batch
        sizes = sorted({*range(batch + 1, batch + 1 + min(batch, 64)), 2 * batch, 4 * batch})
        tries = {size: _seconds(self.plan(layer, size)) / size for size in sizes if layer.macs * size <= MAX_MACS}
        if not tries:
            return ()
        best = min(tries.values())
        size = next(size for size, seconds in tries.items() if seconds <= 1.01 * best)
        if best > 0.98 * now:
            template = "the waves are {fill:.0%} full; no batch size up to {most} takes less time per input"
            return (Message("gpu.waves_at_best", template, {"fill": fill, "most": 4 * batch}),)
        template = "the waves are {fill:.0%} full: batch size {batch} takes {less:.0%} less time per input here"
        return (Message("gpu.wave_batch", template, {"fill": fill, "batch": size, "less": 1 - tries[size] / now}),)


def _seconds(plan: LayerPlan) -> float:
    assert isinstance(plan, GpuKernelPlan)
    return plan.seconds


def _channels(layer: Layer) -> int:
    """Input channels of a convolution, or of the one that it is the gradient of."""
    x = layer.lower(1)
    shape = (x.geometry or x.of) if isinstance(x, Product) else None
    return 0 if shape is None else shape.c
