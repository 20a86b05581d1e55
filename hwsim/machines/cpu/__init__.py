"""Machines of kind ``cpu``: cores with vector ports and caches, and the inference libraries that they run."""

from hwsim.machines.cpu.core import Core, core_names, load_core
from hwsim.machines.cpu.library import Library, library_names, load_library
from hwsim.machines.cpu.machine import Cpu
from hwsim.machines.cpu.spec import CpuSpec

__all__ = ["Core", "Cpu", "CpuSpec", "Library", "core_names", "library_names", "load_core", "load_library"]
