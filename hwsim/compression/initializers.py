"""Weights of an ONNX file by the names of layers, and the file with other values in their place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import InputError
from hwsim.files import read_bytes

__all__ = ["Stored", "onnx_weights", "with_weights"]

MAX_FILE_BYTES = 2**31 - 1
#: Which input of an operator has the weights.
_PLACES = {
    "Conv": 1, "Gemm": 1, "MatMul": 1, "ConvInteger": 1, "MatMulInteger": 1, "QLinearConv": 3, "QLinearMatMul": 3,
}  # fmt: skip
#: Which input of an operator has the zero point of its weights.
_ZEROS = {"DequantizeLinear": 2, "QLinearConv": 5, "QLinearMatMul": 5, "ConvInteger": 3, "MatMulInteger": 3}
_SAME = ("Identity", "DequantizeLinear", "Cast")


@dataclass(frozen=True, eq=False)
class Stored:
    """Weights of a layer, the initializer that has them, and whether it has them transposed."""

    array: NDArray[Any]
    initializer: str
    transposed: bool


def _model(path: Path) -> Any:
    try:
        import onnx
    except ImportError:
        raise InputError("the extra hwsim[onnx] must be installed for .onnx files", str(path)) from None
    try:
        return onnx.load_model_from_string(read_bytes(path, MAX_FILE_BYTES))
    except InputError:
        raise
    except Exception as error:  # what protobuf raises
        raise InputError(f"must be an ONNX model: {str(error)[:120]}", str(path)) from None


def _zero_point(node: Any, constants: Mapping[str, Any]) -> int:
    """The zero point of an operator's weights, where it is one number for all of them."""
    from onnx import numpy_helper

    place = _ZEROS.get(node.op_type)
    if place is None or len(node.input) <= place or node.input[place] not in constants:
        return 0
    values = np.unique(numpy_helper.to_array(constants[node.input[place]]))
    return int(values[0]) if values.size == 1 else 0


def onnx_weights(path: Path, layers: Mapping[int, str]) -> dict[str, Stored]:
    """Weights by the names of layers, of the operators whose index has a layer."""
    from onnx import numpy_helper

    graph = _model(path).graph
    constants = {item.name: item for item in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    found: dict[str, Stored] = {}
    for index, name in layers.items():
        node = graph.node[index]
        place = _PLACES.get(node.op_type)
        if place is None or len(node.input) <= place:
            continue
        source, transposed = node.input[place], False
        zero = _zero_point(node, constants)
        if node.op_type == "Gemm":
            transposed = any(item.name == "transB" and item.i for item in node.attribute)
        for _ in range(8):
            maker = makers.get(source)
            if source in constants or maker is None or maker.op_type not in (*_SAME, "Transpose"):
                break
            transposed ^= maker.op_type == "Transpose"
            zero = zero or _zero_point(maker, constants)
            source = maker.input[0]
        if source not in constants:
            continue
        try:
            array = numpy_helper.to_array(constants[source])
            if zero and array.dtype.kind in "iu":
                array = array.astype(np.int64) - int(zero)
        except Exception:  # external data, or a type that numpy lacks
            continue
        if array.dtype.kind in "iuf":
            turned = np.ascontiguousarray(array.T) if transposed and array.ndim == 2 else array
            found[name] = Stored(turned, source, transposed)
    return found


def with_weights(path: Path, layers: Mapping[int, str], changed: Mapping[str, NDArray[Any]]) -> bytes:
    """The file's bytes with other values of some layers' weights.

    Raises
    ------
    InputError
        Where weights are not stored as floats: shared values would have to be quantized again.
    """
    from onnx import numpy_helper

    model = _model(path)
    stored = onnx_weights(path, layers)
    constants = {item.name: item for item in model.graph.initializer}
    for name, array in changed.items():
        item = stored[name]
        if item.array.dtype.kind != "f":
            raise InputError(
                f"weights of {name} must be floats to be written to an .onnx file, not {item.array.dtype}", str(path)
            )
        values = array.reshape(item.array.shape).astype(item.array.dtype)
        values = np.ascontiguousarray(values.T) if item.transposed and values.ndim == 2 else values
        constants[item.initializer].CopyFrom(numpy_helper.from_array(values, item.initializer))
    return bytes(model.SerializeToString())
