"""Exact counts of a mapping: MACs, cycles and the words every memory reads, writes and sends, in closed form.

**Steps.** The temporal loops form one odometer for the whole machine. Spatial loops make instances that run in lock-
step: a temporal loop inside a spatial one runs as often as in instance 0, and an instance whose ragged piece does not
reach a step is idle in it. An idle instance holds what it has.

**Inputs.** At the first step every active instance of a memory fills its tile. At a later step, one loop index goes
up and the loops inside it wrap to 0. If no index of a dim of the tensor changed, nothing is filled. Otherwise `reuse`
decides what each active instance fills: "refill" the whole tile; "slide" the words that its tile of the previous step
did not have if only one index changed in all, else the whole tile; "keep" the words that its tile of the previous
step did not have (all if it was idle then). MACs fetch their operands at every step.

**Multicast.** What a parent reads in one step to serve its children: "none" every fill is a read; "tile" instances
that differ only in dims that the tensor does not have share their reads; "word" each distinct word is read once, also
where sliding windows of neighbors overlap (the diagonals of Eyeriss).

**Outputs.** A visit of a tile begins when an index of a dim of the output changes. At its end the tile is drained to
the parent. If the parent's word is fresh (nothing was accumulated in it yet) the visit needs no fill; otherwise
partial sums are filled into *one* instance of those that reduce into the same word (all their reduction indices 0),
and the others start at zero. With `reduction` "tree" the drains of such a group are added on the way and the parent
sees one update a word; with "none" each drain is an update, and the parent reads its word back for all but the first.
The MACs act as the innermost child with one word that changes at every step.
"""

from __future__ import annotations

from collections.abc import Mapping as ReadMapping
from dataclasses import dataclass
from functools import lru_cache
from math import gcd

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import MappingError
from hwsim.mapping._evaluate import evaluate_batch
from hwsim.mapping.nest import Mapping
from hwsim.mapping.problem import Problem

__all__ = ["DEFAULT_POLICY", "Compiled", "Counter", "Counts", "Policy", "compile_template", "counts", "evaluate"]

Counter = tuple[str, str, str]
"""`(memory, tensor, action)`, or `("", "", name)` for "macs", "cycles" and "instances"."""

_REUSE = {"slide": 0, "keep": 1, "refill": 2}
_ALWAYS = 3
_MULTICAST = {"none": 0, "tile": 1, "word": 2}
_REDUCTION = ("tree", "none")
_LARGEST = 2**62
_LONGEST = 2**28
"""Rows of an image where the words that instances share are listed, a byte for each."""
_MOST = {"dims": 12, "loops": 64, "tensors": 4, "memories of a tensor": 8}


@dataclass(frozen=True)
class Policy:
    """How overlaps in time, overlaps between instances and partial sums are treated; see the module."""

    reuse: str = "slide"
    multicast: str = "tile"
    reduction: str = "tree"
    refill: tuple[str, ...] = ()
    """Memories whose tiles are always filled whole, whatever `reuse` says of the others."""

    def __post_init__(self) -> None:
        choices = (("reuse", self.reuse, _REUSE), ("multicast", self.multicast, _MULTICAST))
        for name, value, valid in (*choices, ("reduction", self.reduction, _REDUCTION)):
            if value not in valid:
                raise MappingError(f"{name} must be one of {', '.join(valid)}, not {value!r}")


DEFAULT_POLICY = Policy()


@dataclass(frozen=True)
class Counts:
    """Exact integers of one mapping, totals over all instances.

    Parameters
    ----------
    macs : int
        Multiply-accumulates.
    cycles : int
        Temporal steps of the busiest instance.
    instances : int
        MAC units in use at the first step, which is the most ever.
    actions : mapping
        `(memory, tensor, action)` to number of words. Actions: "fill" (from the parent), "read" (for children and
        MACs), "deliver" (what arrives at all children: fills or MAC operands), and for the output "update" (written by
        children), "drain" (sent to the parent) and "reduce" (added between instances on the way up).
    used : mapping
        `(memory, tensor)` to the number of instances of that memory in use.
    policy : Policy
        What they were counted under.
    """

    macs: int
    cycles: int
    instances: int
    actions: ReadMapping[Counter, int]
    used: ReadMapping[tuple[str, str], int]
    policy: Policy = DEFAULT_POLICY

    def of(self, memory: str, tensor: str, action: str) -> int:
        """Words of one action, 0 where it does not occur."""
        return self.actions.get((memory, tensor, action), 0)

    def total(self, memory: str, *actions: str) -> int:
        """Words of `actions` of a memory, over all tensors."""
        return sum(n for (m, _, action), n in self.actions.items() if m == memory and action in actions)


