"""The ifmap's plane dealt to PEs, weights broadcast: SCNN (Parashar et al., ISCA 2017).

PE p owns a tile of each channel's plane. Filters come in groups of K' = 2^floor(log2(A / ((h + R - 1)(w + S - 1)))), A
accumulators for a tile of h x w. For a group and a channel PE p multiplies its a entries by the w entries of K' R S
weights in ceil(a / I) ceil(w / F) cycles, and PEs meet at the end of the group:

    cycles = sum over groups of  max over p  sum over c of  ceil(a[p, c] / I) ceil(w[c] / F)

Entries are values and fillers. A stride parts plane and filter into phases: a value meets the weights of its own alone.
Layers without a plane are dealt by outputs: a PE multiplies each ifmap value by the weights of its own outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import ceil

import numpy as np
from numpy.typing import NDArray

from hwsim.kernels.sparse_formats import runs_of
from hwsim.machines.sparse_array.draw import Draw, draws_of, expected_fillers
from hwsim.machines.sparse_array.rows import walk_rows
from hwsim.machines.sparse_array.spec import SparsePesSpec
from hwsim.machines.sparse_array.walk import Walk
from hwsim.machines.sparse_array.work import Work
from hwsim.workload.product import Geometry

__all__ = ["filters_of_group", "tiles", "walk_plane"]

Ints = NDArray[np.int64]
_OVERHEAD = 2**9
"""Numbers that a draw of a phase of a group costs the time of."""
_MOST_CHANNELS, _MOST_GROUPS, _MOST_MATRICES, _MOST_PHASES = 2048, 1024, 64, 16


def tiles(size: int, parts: int) -> list[int]:
    """Rows or columns of each part: as many as fit, the last ones fewer or none."""
    each = -(-size // parts)
    return [min(each, max(0, size - part * each)) for part in range(parts)]


def filters_of_group(z: Geometry, pes: SparsePesSpec) -> int:
    """Filters whose partial sums of a tile, its halo included, the accumulators hold: a power of two."""
    height = ceil(ceil(z.h / pes.rows) / z.stride[0]) + ceil(z.r / z.stride[0]) - 1
    width = ceil(ceil(z.w / pes.cols) / z.stride[1]) + ceil(z.s / z.stride[1]) - 1
    room = (pes.accumulators or 1) // max(1, height * width)
    filters = 1 << max(0, room.bit_length() - 1)
    return min(filters, pes.most_filters or filters, z.filters)


@dataclass(frozen=True, slots=True)
class _Phase:
    """Values of a tile and taps of a filter that meet under a stride: those at one offset of both.

    Attributes
    ----------
    top, left : int
    taps : int
        Of a filter.
    areas : array
        Values of each PE's tile.
    """

    top: int
    left: int
    taps: int
    areas: Ints


class _Entries:
    """Stored entries of tiles and filters: of the masks where they are known, else drawn."""

    def __init__(self, work: Work, z: Geometry, pes: SparsePesSpec, draw: Draw) -> None:
        self.work, self.z, self.pes, self.draw = work, z, pes, draw
        ifmap, weight = work.layer.input.spec.mask, work.layer.weight.spec.mask
        self.ifmap_mask = None if ifmap is None else ifmap.array.reshape(z.groups, z.channels, z.h, z.w)
        self.weight_mask = None if weight is None else weight.array.reshape(z.groups, z.filters, z.channels, z.r, z.s)
        self.exact = self.ifmap_mask is not None and self.weight_mask is not None
        known = self.ifmap_mask is not None or self.weight_mask is not None
        self.channels = z.channels if known else min(z.channels, _MOST_CHANNELS)
        self.matrices = z.groups if known else min(z.groups, _MOST_MATRICES)
        self.groups = 2**31 if known else _MOST_GROUPS
        self.phases = []
        tops, lefts = (range(min(step, taps)) for step, taps in zip(z.stride, (z.r, z.s)))
        # Of a stride of many values some phases stand for all.
        drawn = product(tops[:: -(-len(tops) // _MOST_PHASES)], lefts[:: -(-len(lefts) // _MOST_PHASES)])
        for top, left in drawn if not known else product(tops, lefts):
            taps = len(range(top, z.r, z.stride[0])) * len(range(left, z.s, z.stride[1]))
            rows = [len(range(top, size, z.stride[0])) for size in tiles(z.h, pes.rows)]
            cols = [len(range(left, size, z.stride[1])) for size in tiles(z.w, pes.cols)]
            self.phases.append(_Phase(top, left, taps, np.outer(rows, cols).ravel()))
        self.more = z.channels / self.channels * z.groups / self.matrices * len(tops) * len(lefts) / len(self.phases)

    def ifmap(self, matrix: int, phase: _Phase) -> Ints:
        """Entries of each channel in each PE's tile."""
        z, pes = self.z, self.pes
        if self.ifmap_mask is None:
            areas, density = phase.areas.tolist(), self.work.input_density
            return self.draw.of_sizes(areas, density, pes.index_bits, (self.channels,))
        entries = np.zeros((self.channels, pes.pes), np.int64)
        high, wide = -(-z.h // pes.rows), -(-z.w // pes.cols)
        for pe in np.flatnonzero(phase.areas):
            row, col = divmod(int(pe), pes.cols)
            rows = slice(row * high + phase.top, (row + 1) * high, z.stride[0])
            cols = slice(col * wide + phase.left, (col + 1) * wide, z.stride[1])
            tile = self.ifmap_mask[matrix, :, rows, cols].reshape(z.channels, -1)
            entries[:, pe] = runs_of(tile, pes.index_bits)[2]
        return entries

    def weights(self, matrix: int, phase: _Phase, first: int, filters: int, number: int) -> Ints:
        """Entries of each channel in so many groups of filters, from the first on."""
        z, bits = self.z, self.pes.index_bits
        if self.weight_mask is None:
            shape = (number, self.channels)
            return self.draw.entries(filters * phase.taps, self.work.weight_density, bits, shape)
        own = self.weight_mask[matrix, first : first + number * filters]
        own = own[:, :, phase.top :: z.stride[0], phase.left :: z.stride[1]]
        own = own.reshape(number, filters, z.channels, -1).transpose(0, 2, 1, 3)
        entries = runs_of(own.reshape(number * z.channels, -1), bits)[2]
        return entries.reshape(number, z.channels)


def walk_plane(work: Work, pes: SparsePesSpec, seed: int) -> Walk:
    """Walk a layer."""
    z = work.geometry
    if z is None or z.h * z.w == 1:
        return walk_rows(work, pes, seed)
    stored = _Entries(work, z, pes, Draw(seed))
    each = filters_of_group(z, pes)
    whole_groups, rest = divmod(z.filters, each)
    groups = [(0, each, whole_groups)] + ([(whole_groups * each, rest, 1)] if rest else [])
    f, i = pes.multipliers
    totals = []
    sums = np.zeros(5)
    exact = stored.exact or work.weight_density == work.input_density == 1
    steps_of_draw = stored.matrices * len(stored.phases) * len(groups)
    draws = 1 if exact else draws_of(stored.channels * stored.matrices * pes.pes + _OVERHEAD * steps_of_draw)
    for _ in range(draws):
        cycles = 0.0
        for matrix in range(stored.matrices):
            values = [stored.ifmap(matrix, phase) for phase in stored.phases]
            for first, filters, number in groups:
                drawn = min(number, stored.groups)
                scale = number / drawn
                steps = np.zeros((drawn, pes.pes))
                per_channel = np.zeros((drawn, stored.channels))
                for phase, entries in zip(stored.phases, values):
                    weights = stored.weights(matrix, phase, first, filters, drawn)
                    slots_a, slots_w = -(-entries // i), -(-weights // f)
                    worked = slots_w @ slots_a
                    steps += worked
                    per_channel += slots_w * slots_a.max(axis=1)
                    sums[0] += worked.sum() * scale
                    sums[1] += (weights @ entries).sum() * scale
                    sums[2] += (weights @ slots_a).sum() * scale  # each vector of weights for each of the ifmap
                    sums[3] += drawn * stored.channels * scale
                    sums[4] += entries.sum() * number
                if pes.meet == "channel":
                    cycles += per_channel.sum() * scale
                elif pes.meet == "never":
                    cycles += steps.sum(axis=0).max() * scale
                else:
                    cycles += steps.max(axis=1).sum() * scale
        totals.append(cycles * stored.more)
    busy, products, weights_read, columns, inputs = (float(total) for total in sums * stored.more / draws)
    share = _share_of_values(work, pes, stored.phases[0], each)
    average = float(np.mean(totals))
    one = Walk(
        average, busy, products, products * share, weights_read, columns, inputs,
        spread=0.0 if exact or not average else float(np.std(totals, ddof=1) / average), exact=exact,
    )  # fmt: skip
    return one.times(work.batch)


def _share_of_values(work: Work, pes: SparsePesSpec, phase: _Phase, filters: int) -> float:
    """Share of the products that are of values, not fillers, in expectation."""

    def share(values: float, density: float) -> float:
        kept = values * density
        return kept / (kept + expected_fillers(ceil(values), density, pes.index_bits)) if kept else 1.0

    return share(filters * phase.taps, work.weight_density) * share(float(phase.areas.max()), work.input_density)
