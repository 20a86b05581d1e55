"""Samplers: who says which points are simulated next, and hears what came of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import InputError
from hwsim.exploration.grid import Grid
from hwsim.exploration.kriging import Kriging
from hwsim.exploration.objectives import scaled
from hwsim.report.pareto import dominated, front

__all__ = ["SAMPLERS", "Exhaustive", "ModelSampler", "OptunaSampler", "RandomSampler", "Sampler"]

Costs = NDArray[np.float64]
LeastCosts = Callable[[int], Sequence[float]]


class Sampler(ABC):
    """Asked for points, told their costs; it never asks for one twice, and depends on its seed and what it is told."""

    @abstractmethod
    def ask(self, count: int) -> list[int]:
        """At most so many points to simulate next; none when there is nothing left to ask for."""

    def tell(self, number: int, costs: Sequence[float] | None) -> None:  # noqa: B027 - some need not know
        """What came of a point: its costs, or None where it failed, is not feasible or cannot be on the front."""


class Exhaustive(Sampler):
    """Every point, in order."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self._left = iter(numbers)

    def ask(self, count: int) -> list[int]:
        """The next points."""
        return [number for _, number in zip(range(count), self._left)]


class RandomSampler(Sampler):
    """Points at random."""

    def __init__(self, grid: Grid, seed: int) -> None:
        self._grid, self._rng = grid, np.random.default_rng(seed)
        self._seen: set[int] = set()

    def ask(self, count: int) -> list[int]:
        """Points not asked for before."""
        found = [n for n in self._grid.sample(count + len(self._seen), self._rng) if n not in self._seen][:count]
        self._seen.update(found)
        return found


