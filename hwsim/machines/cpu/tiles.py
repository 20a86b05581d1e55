"""The register tile of a matrix kernel, and the walk over a thread's part: cycles by what binds each step.

A tile holds r rows by v vectors of sums in registers. A step multiplies one more input value (four 8-bit ones) of each
row into all of them and takes

    max( r v c,  latency,  bytes of v vectors / bandwidth )   cycles,

where c are the port cycles of one vector's sequence, the latency is that of adding to the same sum again, and the
bandwidth is what the packed weights come in with: from L2, but for the first rows of every slice of weights, which pull
it from where the thread's weights live.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from hwsim.machines.cpu.library import TileSpec

__all__ = ["Ports", "Walk", "blocks", "pieces", "step", "walk"]


@dataclass(frozen=True, slots=True)
class Ports:
    """What a step needs of the core.

    Port cycles of a vector's sequence, its latency, vector bytes, lanes, depth, and bytes of packed weights, by default
    a vector of them.
    """

    cycles: float
    latency: float
    vector_bytes: int
    lanes: int
    depth: int
    packed: int = 0

    @property
    def weights(self) -> int:
        """Bytes of packed weights that a vector's sequence takes."""
        return self.packed or self.vector_bytes


@dataclass(slots=True)
class Walk:
    """What a walk takes.

    `cycles` of steps on near weights, by what binds them; `far` the steps that pull weights from afar, as (steps,
    cycles of one on near weights, bytes that it pulls); `stored` vectors of sums that are written, `added` those of
    them that are added to what an earlier slice left.
    """

    cycles: dict[str, float] = field(default_factory=dict)
    far: list[tuple[int, float, int]] = field(default_factory=list)
    stored: int = 0
    added: int = 0


def pieces(size: int, most: int | None) -> list[tuple[int, int]]:
    """(size, count) of the pieces of at most `most` that a length is cut in."""
    if most is None or size <= most:
        return [(size, 1)]
    full, rest = divmod(size, most)
    return [(most, full), (rest, 1)] if rest else [(most, full)]


def blocks(rows: int, menu: list[int]) -> list[tuple[int, int]]:
    """(rows, count) of the row blocks: the first of the menu as often as it fits, then the next; what is left is one.

    >>> blocks(64, [12, 6])
    [(12, 5), (4, 1)]
    >>> blocks(20, [12, 6])
    [(12, 1), (6, 1), (2, 1)]
    """
    result = []
    for block in menu:
        count, rows = divmod(rows, block)
        if count:
            result.append((block, count))
    return [*result, (rows, 1)] if rows else result


def step(rows: int, vectors: int, ports: Ports, bandwidth: float) -> tuple[float, str]:
    """Cycles of a step of a tile, and what binds it; `bandwidth` in bytes a cycle is that of the packed weights."""
    return max(
        (rows * vectors * ports.cycles, "compute"),
        (ports.latency, "latency"),
        (ports.weights * vectors / bandwidth, "l2"),
        key=lambda bound: bound[0],
    )


def _columns(n: int, tile: TileSpec, lanes: int) -> Iterator[tuple[int, int]]:
    """(vectors, count) of the tiles side by side of n columns."""
    yield from pieces(-(-n // lanes), tile.vectors)


def walk(m: int, n: int, k: int, tile: TileSpec, ports: Ports, bandwidth: float, far: bool) -> Walk:
    """Walk an m x n part of a product of depth k; `bandwidth` is that of L2, `far` says that weights live beyond it."""
    result = Walk()
    rows = blocks(m, tile.rows)
    depths = pieces(k, tile.depth)
    slices = sum(count for _, count in depths)
    for columns, wide in pieces(n, tile.columns):
        for vectors, across in _columns(columns, tile, ports.lanes):
            beside = wide * across
            for depth, deep in depths:
                steps = -(-depth // ports.depth)
                for i, (height, down) in enumerate(rows):
                    each, bound = step(height, vectors, ports, bandwidth)
                    times = beside * deep * steps
                    if far and i == 0:
                        # The first rows of a slice pull it in.
                        result.far.append((times, each, ports.weights * vectors))
                        down -= 1
                    result.cycles[bound] = result.cycles.get(bound, 0.0) + times * down * each
            sums = beside * vectors * m
            result.stored += sums
            result.added += sums * (slices - 1)
    return result
