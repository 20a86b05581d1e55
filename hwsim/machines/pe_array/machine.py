"""The PE array: picks the planner that its wiring asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from hwsim.algorithms import Algorithm, Winograd, algorithm_of, shape_of
from hwsim.energy import Prices, word_width
from hwsim.engine.program import Program
from hwsim.errors import Fault, InputError, nearest
from hwsim.machines.base import Machine, NetworkPlan
from hwsim.machines.hardware import unused_by_arrays
from hwsim.machines.host import HOST, host_constants, host_notes, plan_on_host
from hwsim.machines.lower_bound import LowerBound, total
from hwsim.machines.nearness import Level
from hwsim.machines.pe_array.array import Array, Planner
from hwsim.machines.pe_array.broadcast import plan_broadcast
from hwsim.machines.pe_array.choice import chosen
from hwsim.machines.pe_array.experts import experts_plan
from hwsim.machines.pe_array.isca16.plan import plan_by_rules
from hwsim.machines.pe_array.keys import idle_keys, sram_prices
from hwsim.machines.pe_array.lower_bound import lower_bound_of, with_transforms
from hwsim.machines.pe_array.post import IN_PLACE, plan_post
from hwsim.machines.pe_array.row_stationary import plan_row_stationary
from hwsim.machines.pe_array.spatial import plan_by_hand, plan_by_search
from hwsim.machines.pe_array.spec import TENSORS, PeArraySpec
from hwsim.machines.pe_array.systolic import plan_systolic
from hwsim.machines.pe_array.weight_stream import plan_weight_stream
from hwsim.machines.pe_array.work import as_gemm
from hwsim.machines.plan import Constant, LayerPlan, Traffic
from hwsim.machines.precision import in_precision, precision_notes
from hwsim.mapping import DATAFLOWS
from hwsim.message import Message
from hwsim.workload import Layer, Workload
from hwsim.workload.product import Product, Stream

__all__ = ["PeArray"]

_PLANNERS: dict[Planner, Callable[[Array, Layer, int], LayerPlan]] = {
    "folds": plan_systolic,
    "streamed weights": plan_weight_stream,
    "adder trees": plan_broadcast,
    "passes": plan_row_stationary,
    "study": plan_by_rules,
    "search": plan_by_search,
}


class PeArray(Machine):
    """An array of processing elements with its memories.

    Attributes
    ----------
    spec : PeArraySpec
        The machine file.
    """

    kind: ClassVar[str] = "pe_array"
    spec_class: ClassVar[type[PeArraySpec]] = PeArraySpec
    residuals: ClassVar[Path | None] = Path(__file__).parent / "residuals.csv"
    measured_layers: ClassVar[frozenset[str]] = frozenset(
        {"convolutions", "grouped convolutions", "matrix products", "layers without MACs"}
    )
    nearness: ClassVar[Mapping[str, tuple[Level, ...]]] = {
        "latency": (Level(("machine",), "network", "this chip"),),
        "power": (
            Level(("machine",), "layer", "layers in its fit"),
            Level(("machine",), "network", "this chip"),
            Level((), "network", "other chips, priced from tables", measured=False),
        ),
        "energy": (Level(("machine",), "network", "this array"),),
    }
    spec: PeArraySpec

    @property
    def core_clock(self) -> str:
        """The clock of the array."""
        return self.spec.array.clock

    @cached_property
    def prices(self) -> Prices:
        """Energy of each action of the machine and of its host."""
        prices = Prices(self.spec.energy, self.folder, self.sram_bytes())
        if self.host is not None:
            prices.add(HOST, self.host.prices, float(self.host.timebase.clocks[self.host.core_clock]))
        return prices

    @cached_property
    def array(self) -> Array:
        """What planners read of the machine."""
        return Array(self.spec, self.timebase, self.document, self.prices)

    def converted(self, network: Workload) -> Workload:
        """The network in the file's `precision`."""
        return in_precision(network, self.spec.precision)

    def planned_on(self) -> dict[str, Any]:
        """Only a search for the least energy weighs prices; other planners know of words and cycles alone."""
        description = super().planned_on()
        planner, objective = self.array.planner, self.spec.mapper.objective
        if not (planner in ("study", "search", "adder trees") or (planner == "passes" and objective != "dram")):
            description.pop("energy", None)
        return description if self.host is None else description | {HOST: self.host.document.data}

    def planned_by_name(self, name: str) -> str | None:
        """The name, if a mapping is given by hand for it."""
        return name if self.array.mapping_key(name) is not None else None

    def parts(self) -> dict[str, int]:
        """PEs, and bytes of each memory that has a size."""
        parts = {"pe": self.array.pes}
        for name, memory in self.spec.memories.items():
            copies = self.array.pes if memory.per == "pe" else 1
            sizes = list(memory.split.values()) if memory.split else [memory.size] if memory.size is not None else []
            if sizes:
                parts[name] = copies * int(sum(sizes))
        return parts

    def sram_bytes(self) -> dict[str, int]:
        """Bytes of a bank, of the memory (one of them, if each PE has its own), or of its largest part."""
        sizes = {
            name: memory.bank or memory.size or max(memory.split.values(), default=None)
            for name, memory in self.spec.memories.items()
        }
        return {name: int(size) for name, size in sizes.items() if size is not None}

    def idle_keys(self) -> dict[str, Message | str]:
        """Keys that the planner of this wiring and dataflow does not read."""
        return dict(idle_keys(self.array))

    def odd_prices(self) -> tuple[tuple[str, str, Message | str], ...]:
        """SRAMs that are priced at another size than they have."""
        return tuple(sram_prices(self.spec))

    def why_unused(self, property: str) -> Message | str:
        """Which keys of the file would use a property, and what has no unit here."""
        spec = self.spec
        name = property.rpartition(".")[2]
        if not property:
            return Message("unused.no_post_processor", "needs host or post")
        if name in ("density", "format"):
            part, zeros = property.partition(".")[0], spec.array.zeros
            tensor = {"input": TENSORS[0], "weight": TENSORS[1], "output": TENSORS[2]}[part]
            values = {
                "zeros": zeros, "operands": spec.array.zero_operands, "memory": spec.dram, "tensor": tensor,
                "code": spec.memories[spec.dram].compress.get(tensor, ""),
            }  # fmt: skip
            if name == "format":
                template = "memories.{memory} stores {tensor} dense"
                if self.array.planner in ("search", "passes"):
                    template = "memories.{memory}.formats does not list it for {tensor}"
                    if values["code"]:
                        template = "memories.{memory}.compress stores {tensor} as {code}"
                return Message("unused.stored_dense", template, values)
            template = ""
            if part != "output":
                template = "array.zeros is {zeros}, " + "zero_operands is {operands}, " * (zeros != "compute")
            return Message("unused.zeros", template + "memories.{memory} stores {tensor} dense", values)
        return unused_by_arrays(property) or super().why_unused(property)

    def lower_bound(self, layer: Layer, batch: int) -> LowerBound:
        """Lower bounds of a layer, from its shape and the machine's sizes alone."""
        if parts := layer.grouped(batch):
            return total(lower_bound_of(self.array, part, 1) for part in parts)
        bound, shape = lower_bound_of(self.array, layer, batch), shape_of(layer)
        asked = self.requested_algorithm(layer.name)
        if shape is None or asked == "direct" or self.algorithms() == ("direct",):
            return bound
        own = [name for name in self.algorithms() if asked in ("auto", name)]
        ways = [how for name in own if isinstance(how := algorithm_of(name, shape), Winograd)]
        return with_transforms(self.array, layer, batch, bound, [how.multiplications(shape) * batch for how in ways])

    def _check(self) -> None:
        if self.spec.area is not None and "pe" in self.spec.memories:
            raise ValueError("with area, no memory may be called 'pe': area.parts has the area of a PE under that name")
        if self.spec.array.wiring == "systolic" and self.spec.flow.fold is None:
            able = ", ".join(name for name, flow in DATAFLOWS.items() if flow.fold is not None)
            raise ValueError(f"dataflow of a systolic array must be one of {able}, not {self.spec.dataflow!r}")
        if self.spec.array.zeros == "skip" and self.array.planner != "passes":
            message = (
                "must be compute or gate, not skip, on this array: only the passes of a row-stationary chip (dataflow: "
                "row_stationary, wiring: noc, mapper.rules: jssc17) let PEs run ahead of each other"
            )
            raise InputError([Fault(self.document.where(("array", "zeros")), "array.zeros", message)])

    def _plan(self, layer: Layer, batch: int) -> LayerPlan:
        if parts := layer.grouped(batch):
            x = layer.lower(batch)
            spread = x.spread if isinstance(x, Product) else ()
            return experts_plan(layer, batch, spread, self._experts(parts))
        if as_gemm(layer, batch) is None:
            if self.host is not None and self._hosted(layer):
                reason = Message(
                    "pe_array.host", "no unit of the array runs it: the host {host} does", {"host": self.host.name}
                )
                return plan_on_host(self, self.host, layer, batch, self.array.pes, reason)
            return plan_post(self.array, layer, batch)
        key, planner = self.array.mapping_key(layer.name), self.array.planner
        by_hand = None if key is None else self.spec.mappings[key]
        if isinstance(by_hand, list):
            return plan_by_hand(self.array, layer, batch, by_hand)
        if by_hand is not None and planner == "passes":
            return plan_row_stationary(self.array, layer, batch, by_hand)
        if by_hand is not None:
            where = self.document.where(("mappings", str(key)))
            message = "must be a loop nest, one node per line; parameters need row_stationary and mapper.rules: jssc17"
            raise InputError([Fault(where, f"mappings.{key}", message)])
        return chosen(self.array, layer, batch, _PLANNERS[planner], self.requested_algorithm(layer.name))

    def algorithms(self) -> tuple[Algorithm, ...]:
        """The direct one, and those that its transform units have."""
        transform = None if self.array.planner == "study" else self.spec.transform
        return ("direct", *(() if transform is None else transform.algorithms))

    def why_direct(self) -> str:
        """What the file would have to say."""
        if self.array.planner == "study":
            return "rules isca16 compare direct convolutions"
        return "the array has no transform units; the block transform of a machine file describes them"

    def _experts(self, parts: tuple[Layer, ...]) -> list[LayerPlan]:
        """The plans of experts with as many rows each. No two share a tile: theirs may have other rows."""
        array, planner = self.array, self.array.planner
        if planner == "streamed weights":
            shorter = (len(parts) - 1, None)
            return [plan_weight_stream(array, part, 1, False, less) for part, less in zip(parts, shorter)]
        if planner == "adder trees":
            others = [plan_broadcast(array, part, 1, packed=False) for part in parts[1:]]
            first = plan_broadcast(array, parts[0], 1, packed=False, others=others)
            return [first, *(replace(plan, program=Program(plan.program.resources, ())) for plan in others)]
        return [self._plan(part, 1) for part in parts]

    def _hosted(self, layer: Layer) -> bool:
        """Whether the host, if there is one, runs a layer."""
        if self.spec.post is not None:
            return False
        x = layer.lower(1)
        return isinstance(x, Stream) and x.kind not in IN_PLACE

    def runs_as(self, layer: Layer) -> str | None:
        """The format of the host's kernels, for layers that run there."""
        return self.host.runs_as(layer) if self.host is not None and self._hosted(layer) else None

    def notes(self, plan: NetworkPlan) -> tuple[Message, ...]:
        """What runs on the host, what is not known of it, and mappings of layers that the network lacks."""
        names = tuple(name for name in plan.names if self._hosted(plan.workload[name]))
        layers = {layer.name for layer in plan.workload.layers}
        lost = [
            Message("pe_array.no_such_layer", "mappings.{name}: {workload} has no such layer{hint}",
                    {"name": name, "workload": plan.workload.name, "hint": nearest(name, layers)})
            for name in self.spec.mappings
            if name not in layers and name not in plan.names and not any(fnmatchcase(n, name) for n in plan.names)
        ]  # fmt: skip
        return (
            *precision_notes(self.spec.precision),
            *lost,
            *(() if self.host is None else host_notes(self.host, names)),
        )

    def constants(self) -> tuple[Constant, ...]:
        """Those of its host."""
        return () if self.host is None else host_constants(self.host)

    def traffic(self, plan: LayerPlan) -> tuple[Traffic, ...]:
        """The outermost memory, then each port of the others; a port moves its tensor in and out at the same time."""
        traffic: list[Traffic] = []
        if HOST in plan.columns:
            return ()
        for name, memory in self.spec.memories.items():
            rates = {"": memory.bandwidth} if name == self.spec.dram else dict(memory.ports)
            for tensor, rate in rates.items():
                if rate is None:
                    continue
                bits = int(plan.word_bits.get(tensor, 8))
                wide = plan.word_bits.get("psum", bits)
                speed = float(self.spec.bytes_per_second(rate, memory, bits) * Fraction(memory.efficiency))
                amount = plan.dram_bytes
                if tensor:
                    sums = self._words(plan, name, "psum") if tensor == "ofmap" else 0
                    width = word_width(plan.word_bits, name, tensor) or bits
                    amount = int(self._words(plan, name, tensor) * width + sums * wide) // 8
                traffic.append(Traffic(f"{name} {tensor}".strip(), amount, speed))
        return tuple(traffic)

    @staticmethod
    def _words(plan: LayerPlan, memory: str, tensor: str) -> int:
        """Words of a tensor in the direction in which a memory moves more of them."""
        into = sum(plan.counts.get((memory, tensor, action), 0) for action in ("fill", "update"))
        out = sum(plan.counts.get((memory, tensor, action), 0) for action in ("read", "drain"))
        return max(into, out)
