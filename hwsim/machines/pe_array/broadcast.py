"""A broadcast array: cells of adder trees that share their input words, as the convolution core of NVDLA.

`rows` cells (atomic-K, one output channel each) take the same `cols` input channels (atomic-C) of one position a cycle.
Order of work, from the NVDLA hardware manual (v1, unit description): an atomic operation is one position, one filter
tap and `cols` channels; a stripe repeats it over `rows` to 2 `rows` positions with the weights held in the cells, while
the next weights are loaded, so that fewer than `rows` positions take as long as `rows`; a block runs over the taps,
a channel operation over the channels, accumulating in the sums behind the cells; then the next positions, then the next
kernel group. Images of up to 4 channels are packed: taps of a line, and 2 or 4 lines, side by side in the channels.

The layer waits for its first lines and kernel group; from then on the rest is loaded, multiplied, post-processed and
stored at once, stripe by stripe. Every layer reads from DRAM what the one before has written there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil

from hwsim.engine.program import Pipeline, Program, Run, Stage, spread
from hwsim.errors import Fault, InputError
from hwsim.machines.pe_array.array import Array
from hwsim.machines.pe_array.sums import split_sums
from hwsim.machines.pe_array.work import mac_actions
from hwsim.machines.plan import LayerPlan
from hwsim.mapping import Keep, Loop, Mapping, Node, Policy, Problem, conv_problem, counts
from hwsim.message import Message
from hwsim.workload import Layer
from hwsim.workload.product import Product

__all__ = ["ConvCore", "ConvTraffic", "ConvShape", "plan_broadcast"]

_IMAGE_CHANNELS = 4
_TILES = 1024


def _ceil(a: int, b: int) -> int:
    return -(-a // b)


@dataclass(frozen=True, slots=True)
class ConvShape:
    """One image of a layer as a grouped convolution; a product of matrices has its rows as positions.

    `images` of them run one after the other, with the same weights where they are `shared`. k and c are of a group; a
    kernel group takes in `merged` groups, whose kernels are padded with zeros to the channels of all of them.
    """

    images: int
    shared: bool
    g: int
    k: int
    c: int
    h: int
    w: int
    p: int
    q: int
    r: int = 1
    s: int = 1
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    merged: int = 1

    @classmethod
    def of(cls, layer: Layer, batch: int) -> ConvShape:
        """The layer, for a batch."""
        x = layer.lower(batch)
        assert isinstance(x, Product)
        if (shape := x.geometry) is not None:
            return cls(
                batch, True, shape.groups, shape.filters, shape.channels, shape.h, shape.w, shape.p, shape.q,
                shape.r, shape.s, shape.stride, shape.dilation,
            )  # fmt: skip
        images = batch * x.steps if x.stored else x.b
        return cls(images, x.stored, x.b if x.stored else 1, x.n, x.k, x.rows, 1, x.rows, 1)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all images."""
        return self.images * self.g * self.k * self.c * self.p * self.q * self.r * self.s

    @property
    def sets(self) -> list[tuple[int, int]]:
        """(groups, how many) of the sets of merged groups; the last may have fewer."""
        full, rest = divmod(self.g, self.merged)
        return [(groups, n) for groups, n in ((self.merged, full), (rest, 1)) if groups and n]


@dataclass(frozen=True, slots=True)
class ConvTraffic:
    """What one image of a layer fetches, in bytes, and how the conv buffer makes it so.

    `resident` weights stay for all images; `splits` parts of the rows are run one after the other, each with the
    weights fetched again unless they are resident; if `streamed`, the ifmap is fetched for every kernel group instead.
    If `apart`, each set of merged groups is run by itself, with its own channels and weights alone in the buffer.
    """

    ifmap: int
    weights: int
    head_ifmap: int
    head_weights: int
    splits: int
    resident: bool
    streamed: bool = False
    apart: bool = False

    @property
    def total(self) -> int:
        """All of it."""
        return self.ifmap + self.weights

    @property
    def head(self) -> int:
        """What must be there before anything starts."""
        return self.head_ifmap + self.head_weights


