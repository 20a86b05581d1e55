"""Execution of fused attention: tiles, blocks and splits of a plan on real data, and counts that are priced.

Heads and sequences are alike in all but their data, so of a large layer some heads of one sequence are executed, and
what they count is multiplied.
"""

from __future__ import annotations

from dataclasses import fields, replace
from math import ceil
from time import perf_counter
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from hwsim.kernels.attention import AttentionCounts, attention
from hwsim.kernels.fp8 import fp8_values, quantize_fp8
from hwsim.machines import LayerPlan, Machine
from hwsim.machines.gpu import Gpu
from hwsim.machines.gpu.attention_plan import FusedAttention, shapes_of
from hwsim.machines.gpu.attention_spec import DecodeKernel, PrefillKernel
from hwsim.machines.gpu.work import Types
from hwsim.machines.plan import Action
from hwsim.validation.check import LayerCheck
from hwsim.workload import Layer
from hwsim.workload.product import Attended

__all__ = ["attention_formula", "attention_nest", "attention_reference", "check_attention", "is_fused"]

Array = NDArray[Any]
Floats = NDArray[np.float64]

_MOST_MACS = 2**32
"""MACs of the heads that are executed."""
_BLOCK = 1 << 24
_ROUNDING = 2.0**-24
"""Half the distance of 1 and the next float32."""


