"""Dataflows as constraints on nests: which dims lie side by side, which tensor stands still, which orders remain.

A dataflow is not a model of its own. It gives templates, nests whose tile sizes are still open, for the `search`:

    the outermost memory, then temporal loops and the next memory, ...       (one block of loops above each memory)
    temporal loops, innermost those that leave the stationary tensor alone   (the block above the units)
    spatial loops
    the memories inside a unit, then the loops that run inside it
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping as ReadMapping, Sequence
from dataclasses import dataclass
from itertools import product

from hwsim.errors import MappingError
from hwsim.mapping.nest import Keep, Loop, Mapping, Node
from hwsim.mapping.problem import Problem

__all__ = ["DATAFLOWS", "Dataflow", "Fold", "Level", "NestConstraints", "templates"]


@dataclass(frozen=True)
class Level:
    """A memory and the tensors it may hold; `inside` a unit of the array or shared by all of them."""

    memory: str
    tensors: tuple[str, ...]
    inside: bool = False


@dataclass(frozen=True)
class NestConstraints:
    """Constraints for one family of problems.

    Parameters
    ----------
    rows, cols : tuple of str
        Dims on each axis of a systolic array, outermost first.
    order : tuple of str
        Temporal loops just above the units, outermost first. The last ones leave the stationary tensor where it is.
    inner : tuple of str
        Loops inside a unit, below its memories.
    """

    rows: tuple[str, ...]
    cols: tuple[str, ...]
    order: tuple[str, ...]
    inner: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fold:
    """A fold of a GEMM over a systolic array: the dim on its rows, on its columns, and in time.

    A tensor without the dim of an axis flows along that axis; the one without the dim in time stands still.
    """

    row: str
    col: str
    time: str

    @property
    def stationary(self) -> str:
        """The tensor that stays in the PEs."""
        return _WITHOUT[self.time]

    @property
    def along_rows(self) -> str:
        """The tensor whose words pass every column of a row."""
        return _WITHOUT[self.col]

    @property
    def along_columns(self) -> str:
        """The tensor whose words pass every row of a column."""
        return _WITHOUT[self.row]


@dataclass(frozen=True)
class Dataflow:
    """Constraints for convolutions and for GEMMs.

    Parameters
    ----------
    conv, gemm : NestConstraints
        Those of each family.
    private : bool
        False for units that have no memory of their own.
    passes : bool
        Whether a chip can run it as passes of filter rows, whose sizes minimize DRAM traffic.
    rules : tuple of str
        The published comparisons, as `mapper.rules` names them, that have it.
    variants : bool
        Whether these tell variants of it apart, by `mapper.variant`.
    """

    conv: NestConstraints
    gemm: NestConstraints
    private: bool = True
    passes: bool = False
    rules: tuple[str, ...] = ()
    variants: bool = False

    @property
    def fold(self) -> Fold | None:
        """How a systolic array runs it, if it can: one dim on each axis, the third in time."""
        axes = self.gemm
        if not self.private or axes.inner or len(axes.rows) != 1 or len(axes.cols) != 1:
            return None
        (time,) = _WITHOUT.keys() - {*axes.rows, *axes.cols}
        return Fold(*axes.rows, *axes.cols, time)


_CONV = tuple("NGKCPQRS")
_GEMM = tuple("BMNK")
#: The tensor of a GEMM that each dim leaves alone.
_WITHOUT = {"M": "weight", "N": "ifmap", "K": "ofmap"}

DATAFLOWS: dict[str, Dataflow] = {
    # A unit slides a filter row along an ifmap row; rows of filters down, rows of outputs across, psums up the column.
    "row_stationary": Dataflow(
        NestConstraints(("K", "C", "R"), ("K", "P"), tuple("NGKCPRQ"), tuple("CSK")),
        NestConstraints(("K",), ("N", "M"), tuple("BNKM"), tuple("KN")),
        passes=True,
        rules=("isca16",),
    ),
    # A unit holds its weights while outputs stream past.
    "weight_stationary": Dataflow(
        NestConstraints(("R", "C"), ("K",), tuple("GKCRSNPQ")),
        NestConstraints(("K",), ("N",), tuple("BNKM")),
        rules=("isca16",),
    ),
    # A unit finishes its output before it takes the next one.
    "output_stationary": Dataflow(
        NestConstraints(("P",), ("K", "Q"), tuple("NGKPQCRS")),
        NestConstraints(("M",), ("N",), tuple("BMNK")),
        rules=("isca16",),
        variants=True,
    ),
    # A unit holds its input while output channels pass.
    "input_stationary": Dataflow(
        NestConstraints(("C",), ("P", "Q"), tuple("NGCPQRSK")),
        NestConstraints(("K",), ("M",), tuple("BMKN")),
    ),
    # Units without memory: every operand comes from the shared buffer at every step.
    "no_local_reuse": Dataflow(
        NestConstraints(("C",), ("K",), tuple("NGKPQCRS")),
        NestConstraints(("K",), ("N",), tuple("BMNK")),
        private=False,
        rules=("isca16",),
    ),
}
"""Name to its constraints; a machine file, a planner and a lower bound know of a dataflow what stands here."""


def templates(
    problem: Problem,
    dataflow: str | Dataflow,
    levels: Sequence[Level],
    *,
    units: ReadMapping[str, int] | None = None,
    axes: tuple[str, str] = ("rows", "cols"),
) -> list[Mapping]:
    """All nests of a dataflow over a memory hierarchy, tile sizes open (all 1).

    Every dim may lie on either axis of the array, or on both. Above the shared memories, filters are not cut.

    Parameters
    ----------
    levels : sequence of Level
        Outermost first; the first one keeps every tensor, those `inside` a unit come last.
    units : mapping, optional
        The largest tile of each dim inside a unit (default: 1); those of 1 have no loop there.
    axes : pair of str
        Names of the two axes of the array.

    Examples
    --------
    >>> from hwsim.mapping.problem import gemm_problem
    >>> all_three = ("ifmap", "weight", "ofmap")
    >>> levels = [Level("dram", all_three), Level("reg", ("weight",), inside=True)]
    >>> print(templates(gemm_problem(8, 8, 1), "weight_stationary", levels)[0])
    dram keeps ifmap, weight, ofmap
    for N by 1
    for M by 1
    spatial M by 1 on rows
    spatial N by 1 on rows
    spatial M by 1 on cols
    spatial N by 1 on cols
    reg keeps weight
    """
    if isinstance(dataflow, str):
        if dataflow not in DATAFLOWS:
            raise MappingError(f"a dataflow must be one of {', '.join(DATAFLOWS)}, not {dataflow!r}")
        dataflow = DATAFLOWS[dataflow]
    flow = dataflow.conv if "P" in problem.dims else dataflow.gemm
    if not levels or levels[0].inside or sorted(level.inside for level in levels) != [level.inside for level in levels]:
        raise MappingError("levels must begin with a shared memory, and those inside a unit must come last")
    used = [dim for dim, size in problem.dims.items() if size > 1]
    spatial: list[Node] = [Loop(dim, 1, axis) for axis in axes for dim in used]
    shared = [level for level in levels if not level.inside]
    inside = [Keep(level.memory, level.tensors) for level in levels if level.inside and level.tensors]
    steps = [*flow.order, *(dim for dim in (*flow.inner, *problem.dims) if dim not in flow.order)]
    unit: list[Node] = [Loop(dim, 1) for dim in dict.fromkeys(steps) if dim in used]
    limits = units or {}
    inner = [Loop(dim, 1) for dim in used if limits.get(dim, 1) > 1]
    outer = [dim for dim in used if dim not in "RS"]
    ends = list(_registers(problem, inside, inner)) if dataflow.private else [inner]
    nests: dict[Mapping, None] = {}
    for orders in product(list(_orders(problem, outer)), repeat=len(shared) - 1):
        nodes: list[Node] = [Keep(shared[0].memory, shared[0].tensors)]
        for level, order in zip(shared[1:], orders, strict=True):
            nodes += [Loop(dim, 1) for dim in order]
            nodes.append(Keep(level.memory, level.tensors))
        for end in ends:
            mapping = Mapping((*nodes, *unit, *spatial, *end))
            mapping.validate_structure(problem)
            nests[mapping] = None
    return list(nests)


def _registers(problem: Problem, inside: Sequence[Keep], loops: Sequence[Loop]) -> Iterator[list[Node]]:
    """Memories of a unit above all of its loops; or one below the loops of its tensors, where a word is enough."""
    yield [*inside, *loops]
    if len(inside) < 2:
        return
    for keep in inside:
        dims = {dim for tensor in keep.tensors for dim in problem.operand(tensor).dims}
        above = [loop for loop in loops if loop.dim in dims]
        if above:
            below = [loop for loop in loops if loop.dim not in dims]
            yield [*(other for other in inside if other is not keep), *above, keep, *below]


def _orders(problem: Problem, dims: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """One order for each tensor that can stand still: the loops that it does not see run innermost.

    Rows go innermost of these, so that the windows of neighboring tiles slide.
    """
    seen = set()
    for operand in problem.operands:
        order = tuple(sorted(dims, key=lambda dim: (dim not in operand.dims, dim == "P")))
        if order not in seen:
            seen.add(order)
            yield order
