"""The arena of TFLite files against TensorFlow Lite Micro's own recording allocator, where tflite-micro is installed."""

import re
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tflite")
pytest.importorskip("tflite_micro.python.tflite_micro.runtime")

from tables import BESIDE
from tflite_builder import Op, T, add, build, conv, fc
from tflite_networks import each_model, model_path

from hwsim.workload.arena import plan_model
from hwsim.workload.tflite import read_model

CASES = sorted((BESIDE.parent / "cases").glob("*.tflite"))


def recorded(path: Path, capfd) -> int:
    """The bytes of the planned part of TFLM's arena, its head."""
    runtime = import_module("tflite_micro.python.tflite_micro.runtime")
    capfd.readouterr()
    interpreter = runtime.Interpreter.from_file(str(path), arena_size=2**24)
    interpreter.print_allocations()
    out, err = capfd.readouterr()
    return int(re.search(r"Arena allocation head (\d+) bytes", out + err)[1])


@each_model
def test_networks(name, origin, capfd):
    path = model_path(name, origin)
    assert plan_model(read_model(path)).bytes == recorded(path, capfd)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_cases(path, capfd):
    if "vela" in path.stem:
        pytest.skip("TFLM was built without the driver of the Ethos-U")
    assert plan_model(read_model(path)).bytes == recorded(path, capfd)


def floats(shape, data=None):
    return T(shape, "FLOAT32", data, scale=None)


def ints(*values, shape=None):
    data = np.array(values, np.int32)
    return T((data.size,) if shape is None else shape, "INT32", data, scale=None)


def ones(*shape, type="INT8"):
    many = [1.0] * shape[0], [0] * shape[0]
    values = np.ones(shape, {"INT8": np.int8, "INT16": np.int16, "FLOAT32": np.float32}[type])
    return floats(shape, values) if type == "FLOAT32" else T(shape, type, values, *(many if len(shape) == 4 else ()))


WINDOW = {"Padding": 1, "StrideH": 2, "StrideW": 2, "FilterHeight": 2, "FilterWidth": 2, "FusedActivationFunction": 0}
KEPT = {"KeepDims": True}


