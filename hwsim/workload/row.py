"""A line of a table: its cells by column."""

from __future__ import annotations

import re

from hwsim.errors import InputError, excerpt

__all__ = ["Row"]

_INTEGER = re.compile(r"\+?[0-9]{1,18}\Z")


class Row:
    """One line of a table, whose cells are read as text, integers or shares."""

    def __init__(self, cells: dict[str, str]) -> None:
        self.cells = cells

    def text(self, column: str, default: str = "") -> str:
        """The cell, or the default where it is empty or absent."""
        return self.cells.get(column, "") or default

    def integer(self, column: str, default: int | None = None) -> int:
        """The cell as an integer; one without a default must be there."""
        text = self.text(column)
        if not text:
            if default is None:
                raise InputError(f"{column} must be given")
            return default
        if not _INTEGER.match(text):
            raise InputError(f"{column} must be an integer, not {excerpt(text)}")
        return int(text)

    def image(self) -> tuple[int, int, int, int]:
        """Channels, rows and columns of an input, one by one by default, and channels of the output."""
        channels, height = self.integer("c"), self.integer("h", 1)
        return channels, height, self.integer("w", height), self.integer("k")

    def share(self, column: str) -> float:
        """The cell as a share, 1 where it is empty."""
        text = self.text(column, "1")
        try:
            return float(text)
        except ValueError:
            raise InputError(f"{column} must be a share from 0 to 1, not {excerpt(text)}") from None
