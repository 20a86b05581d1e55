"""Machines of kind ``mcu``: microcontrollers, the kernel libraries that they run, their memories and board power."""

from hwsim.machines.mcu.library import McuLibrary, library_names, load_library
from hwsim.machines.mcu.machine import Mcu
from hwsim.machines.mcu.spec import McuSpec

__all__ = ["McuLibrary", "Mcu", "McuSpec", "library_names", "load_library"]
