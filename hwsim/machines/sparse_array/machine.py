"""The sparse array: walks a layer as it deals it, and says where the cycles go that multiply nothing."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from fractions import Fraction
from math import ceil
from typing import ClassVar

from hwsim.engine.program import Pipeline, Program, Stage, spread
from hwsim.machines.base import Machine, NetworkPlan
from hwsim.machines.hardware import unused_by_arrays
from hwsim.machines.memory import MemoryUse
from hwsim.machines.plan import Action, LayerPlan, Traffic
from hwsim.machines.precision import in_precision, precision_notes, too_wide
from hwsim.machines.sparse_array.draw import expected_fillers
from hwsim.machines.sparse_array.grid import walk_grid
from hwsim.machines.sparse_array.plane import walk_plane
from hwsim.machines.sparse_array.rows import walk_rows
from hwsim.machines.sparse_array.spec import POINTER_BITS, SparseArraySpec
from hwsim.machines.sparse_array.walk import STALLS, Walk
from hwsim.machines.sparse_array.work import Work, work_of
from hwsim.message import Message
from hwsim.workload import Layer, TensorType, Workload
from hwsim.workload.product import Stream

__all__ = ["SparseArray"]

_BOUNDS = {
    "compute": "compute",
    "imbalance": "load imbalance",
    "empty": "empty columns",
    "fragments": "fragments of the multipliers",
    "fillers": "fillers",
    "outside": "products for no output",
    "handover": "psum port",
}
_TILES = 64
_NOTHING = Program({}, ())


class SparseArray(Machine):
    """An array of processing elements that compute on compressed operands.

    Attributes
    ----------
    spec : SparseArraySpec
        The machine file.
    """

    kind: ClassVar[str] = "sparse_array"
    spec_class: ClassVar[type[SparseArraySpec]] = SparseArraySpec
    measured_layers: ClassVar[frozenset[str]] = frozenset({"convolutions", "grouped convolutions", "matrix products"})
    no_nests: ClassVar[Message | None] = Message(
        "explain.sparse_array", "walked entry by entry: which are multiplied depends on where the zeros are"
    )
    spec: SparseArraySpec

    @property
    def core_clock(self) -> str:
        """The clock of the array."""
        return self.spec.array.clock

    def converted(self, network: Workload) -> Workload:
        """The network in the file's `precision`."""
        return in_precision(network, self.spec.precision)

    def parts(self) -> dict[str, int]:
        """PEs, and bytes of each memory that has a size."""
        sizes = self._sizes()
        return {"pe": self.spec.array.pes} | sizes

    def _sizes(self) -> dict[str, int]:
        copies = {"pe": self.spec.array.pes, "chip": 1}
        return {
            name: int(memory.size) * copies[memory.per]
            for name, memory in self.spec.memories.items()
            if memory.size is not None
        }

    def sram_bytes(self) -> dict[str, int]:
        """Bytes of each memory, of one of them if each PE has its own."""
        return {name: int(m.size) for name, m in self.spec.memories.items() if m.size is not None}

    def _check_words(self, layer: Layer) -> None:
        """Raise InputError where a layer has wider values than the array."""
        word = self.spec.word_bits
        for kind in (layer.input, layer.weight, layer.output):
            if kind.elements and kind.bits > word:
                raise too_wide(self.spec.name, layer.name, kind.dtype, kind.bits, word)

    def _entries(self, tensor: TensorType, piece: int = 0) -> float:
        """Expected entries of a tensor, whose runs of zeros do not cross pieces of so many values; 0: none are cut."""
        size = piece or tensor.elements
        fillers = expected_fillers(size, tensor.density, self.spec.array.index_bits)
        return tensor.elements * tensor.density + (fillers * tensor.elements / size if size else 0.0)

    def _weight_entries(self, layer: Layer) -> float:
        array, work = self.spec.array, work_of(layer, 1)
        if work is None or not work.stored:
            return 0.0
        return self._entries(layer.weight, max(1, -(-work.rows // array.pes)) if array.deal == "rows" else 0)

    def stored_weight_bits(self, layer: Layer) -> float:
        """Values with the runs of zeros before them."""
        return self._weight_entries(layer) * self.spec.weight_entry_bits

    def memories(self, workload: Workload, batch: int) -> tuple[MemoryUse, ...]:
        """What must be on the chip at a time: all of a network where there is no memory outside, else of one layer."""
        uses = []
        works = [work for layer in workload if (work := work_of(layer, 1)) is not None and work.stored]
        resident = self.spec.outer is None
        if resident:
            need = sum(self.stored_weight_bits(work.layer) for work in works)
            uses.append(self._use("weight", {"weights": need}))
        if self.spec.array.deal == "rows" and self.spec.home("pointer") not in (None, self.spec.outer):
            pointers = {f"pointers of {work.layer.name}": self._pointer_bits(work) for work in works}
            largest = dict(sorted(pointers.items(), key=lambda item: -item[1])[:1])
            uses.append(self._use("pointer", {"pointers": sum(pointers.values())} if resident else largest))
        if resident and self.spec.home("ifmap") == self.spec.home("ofmap"):
            live = {f"activations of {work.layer.name}": self._activation_bits(work) for work in works}
            uses.append(self._use("ifmap", dict(sorted(live.items(), key=lambda item: -item[1])[:1])))
        return tuple(use for use in uses if use.parts)

    def _use(self, tensor: str, bits: Mapping[str, float]) -> MemoryUse:
        name = self.spec.home(tensor)
        assert name is not None
        return MemoryUse(name, self._sizes()[name], tuple((part, ceil(need / 8)) for part, need in bits.items()))

    def _pointer_bits(self, work: Work) -> int:
        """A pointer to each column of each matrix and behind the last one, in each PE."""
        matrices = max(1, work.layer.weight.elements // (work.rows * work.columns))
        return POINTER_BITS * matrices * (work.columns + 1) * self.spec.array.pes

    def _activation_bits(self, work: Work) -> float:
        """Values of a layer's ifmap and ofmap, zeros too: rows are summed in the places of the outputs."""
        layer, spec = work.layer, self.spec
        return layer.input.elements * spec.word_bits + layer.output.elements * max(spec.word_bits, spec.psum_bits)

    def _plan(self, layer: Layer, batch: int) -> LayerPlan:
        work = work_of(layer, batch, self.spec.array.deal)
        if work is None:
            x = layer.lower(batch)
            in_place = isinstance(x, Stream) and x.kind in ("concat", "view")
            bound = "in place" if in_place else "not modeled"
            return LayerPlan(
                layer, batch, bound, _NOTHING, {}, macs=0, macs_live=0, macs_executed=0, compute_cycles=0,
                peak_macs_per_cycle=self.spec.array.pes * self.spec.array.lanes, dram_bytes=0, bounds={"": bound},
            )  # fmt: skip
        self._check_words(layer)
        return self._lowered(work, self._walk(work))

    def _walk(self, work: Work) -> Walk:
        array = self.spec.array
        seed = zlib.crc32(repr((array.deal, work.rows, work.columns, work.matrices)).encode())
        if not work.input_density or not work.weight_density:
            return Walk(0, 0, 0, 0, 0, 0, 0, exact=True)
        if array.deal == "rows":
            return walk_rows(work, array, seed)
        if array.deal == "plane":
            return walk_plane(work, array, seed)
        bits = (self.spec.entry_bits, self.spec.weight_entry_bits, self.spec.psum_bits)
        return walk_grid(work, self.spec, bits, seed)

    def _lowered(self, work: Work, walk: Walk) -> LayerPlan:
        spec, array, layer, batch = self.spec, self.spec.array, work.layer, work.batch
        counted, known = work.effectual
        effectual = round(counted)
        counts, word_bits = self._counts(work, walk)
        loads, stores, dram_bytes = self._outside(work)
        counts |= loads | stores
        cycles = walk.whole_cycles
        # Planes alone multiply for no output; elsewhere counts differ from those of the draws by chance.
        parts = walk.parts(array.pes, array.lanes, counted if array.deal == "plane" else walk.effectual)
        resources = {"array": 1}
        stages, totals = [Stage("compute", "array")], [self.timebase.ticks(array.clock, cycles)]
        if spec.outer is not None:
            speed = self._outer_speed()

            def ticks(words: Mapping[Action, int]) -> int:
                size = sum(number * word_bits[f"{key[0]}.{key[1]}"] / 8 for key, number in words.items())
                return ceil(Fraction(ceil(size)) / speed * self.timebase.rate_hz)

            stages = [Stage("load", spec.outer), *stages, Stage("store", spec.outer)]
            totals = [ticks(loads), *totals, ticks(stores)]
            resources[spec.outer] = 1
        bound = _BOUNDS[max(("compute", *STALLS), key=parts.__getitem__)]
        outer = spec.outer or ""
        slots = array.pes * array.lanes
        columns: dict[str, float | int | str] = {
            "skipped_macs": work.macs - effectual,
            "stored_entries": round(walk.entries),
            "load_balance": walk.busy / (array.pes * walk.cycles) if walk.cycles else 1.0,
            "cycles_spread_pct": 100 * walk.spread,
        }
        return LayerPlan(
            layer,
            batch,
            f"{array.deal} dealt to {array.rows} x {array.cols} PEs, compressed",
            Program(resources, (Pipeline("walk", tuple(stages), spread(_TILES, *totals)),) if any(totals) else ()),
            {action: number for action, number in counts.items() if number},
            macs=work.macs,
            macs_live=layer.macs_live * batch,
            macs_executed=effectual,
            compute_cycles=cycles,
            peak_macs_per_cycle=slots,
            dram_bytes=dram_bytes,
            bounds={"load": outer, "compute": bound, "store": outer},
            compute_bounds=tuple(_BOUNDS.values()),
            word_bits=word_bits,
            cycles={"compute": cycles} | {part: round(parts[part]) for part in STALLS},
            columns=columns,
            why=self._why(walk, parts, known),
        )

    def _why(self, walk: Walk, parts: Mapping[str, float], known: bool) -> tuple[Message, ...]:
        lost = {name: round(parts[name]) for name in STALLS if round(parts[name])}
        values: dict[str, float | int | str] = {"compute": round(parts["compute"]), **lost}
        template = "of {total} cycles {compute} multiply values that are not zero"
        template += "; " * bool(lost) + ", ".join(f"{_BOUNDS[name]} {{{name}}}" for name in lost)
        notes = [Message("sparse.cycles", template, values | {"total": walk.whole_cycles})]
        if known and not walk.exact:
            notes.append(Message("sparse.counted", "multiplications are counted from masks or counts of channels", {}))
        if walk.exact:
            notes.append(Message("sparse.exact", "cycles are counted entry by entry: it is known which are zero", {}))
        else:
            notes.append(
                Message(
                    "sparse.expected",
                    "expected of masks at random; over the draws cycles differ by {spread:.1f} % (standard deviation)",
                    {"spread": 100 * walk.spread},
                )
            )
        return tuple(notes)

    def _counts(self, work: Work, walk: Walk) -> tuple[dict[Action, int], dict[str, float]]:
        """Multiplications and words of the memories on the chip."""
        spec, layer = self.spec, work.layer
        word = spec.word_bits
        words = {"weight": walk.entries, "ifmap": walk.inputs, "pointer": 2 * walk.columns, "psum": walk.products}
        bits = {
            "weight": spec.weight_entry_bits,
            "ifmap": word,
            "pointer": POINTER_BITS,
            "psum": spec.psum_bits,
            "ofmap": word,
        }
        effectual = round(work.effectual[0])
        counts: dict[Action, int] = {("mac", "", layer.input.dtype): max(effectual, round(walk.products))}
        widths: dict[str, float] = dict.fromkeys(("ifmap", "weight", "ofmap"), float(word))
        for tensor in ("ifmap", "weight", "pointer", "psum", "ofmap"):
            for name, memory in spec.memories.items():
                if tensor in memory.holds:
                    widths[f"{name}.{tensor}"] = bits[tensor]
            home = spec.home(tensor)
            if home is not None and home != spec.outer and tensor in words:
                counts[home, tensor, "update" if tensor == "psum" else "read"] = round(words[tensor])
        home = spec.home("ofmap")
        if home is not None and home != spec.outer:
            kept = layer.output.elements * layer.output.density * work.batch
            counts[home, "ofmap", "fill"] = round(kept)
        if spec.outer is not None:
            for tensor in ("ifmap", "ofmap"):
                widths[f"{spec.outer}.{tensor}"] = spec.entry_bits
        return counts, widths

    def _outside(self, work: Work) -> tuple[dict[Action, int], dict[Action, int], int]:
        """Words of the memory outside the chip: weights of each inference, and activations that do not stay on it."""
        spec, layer, outer = self.spec, work.layer, self.spec.outer
        if outer is None:
            return {}, {}, 0
        width = {"ifmap": spec.entry_bits, "weight": spec.weight_entry_bits, "ofmap": spec.entry_bits}
        entries = {"ifmap": self._entries(layer.input), "ofmap": self._entries(layer.output)}
        sizes = self._sizes()
        stays = True
        need: dict[str, float] = {}
        for tensor in ("ifmap", "ofmap"):
            home = spec.home(tensor)
            if home is None or home == outer:
                stays = False
            else:
                need[home] = need.get(home, 0.0) + entries[tensor] * width[tensor] / 8
        stays = stays and all(amount <= sizes[home] for home, amount in need.items())
        times = 1 if work.stored and work.geometry is None and spec.array.deal != "plane" else work.batch
        weights = self._weight_entries(layer) if work.stored else self._entries(layer.weight)
        loads = {(outer, "weight", "read"): round(weights * times)}
        stores: dict[Action, int] = {}
        if not stays:
            loads[outer, "ifmap", "read"] = round(entries["ifmap"] * work.batch)
            stores[outer, "ofmap", "update"] = round(entries["ofmap"] * work.batch)
        moved = sum(number * width[tensor] for (_, tensor, _), number in (loads | stores).items())
        return loads, stores, ceil(moved / 8)

    def traffic(self, plan: LayerPlan) -> tuple[Traffic, ...]:
        """The memory outside the chip."""
        outer = self.spec.outer
        return () if outer is None else (Traffic(outer, plan.dram_bytes, float(self._outer_speed())),)

    def _outer_speed(self) -> Fraction:
        """Bytes a second of the memory outside the chip."""
        assert self.spec.outer is not None
        memory = self.spec.memories[self.spec.outer]
        assert memory.bandwidth is not None
        return memory.bandwidth.bytes_per_second(self.spec.clock_hz(memory.clock), 8)

    def why_unused(self, property: str) -> Message | str:
        """What a sparse array does not use."""
        if not property:
            return Message("unused.sparse_no_unit", "there is no unit for layers without MACs")
        if property.endswith(".format"):
            values = {"bits": self.spec.array.index_bits}
            return Message(
                "unused.sparse_format", "stored as values and runs of {bits} bits, whatever the format", values
            )
        return unused_by_arrays(property) or super().why_unused(property)

    def notes(self, plan: NetworkPlan) -> tuple[Message, ...]:
        """Whether what is printed is counted or expected."""
        multiplied = [layer for layer in plan if layer.macs]
        spreads = [spread for layer in multiplied if (spread := float(layer.columns["cycles_spread_pct"]))]
        notes = precision_notes(self.spec.precision)
        if not spreads:
            return notes
        expected = Message(
            "sparse.masks",
            "{layers} of {all} layers have densities and no masks: their cycles are expected of zeros at random, and "
            "differ between masks by up to {spread:.1f} % (standard deviation); pruned filters are often clustered, "
            "which takes longer",
            {"layers": len(spreads), "all": len(multiplied), "spread": max(spreads)},
        )
        return (*notes, expected)
