"""Cores: vector ports and the instruction sequences that multiply-accumulate on them.

The rate of a sequence is what the ports allow. Of its instructions, those that only run on a set of ports take at least
their port cycles over the number of ports in the set; the largest such bound over all sets is reached by a scheduler
that balances (Hall's theorem), and is what the reciprocal throughputs of the manuals come from.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from hwsim.errors import excerpt, nearest
from hwsim.fields import Name, OneOf, Positive, Size, Spec, check
from hwsim.machines.cpu.sustained import RuleSpec
from hwsim.workload.number_format import DTYPES
from hwsim.yaml_source import Document, read_yaml

__all__ = [
    "CpuCore",
    "Dtype",
    "Sequence",
    "core_document",
    "core_named",
    "core_names",
    "load_core",
    "rule",
    "run_formats",
    "sequence_of",
]

_CORES = Path(__file__).parent / "cores.yaml"
_LIKE_DEPTH = 6


def run_formats() -> list[str]:
    """Number formats that some sequence of instructions multiplies."""
    dtypes = {sequence.dtype for sequence in _file().sequences.values()}
    return [name for name in DTYPES if name in dtypes]


Dtype = Annotated[str, OneOf(run_formats)]


class CpuInstruction(Spec):
    """An instruction: cycles until its result can be added to, and what it does."""

    latency: Annotated[int, Field(ge=1, le=1000)]
    does: str


class Sequence(Spec):
    """Instructions that a kernel runs for so many MACs: in all, or for each byte of a vector.

    `depth` is how many input values are summed into one output by it.
    """

    dtype: Annotated[str, OneOf(DTYPES)]
    instructions: Annotated[list[Name], Field(min_length=1, max_length=16)]
    macs: Positive | None = None
    macs_per_byte: Annotated[float, Field(gt=0, le=64)] | None = None
    depth: Positive

    def macs_of(self, vector_bytes: int) -> int:
        """MACs of one run of the sequence on vectors of so many bytes."""
        return self.macs if self.macs is not None else round((self.macs_per_byte or 0) * vector_bytes)


class CoreMemories(Spec):
    """What the caches give a core, as the machine's `memories` take it; checked there."""

    l1: dict[str, Any] = {}
    l2: dict[str, Any] = {}
    l3: dict[str, Any] = {}


class CpuCore(Spec):
    """A microarchitecture.

    `ports` lists what each vector port runs, `cycles` how long an instruction holds its port (default 1),
    `latency` where an instruction's differs from the usual, `sequences` those that libraries run on it.
    """

    like: Name | None = None
    description: str
    vector: Size
    registers: Positive
    ports: Annotated[dict[Name, list[Name]], Field(min_length=1, max_length=8)]
    cycles: dict[Name, Positive] = {}
    latency: dict[Name, Positive] = {}
    sequences: Annotated[list[Name], Field(min_length=1)]
    memories: CoreMemories
    source: str

    @model_validator(mode="after")
    def _whole_lanes(self) -> CpuCore:
        if self.vector % 4 or self.vector > 1024:
            raise ValueError(
                f"vector must be whole 32-bit lanes of at most 1024 B in all, not {float(self.vector):g} B"
            )
        return self

    @property
    def vector_bytes(self) -> int:
        """Bytes of a vector register."""
        return int(self.vector)

    @property
    def lanes(self) -> int:
        """32-bit sums in a vector register."""
        return self.vector_bytes // 4

    def cycles_of(self, name: str) -> Fraction:
        """Port-bound cycles of one run of a sequence; raises ValueError where no port runs an instruction of it."""
        cycles: dict[frozenset[str], int] = {}
        for instruction in sequence_of(name).instructions:
            users = frozenset(port for port, runs in self.ports.items() if instruction in runs)
            if not users:
                names = sorted({other for runs in self.ports.values() for other in runs})
                raise ValueError(
                    f"{name} needs {instruction}, which must run on a port of the core ({', '.join(self.ports)})"
                    f"{nearest(instruction, names)}"
                )
            cycles[users] = cycles.get(users, 0) + self.cycles.get(instruction, 1)
        ports = sorted({port for users in cycles for port in users})
        return max(
            Fraction(sum(n for users, n in cycles.items() if users <= set(chosen)), size)
            for size in range(1, len(ports) + 1)
            for chosen in combinations(ports, size)
        )

    def rate(self, name: str) -> Fraction:
        """MACs a cycle of a sequence, as the ports allow."""
        return sequence_of(name).macs_of(self.vector_bytes) / self.cycles_of(name)

    def latency_of(self, name: str) -> int:
        """Cycles before the last instruction of a sequence can add to the same sum again."""
        last = sequence_of(name).instructions[-1]
        return self.latency.get(last, _file().instructions[last].latency)

    def best(self, dtype: str) -> str | None:
        """The fastest sequence for a number format, or None where there is none."""
        fitting = [name for name in self.sequences if sequence_of(name).dtype == dtype]
        return max(fitting, key=self.rate, default=None)


class _File(Spec):
    instructions: dict[Name, CpuInstruction]
    sequences: dict[Name, Sequence]
    cores: dict[Name, dict[str, Any]]
    sustained: RuleSpec


@cache
def _document() -> Document:
    return read_yaml(_CORES)


@cache
def _file() -> _File:
    return check(_File, _document())


def sequence_of(name: str) -> Sequence:
    """A sequence by name; raises ValueError with the nearest."""
    sequences = _file().sequences
    if name not in sequences:
        raise ValueError(f"no instruction sequence is called {name!r}{nearest(name, sequences)}")
    return sequences[name]


def core_names() -> list[str]:
    """Names of the cores that are known."""
    return sorted(_file().cores)


def _merged(under: Any, top: Any) -> Any:
    """Mappings merge key by key, everything else replaces."""
    if isinstance(under, dict) and isinstance(top, dict):
        return under | {key: _merged(under.get(key), value) for key, value in top.items()}
    return top


def rule() -> RuleSpec:
    """The rule of sustained clocks."""
    return _file().sustained


def core_document(core: object) -> dict[str, Any]:
    """A core as written, over those that it is `like`; raises ValueError for an unknown name."""
    document: dict[str, Any] = {}
    for _ in range(_LIKE_DEPTH):
        if isinstance(core, str) and core not in _file().cores:
            raise ValueError(f"no core is called {core!r}{nearest(core, core_names())}")
        if not isinstance(core, (str, dict)):
            raise ValueError(f"core must be the name of one, not {excerpt(core)}{nearest(core, core_names())}")
        written = _file().cores[core] if isinstance(core, str) else core
        # Ports and sequences are a core's own: they replace, they do not add up.
        own = {key for key in ("ports", "sequences") if key in document}
        lower = {key: value for key, value in written.items() if key not in own}
        document = _merged(lower, document)
        if "like" not in written:
            return document
        core = written["like"]
    raise ValueError(f"core {core!r} must be like others at most {_LIKE_DEPTH} deep")


@cache
def load_core(name: str) -> CpuCore:
    """A core by name; raises ValueError with the nearest."""
    return CpuCore.model_validate(core_document(name))


def core_named(core: str | dict[str, Any]) -> CpuCore:
    """A core by name, or one that a machine file describes itself."""
    return load_core(core) if isinstance(core, str) else CpuCore.model_validate(core_document(core))
