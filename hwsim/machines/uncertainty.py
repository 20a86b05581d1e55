"""How far off a prediction is expected to be: by the errors of what was measured nearest to the run.

Each kind of machine has a table of residuals in its folder: the logarithm of measured over predicted for every measured
value, from a fit that leaves out the row's network, machine, core or library. docs/uncertainty.md explains the rule.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import Literal

from hwsim.machines.base import Machine, NetworkPlan
from hwsim.machines.loader import machine_folder
from hwsim.machines.nearness import Conditions, Level
from hwsim.units import format_count

__all__ = ["ExpectedError", "Quantity", "Residual", "Residuals", "conditions_of", "expected_error", "residuals_of"]

Quantity = Literal["latency", "energy"]

FEWEST = 3
"""Rows of a kind below which a degree of nearness has no spread."""
FLOOR = 0.4
"""The least that is said of what was not measured: the error of two thirds of the rows of other software and cores."""
PRIOR = 4
"""The spread of all rows of a kind counts as much as this many rows near the run."""
CLAIMS = (0.68, 0.95)
_WITHOUT, _COUNTED = "without ", ("threads", "streams")


@dataclass(frozen=True, slots=True)
class ExpectedError:
    """How far predicted and measured values are expected to differ, as the larger over the smaller, less one.

    Attributes
    ----------
    error, error_95 : float
        What 68 and 95 of 100 measurements are expected to be within.
    rows : int
        Measured values near the run.
    measured : bool
        Whether anything was measured near the run; if not, the errors are the least to expect.
    words : str
        Which rows these are, or what was not measured.
    """

    error: float
    error_95: float
    rows: int
    measured: bool
    words: str


@dataclass(frozen=True, slots=True)
class Residual:
    """What was run, and log(measured / predicted) by what was left out; it may stand for many measured values."""

    quantity: str
    conditions: dict[str, str]
    errors: dict[str, float]
    values: float = 1.0


class Residuals:
    """Measured rows of one kind of machine, and what they say of a run.

    Parameters
    ----------
    rows : sequence of Residual
    levels : mapping of str to sequence of Level
        Degrees of nearness of each quantity, the nearest first.
    """

    def __init__(self, rows: Sequence[Residual], levels: Mapping[str, Sequence[Level]]) -> None:
        self.rows, self.levels = tuple(rows), levels

    def without(self, key: str, value: str) -> Residuals:
        """The same without the rows of one machine, core, network, ..."""
        return Residuals([row for row in self.rows if row.conditions.get(key) != value], self.levels)

    def near(self, run: Conditions, quantity: str) -> tuple[Level | None, list[Residual]]:
        """The first degree that has rows for a run, and these rows."""
        for level in self.levels.get(quantity, ()):
            usable = self._usable(level, quantity, level.pooled)
            if len(usable) < FEWEST:  # no spread can be told from them
                continue
            rows = [row for row in usable if _alike(row, run, level)]
            if rows and all(_within(rows, key, run.get(key)) for key in level.between):
                return level, rows
        return None, []

    def expected(self, run: Conditions, quantity: str) -> ExpectedError:
        """The error to expect of a run's latency, power or energy."""
        level, rows = self.near(run, quantity)
        if level is None and quantity == "energy":
            return _product(self.expected(run, "latency"), self.expected(run, "power"))
        if level is None:
            return ExpectedError(FLOOR, 2 * FLOOR, 0, False, _listed(run))
        if level.measured:
            scale = self._scale(level, quantity, rows)
            one, two = (math.expm1(scale * factor) for factor in self._factors(level, quantity))
            return ExpectedError(one, two, round(math.fsum(row.values for row in rows)), True, level.words)
        sizes = sorted(abs(row.errors[level.apart]) for row in rows)
        one, two = (math.expm1(_quantile(sizes, claim)) for claim in CLAIMS)
        return ExpectedError(max(one, FLOOR), max(two, 2 * FLOOR), 0, False, _listed(run))

    def _usable(self, level: Level, quantity: str, every: bool = False) -> list[Residual]:
        return [row for row in self.rows if row.quantity == quantity and (every or level.apart in row.errors)]

    @cached_property
    def _means(self) -> dict[tuple[Level, str], float]:
        return {
            (level, quantity): _mean(abs(row.errors[level.apart]) for row in self._usable(level, quantity))
            for quantity, levels in self.levels.items()
            for level in levels
        }

    def _scale(self, level: Level, quantity: str, rows: Sequence[Residual]) -> float:
        """The mean size of the errors of rows near a run, drawn towards that of all rows of the kind."""
        sizes = [abs(row.errors[level.apart]) for row in rows if level.apart in row.errors]
        return (PRIOR * self._means[level, quantity] + math.fsum(sizes)) / (PRIOR + len(sizes))

    def _factors(self, level: Level, quantity: str) -> tuple[float, ...]:
        """How many times that mean size 68 and 95 of 100 errors are within, over all rows of the kind.

        Each row is held against the others near it, without those of its own network, machine, ...
        """
        key = (level, quantity)
        if key not in self._sizes:
            groups: dict[tuple[str, ...], list[Residual]] = {}
            for row in self._usable(level, quantity):
                groups.setdefault(tuple(row.conditions[name] for name in level.same), []).append(row)
            sizes = []
            for rows in groups.values():
                for row in rows:
                    own = row.conditions[level.apart]
                    others = [other for other in rows if other.conditions[level.apart] != own]
                    sizes.append(abs(row.errors[level.apart]) / (self._scale(level, quantity, others) or 1e-9))
            self._sizes[key] = tuple(_quantile(sorted(sizes), claim) for claim in CLAIMS)
        return self._sizes[key]

    @cached_property
    def _sizes(self) -> dict[tuple[Level, str], tuple[float, ...]]:
        return {}


