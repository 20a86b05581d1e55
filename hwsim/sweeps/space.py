"""The space of a sweep: its parameters, the points of their product, and which of these the conditions leave."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwsim.errors import Fault, InputError, nearest
from hwsim.fields import check
from hwsim.machines import Machine
from hwsim.sweeps.expression import Expression, Kind, measure
from hwsim.sweeps.sources import MachineSource, WorkloadSource, find
from hwsim.sweeps.spec import MAX_VALUES, SweepSpec, values_of
from hwsim.workload import Workload
from hwsim.yaml_source import Document, read_yaml

__all__ = ["MAX_PRODUCT", "Parameter", "Point", "Space", "read_space"]

MAX_PRODUCT = 2_000_000
"""Points that conditions are asked about: more than can be simulated, and few enough to ask."""

_NETWORK = "workload."
_BLOCK = 16
"""Neighbouring points that stay in one shard, since they share the most."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One thing that is varied.

    Attributes
    ----------
    name : str
        ``machine``, ``workload``, ``batch``, a key of the machine, or ``workload.`` and a key of the workload.
    values : tuple
        As a file would have them.
    where : str
        Its place in the sweep file.
    """

    name: str
    values: tuple[Any, ...]
    where: str = ""

    @property
    def measured(self) -> tuple[Any, ...]:
        """The values in base units, for conditions and for axes of charts: numbers where they have a number."""
        return tuple(measure(value)[0] for value in self.values)


@dataclass(frozen=True, slots=True)
class Point:
    """One combination of values.

    Attributes
    ----------
    number : int
        Its place in the product, counted from 0 before conditions; the last parameter varies fastest.
    values : dict
        Every parameter and its value.
    """

    number: int
    values: Mapping[str, Any]

    @property
    def machine(self) -> str:
        """Label of its machine."""
        return str(self.values["machine"])

    @property
    def workload(self) -> str:
        """Label of its workload."""
        return str(self.values["workload"])

    @property
    def batch(self) -> int:
        """Inputs that run together."""
        return self.values["batch"]  # type: ignore[no-any-return]

    @property
    def machine_changes(self) -> dict[str, Any]:
        """Keys of the machine and their values."""
        own = ("machine", "workload", "batch")
        return {k: v for k, v in self.values.items() if k not in own and not k.startswith(_NETWORK)}

    @property
    def workload_changes(self) -> dict[str, Any]:
        """Keys of the workload and their values."""
        return {k.removeprefix(_NETWORK): v for k, v in self.values.items() if k.startswith(_NETWORK)}


class Space:
    """Parameters and their product.

    Attributes
    ----------
    name : str
    parameters : tuple of Parameter
        Machine, workload and batch first, then as the file has them.
    axes : tuple of tuple of Parameter
        What varies together; the product is that of the axes.
    machines, workloads : dict
        The source of each label.
    size : int
        Points of the product, before conditions.
    """

    def __init__(
        self,
        name: str,
        axes: Sequence[Sequence[Parameter]],
        machines: Mapping[str, MachineSource],
        workloads: Mapping[str, WorkloadSource],
        where: Sequence[str] = (),
        spec: SweepSpec | None = None,
    ) -> None:
        self.name = name
        self.axes = tuple(map(tuple, axes))
        self.machines, self.workloads = dict(machines), dict(workloads)
        self.parameters = tuple(parameter for axis in self.axes for parameter in axis)
        self.spec = spec
        self.size = math.prod(len(axis[0].values) for axis in self.axes)
        kinds = self.kinds()
        self.conditions = tuple(Expression(text, kinds) for text in where)
        self._measured = [list(zip(*(parameter.measured for parameter in axis))) for axis in self.axes]
        self._names = [[parameter.name for parameter in axis] for axis in self.axes]
        used = {name for condition in self.conditions for name in condition.names}
        # What conditions name besides parameters must be a constant of every machine.
        self._constants: dict[str, dict[str, Any]] = {}
        for label, source in self.machines.items():
            constants = source.constants
            for key in sorted(used - set(itertools.chain(*self._names))):
                if key not in constants:
                    raise InputError(f"conditions must name keys that every machine has; {label} has no {key!r}")
            self._constants[label] = {key: measure(constants[key])[0] for key in used if key in constants}

    def kinds(self) -> dict[str, Kind]:
        """Of each name that a condition may use: parameters, and keys of the machines."""
        kinds: dict[str, Kind] = {}
        for source in self.machines.values():
            for key, value in source.constants.items():
                kinds.setdefault(key, measure(value)[1])
        for parameter in self.parameters:
            found = list(dict.fromkeys(measure(value)[1] for value in parameter.values))
            kinds[parameter.name] = found[0] if len(found) == 1 else Kind("word")
        return kinds

    def point(self, number: int) -> Point:
        """The point of a place in the product."""
        values: dict[str, Any] = {}
        for axis, place in zip(self.axes, self._places(number)):
            for parameter in axis:
                values[parameter.name] = parameter.values[place]
        return Point(number, values)

    def number(self, places: Sequence[int]) -> int:
        """The number of the point at these places of the axes."""
        number = 0
        for axis, place in zip(self.axes, places, strict=True):
            if not 0 <= place < len(axis[0].values):
                raise IndexError(f"place must be below {len(axis[0].values)}, not {place}")
            number = number * len(axis[0].values) + place
        return number

    def _places(self, number: int) -> list[int]:
        """The place of a point on each axis."""
        if not 0 <= number < self.size:
            raise IndexError(f"number of a point must be below {self.size}, not {number}")
        places = []
        for axis in reversed(self.axes):
            number, place = divmod(number, len(axis[0].values))
            places.append(place)
        return places[::-1]

    def _env(self, places: Sequence[int]) -> dict[str, Any]:
        env: dict[str, Any] = {}
        for names, rows, place in zip(self._names, self._measured, places):
            env.update(zip(names, rows[place]))
        return {**self._constants[env["machine"]], **env}

    def allows(self, number: int) -> bool:
        """Whether every condition holds at a point."""
        if not self.conditions:
            return True
        env = self._env(self._places(number))
        return all(condition(env) for condition in self.conditions)

    def measured(self, number: int) -> dict[str, Any]:
        """Values of the parameters at a point in base units, numbers where they have one."""
        env: dict[str, Any] = {}
        for names, rows, place in zip(self._names, self._measured, self._places(number)):
            env.update(zip(names, rows[place]))
        return env

    def numbers(self, shard: tuple[int, int] | None = None) -> list[int]:
        """The points that are to be simulated, in order; of a shard (k, n), the k-th of n parts, k from 1.

        Raises
        ------
        InputError
            If there are too many, or conditions leave none.
        """
        factors = " x ".join(
            f"{' + '.join(p.name for p in axis)} {len(axis[0].values):,}"
            for axis in self.axes
            if len(axis[0].values) > 1
        )
        limit = MAX_PRODUCT if self.conditions else MAX_VALUES
        if self.size > limit:
            raise InputError(f"a sweep must have at most {limit:,} points, not {self.size:,} ({factors})")
        kept = list(self._allowed()) if self.conditions else list(range(self.size))
        if len(kept) > MAX_VALUES:
            raise InputError(f"a sweep must have at most {MAX_VALUES:,} points, not {len(kept):,}")
        if not kept:
            texts = " and ".join(condition.text for condition in self.conditions)
            raise InputError(f"conditions must leave a point; {texts!r:.200} leaves none of {self.size:,}")
        if shard is None:
            return kept
        part, parts = shard
        return [number for place, number in enumerate(kept) if place // _BLOCK % parts == part - 1]

    def _allowed(self) -> Iterator[int]:
        for number, places in enumerate(itertools.product(*(range(len(axis[0].values)) for axis in self.axes))):
            env = self._env(places)
            if all(condition(env) for condition in self.conditions):
                yield number


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
    return _Reader(source).space()


class _Reader:
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
                self.fault(path, f"{name!r} has a place of its own beside 'set'")
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

    def _try(self, values: dict[str, Any], keys: list[Parameter]) -> None:
        point = Point(0, values)
        own = {p.name: p for p in keys}
        if any(not name.startswith(_NETWORK) for name in own):
            for machine in self.machines.values():
                try:
                    machine.machine(point.machine_changes)
                except InputError as error:
                    self._relay(error, own, "", machine.label)
                for name, parameter in own.items():
                    if not name.startswith(_NETWORK) and (message := machine.invented(name)):
                        self._tell(parameter, message, machine.label)
        if any(name.startswith(_NETWORK) for name in own):
            for workload in self.workloads.values():
                try:
                    workload.workload(point.workload_changes)
                except InputError as error:
                    self._relay(error, own, _NETWORK, workload.label)

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
        many = len(self.workloads if parameter.name.startswith(_NETWORK) else self.machines) > 1
        fault = Fault(parameter.where, f"set.{parameter.name}", message + (f" (for {label})" if many else ""))
        if fault not in self.faults:
            self.faults.append(fault)
