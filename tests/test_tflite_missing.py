"""What of a TFLite file is in no row, or in a row of bytes alone: told in every output, and refused if it is much."""

import csv
import io
import json
import warnings
from itertools import pairwise

import numpy as np
import pytest

pytest.importorskip("tflite")

from commands import call
from flatbuffers import flexbuffers
from tflite_builder import Op, T, build, fc

import hwsim
from hwsim.errors import InputError
from hwsim.workload.tflite import read_model

COMPOSITE = "STABLEHLO_COMPOSITE"
DENSE = {"DecompositionSubgraphIndex": 1, "Name": "my.dense", "CompositeAttributes": flexbuffers.Dumps({})}


def floats(*shape, data=None):
    return T(shape, "FLOAT32", data, scale=None)


def ones(*shape):
    return floats(*shape, data=np.ones(shape, np.float32))


def handle():
    return T((1,), "RESOURCE", scale=None)


def run(capsys, *words):
    """A command, whose warnings go to standard error as they do for users."""
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        return call(capsys, *words)


def save(tmp_path, *parts, **more):
    path = tmp_path / "net.tflite"
    path.write_bytes(build(*parts, **more))
    return path


def with_report(last=()):
    """Three dense layers of 31, then an operator that reports a value and writes no tensor."""
    tensors = [floats(1, 31), ones(31, 31), floats(1, 31), floats(1, 31), floats(1, 31), *last]
    layers = [fc([i, 1, -1], [out]) for i, out in ((0, 2), (2, 3), (3, 4))]
    return tensors, layers, [0], [4]


def test_an_operator_that_writes_nothing_is_told_everywhere(tmp_path, capsys):
    tensors, layers, inputs, outputs = with_report()
    path = save(tmp_path, tensors, [*layers, Op("Report", [4], [])], inputs, outputs)
    with pytest.warns(hwsim.HwsimWarning, match="writes no tensor and is left out"):
        net = hwsim.load_workload(path)
    assert net.macs == 3 * 31 * 31
    assert (net.missing.operators, net.missing.of_operators) == (1, 4)
    assert (net.missing.bytes, net.missing.of_bytes) == (0, 31 * 31 * 4)
    said = "in no row: 1 of 4 operators (25.0%) and 0 B of 3.8 KiB stored (0.0%) of the model file"
    code, out, _ = run(capsys, "run", "systolic_ws", path)
    assert (code, said in " ".join(out.split())) == (0, True), out
    data = json.loads(run(capsys, "run", "systolic_ws", path, "--json", "-")[1])
    assert (data["summary"]["missing_operators"], data["summary"]["missing_bytes"]) == (0.25, 0)
    table = list(csv.DictReader(io.StringIO(run(capsys, "run", "systolic_ws", path, "--csv", "-")[1])))
    assert {(row["missing_operators"], row["missing_bytes"]) for row in table} == {("0.25", "0.0")}
    run(capsys, "run", "systolic_ws", path, "--html", tmp_path / "net.html")
    assert said in (tmp_path / "net.html").read_text()


def test_stored_weights_are_not_left_out(tmp_path, capsys):
    tensors, layers, inputs, outputs = with_report([ones(7, 31)])
    path = save(tmp_path, tensors, [*layers, Op("Report", [4, 5], [])], inputs, outputs)
    with pytest.raises(
        InputError, match=r"operator 3, Report has stored weights and would be in no row: it writes no tensor"
    ):
        read_model(path)
    code, out, err = run(capsys, "run", "systolic_ws", path)
    assert (code, out) == (2, "")
    assert "--allow-missing" in err
    assert "868 B of 4.6 KiB stored (18.4%)" in err
    for words in (("run", "systolic_ws", path), ("show", path), ("import", path, "-o", tmp_path / "net.yaml")):
        assert run(capsys, *words, "--allow-missing")[0] == 0, words
    assert read_model(path, allow_missing=True).workload.macs == 3 * 31 * 31


def test_most_of_a_network_is_not_left_out(tmp_path):
    tensors, layers, inputs, outputs = with_report()
    reports = [Op("Report", [4], []) for _ in range(4)]
    path = save(tmp_path, tensors, [*layers, *reports], inputs, outputs)
    with pytest.raises(InputError, match=r"in no row: 4 of 7 operators \(57.1%\)"):
        read_model(path)


