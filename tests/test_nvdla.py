"""NVDLA: published throughput, layers worked by hand, and laws of its conv buffer and its bounds."""

from __future__ import annotations

import pytest

import hwsim
from hwsim.machines import Machine
from hwsim.machines.pe_array.broadcast import ConvCore, ConvShape
from hwsim.mapping import counts
from hwsim.validation.predictions import comparisons
from hwsim.workload import BatchedMatmul, Conv2d, Elementwise, Gemm, Layer, Lstm, Pool2d, Workload

KIB = 1024
LARGE = ConvCore(cells=32, lanes=64, buffer=512 * KIB, bank=32 * KIB, atom=32)
NETWORKS = ["resnet50_v1", "mobilenet_v1_1.0_224", "squeezenet_v1.1", "lenet5_caffe", "gnmt_4layer_1024"]


@pytest.fixture(scope="module", params=["nvdla_2048", "nvdla_256"])
def machine(request: pytest.FixtureRequest) -> Machine:
    return hwsim.load_machine(request.param)


@pytest.fixture(scope="module")
def large() -> Machine:
    return hwsim.load_machine("nvdla_2048")


def cycles(machine: Machine, layer: Layer, batch: int = 1) -> int:
    return hwsim.simulate(machine, Workload("one", [layer]), batch=batch).summary.cycles


@pytest.mark.parametrize("name", ["nvdla_2048", "nvdla_256"])
def test_published_throughput_is_met(name: str) -> None:
    (found,) = [row for row in comparisons(name)[name] if row.column == "inferences_per_s"]
    assert found.within
    assert abs(found.error) < 0.08


@pytest.mark.parametrize(("name", "published"), [("nvdla_2048", 0.291), ("nvdla_256", 0.048)])
def test_power_is_below_the_published_average(name: str, published: float) -> None:
    """Only arithmetic and movement of data are priced; the published power has the clock tree, control and leakage."""
    power = hwsim.simulate(hwsim.load_machine(name), hwsim.load_workload("resnet50_v1")).summary.power_w
    assert published / 3 < power < published


def test_a_1x1_layer_by_hand(large: Machine) -> None:
    """64 channels are one atomic operation, 32 kernels one kernel group: a position a cycle."""
    layer = Conv2d("c", c=64, h=56, w=56, k=32, r=1)
    plan = large.plan(layer)
    assert plan.compute_cycles == 56 * 56
    head = 56 * 64 + 32 * 64  # a line and the kernels, at 20 B a cycle
    dram = (56 * 56 * 64 + 32 * 64 + 56 * 56 * 32) / 20
    assert plan.dram_bytes == dram * 20
    assert max(56 * 56 + head / 20, dram) <= cycles(large, layer) <= 1.02 * dram


def test_a_compute_bound_layer_takes_its_head_and_its_products(large: Machine) -> None:
    """3 x 3 on 64 channels to 64: two kernel groups of 9 atomic operations a position."""
    layer = Conv2d("c", c=64, h=56, w=56, k=64, r=3, pad=1)
    head, products = (3 * 56 * 64 + 32 * 9 * 64) / 20, 2 * 9 * 56 * 56
    assert large.plan(layer).compute_cycles == products
    assert head + products <= cycles(large, layer) <= 1.01 * (head + products)
    assert hwsim.simulate(large, Workload("one", [layer])).rows[0]["bound"] == "compute"


def test_the_post_processor_binds_a_layer_of_many_outputs() -> None:
    small = hwsim.load_machine("nvdla_256")
    layer = Conv2d("c", c=64, h=56, w=56, k=256, r=1)
    outputs = 256 * 56 * 56  # one a cycle
    assert outputs <= cycles(small, layer) <= 1.01 * outputs
    assert hwsim.simulate(small, Workload("one", [layer])).rows[0]["bound"] == "post-processor"


def test_an_image_is_packed_into_the_channels() -> None:
    """7 taps of 3 channels are 21 of 64 lanes, so that 2 lines go together: 4 atomic operations instead of 49."""
    image = ConvShape.of(Conv2d("conv1", c=3, h=224, w=224, k=64, r=7, stride=2, pad=3), 1)
    assert LARGE.image_lines(image) == 2
    assert LARGE.atoms(image) == 4
    assert LARGE.mac_cycles(image) == 2 * 4 * 112 * 112


