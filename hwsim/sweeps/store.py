"""The store: one SQLite file of finished points, safe against kills and concurrent sweeps."""

from __future__ import annotations

import sqlite3
import stat
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from hwsim.errors import HwsimError, HwsimWarning
from hwsim.files import keep
from hwsim.message import Message
from hwsim.sweeps.evaluation import Outcome
from hwsim.sweeps.record import COLUMNS, is_whole, outcome_of, row_of

__all__ = ["DIED", "FORMAT", "SELECT", "TABLE", "Store", "StoreError", "connection"]

FORMAT = 2
"""Version of the tables below."""

_APPLICATION = 0x68777331  # "hws1" in the file's header
_BUSY_S = 60.0
_QUERY_SIZE = 500
_PAGE_BYTES = 2**14
"""Of a new store: a quarter holds the longest row without a page of its own, and a result has 1 kB of totals."""
TABLE = "CREATE TABLE results (key TEXT PRIMARY KEY, result TEXT, layers BLOB, error TEXT, checksum BLOB) WITHOUT ROWID"
SELECT = f"SELECT {', '.join(COLUMNS)} FROM results"
_BESIDE = ("-wal", "-shm", "-journal")
_NO_STORE = "is not a store of hwsim, or its header is damaged; it was not changed"
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

    Warns
    -----
    HwsimWarning
        How many rows fail their checksum: they are not used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rejected: set[object] = set()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists() and not stat.S_ISREG(path.stat().st_mode):
                raise StoreError(f"{path}: must be a file, not a directory, a pipe or a device")
        except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise StoreError(f"{str(path.parent)!r}: cannot be made: {reason}") from None
        try:
            self._db = self._open()
        except sqlite3.Error as error:
            raise self._error(error) from None
        except UnicodeDecodeError:  # a message of SQLite that quotes a damaged schema
            raise self._error(sqlite3.DatabaseError("malformed database schema")) from None

    def _open(self) -> sqlite3.Connection:
        """A connection to the store, which is new if the file is missing or empty."""
        checked = False
        if self.path.exists():
            # Without the right to write: the last connection that has it moves the log into the file when it closes.
            with suppress(sqlite3.OperationalError), closing(connection(self.path, "ro")) as db:
                checked = self._check(db)
        db = connection(self.path, "rwc")
        try:
            if not checked and not self._check(db):
                db.execute(f"PRAGMA page_size={_PAGE_BYTES}")
                self._write_ahead(db)
                db.execute("BEGIN IMMEDIATE")
                if not _tables(db):
                    db.execute(TABLE)
                    db.execute(f"PRAGMA application_id={_APPLICATION}")
                    db.execute(f"PRAGMA user_version={FORMAT}")
                db.execute("COMMIT")
            db.execute("PRAGMA synchronous=NORMAL")
        except BaseException:
            db.close()
            raise
        return db

    def _check(self, db: sqlite3.Connection) -> bool:
        """Check header, schema, structure and rows; false for a database without anything."""
        db.execute("BEGIN")  # one transaction for all three: another runner may be creating the table
        application, version = (
            int(db.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("application_id", "user_version")
        )
        tables = _tables(db)
        db.execute("COMMIT")
        if not tables and not application:
            return False
        if application != _APPLICATION:
            raise StoreError(f"{self.path}: is a database of another program; it was not changed")
        if version != FORMAT:
            raise StoreError(
                f"{self.path}: is a store of version {version}, this hwsim has version {FORMAT}; it was not changed. "
                "Its results are of another model and would not be used: name another folder, or move the store away"
            )
        if tables != [TABLE.encode()]:
            raise sqlite3.DatabaseError("its tables are not those of a store")
        if (fault := db.execute("PRAGMA integrity_check(1)").fetchone()[0]) != b"ok":
            raise sqlite3.DatabaseError(" ".join(fault.decode(errors="replace").split())[:200])
        self._reject(row[0] for row in db.execute(f"{SELECT} ORDER BY key") if not is_whole(row))
        return True

    def _reject(self, keys: Iterable[object]) -> None:
        """Tell how many more rows are not used."""
        if keys := set(keys) - self._rejected:
            self._rejected |= keys
            template = (
                "{path}: {count:count result} not used, as the checksum is wrong (the file was damaged or edited); "
                "what this sweep needs is simulated again"
            )
            message = Message("store.checksum", template, {"path": str(self.path), "count": len(keys)}, "warning")
            warnings.warn(str(message), HwsimWarning, stacklevel=2)

    def _write_ahead(self, db: sqlite3.Connection) -> None:
        """Switch to WAL, with retries: SQLite does not wait if two runners switch at once."""
        end = time.monotonic() + _BUSY_S
        while True:
            try:
                db.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > end:
                    raise
            time.sleep(0.01)

    def _error(self, error: sqlite3.Error) -> StoreError:
        text = str(error)
        if "full" in text or "disk I/O" in text:
            return StoreError(
                f"{self.path}: cannot be written: {text}. Finished points are in the store. Free "
                "disk space and repeat the command"
            )
        if "not a database" in text:
            return StoreError(f"{self.path}: {_NO_STORE}")
        if isinstance(error, sqlite3.OperationalError):
            return StoreError(f"{self.path}: cannot be used: {text}")
        return StoreError(
            f"{self.path}: is damaged ({text}); it was not changed. Move it away and repeat the command with --salvage "
            "and its new name: results whose checksums hold are kept"
        )

    def _rows(self, keys: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        for start in range(0, len(keys), _QUERY_SIZE):
            some = keys[start : start + _QUERY_SIZE]
            yield from self._db.execute(f"{SELECT} WHERE key IN ({','.join('?' * len(some))})", some)

    def lookup(self, digests: Sequence[str], layers: bool = False) -> dict[str, Outcome]:
        """Stored outcomes by digest; their numbers are not set."""
        outcomes: dict[str, Outcome] = {}
        rejected = set()
        try:
            for row in self._rows(digests):
                if (outcome := outcome_of(row)) is None:
                    rejected.add(row[0])
                elif outcome.error is None and (outcome.layers is not None or not layers):
                    outcomes[row[0].decode()] = outcome if layers else replace(outcome, layers=None)
                elif outcome.error is not None and not outcome.error.startswith(DIED):
                    outcomes[row[0].decode()] = outcome
        except sqlite3.Error as error:
            raise self._error(error) from None
        self._reject(rejected)
        return outcomes

    def add(self, results: Iterable[tuple[str, Outcome]]) -> None:
        """Store results in one transaction.

        An existing result stays, unless its checksum is wrong, its worker died, or the new one has layers and it has
        none.
        """
        new = dict(results)
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                for row in self._rows(list(new)):
                    old = outcome_of(row)
                    key = row[0].decode()
                    if old is not None and not (
                        (old.error or "").startswith(DIED) or (old.layers is None and new[key].layers is not None)
                    ):
                        del new[key]
                self._db.executemany(
                    f"INSERT OR REPLACE INTO results VALUES ({','.join('?' * len(COLUMNS))})",
                    (row_of(key, outcome) for key, outcome in new.items()),
                )
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise self._error(error) from None

    def merge(self, other: Store) -> int:
        """Copy the results of another store whose checksums hold; returns their number."""
        count = 0
        try:
            cursor = other._db.execute(f"{SELECT} ORDER BY key")
            while batch := cursor.fetchmany(_QUERY_SIZE):
                whole = [(row[0].decode(), outcome) for row in batch if (outcome := outcome_of(row)) is not None]
                count += len(whole)
                self.add(whole)
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


def connection(path: Path, mode: str) -> sqlite3.Connection:
    """Open a store, which is not believed: texts come as bytes, and no function runs that its schema names.

    No output of this process is written in its place, or in that of the files that SQLite has beside it.
    """
    address = f"{path.absolute().as_uri()}?mode={mode}"
    db = sqlite3.connect(address, timeout=_BUSY_S, isolation_level=None, uri=True)
    db.text_factory = bytes  # a damaged text is no UTF-8
    db.execute("PRAGMA trusted_schema=OFF")
    keep(path, beside=_BESIDE)
    return db


def _tables(db: sqlite3.Connection) -> list[object]:
    return [sql for (sql,) in db.execute("SELECT sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_stat%'")]
