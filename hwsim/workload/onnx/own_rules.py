"""Output shapes of operators that ONNX has no rule for, or not the one that runtimes follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from hwsim.errors import InputError
from hwsim.workload.layer import Shape
from hwsim.workload.onnx.canonical import MS, Op

__all__ = ["own_outputs"]

#: Shape and type of each output in turn; a type of "" is that of the first input.
Outputs: TypeAlias = Sequence[tuple[Shape, str]]
Rule: TypeAlias = Callable[[Op, Sequence[Shape]], Outputs | None]


def own_outputs(op: Op, shapes: Sequence[Shape]) -> Mapping[str, tuple[Shape, str]] | None:
    """Shape and type of each output by the shapes of the inputs; None if ONNX's own rule holds or there is none."""
    rule = RULES.get(op.code)
    outputs = rule(op, shapes) if rule is not None else None
    if outputs is None:
        return None
    return {name: output for name, output in zip(op.outputs, outputs) if name}


def _pool(op: Op, shapes: Sequence[Shape]) -> Outputs | None:
    """With `ceil_mode` no window starts in the padding at the end, as in PyTorch and onnxruntime."""
    rank, kernel = len(shapes[0]) - 2, op.options.get("kernel_shape")
    if not op.options.get("ceil_mode") or op.options.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return None
    values = [op.options.get(key) or default for key, default in (("strides", (1,) * rank), ("dilations", (1,) * rank))]
    pads = op.options.get("pads") or (0,) * 2 * rank
    if any(not isinstance(item, tuple) or len(item) != rank for item in (kernel, *values)) or len(pads) != 2 * rank:
        return None
    sizes = []
    for size, reach, step, gap, before, after in zip(shapes[0][2:], kernel or (), *values, pads, pads[rank:]):
        room = size + before + after - (reach - 1) * gap - 1
        if room < 0 or step < 1:
            return None
        places = -(-room // step) + 1
        sizes.append(places - 1 if places > 1 and (places - 1) * step >= size + before else places)
    shape = (*shapes[0][:2], *sizes)
    return (shape, ""), (shape, "int64")


def _fused_matmul(op: Op, shapes: Sequence[Shape]) -> Outputs | None:
    if len(shapes) < 2 or min(map(len, shapes[:2])) < 2:
        return None
    left, right = (
        (*shape[:-2], shape[-1], shape[-2]) if op.options.get(key) else shape
        for shape, key in zip(shapes, ("transA", "transB"))
    )
    try:
        lead = np.broadcast_shapes(left[:-2], right[:-2])
    except ValueError:
        raise InputError(f"must multiply as many matrices as there are others, not {left} by {right}") from None
    return (((*lead, left[-2], right[-1]), ""),)


def _few_bits(op: Op, shapes: Sequence[Shape]) -> Outputs | None:
    return (((*shapes[0][:-1], int(op.options.get("N", 0))), ""),) if shapes[0] else None


def _attention(op: Op, shapes: Sequence[Shape]) -> Outputs | None:
    if len(shapes) < 2 or len(shapes[0]) != 3 or len(shapes[1]) != 2:
        return None
    return (((*shapes[0][:2], shapes[1][1] // 3), ""),)


RULES: Mapping[str, Rule] = {
    "MaxPool": _pool,
    "AveragePool": _pool,
    "LpPool": _pool,
    f"{MS}FusedMatMul": _fused_matmul,
    f"{MS}MatMulNBits": _few_bits,
    f"{MS}Attention": _attention,
}
