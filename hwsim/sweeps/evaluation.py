"""Simulation of one point; plans are shared between machines with equal planning keys, failures become rows."""

from __future__ import annotations

import hashlib
import json
import pickle
import threading
import warnings
from collections import OrderedDict
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from hwsim.errors import HwsimError
from hwsim.machines import Cluster
from hwsim.sweeps.revision import model_revision
from hwsim.sweeps.serving import serving_totals
from hwsim.sweeps.sources import LlmSource
from hwsim.sweeps.space import Point, Space
from hwsim.sweeps.training import training_totals

if TYPE_CHECKING:
    from hwsim.machines import Machine, PlanCache
    from hwsim.report.report import Report

__all__ = ["Evaluator", "Job", "Outcome", "run_chunk"]

MAX_PLANS = 4000
"""Maximum number of cached layer plans in a process, some 100 MB."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of a point.

    Attributes
    ----------
    number : int
        Number of the point.
    result : dict or None
        The totals of the run by column, each with its unit in its name; None if it failed.
    layers : list of dict or None
        A row per layer, if requested.
    error : str or None
        Reason of a failure.
    """

    number: int
    result: dict[str, Any] | None
    layers: list[dict[str, Any]] | None = None
    error: str | None = None


class Evaluator:
    """Simulates points of a space one by one, with a plan cache."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.caches: OrderedDict[str, PlanCache] = OrderedDict()

    def digest(self, number: int) -> str:
        """The store key of a point: digest of resolved machine, workload, batch size and model revision."""
        point = self.space.point(number)
        machine = self.space.machines[point.machine].digest(point.machine_changes)
        workload = self.space.workloads[point.workload].digest(point.workload_changes)
        text = f"{machine} {workload} {point.batch} {model_revision()}"
        if changes := point.training_changes | point.serving_changes:
            text += json.dumps(changes, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def report(self, number: int) -> Report:
        """The full report of a point.

        Raises
        ------
        HwsimError
            If it cannot be simulated.
        """
        from hwsim.simulation import simulate

        point = self.space.point(number)
        machine, source = self._machine(point), self.space.workloads[point.workload]
        plan = machine.plan(source.workload(point.workload_changes), point.batch)
        patterns = source.selection(point.workload_changes)
        return simulate(plan.select(*patterns) if patterns else plan)

    def _machine(self, point: Point) -> Machine:
        """The machine of a point, with the library that serves models where it runs one."""
        from hwsim.serving.table import with_library

        machine = self.space.machines[point.machine].machine(point.machine_changes)
        if isinstance(self.space.workloads[point.workload], LlmSource) and "library" not in point.machine_changes:
            machine = with_library(machine)
        self._share(machine)
        return machine

    def trains(self, point: Point) -> bool:
        """Whether a point is a training step, and not an inference."""
        kind = self.space.machines[point.machine].document.data.get("kind")
        return bool(point.training_changes) or kind == Cluster.kind

    def _trained(self, point: Point) -> dict[str, Any]:
        """The totals of a training step."""
        machine = self.space.machines[point.machine].machine(point.machine_changes)
        network = self.space.workloads[point.workload].workload(point.workload_changes)
        return training_totals(machine, network, point.batch, point.training_changes)

    def _served(self, point: Point) -> dict[str, Any]:
        """The totals of a load."""
        source = self.space.workloads[point.workload]
        return serving_totals(self._machine(point), source, point.workload_changes, point.serving_changes)

    def _share(self, machine: Machine) -> None:
        """Share plans with machines that have the same planning keys; prices may differ."""
        key = f"{machine.kind} {machine.folder} {json.dumps(machine.planned_on(), sort_keys=True, default=str)}"
        cache = self.caches.pop(key, machine.cache)
        self.caches[key] = machine.cache = cache
        while len(self.caches) > 1 and sum(map(len, self.caches.values())) > MAX_PLANS:
            self.caches.popitem(last=False)

    def outcome(self, number: int, per_layer: bool = False) -> Outcome:
        """The outcome of a point; any exception becomes an error."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                point = self.space.point(number)
                if point.serving_changes:
                    return Outcome(number, self._served(point))
                if self.trains(point):
                    return Outcome(number, self._trained(point))
                report = self.report(number)
                return Outcome(number, totals(report), report.rows if per_layer else None)
        except HwsimError as error:
            return Outcome(number, None, error=str(error))
        except MemoryError:
            return Outcome(number, None, error="not enough memory for this point")
        except Exception as error:  # an error at one point must not end the sweep
            return Outcome(number, None, error=f"fault of the model: {type(error).__name__}: {error}")


def totals(report: Report) -> dict[str, Any]:
    """The totals of a run as one row: its summary, and the energy of each component."""
    summary = report.summary
    row = {key: value for key, value in asdict(summary).items() if key not in ("machine", "workload", "batch")}
    row["inferences_per_s"] = summary.inferences_per_s
    row["energy_per_inference_pj"] = summary.energy_per_inference_pj
    row["edp_pj_s"] = summary.energy_pj * summary.latency_s
    row["tops_per_w"] = summary.tops_per_w
    row["area_mm2"] = report.machine.area_mm2
    row["cost_usd"] = report.machine.cost_usd
    row |= {f"energy_pj.{component}": energy for component, energy in sorted(report.component_energy().items())}
    return row


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker needs to simulate points of a sweep, on any host."""

    space: bytes
    digest: str
    per_layer: bool
    revision: str

    @classmethod
    def of(cls, space: Space, per_layer: bool) -> Job:
        """The job of a space."""
        data = pickle.dumps(space)
        return cls(data, hashlib.sha256(data).hexdigest(), per_layer, model_revision())


class _WorkerCache(threading.local):
    """Evaluators of the latest jobs, per thread."""

    def __init__(self) -> None:
        self.evaluators: OrderedDict[str, Evaluator] = OrderedDict()


_cache = _WorkerCache()


def run_chunk(job: Job, numbers: tuple[int, ...]) -> list[Outcome]:
    """Simulate some points in a worker; plans stay cached for the next chunk."""
    if job.revision != model_revision():
        raise HwsimError("a worker must have the same revision of hwsim as the sweep")
    evaluators = _cache.evaluators
    evaluator = evaluators.pop(job.digest, None) or Evaluator(pickle.loads(job.space))
    evaluators[job.digest] = evaluator
    while len(evaluators) > 2:
        evaluators.popitem(last=False)
    return [evaluator.outcome(number, job.per_layer) for number in numbers]
