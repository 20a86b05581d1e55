"""The error to expect of a run: it names what was measured near it, and holds for what was left out."""

import csv
import importlib.util
import io
import json
import math
import sys
from pathlib import Path

import pytest

import hwsim
from hwsim.machines.nearness import Level, class_of, shares
from hwsim.machines.registry import kinds
from hwsim.machines.uncertainty import Residual, Residuals

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def residuals():
    name = "generate_residuals"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def expected(machine: str, network: str, quantity: str = "latency", **changes: object):
    keys = {key.replace("__", "."): value for key, value in changes.items()}
    report = hwsim.simulate(hwsim.load_machine(machine, set=keys), hwsim.load_workload(network))
    return report.expected_error[quantity]


def test_a_board_with_its_library_is_measured() -> None:
    error = expected("nucleo_l4r5zi", "kws")
    assert error.measured
    assert error.words == "this board with this library"
    assert 0 < error.error < error.error_95 < 1


def test_a_neural_processor_with_rows_is_measured() -> None:
    """Four networks and three numbers: a fit without one of them errs by four times as much as with it."""
    error = expected("gap9", "ic")
    assert error.measured
    assert error.rows == 4
    assert 0.05 < error.error < 0.3
    assert expected("gap9", "ic", "energy").error > error.error


@pytest.mark.parametrize(
    ("machine", "changes"),
    [
        ("cortex_a72", {"precision": "fp32"}),  # costs of Zen 5
        ("epyc_zen5", {"precision": "int8"}),  # 128 threads; at most two were measured
        ("xeon_8480", {"precision": "bf16", "streams": "all"}),  # the costs of int8
        ("a100", {"streams": 4}),
        ("systolic_ws", {}),
        ("ethos_u55_128", {}),  # its cycles are the estimator's, not silicon's
        ("edge_tpu_usb", {"engine.conv": 1000}),
    ],
)
def test_what_nobody_measured_is_said(machine: str, changes: dict[str, object]) -> None:
    error = expected(machine, "mobilenet_v1_1.0_224", **changes)
    assert not error.measured
    assert error.rows == 0
    assert error.error >= 0.4


def test_threads_decide() -> None:
    assert expected("epyc_zen5", "resnet50_v1_5", threads=2, precision="int8").measured
    assert not expected("epyc_zen5", "resnet50_v1_5", threads=3, precision="int8").measured


def test_signs_are_a_condition() -> None:
    """Other signs than u8s8 have kernels of their own, which were not measured on Zen 5."""
    machine = hwsim.load_machine("epyc_zen5", set={"threads": 1})

    def run(signs: str):
        a, w = ({"u": "uint8", "s": "int8"}[letter] for letter in (signs[0], signs[2]))
        layers = [hwsim.Conv2d("a", c=31, h=17, w=17, k=127, r=3, s=3, input=a, weight=w)]
        layers.append(hwsim.Gemm("b", m=31, n=127, k=257, input=a, weight=w))
        return hwsim.simulate(machine, hwsim.Workload("w", layers)).expected_error["latency"]

    assert run("u8s8").measured
    assert not run("u8u8").measured


def test_the_slow_format_of_a_mixed_network_counts() -> None:
    """A u8s8 convolution has seven eighths of the MACs, an s8s8 product, which has no fast kernel, much of the time."""
    machine = hwsim.load_machine("epyc_zen5", set={"threads": 1})
    fast = hwsim.Conv2d("a", c=127, h=31, w=31, k=127, r=3, s=3, input="uint8", weight="int8")
    slow = hwsim.Gemm("b", m=61, n=1021, k=257, input="sint8", weight="sint8")
    assert fast.macs > 7 * slow.macs
    alone, mixed = (
        hwsim.simulate(machine, hwsim.Workload("w", layers)) for layers in ([fast, fast.named("c")], [fast, slow])
    )
    assert mixed.results[1].latency_s > mixed.summary.latency_s / 3
    assert alone.expected_error["latency"].measured
    assert not mixed.expected_error["latency"].measured
    assert "s8s8" in mixed.expected_error["latency"].words


def test_what_is_assumed_is_not_measured() -> None:
    """The costs of HALE 1.2 on a Cortex-M0+ are an assumption; those of 1.1 there are from a published row."""
    assert expected("stm32g0b1", "kws", library="hale-1.1").measured
    for board in ("stm32g0b1", "rp2040"):
        error = expected(board, "kws", library="hale-1.2")
        assert not error.measured
        assert "assumed" in error.words


