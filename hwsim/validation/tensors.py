"""Real data for a layer: seeded int8 tensors in the shape of its nest, and the output that must come of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hwsim.kernels.nest import tensor_shape
from hwsim.mapping import Problem, conv_problem
from hwsim.workload import Layer
from hwsim.workload.product import Geometry, geometry_of

__all__ = ["Bytes", "Sums", "convolution_of", "draw_values", "layer_tensors", "padded_image", "reference"]

Bytes = NDArray[np.int8]
Sums = NDArray[np.int64]

_BLOCK = 1 << 24


def reference(problem: Problem, tensors: dict[str, Bytes]) -> Sums:
    """The output of a convolution or a product of matrices, by products of float matrices, which are exact here."""
    x, w = tensors["ifmap"], tensors["weight"]
    if "P" not in problem.dims:
        if "B" in problem.dims:
            return np.stack([_product(a, b) for a, b in zip(x, w)])
        return _product(x, w)
    n, g, k, c, p, q, r, s = problem.dims.values()
    (_, stride), (_, down) = problem.operand("ifmap").axes[3]
    (_, step), (_, right) = problem.operand("ifmap").axes[4]
    out = np.zeros((n, g, k, p * q), dtype=np.int64)
    for at in range(n):
        for group in range(g):
            total = np.zeros((k, p * q))
            for i in range(r):
                for j in range(s):
                    rows = slice(i * down, i * down + (p - 1) * stride + 1, stride)
                    cols = slice(j * right, j * right + (q - 1) * step + 1, step)
                    window = x[at, group, :, rows, cols].reshape(c, p * q).astype(np.float64)
                    total += w[group, :, :, i, j].astype(np.float64) @ window
            out[at, group] = total
    return out.reshape(n, g, k, p, q)


def _product(a: Bytes, b: Bytes) -> Sums:
    """An exact product of matrices, some rows at a time."""
    right = b.astype(np.float64)
    rows = max(1, _BLOCK // max(a.shape[1], b.shape[1]))
    blocks = [(a[i : i + rows].astype(np.float64) @ right).astype(np.int64) for i in range(0, a.shape[0], rows)]
    return np.concatenate(blocks)


def draw_values(rng: np.random.Generator, shape: tuple[int, ...], density: float) -> Bytes:
    """Values from -127 to 127 of which about that share is not zero."""
    values = rng.integers(1, 128, shape, dtype=np.int8)
    values *= rng.integers(0, 2, shape, dtype=np.int8) * 2 - 1
    if density < 1:
        values *= rng.random(shape, dtype=np.float32) < density
    return values


def layer_tensors(layer: Layer, problem: Problem, batch: int | None, seed: int) -> tuple[dict[str, Bytes], Sums]:
    """Data for a layer in the shapes of its problem, and the output that must come of them.

    A convolution of a whole `batch` gets images with padding around them; a part of a layer (None) random values.
    """
    rng = np.random.default_rng(seed)
    shapes = {o.name: tensor_shape(o, problem) for o in problem.operands if not o.output}
    densities = {"ifmap": layer.input.density, "weight": layer.weight.density}
    shape = geometry_of(layer.lower(1))
    if shape is None or batch is None or tuple(problem.dims.values()) not in _shapes_of(shape, batch):
        tensors = {name: draw_values(rng, shape, densities[name]) for name, shape in shapes.items()}
        return tensors, reference(problem, tensors)
    g, k, c = shape.groups, shape.filters, shape.channels
    image = draw_values(rng, (batch, g, c, shape.h, shape.w), densities["ifmap"])
    weight = draw_values(rng, (g, k, c, shape.r, shape.s), densities["weight"])
    direct = convolution_of(shape, batch)
    whole = {"ifmap": padded_image(shape, direct, image), "weight": weight}
    output = reference(direct, whole)
    if "P" in problem.dims:
        return whole, output
    # The same convolution as a product of matrices: a row is an output position, taps outside channels.
    span = ((shape.r - 1) * shape.dilation[0] + 1, (shape.s - 1) * shape.dilation[1] + 1)
    windows = np.lib.stride_tricks.sliding_window_view(whole["ifmap"], span, axis=(3, 4))
    windows = windows[:, :, :, :: shape.stride[0], :: shape.stride[1], :: shape.dilation[0], :: shape.dilation[1]]
    columns = windows.transpose(1, 0, 3, 4, 5, 6, 2).reshape(shapes["ifmap"])
    filters = weight.transpose(0, 3, 4, 2, 1).reshape(shapes["weight"])
    return {"ifmap": columns, "weight": filters}, output.transpose(1, 0, 3, 4, 2).reshape(
        tensor_shape(problem.output, problem)
    )


def padded_image(x: Geometry, problem: Problem, image: Bytes) -> Bytes:
    """Images (batch, groups, channels, rows, columns) with padding around them, as far as the windows reach."""
    top, left, bottom, right = x.pad
    padded = np.pad(image, ((0, 0), (0, 0), (0, 0), (top, bottom), (left, right)))
    return padded[tuple(map(slice, tensor_shape(problem.operand("ifmap"), problem)))]


def convolution_of(x: Geometry, batch: int) -> Problem:
    """The problem of a convolution."""
    return conv_problem(batch, x.groups, x.filters, x.channels, x.p, x.q, x.r, x.s, x.stride, x.dilation)


def _shapes_of(shape: Geometry, batch: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The dims of a layer as a convolution, and as a product of matrices."""
    direct = tuple(convolution_of(shape, batch).dims.values())
    n, g, k, c, p, q, r, s = direct
    return direct, (g, n * p * q, k, c * r * s)
