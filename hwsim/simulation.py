"""The whole of hwsim in one function: plan each layer, run it, price it, report it. Start reading here."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Hashable
from weakref import WeakKeyDictionary

from hwsim.energy import Prices, dynamic_energy
from hwsim.engine import Timeline
from hwsim.engine import simulate as run_program
from hwsim.errors import InputError
from hwsim.machines import LayerPlan, Machine
from hwsim.program import Program
from hwsim.report.report import LayerResult, Report
from hwsim.workload import Workload

__all__ = ["prices_of", "simulate"]

# A plan is the same object for equal layers of one machine: what it cost to run and price is worth keeping.
_timelines: WeakKeyDictionary[LayerPlan, Timeline] = WeakKeyDictionary()
_prices: WeakKeyDictionary[Machine, Prices] = WeakKeyDictionary()
# Other plans, on other machines too, may come to the same program, tick by tick: most points of a sweep share some.
_runs: OrderedDict[Hashable, Timeline] = OrderedDict()
_MOST_RUNS, _MOST_INTERVALS = 4096, 128


def prices_of(machine: Machine) -> Prices:
    """What the machine's actions cost, resolved once."""
    if machine not in _prices:
        _prices[machine] = Prices(machine.spec.energy, machine.folder)
    return _prices[machine]


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


def simulate(machine: Machine, workload: Workload, batch: int = 1) -> Report:
    """Run a network on a machine.

    Parameters
    ----------
    machine : Machine
        From `hwsim.load_machine`.
    workload : Workload
        From `hwsim.load_workload`, or made of layers.
    batch : int
        Inputs that run together.

    Returns
    -------
    Report
        Latency, energy and bound of each layer; every action with its count and energy; the timeline; totals.

    Raises
    ------
    InputError
        If a layer cannot run on the machine, or an action has no price.
    """
    if not isinstance(batch, int) or isinstance(batch, bool) or not 1 <= batch <= 65536:
        raise InputError(f"batch must be a whole number from 1 to 65536, not {batch!r}")
    prices = prices_of(machine)
    results = []
    for layer, plan in zip(workload, machine.plans(workload, batch), strict=True):
        if plan not in _timelines:
            _timelines[plan] = _run(plan.program)
        timeline = _timelines[plan]
        seconds = machine.timebase.seconds(timeline.end)
        energy = dynamic_energy(plan.counts, plan.word_bits, prices)
        off_chip = sum(pj for (component, _, _), pj in energy.items() if prices.off_chip(component))
        results.append(
            LayerResult(
                name=layer.name,
                op=layer.op,
                plan=plan,
                timeline=timeline,
                cycles=machine.timebase.cycles(machine.core_clock, timeline.end),
                latency_s=seconds,
                bound=plan.bound(_busy(timeline, plan.program)),
                energy=energy,
                # Streams side by side share what is drawn all the time.
                static_pj=prices.static_w * seconds / plan.streams * 1e12,
                dram_pj=off_chip,
            )
        )
    peak = workload.peak_activation_bytes(batch)
    memories = machine.memories(workload, batch)
    return Report(machine, workload, batch, tuple(results), peak, machine.notes(workload, batch), memories)
