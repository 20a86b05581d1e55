"""Comparison of runs: every machine with every workload, ratios to the first, and what cannot be compared told."""

import csv
import io
import json
import math
from pathlib import Path

import pytest
from browser import needs_chromium, open_page
from test_cli import call
from test_html import HOSTILE, report, tags

import hwsim
from hwsim.report.comparison import Comparison


def test_ratios_are_to_the_first() -> None:
    base, other = report("nucleo_l4r5zi", "kws"), report("stm32h7a3", "kws")
    found = hwsim.compare(base, other)
    assert list(found.totals["run"]) == ["nucleo_l4r5zi", "stm32h7a3"]
    assert list(found.totals["latency_s_ratio"]) == [1, other.summary.latency_s / base.summary.latency_s]
    layers = found.layers.set_index(["run", "layer"])
    for a, b in zip(base.rows, other.rows):
        ratio = layers.loc["stm32h7a3", a["layer"]].latency_s_ratio
        assert ratio == pytest.approx(b["latency_s"] / a["latency_s"])


def test_a_faster_clock_is_as_much_faster() -> None:
    """All cycles of a microcontroller scale with its clock."""
    machines = [hwsim.load_machine("stm32h7a3", set={"clocks.core": f"{mhz} MHz"}) for mhz in (280, 140)]
    found = hwsim.compare(*(hwsim.simulate(machine, hwsim.load_workload("ad")) for machine in machines))
    assert list(found.totals["latency_s_ratio"]) == pytest.approx([1, 2])
    assert set(found.layers.query("run == 'stm32h7a3 #2'").latency_s_ratio.round(9)) == {2.0}


def test_networks_with_other_layers_stand_apart() -> None:
    found = hwsim.compare(report("stm32h7a3", "kws"), report("stm32h7a3", "ad"), report("nucleo_l4r5zi", "ad"))
    assert [[entry.label for entry in group.entries] for group in found.groups] == [
        ["stm32h7a3"],
        ["stm32h7a3", "nucleo_l4r5zi"],
    ]


def test_variants_of_a_network_stand_together() -> None:
    network = hwsim.load_workload("lenet5_caffe")
    wide = network.replace(
        [layer.with_dtype(input="int16", weight="int16", output="int16") for layer in network], name="lenet5_int16"
    )
    machine = hwsim.load_machine("systolic_ws")
    found = hwsim.compare(hwsim.simulate(machine, network), hwsim.simulate(machine, wide))
    (group,) = found.groups
    assert [entry.label for entry in group.entries] == ["lenet5_caffe", "lenet5_int16"]


def test_a_file_with_a_base_is_what_its_base_is(tmp_path: Path, capsys) -> None:
    """A machine by its base alone, over a file of its own, beside one that comes with hwsim."""
    (tmp_path / "one.yaml").write_text("base: stm32h7a3\nname: one\n")
    (tmp_path / "two.yaml").write_text("base: one.yaml\nname: two\nclocks: {core: 140 MHz}\n")
    code, out, _ = call(capsys, "compare", tmp_path / "one.yaml", tmp_path / "two.yaml", "ad")
    assert code == 0
    assert "2.00x" in out
    (tmp_path / "a.yaml").write_text("base: b.yaml\n")
    (tmp_path / "b.yaml").write_text("base: a.yaml\n")
    assert call(capsys, "show", tmp_path / "a.yaml")[0] == 2


def test_command_compares_every_pair(capsys) -> None:
    code, out, _ = call(capsys, "compare", "stm32h7a3", "kws", "nucleo_l4r5zi", "ad", "--json", "-")
    runs = json.loads(out)["runs"]
    assert code == 0
    assert [(row["run"], row["workload"]) for row in runs] == [
        (machine, workload) for workload in ("kws", "ad") for machine in ("stm32h7a3", "nucleo_l4r5zi")
    ]
    assert runs[0]["latency_s_ratio"] == 1
    assert runs[1]["latency_s_ratio"] == pytest.approx(runs[1]["latency_s"] / runs[0]["latency_s"])


def test_command_prints_ratios(capsys) -> None:
    code, out, _ = call(capsys, "compare", "nucleo_l4r5zi", "nucleo_l4r5zi+clocks.core=60 MHz", "kws")
    assert code == 0
    assert "2.00x" in out
    assert "nucleo_l4r5zi, clocks.core=60 MHz" in out
    assert max(map(len, out.splitlines())) <= 100
    assert "\x1b" not in out


def test_set_changes_all_and_an_item_its_own(capsys) -> None:
    items = ("stm32h7a3", "stm32h7a3+clocks.core=70 MHz", "ad", "--set", "clocks.core=140 MHz")
    code, out, _ = call(capsys, "compare", *items, "--csv", "-")
    rows = [row for row in csv.DictReader(io.StringIO(out)) if "70 MHz" in row["run"]]
    assert code == 0
    assert [float(row["latency_s_ratio"]) for row in rows] == pytest.approx([2.0] * 10, rel=1e-3)


def test_an_item_sets_the_price_of_one_action(capsys) -> None:
    price = "eyeriss_v1+energy.prices.mac.gated.energy=1 pJ"
    free, own = 'energy.prices."mac.gated"={energy: 0 pJ, source: made up}', 'energy.prices."mac.int8"={unknown: true}'
    changes = (f"eyeriss_v1+{own}", "alexnet", "--set", free, "--layers", "conv3")
    code, out, err = call(capsys, "compare", "eyeriss_v1", *changes)
    assert code == 0, err
    assert 'prices."mac.int8"={unknown: true}' in out
    code, _, err = call(capsys, "compare", "systolic_ws", price.replace("eyeriss_v1", "systolic_ws"), "alexnet")
    assert code == 2
    assert 'a key with a dot is in quotes, as prices."mac.gated"' in err
    code, _, err = call(capsys, "compare", "horowitz_45nm", "alexnet", "eyeriss_v1")
    assert code == 2
    assert "must be machines, workloads or saved reports, not the table 'horowitz_45nm'" in err


