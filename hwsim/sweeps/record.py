"""A result as a row of the store: its columns, and the checksum that a row must have to be used."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Sequence
from typing import Any

from hwsim.sweeps.evaluation import Outcome
from hwsim.sweeps.totals import TOTALS, WORDS

__all__ = ["COLUMNS", "is_whole", "outcome_of", "row_of"]

COLUMNS = ("key", "result", "layers", "error", "checksum")
"""Columns of the store."""

_MAX_LAYER_BYTES = 2**28
"""Layers of a point as JSON; those of the largest network take a fortieth of it."""


def _checksum(parts: Sequence[bytes | None]) -> bytes:
    """Digest of the columns of a row; no column can pass for a part of its neighbor."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(b"-" if part is None else b"%d:%b" % (len(part), part))
    return digest.digest()


def row_of(key: str, outcome: Outcome) -> tuple[Any, ...]:
    """The row of a result: `COLUMNS`."""
    result = json.dumps(outcome.result, separators=(",", ":")) if outcome.result is not None else None
    rows = outcome.layers
    layers = zlib.compress(json.dumps(rows, separators=(",", ":")).encode()) if rows is not None else None
    error = outcome.error.encode("utf-8", "backslashreplace").decode() if outcome.error is not None else None
    texts = [None if text is None else text.encode() for text in (key, result, error)]
    return key, result, layers, error, _checksum((texts[0], texts[1], layers, texts[2]))


def is_whole(row: Sequence[Any]) -> bool:
    """Whether the checksum of a row, whose texts are bytes, holds."""
    *parts, checksum = row
    return all(part is None or isinstance(part, bytes) for part in parts) and checksum == _checksum(parts)


def outcome_of(row: Sequence[Any]) -> Outcome | None:
    """The result of a row whose texts are bytes, without its number; None unless checksum and schema hold."""
    if not is_whole(row):
        return None
    _, result, layers, error, _ = row
    try:
        totals = json.loads(result.decode()) if result is not None else None
        rows = json.loads(_inflated(layers)) if layers is not None else None
        text = error.decode() if error is not None else None
    except (ValueError, zlib.error, RecursionError):
        return None
    if (totals is None) is (text is None) or not (totals is None or _are_totals(totals)):
        return None
    return Outcome(-1, totals, rows, text) if rows is None or _are_layers(rows) else None


def _inflated(data: bytes) -> bytes:
    inflater = zlib.decompressobj()
    text = inflater.decompress(data, _MAX_LAYER_BYTES)
    if not inflater.eof:
        raise ValueError("too long, or cut short")
    return text


def _are_totals(totals: object) -> bool:
    """Whether the totals of a point have every column, each of its type."""
    if not (isinstance(totals, dict) and set(TOTALS) <= totals.keys() and isinstance(totals["fits"], bool)):
        return False
    for name, value in totals.items():
        types = (str,) if name in WORDS else (int, float)
        if name != "fits" and value is not None and (not isinstance(value, types) or isinstance(value, bool)):
            return False
    return True


def _are_layers(rows: object) -> bool:
    return isinstance(rows, list) and all(isinstance(row, dict) and isinstance(row.get("layer"), str) for row in rows)
