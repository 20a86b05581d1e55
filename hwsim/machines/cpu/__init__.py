"""Machines of kind ``cpu``: cores with vector ports and caches, and the inference libraries that they run."""

from hwsim.machines.cpu.core import CpuCore, core_names, load_core
from hwsim.machines.cpu.library import CpuLibrary, library_names, load_library
from hwsim.machines.cpu.machine import Cpu
from hwsim.machines.cpu.spec import CpuSpec

__all__ = ["CpuCore", "Cpu", "CpuSpec", "CpuLibrary", "core_names", "library_names", "load_core", "load_library"]
