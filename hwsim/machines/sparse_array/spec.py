"""What a sparse-array file says: its PEs, who owns which part of a layer, when PEs meet, its memories."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from hwsim.errors import nearest
from hwsim.fields import Bandwidth, Name, Positive, Size, Spec
from hwsim.machines.precision import Precision
from hwsim.machines.spec import MachineSpec

__all__ = ["POINTER_BITS", "SparseArraySpec", "SparseMemorySpec", "SparsePesSpec"]

POINTER_BITS = 16
Held = Literal["ifmap", "weight", "ofmap", "psum", "pointer"]
Side = Annotated[int, Field(gt=0, le=64, strict=True)]
Lanes = Annotated[int, Field(gt=0, le=64, strict=True)]


class SparsePesSpec(Spec):
    """The processing elements and how work is dealt to them.

    `multipliers` are ``[F, I]``: a PE multiplies F weights by I values of the ifmap in a cycle, each by each.

    `deal` says who owns what. ``rows``: rows of the weights are dealt to PEs in turn, and each ifmap value that is not
    zero is broadcast; a PE works through its part of that value's column of weights, or needs `empty` cycles if there
    is none. ``plane``: each PE owns a part of the ifmap's plane, weights are broadcast, and as many filters make a
    group as `accumulators` and `most_filters` allow. ``grid``: channels and filters are dealt over the array in tiles
    that the memories of a PE hold, and each PE works through the windows of some output positions.

    `meet` says when PEs wait for each other: ``never`` (each has a `queue` of so many broadcast values), at the end of
    a ``group`` of filters, at each ``channel``, or at each ``window``. `index_bits` is the length of a run of zeros; a
    longer run is cut by a stored zero, the filler. `value_bits` is the size of a stored weight, if it is not that of
    the layer.
    """

    rows: Side
    cols: Side
    clock: Name = "core"
    multipliers: Annotated[list[Lanes], Field(min_length=2, max_length=2)] = [1, 1]
    deal: Literal["rows", "plane", "grid"]
    meet: Literal["never", "group", "channel", "window"]
    queue: Annotated[int, Field(gt=0, le=1024, strict=True)] = 8
    empty: Annotated[int, Field(ge=0, le=64, strict=True)] = 0
    index_bits: Annotated[int, Field(gt=0, le=16, strict=True)] = 4
    value_bits: Annotated[int, Field(gt=0, le=64, strict=True)] | None = None
    accumulators: Positive | None = None
    most_filters: Positive | None = None

    @model_validator(mode="after")
    def _consistent(self) -> SparsePesSpec:
        able = {"rows": ("never", "channel"), "plane": ("never", "group", "channel"), "grid": ("group", "window")}[
            self.deal
        ]
        if self.meet not in able:
            raise ValueError(f"meet must be {' or '.join(able)} where deal is {self.deal}, not {self.meet}")
        if self.deal == "rows" and self.multipliers[1] != 1:
            raise ValueError("multipliers must take one ifmap value a cycle, as [1, 1], where deal is rows")
        if self.deal == "plane" and self.accumulators is None:
            raise ValueError("accumulators must be given where deal is plane: they bound a group of filters")
        if self.deal != "plane" and (self.accumulators is not None or self.most_filters is not None):
            raise ValueError("accumulators and most_filters are of deal: plane")
        if self.deal != "rows" and self.empty:
            raise ValueError("empty is of deal: rows")
        return self

    @property
    def pes(self) -> int:
        """Processing elements."""
        return self.rows * self.cols

    @property
    def lanes(self) -> int:
        """Multipliers of a PE."""
        return self.multipliers[0] * self.multipliers[1]


class SparseMemorySpec(Spec):
    """A memory: what it holds, and its size (of each PE's own where `per` is pe).

    The outermost one may have no size; it then has a `bandwidth`. `ports` give words a cycle of one tensor.
    """

    holds: Annotated[list[Held], Field(min_length=1)]
    size: Size | None = None
    per: Literal["chip", "pe"] = "chip"
    bandwidth: Bandwidth | None = None
    clock: Name = "core"
    ports: dict[Held, Positive] = {}
    source: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> SparseMemorySpec:
        if self.size is None and self.bandwidth is None:
            raise ValueError("a memory must have a size, or a bandwidth if it is the outermost")
        if self.size is not None and self.size < 1:
            raise ValueError("size must be at least 1 B")
        for tensor in self.ports:
            if tensor not in self.holds:
                raise ValueError(f"ports names {tensor}, which this memory does not hold{nearest(tensor, self.holds)}")
        return self


class SparseArraySpec(MachineSpec):
    """An array that computes on compressed operands, in words of `word_bits`.

    `precision` is the number format that all layers run in; ``workload``: each in that of its tensors.
    """

    kind: Literal["sparse_array"]
    array: SparsePesSpec
    memories: Annotated[dict[Name, SparseMemorySpec], Field(min_length=1, max_length=8)]
    word_bits: Annotated[int, Field(gt=0, le=64, strict=True)]
    psum_bits: Annotated[int, Field(gt=0, le=64, strict=True)] = 32
    precision: Precision = "workload"

    @model_validator(mode="after")
    def _check_references(self) -> SparseArraySpec:
        clocks = {"array.clock": self.array.clock} | {f"memories.{n}.clock": m.clock for n, m in self.memories.items()}
        for key, clock in clocks.items():
            if clock not in self.clocks:
                raise ValueError(f"{key} names clock {clock!r}, which is not defined{nearest(clock, self.clocks)}")
        for name, memory in list(self.memories.items())[1:]:
            if memory.size is None:
                raise ValueError(f"memories.{name} must have a size: only the first may have none")
        for name, memory in self.memories.items():
            for tensor in memory.holds:
                number, bits = self._least(tensor)
                if memory.size is not None and memory.size * 8 < number * bits:
                    least = f"{number} of {bits} bits ({-(-number * bits // 8)} B)"
                    raise ValueError(f"memories.{name}.size must be room for {tensor}: at least {least}")
        held = {tensor for memory in self.memories.values() for tensor in memory.holds}
        if missing := [tensor for tensor in ("ifmap", "weight", "ofmap") if tensor not in held]:
            raise ValueError(f"memories must hold ifmap, weight and ofmap; none holds {missing[0]}")
        return self

    def _least(self, tensor: Held) -> tuple[int, int]:
        """Words of a tensor that a memory must hold for the multipliers to work at all, and the bits of one."""
        filters, values = self.array.multipliers
        return {
            "ifmap": (values, self.entry_bits if self.array.deal == "grid" else self.word_bits),
            "weight": (filters, self.weight_entry_bits),
            "ofmap": (1, self.word_bits),
            "psum": (self.array.accumulators or 1, self.psum_bits),
            "pointer": (2, POINTER_BITS),
        }[tensor]

    @property
    def outer(self) -> str | None:
        """The memory without a size; None where all is on the chip."""
        name, memory = next(iter(self.memories.items()))
        return name if memory.size is None else None

    @property
    def entry_bits(self) -> int:
        """Bits of a stored activation with the run before it."""
        return self.word_bits + self.array.index_bits

    @property
    def weight_entry_bits(self) -> int:
        """Bits of a stored weight with the run before it."""
        return (self.array.value_bits or self.word_bits) + self.array.index_bits

    def home(self, tensor: str) -> str | None:
        """The innermost memory that holds a tensor."""
        names = [name for name, memory in self.memories.items() if tensor in memory.holds]
        return names[-1] if names else None
