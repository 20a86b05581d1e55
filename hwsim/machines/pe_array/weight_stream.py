"""A systolic array whose folds overlap: weights stream through a FIFO into a shadow plane while the last tile computes.

The matrix unit of TPU v1 (Jouppi et al., "In-datacenter performance analysis of a tensor processing unit", ISCA 2017):
a weight tile is fetched from DRAM into a FIFO, shifted into the shadow plane in as many cycles as there are rows, and
multiplied with one row of activations a cycle; the activation unit empties the accumulators behind it, a row a cycle.
It starts when the last product has left the array (rows + columns later); the next layer, and the next time step of a
recurrent one, waits for it ("explicit synchronization"), while weights go on being fetched. Activations stay in the
buffer; a batch that does not fit there is run in parts, and weights are fetched anew for each.

What the paper leaves open is taken as follows. Tiles lie whole in DRAM, padded with zeros. A tile takes the channels of
one filter tap, since the buffer is read in rows of channels of one position; taps of few channels are packed, as many
whole ones as fit the rows (the paper's workload with 5 x 5 filters shows no idle MACs), and so are groups, their
weights along the diagonal. Words of 16 bits take two passes for each operand that has them (the paper: half and
quarter speed). The input of a network arrives while the batch before is computed.
"""

from __future__ import annotations

from dataclasses import dataclass

from hwsim.engine.program import Pipeline, Program, Run, Stage
from hwsim.errors import Fault, InputError
from hwsim.machines.pe_array.array import Array
from hwsim.machines.pe_array.sums import split_sums
from hwsim.machines.pe_array.work import GemmWork, as_gemm, mac_actions
from hwsim.machines.plan import LayerPlan
from hwsim.mapping import Keep, Loop, Mapping, Node, batched_gemm_problem, counts
from hwsim.message import Message
from hwsim.workload import Layer
from hwsim.workload.product import Product, geometry_of

__all__ = ["Tiling", "plan_weight_stream", "tiling"]

_CHUNKINGS = 8
_ACCESSES = ("read", "fill", "update", "drain")


