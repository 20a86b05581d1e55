"""What every kind of machine is: it plans layers in their network, and lowers each to stages that the engine runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, overload

from hwsim.engine.clock import Timebase
from hwsim.errors import Fault, InputError, nearest
from hwsim.machines.lower_bound import LowerBound
from hwsim.machines.memory import MemoryUse
from hwsim.machines.network_plan import NetworkPlan, PlanCache, check_batch
from hwsim.machines.plan import Constant, LayerPlan, Traffic
from hwsim.machines.spec import MachineSpec
from hwsim.message import Message
from hwsim.workload import Layer, Workload
from hwsim.yaml_source import Document

if TYPE_CHECKING:
    from hwsim.workload.arena import Arena

__all__ = ["MAX_MACS", "Machine"]

MAX_MACS = 2**52
"""MACs of one layer that are planned: a thousand times the largest there is, and every count of words fits 64 bits."""


class Machine(ABC):
    """A machine of some kind: plans a layer, and lowers it to stages that the engine runs.

    A subclass sets `kind`, `spec_class` and implements `_plan`; nothing else has to know of it.
    """

    kind: ClassVar[str]
    spec_class: ClassVar[type[MachineSpec]]

    def __init__(self, spec: MachineSpec, folder: Path, document: Document) -> None:
        self.spec: Any = spec
        self.folder = folder
        self.document = document
        self.cache = PlanCache()
        try:
            self.timebase = Timebase(dict(spec.clocks))
            self._check()
            self._check_area()
        except ValueError as error:
            raise InputError([Fault(document.name, "", str(error))]) from None

    @property
    def name(self) -> str:
        """The machine's name."""
        return str(self.spec.name)

    @property
    @abstractmethod
    def core_clock(self) -> str:
        """The clock that cycles are counted in."""

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
            Inputs that run together.

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
            self.check_size(what, batch)
            return self.plan(Workload(what.name, [what], graph=False), batch)[what.name]
        network = what.lowered()
        return NetworkPlan(self, network, batch, self.contexts(network, batch), self.hosts(network))

    def layer_plan(self, layer: Layer, batch: int, context: Hashable = None) -> LayerPlan:
        """Plan a layer in its context, or take the plan of a layer that is like it: networks repeat their layers."""
        key = (batch, self.planned_by_name(layer.name), context, *layer.likeness)
        plan = self.cache.layers.get(key)
        if plan is None:
            self.check_size(layer, batch)
            plan = self._plan(layer, batch) if context is None else self._plan_in(layer, batch, context)
            self.cache.layers[key] = plan
            self.cache.planned += 1
        return plan.named(layer.name)

    @staticmethod
    def check_size(layer: Layer, batch: int) -> None:
        """Refuse a layer whose counts would not fit, or which is planned as its sublayers: raises InputError."""
        if layer.sublayers:
            message = f"{layer.op} is planned as its products: plan a workload that has it, and select({layer.name!r})"
            raise InputError([Fault("", layer.name, message)])
        if layer.macs * batch > MAX_MACS:
            message = f"at most 2^52 MACs run at a time, not {layer.macs * batch:,}; is the batch right?"
            raise InputError([Fault("", layer.name, message)])

    def contexts(self, workload: Workload, batch: int) -> Sequence[Hashable]:
        """Network context of each layer; None for each if the kind plans layers independently."""
        return [None] * len(workload)

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

    def _check(self) -> None:  # noqa: B027 - a kind may have nothing to add
        """Refuse what the fields alone cannot: raises ValueError."""

    @abstractmethod
    def _plan(self, layer: Layer, batch: int) -> LayerPlan:
        """Plan one layer by itself."""

    def _plan_in(self, layer: Layer, batch: int, context: Any) -> LayerPlan:
        """Plan one layer in its context; a kind that overrides `contexts` overrides this too."""
        raise NotImplementedError

    def power_columns(self, plan: LayerPlan) -> dict[str, float | int | str]:
        """Columns of the report that follow from prices, which plans do not depend on."""
        return {}

    def parts(self) -> Mapping[str, int]:
        """How many the machine has of each part that takes area: PEs, bytes of each memory."""
        return {}

    @property
    def area_mm2(self) -> float | None:
        """Silicon area by the machine's own figures; None if it has none."""
        area = self.spec.area
        if area is None:
            return None
        return float(area.fixed + sum(number * area.parts[part] for part, number in self.parts().items()))

    @property
    def cost_usd(self) -> float | None:
        """Cost by the machine's own figures; None if it has none."""
        cost = self.spec.cost
        return None if cost is None else float(cost.each) + float(cost.per_mm2) * (self.area_mm2 or 0.0)

    def _check_area(self) -> None:
        """Every part must have its area, so that no swept part is free; raises ValueError."""
        area, cost = self.spec.area, self.spec.cost
        if cost is not None and cost.per_mm2 and area is None:
            raise ValueError("cost.per_mm2 needs the area of the machine: give area")
        if area is None:
            return
        parts = self.parts()
        for part in area.parts:
            if part not in parts:
                raise ValueError(f"area.parts must name parts of the machine, not {part!r}{nearest(part, parts)}")
        missing = [part for part in parts if part not in area.parts]
        if missing:
            raise ValueError(f"area.parts must give each part of the machine its area; missing: {', '.join(missing)}")

    def lower_bound(self, layer: Layer, batch: int) -> LowerBound | None:
        """Lower bound of the cost of any plan of a layer; None if the kind has none."""
        return None

    def activation_bits(self, workload: Workload) -> Mapping[str, int]:
        """Bits of the values that a layer writes, where it does not run in its own formats."""
        return {}

    def memory_bytes(self) -> int | None:
        """Bytes of memory a network must fit in, or None where it is not bounded."""
        return None

    def memories(self, workload: Workload, batch: int) -> tuple[MemoryUse, ...]:
        """What a network needs of each bounded memory, where the kind has more than `memory_bytes`."""
        return ()

    def arena(self, workload: Workload, batch: int = 1) -> Arena | None:
        """Where the activations of a network lie in memory over time, where the kind plans that."""
        return None

    def advice(self, plan: NetworkPlan, name: str) -> tuple[Message, ...]:
        """For `hwsim explain`: the cost of a layer under alternatives."""
        return ()

    def traffic(self, plan: LayerPlan) -> tuple[Traffic, ...]:
        """For a roofline: what a layer moves at each memory that has a bandwidth, from the outermost in.

        No layer may be faster than this allows: its time is at least the bytes over the bytes a second, of each memory.
        """
        return ()

    def constants(self) -> tuple[Constant, ...]:
        """Numbers that runs use and that are not in the machine's file, such as those of a kernel library."""
        return ()

    def why_unused(self, property: str) -> Message | str:
        """Why a property of layers that changes no plan here does not, as in ``weight.density``.

        ``dtype`` asks who runs other number formats; the empty name why a layer takes no time and no energy.
        """
        return "" if property == "dtype" else Message("unused.kind", "not modeled by kind {kind}", {"kind": self.kind})

    def runs_as(self, layer: Layer) -> str | None:
        """The number format that a layer runs in, where the kind has one for all of its tensors."""
        return None

    def idle_keys(self) -> Mapping[str, Message | str]:
        """Keys of a file that have no effect on this machine, each with the reason: dotted, a block for all below."""
        return {}

    def odd_prices(self) -> tuple[tuple[str, str, Message | str], ...]:
        """Prices of something else than the machine has: key, value, reason."""
        return ()

    def own_value(self, key: str) -> object | None:
        """What the user gave for a dotted key, in a file or with ``--set``; None where hwsim's own files say it."""
        from hwsim.machines.loader import machine_folder

        node, path, left = self.document.data, tuple[str, ...](), key
        while left:
            # A key may have a dot of its own, as the price of mac.int8.
            part = left if isinstance(node, dict) and left in node else left.partition(".")[0]
            if not isinstance(node, dict) or part not in node:
                return None
            node, path, left = node[part], (*path, part), left[len(part) + 1 :]
        marks = self.document.marks
        places = [where for mark, where in marks.items() if mark[: len(path)] == path]
        if not places:  # given as part of a whole block, which alone has a place
            places = [marks[path[:size]] for size in range(len(path), 0, -1) if path[:size] in marks][:1]
        shipped = f"{machine_folder()}/"
        return None if all(where.startswith(shipped) for where in places) else node

    def notes(self, plan: NetworkPlan) -> tuple[Message, ...]:
        """Assumptions and scalings that a user of this run should know."""
        return ()
