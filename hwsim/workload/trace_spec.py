"""The form of a trace file: what keys a network, a block and a line for each kind of layer have.

Only the form is checked here: what a size may be is checked by the layer that is made of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, Union

from pydantic import BeforeValidator, Discriminator, Field, Tag, create_model
from pydantic_core import CoreSchema, core_schema

from hwsim.errors import excerpt, nearest
from hwsim.fields import Name, Share, Spec
from hwsim.workload.layer import OptionalInt, Pads, Pair, ShapeField, ShapesField, Sizes
from hwsim.workload.line import LINES, Line
from hwsim.workload.number_format import NAMES
from hwsim.workload.recipe import Recipe
from hwsim.workload.tensor import FORMATS

__all__ = ["LayerSpec", "UseSpec", "WorkloadSpec", "kinds", "line_specs", "parameter", "workload_spec"]

_PARAMETER = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]{0,39})\Z")
_PARAMETER_SCHEMA = {"type": "string", "pattern": r"^\$[A-Za-z_]\w*$", "description": "a parameter of the block"}


def parameter(value: object) -> str | None:
    """The name of the parameter that a value stands for: ``k`` of ``$k``."""
    match = _PARAMETER.match(value) if isinstance(value, str) else None
    return match[1] if match else None


class _Value:
    """Pydantic metadata of a field that takes what `fits`, or the parameter of a block in its place."""

    def __init__(
        self, wanted: str, fits: Callable[[object], bool], schema: dict[str, Any], names: Collection[str] = ()
    ):
        self.wanted = wanted
        self.fits = fits
        self.schema = {"anyOf": [schema, _PARAMETER_SCHEMA]}
        self.names = names

    def read(self, value: object) -> object:
        if parameter(value) is None and not self.fits(value):
            near = nearest(value, self.names) if self.names else ""
            raise ValueError(f"must be {self.wanted}, not {excerpt(value)}{near}")
        return value

    def __get_pydantic_core_schema__(self, source: object, handler: object) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, core: object, handler: object) -> dict[str, Any]:
        if self.names:  # those that there are now
            self.schema["anyOf"][0]["enum"] = list(self.names)
        return self.schema


def _one_of(names: Collection[str]) -> _Value:
    """A name of a registry, as it is when a file is read."""
    return _Value("one of the known names", lambda value: isinstance(value, str) and value in names, {}, names)


def _words(*names: str) -> _Value:
    return _one_of(names)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_ints(value: object) -> bool:
    return isinstance(value, list) and 0 < len(value) <= 64 and all(_is_int(item) for item in value)


def _is_counts(value: object) -> bool:
    return isinstance(value, list) and 0 < len(value) <= 2**20 and all(map(_is_int, value))


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _is_shapes(value: object) -> bool:
    return isinstance(value, list) and 0 < len(value) <= 1000 and all(map(_is_ints, value))


_INT = {"type": "integer", "minimum": 0}
_INTS = {"type": "array", "items": _INT}
#: How a file gives the fields of layers, by their types.
_FORMS: dict[object, _Value] = {
    int: (_integer := _Value("an integer", _is_int, _INT)),
    OptionalInt: _integer,
    bool: _Value("true or false", lambda value: isinstance(value, bool), {"type": "boolean"}),
    str: _Value("a word", lambda value: isinstance(value, str), {"type": "string"}),
    Pair: (
        _integers := _Value(
            "an integer or a list of them", lambda v: _is_int(v) or _is_ints(v), {"anyOf": [_INT, _INTS]}
        )
    ),
    Sizes: _integers,
    Pads: _Value(
        "an integer, a list of 2 or 4 of them, 'same' or 'valid'",
        lambda v: _is_int(v) or _is_ints(v) or v in ("same", "valid"),
        {"anyOf": [_INT, _INTS, {"enum": ["same", "valid"]}]},
    ),
    ShapeField: _Value("a list of integers", _is_ints, _INTS),
    ShapesField: _Value("a list of shapes", _is_shapes, {"type": "array", "items": _INTS}),
}
Dtype: TypeAlias = Annotated[Any, _one_of(NAMES)]
Format: TypeAlias = Annotated[Any, _words(*FORMATS)]
Argument: TypeAlias = Annotated[
    Any,
    _Value(
        "an integer, a word, true, false or a list of integers",
        lambda value: isinstance(value, (int, str)) or _is_ints(value),
        {"type": ["integer", "string", "boolean", "array"]},
    ),
]
Counts: TypeAlias = Annotated[Any, _Value("a list of integers", _is_counts, _INTS)]
From: TypeAlias = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=200)]],
    BeforeValidator(_listed, json_schema_input_type=str | list[str]),
    Field(min_length=1, max_length=1000),
]


class TensorChange(Spec):
    """Properties of a tensor that differ from the file's own."""

    dtype: Dtype | None = None
    density: Share | None = None
    pattern: str | None = None
    format: Format | None = None
    array: str | None = Field(
        None, max_length=200, description="the stored array, where the weights of several layers are one"
    )
    nonzeros: Counts | None = Field(None, description="values of each input channel that are not zero")


def _tensor(value: object) -> object:
    return {"dtype": value} if isinstance(value, str) else value


def _density(value: object) -> object:
    return {"density": value} if isinstance(value, (int, float)) and not isinstance(value, bool) else value


TensorGiven: TypeAlias = Annotated[TensorChange, BeforeValidator(_tensor, json_schema_input_type=str | TensorChange)]
DensityGiven: TypeAlias = Annotated[
    TensorChange, BeforeValidator(_density, json_schema_input_type=float | TensorChange)
]


class Dtypes(Spec):
    """The number formats of all layers that say nothing else."""

    input: Dtype = "int8"
    weight: Dtype = "int8"
    output: Dtype = "int8"


