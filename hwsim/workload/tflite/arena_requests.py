"""What a TFLite file asks of the arena of TensorFlow Lite Micro: tensors with their lifetimes, scratch, variables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from hwsim.workload.buffers import BEFORE_INPUT, INPUT_TIME, ArenaRequests, Buffer
from hwsim.workload.cmsis_nn import VARIANTS, Variant, average_pool, convolution
from hwsim.workload.layer import Layer
from hwsim.workload.product import geometry_of
from hwsim.workload.tflite.graph import Operator, Tensor, TfliteFile

__all__ = ["SCRATCH", "arena_requests"]

#: Bytes of the scratch buffers that a reference kernel asks for.
Scratch: TypeAlias = Callable[[TfliteFile, Operator], "tuple[int, ...]"]


def arena_requests(file: TfliteFile, layers: Mapping[int, Layer]) -> ArenaRequests:
    """The buffers in the order in which ``micro_allocator.cc`` adds them: tensors by index, then scratch.

    Parameters
    ----------
    file : TfliteFile
    layers : mapping
        The layer of each operator that has one, by the operator's index.
    """
    names = tuple(
        layers[op.index].name if op.index in layers else f"{op.code.lower()}_{op.index}" for op in file.operators
    )
    own = {op.index: _reference(file, op) for op in file.operators}
    scratch = {"reference": _buffers(names, own)}
    for variant in VARIANTS:
        sizes = {op.index: _cmsis_nn(file, op, layers.get(op.index), variant) for op in file.operators}
        scratch[variant] = _buffers(names, own | {index: size for index, size in sizes.items() if size is not None})
    variables = sum(tensor.bytes for tensor in file.tensors if tensor.variable and not _is_planned(file, tensor))
    return ArenaRequests(names, tuple(_tensors(file)), scratch, variables)


def _buffers(names: Sequence[str], sizes: Mapping[int, tuple[int, ...]]) -> tuple[Buffer, ...]:
    return tuple(
        Buffer(f"{names[index]} scratch", size, index, index, True)
        for index in sorted(sizes)
        for size in sizes[index]
        if size
    )


def _reference(file: TfliteFile, op: Operator) -> tuple[int, ...]:
    return SCRATCH[op.code](file, op) if op.code in SCRATCH and not op.custom else ()


def _cmsis_nn(file: TfliteFile, op: Operator, layer: Layer | None, variant: Variant) -> tuple[int, ...] | None:
    """Of an operator that CMSIS-NN has a kernel for; None if TFLM calls its reference kernel."""
    if layer is None or layer.input.dtype != "int8":
        return None
    if op.code == "AVERAGE_POOL_2D":
        return (average_pool(layer.output.shape, variant),)
    if op.code not in ("CONV_2D", "DEPTHWISE_CONV_2D") or (geometry := geometry_of(layer.lower(1))) is None:
        return None
    return (convolution(geometry, file.tensors[op.inputs[0]].shape[0], variant), *_unpacked(file, op))


def _is_planned(file: TfliteFile, tensor: Tensor) -> bool:
    """Whether the file says where a tensor lies in the arena."""
    return bool(file.offsets) and file.offsets[tensor.index] >= 0


def _tensors(file: TfliteFile) -> list[Buffer]:
    first: dict[int, int] = dict.fromkeys(file.inputs, INPUT_TIME)
    last: dict[int, int] = dict.fromkeys(file.inputs, INPUT_TIME)
    for op in file.operators:
        for index in op.outputs:
            first.setdefault(index, op.index)
        last.update(dict.fromkeys((index for index in (*op.inputs, *op.outputs) if index >= 0), op.index))
    last.update(dict.fromkeys(file.outputs, len(file.operators) - 1))
    buffers = []
    for tensor in file.tensors:
        is_held = not tensor.variable or _is_planned(file, tensor)
        if tensor.data is not None or not is_held or not tensor.elements:
            continue
        start = first.get(tensor.index, BEFORE_INPUT)
        offset = file.offsets[tensor.index] if file.offsets else -1
        end = max(last.get(tensor.index, start), start)
        buffers.append(
            Buffer(tensor.name or f"tensor {tensor.index}", tensor.bytes, start, end, offset=max(offset, -1))
        )
    return buffers


def _shape(file: TfliteFile, index: int) -> tuple[int, ...]:
    return file.tensors[index].shape if index >= 0 else ()


def _operands(op: Operator, inputs: int, outputs: int = 1) -> bool:
    """Whether an operator has so many inputs and outputs, as its kernel expects."""
    return len(op.inputs) >= inputs and len(op.outputs) >= outputs and min(op.inputs[:inputs], default=0) >= 0


def _reduction(file: TfliteFile, op: Operator) -> tuple[int, ...]:
    """Two lists of axes; sums of the quantized also have their accumulators."""
    if not _operands(op, 2):
        return ()
    source, axes, out = (file.tensors[index] for index in (*op.inputs[:2], op.outputs[0]))
    sums = 4 * out.elements if op.code in ("MEAN", "SUM") and source.dtype in ("int8", "int16") else 0
    return 4 * len(source.shape), 4 * axes.elements, sums


def _transposed(file: TfliteFile, op: Operator) -> tuple[int, ...]:
    """Accumulators of all outputs."""
    if not _operands(op, 3):
        return ()
    width = {"int8": 4, "int16": 8}.get(file.tensors[op.inputs[2]].dtype, 0)
    return (width * file.tensors[op.outputs[0]].elements, *_unpacked(file, op))


def _svdf(file: TfliteFile, op: Operator) -> tuple[int, ...]:
    """A sum for each filter; of the quantized, also one for each output."""
    if not _operands(op, 2):
        return ()
    source, filters = file.tensors[op.inputs[0]], file.tensors[op.inputs[1]]
    batch, outputs = (source.shape or (1,))[0], file.tensors[op.outputs[0]].elements
    sums = 4 * batch * (filters.shape or (0,))[0]
    return (sums,) if source.dtype == "float32" else (sums, 4 * outputs)


def _lstm(file: TfliteFile, op: Operator) -> tuple[int, ...]:
    """The four gates of a step, in the format of the cell."""
    if len(op.inputs) < 20 or op.inputs[19] < 0:
        return ()
    return (file.tensors[op.inputs[19]].bytes,) * 4


def _mirror(file: TfliteFile, op: Operator) -> tuple[int, ...]:
    """Two lists of axes."""
    return (4 * len(_shape(file, op.inputs[0])),) * 2 if _operands(op, 1) else ()


def _unpacked(file: TfliteFile, op: Operator) -> tuple[int, ...]:
    """Four-bit weights, widened to a byte each."""
    weights = file.tensors[op.inputs[1]] if _operands(op, 2) else None
    return (weights.elements,) if weights is not None and weights.dtype == "int4" else ()


#: Working memory of the reference kernels, by operator.
SCRATCH: dict[str, Scratch] = {
    **dict.fromkeys(("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"), _reduction),
    "TRANSPOSE_CONV": _transposed,
    "SVDF": _svdf,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm,
    "MIRROR_PAD": _mirror,
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"), _unpacked),
}
