"""Reads a sweep file: every key must be one, and take each of its values, before anything is simulated."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hwsim.errors import Fault, InputError, nearest
from hwsim.fields import check
from hwsim.machines import Machine
from hwsim.sweeps.sources import MachineSource, WorkloadSource, find
from hwsim.sweeps.space import NETWORK, Parameter, Point, Space
from hwsim.sweeps.spec import SweepSpec, values_of
from hwsim.workload import Workload
from hwsim.yaml_source import Document, read_yaml

__all__ = ["Reader", "read_space"]


class Reader:
    """Reads a sweep file; faults of a part are collected before the next part begins."""

    def __init__(self, source: str | Path | Mapping[str, Any]) -> None:
        self.faults: list[Fault] = []
        self.machines: dict[str, MachineSource] = {}
        self.workloads: dict[str, WorkloadSource] = {}
        if isinstance(source, Mapping):
            self.beside = Path()
            self.document = Document("sweep", self._without_objects(source))
        else:
            self.beside = Path(source).parent
            self.document = read_yaml(Path(source))
        self.spec = check(SweepSpec, self.document)

    def _without_objects(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The same data with a label in the place of each machine and workload."""
        data = dict(given)
        for key in ("machines", "workloads"):
            listed = data[key] if isinstance(data.get(key), (list, tuple)) else [data[key]] if key in data else None
            if listed is None:
                continue
            data[key] = [str(item) if isinstance(item, Path) else item for item in listed]
            for place, item in enumerate(listed):
                if isinstance(item, Machine):
                    self.machines[item.name] = MachineSource.of(item)
                    data[key][place] = item.name
                elif isinstance(item, Workload):
                    self.workloads[item.name] = WorkloadSource.of(item)
                    data[key][place] = item.name
        return data

    def fault(self, path: tuple[str | int, ...], message: str) -> None:
        shown = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
        self.faults.append(Fault(self.document.where(path), shown, message))

    def settle(self) -> None:
        """Tell the faults so far."""
        if self.faults:
            raise InputError(self.faults)

    def space(self) -> Space:
        """The space."""
        self._sources()
        self.settle()
        parameters = self._parameters()
        self.settle()
        axes = self._zipped(parameters)
        self.settle()
        self._check_values(axes)
        self.settle()
        name = self.spec.name or Path(self.document.name).stem
        for place, text in enumerate(self.spec.where):
            try:
                Space(name, axes, self.machines, self.workloads, [text])
            except InputError as error:
                self.fault(("where", place), str(error))
        self.settle()
        return Space(name, axes, self.machines, self.workloads, self.spec.where, self.spec)

    def _sources(self) -> None:
        readers: tuple[tuple[str, dict[str, Any], Any], ...] = (
            ("machines", self.machines, MachineSource),
            ("workloads", self.workloads, WorkloadSource),
        )
        for what, known, reader in readers:
            given = dict(known)
            known.clear()
            for place, text in enumerate(getattr(self.spec, what)):
                try:
                    found = {text: given[text]} if text in given else find(what, text, self.beside)
                    for label, name in found.items():
                        if label in known:
                            self.fault((what, place), f"must have each of them once; {label!r} is given twice")
                        known[label] = name if isinstance(name, reader) else reader.read(label, name)
                except InputError as error:
                    for fault in error.faults:
                        if fault.where:
                            self.faults.append(fault)
                        else:
                            self.fault((what, place), fault.message)

    def _parameters(self) -> dict[str, Parameter]:
        listed: list[tuple[str, tuple[str, ...], object]] = [
            ("machine", ("machines",), list(self.machines)),
            ("workload", ("workloads",), list(self.workloads)),
            ("batch", ("batch",), self.spec.batch),
            *((key, ("set", key), given) for key, given in self.spec.set.items()),
        ]
        found: dict[str, Parameter] = {}
        for name, path, given in listed:
            try:
                values = values_of(given)
            except InputError as error:
                self.fault(path, str(error))
                continue
            if name in found:
                self.fault(path, f"{name!r} has its own key beside 'set'")
            found[name] = Parameter(name, values, self.document.where(path))
        for value in found["batch"].values if "batch" in found else ():
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 65536:
                self.fault(("batch",), f"must be whole numbers from 1 to 65536, not {value!r:.60}")
        return found

    def _zipped(self, parameters: dict[str, Parameter]) -> list[list[Parameter]]:
        group_of: dict[str, int] = {}
        for place, names in enumerate(self.spec.zip):
            lengths = {}
            for name in names:
                if name not in parameters:
                    self.fault(("zip", place), f"must name what is varied, not {name!r}{nearest(name, parameters)}")
                elif group_of.setdefault(name, place) != place or names.count(name) > 1:
                    self.fault(("zip", place), f"must have each parameter in one group once; {name!r} is in another")
                else:
                    lengths[name] = len(parameters[name].values)
            if len(set(lengths.values())) > 1:
                shown = ", ".join(f"{name} {length}" for name, length in lengths.items())
                self.fault(("zip", place), f"must have parameters with as many values each, not {shown}")
        axes: list[list[Parameter]] = []
        seen: dict[int, list[Parameter]] = {}
        for name, parameter in parameters.items():
            group = group_of.get(name)
            if group is not None and group in seen:
                seen[group].append(parameter)
                continue
            axes.append([parameter])
            if group is not None:
                seen[group] = axes[-1]
        return axes

    def _check_values(self, axes: list[list[Parameter]]) -> None:
        """Every key must be one of each machine and workload, and take each value: the others at their first."""
        first = {p.name: p.values[0] for axis in axes for p in axis if p.name not in ("machine", "workload", "batch")}
        for machine in self.machines.values():
            self._whole(machine, Point(0, first).machine_changes)
        for axis in axes:
            keys = [p for p in axis if p.name in first]
            # Long ranges are of one form: their ends tell as much as all of them.
            count = len(axis[0].values)
            places = range(count) if count <= 200 else (0, 1, count // 2, count - 1)
            for place in places if keys else ():
                values = first | {p.name: p.values[place] for p in keys}
                if place and not any(p.values[place] != p.values[0] for p in keys):
                    continue
                self._try(values, keys)
                if len(self.faults) > 20:
                    return

    def _whole(self, machine: MachineSource, changes: dict[str, Any]) -> None:
        """A machine that is at fault itself, and whom the sweep does not make whole, is told."""
        for given in (changes, {}):
            try:
                machine.machine(given)
                return
            except InputError as error:
                faults = error.faults
        self.faults += faults

    def _try(self, values: dict[str, Any], keys: list[Parameter]) -> None:
        point = Point(0, values)
        own = {p.name: p for p in keys}
        if any(not name.startswith(NETWORK) for name in own):
            for machine in self.machines.values():
                try:
                    machine.machine(point.machine_changes)
                except InputError as error:
                    self._relay(error, own, "", machine.label)
                for name, parameter in own.items():
                    if not name.startswith(NETWORK) and (message := machine.invented(name)):
                        self._tell(parameter, message, machine.label)
        if any(name.startswith(NETWORK) for name in own):
            for workload in self.workloads.values():
                try:
                    workload.workload(point.workload_changes)
                except InputError as error:
                    self._relay(error, own, NETWORK, workload.label)

    def _relay(self, error: InputError, own: dict[str, Parameter], prefix: str, label: str) -> None:
        """Tell faults of keys that are set where the sweep file has them; others may be of this combination alone."""
        for fault in error.faults:
            key = prefix + fault.where.removeprefix("--set ")
            if fault.where.startswith("--set ") and key in own:
                self._tell(own[key], fault.message, label)
            elif prefix and not fault.where.startswith("--set "):
                for parameter in own.values():
                    self._tell(parameter, fault.message, label)

    def _tell(self, parameter: Parameter, message: str, label: str) -> None:
        many = len(self.workloads if parameter.name.startswith(NETWORK) else self.machines) > 1
        fault = Fault(parameter.where, f"set.{parameter.name}", message + (f" (for {label})" if many else ""))
        if fault not in self.faults:
            self.faults.append(fault)


def read_space(source: str | Path | Mapping[str, Any]) -> Space:
    """Read a sweep.

    Parameters
    ----------
    source : path or mapping
        A sweep file, or the same as plain data; there, machines and workloads may be objects too.

    Returns
    -------
    Space
        Checked as far as can be before anything is simulated: every key is one, and takes each of its values.

    Raises
    ------
    InputError
        With the faults of the file, each with its place.
    """
    return Reader(source).space()
