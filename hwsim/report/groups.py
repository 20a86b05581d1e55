"""Runs that are compared: the totals and layers of each, grouped with those of the same layers."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwsim.errors import InputError
from hwsim.yaml_source import read_text

if TYPE_CHECKING:
    from hwsim.report.report import Report

__all__ = ["Entry", "Group", "entry_of", "grouped", "ratio", "read_entry"]

_MOST_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Entry:
    """One run of a comparison: its totals, its layers and its energy in pJ by component; or the error that ended it."""

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
        seconds: dict[str, float] = {}
        for row in self.layers.values():
            if row["latency_s"]:
                seconds[row["bound"]] = seconds.get(row["bound"], 0.0) + row["latency_s"]
        return dict(sorted(seconds.items(), key=lambda item: -item[1]))


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


def grouped(entries: Iterable[Entry]) -> tuple[Group, ...]:
    """Entries grouped with those whose layers are alike."""
    groups: list[list[Entry]] = []
    for entry in entries:
        group = next((group for group in groups if _alike(entry, group[0])), None)
        if group is None:
            groups.append([entry])
        else:
            group.append(entry)
    return tuple(Group(_title(group), _unique_labels(group)) for group in groups)


def _title(group: Sequence[Entry]) -> str:
    return ", ".join(dict.fromkeys(entry.workload for entry in group))


def _unique_labels(group: Sequence[Entry]) -> tuple[Entry, ...]:
    """Entries whose labels differ: by the workload, then by their place."""
    if len({entry.workload for entry in group}) > 1:
        one = len({entry.label for entry in group}) == 1
        group = [replace(e, label=e.workload if one else f"{e.label} {e.workload}") for e in group]
    number: dict[str, int] = {}
    entries = []
    for entry in group:
        number[entry.label] = nth = number.get(entry.label, 0) + 1
        entries.append(entry if nth == 1 else replace(entry, label=f"{entry.label} #{nth}"))
    return tuple(entries)
