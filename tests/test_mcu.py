"""Microcontrollers: layers worked by hand, published latencies and energies, laws, memory, and bad files."""

import math
from pathlib import Path

import pytest
from hypothesis import assume, given, settings, strategies as st
from made import MCU_LIBRARY as LIBRARY

import hwsim
from hwsim.errors import HwsimError, InputError
from hwsim.machines import machine_folder
from hwsim.machines.mcu import Mcu, library_names, load_library
from hwsim.machines.mcu.features import TERMS, features, scratch_bytes, stored_bytes, weight_bytes
from hwsim.machines.mcu.library import load_core
from hwsim.message import Message
from hwsim.report.published import measurements_of
from hwsim.report.report import Report
from hwsim.validation.predictions import comparisons

BOARDS = [name for name in hwsim.machine_names() if hwsim.load_machine(name).kind == "mcu"]
NETWORKS = ("kws", "vww", "ic", "ad")
PUBLISHED = [board for board in BOARDS if measurements_of(board, machine_folder()) is not None]

BOARD = """
kind: mcu
name: board
source: test
clocks: {core: 100 MHz}
core: cortex-m4
library: mine.yaml
pace: 1
flash: {size: 64 KiB, weight_byte: 0.5, source: test}
ram: {size: 16 KiB, reserved: 1 KiB, source: test}
power: {active: {board: 50 mW, other: 80 mW}, source: test}
"""


@pytest.fixture
def board(tmp_path: Path):
    """Loads the board of round numbers, with changes."""
    (tmp_path / "mine.yaml").write_text(LIBRARY)
    (tmp_path / "board.yaml").write_text(BOARD)

    def load(**changes: object) -> Mcu:
        return hwsim.load_machine(tmp_path / "board.yaml", set={k.replace("__", "."): v for k, v in changes.items()})

    load.folder = tmp_path
    return load


def told(report: Report) -> dict[str, Message]:
    return {message.code: message for message in report.messages}


def cycles(machine: Mcu, *layers: hwsim.Layer, batch: int = 1) -> list[int]:
    return [r.cycles for r in hwsim.simulate(machine, hwsim.Workload("w", layers, graph=False), batch=batch).results]


