"""Rows of the weights dealt to PEs, ifmap values broadcast through queues: EIE (Han et al., ISCA 2016).

Row i of the weights is of PE ``i mod P``. Value j of the ifmap is broadcast if it is not zero, at most one a cycle, and
as soon as every PE has room for it in its queue of D. PE k works ``max(ceil(w / F), empty)`` cycles on it, w being the
entries of its slice of column j:

    s[j]    = max(s[j-1] + 1, max over k of the start of value j - D on PE k)
    f[j, k] = max(f[j-1, k], s[j]) + work[j, k]            cycles = max over k of f[last, k]

An array of planes (`hwsim.machines.sparse_array.plane`) deals layers without a plane in the same way, without queues.

Where both masks are known each vector is walked. Where one is not, matrices of weights and vectors of the ifmap are
drawn. Zeros of weights being anywhere, vectors differ in how many values they have: those that are walked have the
quantiles of that number, of the known vectors or of its binomial distribution, and count for the mean of all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hwsim.kernels.sparse_formats import runs_of
from hwsim.machines.sparse_array.draw import Draw, draws_of, expected_fillers
from hwsim.machines.sparse_array.spec import SparsePesSpec
from hwsim.machines.sparse_array.walk import Walk
from hwsim.machines.sparse_array.work import Work

__all__ = ["queued_cycles", "slice_entries", "walk_rows"]

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
VECTORS = 8
_MOST = 2**24
"""Numbers drawn for a layer; of a longer one the first columns are drawn, and the rest goes on like them."""
_MOST_COLUMNS = 2**17
"""Columns of dense weights that are walked."""
_MOST_ENTRIES = 2**26
"""Entries of known weights; of more groups some stand for all."""
_MOST_WALKED = 2**28
"""Columns of all vectors by PEs that are walked where masks are known; of more vectors some stand for all."""


def queued_cycles(steps: Iterable[Ints], queue: int) -> NDArray[np.float64]:
    """Cycles of vectors, from the work of the PEs (vectors, PEs) on the value that each broadcasts next.

    A later value may be of fewer vectors: the first ones, the others have none left.
    """
    finish = sent = np.zeros(0, np.int64)
    starts: list[Ints] = []
    for count, work in enumerate(steps):
        vectors = len(work)
        if not count:
            finish, sent = np.zeros_like(work), np.full(vectors, -1, work.dtype)
            starts = [finish] * queue
        room = starts[count % queue][:vectors].max(axis=1) if count >= queue else 0
        sent = np.maximum(sent[:vectors] + 1, room)
        begin = np.maximum(finish[:vectors], sent[:, None])
        starts[count % queue] = begin
        finish[:vectors] = begin + work
    return np.asarray(finish.max(axis=1), float) if len(finish) else np.zeros(0)


def slice_entries(mask: Bools, pes: int, index_bits: int) -> tuple[Ints, Ints]:
    """Entries and fillers of each column (first axis) in each PE's slice, of a mask of (columns, rows)."""
    columns, rows = mask.shape
    entries = np.zeros((columns, pes), np.int64)
    fillers = np.zeros((columns, pes), np.int64)
    for pe in range(min(pes, rows)):
        own = mask[:, pe::pes]
        entries[:, pe] = runs_of(own, index_bits)[2]
        fillers[:, pe] = entries[:, pe] - own.sum(1)
    return entries, fillers


@dataclass(frozen=True)
class _Columns:
    """Matrices of weights by columns, and vectors of the ifmap that they are multiplied by.

    Attributes
    ----------
    entries : array of (matrices, columns, PEs)
    fillers : array of (matrices, columns)
        Of all PEs; the mean where weights are drawn.
    vectors : list of (matrix, columns)
        Each as its columns whose value is not zero.
    """

    entries: Ints
    fillers: NDArray[np.float64]
    vectors: list[tuple[int, Ints]]


