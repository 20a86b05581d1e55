"""Trace files: short lines that mean whole layers, blocks written once, faults with their place."""

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st
from tflite_networks import model_path

from hwsim.errors import InputError
from hwsim.workload import Conv2d, Gemm, Lstm, Pool2d, load_workload, workload_names
from hwsim.workload.trace import read_trace
from hwsim.workload.trace_spec import kinds, line_specs, workload_spec
from hwsim.yaml_source import parse_yaml

HEAD = "name: net\nsource: none\ninput: [3, 8, 8]\n"


def no_base(name):
    raise InputError(f"{name} is not here")


def read(text, base=no_base):
    return read_trace(parse_yaml(text, "net.yaml"), base)


def layers(*lines, head=HEAD):
    return read(head + "layers:\n" + "".join(f"  - {{{line}}}\n" for line in lines))


def faults(text):
    with pytest.raises(InputError) as caught:
        read(text)
    return [str(fault) for fault in caught.value.faults]


def test_sizes_come_from_what_is_read():
    net = layers("conv: a, k: 16, r: 3, pad: 1, act: relu", "pool: b, type: max, r: 2", "fc: c, n: 10", "softmax: d")
    assert net["a"] == Conv2d("a", c=3, h=8, w=8, k=16, r=3, pad=1, activation="relu")
    assert net["b"] == Pool2d("b", c=16, h=8, w=8, r=2)
    assert net["c"] == Gemm("c", n=10, k=256, window=(4, 4))
    assert net["d"].shape == (1, 10)


def test_branches():
    net = layers(
        "conv: a, k: 4",
        "conv: b, k: 6, from: input",
        "concat: c, from: [a, b]",
        "dwconv: d, r: 3, pad: same, multiplier: 2",
        "pool: squeeze, type: avg",
        "mul: scale, from: [d, squeeze]",
        "add: e, from: [scale, d], act: relu6",
    )
    assert net.inputs["c"] == ("a", "b")
    assert net["c"].output.shape == (10, 8, 8)
    assert (net["d"].k, net["d"].groups) == (20, 10)
    assert net["scale"].shape == (20, 8, 8)
    assert net["e"].activation == "relu6"


def test_transformer_lines():
    net = layers(
        "embedding: tokens, rows: 1000, dim: 64",
        "gemm: qkv, n: 192",
        "move: heads, type: transpose, to: [3, 4, 16, 16]",
        "move: q, type: slice, to: [4, 16, 16], from: heads",
        "matmul: scores, b: 4, m: 16, n: 16, k: 16, from: [q, q]",
        "softmax: probabilities",
        "move: joined, type: transpose, to: [16, 64]",
        "norm: ln, type: layer",
        "activation: act, type: gelu",
        head="name: net\nsource: none\ninput: [16]\n",
    )
    assert (net["tokens"].tokens, net["tokens"].input.dtype) == (16, "int32")
    assert (net["qkv"].m, net["qkv"].k) == (16, 64)
    assert net["ln"].weights == 64


def test_recurrent_lines():
    net = layers("lstm: l, hidden: 8", "gru: g, hidden: 4", head="name: net\nsource: none\ninput: [5, 3]\n")
    assert net["l"] == Lstm("l", input_size=3, hidden_size=8, steps=5)
    assert (net["g"].input_size, net["g"].steps) == (8, 5)


def test_number_formats():
    net = layers(
        "conv: a, k: 4",
        "conv: b, k: 4, weight: ternary",
        "conv: c, k: 4, input: {dtype: int4, density: 0.5}, weight: {pattern: '2:4'}",
        head=HEAD + "dtype: {input: int16, weight: int8, output: int16}\n",
    )
    assert [(x.input.dtype, x.weight.dtype, x.output.dtype) for x in net] == [
        ("int16", "int8", "int16"),
        ("int16", "ternary", "int16"),
        ("int4", "int8", "int16"),
    ]
    assert (net["c"].input.density, net["c"].weight.density) == (0.5, 0.5)


