"""The batch axis of ONNX files: MACs by hand, and equal to those of the operands that onnxruntime ran."""

import math

import numpy as np
import pytest

pytest.importorskip("onnx")

import onnx_builder as build
from onnx import TensorProto, numpy_helper
from onnx_builder import Graph
from test_onnx import runtime_tensors

from hwsim.errors import InputError
from hwsim.workload.onnx import read_model


def read(tmp_path, model, **more):
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return read_model(path, **more)


def executed_macs(model, feeds):
    """Multiply-accumulates of the products and convolutions, from the shapes that onnxruntime ran."""
    tensors = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer} | feeds
    tensors |= runtime_tensors(model, feeds)
    total = 0
    for node in model.graph.node:
        read, wrote = [tensors[name].shape for name in node.input if name], tensors[node.output[0]].shape
        if node.op_type == "MatMul":
            total += math.prod(wrote) * read[0][-1]
        elif node.op_type == "Gemm":
            turned = any(item.name == "transA" and item.i for item in node.attribute)
            total += math.prod(wrote) * read[0][0 if turned else 1]
        elif node.op_type == "Conv":
            total += math.prod(wrote) * math.prod(read[1][1:])
    return total


def attention(g, x, order):
    """One head of attention over `order`, which brings (tokens, batch, features) or (batch, tokens, features) first."""
    q, k, v = (g.op("MatMul", x, g.weight(f"w{part}", 32, 32)) for part in "qkv")
    q, v = (g.op("Transpose", part, perm=order) for part in (q, v))
    k = g.op("Transpose", k, perm=[order[0], order[2], order[1]])
    mixed = g.op("MatMul", g.op("Softmax", g.op("MatMul", q, k), axis=-1), v)
    g.output(g.op("MatMul", g.op("Transpose", mixed, perm=order), g.weight("wo", 32, 32)))


def mixing(name):
    """A network whose first axis is no batch, its input, and the MACs of the whole."""
    g = Graph()
    if name == "time-first attention":
        shape = [31, 1, 32]
        attention(g, g.input("x", shape), [1, 0, 2])
        return g, shape, 4 * 31 * 32 * 32 + 2 * 31 * 31 * 32
    if name == "transA":
        shape = [31, 31]
        g.output(g.op("Gemm", g.input("x", shape), g.weight("w", 31, 31), transA=1))
        return g, shape, 31**3
    if name == "unbatched convolution":
        shape = [31, 127]
        axes = g.constant("axes", np.array([0]))
        x = g.op("Unsqueeze", g.input("x", shape), axes)
        g.output(g.op("Squeeze", g.op("Conv", x, g.weight("w", 17, 31, 3), pads=[1, 1]), axes))
        return g, shape, 17 * 127 * 31 * 3
    if name == "position embeddings":
        shape = [31, 16]
        x = g.op("Add", g.input("x", shape), g.constant("p", g.draw.standard_normal((31, 16), np.float32)))
        g.output(g.op("MatMul", x, g.weight("w", 16, 8)))
        return g, shape, 31 * 16 * 8
    if name == "matrix of each":
        shape = [7, 3, 16]
        g.output(g.op("MatMul", g.input("x", shape), g.weight("w", 7, 16, 5)))
        return g, shape, 7 * 3 * 16 * 5
    if name == "frames of a video":  # convolutions of several images that are no batch
        shape = [5, 3, 17, 13]
        x = g.op("Conv", g.input("x", shape), g.weight("w", 8, 3, 3, 3), pads=[1] * 4, strides=[2, 2], name="conv")
        x = g.op("MaxPool", g.op("Relu", x), kernel_shape=[2, 2], strides=[2, 2])
        x = g.op("Conv", x, g.weight("w1", 4, 8, 1, 1), name="pointwise")
        g.output(g.op("ReduceMean", x, axes=[0], keepdims=0))
        return g, shape, 5 * 9 * 7 * 8 * 27 + 5 * 4 * 3 * 8 * 4
    assert name == "steps of sequences"
    shape = [5, 3, 17]
    x = g.op("Conv", g.input("x", shape), g.weight("w", 8, 3, 3), pads=[1, 1], strides=[2], name="conv")
    g.output(g.op("CumSum", x, g.constant("axis", np.array(0))))
    return g, shape, 5 * 9 * 8 * 9


