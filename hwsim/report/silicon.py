"""Published measurements of the machines that hwsim models, and how far a prediction is from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from hwsim.errors import Fault, InputError
from hwsim.fields import Name, Positive, Spec, check
from hwsim.units import format_si, parse
from hwsim.yaml_source import read_yaml

if TYPE_CHECKING:
    from hwsim.report.report import Report

__all__ = ["Comparison", "Silicon", "silicon_of"]

_DIMENSION = {"_s": "time", "_bytes": "size", "_w": "power", "_pj": "energy"}


class Measured(Spec):
    """One published run: a workload, its batch, and the quantities of its layers or of the whole."""

    workload: Name
    batch: Positive = 1
    layers: dict[str, dict[str, str | int | float]] = {}
    total: dict[str, str | int | float] = {}
    only: str | None = None
    set: dict[str, str | int | float] = {}


class SiliconSpec(Spec):
    """The file of published measurements of one machine; `limits` is the error that the tests allow by quantity."""

    machine: Name
    source: str
    limits: dict[str, Annotated[float, Field(ge=0, le=1)]] = {}
    runs: list[Measured]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One predicted quantity beside the published one."""

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
        if self.column.endswith("_per_s"):
            return f"{value:.4g}/s"
        for suffix, unit in (("_s", "s"), ("_bytes", "B"), ("_w", "W")):
            if self.column.endswith(suffix):
                return format_si(value, unit, 4)
        return format_si(value * 1e-12, "J", 4) if self.column.endswith("_pj") else f"{value:.4g}"


class Silicon:
    """The published measurements of one machine."""

    def __init__(self, spec: SiliconSpec, name: str) -> None:
        self.spec, self.name = spec, name

    @property
    def source(self) -> str:
        """Where the numbers were published."""
        return self.spec.source

    def rows(self, workload: str, batch: int) -> dict[str, dict[str, float]]:
        """Published quantities by layer, in base units, of the runs of one workload and batch."""
        found: dict[str, dict[str, float]] = {}
        for run in self.spec.runs:
            if run.workload == workload and run.batch == batch and not run.set:
                for layer, values in run.layers.items():
                    found.setdefault(layer, {}).update({c: self._value(c, v) for c, v in values.items()})
        return found

    def _value(self, column: str, value: str | int | float) -> float:
        if not isinstance(value, str):
            return float(value)
        kind = next((d for suffix, d in _DIMENSION.items() if column.endswith(suffix)), None)
        if kind is None:
            raise InputError([Fault(self.name, column, f"must be a number, not {value!r}")])
        try:
            return float(Fraction(parse(value, kind)))
        except ValueError as error:
            raise InputError([Fault(self.name, column, str(error))]) from None

    def compare(self, run: Measured, report: Report) -> Iterator[Comparison]:
        """Each published quantity of a run beside what `report` predicts for it."""
        rows = {row["layer"]: row for row in report.rows}
        for layer, values in run.layers.items():
            for column, value in values.items():
                predicted, published = float(rows[layer][column]), self._value(column, value)
                limit = self.spec.limits.get(column)
                yield Comparison(run.workload, run.batch, layer, column, predicted, published, limit)
        for column, value in run.total.items():
            predicted, published = float(getattr(report.summary, column)), self._value(column, value)
            yield Comparison(run.workload, run.batch, "all", column, predicted, published, self.spec.limits.get(column))


@cache
def _read(path: Path) -> Silicon:
    return Silicon(check(SiliconSpec, read_yaml(path)), str(path))


def silicon_of(machine: str, folder: Path) -> Silicon | None:
    """The published measurements kept for a machine in `folder`/measured, if there are any."""
    path = folder / "measured" / f"{machine}.yaml"
    return _read(path) if path.is_file() else None
