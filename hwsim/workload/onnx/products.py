"""Matrix products of ONNX: with constant weights, of two activations, with weights of a few bits."""

from __future__ import annotations

import math
from dataclasses import replace

from hwsim.errors import InputError
from hwsim.workload.builder import UnmodeledError, lead_axes
from hwsim.workload.layer import Layer, Shape
from hwsim.workload.layers import BatchedMatmul, Conv2d, Elementwise, Gemm
from hwsim.workload.number_format import DTYPES
from hwsim.workload.onnx.canonical import Op
from hwsim.workload.onnx.converter import Converter, Values
from hwsim.workload.onnx.einsum import Term, contract
from hwsim.workload.onnx.lowering import channels
from hwsim.workload.onnx.own_rules import factors
from hwsim.workload.onnx.parameters import has_bias
from hwsim.workload.tflite.dead_channels import dead_counts

__all__ = ["few_bits", "gemm", "product"]


def gemm(c: Converter, op: Op, name: str) -> Layer | None:
    left, right = (c.input_tensor(op, place).shape or () for place in (0, 1))
    if len(left) != 2 or len(right) != 2:
        raise InputError(f"must multiply two matrices, not {left} by {right}")
    m, k = reversed(left) if op.options.get("transA") else left
    addend = c.tensors.get(op.input(2))
    if addend is not None and (
        op.input(2) not in c.constants or addend.elements not in (1, channels(op, c.output(op).shape or ()))
    ):
        _gemm_with_sum(c, op, name)
        return None
    if op.input(1) not in c.constants or op.input(0) in c.constants:
        return product(c, op, name)
    k_, n = reversed(right) if op.options.get("transB") else right
    if k != k_:
        raise InputError(f"weights must have {k} inputs, not {k_}")
    return _dense(c, op, name, m, k, n)


def _gemm_with_sum(c: Converter, op: Op, name: str) -> None:
    """A Gemm that adds more than a bias: a product and a separate addition."""
    product, out = replace(op, inputs=op.inputs[:2], activation="none"), c.output(op)
    layer = gemm(c, product, name)
    if layer is None:
        raise UnmodeledError("it adds a tensor to a product of another form")
    between = c.between(op, "product", layer.output.shape)
    c.row(layer, [item.name for item in c.operands(product)], between)
    reads = [between, *(item for item in op.inputs[2:3] if item not in c.constants)]
    options: Values = {"n": len(reads), "activation": op.activation, "input": c.spec(out), "output": c.spec(out)}
    c.row(Elementwise(c.unique(f"{name}_add"), shape=c.shape(out), **options), reads, out.name)


def _dense(c: Converter, op: Op, name: str, m: int, k: int, n: int) -> Layer:
    """A product with constant weights."""
    source = c.shape(c.input_tensor(op, 0))
    options: Values = {"m": m, "n": n, "k": k, "bias": has_bias(c, op, n), "activation": op.activation}
    producer = c.shapes.get(c.producers[c.operands(op)[0].name], source)
    if m == 1 and len(producer) == 3 and math.prod(producer) == k:
        options["window"] = producer[1:]
    if not op.options.get("transA"):
        options |= dead_counts(c.dead_in(op, -1, k), c.dead_out(op, -1, n), k, 1)
    weights = c.constant(op, 1)
    ones = max(0, 0 if weights is None else len(weights.shape) - 2)
    axes = "t" * ones + ("oi" if op.options.get("transB") else "io")
    matrix = weights is not None and len(weights.shape) >= 2
    return c.check_output(op, Gemm(name, **options, **c.types(op, weights, (axes, 1) if matrix else None)))


