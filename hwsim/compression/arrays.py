"""Weights by the names of layers: of an ``.npz``, ``.onnx`` or ``.tflite`` file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.compression.initializers import onnx_weights
from hwsim.errors import Fault, InputError, excerpt
from hwsim.workload import Conv2d, Gemm, Layer, Workload
from hwsim.workload.loader import read_model
from hwsim.workload.mask import each_array
from hwsim.workload.network import hint

__all__ = ["Weights", "network_of_arrays", "read_arrays", "weights_of"]

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Weights:
    """Weights of some layers of a network, in the shape that the layer has them in, and where they are from."""

    network: Workload
    arrays: Mapping[str, Array]
    path: Path | None = None
    operators: Mapping[int, str] = field(default_factory=dict)


def read_arrays(path: Path) -> dict[str, Array]:
    """The arrays of an ``.npz`` file by name."""
    return dict(each_array(path))


def network_of_arrays(name: str, arrays: Mapping[str, Array]) -> Workload:
    """A plain trace of the arrays: matrices of inputs x outputs, and filters at one position."""
    layers: list[Layer] = []
    for key, array in arrays.items():
        if not all(array.shape):
            raise InputError([Fault(name, excerpt(key), "weights must have values")])
        if array.ndim == 2:
            layers.append(Gemm(key, k=array.shape[0], n=array.shape[1], bias=False, weight="fp32"))
        elif array.ndim == 4:
            k, c, r, s = array.shape
            layers.append(Conv2d(key, c=c, h=r, w=s, k=k, r=r, s=s, bias=False, weight="fp32"))
    if not layers:
        raise InputError("must have weights: matrices of inputs x outputs, or filters of 4 axes", name)
    return Workload(Path(name).stem, layers, graph=False, source=name)


def weights_of(network: Workload, given: Mapping[str, object] | str | Path) -> dict[str, Array]:
    """Arrays for layers of a network, of a mapping or of an ``.npz`` file, in the shapes of the layers.

    A matrix of outputs x inputs is transposed.

    Raises
    ------
    InputError
        For an array that is of no layer, or not of its shape.
    """
    where = "" if isinstance(given, Mapping) else str(given)
    arrays = given if isinstance(given, Mapping) else read_arrays(Path(given))
    weights: dict[str, Array] = {}
    faults: list[Fault] = []
    for key, value in arrays.items():
        name = key.removesuffix(".weight") if isinstance(key, str) else key
        if not isinstance(name, str) or name not in network or not network[name].weights:
            near = hint(name, network.names) if isinstance(name, str) else ""
            faults.append(Fault(where, excerpt(key), f"must be the weights of a layer of {network.name}{near}"))
            continue
        try:
            weights[name] = shaped(network[name], np.asarray(value))
        except InputError as error:
            faults += [Fault(where, excerpt(key), fault.message) for fault in error.faults]
    if faults:
        raise InputError(faults)
    return weights


def shaped(layer: Layer, array: Array) -> Array:
    """An array in the shape of a layer's weights."""
    shape = layer.weight.shape
    if array.dtype.kind not in "iuf":
        raise InputError(f"weights must be numbers, not {array.dtype}")
    if not np.isfinite(array).all():
        raise InputError("weights must be finite")
    if array.shape == shape:
        return array
    if len(shape) == 2 and array.shape == shape[::-1]:
        return np.ascontiguousarray(array.T)
    if array.size == math.prod(shape) and len(shape) != 2:
        return array.reshape(shape)
    raise InputError(f"weights must have the shape {list(shape)}, not {list(array.shape)}")


def read_weights(path: Path, shape: Mapping[str, Any] | None = None, allow_missing: bool = False) -> Weights:
    """The network of a file with what it says of weights."""
    suffix = path.suffix.lower()
    if suffix == ".npz":
        arrays = read_arrays(path)
        network = network_of_arrays(str(path), arrays)
        return Weights(network, weights_of(network, {n: a for n, a in arrays.items() if n in network}), path)
    model: Any = read_model(path, shape=shape, allow_missing=allow_missing)
    if suffix == ".onnx":
        stored = onnx_weights(path, model.layers)
        arrays = {name: item.array for name, item in stored.items()}
    else:
        arrays = _tflite_arrays(model)
    network = model.workload
    weights: dict[str, Array] = {}
    for name, array in arrays.items():
        try:
            weights[name] = shaped(network[name], array)
        except InputError:  # of a form that the layer does not have them in: sizes are expected
            continue
    return Weights(network, weights, path, model.layers)


def _tflite_arrays(model: Any) -> dict[str, Array]:
    """Weights of convolutions and matrices: OHWI to OIHW, 1HWC to C1HW, outputs by inputs to inputs by outputs."""
    arrays: dict[str, Array] = {}
    for index, name in model.layers.items():
        op = model.operators[index]
        if op.code not in _TFLITE or len(op.inputs) < 2 or op.inputs[1] < 0:
            continue
        tensor = model.tensors[op.inputs[1]]
        if tensor.data is None or name not in model.workload:
            continue
        values = np.asarray(tensor.values())
        zero = None if tensor.quantization is None or values.dtype.kind == "f" else tensor.quantization.zero_point
        if zero is not None and zero.any():
            axis = tensor.quantization.axis
            values = values.astype(np.int64) - zero.reshape([-1 if i == axis else 1 for i in range(values.ndim)])
        if values.ndim == 4:
            values = values.transpose(3, 0, 1, 2) if op.code == "DEPTHWISE_CONV_2D" else values.transpose(0, 3, 1, 2)
        elif op.code == "FULLY_CONNECTED":
            values = values.T
        arrays[name] = np.ascontiguousarray(values)
    return arrays


_TFLITE = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