BLOCKS = """
blocks:
  unit:
    - {conv: a, k: $k, r: $r, pad: same}
    - {conv: b, k: $k}
    - {add: sum, from: [b, in], act: $act}
  pair:
    - {use: unit, name: first, with: {k: $k, r: 3, act: none}}
    - {use: unit, name: second, with: {k: $k, r: 1, act: relu}, from: first}
"""


def test_blocks_are_written_once():
    net = read(
        HEAD
        + BLOCKS
        + "layers:\n  - {use: pair, name: one, with: {k: 3}}\n"
        + "  - {use: unit, name: two, with: {k: 3, r: 3, act: relu}}\n  - {add: end, from: [one, two]}\n"
    )
    assert [layer.name for layer in net] == [
        "one_first_a", "one_first_b", "one_first_sum", "one_second_a", "one_second_b", "one_second_sum",
        "two_a", "two_b", "two_sum", "end",
    ]  # fmt: skip
    assert net.inputs["one_first_sum"] == ("one_first_b", "input")
    assert net.inputs["one_second_sum"] == ("one_second_b", "one_first_sum")
    assert net.inputs["end"] == ("one_second_sum", "two_sum")
    assert (net["one_first_a"].r, net["two_sum"].activation) == (3, "relu")


def test_a_parameter_stands_for_a_whole_value_and_is_never_evaluated():
    text = HEAD + "blocks: {u: [{conv: a, k: $k}]}\nlayers:\n  - {use: u, name: x, with: {k: 2 * 3}}\n"
    assert faults(text) == ["net.yaml:4:27: x_a: k must be an integer from 1 to 2^31, not '2 * 3'"]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["conv: a, k: 0"], ["net.yaml:5:18: a: k must be an integer from 1 to 2^31, not 0"]),
        (["conv: a, k: 1.5"], ["net.yaml:5:18: layers[0].k: must be an integer, not 1.5"]),
        (["conv: a"], ["net.yaml:5:5: layers[0].k: must be given"]),
        (["conv: a, k: 1, strid: 2"], ["net.yaml:5:28: layers[0].strid: unknown key; nearest: 'stride'"]),
        (
            ["convv: a, k: 1"],
            [
                "net.yaml:5:5: layers[0]: must start with a kind of layer and its name, "
                "such as 'conv: conv1'; nearest: 'conv'"
            ],
        ),
        (
            ["conv: a, k: 1", "conv: b, k: 1, from: aa", "conv: c, k: 1, r: 9, from: a", "conv: d, k: 1"],
            [
                "net.yaml:6:27: layers[1].from: must name a layer that comes before, not 'aa'; nearest: 'a'",
                "net.yaml:7:5: c: the window must fit the padded input, not 9 rows over 8",
                "net.yaml:7:5: c: the window must fit the padded input, not 9 columns over 8",
            ],
        ),
        (
            ["conv: a, k: 1", "conv: a, k: 1"],
            ["net.yaml:6:5: layers[1]: the name of a layer must be its own; 'a' is given twice"],
        ),
        (
            ["conv: a, k: 4", "conv: b, k: 5", "add: c, from: [a, b]"],
            ["net.yaml:7:5: c: the input must be 5 x 8 x 8; what 'a' gives is 4 x 8 x 8"],
        ),
        (
            ["fc: a, n: 4", "conv: b, k: 5"],
            ["net.yaml:6:5: b: c, h, w must be given, or read from an image; what it reads is (1, 4)"],
        ),
        (["use: u, name: x"], ["net.yaml:5:11: layers[0].use: must name a block, not 'u'"]),
        (["conv: a, k: $k"], ["net.yaml:5:18: layers[0].k: a parameter must be of the block that uses it, not '$k'"]),
        (
            ["conv: a, k: 1, weight: int9"],
            ["net.yaml:5:29: layers[0].weight: must be one of the known names, not 'int9'; nearest: 'int8'"],
        ),
    ],
)
def test_faults_are_told_with_their_place(lines, expected):
    assert faults(HEAD + "layers:\n" + "".join(f"  - {{{line}}}\n" for line in lines)) == expected


