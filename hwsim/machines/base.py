"""What every kind of machine is, and the plan of a network on it that every answer reads.

A machine plans networks, and a plan knows the machine that it was made for: two halves of one interface.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, overload

from hwsim.errors import Fault, InputError, excerpt
from hwsim.machines.hardware import Hardware
from hwsim.machines.limits import check_batch, check_size
from hwsim.machines.lower_bound import LowerBound
from hwsim.machines.memory import MemoryUse
from hwsim.machines.nearness import Conditions, Level
from hwsim.machines.plan import LayerPlan, Traffic
from hwsim.machines.plan_cache import PlanCache
from hwsim.machines.serving import ServingSpec
from hwsim.machines.spec import MachineSpec
from hwsim.message import Message
from hwsim.workload import Layer, Workload
from hwsim.workload.arena import Arena
from hwsim.workload.network import hint, selects
from hwsim.workload.product import Stream
from hwsim.yaml_source import Document

__all__ = ["Machine", "NetworkPlan"]


class Machine(Hardware):
    """A machine of some kind: plans a layer, and lowers it to stages that the engine runs.

    A subclass sets `kind`, `spec_class` and implements `_plan`; nothing else has to know of it.
    """

    can_host: ClassVar[bool] = False
    """Whether the kind runs any layer, and so those that another machine has no unit for."""
    part_key: ClassVar[str] = "host"
    """The key of the file that names another machine, which is read with this one."""
    residuals: ClassVar[Path | None] = None
    """The table of errors against measured values, if there are any."""
    nearness: ClassVar[Mapping[str, tuple[Level, ...]]] = {}
    """Which rows of that table are near to a run, by quantity (latency, power, energy), the nearest first."""
    measured_layers: ClassVar[frozenset[str]] = frozenset()
    """Classes of layers (`nearness.class_of`) that take a fifth or more of the time of something measured."""
    run_keys: ClassVar[tuple[str, ...]] = ()
    """Keys of the file that `conditions` covers: with another value it is still the machine that was measured."""

    def __init__(self, spec: MachineSpec, folder: Path, document: Document, host: Machine | None = None) -> None:
        self.cache = PlanCache()
        self.host = host
        super().__init__(spec, folder, document)

    def __repr__(self) -> str:
        about = self.spec.description or self.kind
        return f"<{type(self).__name__} {self.name}: {about}>"

    @overload
    def plan(self, what: Workload, batch: int = 1) -> NetworkPlan: ...

    @overload
    def plan(self, what: Layer, batch: int = 1) -> LayerPlan: ...

    def plan(self, what: Workload | Layer, batch: int = 1) -> NetworkPlan | LayerPlan:
        """How a network runs here.

        Parameters
        ----------
        what : Workload or Layer
            A layer alone is planned as a network of one layer.
        batch : int
            Batch size.

        Returns
        -------
        NetworkPlan or LayerPlan
            Of a workload the plan of each layer in the network; of a layer its own.

        Raises
        ------
        InputError
            If the batch size or a layer cannot be planned here.
        """
        batch = check_batch(batch)
        if isinstance(what, Layer):
            check_size(what, batch, self.runs_whole(what))
            return self.plan(Workload(what.name, [what], graph=False), batch)[what.name]
        if not isinstance(what, Workload):
            raise InputError(f"a workload or a layer is planned, not {excerpt(what)}")
        network = self.converted(self.merged(what, batch).lowered(self.runs_whole))
        return NetworkPlan(self, network, batch, self.contexts(network, batch), self.hosts(network))

    def runs_whole(self, layer: Layer) -> bool:
        """Whether a composed layer is planned as it is, and not as its sublayers."""
        return False

    def merged(self, network: Workload, batch: int) -> Workload:
        """The network with one layer for several that are one kernel here, in a batch of this size."""
        return network

    def converted(self, network: Workload) -> Workload:
        """The network in the number formats that the machine runs it in, where its file says so."""
        return network

    def layer_plan(self, layer: Layer, batch: int, context: Hashable = None) -> LayerPlan:
        """Plan a layer in its context, or take the plan of a layer that is like it: networks repeat their layers."""
        asked = self.requested_algorithm(layer.name)
        key = (batch, self.planned_by_name(layer.name), asked, context, *layer.likeness)
        plan = self.cache.layers.get(key)
        if plan is None:
            check_size(layer, batch, self.runs_whole(layer))
            self._check_links(layer)
            plan = self._plan(layer, batch) if context is None else self._plan_in(layer, batch, context)
            self.cache.layers[key] = plan
            self.cache.planned += 1
        return plan.named(layer.name)

    def _check_links(self, layer: Layer) -> None:
        x = layer.lower(1)
        if not self.has_links and isinstance(x, Stream) and x.kind == "collective":
            raise InputError([Fault("", layer.name, f"a collective must have links, which {self.name} has none of")])

    def contexts(self, workload: Workload, batch: int) -> Sequence[Hashable]:
        """Network context of each layer; None for each if the kind plans layers independently."""
        return [None] * len(workload)

    def as_host(self) -> Machine:
        """This machine as the host of another, which hands it single layers; raises InputError if it cannot be one."""
        return self

    def hosts(self, workload: Workload) -> Mapping[str, str]:
        """Layers that run inside another's kernel, and that other layer's name."""
        return {}

    def planned_on(self) -> dict[str, Any]:
        """What a plan depends on: the description without its names and sources.

        Machines that agree in it may share a `PlanCache`. A kind whose plans depend on less leaves more out.
        """
        apart = ("name", "source", "description", "fitted", "area", "cost")
        return {key: value for key, value in self.document.data.items() if key not in apart}

    def planned_by_name(self, name: str) -> str | None:
        """The name, if the file says something of this very layer; such layers are not like others of their shape."""
        return None

    @abstractmethod
    def _plan(self, layer: Layer, batch: int) -> LayerPlan:
        """Plan one layer by itself."""

    def _plan_in(self, layer: Layer, batch: int, context: Any) -> LayerPlan:
        """Plan one layer in its context; a kind that overrides `contexts` overrides this too."""
        raise NotImplementedError

    def power_columns(self, plan: LayerPlan) -> dict[str, float | int | str]:
        """Columns of the report that follow from prices, which plans do not depend on."""
        return {}

    def lower_bound(self, layer: Layer, batch: int) -> LowerBound | None:
        """Lower bound of the cost of any plan of a layer; None if the kind has none."""
        return None

    def activation_bits(self, workload: Workload) -> Mapping[str, int]:
        """Bits of the values that a layer writes, where it does not run in its own formats."""
        return {}

    def memories(self, workload: Workload, batch: int) -> tuple[MemoryUse, ...]:
        """What a network needs of each bounded memory, where the kind has more than `memory_bytes`."""
        return ()

    def stored_weight_bits(self, layer: Layer) -> float | None:
        """Bits of a layer's weights in the memory that they are read from, where the kind has its own format."""
        return None

    def arena(self, workload: Workload, batch: int = 1) -> Arena | None:
        """Where the activations of a network lie in memory over time, where the kind plans that."""
        return None

    @property
    def has_spectra(self) -> bool:
        """Whether it counts the transform and logarithms of a spectrum of audio; a note says so if not."""
        return False

    @property
    def has_links(self) -> bool:
        """Whether it can exchange values with others of its kind."""
        return False

    @property
    def float_format(self) -> str:
        """The number format of language models that were not quantized."""
        return "bf16"

    def request_s(self, network: Workload) -> tuple[float, float]:
        """Seconds that a batch of requests takes before its kernels, and each of its samples: calls, copies."""
        return 0.0, 0.0

    @property
    def serving(self) -> ServingSpec | None:
        """What the library adds to the kernels of a step where it serves a model; None if nothing is known of it."""
        return None

    def advice(self, plan: NetworkPlan, name: str) -> tuple[Message, ...]:
        """For `hwsim explain`: the cost of a layer under alternatives."""
        return ()

    def traffic(self, plan: LayerPlan) -> tuple[Traffic, ...]:
        """For a roofline: what a layer moves at each memory that has a bandwidth, from the outermost in.

        No layer may be faster than this allows: its time is at least the bytes over the bytes a second, of each memory.
        """
        return ()

    def format_of(self, layer: Layer) -> str:
        """The number format of a layer's kernel, where it is one of the conditions."""
        return ""

    def conditions(self, plan: NetworkPlan, number_format: str) -> Conditions:
        """What `nearness` compares with measured rows, beside the machine: core, library, format, threads."""
        return {}

    def notes(self, plan: NetworkPlan) -> tuple[Message, ...]:
        """Assumptions and scalings that a user of this run should know."""
        return ()


