"""Row stationary on a chip like Eyeriss (Chen et al., JSSC 52(1), 2017): time, traffic and counts of its passes.

A PE keeps a row of a filter and slides a row of the ifmap past it. A pass starts by loading filters and the first
window, then every column of the ofmap takes as long as its slowest part: the MACs of a PE, the psum port or the ifmap
port of the buffer. The buffer is not double buffered: the first image and the first filters of each channel group are
waited for.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from math import ceil

from hwsim.compression.storage import expected_bits, rlc_expected_bytes
from hwsim.engine.program import Pipeline, Program, Run, Stage
from hwsim.errors import Fault, InputError
from hwsim.machines.pe_array.array import Array
from hwsim.machines.pe_array.rs_cost import byte_ticks, choose_cheapest, choose_within, rates_of
from hwsim.machines.pe_array.rs_mapper import (
    Limits,
    RsMapping,
    bands,
    choose,
    explain_infeasible,
    nest,
    parse_mapping,
    ragged,
    strips,
)
from hwsim.machines.pe_array.spec import Tensor
from hwsim.machines.pe_array.work import ConvWork, as_conv, effectual_share, mac_actions, resting_words
from hwsim.machines.plan import Action, LayerPlan, Part
from hwsim.mapping import Counts, Policy, Problem, conv_problem, counts
from hwsim.message import Message
from hwsim.workload import Layer
from hwsim.workload.product import geometry_of

__all__ = ["limits_of", "plan_row_stationary"]

GRID = 2**20
"""Steps in a byte of an expected size, so that rounding of a product does not add a tick; the search has the same."""


def limits_of(array: Array, word_bits: int) -> tuple[Limits, dict[str, str]]:
    """The limits of a machine in words, and which memory plays which part; raises InputError where one is missing."""
    spec = array.spec
    names = {"dram": spec.dram}
    for name, memory in list(spec.memories.items())[1:]:
        if memory.per == "pe":
            for tensor in memory.holds:
                names["psum" if tensor == "ofmap" else tensor] = name
        elif "ofmap" in memory.holds:
            names["buffer"] = name
        elif memory.holds == ["weight"]:
            names["filter"] = name
    missing = [part for part in ("buffer", "filter", "weight", "ifmap", "psum") if part not in names]
    if missing:
        raise InputError(
            [Fault(array.document.name, "memories", f"row stationary needs a memory for: {', '.join(missing)}")]
        )

    def words(part: str, tensor: str) -> int:
        size = spec.memories[names[part]].capacity_bytes(tensor)
        return 2**62 if size is None else size * 8 // word_bits

    bank = spec.memories[names["buffer"]].bank
    buffer_words = words("buffer", "ofmap")
    bank_words = int(bank) * 8 // word_bits if bank is not None else 1
    limits = Limits(
        rows=spec.array.rows,
        cols=spec.array.cols,
        weight_spad=words("weight", "weight"),
        ifmap_spad=words("ifmap", "ifmap"),
        psum_spad=words("psum", "ofmap"),
        filter_buffer=words("filter", "weight"),
        banks=buffer_words // bank_words,
        bank=bank_words,
        row_words=spec.mapper.row_words or 2**40,
        min_occupation=spec.mapper.min_occupation,
        psum_port=float(_port(array, names["buffer"], "ofmap", word_bits)),
        ifmap_port=float(_port(array, names["buffer"], "ifmap", word_bits)),
        filter_port=float(_port(array, names["filter"], "weight", word_bits)),
        pass_cycles=spec.mapper.pass_cycles,
    )
    return limits, names


def _port(array: Array, memory: str, tensor: Tensor, word_bits: int) -> Fraction:
    """Words a cycle through the port of a tensor; as good as unlimited where the file gives none."""
    level = array.spec.memories[memory]
    rate = level.ports.get(tensor)
    if rate is None:
        return Fraction(2**40)
    return array.spec.bytes_per_second(rate, level, word_bits) / Fraction(word_bits, 8) / array.clock_hz


def plan_row_stationary(array: Array, layer: Layer, batch: int, by_hand: str | None = None) -> LayerPlan:
    """Plan a layer: choose the mapping (or take the one given), count it, and time its passes, ports and link."""
    limits, names = limits_of(array, array.bits(layer)[0])
    work = as_conv(layer, batch)
    assert work is not None
    if geometry_of(layer.lower(1)) is None and choose(work, limits) is None:
        work = as_conv(layer, batch, flat=True)  # an image larger than a filter may be
        assert work is not None
    chosen: RsMapping | None
    if by_hand is None:
        mapper, rates = array.spec.mapper, rates_of(array, layer, work, limits, names)
        if mapper.objective != "dram":
            chosen = choose_cheapest(work, limits, rates, mapper.objective)
        elif mapper.margin is None:
            chosen = choose(work, limits)
        else:
            chosen = choose_within(work, limits, rates, mapper.margin)
        if chosen is None:
            raise InputError([Fault("", layer.name, explain_infeasible(work, limits, names))])
    else:
        try:
            chosen = parse_mapping(work, limits, by_hand)
        except ValueError as error:
            key = array.mapping_key(layer.name) or layer.name
            raise InputError([Fault(array.document.where(("mappings", key)), f"mappings.{key}", str(error))]) from None
    return _Chip(array, layer, batch, work, chosen).plan()


@lru_cache(maxsize=4096)
def _problem(w: ConvWork, bits: tuple[int, int, int]) -> Problem:
    return conv_problem(w.n, w.g, w.k, w.c, w.p, w.q, w.r, w.s, w.stride, w.dilation, bits)


@lru_cache(maxsize=4096)
def _counted(
    work: ConvWork, mapping: RsMapping, names: tuple[tuple[str, str], ...], bits: tuple[int, int, int], refills: bool
) -> tuple[Part, Counts]:
    """The nest of a mapping and its counts, which no clock, bandwidth or price changes: chips share them."""
    memories = dict(names)
    # Windows slide inside a PE; whether the buffer keeps the rows that two strips share is up to the chip.
    refill = (memories["buffer"],) if refills else ()
    part = (_problem(work, bits), nest(memories, mapping, work), Policy(multicast="word", refill=refill))
    return part, counts(*part)


class _Chip:
    """One layer on the chip: walks its strips and adds up counts, bytes, and the ticks of loads, passes and drains."""

    def __init__(self, array: Array, layer: Layer, batch: int, work: ConvWork, chosen: RsMapping) -> None:
        self.array, self.layer, self.batch, self.work, self.chosen = array, layer, batch, work, chosen
        self.bits = array.bits(layer)
        self.limits, self.names = limits_of(array, self.bits[0])
        spec, names = array.spec, self.names
        self.dram = spec.memories[spec.dram]
        self.buffer, self.filter = spec.memories[names["buffer"]], spec.memories[names["filter"]]
        self.actions: dict[Action, int] = {}
        self.bytes = {"ifmap": Fraction(0), "weight": Fraction(0), "ofmap": Fraction(0)}
        self.busy: dict[str, int] = {}
        self.runs: list[Run] = []
        self.waiting = 0  # ticks in which the psums of the last tile leave
        self.compute_cycles = 0
        self.nests: list[Part] = []
        # Zeros that are skipped take no cycle: on average, the array being balanced, that share of the MACs is left.
        skips = spec.array.zeros == "skip"
        self.executed = Fraction(effectual_share(layer, spec.array)) if skips else 1
        self.psum_port = _port(array, names["buffer"], "ofmap", self.bits[0])
        self.ifmap_port = _port(array, names["buffer"], "ifmap", self.bits[0])
        self.filter_port = _port(array, names["filter"], "weight", self.bits[0])
        self.byte_ticks = byte_ticks(array, self.bits[0])

    def _packed(self, tensor: Tensor, rows: int, row: int, density: float) -> float:
        """Bytes on the link of so many rows of a tensor."""
        bits, own = self.bits[tensor == "weight"], tensor in self.dram.compress
        form, raw = self.array.storage(self.layer, self.dram, tensor), rows * row * bits / 8
        if form == "dense":
            return raw
        if form == "rlc" and own:
            return rlc_expected_bytes(rows, row, density, bits / 8)
        runs = self.array.run_bits(self.layer, self.dram, tensor)
        size = round(expected_bits(form, (rows, row), density, bits, runs) / 8 * GRID) / GRID
        return min(size, raw) if own else size

    def plan(self) -> LayerPlan:
        """The plan."""
        array, layer, work, chosen = self.array, self.layer, self.work, self.chosen
        spec = array.spec
        for (height, inside), number in bands(work, chosen.e).items():
            mapping = ragged(work, chosen, height, self.limits.bank)
            tiles = [(chosen.f, work.q // chosen.f), (work.q % chosen.f, 1)]
            for f, columns in tiles:
                if f and columns:
                    self._time(mapping, height, inside, f, number * columns)
        for height, number in strips(work.p, chosen.e):
            self._count(ragged(work, chosen, height, self.limits.bank), height * number)
        dram_bytes = {tensor: ceil(size) for tensor, size in self.bytes.items()}
        word = self.bits[0]
        for tensor, action in (("ifmap", "read"), ("weight", "read"), ("ofmap", "update")):
            self.actions[spec.dram, tensor, action] = -(-dram_bytes[tensor] * 8 // word)
        executed = self._macs()
        double = self.buffer.double_buffered
        if not double:
            self.runs += [Run(1, (0, 1, 0)), Run(1, (self.waiting - 1, 0, 0))]  # behind the last pass
        setup = array.timebase.rate_hz * spec.setup if spec.setup is not None else Fraction(0)
        if setup:
            self.runs.append(Run(1, (0, ceil(setup), 0) if double else (0, 0, ceil(setup))))
        # A channel group is two tiles: what it waits for, and what arrives while the array works.
        load, process = Stage("load", "link", buffer=4 if double else 2), Stage("process", "array", buffer=4)
        # Without a second buffer, the drain takes its turn behind the load, whichever of array and link was done first.
        drain = Stage("drain", "link", buffer=2 if double else 1)
        stages = (load, process, drain) if double else (drain, load, process)
        glb = sum(
            n for (c, _, a), n in self.actions.items() if c == self.names["buffer"] and a in ("read", "update", "drain")
        )
        bound = max(self.busy, key=lambda name: self.busy[name])
        seconds = float(self.compute_cycles / array.clock_hz)
        active = work.r * chosen.e * chosen.r * chosen.t
        return LayerPlan(
            layer,
            self.batch,
            "row stationary",
            Program({"link": 1, "array": 1}, (Pipeline("passes", stages, tuple(self.runs)),)),
            self.actions,
            macs=work.macs,
            macs_live=layer.macs_live * self.batch,
            macs_executed=executed,
            compute_cycles=self.compute_cycles,
            peak_macs_per_cycle=array.pes,
            dram_bytes=sum(dram_bytes.values()),
            bounds={"load": "link", "process": bound, "drain": "link"},
            word_bits=dict.fromkeys(("ifmap", "weight", "ofmap"), word),
            problem=_problem(work, self.bits),
            mapping=self.nests[0][1],
            parts=tuple(self.nests),
            # The chip's power was measured while it processes, without the transfers of the link.
            time_column="processing_s",
            columns={
                "processing_s": seconds,
                "active_pes": active,
                "glb_bytes": glb * word // 8,
                "mapping": chosen.text(),
            },
            why=(
                self._choice(),
                Message(
                    "pe_array.pass_cycles",
                    "cycles of the passes by bottleneck: {cycles:,}",
                    {"cycles": dict(sorted(self.busy.items(), key=lambda item: -item[1]))},
                ),
            ),
        )

    def _choice(self) -> Message:
        """What the mapping was chosen from."""
        chosen, share = self.chosen, self.limits.min_occupation
        if not chosen.ties:
            return Message("pe_array.own_mapping", "the mapping comes from the machine file")
        if (objective := self.array.spec.mapper.objective) != "dram":
            template = "of all mappings, this one has the least {objective}"
            template += ", as {others:count other}" if chosen.ties > 1 else ""
            values = {"objective": objective, "others": chosen.ties - 1}
            return Message("pe_array.row_stationary_cheapest", template, values)
        bounds: dict[str, float] = {"share": share, "others": chosen.ties - 1}
        template = "of the mappings with at least {share:.0%} of the most active PEs"
        if (margin := self.array.spec.mapper.margin) is not None:
            bounds["margin"] = margin
            if chosen.swaps is not None:
                template = "no mapping with at least {share:.0%} of the most active PEs is at most {margin:.0%} above"
                template += " the least latency and energy; this one is the fastest of all"
                return Message("pe_array.row_stationary_fastest", template, bounds)
            template += " and at most {margin:.0%} above the least latency and energy"
        template += ", this one has the least DRAM traffic"
        template += ", as {others:count other}" if chosen.ties > 1 else ""
        return Message("pe_array.row_stationary_search", template, bounds)

    def _macs(self) -> int:
        """Count MACs, and those that a zero gates or skips; returns how many the array executes."""
        spec, macs = self.array.spec.array, self.work.macs
        computed = mac_actions(self.layer, macs, spec)
        self.actions |= computed
        for tensor, idle in resting_words(self.layer, macs, spec).items():
            for action in ("read", "update"):
                key = (self.names["psum" if tensor == "ofmap" else tensor], tensor, action)
                if self.actions.get(key):
                    self.actions[key] -= min(self.actions[key], idle)
        return computed["mac", "", self.layer.input.dtype] if spec.zeros == "skip" else macs

    def _count(self, mapping: RsMapping, rows: int) -> None:
        """Add the counts of the strips that share a mapping."""
        refills = self.array.spec.mapper.halo == "refill"
        bare = replace(mapping, ties=0)
        part, counted = _counted(replace(self.work, p=rows), bare, tuple(self.names.items()), self.bits, refills)
        self.nests.append(part)
        dram = self.array.spec.dram
        for (memory, tensor, action), n in counted.actions.items():
            if n and memory != dram and action in ("read", "fill", "update", "drain"):
                self.actions[memory, tensor, action] = self.actions.get((memory, tensor, action), 0) + n
            if n and action in ("deliver", "reduce") and memory in (self.names["buffer"], self.names["filter"]):
                self.actions["noc", tensor, action] = self.actions.get(("noc", tensor, action), 0) + n

    def _time(self, mapping: RsMapping, height: int, inside: int, f: int, number: int) -> None:
        """Add the fills of like strips, of full groups of images and filters and of those that are left."""
        w, m = self.work, mapping
        for n, images in strips(w.n, m.n):
            for k, filters in strips(w.k, m.m):
                self._fills(replace(m, n=n, m=k), height, inside, f, w.g * images * filters * number)

    def _fills(self, mapping: RsMapping, height: int, inside: int, f: int, groups: int) -> None:
        """Each channel group of a tile is loaded and processed for all its filters; the tile is drained at the end."""
        w, array, m = self.work, self.array, mapping
        rows = (height - 1) * w.stride[0] + (w.r - 1) * w.dilation[0] + 1
        width = (f - 1) * w.stride[1] + (w.s - 1) * w.dilation[1] + 1
        stored = min(width, w.real_cols)
        out = self._packed("ofmap", m.n * m.m * height, f, self.layer.output.density)
        self.bytes["ofmap"] += groups * Fraction(out)

        def fill(channels: int, number: int) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
            """Ticks of a channel group: what it waits for and its passes, then what arrives while the array works."""
            q = min(m.q, -(-channels // m.r))
            image = self._packed("ifmap", channels * inside, stored, self.layer.input.density)
            self.bytes["ifmap"] += groups * number * m.n * Fraction(image)
            cycles, loaded, first = 0, Fraction(0), Fraction(0)
            for pt, passes in strips(m.m, m.p * m.t):
                parts = {
                    "compute": -(-pt // m.t) * q * w.s * self.executed,
                    "psum port": height * pt / self.psum_port,
                    "ifmap port": channels * w.stride[1] * rows / self.ifmap_port,
                }
                binding = max(parts, key=lambda name: parts[name])
                body = ceil(m.n * f * parts[binding])
                weights = pt * channels * w.r * w.s
                ramp = (
                    ceil(weights / self.filter_port + channels * w.s * rows / self.ifmap_port)
                    + array.spec.mapper.pass_cycles
                )
                self.busy[binding] = self.busy.get(binding, 0) + groups * number * passes * body
                self.busy["pass start"] = self.busy.get("pass start", 0) + groups * number * passes * ramp
                cycles += passes * (body + ramp)
                filters = Fraction(self._packed("weight", pt, channels * w.r * w.s, self.layer.weight.density))
                loaded += passes * filters
                first = first or filters
            self.compute_cycles += groups * number * cycles
            self.bytes["weight"] += groups * number * loaded
            # The first image and the first pass's filters must be there; the others arrive while the array works.
            load = ceil(Fraction(Fraction(image) + first) * self.byte_ticks)
            rest = ceil(Fraction((m.n - 1) * Fraction(image) + loaded - first) * self.byte_ticks)
            # The buffer has no room for the next group before both are done, however short the transfer.
            return (load, array.cycle_ticks(cycles), 0), (max(rest, 1), 0, 0)

        full, left = divmod(w.c, m.q * m.r)
        fills = [(fill(m.q * m.r, full), full)] if full else []
        fills += [(fill(left, 1), 1)] if left else []
        drain = ceil(Fraction(out) * self.byte_ticks)
        if self.buffer.double_buffered:
            tiles = [Run(number, tuple(Run(1, tile) for tile in pair)) for pair, number in fills]
            (load, cycles, _), last = fills[-1][0]
            tiles[-1] = replace(tiles[-1], count=tiles[-1].count - 1)
            self.runs.append(Run(groups, (*tiles, Run(1, (load, cycles, drain)), Run(1, last))))
            return
        # The psums of a tile leave between the two transfers of the next tile's first channel group.
        tiles = [
            Run(n, (Run(1, (0, load, cycles)), Run(1, (0, rest, 0)))) for ((load, cycles, _), (rest, _, _)), n in fills
        ]
        tiles[0] = replace(tiles[0], count=tiles[0].count - 1)
        (load, cycles, _), (rest, _, _) = fills[0][0]
        alike = self.waiting == drain
        for number, before in ((groups, drain),) if alike else ((1, self.waiting), (groups - 1, drain)):
            self.runs.append(Run(number, (Run(1, (0, load, cycles)), Run(1, (before, rest, 0)), *tiles)))
        self.waiting = drain
