"""Strict YAML with positions: what it says is what is read, and every fault is told with its place.

A subset of YAML 1.2: one document, no anchors, aliases or tags, no duplicate keys; a plain scalar is a number
only if it looks like one (``010``, ``12:30``, ``no`` and ``0x10`` are strings): nothing changes its meaning silently.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import yaml

from hwsim.errors import Fault, InputError, excerpt, nearest, printable
from hwsim.files import read_text

__all__ = [
    "MAX_DEPTH",
    "MAX_NODES",
    "Document",
    "Path_",
    "events",
    "parse_yaml",
    "place",
    "read_yaml",
    "scalar",
    "split_key",
]

MAX_NODES = 300_000
MAX_DEPTH = 40

Path_ = tuple[str | int, ...]

_INT = re.compile(r"[-+]?(0|[1-9][0-9]*|[1-9][0-9]{0,2}(_[0-9]{3})+)\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?\Z")
_QUOTED = re.compile(r'"([^"]+)"(?:\.(.+))?\Z')
_WORDS: dict[str, Any] = {"true": True, "false": False, "null": None, "~": None, "": None}


@dataclass
class Document:
    """Plain data read from one file, and the place of each of its values and keys."""

    name: str
    data: Any
    marks: dict[Path_, str] = field(default_factory=dict)

    def where(self, path: Path_) -> str:
        """``file:line:col`` of the value at `path`, or of its nearest parent that has a place."""
        while path and path not in self.marks:
            path = path[:-1]
        return self.marks.get(path, self.name)

    def blame(self, path: Path_, message: str) -> str:
        """The place of a block at `path` of which a fault is told; the keys set below it, as the file alone has none.

        Of several keys those that the message names.
        """
        place, words = self.where(path), set(re.findall(r"\w+", message))
        inside = {p: mark for p, mark in self.marks.items() if p[: len(path)] == path and mark.startswith("--set ")}
        if place.startswith("--set ") or not inside:
            return place
        named = [mark for p, mark in inside.items() if str(p[-1]) in words]
        return " ".join(named) if named else f"{place} with {' '.join(inside.values())}"

    def override(self, changes: dict[str, object]) -> None:
        """Set values by dotted path, as ``clocks.core``; raises InputError when a path leads nowhere.

        An item of a list goes by its `name`, by the name that its first key gives it (``{conv: conv1}``), or by its
        place. A key with a dot of its own is in quotes, as ``energy.prices."mac.gated"``; one that the file has needs
        none. What lies along the path is copied first: data shared with another document stays as it is.
        """
        faults = []
        for dotted, value in changes.items():
            where, path = f"--set {dotted}", list[str | int]()
            node: Any = copy(self.data)
            self.data = node
            valid: Iterable[object]
            rest: str | None = dotted
            while rest is not None:
                if isinstance(node, list):
                    named = {name: i for i, item in enumerate(node) if (name := _name_of(item)) is not None}
                    part, rest = split_key(rest, named)
                    key: Any = named.get(part, int(part) if part.isascii() and part.isdigit() else -1)
                    if not (0 <= key < len(node)):
                        valid = named or range(len(node))
                        faults.append(Fault(where, "", f"{part!r} is not an item here{nearest(part, map(str, valid))}"))
                        break
                else:
                    part, rest = split_key(rest, node)
                    key = part
                    if not isinstance(node, dict):
                        faults.append(Fault(where, "", f"{part!r} is not a key here"))
                        break
                path.append(key)
                if rest is None:
                    node[key] = value
                    self.marks = {p: m for p, m in self.marks.items() if p[: len(path)] != tuple(path)}
                    self.marks[tuple(path)] = where
                    break
                # A block that the file leaves out may be begun here; whether it may exist is the reader's to say.
                if isinstance(node, dict) and key not in node:
                    self.marks = self.marks | {tuple(path): where}
                node[key] = node = copy(node[key] if isinstance(node, list) or key in node else {})
        if faults:
            raise InputError(faults)

    def over(self, base: Document) -> Document:
        """This document laid over `base`: mappings merge key by key, everything else replaces."""
        replaced: set[Path_] = set()

        def merge(under: Any, top: Any, path: Path_) -> Any:
            if isinstance(under, dict) and isinstance(top, dict):
                return under | {
                    key: merge(under[key], value, (*path, key)) if key in under else value for key, value in top.items()
                }
            replaced.add(path)
            return top

        data = merge(base.data, self.data, ())
        marks = {
            path: mark
            for path, mark in base.marks.items()
            if replaced.isdisjoint(path[:size] for size in range(len(path) + 1))
        }
        return Document(self.name, data, marks | self.marks)


def split_key(dotted: str, keys: object) -> tuple[str, str | None]:
    """The first key of a dotted path, in quotes or the longest of `keys`, and the rest (None: there is none)."""
    if match := _QUOTED.match(dotted):
        return match[1], match[2]
    parts = dotted.split(".")
    sizes = range(len(parts), 1, -1) if isinstance(keys, dict) else ()
    size = next((size for size in sizes if ".".join(parts[:size]) in cast("dict[str, object]", keys)), 1)
    return ".".join(parts[:size]), ".".join(parts[size:]) if size < len(parts) else None


def _name_of(item: Any) -> str | None:
    """What an item of a list is called, if anything."""
    if not isinstance(item, dict) or not item:
        return None
    name = item.get("name", next(iter(item.values())))
    return name if isinstance(name, str) else None


def read_yaml(path: Path) -> Document:
    """Read one strict YAML file."""
    return parse_yaml(read_text(path), str(path))


def scalar(text: str) -> Any:
    """A plain scalar: a number only if it looks like one."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.match(text) and len(text) < 40:
        return int(text.replace("_", ""))
    if _FLOAT.match(text) and len(text) < 40 and math.isfinite(float(text)):
        return float(text)
    return text


