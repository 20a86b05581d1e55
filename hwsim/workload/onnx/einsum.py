"""Einsum of ONNX: any equation, as products of two operands at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hwsim.errors import InputError
from hwsim.workload.builder import UnmodeledError
from hwsim.workload.layer import Layer
from hwsim.workload.layers import BatchedMatmul, Conv2d, DataMovement, Gemm, Pool2d
from hwsim.workload.onnx.canonical import Op
from hwsim.workload.onnx.converter import Converter
from hwsim.workload.onnx.equation import Label, axes_of

__all__ = ["Term", "contract", "einsum"]


@dataclass(frozen=True)
class Term:
    """An operand: the name of its tensor and the axes that have more than one value."""

    name: str
    labels: tuple[Label, ...]


def einsum(c: Converter, op: Op, name: str) -> None:
    """Products of two operands at a time, in the order of the equation, as onnxruntime runs it."""
    terms, result, sizes = _terms(c, op)
    terms.sort(key=lambda term: term.name in c.constants)  # a stored one has the other on its left
    first, others = terms[0], terms[1:]
    if first.name in c.constants:
        raise UnmodeledError("its operands are all stored")
    for place, other in enumerate(others):
        rest = {label for term in others[place + 1 :] for label in term.labels} | set(result)
        label = name if place == len(others) - 1 else c.unique(f"{name}_{place + 1}")
        first = contract(c, op, label, _summed(c, op, label, first, {*other.labels, *rest}, sizes), other, rest, sizes)
    out, spec = c.output(op), c.spec(c.output(op))
    if math.prod(sizes[label] for label in result) != out.elements:
        raise InputError(f"output must have the axes of its equation, not {out.shape}")
    source = first if others else _summed(c, op, name, first, set(result), sizes)
    shape = tuple(sizes[label] for label in source.labels) or (1,)
    if source.labels == tuple(result):
        c.producers[out.name] = c.producers[source.name]
        return
    name = c.unique(f"{name}_transpose") if others else name
    c.row(
        DataMovement(name, type="transpose", shape=shape, to=c.shape(out), input=spec, output=spec),
        [source.name],
        out.name,
    )


def _terms(c: Converter, op: Op) -> tuple[list[Term], list[Label], dict[Label, int]]:
    """The operands, the axes of the result, and the size of each axis; axes of one value are left out."""
    shapes = [c.tensors[item].shape or () for item in op.inputs]
    axes, result, sizes = axes_of(str(op.options.get("equation", "")), shapes)
    terms = []
    for item, labels, shape in zip(op.inputs, axes, shapes):
        own = [label for label, size in zip(labels, shape) if size != 1]
        terms.append(Term(_diagonal(c, op, item, own, sizes), tuple(dict.fromkeys(own))))
    return terms, [label for label in result if sizes[label] != 1], sizes


def _diagonal(c: Converter, op: Op, item: str, labels: Sequence[Label], sizes: Mapping[Label, int]) -> str:
    """The operand with each axis once: of a repeated one, the diagonal."""
    to = tuple(sizes[label] for label in dict.fromkeys(labels))
    if len(to) == len(labels) or item in c.constants:
        return item
    spec, name = c.spec(c.tensors[item]), c.between(op, f"diagonal of {item}", to, c.tensors[item].dtype)
    shape = c.shape(c.tensors[item])
    c.row(DataMovement(c.unique("diagonal"), type="slice", shape=shape, to=to, input=spec, output=spec), [item], name)
    return name


def _summed(c: Converter, op: Op, name: str, term: Term, kept: set[Label], sizes: Mapping[Label, int]) -> Term:
    """The operand summed along the axes that nothing else has."""
    gone = [label for label in term.labels if label not in kept]
    labels = tuple(label for label in term.labels if label in kept)
    if not gone or term.name in c.constants:
        return Term(term.name, labels)
    count, rest, spec = (
        math.prod(sizes[x] for x in gone),
        math.prod(sizes[x] for x in labels),
        c.spec(c.tensors[term.name]),
    )
    target = c.between(op, f"sums of {term.name}", tuple(sizes[x] for x in labels) or (1,), c.tensors[term.name].dtype)
    layer = Pool2d(c.unique(f"{name}_sum"), c=rest, h=count, w=1, r=count, s=1, type="avg", input=spec, output=spec)
    c.row(layer, [term.name], target)
    return Term(target, labels)


def contract(
    c: Converter, op: Op, name: str, left: Term, right: Term, kept: set[Label], sizes: Mapping[Label, int]
) -> Term:
    """A product of two operands: axes of both that are kept count products, those that are not are summed over."""
    right = _summed(c, op, name, right, {*left.labels, *kept}, sizes)
    both = [label for label in left.labels if label in right.labels]
    groups, inner = [x for x in both if x in kept], [x for x in both if x not in kept]
    rows, columns = [x for x in left.labels if x not in both], [x for x in right.labels if x not in both]
    labels = (*groups, *rows, *columns)
    b, m, k, n = (math.prod(sizes[x] for x in part) for part in (groups, rows, inner, columns))
    out = c.between(op, name, tuple(sizes[x] for x in labels) or (1,))
    spec, source = c.spec(c.tensors[out]), c.operand_spec(op, c.tensors[left.name])
    stored = c.constants.get(right.name)
    layer: Layer
    if stored is None:
        other = c.operand_spec(op, c.tensors[right.name])
        layer = BatchedMatmul(name, b=b, m=m, n=n, k=k, input=source, weight=other, output=spec)
        c.row(layer, [left.name, right.name], out)
        return Term(out, labels)
    types = c.types(op, stored) | {"input": source, "output": spec}
    if b == 1:
        layer = Gemm(name, m=m, n=n, k=k, bias=False, **types)
    else:
        layer = Conv2d(name, c=b * k, k=b * n, groups=b, h=m, w=1, bias=False, **types)
    c.row(layer, [left.name], out)
    return Term(out, labels)
