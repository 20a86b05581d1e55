"""The topologies of SCALE-Sim: convolutions by place, GEMMs by name or by place.

As in SCALE-Sim, an ifmap comes with its padding; a convolution has ``ceil((h - r + s) / s)`` rows, the last window
of which may reach past the ifmap; a name with ``DP`` is a depthwise convolution; names may come again; and what
follows the last comma of a line is a comment.
"""

from __future__ import annotations

import re
from typing import ClassVar

from hwsim.errors import InputError, excerpt
from hwsim.message import Message
from hwsim.workload.layer import Layer
from hwsim.workload.layers import BatchedMatmul, Conv2d, Conv3d, Gemm
from hwsim.workload.row import Row
from hwsim.workload.sheet import SheetLine
from hwsim.workload.tensor import TensorLike

__all__ = ["GemmTable", "Topology"]

_PLACES = (
    "layer name", "ifmap height", "ifmap width", "filter height", "filter width", "channels", "num filter", "strides",
)  # fmt: skip
_OPTIONS = {
    "sparsity": "sparsity",
    "sparsityratio": "sparsity",
    "strideheight": "stride height",
    "stridewidth": "stride width",
    "batchsize": "batch size",
    "batch": "batch size",
    "b": "batch size",
}
_MOST = 3
_RATIO = re.compile(r"([0-9]{1,2}):([0-9]{1,2})\Z")


def _word(column: str) -> str:
    """A header cell without blanks and signs, in lower case."""
    return re.sub(r"[\W_]", "", column.lower())


class _Form:
    """The columns of a topology: those that its lines must have, by place, and options that its header names.

    Without a name, a ratio is a sparsity, and an integer the batch of a GEMM.
    """

    batched: ClassVar[bool] = False

    def __init__(self, header: SheetLine, places: tuple[str, ...], decimals: str) -> None:
        self.decimals = decimals
        self.columns = list(places)
        for cell in header.cells[len(places) :]:
            self.columns.append(_OPTIONS.get(_word(cell), ""))
        self.needed = len(places)
        self.comments: list[str] = []
        """Texts after the last separator of a line."""

    def notes(self) -> list[Message]:
        """What a user should know of what was read."""
        if not self.comments:
            return []
        values = {"lines": len(self.comments), "texts": list(dict.fromkeys(map(excerpt, self.comments)))[:_MOST]}
        template = "text after the last comma of {lines:count line} is not read: {texts}"
        return [Message("import.comments", template, values)]

    def row(self, line: SheetLine) -> Row:
        """The cells of a line by column."""
        cells = dict(zip(self.columns, line.cells))
        for place, cell in enumerate(line.cells[self.needed :], self.needed):
            if place < len(self.columns) and self.columns[place]:
                continue
            if place == len(line.cells) - 1 and line.tail:
                self.comments.append(cell)
            elif _RATIO.match(cell):
                cells["sparsity"] = cell
            elif cell.isdigit() and self.batched:
                cells["batch size"] = cell
            elif cell:
                raise InputError(
                    f"column {place + 1} must be a sparsity N:M, not {excerpt(cell)}; its header names none"
                )
        cells.pop("", None)
        return Row(cells, self.decimals)


def _sparse(row: Row) -> TensorLike:
    """The column of N:M sparsity, as the type of the weights."""
    text = row.text("sparsity")
    if not text:
        return "int8"
    match = _RATIO.match(text)
    if not match or int(match[1]) > int(match[2]) or int(match[1]) < 1:
        raise InputError(f"sparsity must be a ratio N:M of at most 1, such as 2:4, not {excerpt(text)}")
    return "int8" if match[1] == match[2] else {"pattern": text}


def _overhang(size: int, window: int, stride: int) -> int:
    """Rows by which the last window reaches past the ifmap."""
    return (window - size) % stride if window <= size else 0


