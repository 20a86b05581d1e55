"""The ifmap's plane dealt to PEs, weights broadcast: SCNN (Parashar et al., ISCA 2017).

PE p owns a tile of each channel's plane. Filters come in groups of K' = 2^floor(log2(A / ((h + R - 1)(w + S - 1)))), A
accumulators for a tile of h x w. For a group and a channel PE p multiplies its a entries by the w entries of K' R S
weights in ceil(a / I) ceil(w / F) cycles, and PEs meet at the end of the group:

    cycles = sum over groups of  max over p  sum over c of  ceil(a[p, c] / I) ceil(w[c] / F)

Entries are values and fillers. A stride parts plane and filter into phases: a value meets the weights of its own alone.
Layers without a plane are dealt by outputs: a PE multiplies each ifmap value by the weights of its own outputs.
"""

from __future__ import annotations

from itertools import product
from math import ceil
from typing import Any

import numpy as np

from hwsim.machines.sparse_array.draw import Draw, expected_fillers
from hwsim.machines.sparse_array.spec import SparsePesSpec
from hwsim.machines.sparse_array.walk import Walk
from hwsim.machines.sparse_array.work import Work
from hwsim.workload.product import Geometry

__all__ = ["filters_of_group", "tiles", "walk_plane"]

DRAWS = 3
_MOST_CHANNELS, _MOST_GROUPS, _MOST_MATRICES = 2048, 1024, 64


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


def walk_plane(work: Work, pes: SparsePesSpec, seed: int) -> Walk:
    """Walk a layer."""
    z = work.geometry
    if z is None or z.h * z.w == 1:
        return _walk_outputs(work, pes, seed)
    draw = Draw(seed)
    each = filters_of_group(z, pes)
    whole_groups, rest = divmod(z.filters, each)
    groups = [(each, whole_groups)] + ([(rest, 1)] if rest else [])
    channels = min(z.channels, _MOST_CHANNELS)
    matrices = min(z.groups, _MOST_MATRICES)
    more = z.channels / channels * z.groups / matrices
    f, i = pes.multipliers
    phases = []
    for top, left in product(range(z.stride[0]), range(z.stride[1])):
        taps = len(range(top, z.r, z.stride[0])) * len(range(left, z.s, z.stride[1]))
        rows = [len(range(top, size, z.stride[0])) for size in tiles(z.h, pes.rows)]
        cols = [len(range(left, size, z.stride[1])) for size in tiles(z.w, pes.cols)]
        if taps:
            phases.append((taps, np.outer(rows, cols).ravel()))
    totals = []
    sums = np.zeros(6)
    for _ in range(DRAWS):
        cycles = 0.0
        for _ in range(matrices):
            values = []
            for _, areas in phases:
                entries = np.zeros((channels, len(areas)), np.int64)
                for area in sorted(set(areas.tolist()) - {0}):
                    own = np.flatnonzero(areas == area)
                    entries[:, own] = draw.entries(area, work.input_density, pes.index_bits, (channels, len(own)))
                values.append(entries)
            for filters, number in groups:
                drawn = min(number, _MOST_GROUPS)
                steps = np.zeros((drawn, pes.pes))
                per_channel = np.zeros((drawn, channels))
                for (taps, _), entries in zip(phases, values):
                    weights = draw.entries(filters * taps, work.weight_density, pes.index_bits, (drawn, channels))
                    slots_a, slots_w = -(-entries // i), -(-weights // f)
                    worked = slots_w @ slots_a
                    steps += worked
                    if pes.meet == "channel":
                        per_channel += slots_w * slots_a.max(axis=1)
                    scale = number / drawn
                    sums[0] += worked.sum() * scale
                    sums[1] += (weights @ entries).sum() * scale
                    sums[2] += (weights @ slots_a).sum() * scale  # each vector of weights for each of the ifmap
                    sums[3] += drawn * channels * scale
                    sums[4] += entries.sum() * number
                if pes.meet == "channel":
                    cycles += per_channel.sum() * number / drawn
                elif pes.meet == "never":
                    cycles += steps.sum(axis=0).max() * number / drawn
                else:
                    cycles += steps.max(axis=1).sum() * number / drawn
        totals.append(cycles * more)
    busy, products, weights, columns, inputs, _ = sums * more / DRAWS
    exact = work.weight_density == work.input_density == 1
    share = _share_of_values(work, pes, phases, each)
    average = float(np.mean(totals))
    one = Walk(
        average, float(busy), float(products), float(products * share), float(weights), float(columns), float(inputs),
        spread=0.0 if exact or not average else float(np.std(totals) / average), exact=exact,
    )  # fmt: skip
    return one.times(work.batch)


def _share_of_values(work: Work, pes: SparsePesSpec, phases: list[tuple[int, Any]], filters: int) -> float:
    """Share of the products that are of values, not fillers, in expectation."""

    def share(values: float, density: float) -> float:
        kept = values * density
        return kept / (kept + expected_fillers(ceil(values), density, pes.index_bits)) if kept else 1.0

    taps, areas = phases[0]
    return share(filters * taps, work.weight_density) * share(float(areas.max()), work.input_density)


def _walk_outputs(work: Work, pes: SparsePesSpec, seed: int) -> Walk:
    """Walk a layer whose outputs are dealt: of the I lanes for ifmap values one is in use."""
    draw = Draw(seed)
    sizes = [len(range(pe, work.rows, pes.pes)) for pe in range(min(pes.pes, work.rows))]
    sizes += [0] * (pes.pes - len(sizes))
    live = work.live_columns
    columns = min(live, _MOST_CHANNELS)
    more = live / columns if columns else 1.0
    totals, busy, entries_sum = [], 0.0, 0.0
    for _ in range(DRAWS):
        entries = np.zeros((columns, pes.pes), np.int64)
        for size in sorted(set(sizes) - {0}):
            own = [pe for pe, rows in enumerate(sizes) if rows == size]
            entries[:, own] = draw.entries(size, work.weight_density, pes.index_bits, (columns, len(own)))
        steps = -(-entries // pes.multipliers[0])
        per_pe = steps.sum(axis=0)
        totals.append(float(steps.max(axis=1).sum() if pes.meet == "channel" else per_pe.max(initial=0)) * more)
        busy += float(per_pe.sum()) * more / DRAWS
        entries_sum += float(entries.sum()) * more / DRAWS
    kept = sum(sizes) * work.weight_density * live
    average = float(np.mean(totals))
    exact = work.weight_density == work.input_density == 1
    one = Walk(
        average, busy, entries_sum, min(kept, entries_sum), entries_sum, float(live * pes.pes), float(live),
        spread=0.0 if exact or not average else float(np.std(totals) / average), exact=exact,
    )  # fmt: skip
    return one.times(work.vectors * work.matrices)
