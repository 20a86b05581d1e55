"""Networks: what feeds what, in which order, and how much memory is held while each layer runs."""

import copy
import math
import pickle

import pytest
from hypothesis import given, strategies as st

from hwsim.errors import InputError
from hwsim.workload import Concat, Conv2d, Elementwise, Gemm, Node, Pool2d, Workload

A = Conv2d("a", c=8, h=4, w=4, k=8, r=3, pad=1)
B = Conv2d("b", c=8, h=4, w=4, k=8, r=3, pad=1)
ADD = Elementwise("add", shape=(8, 4, 4))
FC = Gemm("fc", n=10, k=128)
RESIDUAL = Workload("net", [A, B, (ADD, ["a", "b"]), FC])


def test_a_plain_list_is_a_trace():
    mine = Workload(
        "mine", [Gemm("fc", m=64, n=512, k=512), Conv2d("c1", c=3, h=224, w=224, k=64, r=7, stride=2, pad=3)]
    )
    assert (mine.graph, mine.inputs["c1"], [layer.name for layer in mine]) == (False, (), ["fc", "c1"])
    assert mine.peak() == ("c1", 3 * 224 * 224 + 64 * 112 * 112)


def test_each_layer_reads_the_one_before_unless_told_otherwise():
    assert dict(RESIDUAL.inputs) == {"a": ("input",), "b": ("a",), "add": ("a", "b"), "fc": ("add",)}
    assert RESIDUAL.input_shape == (8, 4, 4)


def test_totals():
    assert RESIDUAL.macs == 2 * 16 * 9 * 64 + 1280
    assert RESIDUAL.weights == 2 * 9 * 64 + 1280
    assert RESIDUAL.params == RESIDUAL.weights + 8 + 8 + 10
    assert (len(RESIDUAL), RESIDUAL["add"], "add" in RESIDUAL) == (4, ADD, True)


def test_layers_run_after_what_they_read():
    shuffled = Workload("net", [Node(FC, ("add",)), Node(ADD, ("a", "b")), Node(B, ("a",)), Node(A, ("input",))])
    assert [layer.name for layer in shuffled] == ["a", "b", "add", "fc"]
    assert shuffled == RESIDUAL
    assert hash(shuffled) == hash(RESIDUAL)


def test_a_network_is_a_value():
    assert copy.deepcopy(RESIDUAL.layers) == RESIDUAL.layers
    assert pickle.loads(pickle.dumps(RESIDUAL)) == RESIDUAL
    assert Workload("other", RESIDUAL.layers) != RESIDUAL


def test_what_is_held_while_each_layer_runs():
    live = RESIDUAL.liveness()
    assert [(at.layer, dict(at.tensors)) for at in live] == [
        ("a", {"input": 128, "a": 128}),
        ("b", {"a": 128, "b": 128}),
        ("add", {"a": 128, "b": 128, "add": 128}),
        ("fc", {"add": 128, "fc": 10}),
    ]
    assert RESIDUAL.peak() == ("add", 384)
    assert RESIDUAL.peak(batch=3) == ("add", 3 * 384)


def test_an_output_is_held_to_the_end():
    net = Workload("net", [A, (FC.with_(name="side"), ["a"]), (B, ["a"])], graph=True)
    assert dict(net.liveness()[-1].tensors) == {"side": 10, "a": 128, "b": 128}


def test_wider_values_take_more_memory():
    wide = RESIDUAL.replace([layer.with_dtype(input="int16", output="int16") for layer in RESIDUAL])
    assert wide.peak_activation_bytes() == 2 * RESIDUAL.peak_activation_bytes()
    assert wide.inputs == RESIDUAL.inputs


