"""Asks a device for the timings that a machine of kind ``gpu`` is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hwsim.calibration.gpu.device import BYTES, Device, Properties
from hwsim.errors import InputError
from hwsim.kernels.probe import Timing

__all__ = ["GRID", "LARGE", "GpuMeasurement", "Product", "Tell", "measure_device"]

Tell = Callable[[str, int, int], None]
"""Current step, completed units, total units."""
Shape = tuple[int, int, int]

COPIES = 6
"""Copies of the weights, as in the harness of graphs."""
ROWS = (1, 16, 64, 256, 1024, 4096)
WEIGHTS = ((768, 768), (1024, 4096), (4096, 1024), (2048, 8192), (5120, 5120), (8192, 8192), (12288, 4096))
GRID: tuple[Shape, ...] = (
    (1, 32, 32), (64, 128, 128), *((m, n, k) for n, k in WEIGHTS for m in ROWS), (8192, 8192, 8192),
)  # fmt: skip
"""Rows, columns and depth of the products that tensor cores are fitted on: bound by launch, memory and arithmetic."""
CUDA_GRID: tuple[Shape, ...] = tuple((m, n, k) for n, k in ((1024, 1024), (4096, 4096)) for m in (64, 512, 4096))
"""Products in fp32."""
LARGE: Shape = (8192, 8192, 8192)
"""Bound by arithmetic on every device."""
MIB = 2**20
LEAST_PRODUCTS = 4
MOST_REFUSED = 3


@dataclass(frozen=True, slots=True)
class Product:
    """A product of m x k by k x n, and its times."""

    m: int
    n: int
    k: int
    dtype: str
    timing: Timing

    @property
    def seconds(self) -> float:
        """The median: a kernel of a long run has no undisturbed least, its clock moves with the power."""
        return sorted(self.timing.ns)[len(self.timing.ns) // 2] * 1e-9


@dataclass(frozen=True)
class GpuMeasurement:
    """What was timed of a device; an entry that is missing has no kernel in the library that ran it.

    `bandwidth` has ``dram copy``, ``dram read``, ``l2 copy`` and ``l2 read``; `empty` has ``graph`` and ``stream``.
    """

    properties: Properties
    products: tuple[Product, ...]
    bandwidth: dict[str, Timing]
    empty: dict[str, Timing]
    notes: tuple[str, ...]

    def rate(self, dtype: str) -> Product | None:
        """The product of a type that did the most MACs a second."""
        own = [one for one in self.products if one.dtype == dtype]
        return max(own, key=lambda one: one.timing.work / one.seconds, default=None)

    @property
    def tensor_type(self) -> str | None:
        """The 16-bit type with the most measurements; the constants of the tensor cores are fitted to it."""
        counts = {dtype: sum(one.dtype == dtype for one in self.products) for dtype in ("bf16", "fp16")}
        best = max(counts, key=lambda dtype: counts[dtype])
        return best if counts[best] else None


def _shapes() -> list[tuple[str, Shape]]:
    shapes = [(dtype, shape) for dtype in ("bf16", "fp16") for shape in GRID]
    return shapes + [("fp32", shape) for shape in CUDA_GRID] + [("tf32", LARGE), ("int8", LARGE)]


def _fits(dtype: str, shape: Shape, memory: float) -> bool:
    m, n, k = shape
    return (m * k + COPIES * n * k + m * n) * BYTES[dtype] < memory / 2


def measure_device(device: Device, tell: Tell | None = None) -> GpuMeasurement:
    """Time products of each type, bandwidths of L2 and DRAM, and empty kernels.

    Raises
    ------
    InputError
        If the device has timed no product that constants could be fitted on.
    """
    tell = tell or (lambda *_: None)
    notes: list[str] = []
    memory = float(device.properties.memory)
    todo = _shapes()
    products: list[Product] = []
    left_out: list[str] = []
    # The fit uses fp16 only without bf16; otherwise one large product shows its rate.
    for place, (dtype, shape) in enumerate(todo):
        tell(f"{dtype} {'x'.join(map(str, shape))}", place, len(todo))
        if dtype == "fp16" and shape != LARGE and any(one.dtype == "bf16" for one in products):
            continue
        if not _fits(dtype, shape, memory):
            left_out.append("x".join(map(str, shape)))
            continue
        timing = device.time_matmul(*shape, dtype, COPIES)
        if timing is not None:
            products.append(Product(*shape, dtype, timing))
    tell("", len(todo), len(todo))
    if left_out:
        notes.append(f"no room for six copies of the weights of {', '.join(dict.fromkeys(left_out))}: left out")
    l2 = int(device.properties.l2 or 0)
    sizes = {"dram": min(int(memory / 8), max(8 * l2, 256 * MIB))} | ({"l2": l2 // 8} if l2 else {})
    bandwidth = {}
    for level, size in sizes.items():
        for what, time_stream in (("copy", device.time_copy), ("read", device.time_read)):
            timing = time_stream(size)
            if timing is not None:
                bandwidth[f"{level} {what}"] = timing
    empty = {}
    for name in ("graph", "stream"):
        timing = device.time_empty_kernel(name == "graph")
        if timing is not None:
            empty[name] = timing
    no_device = list(dict.fromkeys(device.failures))
    notes += [f"a kernel was refused: {why}" for why in no_device[:MOST_REFUSED]]
    if len(products) < LEAST_PRODUCTS:
        why = f": {no_device[0]}" if no_device else ""
        raise InputError(
            f"at least {LEAST_PRODUCTS} products must be timed on {device.properties.name}, not {len(products)}{why}"
        )
    return GpuMeasurement(device.properties, tuple(products), bandwidth, empty, tuple(notes))