def dense(*sizes, inputs=1):
    """A subgraph of dense layers between these sizes."""
    tensors = [floats(1, sizes[0]) for _ in range(inputs)]
    operators, at = [], 0
    for size, to in pairwise(sizes):
        tensors += [ones(to, size), floats(1, to)]
        operators.append(fc([at, len(tensors) - 2, -1], [len(tensors) - 1]))
        at = len(tensors) - 1
    return tensors, operators, [*range(inputs)], [at]


@pytest.mark.parametrize(
    ("code", "kind", "options"),
    [
        (COMPOSITE, "StableHLOCompositeOptions", DENSE),
        ("CALL", "CallOptions", {"Subgraph": 1}),
    ],
)
def test_what_an_operator_runs_is_in_its_place(tmp_path, code, kind, options):
    """A composite is a name for a subgraph that does the same; converters of PyTorch write attention and norms so."""
    tensors = [floats(1, 31), floats(1, 17), ones(5, 17), floats(1, 5)]
    path = save(
        tmp_path, tensors, [Op(code, [0], [1], kind, options), fc([1, 2, -1], [3])], [0], [3],
        others=[dense(31, 127, 17)],
    )  # fmt: skip
    model = read_model(path)
    assert model.workload.macs == 31 * 127 + 127 * 17 + 17 * 5
    assert model.workload.graph
    assert model.workload.missing is None
    assert not model.warnings
    if code == COMPOSITE:
        runs = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(str(path))
        runs.allocate_tensors()
        runs.set_tensor(0, np.ones((1, 31), np.float32))
        runs.invoke()
        assert runs.get_tensor(3).tolist() == [[31 * 127 * 17] * 5]


def test_a_subgraph_that_does_not_fit_is_in_no_row(tmp_path):
    """A branch of two inputs in the place of an operator that gives one."""
    condition = T((1,), "BOOL", np.ones(1, np.bool_), scale=None)
    tensors = [floats(1, 31), condition, floats(1, 31)]
    choose = Op("IF", [1, 0], [2], "IfOptions", {"ThenSubgraphIndex": 1, "ElseSubgraphIndex": 1})
    path = save(tmp_path, tensors, [choose], [0], [2], others=[dense(31, 31, inputs=2)])
    with pytest.raises(InputError, match=r"operator 0, FULLY_CONNECTED has stored weights and would be in no row: "):
        read_model(path)
    net = read_model(path, allow_missing=True).workload
    assert (net.macs, net.missing.operators, net.missing.bytes) == (0, 1, 31 * 31 * 4)


def test_networks_of_other_signatures_are_named(tmp_path):
    """A language model has a network that reads a prompt and one that writes a token."""
    tensors, operators, inputs, outputs = dense(31, 127)
    path = save(
        tmp_path, tensors, operators, inputs, outputs, others=[dense(31, 5), dense(31, 7)],
        signatures=["prefill_31", "decode", "embed"],
    )  # fmt: skip
    model = read_model(path)
    assert model.workload.macs == 31 * 127
    assert model.workload.missing is None
    (warning,) = model.warnings
    assert str(warning).startswith("the file has 3 networks; the first, 'prefill_31', is read, and not 'decode'")


def test_rows_of_bytes_alone_are_told(tmp_path, capsys):
    """A custom operator with a stored matrix: what it multiplies is unknown."""
    tensors, layers, inputs, _ = with_report([ones(62, 31), floats(1, 31)])
    path = save(tmp_path, tensors, [*layers, Op("Mystery", [4, 5], [6])], inputs, [6])
    said = "rows of bytes alone, without multiply-accumulates: 1 of 4, with 1,922 of 2,883 stored weights (66.7%)"
    data = json.loads(run(capsys, "run", "systolic_ws", path, "--json", "-")[1])
    assert [m["code"] for m in data["messages"]].count("import.bytes_alone") == 1
    assert said in " ".join(run(capsys, "run", "systolic_ws", path)[1].split())


