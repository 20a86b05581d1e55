"""Sparse tensors of a TFLite file: which values are stored, by its SparsityParameters.

A tensor is cut into blocks along some axes, and its axes and those of the blocks are gone through in an order of the
file. Each is a level: dense, with all of its indices, or sparse, with those that are stored (segments and indices as in
CSR).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import InputError
from hwsim.workload.tflite.wire import Table

__all__ = ["Level", "Sparsity", "read_sparsity"]

Array: TypeAlias = NDArray[Any]

MAX_LEVELS = 16
_WIDTHS = {1: "<i4", 2: "<u2", 3: "u1"}


@dataclass(frozen=True, eq=False, slots=True)
class Level:
    """An axis: its size if all indices are stored, else where the indices of each parent begin, and the indices."""

    size: int
    segments: Array | None = None
    indices: Array | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Sparsity:
    """The order of the axes (those of blocks after those of the tensor), the blocked axes, and a level for each."""

    order: tuple[int, ...]
    blocked: tuple[int, ...]
    levels: tuple[Level, ...]

    def kept(self, shape: tuple[int, ...], stored: int) -> NDArray[np.bool_]:
        """Which values of a tensor are stored, of `stored` ones.

        Raises
        ------
        InputError
            If the parameters are not those of such a tensor.
        """
        rank, sizes = len(shape), self._sizes(shape)
        if sizes is None or self._nodes() != stored:
            raise InputError(f"sparsity must place {stored} values in {' x '.join(map(str, shape))}")
        places: list[Array] = [np.zeros(1, np.int64)] * (rank + len(self.blocked))
        nodes = 1
        for axis, level in zip(self.order, self.levels):
            if level.segments is None or level.indices is None:
                parents = np.repeat(np.arange(nodes), level.size)
                own = np.tile(np.arange(level.size), nodes)
            else:
                ends: NDArray[np.int64] = level.segments.astype(np.int64)
                parents = np.repeat(np.arange(nodes), ends[1:] - ends[:-1])
                own = level.indices.astype(np.int64)
            if own.size and (int(own.min()) < 0 or int(own.max()) >= sizes[axis]):
                raise InputError(f"sparsity must have indices below {sizes[axis]} of axis {axis}")
            places = [place[parents] if place.size == nodes else place for place in places]
            places[axis], nodes = own, own.size
        flat: Array = np.zeros(nodes, np.int64)
        for axis, size in enumerate(shape):
            place = places[axis]
            if axis in self.blocked:
                block = rank + self.blocked.index(axis)
                place = place * sizes[block] + places[block]
            flat = flat * size + place
        kept = np.zeros(math.prod(shape), np.bool_)
        kept[flat] = True
        return kept.reshape(shape)

    def _sizes(self, shape: tuple[int, ...]) -> list[int] | None:
        """The size of each axis in blocks, and of the blocks; None where they do not fit the tensor."""
        rank, axes = len(shape), len(shape) + len(self.blocked)
        if sorted(self.order) != list(range(axes)) or len(self.levels) != axes or not axes:
            return None
        if len({*self.blocked}) != len(self.blocked) or any(not 0 <= axis < rank for axis in self.blocked):
            return None
        levels = dict(zip(self.order, self.levels))
        sizes = list(shape)
        for place, axis in enumerate(self.blocked):
            block = levels[rank + place]
            if block.segments is not None or block.size < 1 or shape[axis] % block.size:
                return None
            sizes[axis] //= block.size
            sizes.append(block.size)
        dense = (axis for axis, level in levels.items() if level.segments is None)
        return sizes if all(levels[axis].size == sizes[axis] for axis in dense) else None

    def _nodes(self) -> int:
        """How many values the levels store; -1 where one does not fit that before it."""
        nodes = 1
        for level in self.levels:
            if level.segments is None or level.indices is None:
                nodes *= level.size
                continue
            segments = level.segments
            if segments.size != nodes + 1 or int(segments[0]) or (segments[1:] < segments[:-1]).any():
                return -1
            nodes = int(segments[-1])
            if level.indices.size != nodes:
                return -1
        return nodes


def read_sparsity(table: Table | None) -> Sparsity | None:
    """The SparsityParameters of a tensor; None where it has none."""
    if table is None:
        return None
    tables = table.tables(2)[: MAX_LEVELS + 1]
    if len(tables) > MAX_LEVELS:
        raise InputError(f"sparsity must have at most {MAX_LEVELS} axes")
    order, blocked = (tuple(table.vector(field, "<i4")[: MAX_LEVELS + 1].tolist()) for field in (0, 1))
    return Sparsity(order, blocked, tuple(_level(item) for item in tables))


def _level(table: Table) -> Level:
    if not table.unsigned(0, 1):
        return Level(max(table.integer(1), 0))
    vectors = []
    for kind, field in ((2, 3), (4, 5)):
        values, width = table.table(field), _WIDTHS.get(table.unsigned(kind, 1))
        if values is None or width is None:
            raise InputError("sparsity must have segments and indices for each sparse axis")
        vectors.append(values.vector(0, width))
    return Level(0, *vectors)
