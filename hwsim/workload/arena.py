"""The memory of activations as TensorFlow Lite Micro plans it: one arena, an offset in it for each buffer.

The greedy planner of TFLM (``greedy_memory_planner.cc``): what a compiler has planned keeps its place; then the largest
buffer first, of equal ones the last that was asked for, each in the first gap that is wide enough among those that live
at the same time. Sizes are rounded up to 16 bytes. Fragments make it more than the bytes that are ever alive at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from hwsim.errors import InputError, excerpt
from hwsim.workload.buffers import ArenaRequests, Buffer
from hwsim.workload.network import INPUT, Workload
from hwsim.workload.tflite import Model

__all__ = [
    "ALIGNMENT_BYTES",
    "Arena",
    "Block",
    "Buffer",
    "Scratch",
    "plan",
    "plan_model",
    "plan_requests",
    "plan_workload",
]

ALIGNMENT_BYTES = 16
MAX_BYTES = 2**62
_NEIGHBORS = 64
"""Buffers that live at once, on average, up to which lists of them are faster than arrays of all."""

#: Bytes that a layer's kernel wants for itself while it runs, in one buffer or several.
Scratch: TypeAlias = Mapping[str, int | Sequence[int]]


@dataclass(frozen=True, slots=True)
class Block:
    """A buffer in its place: a rectangle over the operators `first` to `last` and the bytes from `offset`."""

    name: str
    first: int
    last: int
    offset: int
    bytes: int
    scratch: bool = False

    @property
    def end(self) -> int:
        """The first byte after it."""
        return self.offset + self.bytes


@dataclass(frozen=True)
class Arena:
    """A plan: the blocks in the order of their buffers, and the names of the operators over which they live."""

    operators: tuple[str, ...]
    blocks: tuple[Block, ...]
    least_bytes: int = 0

    @cached_property
    def bytes(self) -> int:
        """The size that the arena must have, at least `least_bytes` for tensors that no operator holds."""
        return max([self.least_bytes, *(block.end for block in self.blocks)])

    @cached_property
    def live(self) -> tuple[int, ...]:
        """Bytes that are alive while each operator runs."""
        change = np.zeros(len(self.operators) + 1, np.int64)
        for block in self.blocks:
            change[block.first] += block.bytes
            change[block.last + 1] -= block.bytes
        return tuple(np.cumsum(change)[:-1].tolist())

    @cached_property
    def peak(self) -> str:
        """The operator at which the arena is full to its end; of several, the first with most bytes alive."""
        full = {op for block in self.blocks if block.end == self.bytes for op in range(block.first, block.last + 1)}
        return self.operators[max(sorted(full), key=lambda op: self.live[op])] if full else ""

    @property
    def wasted(self) -> int:
        """Bytes that are never alive at once: what fragments cost."""
        return self.bytes - max(self.live, default=0)

    def at(self, operator: str) -> tuple[Block, ...]:
        """What is alive while an operator runs, by offset."""
        if operator not in self.operators:
            raise InputError(f"must be an operator of the plan, not {excerpt(operator, 80)}")
        index = self.operators.index(operator)
        return tuple(sorted((b for b in self.blocks if b.first <= index <= b.last), key=lambda b: b.offset))

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain data, for a picture.

        ``bytes``, ``peak`` (the operator at which the arena is full), ``operators`` (in the order in which they run:
        ``name``, ``live_bytes``) and ``blocks`` (``name``, ``first`` and ``last`` operator by index, both counted in,
        ``offset``, ``bytes``, ``scratch``).
        """
        names = [field.name for field in fields(Block)]
        return {
            "bytes": self.bytes,
            "peak": self.peak,
            "operators": [{"name": name, "live_bytes": live} for name, live in zip(self.operators, self.live)],
            "blocks": [{name: getattr(block, name) for name in names} for block in self.blocks],
        }

    def to_text(self, rows: int = 16) -> str:
        """A picture: operators from left to right, the arena from bottom to top, a letter for each buffer."""
        letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
        step = max(-(-self.bytes // rows), 1)
        grid = [[" "] * len(self.operators) for _ in range(rows)]
        for index, block in enumerate(self.blocks):
            for row in range(block.offset // step, -(-block.end // step)):
                grid[row][block.first : block.last + 1] = letters[index % len(letters)] * (block.last - block.first + 1)
        lines = [f"{row * step:>9} |{''.join(cells)}|" for row, cells in reversed(list(enumerate(grid)))]
        return "\n".join([f"{self.bytes:>9} B, full at {self.peak}", *lines])


def plan(buffers: Iterable[Buffer], operators: Sequence[str]) -> Arena:
    """Place buffers as TFLM's greedy planner does.

    Parameters
    ----------
    buffers : iterable of Buffer
        In the order in which they are asked for: of equal ones, the last is placed first.
    operators : sequence of str
        Names of what runs, in order.
    """
    requests = list(buffers)
    if any(buffer.last >= len(operators) for buffer in requests):
        raise InputError(f"buffers must live within the {len(operators)} operators")
    sizes = [-(-buffer.bytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES for buffer in requests]
    if sum(sizes) + max((buffer.offset for buffer in requests if buffer.offset > 0), default=0) >= MAX_BYTES:
        raise InputError(f"buffers must have fewer than 2^62 bytes together, not {sum(sizes):.3g}")
    fixed = [index for index, buffer in enumerate(requests) if buffer.offset >= 0]
    free = [index for index in reversed(range(len(requests))) if requests[index].offset < 0]
    order = [*fixed, *sorted(free, key=lambda i: -sizes[i])]
    held = _held(requests)
    offsets = _placed_in_rows(requests, sizes, order) if held is None else _placed(requests, sizes, order, held)
    end = max((offset + size for offset, size in zip(offsets, sizes)), default=0)
    of_operators = (item for item in zip(requests, offsets, sizes) if item[0].last >= 0)
    blocks = (Block(b.name, max(b.first, 0), b.last, offset, size, b.scratch) for b, offset, size in of_operators)
    return Arena(tuple(operators), tuple(blocks), end)


def _held(requests: Sequence[Buffer]) -> dict[int, list[int]] | None:
    """Empty lists for what each operator holds, if few buffers live at once, as in a chain; else None."""
    most = _NEIGHBORS * len(requests)
    if any(b.first > b.last for b in requests) or sum(b.last - b.first + 1 for b in requests) > most:
        return None
    counts = Counter(op for b in requests for op in range(b.first, b.last + 1))
    return {op: [] for op in counts} if sum(n * n for n in counts.values()) <= most else None


def _placed(
    requests: Sequence[Buffer], sizes: Sequence[int], order: Sequence[int], held: dict[int, list[int]]
) -> list[int]:
    """Offsets, by a list of what each operator holds."""
    offsets = [max(buffer.offset, 0) for buffer in requests]
    for index in order:
        buffer = requests[index]
        lists = [held[op] for op in range(buffer.first, buffer.last + 1)]
        if buffer.offset < 0:
            floor = 0
            for other in sorted({other for some in lists for other in some}, key=offsets.__getitem__):
                if offsets[other] - floor >= sizes[index]:
                    break
                floor = max(floor, offsets[other] + sizes[other])
            offsets[index] = floor
        for some in lists:
            some.append(index)
    return offsets


def _placed_in_rows(requests: Sequence[Buffer], sizes: Sequence[int], order: Sequence[int]) -> list[int]:
    """Offsets, by arrays of all buffers, for networks in which many live at once."""
    # Those that have their place, in ascending order of offset: offset, end, first, last.
    grid = np.zeros((4, len(requests)), np.int64)
    offsets = [max(buffer.offset, 0) for buffer in requests]
    for count, index in enumerate(order):
        buffer, size = requests[index], sizes[index]
        starts, ends, firsts, lasts = grid[:, :count]
        if buffer.offset < 0:
            alive = np.flatnonzero((firsts <= buffer.last) & (lasts >= buffer.first))
            # Before each neighbor there is a gap from the highest end so far; after the last there is no limit.
            floor = np.maximum.accumulate(np.concatenate([[0], ends[alive]]))
            gaps = np.flatnonzero(starts[alive] - floor[:-1] >= size)
            offsets[index] = int(floor[gaps[0]] if gaps.size else floor[-1])
        offset = offsets[index]
        at = int(np.searchsorted(starts, offset, side="right"))
        grid[:, at + 1 : count + 1] = grid[:, at:count].copy()
        grid[:, at] = offset, offset + size, buffer.first, buffer.last
    return offsets


def plan_workload(workload: Workload, scratch: Scratch | None = None, batch: int = 1, kernels: str = "") -> Arena:
    """The arena of a network's activations, with the scratch buffers that its layers' kernels want.

    Parameters
    ----------
    workload : Workload
    scratch : mapping, optional
        Bytes that kernels want, by the name of the layer.
    batch : int
    kernels : str
        Of a model file that says what it asks of the arena: the kernels whose working memory is taken for `scratch`.

    A tensor lives from the layer that writes it (the input of the network: from the start) to the last that reads it,
    an output of the network to the end. In a plain trace each layer has its own input and output alone.
    """
    if workload.requests is not None and batch == 1:
        return plan_requests(workload.requests, kernels, scratch)
    names = [layer.name for layer in workload]
    place = {name: index for index, name in enumerate(names)}
    if workload.graph:
        buffers = [Buffer(name, *span) for name, span in workload.spans(batch).items()]
    else:
        buffers = [
            Buffer(name if name != INPUT else f"{INPUT} of {moment.layer}", size, index, index)
            for index, moment in enumerate(workload.liveness(batch))
            for name, size in moment.tensors
        ]
    return plan([*buffers, *_scratch(scratch or {}, place)], names)


def plan_requests(requests: ArenaRequests, kernels: str = "reference", scratch: Scratch | None = None) -> Arena:
    """The arena that a model file asks for, with the working memory of its kernels, or with `scratch`."""
    place = {name: index for index, name in enumerate(requests.operators)}
    if scratch is None or kernels in requests.scratch:
        extra = list(requests.scratch[kernels or "reference"])
    else:
        extra = _scratch({name: size for name, size in scratch.items() if name in place}, place)
    return plan([*requests.tensors, *extra], requests.operators)


def plan_model(model: Model, kernels: str = "reference") -> Arena:
    """The arena of a TFLite file, tensor by tensor in the file's order, as the interpreter itself plans it.

    Constants stay in flash, and variables have memory of their own.
    """
    return plan_requests(model.requests, kernels)


def _scratch(scratch: Scratch, place: Mapping[str, int]) -> list[Buffer]:
    result = []
    for name, amount in scratch.items():
        if name not in place:
            raise InputError(f"scratch must be of a layer of the network, not of {excerpt(name, 80)}")
        sizes = (amount,) if isinstance(amount, int) else amount
        result += [Buffer(f"{name} scratch", size, place[name], place[name], True) for size in sizes if size]
    return result
