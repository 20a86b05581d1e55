"""The tables of a TFLite file as plain records; every offset, length and reference is checked."""

from __future__ import annotations

import hashlib
import re
import struct
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import InputError
from hwsim.files import read_bytes
from hwsim.workload.tflite.graph import Budget, Graph, Operator, Quantization, Tensor, TfliteFile, bits_of
from hwsim.workload.tflite.sparsity import Sparsity, read_sparsity
from hwsim.workload.tflite.wire import Table

__all__ = ["read_tables"]

MAX_FILE_BYTES = 512 * 2**20
MAX_TENSORS = 100_000
MAX_OPERATORS = 20_000
MAX_REFERENCES = 1_000_000
MAX_RANK = 8
MAX_NAME = 200
VERSION = 3

Array: TypeAlias = NDArray[Any]
_NO_SCALE = np.zeros(0, np.float32)
#: Fields of a subgraph and of the model.
_TENSORS, _BUFFERS = 0, 4
#: Fields of subgraphs and of operators alike.
_REFERENCES = {"inputs": 1, "outputs": 2}
#: Exceptions of flatbuffers and numpy if a table is out of bounds or invalid.
_BROKEN = (struct.error, TypeError, ValueError, IndexError, OverflowError, AssertionError)

_FUSED = ("FusedActivationFunction",)
_WINDOW = ("Padding", "StrideH", "StrideW", *_FUSED)
_DILATED = (*_WINDOW, "DilationHFactor", "DilationWFactor")
_POOL = ("Pool2DOptions", (*_WINDOW, "FilterHeight", "FilterWidth"))
_REDUCER = ("ReducerOptions", ("KeepDims",))
_SEQUENCE = ("SequenceRNNOptions", (*_FUSED, "TimeMajor"))
#: The options to read for each operator; others have none.
_OPTIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "CONV_2D": ("Conv2DOptions", _DILATED),
    "DEPTHWISE_CONV_2D": ("DepthwiseConv2DOptions", (*_DILATED, "DepthMultiplier")),
    "TRANSPOSE_CONV": ("TransposeConvOptions", _WINDOW),
    "CONV_3D": ("Conv3DOptions", (*_DILATED, "StrideD", "DilationDFactor")),
    "CONV_3D_TRANSPOSE": ("Conv3DOptions", (*_DILATED, "StrideD", "DilationDFactor")),
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"), _POOL),
    "FULLY_CONNECTED": ("FullyConnectedOptions", (*_FUSED, "WeightsFormat", "KeepNumDims")),
    "ADD": ("AddOptions", _FUSED),
    "SUB": ("SubOptions", _FUSED),
    "MUL": ("MulOptions", _FUSED),
    "DIV": ("DivOptions", _FUSED),
    "L2_NORMALIZATION": ("L2NormOptions", _FUSED),
    "CONCATENATION": ("ConcatenationOptions", (*_FUSED, "Axis")),
    "STRIDED_SLICE": (
        "StridedSliceOptions",
        ("BeginMask", "EndMask", "EllipsisMask", "NewAxisMask", "ShrinkAxisMask", "Offset"),
    ),
    "PACK": ("PackOptions", ("Axis", "ValuesCount")),
    "UNPACK": ("UnpackOptions", ("Axis", "Num")),
    "SOFTMAX": ("SoftmaxOptions", ("Beta",)),
    "LEAKY_RELU": ("LeakyReluOptions", ("Alpha",)),
    "BATCH_MATMUL": ("BatchMatMulOptions", ("AdjX", "AdjY")),
    "GATHER": ("GatherOptions", ("Axis", "BatchDims")),
    **dict.fromkeys(("MEAN", "SUM", "REDUCE_PROD", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_ANY", "REDUCE_ALL"), _REDUCER),
    "SVDF": ("SVDFOptions", (*_FUSED, "Rank")),
    "IF": ("IfOptions", ("ThenSubgraphIndex", "ElseSubgraphIndex")),
    "WHILE": ("WhileOptions", ("CondSubgraphIndex", "BodySubgraphIndex")),
    "CALL_ONCE": ("CallOnceOptions", ("InitSubgraphIndex",)),
    "VAR_HANDLE": ("VarHandleOptions", ("Container", "SharedName")),
    "CALL": ("CallOptions", ("Subgraph",)),
    "STABLEHLO_COMPOSITE": ("StableHLOCompositeOptions", ("DecompositionSubgraphIndex",)),
    "RNN": ("RNNOptions", _FUSED),
    "UNIDIRECTIONAL_SEQUENCE_RNN": _SEQUENCE,
    "BIDIRECTIONAL_SEQUENCE_RNN": ("BidirectionalSequenceRNNOptions", (*_FUSED, "TimeMajor", "MergeOutputs")),
    "LSTM": ("LSTMOptions", (*_FUSED, "KernelType")),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": ("UnidirectionalSequenceLSTMOptions", (*_FUSED, "TimeMajor")),
    "BIDIRECTIONAL_SEQUENCE_LSTM": ("BidirectionalSequenceLSTMOptions", (*_FUSED, "TimeMajor", "MergeOutputs")),
}


def read_tables(path: Path) -> TfliteFile:
    """Read a file; every fault raises an InputError that names it."""
    try:
        import tflite
    except ImportError:
        raise InputError("needs the extra: pip install 'hwsim[tflite]'", str(path)) from None
    try:
        raw = read_bytes(path, MAX_FILE_BYTES)
        if len(raw) < 8 or raw[4:8] != b"TFL3":
            raise InputError(f"must be a TFLite file, with 'TFL3' at byte 4, not {raw[4:8]!r}")
        return _Reader(str(path), raw, tflite).read()
    except InputError as error:
        faults = [(fault.path, fault.message) for fault in error.faults]
        raise InputError("; ".join(": ".join(filter(None, fault)) for fault in faults), str(path)) from None
    except _BROKEN:
        raise InputError("must be a whole TFLite file; a table of it leads outside or is cut off", str(path)) from None


@lru_cache(256)
def _key(field: str) -> str:
    """The name of an option in the schema: ``stride_h`` of ``StrideH``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", field).lower()


def _text(raw: bytes | None) -> str:
    """Text of the file, printable and of limited length."""
    text = (raw or b"")[:MAX_NAME].decode("utf-8", "replace")
    return "".join(char if char.isprintable() else "?" for char in text)


class _Reader:
    def __init__(self, path: str, raw: bytes, tflite: Any) -> None:
        self.path = path
        self.raw = raw
        self.tflite = tflite
        self.budget = Budget(len(raw))
        self.reference_count = 0
        self.buffer_tables: list[Table] = []
        self.types = {value: name.lower() for name, value in _constants(tflite.TensorType)}
        self.codes = {value: name for name, value in _constants(tflite.BuiltinOperator)}
        self.enums: dict[str, dict[int, str]] = {
            "Padding": {value: name for name, value in _constants(tflite.Padding)},
            "FusedActivationFunction": {value: name for name, value in _constants(tflite.ActivationFunctionType)},
        }

    def read(self) -> TfliteFile:
        model = self.model = self.tflite.Model.GetRootAs(self.raw, 0)
        if model.Version() != VERSION:
            raise InputError(f"must be version {VERSION} of the format, not {model.Version()}")
        subgraphs = self.count("subgraphs", model.SubgraphsLength(), MAX_OPERATORS)
        if not subgraphs:
            raise InputError("must have a subgraph")
        count = model.BuffersLength()
        self.buffer_tables = Table(self.raw, model._tab.Pos).tables(_BUFFERS) if count else []
        self.buffers: dict[int, NDArray[np.uint8] | None] = {}
        self.operator_codes: dict[int, tuple[str, int, bool]] = {}
        self.counts = [0, 0]
        others = []
        for index in range(1, subgraphs):
            others.append(self.graph(model.Subgraphs(index)))
            self.check_order()
        self.graph(model.Subgraphs(0))
        offsets = self.offsets()
        held = self.check_order()
        description = model.Description()
        self.budget.spend(len(description or b""))
        digest = "sha256:" + hashlib.sha256(self.raw).hexdigest()
        return TfliteFile(
            self.path, digest, len(self.raw), _text(description), subgraphs,
            self.tensors, self.operators, self.inputs, self.outputs, self.budget, offsets, held,
            tuple(others), self.signatures(subgraphs),
        )  # fmt: skip

    def graph(self, graph: Any) -> Graph:
        """Read one subgraph; the last that was read is that of the reader."""
        self.counts[0] += graph.TensorsLength()
        self.counts[1] += graph.OperatorsLength()
        self.count("tensors", self.counts[0], MAX_TENSORS)
        self.count("operators", self.counts[1], MAX_OPERATORS)
        table = Table(self.raw, graph._tab.Pos)
        self.tensors = tuple(self.tensor(index, tensor) for index, tensor in enumerate(table.tables(_TENSORS)))
        self.operators = tuple(self.operator(i, graph.Operators(i)) for i in range(graph.OperatorsLength()))
        self.inputs = self.references(table, "inputs", "the subgraph", False)
        self.outputs = self.references(table, "outputs", "the subgraph", False)
        return Graph(self.tensors, self.operators, self.inputs, self.outputs)

    def signatures(self, subgraphs: int) -> dict[int, str]:
        """Names of the subgraphs that programs call."""
        count = self.count("signatures", self.model.SignatureDefsLength(), MAX_OPERATORS)
        tables = [self.model.SignatureDefs(index) for index in range(count)]
        self.budget.spend(sum(len(table.SignatureKey() or b"") for table in tables))
        names = {table.SubgraphIndex(): _text(table.SignatureKey()) for table in tables}
        return {index: name for index, name in names.items() if 0 <= index < subgraphs}

    def offsets(self) -> tuple[int, ...]:
        """The plan of the arena that a compiler left in the file's metadata: version, subgraph, count, offsets."""
        count = self.count("records of metadata", self.model.MetadataLength(), MAX_OPERATORS)
        for index in range(count):
            table = self.model.Metadata(index)
            if table.Name() != b"OfflineMemoryAllocation":
                continue
            data = self.buffer(table.Buffer())
            words = np.zeros(0, np.int32) if data is None else data[: data.size // 4 * 4].view("<i4")
            self.budget.spend(words.nbytes)
            if words.size < 3 or words[2] != len(self.tensors) or words.size < 3 + len(self.tensors):
                message = f"OfflineMemoryAllocation must have an offset for each of its {len(self.tensors)} tensors"
                raise InputError(message)
            return tuple(words[3 : 3 + len(self.tensors)].tolist())
        return ()

    @staticmethod
    def count(what: str, number: int, most: int) -> int:
        if number > most:
            raise InputError(f"must have at most {most} {what}, not {number}")
        return number

    def references(self, table: Table, name: str, owner: str, may_be_none: bool) -> tuple[int, ...]:
        """Tensors that a subgraph or an operator names."""
        vector = self.values(table, _REFERENCES[name], "<i4")
        self.reference_count += vector.size
        self.count("inputs and outputs of operators", self.reference_count, MAX_REFERENCES)
        indices = tuple(vector.tolist())
        for index in indices:
            if not (-may_be_none <= index < len(self.tensors)):
                message = f"{name} must be among its {len(self.tensors)} tensors, not {index}"
                raise InputError(message, path=owner)
        return indices

    def buffer(self, index: int) -> NDArray[np.uint8] | None:
        """The bytes of a buffer, None if it is empty; large files keep them after the tables."""
        if index not in self.buffers:
            if not 0 <= index < len(self.buffer_tables):
                raise InputError(f"buffer must be among its {len(self.buffer_tables)}, not {index}")
            table = self.buffer_tables[index]
            if (start := table.unsigned(1, 8)) > 1:
                size = table.unsigned(2, 8)
                if start + size > len(self.raw):
                    raise InputError(f"buffer {index} must end within the {len(self.raw)} bytes of the file")
                data = np.frombuffer(self.raw, np.uint8, size, start)
            else:
                data = table.vector(0, "u1")
            self.buffers[index] = data if data.size else None
        return self.buffers[index]

    def values(self, table: Table, field: int, dtype: str) -> Array:
        """A vector of a table as a view into the file."""
        values = table.vector(field, dtype)
        self.budget.spend(values.nbytes)
        return values

    def tensor(self, index: int, table: Table) -> Tensor:
        owner = f"tensor {index}"
        shape = tuple(self.values(table, 0, "<i4")[: MAX_RANK + 1].tolist())
        if len(shape) > MAX_RANK or any(size < 0 for size in shape):
            message = f"shape must be at most {MAX_RANK} sizes, none of them negative, not {shape}"
            raise InputError(message, path=owner)
        if (kind := table.unsigned(1, 1)) not in self.types:
            raise InputError(f"type must be one of TFLite's, not {kind}", path=owner)
        dtype, place = self.types[kind], table.unsigned(2, 4)
        data = self.buffer(place)
        name = self.values(table, 3, "u1")[:MAX_NAME].tobytes()
        quantization = self.quantization(owner, shape, table.table(4))
        is_variable, sparse = bool(table.unsigned(5, 1)), self.sparsity(owner, table.table(6))
        signature = tuple(self.values(table, 7, "<i4")[: MAX_RANK + 1].tolist())
        tensor = Tensor(index, _text(name), shape, dtype, quantization, is_variable, sparse, data, place, signature)
        if data is not None and bits_of(dtype) and not sparse and tensor.bytes != data.size:
            message = f"must have {tensor.bytes} bytes, as a {dtype} of shape {shape} has, not {data.size}"
            raise InputError(message, path=owner)
        return tensor

    def sparsity(self, owner: str, table: Table | None) -> Sparsity | None:
        if table is None:
            return None
        try:
            sparsity = read_sparsity(table)
        except InputError as error:
            raise InputError(error.faults[0].message, path=owner) from None
        if sparsity is not None:
            vectors = [vector for level in sparsity.levels for vector in (level.segments, level.indices)]
            self.budget.spend(sum(vector.nbytes for vector in vectors if vector is not None))
        return sparsity

    def quantization(self, owner: str, shape: tuple[int, ...], table: Table | None) -> Quantization | None:
        scale = _NO_SCALE if table is None else self.values(table, 2, "<f4")
        if table is None or not scale.size:
            return None
        zero = self.values(table, 3, "<i8")
        # Old converters give a bias the axis of the weights; it has one.
        axis = 0 if len(shape) == 1 else table.integer(6)
        zero = zero if zero.size else np.zeros(scale.size, np.int64)
        if scale.size > 1 and not (0 <= axis < len(shape) and shape[axis] == scale.size):
            raise InputError(f"must have one scale, or one for each index of axis {axis}, not {scale.size}", path=owner)
        if zero.size not in (1, scale.size):
            raise InputError(f"must have as many zero points as scales, {scale.size}, not {zero.size}", path=owner)
        if not (np.isfinite(scale).all() and (scale >= 0).all()):
            raise InputError("scales must be finite and not negative", path=owner)
        return Quantization(scale, zero, axis)

    def operator_code(self, index: int) -> tuple[str, int, bool]:
        """The name and version of an operator code, and whether it is custom."""
        if index not in self.operator_codes:
            if not 0 <= index < self.model.OperatorCodesLength():
                raise InputError(f"operator code must be among its {self.model.OperatorCodesLength()}, not {index}")
            table = self.model.OperatorCodes(index)
            # Codes above 127 are in a newer, wider field; the old field then holds a smaller placeholder.
            code = max(table.BuiltinCode(), table.DeprecatedBuiltinCode())
            name = self.codes.get(code, f"BUILTIN_{code}")
            custom_code = name == "CUSTOM"
            if custom_code:
                custom = table.CustomCode()
                self.budget.spend(len(custom or b""))
                name = _text(custom) or name
                name = f"custom {name}" if name in self.codes.values() and name != "CUSTOM" else name
            self.operator_codes[index] = name, int(table.Version()), custom_code
        return self.operator_codes[index]

    def operator(self, index: int, table: Any) -> Operator:
        code, version, custom = self.operator_code(table.OpcodeIndex())
        owner = f"operator {index}, {code}"
        if not 1 <= version <= 1000:
            raise InputError(f"version must be from 1 to 1000, not {version}", path=owner)
        own = Table(self.raw, table._tab.Pos)
        inputs = self.references(own, "inputs", owner, True)
        outputs = self.references(own, "outputs", owner, False)
        options = {} if custom else self.options(code, owner, table)
        return Operator(index, code, version, inputs, outputs, options, custom)

    def options(self, code: str, owner: str, table: Any) -> dict[str, int | float | str]:
        if code not in _OPTIONS:
            return {}
        kind, fields = _OPTIONS[code]
        place = "BuiltinOptions2" if hasattr(self.tflite.BuiltinOptions2, kind) else "BuiltinOptions"
        union, type_ = getattr(table, place)(), getattr(table, f"{place}Type")()
        options = getattr(self.tflite, kind)()
        if type_ != getattr(getattr(self.tflite, place), kind) or union is None:
            if type_ != 0 or "Padding" in fields:
                raise InputError(f"must have {kind}, not options of type {type_}", path=owner)
            return {}
        options.Init(union.Bytes, union.Pos)
        values: dict[str, int | float | str] = {}
        for field in fields:
            value = getattr(options, field)()
            key = _key(field)
            if field in self.enums:
                if value not in self.enums[field]:
                    raise InputError(f"{key} must be one of TFLite's, not {value}", path=owner)
                value = self.enums[field][value]
            if value is None or isinstance(value, bytes):
                self.budget.spend(len(value or b""))
                value = _text(value)
            values[key] = value
        return values

    def check_order(self) -> frozenset[int]:
        """Check that every tensor is written once, before it is read: there is no cycle.

        Returns the tensors that custom operators read and nothing writes.
        """
        ready = {t.index for t in self.tensors if t.data is not None or t.variable or not t.elements}
        written = {index for op in self.operators for index in op.outputs}
        sources, held = set(self.inputs), set()
        for op in self.operators:
            for index in op.inputs:
                if index >= 0 and index not in sources and index not in ready:
                    if not op.custom or index in written:
                        raise InputError(f"must read what is written before it, not tensor {index}", path=str(op))
                    held.add(index)
            for index in op.outputs:
                if index in sources or self.tensors[index].data is not None:
                    raise InputError(f"must write a tensor that nothing else gives, not tensor {index}", path=str(op))
                sources.add(index)
        for index in self.outputs:
            if index not in sources and index not in ready:
                raise InputError(f"outputs must be written by an operator; tensor {index} is not", path="the subgraph")
        return frozenset(held)


def _constants(names: Any) -> list[tuple[str, int]]:
    return [(name, value) for name, value in vars(names).items() if isinstance(value, int)]
