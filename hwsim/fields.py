"""Typed fields of the YAML files: quantities with units, and models whose faults carry their place."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Collection, Sequence
from fractions import Fraction
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticKnownError, core_schema

from hwsim.errors import MAX_FAULTS, Fault, HwsimWarning, InputError, excerpt, nearest
from hwsim.units import DIMENSIONS, Rate, parse, parse_rate
from hwsim.yaml_source import Document

__all__ = [
    "Area",
    "Bandwidth",
    "Energy",
    "Frequency",
    "Length",
    "Money",
    "Name",
    "OneOf",
    "Positive",
    "Power",
    "Share",
    "Size",
    "Spec",
    "Time",
    "Voltage",
    "check",
    "current",
]


def _quantity(dimension: str) -> Any:
    def read(text: object) -> Fraction:
        return text if isinstance(text, Fraction) else parse(text, dimension)

    kind = DIMENSIONS[dimension]
    units = "|".join(sorted(map(re.escape, kind.units), key=len, reverse=True))
    schema = {
        "type": "string",
        "pattern": rf"^[0-9.eE+-]+ *({units})$",
        "examples": [kind.example],
        "description": f"a {kind.name} with its unit",
    }
    return Annotated[Fraction, BeforeValidator(read), WithJsonSchema(schema)]


def _read_rate(text: object) -> Rate:
    return text if isinstance(text, Rate) else parse_rate(text)


Frequency = _quantity("frequency")
Size = _quantity("size")
Time = _quantity("time")
Energy = _quantity("energy")
Power = _quantity("power")
Voltage = _quantity("voltage")
Area = _quantity("area")
Money = _quantity("money")
Length = _quantity("length")
Bandwidth = Annotated[
    Rate,
    BeforeValidator(_read_rate),
    WithJsonSchema({"type": "string", "examples": ["25.6 GB/s", "8 B/cycle", "4 words/cycle"]}),
]
Positive = Annotated[int, Field(gt=0, le=2**40, strict=True)]
Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(min_length=1, max_length=120, pattern=r"^[^\s,:/\\][^\n,:]*$")]


class OneOf:
    """A name of a registry, as a Literal is one of a list; what is registered later is valid too."""

    def __init__(self, registry: Collection[str] | Callable[[], Collection[str]]) -> None:
        self.registry = registry

    @property
    def names(self) -> list[str]:
        """The valid names."""
        return list(self.registry() if callable(self.registry) else self.registry)

    def _check(self, name: object) -> object:
        if not isinstance(name, str) or name not in self.names:
            raise PydanticKnownError("literal_error", {"expected": " or ".join(map(repr, self.names))})
        return name

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._check)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"enum": self.names, "type": "string"}


class Spec(BaseModel):
    """Base of every model read from YAML: frozen, unknown keys are faults."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    @model_validator(mode="before")
    @classmethod
    def _remember_keys(cls, data: Any, info: ValidationInfo) -> Any:
        # The fault for an unknown key names the nearest valid one: keep which model read which mapping.
        if isinstance(info.context, dict) and isinstance(data, dict):
            info.context[id(data)] = [f.alias or n for n, f in cls.model_fields.items()]
        return data


RENAMED = {"quantise": "quantize", "requantise": "requantize", "optimised": "optimized"}
"""Names of keys and values that files of earlier versions have, and what they are called now."""


def current(name: Any) -> Any:
    """A name as it is now, or the keys of a mapping; an earlier one is taken with a warning."""
    if isinstance(name, dict):
        return {current(key): value for key, value in name.items()}
    if not isinstance(name, str) or name not in RENAMED:
        return name
    warnings.warn(f"{name!r} is called {RENAMED[name]!r} now", HwsimWarning, stacklevel=2)
    return RENAMED[name]


S = TypeVar("S", bound=Spec)


def check(model: type[S], document: Document, at: tuple[str | int, ...] = ()) -> S:
    """Read a document as `model`; raises InputError with all faults, each with file, line, column and key."""
    return check_with(lambda data, context: model.model_validate(data, context=context), document, at)


