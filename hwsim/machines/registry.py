"""The kinds of machine by name: those of hwsim, and those of the entry-point group ``hwsim.machines``."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint

from hwsim.machines.base import Machine
from hwsim.plug_ins import plug_ins

__all__ = ["kinds"]


@cache
def kinds() -> dict[str, type[Machine]]:
    """Every known kind of machine by its name; a plug-in that cannot be loaded is left out with a warning."""
    from hwsim.machines.cluster import Cluster
    from hwsim.machines.cpu import Cpu
    from hwsim.machines.gpu import Gpu
    from hwsim.machines.mcu import Mcu
    from hwsim.machines.npu import Npu
    from hwsim.machines.pe_array import PeArray
    from hwsim.machines.sparse_array import SparseArray

    classes: dict[str, type[Machine]] = {cls.kind: cls for cls in (PeArray, SparseArray, Mcu, Npu, Cpu, Gpu, Cluster)}
    return classes | plug_ins("hwsim.machines", "kind", _checked)


def _checked(point: EntryPoint, loaded: object) -> type[Machine]:
    if not (isinstance(loaded, type) and issubclass(loaded, Machine)):
        raise TypeError(f"{point.value} must be a subclass of hwsim.Machine")
    return loaded
