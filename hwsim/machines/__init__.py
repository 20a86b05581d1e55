"""Machines: what each kind of hardware is, and how a layer runs on it."""

from hwsim.machines.cpu import Cpu
from hwsim.machines.kinds import Machine, kinds
from hwsim.machines.loader import load_machine, machine_document, machine_folder, machine_names
from hwsim.machines.mcu import Mcu
from hwsim.machines.memory import MemoryUse
from hwsim.machines.pe_array import PeArray
from hwsim.machines.plan import LayerPlan

__all__ = [
    "Cpu",
    "LayerPlan",
    "Machine",
    "Mcu",
    "MemoryUse",
    "PeArray",
    "kinds",
    "load_machine",
    "machine_document",
    "machine_folder",
    "machine_names",
]
