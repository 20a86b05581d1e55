"""Models as the runtime runs them: profiles are read, fused nodes are matched with layers, sums agree. No time is judged."""

import csv
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from made import processor

import hwsim
from hwsim.calibration.cores import Cores, run_counts
from hwsim.calibration.host import Binding, Noise
from hwsim.calibration.measure import NodeTime, compare_measured, measure, parse_profile
from hwsim.calibration.measure.nodes import GraphNode, Group, cover, groups, parts_of
from hwsim.calibration.measure.profile import without_profiler
from hwsim.cli.runtime import compare_with_runtime
from hwsim.errors import InputError

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
onnx_builder = pytest.importorskip("onnx_builder", reason="the builders of ONNX models are not in this tree")


def event(name: str, ts: int, dur: int, op: str, index: int) -> dict[str, object]:
    """An event of onnxruntime 1.31's profile, without the fields that nobody reads."""
    args = {"op_name": op, "node_index": str(index), "provider": "CPUExecutionProvider", "output_type_shape": []}
    return {
        "cat": "Node",
        "pid": 1,
        "tid": 1,
        "dur": dur,
        "ts": ts,
        "ph": "X",
        "name": f"{name}_kernel_time",
        "args": args,
    }


#: Two runs of a convolution (7 and 6 us) and a loop that runs an addition twice, recorded from onnxruntime and shortened.
PROFILE = [
    {"cat": "Session", "pid": 1, "tid": 1, "dur": 675, "ts": 8, "ph": "X", "name": "model_loading_uri", "args": {}},
    event("conv1_token_1", 100, 7, "QLinearConv", 47),
    event("loop", 110, 20, "Loop", 50),
    event("body/add", 112, 5, "Add", 2),
    event("body/add", 120, 6, "Add", 2),
    {"cat": "Session", "pid": 1, "tid": 1, "dur": 40, "ts": 99, "ph": "X", "name": "model_run", "args": {}},
    event("conv1_token_1", 200, 6, "QLinearConv", 47),
    event("loop", 210, 24, "Loop", 50),
    event("body/add", 212, 5, "Add", 2),
    event("body/add", 220, 6, "Add", 2),
    {"cat": "Session", "pid": 1, "tid": 1, "dur": 40, "ts": 199, "ph": "X", "name": "model_run", "args": {}},
]


def test_a_profile_has_each_node_once_and_the_body_of_a_loop_in_the_loop() -> None:
    assert parse_profile(json.dumps(PROFILE), 2) == (
        NodeTime("conv1_token_1", "QLinearConv", pytest.approx(6.5e-6), pytest.approx(6.5e-6)),
        NodeTime("loop", "Loop", pytest.approx(20e-6), pytest.approx(22e-6)),
    )
    second = parse_profile(json.dumps(PROFILE), 2, [False, True])
    assert [node.least_s for node in second] == [pytest.approx(6e-6), pytest.approx(24e-6)]


def test_a_node_that_runs_twice_a_run_counts_with_the_sum() -> None:
    text = json.dumps([event("a", ts, dur, "Add", 1) for ts, dur in ((0, 1), (10, 2), (20, 3), (30, 5))])
    assert [node.least_s for node in parse_profile(text, 2)] == [pytest.approx(3e-6)]
    with pytest.raises(InputError, match=r"node 'a' must run equally often in each of 3 runs, not 4 times"):
        parse_profile(text, 3)


@given(
    st.text(max_size=50) | st.sampled_from(["[{}]", "[1]", "{}", '[{"cat": "Node", "name": "a_kernel_time"}]', "null"])
)
def test_what_is_no_profile_is_told(text: str) -> None:
    try:
        assert parse_profile(text, 1) == ()
    except InputError as error:
        assert "profile" in str(error)


