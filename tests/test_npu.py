"""Neural processors: blocks counted by hand, published cycles, laws, and what runs on the host."""

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings, strategies as st

import hwsim
from hwsim.machines.npu.block import Port, best_block, block_work
from hwsim.machines.npu.coding import coded_bytes
from hwsim.machines.npu.work import Operator, operators_of
from hwsim.report.published import measurements_of
from hwsim.workload.coding import Coding
from hwsim.workload.tensor import TensorSpec, TensorType

ETHOS_U = ["ethos_u55_64", "ethos_u55_128", "ethos_u55_256", "ethos_u65_256", "ethos_u65_512"]
SRAM = Port(8, 32, 32)


def one(machine: hwsim.Machine | str, *layers: hwsim.Layer, batch: int = 1) -> hwsim.Report:
    machine = hwsim.load_machine(machine) if isinstance(machine, str) else machine
    return hwsim.simulate(machine, hwsim.Workload("net", list(layers), graph=False), batch=batch)


def cycles(name: str, op: Operator) -> float:
    return block_work(op, hwsim.load_machine(name).spec.engine, SRAM, SRAM, "clamp").cycles


def test_a_depthwise_layer_by_hand() -> None:
    """Blocks of 7 x 12 x 16 on 24 x 24 x 32: 24/7 x 2 x 2 of them, 7 x 6 micro-blocks of 1 x 2 x 8, three steps of taps.

    4 cycles x 42 x 3 steps x 2 = 1008 a block; the last outputs (672) and the first input and last store follow.
    Arm's Vela 5.2.0 says 14,980 for this layer of MLPerf Tiny's VWW.
    """
    op = Operator("depthwise", 32, 24, 24, 32, 24, 24, 3, 3, stored=True)
    block = best_block(op, hwsim.load_machine("ethos_u55_128").spec.engine)
    assert (block.p, block.q, block.k, block.h, block.w) == (7, 12, 16, 9, 14)
    fill = 32 + 9 * 14 * 16 / 8 + 32 + 7 * 12 * 16 / 8
    assert cycles("ethos_u55_128", op) == pytest.approx(24 / 7 * 4 * 1008 + 672 + fill) == 14980


def test_a_layer_of_few_channels_by_hand() -> None:
    """The first layer of VWW: part kernel, three steps of four taps; its input comes by rows of three channels."""
    op = Operator("conv", 3, 96, 96, 8, 48, 48, 3, 3, (2, 2), stored=True)
    engine = hwsim.load_machine("ethos_u55_128").spec.engine
    rows = Port(8, 32, 32, rows=True)
    fill = 32 + 17 * 34 * 3 * 4 / 8 + 32 + 8 * 16 * 8 / 8
    work = block_work(op, engine, rows, SRAM)
    assert work.block.part_kernel
    assert work.cycles == pytest.approx(18 * 768 + 512 + fill) == 15395


def test_a_matrix_vector_product_waits_for_its_weights() -> None:
    """32 cycles for 8 outputs by 32 inputs, whatever the multipliers: AD's first layer takes as long on both.

    Its 128 scales of 10 bytes come from flash, 64 cycles for 256 bytes: 320. A quarter of both is the last turn.
    """
    op = Operator("dense", 640, 1, 1, 128, 1, 1, stored=True)
    engine = hwsim.load_machine("ethos_u55_128").spec.engine
    fill = 32 + 2 * 32 / 8 + 32 + 2 * 128 / 8  # bricks of one column are half a burst
    work = block_work(op, engine, SRAM, SRAM, "clamp", scales=Port(1, 64, 32))
    assert work.cycles == 10240 + (10240 + 320) / 4 + fill == pytest.approx(12964, rel=2e-3)
    dram = block_work(op, hwsim.load_machine("ethos_u65_512").spec.engine, SRAM, SRAM, scales=Port(3.75, 500, 128))
    assert (dram.mac_cycles, dram.output_cycles) == (5120, 10 * 128 * 500 / 256)
    macs = [block_work(op, hwsim.load_machine(name).spec.engine, SRAM, SRAM).mac_cycles for name in ETHOS_U[1:4]]
    assert macs == [32 * 16 * 20] * 3


