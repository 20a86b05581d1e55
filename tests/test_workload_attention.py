"""Attention: what a mask leaves counted one by one, its products, its cache, and its place in a network."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from hwsim.errors import InputError
from hwsim.message import merged
from hwsim.workload import INPUT, Attention, BatchedMatmul, Gemm, Softmax, Workload, load_workload, read_trace
from hwsim.workload.trace_text import trace_text
from hwsim.yaml_source import parse_yaml


@st.composite
def attentions(draw: st.DrawFn, window: int = 40) -> Attention:
    causal = draw(st.booleans())
    queries = draw(st.integers(1, 31))
    kv_heads = draw(st.sampled_from([1, 2, 3, 7]))
    return Attention(
        "a",
        queries=queries,
        context=queries * causal + draw(st.integers(1 - causal, 31)),
        heads=kv_heads * draw(st.sampled_from([1, 2, 5])),
        kv_heads=kv_heads,
        dim=draw(st.integers(1, 9)),
        value_dim=draw(st.integers(1, 9)),
        causal=causal,
        window=draw(st.integers(0, window)) if causal else 0,
    )


def mask(layer: Attention) -> np.ndarray:
    """Which positions each query attends to, by definition: its own place is start + i."""
    place = np.arange(layer.queries)[:, None] + layer.start
    position = np.arange(layer.context)[None, :]
    seen = position <= place if layer.causal else position >= 0 * place
    return seen & (position > place - layer.window) if layer.window else seen


@given(attentions())
def test_attended_positions_are_those_of_the_mask(layer):
    seen = mask(layer)
    assert layer.attended == seen.sum()
    assert layer.span == seen.any(axis=0).sum()
    assert layer.macs == layer.heads * seen.sum() * (layer.dim + layer.value_dim)
    assert layer.ops == 5 * layer.heads * seen.sum()


@given(attentions(), st.integers(0, 40), st.integers(1, 40))
def test_queries_may_be_anywhere_in_the_context(layer, start, context):
    start = min(start, context + layer.window - 2) if layer.window else start
    layer = layer.with_(causal=True, start=start, context=context, cached=context)
    assert layer.attended == mask(layer).sum()
    assert layer.inputs == layer.input.elements + layer.span * layer.kv_heads * (layer.dim + layer.value_dim)


@pytest.mark.parametrize(
    ("queries", "context", "window", "attended"),
    [
        (1, 2048, 0, 2048),
        (2048, 2048, 0, 2048 * 2049 // 2),
        (127, 257, 0, 127 * (131 + 257) // 2),
        (257, 257, 31, 31 * 32 // 2 + 226 * 31),
        (31, 31, 1, 31),
        (2**30, 2**30, 0, 2**29 * (2**30 + 1)),
        (2**30, 2**31, 0, 2**29 * (2**30 + 1) + 2**60),
        (2**30, 2**30, 2**29, 2**28 * (2**29 + 1) + 2**58),
    ],
)
def test_attended_positions_by_hand(queries, context, window, attended):
    layer = Attention("a", queries=queries, context=context, heads=1, dim=1, causal=True, window=window)
    assert (layer.attended, layer.macs) == (attended, 2 * attended)


@given(attentions(window=0), st.integers(1, 40))
def test_masks_and_shared_heads_never_add_work(layer, window):
    full = layer.with_(causal=False, cached=None)
    assert layer.macs <= full.macs
    assert layer.attended <= full.attended
    if layer.causal:
        part = layer.with_(window=window, cached=None)
        assert part.macs <= layer.macs
        assert part.inputs <= layer.inputs
        assert part.cache_bytes() <= layer.cache_bytes()
    own = layer.with_(kv_heads=layer.heads)
    assert layer.macs == own.macs
    assert layer.inputs <= own.inputs
    assert layer.weight.bytes() <= own.weight.bytes()


@given(attentions())
def test_products_are_the_rectangle_of_what_is_read(layer):
    scores, softmax, context = (part for part, _ in layer.sublayers)
    assert isinstance(scores, BatchedMatmul)
    assert isinstance(softmax, Softmax)
    rectangle = layer.heads * layer.queries * layer.span
    assert (scores.macs, context.macs) == (rectangle * layer.dim, rectangle * layer.value_dim)
    assert softmax.outputs == rectangle
    masked = scores.macs + context.macs - layer.macs
    assert masked >= 0
    assert (masked == 0) == (layer.attended == layer.queries * layer.span)
    assumed = layer.lowering(3)
    assert (assumed.values["macs"] if assumed else 0) == 3 * masked
    assert layer.inputs == scores.inputs + context.inputs - softmax.outputs
    assert layer.cache_bytes(8) == scores.cache_bytes(8) + context.cache_bytes(8)


def test_a_product_has_the_queries_of_all_heads_that_share_keys():
    """Heads are a view of the rows that projections write: one product a head of keys, and no copy of them."""
    layer = Attention("a", queries=5, context=7, heads=6, kv_heads=2, dim=3)
    rng = np.random.default_rng(1)
    queries = rng.integers(-9, 9, (5, 6, 3))
    keys = rng.integers(-9, 9, (7, 2, 3))
    scores = layer.sublayers[0][0]
    left = queries.reshape(5, 2, 3, 3).transpose(1, 0, 2, 3).reshape(scores.input.shape)
    product = left @ keys.transpose(1, 2, 0)
    assert product.shape == scores.output.shape
    for head in range(6):
        own = queries[:, head] @ keys[:, head // 3].T
        assert (product[head // 3].reshape(5, 3, 7)[:, head % 3] == own).all()


def test_types_of_the_products():
    layer = Attention("a", queries=1, context=9, heads=2, dim=4, input="bf16", weight="fp8", output="fp16")
    scores, softmax, context = (part for part, _ in layer.sublayers)
    assert [t.dtype for t in (scores.input, scores.weight, scores.output)] == ["bf16", "fp8", "bf16"]
    assert (softmax.input.dtype, softmax.output.dtype) == ("bf16", "bf16")
    assert [t.dtype for t in (context.input, context.weight, context.output)] == ["bf16", "fp8", "fp16"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kv_heads": 3}, "kv_heads must divide heads, 8, not 3"),
        ({"kv_heads": 16}, "kv_heads must divide heads, 8, not 16"),
        ({"kv_heads": 0}, r"kv_heads must be an integer from 1 to 2\^31, not 0"),
        ({"context": 4, "causal": True}, "context must be at least queries, 5, where causal, not 4"),
        ({"window": 3}, "window must be 0 where causal is not true, not 3"),
        ({"cached": 12}, "cached must be 0 to 11 positions of the context, not 12"),
        ({"causal": True, "window": 3, "cached": 3}, "cached must be 4 to 11 positions of the context, not 3"),
        ({"cached": -1}, r"cached must be an integer from 0 to 2\^31, not -1"),
        ({"queries": 0}, r"queries must be an integer from 1 to 2\^31, not 0"),
        ({"dim": 1.5}, r"dim must be an integer from 1 to 2\^31, not 1.5"),
        ({"value_dim": True}, r"value_dim must be an integer from 1 to 2\^31, not True"),
        ({"causal": 1}, "causal must be true or false, not 1"),
        ({"queries": 2**31, "context": 2**31, "dim": 2**31}, r"input must have fewer than 2\^63 values"),
        ({"queries": 2**31, "context": 2**31, "dim": 2**20}, r"macs must be fewer than 2\^63"),
        ({"weight": "int3"}, "weight: dtype must be one of the known names, not 'int3'"),
    ],
)
def test_refusals(changes, message):
    with pytest.raises(InputError, match=message):
        Attention("a", **{"queries": 5, "context": 11, "heads": 8, "dim": 4} | changes)


def test_products_that_would_be_too_large_are_told():
    narrow = Attention("a", queries=2**31, context=2**31, heads=4, dim=1, causal=True, window=1)
    with pytest.raises(InputError, match=r"a\.scores: output must have fewer than 2\^63 values"):
        Workload("net", [narrow]).lowered()


# In a network


def block(queries: int, context: int, **changes: object) -> Workload:
    """Projections of 12 values to 4 heads of 3, two of keys and values, and back."""
    sizes = {"heads": 4, "kv_heads": 2, "dim": 3, "causal": True} | changes
    return Workload(
        "net",
        [
            (Gemm("q", m=queries, n=12, k=12), [INPUT]),
            (Gemm("k", m=queries, n=6, k=12), [INPUT]),
            (Gemm("v", m=queries, n=6, k=12), [INPUT]),
            (Attention("attn", queries=queries, context=context, **sizes), ["q", "k", "v"]),
            (Gemm("out", m=queries, n=12, k=12), ["attn"]),
        ],
    )


@pytest.mark.parametrize(("queries", "context", "window"), [(7, 7, 0), (1, 31, 0), (3, 31, 5)])
def test_products_take_its_place(queries, context, window):
    net = block(queries, context, window=window)
    low = net.lowered()
    assert [layer.name for layer in low] == ["q", "k", "v", "attn.scores", "attn.softmax", "attn.context", "out"]
    assert low.inputs["attn.scores"] == ("q", "k")
    assert low.inputs["attn.softmax"] == ("attn.scores",)
    assert low.inputs["attn.context"] == ("attn.softmax", "v")
    assert low.inputs["out"] == ("attn.context",)
    assert low.input_shape == net.input_shape == (queries, 12)
    assert low.lowered() is low is net.lowered()
    assert low.origin is net
    assert low.lowering_notes(3) == net.lowering_notes(3)
    assert low.cache_bytes(5) == net.cache_bytes(5)
    # all scores are held where a product writes them; rows of the others are 12, 6, 6 and 12 values
    assert low.peak_activation_bytes() >= net.peak_activation_bytes()
    assert read_trace(parse_yaml(trace_text(net)), load_workload) == net
    assert read_trace(parse_yaml(trace_text(low)), load_workload) == low
    assert low.replace([low["out"].with_dtype(weight="int4")])["out"].weight.bits == 4


def test_a_network_without_composed_layers_is_its_own():
    net = Workload("net", [Gemm("g", n=2, k=3)])
    assert net.lowered() is net is net.origin
    assert net.lowering_notes() == ()


def test_alike_layers_share_a_note():
    net = Workload("net", [Attention(f"a{i}", queries=2, context=2, heads=1, dim=1, causal=True) for i in range(3)])
    (note,) = merged(net.lowering_notes(5))
    assert note.layers == ("a0", "a1", "a2")
    assert (note.values["number"], note.values["parts"]) == (3, ["scores", "softmax", "context"])
    assert note.values["assumed"].values == {"macs": 10}


def test_layers_and_their_products_are_selected_by_pattern():
    net = block(7, 7)
    assert [layer.name for layer in net.select("attn*")] == ["attn"]
    assert [layer.name for layer in net.select("attn*").lowered()] == ["attn.scores", "attn.softmax", "attn.context"]
    assert [layer.name for layer in net.select("*.softmax", "out")] == ["attn.softmax", "out"]
    with pytest.raises(InputError, match=r"must match 'attn\.score'"):
        net.select("attn.score")


def test_what_is_cached_is_no_input():
    decode = block(1, 31)["attn"]
    assert decode.cached == 30
    assert decode.operands == ((1, 12), (1, 6), (1, 6))
    assert decode.inputs == 12 + 31 * 12
    assert decode.cache_bytes(batch=7) == 7 * 30 * 12
    alone = decode.with_(cached=31)
    assert alone.operands == ((1, 12),)
    assert Workload("net", [alone], graph=False).peak_activation_bytes(7) == 7 * (12 + 12)
    net = Workload("net", [(Gemm("q", n=12, k=5), [INPUT]), alone])
    assert net.lowered().inputs["attn.context"] == ("attn.softmax",)
    # the layer before may tell heads apart: the rows are the same
    image = Workload("net", [(Softmax("s", shape=(1, 4, 3)), [INPUT]), alone])
    assert image.lowered().inputs["attn.scores"] == ("s",)


@pytest.mark.parametrize(
    ("line", "queries", "context", "cached"),
    [
        ("{attention: attn, heads: 4, kv_heads: 2, dim: 3, causal: true, from: [q, k, v]}", 5, 5, 0),
        ("{attention: attn, heads: 4, kv_heads: 2, dim: 3, from: [q, k, v]}", 5, 5, 0),
        ("{attention: attn, heads: 4, kv_heads: 2, dim: 3, context: 17, from: [q, k, v]}", 5, 17, 12),
        ("{attention: attn, heads: 4, kv_heads: 2, dim: 3, context: 17, causal: true, window: 2, from: q}", 5, 17, 17),
    ],
)
def test_sizes_that_a_trace_leaves_out(line, queries, context, cached):
    text = (
        "name: net\nsource: s\ninput: [5, 12]\nlayers:\n  - {gemm: q, n: 12}\n  - {gemm: k, n: 6, from: input}\n"
        f"  - {{gemm: v, n: 6, from: input}}\n  - {line}\n  - {{gemm: out, n: 12}}\n"
    )
    net = read_trace(parse_yaml(text), load_workload)
    layer = net["attn"]
    assert (layer.queries, layer.context, layer.cached) == (queries, context, cached)
    assert net["out"].k == 12
    assert read_trace(parse_yaml(trace_text(net)), load_workload) == net


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{attention: a, heads: 4, dim: 3}", "context must be given, or read from the rows of queries and keys"),
        ("{attention: a, heads: 7, dim: 3, context: 9}", "queries must be given, or read from"),
        ("{attention: a, heads: 4, kv_heads: 3, dim: 3, context: 9}", "kv_heads must divide heads, 4, not 3"),
        ("{attention: a, heads: 4, dim: 3, context: 3, causal: true}", "context must be at least queries, 5"),
        ("{attention: a, heads: 4, dim: 3, contxt: 9}", "nearest: 'context'"),
        ("{attention: a, heads: 0, dim: 3, context: 9}", "queries must be given"),
    ],
)
def test_faults_of_a_trace_have_their_place(line, message):
    text = f"name: net\nsource: s\ninput: [5, 12]\nlayers:\n  - {line}\n"
    with pytest.raises(InputError, match=message) as info:
        read_trace(parse_yaml(text), load_workload)
    assert all(fault.where.count(":") == 2 for fault in info.value.faults)


# Llama 3 8B: 4,096 values, 32 heads of 128, 8 of keys and values, 14,336 inner values


@pytest.mark.parametrize(("name", "tokens"), [("llama3_8b_block_prefill", 2048), ("llama3_8b_block_decode", 1)])
def test_a_block_of_llama(name, tokens):
    net = load_workload(name)
    matrices = 2 * 4096**2 + 2 * 4096 * 1024 + 3 * 4096 * 14336
    assert matrices == 218_103_808
    pairs = 2048 * 2049 // 2 if tokens == 2048 else 2048
    assert net.macs == tokens * matrices + 32 * pairs * 256
    assert net.weights == matrices + 2 * 4096
    # 32 blocks with the embedding and the head of 128,256 tokens and a last norm are 8.03 billion parameters.
    assert 32 * net.weights + 2 * 128_256 * 4096 + 4096 == 8_030_261_248
    assert net.cache_bytes() == (2048 - tokens) * 2 * 8 * 128 * 2
