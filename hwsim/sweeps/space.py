"""The space of a sweep: its parameters, the points of their product, and the conditions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hwsim.errors import InputError, excerpt
from hwsim.sweeps.expression import Expression, Kind, measure
from hwsim.sweeps.serving import is_serving_key
from hwsim.sweeps.sources import LLM, MachineSource, WorkloadSource
from hwsim.sweeps.spec import MAX_VALUES, SweepSpec
from hwsim.sweeps.training import CLUSTER, is_training_key

__all__ = ["BATCH", "MAX_PRODUCT", "NETWORK", "Parameter", "Point", "Space", "is_network_key"]

MAX_PRODUCT = 2_000_000
"""Maximum size of a product that is filtered by conditions."""

NETWORK = "workload."
"""Prefix of keys of the workload."""

BATCH = "llm.batch"
"""Sequences of a step of a language model: the batch size."""


def is_network_key(name: str) -> bool:
    """Whether a key is one of the workload: of its file, or of the step of a language model."""
    return name.startswith((NETWORK, LLM))


_BLOCK = 16
"""Neighboring points in one shard, since they share plans."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A swept parameter.

    Attributes
    ----------
    name : str
        ``machine``, ``workload``, ``batch``, a key of the machine, or ``workload.`` and a key of the workload.
    values : tuple
        In the form of a YAML file.
    where : str
        Place in the sweep file.
    """

    name: str
    values: tuple[Any, ...]
    where: str = ""

    @property
    def quantities(self) -> tuple[Any, ...]:
        """The values in base units, for conditions and chart axes; words stay text."""
        return tuple(measure(value)[0] for value in self.values)


@dataclass(frozen=True, slots=True)
class Point:
    """One combination of values.

    Attributes
    ----------
    number : int
        Index in the product before conditions, from 0; the last parameter varies fastest.
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
        """Batch size."""
        return self.values.get(BATCH, self.values["batch"])  # type: ignore[no-any-return]

    @property
    def machine_changes(self) -> dict[str, Any]:
        """Keys of the machine and their values."""
        own = ("machine", "workload", "batch")
        others = (is_network_key, is_training_key, is_serving_key)
        keys = (k for k in self.values if k not in own and not any(is_other(k) for is_other in others))
        return {key.removeprefix(CLUSTER): self.values[key] for key in keys}

    @property
    def training_changes(self) -> dict[str, Any]:
        """Keys of a recipe and of a split, and their values."""
        return {k: v for k, v in self.values.items() if is_training_key(k)}

    @property
    def serving_changes(self) -> dict[str, Any]:
        """Keys of a load and their values."""
        return {k: v for k, v in self.values.items() if is_serving_key(k)}

    @property
    def workload_changes(self) -> dict[str, Any]:
        """Keys of the workload and their values."""
        return {k.removeprefix(NETWORK): v for k, v in self.values.items() if is_network_key(k) and k != BATCH}


class Space:
    """Parameters and their Cartesian product.

    Attributes
    ----------
    name : str
    parameters : tuple of Parameter
        Machine, workload and batch first, then as the file has them.
    axes : tuple of tuple of Parameter
        Parameters that vary together; the product is that of the axes.
    machines, workloads : dict
        The source of each label.
    size : int
        Number of points of the product, before conditions.
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
        self._quantities = [list(zip(*(parameter.quantities for parameter in axis))) for axis in self.axes]
        self._names = [[parameter.name for parameter in axis] for axis in self.axes]
        names = {name for condition in self.conditions for name in condition.names}
        # Names in conditions that are no parameters must be keys of every machine.
        self._constants: dict[str, dict[str, Any]] = {}
        for label, source in self.machines.items():
            constants = source.constants
            for key in sorted(names - set(itertools.chain(*self._names))):
                if key not in constants:
                    raise InputError(f"conditions must name keys that every machine has; {label} has no {key!r}")
            self._constants[label] = {key: measure(constants[key])[0] for key in names if key in constants}

    def kinds(self) -> dict[str, Kind]:
        """Kind of each valid name in a condition: parameters and keys of the machines."""
        kinds: dict[str, Kind] = {}
        for source in self.machines.values():
            for key, value in source.constants.items():
                kinds.setdefault(key, measure(value)[1])
        for parameter in self.parameters:
            sorts = list(dict.fromkeys(measure(value)[1] for value in parameter.values))
            kinds[parameter.name] = sorts[0] if len(sorts) == 1 else Kind("word")
        return kinds

    def point(self, number: int) -> Point:
        """The point with a number."""
        values: dict[str, Any] = {}
        for axis, place in zip(self.axes, self._places(number)):
            for parameter in axis:
                values[parameter.name] = parameter.values[place]
        return Point(number, values)

    def number(self, places: Sequence[int]) -> int:
        """The number of the point with these indices on the axes."""
        number = 0
        for axis, place in zip(self.axes, places, strict=True):
            if not 0 <= place < len(axis[0].values):
                raise IndexError(f"place must be below {len(axis[0].values)}, not {place}")
            number = number * len(axis[0].values) + place
        return number

    def _places(self, number: int) -> list[int]:
        """The index of a point on each axis."""
        if not 0 <= number < self.size:
            raise IndexError(f"number of a point must be below {self.size}, not {number}")
        places = []
        for axis in reversed(self.axes):
            number, place = divmod(number, len(axis[0].values))
            places.append(place)
        return places[::-1]

    def _env(self, places: Sequence[int]) -> dict[str, Any]:
        env: dict[str, Any] = {}
        for names, rows, place in zip(self._names, self._quantities, places):
            env.update(zip(names, rows[place]))
        return {**self._constants[env["machine"]], **env}

    def allows(self, number: int) -> bool:
        """Whether every condition holds at a point."""
        if not self.conditions:
            return True
        env = self._env(self._places(number))
        return all(condition(env) for condition in self.conditions)

    def quantities(self, number: int) -> dict[str, Any]:
        """Values of the parameters at a point in base units."""
        env: dict[str, Any] = {}
        for names, rows, place in zip(self._names, self._quantities, self._places(number)):
            env.update(zip(names, rows[place]))
        return env

    def numbers(self, shard: tuple[int, int] | None = None) -> list[int]:
        """Numbers of the points to simulate, in order; with a shard (k, n), the k-th of n parts, k from 1.

        Raises
        ------
        InputError
            If there are too many points, or none satisfies the conditions.
        """
        factors = " x ".join(
            f"{' + '.join(p.name for p in axis)} {len(axis[0].values):,}"
            for axis in self.axes
            if len(axis[0].values) > 1
        )
        limit = MAX_PRODUCT if self.conditions else MAX_VALUES
        if self.size > limit:
            raise InputError(f"a sweep must have at most {limit:,} points, not {self.size:,} ({factors})")
        selection = list(self._allowed_numbers()) if self.conditions else list(range(self.size))
        if len(selection) > MAX_VALUES:
            raise InputError(f"a sweep must have at most {MAX_VALUES:,} points, not {len(selection):,}")
        if not selection:
            texts = " and ".join(condition.text for condition in self.conditions)
            raise InputError(
                f"conditions must allow at least one point; {excerpt(texts, 200)} allows none of {self.size:,}"
            )
        if shard is None:
            return selection
        part, parts = shard
        return [number for place, number in enumerate(selection) if place // _BLOCK % parts == part - 1]

    def _allowed_numbers(self) -> Iterator[int]:
        for number, places in enumerate(itertools.product(*(range(len(axis[0].values)) for axis in self.axes))):
            env = self._env(places)
            if all(condition(env) for condition in self.conditions):
                yield number
