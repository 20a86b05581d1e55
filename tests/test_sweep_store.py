"""The store of a sweep: what was damaged or edited is not used, and what was not is."""

import importlib.util
import json
import os
import re
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import ModuleType

import pytest

from hwsim.cli import cli
from hwsim.errors import HwsimWarning
from hwsim.sweeps.evaluation import Evaluator, Outcome
from hwsim.sweeps.reader import read_space
from hwsim.sweeps.record import outcome_of, row_of
from hwsim.sweeps.salvage import salvage
from hwsim.sweeps.store import DIED, Store, StoreError
from hwsim.sweeps.sweep import sweep

ODD = {
    "name": "odd",
    "machines": "systolic_ws",
    "workloads": "lenet5_caffe",
    "batch": [1, 3],
    "set": {"array.rows": [7, 31]},
}

LONG = {
    "name": "long",
    "machines": "eyeriss_v1",
    "workloads": "alexnet",
    "set": {"array.rows": {"range": [5, 13], "step": 1}, "array.cols": {"range": [8, 23], "step": 1}},
}


def benchmark(name: str) -> ModuleType:
    """A module of the folder benchmarks."""
    path = Path(__file__).parent.parent / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_no_damaged_result_is_used_and_no_sound_one_is_lost() -> None:
    """`python benchmarks/stress_store.py --cases 10000` does so for longer."""
    found = benchmark("stress_store").stress(300, seed=31)
    assert found.cases == 300
    assert min(found.refused, found.rejected_rows, found.unharmed) > 20, "each kind of damage took place"
    assert found.salvaged_rows > 20
    assert found.slowest_s < 10


def rows(path: Path) -> dict[bytes, tuple[object, ...]]:
    """The rows of a store by key; none if it has no table yet."""
    if not path.exists():
        return {}
    with closing(sqlite3.connect(path)) as database:
        database.text_factory = bytes
        if not database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            return {}
        return {row[0]: row for row in database.execute("SELECT * FROM results")}


def test_an_edited_number_is_told_and_simulated_again(tmp_path: Path) -> None:
    before = sweep(ODD, store=tmp_path, workers=1)
    path = tmp_path / "store.sqlite"
    whole = rows(path)
    with closing(sqlite3.connect(path)) as database:
        database.execute(
            "UPDATE results SET result = json_set(result, '$.latency_s', 1e-9) WHERE key = (SELECT min(key) FROM results)"
        )
        database.commit()
    assert rows(path) != whole
    with pytest.warns(HwsimWarning, match="1 result not used, as the checksum is wrong") as told:
        again = sweep(ODD, store=tmp_path, workers=1)
    assert len(told) == 1
    assert again.equals(before)
    assert rows(path) == whole, "the store is whole again"


@pytest.mark.parametrize("column", [0, 1, 2, 3, 4])
def test_each_column_of_a_row_is_under_the_checksum(column: int) -> None:
    space = read_space(ODD)
    outcome = Evaluator(space).outcome(0, per_layer=True)
    row = [part.encode() if isinstance(part, str) else part for part in row_of("0" * 64, outcome)]
    assert repr(outcome_of(row)) == repr(Outcome(-1, outcome.result, outcome.layers))
    for other in (None, 1, 2.5, "text", b"", b"{}", (row[column] or b"") + b" "):
        if other != row[column]:
            assert outcome_of([*row[:column], other, *row[column + 1 :]]) is None


def test_a_row_of_another_schema_is_not_used_whatever_its_checksum() -> None:
    """As one that another program wrote with a checksum of its own making."""
    totals = Evaluator(read_space(ODD)).outcome(0).result
    assert totals is not None

    def believed(result: object, error: str | None = None, layers: object = None) -> bool:
        row = row_of("0" * 64, Outcome(0, result, layers, error))  # type: ignore[arg-type]
        return outcome_of([part.encode() if isinstance(part, str) else part for part in row]) is not None

    assert believed(totals)
    assert believed(totals | {"area_mm2": None, "energy_pj.odd": 31.0})
    assert not believed(None)
    assert not believed(totals, "failed")
    assert not believed([totals])
    assert not believed({name: value for name, value in totals.items() if name != "energy_pj"})
    for name, value in (("latency_s", "1 ms"), ("cycles", True), ("fits", 1), ("energy_scope", 1), ("macs", [1])):
        assert not believed(totals | {name: value})
    for layers in ({}, [1], [{}], [{"layer": 1}]):
        assert not believed(totals, layers=layers)
    assert not believed(totals, layers=json.loads("[" * 900 + "]" * 900))


