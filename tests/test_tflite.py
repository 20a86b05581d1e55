"""TFLite files: every layer of the reference tables, dead channels that are dead, and no input that breaks the reader."""

import hashlib
import tracemalloc

import numpy as np
import pytest
from commands import call
from hypothesis import HealthCheck, given, settings, strategies as st

pytest.importorskip("tflite")

from tables import rows
from tflite_builder import Op, T, add, build, conv, fc
from tflite_networks import TRACES, each_model, each_origin, model_path

import hwsim
from hwsim.errors import HwsimWarning, InputError
from hwsim.message import sentence
from hwsim.workload import BatchedMatmul, Conv2d, Elementwise, Embedding, Gemm, Lstm, Opaque, Pool2d, load_workload
from hwsim.workload.arena import plan_model
from hwsim.workload.tflite import read_model
from hwsim.workload.trace import read_trace
from hwsim.workload.trace_text import trace_text
from hwsim.yaml_source import parse_yaml


def read(tmp_path, *parts, **more):
    path = tmp_path / "net.tflite"
    path.write_bytes(build(*parts, **more))
    return read_model(path)


def fault(tmp_path, *parts, **more):
    with pytest.raises(InputError) as caught:
        read(tmp_path, *parts, **more)
    assert str(caught.value).startswith(str(tmp_path / "net.tflite") + ": ")
    return str(caught.value).removeprefix(str(tmp_path / "net.tflite") + ": ")


# The seven models


@each_model
def test_totals(name, origin):
    model = read_model(model_path(name, origin))
    (row,) = (row for row in rows("tflite_models") if row["model"] == name)
    net = model.workload
    assert (net.macs, net.weights, net.biases * 4) == (
        int(row["macs"]),
        int(row["weight_bytes"]),
        int(row["bias_bytes"]),
    )
    assert len(net) == int(row["ops"])
    size = model_path(name, origin).stat().st_size
    assert model.file_bytes == (int(row["file_bytes"]) if origin == "published" else size)
    assert net.peak_activation_bytes() == int(row["peak_act_bytes_estimate"])
    assert net[list(net)[int(row["peak_at_op"])].name].name == net.peak()[0]
    live = sum(layer.weight.density * layer.weights for layer in net)
    assert live == pytest.approx(net.weights * (1 - float(row["weight_sparsity"])), rel=1e-4)
    assert not model.warnings


@each_model
def test_every_layer(name, origin):
    net = read_model(model_path(name, origin)).workload
    table = [row for row in rows("tflite_layers") if row["model"] == name]
    assert len(table) == len(net)
    for layer, row in zip(net, table):
        assert layer.name.endswith(f"_{row['idx']}")
        assert (layer.macs, layer.outputs) == (int(row["macs"]), int(row["outputs"]))
        assert (layer.weights, layer.biases * 4) == (int(row["weight_bytes"]), int(row["bias_bytes"]))
        assert layer.inputs == int(row["in_act_bytes"])
        if layer.weights:
            assert 1 - layer.weight.density == pytest.approx(float(row["w_sparsity_zp"]), abs=1e-5)
            assert layer.activation == row["fused_act"].lower()
        if isinstance(layer, Conv2d):
            pads = tuple(int(row[f"pad_{side}"]) for side in ("top", "left", "bottom", "right"))
            assert layer.pad == pads
            assert (layer.r, layer.s, *layer.stride, *layer.dilation) == tuple(
                int(row[key]) for key in ("kh", "kw", "stride_h", "stride_w", "dil_h", "dil_w")
            )
            assert layer.groups == int(row["groups"])
        assert [x.dtype for x in (layer.input, layer.output)] == ["int8", "int8"]


@each_origin
def test_live_macs_of_the_pruned_network(origin):
    """Exactly the channels that can be left out: 4.12 M MACs; without the positive constants it would be 3.73 M."""
    net = read_model(model_path("vww_96_int8", origin)).workload
    convs = [layer for layer in net if isinstance(layer, Conv2d)]
    assert sum(layer.macs_live for layer in convs if layer.op == "conv" and layer.r == layer.s == 1) == 2_956_626
    assert sum(layer.macs_live for layer in convs if layer.depthwise) == 668_412
    assert net["conv_0"].macs_live == net["conv_0"].macs == 497_664
    assert net.macs_live == 2_956_626 + 668_412 + 497_664 + 2 * (256 - 234)
    # one channel of dwconv_23 has a dead input and a bias above zero: no work, and yet not zero for the next layer
    assert (net["dwconv_23"].dead_in, net["dwconv_23"].dead_out, net["conv_24"].dead_in) == (68, 67, 67)


@each_origin
@pytest.mark.parametrize("name", ["vww_96_int8", "pretrainedResnet_large_int8"])
def test_dead_channels_are_zero_when_the_network_runs(name, origin):
    interpreters = pytest.importorskip("ai_edge_litert.interpreter")
    from hwsim.workload.tflite.converter import Converter
    from hwsim.workload.tflite.file import read_tables
    from hwsim.workload.tflite.operators import MAKERS

    converter = Converter(read_tables(model_path(name, origin)), MAKERS)
    converter.workload(name)
    assert converter.dead
    runner = interpreters.Interpreter(
        str(model_path(name, origin)),
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=interpreters.OpResolverType.BUILTIN_REF,
    )
    runner.allocate_tensors()
    source = runner.get_input_details()[0]
    draw = np.random.default_rng(1)
    for _ in range(2):
        runner.set_tensor(source["index"], draw.integers(-128, 128, source["shape"], np.int8))
        runner.invoke()
        for index, mask in converter.dead.items():
            values = runner.get_tensor(index)[..., mask]
            assert (values == converter.file.tensors[index].quantization.zero_point[0]).all()