def test_the_profiler_is_taken_off_so_that_nodes_last_no_longer_than_the_run() -> None:
    nodes = (NodeTime("a", "A", 9e-6, 9e-6, inputs=0), NodeTime("b", "B", 10e-6, 10e-6, inputs=8))
    less, each = without_profiler(nodes, 11e-6)
    assert each == pytest.approx(4e-6)
    # of 8 us in all, a node of 8 inputs has 20 parts and one of none 12
    assert [node.least_s for node in less] == [pytest.approx(6e-6), pytest.approx(5e-6)]
    assert sum(node.least_s for node in less) == pytest.approx(11e-6)
    assert without_profiler(nodes, 30e-6) == (nodes, 0.0)
    assert without_profiler(nodes, 30e-6, least_s=2e-6)[1] == pytest.approx(2e-6)  # the run was disturbed
    assert without_profiler(nodes, 0.0)[1] == pytest.approx(6e-6)  # the nodes were
    assert all(
        one.least_s >= other.least_s / 2 for one, other in zip(without_profiler(nodes, 0.0)[0], nodes, strict=True)
    )
    assert without_profiler((), 1.0) == ((), 0.0)


def node(name: str, op: str, reads: str, writes: str) -> GraphNode:
    return GraphNode(name, op, tuple(reads.split()), tuple(writes.split()))


FILE = (
    node("conv", "Conv", "x w", "c"), node("relu", "Relu", "c", "r"), node("conv2", "Conv", "r w2", "d"),
    node("add", "Add", "d r", "s"), node("relu2", "Relu", "s", "t"), node("flat", "Flatten", "t", "f"),
    node("fc", "MatMul", "f w3", "m"), node("bias", "Add", "m b", "y"),
)  # fmt: skip


def test_fused_nodes_do_what_lies_between_what_they_read_and_write() -> None:
    ran = (
        node("conv", "FusedConv", "x w", "r"), node("conv2", "FusedConv", "r w2 r", "t"), node("flat", "Flatten", "t", "f"),
        node("fc/MatMulAddFusion", "Gemm", "f w3 b", "y"),
    )  # fmt: skip
    done = cover(ran, FILE)
    assert done["conv"] == {"conv", "relu"}
    assert done["conv2"] == {"conv2", "add", "relu2"}
    assert done["flat"] == {"flat"}
    assert done["fc/MatMulAddFusion"] == {"fc", "bias"}


def test_nodes_that_were_renamed_end_at_their_own_operator() -> None:
    # Another layout: tensors have the runtime's names, nodes those of what they replaced.
    ran = (
        node("r_nchwc", "Conv", "x w", "reorder_0"), node("d_nchwc", "Conv", "reorder_0 w2 reorder_0", "reorder_1"),
        node("ReorderOutput", "ReorderOutput", "reorder_1", "t"), node("flat", "Flatten", "t", "f"),
        node("gemm_in", "Reshape", "f", "g"), node("fc/MatMulAddFusion", "Gemm", "g w3 b", "h"), node("gemm_out", "Reshape", "h", "y"),
    )  # fmt: skip
    done = cover(ran, FILE)
    assert done["r_nchwc"] == {"conv", "relu"}
    assert done["d_nchwc"] == {"conv2", "add", "relu2"}
    assert done["ReorderOutput"] == {"conv2", "add", "relu2"}  # moves belong to the layer whose output they move
    assert done["gemm_in"] == {"flat"}
    assert done["gemm_out"] == {"fc", "bias"}
    assert done["fc/MatMulAddFusion"] == {"fc", "bias"}


def test_conversions_belong_to_the_rows_that_they_serve() -> None:
    """A copied conversion to the conversion, one that was added to the node before, one of weights to their reader."""
    file = (
        node("add", "Add", "x y", "s"), node("scale_dq", "DequantizeLinear", "q", "scale"),
        node("s_q", "QuantizeLinear", "s", "i"), node("s_dq", "DequantizeLinear", "i", "r"),
        node("norm", "LayerNormalization", "r scale", "n"), node("sum", "Add", "n r", "t"), node("plus", "Add", "t x", "z"),
    )  # fmt: skip
    ran = (
        node("add", "Add", "x y", "s"), node("s_q", "QuantizeLinear", "s", "i"), node("s_dq", "DequantizeLinear", "i", "r"),
        node("s_dq/duplicated", "DequantizeLinear", "i", "r2"), node("scale_dq", "DequantizeLinear", "q", "scale"),
        node("norm", "LayerNormalization", "r scale", "n"), node("sum", "Add", "n r2", "t"),
        node("t_q", "QuantizeLinear", "t", "ti"), node("plus", "Add", "t x", "z"),
    )  # fmt: skip
    done = cover(ran, file)
    assert done["s_dq/duplicated"] == {"s_dq"}
    assert done["t_q"] == {"sum"}
    layers = {name: name for name in ("add", "s_q", "s_dq", "norm", "sum", "plus")}
    parts = parts_of(file, layers)
    assert parts == {"scale_dq": "norm"}
    rows = groups(layers.values(), [item.name for item in ran], done, layers, parts)
    assert Group(("s_dq",), ("s_dq", "s_dq/duplicated")) in rows
    assert Group(("norm",), ("scale_dq", "norm")) in rows
    assert all(group.layers for group in rows)


