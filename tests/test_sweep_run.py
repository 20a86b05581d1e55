"""Sweeps as they are run: every finished point is there once, and nothing that happens on the way shows in the result."""

import importlib.util
import json
import sqlite3
import subprocess
import sys
import threading
import warnings
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import hwsim
from hwsim.errors import HwsimError, HwsimWarning, InputError
from hwsim.machines import machine_names
from hwsim.sweeps.evaluation import Evaluator, Outcome
from hwsim.sweeps.reader import read_space
from hwsim.sweeps.results import Results, frame_of
from hwsim.sweeps.runner import Runner
from hwsim.sweeps.store import Store, StoreError
from hwsim.sweeps.summary import best_of_both, summary_line
from hwsim.sweeps.sweep import Sweep, sweep

SMALL = {
    "name": "small",
    "machines": ["systolic_ws", "systolic_os"],
    "workloads": "lenet5_caffe",
    "batch": [1, 4],
    "set": {"array.rows": [8, 16, 32], "clocks.core": ["500 MHz", "1 GHz"], "workload.dtype": ["int8", "int16"]},
}


def exported(folder: Path, given: object = SMALL, **how: object) -> bytes:
    """The CSV file of a sweep."""
    begun = Sweep.start(given, folder=folder, **how)
    with begun.runner:
        begun.run()
    return begun.write(folder)[0].read_bytes()


def test_a_row_is_what_one_run_says() -> None:
    frame = sweep(SMALL, workers=1)
    assert len(frame) == 48
    assert list(frame.point) == list(range(48))
    assert list(frame.columns[1:7]) == ["machine", "workload", "batch", "array.rows", "clocks.core", "workload.dtype"]
    row = frame[(frame.machine == "systolic_os") & (frame.batch == 4) & (frame["array.rows"] == 16)].iloc[1]
    network = hwsim.load_workload("lenet5_caffe")
    network = network.replace([layer.with_dtype(input="int16", weight="int16", output="int16") for layer in network])
    machine = hwsim.load_machine("systolic_os", set={"array.rows": 16, "clocks.core": "500 MHz"})
    summary = hwsim.simulate(machine, network, batch=4).summary
    assert row["workload.dtype"] == "int16"
    assert (row.latency_s, row.energy_pj, row.cycles) == (summary.latency_s, summary.energy_pj, summary.cycles)
    assert frame.feasible.all()
    assert (frame.error == "").all()


@pytest.mark.slow
def test_plans_that_are_shared_are_those_that_would_be_made() -> None:
    """On every machine: points that follow others give what they give alone."""
    for name in machine_names():
        changes: dict[str, object] = {"name": ["other", "another"], "source": ["somebody", "somebody else"]}
        space = read_space({"machines": name, "workloads": "lenet5_caffe", "set": changes})
        together = Evaluator(space)
        for number in space.numbers():
            alone = Evaluator(space).outcome(number, per_layer=True)
            assert repr(together.outcome(number, per_layer=True)) == repr(alone), "an unknown energy is NaN"
        assert len(together.caches) == 1


@pytest.mark.parametrize(
    ("machine", "shared"), [("eyeriss_v1", True), ("systolic_ws", True), ("eyeriss_isca16", False)]
)
def test_prices_are_planned_on_only_where_the_planner_weighs_them(machine: str, shared: bool) -> None:
    prices = [{"energy": "1 pJ", "source": "s"}, {"energy": "900 pJ", "source": "s"}]
    space = read_space({"machines": machine, "workloads": "lenet5_caffe", "set": {"energy.prices.dram": prices}})
    together = Evaluator(space)
    found = [together.outcome(number) for number in space.numbers()]
    assert found == [Evaluator(space).outcome(number) for number in space.numbers()]
    assert (len(together.caches) == 1) is shared
    if found[0].result is not None and found[1].result is not None:
        assert found[0].result["energy_pj.dram"] < found[1].result["energy_pj.dram"]


def test_a_sweep_that_is_told_twice_simulates_once(tmp_path: Path) -> None:
    whole = exported(tmp_path, workers=1)
    space = read_space(SMALL)
    with Runner(space, tmp_path / "store.sqlite", workers=1) as runner:
        assert len(list(runner.outcomes(space.numbers()))) == 48
        assert runner.simulated == 0
    assert exported(tmp_path, workers=1) == whole
    assert exported(tmp_path / "processes", workers=2) == whole, "processes give the same bytes"