def by_density(network):
    """The network without the zeros of each channel: built models have as many zeros, elsewhere."""
    kept = [layer.with_tensors(weight={"density": layer.weight.density}) for layer in network]
    return hwsim.Workload(network.name, kept)


@each_model
def test_traces(name, origin):
    """The files in workloads/ hold what the models hold."""
    path = model_path(name, origin)
    model = read_model(path, TRACES[name])
    trace = load_workload(TRACES[name])
    assert origin == "built" or trace == model.workload
    assert list(by_density(trace)) == list(by_density(model.workload))
    assert model.digest == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    assert origin == "built" or trace.digest == model.digest
    assert trace.macs_live == model.workload.macs_live
    assert read_trace(parse_yaml(trace_text(model.workload)), load_workload) == model.workload


@each_origin
def test_values_and_quantization(origin):
    model = read_model(model_path("kws_ref_model", origin))
    first = model.operators[0]
    assert (first.code, first.options["padding"], first.options["stride_w"]) == ("CONV_2D", "SAME", 2)
    source, weights, bias = (model.tensors[index] for index in first.inputs)
    assert weights.values().shape == (64, 10, 4, 1)
    assert weights.values().dtype == np.int8
    assert not weights.values().flags.writeable
    assert (weights.quantization.scale.shape, weights.quantization.axis) == ((64,), 0)
    assert (bias.values().dtype, bias.dtype) == (np.int32, "int32")
    assert source.quantization.scale[0] == pytest.approx(0.584703, rel=1e-6)
    assert source.quantization.zero_point[0] == 83
    with pytest.raises(InputError, match="must be a dense constant of numbers"):
        source.values()


@each_origin
def test_values_are_those_of_the_interpreter(origin):
    interpreters = pytest.importorskip("ai_edge_litert.interpreter")
    model = read_model(model_path("str_ww_ref_model", origin))
    runner = interpreters.Interpreter(model.path)
    runner.allocate_tensors()
    for tensor in model.tensors:
        if tensor.data is not None:
            assert (runner.get_tensor(tensor.index) == tensor.values()).all()
    assert [i["index"] for i in runner.get_input_details()] == list(model.inputs)


# Operators


def small():
    """A convolution, a depthwise one, a sum and a fully connected layer: 4 x 4 x 3 to 5."""
    draw = np.random.default_rng(7)
    weights = draw.integers(-3, 4, (8, 3, 3, 3), np.int8)
    tensors = [
        T((1, 4, 4, 3), zero=(-1,)),
        T((8, 3, 3, 3), data=weights, scale=[0.5] * 8, zero=[0] * 8),
        T((8,), "INT32", np.arange(8, dtype=np.int32), scale=[0.5] * 8, zero=[0] * 8),
        T((1, 2, 2, 8)),
        T((1, 3, 3, 8), data=np.ones((1, 3, 3, 8), np.int8), scale=[1.0] * 8, zero=[0] * 8, axis=3),
        T((1, 2, 2, 8)),
        T((1, 2, 2, 8)),
        T((5, 32), data=np.ones((5, 32), np.int8)),
        T((1, 5)),
    ]
    operators = [
        conv([0, 1, 2], [3], stride=2, act="RELU"),
        conv([3, 4, -1], [5], DepthMultiplier=1),
        add([3, 5], [6]),
        fc([6, 7, -1], [8]),
    ]
    return tensors, operators, [0], [8]


def test_a_graph(tmp_path):
    model = read(tmp_path, *small())
    net = model.workload
    weights = model.tensors[1].values()
    assert net["conv_0"] == Conv2d(
        "conv_0", c=3, h=4, w=4, k=8, r=3, stride=2, pad="same", activation="relu",
        weight={"nonzeros": np.count_nonzero(weights, axis=(0, 1, 2)).tolist()},
    )  # fmt: skip
    assert net["conv_0"].weight.density == np.count_nonzero(weights) / weights.size
    assert net["conv_0"].pad == (0, 0, 1, 1)  # SAME puts the odd row last
    assert (net["dwconv_1"].groups, net["dwconv_1"].bias) == (8, False)
    assert net["fc_3"] == Gemm("fc_3", n=5, k=32, bias=False, window=(2, 2))
    assert net.inputs["add_2"] == ("conv_0", "dwconv_1")
    assert model.layers == {0: "conv_0", 1: "dwconv_1", 2: "add_2", 3: "fc_3"}
    assert model.constant_bytes == 8 * 27 + 8 * 4 + 72 + 160


