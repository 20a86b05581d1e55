"""Ten thousand points: arrays like Eyeriss of different sides, buffers and clocks run AlexNet in batches.

    python benchmarks/bench_sweep.py              # both core counts, with CPU time, overhead, memory and store
    python -m pytest benchmarks --benchmark-only  # a tenth of it, with the work asserted

Times are of the wall and of the CPU: on a machine that does other things too, the second says more.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from hwsim.sweeps.executors import Processes
from hwsim.sweeps.reader import read_space
from hwsim.sweeps.runner import Runner

SWEEP: dict[str, Any] = {
    "name": "arrays",
    "machines": "eyeriss_v1",
    "workloads": "alexnet",
    "batch": {"range": [1, 4], "step": 1},
    "set": {
        "array.rows": {"range": [11, 20], "step": 1},
        "array.cols": {"range": [10, 19], "step": 1},
        "memories.glb.size": ["72 KiB", "100 KiB", "132 KiB", "196 KiB", "260 KiB"],
        "clocks.core": {"range": ["100 MHz", "300 MHz"], "steps": 5},
    },
}
TENTH = SWEEP | {"batch": 4, "set": SWEEP["set"] | {"array.cols": [12, 14, 16, 19]}}


def test_a_tenth_of_the_sweep_in_this_process(benchmark, tmp_path: Path) -> None:
    space = read_space(TENTH)
    numbers = space.numbers()

    def sweep() -> int:
        with Runner(space, tmp_path / f"{time.time_ns()}.sqlite", workers=1) as runner:
            outcomes = list(runner.outcomes(numbers))
            assert runner.store is not None
            assert len(runner.store) == 1000
        return sum(outcome.result["events"] for outcome in outcomes if outcome.result is not None)

    assert benchmark.pedantic(sweep, rounds=1) <= 900_000


def cpu_s(pid: int) -> float:
    """CPU time of a process so far."""
    words = (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> float:
    """The most memory that a process has had."""
    text = (Path("/proc") / str(pid) / "status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0]) / 1e3


def measured(workers: int) -> None:
    """Run it and print a line."""
    space = read_space(SWEEP)
    numbers = space.numbers()
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store.sqlite"
        with Runner(space, store, workers=workers) as runner:
            # Also a single worker is a process here, so that what the runner takes beside it shows.
            runner._executor = pool = Processes(workers)
            wall, own = time.perf_counter(), time.process_time()
            failed = sum(outcome.result is None for outcome in runner.outcomes(numbers))
            wall, own = time.perf_counter() - wall, time.process_time() - own
            pids = list(pool._processes)
            work, memory = sum(map(cpu_s, pids)), sum(map(memory_mb, pids))
            assert runner.store is not None
            assert (len(runner.store), failed) == (len(numbers), 0)
        memory += resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        size = store.stat().st_size / 1e6
    print(
        f"{workers} workers: {len(numbers):,} points in {wall:.1f} s, {len(numbers) / wall:.0f}/s "
        f"({len(numbers) / work * workers:.0f}/s by the CPU time of the workers); runner {own:.2f} s = {own / work:.1%} of "
        f"{work:.1f} s in workers; {memory:.0f} MB at most, all processes; store {size:.1f} MB; load {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    for count in parser.parse_args().workers:
        measured(count)
