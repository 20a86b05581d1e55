"""Sweeps as HTML: the front is the front, and thousands of points are still a page."""

import math
import random
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from browser import needs_chromium, open_page
from hypothesis import given, settings, strategies as st
from test_html import HOSTILE, tags

import hwsim
from hwsim.report.html import SweepPoints, sweep_fragment, sweep_html
from hwsim.report.html.explore import axis_of
from hwsim.report.pareto import pareto_front
from hwsim.report.quantity import head, shown, title
from hwsim.units import column_unit


def points(count: int) -> pd.DataFrame:
    draw = random.Random(1)
    rows = [draw.choice([8, 12, 16, 32]) for _ in range(count)]
    sizes = [draw.choice([27, 54, 108]) for _ in range(count)]
    return pd.DataFrame(
        {
            "array.rows": rows,
            "memories.glb.size": [f"{size} KiB" for size in sizes],
            "dataflow": [draw.choice(["row_stationary", HOSTILE]) for _ in range(count)],
            "latency_s": [draw.uniform(0.8, 1.2) / row for row in rows],
            "energy_pj": [draw.uniform(0.9, 1.2) * (row + size) * 1e6 for row, size in zip(rows, sizes)],
            "error": [""] * count,
        }
    )


PARAMETERS, OBJECTIVES = ["array.rows", "memories.glb.size", "dataflow"], ["latency_s", "energy_pj"]


@given(st.lists(st.tuples(*[st.integers(0, 5) | st.just(None)] * 3), min_size=1, max_size=40), st.booleans())
@settings(max_examples=80)
def test_the_front_is_what_no_other_beats(rows, third: bool) -> None:
    frame = pd.DataFrame(rows, columns=["a", "b", "c"], dtype=float)
    objectives = ["a", "b", "c"] if third else ["a", "b"]
    signed = frame[objectives] * ([1, -1, 1] if third else [1, -1])
    whole = [i for i in range(len(rows)) if not signed.iloc[i].isna().any()]

    def beaten(i: int) -> bool:
        return any((signed.iloc[j] <= signed.iloc[i]).all() and (signed.iloc[j] < signed.iloc[i]).any() for j in whole)

    assert sorted(pareto_front(frame, objectives, maximize=["b"])) == [i for i in whole if not beaten(i)]


@pytest.mark.parametrize(
    "column, value, text",
    [
        ("latency_s", 0.0032, "3.2 ms"),
        ("energy_pj", 1.5e9, "1.5 mJ"),
        ("energy_pj.mac", 1.5e9, "1.5 mJ"),
        ("energy_per_inference_pj", 2.0, "2 pJ"),
        ("edp_pj_s", 2e9, "2 mJs"),
        ("inferences_per_s", 11.1, "11.1/s"),
        ("tops_per_w", 0.829, "0.829"),
        ("dram_pj_per_mac", 3.25, "3.25"),
        ("area_mm2", 0.5, "0.5 mm²"),
        ("macs", 4190000, "4,190,000"),
        ("power_w", math.nan, "unknown"),
        ("fits", True, "True"),
        ("bound", "link", "link"),
    ],
)
def test_values_have_the_unit_of_their_column(column: str, value: object, text: str) -> None:
    assert shown(column, value) == text


@pytest.mark.parametrize(
    ("column", "text"),
    [
        ("latency_s", "latency"),
        ("energy_per_inference_pj", "energy per inference"),
        ("energy_pj.mac", "energy of mac"),
        ("inferences_per_s", "inferences/s"),
        ("tops_per_w", "tops_per_w"),
        ("memories.glb.size", "memories.glb.size"),
    ],
)
def test_a_label_names_no_unit_that_its_values_are_not_in(column: str, text: str) -> None:
    """Ticks have units with prefixes, as 3.1 mJ: an axis of energy_pj beside them would say picojoules."""
    assert title(column) == text
    html = sweep_html(SweepPoints(points(50), PARAMETERS, OBJECTIVES, "axes"))
    axes = re.findall(r'<text [^>]*class="(?:axis|head)"[^>]*>([^<]*)</text>', html)
    assert {"latency", "energy"} <= set(axes)
    assert not [name for name in axes if name.endswith(("_s", "_pj"))]


