"""Mappings: a loop nest over memories as a flat tuple of nodes, its readable text, and whether it fits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping as ReadMapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property

from hwsim.errors import MappingError
from hwsim.mapping.problem import Problem

__all__ = ["Capacity", "Keep", "Loop", "Mapping", "Node"]


@dataclass(frozen=True)
class Loop:
    """Cuts the current piece of `dim` in pieces of `tile`, the last one being what is left.

    Temporal if `spatial` is None, otherwise side by side along the axis of that name ("rows", "cols", ...).
    """

    dim: str
    tile: int
    spatial: str | None = None

    def __str__(self) -> str:
        if self.spatial is None:
            return f"for {self.dim} by {self.tile}"
        return f"spatial {self.dim} by {self.tile} on {self.spatial}"


@dataclass(frozen=True)
class Keep:
    """From here inwards, `tensors` are held in `memory`."""

    memory: str
    tensors: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.memory} keeps {', '.join(self.tensors)}"


Node = Loop | Keep

Capacity = int | ReadMapping[str, int]
"""Bits of one instance of a memory: one number shared by all tensors, or one for each tensor."""

_LOOP = re.compile(r"for\s+(\w+)\s+by\s+(-?\d+)")
_SPATIAL = re.compile(r"spatial\s+(\w+)\s+by\s+(-?\d+)\s+on\s+(\w+)")
_KEEP = re.compile(r"([\w.-]+)\s+keeps\s+(\w+(?:\s*,\s*\w+)*)")


@dataclass(frozen=True)
class Mapping:
    """A loop nest, outermost node first.

    Examples
    --------
    >>> m = Mapping.parse(["dram keeps ifmap, weight, ofmap", "for M by 1", "for N by 1", "for K by 1"])
    >>> print(m)
    dram keeps ifmap, weight, ofmap
    for M by 1
    for N by 1
    for K by 1
    """

    nodes: tuple[Node, ...]

    @classmethod
    def parse(cls, text: str | Iterable[str]) -> Mapping:
        """Read the readable form: a list of lines, or one text with a line a node ('#' starts a comment)."""
        lines = text.splitlines() if isinstance(text, str) else list(text)
        nodes: list[Node] = []
        for number, line in enumerate(lines, start=1):
            body = line.split("#", 1)[0].strip()
            if body:
                nodes.append(_parse_node(body, number))
        return cls(tuple(nodes))

    def lines(self) -> list[str]:
        """The readable form, a line a node."""
        return [str(node) for node in self.nodes]

    def text(self) -> str:
        """The readable form as one text."""
        return "\n".join(self.lines())

    def __str__(self) -> str:
        return self.text()

    @cached_property
    def loops(self) -> tuple[Loop, ...]:
        """The loops, outermost first."""
        return tuple(node for node in self.nodes if isinstance(node, Loop))

    @property
    def tiles(self) -> tuple[int, ...]:
        """Tile size of each loop, outermost first."""
        return tuple(loop.tile for loop in self.loops)

    @property
    def memories(self) -> tuple[str, ...]:
        """Names of the memories, in order of their first Keep node."""
        return tuple(dict.fromkeys(node.memory for node in self.nodes if isinstance(node, Keep)))

    def with_tiles(self, tiles: Sequence[int]) -> Mapping:
        """The same nest with other tile sizes."""
        if len(tiles) != len(self.loops):
            raise MappingError(f"there must be one tile size for each of {len(self.loops)} loops, not {len(tiles)}")
        sizes = iter(tiles)
        return Mapping(
            tuple(Loop(n.dim, int(next(sizes)), n.spatial) if isinstance(n, Loop) else n for n in self.nodes)
        )

    def simplify(self, problem: Problem) -> Mapping:
        """The same nest without the loops that run once; one spatial loop stays, to say where the array begins."""
        current = dict(problem.dims)
        array = [i for i, node in enumerate(self.nodes) if isinstance(node, Loop) and node.spatial]
        idle = []
        for i, node in enumerate(self.nodes):
            if isinstance(node, Loop):
                if node.tile == current[node.dim]:
                    idle.append(i)
                current[node.dim] = node.tile
        if array and set(array) <= set(idle):
            idle.remove(array[0])
        runs = [node for i, node in enumerate(self.nodes) if i not in idle]
        return Mapping(tuple(runs))

    def keeps(self, tensor: str) -> Iterator[tuple[str, int]]:
        """`(memory, number of loops above)` for every place that holds `tensor`, outermost first."""
        above = 0
        for node in self.nodes:
            if isinstance(node, Loop):
                above += 1
            elif tensor in node.tensors:
                yield node.memory, above

    def spatial_extents(self, problem: Problem) -> dict[str, int]:
        """Positions used on each spatial axis: the product of its loops' counts in a full piece."""
        extents: dict[str, int] = {}
        current = dict(problem.dims)
        for loop in self.loops:
            if loop.spatial is not None:
                extents[loop.spatial] = extents.get(loop.spatial, 1) * -(-current[loop.dim] // loop.tile)
            current[loop.dim] = loop.tile
        return extents

    def validate(self, problem: Problem) -> None:
        """Raise MappingError unless this is a complete nest for `problem`."""
        self.validate_structure(problem)
        current = dict(problem.dims)
        for loop in self.loops:
            if not 1 <= loop.tile <= current[loop.dim]:
                raise MappingError(
                    f"'{loop}': the tile must be at least 1 and at most the piece of {loop.dim} here, "
                    f"{current[loop.dim]}, not {loop.tile}"
                )
            current[loop.dim] = loop.tile
        left = [f"{dim} ({size})" for dim, size in current.items() if size != 1]
        if left:
            raise MappingError(f"every dim must end at tile 1; still larger: {', '.join(left)}")

    def validate_structure(self, problem: Problem) -> None:
        """The part of `validate` that does not depend on tile sizes."""
        first = self.nodes[0] if self.nodes else None
        if not isinstance(first, Keep) or set(first.tensors) != set(problem.tensors):
            raise MappingError(
                f"the first node must be the outermost memory, which keeps {', '.join(problem.tensors)}, "
                f"not {'nothing' if first is None else repr(str(first))}"
            )
        held: set[tuple[str, str]] = set()
        for node in self.nodes:
            if isinstance(node, Loop):
                if node.dim not in problem.dims:
                    raise MappingError(f"'{node}': a dim must be one of {', '.join(problem.dims)}, not {node.dim!r}")
                continue
            for tensor in node.tensors:
                if tensor not in problem.tensors:
                    near = get_close_matches(tensor, problem.tensors, 1)
                    hint = f" (nearest: {near[0]})" if near else ""
                    raise MappingError(
                        f"'{node}': a tensor must be one of {', '.join(problem.tensors)}, not {tensor!r}{hint}"
                    )
                if (node.memory, tensor) in held:
                    raise MappingError(f"'{node}': {node.memory} must keep {tensor} once, not twice")
                held.add((node.memory, tensor))


def _parse_node(line: str, number: int) -> Node:
    """One line of the readable form."""
    if match := _KEEP.fullmatch(line):
        tensors = tuple(t.strip() for t in match[2].split(","))
        if len(set(tensors)) != len(tensors):
            raise MappingError(f"node {number}: a tensor must be named once, not {line!r}")
        return Keep(match[1], tensors)
    if match := _LOOP.fullmatch(line):
        loop = Loop(match[1], int(match[2]))
    elif match := _SPATIAL.fullmatch(line):
        loop = Loop(match[1], int(match[2]), match[3])
    else:
        raise MappingError(
            f"node {number}: must be 'for DIM by TILE', 'spatial DIM by TILE on AXIS' or 'MEMORY keeps TENSOR, ...', "
            f"not {line!r}"
        )
    if loop.tile < 1:
        raise MappingError(f"node {number}: a tile must be at least 1, not {loop.tile}")
    return loop
