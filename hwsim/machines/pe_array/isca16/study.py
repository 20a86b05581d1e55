"""The dataflow study of Eyeriss (Chen, Emer, Sze, ISCA 2016): the best tile sizes of each dataflow in closed form.

Every dataflow is a loop nest (`study_nest`) with a few free tile sizes. All of them are priced at once and the cheapest
is taken. The study's conventions, which were inferred from its published figures:

- Inputs: a level counts the words that the next level in reads from it; a word sent to many PEs counts once there, and
  once for each receiving PE on the network. Fills are not charged.
- Partial sums: a storage level counts 2 (arrivals from inside - departures outwards); the network counts additions
  between PEs. Outputs go to DRAM once; their drains are not charged elsewhere.
- With no local reuse, a weight goes from the buffer to one PE, which does not keep it: it is free on the network.
- A tile brings its halo along, strip by strip or patch by patch: neighboring tiles share no ifmap words.
- The search minimizes DRAM, buffer and network energy. The register file costs nearly the same whatever one does.
- PEs are one pool: sets of them are folded onto the array wherever they fit.
- The buffer always has room for the partial sums of a tile, and a tile is fetched anew whenever the loops come back.

Tiles need not divide a dim: the last is smaller. What a tiling costs never falls as a dim grows, and a tiling of a
larger layer, cut to a smaller one, is among the tilings of that: so no layer costs more than a larger one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import gcd, isqrt

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import MappingError
from hwsim.machines.pe_array.work import ConvWork

__all__ = ["LEVEL_COSTS", "Budget", "Choice", "Word", "choose", "explain_infeasible", "register_words"]

Ints = NDArray[np.int64]
Word = tuple[str, str]
"""(level, tensor): level is "dram", "glb", "noc" or "rf"."""
Table = dict[Word, Ints]
Candidates = tuple[dict[str, Ints], Table]
"""Tile sizes, and the words that each choice of them moves."""

LEVEL_COSTS = {"dram": 200.0, "glb": 6.0, "noc": 2.0, "rf": 1.0}
"""Energy of a word over that of a MAC (ISCA 2016, table IV)."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What a mapping may use: PEs, words of the shared buffer, words of a register file."""

    pes: int
    buffer: int
    rf: int


@dataclass(frozen=True, slots=True)
class Choice:
    """The best tile sizes of a dataflow, the words they move, and how many were compared."""

    dataflow: str
    tiles: dict[str, int]
    words: dict[Word, int]
    cost: float
    considered: int

    def text(self) -> str:
        """The tile sizes in one line."""
        return " ".join(f"{key}={value}" for key, value in self.tiles.items())


def _cdiv(a: Ints | int, b: Ints | int) -> Ints:
    """Ceiling division."""
    result: Ints = np.floor_divide(-np.asarray(a, dtype=np.int64), b)
    return -result


def _splits(total: int) -> Ints:
    """The distinct ceil(total / i): the smallest tile for every number of pieces."""
    few = np.arange(1, isqrt(total) + 2, dtype=np.int64)
    sizes = np.unique(np.concatenate([few, _cdiv(total, few)]))
    smallest: Ints = sizes[sizes == _cdiv(total, _cdiv(total, sizes))]
    return smallest


def _blocks(total: int, tile: Ints, inner: Ints) -> Ints:
    """Pieces of `inner` when `total` is cut by `tile` and each piece again by `inner`."""
    full = (total - 1) // tile
    return full * _cdiv(tile, inner) + _cdiv(total - full * tile, inner)


_MOST_CANDIDATES = 2**23
"""Of one dataflow: what can be priced in seconds."""
_BLOCK = 2**14
"""Candidates that are priced together: some dozens of arrays of as many numbers are in memory at a time."""


def _grid(*axes: Ints) -> Iterator[list[Ints]]:
    """Cartesian product, flat, block by block; the last axis runs fastest."""
    shape = tuple(len(axis) for axis in axes)
    if (count := math.prod(shape)) > _MOST_CANDIDATES:
        raise MappingError(f"there must be at most {_MOST_CANDIDATES:,} candidate mappings of a layer, not {count:,}")
    for start in range(0, count, _BLOCK):
        places = np.unravel_index(np.arange(start, min(start + _BLOCK, count)), shape)
        yield [axis[place] for axis, place in zip(axes, places, strict=True)]


