"""A CUDA device through CuPy: kernels launched one by one, timed by events on the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hwsim.calibration.gpu.device import BYTES, Properties, no_device, properties_of, repeat_timing
from hwsim.kernels.probe import Timing

__all__ = ["CupyDevice"]

TYPES = {"fp32": "float32", "fp16": "float16"}
"""CuPy has no bf16, and multiplies int8 without tensor cores."""
KERNELS = 24


class CupyDevice:
    """The current CUDA device of CuPy; `repeats` timings are taken of each kernel."""

    def __init__(self, cupy: Any, repeats: int) -> None:
        self.cupy, self.repeats = cupy, repeats
        self.failures: list[str] = []
        try:
            count = cupy.cuda.runtime.getDeviceCount()
        except cupy.cuda.runtime.CUDARuntimeError as error:
            raise no_device(f"cupy {cupy.__version__} sees none ({error})") from None
        if not count:
            raise no_device(f"cupy {cupy.__version__} sees none")
        self.properties = self._properties()

    def _properties(self) -> Properties:
        runtime = self.cupy.cuda.runtime
        properties = runtime.getDeviceProperties(self.cupy.cuda.Device().id)
        name = properties["name"].decode() if isinstance(properties["name"], bytes) else properties["name"]
        return properties_of(
            name,
            f"cupy {self.cupy.__version__}, CUDA {runtime.runtimeGetVersion()}",
            False,
            {
                "capability": f"{properties['major']}.{properties['minor']}",
                "sms": properties["multiProcessorCount"],
                "memory": f"{properties['totalGlobalMem']} B",
            },
            kilohertz=properties.get("clockRate", 0),
            memory_kilohertz=properties.get("memoryClockRate", 0),
            bus_bits=properties.get("memoryBusWidth", 0),
            registers=properties.get("regsPerMultiprocessor", 0),
            sizes={"l2": properties.get("l2CacheSize", 0), "shared": properties.get("sharedMemPerMultiprocessor", 0)},
        )

    def _time(self, run: Callable[[int], Any], copies: int, work: float) -> Timing:
        cuda = self.cupy.cuda
        kernels = -(-KERNELS // copies) * copies

        def elapsed(times: int) -> float:
            begin, end = cuda.Event(), cuda.Event()
            begin.record()
            for turn in range(times * kernels):
                run(turn % copies)
            end.record()
            end.synchronize()
            return float(cuda.get_elapsed_time(begin, end)) * 1e-3

        return repeat_timing(elapsed, kernels, work, self.repeats)

    def _attempt(self, time_kernel: Callable[[], Timing]) -> Timing | None:
        try:
            return time_kernel()
        except self.cupy.cuda.memory.OutOfMemoryError as error:
            self.failures.append(" ".join(str(error).split())[:200])
            return None
        finally:
            self.cupy.get_default_memory_pool().free_all_blocks()

    def time_matmul(self, m: int, n: int, k: int, dtype: str, copies: int) -> Timing | None:
        """See `Device`."""
        if dtype not in TYPES:
            return None

        def time_kernel() -> Timing:
            cupy = self.cupy
            a, *weights = (
                cupy.random.standard_normal(shape, dtype="float32").astype(TYPES[dtype])
                for shape in [(m, k)] + [(k, n)] * copies
            )
            out = cupy.empty((m, n), dtype=TYPES[dtype])
            return self._time(lambda i: cupy.matmul(a, weights[i], out=out), copies, float(m * n * k))

        return self._attempt(time_kernel)

    def time_copy(self, size: int) -> Timing | None:
        """See `Device`: a kernel that adds one to each value."""

        def time_kernel() -> Timing:
            x = self.cupy.zeros(size // BYTES["fp32"], dtype="float32")
            y = self.cupy.empty_like(x)
            return self._time(lambda _: self.cupy.add(x, 1.0, out=y), 1, float(2 * x.nbytes))

        return self._attempt(time_kernel)

    def time_read(self, size: int) -> Timing | None:
        """See `Device`: the largest of all values."""

        def time_kernel() -> Timing:
            x = self.cupy.zeros(size // BYTES["fp32"], dtype="float32")
            return self._time(lambda _: x.max(), 1, float(x.nbytes))

        return self._attempt(time_kernel)

    def time_empty_kernel(self, graph: bool) -> Timing | None:
        """See `Device`; none in a graph."""
        if graph:
            return None
        empty = self.cupy.RawKernel('extern "C" __global__ void empty() {}', "empty")
        return self._time(lambda _: empty((1,), (1,), ()), 1, 1.0)