def test_rule_of_dead_channels(tmp_path):
    """A channel is dead if its weights over live inputs are zero and its bias leaves zero after the rounding."""
    weights = np.ones((6, 1, 1, 2), np.int8)
    weights[1:] = 0
    # scale of the accumulator 0.25, of the output 1: bias 1 is 0.25 and rounds to zero, 3 is 0.75 and does not
    biases = np.array([0, 0, 1, 3, -3, 100], np.int32)
    after = np.eye(6, dtype=np.int8).reshape(6, 1, 1, 6)
    for act, dead in (("NONE", [1, 2]), ("RELU", [1, 2, 4])):
        tensors = [
            T((1, 4, 4, 2), scale=(0.5,)),
            T((6, 1, 1, 2), data=weights, scale=(0.5,)),
            T((6,), "INT32", biases),
            T((1, 4, 4, 6)),
            T((6, 1, 1, 6), data=after),
            T((1, 4, 4, 6)),
            T((1, 96)),
            T((2, 96), data=np.ones((2, 96), np.int8)),
            T((1, 2)),
        ]
        operators = [
            conv([0, 1, 2], [3], act=act),
            conv([3, 4], [5]),
            Op("RESHAPE", [5], [6]),
            fc([6, 7], [8]),
        ]
        net = read(tmp_path, tensors, operators, [0], [8]).workload
        assert net["conv_0"].dead_out == net["conv_1"].dead_in == net["conv_1"].dead_out == len(dead)
        assert net["fc_3"].dead_in == 16 * len(dead)
        assert net["conv_1"].macs_live == 16 * (6 - len(dead)) ** 2


def test_unknown_operators_are_rows_with_their_bytes(tmp_path):
    stored = T((3, 5), "INT16", np.zeros((3, 5), np.int16))
    tensors = [T((1, 4, 4, 3)), T((1, 2, 2, 12)), stored, T((1, 7)), T((1, 7))]
    operators = [
        Op("MATRIX_DIAG", [0], [1]),
        Op("My/Op:1", [1, 2, 0], [3]),
        Op(5000, [3], [4]),  # a builtin that is not known by number alone
    ]
    model = read(tmp_path, tensors, operators, [0], [4])
    net = model.workload
    assert [layer.op for layer in net][:2] == ["matrix_diag", "my_op_1"]
    assert net["my_op_1_1"] == Opaque(
        "my_op_1_1", type="my_op_1", shapes=[(12, 2, 2), (3, 4, 4)], to=(1, 7), stored=15, weight="int16"
    )
    assert (net.macs, net.weights) == (0, 15)
    assert model.warnings[0].code == "import.opaque"
    assert model.warnings[0].values == {"operator": "My/Op:1", "reason": "hwsim does not know it"}
    assert model.warnings[0].layers == ("my_op_1_1",)
    with pytest.warns(HwsimWarning) as caught:
        assert load_workload(tmp_path / "net.tflite") == net
    assert [str(item.message) for item in caught] == [
        f"{tmp_path / 'net.tflite'}: {sentence(w)}" for w in model.warnings
    ]
    assert read_trace(parse_yaml(trace_text(net)), load_workload) == net
    assert list(hwsim.simulate(hwsim.load_machine("systolic_ws"), net).layers["op"]) == [layer.op for layer in net]


def test_float_and_float16(tmp_path):
    """A float16 model widens its weights when it is loaded: they are stored, and counted, as float16."""
    given = {"scale": None}
    tensors = [
        T((1, 8), "FLOAT32", **given),
        T((4, 8), "FLOAT16", np.ones((4, 8), np.float16), **given),
        T((4, 8), "FLOAT32", **given),
        T((1, 4), "FLOAT32", **given),
    ]
    operators = [Op("DEQUANTIZE", [1], [2]), fc([0, 2], [3])]
    model = read(tmp_path, tensors, operators, [0], [3])
    layer = model.workload["fc_1"]
    assert (layer.input.dtype, layer.weight.dtype, layer.output.dtype) == ("fp32", "fp16", "fp32")
    assert not model.warnings
    assert read_trace(parse_yaml(trace_text(model.workload)), load_workload) == model.workload


def test_other_formats(tmp_path):
    pairs = np.array([0x21, 0xF0], np.uint8)  # int4: the low half comes first
    tensors = [T((1, 4), "INT16"), T((1, 4), "INT4", pairs), T((1, 1), "INT16")]
    model = read(tmp_path, tensors, [fc([0, 1], [2])], [0], [2])
    assert model.tensors[1].values().tolist() == [[1, 2, 0, -1]]
    assert model.workload["fc_0"].weight.density == 0.75
    assert (model.workload["fc_0"].weight.bits, model.workload["fc_0"].input.bits) == (4, 16)
    half = np.array([0x3F80, 0xC000], np.uint16)
    tensors = [
        T((1, 2), "FLOAT32", scale=None),
        T((1, 2), "BFLOAT16", half, scale=None),
        T((1, 1), "FLOAT32", scale=None),
    ]
    model = read(tmp_path, tensors, [fc([0, 1], [2])], [0], [2])
    assert model.tensors[1].values().tolist() == [[1.0, -2.0]]
    # zero is what the zero point says, channel by channel
    weights = np.array([[128, 0], [3, 3]], np.uint8)
    tensors = [T((1, 2), "UINT8"), T((2, 2), "UINT8", weights, scale=[1, 1], zero=[128, 3]), T((1, 2), "UINT8")]
    assert read(tmp_path, tensors, [fc([0, 1], [2])], [0], [2]).workload["fc_0"].weight.density == 0.25


def test_the_batch_is_left_out(tmp_path):
    tensors = [
        T((4, 6, 6, 2)), T((3, 3, 3, 2), data=np.ones((3, 3, 3, 2), np.int8)), T((4, 4, 4, 3)),
        T((4, 48)), T((5, 48), data=np.ones((5, 48), np.int8)), T((4, 5)),
    ]  # fmt: skip
    operators = [conv([0, 1], [2], "VALID"), Op("RESHAPE", [2], [3]), fc([3, 4], [5])]
    model = read(tmp_path, tensors, operators, [0], [5])
    assert [layer.output.shape for layer in model.workload] == [(3, 4, 4), (1, 48), (1, 5)]
    assert model.workload.macs == 16 * 54 + 240
    assert [(w.code, w.values) for w in model.warnings] == [("import.batch", {"batch": 4})]


