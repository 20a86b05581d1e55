"""Kill a sweep with SIGKILL again and again, and hold what it writes against a run in peace.

The process that is killed is its runner, one of its workers, or one that starts or watches them.

    python benchmarks/stress_sweep.py --kills 50

Every finished point must be in the store once, the table must be the same byte for byte, and no worker may outlive its
runner.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

COMMAND = [sys.executable, "-c", "from hwsim.cli import main; main()", "sweep"]
SWEEP = """\
name: stress
machines: [eyeriss_v1]
workloads: [alexnet]
batch: [1, 2]
set:
  array.rows: {{range: [2, 13], step: 1}}
  array.cols: {{range: [8, {last}], step: 1}}
  workload.layers: 'conv*'
"""


@dataclass
class Tally:
    """What happened."""

    points: int = 0
    runners: int = 0
    workers: int = 0
    helpers: int = 0
    rounds: int = 0
    kept: int = 0

    @property
    def kills(self) -> int:
        """Processes that were killed."""
        return self.runners + self.workers + self.helpers


def children(root: int) -> dict[int, int]:
    """Every process below `root`, with its parent."""
    parents = {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                text = (path / "stat").read_text()
            except OSError:
                continue
            if text.rpartition(")")[2].split()[0] != "Z":
                parents[int(path.name)] = int(text.rpartition(")")[2].split()[1])
    below: dict[int, int] = {}
    while more := {p: q for p, q in parents.items() if p not in below and (q == root or q in below)}:
        below |= more
    return below


def rows(store: Path) -> int:
    """Finished points of a store."""
    if not store.exists():
        return 0
    database = sqlite3.connect(store)
    try:
        return int(database.execute("SELECT count(*) FROM results").fetchone()[0])
    except sqlite3.OperationalError:  # killed before it made its tables
        return 0
    finally:
        database.close()


def kill(pid: int) -> None:
    """Kill a process, unless it has ended."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def stress(kills: int, last: int = 120, seed: int = 0, most_s: float = 4.0) -> Tally:
    """Run it; an AssertionError says what was lost."""
    chance = random.Random(seed)
    tally = Tally()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "sweep.yaml").write_text(SWEEP.format(last=last))
        command = [*COMMAND, str(folder / "sweep.yaml"), "--workers", "2", "-o"]
        subprocess.run([*command, str(folder / "peace")], check=True, capture_output=True)
        wanted = (folder / "peace" / "stress.csv").read_bytes()
        tally.points = wanted.count(b"\n") - 1
        assert rows(folder / "peace" / "store.sqlite") == tally.points
        old: set[int] = set()
        while tally.kills < kills:
            tally.rounds += 1
            here = folder / f"war{tally.rounds}"
            done = False
            while not done:
                before = rows(here / "store.sqlite")
                run = subprocess.Popen(
                    [*command, str(here)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
                )
                while run.poll() is None and tally.kills < kills:
                    time.sleep(chance.uniform(0.05, most_s))
                    below = children(run.pid)
                    workers = [pid for pid, parent in below.items() if parent != run.pid]
                    if run.poll() is not None:
                        break
                    helpers = [pid for pid, parent in below.items() if parent == run.pid]
                    dice = chance.random()
                    if dice < 0.6:
                        victims = helpers if dice < 0.15 else workers
                        if victims:
                            kill(chance.choice(victims))
                            tally.helpers += victims is helpers
                            tally.workers += victims is workers
                        continue
                    old |= set(below)
                    run.kill()
                    tally.runners += 1
                    break
                told = run.communicate()[1].decode()
                done = run.returncode == 0
                assert run.returncode in (0, -signal.SIGKILL), told
                after = rows(here / "store.sqlite")
                assert after >= before, f"{before - after} finished points were lost"
                tally.kept += before
            assert (here / "stress.csv").read_bytes() == wanted, "the table differs from that of a run in peace"
            assert rows(here / "store.sqlite") == tally.points
        for _ in range(50):
            left = {pid for pid in old if Path(f"/proc/{pid}").exists()}
            if not left:
                break
            time.sleep(0.1)
        assert not left, f"processes {left} outlived their runner"
    return tally


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    begun = time.monotonic()
    found = stress(given.kills, seed=given.seed)
    print(
        f"{found.runners} runners, {found.workers} workers and {found.helpers} processes that start or watch workers "
        f"killed in {found.rounds} sweeps of {found.points} points, "
        f"{time.monotonic() - begun:.0f} s: nothing lost, every table the same byte for byte"
    )
