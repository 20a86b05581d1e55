"""Single-operator models, timed through onnxruntime on this machine for the fit of its constants."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from itertools import pairwise
from time import perf_counter_ns
from typing import Any

import numpy as np

from hwsim.calibration.cores import Cores
from hwsim.calibration.host import Binding
from hwsim.kernels.probe import Timing, drop
from hwsim.workload import Conv2d, Gemm, Layer
from hwsim.workload.product import Product

__all__ = [
    "chain_model",
    "filter_chain",
    "operator_layers",
    "operator_model",
    "time_cold_product",
    "time_model",
    "time_operator",
]

Array = np.ndarray[Any, Any]

PRODUCTS = (
    (1, 16, 16), (1, 1000, 2048), (8, 512, 512), (16, 1024, 256), (32, 384, 1152), (64, 64, 64), (64, 768, 768),
    (128, 256, 64), (128, 512, 512), (128, 1024, 1024), (196, 256, 1024), (256, 128, 1024), (384, 64, 256),
    (512, 512, 128), (784, 128, 512),
)  # fmt: skip
"""Rows, columns and depth of the matrix products: short and long in each, weights from 256 B to 2 MiB."""

CONVOLUTIONS = (
    (3, 112, 32, 3, 2, 1), (3, 112, 16, 7, 2, 1), (3, 56, 32, 3, 1, 1), (3, 28, 64, 5, 1, 1),
    (16, 56, 96, 1, 1, 1), (64, 56, 64, 1, 1, 1),
    (256, 14, 1024, 1, 1, 1), (128, 28, 512, 1, 1, 1), (960, 7, 160, 1, 1, 1), (32, 28, 192, 1, 1, 1),
    (512, 7, 512, 3, 1, 1), (32, 56, 32, 3, 1, 1), (64, 28, 128, 3, 2, 1), (256, 14, 256, 3, 1, 1),
    (96, 56, 96, 3, 2, 96), (192, 28, 192, 3, 1, 192), (384, 14, 384, 3, 1, 384), (960, 7, 960, 3, 1, 960),
    (32, 112, 32, 3, 1, 32),
)  # fmt: skip
"""Channels, height and width, filters, their size, stride and groups of the convolutions; padding keeps the size."""


U8S8 = ("uint8", "sint8")
SIGNED = {"u8u8": ("uint8", "uint8"), "s8s8": ("sint8", "sint8")}
"""Number formats of activations and weights by their signs."""
MOST_MACS = 40_000_000
_NUMPY = {"uint8": "uint8", "sint8": "int8"}


def chain_model(nodes: int) -> tuple[bytes, dict[str, Array]]:
    """A chain of tiny products, for the overhead of an operator in a call of many."""
    onnx = import_module("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    square = np.random.default_rng(0).standard_normal((16, 16), np.float32) / 4
    names = [f"x{place}" for place in range(nodes + 1)]
    graph = helper.make_graph(
        [helper.make_node("MatMul", [first, "w"], [then]) for first, then in pairwise(names)],
        "chain",
        [helper.make_tensor_value_info(names[0], kind, [1, 16])],
        [helper.make_tensor_value_info(names[-1], kind, [1, 16])],
        [onnx.numpy_helper.from_array(square, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString()), {names[0]: square[:1]}


def filter_chain(shape: tuple[int, int], nodes: int) -> tuple[bytes, dict[str, Array]]:
    """A chain of depthwise 3x3 convolutions over channels of size x size."""
    onnx = import_module("onnx")
    helper, kind, draw = onnx.helper, onnx.TensorProto.FLOAT, np.random.default_rng(0)
    channels, size = shape
    weights = draw.standard_normal((channels, 1, 3, 3), np.float32) / 3
    names = [f"x{place}" for place in range(nodes + 1)]
    image = [1, channels, size, size]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", [first, "w"], [then], pads=[1] * 4, group=channels)
            for first, then in pairwise(names)
        ],
        "filters",
        [helper.make_tensor_value_info(names[0], kind, image)],
        [helper.make_tensor_value_info(names[-1], kind, image)],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString()), {names[0]: draw.standard_normal(image, np.float32)}


def operator_layers(dtype: str) -> Iterator[Layer]:
    """The layers that constants are fitted on: in fp32, in int8 (u8s8), or in 8 bits of other signs.

    Other signs share most costs with u8s8 and have kernels of few terms: every third layer tells them, without the
    largest, as s8s8 takes ten times as long.
    """
    if dtype in SIGNED:
        left, right = SIGNED[dtype]
        for layer in [one for one in operator_layers("int8") if one.macs <= MOST_MACS][::3]:
            yield layer.with_dtype(input=left, weight=right, output=left)
        return
    for m, n, k in PRODUCTS:
        yield Gemm(f"{m}x{n}x{k}", m=m, n=n, k=k, bias=False).with_dtype(input=dtype, weight=dtype, output=dtype)
    for c, size, filters, r, stride, groups in CONVOLUTIONS:
        name = f"{c}x{size}x{size} {r}x{r}x{filters}/{stride}" + (f" in {groups}" if groups > 1 else "")
        layer = Conv2d(
            name, c=c, h=size, w=size, k=filters, r=r, s=r, stride=stride, pad=r // 2, groups=groups, bias=False
        )
        yield layer.with_dtype(input=dtype, weight=dtype, output=dtype)


def _graph(onnx: Any, op: str, inputs: dict[str, Array], attributes: dict[str, Any], output: Any) -> bytes:
    """A node whose first input is data and whose others are constants, as in a real network."""
    helper, kind = onnx.helper, onnx.helper.np_dtype_to_tensor_dtype
    first, *constants = inputs
    graph = helper.make_graph(
        [helper.make_node(op, list(inputs), ["y"], **attributes)],
        "one",
        [helper.make_tensor_value_info(first, kind(inputs[first].dtype), inputs[first].shape)],
        [helper.make_tensor_value_info("y", kind(np.dtype(output)), None)],
        [onnx.numpy_helper.from_array(inputs[name], name) for name in constants],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def operator_model(layer: Layer, dtype: str) -> tuple[bytes, dict[str, Array]]:
    """The layer as one operator (MatMulInteger, QLinearConv, MatMul, Conv) with random weights, and its input."""
    onnx = import_module("onnx")
    draw = np.random.default_rng(0)

    def some(dtype: str, shape: tuple[int, ...]) -> Array:
        if dtype == "float32":
            return draw.standard_normal(shape, np.float32)
        bounds = np.iinfo(dtype)
        return draw.integers(bounds.min, bounds.max + 1, shape).astype(dtype)

    x, w = ("float32", "float32") if dtype == "fp32" else tuple(_NUMPY[sign] for sign in SIGNED.get(dtype, U8S8))
    product = layer.lower(1)
    assert isinstance(product, Product)
    shape = product.geometry
    if shape is None:
        inputs: dict[str, Array] = {"x": some(x, (product.m, product.k)), "w": some(w, (product.k, product.n))}
        if dtype != "fp32":
            inputs |= {"xz": _zero(x), "wz": _zero(w)}
        op, output = ("MatMul", "float32") if dtype == "fp32" else ("MatMulInteger", "int32")
        return _graph(onnx, op, inputs, {}, output), {"x": inputs["x"]}
    image = some(x, (1, shape.c, shape.h, shape.w))
    filters = some(w, (shape.k, shape.channels, shape.r, shape.s))
    attributes = {"strides": list(shape.stride), "pads": list(shape.pad), "group": shape.groups}
    if dtype == "fp32":
        return _graph(onnx, "Conv", {"x": image, "w": filters}, attributes, "float32"), {"x": image}
    one, zero = np.array(0.02, np.float32), _zero(x)
    inputs = {"x": image, "xs": one, "xz": zero, "w": filters}
    inputs |= {"ws": np.full(shape.k, 0.02, np.float32), "wz": np.full(shape.k, _zero(w)), "ys": one, "yz": zero}
    return _graph(onnx, "QLinearConv", inputs, attributes, x), {"x": image}


def _zero(dtype: str) -> Array:
    """The zero point in the middle of a type of 8 bits."""
    return np.array(128 if dtype == "uint8" else 0, dtype)


def time_operator(layer: Layer, dtype: str, threads: int, seconds: float = 0.05) -> Timing:
    """Time a layer as a model of one operator, session call and all; the work is runs."""
    return time_model(*operator_model(layer, dtype), threads, seconds)


def time_model(model: bytes, feeds: dict[str, Array], threads: int, seconds: float = 0.05, rounds: int = 3) -> Timing:
    """Time the runs of a model; the work is runs."""
    session = _session(model, threads)

    def run() -> float:
        before = perf_counter_ns()
        session.run(None, feeds)
        return float(perf_counter_ns() - before)

    with Binding(threads) as binding:
        for _ in range(3):
            once = run()
        enough = max(rounds, round(seconds * 1e9 / once))
        runs = Cores(binding).runs(run, seconds, enough)
    return Timing(tuple(runs.near if len(runs.near) >= rounds else runs.times), 1)


def time_cold_product(shape: tuple[int, int], times: int) -> Timing:
    """Time a product of one row with depth x columns weights that are dropped from the caches before each run."""
    onnx = import_module("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    depth, columns = shape
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "cold",
        [helper.make_tensor_value_info("x", kind, [1, depth]), helper.make_tensor_value_info("w", kind, shape)],
        [helper.make_tensor_value_info("y", kind, [1, columns])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = _session(bytes(model.SerializeToString()), 1)
    # An input, not a constant: a library would copy a constant, and the copy could not be evicted.
    feeds = {"x": np.ones((1, depth), np.float32), "w": np.ones(shape, np.float32)}
    ns: list[float] = []
    for _ in range(times):
        drop(feeds["w"].view(np.uint64))
        before = perf_counter_ns()
        session.run(None, feeds)
        ns.append(float(perf_counter_ns() - before))
    return Timing(tuple(ns), 1)


def _session(model: bytes, threads: int) -> Any:
    onnxruntime = import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    if workers := Binding(threads).workers:
        options.add_session_config_entry("session.intra_op_thread_affinities", workers)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
