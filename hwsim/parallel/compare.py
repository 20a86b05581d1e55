"""The splits of a network over so many devices, side by side: bytes, time, memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hwsim.errors import InputError
from hwsim.machines import Cluster
from hwsim.parallel.gpt import Gpt
from hwsim.parallel.result import ClusterStep
from hwsim.parallel.split import Parallel
from hwsim.parallel.step import cluster_step
from hwsim.parallel.volume import Moved, cheapest_cuts, moved
from hwsim.training import TrainingRecipe
from hwsim.workload import Workload

__all__ = ["SplitRow", "compare_splits"]


@dataclass(frozen=True, slots=True)
class SplitRow:
    """One split.

    Attributes
    ----------
    name : str
    counted : Moved or None
        Bytes by the shapes alone, as `hwsim.parallel.moved` counts them; None of products of splits.
    step : ClusterStep or None
        None where the network cannot be split so, for a `reason`.
    """

    name: str
    counted: Moved | None
    step: ClusterStep | None
    reason: str = ""

    @property
    def counted_bytes(self) -> int | None:
        """Weights of data parallelism, maps of the others."""
        if self.counted is None:
            return None
        return self.counted.weights_bytes if self.counted.split == "data" else self.counted.activations_bytes

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        data: dict[str, Any] = {"split": self.name, "counted_bytes": self.counted_bytes, "reason": self.reason}
        if self.step is None:
            return data
        return data | {
            "moved_bytes": self.step.moved_bytes,
            "step_s": self.step.step_s,
            "samples_per_s": self.step.samples_per_s,
            "speedup": self.step.speedup,
            "memory_bytes": self.step.memory_bytes,
            "fits": self.step.fits,
            "messages": [message.to_dict() for message in self.step.messages],
        }


def compare_splits(
    cluster: Cluster, workload: Workload | Gpt, batch: int, devices: int, recipe: TrainingRecipe | None = None
) -> list[SplitRow]:
    """Every way to split a network over so many devices, each with `batch` inputs.

    Of a network: by data, by layers (cut at the smallest maps, and so that the stages take alike), by channels, by
    maps. Of a GPT by its sizes: all products of data, pipeline and tensor parallelism.
    """
    if isinstance(workload, Gpt):
        ways = [
            Parallel(data=devices // (tensor * stages), pipeline=stages, tensor=tensor)
            for tensor in _divisors(devices)
            for stages in _divisors(devices // tensor)
        ]
        # Devices that share the blocks have one batch: that of all of them.
        return [_row(str(way), None, cluster, workload, batch * way.tensor, way, recipe) for way in ways]
    network = workload.lowered()
    size = 2 if recipe is not None and recipe.mixed else 4
    rows = []
    for split in ("data", "layers", "channels", "maps"):
        way = Parallel.model_validate({split: devices})
        counted = moved(network, split, devices, batch * devices, size)
        cuts = cheapest_cuts(network, devices - 1) if split == "layers" else None
        if cuts is not None and len(cuts) < devices - 1:
            rows.append(SplitRow(split, counted, None, f"{network.name} has no {devices - 1} places to cut at"))
        else:
            rows.append(_row(split, counted, cluster, network, batch, way, recipe, cuts))
        if split == "layers":
            rows.append(_row("layers, balanced", None, cluster, network, batch, way, recipe))
    return rows


def _row(
    name: str,
    counted: Moved | None,
    cluster: Cluster,
    workload: Workload | Gpt,
    batch: int,
    parallel: Parallel,
    recipe: TrainingRecipe | None,
    cuts: tuple[int, ...] | None = None,
) -> SplitRow:
    try:
        return SplitRow(name, counted, cluster_step(cluster, workload, batch, parallel, recipe, cuts))
    except InputError as error:
        return SplitRow(name, counted, None, str(error))


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]
