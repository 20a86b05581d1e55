"""Result of a simulation: layers, actions, timeline and totals, as data."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hwsim.engine import Timeline
from hwsim.lazy import lazy
from hwsim.machines import Machine, NetworkPlan
from hwsim.machines.memory import MemoryUse
from hwsim.machines.plan import Action, LayerPlan
from hwsim.machines.properties import Unused, unused
from hwsim.machines.uncertainty import ExpectedError, Quantity, expected_error
from hwsim.message import Message, merged, sentence
from hwsim.report.unused import unused_messages
from hwsim.units import format_si
from hwsim.workload import Workload
from hwsim.workload.arena import Arena

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = lazy("pandas")

__all__ = ["LayerResult", "RunResult", "Summary"]


@dataclass(frozen=True, slots=True)
class LayerResult:
    """One layer as simulated: its plan, its time, and the energy of each of its actions."""

    name: str
    op: str
    plan: LayerPlan
    timeline: Timeline
    cycles: int
    latency_s: float
    bound: str
    energy: dict[Action, float]
    static_pj: float
    dram_pj: float
    columns: dict[str, float | int | str]

    @property
    def static_w(self) -> float:
        """Power drawn all the time."""
        return self.static_pj * self.plan.streams / 1e12 / self.latency_s if self.latency_s else 0.0

    @property
    def energy_pj(self) -> float:
        """All energy of the layer in pJ: counts times prices, plus static power times time."""
        return math.fsum(self.energy.values()) + self.static_pj

    @property
    def utilization(self) -> float:
        """Executed MACs over what the machine could have done in the layer's cycles, of all streams together."""
        macs = self.plan.macs_executed * self.plan.streams
        return macs / (self.plan.peak_macs_per_cycle * self.cycles) if self.cycles else 0.0

    def row(self) -> dict[str, Any]:
        """The layer as one row: the columns of `Report.layers`."""
        window = float(self.columns.get(self.plan.time_column) or self.latency_s)
        dynamic_pj = math.fsum(self.energy.values()) - self.dram_pj
        return {
            "layer": self.name,
            "op": self.op,
            "macs": self.plan.macs,
            "macs_live": self.plan.macs_live,
            "macs_executed": self.plan.macs_executed,
            "cycles": self.cycles,
            "latency_s": self.latency_s,
            "energy_pj": self.energy_pj,
            "power_w": self.static_w + dynamic_pj * self.plan.streams / 1e12 / window if window else 0.0,
            "utilization": self.utilization,
            "bound": self.bound,
            "dram_bytes": self.plan.dram_bytes,
            **self.columns,
        }


