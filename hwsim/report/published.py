"""Published measurements of machines, and the error of predictions against them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from hwsim.errors import Fault, InputError, nearest
from hwsim.fields import Name, Positive, Spec, check
from hwsim.report.quantity import shown
from hwsim.units import column_unit, parse
from hwsim.yaml_source import read_yaml

if TYPE_CHECKING:
    from hwsim.report.result import LayerResult, RunResult

__all__ = ["Measurements", "Prediction", "PublishedRun", "measurements_of"]


class PublishedRun(Spec):
    """One published run: a workload, its batch, and the quantities of its layers or of the whole.

    A quantity is a column of the report (of its summary in `total`), the energy of a component as ``glb_pj``, or the
    count of its actions as ``dram_read`` or ``dram_update``; with ``_per_mac`` behind it, that over the MACs.
    """

    workload: Name
    batch: Positive = 1
    layers: dict[str, dict[str, str | int | float]] = {}
    total: dict[str, str | int | float] = {}
    only: str | None = None
    set: dict[str, str | int | float] = {}

    @property
    def label(self) -> str:
        """The workload, and what of the machine was changed."""
        return ", ".join([self.workload, *(f"{key}={value}" for key, value in self.set.items())])


class MeasurementsSpec(Spec):
    """The file of published measurements of one machine.

    `software` is what they were measured under, if that is not the library of the machine; `limits` is the error that
    the tests allow by quantity.
    """

    machine: Name
    source: str
    software: str | None = None
    limits: dict[str, Annotated[float, Field(ge=0, le=1)]] = {}
    runs: list[PublishedRun]


@dataclass(frozen=True, slots=True)
class Prediction:
    """A published quantity and its prediction."""

    workload: str
    batch: int
    layer: str
    column: str
    predicted: float
    published: float
    limit: float | None

    @property
    def error(self) -> float:
        """Relative error, positive when the prediction is larger."""
        return self.predicted / self.published - 1

    @property
    def within(self) -> bool:
        """Whether the error is within the limit that the tests hold."""
        return self.limit is None or abs(self.error) <= self.limit

    def shown(self, value: float) -> str:
        """A value of this quantity with its unit."""
        return shown(self.column, value)


class Measurements:
    """The published measurements of one machine."""

    def __init__(self, spec: MeasurementsSpec, name: str) -> None:
        self.spec, self.name = spec, name

    @property
    def source(self) -> str:
        """Where the numbers were published."""
        return self.spec.source

    def rows(self, workload: str, batch: int) -> dict[str, dict[str, float]]:
        """Published quantities by layer, in base units, of the runs of one workload and batch."""
        rows: dict[str, dict[str, float]] = {}
        for run in self.spec.runs:
            if run.workload == workload and run.batch == batch and not run.set:
                for layer, values in run.layers.items():
                    rows.setdefault(layer, {}).update({c: self._value(c, v) for c, v in values.items()})
        return rows

    def _value(self, column: str, value: str | int | float) -> float:
        if not isinstance(value, str):
            return float(value)
        unit = column_unit(column)
        if unit is None or len(unit.dimensions) > 1:
            raise InputError([Fault(self.name, column, f"must be a number, not {value!r}")])
        try:
            return float(Fraction(parse(value, unit.dimensions[0])))
        except ValueError as error:
            raise InputError([Fault(self.name, column, str(error))]) from None

    def compare(self, run: PublishedRun, report: RunResult) -> Iterator[Prediction]:
        """Each published quantity of a run with what `report` predicts for it."""
        rows = {row["layer"]: row for row in report.rows}
        results = {result.name: result for result in report.results}
        for layer, values in run.layers.items():
            if layer not in rows:
                where = f"{self.name}: {run.workload}"
                raise InputError([Fault(where, layer, f"must name a layer of the workload{nearest(layer, rows)}")])
            yield from self._compare(run, layer, values, rows[layer].get, [results[layer]])
        yield from self._compare(run, "all", run.total, lambda c: getattr(report.summary, c, None), report.results)

    def _compare(
        self,
        run: PublishedRun,
        layer: str,
        values: dict[str, str | int | float],
        value_of: Callable[[str], Any],
        results: Sequence[LayerResult],
    ) -> Iterator[Prediction]:
        for column, value in values.items():
            predicted = _predicted(column, value_of, results)
            if predicted is None:
                raise InputError([Fault(self.name, column, f"is not a quantity that is predicted for {layer!r}")])
            published, limit = self._value(column, value), self.spec.limits.get(column)
            yield Prediction(run.label, run.batch, layer, column, predicted, published, limit)


def _predicted(column: str, value_of: Callable[[str], Any], results: Sequence[LayerResult]) -> float | None:
    """The predicted quantity of some layers; None if there is no such quantity."""
    if (value := value_of(column)) is not None:
        return float(value)
    if column.endswith("_per_mac"):
        whole = _predicted(column.removesuffix("_per_mac"), value_of, results)
        macs = sum(result.plan.macs for result in results)
        return whole / macs if whole is not None and macs else None
    component, _, what = column.rpartition("_")
    if what == "pj":
        energies = [pj for result in results for key, pj in result.energy.items() if key[0] == component]
        return math.fsum(energies) if energies else None
    counts = [n for r in results for key, n in r.plan.counts.items() if (key[0], key[2]) == (component, what)]
    return float(sum(counts)) if counts else None


@cache
def _read(path: Path) -> Measurements:
    return Measurements(check(MeasurementsSpec, read_yaml(path)), str(path))


def measurements_of(machine: str, folder: Path) -> Measurements | None:
    """Published measurements of a machine in `folder`/measured, if there are any."""
    path = folder / "measured" / f"{machine}.yaml"
    return _read(path) if path.is_file() else None
