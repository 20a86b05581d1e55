"""Machines of kind ``pe_array``: row-stationary chips, systolic arrays, broadcast arrays, and the dataflows between."""

from hwsim.machines.pe_array.machine import PeArray
from hwsim.machines.pe_array.spec import PeArraySpec

__all__ = ["PeArray", "PeArraySpec"]
