"""Explores a space: asks a sampler for points, leaves out what cannot be on the front, simulates the rest."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.errors import InputError, nearest
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
"""Points asked for at a time, whatever the number of workers: what is asked must not depend on who works."""

Source = str | Path | Mapping[str, Any]
Tell = Callable[[int, int, int], None]
"""Callback with the numbers of simulated points, of points at most, and of points on the front."""


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
            f"--sampler must be one of {', '.join(SAMPLERS)}, not {sampler!r:.40}{nearest(sampler, SAMPLERS)}"
        )
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise InputError(f"a seed must be a whole number from 0 to 2^32 - 1, not {seed!r:.40}")
    more = [constraints] if isinstance(constraints, str) else list(constraints)
    space = _space(source, more)
    results = Results(space)
    grid = Grid(space)
    size = len(grid.listed) if grid.listed is not None else space.size
    points = points_of(budget, size)
    bounds = Bounds(space)
    _told_everywhere(space, goals)
    folder = Path(store) if store is not None else None
    with Runner(space, folder / "store.sqlite" if folder is not None else None, workers) as runner:
        question = {"objectives": [str(goal) for goal in goals], "budget": budget, "sampler": sampler, "size": size}
        chosen, points = sampler_and_points(runner, grid, sampler, points, size, folder, question, affordable_s)
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
                    f"objective {goal.column} must be known for every machine; {label} has no {block}: add a "
                    f"block {block} with sources to its file"
                )


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
                f"objective {objective.column} is unknown at all of {len(feasible):,} simulated points: "
                f"the machine does not report it ({found.objectives[place].column})"
            )
    first = next((outcome.error for outcome in found.outcomes if outcome.error), None)
    texts = [constraint.text for constraint in found.results.constraints]
    why = [f"{found.broken:,} violate a constraint by their parameters"] if found.broken else []
    if failed := sum(outcome.result is None for outcome in found.outcomes):
        why.append(f"{failed:,} failed, as: {first}")
    if other := len(found.outcomes) - failed:
        why.append(f"{other:,} do not fit" + (f", or violate {' and '.join(map(repr, texts))}" if texts else ""))
    raise InputError(f"no simulated point is feasible: {'; '.join(why) or 'none was simulated'}")
