"""What a damaged store still has: results whose checksums hold, each read by its key."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from hwsim.sweeps.evaluation import Outcome
from hwsim.sweeps.record import outcome_of
from hwsim.sweeps.store import SELECT, TABLE, StoreError, connection

__all__ = ["salvage"]


def salvage(path: Path, digests: Iterable[str]) -> dict[str, Outcome]:
    """The sound results of a store under these digests; a damaged page costs what is on it. The file is not changed.

    Raises
    ------
    StoreError
        If the file has no table of results that can be read.
    """
    if not path.is_file():
        raise StoreError(f"{path}: must be a store of hwsim; there is no such file")
    outcomes = {}
    try:
        with closing(connection(path, "ro")) as db:
            db.execute("PRAGMA writable_schema=ON")  # read a schema whose other entries are damaged
            if (TABLE.encode(),) not in db.execute("SELECT sql FROM sqlite_master WHERE name = 'results'").fetchall():
                raise StoreError(
                    f"{path}: has no table of results as this hwsim writes them; nothing can be taken from it"
                )
            for digest in digests:
                if (outcome := _sound(db, digest)) is not None:
                    outcomes[digest] = outcome
    except (sqlite3.Error, UnicodeDecodeError):  # UnicodeDecodeError: a message of SQLite that quotes a damaged schema
        raise StoreError(f"{path}: its header or its schema is damaged; nothing can be taken from it") from None
    return outcomes


def _sound(db: sqlite3.Connection, digest: str) -> Outcome | None:
    try:
        row = db.execute(f"{SELECT} WHERE key = ?", (digest,)).fetchone()
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        return None  # on a damaged page
    return None if row is None or row[0] != digest.encode() else outcome_of(row)
