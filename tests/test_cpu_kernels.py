"""Kernels of ONNX Runtime by what a graph makes of them: depthwise filters, blocks of channels, joined operators."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import hwsim
from hwsim.machines.cpu.layout import places_of
from hwsim.workload.network import Node

CHAINS = Path(__file__).parent / "data" / "zen4_chains.csv"
ZEN4 = {"threads": 1, "clocks.core": "3.694 GHz"}


def depthwise(name: str, channels: int, size: int, stride: int = 1) -> hwsim.Layer:
    return hwsim.Conv2d(name, c=channels, h=size, w=size, k=channels, r=3, pad=1, groups=channels, stride=stride)


def seconds(dtype: str, layers: list[hwsim.Layer]) -> float:
    machine = hwsim.load_machine("epyc_zen4", set=ZEN4 | {"precision": dtype})
    return hwsim.simulate(machine, hwsim.Workload("chain", layers, graph=True)).summary.latency_s


def slope(dtype: str, channels: int, size: int) -> float:
    """Microseconds of a depthwise layer between others."""
    layers = [depthwise(name, channels, size) for name in "abc"]
    return (seconds(dtype, layers) - seconds(dtype, layers[:2])) * 1e6


@pytest.mark.parametrize(("dtype", "mean", "most"), [("fp32", 0.08, 0.15), ("int8", 0.09, 0.25)])
def test_depthwise_filters_of_zen4_by_costs_that_were_fitted_on_zen5(dtype: str, mean: float, most: float) -> None:
    """8 to 960 channels, of which some fill no vector, on maps of 7 to 64; no row is in a fit."""
    rows = pd.read_csv(CHAINS, comment="#")
    rows = rows[rows.dtype == dtype]
    errors = np.array([slope(dtype, row.channels, row.size) / row.us - 1 for row in rows.itertuples()])
    assert np.mean(np.abs(errors)) <= mean
    assert np.max(np.abs(errors)) <= most


def test_blocked_channels_are_padded_to_a_vector() -> None:
    """Measured: 8 and 16 channels of 64 x 64 take 13.9 and 14.2 us, 24 and 32 take 27.5 and 28.8 us."""
    assert slope("fp32", 8, 64) == pytest.approx(slope("fp32", 16, 64), rel=0.01)
    assert slope("fp32", 24, 64) == pytest.approx(2 * slope("fp32", 16, 64), rel=0.05)


def test_channels_beyond_eights_go_one_by_one_in_int8() -> None:
    """Measured: 276 channels take 2.24 times as long as 272."""
    assert slope("int8", 276, 28) / slope("int8", 272, 28) == pytest.approx(2.24, rel=0.15)


@pytest.mark.parametrize("channels", [1, 7, 31, 127, 257])
def test_depthwise_filters_never_take_less_for_larger_maps(channels: int) -> None:
    for dtype in ("fp32", "int8"):
        times = [slope(dtype, channels, size) for size in (5, 7, 13, 29)]
        assert times == sorted(times)


def network(*nodes: tuple[hwsim.Layer, tuple[str, ...]]) -> hwsim.Workload:
    return hwsim.Workload("net", [Node(layer, inputs) for layer, inputs in nodes], graph=True)


CONV = hwsim.Conv2d("conv", c=32, h=14, w=14, k=32, r=3, pad=1)
NEXT = hwsim.Conv2d("next", c=32, h=14, w=14, k=32, r=3, pad=1)
SHAPE = (32, 14, 14)


def sigmoid(name: str) -> hwsim.Layer:
    return hwsim.Activation(name, shape=SHAPE, type="sigmoid")


def joined(name: str, kind: str, n: int = 2) -> hwsim.Layer:
    return hwsim.Elementwise(name, shape=SHAPE, type=kind, n=n)


def merged(workload: hwsim.Workload, floats: set[str] | None = None) -> dict[str, str]:
    places = places_of(workload, "reorder", {layer.name for layer in workload} if floats is None else floats)
    return {name: place.merged for name, place in places.items() if place.merged}


def test_a_gate_is_one_pass_with_its_sigmoid_in_floats_alone() -> None:
    silu = network((CONV, ()), (sigmoid("gate"), ("conv",)), (joined("silu", "mul"), ("conv", "gate")))
    assert merged(silu) == {"silu": "absorbed"}
    assert merged(silu, set()) == {}
    other = network(
        (CONV, ()), (NEXT, ("conv",)), (sigmoid("gate"), ("conv",)), (joined("product", "mul"), ("next", "gate"))
    )
    assert merged(other) == {}


def test_a_shortcut_is_added_by_the_convolution_before_it() -> None:
    assert merged(network((CONV, ()), (NEXT, ("conv",)), (joined("sum", "add"), ("conv", "next")))) == {
        "sum": "accumulated"
    }
    twice = network(
        (CONV, ()),
        (NEXT, ("conv",)),
        (joined("sum", "add"), ("conv", "next")),
        (joined("more", "add"), ("next", "sum")),
    )
    assert "sum" not in merged(twice)  # two layers read what both convolutions wrote


def test_a_sum_with_its_normalization_takes_one_value_at_a_time() -> None:
    rows = (128, 768)
    norm = hwsim.Normalization("norm", shape=rows)
    first, second = (hwsim.Gemm(name, m=128, n=768, k=768) for name in ("first", "second"))
    total = hwsim.Elementwise("sum", shape=rows, type="add", n=2)
    workload = network((first, ()), (second, ("first",)), (total, ("first", "second")), (norm, ("sum",)))
    assert merged(workload) == {"sum": "absorbed", "norm": "skip"}
    machine = hwsim.load_machine("epyc_zen4", set=ZEN4 | {"precision": "fp32"})
    report = hwsim.simulate(machine, workload)
    times = {row["layer"]: row["latency_s"] for row in report.rows}
    assert times["sum"] == 0
    assert times["norm"] == pytest.approx(484e-6, rel=0.1)  # measured: 484 us, 496 us


def test_a_sum_with_a_value_leaves_the_layout_of_blocks() -> None:
    """ReorderOutput, Add, ReorderInput: measured in a text recognizer; a sum of two images stays in blocks."""
    value = network((CONV, ()), (joined("plus", "add", 1), ("conv",)), (NEXT, ("plus",)))
    places = places_of(value, "reorder", {"conv", "plus", "next"})
    assert places["conv"].edges[1]
    assert places["next"].edges[0]
    images = network((CONV, ()), (NEXT, ("conv",)), (joined("sum", "add"), ("conv", "next")))
    assert not places_of(images, "reorder", {"conv", "sum", "next"})["next"].edges[0]


def test_depthwise_channels_that_fill_no_vector() -> None:
    """What is left over goes channel by channel, and shifts the others off their lines.

    Measured under load, so within 35 %; one cost a leftover channel, as large as at 276 channels, was 1.8 to 3.6 times off.
    """
    machine = hwsim.load_machine("epyc_zen4", set={"threads": 1})
    for row in pd.read_csv(CHAINS.parent / "zen4_unaligned.csv", comment="#").itertuples():
        c = int(row.channels)
        layer = hwsim.Conv2d("d", c=c, h=28, w=28, k=c, r=3, pad=1, groups=c, input="uint8", weight="sint8")
        latency_s = hwsim.simulate(machine, hwsim.Workload("one", [layer])).summary.latency_s
        assert latency_s * 1e6 == pytest.approx(row.us, rel=0.35), c


def microseconds(layers: list[tuple[hwsim.Layer, tuple[str, ...]]], name: str, **keys: object) -> float:
    """Of one layer of a graph on one Zen 4 core, or as `keys` say."""
    report = hwsim.simulate(hwsim.load_machine("epyc_zen4", set=ZEN4 | {"precision": "fp32"} | keys), network(*layers))
    return next(row["latency_s"] for row in report.rows if row["layer"] == name) * 1e6


def test_local_response_normalization_takes_a_power_of_each_value() -> None:
    """Measured on Zen 4: 6,935, 4,284 and 28,900 us for the layers of AlexNet and ZFNet; it was 50 times too fast."""
    for shape, us in (((96, 54, 54), 6935), ((256, 26, 26), 4284), ((96, 109, 109), 28900)):
        layer = hwsim.Normalization("lrn", shape=shape, type="lrn")
        assert microseconds([(layer, ())], "lrn") == pytest.approx(us, rel=0.05)


@pytest.mark.parametrize(
    ("channels", "size", "kind", "us"), [(24, 112, "max", 77), (24, 56, "avg", 27.4), (136, 28, "avg", 39.8)]
)
def test_pools_of_channels_that_fill_no_block_go_value_by_value(channels: int, size: int, kind: str, us: float) -> None:
    """Measured in ShuffleNet on Zen 4; 32 channels take a fifth of 24."""
    layers = []
    for c in (channels, 32):
        conv = hwsim.Conv2d("conv", c=c, h=size, w=size, k=c, r=1)
        pool = hwsim.Pool2d("pool", c=c, h=size, w=size, r=3, stride=2, pad=(0, 0, 1, 1), type=kind)
        layers.append(microseconds([(conv, ()), (pool, ("conv",))], "pool"))
    assert layers[0] == pytest.approx(us, rel=0.2)
    assert layers[1] < layers[0] / 1.2


def test_a_pool_of_bytes_is_slow_where_channels_do_not_lie_last() -> None:
    """Measured in Inception on Zen 4: 2,870 us behind a layer in floats, 74 us (of 64 x 111 x 111) behind a convolution."""
    conv = hwsim.Conv2d("conv", c=64, h=112, w=112, k=64, r=1, input="uint8", weight="sint8", output="uint8")
    pool = hwsim.Pool2d("pool", c=64, h=112, w=112, r=3, stride=2, pad=(0, 0, 1, 1), input="uint8", output="uint8")
    moved = hwsim.DataMovement("quantize", shape=(64, 112, 112), type="copy", input="fp32", output="uint8")
    behind = microseconds([(conv, ()), (pool, ("conv",))], "pool", precision="workload")
    alone = microseconds([(moved, ()), (pool, ("quantize",))], "pool", precision="workload")
    assert alone == pytest.approx(2870, rel=0.2)
    assert behind < 80


def test_grouped_convolutions_have_no_blocks_unless_each_group_fills_them() -> None:
    """ShuffleNet: 34 channels a group lie plain, so the depthwise layer between two of them is reordered at both ends."""
    first = hwsim.Conv2d("first", c=136, h=28, w=28, k=136, r=1, groups=4)
    middle = depthwise("middle", 136, 28)
    last = hwsim.Conv2d("last", c=136, h=28, w=28, k=136, r=1, groups=4)
    workload = network((first, ()), (middle, ("first",)), (last, ("middle",)))
    places = places_of(workload, "reorder", {"first", "middle", "last"})
    assert not places["first"].native
    assert places["middle"].edges == (True, True)
    wide = network(
        (hwsim.Conv2d("first", c=128, h=28, w=28, k=128, r=1, groups=4), ()), (depthwise("middle", 128, 28), ("first",))
    )
    assert places_of(wide, "reorder", {"first", "middle"})["middle"].edges == (False, True)
    # Measured: 59 us with both reorders.
    assert microseconds([(first, ()), (middle, ("first",)), (last, ("middle",))], "middle") == pytest.approx(
        59, rel=0.2
    )


def test_two_threads_share_the_bandwidth_that_two_cores_have() -> None:
    """A core has 0.6 of what all have together: two threads get 1.7 times as much, not 1."""
    layer = hwsim.Gemm("fc", m=1, n=4096, k=9216)
    keys = {"memories.dram.core": "36 GB/s", "memories.dram.bandwidth": "61.2 GB/s"}
    one, two = (microseconds([(layer, ())], "fc", **keys, threads=n) for n in (1, 2))
    assert 1.5 < one / two <= 2


def test_activations_of_long_layers_are_gone_from_a_shared_l3() -> None:
    """VGG-19 on Zen 4: its first pool reads at 18 GB/s what was written up to 33 ms before; 897 us were measured."""
    conv = hwsim.Conv2d("conv", c=64, h=224, w=224, k=64, r=3, pad=1, activation="relu")
    pool = hwsim.Pool2d("pool", c=64, h=224, w=224, r=2)
    layers = [(conv, ()), (pool, ("conv",))]
    memory = {"memories.l3.core": "27 B/cycle", "memories.dram.core": "36 GB/s", "costs": {"restart": 480}}
    times = [
        microseconds(layers, "pool", **memory, **{"memories.l3.kept": kept}) for kept in ("1000 s", "5 ms", "1 ms")
    ]
    assert times == sorted(times)
    assert times[0] < 300
    assert times[1] == pytest.approx(897, rel=0.2)


@pytest.mark.parametrize(
    ("kind", "values", "dtype", "threads"),
    [
        ("sigmoid", 102_400, "uint8", 1), ("sigmoid", 204_800, "uint8", 2), ("mul", 102_400, "uint8", 1),
        ("mul", 204_800, "uint8", 2), ("div", 61_440, "fp32", 1), ("div", 122_880, "fp32", 2), ("copy", 10**7, "fp32", 1),
        ("concat", 10**7, "uint8", 1), ("quantize", 10**6, "uint8", 2),
    ],
)  # fmt: skip
def test_small_passes_and_copies_stay_on_one_thread(kind: str, values: int, dtype: str, threads: int) -> None:
    """YOLOv8n and PP-OCR on two Zen 4 cores: below these sizes the times of one and two threads are the same."""
    types = {"input": dtype, "output": dtype}
    layer: hwsim.Layer
    if kind == "sigmoid":
        layer = hwsim.Activation("a", type=kind, shape=(values,), **types)
    elif kind == "concat":
        layer = hwsim.Concat("a", parts=(values // 2, values // 2), rest=(1,), **types)
    elif kind in ("copy", "quantize"):
        layer = hwsim.DataMovement("a", type="copy", shape=(values,), input="fp32", output=dtype)
    else:
        layer = hwsim.Elementwise("a", type=kind, shape=(values,), n=2, **types)
    machine = hwsim.load_machine("epyc_zen4", set={"threads": 2})
    assert len(machine.kernel(layer, 1).shares) == threads


@pytest.mark.parametrize(
    ("groups", "filters", "us"), [(2, 64, 136), (4, 64, 165), (8, 64, 268), (16, 64, 473), (64, 128, 1800)]
)
def test_groups_of_bytes_are_copied_one_by_one(groups: int, filters: int, us: float) -> None:
    """64 channels of 28 x 28 by 3 x 3 filters, on Zen 4; they were up to 39 times too fast, depthwise ones are not copied."""
    types = {"input": "uint8", "weight": "sint8", "output": "uint8"}
    layer = hwsim.Conv2d("b", c=64, h=28, w=28, k=filters, r=3, pad=1, groups=groups, **types)
    first = hwsim.Conv2d("a", c=64, h=28, w=28, k=64, r=1, **types)
    assert microseconds([(first, ()), (layer, ("a",))], "b", precision="workload") == pytest.approx(us, rel=0.25)
    own = hwsim.Conv2d("b", c=64, h=28, w=28, k=64, r=3, pad=1, groups=64, **types)
    assert microseconds([(first, ()), (own, ("a",))], "b", precision="workload") < 60


def test_a_residence_time_of_zero_is_refused() -> None:
    with pytest.raises(hwsim.InputError, match="kept must be more than 0 s"):
        hwsim.load_machine("epyc_zen4", set={"memories.l3.kept": "0 s"})
