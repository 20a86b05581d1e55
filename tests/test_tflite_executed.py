"""TFLite operators against an execution: products that ran are counted, and shapes of resized inputs are the same."""

import tracemalloc

import numpy as np
import pytest

pytest.importorskip("tflite")
pytest.importorskip("ai_edge_litert.interpreter")

from importlib import import_module

from tflite_builder import Op, T, build

import hwsim
from hwsim.errors import InputError
from hwsim.workload.tflite import read_model


def floats(*shape, data=None):
    return T(shape, "FLOAT32", data, scale=None)


def ones(*shape):
    return floats(*shape, data=np.ones(shape, np.float32))


def zeros(size):
    return floats(size, data=np.zeros(size, np.float32))


def ints(*values, shape=None):
    return T(shape or (len(values),), "INT32", np.array(values, np.int32), scale=None)


def interpreter(path):
    module = import_module("ai_edge_litert.interpreter")
    return module.Interpreter(
        str(path), experimental_op_resolver_type=module.OpResolverType.BUILTIN_REF, num_threads=1,
        experimental_preserve_all_tensors=True,
    )  # fmt: skip


def run_on_ones(path, place, shape):
    """The interpreter after a run of a network with one input, at this place, that is all ones."""
    runs = interpreter(path)
    runs.allocate_tensors()
    runs.set_tensor(place, np.ones(shape, np.float32))
    runs.invoke()
    return runs


def written(tmp_path, tensors, operators, inputs, outputs):
    path = tmp_path / "net.tflite"
    path.write_bytes(build(tensors, operators, inputs, outputs))
    return path


VALID = {"Padding": 1, "StrideH": 2, "StrideW": 1, "FusedActivationFunction": 0}
DILATED = {"DilationHFactor": 1, "DilationWFactor": 2}
PLAIN = {"FusedActivationFunction": 0}
#: Operators that are sums of products, on odd sizes without padding: what each reads, and its output.
PRODUCTS = {
    "convolution": ("CONV_2D", "Conv2DOptions", VALID | DILATED, [floats(1, 9, 13, 5), ones(7, 3, 2, 5), zeros(7)], (1, 4, 11, 7)),
    "grouped": ("CONV_2D", "Conv2DOptions", VALID | {"DilationHFactor": 1, "DilationWFactor": 1},
                [floats(1, 9, 7, 6), ones(4, 3, 1, 3), zeros(4)], (1, 4, 7, 4)),
    "depthwise": ("DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions", VALID | DILATED | {"DepthMultiplier": 3},
                  [floats(1, 9, 13, 5), ones(1, 3, 2, 15), zeros(15)], (1, 4, 11, 15)),
    "dense": ("FULLY_CONNECTED", "FullyConnectedOptions", PLAIN, [floats(1, 31), ones(7, 31)], (1, 7)),
    "dense rows": ("FULLY_CONNECTED", "FullyConnectedOptions", PLAIN | {"KeepNumDims": True},
                   [floats(1, 3, 5, 31), ones(7, 31)], (1, 3, 5, 7)),
    "transposed": ("TRANSPOSE_CONV", "TransposeConvOptions", {"Padding": 1, "StrideH": 2, "StrideW": 2},
                   [ints(1, 9, 7, 3), ones(3, 3, 3, 5), floats(1, 4, 3, 5)], (1, 9, 7, 3)),
    "product": ("BATCH_MATMUL", "BatchMatMulOptions", {}, [floats(1, 3, 6, 17), floats(1, 3, 17, 9)], (1, 3, 6, 9)),
    "turned": ("BATCH_MATMUL", "BatchMatMulOptions", {"AdjX": True, "AdjY": True},
               [floats(1, 17, 6), floats(1, 9, 17)], (1, 6, 9)),
    "shared": ("BATCH_MATMUL", "BatchMatMulOptions", {}, [floats(1, 4, 6, 17), floats(1, 1, 17, 9)], (1, 4, 6, 9)),
    "spread": ("BATCH_MATMUL", "BatchMatMulOptions", {}, [floats(1, 1, 6, 17), floats(1, 4, 17, 9)], (1, 4, 6, 9)),
    "stored": ("BATCH_MATMUL", "BatchMatMulOptions", {}, [floats(1, 5, 6, 17), ones(5, 17, 9)], (1, 5, 6, 9)),
    "stored first": ("BATCH_MATMUL", "BatchMatMulOptions", {}, [ones(6, 17), floats(1, 17, 9)], (1, 6, 9)),
}  # fmt: skip


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_that_ran(tmp_path, name):
    """With ones everywhere, a value of the output is the number of its products."""
    code, kind, options, reads, to = PRODUCTS[name]
    inputs = [index for index, tensor in enumerate(reads) if tensor.data is None]
    operator = Op(code, [*range(len(reads))], [len(reads)], kind, options)
    path = written(tmp_path, [*reads, floats(*to)], [operator], inputs, [len(reads)])
    runs = interpreter(path)
    runs.allocate_tensors()
    for index in inputs:
        runs.set_tensor(index, np.ones(reads[index].shape, np.float32))
    runs.invoke()
    model = read_model(path)
    assert model.workload.macs == int(runs.get_tensor(len(reads)).sum())
    stored = sum(tensor.data.size for tensor in reads if tensor.data is not None and len(tensor.shape) > 1)
    assert model.workload.weights == stored