def test_shards_together_are_the_whole(tmp_path: Path) -> None:
    whole = exported(tmp_path / "whole", workers=1)
    for part in range(1, 4):
        exported(tmp_path / "parts", workers=1, shard=(part, 3))
    begun = Sweep.start(SMALL, folder=tmp_path / "parts", workers=1)
    with begun.runner:
        begun.run()
        assert begun.runner.simulated == 0, "all of it is in the shards"
    assert begun.write(tmp_path / "parts")[0].read_bytes() == whole


def test_a_failing_point_is_a_row(tmp_path: Path) -> None:
    given = {
        "machines": "eyeriss_v1",
        "workloads": "alexnet",
        "set": {"array.rows": [2, 12], "workload.layers": "conv3"},
    }
    begun = Sweep.start(given, folder=tmp_path, workers=1)
    with begun.runner:
        begun.run()
    frame = begun.frame()
    assert "needs 3 rows of PEs; the array has 2" in frame.error[0]
    assert np.isnan(frame.latency_s[0])
    assert list(frame.feasible) == [False, True]
    text = begun.write(tmp_path)[0].read_text()
    assert pd.read_csv(tmp_path / "sweep.csv").latency_s[1] == frame.latency_s[1], "floats read back as they are"
    assert text.count("\n") == 3


def test_constraints_mark_and_keep(tmp_path: Path) -> None:
    free = sweep(SMALL, workers=1)
    limit = float(free.energy_per_inference_pj.median())
    held = sweep(
        SMALL | {"constraints": [f"energy_per_inference_pj <= {limit:.6g} or array.rows == 8", "fits"]}, workers=1
    )
    wanted = (free.energy_per_inference_pj <= float(f"{limit:.6g}")) | (free["array.rows"] == 8)
    assert list(held.feasible) == list(wanted)
    assert len(held) == len(free)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"metrics": ["latency"]},
            r"metrics\[0\]: must be a column of the results, not 'latency'; nearest: 'latency_s'",
        ),
        ({"constraints": "power <= 1 W"}, r"constraints\[0\]: .* not 'power'; nearest: 'power_w'"),
        ({"constraints": "power_w <= 1 s"}, "must not put power beside time"),
        ({"per_layer": ["bund"]}, r"per_layer\[0\]: must be a column of a layer, not 'bund'; nearest: 'bound'"),
    ],
)
def test_results_that_are_not_there_are_told_before_the_start(change, message: str) -> None:
    with pytest.raises(InputError, match=message):
        sweep(SMALL | change, workers=1)


def test_metrics_and_layers_are_those_asked_for(tmp_path: Path) -> None:
    given = SMALL | {"metrics": ["latency_s", "energy_pj.dram"], "per_layer": ["bound", "folds"], "batch": 1}
    begun = Sweep.start(given, folder=tmp_path, workers=1)
    with begun.runner:
        begun.run()
    assert list(begun.frame().columns[-4:]) == ["latency_s", "energy_pj.dram", "feasible", "error"]
    layers = pd.read_csv(begun.write(tmp_path)[1])
    assert list(layers.columns) == ["point", "layer", "bound", "folds"]
    assert len(layers) == 24 * len(hwsim.load_workload("lenet5_caffe"))


