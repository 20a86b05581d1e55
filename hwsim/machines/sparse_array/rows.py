"""Rows of the weights dealt to PEs, ifmap values broadcast through queues: EIE (Han et al., ISCA 2016).

Row i of the weights is of PE ``i mod P``. Value j of the ifmap is broadcast if it is not zero, at most one a cycle, and
as soon as every PE has room for it in its queue of D. PE k works ``max(ceil(w / F), empty)`` cycles on it, w being the
entries of its slice of column j:

    s[j]    = max(s[j-1] + 1, max over k of the start of value j - D on PE k)
    f[j, k] = max(f[j-1, k], s[j]) + work[j, k]            cycles = max over k of f[last, k]
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from hwsim.kernels.sparse_formats import runs_of
from hwsim.machines.sparse_array.draw import Draw, expected_fillers
from hwsim.machines.sparse_array.spec import SparsePesSpec
from hwsim.machines.sparse_array.walk import Walk
from hwsim.machines.sparse_array.work import Work

__all__ = ["queued_cycles", "slice_entries", "walk_rows"]

Ints = NDArray[np.int64]
DRAWS, MOST_DRAWS = 4, 32
_FEW = 2**16
"""Numbers of a vector below which more vectors are drawn: few numbers say little."""
_BLOCK = 2**19
_MOST = 2**25
"""Numbers drawn for a layer; of a longer one the first columns are drawn, and the rest goes on like them."""


def queued_cycles(blocks: Iterator[Ints], queue: int, meet: str) -> NDArray[np.float64]:
    """Cycles of each draw, from work of shape (draws, columns, PEs) in blocks of columns."""
    finish = np.zeros((1, 1), np.int64)
    starts = np.zeros((queue, 1, 1), np.int64)
    sent = np.full(1, -1, np.int64)
    count = 0
    for work in blocks:
        draws, columns, pes = work.shape
        if not count:
            finish = np.zeros((draws, pes), np.int64)
            starts = np.zeros((queue, draws, pes), np.int64)
        for j in range(columns):
            if meet == "channel":
                finish = finish.max(axis=1, keepdims=True) + work[:, j]
            else:
                room = starts[count % queue].max(axis=1) if count >= queue else 0
                sent = np.maximum(sent + 1, room)
                begin = np.maximum(finish, sent[:, None])
                starts[count % queue] = begin
                finish = begin + work[:, j]
            count += 1
    return np.asarray(finish.max(axis=1), float)


def slice_entries(mask: NDArray[np.bool_], pes: int, index_bits: int) -> tuple[Ints, Ints]:
    """Entries and fillers of each column (first axis) in each PE's slice, of a mask of (columns, rows)."""
    columns, rows = mask.shape
    entries = np.zeros((columns, pes), np.int64)
    fillers = np.zeros((columns, pes), np.int64)
    for pe in range(min(pes, rows)):
        own = mask[:, pe::pes]
        entries[:, pe] = runs_of(own, index_bits)[2]
        fillers[:, pe] = entries[:, pe] - own.sum(1)
    return entries, fillers


def walk_rows(work: Work, pes: SparsePesSpec, seed: int) -> Walk:
    """Walk one matrix by as many ifmap vectors as a layer has, one after the other."""
    number = pes.pes
    lanes = pes.multipliers[0]
    slices = work.rows_of_pes(number)
    vectors = work.vectors * work.matrices
    masks = work.column_masks()
    sums = np.zeros(4)  # busy, empty, entries, fillers of all draws

    def tally(entries: Ints) -> Ints:
        steps = np.maximum(-(-entries // lanes), pes.empty)
        sums[:3] += steps.sum(), pes.empty * np.count_nonzero(entries == 0), entries.sum()
        return np.asarray(steps)

    draw = Draw(seed)
    if masks is not None:
        weight, inputs = masks
        entries, fillers = slice_entries(weight, number, pes.index_bits)
        exact = inputs is not None
        kept = inputs if inputs is not None else draw.mask((DRAWS, work.columns), work.input_density * work.inside)
        cycles = np.array([queued_cycles(iter([tally(entries[row][None])]), pes.queue, pes.meet)[0] for row in kept])
        sums[3] = sum(fillers[row].sum() for row in kept)
        live = int(np.count_nonzero(kept))
        runs, scale = len(kept), 1.0
    else:
        exact = work.weight_density in (0.0, 1.0) and work.input_density in (0.0, 1.0)
        whole = work.live_columns
        live_columns = min(whole, max(64, _MOST // (DRAWS * number)))
        draws = DRAWS if live_columns * number > _FEW else MOST_DRAWS
        runs, scale = (1 if exact else draws), whole / live_columns if live_columns else 1.0
        step = max(1, _BLOCK // (runs * number))

        def blocks() -> Iterator[Ints]:
            for begin in range(0, live_columns, step):
                shape = (runs, min(step, live_columns - begin))
                yield tally(draw.of_sizes(slices, work.weight_density, pes.index_bits, shape))

        cycles = queued_cycles(blocks(), pes.queue, pes.meet) * scale
        mean = sum(expected_fillers(rows, work.weight_density, pes.index_bits) for rows in slices)
        sums[3] = mean * live_columns * runs
        live = live_columns * runs
    busy, empty, entries_sum, fillers_sum = sums * scale / runs
    average = float(cycles.mean())
    one = Walk(
        average, float(busy), float(entries_sum), float(entries_sum - fillers_sum), float(entries_sum),
        live * scale / runs * number, live * scale / runs, float(empty),
        spread=float(cycles.std() / average) if average and not exact else 0.0, exact=exact,
    )  # fmt: skip
    return one.times(vectors)
