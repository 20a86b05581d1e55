"""The table below a message as a user reads it."""

from __future__ import annotations

from hwsim.message import Message
from hwsim.report.quantity import shown

__all__ = ["table"]


def table(message: Message) -> tuple[list[str], list[list[str]]]:
    """Names of the columns and the cells of the table below a message."""
    columns = list(dict.fromkeys(name for row in message.rows for name in row))
    heads = [name.removesuffix("_s").removesuffix("_pj") for name in columns]
    return heads, [[_cell(name, row.get(name)) for name in columns] for row in message.rows]


def _cell(column: str, value: float | int | str | None) -> str:
    if value is None:
        return ""
    if column in ("change", "share"):
        return f"{value:{'+' * (column == 'change')}.0%}"
    return shown(column, value)
