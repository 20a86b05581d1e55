"""Comparison of runs: every machine with every workload, ratios to the first, and what cannot be compared told."""

import csv
import io
import json
import math
import re
from pathlib import Path

import pytest
from browser import needs_chromium, open_page
from rich.console import Console
from test_cli import call
from test_html import HOSTILE, report, tags

import hwsim
from hwsim.report.comparison import Comparison
from hwsim.report.comparison_table import print_comparison
from hwsim.report.groups import Entry, entry_of
from hwsim.scenario import BATTERIES


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
    code, out, _ = call(capsys, "compare", *items, "--layer-csv", "-")
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
    row = next(line for line in out.splitlines() if line.startswith("stm32h7a3"))
    assert "NO, " in row
    assert "short" in row
    with pytest.raises(hwsim.InputError):
        hwsim.compare(report("stm32h7a3", "kws"))


def rows_of(capsys, *arguments: str) -> list[dict[str, str]]:
    code, out, err = call(capsys, "compare", *arguments, "--csv", "-")
    assert code == 0, err
    return list(csv.DictReader(io.StringIO(out)))


BOARDS = ("arduino_nano33ble", "nucleo_l4r5zi")


def test_another_library_and_another_kind_of_power_are_said(capsys) -> None:
    """2.2 beside 1.9 mJ: two libraries, and a chip by its data sheet beside a board as measured."""
    code, out, _ = call(capsys, "compare", *BOARDS, "kws")
    assert code == 0
    text = " ".join(out.split())
    assert "arduino_nano33ble tflm-cmsis-nn-2020 chip (data sheet)" in text
    assert "nucleo_l4r5zi x-cube-ai-9.0 board (measured)" in text
    assert "WARNING: libraries differ" in text
    assert "one for all: --set library=tflm-cmsis-nn-2020 (or " in text
    others = hwsim.compare(*(report(name, "kws") for name in BOARDS)).messages[0].values["others"]
    assert "tflm-cmsis-nn-2021" in others
    assert not [name for name in others if name.startswith("x-cube-ai")], "it is for ST's parts alone"
    assert "WARNING: energies differ in what they cover" in text


def test_on_one_library_the_ratio_is_that_of_clock_and_power(capsys) -> None:
    """Two Cortex-M4: cycles differ by the board's pace and flash alone, energy by power over clock."""
    code, out, _ = call(capsys, "compare", *BOARDS, "kws", "--set", "library=tflm-cmsis-nn-2021", "--json", "-")
    document = json.loads(out)
    assert code == 0
    assert [message["code"] for message in document["messages"]] == ["compare.energy"]
    chip, board = document["runs"]
    assert chip["library_name"] == board["library_name"] == "tflm-cmsis-nn-2021"
    # 41.9 mW at 120 MHz over 9.9 mW at 64 MHz is 2.26 times the energy of a cycle.
    assert board["energy_pj_ratio"] / (board["cycles"] / chip["cycles"]) == pytest.approx(41.9 / 9.9 * 64 / 120)


def test_a_library_is_of_one_kind_of_machine() -> None:
    """--set would give a GPU the library of the microcontrollers."""
    runs = hwsim.compare(*(report(name, "kws") for name in (*BOARDS, "t4")))
    (warning,) = [m for m in runs.messages if m.code == "compare.libraries"]
    assert "one for all: each mcu+library=tflm-cmsis-nn-2020 (or " in str(warning)


def test_kinds_of_machines_have_no_library_in_common() -> None:
    runs = hwsim.compare(*(report(name, "kws") for name in ("nucleo_l4r5zi", "cortex_a72")))
    (warning,) = [m for m in runs.messages if m.code == "compare.kinds"]
    assert warning.values["libraries"] == ["x-cube-ai-9.0 (mcu)", "onnxruntime-1.31 (cpu)"]
    assert "ratios compare libraries too" in str(warning)
    alone = hwsim.compare(*(report(name, "kws") for name in ("nucleo_l4r5zi", "systolic_ws")))
    assert not [m for m in alone.messages if m.code == "compare.kinds"], "an array has no library"


def test_two_libraries_of_one_machine_are_what_is_asked(capsys) -> None:
    one, other = (f"nucleo_l4r5zi+library={name}" for name in ("tflm-cmsis-nn-2021", "x-cube-ai-8.1"))
    code, out, _ = call(capsys, "compare", one, other, "kws")
    assert code == 0
    assert "WARNING" not in out


