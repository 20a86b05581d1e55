"""What of an ONNX file is in no row: told in every output, and refused if it is much or has weights."""

import csv
import io
import json
import warnings

import numpy as np
import pytest

pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper
from onnx_builder import Graph
from test_onnx import read, run as run_command, save

import hwsim
from hwsim.errors import InputError
from hwsim.workload.onnx import read_model
from hwsim.workload.onnx.input_shapes import parse_shapes


def run(capsys, *words):
    """A command, whose warnings go to standard error as they do for users."""
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        return run_command(capsys, *words)


def mystery(tail, before=1):
    """A convolution, then an operator whose output nobody knows, then `tail` more operators of it."""
    g = Graph()
    x = g.input("x", [1, 3, 9, 9])
    for i in range(before):
        x = g.op("Conv", x, g.weight(f"w{i}", 3, 3, 3, 3), pads=[1] * 4, name=f"conv{i}")
    g.output(x, [1, 3, 9, 9])
    x = g.op("Mystery", x, domain="my", name="mystery")
    for kind in tail:
        if kind == "Conv":
            x = g.op("Conv", x, g.weight("last", 5, 3, 3, 3), name="last")
        else:
            x = g.op(kind, x)
    g.output(x, ["n", "m"])
    return g.model(domains=["my"], check=False)


def test_a_short_tail_is_told_everywhere(tmp_path, capsys):
    path = save(tmp_path, mystery(["Relu"], before=3))
    with pytest.warns(hwsim.HwsimWarning, match="left out"):
        net = hwsim.load_workload(path)
    assert (net.missing.operators, net.missing.of_operators) == (2, 5)
    assert (net.missing.bytes, net.missing.of_bytes) == (0, 3 * 81 * 4)
    said = "in no row: 2 of 5 operators (40.0%) and 0 B of 972 B stored (0.0%) of the model file"
    code, out, _ = run(capsys, "run", "systolic_ws", path)
    assert (code, said in out) == (0, True)
    data = json.loads(run(capsys, "run", "systolic_ws", path, "--json", "-")[1])
    assert (data["summary"]["missing_operators"], data["summary"]["missing_bytes"]) == (0.4, 0)
    assert "import.missing" in [message["code"] for message in data["messages"]]
    rows = list(csv.DictReader(io.StringIO(run(capsys, "run", "systolic_ws", path, "--csv", "-")[1])))
    assert {(row["missing_operators"], row["missing_bytes"]) for row in rows} == {("0.4", "0.0")}
    run(capsys, "run", "systolic_ws", path, "--html", tmp_path / "net.html")
    assert said in (tmp_path / "net.html").read_text()


def test_a_trace_remembers(tmp_path, capsys):
    path = save(tmp_path, mystery(["Relu"], before=3))
    assert run(capsys, "import", path, "-o", tmp_path / "net.yaml")[0] == 0
    again = hwsim.load_workload(tmp_path / "net.yaml")
    assert again.missing == read_model(path).workload.missing
    assert again.replace([]).missing == again.lowered().missing == again.select("conv*").missing == again.missing


def test_most_of_a_network_is_not_left_out(tmp_path, capsys):
    path = save(tmp_path, mystery(["Relu", "Tanh"]))
    with pytest.raises(InputError, match=r"in no row: 3 of 4 operators \(75.0%\)"):
        read_model(path)
    code, out, err = run(capsys, "run", "systolic_ws", path)
    assert (code, out) == (2, "")
    assert "--allow-missing" in err
    for words in (
        ("run", "systolic_ws", path), ("show", path), ("explain", "systolic_ws", path, "conv0"),
        ("import", path, "-o", tmp_path / "net.yaml"), ("compare", "systolic_ws", "systolic_os", path),
        ("validate", "systolic_ws", path, "--layer", "conv0", "--sample", "8"),
    ):  # fmt: skip
        assert run(capsys, *words, "--allow-missing")[0] == 0, words


def test_stored_weights_are_not_left_out(tmp_path):
    """The option of the error gives a shape that the convolution after it takes."""
    path = save(tmp_path, mystery(["Conv"], before=9))
    with pytest.raises(InputError) as caught:
        read_model(path)
    told = str(caught.value)
    assert "operator 10, Conv 'last' has stored weights and would be in no row" in told
    option = told.split("--shape ")[1].split(",", maxsplit=1)[0]
    assert option == "mystery_out=1x3x56x56"
    whole = read_model(path, shape=parse_shapes([option])).workload
    assert whole.macs - 9 * 81 * 81 == 54 * 54 * 5 * 27
    assert whole.missing is None
    assert read_model(path, allow_missing=True).workload.macs == 9 * 81 * 81


