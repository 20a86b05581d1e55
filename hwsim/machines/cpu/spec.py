"""What a processor's file says: its cores, clocks, caches and memory, the library that it runs, and how it is used."""

from __future__ import annotations

from math import ceil
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from hwsim.energy.spec import EnergySpec
from hwsim.errors import nearest
from hwsim.fields import Bandwidth, Frequency, Length, Name, Positive, Power, Size, Spec, Time, current
from hwsim.machines.cpu.core import CpuCore, Dtype, core_document, core_named, load_core, rule, run_formats, sequence_of
from hwsim.machines.cpu.library import COSTS, SIGNS, Cost
from hwsim.machines.cpu.sustained import SustainedSpec, sustained_hz
from hwsim.machines.csr import CsrSpec
from hwsim.machines.spec import MachineSpec
from hwsim.units import Rate

__all__ = ["CpuSpec", "EfficientSpec", "CpuMemorySpec"]

Cores = Annotated[int, Field(gt=0, le=4096, strict=True)]
_MEMORIES = ("l1", "l2", "l3", "dram")


class CpuMemorySpec(Spec):
    """A cache or the main memory.

    `core` is what one core can get from it alone, `bandwidth` what all cores of a socket get together (of a private
    cache: its core). `cores` are those that share one of that `size`; default: all of the socket. `kept`, of L3:
    how long what nobody touches stays there in the mean, where others use it too; default: forever.
    """

    size: Size | None = None
    core: Bandwidth | None = None
    bandwidth: Bandwidth | None = None
    load: Bandwidth | None = None
    store: Bandwidth | None = None
    latency: Time | None = None
    kept: Time | None = None
    cores: Positive | None = None
    per: Literal["core", "socket"] = "socket"
    source: str | None = None
    fitted: str | None = None


class EfficientSpec(Spec):
    """Smaller cores beside the others: how many, and their clock over that of the others."""

    core: Name
    cores: Cores
    clock: Annotated[float, Field(gt=0, le=1)] = 0.75

    @model_validator(mode="after")
    def _known(self) -> EfficientSpec:
        load_core(self.core)
        return self