def test_depthwise_fills_a_kernel_group_with_as_many_channels(large: Machine) -> None:
    """32 kernels see 32 channels, padded with zeros: an atomic operation a tap, and 32 times the weights."""
    layer = Conv2d("dw", c=64, h=28, w=28, k=64, r=3, pad=1, groups=64)
    plan = large.plan(layer)
    assert plan.compute_cycles == 2 * 9 * 28 * 28
    assert plan.counts["dram", "weight", "read"] == 64 * 9 * 32
    assert plan.macs == plan.macs_executed == 64 * 9 * 28 * 28


@pytest.mark.slow
@pytest.mark.parametrize("dim", ["m", "n", "k"])
def test_a_larger_product_is_never_quicker(machine: Machine, dim: str) -> None:
    """A step to more stripes or kernel groups hides no more than it adds."""
    before = 0
    for size in (*range(1, 130), 255, 256, 257):
        now = cycles(machine, Gemm("g", **({"m": 64, "n": 64, "k": 64} | {dim: size})))
        assert now >= before, size
        before = now


def test_no_more_groups_are_merged_than_take_as_many_kernel_groups(large: Machine) -> None:
    """4 groups of 10 kernels: 3 fit 32 cells, but 2 and 2 take two kernel groups as well, with fewer zeros."""
    plan = large.plan(Conv2d("c", c=40, h=14, w=14, k=40, r=3, pad=1, groups=4))
    assert plan.counts["dram", "weight", "read"] == 40 * 9 * 10 * 2


def test_a_fully_connected_layer_waits_for_the_weights_of_the_cells(large: Machine) -> None:
    """A single position takes as long as the loading of the next weights into 32 cells; DRAM takes longer still."""
    layer = Gemm("fc", n=1000, k=2048)
    plan = large.plan(layer)
    assert plan.compute_cycles == 32 * 32 * 32
    assert cycles(large, layer) == pytest.approx((2048 * 1000 + 2048 + 1000) / 20, rel=0.02)


def test_images_of_a_batch_share_the_weights_that_stay_in_the_buffer(large: Machine) -> None:
    small, big = Conv2d("s", c=64, h=14, w=14, k=64, r=1), Gemm("b", n=4096, k=4096)
    assert large.plan(small, 4).counts["dram", "weight", "read"] == 64 * 64
    assert large.plan(big, 4).counts["dram", "weight", "read"] == 4 * 4096 * 4096
    once = Lstm("l", input_size=256, hidden_size=128, steps=1)  # 196,608 weights stay
    assert large.plan(once.with_(steps=5)).counts["dram", "weight", "read"] == once.weights


def test_channels_lie_in_whole_atoms_in_dram(large: Machine) -> None:
    assert large.plan(Conv2d("c", c=33, h=8, w=8, k=32, r=1)).counts["dram", "ifmap", "read"] == 64 * 64
    assert large.plan(Conv2d("c", c=3, h=8, w=8, k=32, r=1)).counts["dram", "ifmap", "read"] == 64 * 3


@pytest.mark.parametrize("shape", [(256, 56, 56), (512, 28, 28), (1024, 14, 14)])
def test_an_addition_costs_what_it_adds_to_the_pass_before(large: Machine, shape: tuple[int, int, int]) -> None:
    """A pass with an addition does 4 outputs a cycle, without one 16."""
    c, h, w = shape
    convolution = Conv2d("c", c=64, h=h, w=w, k=c, r=1)
    assert cycles(large, convolution) <= 1.3 * c * h * w / 16
    addition = Elementwise("add", shape=shape)
    assert cycles(large, addition) == pytest.approx(c * h * w * (1 / 4 - 1 / 16), rel=0.02)
    assert large.plan(addition).dram_bytes == c * h * w  # the other operand alone


def test_an_addition_that_the_pass_hides_takes_its_reading() -> None:
    addition = Elementwise("add", shape=(256, 56, 56))
    small = hwsim.load_machine("nvdla_256")
    assert cycles(small, addition) == pytest.approx(256 * 56 * 56 / 5, rel=0.02)


