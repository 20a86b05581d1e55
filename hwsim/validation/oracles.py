"""Other libraries that compute the same integers: onnxruntime and TFLite, each operator on seeded random cases.

A case is seeded by its number. A library that is not installed raises ModuleNotFoundError when its first case runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from hwsim import kernels

__all__ = ["OPERATORS", "Case"]

Array = np.ndarray[Any, Any]
Case = tuple[int, Array, Array]
"""Seed, output of the hwsim kernel, output of the library."""


def seeds(operator: str, cases: int) -> Iterator[tuple[int, np.random.Generator]]:
    """(seed, generator) of each case."""
    for seed in range(cases):
        yield seed, np.random.default_rng([seed, *operator.encode()])


def some(rng: np.random.Generator, dtype: str, shape: tuple[int, ...] = ()) -> Array:
    """Random values over the whole range of a type."""
    bounds = np.iinfo(dtype)
    return np.asarray(rng.integers(bounds.min, bounds.max + 1, shape), dtype)


def scale(rng: np.random.Generator, shape: tuple[int, ...] = ()) -> Array:
    """Random float32 scales over three decades."""
    return np.asarray(10 ** rng.uniform(-4, -1, shape), np.float32)


def small(rng: np.random.Generator, low: int, high: int) -> int:
    return int(rng.integers(low, high + 1))


# ---- onnxruntime ----


def onnx_run(
    operator: str, inputs: dict[str, Array], attributes: dict[str, Any], output: str, domain: str = ""
) -> Array:
    """One node on the CPU provider: the first input is data, all others are constants, as in a real network."""
    onnx, ort = import_module("onnx"), import_module("onnxruntime")
    helper, kind = onnx.helper, onnx.helper.np_dtype_to_tensor_dtype
    names = [name for name, value in inputs.items() if value is not None]
    first = names[0]
    graph = helper.make_graph(
        [helper.make_node(operator, list(inputs), ["out"], domain=domain, **attributes)],
        "one",
        [helper.make_tensor_value_info(first, kind(inputs[first].dtype), inputs[first].shape)],
        [helper.make_tensor_value_info("out", kind(np.dtype(output)), None)],
        [onnx.numpy_helper.from_array(inputs[name], name) for name in names[1:]],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)], ir_version=8
    )
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    result: Array = session.run(None, {first: inputs[first]})[0]
    return result


def matmul_integer(cases: int) -> Iterator[Case]:
    """MatMulInteger of any mix of int8 and uint8."""
    for seed, rng in seeds("MatMulInteger", cases):
        m, k, n = small(rng, 1, 40), small(rng, 1, 300), small(rng, 1, 80)
        a, b = some(rng, rng.choice(["int8", "uint8"]), (m, k)), some(rng, rng.choice(["int8", "uint8"]), (k, n))
        a_zero, b_zero = some(rng, a.dtype.name), some(rng, b.dtype.name, (n,) if seed % 2 else ())
        expected = onnx_run("MatMulInteger", {"a": a, "b": b, "az": a_zero, "bz": b_zero}, {}, "int32")
        yield seed, kernels.gemm_int8(a, b, a_zero=a_zero, b_zero=b_zero), expected


def matmul_nbits(cases: int) -> Iterator[Case]:
    """MatMulNBits of 4 bits that computes in int8, with zero points in every second case."""
    for seed, rng in seeds("MatMulNBits", cases):
        group = int(rng.choice([16, 32, 64, 128, 256]))
        m, n, groups = small(rng, 1, 9), small(rng, 1, 70), small(rng, 1, 11)
        k = groups * group - (small(rng, 0, group - 1) if seed % 3 else 0)
        a = (rng.standard_normal((m, k)) * 10.0 ** rng.integers(-3, 3)).astype(np.float32)
        b = kernels.pack_int4_grouped(rng.integers(0, 16, (n, k)).astype(np.uint8), group)
        scales = scale(rng, (n, groups))
        inputs: dict[str, Array] = {"a": a, "b": b, "scales": scales}
        zeros = None
        if seed % 2:
            zeros = rng.integers(0, 16, (n, groups)).astype(np.uint8)
            padded = np.pad(zeros, ((0, 0), (0, groups % 2)))
            inputs["zeros"] = (padded[:, 0::2] | padded[:, 1::2] << 4).reshape(n, -1)
        attributes = {"K": k, "N": n, "bits": 4, "block_size": group, "accuracy_level": 4}
        expected = onnx_run("MatMulNBits", inputs, attributes, "float32", "com.microsoft")
        yield seed, kernels.gemm_int4_grouped(a, b, scales, zeros, group=group), expected


def conv_case(rng: np.random.Generator) -> tuple[dict[str, Any], tuple[int, int, int, int], tuple[int, int, int, int]]:
    """Random attributes, shape of x (NCHW) and of w (OIHW)."""
    kind = rng.choice(["dense", "grouped", "depthwise"])
    groups = 1 if kind == "dense" else small(rng, 2, 6)
    c = 1 if kind == "depthwise" else small(rng, 1, 12)
    k = small(rng, 1, 3) if kind == "depthwise" else small(rng, 1, 40)
    r, s = small(rng, 1, 4), small(rng, 1, 4)
    stride, dilation = (small(rng, 1, 3), small(rng, 1, 3)), (small(rng, 1, 2), small(rng, 1, 2))
    pad = tuple(small(rng, 0, 2) for _ in range(4))
    h = small(rng, max(1, (r - 1) * dilation[0] + 1 - pad[0] - pad[2]), 16)
    w = small(rng, max(1, (s - 1) * dilation[1] + 1 - pad[1] - pad[3]), 40)
    how = {"stride": stride, "pad": pad, "dilation": dilation, "groups": groups}
    return how, (small(rng, 1, 2), groups * c, h, w), (groups * k, c, r, s)


def onnx_attributes(how: dict[str, Any]) -> dict[str, Any]:
    return {"strides": how["stride"], "pads": how["pad"], "dilations": how["dilation"], "group": how["groups"]}


def conv_integer(cases: int) -> Iterator[Case]:
    """ConvInteger."""
    for seed, rng in seeds("ConvInteger", cases):
        how, x_shape, w_shape = conv_case(rng)
        # onnxruntime's ConvInteger takes uint8 activations, and one zero point for the filters
        x, w = some(rng, "uint8", x_shape), some(rng, rng.choice(["int8", "uint8"]), w_shape)
        x_zero, w_zero = some(rng, "uint8"), some(rng, w.dtype.name)
        inputs = {"x": x, "w": w, "xz": x_zero, "wz": w_zero}
        expected = onnx_run("ConvInteger", inputs, onnx_attributes(how), "int32")
        yield seed, kernels.conv2d_int8(x, w, x_zero=x_zero, w_zero=w_zero, **how), expected


def qlinear_conv(cases: int) -> Iterator[Case]:
    """QLinearConv, requantized."""
    for seed, rng in seeds("QLinearConv", cases):
        how, x_shape, w_shape = conv_case(rng)
        dtype, outputs = str(rng.choice(["int8", "uint8"])), w_shape[0]
        x = some(rng, dtype, x_shape)
        w = some(rng, "int8" if dtype == "int8" else rng.choice(["int8", "uint8"]), w_shape)
        x_zero, y_zero = some(rng, dtype), some(rng, dtype)
        w_zero = np.zeros((), np.int8) if w.dtype == np.int8 else some(rng, "uint8")
        x_scale, w_scale = scale(rng), scale(rng, (outputs,) if seed % 2 else ())
        y_scale = np.float32(x_scale * w_scale.max() * 127 * np.sqrt(w[0].size))
        bias = rng.integers(-20000, 20000, outputs).astype(np.int32) if seed % 3 else None
        zeros = np.full(w_scale.shape, w_zero, w.dtype)
        inputs = {"x": x, "xs": x_scale, "xz": x_zero, "w": w, "ws": w_scale, "wz": zeros}
        inputs |= {"ys": np.asarray(y_scale), "yz": y_zero} | ({} if bias is None else {"b": bias})
        expected = onnx_run("QLinearConv", inputs, onnx_attributes(how), dtype)
        to_eight = kernels.OnnxRequantization(kernels.onnx_scale(x_scale, w_scale, y_scale), int(y_zero), dtype)
        arguments_ = kernels.conv2d_int8(x, w, x_zero=x_zero, w_zero=w_zero, bias=bias, requantize=to_eight, **how)
        yield seed, arguments_, expected


def qlinear_matmul(cases: int) -> Iterator[Case]:
    """QLinearMatMul, requantized."""
    for seed, rng in seeds("QLinearMatMul", cases):
        m, k, n = small(rng, 1, 40), small(rng, 1, 300), small(rng, 1, 80)
        dtype = str(rng.choice(["int8", "uint8"]))
        a, b = some(rng, dtype, (m, k)), some(rng, "int8" if dtype == "int8" else rng.choice(["int8", "uint8"]), (k, n))
        columns = (n,) if seed % 2 else ()
        a_zero, b_zero, y_zero = some(rng, dtype), some(rng, b.dtype.name, columns), some(rng, dtype)
        a_scale, b_scale = scale(rng), scale(rng, columns)
        y_scale = np.asarray(a_scale * b_scale.max() * 127 * np.sqrt(k), np.float32)
        inputs = {"a": a, "as": a_scale, "az": a_zero, "b": b, "bs": b_scale, "bz": b_zero, "ys": y_scale, "yz": y_zero}
        expected = onnx_run("QLinearMatMul", inputs, {}, dtype)
        acc = kernels.gemm_int8(a, b, a_zero=a_zero, b_zero=b_zero)
        arguments_ = kernels.requantize_onnx(acc, kernels.onnx_scale(a_scale, b_scale, y_scale), int(y_zero), dtype)
        yield seed, arguments_, expected


# ---- TFLite ----


def tensor(schema: Any, name: str, values: Array, buffer: int, scales: Array, zero: int, axis: int = 0) -> Any:
    """One quantized tensor of a model."""
    types = {"int8": schema.TensorType.INT8, "int16": schema.TensorType.INT16, "int32": schema.TensorType.INT32}
    types["int64"] = schema.TensorType.INT64
    tensor_t = schema.TensorT()
    tensor_t.name, tensor_t.shape, tensor_t.type, tensor_t.buffer = (
        name,
        list(values.shape),
        types[values.dtype.name],
        buffer,
    )
    tensor_t.quantization = schema.QuantizationParametersT()
    scales = np.atleast_1d(scales)
    tensor_t.quantization.scale = [float(value) for value in scales]
    tensor_t.quantization.zeroPoint = [zero] * scales.size
    tensor_t.quantization.quantizedDimension = axis
    return tensor_t


def tflite_run(
    operator: str,
    options: tuple[str, dict[str, Any]],
    tensors: list[tuple[Array, Array, int, int]],
    output: tuple[Array, Array, int],
    version: int,
) -> Array:
    """One operator on TFLite's reference kernels on (values, scales, zero, axis of scales), input first."""
    interpreter = import_module("ai_edge_litert.interpreter")
    schema = import_module("ai_edge_litert.schema_py_generated")
    flatbuffers = import_module("flatbuffers")
    graph, model = schema.SubGraphT(), schema.ModelT()
    model.buffers = [schema.BufferT()]
    graph.tensors = []
    for index, (values, scales, zero, axis) in enumerate(tensors):
        model.buffers.append(schema.BufferT())
        if index:
            model.buffers[-1].data = np.frombuffer(values.tobytes(), np.uint8)
        graph.tensors.append(tensor(schema, f"t{index}", values, index + 1, scales, zero, axis))
    graph.tensors.append(tensor(schema, "out", output[0], 0, output[1], output[2]))
    code, operator_t = schema.OperatorCodeT(), schema.OperatorT()
    code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, operator)
    code.version = version
    operator_t.inputs, operator_t.outputs = list(range(len(tensors))), [len(tensors)]
    operator_t.builtinOptionsType = getattr(schema.BuiltinOptions, options[0])
    operator_t.builtinOptions = getattr(schema, options[0] + "T")()
    for name, value in options[1].items():
        setattr(operator_t.builtinOptions, name, value)
    graph.inputs, graph.outputs, graph.operators = [0], [len(tensors)], [operator_t]
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    run = interpreter.Interpreter(
        model_content=bytes(builder.Output()),
        experimental_op_resolver_type=interpreter.OpResolverType.BUILTIN_REF,
        num_threads=1,
    )
    run.allocate_tensors()
    run.set_tensor(run.get_input_details()[0]["index"], tensors[0][0])
    run.invoke()
    result: Array = run.get_tensor(run.get_output_details()[0]["index"])
    return result


