"""Execution of layers on compressed int8 tensors: what a sparse array multiplies and reads, counted by the kernels.

Each layer gets seeded tensors with its masks, or zeros at random of its densities, and is planned again with the masks
of these very tensors. The kernels then walk the compressed tensors: the output must be that of the dense product, and
the multiplications and stored entries that they count those that are priced.
"""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import InputError
from hwsim.kernels.sparse import conv2d_sparse, gemm_sparse
from hwsim.kernels.sparse_formats import encode_csr
from hwsim.machines import LayerPlan, Machine
from hwsim.mapping import gemm_problem
from hwsim.message import Message
from hwsim.validation.check import LayerCheck
from hwsim.validation.tensors import Bytes, convolution_of, draw_values, padded_image, reference
from hwsim.workload import Conv2d, Gemm, Layer, TensorType
from hwsim.workload.mask import Mask
from hwsim.workload.product import Geometry, Product

__all__ = ["check_compressed"]

_MOST = 2**29
"""Values of an im2col buffer, and of all tensors of a layer."""


def check_compressed(machine: Machine, layer: Layer, batch: int = 1, sample: int | None = None) -> LayerCheck:
    """Execute one layer of a sparse array, inference by inference."""
    checks = [_check(machine, layer, number, sample) for number in range(batch)]
    first = checks[0]
    if first.skipped is not None:
        return first
    return replace(
        first,
        macs=sum(check.macs for check in checks),
        gated=sum(check.gated for check in checks),
        seconds=sum(check.seconds for check in checks),
        difference=next((check.difference for check in checks if check.difference is not None), None),
    )


def _check(machine: Machine, layer: Layer, number: int, sample: int | None) -> LayerCheck:
    x = layer.lower(1)
    if not isinstance(x, Product) or not x.macs:
        return LayerCheck(layer.name, layer.op, skipped=Message("nests.no_macs", "{op} has no MACs", {"op": layer.op}))
    own, sampled = _part(layer, x, sample)
    if own is None:
        reason = Message(
            "compressed.product", "products of activations, or steps of a recurrent layer, are not executed"
        )
        return LayerCheck(layer.name, layer.op, skipped=reason)
    z = own.lower(1).geometry  # type: ignore[union-attr]
    size = own.input.elements + own.weight.elements + own.outputs
    if z is not None:
        size += z.p * z.q * z.taps * z.channels
    if size > _MOST:
        template = "tensors of an executed layer must have at most {most} values, not {size}; --sample runs a part"
        why = Message("compressed.size", template, {"most": _MOST, "size": size}, "error")
        return LayerCheck(layer.name, layer.op, macs=own.macs, skipped=why, refused=True)
    generator = np.random.default_rng(crc32(f"{layer.name} {number}".encode()))
    ifmap, weight = (_values(generator, own.input), _values(generator, own.weight))
    try:
        own = own.with_tensors(input={"mask": Mask.of(ifmap)}, weight={"mask": Mask.of(weight)})
    except InputError:  # a kind without channels to count
        return LayerCheck(layer.name, layer.op, skipped=Message("compressed.kind", "{op} has no masks", {"op": own.op}))
    plan = machine.plan(own)
    start = perf_counter()
    measured, difference = _run(machine, plan, z, ifmap, weight)
    seconds = perf_counter() - start
    priced = {"multiplications": plan.macs_executed}
    if "stored entries" in measured:
        priced["stored entries"] = int(plan.columns["stored_entries"])
    for name, amount in priced.items():
        if difference is None and measured[name] != amount:
            difference = f"{name}: {amount:,} are priced, {measured[name]:,} were measured"
    zeros = own.macs - measured["multiplications"]
    return LayerCheck(
        layer.name, layer.op, own.macs, zeros, seconds, len(measured), len(priced), len(priced), sampled, difference
    )