@pytest.mark.parametrize(
    ("column", "text"),
    [
        ("latency_s", "latency (s)"),
        ("energy_pj", "energy (J)"),
        ("energy_pj.mac", "energy of mac (J)"),
        ("edp_pj_s", "edp (Js)"),
        ("dram_bytes", "dram (B)"),
        ("area_mm2", "area (mm²)"),
        ("inferences_per_s", "inferences/s"),
        ("macs_per_dram_byte", "macs_per_dram_byte"),
        ("utilization", "utilization"),
    ],
)
def test_the_head_of_a_column_names_the_unit_that_is_shown(column: str, text: str) -> None:
    assert head(column) == text


def test_tables_of_a_page_have_these_heads() -> None:
    html = sweep_html(SweepPoints(points(50), PARAMETERS, OBJECTIVES, "heads"))
    heads = re.findall(r"<th [^>]*>([^<]*)</th>", html)
    assert heads.count("latency (s)") == heads.count("energy (J)") == 2
    assert not [name for name in heads if name.endswith(("_s", "_pj", "_bytes"))]
    report = hwsim.simulate(hwsim.load_machine("t4"), hwsim.load_workload("lenet5_caffe"))
    heads = re.findall(r"<th [^>]*>([^<]*)</th>", report.to_html())
    assert {"dram (B)", "dram (s)", "kernel", "kernel (s)"} <= set(heads)
    assert not [name for name in heads if name.endswith(("_s", "_pj", "_bytes"))]


@pytest.mark.parametrize(
    ("column", "dimensions"),
    [("edp_pj_s", ("energy", "time")), ("energy_pj.mac", ("energy",)), ("inferences_per_s", ("frequency",)), ("power_w", ("power",))],
)  # fmt: skip
def test_a_column_has_the_dimension_of_its_unit(column: str, dimensions: tuple[str, ...]) -> None:
    unit = column_unit(column)
    assert unit is not None
    assert unit.dimensions == dimensions
    assert column_unit("tops_per_w") is None, "a ratio to watts is not power"


def test_a_parameter_is_in_order_of_size() -> None:
    axis = axis_of(pd.Series(["108 KiB", "1 MiB", "27 KiB", "108 KiB"]), "size")
    assert [text for _, text in axis.ticks] == ["27 KiB", "108 KiB", "1 MiB"]
    assert axis.values == (1, 2, 0, 1)
    assert axis_of(pd.Series([1, 4, 16, 64]), "rows").log
    assert column_unit("array.rows") is None


@pytest.mark.parametrize("maximize", [(), ("b",), ("a",), ("a", "b")])
@given(st.lists(st.tuples(st.integers(1, 31), st.integers(1, 127)), min_size=2, max_size=13, unique=True))
@settings(max_examples=30)
def test_a_front_is_a_staircase(maximize: tuple[str, ...], rows: list[tuple[int, int]]) -> None:
    """Each step is along an axis, and no point of the plot is beyond the line: what it bounds is reached."""
    frame = pd.DataFrame(rows, columns=["a", "b"], dtype=float)
    html = sweep_html(SweepPoints(frame, [], ["a", "b"], "t", maximize=maximize))
    best = pareto_front(frame, ["a", "b"], maximize)
    lines = re.findall(r'd="M([^"]*)" class="frontline"', html)
    assert len(lines) == (len(best) > 1)
    if not lines:
        return
    path = [tuple(map(float, spot.split())) for spot in lines[0].split("L")]
    assert len(path) == 2 * len(best) - 1
    for (x, y), (u, v) in pairwise(path):
        assert x == u or y == v
    circles = re.findall(r'<circle cx="([^"]*)" cy="([^"]*)" r="5"', html)
    spots = sorted((float(x), float(y)) for x, y in circles)
    assert sorted(path[::2]) == spots
    # Corners are never better than both of their neighbors: pixels go down, so less of b is more pixels.
    for (x, y), (u, v), (w, z) in zip(path[::2], path[1::2], path[2::2]):
        assert u == (max(x, w) if "a" not in maximize else min(x, w))
        assert v == (min(y, z) if "b" not in maximize else max(y, z))


