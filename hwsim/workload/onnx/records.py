"""An ONNX file as plain records, independent of its protobuf messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hwsim.workload.onnx.constants import Constant

__all__ = ["MAX_OPERATORS", "OnnxFile", "Operator", "Subgraph", "ValueInfo", "text"]

MAX_OPERATORS = 20_000
MAX_TEXT = 200


@dataclass(frozen=True, slots=True)
class ValueInfo:
    """The type and shape of a tensor in the file; each size is a number, a symbolic name, or None if unknown."""

    name: str
    dtype: str
    shape: tuple[int | str | None, ...] | None


@dataclass(slots=True)
class Operator:
    """A node of the graph; `code` is its operator type, after its domain if that is not ONNX's own.

    `captures` are the outer-scope tensors that its subgraphs read, `module` is the path of its PyTorch module.
    """

    index: int
    code: str
    name: str
    inputs: list[str]
    outputs: list[str]
    options: dict[str, Any]
    proto: Any
    captures: tuple[str, ...] = ()
    subgraphs: tuple[Subgraph, ...] = ()
    module: str = ""

    def __str__(self) -> str:
        return f"operator {self.index}, {self.code}" + (f" {self.name!r}" if self.name else "")


@dataclass(frozen=True, eq=False, slots=True)
class Subgraph:
    """A body of an operator; `names` are those of outer tensors where it is put in line."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    operators: tuple[Operator, ...]
    constants: Mapping[str, Constant]
    value_info: Mapping[str, ValueInfo]
    names: Mapping[str, str] = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class OnnxFile:
    """The content of a file.

    `opsets` are versions by domain; `external` are the names of constants in other files that are not read, by
    the reason, `absent` of those without values.
    """

    path: str
    digest: str
    bytes: int
    producer: str
    opsets: dict[str, int]
    operators: list[Operator]
    constants: dict[str, Constant]
    inputs: list[ValueInfo]
    outputs: list[str]
    value_info: dict[str, ValueInfo]
    external: Mapping[str, list[str]] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)


def text(raw: str | bytes) -> str:
    """Text of the file, printable and of limited length."""
    string = raw[:MAX_TEXT].decode("utf-8", "replace") if isinstance(raw, bytes) else raw[:MAX_TEXT]
    return "".join(char if char.isprintable() else "?" for char in string)
