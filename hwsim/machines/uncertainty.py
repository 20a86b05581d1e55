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
from itertools import combinations
from typing import Any, Literal

from hwsim.fields import Spec
from hwsim.machines.base import Machine, NetworkPlan
from hwsim.machines.loader import load_machine, machine_folder
from hwsim.machines.nearness import Conditions, Level, class_of, shares
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
MATTERS = 0.1
"""The share of the time from which on a number format matters."""
_WITHOUT, _COUNTED = "without ", ("threads", "streams")
_FACTS = ("threads", "streams", "kernels", "part", "use", "format", "machine", "core", "generation", "library")
"""What a run is told by, in the order in which it is the reason that nothing like it was measured."""
_NAMED = ("machine", "core", "generation", "library", "format")


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
            if level.measured and "layers" in run:  # rows of other classes of layers say nothing of these
                continue
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
            return ExpectedError(FLOOR, 2 * FLOOR, 0, False, self._reason(run, quantity))
        if level.measured:
            scale = self._scale(level, quantity, rows)
            one, two = (math.expm1(scale * factor) for factor in self._factors(level, quantity))
            return ExpectedError(one, two, round(math.fsum(row.values for row in rows)), True, level.words)
        sizes = sorted(abs(row.errors[level.apart]) for row in rows)
        one, two = (math.expm1(_quantile(sizes, claim)) for claim in CLAIMS)
        return ExpectedError(max(one, FLOOR), max(two, 2 * FLOOR), 0, False, self._reason(run, quantity))

    def _reason(self, run: Conditions, quantity: str) -> str:
        """The fewest facts of a run that no measured value shares, and in which of the others there are some."""
        measured = [row for row in self.rows if row.quantity == quantity]
        asked = {
            key for level in self.levels.get(quantity, ()) if level.measured for key in (*level.same, *level.between)
        }
        asked -= {"machine"} if asked & {"core", "generation"} else set()
        facts = [key for key in _FACTS if key in run and key in asked]
        strange = ["layers"] if "layers" in run else []
        if quantity != "latency" or not facts:
            return f"{quantity} of {_machine(run)}"
        for size in range(len(facts) + 1):
            for without in combinations(facts, size):
                same = [key for key in facts if key not in without]
                rows = [row for row in measured if all(_same(row, key, run) for key in same if key not in _COUNTED)]
                if rows and same and all(_within(rows, key, run[key]) for key in same if key in _COUNTED):
                    missing = [*without, *strange] or ["machine"]
                    return _worded(run, missing, [key for key in _NAMED if key in same and key not in missing])
        return _worded(run, [*(key for key in facts if key in _NAMED), *strange], [])

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


def _same(row: Residual, key: str, run: Conditions) -> bool:
    return row.conditions.get(key) == str(run[key])


def _machine(run: Conditions) -> str:
    name, *changes = str(run["machine"]).split(", ")
    keys = [change for change in changes if "=" in change]
    changed = keys[0] if len(changes) == 1 else f"{len(keys)} other keys"
    return f"{name} with {changed}" if changes else name


def _word(run: Conditions, key: str) -> str:
    """A fact of a run in words."""
    value = run[key]
    if key == "machine":
        return _machine(run)
    if key == "kernels":
        return f"{value} kernels"
    if key == "part":
        return f"a single {value}" if value != "network" else "whole networks"
    return format_count(int(value), key.removesuffix("s")) if key in _COUNTED else str(value)


def _worded(run: Conditions, missing: Sequence[str], measured: Sequence[str]) -> str:
    """What was not measured, and what of the run was: ``128 threads (zen5, onnxruntime-1.31, int8 were)``."""
    words = ", ".join(_word(run, key) for key in missing)
    known = ", ".join(_word(run, key) for key in measured)
    return f"{words} ({known} {'was' if len(measured) == 1 else 'were'})" if known else words


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


def conditions_of(plan: NetworkPlan, seconds: Sequence[float]) -> list[dict[str, str | int]]:
    """What a plan runs, for each number format that matters: the machine if hwsim has it, and what its kind adds.

    Keys that are set to something else than the file has make another machine of it, but for those that the kind has
    among its conditions.

    Parameters
    ----------
    plan : NetworkPlan
    seconds : sequence of float
        The time of each layer. A format matters if a tenth of the time of layers with MACs is spent in it. The one of
        most time is first.
    """
    machine, layers = plan.machine, plan.layers
    own = machine.folder != machine_folder()
    changes = _changes(machine, own)
    name = ", ".join(["your own machine" if own else machine.name, *changes])
    timed = list(zip(layers, seconds, strict=True))
    timed = [(layer, time) for layer, time in timed if layer.macs] or timed
    formats = shares((machine.format_of(layer) for layer, _ in timed), (time for _, time in timed))
    first, *others = formats
    classes = shares(map(class_of, layers), seconds)
    strange = {kind: share for kind, share in classes.items() if kind not in machine.measured_layers}
    layer_class = {"layers": next(iter(strange))} if sum(strange.values()) > 0.5 else {}
    matter = [first, *(one for one in others if formats[one] >= MATTERS)]
    conditions: list[dict[str, str | int]] = []
    for one in matter:
        # With other keys it is another machine than the one that was calibrated.
        changed = {"machine": name} if changes else {}
        conditions.append({"machine": name, **machine.conditions(plan, one), **changed, **layer_class})
    return conditions


def _changes(machine: Machine, own: bool) -> list[str]:
    """Keys that were set to another value than the machine's file has."""
    document = machine.document
    paths = [path for path, mark in document.marks.items() if mark.startswith("--set")]
    keys = {".".join(map(str, path)): path for path in paths}
    other = sorted(key for key in keys if not any(f"{key}.".startswith(f"{run}.") for run in machine.run_keys))
    if other and not own:
        spec = _unchanged(document.name).spec
        other = [key for key in other if _at(machine.spec, keys[key]) != _at(spec, keys[key])]
    return [f"{key}={_at(document.data, keys[key])}" for key in other]


@cache
def _unchanged(path: str) -> Machine:
    """A machine that comes with hwsim, as its file has it."""
    return load_machine(path)


def _at(data: Any, path: Sequence[str | int]) -> Any:
    for part in path:
        try:
            data = getattr(data, str(part), None) if isinstance(data, Spec) else data[part]
        except (LookupError, TypeError):
            return None
    return data


@lru_cache(maxsize=4096)
def _expected(kind: type[Machine], run: tuple[tuple[str, str | int], ...], quantity: str) -> ExpectedError:
    return residuals_of(kind).expected(dict(run), quantity)


def expected_error(plan: NetworkPlan, quantity: Quantity, seconds: Sequence[float]) -> ExpectedError:
    """The error to expect of the latency or the energy of a plan: the worst of its formats; `seconds` of each layer."""
    runs = conditions_of(plan, seconds)
    errors = [_expected(type(plan.machine), tuple(run.items()), quantity) for run in runs]
    return max(errors, key=lambda error: (not error.measured, error.error))