@pytest.mark.parametrize(
    ("layer", "units", "weights"),
    [
        (hwsim.Conv2d("pw", c=8, h=5, w=4, k=16), {"pointwise_mac": 2560, "output": 320}, 8 * 16 + 64),
        (
            hwsim.Conv2d("pw_s", c=8, h=4, w=4, k=16, stride=2),
            {"pointwise_mac": 512, "output": 64, "patch": 4, "patch_byte": 32},
            128 + 64,
        ),
        (
            hwsim.Conv2d("conv", c=8, h=4, w=4, k=16, r=3, pad=1),
            {"conv_mac": 16 * 9 * 8 * 16, "output": 256, "patch": 144, "patch_byte": 1152},
            1152 + 64,
        ),
        (
            hwsim.Conv2d("first", c=1, h=49, w=10, k=64, r=10, s=4, stride=2, pad="same"),
            {"narrow_mac": 320_000, "output": 8000, "patch": 5000, "patch_byte": 5000},
            2560 + 256,
        ),
        (
            hwsim.Conv2d("dw", c=64, h=25, w=5, k=64, r=3, pad=1, groups=64),
            {"depthwise_mac": (25 * 3 - 2) * (5 * 3 - 2) * 64, "depthwise_output": 8000},
            576 + 256,
        ),
        (  # three channels are fewer than a word has bytes, four are not
            hwsim.Conv2d("three", c=3, h=4, w=4, k=16, r=3, pad=1),
            {"narrow_mac": 16 * 9 * 3 * 16, "output": 256, "patch": 144, "patch_byte": 432},
            432 + 64,
        ),
        (
            hwsim.Conv2d("four", c=4, h=4, w=4, k=16, r=3, pad=1),
            {"conv_mac": 16 * 9 * 4 * 16, "output": 256, "patch": 144, "patch_byte": 576},
            576 + 64,
        ),
        (  # each group copies its own channels: a call for each tap of each position and group
            hwsim.Conv2d("groups", c=8, h=4, w=4, k=16, r=3, pad=1, groups=2),
            {"conv_mac": 16 * 9 * 4 * 16, "output": 256, "patch": 288, "patch_byte": 1152},
            576 + 64,
        ),
        (hwsim.Gemm("fc", n=12, k=64), {"dense_mac": 768, "dense_output": 12}, 768 + 48),
        (hwsim.Pool2d("pool", c=64, h=25, w=5, type="avg"), {"averaged": 8000}, 0),
        (hwsim.Pool2d("max", c=4, h=4, w=4, r=2), {"compared": 64}, 0),
        (hwsim.Softmax("p", shape=(12,)), {"softmax": 12}, 0),
        (hwsim.Elementwise("add", shape=(16, 8, 8)), {"element": 1024}, 0),
        (hwsim.DataMovement("flat", shape=(4, 4), to=(16,)), {}, 0),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_units_and_cycles_by_hand(board, layer: hwsim.Layer, units: dict[str, int], weights: int) -> None:
    machine = board()
    assert features(layer, False) == units | {"operator": 1}
    assert weight_bytes(layer, False) == weights
    cost = load_library("mine.yaml", board.folder).costs
    wanted = sum(n * cost[term] for term, n in units.items()) + 1000 + 0.5 * weights
    assert cycles(machine, layer) == [pytest.approx(wanted, abs=1)]


def test_a_window_of_the_streaming_wake_word_has_its_spectrum(board) -> None:
    """MLPerf Tiny v1.3 times each window of 32 ms with the spectrum that it computes for it: 64 ms of audio, 40 bands.

    Cycles of a Cortex-M4 by hand: 1024 samples to floats; 3 passes over them, 4 over 512 bins, 2 over 1200 values that
    move up; a real transform of 1024; 512 magnitudes; 40 logarithms in double precision.
    """
    network = hwsim.load_workload("streaming_wakeword")
    spectrum = 1024 * 30 + (3 * 1024 + 4 * 512 + 2 * 1200) * 6 + (9 * 256 + 512) * 22.2 + 512 * 35 + 40 * 2500
    assert cycles(board(), network["features"]) == [pytest.approx(spectrum + 1000, abs=1)]
    alone = hwsim.load_workload("streaming_wakeword_network")
    assert list(network)[1:] == list(alone)
    assert network.macs == alone.macs == 826_368
    assert scratch_bytes(network["features"]) == 2 * 1024 * 4


@pytest.mark.parametrize(
    ("name", "changes", "ms"),
    [
        ("nucleo_l4r5zi_p", {}, 17.88633),
        ("nucleo_l4r5zi_p", {"clocks.core": "70 MHz"}, 30.73463),
        ("stm32u575", {"library": "x-cube-ai-10"}, 11.63046),
    ],
)
def test_streaming_wake_word(name: str, changes: dict[str, str], ms: float) -> None:
    """Busy time of a window, MLPerf Tiny v1.3, X-CUBE-AI 10.2 (duty cycle times 32 ms)."""
    summary = hwsim.simulate(hwsim.load_machine(name, set=changes), hwsim.load_workload("streaming_wakeword")).summary
    assert summary.latency_s == pytest.approx(ms / 1e3, rel=0.1)


def test_weights_of_the_ra8d1_wait_for_its_flash() -> None:
    """Flash of 3 wait states at 240 MHz under a core of 480 MHz, 16 bytes at a time: 8 cycles for 16 bytes.

    A fully connected network reads each weight once; without the flash, AD would take about half of its time.
    """
    machine, network = hwsim.load_machine("ra8d1"), hwsim.load_workload("ad")
    report = hwsim.simulate(machine, network)
    stored = sum(layer.weights + 4 * layer.biases for layer in network)
    assert stored == 264_192 + 6_688
    assert report.layers.flash_cycles.sum() == pytest.approx(stored * (3 + 1) * 2 / 16, rel=1e-3)
    assert 0.4 < report.layers.flash_cycles.sum() / report.summary.cycles < 0.6


@pytest.mark.parametrize(
    ("name", "changes", "milliwatts", "within"),
    [
        ("nucleo_l4r5zi_p", {}, 25.622, 0.2),
        ("nucleo_l4r5zi_p", {"clocks.core": "70 MHz"}, 22.719, 0.08),
        ("stm32u575", {"library": "x-cube-ai-10"}, 11.4741, 0.03),
    ],
)
def test_mean_power_of_the_streaming_wake_word(
    name: str, changes: dict[str, str], milliwatts: float, within: float
) -> None:
    """Energy of a run over its 1202 s, MLPerf Tiny v1.3: audio comes by DMA while the core sleeps between windows."""
    report = hwsim.simulate(hwsim.load_machine(name, set=changes), hwsim.load_workload("streaming_wakeword"))
    cycle = hwsim.duty_cycle(report, every="32 ms", capture="32 ms")
    assert cycle.average_w == pytest.approx(milliwatts / 1e3, rel=within)


def test_vww_over_kws_is_alike_on_every_core() -> None:
    """Under X-CUBE-AI 7.3 it is 3.07, 3.02 and 3.01 on a Cortex-M4, M33 and M7 (MLPerf Tiny v1.0 and v1.1).

    Dropped channels are dropped on each of them, so the ratio of a version that drops them varies no more.
    """
    networks = [hwsim.load_workload(name) for name in ("vww", "kws")]
    for library in ("x-cube-ai-7.3", "x-cube-ai-8.1", "x-cube-ai-9.0", "x-cube-ai-10"):
        ratios = []
        for board in ("nucleo_l4r5zi", "stm32u575", "stm32h7a3"):
            machine = hwsim.load_machine(board, set={"library": library})
            vww, kws = (hwsim.simulate(machine, network).summary.latency_s for network in networks)
            ratios.append(vww / kws)
        assert max(ratios) / min(ratios) < 1.05


def test_a_library_has_factors_by_class_on_a_core(board) -> None:
    """A pointwise MAC of 2 cycles, an output of 30 and a call of 1000, 1.5 and 0.5 times."""
    times = "cores: {cortex-m4: {times: {pointwise: 1.5, other: 0.5}, fitted: test}}"
    (board.folder / "times.yaml").write_text(LIBRARY.replace('cores: {cortex-m4: {fitted: "test"}}', times))
    layer = hwsim.Conv2d("pw", c=7, h=5, w=3, k=31, bias=False)
    found = cycles(board(library="times.yaml", flash__weight_byte=0), layer)
    assert found == [15 * 7 * 31 * 2 * 1.5 + 15 * 31 * 30 * 0.5 + 1000 * 0.5]


def test_hale_1_2_is_faster_on_the_cortex_m0plus_alone() -> None:
    kws = hwsim.load_workload("kws")

    def ratio(name: str) -> float:
        old, new = (hwsim.load_machine(name, set={"library": f"hale-1.{minor}"}) for minor in (1, 2))
        return hwsim.simulate(new, kws).summary.latency_s / hwsim.simulate(old, kws).summary.latency_s

    assert 1 / 1.4 < ratio("stm32g0b1") < 1 / 1.15
    assert ratio("nucleo_l4r5zi") == pytest.approx(1, abs=0.05)  # 60.16 and 62.68 ms, MLPerf Tiny v1.2 and v1.1
    machine = hwsim.load_machine("stm32g0b1", set={"library": "hale-1.2"})
    assert "assumed" in str(told(hwsim.simulate(machine, kws))["mcu.scaled_core"].values["source"])


def test_other_depthwise_windows_may_take_another_kernel() -> None:
    square, tall = (hwsim.Conv2d("d", c=31, h=17, w=17, k=31, r=r, s=s, groups=31) for r, s in ((3, 3), (9, 1)))
    library, plain = load_library("x-cube-ai-10"), load_library("hale-1.2")
    assert features(square, False).keys() ^ features(tall, False).keys() == {"depthwise_mac", "window_mac"}
    assert library.cycles("window_mac", "cortex-m4") > 3 * library.cycles("depthwise_mac", "cortex-m4")
    assert plain.cycles("window_mac", "cortex-m4") == plain.cycles("depthwise_mac", "cortex-m4")


def test_biases_beside_16_bit_inputs_have_64_bits() -> None:
    """TFLite's 16x8 scheme: int16 activations, int8 weights, int64 biases."""
    for dtype, size in (("int8", 4), ("int16", 8)):
        assert weight_bytes(hwsim.Gemm("fc", n=13, k=31, input=dtype, weight="int8", output=dtype), False) == (
            13 * 31 + size * 13
        )


def test_the_column_of_patches_is_scratch() -> None:
    assert scratch_bytes(hwsim.Conv2d("c", c=16, h=8, w=8, k=4, r=3)) == 4 * 9 * 16
    assert scratch_bytes(hwsim.Conv2d("d", c=64, h=8, w=8, k=64, r=3, groups=64)) == 2 * 9 * 64
    assert scratch_bytes(hwsim.Conv2d("p", c=16, h=8, w=8, k=4)) == 0


def test_dead_channels_are_dropped_or_run(board) -> None:
    """4 of 8 inputs and 6 of 16 outputs dead: 20 pixels x 4 x 10 MACs, 200 outputs, 40 weights and 10 biases."""
    layer = hwsim.Conv2d("pw", c=8, h=5, w=4, k=16, dead_in=4, dead_out=6)
    dropped = board()
    assert cycles(dropped, layer) == [20 * 40 * 2 + 200 * 30 + 1000 + (40 + 40) // 2]
    plan = dropped.plan(layer)
    assert (plan.macs, plan.macs_executed) == (2560, 800)
    assert plan.counts["mac", "", "dead"] == 1760
    (board.folder / "keeps.yaml").write_text(LIBRARY.replace("dead_channels: drop", "dead_channels: keep"))
    assert cycles(board(library="keeps.yaml"), layer) == cycles(dropped, layer.with_(dead_in=0, dead_out=0))


@pytest.mark.parametrize("name", BOARDS)
def test_dropping_dead_channels_is_never_slower(name: str) -> None:
    machine = hwsim.load_machine(name)
    for layer in hwsim.load_workload("vww"):
        few, many = (sum(machine._cycles(layer, 1, machine.library, drop).values()) for drop in (True, False))
        assert few <= many


@pytest.mark.parametrize("name", BOARDS)
def test_double_clock_halves_the_time_and_energy_is_power_by_time(name: str) -> None:
    network = hwsim.load_workload("kws")
    machine = hwsim.load_machine(name)
    once = hwsim.simulate(machine, network).summary
    twice = hwsim.simulate(
        hwsim.load_machine(name, set={"clocks.core": f"{2 * int(machine.spec.clocks['core'])} Hz"}), network
    )
    assert twice.summary.cycles == once.cycles
    assert twice.summary.latency_s == pytest.approx(once.latency_s / 2, rel=1e-12)
    if machine.active_w is None:
        assert math.isnan(once.energy_pj)
    else:
        assert once.energy_pj == pytest.approx(machine.active_w * once.latency_s * 1e12, rel=1e-9)


def test_estimated_energies_sum_to_the_layer() -> None:
    report = hwsim.simulate(hwsim.load_machine("nucleo_l4r5zi"), hwsim.load_workload("kws"))
    for row in report.rows:
        parts = [value for name, value in row.items() if name.startswith("estimated_")]
        assert math.fsum(parts) == pytest.approx(row["energy_pj"], rel=1e-9)


@given(
    c=st.integers(1, 40), k=st.integers(1, 40), h=st.integers(3, 20), r=st.sampled_from([1, 3]), batch=st.integers(1, 3)
)
@settings(max_examples=40, deadline=None)
def test_more_work_is_never_faster(c: int, k: int, h: int, r: int, batch: int) -> None:
    machine = hwsim.load_machine("stm32u575")
    base = hwsim.Conv2d("c", c=c + 3, h=h, w=h, k=k, r=r)
    assert cycles(machine, base) <= cycles(machine, base.with_(k=k + 1))
    assert cycles(machine, base) <= cycles(machine, base.with_(c=c + 4))
    assert cycles(machine, base) <= cycles(machine, base, batch=batch)


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_latencies_and_energies(name: str) -> None:
    """Latency: 5 % in the mean for each library (one row alone: 6 %), 15 % at worst; energy 10 % in the mean."""
    rows = comparisons(name)[name]
    libraries: dict[str, list[float]] = {}
    for row in rows:
        if row.column == "latency_s":
            library = row.workload.partition("library=")[2].partition(",")[0]
            libraries.setdefault(library, []).append(abs(row.error))
    for errors in libraries.values():
        assert sum(errors) / len(errors) <= (0.05 if len(errors) > 1 else 0.06)
        assert max(errors) <= 0.15
    energies = [abs(row.error) for row in rows if row.column == "energy_pj"]
    assert not energies or sum(energies) / len(energies) <= 0.1


KWS = (  # (layer of kws, cycles on Apollo510 by its counters), AmbiqAI/neuralSPOT
    ("conv_0", 385_342), ("dwconv_1", 227_158), ("conv_2", 241_234), ("pool_9", 14_771), ("fc_11", 1332),
)  # fmt: skip


@pytest.mark.parametrize(("layer", "measured"), KWS)
def test_operators_on_apollo510(layer: str, measured: int) -> None:
    machine, network = hwsim.load_machine("apollo510"), hwsim.load_workload("kws")
    assert cycles(machine, network[layer])[0] == pytest.approx(measured, rel=0.05)


ALIF_E8 = (  # (layer of MobileNetV2, its channels, rows, stride, cycles), pytorch/executorch issue 17651, CMSIS-NN
    ("b0_dw", 32, 112, 1, 13_715_766), ("b1_dw", 96, 112, 2, 10_286_711), ("b2_dw", 144, 56, 1, 15_319_785),
)  # fmt: skip
ALIF_E8_POINTWISE = (  # input channels, rows, filters, cycles
    (32, 112, 16, 4_915_937), (16, 112, 96, 24_249_462), (96, 56, 24, 2_791_555), (24, 56, 144, 10_329_014),
)  # fmt: skip


def test_operators_on_another_cortex_m55() -> None:
    """Alif Ensemble E8, cycles of the Cortex-M55: a kernel that skips taps on padding takes 20 % more an output than
    in the small images of KWS, where 16 % of the taps are on padding."""
    machine = hwsim.load_machine("apollo510")
    for name, c, h, stride, measured in ALIF_E8:
        layer = hwsim.Conv2d(name, c=c, h=h, w=h, k=c, r=3, stride=stride, pad=1, groups=c)
        assert cycles(machine, layer)[0] == pytest.approx(measured, rel=0.03)
    for c, h, k, measured in ALIF_E8_POINTWISE:
        assert cycles(machine, hwsim.Conv2d("pw", c=c, h=h, w=h, k=k))[0] == pytest.approx(measured, rel=0.05)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_depthwise_macs_are_those_on_the_image(data: st.DataObject) -> None:
    """Counted one by one, with any stride, dilation and padding."""
    draw = data.draw
    h, w = draw(st.integers(1, 13)), draw(st.integers(1, 13))
    r, s = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    stride, dilation = ((draw(st.integers(1, 3)), draw(st.integers(1, 3))) for _ in range(2))
    pad = tuple(draw(st.integers(0, 5)) for _ in range(4))
    assume((r - 1) * dilation[0] < h + pad[0] + pad[2])
    assume((s - 1) * dilation[1] < w + pad[1] + pad[3])
    layer = hwsim.Conv2d("d", c=7, h=h, w=w, k=7, r=r, s=s, stride=stride, dilation=dilation, pad=pad, groups=7)
    rows, columns = (
        sum(0 <= at * stride[axis] - pad[axis] + tap * dilation[axis] < size for at in range(n) for tap in range(taps))
        for axis, (size, n, taps) in enumerate(((h, layer.p, r), (w, layer.q, s)))
    )
    units = features(layer, False)
    assert units.get("depthwise_mac", units.get("window_mac", 0)) == rows * columns * 7


def test_operators_of_the_cifar10_network_on_a_cortex_m7() -> None:
    """Lai et al., arXiv 1801.06601, table 1: STM32F746 at 216 MHz, 31.4, 42.8, 22.6 and 0.1 ms."""
    machine = hwsim.load_machine("stm32f746", set={"library": "cmsis-nn-2018-q7"})
    layers = (
        hwsim.Conv2d("conv1", c=3, h=32, w=32, k=32, r=5, pad=2),
        hwsim.Conv2d("conv2", c=32, h=16, w=16, k=32, r=5, pad=2),
        hwsim.Conv2d("conv3", c=32, h=8, w=8, k=64, r=5, pad=2),
        hwsim.Gemm("fc", n=10, k=1024),
    )
    for found, ms in zip(cycles(machine, *layers), (31.4, 42.8, 22.6, 0.1)):
        assert found / 216e3 == pytest.approx(ms, rel=0.2)


ESP_NN = (  # cycles of one kernel on ESP32-S3, plain C and vector code, of Espressif's esp-nn test application
    (hwsim.Elementwise("add", shape=(1615,)), 281_337, 74_440),
    (hwsim.Conv2d("1x1 of 64", c=64, h=10, w=10, k=64), 4_712_500, 331_008),
    (hwsim.Conv2d("1x1 of 16", c=16, h=8, w=8, k=16), 312_754, 39_022),
    (hwsim.Conv2d("3x3 of 3", c=3, h=8, w=8, k=64, r=3), 2_193_289, 394_842),
    (hwsim.Conv2d("depthwise", c=16, h=18, w=18, k=16, r=3, groups=16), 1_159_831, 184_176),
    (hwsim.Conv2d("depthwise x4", c=8, h=12, w=12, k=32, r=5, pad=1, groups=8), 1_671_363, 372_435),
    (hwsim.Pool2d("max", c=16, h=16, w=16, r=3, stride=1), 376_294, 48_069),
    (hwsim.Pool2d("avg", c=16, h=16, w=16, r=3, stride=1, type="avg"), 427_293, 118_052),
    (hwsim.Gemm("fc", n=3, k=271), 8443, 1078),
    (hwsim.Softmax("softmax", shape=(8, 32)), 15_209, 11_107),
)


@pytest.mark.parametrize(("layer", "ansi", "vector"), ESP_NN, ids=lambda value: getattr(value, "name", ""))
def test_esp_nn_kernels(layer: hwsim.Layer, ansi: int, vector: int) -> None:
    """The bare kernels: no operator around them, weights in RAM."""
    for name, measured in (("esp-nn-ansi", ansi), ("esp-nn", vector)):
        library = load_library(name)
        units = features(layer, False) | {"operator": 0}
        found = sum(n * library.cycles(term, "xtensa-lx7") for term, n in units.items())
        assert found == pytest.approx(measured, rel=0.2)


@pytest.mark.parametrize("network", NETWORKS)
def test_no_network_fits_an_atmega328p(network: str) -> None:
    report = hwsim.simulate(hwsim.load_machine("atmega328p"), hwsim.load_workload(network))
    assert not report.summary.fits
    assert report.summary.margin_bytes < 0
    errors = [message for message in report.messages if message.severity == "error"]
    assert "RAM" in {message.values["memory"] for message in errors}
    assert {message.code for message in errors} == {"memory.too_small"}


def test_the_arduino_runs_kws_and_refuses_what_exceeds_its_ram() -> None:
    machine = hwsim.load_machine("arduino_nano33ble")
    small = hwsim.simulate(machine, hwsim.load_workload("kws")).summary
    large = hwsim.simulate(machine, hwsim.load_workload("mobilenet_v1_0.5_128")).summary
    assert small.fits
    assert small.margin_bytes > 0
    assert not large.fits


def test_memory_by_hand(board) -> None:
    """Two layers of 8 channels: 8 KiB of tensors at once, 1 KiB library, 2 operators, 16 channels, 1 KiB reserved."""
    layers = [hwsim.Conv2d(n, c=8, h=16, w=32, k=8, bias=False) for n in "ab"]
    network = hwsim.Workload("w", layers, graph=True)
    ram, flash = hwsim.simulate(board(), network).memories
    assert ram.need_bytes == 8192 + 1024 + 200 + 128 + 1024
    assert ram.margin_bytes == 16384 - ram.need_bytes
    assert flash.need_bytes == 128 + 16384
    tight = hwsim.simulate(board(ram__size=f"{ram.need_bytes} B"), network)
    short = hwsim.simulate(board(ram__size=f"{ram.need_bytes - 1} B"), network)
    assert (tight.summary.fits, tight.summary.margin_bytes) == (True, 0)
    assert (short.summary.fits, short.summary.margin_bytes) == (False, -1)


def test_a_measured_latency_is_not_below_the_peak() -> None:
    """KWS has 2,656,768 MACs; a Cortex-M4 does two a cycle, so at 120 MHz it takes 11.07 ms at the least."""
    with pytest.raises(
        InputError, match=r"latency of kws must be at least 11.1 ms, not 11 ms: cortex-m4 does at most 2"
    ):
        hwsim.load_machine("nucleo_l4r5zi", set={"measured": "kws 11 ms"})
    hwsim.load_machine("nucleo_l4r5zi", set={"measured": "kws 11.08 ms"})


def test_a_measured_latency_is_a_plain_scale() -> None:
    network, other = hwsim.load_workload("kws"), hwsim.load_workload("ic")
    plain = hwsim.load_machine("nucleo_l4r5zi")
    scaled = hwsim.load_machine("nucleo_l4r5zi", set={"measured": "KWS 95 ms"})
    assert hwsim.simulate(scaled, network).summary.latency_s == pytest.approx(0.095, rel=1e-4)
    ratio = hwsim.simulate(scaled, other).summary.latency_s / hwsim.simulate(plain, other).summary.latency_s
    assert ratio == pytest.approx(scaled.scale, rel=1e-4)
    note = told(hwsim.simulate(scaled, network))["mcu.measured"]
    assert note.values == {"scale": scaled.scale, "latency_s": 0.095, "workload": "KWS"}


def test_a_carried_library_says_so() -> None:
    network = hwsim.load_workload("kws")
    home = hwsim.simulate(hwsim.load_machine("nucleo_l4r5zi"), network)
    away = hwsim.simulate(hwsim.load_machine("stm32u385"), network)
    assert "mcu.scaled_core" not in told(home)
    values = told(away)["mcu.scaled_core"].values
    assert values["core"] == away.machine.spec.core
    assert values["core"] not in values["cores"]


def test_power_is_of_the_environment_that_was_measured(board) -> None:
    assert board().active_w == pytest.approx(0.05)
    assert board(power__use="other").active_w == pytest.approx(0.08)
    assert board(power__active="20 mW").active_w == pytest.approx(0.02)
    (board.folder / "mine.yaml").write_text(LIBRARY + "environment: other\n")
    load_library.__globals__["_load"].cache_clear()
    assert board().active_w == pytest.approx(0.08)
    assert hwsim.load_machine("nucleo_l4r5zi", set={"library": "microtvm-cmsis-nn"}).power_state == "zephyr"


@pytest.mark.parametrize(
    ("name", "library", "changes", "milliwatts"),
    [
        ("stm32u575", "x-cube-ai-7.1", {}, 26.777),
        ("stm32u575", "x-cube-ai-7.3", {}, 25.52),
        ("stm32u575", "x-cube-ai-8.1", {}, 26.253),
        ("stm32u575", "x-cube-ai-9.0", {}, 23.275),
        ("stm32u575", "x-cube-ai-10", {}, 23.546),
        ("nucleo_l4r5zi", "tflm-cmsis-nn-2.3.1-mbed", {}, 40.683),
        ("nucleo_l4r5zi", "x-cube-ai-9.0", {}, 41.674),
        ("nucleo_l4r5zi", "onnc-cmsis-nn-zephyr", {}, 51.23),
        ("nucleo_l4r5zi", "x-cube-ai-7.3", {"power.use": "dual_bank"}, 44.807),
        ("nucleo_l4r5zi", "x-cube-ai-7.3", {"power.use": "dual_bank", "power.supply": "3 V"}, 74.217),
        ("nucleo_l4r5zi_p", "x-cube-ai-10", {}, 33.263),
    ],
)
def test_power_by_submission(name: str, library: str, changes: dict[str, str], milliwatts: float) -> None:
    """Mean power over the networks of a submission, MLPerf Tiny v0.5 to v1.3: within twice the spread of runs."""
    machine = hwsim.load_machine(name, set={"library": library, **changes})
    spread = machine.spec.power.spread
    assert machine.active_w == pytest.approx(milliwatts / 1e3, rel=2 * spread)
    note = told(hwsim.simulate(machine, hwsim.load_workload("kws")))["mcu.power"]
    assert note.values["spread"] == spread


def test_spread_of_power_is_that_of_the_published_runs() -> None:
    """Energy over latency over the power of the state: its root mean square, of boards with more than three runs."""
    for name in ("nucleo_l4r5zi", "stm32u575", "stm32h7a3"):
        rows: dict[str, dict[str, float]] = {}
        for row in comparisons(name)[name]:
            rows.setdefault(row.workload, {})[row.column] = row.error
        errors = [(1 + r["latency_s"]) / (1 + r["energy_pj"]) - 1 for r in rows.values() if len(r) == 2]
        assert len(errors) > 3
        spread = math.sqrt(sum(error**2 for error in errors) / len(errors))
        assert spread == pytest.approx(hwsim.load_machine(name).spec.power.spread, rel=0.25)


def test_each_operation_and_access_has_an_estimated_energy(board) -> None:
    """50 mW at 100 MHz are 500 pJ a cycle; a byte of weights takes half a cycle."""
    machine = board()
    advice = machine.advice(machine.plan(hwsim.Workload("w", [hwsim.Conv2d("pw", c=8, h=5, w=2, k=8)])), "pw")
    values = advice[0].values
    assert advice[0].code == "mcu.unit_energy"
    assert values["cycle_pj"] == pytest.approx(500)
    energies = {"output": 15e-9, "pointwise_mac": 1e-9, "operator": 500e-9, "byte of weights": 250e-12}
    assert values["energy_j"] == pytest.approx(energies)


def test_another_clock_says_what_is_kept(board) -> None:
    network = hwsim.Workload("w", [hwsim.Gemm("g", n=2, k=2)])
    notes = told(hwsim.simulate(board(power__at="200 MHz"), network))
    assert notes["mcu.clock"].values == {"clock_hz": 100e6, "measured_hz": 200e6}
    assert notes["mcu.power"].values.items() >= {"clock_hz": 100e6, "measured_hz": 200e6}.items()


def test_a_library_of_ones_own_is_beside_the_machine_or_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new version is a copy with other costs."""
    (tmp_path / "next.yaml").write_text(LIBRARY.replace("name: mine", "name: next"))
    monkeypatch.chdir(tmp_path)
    for name in ("next.yaml", str(tmp_path / "next.yaml")):
        assert hwsim.load_machine("nucleo_l4r5zi", set={"library": name}).library.name == "next"
    with pytest.raises(InputError, match=r"nothing\.yaml"):
        hwsim.load_machine("nucleo_l4r5zi", set={"library": "nothing.yaml"})


def test_power_goes_with_the_clock(board) -> None:
    half = board(power__at="200 MHz", power__sleep="10 mW")
    assert half.active_w == pytest.approx(0.01 + 0.04 / 2)


def test_a_linear_regulator_draws_the_same_current_from_any_supply(board) -> None:
    """The same board under X-CUBE-AI 7.3 at 1.8 V (ST) and at 3 V (Krai): 47.1 and 78.2 mW on IC, one current."""
    given = {"power__measured_supply": "1.8 V", "power__regulator": "ldo", "power__sleep": "18 mW"}
    assert board(**given).active_w == pytest.approx(0.05)
    fed = board(**given, power__supply="3 V")
    assert fed.active_w == pytest.approx(0.05 * 3 / 1.8)
    assert fed.state_w("sleep") == pytest.approx(0.03)
    assert pytest.approx(3 / 1.8, rel=0.01) == 78.2382 / 47.1013
    assert board(**given | {"power__regulator": "smps"}, power__supply="3 V").active_w == pytest.approx(0.05)
    network = hwsim.Workload("w", [hwsim.Gemm("g", n=2, k=2)])
    power = told(hwsim.simulate(fed, network))["mcu.power"].values
    assert (power["measured_v"], power["supply_v"]) == (1.8, 3)
    with pytest.raises(InputError, match="supply needs measured_supply and regulator to scale the power"):
        board(power__supply="3 V")


def test_docs_name_every_library() -> None:
    text = (machine_folder().parent / "docs" / "mcu.md").read_text(encoding="utf-8")
    assert [name for name in library_names() if f"`{name}`" not in text] == []


@pytest.mark.parametrize("name", library_names())
def test_libraries_run_on_each_of_their_cores(name: str) -> None:
    library = load_library(name)
    assert library.name == name
    assert library.fitted
    for core in library.cores:
        assert all(library.cycles(term, core) >= 0 for term in TERMS)
        fastest = min(library.cycles(t, core) for t in ("pointwise_mac", "conv_mac", "depthwise_mac", "dense_mac"))
        assert fastest * load_core(core).macs_per_cycle >= 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"library": "x-cube-ai-9"}, "no kernel library is called 'x-cube-ai-9'; nearest: 'x-cube-ai-9.0'"),
        ({"library": "esp-nn"}, "esp-nn must support cortex-m4; it supports xtensa-lx7"),
        ({"core": "cortex-m5"}, "no core is called 'cortex-m5'; nearest: 'cortex-m"),
        ({"clock": "cpu"}, "clock names 'cpu', which is not defined; valid: 'core'"),
        ({"measured": "kws"}, "must be a workload and its latency, as 'kws 95 ms', not 'kws'"),
        ({"measured": "kws 0 ms"}, "latency must be more than zero"),
        ({"power__use": "turbo"}, "use names 'turbo', which active does not have; valid: 'board', 'other'"),
        ({"power__active": "50 mJ"}, "power.active: must be a power such as '278 mW', not '50 mJ'"),
        ({"ram__size": "16"}, "ram.size: must be a size such as '108 KiB', not 16"),
        ({"flash__speed": "3"}, "unknown key"),
    ],
)
def test_bad_boards(board, changes: dict[str, str], message: str) -> None:
    with pytest.raises(InputError) as error:
        board(**changes)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("conv_mac: 3", "conv: 3", "costs names 'conv', which is no term; nearest: 'conv_mac'"),
        ("softmax: 100, ", "", "costs must give every term; missing: softmax"),
        ("conv_mac: 3", "conv_mac: -3", "costs.conv_mac: must be greater than or equal to 0"),
        ("{cortex-m4: {fitted", "{cortex-m33: {fitted", "cores must have 'cortex-m4'"),
        ("code: optimized", "code: vector", "has no factors for vector code"),
        ("source: test\nfitted", "fitted", "source: must be given"),
    ],
)
def test_bad_libraries(board, old: str, new: str, message: str) -> None:
    assert old in LIBRARY
    (board.folder / "bad.yaml").write_text(LIBRARY.replace(old, new))
    with pytest.raises(InputError) as error:
        board(library="bad.yaml")
    assert message in str(error.value)


def test_an_unknown_operator_is_named(board) -> None:
    layer = hwsim.Opaque("o", type="space_to_depth", shapes=[(4, 4)], to=(4, 4))
    report = hwsim.simulate(board(), hwsim.Workload("w", [layer]))
    assert report.summary.cycles == 16 * 20 + 1000
    assert told(report)["mcu.no_kernel_model"].values == {"operators": ["space_to_depth"]}


def test_a_float_network_is_told_what_to_do(board) -> None:
    layer = hwsim.Conv2d("c", c=8, h=4, w=4, k=8, input="fp32", weight="fp32", output="fp32")
    with pytest.raises(HwsimError, match="c: mine runs int8, not fp32: quantize the network to int8") as error:
        cycles(board(), layer)
    assert "or name a library that runs it, fastest first: x-cube-ai-" in str(error.value)
    assert str(error.value).endswith("tflm-reference")


FLOATS = """formats:
  fp32:
    code: float
    costs: {pointwise_mac: 9, conv_mac: 9, narrow_mac: 9, depthwise_mac: 12, multiplied_mac: 13, depthwise_output: 20,
            dense_mac: 9, output: 15, dense_output: 25, patch: 0, patch_byte: 0, element: 8, averaged: 6, compared: 6,
            softmax: 300, operator: 900}
    source: test
  int16: {times: {pointwise: 1.5, conv: 2, depthwise: 3, dense: 2, other: 1.5}, source: test}
"""


def test_floats_and_16_bit_values_have_kernels_of_their_own(board) -> None:
    """80 outputs of 8 channels each, 640 MACs, 64 weights and 8 biases, whose bytes take half a cycle each."""
    (board.folder / "mine.yaml").write_text(LIBRARY + FLOATS)
    load_library.__globals__["_load"].cache_clear()
    machine = board()
    layer = hwsim.Conv2d("pw", c=8, h=5, w=2, k=8)
    floats = layer.with_dtype(input="fp32", weight="fp32", output="fp32")
    wide = layer.with_dtype(input="int16", output="int16")
    assert cycles(machine, layer) == [640 * 2 + 80 * 30 + 1000 + (64 + 32) // 2]
    assert cycles(machine, floats) == [640 * 9 + 80 * 15 + 900 + (256 + 32) // 2]
    # Biases of 16-bit layers have 64 bits.
    assert cycles(machine, wide) == [640 * 3 + 80 * 45 + 1500 + (64 + 64) // 2]
    assert "fp32 pointwise kernel of mine (estimated)" in machine.plan(floats).algorithm
    values = told(hwsim.simulate(machine, hwsim.Workload("w", [floats])))["mcu.format"].values
    assert (values["format"], values["library"], values["source"]) == ("fp32", "mine", ["test"])
    with pytest.raises(HwsimError, match="mine runs int8, fp32, int16 x int8, not fp32 x int8"):
        cycles(machine, layer.with_dtype(input="fp32"))


def test_a_library_without_float_kernels_of_its_own_falls_back(board) -> None:
    floats = hwsim.Conv2d("c", c=8, h=8, w=8, k=8, r=3, input="fp32", weight="fp32", output="fp32")
    own, fallen = (
        hwsim.load_machine("nucleo_l4r5zi", set={"library": n}) for n in ("tflm-reference", "tflm-cmsis-nn-2020")
    )
    assert cycles(own, floats) == cycles(fallen, floats)
    # 8 x 8 and 6 x 6 positions of 8 channels of 4 bytes, and no column of patches in plain C.
    assert fallen.arena(hwsim.Workload("w", [floats])).bytes == 2048 + 1152


@pytest.mark.parametrize("name", library_names())
def test_every_format_has_a_cost_on_every_core(name: str) -> None:
    library = load_library(name)
    for found in library.runs:
        for core in library.cores:
            assert all(library.cycles(term, core, found) >= 0 for term in TERMS)
    for core in set(library.cores) & {"cortex-m0plus", "avr"}:
        # Without a floating-point unit a MAC on floats costs several on integers.
        if "fp32" in library.runs:
            assert library.cycles("conv_mac", core, "fp32") > 3 * library.cycles("conv_mac", core)


def test_floats_on_an_atmega_cost_what_was_measured() -> None:
    """Plain C, fully connected, 1577 parameters on an ATmega32U4 at 16 MHz: 14 ms on int8, 60 ms on floats."""
    library = load_library("tflm-reference")
    found = [library.cycles("dense_mac", "avr", name) for name in ("int8", "fp32")]
    assert found[1] / found[0] == pytest.approx(60 / 14, rel=0.4)


def test_a_depthwise_layer_of_one_channel_is_no_convolution(board) -> None:
    shape = {"c": 1, "h": 49, "w": 40, "k": 8, "r": 10, "s": 8, "stride": 2, "pad": "same"}
    plain, depthwise = hwsim.Conv2d("c", **shape), hwsim.Conv2d("d", **shape, depthwise=True)
    assert plain.macs == depthwise.macs == 320_000
    assert set(features(plain, False)) == {"narrow_mac", "output", "patch", "patch_byte", "operator"}
    # 25 x 10 rows of taps without 4 + 2 above and 5 + 3 + 1 below the image; 20 x 8 columns without 3 + 1 on each side.
    on_image = (250 - 6 - 9) * (160 - 4 - 4) * 8
    assert features(depthwise, False) == {"multiplied_mac": on_image, "depthwise_output": 4000, "operator": 1}
    # A library that says nothing of several outputs for each channel takes its other depthwise kernel.
    assert cycles(board(), depthwise) == [on_image * 5 + 4000 * 40 + 1000 + (640 + 32) // 2]


def test_advice_tells_what_to_change_first() -> None:
    machine, network = hwsim.load_machine("nucleo_l4r5zi"), hwsim.load_workload("vww")
    advice = {message.code: message for message in machine.advice(machine.plan(network), "conv_22")}
    assert list(advice) == ["mcu.unit_energy", "mcu.dead_channel_options", "mcu.formats", "mcu.libraries"]
    layer = network["conv_22"]
    assert advice["mcu.dead_channel_options"].values == {"share": 1 - layer.macs_live / layer.macs}
    formats = {row["format"]: row for row in advice["mcu.formats"].rows}
    libraries = {row["library"]: row for row in advice["mcu.libraries"].rows}
    assert set(libraries) == {name for name in library_names() if "cortex-m4" in load_library(name).cores}
    now = hwsim.simulate(machine, network.select("conv_22")).summary.latency_s
    for row in (formats["int8"], libraries["x-cube-ai-9.0"]):
        assert row["latency_s"] == pytest.approx(now, rel=1e-3)
        assert row["change"] == 0
        assert str(row["remark"]).endswith("current")
    assert formats["int16"]["latency_s"] is None


def test_a_measured_workload_must_exist(board) -> None:
    with pytest.raises(HwsimError, match="must be a known workload"):
        cycles(board(measured="nothing 5 ms"), hwsim.Gemm("g", n=2, k=2))


def test_dead_channels_of_a_compressed_layer_leave_the_rest_of_its_flash() -> None:
    """Half of the outputs are dead: half of the stored weights, and 128 biases of four bytes, are left."""
    whole = hwsim.Gemm("f1", m=1, k=256, n=256, weight={"density": 0.3, "format": "csc"})
    half = whole.with_(dead_out=128)
    stored = stored_bytes([whole], drop=True) - 4 * 256
    assert stored_bytes([half], drop=True) == pytest.approx(stored / 2 + 4 * 128, abs=1)
