"""The plan of a kernel in its network context: counts, the engine's program and the columns of the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from math import ceil

from hwsim.machines.cpu.context import CpuContext
from hwsim.machines.cpu.costs import BOUNDS, ThreadCost
from hwsim.machines.cpu.kernel import Kernel
from hwsim.machines.cpu.nest import nest_of
from hwsim.machines.cpu.placement import Placement
from hwsim.machines.cpu.program import STARTING, program_of
from hwsim.machines.cpu.spec import CpuSpec
from hwsim.machines.cpu.work import Share
from hwsim.machines.csr import CsrProduct, CsrSpec
from hwsim.machines.plan import Action, LayerPlan
from hwsim.mapping import Mapping as LoopNest, Problem, counts
from hwsim.message import Message
from hwsim.units import format_count
from hwsim.workload.product import Product

__all__ = ["csr_plan", "plan_of"]


def plan_of(kernel: Kernel, context: CpuContext, spec: CpuSpec, ticks: Callable[[int], int]) -> LayerPlan:
    """The plan of a kernel in its network context; `ticks` of the engine of so many cycles."""
    layer, model, work, shares = kernel.layer, kernel.model, kernel.work, kernel.shares
    placement = Placement(spec, context.weights)
    costs: dict[Share, ThreadCost] = {}
    for share in shares:
        if share not in costs:
            costs[share] = placement.cost(kernel, share, context.place)
    cycles = [{stage: ceil(n) for stage, n in costs[share].cycles.items() if n > 0} for share in shares]
    first = cycles[0]
    actions, problem, mapping = _counts(kernel)
    far = placement.dram_words(kernel)
    actions |= far
    busy = sum(n for thread in cycles for stage, n in thread.items() if stage not in STARTING)
    busy += first.get("call", 0) + len(shares) * first.get("threads", 0)
    if busy:
        actions["core", "", "cycle"] = busy
    macs = layer.macs * kernel.batch
    skipped = macs - work.live if work is not None and model.library.padding == "skip" else 0
    if macs:
        actions["mac", "", model.dtype] = macs - skipped
        if skipped:
            actions["mac", "", "padding"] = skipped
    bits = 8 * model.word
    # Threads that share rows read the same weights: an L3 fetches them once for all of its cores.
    same = min(len(shares), spec.l3_cores) if work is not None and shares[0].n == work.n else 1
    # A maximum of 8-bit values needs no scaling; a sum of them does.
    x = layer.lower(kernel.batch)
    scaled = model.dtype == "int8" and (isinstance(x, Product) or x.kind == "elementwise")
    bounds = BOUNDS | ({"outputs": "requantize"} if scaled else {})
    return LayerPlan(
        layer,
        kernel.batch,
        _algorithm(kernel),
        program_of(cycles, context.shared, ticks, partial(_servers, spec, same=same)),
        actions,
        macs=macs,
        macs_live=layer.macs_live * kernel.batch,
        macs_executed=macs - skipped,
        compute_cycles=sum(first.get(stage, 0) for stage in ("hidden", "compute", "latency")),
        # Of the cores used. Streams on smaller cores count as the cores that they are worth in this network.
        peak_macs_per_cycle=max(1, ceil(model.peak * context.streams * spec.threads_of_stream)),
        dram_bytes=model.word * sum(far.values()),
        bounds=bounds | {"": "fused"},
        word_bits={"ifmap": bits, "weight": bits, "ofmap": bits},
        problem=problem,
        mapping=mapping,
        columns=_columns(first, context.shared, len(shares)),
        why=_why(kernel, spec, _by_bound(first, context.shared, bounds)),
        streams=context.streams,
    )


def csr_plan(kernel: Kernel, csr: CsrSpec, product: CsrProduct, hz: float, ticks: Callable[[int], int]) -> LayerPlan:
    """The plan of a product of weights in CSR format: a call, and a pass over what is stored."""
    layer, model = kernel.layer, kernel.model
    cycles = {"call": ceil(float(csr.call) * hz), "dram": ceil(product.bytes / csr.bytes_per_s * hz)}
    macs = layer.macs * kernel.batch
    actions: dict[Action, int] = {
        ("mac", "", model.dtype): product.nonzeros,
        ("mac", "", "skipped"): macs - product.nonzeros,
        ("dram", "weight", "read"): -(-product.bytes // model.word),
        ("core", "", "cycle"): sum(cycles.values()),
    }
    values = {
        "nonzeros": product.nonzeros,
        "stored_bytes": product.bytes,
        "dense_bytes": layer.weights * model.word,
    }
    template = "CSR: {nonzeros:,} values in {stored_bytes:,} B; {dense_bytes:,} B dense"
    bits = 8 * model.word
    return LayerPlan(
        layer,
        kernel.batch,
        f"CSR product in {model.label}, {csr.library}",
        program_of([cycles], 0, ticks, lambda resource, threads: threads),
        {key: n for key, n in actions.items() if n},
        macs=macs,
        macs_live=layer.macs_live * kernel.batch,
        macs_executed=product.nonzeros,
        compute_cycles=0,
        peak_macs_per_cycle=max(1, ceil(model.peak)),
        dram_bytes=product.bytes,
        bounds=BOUNDS | {"": "fused"},
        word_bits={"ifmap": bits, "weight": bits, "ofmap": bits},
        columns=_columns(cycles, 0, 1),
        why=(Message("csr.stored", template, values),),
    )


def _counts(kernel: Kernel) -> tuple[dict[Action, int], Problem | None, LoopNest | None]:
    """Words that each cache moves, with the loop nest that they follow from."""
    layer, batch, model, work = kernel.layer, kernel.batch, kernel.model, kernel.work
    if work is None:
        if kernel.fused:
            return {}, None, None
        level = "l2" if (layer.inputs + layer.outputs) * model.word * batch <= model.l2_size else "l3"
        words = {(level, "ifmap", "read"): layer.inputs * batch, (level, "ofmap", "update"): layer.outputs * batch}
        return words, None, None
    problem, mapping = nest_of(layer, work, model, kernel.shares[0], batch)
    actions = counts(problem, mapping).actions
    moves = {key: n for key, n in actions.items() if key[2] in ("read", "fill", "update", "drain") and n}
    # Rows that experts share unevenly have no one nest: the words are those of the fullest.
    return (moves, problem, mapping) if problem.macs == work.macs else (moves, None, None)


def _servers(spec: CpuSpec, resource: str, threads: int, same: int = 1) -> float:
    """Cores that a shared memory serves at full bandwidth together; `same` of them read the same DRAM data."""
    memory = spec.memories[resource]  # type: ignore[index]
    if memory.bandwidth is None or memory.core is None:
        return threads
    hz = spec.clock_hz(spec.clock)
    full = float(memory.bandwidth.bytes_per_second(hz, 8) / memory.core.bytes_per_second(hz, 8))
    return max(1.0, full * (same if resource == "dram" else 1))


def _algorithm(kernel: Kernel) -> str:
    """The kernel in words."""
    model, work = kernel.model, kernel.work
    if work is None:
        kind = "fused into the previous layer" if kernel.fused else "elementwise pass"
        return f"{kind}, {model.library.name}"
    kind = "GEMM"
    if work.conv:
        padded = model.type.efficiency is None and not model.reads_pixels(work.channels, work.n)
        kind = "depthwise" if work.depthwise else "im2col convolution" if padded else "direct convolution"
    threads = format_count(len(kernel.shares), "thread")
    by = "a compiled loop" if model.compiled else model.sequence
    return f"{kind} in {model.label} by {by}, {threads}, {model.library.name}"


def _by_bound(first: dict[str, int], shared: int, bounds: dict[str, str]) -> Counter[str]:
    """Cycles of the busiest thread, and of waiting for DRAM after it, by bound."""
    cycles: Counter[str] = Counter()
    for stage, n in (*first.items(), ("shared", shared)):
        cycles[bounds[stage]] += n
    return cycles


def _columns(first: dict[str, int], shared: int, threads: int) -> dict[str, float | int | str]:
    """Cycles of the busiest thread by bound."""
    cycles = _by_bound(first, shared, BOUNDS)
    columns: dict[str, float | int | str] = {"threads": threads}
    return columns | {f"{name.replace(' ', '_')}_cycles": cycles[name] for name in dict.fromkeys(BOUNDS.values())}


def _why(kernel: Kernel, spec: CpuSpec, cycles: Counter[str]) -> tuple[Message, ...]:
    """Shares of the busiest thread's cycles, and the rate of the core."""
    model, total = kernel.model, sum(cycles.values()) or 1
    parts = {word: n / total for word, n in cycles.most_common() if n}
    template = f"cycles of the busiest thread: {'{shares:.0%}' if parts else 'none'}"
    messages = [Message("cpu.cycles", template, {"shares": parts})]
    if kernel.layer.macs:
        template = "{sequence}: {rate:.4g} MACs per cycle per core ({format}), {used} of {cores} cores"
        values = {
            "sequence": "compiled loop" if model.compiled else model.sequence,
            "rate": float(model.rate),
            "format": model.label,
            "used": len(kernel.shares),
            "cores": spec.cores * spec.sockets,
        }
        messages.append(Message("cpu.rate", template, values))
    return tuple(messages)
