"""A line of a table: its cells by column."""

from __future__ import annotations

import re

from hwsim.errors import InputError, excerpt

__all__ = ["Row"]

_INTEGER = re.compile(r"\+?([0-9]{1,18})(?:[.,]0*)?\Z")
_GROUPS = re.compile(r"\+?[0-9]{1,3}(?:([ ',.])[0-9]{3})(?:\1[0-9]{3}){0,4}(?:([.,])0+)?\Z")


class Row:
    """One line of a table, whose cells are read as text, integers or shares.

    `decimals` are the decimal marks that its numbers may have.
    """

    def __init__(self, cells: dict[str, str], decimals: str = ".") -> None:
        self.cells = cells
        self.decimals = decimals

    def text(self, column: str, default: str = "") -> str:
        """The cell, or the default where it is empty or absent."""
        return self.cells.get(column, "") or default

    def integer(self, column: str, default: int | None = None) -> int:
        """The cell as an integer; one without a default must be there.

        ``1,760`` and ``1 760`` are thousands, ``10.0`` is 10. Where the separator of the table leaves it open
        whether a point or comma is a decimal mark, the number is the reading that is an integer.
        """
        text = self.text(column)
        if not text:
            if default is None:
                raise InputError(f"{column} must be given")
            return default
        readings = set()
        if (match := _INTEGER.match(text)) and (match.end(1) == len(text) or text[match.end(1)] in self.decimals):
            readings.add(int(match[1]))
        if match := _GROUPS.match(text):
            group, mark = match[1], match[2]
            if mark != group and (group in " '" or len(self.decimals) > 1 or group not in self.decimals):
                whole = text.rpartition(mark)[0] if mark else text
                readings.add(int("".join(char for char in whole if char.isdigit())))
        if len(readings) > 1:
            few, many = sorted(readings)
            raise InputError(f"{column} must be an integer; {excerpt(text)} may be {few} or {many}: write that")
        if not readings:
            raise InputError(f"{column} must be an integer, not {excerpt(text)}")
        return readings.pop()

    def image(self) -> tuple[int, int, int, int]:
        """Channels, rows and columns of an input, one by one by default, and channels of the output."""
        channels, height = self.integer("c"), self.integer("h", 1)
        return channels, height, self.integer("w", height), self.integer("k")

    def share(self, column: str) -> float:
        """The cell as a share, 1 where it is empty."""
        text = self.text(column, "1")
        try:
            return float(text.replace(",", ".") if "," in self.decimals else text)
        except ValueError:
            raise InputError(f"{column} must be a share from 0 to 1, not {excerpt(text)}") from None
