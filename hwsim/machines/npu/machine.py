"""The neural processor: what its engine takes of each layer, where weights come from, and the rest on the host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cached_property
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hwsim.errors import Fault, InputError
from hwsim.machines.base import NetworkPlan
from hwsim.machines.board import Board
from hwsim.machines.hardware import unused_by_arrays
from hwsim.machines.host import HOST, host_constants, plan_on_host
from hwsim.machines.memory import ARENA, MemoryUse
from hwsim.machines.nearness import Conditions, Level
from hwsim.machines.npu.coding import coded_bytes, why_zeros_unused
from hwsim.machines.npu.engine import Port, part_of
from hwsim.machines.npu.place import Place, Work
from hwsim.machines.npu.spec import BlockEngineSpec, NpuSpec
from hwsim.machines.npu.stages import NOTHING, Moved, Ticks, program_of
from hwsim.machines.npu.work import IN_PLACE, fused_function, operator_name, operators_of
from hwsim.machines.plan import Action, Constant, LayerPlan, Traffic
from hwsim.machines.precision import in_precision, precision_notes
from hwsim.message import Message
from hwsim.workload import Layer, Workload
from hwsim.workload.number_format import weight_formats

if TYPE_CHECKING:
    from hwsim.workload.arena import Arena

__all__ = ["Npu"]

_BIAS_BYTES = 10
"""A bias of 40 bits with its scale and shift."""


class Npu(Board):
    """A neural processor and the core beside it.

    Attributes
    ----------
    spec : NpuSpec
        The machine file.
    """

    kind: ClassVar[str] = "npu"
    spec_class: ClassVar[type[NpuSpec]] = NpuSpec
    no_nests: ClassVar[Message | None] = Message(
        "nests.npu", "engines of neural processors have no loop nest of a file"
    )
    measured_layers: ClassVar[frozenset[str]] = frozenset(
        {"convolutions", "depthwise convolutions", "matrix products", "layers without MACs"}
    )
    residuals: ClassVar[Path | None] = Path(__file__).parent / "residuals.csv"
    nearness: ClassVar[Mapping[str, tuple[Level, ...]]] = {
        "latency": (Level(("machine", "format", "use"), "network", "other networks on this processor"),),
        "power": (Level(("machine", "format", "use"), "network", "other networks on this processor"),),
    }
    run_keys: ClassVar[tuple[str, ...]] = ("precision", "power.supply", "power.use")
    _arena: tuple[Workload, int, Arena] | None = None
    spec: NpuSpec

    def _check(self) -> None:
        hosted = () if self.host is None else tuple(f"{HOST} {part}" for part in self.host.spec.energy.prices)
        parts = ("mac", "npu", *self.spec.memories, HOST, *hosted)
        self.spec = self.spec.model_copy(update={"energy": self.drawn(parts)})

    @property
    def has_spectra(self) -> bool:
        """Whether the host has."""
        return self.host is not None and self.host.has_spectra

    @property
    def core_clock(self) -> str:
        """The clock of the engine."""
        return self.spec.clock

    @cached_property
    def _clock_hz(self) -> Fraction:
        return self.spec.clock_hz(self.core_clock)

    def converted(self, network: Workload) -> Workload:
        """The network in the file's `precision`."""
        return in_precision(network, self.spec.precision)

    def planned_on(self) -> dict[str, Any]:
        """Power is the price of time; the host's plans are part of those here."""
        data = super().planned_on()
        data.pop("power", None)
        return data if self.host is None else data | {HOST: self.host.document.data}

    def takes(self, layer: Layer) -> bool:
        """Whether the engine runs a layer."""
        name = operator_name(layer)
        if name in IN_PLACE:
            return True
        if name not in self.spec.operators or layer.input.dtype not in self.spec.formats:
            return False
        weight = layer.weight.dtype
        return not layer.weights or weight == layer.input.dtype or weight in weight_formats(layer.input.dtype)

    def _why_not(self, layer: Layer) -> str:
        spec, name = self.spec, operator_name(layer)
        if name not in spec.operators:
            return f"{layer.op} is none of the operators that {spec.name} takes ({', '.join(spec.operators)})"
        formats = {layer.input.dtype, *([layer.weight.dtype] if layer.weights else [])}
        return f"{layer.op} in {' and '.join(sorted(formats))}: {spec.name} computes in {', '.join(spec.formats)}"

    def _not_taken(self, layer: Layer) -> str:
        return f"{self._why_not(layer)}, and there is no host: name one, as --set host=alif_e8_m55"

    @cached_property
    def _ticks(self) -> Ticks:
        return Ticks(self.spec, self.timebase)

    def _refused(self, workload: Workload) -> list[Fault]:
        """Layers that neither the engine nor its host runs, one of each operator and format."""
        faults, seen = [], set[tuple[str, str, str]]()
        for layer in workload:
            key = layer.op, layer.input.dtype, layer.weight.dtype
            if self.host is None or key in seen or self.takes(layer):
                continue
            seen.add(key)
            try:
                self.host.plan(layer, 1)
            except InputError as error:
                faults += [
                    Fault("", layer.name, f"{self._why_not(layer)}; its host: {one.message}") for one in error.faults
                ]
        return faults

    def rate(self, memory: str) -> Fraction | None:
        """Bytes a second of a memory; None where it is not told."""
        return self._ticks.rate(memory)

    def _port(self, memory: str, rows: bool = False) -> Port:
        """The port to a memory, where maps lie by rows if the host wrote them."""
        rate, spec = self.rate(memory), self.spec.memories[memory]
        return Port(1e6 if rate is None else float(rate / self._clock_hz), spec.delay, int(spec.burst), rows)

    def _work(self, layer: Layer, copied: bool = False, whole: bool = True) -> Work:
        """What one inference of a layer takes; its input may come from the host, its weights be there as it begins."""
        spec = self.spec
        maps, store = self._port(spec.home("maps")), self._port(spec.home("weights"))
        source = self._port(spec.home("copies") or spec.home("maps"), rows=True) if copied else maps
        scales = maps if whole else store
        ops, fused = operators_of(layer), fused_function(layer)
        parts = tuple(
            part_of(op, spec.engine, maps if number else source, maps, fused, scales if op.kind == "dense" else maps)
            for number, op in enumerate(ops)
        )
        reads = max((part.weight_reads for op, part in zip(ops, parts) if op.stored), default=1)
        stored = self._stored(layer) + _BIAS_BYTES * (layer.biases if layer.weights else 0)
        if layer.weights and layer.weights_read(1) != layer.weights:
            stored = -(-stored * layer.weights_read(1) // layer.weights)
        return Work(parts, stored, reads)

    def _placed(self, layer: Layer, place: Place) -> Work:
        """What it takes where it stands: scales come from the store of weights, unless all are copied sooner."""
        copied = place.copied_in > 0
        work = self._work(layer, copied)
        missing = work.weight_bytes - place.kept - place.loaded
        if missing <= 0 or (rate := self.rate(store := self.spec.home("weights"))) is None:
            return work
        there = self._work(layer, copied, whole=False)
        late = self.spec.memories[store].delay + float(missing / rate * self._clock_hz)
        return work if self.spec.prefetch and work.engine_cycles + late < there.engine_cycles else there

    def _stored(self, layer: Layer) -> int:
        """Bytes of a layer's weights as they are stored."""
        if isinstance(self.spec.engine, BlockEngineSpec) and self.takes(layer):
            return coded_bytes(layer.weight, layer.weights)
        return -(-layer.weights * layer.weight.bits // 8)

    def contexts(self, workload: Workload, batch: int) -> Sequence[Place]:
        """Weights on the chip, those that the layer before gave time to load, and copies to and from the host."""
        spec = self.spec
        faults = [
            Fault("", layer.name, self._not_taken(layer))
            for layer in workload
            if self.host is None and not self.takes(layer)
        ]
        faults += self._refused(workload)
        if faults:
            raise InputError(faults)
        left, idle, last = int(spec.cached or 0), Fraction(0), 0
        places: list[Place] = []
        layers = list(workload)
        mine = [False, *(self.takes(layer) for layer in layers), False]
        rate = self.rate(spec.home("weights"))
        assert rate is not None
        for number, layer in enumerate(layers):
            if not mine[number + 1]:
                places.append(Place(number == 0))
                idle = Fraction(0)
                continue
            copied_in = 0 if mine[number] else self._bytes(layer, "input")
            copied_out = 0 if mine[number + 2] else self._bytes(layer, "output")
            work = self._work(layer, copied_in > 0)
            kept = min(left, work.weight_bytes)
            left -= kept
            streamed = work.weight_bytes - kept
            loaded = min(streamed, int(spec.prefetch or 0), int(idle * rate))
            if loaded:
                places[last] = replace(places[last], ahead=loaded)
            places.append(Place(number == 0, kept, loaded, 0, copied_in, copied_out))
            if operator_name(layer) not in IN_PLACE:
                crossed = copied_in + copied_out if spec.home("copies") == spec.home("weights") else 0
                last, idle = number, self._idle(work, streamed - loaded + crossed, rate)
        return places

    def _idle(self, work: Work, loads: int, rate: Fraction) -> Fraction:
        """Seconds that the memory of weights has beside the engine, once a layer's own bytes are through."""
        if self.spec.in_turns:
            return Fraction(0)
        return max(Fraction(0), Fraction(work.engine_cycles) / self._clock_hz - Fraction(loads) / rate)

    @staticmethod
    def _bytes(layer: Layer, tensor: str) -> int:
        kind = getattr(layer, tensor)
        return -(-int((layer.inputs if tensor == "input" else layer.outputs) * kind.bits) // 8)

    def _plan(self, layer: Layer, batch: int) -> LayerPlan:
        return self._plan_in(layer, batch, Place())

    def _plan_in(self, layer: Layer, batch: int, context: Place) -> LayerPlan:
        spec, peak = self.spec, int(self.spec.engine.macs)
        if not self.takes(layer):
            if self.host is None:
                raise InputError([Fault("", layer.name, self._not_taken(layer))])
            values = {"npu": spec.name, "operator": layer.op, "host": self.host.name}
            reason = Message("npu.host", "{npu} does not take {operator}: the host {host} runs it", values)
            return plan_on_host(self, self.host, layer, batch, peak, reason)
        if operator_name(layer) in IN_PLACE:
            return LayerPlan(
                layer, batch, "in place", NOTHING, {}, macs=0, macs_live=0, macs_executed=0, compute_cycles=0,
                peak_macs_per_cycle=peak, dram_bytes=0, bounds={"": "in place"},
            )  # fmt: skip
        return self._lowered(layer, batch, context, self._placed(layer, context))

    def _lowered(self, layer: Layer, batch: int, place: Place, work: Work) -> LayerPlan:
        spec = self.spec
        maps, store, link = spec.home("maps"), spec.home("weights"), spec.home("copies")
        # Weights that are read more than once come from the memory of maps, where they were copied to.
        again = work.weight_bytes * (work.weight_reads - 1)
        moved = {maps: work.map_bytes + again}
        if store == maps:
            moved[maps] += work.weight_bytes
        streamed = max(0, work.weight_bytes - place.kept)
        loads = 0 if store == maps else streamed * batch
        before, ahead = (0, 0) if store == maps else (min(place.loaded, streamed) * batch, place.ahead * batch)
        crossed = (place.copied_in + place.copied_out) * batch if link else 0
        transfers = Moved(moved[maps] * batch, loads - before, ahead, crossed)
        stages = program_of(self._ticks, work, batch, transfers, place.first)
        macs = layer.macs * batch
        looked_up = layer.outputs * batch if fused_function(layer) == "lookup" else 0
        counts: dict[Action, int] = {("npu", "", "operator"): len(work.parts) * batch, ("npu", "", "lookup"): looked_up}
        if macs:
            counts["mac", "", layer.input.dtype] = macs
        counts[maps, "ifmap", "move"] = moved[maps] * batch
        counts[store, "weight", "read"] = loads
        counts[link, "ifmap", "copy"] = crossed
        mac_cycles, output_cycles = ceil(work.mac_cycles * batch), ceil(work.output_cycles * batch)
        columns: dict[str, float | int | str] = {
            "map_bytes": moved[maps] * batch, "weight_bytes": loads, "copied_bytes": crossed,
        }  # fmt: skip
        bounds = {"mac": "compute", "output": "output unit", "maps": maps, "load": store, "ahead": store,
                  "copy": link or "copies", "start": "overhead", "fill": "first block"}  # fmt: skip
        return LayerPlan(
            layer,
            batch,
            self._algorithm(work),
            stages,
            {action: number for action, number in counts.items() if number},
            macs=macs,
            macs_live=layer.macs_live * batch,
            macs_executed=macs,
            compute_cycles=mac_cycles,
            peak_macs_per_cycle=int(spec.engine.macs),
            dram_bytes=0,
            bounds=bounds,
            cycles={"engine": ceil(work.engine_cycles * batch), "mac": mac_cycles, "output": output_cycles},
            columns=columns,
            why=self._why(work, place),
        )

    def _algorithm(self, work: Work) -> str:
        block = next((part.block for part in work.parts if part.block is not None), None)
        if block is None:
            return "values in the output unit" if not work.mac_cycles else f"engine of {self.spec.engine.macs} MACs"
        order = "part kernel" if block.part_kernel else "depth first"
        return f"blocks of {block.p} x {block.q} x {block.k}, {order}"

    def _why(self, work: Work, place: Place) -> tuple[Message, ...]:
        values = {
            "mac": ceil(work.mac_cycles), "output": ceil(work.output_cycles), "maps": work.map_bytes,
            "weights": work.weight_bytes, "kept": min(place.kept, work.weight_bytes), "loaded": place.loaded,
        }  # fmt: skip
        template = (
            "for an inference: multipliers {mac:,} cycles, output unit {output:,}, maps {maps:size}, weights "
            "{weights:size}, of which {kept:size} stay on the chip and {loaded:size} were loaded before"
        )
        return (Message("npu.work", template, values),)

    def runs_as(self, layer: Layer) -> str | None:
        """The format of the host's kernels, for layers that run there."""
        return self.host.runs_as(layer) if self.host is not None and not self.takes(layer) else None

    def idle_keys(self) -> Mapping[str, Message | str]:
        """Those of the file."""
        return self.spec.idle

    def why_unused(self, property: str) -> Message | str:
        """Multipliers are dense; zeros of weights are short where they are coded."""
        coded = isinstance(self.spec.engine, BlockEngineSpec)
        if property.rpartition(".")[2] in ("density", "pattern", "format"):
            return why_zeros_unused(property, coded)
        return unused_by_arrays(property) or super().why_unused(property)

    def traffic(self, plan: LayerPlan) -> tuple[Traffic, ...]:
        """Memories of a layer that the engine runs."""
        if HOST in plan.columns:
            return ()
        moved = {
            memory: sum(number for (part, _, _), number in plan.counts.items() if part == memory)
            for memory in self.spec.memories
        }
        return tuple(Traffic(name, size, float(rate)) for name, size in moved.items() if (rate := self.rate(name)))

    def constants(self) -> tuple[Constant, ...]:
        """Those of its host."""
        return () if self.host is None else host_constants(self.host)

    def format_of(self, layer: Layer) -> str:
        """The format of the products."""
        return layer.input.dtype

    def conditions(self, plan: NetworkPlan, number_format: str) -> Conditions:
        """The number format, and whether layers wait for the host."""
        hosted = self.host is not None and not all(self.takes(layer) for layer in plan.layers)
        return {"format": number_format, "use": "layers on a host" if hosted else "no layers on a host"}

    def notes(self, plan: NetworkPlan) -> tuple[Message, ...]:
        """What runs on the host, weights that are streamed, and what is not known."""
        notes = [*precision_notes(self.spec.precision)]
        hosted = [layer for layer in plan.layers if not self.takes(layer)]
        if self.host is not None and hosted:
            values = {"host": self.host.name, "npu": self.name, "operators": sorted({layer.op for layer in hosted})}
            template = "run on the host {host} while the engine waits: {npu} does not take {operators} as they are"
            notes.append(Message("npu.hosted", template, values, layers=tuple(layer.name for layer in hosted)))
        streamed = sum(int(layer.columns.get("weight_bytes", 0)) for layer in plan)
        if streamed:
            over = {"bytes": streamed, "memory": self.spec.home("weights")}
            notes.append(Message("npu.streamed", "{bytes:size} of weights come over {memory}", over))
        if any(layer.weights and self.takes(layer) for layer in plan.layers) and isinstance(
            self.spec.engine, BlockEngineSpec
        ):
            template = "weights are coded: zeros and shared values make them smaller, short codes are not looked at"
            notes.append(Message("npu.coded_weights", template))
        return tuple(notes)

    def memory_bytes(self) -> int | None:
        """Bytes of the memory of maps."""
        size = self.spec.memories[self.spec.home("maps")].size
        return None if size is None else int(size)

    def arena(self, workload: Workload, batch: int = 1) -> Arena:
        """The arena of maps, laid out as on microcontrollers, without working memory of kernels."""
        from hwsim.workload.arena import plan_workload

        if self._arena is not None and self._arena[0] is workload and self._arena[1] == batch:
            return self._arena[2]
        try:
            arena = plan_workload(workload, dict.fromkeys(workload.names, 0), batch, "reference")
        except InputError as error:
            raise InputError([Fault(workload.name, fault.path, fault.message) for fault in error.faults]) from None
        self._arena = workload, batch, arena
        return arena

    def memories(self, workload: Workload, batch: int) -> tuple[MemoryUse, ...]:
        """The memory of maps and that of weights, where they have a size."""
        uses: dict[str, tuple[tuple[str, int], ...]] = {}
        maps, store = self.spec.home("maps"), self.spec.home("weights")
        if self.spec.memories[maps].size is not None:
            uses[maps] = ((ARENA, self.arena(workload, batch).bytes),)
        if self.spec.memories[store].size is not None:
            stored, arrays = 0, set()
            for layer in workload:
                array = layer.weight.spec.array
                if layer.weights and not (array and array in arrays):
                    stored += self._stored(layer)
                stored += _BIAS_BYTES * layer.biases
                arrays.add(array)
            uses[store] = (*uses.get(store, ()), ("weights", stored))
        return tuple(MemoryUse(name, int(self.spec.memories[name].size or 0), parts) for name, parts in uses.items())