class CpuSpec(MachineSpec):
    """A processor: sockets of cores with caches, and the inference library that it runs.

    Attributes
    ----------
    core : str or mapping
        A microarchitecture by name, or one of one's own: ``{like: zen5, ports: ...}``.
    cores, sockets : int
        Cores of a socket, and sockets.
    threads : int or "all"
        Threads that share an inference; all: the cores of all sockets over the streams, at most those of a socket.
    streams : int or "all"
        Inferences side by side; all: one on every core of every socket.
    precision : str
        What all layers run in, or ``workload``: each in the number format of its tensors.
    instructions : dict
        The sequence to use for a number format, where the fastest that the core has is not wanted.
    rates : dict
        Measured MACs a cycle of one core by number format, instead of what the ports allow.
    csr : CsrSpec or None
        What fp32 weights in CSR format take; None: they are run dense.
    costs : dict
        Costs of the library that were measured here.
    """

    kind: Literal["cpu"]
    clocks: Annotated[dict[Name, Frequency], Field(max_length=16)] = {}
    core: Name | dict[str, Any]
    cores: Cores
    sockets: Annotated[int, Field(gt=0, le=64, strict=True)] = 1
    efficient: EfficientSpec | None = None
    clock: Name = "core"
    sustained_clock: SustainedSpec | None = None
    library: Annotated[str, Field(min_length=1, max_length=300)]
    threads: Positive | Literal["all"] = "all"
    streams: Positive | Literal["all"] = 1
    precision: Dtype | Literal["workload"] = "workload"
    instructions: dict[Dtype, Name] = {}
    rates: dict[Dtype, Annotated[float, Field(gt=0, le=1e6)]] = {}
    memories: dict[Literal["l1", "l2", "l3", "dram"], CpuMemorySpec]
    csr: CsrSpec | None = None
    costs: Annotated[
        dict[str, Cost | Annotated[dict[str, Cost], BeforeValidator(current)]], BeforeValidator(current)
    ] = {}
    node: Length | None = None
    tdp: Power | None = None
    idle: Power | None = None
    spread: dict[str, Annotated[float, Field(ge=0)]] = {}
    # Made of node, TDP and idle power, unless the file has prices of its own.
    energy: EnergySpec = EnergySpec(table="horowitz_45nm", prices={})

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, data: Any) -> Any:
        """Take from the core what the file leaves out, and the clock from the rule."""
        if not isinstance(data, dict):
            return data
        data = dict(data)
        try:
            defaults = core_document(data.get("core")).get("memories", {})
        except ValueError:
            return data  # told by the check of `core`
        memories = data.get("memories", {})
        if isinstance(memories, dict) and all(isinstance(level, dict) for level in memories.values()):
            merged = {name: defaults.get(name, {}) | memories.get(name, {}) for name in _MEMORIES}
            for name in ("l1", "l2"):
                merged[name].setdefault("per", "core")
            data["memories"] = merged | {name: level for name, level in memories.items() if name not in merged}
        return data

    @model_validator(mode="after")
    def _consistent(self) -> CpuSpec:
        core = self.own_core
        if not self.clocks and self.sustained_clock is None:
            raise ValueError("must have clocks, as {core: 2.4 GHz}, or a sustained_clock block")
        if self.clocks and self.clock not in self.clocks:
            raise ValueError(f"clock names {self.clock!r}, which is not defined{nearest(self.clock, self.clocks)}")
        for name, needed in (
            ("l1", "load"),
            ("l2", "bandwidth"),
            ("l2", "size"),
            ("l3", "size"),
            ("l3", "core"),
            ("dram", "bandwidth"),
        ):
            if getattr(self.memories[name], needed) is None:  # type: ignore[index]
                raise ValueError(f"memories.{name}.{needed} must be given")
        if (kept := self.memories["l3"].kept) is not None and not kept:
            raise ValueError("memories.l3.kept must be more than 0 s")
        for name, own in self.costs.items():
            if isinstance(own, dict) and name not in (formats := [*run_formats(), *SIGNS]):
                raise ValueError(f"costs names {name!r}, which is no number format{nearest(name, formats)}")
            for cost in own if isinstance(own, dict) else (name,):
                if cost not in COSTS:
                    raise ValueError(f"costs names {cost!r}, which is no cost{nearest(cost, COSTS)}")
        for dtype, name in self.instructions.items():
            dtype_of_sequence = sequence_of(name).dtype
            if dtype_of_sequence != dtype:
                raise ValueError(
                    f"instructions.{dtype} must be a sequence for {dtype}, {name} is for {dtype_of_sequence}"
                )
        for name in {*self.instructions.values(), *core.sequences}:
            core.cycles_of(name)
        if isinstance(self.streams, int) and self.streams > self.all_cores:
            raise ValueError(f"streams must be at most the {self.all_cores} cores, not {self.streams}")
        if isinstance(self.threads, int) and self.threads > self.cores * self.sockets:
            raise ValueError(f"threads must be at most the {self.cores * self.sockets} cores, not {self.threads}")
        if not self.clocks and self.sustained_clock is not None:
            self.clocks[self.clock] = self._sustained(self.sustained_clock, core)
        return self

    def _sustained(self, block: SustainedSpec, core: CpuCore) -> Any:
        """The clock with as many cores of a socket at work as this use of them has."""
        fma = core.best("fp32")
        width = float(core.rate(fma)) / 16 if fma else 1.0
        loaded: float = self.cores
        if self.streams != "all":
            loaded = min(self.cores, self.threads_of_stream * -(-self.streams // self.sockets))
        if self.streams == "all" and self.efficient is not None:
            loaded += rule().efficient * self.efficient.cores
        node = float(self.node) * 1e9 if self.node is not None else 14.0
        return sustained_hz(block, rule(), loaded, width, node)

    def costs_of(self, dtype: str) -> dict[str, float]:
        """Costs of the library that the file gives for a number format."""
        general = {name: cost for name, cost in self.costs.items() if not isinstance(cost, dict)}
        own = self.costs.get(dtype, {})
        return general | (own if isinstance(own, dict) else {})

    @property
    def costs_by_signs(self) -> dict[str, dict[str, float]]:
        """Costs of the library that the file gives for the signs of 8-bit operands."""
        return {name: own for name, own in self.costs.items() if name in SIGNS and isinstance(own, dict)}

    @property
    def own_core(self) -> CpuCore:
        """The microarchitecture."""
        return core_named(self.core)

    @property
    def all_cores(self) -> int:
        """Cores of all sockets."""
        return self.sockets * (self.cores + (self.efficient.cores if self.efficient else 0))

    @property
    def threads_of_stream(self) -> int:
        """Threads that share an inference."""
        if self.threads != "all":
            return self.threads
        if self.streams == "all":
            return 1
        return max(1, min(self.cores, self.cores * self.sockets // self.streams))

    @property
    def stream_count(self) -> float:
        """Concurrent inferences."""
        return float(self.all_cores if self.streams == "all" else self.streams)

    @property
    def used_cores(self) -> int:
        """Cores of all sockets that some stream runs on."""
        return min(self.all_cores, ceil(self.stream_count * self.threads_of_stream))

    @property
    def hz(self) -> float:
        """The clock of the cores in Hz."""
        return float(self.clock_hz(self.clock))

    @property
    def socket_cores(self) -> int:
        """Cores of a socket, of both kinds."""
        return self.all_cores // self.sockets

    @property
    def l3_cores(self) -> int:
        """Cores that share an L3."""
        return self.memories["l3"].cores or self.socket_cores

    @property
    def l3_bytes(self) -> float:
        """Bytes of all L3 of a socket."""
        return int(self.memories["l3"].size or 0) / self.l3_cores * self.socket_cores

    @property
    def dram_bandwidth(self) -> float | None:
        """DRAM bandwidth in bytes per second of the sockets that a stream runs on; None if unlimited."""
        rate = self.memories["dram"].bandwidth
        return None if rate is None else self.speed(rate) * -(-self.threads_of_stream // self.cores)

    def speed(self, rate: Rate) -> float:
        """Bytes per second."""
        return float(rate.bytes_per_second(self.clock_hz(self.clock), 8))
