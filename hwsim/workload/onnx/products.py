"""Matrix products of ONNX: with stored weights, of two activations, of weights of a few bits."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from hwsim.errors import InputError
from hwsim.workload.builder import UnmodeledError
from hwsim.workload.layer import Layer, Shape
from hwsim.workload.layers import BatchedMatmul, Conv2d, Elementwise, Gemm
from hwsim.workload.onnx.canonical import Op
from hwsim.workload.onnx.lowering import channels
from hwsim.workload.onnx.stored import Values, biased
from hwsim.workload.tflite.dead import dead_counts

if TYPE_CHECKING:
    from hwsim.workload.onnx.converter import Converter

__all__ = ["few_bits", "gemm", "product"]


def gemm(c: Converter, op: Op, name: str) -> Layer | None:
    left, right = (c.given(op, place).shape or () for place in (0, 1))
    if len(left) != 2 or len(right) != 2:
        raise InputError(f"must multiply two matrices, not {left} by {right}")
    m, k = reversed(left) if op.options.get("transA") else left
    added = c.tensors.get(op.input(2))
    if added is not None and (
        op.input(2) not in c.constants or added.elements not in (1, channels(op, c.output(op).shape or ()))
    ):
        _summed(c, op, name)
        return None
    if op.input(1) not in c.constants or op.input(0) in c.constants:
        return product(c, op, name)
    k_, n = reversed(right) if op.options.get("transB") else right
    if k != k_:
        raise InputError(f"weights must have {k} inputs, not {k_}")
    return _dense(c, op, name, m, k, n)


def _summed(c: Converter, op: Op, name: str) -> None:
    """A Gemm that adds more than a bias: a product, and a sum of its own."""
    product, out = replace(op, inputs=op.inputs[:2], activation="none"), c.output(op)
    layer = gemm(c, product, name)
    if layer is None:
        raise UnmodeledError("it adds a tensor to a product of another form")
    between = c.between(op, "product", layer.output.shape)
    c.row(layer, [item.name for item in c.operands(product)], between)
    reads = [between, *(item for item in op.inputs[2:3] if item not in c.constants)]
    given: Values = {"n": len(reads), "activation": op.activation, "input": c.spec(out), "output": c.spec(out)}
    c.row(Elementwise(c.unique(f"{name}_add"), shape=c.shape(out), **given), reads, out.name)


def _dense(c: Converter, op: Op, name: str, m: int, k: int, n: int) -> Layer:
    """A product with stored weights, by the sizes with the batch."""
    rows = m // c.batch if m % c.batch == 0 else m
    source = c.shape(c.given(op, 0))
    given: Values = {"m": rows, "n": n, "k": k, "bias": biased(c, op, n), "activation": op.activation}
    producer = c.shapes.get(c.producers[c.operands(op)[0].name], source)
    if rows == 1 and len(producer) == 3 and math.prod(producer) == k:
        given["window"] = producer[1:]
    if not op.options.get("transA"):
        given |= dead_counts(c.dead_in(op, -1, k), c.dead_out(op, -1, n), k, 1)
    return c.checked(op, Gemm(name, **given, **c.types(op, c.constant(op, 1))))


def product(c: Converter, op: Op, name: str) -> Layer | None:
    """MatMul, and a Gemm of two activations."""
    shapes = [c.given(op, place).shape or () for place in (0, 1)]
    turns = [op.options.get(key) for key in ("transA", "transB")]
    if not all(shapes):
        raise InputError("must multiply tensors with an axis")
    left, right = (
        (*shape[:-2], shape[-1], shape[-2]) if turn and len(shape) > 1 else shape for shape, turn in zip(shapes, turns)
    )
    left = (1, *left) if len(left) == 1 else left
    right = (*right, 1) if len(right) == 1 else right
    m, k, n = left[-2], left[-1], right[-1]
    if right[-2] != k:
        raise InputError(f"the second factor must have {k} rows, not {right[-2]}")
    fixed = [op.input(place) in c.constants for place in (0, 1)]
    if fixed[1] and math.prod(right[:-2]) == 1:
        return _dense(c, op, name, math.prod(left[:-1]), k, n)
    biased(c, op, n)
    lead = _lead(left[:-2], right[:-2])
    if fixed[0] and math.prod(left[:-2]) == 1 and len(c.operands(op)) == 1:
        # The weights come first: the product of the other with their transpose has the same operations.
        count = math.prod(right[:-2])
        types = c.types(op, c.constant(op, 0))
        return c.checked(op, Gemm(name, m=max(count // c.batch, 1) * n, n=m, k=k, bias=bool(op.bias), **types))
    if any(fixed):
        if c.batch > 1:
            raise UnmodeledError("it multiplies by a stored matrix for each of the batch")
        weights, other = (left, right) if fixed[0] else (right, left)
        b = math.prod(weights[:-2])
        if b != math.prod(lead) or math.prod(other[:-2]) != b:
            raise UnmodeledError("it multiplies by several stored matrices, in turn")
        outs, rows = (m, n) if fixed[0] else (n, m)
        types = c.types(op, c.constant(op, 0 if fixed[0] else 1))
        given: Values = {"c": b * k, "k": b * outs, "groups": b, "bias": bool(op.bias), "activation": op.activation}
        return c.checked(op, Conv2d(name, **given, h=rows, w=1, **types))
    b = math.prod(lead)
    if b % c.batch == 0 and lead and lead[0] == c.batch:
        b //= c.batch
    if math.prod(right[:-2]) == 1 and b > 1:
        b, m = 1, b * m  # one matrix for all
    types = c.types(op) | {"weight": c.spec(c.given(op, 1))}
    layer = c.checked(op, BatchedMatmul(name, b=b, m=m, n=n, k=k, **types))
    if op.activation == "none" and not op.bias:
        return layer
    between = c.between(op, "product", layer.output.shape)
    c.row(layer, [tensor.name for tensor in c.operands(op)], between)
    shape, spec = layer.output.shape, c.spec(c.output(op))
    after = Elementwise(c.unique(f"{name}_after"), shape=shape, n=1, activation=op.activation, input=spec, output=spec)
    c.row(after, [between], c.output(op).name)
    return None


def _lead(left: Shape, right: Shape) -> Shape:
    """The axes before the matrices, each spread over the other's."""
    rank = max(len(left), len(right))
    pairs = list(zip((1,) * (rank - len(left)) + left, (1,) * (rank - len(right)) + right))
    if any(1 not in pair and pair[0] != pair[1] for pair in pairs):
        raise InputError(f"must multiply as many matrices as there are others, not {left} by {right}")
    return tuple(max(pair) for pair in pairs)


def few_bits(c: Converter, op: Op, name: str) -> Layer:
    """A product with weights of a few bits, packed in blocks."""
    k, n, bits = (int(op.options.get(key, default)) for key, default in (("K", 0), ("N", 0), ("bits", 4)))
    known = {2: "ternary", 4: "int4", 8: "int8"}
    values = c.given(op, 0).elements // c.batch
    if bits not in known or k < 1 or n < 1 or values % k:
        raise UnmodeledError(f"it has weights of {bits} bits, {k} x {n}")
    return c.checked(op, Gemm(name, m=values // k, n=n, k=k, bias=bool(op.input(5)), **c.types(op), weight=known[bits]))
