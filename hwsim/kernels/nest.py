"""Mappings executed: any loop nest run on real int8 data, every word moved between real buffers and counted.

The semantics are those of `hwsim.mapping.counts`, which counts in closed form; here the nest is executed. Nothing is
shared with the closed form but the description of problem, mapping and policy, so that each proves the other. The
module is long because laying out buffers, links and loops for the compiled walk is one piece of work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping as ReadMapping
from dataclasses import dataclass, field
from itertools import product
from math import prod

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import MappingError
from hwsim.kernels._nest import LIMITS, Walk
from hwsim.mapping.counts import Policy
from hwsim.mapping.nest import Capacity, Loop, Mapping
from hwsim.mapping.problem import Operand, Problem

__all__ = ["LARGEST_BYTES", "Count", "Execution", "execute", "tensor_shape"]

LARGEST_BYTES = 2 << 30
"""The most that the tensors and buffers of one execution may take."""

_REUSE = {"slide": 0, "keep": 1, "refill": 2}
_ALONE, _TILE, _WORD = 0, 1, 2
_BUDGET = 1 << 24
_FULL, _NO_MEMORY = 1, 3
_TABLES = 512
"""Bytes that the tables of one instance of a memory may take."""

Count = tuple[str, str, str]


@dataclass(frozen=True)
class Execution:
    """Output and event counts of an executed nest.

    Attributes
    ----------
    output : ndarray of int32
        With an axis for each axis of the output operand.
    counts : dict
        `(memory, tensor, action)` to the words that were moved; actions as in `hwsim.mapping.Counts`.
    macs, gated : int
        Multiply-accumulates; those of them with an operand that is zero.
    peak : dict
        `(memory, tensor)` to the most words that one instance held.
    """

    output: NDArray[np.int32]
    counts: dict[Count, int]
    macs: int
    gated: int
    peak: dict[tuple[str, str], int] = field(default_factory=dict)


def tensor_shape(operand: Operand, problem: Problem) -> tuple[int, ...]:
    """Extent of each axis of an operand: an ifmap is the padded one, up to the last row and column that is used."""
    return tuple(1 + sum(c * (problem.dims[dim] - 1) for dim, c in axis) for axis in operand.axes)


def execute(
    problem: Problem,
    mapping: Mapping,
    tensors: ReadMapping[str, NDArray[np.int8]],
    policy: Policy | None = None,
    capacities: ReadMapping[str, Capacity] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Execution:
    """Run a nest on int8 tensors.

    Parameters
    ----------
    problem, mapping, policy
        As for `hwsim.mapping.counts`.
    tensors : mapping of str to int8 ndarray
        Both inputs by name, in the shape of `tensor_shape`; the ifmap with its padding.
    capacities : mapping, optional
        Bits of an instance of each memory; its occupancy is checked after every transfer.
    progress : callable, optional
        Told the MACs done, now and then.

    Raises
    ------
    MappingError
        If the nest or a tensor does not fit the problem, a sum might overflow 32 bits, the buffers would take more than
        2 GiB, or a memory ends up with more than it can hold.

    Examples
    --------
    >>> from hwsim.mapping import gemm_problem
    >>> nest = Mapping.parse(["dram keeps ifmap, weight, ofmap", "for M by 1", "for N by 1", "for K by 1"])
    >>> ones = {"ifmap": np.ones((2, 4), np.int8), "weight": np.ones((4, 3), np.int8)}
    >>> execute(gemm_problem(2, 3, 4), nest, ones).output.tolist()
    [[4, 4, 4], [4, 4, 4]]
    """
    mapping.validate(problem)
    machine = _Machine(problem, mapping, policy or Policy(), capacities or {})
    machine.load(tensors)
    walk = machine.walk
    while not walk.done:
        error = walk.run(_BUDGET)
        if error:
            raise machine.fault(error)
        if progress is not None:
            progress(walk.macs)
    return machine.result()


@dataclass
class _Place:
    """One tensor in one memory."""

    operand: Operand
    memory: str
    above: int
    parent: int
    shape: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    instances: int = 1
    values: NDArray[np.int8] | NDArray[np.int32] | None = None

    @property
    def size(self) -> int:
        """Words of storage of an instance: the box around its largest tile."""
        return prod(self.shape)

    @property
    def words(self) -> int:
        """Words of storage of all instances."""
        return self.instances * self.size

    @property
    def bytes(self) -> int:
        """Bytes of the buffers and of the state of each word and instance."""
        return self.words * (5 if self.operand.output else 1) + self.instances * _TABLES


class _Machine:
    """The buffers of a nest and the tables that the compiled walk needs."""

    def __init__(
        self, problem: Problem, mapping: Mapping, policy: Policy, capacities: ReadMapping[str, Capacity]
    ) -> None:
        self.problem, self.mapping, self.policy, self.capacities = problem, mapping, policy, capacities
        self.loops, self.dims = mapping.loops, list(problem.dims)
        self.inputs = [o for o in problem.operands if not o.output]
        if len(self.inputs) != 2:
            raise MappingError(f"{problem.name}: a product must have two inputs, not {len(self.inputs)}")
        self.copies = self._copies()
        self.places = self._places()
        counts_of = {
            "dims": len(self.dims), "loops": len(self.loops), "places that hold a tensor": len(self.places),
            "axes of a tensor": max(len(o.axes) for o in problem.operands), "memories": len(mapping.memories),
        }  # fmt: skip
        for what, number in counts_of.items():
            if number > LIMITS[what]:
                raise MappingError(f"{problem.name}: there must be at most {LIMITS[what]} {what}, not {number}")
        need = sum(p.bytes + (4 * self.places[p.parent].words if p.parent >= 0 else 0) for p in self.places)
        need += _TABLES * prod(self.copies)
        if need > LARGEST_BYTES:
            raise MappingError(
                f"{problem.name}: the tensors and buffers of an execution must fit {LARGEST_BYTES >> 20} MiB, "
                f"not take {need >> 20} MiB"
            )
        self.upper = max(place.above for place in self.places)
        self.walk = Walk()

    def _copies(self) -> list[int]:
        """Parallel instances of each loop; 1 for a temporal loop."""
        size, copies = dict(self.problem.dims), []
        for loop in self.loops:
            copies.append(-(-size[loop.dim] // loop.tile) if loop.spatial else 1)
            size[loop.dim] = loop.tile
        return copies

    def _places(self) -> list[_Place]:
        """Every place that holds a tensor, outermost first."""
        places: list[_Place] = []
        latest: dict[str, int] = {}
        size, above = dict(self.problem.dims), 0
        for node in self.mapping.nodes:
            if isinstance(node, Loop):
                size[node.dim] = node.tile
                above += 1
                continue
            for tensor in node.tensors:
                operand = self.problem.operand(tensor)
                place = _Place(operand, node.memory, above, latest.get(tensor, -1))
                place.shape = tuple(1 + sum(c * (size[d] - 1) for d, c in axis) for axis in operand.axes)
                place.strides = tuple(prod(place.shape[i + 1 :]) for i in range(len(place.shape)))
                place.instances = prod(self.copies[:above])
                latest[tensor] = len(places)
                places.append(place)
        return places

    def _pieces(self, below: int) -> list[NDArray[np.int32] | None]:
        """Piece of each instance in each dim that the first `below` loops split spatially."""
        grid = np.indices(self.copies[:below] or [1], dtype=np.int64).reshape(max(below, 1), -1)
        pieces: list[NDArray[np.int32] | None] = []
        for dim in self.dims:
            piece = np.zeros(grid.shape[1], dtype=np.int64)
            for i, loop in enumerate(self.loops[:below]):
                if loop.dim == dim:
                    piece = piece * self.copies[i] + grid[i]
            pieces.append(piece.astype(np.int32) if piece.any() else None)
        return pieces

    def _groups(self, operand: Operand, above: int, below: int) -> NDArray[np.int32]:
        """Group of each instance; a group differs below loop `above` only in dims that do not index the tensor."""
        grid = np.indices(self.copies[:below] or [1], dtype=np.int64).reshape(max(below, 1), -1)
        number = np.zeros(grid.shape[1], dtype=np.int64)
        for i, loop in enumerate(self.loops[:below]):
            if i < above or loop.dim in operand.dims:
                number = number * self.copies[i] + grid[i]
        return number.astype(np.int32)

    def _states(self, below: int) -> list[int]:
        """The last of the first `below` loops that cuts each dim."""
        last = [len(self.loops) + d for d in range(len(self.dims))]
        for i, loop in enumerate(self.loops[:below]):
            last[self.dims.index(loop.dim)] = i
        return last

    def _bits(self, memory: str, tensors: tuple[str, ...]) -> int:
        """The limit of a memory, or of some tensors in it; -1 for none."""
        capacity = self.capacities.get(memory)
        if capacity is None:
            return -1
        return capacity if isinstance(capacity, int) else capacity.get(tensors[0], 0)

    def _axes(self, operand: Operand) -> list[tuple[int, int, int, int]]:
        rows = []
        for axis in operand.axes:
            (first, u), (second, v) = axis if len(axis) == 2 else (axis[0], ("", 0))
            rows.append((self.dims.index(first), u, self.dims.index(second) if second else -1, v))
        return rows

    def load(self, tensors: ReadMapping[str, NDArray[np.int8]]) -> None:
        """Put the tensors into the outermost memory, and set up the walk."""
        self._set_loops()
        for place in self.places:
            self._add(place, tensors)
        self._set_macs()
        self._check_outermost()

    def _set_loops(self) -> None:
        before = [len(self.loops) + d for d in range(len(self.dims))]
        pieces = [1] * len(self.dims)
        rows = []
        for i, loop in enumerate(self.loops):
            d = self.dims.index(loop.dim)
            pieces[d] *= self.copies[i]
            starts, lengths = np.zeros(pieces[d], np.int64), np.zeros(pieces[d], np.int64)
            rows.append((d, loop.spatial is not None, before[d], loop.tile, self.copies[i], starts, lengths))
            before[d] = i
        roots = [(np.zeros(1, np.int64), np.array([size], np.int64)) for size in self.problem.dims.values()]
        # A memory with a part for each tensor counts as that many memories.
        self.limits: dict[tuple[str, str], int] = {}
        bits: list[int] = []
        for place in self.places:
            split = isinstance(self.capacities.get(place.memory), ReadMapping)
            key = (place.memory, place.operand.name if split else "")
            if key not in self.limits:
                self.limits[key] = len(bits)
                bits.append(self._bits(place.memory, (place.operand.name,)))
        if len(bits) > LIMITS["memories"]:
            raise MappingError(f"there must be at most {LIMITS['memories']} memories, not {len(bits)}")
        tree = self.policy.reduction == "tree"
        self.walk.set_loops(rows, roots, self.upper, _REUSE[self.policy.reuse], tree, bits)

    def _add(self, place: _Place, tensors: ReadMapping[str, NDArray[np.int8]]) -> None:
        operand, above, n = place.operand, place.above, place.instances
        parent = self.places[place.parent] if place.parent >= 0 else None
        outer = parent.above if parent is not None else 0
        per_parent = n // (parent.instances if parent is not None else 1)
        sharing = _ALONE
        if per_parent > 1 and not operand.output:
            sharing = {"none": _ALONE, "tile": _TILE, "word": _WORD}[self.policy.multicast]
        group = self._groups(operand, outer, above) if sharing == _TILE else None
        order = np.argsort(group, kind="stable").astype(np.int32) if group is not None else None
        unique = parent is not None and (sharing or (operand.output and per_parent > 1))
        stamp = np.zeros(parent.instances * parent.size, np.uint32) if parent is not None and unique else None
        if operand.output:
            place.values = np.zeros(n * place.size, np.int32)
        elif parent is None:
            place.values = self._checked_tensor(operand, tensors).reshape(-1)
        else:
            place.values = np.zeros(n * place.size, np.int8)
        box = np.zeros((n, len(operand.axes), 4), np.int64)
        if parent is None:
            for a, axis in enumerate(operand.axes):
                box[0, a, 1] = self.problem.dims[axis[0][0]]
                box[0, a, 3] = self.problem.dims[axis[1][0]] if len(axis) == 2 else 1
        masks = [sum(1 << i for i in range(above) if want(self.loops[i].dim)) for want in
                 (operand.dims.__contains__, self.problem.dims.__contains__)]  # fmt: skip
        split = isinstance(self.capacities.get(place.memory), ReadMapping)
        self.walk.add_level(
            parent=place.parent,
            output=operand.output,
            above=above,
            whole=place.memory in self.policy.refill,
            share=sharing,
            axes=self._axes(operand),
            strides=place.strides,
            size=place.size,
            instances=n,
            per_parent=per_parent,
            state=self._states(above),
            place=self._pieces(above),
            order=order,
            group=group,
            shown=masks[0],
            all_=masks[1],
            data=None if operand.output else place.values,  # type: ignore[arg-type]
            sums=place.values if operand.output else None,  # type: ignore[arg-type]
            seen=np.zeros(n * place.size, np.uint8) if operand.output else None,
            box=box.reshape(-1),
            origin=np.zeros(n, np.int64),
            from_=np.zeros(n, np.int64) if operand.output else None,
            held=np.zeros(n, np.uint8),
            stamp=stamp,
            scratch=None if operand.output else np.zeros(place.size, np.int8),
            memory=self.limits[place.memory, operand.name if split else ""],
            bits=operand.bits,
            words=0,
        )

    def _checked_tensor(self, operand: Operand, tensors: ReadMapping[str, NDArray[np.int8]]) -> NDArray[np.int8]:
        """A tensor as given, checked and copied."""
        shape = tensor_shape(operand, self.problem)
        tensor = tensors.get(operand.name)
        if not isinstance(tensor, np.ndarray) or tensor.dtype != np.int8:
            what = "nothing" if tensor is None else getattr(tensor, "dtype", type(tensor).__name__)
            raise MappingError(f"{operand.name} must be an array of int8, not {what}")
        if tensor.shape != shape:
            raise MappingError(f"{operand.name} must have the shape {shape}, not {tensor.shape}")
        return np.array(tensor, dtype=np.int8, order="C")

    def _set_macs(self) -> None:
        """Source instance of each operand of each MAC unit."""
        n = len(self.loops)
        instances = prod(self.copies)
        operands = [*self.inputs, self.problem.output]
        inner = [max(i for i, p in enumerate(self.places) if p.operand is o) for o in operands]
        homes, shares, groups, stamps, coefficients = [], [], [], [], []
        for operand, at in zip(operands, inner):
            place = self.places[at]
            below = instances // place.instances
            homes.append((np.arange(instances) // below).astype(np.int32) if place.instances > 1 else None)
            sharing, group, marks = _ALONE, None, place.instances * place.size
            if below > 1 and operand.output:
                sharing = _WORD
            elif below > 1:
                sharing = {"none": _ALONE, "tile": _TILE, "word": _WORD}[self.policy.multicast]
            if sharing == _TILE:
                group = self._groups(operand, place.above, n)
                marks = int(group.max()) + 1
            shares.append(sharing)
            groups.append(group)
            stamps.append(np.zeros(marks, np.uint32) if sharing else None)
            row = [0] * len(self.dims)
            for axis, stride in zip(operand.axes, place.strides):
                for dim, coefficient in axis:
                    row[self.dims.index(dim)] = coefficient * stride
            coefficients.append(row)
        self.inner = inner
        self._check_overflow()
        self.walk.set_macs(
            instances=instances,
            place=self._pieces(n),
            final=self._states(n),
            at_upper=self._states(self.upper),
            inner=inner,
            homes=homes,
            shares=shares,
            groups=groups,
            stamps=stamps,
            offsets=[np.zeros(instances, np.int64) for _ in range(3)],
            who=np.zeros(instances, np.int32),
            first=np.zeros(instances, np.int64),
            coefficients=coefficients,
        )

    def _check_outermost(self) -> None:
        """Raise unless the words that MACs touch fit the outermost memory."""
        memory = self.mapping.memories[0]
        usage: dict[str, int] = {}
        for operand in self.problem.operands:
            sizes = [[range(0, c * self.problem.dims[dim], c) for dim, c in axis] for axis in operand.axes]
            words = prod(len({sum(terms) for terms in product(*ranges)}) for ranges in sizes)
            usage[operand.name] = words * operand.bits
        split = isinstance(self.capacities.get(memory), ReadMapping)
        for part in [{tensor: bits} for tensor, bits in usage.items()] if split else [usage]:
            room = self._bits(memory, tuple(part))
            if 0 <= room < sum(part.values()):
                raise self._too_much(memory, room, part, "at the start")

    def _check_overflow(self) -> None:
        """Raise unless no sum of products can leave 32 bits."""
        terms = self.problem.macs // prod(self.problem.dims[d] for d in self.problem.output.dims)
        largest = []
        for operand in self.inputs:
            values = next(p.values for p in self.places if p.operand is operand)
            assert values is not None
            largest.append(max(-int(values.min()), int(values.max()), 0))
        if terms * prod(largest) >= 1 << 31:
            raise MappingError(
                f"{self.problem.name}: a sum must stay below 2**31: {terms:,} products of at most "
                f"{largest[0]} x {largest[1]} might not"
            )

    def fault(self, error: int) -> MappingError:
        """The error, with the indices of the loops."""
        if error == _NO_MEMORY:
            return MappingError(f"{self.problem.name}: not enough memory to execute the nest")
        place = self.places[self.walk.failed]
        where = self._where()
        if error != _FULL:
            return MappingError(
                f"{place.memory} drains a word of {place.operand.name} that no MAC has added to, {where}"
            )
        split = isinstance(self.capacities.get(place.memory), ReadMapping)
        usage = {
            p.operand.name: self.walk.level(i)[6] * p.operand.bits
            for i, p in enumerate(self.places)
            if p.memory == place.memory and (not split or p is place)
        }
        room = self._bits(place.memory, (place.operand.name,))
        return self._too_much(place.memory, room, usage, where)

    @staticmethod
    def _too_much(memory: str, room: int, usage: dict[str, int], where: str) -> MappingError:
        parts = " + ".join(f"{tensor} {bits:,} bits" for tensor, bits in usage.items() if bits)
        return MappingError(
            f"{memory} holds {room:,} bits; {parts} is {sum(usage.values()) - room:,} bits too much, {where}"
        )

    def _where(self) -> str:
        """Indices of the loops above the memory that failed."""
        above = self.places[self.walk.failed].above
        at = [f"'{loop}' at {i}" for loop, i in zip(self.loops[:above], self.walk.indices) if loop.spatial is None]
        return f"with {', '.join(at)}" if at else "at the start"

    def result(self) -> Execution:
        """Output and counts."""
        counts: dict[Count, int] = {}
        peak: dict[tuple[str, str], int] = {}
        for i, place in enumerate(self.places):
            fill, read, deliver, update, drain, reduce, _, most = self.walk.level(i)
            actions = {
                "fill": fill,
                "read": read,
                "deliver": deliver,
                "update": update,
                "drain": drain,
                "reduce": reduce,
            }
            name = place.operand.name
            counts |= {(place.memory, name, action): words for action, words in actions.items() if words}
            if place.parent >= 0:
                peak[place.memory, name] = most
        root = next(p for p in self.places if p.operand.output)
        assert root.values is not None
        output = root.values.reshape(root.shape)
        return Execution(output.view(np.int32), counts, self.walk.macs, self.walk.gated, peak)
