"""Timeloop's YAML as plain data with places: anchors, aliases, merges, tags and includes, and nothing executed.

An alias is the value itself, not a copy, so a file cannot grow by them; what merges copy is counted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from hwsim.errors import Fault, InputError, excerpt
from hwsim.files import read_text
from hwsim.yaml_source import MAX_DEPTH, MAX_NODES, Document, Path_, events, place, scalar

__all__ = ["TAG", "Source", "read_source"]

TAG = "!"
"""The key of a mapping's tag, such as ``Component``."""
_INCLUDES = 8
_INCLUDE = re.compile(r"\{\{\s*include_text\(\s*['\"]([^'\"{}]+)['\"]\s*\)\s*\}\}")
_SHALLOW, _DEEP = ("<<",), ("<<<",)


class Source(Document):
    """A document of Timeloop."""

    def fault(self, path: Path_, message: str) -> InputError:
        """An error at a value."""
        return InputError([Fault(self.where(path), ".".join(map(str, path)), message)])

    def mapping(self, value: object, path: Path_) -> dict[str, Any]:
        """A mapping."""
        if not isinstance(value, dict):
            raise self.fault(path, f"must be a mapping, not {excerpt(value)}")
        return value

    def items(self, value: object, path: Path_) -> list[Any]:
        """A list."""
        if not isinstance(value, list):
            raise self.fault(path, f"must be a list, not {excerpt(value)}")
        return value

    def integer(self, value: object, path: Path_, least: int = 1) -> int:
        """An integer; an expression is not evaluated."""
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= 2**40:
            raise self.fault(
                path, f"must be an integer of at least {least}, not {excerpt(value)}; expressions are not evaluated"
            )
        return value

    def number(self, value: object, path: Path_) -> float:
        """A number that is not negative."""
        if isinstance(value, str) and re.fullmatch(r"([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?", value):
            value = float(value)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1e18:
            raise self.fault(path, f"must be a number, not {excerpt(value)}; expressions are not evaluated")
        return float(value)

    def text(self, value: object, path: Path_) -> str:
        """A word."""
        if not isinstance(value, str) or not value or len(value) > 200:
            raise self.fault(path, f"must be a name, not {excerpt(value)}")
        return value

    def words(self, value: object, path: Path_) -> list[str]:
        """Names: a list, or a text with commas or blanks between them."""
        if isinstance(value, str):
            return [word for word in re.split(r"[\s,]+", value.strip()) if word]
        return [self.text(item, (*path, index)) for index, item in enumerate(self.items(value or [], path))]


def read_source(path: Path, beside: Mapping[str, Path]) -> Source:
    """Read a file with what it includes: files at their relative path, or else of that name among `beside`.

    Raises
    ------
    InputError
        For what is no YAML, too large or too deep, or includes what is not there.
    """
    return _Reader(str(path)).read(_included(path, beside, 0))


def _included(path: Path, beside: Mapping[str, Path], depth: int) -> str:
    text = read_text(path)
    if depth > _INCLUDES:
        raise InputError(f"files must be included at most {_INCLUDES} deep", str(path))

    def replaced(match: re.Match[str]) -> str:
        name = match[1]
        if Path(name).suffix not in (".yaml", ".yml"):
            raise InputError(f"include_text must name a .yaml file, not {excerpt(name)}", str(path))
        other = path.parent / name
        if not other.is_file():
            other = beside.get(Path(name).name, other)
        if not other.is_file():
            raise InputError(f"includes {name}, which is not there: name it among the FILES", str(path))
        return _included(other, beside, depth + 1)

    if len(_INCLUDE.findall(text)) > _INCLUDES:
        raise InputError(f"at most {_INCLUDES} files must be included", str(path))
    text = _INCLUDE.sub(replaced, text)
    if len(text) > 2**24:
        raise InputError("must be at most 16 MiB with what it includes", str(path))
    if "{{" in text or "{%" in text:
        line = text[: re.search(r"\{\{|\{%", text).start()].count("\n") + 1  # type: ignore[union-attr]
        raise InputError("a template is not evaluated; write its value", f"{path}:{line}")
    return text


class _Reader:
    """Makes data of the events of a text."""

    def __init__(self, name: str) -> None:
        self.source = Source(name, None)
        self.anchors: dict[str, Any] = {}
        self.nodes = 0

    def read(self, text: str) -> Source:
        """The document."""
        stream = iter(events(text, self.source.name))
        for event in stream:
            if isinstance(event, yaml.NodeEvent):
                self.source.data = self._value(event, stream, (), 0)
                break
        for event in stream:
            if isinstance(event, yaml.NodeEvent):
                raise InputError("must be one YAML document, not several", place(self.source.name, event.start_mark))
        if not isinstance(self.source.data, dict):
            raise InputError("must be a mapping of keys to values", self.source.name)
        return self.source

    def _count(self, event: yaml.Event, depth: int = 0) -> None:
        self.nodes += 1
        if self.nodes > MAX_NODES or depth > MAX_DEPTH:
            where = place(self.source.name, event.start_mark)
            raise InputError(f"must have at most {MAX_NODES} values, nested at most {MAX_DEPTH} deep", where)

    def _value(self, event: yaml.NodeEvent, stream: Any, path: Path_, depth: int) -> Any:
        self._count(event, depth)
        self.source.marks[path] = place(self.source.name, event.start_mark)
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self.anchors:
                raise self.source.fault(path, f"no value before this is anchored as {event.anchor!r}")
            return self.anchors[event.anchor]
        value: Any
        if isinstance(event, yaml.ScalarEvent):
            value = scalar(event.value) if event.implicit[0] else event.value
        elif isinstance(event, yaml.SequenceStartEvent):
            value = []
            while not isinstance(item := next(stream), yaml.SequenceEndEvent):
                value.append(self._value(item, stream, (*path, len(value)), depth + 1))
        else:
            value = self._mapping(event, stream, path, depth)
        if event.anchor:
            self.anchors[event.anchor] = value
        return value

    def _mapping(self, event: yaml.NodeEvent, stream: Any, path: Path_, depth: int) -> dict[str, Any]:
        value: dict[str, Any] = {}
        shallow: list[Any] = []
        deep: list[Any] = []
        if getattr(event, "tag", None):
            value[TAG] = str(event.tag).lstrip("!")  # type: ignore[attr-defined]
        while not isinstance(key := next(stream), yaml.MappingEndEvent):
            self._count(key)
            if not isinstance(key, yaml.ScalarEvent):
                raise InputError("a key must be a plain word", place(self.source.name, key.start_mark))
            item = self._value(next(stream), stream, (*path, key.value), depth + 1)
            if key.value in _SHALLOW + _DEEP:
                (shallow if key.value in _SHALLOW else deep).extend(item if isinstance(item, list) else [item])
            elif key.value in value:
                raise self.source.fault((*path, key.value), "key is given twice")
            else:
                value[key.value] = item
        for base in shallow + deep:
            if not isinstance(base, dict):
                raise self.source.fault(path, f"only a mapping can be merged, not {excerpt(base)}")
        for base in shallow:
            value = base | value
        for base in deep:
            value = self._merged(base, value, event)
        return value

    def _merged(self, under: dict[str, Any], top: dict[str, Any], event: yaml.Event) -> dict[str, Any]:
        """`top` laid over `under`, key by key."""
        self._count(event)
        merged = dict(under)
        for key, value in top.items():
            both = isinstance(value, dict) and isinstance(under.get(key), dict)
            merged[key] = self._merged(under[key], value, event) if both else value
        return merged
