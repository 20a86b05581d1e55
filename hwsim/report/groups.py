"""Runs that are compared: the totals and layers of each, grouped with those of the same layers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwsim.report.saved import read_report
from hwsim.report.uncertainty import percent

if TYPE_CHECKING:
    from hwsim.report.report import Report
    from hwsim.scenario import DutyCycle

__all__ = ["Entry", "Group", "entry_of", "grouped", "ratio", "read_entry"]


@dataclass(frozen=True)
class Entry:
    """One run of a comparison: its totals, its layers and its energy in pJ by component; or the error that ended it.

    Attributes
    ----------
    memories : mapping
        Bytes that the network needs of each memory, and the bytes of that memory.
    scenario : mapping
        A duty cycle, as `DutyCycle.to_dict` has it; empty without one.
    kind : str
        Kind of the machine; empty if unknown.
    libraries : tuple of str
        Libraries that the machine could run on instead.
    errors : mapping
        The expected error of latency and energy, as `ExpectedError` has it; empty in older reports.
    accuracy : float or None
        Percent that the network gets right, as the user says.
    run_on : str
        The label before that of the group; its own if empty.
    """

    label: str
    workload: str
    summary: Mapping[str, Any] = field(default_factory=dict)
    layers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    components: Mapping[str, float] = field(default_factory=dict)
    memories: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    scenario: Mapping[str, Any] = field(default_factory=dict)
    kind: str = ""
    libraries: tuple[str, ...] = ()
    errors: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    error: str = ""
    accuracy: float | None = None
    run_on: str = ""

    def word(self, column: str) -> str:
        """A total that is a word; empty where there is none."""
        return str(self.summary.get(column) or "")

    @property
    def bound(self) -> str:
        """The bottleneck of most of the time."""
        return next(iter(self.time_by_bound()), "")

    def expected_error(self, quantity: str) -> str:
        """The error to expect of latency or energy: 12%, or 40% or worse where nothing near was measured."""
        error = self.errors.get(quantity)
        return "" if error is None else percent(error["error"]) + ("" if error["measured"] else " or worse")

    @property
    def energy_origin(self) -> str:
        """What the energy is of, and what it rests on: board (measured)."""
        scope, basis = self.word("energy_scope"), self.word("energy_basis")
        return scope if basis in ("", "not stated", scope) else f"{scope} ({basis})"

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
                bound = row["bound"] or ""
                seconds[bound] = seconds.get(bound, 0.0) + row["latency_s"]
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


def entry_of(report: Report, label: str = "", scenario: DutyCycle | None = None) -> Entry:
    """A report as it is compared, labeled with its machine's name by default."""
    machine = report.machine
    data = report.to_dict() | ({"scenario": scenario.to_dict()} if scenario is not None else {})
    return replace(_entry(data, label or machine.name), kind=machine.kind, libraries=machine.libraries())


def _entry(data: Mapping[str, Any], label: str) -> Entry:
    components: dict[str, float] = {}
    for row in data["actions"]:
        if row["energy_pj"]:
            components[row["component"]] = components.get(row["component"], 0.0) + row["energy_pj"]
    layers = {str(row["layer"]): row for row in data["layers"]}
    memories = {str(use["memory"]): (use["need_bytes"], use["size_bytes"]) for use in data.get("memories", ())}
    name = str(data["summary"]["workload"])
    errors = data.get("expected_error", {})
    cycle = data.get("scenario") or {}
    return Entry(label, name, data["summary"], layers, components, memories, cycle, errors=errors)


def read_entry(path: str) -> Entry:
    """A report that `hwsim run --json` wrote."""
    data = read_report(path)
    return _entry(data, f"{data['summary']['machine']} ({Path(path).name})")


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
