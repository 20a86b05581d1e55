"""Makes small TFLite files for tests, right or wrong ones, with the writers of the `tflite` package."""

from dataclasses import dataclass, field

import flatbuffers
import numpy as np
import tflite


@dataclass
class T:
    """A tensor: a constant where it has data."""

    shape: tuple
    type: str = "INT8"
    data: object = None
    scale: object = (1.0,)
    zero: object = (0,)
    axis: int = 0
    variable: bool = False
    signature: object = None
    sparsity: object = None  # order of the axes, blocked axes, and of each level a size or (segments, indices)


@dataclass
class Op:
    """An operator by its name; a name that TFLite does not have is a custom one."""

    code: str
    inputs: list
    outputs: list
    kind: str = ""
    options: dict = field(default_factory=dict)
    version: int = 1


def conv(inputs, outputs, padding="SAME", stride=1, act="NONE", **more):
    """A convolution of square strides."""
    values = {"Padding": getattr(tflite.Padding, padding), "StrideH": stride, "StrideW": stride}
    fused = {"FusedActivationFunction": getattr(tflite.ActivationFunctionType, act)}
    dilation = {"DilationHFactor": 1, "DilationWFactor": 1}
    kind = "DepthwiseConv2DOptions" if "DepthMultiplier" in more else "Conv2DOptions"
    code = "DEPTHWISE_CONV_2D" if "DepthMultiplier" in more else "CONV_2D"
    return Op(code, inputs, outputs, kind, values | fused | dilation | more)


def fc(inputs, outputs, act="NONE"):
    """A fully connected layer."""
    fused = {"FusedActivationFunction": getattr(tflite.ActivationFunctionType, act)}
    return Op("FULLY_CONNECTED", inputs, outputs, "FullyConnectedOptions", fused)


def add(inputs, outputs):
    """A sum."""
    return Op("ADD", inputs, outputs, "AddOptions", {"FusedActivationFunction": 0})


def _vector(b, values, dtype):
    return b.CreateNumpyVector(np.ascontiguousarray(values, dtype))


def _value(b, value):
    """A field of a table: text and bytes are stored apart."""
    if isinstance(value, str):
        return b.CreateString(value)
    return _vector(b, np.frombuffer(value, np.uint8), np.uint8) if isinstance(value, bytes | bytearray) else value


def _tables(b, offsets):
    b.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return b.EndVector()


def _table(b, name, **fields):
    getattr(tflite, f"{name}Start")(b)
    for key, value in fields.items():
        if value is not None:
            getattr(tflite, f"{name}Add{key}")(b, value)
    return getattr(tflite, f"{name}End")(b)


def build(tensors, operators, inputs, outputs, version=3, subgraphs=1, offsets=None, others=(), signatures=()) -> bytes:
    """The bytes of a file.

    `offsets` is a plan of the arena, an offset for each tensor or -1; `others` are tensors, operators, inputs and
    outputs of further subgraphs; `signatures` are the names of the first subgraphs.
    """
    b = flatbuffers.Builder(1024)
    buffers, codes = [_table(b, "Buffer")], []
    graph = _graph(b, buffers, codes, tensors, operators, inputs, outputs)
    graphs = [graph] * subgraphs + [_graph(b, buffers, codes, *other) for other in others]
    metadata = None
    if offsets is not None:
        words = np.array([1, 0, len(offsets), *offsets], np.int32).view(np.uint8)
        name = b.CreateString("OfflineMemoryAllocation")
        metadata = _table(b, "Metadata", Name=name, Buffer=len(buffers))
        buffers.append(_table(b, "Buffer", Data=_vector(b, words, np.uint8)))
        metadata = _tables(b, [metadata])
    names = [b.CreateString(name) for name in signatures]
    keys = [_table(b, "SignatureDef", SignatureKey=name, SubgraphIndex=place) for place, name in enumerate(names)]
    signed = _tables(b, keys) if keys else None
    fields = {
        "OperatorCodes": _tables(b, codes),
        "SignatureDefs": signed,
        "Subgraphs": _tables(b, graphs),
        "Metadata": metadata,
    }
    root = _table(b, "Model", Version=version, Buffers=_tables(b, buffers), **fields)
    b.Finish(root, b"TFL3")
    return bytes(b.Output())


