"""Every column of a table is described, and docs/columns.md has what the code says."""

import json
import math
from pathlib import Path

import pytest

import hwsim
from hwsim.report.columns import columns_markdown, meaning
from hwsim.report.comparison import Comparison
from hwsim.report.groups import entry_of
from hwsim.report.json_text import json_text
from hwsim.scenario import duty_cycle
from hwsim.sweeps.serving import SERVING_TOTALS
from hwsim.sweeps.totals import TOTALS

RUNS = [
    ("eyeriss_v1", "alexnet"), ("eyeriss_isca16", "alexnet"), ("nvdla_256", "mobilenet_v1_0.5_128"),
    ("tpu_v1", "tpu_mlp0"), ("systolic_ws", "lenet5_caffe"), ("nucleo_l4r5zi", "kws"), ("cortex_a72", "kws"),
    ("t4", "kws"),
]  # fmt: skip


@pytest.mark.parametrize(("machine", "workload"), RUNS)
def test_every_column_is_described(machine: str, workload: str) -> None:
    report = hwsim.simulate(hwsim.load_machine(machine), hwsim.load_workload(workload))
    comparison = Comparison.of([entry_of(report, "a"), entry_of(report, "b")])
    columns = {*(name for row in report.rows for name in row), *comparison.totals, *comparison.layers}
    assert not [name for name in columns if meaning(name) is None]


def test_sweeps_and_duty_cycles_too() -> None:
    report = hwsim.simulate(hwsim.load_machine("nucleo_l4r5zi"), hwsim.load_workload("kws"))
    entry = entry_of(report, "a", duty_cycle(report, "1 s", "CR2032"))
    columns = {
        *Comparison.of([entry, entry]).totals,
        *TOTALS,
        *SERVING_TOTALS,
        "point",
        "feasible",
        "error",
        "energy_pj.dram",
    }
    assert not [name for name in columns if meaning(name) is None]
    assert meaning("color") is None


def test_docs_have_what_the_code_says() -> None:
    page = Path(__file__).parent.parent / "docs" / "columns.md"
    assert f"begin -->\n{columns_markdown()}\n<!--" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "value", [None, [], {}, "a\nb", [1, [2.5, {"a": "é"}], []], {"a": [{"b": 1e-9, "c": None}], "d": {}, "e": (True,)}]
)
def test_the_text_of_json_is_that_of_the_standard_library(value) -> None:
    assert json_text(value) == json.dumps(value, indent=1)


def test_json_has_no_nan() -> None:
    for value in (math.nan, [math.inf], {"a": [{"b": math.nan}]}):
        with pytest.raises(ValueError, match="JSON"):
            json_text(value)
