"""Ask/tell samplers that choose the next points to simulate."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import InputError
from hwsim.exploration.grid import Grid
from hwsim.exploration.kriging import Kriging
from hwsim.exploration.objectives import log_scaled
from hwsim.report.pareto import dominated, front

__all__ = ["SAMPLERS", "Exhaustive", "ModelSampler", "OptunaSampler", "RandomSampler", "Sampler"]

Costs = NDArray[np.float64]
LeastCosts = Callable[[int], Sequence[float]]


class Sampler(ABC):
    """Proposes points and receives their costs; deterministic for a seed, and never proposes a point twice."""

    @abstractmethod
    def ask(self, count: int) -> list[int]:
        """At most `count` points to simulate next; empty if there is none left."""

    def tell(self, number: int, costs: Sequence[float] | None) -> None:  # noqa: B027 - not every sampler needs the result
        """Result of a point: its costs, or None if it failed, is infeasible or cannot be on the front."""


class Exhaustive(Sampler):
    """Every point, in order."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self._rest = iter(numbers)

    def ask(self, count: int) -> list[int]:
        """The next points."""
        return [number for _, number in zip(range(count), self._rest)]


class RandomSampler(Sampler):
    """Random points."""

    def __init__(self, grid: Grid, seed: int) -> None:
        self._grid, self._rng = grid, np.random.default_rng(seed)
        self._numbers: set[int] = set()

    def ask(self, count: int) -> list[int]:
        """New random points."""
        pool = self._grid.sample(count + len(self._numbers), self._rng)
        numbers = [number for number in pool if number not in self._numbers][:count]
        self._numbers.update(numbers)
        return numbers