def _ceil(a: int, b: int) -> int:
    return -(-a // b)


def _pieces(size: int, piece: int) -> list[tuple[int, int]]:
    """(size, how many) of the pieces that `for size by piece` makes."""
    return [(p, n) for p, n in ((piece, size // piece), (size % piece, 1)) if p and n]


@dataclass(frozen=True, slots=True)
class Tiling:
    """How products of matrices are cut into weight tiles.

    `blocks` products of m x k by k x n, of which `sharing` share a tile; k is `taps` of `channels` each, and a tile
    takes `packed` taps, or a part of one.
    """

    blocks: int
    sharing: int
    n: int
    taps: int
    channels: int
    packed: int
    rows: int
    cols: int

    @property
    def k_tiles(self) -> int:
        """Tiles that add up to the same outputs."""
        return _ceil(self.taps, self.packed) * _ceil(self.channels, self.rows)

    @property
    def n_tiles(self) -> int:
        """Tiles across the outputs of all products."""
        return _ceil(self.blocks, self.sharing) * _ceil(self.n, self.cols)

    def loops(self) -> list[Node]:
        """The loops over K inside a chunk."""
        if self.channels > self.rows:
            return [Loop("K", self.channels), Loop("K", self.rows)]
        return [Loop("K", self.packed * self.channels)]


def tiling(layer: Layer, work: GemmWork, rows: int, cols: int, packed: bool = True) -> Tiling:
    """Cut a layer's weights into tiles of rows x columns, with as many groups in a tile as make the fewest tiles."""
    shape = geometry_of(layer.lower(1))
    taps = 1 if shape is None else shape.taps
    channels = work.k // taps
    most = 1 if shape is None or not packed else max(1, min(work.b, rows // channels, cols // work.n))

    def cut(sharing: int) -> Tiling:
        packed = max(1, min(taps, rows // (channels * sharing)))
        return Tiling(work.b, sharing, work.n, taps, channels, packed, rows, cols)

    return min(map(cut, range(most, 0, -1)), key=lambda tiles: (tiles.k_tiles * tiles.n_tiles, tiles.k_tiles))


def _between(tiles: Tiling, resident: int, skew: int) -> int:
    """Cycles that a chunk's drain takes beside its rows, where another follows.

    With one tile a chunk, two chunks take turns: each waits for the sums of the last but one, so that it bears half of
    the way out of the array.
    """
    return skew // 2 if tiles.k_tiles == 1 and resident == 2 else skew


def _chunk(m: int, tiles: Tiling, fetch: int, passes: int, depth: int, fifo: int) -> tuple[int, int]:
    """Rows of activations in a chunk, and how many chunks the accumulators hold: what costs the fewest cycles.

    Of two chunks one drains while the other fills; one alone may be twice as long, but its drain is exposed. Each chunk
    fetches the weights again.
    """
    best: tuple[int, int, int] | None = None
    skew = tiles.rows + tiles.cols
    for resident in (2, 1):
        if depth < resident:
            continue
        between = _between(tiles, resident, skew)
        fewest = _ceil(m, depth // resident)
        # The fewest that fit, some more, and as many as still hide the fetches behind their products.
        hidden = max(fewest, m * passes // max(1, fetch))
        for number in (*range(fewest, min(fewest + _CHUNKINGS, m + 1)), hidden):
            size = _ceil(m, number)
            chunks = _pieces(m, size)
            last = chunks[-1][0]
            products = [(tiles.n_tiles * n * tiles.k_tiles, max(passes * rows, tiles.rows)) for rows, n in chunks]
            drains = tiles.n_tiles * sum(n * (rows + between) for rows, n in chunks) - between + skew
            tail = tiles.rows + (passes + 1) * last + skew
            weights = sum(n * max(cycles, fetch) for n, cycles in products) - min(tail, fifo * fetch) + tail
            compute = sum(n * cycles for n, cycles in products)
            if resident == 2:
                cost = max(weights, compute + last + skew, tiles.k_tiles * passes * size + drains)
            else:
                cost = max(weights, compute) + drains
            if best is None or cost < best[0]:
                best = (cost, size, resident)
    assert best is not None
    return best[1], best[2]


def plan_weight_stream(
    array: Array, layer: Layer, batch: int, packed: bool = True, shorter: int | None = 0
) -> LayerPlan:
    """Plan a layer on an array with streamed weights.

    Groups share tiles where they are `packed`. The last product of the layer before is `shorter` than this one's by so
    many rows; None: the layer begins with other products, behind which its weights are fetched.
    """
    spec = array.spec
    work = as_gemm(layer, batch)
    assert work is not None
    bits = array.bits(layer)
    shape = spec.array
    buffer, sums, depth = _memories(array, array.accumulator_bits(layer))
    tiles = tiling(layer, work, shape.rows, shape.cols, packed)
    passes = _ceil(bits[0], 8) * _ceil(bits[1], 8)
    tile_bytes = _ceil(shape.rows * shape.cols * bits[1], 8)
    fetch = array.transfer_ticks(spec.memories[spec.dram], tile_bytes)
    cycle = array.cycle_ticks
    skew, shift = shape.rows + shape.cols, cycle(shape.rows)
    part = _part(array, layer, work, batch, buffer, bits)
    chunk, resident = _chunk(part, tiles, _ceil(fetch, cycle(1)), passes, depth, shape.fifo_tiles)
    demand = layer.lower(batch)
    recurrent = isinstance(demand, Product) and demand.recurrent
    steps = work.b if recurrent else 1
    between = _between(tiles, resident, skew)

    def product(rows: int, last: bool) -> tuple[Run, ...]:
        """The tiles of one chunk, the last of which is followed by the drain; where the next step waits for it, the
        array does."""
        work_ticks, drain = cycle(passes * rows), cycle(rows + (skew if last else between))
        end = (work_ticks + drain, 0) if last and recurrent else (work_ticks, drain)
        return Run(tiles.k_tiles - 1, (fetch, shift, work_ticks, 0)), Run(1, (fetch, shift, *end))

    def step(rows: int) -> tuple[Run, ...]:
        """The tiles of a part of the batch in one time step: columns of tiles, chunks in each."""
        chunks = [Run(n, product(size, False)) for size, n in _pieces(rows, min(chunk, rows))]
        final = chunks[-1].count - 1
        last = Run(1, product(_pieces(rows, min(chunk, rows))[-1][0], True))
        row = tuple(chunks)
        return Run(tiles.n_tiles // steps - 1, row), *chunks[:-1], Run(final, row[-1].body), last

    parts = _pieces(work.m, part)
    stream = tuple(Run(n * steps, step(rows)) for rows, n in parts)
    chunks = [(size, n * m) for rows, n in parts for size, m in _pieces(rows, min(chunk, rows))]
    columns = tiles.k_tiles * tiles.n_tiles
    total_tiles = columns * sum(n for _, n in chunks)
    # While the last tile of the layer before is shifted in, multiplied and drained, fetching goes on as far as the FIFO
    # has room, and then the first shift. Taking that layer to be like this one, so much is done when it starts.
    if shorter is not None:
        tail = shift + cycle((passes + 1) * (chunks[-1][0] - shorter) + skew)
        fetch_time = min(tail, min(shape.fifo_tiles, total_tiles) * fetch)
        stream = _under_way(stream, fetch_time, min(shift, max(0, tail - fetch)))
    stages = (
        Stage("fetch", spec.dram, buffer=shape.fifo_tiles),
        Stage("shift", "weight plane", buffer=2),
        Stage("product", "array", buffer=tiles.k_tiles * (resident - 1) + 1),
        Stage("activate", "activation unit"),
    )
    problem = batched_gemm_problem(work.b, work.m, work.n, work.k, bits, accumulator_bits=array.accumulator_bits(layer))
    mapping = _nest(tiles, part, min(chunk, part), (spec.dram, buffer, sums))
    totals = counts(problem, mapping)
    # What a layer reads from the buffer another has put there: it is counted where it is written.
    actions = {
        key: n
        for key, n in totals.actions.items()
        if n and key[0] != spec.dram and key[2] in (("read", "update") if key[0] == buffer else _ACCESSES)
    }
    actions = split_sums(problem, actions, sums)
    actions[spec.dram, "weight", "read"] = total_tiles * shape.rows * shape.cols
    actions |= mac_actions(layer, work.macs, spec.array)
    actions["post", "", "op"] = work.b * work.m * work.n
    bound = array.compute_bound(work.macs, totals)
    compute = passes * columns * sum(size * n for size, n in chunks)
    return LayerPlan(
        layer,
        batch,
        "weights streamed through a systolic array",
        Program(
            {spec.dram: 1, "weight plane": 1, "array": 1, "activation unit": 1},
            (Pipeline("tiles", stages, stream),),
        ),
        actions,
        macs=work.macs,
        macs_live=layer.macs_live * batch,
        macs_executed=work.macs,
        compute_cycles=compute,
        peak_macs_per_cycle=array.pes,
        dram_bytes=total_tiles * tile_bytes,
        bounds={"fetch": "weight fetch", "shift": "weight shift", "product": bound, "activate": "activation"},
        compute_bounds=("compute", bound),
        word_bits=array.widths(problem),
        problem=problem,
        mapping=mapping,
        cycles={"compute": compute},
        columns={"weight_tiles": total_tiles},
        why=(
            Message(
                "pe_array.weight_tiles",
                "{tiles:count weight tile}, each for {chunks} rows of activations; "
                "the accumulators hold {held:count such chunk}",
                {"tiles": columns, "chunks": [f"{n} x {size}" for size, n in chunks], "held": resident},
            ),
            Message(
                "pe_array.weight_tile",
                "a tile takes {packed} of {taps} taps of {channels:count channel} in {groups:count group}, "
                "{fetch_cycles:,} cycles to fetch and {compute_cycles:,} to multiply",
                {
                    "packed": tiles.packed,
                    "taps": tiles.taps,
                    "channels": tiles.channels,
                    "groups": tiles.sharing,
                    "fetch_cycles": _ceil(fetch, cycle(1)),
                    "compute_cycles": passes * chunks[0][0],
                },
            ),
        ),
    )


def _memories(array: Array, accumulator_bits: int) -> tuple[str, str, int]:
    """Names of the buffer of activations and of the accumulators, and the rows of sums that these hold."""
    spec = array.spec
    inner = list(spec.memories.items())[1:]
    buffer = next((name for name, m in inner if {"ifmap", "ofmap"} <= set(m.holds)), None)
    sums = next((name for name, m in inner if m.holds == ["ofmap"] and m.size is not None), None)
    if buffer is None or sums is None:
        what = "a memory that holds ifmap and ofmap" if buffer is None else "a memory of a size that holds ofmap alone"
        raise InputError([Fault(array.document.name, "memories", f"an array with streamed weights needs {what}")])
    depth = int(spec.memories[sums].size or 0) * 8 // (spec.array.cols * accumulator_bits)
    if not depth:
        raise InputError([Fault(array.document.name, f"memories.{sums}.size", "must hold one row of partial sums")])
    return buffer, sums, depth


def _part(array: Array, layer: Layer, work: GemmWork, batch: int, buffer: str, bits: tuple[int, int, int]) -> int:
    """Rows of activations of the part of the batch that fits the buffer; raises InputError if an inference does not."""
    size = array.spec.memories[buffer].size
    each = _ceil(layer.inputs * bits[0] + layer.outputs * bits[2], 8)
    if size is None:
        return work.m
    if each > size:
        over = each - int(size)
        what = f"{buffer} holds {int(size)} B; the activations of an inference, {each} B, are {over} B too much"
        raise InputError([Fault("", layer.name, what)])
    demand = layer.lower(batch)
    if isinstance(demand, Product) and not demand.stored:
        return work.m
    fit = min(batch, int(size) // each)
    return work.m // batch * _ceil(batch, _ceil(batch, fit))


def _nest(tiles: Tiling, part: int, chunk: int, memories: tuple[str, str, str]) -> Mapping:
    """The loop nest of the tiles."""
    dram, buffer, sums = memories
    diagonal: list[Node] = [Loop("B", 1, "rows")] if tiles.sharing > 1 else []
    return Mapping(
        (
            Keep(dram, ("ifmap", "weight", "ofmap")),
            Loop("M", part),
            Keep(buffer, ("ifmap", "ofmap")),
            Loop("B", tiles.sharing),
            Loop("N", min(tiles.n, tiles.cols)),
            Loop("M", chunk),
            Keep(sums, ("ofmap",)),
            *tiles.loops(),
            *diagonal,
            Loop("K", 1, "rows"),
            Loop("N", 1, "cols"),
            Keep("pe", ("weight",)),
            Loop("M", 1),
        )
    )


def _pop(runs: tuple[Run, ...]) -> tuple[tuple[int, ...], tuple[Run, ...]]:
    """The first tile of a stream, and the stream without it."""
    while not runs[0].count:
        runs = runs[1:]
    first, *others = runs
    tail = (Run(first.count - 1, first.body), *others)
    inner = tuple(item for item in first.body if isinstance(item, Run))
    if not inner:
        return tuple(item for item in first.body if isinstance(item, int)), tail
    tile, rest = _pop(inner)
    return tile, (*rest, *tail)


def _under_way(stream: tuple[Run, ...], fetch_time: int, shift_time: int) -> tuple[Run, ...]:
    """The stream with so many ticks of its first fetches, and of its first shift, done already."""
    (fetch, shift, *rest), stream = _pop(stream)
    part = min(fetch_time, fetch)
    tiles = [Run(1, (fetch - part, shift - shift_time, *rest))]
    while fetch_time := fetch_time - part:
        (fetch, *rest), stream = _pop(stream)
        part = min(fetch_time, fetch)
        tiles.append(Run(1, (fetch - part, *rest)))
    return (*tiles, *stream)
