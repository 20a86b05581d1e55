"""`hwsim sweep` as it is typed: what it tells before, what it writes, and what it says to bad input."""

import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console
from test_cli import call

from hwsim.sweeps.summary import print_summary
from hwsim.sweeps.sweep import Sweep

SWEEP = """\
name: sides
machines: [systolic_ws]
workloads: [lenet5_caffe, lenet_300_100]
batch: {powers_of_two: [1, 4]}
set:
  array.rows: {range: [8, 32], step: 8}
  array.cols: [8, 16, 32]
where: array.rows <= 2 * array.cols
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "sides.yaml"
    path.write_text(SWEEP)
    return path


def test_a_sweep_is_told_run_and_written(capsys, file: Path, tmp_path: Path) -> None:
    code, out, err = call(capsys, "sweep", file, "-o", tmp_path / "out", "--workers", 1)
    assert code == 0
    assert re.match(r"sides: 60 points of 72; about \S+ \S+ on 1 process", err)
    assert "60 points: 60 feasible" in out
    for workload in ("lenet5_caffe", "lenet_300_100"):
        assert f"{workload}: best points" in out
        assert f"{workload}: Pareto front of latency and energy per inference, " in out
    assert max(len(line) for line in out.splitlines() if not line.startswith("written: ")) <= 100
    assert "\x1b" not in out + err
    frame = pd.read_csv(tmp_path / "out" / "sides.csv")
    assert len(frame) == 60
    assert (frame["array.rows"] <= 2 * frame["array.cols"]).all()
    code, again, err = call(capsys, "sweep", file, "-o", tmp_path / "out", "--workers", 1)
    assert "60 already finished" in err
    assert again.splitlines()[:-1] == out.splitlines()[:-1]


def test_a_narrow_terminal_shows_every_parameter() -> None:
    keys = {
        "array.rows": [7, 31],
        "array.cols": [8, 127],
        "memories.sram.split.ifmap": ["64 KiB", "128 KiB"],
        "memories.dram.bandwidth": ["4 B/cycle", "16 B/cycle"],
        "clocks.core": ["100 MHz", "200 MHz"],
    }
    space = {"machines": ["systolic_ws"], "workloads": ["lenet_300_100"], "set": keys}
    sweep_run = Sweep.start(space, workers=1)
    with sweep_run.runner:
        sweep_run.run()
    stream = io.StringIO()
    console = Console(file=stream, width=80, force_terminal=True, color_system=None)
    print_summary(sweep_run.space, sweep_run.frame(everything=True), console)
    best, front = stream.getvalue().split("Pareto front")
    for table in (best, front):
        assert all(f" {key} " in table.replace("\n", " ") for key in keys)
    assert max(map(len, stream.getvalue().splitlines())) <= 80
    assert "…" not in stream.getvalue()


def test_least_energy_says_that_it_is_an_estimate(capsys, tmp_path: Path) -> None:
    """The board of the least energy has an estimated power; the next one was measured."""
    path = tmp_path / "boards.yaml"
    path.write_text("name: boards\nmachines: [stm32u385, stm32u575, nucleo_l4r5zi]\nworkloads: [kws]\n")
    for command in ("sweep", "explore"):
        code, out, err = call(capsys, command, path, "-o", tmp_path / "out", "--workers", 1)
        assert code == 0, err
        assert re.search(r"\d uJ\*  stm32u385", out)
        assert not re.search(r"\d [um]J\*  stm32u575", out)
        assert "* energy not measured: board (estimate)" in out
    code, out, _ = call(capsys, "sweep", path, "-o", tmp_path / "out", "--workers", 1)
    assert re.search(r"least energy +\S+ ms +\S+ uJ\*  stm32u385", out)
    assert re.search(r"least energy, no \* +\S+ ms +\S+ [um]J  stm32u575", out)
    frame = pd.read_csv(tmp_path / "out" / "boards.csv").set_index("machine")
    assert dict(frame.energy_basis) == {"stm32u385": "estimate", "stm32u575": "measured", "nucleo_l4r5zi": "measured"}
    assert frame.library_name["stm32u385"] == "x-cube-ai-9.0"


def test_parquet_has_what_the_table_has(capsys, file: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="the parquet extra is not installed")
    code, out, _ = call(capsys, "sweep", file, "-o", tmp_path, "--parquet", "--workers", 1)
    assert code == 0
    assert out.splitlines()[-1] == f"written: {tmp_path / 'sides.csv'}, {tmp_path / 'sides.parquet'}"
    apart = ["error", "library_name"]  # empty in one, None in the other
    found = pd.read_parquet(tmp_path / "sides.parquet")
    wanted, text = (pd.read_csv(tmp_path / "sides.csv", dtype=dtype) for dtype in (None, str))
    for column in wanted.select_dtypes("float"):
        wanted[column] = text[column].map(float)  # some versions of pandas read another last digit
    assert list(found.columns) == list(wanted.columns)
    pd.testing.assert_frame_equal(found.drop(columns=apart), wanted.drop(columns=apart), check_exact=True)


def test_a_dry_run_writes_nothing(capsys, file: Path, tmp_path: Path) -> None:
    code, out, err = call(capsys, "sweep", file, "--dry-run")
    assert (code, out) == (0, "")
    assert "60 points of 72; about" in err
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["FILE"], "-o must name a folder"),
        (["FILE", "-o", "DIR", "--shard", "3/2"], "a shard must be k/n"),
        (["FILE", "-o", "DIR", "--shard", "x"], "a shard must be k/n"),
        (["FILE", "-o", "DIR", "--workers", "0"], "workers must be from 1 to 1024"),
        (["FILE", "-o", "DIR", "--workers", "2", "--cluster", "tcp://x:1"], "must not be given together"),
        (["nothing.yaml", "-o", "DIR"], "cannot be read: No such file"),
        (["FILE", "-o", "FILE"], "cannot be made"),
    ],
)
def test_bad_commands_are_told(capsys, file: Path, tmp_path: Path, words: list[str], message: str) -> None:
    given = [str(file) if word == "FILE" else str(tmp_path / "out") if word == "DIR" else word for word in words]
    code, out, err = call(capsys, "sweep", *given)
    assert (code, out) == (2, "")
    assert message in err


def test_bad_files_are_told_with_their_places(capsys, file: Path, tmp_path: Path) -> None:
    file.write_text(SWEEP.replace("array.cols: [8", "array.cls: [8"))
    code, _, err = call(capsys, "sweep", file, "-o", tmp_path / "out")
    assert code == 2
    assert err == f"hwsim: {file}:7:14: set.array.cls: unknown key; nearest: 'cols'\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_shards_are_joined_by_a_run_without(capsys, file: Path, tmp_path: Path) -> None:
    for shard in ("1/2", "2/2"):
        assert call(capsys, "sweep", file, "-o", tmp_path / "parts", "--shard", shard, "--workers", 1)[0] == 0
    _, _, err = call(capsys, "sweep", file, "-o", tmp_path / "parts", "--workers", 1)
    assert "60 already finished" in err
    call(capsys, "sweep", file, "-o", tmp_path / "whole", "--workers", 1)
    assert (tmp_path / "parts" / "sides.csv").read_bytes() == (tmp_path / "whole" / "sides.csv").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_control_c_says_how_to_go_on(tmp_path: Path, workers: int) -> None:
    file = tmp_path / "long.yaml"
    file.write_text("machines: eyeriss_v1\nworkloads: alexnet\nset: {array.rows: {range: [12, 40], step: 1},\n"
                    "  array.cols: {range: [12, 40], step: 1}}\n")  # fmt: skip
    code = "from hwsim.cli import main; main()"
    command = [sys.executable, "-c", code, "sweep", str(file), "-o", str(tmp_path / "out"), "--workers", str(workers)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert "841 points; about" in run.stderr.readline()
        time.sleep(1.5)
        os.kill(run.pid, signal.SIGINT)
        out, err = run.communicate(timeout=60)
    assert (run.returncode, out) == (130, "")
    assert "finished points are in" in err
    assert "Repeat the command to resume" in err
    assert "Traceback" not in err
    from hwsim.sweeps.reader import read_space
    from hwsim.sweeps.runner import Runner

    space = read_space(file)
    with Runner(space, tmp_path / "out" / "store.sqlite", workers=1) as runner:
        assert runner.lookup(space.numbers())


def test_the_schema_takes_what_the_reader_takes(capsys) -> None:
    import json

    code, out, _ = call(capsys, "schema", "sweep")
    assert code == 0
    schema = json.loads(out)
    assert schema["required"] == ["machines", "workloads"]
    assert {"set", "zip", "where", "constraints", "metrics", "per_layer", "batch"} <= set(schema["properties"])


@pytest.mark.slow
def test_the_examples_of_the_docs_run(capsys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shlex

    from test_docs import ROOT, blocks

    text = (ROOT / "docs" / "sweep.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sides.yaml").write_text(blocks(text, "yaml")[0])
    commands = [line for line in "".join(blocks(text, "console")).splitlines() if line.startswith("$ ")]
    assert len(commands) == 5
    for line in commands:
        code, _, err = call(capsys, *shlex.split(line[2:], comments=True)[1:], "--workers", 1)
        assert code == 0, err
    assert "52 points of 60, 52 already finished" in err
    frame = pd.read_csv(tmp_path / "results" / "sides.csv")
    assert 0 < frame.feasible.sum() < len(frame) == 52
    for code in blocks(text, "python"):
        exec(compile(code, "sweep.md", "exec"), {})
    assert "array.cols" in capsys.readouterr().out