#: Mean error of NPU cycles a layer against Vela 5.2.0.
BARS = {
    "ethos_u55_64": 0.15,
    "ethos_u55_128": 0.08,
    "ethos_u55_256": 0.12,
    "ethos_u65_256": 0.12,
    "ethos_u65_512": 0.20,
}


@pytest.mark.parametrize("name", ETHOS_U)
def test_cycles_of_layers_are_those_of_the_makers_estimator(name: str) -> None:
    machine = hwsim.load_machine(name)
    published = measurements_of(name, machine.folder)
    errors, sums = [], []
    for run in published.spec.runs:
        report = hwsim.simulate(machine, hwsim.load_workload(run.workload))
        rows = {report.plan.workload[row.layer].likeness: row for row in published.compare(run, report)}
        every = [rows[layer.likeness] for layer in report.plan.workload if layer.likeness in rows]
        errors += [abs(row.error) for row in every]
        sums.append(abs(sum(row.predicted for row in every) / sum(row.published for row in every) - 1))
    assert sum(sums) / len(sums) < 0.10
    assert sum(errors) / len(errors) < BARS[name]


def test_mobilenet_v2_takes_the_cycles_of_arms_model_of_the_chip() -> None:
    """5.5 M cycles by Arm's Corstone-300 FVP (pytorch/executorch, pull request 9830): U55-128, all in SRAM.

    Two digits are published, 5.45 to 5.55 M; Vela says 5.81 to 6.01 M for all in SRAM.
    """
    report = hwsim.simulate(
        hwsim.load_machine("ethos_u55_128", set={"memories.flash.delay": 32}), "mobilenet_v2_1.0_224"
    )
    assert 5.45e6 * 0.95 < report.layers.engine_cycles.sum() < 5.55e6 * 1.05


