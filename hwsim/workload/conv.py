"""Convolution and pooling: layers whose window slides over rows and columns."""

from __future__ import annotations

from typing import ClassVar

from hwsim.workload.layer import ACTIVATIONS, Converted, Layer, Pads, Pair, Shape, kind
from hwsim.workload.product import Geometry, Product, Stream

__all__ = ["Conv2d", "Pool2d"]


def _same(size: int, window: int, stride: int) -> tuple[int, int]:
    """Padding before and after so that the output has ceil(size / stride) positions; the odd one goes after."""
    total = max((-(-size // stride) - 1) * stride + window - size, 0)
    return total // 2, total - total // 2


@kind
class _Window(Layer):
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
        if pad == "same":
            rows = _same(self.h, (self.r - 1) * dilation[0] + 1, stride[0])
            cols = _same(self.w, (self.s - 1) * dilation[1] + 1, stride[1])
            pads = rows[0], cols[0], rows[1], cols[1]
        elif pad == "valid":
            pads = (0, 0, 0, 0)
        elif isinstance(pad, str):
            faults.append(f"pad must be 1, 2 or 4 integers, 'same' or 'valid', not {pad!r:.60}")
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


@kind
class Conv2d(_Window):
    """A convolution over rows and columns.

    Parameters
    ----------
    name : str
    c, h, w : int
        Input channels, rows and columns.
    k : int
        Output channels.
    r, s : int
        Filter rows and columns; `s` defaults to `r`.
    stride, dilation : int or (rows, columns)
    pad : int, (rows, columns), (top, left, bottom, right), "same" or "valid"
        ``same`` pads as TensorFlow does: the output has ceil(size / stride) positions and the odd row goes last.
    groups : int
    depthwise : bool
        Whether each channel has filters of its own: so it is where `groups` is the number of channels, if there are
        several. One channel alone is told apart because kernel libraries have another kernel for it.
    bias : bool
        Whether each output channel has a bias. A batch normalization folded into the weights leaves one.
    activation : str
        The function that is fused into the layer, such as ``relu``.
    dead_out, dead_in : int
        Output and input channels that a compiler can leave out. With groups they are spread evenly over the groups; in
        a depthwise layer a dead input channel is a dead output channel.
    input, weight, output
        Types of the tensors.

    Examples
    --------
    >>> conv = Conv2d("c1", c=3, h=224, w=224, k=64, r=7, s=7, stride=2, pad=3)
    >>> conv.p, conv.q, conv.macs, conv.weights
    (112, 112, 118013952, 9408)
    """

    k: int
    groups: int = 1
    depthwise: bool = False
    bias: bool = True
    activation: str = "none"
    dead_out: int = 0
    dead_in: int = 0

    _sizes: ClassVar[tuple[str, ...]] = ("c", "h", "w", "k", "r", "groups")
    _counts: ClassVar[tuple[str, ...]] = ("s", "dead_out", "dead_in")
    _flags: ClassVar[tuple[str, ...]] = ("bias", "depthwise")
    _names: ClassVar[dict[str, tuple[str, ...]]] = {"activation": ACTIVATIONS}

    def _settle(self) -> list[str]:
        self._put("s", self.s or self.r)
        faults = super()._settle()
        if self.depthwise and self.groups != self.c:
            faults.append(f"groups must be the {self.c} channels of a depthwise layer, not {self.groups}")
        self._put("depthwise", self.depthwise or self.groups == self.c > 1)
        for field, channels, dead in (("c", self.c, self.dead_in), ("k", self.k, self.dead_out)):
            if channels % self.groups:
                faults.append(f"{field} must be a multiple of groups, not {channels} in {self.groups} groups")
            if dead > channels:
                faults.append(f"dead channels must be at most {field}, {channels}, not {dead}")
            if 1 < self.groups < self.c and dead % self.groups:
                faults.append(f"dead channels must be spread evenly over {self.groups} groups, not {dead}")
        return faults

    def _weight_shape(self) -> Shape:
        return (self.k, self.c // self.groups, self.r, self.s)

    def _output_shape(self) -> Shape:
        return (self.k, self.p, self.q)

    @property
    def op(self) -> str:
        """``dwconv`` for a depthwise layer, ``conv`` for any other."""
        return "dwconv" if self.depthwise else "conv"

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference; those on padding count too."""
        return self.p * self.q * self.weights

    @property
    def macs_live(self) -> int:
        """Multiply-accumulates of one inference without dead channels."""
        window = self.p * self.q * self.r * self.s
        if self.depthwise:
            return window * (self.k - max(self.dead_out, self.dead_in * (self.k // self.c)))
        return window * (self.k - self.dead_out) * ((self.c - self.dead_in) // self.groups)

    @property
    def weights(self) -> int:
        """Stored weights."""
        return self.k * (self.c // self.groups) * self.r * self.s

    @property
    def biases(self) -> int:
        """Stored biases."""
        return self.k if self.bias else 0

    def lower(self, batch: int) -> Product:
        """A product by im2col for each group."""
        shape = Geometry(
            self.c, self.h, self.w, self.k, self.p, self.q, self.r, self.s,
            self.stride, self.dilation, self.pad, self.groups, self.depthwise,
        )  # fmt: skip
        return Product(
            batch, self.groups, batch * shape.p * shape.q, shape.filters, shape.channels * shape.taps,
            geometry=shape, activation=self.activation, dead_in=self.dead_in, dead_out=self.dead_out,
        )  # fmt: skip


@kind
class Pool2d(_Window):
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

    _op: ClassVar[str] = "pool"
    _flags: ClassVar[tuple[str, ...]] = ("ceil",)
    _names: ClassVar[dict[str, tuple[str, ...]]] = {"type": ("max", "avg")}

    def _settle(self) -> list[str]:
        if self.r == 0:
            self._put("s", self.w)
            self._put("r", self.h)
        self._put("s", self.s or self.r)
        if self.__dict__["stride"] == 0:
            self._put("stride", (self.r, self.s))
        return super()._settle()

    def _positions(self, size: int, before: int, after: int, window: int, stride: int) -> int:
        room = size + before + after - window
        if not self.ceil:
            return room // stride + 1
        positions = -(-room // stride) + 1
        return positions - 1 if positions > 1 and (positions - 1) * stride >= size + before else positions

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
