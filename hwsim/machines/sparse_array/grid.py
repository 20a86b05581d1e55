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
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hwsim.machines.sparse_array.draw import Draw, binomial
from hwsim.machines.sparse_array.spec import SparseArraySpec
from hwsim.machines.sparse_array.walk import Walk
from hwsim.machines.sparse_array.work import Work

__all__ = ["Tile", "best_tile", "walk_grid"]

DRAWS = 3
_WINDOWS = 64


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
    """Share of the values of a window that are multiplied; a depthwise layer skips those on padding alone."""
    return work.inside * (1.0 if work.geometry is not None and work.geometry.depthwise else work.input_density)


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
    tile = best_tile(work, spec, bits)
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
    exact = work.weight_density == work.input_density == 1
    return Walk(
        average, min(active * (worked * more + hand), average * pes.pes), counted, counted, counted,
        float(active * values), active * values * kept, handover=float(active * hand),
        spread=0.0 if exact or not average else float(np.std(slowest) / (np.mean(slowest) + hand)), exact=exact,
    )  # fmt: skip
