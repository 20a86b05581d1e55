"""Write a network as a trace file, in which each size that its producer gives is left out."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import asdict, replace
from typing import Any

from hwsim.errors import InputError, excerpt
from hwsim.workload.layer import Layer, Pads, Pair, Sizes
from hwsim.workload.line import TENSORS, Line, Shape, Values, lines_of
from hwsim.workload.network import INPUT, Workload
from hwsim.workload.tensor import TensorSpec

__all__ = ["trace_text"]

_HEAD = "# yaml-language-server: $schema=../docs/schema/workload.json\n"
#: Words that mean the same in YAML with and without quotes.
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*\Z")
_NAME = re.compile(r"[^\s,:/\\][^\n,:]{0,119}\Z")
_NOT_WORDS = {"true", "false", "null", "yes", "no", "on", "off"}


def trace_text(workload: Workload) -> str:
    """The text of a trace file that loads to an equal network, its shares of zeros and dead channels with it.

    Raises
    ------
    InputError
        Where the network has no form as a trace, such as names that a trace can't have.
    """
    for name in (workload.name, *(layer.name for layer in workload)):
        if not _NAME.match(name):
            raise InputError(
                f"names in a trace must have 1 to 120 characters, no comma, colon or slash, not {excerpt(name, 130)}"
            )
    dtypes = {
        tensor: Counter(getattr(layer, tensor).spec.name for layer in workload if _has(layer, tensor))
        for tensor in TENSORS
    }
    defaults = {tensor: (count.most_common(1)[0][0] if count else "int8") for tensor, count in dtypes.items()}
    head: Values = {"name": workload.name, "source": workload.source or workload.name}
    if workload.digest:
        head["digest"] = workload.digest
    if workload.missing is not None:
        head["missing"] = asdict(workload.missing)
    if workload.batch_norm:
        head["batch_norm"] = "folded"
    if not workload.graph:
        head["graph"] = False
    elif workload.input_shape is not None:
        head["input"] = list(workload.input_shape)
    same = set(defaults.values())
    if same != {"int8"}:
        head["dtype"] = same.pop() if len(same) == 1 else defaults
    text = [_HEAD, *(f"{key}: {_shown(value)}\n" for key, value in head.items()), "layers:\n"]
    densities: dict[str, Values] = {}
    shapes: dict[str, Shape] = {INPUT: workload.input_shape or ()}
    before = INPUT
    for layer in workload:
        producers = workload.inputs[layer.name]
        line = _line(layer, tuple(shapes[name] for name in producers))
        if workload.graph and producers != (before,):
            line["from"] = producers[0] if len(producers) == 1 else list(producers)
        own = lines_of(layer)[0].dtypes
        for tensor in TENSORS:
            spec = getattr(layer, tensor).spec
            default = own.get(tensor, defaults[tensor])
            given = {"dtype": spec.name} if spec.name != default else {}
            if spec.format not in ("dense", "2:4"):
                given["format"] = spec.format
            if spec.array:
                given["array"] = spec.array
            if given:
                line[tensor] = given if len(given) > 1 else next(iter(given.values())) if "dtype" in given else given
            if (change := _density(spec, layer.nonzeros(tensor))) is not None:
                densities.setdefault(layer.name, {})[tensor] = change
        text.append(f"  - {_shown(line)}\n")
        before, shapes[layer.name] = layer.name, layer.output.shape
    recipes = {layer.name: _recipe(layer.weight.spec) for layer in workload if layer.weight.spec.coding is not None}
    if recipes:
        text.append("compression:\n")
        text.extend(f"  {_shown(name)}: {_shown(given)}\n" for name, given in recipes.items())
    if densities:
        text.append("density:\n")
        text.extend(f"  {_shown(name)}: {_shown(given)}\n" for name, given in densities.items())
    return "".join(text)


def _has(layer: Layer, tensor: str) -> bool:
    """Whether a layer's tensor counts for the format that most have."""
    return tensor != "weight" or layer.weights > 0


def _recipe(spec: TensorSpec) -> Values:
    """What gives a tensor its coding, its density apart."""
    coding = spec.coding
    assert coding is not None
    given: Values = {}
    if coding.block != (1, 1):
        given["prune"] = {"density": spec.density, "pattern": "block", "block": list(coding.block)}
    if coding.shared_bits:
        given["share"] = {"bits": coding.shared_bits}
    if coding.run_bits:
        given["index"] = {"bits": coding.run_bits}
    if coding.huffman:
        given["huffman"] = list(coding.huffman)
    return given


def _density(spec: TensorSpec, nonzeros: tuple[int, ...]) -> Any:
    if spec.format == "2:4":  # it exists in its own pattern alone
        return {"density": spec.density, "pattern": spec.pattern, "format": spec.format}
    spec = replace(spec, coding=None)
    if spec == TensorSpec(spec.name, format=spec.format, array=spec.array):
        return None
    if nonzeros:
        known = {} if spec.pattern in ("dense", "random") else {"pattern": spec.pattern}
        return {"nonzeros": list(nonzeros), **known}
    if spec == TensorSpec(spec.name, spec.density, format=spec.format, array=spec.array):
        return spec.density
    return {"density": spec.density, "pattern": spec.pattern}


def _shown(value: Any) -> str:
    """A value as YAML on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_shown(key)}: {_shown(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_shown, value)) + "]"
    if isinstance(value, str):
        plain = _PLAIN.match(value) and value.lower() not in _NOT_WORDS
        return value if plain else json.dumps(value, ensure_ascii=False)
    return json.dumps(value)


def _line(layer: Layer, shapes: tuple[Shape, ...]) -> Values:
    """The line of a layer that reads tensors of these shapes (none in a plain trace)."""
    lines = lines_of(layer)
    if not lines:
        raise InputError(f"a trace has no line for a {type(layer).__name__}", path=layer.name)
    brief = (item for line in lines if (item := _brief(line, layer, shapes)) is not None)
    return next(brief, None) or {lines[-1].key: layer.name} | _whole(lines[-1], layer, shapes)


def _whole(line: Line, layer: Layer, shapes: tuple[Shape, ...]) -> Values:
    """All values of a layer that are not those of the class."""
    values = {key: getattr(layer, line.field(key)) for key in line.names if key not in line.extra}
    values = {key: value for key, value in values.items() if value != () and not line.is_default(key, value)}
    values |= line.write(layer, shapes)
    return {key: values[key] for key in line.names if key in values}


def _brief(line: Line, layer: Layer, shapes: tuple[Shape, ...]) -> Values | None:
    """The line without the values that the reader puts in place; None where it does not give the layer."""
    tensors = {tensor: getattr(layer, tensor).spec for tensor in TENSORS}

    def gives(values: Values) -> bool:
        try:
            return bool(line.make(layer.name, values | tensors, shapes) == layer)
        except InputError:
            return False

    whole = _whole(line, layer, shapes)
    optional = [key for key in whole if key in line.inferred - line.write(layer, shapes).keys()]
    values = {key: value for key, value in whole.items() if key not in optional}
    if not gives(values):
        values = whole
        if not gives(values):
            return None
        for key in optional:
            fewer = {other: value for other, value in values.items() if other != key}
            values = fewer if gives(fewer) else values
    for key, value in values.items():
        if line.types[key] in (Pair, Sizes) and len({*value}) == 1:
            values[key] = value[0]
        elif line.types[key] == Pads and gives(values | {key: "same"}):
            values[key] = "same"
    return {line.key: layer.name} | values