@dataclass(frozen=True, slots=True)
class Summary:
    """Totals of a run; `power_w` is the chip's (without off-chip memory) over the run.

    `latency_s` is that of one batch, `interval_s` the time in which one is finished: shorter where `streams` of them
    are concurrent. `energy_scope` names the parts that the energy is of, `energy_basis` what it rests on
    (`EnergyBasis`); both are ``unknown`` where the energy is.

    68 of 100 measurements of the latency are expected to be within `error_expected` (the larger over the smaller, less
    one), 95 within `error_expected_95`; `energy_error_expected` likewise. `RunResult.expected_error` says why.

    `missing_operators` and `missing_bytes` are the shares of the model file's operators and stored bytes that are in no
    layer.
    """

    machine: str
    workload: str
    batch: int
    layers: int
    latency_s: float
    energy_pj: float
    macs: int
    macs_live: int
    macs_executed: int
    cycles: int
    power_w: float
    utilization: float
    dram_bytes: int
    peak_memory_bytes: int
    memory_bytes: int | None
    fits: bool
    margin_bytes: int | None
    events: int
    interval_s: float
    library_name: str | None
    energy_scope: str
    energy_basis: str
    error_expected: float
    error_expected_95: float
    energy_error_expected: float
    energy_error_expected_95: float
    missing_operators: float
    missing_bytes: float

    @property
    def streams(self) -> float:
        """Concurrent batches."""
        return self.latency_s / self.interval_s if self.interval_s else 1.0

    @property
    def inferences_per_s(self) -> float:
        """Inputs finished a second."""
        return self.batch / self.interval_s if self.interval_s else 0.0

    @property
    def energy_per_inference_pj(self) -> float:
        """Energy of one input of the batch, off-chip memory included."""
        return self.energy_pj / self.batch

    @property
    def tops(self) -> float:
        """Operations a second in units of 1e12; a MAC is two operations."""
        return 2 * self.macs / self.interval_s / 1e12 if self.interval_s else 0.0

    @property
    def tops_per_w(self) -> float:
        """Operations per joule in units of 1e12, off-chip memory included."""
        return 2 * self.macs / self.energy_pj if self.energy_pj else 0.0

    def keys(self) -> tuple[str, ...]:
        """Names of all totals: ``dict(summary)`` has them."""
        stored = (item.name for item in fields(self))
        return (*stored, *(name for name, value in vars(type(self)).items() if isinstance(value, property)))

    def __getitem__(self, name: str) -> Any:
        if name not in self.keys():
            raise KeyError(name)
        return getattr(self, name)


