"""How one layer runs on one machine: the algorithm, its loop nest, exact counts, and the stages that take time."""

from __future__ import annotations

from collections.abc import Mapping as Mapping_
from dataclasses import dataclass, field, replace
from typing import Self

from hwsim.engine.program import Program
from hwsim.mapping import Mapping, Policy, Problem
from hwsim.message import Message
from hwsim.workload import Layer

__all__ = ["Action", "Constant", "LayerPlan", "Part", "Traffic"]

Action = tuple[str, str, str]
"""(component, tensor or "", action) of a count."""

Part = tuple[Problem, Mapping, Policy]
"""A nest that runs a part of a layer."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes of a layer at one memory, and the peak bandwidth of that memory."""

    memory: str
    bytes: int
    bytes_per_s: float


@dataclass(frozen=True, slots=True)
class Constant:
    """A number that a run used and that stands in no machine file: its value with the unit, and where it is from."""

    name: str
    value: str
    source: str
    fitted: str | None = None


@dataclass(frozen=True, eq=False, repr=False)
class LayerPlan:
    """A layer planned for a machine.

    Attributes
    ----------
    counts : dict
        Exact number of each (component, tensor, action); words, operations or transfers, as the price says.
    macs, macs_live, macs_executed : int
        What the shape says; what is left after dead channels; what the machine runs (a gated zero is executed).
    compute_cycles : int
        Cycles of the core clock that the array computes for, stalls left out.
    peak_macs_per_cycle : int
        MACs the whole machine can do in a cycle of the core clock: utilization is measured against it.
    word_bits : dict
        Bits of a word of each tensor, which the prices of its accesses are carried to; "component.tensor" has those of
        a component that stores it in another format.
    bounds : dict
        The words a user reads for what a stage of the program waits on: stage name -> bound.
    cycles : dict
        Cycles of the core clock by unit, in columns ``<unit>_cycles`` of the report.
    columns : dict
        Columns of the machine's own in the report, with their unit in the name.
    parts : tuple of Part
        The nests that are counted, one after the other along the rows of the output; see `nests`.
    why : tuple of Message
        What the planner weighed, for `hwsim explain`.
    streams : float
        Concurrent inferences, of which this is one; not whole where some run on slower cores.
        The layer's time over it is its part of the interval in which an inference is finished: where streams are in
        different layers at a time, it differs between layers, and only that of the network is how many there are.
    limits : dict
        Seconds that each bound alone would take, where they act at the same time and stages do not tell them apart.
    static_parts : dict
        Weights by bound of the parts that static power is split into; empty: it is not split.
    compute_bounds : tuple of str
        Bounds that are the computation itself.
    on_chip_energy : float
        Share of its price that an action on the chip takes, where a power cap lowers the supply voltage.
    time_column : str
        Column with the time over which power is averaged and which measurements are of.
    """

    layer: Layer
    batch: int
    algorithm: str
    program: Program
    counts: dict[Action, int]
    macs: int
    macs_live: int
    macs_executed: int
    compute_cycles: int
    peak_macs_per_cycle: int
    dram_bytes: int
    bounds: dict[str, str]
    word_bits: Mapping_[str, float] = field(default_factory=dict)
    problem: Problem | None = None
    mapping: Mapping | None = None
    parts: tuple[Part, ...] = ()
    cycles: dict[str, int] = field(default_factory=dict)
    columns: dict[str, float | int | str] = field(default_factory=dict)
    why: tuple[Message, ...] = ()
    streams: float = 1.0
    limits: dict[str, float] = field(default_factory=dict)
    static_parts: Mapping_[str, float] = field(default_factory=dict)
    compute_bounds: tuple[str, ...] = ("compute",)
    on_chip_energy: float = 1.0
    time_column: str = "latency_s"

    @property
    def nests(self) -> tuple[Part, ...]:
        """What is counted: the parts, or the one nest with the usual policy; none for a layer without MACs."""
        if self.parts or self.problem is None or self.mapping is None:
            return self.parts
        return ((self.problem, self.mapping, Policy()),)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.layer.name}, batch {self.batch}: {self.algorithm}, {self.macs:,} MACs>"

    @property
    def all_columns(self) -> dict[str, float | int | str]:
        """Columns of the machine's own in the report, cycles of its units first."""
        return {f"{unit}_cycles": n for unit, n in self.cycles.items()} | self.columns

    def named(self, name: str) -> Self:
        """The plan of the layer of that name, which is like this one's in all but the name."""
        return self if self.layer.name == name else replace(self, layer=self.layer.named(name))

    def bound(self, busy: Mapping_[str, float]) -> str:
        """What holds the layer back: the bound of the stages that were busiest together."""
        totals: dict[str, float] = {}
        for stage, ticks in busy.items():
            word = self.bounds.get(stage, stage)
            totals[word] = totals.get(word, 0) + ticks
        if not any(totals.values()):
            return self.bounds.get("", "nothing")
        return max(totals, key=lambda word: (totals[word], word in self.compute_bounds))
