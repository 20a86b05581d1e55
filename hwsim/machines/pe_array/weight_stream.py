"""A systolic array whose folds overlap: weights stream through a FIFO into a shadow plane while the last tile computes.

The matrix unit of TPU v1 (Jouppi et al., "In-datacenter performance analysis of a tensor processing unit", ISCA 2017): a
weight tile is fetched from DRAM into a FIFO, shifted into the shadow plane in as many cycles as there are rows, and multiplied
with one row of activations a cycle; the activation unit empties the accumulators behind it. Activations stay in the buffer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwsim.errors import Fault, InputError
from hwsim.machines.pe_array.work import GemmWork, as_gemm
from hwsim.machines.plan import LayerPlan
from hwsim.mapping import Keep, Loop, Mapping, batched_gemm_problem, counts
from hwsim.program import Pipeline, Program, Run, Stage
from hwsim.workload import Conv2d, Layer

if TYPE_CHECKING:
    from hwsim.machines.pe_array.machine import PeArray

__all__ = ["plan_weight_stream"]

_CHUNKINGS = 8


def _chunks(work: GemmWork, k_tiles: int, n_tiles: int, fetch: int, rows: int, skew: int) -> tuple[list[int], int]:
    """Rows of activations of each accumulator chunk, and how many chunks the accumulators hold: what costs least.

    Two chunks drain and fill at a time; one alone may be twice as long, but its drain is exposed. Each chunk fetches the
    weights again.
    """
    best: tuple[int, list[int], int] | None = None
    for held in (2, 1):
        fewest = -(-work.m // (rows // held))
        for number in range(fewest, min(fewest + _CHUNKINGS, work.m + 1)):
            chunks = [work.m // number + (i < work.m % number) for i in range(number)]
            product = sum(k_tiles * max(chunk, fetch) for chunk in chunks)
            drain = sum(chunk + skew for chunk in chunks)
            cost = n_tiles * product + (chunks[-1] + skew if held == 2 else n_tiles * drain)
            if best is None or cost < best[0]:
                best = (cost, chunks, held)
    assert best is not None
    return best[1], best[2]


def plan_weight_stream(machine: PeArray, layer: Layer, batch: int) -> LayerPlan:
    """Plan a layer on an array with streamed weights."""
    spec = machine.spec
    work = as_gemm(layer, batch)
    assert work is not None
    bits = machine.bits(layer)
    width = dict(zip(("ifmap", "weight", "ofmap"), bits))
    array, dram = spec.array, spec.memories[spec.dram]
    accumulators = next((m for m in spec.memories.values() if m.holds == ["ofmap"] and m.size), None)
    if accumulators is None or accumulators.size is None:
        raise InputError([Fault(machine.name, "memories", "overlapping folds need a memory of a size that holds ofmap alone")])
    depth = int(accumulators.size) * 8 // (array.cols * (spec.accumulator_bits or 32))
    # The buffer is read in rows of channels of one position: each filter tap is a tile of its own.
    taps = layer.r * layer.s if isinstance(layer, Conv2d) else 1
    k_tiles = taps * -(-(work.k // taps) // array.rows)
    n_tiles = -(-work.n // array.cols)
    tile_bytes = array.rows * array.cols * bits[1] // 8
    fetch_ticks = machine.transfer_ticks(dram, tile_bytes)
    fetch = -(-fetch_ticks // machine.cycle_ticks(1))
    skew = array.rows + array.cols
    chunks, held = _chunks(work, k_tiles, n_tiles, fetch, depth, skew)
    cycle = machine.cycle_ticks

    # Fetching goes on while the layer before drains; taking it to be like this one, the FIFO is full at the start of a
    # layer bound by products, and a layer bound by fetches has gained what the last product and drain took.
    if chunks[0] >= fetch:
        ready, first = min(array.fifo_tiles, k_tiles), 0
    else:
        ready, first = 1, max(0, fetch_ticks - cycle(2 * chunks[0] + skew + array.rows))

    def runs(chunk: int, ready: int = 0, first: int = 0) -> tuple[Run, ...]:
        """The K tiles of one chunk, `ready` of them fetched in `first` ticks; the last one is followed by the drain."""
        inner = min(ready, k_tiles - 1)
        return (
            Run(inner, (first, cycle(array.rows), cycle(chunk), 0)),
            Run(k_tiles - 1 - inner, (fetch_ticks, cycle(array.rows), cycle(chunk), 0)),
            Run(1, (first if ready == k_tiles else fetch_ticks, cycle(array.rows), cycle(chunk), cycle(chunk + skew))),
        )

    stream = tuple(Run(chunks.count(chunk), runs(chunk)) for chunk in dict.fromkeys(chunks))
    head = (*runs(chunks[0], ready, first), Run(chunks.count(chunks[0]) - 1, runs(chunks[0])), *stream[1:])
    tiles = (*head, Run(work.b * n_tiles - 1, stream))
    stages = (
        Stage("fetch", spec.dram, buffer=max(1, array.fifo_tiles)),
        Stage("shift", "weight plane", buffer=2),
        Stage("product", "array", buffer=k_tiles * (held - 1) + 1),
        Stage("activate", "activation unit"),
    )
    total_tiles = work.b * n_tiles * k_tiles * len(chunks)
    k_padded = min(array.rows, work.k // taps)
    problem = batched_gemm_problem(work.b, work.m, work.n, work.k, bits=bits)
    buffer = list(spec.memories)[1]
    mapping = Mapping(
        (
            Keep(spec.dram, ("ifmap", "weight", "ofmap")),
            Keep(buffer, ("ifmap", "ofmap")),
            Loop("B", 1),
            Loop("N", min(array.cols, work.n)),
            Loop("M", max(chunks)),
            Keep(list(spec.memories)[2], ("ofmap",)),
            Loop("K", k_padded),
            Loop("K", 1, "rows"),
            Loop("N", 1, "cols"),
            Keep("pe", ("weight",)),
            Loop("M", 1),
        )
    )
    counted = counts(problem, mapping)
    actions = {k: n for k, n in counted.actions.items() if n and k[2] in ("read", "fill", "update", "drain") and k[0] != spec.dram}
    # Whole tiles come from DRAM, padded; activations only at the ends of the network.
    actions[spec.dram, "weight", "read"] = total_tiles * array.rows * array.cols
    actions["mac", "", layer.input.dtype] = work.macs
    busy = cycle(sum(k_tiles * chunk for chunk in chunks) * n_tiles * work.b)
    return LayerPlan(
        layer,
        batch,
        "weights streamed through a systolic array",
        Program({spec.dram: 1, "weight plane": 1, "array": 1, "activation unit": 1}, (Pipeline("tiles", stages, tiles),)),
        actions,
        macs=work.macs,
        macs_live=layer.macs_live * batch,
        macs_executed=work.macs,
        compute_cycles=busy // cycle(1),
        peak_macs_per_cycle=machine.peak_macs_per_cycle,
        dram_bytes=total_tiles * tile_bytes,
        bounds={"fetch": "weight fetch", "shift": "weight shift", "product": "compute", "activate": "activation"},
        word_bits=width,
        problem=problem,
        mapping=mapping,
        columns={"compute_cycles": busy // cycle(1), "weight_tiles": total_tiles},
    )
