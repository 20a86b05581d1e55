"""Layers of low rank from real weights: truncated singular value decompositions, one after the other in a train."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.workload.recipe import Recipe

__all__ = ["factors_of", "tensor_train", "train_matrix"]

Floats = NDArray[np.float64]


def factors_of(weights: NDArray[Any], recipe: Recipe) -> tuple[Floats, ...]:
    """Weights of the layers that take the place of one, in their order; `weights` alone where its rank is kept."""
    array = np.asarray(weights, dtype=np.float64)
    if recipe.low_rank is not None:  # filters of a convolution: K x (C R S)
        left, right = _split(array.reshape(len(array), -1), recipe.low_rank.filters)
        return right.reshape(-1, *array.shape[1:]), left.reshape(*left.shape, 1, 1)
    if recipe.svd is not None:  # a matrix of inputs x outputs
        return _split(array, recipe.svd.rank)
    if recipe.tensor_train is not None:
        outputs, inputs = recipe.tensor_train.modes
        cores = tensor_train(array, outputs, inputs, recipe.tensor_train.rank)
        # A product of a core has its rank and input mode before, its output mode and rank behind.
        return tuple(core.transpose(0, 2, 1, 3).reshape(core.shape[0] * core.shape[2], -1) for core in cores)
    return (array,)


def _split(matrix: Floats, rank: int) -> tuple[Floats, Floats]:
    """Two matrices of this rank whose product is nearest to the matrix; zeros where it has no such rank."""
    u, s, v = np.linalg.svd(matrix, full_matrices=False)
    root = np.sqrt(s[:rank])
    left, right = np.zeros((len(matrix), rank)), np.zeros((rank, matrix.shape[1]))
    left[:, : len(root)] = u[:, :rank] * root
    right[: len(root)] = root[:, None] * v[:rank]
    return left, right


def tensor_train(matrix: Floats, outputs: Sequence[int], inputs: Sequence[int], rank: int) -> list[Floats]:
    """Cores [rank before, output mode, input mode, rank behind] of a matrix of inputs x outputs, by repeated SVD."""
    modes = len(outputs)
    tensor = matrix.T.reshape(*outputs, *inputs)
    order = [axis for pair in zip(range(modes), range(modes, 2 * modes)) for axis in pair]
    rest = tensor.transpose(order).reshape(1, -1)
    cores: list[Floats] = []
    before = 1
    for m, n in zip(outputs[:-1], inputs[:-1]):
        left, rest = _split(rest.reshape(before * m * n, -1), rank)
        cores.append(left.reshape(before, m, n, rank))
        before = rank
    cores.append(rest.reshape(before, outputs[-1], inputs[-1], 1))
    return cores


def train_matrix(cores: Sequence[Floats]) -> Floats:
    """The matrix of inputs x outputs that a tensor train stands for."""
    whole = cores[0]
    for core in cores[1:]:
        whole = np.tensordot(whole, core, axes=(-1, 0))
    modes = len(cores)
    flat = whole.reshape([size for core in cores for size in core.shape[1:3]])
    order = [*range(0, 2 * modes, 2), *range(1, 2 * modes, 2)]
    outputs = math.prod(core.shape[1] for core in cores)
    return flat.transpose(order).reshape(outputs, -1).T
