"""Convolution by the fast Fourier transform of tiles, added where their outputs overlap.

The spectrum of a real tile of T x T has T x T / 2 + 2 values that are not the mirror of another, four of which are
real. Each is multiplied with that of the filter and summed over the channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log2, prod

from hwsim.workload.product import Geometry

__all__ = ["Fft"]


@dataclass(frozen=True, slots=True)
class Fft:
    """Tiles of `size` x `size`, a power of two, for filters of r x s.

    Attributes
    ----------
    size, r, s : int
    """

    size: int
    r: int
    s: int

    def __str__(self) -> str:
        return f"FFT {self.size}x{self.size}"

    @property
    def outputs(self) -> tuple[int, int]:
        """Rows and columns of outputs of a tile that no neighbor's samples are missing from."""
        return self.size - self.r + 1, self.size - self.s + 1

    @property
    def values(self) -> int:
        """Values of a spectrum that are not the mirror of another."""
        return self.size**2 // 2 + 2

    @property
    def products(self) -> int:
        """Real multiplications for each channel and filter: four for a complex product, one for a real one."""
        return 4 * (self.values - 4) + 4

    @property
    def flops(self) -> int:
        """Operations of the transform of a real tile, forward or back.

        Rows are real transforms; of the columns two are real, the others complex. Split radix takes 4 n log2(n) - 6 n +
        8 operations for n complex values (Johnson and Frigo, *IEEE Transactions on signal processing*, 2007, table I)
        and n - 2 less than half for real ones (Sorensen et al., *IEEE Transactions on acoustics, speech and signal
        processing*, 1987).
        """
        n = self.size
        whole = 4 * n * int(log2(n)) - 6 * n + 8
        real = (whole - 2 * n + 4) // 2
        return (n + 2) * real + (n // 2 - 1) * whole

    def grid(self, shape: Geometry) -> tuple[int, int]:
        """Rows and columns of tiles."""
        down, across = self.outputs
        return ceil(shape.p / down), ceil(shape.q / across)

    def multiplications(self, shape: Geometry) -> int:
        """Real multiplications of an image."""
        return prod(self.grid(shape)) * self.products * shape.channels * shape.filters * shape.groups