def test_more_kinds(tmp_path):
    one = np.ones
    tensors = [
        T((1, 6, 8)),  # a sequence of 6
        *[T((4, 8), data=one((4, 8), np.int8)) for _ in range(4)],
        *[T((4, 4), data=one((4, 4), np.int8)) for _ in range(4)],
        *[T((4,), "INT32", one(4, np.int32)) for _ in range(4)],
        T((1, 4), variable=True), T((1, 4), "INT16", variable=True),
        T((1, 6, 4)),
        T((1, 4, 6)), T((2,), "INT32", one(2, np.int32), scale=None), T((1, 6, 6)), T((1, 6, 6)), T((1, 6, 12)),
    ]  # fmt: skip
    lstm = [0, *range(1, 9), -1, -1, -1, *range(9, 13), -1, -1, 13, 14]
    operators = [
        Op("UNIDIRECTIONAL_SEQUENCE_LSTM", lstm, [15], "UnidirectionalSequenceLSTMOptions", {}),
        Op("TRANSPOSE", [15, 17], [16]),
        Op("BATCH_MATMUL", [15, 16], [18], "BatchMatMulOptions", {}),
        Op("LOGISTIC", [18], [19]),
        Op("CONCATENATION", [18, 19], [20], "ConcatenationOptions", {"Axis": -1}),
    ]
    model = read(tmp_path, tensors, operators, [0], [20])
    net = model.workload
    assert net.graph
    assert not model.warnings
    assert net["lstm_0"] == Lstm("lstm_0", input_size=8, hidden_size=4, steps=6)
    assert net["matmul_2"] == BatchedMatmul("matmul_2", m=6, n=6, k=4)
    assert net["concat_4"].output.shape == (6, 12)
    assert read_trace(parse_yaml(trace_text(net)), load_workload) == net

    tensors = [
        T((1, 5), "INT32", scale=None), T((20, 8), data=one((20, 8), np.int8)), T((1, 5, 8)),
        T((), data=np.int8(3)), T((1, 5, 8)), T((1, 2, 8)), T((1, 3, 8)),
    ]  # fmt: skip
    operators = [
        Op("GATHER", [1, 0], [2], "GatherOptions", {}),
        Op("MUL", [2, 3], [4], "MulOptions", {"FusedActivationFunction": 0}),
        Op("SPLIT_V", [4], [5, 6]),
    ]
    net = read(tmp_path, tensors, operators, [0], [5, 6]).workload
    assert net["gather_0"] == Embedding("gather_0", rows=20, dim=8, tokens=5)
    assert net["mul_1"] == Elementwise("mul_1", shape=(5, 8), type="mul", n=1)
    assert [net[name].output.shape for name in ("split_v_2", "split_v_2_1")] == [(2, 8), (3, 8)]
    assert read_trace(parse_yaml(trace_text(net)), load_workload) == net


@pytest.mark.parametrize(
    ("left", "right", "options"),
    [
        ((2, 5, 7), (2, 7, 3), {}),
        ((2, 7, 5), (2, 7, 3), {"AdjX": True}),
        ((2, 5, 7), (2, 3, 7), {"AdjY": True}),
        ((2, 7, 5), (2, 3, 7), {"AdjX": True, "AdjY": True}),
    ],
)
def test_products_of_batches_are_transposed_as_the_file_says(tmp_path, left, right, options):
    """Each is of two 5 x 7 by 7 x 3 matrices."""
    tensors = [T((1, *left)), T((1, *right)), T((1, 2, 5, 3))]
    product = Op("BATCH_MATMUL", [0, 1], [2], "BatchMatMulOptions", options)
    net = read(tmp_path, tensors, [product], [0, 1], [2]).workload
    assert net["matmul_0"] == BatchedMatmul("matmul_0", b=2, m=5, n=3, k=7)


def test_pools(tmp_path):
    size = {"Padding": 1, "StrideH": 2, "StrideW": 2, "FilterHeight": 2, "FilterWidth": 2}
    axes = T((2,), "INT32", np.array([1, 2], np.int32), scale=None)
    tensors = [T((1, 5, 5, 4)), T((1, 2, 2, 4)), axes, T((1, 4))]
    operators = [Op("MAX_POOL_2D", [0], [1], "Pool2DOptions", size), Op("MEAN", [1, 2], [3], "ReducerOptions", {})]
    net = read(tmp_path, tensors, operators, [0], [3]).workload
    assert net["pool_0"] == Pool2d("pool_0", c=4, h=5, w=5, r=2)
    assert net["mean_1"] == Pool2d("mean_1", c=4, h=2, w=2, type="avg")


def stored(*shape, type="INT8"):
    return T(shape, type, np.ones(shape, {"INT8": np.int8, "INT16": np.int16, "INT32": np.int32}[type]))


def ints(*values):
    return T((len(values),), "INT32", np.array(values, np.int32), scale=None)


