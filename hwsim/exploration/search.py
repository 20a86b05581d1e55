"""Explores a space: a sampler proposes points; those that cannot be on the front are pruned, the rest simulated."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.errors import InputError, excerpt, nearest
from hwsim.exploration.bounds import Bounds
from hwsim.exploration.budget import points_of, sampler_and_points
from hwsim.exploration.exploration import Exploration
from hwsim.exploration.grid import Grid
from hwsim.exploration.objectives import EXACT, Objective, read_objectives
from hwsim.exploration.samplers import (
    SAMPLERS,
    Exhaustive,
    ModelSampler,
    OptunaSampler,
    RandomSampler,
    Sampler,
)
from hwsim.report.pareto import dominated, front
from hwsim.sweeps.expression import measure
from hwsim.sweeps.reader import read_space
from hwsim.sweeps.results import Results
from hwsim.sweeps.runner import Runner
from hwsim.sweeps.space import Space

__all__ = ["AFFORDABLE_S", "explore"]

AFFORDABLE_S = 60.0
"""An exploration without a budget simulates every point of a space that takes no longer than this."""

BATCH = 16
"""Points per proposal; constant, so that the result does not depend on the number of workers."""

Source = str | Path | Mapping[str, Any]
Tell = Callable[[int, int, int], None]
"""Callback with the numbers of simulated points, of points at most, and of points on the front."""


class _Search:
    """Runs an exploration: propose, prune by bounds and constraints, simulate, report to the sampler."""

    def __init__(self, exploration: Exploration, runner: Runner, sampler: Sampler, bounds: Bounds, tell: Tell) -> None:
        self.exploration, self.runner, self.sampler, self.bounds, self.tell = exploration, runner, sampler, bounds, tell
        self.best = np.empty((0, len(exploration.objectives)))
        self.pruned_numbers: set[int] = set()
        self.early_constraints = [
            c
            for c in exploration.results.constraints
            if c.names <= {*exploration.results.names, *EXACT, *self._constants()}
        ]

    def _constants(self) -> set[str]:
        sources = [set(source.constants) for source in self.exploration.space.machines.values()]
        return set.intersection(*sources) if sources else set()

    def _violates(self, number: int) -> bool:
        """Whether the parameters, area or cost of a point violate a constraint."""
        if not self.early_constraints:
            return False
        space = self.exploration.space
        source = space.machines[space.point(number).machine]
        env: dict[str, Any] = {name: measure(value)[0] for name, value in source.constants.items()}
        env |= space.quantities(number)
        exact = {column: value for column, value in self.bounds.of(number).items() if column in EXACT}
        return any(not c({**env, **exact}) for c in self.early_constraints if c.names <= env.keys() | exact.keys())

    def run(self) -> None:
        """Run until the budget or the sampler is exhausted."""
        exploration = self.exploration
        while (rest := exploration.budget - len(exploration.outcomes)) > 0:
            numbers = self.sampler.ask(min(BATCH, rest))
            if not numbers:
                exploration.complete = (
                    exploration.sampler in ("exhaustive", "model") and exploration.grid.all_points is not None
                )
                break
            self._simulate(numbers)
            self.tell(len(exploration.outcomes), exploration.budget, len(self.best))
        else:
            exploration.complete = exploration.sampler == "exhaustive" and not self.sampler.ask(1)
        if isinstance(self.sampler, ModelSampler):
            self.pruned_numbers |= self.sampler.pruned
        exploration.pruned = len(self.pruned_numbers)

    def _simulate(self, numbers: list[int]) -> None:
        exploration = self.exploration
        candidates = []
        for number in numbers:
            if self._violates(number):
                exploration.violations += 1
                self.sampler.tell(number, None)
            elif len(self.best) and dominated([self.least(number)], self.best)[0]:
                self.pruned_numbers.add(number)
                self.sampler.tell(number, None)
            else:
                candidates.append(number)
        outcomes = {outcome.number: outcome for outcome in self.runner.outcomes(candidates)}
        for number in candidates:
            outcome = outcomes[number]
            exploration.outcomes.append(outcome)
            costs = None
            if outcome.result is not None and exploration.results.feasible(outcome):
                costs = [objective.cost(outcome.result) for objective in exploration.objectives]
                if any(map(math.isnan, costs)):
                    costs = None
            self.sampler.tell(number, costs)
            if costs is not None:
                together = np.concatenate([self.best, [costs]])
                self.best = together[front(together)]

    def least(self, number: int) -> list[float]:
        """Lower bounds of the costs of a point."""
        bounds = self.bounds.of(number)
        return [objective.least_cost(bounds) for objective in self.exploration.objectives]


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
    """Find the Pareto front of a design space with few simulations.

    Parameters
    ----------
    source : path or mapping
        A sweep file, or the same as plain data; see `hwsim.sweep`.
    objectives : str or sequence of str
        To minimize: ``latency``, ``energy`` (per inference), ``edp``, ``area``, ``cost``, ``power``, ``dram``. To
        maximize: ``throughput``, ``efficiency``. Or any column of the results with the prefix ``min:`` or ``max:``.
    budget : int or str, optional
        Maximum number of points to simulate, as 500 or ``10%``. Default: all points if that takes at most
        `affordable_s`, else a tenth, at least 100 and at most 5,000.
    constraints : str or sequence of str
        Conditions of feasible points, as ``power_w < 1 W``, in addition to those of the file.
    seed : int
        Random seed: the same seed gives the same points.
    sampler : str
        ``auto``, ``exhaustive``, ``model``, ``nsga2``, ``tpe`` or ``random``.
    store : path, optional
        A folder for results: the same call resumes an earlier one and has the same result.
    workers : int, optional
        Number of worker processes (default: all cores). The result does not depend on it.

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
            f"--sampler must be one of {', '.join(SAMPLERS)}, not {excerpt(sampler, 40)}{nearest(sampler, SAMPLERS)}"
        )
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**32:
        raise InputError(f"a seed must be a whole number from 0 to 2^32 - 1, not {excerpt(seed, 40)}")
    seed = int(seed)
    more = [constraints] if isinstance(constraints, str) else list(constraints)
    space = _space(source, more)
    results = Results(space)
    grid = Grid(space)
    size = len(grid.all_points) if grid.all_points is not None else space.size
    points = points_of(budget, size)
    bounds = Bounds(space)
    _require_area_and_cost(space, goals)
    folder = Path(store) if store is not None else None
    with Runner(space, folder / "store.sqlite" if folder is not None else None, workers) as runner:
        question = {"objectives": [str(goal) for goal in goals], "budget": budget, "sampler": sampler, "size": size}
        choice, points = sampler_and_points(runner, grid, sampler, points, size, folder, question, affordable_s)
        exploration = Exploration(space, goals, choice, points, seed, results, grid)
        search = _Search(exploration, runner, Exhaustive(()), bounds, tell)
        search.sampler = _sampler(exploration, search)
        search.run()
    _check_feasible(exploration)
    return exploration