@st.composite
def products(draw: st.DrawFn) -> hwsim.Layer:
    if draw(st.booleans()):
        return hwsim.Gemm("g", m=draw(st.integers(1, 40)), n=draw(st.integers(1, 260)), k=draw(st.integers(1, 260)))
    r, depthwise = draw(st.integers(1, 11)), draw(st.booleans())
    c = draw(st.integers(1, 130))
    size = draw(st.integers(max(5, r), 40))
    groups, k = (c, c) if depthwise else (1, draw(st.integers(1, 130)))
    return hwsim.Conv2d("c", c=c, h=size, w=size, k=k, r=r, stride=draw(st.integers(1, 2)), pad=r // 2, groups=groups)


@pytest.mark.parametrize("name", ETHOS_U)
@given(layer=products())
@settings(max_examples=15)
def test_no_layer_is_quicker_than_its_multipliers_and_its_output_unit(name: str, layer: hwsim.Layer) -> None:
    machine = hwsim.load_machine(name)
    (plan,) = machine.plan(hwsim.Workload("w", [layer], graph=False))
    assert plan.cycles["mac"] * plan.peak_macs_per_cycle >= plan.macs
    assert plan.cycles["engine"] >= max(plan.cycles["mac"], plan.cycles["output"]) - 1
    rate = machine.spec.engine.output.value
    assert plan.cycles["output"] >= int(layer.outputs * rate)
    result = one(machine, layer).results[0]
    assert result.cycles >= plan.cycles["engine"] - 1


@given(layer=products())
@settings(max_examples=15)
def test_cycles_do_not_depend_on_the_clock(layer: hwsim.Layer) -> None:
    """Where all rates are of the clock; flash at bytes a second is another matter."""
    change = {"memories.flash.bandwidth": "1 B/cycle"}
    slow = one(hwsim.load_machine("ethos_u55_128", set=change | {"clocks.npu": "100 MHz"}), layer)
    fast = one(hwsim.load_machine("ethos_u55_128", set=change), layer)
    assert slow.summary.cycles == fast.summary.cycles
    assert slow.summary.latency_s == pytest.approx(5 * fast.summary.latency_s)


@pytest.mark.parametrize("name", ["ethos_u55_256", "ethos_u65_512"])
@pytest.mark.parametrize("network", ["vww", "mobilenet_v2_1.0_224"])
def test_more_weights_on_the_chip_are_never_slower(network: str, name: str) -> None:
    """From all streamed to all kept; the same of weights that are loaded while the layer before is computed."""
    for key in ("cached", "prefetch"):
        times = [
            hwsim.simulate(hwsim.load_machine(name, set={key: f"{size} KiB"}), network).summary.latency_s
            for size in (1, 7, 31, 257, 1024, 8192)
        ]
        assert times == sorted(times, reverse=True)
        assert times[-1] < times[0]


@pytest.mark.parametrize("machine_name", ["ethos_u55_64", "ethos_u65_256", "edge_tpu_usb"])
@given(layer=products(), batch=st.sampled_from([2, 7, 31]))
@settings(max_examples=10)
def test_a_batch_is_so_many_inferences(machine_name: str, layer: hwsim.Layer, batch: int) -> None:
    machine = hwsim.load_machine(machine_name)
    times = [one(machine, layer, batch=n).summary.latency_s for n in (1, batch)]
    assert times[1] <= times[0] * batch * (1 + 1e-9)
    assert times[1] >= times[0] * batch * 0.5


@given(layer=products())
@settings(max_examples=15)
def test_operators_have_the_products_of_the_layer(layer: hwsim.Layer) -> None:
    assert sum(op.macs for op in operators_of(layer)) == layer.macs
    assert sum(op.outputs for op in operators_of(layer)) == layer.outputs


def test_a_grouped_convolution_is_so_many_convolutions() -> None:
    (op,) = operators_of(hwsim.Conv2d("c", c=62, h=31, w=31, k=254, r=3, pad=1, groups=2))
    assert (op.kind, op.c, op.k, op.repeats) == ("conv", 31, 127, 2)


def test_what_the_engine_does_not_take_runs_on_the_host() -> None:
    """Attention's products of two activations and its norms: the time of a layer is that of the host's own plan."""
    network = hwsim.load_workload("bert_base")
    plan = hwsim.load_machine("ethos_u55_128").plan(network).select("l1_*")
    report = hwsim.simulate(plan)
    hosted = {row["layer"] for row in report.rows if row.get("host")}
    assert "l1_norm1" in hosted
    assert "l1_ff1" not in hosted
    (note,) = [m for m in report.messages if m.code == "npu.hosted"]
    assert note.values["operators"] == ["matmul", "norm"]
    host = hwsim.load_machine("alif_e8_m55")
    norm = report.layers.set_index("layer").latency_s["l1_norm1"]
    assert norm == pytest.approx(one(host, network["l1_norm1"]).summary.latency_s, rel=1e-4)


def test_without_a_host_the_operators_are_told() -> None:
    machine = hwsim.load_machine("ethos_u55_128", set={"host": None})
    with pytest.raises(hwsim.InputError) as caught:
        hwsim.simulate(machine, "bert_base")
    faults = [str(fault) for fault in caught.value.faults]
    assert any(f.startswith("l1_norm1: norm is none of the operators that ethos_u55_128 takes") for f in faults)
    float_layer = hwsim.Conv2d("c", c=3, h=31, w=31, k=7, r=3, input="fp32", weight="fp32", output="fp32")
    with pytest.raises(hwsim.InputError, match="c: conv in fp32: ethos_u55_128 computes in int8, and there is no host"):
        one(machine, float_layer)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"host": "no_such_board"}, "no machine is called 'no_such_board'"),
        ({"host": "a100"}, "must be a machine of kind cpu or mcu, not 'a100' of kind gpu"),
        ({"engine.macs": 100}, "macs must be 8 for each output of the micro-blocks of all cores, not 100"),
        ({"engine.buffer": "8 KiB"}, "buffer must have room for two granules"),
        ({"memories.sram.holds": ["maps", "weights"]}, "memories must have one that holds weights, not 2"),
        ({"operators": ["convolution"]}, "must be one of the known names"),
        (
            {"memories.port": {"holds": ["copies"], "source": "x"}},
            "other names than the parts of the engine, not 'port'",
        ),
        ({"clock": "core"}, "clock names 'core', which is not defined"),
        ({"energy": {"table": "horowitz_45nm", "prices": {}}}, "priced by its power: give power, not energy"),
    ],
)
def test_bad_files_are_told(change: dict[str, object], fault: str) -> None:
    with pytest.raises(hwsim.InputError, match=fault):
        hwsim.load_machine("ethos_u55_128", set=change)


