"""An exploration: which points are simulated, what the front is, and how it came about."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import HwsimError, InputError, nearest
from hwsim.exploration.bounds import Bounds
from hwsim.exploration.front import dominated, front, hypervolume
from hwsim.exploration.grid import Grid
from hwsim.exploration.objectives import EXACT, Objective, read_objectives, scaled
from hwsim.exploration.samplers import (
    SAMPLERS,
    Exhaustive,
    ModelSampler,
    OptunaSampler,
    RandomSampler,
    Sampler,
)
from hwsim.exploration.sensitivity import sensitivity
from hwsim.sweeps.evaluation import Outcome
from hwsim.sweeps.results import Results, frame_of, write_csv
from hwsim.sweeps.runner import Runner
from hwsim.sweeps.space import Space, read_space

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["AFFORDABLE_S", "Exploration", "explore"]

AFFORDABLE_S = 60.0
"""An exploration without a budget simulates every point of a space that takes no longer than this."""

BATCH = 16
"""Points asked for at a time, whatever the number of workers: what is asked must not depend on who works."""

_SAMPLE = 5
_SHARE, _FEWEST, _MOST = 0.1, 100, 5000
_STEPS = 40
_CHOICE = "exploration.json"

Source = str | Path | Mapping[str, Any]
Tell = Callable[[int, int, int], None]
"""Hears how many points are simulated, how many may be, and how many are on the front."""


@dataclass
class Exploration:
    """What came of an exploration.

    Attributes
    ----------
    space : Space
    objectives : tuple of Objective
    sampler : str
        That was used: ``exhaustive``, ``model``, ``nsga2``, ``tpe`` or ``random``.
    budget : int
        Points that could be simulated.
    outcomes : list of Outcome
        Of the simulated points, in the order in which they were asked for.
    pruned : int
        Points that were considered and left out, since their lower bounds are dominated by simulated points.
    broken : int
        Points left out because what is known of them beforehand (parameters, area, cost) breaks a constraint.
    """

    space: Space
    objectives: tuple[Objective, ...]
    sampler: str
    budget: int
    seed: int
    results: Results
    grid: Grid
    outcomes: list[Outcome] = field(default_factory=list)
    pruned: int = 0
    broken: int = 0
    complete: bool = False

    @cached_property
    def costs(self) -> NDArray[np.float64]:
        """What is minimised at each simulated point, shape (points, objectives); NaN where it is not feasible."""
        rows = [
            [objective.cost(outcome.result) for objective in self.objectives]
            if outcome.result is not None and self.results.feasible(outcome)
            else [math.nan] * len(self.objectives)
            for outcome in self.outcomes
        ]
        return np.array(rows, dtype=float).reshape(len(self.outcomes), len(self.objectives))

    @property
    def feasible(self) -> NDArray[np.bool_]:
        """Which of the simulated points are feasible."""
        return np.asarray([not any(map(math.isnan, row)) for row in self.costs.tolist()], dtype=bool)

    @cached_property
    def front_numbers(self) -> list[int]:
        """Numbers of the points of the front, the best in the first objective first."""
        places = np.flatnonzero(front(self.costs))
        order = sorted(places, key=lambda place: (*self.costs[place], self.outcomes[place].number))
        return [self.outcomes[place].number for place in order]

    @property
    def front(self) -> pd.DataFrame:
        """The points that no other simulated one beats, the best in the first objective first."""
        found = self.frame.set_index("point").loc[self.front_numbers]
        return found.reset_index()

    @cached_property
    def frame(self) -> pd.DataFrame:
        """Every simulated point, a row each, in the order of the space."""
        return frame_of(self.results, self.outcomes)

    @cached_property
    def volumes(self) -> list[tuple[int, float]]:
        """Share of the final hypervolume after so many simulated points.

        The volume is that of the logarithms of the objectives (the values themselves, where they are not of one sign)
        up to the worst of each among the feasible points that were simulated: a factor counts alike everywhere.
        """
        feasible = self.feasible
        if not feasible.any():
            return []
        costs = scaled(self.costs)
        limit = costs[feasible].max(axis=0)
        span = limit - costs[feasible].min(axis=0)
        limit = limit + np.where(span > 0, span, 1.0) * 1e-3  # so that the worst in one objective counts in the others
        steps = sorted({round(step) for step in np.linspace(1, len(costs), min(_STEPS, len(costs)))})
        best = np.empty((0, costs.shape[1]))
        found, start = [], 0
        for step in steps:
            best = np.concatenate([best, costs[start:step][feasible[start:step]]])
            best = np.unique(best[front(best)], axis=0)
            start = step
            found.append((step, hypervolume(best, limit)))
        last = found[-1][1]
        return [(step, float(volume / last) if last else 0.0) for step, volume in found]

    @cached_property
    def sensitivity(self) -> dict[str, dict[str, float]]:
        """Objective -> parameter -> share of its variance that goes with the parameter (see `sensitivity`)."""
        feasible = self.feasible
        numbers = [outcome.number for outcome, kept in zip(self.outcomes, feasible) if kept]
        shares = sensitivity(self.grid, numbers, self.costs[feasible], self.seed)
        return {
            objective.column: dict(zip(self.grid.labels, map(float, row)))
            for objective, row in zip(self.objectives, shares)
        }

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on how it went."""
        failed = sum(outcome.result is None for outcome in self.outcomes)
        infeasible = int((~self.feasible).sum()) - failed
        size = len(self.grid.listed) if self.grid.listed is not None else self.space.size
        told = [f"{len(self.outcomes):,} of {size:,} points simulated, sampler {self.sampler}, seed {self.seed}"]
        if self.pruned:
            told.append(f"{self.pruned:,} left out: their lower bounds are dominated by the front")
        if self.broken:
            told.append(f"{self.broken:,} left out: their parameters, area or cost break a constraint")
        if failed:
            told.append(f"{failed:,} failed")
        if infeasible:
            told.append(f"{infeasible:,} do not fit or break a constraint")
        if self.complete:
            told.append("the front is complete: no other point of the space can be on it")
        return tuple(told)

    def to_json(self) -> str:
        """The front with how it was found, as JSON."""
        rows = json.loads(self.front.to_json(orient="records", double_precision=15))
        data = {
            "space": self.space.name,
            "objectives": [{"column": o.column, "maximise": o.maximise} for o in self.objectives],
            "sampler": self.sampler,
            "seed": self.seed,
            "budget": self.budget,
            "simulated": len(self.outcomes),
            "pruned": self.pruned,
            "complete": self.complete,
            "hypervolume": self.volumes,
            "sensitivity": self.sensitivity,
            "front": rows,
        }
        return json.dumps(data, indent=1) + "\n"

    def write(self, folder: Path) -> list[Path]:
        """Write the front as CSV and JSON, and all simulated points as CSV; returns the files."""
        from hwsim.sweeps.store import StoreError

        name = "".join("_" if char in "/\\" else char for char in self.space.name)
        files = [folder / f"{name}.front.csv", folder / f"{name}.front.json", folder / f"{name}.explored.csv"]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.front.to_csv(files[0], index=False, lineterminator="\n")
            files[1].write_text(self.to_json(), encoding="utf-8")
        except OSError as error:
            raise StoreError(f"{folder}: cannot be written: {error.strerror or error}") from None
        totals = self.results.totals(self.outcomes)
        write_csv(self.results.point_columns(totals), self.results.rows(self.outcomes, totals), files[2])
        return files

    def _drawn(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        varied = [parameter.name for parameter in self.space.parameters if len(parameter.values) > 1]
        place = {int(number): at for at, number in enumerate(self.frame["point"])}
        return (self.frame, varied, [o.column for o in self.objectives], self.space.name), {
            "front": [place[number] for number in self.front_numbers],
            "maximise": [o.column for o in self.objectives if o.maximise],
            "hypervolume": self.volumes,
            "sensitivity": self.sensitivity,
            "notes": self.notes,
        }

    def page(self) -> str:
        """The exploration as one self-contained page of HTML."""
        from hwsim.report.html import sweep_html

        arguments, options = self._drawn()
        return sweep_html(*arguments, **options)

    def _repr_html_(self) -> str:
        from hwsim.report.html import sweep_fragment

        arguments, options = self._drawn()
        return sweep_fragment(*arguments, **options)


class _Search:
    """Runs an exploration: asks the sampler, leaves out what bounds and constraints rule out, simulates, tells."""

    def __init__(self, found: Exploration, runner: Runner, sampler: Sampler, bounds: Bounds, tell: Tell) -> None:
        self.found, self.runner, self.sampler, self.bounds, self.tell = found, runner, sampler, bounds, tell
        self.best = np.empty((0, len(found.objectives)))
        self.ruled_out: set[int] = set()
        self.beforehand = [
            c for c in found.results.constraints if c.names <= {*found.results.names, *EXACT, *self._constants()}
        ]

    def _constants(self) -> set[str]:
        sources = [set(source.constants) for source in self.found.space.machines.values()]
        return set.intersection(*sources) if sources else set()

    def _breaks(self, number: int) -> bool:
        """Whether what is known of a point without simulating it breaks a constraint."""
        if not self.beforehand:
            return False
        space = self.found.space
        from hwsim.sweeps.expression import measure

        source = space.machines[space.point(number).machine]
        env: dict[str, Any] = {name: measure(value)[0] for name, value in source.constants.items()}
        env |= space.measured(number)
        exact = {column: value for column, value in self.bounds.of(number).items() if column in EXACT}
        return any(not c({**env, **exact}) for c in self.beforehand if c.names <= env.keys() | exact.keys())

    def run(self) -> None:
        """Until the budget is spent or nothing is left to ask for."""
        found = self.found
        while (left := found.budget - len(found.outcomes)) > 0:
            asked = self.sampler.ask(min(BATCH, left))
            if not asked:
                found.complete = found.sampler in ("exhaustive", "model") and found.grid.listed is not None
                break
            self._simulate(asked)
            self.tell(len(found.outcomes), found.budget, len(self.best))
        else:
            found.complete = found.sampler == "exhaustive" and not self.sampler.ask(1)
        if isinstance(self.sampler, ModelSampler):
            self.ruled_out |= self.sampler.pruned
        found.pruned = len(self.ruled_out)

    def _simulate(self, asked: list[int]) -> None:
        found = self.found
        kept = []
        for number in asked:
            if self._breaks(number):
                found.broken += 1
                self.sampler.tell(number, None)
            elif len(self.best) and dominated([self.least(number)], self.best)[0]:
                self.ruled_out.add(number)
                self.sampler.tell(number, None)
            else:
                kept.append(number)
        outcomes = {outcome.number: outcome for outcome in self.runner.outcomes(kept)}
        for number in kept:
            outcome = outcomes[number]
            found.outcomes.append(outcome)
            costs = None
            if outcome.result is not None and found.results.feasible(outcome):
                costs = [objective.cost(outcome.result) for objective in found.objectives]
                if any(map(math.isnan, costs)):
                    costs = None
            self.sampler.tell(number, costs)
            if costs is not None:
                together = np.concatenate([self.best, [costs]])
                self.best = together[front(together)]

    def least(self, number: int) -> list[float]:
        """Costs that a point cannot beat."""
        bounds = self.bounds.of(number)
        return [objective.least_cost(bounds) for objective in self.found.objectives]


def _budget(text: int | str | None, size: int) -> int | None:
    """Points of a budget: a number, or a share as ``10%``; raises InputError for what is neither."""
    if text is None:
        return None
    given = str(text).strip()
    try:
        value = float(given.removesuffix("%")) / 100 * size if given.endswith("%") else int(given)
    except ValueError:
        value = math.nan
    if isinstance(text, bool) or not (math.isfinite(value) and value > 0):
        raise InputError(f"a budget must be a number of points above zero, or a share such as '10%', not {text!r:.40}")
    return min(max(1, math.ceil(value)), size)


def explore(
    source: Source,
    objectives: str | Sequence[str] = ("latency", "energy"),
    *,
    budget: int | str | None = None,
    constraints: str | Sequence[str] = (),
    seed: int = 0,
    sampler: str = "auto",
    store: str | Path | None = None,
    workers: int | None = None,
    affordable_s: float = AFFORDABLE_S,
    tell: Tell = lambda _done, _most, _front: None,
) -> Exploration:
    """Find the Pareto front of a space of designs, simulating as few of its points as it takes.

    Parameters
    ----------
    source : path or mapping
        A sweep file, or the same as plain data; see `hwsim.sweep`.
    objectives : str or sequence of str
        What to have little of (``latency``, ``energy`` of an input, ``edp``, ``area``, ``cost``, ``power``, ``dram``)
        or much of (``throughput``, ``efficiency``), or any column of the results, as ``min:`` or ``max:`` of it.
    budget : int or str, optional
        Points to simulate at most, as 500 or ``10%``. Without one a space is simulated whole if that takes no longer
        than `affordable_s`, and else a tenth of it, at least 100 points and at most 5,000.
    constraints : str or sequence of str
        Conditions that a point must meet, as ``power_w < 1 W``; those of the file hold too.
    seed : int
        Of all that is drawn: the same seed finds the same points.
    sampler : str
        ``auto``, ``exhaustive``, ``model``, ``nsga2``, ``tpe`` or ``random``.
    store : path, optional
        A folder for results: the same call goes on where an earlier one ended, and comes to the same end.
    workers : int, optional
        Processes; all cores unless told. The result does not depend on them.

    Returns
    -------
    Exploration
        With `front` and `frame` as DataFrames, `volumes`, `sensitivity`, `page` and `write`.

    Raises
    ------
    InputError
        For faults of the sweep, the objectives, the constraints or the budget; or where no point is feasible, or an
        objective is unknown everywhere.
    """
    goals = read_objectives([objectives] if isinstance(objectives, str) else list(objectives))
    if sampler not in SAMPLERS:
        raise InputError(
            f"--sampler must be one of {', '.join(SAMPLERS)}, not {sampler!r:.40}{nearest(sampler, SAMPLERS)}"
        )
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise InputError(f"a seed must be a whole number from 0 to 2^32 - 1, not {seed!r:.40}")
    more = [constraints] if isinstance(constraints, str) else list(constraints)
    space = _space(source, more)
    results = Results(space)
    grid = Grid(space)
    size = len(grid.listed) if grid.listed is not None else space.size
    points = _budget(budget, size)
    bounds = Bounds(space)
    _told_everywhere(space, goals)
    folder = Path(store) if store is not None else None
    with Runner(space, folder / "store.sqlite" if folder is not None else None, workers) as runner:
        question = {"objectives": [str(goal) for goal in goals], "budget": budget, "sampler": sampler, "size": size}
        chosen, points = _chosen(runner, grid, sampler, points, size, folder, question, affordable_s)
        found = Exploration(space, goals, chosen, points, seed, results, grid)
        search = _Search(found, runner, Exhaustive(()), bounds, tell)
        search.sampler = _sampler(found, search)
        search.run()
    _check_found(found)
    return found


def _space(source: Source, more: list[str]) -> Space:
    space = read_space(source)
    assert space.spec is not None
    # All totals are kept, whatever the file wants written: objectives and constraints may be of any.
    space.spec = space.spec.model_copy(
        update={"constraints": [*space.spec.constraints, *more], "metrics": [], "per_layer": []}
    )
    return space


def _told_everywhere(space: Space, goals: Sequence[Objective]) -> None:
    """Area and cost must be told by each machine."""
    first = space.point(0) if space.size else None
    for goal in goals:
        if goal.column not in EXACT or first is None:
            continue
        for label, source in space.machines.items():
            try:
                machine = source.machine(first.machine_changes)
            except InputError:
                continue
            if getattr(machine, goal.column) is None:
                block = goal.column.partition("_")[0]
                raise InputError(
                    f"objective {goal.column} must be told by every machine; {label} has no {block}: give its file "
                    f"a block {block}, each figure with its source"
                )


def _chosen(
    runner: Runner, grid: Grid, sampler: str, points: int | None, size: int, folder: Path | None,
    question: dict[str, Any], affordable_s: float,
) -> tuple[str, int]:  # fmt: skip
    """The sampler and the budget. What time decided is kept beside the store, so that going on decides alike."""
    if sampler == "exhaustive":
        if grid.listed is None:
            raise InputError(f"--sampler exhaustive must have at most 100,000 points, not {size:,}; give a budget")
        return sampler, points or size
    if points is not None:
        return ("exhaustive" if sampler == "auto" and points >= size else sampler.replace("auto", "model")), points
    share = min(size, max(_FEWEST, min(_MOST, math.ceil(_SHARE * size))))
    if sampler != "auto":
        return sampler, share
    path = folder / _CHOICE if folder is not None else None
    known = None
    if path is not None and path.is_file():
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            known = None
    if isinstance(known, dict) and known.get("question") == question and known.get("chosen") in ("exhaustive", "model"):
        exhaustive = known["chosen"] == "exhaustive"
    else:
        exhaustive = grid.listed is not None and _seconds(runner, grid.listed.tolist()) <= affordable_s
        if path is not None:
            chosen = "exhaustive" if exhaustive else "model"
            try:
                path.write_text(json.dumps({"question": question, "chosen": chosen}), encoding="utf-8")
            except OSError as error:
                raise HwsimError(f"{path}: cannot be written: {error.strerror or error}") from None
    return ("exhaustive", size) if exhaustive else ("model", share)


def _seconds(runner: Runner, numbers: list[int]) -> float:
    """How long all points will take, from a few that are simulated for it."""
    some = numbers[:: max(1, len(numbers) // _SAMPLE)][:_SAMPLE]
    runner.evaluator.outcome(some[0])  # the first one imports what all need
    start = time.perf_counter()
    for number in some:
        runner.evaluator.outcome(number)
    return (time.perf_counter() - start) / len(some) * len(numbers) / runner.workers


def _sampler(found: Exploration, search: _Search) -> Sampler:
    grid, seed, many = found.grid, found.seed, len(found.objectives)
    if found.sampler == "exhaustive":
        assert grid.listed is not None
        return Exhaustive(grid.listed.tolist())
    if found.sampler == "random":
        return RandomSampler(grid, seed)
    if found.sampler == "model":
        return ModelSampler(grid, seed, many, found.budget, search.least)
    return OptunaSampler(grid, seed, many, found.sampler)


def _check_found(found: Exploration) -> None:
    """Something must have been found; says why nothing was."""
    if found.feasible.any():
        return
    feasible = [o for o in found.outcomes if o.result is not None and found.results.feasible(o)]
    for place, objective in enumerate(found.objectives):
        if feasible and all(math.isnan(objective.cost(o.result or {})) for o in feasible):
            raise InputError(
                f"objective {objective.column} is unknown at all of {len(feasible):,} points that were simulated: "
                f"the machine does not tell it ({found.objectives[place].column})"
            )
    first = next((outcome.error for outcome in found.outcomes if outcome.error), None)
    texts = [constraint.text for constraint in found.results.constraints]
    why = [f"{found.broken:,} break a constraint by their parameters"] if found.broken else []
    if failed := sum(outcome.result is None for outcome in found.outcomes):
        why.append(f"{failed:,} failed, as: {first}")
    if other := len(found.outcomes) - failed:
        why.append(f"{other:,} do not fit" + (f", or break {' and '.join(map(repr, texts))}" if texts else ""))
    raise InputError(f"some point must be feasible; none of those tried is: {'; '.join(why) or 'none was tried'}")
