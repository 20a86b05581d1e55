"""The kinds of machine by name: those of hwsim, and those of the entry-point group ``hwsim.machines``."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points

from hwsim.machines.base import Machine

__all__ = ["kinds"]


@cache
def kinds() -> dict[str, type[Machine]]:
    """Every known kind of machine by its name."""
    from hwsim.machines.cluster import Cluster
    from hwsim.machines.cpu import Cpu
    from hwsim.machines.gpu import Gpu
    from hwsim.machines.mcu import Mcu
    from hwsim.machines.npu import Npu
    from hwsim.machines.pe_array import PeArray
    from hwsim.machines.sparse_array import SparseArray

    classes: dict[str, type[Machine]] = {cls.kind: cls for cls in (PeArray, SparseArray, Mcu, Npu, Cpu, Gpu, Cluster)}
    for point in entry_points(group="hwsim.machines"):
        classes[point.name] = point.load()
    return classes
