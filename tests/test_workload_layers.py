"""Layers: shapes and counts by the definition of each operation, and refusal of what cannot be."""

import contextlib
import copy
import dataclasses
import pickle

import numpy as np
import pytest
from hypothesis import assume, given, strategies as st

import hwsim
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
    Pool2d,
    Rnn,
    Softmax,
    TensorSpec,
    TensorType,
)

ONE_OF_EACH = [
    Conv2d("conv", c=4, h=9, w=8, k=6, r=3, s=2, stride=(2, 1), pad="same", groups=2, dead_out=2),
    Conv2d("dw", c=8, h=9, w=9, k=16, r=3, groups=8),
    Pool2d("pool", c=4, h=9, w=8, r=3, stride=2),
    Gemm("gemm", m=3, n=5, k=7),
    BatchedMatmul("matmul", b=2, m=3, n=5, k=7),
    BatchedMatmul("half", b=2, m=3, n=5, k=7, cached=34),
    Attention("attention", queries=3, context=5, heads=4, kv_heads=2, dim=3, value_dim=5, causal=True, window=4),
    ExpertGemm("experts", tokens=3, experts=5, topk=2, n=4, k=6, type="down", bias=True),
    Moe("moe", tokens=3, hidden=6, intermediate=5, experts=4, topk=2, shared=1, bias=True),
    Lstm("lstm", input_size=6, hidden_size=4, steps=3),
    Lstm("projected", input_size=6, hidden_size=4, steps=3, state_size=3, coupled=True),
    Gru("gru", input_size=6, hidden_size=4),
    Rnn("rnn", input_size=6, hidden_size=4, steps=3, sequences=2),
    Conv3d("volume", c=4, d=5, h=9, w=8, k=6, t=3, r=2, stride=(1, 2, 1), pad=1, groups=2),
    Embedding("embedding", rows=100, dim=8, tokens=5),
    LogMel("log_mel", samples=64, bands=7, frames=3),
    Elementwise("add", shape=(4, 3, 3), n=3),
    Activation("gelu", shape=(4, 3), type="gelu"),
    Normalization("norm", shape=(4, 32)),
    Softmax("softmax", shape=(10,)),
    Concat("concat", parts=(3, 5), rest=(2, 2)),
    DataMovement("move", shape=(4, 6), to=(3, 8)),
]
each = pytest.mark.parametrize("layer", ONE_OF_EACH, ids=lambda layer: layer.name)


def test_the_example_of_the_contract():
    conv = hwsim.Conv2d("c1", c=3, h=224, w=224, k=64, r=7, s=7, stride=2, pad=3)
    assert (conv.p, conv.q, conv.padded_h, conv.op) == (112, 112, 230, "conv")
    assert (conv.macs, conv.weights, conv.biases) == (64 * 112 * 112 * 3 * 49, 64 * 3 * 49, 64)
    assert (conv.inputs, conv.outputs) == (3 * 224 * 224, 64 * 112 * 112)
    fc = hwsim.Gemm("fc", m=64, n=512, k=512, input="int8", weight="int8")
    assert (fc.macs, fc.weights, fc.input.shape, fc.weight.shape, fc.output.shape) == (
        64 * 512 * 512,
        512 * 512,
        (64, 512),
        (512, 512),
        (64, 512),
    )


@each
def test_a_layer_is_a_value(layer):
    assert pickle.loads(pickle.dumps(layer)) == copy.deepcopy(layer) == dataclasses.replace(layer) == layer
    assert hash(dataclasses.replace(layer)) == hash(layer)
    assert layer.with_(name="other") != layer
    with pytest.raises(dataclasses.FrozenInstanceError):
        layer.name = "changed"
    with pytest.raises(dataclasses.FrozenInstanceError):
        layer.input = "int4"


