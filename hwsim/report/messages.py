"""Messages as a user reads them: each fact once, with the layers that it is about."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from hwsim.message import Message
from hwsim.report.quantity import shown

__all__ = ["layer_names", "merged", "sentence", "table"]

_MOST = 3


def layer_names(layers: Sequence[str], of: int = 0) -> str:
    """A few names and how many more, or that it is all layers of so many."""
    if len(layers) == of > 1:
        return f"all {of} layers"
    if len(layers) <= _MOST + 1:
        return ", ".join(layers)
    return f"{', '.join(layers[:_MOST])} and {len(layers) - _MOST:,} more"


def merged(messages: Iterable[Message]) -> tuple[Message, ...]:
    """Each fact once, where it was first: messages that differ in their layers alone become one."""
    facts: dict[tuple[str, str], Message] = {}
    for message in messages:
        key = (message.code, str(message))
        first = facts.setdefault(key, message)
        if first is not message:
            facts[key] = replace(first, layers=tuple(dict.fromkeys((*first.layers, *message.layers))))
    return tuple(facts.values())


def sentence(message: Message, of: int = 0) -> str:
    """The message, with its layers before it; `of` is how many layers there are."""
    text = str(message)
    return f"{layer_names(message.layers, of)}: {text}" if message.layers else text


def table(message: Message) -> tuple[list[str], list[list[str]]]:
    """Names of the columns and the cells of the table below a message."""
    columns = list(dict.fromkeys(name for row in message.rows for name in row))
    heads = [name.removesuffix("_s") for name in columns]
    return heads, [[_cell(name, row.get(name)) for name in columns] for row in message.rows]


def _cell(column: str, value: float | int | str | None) -> str:
    if value is None:
        return ""
    if column in ("change", "share"):
        return f"{value:{'+' * (column == 'change')}.0%}"
    return shown(column, value)
