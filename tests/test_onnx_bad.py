"""Broken and hostile ONNX files: an error that names the file, bounded in time and memory, and nothing else."""

import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

pytest.importorskip("onnx")

import onnx
import onnx_builder as build
from onnx import TensorProto, helper, numpy_helper
from onnx_builder import Graph

from hwsim import cli
from hwsim.errors import InputError
from hwsim.files import FileView
from hwsim.workload import load_workload
from hwsim.workload.onnx import inference, parse_shapes, read_model
from hwsim.workload.onnx.wire import LARGE_BYTES, slim


def fault(tmp_path, model, **more):
    """What is said of a file: one line a fault, each with its name."""
    path = tmp_path / "net.onnx"
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    with pytest.raises(InputError) as caught:
        read_model(path, **more)
    lines = str(caught.value).splitlines()
    assert all(line.startswith(f"{path}: ") for line in lines)
    return "\n".join(line.removeprefix(f"{path}: ") for line in lines)


def chain(*kinds, shape=(1, 4)):
    """Operators one after the other on `x`, unchecked."""
    g = Graph()
    name = g.input("x", list(shape))
    for kind in kinds:
        name = g.op(kind, name)
    g.output(name, list(shape))
    return g.model(check=False)


def test_files_that_are_none(tmp_path):
    for text in (b"", b"\0", b"onnx", b"\xff" * 99, b"hello world, this is no model at all", bytes(range(256)) * 9):
        assert "must be" in fault(tmp_path, text)
    with pytest.raises(InputError, match=r"absent\.onnx: cannot be read: No such file"):
        load_workload(tmp_path / "absent.onnx")
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(InputError, match=r"folder\.onnx: must be a file, not a directory"):
        load_workload(tmp_path / "folder.onnx")
    with pytest.raises(InputError, match=r"/dev/null\.onnx: cannot be read"):
        load_workload("/dev/null.onnx")


def test_every_cut(tmp_path):
    raw = chain("Relu", "Tanh").SerializeToString()
    path = tmp_path / "net.onnx"
    for end in range(len(raw)):
        path.write_bytes(raw[:end])
        with pytest.raises(InputError, match=r"net\.onnx: "):
            read_model(path)


def test_a_missing_library_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert fault(tmp_path, b"x") == "needs the extra: pip install 'hwsim[onnx]'"


def test_graphs_that_are_none(tmp_path):
    model = chain("Relu", "Tanh")
    model.graph.node[0].input[0] = model.graph.node[1].output[0]
    assert "must have no cycle; these wait for each other: operator 0, Relu" in fault(tmp_path, model)
    model = chain("Relu", "Tanh")
    model.graph.node[1].input[0] = "missing"
    assert "operator 1, Tanh 'Tanh_1': must read a tensor of the graph; nothing gives 'missing'" in fault(
        tmp_path, model
    )
    model = chain("Relu", "Tanh")
    model.graph.node[1].output[0] = model.graph.node[0].output[0]
    assert "must write a tensor that nothing else gives" in fault(tmp_path, model)
    model = chain("Relu")
    model.graph.input.append(model.graph.input[0])
    assert fault(tmp_path, model) == "input 'x': must be given once"
    model = chain("Relu")
    model.graph.output[0].name = "elsewhere"
    assert "outputs must be written by an operator; 'elsewhere' is not" in fault(tmp_path, model)
    model = chain("Relu")
    del model.opset_import[:]
    assert fault(tmp_path, model) == "must be an ONNX model, with a graph and its opset_import"
    model = chain("Relu")
    del model.graph.node[:]
    model.graph.output[0].name = "x"
    assert fault(tmp_path, model) == "must have an operator that reads the input of the network"
    assert "must have at most 20000 operators" in fault(tmp_path, chain(*["Relu"] * 20_001))


def test_the_order_of_the_file_does_not_matter(tmp_path):
    model = chain("Relu", "Tanh", "Sigmoid")
    first, *_, last = [helper.make_node(n.op_type, n.input, n.output, n.name) for n in model.graph.node]
    model.graph.node[0].CopyFrom(last)
    model.graph.node[2].CopyFrom(first)
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    assert [layer.op for layer in read_model(tmp_path / "net.onnx").workload] == ["relu", "tanh", "sigmoid"]


