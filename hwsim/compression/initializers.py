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
#: Which input of an operator has the zero points of its weights, and the axis along which there are several.
_ZEROS = {
    "DequantizeLinear": (2, 1), "QLinearConv": (5, 0), "QLinearMatMul": (5, -1), "ConvInteger": (3, 0),
    "MatMulInteger": (3, -1),
}  # fmt: skip
_BEFORE = ("Identity", "DequantizeLinear", "Cast", "Transpose")
_DEPTH = 8


@dataclass(frozen=True, eq=False)
class Stored:
    """Weights of a layer, the initializer that has them, and which of its axes each axis of them is."""

    array: NDArray[Any]
    initializer: str
    order: tuple[int, ...]


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


def _constants(graph: Any) -> dict[str, Any]:
    """Tensors of the file by name: initializers, and the values of Constant nodes."""
    values = {
        node.output[0]: item.t
        for node in graph.node
        if node.op_type == "Constant" and node.output
        for item in node.attribute
        if item.name == "value"
    }
    return values | {item.name: item for item in graph.initializer}


def _attribute(node: Any, name: str, default: Any) -> Any:
    from onnx import helper

    return next((helper.get_attribute_value(item) for item in node.attribute if item.name == name), default)


def _real(values: NDArray[Any], node: Any, constants: Mapping[str, Any]) -> NDArray[Any]:
    """Stored integers less their zero points: one, one for each index of an axis, or one for each block along it."""
    from onnx import numpy_helper

    place, axis = _ZEROS.get(node.op_type, (0, 0))
    if not place or len(node.input) <= place or not node.input[place] or values.dtype.kind not in "iu":
        return values
    zeros = numpy_helper.to_array(constants[node.input[place]]).astype(np.int64)
    axis = _attribute(node, "axis", axis) % max(values.ndim, 1)
    if zeros.size == 1:
        zeros = zeros.reshape(())
    elif zeros.ndim == 1:
        zeros = zeros.reshape([-1 if place == axis else 1 for place in range(values.ndim)])
    elif block := _attribute(node, "block_size", 0):
        zeros = zeros.repeat(block, axis).take(range(values.shape[axis]), axis)
    return values.astype(np.int64) - zeros


def _read(node: Any, source: str, makers: Mapping[str, Any], constants: Mapping[str, Any]) -> Stored | None:
    """The weights of an operator from the tensor of the file that they come from; None where they are computed."""
    from onnx import numpy_helper

    path: list[Any] = [node]
    while source not in constants:
        maker = makers.get(source)
        if maker is None or maker.op_type not in _BEFORE or len(path) > _DEPTH:
            return None
        path.append(maker)
        source = maker.input[0]
    array = numpy_helper.to_array(constants[source])
    order = tuple(range(array.ndim))
    for step in reversed(path):
        array = _real(array, step, constants)
        turns = step.op_type == "Transpose" or (step.op_type == "Gemm" and _attribute(step, "transB", 0))
        if turns:
            axes = tuple(_attribute(step, "perm", range(array.ndim)[::-1]))
            array, order = array.transpose(axes), tuple(order[axis] for axis in axes)
    return Stored(np.ascontiguousarray(array), source, order)


def onnx_weights(path: Path, layers: Mapping[int, str]) -> dict[str, Stored]:
    """Weights by the names of layers, of the operators whose index has a layer; not of those that are computed."""
    graph = _model(path).graph
    constants = _constants(graph)
    makers = {name: node for node in graph.node for name in node.output}
    weights: dict[str, Stored] = {}
    for index, name in layers.items():
        node = graph.node[index]
        place = _PLACES.get(node.op_type)
        if place is None or len(node.input) <= place:
            continue
        try:
            stored = _read(node, node.input[place], makers, constants)
        except (
            Exception
        ):  # external data, a type that numpy lacks, or zero points that are computed or of another shape
            continue
        if stored is not None and stored.array.dtype.kind in "iuf":
            weights[name] = stored
    return weights


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
    constants = _constants(model.graph)
    for name, array in changed.items():
        item = stored[name]
        if item.array.dtype.kind != "f":
            raise InputError(
                f"weights of {name} must be floats to be written to an .onnx file, not {item.array.dtype}", str(path)
            )
        values = array.reshape(item.array.shape).astype(item.array.dtype)
        values = np.ascontiguousarray(values.transpose(np.argsort(item.order)))
        constants[item.initializer].CopyFrom(numpy_helper.from_array(values, item.initializer))
    return bytes(model.SerializeToString())