def network():
    """Convolution, pool, reshape, dense layer, concatenation, mean: sizes of a keyword spotter."""
    tensors = [
        floats(1, 12, 10, 3), ones(8, 3, 3, 3), floats(1, 6, 5, 8), floats(1, 3, 3, 8),
        ints(0, 0, 1, 1, 1, 1, 0, 0, shape=(4, 2)), floats(1, 5, 5, 8), ints(1, 2), floats(1, 8), ones(4, 8),
        floats(1, 4), floats(1, 12), floats(1, 12), zeros(8),
    ]  # fmt: skip
    same = {"Padding": 0, "StrideH": 2, "StrideW": 2, "FusedActivationFunction": 0}
    operators = [
        Op("CONV_2D", [0, 1, 12], [2], "Conv2DOptions", same | {"DilationHFactor": 1, "DilationWFactor": 1}),
        Op("MAX_POOL_2D", [2], [3], "Pool2DOptions", same | {"FilterHeight": 2, "FilterWidth": 2}),
        Op("PAD", [3, 4], [5], "PadOptions", {}),
        Op("MEAN", [5, 6], [7], "ReducerOptions", {}),
        Op("FULLY_CONNECTED", [7, 8, -1], [9], "FullyConnectedOptions", PLAIN),
        Op("CONCATENATION", [9, 7], [10], "ConcatenationOptions", PLAIN | {"Axis": -1}),
        Op("SOFTMAX", [10], [11], "SoftmaxOptions", {"Beta": 1.0}),
    ]
    return tensors, operators, [0], [11]