@dataclass(frozen=True)
class Compiled:
    """A nest template made ready for `evaluate`: what each column of the result means."""

    problem: Problem
    template: Mapping
    policy: Policy
    counters: tuple[Counter, ...]
    tables: tuple[NDArray[np.int64], ...]

    def column(self, memory: str, tensor: str, action: str) -> int:
        """Index of a counter's column."""
        return self.counters.index((memory, tensor, action))

    def evaluate(self, tiles: NDArray[np.int64]) -> NDArray[np.int64]:
        """Counters of each row of tile sizes (one column a loop of the template, outermost first)."""
        tiles = np.ascontiguousarray(tiles, dtype=np.int64)
        n_loops = len(self.template.loops)
        if tiles.ndim != 2 or tiles.shape[1] != n_loops:
            raise MappingError(f"tiles must have {n_loops} columns, one for each loop, not shape {tiles.shape}")
        out = np.empty((tiles.shape[0], len(self.counters)), dtype=np.int64)
        sizes, axes, dims, spatial, transfers, terms = self.tables
        error, row = evaluate_batch(sizes, axes, dims, spatial, transfers, terms, tiles, out)
        if error == 1:
            self.template.with_tiles(tiles[row].tolist()).validate(self.problem)
        if error:
            raise MappingError(
                f"row {row}, tiles {tiles[row].tolist()}: there must be at most 1024 instances that share "
                f"overlapping words; use multicast 'tile', or another reuse than 'keep'"
            )
        return out