def test_a_page_marks_energies_that_are_not_measured() -> None:
    frame = points(3)
    frame["latency_s"], frame["energy_pj"] = [1.0, 2.0, 3.0], [3e9, 2e9, 1e9]
    frame["energy_scope"] = ["board", "board", "chip"]
    frame["energy_basis"] = ["measured", "measured", "data sheet"]
    html = sweep_html(SweepPoints(frame, PARAMETERS, OBJECTIVES, "t"))
    assert "1 mJ*" in html
    assert "2 mJ*" not in html
    assert "* energy not measured: chip (data sheet)" in html


def test_columns_that_a_page_leaves_out_are_named() -> None:
    frame = points(3).assign(**{f"extra{n}": n for n in range(13)})
    assert "Without 2 columns of the CSV file: extra11, extra12." in sweep_html(
        SweepPoints(frame, PARAMETERS, OBJECTIVES, "t")
    )


def test_a_long_axis_names_no_unit_either() -> None:
    """Ten axes leave no room for energy per inference: it is cut, and never the column with its pJ."""
    frame = points(31).assign(**{f"key{n}": range(31) for n in range(7)})
    frame = frame.rename(columns={"energy_pj": "energy_per_inference_pj"})
    keys = [*PARAMETERS, *(f"key{n}" for n in range(7))]
    html = sweep_html(SweepPoints(frame, keys, ["latency_s", "energy_per_inference_pj"], "t"))
    assert "energy_per_inference_pj" not in html


@pytest.mark.slow
def test_page_of_many_points() -> None:
    frame = points(10_000)
    frame.loc[7, "latency_s"] = np.nan
    frame.loc[7, "error"] = HOSTILE
    html = sweep_html(SweepPoints(
        frame, PARAMETERS, OBJECTIVES, HOSTILE, hypervolume=[(1, 0.1), (9, 0.7)],
        sensitivity={"latency_s": {"array.rows": 0.9, "dataflow": math.nan}}, notes=[HOSTILE]))  # fmt: skip
    found = tags(html)
    assert [tag for tag, _ in found].count("script") == 1
    assert not [tag for tag, _ in found if tag == "img"]
    assert len(html) < 1_500_000
    assert "2,000 of 10,000 points" in html
    assert "1 point failed" in html
    fragment = sweep_fragment(SweepPoints(frame, PARAMETERS, OBJECTIVES, "t"))
    assert "<script>" not in fragment
    assert len(fragment) < 600_000


@pytest.mark.parametrize("count", [1, 2])
def test_page_of_hardly_any_points(count: int) -> None:
    frame = points(count)
    tags(sweep_html(SweepPoints(frame, PARAMETERS, OBJECTIVES, "few")))
    tags(sweep_html(SweepPoints(frame, [], ["latency_s"], "one objective, nothing varied")))
    frame["latency_s"] = np.nan
    assert "failed" in sweep_html(SweepPoints(frame, PARAMETERS, OBJECTIVES, "all failed"))


def test_a_column_that_is_not_there_is_told() -> None:
    with pytest.raises(hwsim.InputError, match="latency_s"):
        sweep_html(SweepPoints(points(3), PARAMETERS, ["latencys"], "t"))
    with pytest.raises(hwsim.InputError, match="at least one objective"):
        sweep_html(SweepPoints(points(3), PARAMETERS, [], "t"))


@needs_chromium
def test_in_a_browser(tmp_path: Path) -> None:
    html = sweep_html(SweepPoints(
        points(1500), PARAMETERS, OBJECTIVES, "sweep", hypervolume=[(i, 1 - 0.9**i) for i in range(30)],
        sensitivity={"latency_s": {"array.rows": 0.9}, "energy_pj": {"memories.glb.size": 0.7}}))  # fmt: skip
    opened = open_page(html, tmp_path)
    assert opened.console == []
    titles = [chart["title"] for chart in opened.found["charts"]]
    assert titles == ["energy over latency", "Parallel coordinates", "Hypervolume over points simulated", "Sensitivity of each objective"]  # fmt: skip
    for chart in opened.found["charts"]:
        assert min(chart["box"]) > 20
        assert chart["shapes"] > 0
        assert chart["outside"] == [], chart["title"]