def test_a_transposed_convolution_multiplies_each_input_by_all_taps(tmp_path):
    """4 x 3 positions of 5 channels, each by 3 x 3 taps of 7 filters."""
    tensors = [ints(1, 9, 7, 7), stored(7, 3, 3, 5), T((1, 4, 3, 5)), stored(7, type="INT32"), T((1, 9, 7, 7))]
    options = {"Padding": 1, "StrideH": 2, "StrideW": 2}
    op = Op("TRANSPOSE_CONV", [0, 1, 2, 3], [4], "TransposeConvOptions", options)
    net = read(tmp_path, tensors, [op], [2], [4]).workload
    assert net.graph
    assert (net.macs, net.weights) == (4 * 3 * 5 * 9 * 7, 5 * 9 * 7)
    assert [layer.name for layer in net] == ["transpose_conv_0", "transpose_conv_0_fold", "transpose_conv_0_bias"]
    assert net["transpose_conv_0_bias"].output.shape == (7, 9, 7)


@pytest.mark.parametrize("rank", [1, 2])
def test_svdf_filters_features_and_time(tmp_path, rank):
    """6 filters of 13 features, and of their results in 11 steps."""
    units = 6 // rank
    tensors = [
        T((1, 13)), stored(6, 13), stored(6, 11, type="INT16"), stored(units, type="INT32"),
        T((1, 66), "INT16", variable=True), T((1, units)),
    ]  # fmt: skip
    options = {"Rank": rank, "FusedActivationFunction": 1}
    model = read(tmp_path, tensors, [Op("SVDF", [0, 1, 2, 3, 4], [5], "SVDFOptions", options)], [0], [5])
    net = model.workload
    assert net.graph
    assert net.macs == net.weights == 6 * 13 + 6 * 11
    assert net.biases == units
    assert net["svdf_0_time"].output.shape == (units, 1, 1)
    assert net["svdf_0_time"].activation == "relu"
    assert model.requests.variable_bytes == 2 * 66
    report = hwsim.simulate(hwsim.load_machine("nucleo_l4r5zi"), net)
    assert dict(report.memories[0].parts)["variables"] == 2 * 66
    assert dict(report.memories[1].parts)["weights"] == 6 * 13 + 2 * 6 * 11 + 4 * units


@pytest.mark.parametrize(
    ("left", "right", "options", "macs", "weights"),
    [
        ((1, 6, 16), stored(1, 16, 8), {}, 6 * 16 * 8, 128),
        ((1, 6, 16), stored(16, 8), {}, 6 * 16 * 8, 128),
        ((1, 6, 16), stored(8, 16), {"AdjY": True}, 6 * 16 * 8, 128),
        ((1, 3, 6, 16), stored(3, 16, 8), {}, 3 * 6 * 16 * 8, 3 * 128),
        ((1, 1, 6, 16), stored(3, 16, 8), {}, 3 * 6 * 16 * 8, 3 * 128),
        (stored(6, 16), (1, 16, 8), {}, 6 * 16 * 8, 96),
        (stored(1, 16, 6), (1, 16, 8), {"AdjX": True}, 6 * 16 * 8, 96),
        ((1, 4, 6, 16), (1, 1, 16, 8), {}, 4 * 6 * 16 * 8, 0),
        ((1, 1, 6, 16), (1, 5, 16, 8), {}, 5 * 6 * 16 * 8, 0),
        ((2, 5, 6, 16), (2, 1, 16, 8), {}, 2 * 5 * 6 * 16 * 8, 0),
        ((1, 2, 1, 6, 16), (1, 2, 5, 16, 8), {}, 10 * 6 * 16 * 8, 0),
    ],
)
def test_products_with_stored_matrices_and_with_broadcast_ones(tmp_path, left, right, options, macs, weights):
    factors = [T(item) if isinstance(item, tuple) else item for item in (left, right)]
    lead = np.broadcast_shapes(*(factor.shape[:-2] for factor in factors))
    tensors = [*factors, T((*lead, 6, 8))]
    inputs = [place for place in (0, 1) if factors[place].data is None]
    ops = [Op("BATCH_MATMUL", [0, 1], [2], "BatchMatMulOptions", options)]
    net = read(tmp_path, tensors, ops, inputs, [2]).workload
    count = 2 if lead and lead[0] == 2 else 1  # two inputs of one network
    assert (net.macs * count, net.weights) == (macs, weights)


@pytest.mark.parametrize("code", ["MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD"])
@pytest.mark.parametrize("axes", [(1,), (2,), (3,), (1, 2), (1, 3), (-1, -2), (1, 2, 3)])
def test_reductions_along_any_axes(tmp_path, code, axes):
    """Each value is read and combined once."""
    shape = (1, 7, 5, 3)
    to = tuple(1 if axis in {a % 4 for a in axes} else size for axis, size in enumerate(shape))
    options = {"KeepDims": True}
    tensors = [T(shape), ints(*axes), T(to), stored(4, to[3]), T((*to[:3], 4))]
    operators = [Op(code, [0, 1], [2], "ReducerOptions", options), fc([2, 3, -1], [4])]
    model = read(tmp_path, tensors, operators, [0], [4])
    (pool,) = (layer for layer in model.workload if isinstance(layer, Pool2d))
    assert model.workload.graph
    assert not model.warnings
    assert pool.ops == pool.inputs == 7 * 5 * 3
    assert pool.outputs == np.prod(to)


def test_a_shape_without_sizes_makes_a_scalar(tmp_path):
    empty = T((0,), "INT32", scale=None)
    tensors = [T((1, 8)), stored(1, 8), T((1, 1)), empty, T(())]
    model = read(tmp_path, tensors, [fc([0, 1, -1], [2]), Op("RESHAPE", [2, 3], [4])], [0], [4])
    assert (model.workload.macs, model.workload.weights) == (8, 8)
    assert model.workload["reshape_1"].output.shape == (1,)


