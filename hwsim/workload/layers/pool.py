"""Pooling."""

from __future__ import annotations

from typing import ClassVar

from hwsim.workload.layer import Converted, Pair, Shape, kind, whole
from hwsim.workload.layers.window import Window
from hwsim.workload.line import Line, Values, axes
from hwsim.workload.product import Stream
from hwsim.workload.taps import ceil_positions

__all__ = ["Pool2d"]


def _text(layer: Pool2d, _: tuple[Shape, ...]) -> Values:
    return {"type": layer.type} | ({} if layer.stride == (layer.r, layer.s) else {"r": layer.r})


@kind
class Pool2d(Window):
    """The largest or the mean value of a window.

    Parameters
    ----------
    name : str
    c, h, w : int
        Channels, input rows and columns.
    r, s : int
        Window rows and columns; 0, the default, is the whole input. `s` defaults to `r`.
    stride, dilation : int or (rows, columns)
        The stride defaults to the window.
    pad
        As of `Conv2d`.
    type : str
        ``max`` or ``avg``.
    ceil : bool
        Whether a window that hangs over the end gives an output, as in Caffe; one that starts in the padding does not.
    """

    r: int = 0
    stride: Pair = Converted(0)
    type: str = "max"
    ceil: bool = False

    _lines: ClassVar[tuple[Line, ...]] = (
        Line(
            "pool",
            "A pooling; over the whole input where no window is given.",
            keys="type c h w r s stride dilation pad ceil",
            sizes="c h w",
            source="an image",
            follows="r s stride",
            read=axes("c h w"),
            write=_text,
        ),
    )
    _op: ClassVar[str] = "pool"
    _flags: ClassVar[tuple[str, ...]] = ("ceil",)
    _names: ClassVar[dict[str, tuple[str, ...]]] = {"type": ("max", "avg")}

    def _settle(self) -> list[str]:
        if whole(self.r) is None or whole(self.s) is None:
            return super()._settle()
        if self.r == 0:
            self._put("s", self.w)
            self._put("r", self.h)
        self._put("s", self.s or self.r)
        if whole(self.__dict__["stride"]) == 0:
            self._put("stride", (self.r, self.s))
        return super()._settle()

    def _positions(self, size: int, before: int, after: int, window: int, stride: int) -> int:
        room = size + before + after - window
        return ceil_positions(room, stride, size + before) if self.ceil else room // stride + 1

    @property
    def p(self) -> int:
        """Output rows."""
        return self._positions(self.h, self.pad[0], self.pad[2], self._window[0], self.stride[0])

    @property
    def q(self) -> int:
        """Output columns."""
        return self._positions(self.w, self.pad[1], self.pad[3], self._window[1], self.stride[1])

    def _output_shape(self) -> Shape:
        return (self.c, self.p, self.q)

    @property
    def whole(self) -> bool:
        """Whether one window covers the whole input."""
        return (self.r, self.s) == (self.h, self.w) and self.p == self.q == 1

    @property
    def ops(self) -> int:
        """Comparisons or additions of one inference."""
        return self.outputs * self.r * self.s

    def lower(self, batch: int) -> Stream:
        """A pass over windows."""
        return self._stream(batch, "pool", self.type)