def _part(layer: Layer, x: Product, sample: int | None) -> tuple[Layer | None, bool]:
    """The layer without its batch, or with each size cut to the sample; None for what is no such layer."""
    if not x.stored or x.steps > 1 or x.spread or (x.b > 1 and x.geometry is None):
        return None, False
    z = x.geometry
    tensors = {"input": layer.input.spec, "weight": layer.weight.spec, "output": layer.output.spec}
    sizes = (x.m, x.k, x.n) if z is None else (z.channels, z.filters, z.h, z.w)
    if sample is None or max(sizes) <= sample:
        return layer, False
    plain = {name: {"dtype": spec.dtype, "density": spec.density} for name, spec in tensors.items()}
    ifmap, weight, ofmap = plain.values()
    if z is None:
        m, k, n = (min(size, sample) for size in sizes)
        return Gemm(layer.name, m=m, k=k, n=n, bias=False, input=ifmap, weight=weight, output=ofmap), True
    groups = min(z.groups, sample)
    h, w = max(min(z.h, sample), z.r * z.dilation[0]), max(min(z.w, sample), z.s * z.dilation[1])
    c, k = groups * min(z.channels, sample), groups * min(z.filters, sample)
    return Conv2d(
        layer.name, c=c, h=h, w=w, k=k, r=z.r, s=z.s, stride=z.stride, pad=z.pad, dilation=z.dilation, groups=groups,
        depthwise=z.depthwise, bias=False, input=ifmap, weight=weight, output=ofmap,
    ), True  # fmt: skip


def _values(generator: np.random.Generator, kind: TensorType) -> Bytes:
    """Values from -127 to 127, zero where the mask says so, or at random."""
    mask = kind.spec.mask
    if mask is None:
        return draw_values(generator, kind.shape, kind.density)
    return draw_values(generator, kind.shape, 1.0) * mask.array


def _run(
    machine: Machine, plan: LayerPlan, z: Geometry | None, ifmap: Bytes, weight: Bytes
) -> tuple[dict[str, int], str | None]:
    """Counts of the kernels, and what is wrong with the output."""
    array = machine.spec.array
    if z is None:
        output = np.zeros((ifmap.shape[0], weight.shape[1]), np.int64)
        multiplied = entries = 0
        pes = array.pes if array.deal == "rows" else 1
        for pe in range(min(pes, weight.shape[1])):
            own = np.ascontiguousarray(weight[:, pe::pes])
            coded = encode_csr(own, relative_bits=array.index_bits)
            output[:, pe::pes], counts = gemm_sparse(encode_csr(ifmap), coded)
            multiplied += counts.executed
            entries += counts.weight_reads
        expected = reference(gemm_problem(len(ifmap), weight.shape[1], len(weight)), {"ifmap": ifmap, "weight": weight})
        measured = {"multiplications": multiplied}
        if array.deal == "rows":
            measured["stored entries"] = entries
        return measured, _difference(output, expected)
    image = ifmap.reshape(1, z.groups, z.channels, z.h, z.w)
    filters = weight.reshape(z.groups, z.filters, z.channels, z.r, z.s)
    problem = convolution_of(z, 1)
    expected = reference(problem, {"ifmap": padded_image(z, problem, image), "weight": filters})
    multiplied, wrong = 0, None
    for group, own in enumerate(filters):
        images, counts = conv2d_sparse(image[:, group], own, stride=z.stride, pad=z.pad, dilation=z.dilation)
        multiplied += _depthwise(z, own) if z.depthwise and array.deal == "grid" else counts.executed
        wrong = wrong or _difference(images, expected[:, group])
    return {"multiplications": multiplied}, wrong


def _depthwise(z: Geometry, filters: Bytes) -> int:
    """Multiplications of a depthwise layer of a grid, which skips weights alone: on an image without a zero."""
    ones = np.ones((1, z.channels, z.h, z.w), np.int8)
    _, counts = conv2d_sparse(ones, filters, stride=z.stride, pad=z.pad, dilation=z.dilation)
    return counts.executed


def _difference(output: NDArray[np.integer], expected: NDArray[np.int64]) -> str | None:
    wrong = np.argwhere(output != expected)
    if not len(wrong):
        return None
    at = tuple(map(int, wrong[0]))
    return f"the output at {at} must be {expected[at]:,}, not {output[at]:,} ({len(wrong):,} words differ)"
