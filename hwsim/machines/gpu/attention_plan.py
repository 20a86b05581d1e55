"""Attention as one kernel: which ones a library has, their time under the power cap, the plan of a layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, prod

import numpy as np
from numpy.typing import NDArray

from hwsim.machines.gpu.attention import AttentionChip, AttentionShapes, AttentionTiming, attention_timing
from hwsim.machines.gpu.attention_spec import DecodeKernel, PrefillKernel
from hwsim.machines.gpu.demand import GpuKernelPlan, Load
from hwsim.machines.gpu.lower import Phases, lower
from hwsim.machines.gpu.timing import Timer
from hwsim.machines.gpu.work import Types
from hwsim.machines.plan import Action
from hwsim.message import Message
from hwsim.workload import Layer
from hwsim.workload.product import Attended

__all__ = ["FusedAttention", "plan_attention"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_STAGES = ("launch", "multiply", "write back", "copy", "fetch", "reduce")
_REUSED = 64  # times that an operand in shared memory is used once it is in registers, as in products


@dataclass(frozen=True)
class FusedAttention:
    """The attention kernels of a library for one format of queries and one of keys and values."""

    timer: Timer
    library: str
    math: str
    cache: str
    kernels: tuple[PrefillKernel | DecodeKernel, ...]

    @classmethod
    def of(cls, timer: Timer, math: str, cache: str) -> FusedAttention | None:
        """Those of a machine; None if its library has none for these formats."""
        kernels = tuple(kernel for kernel in cls.all_of(timer) if math in kernel.types and cache in kernel.cache)
        phases = {kernel.phase for kernel in kernels if math in timer.spec.sm.macs}
        return cls(timer, timer.attention_library.name, math, cache, kernels) if len(phases) == 2 else None

    @staticmethod
    def all_of(timer: Timer) -> tuple[PrefillKernel | DecodeKernel, ...]:
        """Those for the generation, in formats that the machine multiplies."""
        kernels, formats = timer.attention_library.attention, timer.spec.sm.macs
        generation = timer.generation.name
        return tuple(k for k in kernels if generation in k.generations and any(math in formats for math in k.types))

    def unmeasured(self, phase: str) -> dict[str, str]:
        """What of the generation and formats was not measured in a phase, and what the times rest on."""
        mine = (self.timer.generation.name, self.math, self.cache)
        reasons = [kernel.unmeasured for kernel in self.kernels if kernel.phase == phase]
        return {what: why for each in reasons for what, why in each.items() if what in mine}

    @property
    def chip(self) -> AttentionChip:
        """The data sheet for the format of the queries."""
        timer = self.timer
        macs = float(timer.spec.sm.macs[self.math])
        return AttentionChip(timer.spec.sms, timer.clock, macs, timer.l2, timer.dram, timer.longer_launch)

    def amounts(self, x: AttentionShapes, timing: AttentionTiming) -> dict[str, Floats]:
        """Counts of each priced action: MACs, instructions, bytes at each level."""
        shape = self.timer.generation.instructions[self.math].tile
        operands = (x.query_bytes + x.cache_bytes) / _REUSED
        return {
            f"mac.{self.math}": timing.macs,
            "instruction": timing.macs / prod(shape) + timing.exponentials / 32,
            "l2": timing.l2_bytes,
            "shared": timing.l2_bytes + timing.macs * operands,
            "dram": timing.dram_bytes,
        }

    def slowdown(self, x: AttentionShapes, timing: AttentionTiming) -> Floats:
        """How much slower the power cap makes kernels that run alone."""
        energy = self.timer.energy(self.amounts(x, timing))
        return self.timer.slowdown(timing.time, energy, timing.dram_bytes * self.timer.price("dram"))

    def timing(self, x: AttentionShapes) -> AttentionTiming:
        """Microseconds at the full clock."""
        return attention_timing(self.kernels, x, self.chip)


def shapes_of(x: Attended, types: Types) -> AttentionShapes:
    """A layer as shapes of one."""

    def one(value: int) -> Ints:
        return np.array([value], np.int64)

    return AttentionShapes(
        batch=one(x.batch),
        queries=one(x.queries),
        context=one(x.context),
        heads=one(x.heads),
        kv_heads=one(x.kv_heads),
        dim=one(x.dim),
        value_dim=one(x.value_dim),
        window=one(x.window),
        new=one(x.new),
        causal=x.causal,
        query_bytes=types.a / 8,
        cache_bytes=types.w / 8,
        output_bytes=types.o / 8,
    )


def plan_attention(fused: FusedAttention, layer: Layer, batch: int, types: Types, slow: float = 1.0) -> GpuKernelPlan:
    """The kernel that the library takes for a layer; `slow` is what the power cap slows the clock by."""
    demand = layer.lower(batch)
    assert isinstance(demand, Attended)
    timer, x = fused.timer, shapes_of(demand, types)
    timing = fused.timing(x)
    kernel = fused.kernels[int(timing.kernel[0])]
    decode = isinstance(kernel, DecodeKernel)
    words = {name: float(value[0]) * slow for name, value in timing.terms.items()}
    bound = max(words, key=lambda word: words[word])
    us, launch_us = float(timing.time[0]) * slow, words["launch"]
    combine_us = float(timing.combine[0]) * slow
    total = timer.ticks(us)
    launch = min(timer.ticks(launch_us - combine_us), total)
    reduce = min(timer.ticks(combine_us), total - launch)
    multiply = total - launch - reduce
    dram_bytes, macs = int(timing.dram_bytes[0]), layer.macs * batch
    executed = max(macs, round(float(timing.macs[0])))
    l2_bytes = round(float(timing.l2_bytes[0]))
    l2 = l2_bytes / (0.55 * 64 * timer.spec.sms * timer.clock)
    dram = dram_bytes / timer.dram
    phases = Phases(
        launch, multiply, 0, reduce, min(timer.ticks(l2), multiply), min(timer.ticks(dram), multiply),
        int(timing.waves[0]),
    )  # fmt: skip
    peak = timer.peak(fused.math)
    ideal = macs / (peak * timer.clock)
    tiles, waves, splits = int(timing.tiles[0]), int(timing.waves[0]), int(timing.splits[0])
    fill = min(1.0, tiles / (waves * timer.spec.sms))
    after = us - launch_us
    amounts = tuple((name, float(value[0])) for name, value in fused.amounts(x, timing).items())
    load = Load(phases, min(us, max(fill * after, ideal)), min(l2, after), min(dram, after), us, amounts, slow)
    exponentials = round(float(timing.exponentials[0]))
    rows, blocks = int(timing.rows[0]), int(kernel.blocks(x.width / 2)[0])
    name = f"{'decode' if decode else 'prefill'} attention, {rows}x{blocks}"
    name += f", split {splits} ways" if splits > 1 else ""
    columns: dict[str, float | int | str] = {
        "kernel": name,
        "kernel_s": phases.total / timer.rate_hz,
        "launch_s": launch_us * 1e-6,
        "tensor_s": words["tensor"] * 1e-6,
        "exponential_s": words.get("exponential", 0.0) * 1e-6,
        "l2_s": words["L2"] * 1e-6,
        "dram_s": words["dram"] * 1e-6,
        "cta_s": words["cta overhead"] * 1e-6,
        "tiles": tiles,
        "splits": splits,
        "waves": waves,
        "macs_per_dram_byte": macs / dram_bytes if dram_bytes else 0.0,
        "ridge_macs_per_byte": peak * timer.clock / timer.dram,
        "peak_share": ideal / us,
        "clock_hz": timer.clock * 1e6 / slow,
    }
    seconds = phases.total / timer.rate_hz
    return GpuKernelPlan(
        layer, batch, f"{name} of {fused.library}", lower(phases),
        _counts(fused, demand, types, macs, executed, exponentials, l2_bytes, dram_bytes, float(timing.hot[0])),
        macs=macs, macs_live=layer.macs_live * batch, macs_executed=macs,
        compute_cycles=ceil(words["tensor"] / slow * timer.clock), peak_macs_per_cycle=peak,
        dram_bytes=dram_bytes, bounds=dict.fromkeys(("", *_STAGES), bound), columns=columns,
        why=_why(fused, kernel, demand, types, timing, words, (rows, blocks), executed, exponentials, slow),
        limits={word: us * 1e-6 for word, us in words.items()}, load=load, seconds=seconds,
        compute_bounds=("tensor", "issue", "exponential"), on_chip_energy=1 / slow,
    )  # fmt: skip


def _counts(
    fused: FusedAttention, x: Attended, types: Types, macs: int, executed: int, exponentials: int,
    l2_bytes: int, dram_bytes: int, hot: float,
) -> dict[Action, int]:  # fmt: skip
    """MACs of the layer and of masked scores, instructions, and bytes at each level."""
    instruction = fused.timer.generation.instructions[fused.math]
    output = min(dram_bytes, x.batch * x.queries * x.heads * x.value_dim * types.o // 8)
    query = min(dram_bytes - output, x.batch * x.queries * x.heads * x.dim * types.a // 8)
    output_l2 = min(l2_bytes, x.batch * x.queries * x.heads * x.value_dim * types.o // 8)
    query_l2 = min(l2_bytes - output_l2, x.batch * x.queries * x.heads * x.dim * types.a // 8)
    counts: dict[Action, int] = {
        ("mac", "", fused.math): macs,
        ("mac", "masked", fused.math): executed - macs,
        ("instruction", "", instruction.name): ceil(executed / prod(instruction.tile)),
        ("instruction", "", "MUFU.EX2"): ceil(exponentials / 32),
        ("shared", "operands", "read"): round(executed * (types.a + types.w) / 8 / _REUSED),
        ("shared", "operands", "fill"): l2_bytes,
        ("l2", "ifmap", "read"): query_l2,
        ("l2", "weight", "read"): l2_bytes - query_l2 - output_l2,
        ("l2", "ofmap", "write"): output_l2,
        ("dram", "ifmap", "read"): query,
        ("dram", "weight", "read"): dram_bytes - query - output,
        ("dram", "ofmap", "write"): output,
    }
    return {key: n for key, n in counts.items() if n}


def _why(
    fused: FusedAttention, kernel: PrefillKernel | DecodeKernel, x: Attended, types: Types, timing: AttentionTiming,
    words: Mapping[str, float], tile: tuple[int, int], executed: int, exponentials: int, slow: float,
) -> tuple[Message, ...]:  # fmt: skip
    timer, instruction = fused.timer, fused.timer.generation.instructions[fused.math]
    shape = {
        "instruction": instruction.name,
        "shape": "x".join(map(str, instruction.tile)),
        "unit": instruction.unit,
        "format": fused.math,
        "cache": fused.cache,
    }
    template = "{instruction} {shape} ({unit}), {format}; keys and values in {cache}"
    why = [Message("gpu.attention_instruction", template, shape)]
    splits, waves = int(timing.splits[0]), int(timing.waves[0])
    wave = {"rows": tile[0], "blocks": tile[1], "tiles": int(timing.tiles[0]), "waves": waves, "splits": splits}
    template = "{rows} rows by blocks of {blocks} positions: {tiles:count tile} in {waves:count wave}"
    if splits > 1:
        template += ", each of 1/{splits} of the context"
    why.append(Message("gpu.attention_tiles", template, wave))
    group = x.heads // x.kv_heads
    if group > 1:
        together = kernel.group > 1 if isinstance(kernel, DecodeKernel) else kernel.packed
        template = "{group} heads share keys and values, "
        template += "which a tile reads once for them" if together else "which each reads for itself, from L2 mostly"
        why.append(Message("gpu.attention_group", template, {"group": group}))
    macs = x.heads * (x.dim + x.value_dim)
    kv_bytes = round(float(x.batch * x.kv_heads * x.context * (x.dim + x.value_dim) * types.w / 8))
    done = {"macs": executed, "exponentials": exponentials, "kv_bytes": kv_bytes, "each": macs}
    template = "{macs:,} MACs with those of masked and padded scores, {exponentials:,} exponentials"
    why.append(Message("gpu.attention_work", template, done))
    template = "keys and values of the context: {kv_bytes:,} B, {hot:.0%} of them in L2 from before"
    why.append(Message("gpu.attention_cache", template, {"kv_bytes": kv_bytes, "hot": float(timing.hot[0])}))
    times = {word: us * 1e-6 for word, us in words.items() if us > 0}
    why.append(Message("gpu.time", "time by cause: {time_s:si s}", {"time_s": times}))
    if slow > 1.005:
        values = {"cap_w": float(timer.spec.power.board), "clock_hz": timer.clock * 1e6 / slow}
        why.append(Message("gpu.power_cap", "the power cap of {cap_w:g} W slows the clock to {clock_hz:si Hz}", values))
    return tuple(why)
