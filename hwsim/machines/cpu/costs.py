"""Cycles of one core for its share of a layer, by stage."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from math import prod
from typing import Literal

from hwsim.machines.cpu.core_model import CoreModel
from hwsim.machines.cpu.kernel import Kernel
from hwsim.machines.cpu.layout import ALONE, Place
from hwsim.machines.cpu.tiles import Walk, pieces, walk
from hwsim.machines.cpu.work import Share, Work, is_hybrid, transcendental
from hwsim.workload import Layer
from hwsim.workload.product import Product, Stream

__all__ = ["BOUNDS", "ThreadCost", "level_of", "spend"]

#: Bound of each stage in a report, in execution order.
BOUNDS: dict[str, str] = {
    "call": "call overhead",
    "threads": "thread start",
    "reorder": "reorder",
    "patches": "im2col",
    "pack": "packing",
    "hidden": "compute",
    "l3": "l3",
    "dram": "dram",
    "pages": "dram",
    "compute": "compute",
    "latency": "latency",
    "l2": "l2",
    "loads": "load ports",
    "rows": "row starts",
    "accumulate": "accumulators",
    "outputs": "outputs",
    "requantize": "requantize",
    "functions": "functions",
    "spill": "l3",
    "shared": "dram",
    "contended": "contention",
    "quantize": "quantize",
}
_PAGE = 4096
_MANY_ROWS = 16
_LOOP_BYTES = 16  # of a vector of the least instruction set that a library is compiled for
_TASKS = 5  # of a convolution, for each thread
_FLOAT_BYTES = 4
_QUANTIZE, _SCALE = 9, 2  # instructions for a vector of floats
_OWN_PASS = {"div": "divide", "transpose": "transpose", "resize": "resize"}
"""Functions of passes that have a cost of their own."""
_TAPS_AT_A_TIME = 6
"""Outputs of a pool side by side, whose chains of maxima or sums overlap."""


@dataclass(slots=True)
class ThreadCost:
    """Cycles of a thread by stage, and the memory that weights come from, "" for the core's own caches."""

    cycles: dict[str, float]
    far: Literal["", "l3", "dram"] = ""

    @property
    def total(self) -> float:
        """All cycles."""
        return sum(self.cycles.values())


def _far(model: CoreModel, tiles: Walk, level: Literal["l3", "dram"], lost: float, cost: ThreadCost) -> None:
    """Steps whose weights come from L3 or DRAM; each takes the longer of the transfer and the tile."""
    for steps, near, size in tiles.far:
        stream = steps * size * ((1 - lost) / model.l3 + lost / model.dram)
        cost.cycles["hidden"] += min(stream, steps * near)
        cost.cycles[level] += max(0.0, stream - steps * near)
        cost.cycles["compute"] += max(0.0, steps * near - stream)
    cost.far = level


def level_of(model: CoreModel, home: tuple[float, float]) -> Literal["", "l3", "dram"]:
    """The memory that weights are read from, given their bytes in the core's own cache and in the shared one."""
    if home[0] <= model.library.resident * model.l2_size:
        return ""
    return "l3" if home[1] <= model.library.resident * model.l3_size else "dram"