def test_a_network_larger_than_flash_is_told_with_its_bytes() -> None:
    report = hwsim.simulate(
        hwsim.load_machine("ethos_u55_64", set={"memories.flash.size": "256 KiB"}), "mobilenet_v1_1.0_224"
    )
    (flash,) = [use for use in report.memories if use.memory == "flash"]
    assert not flash.fits
    assert flash.need_bytes > 4_200_000
    assert flash.message().severity == "error"


def test_a_softmax_is_a_sequence_of_operators() -> None:
    """The largest of each row, a table of exponentials, their sum, a reciprocal of each row, a product."""
    ops = operators_of(hwsim.Softmax("s", shape=(3, 31, 127)))
    assert [(op.kind, op.function) for op in ops] == [
        ("pool", "max"), ("elementwise", "lookup"), ("conv", ""), ("elementwise", "add"), ("elementwise", "multiply"),
    ]  # fmt: skip
    assert [(op.q * op.p, op.k) for op in ops] == [(93, 1), (93, 127), (93, 1), (93, 1), (93, 127)]


def test_cycles_of_gap9_do_not_depend_on_its_clock() -> None:
    """MLPerf Tiny v1.0 has it at 240 and 370 MHz: no memory of its file is of another clock."""
    cycles = {
        hwsim.simulate(hwsim.load_machine("gap9", set={"clocks.npu": clock}), "ic").summary.cycles
        for clock in ("240 MHz", "370 MHz", "31 MHz")
    }
    assert len(cycles) == 1


def test_an_edge_tpu_streams_what_it_cannot_keep() -> None:
    """VGG-16: 138 MB less 6.1 MB over a link of 493 MB/s take 268 of 296 ms; MobileNet's 4.2 MB stay."""
    report = hwsim.simulate(hwsim.load_machine("edge_tpu_usb", set={"precision": "int8"}), "vgg16")
    assert report.layers.weight_bytes.sum() == pytest.approx(138.4e6 - 6.1e6, rel=0.01)
    assert report.summary.latency_s == pytest.approx(0.296, rel=0.08)
    small = hwsim.simulate("edge_tpu_usb", "mobilenet_v1_1.0_224")
    assert not small.layers.weight_bytes.sum()
    assert small.layers.copied_bytes.sum() == 224 * 224 * 3 + 1000


def test_a_network_that_fits_on_the_chip_is_never_slower_than_one_that_streams() -> None:
    for network in ("mobilenet_v1_1.0_224", "resnet50_v1_5"):
        machines = [
            hwsim.load_machine("edge_tpu_usb", set={"precision": "int8", "cached": size}) for size in ("1 B", "64 MiB")
        ]
        streamed, kept = (hwsim.simulate(machine, network) for machine in machines)
        assert all(a >= b for a, b in zip(streamed.layers.latency_s, kept.layers.latency_s, strict=True))
        assert kept.summary.latency_s < streamed.summary.latency_s


#: STM32 model zoo, image classification READMEs @6f10965: ms of networks on STM32N6570-DK, 1000 classes.
STM32N6 = {("0.25", 224): 3.57, ("1.0", 224): 19.41}


def mobilenet_v1(width: float, size: int) -> hwsim.Workload:
    """MobileNet v1: 13 pairs of depthwise and pointwise convolutions."""
    channels = [int(width * c) for c in (32, 64, 128, 128, 256, 256, *[512] * 6, 1024, 1024)]
    layers: list[hwsim.Layer] = [hwsim.Conv2d("c", c=3, h=size, w=size, k=channels[0], r=3, stride=2, pad=(0, 0, 1, 1))]
    side = size // 2
    for number, (c, k) in enumerate(pairwise(channels)):
        stride = 2 if number in (1, 3, 5, 11) else 1
        pad = (0, 0, 1, 1) if stride == 2 else 1
        layers.append(hwsim.Conv2d(f"d{number}", c=c, h=side, w=side, k=c, r=3, stride=stride, pad=pad, groups=c))
        side //= stride
        layers.append(hwsim.Conv2d(f"p{number}", c=c, h=side, w=side, k=k, r=1))
    layers += [
        hwsim.Pool2d("pool", c=channels[-1], h=side, w=side, type="avg"),
        hwsim.Gemm("fc", m=1, n=1000, k=channels[-1]),
    ]
    return hwsim.Workload("mobilenet_v1", layers, graph=False)


