"""Comparison of runs: totals and layers of each, and their ratio to the first."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwsim.errors import InputError
from hwsim.yaml_source import read_text

if TYPE_CHECKING:
    import pandas as pd

    from hwsim.report.report import Report

__all__ = ["Entry", "Group", "SideBySide", "compare", "entry_of", "read_entry"]

_MOST_BYTES = 256 * 2**20
_RATIOS = ("latency_s", "energy_pj")
_COLUMNS = ("macs", "cycles", "latency_s", "energy_pj", "utilization", "bound", "dram_bytes")


@dataclass(frozen=True)
class Entry:
    """One run as it is compared: its totals, its layers and its energy in pJ by component; or why there is none."""

    label: str
    workload: str
    summary: Mapping[str, Any] = field(default_factory=dict)
    layers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    components: Mapping[str, float] = field(default_factory=dict)
    error: str = ""

    def total(self, column: str) -> float:
        """A total; NaN where it is unknown."""
        return _number(self.summary.get(column))

    def value(self, layer: str, column: str) -> float:
        """A quantity of a layer; NaN where there is none."""
        return _number(self.layers.get(layer, {}).get(column))

    def time_by_bound(self) -> dict[str, float]:
        """Seconds by bottleneck, largest first."""
        found: dict[str, float] = {}
        for row in self.layers.values():
            if row["latency_s"]:
                found[row["bound"]] = found.get(row["bound"], 0.0) + row["latency_s"]
        return dict(sorted(found.items(), key=lambda item: -item[1]))


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan


def ratio(value: float, base: float) -> float:
    """The ratio to the base; NaN if the base is 0 or unknown."""
    return value / base if base and not math.isnan(base) else math.nan


@dataclass(frozen=True)
class Group:
    """Entries whose layers can be compared; the first is the base of the ratios."""

    name: str
    entries: tuple[Entry, ...]

    @property
    def base(self) -> Entry:
        """What the others are compared with."""
        return self.entries[0]

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """Names of all layers, those of the base first."""
        return tuple(dict.fromkeys(name for entry in self.entries for name in entry.layers))


@dataclass(frozen=True)
class SideBySide:
    """What `hwsim.compare` returns: groups of entries, and the entries that could not run."""

    groups: tuple[Group, ...]
    failed: tuple[Entry, ...] = ()

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All that ran, in order."""
        return tuple(entry for group in self.groups for entry in group.entries)

    def total_rows(self) -> list[dict[str, Any]]:
        """One dict a run: its totals, and latency and energy over those of the first run of its workload."""
        rows = []
        for group in self.groups:
            for entry in group.entries:
                ratios = {f"{name}_ratio": ratio(entry.total(name), group.base.total(name)) for name in _RATIOS}
                rows.append({"run": entry.label, "base": group.base.label, **entry.summary, **ratios})
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
        import pandas as pd

        return pd.DataFrame(self.total_rows())

    @cached_property
    def layers(self) -> pd.DataFrame:
        """One row a run and layer (tidy)."""
        import pandas as pd

        return pd.DataFrame(self.layer_rows())

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data; what is unknown is null."""
        return {
            "runs": [_clean(row) for row in self.total_rows()],
            "layers": [_clean(row) for row in self.layer_rows()],
            "failed": [{"run": entry.label, "workload": entry.workload, "error": entry.error} for entry in self.failed],
        }

    def to_json(self) -> str:
        """The comparison as JSON text."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)

    def to_csv(self) -> str:
        """The layers as CSV text."""
        return str(self.layers.to_csv(index=False))

    def to_html(self) -> str:
        """The comparison as one self-contained HTML document."""
        from hwsim.report.html.comparison import beside_page

        return beside_page(self).document()

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from hwsim.report.html.comparison import beside_page

        return beside_page(self).fragment()


def _clean(row: Mapping[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}


def entry_of(report: Report, label: str = "") -> Entry:
    """A report as it is compared, labeled with its machine's name by default."""
    data = report.to_dict()
    return _entry(data, label or report.machine.name)


def _entry(data: Mapping[str, Any], label: str) -> Entry:
    components: dict[str, float] = {}
    for row in data["actions"]:
        if row["energy_pj"]:
            components[row["component"]] = components.get(row["component"], 0.0) + row["energy_pj"]
    layers = {str(row["layer"]): row for row in data["layers"]}
    return Entry(label, str(data["summary"]["workload"]), data["summary"], layers, components)


def read_entry(path: str) -> Entry:
    """A report that `hwsim run --json` wrote."""
    try:
        data = json.loads(read_text(Path(path), _MOST_BYTES))
    except (ValueError, RecursionError) as error:
        raise InputError(f"must be JSON: {error}", path) from None
    try:
        entry = _entry(data, f"{data['summary']['machine']} ({Path(path).name})")
        entry.time_by_bound()
    except (KeyError, TypeError, AttributeError):
        raise InputError("must be a report that 'hwsim run --json' wrote", path) from None
    return entry


def _alike(entry: Entry, base: Entry) -> bool:
    """Whether the layers of two entries mean the same: at least half of the base's names are there."""
    names = set(base.layers)
    return entry.workload == base.workload or 2 * len(names & set(entry.layers)) >= max(len(names), len(entry.layers))


def beside(entries: Iterable[Entry]) -> SideBySide:
    """Entries grouped with those whose layers are alike."""
    groups: list[list[Entry]] = []
    failed = []
    for entry in entries:
        if entry.error:
            failed.append(entry)
            continue
        fitting = next((group for group in groups if _alike(entry, group[0])), None)
        if fitting is None:
            groups.append([entry])
        else:
            fitting.append(entry)
    return SideBySide(tuple(Group(_title(group), tuple(_told_apart(group))) for group in groups), tuple(failed))


def _title(group: Sequence[Entry]) -> str:
    return ", ".join(dict.fromkeys(entry.workload for entry in group))


def _told_apart(group: Sequence[Entry]) -> list[Entry]:
    """Entries whose labels differ: by the workload, then by their place."""
    if len({entry.workload for entry in group}) > 1:
        one = len({entry.label for entry in group}) == 1
        group = [_named(entry, entry.workload if one else f"{entry.label} {entry.workload}") for entry in group]
    seen: dict[str, int] = {}
    found = []
    for entry in group:
        seen[entry.label] = seen.get(entry.label, 0) + 1
        found.append(entry if seen[entry.label] == 1 else _named(entry, f"{entry.label} #{seen[entry.label]}"))
    return found


def _named(entry: Entry, label: str) -> Entry:
    return Entry(label, entry.workload, entry.summary, entry.layers, entry.components)


def compare(*reports: Report) -> SideBySide:
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
    return beside(entry_of(report) for report in reports)