def test_a_gate_is_its_own_kernel_and_layouts_belong_to_the_layer_that_needs_them() -> None:
    file = (
        node("conv", "Conv", "x w", "c"), node("gate", "Sigmoid", "c", "g"), node("silu", "Mul", "c g", "s"),
        node("plus", "Add", "s one", "p"), node("conv2", "Conv", "p w2", "y"),
    )  # fmt: skip
    ran = (
        node("c_nchwc", "Conv", "x w", "reorder_0"), node("silu/QuickGeluFusion/", "QuickGelu", "reorder_0", "reorder_1"),
        node("ReorderOutput", "ReorderOutput", "reorder_1", "s"), node("plus", "Add", "s one", "p"),
        node("ReorderInput", "ReorderInput", "p", "reorder_2"), node("y_nchwc", "Conv", "reorder_2 w2", "reorder_3"),
        node("ReorderOutput_token_1", "ReorderOutput", "reorder_3", "y"),
    )  # fmt: skip
    done = cover(ran, file)
    assert done["c_nchwc"] == {"conv"}
    assert done["silu/QuickGeluFusion/"] == done["ReorderOutput"] == {"gate", "silu"}
    assert done["plus"] == {"plus"}
    assert done["ReorderInput"] == done["y_nchwc"] == done["ReorderOutput_token_1"] == {"conv2"}


def test_a_node_that_is_no_layer_is_a_part_of_the_layer_before_it() -> None:
    file = (node("add", "Add", "x y", "a"), node("clip", "Clip", "a", "c"), node("mul", "Mul", "c x", "m"))
    layer_of = {"add": "add", "mul": "mul"}
    parts = parts_of(file, layer_of)
    assert parts == {"clip": "add"}
    covering = {name: frozenset({name}) for name in ("add", "clip", "mul")}
    assert groups(["add", "mul"], ["add", "clip", "mul"], covering, layer_of, parts) == [
        Group(("add",), ("add", "clip")), Group(("mul",), ("mul",)),
    ]  # fmt: skip


def test_groups_are_the_smallest_that_belong_together() -> None:
    covering = {"n1": frozenset({"a"}), "n2": frozenset({"b", "c"}), "n3": frozenset({"c"}), "n4": frozenset()}
    layer_of = {"a": "A", "b": "B", "c": "C"}
    assert groups("ABCD", ["n1", "n2", "n3", "n4"], covering, layer_of) == [
        Group(("A",), ("n1",)), Group(("B", "C"), ("n2", "n3")), Group(("D",), ()), Group((), ("n4",)),
    ]  # fmt: skip


def test_the_layers_of_one_operator_belong_to_the_node_that_ran_it() -> None:
    """Attention with its projection inside, as the rows that a machine plans."""
    rows = ["attn_qkv", "attn_query", "attn.scores", "attn.softmax", "attn.context", "out"]
    together = [("attn", "attn_qkv", "attn_query", "attn"), ("attn", "attn.scores", "attn.softmax", "attn.context")]
    covering = {name: frozenset({name}) for name in ("attn", "out")}
    assert groups(rows, ["attn", "out"], covering, {"attn": "attn", "out": "out"}, together=together) == [
        Group(tuple(rows[:-1]), ("attn",)), Group(("out",), ("out",)),
    ]  # fmt: skip


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=20))
def test_groups_keep_every_layer_and_node_once(pairs: list[tuple[int, int]]) -> None:
    covering: dict[str, frozenset[str]] = {}
    for ran, done in pairs:
        covering[f"n{ran}"] = covering.get(f"n{ran}", frozenset()) | {f"f{done}"}
    nodes, layers = [f"n{i}" for i in range(8)], [f"L{i}" for i in range(8)]
    found = groups(layers, nodes, covering, {f"f{i}": f"L{i}" for i in range(8)})
    assert sorted(name for group in found for name in group.layers) == layers
    assert sorted(name for group in found for name in group.nodes) == nodes
    together = {name: index for index, group in enumerate(found) for name in (*group.layers, *group.nodes)}
    assert all(together[f"n{ran}"] == together[f"L{done}"] for ran, done in pairs)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    small = onnx_builder.small_convnet()
    made = {
        "fp32": small,
        "QDQ": onnx_builder.quantized(small),
        "QOperator": onnx_builder.quantized(small, "QOperator"),
        "bert": onnx_builder.bert(),
    }
    for name, model in made.items():
        onnx.save(model, folder / f"{name}.onnx")
    return {name: folder / f"{name}.onnx" for name in made}


