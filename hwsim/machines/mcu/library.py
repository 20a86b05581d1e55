"""Kernel libraries: what a MAC, an output, a patch and a call cost under a named version, and on which core.

A library's table is in cycles of the core that it was fitted on. Another core takes a factor of its own for each class
of code (`cores.yaml`), times what the library's family is known to differ there.
"""

from __future__ import annotations

from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from hwsim.errors import InputError, nearest
from hwsim.fields import Name, OneOf, Positive, Size, Spec, check, current
from hwsim.machines.mcu.features import CLASSES, DEFAULTS, SIGNAL, TERMS, number_format
from hwsim.message import Message
from hwsim.workload import Layer
from hwsim.workload.number_format import DTYPES
from hwsim.yaml_source import read_yaml

__all__ = ["McuCore", "McuLibrary", "core_names", "library_names", "load_core", "load_library"]

_FOLDER = Path(__file__).parent / "libraries"
_CORES = Path(__file__).parent / "cores.yaml"

Cost = Annotated[float, Field(ge=0, le=1e6)]
Factor = Annotated[float, Field(gt=0, le=1e3)]
Class = Literal["pointwise", "conv", "depthwise", "dense", "other"]
Code = Annotated[Literal["optimized", "c", "vector", "float"], BeforeValidator(current)]


class McuCore(Spec):
    """A core: MACs in a cycle at most, and for each style of code its cycles over those of the core of the tables.

    `optimized` is code for the core's own instructions, `c` plain C, `vector` code for a vector extension, `float`
    plain C on 32-bit floats, by a floating-point unit or by subroutines.
    """

    description: str
    macs_per_cycle: Positive
    factors: dict[Code, dict[Class, Factor]]
    source: str
    fitted: str | None = None


class Signal(Spec):
    """Cycles of `core` for each unit of the spectrum of audio: floating-point code that no kernel library has."""

    core: Name
    costs: dict[str, Cost]
    source: str

    @model_validator(mode="after")
    def _complete(self) -> Signal:
        if sorted(self.costs) != sorted(SIGNAL):
            raise ValueError(f"costs must be of {', '.join(SIGNAL)}")
        return self


class _Cores(Spec):
    cores: dict[Name, McuCore]
    signal: Signal


class CoreUse(Spec):
    """How a library is known on a core: its factors there, by class of code or one for all, over those of the core.

    `fitted` has the rows; no rows: it is carried over, and `source` says what is assumed beside the core's factors.
    """

    times: Factor | dict[Class, Factor] = 1.0
    fitted: str | None = None
    source: str | None = None

    def factor(self, kind: Class) -> float:
        """The factor of a class of code; 1 where none is given."""
        return self.times.get(kind, 1.0) if isinstance(self.times, dict) else self.times


class Format(Spec):
    """How a library runs another number format than int8: the kernels of another library, or costs of its own.

    `times` are over the costs of int8, by class of code; `costs` are cycles of the library's core, for `code`.
    """

    kernels: Name | None = None
    times: dict[Class, Factor] | None = None
    costs: dict[str, Cost] | None = None
    code: Code | None = None
    source: str

    @model_validator(mode="after")
    def _one(self) -> Format:
        keys = [name for name in ("kernels", "times", "costs") if getattr(self, name) is not None]
        if len(keys) != 1:
            raise ValueError(f"must have one of kernels, times and costs, not {', '.join(keys) or 'none'}")
        if self.costs is not None:
            _check_costs(self.costs)
        return self


def _check_costs(costs: dict[str, float]) -> None:
    for term in costs:
        if term not in TERMS:
            raise ValueError(f"costs names {term!r}, which is no term{nearest(term, TERMS)}")
    missing = [term for term in TERMS if term not in costs and term not in DEFAULTS]
    if missing:
        raise ValueError(f"costs must give every term; missing: {', '.join(missing)}")


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


