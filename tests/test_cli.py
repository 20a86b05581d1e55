"""The command line: what a user types, what it prints, and what it says to bad input (exit 2, never a traceback)."""

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from commands import call
from hypothesis import HealthCheck, given, settings, strategies as st
from pydantic import TypeAdapter

import hwsim
from hwsim.cli.schema import machine_schema
from hwsim.energy import table_names
from hwsim.machines import machine_folder, machine_names
from hwsim.machines.registry import kinds

GOOD = (machine_folder() / "systolic_ws.yaml").read_text(encoding="utf-8")


def test_run_prints_layers_energy_and_totals(capsys) -> None:
    code, out, _ = call(capsys, "run", "eyeriss_v1", "alexnet", "--batch", 4, "--layers", "conv*")
    assert code == 0
    assert "bound by" in out
    assert "energy by component" in out
    assert "inferences/s" in out
    assert "JSSC" in out, "the published measurements stand beside the prediction"
    assert max(len(line) for line in out.splitlines() if not line.startswith("measured: ")) <= 100
    assert "\x1b" not in out, "no colors in a pipe"


@pytest.mark.parametrize(
    ("machine", "change", "message"),
    [
        ("cortex_a72", "streams=100", "--set streams: streams must be at most the 4 cores, not 100"),
        ("cortex_a72", "streams=0", "--set streams: streams: must be a whole number of at least 1, or 'all', not 0"),
        ("cortex_a72", "threads=0", "--set threads: threads: must be a whole number of at least 1, or 'all', not 0"),
        ("cortex_a72", "threads=1.5", "--set threads: threads: must be a whole number, or 'all', not 1.5"),
        ("cortex_a72", "threads=al", "--set threads: threads: must be a whole number, or 'all', not 'al'"),
        ("t4", "power.board='5 W'", "--set power.board: the idle power must be less than the board's"),
        ("stm32u575", "measured=kws 1 us", "--set measured: measured: the latency of kws must be at least "),
    ],
)
def test_a_fault_of_set_is_told_of_set(capsys, machine: str, change: str, message: str) -> None:
    """The machine's file is right without it."""
    code, out, err = call(capsys, "run", machine, "kws", "--set", change)
    assert (code, out) == (2, "")
    assert err.startswith(f"hwsim: {message}")
    assert err.count("\n") == 1