def test_a_variable_is_written_by_a_row(tmp_path):
    """A streaming network: it joins the last frame with this one, and keeps this one for the next."""
    tensors = [floats(1, 31), handle(), floats(1, 31), floats(1, 62), ones(5, 62), floats(1, 5)]
    operators = [
        Op("VAR_HANDLE", [], [1], "VarHandleOptions", {}),
        Op("READ_VARIABLE", [1], [2], "ReadVariableOptions", {}),
        Op("CONCATENATION", [2, 0], [3], "ConcatenationOptions", {"Axis": -1}),
        fc([3, 4, -1], [5]),
        Op("ASSIGN_VARIABLE", [1, 0], [], "AssignVariableOptions", {}),
    ]
    model = read_model(save(tmp_path, tensors, operators, [0], [5]))
    assert model.workload.macs == 62 * 5
    assert list(model.workload.names) == ["concat_2", "fc_3", "assign_variable_4"]
    assert model.workload["assign_variable_4"].outputs == 31
    assert model.workload.missing is None
    assert model.workload.graph


def test_what_reads_only_variables_runs_with_every_input(tmp_path):
    """The recurrent part of a cell that keeps its state in a variable: its product is no constant."""
    tensors = [floats(1, 31), handle(), floats(1, 17), ones(17, 17), floats(1, 17), ones(17, 31), floats(1, 17)]
    tensors += [floats(1, 17)]
    operators = [
        Op("VAR_HANDLE", [], [1], "VarHandleOptions", {}),
        Op("READ_VARIABLE", [1], [2], "ReadVariableOptions", {}),
        fc([2, 3, -1], [4]),
        fc([0, 5, -1], [6]),
        Op("ADD", [4, 6], [7], "AddOptions", {}),
        Op("ASSIGN_VARIABLE", [1, 7], [], "AssignVariableOptions", {}),
    ]
    net = read_model(save(tmp_path, tensors, operators, [0], [7])).workload
    assert net.macs == 17 * 17 + 31 * 17
    assert net.weights == 17 * 17 + 31 * 17


def test_values_that_are_chosen_are_a_row_of_bytes(tmp_path):
    """The best of 31 scores: no product is lost, so no warning."""
    tensors = [
        floats(1, 31),
        T((), "INT32", np.array(5, np.int32), scale=None),
        floats(1, 5),
        T((1, 5), "INT32", scale=None),
    ]
    model = read_model(save(tmp_path, tensors, [Op("TOPK_V2", [0, 1], [2, 3], "TopKV2Options", {})], [0], [2, 3]))
    assert not model.warnings
    assert next(iter(model.workload)).op == "topk_v2"


def test_a_custom_operator_is_not_the_one_that_it_is_called(tmp_path):
    """Somebody's own CONV_2D has no stride that hwsim knows."""
    raw = build([floats(1, 9, 9, 3), ones(5, 3, 3, 3), floats(1, 7, 7, 5)], [Op("CONV_2E", [0, 1], [2])], [0], [2])
    path = tmp_path / "net.tflite"
    path.write_bytes(raw.replace(b"CONV_2E", b"CONV_2D"))
    model = read_model(path)
    assert model.workload.macs == 0
    assert str(model.warnings[0]).startswith("custom CONV_2D has no model")


def test_a_transposed_convolution_of_mediapipe(tmp_path):
    """The last layer of its selfie segmentation: each of 127 x 31 places by four taps, 17 channels, 3 filters."""
    tensors = [floats(1, 127, 31, 17), ones(3, 2, 2, 17), ones(3), floats(1, 254, 62, 3)]
    model = read_model(save(tmp_path, tensors, [Op("Convolution2DTransposeBias", [0, 1, 2], [3])], [0], [3]))
    assert model.workload.macs == 127 * 31 * 2 * 2 * 17 * 3
    assert model.workload.weights == 3 * 4 * 17
    assert model.workload.graph
    assert not model.warnings


@pytest.mark.parametrize(
    ("code", "said"),
    [("ethos-u", "Vela compiled for an Ethos-U"), ("edgetpu-custom-op", "is compiled for an Edge TPU")],
)
def test_a_compiled_network_is_named(tmp_path, code, said):
    tensors = [T((1, 96, 96, 3)), T((1, 5))]
    model = read_model(save(tmp_path, tensors, [Op(code, [0], [1])], [0], [1]))
    assert f"a block that {said}: the network inside is not read" in str(model.warnings[0])
