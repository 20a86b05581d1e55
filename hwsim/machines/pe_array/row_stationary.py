"""Row stationary on a chip like Eyeriss (Chen et al., JSSC 52(1), 2017): the mapper, and the time of its passes.

A PE keeps a row of a filter and slides a row of the ifmap past it; R x e PEs make a set that computes e rows of the ofmap.
Mapping parameters, as the paper names them: a pass takes n images, p t filters and q r channels of a strip of e ofmap rows
(p and q inside a PE, t and r across sets); the buffer holds the partial sums of m filters.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import Fault, InputError
from hwsim.machines.pe_array.work import ConvWork, as_conv
from hwsim.machines.plan import Action, LayerPlan
from hwsim.mapping import Keep, Loop, Mapping, Policy, Problem, conv_problem, counts
from hwsim.program import Pipeline, Program, Run, Stage
from hwsim.workload import Layer
from hwsim.workload.compression import rlc_expected_bytes

if TYPE_CHECKING:
    from hwsim.machines.pe_array.machine import PeArray

__all__ = ["Limits", "RsMapping", "candidates", "choose", "nest", "plan_row_stationary"]

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds a mapping, in words: the array, the scratchpads of a PE, the banks of the buffer."""

    rows: int
    cols: int
    weight_spad: int
    ifmap_spad: int
    psum_spad: int
    filter_buffer: int
    banks: int
    bank: int
    row_words: int
    min_occupation: float

    def sets(self, e: int, r: int) -> int:
        """Sets of r x e PEs that the array holds; a set wider than the array is folded onto several rows of sets."""
        if e <= self.cols:
            return self.rows // r * (self.cols // e)
        return self.rows // r // -(-e // self.cols)


@dataclass(frozen=True, slots=True)
class RsMapping:
    """A row-stationary mapping; f is the width of an ofmap tile."""

    n: int
    m: int
    e: int
    p: int
    q: int
    r: int
    t: int
    f: int
    candidates: int = 0
    ties: int = 0

    def text(self) -> str:
        """The parameters as the paper writes them."""
        return " ".join(f"{key}={getattr(self, key)}" for key in "nmepqrtf")


