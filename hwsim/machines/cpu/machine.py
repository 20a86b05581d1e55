"""The processor: cycles of each thread, shared caches and DRAM, and concurrent streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from hwsim.energy.origin import EnergyOrigin
from hwsim.errors import Fault, InputError, nearest
from hwsim.machines.base import Machine, NetworkPlan
from hwsim.machines.cpu.context import CpuContext, contexts_of
from hwsim.machines.cpu.core import core_named
from hwsim.machines.cpu.core_model import CoreModel, core_model_of
from hwsim.machines.cpu.costs import BOUNDS
from hwsim.machines.cpu.energy import energy_of
from hwsim.machines.cpu.kernel import Kernel, kernel_of
from hwsim.machines.cpu.library import COSTS, SIGNS, CpuLibrary, library_names, load_library
from hwsim.machines.cpu.placement import Placement
from hwsim.machines.cpu.planner import csr_plan, plan_of
from hwsim.machines.cpu.spec import CpuMemorySpec, CpuSpec
from hwsim.machines.cpu.work import fused, is_hybrid, signs_of
from hwsim.machines.csr import csr_product
from hwsim.machines.limits import check_size
from hwsim.machines.nearness import Conditions, Level
from hwsim.machines.plan import Constant, LayerPlan, Traffic
from hwsim.machines.plan_cache import PlanCache
from hwsim.machines.resident import resident_weights, stored_once
from hwsim.message import Message, Row
from hwsim.workload import Layer, Workload
from hwsim.workload.number_format import wider_format

__all__ = ["Cpu"]

#: Keys of each memory level that the cost model reads.
_READ = {
    "l1": ("size", "load"),
    "l2": ("size", "bandwidth"),
    "l3": ("size", "core", "bandwidth", "latency", "kept", "cores"),
    "dram": ("core", "bandwidth", "latency"),
}
_HYBRID = "hybrid"  # 8-bit weights, float activations
_THREADS, _USE = ("threads",), ("library", "format", "use", "part")


class Cpu(Machine):
    """A processor with an inference library.

    Attributes
    ----------
    spec : CpuSpec
        The machine file.
    library : CpuLibrary
        Tiles and costs of the software.
    """

    kind: ClassVar[str] = "cpu"
    can_host: ClassVar[bool] = True
    spec_class: ClassVar[type[CpuSpec]] = CpuSpec
    residuals: ClassVar[Path | None] = Path(__file__).parent / "residuals.csv"
    measured_layers: ClassVar[frozenset[str]] = frozenset(
        {"convolutions", "depthwise convolutions", "matrix products", "layers without MACs"}
    )
    nearness: ClassVar[Mapping[str, tuple[Level, ...]]] = {"latency": (
        Level(("machine", *_USE), "network", "this processor and library", between=_THREADS),
        Level(("core", "costs", *_USE), "machine", "this library on other processors with this core", between=_THREADS),
        Level(("costs", *_USE), "machine", "this library on other cores that it was measured on", between=_THREADS),
        Level(_USE, "core", "this library with the costs of other cores", between=_THREADS),
        Level((), "library", "other cores and libraries", measured=False),
    )}  # fmt: skip
    run_keys: ClassVar[tuple[str, ...]] = ("library", "precision", "streams", "threads")
    spec: CpuSpec

    def _check(self) -> None:
        spec = self.spec
        library = load_library(spec.library, self.folder)
        library = library.at(spec.core) if isinstance(spec.core, str) else library
        if spec.costs:
            types = {
                dtype: kind.with_costs(spec.costs_of(dtype), spec.costs_by_signs)
                for dtype, kind in library.types.items()
            }
            library = library.model_copy(update={"types": types})
        self.spec = spec.model_copy(update={"energy": energy_of(spec)})
        self.use(library)

    def use(self, library: CpuLibrary) -> None:
        """Replace the library, for fits and what-ifs; clears the plan cache."""
        self.library = library
        self.cache = PlanCache()
        self._models: dict[tuple[str, bool, str], CoreModel] = {}

    def as_host(self) -> Cpu:
        """One inference at a time; nothing is fused, as the layer before ran elsewhere."""
        if self.spec.streams != 1:
            raise InputError(
                f"must have streams: 1, as the array runs one inference at a time, not {self.spec.streams}"
            )
        self.use(self.library.model_copy(update={"fuses": False}))
        return self

    @property
    def core_clock(self) -> str:
        """The clock of the cores."""
        return self.spec.clock

    @property
    def hz(self) -> float:
        """The clock of the cores in Hz."""
        return self.spec.hz

    @property
    def float_format(self) -> str:
        """The first of bf16, fp16 and fp32 that the library runs on the core."""
        core = core_named(self.spec.core)
        able = [name for name in self.library.types if core.best(name) is not None]
        return next((name for name in ("bf16", "fp16") if name in able), "fp32")

    def dtype_of(self, layer: Layer) -> str:
        """The number format of a layer: `precision` of the file, else that of its weights or inputs."""
        if self.spec.precision != "workload":
            return self.spec.precision
        own = layer.weight.dtype if layer.macs else layer.input.dtype
        core = core_named(self.spec.core)
        able = [name for name in self.library.types if core.best(name) is not None]
        dtype = wider_format(own, able)
        if dtype not in able:
            if not layer.macs:
                return "fp32" if "fp32" in self.library.types else next(iter(self.library.types))
            formats = ", ".join(able)
            message = (
                f"{self.library.name} on this core runs {formats}, not {own}: quantize the network, or run it in "
                f"another format, as with --set precision={able[0] if able else 'fp32'}{nearest(own, able)}"
            )
            raise InputError([Fault("", layer.name, message)])
        return dtype

    def core_model(self, dtype: str, efficient: bool = False, signs: str = "") -> CoreModel:
        """The model of one of this machine's cores for a number format, and for the signs of 8-bit operands."""
        key = (dtype, efficient, signs)
        if key not in self._models:
            try:
                self._models[key] = core_model_of(self.spec, self.library, dtype, efficient, signs)
            except ValueError as error:
                raise InputError([Fault(self.document.where(("precision",)), "precision", str(error))]) from None
        return self._models[key]

    def kernel(self, layer: Layer, batch: int, efficient: bool = False) -> Kernel:
        """The kernel of a layer on the cores, or on the smaller ones."""
        return kernel_of(layer, batch, self._model(layer, efficient), self.spec.threads_of_stream)

    def _model(self, layer: Layer, efficient: bool = False) -> CoreModel:
        """The model of a core for the format of a layer, and for its signs."""
        dtype = self.dtype_of(layer)
        return self.core_model(dtype, efficient, signs_of(layer) if dtype == "int8" else "")

    def _kernels(self, layers: list[Layer], batch: int, efficient: bool = False) -> list[Kernel]:
        """The kernel of each layer; layers that are alike have one."""
        kernels: dict[tuple[object, ...], Kernel] = {}
        for layer in layers:
            if layer.likeness not in kernels:
                kernels[layer.likeness] = self.kernel(layer, batch, efficient)
        return [kernels[layer.likeness] for layer in layers]

    def planned_on(self) -> dict[str, Any]:
        """Everything but prices, TDP and idle power, which no plan depends on."""
        return {key: value for key, value in super().planned_on().items() if key not in ("energy", "tdp", "idle")}

    def _plan(self, layer: Layer, batch: int) -> LayerPlan:
        return self._plan_in(layer, batch, CpuContext(streams=self.spec.stream_count))

    def runs_as(self, layer: Layer) -> str | None:
        """One format for all tensors of a layer."""
        return self.dtype_of(layer)

    def activation_bits(self, workload: Workload) -> dict[str, int]:
        """Bits of the outputs of kernels that run in another format than the network's."""
        return {
            layer.name: 8 * self.core_model(self.dtype_of(layer)).word
            for layer in workload
            if self.spec.precision != "workload" or (layer.macs and self.dtype_of(layer) != layer.output.dtype)
        }

    @property
    def library_name(self) -> str:
        """The inference library."""
        return self.library.name

    def libraries(self) -> tuple[str, ...]:
        """All that come with hwsim."""
        return library_names()

    @property
    def energy_origin(self) -> EnergyOrigin:
        """Prices are shares of the TDP, in which idle power may be a guess."""
        return EnergyOrigin("processor + DRAM", "estimate")

    def hosts(self, workload: Workload) -> Mapping[str, str]:
        """Layers that the library fuses into the previous one."""
        hosts: dict[str, str] = {}
        before = ""
        for layer in workload:
            if self.library.fuses and fused(layer.lower(1)):
                producers = workload.inputs[layer.name] if workload.graph else (before,)
                host = next((name for name in producers if name in workload), "")
                if host:
                    hosts[layer.name] = hosts.get(host, host)
            before = layer.name
        return hosts

    def contexts(self, workload: Workload, batch: int) -> Sequence[CpuContext]:
        """Weight placement, layouts, DRAM contention and streams of each layer."""
        key = (workload, batch)
        if key not in self.cache.memo:
            self.cache.memo[key] = self._contexts(workload, batch)[0]
        contexts: list[CpuContext] = self.cache.memo[key]
        return contexts

    def estimate(self, workload: Workload, batch: int = 1) -> tuple[float, float]:
        """Seconds of an inference by its busiest threads, and the number of concurrent ones; no counts, no events."""
        contexts, seconds = self._contexts(workload, batch)
        return seconds, contexts[0].streams

    def _contexts(self, workload: Workload, batch: int) -> tuple[list[CpuContext], float]:
        """The network context of each layer, and the total seconds."""
        layers = list(workload)
        for layer in layers:
            check_size(layer, batch)
        both = self.spec.streams == "all" and self.spec.efficient is not None
        smaller = self._kernels(layers, batch, efficient=True) if both else []
        return contexts_of(workload, self.spec, self._kernels(layers, batch), smaller)

    def _plan_in(self, layer: Layer, batch: int, context: CpuContext) -> LayerPlan:
        kernel = self.kernel(layer, batch)
        if self.spec.precision != "workload":
            dtype = kernel.model.dtype
            kernel = replace(kernel, layer=layer.with_dtype(input=dtype, weight=dtype, output=dtype))
        csr, dtype = self.spec.csr, kernel.model.dtype
        product = csr_product(layer, batch, 32) if csr is not None and dtype == "fp32" else None
        if csr is not None and product is not None and self.spec.stream_count == 1:
            return csr_plan(kernel, csr, product, self.hz, partial(self.timebase.ticks, self.core_clock))
        return plan_of(kernel, context, self.spec, partial(self.timebase.ticks, self.core_clock))

    def advice(self, plan: NetworkPlan, name: str) -> tuple[Message, ...]:
        """Time and bottleneck of the layer in each number format that core and library support."""
        layer, batch, context = plan.workload[name], plan.batch, plan.context(name)
        if not layer.macs:
            return ()
        rows: list[Row] = []
        core = core_named(self.spec.core)
        stored = stored_once((other, other.weights_read(batch)) for other in plan.workload)
        formats = [(dtype, "") for dtype in self.library.types if core.best(dtype) is not None]
        formats += [("int8", signs) for signs in SIGNS if "int8" in self.library.types]
        for dtype, signs in formats:
            model = self.core_model(dtype, signs=signs)
            if model.signs != signs:
                continue
            kernel = kernel_of(layer, batch, model, self.spec.threads_of_stream)
            placement = Placement(self.spec, stored * kernel.model.word)
            cost = placement.cost(kernel, kernel.shares[0], context.place)
            words: dict[str, float] = {}
            for stage, n in cost.cycles.items():
                word = "requantize" if dtype == "int8" and stage == "outputs" else BOUNDS[stage]
                words[word] = words.get(word, 0.0) + n
            bound, most = max(words.items(), key=lambda item: item[1])
            seconds = float(cost.total / self.hz)
            rows.append({"format": model.label, "latency_s": seconds, "bottleneck": bound, "share": most / cost.total})
        head = "time in each number format, without waiting for DRAM:"
        return (Message("cpu.formats", head, rows=tuple(rows)),)

    def format_of(self, layer: Layer) -> str:
        """The format, and the signs of 8-bit operands where they have kernels of their own."""
        model = self._model(layer)
        return _HYBRID if self.library.generated and is_hybrid(layer, model.dtype) else model.label

    def conditions(self, plan: NetworkPlan, number_format: str) -> Conditions:
        """Core, library, format, and whether it is the time of one inference or the pace of many."""
        spec = self.spec
        core = spec.core if isinstance(spec.core, str) else "your own core"
        use = "latency" if spec.stream_count == 1 else "throughput"
        part = "network" if len(plan) > 1 else "operator"
        named = {"core": core, "library": self.library.name, "format": number_format, "use": use, "part": part}
        if spec.costs_of(number_format) or core in self.library.cores:
            named["costs"] = "measured"
        if spec.costs_of(number_format) and spec.spread:  # written by a calibration
            named["machine"] = "calibrated"
        return {**named, "threads": spec.threads_of_stream}

    def notes(self, plan: NetworkPlan) -> tuple[Message, ...]:
        """The library, the clock, threads and streams."""
        spec, library = self.spec, self.library
        rule = "" if "clocks" in spec.model_fields_set else " (estimated sustained clock under vector load)"
        streams = self.contexts(plan.workload, plan.batch)[0].streams
        equal = "equivalent to " if streams % 1 else ""
        return (
            Message(
                "cpu.library",
                "library {library}: {source}",
                {"library": library.name, "source": library.source},
            ),
            Message(
                "cpu.clock",
                f"cores at {{clock_hz:si Hz}}{rule}; {{threads:count thread}} per inference, "
                f"{equal}{{streams:.4g}} concurrent inference{'s' * (streams != 1)}",
                {"clock_hz": float(self.hz), "threads": spec.threads_of_stream, "streams": streams},
            ),
            *self._hybrid_note(plan),
            *self._signs_notes(plan),
            *self._power_note(),
            *resident_weights(plan, "caches"),
        )

    def _hybrid_note(self, plan: NetworkPlan) -> tuple[Message, ...]:
        """Layers whose float activations are quantized as they run."""
        layers = tuple(layer.name for layer in plan.layers if self.format_of(layer) == _HYBRID)
        template = (
            "8-bit weights, float activations: a pass for their range and one that quantizes them; no row measures it"
        )
        return (Message("cpu.hybrid", template, layers=layers),) if layers else ()

    def _signs_notes(self, plan: NetworkPlan) -> tuple[Message, ...]:
        """How much longer 8-bit operands take whose signs the library's own kernels do not run."""
        slower: dict[str, dict[str, tuple[float, float]]] = {}
        for name in plan.names:
            layer, context = plan.workload[name], plan.context(name)
            kernel = self.kernel(layer, plan.batch)
            if kernel.model.signs:
                own = kernel_of(layer, plan.batch, self.core_model("int8"), self.spec.threads_of_stream)
                placement = Placement(self.spec, context.weights)
                cycles = [placement.cost(one, one.shares[0], context.place).total for one in (kernel, own)]
                signs = "s8u8" if layer.input.signed and layer.weight.signed is False else kernel.model.signs
                slower.setdefault(signs, {})[name] = (cycles[0], cycles[1])
        template = "{signs}{priced} takes {times:.1f} times as long here as u8s8: quantize with {instead}"
        activations, weights = "QUInt8 activations", "QInt8 weights"
        instead = {"u8u8": weights, "s8s8": activations, "s8u8": f"{activations} and {weights}"}
        return tuple(
            Message(
                "cpu.signs",
                template,
                {
                    "signs": signs,
                    "priced": " is priced as s8s8: it" if signs == "s8u8" else "",
                    "times": sum(n for n, _ in cycles.values()) / sum(n for _, n in cycles.values()),
                    "instead": instead[signs],
                },
                layers=tuple(cycles),
            )
            for signs, cycles in slower.items()
        )

    def _power_note(self) -> tuple[Message, ...]:
        """What peak and power are those of, where some cores are idle."""
        used, cores = self.spec.used_cores, self.spec.all_cores
        template = "peak, idle power and energy are those of {used} of {cores} cores; the others are not counted"
        return (Message("cpu.cores", template, {"used": used, "cores": cores}),) if used < cores else ()

    def idle_keys(self) -> dict[str, Message | str]:
        """Memory keys that the cost model does not read."""
        keys = [key for key in CpuMemorySpec.model_fields if key not in ("source", "fitted")]
        template = "the cost model reads only {keys} of {memory}"
        idle: dict[str, Message | str] = {
            f"memories.{level}.{key}": Message("unused.memory_key", template, {"keys": list(read), "memory": level})
            for level, read in _READ.items()
            for key in keys
            if key not in read
        }
        if self.spec.memories["l3"].kept is None:
            template = "what comes from DRAM anew follows from memories.l3.kept, which is not given"
            idle["memories.dram.latency"] = Message("unused.dram_latency", template)
        memories = self.spec.memories
        colder = memories["l3"].kept is not None and memories["dram"].latency is not None
        if self.library.lines is None and not colder:
            template = "the model of {library} has no L3 latency term"
            idle["memories.l3.latency"] = Message("unused.l3_latency", template, {"library": self.library.name})
        if self.spec.sockets > 1 and self.spec.used_cores <= self.spec.cores and self.spec.stream_count == 1:
            idle["sockets"] = Message("unused.sockets", "one inference runs on the cores of one socket here")
        return idle

    def why_unused(self, property: str) -> Message | str:
        """Kernels are dense, in the formats of the library."""
        if property == "dtype":
            return self.library.name
        if property.rpartition(".")[2] in ("density", "pattern", "format"):
            template = "kernels of {library} are dense"
            if self.spec.csr is not None:
                template += ", except for fp32 weights in format csr of fully connected layers, with batch size 1"
            return Message("unused.dense_kernels", template, {"library": self.library.name})
        if property == "activation":
            template = "{library} applies it with a lookup table while scaling the outputs"
            return Message("unused.activation", template, {"library": self.library.name})
        return super().why_unused(property)

    def traffic(self, plan: LayerPlan) -> tuple[Traffic, ...]:
        """DRAM of the sockets that an inference runs on."""
        bandwidth = self.spec.dram_bandwidth
        return () if bandwidth is None else (Traffic("dram", plan.dram_bytes, bandwidth),)

    def constants(self) -> tuple[Constant, ...]:
        """Costs of the library and rates of the core in each format that this machine runs."""
        library, precision = self.library, self.spec.precision
        core = core_named(self.spec.core)
        constants = []
        for dtype, kind in library.types.items():
            if precision not in ("workload", dtype) or core.best(dtype) is None:
                continue
            model = self.core_model(dtype)
            measured = {str(key) for key in self.spec.rates}
            where = self.spec.source if dtype in measured else core.source
            constants.append(Constant(f"core: {model.sequence}", f"{model.rate:.4g} MACs/cycle", where))
            head = f"{library.name} {dtype}"
            if kind.efficiency is not None:
                share = kind.efficiency * library.factor(model.sequence, "efficiency")
                constants.append(Constant(f"{head}: efficiency", f"{share:.4g}", library.source, library.fitted))
            own = self.spec.costs_of(dtype)
            for name in kind.costs:
                what = COSTS[name].removesuffix(" (loads, not cycles)")
                value = f"{model.cost(name):,.9g} {'times the' if name == 'tap' else 'cycles per'} {what}"
                where, fitted = (self.spec.source, None) if name in own else (library.source, library.fitted)
                constants.append(Constant(f"{head}: {name}", value, where, fitted))
        return tuple(constants)
