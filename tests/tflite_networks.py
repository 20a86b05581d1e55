"""The seven networks of workloads/ as TFLite files: built anew with random weights, and the published ones if at hand.

A built file has the operators, shapes, quantization, densities and dead channels of the published one; its weights are
drawn. So what holds for the one holds for the other, but for what is told of values.
"""

import atexit
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from tables import BESIDE, rows
from tflite_builder import Op, T, add, build, conv, fc

from hwsim.workload import Conv2d, DataMovement, Elementwise, Gemm, Pool2d, Softmax, load_workload

#: The trace in workloads/ of each model.
TRACES = {
    "kws_ref_model": "kws",
    "vww_96_int8": "vww",
    "pretrainedResnet_quant": "ic",
    "ad01_int8": "ad",
    "person_detect": "person_detect",
    "str_ww_ref_model": "streaming_wakeword_network",
    "pretrainedResnet_large_int8": "ic_large",
}
ORIGINS = ("built", "published") if (BESIDE / "models").is_dir() else ("built",)
each_model = pytest.mark.parametrize(("name", "origin"), [(name, origin) for name in TRACES for origin in ORIGINS])
each_origin = pytest.mark.parametrize("origin", ORIGINS)


def model_path(name: str, origin: str) -> Path:
    """The file of a model."""
    return BESIDE / "models" / f"{name}.tflite" if origin == "published" else _folder() / f"{name}.tflite"


@cache
def _folder() -> Path:
    folder = TemporaryDirectory()
    atexit.register(folder.cleanup)
    for name in TRACES:
        (Path(folder.name) / f"{name}.tflite").write_bytes(_build(name))
    return Path(folder.name)


def _build(name: str) -> bytes:
    """The bytes of a file whose trace is that of workloads/."""
    trace = load_workload(TRACES[name])
    table = [row for row in rows("tflite_layers") if row["model"] == name]
    draw = np.random.default_rng([*name.encode()])
    scale, zero = float(table[0]["in_scale"]), int(table[0]["in_zp"])
    tensors = [T(_batched(trace.input_shape), scale=(scale,), zero=(zero,))]
    operators: list[Op] = []
    made, dead = {"input": 0}, {0: _no(trace.input_shape[0])}
    for layer, row in zip(trace, table, strict=True):
        sources = [made[producer] for producer in trace.inputs[layer.name]]
        out = T(_batched(layer.output.shape), scale=(float(row["out_scale"]),), zero=(int(row["out_zp"]),))
        act = layer.activation.upper() if hasattr(layer, "activation") else "NONE"
        mask = dead[sources[0]]
        if isinstance(layer, Conv2d | Gemm):
            weights, bias, mask = _constants(draw, layer, mask, tensors[sources[0]], out)
            inputs = [sources[0], len(tensors), len(tensors) + 1]
            tensors += [weights, bias]
            output = [len(tensors)]
            if isinstance(layer, Gemm):
                operators.append(fc(inputs, output, act))
            else:
                more = {"DepthMultiplier": layer.k // layer.c} if layer.depthwise else {}
                same = layer.pad == _same(layer)
                operators.append(conv(inputs, output, "SAME" if same else "VALID", layer.stride[0], act, **more))
        else:
            output = [len(tensors)]
            if isinstance(layer, Elementwise):
                operators.append(add(sources, output))
                operators[-1].options["FusedActivationFunction"] = {"NONE": 0, "RELU": 1}[act]
                mask = mask & dead[sources[1]]
            elif isinstance(layer, Pool2d):
                window = {"FilterHeight": layer.r, "FilterWidth": layer.s, "Padding": 1}
                window |= {"StrideH": layer.stride[0], "StrideW": layer.stride[1]}
                operators.append(Op("AVERAGE_POOL_2D", sources, output, "Pool2DOptions", window))
            elif isinstance(layer, DataMovement):
                tensors.append(T((2,), "INT32", np.array(out.shape, np.int32), scale=None))
                output = [len(tensors)]
                operators.append(Op("RESHAPE", [*sources, len(tensors) - 1], output))
            else:
                assert isinstance(layer, Softmax)
                operators.append(Op("SOFTMAX", sources, output, "SoftmaxOptions", {"Beta": 1.0}))
        operators[-1].version = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 4, "RESHAPE": 1}.get(
            operators[-1].code, 2
        )
        tensors.append(out)
        made[layer.name] = output[0]
        dead[output[0]] = mask
    return build(tensors, operators, [0], [made[layer.name]])