def test_a_second_output_without_a_shape_loses_nothing(tmp_path):
    """An operator of another domain with its first output in the file, as exporters of language models write it."""
    g = Graph()
    x = g.input("x", [1, 7, 16])
    out, _ = g.op("Attend", x, domain="my", outputs=2, name="attend")
    g.output(g.op("MatMul", out, g.weight("w", 16, 5)), [1, 7, 5])
    model = g.model(domains=["my"], check=False)
    model.graph.value_info.add().CopyFrom(model.graph.input[0])
    model.graph.value_info[0].name = out
    found = read_model(save(tmp_path, model))
    assert found.workload.macs == 7 * 16 * 5
    assert found.workload.missing is None


def test_an_operator_without_a_model_that_has_weights_is_refused_or_told(tmp_path):
    """Its bytes are a row, but its MACs are not known; without weights it is a row with a warning."""
    g = Graph()
    x = g.input("x", [1, 7, 16])
    y = g.op("Attend", x, g.weight("w", 16, 5), domain="my", name="attend")
    g.output(g.op("MatMul", y, g.weight("v", 5, 3), name="last"), [1, 7, 3])
    model = g.model(domains=["my"], check=False)
    model.graph.value_info.add().CopyFrom(model.graph.output[0])
    model.graph.value_info[0].name = y
    model.graph.value_info[0].type.tensor_type.shape.dim[2].dim_value = 5
    with pytest.raises(InputError, match=r"operator 0, my.Attend 'attend' has stored weights and no model"):
        read_model(save(tmp_path, model))
    found = read_model(save(tmp_path, model), allow_missing=True)
    assert found.workload.macs == 7 * 5 * 3
    assert found.workload.weights == 16 * 5 + 5 * 3
    assert found.workload.missing is None
    report = hwsim.simulate(hwsim.load_machine("systolic_ws"), found.workload)
    (told,) = (note for note in report.messages if note.code == "import.bytes_alone")
    assert (told.values["rows"], told.values["weights"]) == (1, 16 * 5)


def test_nothing_is_missing_of_a_whole_file(tmp_path):
    g = Graph()
    g.output(g.op("Relu", g.input("x", [1, 4])))
    assert read(tmp_path, g.model()).workload.missing is None
    flags = g.constant("unused", np.ones(9, np.float32)), TensorProto.FLOAT
    assert read(tmp_path, g.model()).workload.missing is None, flags


def test_a_body_with_stored_weights_and_no_model_is_refused(tmp_path):
    """A Scan of opset 8, whose first axis is a batch."""
    g = Graph(opset=8)
    nodes = [
        helper.make_node("MatMul", ["a", "u"], ["t"]),
        helper.make_node("Add", ["t", "h"], ["next"]),
        helper.make_node("Identity", ["next"], ["y"]),
    ]
    ins, outs = ([helper.make_tensor_value_info(name, 1, shape) for name, shape in sizes] for sizes in (
        [("h", [1, 7]), ("a", [1, 31])], [("next", [1, 7]), ("y", [1, 7])],
    ))  # fmt: skip
    body = helper.make_graph(nodes, "body", ins, outs, [numpy_helper.from_array(np.ones((31, 7), np.float32), "u")])
    reads = g.input("h", [1, 1, 7]), g.input("x", [1, 11, 1, 31])
    last, steps = g.op("Scan", "", *reads, body=body, num_scan_inputs=1, outputs=2, name="scan")
    g.output(last, [1, 1, 7])
    g.output(steps, [1, 11, 1, 7])
    (tmp_path / "net.onnx").write_bytes(g.model(check=False).SerializeToString())
    with pytest.raises(InputError, match="Scan 'scan' has stored weights and"):
        read_model(tmp_path / "net.onnx")


def test_operands_that_fit_no_size_are_told_as_such(tmp_path):
    """A detector that halves and doubles its maps takes sizes of a multiple alone; no shape of a result mends that."""
    g = Graph()
    x = g.input("x", [1, 3, "height", "width"])
    for name in ("one", "two", "three"):
        x = g.op("Conv", x, g.weight(name, 3, 3, 3, 3), pads=[1] * 4, strides=[2, 2])
    once = g.op("Conv", x, g.weight("four", 3, 3, 3, 3), pads=[1] * 4, strides=[2, 2])
    twice = g.op("Resize", once, "", g.constant("scales", np.array([1, 1, 2, 2], np.float32)), mode="nearest")
    g.output(g.op("Conv", g.op("Add", x, twice, name="sum"), g.weight("last", 3, 3, 3, 3)), [1, 3, "h", "w"])
    (tmp_path / "net.onnx").write_bytes(g.model(check=False).SerializeToString())
    assert read_model(tmp_path / "net.onnx", shape={"height": 128, "width": 256}).workload.macs
    message = "Add 'sum' reads 1x3x16x33 and 1x3x16x34, which do not fit each other, with x=1x3x127x257;"
    with pytest.raises(InputError, match=message):
        read_model(tmp_path / "net.onnx", shape={"height": 127, "width": 257})
