"""Borderless tables whose rows never wrap: on a narrow terminal, columns are folded, dropped or truncated."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["WIDTH", "Column", "bar", "heading", "print_columns", "print_folded", "shortened", "wrapped"]

#: Columns of a terminal that a table of results takes at most, in a pipe too.
WIDTH = 100
_GAP = 2
_BAR = (5, 24)
_STYLED = 1000
"""Rows of a table with styles; rich takes half a millisecond for each."""


@dataclass(frozen=True)
class Column:
    """One column.

    A `rank` above zero: the column may be dropped, highest first. `least`: minimum width, to which it is truncated when
    no column is left to drop; `most`: maximum width.
    """

    name: str
    cells: Sequence[str | Text]
    right: bool = False
    rank: int = 0
    least: int | None = None
    most: int | None = None

    @cached_property
    def width(self) -> int:
        """Characters of its longest cell."""
        longest = max([len(self.name), *(cell_len(_plain(cell)) for cell in self.cells)])
        return longest if self.most is None else min(longest, self.most)


def bar(share: float, width: int, console: Console) -> Text:
    """A bar of eighths of a character, or of ``#`` where the output is no terminal or has no such characters."""
    share = min(max(share, 0.0), 1.0) if math.isfinite(share) else 0.0
    if not console.is_terminal or not console.encoding.lower().startswith("utf"):
        return Text("#" * (round(share * width) or (share >= 0.001)))
    full = share * width
    whole = int(full)
    eighths = " ▏▎▍▌▋▊▉"[int((full - whole) * 8)]
    return Text(("█" * whole + eighths).rstrip() or ("▏" if share > 0 else ""), style="cyan")


def print_columns(
    console: Console,
    columns: Sequence[Column],
    shares: Sequence[float] | None = None,
    width: int | None = None,
    heads: bool = True,
    styles: Sequence[str] | None = None,
) -> None:
    """Print columns with bars of `shares` in the width that they leave.

    `width` is the maximum (default: that of the console); `styles` are those of the rows.
    """
    width = console.width if width is None else min(width, console.width)
    visible = list(columns)

    def excess() -> int:
        return sum(column.width + _GAP for column in visible) - _GAP - width

    while excess() > 0 and any(column.rank for column in visible):
        visible.remove(max(visible, key=lambda column: column.rank))
    widths = [column.width for column in visible]
    over = excess()
    for place in sorted((i for i, c in enumerate(visible) if c.least is not None), key=lambda i: -widths[i]):
        cut = min(max(over, 0), max(widths[place] - (visible[place].least or 1), 0))
        widths[place] -= cut
        over -= cut
    room = min(width - sum(widths) - _GAP * len(widths), _BAR[1])
    bars = shares if shares is not None and room >= _BAR[0] else None
    if console.color_system is None or len(columns[0].cells) > _STYLED:
        texts = [[column.name, *map(_plain, column.cells)] for column in visible]
        if bars is not None:
            texts.append(["", *(bar(share, room, console).plain for share in bars)])
            widths.append(max(map(cell_len, texts[-1])))
        if over <= 0 and all(widths) and not any("\n" in text for column in texts for text in column):
            right = [column.right for column in visible] + [False]
            fitted = [[_fitted(text, size, end) for text in some] for some, size, end in zip(texts, widths, right)]
            lines = [(" " * _GAP).join(row) for row in zip(*fitted, strict=True)]
            console.out("\n".join(lines if heads else lines[1:]), highlight=False)
            return
    table = Table(box=None, pad_edge=False, show_header=heads, header_style="bold", padding=(0, _GAP, 0, 0))
    for column, size in zip(visible, widths):
        justify = "right" if column.right else "left"
        table.add_column(Text(column.name), no_wrap=True, overflow="ellipsis", width=size, justify=justify)  # type: ignore[arg-type]
    if bars is not None:
        table.add_column("", no_wrap=True)
    for row in range(len(columns[0].cells)):
        cells = [cell if isinstance(cell := column.cells[row], Text) else Text(cell) for column in visible]
        if bars is not None:
            cells.append(bar(bars[row], room, console))
        table.add_row(*cells, style=styles[row] if styles else None)
    console.print(table, highlight=False)


def _plain(cell: str | Text) -> str:
    """The characters of a cell that rich would print."""
    if isinstance(cell, str):
        return cell if cell.isprintable() else Text(cell).plain
    return cell.plain


def shortened(name: str, most: int) -> str:
    """A name in so many characters: long ones without their middle, since names of layers often begin alike."""
    start = most // 3
    return name if len(name) <= most else f"{name[:start]}…{name[start + 1 - most :]}"


def _fitted(text: str, size: int, right: bool) -> str:
    """A cell of a given width, as rich fits it."""
    text = text.rstrip() if right else text
    left = size - cell_len(text)
    if left < 0:
        return set_cell_size(text, size - 1) + "…"
    return " " * left + text if right else text + " " * left


def print_folded(
    console: Console, key: Column, parts: Sequence[Sequence[Column]], shares: Sequence[float] | None = None
) -> None:
    """Print columns in as many tables as the width needs, each with the key column; no column is left out.

    The columns of a part stay together. The first table has bars of `shares` where there is room.
    """
    width = min(console.width, WIDTH)
    tables: list[list[Column]] = [[key]]
    for part in parts:
        if len(tables[-1]) > 1 and sum(column.width + _GAP for column in (*tables[-1], *part)) - _GAP > width:
            tables.append([key])
        tables[-1] += part
    for number, columns in enumerate(tables):
        if number:
            console.print()
        print_columns(console, columns, None if number else shares, width)


def wrapped(console: Console, text: str, indent: str = "") -> None:
    """Print prose: wrapped at words with what follows indented; on one line in a pipe."""
    if not console.is_terminal:
        console.print(Text(indent + text), soft_wrap=True)
        return
    width = min(console.width, WIDTH)
    wrapper = textwrap.TextWrapper(width, indent, f"{indent}  ", break_on_hyphens=False)
    for line in wrapper.wrap(text) or [""]:
        console.print(Text(line), soft_wrap=True)


def heading(console: Console, text: str) -> None:
    """Print a line in bold."""
    console.print(Text(text, style="bold"), highlight=False)
