"""Convolution over slices, rows and columns."""

from __future__ import annotations

from typing import ClassVar

from hwsim.workload.layer import ACTIVATIONS, Converted, Layer, Shape, Sizes, kind
from hwsim.workload.line import Line, axes
from hwsim.workload.product import Product

__all__ = ["Conv3d"]


@kind
class Conv3d(Layer):
    """A convolution over slices, rows and columns, as of video and volumes.

    It is planned as a GEMM by im2col, a row for each output position.

    Parameters
    ----------
    name : str
    c, d, h, w : int
        Input channels, slices, rows and columns.
    k : int
        Output channels.
    t, r, s : int
        Filter slices, rows and columns; `r` and `s` default to `t`.
    stride, dilation : int or (slices, rows, columns)
    pad : int or (front, top, left, back, bottom, right)
    groups : int
    bias : bool
    activation : str
        The function that is fused into the layer.
    input, weight, output
        Types of the tensors.

    Examples
    --------
    >>> conv = Conv3d("c1", c=3, d=16, h=112, w=112, k=64, t=3, pad=1)
    >>> conv.output.shape, conv.macs, conv.weights
    ((64, 16, 112, 112), 1040449536, 5184)
    """

    c: int
    d: int
    h: int
    w: int
    k: int
    t: int = 1
    r: int = 0
    s: int = 0
    stride: Sizes = Converted(1)
    pad: Sizes = Converted(0)
    dilation: Sizes = Converted(1)
    groups: int = 1
    bias: bool = True
    activation: str = "none"

    _lines: ClassVar[tuple[Line, ...]] = (
        Line(
            "conv3d",
            "A convolution over slices, rows and columns.",
            keys="c d h w k groups t r s stride dilation pad act bias",
            sizes="c d h w",
            source="a volume",
            follows="r s",
            read=axes("c d h w"),
        ),
    )
    _op: ClassVar[str] = "conv3d"
    _sizes: ClassVar[tuple[str, ...]] = ("c", "d", "h", "w", "k", "t", "groups")
    _counts: ClassVar[tuple[str, ...]] = ("r", "s")
    _flags: ClassVar[tuple[str, ...]] = ("bias",)
    _names: ClassVar[dict[str, tuple[str, ...]]] = {"activation": ACTIVATIONS}

    def _settle(self) -> list[str]:
        faults: list[str] = []
        for field in ("r", "s"):
            self._put(field, getattr(self, field) or self.t)
        for field, count, low in (("stride", 3, 1), ("dilation", 3, 1), ("pad", 6, 0)):
            self._put(field, self._integers(field, self.__dict__[field], count, low, faults))
        faults += [
            f"{field} must be a multiple of groups, not {size} in {self.groups} groups"
            for field, size in (("c", self.c), ("k", self.k))
            if size % self.groups
        ]
        for name, window, size in zip(("slices", "rows", "columns"), self._window, self._padded):
            if not faults and window > size:
                faults.append(f"the window must fit the padded input, not {window} {name} over {size}")
        return faults

    @property
    def _window(self) -> tuple[int, ...]:
        """Slices, rows and columns that the dilated window spans."""
        return tuple((size - 1) * step + 1 for size, step in zip((self.t, self.r, self.s), self.dilation))

    @property
    def _padded(self) -> tuple[int, ...]:
        """Input slices, rows and columns with padding."""
        return tuple(
            size + before + after
            for size, before, after in zip((self.d, self.h, self.w), self.pad[:3], self.pad[3:], strict=True)
        )

    def _input_shape(self) -> Shape:
        return (self.c, self.d, self.h, self.w)

    def _weight_shape(self) -> Shape:
        return (self.k, self.c // self.groups, self.t, self.r, self.s)

    def _output_shape(self) -> Shape:
        places = zip(self._padded, self._window, self.stride)
        return (self.k, *((size - window) // step + 1 for size, window, step in places))

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference; those on padding count too."""
        return self.outputs // self.k * self.weights

    @property
    def weights(self) -> int:
        """Stored weights."""
        return self.k * (self.c // self.groups) * self.t * self.r * self.s

    @property
    def biases(self) -> int:
        """Stored biases."""
        return self.k if self.bias else 0

    def lower(self, batch: int) -> Product:
        """A product by im2col for each group."""
        rows, inner = batch * self.outputs // self.k, self.weights // self.k
        return Product(batch, self.groups, rows, self.k // self.groups, inner, activation=self.activation)
