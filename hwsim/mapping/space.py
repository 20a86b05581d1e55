"""The space of tilings of one nest: chains of every axis, and what bounds a branch that has picked some of them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping as ReadMapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.mapping._evaluate import evaluate_batch
from hwsim.mapping.chains import Ints, chains
from hwsim.mapping.cost import tile_loops
from hwsim.mapping.counts import Compiled, Policy, compile_template
from hwsim.mapping.nest import Capacity, Loop, Mapping
from hwsim.mapping.problem import Problem

__all__ = ["Space"]

_CLASSES = 8
_TEMPORAL_ALWAYS = 3
_TILE = 1


@dataclass(frozen=True)
class _Slot:
    """A loop of a dim: its place in the nest, whether it is spatial, and its column of the chains (-1: tile 1)."""

    place: int
    spatial: bool
    column: int


class _Row:
    """A transfer: which dims its tensor has, and the classes of its lower bound.

    Loops of dims that the tensor does not have cost a transfer only while a loop inside them moves the tensor. A class
    says how many of them do.
    """

    def __init__(self, row: Sequence[int], problem: Problem, slots: ReadMapping[str, Sequence[_Slot]]) -> None:
        self.tensor, self.above, self.below, self.multicast, self.reuse, self.first = row
        self.relevant = set(problem.operands[self.tensor].dims) if self.tensor >= 0 else set()
        self.always = self.reuse == _TEMPORAL_ALWAYS or bool(self.first)
        others = sorted(
            slot.place
            for dim, places in slots.items()
            for slot in places
            if dim not in self.relevant and not slot.spatial and slot.place < self.below
        )
        moving = {
            bisect_left(others, slot.place)
            for dim, places in slots.items()
            for slot in places
            if dim in self.relevant and not slot.spatial and slot.place < self.below
        }
        counts = sorted({0, *moving})
        self.limits = [others[n] if n < len(others) else 1 << 30 for n in counts]
        self.limits[0] = -1 if counts[0] == 0 else self.limits[0]
        self.class_of = {n: i for i, n in enumerate(counts)}
        self.others = others
        if self.always:
            self.limits = [1 << 30]

    def kind(self, place: int) -> int:
        """Class of a branch in which the loop at `place` moves the tensor."""
        return self.class_of[bisect_left(self.others, place)]

    def motions(self, slots: Sequence[_Slot]) -> tuple[int, ...]:
        """Classes of the temporal loops of a dim above the transfer."""
        above = takewhile(lambda slot: slot.place < self.below and not slot.spatial, slots)
        return tuple(self.kind(slot.place) for slot in above)


def _numbers(keys: Sequence[NDArray[Any]]) -> NDArray[np.int32]:
    """A number for each row, equal where all keys are: integers from 0 on."""
    number: Ints = np.zeros(len(keys[0]), dtype=np.int64)
    values = 1
    for key in keys:
        width = int(key.max()) + 1
        if values * width >= 1 << 62:
            number = np.unique(number, return_inverse=True)[1].ravel()
            values = len(number)
        number = number * width + key
        values *= width
    return np.unique(number, return_inverse=True)[1].ravel().astype(np.int32)


@lru_cache(maxsize=512)
def _steps(dim: tuple[int, ...], columns: tuple[int, ...], counted: str) -> NDArray[np.float64]:
    """Steps (t) and instances (m) of the loops of each chain; of those shared (s) or standing still (l), the first.

    `dim` is what `chains` takes, `columns` the column of each loop's tile (-1: tile 1).
    """
    table = chains(*dim)
    n = len(table)
    pieces: list[tuple[Ints, Ints]] = [(np.full(n, dim[0]), np.ones(n, dtype=np.int64))]
    for column, how in zip(columns, counted, strict=True):
        if how == "x":
            break
        tile = table[:, column] if column >= 0 else np.ones(n, dtype=np.int64)
        if how in "sl":
            pieces = [(np.minimum(length, tile), times) for length, times in pieces]
            continue
        cut = []
        for length, times in pieces:
            full, rest = np.divmod(length, tile)
            if full.any():
                cut.append((tile, times * full))
            if rest.any():
                cut.append((rest, times * (rest > 0)))
        pieces = cut
    total: NDArray[np.float64] = sum(times for _, times in pieces).astype(np.float64)  # type: ignore[union-attr]
    total.flags.writeable = False
    return total


@lru_cache(maxsize=512)
def _moves(
    dim: tuple[int, ...], columns: tuple[int, ...], motions: tuple[int, ...], classes: int
) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """Class of each chain, and per class the share of the dim in pieces whose loops move the tensor so.

    `motions` are the classes of the loops, outermost first.
    """
    table = chains(*dim)
    n, size = len(table), dim[0]
    shares = np.ones((n, _CLASSES))
    result = np.zeros(n, dtype=np.int8)
    pieces = [(np.full(n, size), np.ones(n, dtype=np.int64), np.zeros(n, dtype=np.int64))]
    for column, kind in zip(columns, motions, strict=False):
        tile = table[:, column] if column >= 0 else np.ones(n, dtype=np.int64)
        cut = []
        for length, times, kinds in pieces:
            kinds = np.where(length > tile, np.maximum(kinds, kind), kinds)
            full, rest = np.divmod(length, tile)
            cut.append((tile, times * full, kinds))
            if rest.any():
                cut.append((rest, times * (rest > 0), kinds))
        pieces = cut
    total = sum(times for _, times, _ in pieces)
    for q in range(1, classes):
        words = sum(length * times * (kinds >= q) for length, times, kinds in pieces)
        share = np.minimum(words / size, sum(times * (kinds >= q) for _, times, kinds in pieces) / total)
        shares[:, q] = np.where(share > 0, share, 1)
        result[share > 0] = q
    shares.flags.writeable = result.flags.writeable = False
    return result, shares


class Space:
    """All tilings of one nest on an array with bounded memories.

    Parameters
    ----------
    template : Mapping
        The nest; its tile sizes do not matter. A dim has loops under buffers (`cuts` of them), in the array, and inside
        a unit.
    """

    def __init__(
        self,
        problem: Problem,
        template: Mapping,
        policy: Policy,
        array: tuple[int, int],
        units: ReadMapping[str, int],
        capacities: ReadMapping[str, Capacity],
    ) -> None:
        self.problem, self.template, self.policy, self.array = problem, template, policy, array
        self.compiled: Compiled = compile_template(problem, template, policy)
        self.slots: dict[str, list[_Slot]] = {}
        self.cuts: dict[str, int] = {}
        for place, loop in enumerate(template.loops):
            self.slots.setdefault(loop.dim, []).append(_Slot(place, loop.spatial is not None, 0))
        for dim, slots in self.slots.items():
            spatial = [i for i, slot in enumerate(slots) if slot.spatial]
            self.cuts[dim] = spatial[0] - 1
            columns = [*range(spatial[-1] + 1), *([-1] * (len(slots) - spatial[-1] - 1))]
            self.slots[dim] = [_Slot(s.place, s.spatial, c) for s, c in zip(slots, columns, strict=True)]
        self.units = units
        self.boxes, self.memories = self._boxes(capacities)
        # the last transfer counts the tiles of the innermost shared memory
        self.transfers = [*self.compiled.tables[4].tolist(), [-1, 0, self.shared, _TILE, _TEMPORAL_ALWAYS, 0]]
        self.rows = [_Row(row, problem, self.slots) for row in self.transfers]
        self.axes = self._axes()

    def _axes(self) -> list[tuple[str, ...]]:
        used = set(self.slots)
        axes: list[tuple[str, ...]] = []
        for operand in self.problem.operands:
            axes += [(p, r) for (p, _), (r, _) in (a for a in operand.axes if len(a) == 2) if {p, r} <= used]
        paired = {dim for axis in axes for dim in axis}
        return axes + [(dim,) for dim in self.slots if dim not in paired]

    def _boxes(self, capacities: ReadMapping[str, Capacity]) -> tuple[list[tuple[str, int]], dict[str, Any]]:
        """Per span its tensor and the loops above it; and the memories that hold them."""
        held: dict[str, list[tuple[str, int]]] = {}
        above = 0
        for node in self.template.nodes:
            if isinstance(node, Loop):
                above += 1
                continue
            for tensor in node.tensors:
                held.setdefault(node.memory, []).append((tensor, above))
        self.shared = shared = tile_loops(self.template)
        boxes: list[tuple[str, int]] = []
        first: list[int] = []
        room: list[float] = []
        for memory, capacity in capacities.items():
            parts = held.get(memory, [])
            if isinstance(capacity, ReadMapping):
                for tensor, above in parts:
                    first.append(len(boxes))
                    room.append(float(capacity.get(tensor, 0)))
                    boxes.append((tensor, above))
            elif parts:
                first.append(len(boxes))
                room.append(float(capacity))
                boxes += parts
        end = len(boxes)
        boxes += [(operand.name, shared) for operand in self.problem.operands]
        output = self.problem.output
        words = self.problem.words(output.name)
        bits, sums = [], []
        names = [memory for memory, capacity in capacities.items() for _ in held.get(memory, [])]
        for i, (tensor, _) in enumerate(boxes):
            operand, row = self.problem.operand(tensor), -1
            width = float(operand.bits)
            if operand.output and i < end and operand.sum_bits != operand.bits:
                column = self.compiled.column(names[i], tensor, "update")
                updates = [(t, f) for c, t, f in self.compiled.tables[5].tolist() if c == column]
                if updates and updates[0][0] >= 0:
                    row = updates[0][0]
                elif sum(f for _, f in updates) > words:
                    width = float(operand.sum_bits)
            bits.append(width)
            sums.append((float(operand.sum_bits), row))
        return boxes, {"first": first, "capacity": room, "end": end, "bits": bits, "sums": sums, "words": float(words)}

    def reads(self) -> list[tuple[int, int, list[bool]]]:
        """Per tensor its transfer into the array, shared words counted once (-1: none), its last class, its axes."""
        spatial = [place for place, loop in enumerate(self.template.loops) if loop.spatial]
        result = []
        for tensor, operand in enumerate(self.problem.operands):
            axes = [any(dim in operand.dims for dim in axis) for axis in self.axes]
            rows = [
                (x, len(row.limits) - 1, axes)
                for x, row in enumerate(self.rows[:-1])
                if row.tensor == tensor and row.multicast == _TILE and not row.first
                and spatial and row.above <= spatial[0] and row.below > spatial[-1]
            ]  # fmt: skip
            result.append(rows[0] if rows else (-1, 0, axes))
        return result

    def _dim(
        self, dim: str
    ) -> tuple[Ints, NDArray[np.float64], NDArray[np.int8], NDArray[np.int32], NDArray[np.float64], list[Ints]]:
        """Chains of a dim with their factors, classes, places, cycles, and tiles at each loop."""
        size = self.problem.dims[dim]
        slots = self.slots[dim]
        key = (size, self.cuts[dim], *self.array, self.units.get(dim, 1))
        columns = tuple(slot.column for slot in slots)
        table = chains(*key)
        ones = np.ones(len(table), dtype=np.int64)
        tiles = [table[:, slot.column] if slot.column >= 0 else ones for slot in slots]
        factors = np.ones((len(table), len(self.rows), _CLASSES))
        kinds = np.zeros((len(table), len(self.rows)), dtype=np.int8)
        for x, row in enumerate(self.rows):
            if dim in row.relevant:
                if row.always:
                    factors[:, x, :] = 1 if row.first else size
                    continue
                motions = row.motions(slots)
                kinds[:, x], shares = _moves(key, columns, motions, len(row.limits))
                factors[:, x, :] = size * shares
                continue
            for q, limit in enumerate(row.limits):
                counted = "".join(
                    "x"
                    if slot.place >= row.below
                    else (
                        "s"
                        if (row.multicast == _TILE and slot.place >= row.above) or (row.always and not row.first)
                        else "m"
                    )
                    if slot.spatial
                    else ("t" if (row.always and not row.first) or slot.place < limit else "l")
                    for slot in slots
                )
                factors[:, x, q] = _steps(key, columns, counted)
        places = np.ones((len(table), 2), dtype=np.int32)
        before = np.full(len(table), size)
        axes = 0
        for slot, tile in zip(slots, tiles, strict=True):
            if slot.spatial:
                places[:, axes] = -(-before // tile)
                axes += 1
            before = tile
        cycles = _steps(key, columns, "".join("s" if slot.spatial else "t" for slot in slots))
        return table, factors, kinds, places, cycles, tiles

    def tables(self) -> list[tuple[object, ...]]:
        """The chains of every axis, as `search_nest` takes them."""
        return [self._table(axis) for axis in self.axes]

    def _table(self, axis: tuple[str, ...]) -> tuple[object, ...]:
        parts = [self._dim(dim) for dim in axis]
        counts = [len(part[0]) for part in parts]
        index = [np.arange(counts[0])]
        if len(axis) == 2:
            index = [np.repeat(np.arange(counts[0]), counts[1]), np.tile(np.arange(counts[1]), counts[0])]
        factors = parts[0][1][index[0]]
        kinds = parts[0][2][index[0]]
        places = parts[0][3][index[0]]
        cycles = parts[0][4][index[0]]
        for part, at in zip(parts[1:], index[1:], strict=True):
            factors = factors * part[1][at]
            kinds = np.maximum(kinds, part[2][at])
            places = places * part[3][at]
            cycles = cycles * part[4][at]
        outer = -(-self.problem.dims[axis[0]] // parts[0][0][:, 0][index[0]])
        fits = (places[:, 0] <= self.array[0]) & (places[:, 1] <= self.array[1])
        order = np.flatnonzero(fits)
        order = order[np.argsort(outer[order], kind="stable")]
        tiles = {dim: [tile[at][order] for tile in part[5]] for dim, part, at in zip(axis, parts, index, strict=True)}
        loops = [(slot.place, tile) for dim in axis for slot, tile in zip(self.slots[dim], tiles[dim], strict=True)]
        factors, kinds = np.ascontiguousarray(factors[order]), np.ascontiguousarray(kinds[order])
        if len(axis) == 2:
            self._windows(axis, tiles, factors)
        spans = np.column_stack([self._span(tensor, above, axis, tiles, len(order)) for tensor, above in self.boxes])
        places = np.ascontiguousarray(places[order], dtype=np.int32)
        macs = 1
        for dim in axis:
            macs *= self.problem.dims[dim]
        return (
            macs, tuple(place for place, _ in loops), np.ascontiguousarray(np.column_stack([t for _, t in loops])),
            factors, kinds, np.ascontiguousarray(spans, dtype=np.float64),
            places, np.ascontiguousarray(cycles[order]), _numbers([outer[order]]),
            self._inner(axis, tiles, places, kinds),
        )  # fmt: skip

    def _inner(
        self, axis: tuple[str, ...], tiles: ReadMapping[str, Sequence[Ints]], places: NDArray[np.int32],
        kinds: NDArray[np.int8],
    ) -> NDArray[np.int32]:  # fmt: skip
        """Number of what a chain does in the array and in a unit: its places, and which tensors move under it."""
        keys: list[NDArray[Any]] = [places[:, 0], places[:, 1]]
        for dim in axis:
            slots = self.slots[dim]
            inside = [i for i, slot in enumerate(slots) if slot.spatial]
            keys += [tiles[dim][i] for i in range(inside[-1], len(slots)) if slots[i].column >= 0]
        for row, whole, _ in self.reads():
            if row >= 0 and whole:
                keys.append(kinds[:, row] == whole)
        return _numbers(keys)

    def _box(self, dim: str, above: int, tiles: ReadMapping[str, Sequence[Ints]], n: int) -> Ints:
        """Length of a dim below the first `above` loops."""
        length = np.full(n, self.problem.dims[dim])
        for slot, tile in zip(self.slots.get(dim, ()), tiles.get(dim, ()), strict=True):
            if slot.place < above:
                length = tile
        return length

    def _span(
        self, tensor: str, above: int, axis: tuple[str, ...], tiles: ReadMapping[str, Sequence[Ints]], n: int
    ) -> Ints:
        """Words along this axis that a memory below `above` loops holds of a tensor."""
        words = np.ones(n, dtype=np.int64)
        for terms in self.problem.operand(tensor).axes:
            inside = [term for term in terms if term[0] in axis]
            if not inside:
                continue
            lengths = [self._box(dim, above, tiles, n) for dim, _ in inside]
            if len(inside) == 1:
                words = words * lengths[0]
            else:
                u, d = inside[0][1], inside[1][1]
                g = gcd(u, d)
                p, r = lengths
                words = words * (p * r - np.maximum(0, p - d // g) * np.maximum(0, r - u // g))
        return words

    def _windows(
        self, axis: tuple[str, ...], tiles: ReadMapping[str, Sequence[Ints]], factors: NDArray[np.float64]
    ) -> None:
        """Words of the tensor that slides along an axis of two dims: counted on these two alone, a lower bound."""
        p, r = axis
        operand = next(o for o in self.problem.operands for a in o.axes if len(a) == 2 and a[0][0] == p)
        terms = next(a for a in operand.axes if len(a) == 2 and a[0][0] == p)
        tensor = self.problem.tensors.index(operand.name)
        places = sorted((slot.place, dim, i) for dim in axis for i, slot in enumerate(self.slots[dim]))
        table = np.ascontiguousarray(np.column_stack([tiles[dim][i] for _, dim, i in places]))
        rows = [x for x, row in enumerate(self.rows) if row.tensor == tensor and not row.first]
        if not rows:
            return
        g = gcd(terms[0][1], terms[1][1])
        transfers = []
        for x in rows:
            row = self.rows[x]
            above, below = (sum(place < end for place, _, _ in places) for end in (row.above, row.below))
            transfers.append((0, above, below, row.multicast, row.reuse, 0))
        unique, back = np.unique(table, axis=0, return_inverse=True)
        out = np.empty((len(unique), len(rows)), dtype=np.int64)
        dims = [p, r]
        error, _ = evaluate_batch(
            np.array([self.problem.dims[p], self.problem.dims[r]], dtype=np.int64),
            np.array([(0, 0, terms[0][1] // g, 1, terms[1][1] // g)], dtype=np.int64),
            np.array([dims.index(dim) for _, dim, _ in places], dtype=np.int64),
            np.array([self.slots[dim][i].spatial for _, dim, i in places], dtype=np.int64),
            np.array(transfers, dtype=np.int64),
            np.array([(i, i, 1) for i in range(len(rows))], dtype=np.int64),
            np.ascontiguousarray(unique),
            out,
        )
        assert not error
        for i, x in enumerate(rows):
            factors[:, x, :] *= (out[back.ravel(), i] / (self.problem.dims[p] * self.problem.dims[r]))[:, None]
