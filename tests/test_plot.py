"""Charts of reports as axes of matplotlib."""

from __future__ import annotations

import sys

import pytest

import hwsim


@pytest.fixture(scope="module")
def report() -> hwsim.Report:
    return hwsim.simulate("eyeriss_v1", "lenet5_caffe", batch=3)


@pytest.fixture
def pyplot():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")


def test_bars_are_the_latencies_of_the_layers(report: hwsim.Report, pyplot) -> None:
    axes = report.plot.layers()
    assert sum(bar.get_width() for bar in axes.patches) == pytest.approx(1e3 * report.summary.latency_s)
    assert [label.get_text() for label in axes.get_yticklabels()] == list(report.workload.names)


def test_no_point_is_above_a_roof(report: hwsim.Report, pyplot) -> None:
    axes = report.plot.roofline()
    flat = max(line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == "-")
    points = [point for dots in axes.collections for point in dots.get_offsets()]
    assert points
    assert all(rate <= flat * (1 + 1e-9) for _, rate in points)


def test_bars_of_energy_add_up(report: hwsim.Report, pyplot) -> None:
    _, own = pyplot.subplots()
    axes = report.plot.energy(own)
    assert axes is own
    assert sum(bar.get_height() for bar in axes.patches) == pytest.approx(report.summary.energy_pj / 1e6)


def test_without_matplotlib_it_is_asked_for(report: hwsim.Report, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(hwsim.InputError, match="pip install matplotlib"):
        report.plot.layers()


def test_what_has_no_energy_has_no_chart_of_it() -> None:
    with pytest.raises(hwsim.InputError, match="unknown"):
        hwsim.simulate("raspberry_pi_4", "lenet5_caffe").plot.energy()
