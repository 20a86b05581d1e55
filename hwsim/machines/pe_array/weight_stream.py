"""A systolic array whose folds overlap: weights stream through a FIFO into a shadow plane while the last tile computes.

The matrix unit of TPU v1 (Jouppi et al., "In-datacenter performance analysis of a tensor processing unit", ISCA 2017): a
weight tile is fetched from DRAM into a FIFO, shifted into the shadow plane in as many cycles as there are rows, and
multiplied with one row of activations a cycle; the activation unit empties the accumulators behind it, a row a cycle. It
starts when the last product has left the array (rows + columns later); the next layer, and the next time step of a
recurrent one, waits for it ("explicit synchronization"), while the fetching of weights goes on. Activations stay in
the buffer; a batch that does not fit there is run in parts, and weights are fetched anew for each.

Three things that the paper leaves open are taken as follows. Tiles lie whole in DRAM, padded with zeros. A tile takes the
channels of one filter tap, since the buffer is read in rows of channels of one position; taps of few channels are packed
as far as whole ones fit in the rows, and so are groups, their weights along the diagonal. Words of 16 bits take two
passes for each operand that has them (the paper: half and quarter speed).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwsim.errors import Fault, InputError
from hwsim.machines.pe_array.work import GemmWork, as_gemm
from hwsim.machines.plan import LayerPlan
from hwsim.mapping import Keep, Loop, Mapping, Node, batched_gemm_problem, counts
from hwsim.program import Pipeline, Program, Run, Stage
from hwsim.workload import Conv2d, Gru, Layer, Lstm

if TYPE_CHECKING:
    from hwsim.machines.pe_array.machine import PeArray

__all__ = ["Tiling", "plan_weight_stream", "tiling"]

_CHUNKINGS = 8


def _ceil(a: int, b: int) -> int:
    return -(-a // b)


def _pieces(size: int, piece: int) -> list[tuple[int, int]]:
    """(size, how many) of the pieces that `for size by piece` makes."""
    return [(p, n) for p, n in ((piece, size // piece), (size % piece, 1)) if p and n]


@dataclass(frozen=True, slots=True)
class Tiling:
    """How products of matrices are cut into weight tiles.

    `blocks` products of m x k by k x n share `merged` a tile; k is `taps` of `channels` each, of which a tile takes
    `packed` taps, or a part of one.
    """

    blocks: int
    merged: int
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
        """Tiles side by side in the outputs, those of all products."""
        return _ceil(self.blocks, self.merged) * _ceil(self.n, self.cols)

    def loops(self) -> list[Node]:
        """The loops over K inside a chunk."""
        if self.channels > self.rows:
            return [Loop("K", self.channels), Loop("K", self.rows)]
        return [Loop("K", self.packed * self.channels)]


def tiling(layer: Layer, work: GemmWork, rows: int, cols: int) -> Tiling:
    """Cut a layer's weights into tiles of rows x columns."""
    taps, merged = 1, 1
    if isinstance(layer, Conv2d):
        taps = layer.r * layer.s
    channels = work.k // taps
    if isinstance(layer, Conv2d):
        merged = max(1, min(work.b, rows // channels, cols // work.n))
    packed = max(1, min(taps, rows // (channels * merged)))
    return Tiling(work.b, merged, work.n, taps, channels, packed, rows, cols)


def _chunk(m: int, tiles: Tiling, fetch: int, passes: int, depth: int, skew: int) -> tuple[int, int]:
    """Rows of activations in a chunk, and how many chunks the accumulators hold: what costs the fewest cycles.

    Of two chunks one drains while the other fills; one alone may be twice as long, but its drain is exposed. Each chunk
    fetches the weights again.
    """
    best: tuple[int, int, int] | None = None
    for held in (2, 1):
        most = max(1, depth // held)
        fewest = _ceil(m, most)
        for number in range(fewest, min(fewest + _CHUNKINGS, m + 1)):
            size = _ceil(m, number)
            chunks = _pieces(m, size)
            product = sum(n * tiles.k_tiles * max(passes * rows, fetch) for rows, n in chunks)
            drain = sum(n * (rows + skew) for rows, n in chunks)
            cost = tiles.n_tiles * product + (chunks[-1][0] + skew if held == 2 else tiles.n_tiles * drain)
            if best is None or cost < best[0]:
                best = (cost, size, held)
    assert best is not None
    return best[1], best[2]


def plan_weight_stream(machine: PeArray, layer: Layer, batch: int) -> LayerPlan:
    """Plan a layer on an array with streamed weights."""
    spec = machine.spec
    work = as_gemm(layer, batch)
    assert work is not None
    bits = machine.bits(layer)
    array, dram = spec.array, spec.memories[spec.dram]
    buffer, accumulators, depth = _memories(machine)
    part = _part(machine, layer, work, batch, buffer, bits)
    tiles = tiling(layer, work, array.rows, array.cols)
    passes = _ceil(bits[0], 8) * _ceil(bits[1], 8)
    tile_words = array.rows * array.cols
    tile_bytes = _ceil(tile_words * bits[1], 8)
    fetch = machine.transfer_ticks(dram, tile_bytes)
    cycle = machine.cycle_ticks
    skew = array.rows + array.cols
    chunk, held = _chunk(part, tiles, _ceil(fetch, cycle(1)), passes, depth, skew)
    shift = cycle(array.rows)
    recurrent = isinstance(layer, (Lstm, Gru))

    def run(rows: int, wait: bool, fetched: tuple[int, ...] = ()) -> tuple[Run, ...]:
        """The K tiles of one chunk; the first ones are fetched in the given ticks, the last one is followed by the drain.

        Where the next product waits for it, the drain is the array's.
        """
        product, drain = cycle(passes * rows), cycle(rows + skew)
        last = (product + drain, 0) if wait else (product, drain)
        ticks = [(count, each) for count, each in ((1, t) for t in fetched)]
        ticks.append((tiles.k_tiles - len(fetched), fetch))
        runs = [Run(count, (each, shift, product, 0)) for count, each in ticks[:-1]]
        if ticks[-1][0]:
            return (*runs, Run(ticks[-1][0] - 1, (fetch, shift, product, 0)), Run(1, (fetch, shift, *last)))
        return (*runs[:-1], Run(1, (fetched[-1], shift, *last)))

    # The chunks of M in the order in which they run; the weights of all of K and N pass for each part of the batch.
    columns = tiles.n_tiles // work.b if recurrent else tiles.n_tiles
    steps = work.b if recurrent else 1
    parts = [(n, _pieces(rows, min(chunk, rows))) for rows, n in _pieces(work.m, part)]
    last_rows = parts[-1][1][-1][0]

    # While the last chunk of the layer before is shifted in, multiplied and drained, fetching goes on as far as the FIFO
    # has room. Taking that layer to be like this one, so much of the fetching has been done.
    done = min(shift + cycle(passes * last_rows + last_rows + skew), array.fifo_tiles * fetch)
    early = [0] * min(tiles.k_tiles, done // fetch)
    if len(early) < tiles.k_tiles and done % fetch:
        early.append(fetch - done % fetch)

    def stream(chunks: list[tuple[int, int]], fetched: tuple[int, ...] = ()) -> tuple[Run, ...]:
        """All tiles of one part of the batch in one time step."""
        row = tuple(Run(n, run(rows, False)) for rows, n in chunks)
        final, count = chunks[-1]
        ends = (*row[:-1], Run(count - 1, run(final, False)), Run(1, run(final, recurrent)))
        body = [*(Run(1, row) for _ in range(0)), Run(columns - 1, row), Run(1, ends)]
        if not fetched:
            return tuple(body)
        rows, count = chunks[0]
        alone = columns == 1 and len(chunks) == 1 and count == 1
        head = Run(1, run(rows, recurrent and alone, fetched))
        if columns > 1:
            return (head, Run(count - 1, run(rows, False)), *row[1:], Run(columns - 2, row), Run(1, ends))
        if alone:
            return (head,)
        if len(chunks) == 1:
            return (head, Run(count - 2, run(rows, False)), Run(1, run(rows, recurrent)))
        return (head, Run(count - 1, run(rows, False)), *ends[1:])

    raise NotImplementedError
