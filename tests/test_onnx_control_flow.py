"""Control flow of ONNX files: MACs by hand, weights stored once, and files that would run for ever."""

import time

import numpy as np
import pytest

pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper
from onnx_builder import Graph

import hwsim
from hwsim.errors import InputError
from hwsim.workload import Gemm
from hwsim.workload.onnx import read_model


def read(tmp_path, model, **more):
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return read_model(path, **more)


def value(name, shape, dtype=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def stored(name, *shape, dtype=np.float32):
    return numpy_helper.from_array(np.random.default_rng(len(name)).standard_normal(shape).astype(dtype), name)


def codes(model):
    return [w.code for w in model.warnings]


def dense(name, x, k, n):
    """A branch that is one product of a captured tensor."""
    node = helper.make_node("MatMul", [x, f"w{name}"], [f"y{name}"], name=f"fc{name}")
    return helper.make_graph([node], name, [], [value(f"y{name}", ["n", "m"])], [stored(f"w{name}", k, n)])


def choice(condition):
    g = Graph()
    x = g.op("Relu", g.input("x", [1, 5, 16]), name="before")
    if condition is None:
        flag = g.input("flag", [], TensorProto.BOOL)
    elif condition == "by shape":  # as exporters test a size
        rows = g.op("Gather", g.op("Shape", x), g.constant("one", np.array(1)))
        flag = g.op("Equal", rows, g.constant("five", np.array(5)))
    else:
        flag = g.constant("flag", np.array(condition))
    x = g.op("If", flag, then_branch=dense("small", x, 16, 3), else_branch=dense("large", x, 16, 31), name="choice")
    g.output(g.op("Relu", x, name="after"), [1, "n", "m"])
    return g.model(check=False)


@pytest.mark.parametrize("condition, n", [(True, 3), (False, 31), ("by shape", 3)])
def test_a_constant_condition_is_decided(tmp_path, condition, n):
    found = read(tmp_path, choice(condition))
    assert (found.workload.macs, found.workload.weights) == (5 * 16 * n, 16 * n)
    assert found.workload.graph
    assert not {"import.branch", "import.opaque"} & set(codes(found))


def test_the_costlier_branch_is_counted_and_both_are_stored(tmp_path):
    found = read(tmp_path, choice(None))
    assert (found.workload.macs, found.workload.weights) == (5 * 16 * 31, 16 * (31 + 3))
    assert "import.branch" in codes(found)


def looped(trips, condition="", scan=False, body_condition="on"):
    """x = x W, some times; W is stored in the body."""
    nodes = [
        helper.make_node("MatMul", ["state", "w"], ["next"], name="step"),
        helper.make_node("Identity", ["on"], ["go on"]) if body_condition == "on" else body_condition,
    ]
    outs = [value("go on", [], TensorProto.BOOL), value("next", [1, 3, 16])] + [value("next", [1, 3, 16])] * scan
    ins = [value("i", [], TensorProto.INT64), value("on", [], TensorProto.BOOL), value("state", [1, 3, 16])]
    body = helper.make_graph(nodes, "body", ins, outs, [stored("w", 16, 16)])
    g = Graph()
    x = g.op("Relu", g.input("x", [1, 3, 16]))
    most = g.constant("trips", np.array(trips)) if isinstance(trips, int) else trips
    if trips == "count":
        most = g.input("count", [], TensorProto.INT64)
    y = g.op("Loop", most, condition, x, body=body, outputs=1 + scan, name="loop")
    g.output(y[0] if scan else y, [1, 3, 16])
    if scan:
        g.output(y[1], ["t", 1, 3, 16])
    return g.model(check=False)


def test_a_loop_has_its_trips(tmp_path):
    found = read(tmp_path, looped(7))
    assert found.workload.macs == 7 * 3 * 16 * 16
    assert found.workload.weights == 16 * 16  # stored once
    assert found.workload.graph
    assert [w.values["trips"] for w in found.warnings if w.code == "import.trips"] == [7]
    assert [layer.name for layer in found.workload if isinstance(layer, Gemm)][:2] == ["loop/0/step", "loop/1/step"]


def test_what_trips_write_is_joined(tmp_path):
    found = read(tmp_path, looped(7, scan=True))
    assert found.workload.macs == 7 * 3 * 16 * 16
    (join,) = (layer for layer in found.workload if layer.op == "concat")
    assert join.output.elements == 7 * 3 * 16


def test_a_loop_of_no_trip_is_its_input(tmp_path):
    assert read(tmp_path, looped(0)).workload.macs == 0


def test_a_loop_that_ends_by_its_condition(tmp_path):
    """It counts to five by its iteration number."""
    five = helper.make_node("Constant", [], ["five"], value=numpy_helper.from_array(np.array(4)))
    model = looped("", body_condition=helper.make_node("Less", ["i", "five"], ["go on"]))
    model.graph.node[1].attribute[0].g.node.insert(0, five)
    assert read(tmp_path, model).workload.macs == 5 * 3 * 16 * 16


def test_a_branch_that_does_not_run_is_stored_and_takes_no_time(tmp_path):
    """On a processor, a GPU and a PE array the rows of the branch that runs take all of the time."""
    both = read(tmp_path, choice(None)).workload
    (row,) = (layer for layer in both if layer.op == "branch")
    assert (row.weights, row.weights_read(1)) == (16 * 3, 0)
    for machine in ("xeon_8280", "a100", "systolic_ws"):
        layers = hwsim.simulate(hwsim.load_machine(machine, set={"precision": "int8"}), both).layers
        assert layers.set_index("layer").latency_s.get("choice/other", 0) == 0
    board = hwsim.load_machine("nucleo_l4r5zi", set={"precision": "int8"})
    one = read(tmp_path, choice(False)).workload
    flash = [
        {use.memory: use.need_bytes for use in hwsim.simulate(board, net).memories}["flash"] for net in (one, both)
    ]
    assert flash[1] - flash[0] == 16 * 3


def test_a_loop_of_more_trips_than_are_counted_is_refused_or_told(tmp_path):
    """Of 10,000 products one is a row, and what the trips write has all of them."""
    with pytest.raises(InputError, match="has more trips than are counted one by one; --allow-missing reads one"):
        read(tmp_path, looped(10_000, scan=True))
    found = read(tmp_path, looped(10_000, scan=True), allow_missing=True)
    assert found.workload.missing.operators == 9_999
    assert found.workload.missing.operator_share > 0.99
    assert found.workload.macs == 3 * 16 * 16
    assert max(layer.outputs for layer in found.workload) == 10_000 * 3 * 16


def test_five_thousand_trips_are_counted(tmp_path):
    assert read(tmp_path, looped(5000)).workload.macs == 5000 * 3 * 16 * 16


@pytest.mark.parametrize("trips", ["count", 10**9, 2**62])
def test_trips_that_nobody_knows_or_can_run_are_one(tmp_path, trips):
    start = time.monotonic()
    found = read(tmp_path, looped(trips), allow_missing=True)
    assert found.workload.macs == 3 * 16 * 16
    (told,) = (w for w in found.warnings if w.code == "import.trips")
    assert told.severity == "warning"
    assert told.values["trips"] == 1
    assert time.monotonic() - start < 10


def test_a_loop_that_computes_nothing_is_bounded_and_loses_nothing(tmp_path):
    """A billion trips that pass their state on."""
    flag, trip = value("on", [], TensorProto.BOOL), value("i", [], TensorProto.INT64)
    nodes = [helper.make_node("Identity", ["on"], ["go on"]), helper.make_node("Identity", ["h"], ["next"])]
    ends = [trip, flag, value("h", [3, 16])], [value("go on", [], TensorProto.BOOL), value("next", [3, 16])]
    g = Graph()
    x = g.op("Relu", g.input("x", [3, 16]))
    body = helper.make_graph(nodes, "body", *ends)
    g.output(g.op("Relu", g.op("Loop", g.constant("trips", np.array(10**9)), "", x, body=body)), [3, 16])
    found = read(tmp_path, g.model(check=False)).workload
    assert [layer.op for layer in found] == ["relu", "relu"]
    assert found.missing is None


def test_a_loop_without_an_end_ends(tmp_path):
    found = read(tmp_path, looped(""))
    assert found.workload.macs <= 8000 * 3 * 16 * 16
    assert "import.trips" in codes(found)


@pytest.mark.parametrize("scan", [False, True])
def test_the_first_trip_of_a_constant_state_counts(tmp_path, scan):
    """h = h R + x of h = 0 in seven trips: a runtime computes none of them before it runs the network."""
    nodes = [
        helper.make_node("MatMul", ["h", "r"], ["hr"], name="state"),
        helper.make_node("Add", ["hr", "p" if scan else "x"], ["next"]),
        helper.make_node("Identity", ["r0"], ["r1"]),
    ]
    ends = [value("h", [3, 16]), value("r0", [16, 16])], [value("next", [3, 16]), value("r1", [16, 16])]
    g = Graph()
    x = g.input("x", [7, 3, 16] if scan else [3, 16])
    zero, r = g.constant("h0", np.zeros((3, 16), np.float32)), g.weight("r", 16, 16)
    if scan:
        body = helper.make_graph(nodes, "cell", [*ends[0], value("p", [3, 16])], ends[1])
        h, _ = g.op("Scan", zero, r, x, body=body, num_scan_inputs=1, outputs=2, name="rnn")
    else:
        nodes.append(helper.make_node("Identity", ["on"], ["go on"]))
        flag, trip = value("on", [], TensorProto.BOOL), value("i", [], TensorProto.INT64)
        body = helper.make_graph(
            nodes, "cell", [trip, flag, *ends[0]], [value("go on", [], TensorProto.BOOL), *ends[1]]
        )
        h, _ = g.op("Loop", g.constant("trips", np.array(7)), "", zero, r, body=body, outputs=2, name="rnn")
    g.output(g.op("Relu", h), [3, 16])
    found = read(tmp_path, g.model(check=False))
    assert found.workload.macs == 7 * 3 * 16 * 16
    assert found.workload.weights == 16 * 16


def test_a_scan_has_a_trip_for_each_step(tmp_path):
    """A cell h = tanh(x W + h R) over 11 steps of a batch of one."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["xw"], name="input"),
        helper.make_node("MatMul", ["h", "r"], ["hr"], name="state"),
        helper.make_node("Add", ["xw", "hr"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["next"]),
    ]
    ends = [value("h", [1, 16]), value("x", [1, 8])], [value("next", [1, 16]), value("next", [1, 16])]
    body = helper.make_graph(nodes, "cell", *ends, [stored("w", 8, 16), stored("r", 16, 16)])
    g = Graph()
    zero = g.op("Relu", g.input("h0", [1, 16]))
    last, states = g.op("Scan", zero, g.input("x", [11, 1, 8]), body=body, num_scan_inputs=1, outputs=2, name="rnn")
    g.output(last, [1, 16])
    g.output(states, [11, 1, 16])
    found = read(tmp_path, g.model(check=False))
    assert found.workload.macs == 11 * (8 * 16 + 16 * 16)
    assert found.workload.weights == 8 * 16 + 16 * 16


def test_a_loop_in_a_loop_reads_what_is_around_both(tmp_path):
    inner = helper.make_graph(
        [helper.make_node("MatMul", ["b", "outer_w"], ["c"]), helper.make_node("Identity", ["on2"], ["go2"])],
        "inner",
        [value("j", [], TensorProto.INT64), value("on2", [], TensorProto.BOOL), value("b", [1, 3, 16])],
        [value("go2", [], TensorProto.BOOL), value("c", [1, 3, 16])],
    )
    outer = helper.make_graph(
        [
            helper.make_node("Loop", ["two", "", "a"], ["d"], body=inner),
            helper.make_node("Identity", ["on1"], ["go1"]),
        ],
        "outer",
        [value("i", [], TensorProto.INT64), value("on1", [], TensorProto.BOOL), value("a", [1, 3, 16])],
        [value("go1", [], TensorProto.BOOL), value("d", [1, 3, 16])],
    )
    g = Graph()
    x = g.input("x", [1, 3, 16])
    g.weight("outer_w", 16, 16)
    g.constant("two", np.array(2))
    g.output(g.op("Loop", g.constant("three", np.array(3)), "", x, body=outer), [1, 3, 16])
    found = read(tmp_path, g.model(check=False))
    assert (found.workload.macs, found.workload.weights) == (2 * 3 * 3 * 16 * 16, 16 * 16)


def test_loops_in_loops_of_many_trips_are_harmless(tmp_path):
    """10 loops of a million trips in each other."""
    start = time.monotonic()
    body = None
    for depth in range(10):
        run = (
            helper.make_node("Loop", ["many", "", f"a{depth}"], [f"b{depth}"], body=body)
            if body
            else helper.make_node("Relu", [f"a{depth}"], [f"b{depth}"])
        )
        body = helper.make_graph(
            [run, helper.make_node("Identity", [f"on{depth}"], [f"go{depth}"])],
            f"body{depth}",
            [value(f"i{depth}", [], TensorProto.INT64), value(f"on{depth}", [], TensorProto.BOOL)]
            + [value(f"a{depth}", [1, 4])],
            [value(f"go{depth}", [], TensorProto.BOOL), value(f"b{depth}", [1, 4])],
        )
    g = Graph()
    g.input("x", [1, 4])
    g.constant("many", np.array(10**6))
    g.output(g.op("Loop", "many", "", "x", body=body), [1, 4])
    found = read(tmp_path, g.model(check=False), allow_missing=True)
    assert "import.trips" in codes(found)
    assert time.monotonic() - start < 30


def test_a_batch_goes_through_a_body(tmp_path):
    model = looped(7)
    for item in (*model.graph.input, *model.graph.output):
        item.type.tensor_type.shape.dim[0].dim_value = 5
    assert read(tmp_path, model).workload.macs == 7 * 3 * 16 * 16


def turned(x, k, n):
    """A branch with a product whose matrix is transposed in it."""
    nodes = [
        helper.make_node("Transpose", ["v"], ["w"], perm=[1, 0]),
        helper.make_node("MatMul", [x, "w"], ["y"], name="fc"),
    ]
    return helper.make_graph(nodes, "turned", [], [value("y", ["n", "m"])], [stored("v", n, k)])


@pytest.mark.parametrize("sizes", [(3, 31), (128, 257)])
def test_a_matrix_that_an_idle_branch_transposes_is_stored_once(tmp_path, sizes):
    small, large = sizes
    g = Graph()
    x, flag = g.op("Relu", g.input("x", [1, 16]), name="before"), g.input("flag", [], TensorProto.BOOL)
    x = g.op("If", flag, then_branch=turned(x, 16, small), else_branch=dense("large", x, 16, large), name="choice")
    g.output(g.op("Relu", x), [1, "m"])
    found = read(tmp_path, g.model(check=False))
    assert (found.workload.macs, found.workload.weights) == (16 * large, 16 * (small + large))


def test_an_idle_branch_of_each_trip_is_stored_once(tmp_path):
    g = Graph()
    x, flag = g.op("Relu", g.input("x", [1, 31])), g.input("flag", [], TensorProto.BOOL)
    branches = {"then_branch": turned("state", 31, 31), "else_branch": dense("wide", "state", 31, 31)}
    branches["else_branch"].node.append(helper.make_node("MatMul", ["ywide", "wwide"], ["twice"], name="again"))
    del branches["else_branch"].output[:]
    branches["else_branch"].output.append(value("twice", [1, 31]))
    nodes = [
        helper.make_node("If", [flag], ["next"], name="choice", **branches),
        helper.make_node("Identity", ["on"], ["go on"]),
    ]
    outs = [value("go on", [], TensorProto.BOOL), value("next", [1, 31])]
    ins = [value("i", [], TensorProto.INT64), value("on", [], TensorProto.BOOL), value("state", [1, 31])]
    y = g.op("Loop", g.constant("trips", np.array(5)), "", x, body=helper.make_graph(nodes, "body", ins, outs))
    g.output(y, [1, 31])
    found = read(tmp_path, g.model(check=False))
    assert (found.workload.macs, found.workload.weights) == (5 * 2 * 31 * 31, 2 * 31 * 31)