def _dtypes(value: object) -> object:
    return {"input": value, "weight": value, "output": value} if isinstance(value, str) else value


class Densities(Spec):
    """Shares of values that are not zero, of one layer."""

    input: DensityGiven | None = None
    weight: DensityGiven | None = None
    output: DensityGiven | None = None


class LayerSpec(Spec):
    """What a line of any kind may have."""

    from_: From | None = Field(None, alias="from", description="the layers that are read; the one before if left out")
    input: TensorGiven | None = None
    weight: TensorGiven | None = None
    output: TensorGiven | None = None
    kind: ClassVar[str] = ""


class UseSpec(Spec):
    """A block in place: its layers are called NAME_layer, and what reads NAME reads its last layer."""

    use: Name
    name: Name
    with_: dict[str, Argument] = Field({}, alias="with", description="the parameters of the block")
    from_: From | None = Field(None, alias="from")
    kind: ClassVar[str] = "use"


def line_spec(line: Line) -> type[LayerSpec]:
    """The form of a line, whose keys have the types of its layer's fields."""
    keys: dict[str, Any] = {line.key: Name}
    for key in line.names:
        form = _words(*line.choices(key)) if line.choices(key) else _FORMS[line.types[key]]
        value = Annotated[Any, form]
        note = line.notes.get(key)
        keys[key] = (
            (value, Field(description=note)) if key in line.required else (value | None, Field(None, description=note))
        )
    title = "".join(map(str.capitalize, line.key.split("_")))
    spec = create_model(f"{title}Spec", __base__=LayerSpec, __doc__=line.description, **keys)
    spec.kind = line.key
    return spec


def kinds() -> tuple[str, ...]:
    """The key of each kind of line, whose value is the layer's name."""
    return (*sorted(LINES), UseSpec.kind)


def _one_kind(line: object) -> object:
    if not isinstance(line, dict):
        raise ValueError(f"must be a layer such as {{conv: conv1, k: 64, r: 3}}, not {excerpt(line)}")
    names = kinds()
    if not any(key in line for key in names):
        near = next((hint for hint in (nearest(key, names) for key in line) if "nearest" in hint), nearest("", names))
        raise ValueError(f"must start with a kind of layer and its name, such as 'conv: conv1'{near}")
    return line


def _tag(line: Any) -> str:
    """Which kind a line is. The tag stands in the place of a fault, so it may not be a key of the line itself."""
    keys = line if isinstance(line, dict) else (getattr(line, "kind", ""),)
    return f"a {next((key for key in keys if key == UseSpec.kind or key in LINES), '')}"


class MissingSpec(Spec):
    """What of a model file is in no layer."""

    operators: int = Field(ge=0, description="that are in no layer")
    of_operators: int = Field(ge=0, description="of the file")
    bytes: int = Field(ge=0, description="of stored values that are in no layer")
    of_bytes: int = Field(ge=0, description="of stored values")


class WorkloadSpec(Spec):
    """A network: its layers, or another network (`base`) with other number formats and densities."""

    name: Name
    source: str = Field(min_length=1, max_length=2000, description="where the shapes are from")
    digest: str | None = Field(
        None, pattern=r"^sha256:[0-9a-f]{64}$", description="of the model file that the layers are from"
    )
    missing: MissingSpec | None = Field(None, description="what of that file is in no layer")
    base: str | None = Field(
        None, min_length=1, max_length=1000, description="another workload, by name or path, whose layers these are"
    )
    graph: bool = Field(True, strict=True, description="false: layers are an unordered list without dataflow edges")
    batch_norm: Literal["folded"] | None = Field(
        None, description="`folded`: the bias of each convolution is a batch normalization, which training has apart"
    )
    input: list[int] | None = Field(None, min_length=1, max_length=8, description="its shape: [3, 224, 224]")
    dtype: Annotated[Dtypes, BeforeValidator(_dtypes, json_schema_input_type=str | Dtypes)] | None = None
    blocks: dict[str, list[Any]] = Field({}, description="lines to use again")
    layers: list[Any] = Field([], description="one line a layer, each after those it reads")
    density: dict[str, Densities] = Field({}, description="shares of values that are not zero, by layer or pattern")
    compression: dict[str, Recipe] = Field({}, description="how weights are compressed, by layer or pattern")
    masks: str | None = Field(
        None,
        min_length=1,
        max_length=1000,
        description="an .npz file whose arrays are not zero where weights are: "
        "by the name of a layer, or as LAYER.weight and LAYER.input",
    )


def line_specs() -> tuple[type[LayerSpec | UseSpec], ...]:
    """The forms of all lines."""
    return _line_specs(tuple(LINES[key] for key in sorted(LINES)))


@cache
def _line_specs(lines: tuple[Line, ...]) -> tuple[type[LayerSpec | UseSpec], ...]:
    return (*map(line_spec, lines), UseSpec)


def workload_spec() -> type[WorkloadSpec]:
    """The form of a file whose lines are of the kinds that there are."""
    return _workload_spec(line_specs())


@cache
def _workload_spec(specs: tuple[type[LayerSpec | UseSpec], ...]) -> type[WorkloadSpec]:
    forms: Any = Union[tuple(Annotated[spec, Tag(f"a {spec.kind}")] for spec in specs)]  # noqa: UP007
    line = Annotated[forms, Discriminator(_tag), BeforeValidator(_one_kind)]
    blocks: Any = dict[Name, Annotated[list[line], Field(min_length=1)]]
    fields = WorkloadSpec.model_fields
    return create_model(
        "WorkloadSpec",
        __base__=WorkloadSpec,
        __doc__=WorkloadSpec.__doc__,
        blocks=(blocks, fields["blocks"]),
        layers=(list[line], fields["layers"]),
    )
