"""The arena: TFLM's greedy planner, by hand, by property, and on the networks whose arenas are known."""

import json
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings, strategies as st
from tflite_networks import TRACES, each_model, model_path

import hwsim
from hwsim.errors import InputError
from hwsim.workload import Conv2d, DataMovement, Elementwise, Gemm, Pool2d, Workload, load_workload
from hwsim.workload.arena import (
    Arena,
    Block,
    Buffer,
    _held,
    _placed,
    _placed_in_rows,
    plan,
    plan_model,
    plan_workload,
)
from hwsim.workload.buffers import BEFORE_INPUT, INPUT_TIME
from hwsim.workload.tflite import read_model

# The arena with the reference kernels, as TFLM's recording allocator prints it, and with CMSIS-NN's columns of patches:
# int16 patches of two pixels in a convolution (4 bytes a value, in fours). VWW's is 33 % more than is ever alive.
ARENAS = {
    "kws": (16_000, 16_000),
    "vww": (73_728, 73_728),
    "ic": (49_152, 49_728),
    "ad": (768, 768),
    "ic_large": (122_880, 124_320),
    "streaming_wakeword": (6_656, 7_936),
    "person_detect": (55_296, 55_296),
}


def patches(net):
    """What CMSIS-NN's convolutions ask for on a core with the DSP extension."""
    wanted = {}
    for layer in net:
        if isinstance(layer, Conv2d) and layer.r * layer.s > 1 and not layer.depthwise:
            wanted[layer.name] = 4 * -(-layer.r * layer.s * layer.c // 4) * 4
        elif isinstance(layer, Conv2d) and layer.depthwise and (layer.r, layer.s) != (3, 3):
            wanted[layer.name] = 2 * layer.r * layer.s * layer.c
        elif isinstance(layer, Pool2d) and layer.type == "avg":
            wanted[layer.name] = 4 * layer.c
    return wanted


@pytest.mark.parametrize("name", ARENAS)
def test_known_arenas(name):
    net = load_workload(name)
    alone, together = ARENAS[name]
    arena = plan_workload(net)
    assert arena.bytes == alone
    assert max(arena.live) == net.peak_activation_bytes()
    assert plan_workload(net, patches(net)).bytes == together


@each_model
def test_the_trace_and_the_model_have_one_arena(name, origin):
    model, trace = read_model(model_path(name, origin)), load_workload(TRACES[name])
    for kernels, extra in (("reference", {}), ("cmsis-nn", patches(trace))):
        one, other = plan_model(model, kernels), plan_workload(trace, extra)
        assert (one.bytes, one.peak, one.live) == (other.bytes, other.peak, other.live)
        assert plan_workload(model.workload, kernels=kernels) == one


def test_vww_is_fragmented():
    arena = plan_workload(load_workload("vww"))
    assert arena.peak == "conv_0"
    assert max(arena.live) == 55_296
    assert arena.wasted == 73_728 - 55_296
    # of the two largest, conv_2's output is placed first, so that of dwconv_1 is above it, and conv_0's above both
    first, second = 48 * 48 * 8, 48 * 48 * 16
    below, above = arena.at("conv_2")
    assert below == Block("conv_2", 2, 3, 0, second)
    assert above == Block("dwconv_1", 1, 2, second, first)


def test_by_hand():
    """The largest first, then each in the first gap among those that live with it."""
    buffers = [
        Buffer("a", 32, 0, 1),
        Buffer("b", 64, 1, 2),
        Buffer("c", 32, 2, 3),
        Buffer("d", 16, 0, 3),
        Buffer("e", 30, 3, 3),  # rounded up to 32
    ]
    arena = plan(buffers, ["w", "x", "y", "z"])
    assert arena.blocks == (
        Block("a", 0, 1, 64, 32),  # b is below it
        Block("b", 1, 2, 0, 64),
        Block("c", 2, 3, 64, 32),
        Block("d", 0, 3, 96, 16),  # there is a gap at 0 when w runs, but not when x does
        Block("e", 3, 3, 0, 32),  # b is gone
    )
    assert (arena.bytes, arena.live, arena.peak) == (112, (48, 112, 112, 80), "x")
    assert arena.wasted == 0
    text = arena.to_text(7).splitlines()
    assert text[0] == "      112 B, full at x"
    assert text[1].endswith("|DDDD|")
    assert text[-1].endswith("| BBE|")


def test_a_gap_between_two_is_taken():
    buffers = [Buffer("low", 64, 0, 0), Buffer("both", 48, 0, 1), Buffer("late", 32, 1, 1), Buffer("later", 32, 1, 1)]
    # when the second operator runs, 64 bytes are free below `both`: the two others fit in, the last of them first
    assert [block.offset for block in plan(buffers, ["a", "b"]).blocks] == [0, 64, 32, 0]


def test_what_a_compiler_has_planned_keeps_its_place():
    """TFLM takes the fixed offsets first, then fills the gaps; 16 + 48 leave one of 32 bytes."""
    buffers = [Buffer("large", 64, 0, 0), Buffer("fixed", 16, 0, 1, offset=48), Buffer("small", 32, 0, 0)]
    assert [block.offset for block in plan(buffers, ["a", "b"]).blocks] == [64, 48, 0]


def test_unused_tensors_take_the_arena_before_the_first_operator():
    buffers = [Buffer("unused", 100, BEFORE_INPUT, BEFORE_INPUT), Buffer("in", 16, INPUT_TIME, 0)]
    arena = plan(buffers, ["a"])
    assert arena.bytes == 112
    assert [block.name for block in arena.blocks] == ["in"]
    assert arena.live == (16,)


def test_a_shortcut_is_kept():
    a = Conv2d("a", c=8, h=4, w=4, k=8)
    b = Conv2d("b", c=8, h=4, w=4, k=8)
    net = Workload("net", [a, b, (Elementwise("add", shape=(8, 4, 4)), ["a", "b"]), Gemm("fc", n=10, k=128)])
    arena = plan_workload(net)
    spans = {block.name: (block.first, block.last) for block in arena.blocks}
    assert spans == {"input": (0, 0), "a": (0, 2), "b": (1, 2), "add": (2, 3), "fc": (3, 3)}
    assert (arena.bytes, arena.peak) == (3 * 128, "add")
    assert plan_workload(net, {"b": 500, "fc": (16, 32)}).bytes == 2 * 128 + 512
    assert plan_workload(net, batch=4).bytes == 4 * arena.bytes
    with pytest.raises(InputError, match="scratch must be of a layer of the network, not of 'c'"):
        plan_workload(net, {"c": 1})
    with pytest.raises(InputError, match="must be an operator of the plan, not 'c'"):
        arena.at("c")


def test_a_plain_trace_has_each_layer_alone():
    net = Workload("net", [Gemm("a", n=64, k=32), Gemm("b", n=16, k=128)], graph=False)
    assert plan_workload(net).bytes == 128 + 16
    assert len(plan_workload(net).blocks) == 4


def test_bad_buffers():
    with pytest.raises(InputError, match="must have bytes and end after it starts"):
        Buffer("a", 1, 2, 1)
    with pytest.raises(InputError, match="buffers must live within the 1 operators"):
        plan([Buffer("a", 1, 0, 1)], ["x"])
    with pytest.raises(InputError, match=r"buffers must have fewer than 2\^62 bytes together"):
        plan([Buffer("a", 2**62, 0, 0)], ["x"])
    assert Arena((), ()).bytes == 0
    assert Arena((), ()).peak == ""


def reference(buffers):
    """The planner as TFLM writes it: a list in order of offset, walked from gap to gap."""
    placed = []
    offsets = {}
    sizes = [-(-buffer.bytes // 16) * 16 for buffer in buffers]
    for index in sorted(range(len(buffers)), key=lambda i: (-sizes[i], -i)):
        buffer, size, offset = buffers[index], sizes[index], 0
        for start, end, first, last in sorted(placed):
            if first > buffer.last or last < buffer.first:
                continue
            if start - offset >= size:
                break
            offset = max(offset, end)
        placed.append((offset, offset + size, buffer.first, buffer.last))
        offsets[index] = offset
    return [offsets[index] for index in range(len(buffers))]


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.tuples(st.integers(1, 300), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=25),
)
def test_no_two_overlap_and_each_is_where_tflm_puts_it(drawn):
    buffers = [Buffer(str(i), size, min(a, b), max(a, b)) for i, (size, a, b) in enumerate(drawn)]
    arena = plan(buffers, [f"op{i}" for i in range(10)])
    assert [block.offset for block in arena.blocks] == reference(buffers)
    for i, one in enumerate(arena.blocks):
        assert one.offset % 16 == 0
        for other in arena.blocks[:i]:
            apart = one.last < other.first or other.last < one.first
            assert apart or one.end <= other.offset or other.end <= one.offset
    assert arena.bytes >= max(arena.live)
    assert any(block.end == arena.bytes for block in arena.at(arena.peak))
    assert len(arena.to_text().splitlines()) == 17


def test_many_buffers_are_planned_in_time():
    count = 4000
    layers = [
        DataMovement(f"m{i}", shape=(64, 4, 4 + i % 7), to=(64, 4, 4 + (i + 1) % 7), type="resize")
        for i in range(count)
    ]
    arena = plan_workload(Workload("chain", layers, graph=True))
    assert len(arena.blocks) == count + 1
    assert arena.bytes >= max(arena.live) >= 64 * 4 * (9 + 10)


def test_a_report_has_its_arena_as_plain_data() -> None:
    report = hwsim.simulate(hwsim.load_machine("nucleo_l4r5zi"), hwsim.load_workload("vww"))
    data = json.loads(report.to_json())["arena"]
    assert data["bytes"] == report.arena.bytes == dict(report.memories[0].parts)["arena"]
    assert [op["name"] for op in data["operators"]] == [layer.name for layer in report.workload]
    for index, op in enumerate(data["operators"]):
        alive = [n for n, block in enumerate(data["blocks"]) if block["first"] <= index <= block["last"]]
        assert op["live_bytes"] == sum(data["blocks"][n]["bytes"] for n in alive)
        spans = sorted((data["blocks"][n]["offset"], data["blocks"][n]["bytes"]) for n in alive)
        assert all(offset + size <= after for (offset, size), (after, _) in pairwise(spans))
    full = next(index for index, op in enumerate(data["operators"]) if op["name"] == data["peak"])
    ends = (block["offset"] + block["bytes"] for block in data["blocks"] if block["first"] <= full <= block["last"])
    assert max(ends) == data["bytes"]
    assert hwsim.simulate(hwsim.load_machine("systolic_ws"), hwsim.load_workload("vww")).arena is None


def test_lists_and_arrays_place_alike() -> None:
    """Few buffers at once, as of a chain, are placed by lists; many by arrays."""
    random = Random(31)
    for _ in range(1009):
        count = random.randint(1, 13)
        buffers = []
        for _ in range(count):
            first = random.randrange(-1, 9)
            place = random.choice([-1, -1, -1, 0, 64, 100])
            size = random.choice([0, 1, 16, 17, 127, 1000])
            buffers.append(Buffer("b", size, first, random.randrange(first, 9), False, place))
        sizes = [-(-buffer.bytes // 16) * 16 for buffer in buffers]
        order = sorted(range(count), key=lambda i: (buffers[i].offset < 0, -sizes[i]))
        rows = _placed_in_rows(buffers, sizes, order)
        assert _placed(buffers, sizes, order, _held(buffers)) == rows


def test_a_machine_plans_an_arena_once() -> None:
    machine, network = hwsim.load_machine("nucleo_l4r5zi"), hwsim.load_workload("kws")
    assert machine.arena(network) is machine.arena(network)
    assert [machine.arena(network, batch).bytes for batch in (1, 2)] == [16_000 + 1_152, 2 * 16_000 + 1_152]
