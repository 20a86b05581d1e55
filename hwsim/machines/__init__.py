"""Machines: what each kind of hardware is, and how a layer runs on it."""

from hwsim.machines.base import Machine, NetworkPlan
from hwsim.machines.cluster import Cluster
from hwsim.machines.cpu import Cpu
from hwsim.machines.gpu import Gpu
from hwsim.machines.loader import (
    cluster_names,
    host_path,
    load_machine,
    locate,
    machine_document,
    machine_folder,
    machine_names,
    read_machine,
)
from hwsim.machines.mcu import Mcu
from hwsim.machines.memory import MemoryUse
from hwsim.machines.pe_array import PeArray
from hwsim.machines.plan import LayerPlan
from hwsim.machines.plan_cache import PlanCache
from hwsim.machines.registry import kinds

__all__ = [
    "Cluster",
    "Cpu",
    "Gpu",
    "LayerPlan",
    "Machine",
    "Mcu",
    "MemoryUse",
    "NetworkPlan",
    "PeArray",
    "PlanCache",
    "cluster_names",
    "host_path",
    "kinds",
    "load_machine",
    "locate",
    "machine_document",
    "machine_folder",
    "machine_names",
    "read_machine",
]
