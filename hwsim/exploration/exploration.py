"""Result of an exploration: the simulated points, their Pareto front, and statistics of the search."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hwsim.exploration.grid import Grid
from hwsim.exploration.objectives import Objective, log_scaled
from hwsim.exploration.sensitivity import sensitivity
from hwsim.files import csv_text, write_text
from hwsim.lazy import lazy
from hwsim.message import Message
from hwsim.report.html import SweepPoints
from hwsim.report.pareto import front
from hwsim.sweeps.evaluation import Outcome
from hwsim.sweeps.results import Results, frame_of, write_csv
from hwsim.sweeps.space import Space

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = lazy("pandas")

__all__ = ["Exploration"]

_STEPS = 40


@dataclass
class Exploration:
    """Result of an exploration.

    Attributes
    ----------
    space : Space
    objectives : tuple of Objective
    sampler : str
        Sampler used: ``exhaustive``, ``model``, ``nsga2``, ``tpe`` or ``random``.
    budget : int
        Maximum number of simulated points.
    outcomes : list of Outcome
        Of the simulated points, in the order of the sampler.
    pruned : int
        Points that were not simulated because their lower bounds are dominated by simulated points.
    violations : int
        Points that were not simulated because their parameters, area or cost violate a constraint.
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
    violations: int = 0
    complete: bool = False

    def __repr__(self) -> str:
        goals = ", ".join(objective.column for objective in self.objectives)
        return f"<Exploration of {goals}: {len(self.outcomes)} points simulated, {self.sampler}>"

    @cached_property
    def costs(self) -> NDArray[np.float64]:
        """Objective values to minimize, shape (points, objectives); NaN for infeasible points."""
        rows = [
            [objective.cost(outcome.result) for objective in self.objectives]
            if outcome.result is not None and self.results.feasible(outcome)
            else [math.nan] * len(self.objectives)
            for outcome in self.outcomes
        ]
        return np.array(rows, dtype=float).reshape(len(self.outcomes), len(self.objectives))

    @property
    def feasible(self) -> NDArray[np.bool_]:
        """Mask of the feasible simulated points."""
        return np.asarray([not any(map(math.isnan, row)) for row in self.costs.tolist()], dtype=bool)

    @cached_property
    def front_numbers(self) -> list[int]:
        """Numbers of the points on the front, in order of the first objective."""
        places = np.flatnonzero(front(self.costs))
        order = sorted(places, key=lambda place: (*self.costs[place], self.outcomes[place].number))
        return [self.outcomes[place].number for place in order]

    @property
    def front(self) -> pd.DataFrame:
        """The non-dominated simulated points, in order of the first objective."""
        rows = self.frame.set_index("point").loc[self.front_numbers]
        return rows.reset_index()

    @cached_property
    def frame(self) -> pd.DataFrame:
        """Every simulated point, in the order of the space."""
        return frame_of(self.results, self.outcomes)

    @cached_property
    def volumes(self) -> list[tuple[int, float]]:
        """Fraction of the final hypervolume against the number of simulated points.

        The hypervolume is that of the logarithms of the objectives (of the values, if their signs differ), with the
        worst simulated value of each objective as the reference point.
        """
        from moocore import hypervolume

        costs = log_scaled(self.costs)
        finite = np.asarray(np.isfinite(costs).all(axis=1))
        if not finite.any():
            return []
        limit = costs[finite].max(axis=0)
        span = limit - costs[finite].min(axis=0)
        limit = limit + np.where(span > 0, span, 1.0) * 1e-3  # so that the worst point in one objective has a volume
        steps = sorted({round(step) for step in np.linspace(1, len(costs), min(_STEPS, len(costs)))})
        best = np.empty((0, costs.shape[1]))
        curve, start = [], 0
        for step in steps:
            best = np.concatenate([best, costs[start:step][finite[start:step]]])
            best = best[front(best)]
            start = step
            curve.append((step, hypervolume(best, ref=limit)))
        last = curve[-1][1]
        return [(step, float(volume / last) if last else 0.0) for step, volume in curve]

    @cached_property
    def sensitivity(self) -> dict[str, dict[str, float]]:
        """Objective -> parameter -> total Sobol index (see `sensitivity`)."""
        feasible = self.feasible
        numbers = [outcome.number for outcome, is_feasible in zip(self.outcomes, feasible) if is_feasible]
        shares = sensitivity(self.grid, numbers, self.costs[feasible], self.seed)
        return {
            objective.column: dict(zip(self.grid.labels, map(float, row)))
            for objective, row in zip(self.objectives, shares)
        }

    @property
    def notes(self) -> tuple[Message, ...]:
        """Facts on the search."""
        failures = sum(outcome.result is None for outcome in self.outcomes)
        infeasible = int((~self.feasible).sum()) - failures
        size = len(self.grid.all_points) if self.grid.all_points is not None else self.space.size
        template = "{simulated:,} of {size:count point} simulated, sampler {sampler}, seed {seed}"
        values = {"simulated": len(self.outcomes), "size": size, "sampler": self.sampler, "seed": self.seed}
        facts = [Message("explore.simulated", template, values)]
        for code, points, template in (
            ("dominated", self.pruned, "{points:,} pruned: their lower bounds are dominated by the front"),
            ("violations", self.violations, "{points:,} pruned: their parameters, area or cost violate a constraint"),
            ("failed", failures, "{points:,} failed"),
            ("infeasible", infeasible, "{points:,} infeasible: they do not fit or violate a constraint"),
        ):
            if points:
                facts.append(Message(f"explore.{code}", template, {"points": points}))
        if self.complete:
            template = "the front is complete: every other point of the space is dominated or infeasible"
            facts.append(Message("explore.complete", template))
        return tuple(facts)

    def to_json(self) -> str:
        """The front and the statistics of the search, as JSON."""
        rows = json.loads(self.front.to_json(orient="records", double_precision=15))
        data = {
            "space": self.space.name,
            "objectives": [{"column": o.column, "maximize": o.maximize} for o in self.objectives],
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
        except OSError as error:
            raise StoreError(f"{folder}: cannot be written: {error.strerror or error}") from None
        write_text(files[0], csv_text(self.front))
        write_text(files[1], self.to_json())
        totals = self.results.totals(self.outcomes)
        write_csv(self.results.point_columns(totals), self.results.rows(self.outcomes, totals), files[2])
        return files

    def _points(self) -> SweepPoints:
        from hwsim.report.html import SweepPoints

        place = {int(number): at for at, number in enumerate(self.frame["point"])}
        return SweepPoints(
            self.frame,
            [parameter.name for parameter in self.space.parameters if len(parameter.values) > 1],
            [o.column for o in self.objectives],
            self.space.name,
            front=[place[number] for number in self.front_numbers],
            maximize=[o.column for o in self.objectives if o.maximize],
            hypervolume=self.volumes,
            sensitivity=self.sensitivity,
            notes=list(map(str, self.notes)),
        )

    def page(self) -> str:
        """The exploration as a self-contained HTML page."""
        from hwsim.report.html import sweep_html

        return sweep_html(self._points())

    def _repr_html_(self) -> str:
        from hwsim.report.html import sweep_fragment

        return sweep_fragment(self._points())