def test_a_store_that_is_none_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    exported(tmp_path, workers=1)
    whole = path.read_bytes()
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version=7")
    database.commit()
    database.close()
    newer = path.read_bytes()
    damaged = bytearray(whole)
    size = int.from_bytes(whole[16:18], "big")  # of a page
    damaged[size : 2 * size] = b"\xff" * size
    stranger = tmp_path / "other.sqlite"
    database = sqlite3.connect(stranger)
    database.execute("CREATE TABLE mine (x)")
    database.commit()
    database.close()
    for content, message in [
        (newer, "is a store of version 7, this hwsim has version 2"),
        (bytes(damaged), "is damaged"),
        (whole[:5000], "is damaged"),
        (b"point,latency_s\n" * 20, "is not a store of hwsim"),
        (stranger.read_bytes(), "is a database of another program"),
    ]:
        path.write_bytes(content)
        with pytest.raises(StoreError, match=message):
            Sweep.start(SMALL, folder=tmp_path, workers=1)
        assert path.read_bytes() == content, "nothing was changed"


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    space = read_space(SMALL)
    with Runner(space, tmp_path / "store.sqlite", workers=1) as runner:
        assert runner.store is not None
        runner.store._db.execute("PRAGMA max_page_count=3")
        done: list[object] = []
        with pytest.raises(StoreError, match="Free disk space and repeat the command"):
            done.extend(runner.outcomes(space.numbers()))
        assert 0 < len(done) < 48
    with Runner(space, tmp_path / "store.sqlite", workers=1) as runner:
        assert len(runner.lookup(space.numbers())) >= len(done)
    assert exported(tmp_path, workers=1) == exported(tmp_path / "roomy", workers=1)


def test_results_of_another_revision_are_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exported(tmp_path, workers=1)
    monkeypatch.setattr("hwsim.sweeps.evaluation.model_revision", lambda: "other")
    space = read_space(SMALL)
    with Runner(space, tmp_path / "store.sqlite", workers=1) as runner:
        assert runner.lookup(space.numbers()) == {}


def test_the_front_is_what_nothing_beats() -> None:
    frame = sweep(SMALL, workers=1)
    best = best_of_both(frame, "latency_s", "energy_pj")
    for _, a in frame.iterrows():
        beaten = ((frame.latency_s <= a.latency_s) & (frame.energy_pj <= a.energy_pj)
                  & ((frame.latency_s < a.latency_s) | (frame.energy_pj < a.energy_pj))).any()  # fmt: skip
        same = ((best.latency_s == a.latency_s) & (best.energy_pj == a.energy_pj)).any()
        assert bool(same) is not bool(beaten)


def test_a_shard_may_be_empty(tmp_path: Path) -> None:
    given = {"name": "one", "machines": "systolic_ws", "workloads": "lenet5_caffe"}
    begun = Sweep.start(given, folder=tmp_path, workers=1, shard=(2, 2))
    with begun.runner:
        begun.run()
    header = begun.write(tmp_path)[0].read_text()
    assert header.startswith("point,machine,workload,batch,layers,latency_s,")
    assert header.count("\n") == 1
    assert len(begun.frame()) == 0
    assert summary_line(begun.frame()) == "0 points: 0 feasible"


def test_rows_of_a_space_of_its_own() -> None:
    """What an exploration uses: a few points, in any order."""
    space = read_space(SMALL)
    with Runner(space, workers=1) as runner:
        outcomes = list(runner.outcomes([5, 3])) + list(runner.outcomes([4]))
    assert list(frame_of(Results(space), outcomes).point) == [3, 4, 5]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc")
def test_kills_lose_nothing() -> None:
    """`python benchmarks/stress_sweep.py --kills 50` does so for longer."""
    found = stress_sweep().stress(kills=3, last=20, most_s=1.0)
    assert found.points == 312
    assert found.kills == 3