def test_a_block_of_vela_is_a_row_that_names_it(tmp_path):
    """Its command stream and weights are stored; its scratch is memory that nothing writes."""
    code = T((64,), "UINT8", np.ones(64, np.uint8), scale=None)
    tensors = [T((1, 8, 8, 3)), code, T((4096,), "UINT8", scale=None), T((2048,), "UINT8", scale=None), T((1, 10))]
    model = read(tmp_path, tensors, [Op("ethos-u", [1, 2, 3, 0], [4])], [0], [4])
    (row,) = model.workload
    assert (row.op, row.weights, row.inputs, row.outputs) == ("ethos_u", 64, 192, 10)
    assert "compiled for an Ethos-U" in str(model.warnings[0].values["reason"])
    assert plan_model(model).bytes == 4096 + 2048 + 192 + 16
    message = fault(tmp_path, tensors, [Op("RELU", [2], [4])], [0], [4])
    assert message == "operator 0, RELU: must read what is written before it, not tensor 2"


def attention(tokens, *, first=None):
    """One head of 16 features over tokens that come first: 3 projections, scores, their softmax, the weighted sum."""
    tensors = [T((tokens, 16)), *(stored(16, 16) for _ in range(3)), *(T((tokens, 16)) for _ in range(3))]
    tensors += [T((tokens, tokens)), T((tokens, tokens)), T((tokens, 16))]
    operators = [fc([0, 1 + i, -1], [4 + i]) for i in range(3)]
    operators += [
        Op("BATCH_MATMUL", [4, 5], [7], "BatchMatMulOptions", {"AdjY": True}),
        Op("SOFTMAX", [7], [8], "SoftmaxOptions", {}),
        Op("BATCH_MATMUL", [8, 6], [9], "BatchMatMulOptions", {}),
    ]
    return tensors, operators, [0], [9]


def test_tokens_that_come_first_are_no_batch(tmp_path):
    model = read(tmp_path, *attention(31))
    assert model.workload.macs == 3 * 31 * 16 * 16 + 2 * 31 * 31 * 16
    (note,) = model.warnings
    assert note.code == "import.no_batch"
    assert note.values["size"] == 31
    assert model.workload.graph


@pytest.mark.parametrize("batch", [2, 7])
def test_a_batch_is_followed_through_reshapes_and_transpositions(tmp_path, batch):
    """A network of rows x 5 features, in which the batch and the rows are one axis between."""
    rows, weights = 3, stored(4, 5)
    tensors = [
        T((batch, rows, 5)), ints(-1, 5), T((batch * rows, 5)), weights, T((batch * rows, 4)), ints(batch, rows, 4),
        T((batch, rows, 4)), ints(0, 2, 1), T((batch, 4, rows)), T((batch, 4, 4)),
    ]  # fmt: skip
    operators = [
        Op("RESHAPE", [0, 1], [2]),
        fc([2, 3, -1], [4]),
        Op("RESHAPE", [4, 5], [6]),
        Op("TRANSPOSE", [6, 7], [8]),
        Op("BATCH_MATMUL", [8, 6], [9], "BatchMatMulOptions", {}),
    ]
    model = read(tmp_path, tensors, operators, [0], [9])
    assert model.workload.macs == rows * 5 * 4 + 4 * 4 * rows
    assert [w.code for w in model.warnings] == ["import.batch"]
    assert model.workload.graph


@pytest.mark.parametrize(
    ("operator", "tensors"),
    [
        (Op("MEAN", [0, 1], [2], "ReducerOptions", {"KeepDims": True}), [ints(0), T((1, 8))]),
        (Op("MUL", [0, 1], [2], "MulOptions", {}), [T((5, 8), data=np.arange(40, dtype=np.int8)), T((5, 8))]),
        (Op("SLICE", [0, 1, 1], [2]), [ints(0, 0), T((3, 8))]),
        (Op("REVERSE_V2", [0, 1], [2]), [ints(0), T((5, 8))]),
        (Op("CONCATENATION", [0, 0], [2], "ConcatenationOptions", {"Axis": 0}), [ints(0), T((10, 8))]),
        (Op("RESHAPE", [0, 1], [2]), [ints(4, 10), T((4, 10))]),
        (Op("Mystery", [0], [2]), [ints(0), T((5, 8))]),
    ],
)
def test_what_mixes_along_the_first_axis_ends_the_batch(tmp_path, operator, tensors):
    model = read(tmp_path, [T((5, 8)), *tensors], [operator], [0], [2])
    assert "import.no_batch" in {w.code for w in model.warnings}
    (layer, *_) = model.workload
    assert layer.inputs == 40 * (1 + (operator.code == "CONCATENATION"))


def test_shapes_are_constants(tmp_path):
    """A reshape to a size that is computed of the shape of its input: exporters write it for open sizes."""
    tensors = [
        T((1, 6, 5)), T((3,), "INT32", scale=None), ints(0), ints(1), ints(1), T((), "INT32", scale=None),
        T((), "INT32", np.int32(30), scale=None), T((2,), "INT32", scale=None), T((1, 30)), stored(7, 30), T((1, 7)),
    ]  # fmt: skip
    operators = [
        Op("SHAPE", [0], [1]),
        Op("STRIDED_SLICE", [1, 2, 3, 4], [5]),
        Op("PACK", [5, 6], [7], "PackOptions", {"ValuesCount": 2}),
        Op("RESHAPE", [0, 7], [8]),
        fc([8, 9, -1], [10]),
    ]
    model = read(tmp_path, tensors, operators, [0], [10])
    assert [layer.op for layer in model.workload] == ["reshape", "gemm"]
    assert model.workload.graph
    assert not model.warnings