def _of(type):
    """One operator each, on odd sizes: its inputs, its output, its options."""
    plain = floats if type == "FLOAT32" else lambda shape: T(shape, type)
    weight = "FLOAT32" if type == "FLOAT32" else "INT8"
    state = "FLOAT32" if type == "FLOAT32" else "INT16"
    x = plain((1, 7, 5, 31))
    cases = [
        *[(code, [x, ints(1, 2)], plain((1, 1, 1, 31)), "ReducerOptions", KEPT)
          for code in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN")],
        ("MEAN", [x, ints(1)], plain((1, 1, 5, 31)), "ReducerOptions", KEPT),
        ("MEAN", [x, ints(3, 1)], plain((1, 1, 5, 1)), "ReducerOptions", KEPT),
        ("BATCH_MATMUL", [plain((3, 6, 17)), plain((3, 17, 9))], plain((3, 6, 9)), "BatchMatMulOptions", {}),
        ("BATCH_MATMUL", [plain((1, 17, 6)), plain((1, 9, 17))], plain((1, 6, 9)), "BatchMatMulOptions",
         {"AdjX": True, "AdjY": True}),
        ("ADD", [plain((1, 31)), plain((1, 31))], plain((1, 31)), "AddOptions", {"FusedActivationFunction": 0}),
        ("AVERAGE_POOL_2D", [x], plain((1, 3, 2, 31)), "Pool2DOptions", WINDOW),
        ("TRANSPOSE", [plain((1, 7, 5)), ints(0, 2, 1)], plain((1, 5, 7)), "TransposeOptions", {}),
        ("MIRROR_PAD", [plain((1, 7)), ints(0, 0, 1, 1, shape=(2, 2))], plain((1, 9)), "MirrorPadOptions", {"Mode": 0}),
        ("TRANSPOSE_CONV", [ints(1, 9, 7, 3), ones(3, 3, 3, 5, type=weight), plain((1, 4, 3, 5))], plain((1, 9, 7, 3)),
         "TransposeConvOptions", {"Padding": 1, "StrideH": 2, "StrideW": 2}),
        ("STRIDED_SLICE", [plain((1, 31)), ints(0, 1), ints(1, 12), ints(1, 1)], plain((1, 11)), "StridedSliceOptions", {}),
        ("CONCATENATION", [plain((1, 7)), plain((1, 5))], plain((1, 12)), "ConcatenationOptions", {"Axis": 1}),
        ("RESIZE_NEAREST_NEIGHBOR", [plain((1, 3, 5, 7)), ints(6, 10)], plain((1, 6, 10, 7)),
         "ResizeNearestNeighborOptions", {}),
    ]  # fmt: skip
    if type != "INT16":
        bias = floats((3,), np.ones(3, np.float32)) if type == "FLOAT32" else T((3,), "INT32", np.ones(3, np.int32))
        kept = T((1, 6 * 11), state, variable=True, scale=None if type == "FLOAT32" else (1.0,))
        reads = [plain((1, 13)), ones(6, 13, type=weight), ones(6, 11, type=state), bias, kept]
        cases.append(("SVDF", reads, plain((1, 3)), "SVDFOptions", {"Rank": 2, "FusedActivationFunction": 1}))
    return [(type, *case) for case in cases]


@pytest.mark.parametrize(
    ("type", "code", "reads", "writes", "kind", "options"),
    [case for type in ("INT8", "INT16", "FLOAT32") for case in _of(type)],
)
def test_every_kernel_that_asks_for_memory(tmp_path, capfd, type, code, reads, writes, kind, options):
    path = tmp_path / "net.tflite"
    inputs = [place for place, tensor in enumerate(reads) if tensor.data is None and not tensor.variable]
    operator = Op(code, [*range(len(reads))], [len(reads)], kind, options)
    path.write_bytes(build([*reads, writes], [operator], inputs, [len(reads)]))
    assert plan_model(read_model(path)).bytes == recorded(path, capfd)


@pytest.mark.parametrize("seed", range(12))
def test_graphs_of_equal_and_unequal_buffers(tmp_path, capfd, seed):
    """Sums and layers over few sizes: many ties, shortcuts of all lengths, tensors in any order, one input unused."""
    draw = np.random.default_rng(seed)
    sizes = (16, 16, 31, 48)
    tensors, operators, inputs = [T((1, 16)), T((1, 16)), T((1, 31))], [], [0, 1, 2]
    known = {16: [0, 1], 31: [2], 48: []}
    for _ in range(12):
        size = int(draw.choice([size for size in sizes if known[size]]))
        source, to = int(draw.choice(known[size])), int(draw.choice(sizes))
        out = len(tensors)
        if to == size and draw.random() < 0.7:
            tensors.append(T((1, size)))
            operators.append(add([source, int(draw.choice(known[size]))], [out]))
        else:
            tensors += [T((1, to)), ones(to, size)]
            operators.append(fc([source, out + 1, -1], [out]))
        known[to].append(out)
    order = draw.permutation(len(tensors)).tolist()  # the order of the file is not that of execution
    place = {old: new for new, old in enumerate(order)}
    for op in operators:
        op.inputs, op.outputs = ([place.get(index, -1) for index in part] for part in (op.inputs, op.outputs))
    outputs = [operators[-1].outputs[0]]
    path = tmp_path / "net.tflite"
    path.write_bytes(build([tensors[old] for old in order], operators, [place[index] for index in inputs], outputs))
    assert plan_model(read_model(path)).bytes == recorded(path, capfd)


def test_the_plan_of_a_compiler_is_kept(tmp_path, capfd):
    tensors = [T((1, 4, 4, 3)), ones(5, 1, 1, 3), T((1, 4, 4, 5)), ones(3, 1, 1, 5), T((1, 4, 4, 3))]
    operators = [conv([0, 1, -1], [2]), conv([2, 3, -1], [4])]
    for offsets in ([96, -1, 0, -1, -1], [-1, -1, 1024, -1, -1], [0, -1, 48, -1, 128]):
        path = tmp_path / "net.tflite"
        path.write_bytes(build(tensors, operators, [0], [4], offsets=offsets))
        assert plan_model(read_model(path)).bytes == recorded(path, capfd)


def dense(*sizes):
    """A subgraph of dense layers between these sizes."""
    tensors, operators = [floats((1, sizes[0]))], []
    for size, to in pairwise(sizes):
        tensors += [floats((to, size), np.ones((to, size), np.float32)), floats((1, to))]
        operators.append(fc([len(tensors) - 3, len(tensors) - 2, -1], [len(tensors) - 1]))
    return tensors, operators, [0], [len(tensors) - 1]


def test_branches_lie_in_the_same_arena(tmp_path, capfd):
    """Both branches of a choice are planned, the wider one beside what the network holds meanwhile."""
    flag = T((1,), "BOOL", np.ones(1, np.bool_), scale=None)
    choose = Op("IF", [1, 2], [3], "IfOptions", {"ThenSubgraphIndex": 1, "ElseSubgraphIndex": 2})
    tensors = [floats((1, 31)), flag, floats((1, 31)), floats((1, 31)), floats((1, 31))]
    operators = [Op("LOGISTIC", [0], [2]), choose, Op("ADD", [2, 3], [4], "AddOptions", {})]
    path = tmp_path / "net.tflite"
    path.write_bytes(build(tensors, operators, [0], [4], others=[dense(31, 127, 257, 31), dense(31, 512, 31)]))
    assert plan_model(read_model(path)).bytes == recorded(path, capfd) > 4 * 512


def test_a_loop_lies_in_the_same_arena(tmp_path, capfd):
    less = Op("LESS", [0, 1], [2], "LessOptions", {})
    condition = (
        [floats((1, 1)), floats((1, 1), np.ones((1, 1), np.float32)), T((1, 1), "BOOL", scale=None)],
        [less],
        [0],
        [2],
    )
    body = dense(1, 127, 31, 1)
    loop = Op("WHILE", [1], [2], "WhileOptions", {"CondSubgraphIndex": 1, "BodySubgraphIndex": 2})
    tensors = [floats((1, 1)), floats((1, 1)), floats((1, 1))]
    path = tmp_path / "net.tflite"
    path.write_bytes(build(tensors, [Op("LOGISTIC", [0], [1]), loop], [0], [2], others=[condition, body]))
    assert plan_model(read_model(path)).bytes == recorded(path, capfd)


def test_variables_have_memory_of_their_own(tmp_path, capfd):
    """A streaming network: its ring of frames is a variable, which a second subgraph sets; handles need no arena."""
    shared = {"SharedName": "ring"}
    zeros = floats((1, 93), np.zeros((1, 93), np.float32))
    first = [T((), "RESOURCE", scale=None), zeros], [
        Op("VAR_HANDLE", [], [0], "VarHandleOptions", shared), Op("ASSIGN_VARIABLE", [0, 1], []),
    ], [], []  # fmt: skip
    tensors = [
        floats((1, 31)),
        T((), "RESOURCE", scale=None),
        floats((1, 93)),
        floats((1, 124)),
        ints(0, 31),
        ints(1, 124),
    ]
    tensors += [ints(1, 1), floats((1, 93)), floats((17, 124), np.ones((17, 124), np.float32)), floats((1, 17))]
    operators = [
        Op("CALL_ONCE", [], [], "CallOnceOptions", {"InitSubgraphIndex": 1}),
        Op("VAR_HANDLE", [], [1], "VarHandleOptions", shared),
        Op("READ_VARIABLE", [1], [2]),
        Op("CONCATENATION", [2, 0], [3], "ConcatenationOptions", {"Axis": 1}),
        Op("STRIDED_SLICE", [3, 4, 5, 6], [7], "StridedSliceOptions", {}),
        Op("ASSIGN_VARIABLE", [1, 7], []),
        fc([3, 8, -1], [9]),
    ]
    path = tmp_path / "net.tflite"
    path.write_bytes(build(tensors, operators, [0], [9], others=[first]))
    model = read_model(path)
    assert plan_model(model).bytes == recorded(path, capfd)
    assert model.requests.variable_bytes == 93 * 4
    assert not model.warnings