def _ones() -> Ints:
    return np.ones(1, dtype=np.int64)


def _span(stride: int, dilation: int, outputs: Ints, taps: int) -> Ints:
    """Distinct positions that a filter of `taps` sees for so many outputs in a row."""
    g = gcd(stride, dilation)
    window_sums: Ints = outputs * taps - np.maximum(0, outputs - dilation // g) * max(0, taps - stride // g)
    return window_sums


class _Layer:
    """A convolution with the sums that the closed forms share; one group of it, `g` times."""

    def __init__(self, work: ConvWork) -> None:
        self.n, self.g, self.m, self.c = work.n, work.g, work.k, work.c
        self.e, self.f, self.r, self.s = work.p, work.q, work.r, work.s
        self.taps = work.r * work.s
        self._rows = work.stride[0], work.dilation[0]
        self._cols = work.stride[1], work.dilation[1]
        self.macs = work.macs // work.g
        self.outputs = work.n * work.k * work.p * work.q
        self.weights = work.k * work.c * self.taps
        self.width = int(self.columns(np.int64(work.q)))
        self.height = int(self.rows(np.int64(work.p)))
        # A PE slides its window by one output at a time; what it still has, it is not sent again.
        up, dilation = self._cols
        overlap = max(0, work.s - up // dilation) if up % dilation == 0 else 0
        self.slid = work.s + (work.q - 1) * (work.s - overlap)

    def rows(self, e: Ints | np.int64) -> Ints:
        """Ifmap rows of e output rows."""
        return _span(*self._rows, np.asarray(e), self.r)

    def columns(self, f: Ints | np.int64) -> Ints:
        """Ifmap columns of f output columns."""
        return _span(*self._cols, np.asarray(f), self.s)

    def strip_rows(self, e: Ints) -> Ints:
        """Ifmap rows of all strips of e output rows: each strip loads its halo again."""
        rest = self.e % e
        return self.e // e * self.rows(e) + np.where(rest > 0, self.rows(rest), 0)

    def strip_columns(self, f: Ints) -> Ints:
        """Ifmap columns of all strips of f output columns."""
        rest = self.f % f
        return self.f // f * self.columns(f) + np.where(rest > 0, self.columns(rest), 0)

    def table(self, words: dict[Word, Ints | int], size: int) -> Table:
        """Words of all groups; the ofmap goes to DRAM once."""
        words = {**words, ("dram", "ofmap"): self.outputs}
        return {key: np.broadcast_to(np.asarray(n, dtype=np.int64) * self.g, (size,)) for key, n in words.items()}


def _filter_tiles(layer: _Layer, most: Ints, *units: Ints) -> tuple[Ints, int]:
    """Candidates for m: the largest that fits, the equal split, and both in whole inner tiles; and how many each."""
    most = np.minimum(most, layer.m)
    even = np.minimum(most, _cdiv(layer.m, _cdiv(layer.m, np.maximum(most, 1))))
    sizes = [most, even]
    for unit in units:
        down, up = most - most % unit, _cdiv(even, unit) * unit
        sizes += [np.where(down > 0, down, most), np.where(up <= most, up, most)]
    return np.concatenate(sizes), len(sizes)


def _keep(ok: NDArray[np.bool_], *columns: Ints) -> list[Ints]:
    return [column[ok] for column in columns]


def _row_stationary(layer: _Layer, budget: Budget) -> Iterator[Candidates]:
    """R x e PEs make a set; q channels and p filters in a PE, r and t sets side by side."""
    sets_of_rows = budget.pes // layer.r
    e_all, c_all = _splits(layer.e), _splits(layer.c)
    # A register file holds p q S weights, the ifmap window of q S words, and p partial sums.
    q, r = np.meshgrid(c_all[2 * c_all * layer.s + 1 <= budget.rf], c_all[c_all <= sets_of_rows], indexing="ij")
    chunks = _cdiv(layer.c, q)
    all_q, all_r = _keep(r == _cdiv(chunks, _cdiv(chunks, r)), q, r)
    for pairs, e, n in _grid(np.arange(all_q.size), e_all[e_all <= sets_of_rows], _splits(layer.n)):
        q, r = all_q[pairs], all_r[pairs]
        p = np.minimum(layer.m, (budget.rf - q * layer.s) // (q * layer.s + 1))
        sets = budget.pes // (layer.r * np.maximum(e, 1))
        e, q, r, n, p, sets = _keep((p >= 1) & (sets >= r), e, q, r, n, p, sets)
        # As many filters in all PEs comes first, the most second: of two that cost the same, no PE waits for a fuller
        # one.
        p = np.concatenate([_cdiv(layer.m, _cdiv(layer.m, p)), p])
        e, q, r, n, sets = (np.tile(x, 2) for x in (e, q, r, n, sets))
        t = np.minimum(sets // r, _cdiv(layer.m, p))
        resident = n * q * r * layer.rows(e) * layer.width
        m, copies = _filter_tiles(layer, (budget.buffer - resident) // (n * e * layer.f), p, p * t)
        e, q, r, n, p, t = (np.tile(x, copies) for x in (e, q, r, n, p, t))
        e, q, r, n, p, t, m = _keep(m >= 1, e, q, r, n, p, t, m)
        loads, steps = _cdiv(layer.n, n), _cdiv(layer.c, q * r)
        rows = layer.strip_rows(e)
        psum_count = layer.outputs * layer.r * _cdiv(layer.c, q)  # partial sums that leave a PE: one for q S MACs
        words: dict[Word, Ints | int] = {
            ("dram", "ifmap"): layer.c * layer.n * rows * layer.width * _cdiv(layer.m, m),
            ("dram", "weight"): layer.weights * _cdiv(layer.e, e) * loads,
            ("glb", "ifmap"): layer.c * layer.n * rows * layer.slid * _blocks(layer.m, m, np.minimum(p * t, m)),
            ("glb", "ofmap"): 2 * layer.outputs * (steps - 1),
            ("noc", "ifmap"): layer.c
            * layer.n
            * layer.r
            * layer.e
            * layer.slid
            * _blocks(layer.m, m, np.minimum(p, m)),
            ("noc", "weight"): layer.weights * layer.e * loads,
            ("noc", "ofmap"): psum_count - layer.outputs * steps,
            ("rf", "ifmap"): layer.macs,
            ("rf", "weight"): layer.macs,
            ("rf", "ofmap"): 2 * (layer.macs - psum_count),
        }
        yield {"m": m, "n": n, "e": e, "p": p, "q": q, "r": r, "t": t}, layer.table(words, m.size)


def _no_local_reuse(layer: _Layer, budget: Budget) -> Iterator[Candidates]:
    """ms filters x c channels side by side, nothing kept in a PE: ifmap words multicast, products added on the way."""
    c_all = _splits(layer.c)
    for e, n, c in _grid(_splits(layer.e), _splits(layer.n), c_all[c_all <= budget.pes]):
        ms = np.minimum(budget.pes // c, layer.m)
        room = budget.buffer - n * c * layer.rows(e) * layer.width
        m, copies = _filter_tiles(layer, room // (n * e * layer.f + c * layer.taps), ms)
        e, n, c, ms = (np.tile(x, copies) for x in (e, n, c, ms))
        e, n, c, ms, m = _keep(m >= 1, e, n, c, ms, m)
        ms = np.minimum(ms, m)
        steps = layer.taps * _cdiv(layer.c, c)
        words: dict[Word, Ints | int] = {
            ("dram", "ifmap"): layer.c * layer.n * layer.strip_rows(e) * layer.width * _cdiv(layer.m, m),
            ("dram", "weight"): layer.weights * _cdiv(layer.e, e) * _cdiv(layer.n, n),
            ("glb", "ifmap"): layer.macs // layer.m * _blocks(layer.m, m, ms),
            ("glb", "weight"): layer.macs,
            ("glb", "ofmap"): 2 * layer.outputs * (steps - 1),
            ("noc", "ifmap"): layer.macs,
            ("noc", "ofmap"): layer.macs - layer.outputs * steps,
        }
        yield {"m": m, "n": n, "e": e, "c": c, "ms": ms}, layer.table(words, m.size)


def _weight_stationary(layer: _Layer, budget: Budget) -> Iterator[Candidates]:
    """R S x c x m PEs hold a weight each for the whole batch; the partial sums of m filters wait in the buffer.

    The buffer is for partial sums: ifmaps stream through it, once for the m filters in the array.
    """
    c = _splits(layer.c)
    c = c[c * layer.taps <= budget.pes]
    m = np.minimum(budget.pes // (c * layer.taps), budget.buffer // (layer.n * layer.e * layer.f))
    m = np.minimum(m, layer.m)
    c, m = _keep(m >= 1, c, m)
    steps = _cdiv(layer.c, c)
    ifmap = layer.c * layer.n * layer.height * layer.width * _cdiv(layer.m, m)
    words: dict[Word, Ints | int] = {
        ("dram", "ifmap"): ifmap,
        ("dram", "weight"): layer.weights,
        ("glb", "ifmap"): ifmap,
        ("glb", "ofmap"): 2 * layer.outputs * (steps - 1),
        ("noc", "ifmap"): layer.macs,
        ("noc", "weight"): layer.weights,
        ("noc", "ofmap"): layer.macs - layer.outputs * steps,
        ("rf", "weight"): layer.macs,
    }
    yield {"m": m, "c": c}, layer.table(words, m.size)


def _output_stationary(variant: str) -> Callable[[_Layer, Budget], Iterator[Candidates]]:
    """A: many pixels of one channel. B: several channels and pixels. C: many channels of one pixel of each image."""

    def candidates(layer: _Layer, budget: Budget) -> Iterator[Candidates]:
        one = _ones()
        rows, cols = (one, one) if variant == "C" else (_splits(layer.e), _splits(layer.f))
        filters = layer.c * layer.taps
        for y, x, ms in _grid(rows, cols, one if variant == "A" else _splits(layer.m)):
            patch = layer.rows(y) * layer.columns(x) * layer.c
            # As many images side by side as the array has PEs for, and the buffer room.
            room = (budget.buffer - ms * filters) // patch
            im = np.minimum(layer.n, np.minimum(budget.pes // (y * x * ms), room))
            im = _cdiv(layer.n, _cdiv(layer.n, np.maximum(im, 1)))
            ok = y * x * ms * im <= budget.pes
            if variant == "B":  # where the layer has several of them
                ok &= (ms > 1) | (layer.m == 1)
                ok &= (y * x * im > 1) | (layer.n * layer.e * layer.f == 1)
            y, x, ms, im, patch = _keep(ok, y, x, ms, im, patch)
            # Ifmaps come patch by patch, each with its halo: neighboring patches share what they have in the array
            # alone.
            window = layer.strip_rows(y) * layer.strip_columns(x)
            patches = _cdiv(layer.e, y) * _cdiv(layer.f, x)
            # Either the filters of a tile stay in the buffer while all patches pass (order 0), or the patches of n
            # images while all filters pass (order 1). What stays is read once, the other once for each tile.
            most = np.minimum((budget.buffer - im * patch) // filters, layer.m)
            images = np.minimum((budget.buffer - ms * filters) // patch, layer.n)
            m = np.concatenate([most, most - most % ms, ms, ms])
            n = np.concatenate([im, im, images, images - images % im])
            y, x, ms, im, window, patches = (np.tile(v, 4) for v in (y, x, ms, im, window, patches))
            order = np.repeat(np.arange(2, dtype=np.int64), m.size // 2)
            fits = (m >= ms) & (n >= im)
            y, x, ms, im, m, n, order, window, patches = _keep(fits, y, x, ms, im, m, n, order, window, patches)
            ifmap = layer.c * layer.n * window
            words: dict[Word, Ints | int] = {
                ("dram", "ifmap"): ifmap * np.where(order, 1, _cdiv(layer.m, m)),
                ("dram", "weight"): layer.weights * np.where(order, patches * _cdiv(layer.n, n), 1),
                ("glb", "ifmap"): ifmap * _blocks(layer.m, m, ms),
                ("glb", "weight"): layer.weights * patches * _blocks(layer.n, n, im),
                ("noc", "ifmap"): layer.macs,
                ("noc", "weight"): layer.macs,
                ("rf", "ofmap"): 2 * (layer.macs - layer.outputs),
            }
            tiles = {"m": m, "n": n, "ms": ms, "im": im, "y": y, "x": x, "order": order}
            yield tiles, layer.table(words, y.size)

    return candidates


_DATAFLOWS: dict[str, Callable[[_Layer, Budget], Iterator[Candidates]]] = {
    "row_stationary": _row_stationary,
    "no_local_reuse": _no_local_reuse,
    "weight_stationary": _weight_stationary,
    **{f"output_stationary_{variant}": _output_stationary(variant) for variant in "ABC"},
}


def register_words(dataflow: str, words: int) -> int:
    """Words of register file that a PE needs: all that are given (row stationary), one, or none."""
    return {"row_stationary": words, "no_local_reuse": 0}.get(dataflow, min(1, words))


def choose(work: ConvWork, dataflow: str, budget: Budget, costs: dict[str, float] | None = None) -> Choice | None:
    """The cheapest tile sizes of a dataflow (`row_stationary`, ..., `output_stationary_A`); None where none fits."""
    costs = costs or LEVEL_COSTS
    best: Choice | None = None
    considered = 0
    for tiles, table in _DATAFLOWS[dataflow](_Layer(work), budget):
        size = next(iter(tiles.values())).size
        if not size:
            continue
        considered += size
        cost = np.zeros(size)
        for (level, _), words in table.items():
            if level != "rf":
                cost += costs[level] * words
        place = int(np.argmin(cost))
        if best is None or cost[place] < best.cost:
            sizes = {key: int(column[place]) for key, column in tiles.items()}
            moved = {key: int(column[place]) for key, column in table.items()}
            best = Choice(dataflow, sizes, moved, float(cost[place]), size)
    return best and replace(best, considered=considered)


def explain_infeasible(work: ConvWork, dataflow: str, budget: Budget) -> Sequence[tuple[str, str, int, int]]:
    """Resources too small for any mapping: ("pes", "buffer" or "rf"; its use; the capacity; the smallest need)."""
    layer = _Layer(work)
    row = int(layer.rows(np.int64(1))) * layer.width
    pes, rf = 1, ("", 0)
    if dataflow == "row_stationary":
        pes, rf = layer.r, ("a filter row, its ifmap window and a partial sum", 2 * layer.s + 1)
        buffer = ("the ifmap rows and partial sums of one output row", row + layer.f)
    elif dataflow == "no_local_reuse":
        buffer = ("ifmap rows, a filter and partial sums of one output row", row + layer.f + layer.taps)
    elif dataflow == "weight_stationary":
        pes, buffer = layer.taps, ("the partial sums of one filter for the whole batch", layer.n * layer.e * layer.f)
    else:
        filters = 1 if dataflow.endswith("A") or layer.m == 1 or dataflow.endswith("C") else 2
        patch = layer.taps
        if dataflow.endswith("B"):  # two pixels, where the layer has them
            two = np.int64(2)
            pairs = (
                (layer.n, 2 * layer.taps),
                (layer.e, int(layer.rows(two)) * layer.s),
                (layer.f, int(layer.columns(two)) * layer.r),
            )
            patch = min((words for pixels, words in pairs if pixels > 1), default=layer.taps)
        buffer = ("a filter and its ifmap window, all channels", layer.c * (filters * layer.taps + patch))
    needs = (
        ("pes", "a filter", budget.pes, pes),
        ("rf", rf[0], budget.rf, rf[1]),
        ("buffer", buffer[0], budget.buffer, buffer[1]),
    )
    return [need for need in needs if need[3] > need[2]]