def product(c: Converter, op: Op, name: str) -> Layer | None:
    """MatMul, and a Gemm of two activations."""
    shapes = [c.input_tensor(op, place).shape or () for place in (0, 1)]
    if not all(shapes):
        raise InputError("must multiply tensors with an axis")
    left, right = factors(op, shapes)
    left = (1, *left) if len(left) == 1 else left
    right = (*right, 1) if len(right) == 1 else right
    m, k, n = left[-2], left[-1], right[-1]
    if right[-2] != k:
        raise InputError(f"the second factor must have {k} rows, not {right[-2]}")
    is_constant = [op.input(place) in c.constants for place in (0, 1)]
    if is_constant[1] and math.prod(right[:-2]) == 1:
        return _dense(c, op, name, math.prod(left[:-1]), k, n)
    has_bias(c, op, n)
    lead = lead_axes(left[:-2], right[:-2])
    if is_constant[0] and math.prod(left[:-2]) == 1 and len(c.operands(op)) == 1:
        # The weights come first: the transposed product has the same operations.
        count = math.prod(right[:-2])
        types = c.types(op, c.constant(op, 0))
        return c.check_output(op, Gemm(name, m=max(count, 1) * n, n=m, k=k, bias=op.shifts, **types))
    if any(is_constant):
        weights, other = (left, right) if is_constant[0] else (right, left)
        b = math.prod(weights[:-2])
        if b != math.prod(lead) or math.prod(other[:-2]) != b:
            _broadcast(c, op, name, left, right)
            return None
        outs, rows = (m, n) if is_constant[0] else (n, m)
        types = c.types(op, c.constant(op, 0 if is_constant[0] else 1))
        options: Values = {"c": b * k, "k": b * outs, "groups": b, "bias": op.shifts, "activation": op.activation}
        return c.check_output(op, Conv2d(name, **options, h=rows, w=1, **types))
    b = math.prod(lead)
    if math.prod(right[:-2]) == 1 and b > 1:
        b, m = 1, b * m  # one matrix for all
    types = c.types(op) | {"weight": c.operand_spec(op, c.input_tensor(op, 1))}
    layer = c.check_output(op, BatchedMatmul(name, b=b, m=m, n=n, k=k, **types))
    if op.activation == "none" and not op.steps:
        return layer
    between = c.between(op, "product", layer.output.shape)
    c.row(layer, [tensor.name for tensor in c.operands(op)], between)
    shape, spec = layer.output.shape, c.spec(c.output(op))
    after = Elementwise(c.unique(f"{name}_after"), shape=shape, n=1, activation=op.activation, input=spec, output=spec)
    c.row(after, [between], c.output(op).name)
    return None


def _broadcast(c: Converter, op: Op, name: str, left: Shape, right: Shape) -> None:
    """A product with several stored matrices, each of which several others are multiplied by, or the reverse."""
    terms, sizes = [], {"m": left[-2], "k": left[-1], "n": right[-1]}
    for place, (shape, own) in enumerate(((left, "mk"), (right, "kn"))):
        lead = [f"-{at}" for at in range(len(shape) - 2, 0, -1)]
        sizes |= {label: size for label, size in zip(lead, shape) if size > 1}
        labels = [label for label, size in zip((*lead, *own), shape) if size > 1]
        terms.append(Term(op.input(place), tuple(labels)))
    terms.sort(key=lambda term: term.name in c.constants)
    out, kept = c.output(op), {label for label in sizes if label != "k"}
    target = contract(c, op, name, terms[0], terms[1], kept, sizes).name
    if not op.steps and op.activation == "none":
        c.producers[out.name] = c.producers[target]
        return
    shape, spec = c.shape(out), c.spec(out)
    after = Elementwise(c.unique(f"{name}_after"), shape=shape, n=1, activation=op.activation, input=spec, output=spec)
    c.row(after, [target], out.name)


def few_bits(c: Converter, op: Op, name: str) -> Layer:
    """A product with weights of a few bits, packed in blocks."""
    k, n, bits = (int(op.options.get(key, default)) for key, default in (("K", 0), ("N", 0), ("bits", 4)))
    dtypes = {kind.bits: dtype for dtype, kind in DTYPES.items() if kind.sort == "integer" and 2 <= kind.bits <= 8}
    values = c.input_tensor(op, 0).elements
    if bits not in dtypes or k < 1 or n < 1 or values % k:
        raise UnmodeledError(f"it has weights of {bits} bits, {k} x {n}")
    return c.check_output(
        op, Gemm(name, m=values // k, n=n, k=k, bias=bool(op.input(5)), **c.types(op), weight=dtypes[bits])
    )