@each
def test_counts_agree_with_shapes(layer):
    assert layer.outputs == int(np.prod(layer.output.shape))
    cached = layer.cache_bytes(8) // layer.weight.bits
    assert layer.inputs == sum(int(np.prod(shape)) for shape in layer.operands) + cached
    assert 0 <= layer.macs_live <= layer.macs
    stored = 0 if isinstance(layer, (Attention, BatchedMatmul)) else layer.weight.elements
    assert layer.weights == stored
    assert layer.accepts(layer.operands[0], 0)


@each
def test_other_dtypes_and_densities_change_nothing_else(layer):
    other = layer.with_dtype(input="int4", weight="ternary").with_density(output=0.5)
    assert (other.input.bits, other.weight.bits, other.output.density, other.output.pattern) == (4, 2, 0.5, "random")
    assert other.output.dtype == layer.output.dtype
    assert (other.macs, other.weights, other.operands) == (layer.macs, layer.weights, layer.operands)
    back = other.with_density(output=1).with_dtype(input=layer.input.dtype, weight=layer.weight.dtype)
    assert back == layer


# Convolution


@st.composite
def convolutions(draw):
    size = st.integers(1, 7)
    groups = draw(st.integers(1, 3))
    try:
        return Conv2d(
            "c",
            c=groups * draw(st.integers(1, 2)),
            k=groups * draw(st.integers(1, 2)),
            h=draw(size),
            w=draw(size),
            r=draw(st.integers(1, 4)),
            s=draw(st.integers(1, 4)),
            stride=draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
            dilation=draw(st.tuples(st.integers(1, 2), st.integers(1, 2))),
            pad=draw(st.one_of(st.just("same"), st.just("valid"), st.tuples(*[st.integers(0, 2)] * 4))),
            groups=groups,
        )
    except InputError as error:
        assume("must fit" not in str(error))
        raise