def walk_rows(work: Work, pes: SparsePesSpec, seed: int) -> Walk:
    """Walk matrices by as many ifmap vectors as a layer has, one after the other."""
    weights, ifmap = work.weight_masks(), work.vector_masks()
    if weights is None or ifmap is None:
        return _walk_drawn(work, pes, weights, ifmap, Draw(seed))
    dense = work.layer.weight.spec.mask is None
    groups = len(weights)
    if dense and work.layer.input.spec.mask is None:  # all groups are alike
        weights, ifmap, groups = weights[:1], ifmap[:1], 1
    step = -(-groups * work.columns * pes.pes // _MOST_ENTRIES)
    weights, ifmap = weights[::step], ifmap[::step]
    number = ifmap.shape[1]
    share = _MOST_WALKED / max(1, int(np.count_nonzero(ifmap)) * pes.pes)
    walked = max(1, int(number * share)) if share < 1 and not dense else number
    places = Draw(seed).places(number, walked) if walked < number else range(number)
    vectors = [(group, np.flatnonzero(values[place])) for group, values in enumerate(ifmap) for place in places]
    one, cycles = _walk(_Columns(*_counted(weights, work, pes), vectors), pes)
    left = (1 - len(vectors) / (number * groups)) / len(vectors)  # of what some vectors say of all
    spread = math.sqrt(float(cycles.reshape(len(ifmap), walked).var(axis=1).mean()) * left)
    return _of_all(one, work, spread, exact=len(vectors) == number * groups)


def _counted(masks: Bools, work: Work, pes: SparsePesSpec) -> tuple[Ints, NDArray[np.float64]]:
    """Entries of known weights, and fillers."""
    if work.layer.weight.spec.mask is None:  # dense: all columns are alike
        shape = *masks.shape[:2], pes.pes
        return np.broadcast_to(np.array(work.rows_of_pes(pes.pes)), shape), np.zeros(shape[:2])
    pairs = [slice_entries(mask, pes.pes, pes.index_bits) for mask in masks]
    return np.array([entries for entries, _ in pairs]), np.array([fillers.sum(1) for _, fillers in pairs], float)


def _walk_drawn(work: Work, pes: SparsePesSpec, weights: Bools | None, ifmap: Bools | None, draw: Draw) -> Walk:
    """Walk matrices and vectors that are drawn where they are not known.

    Each matrix is multiplied by the same vectors. The mean of a layer differs as the mean of so many of both as are
    independent: windows of an image share its values.
    """
    slices = work.rows_of_pes(pes.pes)
    independent = work.independent_vectors
    draws = draws_of(work.columns * pes.pes)
    columns = work.columns
    if weights is None:
        each, matrices = 1 if independent < 2 else min(VECTORS, math.ceil(work.vectors)), draws
        columns = min(columns, max(64, _MOST // (draws * pes.pes)))
    else:
        if work.layer.weight.spec.mask is None:  # dense: so many columns say what all do
            columns = min(columns, _MOST_COLUMNS)
        weights = weights[:: -(-len(weights) // draws), :columns]
        each, matrices = -(-draws // len(weights)), len(weights)
    alone = each == 1 and ifmap is None and weights is None  # each matrix has a vector of its own
    if ifmap is not None:
        rows = ifmap.reshape(-1, ifmap.shape[-1])[:, :columns]
        each, live = min(each, len(rows)), float(np.count_nonzero(ifmap) / len(rows))
        order = np.argsort(np.count_nonzero(rows, axis=1), kind="stable")
        some = [np.flatnonzero(rows[order[(2 * place + 1) * len(rows) // (2 * each)]]) for place in range(each)]
    else:
        density = work.input_density * work.inside
        live = work.columns * density
        lengths = draw.quantiles(columns, density, matrices if alone else each).tolist()
        if not any(lengths):  # values are so few that most vectors have none
            lengths[0] = 1
        some = [np.arange(length) if alone else draw.places(columns, length) for length in lengths]
    if weights is None:
        width = max(map(len, some)) if alone else columns
        fillers = sum(expected_fillers(size, work.weight_density, pes.index_bits) for size in slices)
        entries = draw.of_sizes(slices, work.weight_density, pes.index_bits, (draws, width))
        stored = entries, np.full((draws, width), fillers)
    else:
        stored = _counted(weights, work, pes)
    vectors = [(matrix, own) for matrix in range(matrices) for own in ([some[matrix]] if alone else some)]
    one, cycles = _walk(_Columns(*stored, vectors), pes)
    cycles = cycles.reshape(matrices, each)
    within = float(cycles.var(axis=1, ddof=1).mean()) if each > 1 and ifmap is None else 0.0
    between = float(cycles.mean(1).var(ddof=1)) if weights is None else 0.0
    own_weights = work.layer.weight.elements * (1 if work.stored else work.batch) / (work.rows * work.columns)
    variance = between / max(1.0, own_weights) + within / independent
    exact = work.weight_density in (0, 1) and work.input_density in (0, 1) and work.inside == 1
    walked = sum(len(own) for _, own in vectors) / len(vectors)
    more = live / walked if walked else 1.0  # a longer sum differs less: by the root of its length
    return _of_all(one.times(more), work, math.sqrt(variance * more), exact=exact)


def _of_all(one: Walk, work: Work, deviation: float, exact: bool) -> Walk:
    """All vectors of a layer, from the mean of one and the standard deviation of that."""
    spread = deviation / one.cycles if one.cycles and not exact else 0.0
    return replace(one.times(work.vectors * work.matrices), spread=spread, exact=exact)


def _walk(columns: _Columns, pes: SparsePesSpec) -> tuple[Walk, NDArray[np.float64]]:
    """The mean walk of a vector, and the cycles of each."""
    entries, number = columns.entries, len(columns.vectors)
    steps = np.maximum(-(-entries // pes.multipliers[0]), pes.empty)
    uses = np.zeros(steps.shape[:2], np.int64)
    for matrix, own in columns.vectors:
        uses[matrix, own] += 1
    empty = pes.empty * np.count_nonzero(entries == 0, axis=2)
    amounts = (steps.sum(2), empty, entries.sum(2), columns.fillers, np.ones_like(uses))
    busy, stalled, stored, fillers, live = (float((amount * uses).sum()) / number for amount in amounts)
    cycles = _cycles(steps, columns.vectors, pes)
    pointers, inputs = (live * pes.pes, live) if pes.deal == "rows" else (live, live * pes.pes)
    return Walk(float(cycles.mean()), busy, stored, stored - fillers, stored, pointers, inputs, stalled), cycles


def _cycles(steps: Ints, vectors: list[tuple[int, Ints]], pes: SparsePesSpec) -> NDArray[np.float64]:
    """Cycles of each vector."""
    if pes.meet == "channel":
        slowest = steps.max(axis=2)
        return np.array([float(slowest[matrix, own].sum()) for matrix, own in vectors])
    if pes.deal != "rows":
        return np.array([float(steps[matrix, own].sum(axis=0).max(initial=0)) for matrix, own in vectors])
    lengths = np.array([len(own) for _, own in vectors])
    order = np.argsort(-lengths, kind="stable")
    alike = steps.size > 0 and bool((steps == steps[0, 0]).all())
    if alike:  # what is broadcast does not matter, but how much
        order = order[np.unique(-lengths[order], return_index=True)[1]]
    longest = int(lengths.max(initial=0))
    matrix = np.array([vectors[place][0] for place in order])
    table = np.zeros((len(order), longest), np.int64)
    for row, place in enumerate(order):
        table[row, : lengths[place]] = vectors[place][1]
    left = np.searchsorted(-lengths[order], -np.arange(1, longest + 1), side="right")
    walked = queued_cycles((steps[matrix[:n], table[:n, j]] for j, n in enumerate(left)), pes.queue)
    cycles = dict(zip((lengths if alike else np.arange(len(vectors)))[order].tolist(), walked.tolist()))
    return np.array([cycles.get(key, 0.0) for key in (lengths.tolist() if alike else range(len(vectors)))])
