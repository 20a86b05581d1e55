"""What one core spends on its part of a layer, in cycles, by what they go to."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Literal

from hwsim.machines.cpu.bench import Bench
from hwsim.machines.cpu.tiles import Walk, walk
from hwsim.machines.cpu.work import COSTLY, Work
from hwsim.workload import Layer
from hwsim.workload.product import Product, Stream

__all__ = ["ALONE", "BOUNDS", "Place", "Share", "Spent", "fused", "level_of", "spend", "transcendental"]

#: The words a user reads for what a stage waits on, in the order in which the stages run.
BOUNDS: dict[str, str] = {
    "call": "call overhead",
    "threads": "thread start",
    "reorder": "reorder",
    "patches": "im2col",
    "pack": "packing",
    "hidden": "compute",
    "l3": "l3",
    "dram": "dram",
    "compute": "compute",
    "latency": "latency",
    "l2": "l2",
    "loads": "load ports",
    "accumulate": "accumulators",
    "outputs": "outputs",
    "requantize": "requantize",
    "functions": "functions",
    "spill": "l3",
    "shared": "dram",
}
_PAGE = 4096
_MANY_ROWS = 16


@dataclass(frozen=True, slots=True)
class Share:
    """What a thread has of a layer: so many of its products, rows and columns, which are this `part` of its MACs."""

    b: int
    m: int
    n: int
    threads: int
    part: float


@dataclass(frozen=True, slots=True)
class Place:
    """What the network around a layer asks of it.

    Attributes
    ----------
    edges : (bool, bool)
        Whether the input and the output have to be moved between the library's layout and the plain one.
    session : bool
        Whether it is the first to run, which carries what surrounds an inference.
    passed : bool
        Whether another layer takes its output.
    lost : float
        Part of what lay in L3 that others drove out of it since the last inference.
    """

    edges: tuple[bool, bool] = (True, True)
    session: bool = True
    passed: bool = False
    lost: float = 0.0


ALONE = Place()
"""A layer that is run on its own."""


@dataclass(slots=True)
class Spent:
    """Cycles by stage, and the memory that weights come from if it is not a cache of the core's own."""

    cycles: dict[str, float]
    far: Literal["", "l3", "dram"] = ""

    @property
    def total(self) -> float:
        """All cycles."""
        return sum(self.cycles.values())


def transcendental(x: Product | Stream) -> int:
    """Values whose function takes more than a comparison or a product."""
    if isinstance(x, Product):
        return x.outputs if x.activation in COSTLY else 0
    function = x.function if x.kind == "activation" else x.activation
    return x.outputs if x.kind in ("softmax", "norm") or function in COSTLY else 0


def fused(x: Product | Stream) -> bool:
    """Whether a library that fuses runs the layer inside the one before it."""
    if isinstance(x, Product):
        return False
    return x.kind in ("elementwise", "view", "copy", "concat") or (x.kind == "activation" and not transcendental(x))


def _far(bench: Bench, found: Walk, level: Literal["l3", "dram"], lost: float, spent: Spent) -> None:
    """Steps that pull weights from afar, `lost` of them from DRAM: as long as that or the tile takes, the longer."""
    for steps, near, size in found.far:
        stream = steps * size * ((1 - lost) / bench.l3 + lost / bench.dram)
        spent.cycles["hidden"] += min(stream, steps * near)
        spent.cycles[level] += max(0.0, stream - steps * near)
        spent.cycles["compute"] += max(0.0, steps * near - stream)
    spent.far = level


def level_of(bench: Bench, home: tuple[float, float]) -> Literal["", "l3", "dram"]:
    """Where weights live that take so many bytes of the core's own cache and of the shared one."""
    if home[0] <= bench.library.resident * bench.l2_size:
        return ""
    return "l3" if home[1] <= bench.library.resident * bench.l3_size else "dram"


