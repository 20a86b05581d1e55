"""The store: one SQLite file of finished points, safe against kills and concurrent sweeps."""

from __future__ import annotations

import json
import sqlite3
import time
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hwsim.errors import HwsimError
from hwsim.sweeps.evaluation import Outcome

__all__ = ["DIED", "FORMAT", "Store", "StoreError"]

FORMAT = 1
"""Version of the tables below."""

_APPLICATION = 0x68777331  # "hws1" in the file's header
_BUSY_S = 60.0
_QUERY_SIZE = 500
DIED = "the worker died"
"""Prefix of the error of a point whose worker was killed; the next sweep repeats the point."""


class StoreError(HwsimError):
    """A store that cannot be used; nothing in it was changed."""


class Store:
    """Results by digest, in an SQLite file with a write-ahead log.

    Parameters
    ----------
    path : Path
        The file; its folder is created.

    Raises
    ------
    StoreError
        If the file is no store, is damaged, or is of another version. It is not changed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{path.parent}: cannot be made: {error.strerror or error}") from None
        try:
            self._check_header()
            self._db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
            self._open()
        except sqlite3.Error as error:
            raise self._error(error) from None

    def _check_header(self) -> None:
        """Reject a file that is no store before SQLite can write its log files."""
        try:
            with self.path.open("rb") as stream:
                header = stream.read(100)
        except FileNotFoundError:
            return
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be read: {error.strerror or error}") from None
        if not header:
            return
        if len(header) < 100 or not header.startswith(b"SQLite format 3\0"):
            raise StoreError(f"{self.path}: is not a store of hwsim, or its header is damaged; it was not changed")

    def _open(self) -> None:
        self._db.execute("BEGIN")  # one transaction for all three: another runner may be creating the table
        application = self._number("application_id")
        version = self._number("user_version")
        tables = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        self._db.execute("COMMIT")
        if not tables and not application:
            self._write_ahead()
            self._db.execute("BEGIN IMMEDIATE")
            if not self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                self._db.execute(
                    "CREATE TABLE results (key TEXT PRIMARY KEY, result TEXT, layers BLOB, error TEXT) WITHOUT ROWID"
                )
                self._db.execute(f"PRAGMA application_id={_APPLICATION}")
                self._db.execute(f"PRAGMA user_version={FORMAT}")
            self._db.execute("COMMIT")
        elif application != _APPLICATION:
            raise StoreError(f"{self.path}: is a database of another program; it was not changed")
        elif version != FORMAT:
            raise StoreError(
                f"{self.path}: is a store of version {version}, this hwsim has version {FORMAT}; it was not changed. "
                "Use the hwsim that wrote it, or another folder"
            )
        else:
            faults = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
            if faults != "ok":
                raise sqlite3.DatabaseError(faults)
        self._db.execute("PRAGMA synchronous=NORMAL")

    def _write_ahead(self) -> None:
        """Switch to WAL, with retries: SQLite does not wait if two runners switch at once."""
        end = time.monotonic() + _BUSY_S
        while True:
            try:
                self._db.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > end:
                    raise
            time.sleep(0.01)

    def _number(self, pragma: str) -> int:
        return int(self._db.execute(f"PRAGMA {pragma}").fetchone()[0])

    def _error(self, error: sqlite3.Error) -> StoreError:
        text = str(error)
        if "full" in text or "disk I/O" in text:
            return StoreError(
                f"{self.path}: cannot be written: {text}. Finished points are in the store. Free "
                "disk space and repeat the command"
            )
        if isinstance(error, sqlite3.OperationalError):
            return StoreError(f"{self.path}: cannot be used: {text}")
        return StoreError(f"{self.path}: is damaged ({text}); it was not changed. Move it away, or restore it")

    def lookup(self, digests: Sequence[str], layers: bool = False) -> dict[str, Outcome]:
        """Stored outcomes by digest; their numbers are not set."""
        outcomes: dict[str, Outcome] = {}
        column = "layers" if layers else "NULL"
        try:
            for start in range(0, len(digests), _QUERY_SIZE):
                keys = digests[start : start + _QUERY_SIZE]
                marks = ",".join("?" * len(keys))
                query = f"SELECT key, result, {column}, error FROM results WHERE key IN ({marks})"
                for key, result, data, error in self._db.execute(query, keys):
                    if (layers and data is None and error is None) or (error or "").startswith(DIED):
                        continue
                    rows = json.loads(zlib.decompress(data)) if data else None
                    outcomes[key] = Outcome(-1, json.loads(result) if result else None, rows, error)
        except sqlite3.Error as error:
            raise self._error(error) from None
        except (ValueError, zlib.error) as error:
            raise StoreError(f"{self.path}: is damaged ({error}); it was not changed") from None
        return outcomes

    def add(self, results: Iterable[tuple[str, Outcome]]) -> None:
        """Store results in one transaction; existing ones stay, unless the new one has layers or replaces a death."""
        rows = [(digest, *_pack(outcome)) for digest, outcome in results]
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.executemany(
                    "INSERT INTO results VALUES (?, ?, ?, ?) ON CONFLICT(key) DO UPDATE SET result=excluded.result, "
                    "layers=excluded.layers, error=excluded.error "
                    f"WHERE (layers IS NULL AND excluded.layers IS NOT NULL) OR error LIKE '{DIED}%'",
                    rows,
                )
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise self._error(error) from None

    def merge(self, other: Store) -> int:
        """Copy all results of another store; returns their number."""
        count = 0
        try:
            cursor = other._db.execute("SELECT key, result, layers, error FROM results ORDER BY key")
            while batch := cursor.fetchmany(_QUERY_SIZE):
                count += len(batch)
                outcomes = []
                for key, result, data, error in batch:
                    rows = json.loads(zlib.decompress(data)) if data else None
                    outcomes.append((key, Outcome(-1, json.loads(result) if result else None, rows, error)))
                self.add(outcomes)
        except sqlite3.Error as error:
            raise other._error(error) from None
        return count

    def __len__(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM results").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _pack(outcome: Outcome) -> tuple[Any, ...]:
    result = json.dumps(outcome.result, separators=(",", ":")) if outcome.result is not None else None
    rows = outcome.layers
    data = zlib.compress(json.dumps(rows, separators=(",", ":")).encode()) if rows is not None else None
    return result, data, outcome.error