@pytest.mark.parametrize(
    "name",
    [
        "time-first attention", "transA", "unbatched convolution", "position embeddings", "matrix of each",
        "frames of a video", "steps of sequences",
    ],
)  # fmt: skip
def test_an_axis_that_is_mixed_is_no_batch(tmp_path, name):
    g, shape, macs = mixing(name)
    model = g.model()
    found = read(tmp_path, model)
    assert found.workload.macs == macs == executed_macs(model, {"x": np.ones(shape, np.float32)})
    assert found.inputs == {"x": tuple(shape)}
    assert [w.code for w in found.warnings if "batch" in w.code] == ["import.no_batch"]
    assert found.workload.graph


def test_a_graph_network_counts_its_nodes(tmp_path):
    """X' = A X W: the nodes of the graph come first, and A sums over them."""
    g = Graph()
    adjacency, x = g.input("a", [31, 31]), g.input("x", [31, 16])
    g.output(g.op("MatMul", adjacency, g.op("MatMul", x, g.weight("w", 16, 7))))
    assert read(tmp_path, g.model()).workload.macs == 31 * 16 * 7 + 31 * 31 * 7


def batched(name, b):
    """A network whose batch moves through its operators, with a batch of `b`."""
    g = Graph()
    if name == "batch-first attention":
        attention(g, g.input("x", [b, 31, 32]), [0, 1, 2])
    elif name == "tokens merged with the batch":
        x = g.op("Reshape", g.input("x", [b, 31, 16]), g.constant("rows", np.array([-1, 16])))
        x = g.op("Gemm", x, g.weight("w", 16, 12), name="gemm")
        g.output(g.op("Reshape", x, g.constant("back", np.array([b, 31, 12]))))
    elif name == "recurrent":  # as PyTorch writes batch_first
        x = g.op("Transpose", g.input("x", [b, 11, 8]), perm=[1, 0, 2])
        states = [g.op("ConstantOfShape", g.constant(f"s{i}", np.array([1, b, 16]))) for i in range(2)]
        x, _, _ = g.op("LSTM", x, g.weight("w", 1, 64, 8), g.weight("r", 1, 64, 16), "", "", *states, hidden_size=16,
                       outputs=3, name="lstm")  # fmt: skip
        x = g.op("Transpose", g.op("Squeeze", x, g.constant("axis", np.array([1]))), perm=[1, 0, 2])
        g.output(g.op("MatMul", x, g.weight("v", 16, 5)))
    elif name == "dynamic quantization":
        q, scale, zero = g.op("DynamicQuantizeLinear", g.input("x", [b, 16]), outputs=3)
        w = g.constant("w", g.draw.integers(-9, 9, (16, 6)).astype(np.int8))
        x = g.op("Cast", g.op("MatMulInteger", q, w, zero, name="fc"), to=TensorProto.FLOAT)
        g.output(g.op("Mul", x, g.op("Mul", scale, g.constant("ws", np.array(0.1, np.float32)))))
    elif name == "class token":
        x = g.input("x", [b, 6, 16])
        token = g.op("Expand", g.weight("cls", 1, 1, 16), g.constant("sizes", np.array([b, 1, 16])))
        g.output(g.op("MatMul", g.op("Concat", token, x, axis=1), g.weight("w", 16, 4)))
    elif name == "last step":
        x = g.op("Gather", g.input("x", [b, 6, 16]), g.constant("last", np.array(-1)), axis=1)
        g.output(g.op("Gemm", x, g.weight("w", 16, 4)))
    elif name == "channel shuffle":
        x = g.input("x", [b, 6, 5, 5])
        x = g.op("Reshape", x, g.constant("split", np.array([b, 2, 3, 5, 5])))
        x = g.op("Transpose", x, perm=[0, 2, 1, 3, 4])
        x = g.op("Reshape", x, g.constant("join", np.array([b, 6, 5, 5])))
        g.output(g.op("Conv", x, g.weight("w", 4, 6, 3, 3), name="conv"))
    elif name == "windows in the batch":  # as Swin: the windows of an image join the batch
        x = g.op("Reshape", g.input("x", [b, 4, 4, 8]), g.constant("cut", np.array([b, 2, 2, 2, 2, 8])))
        x = g.op("Transpose", x, perm=[0, 1, 3, 2, 4, 5])
        x = g.op("Reshape", x, g.constant("windows", np.array([4 * b, 4, 8])))
        x = g.op("MatMul", x, g.op("Transpose", x, perm=[0, 2, 1]))
        g.output(g.op("Reshape", x, g.constant("join", np.array([b, 64]))))
    else:
        assert name == "einsum"
        g.output(g.op("Einsum", g.input("x", [b, 7, 5]), g.weight("w", 5, 3), equation="bti,io->bto"))
    return g.model()


