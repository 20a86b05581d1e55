"""The plan of one layer: its kernel, what it moves, what it waits for, and what the engine runs."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from hwsim.machines.gpu.lower import Phases, lower, nothing
from hwsim.machines.gpu.nest import stream_nest, tile_nest
from hwsim.machines.gpu.parts import Tile
from hwsim.machines.gpu.streams import KernelPlan, Load
from hwsim.machines.gpu.tiles import Products, Timing
from hwsim.machines.gpu.timing import Timed, Unit
from hwsim.machines.gpu.work import StreamingKernel, TiledProduct, Types, layer_kind
from hwsim.machines.plan import Action
from hwsim.message import Message
from hwsim.workload import Layer
from hwsim.workload.product import Product

if TYPE_CHECKING:
    from hwsim.machines.gpu.machine import Gpu

__all__ = ["plan_nothing", "plan_product", "plan_stream"]

Columns = dict[str, float | int | str]
_STAGES = ("launch", "multiply", "write back", "copy", "fetch", "reduce")
_STREAM_MACS = 0.5  # share of the CUDA cores' rate that a direct convolution reaches


def _bounds(word: str) -> dict[str, str]:
    return {"": word, **dict.fromkeys(_STAGES, word)}


def _peak(machine: Gpu, math: str, sparse: float = 1.0) -> int:
    macs = machine.spec.sm.macs
    return int(machine.spec.sms * macs.get(math, macs.get("fp32", 1)) * sparse)


def _ticks(machine: Gpu, microseconds: float) -> int:
    return round(microseconds * 1e-6 * machine.timebase.rate_hz)


def plan_nothing(machine: Gpu, layer: Layer, batch: int, why: str) -> KernelPlan:
    """A layer without a kernel of its own."""
    counts: dict[Action, int] = {("mac", "", layer.input.dtype): layer.macs * batch} if layer.macs else {}
    return KernelPlan(
        layer, batch, why, nothing(), counts,
        macs=layer.macs * batch, macs_live=layer.macs_live * batch, macs_executed=layer.macs * batch,
        compute_cycles=0, peak_macs_per_cycle=_peak(machine, "fp32"), dram_bytes=0, bounds={"": "fused"},
        columns={"kernel": why, "kernel_s": 0.0},
    )  # fmt: skip


def plan_stream(
    machine: Gpu, layer: Layer, batch: int, types: Types, work: StreamingKernel, read: int = 0, slow: float = 1.0
) -> KernelPlan:
    """A kernel that streams: DRAM, or L2 where all of it is kept there; MACs done in passing on CUDA cores."""
    if not work.kernels:
        return plan_nothing(machine, layer, batch, work.algorithm)
    timer, spec = machine.timer, machine.spec
    c = timer.constants["cuda"]
    moved = work.read + work.written + read
    l2 = moved / (c.l2_share * 64 * spec.sms * timer.clock)
    in_l2 = moved <= c.l2_kept * timer.l2 / 2
    dram = 0.0 if in_l2 else moved / (c.dram_share * timer.dram)
    rate = spec.sm.macs.get("fp32", 64) * (2 if types.a <= 16 and types.math in ("fp16", "bf16") else 1)
    issue = work.macs / (rate * _STREAM_MACS * spec.sms * timer.clock)
    core = (dram**6 + l2**6 + issue**6) ** (1 / 6) * slow
    words = {"launch": timer.floor, "dram": dram, "L2": l2, "issue": issue}
    bound = max(words, key=lambda word: words[word])
    counts: dict[Action, int] = {}
    if layer.macs:
        counts["mac", "", "fp32"] = layer.macs * batch
        counts["instruction", "", "FFMA"] = -(-layer.macs * batch // 32)
    for tensor, action, n in (("ifmap", "read", work.read + read), ("ofmap", "write", work.written)):
        counts["l2", tensor, action] = n
        counts["dram", tensor, action] = 0 if in_l2 else n
    launch, multiply = _ticks(machine, timer.floor), _ticks(machine, core)
    phases = Phases(launch, multiply, 0, 0, min(_ticks(machine, l2), multiply), min(_ticks(machine, dram), multiply))
    total = 0 if in_l2 else moved
    amounts = (("l2", float(moved)), ("dram", float(total)), ("mac.fp32", float(layer.macs * batch)))
    seconds = phases.total / float(machine.timebase.rate_hz)
    columns: Columns = {
        "kernel": work.algorithm, "kernel_s": seconds, "launch_s": timer.floor * 1e-6,
        "l2_s": l2 * 1e-6, "dram_s": dram * 1e-6,
    }  # fmt: skip
    why = (
        Message(
            "gpu.streaming",
            "{moved_bytes:,} B in {memory}; {time_s:si s}",
            {"moved_bytes": moved, "memory": "L2" if in_l2 else "DRAM", "time_s": _seconds(words)},
        ),
    )
    peak = max(_peak(machine, types.math), int(rate * spec.sms))
    asked = layer.lower(batch)
    nest = stream_nest(asked, types) if isinstance(asked, Product) else (None, None)
    return KernelPlan(
        layer, batch, work.algorithm, lower(phases), {key: n for key, n in counts.items() if n},
        macs=layer.macs * batch, macs_live=layer.macs_live * batch, macs_executed=layer.macs * batch,
        compute_cycles=ceil(issue * timer.clock), peak_macs_per_cycle=peak,
        dram_bytes=total, bounds=_bounds(bound), problem=nest[0], mapping=nest[1], columns=columns, why=why,
        limits={word: us * 1e-6 for word, us in words.items()},
        load=Load(phases, core, min(l2, core), min(dram, core), timer.floor + core, amounts),
    )  # fmt: skip


def _seconds(microseconds: dict[str, float]) -> dict[str, float]:
    """Those above zero, in seconds."""
    return {word: us * 1e-6 for word, us in microseconds.items() if us > 0}


def _name(tile: Tile, split: int, step: int) -> str:
    return f"{tile.rows}x{tile.columns}x{step}" + (f", split {split} ways" if split > 1 else "")


def plan_product(
    machine: Gpu, layer: Layer, batch: int, types: Types, work: TiledProduct, read: int = 0, slow: float = 1.0
) -> KernelPlan:
    """The tiled kernel that the library takes; `slow` is what the power cap slows the clock by."""
    timer, spec = machine.timer, machine.spec
    sparse = layer.weight.pattern == "2:4" and layer.weight.format == "2:4"
    unit = timer.unit(types.math, layer_kind(layer), sparse)
    assert unit is not None
    one = np.ones(1)
    p = Products(
        one * work.b, one * work.m, one * work.n, one * work.k, one * work.image, one * (work.read + read),
        types.a / 8, types.w / 8 / unit.sparse * (1.125 if unit.sparse > 1 else 1), types.o / 8,
    )  # fmt: skip
    done = timer.products(p, unit, slow)
    t = done.timing
    us = float(done.time[0]) * work.times
    tile, split = unit.kernels.tiles[int(t.best[0])]
    terms = {name: float(getattr(t, name)[0]) * work.times for name in _TERMS}
    # The mean over good kernels is a little more than the best: every phase is stretched alike, the launch is not.
    floor = unit.floor * work.times
    stretch = max(0.0, us - floor) / max(float(t.best_time[0]) * work.times - floor, 1e-12)
    phases = _phases(machine, us, floor, {name: value * stretch for name, value in terms.items()}, t, work.times)
    tiles, per_sm, waves = (int(getattr(t, name)[0]) for name in ("tiles", "per_sm", "waves"))
    fill = tiles / (per_sm * spec.sms)
    words = _words(unit, tile, terms, floor, fill)
    bound = max(words, key=lambda word: words[word])
    counts = _counts(p, unit, tile, split, work, layer, batch, t, tiles)
    dram = int(t.dram_bytes[0]) * work.times
    ideal = layer.macs * batch / (_peak(machine, unit.math, unit.sparse) * timer.clock)
    kernel = _name(tile, split, unit.menu.step)
    if unit.menu.vector is not None and work.m <= unit.menu.vector.rows:
        kernel = "vector kernel"
    columns: Columns = {
        "kernel": kernel,
        "kernel_s": phases.total / float(machine.timebase.rate_hz),
        "launch_s": floor * 1e-6,
        "tensor_s": terms["mma"] * 1e-6,
        "l2_s": terms["l2"] * 1e-6,
        "dram_s": terms["dram"] * 1e-6,
        "store_s": terms["store"] * 1e-6,
        "tiles": tiles,
        "waves": waves,
        "wave_fill": fill,
        "macs_per_dram_byte": layer.macs * batch / dram if dram else 0.0,
        "ridge_macs_per_byte": _peak(machine, unit.math, unit.sparse) * timer.clock / timer.dram,
        "peak_share": ideal / us,
        "clock_hz": timer.clock * 1e6 / slow,
    }
    second, _ = unit.kernels.tiles[int(t.second[0])]
    instruction = {
        "instruction": unit.instruction.name,
        "shape": "x".join(map(str, unit.instruction.tile)),
        "unit": unit.instruction.unit,
        "format": types.math,
    }
    wave = {"tile": kernel, "tiles": tiles, "per_sm": per_sm, "waves": waves, "fill": fill}
    why = [
        Message("gpu.instruction", "{instruction} {shape} ({unit}), {format}", instruction),
        Message(
            "gpu.tile",
            "tile {tile}: {tiles:count tile}, {per_sm} on the busiest SM in {waves:count wave}, {fill:.0%} full",
            wave,
        ),
        Message("gpu.time", "time by cause: {time_s:si s}", {"time_s": _seconds(words)}),
    ]
    padding = 1 - work.b * work.m * work.n * work.unpadded / (tiles * tile.rows * tile.columns * ceil(work.k / split))
    if padding > 0.02:
        values = {"share": float(padding), "rows": tile.rows, "columns": tile.columns}
        template = "{share:.0%} of the MACs of the tiles are padding: rows to {rows}, columns to {columns}"
        why.append(Message("gpu.padding", template, values))
    if np.isfinite(t.second_time[0]):
        more = float(t.second_time[0]) / float(t.best_time[0]) - 1
        values = {"rows": second.rows, "columns": second.columns, "more": more}
        why.append(Message("gpu.runner_up", "runner-up: {rows}x{columns}, {more:+.1%}", values))
    if slow > 1.005:
        values = {"cap_w": float(spec.power.board), "clock_hz": timer.clock * 1e6 / slow}
        why.append(Message("gpu.power_cap", "the power cap of {cap_w:g} W slows the clock to {clock_hz:si Hz}", values))
    if types.fallback:
        template = "{library} has no {format} kernels here: {math} is used instead"
        names = {"library": timer.library.name, "format": types.fallback, "math": types.math}
        why.append(Message("gpu.fallback", template, names))
    executed = round(layer.macs * batch / unit.sparse)
    # Winograd multiplies other values, and rows that experts share unevenly have no one nest.
    even = work.b * work.times * work.m * work.n * work.unpadded == layer.macs * batch
    nested = even and not work.winograd
    problem, mapping = tile_nest(work, tile, split, unit, types, spec.sms) if nested else (None, None)
    return KernelPlan(
        layer, batch, f"{work.algorithm}, {kernel} of {timer.library.name}", lower(phases), counts,
        macs=layer.macs * batch, macs_live=layer.macs_live * batch, macs_executed=executed,
        compute_cycles=ceil(terms["mma"] * timer.clock), peak_macs_per_cycle=_peak(machine, unit.math, unit.sparse),
        dram_bytes=dram, bounds=_bounds(bound), problem=problem, mapping=mapping, columns=columns, why=tuple(why),
        limits={word: us * 1e-6 for word, us in words.items()},
        load=_load(
            machine, p, unit, phases, done, work, us - floor, 1.0 if kernel == "vector kernel" else fill, ideal
        ),
    )  # fmt: skip


_TERMS = ("mma", "l2", "shared", "step", "dram", "store", "split", "wave")


def _phases(machine: Gpu, us: float, floor: float, terms: dict[str, float], t: object, times: int) -> Phases:
    """Whole ticks that add up to the predicted time."""
    total, launch = _ticks(machine, us), _ticks(machine, floor)
    launch = min(launch, total)
    rest = total - launch
    write = min(_ticks(machine, terms["store"] + terms["wave"]), rest)
    reduce = min(_ticks(machine, terms["split"]), rest - write)
    multiply = rest - write - reduce
    waves = int(t.waves[0]) * times  # type: ignore[attr-defined]
    l2, dram = (min(_ticks(machine, terms[name]), multiply) for name in ("l2", "dram"))
    return Phases(launch, multiply, write, reduce, l2, dram, waves)


def _load(
    machine: Gpu,
    p: Products,
    unit: Unit,
    phases: Phases,
    done: Timed,
    work: TiledProduct,
    us: float,
    fill: float,
    ideal: float,
) -> Load:
    """What a kernel of `us` microseconds after its launch takes of what streams share; at the least what is ideal."""
    timer, c, t = machine.timer, unit.constants, done.timing
    quantize = 0.0
    if unit.menu.quantize is not None:
        quantize = work.times * work.b * work.m * work.k / (unit.menu.quantize * machine.spec.sms * timer.clock)
    busy = fill * max(0.0, us - quantize) + quantize
    l2 = float(t.l2_bytes[0]) / (c.l2_share * 64 * machine.spec.sms * timer.clock)
    # Alone the write of the output ends behind the next kernel; with streams somebody waits for it, however long it is.
    dram = float(t.dram[0]) + work.b * work.m * work.n * p.bytes_o / (c.dram_share * timer.dram)
    amounts = tuple((name, float(amount[0])) for name, amount in timer.amounts(p, unit, t).items())
    sms, l2 = min(us, max(busy, ideal)), min(us, l2 * work.times)
    return Load(phases, sms, l2, dram * work.times, float(done.time[0]), amounts)


def _words(unit: Unit, tile: Tile, terms: dict[str, float], floor: float, fill: float) -> dict[str, float]:
    """Microseconds by what a user could give more of; idle SMs of the last wave apart from the limits of full ones."""
    core = {"L2": terms["l2"], "shared memory": terms["shared"], "dram": max(terms["dram"], terms["step"])}
    tensor = unit.instruction.unit == "tensor"
    lost = 64 * (tile.rows + tile.columns) / (tile.rows * tile.columns) > 1.5
    core["tensor" if tensor and not lost else "issue"] = terms["mma"]
    limit = max(core, key=lambda word: core[word])
    words = {"launch": floor + terms["split"] + terms["wave"], **core}
    if limit in ("tensor", "issue", "shared memory") or core["dram"] == terms["step"]:
        words["wave tail"] = words[limit] * (1 - fill)
        words[limit] *= fill
    words["dram"] += terms["store"]
    return words


def _counts(
    p: Products,
    unit: Unit,
    tile: Tile,
    split: int,
    work: TiledProduct,
    layer: Layer,
    batch: int,
    timing: Timing,
    tiles: int,
) -> dict[Action, int]:
    """MACs, instructions with their padding, and bytes at each level."""
    from hwsim.machines.gpu.timing import shared_bytes

    times, step = work.times, unit.menu.step
    ks = ceil(ceil(work.k / split) / step) * step
    macs = layer.macs * batch
    run = round(macs / unit.sparse)
    one = unit.instruction.tile
    issued = tiles * -(-tile.rows // one[0]) * -(-tile.columns // one[1]) * -(-ks // one[2]) * times
    grid = -(-work.m // tile.rows), -(-work.n // tile.columns)
    # Rows outside the product are not fetched.
    rows = round(work.b * split * grid[1] * work.m * ks * p.bytes_a) * times
    columns = round(work.b * split * grid[0] * work.n * ks * p.bytes_w) * times
    out = round(work.b * work.m * work.n * p.bytes_o) * times
    sums = 4 * (split + 1) * work.b * work.m * work.n * times if split > 1 else 0
    dram, written = int(timing.dram_bytes[0]), int(timing.dram_written[0])
    fetched = (dram - written) * times
    weights = min(fetched, round(work.b * work.n * work.k * p.bytes_w) * times)
    counts: dict[Action, int] = {
        ("mac", "", unit.math): run,
        ("mac", "", "skipped"): macs - run,
        ("instruction", "", unit.instruction.name): issued,
        ("shared", "operands", "read"): round(run * shared_bytes(p, unit)),
        ("shared", "ifmap", "fill"): rows,
        ("shared", "weight", "fill"): columns,
        ("l2", "ifmap", "read"): rows,
        ("l2", "weight", "read"): columns,
        ("l2", "psum", "move"): sums,
        ("l2", "ofmap", "write"): out,
        ("dram", "ifmap", "read"): fetched - weights,
        ("dram", "weight", "read"): weights,
        ("dram", "ofmap", "write"): written * times,
    }
    return {key: n for key, n in counts.items() if n}
