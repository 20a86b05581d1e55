"""Reads a sweep file and checks every key and value before any simulation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hwsim.errors import Fault, InputError, excerpt, nearest
from hwsim.fields import check
from hwsim.machines import Machine
from hwsim.sweeps.serving import check_serving, is_serving_key
from hwsim.sweeps.sources import LLM, MachineSource, WorkloadSource, find
from hwsim.sweeps.space import BATCH, NETWORK, Parameter, Point, Space, is_network_key
from hwsim.sweeps.spec import SweepSpec, values_of
from hwsim.sweeps.training import CLUSTER, check_training, is_training_key
from hwsim.workload import Workload
from hwsim.yaml_source import Document, read_yaml

__all__ = ["Reader", "read_space"]


class Reader:
    """Reads a sweep file in steps; all faults of a step are reported together."""

    def __init__(self, source: str | Path | Mapping[str, Any]) -> None:
        self.faults: list[Fault] = []
        self.machines: dict[str, MachineSource] = {}
        self.workloads: dict[str, WorkloadSource] = {}
        if isinstance(source, Mapping):
            self.folder = Path()
            self.document = Document("sweep", self._without_objects(source))
        elif not isinstance(source, str | Path):
            raise InputError(f"a sweep must be a file or a mapping, not {excerpt(source)}")
        else:
            self.folder = Path(source).parent
            self.document = read_yaml(Path(source))
        self.spec = check(SweepSpec, self.document)

    def _without_objects(self, source: Mapping[str, Any]) -> dict[str, Any]:
        """The data with labels in place of machine and workload objects."""
        data = dict(source)
        for key in ("machines", "workloads"):
            items = data[key] if isinstance(data.get(key), (list, tuple)) else [data[key]] if key in data else None
            if items is None:
                continue
            data[key] = [str(item) if isinstance(item, Path) else item for item in items]
            for place, item in enumerate(items):
                if isinstance(item, Machine):
                    self.machines[item.name] = MachineSource.of(item)
                    data[key][place] = item.name
                elif isinstance(item, Workload):
                    self.workloads[item.name] = WorkloadSource.of(item)
                    data[key][place] = item.name
        return data

    def fault(self, path: tuple[str | int, ...], message: str) -> None:
        key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
        self.faults.append(Fault(self.document.where(path), key, message))

    def raise_faults(self) -> None:
        """Raise the faults so far."""
        if self.faults:
            raise InputError(self.faults)

    def space(self) -> Space:
        """The space."""
        self._sources()
        self.raise_faults()
        parameters = self._parameters()
        self.raise_faults()
        axes = self._axes(parameters)
        self.raise_faults()
        self._check_values(axes)
        self.raise_faults()
        name = self.spec.name or Path(self.document.name).stem
        for place, text in enumerate(self.spec.where):
            try:
                Space(name, axes, self.machines, self.workloads, [text])
            except InputError as error:
                self.fault(("where", place), str(error))
        self.raise_faults()
        return Space(name, axes, self.machines, self.workloads, self.spec.where, self.spec)

    def _sources(self) -> None:
        readers: tuple[tuple[str, dict[str, Any], Any], ...] = (
            ("machines", self.machines, MachineSource),
            ("workloads", self.workloads, WorkloadSource),
        )
        for what, sources, reader in readers:
            objects = dict(sources)
            sources.clear()
            for place, text in enumerate(getattr(self.spec, what)):
                try:
                    matches = {text: objects[text]} if text in objects else find(what, text, self.folder)
                    for label, name in matches.items():
                        if label in sources:
                            self.fault((what, place), f"must have each of them once; {label!r} is given twice")
                        sources[label] = name if isinstance(name, reader) else reader.read(label, name)
                except InputError as error:
                    for fault in error.faults:
                        if fault.where:
                            self.faults.append(fault)
                        else:
                            self.fault((what, place), fault.message)

    def _parameters(self) -> dict[str, Parameter]:
        entries: list[tuple[str, tuple[str, ...], object]] = [
            ("machine", ("machines",), list(self.machines)),
            ("workload", ("workloads",), list(self.workloads)),
            ("batch", ("batch",), self.spec.batch),
            *((key, ("set", key), entry) for key, entry in self.spec.set.items()),
        ]
        parameters: dict[str, Parameter] = {}
        for name, path, entry in entries:
            try:
                values = values_of(entry)
            except InputError as error:
                self.fault(path, str(error))
                continue
            if name in parameters:
                self.fault(path, f"{name!r} must not be in 'set': it has its own key")
            parameters[name] = Parameter(name, values, self.document.where(path))
        for name, path in (("batch", ("batch",)), (BATCH, ("set", BATCH))):
            for value in parameters[name].values if name in parameters else ():
                if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 65536:
                    self.fault(path, f"must be whole numbers from 1 to 65536, not {excerpt(value)}")
        if BATCH in parameters and self.spec.batch != 1:
            self.fault(("set", BATCH), "must be left out where batch is given: it is the batch size")
        return parameters

    def _axes(self, parameters: dict[str, Parameter]) -> list[list[Parameter]]:
        group_of: dict[str, int] = {}
        for place, names in enumerate(self.spec.zip):
            lengths = {}
            for name in names:
                if name not in parameters:
                    self.fault(
                        ("zip", place), f"must name a parameter of the sweep, not {name!r}{nearest(name, parameters)}"
                    )
                elif group_of.setdefault(name, place) != place or names.count(name) > 1:
                    self.fault(("zip", place), f"must have each parameter in one group once; {name!r} is in another")
                else:
                    lengths[name] = len(parameters[name].values)
            if len(set(lengths.values())) > 1:
                texts = ", ".join(f"{name} {length}" for name, length in lengths.items())
                self.fault(("zip", place), f"must have parameters with equal numbers of values, not {texts}")
        axes: list[list[Parameter]] = []
        axis_of: dict[int, list[Parameter]] = {}
        for name, parameter in parameters.items():
            group = group_of.get(name)
            if group is not None and group in axis_of:
                axis_of[group].append(parameter)
                continue
            axes.append([parameter])
            if group is not None:
                axis_of[group] = axes[-1]
        return axes

    def _check_values(self, axes: list[list[Parameter]]) -> None:
        """Check each value of each key on every machine and workload, with all other keys at their first value."""
        first = {p.name: p.values[0] for axis in axes for p in axis if p.name not in ("machine", "workload", "batch")}
        for machine in self.machines.values():
            self._check_alone(machine, Point(0, first).machine_changes)
        for axis in axes:
            keys = [p for p in axis if p.name in first]
            # Long ranges are uniform: a few of their values are enough.
            count = len(axis[0].values)
            places = range(count) if count <= 200 else (0, 1, count // 2, count - 1)
            for place in places if keys else ():
                values = first | {p.name: p.values[place] for p in keys}
                if place and not any(p.values[place] != p.values[0] for p in keys):
                    continue
                self._try(values, keys)
                if len(self.faults) > 20:
                    return

    def _check_alone(self, machine: MachineSource, changes: dict[str, Any]) -> None:
        """Report a machine that is invalid both with and without the first values of the sweep."""
        for variant in (changes, {}):
            try:
                machine.machine(variant)
                return
            except InputError as error:
                faults = error.faults
        self.faults += faults

    def _try(self, values: dict[str, Any], keys: list[Parameter]) -> None:
        point = Point(0, values)
        own = {p.name: p for p in keys}
        if any(is_training_key(name) for name in own):
            for machine in self.machines.values():
                try:
                    check_training(point.training_changes, machine.document.data.get("kind") == "cluster")
                except InputError as error:
                    self._report_all(error, own, "", machine.label)
        if any(is_serving_key(name) for name in own):
            for workload in self.workloads.values():
                try:
                    check_serving(point.serving_changes, workload, values_of(self.spec.batch))
                except InputError as error:
                    self._report_all(error, own, "", workload.label)
        if any(not _of_another(name) for name in own):
            for machine in self.machines.values():
                try:
                    machine.machine(point.machine_changes)
                except InputError as error:
                    self._report_all(error, own, "", machine.label)
                for name, parameter in own.items():
                    if not _of_another(name) and (message := machine.unknown_key(name.removeprefix(CLUSTER))):
                        self._report(parameter, message, machine.label)
        if any(is_network_key(name) for name in own):
            for workload in self.workloads.values():
                try:
                    workload.workload(point.workload_changes)
                except InputError as error:
                    self._report_all(error, own, NETWORK, workload.label)

    def _report_all(self, error: InputError, own: dict[str, Parameter], prefix: str, label: str) -> None:
        """Report faults of swept keys at their place in the sweep file; others may be due to this combination."""
        for fault in error.faults:
            name = fault.where.removeprefix("--set ")
            key = name if name.startswith(LLM) else prefix + name
            if fault.where.startswith("--set ") and key not in own:
                key = CLUSTER + key
            if fault.where.startswith("--set ") and key in own:
                self._report(own[key], fault.message, label)
            elif prefix and not fault.where.startswith("--set "):
                for parameter in own.values():
                    self._report(parameter, fault.message, label)

    def _report(self, parameter: Parameter, message: str, label: str) -> None:
        many = len(self.workloads if is_network_key(parameter.name) else self.machines) > 1
        fault = Fault(parameter.where, f"set.{parameter.name}", message + (f" (for {label})" if many else ""))
        if fault not in self.faults:
            self.faults.append(fault)


def _of_another(name: str) -> bool:
    """Whether a key is not one of the machine."""
    return is_network_key(name) or is_training_key(name) or is_serving_key(name)


def read_space(source: str | Path | Mapping[str, Any]) -> Space:
    """Read and check a sweep.

    Parameters
    ----------
    source : path or mapping
        A sweep file, or the same as plain data, in which machines and workloads may also be objects.

    Returns
    -------
    Space
        Its keys and values have been checked on every machine and workload.

    Raises
    ------
    InputError
        With all faults of the file and their places.
    """
    return Reader(source).space()
