"""A layer as a sparse array sees it: matrices of weights by vectors of the ifmap, and densities or masks of both."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil

import numpy as np
from numpy.typing import NDArray

from hwsim.machines.sparse_array.draw import Draw
from hwsim.workload import Layer
from hwsim.workload.product import Geometry, Product
from hwsim.workload.taps import live_taps

__all__ = ["Work", "work_of"]

_MOST_VALUES = 2**26
"""Values of all windows of an image."""


@dataclass(frozen=True)
class Work:
    """`matrices` matrices of weights, `rows` outputs by `columns` inputs each, times ifmap vectors.

    A convolution is the matrix of its filters, its vectors are windows of the ifmap, and `matrices` are its groups.
    `macs` are the multiply-accumulates of the batch, zeros too. The array `skips` zeros of the ifmap, or those of the
    weights alone.
    """

    layer: Layer
    batch: int
    matrices: int
    rows: int
    columns: int
    macs: int
    geometry: Geometry | None
    stored: bool
    skips: bool = True

    @property
    def vectors(self) -> float:
        """Vectors of a matrix: their mean, where some have fewer than others."""
        return self.macs / (self.matrices * self.rows * self.columns)

    @property
    def inside(self) -> float:
        """Share of the multiply-accumulates that read the image, not its padding."""
        z = self.geometry
        if z is None or not any(z.pad):
            return 1.0
        rows = live_taps(z.h, z.r, z.stride[0], z.pad[0], z.p, z.dilation[0])
        cols = live_taps(z.w, z.s, z.stride[1], z.pad[1], z.q, z.dilation[1])
        return rows * cols / (z.p * z.q * z.r * z.s)

    @property
    def independent_vectors(self) -> float:
        """Vectors without a value in common whose mean differs as much as that of all; windows share most values."""
        z = self.geometry
        if z is None:
            return max(1.0, self.layer.input.elements * self.batch / self.columns)
        rows = _alike(z.h, z.r, z.stride[0], z.pad[0], z.p, z.dilation[0])
        return max(
            1.0, z.c * rows * _alike(z.w, z.s, z.stride[1], z.pad[1], z.q, z.dilation[1]) * self.batch / self.columns
        )

    @property
    def weight_density(self) -> float:
        """Share of the weights that are not zero."""
        return self.layer.weight.density

    @property
    def input_density(self) -> float:
        """Share of the values of the ifmap that are not zero."""
        return self.layer.input.density

    def rows_of_pes(self, pes: int) -> list[int]:
        """Rows of each PE, where row i is of PE ``i mod pes``."""
        return [len(range(pe, self.rows, pes)) for pe in range(pes)]

    def weight_masks(self) -> NDArray[np.bool_] | None:
        """Masks of the matrices as (matrices, columns, rows); None where they are not known."""
        mask, layer, z = self.layer.weight.spec.mask, self.layer, self.geometry
        if not self.stored or layer.weight.elements != self.matrices * self.columns * self.rows:
            return None
        if mask is None and self.weight_density < 1:
            return None
        if mask is None:
            return np.broadcast_to(np.True_, (self.matrices, self.columns, self.rows))
        if z is None:
            return mask.array.reshape(self.matrices, self.columns, self.rows)
        return mask.array.reshape(self.matrices, self.rows, self.columns).swapaxes(1, 2)

    def vector_masks(self) -> NDArray[np.bool_] | None:
        """Masks of the vectors of an inference as (matrices, vectors, columns); None where they are not known.

        Where an array skips no zeros of the ifmap, all its values are in them.
        """
        mask, z, layer = self.layer.input.spec.mask if self.skips else None, self.geometry, self.layer
        vectors = self.vectors / self.batch
        size = self.matrices * int(vectors) * self.columns
        if (mask is None and self.skips and self.input_density < 1) or size > _MOST_VALUES or vectors != int(vectors):
            return None
        if z is None:
            known = None if mask is None else mask.array
            shape = self.matrices, int(vectors), self.columns
            if known is None:
                return np.broadcast_to(np.True_, shape)
            return known.reshape(shape) if known.size == size else None
        return self._windows(np.ones(layer.input.shape, bool) if mask is None else mask.array)

    def drawn_vectors(self, draw: Draw) -> NDArray[np.bool_]:
        """Vectors of an inference whose zeros are drawn, as (matrices, vectors, columns)."""
        if self.geometry is None:
            return draw.mask((self.matrices, ceil(self.vectors / self.batch), self.columns), self.input_density)
        return self._windows(draw.mask(self.layer.input.shape, self.input_density))

    def _windows(self, image: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Windows of an image as vectors."""
        z = self.geometry
        assert z is not None
        image = np.pad(image.reshape(z.c, z.h, z.w), ((0, 0), (z.pad[0], z.pad[2]), (z.pad[1], z.pad[3])))
        taps = [
            image[:, r * z.dilation[0] :: z.stride[0], s * z.dilation[1] :: z.stride[1]][:, : z.p, : z.q]
            for r, s in np.ndindex(z.r, z.s)
        ]
        windows = np.stack(taps, axis=1).reshape(z.groups, z.channels, z.taps, z.p * z.q)
        return windows.transpose(0, 3, 1, 2).reshape(self.matrices, z.p * z.q, self.columns)

    @cached_property
    def effectual(self) -> tuple[float, bool]:
        """Multiplications of two values that are not zero, and whether they are counted: by channels where known.

        Values of a channel that are not zero meet all that are left of its weights:
        sum over c of ``nnz_ifmap(c) nnz_weight(c)``, scaled to what the shape computes.
        """
        layer, geometry = self.layer, self.geometry
        ifmap, weight = layer.input.spec.mask, layer.weight.spec.mask
        if geometry is not None and weight is not None and (not self.skips or ifmap is not None):
            image = np.ones(layer.input.shape, bool) if not self.skips or ifmap is None else ifmap.array
            return _pairs(geometry, image, weight.array) * float(self.batch), True
        if not self.skips:
            return self.macs * self.weight_density * self.inside, bool(layer.nonzeros("weight"))
        inputs, weights = layer.nonzeros("input"), layer.nonzeros("weight")
        if inputs and weights and layer.input.elements and layer.weight.elements:
            pairs = sum(a * b for a, b in zip(inputs, weights, strict=True))
            all_pairs = layer.input.elements * layer.weight.elements / len(inputs)
            whole = geometry is None or (geometry.taps == 1 and geometry.stride == (1, 1) and not any(geometry.pad))
            return pairs / all_pairs * self.macs * self.inside, whole
        return self.macs * self.weight_density * self.input_density * self.inside, False


