"""Layers of low rank: several small layers in the place of a large one."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hwsim.errors import Fault, InputError
from hwsim.workload.layer import Layer
from hwsim.workload.layers.conv import Conv2d
from hwsim.workload.layers.gemm import Gemm
from hwsim.workload.layers.movement import DataMovement
from hwsim.workload.tensor import TensorSpec

__all__ = ["factorize", "train_numbers"]


def factorize(
    layer: Layer, *, filters: int = 0, rank: int = 0, modes: tuple[tuple[int, ...], tuple[int, ...]] | None = None
) -> tuple[Layer, ...]:
    """The layers that take the place of one; the last has its name.

    A convolution becomes one of `filters` filters and a 1x1 convolution of them; a matrix the product of two of a
    `rank`, or a tensor train with output and input `modes`, whose biases are left out.

    Raises
    ------
    InputError
        Where the layer has no such form.
    """
    if filters:
        if not isinstance(layer, Conv2d) or layer.groups != 1:
            raise _fault(layer, f"low_rank is of convolutions of one group, not of {layer.op}")
        _within(layer, "filters of low_rank", filters, min(layer.k, layer.weights // layer.k))
        weight = _dense(layer)
        first = layer.with_(name=f"{layer.name}_1", k=filters, bias=False, activation="none", dead_out=0, weight=weight)
        first = first.with_tensors(output={"density": 1.0})
        last = Conv2d(
            layer.name, c=filters, h=layer.p, w=layer.q, k=layer.k, r=1, bias=layer.bias, activation=layer.activation,
            dead_out=layer.dead_out, input=first.output.spec, weight=weight, output=layer.output.spec,
        )  # fmt: skip
        return first, last
    if not isinstance(layer, Gemm):
        raise _fault(layer, f"svd and tensor_train are of matrices (fc, gemm), not of {layer.op}")
    if modes is not None:
        return _train(layer, *modes, rank)
    _within(layer, "rank of svd", rank, min(layer.k, layer.n))
    weight = _dense(layer)
    half = layer.with_(name=f"{layer.name}_1", n=rank, bias=False, activation="none", dead_out=0, weight=weight)
    half = half.with_tensors(output={"density": 1.0})
    whole = layer.with_(k=rank, window=1, dead_in=0, input=half.output.spec, weight=weight)
    return half, whole


def train_numbers(outputs: Sequence[int], inputs: Sequence[int], rank: int) -> int:
    """Numbers in the cores of a tensor train: the sum of r m n r' over its cores, ranks of 1 at both ends."""
    ranks = (1, *[rank] * (len(outputs) - 1), 1)
    return sum(ranks[i] * m * n * ranks[i + 1] for i, (m, n) in enumerate(zip(outputs, inputs)))


def _train(layer: Gemm, outputs: tuple[int, ...], inputs: tuple[int, ...], rank: int) -> tuple[Layer, ...]:
    """One product for each core: rows are the output modes so far and the input modes to come."""
    if len(outputs) != len(inputs):
        raise _fault(
            layer, f"tensor_train must have as many output as input modes, not {len(outputs)} and {len(inputs)}"
        )
    for what, modes, size in (("output", outputs, layer.n), ("input", inputs, layer.k)):
        if math.prod(modes) != size:
            raise _fault(layer, f"{what} modes of tensor_train must multiply to {size}, not {math.prod(modes)}")
    sizes = [math.prod(outputs[:i]) * math.prod(inputs[:i]) for i in range(1, len(outputs))]
    _within(layer, "rank of tensor_train", rank, max(min(size, layer.n * layer.k // size) for size in sizes))
    ranks = (1, *[rank] * (len(outputs) - 1), 1)
    parts: list[Layer] = []
    spec = layer.input.spec
    for i, (m, n) in enumerate(zip(outputs, inputs)):
        rows = layer.m * math.prod(outputs[:i]) * math.prod(inputs[i + 1 :])
        core = Gemm(
            f"{layer.name}_{i + 1}", m=rows, k=ranks[i] * n, n=m * ranks[i + 1], bias=False,
            input=spec, weight=_dense(layer), output=layer.output.spec.dtype,
        )  # fmt: skip
        before = parts[-1].output.shape if parts else layer.input.shape
        parts += [_moved(core, f"{layer.name}_{i}_order", before, "transpose" if parts else "reshape"), core]
        spec = core.output.spec
    parts.append(
        DataMovement(layer.name, shape=parts[-1].output.shape, to=layer.output.shape, output=layer.output.spec)
    )
    return tuple(parts)


def _moved(core: Gemm, name: str, shape: tuple[int, ...], move: str) -> Layer:
    """The values in the order that a core reads."""
    spec = core.input.spec
    return DataMovement(name, shape=shape, to=core.input.shape, type=move, input=spec, output=spec)


def _dense(layer: Layer) -> TensorSpec:
    """The number format of the weights: factors of a matrix that has zeros have none."""
    return layer.weight.spec.merged({"density": 1.0, "format": "dense", "coding": None})


def _within(layer: Layer, what: str, rank: int, most: int) -> None:
    """No matrix has a larger rank than it has rows or columns."""
    if rank > most:
        raise _fault(layer, f"{what} must be at most {most:,}, as no weights of this shape have more, not {rank:,}")


def _fault(layer: Layer, message: str) -> InputError:
    return InputError([Fault("", layer.name, message)])
