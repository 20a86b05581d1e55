"""Damage a store of a sweep again and again: flipped bits, files cut short, edited rows, other tables.

    python benchmarks/stress_store.py --cases 10000

What is read back must be what was stored, or nothing: no value that differs is used, no error but `StoreError` is raised,
a store that is refused keeps its bytes, and each row that was not damaged is still there.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from hwsim.sweeps.evaluation import Evaluator, Outcome
from hwsim.sweeps.reader import read_space
from hwsim.sweeps.salvage import salvage
from hwsim.sweeps.store import Store, StoreError

SWEEP = {
    "machines": ["systolic_ws", "systolic_os"],
    "workloads": "lenet5_caffe",
    "batch": [1, 3],
    "set": {"array.rows": [7, 8, 31], "array.cols": [8, 127]},
}
COLUMNS = ("key", "result", "layers", "error", "checksum")


@dataclass
class Tally:
    """What became of the damaged stores."""

    cases: int = 0
    refused: int = 0
    salvaged_rows: int = 0
    rejected_rows: int = 0
    unharmed: int = 0
    slowest_s: float = 0.0
    reasons: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Original:
    """The results of a sweep, and the files that hold them: the store, with its write-ahead log or without."""

    outcomes: dict[str, Outcome]
    files: dict[str, bytes]
    logged: dict[str, bytes]


def original(folder: Path) -> Original:
    """Simulate the sweep and store it, the last results in the write-ahead log alone."""
    space = read_space(SWEEP)
    evaluator = Evaluator(space)
    outcomes = {evaluator.digest(n): evaluator.outcome(n, per_layer=n % 2 == 0) for n in space.numbers()}
    outcomes = {key: Outcome(-1, o.result, o.layers, o.error) for key, o in outcomes.items()}
    outcomes["f" * 64] = Outcome(-1, None, None, "the array has too few rows")
    path = folder / "store.sqlite"
    with Store(path) as store:
        store.add(list(outcomes.items())[::2])
    with Store(path) as store:
        store.add(list(outcomes.items())[1::2])
        logged = {name: (folder / name).read_bytes() for name in ("store.sqlite", "store.sqlite-wal")}
    return Original(outcomes, {"store.sqlite": path.read_bytes()}, logged)


def flip(data: bytes, chance: random.Random) -> bytes:
    """Some bits of a file are others."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 8, 64))):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def cut(data: bytes, chance: random.Random) -> bytes:
    """The file ends too soon."""
    return data[: chance.randrange(1, len(data))]


def overwrite(data: bytes, chance: random.Random) -> bytes:
    """A part of the file is zero, noise, or another part of it."""
    size = min(len(data), chance.choice((1, 2, 4, 16, 512, 4096)))
    start = chance.randrange(len(data) - size + 1)
    if chance.random() < 0.3 and size == 4096:
        start -= start % 4096
    other = chance.randrange(len(data) - size + 1)
    part = chance.choice((bytes(size), chance.randbytes(size), data[other : other + size]))
    return data[:start] + part + data[start + size :]