@pytest.mark.parametrize(("width", "size"), STM32N6)
def test_stm32n6_waits_for_its_maps_and_its_flash(width: str, size: int) -> None:
    report = hwsim.simulate("stm32n6", mobilenet_v1(float(width), size))
    assert report.summary.latency_s == pytest.approx(STM32N6[width, size] / 1e3, rel=0.12)
    assert set(report.layers.bound) <= {"sram", "ospi", "compute", "overhead"}


@pytest.mark.parametrize("name", ["edge_tpu_usb", "stm32n6", "gap9", "ndp120", "alif_e8_u55", "alif_e8_u85"])
@given(layer=products(), more=st.integers(1, 31))
@settings(max_examples=10)
def test_more_channels_are_never_quicker(name: str, layer: hwsim.Layer, more: int) -> None:
    """Of outputs; the blocks of Ethos-U are chosen for bytes, so that a larger layer may take a quicker one: 10 %."""
    if isinstance(layer, hwsim.Gemm):
        larger = layer.with_(n=layer.n + more)
    elif layer.groups == 1:
        larger = layer.with_(k=layer.k + more)
    else:
        larger = layer.with_(c=layer.c + more, k=layer.k + more, groups=layer.groups + more)
    few, many = (one(name, each).summary.latency_s for each in (layer, larger))
    assert many >= few * (0.6 if name.startswith("alif") else 1 - 1e-9)


def test_a_neural_processor_has_a_duty_cycle() -> None:
    machine = hwsim.load_machine("gap9", set={"power.deep_sleep": "45 uW", "power.wake_up": "1 ms"})
    cycle = hwsim.duty_cycle(hwsim.simulate(machine, "kws"), "1 s", battery="CR2032")
    assert cycle.average_w == pytest.approx(45e-6 + 24.3e-3 * (690e-6 + 1e-3), rel=0.02)


def _weights(density: float, bits: int = 8, shared: int = 0) -> TensorType:
    coding = Coding(shared_bits=shared) if shared else None
    return TensorType((1,), TensorSpec(f"int{bits}", density, coding=coding))


def test_bits_of_coded_weights_by_hand() -> None:
    """Half of them zero: 9 bits for each other, and zeros of runs in unary, of which there are as many: 5 a weight.

    A tenth kept: runs in eights, 9 + 3 bits for each, and 0.1 x 0.9^8 / (1 - 0.9^8) bits in unary.
    """
    assert coded_bytes(_weights(0.5), 8000) == 8000 * (0.5 * 9 + 0.5) / 8
    share = 0.9**8
    assert coded_bytes(_weights(0.1), 80_000) == pytest.approx(
        80_000 * (0.1 * 12 + 0.1 * share / (1 - share)) / 8, abs=1
    )
    assert coded_bytes(_weights(1.0), 31 * 127) == 31 * 127
    assert coded_bytes(_weights(1.0, shared=5), 8000) == 5000
    assert coded_bytes(_weights(0.0), 8000) == 8000 / 8 / 8


@given(few=st.floats(0, 1), many=st.floats(0, 1), count=st.sampled_from([1, 31, 127, 257, 65537]))
def test_fewer_weights_are_never_more_bytes(few: float, many: float, count: int) -> None:
    few, many = sorted((few, many))
    assert coded_bytes(_weights(few), count) <= coded_bytes(_weights(many), count) <= count


