"""Every mapping of a row-stationary chip, one by one: what the compiled search must agree with."""

import numpy as np
from numpy.typing import NDArray

from hwsim.machines.pe_array.rs_mapper import Limits, RsMapping, _divisors, _tile_width, strips
from hwsim.machines.pe_array.work import ConvWork

COLUMNS = ("n", "m", "e", "p", "q", "r", "t", "active", "dram", "glb")


def candidates(work: ConvWork, limits: Limits) -> NDArray[np.int64]:
    """Every legal mapping, a row of `COLUMNS` each: parameters, active PEs, words of DRAM and of buffer traffic."""
    up, r_, s = work.stride[0], work.r, work.s
    f = _tile_width(work, limits)
    width = (f - 1) * work.stride[1] + s
    tiles = -(-work.q // f)
    all_widths = (work.q - tiles) * work.stride[1] + tiles * s
    filters = np.array(_divisors(work.k), dtype=np.int64)
    set_limit = limits.rows // r_ * limits.cols
    if not set_limit or s > limits.ifmap_spad:
        return np.empty((0, len(COLUMNS)), dtype=np.int64)
    grid = np.meshgrid(
        np.arange(1, min(limits.ifmap_spad // s, work.c) + 1),
        np.arange(1, min(set_limit, work.c) + 1),
        filters[filters <= limits.psum_spad],
        filters[filters <= set_limit],
        indexing="ij",
    )
    q, r, p, t = (axis.ravel() for axis in grid)
    keep = (
        (r * t <= set_limit)
        & (p * q * s <= limits.weight_spad)
        & (work.k % (p * t) == 0)
        & (p * t * q * r * r_ * s <= limits.filter_buffer)
        & (q * r < work.c + q)
        & ((q * r * -(-width // work.stride[1]) <= limits.row_words) | (q * r == 1))
    )
    q, r, p, t = (axis[keep] for axis in (q, r, p, t))
    qr, pt = q * r, p * t
    passes = -(-work.c // qr)
    found = []
    for e in range(1, min(work.p, limits.cols * (limits.rows // r_)) + 1):
        sets = limits.sets(e, r_)
        if not sets:
            continue
        cut = strips(work.p, e)
        fetched = sum(((h - 1) * up + (r_ - 1) * work.dilation[0] + 1) * number for h, number in cut)
        number_of_strips = sum(number for _, number in cut)
        row_bytes = ((e - 1) * up + (r_ - 1) * work.dilation[0] + 1) * width
        fits = r * t <= sets
        for n in _divisors(work.n):
            ifmap_banks = -(-n * qr * row_bytes // limits.bank)
            for m in filters.tolist():
                psum_banks = -(-n * m * e * f // limits.bank)
                if psum_banks >= limits.banks:
                    break
                i = fits & (m % pt == 0) & (ifmap_banks + psum_banks <= limits.banks)
                if not i.any():
                    continue
                rows = np.empty((int(i.sum()), len(COLUMNS)), dtype=np.int64)
                rows[:, 0], rows[:, 1], rows[:, 2] = n, m, e
                rows[:, 3], rows[:, 4], rows[:, 5], rows[:, 6] = p[i], q[i], r[i], t[i]
                rows[:, 7] = r_ * e * r[i] * t[i]
                ifmap = work.c * work.n * fetched * all_widths * (work.k // m)
                filter_words = work.k * work.c * r_ * s * number_of_strips * tiles * (work.n // n)
                rows[:, 8] = work.g * (ifmap + filter_words + work.n * work.k * work.p * work.q)
                psums = 2 * passes[i] * work.k * work.p * work.q
                rows[:, 9] = work.g * work.n * (psums + work.c * fetched * all_widths * (work.k // pt[i]))
                found.append(rows)
    return np.concatenate(found) if found else np.empty((0, len(COLUMNS)), dtype=np.int64)


def best(work: ConvWork, limits: Limits) -> RsMapping | None:
    """The mapping the chip takes: enough PEs active, then least DRAM words, most PEs, least buffer words.

    None where no mapping exists.
    """
    table = candidates(work, limits)
    if not len(table):
        return None
    active = table[:, 7]
    enough = active >= limits.min_occupation * active.max()
    few = table[enough]
    order = np.lexsort((-few[:, 3], few[:, 9], -few[:, 7], few[:, 8]))
    best = few[order[0]]
    ties = int((few[:, [3, 7, 8, 9]] == best[[3, 7, 8, 9]]).all(axis=1).sum())
    values = dict(zip("nmepqrt", (int(v) for v in best[:7])))
    return RsMapping(**values, f=_tile_width(work, limits), candidates=len(table), ties=ties)
