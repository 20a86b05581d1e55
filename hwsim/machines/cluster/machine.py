"""Machines of kind ``cluster``: devices of one kind, their links, and what a collective takes on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, overload

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import Fault, InputError, excerpt, nearest
from hwsim.machines.base import Machine, NetworkPlan
from hwsim.machines.cluster.rings import Matrix, edge_disjoint_rings
from hwsim.machines.cluster.spec import MOST_PAIRED, ClusterSpec, LinkClassSpec, NetworkSpec
from hwsim.machines.cluster.way import Way
from hwsim.machines.gpu import Gpu
from hwsim.machines.gpu.collective import check_collective, message_sizes
from hwsim.machines.plan import LayerPlan
from hwsim.machines.spec import MachineSpec
from hwsim.workload import Layer, Workload
from hwsim.yaml_source import Document

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["Cluster"]


class Cluster(Machine):
    """Several devices that train a network together.

    Attributes
    ----------
    spec : ClusterSpec
    device : Machine
        One of the devices.
    """

    kind: ClassVar[str] = "cluster"
    spec_class: ClassVar[type[MachineSpec]] = ClusterSpec
    part_key: ClassVar[str] = "device"
    spec: ClusterSpec

    def __init__(self, spec: ClusterSpec, folder: Path, document: Document, host: Machine | None = None) -> None:
        super().__init__(spec, folder, document, None)
        self._check_links_of_devices()
        if host is None:
            raise InputError([Fault(document.where(("device",)), "device", "must be a machine")])
        self.device = host

    @property
    def core_clock(self) -> str:
        """Ticks of the events."""
        return "events"

    @property
    def size(self) -> int:
        """Devices of all nodes."""
        return self.spec.devices * self.spec.nodes

    @property
    def network(self) -> NetworkSpec:
        """The network between nodes; a cluster of one node has none."""
        assert self.spec.network is not None
        return self.spec.network

    # ------------------------------------------------------------------ networks

    @overload
    def plan(self, what: Workload, batch: int = 1) -> NetworkPlan: ...

    @overload
    def plan(self, what: Layer, batch: int = 1) -> LayerPlan: ...

    def plan(self, what: Workload | Layer, batch: int = 1) -> NetworkPlan | LayerPlan:
        """Refuse: a cluster trains networks, and inferences run on one of its devices."""
        device = self.spec.device
        raise InputError(
            f"{self.name} is a cluster of {device} devices: `hwsim train {self.name} WORKLOAD` trains on it; "
            f"an inference runs on one device: give {device}"
        )

    def _plan(self, layer: Layer, batch: int) -> LayerPlan:
        raise NotImplementedError

    # ------------------------------------------------------------------ the file

    def _check_links_of_devices(self) -> None:
        faults: list[Fault] = []
        for name, links in self.spec.links.items():
            path = ("links", name)
            if links.pairs is not None:
                faults += self._pair_faults((*path, "pairs"), links.pairs)
            if links.tree is not None:
                faults += self._tree_faults((*path, "tree"), links.tree)
        if "in_switch" in self.spec.collectives and not any(x.switch for x in self.spec.links.values()):
            where = self.document.where(("collectives",))
            faults.append(Fault(where, "collectives", "in_switch must have links with a switch, there are none"))
        if faults:
            raise InputError(faults)

    def _pair_faults(self, path: tuple[str, ...], pairs: Mapping[str, Mapping[str, int]]) -> list[Fault]:
        """Links to nowhere, to itself, given twice."""
        faults: list[Fault] = []
        devices = self.spec.devices

        def fault(keys: Sequence[str], message: str) -> None:
            where = (*path, *keys)
            faults.append(Fault(self.document.where(where), ".".join(where), message))

        if devices > MOST_PAIRED:
            fault((), f"must be of at most {MOST_PAIRED} devices, not {devices}: give switch")
        for a, others in pairs.items():
            if not _is_device(a, devices):
                fault((a,), f"must be a device from 0 to {devices - 1}, not {excerpt(a)}")
                continue
            for b in others:
                if not _is_device(b, devices):
                    fault((a, b), f"a link must lead to a device from 0 to {devices - 1}, not {excerpt(b)}")
                elif a == b:
                    fault((a, b), f"a link must lead to another device, not from {a} to itself")
                elif int(a) > int(b) and a in pairs.get(b, {}):
                    fault((a, b), f"links between {b} and {a} are given twice: name the lower device first")
        return faults

    def _tree_faults(self, path: tuple[str, ...], tree: Sequence[Any]) -> list[Fault]:
        where, leaves = self.document.where(path), list(_leaves(tree))
        key, devices = ".".join(path), self.spec.devices
        wrong = [leaf for leaf in leaves if isinstance(leaf, bool) or not isinstance(leaf, int)]
        if wrong:
            return [Fault(where, key, f"must have devices and lists of them, not {excerpt(wrong[0])}")]
        if sorted(leaves) != list(range(devices)):
            return [Fault(where, key, f"must have each device from 0 to {devices - 1} once, not {excerpt(leaves)}")]
        return []

    # ------------------------------------------------------------------ links

    def rings(self, ranks: int | None = None, links: str | None = None) -> int:
        """Edge-disjoint rings, one way each, that links allow through the first devices of a node.

        Parameters
        ----------
        ranks : int
            Default: all devices of a node.
        links : str
            A class of links; default: the first of the file.

        Returns
        -------
        int
            0 where no ring goes through all.
        """
        count = self.spec.devices if ranks is None else _ranks(ranks)
        if count > self.spec.devices:
            raise InputError(f"ranks must be at most {self.spec.devices}, the devices of a node, not {count}")
        if not self.spec.links:
            return 0
        name = next(iter(self.spec.links)) if links is None else links
        if name not in self.spec.links:
            raise InputError(f"{self.name} has no links {excerpt(name)}{nearest(name, self.spec.links)}")
        return self._rings(self.spec.links[name], tuple(range(count)))

    def _rings(self, links: LinkClassSpec, members: tuple[int, ...]) -> int:
        if len(members) < 2:
            return 0
        if links.pairs is None:
            return links.switch or 1
        return len(edge_disjoint_rings(_matrix(links, members)))

    def _ring_bytes_per_s(self, links: LinkClassSpec, members: tuple[int, ...]) -> float:
        """Bytes a second around all rings of some devices of a node; 0 without a ring."""
        rate = float(links.bandwidth.amount)
        if links.root is not None and links.tree is not None and _spans(links.tree, members):
            rate = min(rate, float(links.root.amount))
        return rate * links.efficiency * self._rings(links, members)

    # ------------------------------------------------------------------ collectives

    def collective_times(self, op: str, bytes: ArrayLike, ranks: ArrayLike) -> NDArray[np.float64]:
        """Seconds of many collectives between the first devices.

        Parameters
        ----------
        op : str
            ``all_reduce``, ``all_gather``, ``reduce_scatter`` or ``all_to_all``.
        bytes, ranks : array-like
            The message of one rank (of an all-gather the gathered tensor), and how many take part; broadcast.

        Returns
        -------
        ndarray
            One rank alone takes no time.
        """
        size, count = message_sizes(bytes, ranks)
        times = np.zeros(size.shape)
        for number in np.unique(count):
            rows = count == number
            times[rows] = self._fastest(op, size[rows], int(number))
        return times

    def _fastest(self, op: str, size: NDArray[np.float64], ranks: int) -> NDArray[np.float64]:
        ways = self.ways(op, ranks)
        if not ways:
            return np.zeros(size.shape)
        times: NDArray[np.float64] = np.min([way.seconds(size) for way in ways], axis=0)
        return times

    def way(self, op: str, size: float, ranks: int, stride: int = 1) -> Way | None:
        """The fastest way for a message of so many bytes; None of one rank, which exchanges nothing."""
        ways = self.ways(op, ranks, stride)
        return min(ways, key=lambda way: float(way.seconds(size)), default=None)

    def ways(self, op: str, ranks: int, stride: int = 1) -> tuple[Way, ...]:
        """All ways to run a collective.

        Parameters
        ----------
        op : str
        ranks : int
            Devices that take part.
        stride : int
            Each is the so-many-th device; as many groups run side by side and share the network of their nodes.

        Raises
        ------
        InputError
            For more ranks than devices, and where no links join them.
        """
        check_collective(op)
        key = ("ways", op, ranks, stride)
        if key not in self.cache.memo:
            self.cache.memo[key] = tuple(self._ways(op, _ranks(ranks), stride))
        ways: tuple[Way, ...] = self.cache.memo[key]
        return ways

    def _ways(self, op: str, ranks: int, stride: int) -> list[Way]:
        if ranks == 1:
            return []
        devices = self.spec.devices
        if ranks * stride > self.size:
            raise InputError(f"ranks must be at most {self.size // stride} on {self.name}, not {ranks}")
        local = max(1, devices // stride) if ranks * stride > devices else ranks
        if ranks % local:
            raise InputError(
                f"ranks must be a multiple of {local}, the devices of each node of {self.name} that take part, "
                f"not {ranks}"
            )
        members = tuple(range(0, local * stride, stride)) if stride < devices else (0,)
        found: list[Way] = []
        if local == 1:
            found += self._spread([None], op, ranks, 1, stride)
        else:
            for name, links in self.spec.links.items():
                inside = self._inside(name, links, op, members)
                found += self._spread(inside, op, ranks, local, stride) if ranks > local else inside
        if not found:
            how = " or ".join(self.spec.collectives)
            names = ", ".join(map(str, members))
            raise InputError(f"links of {self.name} must join the devices {names} for {op} by {how}, none does")
        return found

    def _inside(self, name: str, links: LinkClassSpec, op: str, members: tuple[int, ...]) -> list[Way]:
        """Ways inside a node over links of one class."""
        count, rings = len(members), self._rings(links, members)
        if not rings:
            return []
        if links.protocols == "library":
            return self._of_library(name, links, op, count, rings)
        rate = self._ring_bytes_per_s(links, members)
        start, step = float(links.start), float(links.latency)
        short = links.short
        ways = []
        if "ring" in self.spec.collectives:
            above = -1.0 if short is None else float(short.chunk)
            ways.append(Way(op, "ring", name, count, rings, start, step, rate, above=above))
            if short is not None:
                ways.append(Way(op, "ring", name, count, rings, start, step, rate * short.share, upto=above))
        if op == "all_reduce" and links.switch and "tree" in self.spec.collectives:
            path = 2 * (count.bit_length() - 1) * step
            ways.append(Way(op, "tree", name, count, rings, start, step, rate, path_s=path))
        if op == "all_reduce" and links.switch and "in_switch" in self.spec.collectives:
            ways.append(Way(op, "in_switch", name, count, rings, start, step, rate))
        return ways

    def _of_library(self, name: str, links: LinkClassSpec, op: str, count: int, rings: int) -> list[Way]:
        """Ways by the constants of the collectives in the library of the device."""
        device = self.device
        own = device.collective_set(op) if isinstance(device, Gpu) else None
        if own is None:
            raise InputError(f"the library of {device.name} has no {op}: give links.{name} latency and efficiency")
        rate = float(links.bandwidth.amount) * rings
        ways = []
        for algorithm in own.algorithms:
            kind = algorithm.name
            if kind not in ("ring", "in_switch") or kind not in self.spec.collectives:
                continue
            way = Way(op, kind, name, count, rings, float(algorithm.start), 0.0, rate * algorithm.share)
            step = float(algorithm.rank) * (count - 1) / way.steps
            ways.append(Way(op, kind, name, count, rings, way.start_s, step, way.bytes_per_s))
        return ways

    def _spread(self, inside: Sequence[Way | None], op: str, ranks: int, local: int, stride: int) -> list[Way]:
        """Ways over several nodes, by those inside each: rings and trees."""
        network, nodes = self.network, ranks // local
        shared = min(stride, self.spec.devices)
        rate = network.ports * float(network.bandwidth.amount) * network.efficiency / shared
        latency, ways = float(network.latency), []
        for way in inside:
            if way is not None and way.name != "ring":
                continue
            start, step = (0.0, 0.0) if way is None else (way.start_s, way.step_s)
            least = rate if way is None else min(rate, way.bytes_per_s)
            name, rings = ("network", 1) if way is None else (way.links, way.rings)
            above, upto = (-1.0, float("inf")) if way is None else (way.above, way.upto)
            if "ring" in self.spec.collectives:
                hop = max(step, latency)
                ways.append(
                    Way(op, "ring", name, ranks, rings, start, hop, least, 0.0, above, upto, network=nodes / ranks)
                )
            if op == "all_reduce" and "tree" in self.spec.collectives:
                path = 2 * ((local - 1) * step + (nodes.bit_length() - 1) * latency)
                ways.append(
                    Way(op, "tree", name, ranks, rings, start, step, least, path, network=(nodes - 1) / (ranks - 1))
                )
        return ways


def _ranks(ranks: object) -> int:
    if isinstance(ranks, bool) or not isinstance(ranks, int | np.integer) or ranks < 1:
        raise InputError(f"ranks must be a whole number of at least 1, not {excerpt(ranks)}")
    return int(ranks)


def _is_device(text: str, devices: int) -> bool:
    return text.isascii() and text.isdigit() and str(int(text)) == text and int(text) < devices


def _leaves(tree: Sequence[Any]) -> Any:
    for branch in tree:
        if isinstance(branch, list):
            yield from _leaves(branch)
        else:
            yield branch


def _spans(tree: Sequence[Any], members: Sequence[int]) -> bool:
    """Whether some devices are below different branches of the root."""
    branches = [set(_leaves(branch)) if isinstance(branch, list) else {branch} for branch in tree]
    return sum(bool(branch & set(members)) for branch in branches) > 1


def _matrix(links: LinkClassSpec, members: tuple[int, ...]) -> Matrix:
    """Links between some devices of a node."""
    pairs = links.pairs or {}

    def between(a: int, b: int) -> int:
        return pairs.get(str(a), {}).get(str(b), 0) + pairs.get(str(b), {}).get(str(a), 0) if a != b else 0

    return tuple(tuple(between(a, b) for b in members) for a in members)
