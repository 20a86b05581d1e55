"""What the file of a cluster says: its devices, the links between those of a node, and the network between nodes."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from hwsim.energy.spec import EnergySpec
from hwsim.fields import Bandwidth, Energy, Frequency, Name, Size, Spec, Time
from hwsim.machines.spec import MachineSpec

__all__ = ["ClusterSpec", "LinkClassSpec", "NetworkSpec"]

Efficiency = Annotated[float, Field(gt=0, le=1)]
Tree = list[Any]
"""Devices and switches below a switch: ``[[0, 1], [2, 3]]``."""
MOST_PAIRED = 16
"""Devices of a matrix of links: in larger ones rings are not searched."""


def _per_second(bandwidth: Any) -> None:
    if bandwidth is not None and bandwidth.per != "s":
        raise ValueError("bandwidth must be in bytes a second, as 25 GB/s")


class ShortSpec(Spec):
    """Steps of a ring whose chunk is at most so long have a share of the bandwidth: another protocol."""

    chunk: Size
    share: Efficiency


class LinkClassSpec(Spec):
    """Links of one kind between the devices of a node.

    Attributes
    ----------
    bandwidth : Bandwidth
        Of one link, one way.
    efficiency : float
        Share of it that collectives reach.
    latency, start : Time
        Of a step of a collective, and of a collective besides.
    pairs : mapping
        Links between each two devices: ``{0: {1: 2}}`` are two between devices 0 and 1.
    switch : int
        Links of each device into switches that join all, instead of `pairs`.
    tree : list
        Devices below each switch of a tree, as of PCIe: ``[[0, 1], [2, 3]]``. Each switch has one link upwards.
    root : Bandwidth
        Between the branches at the root of the tree, where it is less than that of a link.
    short : ShortSpec
        What holds of short chunks.
    protocols : {"library"}
        Start, step and share of the bandwidth are those of the collectives in the library of the device, by size and
        algorithm, instead of those here.
    energy : Energy
        Of a byte that a device sends.
    """

    bandwidth: Bandwidth
    efficiency: Efficiency = 1.0
    latency: Time = Fraction(0)
    start: Time = Fraction(0)
    pairs: dict[str, dict[str, Annotated[int, Field(ge=1, le=64, strict=True)]]] | None = None
    switch: Annotated[int, Field(ge=1, le=64, strict=True)] | None = None
    tree: Tree | None = None
    root: Bandwidth | None = None
    short: ShortSpec | None = None
    protocols: Literal["library"] | None = None
    energy: Energy
    source: str
    energy_source: str
    fitted: str | None = None

    @model_validator(mode="after")
    def _check_form(self) -> LinkClassSpec:
        forms = [name for name in ("pairs", "switch", "tree") if getattr(self, name) is not None]
        if len(forms) != 1:
            text = " and ".join(forms) or "none"
            raise ValueError(f"links must have exactly one of pairs, switch and tree, not {text}")
        if self.root is not None and self.tree is None:
            raise ValueError("root is of a tree: leave it out")
        _per_second(self.bandwidth)
        _per_second(self.root)
        return self


class NetworkSpec(Spec):
    """The network between nodes: ports of a node, and the bandwidth of a port one way."""

    ports: Annotated[int, Field(ge=1, le=1024, strict=True)]
    bandwidth: Bandwidth
    efficiency: Efficiency = 1.0
    latency: Time
    energy: Energy
    source: str
    energy_source: str
    fitted: str | None = None

    @model_validator(mode="after")
    def _check_rate(self) -> NetworkSpec:
        _per_second(self.bandwidth)
        return self


class ClusterSpec(MachineSpec):
    """Devices of one kind that train a network together.

    `device` is the name or path of a machine of any other kind, and `device_set` changes keys of its file. A cluster
    has `nodes` of so many `devices`, joined by `links`; the `network` joins the nodes. `straggling` is the share that
    each doubling of the devices adds to a step, as all wait for the slowest.
    """

    kind: Literal["cluster"]
    device: Annotated[str, Field(min_length=1, max_length=300)]
    device_set: dict[str, Any] = {}
    devices: Annotated[int, Field(ge=1, le=1024, strict=True)]
    links: Annotated[dict[Name, LinkClassSpec], Field(max_length=8)] = {}
    nodes: Annotated[int, Field(ge=1, le=65536, strict=True)] = 1
    network: NetworkSpec | None = None
    collectives: Annotated[list[Literal["ring", "tree", "in_switch"]], Field(min_length=1)] = ["ring"]
    straggling: Annotated[float, Field(ge=0, le=1)] = 0.0
    # Ticks of the events on links; the devices have clocks and prices of their own.
    clocks: dict[Name, Frequency] = Field(default_factory=lambda: {"events": Fraction(10**12)})
    energy: EnergySpec = EnergySpec(table="horowitz_45nm", prices={})

    @model_validator(mode="after")
    def _check_parts(self) -> ClusterSpec:
        for key in ("clocks", "energy", "area", "cost"):
            if key in self.model_fields_set:
                raise ValueError(f"a cluster has the {key} of its devices: leave {key} out")
        if self.devices > 1 and not self.links:
            raise ValueError("links must join the devices of a node, as there are several")
        if self.nodes > 1 and self.network is None:
            raise ValueError("network must join the nodes, as there are several")
        return self