def test_show_and_explain_tell_the_signs(capsys, tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    layer = "{conv: a, k: 127, input: uint8, weight: sint8, output: sint8}"
    path.write_text(f"name: net\nsource: made\ninput: [31, 7, 7]\nlayers: [{layer}]\n", encoding="utf-8")
    shown = call(capsys, "show", path)[1]
    assert "31x7x7 uint8" in shown
    assert "127x7x7 sint8" in shown
    told = call(capsys, "explain", "epyc_zen4", path, "a")[1]
    assert [name in told for name in (" uint8, density", " sint8, density", " int8, density")] == [True, True, False]


def test_json_is_complete_and_clean(capsys) -> None:
    code, out, _ = call(capsys, "run", "eyeriss_v1", "alexnet", "--layers", "conv*", "--json", "-")
    data = json.loads(out)
    assert code == 0
    assert [row["layer"] for row in data["layers"]] == [f"conv{i}" for i in range(1, 6)]
    assert data["summary"]["macs"] == sum(row["macs"] for row in data["layers"]) == 665_784_864
    total = sum(row["energy_pj"] for row in data["actions"])
    assert total == pytest.approx(data["summary"]["energy_pj"])


def test_csv_is_the_layers(capsys, tmp_path: Path) -> None:
    path = tmp_path / "layers.csv"
    assert call(capsys, "run", "systolic_ws", "lenet5_caffe", "--csv", path)[0] == 0
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    assert [row["layer"] for row in rows if int(row["macs"])] == ["conv1", "conv2", "ip1", "ip2"]


def test_trace_opens_as_chrome_trace(capsys, tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    assert call(capsys, "run", "eyeriss_v1", "alexnet", "--layers", "conv*", "--trace", path)[0] == 0
    events = json.loads(path.read_text())["traceEvents"]
    slices = [event for event in events if event["ph"] == "X"]
    assert slices
    assert all(event["dur"] >= 0 and event["ts"] >= 0 for event in slices)


@pytest.mark.slow
def test_list_and_show_and_explain_and_schema(capsys) -> None:
    _, out, _ = call(capsys, "list")
    assert all(name in out for name in [*machine_names(), *hwsim.workload_names()])
    _, out, _ = call(capsys, "show", "eyeriss_v1", "--set", "clocks.core=250 MHz")
    assert "250 MHz" in out
    _, out, _ = call(capsys, "show", "alexnet")
    assert "724,406,816 MACs" in out
    _, out, _ = call(capsys, "explain", "eyeriss_v1", "alexnet", "conv3", "--batch", 4)
    assert "for C by 6  # 43 of 256, the last one 4" in out
    assert "ISCA 2016" in out
    for what in ("machine", "workload", "report"):
        _, out, _ = call(capsys, "schema", what)
        assert json.loads(out)["$schema"].startswith("https://json-schema.org/")


def test_cost_tables_are_listed_and_shown(capsys, tmp_path: Path) -> None:
    _, out, _ = call(capsys, "list", "tables")
    assert {line.split()[0] for line in out.splitlines()[1:]} == set(table_names())
    _, out, _ = call(capsys, "show", "horowitz_45nm")
    rows = [re.split(r"  +", line.strip()) for line in out.splitlines()]
    source = "Horowitz, ISSCC 2014, fig. 1.1.9"
    assert ["int8_mul", "200 fJ", "8", source] in rows
    assert ["sram 32.0 KiB", "20 pJ", "64", source] in rows
    (tmp_path / "own.yaml").write_text(
        "name: own\nsource: made up\nnode: 28 nm\nvoltage: 0.9 V\n"
        "entries: {int8_mac: {energy: 0.5 pJ, source: measured here, fitted: a chip}}\n"
    )
    _, out, _ = call(capsys, "show", tmp_path / "own.yaml")
    assert "own: 28 nm, 0.9 V" in out
    assert "measured here; fitted on a chip" in out
    code, _, err = call(capsys, "show", "horowitz_45nm", "--set", "node=28 nm")
    assert code == 2
    assert "--set applies to machines only" in err
    code, _, err = call(capsys, "show", "horowitz")
    assert "no machine, workload or cost table is called 'horowitz'" in err


def test_the_schema_of_each_kind_keeps_its_own_definitions() -> None:
    """Two kinds with a class of the same name would share one definition: that of the last kind."""
    definitions = machine_schema()["$defs"]
    for name, kind in kinds().items():
        own = TypeAdapter(kind.spec_class).json_schema(ref_template="#/$defs/{model}").get("$defs", {})
        assert {key: definitions[key] for key in own} == own, name


@pytest.mark.parametrize("command", ["run", "list", "show", "explain", "validate", "schema"])
def test_every_command_has_help(capsys, command: str) -> None:
    code, out, _ = call(capsys, command, "--help")
    assert code == 0
    assert "Usage: hwsim" in out


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['hwsim', '--help']\n"
        "from hwsim import cli\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'pandas', 'simpy', 'numpy', 'pydantic', 'yaml', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


BAD_MACHINES = {
    "unknown key": (
        GOOD.replace("wiring:", "wirring:"),
        r"mine.yaml:8:\d+: array.wirring: unknown key; nearest: 'wiring'",
    ),
    "duplicate key": (GOOD + "kind: pe_array\n", r"kind: key is given twice; first at .*mine.yaml:2:7"),
    "wrong unit": (GOOD.replace("1 GHz", "1 Gz"), "clocks.core: must be a frequency such as '200 MHz', not '1 Gz'"),
    "no unit": (GOOD.replace("1 GHz", "1000"), "must be a frequency such as '200 MHz', not 1000"),
    "negative": (GOOD.replace("rows: 32", "rows: -3"), "array.rows: must be greater than 0, not -3"),
    "zero": (GOOD.replace("512 KiB, weight", "0 KiB, weight"), "must be a size such as '108 KiB' and more than zero"),
    "absurd": (GOOD.replace("rows: 32", "rows: 99999999"), "array.rows: must be less than or equal to 65536"),
    "no such clock": (
        GOOD.replace("wiring: systolic", "wiring: systolic, clock: cores"),
        "array.clock names clock 'cores', which is not defined; nearest: 'core'",
    ),
    "no such kind": (
        GOOD.replace("pe_array", "pe_arry"),
        "kind: must be a kind of machine, not 'pe_arry'; nearest: 'pe_array'",
    ),
    "no such table": (
        GOOD.replace("horowitz_45nm", "horowitz"),
        "no cost table is called 'horowitz'; nearest: 'horowitz_45nm'",
    ),
    "no such entry": (GOOD.replace("fp16_mac}", "fp16_mack}"), "has no entry 'fp16_mack'; nearest: 'fp16_mac'"),
    "empty": ("", "must not be empty"),
    "a list": ("- 1\n- 2\n", "must be a mapping of keys to values"),
    "a bomb": ("a: &a [x, x]\nb: &b [*a, *a]\n", "anchors and aliases are not taken"),
    "a tag": ("kind: !!python/object/apply:os.system ['true']\n", "tags are not taken"),
    "too deep": ("[" * 5000, "nested at most 40 deep"),
    "not YAML": ("a: [1,\nb: }", "must be YAML"),
}


@pytest.mark.parametrize("case", BAD_MACHINES)
def test_bad_machine_files(capsys, tmp_path: Path, case: str) -> None:
    import re

    text, message = BAD_MACHINES[case]
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    code, out, err = call(capsys, "run", path, "lenet5_caffe")
    assert code == 2
    assert not out
    assert re.search(message if "\\" in message or ".*" in message else re.escape(message), err), err


def test_all_faults_of_a_file_are_told_at_once(capsys, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD.replace("rows: 32", "rows: 0").replace("1 GHz", "fast").replace("split:", "splitt:"))
    _, _, err = call(capsys, "run", path, "lenet5_caffe")
    assert len([line for line in err.splitlines() if line.startswith("hwsim: ")]) == 3


@pytest.mark.parametrize("name", ["/", "/dev/null/x.yaml", "nothing.yaml", "eyeris_v1", "alexnet"])
def test_paths_that_are_no_machine(capsys, name: str) -> None:
    code, _, err = call(capsys, "run", name, "lenet5_caffe")
    assert code == 2
    assert err.startswith("hwsim: ")


def test_a_directory_and_a_binary_file(capsys, tmp_path: Path) -> None:
    (tmp_path / "dir.yaml").mkdir()
    (tmp_path / "bin.yaml").write_bytes(bytes(range(256)) * 10)
    assert "must be a file, not a directory" in call(capsys, "run", tmp_path / "dir.yaml", "lenet5_caffe")[2]
    assert "must be UTF-8 text" in call(capsys, "run", tmp_path / "bin.yaml", "lenet5_caffe")[2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "eyeriss_v1", "alexne"], "nearest: 'alexnet'"),
        (["run", "eyeriss_v1", "alexnet", "--batch", "0"], "batch must be a whole number from 1 to 65536, not 0"),
        (["run", "tpu_v1", "tpu_mlp0", "--batch", "70000"], "batch must be a whole number from 1 to 65536"),
        (["run", "eyeriss_v1", "alexnet", "--set", "clocks.core"], "--set must be key=value"),
        (["run", "eyeriss_v1", "alexnet", "--set", "clocks.core=fast"], "--set clocks.core"),
        (["run", "eyeriss_v1", "alexnet", "--layers", "konv*"], "konv*"),
        (["explain", "eyeriss_v1", "alexnet", "conv9"], "nearest: 'conv5'"),
        (["show", "eyeriss_v1x"], "nearest: 'eyeriss_v1'"),
        (["validate", "systolic_ws"], "no published measurement"),
        (["run", "systolic_ws", "lenet5_caffe", "--json", "/no/such/dir/x.json"], "cannot be written"),
    ],
)
def test_bad_words(capsys, words: list[str], message: str) -> None:
    code, _, err = call(capsys, *words)
    assert code == 2
    assert message in err


