"""Channels and filters dealt in tiles that a PE's memories hold, windows walked one by one: Eyeriss v2 (JETCAS 2019).

A PE holds the weights of a tile of filters for a row of a window: ``channels x S`` values of the ifmap, at most those
of its ifmap memory; the filters' sums fit its psum memory, the weights that are not zero its weight memory. For each
window it multiplies each ifmap value that is not zero by its column of weights, F a cycle, and then hands its sums to
the PE above, as many a cycle as the psum port moves:

    window = sum over ifmap values that are not zero of ceil(w / F)  +  ceil(filters / port)

All PEs that work at once are a wave; they meet at each window, as their sums are added up the columns of PEs. Tiles and
the strips of output positions that a wave works on are those that take the fewest cycles on average.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from hwsim.machines.sparse_array.draw import Draw, binomial
from hwsim.machines.sparse_array.spec import SparseArraySpec
from hwsim.machines.sparse_array.walk import Walk
from hwsim.machines.sparse_array.work import Work

__all__ = ["Tile", "best_tile", "walk_grid"]

DRAWS = 3
_WINDOWS = 64
_MOST_VALUES = 2**25
"""Values of all windows that are walked where masks are known."""

_FEWEST_DRAWS, _MOST_DRAWS, _NUMBERS = 4, 64, 2**22

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Tile:
    """Channels and filters of a PE, strips of output positions, and what follows of them.

    Attributes
    ----------
    channels, filters, taps : int
        Of a row of the window as many taps as fit.
    pieces : int
        Tiles of weights that the layer has.
    strips : int
        Parts of the output positions.
    windows : int
        Output positions of a strip.
    waves : int
        Times that the array is filled.
    active : int
        PEs at work in a wave.
    """

    channels: int
    filters: int
    taps: int
    pieces: int
    strips: int
    windows: int
    waves: int
    active: int


def _words(spec: SparseArraySpec, tensor: str, bits: int) -> int:
    """Words that a PE's memory of a tensor holds; 2^31 where there is none."""
    sizes = [m.size for m in spec.memories.values() if tensor in m.holds and m.per == "pe" and m.size is not None]
    return max(1, int(sizes[-1] * 8 // bits)) if sizes else 2**31


def _handover(spec: SparseArraySpec) -> int:
    ports = [memory.ports["psum"] for memory in spec.memories.values() if "psum" in memory.ports]
    return int(ports[-1]) if ports else 2**31


@lru_cache(4096)
def _column(filters: int, density: float, lanes: int) -> tuple[float, float]:
    """Mean and mean square of the cycles of an ifmap value: of ceil(w / F) over w of Binomial(filters, density)."""
    if density >= 1 or filters * density > 4096:
        cycles = math.ceil(filters * density / lanes)
        return cycles, cycles**2
    odds = binomial(filters, density, 0, filters)
    steps = np.ceil(np.arange(filters + 1) / lanes)
    return float((odds * steps).sum()), float((odds * steps**2).sum())


def _slowest(values: int, kept: float, column: tuple[float, float], most: int, pes: int, meet: str) -> float:
    """About what the slowest of so many PEs takes for a window: the mean and sqrt(2 ln PEs) standard deviations."""
    mean, square = column
    spread = kept * square - (kept * mean) ** 2 if meet == "window" else kept**2 * (square - mean**2)
    slowest = values * kept * mean + math.sqrt(max(0.0, values * spread) * 2 * math.log(pes))
    return min(slowest, float(values * most))


def _live_share(work: Work) -> float:
    """Share of the values of a window that are multiplied; where no zeros are skipped, all but those on padding."""
    return work.inside * (work.input_density if work.skips else 1.0)


def best_tile(work: Work, spec: SparseArraySpec, bits: tuple[int, int, int]) -> Tile:
    """The tile and strips of the fewest expected cycles; `bits` are those of an ifmap, a weight and a psum word."""
    z, pes = work.geometry, spec.array
    channels, rows, row = (work.columns, 1, 1) if z is None else (z.channels, z.r, z.s)
    holds = {tensor: _words(spec, tensor, size) for tensor, size in zip(("ifmap", "weight", "psum"), bits)}
    positions, lanes, port = math.ceil(work.vectors), pes.multipliers[0], _handover(spec)
    density, kept = work.weight_density, _live_share(work)
    taps = min(row, holds["ifmap"], max(1, int(holds["weight"] / max(1e-9, density))))
    most_channels = min(channels, holds["ifmap"] // taps)
    best: tuple[float, Tile] | None = None
    sizes = sorted({min(work.rows, holds["psum"], size) for size in (*range(1, 65), *range(80, 1025, 16), 2**30)})
    for filters in sizes:
        fits = max(1, int(holds["weight"] / max(1e-9, filters * taps * max(density, 1e-9))))
        tile_channels = min(most_channels, fits)
        if filters * taps * density > holds["weight"] and filters > 1:
            continue
        pieces = -(-channels // tile_channels) * rows * -(-row // taps) * -(-work.rows // filters) * work.matrices
        column, hand = _column(filters, density, lanes), -(-filters // port)
        useful = {
            1,
            *(min(positions, max(1, wave * pes.pes // pieces)) for wave in range(1, 33)),
            min(positions, pes.pes),
        }
        for strips in sorted(useful):
            windows = -(-positions // strips)
            waves = -(-(pieces * strips) // pes.pes)
            active = min(pes.pes, pieces * strips)
            window = _slowest(tile_channels * taps, kept, column, -(-filters // lanes), active, pes.meet) + hand
            cost = waves * windows * window
            if best is None or cost < best[0]:
                best = cost, Tile(tile_channels, filters, taps, pieces, strips, windows, waves, active)
    assert best is not None
    return best[1]


def walk_grid(work: Work, spec: SparseArraySpec, bits: tuple[int, int, int], seed: int) -> Walk:
    """Walk a layer."""
    if not work.stored:  # products of two activations are matrices of their own for each input of the batch
        work = replace(work, batch=1)
    size = math.ceil(work.vectors / work.batch) * work.columns * work.matrices
    tile = best_tile(work, spec, bits)
    counts = work.columns * work.matrices * -(-work.rows // tile.filters)
    if max(size, counts, tile.pieces * -(-size // (work.columns * work.matrices))) <= _MOST_VALUES:
        return _walk_layer(work, spec, bits, size, Draw(seed))
    pes, kept = spec.array, _live_share(work)
    values = tile.channels * tile.taps
    hand = -(-tile.filters // _handover(spec))
    draw = Draw(seed)
    slowest, worked = [], 0.0
    for _ in range(DRAWS):
        columns = draw.entries(tile.filters, work.weight_density, 16, (tile.active, values))
        steps = -(-columns // pes.multipliers[0])
        live = draw.mask((min(tile.windows, _WINDOWS), tile.active, values), kept)
        cycles = (live * steps).sum(axis=2)
        slowest.append(float(cycles.mean(axis=0).max() if pes.meet == "group" else cycles.max(axis=1).mean()))
        worked += float(cycles.mean()) / DRAWS
    counted, _ = work.effectual
    expected = work.macs * work.weight_density * kept
    more = counted / expected if expected else 1.0
    times = tile.waves * tile.windows
    average = float(np.mean(slowest)) * more * times + hand * times
    active = tile.active * times
    return Walk(
        average, min(active * (worked * more + hand), average * pes.pes), counted, counted, counted,
        float(active * values), active * values * kept, handover=float(active * hand),
        spread=float(np.std(slowest, ddof=1) / (np.mean(slowest) + hand)) if average else 0.0,
    )  # fmt: skip


def _walk_layer(work: Work, spec: SparseArraySpec, bits: tuple[int, int, int], size: int, draw: Draw) -> Walk:
    """Walk masks where they are known, and draws of their densities where not; of a large batch a part."""
    pieces = best_tile(work, spec, bits).pieces * -(-size // (work.columns * work.matrices))
    some = replace(work, batch=min(work.batch, max(1, _MOST_VALUES // max(size, pieces))))
    some = replace(some, macs=work.macs * some.batch // work.batch)
    tile = best_tile(some, spec, bits)
    weights, ifmap = some.weight_masks(), some.vector_masks()
    firsts = range(0, work.rows, tile.filters)
    kept = None
    if weights is not None:
        sums = np.add.reduceat(weights, list(firsts), axis=2, dtype=np.int64)
        kept = sums.transpose(0, 2, 1)
    exact = kept is not None and ifmap is not None
    numbers = size * some.batch + work.matrices * len(firsts) * work.columns
    draws = 1 if exact else min(_MOST_DRAWS, max(_FEWEST_DRAWS, _NUMBERS // numbers))
    sizes = [min(tile.filters, work.rows - first) for first in firsts]
    walks = []
    for _ in range(draws):
        own = kept
        if own is None:
            shape = work.matrices, work.columns
            own = draw.of_sizes(sizes, work.weight_density, 62, shape).transpose(0, 2, 1)
        images = [ifmap if ifmap is not None else some.drawn_vectors(draw) for _ in range(some.batch)]
        walks.append(_walk_masks(some, spec, tile, sizes, own, np.concatenate(images, axis=1)))
    cycles = np.array([walk.cycles for walk in walks])
    names = ("cycles", "busy", "products", "effectual", "entries", "columns", "inputs", "handover")
    means = {name: float(np.mean([getattr(walk, name) for walk in walks])) for name in names}
    mean = Walk(**means)  # type: ignore[arg-type]
    deviation = float(cycles.std(ddof=1)) * math.sqrt(some.batch / work.batch) if draws > 1 else 0.0
    spread = deviation / mean.cycles if mean.cycles else 0.0
    counted, _ = some.effectual
    if not exact and mean.products:  # counts of channels are known where masks are not
        more, hand = counted / mean.products, float(tile.waves * tile.windows * -(-tile.filters // _handover(spec)))
        slowest = max(0.0, mean.cycles - hand)
        mean = replace(
            mean, cycles=mean.cycles + (more - 1) * slowest, busy=mean.busy + (more - 1) * (mean.busy - mean.handover),
            products=counted, effectual=counted, entries=counted,
        )  # fmt: skip
    return replace(mean.times(work.batch / some.batch), spread=spread, exact=exact)


def _walk_masks(
    work: Work, spec: SparseArraySpec, tile: Tile, sizes: list[int], kept: Ints, vectors: Bools
) -> Walk:  # fmt: skip
    """Walk weights kept of (matrices, tiles of filters, columns) by vectors of (matrices, vectors, columns).

    Tiles of one strip come one after the other, since their sums are added; so many as there are PEs are a wave.
    """
    z, pes = work.geometry, spec.array
    channels, rows, row = (work.columns, 1, 1) if z is None else (z.channels, z.r, z.s)
    parts = [slice(first, first + tile.channels) for first in range(0, channels, tile.channels)]
    taps = [slice(first, first + tile.taps) for first in range(0, row, tile.taps)]
    columns = list(product(parts, range(rows), taps))
    shape, positions = (channels, rows, row), min(vectors.shape[1], tile.strips * tile.windows)
    cycles = np.zeros((work.matrices, len(sizes), len(columns), tile.strips * tile.windows), np.float32)
    for matrix, (weights, values) in enumerate(zip(kept, vectors)):
        steps = (-(-weights // pes.multipliers[0])).astype(np.float32).reshape(len(sizes), *shape)
        live = values[:positions].astype(np.float32).reshape(positions, *shape)
        for place, (part, r, tap) in enumerate(columns):
            own = live[:, part, r, tap].reshape(positions, -1)
            cycles[matrix, :, place, :positions] = steps[:, part, r, tap].reshape(len(sizes), -1) @ own.T
    # (strips, tiles, windows): a wave after the other
    split = (work.matrices, len(sizes), len(columns), tile.strips, tile.windows)
    worked = cycles.reshape(split).transpose(3, 0, 1, 2, 4).reshape(-1, tile.windows)
    port = _handover(spec)
    each = np.tile(np.repeat([-(-filters // port) for filters in sizes], len(columns)), work.matrices * tile.strips)
    full = np.arange(tile.strips * tile.windows).reshape(tile.strips, tile.windows) < positions
    strip = np.arange(len(worked)) // (len(worked) // tile.strips)
    total = handed = 0.0
    for begin in range(0, len(worked), pes.pes):
        part = slice(begin, begin + pes.pes)
        hand = each[part, None] * full[strip[part]]
        wave = worked[part].astype(float) + hand
        total += float(wave.sum(axis=1).max() if pes.meet == "group" else wave.max(axis=0).sum())
        handed += float(hand.sum())
    uses = vectors.sum(axis=1, dtype=np.int64)
    products = float((uses * kept.sum(axis=1)).sum())
    inputs = float(uses.sum()) * len(sizes)
    passes = float(vectors.shape[1] * work.columns * work.matrices * len(sizes))
    busy = float(worked.sum(dtype=float)) + handed
    return Walk(
        total, busy, products, products, products, passes, inputs, handover=handed
    )  # fmt: skip
