"""What a TFLite file asks of the arena of TensorFlow Lite Micro: tensors with their lifetimes, scratch, variables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from hwsim.workload.buffers import BEFORE_INPUT, ArenaRequests, Buffer
from hwsim.workload.cmsis_nn import VARIANTS, Variant, average_pool, convolution
from hwsim.workload.layer import Layer
from hwsim.workload.product import geometry_of
from hwsim.workload.tflite.graph import Graph, Operator, Tensor, TfliteFile

__all__ = ["SCRATCH", "arena_requests"]

#: Operators that start subgraphs, and how far these are followed.
_RUN = ("IF", "WHILE", "CALL_ONCE")
_MAX_DEPTH, _MAX_STEPS = 16, 100_000
#: Bytes of the scratch buffers that a reference kernel asks for.
Scratch: TypeAlias = Callable[[TfliteFile, Operator], "tuple[int, ...]"]


def arena_requests(file: TfliteFile, layers: Mapping[int, Layer]) -> ArenaRequests:
    """The buffers in the order in which ``micro_allocator.cc`` adds them: tensors by index, then scratch.

    Parameters
    ----------
    file : TfliteFile
        With its other subgraphs, which lie in the same arena while they run.
    layers : mapping
        The layer of each operator of the first that has one, by the operator's index.
    """
    graphs = [Graph(file.tensors, file.operators, file.inputs, file.outputs), *file.others]
    lives = _Lives(graphs, {index: layer.name for index, layer in layers.items()})
    files = [
        replace(file, tensors=graph.tensors, offsets=() if at else file.offsets) for at, graph in enumerate(graphs)
    ]
    run = [(at, op) for at, graph in enumerate(graphs) for op in graph.operators]
    own = {(at, op.index): _reference(files[at], op) for at, op in run}
    scratch = {"reference": _buffers(lives, own)}
    for variant in VARIANTS:
        sizes = {(0, op.index): _cmsis_nn(file, op, layers.get(op.index), variant) for op in file.operators}
        scratch[variant] = _buffers(lives, own | {key: size for key, size in sizes.items() if size is not None})
    variables = sum(t.bytes for at in files for t in at.tensors if t.variable and not _is_planned(at, t))
    variables += sum(_resources(graphs).values())
    tensors = (buffer for at, inner in enumerate(files) for buffer in _tensors(inner, at, lives))
    return ArenaRequests(tuple(lives.names), tuple(tensors), scratch, variables)


class _Lives:
    """When tensors and operators live: each operator is a step, and so is each subgraph that one of them starts."""

    def __init__(self, graphs: Sequence[Graph], layers: Mapping[int, str]) -> None:
        self.graphs, self.layers = graphs, layers
        self.names: list[str] = []
        self.first: dict[tuple[int, int], int] = {}
        self.last: dict[tuple[int, int], int] = {}
        self.operators: dict[tuple[int, int], tuple[int, int]] = {}
        self.walk(0, 0)

    def walk(self, at: int, depth: int) -> None:
        """Follow the operators of a subgraph."""
        graph, now = self.graphs[at], len(self.names) - 1
        for index in graph.inputs:
            self.first.setdefault((at, index), now)
            self.last[at, index] = now
        for op in graph.operators:
            name = f"{op.code.lower()}_{at}_{op.index}" if at else f"{op.code.lower()}_{op.index}"
            name = name if at else self.layers.get(op.index, name)
            self.names.append(name)
            start = len(self.names) - 1
            for index in op.outputs:
                self.first.setdefault((at, index), start)
            runs = op.options.values() if op.code in _RUN and not op.custom and depth < _MAX_DEPTH else ()
            for inner in map(int, runs):
                if 0 < inner < len(self.graphs) and len(self.names) < _MAX_STEPS:
                    self.names.append(f"{name} subgraph {inner}")
                    self.walk(inner, depth + 1)
            end = len(self.names) - 1
            self.last.update({(at, index): end for index in (*op.inputs, *op.outputs) if index >= 0})
            self.operators[at, op.index] = self.operators.get((at, op.index), (start,))[0], end
        self.last.update({(at, index): len(self.names) - 1 for index in graph.outputs})


def _buffers(lives: _Lives, sizes: Mapping[tuple[int, int], tuple[int, ...]]) -> tuple[Buffer, ...]:
    never = (BEFORE_INPUT, BEFORE_INPUT)
    return tuple(
        Buffer(f"{lives.names[max(span[0], 0)]} scratch", size, *span, True)
        for key in sorted(sizes)
        for span in (lives.operators.get(key, never),)
        for size in sizes[key]
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


def _tensors(file: TfliteFile, at: int, lives: _Lives) -> list[Buffer]:
    buffers = []
    handles = _handles(lives.graphs[at])  # a kernel has them in memory of its own
    for tensor in file.tensors:
        is_held = not tensor.variable or _is_planned(file, tensor)
        if tensor.data is not None or not is_held or not tensor.elements or tensor.index in handles:
            continue
        start = lives.first.get((at, tensor.index), BEFORE_INPUT)
        offset = file.offsets[tensor.index] if file.offsets else -1
        end = max(lives.last.get((at, tensor.index), start), start)
        buffers.append(
            Buffer(tensor.name or f"tensor {tensor.index}", tensor.bytes, start, end, offset=max(offset, -1))
        )
    return buffers


def _handles(graph: Graph) -> dict[int, str]:
    """The name of the variable of each handle."""
    return {
        op.outputs[0]: "/".join(map(str, op.options.values())) or f"operator {op.index}"
        for op in graph.operators
        if op.code == "VAR_HANDLE" and op.outputs
    }


def _resources(graphs: Sequence[Graph]) -> dict[str, int]:
    """Bytes of each variable that subgraphs read or write by its handle; they share those of one name."""
    sizes: dict[str, int] = {}
    for graph in graphs:
        handles = _handles(graph)
        for op in graph.operators:
            values = {"READ_VARIABLE": op.outputs[:1], "ASSIGN_VARIABLE": op.inputs[1:2]}.get(op.code, ())
            for index in values:
                if index >= 0 and (name := handles.get(next(iter(op.inputs), -1))) is not None:
                    sizes[name] = max(sizes.get(name, 0), graph.tensors[index].bytes)
    return sizes


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