def _product(time: ExpectedError, power: ExpectedError) -> ExpectedError:
    """The error of a product of two that are independent."""
    one, two = math.hypot(time.error, power.error), math.hypot(time.error_95, power.error_95)
    worse = time if not time.measured else power
    rows = min(time.rows, power.rows)
    return ExpectedError(one, two, rows, time.measured and power.measured, worse.words)


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return math.fsum(listed) / len(listed) if listed else 0.0


def _quantile(values: Sequence[float], share: float) -> float:
    """What a further value is within with this probability; a little beyond the largest where there are too few."""
    place = math.ceil((len(values) + 1) * share) - 1
    if place < len(values):
        return values[place]
    return values[-1] * (1 + 1 / len(values))


def _alike(row: Residual, run: Conditions, level: Level) -> bool:
    return all(key in run and row.conditions.get(key) == str(run[key]) for key in level.same)


def _within(rows: Sequence[Residual], key: str, value: str | int | None) -> bool:
    numbers = [float(row.conditions[key]) for row in rows]
    return bool(numbers) and value is not None and min(numbers) <= float(value) <= max(numbers)


def _listed(run: Conditions) -> str:
    """What was run, in the words of its conditions."""
    words = [str(run[key]) for key in ("core", "generation", "library", "format") if key in run]
    words += ["short kernels"] if run.get("kernels") == "short" else []
    words += [format_count(n, key.removesuffix("s")) for key in _COUNTED if (n := int(run.get(key, 0))) > 1]
    name, changed, _ = str(run["machine"]).partition(",")
    return ", ".join(words or [f"{name} with other keys" if changed else name])


@cache
def residuals_of(kind: type[Machine]) -> Residuals:
    """The table of residuals of a kind."""
    rows = []
    if kind.residuals is not None:
        with kind.residuals.open(encoding="utf-8", newline="") as file:
            for line in csv.DictReader(text for text in file if not text.startswith("#")):
                errors = {key.removeprefix(_WITHOUT): float(value) for key, value in line.items()
                          if key.startswith(_WITHOUT) and value}  # fmt: skip
                named = {key: value for key, value in line.items() if not key.startswith(_WITHOUT)}
                values = float(named.pop("values", "") or 1)
                rows.append(Residual(named.pop("quantity"), named, errors, values))
    return Residuals(rows, kind.nearness)


def conditions_of(plan: NetworkPlan) -> dict[str, str | int]:
    """What a plan runs: the machine where it is one of those that come with hwsim, and what its kind adds.

    Keys that are set make another machine of it, but for those that the kind has among its conditions.
    """
    machine, document = plan.machine, plan.machine.document
    changes = [".".join(map(str, path)) for path, mark in document.marks.items() if mark.startswith("--set")]
    other = sorted(key for key in changes if not any(f"{key}.".startswith(f"{run}.") for run in machine.run_keys))
    name = machine.name if machine.folder == machine_folder() else "your own machine"
    values = [f"{key}={_value(document.data, key)}" for key in other]
    return {"machine": ", ".join([name, *values]), **machine.conditions(plan)}


def _value(data: object, key: str) -> object:
    for part in key.split("."):
        data = data.get(part) if isinstance(data, dict) else None
    return data


@lru_cache(maxsize=4096)
def _expected(kind: type[Machine], run: tuple[tuple[str, str | int], ...], quantity: str) -> ExpectedError:
    return residuals_of(kind).expected(dict(run), quantity)


def expected_error(plan: NetworkPlan, quantity: Quantity) -> ExpectedError:
    """The error to expect of the latency or the energy of a plan."""
    return _expected(type(plan.machine), tuple(conditions_of(plan).items()), quantity)