class NetworkPlan:
    """How a network runs on a machine: a `LayerPlan` for each layer, in the order in which they run.

    Made by `Machine.plan`. A layer is planned with what the network around it means for it (placement of weights,
    layouts, fusion, power) when it is first read, and once.

    Attributes
    ----------
    machine : Machine
    workload : Workload
        The whole network, whatever part of it is selected, with composed layers as their products where the machine
        plans those (`Workload.lowered`).
    batch : int
        Batch size.
    names : tuple of str
        The layers, or those that were selected.
    hosts : mapping
        Layers that run inside another's kernel, and that other layer's name.

    Examples
    --------
    >>> import hwsim
    >>> plan = hwsim.load_machine("eyeriss_v1").plan(hwsim.load_workload("alexnet"), batch=4)
    >>> plan["conv3"].macs
    598081536
    >>> hwsim.simulate(plan.select("conv*")).summary.layers
    5
    """

    def __init__(
        self,
        machine: Machine,
        workload: Workload,
        batch: int,
        contexts: Sequence[Hashable],
        hosts: Mapping[str, str],
        names: tuple[str, ...] | None = None,
    ) -> None:
        self.machine, self.workload, self.batch, self.hosts = machine, workload, batch, hosts
        self.names = tuple(layer.name for layer in workload) if names is None else names
        self._contexts = dict(zip((layer.name for layer in workload), contexts, strict=True))
        self._plans: dict[str, LayerPlan] = {}

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[LayerPlan]:
        return (self[name] for name in self.names)

    def __getitem__(self, name: str) -> LayerPlan:
        if not isinstance(name, str) or name not in self._plans:
            if name not in self.workload and name in self.workload.origin:
                parts = ", ".join(part.name for part, _ in self.workload.origin[name].sublayers)
                raise InputError(f"{name!r} is planned as {parts}: name one of them, or select({name!r})")
            layer = self.workload[name]
            self._plans[name] = self.machine.layer_plan(layer, self.batch, self._contexts[name])
        return self._plans[name]

    def __repr__(self) -> str:
        part = "" if self.whole else f"{len(self)} of "
        return (
            f"<NetworkPlan {self.workload.name} on {self.machine.name}, batch {self.batch}: "
            f"{part}{len(self.workload)} layers>"
        )

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers of `names`."""
        return tuple(self.workload[name] for name in self.names)

    @property
    def whole(self) -> bool:
        """Whether every layer of the network is selected."""
        return len(self.names) == len(self.workload)

    def context(self, name: str) -> Any:
        """What of the network the machine planned a layer with; None where the kind plans each layer by itself."""
        return self._contexts[self.workload[name].name]

    def instead(self, name: str, layer: Layer) -> LayerPlan:
        """The plan of another layer in the place of the one of that name."""
        return self.machine.layer_plan(layer, self.batch, self._contexts[name])

    def select(self, *patterns: str) -> NetworkPlan:
        """The same plan with only the layers whose names match any shell pattern, such as ``conv*``.

        They stay planned as parts of the whole network: a report of them says of each what a report of all says.

        Raises
        ------
        InputError
            If no layer matches.
        """
        origin = self.workload.origin
        matches = selects(patterns, {*self.workload.names, *origin.names})
        names: set[str] = set()
        for layer in origin:
            parts = [part.name for part, _ in layer.sublayers if layer.name not in self.workload]
            names.update(name for name in parts or (layer.name,) if matches(layer.name) or matches(name))
        names.intersection_update(self.names)
        if not names:
            label = " or ".join(map(repr, patterns))
            near = hint(patterns[0] if patterns else "", origin.names)
            raise InputError(f"a layer of {self.workload.name} must match {label}{near}")
        return self.part(names)

    def part(self, names: Collection[str]) -> NetworkPlan:
        """The same plan with only the layers of these names; raises InputError where there is none of them."""
        members = tuple(name for name in self.names if name in names)
        if not members:
            raise InputError(f"a part of {self.workload.name} must have at least one of its layers")
        part = NetworkPlan(self.machine, self.workload, self.batch, tuple(self._contexts.values()), self.hosts, members)
        part._plans = self._plans
        return part