def test_sizes_that_are_none(tmp_path):
    for size in (-4, -1, 0):  # how some exporters write an open size
        told = "input 'x': is 1 x ?, of which a size without a name must be given, as with --shape x=1x128"
        assert fault(tmp_path, chain("Relu", shape=(1, size))) == told
    huge = fault(tmp_path, chain("Relu", shape=(1, 2**40)))
    assert "must be an integer from 1 to 2^31, not 1099511627776" in huge
    assert "fewer than 2^63" in fault(tmp_path, chain("Relu", shape=(1, 2**30, 2**30, 2**30)))
    assert "at most 64 axes" in fault(tmp_path, chain("Relu", shape=(1,) * 99))
    assert "must be a list of 1 to 8 sizes" in fault(tmp_path, chain("Relu", shape=(1, *(2,) * 20)))


def conv(weights=None, raw=None, dtype=TensorProto.FLOAT, dims=(8, 4, 3, 3)):
    model = onnx.ModelProto()
    g = Graph()
    g.input("x", [1, 4, 6, 6])
    g.constants.append(weights or TensorProto(name="w", data_type=dtype, dims=dims, raw_data=raw or b""))
    g.output(g.op("Conv", "x", "w", name="conv"), [1, 8, 4, 4])
    model.CopyFrom(g.model(check=False))
    return model


def test_weights_that_are_none(tmp_path):
    wanted = "initializer 'w': must have 1152 bytes, as float of shape 8 x 4 x 3 x 3 has, not "
    assert fault(tmp_path, conv(raw=b"\0" * 100)) == wanted + "100"
    assert fault(tmp_path, conv(raw=b"\0" * 9999)) == wanted + "9999"  # long enough to stay in the file
    assert "sizes must not be negative" in fault(tmp_path, conv(dims=(8, -4, 3, 3)))
    assert "must have 9223372036854775808 bytes" in fault(tmp_path, conv(dims=(2**31, 2**30), raw=b"\0" * 8))
    assert "type must be one of ONNX's, not number 99" in fault(tmp_path, conv(dtype=99, raw=b"\0" * 8))
    assert "type must be one of ONNX's, not number 0" in fault(tmp_path, conv(dtype=0, raw=b"\0" * 8))
    twice = conv(raw=b"\0" * 1152)
    twice.graph.initializer.append(twice.graph.initializer[0])
    assert fault(tmp_path, twice) == "initializer 'w': must be given once"
    stored = TensorProto(name="w", data_type=TensorProto.INT8, dims=(8, 4, 3, 3), float_data=[0.0] * 2000)
    assert "values of int8 must not be stored as float" in fault(tmp_path, conv(stored))
    odd = numpy_helper.from_array(np.ones((8, 3, 3, 3), np.float32), "w")
    assert "operator 0, Conv 'conv': weights must be of a part of the 4 input channels, not of 3 x 1" in fault(
        tmp_path, conv(odd)
    )
    odd = numpy_helper.from_array(np.ones((8, 4, 9, 9), np.float32), "w")
    assert "operator 0, Conv 'conv': the sizes of what it writes must not be negative, not (1, 8, -2, -2)" in fault(
        tmp_path, conv(odd)
    )
    texts = helper.make_tensor("w", TensorProto.STRING, (8, 4, 3, 3), [b"x"] * 288)
    (tmp_path / "net.onnx").write_bytes(conv(texts).SerializeToString())
    read_model(tmp_path / "net.onnx")  # their bytes are counted as ones; no error, and no crash


