"""Reports that ``hwsim run --json`` wrote, checked on reading: somebody may have edited them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, ValidationError

from hwsim.errors import InputError, printable
from hwsim.files import read_text

__all__ = ["SavedReport", "read_report"]

_MOST_BYTES = 256 * 2**20
_LIMIT = 2**100


def _finite(value: float) -> float:
    if not -_LIMIT <= value <= _LIMIT:
        raise ValueError("must be a finite number")
    return value


def _positive(value: float) -> float:
    if value < 0:
        raise ValueError("must be at least zero")
    return value


Number: TypeAlias = Annotated[StrictInt | StrictFloat, AfterValidator(_finite)]
Positive: TypeAlias = Annotated[Number, AfterValidator(_positive)]
Text: TypeAlias = Annotated[str, Field(max_length=2000), AfterValidator(printable)]
Scalar: TypeAlias = Number | StrictBool | Text | None


class _Part(BaseModel):
    """Values that have a name of their own, and others."""

    model_config = ConfigDict(extra="allow")


class _Row(_Part):
    __pydantic_extra__: dict[str, Scalar] = Field(init=False)


class _Summary(_Row):
    machine: Text
    workload: Text
    batch: Number = 1
    fits: bool = True
    margin_bytes: Number | None = None


class _Layer(_Row):
    layer: Text
    latency_s: Number | None
    bound: Text | None


class _Action(_Part):
    component: Text
    energy_pj: Number | None


class _Memory(_Part):
    memory: Text
    need_bytes: Number
    size_bytes: Number | None


class _Error(_Part):
    error: Positive
    measured: bool


class _Battery(_Part):
    name: Text
    capacity_mah: Number
    voltage: Number
    energy_j: Number
    life_s: Number | None


class _Message(_Part):
    code: Text
    severity: Literal["note", "warning", "error"]
    text: Text
    values: dict[Text, Any]


class _Cycle(_Part):
    every_s: Positive
    missed: Number
    duty: Number
    average_w: Number | None
    least_w: Positive
    battery: _Battery | None = None
    messages: list[_Message] = []


class _Provenance(_Part):
    hwsim: Text
    format: StrictInt
    machine: Text
    workload: Text
    tables: Text
    set: dict[Text, Any]


class SavedReport(_Part):
    """The form of a report; `provenance` is absent in those of version 0.1."""

    provenance: _Provenance | None = None
    summary: _Summary
    layers: list[_Layer]
    actions: list[_Action]
    memories: list[_Memory] = []
    expected_error: dict[Text, _Error] = {}
    scenario: _Cycle | None = None


def read_report(path: str) -> dict[str, Any]:
    """A report as plain data, which `Report.to_dict` gave; raises InputError for what is none, or was spoiled."""
    try:
        data = json.loads(read_text(Path(path), _MOST_BYTES))
    except (ValueError, RecursionError) as error:
        raise InputError(f"must be JSON: {error}", path) from None
    try:
        report = SavedReport.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        message = first["msg"].replace("Input should be", "must be")
        raise InputError(f"must be a report that 'hwsim run --json' wrote; {place}: {message}", path) from None
    return report.model_dump(exclude_none=False)
