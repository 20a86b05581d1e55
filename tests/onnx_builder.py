"""ONNX models with random weights that run: small ones by hand, ResNet-50, MobileNet-v2, encoders, and their int8 forms."""

import tempfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
#: The newest format that every onnxruntime of the test extra reads.
IR_VERSION = 8


class Graph:
    """A model in the making: each method adds a node and gives the name of what it writes."""

    def __init__(self, name="net", seed=0, opset=OPSET):
        self.name = name
        self.opset = opset
        self.draw = np.random.default_rng(seed)
        self.nodes = []
        self.constants = []
        self.inputs = []
        self.outputs = []

    def input(self, name, shape, dtype=TensorProto.FLOAT):
        self.inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def output(self, name, shape=None, dtype=TensorProto.FLOAT):
        self.outputs.append(helper.make_tensor_value_info(name, dtype, shape))

    def constant(self, name, values):
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def weight(self, name, *shape):
        """Normal values of such a size that the variance of a layer's output is about that of its input."""
        fan_in = max(int(np.prod(shape[1:])) if len(shape) > 2 else shape[0], 1)
        values = self.draw.standard_normal(shape, np.float32) * np.float32((2 / fan_in) ** 0.5)
        return self.constant(name, values)

    def op(self, kind, *inputs, name="", domain="", outputs=1, **attributes):
        name = name or f"{kind}_{len(self.nodes)}"
        outs = [f"{name}_out{i or ''}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), outs, name, domain=domain, **attributes))
        return outs[0] if outputs == 1 else outs

    def conv(self, x, c, k, r, stride=1, pad=0, groups=1, act="", name=""):
        name = name or f"conv_{len(self.nodes)}"
        weights = self.weight(f"{name}.weight", k, c // groups, r, r)
        bias = self.constant(f"{name}.bias", self.draw.standard_normal(k).astype(np.float32) * np.float32(0.1))
        shape = {"kernel_shape": [r, r], "strides": [stride] * 2, "pads": [pad] * 4, "group": groups}
        x = self.op("Conv", x, weights, bias, name=name, **shape)
        if act == "relu6":
            low, high = (self.constant(f"{name}.{key}", np.float32(v)) for key, v in (("low", 0), ("high", 6)))
            return self.op("Clip", x, low, high, name=f"{name}_relu6")
        return self.op(act, x, name=f"{name}_{act.lower()}") if act else x

    def gemm(self, x, k, n, name=""):
        name = name or f"gemm_{len(self.nodes)}"
        weights = self.weight(f"{name}.weight", n, k)
        bias = self.constant(f"{name}.bias", np.zeros(n, np.float32))
        return self.op("Gemm", x, weights, bias, name=name, transB=1)

    def linear(self, x, k, n, name):
        """A product with stored weights and a sum, as PyTorch writes a linear layer of a sequence."""
        x = self.op("MatMul", x, self.weight(f"{name}.weight", k, n), name=f"{name}/MatMul")
        return self.op("Add", self.constant(f"{name}.bias", np.zeros(n, np.float32)), x, name=f"{name}/Add")

    def model(self, domains=(), check=True):
        imports = [helper.make_opsetid("", self.opset), *(helper.make_opsetid(d, 1) for d in domains)]
        graph = helper.make_graph(self.nodes, self.name, self.inputs, self.outputs, self.constants)
        model = helper.make_model(graph, opset_imports=imports, ir_version=IR_VERSION, producer_name="onnx_builder")
        if any(not value.type.tensor_type.HasField("shape") for value in self.outputs):
            model = onnx.shape_inference.infer_shapes(model)
            del model.graph.value_info[:]
        if check:
            onnx.checker.check_model(model, full_check=True)
        return model


def runtime_tensors(model, feeds):
    """Every tensor of a run by onnxruntime without its optimizations, by name."""
    runtime = pytest.importorskip("onnxruntime")
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    del whole.graph.output[:]
    names = [name for node in model.graph.node for name in node.output if name]
    whole.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = runtime.InferenceSession(whole.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip(names, session.run(names, feeds)))


def small_convnet(batch=1, classes=10, size=16):
    """A convolution, a depthwise and a pointwise one with a shortcut, pooling, a fully connected layer."""
    g = Graph("small")
    x = g.input("image", [batch, 3, size, size])
    x = g.conv(x, 3, 8, 3, stride=2, pad=1, act="Relu", name="stem")
    y = g.conv(x, 8, 8, 3, pad=1, groups=8, act="relu6", name="depthwise")
    y = g.conv(y, 8, 8, 1, name="pointwise")
    x = g.op("Relu", g.op("Add", x, y, name="shortcut"), name="shortcut_relu")
    x = g.op("MaxPool", x, name="pool", kernel_shape=[2, 2], strides=[2, 2])
    x = g.op("Flatten", g.op("GlobalAveragePool", x, name="mean"), name="flatten")
    x = g.op("Softmax", g.gemm(x, 8, classes, "fc"), name="probabilities", axis=-1)
    g.output(x, [batch, classes])
    return g.model()


def resnet50(batch=1, size=224, classes=1000, width=64):
    """ResNet-50 v1.5, batch normalization folded; a smaller `width` or `size` makes a quick one of the same layers."""
    g = Graph("resnet50")
    x = g.input("image", [batch, 3, size, size])
    x = g.conv(x, 3, width, 7, stride=2, pad=3, act="Relu", name="conv1")
    x = g.op("MaxPool", x, name="maxpool", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    channels = width
    for stage, blocks in enumerate((3, 4, 6, 3)):
        mid = width * 2**stage
        for block in range(blocks):
            name = f"layer{stage + 1}.{block}"
            stride = 2 if stage and not block else 1
            shortcut = x
            y = g.conv(x, channels, mid, 1, act="Relu", name=f"{name}.conv1")
            y = g.conv(y, mid, mid, 3, stride, 1, act="Relu", name=f"{name}.conv2")
            y = g.conv(y, mid, 4 * mid, 1, name=f"{name}.conv3")
            if not block:
                shortcut = g.conv(x, channels, 4 * mid, 1, stride, name=f"{name}.downsample")
            x = g.op("Relu", g.op("Add", y, shortcut, name=f"{name}.add"), name=f"{name}.relu")
            channels = 4 * mid
    x = g.op("Flatten", g.op("GlobalAveragePool", x, name="avgpool"), name="flatten")
    x = g.gemm(x, channels, classes, "fc")
    g.output(x, [batch, classes])
    return g.model()


def mobilenet_v2(batch=1, size=224, classes=1000):
    """MobileNet-v2 of width 1."""
    g = Graph("mobilenet_v2")
    x = g.input("image", [batch, 3, size, size])
    x = g.conv(x, 3, 32, 3, stride=2, pad=1, act="relu6", name="stem")
    channels, index = 32, 0
    for expand, out, repeats, first in (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    ):  # fmt: skip
        for repeat in range(repeats):
            stride, name, before = (first if not repeat else 1), f"block{index}", x
            mid = channels * expand
            if expand > 1:
                x = g.conv(x, channels, mid, 1, act="relu6", name=f"{name}.expand")
            x = g.conv(x, mid, mid, 3, stride, 1, groups=mid, act="relu6", name=f"{name}.depthwise")
            x = g.conv(x, mid, out, 1, name=f"{name}.project")
            if stride == 1 and channels == out:
                x = g.op("Add", before, x, name=f"{name}.add")
            channels, index = out, index + 1
    x = g.conv(x, channels, 1280, 1, act="relu6", name="last")
    x = g.op("Flatten", g.op("GlobalAveragePool", x, name="mean"), name="flatten")
    x = g.gemm(x, 1280, classes, "fc")
    g.output(x, [batch, classes])
    return g.model()


def bert(layers=2, hidden=64, heads=4, seq=16, batch=1, vocabulary=100, dynamic=False):
    """An encoder as PyTorch exports BERT: `ids` of batch x seq; `dynamic` computes each Reshape from the input's shape.

    `batch` and `seq` may be names, which makes them symbolic; that needs `dynamic`.
    """
    g = Graph("bert")
    ids = g.input("ids", [batch, seq], TensorProto.INT64)
    depth = hidden // heads
    longest = seq if isinstance(seq, int) else 512
    words = g.weight("embeddings.word", vocabulary, hidden)
    places = g.weight("embeddings.position", longest, hidden)
    x = g.op("Gather", words, ids, name="embeddings/word")
    if dynamic:
        one, zero = (g.constant(key, np.array([v], np.int64)) for key, v in (("one", 1), ("zero", 0)))
        sizes = g.op("Shape", ids, name="shape")
        rows = g.op("Gather", sizes, g.constant("index0", np.array(0, np.int64)), name="shape/batch", axis=0)
        length = g.op("Gather", sizes, g.constant("index1", np.array(1, np.int64)), name="shape/seq", axis=0)
        rows, length = g.op("Unsqueeze", rows, zero), g.op("Unsqueeze", length, zero)
        used = g.op("Slice", places, zero, length, zero, one, name="embeddings/position")

        def reshape(x, name, *last):
            parts = [g.constant(f"{name}/{i}", np.array([v], np.int64)) for i, v in enumerate(last)]
            return g.op("Reshape", x, g.op("Concat", rows, length, *parts, axis=0), name=name)
    else:
        used = places

        def reshape(x, name, *last):
            return g.op("Reshape", x, g.constant(f"{name}/shape", np.array([batch, seq, *last], np.int64)), name=name)

    x = g.op("Add", x, used, name="embeddings/Add")

    def norm(x, name):
        scale = g.constant(f"{name}.weight", np.ones(hidden, np.float32))
        bias = g.constant(f"{name}.bias", np.zeros(hidden, np.float32))
        return g.op("LayerNormalization", x, scale, bias, name=name, axis=-1)

    x = norm(x, "embeddings/norm")
    root = g.constant("root", np.float32(depth**0.5))
    scalars = {key: g.constant(key, np.float32(v)) for key, v in (("sqrt2", 2**0.5), ("unit", 1), ("half", 0.5))}
    for layer in range(layers):
        at = f"layer.{layer}"
        heads_of = {}
        for part in ("query", "key", "value"):
            y = g.linear(x, hidden, hidden, f"{at}/{part}")
            y = reshape(y, f"{at}/{part}/Reshape", heads, depth)
            order = [0, 2, 3, 1] if part == "key" else [0, 2, 1, 3]
            heads_of[part] = g.op("Transpose", y, name=f"{at}/{part}/Transpose", perm=order)
        scores = g.op("MatMul", heads_of["query"], heads_of["key"], name=f"{at}/scores/MatMul")
        scores = g.op("Div", scores, root, name=f"{at}/scores/Div")
        scores = g.op("Softmax", scores, name=f"{at}/scores/Softmax", axis=-1)
        y = g.op("MatMul", scores, heads_of["value"], name=f"{at}/context/MatMul")
        y = g.op("Transpose", y, name=f"{at}/context/Transpose", perm=[0, 2, 1, 3])
        y = reshape(y, f"{at}/context/Reshape", hidden)
        y = g.linear(y, hidden, hidden, f"{at}/attention")
        x = norm(g.op("Add", y, x, name=f"{at}/attention/residual"), f"{at}/attention/norm")
        y = g.linear(x, hidden, 4 * hidden, f"{at}/intermediate")
        half = g.op("Div", y, scalars["sqrt2"], name=f"{at}/gelu/Div")
        half = g.op("Add", g.op("Erf", half, name=f"{at}/gelu/Erf"), scalars["unit"], name=f"{at}/gelu/Add")
        y = g.op("Mul", y, half, name=f"{at}/gelu/Mul")
        y = g.op("Mul", y, scalars["half"], name=f"{at}/gelu/Mul_1")
        y = g.linear(y, 4 * hidden, hidden, f"{at}/output")
        x = norm(g.op("Add", y, x, name=f"{at}/output/residual"), f"{at}/output/norm")
    g.output(x, [batch, seq, hidden])
    return g.model()


def quantized(model, form="QDQ", per_channel=True, seed=0):
    """The int8 form of a float model with fixed shapes, by onnxruntime's static quantizer.

    `form` is ``QDQ`` (DequantizeLinear -> operator -> QuantizeLinear) or ``QOperator`` (QLinearConv and the like).
    """
    from onnxruntime import quantization

    draw = np.random.default_rng(seed)

    class Reader(quantization.CalibrationDataReader):
        def __init__(self):
            self.left = [{value.name: _random(value, draw) for value in model.graph.input} for _ in range(2)]

        def get_next(self):
            return self.left.pop() if self.left else None

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "out.onnx"
        quantization.quantize_static(
            onnx.shape_inference.infer_shapes(model),
            path,
            Reader(),
            quant_format=quantization.QuantFormat[form],
            per_channel=per_channel,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        return onnx.load(path)


def quantized_dynamically(model):
    """Weights in int8, activations quantized as the model runs: DynamicQuantizeLinear with MatMulInteger."""
    from onnxruntime import quantization

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "out.onnx"
        quantization.quantize_dynamic(model, path)
        return onnx.load(path)


def _random(value, draw):
    """An input of a model with fixed shapes: normal values, or indices below 64."""
    tensor = value.type.tensor_type
    shape = [dim.dim_value for dim in tensor.shape.dim]
    if tensor.elem_type == TensorProto.INT64:
        return draw.integers(0, 64, shape)
    return draw.standard_normal(shape, np.float32)


def feeds(model, seed=0):
    """Random inputs for a model with fixed shapes, to run it."""
    draw = np.random.default_rng(seed)
    return {value.name: _random(value, draw) for value in model.graph.input}