def test_sizes_that_are_open(tmp_path):
    g = Graph()
    for name, shape in (("ids", ["batch", "sequence"]), ("mask", ["batch", "sequence", None]), ("seen", ["past", 4])):
        g.op("Relu", g.input(name, shape), name=f"r{name}")
    g.output("rids_out", ["batch", "sequence"])
    model = g.model(check=False)
    assert fault(tmp_path, model).splitlines() == [
        "input 'ids': is batch x sequence, of which 'batch' and 'sequence' must be given",
        "input 'mask': is batch x sequence x ?, of which 'batch' and 'sequence' and a size without a name must be given, "
        "as with --shape batch=1,sequence=128,mask=1x128x128",
    ]
    read_model(tmp_path / "net.onnx", shape=parse_shapes(["batch=1,sequence=128,mask=1x128x128"]))
    left = fault(tmp_path, model, shape={"sequence": 8})
    assert left == (
        "input 'mask': is batch x sequence x ?, of which a size without a name must be given, as with --shape mask=1x8x128"
    )
    assert "shape must be of an input, or a symbolic size, not 'sequnce'; nearest: 'sequence'" in fault(
        tmp_path, model, shape={"sequnce": 8}
    )
    assert "size 'sequence' must be one number, not 8 and 9" in fault(
        tmp_path, model, shape={"ids": (1, 8), "mask": (1, 9, 1)}
    )
    assert "shape must have 2 sizes, not 3" in fault(tmp_path, model, shape={"ids": (1, 8, 1)})
    for value in (0, -1, 2**40, 1.5, True, "8", (), (1, 0), None, [[1]]):
        assert "must be made of integers from 1 to 2^31" in fault(tmp_path, model, shape={"ids": value})
    assert "shape must be a mapping" in fault(tmp_path, model, shape="batch=1")
    time_first = chain("Relu", shape=("sequence", 4))
    assert "'sequence' must be given" in fault(tmp_path, time_first)  # no batch
    untold = chain("Relu")
    untold.graph.input[0].type.tensor_type.ClearField("shape")
    assert (
        fault(tmp_path, untold)
        == "input 'x': has no shape in the file, so it must be given, as with --shape x=1x3x224x224"
    )


def test_an_input_that_is_no_tensor(tmp_path):
    model = chain("Relu")
    model.graph.input.add(name="list").type.sequence_type.elem_type.tensor_type.elem_type = 1
    assert fault(tmp_path, model) == "input 'list': must be a tensor"


@pytest.mark.parametrize(
    "text", ["", "batch", "=1", "batch=", "batch=x", "batch=1x", "ids=1,x128", "a=1,a=2", "a=-1", "a=1.5", "a=1X2"]
)
def test_the_option_says_how_it_is_written(text):
    with pytest.raises(InputError, match="--shape must"):
        parse_shapes([text])


def test_the_option():
    assert parse_shapes(["batch=1,sequence=128", "ids=1x128"]) == {"batch": 1, "sequence": 128, "ids": (1, 128)}
    assert parse_shapes(["a/b:0=3x4"]) == {"a/b:0": (3, 4)}


def test_shapes_that_do_not_follow(tmp_path):
    g = Graph()
    x = g.input("x", [1, 4])
    x = g.op("Mystery", x, name="mystery", domain="my")
    g.output(g.op("MatMul", x, g.constant("w", np.ones((4, 4), np.float32)), name="fc"), [1, 4])
    told = fault(tmp_path, g.model(domains=["my"], check=False))
    assert "the shape of 'mystery_out', which operator 0, my.Mystery 'mystery' writes, is not known" in told
    assert "give --shape mystery_out=1x4, or --allow-missing" in told
    g = Graph()
    x = g.input("x", [1, 4])
    g.output(g.op("Reshape", x, g.constant("shape", np.array([3, 5], np.int64))), [3, 5])
    assert "a reshape must keep the number of values, not change (1, 4) to (3, 5)" in fault(
        tmp_path, g.model(check=False)
    )


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number, content):
    """A field of a protobuf message that holds bytes or another message."""
    return varint(number << 3 | 2) + varint(len(content)) + content


@pytest.mark.parametrize("depth", [20, 100, 5000])
def test_what_is_nested_deeply(tmp_path, depth):
    """A Loop in a Loop in a Loop: the parser's own limit is about 30 of them."""
    body = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])], "g", [], [helper.make_tensor_value_info("y", 1, [1, 4])]
    )
    raw = body.SerializeToString()
    ends = body.output[0].SerializeToString()
    for _ in range(depth):
        loop = field(5, field(1, b"body") + field(6, raw) + b"\xa0\x01\x05")
        raw = field(1, field(1, b"") * 2 + field(1, b"x") + field(2, b"y") + field(4, b"Loop") + loop) + field(12, ends)
    given = helper.make_tensor_value_info("x", 1, [1, 4]).SerializeToString()
    model = b"\x08\x08" + field(8, b"\x10\x11") + field(7, raw + field(11, given))
    if depth > 20:
        assert "nested too deep" in fault(tmp_path, model)
    else:
        (tmp_path / "net.onnx").write_bytes(model)
        assert read_model(tmp_path / "net.onnx").workload.layers[0].op == "loop"


