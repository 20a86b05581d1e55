"""The PE array: picks the planner that its wiring asks for, and knows what a byte and a cycle take."""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from typing import Any, ClassVar

from hwsim.errors import Fault, InputError
from hwsim.machines.base import Machine
from hwsim.machines.lower_bound import LowerBound, total
from hwsim.machines.pe_array.experts import experts_plan
from hwsim.machines.pe_array.keys import idle_keys, sram_prices
from hwsim.machines.pe_array.lower_bound import lower_bound_of
from hwsim.machines.pe_array.post import plan_post
from hwsim.machines.pe_array.spec import MemorySpec, PeArraySpec
from hwsim.machines.pe_array.work import as_gemm
from hwsim.machines.plan import LayerPlan, Traffic
from hwsim.message import Message
from hwsim.units import Rate
from hwsim.workload import Layer
from hwsim.workload.product import Product

__all__ = ["PeArray"]


class PeArray(Machine):
    """An array of processing elements with its memories.

    Attributes
    ----------
    spec : PeArraySpec
        The machine file.
    """

    kind: ClassVar[str] = "pe_array"
    spec_class: ClassVar[type[PeArraySpec]] = PeArraySpec
    spec: PeArraySpec

    @property
    def core_clock(self) -> str:
        """The clock of the array."""
        return self.spec.array.clock

    @property
    def peak_macs_per_cycle(self) -> int:
        """MACs of all PEs in a cycle."""
        return self.spec.array.rows * self.spec.array.cols

    def bits(self, layer: Layer) -> tuple[int, int, int]:
        """Bits of a word of ifmap, weight and ofmap; raises InputError where the machine's words are too short."""
        own = (layer.input.bits, layer.weight.bits, layer.output.bits)
        word = self.spec.word_bits
        if word is None:
            return own
        if max(own) > word:
            dtype = next(kind.dtype for kind in (layer.input, layer.weight, layer.output) if kind.bits > word)
            message = (
                f"{self.name} computes on words of {word} bits, but {dtype} has {max(own)}: quantize the network, or "
                f"widen the words with --set word_bits={max(own)}"
            )
            raise InputError([Fault("", layer.name, message)])
        return (word, word, word)

    def cycle_ticks(self, cycles: int, clock: str | None = None) -> int:
        """Ticks in cycles of a clock, the array's unless named."""
        return self.timebase.ticks(clock or self.core_clock, cycles)

    def transfer_ticks(self, memory: MemorySpec, size_bytes: int, rate: Rate | None = None, word_bits: int = 8) -> int:
        """Ticks in which a memory moves so many bytes, at its bandwidth or at the given rate of one of its ports."""
        rate = rate or memory.bandwidth
        if rate is None or not size_bytes:
            return 0
        speed = self.spec.bytes_per_second(rate, memory, word_bits) * Fraction(memory.efficiency)
        return ceil(size_bytes / speed * self.timebase.rate_hz)

    def capacity_bits(self) -> dict[str, int | dict[str, int]]:
        """Bits of each bounded memory, as the mapping package wants them; a double buffer offers half."""
        limits: dict[str, int | dict[str, int]] = {}
        for name, memory in self.spec.memories.items():
            share = 2 if memory.double_buffered else 1
            if memory.split:
                limits[name] = {t: int(size) * 8 // share for t, size in memory.split.items()}
            elif memory.size is not None:
                limits[name] = int(memory.size) * 8 // share
        return limits

    @property
    def by_passes(self) -> bool:
        """Whether layers run as the passes of a row-stationary chip."""
        spec = self.spec
        return spec.array.wiring == "noc" and spec.dataflow == "row_stationary" and spec.mapper.objective == "dram"

    def planned_on(self) -> dict[str, Any]:
        """Only the search over nests weighs energies; other planners know of words and cycles alone."""
        description = super().planned_on()
        if self.spec.array.wiring != "noc" or self.by_passes:
            description.pop("energy", None)
        return description

    def planned_by_name(self, name: str) -> str | None:
        """The name, if a mapping is given by hand for it."""
        return name if name in self.spec.mappings else None

    def parts(self) -> dict[str, int]:
        """PEs, and bytes of each memory that has a size."""
        parts = {"pe": self.peak_macs_per_cycle}
        for name, memory in self.spec.memories.items():
            copies = self.peak_macs_per_cycle if memory.per == "pe" else 1
            sizes = list(memory.split.values()) if memory.split else [memory.size] if memory.size is not None else []
            if sizes:
                parts[name] = copies * int(sum(sizes))
        return parts

    def idle_keys(self) -> dict[str, Message | str]:
        """Keys that the planner of this wiring and dataflow does not read."""
        return dict(idle_keys(self))

    def odd_prices(self) -> tuple[tuple[str, str, Message | str], ...]:
        """SRAMs that are priced at another size than they have."""
        return tuple(sram_prices(self))

    def why_unused(self, property: str) -> Message | str:
        """Which keys of the file would use a property, and what has no unit here."""
        spec = self.spec
        name = property.rpartition(".")[2]
        if not property:
            return Message("unused.no_post_processor", "there is no post-processor: give post")
        if property == "input.density":
            values = {"zeros": spec.array.zeros, "memory": spec.dram}
            return Message("unused.zeros", "array.zeros is {zeros}, memories.{memory}.compress has no ifmap", values)
        if name in ("density", "format"):
            return Message("unused.stored_dense", "tensors are stored and moved dense unless a memory compresses them")
        if name == "pattern":
            return Message("unused.random_zeros", "zeros are assumed to be distributed at random")
        if property.startswith("dead"):
            return Message("unused.dead_channels", "dead channels are computed like any others")
        if property == "activation":
            return Message("unused.activation", "it is applied at no cost as outputs leave the array")
        return super().why_unused(property)

    def lower_bound(self, layer: Layer, batch: int) -> LowerBound:
        """Lower bounds of a layer, from its shape and the machine's sizes alone."""
        if parts := layer.grouped(batch):
            return total(lower_bound_of(self, part, 1) for part in parts)
        return lower_bound_of(self, layer, batch)

    def _check(self) -> None:
        if self.spec.area is not None and "pe" in self.spec.memories:
            raise ValueError("with area, no memory may be called 'pe': area.parts has the area of a PE under that name")
        if self.spec.array.wiring == "systolic" and self.spec.dataflow in ("row_stationary", "no_local_reuse"):
            raise ValueError(f"a systolic array is weight, output or input stationary, not {self.spec.dataflow!r}")
        if self.spec.array.zeros == "skip" and not self.by_passes:
            raise ValueError(
                "array.zeros: only the row-stationary planner (objective dram) lets PEs run ahead of each other; "
                "here zeros must be computed or gated, not skipped"
            )

    def _plan(self, layer: Layer, batch: int) -> LayerPlan:
        from hwsim.machines.pe_array.broadcast import plan_broadcast
        from hwsim.machines.pe_array.row_stationary import plan_row_stationary
        from hwsim.machines.pe_array.spatial import plan_by_hand, plan_spatial
        from hwsim.machines.pe_array.systolic import plan_systolic
        from hwsim.machines.pe_array.weight_stream import plan_weight_stream

        if parts := layer.grouped(batch):
            x = layer.lower(batch)
            spread = x.spread if isinstance(x, Product) else ()
            return experts_plan(layer, batch, spread, [self._plan(part, 1) for part in parts])
        if as_gemm(layer, batch) is None:
            return plan_post(self, layer, batch)
        wiring = self.spec.array.wiring
        by_hand = self.spec.mappings.get(layer.name)
        if isinstance(by_hand, list):
            return plan_by_hand(self, layer, batch, by_hand)
        if by_hand is not None and not self.by_passes:
            where = self.document.where(("mappings", layer.name))
            message = "must be a loop nest, one node per line; parameters need row_stationary and mapper.objective dram"
            raise InputError([Fault(where, f"mappings.{layer.name}", message)])
        if wiring == "systolic":
            return (plan_weight_stream if self.spec.array.fifo_tiles else plan_systolic)(self, layer, batch)
        if wiring == "broadcast":
            return plan_broadcast(self, layer, batch)
        if self.by_passes:
            return plan_row_stationary(self, layer, batch, by_hand)
        return plan_spatial(self, layer, batch)

    def traffic(self, plan: LayerPlan) -> tuple[Traffic, ...]:
        """The outermost memory, then each port of the others; a port moves its tensor in and out at the same time."""
        traffic = []
        for name, memory in self.spec.memories.items():
            rates = {"": memory.bandwidth} if name == self.spec.dram else dict(memory.ports)
            for tensor, rate in rates.items():
                if rate is None:
                    continue
                bits = plan.word_bits.get(tensor, 8)
                speed = float(self.spec.bytes_per_second(rate, memory, bits) * Fraction(memory.efficiency))
                moved = plan.dram_bytes if not tensor else self._moved(plan, name, tensor) * bits // 8
                traffic.append(Traffic(f"{name} {tensor}".strip(), moved, speed))
        return tuple(traffic)

    @staticmethod
    def _moved(plan: LayerPlan, memory: str, tensor: str) -> int:
        """Words of a tensor in the direction in which a memory moves more of them."""
        into = sum(plan.counts.get((memory, tensor, action), 0) for action in ("fill", "update"))
        out = sum(plan.counts.get((memory, tensor, action), 0) for action in ("read", "drain"))
        return max(into, out)
