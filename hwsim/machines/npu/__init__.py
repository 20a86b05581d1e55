"""Neural processors beside a core: Ethos-U, Edge TPU and others."""

from hwsim.machines.npu.machine import Npu

__all__ = ["Npu"]
