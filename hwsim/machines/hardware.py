"""What a machine of any kind is without a network: its description, clocks, area, cost and constants."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from hwsim.algorithms import Algorithm, Requests
from hwsim.algorithms.choice import asked_for
from hwsim.energy import EnergyOrigin, Prices
from hwsim.engine.clock import Timebase
from hwsim.errors import Fault, InputError, nearest
from hwsim.machines.plan import Constant
from hwsim.machines.spec import MachineSpec
from hwsim.message import Message
from hwsim.workload import Layer
from hwsim.yaml_source import Document

__all__ = ["Hardware", "unused_by_arrays"]


def unused_by_arrays(property: str) -> Message | None:
    """Why no array of processing elements uses a property; None of properties that one may use."""
    if property.endswith(".pattern"):
        return Message("unused.random_zeros", "zeros are assumed to be distributed at random")
    if property.startswith("dead"):
        return Message("unused.dead_channels", "dead channels are computed like any others")
    if property == "activation":
        return Message("unused.activation", "it is applied at no cost as outputs leave the array")
    return None


class Hardware(ABC):
    """A machine's description; `Machine` adds how networks run on it."""

    kind: ClassVar[str]
    spec_class: ClassVar[type[MachineSpec]]
    no_nests: ClassVar[Message | None] = None
    """Why the kind's layers have no loop nest; empty if those with MACs have one."""

    def __init__(self, spec: MachineSpec, folder: Path, document: Document) -> None:
        self.spec: Any = spec
        self.folder = folder
        self.document = document
        try:
            self.timebase = Timebase(dict(spec.clocks))
            self._check()
            self._check_area()
        except ValueError as error:
            raise InputError([Fault(document.blame((), str(error)), "", str(error))]) from None
        self._check_sizes()
        self._check_algorithm()

    @property
    def name(self) -> str:
        """The machine's name."""
        return str(self.spec.name)

    @cached_property
    def prices(self) -> Prices:
        """Energy of each action of the machine."""
        return Prices(self.spec.energy, self.folder, self.sram_bytes())

    def sram_bytes(self) -> Mapping[str, int]:
        """Bytes of each memory, or of one of its banks: what a price of ``sram: memory`` is of."""
        return {}

    @property
    @abstractmethod
    def core_clock(self) -> str:
        """The clock that cycles are counted in."""

    def _check(self) -> None:  # noqa: B027 - a kind may have nothing to add
        """Refuse what the fields alone cannot: raises ValueError."""

    def parts(self) -> Mapping[str, int]:
        """How many the machine has of each part that takes area: PEs, bytes of each memory."""
        return {}

    @property
    def area_mm2(self) -> float | None:
        """Silicon area by the machine's own figures; None if it has none."""
        return None if self.spec.area is None else float(sum(self.spec.area.by_part(self.parts()).values()))

    def area_parts_mm2(self) -> dict[str, float]:
        """Silicon area by part, largest first, ``fixed`` among them; empty if the machine has no figures."""
        parts = {} if self.spec.area is None else self.spec.area.by_part(self.parts())
        return {part: float(area) for part, area in sorted(parts.items(), key=lambda item: -item[1])}

    @property
    def cost_usd(self) -> float | None:
        """Cost by the machine's own figures; None if it has none."""
        cost = self.spec.cost
        return None if cost is None else float(cost.each) + float(cost.per_mm2) * (self.area_mm2 or 0.0)

    def algorithms(self) -> tuple[Algorithm, ...]:
        """The algorithms that it has for convolutions."""
        return ("direct",)

    @cached_property
    def requested_algorithm(self) -> Requests:
        """What the file asks for a layer, by its name."""
        return Requests(self.spec.algorithm)

    def why_direct(self) -> str:
        """Why it has no other algorithm than the direct one, and the way out if there is one."""
        if self.library_name is not None:
            return f"kernels of {self.library_name} are modeled without transforms"
        return f"no machine of kind {self.kind} has transforms"

    def _check_algorithm(self) -> None:
        """An algorithm is asked for only where the machine has it; raises InputError."""
        own = self.algorithms()
        for name in sorted(asked_for(self.spec.algorithm) - {"auto", *own}):
            why = f": {self.why_direct()}" if own == ("direct",) else ""
            what = f"must be one of auto, {', '.join(own)} here, not {name}{why}"
            raise InputError([Fault(self.document.where(("algorithm",)), "algorithm", what)])

    def _check_area(self) -> None:
        """Every part must have its area, so that no swept part is free; raises ValueError."""
        area, cost = self.spec.area, self.spec.cost
        if cost is not None and cost.per_mm2 and area is None:
            raise ValueError("cost.per_mm2 needs the area of the machine: give area")
        if area is not None:
            area.check(self.parts())

    def _check_sizes(self) -> None:
        """A price follows the size of a memory only where there is one; raises InputError."""
        sizes = self.sram_bytes()
        faults = []
        for key, price in self.spec.energy.prices.items():
            component = key.partition(".")[0]
            if price.sram == "memory" and component not in sizes:
                path = ("energy", "prices", key, "sram")
                message = f"must be a size, as '64 KiB': {component} is not a memory with a size"
                faults.append(Fault(self.document.where(path), ".".join(path), message + nearest(component, sizes)))
        if faults:
            raise InputError(faults)

    def memory_bytes(self) -> int | None:
        """Bytes of memory a network must fit in, or None where it is not bounded."""
        return None

    def constants(self) -> tuple[Constant, ...]:
        """Numbers that runs use and that are not in the machine's file, such as those of a kernel library."""
        return ()

    @property
    def library_name(self) -> str | None:
        """The kernel library that layers run on; None where the kind has none."""
        return None

    def libraries(self) -> tuple[str, ...]:
        """Libraries that come with hwsim and exist for this machine, measured ones first."""
        return ()

    @property
    def energy_origin(self) -> EnergyOrigin:
        """What the energy of a run is of, and what it rests on."""
        energy = self.spec.energy
        dram = energy.prices.get("dram")
        node_nm = self.prices.table.node_nm if energy.node is None else float(energy.node * 10**9)
        parts = "chip" if dram is None or dram.unknown else "chip + DRAM"
        return EnergyOrigin(f"{parts} at {node_nm:g} nm", "cost table")

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
