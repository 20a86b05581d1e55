"""CSV traces: our own columns and those of SCALE-Sim."""

import re

import pytest
from hypothesis import example, given, strategies as st

from hwsim.errors import InputError
from hwsim.workload import Conv2d, Gemm, Gru, Lstm, load_workload
from hwsim.workload.table import own_columns, read_table


def read(text):
    return read_table(text, "t.csv", "t")


def places(text):
    """Where the faults are, none if there are none; anything but an InputError is an error of the test."""
    try:
        read(text)
    except InputError as error:
        return [fault.where for fault in error.faults]
    return []


def faults(text):
    with pytest.raises(InputError) as caught:
        read(text)
    return [str(fault) for fault in caught.value.faults]


def test_own_columns():
    net = read(
        "name,type,C,H,W,K,R,S,stride,pad,groups,bias,input,weight_density\n"
        "c1,conv,3,224,224,64,7,7,2,3,,64,int16,0.5\n"
        "\n"
        "# a comment\n"
        "d1,dwconv,64,112,112,64,3,,1,same,64,0\n"
        "fc,fc,512,1,1,10\n"
        '"l,1",lstm,8,1,1,16\n'
        "g,gru,8,1,1,16,,,,,,0\n"
    )
    assert not net.graph
    assert list(net) == [
        Conv2d("c1", c=3, h=224, w=224, k=64, r=7, stride=2, pad=3, input="int16", weight={"density": 0.5}),
        Conv2d("d1", c=64, h=112, w=112, k=64, r=3, pad=1, groups=64, bias=False),
        Gemm("fc", n=10, k=512),
        Lstm("l,1", input_size=8, hidden_size=16),
        Gru("g", input_size=8, hidden_size=16, bias=False),
    ]


def test_columns_may_be_left_out():
    assert read("name,C,K\na,3,8\n")["a"] == Conv2d("a", c=3, h=1, w=1, k=8)


SCALE_CONV = """Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,
Conv1, 230, 230, 7, 7, 3, 64, 2,
FC, 1, 1, 1, 1, 2048, 1000, 1,
"""


def test_scale_sim_convolutions_come_padded():
    net = read(SCALE_CONV)
    assert net["Conv1"] == Conv2d("Conv1", c=3, h=230, w=230, k=64, r=7, stride=2, bias=False)
    assert (net["Conv1"].p, net["FC"].macs) == (112, 2048000)


def test_scale_sim_strides_of_rows_and_columns():
    """An ifmap of 9 x 31 under a filter of 3 x 3: (9 - 3) / 3 + 1 rows, (31 - 3) / 2 + 1 columns."""
    head = SCALE_CONV.splitlines()[0].replace("Strides", "Stride Height, Stride Width")
    net = read(f"{head}\na, 9, 31, 3, 3, 4, 8, 3, 2,\n")
    assert net["a"].stride == (3, 2)
    assert net["a"].output.shape == (8, 3, 15)


def test_scale_sim_products():
    net = read("Layer, M, N, K,\nG1, 128, 256, 512,\n")
    assert net["G1"] == Gemm("G1", m=128, n=256, k=512, bias=False)


def test_scale_sim_sparsity():
    head = SCALE_CONV.splitlines()[0] + " Sparsity,\n"
    net = read(head + "a, 8, 8, 3, 3, 4, 8, 1, 2:4,\nb, 8, 8, 3, 3, 4, 8, 1, 4:4,\n")
    assert (net["a"].weight.density, net["b"].weight.density) == (0.5, 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["t.csv:1: column 'name' must be given"]),
        ("name,C,K\n", ["t.csv: must have a line for each layer below the header"]),
        ("name,C,K,chanels\n", ["t.csv:1: column must be one of the known ones, not 'chanels'; valid: .*"]),
        ("name,C,K,C\n", ["t.csv:1: column 'c' must be given once"]),
        ("name,C,K\na,3,x\n", ["t.csv:2: a: k must be an integer, not 'x'"]),
        ("name,C,K\na,3,\n", ["t.csv:2: a: k must be given"]),
        ("name,C,K\na,3,-1\n", ["t.csv:2: a: k must be an integer, not '-1'"]),
        ("name,C,K\na,3,4,5\n", ["t.csv:2: must have at most 3 cells, as the header, not 4"]),
        ("name,C,K\na,3,4\na,3,4\n", ["t.csv:3: the name of a layer must be its own; 'a' is on line 2"]),
        ("name,type,C,K\na,cnv,3,4\n", ["t.csv:2: a: type must be one of the known names, not 'cnv'; nearest: 'conv'"]),
        ("name,C,K,macs\na,3,4,13\n", ["t.csv:2: a: macs must be 12 by the shape, not 13"]),
        (
            "name,C,K,R\na,3,4,2\nb,x,4,1\n",
            ["t.csv:2: a: the window must fit .* rows over 1", ".* columns over 1", "t.csv:3: b: c must .*"],
        ),
        ("M,N,K\n1,2,3\n", ["t.csv:1: the first column must be the layer's name, as in 'Layer, M, N, K,'"]),
        ('name,C,K\n"a,3,4\n', ["t.csv:3: must be CSV: unexpected end of data"]),
    ],
)
def test_faults_are_told_with_their_line(text, expected):
    given = faults(text)
    assert len(given) == len(expected)
    for fault, pattern in zip(given, expected, strict=True):
        assert fault == pattern or re.fullmatch(pattern, fault)


def test_at_most_a_hundred_faults_are_told():
    assert len(faults("name,C,K\n" + "a,x,y\n" * 1000)) == 100


@pytest.mark.slow
def test_there_may_not_be_more_than_twenty_thousand_layers():
    rows = "".join(f"g{index}, 1, 1, 1,\n" for index in range(20_001))
    assert faults("Layer, M, N, K,\n" + rows) == ["t.csv:20002: a network must have at most 20000 layers"]


def test_a_file(tmp_path):
    (tmp_path / "topology.csv").write_bytes(SCALE_CONV.replace("\n", "\r\n").encode())
    assert load_workload(tmp_path / "topology.csv").name == "topology"


HEADERS = [
    ",".join(own_columns()),
    "name,type,C,H,W,K,R,S,stride,pad,groups",
    "Layer, M, N, K,",
    SCALE_CONV.splitlines()[0],
]
CELLS = st.one_of(
    st.integers(-1, 300).map(str),
    st.sampled_from(["conv", "fc", "dwconv", "lstm", "same", "int8", "", "9" * 30, "1e3", '"', "0.5"]),
)


@given(st.sampled_from(HEADERS), st.lists(st.lists(CELLS, max_size=33).map(",".join), max_size=4).map("\n".join))
def test_any_rows_read_or_are_an_input_error(header, rows):
    assert all(place.startswith("t.csv") for place in places(f"{header}\n{rows}\n"))


@given(st.text())
@example("\0")
@example("name,C,K\na\0,1,1")
@example('"')
@example("name,C,K\n" + "a" * 200_000 + ",1,1")
@example("name\x1c,C,K\r\ra,1,1")
def test_any_text_reads_or_is_an_input_error(text):
    assert all(place.startswith("t.csv") for place in places(text))