def test_a_pool_is_a_pass_of_its_own(large: Machine) -> None:
    layer = Pool2d("pool1", c=64, h=112, w=112, r=3, stride=2, ceil=True)
    assert cycles(large, layer) == pytest.approx(64 * 112 * 112 / 8, rel=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("batch", [1, 3])
def test_no_layer_is_faster_than_its_macs_or_its_bytes(machine: Machine, network: str, batch: int) -> None:
    bandwidth = 20e9 if machine.name == "nvdla_2048" else 5e9
    peak = machine.spec.array.rows * machine.spec.array.cols
    workload = hwsim.load_workload(network)
    for row, layer in zip(hwsim.simulate(machine, workload, batch).rows, workload, strict=True):
        assert row["latency_s"] * (1 + 1e-9) >= row["dram_bytes"] / bandwidth, row["layer"]
        assert row["cycles"] >= row["macs"] / peak, row["layer"]
        if row["macs"] and not isinstance(layer, (Lstm, Conv2d)):
            assert row["dram_bytes"] >= layer.weights + batch * layer.outputs, row["layer"]


@pytest.mark.parametrize("network", NETWORKS)
def test_the_nest_runs_the_atomic_operations_that_are_timed(machine: Machine, network: str) -> None:
    for layer in hwsim.load_workload(network):
        plan = machine.plan(layer)
        if plan.mapping is None or plan.problem is None:
            continue
        positions = plan.problem.dims["P"] * plan.problem.dims["Q"]
        stall = max(positions, machine.spec.array.rows) / positions
        assert counts(plan.problem, plan.mapping).cycles * stall == plan.compute_cycles, layer.name
        extents = plan.mapping.spatial_extents(plan.problem)
        assert extents.get("rows", 1) <= machine.spec.array.rows
        assert extents.get("cols", 1) <= machine.spec.array.cols


def test_counts_of_the_buffer_by_hand(large: Machine) -> None:
    """Every atomic operation reads an ifmap word for each lane and adds to a sum in each cell."""
    plan = large.plan(Conv2d("c", c=128, h=16, w=16, k=64, r=3, pad=1))
    atomic = 256 * 9 * 2 * 2  # positions, taps, channel and kernel groups
    assert plan.counts["conv_buffer", "ifmap", "read"] == atomic * 64
    assert plan.counts["accumulator", "psum", "update"] == atomic * 32
    assert plan.word_bits["psum"] == 34
    stripes = 256 // 64  # of 2 x 32 positions: each loads all weights into the cells
    assert plan.counts["conv_buffer", "weight", "read"] == stripes * 64 * 128 * 9


@pytest.mark.parametrize("network", ["resnet50_v1", "vgg16", "mobilenet_v1_1.0_224"])
def test_a_larger_conv_buffer_never_moves_more_bytes(network: str) -> None:
    layers = [layer for layer in hwsim.load_workload(network) if layer.macs]
    before = [float("inf")] * len(layers)
    for size in (4, 16, 32, 64, 96, 128, 200, 256, 512, 1024, 4096):
        core = ConvCore(cells=32, lanes=64, buffer=size * KIB, bank=4 * KIB, atom=32)
        bytes_ = [core.traffic(ConvShape.of(layer, 1), 8, 8)[0].total for layer in layers]
        assert all(now <= then for now, then in zip(bytes_, before, strict=True)), size
        before = list(bytes_)


def test_too_small_a_buffer_splits_the_rows_and_fetches_again() -> None:
    """32 rows of 8 KiB beside 144 KiB of kernels in 256 KiB: 14 rows fit, of which 12 give outputs."""
    x = ConvShape.of(Conv2d("c", c=256, h=32, w=32, k=64, r=3, pad=1), 1)
    way, *_ = ConvCore(cells=32, lanes=64, buffer=256 * KIB, bank=16 * KIB, atom=32).traffic(x, 8, 8)
    assert (way.splits, way.resident, way.weights) == (3, True, 144 * KIB)
    assert way.ifmap == (32 + 2 * 2) * 8 * KIB


def test_more_bandwidth_is_never_slower_and_twice_of_all_is_half_the_time(machine: Machine) -> None:
    double = {"nvdla_2048": "40 GB/s", "nvdla_256": "10 GB/s"}[machine.name]
    wide = hwsim.load_machine(machine.name, set={"memories.dram.bandwidth": double})
    twice = hwsim.load_machine(machine.name, set={"memories.dram.bandwidth": double, "clocks.core": "2 GHz"})
    workload = hwsim.load_workload("resnet50_v1")
    rows = [hwsim.simulate(m, workload).rows for m in (machine, wide, twice)]
    for one, more, fast in zip(*rows, strict=True):
        assert more["latency_s"] <= one["latency_s"], one["layer"]
        assert fast["latency_s"] == pytest.approx(one["latency_s"] / 2, rel=1e-12)


def test_products_of_two_activations_fetch_both(large: Machine) -> None:
    plan = large.plan(BatchedMatmul("qk", b=12, m=128, n=128, k=64), 2)
    assert plan.dram_bytes == 2 * 12 * (128 * 64 + 128 * 64 + 128 * 128)
    assert plan.macs == 2 * 12 * 128 * 128 * 64