def repeated(name, b):
    """A network with a constant that has the same values for each of a batch of `b`, and the feeds of a run."""
    g = Graph(opset=23)
    x = g.input("x", [b, 16, 31])
    feeds = {"x": np.ones((b, 16, 31), np.float32)}

    def same(*shape):
        return g.constant("c", np.repeat(g.draw.standard_normal((1, *shape), np.float32), b, axis=0))

    if name == "stored rows":
        g.output(g.op("MatMul", same(5, 16), x))
    elif name == "tiled":
        g.output(g.op("MatMul", g.op("Tile", g.weight("w", 1, 5, 16), g.constant("n", np.array([b, 1, 1]))), x))
    elif name == "expanded, of many values":
        c = g.op("Expand", g.weight("w", 1, 127, 16), g.constant("n", np.array([b, 127, 16])))
        g.output(g.op("MatMul", c, x))
    elif name == "filled":
        g.output(g.op("MatMul", g.op("ConstantOfShape", g.constant("n", np.array([b, 127, 16]))), x))
    elif name == "of heads":
        x = g.op("Reshape", x, g.constant("split", np.array([b, 4, 4, 31])))
        g.output(g.op("MatMul", same(4, 5, 4), x))
    elif name == "heads in the batch":
        x = g.op("Reshape", x, g.constant("split", np.array([4 * b, 4, 31])))
        w = g.constant("c", np.tile(g.draw.standard_normal((4, 5, 4), np.float32), (b, 1, 1)))
        g.output(g.op("Reshape", g.op("MatMul", w, x), g.constant("join", np.array([b, 20, 31]))))
    elif name == "einsum":
        g.output(g.op("Einsum", same(5, 16), x, equation="bqd,bdk->bqk"))
    else:
        assert name == "stored query"
        k = g.op("Reshape", x, g.constant("keys", np.array([b, 31, 16])))
        g.output(g.op("Attention", same(5, 16), k, k, q_num_heads=2, kv_num_heads=2))
    model = g.model(check=False)
    model.ir_version = 10
    return model, feeds


@pytest.mark.parametrize(
    ("name", "macs", "weights"),
    [
        ("stored rows", 5 * 16 * 31, 80), ("tiled", 5 * 16 * 31, 80), ("einsum", 5 * 16 * 31, 80),
        ("expanded, of many values", 127 * 16 * 31, 127 * 16), ("filled", 127 * 16 * 31, 127 * 16),
        ("of heads", 4 * 5 * 4 * 31, 80), ("heads in the batch", 4 * 5 * 4 * 31, 80),
        ("stored query", 2 * 5 * 16 * 31, 80),
    ],
)  # fmt: skip
def test_a_constant_that_is_the_same_for_each_of_a_batch_counts_once(tmp_path, name, macs, weights):
    model, feeds = repeated(name, 7)
    runtime_tensors(model, feeds)  # onnxruntime takes the file
    found = read(tmp_path, model)
    assert (found.workload.macs, found.workload.weights) == (macs, weights)
    assert [w.code for w in found.warnings if "batch" in w.code] == ["import.batch"]


@pytest.mark.parametrize(
    "name",
    [
        "batch-first attention", "tokens merged with the batch", "recurrent", "dynamic quantization", "class token",
        "last step", "channel shuffle", "windows in the batch", "einsum",
    ],
)  # fmt: skip
def test_the_layers_are_those_of_one_of_a_batch(tmp_path, name):
    one, seven = (read(tmp_path, batched(name, b)) for b in (1, 7))
    assert one.workload.macs == seven.workload.macs
    assert [(x.name, x.macs, x.weights, x.output.shape) for x in one.workload] == [
        (x.name, x.macs, x.weights, x.output.shape) for x in seven.workload
    ]
    told = [(w.code, w.values) for w in seven.warnings if "batch" in w.code]
    assert told == [("import.batch", {"batch": 7})]


def test_a_state_has_the_batch_on_another_axis(tmp_path):
    """The state of a recurrent network is (directions, batch, features)."""
    g = Graph()
    x, h = g.input("x", [3, 11, 8]), g.input("h", [1, 3, 16])
    x = g.op("Transpose", x, perm=[1, 0, 2])
    y, _ = g.op("GRU", x, g.weight("w", 1, 48, 8), g.weight("r", 1, 48, 16), "", "", h, hidden_size=16, outputs=2)
    g.output(g.op("Squeeze", y, g.constant("axis", np.array([1]))))
    found = read(tmp_path, g.model())
    assert found.inputs == {"x": (1, 11, 8), "h": (1, 1, 16)}
    assert found.workload.macs == 11 * 48 * (8 + 16)


