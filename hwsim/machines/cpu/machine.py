"""The processor: cycles of each thread, shared caches and DRAM, and concurrent streams."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from math import ceil, exp
from typing import Any, ClassVar

from hwsim.errors import Fault, InputError, nearest
from hwsim.machines.base import Machine, NetworkPlan
from hwsim.machines.cpu.core import core_named
from hwsim.machines.cpu.core_model import CoreModel, core_model_of
from hwsim.machines.cpu.costs import ALONE, BOUNDS, Place, Share, ThreadCost, fused, level_of, spend
from hwsim.machines.cpu.energy import energy_of
from hwsim.machines.cpu.library import COSTS, CpuLibrary, load_library
from hwsim.machines.cpu.nest import nest_of
from hwsim.machines.cpu.network import contended, places_of
from hwsim.machines.cpu.spec import CpuMemorySpec, CpuSpec
from hwsim.machines.cpu.threads import STARTING, program_of, shares_of
from hwsim.machines.cpu.work import Work, work_of
from hwsim.machines.limits import check_size
from hwsim.machines.plan import Action, Constant, LayerPlan, Traffic
from hwsim.machines.plan_cache import PlanCache
from hwsim.mapping import Mapping as LoopNest, Problem, counts
from hwsim.message import Message, Row
from hwsim.units import Rate, format_count
from hwsim.workload import Layer, Workload
from hwsim.workload.number_format import wider_format
from hwsim.workload.product import Product

__all__ = ["Cpu"]

#: Keys of each memory level that the cost model reads.
_READ = {
    "l1": ("size", "load"),
    "l2": ("size", "bandwidth"),
    "l3": ("size", "core", "bandwidth", "latency", "kept", "cores"),
    "dram": ("core", "bandwidth"),
}


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
    spec_class: ClassVar[type[CpuSpec]] = CpuSpec
    spec: CpuSpec

    def _check(self) -> None:
        spec = self.spec
        library = load_library(spec.library, self.folder)
        if spec.costs:
            types = {
                dtype: kind.model_copy(update={"costs": kind.costs | spec.costs_of(dtype)})
                for dtype, kind in library.types.items()
            }
            library = library.model_copy(update={"types": types})
        self.spec = spec.model_copy(update={"energy": energy_of(spec)})
        self.use(library)

    def use(self, library: CpuLibrary) -> None:
        """Replace the library, for fits and what-ifs; clears the plan cache."""
        self.library = library
        self.cache = PlanCache()
        self._models: dict[tuple[str, bool], CoreModel] = {}

    @property
    def core_clock(self) -> str:
        """The clock of the cores."""
        return self.spec.clock

    @property
    def hz(self) -> float:
        """The clock of the cores in Hz."""
        return float(self.spec.clock_hz(self.spec.clock))

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

    def core_model(self, dtype: str, efficient: bool = False) -> CoreModel:
        """The model of one of this machine's cores for a number format."""
        key = (dtype, efficient)
        if key not in self._models:
            try:
                self._models[key] = core_model_of(self.spec, self.library, dtype, efficient)
            except ValueError as error:
                raise InputError([Fault(self.document.where(("precision",)), "precision", str(error))]) from None
        return self._models[key]

    def _l3_share(self) -> float:
        """Bytes of L3 per core."""
        level = self.spec.memories["l3"]
        return int(level.size or 0) / (level.cores or self._socket_cores)

    @property
    def _socket_cores(self) -> int:
        return self.spec.all_cores // self.spec.sockets

    def shares(self, work: Work | None, model: CoreModel) -> list[Share]:
        """The share of each thread; the first is the largest."""
        return shares_of(work, model, self.spec.threads_of_stream)

    def planned_on(self) -> dict[str, Any]:
        """Everything but prices, TDP and idle power, which no plan depends on."""
        return {key: value for key, value in super().planned_on().items() if key not in ("energy", "tdp", "idle")}

    def _plan(self, layer: Layer, batch: int) -> LayerPlan:
        return self._plan_in(layer, batch, CpuContext(streams=self._streams))

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

    @property
    def _streams(self) -> float:
        streams = self.spec.streams
        return float(self.spec.all_cores if streams == "all" else streams)

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
        weights = sum(layer.weights_read(batch) * self.core_model(self.dtype_of(layer)).word for layer in layers)
        places = places_of(workload, self.library.layout)
        spec, streams = self.spec, self._streams
        cycles = self._cycles(layers, batch, weights, places, False)
        if spec.memories["l3"].kept is not None:
            places = self._lost(layers, batch, weights, places, sum(cycles) / self.hz)
            cycles = self._cycles(layers, batch, weights, places, False)
        time = sum(cycles) / self.hz
        if spec.streams == "all" and spec.efficient is not None:
            slow = sum(self._cycles(layers, batch, weights, places, True)) / (self.hz * spec.efficient.clock)
            streams = spec.sockets * (spec.cores + spec.efficient.cores * (time / slow if slow else 1.0))
        extra = self._waits(layers, batch, weights, cycles, streams)
        contexts = [
            CpuContext(weights, places[layer.name], more, streams) for layer, more in zip(layers, extra, strict=True)
        ]
        return contexts, time + sum(extra) / self.hz

    def _lost(
        self, layers: list[Layer], batch: int, weights: int, places: dict[str, Place], time: float
    ) -> dict[str, Place]:
        """Places with the fraction of each layer's weights that is evicted from L3 before the next inference.

        Other programs and the network itself evict lines: 1 - exp(-time / kept - bytes / L3).
        """
        level = self.spec.memories["l3"]
        model = {layer.name: self.core_model(self.dtype_of(layer)) for layer in layers}
        most = max((layer.inputs + layer.outputs) * model[layer.name].word * batch for layer in layers)
        losses = {}
        for layer in layers:
            beside = max(0, weights - layer.weights * model[layer.name].word) + most
            gone = 1 - exp(-time / float(level.kept or 1) - beside / float(level.size or 1))
            losses[layer.name] = replace(places[layer.name], lost=round(gone, 3))
        return losses

    def _cycles(
        self, layers: list[Layer], batch: int, weights: int | None, places: dict[str, Place], efficient: bool
    ) -> list[float]:
        """Cycles of the busiest thread of each layer, on cores of this or the smaller kind."""
        totals: dict[tuple[object, ...], float] = {}
        cycles = []
        for layer in layers:
            key = (places[layer.name], *layer.likeness)
            if key not in totals:
                model, work = self.core_model(self.dtype_of(layer), efficient), work_of(layer, batch)
                share = self.shares(work, model)[0]
                home = self._home(layer, work, share, model, weights)
                totals[key] = spend(layer, work, model, batch, share, home, places[layer.name]).total
            cycles.append(totals[key])
        return cycles

    def _home(
        self, layer: Layer, work: Work | None, share: Share, model: CoreModel, weights: int | None
    ) -> tuple[float, float]:
        """Bytes of the network's weights in a thread's own cache, by its columns, and in the shared one."""
        if not layer.weights or work is None:
            return 0.0, 0.0
        stored = max(layer.weights * model.word, weights or 0)
        own = stored * share.n / work.n
        beside = min(share.threads, self.spec.memories["l3"].cores or self._socket_cores)
        return own, min(float(stored), own * beside)

    def _from_dram(self, layer: Layer, work: Work | None, batch: int, weights: int | None) -> dict[Action, int]:
        """DRAM words of a layer: activations that L2 and L3 cannot hold, weights that L3 cannot hold.

        Tiled kernels have one place for all weights (`level_of`); those of generated ones stay in part, as the network
        goes round them: half of L3 is theirs.
        """
        model, library = self.core_model(self.dtype_of(layer)), self.library
        inputs, stored, outputs = layer.inputs * batch, layer.weights_read(batch), layer.outputs * batch
        words: dict[Action, float] = {}
        x = layer.lower(batch)
        if isinstance(x, Product) or x.kind == "pool" or not library.fuses:
            values = inputs + outputs
            over = max(0.0, values - self._room(model) / model.word)
            if over:
                words["dram", "ifmap", "read"] = over * inputs / values
                words["dram", "ofmap", "update"] = over * outputs / values
        if stored and library.generated:
            size = max(stored * model.word, weights or 0)
            words["dram", "weight", "read"] = stored * max(0.0, 1 - self._l3_share() * self._socket_cores / (2 * size))
        elif stored and work is not None:
            share = self.shares(work, model)[0]
            far = level_of(model, self._home(layer, work, share, model, weights)) == "dram"
            words["dram", "weight", "read"] = stored * far
        return {key: ceil(n) for key, n in words.items() if n}

    def _room(self, model: CoreModel) -> float:
        """Bytes of L2 and L3 for the activations of a stream: those of its cores, at most its share of L3."""
        level, threads = self.spec.memories["l3"], self.spec.threads_of_stream
        shared = level.cores or self._socket_cores
        part = self._l3_share() * self._socket_cores / max(1.0, self._streams / self.spec.sockets)
        return threads * model.l2_size + min(part, int(level.size or 0) * -(-threads // shared))

    def _waits(
        self, layers: list[Layer], batch: int, weights: int | None, cycles: list[float], streams: float
    ) -> list[int]:
        """Cycles that each layer waits for DRAM: for its own traffic and for contention with other streams."""
        bandwidth = self._bandwidth()
        if bandwidth is None:
            return [0] * len(layers)
        sizes: dict[tuple[object, ...], float] = {}
        moved = []
        for layer in layers:
            key = layer.likeness
            if key not in sizes:
                words = self._from_dram(layer, work_of(layer, batch), batch, weights)
                sizes[key] = float(sum(words.values()) * self.core_model(self.dtype_of(layer)).word)
            moved.append(sizes[key])
        core = self.spec.memories["dram"].core
        alone = bandwidth if core is None else min(bandwidth, self.spec.threads_of_stream * self._speed(core))
        waits = [max(0, ceil(size / alone * self.hz - own)) for size, own in zip(moved, cycles, strict=True)]
        if self.library.generated:
            beside = max(1.0, streams / self.spec.sockets)
            reached = bandwidth * self.library.dram_efficiency
            together = contended(moved, sum(cycles) / self.hz, reached, beside, self.hz)
            # The contended wait already includes the stream's own transfer time.
            others = max(0.0, 1 - sum(waits) / (sum(together) or 1))
            waits = [own + ceil(more * others) for own, more in zip(waits, together, strict=True)]
        return waits

    def _speed(self, rate: Rate) -> float:
        """Bytes per second."""
        return float(rate.bytes_per_second(Fraction(self.spec.clock_hz(self.core_clock)), 8))

    def _bandwidth(self) -> float | None:
        """DRAM bandwidth in bytes per second of the sockets that a stream runs on; None if unlimited."""
        rate = self.spec.memories["dram"].bandwidth
        return None if rate is None else self._speed(rate) * -(-self.spec.threads_of_stream // self.spec.cores)

    def _plan_in(self, layer: Layer, batch: int, context: CpuContext) -> LayerPlan:
        dtype = self.dtype_of(layer)
        model = self.core_model(dtype)
        if self.spec.precision != "workload":
            layer = layer.with_dtype(input=dtype, weight=dtype, output=dtype)
        work = work_of(layer, batch)
        shares = self.shares(work, model)
        costs: dict[Share, ThreadCost] = {}
        for share in shares:
            if share not in costs:
                home = self._home(layer, work, share, model, context.weights)
                costs[share] = spend(layer, work, model, batch, share, home, context.place)
        cycles = [{stage: ceil(n) for stage, n in costs[share].cycles.items() if n > 0} for share in shares]
        actions, problem, mapping = self._counts(layer, work, model, shares[0], batch)
        far = self._from_dram(layer, work, batch, context.weights)
        actions |= far
        busy = sum(n for thread in cycles for stage, n in thread.items() if stage not in STARTING)
        busy += cycles[0].get("call", 0) + len(shares) * cycles[0].get("threads", 0)
        if busy:
            actions["core", "", "cycle"] = busy
        macs = layer.macs * batch
        skipped = macs - work.live if work is not None and self.library.padding == "skip" else 0
        if macs:
            actions["mac", "", dtype] = macs - skipped
            if skipped:
                actions["mac", "", "padding"] = skipped
        first = cycles[0]
        bits = 8 * model.word
        # Threads that share rows read the same weights: an L3 fetches them once for all of its cores.
        same = min(len(shares), self.spec.memories["l3"].cores or self._socket_cores)
        servers = partial(self._servers, same=same if work is not None and shares[0].n == work.n else 1)
        # A maximum of 8-bit values needs no scaling; a sum of them does.
        x = layer.lower(batch)
        scaled = dtype == "int8" and (isinstance(x, Product) or x.kind == "elementwise")
        bounds = BOUNDS | ({"outputs": "requantize"} if scaled else {})
        return LayerPlan(
            layer,
            batch,
            self._algorithm(layer, work, model, len(shares)),
            program_of(cycles, context.shared, partial(self.timebase.ticks, self.core_clock), servers),
            actions,
            macs=macs,
            macs_live=layer.macs_live * batch,
            macs_executed=macs - skipped,
            compute_cycles=sum(first.get(stage, 0) for stage in ("hidden", "compute", "latency")),
            peak_macs_per_cycle=max(1, ceil(model.rate * self.spec.cores * self.spec.sockets)),
            dram_bytes=model.word * sum(far.values()),
            bounds=bounds | {"": "fused"},
            word_bits={"ifmap": bits, "weight": bits, "ofmap": bits},
            problem=problem,
            mapping=mapping,
            columns=self._columns(first, context.shared, len(shares)),
            why=self._why(layer, model, first, context, shares, bounds),
            streams=context.streams,
        )

    def _counts(
        self, layer: Layer, work: Work | None, model: CoreModel, share: Share, batch: int
    ) -> tuple[dict[Action, int], Problem | None, LoopNest | None]:
        """Words that each cache moves, with the loop nest that they follow from."""
        if work is None:
            if self.library.fuses and fused(layer.lower(batch)):
                return {}, None, None
            level = "l2" if (layer.inputs + layer.outputs) * model.word * batch <= model.l2_size else "l3"
            return (
                {(level, "ifmap", "read"): layer.inputs * batch, (level, "ofmap", "update"): layer.outputs * batch},
                None,
                None,
            )
        problem, mapping = nest_of(layer, work, model, share, batch)
        actions = counts(problem, mapping).actions
        moves = {key: n for key, n in actions.items() if key[2] in ("read", "fill", "update", "drain") and n}
        # Rows that experts share unevenly have no one nest: the words are those of the fullest.
        return (moves, problem, mapping) if problem.macs == work.macs else (moves, None, None)

    def _servers(self, resource: str, threads: int, same: int = 1) -> int:
        """Cores that a shared memory serves at full bandwidth together; `same` of them read the same DRAM data."""
        memory = self.spec.memories[resource]  # type: ignore[index]
        if memory.bandwidth is None or memory.core is None:
            return threads
        hz = Fraction(self.spec.clock_hz(self.core_clock))
        full = int(memory.bandwidth.bytes_per_second(hz, 8) / memory.core.bytes_per_second(hz, 8))
        return max(1, full * (same if resource == "dram" else 1))

    def _algorithm(self, layer: Layer, work: Work | None, model: CoreModel, threads: int) -> str:
        """The kernel in words."""
        if work is None:
            kind = (
                "fused into the previous layer" if self.library.fuses and fused(layer.lower(1)) else "elementwise pass"
            )
            return f"{kind}, {self.library.name}"
        kind = "GEMM"
        if work.conv:
            padded = work.channels % model.ports.depth and model.type.efficiency is None
            kind = "depthwise" if work.depthwise else "im2col convolution" if padded else "direct convolution"
        return f"{kind} in {model.dtype} by {model.sequence}, {format_count(threads, 'thread')}, {self.library.name}"

    def _columns(self, first: dict[str, int], shared: int, threads: int) -> dict[str, float | int | str]:
        """Cycles of the busiest thread by bound."""
        cycles: Counter[str] = Counter()
        for stage, n in (*first.items(), ("shared", shared)):
            cycles[BOUNDS[stage]] += n
        names = dict.fromkeys(BOUNDS.values())
        columns: dict[str, float | int | str] = {"threads": threads}
        return columns | {f"{name.replace(' ', '_')}_cycles": cycles[name] for name in names}

    def _why(
        self,
        layer: Layer,
        model: CoreModel,
        first: dict[str, int],
        context: CpuContext,
        shares: list[Share],
        bounds: dict[str, str],
    ) -> tuple[Message, ...]:
        total = sum(first.values()) + context.shared or 1
        cycles: Counter[str] = Counter()
        for stage, n in (*first.items(), ("shared", context.shared)):
            cycles[bounds[stage]] += n
        parts = {word: n / total for word, n in cycles.most_common() if n}
        template = f"cycles of the busiest thread: {'{shares:.0%}' if parts else 'none'}"
        messages = [Message("cpu.cycles", template, {"shares": parts})]
        if layer.macs:
            template = "{sequence}: {rate:.4g} MACs per cycle per core ({format}), {used} of {cores} cores"
            values = {
                "sequence": model.sequence,
                "rate": float(model.rate),
                "format": model.dtype,
                "used": len(shares),
                "cores": self.spec.cores * self.spec.sockets,
            }
            messages.append(Message("cpu.rate", template, values))
        return tuple(messages)

    def advice(self, plan: NetworkPlan, name: str) -> tuple[Message, ...]:
        """Time and bottleneck of the layer in each number format that core and library support."""
        layer, batch, context = plan.workload[name], plan.batch, plan.context(name)
        if not layer.macs:
            return ()
        rows: list[Row] = []
        core = core_named(self.spec.core)
        stored = sum(other.weights_read(batch) for other in plan.workload)
        for dtype in self.library.types:
            if core.best(dtype) is None:
                continue
            model, work = self.core_model(dtype), work_of(layer, batch)
            share = self.shares(work, model)[0]
            home = self._home(layer, work, share, model, stored * model.word)
            cost = spend(layer, work, model, batch, share, home, context.place)
            words: dict[str, float] = {}
            for stage, n in cost.cycles.items():
                word = "requantize" if dtype == "int8" and stage == "outputs" else BOUNDS[stage]
                words[word] = words.get(word, 0.0) + n
            bound, most = max(words.items(), key=lambda item: item[1])
            seconds = float(cost.total / self.hz)
            rows.append({"format": dtype, "latency_s": seconds, "bottleneck": bound, "share": most / cost.total})
        head = "time in each number format, without waiting for DRAM:"
        return (Message("cpu.formats", head, rows=tuple(rows)),)

    def notes(self, plan: NetworkPlan) -> tuple[Message, ...]:
        """The library with its expected error, the clock, threads and streams."""
        spec, library = self.spec, self.library
        rule = "" if "clocks" in spec.model_fields_set else " (estimated sustained clock under vector load)"
        streams = self.contexts(plan.workload, plan.batch)[0].streams
        equal = "equivalent to " if streams % 1 else ""
        return (
            Message(
                "cpu.library",
                "library {library}: expected error about {uncertainty:.0%}; {source}",
                {"library": library.name, "uncertainty": library.uncertainty, "source": library.source},
            ),
            Message(
                "cpu.clock",
                f"cores at {{clock_hz:si Hz}}{rule}; {{threads:count thread}} per inference, "
                f"{equal}{{streams:.4g}} concurrent inference{'s' * (streams != 1)}",
                {"clock_hz": float(self.hz), "threads": spec.threads_of_stream, "streams": streams},
            ),
        )

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
        if self.library.lines is None:
            template = "the model of {library} has no L3 latency term"
            idle["memories.l3.latency"] = Message("unused.l3_latency", template, {"library": self.library.name})
        return idle

    def why_unused(self, property: str) -> Message | str:
        """Kernels are dense, in the formats of the library."""
        if property == "dtype":
            return self.library.name
        if property.rpartition(".")[2] in ("density", "pattern", "format"):
            return Message("unused.dense_kernels", "kernels of {library} are dense", {"library": self.library.name})
        if property == "activation":
            template = "{library} applies it with a lookup table while scaling the outputs"
            return Message("unused.activation", template, {"library": self.library.name})
        return super().why_unused(property)

    def traffic(self, plan: LayerPlan) -> tuple[Traffic, ...]:
        """DRAM of the sockets that an inference runs on."""
        bandwidth = self._bandwidth()
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
