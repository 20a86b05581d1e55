"""TPU v1: published throughput and power, layers worked by hand, and the tiles that the loop nest must match."""

from __future__ import annotations

from math import ceil

import pytest

import hwsim
from hwsim.errors import InputError
from hwsim.machines import Machine
from hwsim.machines.pe_array.weight_stream import tiling
from hwsim.machines.pe_array.work import as_gemm
from hwsim.mapping import counts
from hwsim.validation.predictions import comparisons
from hwsim.workload import Activation, Conv2d, Elementwise, Gemm, Layer, Lstm, Pool2d, Workload

# A 64 KiB tile at 34 GB/s less the DRAM's refresh, in cycles of 700 MHz.
FETCH = ceil(256 * 256 / (34e9 * 0.9667) * 700e6)
SKEW = 256 + 256


@pytest.fixture(scope="module")
def tpu() -> Machine:
    return hwsim.load_machine("tpu_v1")


def cycles(machine: Machine, layer: Layer, batch: int = 1) -> int:
    return hwsim.simulate(machine, Workload("one", [layer]), batch=batch).summary.cycles


def test_published_throughput_is_met() -> None:
    found = [row for row in comparisons("tpu_v1")["tpu_v1"] if row.column == "tops"]
    assert [c.workload for c in found] == ["tpu_mlp0", "tpu_cnn0"]
    assert all(c.within for c in found)
    assert all(abs(c.error) < 0.05 for c in found)


def test_the_workloads_are_as_published() -> None:
    mlp, cnn = hwsim.load_workload("tpu_mlp0"), hwsim.load_workload("tpu_cnn0")
    assert (len(mlp), sum(layer.weights for layer in mlp)) == (5, 20_000_000)
    assert len(cnn) == 16
    assert sum(layer.weights for layer in cnn) == pytest.approx(8e6, rel=0.02)
    assert 8 * cnn.macs / sum(layer.weights for layer in cnn) == 2888  # operations a weight byte, batch 8


def test_power_lies_between_idle_and_a_little_over_busy(tpu: Machine) -> None:
    """Table 2: 28 W idle, 40 W busy. CNN0 keeps the array busiest, MLP0 waits for weights."""
    mlp = hwsim.simulate(tpu, hwsim.load_workload("tpu_mlp0"), batch=200).summary.power_w
    cnn = hwsim.simulate(tpu, hwsim.load_workload("tpu_cnn0"), batch=8).summary.power_w
    assert 28 < mlp < 40
    assert cnn == pytest.approx(40, rel=0.2)


def test_one_tile_that_is_bound_by_products(tpu: Machine) -> None:
    """Its weights came while the layer before was drained: 1000 rows pass, leave the array, are activated."""
    assert cycles(tpu, Gemm("a", m=1000, n=256, k=256)) == 1000 + SKEW + 1000


def test_one_tile_that_is_bound_by_its_weights(tpu: Machine) -> None:
    """One row takes no time, so that each layer takes what its fetch takes."""
    assert cycles(tpu, Gemm("a", m=1, n=256, k=256)) == FETCH


def test_a_weight_bound_layer_takes_its_fetches(tpu: Machine) -> None:
    """2000 x 2000 weights are 8 x 8 tiles."""
    layer = Gemm("a", n=2000, k=2000)
    plan = tpu.plan(layer, 200)
    assert plan.columns["weight_tiles"] == 64
    exact = 64 * 256 * 256 / (34e9 * 0.9667) * 700e6
    assert exact <= cycles(tpu, layer, 200) <= 64 * FETCH
    assert plan.dram_bytes == 64 * 256 * 256


def test_a_compute_bound_layer_drains_one_chunk_while_it_fills_the_next(tpu: Machine) -> None:
    """3000 rows are two chunks of 1500; 4 x 2 tiles each; only the last chunk's way out is seen."""
    assert cycles(tpu, Gemm("a", m=3000, n=512, k=1024)) == 8 * 3000 + SKEW + 1500


def test_a_fifo_of_one_tile_is_slower() -> None:
    one, four = (hwsim.load_machine("tpu_v1", set={"array.fifo_tiles": tiles}) for tiles in (1, 4))
    mlp = hwsim.load_workload("tpu_mlp0")
    assert hwsim.simulate(one, mlp, 200).summary.tops < hwsim.simulate(four, mlp, 200).summary.tops


@pytest.mark.parametrize(
    ("layer", "k_tiles", "n_tiles"),
    [
        (Conv2d("image", c=3, h=32, w=32, k=64, r=7), 1, 1),  # 49 taps of 3 channels are 147 rows
        (Conv2d("packed", c=64, h=8, w=8, k=256, r=3), 3, 1),  # 4 taps a tile
        (Conv2d("ragged", c=300, h=8, w=8, k=300, r=3), 9 * 2, 2),  # 256 and 44 channels of each tap
        (Conv2d("depthwise", c=512, h=8, w=8, k=512, r=3, groups=512), 9, 2),  # 256 groups on the diagonal
        (Conv2d("grouped", c=64, h=8, w=8, k=64, r=3, groups=2), 3, 1),  # 2 groups of 32 channels: 4 of 9 taps a tile
        (Gemm("fc", n=1000, k=2048), 8, 4),
    ],
    ids=lambda value: value.name if isinstance(value, Layer) else None,
)
def test_tiles_of_small_channels_groups_and_ragged_ends(layer: Layer, k_tiles: int, n_tiles: int) -> None:
    work = as_gemm(layer, 1)
    assert work is not None
    tiles = tiling(layer, work, 256, 256)
    assert (tiles.k_tiles, tiles.n_tiles) == (k_tiles, n_tiles)