def test_saved_reports_are_items(capsys, tmp_path: Path) -> None:
    saved = tmp_path / "before.json"
    assert call(capsys, "run", "stm32h7a3", "kws", "--json", saved)[0] == 0
    code, out, _ = call(capsys, "compare", saved, "stm32h7a3", "kws", "--json", "-")
    assert code == 0
    assert [row["run"] for row in json.loads(out)["runs"]] == ["stm32h7a3 (before.json)", "stm32h7a3"]
    assert json.loads(out)["runs"][1]["latency_s_ratio"] == pytest.approx(1)


def test_files_are_told_apart_by_what_they_say(capsys, tmp_path: Path) -> None:
    machine, network, small = tmp_path / "m.yaml", tmp_path / "n.yaml", tmp_path / "s.yaml"
    machine.write_text("base: stm32h7a3\nname: mine\nclocks: {core: 140 MHz}\n")
    network.write_text("name: net\nsource: test\ninput: [1, 8]\nlayers: [{fc: f, n: 4}]\n")
    small.write_text("base: kws\nname: quarter\nsource: test\ndensity: {conv_2: {weight: 0.25}}\n")
    code, out, err = call(capsys, "compare", machine, "stm32h7a3", network, small)
    assert code == 0, err
    assert "net, batch 1" in out
    assert "quarter, batch 1" in out
    assert "0.50x" in out


@pytest.mark.parametrize(
    "items, told",
    [
        (["stm32h7a3"], "the ITEMs must include a workload"),
        (["kws", "ad"], "the ITEMs must include a machine"),
        (["stm32h7a3", "kws"], "2 to 64 runs must be compared, not 1"),
        (["stm32h7a", "kws"], "nearest: 'stm32h7a3'"),
        (["stm32h7a3+clocks.cor=3", "nucleo_l4r5zi", "kws"], "clocks"),
        (["missing.json", "stm32h7a3", "kws"], "cannot be read"),
        (["missing.yaml", "kws"], "cannot be read"),
        (["systolic_ws", "eyeriss_v1", "kws", "--batch", "0"], "batch must be"),
        (["stm32h7a3", "nucleo_l4r5zi", "kws", "--layers", "nothing*"], "must match"),
    ],
)
def test_bad_items_are_told(capsys, items, told) -> None:
    code, _, err = call(capsys, "compare", *items)
    assert code == 2
    assert told in err


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "nonsense", '{"summary": {}}', '{"summary": [], "layers": 1, "actions": 2}', "[" * 10**5]
)
def test_a_broken_saved_report_is_told(capsys, tmp_path: Path, text: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(text)
    code, _, err = call(capsys, "compare", path, "stm32h7a3", "ad")
    assert code == 2
    assert "r.json" in err


def test_one_that_cannot_run_does_not_stop_the_others(capsys) -> None:
    code, out, _ = call(capsys, "compare", "stm32h7a3", "eyeriss_v1", "alexnet")
    assert code == 0
    assert "alexnet on stm32h7a3: " in out
    assert "not int16" in out
    assert call(capsys, "compare", "stm32h7a3", "nucleo_l4r5zi", "alexnet")[0] == 2, "nothing ran"


def test_what_does_not_fit_is_told(capsys) -> None:
    code, out, _ = call(capsys, "compare", "stm32h7a3", "nvdla_256", "mobilenet_v1_1.0_224")
    assert code == 0
    (row,) = [line for line in out.splitlines() if line.startswith("stm32h7a3")]
    assert "NO, " in row
    assert "short" in row
    with pytest.raises(hwsim.InputError):
        hwsim.compare(report("stm32h7a3", "kws"))


def comparison(workload: str = "kws") -> Comparison:
    return hwsim.compare(*(report(machine, workload) for machine in ("nucleo_l4r5zi", "stm32h7a3", "nvdla_256")))


def test_page_is_whole_and_safe() -> None:
    layers = [hwsim.Gemm(f"{HOSTILE}{i}", m=2, n=8, k=8) for i in range(3)]
    network = hwsim.Workload(HOSTILE, layers)
    runs = [hwsim.simulate(hwsim.load_machine(name), network) for name in ("systolic_ws", "systolic_os")]
    for html in (hwsim.compare(*runs).to_html(), hwsim.compare(*runs)._repr_html_(), comparison().to_html()):
        found = tags(html)
        assert [tag for tag, _ in found].count("script") == html.count("<!doctype html>")
        assert not [tag for tag, _ in found if tag == "img"]
        assert "nan" not in html.split("</style>")[1].split("<script>")[0].lower()


@needs_chromium
def test_in_a_browser(tmp_path: Path) -> None:
    opened = open_page(comparison().to_html(), tmp_path)
    assert opened.console == []
    assert [chart["title"] for chart in opened.found["charts"]] == ["Totals of kws", "Latency of each layer of kws"]
    for chart in opened.found["charts"]:
        assert min(chart["box"]) > 20
        assert chart["outside"] == []
    assert not opened.found["wide"]
    assert not any(math.isnan(value or 0) for value in opened.found["sorted"])