def _batched(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in the file: a batch of one, channels last."""
    return (1, shape[1], shape[2], shape[0]) if len(shape) == 3 else (1, shape[-1])


def _no(channels: int) -> np.ndarray:
    return np.zeros(channels, np.bool_)


def _same(layer: Conv2d) -> tuple[int, int, int, int]:
    """Padding that keeps the size, the odd row last."""
    total = [
        max((-(-size // step) - 1) * step + window - size, 0)
        for size, step, window in zip((layer.h, layer.w), layer.stride, (layer.r, layer.s), strict=True)
    ]
    return (total[0] // 2, total[1] // 2, total[0] - total[0] // 2, total[1] - total[1] // 2)


def _constants(draw, layer, dead_in, source, out):
    """Weights and biases with the density and the number of dead channels of a layer, and which channels are dead."""
    outputs, depthwise = (layer.k, layer.depthwise) if isinstance(layer, Conv2d) else (layer.n, False)
    inputs = 1 if depthwise else layer.c if isinstance(layer, Conv2d) else layer.k
    taps = layer.r * layer.s if isinstance(layer, Conv2d) else 1
    before = np.repeat(dead_in, outputs // dead_in.size) if depthwise else dead_in
    dead = _no(outputs)
    if layer.dead_out:
        # What a dead channel feeds depthwise is dead, but where the bias is not zero.
        dead[draw.choice(np.flatnonzero(before) if depthwise else outputs, layer.dead_out, replace=False)] = True
    # Weights as outputs x taps x inputs: a live channel has one over a live input, a dead one none.
    allowed, needed = np.ones((outputs, taps, inputs), np.bool_), np.zeros((outputs, taps, inputs), np.bool_)
    live = ~before[:, None] if depthwise else ~before[None, :]
    if not depthwise:
        allowed[dead] &= ~live[:, None, :][0]
    for channel in np.flatnonzero(~dead):
        over = np.flatnonzero(live[channel] if depthwise else live[0])
        if over.size:
            needed[channel, draw.integers(taps), draw.choice(over)] = True
    number = round(layer.weight.density * allowed.size) - int(needed.sum())
    used = needed.ravel()
    used[draw.choice(np.flatnonzero(allowed.ravel() & ~used), number, replace=False)] = True
    used = used.reshape(allowed.shape)
    values = draw.integers(1, 128, used.shape) * draw.choice([-1, 1], used.shape) * used
    bias = draw.integers(-2000, 2000, outputs)
    bias[dead] = 0
    if depthwise:
        bias[before & ~dead] = 10**6
    # Sums of uniform values spread over the range of the output.
    spread = np.sqrt(np.maximum(used.sum(axis=(1, 2)), 1))
    scale = np.asarray(110 / (74 * 74 * spread) * out.scale[0] / source.scale[0], np.float32)
    if isinstance(layer, Gemm):
        scale = scale[:1]
    kernel = values.reshape(outputs, layer.r, layer.s, inputs) if isinstance(layer, Conv2d) else values[:, 0]
    if depthwise:
        kernel = np.moveaxis(kernel, 0, -1).reshape(1, layer.r, layer.s, outputs)
    data, zeros = kernel.astype(np.int8), np.zeros(scale.size, np.int64)
    weights = T(data.shape, data=data, scale=scale, zero=zeros, axis=3 if depthwise else 0)
    return weights, T((outputs,), "INT32", bias.astype(np.int32), scale=scale * source.scale[0], zero=zeros), dead
