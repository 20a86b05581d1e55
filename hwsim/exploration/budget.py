"""Default budget and sampler of an exploration."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

from hwsim.errors import HwsimError, InputError, excerpt
from hwsim.exploration.grid import Grid
from hwsim.files import read_text, write_text
from hwsim.sweeps.runner import Runner

__all__ = ["points_of", "sampler_and_points"]

_SAMPLE = 5
_SHARE, _FEWEST, _MOST = 0.1, 100, 5000
_CHOICE = "exploration.json"


def points_of(text: int | str | None, size: int) -> int | None:
    """Points of a budget, a number or a share as ``10%``; raises InputError if invalid."""
    if text is None:
        return None
    amount = str(text).strip()
    try:
        value = float(amount.removesuffix("%")) / 100 * size if amount.endswith("%") else int(amount)
    except ValueError:
        value = math.nan
    if isinstance(text, bool) or not (math.isfinite(value) and value > 0):
        raise InputError(
            f"a budget must be a number of points above zero, or a share such as '10%', not {excerpt(text, 40)}"
        )
    return min(max(1, math.ceil(value)), size)


def sampler_and_points(
    runner: Runner, grid: Grid, sampler: str, points: int | None, size: int, folder: Path | None,
    question: dict[str, Any], affordable_s: float,
) -> tuple[str, int]:  # fmt: skip
    """The sampler and the budget. A choice by measured time is saved for resumed runs."""
    if sampler == "exhaustive":
        if grid.all_points is None:
            raise InputError(f"--sampler exhaustive must have at most 100,000 points, not {size:,}; give a budget")
        return sampler, points or size
    if points is not None:
        return ("exhaustive" if sampler == "auto" and points >= size else sampler.replace("auto", "model")), points
    share = min(size, max(_FEWEST, min(_MOST, math.ceil(_SHARE * size))))
    if sampler != "auto":
        return sampler, share
    path = folder / _CHOICE if folder is not None else None
    record = None
    if path is not None and path.is_file():
        try:
            record = json.loads(read_text(path))
        except (HwsimError, ValueError):
            record = None
    if (
        isinstance(record, dict)
        and record.get("question") == question
        and record.get("chosen") in ("exhaustive", "model")
    ):
        exhaustive = record["chosen"] == "exhaustive"
    else:
        exhaustive = grid.all_points is not None and _seconds(runner, grid.all_points.tolist()) <= affordable_s
        if path is not None:
            choice = "exhaustive" if exhaustive else "model"
            write_text(path, json.dumps({"question": question, "chosen": choice}))
    return ("exhaustive", size) if exhaustive else ("model", share)


def _seconds(runner: Runner, numbers: list[int]) -> float:
    """Estimated time of all points, from a sample."""
    some = numbers[:: max(1, len(numbers) // _SAMPLE)][:_SAMPLE]
    runner.evaluator.outcome(some[0])  # the first one includes imports
    start = time.perf_counter()
    for number in some:
        runner.evaluator.outcome(number)
    return (time.perf_counter() - start) / len(some) * len(numbers) / runner.workers
