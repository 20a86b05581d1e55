"""Mixtures of experts: counts by hand, how rows are spread, and what the block is composed of."""

from itertools import combinations, product

import pytest
from hypothesis import given, strategies as st

from hwsim.errors import InputError
from hwsim.workload import INPUT, ExpertGemm, Gemm, Moe, Normalization, Workload, load_workload, read_trace
from hwsim.workload.trace_text import trace_text
from hwsim.yaml_source import parse_yaml


@st.composite
def blocks(draw: st.DrawFn) -> Moe:
    experts = draw(st.integers(1, 31))
    return Moe(
        "moe",
        tokens=draw(st.integers(1, 31)),
        hidden=draw(st.integers(1, 40)),
        intermediate=draw(st.integers(1, 40)),
        experts=experts,
        topk=draw(st.integers(1, experts)),
        shared=draw(st.integers(0, 2)),
        gated=draw(st.booleans()),
        router=draw(st.booleans()),
        bias=draw(st.booleans()),
    )


def test_a_layer_of_mixtral():
    """Jiang et al., Mixtral of Experts, 2024, table 1: 4,096 values, 14,336 inner, 8 experts of which 2, 32 layers."""
    moe = Moe("moe", tokens=1, hidden=4096, intermediate=14336, experts=8, topk=2)
    assert moe.macs == 2 * 3 * 4096 * 14336 + 4096 * 8
    assert moe.weights == 8 * 3 * 4096 * 14336 + 4096 * 8
    # With attention (32 heads, 8 of keys), norms, the embedding and the head of 32,000 tokens: 46.7 billion, 12.9 used.
    attention = 2 * 4096**2 + 2 * 4096 * 1024
    rest = 32 * (attention + 2 * 4096) + 2 * 32000 * 4096 + 4096
    assert 32 * moe.weights + rest == 46_702_792_704
    assert round((32 * moe.macs + rest) / 1e9, 1) == 12.9


@given(blocks())
def test_sublayers_add_up(moe):
    parts = [part for part, _ in moe.sublayers]
    assert sum(part.macs for part in parts) == moe.macs
    assert sum(part.weights for part in parts) == moe.weights == moe.weight.elements
    assert sum(part.biases for part in parts) == moe.biases
    assert parts[-1].output.shape == moe.output.shape
    names = [part.name for part in parts]
    assert len(set(names)) == len(names)
    for place, (_, reads) in enumerate(moe.sublayers):
        assert all(read in names[:place] if isinstance(read, str) else read < len(moe.operands) for read in reads)


@given(blocks(), st.sampled_from([1, 2, 7, 31]))
def test_rows_are_spread_evenly(moe, batch):
    for part, _ in moe.sublayers:
        if isinstance(part, ExpertGemm):
            spread = part.spread(batch)
            assert sum(experts * rows for experts, rows in spread) == moe.tokens * moe.topk * batch
            assert sum(experts for experts, _ in spread) == part.used(batch) == min(moe.experts, part.rows * batch)
            assert [rows - spread[-1][1] for _, rows in spread] in ([0], [1, 0])
            assert all(experts and rows for experts, rows in spread)
            grouped = part.grouped(batch)
            assert sum(conv.macs for conv in grouped) == part.macs * batch
            assert sum(conv.weights for conv in grouped) == part.used(batch) * part.n * part.k
    assert moe.topk <= moe.expected_experts(batch) + 1e-9
    assert moe.expected_experts(batch) <= min(moe.experts, moe.tokens * moe.topk * batch) + 1e-9