def _sparsity(b, order, blocked, levels):
    """A SparsityParameters table; a sparse level has vectors of the type of its arrays."""
    kinds = {"int32": ("Int32Vector", 1), "uint16": ("Uint16Vector", 2), "uint8": ("Uint8Vector", 3)}
    made = []
    for level in levels:
        if isinstance(level, int):
            made.append(_table(b, "DimensionMetadata", Format=0, DenseSize=level))
            continue
        fields = {}
        for name, values in zip(("ArraySegments", "ArrayIndices"), level):
            table, kind = kinds[values.dtype.name]
            fields |= {f"{name}Type": kind, name: _table(b, table, Values=_vector(b, values, values.dtype))}
        made.append(_table(b, "DimensionMetadata", Format=1, **fields))
    order, blocked = _vector(b, order, np.int32), _vector(b, blocked, np.int32)
    return _table(b, "SparsityParameters", TraversalOrder=order, BlockMap=blocked, DimMetadata=_tables(b, made))


def _graph(b, buffers, codes, tensors, operators, inputs, outputs):
    """A subgraph; its constants and operator codes are added to those of the file."""
    made = []
    for index, tensor in enumerate(tensors):
        place = 0
        if tensor.data is not None:
            raw = np.frombuffer(np.ascontiguousarray(tensor.data).tobytes(), np.uint8)
            place = len(buffers)
            buffers.append(_table(b, "Buffer", Data=_vector(b, raw, np.uint8)))
        quantization = None
        if tensor.scale is not None:
            scale, zero = _vector(b, tensor.scale, np.float32), _vector(b, tensor.zero, np.int64)
            quantization = _table(
                b, "QuantizationParameters", Scale=scale, ZeroPoint=zero, QuantizedDimension=tensor.axis
            )
        shape, name = _vector(b, tensor.shape, np.int32), b.CreateString(f"t{index}")
        kind = getattr(tflite.TensorType, tensor.type) if isinstance(tensor.type, str) else tensor.type
        fields = {"Shape": shape, "Name": name, "Type": kind, "Buffer": place, "Quantization": quantization}
        if tensor.sparsity is not None:
            fields["Sparsity"] = _sparsity(b, *tensor.sparsity)
        if tensor.signature is not None:
            fields["ShapeSignature"] = _vector(b, tensor.signature, np.int32)
        made.append(_table(b, "Tensor", **fields, IsVariable=tensor.variable or None))
    ops = []
    for op in operators:
        number = getattr(tflite.BuiltinOperator, op.code, None) if isinstance(op.code, str) else op.code
        custom = b.CreateString(op.code) if number is None else None
        number = tflite.BuiltinOperator.CUSTOM if number is None else number
        old = min(number, 127)
        codes.append(
            _table(
                b, "OperatorCode", BuiltinCode=number, DeprecatedBuiltinCode=old, CustomCode=custom, Version=op.version
            )
        )
        values = {key: _value(b, value) for key, value in op.options.items()}
        options = _table(b, op.kind, **values) if op.kind else None
        second = hasattr(tflite.BuiltinOptions2, op.kind)
        union = "BuiltinOptions2" if second else "BuiltinOptions"
        kind = getattr(getattr(tflite, union), op.kind) if op.kind else None
        reads, writes = _vector(b, op.inputs, np.int32), _vector(b, op.outputs, np.int32)
        fields = {f"{union}Type": kind, union: options}
        ops.append(_table(b, "Operator", OpcodeIndex=len(codes) - 1, Inputs=reads, Outputs=writes, **fields))
    tables, steps = _tables(b, made), _tables(b, ops)
    ends = {"Inputs": _vector(b, inputs, np.int32), "Outputs": _vector(b, outputs, np.int32)}
    return _table(b, "SubGraph", Tensors=tables, Operators=steps, **ends)