def attention_formula(
    *,
    heads: int,
    kv_heads: int,
    queries: int,
    context: int,
    dim: int,
    value_dim: int,
    causal: bool = False,
    window: int = 0,
    start: int | None = None,
    rows: int,
    columns: int,
    splits: int = 1,
    packed: bool = True,
    skips: bool = True,
) -> AttentionCounts:
    """The counts of `hwsim.kernels.attention`, from the sizes of tiles alone."""
    place = context - queries if start is None else start

    def seen(query: int) -> tuple[int, int]:
        if not causal:
            return 0, context
        return max(0, place + query + 1 - window) if window else 0, min(context, place + query + 1)

    shared = heads // kv_heads if packed else 1
    tiles = blocks = parts_combined = positions = 0
    for high in range(queries * shared, 0, -rows):
        low = max(0, high - rows)
        first, last = seen(low // shared)[0] if skips else 0, seen((high - 1) // shared)[1]
        mine = -(-(last - first) // columns)
        parts = -(-mine // -(-mine // splits))
        tiles, blocks, positions = tiles + parts, blocks + mine, positions + last - first
        parts_combined += (high - low) * parts if parts > 1 else 0
    times, width = heads // shared, dim + value_dim
    scores = times * blocks * rows * columns
    return AttentionCounts(
        tiles=times * tiles,
        blocks=times * blocks,
        scores=scores,
        attended=heads * sum(last - first for first, last in map(seen, range(queries))),
        score_macs=scores * dim,
        value_macs=scores * value_dim,
        exponentials=scores,
        rescales=times * (blocks - tiles) * rows,
        combined=times * parts_combined,
        q_words=heads * queries * dim,
        kv_words=times * positions * width,
        kv_padding=times * (blocks * columns - positions) * width,
        output_words=heads * queries * value_dim,
    )


def attention_reference(
    q: Array,
    k: Array,
    v: Array,
    scale: float,
    blocks: int,
    causal: bool = False,
    window: int = 0,
    start: int | None = None,
) -> tuple[Floats, Floats]:
    """Attention of one sequence in float64, and how much an execution in float32 may differ from it at most.

    The values are those that the types stand for; `blocks` is how many blocks and parts of the context a row meets at
    most. The bound follows the roundings, with u = 2^-24 and g(n) = n u / (1 - n u): a score errs by
    g(dim + 3) |scale| sum |q k|; an exponential by as much, by u times its distance from the final maximum, as the
    differences of growing maxima add up to that, and by three roundings for itself and each block that scales it; sums
    over n positions by g(n) of the sum of magnitudes. The quotient has the errors of both sums.
    """
    q, k, v = (np.asarray(values, np.float64) for values in (q, k, v))
    (heads, queries, dim), (kv_heads, context, width) = q.shape, v.shape
    group = heads // kv_heads
    out, bound = np.empty((heads, queries, width)), np.empty((heads, queries, width))
    step = max(1, _BLOCK // context)
    place = context - queries if start is None else start
    columns = np.arange(context)
    sums = _gamma(context + 2 * blocks + 2)
    for head in range(heads):
        keys, values = k[head // group].T, v[head // group]
        smallest = context * 2.0**-125 * float(np.abs(values).max(initial=0.0))  # exponentials that underflow
        for low in range(0, queries, step):
            part = slice(low, low + step)
            rows = q[head, part]
            scores = rows @ keys * scale
            error = _gamma(dim + 3) * abs(scale) * (np.abs(rows) @ np.abs(keys))
            live = np.ones_like(scores, bool)
            if causal:
                at = (place + np.arange(low, low + len(rows)))[:, None]
                live = (columns <= at) & ((columns > at - window) if window else True)
            top = np.where(live, scores, -np.inf).max(axis=1, keepdims=True)
            p = np.where(live, np.exp(np.minimum(scores - top, 0)), 0.0)
            total = p.sum(axis=1, keepdims=True)
            out[head, part] = p @ values / total
            distance = np.where(live, np.minimum(top - scores, 110.0), 0.0).max(axis=1)  # further ones underflow
            delta = np.expm1(np.where(live, error, 0.0).max(axis=1) + _ROUNDING * (distance + 3 * blocks + 3))
            ratio = (1 + delta) * (1 + sums) / (np.maximum(1 - delta, 1e-9) * (1 - sums)) * (1 + 3 * _ROUNDING) - 1
            bound[head, part] = ratio[:, None] * (p @ np.abs(values) / total) + smallest
    return out, bound


def _gamma(roundings: float) -> float:
    return roundings * _ROUNDING / (1 - roundings * _ROUNDING)


def is_fused(machine: Machine, layer: Layer) -> bool:
    """Whether a machine plans a layer of attention as one kernel of tiles."""
    return isinstance(machine, Gpu) and machine.runs_whole(layer) and isinstance(layer.lower(1), Attended)


def _values(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> tuple[Array, float]:
    """Random values of a format as the kernel takes them, and what one stands for."""
    values = rng.standard_normal(shape).astype(np.float32)
    if dtype == "int8":
        return np.clip(np.rint(values * 32), -127, 127).astype(np.int8), 1 / 32
    if dtype == "fp8":
        return quantize_fp8(values), 1.0
    if dtype == "fp16":
        values = values.astype(np.float16).astype(np.float32)
    if dtype == "bf16":
        values = (values.view(np.uint32) & 0xFFFF0000).view(np.float32)
    return values, 1.0


def _meaning(values: Array, scale: float) -> Array:
    return fp8_values()[values] if values.dtype == np.uint8 else values.astype(np.float32) * np.float32(scale)


def check_attention(machine: Machine, layer: Layer, plan: LayerPlan, sample: int | None = None) -> LayerCheck:
    """Execute a layer of attention in the tiles of its kernel."""
    x = layer.lower(plan.batch)
    assert isinstance(machine, Gpu)
    assert isinstance(x, Attended)
    types, precision = machine.types(layer), machine.spec.precision
    formats = (layer.input.dtype, layer.weight.dtype) if precision == "workload" else (precision, precision)
    fused = FusedAttention.of(machine.timer, *formats)
    assert fused is not None
    shapes = shapes_of(x, types)
    timing = fused.timing(shapes)
    kernel = fused.kernels[int(timing.kernel[0])]
    tile = int(timing.rows[0]), int(kernel.blocks(shapes.width / 2)[0]), int(timing.splits[0])
    nest = attention_nest(kernel, *tile, x.causal, x.window)
    own = x if sample is None else _cut(x, sample)
    sampled = own != replace(x, batch=1) and sample is not None
    sizes: dict[str, Any] = {"queries": own.queries, "context": own.context, "dim": own.dim, "value_dim": own.value_dim}
    group = own.heads // own.kv_heads
    one = attention_formula(heads=group, kv_heads=1, **sizes, **nest)
    heads = min(own.kv_heads, max(1, _MOST_MACS // (one.score_macs + one.value_macs)))
    formula = attention_formula(heads=heads * group, kv_heads=heads, **sizes, **nest)

    rng = np.random.default_rng(crc32(layer.name.encode()))
    q, q_scale = _values(rng, (heads * group, own.queries, own.dim), formats[0])
    k, k_scale = _values(rng, (heads, own.context, own.dim), formats[1])
    v, v_scale = _values(rng, (heads, own.context, own.value_dim), formats[1])
    q_meant, k_meant, v_meant = _meaning(q, q_scale), _meaning(k, k_scale), _meaning(v, v_scale)
    if q.dtype != k.dtype:
        q, q_scale = q_meant, 1.0
    start = perf_counter()
    out, counts = attention(q, k, v, q_scale=q_scale, k_scale=k_scale, v_scale=v_scale, **nest)
    seconds = perf_counter() - start
    blocks = -(-own.context // nest["columns"]) + nest["splits"]
    expected, bound = attention_reference(q_meant, k_meant, v_meant, own.dim**-0.5, blocks, own.causal, own.window)
    check = LayerCheck(
        layer.name,
        layer.op,
        counts.score_macs + counts.value_macs,
        counts.value_macs - counts.attended * own.value_dim,
        seconds,
        len(fields(counts)),
        sampled=sampled,
        difference=_difference(out, expected, bound, counts, formula),
    )
    if sampled:
        return check
    total = x.batch * x.kv_heads
    if heads < total:
        check = replace(check, share=f"{heads} of {total} heads of keys and values")
    measured = {f.name: getattr(counts, f.name) * total // heads for f in fields(counts)}
    return _check_prices(check, plan, _priced(kernel, x, types, fused.math, AttentionCounts(**measured)))


def attention_nest(
    kernel: PrefillKernel | DecodeKernel, rows: int, columns: int, splits: int, causal: bool, window: int
) -> dict[str, Any]:
    """How a kernel of a library runs, for `attention`: rows of a decode kernel fill instructions of eight."""
    nest = {"causal": causal, "window": window, "columns": columns, "splits": splits}
    if isinstance(kernel, PrefillKernel):
        return nest | {"rows": rows, "packed": kernel.packed, "skips": kernel.skips}
    return nest | {"rows": -(-rows // 8) * 8 if rows > 1 else 1, "packed": kernel.group > 1}


def _cut(x: Attended, most: int) -> Attended:
    """A part of a layer: one sequence, each size at most so large."""
    group, kv_heads = min(x.heads // x.kv_heads, most), min(x.kv_heads, most)
    sizes = {name: min(getattr(x, name), most) for name in ("queries", "context", "dim", "value_dim", "window", "new")}
    return replace(x, batch=1, heads=group * kv_heads, kv_heads=kv_heads, **sizes)


def _difference(
    out: NDArray[np.float32], expected: Floats, bound: Floats, counts: AttentionCounts, formula: AttentionCounts
) -> str | None:
    wrong = np.argwhere(~(np.abs(out - expected) <= bound))
    if len(wrong):
        at = tuple(map(int, wrong[0]))
        rule = f"must be {expected[at]:.8g} to within {bound[at]:.2g}, not {out[at]:.8g}"
        return f"the output of head {at[0]}, query {at[1]} at {at[2]} {rule} ({len(wrong):,} values differ)"
    for f in fields(counts):
        name, own, measured = f.name, getattr(formula, f.name), getattr(counts, f.name)
        if own != measured:
            return f"{name.replace('_', ' ')}: {own:,} expected, {measured:,} measured"
    return None


def _priced(
    kernel: PrefillKernel | DecodeKernel, x: Attended, types: Types, math: str, counts: AttentionCounts
) -> dict[Action, float]:
    """What the counts that were measured come to in actions of a plan.

    A prefill kernel reads whole blocks. Besides, new keys and values are written to the cache, and read from DRAM into
    L2 once, with all others; some kernels copy or rotate queries before.
    """
    width, a, w = x.dim + x.value_dim, types.a / 8, types.w / 8
    attended, executed = counts.attended * width, counts.score_macs + counts.value_macs
    kv = counts.kv_words * w
    if isinstance(kernel, PrefillKernel):
        span = min(x.context, x.window + x.queries - 1) if x.window and kernel.skips else x.context
        kv += counts.kv_padding * w + x.batch * x.kv_heads * width * (x.new * (2 + w) + span * w)
        kv += counts.q_words * (2 + a) if kernel.prepare == "rope" else 0
    elif kernel.copies is not None and x.batch > 1 and x.kv_heads > 1:
        kv += 2 * (counts.q_words * a + counts.output_words * types.o / 8)
    return {
        ("mac", "", math): attended,
        ("mac", "masked", math): executed - attended,
        ("instruction", "", "MUFU.EX2"): ceil(counts.exponentials / 32),
        ("l2", "ifmap", "read"): counts.q_words * a,
        ("l2", "weight", "read"): kv,
        ("l2", "ofmap", "write"): counts.output_words * types.o / 8,
    }


def _check_prices(check: LayerCheck, plan: LayerPlan, measured: dict[Action, float]) -> LayerCheck:
    """Compare the actions of a plan with the measured ones; those of a window follow a rule of the machine."""
    difference, apart = check.difference, []
    windowed = bool(getattr(plan.layer.lower(1), "window", 0))
    for key, amount in measured.items():
        priced = plan.counts.get(key, 0)
        if abs(priced - amount) < 1:
            continue
        if windowed:
            apart.append(" ".join(filter(None, key)))
        elif difference is None:
            difference = f"{' '.join(filter(None, key))}: {priced:,} are priced, {amount:,.0f} were measured"
    return replace(
        check, priced=len(measured), own=len(measured) - len(apart), apart=tuple(apart), difference=difference
    )
