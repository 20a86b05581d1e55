"""Comparison of runs: totals and layers of each, and their ratio to the first."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hwsim.errors import InputError
from hwsim.files import csv_cell
from hwsim.lazy import lazy
from hwsim.message import Message, merged
from hwsim.report.comparability import comparability
from hwsim.report.groups import Entry, Group, entry_of, grouped, ratio
from hwsim.report.json_text import json_text
from hwsim.report.report import Report

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = lazy("pandas")

__all__ = ["Comparison", "compare"]

_RATIOS = ("latency_s", "energy_pj")
_FIRST = (
    "run", "workload", "batch", "latency_s", "latency_s_ratio", "energy_pj", "energy_pj_ratio", "power_w",
    "inferences_per_s", "library_name", "energy_scope", "energy_basis", "error_expected", "error_measured",
    "energy_error_expected", "energy_error_measured", "bound", "fits", "margin_bytes", "ram_need_bytes",
    "ram_size_bytes", "flash_need_bytes", "flash_size_bytes",
)  # fmt: skip
_CYCLE = ("every_s", "average_w", "least_w", "peak_w", "duty", "missed")
_COLUMNS = ("macs", "cycles", "latency_s", "energy_pj", "utilization", "bound", "dram_bytes")


@dataclass(frozen=True)
class Comparison:
    """Result of `hwsim.compare`: groups of runs with the same layers, and the runs that failed."""

    groups: tuple[Group, ...]
    failed: tuple[Entry, ...] = ()

    def __repr__(self) -> str:
        return f"<Comparison of {len(self.entries)} runs in {len(self.groups)} groups, {len(self.failed)} failed>"

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Comparison:
        """Compare entries; those with an error are listed apart."""
        entries = list(entries)
        return cls(grouped(e for e in entries if not e.error), tuple(e for e in entries if e.error))

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All that ran, in order."""
        return tuple(entry for group in self.groups for entry in group.entries)

    @property
    def messages(self) -> tuple[Message, ...]:
        """What makes ratios say less than they seem to, and warnings of duty cycles."""
        return merged(message for group in self.groups for message in comparability(group))

    def total_rows(self) -> list[dict[str, Any]]:
        """One dict a run: its totals, and latency and energy over those of the first run of its workload."""
        rows = []
        for group in self.groups:
            for entry in group.entries:
                row = {"run": entry.label, "base": group.base.label, **entry.summary}
                row |= {f"{name}_ratio": ratio(entry.total(name), group.base.total(name)) for name in _RATIOS}
                row |= {} if entry.accuracy is None else {"accuracy_pct": entry.accuracy}
                row |= {"energy_error_measured": error["measured"]} if (error := entry.errors.get("energy")) else {}
                rows.append(row | {"bound": entry.bound} | _memory_columns(entry) | _cycle_columns(entry))
        return rows

    def layer_rows(self) -> list[dict[str, Any]]:
        """One dict a run and layer, with latency and energy over those of the base."""
        rows = []
        for group in self.groups:
            for entry in group.entries:
                for name in group.layers:
                    if name in entry.layers:
                        values = {column: entry.layers[name].get(column) for column in _COLUMNS}
                        ratios = {
                            f"{column}_ratio": ratio(entry.value(name, column), group.base.value(name, column))
                            for column in _RATIOS
                        }
                        rows.append({"run": entry.label, "workload": entry.workload, "layer": name, **values, **ratios})
        return rows

    @cached_property
    def totals(self) -> pd.DataFrame:
        """One row a run."""
        return pd.DataFrame(self.total_rows())

    @cached_property
    def layers(self) -> pd.DataFrame:
        """One row a run and layer (tidy)."""
        return pd.DataFrame(self.layer_rows())

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data; what is unknown is null."""
        return {
            "runs": [_clean(row) for row in self.total_rows()],
            "layers": [_clean(row) for row in self.layer_rows()],
            "failed": self._failed_rows(),
            "messages": [message.to_dict() for message in self.messages],
        }

    def to_json(self) -> str:
        """The comparison as JSON text."""
        return json_text(self.to_dict())

    def _failed_rows(self) -> list[dict[str, Any]]:
        return [{"run": entry.label, "workload": entry.workload, "error": entry.error} for entry in self.failed]

    def to_csv(self) -> str:
        """One row a run as CSV text, those that failed with their error; `layers` has the layers."""
        rows = [*self.total_rows(), *self._failed_rows()]
        names = dict.fromkeys([*_FIRST, *(name for row in rows for name in row)])
        columns = [name for name in names if any(name in row for row in rows)]
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: csv_cell(cell) for name, cell in _clean(row).items()} for row in rows)
        return text.getvalue()

    def to_html(self) -> str:
        """The comparison as one self-contained HTML document."""
        from hwsim.report.html.comparison import comparison_page

        return comparison_page(self.groups, self.failed).document()

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from hwsim.report.html.comparison import comparison_page

        return comparison_page(self.groups, self.failed).fragment()


def _memory_columns(entry: Entry) -> dict[str, int]:
    """Bytes needed and available of each memory: ram_need_bytes, ram_size_bytes."""
    columns: dict[str, int] = {}
    for memory, (need, size) in entry.memories.items():
        name = memory.lower().replace(" ", "_")
        columns |= {f"{name}_need_bytes": need, f"{name}_size_bytes": size}
    return columns


def _cycle_columns(entry: Entry) -> dict[str, Any]:
    """Totals of the duty cycle, battery life among them."""
    if not entry.scenario:
        return {}
    columns = {name: entry.scenario.get(name) for name in _CYCLE}
    battery = entry.scenario.get("battery") or {}
    return columns | ({"battery": battery["name"], "life_s": battery["life_s"]} if battery else {})


def _clean(row: Mapping[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}


def compare(*reports: Report) -> Comparison:
    """Compare runs.

    Parameters
    ----------
    *reports : Report
        Of `hwsim.simulate`; the first of those with the same layers is what the others of them are compared with.

    Raises
    ------
    InputError
        If there are fewer than two.
    """
    if len(reports) < 2:
        raise InputError(f"at least two reports must be compared, not {len(reports)}")
    return Comparison.of(entry_of(report) for report in reports)