@pytest.mark.parametrize("network", ["resnet50_v1", "mobilenet_v1_1.0_224", "gnmt_4layer_1024", "tpu_mlp0"])
@pytest.mark.parametrize("batch", [1, 5])
def test_the_nest_runs_the_tiles_that_are_timed(tpu: Machine, network: str, batch: int) -> None:
    for layer in hwsim.load_workload(network):
        plan = tpu.plan(layer, batch)
        if plan.mapping is None or plan.problem is None:
            continue
        counted = counts(plan.problem, plan.mapping)
        assert counted.cycles == plan.compute_cycles, layer.name
        extents = plan.mapping.spatial_extents(plan.problem)
        assert extents.get("rows", 1) <= 256, layer.name
        assert extents.get("cols", 1) <= 256, layer.name


@pytest.mark.parametrize("network", ["resnet50_v1", "mobilenet_v2_1.0_224", "gnmt_4layer_1024", "tpu_cnn0", "tpu_mlp0"])
def test_no_layer_is_faster_than_its_macs_or_its_weights(tpu: Machine, network: str) -> None:
    report = hwsim.simulate(tpu, hwsim.load_workload(network), batch=2)
    for row in report.rows:
        assert row["cycles"] >= row["macs"] / 65536
        assert row["latency_s"] >= row["dram_bytes"] / 34e9
        assert row["macs_executed"] == row["macs"]


def test_a_recurrent_layer_fetches_its_weights_anew_each_step_and_waits_for_the_last(tpu: Machine) -> None:
    one, ten = (Lstm("l", input_size=512, hidden_size=512, steps=steps) for steps in (1, 10))
    assert tpu.plan(ten).dram_bytes == 10 * tpu.plan(one).dram_bytes == 10 * 4 * 8 * 256 * 256
    # With a batch that hides the weights, each step adds its products and the way out of its last sums.
    batch = 1500
    step = 32 * batch + SKEW + batch
    assert cycles(tpu, ten, batch) - 9 * step == pytest.approx(cycles(tpu, one, batch), abs=9 * 256)


def test_a_batch_that_does_not_fit_the_buffer_runs_in_parts(tpu: Machine) -> None:
    layer = Conv2d("c", c=64, h=112, w=112, k=64, r=3, pad=1)  # 1.6 MB an inference: 15 fit in 24 MiB
    assert tpu.plan(layer, 30).dram_bytes == 2 * tpu.plan(layer, 15).dram_bytes
    small = hwsim.load_machine("tpu_v1", set={"memories.unified_buffer.size": "1 MiB"})
    with pytest.raises(InputError, match=r"unified_buffer holds 1048576 B; .* 557056 B too much"):
        small.plan(layer, 1)


def test_layers_without_macs_stay_on_the_chip(tpu: Machine) -> None:
    for layer, values in (
        (Elementwise("add", shape=(256, 56, 56)), 256 * 56 * 56),
        (Activation("act", shape=(256, 56, 56), type="tanh"), 256 * 56 * 56),
        (Pool2d("pool", c=64, h=112, w=112, r=2), 64 * 112 * 112),
    ):
        plan = tpu.plan(layer)
        assert plan.dram_bytes == 0
        assert plan.counts["unified_buffer", "ifmap", "read"] == layer.inputs
        assert cycles(tpu, layer) == pytest.approx(values / 256, rel=0.02)


def test_words_of_16_bits_take_two_passes_an_operand(tpu: Machine) -> None:
    """The paper: half speed where one operand has 16 bits, quarter speed where both have."""
    full, half, quarter = (
        tpu.plan(Gemm("g", m=2000, n=256, k=256, input=a, weight=w)).compute_cycles
        for a, w in (("int8", "int8"), ("int16", "int8"), ("int16", "int16"))
    )
    assert (half, quarter) == (2 * full, 4 * full)


def test_more_bandwidth_is_never_slower_and_twice_of_all_is_half_the_time() -> None:
    base = hwsim.load_machine("tpu_v1")
    wide = hwsim.load_machine("tpu_v1", set={"memories.dram.bandwidth": "68 GB/s"})
    twice = hwsim.load_machine("tpu_v1", set={"memories.dram.bandwidth": "68 GB/s", "clocks.core": "1400 MHz"})
    for network, batch in (("resnet50_v1", 4), ("tpu_mlp0", 200)):
        workload = hwsim.load_workload(network)
        rows = [hwsim.simulate(machine, workload, batch).rows for machine in (base, wide, twice)]
        for one, more, fast in zip(*rows, strict=True):
            assert more["latency_s"] <= one["latency_s"], one["layer"]
            assert fast["latency_s"] == pytest.approx(one["latency_s"] / 2, rel=1e-12)
