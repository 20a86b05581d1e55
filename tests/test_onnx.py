"""ONNX files: the layers of models that run, held against onnxruntime's shapes, its quantizer and the written networks."""

import os
import sys

import numpy as np
import pytest

pytest.importorskip("onnx")

import onnx
import onnx_builder as build
from onnx import TensorProto, helper, numpy_helper
from onnx_builder import Graph, runtime_tensors

import hwsim
from hwsim import cli
from hwsim.errors import HwsimWarning, InputError
from hwsim.workload import (
    BatchedMatmul,
    Concat,
    Conv2d,
    DataMovement,
    Elementwise,
    Embedding,
    Gemm,
    Lstm,
    Normalization,
    Opaque,
    Pool2d,
    load_workload,
)  # fmt: skip
from hwsim.workload.onnx import read_model
from hwsim.workload.onnx.converter import Converter
from hwsim.workload.onnx.file import read_file
from hwsim.workload.onnx.input_shapes import input_shapes
from hwsim.workload.onnx.operators import MAKERS
from hwsim.workload.onnx.shapes import graph_of
from hwsim.workload.trace import read_trace
from hwsim.workload.trace_text import trace_text
from hwsim.yaml_source import parse_yaml

LATEST = onnx.defs.onnx_opset_version()
ENCODER = {"layers": 1, "hidden": 32, "heads": 4, "seq": 8}


def save(tmp_path, model, name="net"):
    path = tmp_path / f"{name}.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def read(tmp_path, model, **more):
    """The model as read; its trace must hold the same network."""
    found = read_model(save(tmp_path, model), **more)
    again = read_trace(parse_yaml(trace_text(found.workload)), load_workload)
    assert again == found.workload
    assert (again.digest, again.macs_live) == (found.digest, found.workload.macs_live)
    return found


def graph(tmp_path, model, **shape):
    file = read_file(save(tmp_path, model))
    inputs, symbols, given, _ = input_shapes(file, shape)
    return file, graph_of(file, inputs, symbols, given, True)


@pytest.fixture(scope="module")
def forms():
    """Float, QDQ, QOperator and dynamically quantized forms of small networks."""
    pytest.importorskip("onnxruntime")
    floats = {
        "convnet": build.small_convnet(),
        "resnet": build.resnet50(size=32, width=4, classes=10),
        "encoder": build.bert(**ENCODER),
    }
    return {
        name: {
            "float": model,
            "QDQ": build.quantized(model, "QDQ"),
            "QOperator": build.quantized(model, "QOperator"),
            "dynamic": build.quantized_dynamically(model),
        }
        for name, model in floats.items()
    }


# Networks


@pytest.mark.slow
@pytest.mark.parametrize("name, trace", [("resnet50", "resnet50_v1_5"), ("mobilenet_v2", "mobilenet_v2_1.0_224")])
def test_networks_have_the_layers_of_their_papers(tmp_path, name, trace):
    """MACs, weights and biases, layer by layer, are those of the networks written from the papers."""
    net, paper = read(tmp_path, getattr(build, name)()).workload, load_workload(trace)
    assert (net.macs, net.weights, net.biases) == (paper.macs, paper.weights, paper.biases)
    weighted = [[(x.op, x.macs, x.weights) for x in w if x.weights] for w in (net, paper)]
    assert sorted(weighted[0]) == sorted(weighted[1])
    assert net.graph
    assert net.input_shape == (3, 224, 224)
    assert {layer.weight.dtype for layer in net if layer.weights} == {"fp32"}


def test_an_encoder_has_the_products_of_its_formula(tmp_path):
    """Per layer 4 h^2 + 8 h^2 MACs a token and 2 s h a token for attention."""
    layers, hidden, seq = 2, 64, 16
    net = read(tmp_path, build.bert(layers, hidden, 4, seq)).workload
    assert net.macs == layers * seq * (12 * hidden**2 + 2 * seq * hidden)
    assert net["layer.0/scores"] == BatchedMatmul(
        "layer.0/scores", b=4, m=16, n=16, k=16, input="fp32", weight="fp32", output="fp32"
    )
    assert net["layer.0/query"].bias  # the sum after the product
    assert net["embeddings/word"] == Embedding(
        "embeddings/word", rows=100, dim=64, tokens=16, input="int64", weight="fp32", output="fp32"
    )
    assert net.inputs["layer.1/attention/residual"] == ("layer.1/attention", "layer.0/output/norm")
    assert [layer.op for layer in net].count("norm") == 5
    assert net.graph


def test_shapes_that_are_computed_are_folded(tmp_path):
    """The same encoder with each Reshape made of Shape, Gather and Concat has the same layers, with no row for those."""
    fixed = read(tmp_path, build.bert(**ENCODER)).workload
    computed = build.bert(**{**ENCODER, "seq": "sequence"}, batch="batch", dynamic=True)
    open_ = read(tmp_path, computed, shape={"sequence": 8})
    assert [(x.name, x.op, x.macs, x.output.shape) for x in open_.workload] == [
        (x.name, x.op, x.macs, x.output.shape) for x in fixed
    ]
    (note,) = open_.warnings
    assert (note.code, note.values) == ("import.default_batch", {"symbol": "batch", "input": "ids"})
    longer = read(tmp_path, computed, shape={"ids": (1, 100)}).workload
    assert longer.macs == 100 * (12 * 32**2 + 2 * 100 * 32)