def tflite_padding(same: bool, size: int, reach: int, stride: int) -> tuple[int, int, int]:
    """(before, after, outputs) of SAME or VALID padding."""
    if not same:
        return 0, 0, (size - reach) // stride + 1
    out = -(-size // stride)
    total = max((out - 1) * stride + reach - size, 0)
    return total // 2, total - total // 2, out


def activation(rng: np.random.Generator, y_scale: float, y_zero: int, least: int) -> tuple[int, int, int]:
    """(enum, lo, hi) of none, relu or relu6."""
    which = int(rng.integers(3))
    relu6 = y_zero + int(np.floor(6.0 / y_scale + 0.5))
    return (0, 1, 3)[which], max(least, y_zero) if which else least, min(127, relu6) if which == 2 else 127


def tflite_scales(rng: np.random.Generator, channels: int, k: int) -> tuple[Array, Array, np.float32]:
    x_scale, w_scale = scale(rng), scale(rng, (channels,))
    return x_scale, w_scale, np.float32(x_scale * w_scale.max() * 127 * np.sqrt(k) * rng.uniform(0.05, 2))


def multipliers(x_scale: Array, w_scale: Array, y_scale: np.float32) -> dict[str, Any]:
    """In double precision, as TFLite prepares them."""
    real = x_scale.astype(np.float64) * w_scale.astype(np.float64) / np.float64(y_scale)
    multiplier, shift = kernels.quantize_multipliers(real)
    return {"multiplier": multiplier, "shift": shift}


def tflite_convolution(cases: int, operator: str) -> Iterator[Case]:
    """CONV_2D and DEPTHWISE_CONV_2D of int8."""
    for seed, rng in seeds(operator, cases):
        depthwise = operator == "DEPTHWISE_CONV_2D"
        n, c, h, w = small(rng, 1, 2), small(rng, 1, 12), small(rng, 1, 14), small(rng, 1, 20)
        r, s, dilation = small(rng, 1, 4), small(rng, 1, 4), (small(rng, 1, 2), small(rng, 1, 2))
        stride = (small(rng, 1, 3),) * 2 if depthwise else (small(rng, 1, 3), small(rng, 1, 3))
        reach = ((r - 1) * dilation[0] + 1, (s - 1) * dilation[1] + 1)
        same = bool(rng.integers(2)) or h < reach[0] or w < reach[1]
        rows, columns = tflite_padding(same, h, reach[0], stride[0]), tflite_padding(same, w, reach[1], stride[1])
        outputs = c * small(rng, 1, 3) if depthwise else small(rng, 1, 40)
        x = some(rng, "int8", (n, h, w, c))
        weights = rng.integers(-127, 128, (1, r, s, outputs) if depthwise else (outputs, r, s, c)).astype(np.int8)
        x_scale, w_scale, y_scale = tflite_scales(rng, outputs, r * s * (1 if depthwise else c))
        x_zero, y_zero = int(some(rng, "int8")), int(some(rng, "int8"))
        bias = rng.integers(-5000, 5000, outputs).astype(np.int32)
        act, lo, hi = activation(rng, float(y_scale), y_zero, -128)
        fields = {"padding": 0 if same else 1, "strideH": stride[0], "strideW": stride[1]}
        fields |= {"fusedActivationFunction": act, "dilationHFactor": dilation[0], "dilationWFactor": dilation[1]}
        if depthwise:
            fields["depthMultiplier"] = outputs // c
        expected = tflite_run(
            operator,
            ("DepthwiseConv2DOptions" if depthwise else "Conv2DOptions", fields),
            [
                (x, x_scale, x_zero, 0),
                (weights, w_scale, 0, 3 if depthwise else 0),
                (bias, x_scale * w_scale, 0, 0),
            ],
            (np.empty((n, rows[2], columns[2], outputs), np.int8), np.asarray(y_scale), y_zero),
            version=3,
        )
        how: dict[str, Any] = {"stride": stride, "dilation": dilation, "x_zero": x_zero, "bias": bias, "layout": "NHWC"}
        how["pad"] = (rows[0], columns[0], rows[1], columns[1])
        how["requantize"] = kernels.TfliteRequantization(
            **multipliers(x_scale, w_scale, y_scale), zero=y_zero, lo=lo, hi=hi
        )
        run = kernels.depthwise_int8 if depthwise else kernels.conv2d_int8
        yield seed, run(x, weights, **how), expected


def tflite_fully_connected(cases: int) -> Iterator[Case]:
    """FULLY_CONNECTED of int8, which rounds once."""
    for seed, rng in seeds("FULLY_CONNECTED", cases):
        m, k, n = small(rng, 1, 8), small(rng, 1, 200), small(rng, 1, 60)
        x, w = some(rng, "int8", (m, k)), rng.integers(-127, 128, (n, k)).astype(np.int8)
        x_scale, w_scale, y_scale = tflite_scales(rng, 1, k)
        x_zero, y_zero = int(some(rng, "int8")), int(some(rng, "int8"))
        bias = rng.integers(-5000, 5000, n).astype(np.int32)
        act, lo, hi = activation(rng, float(y_scale), y_zero, -128)
        expected = tflite_run(
            "FULLY_CONNECTED",
            ("FullyConnectedOptions", {"fusedActivationFunction": act}),
            [(x, x_scale, x_zero, 0), (w, w_scale, 0, 0), (bias, x_scale * w_scale, 0, 0)],
            (np.empty((m, n), np.int8), np.asarray(y_scale), y_zero),
            version=4,
        )
        acc = kernels.fully_connected_int8(x, w, x_zero=x_zero, bias=bias)
        constant = multipliers(x_scale, w_scale, y_scale)
        arguments_ = kernels.requantize_tflite(acc, **constant, zero=y_zero, lo=lo, hi=hi, rounding="single")
        yield seed, arguments_, expected


def tflite_sixteen_by_eight(cases: int) -> Iterator[Case]:
    """CONV_2D of int16 activations and int8 weights."""
    for seed, rng in seeds("16x8", cases):
        n, c, h, w, k = small(rng, 1, 2), small(rng, 1, 8), small(rng, 3, 8), small(rng, 3, 8), small(rng, 1, 12)
        x, weights = some(rng, "int16", (n, h, w, c)), rng.integers(-127, 128, (k, 3, 3, c)).astype(np.int8)
        x_scale, w_scale = scale(rng), scale(rng, (k,))
        y_scale = np.float32(x_scale * w_scale.max() * 127 * np.sqrt(9 * c) * rng.uniform(0.2, 1))
        bias = rng.integers(-(2**20), 2**20, k).astype(np.int64)
        fields = {"padding": 1, "strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
        expected = tflite_run(
            "CONV_2D",
            ("Conv2DOptions", fields),
            [(x, x_scale, 0, 0), (weights, w_scale, 0, 0), (bias, x_scale * w_scale, 0, 0)],
            (np.empty((n, h - 2, w - 2, k), np.int16), np.asarray(y_scale), 0),
            version=5,
        )
        acc = kernels.conv2d_int16(x, weights, bias=bias)
        arguments_ = kernels.requantize_tflite(acc, **multipliers(x_scale, w_scale, y_scale))
        yield seed, arguments_, expected


OPERATORS: dict[str, Callable[[int], Iterator[Case]]] = {
    "onnxruntime MatMulInteger": matmul_integer,
    "onnxruntime MatMulNBits": matmul_nbits,
    "onnxruntime ConvInteger": conv_integer,
    "onnxruntime QLinearConv": qlinear_conv,
    "onnxruntime QLinearMatMul": qlinear_matmul,
    "TFLite CONV_2D": partial(tflite_convolution, operator="CONV_2D"),
    "TFLite DEPTHWISE_CONV_2D": partial(tflite_convolution, operator="DEPTHWISE_CONV_2D"),
    "TFLite FULLY_CONNECTED": tflite_fully_connected,
    "TFLite CONV_2D 16x8": tflite_sixteen_by_eight,
}
"""Operator of a library to its cases: ours and theirs must be equal, bit for bit.

onnxruntime's integer products saturate on processors without VNNI, where they are no oracle.
"""
