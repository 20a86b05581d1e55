"""The page around the charts: sections, tables, figures; style and script from the files in this folder."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files

import hwsim
from hwsim.report.html.charts import Chart, Legend
from hwsim.report.html.svg import escape

__all__ = ["Cell", "Page", "merged", "meter"]


@cache
def _asset(name: str) -> str:
    """A file of this folder without the indentation."""
    text = files("hwsim.report.html").joinpath(name).read_text(encoding="utf-8")
    return re.sub(r"^\s+", "", text, flags=re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell: text to escape, or ready HTML; `value` is what it sorts by, `css` n for numbers, w for prose."""

    text: str = ""
    value: float | None = None
    css: str = ""
    html: str = ""
    rows: int = 1

    def render(self) -> str:
        """The ``td``."""
        css = self.css or ("n" if self.value is not None else "")
        style = f' class="{css}"' if css else ""
        data = f' data-v="{self.value:.6g}"' if self.value is not None and math.isfinite(self.value) else ""
        data += f' rowspan="{self.rows}"' if self.rows > 1 else ""
        return f"<td{style}{data}>{self.html or escape(self.text)}</td>"


def meter(share: float, text: str, css: str = "c0") -> str:
    """A bar in a cell with its number behind it."""
    width = min(max(share, 0.0), 1.0) * 100
    return f'<span class="meter {css}"><i style="width:{width:.0f}%"></i></span>{escape(text)}'


def merged(rows: Sequence[Sequence[str]], columns: Sequence[int]) -> list[list[Cell]]:
    """Rows of text, in which like neighbors of some columns are one cell; the first column does not wrap."""
    table: list[list[Cell]] = []
    for place, row in enumerate(rows):
        cells = []
        for column, text in enumerate(row):
            if column not in columns:
                cells.append(Cell(text, css="w" if column else "k"))
            elif place == 0 or rows[place - 1][column] != text:
                alike = next((n for n, other in enumerate(rows[place:]) if other[column] != text), len(rows) - place)
                cells.append(Cell(text, css="w", rows=alike))
        table.append(cells)
    return table


def _legend(legend: Legend) -> str:
    items = "".join(f'<li><i class="{css}"></i>{escape(name)}</li>' for name, css in legend.items)
    lead = f"<li>{escape(legend.of)}:</li>" if legend.of else ""
    return f'<ul class="legend">{lead}{items}</ul>' if items else ""


class Page:
    """Sections in order; renders as a whole document or as a fragment with its own style."""

    def __init__(self, title: str, subtitle: str = "") -> None:
        self.title, self.subtitle = title, subtitle
        self._parts: list[str] = []
        self._sections: list[tuple[str, str]] = []
        self._prefix = f"h{sha256(f'{title}|{subtitle}'.encode('utf-8', 'replace')).hexdigest()[:8]}"
        self._count = 0

    def add(self, markup: str) -> None:
        """HTML as it is."""
        self._parts.append(markup)

    def section(self, title: str) -> None:
        """Begin a section."""
        key = f"{self._prefix}-s{len(self._sections)}"
        self._sections.append((key, title))
        self.add(f'<h2 id="{key}">{escape(title)}</h2>')

    def text(self, text: str, css: str = "") -> None:
        """A paragraph."""
        style = f' class="{css}"' if css else ""
        self.add(f"<p{style}>{escape(text)}</p>")

    def tiles(self, values: Iterable[tuple[str, str, str]]) -> None:
        """Large numbers: value, name, and a remark."""
        cells = "".join(
            f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span><span>{escape(remark)}</span></div>'
            for value, name, remark in values
        )
        self.add(f'<div class="tiles">{cells}</div>')

    def chart(self, chart: Chart | None, caption: str = "") -> None:
        """A figure with its legend."""
        if chart is None:
            return
        self._count += 1
        legend = "".join(map(_legend, chart.legends))
        figcaption = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
        picture = chart.svg.render(f"{self._prefix}-f{self._count}", chart.title, chart.description)
        self.add(f"<figure>{legend}{picture}{figcaption}</figure>")

    def table(
        self, heads: Sequence[str], rows: Iterable[Sequence[Cell | str]], sorts: bool = True, fold: str = ""
    ) -> None:
        """A table; `fold` hides it behind that summary."""
        body, numbers = [], set(range(len(heads)))
        for row in rows:
            cells = [cell if isinstance(cell, Cell) else Cell(cell) for cell in row]
            numbers &= {i for i, cell in enumerate(cells) if (cell.css or "n") == "n"}
            body.append(f"<tr>{''.join(cell.render() for cell in cells)}</tr>")
        styles = [' class="n"' if i in numbers and body else "" for i in range(len(heads))]
        top = "".join(f'<th scope="col"{style}>{escape(head)}</th>' for style, head in zip(styles, heads))
        css = ' class="sorts"' if sorts else ""
        table = f"<table{css}><thead><tr>{top}</tr></thead><tbody>{''.join(body)}</tbody></table>"
        table = f'<div class="scroll">{table}</div>'
        self.add(f"<details><summary>{escape(fold)}</summary>{table}</details>" if fold else table)

    def _main(self, navigation: bool) -> str:
        links = "".join(f'<a href="#{key}">{escape(title)}</a>' for key, title in self._sections)
        nav = f'<nav aria-label="sections">{links}</nav>' if navigation and len(self._sections) > 2 else ""
        subtitle = f'<p class="soft">{escape(self.subtitle)}</p>' if self.subtitle else ""
        foot = f"<footer>hwsim {escape(hwsim.__version__)}. This file is self-contained.</footer>"
        foot = foot if navigation else ""
        return f"<main><h1>{escape(self.title)}</h1>{subtitle}{nav}{''.join(self._parts)}{foot}</main>"

    def document(self) -> str:
        """One file with everything in it."""
        policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            '<meta name="color-scheme" content="light dark">'
            f"<title>{escape(self.title)}</title><style>html,body{{margin:0}}{_asset('style.css')}</style></head>"
            f'<body class="hwsim">\n{self._main(True)}\n<script>{_asset("script.js")}</script></body></html>\n'
        )

    def fragment(self) -> str:
        """For a notebook: no document, no script; the style touches nothing outside."""
        return f'<div class="hwsim"><style>{_asset("style.css")}</style>{self._main(False)}</div>'