def test_functions_that_call_themselves(tmp_path):
    def calls(*bodies):
        model = chain("F0")
        model.graph.node[0].domain = "my"
        model.opset_import.append(helper.make_opsetid("my", 1))
        for index, names in enumerate(bodies):
            nodes = [
                helper.make_node(name, ["a"], [f"o{i}"], domain="my" if name.startswith("F") else "")
                for i, name in enumerate(names)
            ]
            model.functions.append(helper.make_function("my", f"F{index}", ["a"], ["o0"], nodes, model.opset_import))
        return model

    assert "functions must not call themselves" in fault(tmp_path, calls(["F1"], ["F0"]))
    doubling = [[f"F{index + 1}"] * 2 for index in range(40)] + [["Relu"]]  # 2^40 operators
    assert "its functions stand for more" in fault(tmp_path, calls(*doubling))


def test_large_files_take_little_memory(tmp_path):
    """A sparse file of 200 MB whose weights are one array: it is counted where it is."""
    g = Graph()
    x = g.input("x", [1, 4])
    g.output(g.op("MatMul", x, "w", name="fc"), [1, 16])
    g.constants.append(TensorProto(name="w", data_type=TensorProto.FLOAT, dims=(4, 16)))
    raw = g.model(check=False).SerializeToString()
    rows = 2**26 * 3
    tensor = TensorProto(name="w", data_type=TensorProto.INT8, dims=(4, rows // 4)).SerializeToString()
    size = rows

    tensor += b"\x4a" + varint(size)  # raw_data of so many bytes follows
    model = onnx.ModelProto.FromString(raw)
    del model.graph.initializer[:]
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = rows // 4
    graph = model.graph.SerializeToString() + b"\x2a" + varint(len(tensor) + size) + tensor
    model.ClearField("graph")
    path = tmp_path / "large.onnx"
    with path.open("wb") as stream:
        stream.write(b"\x3a" + varint(len(graph) + size) + graph)
        stream.seek(size, 1)
        stream.write(model.SerializeToString())
    tracemalloc.start()
    net = read_model(path, shape={"x": (1, 4)}).workload
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (net["fc"].n, net["fc"].weight.density) == (rows // 4, 0.0)
    assert peak < 2.5 * size  # the mask of dead channels, and no copy of the weights beside it


def test_arrays_stay_in_the_file(tmp_path):
    model = chain("Relu")
    large = np.arange(LARGE_BYTES, dtype=np.float32)
    for name in ("a", "b"):
        model.graph.initializer.append(numpy_helper.from_array(large, name))
    model.graph.initializer.append(helper.make_tensor("c", TensorProto.FLOAT, [LARGE_BYTES], large))  # float_data
    raw = model.SerializeToString()
    path = tmp_path / "x.onnx"
    path.write_bytes(raw)
    small, stored = slim(FileView(path, 2**20))
    assert len(small) < 1000
    assert [stored[i].field for i in range(3)] == ["raw", "raw", "float"]
    for item in stored.values():
        assert (np.frombuffer(raw, "<f4", item.size // 4, item.offset) == large).all()
    assert [t.name for t in onnx.ModelProto.FromString(small).graph.initializer] == ["a", "b", "c"]


def test_an_equation_that_would_loop_for_ever_is_refused(tmp_path):
    """Bytes for which ONNX's inference of Einsum never ends."""
    g = Graph()
    name = g.input("x", [2, 3])
    g.op("Einsum", name, name, equation=b"5\xf2\x8d\xb6C}\xdaK")
    assert "equation must be of letters, commas and an arrow" in fault(
        tmp_path, g.model(check=False).SerializeToString()
    )


def endless_server():
    """The server, with a loop in place of the library's own, which only some versions of onnx have."""
    code = Path(inference.__file__).with_name("_inference_server.py").read_text()
    assert code.count("            schema = defs") == 1
    return code.replace(
        "            schema = defs", "            while True:\n                pass\n            schema = defs"
    )


def test_inference_has_a_limit_of_time_and_may_die(monkeypatch, tmp_path):
    """An operator that loops, or ends the process, is an error; the next one has a new process."""
    types = {"x": helper.make_tensor_type_proto(TensorProto.FLOAT, [2, 3])}
    loop = helper.make_node("Einsum", ["x", "x"], ["y"], equation=b"5\xf2\x8d\xb6C}\xdaK")
    (tmp_path / "server.py").write_text(endless_server())
    monkeypatch.setattr(inference, "SECONDS", 0.5)
    monkeypatch.setattr(inference, "_SERVER", tmp_path / "server.py")
    monkeypatch.setattr(inference, "_server", inference._Server())
    monkeypatch.setattr(inference, "_owner", os.getpid())
    with pytest.raises(InputError, match=r"takes longer than 0\.5 s"):
        inference.infer_node_outputs("Einsum", 17, "", loop, types, {}, [("", 17)])
    monkeypatch.undo()
    relu = helper.make_node("Relu", ["x"], ["y"])

    def shape():
        outputs, reason = inference.infer_node_outputs("Relu", 17, "", relu, types, {}, [("", 17)])
        return [dim.dim_value for dim in onnx.TypeProto.FromString(outputs["y"]).tensor_type.shape.dim], reason

    assert shape() == ([2, 3], "")
    inference._own().process.kill()
    inference._own().process.wait()
    assert shape() == ([2, 3], "")


def test_a_server_whose_command_is_killed_ends_too():
    """It would loop for ever: nobody is there to stop it."""
    code = endless_server().replace("MAX_SECONDS = 20", "MAX_SECONDS = 1")
    types = {"x": helper.make_tensor_type_proto(TensorProto.FLOAT, [2, 3])}
    loop = helper.make_node("Einsum", ["x", "x"], ["y"], equation=b"5\xf2\x8d\xb6C}\xdaK")

    def packed(message):
        return base64.b64encode(message.SerializeToString()).decode()

    request = {"code": "Einsum", "version": 17, "domain": "", "node": packed(loop), "data": {}, "opsets": [["", 17]]}
    request["types"] = {name: packed(kind) for name, kind in types.items()}
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(request) + "\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (-signal.SIGXCPU, "ready\n")


# Fuzzing


def seeds():
    small = build.small_convnet()
    models = [small, build.bert(1, 16, 2, 4), build.bert(1, 16, 2, "s", "n", dynamic=True)]
    with contextlib.suppress(ImportError):
        models += [build.quantized(small, "QDQ"), build.quantized(small, "QOperator")]
    return [model.SerializeToString() for model in models]


@pytest.fixture(scope="module")
def serialized():
    return seeds()


@given(data=st.data())
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_changed_bytes_give_a_network_or_an_error(tmp_path, serialized, data):
    raw = bytearray(data.draw(st.sampled_from(serialized)))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(raw) - 1))
        kind = data.draw(st.sampled_from(("set", "cut", "double")))
        if kind == "set":
            raw[at] = data.draw(st.integers(0, 255))
        elif kind == "cut":
            del raw[at : at + data.draw(st.integers(1, 40))]
        else:
            raw[at:at] = raw[at : at + data.draw(st.integers(1, 40))]
        if not raw:
            return
    path = tmp_path / "net.onnx"
    path.write_bytes(bytes(raw))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            read_model(path, shape={})
    except InputError as error:
        assert str(error).startswith(f"{path}: ")


def test_bad_files_end_commands_with_two(tmp_path, capsys):
    path = tmp_path / "net.onnx"
    path.write_bytes(b"\x08\x08\x3a\xff")
    for words in (
        ["run", "systolic_ws", path],
        ["import", path, "-o", "-"],
        ["show", path],
        ["validate", "systolic_ws", path],
    ):
        sys.argv = ["hwsim", *map(str, words)]
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capsys.readouterr()
        assert (stop.value.code, out) == (2, "")
        assert err.startswith(f"hwsim: {path}: must be a whole ONNX file")
    sys.argv = ["hwsim", "import", "weights.h5", "-o", "-"]
    with pytest.raises(SystemExit):
        cli.main()
    assert (
        capsys.readouterr().err == "hwsim: weights.h5: must be a .onnx, .tflite, .csv, .cfg or .yaml file, not '.h5'\n"
    )
