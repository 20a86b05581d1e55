"""The plan of one layer: kernel, traffic, bottlenecks and engine program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil

import numpy as np

from hwsim.errors import Fault, InputError
from hwsim.machines.gpu.collective import CollectiveSet, LinkSpec, collective_us
from hwsim.machines.gpu.demand import GpuKernelPlan, Load
from hwsim.machines.gpu.lower import Phases, lower, lower_exchange, nothing
from hwsim.machines.gpu.nest import stream_nest, tile_nest
from hwsim.machines.gpu.selection import Selection
from hwsim.machines.gpu.timing import Timer
from hwsim.machines.gpu.work import StreamingKernel, TiledProduct, Types, half, layer_kind
from hwsim.machines.plan import Action
from hwsim.message import Message
from hwsim.workload import Layer
from hwsim.workload.product import Product, Stream

__all__ = ["plan_collective", "plan_nothing", "plan_product", "plan_stream"]

Columns = dict[str, float | int | str]
_STAGES = ("launch", "multiply", "write back", "copy", "fetch", "reduce")
_STREAM_MACS = 0.5  # share of the CUDA cores' rate that a direct convolution reaches


def _bounds(word: str) -> dict[str, str]:
    return {"": word, **dict.fromkeys(_STAGES, word)}


def plan_nothing(timer: Timer, layer: Layer, batch: int, why: str) -> GpuKernelPlan:
    """A layer without a kernel of its own."""
    counts: dict[Action, int] = {("mac", "", layer.input.dtype): layer.macs * batch} if layer.macs else {}
    return GpuKernelPlan(
        layer, batch, why, nothing(), counts,
        macs=layer.macs * batch, macs_live=layer.macs_live * batch, macs_executed=layer.macs * batch,
        compute_cycles=0, peak_macs_per_cycle=timer.peak("fp32"), dram_bytes=0, bounds={"": "fused"},
        columns={"kernel": why, "kernel_s": 0.0},
    )  # fmt: skip


def plan_collective(
    timer: Timer, layer: Layer, batch: int, own: CollectiveSet, link: LinkSpec, slow: float = 1.0
) -> GpuKernelPlan:
    """A collective of a message from each rank: its algorithm, and what one rank sends."""
    x = layer.lower(batch)
    assert isinstance(x, Stream)
    if x.ranks > link.ranks:
        raise InputError(
            [Fault("", layer.name, f"ranks must be at most {link.ranks} on {timer.spec.name}, not {x.ranks}")]
        )
    message = -(-x.outputs * layer.output.bits // 8)
    ranks = np.array([float(x.ranks)])
    us, place = collective_us(x.function, np.array([float(message)]), ranks, own, link)
    algorithm = own.algorithms[int(place[0])]
    sent = ceil(float(algorithm.volume(x.function, ranks)[0]) * message)
    transfer = sent / (algorithm.share * float(link.bandwidth.amount) / 1e6)
    start = float(us[0]) - transfer
    words = {"launch": start, "link": transfer}
    bound = max(words, key=lambda word: words[word])
    first, second = timer.ticks(start), timer.ticks(transfer)
    counts: dict[Action, int] = {
        ("link", "ofmap", "send"): sent,
        ("l2", "ofmap", "write"): message,
        ("l2", "ifmap", "read"): sent,
    }
    seconds = (first + second) / timer.rate_hz
    name = f"{x.function} ({algorithm.name.replace('_', '-')}) of {timer.library.name}"
    values = {"sent_bytes": sent, "ranks": x.ranks, "bandwidth": float(link.bandwidth.amount), "share": algorithm.share}
    template = "{sent_bytes:size} leave each of {ranks} ranks at {share:.0%} of {bandwidth:si B/s}"
    why = (
        Message("gpu.collective", template, values),
        Message("gpu.time", "time by cause: {time_s:si s}", {"time_s": _seconds(words)}),
    )
    amounts = (("link", float(sent)), ("l2", float(sent + message)))
    return GpuKernelPlan(
        layer, batch, name, lower_exchange(first, second), {key: n for key, n in counts.items() if n},
        macs=0, macs_live=0, macs_executed=0, compute_cycles=0, peak_macs_per_cycle=timer.peak("fp32"), dram_bytes=0,
        bounds={"": bound, "launch": "launch", "exchange": "link"}, columns={"kernel": name, "kernel_s": seconds},
        why=why, limits={word: time * 1e-6 for word, time in words.items()},
        load=Load(Phases(first, second, 0, 0, 0, 0), transfer, 0.0, 0.0, float(us[0]), amounts, slow), seconds=seconds,
        on_chip_energy=1.0,
    )  # fmt: skip


def plan_stream(
    timer: Timer, layer: Layer, batch: int, types: Types, work: StreamingKernel, read: int = 0, slow: float = 1.0
) -> GpuKernelPlan:
    """A kernel that streams: DRAM, or L2 where all of it is kept there; MACs done in passing on CUDA cores."""
    if not work.kernels:
        return plan_nothing(timer, layer, batch, work.algorithm)
    spec, floor = timer.spec, timer.floor
    c = timer.constants["cuda"]
    total_bytes = work.read + work.written + read
    l2 = total_bytes / (c.l2_share * 64 * spec.sms * timer.clock)
    in_l2 = total_bytes <= c.l2_kept * timer.l2 / 2
    dram = 0.0 if in_l2 else total_bytes / (min(c.dram_share, timer.library.passes) * timer.dram)
    rate = spec.sm.macs.get("fp32", 64) * (2 if types.a <= 16 and half(types.math) and not work.full_rate else 1)
    share = 1.0 if work.full_rate else _STREAM_MACS
    issue = work.macs / (rate * share * spec.sms * timer.clock)
    executed = layer.macs * batch
    if work.csr is not None:
        assert spec.csr is not None
        floor, in_l2, executed = float(spec.csr.call) * 1e6, False, work.csr.nonzeros
        dram = work.csr.bytes / spec.csr.bytes_per_s * 1e6
        issue = timer.row_latency(types.math, work.csr.nonzeros / layer.outputs)
    core = (dram**6 + l2**6 + issue**6) ** (1 / 6) * slow
    words = {"launch": floor, "dram": dram, "L2": l2, "issue": issue}
    bound = max(words, key=lambda word: words[word])
    counts: dict[Action, int] = {}
    if layer.macs:
        counts["mac", "", "fp32"] = executed
        counts["mac", "", "skipped"] = layer.macs * batch - executed
        counts["instruction", "", "FFMA"] = -(-executed // 32)
    stored = 0 if work.csr is None else work.csr.bytes
    moves = (("ifmap", "read", work.read + read - stored), ("weight", "read", stored), ("ofmap", "write", work.written))
    for tensor, action, n in moves:
        counts["l2", tensor, action] = n
        counts["dram", tensor, action] = 0 if in_l2 else n
    launch, multiply = timer.ticks(floor), timer.ticks(core)
    phases = Phases(launch, multiply, 0, 0, min(timer.ticks(l2), multiply), min(timer.ticks(dram), multiply))
    total = 0 if in_l2 else total_bytes
    amounts = (("l2", float(total_bytes)), ("dram", float(total)), ("mac.fp32", float(executed)))
    seconds = phases.total / timer.rate_hz
    columns: Columns = {
        "kernel": work.algorithm, "kernel_s": seconds, "launch_s": floor * 1e-6,
        "l2_s": l2 * 1e-6, "dram_s": dram * 1e-6,
    }  # fmt: skip
    why: tuple[Message, ...] = (
        Message(
            "gpu.streaming",
            "{moved_bytes:,} B in {memory}; {time_s:si s}",
            {"moved_bytes": total_bytes, "memory": "L2" if in_l2 else "DRAM", "time_s": _seconds(words)},
        ),
    )
    if work.csr is not None:
        values = {
            "nonzeros": work.csr.nonzeros,
            "stored_bytes": work.csr.bytes,
            "dense_bytes": layer.weights * types.w // 8,
        }
        template = "CSR: {nonzeros:,} values in {stored_bytes:,} B; {dense_bytes:,} B dense"
        why += (Message("csr.stored", template, values),)
    peak = max(timer.peak(types.math), int(rate * spec.sms))
    demand = layer.lower(batch)
    nest = stream_nest(demand, types) if isinstance(demand, Product) else (None, None)
    return GpuKernelPlan(
        layer, batch, work.algorithm, lower(phases), {key: n for key, n in counts.items() if n},
        macs=layer.macs * batch, macs_live=layer.macs_live * batch, macs_executed=executed,
        compute_cycles=ceil(issue * timer.clock), peak_macs_per_cycle=peak,
        dram_bytes=total, bounds=_bounds(bound), problem=nest[0], mapping=nest[1], columns=columns, why=why,
        limits={word: us * 1e-6 for word, us in words.items()},
        load=Load(phases, core, min(l2, core), min(dram, core), floor + core, amounts, slow), seconds=seconds,
        on_chip_energy=1 / slow,
    )  # fmt: skip


def _seconds(microseconds: dict[str, float]) -> dict[str, float]:
    """Those above zero, in seconds."""
    return {word: us * 1e-6 for word, us in microseconds.items() if us > 0}


def plan_product(
    timer: Timer, layer: Layer, batch: int, types: Types, works: Sequence[TiledProduct], read: int = 0,
    slow: float = 1.0,
) -> GpuKernelPlan:  # fmt: skip
    """The tiled kernel that the library takes of several ways; `slow` is what the power cap slows the clock by."""
    unit, dense = timer.unit_of(layer, types.math), timer.unit(types.math, layer_kind(layer))
    assert unit is not None
    assert dense is not None
    fused = timer.unit(types.math, "winograd") or unit
    units = [replace(fused, gain=fused.gain * way.rate) if way.fused else unit for way in works]
    ways = [Selection.of(timer, way, own, types, read, slow) for way, own in zip(works, units, strict=True)]
    selection = min(ways, key=lambda way: way.us)
    work = selection.work
    t, terms, words, tile = selection.gemms.timing, selection.terms, selection.words, selection.tile
    bound = max(words, key=lambda word: words[word])
    macs, peak = layer.macs * batch, timer.peak(unit.math, unit.skip)
    dram = int(t.dram_bytes[0]) * work.times + work.moved
    ideal = macs / (peak * timer.clock)
    seconds, waves = selection.phases.total / timer.rate_hz, int(t.waves[0])
    columns: Columns = {
        "kernel": selection.name,
        "kernel_s": seconds,
        "launch_s": selection.floor * 1e-6,
        "tensor_s": terms["mma"] * 1e-6,
        "l2_s": terms["l2"] * 1e-6,
        "dram_s": terms["dram"] * 1e-6,
        "store_s": terms["store"] * 1e-6,
        "tiles": selection.tiles,
        "waves": waves,
        "wave_fill": selection.fill,
        "macs_per_dram_byte": macs / dram if dram else 0.0,
        "ridge_macs_per_byte": peak * timer.clock / timer.dram,
        "peak_share": ideal / selection.us,
        "clock_hz": timer.clock * 1e6 / slow,
    }
    second, _ = unit.kernels.tiles[int(t.second[0])]
    instruction = {
        "instruction": unit.name,
        "shape": "x".join(map(str, unit.shape)),
        "unit": unit.instruction.unit,
        "format": types.math,
    }
    wave = {
        "tile": selection.name,
        "tiles": selection.tiles,
        "per_sm": int(t.per_sm[0]),
        "waves": waves,
        "fill": selection.fill,
    }
    why = [
        Message("gpu.instruction", "{instruction} {shape} ({unit}), {format}", instruction),
        Message(
            "gpu.tile",
            "tile {tile}: {tiles:count tile}, {per_sm} on the busiest SM in {waves:count wave}, {fill:.0%} full",
            wave,
        ),
        Message("gpu.time", "time by cause: {time_s:si s}", {"time_s": _seconds(words)}),
    ]
    if unit.sparse:
        without = Selection.of(timer, work, dense, types, read, slow)
        share = unit.weight_bytes(types.w) / dense.weight_bytes(types.w)
        values = {"share": share, "dense_s": without.us * 1e-6}
        template = "2:4 weights are {share:.0%} of the bytes of dense ones, whose kernels would take {dense_s:si s}"
        why.append(Message("gpu.sparse", template, values))
    if unit.dual is not None:
        values = {"steps": unit.dual.steps, "products": unit.dual.products}
        template = "both operands skip zeros: {steps:.0%} of the steps remain, with {products:.0%} of the MACs"
        why.append(Message("gpu.dual", template, values))
    padding = 1 - work.b * work.m * work.n * work.unpadded / (
        selection.tiles * tile.rows * tile.columns * ceil(work.k / selection.split)
    )
    if padding > 0.02:
        values = {"share": float(padding), "rows": tile.rows, "columns": tile.columns}
        template = "{share:.0%} of the MACs of the tiles are padding: rows to {rows}, columns to {columns}"
        why.append(Message("gpu.padding", template, values))
    if len(ways) > 1:
        others = {way.work.algorithm: way.us * 1e-6 for way in ways if way is not selection}
        template = "{algorithm} is the fastest way; the others take {time_s:si s}"
        why.append(Message("gpu.algorithm", template, {"algorithm": work.algorithm, "time_s": others}))
    if np.isfinite(t.second_time[0]):
        more = float(t.second_time[0]) / float(t.best_time[0]) - 1
        values = {"rows": second.rows, "columns": second.columns, "more": more}
        why.append(Message("gpu.runner_up", "runner-up: {rows}x{columns}, {more:+.1%}", values))
    if slow > 1.005:
        values = {"cap_w": float(timer.spec.power.board), "clock_hz": timer.clock * 1e6 / slow}
        why.append(Message("gpu.power_cap", "the power cap of {cap_w:g} W slows the clock to {clock_hz:si Hz}", values))
    if types.fallback:
        template = "{library} has no {format} kernels here: {math} is used instead"
        names = {"library": timer.library.name, "format": types.fallback, "math": types.math}
        why.append(Message("gpu.fallback", template, names))
    if types.converted:
        names = {"format": types.converted, "math": types.math}
        why.append(Message("gpu.converted", "{format} weights are converted to {math} when read", names))
    mac_count = selection.executed(macs)
    # Winograd multiplies other values, and rows that experts share unevenly have no one nest.
    even = work.b * work.times * work.m * work.n * work.unpadded == macs
    nested = even and not work.winograd
    problem, mapping = tile_nest(work, tile, selection.split, unit, types, timer.spec.sms) if nested else (None, None)
    return GpuKernelPlan(
        layer, batch, f"{work.algorithm}, {selection.name} of {timer.library.name}", lower(selection.phases),
        selection.counts(macs), macs=macs, macs_live=layer.macs_live * batch, macs_executed=mac_count,
        compute_cycles=ceil(terms["mma"] * timer.clock), peak_macs_per_cycle=peak,
        dram_bytes=dram, bounds=_bounds(bound), problem=problem, mapping=mapping, columns=columns, why=tuple(why),
        limits={word: us * 1e-6 for word, us in words.items()},
        load=selection.load(ideal), seconds=seconds, fill=selection.fill, on_chip_energy=1 / slow,
    )  # fmt: skip