class McuLibrary(Spec):
    """A kernel library in one version.

    `costs` are cycles of `core` for each unit of a term; `cores` those that it exists for. `dead_channels` says whether
    the stack leaves dead channels out; `environment` picks the power state of a board that was measured under it.
    `scratch` says whose working memory the kernels ask for: TFLM's reference kernels (those of plain C, by default),
    CMSIS-NN's, or columns of patches of the library's own.
    `vendor` is the maker for whose parts alone the library exists. Every library runs int8, and int4 weights widened to
    it; `formats` has what else it runs.
    """

    name: Name
    family: str
    vendor: str | None = None
    source: str
    fitted: str
    core: Name
    code: Code
    formats: dict[Annotated[str, OneOf(DTYPES)], Format] = {}
    dead_channels: Literal["drop", "keep"] = "keep"
    dead_channels_source: str | None = None
    environment: str | None = None
    scratch: Literal["reference", "cmsis-nn", "columns"] | None = None
    costs: dict[str, Cost]
    cores: Annotated[dict[Name, CoreUse], Field(min_length=1)]
    memory: LibraryMemory

    @model_validator(mode="after")
    def _complete(self) -> McuLibrary:
        _check_costs(self.costs)
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

    @property
    def runs(self) -> tuple[str, ...]:
        """The number formats that there are kernels for."""
        return ("int8", *self.formats)

    def format_of(self, layer: Layer) -> str:
        """The number format whose kernels run a layer; those without products are run in any, at the cost of int8."""
        name = number_format(layer)
        return name if name in self.runs else "int8"

    def kernels(self, number_format: str = "int8") -> McuLibrary:
        """The library whose kernels run a number format: this one, or the one that it falls back to."""
        entry = self.formats.get(number_format)
        return load_library(entry.kernels) if entry is not None and entry.kernels is not None else self

    def code_of(self, number_format: str) -> Code:
        """The style of code of the kernels for a number format."""
        kernels = self.kernels(number_format)
        entry = kernels.formats.get(number_format)
        return kernels.code if entry is None or entry.code is None else entry.code

    def scratch_kernels(self, number_format: str, core: str) -> str:
        """Whose working memory the kernels of a number format ask for: ``columns``, or as of `ArenaRequests`."""
        kernels, code = self.kernels(number_format), self.code_of(number_format)
        if kernels.scratch == "cmsis-nn" and code not in ("c", "float"):
            is_plain = load_core(core).macs_per_cycle < 2
            return "cmsis-nn-mve" if code == "vector" else "cmsis-nn-c" if is_plain else "cmsis-nn"
        return kernels.scratch or ("reference" if code in ("c", "float") else "columns")

    def cycles(self, term: str, core: str, number_format: str = "int8") -> float:
        """Cycles of `core` that a unit of a term takes."""
        if term in SIGNAL:
            return _signal_cycles(term, core)
        kernels = self.kernels(number_format)
        if kernels is not self:
            return kernels.cycles(term, core, number_format)
        kind: Class = CLASSES[term]  # type: ignore[assignment]
        costs, code, times = self.costs, self.code, self.cores[core].factor(kind)
        if number_format != "int8":
            entry = self.formats[number_format]
            costs, code = entry.costs or costs, entry.code or code
            times *= 1.0 if entry.times is None else entry.times[kind]
        here, home = load_core(core).factors[code], load_core(self.core).factors[code]
        cost = costs[term] if term in costs else costs[DEFAULTS[term]]
        return cost * times * here[kind] / home[kind]

    def scaled(self, core: str) -> Message | None:
        """What its costs on a core come from, if it was not measured there."""
        if self.cores[core].fitted is not None:
            return None
        cores = [name for name, use in self.cores.items() if use.fitted is not None] or ["no core"]
        template = (
            "library {library} was measured on {cores}, not on {core}: its costs are scaled by the factors of the core"
        )
        values: dict[str, Any] = {"library": self.name, "cores": cores, "core": core}
        if (source := self.cores[core].source) is not None:
            template, values = template + "; {source}", values | {"source": source}
        return Message("mcu.scaled_core", template, values)


@cache
def _file() -> _Cores:
    return check(_Cores, read_yaml(_CORES))


def _cores() -> dict[str, McuCore]:
    return _file().cores


def _signal_cycles(term: str, core: str) -> float:
    """Cycles of `core` for a unit of the spectrum of audio: a logarithm has double precision, the rest single."""
    signal = _file().signal
    kind: Class = "other" if term == "logarithm" else "pointwise"
    return signal.costs[term] * load_core(core).factors["float"][kind] / load_core(signal.core).factors["float"][kind]


def core_names() -> list[str]:
    """Names of the cores that are known."""
    return sorted(_cores())


def load_core(name: str) -> McuCore:
    """A core by name; raises ValueError with the nearest."""
    if name not in _cores():
        raise ValueError(f"no core is called {name!r}{nearest(name, core_names())}")
    return _cores()[name]


@cache
def library_names() -> tuple[str, ...]:
    """Names of the libraries that come with hwsim."""
    return tuple(sorted(path.name.removesuffix(".yaml") for path in _FOLDER.glob("*.yaml")))


@lru_cache(maxsize=64)
def _load(path: Path) -> McuLibrary:
    return check(McuLibrary, read_yaml(path))


def load_library(name: str, beside: Path | None = None) -> McuLibrary:
    """A library by name, or by path: beside the machine that names it, in the folder `beside`, else from here."""
    if name.endswith((".yaml", ".yml")):
        path = (beside or Path()) / name
        return _load(path if path.exists() else Path(name))
    if name not in library_names():
        raise InputError(f"no kernel library is called {name!r}{nearest(name, library_names())}")
    return _load(_FOLDER / f"{name}.yaml")
