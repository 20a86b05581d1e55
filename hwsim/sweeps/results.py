"""Results as tables: a row per point, in the order of the space."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwsim.errors import Fault, InputError, nearest
from hwsim.files import csv_cell, write_file
from hwsim.lazy import lazy
from hwsim.sweeps.evaluation import Outcome
from hwsim.sweeps.expression import Expression, Kind, column_kind, measure
from hwsim.sweeps.serving import SERVING_TOTALS
from hwsim.sweeps.space import Space
from hwsim.sweeps.store import StoreError
from hwsim.sweeps.totals import TOTALS, WORDS
from hwsim.sweeps.training import TRAINING_TOTALS

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = lazy("pandas")

__all__ = ["Results", "frame_of", "layers_of", "write_csv", "write_parquet"]

_LAYER = (
    "op", "macs", "macs_live", "macs_executed", "cycles", "latency_s", "energy_pj", "power_w", "utilization", "bound",
    "dram_bytes",
)  # fmt: skip
_MORE = (*TRAINING_TOTALS, *SERVING_TOTALS)
"""Columns that points have which train or serve."""
_COMPONENT = re.compile(r"energy_pj\.\w+")


class Results:
    """Columns and constraints of a sweep, and the rows of its outcomes.

    Parameters
    ----------
    space : Space
        With the metrics and constraints of its file.
    sample : iterable of Outcome
        Points whose layers show the columns of a machine; needed only for `per_layer`.

    Raises
    ------
    InputError
        For an unknown metric, layer column or name in a constraint.
    """

    def __init__(self, space: Space, sample: Iterable[Outcome] = ()) -> None:
        self.space, self.spec = space, space.spec
        self.names = [parameter.name for parameter in space.parameters]
        metrics = list(self.spec.metrics) if self.spec is not None else []
        self.metrics = metrics or list(TOTALS)
        self.all_components = not metrics
        self.per_layer = list(self.spec.per_layer) if self.spec is not None else []
        faults = [
            Fault(
                "",
                f"metrics[{place}]",
                f"must be a column of the results, not {name!r}{nearest(name, [*TOTALS, *_MORE])}",
            )
            for place, name in enumerate(metrics)
            if name not in (*TOTALS, *_MORE) and not _COMPONENT.fullmatch(name)
        ]
        columns = dict.fromkeys(_LAYER)
        sample = list(sample)
        for outcome in sample:
            for row in outcome.layers or ():
                columns.update(dict.fromkeys(row))
        faults += [
            Fault("", f"per_layer[{place}]", f"must be a column of a layer, not {name!r}{nearest(name, columns)}")
            for place, name in enumerate(self.per_layer)
            if name not in columns and all(outcome.layers for outcome in sample)
        ]
        self.constraints: list[Expression] = []
        for place, text in enumerate(self.spec.constraints if self.spec is not None else ()):
            try:
                self.constraints.append(Expression(text, self._kinds(text)))
            except InputError as error:
                faults.append(Fault("", f"constraints[{place}]", str(error)))
        if faults:
            raise InputError(faults)

    def _kinds(self, text: str) -> Mapping[str, Kind]:
        kinds = self.space.kinds()
        samples: dict[str, object] = {"fits": True} | dict.fromkeys(WORDS, "")
        kinds |= {name: column_kind(name, samples.get(name, 0.0)) for name in (*TOTALS, *_MORE)}
        return kinds | {name: column_kind(name) for name in _COMPONENT.findall(text)}

    def feasible(self, outcome: Outcome) -> bool:
        """Whether a point was simulated, fits and satisfies every constraint."""
        result = outcome.result
        if result is None:
            return False
        if not self.constraints:
            return bool(result["fits"])
        point = self.space.point(outcome.number)
        env: dict[str, Any] = {
            name: measure(value)[0] for name, value in self.space.machines[point.machine].constants.items()
        }
        env |= self.space.quantities(outcome.number)
        env |= {name: math.nan if value is None else value for name, value in result.items()}
        return all(
            constraint(
                {name: env.get(name, 0.0 if _COMPONENT.fullmatch(name) else math.nan) for name in constraint.names}
            )
            for constraint in self.constraints
        )

    def totals(self, outcomes: Sequence[Outcome], everything: bool = False) -> list[str]:
        """The columns of totals: the metrics of the file, or all."""
        columns = list(TOTALS if everything else self.metrics)
        more = (name for name in _MORE if everything or self.all_components)
        columns += [name for name in more if any((outcome.result or {}).get(name) is not None for outcome in outcomes)]
        if everything or self.all_components:
            columns += sorted(
                {key for outcome in outcomes for key in outcome.result or () if _COMPONENT.fullmatch(key)}
            )
        return columns

    def rows(self, outcomes: Sequence[Outcome], columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """One row per point: number, parameters, totals, feasibility and error."""
        for outcome in sorted(outcomes, key=lambda outcome: outcome.number):
            result = outcome.result or {}
            values = self.space.point(outcome.number).values
            yield {
                "point": outcome.number,
                **{name: _plain(values[name]) for name in self.names},
                **{name: result.get(name) for name in columns},
                "feasible": self.feasible(outcome),
                "error": outcome.error or "",
            }

    @property
    def layer_columns(self) -> list[str]:
        """Columns of the table of layers."""
        return ["point", "layer", *self.per_layer]

    def point_columns(self, totals: Sequence[str]) -> list[str]:
        """Columns of the table of points."""
        return ["point", *self.names, *totals, "feasible", "error"]

    def layer_rows(self, outcomes: Sequence[Outcome]) -> Iterator[dict[str, Any]]:
        """One row per point and layer, with the columns of `per_layer`."""
        for outcome in sorted(outcomes, key=lambda outcome: outcome.number):
            for row in outcome.layers or ():
                yield {
                    "point": outcome.number,
                    "layer": row["layer"],
                    **{name: row.get(name) for name in self.per_layer},
                }


def _plain(value: Any) -> Any:
    """A value as a cell: lists and mappings as JSON."""
    return value if isinstance(value, (bool, int, float, str)) else json.dumps(value, sort_keys=True)


def frame_of(results: Results, outcomes: Sequence[Outcome], everything: bool = False) -> pd.DataFrame:
    """The rows as a DataFrame."""
    totals = results.totals(outcomes, everything)
    rows = list(results.rows(outcomes, totals))
    frame = pd.DataFrame.from_records(rows, columns=results.point_columns(totals))
    # A value that a machine lacks (bounded memory, area, cost) is NaN.
    lacking = ("memory_bytes", "margin_bytes", "area_mm2", "cost_usd")
    return frame.astype({"feasible": bool} | {name: float for name in lacking if name in frame})


def layers_of(results: Results, outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """The rows of the layers as a DataFrame."""
    return pd.DataFrame.from_records(list(results.layer_rows(outcomes)), columns=results.layer_columns)


def write_csv(columns: Sequence[str], rows: Iterable[dict[str, Any]], path: Path) -> None:
    """Write rows as CSV; the file is replaced atomically.

    Floats round-trip. An unknown energy is ``nan``, a missing value is empty.
    """

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows({key: csv_cell(cell) for key, cell in row.items()} for row in rows)

    _replace_file(path, write)


def write_parquet(frame: pd.DataFrame, path: Path) -> None:
    """Write a DataFrame as Parquet; raises InputError if pyarrow is not installed."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise InputError("--parquet needs pyarrow: pip install 'hwsim[parquet]'") from None

    _replace_file(
        path, lambda temporary: parquet.write_table(pyarrow.Table.from_pandas(frame, preserve_index=False), temporary)
    )


def _replace_file(path: Path, write: Callable[[Path], object]) -> None:
    try:
        write_file(path, write)
    except InputError as error:
        text = f"{error}. Finished points are in the store. Free disk space and repeat the command"
        raise StoreError(text) from None