@pytest.mark.parametrize(("experts", "topk", "tokens"), [(4, 2, 3), (5, 1, 3), (3, 3, 2), (4, 3, 2)])
def test_expected_experts_are_the_mean_of_all_choices(experts, topk, tokens):
    choices = list(product(combinations(range(experts), topk), repeat=tokens))
    mean = sum(len({expert for choice in all_of_them for expert in choice}) for all_of_them in choices) / len(choices)
    moe = Moe("moe", tokens=tokens, hidden=2, intermediate=3, experts=experts, topk=topk)
    assert moe.expected_experts() == pytest.approx(mean)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"topk": 6}, "topk must be at most experts, 5, not 6"),
        ({"topk": 0}, r"topk must be an integer from 1 to 2\^31, not 0"),
        ({"experts": 2**32}, r"experts must be an integer from 1 to 2\^31"),
        ({"hidden": 2**31, "intermediate": 2**31, "experts": 2**31}, r"weight must have fewer than 2\^63 values"),
        ({"tokens": 2**31, "hidden": 2**31, "topk": 3}, r"macs must be fewer than 2\^63"),
        ({"shared": -1}, r"shared must be an integer from 0 to 2\^31, not -1"),
        ({"activation": "silo"}, "nearest: 'silu'"),
        ({"gated": "no"}, "gated must be true or false, not 'no'"),
    ],
)
def test_refusals(changes, message):
    with pytest.raises(InputError, match=message):
        Moe("m", **{"tokens": 3, "hidden": 4, "intermediate": 7, "experts": 5, "topk": 2} | changes)


def test_a_refused_expert_gemm():
    with pytest.raises(InputError, match="topk must be at most experts, 2, not 3"):
        ExpertGemm("e", experts=2, topk=3, n=1, k=1)


@pytest.mark.parametrize(("router", "shared", "gated"), [(True, 0, True), (True, 2, False), (False, 1, True)])
def test_in_a_network(router, shared, gated):
    moe = Moe("moe", tokens=7, hidden=12, intermediate=5, experts=3, topk=2, shared=shared, router=router, gated=gated)
    layers = [(Normalization("norm", shape=(7, 12), type="rms"), [INPUT])]
    if not router:
        layers.append((Gemm("shares", m=7, n=3, k=12), ["norm"]))
    layers += [(moe, ["norm"] if router else ["norm", "shares"]), (Gemm("out", m=7, n=2, k=12), ["moe"])]
    net = Workload("net", layers)
    low = net.lowered()
    routing = "moe.routing" if router else "shares"
    assert low.inputs["moe.up"] == ("norm", routing)
    assert low.inputs["moe.down"] == ("moe.product" if gated else "moe.up", routing)
    assert low.inputs["out"] == ("moe.sum" if shared else "moe.down",)
    assert (low.macs, low.weights, low.biases) == (net.macs, net.weights, net.biases)
    if shared:
        assert low["moe.shared_up"].n == shared * 5
    for one in (net, low):
        assert read_trace(parse_yaml(trace_text(one)), load_workload) == one
    first, second = list(low)[1 if router else 2 :][:2]
    (note,) = net.lowering_notes(2)
    shown = [f"moe.{part}" for part in note.values["parts"] if part != "..."]
    assert shown == [first.name, second.name, net.lowered().inputs["out"][0]]
    assert (note.layers, note.values["number"]) == (("moe",), len(moe.sublayers))
    assert note.values["assumed"].values == pytest.approx({"used": 3, "experts": 3, "expected": 3}, rel=1e-3)


def test_a_trace_leaves_out_what_the_layer_before_gives():
    text = (
        "name: net\nsource: s\ninput: [5, 12]\nlayers:\n"
        "  - {moe: moe, intermediate: 8, experts: 4, topk: 2, act: gelu, gated: false}\n"
    )
    moe = read_trace(parse_yaml(text), load_workload)["moe"]
    assert (moe.tokens, moe.hidden, moe.activation, moe.gated) == (5, 12, "gelu", False)
    assert [part.activation for part, _ in moe.sublayers if part.name == "moe.up"] == ["gelu"]
    with pytest.raises(InputError, match="tokens, hidden must be given, or read from a matrix"):
        read_trace(parse_yaml(text.replace("[5, 12]", "[5, 3, 4]")), load_workload)