@given(convolutions())
def test_conv_counts_by_sliding_the_window(conv):
    top, left, bottom, right = conv.pad
    rows = range(-top, conv.h + bottom)
    cols = range(-left, conv.w + right)
    placed_rows = [y for y in rows[:: conv.stride[0]] if y + (conv.r - 1) * conv.dilation[0] in rows]
    placed_cols = [x for x in cols[:: conv.stride[1]] if x + (conv.s - 1) * conv.dilation[1] in cols]
    assert conv.output.shape == (conv.k, len(placed_rows), len(placed_cols))
    macs = 0
    for _ in range(conv.k):
        macs += len(placed_rows) * len(placed_cols) * (conv.c // conv.groups) * conv.r * conv.s
    assert conv.macs == conv.macs_live == macs
    assert conv.weights == int(np.prod(conv.weight.shape)) == macs // (len(placed_rows) * len(placed_cols))


@given(convolutions())
def test_same_padding_gives_a_position_for_each_stride(conv):
    same = conv.with_(pad="same")
    assert (same.p, same.q) == (-(-conv.h // conv.stride[0]), -(-conv.w // conv.stride[1]))
    top, left, bottom, right = same.pad
    assert 0 <= bottom - top <= 1
    assert 0 <= right - left <= 1


def test_tensorflow_pads_the_odd_row_last():
    assert Conv2d("c", c=3, h=224, w=224, k=32, r=3, stride=2, pad="same").pad == (0, 0, 1, 1)
    assert Conv2d("c", c=1, h=49, w=10, k=64, r=10, s=4, stride=2, pad="same").pad == (4, 1, 5, 1)


def test_pads_may_be_given_in_four_ways():
    conv = Conv2d("c", c=1, h=8, w=8, k=1, r=3, pad=1)
    assert conv == conv.with_(pad=(1, 1)) == conv.with_(pad=[1, 1, 1, 1]) == conv.with_(pad="same")
    assert conv.with_(pad=(2, 0)).pad == (2, 0, 2, 0)


def test_depthwise_and_pointwise():
    depthwise = Conv2d("dw", c=32, h=112, w=112, k=64, r=3, pad=1, groups=32)
    assert (depthwise.depthwise, depthwise.op, depthwise.weights) == (True, "dwconv", 64 * 9)
    assert not Conv2d("pw", c=32, h=7, w=7, k=64).depthwise
    first = Conv2d("first", c=1, h=7, w=7, k=64, r=3)
    assert not first.depthwise
    one = first.with_(depthwise=True)
    assert (one.op, one.macs, one.weights, one.macs_live) == ("dwconv", first.macs, first.weights, first.macs)
    with pytest.raises(InputError, match="groups must be the 8 channels of a depthwise layer, not 1"):
        Conv2d("no", c=8, h=7, w=7, k=64, depthwise=True)


def test_dead_channels():
    conv = Conv2d("c", c=8, h=4, w=4, k=16, r=3, pad=1, dead_out=4, dead_in=2)
    assert conv.macs_live == 16 * 9 * 12 * 6
    assert conv.macs == 16 * 9 * 16 * 8
    depthwise = Conv2d("d", c=8, h=4, w=4, k=8, r=3, pad=1, groups=8, dead_out=3, dead_in=2)
    assert depthwise.macs_live == 16 * 9 * 5
    assert Gemm("g", m=2, n=10, k=20, dead_out=1, dead_in=5).macs_live == 2 * 9 * 15


# Other kinds


@given(
    st.integers(1, 20),
    st.integers(1, 5),
    st.integers(1, 4),
    st.integers(0, 2),
    st.booleans(),
    st.sampled_from(["max", "avg"]),
)
def test_pool_positions_by_sliding_the_window(size, window, stride, pad, ceil, type_):
    assume(window <= size + 2 * pad)
    assume(pad < window)
    pool = Pool2d("p", c=3, h=size, w=size, r=window, stride=stride, pad=pad, ceil=ceil, type=type_)
    starts = [y for y in range(-pad, size + pad, stride) if y + window <= size + pad]
    if ceil and starts[-1] + window < size + pad and starts[-1] + stride < size:
        starts.append(starts[-1] + stride)  # one hangs over the end, but starts on the input
    assert pool.output.shape == (3, len(starts), len(starts))
    assert pool.ops == pool.outputs * window * window


def test_pool_over_the_whole_input():
    pool = Pool2d("p", c=2048, h=7, w=7, type="avg")
    assert (pool.r, pool.s, pool.output.shape, pool.whole) == (7, 7, (2048, 1, 1), True)
    assert not Pool2d("p", c=2048, h=7, w=7, r=2).whole


@pytest.mark.parametrize(("size", "expected"), [(55, 27), (27, 13), (13, 6), (112, 56), (54, 27)])
def test_pools_of_alexnet_and_googlenet_in_ceil_mode(size, expected):
    assert Pool2d("p", c=1, h=size, w=size, r=3, stride=2, ceil=True).p == expected


def test_recurrent_layers():
    lstm = Lstm("enc1", input_size=1024, hidden_size=1024)
    assert (lstm.macs, lstm.weights, lstm.biases) == (8388608, 8388608, 4096)  # GNMT, macs per token
    assert Lstm("l", input_size=2, hidden_size=3, steps=10).macs == 10 * 4 * 3 * 5
    assert Gru("g", input_size=2, hidden_size=3, bias=False).weights == 3 * 3 * 5


def test_an_embedding_reads_indices():
    embedding = Embedding("e", rows=1000, dim=16, tokens=7)
    assert (embedding.input.dtype, embedding.output.shape, embedding.weights, embedding.macs) == (
        "int32",
        (7, 16),
        16000,
        0,
    )


def test_a_log_mel_spectrum_keeps_frames_and_counts_its_transform():
    """A real transform of 1024: a complex one of 512 in 9 stages of 256 butterflies, and 512 to split it."""
    spectrum = LogMel("f", samples=1024, bands=40, frames=30)
    assert (spectrum.input.dtype, spectrum.input.shape, spectrum.output.shape) == ("int16", (1024,), (40, 30, 1))
    assert (spectrum.butterflies, spectrum.macs, spectrum.weights) == (9 * 256 + 512, 0, 0)
    with pytest.raises(InputError, match="samples must be a power of two, not 1000"):
        LogMel("f", samples=1000, bands=40)


def test_batched_matmul_stores_nothing():
    scores = BatchedMatmul("qk", b=12, m=128, n=128, k=64)
    assert (scores.macs, scores.weights, scores.inputs) == (12 * 128 * 128 * 64, 0, 2 * 12 * 128 * 64)


def test_pointwise_layers():
    assert Elementwise("a", shape=(4, 4), n=3).inputs == 48
    assert Elementwise("a", shape=(4, 4), n=3).ops == 32
    assert Elementwise("scale", shape=(8, 4, 4), type="mul").accepts((8, 1, 1), 1)
    assert Concat("c", parts=(64, 128, 32, 32), rest=(28, 28)).output.shape == (256, 28, 28)
    assert Concat("c", parts=(4, 4), before=(1,)).operands == ((1, 4), (1, 4))
    assert DataMovement("t", shape=(2, 3), to=(3, 2), type="transpose").output.shape == (3, 2)
    assert (Normalization("n", shape=(16, 64)).weights, Normalization("n", shape=(16, 64), type="rms").biases) == (
        64,
        0,
    )


# Tensors


def test_tensors_are_given_in_four_ways():
    wanted = TensorType((1, 8), TensorSpec("int4", 0.25, "random", "csc"))
    as_mapping = {"dtype": "int4", "density": 0.25, "format": "csc"}
    for given_as in (as_mapping, TensorSpec(**as_mapping), wanted):
        assert Gemm("g", n=4, k=8, input=given_as).input == wanted
    assert Gemm("g", n=4, k=8, input="int4").input.bits == 4


def test_bytes_are_packed_and_rounded_up():
    assert TensorType((3,), TensorSpec("int4")).bytes() == 2
    assert TensorType((3,), TensorSpec("int4")).bytes(batch=2) == 3
    assert TensorType((9,), TensorSpec("binary")).bytes() == 2
    assert TensorType((0,)).bytes() == 0


def test_a_pattern_of_two_in_four_is_half_full():
    spec = TensorSpec(pattern="2:4", format="2:4")
    assert spec.density == 0.5
    assert TensorSpec(pattern="1:8").density == 0.125


# Refusals: what must hold, then what was given


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Conv2d("x", c=3, h=8, w=8, k=0), "x: k must be an integer from 1 to 2^31, not 0"),
        (lambda: Conv2d("x", c=3, h=8, w=8, k=2**31 + 1), "x: k must be an integer from 1 to 2^31, not 2147483649"),
        (lambda: Conv2d("x", c=3, h=8, w=True, k=1), "x: w must be an integer from 1 to 2^31, not True"),
        (lambda: Conv2d("x", c=3, h=8, w=8.0, k=1), "x: w must be an integer from 1 to 2^31, not 8.0"),
        (
            lambda: Conv2d("x", c=3, h=2, w=8, k=1, r=5, pad=1),
            "x: the window must fit the padded input, not 5 rows over 4",
        ),
        (
            lambda: Conv2d("x", c=4, h=2, w=8, k=6, groups=4),
            "x: k must be a multiple of groups, not 6 in 4 groups",
        ),
        (
            lambda: Conv2d("x", c=4, h=2, w=8, k=6, pad="smae"),
            "x: pad must be 1, 2 or 4 integers, 'same' or 'valid', not 'smae'",
        ),
        (
            lambda: Conv2d("x", c=4, h=2, w=8, k=6, pad=(1, 2, 3)),
            "x: pad must be one integer or 4 of them, not (1, 2, 3)",
        ),
        (lambda: Conv2d("x", c=4, h=2, w=8, k=6, stride=0), "x: stride must be an integer from 1 to 2^31, not 0"),
        (lambda: Conv2d("x", c=4, h=2, w=8, k=6, dead_in=5), "x: dead channels must be at most c, 4, not 5"),
        (
            lambda: Conv2d("x", c=4, h=2, w=8, k=6, activation="rleu"),
            "x: activation must be one of the known names, not 'rleu'; nearest: 'relu'",
        ),
        (
            lambda: Conv2d("x", c=4, h=2, w=8, k=6, input="int9"),
            "x: input: dtype must be one of the known names, not 'int9'; nearest: 'int8'",
        ),
        (
            lambda: Gemm("x", n=2, k=2, weight={"densty": 1}),
            "x: weight: 'densty' is not a property of a tensor; nearest: 'density'",
        ),
        (
            lambda: Gemm("x", n=2, k=2, weight={"density": 1.5}),
            "x: weight: density must be a share from 0 to 1, not 1.5",
        ),
        (
            lambda: Gemm("x", n=2, k=2, weight={"density": 0.7, "pattern": "2:4"}),
            "x: weight: density must be at most 0.5 in a 2:4 pattern, not 0.7",
        ),
        (lambda: Gemm("x", n=2**31, k=2**31, m=4), "x: macs must be fewer than 2^63, not 18446744073709551616"),
        (lambda: Gemm("", n=2, k=2), "the name of a layer must be 1 to 200 printable characters, not ''"),
        (lambda: Pool2d("x", c=1, h=2, w=2, type="mean"), None),
        (lambda: Elementwise("x", shape=5), "x: shape must be a list of 1 to 8 sizes such as [64, 56, 56], not 5"),
        (lambda: Elementwise("x", shape=(2, 0)), "x: shape must be an integer from 1 to 2^31, not 0"),
        (lambda: Concat("x"), "x: parts must be a list of sizes such as [64, 128], not ()"),
        (
            lambda: DataMovement("x", shape=(2, 3), to=(5,)),
            "x: a reshape must keep the number of values, not change (2, 3) to (5,)",
        ),
    ],
)
def test_refusals(make, message):
    with pytest.raises(InputError) as caught:
        make()
    if message is not None:
        assert str(caught.value) == message