def check_with(read: Callable[[Any, dict[Any, Any]], S], document: Document, at: tuple[str | int, ...] = ()) -> S:
    """As `check`, for a reader of one's own."""
    context: dict[Any, Any] = {}
    data = document.data
    for part in at:
        data = data[part]
    try:
        return read(data, context)
    except ValidationError as error:
        raise InputError(_faults(error, document, at, data, context)) from None


def _faults(
    error: ValidationError, document: Document, at: tuple[str | int, ...], data: Any, context: dict[Any, Any]
) -> list[Fault]:
    faults: dict[tuple[str, str, str], Fault] = {}
    for item in _number_or_word(error.errors(include_url=False)):
        path, node = list(at), data
        # Tags of unions stand in the location too: skip what the document does not have.
        for part in item["loc"]:
            if part in node if isinstance(node, dict) else isinstance(node, list) and part in range(len(node)):
                node = node[part]
            elif item["type"] != "missing" or part != item["loc"][-1]:
                continue
            path.append(part)
        # Those after the first hundred are counted alone: a near name, and keys that were set, take their time to find.
        is_shown = len(faults) < MAX_FAULTS
        message = _message(item, document, tuple(path), context) if is_shown else item["msg"]
        shown = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path).lstrip(".")
        is_own = is_shown and item["type"] == "value_error"
        place = document.blame(tuple(path), message) if is_own else document.where(tuple(path))
        fault = Fault(place, shown, message)
        faults.setdefault((fault.where, fault.path, fault.message), fault)
    return list(faults.values())


_NO_INTEGER = ("int_type", "int_parsing", "int_from_float", "finite_number")


def _number_or_word(items: Sequence[Any]) -> list[Any]:
    """The faults with the two of a key that takes a whole number or a word as one."""
    merged: dict[Any, Any] = {}
    for item in items:
        key = item["loc"][:-1], id(item.get("input"))  # a value of the API may refuse to be text
        other = merged.get(key)
        if other is not None and item["type"] == "literal_error":
            least = other.get("ctx", {}).get("ge", other.get("ctx", {}).get("gt", -1) + 1)
            if other["type"] in (*_NO_INTEGER, "greater_than", "greater_than_equal"):
                number = "a whole number" + (f" of at least {least}" if other["type"] not in _NO_INTEGER else "")
                message = f"Input should be {number}, or {item['ctx']['expected']}"
                merged[key] = other | {"type": "number_or_word", "msg": message}
                continue
        merged[key if other is None else (*key, item["type"], item["loc"])] = item
    return list(merged.values())


def _message(item: Any, document: Document, path: tuple[str | int, ...], context: dict[Any, Any]) -> str:
    kind, given = item["type"], item.get("input")
    text = excerpt(given, 61)
    shown = text if len(text) <= 60 else text[:57] + "..."
    ctx = item.get("ctx", {})
    if kind == "extra_forbidden":
        parent = document.data
        for part in path[:-1]:
            parent = parent[part]
        quotes = document.where(path).startswith("--set ") and "prices" in path
        hint = f'; a key with a dot is in quotes, as prices."{".".join(map(str, path[-2:]))}"' if quotes else ""
        if not path:  # of a value that may be a word too, a key has no place of its own
            return f"unknown key {excerpt(item['loc'][-1] if item['loc'] else given)}"
        near = nearest(path[-1], context.get(id(parent), []), "`hwsim schema` has all")
        return f"unknown key{near}{hint}"
    if kind == "missing":
        return "must be given"
    if kind == "value_error":
        return str(ctx.get("error", item["msg"]))
    if kind in ("literal_error", "enum"):
        names = re.findall(r"'([^']*)'", str(ctx.get("expected", "")))
        return f"must be one of the known names, not {shown}{nearest(given, names)}"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        names = re.findall(r"'([^']*)'", str(ctx.get("expected_tags", "")))
        return (
            f"kind must be one of the known kinds, not {ctx.get('tag', 'absent')!r}{nearest(ctx.get('tag', ''), names)}"
        )
    if kind in ("model_type", "dict_type", "model_attributes_type"):
        return f"must be a mapping of keys to values, not {shown}"
    text = item["msg"].replace("Input should be", "must be")
    return f"{text}, not {shown}"