def _divisors(x: int) -> list[int]:
    small = [d for d in range(1, int(x**0.5) + 1) if x % d == 0]
    return sorted({*small, *(x // d for d in small)})


def _tile_width(work: ConvWork, limits: Limits) -> int:
    """Columns of the ofmap tile: the row is cut in the fewest parts of which one channel meets `row_words`."""
    for parts in range(1, work.q + 1):
        f = -(-work.q // parts)
        if -(-((f - 1) * work.stride[1] + work.s) // work.stride[1]) <= limits.row_words:
            return f
    return 1


def _strips(total: int, e: int) -> list[tuple[int, int]]:
    """(height, how many) of full strips and of the last, shorter one."""
    return [(h, n) for h, n in ((e, total // e), (total % e, 1)) if h and n]


COLUMNS = ("n", "m", "e", "p", "q", "r", "t", "active", "dram", "glb")


@lru_cache(maxsize=512)
def candidates(work: ConvWork, limits: Limits) -> Ints:
    """Every legal mapping, a row of `COLUMNS` each: parameters, active PEs, words of DRAM and of buffer traffic."""
    up, r_, s = work.stride[0], work.r, work.s
    f = _tile_width(work, limits)
    width = (f - 1) * work.stride[1] + s
    tiles = -(-work.q // f)
    all_widths = (work.q - tiles) * work.stride[1] + tiles * s
    filters = np.array(_divisors(work.k), dtype=np.int64)
    set_limit = limits.rows // r_ * limits.cols
    if not set_limit or s > limits.ifmap_spad:
        return np.empty((0, len(COLUMNS)), dtype=np.int64)
    grid = np.meshgrid(
        np.arange(1, min(limits.ifmap_spad // s, work.c) + 1),
        np.arange(1, min(set_limit, work.c) + 1),
        filters[filters <= limits.psum_spad],
        filters[filters <= set_limit],
        indexing="ij",
    )
    q, r, p, t = (axis.ravel() for axis in grid)
    keep = (
        (r * t <= set_limit)
        & (p * q * s <= limits.weight_spad)
        & (work.k % (p * t) == 0)
        & (p * t * q * r * r_ * s <= limits.filter_buffer)
        & (q * r < work.c + q)
        & ((q * r * -(-width // work.stride[1]) <= limits.row_words) | (q * r == 1))
    )
    q, r, p, t = (axis[keep] for axis in (q, r, p, t))
    qr, pt = q * r, p * t
    passes = -(-work.c // qr)
    found = []
    for e in range(1, min(work.p, limits.cols * (limits.rows // r_)) + 1):
        sets = limits.sets(e, r_)
        if not sets:
            continue
        strips = _strips(work.p, e)
        fetched = sum(((h - 1) * up + (r_ - 1) * work.dilation[0] + 1) * number for h, number in strips)
        number_of_strips = sum(number for _, number in strips)
        row_bytes = ((e - 1) * up + (r_ - 1) * work.dilation[0] + 1) * width
        fits = r * t <= sets
        for n in _divisors(work.n):
            ifmap_banks = -(-n * qr * row_bytes // limits.bank)
            for m in filters.tolist():
                psum_banks = -(-n * m * e * f // limits.bank)
                if psum_banks >= limits.banks:
                    break
                i = fits & (m % pt == 0) & (ifmap_banks + psum_banks <= limits.banks)
                if not i.any():
                    continue
                rows = np.empty((int(i.sum()), len(COLUMNS)), dtype=np.int64)
                rows[:, 0], rows[:, 1], rows[:, 2] = n, m, e
                rows[:, 3], rows[:, 4], rows[:, 5], rows[:, 6] = p[i], q[i], r[i], t[i]
                rows[:, 7] = r_ * e * r[i] * t[i]
                ifmap = work.c * work.n * fetched * all_widths * (work.k // m)
                filter_words = work.k * work.c * r_ * s * number_of_strips * tiles * (work.n // n)
                rows[:, 8] = work.g * (ifmap + filter_words + work.n * work.k * work.p * work.q)
                psums = 2 * passes[i] * work.k * work.p * work.q
                rows[:, 9] = work.g * work.n * (psums + work.c * fetched * all_widths * (work.k // pt[i]))
                found.append(rows)
    return np.concatenate(found) if found else np.empty((0, len(COLUMNS)), dtype=np.int64)


def choose(work: ConvWork, limits: Limits) -> RsMapping | None:
    """The mapping the chip would take: enough PEs active, then least DRAM words, most PEs, least buffer words, largest p.

    None where no mapping exists.
    """
    table = candidates(work, limits)
    if not len(table):
        return None
    n, m, e, p, q, r, t, active, dram, glb = table.T
    enough = active >= limits.min_occupation * active.max()
    few = table[enough]
    order = np.lexsort((-few[:, 3], few[:, 9], -few[:, 7], few[:, 8]))
    best = few[order[0]]
    ties = int((few[:, [3, 7, 8, 9]] == best[[3, 7, 8, 9]]).all(axis=1).sum())
    values = dict(zip("nmepqrt", (int(v) for v in best[:7])))
    return RsMapping(**values, f=_tile_width(work, limits), candidates=len(table), ties=ties)


def nest(memories: dict[str, str], mapping: RsMapping, part: ConvWork) -> Mapping:
    """The loop nest of a mapping over a strip or several like ones (`part`)."""
    m, e, f = mapping, min(mapping.e, part.p), min(mapping.f, part.q)
    qr, pt = min(m.q * m.r, part.c), m.p * m.t
    q = min(m.q, qr)
    dram, buffer = memories["dram"], memories["buffer"]
    return Mapping(
        (
            Keep(dram, ("ifmap", "weight", "ofmap")),
            Loop("G", 1),
            Loop("N", m.n),
            Loop("P", e),
            Loop("Q", f),
            Loop("K", m.m),
            Keep(buffer, ("ofmap",)),
            Loop("C", qr),
            Keep(buffer, ("ifmap",)),
            Loop("K", pt),
            Keep(memories["filter"], ("weight",)),
            Loop("R", 1, "rows"),
            Loop("P", 1, "cols"),
            Loop("C", q, "sets"),
            Loop("K", m.p, "sets"),
            Keep(memories["weight"], ("weight",)),
            Loop("N", 1),
            Loop("Q", 1),
            Keep(memories["ifmap"], ("ifmap",)),
            Keep(memories["psum"], ("ofmap",)),
            Loop("K", 1),
            Loop("C", 1),
            Loop("S", 1),
        )
    )


def _ragged(work: ConvWork, mapping: RsMapping, e: int, bank: int) -> RsMapping:
    """A short last strip leaves sets free: r doubles and t halves while its channels still share a bank."""
    width = (mapping.f - 1) * work.stride[1] + work.s
    rows = (e - 1) * work.stride[0] + work.r
    while (
        e < mapping.e
        and mapping.t % 2 == 0
        and 2 * mapping.q * mapping.r <= work.c
        and 2 * mapping.q * mapping.r * rows * width <= bank
    ):
        mapping = replace(mapping, r=2 * mapping.r, t=mapping.t // 2)
    return mapping


def limits_of(machine: PeArray, word_bits: int) -> tuple[Limits, dict[str, str]]:
    """The limits of a machine in words, and which memory plays which part; raises InputError where one is missing."""
    spec = machine.spec
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
            [Fault(machine.document.name, "memories", f"row stationary needs a memory for: {', '.join(missing)}")]
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
    )
    return limits, names


def plan_row_stationary(machine: PeArray, layer: Layer, batch: int) -> LayerPlan:
    """Plan a layer: choose the mapping, count it, and time its passes on the array, the ports and the link."""
    work = as_conv(layer, batch)
    assert work is not None
    bits = machine.bits(layer)
    limits, names = limits_of(machine, bits[0])
    chosen = choose(work, limits)
    if chosen is None:
        raise InputError([Fault("", layer.name, _impossible(work, limits, names))])
    return _Chip(machine, layer, batch, work, limits, names, chosen, bits).plan()


def _impossible(work: ConvWork, limits: Limits, names: dict[str, str]) -> str:
    """Which memory or side is too small, by how much."""
    if work.r > limits.rows:
        return f"a filter of {work.r} rows needs {work.r} rows of PEs; the array has {limits.rows}: {work.r - limits.rows} too few"
    if work.s > limits.ifmap_spad:
        over = work.s - limits.ifmap_spad
        return f"{names['ifmap']} holds {limits.ifmap_spad} words; a filter row of {work.s} is {over} too much"
    if work.r * work.s > limits.filter_buffer:
        over = work.r * work.s - limits.filter_buffer
        return f"{names['filter']} holds {limits.filter_buffer} words; a filter of {work.r * work.s} is {over} too much"
    need = 1 + -(
        -((work.r - 1) * work.dilation[0] + 1)
        * ((_tile_width(work, limits) - 1) * work.stride[1] + work.s)
        // limits.bank
    )
    return f"{names['buffer']} has {limits.banks} banks; one row of psums and its ifmap rows need {need}: {need - limits.banks} too few"


class _Chip:
    """One layer on the chip: walks its strips and adds up counts, bytes, and the ticks of loads, passes and drains."""

    def __init__(
        self, machine: PeArray, layer: Layer, batch: int, work: ConvWork, limits: Limits,
        names: dict[str, str], chosen: RsMapping, bits: tuple[int, int, int],
    ) -> None:  # fmt: skip
        self.machine, self.layer, self.batch, self.work = machine, layer, batch, work
        self.limits, self.names, self.chosen, self.bits = limits, names, chosen, bits
        spec = machine.spec
        self.dram = spec.memories[spec.dram]
        self.buffer, self.filter = spec.memories[names["buffer"]], spec.memories[names["filter"]]
        self.actions: dict[Action, int] = {}
        self.bytes = {"ifmap": Fraction(0), "weight": Fraction(0), "ofmap": Fraction(0)}
        self.busy: dict[str, int] = {}
        self.runs: list[Run] = []
        self.compute_cycles = 0
        self.nests: list[Mapping] = []

    def _port(self, memory: str, tensor: str) -> Fraction:
        """Words a cycle through the port of a tensor; unlimited where the file gives none."""
        rate = self.machine.spec.memories[memory].ports.get(tensor)
        if rate is None:
            return Fraction(2**40)
        word = Fraction(self.bits[0], 8)
        return (
            rate.bytes_per_second(self.machine.timebase.clocks[self.machine.core_clock], self.bits[0])
            / word
            / (self.machine.timebase.clocks[self.machine.core_clock])
        )

    def _packed(self, tensor: str, rows: int, row: int, density: float) -> float:
        """Bytes on the link of so many rows of a tensor."""
        raw = self.bits[0] / 8
        if tensor in self.dram.compress:
            return rlc_expected_bytes(rows, row, density, raw)
        return rows * row * raw

    def plan(self) -> LayerPlan:
        """The plan."""
        machine, layer, work, chosen = self.machine, self.layer, self.work, self.chosen
        spec = machine.spec
        top = 0
        parts: dict[tuple[int, int], int] = {}  # (strip height, rows of it that lie in the image) -> how many
        for height, number in _strips(work.p, chosen.e):
            for _ in range(number):
                rows = (height - 1) * work.stride[0] + (work.r - 1) * work.dilation[0] + 1
                inside = max(1, min(top + rows, work.pad_top + work.real_rows) - max(top, work.pad_top))
                parts[height, inside] = parts.get((height, inside), 0) + 1
                top += height * work.stride[0]
        for (height, inside), number in parts.items():
            mapping = _ragged(work, chosen, height, self.limits.bank)
            tiles = [(chosen.f, work.q // chosen.f), (work.q % chosen.f, 1)]
            for f, columns in tiles:
                if f and columns:
                    self._time(mapping, height, inside, f, number * columns)
        for height, number in _strips(work.p, chosen.e):
            self._count(_ragged(work, chosen, height, self.limits.bank), height * number)
        dram_bytes = {tensor: ceil(size) for tensor, size in self.bytes.items()}
        word = self.bits[0]
        for tensor, action in (("ifmap", "read"), ("weight", "read"), ("ofmap", "update")):
            self.actions[spec.dram, tensor, action] = -(-dram_bytes[tensor] * 8 // word)
        executed = self._macs()
        setup = machine.timebase.rate_hz * spec.setup if spec.setup is not None else Fraction(0)
        if setup:
            self.runs.append(Run(1, (0, ceil(setup), 0)))
        stages = (
            Stage("load", spec.dram, buffer=2 if self.buffer.double_buffered else 1),
            Stage("process", "array", buffer=2),
            Stage("drain", spec.dram),
        )
        glb = sum(
            n for (c, _, a), n in self.actions.items() if c == self.names["buffer"] and a in ("read", "update", "drain")
        )
        bound = max(self.busy, key=lambda name: self.busy[name])
        seconds = float(self.compute_cycles / machine.timebase.clocks[machine.core_clock])
        active = work.r * chosen.e * chosen.r * chosen.t
        return LayerPlan(
            layer,
            self.batch,
            "row stationary",
            Program({spec.dram: 1, "array": 1}, (Pipeline("passes", stages, tuple(self.runs)),)),
            self.actions,
            macs=work.macs,
            macs_live=layer.macs_live * self.batch,
            macs_executed=executed,
            compute_cycles=self.compute_cycles,
            peak_macs_per_cycle=machine.peak_macs_per_cycle,
            dram_bytes=sum(dram_bytes.values()),
            bounds={"load": "link", "process": bound, "drain": "link"},
            word_bits=dict.fromkeys(("ifmap", "weight", "ofmap"), word),
            problem=self._problem(work.p),
            mapping=self.nests[0],
            columns={
                "processing_s": seconds,
                "active_pes": active,
                "glb_bytes": glb * word // 8,
                "mapping": chosen.text(),
            },
            why=(
                f"{chosen.candidates} mappings fit; of those with at least {self.limits.min_occupation:.0%} of the most active PEs, "
                f"this one moves the fewest words over DRAM ({chosen.ties} alike)",
                f"cycles of the passes by what binds them: {', '.join(f'{k} {v:,}' for k, v in sorted(self.busy.items(), key=lambda i: -i[1]))}",
            ),
        )

    def _macs(self) -> int:
        """Count MACs, and those that a zero in the ifmap gates or skips; returns how many the array executes."""
        zeros, macs = self.machine.spec.array.zeros, self.work.macs
        idle = round(macs * (1.0 - self.layer.input.density)) if zeros != "compute" else 0
        self.actions["mac", "", self.layer.input.dtype] = macs - idle
        if not idle:
            return macs
        if zeros == "gate":
            # A gated PE still reads the ifmap word that it finds to be zero; the weight, the product and the sum rest.
            self.actions["mac", "", "gated"] = idle
            for part, tensor in (("weight", "weight"), ("psum", "ofmap")):
                for action in ("read", "update"):
                    key = (self.names[part], tensor, action)
                    if self.actions.get(key):
                        self.actions[key] -= min(self.actions[key], idle)
        return macs if zeros == "gate" else macs - idle

    def _problem(self, p: int) -> Problem:
        w = self.work
        return conv_problem(w.n, w.g, w.k, w.c, p, w.q, w.r, w.s, w.stride, w.dilation, self.bits)

    def _count(self, mapping: RsMapping, rows: int) -> None:
        """Add the counts of the strips that share a mapping."""
        loop_nest = nest(self.names, mapping, replace(self.work, p=rows))
        self.nests.append(loop_nest)
        # Windows slide inside a PE; whether the buffer keeps the rows that two strips share is up to the chip.
        refill = (self.names["buffer"],) if self.machine.spec.mapper.halo == "refill" else ()
        counted = counts(self._problem(rows), loop_nest, Policy(multicast="word", refill=refill))
        dram = self.machine.spec.dram
        for (memory, tensor, action), n in counted.actions.items():
            if n and memory != dram and action in ("read", "fill", "update", "drain"):
                self.actions[memory, tensor, action] = self.actions.get((memory, tensor, action), 0) + n
            if n and action in ("deliver", "reduce") and memory in (self.names["buffer"], self.names["filter"]):
                self.actions["noc", tensor, action] = self.actions.get(("noc", tensor, action), 0) + n

    def _time(self, mapping: RsMapping, height: int, inside: int, f: int, strips: int) -> None:
        """Add the fills of `strips` like strips: each channel group is loaded, processed for all filters, drained at the end."""
        w, machine, m = self.work, self.machine, mapping
        groups = w.g * (w.n // m.n) * (w.k // m.m) * strips
        passes = m.m // (m.p * m.t)
        rows = (height - 1) * w.stride[0] + (w.r - 1) * w.dilation[0] + 1
        width = (f - 1) * w.stride[1] + (w.s - 1) * w.dilation[1] + 1
        stored = min(width, w.real_cols)
        link = machine.spec.bytes_per_second(self.dram.bandwidth, self.dram, self.bits[0])  # type: ignore[arg-type]
        out = self._packed("ofmap", m.n * m.m * height, f, self.layer.output.density)
        self.bytes["ofmap"] += groups * Fraction(out)
        rate = machine.timebase.rate_hz

        def fill(channels: int, number: int) -> tuple[int, int]:
            """Ticks of load and of processing of one channel group; adds up its bytes and cycles."""
            q = min(m.q, -(-channels // m.r))
            parts = {
                "compute": Fraction(m.p * q * w.s + machine.spec.array.psum_cycles * m.p),
                "psum port": height * m.p * m.t / self._port(self.names["buffer"], "ofmap"),
                "ifmap port": channels * w.stride[1] * rows / self._port(self.names["buffer"], "ifmap"),
            }
            binding = max(parts, key=lambda name: parts[name])
            body = ceil(m.n * f * parts[binding])
            weights = m.p * m.t * channels * w.r * w.s
            ramp = (
                ceil(
                    weights / self._port(self.names["filter"], "weight")
                    + channels * w.s * rows / self._port(self.names["buffer"], "ifmap")
                )
                + machine.spec.mapper.pass_cycles
            )
            cycles = passes * (body + ramp)
            image = self._packed("ifmap", channels * inside, stored, self.layer.input.density)
            filters = weights * self.bits[1] / 8
            self.busy[binding] = self.busy.get(binding, 0) + groups * number * passes * body
            self.busy["pass start"] = self.busy.get("pass start", 0) + groups * number * passes * ramp
            self.compute_cycles += groups * number * cycles
            self.bytes["ifmap"] += groups * number * m.n * Fraction(image)
            self.bytes["weight"] += groups * number * passes * Fraction(filters)
            # The first image and the first pass's filters must be there; the others arrive while the array works.
            load = ceil(Fraction(image + filters) / link * rate)
            rest = ceil(Fraction((m.n - 1) * image + (passes - 1) * filters) / link * rate)
            if rest > machine.cycle_ticks(cycles):
                self.busy["link"] = self.busy.get("link", 0) + groups * number * cycles
            return load, max(machine.cycle_ticks(cycles), rest)

        full, left = divmod(w.c, m.q * m.r)
        drain = ceil(Fraction(out) / link * rate)
        tiles = [(fill(m.q * m.r, full), full)] if full else []
        tiles += [(fill(left, 1), 1)] if left else []
        body = [Run(number, (*ticks, 0)) for ticks, number in tiles[:-1]]
        last, number = tiles[-1]
        body += [Run(number - 1, (*last, 0)), Run(1, (*last, drain))]
        self.runs.append(Run(groups, tuple(body)))