def _multiply(
    work: Work, model: CoreModel, share: Share, home: tuple[float, float], lost: float, result: ThreadCost
) -> None:
    """Add the cycles of the MACs of a GEMM or convolution and of their operands."""
    cycles, cost = result.cycles, model.cost
    outputs = work.b * work.m * work.n
    if work.depthwise:
        _depthwise(work, model, share.part, cycles)
        cycles["requantize"] += cost("requantize") * outputs * share.part if model.signs else 0.0
        return
    if model.compiled:
        _loop(work, model, share, result)
        return
    if model.type.efficiency is not None or model.fixed_tile:
        efficiency = (model.type.efficiency or 1.0) * model.library.factor(model.sequence, "efficiency")
        macs = work.live if model.library.padding == "skip" else work.macs
        cycles["compute"] += macs * share.part / (model.rate * efficiency)
        cycles["outputs"] += cost("output") * outputs * share.part / model.ports.lanes
        if work.conv and work.taps > 1:
            cycles["patches"] += cost("copy") * work.b * work.m * work.k * share.part
        return
    level = level_of(model, home)
    lost = {"": 0.0, "l3": lost, "dram": 1.0}[level]
    # Weights that fit L3 are few enough pages for the TLB, which `page` is about; `restart` is about prefetch.
    page = cost("page") * min(1.0, share.m / _MANY_ROWS) if level == "dram" else 0.0
    level = "dram" if lost > 0.5 else level
    patches = work.conv and not model.reads_pixels(work.channels, work.n)
    if work.conv and not patches:
        # Implicit: pointers to pixels, no slices of depth; the tile is requantized as it leaves the registers.
        depth = work.taps * _up(work.channels, model.ports.depth)
        tiles = walk(share.m, share.n, depth, model.type.conv, model.ports, model.l2, bool(level))
        cycles["outputs"] += share.b * cost("output") * tiles.stored
    else:
        tile = model.type.gemm
        if work.conv and not model.signs:
            tile = tile.model_copy(update={"depth": None})
        tiles = walk(share.m, share.n, work.k, tile, model.ports, model.l2, bool(level))
        # The first slice only stores.
        cycles["accumulate"] += share.b * cost("accumulate") * (tiles.stored / 2 + tiles.added)
    for bound, n in tiles.cycles.items():
        cycles[bound] += share.b * n
    if level:
        tiles = replace(tiles, far=[(share.b * steps, near, size) for steps, near, size in tiles.far])
        _far(model, tiles, level, lost, result)
        pages = share.b * work.k * share.n * model.word / _PAGE * lost
        cycles[level] += pages * page
        cycles["pages"] += pages * max(0.0, cost("restart") - page)  # a wait of the core's own, not for the others
    if patches:
        _around(work, model, share.part, cycles)
    elif work.conv and work.taps > 1:
        each = cost("patch") + (cost("group") if work.b > 1 else 0.0)
        cycles["patches"] += each * work.b * work.m * work.taps * share.part


def _around(work: Work, model: CoreModel, part: float, cycles: dict[str, float]) -> None:
    """Add what surrounds the product of a convolution without a kernel of its own: copied patches, a pass over sums."""
    if work.conv:
        patches = 0 if work.in_place else work.b * work.m
        each = model.cost("patch") * work.taps + model.cost("copy") * work.k
        each += model.cost("group") * work.taps * (work.b > 1)
        cycles["patches"] += each * patches * part
        cycles["requantize"] += model.cost("requantize") * work.b * work.m * work.n * part