def edit(path: Path, chance: random.Random) -> None:
    """Somebody opens the store with SQLite and changes it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database, suppress(sqlite3.Error):
        keys = [key for (key,) in database.execute("SELECT key FROM results")]
        key, other = chance.sample(keys, 2)
        column = chance.choice(COLUMNS)
        result = database.execute("SELECT result FROM results WHERE key=?", [key]).fetchone()[0]
        totals = json.loads(result) if result else {}
        name = chance.choice([*totals, "latency_s"])
        totals[name] = chance.choice((0.5, -1, None, "fast", True, [1], float("nan"), 10**400))
        statement, values = chance.choice(
            [
                ("UPDATE results SET result=? WHERE key=?", (json.dumps(totals), key)),
                (f"UPDATE results SET {column}=NULL WHERE key=?", (key,)),
                (f"UPDATE results SET {column}=? WHERE key=?", (chance.choice((0, 1.5, b"\xff\0", "a", "{}")), key)),
                (f"UPDATE results SET {column}=(SELECT {column} FROM results WHERE key=?) WHERE key=?", (other, key)),
                ("UPDATE results SET key=? WHERE key=?", ("0" * 64, key)),
                ("INSERT INTO results VALUES (?, ?, NULL, NULL, ?)", ("1" * 64, result, bytes(16))),
                ("UPDATE results SET result=?, checksum=zeroblob(16) WHERE key=?", ("[" * 100_000, key)),
                ("DELETE FROM results WHERE key=?", (key,)),
                (f"PRAGMA user_version={chance.choice((0, 1, 3, 2**31 - 1))}", ()),
                (f"PRAGMA application_id={chance.randrange(2**31)}", ()),
                ("ALTER TABLE results ADD COLUMN more", ()),
                (f"ALTER TABLE results RENAME COLUMN {column} TO another", ()),
                ("ALTER TABLE results RENAME TO others", ()),
                ("DROP TABLE results", ()),
                ("CREATE TRIGGER t AFTER INSERT ON results BEGIN DELETE FROM results; END", ()),
                ("CREATE TABLE more (x)", ()),
                ("ANALYZE", ()),
                ("PRAGMA journal_mode=DELETE", ()),
                ("VACUUM", ()),
            ]
        )
        database.execute(statement, values)


def rows_as_they_are(files: dict[str, bytes], folder: Path) -> dict[bytes, tuple[object, ...]]:
    """What SQLite reads from a copy, without any check; empty if it cannot."""
    path = write(files, folder)
    rows: dict[bytes, tuple[object, ...]] = {}
    with suppress(sqlite3.Error, UnicodeDecodeError), closing(sqlite3.connect(path)) as database:
        database.text_factory = bytes
        for row in database.execute("SELECT key, result, layers, error, checksum FROM results"):
            rows[row[0]] = row
    return rows


def write(files: dict[str, bytes], folder: Path) -> Path:
    """Put the files into a folder that has no others."""
    for path in folder.iterdir():
        path.unlink()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder / "store.sqlite"


def damaged(before: Original, folder: Path, chance: random.Random) -> dict[str, bytes]:
    """The files after one accident."""
    how: Callable[[bytes, random.Random], bytes] | None = chance.choice((flip, flip, flip, cut, overwrite, None))
    if how is None:
        edit(write(before.files, folder), chance)
        return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith("-shm")}
    files = dict(before.logged if chance.random() < 0.3 else before.files)
    name = chance.choice(list(files))
    files[name] = how(files[name], chance)
    return files


def _check(store: Store, before: Original, sound: set[str]) -> int:
    """Hold what a store reads against what was stored; returns how many rows it rejects."""
    keys = list(before.outcomes)
    read = store.lookup(keys)
    for key, outcome in read.items():
        expected = before.outcomes[key]
        assert repr(outcome) == repr(Outcome(-1, expected.result, None, expected.error)), "a damaged result was used"
    assert read.keys() == sound, f"{len(sound - read.keys())} sound results were lost"
    rejected = len(store._rejected)
    store.add(before.outcomes.items())
    assert len(store.lookup(keys)) == len(keys), "a result could not be stored again"
    return rejected


def stress(cases: int, seed: int = 0) -> Tally:
    """Run it; an AssertionError says what was believed or lost."""
    chance = random.Random(seed)
    tally = Tally()
    with tempfile.TemporaryDirectory() as place:
        folder, copy = Path(place) / "store", Path(place) / "copy"
        folder.mkdir()
        copy.mkdir()
        before = original(folder)
        whole = rows_as_they_are(before.files, copy)
        assert len(whole) == len(before.outcomes)
        for _ in range(cases):
            files = damaged(before, folder, chance)
            sound = {row[0].decode() for key, row in rows_as_they_are(files, copy).items() if whole.get(key) == row}
            path = write(files, folder)
            tally.cases += 1
            begin = time.monotonic()
            refusal = ""
            try:
                with warnings.catch_warnings(record=True, action="always") as caught:
                    with Store(path) as store:
                        rejected = _check(store, before, sound)
                    assert bool(rejected) == bool(caught), "rows were dropped in silence"
                tally.rejected_rows += rejected
                tally.unharmed += not rejected
            except StoreError as error:
                refusal = str(error).partition(": ")[2]
            if refusal:
                assert "\n" not in refusal
                tally.refused += 1
                with suppress(StoreError):
                    rows = salvage(path, before.outcomes)
                    assert all(repr(row) == repr(before.outcomes[key]) for key, row in rows.items()), (
                        "damaged, and used"
                    )
                    tally.salvaged_rows += len(rows)
                tally.reasons[refusal[:22]] += 1
                for name, data in files.items():
                    assert path.with_name(name).read_bytes() == data, f"{name} was changed: {refusal}"
            tally.slowest_s = max(tally.slowest_s, time.monotonic() - begin)
    return tally


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    begin_s = time.monotonic()
    found = stress(given.cases, given.seed)
    print(
        f"{found.cases:,} damaged stores in {time.monotonic() - begin_s:.0f} s: {found.refused:,} refused and unchanged "
        f"({found.salvaged_rows:,} rows salvaged), "
        f"{found.rejected_rows:,} rows rejected in the others, {found.unharmed:,} without harm to a row; none used, none "
        f"lost; slowest {found.slowest_s:.2f} s"
    )
    print(dict(found.reasons))
