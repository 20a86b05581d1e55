"""A layer as a sparse array sees it: matrices of weights by vectors of the ifmap, and densities or masks of both."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwsim.workload import Layer
from hwsim.workload.product import Geometry, Product

__all__ = ["Work", "work_of"]


@dataclass(frozen=True, slots=True)
class Work:
    """`matrices` matrices of weights, `rows` outputs by `columns` inputs each, times `vectors` ifmap vectors each.

    A convolution is the matrix of its filters, its vectors are windows of the ifmap, and `matrices` are its groups.
    """

    layer: Layer
    batch: int
    matrices: int
    rows: int
    columns: int
    vectors: int
    geometry: Geometry | None
    stored: bool

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the batch, zeros too."""
        return self.matrices * self.rows * self.columns * self.vectors

    @property
    def weight_density(self) -> float:
        """Share of the weights that are not zero."""
        return self.layer.weight.density

    @property
    def input_density(self) -> float:
        """Share of the values of the ifmap that are not zero."""
        return self.layer.input.density

    @property
    def live_columns(self) -> int:
        """Values of a vector that are not zero: their mean, and at least one if there are any."""
        return max(round(self.columns * self.input_density), int(self.input_density > 0))

    def column_masks(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_] | None] | None:
        """Masks of the one matrix as (columns, rows), and of its vectors if they are known too; None without any."""
        weight, ifmap = self.layer.weight.spec.mask, self.layer.input.spec.mask
        if weight is None or self.matrices != 1:
            return None
        stored = weight.array
        matrix = stored if self.geometry is None else stored.reshape(self.rows, self.columns).T
        return matrix, ifmap.array if ifmap is not None and self.geometry is None else None

    def effectual(self) -> tuple[float, bool]:
        """Multiplications of two values that are not zero, and whether they are counted: by channels where known.

        Values of a channel that are not zero meet all that are left of its weights:
        sum over c of ``nnz_ifmap(c) nnz_weight(c)``, scaled to what the shape computes. A depthwise layer skips zeros
        of weights alone (Chen et al., JETCAS 2019).
        """
        layer, geometry = self.layer, self.geometry
        if geometry is not None and geometry.depthwise:
            known = layer.weight.spec.mask is not None or bool(layer.nonzeros("weight"))
            return self.macs * self.weight_density, known
        inputs, weights = layer.nonzeros("input"), layer.nonzeros("weight")
        if inputs and weights and layer.input.elements and layer.weight.elements:
            pairs = sum(a * b for a, b in zip(inputs, weights, strict=True))
            all_pairs = layer.input.elements * layer.weight.elements / len(inputs)
            whole = geometry is None or (geometry.taps == 1 and geometry.stride == (1, 1) and not any(geometry.pad))
            return pairs / all_pairs * self.macs, whole
        return self.macs * self.weight_density * self.input_density, False


def work_of(layer: Layer, batch: int) -> Work | None:
    """The layer as matrices and vectors; None where it has no MACs."""
    x = layer.lower(batch)
    if not isinstance(x, Product) or not x.macs:
        return None
    vectors = math.ceil(x.macs / (x.b * x.steps * x.n * x.k)) if x.spread else x.m
    return Work(layer, batch, x.b * x.steps, x.n, x.k, vectors, x.geometry, x.stored)