class ModelSampler(Sampler):
    """Points that a kriging model of the objectives expects to improve the front.

    It begins with corners of the space and a Latin hypercube. Then each objective is modeled by kriging, relative to
    its lower bound if there is one, which has most of the physics already. The candidates are all remaining points, or
    the neighbors of the front and as many random points, without those whose lower bounds are dominated. Chosen are
    those whose optimistic prediction, one standard deviation below the mean, is farthest from being dominated by the
    front and by each other.
    """

    _POOL = 1000
    _SHORTLIST = 400
    _FEWEST = 3
    _ROUNDS = 20

    def __init__(self, grid: Grid, seed: int, objectives: int, budget: int, least: LeastCosts) -> None:
        self._grid, self._rng, self._least = grid, np.random.default_rng(seed), least
        self._models = [Kriging(grid.axes) for _ in range(objectives)]
        self._feasible = Kriging(grid.axes)
        self._proposals: dict[int, None] = {}
        self._costs: dict[int, Sequence[float]] = {}
        self._failures: dict[int, None] = {}
        self._dominated: set[int] = set()
        first = min(budget, max(12, budget // 8))
        # Half of the first points are corners: a model extrapolates badly, and fronts lie at the edges.
        corners = grid.corners(first // 2, self._rng)
        inner = [number for number in grid.spread(first, self._rng) if number not in corners]
        self._begin = [*corners, *inner][:first]

    @property
    def pruned(self) -> set[int]:
        """Candidates whose lower bounds are dominated by simulated points."""
        return self._dominated

    def tell(self, number: int, costs: Sequence[float] | None) -> None:
        """Add a result."""
        if costs is None:
            self._failures[number] = None
        else:
            self._costs[number] = costs

    def ask(self, count: int) -> list[int]:
        """The first points, then the most promising."""
        if self._begin:
            numbers, self._begin = self._begin[:count], self._begin[count:]
        elif len(self._costs) < self._FEWEST:
            pool = self._grid.sample(count + len(self._proposals), self._rng)
            numbers = [number for number in pool if number not in self._proposals][:count]
        else:
            numbers = self._promising(count)
        self._proposals.update(dict.fromkeys(numbers))
        return numbers

    def _candidates(self, best: Sequence[int]) -> list[int]:
        all_points = self._grid.all_points
        excluded_numbers = self._proposals.keys() | self._dominated
        if all_points is not None and len(all_points) - len(excluded_numbers) <= self._POOL:
            return [number for number in all_points.tolist() if number not in excluded_numbers]
        near = dict.fromkeys(n for number in best for n in self._grid.neighbors(number) if n not in excluded_numbers)
        candidates = list(near)
        if len(candidates) > self._POOL // 2:
            candidates = [candidates[place] for place in self._rng.permutation(len(candidates))[: self._POOL // 2]]
        more = self._grid.sample(self._POOL + len(excluded_numbers), self._rng)
        members = set(candidates)
        return (
            candidates
            + [n for n in more if n not in excluded_numbers and n not in members][: self._POOL - len(candidates)]
        )

    def _promising(self, count: int) -> list[int]:
        numbers = list(self._costs)
        costs = np.array([self._costs[number] for number in numbers], dtype=float)
        on_front = front(costs)
        best = costs[on_front]
        peaks = [number for number, is_best in zip(numbers, on_front) if is_best]
        # In a small space each round excludes some points for good; in a large one the rounds are limited.
        for _ in range(self._ROUNDS if self._grid.all_points is None else len(self._grid.all_points)):
            candidates = self._candidates(peaks)
            if not candidates:
                return []
            least = np.array([self._least(number) for number in candidates], dtype=float)
            hopeless = dominated(least, best)
            self._dominated.update(number for number, is_hopeless in zip(candidates, hopeless) if is_hopeless)
            candidates = [number for number, is_hopeless in zip(candidates, hopeless) if not is_hopeless]
            if candidates:
                break
        else:
            return []
        least = least[~hopeless]
        return self._choose(numbers, costs, np.unique(best, axis=0), candidates, least, count)

    def _choose(
        self, numbers: list[int], costs: Costs, best: Costs, candidates: list[int], least: Costs, count: int
    ) -> list[int]:
        floors = np.array([self._least(number) for number in numbers], dtype=float)
        has_bound = np.isfinite(least).all(axis=0) & np.isfinite(floors).all(axis=0)
        # One scale for all of them
        parts = [costs, best, np.where(has_bound, least, np.nan), np.where(has_bound, floors, np.nan)]
        together = log_scaled(np.concatenate(parts))
        have, goal, base, under = np.split(together, np.cumsum([len(part) for part in parts])[:-1])
        here, there = self._grid.places(numbers), self._grid.places(candidates)
        guess = np.empty_like(base)
        columns = []
        for place, model in enumerate(self._models):
            offset, start = (under[:, place], base[:, place]) if has_bound[place] else (np.zeros(len(numbers)), 0.0)
            rest = have[:, place] - offset
            if float(np.ptp(rest)) < 1e-12:  # an exact bound, as of area
                guess[:, place] = rest[0] + start
                continue
            columns.append(place)
            model.fit(here, rest)
            guess[:, place] = model.predict(there) + start
        low = goal.min(axis=0)
        span = np.maximum(goal.max(axis=0) - low, 1e-9)
        ahead = _ahead((goal - low) / span, (guess - low) / span)
        shortlist = np.argsort(-ahead, kind="stable")[: max(self._SHORTLIST, count)]
        guess, there = guess[shortlist], there[shortlist]
        for place in columns:
            guess[:, place] -= self._models[place].deviation(there)
            if has_bound[place]:
                guess[:, place] = np.maximum(guess[:, place], base[shortlist, place])
        guess = (guess - low) / span
        if self._failures:
            trials = self._grid.places([*numbers, *self._failures])
            self._feasible.fit(trials, np.repeat([1.0, 0.0], [len(numbers), len(self._failures)]))
            guess[self._feasible.predict(there) < 0.5] += 10.0
        ahead = _ahead((goal - low) / span, guess)
        choices: list[int] = []
        for _ in range(min(count, len(shortlist))):
            choice = int(np.argmax(ahead))
            choices.append(choice)
            # The next point must also be ahead of the prediction of this one.
            ahead = np.minimum(ahead, (guess[choice] - guess).max(axis=1))
            ahead[choices] = -np.inf
        return [candidates[shortlist[place]] for place in choices]


def _ahead(goal: Costs, guess: Costs) -> NDArray[np.float64]:
    """Distance of each prediction from being dominated by a point of the front."""
    margins = np.full(len(guess), np.inf)
    for point in goal:
        np.minimum(margins, (point - guess).max(axis=1), out=margins)
    return margins


class OptunaSampler(Sampler):
    """Points of an optuna sampler, with an in-memory study."""

    _TRIES = 50

    def __init__(self, grid: Grid, seed: int, objectives: int, kind: str) -> None:
        try:
            import optuna
        except ImportError:
            raise InputError(f"--sampler {kind} needs optuna: pip install 'hwsim[explore]'") from None
        import warnings

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sampler = (
                optuna.samplers.NSGAIISampler(seed=seed)
                if kind == "nsga2"
                else optuna.samplers.TPESampler(seed=seed, multivariate=True)
            )
        self._fail_state = optuna.trial.TrialState.FAIL
        self._study = optuna.create_study(directions=["minimize"] * objectives, sampler=sampler)
        self._space = {
            label: optuna.distributions.CategoricalDistribution(list(range(size)))
            if axis is None
            else optuna.distributions.IntDistribution(0, size - 1)
            for label, (axis, size) in zip(grid.labels, grid.axes)
        }
        self._grid = grid
        self._trials: dict[int, optuna.trial.Trial] = {}
        self._history: dict[int, Sequence[float] | None] = {}

    def ask(self, count: int) -> list[int]:
        """New points; a repeated proposal gets its earlier result, a forbidden one fails."""
        numbers: list[int] = []
        for _ in range(self._TRIES * count):
            if len(numbers) >= count:
                break
            trial = self._study.ask(dict(self._space))
            number = self._grid.number(trial.params[label] for label in self._grid.labels)
            if number in self._history:
                self._finish(trial, self._history[number])
            elif number in self._trials or not self._grid.space.allows(number):
                self._finish(trial, None)
            else:
                self._trials[number] = trial
                numbers.append(number)
        return numbers

    def tell(self, number: int, costs: Sequence[float] | None) -> None:
        """Pass a result on to the study."""
        self._history[number] = costs
        self._finish(self._trials.pop(number), costs)

    def _finish(self, trial: object, costs: Sequence[float] | None) -> None:
        if costs is None:
            self._study.tell(trial, state=self._fail_state)  # type: ignore[arg-type]
        else:
            self._study.tell(trial, list(costs))  # type: ignore[arg-type]


SAMPLERS = ("auto", "exhaustive", "model", "nsga2", "tpe", "random")
"""Valid samplers; auto is exhaustive if that is affordable, else model."""
