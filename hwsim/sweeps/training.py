"""Points of a sweep that train: a step on a device, or on a cluster, as a row of totals.

A point trains where its machine is a cluster, or where a key of ``train.`` (a recipe) or ``parallel.`` (a split) is
swept. Keys of a cluster may have the prefix ``cluster.``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hwsim.errors import Fault, InputError
from hwsim.machines import Cluster, Machine
from hwsim.workload import Workload

__all__ = ["CLUSTER", "TRAINING_TOTALS", "check_training", "is_training_key", "training_totals"]

CLUSTER = "cluster."
"""Optional prefix of keys of a cluster."""
TRAINING_TOTALS = ("speedup", "exposed_s", "link_bytes")
"""Columns that steps on clusters have besides those of a run."""
_PREFIXES = ("train.", "parallel.")


def is_training_key(name: str) -> bool:
    """Whether a key is one of a recipe or of a split."""
    return name.startswith(_PREFIXES)


def _of(changes: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in changes.items() if name.startswith(prefix)}


def check_training(changes: Mapping[str, Any], on_cluster: bool) -> None:
    """Refuse values that no recipe or split has; raises InputError with the key of each."""
    from hwsim.parallel import parallel_of
    from hwsim.training.recipe import recipe_of

    faults = []
    for prefix, read in (("train.", recipe_of), ("parallel.", parallel_of)):
        own = _of(changes, prefix)
        try:
            read(own)
        except InputError as error:
            for fault in error.faults:
                key = fault.path if fault.path in own else next(iter(own))
                faults.append(Fault(f"--set {prefix}{key}", "", fault.message))
        if own and prefix == "parallel." and not on_cluster:
            faults.append(Fault(f"--set {prefix}{next(iter(own))}", "", "must be on a cluster, as dgx1_v100"))
    if faults:
        raise InputError(faults)


def training_totals(machine: Machine, workload: Workload, batch: int, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The totals of a step by the columns of a run; those that a step does not have are None."""
    from hwsim.parallel import ClusterStep, cluster_step, parallel_of
    from hwsim.training import training_step
    from hwsim.training.device import trained_on
    from hwsim.training.recipe import recipe_of

    recipe = recipe_of(_of(changes, "train."))
    if isinstance(machine, Cluster):
        split = _of(changes, "parallel.")
        step: Any = cluster_step(machine, workload, batch, parallel_of(split) if split else None, recipe)
        device, one = machine.device, step.one
        macs = one.macs * step.samples // one.samples * step.parallel.tensor
    else:
        step = training_step(machine, workload, batch, recipe)
        device, one, macs = machine, step, step.macs
    memory, origin, missing = step.memory, device.energy_origin, workload.missing
    row: dict[str, Any] = {
        "layers": len(one.layers),
        "latency_s": step.step_s,
        "energy_pj": step.energy_pj,
        "macs": macs,
        "macs_live": macs,
        "macs_executed": macs,
        "cycles": None,
        "power_w": step.power_w,
        "utilization": None,
        "dram_bytes": None,
        "peak_memory_bytes": memory.need_bytes,
        "memory_bytes": memory.size_bytes,
        "fits": step.fits if isinstance(step, ClusterStep) else memory.fits,
        "margin_bytes": None if memory.size_bytes is None else memory.size_bytes - memory.need_bytes,
        "events": None,
        "interval_s": step.step_s,
        "library_name": trained_on(device, recipe).library_name,
        "energy_scope": origin.scope,
        "energy_basis": origin.basis,
        "error_expected": None,
        "error_expected_95": None,
        "energy_error_expected": None,
        "energy_error_expected_95": None,
        "missing_operators": missing.operator_share if missing else 0.0,
        "missing_bytes": missing.byte_share if missing else 0.0,
        "inferences_per_s": step.samples_per_s,
        "energy_per_inference_pj": step.energy_pj / step.samples,
        "edp_pj_s": step.energy_pj * step.step_s,
        "tops_per_w": 2 * macs / step.energy_pj,
        "area_mm2": None,
        "cost_usd": None,
    }
    if isinstance(step, ClusterStep):
        row |= {"speedup": step.speedup, "exposed_s": step.exposed_s, "link_bytes": step.moved_bytes}
    return row