def test_what_no_library_runs_is_said() -> None:
    """A Cortex-M and an Xtensa core have plain C in common; an ST library runs on ST parts alone."""
    reports = (report("nucleo_l4r5zi", "kws"), report("esp32s3", "kws"))
    (warning,) = [m for m in hwsim.compare(*reports).messages if m.code == "compare.libraries"]
    assert warning.values["library"] == "tflm-reference"


@pytest.mark.parametrize(
    "name, origin",
    [
        ("stm32u385", "board (estimate)"),
        ("stm32g0b1", "chip (data sheet)"),
        ("nrf5340", "unknown"),
        ("xeon_8280", "processor + DRAM (estimate)"),
        ("t4", "board (estimate)"),
        ("nvdla_256", "chip + DRAM at 16 nm (cost table)"),
        ("eyeriss_v1", "chip + DRAM at 65 nm (cost table)"),
        ("systolic_ws+energy.node=7 nm", "chip + DRAM at 7 nm (cost table)"),
    ],
)
def test_every_kind_says_what_its_energy_is_of(name: str, origin: str) -> None:
    name, _, change = name.partition("+")
    machine = hwsim.load_machine(name, set=dict([change.split("=")]) if change else {})
    workload = hwsim.load_workload("lenet5_caffe" if name == "eyeriss_v1" else "kws")
    assert entry_of(hwsim.simulate(machine, workload)).energy_origin == origin


def test_a_row_a_machine(capsys) -> None:
    rows = rows_of(capsys, *BOARDS, "stm32g0b1", "kws")
    assert [row["run"] for row in rows] == [*BOARDS, "stm32g0b1"]
    for row in rows:
        ran = report(row["run"], "kws")
        assert float(row["latency_s"]) == ran.summary.latency_s
        assert float(row["energy_pj"]) == ran.summary.energy_pj
        uses = {use.memory: use for use in ran.memories}
        assert int(row["ram_size_bytes"]) == uses["RAM"].size_bytes
        assert int(row["flash_need_bytes"]) == uses["flash"].need_bytes
        assert row["fits"] == "True"
        assert row["bound"] == "mac"


def test_the_error_to_expect_is_said(capsys) -> None:
    """Of what nothing near was measured it is the least to expect: a power of a data sheet, an A72 under XNNPACK."""
    rows = rows_of(capsys, *BOARDS, "kws")
    for row in rows:
        summary = report(row["run"], "kws").summary
        assert float(row["error_expected"]) == summary.error_expected
        assert float(row["energy_error_expected"]) == summary.energy_error_expected
        assert row["error_measured"] == "True"
    assert [row["energy_error_measured"] for row in rows] == ["False", "True"]
    _, out, _ = call(capsys, "compare", *BOARDS, "kws")
    (chip,) = re.findall(r"^arduino_nano33ble .*chip \(data sheet\) +([\d.]+%) +([\d.]+% or worse)$", out, re.M)
    (board,) = re.findall(r"^nucleo_l4r5zi .*board \(measured\) +([\d.]+%) +([\d.]+%)$", out, re.M)
    html = hwsim.compare(*(report(name, "kws") for name in BOARDS)).to_html()
    assert all(f">{text}</td>" in html for text in (*chip, *board))


def entry(name: str, latency: float, error: float) -> Entry:
    errors = {"latency": {"error": error, "measured": True}}
    summary = {"machine": name.split(maxsplit=1)[0], "workload": "n", "latency_s": latency, "energy_pj": math.nan}
    row = {"layer": "a", "latency_s": latency, "bound": "mac"}
    return Entry(name, "n", summary, {"a": row}, errors=errors)


def test_a_difference_within_the_errors_is_not_clear() -> None:
    """Factors of 1.1 and 1.2 that err apart are together exp(sqrt(ln(1.1)^2 + ln(1.2)^2)) = 1.229."""
    runs = [entry("a", 1.0, 0.1), entry("b", 1.22, 0.2), entry("c", 1.24, 0.2), entry("d", 1 / 1.22, 0.2)]
    (message,) = Comparison.of([*runs, entry("a clocked", 1.1, 0.1)]).messages
    assert str(message) == "no clear difference to a, within the expected errors: latency of b, d"