def test_blocks_need_their_parameters():
    text = (
        HEAD
        + BLOCKS
        + "layers:\n  - {use: unit, name: x, with: {k: 3, rr: 1}}\n  - {use: unit, name: y, with: {k: 3}}\n"
    )
    assert faults(text) == [
        "net.yaml:14:43: layers[0].with.rr: must be a parameter of the block 'unit', not 'rr'; nearest: 'r'",
        "net.yaml:15:5: layers[1]: the block 'unit' must be given act, r",
    ]


def test_a_block_may_not_be_within_itself():
    text = HEAD + "blocks: {u: [{use: u, name: a}]}\nlayers: [{use: u, name: x}]\n"
    assert "nested at most 8 deep, and none within itself" in faults(text)[0]


@pytest.mark.slow
def test_blocks_may_not_multiply_without_end():
    blocks = "blocks:\n  b0: [{conv: c, k: 3}]\n"
    for level in range(1, 7):
        uses = ", ".join(f"{{use: b{level - 1}, name: n{i}}}" for i in range(20))
        blocks += f"  b{level}: [{uses}]\n"
    assert "at most 20000 layers" in faults(HEAD + blocks + "layers: [{use: b6, name: x}]\n")[0]


def test_a_plain_trace_gives_all_its_sizes():
    net = layers(
        "fc: a, k: 9216, n: 4096", "conv: b, c: 3, h: 8, w: 8, k: 4", head="name: n\nsource: s\ngraph: false\n"
    )
    assert (net.graph, net.inputs["b"], net["a"].k) == (False, (), 9216)
    with pytest.raises(InputError, match="a: k must be given, or read from another layer"):
        layers("fc: a, n: 4096", head="name: n\nsource: s\ngraph: false\n")


def test_a_derived_file():
    base = layers("conv: a, k: 4", "fc: b, n: 10")
    net = read(
        "name: sparse\nsource: x\nbase: net\ndtype: int16\n"
        "density: {a: {input: 0.25}, b: {weight: {density: 0.09, format: csc}}}\n",
        lambda name: base,
    )
    assert (net.name, net.inputs) == ("sparse", base.inputs)
    assert (net["a"].input.density, net["a"].input.bits, net["a"].weight.density) == (0.25, 16, 1.0)
    assert (net["b"].weight.density, net["b"].weight.format, net["b"].weight.bits) == (0.09, "csc", 16)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: n\nsource: s\n", "net.yaml:1:1: must have either 'layers' or a 'base' whose layers it takes"),
        ("name: n\nsource: s\nbase: x\n", "net.yaml:3:7: base: x is not here"),
        ("name: n\nlayers: [{conv: a, c: 1, h: 1, w: 1, k: 1}]\n", "net.yaml:1:1: source: must be given"),
        (
            "name: n\nsource: s\nlayers: [{conv: a, k: 1}]\n",
            "net.yaml:1:1: input must be given: the shape of what the first layer reads, such as [3, 224, 224]",
        ),
        (
            HEAD + "layers: [{conv: a, k: 1}]\ndensity: {b: {}}\n",
            "net.yaml:5:14: density: must name a layer, not 'b'; valid: 'a'",
        ),
        ("- 1\n", "net.yaml:1:1: must be a mapping of keys to values, not [1]"),
    ],
)
def test_faults_of_the_file(text, message):
    assert faults(text) == [message]


def test_the_schema_names_every_kind():
    schema = json.dumps(workload_spec().model_json_schema())
    assert all(f'"{kind}"' in schema for kind in kinds())


# Files