def _space(source: Source, more: list[str]) -> Space:
    space = read_space(source)
    assert space.spec is not None
    # Objectives and constraints may use any total, whatever columns the file selects.
    space.spec = space.spec.model_copy(
        update={"constraints": [*space.spec.constraints, *more], "metrics": [], "per_layer": []}
    )
    return space


def _require_area_and_cost(space: Space, goals: Sequence[Objective]) -> None:
    """Check that every machine has the area or cost of the objectives."""
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
                    f"objective {goal.column} must be known for every machine; {label} has no {block}: add a "
                    f"block {block} with sources to its file"
                )


def _sampler(exploration: Exploration, search: _Search) -> Sampler:
    grid, seed, many = exploration.grid, exploration.seed, len(exploration.objectives)
    if exploration.sampler == "exhaustive":
        assert grid.all_points is not None
        return Exhaustive(grid.all_points.tolist())
    if exploration.sampler == "random":
        return RandomSampler(grid, seed)
    if exploration.sampler == "model":
        return ModelSampler(grid, seed, many, exploration.budget, search.least)
    return OptunaSampler(grid, seed, many, exploration.sampler)


def _check_feasible(exploration: Exploration) -> None:
    """Check that some point is feasible, else raise the reasons."""
    if exploration.feasible.any():
        return
    feasible = [o for o in exploration.outcomes if o.result is not None and exploration.results.feasible(o)]
    for place, objective in enumerate(exploration.objectives):
        if feasible and all(math.isnan(objective.cost(o.result or {})) for o in feasible):
            raise InputError(
                f"objective {objective.column} is unknown at all of {len(feasible):,} simulated points: "
                f"the machine does not report it ({exploration.objectives[place].column})"
            )
    first = next((outcome.error for outcome in exploration.outcomes if outcome.error), None)
    texts = [constraint.text for constraint in exploration.results.constraints]
    why = [f"{exploration.violations:,} violate a constraint by their parameters"] if exploration.violations else []
    if failures := sum(outcome.result is None for outcome in exploration.outcomes):
        why.append(f"{failures:,} failed, as: {first}")
    if other := len(exploration.outcomes) - failures:
        why.append(f"{other:,} do not fit" + (f", or violate {' and '.join(map(repr, texts))}" if texts else ""))
    raise InputError(f"no simulated point is feasible: {'; '.join(why) or 'none was simulated'}")