def test_a_run_that_fails_has_its_row(capsys) -> None:
    good, bad = rows_of(capsys, "eyeriss_v1", "stm32h7a3", "alexnet")
    assert (good["run"], good["error"]) == ("eyeriss_v1", "")
    assert bad["run"] == "stm32h7a3"
    assert "not int16" in bad["error"]


def test_a_pattern_is_every_machine_of_it(capsys) -> None:
    rows = rows_of(capsys, "stm32u575", "stm32*", "kw[s]")
    names = [name for name in hwsim.machine_names() if name.startswith("stm32") and name != "stm32u575"]
    assert [row["run"] for row in rows] == ["stm32u575", *names], "the baseline is named once, and first"
    rows = rows_of(capsys, "stm32u*+clocks.core=31 MHz", "ad")
    assert all("clocks.core=31 MHz" in row["run"] for row in rows)


def test_patterns_match_files_too(capsys, tmp_path: Path) -> None:
    for mhz in (31, 127):
        (tmp_path / f"at{mhz}.yaml").write_text(f"base: stm32h7a3\nname: at{mhz}\nclocks: {{core: {mhz} MHz}}\n")
    slow, fast = rows_of(capsys, str(tmp_path / "at*.yaml"), "ad")[::-1]
    assert float(slow["latency_s"]) == pytest.approx(127 / 31 * float(fast["latency_s"]), rel=1e-3) or (
        float(fast["latency_s"]) == pytest.approx(127 / 31 * float(slow["latency_s"]), rel=1e-3)
    )
    code, _, err = call(capsys, "compare", "stm31*", "kws")
    assert code == 2
    assert "'stm31*' matches none" in err


def test_battery_life_of_several_boards(capsys) -> None:
    """Life is the energy of the cell over average power: that of the inference and of deep sleep."""
    rows = rows_of(capsys, "stm32u575", "arduino_nano33ble", "kws", "--every", "10 s", "--battery", "1000 mAh 3.7 V")
    for row in rows:
        spec = hwsim.load_machine(row["run"]).spec.power
        share = float(row["latency_s"]) / 10
        watts = float(row["power_w"]) * share + float(spec.deep_sleep) * (1 - share)
        assert float(row["average_w"]) == pytest.approx(watts, rel=1e-2)
        assert float(row["life_s"]) == pytest.approx(3600 * 3.7 / float(row["average_w"]))
    code, out, _ = call(capsys, "compare", *BOARDS, "rp2040", "kws", "--every", "1 min", "--battery", "CR2032")
    text = " ".join(out.split())
    assert code == 0
    assert "one inference every 60 s, CR2032 of 225 mAh at 3 V" in text
    assert "at most" in text, "deep sleep of an RP2040 board is unknown"
    assert "peak current is more than CR2032 delivers, 15 mA" in text
    assert "without power.wake_up, power.deep_sleep (unknown; set with --set), battery life is at most" in text


def test_a_saved_duty_cycle_is_compared(capsys, tmp_path: Path) -> None:
    saved = tmp_path / "before.json"
    cycle = ("--every", "10 s", "--battery", "CR2450")
    assert call(capsys, "run", "stm32u575", "kws", *cycle, "--json", saved)[0] == 0
    before, now = rows_of(capsys, str(saved), "stm32u575", "kws", *cycle)
    assert before["life_s"] == now["life_s"]
    assert before["battery"] == "CR2450"
    data = json.loads(saved.read_text())
    del data["scenario"]["battery"]["capacity_mah"]
    saved.write_text(json.dumps(data))
    code, _, err = call(capsys, "compare", saved, "stm32u575", "kws")
    assert code == 2
    assert "before.json: must be a report" in err


def test_a_cell_below_the_supply_needs_a_converter(capsys) -> None:
    """1.5 V are less than the 1.8 V that the power was measured at: no current times less voltage."""
    one, two = (
        rows_of(capsys, "nucleo_l4r5zi", "stm32u575", "ad", "--every", "1 s", "--battery", cell)
        for cell in ("AA", "2500 mAh 1.8 V")
    )
    assert float(one[0]["average_w"]) == pytest.approx(float(two[0]["average_w"]))
    assert float(one[0]["life_s"]) == pytest.approx(float(two[0]["life_s"]) * 1.5 / 1.8)
    code, out, _ = call(capsys, "compare", *BOARDS, "ad", "--every", "1 s", "--battery", "AAA")
    assert code == 0
    assert "AAA has 1.5 V, and the machine runs at 1.8 V or more: it needs a step-up converter" in " ".join(out.split())