def _loop(work: Work, model: CoreModel, share: Share, result: ThreadCost) -> None:
    """Add the cycles of a product by a compiled loop: one output at a time, weights packed again for each task."""
    cycles, cost, tile = result.cycles, model.cost, model.type.gemm
    sums = share.b * share.m * share.n
    for depth, count in pieces(work.k, tile.depth):
        whole, rest = divmod(-(-depth // 4), _LOOP_BYTES // 4)
        each = cost("sum") + cost("mac") * whole * _LOOP_BYTES + cost("scalar") * rest * 4
        cycles["compute"] += sums * count * each
    tasks = 1
    if work.conv:
        # A task has at least so many MACs, and a thread at most so many tasks.
        rows = _up(-(-model.library.thread_macs // (work.n * work.k)), tile.rows[0])
        rows = max(rows, _up(-(-share.m // _TASKS), tile.rows[0]))
        tasks = -(-share.m // rows)
    cycles["pack"] += cost("panel") * share.b * work.k * share.n * tasks
    _around(work, model, share.part, cycles)


def _depthwise(work: Work, model: CoreModel, part: float, cycles: dict[str, float]) -> None:
    """Add the cycles of a depthwise filter: loads of each tap, starts of rows, pointers to pixels, outputs."""
    cost, lanes = model.cost, model.ports.lanes
    channels, pixels = work.b * work.n, work.m * part
    taps = (work.live if model.library.padding == "skip" else work.macs) / channels * part
    vectors, rest = channels / lanes, 0
    if model.type.blocked:
        vectors = float(-(-channels // lanes))  # channels are padded
    elif cost("rest"):
        # What fills half a vector takes as long as two; what is left goes one by one.
        whole, left = divmod(channels, lanes)
        half, rest = divmod(left, lanes // 2)
        vectors = float(whole + 2 * half)
    cycles["loads"] += cost("tap") * taps * vectors * model.ports.vector_bytes / model.l1_load
    if rest:  # pixels that do not begin at a vector: loads cross lines
        cycles["loads"] += (cost("rest") * rest + cost("skew") * (channels - rest)) * taps
    # Short rows do not overlap at all: at most a cycle for each of their taps.
    cycles["rows"] += vectors * min(cost("row") * work.rows * part, taps)
    if model.type.blocked:
        # A stride reads more lines than it writes: their way into L1 holds its port.
        cycles["loads"] += max(0, work.inputs - channels * work.m) * part * model.word / model.l1_load
    else:
        cycles["outputs"] += cost("output") * vectors * pixels
    if model.type.efficiency is None and not model.type.blocked:
        cycles["patches"] += cost("patch") * pixels * work.taps


def _up(value: int, step: int) -> int:
    return -(-value // step) * step


def _pass(model: CoreModel, reads: float, writes: float, cost: ThreadCost, away: float = 0.0) -> None:
    """Add the cycles of a pass over values, limited by the memory that holds them.

    Of what is `away` from L3, a read restarts at each page, as weights do; a write only fetches the line.
    """
    moved = (reads + writes) * model.word * (1 - away)
    if moved <= model.l2_size:
        cost.cycles["l2"] += moved / model.l2
    elif moved <= model.l3_size:
        cost.cycles["l3"] += moved / model.l3
    else:
        cost.cycles["dram"] += moved / model.dram
    if away:
        cost.cycles["dram"] += (reads + writes) * model.word * away / model.dram
        cost.cycles["pages"] += reads * model.word * away / _PAGE * model.cost("restart")


def _quantize(layer: Layer, batch: int, model: CoreModel, share: Share, cost: ThreadCost) -> None:
    """Add the cycles of float activations beside 8-bit weights: a pass for their range, one that writes 8-bit values.

    They take load, minimum and maximum, then load, product, conversion, two that narrow it, and a store, of which a
    core starts one a cycle; and the sums are scaled into floats: a conversion and a product.
    """
    inputs, outputs = layer.inputs * batch * share.part, layer.outputs * batch * share.part
    cost.cycles["quantize"] += (_QUANTIZE * inputs + _SCALE * outputs) / model.float_lanes
    _pass(model, 2 * _FLOAT_BYTES * inputs / model.word, inputs + (_FLOAT_BYTES - 1) * outputs, cost)


def _pool(layer: Layer, part: float, model: CoreModel, cycles: dict[str, float], plain: bool) -> None:
    """Add the cycles of a pool: one load for each tap, or the latency of a chain where outputs are few."""
    x = layer.lower(1)
    whole = prod(layer.output.shape[1:]) == 1  # has a kernel of its own
    if plain and not whole and isinstance(x, Stream) and (each := model.cost(f"window_{x.function}")):
        cycles["loads"] += each * layer.ops * part
        return
    # Of 8-bit values, unless kernels are generated, loops that are compiled for every processor.
    vectors = model.word > 1 or model.library.generated
    lanes = model.ports.vector_bytes // model.word if vectors else _LOOP_BYTES
    taps = layer.ops / max(1, layer.outputs)
    together = min(_TAPS_AT_A_TIME, layer.output.shape[-1])
    each = max(model.ports.vector_bytes / model.l1_load, model.ports.latency / together)
    cycles["loads"] += each * taps * layer.outputs * part / lanes


def _own_norm(x: Product | Stream, model: CoreModel) -> bool:
    """Whether a normalization has a loop of its own."""
    return isinstance(x, Stream) and x.kind == "norm" and x.function in model.type.functions


def _values(layer: Layer, x: Stream, model: CoreModel) -> float:
    """Cycles of one inference of a pass over values, beside the way of the values through the caches."""
    own = _OWN_PASS.get(x.function, "")
    if model.cost(own):
        return model.cost(own) * layer.outputs
    if _own_norm(x, model):
        return model.type.functions[x.function] * layer.outputs
    # Joined 8-bit tensors are scaled, through a table.
    return model.cost("value") * layer.inputs * (2 if x.kind == "concat" and model.word == 1 else 1)


def _functions(layer: Layer, x: Product | Stream, model: CoreModel, place: Place) -> float:
    """Cycles of one inference for functions: by the vector, and by the row that is summed before it is scaled."""
    cost, lanes = model.cost, model.ports.lanes
    if place.merged == "skip":
        return cost("skip") * layer.outputs
    if _own_norm(x, model) or not transcendental(x):
        return 0.0
    if isinstance(x, Stream) and x.kind in ("softmax", "norm") and x.axis == "last" and cost("line"):
        softmax, size = x.kind == "softmax", layer.output.shape[-1]
        row = cost("line") + size % lanes * cost("tail") * softmax
        vectors = cost("softmax" if softmax else "function") * layer.outputs / lanes
        return vectors + row * layer.outputs / size * (softmax or x.function in ("layer", "rms"))
    if isinstance(x, Product) and x.geometry is not None and x.activation in model.type.functions:
        return 0.0  # a part of the outputs
    return cost("function") * transcendental(layer.lower(1)) / lanes


def _loop_of_function(model: CoreModel, each: float, values: float, cost: ThreadCost, away: float) -> None:
    """Add the cycles of an activation with a loop of its own, which runs while its values move."""
    cost.cycles["functions"] += each * values
    moves = ThreadCost(defaultdict(float))
    _pass(model, values, values, moves, away)
    for level, n in moves.cycles.items():
        cost.cycles[level] += max(0.0, n - each * values)


def _reorder(
    layer: Layer, batch: int, model: CoreModel, place: Place, edges: tuple[bool, bool], share: Share, result: ThreadCost
) -> None:
    """Add the operators that move the input or the output to the library's layout or back, a pass and a call each."""
    cycles, cost = result.cycles, model.cost
    if model.library.layout != "reorder" or place.native is False:
        return
    if layer.macs == 0 and (model.dtype == "int8" or place.native is None):
        return  # alone, it takes its values as they lie
    values = (edges[0] * layer.inputs + edges[1] * layer.outputs) * batch * share.part
    cycles["reorder"] += cost("reorder") * values
    cycles["dram"] += place.away * values * model.word / model.dram
    cycles["call"] += cost("call") * sum(edges)
    cycles["threads"] += cost("reorder_thread") * sum(edges) * (share.threads > 1)


def _cold(x: Product | Stream, model: CoreModel, place: Place) -> float:
    """Cycles for what surrounds the values: descriptors, and the code of the first layer of a kind.

    Simple passes have little of either, and what they have is that of many.
    """
    simple = isinstance(x, Stream) and x.kind not in ("softmax", "pool", "norm")
    gone = 0.0 if simple else place.gone
    farther = 1 + gone * (model.dram_latency / model.l3_latency if model.l3_latency else 0.0)
    return place.cold * model.cost("cold") * farther + place.first * gone * model.cost("code")


def spend(kernel: Kernel, share: Share, home: tuple[float, float], place: Place = ALONE) -> ThreadCost:
    """Cycles of one thread for its share of a layer.

    `home` is the bytes of weights in the thread's own cache and in the shared one.
    """
    result = ThreadCost(defaultdict(float))
    if kernel.fused or place.merged == "absorbed":
        return result
    layer, batch, work, model = kernel.layer, kernel.batch, kernel.work, kernel.model
    library, cost, threads = model.library, model.cost, share.threads
    cycles = result.cycles
    x = layer.lower(batch)
    pool = isinstance(x, Stream) and x.kind == "pool"
    if place.merged == "accumulated":
        _pass(model, layer.outputs * batch * share.part, 0.0, result)
        return result
    away = place.away
    cycles["call"] = cost("call") + place.session * cost("session") + _cold(x, model, place)
    if threads > 1:
        first = cost("conv_thread" if pool or (work is not None and work.conv) else "thread")
        cycles["threads"] = first + cost("barrier") * (threads - 1).bit_length()
    if isinstance(x, Stream) and x.axis != "last":
        each = cost("turn" if x.axis == "next" else "scatter")
        cycles["reorder"] += 2 * each * layer.outputs * batch * share.part
    if isinstance(x, Stream) and x.kind == "activation" and x.function in model.type.functions:
        _loop_of_function(model, model.type.functions[x.function], layer.outputs * batch * share.part, result, away)
        _reorder(layer, batch, model, place, (False, place.edges[1]), share, result)
        return result
    if work is not None and isinstance(x, Product):
        _multiply(work, model, share, home, place.lost, result)
        if x.geometry is not None and library.layout == "reorder":
            # Inputs with fewer channels than a vector are not reordered.
            blocks = model.dtype == "int8" or x.geometry.c >= model.ports.lanes
            _reorder(layer, batch, model, place, (place.edges[0] and blocks, place.edges[1]), share, result)
            # Lines that were evicted are fetched before they are written; those that are read come beside the MACs.
            cycles["dram"] += away * layer.outputs * batch * share.part * model.word / model.dram
            if model.dtype != "int8" and x.activation not in ("none", "relu"):
                # Clipping while the row lies in L1; other functions run as alone.
                each = model.type.functions.get(x.activation, 0.0) if transcendental(x) else 0.0
                cycles["outputs"] += (each or cost("activate")) * layer.outputs * batch * share.part
        if not work.conv and model.dtype == "int8" and (place.passed or layer.output.signed is not None):
            # The next layer takes 8-bit values, or the layer says that it writes them: the 32-bit sums are requantized.
            cycles["requantize"] += cost("requantize") * layer.outputs * batch * share.part
        if model.library.generated and is_hybrid(layer, model.dtype):
            _quantize(layer, batch, model, share, result)
        if not x.stored:
            cycles["pack"] += cost("pack") * work.b * work.k * work.n * share.part
    elif pool:
        _pool(layer, batch * share.part, model, cycles, place.native is False)
        if library.fuses:
            cycles["outputs"] += cost("output") * layer.outputs * batch / model.ports.lanes * share.part
        else:
            _pass(model, layer.inputs * batch * share.part, layer.outputs * batch * share.part, result, away)
            _reorder(layer, batch, model, place, place.edges, share, result)
    elif isinstance(x, Stream) and x.kind != "gather" and (not transcendental(x) or _own_norm(x, model)):
        _pass(model, layer.inputs * batch * share.part, layer.outputs * batch * share.part, result, away)
        _reorder(layer, batch, model, place, (False, place.edges[1]), share, result)
        cycles["outputs"] += _values(layer, x, model) * batch * share.part
        if x.kind == "elementwise" and x.activation != "none":
            # A pass of its own over what the first one wrote.
            cycles["call"] += cost("call")
            _pass(model, layer.outputs * batch * share.part, layer.outputs * batch * share.part, result)
            cycles["outputs"] += cost("value") * layer.outputs * batch * share.part
    cycles["functions"] += _functions(layer, x, model, place) * batch * share.part
    if library.lines is not None and (work is not None or pool):
        # What another thread wrote comes from L3 also where the private caches together hold it.
        over = max(0.0, (layer.inputs + layer.outputs) * model.word * batch - model.l2_size)
        cycles["spill"] += over * share.part * model.l3_latency / (64 * library.lines)
    return result
