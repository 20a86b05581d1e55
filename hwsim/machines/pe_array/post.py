"""Layers without MACs: on the unit behind the array where there is one, else left to the host."""

from __future__ import annotations

from hwsim.engine.program import Pipeline, Program, Stage, spread
from hwsim.machines.pe_array.array import Array
from hwsim.machines.plan import Action, LayerPlan
from hwsim.workload import Layer
from hwsim.workload.product import Stream

__all__ = ["IN_PLACE", "activation_home", "plan_post"]

IN_PLACE = ("concat", "view")
"""Layers whose producers write in place."""

_IDLE = Program({}, ())
_TILES = 64


def activation_home(array: Array, size_bytes: int) -> str:
    """The memory that the activations of an inference live in.

    It is the buffer of a machine that streams its weights, where they fit (a batch is run in parts that do), else DRAM.
    """
    spec = array.spec
    if spec.array.fifo_tiles:
        for name, memory in list(spec.memories.items())[1:]:
            if {"ifmap", "ofmap"} <= set(memory.holds) and (memory.size is None or size_bytes <= memory.size):
                return name
    return spec.dram


def plan_post(array: Array, layer: Layer, batch: int) -> LayerPlan:
    """Plan a layer without MACs.

    The unit reads every operand from where the activations live and writes the result back; it is bound by its own
    rate or by that memory. Concatenation and reshaping of what already lies in memory cost nothing: producers write in
    place.

    A fused addition is done while the layer before leaves the array, which then takes max(its outputs / eltwise rate,
    all bytes / bandwidth) where it took max(its outputs / output rate, its bytes / bandwidth). The addition is charged
    max(difference of the first terms, reading of the other operand): never less than it adds, and just that where the
    layer before is bound by its outputs. Layers are planned one by one, so what hides behind its products is not seen.
    """
    post, spec = array.spec.post, array.spec
    x = layer.lower(batch)
    assert isinstance(x, Stream)
    in_place = x.kind in IN_PLACE
    if post is None or in_place:
        bound = "in place" if in_place else "not modeled"
        return _plan(array, layer, batch, bound, _IDLE, {}, 0, {"": bound})
    width = array.bits(layer)
    fused = post.fused and x.kind == "elementwise" and x.operands > 1
    read, writes = layer.inputs * batch, layer.outputs * batch
    home = activation_home(array, -(-(layer.inputs * width[0] + layer.outputs * width[2]) // 8))
    if fused:
        read, writes = read - writes, 0
    if x.kind == "pool":
        cycles = -(-read // (post.pool or post.outputs))
    elif x.kind == "elementwise":
        cycles = -(-layer.ops * batch // (post.eltwise or post.outputs))
    else:
        cycles = -(-writes // post.outputs)
    work = array.cycle_ticks(cycles, post.clock)
    memory = spec.memories[home]
    load = array.transfer_ticks(memory, -(-read * width[0] // 8))
    store = array.transfer_ticks(memory, -(-writes * width[2] // 8))
    if fused:
        work -= min(work, array.cycle_ticks(-(-layer.outputs * batch // post.outputs), post.clock))
    tiles = max(1, min(_TILES, max(read, writes)))
    stages = (Stage("load", home), Stage("post", "post"), Stage("store", home))
    program = Program({home: 1, "post": 1}, (Pipeline("post", stages, spread(tiles, load, work, store)),))
    counts = {
        (home, "ifmap", "read"): read,
        (home, "ofmap", "update"): writes,
        ("post", "", "op"): max(layer.ops, layer.outputs) * batch,
    }
    traffic = -(-(read * width[0] + writes * width[2]) // 8) if home == spec.dram else 0
    bounds = {"load": home, "post": "post-processor", "store": home}
    name = "post-processor, fused with the previous layer" if fused else "post-processor"
    return _plan(array, layer, batch, name, program, counts, traffic, bounds)


def _plan(
    array: Array, layer: Layer, batch: int, algorithm: str, program: Program,
    counts: dict[Action, int], dram_bytes: int, bounds: dict[str, str],
) -> LayerPlan:  # fmt: skip
    """A plan without MACs."""
    return LayerPlan(
        layer,
        batch,
        algorithm,
        program,
        {action: n for action, n in counts.items() if n},
        macs=0,
        macs_live=0,
        macs_executed=0,
        compute_cycles=0,
        peak_macs_per_cycle=array.pes,
        dram_bytes=dram_bytes,
        bounds=bounds,
        word_bits=dict(zip(("ifmap", "weight", "ofmap"), array.bits(layer))) if counts else {},
    )
