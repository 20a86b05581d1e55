"""F(m x m, r x s): a convolution in the transformed domain, one product for each point of a tile.

A tile of (m + r - 1) x (m + s - 1) inputs makes m x m outputs. At each of its points the transformed inputs of all
channels are multiplied with the transformed filters and summed over the channels: a product of matrices of its own, of
tiles by channels by filters. Neighboring tiles share r - 1 rows and s - 1 columns of inputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil, log2, prod

from hwsim.algorithms.toom_cook import Matrices, Matrix, integers, matrices
from hwsim.algorithms.transform import TransformCost, cost_of
from hwsim.workload import Conv2d, Layer
from hwsim.workload.product import Geometry

__all__ = ["Bits", "Winograd"]


@dataclass(frozen=True, slots=True)
class Bits:
    """Bits that exact integers need: of transformed inputs and filters, and of a sum over the channels."""

    data: int
    filter: int
    sum: int


@dataclass(frozen=True, eq=False)
class Winograd:
    """An algorithm for filters of one size.

    Attributes
    ----------
    down, across : Matrices
        F(m, r) along the columns of a tile, and F(m, s) along its rows; F(1, 1) where the filter has one row or column.
    """

    down: Matrices
    across: Matrices

    @classmethod
    def of(cls, m: int, r: int, s: int) -> Winograd:
        """F(m x m, r x s); along an axis on which the filter has one tap there is nothing to save, and m is 1."""
        return cls(matrices(m if r > 1 else 1, r), matrices(m if s > 1 else 1, s))

    def __str__(self) -> str:
        return f"F({self.down.m}x{self.across.m}, {self.down.r}x{self.across.r})"

    @property
    def points(self) -> int:
        """Points of a tile: multiplications for each channel and filter."""
        return self.down.points * self.across.points

    @property
    def outputs(self) -> int:
        """Outputs of a tile."""
        return self.down.m * self.across.m

    @property
    def gain(self) -> float:
        """Multiplications of the direct convolution for each one of this, where the tiles divide the map."""
        return self.outputs * self.down.r * self.across.r / self.points

    @cached_property
    def exact(self) -> Winograd:
        """The same with matrices of whole numbers."""
        return Winograd(integers(self.down), integers(self.across))

    @cached_property
    def data(self) -> TransformCost:
        """Operations to transform a tile of one channel."""
        return cost_of(self.down.data, self.across.data)

    @cached_property
    def filter(self) -> TransformCost:
        """Operations to transform a filter of one channel."""
        return cost_of(self.down.filter, self.across.filter)

    @cached_property
    def inverse(self) -> TransformCost:
        """Operations to make the outputs of a tile of one filter."""
        return cost_of(self.down.output, self.across.output)

    def grid(self, shape: Geometry) -> tuple[int, int]:
        """Rows and columns of tiles; those at the edges may be ragged, and are whole."""
        return ceil(shape.p / self.down.m), ceil(shape.q / self.across.m)

    def tiles(self, shape: Geometry) -> int:
        """Tiles of an image."""
        return prod(self.grid(shape))

    def multiplications(self, shape: Geometry) -> int:
        """Multiplications of an image."""
        return self.tiles(shape) * self.points * shape.channels * shape.filters * shape.groups

    def product(self, layer: Layer, shape: Geometry, folded: bool = False) -> Conv2d:
        """The products of the points of an image: a convolution of 1 x 1 with a group for each point.

        `folded` is for adder trees that sum the points of a tile as they sum its channels: points lie in the channels.
        """
        rows, columns = self.grid(shape)
        groups = 1 if folded else self.points
        return Conv2d(
            layer.name, c=self.points * shape.c, k=groups * shape.k, h=rows, w=columns, r=1,
            groups=groups * shape.groups, bias=False,
            input=layer.input.spec.name, weight=layer.weight.spec.name, output=layer.output.spec.name,
        )  # fmt: skip

    def bits(self, data: int, filter: int, channels: int) -> Bits:
        """Bits of exact integers for inputs and filters of so many bits, signed.

        A row of a transform grows a value by at most the sum of its magnitudes; down and across, by their product.
        """
        own = self.exact
        grown = [
            bits + ceil(log2(_reach(down) * _reach(across)))
            for bits, down, across in (
                (data, own.down.data, own.across.data),
                (filter, own.down.filter, own.across.filter),
            )
        ]
        return Bits(grown[0], grown[1], sum(grown) - 1 + ceil(log2(channels)))


def _reach(matrix: Matrix) -> int:
    """The largest sum of magnitudes of a row."""
    return int(max(sum(map(abs, row)) for row in matrix))
