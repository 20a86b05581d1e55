"""Networks written as traces: what is read again is equal."""

import pytest

from hwsim.errors import InputError
from hwsim.workload import (
    Activation,
    Attention,
    BatchedMatmul,
    Concat,
    Conv2d,
    Conv3d,
    DataMovement,
    Elementwise,
    Embedding,
    ExpertGemm,
    Gemm,
    Gru,
    LogMel,
    Lstm,
    Moe,
    Normalization,
    Opaque,
    Pool2d,
    Rnn,
    Softmax,
    Workload,
    load_workload,
    workload_names,
)
from hwsim.workload.trace import read_trace
from hwsim.workload.trace_text import trace_text
from hwsim.yaml_source import parse_yaml

ONE_OF_EACH = [
    Conv2d("a", c=4, h=9, w=7, k=6, r=1, s=3, stride=(2, 1), pad=(0, 1, 1, 0), dilation=(1, 2), groups=2, bias=False),
    Conv2d("b", c=4, h=9, w=7, k=8, r=3, pad="same", groups=4, activation="relu6", dead_in=1, dead_out=2),
    Conv2d("no", c=4, h=9, w=7, k=2, weight={"dtype": "int4", "density": 0.25, "pattern": "2:4", "format": "bitmask"}),
    Pool2d("p", c=4, h=9, w=7, r=3, stride=2, pad=1, type="avg", ceil=True, input="int16"),
    Pool2d("whole", c=4, h=9, w=7),
    Gemm("g", m=3, n=2, k=5, input={"density": 0.5, "pattern": "channel"}),
    Gemm("true", n=2, k=5, activation="relu"),
    BatchedMatmul("m", b=2, m=3, n=4, k=5),
    BatchedMatmul("mc", b=2, m=3, n=4, k=5, cached=40),
    Attention("at", queries=3, context=7, heads=4, kv_heads=2, dim=3, causal=True, window=2, weight="fp8"),
    Attention("cross", context=7, heads=4, dim=3, value_dim=5, cached=7),
    Attention("most", queries=3, context=7, heads=4, dim=3, causal=True, cached=5),
    Attention("early", queries=5, context=6, heads=4, dim=3, causal=True, start=0, cached=0),
    Attention("late", queries=6, context=3, heads=4, dim=3, causal=True, start=0, cached=0),
    ExpertGemm("eg", tokens=3, experts=5, topk=2, n=4, k=6, type="down", bias=True, activation="gelu"),
    Moe("mix", tokens=3, hidden=6, intermediate=5, experts=4, topk=2),
    Moe(
        "mixed",
        tokens=3,
        hidden=6,
        intermediate=5,
        experts=4,
        topk=2,
        shared=2,
        gated=False,
        router=False,
        bias=True,
        activation="relu",
    ),
    Elementwise("e", shape=(3, 4), type="max", n=3),
    Elementwise("s", shape=(3, 4), n=1, activation="relu"),
    Activation("t", shape=(3, 4), type="tanh"),
    Normalization("n", shape=(3, 4), type="rms"),
    Softmax("x", shape=(3, 4)),
    Concat("c", before=(2,), parts=(3, 4), rest=(5, 6)),
    DataMovement("d", shape=(3, 4), to=(3, 2), type="slice"),
    Lstm("l", input_size=3, hidden_size=4, steps=5, bias=False),
    Lstm("lp", input_size=3, hidden_size=4, steps=5, sequences=2, peepholes=True, coupled=True, state_size=3),
    Gru("u", input_size=3, hidden_size=4),
    Rnn("r", input_size=3, hidden_size=4, steps=5, sequences=2),
    Conv3d("v", c=4, d=5, h=9, w=7, k=6, t=3, r=1, stride=(1, 2, 1), pad=(1, 0, 1, 0, 0, 1), groups=2, bias=False),
    Conv3d("vv", c=4, d=5, h=9, w=7, k=6, t=3, stride=2, pad=1, dilation=2, activation="relu"),
    LogMel("f", samples=32, bands=5, frames=2),
    Embedding("w", rows=10, dim=4, tokens=3, weight="fp16"),
    Opaque("o", type="svdf", shapes=[(3, 4), (5,)], to=(2,), stored=7),
]


@pytest.mark.parametrize("name", workload_names())
def test_networks_that_come_with_hwsim(name):
    net = load_workload(name)
    again = read_trace(parse_yaml(trace_text(net)), load_workload)
    assert again == net
    assert (again.source, again.digest) == (net.source, net.digest)


@pytest.mark.parametrize("layer", ONE_OF_EACH, ids=lambda layer: layer.name)
def test_every_kind_of_layer(layer):
    net = Workload("a net's name", [layer], graph=False, source='any: "source", # of it')
    again = read_trace(parse_yaml(trace_text(net)), load_workload)
    assert again == net
    assert again.source == net.source
    if len(layer.operands) == 1 and not isinstance(layer, Elementwise):
        net = Workload("net", [layer], graph=True)
        assert read_trace(parse_yaml(trace_text(net)), load_workload) == net


def test_a_whole_trace():
    net = Workload("net", ONE_OF_EACH, graph=False)
    assert read_trace(parse_yaml(trace_text(net)), load_workload) == net


def test_names_that_a_trace_cannot_have():
    for name in ("a: b", "a, b", "/a"):
        with pytest.raises(
            InputError, match="names in a trace must have 1 to 120 characters, no comma, colon or slash"
        ):
            trace_text(Workload("net", [Gemm(name, n=1, k=1)]))