@lru_cache(maxsize=512)
def compile_template(problem: Problem, template: Mapping, policy: Policy = DEFAULT_POLICY) -> Compiled:
    """Check the structure of `template` (its tile sizes do not matter) and lay out its counters."""
    template.validate_structure(problem)
    if problem.macs > _LARGEST:
        raise MappingError(f"{problem.name}: there must be at most 2**62 MACs, not {problem.macs}")
    dims = list(problem.dims)
    n_loops = len(template.loops)
    deepest = max(len(list(template.keeps(tensor))) for tensor in problem.tensors)
    for (what, most), number in zip(_MOST.items(), (len(dims), n_loops, len(problem.tensors), deepest), strict=True):
        if number > most:
            raise MappingError(f"{problem.name}: there must be at most {most} {what}, not {number}")
    spatial = [loop.spatial is not None for loop in template.loops]
    layout = _Layout()

    macs = layout.constant(problem.macs)
    layout.counter("", "", "macs", macs)
    layout.counter("", "", "cycles", layout.transfer(-1, 0, n_loops, _MULTICAST["tile"], _ALWAYS))
    layout.counter("", "", "instances", layout.transfer(-1, 0, n_loops, 0, _REUSE["refill"], first=True))

    multicast = _MULTICAST[policy.multicast]
    for index, operand in enumerate(problem.operands):
        keeps = list(template.keeps(operand.name))
        # (parent, loops above it, child or None for the MACs, loops above it)
        links = [(*keeps[i], *keeps[i + 1]) for i in range(len(keeps) - 1)]
        last, last_above = keeps[-1]
        layout.counter(keeps[0][0], operand.name, "fill")
        fresh = layout.constant(problem.words(operand.name))
        for parent, above, child, below in [*links, (last, last_above, None, n_loops)]:
            shares = any(spatial[above:below])
            whole = operand.output or child in policy.refill
            reuse = _ALWAYS if child is None else _REUSE["refill" if whole else policy.reuse]
            moved = macs if child is None else layout.transfer(index, above, below, 0, reuse)
            if not operand.output:
                read = layout.transfer(index, above, below, multicast, reuse) if shares and multicast else moved
                layout.counter(parent, operand.name, "read", read)
                layout.counter(parent, operand.name, "deliver", moved)
                if child is not None:
                    layout.counter(child, operand.name, "fill", moved)
                continue
            leaders = layout.transfer(index, above, below, _MULTICAST["tile"], reuse) if shares else moved
            added = _plus(moved, leaders, -1)
            back = _plus(leaders, fresh, -1)
            tree = policy.reduction == "tree"
            layout.counter(parent, operand.name, "read", back if tree else _plus(back, added))
            layout.counter(parent, operand.name, "update", leaders if tree else moved)
            layout.counter(parent, operand.name, "reduce", added if tree else {})
            if child is not None:
                layout.counter(child, operand.name, "fill", back)
                layout.counter(child, operand.name, "drain", moved)
            fresh = _plus(moved, back, -1)

    axis_rows = []
    sizes = list(problem.dims.values())
    for index, operand in enumerate(problem.operands):
        for axis in operand.axes:
            if len(axis) == 1:
                axis_rows.append((index, dims.index(axis[0][0]), 1, -1, 0))
            else:
                (p, u), (r, d) = axis
                axis_rows.append((index, dims.index(p), u // gcd(u, d), dims.index(r), d // gcd(u, d)))
    lists = {(_MULTICAST["word"], reuse) for reuse in _REUSE.values()} | {(_MULTICAST["tile"], _REUSE["keep"])}
    extent = max((u * sizes[p] + d * sizes[r] for _, p, u, r, d in axis_rows if r >= 0), default=0)
    if extent > _LONGEST and any((row[3], row[4]) in lists for row in layout.transfers):
        raise MappingError(f"{problem.name}: an image must have at most {_LONGEST:,} rows or columns, not {extent:,}")
    tables = (
        np.array(sizes, dtype=np.int64),
        np.array(axis_rows, dtype=np.int64).reshape(-1, 5),
        np.array([dims.index(loop.dim) for loop in template.loops], dtype=np.int64),
        np.array(spatial, dtype=np.int64),
        np.array(layout.transfers, dtype=np.int64).reshape(-1, 6),
        np.array(layout.terms(), dtype=np.int64).reshape(-1, 3),
    )
    return Compiled(problem, template, policy, tuple(layout.counters), tables)


def evaluate(
    problem: Problem, template: Mapping, tiles: NDArray[np.int64], policy: Policy = DEFAULT_POLICY
) -> NDArray[np.int64]:
    """Counters of many tile-size vectors of one template, a row each; columns as `compile_template(...).counters`."""
    return compile_template(problem, template, policy).evaluate(tiles)


def counts(problem: Problem, mapping: Mapping, policy: Policy = DEFAULT_POLICY) -> Counts:
    """Exact counts of one mapping.

    Examples
    --------
    >>> from hwsim.mapping.problem import gemm_problem
    >>> lines = ["dram keeps ifmap, weight, ofmap", "for M by 1", "for N by 1", "spad keeps ofmap", "for K by 1"]
    >>> counts(gemm_problem(2, 3, 4), Mapping.parse(lines)).of("dram", "ofmap", "update")
    6
    """
    mapping.validate(problem)
    compiled = compile_template(problem, mapping, policy)
    row = compiled.evaluate(np.array([mapping.tiles], dtype=np.int64).reshape(1, -1))[0].tolist()
    values = dict(zip(compiled.counters, row, strict=True))
    macs, cycles, instances = (values.pop(("", "", name)) for name in ("macs", "cycles", "instances"))
    used = {
        (memory, tensor): _instances(problem, mapping, above)
        for tensor in problem.tensors
        for memory, above in mapping.keeps(tensor)
    }
    return Counts(macs, cycles, instances, values, used, policy)


def _instances(problem: Problem, mapping: Mapping, above: int) -> int:
    """Instances at the first step made by the spatial loops among the first `above` loops."""
    total = 1
    for dim, size in problem.dims.items():
        pieces = {size: 1}
        for loop in mapping.loops[:above]:
            if loop.dim != dim:
                continue
            cut: dict[int, int] = {}
            for piece, n in pieces.items():
                parts = ((loop.tile, piece // loop.tile), (piece % loop.tile, 1)) if loop.spatial else ((piece, 1),)
                for part, times in parts:
                    if part and times:
                        part = min(part, loop.tile)
                        cut[part] = cut.get(part, 0) + n * times
            pieces = cut
        total *= sum(pieces.values())
    return total


Sum = dict[int, int]
"""A linear form: transfer (or -1 for the number 1) to its factor."""


def _plus(a: Sum, b: Sum, factor: int = 1) -> Sum:
    """a + factor * b."""
    result = dict(a)
    for transfer, times in b.items():
        result[transfer] = result.get(transfer, 0) + factor * times
    return {transfer: times for transfer, times in result.items() if times}


class _Layout:
    """Collects the transfers to evaluate and the counters that are linear in them."""

    def __init__(self) -> None:
        self.transfers: list[tuple[int, ...]] = []
        self.counters: list[Counter] = []
        self.sums: list[Sum] = []

    def constant(self, value: int) -> Sum:
        """A number."""
        return {-1: value}

    def transfer(self, tensor: int, above: int, below: int, multicast: int, reuse: int, first: bool = False) -> Sum:
        """The words of one transfer, evaluated once even if asked for twice."""
        row = (tensor, above, below, multicast, reuse, int(first))
        if row not in self.transfers:
            self.transfers.append(row)
        return {self.transfers.index(row): 1}

    def counter(self, memory: str, tensor: str, action: str, value: Sum | None = None) -> None:
        """A column of the result."""
        self.counters.append((memory, tensor, action))
        self.sums.append(value or {})

    def terms(self) -> list[tuple[int, int, int]]:
        """Rows (column, transfer, factor)."""
        return [(column, t, factor) for column, value in enumerate(self.sums) for t, factor in value.items()]