@dataclass(frozen=True, repr=False)
class RunResult:
    """Result of the layers of `plan`, or of those that are selected in it."""

    plan: NetworkPlan
    results: tuple[LayerResult, ...]
    peak_memory_bytes: int
    remarks: tuple[Message, ...] = field(default=())
    memories: tuple[MemoryUse, ...] = field(default=())

    def __repr__(self) -> str:
        s, plan = self.summary, self.plan
        part = "" if plan.whole else f"{len(plan)} of "
        return (
            f"<{type(self).__name__} {s.workload} on {s.machine}, batch {s.batch}: {part}{len(plan.workload)} layers, "
            f"{format_si(s.latency_s, 's')}, {format_si(s.energy_pj * 1e-12, 'J')}>"
        )

    @property
    def machine(self) -> Machine:
        """The machine."""
        return self.plan.machine

    @property
    def workload(self) -> Workload:
        """The whole network."""
        return self.plan.workload

    @property
    def batch(self) -> int:
        """Batch size."""
        return self.plan.batch

    @cached_property
    def unused(self) -> tuple[Unused, ...]:
        """What the network and the user ask for and the machine does not do, by layer and property."""
        return unused(self.plan)

    @cached_property
    def messages(self) -> tuple[Message, ...]:
        """What a user should know: the machine's remarks, what has no effect, and whether the network fits."""
        fit = (use.message() for use in self.memories)
        return merged((*self.remarks, *unused_messages(self.unused, self.plan), *fit))

    @property
    def notes(self) -> tuple[str, ...]:
        """The messages as text."""
        return tuple(sentence(message, len(self.results)) for message in self.messages)

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """One dict a layer, in the order they run."""
        if (missing := self.workload.missing) is None:
            return [result.row() for result in self.results]
        shares = {"missing_operators": missing.operator_share, "missing_bytes": missing.byte_share}
        return [result.row() | shares for result in self.results]

    @cached_property
    def layers(self) -> pd.DataFrame:
        """One row a layer."""
        return pd.DataFrame(self.rows)

    @cached_property
    def actions(self) -> pd.DataFrame:
        """Every count and what it cost: layer, component, tensor, action, count, energy_pj (tidy)."""
        columns = ["layer", "component", "tensor", "action", "count", "energy_pj"]
        return pd.DataFrame(self.action_rows(), columns=columns)

    def action_rows(self) -> list[tuple[str, str, str, str, int, float]]:
        """The rows of `actions`; static power is the action ``static.leak`` and counts core cycles."""
        rows = []
        for result in self.results:
            for (component, tensor, action), count in result.plan.counts.items():
                energy = result.energy.get((component, tensor, action), 0.0)
                rows.append((result.name, component, tensor, action, count, energy))
            if result.static_pj:
                rows.append((result.name, "static", "", "leak", result.cycles, result.static_pj))
        return rows

    @cached_property
    def timeline(self) -> Timeline:
        """Intervals of each resource, the layers one after the other."""
        from hwsim.engine import concatenate

        return concatenate([(r.name, r.timeline) for r in self.results], self.machine.timebase)

    @cached_property
    def summary(self) -> Summary:
        """Totals."""
        results = self.results
        latency = math.fsum(r.latency_s for r in results)
        energy = math.fsum(r.energy_pj for r in results)
        chip = energy - math.fsum(r.dram_pj for r in results)
        macs, cycles = sum(r.plan.macs for r in results), sum(r.cycles for r in results)
        executed = sum(r.plan.macs_executed for r in results)
        interval = math.fsum(r.latency_s / r.plan.streams for r in results)
        busy = math.fsum(r.cycles / r.plan.streams for r in results)
        peak = max((r.plan.peak_macs_per_cycle for r in results), default=1)
        limit, origin = self.machine.memory_bytes(), self.machine.energy_origin
        errors, missing = self.expected_error, self.workload.missing
        return Summary(
            machine=self.machine.name,
            workload=self.workload.name,
            batch=self.batch,
            layers=len(results),
            latency_s=latency,
            energy_pj=energy,
            macs=macs,
            macs_live=sum(r.plan.macs_live for r in results),
            macs_executed=executed,
            cycles=cycles,
            power_w=chip / 1e12 / interval if interval else 0.0,
            utilization=executed / (peak * busy) if busy else 0.0,
            dram_bytes=sum(r.plan.dram_bytes for r in results),
            peak_memory_bytes=self.peak_memory_bytes,
            memory_bytes=limit,
            fits=all(use.fits for use in self.memories) and (limit is None or self.peak_memory_bytes <= limit),
            margin_bytes=min((use.margin_bytes for use in self.memories), default=None),
            events=sum(r.timeline.events for r in results),
            interval_s=interval,
            library_name=self.machine.library_name,
            energy_scope="unknown" if math.isnan(energy) else origin.scope,
            energy_basis="unknown" if math.isnan(energy) else origin.basis,
            error_expected=errors["latency"].error,
            error_expected_95=errors["latency"].error_95,
            energy_error_expected=errors["energy"].error if "energy" in errors else math.nan,
            energy_error_expected_95=errors["energy"].error_95 if "energy" in errors else math.nan,
            missing_operators=missing.operator_share if missing else 0.0,
            missing_bytes=missing.byte_share if missing else 0.0,
        )

    @cached_property
    def expected_error(self) -> dict[str, ExpectedError]:
        """How far latency and energy are expected to be off, and on what grounds; no energy where it is unknown."""
        known = not any(math.isnan(r.energy_pj) for r in self.results)
        quantities: tuple[Quantity, ...] = ("latency", "energy") if known else ("latency",)
        seconds = [r.latency_s for r in self.results]
        return {quantity: expected_error(self.plan, quantity, seconds) for quantity in quantities}

    @cached_property
    def arena(self) -> Arena | None:
        """Where the activations lie in memory over time; None where the machine does not plan that."""
        return self.machine.arena(self.workload, self.batch)

    def component_energy(self) -> dict[str, float]:
        """Energy in pJ by component, largest first, static power among them."""
        totals: dict[str, list[float]] = {}
        for result in self.results:
            for (component, _, _), energy in result.energy.items():
                totals.setdefault(component, []).append(energy)
            if result.static_pj:
                totals.setdefault("static", []).append(result.static_pj)
        return dict(sorted(((k, math.fsum(v)) for k, v in totals.items() if any(v)), key=lambda item: -item[1]))
