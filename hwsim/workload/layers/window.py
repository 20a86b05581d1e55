"""Layers whose window slides over rows and columns."""

from __future__ import annotations

from typing import ClassVar

from hwsim.errors import excerpt
from hwsim.workload.layer import Converted, Layer, Pads, Pair, Shape, kind

__all__ = ["Window"]


def _same(size: int, window: int, stride: int) -> tuple[int, int]:
    """Padding before and after so that the output has ceil(size / stride) positions; the odd one goes after."""
    total = max((-(-size // stride) - 1) * stride + window - size, 0)
    return total // 2, total - total // 2


@kind
class Window(Layer):
    """What convolution and pooling share: stride, dilation, padding and the size of the output."""

    c: int
    h: int = 1
    w: int = 1
    r: int = 1
    s: int = 0
    stride: Pair = Converted(1)
    pad: Pads = Converted(0)
    dilation: Pair = Converted(1)

    _sizes: ClassVar[tuple[str, ...]] = ("c", "h", "w")
    _counts: ClassVar[tuple[str, ...]] = ("r", "s")

    def _settle(self) -> list[str]:
        faults: list[str] = []
        stride = self._integers("stride", self.stride, 2, 1, faults)
        dilation = self._integers("dilation", self.dilation, 2, 1, faults)
        pad: object = self.__dict__["pad"]
        pads: tuple[int, ...]
        if isinstance(pad, str) and pad == "same":
            rows = _same(self.h, (self.r - 1) * dilation[0] + 1, stride[0])
            cols = _same(self.w, (self.s - 1) * dilation[1] + 1, stride[1])
            pads = rows[0], cols[0], rows[1], cols[1]
        elif isinstance(pad, str) and pad == "valid":
            pads = (0, 0, 0, 0)
        elif isinstance(pad, str):
            faults.append(f"pad must be 1, 2 or 4 integers, 'same' or 'valid', not {excerpt(pad)}")
            pads = (0, 0, 0, 0)
        elif isinstance(pad, (list, tuple)) and len(pad) == 2:
            pads = self._integers("pad", pad, 2, 0, faults) * 2
        else:
            pads = self._integers("pad", pad, 4, 0, faults)
        if faults:
            return faults
        for field, value in (("stride", stride), ("dilation", dilation), ("pad", pads)):
            self._put(field, value)
        sizes = ("rows", self.padded_h), ("columns", self.padded_w)
        for (axis, size), window in zip(sizes, self._window):
            if window > size:
                faults.append(f"the window must fit the padded input, not {window} {axis} over {size}")
        return faults

    @property
    def _window(self) -> tuple[int, int]:
        """Rows and columns that the dilated window spans."""
        return (self.r - 1) * self.dilation[0] + 1, (self.s - 1) * self.dilation[1] + 1

    @property
    def padded_h(self) -> int:
        """Input rows with padding."""
        return self.h + self.pad[0] + self.pad[2]

    @property
    def padded_w(self) -> int:
        """Input columns with padding."""
        return self.w + self.pad[1] + self.pad[3]

    @property
    def p(self) -> int:
        """Output rows."""
        return (self.padded_h - self._window[0]) // self.stride[0] + 1

    @property
    def q(self) -> int:
        """Output columns."""
        return (self.padded_w - self._window[1]) // self.stride[1] + 1

    def _input_shape(self) -> Shape:
        return (self.c, self.h, self.w)