def test_names_and_paths(tmp_path):
    assert {"alexnet", "vgg16", "resnet50_v1_5", "mobilenet_v1_0.5_128"} <= set(workload_names())
    (tmp_path / "mine.yaml").write_text(HEAD + "layers: [{conv: a, k: 1}]\n")
    assert load_workload(tmp_path / "mine.yaml") == load_workload("mine", search=[tmp_path])
    assert "mine" in workload_names([tmp_path])
    with pytest.raises(
        InputError, match=r"must be a known workload or a path to a file, not 'alexnett'; nearest: 'alexnet'"
    ):
        load_workload("alexnett")
    with pytest.raises(InputError, match=r"absent\.yaml: cannot be read: No such file"):
        load_workload(tmp_path / "absent.yaml")
    with pytest.raises(InputError, match=r"must be a .yaml, .yml, .csv, .onnx or .tflite file, not '.txt'"):
        load_workload(tmp_path / "absent.txt")
    with pytest.raises(InputError, match=r"absent\.csv: shape can be given for .onnx and .tflite files alone"):
        load_workload(tmp_path / "absent.csv", shape={"batch": 1})


@pytest.mark.parametrize(
    "name", ["../alexnet", "", ".", "..", "a\0b", "/etc/passwd", "x" * 5000, "x" * 5000 + ".yaml", "\0.csv"]
)
def test_odd_names_are_input_errors(name):
    with pytest.raises(InputError):
        load_workload(name)


def test_bases_are_found_beside_the_file_and_may_not_form_a_ring(tmp_path):
    (tmp_path / "one.yaml").write_text(HEAD + "layers: [{conv: a, k: 1}]\n")
    (tmp_path / "two.yaml").write_text("name: two\nsource: s\nbase: one\n")
    assert load_workload(tmp_path / "two.yaml")["a"].c == 3
    (tmp_path / "one.yaml").write_text("name: one\nsource: s\nbase: two\n")
    with pytest.raises(InputError, match="none of them twice"):
        load_workload(tmp_path / "two.yaml")


def test_a_base_is_a_path_beside_the_file(tmp_path):
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "one.yaml").write_text(HEAD + "layers: [{conv: a, k: 31}]\n")
    (tmp_path / "two.yaml").write_text("name: two\nsource: s\nbase: ./nets/one.yaml\n")
    (tmp_path / "nets" / "three.yaml").write_text("name: three\nsource: s\nbase: ../two.yaml\ndtype: int16\n")
    layer = load_workload(tmp_path / "nets" / "three.yaml")["a"]
    assert (layer.k, layer.input.bits) == (31, 16)
    (tmp_path / "two.yaml").write_text("name: two\nsource: s\nbase: ./one.yaml\n")
    with pytest.raises(InputError, match=r"base: cannot be read: No such file"):
        load_workload(tmp_path / "two.yaml")


def test_a_density_of_a_pattern_is_that_of_its_layers():
    """A later key takes precedence; layers without weights have no density of weights."""
    base = layers("conv: a, k: 4", "softmax: s", "fc: b, n: 10", "fc: last, n: 7")
    net = read(
        "name: sparse\nsource: x\nbase: net\n"
        'density: {"*": {weight: 0.5, input: 0.25}, "[ab]": {weight: 0.125}, b: {input: 1}}\n',
        lambda name: base,
    )
    weights = {layer.name: layer.weight.density for layer in net}
    assert weights == {"a": 0.125, "s": 1, "b": 0.125, "last": 0.5}
    assert [layer.input.density for layer in net] == [0.25, 0.25, 1, 0.25]


SMALL = (Path(__file__).parent.parent / "workloads" / "googlenet.yaml").read_text().splitlines()[:24]


@settings(deadline=None)
@given(st.data())
def test_a_file_with_anything_changed_reads_or_is_an_input_error(data):
    text = list("\n".join(SMALL))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at : at + data.draw(st.integers(0, 6))] = data.draw(st.text("abk$019{}[],:- \n'\"#x", max_size=4))
    try:
        read("".join(text))
    except InputError as error:
        places = [fault.where for fault in error.faults]
    else:
        places = []
    assert all(place.startswith("net.yaml:") or place == "net.yaml" for place in places)