@pytest.mark.slow
@pytest.mark.parametrize("form", ["fp32", "QDQ", "QOperator", "bert"])
def test_every_node_with_macs_is_matched(models: dict[str, Path], form: str) -> None:
    ran = measure(models[form], runs=2)
    assert ran.runs == 2
    assert ran.nodes
    assert all(0 < one.least_s <= one.median_s for one in ran.nodes)
    covering = cover(ran.optimized, ran.original)
    ops = {one.name: one.op for one in ran.original}
    owners: dict[str, list[str]] = {}
    moves = {one.name for one in ran.optimized if one.op.startswith(("Reorder", "Reshape", "Transpose", "Flatten"))}
    for name, done in covering.items():
        for one in done if name not in moves else ():
            owners.setdefault(one, []).append(name)
    for name, op in ops.items():
        if op in ("Conv", "Gemm", "MatMul", "QLinearConv", "QGemm", "MaxPool", "Softmax", "LayerNormalization"):
            assert len(owners.get(name, [])) == 1, name
    kernel = {one.name: one.op for one in ran.nodes}
    for name, op in ops.items():
        if op == "Conv":
            assert "Conv" in kernel[owners[name][0]]


def test_a_batch_that_the_model_leaves_open_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "open.onnx"
    onnx.save(onnx_builder.bert(batch="batch", seq="seq", dynamic=True), path)
    assert measure(path, batch=2, runs=1, shapes={"seq": 8}).batch == 2
    with pytest.raises(InputError, match=r"input 'ids' leaves 'seq' open: its size must be given"):
        measure(path, runs=1)