def test_all_faults_of_a_layer_are_told_at_once():
    with pytest.raises(InputError) as caught:
        Conv2d("x", c=0, h=-1, w=8, k=2)
    assert len(caught.value.faults) == 2


def test_sizes_of_numpy_are_taken_and_become_plain():
    conv = Conv2d("x", c=np.int64(3), h=np.int32(8), w=8, k=np.uint8(4), r=3, stride=np.array([2, 2]).tolist())
    assert all(type(size) is int for size in (conv.c, conv.h, conv.k, conv.macs))


ANYTHING = st.one_of(
    st.none(), st.integers(), st.floats(), st.text(max_size=3), st.lists(st.integers(-1, 3), max_size=4)
)


@given(st.sampled_from([type(layer) for layer in ONE_OF_EACH]), st.data())
def test_any_values_make_a_layer_or_an_input_error(kind, data):
    fields = [field.name for field in dataclasses.fields(kind) if field.name != "name"]
    required = [f.name for f in dataclasses.fields(kind) if f.default is dataclasses.MISSING and f.name != "name"]
    values = {name: data.draw(ANYTHING) for name in fields if name in required or data.draw(st.booleans())}
    with contextlib.suppress(InputError):
        layer = kind("x", **values)
        assert layer.macs >= 0
        assert layer.outputs >= 1


@pytest.mark.parametrize(
    "pad", [np.array([1, 2]), np.array([1, 2, 3, 4]), np.array(["same"])], ids=["two", "four", "text"]
)
def test_a_pad_that_is_an_array_is_refused(pad: object) -> None:
    with pytest.raises(hwsim.InputError, match="pad must be"):
        hwsim.Conv2d("c", c=1, h=5, w=5, k=1, r=3, pad=pad)
