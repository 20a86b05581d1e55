"""Weights by the names of layers: of an ``.npz``, ``.onnx`` or ``.tflite`` file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.compression.initializers import onnx_weights
from hwsim.errors import Fault, InputError, excerpt
from hwsim.message import Message
from hwsim.workload import Conv2d, Gemm, Layer, Workload
from hwsim.workload.loader import read_model
from hwsim.workload.mask import each_array
from hwsim.workload.network import hint

__all__ = ["Weights", "network_of_arrays", "read_arrays", "weights_of"]

Array = NDArray[Any]

_LARGEST = float(np.finfo(np.float32).max)
#: The order of axes, for weights that have the sizes of the layer in another.
_ORDERS = {2: " (inputs, outputs)", 4: " (filters, inputs, rows, columns)"}


@dataclass(frozen=True, eq=False)
class Weights:
    """Weights of some layers of a network, in the shape that the layer has them in, and where they are from."""

    network: Workload
    arrays: Mapping[str, Array]
    path: Path | None = None
    operators: Mapping[int, str] = field(default_factory=dict)
    notes: tuple[Message, ...] = ()


def read_arrays(path: Path) -> dict[str, Array]:
    """The arrays of an ``.npz`` file by name."""
    return dict(each_array(path))


def _left_out(arrays: Mapping[str, Array], network: Workload) -> tuple[Message, ...]:
    """Arrays that are no weights of two or four axes, such as biases."""
    names = [excerpt(name) for name in arrays if name not in network]
    template = "arrays that are neither matrices nor filters of 4 axes are left out: {names}"
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return (Message("compression.left_out", template, {"names": shown}),) if names else ()


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


def weights_of(network: Workload, given: Mapping[str, object] | str | Path) -> Weights:
    """Arrays for layers of a network, of a mapping or of an ``.npz`` file, in the shapes of the layers.

    A matrix of outputs x inputs is transposed, and a note says so.

    Raises
    ------
    InputError
        For an array that is of no layer, or not of its shape.
    """
    if isinstance(given, Mapping):
        return _weights_of(network, given, "")
    return _weights_of(network, read_arrays(Path(given)), str(given))


def _weights_of(network: Workload, arrays: Mapping[str, object], where: str) -> Weights:
    weights: dict[str, Array] = {}
    turned: list[str] = []
    faults: list[Fault] = []
    for key, value in arrays.items():
        name = key.removesuffix(".weight") if isinstance(key, str) else key
        if not isinstance(name, str) or name not in network or not network[name].weights:
            able = [layer.name for layer in network if layer.weights]
            near = hint(name, able) if isinstance(name, str) else ""
            faults.append(Fault(where, excerpt(key), f"must be the weights of a layer of {network.name}{near}"))
            continue
        try:
            array = checked(value)
            shape = network[name].weight.shape
            if len(shape) == 2 and shape != array.shape == shape[::-1]:
                turned.append(name)
                array = np.ascontiguousarray(array.T)
            weights[name] = shaped(network[name], array)
        except InputError as error:
            faults += [Fault(where, excerpt(key), fault.message) for fault in error.faults]
    if faults:
        raise InputError(faults)
    template = "matrices of outputs x inputs, transposed"
    notes = (Message("compression.transposed", template, layers=tuple(turned)),) if turned else ()
    return Weights(network, weights, notes=notes)


def checked(value: object) -> Array:
    """Weights as an array of finite numbers within the range of fp32, in which they are written."""
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, OverflowError):
        raise InputError(f"weights must be an array of numbers, its rows of one length, not {excerpt(value)}") from None
    if array.dtype.kind not in "iuf" or array.dtype.itemsize > 8:
        raise InputError(f"weights must be numbers of at most 64 bits, not {array.dtype}")
    if not np.isfinite(array).all():
        raise InputError("weights must be finite: there is a NaN or an infinity among them")
    largest = max(map(abs, (float(array.min()), float(array.max())))) if array.size else 0.0
    if largest > _LARGEST:
        raise InputError(f"weights must be at most {_LARGEST:.4g}, the largest number of fp32, not {largest:.4g}")
    return array


def shaped(layer: Layer, array: Array) -> Array:
    """An array in the shape of a layer's weights; sizes of 1 may be left out."""
    shape = layer.weight.shape
    if [size for size in array.shape if size != 1] == [size for size in shape if size != 1]:
        return array.reshape(shape)
    order = _ORDERS.get(len(shape), "") if sorted(array.shape) == sorted(shape) else ""
    raise InputError(f"weights must have the shape {list(shape)}{order}, not {list(array.shape)}")


def read_weights(path: Path, shape: Mapping[str, Any] | None = None, allow_missing: bool = False) -> Weights:
    """The network of a file with what it says of weights."""
    suffix = path.suffix.lower()
    if suffix == ".npz":
        arrays = read_arrays(path)
        network = network_of_arrays(str(path), arrays)
        weights = _weights_of(network, {n: a for n, a in arrays.items() if n in network}, str(path))
        return replace(weights, path=path, notes=_left_out(arrays, network))
    model: Any = read_model(path, shape=shape, allow_missing=allow_missing)
    if suffix == ".onnx":
        stored = onnx_weights(path, model.layers)
        arrays = {name: item.array for name, item in stored.items()}
    else:
        arrays = _tflite_arrays(model)
    network = model.workload
    fitting: dict[str, Array] = {}
    notes: list[Message] = []
    for name, array in arrays.items():
        try:
            array = checked(array)
        except InputError as error:
            raise InputError([Fault(str(path), name, fault.message) for fault in error.faults]) from None
        try:
            fitting[name] = shaped(network[name], array)
        except InputError as error:
            template = "sizes are expected: the array in the file is not that of the layer ({why})"
            notes.append(Message("compression.form", template, {"why": error.faults[0].message}, layers=(name,)))
    unread = [
        name for name in model.layers.values()
        if name in network and name not in arrays and network[name].weights and len(network[name].weight.shape) > 1
    ]  # fmt: skip
    if unread:
        template = (
            "sizes are expected: weights of such operators are not read, nor those in other files or computed ones"
        )
        notes.append(Message("compression.unread", template, layers=tuple(dict.fromkeys(unread))))
    return Weights(network, fitting, path, model.layers, tuple(notes))


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
