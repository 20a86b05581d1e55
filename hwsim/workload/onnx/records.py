"""An ONNX file as plain records: what it holds, whatever its protobuf messages look like."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hwsim.workload.onnx.constants import Constant

__all__ = ["MAX_OPERATORS", "Given", "OnnxFile", "Operator", "text"]

MAX_OPERATORS = 20_000
MAX_TEXT = 200


@dataclass(frozen=True, slots=True)
class Given:
    """A tensor that the file describes: each size a number, a name (symbolic), or None where nothing is said."""

    name: str
    dtype: str
    shape: tuple[int | str | None, ...] | None


@dataclass(slots=True)
class Operator:
    """A node of the graph; `code` is its name, after its domain where that is not ONNX's own.

    `captured` are tensors of the graph around it that its subgraphs read.
    """

    index: int
    code: str
    name: str
    inputs: list[str]
    outputs: list[str]
    options: dict[str, Any]
    proto: Any
    captured: tuple[str, ...] = ()
    subgraphs: tuple[Any, ...] = ()

    def __str__(self) -> str:
        return f"operator {self.index}, {self.code}" + (f" {self.name!r}" if self.name else "")


@dataclass(eq=False, slots=True)
class OnnxFile:
    """What a file holds; `opsets` are the versions by domain, `external` the names of constants stored elsewhere."""

    path: str
    digest: str
    bytes: int
    producer: str
    opsets: dict[str, int]
    operators: list[Operator]
    constants: dict[str, Constant]
    inputs: list[Given]
    outputs: list[str]
    described: dict[str, Given]
    external: list[str] = field(default_factory=list)


def text(raw: str | bytes) -> str:
    """Text of the file, on one line and never long."""
    given = raw[:MAX_TEXT].decode("utf-8", "replace") if isinstance(raw, bytes) else raw[:MAX_TEXT]
    return "".join(char if char.isprintable() else "?" for char in given)