@pytest.mark.parametrize(
    ("machine", "workload", "changes", "words"),
    [
        ("epyc_zen4", "resnet50_v1_5", {"threads": 31}, "31 threads (zen4, onnxruntime-1.31, int8 were)"),
        ("cortex_a72", "mobilenet_v1_1.0_224", {}, "onnxruntime-1.31 (cortex-a72, int8 were)"),
        ("nucleo_l4r5zi", "kws", {"library": "tflm-reference"}, "tflm-reference (cortex-m4, int8 were)"),
        ("t4", "kws", {}, "short kernels (turing, tensorrt, int8 were)"),
        ("xeon_8480", "gnmt_4layer_1024", {}, "recurrent layers (sapphire-rapids, openvino-2024.3, int8 were)"),
        ("systolic_ws", "alexnet", {}, "systolic_ws"),
    ],
)
def test_the_reason_is_named(machine: str, workload: str, changes: dict[str, object], words: str) -> None:
    assert expected(machine, workload, **changes).words == words


def test_layers_of_a_kind_that_nobody_measured() -> None:
    """Half of the time decides: an LSTM on a board whose convolutional networks are known to a few percent."""
    board = hwsim.load_machine("nucleo_l4r5zi")
    lstm = hwsim.Lstm("a", steps=31, input_size=17, hidden_size=127, input="int8", weight="int8")
    assert (
        hwsim.simulate(board, hwsim.Workload("w", [lstm]))
        .expected_error["latency"]
        .words.startswith("recurrent layers")
    )
    small = hwsim.Conv2d("b", c=3, h=31, w=31, k=127, r=3, s=3, input="int8", weight="int8")
    short = hwsim.Lstm("a", steps=1, input_size=17, hidden_size=31, input="int8", weight="int8")
    assert hwsim.simulate(board, hwsim.Workload("w", [small, short])).expected_error["latency"].measured


def test_the_value_that_the_file_has_changes_nothing() -> None:
    """However it is written."""
    same = expected("nucleo_l4r5zi", "kws")
    assert expected("nucleo_l4r5zi", "kws", clocks__core="120 MHz") == same
    assert expected("nucleo_l4r5zi", "kws", clocks__core="0.12 GHz", pace=1) == same


def test_a_changed_machine_is_another_one() -> None:
    """A library is a condition of its own; another clock makes another board of it."""
    assert expected("nucleo_l4r5zi", "kws", library="hale-1.1").words == "this board with this library"
    assert (
        expected("nucleo_l4r5zi", "kws", clocks__core="80 MHz").words == "this library on other boards with this core"
    )
    assert not expected("eyeriss_v1", "alexnet", clocks__core="250 MHz").measured


def test_energy_is_latency_times_power() -> None:
    """No energy under HALE was published for this board; its power is known from other libraries."""
    time, energy = (
        expected("nucleo_l4r5zi", "kws", quantity, library="hale-1.2") for quantity in ("latency", "energy")
    )
    assert energy.measured
    assert time.error < energy.error < time.error + 0.1


def test_the_rule_by_hand() -> None:
    """Five errors of 0.1 for each of two boards: the mean is 0.1, and so are all errors; the quantiles are one."""
    level = Level(("machine",), "network", "this board")
    rows = [
        Residual("latency", {"machine": board, "network": str(n)}, {"network": 0.1 * (-1) ** n})
        for board in "ab"
        for n in range(31)
    ]
    store = Residuals(rows, {"latency": (level,)})
    error = store.expected({"machine": "a"}, "latency")
    assert error.error == pytest.approx(math.expm1(0.1))
    assert error.error_95 == pytest.approx(math.expm1(0.1))
    assert (error.rows, error.measured) == (31, True)
    # Four times the mean of the kind, 0.1, with one row of 0.6: (0.4 + 0.6) / 5 = 0.2.
    far = Residual("latency", {"machine": "c", "network": "x"}, {"network": 0.6})
    mean = (62 * 0.1 + 0.6) / 63
    more = Residuals([*rows, far], {"latency": (level,)})
    assert more._scale(level, "latency", [far]) == pytest.approx((4 * mean + 0.6) / 5)
    assert not store.expected({"machine": "z"}, "latency").measured


def test_it_is_in_every_output() -> None:
    report = hwsim.simulate(hwsim.load_machine("cortex_a72"), hwsim.load_workload("mobilenet_v1_1.0_224"))
    data = json.loads(report.to_json())
    assert (
        data["summary"]["error_expected"] == report.summary.error_expected == data["expected_error"]["latency"]["error"]
    )
    assert data["summary"]["error_measured"] is False
    assert data["summary"]["energy_error_expected"] > data["summary"]["error_expected"]
    assert "not measured: onnxruntime-1.31 (cortex-a72, int8 were)" in report.to_html()


def test_unknown_energy_has_no_error() -> None:
    report = hwsim.simulate(hwsim.load_machine("nrf5340"), hwsim.load_workload("kws"))
    if math.isnan(report.summary.energy_pj):
        assert json.loads(report.to_json())["summary"]["energy_error_expected"] is None