def test_sound_results_of_a_damaged_store_are_salvaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A page of noise in the middle, and an edited number: the results on other pages are kept, and no damaged one."""
    many = ODD | {"batch": {"range": [1, 31], "step": 1}}
    numbers = len(read_space(many).numbers())
    whole = sweep(many, store=tmp_path / "old", workers=1)
    path = tmp_path / "old" / "store.sqlite"
    with closing(sqlite3.connect(path)) as database:
        size = database.execute("PRAGMA page_size").fetchone()[0]
        database.execute(
            "UPDATE results SET result = json_set(result, '$.latency_s', 1) WHERE key = (SELECT min(key) FROM results)"
        )
        database.commit()
    data = path.read_bytes()
    assert len(data) >= 5 * size, "several pages"
    data = data[: 3 * size] + os.urandom(size) + data[4 * size :]
    path.write_bytes(data)
    file = tmp_path / "many.yaml"
    file.write_text(json.dumps(many))
    with pytest.raises(StoreError, match=r"is damaged .* with --salvage and its new name"):
        sweep(many, store=tmp_path / "old", workers=1)

    cli(
        ["sweep", str(file), "-o", str(tmp_path / "new"), "--salvage", str(path), "--workers", "1"],
        standalone_mode=False,
    )
    match = re.search(r"(\d+) sound results of (\d+) points; the rest is simulated", capsys.readouterr().err)
    assert match is not None
    assert int(match[2]) == numbers
    assert numbers / 4 < int(match[1]) < numbers - 1
    assert path.read_bytes() == data
    assert sweep(many, store=tmp_path / "new", workers=1).equals(whole)


def test_a_store_that_cannot_be_salvaged_is_an_error(tmp_path: Path) -> None:
    for text in (b"", b"SQLite format 3\0" + bytes(9000), b"x" * 9000):
        (tmp_path / "store.sqlite").write_bytes(text)
        with pytest.raises(StoreError, match="nothing can be taken from it"):
            salvage(tmp_path / "store.sqlite", ["0" * 64])
    with pytest.raises(StoreError, match="there is no such file"):
        salvage(tmp_path / "absent.sqlite", ["0" * 64])


def test_a_store_of_another_version_says_what_to_do(tmp_path: Path) -> None:
    sweep(ODD, store=tmp_path, workers=1)
    with closing(sqlite3.connect(tmp_path / "store.sqlite")) as database:
        database.execute("PRAGMA user_version=1")
    with pytest.raises(
        StoreError, match=r"version 1, this hwsim has version 2; it was not changed.*name another folder"
    ):
        sweep(ODD, store=tmp_path, workers=1)


def test_a_store_takes_little_more_than_its_results(tmp_path: Path) -> None:
    """Rows of a kilobyte lie in the pages of the tree, not each on a page of its own."""
    many = ODD | {"batch": {"range": [1, 31], "step": 1}}
    sweep(many, store=tmp_path, workers=1)
    path = tmp_path / "store.sqlite"
    content = sum(sum(len(part) for part in row if isinstance(part, bytes)) for row in rows(path).values())
    assert path.stat().st_size < 3 * content


def test_a_store_must_be_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "store.sqlite")
    with pytest.raises(StoreError, match="must be a file, not a directory, a pipe or a device"):
        sweep(ODD, store=tmp_path, workers=1)
    with pytest.raises(StoreError, match="cannot be made: embedded null byte"):
        sweep(ODD, store=f"{tmp_path}/a\0b", workers=1)


def test_results_of_a_damaged_shard_are_not_merged(tmp_path: Path) -> None:
    whole = sweep(ODD, workers=1)
    sweep(ODD, store=tmp_path, workers=1, shard="1/2")
    with closing(sqlite3.connect(tmp_path / "shard-1-of-2.sqlite")) as database:
        database.execute("UPDATE results SET result = replace(result, '0', '7')")
        database.commit()
    with pytest.warns(HwsimWarning, match=r"shard-1-of-2.sqlite: 4 results not used"):
        assert sweep(ODD, store=tmp_path, workers=1).equals(whole)


def command(tmp_path: Path, *words: str) -> list[str]:
    """The command of a sweep of `LONG`."""
    (tmp_path / "long.yaml").write_text(json.dumps(LONG))
    code = "from hwsim.cli import main; main()"
    return [sys.executable, "-c", code, "sweep", str(tmp_path / "long.yaml"), "-o", str(tmp_path / "out"), *words]


def limit_files(size: int) -> None:
    """As a disk that is full after so many bytes of a file."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.slow
