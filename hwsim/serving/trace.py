"""Arrivals of requests of a language model, with their tokens, from a file or from numbers."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from hwsim.errors import Fault, InputError, excerpt
from hwsim.files import read_text
from hwsim.requests.arrivals import Ticks, trace_of
from hwsim.serving.batching import Lengths
from hwsim.workload.transformer.network import MAX_TOKENS

__all__ = ["MOST_REQUESTS", "read_token_trace", "token_trace"]

MOST_REQUESTS = 200_000
_MOST_BYTES = 64 * 2**20
_HEADS = ("arrival_s", "time_s", "s")


def token_trace(trace: object) -> tuple[Ticks, Lengths | None]:
    if isinstance(trace, str | Path):
        return read_token_trace(trace)
    try:
        return trace_of(np.asarray(trace, dtype=np.float64)), None
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"a trace must be a file or numbers of seconds, not {excerpt(trace)}") from None


def read_token_trace(path: str | Path) -> tuple[Ticks, Lengths | None]:
    """Arrivals of a CSV file in seconds, and tokens in and out where it has a second and a third column."""
    rows, faults = list[tuple[float, ...]](), []
    for number, line in enumerate(read_text(Path(path), _MOST_BYTES).splitlines(), 1):
        cells = [cell.strip().strip('"') for cell in line.split(",")]
        if not cells[0] or (number == 1 and cells[0] in _HEADS):
            continue
        where = f"{path}:{number}"
        time = _number(cells[0])
        if not 0 <= time < math.inf:
            faults.append(Fault(where, "", f"must be a time of at least 0 s, not {excerpt(cells[0])}"))
        tokens = [_number(cell) for cell in cells[1:3]]
        for cell, value in zip(cells[1:3], tokens):
            if not (1 <= value <= MAX_TOKENS and value == int(value)):
                faults.append(Fault(where, "", f"must be a number of tokens from 1 on, not {excerpt(cell)}"))
        if rows and len(rows[0]) != 1 + len(tokens):
            faults.append(Fault(where, "", f"must have {len(rows[0])} columns as the first row"))
        rows.append((time, *tokens))
    if faults:
        raise InputError(faults[:20])
    if len(rows) > MOST_REQUESTS:
        raise InputError(f"must have at most {MOST_REQUESTS:,} arrivals, not {len(rows):,}", str(path))
    table = np.array(rows or np.empty((0, 1)))
    times = trace_of(table[:, 0], str(path))
    if table.shape[1] == 2:
        raise InputError("must have tokens in and out, or arrivals alone", str(path))
    return times, None if table.shape[1] < 3 else Lengths(table[:, 1].astype(np.int64), table[:, 2].astype(np.int64))


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan
