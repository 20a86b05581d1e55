"""Facts for a user as data: a code, values with their units, and a template that says them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from string import Formatter
from typing import Any, Literal

from hwsim.units import format_count, format_si, format_size

__all__ = ["Message", "Row", "as_message", "layer_names", "merged", "sentence"]

_MOST = 3

Row = Mapping[str, float | int | str | None]
"""A row of a table below a message: columns with their unit in the name; None is unknown or not possible."""


class _Formatter(Formatter):
    """Python's format specs, and ``si UNIT [DIGITS]``, ``size``, ``count NOUN``; those of a collection are of each."""

    def format_field(self, value: Any, format_spec: str) -> str:
        if isinstance(value, Mapping):
            return ", ".join(f"{name} {self.format_field(item, format_spec)}" for name, item in value.items())
        if isinstance(value, Sequence) and not isinstance(value, str):
            return ", ".join(self.format_field(item, format_spec) for item in value)
        kind, _, rest = format_spec.partition(" ")
        if kind == "si":
            unit, _, digits = rest.partition(" ")
            return format_si(value, unit, int(digits or 4))
        if kind == "size":
            return format_size(value)
        if kind == "count":
            return format_count(value, rest)
        return format(value, format_spec)


_formatter = _Formatter()


@dataclass(frozen=True, slots=True)
class Message:
    """Something that a user should know.

    Attributes
    ----------
    code : str
        Names the fact, as in ``mcu.library``: the same for every wording and all values.
    template : str
        The sentence, with `values` by name in braces. Format specs are those of Python, and ``si W`` or ``si W 4``
        (with an SI prefix and that many digits), ``size`` (of bytes) and ``count tile``.
    values : Mapping
        Numbers, words, and collections of either, which are shown one after the other.
    severity : {"note", "warning", "error"}
    layers : tuple of str
        The layers that it is about, or the operators of a file that is read; none: the whole network.
    rows : tuple of Mapping
        A table below the sentence.
    """

    code: str
    template: str
    values: Mapping[str, Any] = field(default_factory=dict)
    severity: Literal["note", "warning", "error"] = "note"
    layers: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()

    def __str__(self) -> str:
        return _formatter.vformat(self.template, (), self.values)

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        data: dict[str, Any] = {"code": self.code, "severity": self.severity, "text": str(self)}
        data["values"] = {name: _plain(value) for name, value in self.values.items()}
        if self.layers:
            data["layers"] = list(self.layers)
        return data | ({"rows": [dict(row) for row in self.rows]} if self.rows else {})


def as_message(text: Message | str) -> Message:
    """The message; a sentence without data of its own becomes one, of code ``text``."""
    return text if isinstance(text, Message) else Message("text", "{text}", {"text": text})


def layer_names(layers: Sequence[str], of: int = 0) -> str:
    """A few names and how many more, or that it is all layers of so many."""
    if len(layers) == of > 1:
        return f"all {of} layers"
    if len(layers) <= _MOST + 1:
        return ", ".join(layers)
    return f"{', '.join(layers[:_MOST])} and {len(layers) - _MOST:,} more"


def merged(messages: Iterable[Message]) -> tuple[Message, ...]:
    """Each fact once, where it was first: messages that differ in their layers alone become one."""
    facts: dict[tuple[str, str], list[Message]] = {}
    for message in messages:
        facts.setdefault((message.code, str(message)), []).append(message)
    return tuple(
        replace(alike[0], layers=tuple(dict.fromkeys(name for message in alike for name in message.layers)))
        for alike in facts.values()
    )


def sentence(message: Message, of: int = 0) -> str:
    """The message, with its layers before it; `of` is how many layers there are."""
    text = str(message)
    return f"{layer_names(message.layers, of)}: {text}" if message.layers else text


def _plain(value: Any) -> Any:
    """A value as JSON has it; a message within a message is its text."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Message) else value