def _alike(size: int, taps: int, stride: int, pad: int, out: int, dilation: int) -> float:
    """Values of an axis that windows use alike, whose sum differs as that of all, which they use more or less often."""
    uses = np.zeros(size)
    for tap in range(taps):
        places = np.arange(out) * stride + tap * dilation - pad
        uses[places[(places >= 0) & (places < size)]] += 1
    return float(uses.sum() ** 2 / max(1.0, (uses**2).sum()))


def _pairs(z: Geometry, ifmap: NDArray[np.bool_], weight: NDArray[np.bool_]) -> int:
    """Pairs of a value and a weight that are not zero and meet for an output: sums over channels and taps."""
    weights = weight.reshape(z.groups, z.filters, z.channels, z.r, z.s).sum(1).reshape(z.c, z.r, z.s)
    total = 0
    for r, s in np.ndindex(z.r, z.s):
        rows = [y for p in range(z.p) if 0 <= (y := p * z.stride[0] + r * z.dilation[0] - z.pad[0]) < z.h]
        cols = [x for q in range(z.q) if 0 <= (x := q * z.stride[1] + s * z.dilation[1] - z.pad[1]) < z.w]
        if rows and cols:
            total += int((ifmap[:, rows][:, :, cols].sum((1, 2)) * weights[:, r, s]).sum())
    return total


def work_of(layer: Layer, batch: int, deal: str = "") -> Work | None:
    """The layer as matrices and vectors; None where it has no MACs.

    A ``grid`` skips zeros of the weights alone in depthwise layers (Chen et al., JETCAS 2019).
    """
    x = layer.lower(batch)
    if not isinstance(x, Product) or not x.macs:
        return None
    skips = deal != "grid" or x.geometry is None or not x.geometry.depthwise
    return Work(layer, batch, x.b * x.steps, x.n, x.k, x.macs, x.geometry, x.stored, skips)
