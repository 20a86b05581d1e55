"""Lower bounds of a layer on an array for any mapping, from its shape and the machine's sizes alone.

- Every MAC is computed (or gated), by at most all PEs at once; a systolic array takes its folds.
- Every weight and every input that a window touches comes from DRAM once, every output goes there once, at the
  bandwidth of DRAM; compressed tensors at the fewest bytes that their density allows. An array with streamed weights
  keeps its activations in the buffer: there only weights count.
- Every MAC reads what its PE holds. What flows through a systolic array comes from the buffer, a word for a whole row
  or column of PEs at best; its sums are read back there wherever they are added to.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil

from hwsim.compression.storage import least_bits, rlc_least_bytes
from hwsim.energy import word_width
from hwsim.machines.lower_bound import LowerBound
from hwsim.machines.pe_array.array import Array
from hwsim.machines.pe_array.row_stationary import limits_of
from hwsim.machines.pe_array.spec import Tensor
from hwsim.machines.pe_array.systolic import fold_cycles, folds_of
from hwsim.machines.pe_array.work import GemmWork, as_gemm, mac_actions, resting_words
from hwsim.machines.plan import Action
from hwsim.workload import Layer
from hwsim.workload.product import geometry_of
from hwsim.workload.taps import covered

__all__ = ["lower_bound_of", "with_transforms"]


def lower_bound_of(array: Array, layer: Layer, batch: int) -> LowerBound:
    """Lower bounds of a layer's time, actions and bytes; nothing for a layer without MACs."""
    work = as_gemm(layer, batch)
    if work is None:
        return LowerBound()
    spec, bits = array.spec, array.bits(layer)
    width: dict[str, float] = {**array.layer_widths(layer)}
    counts: dict[Action, int] = mac_actions(layer, work.macs, spec.array)
    mac_count = counts["mac", "", layer.input.dtype]
    slots = mac_count if spec.array.zeros == "skip" else work.macs
    cycles = Fraction(slots, array.pes)
    width |= array.stored_widths(layer)
    traffic = _compulsory(array, layer, batch, width)
    for tensor, size in traffic.items():
        action = "update" if tensor == "ofmap" else "read"
        counts[spec.dram, tensor, action] = int(size * 8 // (word_width(width, spec.dram, tensor) or 8))
    if array.planner == "passes":
        cycles = max(cycles, _passes(array, layer, work, mac_count, counts))
    elif spec.array.wiring == "systolic":
        cycles = max(cycles, _flow(array, work, counts, "psum" in width))
    outer = spec.memories[spec.dram]
    assert outer.bandwidth is not None
    speed = spec.bytes_per_second(outer.bandwidth, outer, bits[0]) * Fraction(outer.efficiency)
    total = sum(traffic.values())
    seconds = max(cycles / array.clock_hz, total / speed)
    return LowerBound(seconds, {action: n for action, n in counts.items() if n}, width, total)


def with_transforms(array: Array, layer: Layer, batch: int, direct: LowerBound, products: list[int]) -> LowerBound:
    """The lower bound where a layer may be run through transforms too, with so many multiplications each.

    They save multiplications and what these read. Inputs and outputs cross DRAM as they do without; weights too, or
    more of them, wherever the transformed are no fewer than the plain ones.
    """
    if not products:
        return direct
    spec, counts = array.spec, dict[Action, int]()
    for action, number in direct.counts.items():
        if action[0] == spec.dram:
            counts[action] = number
        elif action[:2] == ("mac", ""):
            counts[action] = 0  # in another format, where words are wider
    outer = spec.memories[spec.dram]
    assert outer.bandwidth is not None
    speed = spec.bytes_per_second(outer.bandwidth, outer, array.bits(layer)[0]) * Fraction(outer.efficiency)
    least = Fraction(min(*products, direct.counts.get(("mac", "", layer.input.dtype), 0)), array.pes)
    seconds = min(direct.seconds, max(least / array.clock_hz, direct.dram_bytes / speed))
    return LowerBound(seconds, {key: n for key, n in counts.items() if n}, direct.word_bits, direct.dram_bytes)


def _compulsory(array: Array, layer: Layer, batch: int, width: dict[str, float]) -> dict[str, int]:
    """Bytes of each tensor that cross DRAM once in any plan."""
    spec = array.spec
    words: dict[Tensor, tuple[int, float]] = {"weight": (layer.weights, layer.weight.density)}
    if not spec.array.fifo_tiles:
        words["ifmap"] = (_input_words(layer) * batch, layer.input.density)
        words["ofmap"] = (layer.outputs * batch, layer.output.density)
    outer, sizes = spec.memories[spec.dram], dict[str, int]()
    for tensor, (number, density) in words.items():
        sizes[tensor] = int(number * (word_width(width, spec.dram, tensor) or 0) / 8)
        form, own = array.storage(layer, outer, tensor), tensor in outer.compress
        if array.planner != "passes" or form == "dense":
            continue
        if form == "rlc" and own:
            sizes[tensor] = int(rlc_least_bytes(number, density, width[tensor] / 8))
        else:
            least = int(least_bits(form, number, density, int(width[tensor])) / 8)
            sizes[tensor] = min(least, sizes[tensor]) if own else least
    return sizes


def _input_words(layer: Layer) -> int:
    """Inputs that some window of a layer covers; a stride larger than the filter leaves some out."""
    shape = geometry_of(layer.lower(1))
    if shape is None:
        return layer.inputs
    (down, across), (y, x), (top, left) = shape.stride, shape.dilation, shape.pad[:2]
    rows = covered(shape.h, shape.r, down, top, shape.p, y)
    return shape.c * rows * covered(shape.w, shape.s, across, left, shape.q, x)


def _passes(array: Array, layer: Layer, work: GemmWork, mac_count: int, counts: dict[Action, int]) -> Fraction:
    """Row stationary: a MAC that no zero gates reads both operands; a pass first loads its filters."""
    spec, word = array.spec, array.bits(layer)[0]
    _, names = limits_of(array, word)
    skips = spec.array.zeros == "skip"
    resting = resting_words(layer, work.macs, spec.array)
    for operand in ("ifmap", "weight"):
        counts[names[operand], operand, "read"] = work.macs - resting.get(operand, 0)
    for action in (
        (names["filter"], "weight", "read"),
        ("noc", "weight", "deliver"),
        (names["weight"], "weight", "fill"),
    ):
        counts[action] = layer.weights
    slots = mac_count if skips else work.macs
    cycles = Fraction(slots, array.pes) + spec.mapper.pass_cycles
    memory = spec.memories[names["filter"]]
    if (port := memory.ports.get("weight")) is not None:
        words = spec.bytes_per_second(port, memory, word) / Fraction(word, 8) / array.clock_hz
        cycles += layer.weights / words
    return cycles


def _flow(array: Array, work: GemmWork, counts: dict[Action, int], apart: bool) -> Fraction:
    """Systolic: the PEs hold one operand, the others flow past; without a FIFO, folds do not overlap."""
    spec = array.spec
    if spec.array.fifo_tiles:
        counts["pe", "weight", "read"] = work.macs
        return Fraction(0)
    buffer, fold = list(spec.memories)[1], spec.fold
    rows, cols = spec.array.rows, spec.array.cols
    for memory, tensor, side in (
        ("pe", fold.stationary, 1),
        (buffer, fold.along_rows, cols),
        (buffer, fold.along_columns, rows),
    ):
        least = ceil(work.macs / side)
        if tensor == "ofmap" and apart:  # partial sums are counted apart; PEs hold no others
            final = min(least, work.b * work.m * work.n) if memory == buffer else 0
            counts[memory, "psum", "update"] = least - final
            least = final
        counts[memory, tensor, "update" if tensor == "ofmap" else "read"] = least
    # Each word comes into the buffer, and each that stands still into a PE, once; a sum that is not the first of its
    # output is read back from where it is added up; each output leaves once.
    words = {"ifmap": work.b * work.m * work.k, "weight": work.b * work.k * work.n}
    outputs, psum = work.b * work.m * work.n, "psum" if apart else "ofmap"
    for tensor, number in words.items():
        counts[buffer, tensor, "fill"] = number
        counts[buffer, tensor, "read"] = max(number, counts.get((buffer, tensor, "read"), 0))
    counts[buffer, "ofmap", "drain"] = outputs
    if fold.stationary == "ofmap":
        counts[buffer, "ofmap", "update"] = counts["pe", psum, "drain"] = outputs
        counts["pe", psum, "read"] = work.macs - outputs
    else:
        counts["pe", fold.stationary, "fill"] = words[fold.stationary]
        side = cols if fold.along_rows == "ofmap" else rows
        counts[buffer, psum, "read"] = max(0, ceil(work.macs / side) - outputs)
    folds, steps = folds_of(fold, rows, cols, work)
    return Fraction(folds * fold_cycles(fold, rows, cols, steps))