def test_a_sequence_by_its_name_is_no_batch(tmp_path):
    g = Graph()
    x = g.input("x", ["sequence", 16])
    g.output(g.op("MatMul", x, g.weight("w", 16, 5)), ["sequence", 5])
    found = read(tmp_path, g.model(), shape={"sequence": 31})
    assert found.workload.macs == 31 * 16 * 5


def test_a_batch_of_the_user_is_one_input(tmp_path):
    model = build.bert(layers=1, hidden=32, heads=4, seq="sequence", batch="batch", dynamic=True)
    one, five = (read(tmp_path, model, shape={"batch": b, "sequence": 8}) for b in (1, 5))
    assert one.workload == five.workload


def test_open_sizes_of_old_exporters(tmp_path):
    """-1 is an open batch."""
    g = Graph()
    g.input("x", [-1, 3, 8, 8])
    g.output(g.op("Conv", "x", g.weight("w", 4, 3, 3, 3)), [-1, 4, 6, 6])
    found = read(tmp_path, g.model(check=False))
    assert found.workload.macs == 4 * 36 * 27
    assert found.warnings[0].code == "import.default_batch"


def test_weights_without_values_count_by_their_shape(tmp_path):
    g = Graph()
    x = g.input("x", [1, 16])
    g.constants.append(TensorProto(name="w", data_type=TensorProto.BFLOAT16, dims=[16, 31]))
    g.output(g.op("MatMul", x, "w"), [1, 31])
    found = read(tmp_path, g.model(check=False))
    assert (found.workload.macs, found.workload.weights) == (16 * 31, 16 * 31)
    assert [(w.code, w.values) for w in found.warnings] == [("import.absent", {"constants": 1})]


def test_operators_without_a_shape_rule_in_old_opsets(tmp_path):
    g = Graph(opset=9)
    kept, _ = g.op("Dropout", g.input("x", [1, 3, 8, 8]), outputs=2, name="dropout")
    g.output(g.op("Conv", kept, g.weight("w", 4, 3, 3, 3)), [1, 4, 6, 6])
    assert read(tmp_path, g.model(check=False)).workload.macs == 4 * 36 * 27
    for opset in (12, 13, 15, 16):
        g = Graph(opset=opset)
        flag = g.op("GreaterOrEqual", g.input("x", [1, 3, 8, 8]), g.constant("t", np.array(0.5, np.float32)))
        g.output(g.op("Conv", g.op("Cast", flag, to=1), g.weight("w", 2, 3, 1, 1)), [1, 2, 8, 8])
        assert read(tmp_path, g.model(check=False)).workload.macs == 64 * 2 * 3


def test_an_open_axis_that_is_no_batch_is_told(tmp_path):
    g = Graph()
    y, _ = g.op("GRU", g.input("x", ["n", 1, 8]), g.weight("w", 1, 48, 8), g.weight("r", 1, 48, 16), hidden_size=16,
                outputs=2)  # fmt: skip
    g.output(y, ["n", 1, 1, 16])
    model = g.model(check=False)
    (told,) = (w for w in read(tmp_path, model).warnings if w.code == "import.open_axis")
    assert "GRU" in told.values["reason"]
    assert "steps along it; --shape sets its size" in str(told)
    assert read(tmp_path, model, shape={"n": 31}).workload.macs == 31 * 48 * (8 + 16)
    assert {w.code for w in read(tmp_path, batched("last step", 1)).warnings} == set()


def test_the_states_of_one_sequence_do_not_make_a_batch(tmp_path):
    """Two layers of states come first; the input has a batch of one."""
    g = Graph()
    x, h = g.input("x", [1, 16]), g.input("h", [2, 1, 16])
    g.output(g.op("Add", x, g.op("Gather", h, g.constant("first", np.array(0)), axis=0)))
    assert [w.code for w in read(tmp_path, g.model()).warnings if "batch" in w.code] == []


def test_a_suggested_size_is_one_that_can_be_read(tmp_path):
    """A window of 256 samples, and a state between a layer and its features."""
    g = Graph()
    x, h = g.input("x", [None, None]), g.input("h", [2, None, 16])
    x = g.op("Unsqueeze", x, g.constant("axis", np.array([1])))
    g.output(g.op("Conv", x, g.weight("w", 4, 1, 256), strides=[64]), [None, 4, None])
    g.output(g.op("Relu", h), [2, None, 16])
    model = g.model(check=False)
    with pytest.raises(InputError, match=r"as with --shape x=1x512,h=2x1x16$"):
        read(tmp_path, model)
    found = read(tmp_path, model, shape={"x": (1, 512), "h": (2, 1, 16)})
    assert found.workload.macs == 4 * 5 * 256