@pytest.mark.parametrize("shape", [(1, 12, 10, 3), (1, 31, 127, 3), (1, 7, 2, 3), (5, 12, 10, 3), (2, 33, 17, 3)])
def test_shapes_of_resized_inputs_are_those_of_the_interpreter(tmp_path, shape):
    path = written(tmp_path, *network())
    runs = interpreter(path)
    runs.resize_tensor_input(0, shape)
    runs.allocate_tensors()
    model = read_model(path, shape={"t0": shape})
    expected = {item["index"]: tuple(item["shape"]) for item in runs.get_tensor_details()}
    for op in model.operators:
        for index in op.outputs:
            assert model.tensors[index].shape == expected[index]
    rows, columns = -(-shape[1] // 2), -(-shape[2] // 2)
    assert model.workload.macs == rows * columns * 8 * 27 + 32


@pytest.mark.parametrize("size", [1, 2, 31, 128])
def test_axes_that_come_and_go(tmp_path, size):
    """A file of one sample, whose sizes are all 1: only its signatures tell its axes apart."""
    tensors = [
        floats(1, 1), ints(1), floats(1, 1, 1), floats(1, 1), ints(1, -1, 1, 1), floats(1, 1, 1, 1), floats(1, 1),
    ]  # fmt: skip
    for index, signature in ((0, (1, -1)), (2, (1, 1, -1)), (3, (1, -1)), (5, (1, -1, 1, 1)), (6, (1, -1))):
        tensors[index].signature = signature
    operators = [
        Op("EXPAND_DIMS", [0, 1], [2], "ExpandDimsOptions", {}),
        Op("SQUEEZE", [2], [3]),
        Op("RESHAPE", [3, 4], [5], "ReshapeOptions", {}),
        Op("SQUEEZE", [5], [6]),
    ]
    path = written(tmp_path, tensors, operators, [0], [6])
    model = read_model(path, shape={"t0": (1, size)})
    shapes = [model.tensors[op.outputs[0]].shape for op in model.operators]
    assert shapes == [(1, 1, size), (1, size), (1, size, 1, 1), (1, size)]


def test_sizes_that_do_not_fit_are_told(tmp_path):
    path = written(tmp_path, [floats(1, 4, 5), ints(1, 20), floats(1, 20), ones(3, 20), floats(1, 3)], [
        Op("RESHAPE", [0, 1], [2]), Op("FULLY_CONNECTED", [2, 3, -1], [4], "FullyConnectedOptions", PLAIN),
    ], [0], [4])  # fmt: skip
    with pytest.raises(InputError, match=r"net.tflite: operator 1, FULLY_CONNECTED: its output has no shape"):
        read_model(path, shape={"t0": (1, 7, 5)})
    with pytest.raises(InputError, match="shape must be of an input, not 'tt'; valid: 't0'"):
        read_model(path, shape={"tt": (1, 7, 5)})
    with pytest.raises(InputError, match="input 't0': shape must have 3 sizes, not 2"):
        read_model(path, shape={"t0": (1, 7)})
    with pytest.raises(InputError, match=r"input 't0': shape must be sizes from 1 to 2\^31, not \(1, 0, 5\)"):
        read_model(path, shape={"t0": (1, 0, 5)})


def test_open_sizes_are_told(tmp_path):
    tensors, operators, inputs, outputs = network()
    path = written(tmp_path, tensors, operators, inputs, outputs)
    assert not read_model(path).warnings
    tensors[0].signature = (-1, 12, 10, 3)  # a batch alone
    assert not read_model(written(tmp_path, tensors, operators, inputs, outputs)).warnings
    tensors[0].signature = (-1, -1, -1, 3)
    (note,) = read_model(written(tmp_path, tensors, operators, inputs, outputs)).warnings
    assert (note.code, note.values["sizes"]) == ("import.open_sizes", "? x ? x ? x 3")
    assert hwsim.load_workload(path, shape={"t0": [1, 40, 40, 3]}).macs == 400 * 8 * 27 + 32
    tensors[0].shape, operators[0].options["Padding"] = (1, 1, 1, 3), 1
    with pytest.raises(InputError, match=r"(?s)window must fit.*input 't0' is [?x ]* 3; .* --shape sets them"):
        read_model(written(tmp_path, tensors, operators, inputs, outputs))


def state(batch, size):
    return T((batch, size), "FLOAT32", variable=True, scale=None)


def lstm_operands(tensors, size, hidden, width, coupled=False, peepholes=False):
    """Indices of the operands after the input of an LSTM: weights, peepholes, biases, projection."""

    def put(*shape):
        tensors.append(ones(*shape))
        return len(tensors) - 1

    first = -1 if coupled else None
    inputs = [first or put(hidden, size), *(put(hidden, size) for _ in range(3))]
    states = [first or put(hidden, width), *(put(hidden, width) for _ in range(3))]
    holes = [first or put(hidden), put(hidden), put(hidden)] if peepholes else [-1] * 3
    biases = [first or put(hidden), *(put(hidden) for _ in range(3))]
    return [*inputs, *states, *holes, *biases, *([put(width, hidden), -1] if width != hidden else [-1, -1])]


@pytest.mark.parametrize(
    ("options", "batch", "major"),
    [({}, 1, False), ({}, 1, True), ({"coupled": True}, 1, False), ({"peepholes": True}, 1, False), ({}, 3, True)],
)
@pytest.mark.parametrize("width", [7, 4])
def test_lstms_are_counted_by_their_matrices(tmp_path, options, batch, major, width):
    """11 steps of 5 inputs and 7 cells; the interpreter takes the file, so its shapes are right."""
    shape = (11, batch) if major else (batch, 11)
    tensors = [floats(*shape, 5)]
    reads = lstm_operands(tensors, 5, 7, width, **options)
    tensors += [state(batch, width), state(batch, 7), floats(*shape, width)]
    last = len(tensors) - 1
    operator = Op(
        "UNIDIRECTIONAL_SEQUENCE_LSTM", [0, *reads, last - 2, last - 1], [last], "UnidirectionalSequenceLSTMOptions",
        {"TimeMajor": major, "FusedActivationFunction": 4},
    )  # fmt: skip
    path = written(tmp_path, tensors, [operator], [0], [last])
    runs = interpreter(path)
    runs.allocate_tensors()
    runs.invoke()
    net = read_model(path).workload
    gates = 3 if options.get("coupled") else 4
    matrices = gates * 7 * (5 + width) + (7 * width if width != 7 else 0)
    assert net.weights == matrices
    assert net.macs == 11 * batch * matrices  # the first axis is time, so the whole file is counted
    vectors = sum(1 for index in reads if index >= 0 and len(tensors[index].shape) == 1)
    assert net.biases == 7 * vectors


@pytest.mark.parametrize("merged", [False, True])
def test_a_bidirectional_lstm_has_two_sets_of_matrices(tmp_path, merged):
    tensors = [floats(1, 11, 5)]
    reads = [0, *lstm_operands(tensors, 5, 7, 7), *lstm_operands(tensors, 5, 7, 7)]
    at = len(tensors)
    tensors += [state(1, 7) for _ in range(4)]
    outs = [floats(1, 11, 14)] if merged else [floats(1, 11, 7), floats(1, 11, 7)]
    tensors += outs
    outputs = [at + 4 + place for place in range(len(outs))]
    options = {"MergeOutputs": merged, "FusedActivationFunction": 4, "TimeMajor": False}
    operator = Op(
        "BIDIRECTIONAL_SEQUENCE_LSTM", [*reads, at, at + 1, at + 2, at + 3, *[-1] * 9], outputs,
        "BidirectionalSequenceLSTMOptions", options,
    )  # fmt: skip
    path = written(tmp_path, tensors, [operator], [0], outputs)
    runs = interpreter(path)
    runs.allocate_tensors()
    model = read_model(path)
    assert model.workload.macs == 2 * 11 * 4 * 7 * 12
    assert model.workload.graph
    assert not model.warnings


@pytest.mark.parametrize(("code", "shape"), [("RNN", (1, 5)), ("UNIDIRECTIONAL_SEQUENCE_RNN", (1, 11, 5))])
def test_rnns(tmp_path, code, shape):
    tensors = [floats(*shape), ones(7, 5), ones(7, 7), ones(7), state(1, 7), floats(*shape[:-1], 7)]
    kind = "RNNOptions" if code == "RNN" else "SequenceRNNOptions"
    path = written(tmp_path, tensors, [Op(code, [0, 1, 2, 3, 4], [5], kind, {"FusedActivationFunction": 1})], [0], [5])
    runs = interpreter(path)
    runs.allocate_tensors()
    net = read_model(path).workload
    assert net.macs == np.prod(shape[1:-1], dtype=int) * 7 * 12
    assert net.weights == 7 * 12


def test_convolutions_of_volumes_that_ran(tmp_path):
    options = {"Padding": 1, "StrideD": 1, "StrideH": 2, "StrideW": 1, "FusedActivationFunction": 0}
    options |= {"DilationDFactor": 1, "DilationHFactor": 1, "DilationWFactor": 1}
    tensors = [floats(1, 5, 9, 7, 3), ones(2, 3, 2, 3, 11), floats(1, 4, 4, 6, 11)]
    path = written(tmp_path, tensors, [Op("CONV_3D", [0, 1], [2], "Conv3DOptions", options)], [0], [2])
    runs = interpreter(path)
    runs.allocate_tensors()
    runs.set_tensor(0, np.ones((1, 5, 9, 7, 3), np.float32))
    runs.invoke()
    assert read_model(path).workload.macs == int(runs.get_tensor(2).sum())


def test_several_images_of_a_transposed_convolution(tmp_path):
    """Three images, of which a softmax over them makes one network: no batch."""
    tensors = [
        ints(3, 9, 7, 3), ones(3, 3, 3, 5), floats(3, 4, 3, 5), floats(3, 9, 7, 3), ints(3, 1, 2, 0), floats(3, 3, 9, 7),
        ints(0), floats(1, 3, 9, 7),
    ]  # fmt: skip
    operators = [
        Op("TRANSPOSE_CONV", [0, 1, 2], [3], "TransposeConvOptions", {"Padding": 1, "StrideH": 2, "StrideW": 2}),
        Op("TRANSPOSE", [3, 4], [5], "TransposeOptions", {}),
        Op("SUM", [5, 6], [7], "ReducerOptions", {"KeepDims": True}),
    ]
    path = written(tmp_path, tensors, operators, [2], [7])
    runs = run_on_ones(path, 2, (3, 4, 3, 5))
    model = read_model(path)
    assert model.workload.macs == int(runs.get_tensor(3).sum())
    assert model.workload.weights == 3 * 9 * 5
    assert "import.opaque" not in {warning.code for warning in model.warnings}


def test_images_that_are_no_batch_are_rows_of_one_stored_array(tmp_path):
    """Blocks of one image as images: the convolution of TensorFlow with a dilation of 2."""
    corners = ints(0, 0, 0, 0, shape=(2, 2))
    tensors = [
        floats(1, 8, 6, 3), ints(2, 2), corners, floats(4, 4, 3, 3), ones(5, 3, 3, 3), zeros(5), floats(4, 2, 1, 5),
        floats(1, 4, 2, 5),
    ]  # fmt: skip
    options = {"Padding": 1, "StrideH": 1, "StrideW": 1, "FusedActivationFunction": 0}
    options |= {"DilationHFactor": 1, "DilationWFactor": 1}
    operators = [
        Op("SPACE_TO_BATCH_ND", [0, 1, 2], [3], "SpaceToBatchNDOptions", {}),
        Op("CONV_2D", [3, 4, 5], [6], "Conv2DOptions", options),
        Op("BATCH_TO_SPACE_ND", [6, 1, 2], [7], "BatchToSpaceNDOptions", {}),
    ]
    path = written(tmp_path, tensors, operators, [0], [7])
    runs = run_on_ones(path, 0, (1, 8, 6, 3))
    model = read_model(path)
    assert model.workload.macs == int(runs.get_tensor(7).sum())
    assert model.workload.weights == 5 * 27
    assert model.workload.graph


def branch(size, layers):
    """A subgraph of dense layers of `size`, with the weights that it stores."""
    tensors, operators = [floats(1, size)], []
    for _ in range(layers):
        tensors += [ones(size, size), floats(1, size)]
        last = len(tensors) - 1
        operators.append(Op("FULLY_CONNECTED", [last - 2, last - 1, -1], [last], "FullyConnectedOptions", PLAIN))
    return tensors, operators, [0], [len(tensors) - 1]


def test_the_branch_that_runs_is_counted_and_both_are_stored(tmp_path):
    """A condition chooses between one layer and three, after a layer of the network."""
    tensors = [floats(1, 31), ones(31, 31), floats(1, 31), T((1,), "BOOL", np.ones(1, np.bool_), scale=None)]
    tensors += [floats(1, 31)]
    operators = [
        Op("FULLY_CONNECTED", [0, 1, -1], [2], "FullyConnectedOptions", PLAIN),
        Op("IF", [3, 2], [4], "IfOptions", {"ThenSubgraphIndex": 1, "ElseSubgraphIndex": 2}),
    ]
    path = tmp_path / "net.tflite"
    path.write_bytes(build(tensors, operators, [0], [4], others=[branch(31, 1), branch(31, 3)]))
    runs = run_on_ones(path, 0, (1, 31))
    assert runs.get_tensor(4).tolist() == [[31.0**2] * 31]  # two layers
    model = read_model(path)
    assert model.workload.macs == 2 * 31 * 31
    assert model.workload.weights == 5 * 31 * 31
    assert model.workload.graph
    assert not model.warnings


def test_the_costlier_branch_is_counted_where_values_choose(tmp_path):
    tensors = [T((1,), "BOOL", scale=None), floats(1, 31), floats(1, 31)]
    choose = Op("IF", [0, 1], [2], "IfOptions", {"ThenSubgraphIndex": 1, "ElseSubgraphIndex": 2})
    path = tmp_path / "net.tflite"
    path.write_bytes(build(tensors, [choose], [0, 1], [2], others=[branch(31, 1), branch(31, 3)]))
    model = read_model(path)
    assert (model.workload.macs, model.workload.weights) == (3 * 31 * 31, 4 * 31 * 31)
    assert "import.branch" in [warning.code for warning in model.warnings]


def test_one_trip_of_a_loop_is_counted_with_its_condition(tmp_path):
    """The condition compares the one output of a layer with zero."""
    zero = T((1, 1), "FLOAT32", np.zeros((1, 1), np.float32), scale=None)
    tensors = [floats(1, 31), ones(1, 31), floats(1, 1), zero, T((1, 1), "BOOL", scale=None)]
    layer = Op("FULLY_CONNECTED", [0, 1, -1], [2], "FullyConnectedOptions", PLAIN)
    condition = tensors, [layer, Op("LESS", [2, 3], [4], "LessOptions", {})], [0], [4]
    operators = [Op("WHILE", [0], [1], "WhileOptions", {"CondSubgraphIndex": 1, "BodySubgraphIndex": 2})]
    path = tmp_path / "net.tflite"
    path.write_bytes(build([floats(1, 31), floats(1, 31)], operators, [0], [1], others=[condition, branch(31, 2)]))
    model = read_model(path)
    assert model.workload.macs == model.workload.weights == 31 + 2 * 31 * 31
    assert model.workload.missing is None
    assert [warning.code for warning in model.warnings] == ["import.loop"]


@pytest.mark.parametrize("stored", ["first", "second"])
def test_a_stored_factor_that_is_the_same_for_each_of_a_batch_counts_once(tmp_path, stored):
    """A batch of 7, each times one 5 x 16 or 31 x 5 matrix, of which the file stores seven."""
    if stored == "first":
        shapes, out = [(7, 5, 16), (7, 16, 31)], (7, 5, 31)
    else:
        shapes, out = [(7, 16, 31), (7, 31, 5)], (7, 16, 5)
    place = 0 if stored == "first" else 1
    factors = [ones(*shape) if at == place else floats(*shape) for at, shape in enumerate(shapes)]
    operators = [Op("BATCH_MATMUL", [0, 1], [2], "BatchMatMulOptions", {})]
    path = written(tmp_path, [*factors, floats(*out)], operators, [1 - place], [2])
    runs = run_on_ones(path, 1 - place, shapes[1 - place])
    net = read_model(path).workload
    assert net.macs * 7 == int(runs.get_tensor(2).sum())
    assert net.weights == (5 * 16 if stored == "first" else 31 * 5)


def test_subgraphs_that_run_each_other_end(tmp_path):
    """Each branch runs the other: what is too deep stays a row of its own, and the file is read in no time."""
    choose = Op("IF", [0, 1], [2], "IfOptions", {"ThenSubgraphIndex": 1, "ElseSubgraphIndex": 1})
    tensors = [T((1,), "BOOL", np.ones(1, np.bool_), scale=None), floats(1, 31), floats(1, 31)]
    inner = tensors, [choose, Op("IF", [0, 2], [3], choose.kind, choose.options)], [1], [3]
    tensors_in = [*tensors, floats(1, 31)]
    path = tmp_path / "net.tflite"
    path.write_bytes(build(tensors, [choose], [1], [2], others=[(tensors_in, *inner[1:])]))
    model = read_model(path)
    assert model.workload.macs == 0
    assert "import.opaque" in {warning.code for warning in model.warnings}


@pytest.mark.parametrize("target", [(1, -1, 31), (-1, 31)])
def test_sizes_that_are_computed_inside(tmp_path, target):
    """Frames of a sound: how many there are is computed of its length, and the file has 1 in their place."""
    placeholder = tuple(abs(size) for size in target)
    lead = [T((), "INT32", np.array(1, np.int32), scale=None)] * (len(target) - 2)
    tensors = [
        floats(1, 217), T((2,), "INT32", scale=None), T((), "INT32", np.array(1, np.int32), scale=None),
        T((), "INT32", scale=None), T((), "INT32", np.array(31, np.int32), scale=None), T((), "INT32", scale=None),
        T((len(target),), "INT32", scale=None), T(placeholder, "FLOAT32", scale=None, signature=target), ones(17, 31),
        T((*placeholder[:-1], 17), "FLOAT32", scale=None, signature=(*target[:-1], 17)), *lead,
    ]  # fmt: skip
    sizes = [*range(10, 10 + len(lead)), 5, 4]
    operators = [
        Op("SHAPE", [0], [1], "ShapeOptions", {"OutType": 2}),
        Op("GATHER", [1, 2], [3], "GatherOptions", {"Axis": 0}),
        Op("FLOOR_DIV", [3, 4], [5], "FloorDivOptions", {}),
        Op("PACK", sizes, [6], "PackOptions", {"Axis": 0, "ValuesCount": len(sizes)}),
        Op("RESHAPE", [0, 6], [7], "ReshapeOptions", {}),
        Op("FULLY_CONNECTED", [7, 8, -1], [9], "FullyConnectedOptions", PLAIN | {"KeepNumDims": len(target) == 3}),
    ]
    path = written(tmp_path, tensors, operators, [0], [9])
    runs = run_on_ones(path, 0, (1, 217))
    model = read_model(path)
    assert model.tensors[9].shape == runs.get_tensor(9).shape
    assert model.workload.macs == int(runs.get_tensor(9).sum()) == 7 * 31 * 17
    assert not model.warnings


def test_sizes_that_no_rule_gives_are_told(tmp_path):
    """An operator of somebody's own makes as many rows as it likes."""
    tensors = [floats(1, 31), T((1, 1, 31), "FLOAT32", scale=None, signature=(1, -1, 31)), ones(17, 31)]
    tensors += [T((1, 1, 17), "FLOAT32", scale=None, signature=(1, -1, 17))]
    dense = Op("FULLY_CONNECTED", [1, 2, -1], [3], "FullyConnectedOptions", PLAIN | {"KeepNumDims": True})
    model = read_model(written(tmp_path, tensors, [Op("Rows", [0], [1]), dense], [0], [3]))
    assert model.warnings[0].code == "import.open_inside"
    assert model.workload.macs == 31 * 17


def test_more_steps_than_are_kept_as_values(tmp_path):
    """A range as long as the input, of which the length alone is followed."""
    one, none = (T((), "INT32", np.array(value, np.int32), scale=None) for value in (1, 0))
    tensors = [
        floats(1, 5003), T((2,), "INT32", scale=None), one, T((), "INT32", scale=None), none,
        T((1,), "INT32", scale=None, signature=(-1,)), floats(1, 5003),
    ]  # fmt: skip
    operators = [
        Op("SHAPE", [0], [1], "ShapeOptions", {"OutType": 2}),
        Op("GATHER", [1, 2], [3], "GatherOptions", {"Axis": 0}),
        Op("RANGE", [4, 3, 2], [5], "RangeOptions", {}),
        Op("LOGISTIC", [0], [6]),
    ]
    path = written(tmp_path, tensors, operators, [0], [6, 5])
    runs = run_on_ones(path, 0, (1, 5003))
    assert read_model(path).tensors[5].shape == runs.get_tensor(5).shape == (5003,)


def test_values_of_shapes_stay_small(tmp_path):
    """Sums of a column and a row, each twice as long as the last: what is no shape is not computed."""
    tensors, operators, at = [floats(1, 4096), T((1, 1), "INT32", scale=None)], [], 1
    operators.append(Op("RANK", [0], [1], "RankOptions", {}))
    for size in (2**power for power in range(1, 27)):
        tensors.append(T((1, size), "INT32", scale=None, signature=(1, -1)))
        operators.append(Op("CONCATENATION", [at, at], [len(tensors) - 1], "ConcatenationOptions", {"Axis": 1}))
        at = len(tensors) - 1
    tensors.append(floats(1, 4096))
    operators.append(Op("LOGISTIC", [0], [len(tensors) - 1]))
    path = written(tmp_path, tensors, operators, [0], [len(tensors) - 1])
    tracemalloc.start()
    read_model(path)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


def test_parts_of_different_sizes_are_not_joined(tmp_path):
    """Two spectra of one sound have as many frames as each other at one length alone; the interpreter refuses others."""
    window = {"Padding": 1, "StrideW": 1, "FilterHeight": 1, "FilterWidth": 1, "FusedActivationFunction": 0}
    tensors = [floats(1, 12, 1, 3), floats(1, 6, 1, 3), floats(1, 6, 1, 3), floats(1, 6, 1, 6)]
    operators = [
        Op("MAX_POOL_2D", [0], [1], "Pool2DOptions", window | {"StrideH": 2}),
        Op("AVERAGE_POOL_2D", [0], [2], "Pool2DOptions", window | {"StrideH": 2, "FilterHeight": 2}),
        Op("CONCATENATION", [1, 2], [3], "ConcatenationOptions", {"Axis": 3}),
    ]
    path = written(tmp_path, tensors, operators, [0], [3])
    assert read_model(path, shape={"t0": (1, 14, 1, 3)}).tensors[3].shape == (1, 7, 1, 6)
    runs = interpreter(path)
    runs.resize_tensor_input(0, (1, 13, 1, 3))
    with pytest.raises(RuntimeError):
        runs.allocate_tensors()
    with pytest.raises(InputError, match="operator 2, CONCATENATION: its output has no shape that follows"):
        read_model(path, shape={"t0": (1, 13, 1, 3)})
