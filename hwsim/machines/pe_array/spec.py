"""What a PE-array file says: the array, its memories from the outermost in, its dataflow and its mapper."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Literal

from pydantic import Field, model_validator

from hwsim.algorithms.choice import WINOGRAD, WinogradName
from hwsim.errors import nearest
from hwsim.fields import Bandwidth, Name, OneOf, Positive, Share, Size, Spec, Time
from hwsim.machines.precision import Precision
from hwsim.machines.spec import MachineSpec
from hwsim.mapping import DATAFLOWS, Dataflow, Fold
from hwsim.units import Rate

__all__ = ["TENSORS", "ArraySpec", "MapperSpec", "MemorySpec", "PeArraySpec", "PostSpec", "TransformSpec"]

Tensor = Literal["ifmap", "weight", "ofmap"]
TENSORS: tuple[Tensor, ...] = ("ifmap", "weight", "ofmap")
StoredFormat = Literal["rlc", "csr", "csc", "bitmask", "2:4", "codebook"]
Side = Annotated[int, Field(gt=0, le=65536, strict=True)]


class ArraySpec(Spec):
    """The array of processing elements.

    `wiring` says how words reach the PEs: over a multicast network (`noc`), from neighbor to neighbor with a skew
    (`systolic`), or by broadcast into adder trees (`broadcast`: rows are output channels, columns input channels).
    A systolic array with `fifo_tiles` streams its weights: the next tiles are fetched and shifted in behind the
    current one. Arrays that gate or skip zeros look at `zero_operands` of a MAC.
    """

    rows: Side
    cols: Side
    clock: Name = "core"
    wiring: Literal["noc", "systolic", "broadcast"]
    zeros: Literal["compute", "gate", "skip"] = "compute"
    zero_operands: Literal["ifmap", "weight", "both"] = "ifmap"
    fifo_tiles: Annotated[int, Field(ge=0, le=64)] = 0


class MemorySpec(Spec):
    """A memory level: what it holds, its size, and how fast it is read and written.

    `size` is shared by the tensors, or `split` gives each its own; neither means unbounded. `bank` hands memory out in
    whole banks; `atom` is what the channels of one position are padded to. `bandwidth` is of the whole memory, `ports`
    of one tensor (``ofmap`` in and out each). `compress` names tensors that the chip codes on their way into it,
    `formats` the storage formats of the network that it takes for a tensor.
    """

    holds: Annotated[list[Tensor], Field(min_length=1)]
    size: Size | None = None
    size_of: Literal["memory", "pe"] = "memory"
    split: dict[Tensor, Size] = {}
    bank: Size | None = None
    atom: Size | None = None
    per: Literal["chip", "pe"] = "chip"
    double_buffered: bool = True
    bandwidth: Bandwidth | None = None
    ports: dict[Tensor, Bandwidth] = {}
    clock: Name = "core"
    efficiency: Annotated[float, Field(ge=1e-6, le=1)] = 1.0
    compress: dict[Tensor, Literal["rlc", "bitmask", "csr", "csc"]] = {}
    formats: dict[Tensor, Annotated[list[StoredFormat], Field(min_length=1)]] = {}
    source: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> MemorySpec:
        for key in ("split", "ports", "compress", "formats"):
            for tensor in getattr(self, key):
                if tensor not in self.holds:
                    raise ValueError(
                        f"{key} names {tensor}, which this memory does not hold{nearest(tensor, self.holds)}"
                    )
        if both := [tensor for tensor in self.compress if tensor in self.formats]:
            raise ValueError(f"{both[0]} is coded by compress: it cannot have formats too")
        sizes = {"size": self.size, "bank": self.bank, "atom": self.atom}
        sizes |= {f"split.{tensor}": size for tensor, size in self.split.items()}
        if small := [key for key, size in sizes.items() if size is not None and size < 1]:
            raise ValueError(f"{small[0]} must be at least 1 B")
        if self.split and self.size is not None:
            raise ValueError("give size (shared) or split (a part for each tensor), not both")
        if self.split and set(self.split) != set(self.holds):
            raise ValueError(f"split must give a size for each of {', '.join(self.holds)}")
        return self

    def capacity_bytes(self, tensor: str) -> int | None:
        """Bytes that one tensor may take at most, or None where unbounded."""
        if self.split:
            return int(self.split[tensor])  # type: ignore[index]
        return None if self.size is None else int(self.size)


class MapperSpec(Spec):
    """How mappings are chosen, and the limits of the control logic that no memory explains.

    `halo` says whether rows that neighboring tiles share are fetched again; `row_words` bounds the words of one
    ifmap row (all channels of a pass) in the buffer; `min_occupation` is the least share of the most PEs that can be
    active; `margin` is how far latency and energy may be above the least, as a share; `pass_cycles` is what a pass
    costs to set up.

    `rules` names a publication that is followed. `jssc17`: row stationary runs the passes of the Eyeriss chip, with
    `row_words`, `min_occupation` and `margin` (of objective dram) and `pass_cycles`; objective dram always runs passes.
    `isca16`: the templates of a comparison of dataflows and its conventions of counting, with its `variant` of output
    stationary: A (many pixels of a channel), B (several of both) or C (many channels of a pixel).
    `rf_area` is the area of a byte inside a PE over one of the shared buffer: at equal area, the buffer grows by the
    register file that a dataflow does not need.
    """

    objective: Literal["latency", "energy", "edp", "dram"] = "energy"
    halo: Literal["slide", "refill"] = "slide"
    row_words: Positive | None = None
    min_occupation: Share = 0.0
    margin: Share | None = None
    pass_cycles: Annotated[int, Field(ge=0, le=10**6)] = 0
    rules: Literal["isca16", "jssc17"] | None = None
    variant: Literal["A", "B", "C"] = "B"
    rf_area: Annotated[float, Field(ge=0, le=100)] | None = None

    @model_validator(mode="after")
    def _check_rules(self) -> MapperSpec:
        if self.rules == "isca16" and self.objective != "energy":
            raise ValueError(f"rules {self.rules} minimize energy; objective must be energy, not {self.objective}")
        if self.rules != "isca16" and self.rf_area is not None:
            raise ValueError("rf_area is part of rules: isca16")
        return self


class PostSpec(Spec):
    """The unit behind the array (activation, pooling, addition): outputs a cycle, for layers without MACs too.

    `eltwise` is its rate of additions, `pool` of values read by a pool. A `fused` unit adds in the pass of the layer
    before: what an addition costs is then the slower rate and the other operand.
    """

    clock: Name = "core"
    outputs: Positive
    eltwise: Positive | None = None
    pool: Positive | None = None
    fused: bool = False
    source: str


class TransformSpec(Spec):
    """Units beside the array that transform tiles of Winograd's algorithms, `algorithms` of them.

    `adders` sums a cycle of the unit before the array, `inverse` of that behind it. Weights lie transformed in DRAM
    (`offline`) or are transformed as they come (`online`). Of integers, transformed values keep all bits (`exact`), in
    wider words, or are `rounded` to as many bits as they had.
    """

    adders: Positive
    inverse: Positive
    clock: Name = "core"
    algorithms: Annotated[list[WinogradName], Field(min_length=1)] = list(WINOGRAD)
    weights: Literal["offline", "online"] = "offline"
    operands: Literal["exact", "rounded"] = "exact"
    source: str


class PeArraySpec(MachineSpec):
    """A PE array.

    `mappings` gives layers their mapping by hand, by name or pattern: a loop nest, a line a node, or for the passes of
    a row-stationary chip its parameters, as ``n=4 m=64 e=13 p=16 q=4 r=1 t=4``.

    `precision` is the number format that all layers run in; ``workload``: each in that of its tensors.

    `transform` has the units that Winograd's algorithms need; without them every convolution is direct.

    `host` is a machine of kind mcu or cpu, by name or file, that runs layers without MACs where there is no `post`.
    """

    kind: Literal["pe_array"]
    array: ArraySpec
    memories: Annotated[dict[Name, MemorySpec], Field(min_length=1, max_length=8)]
    dataflow: Annotated[str, OneOf(DATAFLOWS)]
    mapper: MapperSpec = MapperSpec()
    mappings: Annotated[dict[str, str | list[str]], Field(max_length=20000)] = {}
    precision: Precision = "workload"
    word_bits: Annotated[int, Field(gt=0, le=64)] | None = None
    accumulator_bits: Annotated[int, Field(gt=0, le=64)] | None = None
    post: PostSpec | None = None
    transform: TransformSpec | None = None
    host: Annotated[str, Field(min_length=1, max_length=300)] | None = None
    setup: Time | None = None

    @model_validator(mode="after")
    def _check_references(self) -> PeArraySpec:
        clocks = {"array.clock": self.array.clock} | {f"memories.{n}.clock": m.clock for n, m in self.memories.items()}
        if self.post is not None:
            clocks["post.clock"] = self.post.clock
        if self.transform is not None:
            clocks["transform.clock"] = self.transform.clock
        for key, clock in clocks.items():
            if clock not in self.clocks:
                raise ValueError(f"{key} names clock {clock!r}, which is not defined{nearest(clock, self.clocks)}")
        name, outer = next(iter(self.memories.items()))
        if set(outer.holds) != set(TENSORS) or outer.size is not None or outer.split:
            raise ValueError(f"memories must begin with one that holds all three tensors and has no size, not {name!r}")
        if outer.bandwidth is None:
            raise ValueError(f"memories.{name}.bandwidth must be given: it is the outermost memory")
        for name, memory in self.memories.items():
            if memory.size_of == "pe" and memory.size is not None:
                size = memory.size * self.array.rows * self.array.cols
                self.memories[name] = memory.model_copy(update={"size": size, "size_of": "memory"})
        return self

    @property
    def flow(self) -> Dataflow:
        """The declaration of its dataflow."""
        return DATAFLOWS[self.dataflow]

    @property
    def fold(self) -> Fold:
        """How the systolic array folds a GEMM."""
        assert self.flow.fold is not None  # checked by the machine
        return self.flow.fold

    @property
    def dram(self) -> str:
        """Name of the outermost memory."""
        return next(iter(self.memories))

    def bytes_per_second(self, rate: Rate, memory: MemorySpec, word_bits: int) -> Fraction:
        """A rate of a memory in bytes a second."""
        return rate.bytes_per_second(self.clock_hz(memory.clock), word_bits)