def test_a_full_disk_is_told_and_loses_nothing(tmp_path: Path) -> None:
    """Files that cannot grow further, at several sizes; then the same command with room."""
    whole = sweep(LONG, workers=1)
    for size in (0, 40_000, 300_000):
        before = rows(tmp_path / "out" / "store.sqlite")
        run = subprocess.run(
            command(tmp_path, "--workers", "1"), preexec_fn=lambda size=size: limit_files(size), capture_output=True,
            text=True, timeout=60, check=False,
        )  # fmt: skip
        assert run.returncode == 2, size
        assert "cannot be " in run.stderr.splitlines()[-1], "the reason is one line"
        assert "Traceback" not in run.stderr
        after = rows(tmp_path / "out" / "store.sqlite")
        assert before.items() <= after.items()
    assert len(after) > 0
    assert sweep(LONG, store=tmp_path / "out", workers=1).equals(whole)


def begun(path: Path) -> bool:
    """Whether a store, or its write-ahead log, has results."""
    log = path.with_name(path.name + "-wal")
    return log.exists() and log.stat().st_size > 30_000


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait until it holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc")
def test_the_death_of_all_workers_and_of_what_starts_them_is_told_and_survived(tmp_path: Path) -> None:
    """The fork server too, whose end is an EOFError: no exit code 130 of Ctrl-C."""
    below = benchmark("stress_sweep").children
    run = subprocess.Popen(
        command(tmp_path, "--workers", "2"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: run.poll() is not None or len(below(run.pid)) >= 4)  # what starts and watches workers, and two
    victims = [pid for pid in below(run.pid) if b"resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert victims
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    told = run.communicate(timeout=120)[1]
    assert run.returncode == 0, told
    assert "a worker died (killed, or out of memory); its points are simulated again" in told
    assert "Traceback" not in told
    assert sweep(LONG, store=tmp_path / "out", workers=1).equals(sweep(LONG, workers=1))


@pytest.mark.slow
def test_a_cluster_that_loses_its_last_worker_is_told_within_seconds(tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="the cluster extra is not installed")
    file = tmp_path / "scheduler.json"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    dask = [sys.executable, "-m"]
    parts = ["--scheduler-file", str(file), "--no-dashboard"]
    scheduler = subprocess.Popen(
        [*dask, "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", *parts], **quiet
    )
    worker = subprocess.Popen([*dask, "distributed.cli.dask_worker", "--nthreads", "1", "--no-nanny", *parts], **quiet)
    try:
        wait_for(lambda: file.exists() and file.read_text().endswith("}"))
        address = json.loads(file.read_text())["address"]
        told = ""
        for _ in range(20):  # until the worker has joined
            run = subprocess.Popen(
                command(tmp_path, "--cluster", address), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
            )
            wait_for(lambda run=run: run.poll() is not None or begun(tmp_path / "out" / "store.sqlite"))
            if run.poll() is None:
                break
            told = run.communicate()[1]
            assert "has no workers" in told
        worker.kill()
        told = run.communicate(timeout=60)[1]  # it waits 5 s, as it says; a processor that others use makes it slower
        assert run.returncode == 2
        assert "has had no workers for 5 s; finished points are in the store" in told
        assert "Traceback" not in told
    finally:
        for process in (worker, scheduler):
            process.kill()
            process.wait()
    assert len(rows(tmp_path / "out" / "store.sqlite")) > 0
    assert sweep(LONG, store=tmp_path / "out", workers=1).equals(sweep(LONG, workers=1))


def test_a_point_whose_worker_died_is_simulated_again(tmp_path: Path) -> None:
    """Its error is kept but not looked up; a fault of the point itself is."""
    store = Store(tmp_path / "store")
    store.add([("0" * 64, Outcome(0, None, None, f"{DIED} 4 times")), ("1" * 64, Outcome(1, None, None, "no room"))])
    assert set(store.lookup(["0" * 64, "1" * 64])) == {"1" * 64}
    store.add([("0" * 64, Outcome(0, None, None, "no room either"))])
    assert store.lookup(["0" * 64])["0" * 64].error == "no room either"
    store.close()


def test_no_output_is_written_in_place_of_a_store(tmp_path: Path, capsys) -> None:
    """Nor of the files that SQLite has beside it, of a store to salvage, or of a table of the same command."""
    from commands import call

    out = tmp_path / "out"
    (tmp_path / "sw.yaml").write_text("name: sw\nmachines: eyeriss_v1\nworkloads: kws\nbatch: [1, 2]\n")
    assert call(capsys, "sweep", tmp_path / "sw.yaml", "-o", out)[0] == 0
    before = (out / "store.sqlite").read_bytes()
    (tmp_path / "old.sqlite").write_bytes(before)
    (tmp_path / "hard.html").hardlink_to(out / "store.sqlite")
    (tmp_path / "soft.html").symlink_to(out / "store.sqlite")
    pages = [out / "store.sqlite", out / "store.sqlite-wal", out / "store.sqlite-shm", tmp_path / "hard.html",
             tmp_path / "soft.html"]  # fmt: skip
    for command, option in (("sweep", "--html"), ("explore", "--json"), ("explore", "--html")):
        for page in pages:
            code, _, err = call(capsys, command, tmp_path / "sw.yaml", "-o", out, option, page)
            assert code == 2
            assert "must not be an input of this command" in err
            assert (out / "store.sqlite").read_bytes() == before
    code, _, err = call(
        capsys, "sweep", tmp_path / "sw.yaml", "-o", tmp_path / "new", "--salvage", tmp_path / "old.sqlite",
        "--html", tmp_path / "old.sqlite",
    )  # fmt: skip
    assert (code, (tmp_path / "old.sqlite").read_bytes()) == (2, before)
    for command, option, page in (("sweep", "--html", "sw.csv"), ("explore", "--json", "sw.front.csv")):
        code, _, err = call(capsys, command, tmp_path / "sw.yaml", "-o", out, option, out / page)
        assert code == 2
        assert "must not be a table that this command writes" in err
        assert (out / page).read_text().startswith("point,")


def test_names_of_files_that_a_terminal_would_run(tmp_path: Path, capsys) -> None:
    from commands import call

    sweep = "name: sw\nmachines: eyeriss_v1\nworkloads: {workloads}\nbatch: 1\n"
    trace = "name: n\nsource: mine\ninput: [1, 8]\nlayers:\n  - {fc: f, n: 3}\n"
    for place, name in enumerate(("a\x1b]0;pwn\x07.yaml", "=b\nc.yaml", "a\u202eb.yaml")):
        folder = tmp_path / f"f{place}"
        folder.mkdir()
        (folder / name).write_text(trace)
        path = tmp_path / f"sw{place}.yaml"
        path.write_text(sweep.format(workloads=f'["f{place}/*.yaml"]'))
        for command in ("sweep", "explore"):
            code, out, err = call(capsys, command, path, "-o", tmp_path / "out")
            assert (code, out) == (2, "")
            assert "must match files whose names are lines of printable text" in err
    path.write_text(sweep.format(workloads="kws"))
    for command in ("sweep", "explore"):
        code, out, err = call(capsys, command, path, "-o", tmp_path / "o\x1b]0;x\x07\ny")
        assert code == 0
        assert "\x1b" not in out + err
        assert "o\\x1b]0;x\\x07\\ny/sw" in out.splitlines()[-1]