class ModelSampler(Sampler):
    """Points that a model of the objectives expects to move the front.

    It begins with corners of the space and points spread over it. From then on each objective is modeled by kriging of
    what is known, relative to its lower bound where there is one, which has most of the physics already. Of the
    candidates (all that are left, or the neighbors of the front and as many at random) those are asked for whose
    optimistic guess, one standard deviation below the expected one, is farthest from being dominated by the front and
    by each other. What a bound shows to be dominated is no candidate.
    """

    _POOL = 1000
    _WEIGHED = 400
    _FEWEST = 3
    _ROUNDS = 20

    def __init__(self, grid: Grid, seed: int, objectives: int, budget: int, least: LeastCosts) -> None:
        self._grid, self._rng, self._least = grid, np.random.default_rng(seed), least
        self._models = [Kriging(grid.axes) for _ in range(objectives)]
        self._feasible = Kriging(grid.axes)
        self._asked: dict[int, None] = {}
        self._costs: dict[int, Sequence[float]] = {}
        self._failed: dict[int, None] = {}
        self._hopeless: set[int] = set()
        first = min(budget, max(12, budget // 8))
        # Half of the beginning are corners: a model guesses badly beyond what it has seen, and fronts lie at the edges.
        corners = grid.corners(first // 2, self._rng)
        inner = [number for number in grid.spread(first, self._rng) if number not in corners]
        self._begin = [*corners, *inner][:first]

    @property
    def pruned(self) -> set[int]:
        """Candidates whose bound is dominated by what was found."""
        return self._hopeless

    def tell(self, number: int, costs: Sequence[float] | None) -> None:
        """Remember."""
        if costs is None:
            self._failed[number] = None
        else:
            self._costs[number] = costs

    def ask(self, count: int) -> list[int]:
        """The beginning, then the most promising."""
        if self._begin:
            found, self._begin = self._begin[:count], self._begin[count:]
        elif len(self._costs) < self._FEWEST:
            found = [n for n in self._grid.sample(count + len(self._asked), self._rng) if n not in self._asked][:count]
        else:
            found = self._promising(count)
        self._asked.update(dict.fromkeys(found))
        return found

    def _candidates(self, best: Sequence[int]) -> list[int]:
        listed = self._grid.listed
        gone = self._asked.keys() | self._hopeless
        if listed is not None and len(listed) - len(gone) <= self._POOL:
            return [number for number in listed.tolist() if number not in gone]
        near = dict.fromkeys(n for number in best for n in self._grid.neighbors(number) if n not in gone)
        found = list(near)
        if len(found) > self._POOL // 2:
            found = [found[place] for place in self._rng.permutation(len(found))[: self._POOL // 2]]
        more = self._grid.sample(self._POOL + len(gone), self._rng)
        known = set(found)
        return found + [n for n in more if n not in gone and n not in known][: self._POOL - len(found)]

    def _promising(self, count: int) -> list[int]:
        known = list(self._costs)
        costs = np.array([self._costs[number] for number in known], dtype=float)
        on_front = front(costs)
        best = costs[on_front]
        peaks = [number for number, kept in zip(known, on_front) if kept]
        # Where points are listed, each round rules some out for good; of very many, some rounds must be enough.
        for _ in range(self._ROUNDS if self._grid.listed is None else len(self._grid.listed)):
            candidates = self._candidates(peaks)
            if not candidates:
                return []
            least = np.array([self._least(number) for number in candidates], dtype=float)
            hopeless = dominated(least, best)
            self._hopeless.update(number for number, gone in zip(candidates, hopeless) if gone)
            candidates = [number for number, gone in zip(candidates, hopeless) if not gone]
            if candidates:
                break
        else:
            return []
        least = least[~hopeless]
        return self._choose(known, costs, np.unique(best, axis=0), candidates, least, count)

    def _choose(
        self, known: list[int], costs: Costs, best: Costs, candidates: list[int], least: Costs, count: int
    ) -> list[int]:
        floors = np.array([self._least(number) for number in known], dtype=float)
        bounded = np.isfinite(least).all(axis=0) & np.isfinite(floors).all(axis=0)
        # One scale for all of them.
        parts = [costs, best, np.where(bounded, least, np.nan), np.where(bounded, floors, np.nan)]
        together = scaled(np.concatenate(parts))
        have, goal, base, under = np.split(together, np.cumsum([len(part) for part in parts])[:-1])
        here, there = self._grid.places(known), self._grid.places(candidates)
        guess = np.empty_like(base)
        modeled = []
        for place, model in enumerate(self._models):
            offset, start = (under[:, place], base[:, place]) if bounded[place] else (np.zeros(len(known)), 0.0)
            rest = have[:, place] - offset
            if float(np.ptp(rest)) < 1e-12:  # a bound that is the value itself, as of area
                guess[:, place] = rest[0] + start
                continue
            modeled.append(place)
            model.fit(here, rest)
            guess[:, place] = model.predict(there) + start
        low = goal.min(axis=0)
        span = np.maximum(goal.max(axis=0) - low, 1e-9)
        ahead = _ahead((goal - low) / span, (guess - low) / span)
        kept = np.argsort(-ahead, kind="stable")[: max(self._WEIGHED, count)]
        guess, there = guess[kept], there[kept]
        for place in modeled:
            guess[:, place] -= self._models[place].deviation(there)
            if bounded[place]:
                guess[:, place] = np.maximum(guess[:, place], base[kept, place])
        guess = (guess - low) / span
        if self._failed:
            tried = self._grid.places([*known, *self._failed])
            self._feasible.fit(tried, np.repeat([1.0, 0.0], [len(known), len(self._failed)]))
            guess[self._feasible.predict(there) < 0.5] += 10.0
        ahead = _ahead((goal - low) / span, guess)
        taken: list[int] = []
        for _ in range(min(count, len(kept))):
            choice = int(np.argmax(ahead))
            taken.append(choice)
            # What is taken is believed: the next one must be ahead of it too.
            ahead = np.minimum(ahead, (guess[choice] - guess).max(axis=1))
            ahead[taken] = -np.inf
        return [candidates[kept[place]] for place in taken]


def _ahead(goal: Costs, guess: Costs) -> NDArray[np.float64]:
    """How far each guess is from being dominated: what it can lose before some point of the front beats it."""
    found = np.full(len(guess), np.inf)
    for point in goal:
        np.minimum(found, (point - guess).max(axis=1), out=found)
    return found


class OptunaSampler(Sampler):
    """Points by a sampler of optuna, asked and told in memory."""

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
        self._failed = optuna.trial.TrialState.FAIL
        self._study = optuna.create_study(directions=["minimize"] * objectives, sampler=sampler)
        self._space = {
            label: optuna.distributions.CategoricalDistribution(list(range(size)))
            if axis is None
            else optuna.distributions.IntDistribution(0, size - 1)
            for label, (axis, size) in zip(grid.labels, grid.axes)
        }
        self._grid = grid
        self._trials: dict[int, optuna.trial.Trial] = {}
        self._told: dict[int, Sequence[float] | None] = {}

    def ask(self, count: int) -> list[int]:
        """New points; what it proposes again is told at once, what is not allowed has failed."""
        found: list[int] = []
        for _ in range(self._TRIES * count):
            if len(found) >= count:
                break
            trial = self._study.ask(dict(self._space))
            number = self._grid.number(trial.params[label] for label in self._grid.labels)
            if number in self._told:
                self._finish(trial, self._told[number])
            elif number in self._trials or not self._grid.space.allows(number):
                self._finish(trial, None)
            else:
                self._trials[number] = trial
                found.append(number)
        return found

    def tell(self, number: int, costs: Sequence[float] | None) -> None:
        """Pass it on."""
        self._told[number] = costs
        self._finish(self._trials.pop(number), costs)

    def _finish(self, trial: object, costs: Sequence[float] | None) -> None:
        if costs is None:
            self._study.tell(trial, state=self._failed)  # type: ignore[arg-type]
        else:
            self._study.tell(trial, list(costs))  # type: ignore[arg-type]


SAMPLERS = ("auto", "exhaustive", "model", "nsga2", "tpe", "random")
"""What can be asked for; auto is exhaustive where that is affordable, else model."""
