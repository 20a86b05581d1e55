"""Costs of a library are found again from times that were made with them; its operators are the layers they stand for."""

import datetime

import numpy as np
import pytest
from made import processor

from hwsim.calibration.library import COSTS, Sample, _least_squares, _predict, clean, fit, fit_library, machine_of
from hwsim.calibration.operators import chain_model, operator_layers, operator_model, time_operator
from hwsim.kernels.probe import Timing
from hwsim.yaml_source import parse_yaml

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

MACHINE = processor(4)
DTYPES = pytest.mark.parametrize("dtype", ["fp32", "int8"])


def samples_of(
    dtype: str, costs: dict[str, float], threads: tuple[int, ...] = (1, 2), factor: float = 1.0
) -> list[Sample]:
    """Times that a processor with these costs would take."""
    wanted = [Sample(layer, dtype, count, Timing((1.0,), 1)) for layer in operator_layers(dtype) for count in threads]
    seconds = _predict(parse_yaml(MACHINE), wanted, costs)
    return [
        Sample(one.layer, dtype, one.threads, Timing((time * 1e9 * factor,), 1))
        for one, time in zip(wanted, seconds, strict=True)
    ]


@pytest.mark.slow
@DTYPES
def test_costs_that_made_the_times_are_found_again(dtype: str) -> None:
    document = parse_yaml(MACHINE)
    start = {name: cost for name, cost in machine_of(document).library.types[dtype].costs.items() if cost}
    planted = {
        name: start[name] * factor
        for name, factor in zip((n for n in COSTS if n in start), (1.3, 0.8, 1.2, 1.5, 0.9, 1.4, 0.7, 1.6, 0.6))
    }
    found = fit(document, samples_of(dtype, start | planted), start)
    assert set(found) == set(planted)
    for name, cost in planted.items():
        assert found[name] == pytest.approx(cost, rel=0.12), (
            name
        )  # held near the library's own where little speaks of it
    assert len(found) <= 9


def test_a_disturbed_operator_hardly_moves_the_fit() -> None:
    document = parse_yaml(MACHINE)
    start = {name: cost for name, cost in machine_of(document).library.types["int8"].costs.items() if cost}
    samples = samples_of("int8", start, (1,))
    wrong = samples[5]
    samples[5] = Sample(wrong.layer, "int8", 1, Timing((wrong.timing.least_ns * 4,), 1))
    found = fit(document, samples, start)
    assert all(found[name] == pytest.approx(start[name], rel=0.15) for name in found)
    assert "thread" not in found


@pytest.mark.slow
def test_disturbed_samples_are_left_out_and_told() -> None:
    start = machine_of(parse_yaml(MACHINE)).library.types["fp32"].costs
    samples = samples_of("fp32", dict(start))
    assert len(clean(samples)) == len(samples)
    alone = [Sample(one.layer, one.dtype, one.threads, one.timing) for one in samples]
    for place, one in enumerate(alone):
        if one.threads == 2:  # no faster than one
            alone[place] = Sample(one.layer, one.dtype, 2, Timing((samples[place - 1].timing.least_ns * 1.2 + 1e4,), 1))
    assert all(one.threads == 1 for one in clean(alone))
    fitted = fit_library(MACHINE, alone, 4e-7)
    assert fitted.costs["fp32"]["call"] == pytest.approx(1200)
    assert "thread" not in fitted.costs["fp32"]
    assert any("too noisy" in line for line in fitted.lines())
    assert fitted.after["fp32"] < 0.02


def test_least_squares_without_negative_numbers() -> None:
    rows = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    assert _least_squares(rows, rows @ np.array([2.0, 3.0])) == pytest.approx([2.0, 3.0])
    found = _least_squares(rows, np.array([2.0, -3.0, 1.0]))
    assert found[1] == 0.0
    assert found[0] == pytest.approx(1.5)


@pytest.mark.slow
@DTYPES
def test_each_operator_does_the_work_of_its_layer(dtype: str) -> None:
    for layer in list(operator_layers(dtype))[::5]:
        model, feeds = operator_model(layer, dtype)
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        output = session.run(None, feeds)[0]
        assert output.size == layer.outputs
        assert next(iter(feeds.values())).size == layer.inputs
        assert output.any()
        assert time_operator(layer, dtype, 1, seconds=0).work == 1


def test_a_chain_has_as_many_operators_as_it_says() -> None:
    import onnx

    model, _ = chain_model(5)
    assert [node.op_type for node in onnx.load_from_string(model).graph.node] == ["MatMul"] * 5


@pytest.mark.slow
def test_what_was_fitted_stands_in_the_file(tmp_path) -> None:
    from hwsim import load_machine
    from hwsim.calibration import Calibration, Number, machine_text
    from hwsim.calibration.host import Host

    start = machine_of(parse_yaml(MACHINE)).library.types["fp32"].costs
    fitted = fit_library(MACHINE, samples_of("fp32", dict(start), (1,)), 4e-7)
    numbers = tuple(
        Number(key, key, value, unit, 0.01, 0.02)
        for key, value, unit in (
            ("clocks.core", 3.0, "GHz"), ("rates.fp32", 16.0, "MAC/cycle"), ("memories.l1.load", 64.0, "B/cycle"), ("memories.l2.bandwidth", 32.0, "B/cycle"),
            ("memories.l3.core", 20.0, "B/cycle"), ("memories.dram.core", 20.0, "GB/s"),
        )
    )  # fmt: skip
    found = Calibration(Host(), 1, datetime.date(2026, 1, 2), "avx512vnni", numbers, ())
    path = tmp_path / "host.yaml"
    path.write_text(machine_text(found, fitted))
    machine = load_machine(path)
    assert machine.spec.costs_of("fp32")["session"] == fitted.costs["fp32"]["session"]
    assert "single operators of onnxruntime" in machine.spec.fitted["costs.fp32"]