SIZES = st.one_of(st.integers(1, 8), st.sampled_from(["$k", "$j"]))
LISTS = st.lists(st.integers(1, 8), min_size=1, max_size=4)
ODD = st.one_of(
    st.sampled_from([-1, 0, 2**31, True, 0.5, None, "a", "relu", "same"]), LISTS, st.just({"dtype": "int4"})
)
TENSORS = st.sampled_from(["int4", "$k", {"density": 0.5}, {"pattern": "2:4", "format": "2:4"}, {"pattern": "none"}])
FITTING = {
    **dict.fromkeys(("input", "weight", "output"), TENSORS),
    **dict.fromkeys(("shape", "to", "parts", "rest", "stride", "dilation", "pad"), st.one_of(LISTS, SIZES)),
    **dict.fromkeys(("bias", "ceil"), st.sampled_from([True, False, "$k"])),
    "act": st.sampled_from(["relu", "none", "$k"]),
    "type": st.sampled_from(["max", "avg", "add", "relu", "layer", "lrn", "reshape", "slice", "$k"]),
    "from": st.sampled_from(["in", "a", "b", ["a", "b"], ["in", "in"], ["input", "a"], "input"]),
    "name": st.sampled_from("xyz"),
    "with": st.dictionaries(st.sampled_from("kj"), st.integers(1, 8)),
}


@st.composite
def lines(draw):
    """A line with keys of its kind, most of them with values of the right form."""
    spec = draw(st.sampled_from(line_specs()))
    optional = [field.alias or name for name, field in spec.model_fields.items() if name != spec.kind]
    needed = [field.alias or name for name, field in spec.model_fields.items() if field.is_required()]
    line = {spec.kind: "u" if spec.kind == "use" else draw(st.sampled_from("abcd"))}
    for key in sorted({*needed, *draw(st.lists(st.sampled_from(optional), max_size=3))} - {spec.kind}):
        fitting = FITTING.get(key, SIZES)
        line[key] = draw(fitting if draw(st.integers(0, 19)) else ODD)
    return line


@pytest.mark.slow
@settings(deadline=None, max_examples=200)
@given(
    st.lists(lines(), min_size=1, max_size=4),
    st.sampled_from([[3, 8, 8], [4, 5], [7]]),
    st.fixed_dictionaries({name: st.one_of(st.integers(1, 8), ODD) for name in "kj"}),
)
def test_any_lines_read_or_are_an_input_error(block, shape, arguments):
    used = {name: value for name, value in arguments.items() if f'"${name}"' in json.dumps(block)}
    spec = {"name": "n", "source": "s", "input": shape, "blocks": {"u": block}}
    text = json.dumps(spec | {"layers": [{"use": "u", "name": "z", "with": used}, {"fc": "end", "n": 2}]})
    with contextlib.suppress(InputError):
        net = read(text)
        assert net.peak_activation_bytes() > 0


@pytest.mark.parametrize("suffix", [".yaml", ".csv", ".tflite"])
@pytest.mark.parametrize("absolute", [False, True])
def test_a_base_may_be_any_file_of_a_workload(tmp_path, suffix, absolute):
    texts = {".csv": "M,N,K\n31,127,7\n", ".yaml": "name: b\nsource: s\ninput: [7]\nlayers: [{fc: a, n: 127}]\n"}
    path = tmp_path / f"some net{suffix}"
    if suffix in texts:
        path.write_text(texts[suffix])
    else:
        path.write_bytes(model_path("ad01_int8", "built").read_bytes())
    base = path if absolute else f"./{path.name}"
    (tmp_path / "mine.yaml").write_text(f"name: mine\nsource: s\nbase: {base}\ndtype: int16\n")
    network = load_workload(tmp_path / "mine.yaml")
    assert network.macs == load_workload(path).macs
    assert {layer.input.dtype for layer in network} == {"int16"}
