"""`hwsim.train`: a training step on one device or on a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hwsim.errors import InputError
from hwsim.machines import Cluster, Machine, load_machine
from hwsim.parallel.gpt import Gpt, gpt_of
from hwsim.parallel.result import ClusterStep
from hwsim.parallel.split import Parallel, parallel_of
from hwsim.parallel.step import cluster_step
from hwsim.training import Step, training_step
from hwsim.training.recipe import recipe_of
from hwsim.workload import Workload, load_workload

__all__ = ["network_to_train", "train"]


def network_to_train(workload: str | Path | Workload | Gpt) -> Workload | Gpt:
    """A network by its name or file, or the model of ``gpt:hidden=1024,layers=24,heads=16``."""
    if isinstance(workload, Workload | Gpt):
        return workload
    gpt = gpt_of(workload) if isinstance(workload, str) else None
    return load_workload(workload) if gpt is None else gpt


def train(
    machine: str | Path | Machine,
    workload: str | Path | Workload | Gpt,
    batch: int = 1,
    parallel: str | Mapping[str, object] | Parallel | None = None,
    **recipe: Any,
) -> Step | ClusterStep:
    """Predict a training step of a network on one device, or on the devices of a cluster.

    Parameters
    ----------
    machine : Machine, str or Path
        A GPU, a processor or a cluster, or its name or file.
    workload : Workload, Gpt, str or Path
    batch : int
        Inputs of one device.
    parallel : str, mapping or Parallel
        How a cluster shares the work, as ``"data=8,layers=2"``; default: data parallelism over a node.
    **recipe
        Fields of `hwsim.training.TrainingRecipe`: ``precision="mixed"``, ``optimizer="lamb"``, ``accumulate=4``, ...

    Returns
    -------
    Step or ClusterStep
        Time of a step and of each layer, samples a second, memory, energy; of a cluster also what gradients expose.
    """
    if not isinstance(machine, Machine):
        machine = load_machine(machine)
    network = network_to_train(workload)
    how = recipe_of(recipe)
    if isinstance(machine, Cluster):
        return cluster_step(machine, network, batch, None if parallel is None else parallel_of(parallel), how)
    if parallel is not None and parallel_of(parallel).devices > 1:
        raise InputError(f"parallel must be on a cluster, as dgx1_v100 (`hwsim list clusters`), not {machine.name}")
    return training_step(machine, network.network() if isinstance(network, Gpt) else network, batch, how)
