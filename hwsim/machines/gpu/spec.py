"""What a GPU's file says: the numbers of its data sheet, and which generation, library and harness it is used with."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from hwsim.energy.spec import EnergySpec, PriceSpec
from hwsim.errors import nearest
from hwsim.fields import Bandwidth, Name, Positive, Power, Size, Spec, Time
from hwsim.machines.csr import CsrSpec
from hwsim.machines.gpu.collective import LinkSpec
from hwsim.machines.gpu.parts import Constants, check_types, value_types
from hwsim.machines.spec import MachineSpec

__all__ = ["GpuSpec"]

CONSTANTS = [name for name in Constants.model_fields if name not in ("source", "fitted")]


class SmSpec(Spec):
    """A multiprocessor: MACs a cycle of each type (dense), registers, the L1 and what of it can be shared memory.

    `sparse: dual` are tensor cores that skip the zeros of both operands (`hwsim.machines.gpu.dual`).
    """

    sparse: Literal["dual"] | None = None
    macs: Annotated[dict[str, Positive], Field(min_length=1)]
    registers: Size
    l1: Size
    shared: Size

    @model_validator(mode="after")
    def _check_names(self) -> SmSpec:
        check_types("macs", self.macs)
        return self


class GpuMemorySpec(Spec):
    """L2 or DRAM: size and bandwidth; how many partitions have a copy of their own."""

    size: Size
    bandwidth: Bandwidth | None = None
    partitions: Positive = 1
    per: Literal["chip"] = "chip"
    source: str


class GpuPowerSpec(Spec):
    """What the board may draw, what it draws doing nothing, and how long the clock takes to follow.

    `reaction` is the length of a run at which half of the power cap applies; 0: it applies from the start.
    """

    board: Power
    idle: Power
    reaction: Time
    source: str


class GpuSpec(MachineSpec):
    """A GPU.

    `generation`, `library` and `harness` are names or paths; `launch` replaces the floor of the harness, `constants`
    those of a unit in the generation (as a calibration fits them; `spread` says how far its numbers scatter);
    `precision` is the type that every layer runs in (``workload``: each its own); `weights` says how the weights of a
    product lie in memory: by ``columns`` (n values for each of the inner dimension) or by ``rows`` (k values for each
    output). `streams` is how many inferences run in parallel, each on a stream of its own: a GPU keeps 128 kernels at
    a time at most (CUDA programming guide, resident grids of a device). `csr` is what fp32 weights in CSR format take.
    `links` are those to other GPUs of the same kind.
    """

    kind: Literal["gpu"]
    generation: Annotated[str, Field(min_length=1, max_length=300)]
    clock: Name = "sm"
    sms: Positive
    sm: SmSpec
    memories: dict[Literal["l2", "dram"], GpuMemorySpec]
    power: GpuPowerSpec
    prices: dict[str, PriceSpec] = {}
    library: Annotated[str, Field(min_length=1, max_length=300)] = "tensorrt"
    harness: Annotated[str, Field(min_length=1, max_length=300)] = "graph"
    launch: Time | None = None
    constants: dict[Literal["cuda", "dp4a", "tensor"], dict[str, float]] = {}
    spread: dict[str, float] = {}
    csr: CsrSpec | None = None
    links: LinkSpec | None = None
    precision: str = "workload"
    weights: Literal["columns", "rows"] = "columns"
    streams: Annotated[int, Field(ge=1, le=128)] = 1
    # Prices are those of the generation, with `prices` of the file over them.
    energy: EnergySpec = EnergySpec(table="horowitz_45nm", prices={})

    @model_validator(mode="after")
    def _check_references(self) -> GpuSpec:
        if self.clock not in self.clocks:
            raise ValueError(f"clock names {self.clock!r}, which is not defined{nearest(self.clock, self.clocks)}")
        if "energy" in self.model_fields_set:
            raise ValueError("a GPU has the prices of its generation: give prices, not energy")
        missing = [name for name in ("l2", "dram") if name not in self.memories]
        if missing:
            raise ValueError(f"memories must have l2 and dram; missing: {', '.join(missing)}")
        if self.memories["dram"].bandwidth is None or self.memories["dram"].bandwidth.per != "s":
            raise ValueError("dram must have a bandwidth in bytes a second")
        if self.precision not in (valid := ["workload", *value_types()]):
            raise ValueError(f"precision must be a type, not {self.precision!r}{nearest(self.precision, valid)}")
        for unit, values in self.constants.items():
            for name in values:
                if name not in CONSTANTS:
                    raise ValueError(f"constants.{unit} names {name!r}, which is none{nearest(name, CONSTANTS)}")
        if self.power.idle >= self.power.board:
            raise ValueError("the idle power must be less than the board's")
        return self
