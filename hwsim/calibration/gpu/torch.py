"""A CUDA device through PyTorch: kernels captured in CUDA graphs, timed by events on the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hwsim.calibration.gpu.device import Properties, capability, no_device, properties_of, repeat_timing
from hwsim.kernels.probe import Timing

__all__ = ["TorchDevice"]

KERNELS = 48
"""Kernels of a graph at least: its own launch is a few microseconds."""
WARM = 3


class TorchDevice:
    """The current CUDA device of PyTorch.

    Parameters
    ----------
    torch : module
        PyTorch.
    repeats : int
        Timings of each kernel.
    """

    def __init__(self, torch: Any, repeats: int) -> None:
        if not torch.cuda.is_available():
            raise no_device(f"torch {torch.__version__} sees none")
        self.torch, self.repeats = torch, repeats
        self.failures: list[str] = []
        self.properties = self._properties()

    def _properties(self) -> Properties:
        torch = self.torch
        properties = torch.cuda.get_device_properties(torch.cuda.current_device())
        return properties_of(
            properties.name,
            f"torch {torch.__version__}, CUDA {torch.version.cuda}",
            True,
            {
                "capability": f"{properties.major}.{properties.minor}",
                "sms": properties.multi_processor_count,
                "memory": f"{properties.total_memory} B",
            },
            kilohertz=getattr(properties, "clock_rate", 0),
            memory_kilohertz=getattr(properties, "memory_clock_rate", 0),
            bus_bits=getattr(properties, "memory_bus_width", 0),
            registers=getattr(properties, "regs_per_multiprocessor", 0),
            sizes={
                "l2": getattr(properties, "L2_cache_size", 0),
                "shared": getattr(properties, "shared_memory_per_multiprocessor", 0),
            },
        )

    def _time(self, run: Callable[[int], Any], copies: int, work: float, graph: bool = True) -> Timing:
        """Time `run` of each copy in turn; its results must go to preallocated tensors."""
        torch = self.torch
        side = torch.cuda.Stream()
        torch.cuda.synchronize()
        with torch.cuda.stream(side):  # libraries choose kernels and take their workspace before a capture
            for turn in range(WARM * copies):
                run(turn % copies)
        torch.cuda.synchronize()
        kernels = -(-KERNELS // copies) * copies

        def all_of_them() -> None:
            for turn in range(kernels):
                run(turn % copies)

        replay = all_of_them
        if graph:
            cuda_graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(cuda_graph):
                all_of_them()
            replay = cuda_graph.replay

        def elapsed(times: int) -> float:
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            for _ in range(times):
                replay()
            end.record()
            torch.cuda.synchronize()
            return float(begin.elapsed_time(end)) * 1e-3

        return repeat_timing(elapsed, kernels, work, self.repeats)

    def _attempt(self, time_kernel: Callable[[], Timing]) -> Timing | None:
        """None where torch has no such kernel for this device, or no memory for it."""
        try:
            return time_kernel()
        except RuntimeError as error:  # torch's out of memory is one too
            self.failures.append(" ".join(str(error).split())[:200])
            return None
        finally:
            self.torch.cuda.empty_cache()

    def _has(self, dtype: str) -> bool:
        least = {"fp32": (0, 0), "fp16": (5, 3), "int8": (7, 5), "tf32": (8, 0), "bf16": (8, 0)}
        if dtype == "int8" and not hasattr(self.torch, "_int_mm"):
            return False
        return dtype in least and capability(self.properties) >= least[dtype]

    def time_matmul(self, m: int, n: int, k: int, dtype: str, copies: int) -> Timing | None:
        """See `Device`; int8 kernels require row-major weights and more than 16 rows."""
        torch = self.torch
        if not self._has(dtype) or (dtype == "int8" and (m <= 16 or n % 8 or k % 8)):
            return None

        def time_kernel() -> Timing:
            if dtype == "int8":
                a, *weights = (self._integers(shape) for shape in [(m, k)] + [(n, k)] * copies)
                weights = [w.t() for w in weights]
                out = torch.empty((m, n), dtype=torch.int32, device="cuda")
                return self._time(lambda i: torch._int_mm(a, weights[i], out=out), copies, float(m * n * k))
            kind = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(dtype, torch.float32)
            a, *weights = (torch.randn(shape, device="cuda", dtype=kind) for shape in [(m, k)] + [(k, n)] * copies)
            out = torch.empty((m, n), dtype=kind, device="cuda")
            before = torch.backends.cuda.matmul.allow_tf32
            torch.backends.cuda.matmul.allow_tf32 = dtype == "tf32"
            try:
                return self._time(lambda i: torch.mm(a, weights[i], out=out), copies, float(m * n * k))
            finally:
                torch.backends.cuda.matmul.allow_tf32 = before

        return self._attempt(time_kernel)

    def _integers(self, shape: tuple[int, int]) -> Any:
        return self.torch.randint(-128, 128, shape, dtype=self.torch.int8, device="cuda")

    def time_copy(self, size: int) -> Timing | None:
        """See `Device`: a kernel that adds one to each value, since a plain copy may go to the copy engine."""
        torch = self.torch

        def time_kernel() -> Timing:
            x = torch.zeros(size // 4, device="cuda")
            y = torch.empty_like(x)
            return self._time(lambda _: torch.add(x, 1.0, out=y), 1, float(2 * (size // 4 * 4)))

        return self._attempt(time_kernel)

    def time_read(self, size: int) -> Timing | None:
        """See `Device`: the largest of all values."""
        torch = self.torch

        def time_kernel() -> Timing:
            x = torch.zeros(size // 4, device="cuda")
            y = torch.empty((), device="cuda")
            return self._time(lambda _: torch.amax(x, dim=0, out=y), 1, float(size // 4 * 4))

        return self._attempt(time_kernel)

    def time_empty_kernel(self, graph: bool) -> Timing | None:
        """See `Device`: adding one to one value, which is as near to nothing as torch has."""
        one = self.torch.zeros(1, device="cuda")
        return self._attempt(lambda: self._time(lambda _: one.add_(1.0), 1, 1.0, graph))
