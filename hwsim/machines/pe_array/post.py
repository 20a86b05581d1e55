"""Layers without MACs: on the unit behind the array where there is one, else left to the host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwsim.machines.plan import LayerPlan
from hwsim.program import Pipeline, Program, Run, Stage
from hwsim.workload import Concat, DataMovement, Elementwise, Layer, Pool2d

if TYPE_CHECKING:
    from hwsim.machines.pe_array.machine import PeArray

__all__ = ["plan_post"]

IDLE = Program({}, ())


def plan_post(machine: PeArray, layer: Layer, batch: int) -> LayerPlan:
    """Plan a layer without MACs.

    The unit reads every operand from the outermost memory and writes the result back; it is bound by its own rate or
    by that memory. Concatenation and reshaping of what already lies in memory cost nothing: producers write in place.
    """
    post, spec = machine.spec.post, machine.spec
    peak = machine.peak_macs_per_cycle
    base = {"macs": 0, "macs_live": 0, "macs_executed": 0, "compute_cycles": 0, "peak_macs_per_cycle": peak}
    in_place = isinstance(layer, Concat) or (isinstance(layer, DataMovement) and layer.type == "reshape")
    if post is None or in_place:
        bound = "in place" if in_place else "not run here"
        return LayerPlan(layer, batch, bound, IDLE, {}, **base, dram_bytes=0, bounds={"": bound})
    rate, amount = post.outputs, layer.outputs * batch
    if isinstance(layer, Pool2d):
        rate, amount = post.pool or post.outputs, layer.inputs * batch
    elif isinstance(layer, Elementwise):
        rate = post.eltwise or post.outputs
    bits = machine.bits(layer)
    moved_in = layer.inputs * batch * bits[0]
    moved_out = layer.outputs * batch * bits[2]
    dram = spec.memories[spec.dram]
    stages = (Stage("load", spec.dram), Stage("post", "post"), Stage("store", spec.dram))
    chunks = max(1, min(64, layer.outputs * batch // 4096))
    tile = (
        machine.transfer_ticks(dram, -(-moved_in // (8 * chunks))),
        machine.cycle_ticks(-(-amount // (rate * chunks)), post.clock),
        machine.transfer_ticks(dram, -(-moved_out // (8 * chunks))),
    )
    words = {(spec.dram, "ifmap", "read"): layer.inputs * batch, (spec.dram, "ofmap", "update"): layer.outputs * batch}
    return LayerPlan(
        layer,
        batch,
        "post-processor",
        Program({spec.dram: 1, "post": 1}, (Pipeline("post", stages, (Run(chunks, tile),)),)),
        words | {("post", "", "op"): amount},
        **base,
        dram_bytes=-(-(moved_in + moved_out) // 8),
        bounds={"load": "dram", "post": "post-processor", "store": "dram"},
        word_bits=dict(zip(("ifmap", "weight", "ofmap"), bits)),
    )