@pytest.mark.slow
@given(st.binary(max_size=400))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_as_a_machine_end_in_a_told_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "fuzz.yaml"
    path.write_bytes(data)
    with pytest.raises(hwsim.InputError):
        hwsim.load_machine(path)


@pytest.mark.slow
@given(st.integers(0, len(GOOD) - 1), st.text(max_size=12))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_machine_file_loads_or_is_told(tmp_path: Path, at: int, junk: str) -> None:
    path = tmp_path / "fuzz.yaml"
    path.write_text(GOOD[:at] + junk + GOOD[at + len(junk) :], encoding="utf-8")
    try:
        hwsim.load_machine(path)
    except hwsim.HwsimError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("run eyeriss_v1 {xlsx}", "not '.xlsx'; save the table as CSV"),
        ("show {tsv}", "must be a .yaml, .csv, .onnx, .tflite, .cfg or .json file, not '.tsv'; save the table as CSV"),
        ("import {tsv} -o -", "must be a .onnx, .tflite, .csv, .cfg or .yaml file, not '.tsv'; save the table as CSV"),
        ("run kws nucleo_l4r5zi", "the machine comes before the workload: nucleo_l4r5zi kws"),
        ("run nosuch kws", "more: `hwsim list machines` has all"),
        ("run eyeriss_v1 nosuch", "more: `hwsim list workloads` has all"),
        ("run eyeriss_v1 alexnet --layers zzz", "more: `hwsim show` lists the layers"),
        ("show {timeloop}", "is a file of Timeloop: `hwsim import "),
        ("import {timeloop} -o -", "put those of the shape 'cnn-layer' here: Timeloop has them in problem-shapes/"),
        ("run {timeloop} kws", "is a file of Timeloop: `hwsim import "),
    ],
)
def test_errors_say_what_to_do(capsys, tmp_path, words, message):
    files = {name: tmp_path / f"a.{name}" for name in ("xlsx", "tsv")} | {"timeloop": tmp_path / "a.yaml"}
    for path in files.values():
        path.write_text("problem:\n  shape: cnn-layer\n")
    code, _, err = call(capsys, *words.format(**files).split())
    assert code == 2
    assert message in err


@pytest.mark.parametrize(("machine", "able"), [("eyeriss_v1", "int16"), ("nucleo_l4r5zi", "int8")])
def test_the_precision_that_an_error_suggests_runs(capsys, tmp_path, machine, able):
    path = tmp_path / "a.csv"
    path.write_text("name,type,c,k,input,weight,output\na,fc,31,17,fp16,fp16,fp16\nb,fc,17,5,fp32,fp32,fp32\n")
    code, _, err = call(capsys, "run", machine, path)
    assert code == 2
    assert f"--set precision={able}" in err
    assert call(capsys, "run", machine, path, "--set", f"precision={able}")[0] == 0


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "hwsim", "--version"], capture_output=True, text=True, check=True)
    assert hwsim.__version__ in done.stdout