def test_drawn_weights_take_the_bytes_of_their_code() -> None:
    """A stream that is coded run by run, against the formula: runs of zeros in Golomb-Rice codes of the best z."""
    draw = random.Random(31)
    for density in (0.05, 0.3, 0.8, 0.97):
        kept = [draw.random() < density for _ in range(40_000)]
        lengths, run = [], 0
        for one_kept in kept:
            if one_kept:
                lengths.append(run)
            run = 0 if one_kept else run + 1
        bits = min(sum(9 + z + (length >> z) for length in lengths) for z in range(4))
        expected = min(bits, 8 * len(kept)) / 8
        assert coded_bytes(_weights(sum(kept) / len(kept)), len(kept)) == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("name", ["ethos_u55_128", "ethos_u65_512", "alif_e8_u55"])
@given(layer=products(), density=st.floats(0.01, 0.99))
@settings(max_examples=10)
def test_pruned_layers_are_never_slower(name: str, layer: hwsim.Layer, density: float) -> None:
    whole, pruned = (one(name, each).results[0] for each in (layer, layer.with_density(weight=density)))
    assert pruned.plan.columns["weight_bytes"] <= whole.plan.columns["weight_bytes"]
    assert pruned.latency_s <= whole.latency_s


#: Bytes that Vela 5.2.0 codes layers of MLPerf Tiny's VWW into, whose late layers are mostly zeros.
CODED = {
    "conv_12": 8688, "conv_14": 9232, "conv_16": 3904, "conv_18": 2320, "conv_20": 2064, "conv_22": 2144,
    "conv_24": 4192, "conv_26": 4560,
}  # fmt: skip


def test_coded_weights_have_the_bytes_of_the_makers_coder() -> None:
    """From the share of zeros alone; 10 bytes a channel for bias and scale are in both."""
    layers = hwsim.simulate("ethos_u55_128", "vww").layers.set_index("layer")
    for name, size in CODED.items():
        assert layers.weight_bytes[name] == pytest.approx(size, rel=0.025)
    assert layers.weight_bytes["conv_18"] < 0.15 * 128 * 128


def test_a_pruned_network_waits_less_for_flash() -> None:
    """VWW with a quarter of its weights, and with all: bytes of weights by the code, biases as they were."""
    network = hwsim.load_workload("vww")
    dense, pruned = (
        hwsim.Workload("net", [one.with_density(weight=share) if one.weights else one for one in network])
        for share in (1.0, 0.25)
    )
    before, after = (hwsim.simulate("ethos_u55_256", each) for each in (dense, pruned))
    assert after.summary.latency_s < 0.8 * before.summary.latency_s
    biases = 10 * sum(layer.biases for layer in network)
    share = min(0.25 * (9 + z) + 0.25 * 0.75 ** (2**z) / (1 - 0.75 ** (2**z)) for z in range(4)) / 8
    weights = before.layers.weight_bytes.sum() - biases
    assert after.layers.weight_bytes.sum() - biases == pytest.approx(share * weights, rel=1e-3)


def test_weights_of_the_next_layer_are_loaded_beside_this_one() -> None:
    """A stage on the store of weights, behind the layer's own; what was loaded then is not loaded again."""
    layers = [
        hwsim.Conv2d("a", c=31, h=40, w=40, k=33, r=3, pad=1),
        hwsim.Conv2d("b", c=33, h=40, w=40, k=127, r=3, pad=1),
    ]
    machine = hwsim.load_machine("ethos_u55_128", set={"prefetch": "1 MiB"})
    first, second = one(machine, *layers).results
    assert [
        stage.resource for pipe in first.plan.program.pipelines if pipe.name == "ahead" for stage in pipe.stages
    ] == ["flash"]
    assert not any(pipe.name == "load" for pipe in second.plan.program.pipelines)
    assert second.plan.columns["weight_bytes"] == 33 * 127 * 9 + 10 * 127
    plain = one("ethos_u55_128", *layers)
    assert first.latency_s == plain.results[0].latency_s
    assert second.latency_s <= plain.results[1].latency_s


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [("edge_tpu_usb", "prefetch", "1 MiB"), ("gap9", "memories.l2.delay", 31), ("ndp120", "cached", "31 KiB")],
)
def test_keys_without_effect_are_told(name: str, key: str, value: object) -> None:
    plain, changed = (hwsim.simulate(hwsim.load_machine(name, set=keys), "kws") for keys in ({}, {key: value}))
    assert changed.summary.latency_s == plain.summary.latency_s
    assert key in {item.property for item in changed.unused if not item.layer}