@pytest.mark.parametrize("name, joules", [("CR2450", 6696), ("AA", 13500), ("AAA", 6480), ("18650", 33696)])
def test_cells_hold_charge_times_voltage(name: str, joules: int) -> None:
    """620 mAh at 3 V, 2500 and 1200 mAh at 1.5 V, 2600 mAh at 3.6 V; an mAh is 3.6 C."""
    assert BATTERIES[name].energy_j == pytest.approx(joules)


def test_duty_cycles_need_a_microcontroller_and_a_period(capsys) -> None:
    code, out, _ = call(capsys, "compare", "stm32u575", "t4", "kws", "--every", "1 s")
    assert code == 0
    assert "must be that of a board, t4 is of kind gpu" in out
    code, _, err = call(capsys, "compare", *BOARDS, "kws", "--battery", "CR2032")
    assert code == 2
    assert "--battery must come with --every" in err


@pytest.mark.parametrize("width", [80, 120])
def test_a_terminal_shows_every_column(width: int) -> None:
    """What is too wide for one table is in the next one."""
    names = ["stm32f446", "stm32u575", "arduino_nano33ble", "nucleo_l4r5zi", "esp32s3", "stm32g0b1", "rp2040"]
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=True, color_system=None)
    print_comparison(hwsim.compare(*(report(name, "kws") for name in names)), console)
    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    heads = {word for line in lines if line.startswith("run ") for word in line.split()}
    assert heads >= {"time", "energy", "ratio", "power", "memory", "bound", "library", "of"}
    heads = {word for line in lines if line.startswith("layer ") for word in line.split()}
    assert heads >= {str(number) for number in range(1, 8)}
    assert "…" not in stream.getvalue()


def test_a_page_has_every_board_and_a_scale_that_shows_it() -> None:
    names = ["stm32f446", "stm32u575", "arduino_nano33ble", "nucleo_l4r5zi", "stm32g0b1"]
    html = hwsim.compare(*(report(name, "kws") for name in names)).to_html()
    head = re.search("<title>(.*?)</title>", html)
    assert head is not None
    assert all(name in head[1] for name in names)
    panels = re.findall(r'class="head">([^<]*)<', html)
    assert [panel for panel in panels if panel in names] == names, "a panel each"
    assert "libraries differ" in html
    # Some 18,000 times as fast: on a linear scale it has no bar.
    html = hwsim.compare(report("stm32g0b1", "kws"), report("a100", "kws")).to_html()
    assert "latency, logarithmic" in html
    widths = [
        float(w) for w in re.findall(r'<rect[^>]*width="([\d.]+)"[^>]*class="c0"[^>]*><title>a100: latency', html)
    ]
    assert len(widths) == 1
    assert widths[0] > 20


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


def test_a_student_beside_its_teacher(capsys) -> None:
    """Accuracies are the user's; time and energy of networks with different layers stand side by side on each machine."""
    words = (
        "compare",
        "nucleo_l4r5zi",
        "stm32h7a3",
        "ic_large",
        "kws",
        "--accuracy",
        "ic_large=87",
        "--accuracy",
        "kws=91.5%",
    )
    code, out, _ = call(capsys, *words)
    assert code == 0
    lines = out.splitlines()
    for machine in ("nucleo_l4r5zi", "stm32h7a3"):
        start = lines.index(f"networks on {machine}, accuracy as given")
        assert lines[start + 2].split()[:2] == ["ic_large", "87.00%"]
        assert lines[start + 3].split()[:3] == ["kws", "91.50%", "+4.50"]
    code, out, _ = call(capsys, *words, "--json", "-")
    assert {run["workload"]: run["accuracy_pct"] for run in json.loads(out)["runs"]} == {"ic_large": 87, "kws": 91.5}


@pytest.mark.parametrize("value", ["kws=101", "kws=nan", "kws", "=3", "kvs=3", "kws=-1"])
def test_accuracies_are_percent_of_a_workload(capsys, value: str) -> None:
    code, _, err = call(capsys, "compare", "nucleo_l4r5zi", "ic", "kws", "--accuracy", value)
    assert code == 2
    assert "--accuracy must" in err