def test_what_cannot_be_measured_is_told(models: dict[str, Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\x08\x07 nothing")
    for call, text in (
        (lambda: measure(models["fp32"], runtime="onnxruntme"), "nearest: 'onnxruntime'"),
        (lambda: measure("resnet50_v1"), "must be an .onnx file"),
        (lambda: measure(tmp_path / "none.onnx"), "must be a file"),
        (lambda: measure(broken), "cannot be read as ONNX"),
        (lambda: measure(models["fp32"], threads=0), "threads must be a whole number from 1 to 1024, not 0"),
        (lambda: measure(models["fp32"], batch=4), "the batch of input 'image' is fixed at 1, not 4"),
    ):
        with pytest.raises(InputError, match=text):
            call()


def test_nodes_without_a_name_are_matched_all_the_same(models: dict[str, Path], tmp_path: Path) -> None:
    model = onnx.load(models["fp32"])
    for one in model.graph.node:
        one.name = ""
    onnx.save(model, tmp_path / "nameless.onnx")
    ran = measure(tmp_path / "nameless.onnx", runs=1)
    assert all(one.name for one in ran.original)
    done = set().union(*cover(ran.optimized, ran.original).values())
    assert done == {one.name for one in ran.original}


MACHINE = processor(2)


@pytest.mark.parametrize("form", ["fp32", "QDQ", "QOperator", "bert"])
def test_every_layer_and_node_is_told_once(models: dict[str, Path], form: str, tmp_path: Path) -> None:
    (tmp_path / "made.yaml").write_text(MACHINE)
    found = compare_measured(hwsim.load_machine(tmp_path / "made.yaml"), models[form], runs=2)
    report = hwsim.simulate(
        hwsim.load_machine(tmp_path / "made.yaml", set={"threads": 1}), hwsim.load_workload(models[form])
    )
    told = [name for row in found.rows for name in row.layers] + [name for name, _ in found.only_predicted]
    assert sorted(told) == sorted(layer.name for layer in report.workload)
    predicted = sum(row.predicted_s for row in found.rows) + sum(time for _, time in found.only_predicted)
    assert predicted == pytest.approx(found.predicted_s) == pytest.approx(report.summary.latency_s)
    measured = sum(row.measured_s for row in found.rows) + sum(time for _, time in found.only_measured)
    assert measured == pytest.approx(found.measurement.nodes_s)
    assert sum(rows for rows, *_ in found.by_kind().values()) == len(found.rows)
    document = json.loads(json.dumps(found.document()))
    assert document["error"] == pytest.approx(document["predicted_s"] / document["measured_s"] - 1)
    assert len(document["layers"]) == len(found.rows)
    kinds = {name: row.kind for row in found.rows for name in row.layers}
    if form == "fp32":
        assert kinds["stem"] == "convolution of few channels"
        assert kinds["depthwise"] == "depthwise convolution"
        assert kinds["pointwise"] == kinds["shortcut"] == "pointwise convolution"  # the sum was fused
        assert kinds["fc"] == "GEMM"


def test_a_machine_without_threads_is_compared_as_it_is(models: dict[str, Path]) -> None:
    found = compare_measured(hwsim.load_machine("systolic_ws"), models["QDQ"], runs=1)
    assert "measure.no_threads" in {note.code for note in found.notes}


@pytest.mark.slow
def test_the_command_prints_both_sides(
    models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "made.yaml").write_text(MACHINE)
    words = [str(tmp_path / "made.yaml"), str(models["QDQ"])]
    compare_with_runtime(words, "onnxruntime", 2, 1, 2, {})
    text = capsys.readouterr().out
    for part in ("2 threads", "pointwise", "QLinearConv", "kind of layer", "whole run: predicted", "note: energy:"):
        assert part in text
    compare_with_runtime(words, "onnxruntime", 1, 1, 2, {}, None, "-")
    assert json.loads(capsys.readouterr().out)["threads"] == 1
    compare_with_runtime(words, "onnxruntime", 1, 1, 2, {}, csv_file=str(tmp_path / "rows.csv"))
    rows = list(csv.DictReader((tmp_path / "rows.csv").read_text().splitlines()))
    assert rows[-1]["kind"] == "whole run"
    timed = [row for row in rows if row["error"]]
    assert all(
        float(row["error"]) == pytest.approx(float(row["predicted_s"]) / float(row["measured_s"]) - 1) for row in timed
    )
    assert "pointwise" in {row["layer"].partition(" ")[0] for row in timed}
    with pytest.raises(InputError, match=r"--measure takes one MACHINE and one MODEL.onnx, not systolic_ws"):
        compare_with_runtime(["systolic_ws"], "onnxruntime", 1, 1, 2, {})
    with pytest.raises(InputError, match="threads must be at most the 2 cores, not 9"):
        compare_with_runtime(words, "onnxruntime", 9, 1, 2, {})


def test_a_device_that_onnxruntime_lacks_is_refused(models: dict[str, Path]) -> None:
    with pytest.raises(InputError, match=r"must have CUDAExecutionProvider to run on cuda, and here it has .*CPUExec"):
        measure(models["fp32"], device="cuda")
    with pytest.raises(InputError, match="the device must be one of cpu, cuda, not 'gpu'"):
        measure(models["fp32"], device="gpu")


class OnCuda:
    """onnxruntime as it is with a CUDA device, which the CPU stands for; `falls_back` as where its libraries miss."""

    __version__ = "0.made"
    falls_back = False

    def __init__(self) -> None:
        self.real = pytest.importorskip("onnxruntime")
        self.SessionOptions = self.real.SessionOptions
        self.OrtValue = self
        self.placed: list[str] = []

    def get_available_providers(self) -> list[str]:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def ortvalue_from_numpy(self, value: object, device: str, number: int) -> object:
        self.placed.append(f"{device}:{number}")
        return value

    def InferenceSession(self, source: object, options: object, providers: list[str]) -> "OnCuda":  # noqa: N802
        assert providers == ["CUDAExecutionProvider"]
        self.session = self.real.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        self.get_inputs, self.get_outputs = self.session.get_inputs, self.session.get_outputs
        return self

    def get_providers(self) -> list[str]:
        return self.get_available_providers()[self.falls_back :]

    def io_binding(self) -> "OnCuda":
        self.inputs: dict[str, object] = {}
        self.outputs: list[str] = []
        return self

    def bind_ortvalue_input(self, name: str, value: object) -> None:
        self.inputs[name] = value

    def bind_output(self, name: str, device: str, number: int) -> None:
        self.outputs.append(f"{name} on {device}:{number}")

    def run_with_iobinding(self, binding: "OnCuda") -> None:
        self.session.run(None, binding.inputs)

    def synchronize_outputs(self) -> None:
        assert self.outputs == [f"{output.name} on cuda:0" for output in self.get_outputs()]


def test_on_cuda_only_whole_runs_are_compared(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = OnCuda()
    monkeypatch.setattr("hwsim.calibration.measure.runtime._library", lambda name: onnx if name == "onnx" else made)
    compare_with_runtime(["a100", str(models["fp32"])], "onnxruntime", 1, 1, 3, {}, device="cuda")
    text = " ".join(capsys.readouterr().out.split())
    assert "measured with onnxruntime 0.made (CUDAExecutionProvider)" in text
    assert "only whole runs are timed" in text
    assert "predicted, but not measured" not in text
    assert made.placed == ["cuda:0"]
    found = compare_measured(hwsim.load_machine("a100"), models["fp32"], runs=3, device="cuda")
    assert not found.rows
    assert found.measurement.runs == 3
    assert found.document()["layers"] == []
    made.falls_back = True
    with pytest.raises(InputError, match="must have CUDAExecutionProvider to run on cuda"):
        measure(models["fp32"], device="cuda")


@pytest.mark.parametrize(("threads", "busy", "warns"), [(2, 3.0, True), (1, 3.0, False), (2, 0.0, False)])
def test_threads_that_share_their_processors_are_told(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, threads: int, busy: float, warns: bool
) -> None:
    monkeypatch.setattr("hwsim.calibration.measure.runtime.Load.since", lambda self, before: Noise(busy, 0.0))
    monkeypatch.setattr("hwsim.calibration.host.Host.processors", 4)
    codes = {note.code for note in measure(models["QDQ"], threads=threads, runs=1).notes}
    assert ("noise.threads" in codes) == warns


def test_only_runs_between_two_looks_at_near_cores_count() -> None:
    """42 ns apart, 150 ns, and back; the first run of each group wakes the threads."""
    assert run_counts([3, 2, 3, 2], [42, 45, 150, 44, 42], 42) == [False, True, True] + [False] * 5 + [False, True]
    # What is far only beside what came later does not count either.
    assert run_counts([2, 2], [150, 150, 42], 42) == [False] * 4
    assert run_counts([2], [150, 150], 150) == [False, True]
    assert run_counts([2], [150, 150], 42) == [False, False]


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system binds no threads")
def test_each_thread_is_bound_to_a_processor_and_let_go_again() -> None:
    before = os.sched_getaffinity(0)
    one = Binding(1)
    assert not one.processors
    assert not one.workers
    assert not Binding(len(before) + 1).processors  # more threads than processors
    with Binding(len(before)) as binding:
        if len(before) > 1:
            assert os.sched_getaffinity(0) == {min(before)}
            assert binding.workers == ";".join(str(number + 1) for number in sorted(before)[1:])
            with binding.released():
                assert os.sched_getaffinity(0) == before
            assert os.sched_getaffinity(0) == {min(before)}
    assert os.sched_getaffinity(0) == before


def test_runs_end_where_threads_are_never_near(monkeypatch: pytest.MonkeyPatch) -> None:
    binding = Binding(1)
    binding.processors = (0, 1)
    cores = Cores(binding)
    cores.nearest = 42.0
    monkeypatch.setattr(Cores, "distance", lambda _: 150.0)
    runs = cores.runs(lambda: 0.001, 0.02, 10)
    assert len(runs.times) == len(runs.counts) >= 3
    assert not runs.near
