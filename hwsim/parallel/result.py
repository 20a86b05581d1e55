"""A training step on many devices, and the stages of its pipeline."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hwsim.machines.cluster import Way
from hwsim.message import Message
from hwsim.parallel.events import Bucket
from hwsim.parallel.split import Parallel
from hwsim.training import Step, StepLayer, TrainingMemory, TrainingRecipe
from hwsim.training.throughput import Throughput

__all__ = ["ClusterStep", "Stage"]


@dataclass(frozen=True, slots=True)
class Stage:
    """Consecutive layers on the devices that have them.

    Attributes
    ----------
    layers : range
        Places in the network.
    forward_s, backward_s : float
        Of a micro-batch, with what devices that share layers exchange.
    sent_bytes : float
        Over the cut after it, for a micro-batch, forward; the backward pass sends as much.
    memory : TrainingMemory
        Of one device.
    """

    layers: range
    forward_s: float
    backward_s: float
    sent_bytes: float
    memory: TrainingMemory


@dataclass(frozen=True, slots=True, repr=False)
class ClusterStep(Throughput):
    """A training step on the devices of a cluster.

    Attributes
    ----------
    cluster, workload : str
    parallel : Parallel
    one : Step
        The share of one device, as one device computes it.
    alone_per_s : float
        Samples a second of one device by itself with the same batch; where devices share the blocks of a transformer,
        one that computes their shares one after the other.
    micro : int
        Micro-batches of a step.
    samples : int
        Inputs of a step, all devices together.
    stages : tuple of Stage
    compute_s : float
        Until the last backward pass ends: computation, what devices that share layers exchange, bubbles.
    inner_s : float
        Of that, exchanges of devices that share layers.
    bubble : float
        Share of it that stages wait for each other.
    buckets : tuple of Bucket
        Gradients of the slowest stage, with their times.
    exposed_s : float
        By which gradients make the step longer.
    update_s, update_pj : float
        Of the slowest stage, with the sums of the gradients of its micro-batches; energy of all devices, without
        static power.
    waiting_s : float
        For the slowest of the devices.
    link_bytes : mapping
        Of all devices: ``gradients``, ``activations``.
    link_pj : float
    """

    cluster: str
    workload: str
    parallel: Parallel
    one: Step
    alone_per_s: float
    micro: int
    samples: int
    stages: tuple[Stage, ...]
    compute_s: float
    inner_s: float
    bubble: float
    buckets: tuple[Bucket, ...]
    exposed_s: float
    update_s: float
    update_pj: float
    waiting_s: float
    link_bytes: dict[str, float]
    link_pj: float
    ways: tuple[Way, ...] = ()
    messages: tuple[Message, ...] = ()

    @property
    def machine(self) -> str:
        """The name of the cluster."""
        return self.cluster

    @property
    def batch(self) -> int:
        """Inputs of one device."""
        return self.one.batch

    @property
    def recipe(self) -> TrainingRecipe:
        """How it trains."""
        return self.one.recipe

    @property
    def layers(self) -> tuple[StepLayer, ...]:
        """The layers as one device computes its share of a batch."""
        return self.one.layers

    @property
    def devices(self) -> int:
        """Devices that train."""
        return self.parallel.devices

    @property
    def communication_s(self) -> float:
        """Time of all collectives of gradients, hidden or not."""
        return math.fsum(bucket.end_s - bucket.start_s for bucket in self.buckets)

    @property
    def step_s(self) -> float:
        """From one update to the next."""
        return self.compute_s + self.exposed_s + self.update_s + self.waiting_s

    @property
    def speedup(self) -> float:
        """Over one device with the same batch."""
        return self.samples_per_s / self.alone_per_s

    @property
    def efficiency(self) -> float:
        """Speedup over the number of devices."""
        return self.speedup / self.devices

    @property
    def memory(self) -> TrainingMemory:
        """Of the device that needs most."""
        return max((stage.memory for stage in self.stages), key=lambda memory: memory.need_bytes)

    @property
    def memory_bytes(self) -> int:
        """What the device that needs most holds."""
        return self.memory.need_bytes

    @property
    def fits(self) -> bool:
        """Whether every device has the memory."""
        return all(stage.memory.fits for stage in self.stages)

    @property
    def energy_pj(self) -> float:
        """Of a step: computation, idle devices, bytes on links."""
        one, static_pj = self.one, self.one.static_w * 1e12
        batch_pj = (one.energy_pj - one.update_pj) / one.recipe.accumulate - one.batch_s * static_pj
        work = batch_pj * self.samples / one.batch * self.parallel.tensor
        return work + self.update_pj + self.devices * self.step_s * static_pj + self.link_pj

    @property
    def moved_bytes(self) -> float:
        """Bytes on all links together."""
        return sum(self.link_bytes.values())
