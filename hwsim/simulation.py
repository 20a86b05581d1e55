"""The whole of hwsim in one function: plan each layer, run it, price it, report it. Start reading here."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Hashable
from pathlib import Path
from typing import overload

from hwsim.energy import dynamic_energy
from hwsim.engine import Timeline, simulate as run_program
from hwsim.engine.program import Program
from hwsim.errors import Fault, HwsimError, InputError
from hwsim.machines import Machine, NetworkPlan, PlanCache, load_machine
from hwsim.message import Message
from hwsim.report.report import Report
from hwsim.report.result import LayerResult
from hwsim.workload import Workload, load_workload
from hwsim.workload.missing import bytes_alone

__all__ = ["simulate"]

# Other plans, on other machines too, may come to the same program, tick by tick: most points of a sweep share some.
_runs: OrderedDict[Hashable, Timeline] = OrderedDict()
_MOST_RUNS, _MOST_INTERVALS = 4096, 128


def _run(program: Program) -> Timeline:
    """Run a program, or remember the same one; long timelines are not kept, so that memory stays bounded."""
    key = (tuple(program.resources.items()), program.pipelines)
    timeline = _runs.pop(key, None) or run_program(program)
    if sum(len(records) for _, _, records in timeline.parts) <= _MOST_INTERVALS:
        _runs[key] = timeline
        if len(_runs) > _MOST_RUNS:
            _runs.popitem(last=False)
    return timeline


def _busy(timeline: Timeline, program: Program) -> dict[str, float]:
    """Ticks that each stage alone takes at the least: of all threads over the servers, or of the busiest thread."""
    total: Counter[tuple[str, str]] = Counter()
    busy: dict[str, float] = {}
    for (_, stage), totals in timeline.stages.items():
        total[stage, totals.resource] += totals.busy
        busy[stage] = max(busy.get(stage, 0.0), totals.busy)
    for (stage, resource), ticks in total.items():
        busy[stage] = max(busy[stage], ticks / program.resources[resource])
    return busy


def _timeline(cache: PlanCache, program: Program) -> Timeline:
    """The timeline of a program; machines that share plans share what running them costs."""
    timeline: Timeline | None = cache.timeline(program)
    if timeline is None:
        timeline = _run(program)
        cache.keep_timeline(program, timeline)
    return timeline


@overload
def simulate(machine: NetworkPlan) -> Report: ...


@overload
def simulate(machine: Machine | str | Path, workload: Workload | str | Path, batch: int = 1) -> Report: ...


def simulate(
    machine: Machine | NetworkPlan | str | Path, workload: Workload | str | Path | None = None, batch: int | None = None
) -> Report:
    """Run a network on a machine.

    Parameters
    ----------
    machine : Machine, str, Path or NetworkPlan
        From `hwsim.load_machine`, or its name or file; or a plan of ``machine.plan(workload, batch)``, which is all
        that is needed.
    workload : Workload, str or Path
        From `hwsim.load_workload`, or its name or file, or made of layers.
    batch : int
        Batch size; 1 by default.

    Returns
    -------
    Report
        Latency, energy and bound of each layer; every action with its count and energy; the timeline; totals.

    Raises
    ------
    InputError
        If a layer cannot run on the machine, an action has no price, or a name is of nothing.

    Examples
    --------
    >>> simulate("eyeriss_v1", "alexnet", batch=4)
    <Report alexnet on eyeriss_v1, batch 4: 14 layers, 361 ms, 93.2 mJ>
    """
    if isinstance(machine, NetworkPlan):
        if workload is not None or batch is not None:
            raise InputError("a plan has its workload and batch size already: give simulate the plan alone")
        return _simulate(machine)
    if isinstance(machine, str | Path):
        machine = load_machine(machine)
    if isinstance(workload, str | Path):
        workload = load_workload(workload)
    if not isinstance(machine, Machine) or not isinstance(workload, Workload):
        raise InputError("simulate must have a machine and a workload, or a plan of both")
    return _simulate(machine.plan(workload, 1 if batch is None else batch))


def _missing_prices(network: NetworkPlan) -> InputError:
    """The actions that are counted and have no price: one of each component, with a layer."""
    machine = network.machine
    faults: dict[tuple[str, str], Fault] = {}
    where = machine.document.where(("energy", "prices"))
    for name, plan in zip(network.names, network, strict=True):
        for (component, _, action), count in plan.counts.items():
            try:
                if count:
                    machine.prices.of(component, action)
            except HwsimError as error:
                part = (component, action if component == "mac" else "")
                faults.setdefault(part, Fault(where, name, str(error)))
    return InputError(faults.values())


def _simulate(network: NetworkPlan) -> Report:
    machine, workload, batch = network.machine, network.workload, network.batch
    prices = machine.prices
    results = []
    for name, plan in zip(network.names, network, strict=True):
        timeline = _timeline(machine.cache, plan.program)
        seconds = machine.timebase.seconds(timeline.end)
        try:
            energy = dynamic_energy(plan.counts, plan.word_bits, prices, plan.on_chip_energy)
        except HwsimError:
            raise _missing_prices(network) from None
        off_chip = sum(pj for (component, _, _), pj in energy.items() if prices.off_chip(component))
        results.append(
            LayerResult(
                name=name,
                op=workload[name].op,
                plan=plan,
                timeline=timeline,
                cycles=machine.timebase.cycles(machine.core_clock, timeline.end),
                latency_s=seconds,
                bound=plan.bound(_busy(timeline, plan.program)),
                energy=energy,
                # Static power is shared by concurrent streams.
                static_pj=prices.static_w * seconds / plan.streams * 1e12,
                dram_pj=off_chip,
                columns=plan.all_columns | machine.power_columns(plan),
            )
        )
    peak = workload.peak_activation_bytes(batch, machine.activation_bits(workload))
    memories = machine.memories(workload, batch)
    lost = (workload.missing.message() if workload.missing else None, bytes_alone(workload.layers, workload.weights))
    notes = (*filter(None, lost), *workload.lowering_notes(batch), *machine.notes(network), *prices.notes)
    if not network.whole:
        template = "totals are of {part} of the {whole} layers; memory is that of the whole network"
        notes = (Message("run.selection", template, {"part": len(network), "whole": len(workload)}), *notes)
    return Report(network, tuple(results), peak, notes, memories)
