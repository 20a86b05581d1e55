"""The kinds of machine by name: those of hwsim, and those of the entry-point group ``hwsim.machines``."""

from __future__ import annotations

import warnings
from functools import cache
from importlib.metadata import entry_points

from hwsim.errors import HwsimWarning, excerpt
from hwsim.machines.base import Machine

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
    for point in entry_points(group="hwsim.machines"):
        package = f" of {point.dist.name}" if point.dist else ""
        try:
            loaded = point.load()
            if not (isinstance(loaded, type) and issubclass(loaded, Machine)):
                raise TypeError(f"{point.value} must be a subclass of hwsim.Machine")
        except Exception as error:  # whatever a module does when it is imported
            what = excerpt(f"{type(error).__name__}: {error}")
            warnings.warn(f"the kind {point.name!r}{package} is left out: {what}", HwsimWarning, stacklevel=2)
        else:
            classes[point.name] = loaded
    return classes