def stress_sweep():
    path = Path(__file__).parent.parent / "benchmarks" / "stress_sweep.py"
    spec = importlib.util.spec_from_file_location("stress_sweep", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["stress_sweep"] = module
    spec.loader.exec_module(module)
    return module


def test_a_store_that_several_begin_at_once_is_a_store_for_each(tmp_path: Path) -> None:
    start = threading.Barrier(4)

    def opened(path: Path) -> dict[str, Outcome]:
        start.wait()
        return Store(path).lookup(["none"])

    with ThreadPoolExecutor(4) as pool:
        for number in range(40):
            assert list(pool.map(opened, [tmp_path / f"{number}.sqlite"] * 4)) == [{}] * 4


@pytest.mark.slow
def test_two_sweeps_at_once_are_one(tmp_path: Path) -> None:
    """Two runners on one store, each in its own process."""
    (tmp_path / "small.yaml").write_text(json.dumps(SMALL))
    words = ["sweep", str(tmp_path / "small.yaml"), "-o", str(tmp_path / "both"), "--workers", "1"]
    command = [sys.executable, "-c", "from hwsim.cli import main; main()", *words]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for run in runs:
        out, err = run.communicate(timeout=120)
        assert run.returncode == 0, err
        assert "48 points: 48 feasible" in out
    assert (tmp_path / "both" / "small.csv").read_bytes() == exported(tmp_path / "one", workers=1)


@pytest.mark.slow
def test_a_cluster_gives_the_same_bytes(tmp_path: Path) -> None:
    """Two workers over TCP."""
    distributed = pytest.importorskip("distributed", reason="the cluster extra is not installed")
    whole = exported(tmp_path / "one", workers=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, protocol="tcp", dashboard_address=None
        ) as cluster:
            assert cluster.scheduler_address.startswith("tcp://")
            assert exported(tmp_path / "two", cluster=cluster.scheduler_address) == whole


@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_told_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="the cluster extra is not installed")
    monkeypatch.setattr("hwsim.sweeps.executors._CONNECT_S", 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(InputError, match=r"'tcp://127\.0\.0\.1:9' does not answer"):
            sweep(SMALL, cluster="tcp://127.0.0.1:9")
        with pytest.raises(InputError, match="does not answer"):
            sweep(SMALL, cluster="no address at all")


@pytest.mark.slow
def test_a_script_needs_no_guard(tmp_path: Path) -> None:
    """Workers import nothing of the script that calls for them."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, hwsim\nprint('once')\n"
        "frame = hwsim.sweep({'machines': 'systolic_ws', 'workloads': 'lenet5_caffe', 'batch': [1, 2, 3, 4]}, workers=2)\n"
        "print(len(frame), frame.feasible.all())\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "once\n4 True\n"), done.stderr


def test_a_point_that_kills_its_worker_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that takes all memory would; the others are finished."""

    class Deadly(Executor):
        def submit(self, fn, /, job, numbers):
            future = Future()
            if 5 in numbers:
                future.set_exception(BrokenExecutor("a worker died"))
            else:
                future.set_result(fn(job, numbers))
            return future

    space = read_space(SMALL)
    with Runner(space, workers=2) as runner:
        monkeypatch.setattr(runner, "_start", lambda points: Deadly())
        with pytest.warns(HwsimWarning, match="a worker died"):
            outcomes = {outcome.number: outcome for outcome in runner.outcomes(space.numbers())}
    assert len(outcomes) == 48
    assert [number for number, outcome in outcomes.items() if outcome.error] == [5]
    assert "the worker died 4 times" in outcomes[5].error


def test_workers_that_only_die_end_the_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    class Dead(Executor):
        def submit(self, fn, /, *_):
            future = Future()
            future.set_exception(BrokenExecutor("a worker died"))
            return future

    space = read_space(SMALL)
    with Runner(space, workers=2) as runner:
        monkeypatch.setattr(runner, "_start", lambda points: Dead())
        with (
            pytest.warns(HwsimWarning, match="a worker died"),
            pytest.raises(HwsimError, match="workers died 20 times in a row"),
        ):
            list(runner.outcomes(space.numbers()))


def test_threads_of_one_worker_do_not_meet() -> None:
    """As those of a Dask worker: every thread has what it learned for itself."""
    from concurrent.futures import ThreadPoolExecutor

    from hwsim.sweeps.evaluation import Job, run_chunk

    space = read_space(SMALL)
    job = Job.of(space, False)
    with ThreadPoolExecutor(4) as pool:
        chunks = [space.numbers()[start::8] for start in range(8)]
        found = [
            outcome for chunk in pool.map(lambda numbers: run_chunk(job, tuple(numbers)), chunks) for outcome in chunk
        ]
    alone = Evaluator(space)
    assert sorted(found, key=lambda outcome: outcome.number) == [alone.outcome(number) for number in space.numbers()]


@pytest.mark.slow
def test_a_notebook_shows_charts_or_the_table() -> None:
    frame = sweep(SMALL | {"batch": 1}, workers=1)
    assert isinstance(frame, pd.DataFrame)
    assert "systolic_os" in frame._repr_html_()
    assert type(frame[frame.feasible]) is pd.DataFrame
    assert "<table" in sweep(SMALL | {"metrics": ["macs"]}, workers=1)._repr_html_()