def test_a_mask_and_a_normalization_of_single_operators(tmp_path):
    """Three inputs of one shape, attention with a mask that is spread, a normalization as older exporters write it."""
    g = Graph()
    ids, mask, kinds = (g.input(name, ["b", "s"], TensorProto.INT64) for name in ("ids", "mask", "kinds"))
    words = g.op("Gather", g.weight("words", 50, 32), ids, name="word")
    x = g.op("Add", words, g.op("Gather", g.weight("types", 2, 32), kinds, name="kind"), name="sum")

    def number(name, value, kind=np.float32):
        return g.constant(name, np.array(value, kind))

    mask = g.op("Cast", g.op("Unsqueeze", mask, number("axes", [1, 2], np.int64)), to=TensorProto.FLOAT, name="cast")
    mask = g.op("Mul", g.op("Sub", number("one", 1), mask, name="sub"), number("low", -1e4), name="mul")
    sizes = g.op("Shape", ids)
    length = g.op("Slice", sizes, *(number(f"s{i}", [v], np.int64) for i, v in enumerate((1, 2))))

    def heads(name, perm):
        target = g.op("Concat", number(f"{name}1", [1], np.int64), length, number(f"{name}4", [4, 8], np.int64), axis=0)
        return g.op("Transpose", g.op("Reshape", g.linear(x, 32, 32, name), target), perm=perm, name=f"{name}_turned")

    q, k, v = heads("q", [0, 2, 1, 3]), heads("k", [0, 2, 3, 1]), heads("v", [0, 2, 1, 3])
    scores = g.op("Softmax", g.op("Add", g.op("MatMul", q, k, name="scores"), mask, name="masked"), axis=-1)
    y = g.op("Transpose", g.op("MatMul", scores, v, name="context"), perm=[0, 2, 1, 3])
    y = g.op("Reshape", y, g.op("Concat", number("1", [1], np.int64), length, number("32", [32], np.int64), axis=0))
    off = g.op("Sub", y, g.op("ReduceMean", y, axes=[-1], name="mean"), name="off")
    variance = g.op("ReduceMean", g.op("Pow", off, number("two", 2), name="square"), axes=[-1], name="variance")
    y = g.op("Div", off, g.op("Sqrt", g.op("Add", variance, number("epsilon", 1e-5)), name="root"), name="normal")
    first = g.op("Gather", y, number("first", 0, np.int64), axis=1, name="token")
    g.output(g.op("Tanh", g.gemm(first, 32, 32, "pooler")))
    found = read(tmp_path, g.model(), shape={"s": 12})
    net = found.workload
    assert net.graph
    assert net.macs == 3 * 12 * 32 * 32 + 2 * 12 * 12 * 32 + 32 * 32
    assert net.inputs["masked"] == ("scores", "mul")
    assert [net[name].op for name in ("mean", "off", "square", "variance", "root", "normal")] == [
        "pool",
        "sub",
        "pow",
        "pool",
        "sqrt",
        "div",
    ]
    assert (net["pooler"].m, net["pooler"].activation) == (1, "tanh")
    assert "import.opaque" not in {warning.code for warning in found.warnings}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["convnet", "resnet", "encoder"])
@pytest.mark.parametrize("form", ["float", "QDQ", "QOperator", "dynamic"])
def test_shapes_are_those_of_the_runtime(tmp_path, forms, name, form):
    """Every tensor that the file's shapes are known of, and none is not."""
    model = forms[name][form]
    tensors = runtime_tensors(model, build.feeds(model))
    _, found = graph(tmp_path, model)
    assert not found.unknown
    for tensor, value in tensors.items():
        assert found.tensors[tensor].shape == value.shape, tensor


@pytest.mark.parametrize("name", ["convnet", "resnet", "encoder"])
def test_int8_forms_are_the_float_network_in_int8(tmp_path, forms, name):
    nets = {form: read(tmp_path, model).workload for form, model in forms[name].items()}
    plain = nets["float"]
    for form, net in nets.items():
        assert (net.macs, net.weights) == (plain.macs, plain.weights), form
        assert net.graph
        products = [layer for layer in net if isinstance(layer, (Conv2d, Gemm))]
        shapes = [(layer.input.shape, layer.output.shape, layer.macs) for layer in products]
        assert sorted(shapes) == sorted(
            (x.input.shape, x.output.shape, x.macs) for x in plain if isinstance(x, (Conv2d, Gemm))
        )
        if form != "float":
            assert {(layer.input.dtype, layer.weight.dtype) for layer in products} == {("int8", "int8")}
            assert {layer.output.dtype for layer in products} == {"fp32" if form == "dynamic" else "int8"}
    if name == "resnet":  # nothing stays float but what goes in and out
        for form in ("QDQ", "QOperator"):
            assert [layer.op for layer in nets[form] if layer.op == "copy"] == ["copy"] * 2
        assert [x.op for x in nets["QDQ"]] == [x.op for x in nets["QOperator"]]
        assert all(layer.activation == "none" for layer in nets["QDQ"] if layer.op == "conv")  # the range clips


def test_weights_of_int8_forms_have_the_zeros_of_the_file(tmp_path, forms):
    model = forms["convnet"]["QOperator"]
    net = read(tmp_path, model).workload
    arrays = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    node = next(node for node in model.graph.node if node.op_type == "QLinearConv")
    weights = arrays[node.input[3]]
    zero = arrays[node.input[5]].reshape(-1, *[1] * (weights.ndim - 1))
    (first, *_) = (layer for layer in net if layer.weights)
    assert first.weight.density == pytest.approx(np.count_nonzero(weights != zero) / weights.size)


# Operators


def single(kind, *inputs, shape=(1, 4, 6, 6), opset=build.OPSET, outputs=1, **options):
    """A model of one operator on `x`, with constants after it."""
    g = Graph(opset=opset)
    g.input("x", list(shape))
    names = [g.constant(f"c{place}", value) if value is not None else "" for place, value in enumerate(inputs)]
    made = g.op(kind, "x", *names, name=f"{kind.lower()}_", outputs=outputs, **options)
    for name in [made] if outputs == 1 else made:
        g.output(name)
    return g.model(check=False)


def layer_of(tmp_path, model, **more):
    found = read(tmp_path, model, **more)
    assert not found.warnings
    (layer,) = found.workload
    return layer


@pytest.mark.parametrize(
    "weights, options",
    [
        ((8, 4, 3, 3), {"pads": [1, 2, 3, 4], "strides": [2, 1]}),
        ((8, 2, 3, 3), {"group": 2, "dilations": [2, 1]}),
        ((8, 1, 3, 2), {"group": 4, "auto_pad": "SAME_UPPER", "strides": [2, 2]}),
        ((8, 4, 2, 2), {"auto_pad": "SAME_LOWER", "strides": [1, 2]}),
        ((8, 4, 3, 3), {"auto_pad": "VALID"}),
    ],
)
def test_convolutions(tmp_path, weights, options):
    """MACs by the shape of the output that onnxruntime gives."""
    model = single("Conv", np.ones(weights, np.float32), np.ones(8, np.float32), **options)
    layer = layer_of(tmp_path, model)
    (out,) = runtime_tensors(model, {"x": np.ones((1, 4, 6, 6), np.float32)}).values()
    assert (1, *layer.output.shape) == out.shape
    assert layer.macs == out.size * int(np.prod(weights[1:]))
    assert (layer.weights, layer.biases, layer.depthwise) == (int(np.prod(weights)), 8, options.get("group") == 4)


