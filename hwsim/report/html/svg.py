"""A small SVG writer: shapes, scales and axes, colored by classes so that the page's CSS decides light or dark."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["COLORS", "Scale", "Svg", "color", "escape", "linear_ticks", "log_ticks", "text_width", "truncate"]

#: Colors that the style sheet has, ``c0`` and on; the one after them is gray.
COLORS = 8
_CHARACTER = 6.3  # mean width of a character of the labels in pixels
# Characters that no XML may have, not even escaped.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def escape(text: object) -> str:
    """Text that is safe in HTML, between tags and in quoted attributes."""
    return html.escape(_FORBIDDEN.sub("\ufffd", str(text)), quote=True)


def color(index: int) -> str:
    """The class of a series by its place; what comes after the last color is gray."""
    return f"c{index}" if index < COLORS else "cx"


def text_width(text: str) -> float:
    """Estimated width of a label in pixels."""
    return len(text) * _CHARACTER


def truncate(text: str, width: float) -> str:
    """Text cut to a width in pixels."""
    most = max(int(width / _CHARACTER), 3)
    return text if len(text) <= most else text[: most - 1] + "…"


def _n(value: float) -> str:
    text = f"{value:.1f}"
    return text.removesuffix(".0").replace("-0", "0", 1) if text in ("-0.0",) else text.removesuffix(".0")


def linear_ticks(top: float, most: int = 5) -> list[float]:
    """Round values from 0 up to `top`, steps of 1, 2 or 5."""
    if not (top > 0 and math.isfinite(top)):
        return [0.0]
    rough = top / most
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next((unit * m for m in (1, 2, 5, 10) if unit * m >= rough * 0.999), unit * 10)
    return [i * step for i in range(int(top / step * 1.0001) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten within the range, and of two decades or less also 2 and 5 of each; no more than eight."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = max(1, -(-(last - first) // 8))
    steps = (1, 2, 5) if last - first <= 2 else (1,)
    powers = [10.0**e * m for e in range(first, last + 1, every) for m in steps]
    return [tick for tick in powers if low * 0.999 <= tick <= high * 1.001]


@dataclass(frozen=True, slots=True)
class Scale:
    """From values to pixels, linear or logarithmic."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        if self.log:
            share = math.log(max(value, self.low * 1e-9) / self.low) / (math.log(self.high / self.low) or 1.0)
        else:
            share = (value - self.low) / ((self.high - self.low) or 1.0)
        return self.start + share * (self.end - self.start)

    def ticks(self, most: int = 5) -> list[float]:
        """Round values of the range."""
        if self.log:
            return log_ticks(self.low, self.high)
        if not self.low:
            return linear_ticks(self.high, most)
        step = (linear_ticks(self.high - self.low, most) + [0.0, 0.0])[1] or 1.0
        first = math.ceil(self.low / step - 1e-9)
        return [i * step for i in range(first, first + 20) if i * step <= self.high * (1 + 1e-9)]


class Svg:
    """One picture under construction; coordinates are pixels of its view box."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self._parts: list[str] = []

    def _shape(self, tag: str, attributes: str, css: str, title: str) -> None:
        style = f' class="{css}"' if css else ""
        if title:
            self._parts.append(f"<{tag} {attributes}{style}><title>{escape(title)}</title></{tag}>")
        else:
            self._parts.append(f"<{tag} {attributes}{style}/>")

    def rect(self, x: float, y: float, width: float, height: float, css: str = "", title: str = "") -> None:
        """A rectangle; `title` is its tooltip."""
        size = f'width="{_n(max(width, 0))}" height="{_n(max(height, 0))}"'
        self._shape("rect", f'x="{_n(x)}" y="{_n(y)}" {size}', css, title)

    def line(self, x1: float, y1: float, x2: float, y2: float, css: str = "grid", title: str = "") -> None:
        """A straight line."""
        self._shape("line", f'x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}"', css, title)

    def path(self, points: Sequence[tuple[float, float]], css: str, title: str = "", close: bool = False) -> None:
        """Straight lines through points."""
        text = "L".join(f"{_n(x)} {_n(y)}" for x, y in points)
        self._shape("path", f'd="M{text}{"Z" if close else ""}"', css, title)

    def circle(self, x: float, y: float, radius: float, css: str, title: str = "") -> None:
        """A circle."""
        self._shape("circle", f'cx="{_n(x)}" cy="{_n(y)}" r="{_n(radius)}"', css, title)

    def diamond(self, x: float, y: float, radius: float, css: str, title: str = "") -> None:
        """A square on its corner."""
        self.path([(x, y - radius), (x + radius, y), (x, y + radius), (x - radius, y)], css, title, close=True)

    def text(self, x: float, y: float, text: str, css: str = "", anchor: str = "start", turn: float = 0) -> None:
        """One line of text."""
        style = f' class="{css}"' if css else ""
        where = f' text-anchor="{anchor}"' if anchor != "start" else ""
        rotation = f' transform="rotate({_n(turn)} {_n(x)} {_n(y)})"' if turn else ""
        self._parts.append(f'<text x="{_n(x)}" y="{_n(y)}"{style}{where}{rotation}>{escape(text)}</text>')

    def render(self, key: str, title: str, description: str) -> str:
        """The element, with its text alternative; `key` makes its ids unique in the page."""
        return (
            f'<svg class="chart" id="{key}" viewBox="0 0 {_n(self.width)} {_n(self.height)}" role="img" '
            f'aria-labelledby="{key}-t {key}-d" style="max-width:{_n(self.width)}px">'
            f'<title id="{key}-t">{escape(title)}</title><desc id="{key}-d">{escape(description)}</desc>'
            f"{''.join(self._parts)}</svg>"
        )
