"""Matrix products of TFLite: with stored weights and of two activations."""

from __future__ import annotations

import math

from hwsim.errors import InputError
from hwsim.workload.builder import UnmodeledError, lead_axes
from hwsim.workload.layer import Layer, Shape
from hwsim.workload.layers import BatchedMatmul, Conv2d, DataMovement, Gemm
from hwsim.workload.tflite.converter import Converter, Values
from hwsim.workload.tflite.dead_channels import channels_of
from hwsim.workload.tflite.graph import Operator, Tensor
from hwsim.workload.tflite.parameters import fused_activation, has_bias

__all__ = ["fully_connected", "product"]


def fully_connected(c: Converter, op: Operator, name: str) -> Layer:
    """FULLY_CONNECTED: weights are outputs x inputs; they may be computed."""
    weights = c.constant(op, 1) or c.input_tensor(op, 1)
    if len(weights.shape) != 2 or not weights.elements:
        raise InputError(f"weights must have 2 sizes, none of them 0, not {weights.shape}")
    n, k = weights.shape
    values = c.input_tensor(op, 0).elements
    if values % k or not values:
        raise InputError(f"weights must be of {k} inputs where it reads a multiple of that, not {values} values")
    options: Values = {"m": values // k, "n": n, "k": k}
    if c.constant(op, 1) is None:
        return _computed(c, op, name, options)
    if c.constant(op, 0) is not None:
        raise UnmodeledError("it reads constants")
    dead: Values = {}
    for key, index, features in (("dead_in", op.inputs[0], k), ("dead_out", op.outputs[0], n)):
        if (mask := channels_of(c.dead.get(index), features)) is not None:
            dead[key] = int(mask.sum())
    options |= {"bias": has_bias(c, op, n), "activation": fused_activation(op)}
    image = c.shape(c.input_tensor(op, 0))
    if len(image) == 3 and math.prod(image) == k:
        options["window"] = image[1:]
    return c.check_output(op, Gemm(name, **options, **dead, **c.types(op, weights, ("oi", 1))))


def _computed(c: Converter, op: Operator, name: str, sizes: Values) -> Layer:
    """A fully connected layer whose weights another operator computes: a product of activations."""
    if c.constant(op, 0) is not None:
        stored = c.constant(op, 0) or c.input_tensor(op, 0)
        return c.check_output(op, Gemm(name, m=sizes["n"], n=sizes["m"], k=sizes["k"], **c.types(op, stored)))
    types = c.types(op) | {"weight": c.spec(c.input_tensor(op, 1))}
    return c.check_output(op, BatchedMatmul(name, **sizes, **types))


def product(c: Converter, op: Operator, name: str) -> Layer | None:
    """BATCH_MATMUL: either factor may be stored, and axes before the matrices broadcast."""
    factors = [c.input_tensor(op, place) for place in (0, 1)]
    if min(len(tensor.shape) for tensor in factors) < 2:
        raise InputError("must multiply matrices")
    turns = (op.options.get("adj_x"), op.options.get("adj_y"))
    left, right = ((*t.shape[:-2], t.shape[-1], t.shape[-2]) if turn else t.shape for t, turn in zip(factors, turns))
    if left[-1] != right[-2]:
        raise InputError(f"the second factor must have {left[-1]} rows, not {right[-2]}")
    lead = lead_axes(left[:-2], right[:-2])
    stored = [c.constant(op, place) is not None for place in (0, 1)]
    if all(stored):
        raise UnmodeledError("it multiplies constants")
    if any(stored):
        weights = c.constant(op, 0 if stored[0] else 1) or factors[1]
        return _weighted(c, op, name, weights, (left, right) if stored[1] else (_turn(right), _turn(left)), lead)
    _activations(c, op, name, left, right, lead)
    return None


def _turn(shape: Shape) -> Shape:
    return (*shape[:-2], shape[-1], shape[-2])


def _weighted(c: Converter, op: Operator, name: str, weights: Tensor, sizes: tuple[Shape, Shape], lead: Shape) -> Layer:
    """A product with stored matrices, the second; a stored first factor is the transposed product."""
    (rows, k), n = sizes[0][-2:], sizes[1][-1]
    types, several = c.types(op, weights), math.prod(sizes[1][:-2])
    count = math.prod(lead)
    if several == 1:
        return c.check_output(op, Gemm(name, m=count * rows, n=n, k=k, bias=False, **types))
    if several == count == math.prod(sizes[0][:-2]):
        options: Values = {"c": several * k, "k": several * n, "groups": several, "bias": False}
        return c.check_output(op, Conv2d(name, **options, h=rows, w=1, **types))
    if several == count and math.prod(sizes[0][:-2]) == 1:
        return c.check_output(op, Gemm(name, m=rows, n=several * n, k=k, bias=False, **types))
    raise UnmodeledError("it multiplies by several stored matrices, in turn")


def _activations(c: Converter, op: Operator, name: str, left: Shape, right: Shape, lead: Shape) -> None:
    """A product of two activations; a factor that is used again for other matrices is spread first."""
    b = math.prod(lead)
    (m, k), n = left[-2:], right[-1]
    types = c.types(op) | {"weight": c.spec(c.input_tensor(op, 1))}
    again = _again(right[:-2], lead)
    if again > 1:  # all rows that share a second factor are those of one product
        b, m = b // again, m * again
    layer = c.check_output(op, BatchedMatmul(name, b=b, m=m, n=n, k=k, **types))
    reads = []
    for place, shape in enumerate(layer.operands):
        source = c.input_tensor(op, place)
        own, spec = c.shape(source), c.spec(source)
        reads.append(c.producers[source.index])
        if math.prod(own) < math.prod(shape):
            spread = DataMovement(f"{name}_spread{place}", type="resize", shape=own, to=shape, input=spec, output=spec)
            reads[-1] = c.row(spread, reads[-1:])
    c.row(layer, reads, op.outputs[0])


def _again(own: Shape, lead: Shape) -> int:
    """How many matrices in a row share one of the factor with these leading axes; 1 where the others do not follow."""
    padded = (1,) * (len(lead) - len(own)) + own
    place = len(lead)
    while place and padded[place - 1] == 1:
        place -= 1
    return math.prod(lead[place:]) if padded[:place] == lead[:place] else 1
