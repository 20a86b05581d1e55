"""Files that onnxruntime optimized, in its own layouts: the MACs and weights of the file that they are from."""

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx_networks as networks
import onnxruntime as ort
from onnx_builder import Graph, bert, mobilenet_v2, quantized, quantized_dynamically, small_convnet

from hwsim.workload.onnx import read_model

LEVELS = ("ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL")


def odd():
    """Numbers of channels that fill no block, gates, and an output with its channels last."""
    g = Graph("odd")
    x = g.conv(g.input("image", [1, 1, 31, 31]), 1, 28, 3, 2, 1, act="Relu")
    y = g.conv(g.conv(x, 28, 28, 3, 1, 1, groups=28, act="relu6"), 28, 127, 1, act="Sigmoid")
    x = g.op("Relu", g.op("Add", x, g.conv(y, 127, 28, 1)))
    x = g.op("Mul", g.op("Sigmoid", x), x)
    x = g.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    x = g.op("Concat", g.conv(x, 28, 24, 1), g.conv(x, 28, 40, 3, 1, 1), axis=1)
    g.output(g.op("Transpose", x, perm=[0, 2, 3, 1]), [1, 8, 8, 64])
    return g.model()


def segments():
    """A decoder: enlarged, joined with what is before, cut in parts."""
    g = Graph("segments")
    a = g.conv(g.input("image", [1, 3, 32, 32]), 3, 16, 3, 1, 1, act="Relu")
    b = g.conv(a, 16, 32, 3, 2, 1, act="LeakyRelu")
    b = g.op("Resize", b, "", g.constant("scales", np.array([1, 1, 2, 2], np.float32)), mode="nearest")
    c, d = g.op("Split", g.op("Concat", a, b, axis=1), axis=1, outputs=2)
    c = g.conv(g.op("AveragePool", c, kernel_shape=[2, 2], strides=[2, 2]), 24, 17, 3, 1, 1)
    d = g.conv(d, 24, 17, 3, 2, 1)
    g.output(g.op("GlobalMaxPool", g.op("Sub", c, d)), [1, 17, 1, 1])
    return g.model()


def gates(opset):
    """Gates of channels, shortcuts, a pool and an enlargement, as an old exporter writes them."""
    g = Graph("gates", opset=opset)
    x = g.conv(g.input("image", [1, 3, 33, 31]), 3, 8, 3, 2, 1, act="Relu")
    y = g.conv(g.conv(g.op("GlobalAveragePool", x), 8, 2, 1, act="Relu"), 2, 8, 1, act="HardSigmoid")
    x = g.conv(g.op("Mul", x, y), 8, 8, 1)
    for _ in range(2):
        y = g.conv(g.conv(x, 8, 32, 1, act="Relu"), 32, 32, 3, 1, 1, groups=32, act="Relu")
        x = g.op("Add", x, g.conv(y, 32, 8, 1))
    y = g.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    scales = g.constant("scales", np.array([1, 1, 2, 2], np.float32))
    if opset < 11:
        y = g.op("Upsample", g.conv(y, 8, 16, 1), scales)
    else:
        y = g.op("Resize", g.conv(y, 8, 16, 1), g.constant("region", np.zeros(0, np.float32)), scales, mode="nearest")
    g.output(g.conv(y, 16, 5, 3), [1, 5, 14, 14])
    return g.model()


NETWORKS = {
    "gates of opset 9": lambda: gates(9), "gates of opset 11": lambda: gates(11), "gates": lambda: gates(17),
    "odd": odd, "segments": segments, "small": lambda: small_convnet(batch=5), "ocr": lambda: networks.pp_ocr(32, 64),
    "mobilenet": lambda: mobilenet_v2(size=32), "yolo": lambda: networks.yolov8n(64), "bert": bert,
}  # fmt: skip
FORMS = {
    "float": lambda model: model, "QDQ": quantized, "QOperator": lambda model: quantized(model, "QOperator"),
    "dynamic": quantized_dynamically,
}  # fmt: skip
FAST = ("odd", "segments", "small", "gates of opset 9", "gates of opset 11", "gates")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", [x if x in FAST else pytest.param(x, marks=pytest.mark.slow) for x in NETWORKS])
def test_an_optimized_file_has_the_macs_of_its_source(tmp_path, name, form):
    if "opset" in name and form != "float":
        pytest.skip("the quantizer of onnxruntime writes operators of later opsets")
    source, optimized = tmp_path / "net.onnx", tmp_path / "optimized.onnx"
    source.write_bytes(FORMS[form](NETWORKS[name]()).SerializeToString())
    whole = read_model(source).workload
    for level in LEVELS if name in FAST else LEVELS[-1:]:
        options = ort.SessionOptions()
        options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
        options.optimized_model_filepath, options.log_severity_level = str(optimized), 4
        ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        read = read_model(optimized)
        assert read.workload.macs == whole.macs
        products = [sum(layer.weights for layer in net if layer.macs) for net in (read.workload, whole)]
        assert products[0] == products[1]
        assert read.workload.graph == whole.graph
        assert not {"import.opaque", "import.unknown_shapes"} & {note.code for note in read.warnings}
        assert len(read.workload) <= len(whole) * 1.05 + 3  # no transposition at each operator