class Topology(_Form):
    """Convolutions: name, ifmap rows and columns, filter rows and columns, channels, filters, stride."""

    def __init__(self, header: SheetLine, decimals: str) -> None:
        words = [_word(cell) for cell in header.cells[7:9]]
        strides = ("stride height", "stride width") if words == ["strideheight", "stridewidth"] else ("strides",)
        super().__init__(header, _PLACES[:7] + strides, decimals)
        own = {_word(place).rstrip("s"): place for place in self.columns[: self.needed]}
        heads = [_word(cell).rstrip("s") for cell in header.cells[: self.needed]]
        self.swapped = [
            f"{cell!r} as {place}"
            for place, cell, head in zip(self.columns, header.cells, heads)
            if own.get(head, place) != place and heads.count(head) == 1
        ]

    @staticmethod
    def named(columns: list[str]) -> bool:
        """Whether a header is that of such a topology."""
        return any(_word(column).startswith(("ifmap", "filter", "numfilter")) for column in columns)

    def notes(self) -> list[Message]:
        """What a user should know of what was read."""
        if not self.swapped:
            return super().notes()
        template = "the columns of a SCALE-Sim topology are read by place, not by name: {columns}"
        return [Message("import.by_place", template, {"columns": self.swapped}, "warning"), *super().notes()]

    def layer(self, line: SheetLine) -> Layer:
        """The layer of a line; a batch is the slices of a convolution whose filters have one."""
        row = self.row(line)
        square = row.integer("strides") if "strides" in self.columns else None
        stride = tuple(row.integer(f"stride {side}", square) for side in ("height", "width"))
        h, w, r, s, c, k = (row.integer(column) for column in _PLACES[1:7])
        name, batch, weight = row.text("layer name"), row.integer("batch size", 1), _sparse(row)
        groups = c if (depthwise := "DP" in name) else 1
        below, right = _overhang(h, r, max(stride[0], 1)), _overhang(w, s, max(stride[1], 1))
        if batch != 1:
            return Conv3d(
                name, c=c, d=batch, h=h, w=w, k=groups * k, t=1, r=r, s=s, stride=(1, *stride),
                pad=(0, 0, 0, 0, below, right), groups=groups, bias=False, weight=weight,
            )  # fmt: skip
        return Conv2d(
            name, c=c, h=h, w=w, k=groups * k, r=r, s=s, stride=stride, pad=(0, 0, below, right), groups=groups,
            depthwise=depthwise, bias=False, weight=weight,
        )  # fmt: skip


class GemmTable(_Form):
    """GEMMs: a name, if the header has a column for it, and M, N and K in the order of the header."""

    batched = True

    def __init__(self, header: SheetLine, decimals: str) -> None:
        columns = [_word(cell) for cell in header.cells]
        sizes = [columns.index(size) for size in "mnk"]
        self.anonymous = min(sizes) == 0 or columns[0] in _OPTIONS
        places = [*columns[: max(sizes) + 1]]
        if not self.anonymous:
            places[0] = "name"
        odd = [cell for cell in places if cell not in ("name", *"mnk") and cell not in _OPTIONS]
        if odd:
            raise InputError(
                "a table with columns m, n and k is of GEMMs: only their name may be before these, in the first "
                f"column, not {excerpt(odd[0])}"
            )
        super().__init__(header, tuple(_OPTIONS.get(cell, cell) for cell in places), decimals)
        self.lines = 0

    @staticmethod
    def named(columns: list[str]) -> bool:
        """Whether a header is that of such a table."""
        words = [_word(column) for column in columns]
        return {"m", "n", "k"} <= set(words) and "c" not in words

    def layer(self, line: SheetLine) -> Layer:
        """The layer of a line; a batch is of independent products."""
        row = self.row(line)
        self.lines += 1
        name = f"gemm{self.lines}" if self.anonymous else row.text("name")
        m, n, k = (row.integer(column) for column in "mnk")
        if (batch := row.integer("batch size", 1)) != 1:
            return BatchedMatmul(name, b=batch, m=m, n=n, k=k, weight=_sparse(row))
        return Gemm(name, m=m, n=n, k=k, bias=False, weight=_sparse(row))