@pytest.mark.slow
def test_rows_left_out_lie_within_it_as_often_as_it_claims(residuals) -> None:
    """68 and 95 of 100, to 12 and 6 points, for each quantity with all rows of a network or a machine left out.

    Of 100 independent rows the shares would scatter by 5 and 2 points; the rows of a machine are not independent.
    """
    for kind, quantity, key in residuals.CASES:
        held = residuals.left_out(kind, quantity, key)
        one, two = residuals.within(held)
        if len(held) < 20:
            assert one >= 0.68 - 0.12
            continue
        assert abs(one - 0.68) <= 0.12, (kind, quantity, key)
        assert abs(two - 0.95) <= 0.06, (kind, quantity, key)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cpu", "mcu", "npu", "pe_array"])
def test_stored_residuals_are_those_of_the_models(residuals, kind: str) -> None:
    """`python docs/generate.py` writes them; the last digit may differ between processors."""
    stored = (ROOT / "hwsim" / "machines" / kind / "residuals.csv").read_text(encoding="utf-8")
    fresh = residuals.text(kind, residuals.KINDS[kind]())
    tables = [list(csv.DictReader(io.StringIO(text.partition("\n")[2]))) for text in (stored, fresh)]
    assert len(tables[0]) == len(tables[1])
    for old, new in zip(*tables):
        for key in old:
            if key.startswith("without ") and old[key]:
                assert float(old[key]) == pytest.approx(float(new[key]), abs=2e-3)
            else:
                assert old[key] == new[key]


@pytest.mark.slow
def test_measured_classes_of_layers_are_those_of_published_runs(residuals) -> None:
    """A class takes a fifth of the time of some published run; kernels of GPUs are products and convolutions."""
    found = {kind: set() for kind in kinds()}
    found["gpu"] = {"attention", "convolutions", "matrix products"}
    for runs in residuals.published().values():
        for run in runs:
            seconds = [result.latency_s for result in run.report.results]
            classes = shares(map(class_of, run.report.plan.layers), seconds)
            found[run.kind] |= {name for name, share in classes.items() if share >= 0.2}
    assert found == {name: set(kind.measured_layers) for name, kind in kinds().items()}


@pytest.mark.slow
def test_one_step_is_a_new_fit(residuals) -> None:
    """Errors without a board are those of a fit to all other boards."""
    held = residuals.script("benchmarks/held_out_mcu.py")
    fit = held.Fit(held.published())
    step, new = (f(lambda row: row.board) for f in (fit.nearly_left_out, fit.left_out))
    assert abs(step - new).mean() < 0.002
    assert abs(step - new).max() < 0.02


@pytest.mark.parametrize(
    ("machine", "workload", "batch"),
    [("t4", "resnet50_v1_5", 1), ("t4", "kws", 1), ("a100", "resnet50_v1_5", 1), ("eyeriss_isca16", "alexnet", 1)],
)
def test_what_no_row_is_like_is_not_measured(machine: str, workload: str, batch: int) -> None:
    """Rows of batch 256 say nothing of a network whose launches take the time; one row is no spread."""
    summary = hwsim.simulate(hwsim.load_machine(machine), hwsim.load_workload(workload), batch).summary
    assert summary.error_expected >= 0.4
    assert summary.energy_error_expected >= 0.4


def test_networks_of_long_kernels_are_near_those_of_the_benchmark() -> None:
    summary = hwsim.simulate(hwsim.load_machine("t4"), hwsim.load_workload("resnet50_v1_5"), 256).summary
    assert summary.error_expected < 0.1


def test_a_calibrated_machine_is_another_one_with_other_keys(tmp_path: Path) -> None:
    """Its threads and precision are conditions; its clock is not."""
    path = tmp_path / "host.yaml"
    text = "kind: cpu\nname: host\nsource: made\ncore: zen4\ncores: 2\nclocks: {core: 3.7 GHz}\nlibrary: onnxruntime-1.31\n"
    text += "memories: {l3: {size: 32 MiB, core: 27 B/cycle}, dram: {core: 36 GB/s, bandwidth: 60 GB/s}}\n"
    text += "costs: {fp32: {call: 1200}}\nspread: {clocks.core: 0.01}\n"
    path.write_text(text)
    words = []
    for change in ({}, {"clocks.core": "1 GHz"}):
        machine = hwsim.load_machine(path, set={"threads": 1, "precision": "fp32"} | change)
        report = hwsim.simulate(machine, hwsim.load_workload("resnet50_v1_5"))
        words.append(report.expected_error["latency"].words)
    assert words[0] == "this processor and library"
    assert words[1] != words[0]
