"""Training on many devices beside published runs and measured scaling; the tables of docs/training.md."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def scale() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_scale", ROOT / "docs" / "generate_scale.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shown(name: str, table: str) -> None:
    """Whether the page has the table of today; `python docs/generate.py` writes it."""
    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    assert f"<!-- {name}: begin -->\n{table}\n<!-- {name}: end -->" in text


def test_whole_runs(scale: ModuleType) -> None:
    """Days on four M40 rise with depth as published; frameworks of the day are slower than the steps alone."""
    runs = scale.whole_runs()
    depths = runs[runs.cluster == "pcie_4x_m40"]
    assert depths.predicted.is_monotonic_increasing
    # 50, 101 and 152 layers: 1 to 1.4 to 2.1 in half days, 1 to 1.64 to 2.33 of the arithmetic.
    days, predicted = (depths.set_index("network")[column] for column in ("hours", "predicted"))
    for network in ("resnet101", "resnet152"):
        published = days[network] / days["resnet50_v1_5"]
        assert predicted[network] / predicted["resnet50_v1_5"] == pytest.approx(published, rel=0.2)
    many = runs[runs.cluster != "pcie_4x_m40"]
    assert many.predicted.is_monotonic_decreasing
    p100 = many[many.cluster == "dgx1_p100"]
    assert p100.hours.iloc[0] / p100.hours.iloc[2] == pytest.approx(
        p100.predicted.iloc[0] / p100.predicted.iloc[2], rel=0.1
    )
    assert runs.ratio.between(1.1, 3.6).all()
    shown("runs", scale.runs_table())


def test_scaling(scale: ModuleType) -> None:
    errors = (scale.scaling().predicted / scale.scaling().measured - 1).abs()
    assert errors.mean() < 0.04
    assert errors.max() < 0.22
    shown("scaling", scale.scaling_table())


def test_iterations_of_gpt(scale: ModuleType) -> None:
    errors = (scale.megatron().predicted_ms / scale.megatron().measured_ms - 1).abs()
    assert errors.mean() < 0.08
    assert errors.max() < 0.18
    shown("megatron", scale.megatron_table())


def test_bytes_of_splits(scale: ModuleType) -> None:
    shown("splits", scale.split_bytes())
