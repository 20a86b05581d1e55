"""Graphics processors: kernels of a library, cut into tiles that run in waves over the multiprocessors."""

from hwsim.machines.gpu.machine import Gpu
from hwsim.machines.gpu.spec import GpuSpec

__all__ = ["Gpu", "GpuSpec"]