def test_a_stored_array_counts_once(tmp_path):
    """Two layers read one array; a third has its own."""
    tensors = [T((1, 31)), stored(31, 31), T((1, 31)), T((1, 31)), stored(7, 31), T((1, 7))]
    operators = [fc([0, 1, -1], [2]), fc([2, 1, -1], [3]), fc([3, 4, -1], [5])]
    model = read(tmp_path, tensors, operators, [0], [5])
    assert (model.workload.macs, model.workload.weights) == (2 * 31 * 31 + 7 * 31, 31 * 31 + 7 * 31)
    assert model.constant_bytes == 31 * 31 + 7 * 31
    report = hwsim.simulate(hwsim.load_machine("arduino_nano33ble"), model.workload)
    flash = next(memory for memory in report.memories if memory.memory == "flash")
    assert dict(flash.parts)["weights"] == 31 * 31 + 7 * 31


def test_two_inputs_are_a_plain_trace(tmp_path):
    tensors = [T((1, 4)), T((1, 4)), T((1, 4)), T((), data=np.int8(2)), T((1, 4))]
    model = read(tmp_path, tensors, [add([0, 1], [2]), add([2, 3], [4])], [0, 1], [4])
    assert not model.workload.graph
    assert [layer.n for layer in model.workload] == [2, 1]
    assert model.warnings[0].code == "import.no_graph"
    assert model.warnings[0].values["reason"].values == {"inputs": 2}
    assert read_trace(parse_yaml(trace_text(model.workload)), load_workload) == model.workload
    assert plan_model(model).bytes == 3 * 16


# Wrong files


def changed(place, **fields):
    tensors, operators, inputs, outputs = small()
    for key, value in fields.items():
        setattr((tensors if place[0] == "t" else operators)[int(place[1:])], key, value)
    return tensors, operators, inputs, outputs


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (changed("o0", inputs=[0, 99, 2]), "operator 0, CONV_2D: inputs must be among its 9 tensors, not 99"),
        (changed("o0", outputs=[-1]), "operator 0, CONV_2D: outputs must be among its 9 tensors, not -1"),
        (changed("o0", inputs=[6, 1, 2]), "operator 0, CONV_2D: must read what is written before it, not tensor 6"),
        (changed("o1", outputs=[3]), "operator 1, DEPTHWISE_CONV_2D: must write a tensor that nothing else gives, not tensor 3"),
        (changed("o1", outputs=[4]), "operator 1, DEPTHWISE_CONV_2D: must write a tensor that nothing else gives, not tensor 4"),
        (changed("o0", version=0), "operator 0, CONV_2D: version must be from 1 to 1000, not 0"),
        (changed("o0", kind=""), "operator 0, CONV_2D: must have Conv2DOptions, not options of type 0"),
        (changed("o0", kind="AddOptions", options={}), "operator 0, CONV_2D: must have Conv2DOptions, not options of type 11"),
        (changed("o0", options=conv([], [], stride=0).options), "operator 0, CONV_2D: stride must be an integer from 1 to 2^31, not 0"),
        (changed("o0", options=conv([], []).options | {"Padding": 7}), "operator 0, CONV_2D: padding must be one of TFLite's, not 7"),
        (changed("t0", shape=(1, 9, 9, 3)), "operator 0, CONV_2D: output must have 200 values by its input and options, not 1 x 2 x 2 x 8"),
        (changed("t0", shape=(1, 4, 4, 4)), "operator 0, CONV_2D: weights must be of a part of the 4 input channels, not of 3"),
        (changed("t0", shape=(1, -4, 4, 3)), "tensor 0: shape must be at most 8 sizes, none of them negative, not (1, -4, 4, 3)"),
        (changed("t0", type=77), "tensor 0: type must be one of TFLite's, not 77"),
        (changed("t1", shape=(8, 3, 3, 2**20)), "tensor 1: must have 75497472 bytes, as a int8 of shape (8, 3, 3, 1048576) has, not 216"),
        (changed("t1", scale=[1.0] * 3), "tensor 1: must have one scale, or one for each index of axis 0, not 3"),
        (changed("t1", zero=[0] * 3), "tensor 1: must have as many zero points as scales, 8, not 3"),
        (changed("t1", scale=[np.nan] * 8), "tensor 1: scales must be finite and not negative"),
        (changed("t2", data=np.ones(9, np.int32), shape=(9,), scale=None), "operator 0, CONV_2D: bias must have a value for each of 8 outputs, not 9"),
        (changed("t7", shape=(32, 5)), "operator 3, FULLY_CONNECTED: weights must be of 5 inputs where it reads a multiple of that, not 32 values"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(tmp_path, parts, message):
    assert fault(tmp_path, *parts) == message


def test_what_is_no_model_is_told(tmp_path):
    tensors, operators, inputs, outputs = small()
    assert fault(tmp_path, tensors, operators, inputs, outputs, version=4) == "must be version 3 of the format, not 4"
    assert fault(tmp_path, tensors, operators, inputs, outputs, subgraphs=0) == "must have a subgraph"
    assert fault(tmp_path, tensors, operators, [0], [99]) == "the subgraph: outputs must be among its 9 tensors, not 99"
    message = "the subgraph: outputs must be written by an operator; tensor 8 is not"
    assert fault(tmp_path, tensors, operators[:3], [0], [8]) == message
    assert fault(tmp_path, tensors, [], [0], [0]) == "must have an operator that reads the input of the network"
    path = tmp_path / "net.tflite"
    for raw in (b"", b"TFL3", b"\0" * 100):
        path.write_bytes(raw)
        with pytest.raises(InputError, match=r"net.tflite: must be a TFLite file, with 'TFL3' at byte 4, not"):
            read_model(path)
    with pytest.raises(InputError, match=r"absent.tflite: cannot be read: No such file"):
        read_model(tmp_path / "absent.tflite")
    with pytest.raises(InputError, match="must be a file, not a directory, a pipe or a device"):
        read_model(tmp_path)


def test_huge_shapes_take_no_memory(tmp_path):
    """Shapes of what is computed cost nothing in the file: they may say anything, and nothing is made of their size."""
    big = (1, 2**15, 2**15, 8)
    tensors, operators, _, _ = small()
    tensors[0].shape = (1, 2**16, 2**16, 3)
    tensors[3].shape = tensors[5].shape = tensors[6].shape = big
    tensors += [T((1, 2**31 - 1)), T((1, 2**31 - 1))]
    reshape = [Op("RESHAPE", [6], [9]), Op("RELU", [9], [10])]
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"net\.tflite"):
            read(tmp_path, changed("t0", shape=(2**30,) * 8)[0], operators, [0], [8])
        model = read(tmp_path, tensors, operators[:3] + reshape, [0], [10])
        assert model.workload["conv_0"].outputs == 2**33
        assert plan_model(model).bytes >= 2**34
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    finally:
        tracemalloc.stop()


