"""CSV traces: our own columns and those of SCALE-Sim."""

import math
import re
import warnings

import pytest
from hypothesis import example, given, strategies as st

from hwsim.errors import HwsimWarning, InputError
from hwsim.workload import BatchedMatmul, Conv2d, Gemm, Gru, Lstm, load_workload
from hwsim.workload.table import own_columns, read_table


def read(text):
    return read_table(text, "t.csv", "t")


def places(text):
    """Where the faults are, none if there are none; anything but an InputError is an error of the test."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", HwsimWarning)
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
    """The last window of Conv1 reaches past the 230 rows: ceil((230 - 7 + 2) / 2) = 113."""
    net = read(SCALE_CONV)
    assert net["Conv1"] == Conv2d("Conv1", c=3, h=230, w=230, k=64, r=7, stride=2, pad=(0, 0, 1, 1), bias=False)
    assert (net["Conv1"].p, net["FC"].macs) == (113, 2048000)


def test_scale_sim_strides_of_rows_and_columns():
    """An ifmap of 9 x 31 under a filter of 3 x 3: (9 - 3) / 3 + 1 rows, (31 - 3) / 2 + 1 columns."""
    head = SCALE_CONV.splitlines()[0].replace("Strides", "Stride Height, Stride Width")
    net = read(f"{head}\na, 9, 31, 3, 3, 4, 8, 3, 2,\n")
    assert net["a"].stride == (3, 2)
    assert net["a"].output.shape == (8, 3, 15)


@pytest.mark.parametrize(("size", "window", "stride"), [(224, 11, 4), (31, 3, 2), (127, 7, 5), (9, 9, 4), (1, 1, 3)])
def test_scale_sim_counts_the_window_that_reaches_past_the_ifmap(size, window, stride):
    """ceil((h - r + s) / s) rows: 55 for the first layer of AlexNet, where 54 windows fit."""
    layer = read(f"{SCALE_CONV.splitlines()[0]}\na, {size}, {size}, {window}, {window}, 3, 5, {stride},\n")["a"]
    rows = math.ceil((size - window + stride) / stride)
    assert (layer.p, layer.q, layer.macs) == (rows, rows, rows**2 * window**2 * 3 * 5)
    assert layer.inputs == 3 * size**2


def test_scale_sim_reads_convolutions_by_place():
    """Its DeepBench topologies call both sizes of the ifmap its width; others write 'num filters'."""
    net = read(
        "Layer,IFMAP Width,IFMAP Width,Filter Height,Filter Width,Channels,num filters,stride,\na,700,161,20,5,1,32,2,\n"
    )
    assert net["a"] == Conv2d("a", c=1, h=700, w=161, k=32, r=20, s=5, stride=2, pad=(0, 0, 0, 0), bias=False)


def test_scale_sim_batch_size():
    """So many images by the same filters."""
    layer = read(SCALE_CONV.splitlines()[0] + "Batch size,\na, 31, 30, 3, 5, 7, 11, 2, 13,\n")["a"]
    one = Conv2d("a", c=7, h=31, w=30, k=11, r=3, s=5, stride=2, pad=(0, 0, 0, 1))
    assert (layer.macs, layer.weights, layer.inputs) == (13 * one.macs, one.weights, 13 * one.inputs)
    assert layer.output.shape == (11, 13, 15, 14)


def test_scale_sim_depthwise():
    """A name with DP is run channel by channel."""
    layer = read(SCALE_CONV.splitlines()[0] + "\nDP1, 31, 31, 3, 3, 7, 1, 1,\n")["DP1"]
    assert (layer.depthwise, layer.groups, layer.k, layer.macs) == (True, 7, 7, 29 * 29 * 9 * 7)


def test_text_after_the_last_comma_is_a_comment():
    text = SCALE_CONV.replace("64, 2,", "64, 2, # stem").replace("1000, 1,", "1000, 1, 2")
    with pytest.warns(HwsimWarning, match=r"t.csv: text after the last comma of 2 lines is not read: '# stem', '2'"):
        assert list(read(text)) == list(read(SCALE_CONV))


def test_swapped_headers_are_read_by_place_with_a_warning():
    """SCALE-Sim reads columns by their place."""
    header, line = (
        "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, {}, Strides,\n",
        "a,31,31,3,3,5,7,1,",
    )
    right = read(header.format("Channels, Num Filter") + line)
    with pytest.warns(
        HwsimWarning, match="read by place, not by name: 'Num Filter' as channels, 'Channels' as num fil"
    ):
        swapped = read(header.format("Num Filter, Channels") + line)
    assert [*swapped] == [*right]
    assert (right["a"].c, right["a"].k) == (5, 7)


def test_columns_that_a_type_does_not_have_are_named():
    """A fully connected layer reads its whole image; a filter of another size or a stride is no part of it."""
    head = "name,type,c,h,w,k,r,s,stride\n"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net = read(head + "whole,fc,7,3,5,31,3,5,1\nlstm,lstm,31,1,1,17,1,1,1\n")
    assert net["whole"].macs == 7 * 3 * 5 * 31
    with pytest.warns(HwsimWarning, match="t.csv: a: a layer of type fc has no r, stride: "):
        assert read(head + "a,fc,7,3,3,31,2,3,2\n").macs == 7 * 9 * 31
    with pytest.warns(HwsimWarning, match="t.csv: l: a layer of type lstm has no h: "):
        read("name,type,c,h,k\nl,lstm,31,5,17\n")


def test_equal_names_are_numbered():
    net = read("Layer, M, N, K,\na, 1, 2, 3,\na_2, 4, 5, 6,\na, 7, 8, 9,\na, 1, 1, 1,\n")
    assert [(layer.name, layer.macs) for layer in net] == [("a", 6), ("a_2", 120), ("a_3", 504), ("a_4", 1)]


def test_products_without_names():
    assert list(read("M,N,K\n128,64,32\n16,16,17\n")) == [
        Gemm("gemm1", m=128, n=64, k=32, bias=False),
        Gemm("gemm2", m=16, n=16, k=17, bias=False),
    ]
    assert read("M,K,N\n2,3,5\n")["gemm1"] == Gemm("gemm1", m=2, k=3, n=5, bias=False)


def test_a_batch_of_products():
    """SCALE-Sim takes an integer after K for the batch of independent products."""
    head, row = read("Layer,M,N,K,Batch,\na,2,3,5,7,\n"), read("Layer,M,N,K,\na,2,3,5,7,\n")
    assert head["a"] == row["a"] == BatchedMatmul("a", b=7, m=2, n=3, k=5)


TABLE = "name,type,C,K,weight_density\nfirst layer,fc,1760,127,0.5\nsecond,fc,127,10,1\n"


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (TABLE.encode("utf-8-sig"), "UTF-8 with a byte order mark"),
        (TABLE.encode("utf-16"), "UTF-16"),
        (TABLE.replace(",", "\t").encode("utf-16"), "Excel: Unicode text"),
        (TABLE.encode("utf-16-be"), "UTF-16 without a mark"),
        (TABLE.replace(",", ";").replace("0.5", "0,5").encode(), "semicolons, decimal commas"),
        (b"sep=;\r\n" + TABLE.replace(",", ";").encode(), "Excel's line for the separator"),
        (TABLE.replace("\n", "\r").encode(), "CR line ends"),
        (TABLE.replace("\n", "\r\n").encode(), "CR LF line ends"),
        (TABLE.replace("first layer", "first\xa0layer").encode("cp1252"), "no-break space, Windows-1252"),
        (TABLE.replace("1760", '"1,760"').encode(), "thousands"),
        (TABLE.replace("1760", "1 760").encode(), "thousands, blank"),
        (TABLE.replace("1760", "1\u202f760").encode(), "thousands, narrow no-break space"),
        (TABLE.replace(",", ";").replace("1760", "1.760").encode(), "thousands, point"),
        (TABLE.replace("1760", "1760.0").replace("127", "127.").encode(), "integers as floats"),
        (TABLE.replace(",", "\xa0,\xa0").encode(), "no-break spaces around cells"),
    ],
)
def test_tables_of_spreadsheets(tmp_path, raw, what):
    (tmp_path / "t.csv").write_bytes(raw)
    assert list(load_workload(tmp_path / "t.csv")) == list(read(TABLE)), what


@pytest.mark.parametrize("raw", [b"name,C,K\0\na,1,1", b"\x81\x8d\x8f", b"\xff\xfea", b"\0"])
def test_a_binary_table_is_refused(tmp_path, raw):
    (tmp_path / "t.csv").write_bytes(raw)
    with pytest.raises(InputError, match=r"t.csv: must be text in UTF-8, UTF-16 or Windows-1252, not binary"):
        load_workload(tmp_path / "t.csv")


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
        (
            "name,C,K,chanels\n",
            [
                "t.csv:1: column must be one of the known ones, not 'chanels'",
                "t.csv:1: the columns are net, .*, steps",
            ],
        ),
        ("layer,C,K\n", ["t.csv:1: column must be .*, not 'layer'; nearest: 'name'", "t.csv:1: column 'name' must .*"]),
        ("name,C,K,C\n", ["t.csv:1: column 'c' must be given once"]),
        ("name,C,K\na,3,x\n", ["t.csv:2: a: k must be an integer, not 'x'"]),
        ("name,C,K\na,3,\n", ["t.csv:2: a: k must be given"]),
        ("name,C,K\na,3,-1\n", ["t.csv:2: a: k must be an integer, not '-1'"]),
        ("name,C,K\na,3,4,5\n", ["t.csv:2: must have at most 3 cells, as the header, not 4"]),
        ("name,type,C,K\na,cnv,3,4\n", ["t.csv:2: a: type must be one of the known names, not 'cnv'; nearest: 'conv'"]),
        ("name,C,K,macs\na,3,4,13\n", ["t.csv:2: a: macs must be 12 by the shape, not 13"]),
        (
            "name,C,K,R\na,3,4,2\nb,x,4,1\n",
            ["t.csv:2: a: the window must fit .* rows over 1", ".* columns over 1", "t.csv:3: b: c must .*"],
        ),
        ("M,N,K\n1,2,3.5\n", ["t.csv:2: k must be an integer, not '3.5'"]),
        ("name,C,K\na,١,3\n", ["t.csv:2: a: c must be an integer, not '١'"]),
        ("name;C;K\na;10.000;3\n", ["t.csv:2: a: c must be an integer; '10.000' may be 10 or 10000: write that"]),
        ("Layer,M,N,K,\na,1,2,3,x,\n", ["t.csv:2: column 5 must be a sparsity N:M, not 'x'; its header names none"]),
        ("tile,M,N,K\n1,2,3\n", ["t.csv:2: k must be given"]),
        (
            "M,tile,N,K\n1,2,3,4\n",
            ["t.csv:1: a table with columns m, n and k is of GEMMs: only their name may be before .*, not 'tile'"],
        ),
        (SCALE_CONV.splitlines()[0] + "Batch size,\na,8,8,3,3,4,8,1,0,\n", ["t.csv:2: a: d must be .*"]),
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
