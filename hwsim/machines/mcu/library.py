"""Kernel libraries: what a MAC, an output, a patch and a call cost under a named version, and on which core.

A library's table is in cycles of the core that it was fitted on. Another core takes a factor of its own for each class
of code (`cores.yaml`), times what the library's family is known to differ there.
"""

from __future__ import annotations

from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from hwsim.errors import InputError, nearest
from hwsim.fields import Name, Positive, Size, Spec, check
from hwsim.machines.mcu.features import CLASSES, TERMS
from hwsim.yaml_source import read_yaml

__all__ = ["Core", "Library", "core_names", "library_names", "load_core", "load_library"]

_FOLDER = Path(__file__).parent / "libraries"
_CORES = Path(__file__).parent / "cores.yaml"

Cost = Annotated[float, Field(ge=0, le=1e6)]
Factor = Annotated[float, Field(gt=0, le=1e3)]
Code = Literal["optimised", "c", "vector"]


class Core(Spec):
    """A core: MACs in a cycle at most, and for each style of code its cycles over those of the core of the tables.

    `optimised` is code for the core's own instructions, `c` plain C, `vector` code for a vector extension.
    """

    description: str
    macs_per_cycle: Positive
    factors: dict[Code, dict[Literal["pointwise", "conv", "depthwise", "dense", "other"], Factor]]
    source: str
    fitted: str | None = None


class _Cores(Spec):
    cores: dict[Name, Core]


class CoreUse(Spec):
    """How a library is known on a core: a factor of its family there, and the rows; no rows: it is carried over."""

    times: Factor = 1.0
    fitted: str | None = None


class LibraryMemory(Spec):
    """What the library takes beside weights and activations: code in flash; state in RAM, and that of each operator.

    `channel` is what each output channel of a weighted operator has there, its multiplier and shift; a network compiled
    ahead of time has them in flash.
    """

    code: Size
    ram: Size
    operator: Size
    channel: Size | None = None
    source: str


class Library(Spec):
    """A kernel library in one version.

    `costs` are cycles of `core` for each unit of a term; `cores` those that it exists for. `dead_channels` says whether
    the stack leaves dead channels out; `environment` picks the power state of a board that was measured under it.
    """

    name: Name
    family: str
    source: str
    fitted: str
    core: Name
    code: Code
    dtypes: list[str] = ["int8", "int4"]
    dead_channels: Literal["drop", "keep"] = "keep"
    dead_channels_source: str | None = None
    environment: str | None = None
    uncertainty: Annotated[float, Field(gt=0, le=10)]
    costs: dict[str, Cost]
    cores: Annotated[dict[Name, CoreUse], Field(min_length=1)]
    memory: LibraryMemory

    @model_validator(mode="after")
    def _complete(self) -> Library:
        for term in self.costs:
            if term not in TERMS:
                raise ValueError(f"costs names {term!r}, which is no term{nearest(term, TERMS)}")
        missing = [term for term in TERMS if term not in self.costs]
        if missing:
            raise ValueError(f"costs must give every term; missing: {', '.join(missing)}")
        if self.core not in self.cores:
            raise ValueError(f"cores must have {self.core!r}, whose cycles the costs are in")
        for core in self.cores:
            if core not in core_names():
                raise ValueError(f"cores names {core!r}, which is no core{nearest(core, core_names())}")
            if self.code not in load_core(core).factors:
                raise ValueError(f"cores names {core!r}, which has no factors for {self.code} code")
        return self

    @property
    def drops(self) -> bool:
        """Whether dead channels are left out."""
        return self.dead_channels == "drop"

    def cycles(self, term: str, core: str) -> float:
        """Cycles of `core` that a unit of a term takes."""
        here, home = load_core(core).factors[self.code], load_core(self.core).factors[self.code]
        return self.costs[term] * self.cores[core].times * here[CLASSES[term]] / home[CLASSES[term]]  # type: ignore[index]

    def carried(self, core: str) -> str | None:
        """A sentence for a core that the library was not measured on."""
        if self.cores[core].fitted is not None:
            return None
        known = ", ".join(name for name, use in self.cores.items() if use.fitted is not None) or "no core of its own"
        return (
            f"library {self.name} was measured on {known}, not on {core}: its costs are carried over by the factors of "
            f"the core"
        )


@cache
def _cores() -> dict[str, Core]:
    return check(_Cores, read_yaml(_CORES)).cores


def core_names() -> list[str]:
    """Names of the cores that are known."""
    return sorted(_cores())


def load_core(name: str) -> Core:
    """A core by name; raises ValueError with the nearest."""
    if name not in _cores():
        raise ValueError(f"no core is called {name!r}{nearest(name, core_names())}")
    return _cores()[name]


def library_names() -> list[str]:
    """Names of the libraries that come with hwsim."""
    return sorted(path.name.removesuffix(".yaml") for path in _FOLDER.glob("*.yaml"))


@lru_cache(maxsize=64)
def _load(path: Path) -> Library:
    return check(Library, read_yaml(path))


def load_library(name: str, beside: Path | None = None) -> Library:
    """A library by name, or by path (relative to `beside`, the folder of the machine that names it)."""
    if name.endswith((".yaml", ".yml")):
        return _load((beside or Path()) / name)
    if name not in library_names():
        raise InputError(f"no kernel library is called {name!r}{nearest(name, library_names())}")
    return _load(_FOLDER / f"{name}.yaml")