@dataclass(frozen=True, slots=True)
class ConvCore:
    """The sizes of an array and its conv buffer, in bytes where they are not counts."""

    cells: int
    lanes: int
    buffer: int
    bank: int
    atom: int

    def merges(self, x: ConvShape) -> list[ConvShape]:
        """The layer with its groups merged by as many as make any number of sets: fewer sets, or fewer zeros."""
        most = max(1, min(x.g, self.cells // x.k, self.lanes))
        return [replace(x, merged=n) for n in sorted({_ceil(x.g, _ceil(x.g, n)) for n in range(1, most + 1)})]

    def image_lines(self, x: ConvShape) -> int:
        """Lines packed together, or 0 for a layer that is no image."""
        if x.g > 1 or x.c > min(_IMAGE_CHANNELS, self.lanes):
            return 0
        return max(n for n in (1, 2, 4) if n == 1 or n * x.c * x.s <= self.lanes)

    def taps(self, x: ConvShape) -> int:
        """Taps of one line side by side in an image layer."""
        return min(x.s, self.lanes // x.c)

    def channels(self, x: ConvShape) -> int:
        """Channels of each merged group in one atomic operation."""
        return max(1, min(x.c, self.lanes // x.merged))

    def atoms(self, x: ConvShape) -> int:
        """Atomic operations for one position of one kernel group."""
        if lines := self.image_lines(x):
            return _ceil(x.r, lines) * _ceil(x.s, self.taps(x))
        return x.r * x.s * _ceil(x.c, self.channels(x))

    def kernel_groups(self, x: ConvShape) -> int:
        """Kernel groups of a layer."""
        return _ceil(x.g, x.merged) * _ceil(x.k, self.cells)

    def mac_cycles(self, x: ConvShape) -> int:
        """Cycles that the array takes for one image."""
        return self.kernel_groups(x) * self.atoms(x) * max(x.p * x.q, self.cells)

    def stripe(self, x: ConvShape) -> tuple[int, int]:
        """Lines and columns of a stripe: at most 2 `rows` positions, whole lines where they are short."""
        most = 2 * self.cells
        if x.q > most:
            return 1, _ceil(x.q, _ceil(x.q, most))
        return min(x.p, most // x.q), x.q

    def traffic(
        self, x: ConvShape, ifmap_bits: int | Fraction, weight_bits: int, together: bool = True
    ) -> list[ConvTraffic]:
        """The ways through the conv buffer, that which fetches least first; each of the others begins sooner.

        The buffer hands out whole banks to ifmap and to weights. Unless the channels of all groups lie `together` in
        DRAM, each set of merged groups is padded to whole atoms.
        """

        def position(channels: int) -> int:
            """Bytes of the channels of one position."""
            size = ceil(Fraction(channels * ifmap_bits, 8))
            return size if x.g * x.c <= _IMAGE_CHANNELS else _ceil(size, self.atom) * self.atom

        def kernels(groups: int) -> tuple[int, int]:
            """Bytes of the weights of a set of merged groups, and of one kernel group of it."""
            kernel = _ceil(x.r * x.s * x.c * groups * weight_bits, 8)
            return groups * x.k * kernel, min(groups * x.k, self.cells) * kernel

        window = min((x.r - 1) * x.dilation[0] + 1, x.h)
        weights = sum(n * kernels(groups)[0] for groups, n in x.sets)
        row, (largest, group) = x.w * position(x.merged * x.c), kernels(x.merged)
        rows = x.w * sum(n * position(groups * x.c) for groups, n in x.sets)
        # What always works: the ifmap flows past each kernel group, a strip of columns at a time if need be.
        passes = _ceil(x.k, self.cells)
        ways = [ConvTraffic(passes * x.h * rows, weights, window * row, group, 1, False, True, True)]
        whole = x.w * position(x.g * x.c)
        for line, all_lines, most, apart in ((whole, whole, weights, False), (row, rows, largest, True)):
            if not (together or apart):
                continue
            for room in (most, min(most, 2 * group)):
                way = self._split(x, (line, all_lines), (room, weights), window, room == most)
                if way is not None:
                    ways.append(replace(way, head_ifmap=window * line, head_weights=group, apart=apart))
        best: list[ConvTraffic] = []
        for way in sorted(ways, key=lambda way: (way.total, way.head, way.streamed, way.splits, way.apart)):
            if not best or way.head < best[-1].head:
                best.append(way)
        return best

    def _split(
        self, x: ConvShape, row: tuple[int, int], weights: tuple[int, int], window: int, resident: bool
    ) -> ConvTraffic | None:
        """The parts that the rows are split into beside weights in the buffer; None where a window does not fit.

        `row` and `weights` are bytes: those that the buffer has room for at a time, and those of all groups.
        """
        lines = (self.buffer // self.bank - _ceil(weights[0], self.bank)) * self.bank // row[0]
        if lines < window:
            return None
        splits = 1 if lines >= x.h else _ceil(x.p, max(1, (lines - window) // x.stride[0] + 1))
        again = (splits - 1) * max(0, window - x.stride[0])
        return ConvTraffic((x.h + again) * row[1], weights[1] * (1 if resident else splits), 0, 0, splits, resident)


def _problem(x: ConvShape, bits: tuple[int, int, int], accumulator_bits: int = 0) -> Problem:
    """The layer as a tensor problem; images that do not share their weights are groups."""
    n, g = (x.images, x.g) if x.shared else (1, x.images * x.g)
    return conv_problem(
        n, g, x.k, x.c, x.p, x.q, x.r, x.s, x.stride, x.dilation, bits,
        accumulator_bits=accumulator_bits,
    )  # fmt: skip


def _nest(core: ConvCore, x: ConvShape, way: ConvTraffic, memories: tuple[str, str, str]) -> Mapping:
    """The loop nest that the core runs."""
    dram, buffer, sums = memories
    lines, columns = core.stripe(x)
    kernels = min(core.cells, x.k)
    image, each = Loop("N", 1), Keep(buffer, ("weight",))
    merged = Loop("G", x.merged if x.shared else 1)
    groups: list[Node] = [merged, Loop("K", kernels)]
    rows: list[Node] = [Loop("P", _ceil(x.p, way.splits)), Keep(buffer, ("ifmap",))]
    nodes: list[Node] = [Keep(dram, ("ifmap", "weight", "ofmap")), *([merged] if way.apart and x.shared else [])]
    if way.streamed:
        nodes += [image, *groups, each, Loop("P", lines), Keep(buffer, ("ifmap",))]
    elif not x.shared:
        nodes += [Loop("G", 1), *((each, *rows, *groups) if way.resident else (*rows, *groups, each))]
    elif way.resident:
        nodes += [each, image, *rows, *groups]
    else:
        nodes += [image, *rows, *groups, each]
    nodes += [Loop("P", min(lines, _ceil(x.p, way.splits))), Loop("Q", columns), Keep(sums, ("ofmap",))]
    if packed := core.image_lines(x):
        nodes += [Loop("C", x.c), Loop("R", min(packed, x.r)), Loop("S", core.taps(x)), Keep("mac", ("weight",))]
        side: list[Node] = [Loop("R", 1, "cols"), Loop("S", 1, "cols")]
    else:
        nodes += [Loop("C", core.channels(x)), Loop("R", 1), Loop("S", 1), Keep("mac", ("weight",))]
        side = []
    nodes += [Loop("G", 1, "rows"), Loop("K", 1, "rows"), *side, Loop("C", 1, "cols"), Loop("P", 1), Loop("Q", 1)]
    return Mapping(_without_idle_loops(nodes, _problem(x, (8, 8, 8))))


def _without_idle_loops(nodes: list[Node], problem: Problem) -> tuple[Node, ...]:
    """The nodes without loops that go round once."""
    current = dict(problem.dims)
    loops: list[Node] = []
    for node in nodes:
        if isinstance(node, Loop):
            if node.tile >= current[node.dim]:
                continue
            current[node.dim] = node.tile
        loops.append(node)
    return tuple(loops)


def _core(array: Array) -> tuple[ConvCore, tuple[str, str, str]]:
    """The array's sizes, and the names of DRAM, conv buffer and sums; raises InputError where a memory is missing."""
    spec = array.spec
    inner = list(spec.memories.items())[1:]
    buffer = next((name for name, m in inner if {"ifmap", "weight"} <= set(m.holds) and m.size is not None), None)
    sums = next((name for name, m in inner if m.holds == ["ofmap"]), None)
    if buffer is None or sums is None:
        what = "a buffer of a size that holds ifmap and weight" if buffer is None else "a memory that holds ofmap alone"
        raise InputError([Fault(array.document.name, "memories", f"a broadcast array needs {what}")])
    memory = spec.memories[buffer]
    size = int(memory.size or 0)
    bank = int(memory.bank) if memory.bank is not None else 1
    atom = spec.memories[spec.dram].atom
    return ConvCore(spec.array.rows, spec.array.cols, size, bank, int(atom or 1)), (spec.dram, buffer, sums)


def plan_broadcast(
    array: Array, layer: Layer, batch: int, packed: bool = True, others: Sequence[LayerPlan] = (),
    stored: Fraction = Fraction(1), outputs: int = 1,
) -> LayerPlan:  # fmt: skip
    """Plan a layer with MACs on a broadcast array: groups merged, and buffer used, as costs least.

    Unless groups are `packed`, each is run by itself. The program does the work of `others` too, parts of the layer.
    Where the cells transform tiles, a word of the ifmap is `stored` as a part of one, and a sum makes some `outputs`.
    """
    core, memories = _core(array)
    x, bits = ConvShape.of(layer, batch), array.bits(layer)
    return array.cheapest(
        _plan(array, core, memories, layer, batch, shape, way, others, stored, outputs)
        for shape in (core.merges(x) if packed else [x])
        for way in core.traffic(shape, bits[0] * stored, bits[1], packed)
    )


def _plan(
    array: Array, core: ConvCore, memories: tuple[str, str, str], layer: Layer, batch: int,
    x: ConvShape, way: ConvTraffic, others: Sequence[LayerPlan], stored: Fraction, each: int,
) -> tuple[int, LayerPlan]:  # fmt: skip
    """Ticks and plan of a layer with so many groups merged, in one way through the buffer."""
    spec, bits = array.spec, array.bits(layer)
    outputs = x.g * x.k * x.p * x.q * each
    mac_cycles = core.mac_cycles(x)
    post_cycles = _ceil(outputs, spec.post.outputs) if spec.post is not None else 0

    dram = spec.memories[spec.dram]

    def load(size_bytes: int) -> int:
        return array.transfer_ticks(dram, size_bytes)

    lines, columns = core.stripe(x)
    last = min(x.k, core.cells) * lines * columns * each
    work = array.cycle_ticks(mac_cycles)
    post_clock = spec.post.clock if spec.post is not None else None
    after = array.cycle_ticks(post_cycles, post_clock)
    store = load(_ceil(outputs * bits[2], 8))

    dram_words = tuple(zip((("ifmap", "read"), ("weight", "read"), ("ofmap", "update")), bits, strict=True))

    def image(weights: bool) -> tuple[int, tuple[Run, ...]]:
        """One image: it waits for what must be there before anything starts, then streams; the last stripe's outputs
        leave when all is multiplied. Its ticks, were all between as fine as water, come first."""
        total = load(way.ifmap + way.weights * weights)
        ahead = load(way.head_ifmap + way.head_weights * weights)
        wait = max(0, after * last // outputs - array.cycle_ticks(lines * columns))
        end = (wait, store * last // outputs)
        rest = [total - ahead, work, after - end[0], store - end[1]]
        for plan in others:
            sizes = [plan.counts[spec.dram, *word] * size // 8 for word, size in dram_words]
            rest[0] += load(sizes[0] + sizes[1])
            rest[1] += array.cycle_ticks(plan.cycles["compute"])
            rest[2] += array.cycle_ticks(plan.cycles["post"], post_clock)
            rest[3] += load(sizes[2])
        ticks = ahead + max(rest[0] + rest[3], *rest) + sum(end)
        return ticks, (Run(1, (ahead, 0, 0, 0)), *spread(_TILES, *rest), Run(1, (0, 0, *end)))

    stays = way.resident and x.shared
    (first, first_runs), (other, other_runs) = image(True), image(not stays)
    stream = (Run(1, first_runs), Run(x.images - 1, other_runs))
    stages = (
        Stage("load", spec.dram, buffer=4),
        Stage("mac", "array"),
        Stage("post", "post"),
        Stage("store", spec.dram),
    )
    problem, mapping = _problem(x, bits, array.accumulator_bits(layer)), _nest(core, x, way, memories)
    totals = counts(problem, mapping, Policy(refill=() if way.streamed else (memories[1],)))
    actions = {
        key: n
        for key, n in totals.actions.items()
        if n and key[0] != spec.dram and key[2] in ("read", "fill", "update", "drain")
    }
    buffer, sums = memories[1:]
    for key, number in actions.items():
        if key[:2] == (sums, "ofmap"):
            actions[key] = number * each
        elif key == (buffer, "ifmap", "fill"):
            actions[key] = ceil(number * stored)
    actions = split_sums(problem, actions, memories[2])
    reads = {"ifmap": way.ifmap * x.images, "weight": way.weights * (1 if stays else x.images)}
    writes = _ceil(outputs * bits[2], 8) * x.images
    actions[spec.dram, "ifmap", "read"] = reads["ifmap"] * 8 // bits[0]
    actions[spec.dram, "weight", "read"] = reads["weight"] * 8 // bits[1]
    actions[spec.dram, "ofmap", "update"] = outputs * x.images
    actions |= mac_actions(layer, x.macs, spec.array)
    actions["post", "", "op"] = outputs * x.images
    bound = array.compute_bound(x.macs, totals)
    busy = {"compute": mac_cycles, "post-processor": post_cycles}
    share = x.macs / x.images / (mac_cycles * core.cells * core.lanes)
    plan = LayerPlan(
        layer,
        batch,
        "direct convolution, image packed" if core.image_lines(x) else "direct convolution",
        Program({spec.dram: 1, "array": 1, "post": 1}, (Pipeline("stripes", stages, stream),)),
        actions,
        macs=x.macs,
        macs_live=layer.macs_live * batch,
        macs_executed=x.macs,
        compute_cycles=mac_cycles * x.images,
        peak_macs_per_cycle=array.pes,
        dram_bytes=sum(reads.values()) + writes,
        bounds={"load": "dram", "mac": bound, "post": "post-processor", "store": "dram"},
        compute_bounds=("compute", bound),
        word_bits=array.widths(problem),
        problem=problem,
        mapping=mapping,
        parts=((problem, mapping, totals.policy),),
        cycles={"compute": mac_cycles * x.images, "post": post_cycles * x.images},
        columns={"splits": way.splits},
        why=(
            Message(
                "pe_array.image",
                "cycles per image: {cycles:,}; DRAM traffic per image: {dram_bytes:,} bytes",
                {"cycles": busy, "dram_bytes": way.total + writes // x.images},
            ),
            Message(
                "pe_array.atoms",
                "{atoms:count atomic operation} per output position of a kernel group, {groups:count kernel group}; "
                "{share:.1%} of the multipliers are used",
                {"atoms": core.atoms(x), "groups": core.kernel_groups(x), "share": share},
            ),
            Message(
                "pe_array.ifmap_refetched",
                "the ifmap is fetched for each kernel group: the conv buffer cannot hold its lines and the kernels",
            )
            if way.streamed
            else Message(
                "pe_array.splits",
                "{splits:count split} of the rows, with {weights} in the conv buffer",
                {"splits": way.splits, "weights": "all weights" if way.resident else "two kernel groups"},
            ),
        ),
    )
    return first + (x.images - 1) * other, plan