def test_select():
    assert [layer.name for layer in RESIDUAL.select("a*")] == ["a", "add"]
    assert [layer.name for layer in RESIDUAL.select("b", "f?")] == ["b", "fc"]
    with pytest.raises(InputError, match=r"a layer of net must match 'ad'; nearest: 'add'"):
        RESIDUAL.select("ad")


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([], "net: a network must have at least one layer"),
        ([A, A], "a: the name of a layer must be its own: it is given twice"),
        ([(A, ["input"]), (FC.with_(k=100), ["a"])], "fc: the input must be 1 x 100; what 'a' gives is 8 x 4 x 4"),
        ([A, (B, ["aa"])], "b: must read a layer of the network, not 'aa'; nearest: 'a'"),
        ([A, (ADD, ["a"])], "add: add must have 2 inputs, not 1: a"),
        (
            [(A, ["b"]), (B, ["a"])],
            "a network must have no cycle; these wait for each other: 'a', 'b'",
        ),
        (
            [A, (Conv2d("c", c=4, h=8, w=4, k=1), ["a"])],
            "c: the input must be 4 x 8 x 4; what 'a' gives is 8 x 4 x 4",
        ),
        (
            [(A.with_(name="input"), ["input"])],
            "input: the name of a layer must be its own: 'input' is the input of the network",
        ),
        (["conv"], "a network must be made of layers or (layer, names of its inputs), not 'conv'"),
    ],
)
def test_refusals(layers, message):
    with pytest.raises(InputError) as caught:
        Workload("net", layers)
    assert str(caught.value) == message


def test_an_unknown_layer_is_told_with_the_nearest():
    with pytest.raises(InputError, match=r"'ad' is not a layer of net; nearest: 'add'"):
        RESIDUAL["ad"]


@pytest.mark.slow
def test_there_may_not_be_more_than_twenty_thousand_layers():
    with pytest.raises(InputError, match="at most 20000 layers"):
        Workload("net", (Gemm(f"g{index}", n=1, k=1) for index in range(20_001)))


@st.composite
def networks(draw):
    """A random graph of convolutions, sums, concatenations and pools on 4 x 4 images."""
    nodes, channels = [], {"input": 4}
    for index in range(draw(st.integers(1, 12))):
        name = f"l{index}"
        one, two = (draw(st.sampled_from(sorted(channels))) for _ in range(2))
        kind = draw(st.sampled_from(["conv", "pool", "add", "concat"]))
        if kind == "conv" or (kind == "add" and channels[one] != channels[two]):
            layer, inputs = Conv2d(name, c=channels[one], h=4, w=4, k=draw(st.integers(1, 9)), r=3, pad=1), (one,)
        elif kind == "pool":
            layer, inputs = Pool2d(name, c=channels[one], h=4, w=4, r=3, stride=1, pad=1), (one,)
        elif kind == "add":
            layer, inputs = Elementwise(name, shape=(channels[one], 4, 4)), (one, two)
        else:
            layer, inputs = Concat(name, parts=(channels[one], channels[two]), rest=(4, 4)), (one, two)
        nodes.append(Node(layer, inputs))
        channels[name] = layer.output.shape[0]
    return Workload("random", nodes)


@given(networks(), st.integers(1, 5))
def test_laws_of_liveness(net, batch):
    live = net.liveness(batch)
    peak = net.peak_activation_bytes(batch)
    assert peak == max(at.bytes for at in live)
    made = {"input"}
    for layer, at in zip(net, live, strict=True):
        made.add(layer.name)
        held = dict(at.tensors)
        own = {layer.name, *net.inputs[layer.name]}
        assert own <= held.keys() <= made
        assert sum(held[name] for name in own) <= at.bytes <= peak
        assert all(size == batch * 16 * _channels(net, name) for name, size in held.items())
    unread = net.inputs.keys() - {name for names in net.inputs.values() for name in names}
    assert unread <= dict(live[-1].tensors).keys()
    later: set[str] = set()
    for layer, at in zip(reversed(net.layers), reversed(live), strict=True):
        later |= {*net.inputs[layer.name]}
        assert dict(at.tensors).keys() - unread <= later | {layer.name}  # nothing is held that nobody reads any more


def _channels(net, name):
    return net.input_shape[0] if name == "input" else net[name].output.shape[0]


@given(networks(), st.randoms())
def test_the_order_given_does_not_matter_to_what_is_read(net, random):
    nodes = [Node(layer, net.inputs[layer.name]) for layer in net]
    random.shuffle(nodes)
    shuffled = Workload("random", nodes, graph=True)
    place = {layer.name: index for index, layer in enumerate(shuffled)}
    assert shuffled.inputs == net.inputs
    assert all(
        place[producer] < place[name] for name, names in net.inputs.items() for producer in names if producer in place
    )
    assert (shuffled.macs, shuffled.weights) == (net.macs, net.weights)


@pytest.mark.slow
def test_a_long_chain_is_quick():
    chain = Workload("chain", [Gemm(f"g{index}", n=4, k=4) for index in range(20_000)], graph=True)
    assert math.isclose(chain.peak_activation_bytes(), 8)
