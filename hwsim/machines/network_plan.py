"""A network planned for one machine: the one plan that every answer reads, and what plans share."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hwsim.errors import InputError
from hwsim.machines.plan import LayerPlan
from hwsim.workload import Layer, Workload
from hwsim.workload.layer import whole
from hwsim.workload.network import hint, selects

if TYPE_CHECKING:
    from hwsim.engine.program import Program
    from hwsim.machines.base import Machine

__all__ = ["MAX_BATCH", "NetworkPlan", "PlanCache", "check_batch"]

MAX_BATCH = 65536


def check_batch(batch: object) -> int:
    """The batch size as a plain int (numpy's are taken); raises InputError for one that no machine plans."""
    size = whole(batch)
    if size is None or not 1 <= size <= MAX_BATCH:
        raise InputError(f"batch must be a whole number from 1 to {MAX_BATCH}, not {batch!r}")
    return size


class PlanCache:
    """What machines that plan alike have computed: plans of layers, contexts of networks, timelines of programs.

    Machines whose descriptions differ only in what no plan depends on (`Machine.planned_on`) may share one.

    Attributes
    ----------
    layers : dict
        Plans by batch, context and everything of the layer but its name.
    memo : dict
        What else a kind computes once, such as the contexts of a whole network.
    planned : int
        Layers that were planned anew, for tests and benchmarks: the work that sharing saves.
    """

    def __init__(self) -> None:
        self.layers: dict[tuple[object, ...], LayerPlan] = {}
        self.memo: dict[Hashable, Any] = {}
        self.planned = 0
        self._timelines: dict[int, tuple[Program, Any]] = {}

    def __len__(self) -> int:
        return len(self.layers)

    def timeline(self, program: Program) -> Any:
        """The timeline of a program of one of the plans, or None if it has not run yet."""
        entry = self._timelines.get(id(program))
        return None if entry is None else entry[1]

    def keep_timeline(self, program: Program, timeline: object) -> None:
        """Keep what the engine made of a program; the program is kept too, so that its identity stays its own."""
        self._timelines[id(program)] = program, timeline


class NetworkPlan:
    """How a network runs on a machine: a `LayerPlan` for each layer, in the order in which they run.

    Made by `Machine.plan`. A layer is planned with what the network around it means for it (placement of weights,
    layouts, fusion, power) when it is first read, and once.

    Attributes
    ----------
    machine : Machine
    workload : Workload
        The whole network, whatever part of it is selected, with composed layers as their products
        (`Workload.lowered`).
    batch : int
        Inputs that run together.
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
        if name not in self._plans:
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
        chosen = selects(patterns, {*self.workload.names, *origin.names})
        names: set[str] = set()
        for layer in origin:
            parts = [part.name for part, _ in layer.sublayers]
            names.update(name for name in parts or (layer.name,) if chosen(layer.name) or chosen(name))
        names.intersection_update(self.names)
        if not names:
            shown = " or ".join(map(repr, patterns))
            near = hint(patterns[0] if patterns else "", origin.names)
            raise InputError(f"a layer of {self.workload.name} must match {shown}{near}")
        return self.part(names)

    def part(self, names: Collection[str]) -> NetworkPlan:
        """The same plan with only the layers of these names; raises InputError where there is none of them."""
        chosen = tuple(name for name in self.names if name in names)
        if not chosen:
            raise InputError(f"a part of {self.workload.name} must have at least one of its layers")
        part = NetworkPlan(self.machine, self.workload, self.batch, tuple(self._contexts.values()), self.hosts, chosen)
        part._plans = self._plans
        return part