@pytest.mark.parametrize(("auto", "pad"), [("SAME_UPPER", (0, 1, 1, 1)), ("SAME_LOWER", (1, 1, 0, 1))])
def test_the_odd_row_of_padding_is_where_its_name_says(tmp_path, auto, pad):
    """ONNX: "the extra padding is added at the end for SAME_UPPER and at the beginning for SAME_LOWER"."""
    layer = layer_of(tmp_path, single("Conv", np.ones((8, 4, 2, 3), np.float32), auto_pad=auto))
    assert layer.output.shape == (8, 6, 6)
    assert layer.pad == pad


def test_a_convolution_of_a_sequence(tmp_path):
    model = single("Conv", np.ones((8, 4, 3), np.float32), shape=(1, 4, 16), strides=[2], pads=[1, 0])
    layer = layer_of(tmp_path, model)
    assert layer == Conv2d(
        "conv_",
        c=4,
        h=1,
        w=16,
        k=8,
        r=1,
        s=3,
        stride=(1, 2),
        pad=(0, 1, 0, 0),
        bias=False,
        input="fp32",
        weight="fp32",
        output="fp32",
    )


@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolutions(tmp_path, groups):
    """A value meets each filter once: h w c k r s / groups MACs, whatever the stride."""
    model = single("ConvTranspose", np.ones((4, 6 // groups, 3, 3), np.float32), strides=[2, 2], group=groups)
    net = read(tmp_path, model).workload
    assert (net.macs, net.weights) == (6 * 6 * 4 * 6 * 9 // groups, 4 * 6 * 9 // groups)
    (out,) = runtime_tensors(model, {"x": np.ones((1, 4, 6, 6), np.float32)}).values()
    assert (1, *list(net)[-1].output.shape) == out.shape
    assert net.graph


@pytest.mark.parametrize(
    "options, transposed",
    [({}, False), ({"transB": 1}, True), ({"transB": 1, "alpha": 0.5, "beta": 2.0}, True)],
)
def test_fully_connected(tmp_path, options, transposed):
    weights = np.ones((5, 12) if transposed else (12, 5), np.float32)
    layer = layer_of(tmp_path, single("Gemm", weights, np.ones(5, np.float32), shape=(1, 12), **options))
    assert layer == Gemm("gemm_", n=5, k=12, input="fp32", weight="fp32", output="fp32")
    whole = single(
        "Gemm",
        weights,
        np.ones((1, 1), np.float32) if options else np.ones((3, 5), np.float32),
        shape=(3, 12),
        **options,
    )
    assert read(tmp_path, whole).workload.macs == 5 * 12  # three inputs
    g = Graph()
    flat = g.op("Reshape", g.input("x", [1, 3, 12]), g.constant("rows", np.array([3, 12], np.int64)))
    summed = g.op(
        "Gemm", flat, g.constant("w", weights), g.constant("c", np.ones((3, 5), np.float32)), name="whole", **options
    )
    g.output(g.op("Reshape", summed, g.constant("back", np.array([1, 3, 5], np.int64))))
    net = read(tmp_path, g.model()).workload
    assert [(layer.op, layer.outputs) for layer in net] == [("gemm", 15), ("add", 15)]


def test_products_with_stored_and_computed_factors(tmp_path):
    g = Graph()
    x = g.input("x", [1, 2, 6, 8])
    left = g.op("MatMul", g.constant("rows", np.ones((3, 6), np.float32)), x, name="left")
    each = g.op("MatMul", x, g.constant("each", np.ones((1, 2, 8, 5), np.float32)), name="each")
    both = g.op("MatMul", each, g.op("Transpose", each, perm=[0, 1, 3, 2], name="turned"), name="both")
    for name in (left, both):
        g.output(name)
    net = read(tmp_path, g.model()).workload
    assert net["left"].macs == 2 * 3 * 6 * 8
    assert (net["each"].macs, net["each"].weights) == (2 * 6 * 8 * 5, 2 * 8 * 5)  # a matrix for each of two
    assert net["both"] == BatchedMatmul("both", b=2, m=6, n=6, k=5, input="fp32", weight="fp32", output="fp32")


@pytest.mark.parametrize(
    "kind, options, expected",
    [
        ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}, ("max", (4, 3, 3))),
        ("AveragePool", {"kernel_shape": [2, 3], "pads": [0, 1, 0, 1]}, ("avg", (4, 5, 6))),
        ("MaxPool", {"kernel_shape": [2, 2], "auto_pad": "SAME_UPPER", "strides": [4, 4]}, ("max", (4, 2, 2))),
        ("GlobalMaxPool", {}, ("max", (4, 1, 1))),
        ("GlobalAveragePool", {}, ("avg", (4, 1, 1))),
    ],
)
def test_pools(tmp_path, kind, options, expected):
    model = single(kind, **options)
    layer = layer_of(tmp_path, model)
    assert isinstance(layer, Pool2d)
    assert (layer.type, layer.output.shape) == expected
    (out,) = runtime_tensors(model, {"x": np.ones((1, 4, 6, 6), np.float32)}).values()
    assert (1, *layer.output.shape) == out.shape


@pytest.mark.parametrize("opset", range(7, LATEST + 1))
def test_every_version_of_the_operators(tmp_path, opset):
    """Axes, limits and sizes were attributes once and are inputs now; the layers are the same."""
    g = Graph(opset=opset)
    x = g.input("x", [1, 3, 8, 8])

    def op(kind, x, since, name, **values):
        """Values are attributes before the version `since`, and inputs from it."""
        if opset < since:
            return g.op(
                kind, x, name=name, **{k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in values.items()}
            )
        return g.op(
            kind,
            x,
            *(
                g.constant(f"{name}{k}", np.asarray(v, np.float32 if isinstance(v, float) else np.int64))
                for k, v in values.items()
            ),
            name=name,
        )

    x = op("Pad", x, 11, "pad", pads=np.array([0, 0, 1, 1, 0, 0, 1, 1]))
    x = g.op("Conv", x, g.constant("w", np.ones((4, 3, 3, 3), np.float32)), name="conv", kernel_shape=[3, 3])
    x = op("Clip", x, 11, "clip", min=0.0, max=6.0)
    scales = g.constant("scales", np.array([1, 1, 2, 2], np.float32))
    if opset < 9:
        x = g.op("Upsample", x, name="up", mode="nearest", scales=[1.0, 1.0, 2.0, 2.0])
    elif opset < 10:
        x = g.op("Upsample", x, scales, name="up", mode="nearest")
    else:
        x = g.op(
            "Resize",
            x,
            *([g.constant("roi", np.zeros(0, np.float32))] if opset > 10 else []),
            scales,
            name="up",
            mode="nearest",
        )
    if opset < 10:
        x = g.op("Slice", x, name="slice", starts=[0], ends=[2], axes=[2])
    else:
        x = g.op(
            "Slice", x, *(g.constant(f"s{i}", np.array([v], np.int64)) for i, v in enumerate((0, 2, 2))), name="slice"
        )
    x = g.op(
        "ReduceMean",
        x,
        *([g.constant("axes", np.array([2, 3], np.int64))] if opset > 17 else []),
        name="mean",
        keepdims=1,
        **({"axes": [2, 3]} if opset <= 17 else {}),
    )
    x = op("Squeeze", x, 13, "squeeze", axes=np.array([2, 3]))
    x = op("Unsqueeze", x, 13, "unsqueeze", axes=np.array([1]))
    g.output(g.op("Softmax", x, name="softmax", axis=2))
    net = read(tmp_path, g.model()).workload
    assert [(layer.name, layer.op, layer.output.shape) for layer in net] == [
        ("pad", "pad", (3, 10, 10)), ("conv", "conv", (4, 8, 8)), ("up", "resize", (4, 16, 16)), ("slice", "slice", (4, 2, 16)),
        ("mean", "pool", (4, 1, 1)), ("softmax", "softmax", (1, 4)),
    ]  # fmt: skip
    assert net["conv"].activation == "relu6"
    assert net.graph


def test_what_moves_nothing_has_no_row(tmp_path):
    g = Graph()
    x = g.input("x", [1, 4, 1, 6])
    x = g.op("Identity", g.op("Dropout", g.op("Flatten", x)))
    x = g.op("Reshape", x, g.constant("shape", np.array([0, -1, 6], np.int64)))
    x = g.op(
        "Transpose", g.op("Unsqueeze", x, g.constant("axes", np.array([1], np.int64))), perm=[1, 0, 2, 3]
    )  # ones change places
    x = g.op("Cast", x, to=TensorProto.FLOAT)
    x = g.op("Pad", x, g.constant("pads", np.zeros(8, np.int64)))
    g.output(g.op("Relu", x, name="relu"))
    net = read(tmp_path, g.model()).workload
    assert [layer.name for layer in net] == ["relu"]
    assert net.inputs["relu"] == ("input",)


def test_activations_join_the_layer_before_if_nothing_else_reads_it(tmp_path):
    g = Graph()
    x = g.input("x", [1, 4, 6, 6])
    a = g.conv(x, 4, 4, 1, act="Relu", name="a")
    b = g.conv(a, 4, 4, 1, name="b")
    c = g.op("Relu", b, name="c")
    g.output(g.op("Tanh", g.op("Add", b, c, name="sum"), name="tanh"))
    net = read(tmp_path, g.model()).workload
    assert [layer.name for layer in net] == ["a", "b", "c", "sum", "tanh"]  # a sum does not take a tanh
    assert (net["a"].activation, net["b"].activation, net["sum"].activation) == ("relu", "none", "none")


def test_batch_normalization_is_folded_as_runtimes_do(tmp_path):
    g = Graph()
    x = g.input("x", [1, 4, 6, 6])
    x = g.op("Conv", x, g.weight("w", 8, 4, 1, 1), name="conv")
    norm = [g.constant(f"n{i}", np.full(8, i + 1, np.float32)) for i in range(4)]
    x = g.op("Relu", g.op("BatchNormalization", x, *norm, name="norm"))
    x = g.op("MaxPool", x, name="pool", kernel_shape=[2, 2])
    g.output(g.op("BatchNormalization", x, *norm, name="alone"))
    net = read(tmp_path, g.model()).workload
    assert [layer.name for layer in net] == ["conv", "pool", "alone"]
    assert (net["conv"].bias, net["conv"].activation) == (True, "relu")
    assert net["alone"] == Normalization(
        "alone", shape=(8, 5, 5), type="batch", input="fp32", weight="fp32", output="fp32"
    )


def test_factors_and_sums_per_channel_are_folded_as_runtimes_do(tmp_path):
    """As Caffe2's exporter writes DenseNet and ShuffleNet; dead are the channels that the run has zeros in."""
    g = Graph()
    x = g.input("x", [1, 4, 6, 6])
    weights = g.draw.standard_normal((6, 4, 3, 3), np.float32)
    weights[1:5] = 0
    y = g.op("Conv", x, g.constant("w", weights), name="conv", pads=[1] * 4)
    norm = [g.constant(f"n{i}", np.array([1, 1, 1, 2, 1, 1], np.float32) * (i or 2)) for i in range(4)]
    y = g.op("BatchNormalization", y, *norm, name="norm")
    y = g.op("Mul", g.constant("factor", np.array([1, 0, -1, 1, 3, 1], np.float32).reshape(6, 1, 1)), y, name="mul")
    y = g.op("Add", y, g.constant("sum", np.array([0, 0, 0, 1, -4, 0], np.float32).reshape(1, 6, 1, 1)), name="add")
    y = g.op("Relu", y, name="relu")
    g.output(g.conv(y, 6, 8, 3, pad=1, name="second"))
    model = g.model()
    net = read(tmp_path, model).workload
    assert [layer.name for layer in net] == ["conv", "second"]
    assert (net["conv"].bias, net["conv"].activation) == (True, "relu")
    values = runtime_tensors(model, {"x": np.ones((1, 4, 6, 6), np.float32)})[y]
    dead = [bool((values[0, channel] == 0).all()) for channel in range(1, 5)]
    assert any(dead)
    assert not all(dead)
    assert net["conv"].dead_out == net["second"].dead_in == sum(dead)


def test_factors_stay_where_weights_are_computed(tmp_path):
    g = Graph()
    x, w = g.input("x", [1, 4, 6, 6]), g.input("w", [8, 4, 3, 3])
    y = g.op("Conv", x, w, name="conv")
    y = g.op("BatchNormalization", y, *[g.constant(f"n{i}", np.ones(8, np.float32)) for i in range(4)], name="norm")
    g.output(g.op("Mul", y, g.constant("factor", np.ones((8, 1, 1), np.float32)), name="mul"))
    net = read(tmp_path, g.model()).workload
    assert [layer.name for layer in net if layer.op != "reshape"] == ["conv_columns", "conv", "norm", "mul"]


def test_recurrent_networks(tmp_path):
    """Both directions are a layer each; the last state is a slice of all of them."""
    for kind, gates, directions in (("LSTM", 4, 1), ("GRU", 3, 2)):
        g = Graph()
        x = g.input("x", [7, 1, 5])
        names = [
            g.weight("w", directions, gates * 6, 5),
            g.weight("r", directions, gates * 6, 6),
            g.constant("b", np.zeros((directions, 2 * gates * 6), np.float32)),
        ]
        outs = g.op(
            kind,
            x,
            *names,
            name="rnn",
            outputs=2,
            hidden_size=6,
            direction="bidirectional" if directions == 2 else "forward",
        )
        for name in outs:
            g.output(name)
        model = g.model()
        net = read(tmp_path, model).workload
        assert net.macs == directions * 7 * gates * 6 * (5 + 6)
        tensors = runtime_tensors(model, {"x": np.ones((7, 1, 5), np.float32)})
        assert net["rnn"].output.elements == tensors[outs[0]].size
        assert net["rnn_last"].output.elements == tensors[outs[1]].size
        assert net.graph
    assert [layer.op for layer in net] == ["gru", "gru", "concat", "slice"]
    assert isinstance(net["rnn"], Concat)
    assert not any(isinstance(layer, Lstm) for layer in net)


def test_joins_and_parts(tmp_path):
    g = Graph()
    x = g.input("x", [1, 6, 4])
    parts = g.op("Split", x, g.constant("sizes", np.array([2, 3, 1], np.int64)), name="split", outputs=3, axis=1)
    joined = g.op("Concat", parts[2], parts[0], name="concat", axis=1)
    token = g.constant("token", np.zeros((1, 1, 4), np.float32))
    g.output(g.op("Concat", token, joined, name="with_token", axis=1))
    g.output(parts[1])
    net = read(tmp_path, g.model()).workload
    assert [(layer.name, layer.output.shape) for layer in net] == [
        ("split", (2, 4)), ("split_1", (3, 4)), ("split_2", (1, 4)), ("concat", (3, 4)), ("with_token", (4, 4)),
    ]  # fmt: skip
    assert net.inputs["concat"] == ("split_2", "split")
    assert isinstance(net["with_token"], DataMovement)


def test_attention_is_its_two_products(tmp_path):
    """Of ONNX 23; eight heads of queries share two of keys and values."""
    if LATEST < 23:
        pytest.skip("this onnx has no Attention")
    g = Graph(opset=23)
    x = g.input("x", [1, 10, 64])
    parts = [g.linear(x, 64, width, name) for name, width in (("q", 64), ("k", 16), ("v", 16))]
    g.output(g.op("Attention", *parts, name="attention", q_num_heads=8, kv_num_heads=2))
    net = read(tmp_path, g.model(check=False)).workload
    parts = {part.name: part for part, _ in net["attention"].sublayers}
    assert parts["attention.scores"].macs == parts["attention.context"].macs == 10 * 10 * 64
    assert parts["attention.softmax"].outputs == 8 * 10 * 10
    assert net.graph


def test_unknown_operators_are_rows_with_their_bytes(tmp_path):
    g = Graph()
    x = g.input("x", [1, 4, 6, 6])
    x = g.op("MyOp", x, g.constant("table", np.zeros((3, 5), np.int16)), name="mine", domain="my.domain")
    g.output(g.op("Relu", x, name="relu"), [1, 2, 6])
    model = g.model(domains=["my.domain"], check=False)
    with pytest.raises(InputError, match=r"give --shape mine_out=1x4x6x7, or --allow-missing"):
        read(tmp_path, g.model(domains=["my.domain"], check=False), shape={"x": (1, 4, 6, 7)})
    model.graph.value_info.append(helper.make_tensor_value_info(x, TensorProto.FLOAT, [1, 2, 6]))
    with pytest.raises(
        InputError, match=r"has stored weights and no model \(hwsim does not know it\); --allow-missing"
    ):
        read(tmp_path, model)
    found = read(tmp_path, model, allow_missing=True)
    assert found.workload["mine"] == Opaque(
        "mine", type="my_op", shapes=[(4, 6, 6)], to=(2, 6), stored=15, input="fp32", weight="int16", output="fp32"
    )
    (opaque,) = found.warnings
    assert opaque.code == "import.opaque"
    assert opaque.layers == ("mine",)
    assert opaque.values == {"operator": "my.domain.MyOp", "reason": "hwsim does not know it"}
    with pytest.warns(HwsimWarning, match="hwsim does not know it"):
        assert load_workload(tmp_path / "net.onnx", allow_missing=True) == found.workload
    assert len(hwsim.simulate(hwsim.load_machine("systolic_ws"), found.workload).layers) == 2
    unknown = g.model(domains=["my.domain"], check=False)
    given = read(tmp_path, unknown, shape={x: (1, 2, 6)}, allow_missing=True)
    assert given.workload == found.workload


def test_operators_of_one_kind_share_a_warning(tmp_path):
    g = Graph()
    x = g.input("x", [1, 4, 6, 6])
    for i in range(131):
        x = g.op("MyOp" if i % 2 else "Other", x, name=f"n{i}", domain="my.domain")
    g.output(x, [1, 4, 6, 6])
    model = g.model(domains=["my.domain"], check=False)
    for node in model.graph.node[:-1]:
        model.graph.value_info.append(helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, [1, 4, 6, 6]))
    found = read(tmp_path, model)
    assert [(len(w.layers), w.values["operator"]) for w in found.warnings] == [
        (66, "my.domain.Other"),
        (65, "my.domain.MyOp"),
    ]
    with pytest.warns(HwsimWarning) as caught:
        load_workload(tmp_path / "net.onnx")
    assert "n1, n3, n5 and 62 more: my.domain.MyOp has no model" in str(caught[1].message)


def test_branches_take_the_place_of_an_if(tmp_path):
    branches = []
    for kind in ("Relu", "Tanh"):
        node = helper.make_node(kind, ["x"], [f"in_{kind}"])
        branches.append(helper.make_graph([node], kind, [], [helper.make_tensor_value_info(f"in_{kind}", 1, [1, 4])]))
    g = Graph()
    g.input("x", [1, 4])
    g.input("flag", [1], TensorProto.BOOL)
    g.output(g.op("If", "flag", name="choice", then_branch=branches[0], else_branch=branches[1]))
    found = read_model(save(tmp_path, g.model()))
    assert [layer.output.shape for layer in found.workload] == [(1, 4)]
    assert found.warnings[0].code == "import.branch"


def test_functions_of_the_model_are_put_in_place(tmp_path):
    nodes = [
        helper.make_node("Mul", ["a", "a"], ["s"], name="square"),
        helper.make_node("Relu", ["s"], ["o"], name="relu"),
    ]
    function = helper.make_function("my", "Squared", ["a"], ["o"], nodes, [helper.make_opsetid("", 17)])
    g = Graph()
    x = g.input("x", [1, 4])
    g.output(g.op("Squared", g.op("Squared", x, domain="my"), domain="my"), [1, 4])
    model = g.model(domains=["my"], check=False)
    model.functions.append(function)
    net = read(tmp_path, model).workload
    assert [(layer.op, layer.activation) for layer in net] == [("mul", "relu"), ("mul", "relu")]


def test_detection_heads_are_taken_for_the_most_that_they_give(tmp_path):
    g = Graph()
    x = g.input("x", [1, 5, 20])
    boxes = g.op(
        "Transpose",
        g.op("Slice", x, *(g.constant(f"s{i}", np.array([v], np.int64)) for i, v in enumerate((0, 4, 1)))),
        perm=[0, 2, 1],
        name="boxes",
    )
    scores = g.op(
        "Slice", x, *(g.constant(f"t{i}", np.array([v], np.int64)) for i, v in enumerate((4, 5, 1))), name="scores"
    )
    limits = [g.constant("most", np.array([7], np.int64)), g.constant("iou", np.array([0.5], np.float32))]
    kept = g.op("NonMaxSuppression", boxes, scores, *limits, name="nms")
    g.output(g.op("Cast", kept, to=TensorProto.INT32, name="cast"), ["n", 3], TensorProto.INT32)
    found = read(tmp_path, g.model())
    assert found.workload["nms"].to == (7, 3)
    assert [w.values["shape"] for w in found.warnings if w.code == "import.maximum"] == ["7 x 3"]


def test_precisions(tmp_path):
    for dtype, stored, name in ((TensorProto.FLOAT16, np.float16, "fp16"), (TensorProto.DOUBLE, np.float64, "fp64")):
        g = Graph()
        g.input("x", [1, 8], dtype)
        weights = np.ones((8, 4), stored)
        weights[0] = 0
        g.output(g.op("MatMul", "x", g.constant("w", weights), name="fc"), [1, 4], dtype)
        layer = layer_of(tmp_path, g.model())
        assert (layer.input.dtype, layer.weight.dtype, layer.output.dtype, layer.weight.density) == (name,) * 3 + (
            7 / 8,
        )
    # weights of four bits and of brain floats, dequantized and widened as the model is loaded
    g = Graph(opset=21)
    x = g.input("x", [1, 8])
    four = helper.make_tensor("four", TensorProto.INT4, [8, 4], np.arange(32) % 8 - 4)
    brain = helper.make_tensor("brain", TensorProto.BFLOAT16, [4, 2], np.array([0.0, 1.5] * 4, np.float32))
    nodes = [
        helper.make_node("DequantizeLinear", ["four", "scale", "zero"], ["real"]),
        helper.make_node("MatMul", [x, "real"], ["h"], "a"),
        helper.make_node("Cast", ["brain"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["h", "wide"], ["y"], "b"),
    ]
    zero = helper.make_tensor("zero", TensorProto.INT4, [], [1])
    constants = [four, brain, zero, numpy_helper.from_array(np.float32(0.1), "scale")]
    net = helper.make_graph(nodes, "g", g.inputs, [helper.make_tensor_value_info("y", 1, [1, 2])], constants)
    found = read(tmp_path, helper.make_model(net, opset_imports=[helper.make_opsetid("", 21)])).workload
    assert (found["a"].weight.dtype, found["a"].weight.density) == ("int4", 7 / 8)
    assert (found["b"].weight.dtype, found["b"].weight.density) == ("bf16", 1 / 2)


# Dead channels


def pruned(model, share=0.4, seed=3):
    """The model with whole output channels of its convolutions zero, and no biases there."""
    draw = np.random.default_rng(seed)
    arrays = {item.name: item for item in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Conv":
            weights, bias = (numpy_helper.to_array(arrays[name]).copy() for name in node.input[1:3])
            gone = draw.random(len(bias)) < share
            weights[gone] = 0
            bias[gone] = np.where(draw.random(gone.sum()) < 0.5, 0, -1)  # a relu leaves zero of both
            for name, values in zip(node.input[1:3], (weights, bias)):
                arrays[name].CopyFrom(numpy_helper.from_array(values, name))
    return model


@pytest.mark.parametrize("form", ["float", "QDQ", "QOperator"])
def test_dead_channels_are_zero_when_the_network_runs(tmp_path, form):
    model = pruned(build.small_convnet())
    if form != "float":
        pytest.importorskip("onnxruntime")
        model = build.quantized(model, form)
    file, found = graph(tmp_path, model)
    converter = Converter(file, found, MAKERS)
    net = converter.workload("net")
    assert net.macs_live < net.macs
    assert sum(layer.dead_out for layer in net if isinstance(layer, Conv2d)) >= 4
    tensors = runtime_tensors(model, build.feeds(model))
    arrays = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    quantizers = {
        node.output[0]: arrays[node.input[2]] for node in model.graph.node if node.op_type == "QuantizeLinear"
    }
    quantizers |= {
        node.output[0]: arrays[node.input[7]]
        for node in model.graph.node
        if node.op_type in ("QLinearConv", "QLinearAdd")
    }
    checked = 0
    for name, fixed in converter.dead.items():
        if name in tensors and fixed.dead.any():
            values = np.take(tensors[name], np.flatnonzero(fixed.dead), axis=fixed.axis)
            assert (values == quantizers.get(name, 0)).all(), name
            checked += 1
    assert checked >= 3


def test_another_constant_is_not_dead(tmp_path):
    """A bias above zero is seen by a padded layer as something else than its border."""
    g = Graph()
    x = g.input("x", [1, 2, 4, 4])
    weights = np.ones((4, 2, 1, 1), np.float32)
    weights[1:] = 0
    g.constant("w", weights)
    g.constant("b", np.array([0, 0, 1, -1], np.float32))
    x = g.op("Relu", g.op("Conv", x, "w", "b", name="first"))
    g.output(g.conv(x, 4, 4, 3, pad=1, name="second"))
    net = read(tmp_path, g.model()).workload
    assert (net["first"].dead_out, net["second"].dead_in) == (2, 2)
    assert net["second"].macs_live == net["second"].macs // 2


# Batches, inputs and names


def test_a_fixed_batch_is_left_out(tmp_path):
    one, four = (read(tmp_path, build.small_convnet(batch=batch)) for batch in (1, 4))
    assert one.workload == four.workload
    assert [(w.code, w.values) for w in four.warnings] == [("import.batch", {"batch": 4})]
    written = read(tmp_path, build.bert(**ENCODER, batch=4))  # in every Reshape
    assert written.workload.macs == read(tmp_path, build.bert(**ENCODER)).workload.macs
    assert list(map(str, written.warnings)) == ["the file has a batch of 4: its layers are read for one input"]


def test_several_inputs(tmp_path):
    g = Graph()
    a, b = g.input("a", [1, 8]), g.input("b", [1, 8])
    g.output(g.op("Add", a, b, name="sum"))
    found = read(tmp_path, g.model())
    assert found.workload.inputs["sum"] == ("input", "input")
    assert [(w.code, w.values) for w in found.warnings] == [("import.inputs", {"inputs": 2, "shape": "1 x 8"})]
    g = Graph()
    a, b = g.input("a", [1, 8]), g.input("b", [1, 1])
    g.output(g.op("Add", a, b, name="sum"))
    found = read(tmp_path, g.model())
    assert not found.workload.graph
    assert found.warnings[0].code == "import.no_graph"
    assert found.warnings[0].values["reason"].values == {"inputs": 2}


def test_names_are_readable_and_their_own(tmp_path):
    g = Graph()
    x = g.input("x", [1, 4])
    for name in ("/layer1/layer1.0/fc/MatMul", "/layer1/layer1.0/fc/MatMul_1", "", "input", "a,b: c"):
        x = g.op("MatMul", x, g.weight(f"w{name}", 4, 4), name=name)
        g.nodes[-1].name = name
    g.output(x)
    net = read(tmp_path, g.model(check=False)).workload
    assert [layer.name for layer in net] == ["layer1.0/fc", "layer1.0/fc/MatMul_1", "matmul_2", "matmul_3", "a_b__c"]


def put_outside(model, **place):
    """Let the arrays of weights be in another file; returns their bytes in the order of the model."""
    data = b""
    for tensor in model.graph.initializer:
        if tensor.name.endswith("weight"):
            entries = {"offset": len(data), "length": len(tensor.raw_data), **place}
            data += tensor.raw_data
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in entries.items():
                tensor.external_data.add(key=key, value=str(value))
    return data


def test_zeros_of_external_data_count(tmp_path):
    """Weights beside the model have the zeros that they have in it."""
    model = build.small_convnet()
    for tensor in model.graph.initializer:
        if tensor.name.endswith("weight"):
            values = np.frombuffer(tensor.raw_data, np.uint8).copy()
            values[: values.size // 3 // 8 * 8] = 0
            tensor.raw_data = values.tobytes()
    inside = read(tmp_path, model).workload
    (tmp_path / "net.data").write_bytes(put_outside(model, location="net.data"))
    outside = read(tmp_path, model)
    assert outside.workload.layers == inside.layers
    assert {layer.weight.density for layer in inside} != {1.0}
    assert not outside.warnings


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ({"location": "../net.data"}, "outside of the model"),
        ({"location": "deep/../net.data"}, "outside of the model"),
        ({"location": "/etc/passwd"}, "outside of the model"),
        ({"location": "link"}, "outside of the model"),
        ({"location": ""}, "no valid name"),
        ({"location": "absent.data"}, "not there"),
        ({"location": "."}, "beyond the end"),
        ({"location": "net.data", "offset": "-8"}, "no number of bytes"),
        ({"location": "net.data", "offset": "9" * 19}, "beyond the end"),
        ({"location": "net.data", "offset": "9" * 5000}, "no number of bytes"),
        ({"location": "net.data", "length": 7}, "not that of their shape"),
        ({"location": "pipe"}, "beyond the end"),
    ],
)  # fmt: skip
def test_external_data_that_cannot_be_is_not_read(tmp_path, place, reason):
    model, folder = build.small_convnet(), tmp_path / "model"
    folder.mkdir()
    (folder / "link").symlink_to("/etc/passwd")
    os.mkfifo(folder / "pipe")
    for path in (tmp_path, folder):
        (path / "net.data").write_bytes(bytes(10**6))
    put_outside(model, **place)
    found = read(folder, model)
    assert found.workload.macs == read(tmp_path, build.small_convnet()).workload.macs
    assert {layer.weight.density for layer in found.workload} == {1.0}
    (warning,) = found.warnings
    assert (warning.code, warning.values["constants"]) == ("import.external", 4)
    assert reason in str(warning)


def test_one_array_of_many_constants_is_read_within_a_limit(tmp_path, monkeypatch):
    model = build.small_convnet()
    size = len(put_outside(model, location="net.data", offset=0))
    (tmp_path / "net.data").write_bytes(bytes(size))
    monkeypatch.setattr("hwsim.workload.onnx.external.MAX_BYTES", size - 1)
    found = read(tmp_path, model)
    assert [warning.values["constants"] for warning in found.warnings] == [1]


def test_names_of_pytorch_are_those_of_its_modules(tmp_path):
    """The exporter writes the modules around each node; a norm that was fused leaves its own path at the convolution."""
    g = Graph()
    x = g.input("x", [1, 3, 31, 31])
    scopes = [["layer1", "layer1.0", "layer1.0.bn1", "conv2d"], ["layer1", "layer1.0", "add_3"], ["head", "linear"]]
    y = g.op("Conv", x, g.weight("layer1.0.conv1.weight", 3, 3, 1, 1), name="node_Conv_7")
    y = g.op("Add", y, x, name="node_add")
    y = g.op("MatMul", y, g.weight("val_5", 31, 7), name="node_linear")
    for node, path in zip(g.nodes, scopes):
        node.metadata_props.add(key="pkg.torch.onnx.name_scopes", value=repr(["", *path]))
    g.output(y)
    net = read(tmp_path, g.model()).workload
    assert [layer.name for layer in net] == ["layer1.0.conv1", "layer1.0.add", "head"]


def test_names_of_modules_may_be_anything(tmp_path):
    g = Graph()
    x = g.input("x", [1, 4])
    for scopes in ("(" * 5000, "['', '', 'mm']", "['a', '../b c,d', 'mm']", "['" + "y" * 9999 + "']", ""):
        x = g.op("MatMul", x, g.weight(f"w{len(g.nodes)}", 4, 4), name=f"n{len(g.nodes)}")
        g.nodes[-1].metadata_props.add(key="pkg.torch.onnx.name_scopes", value=scopes)
    g.output(x)
    names = [layer.name for layer in read(tmp_path, g.model()).workload]
    assert names == ["n0", "n1", "b_c_d", "n3", "n4"]


# The command line


def run(capsys, *words):
    sys.argv = ["hwsim", *map(str, words)]
    code = 0
    try:
        cli.main()
    except SystemExit as stop:
        code = stop.code or 0
    return (code, *capsys.readouterr())


def test_commands(tmp_path, capsys):
    path = save(tmp_path, build.bert(**{**ENCODER, "seq": "sequence"}, batch="batch", dynamic=True))
    sizes = ("--shape", "batch=1,sequence=8")
    code, out, err = run(capsys, "import", path, "-o", tmp_path / "net.yaml", *sizes, "--source", "the tests")
    assert (code, out, err) == (0, "", "")
    trace = load_workload(tmp_path / "net.yaml")
    assert trace.source == "the tests"
    assert trace == read_model(path, shape={"sequence": 8}).workload
    code, out, _ = run(capsys, "run", "systolic_ws", path, *sizes, "--layers", "layer.0/query", "--csv", "-")
    assert (code, out.count("layer.0/query")) == (0, 1)
    for words in (
        ("show", path),
        ("explain", "systolic_ws", path, "layer.0/query"),
        ("validate", "systolic_ws", path, "--layer", "layer.0/query", "--sample", "8"),
    ):
        code, out, _ = run(capsys, *words, "--shape", "ids=1x8")
        assert (code, "layer.0/query" in out) == (0, True), words
    code, out, err = run(capsys, "run", "systolic_ws", path)
    assert (code, out) == (2, "")
    assert (
        f"hwsim: {path}: input 'ids': is batch x sequence, of which 'batch' and 'sequence' must be given, as with --shape batch=1,sequence=128"
        in err
    )


def test_elementwise_spreads_as_numpy_does():
    wide = Elementwise("e", shape=(8, 4, 5))
    assert all(wide.accepts(shape, 1) for shape in ((8, 1, 1), (4, 5), (5,), (1,), (8, 4, 5), (160,), (1, 1, 5)))
    assert not any(wide.accepts(shape, 1) for shape in ((7, 1, 1), (5, 4), (8, 4, 4)))


def test_the_shape_of_a_scalar_is_an_empty_constant(tmp_path):
    """As Paddle's exporter writes it: the second axis of the input, as a scalar, is that of a later shape."""
    g = Graph()
    x = g.input("x", [1, 31, 16])
    size = g.op("Slice", g.op("Shape", x), *(g.constant(f"at{i}", np.array([i])) for i in (1, 2)))
    size = g.op("Reshape", size, g.constant("scalar", np.zeros(0, np.int64)))
    size = g.op("Unsqueeze", size, g.constant("zero", np.array([0])))
    rows = g.op("Reshape", x, g.op("Concat", size, g.constant("rest", np.array([16])), axis=0))
    g.output(g.op("MatMul", rows, g.weight("w", 16, 7)), [31, 7])
    assert read(tmp_path, g.model(check=False)).workload.macs == 31 * 16 * 7


def twice(name):
    """A network that reads one stored matrix of 257 x 127 twice, each time in its own way."""
    g = Graph()
    kind = {"casts": np.float16, "scales": np.int8}.get(name, np.float32)
    w = g.constant("table", g.draw.integers(-9, 9, (257, 127)).astype(kind))
    x = g.input("x", [1, 7, 127])
    if name == "embedding":
        x = g.op("Gather", w, g.input("ids", [1, 7], TensorProto.INT64), name="embedding")
        x = g.op("Reshape", x, g.constant("rows", np.array([7, 127])))
        del g.inputs[0]
        g.output(g.op("Gemm", x, w, transB=1, name="head"))
        return g.model()
    scale = g.constant("scale", np.array(0.1, np.float32))
    turned = []
    for part in "ab":
        own = w
        if name == "casts":
            own = g.op("Cast", w, to=TensorProto.FLOAT, name=f"cast {part}")
        if name == "scales":
            own = g.op("DequantizeLinear", w, scale, name=f"scale {part}")
        turned.append(g.op("Transpose", own, perm=[1, 0], name=f"turn {part}"))
    for part, own in zip("ab", turned):
        g.output(g.op("MatMul", x, own, name=part))
    return g.model()


@pytest.mark.parametrize("name", ["embedding", "casts", "scales", "transpositions"])
def test_an_array_that_is_read_in_several_ways_is_stored_once(tmp_path, name):
    model = twice(name)
    feeds = {"ids": np.ones((1, 7), np.int64)} if name == "embedding" else {"x": np.ones((1, 7, 127), np.float32)}
    runtime_tensors(model, feeds)
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    net = read_model(tmp_path / "net.onnx").workload
    assert net.macs == 7 * 257 * 127 * (1 if name == "embedding" else 2)
    assert net.weights == 257 * 127
    assert {layer.weight.spec.array for layer in net if layer.weights} == {"table"}
    assert {layer.weight.bits for layer in net if layer.weights} == {{"casts": 16, "scales": 8}.get(name, 32)}