def test_shared_tables_are_not_read_without_end(tmp_path):
    """Ten thousand layers over one megabyte of weights is a small file and a day's work."""
    count, side = 10_000, 1024
    tensors = [
        T((1, side)),
        T((side, side), data=np.zeros((side, side), np.int8)),
        *[T((1, side)) for _ in range(count)],
    ]
    operators = [fc([0 if i == 0 else i + 1, 1], [i + 2]) for i in range(200)]
    message = fault(tmp_path, tensors[:202], operators, [0], [201])
    assert message.endswith("its tables must not share their bytes: reading them takes many times the file")


def tiny():
    """One fully connected layer, in half a kilobyte."""
    tensors = [T((1, 4)), T((2, 4), data=np.ones((2, 4), np.int8)), T((1, 2))]
    return build(tensors, [fc([0, 1], [2])], [0], [2])


def holds(path, raw):
    """Reading raw bytes gives a model or an error that names the file."""
    path.write_bytes(raw)
    try:
        model = read_model(path)
        trace_text(model.workload)
        plan_model(model)
    except InputError as error:
        assert str(path) in str(error) or "names in a trace" in str(error) or "buffers must have" in str(error)


def test_cut_off_at_every_length(tmp_path):
    raw = tiny()
    for length in range(len(raw)):
        holds(tmp_path / "net.tflite", raw[:length])


@pytest.mark.slow
def test_every_word_replaced(tmp_path):
    raw = tiny()
    for place in range(0, len(raw) - 3, 4):
        for word in (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, len(raw)):
            holds(tmp_path / "net.tflite", raw[:place] + word.to_bytes(4, "little") + raw[place + 4 :])


@pytest.mark.slow
@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_bytes_changed(tmp_path, data):
    raw = bytearray(build(*small()))
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    holds(tmp_path / "net.tflite", bytes(raw))


@pytest.mark.slow
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@each_origin
@given(data=st.data())
def test_the_file_of_a_network_changed(tmp_path, origin, data):
    raw = bytearray(model_path("kws_ref_model", origin).read_bytes())
    structure = [place for place in range(0, len(raw) - 3, 4) if raw[place + 2 : place + 4] in (b"\0\0", b"\xff\xff")]
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.sampled_from(structure))
        word = data.draw(st.one_of(st.integers(0, 80), st.integers(0, len(raw)), st.integers(0, 2**32 - 1)))
        raw[place : place + 4] = word.to_bytes(4, "little")
    holds(tmp_path / "net.tflite", bytes(raw))


# The command


@each_origin
def test_import_writes_a_trace(capsys, tmp_path, origin):
    path = model_path("vww_96_int8", origin)
    target = tmp_path / "mine.yaml"
    assert call(capsys, "import", path, "-o", target) == (0, "", "")
    assert load_workload(target) == load_workload(path)
    code, out, _ = call(capsys, "import", path, "-o", "-", "--name", "vww", "--source", "a camera")
    assert code == 0
    assert 'source: "a camera"' in out
    assert list(by_density(read_trace(parse_yaml(out), load_workload))) == list(by_density(load_workload("vww")))


def test_import_says_what_is_lost_and_what_is_wrong(capsys, tmp_path):
    path = tmp_path / "net.tflite"
    path.write_bytes(build([T((1, 4)), T((1, 4))], [Op("Mystery", [0], [1])], [0], [1]))
    code, out, err = call(capsys, "import", path, "-o", "-")
    assert code == 0
    assert "{opaque: mystery_0, type: mystery, to: [1, 4]}" in out
    assert err.startswith("hwsim: warning: mystery_0: Mystery has no model (hwsim does not know it)")
    path.write_bytes(build(*small())[:300])
    code, out, err = call(capsys, "import", path, "-o", "-")
    assert (code, out) == (2, "")
    assert err == f"hwsim: {path}: must be a whole TFLite file; a table of it leads outside or is cut off\n"