def _parse(text: str) -> Iterator[yaml.Event]:
    return iter(yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


def place(name: str, mark: Any) -> str:
    """``file:line:col`` of a mark of PyYAML's, or the file alone."""
    return f"{name}:{mark.line + 1}:{mark.column + 1}" if mark is not None else name


def _size_fault(place: str) -> InputError:
    return InputError(f"must have at most {MAX_NODES} values, nested at most {MAX_DEPTH} deep", place)


def _depth_fault(text: str, name: str) -> InputError | None:
    """The fault of the first value that lies too deep, in a text that breaks off."""
    depth = 0
    with suppress(yaml.YAMLError):
        for event in _parse(text):
            if isinstance(event, yaml.NodeEvent) and depth > MAX_DEPTH:
                return _size_fault(place(name, event.start_mark))
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
    return None


def events(text: str, name: str) -> Iterator[yaml.Event]:
    """The events of a YAML text; raises InputError with its place for what is none."""
    try:
        yield from _parse(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        # The parser reads ahead, and some versions refuse deep nesting there: the limit is ours, whichever comes first.
        deep = _depth_fault(text[: mark.index], name) if mark is not None else None
        fault = InputError(f"must be YAML: {error.problem or error.context}", place(name, mark))
        raise deep or fault from None
    except yaml.YAMLError as error:
        raise InputError(f"must be YAML: {str(error).splitlines()[0]}", name) from None
    except UnicodeEncodeError as error:
        raise InputError(f"must be text; character {error.start} is half of a surrogate pair", name) from None


def parse_yaml(text: str, name: str = "<text>") -> Document:
    """Parse strict YAML text; raises InputError with every fault of its form."""
    document = Document(name, None)
    faults: list[Fault] = []
    stack: list[tuple[Path_, Any, list[Any]]] = []  # (path, container, [pending key]) of each open collection
    nodes = documents = 0

    def where(event: yaml.Event) -> str:
        return place(name, event.start_mark)

    def add(value: Any, event: yaml.Event, is_key: bool) -> Path_:
        """Attach a value to the innermost open collection and return its path."""
        if not stack:
            document.data = value
            document.marks[()] = where(event)
            return ()
        path, container, pending = stack[-1]
        if isinstance(container, list):
            here = (*path, len(container))
            container.append(value)
        elif is_key:
            pending.append(value)
            key = value if isinstance(value, str) else str(value)
            here = (*path, key)
            if key in container:
                first = document.marks[here]
                faults.append(Fault(where(event), ".".join(map(str, here)), f"key is given twice; first at {first}"))
            else:
                document.marks[here] = where(event)
                container[key] = None
            return here
        else:
            key = pending.pop()
            here = (*path, key if isinstance(key, str) else str(key))
            container[here[-1]] = value
        document.marks[here] = where(event)
        return here

    for event in events(text, name):
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise InputError("must be one YAML document, not several", where(event))
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise InputError(
                "anchors and aliases are not taken: write the value, or use 'base:' or 'blocks:'", where(event)
            )
        if isinstance(event, yaml.NodeEvent):
            nodes += 1
            if nodes > MAX_NODES or len(stack) > MAX_DEPTH:
                raise _size_fault(where(event))
        wants_key = bool(stack) and isinstance(stack[-1][1], dict) and not stack[-1][2]
        if isinstance(event, yaml.ScalarEvent):
            if event.tag not in (None, "!"):
                faults.append(Fault(where(event), "", f"tags are not taken, not {event.tag!r}"))
            plain = event.implicit[0] and event.tag is None
            if printable(event.value) != event.value:
                faults.append(Fault(where(event), "", f"must be printable text, not {excerpt(event.value)}"))
            add(event.value if wants_key or not plain else scalar(event.value), event, wants_key)
        elif isinstance(event, yaml.CollectionStartEvent):
            if event.tag is not None:
                faults.append(Fault(where(event), "", f"tags are not taken, not {event.tag!r}"))
            if wants_key:
                raise InputError("a key must be a plain word, not a list or a mapping", where(event))
            container: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
            stack.append((add(container, event, False), container, []))
        elif isinstance(event, yaml.CollectionEndEvent):
            stack.pop()
    if faults:
        raise InputError(faults)
    if document.data is None:
        raise InputError("must not be empty", name)
    return document