def _multiply(work: Work, bench: Bench, share: Share, home: tuple[float, float], lost: float, spent: Spent) -> None:
    """The multiply-accumulates of a product or convolution and what goes with them."""
    spent_on, cost, threads = spent.cycles, bench.cost, share.threads
    outputs = work.b * work.m * work.n
    if work.depthwise:
        taps = (work.live if bench.library.padding == "skip" else work.macs) / threads
        lanes = bench.ports.lanes
        channels = work.b * work.n
        whole = channels // lanes * lanes if cost("rest") else channels
        vectors = taps * (whole / channels) / lanes if whole else 0.0
        spent_on["loads"] += cost("tap") * vectors * bench.ports.vector_bytes / bench.l1_load
        spent_on["loads"] += cost("rest") * taps * (1 - whole / channels)
        spent_on["outputs"] += cost("output") * outputs / lanes / threads if bench.type.efficiency else 0.0
        return
    if bench.type.efficiency is not None or bench.fixed_tile:
        kept = (bench.type.efficiency or 1.0) * bench.library.factor(bench.sequence, "efficiency")
        macs = work.live if bench.library.padding == "skip" else work.macs
        spent_on["compute"] += macs * share.part / (bench.rate * kept)
        spent_on["outputs"] += cost("output") * outputs * share.part / bench.ports.lanes
        return
    level = level_of(bench, home)
    lost = {"": 0.0, "l3": lost, "dram": 1.0}[level]
    # Weights that fit L3 are few enough pages for the TLB, which `page` is about; `restart` is about prefetch.
    page = cost("page") * min(1.0, share.m / _MANY_ROWS) if level == "dram" else 0.0
    level = "dram" if lost > 0.5 else level
    patches = work.conv and (work.channels % bench.ports.depth != 0)
    if work.conv and not patches:
        # Implicit: pointers to pixels, no slices of depth; the tile is requantized as it leaves the registers.
        depth = work.taps * _up(work.channels, bench.ports.depth)
        found = walk(share.m, share.n, depth, bench.type.conv, bench.ports, bench.l2, bool(level))
        spent_on["outputs"] += share.b * cost("output") * found.stored
    else:
        tile = bench.type.gemm.model_copy(update={"depth": None}) if work.conv else bench.type.gemm
        found = walk(share.m, share.n, work.k, tile, bench.ports, bench.l2, bool(level))
        # The first slice only stores.
        spent_on["accumulate"] += share.b * cost("accumulate") * (found.stored / 2 + found.added)
    for bound, cycles in found.cycles.items():
        spent_on[bound] += share.b * cycles
    if level:
        found = replace(found, far=[(share.b * steps, near, size) for steps, near, size in found.far])
        _far(bench, found, level, lost, spent)
        pages = share.b * work.k * share.n * bench.word / _PAGE * lost
        spent_on[level] += pages * max(page, cost("restart"))
    if work.conv and (patches or work.taps > 1):
        spent_on["patches"] += cost("patch") * work.b * work.m * work.taps / threads
    if patches:
        spent_on["requantize"] += cost("requantize") * outputs / threads


def _up(value: int, step: int) -> int:
    return -(-value // step) * step


def _pass(bench: Bench, values: float, spent: Spent) -> None:
    """A pass over values without MACs: by the bandwidth of where they are."""
    moved = values * bench.word
    if moved <= bench.l2_size:
        spent.cycles["l2"] += moved / bench.l2
    elif moved <= bench.l3_size:
        spent.cycles["l3"] += moved / bench.l3
    else:
        spent.cycles["dram"] += moved / bench.dram


def spend(
    layer: Layer,
    work: Work | None,
    bench: Bench,
    batch: int,
    share: Share,
    home: tuple[float, float],
    place: Place = ALONE,
) -> Spent:
    """Cycles of one thread for its share of a layer.

    `home` are the bytes that weights take of the thread's own cache and of the one that it shares.
    """
    spent = Spent(defaultdict(float))
    library, cost, threads = bench.library, bench.cost, share.threads
    cycles = spent.cycles
    x = layer.lower(batch)
    if library.fuses and fused(x):
        return spent
    pool = isinstance(x, Stream) and x.kind == "pool"
    cycles["call"] = cost("call") + place.session * cost("session")
    if threads > 1:
        first = cost("conv_thread" if pool or (work is not None and work.conv) else "thread")
        cycles["threads"] = first + cost("barrier") * (threads - 1).bit_length()
    if work is not None and isinstance(x, Product):
        _multiply(work, bench, share, home, place.lost, spent)
        if x.geometry is not None and library.layout == "reorder":
            # Channels that fill no vector are read as they are.
            plain = bench.dtype != "int8" and x.geometry.c < bench.ports.lanes
            edges = (place.edges[0] and not plain, place.edges[1])
            values = edges[0] * layer.inputs + edges[1] * layer.outputs
            cycles["reorder"] += cost("reorder") * values * batch / threads
            cycles["threads"] += cost("reorder_thread") * sum(edges) * (threads > 1)
            if bench.dtype != "int8" and x.activation not in ("none", "relu"):
                cycles["outputs"] += cost("activate") * layer.outputs * batch / threads
        if not work.conv and place.passed and bench.dtype == "int8":
            # 32-bit sums, which the next layer takes in 8 bits.
            cycles["requantize"] += cost("requantize") * layer.outputs * batch / threads
        if not x.stored:
            cycles["pack"] += cost("pack") * work.b * work.k * work.n / threads
    elif pool and not library.fuses:
        cycles["loads"] += layer.ops * batch / threads * bench.word / bench.l1_load
        _pass(bench, (layer.inputs + layer.outputs) * batch / threads, spent)
    elif pool:
        cycles["outputs"] += cost("output") * layer.outputs * batch / bench.ports.lanes / threads
    elif isinstance(x, Stream) and x.kind != "gather" and not transcendental(x):
        _pass(bench, (layer.inputs + layer.outputs) * batch / threads, spent)
        cycles["outputs"] += cost("value") * layer.outputs * batch / threads
    cycles["functions"] += cost("function") * transcendental(x) / bench.ports.lanes / threads
    if library.lines is not None and (work is not None or pool):
        over = max(0.0, (layer.inputs + layer.outputs) * bench.word * batch / threads - bench.l2_size)
        cycles["spill"] += over * bench.l3_latency / (64 * library.lines)
    return spent
