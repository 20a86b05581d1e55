"""Convolution."""

from __future__ import annotations

from typing import ClassVar

from hwsim.errors import InputError
from hwsim.workload.layer import ACTIVATIONS, Shape, kind, whole
from hwsim.workload.layers.window import Window
from hwsim.workload.line import Line, Values, axes
from hwsim.workload.product import Geometry, Product
from hwsim.workload.row import Row

__all__ = ["Conv2d"]


def _depthwise(values: Values) -> Values:
    channels, multiplier = whole(values["c"]), whole(values.pop("multiplier", 1))
    if channels is None or multiplier is None:  # a parameter can be of any type
        raise InputError("c and multiplier must be integers")
    return values | {"groups": channels, "k": channels * multiplier, "depthwise": True}


def _text(layer: Conv2d, _: tuple[Shape, ...]) -> Values:
    return {"r": 1} if layer.r == 1 != layer.s else {}


def _depthwise_written(layer: Conv2d, shapes: tuple[Shape, ...]) -> Values:
    multiplier = layer.k // layer.c
    return _text(layer, shapes) | ({"multiplier": multiplier} if multiplier > 1 else {})


def _row(row: Row) -> Values:
    c, h, w, k = row.image()
    r, stride, pad = row.integer("r", 1), row.integer("stride", 1), row.text("pad")
    words = pad in ("same", "valid")
    around = 0 if words else row.integer("pad", 0)
    pads = tuple(row.integer(f"pad_{side}", around) for side in ("top", "left", "bottom", "right"))
    return {
        "c": c,
        "h": h,
        "w": w,
        "k": k,
        "r": r,
        "s": row.integer("s", r),
        "stride": (row.integer("stride_h", stride), row.integer("stride_w", stride)),
        "pad": pad if words else pads,
        "dilation": row.integer("dilation", 1),
        "groups": row.integer("groups", 1),
    }


def _depthwise_row(row: Row) -> Values:
    values = _row(row)
    return values | {"groups": row.integer("groups", values["c"]), "depthwise": True}


_COLUMNS = "c h w k r s stride stride_h stride_w dilation pad pad_top pad_left pad_bottom pad_right groups p q"


@kind
class Conv2d(Window):
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

    _lines: ClassVar[tuple[Line, ...]] = (
        Line(
            "dwconv",
            "A depthwise convolution: `multiplier` output channels for each input channel.",
            keys="c h w multiplier r s stride dilation pad act bias dead_in dead_out",
            sizes="c h w",
            source="an image",
            follows="s",
            extra={"multiplier": 1},
            read=axes("c h w"),
            settle=_depthwise,
            write=_depthwise_written,
            row=_depthwise_row,
            columns=_COLUMNS,
        ),
        Line(
            "conv",
            "A convolution.",
            keys="c h w k groups r s stride dilation pad act bias dead_in dead_out",
            sizes="c h w",
            source="an image",
            follows="s",
            read=axes("c h w"),
            write=_text,
            row=_row,
            columns=_COLUMNS,
        ),
    )
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

    def _channels(self, tensor: str, shape: Shape) -> int:
        return self.k if tensor == "output" else self.c

    def nonzeros(self, tensor: str) -> tuple[int, ...]:
        """Values that are not zero in each input channel of ``input`` or ``weight``, by the mask or as counted."""
        spec = getattr(self, tensor).spec
        if spec.mask is None or tensor == "output":
            return tuple(spec.nonzeros)
        mask = spec.mask.array
        if tensor == "weight":  # filters of a group by its channels
            grouped = mask.reshape(self.groups, self.k // self.groups, self.c // self.groups, -1)
            return tuple(grouped.sum((1, 3)).ravel().tolist())
        return tuple(mask.reshape(self.c, -1).sum(1).tolist())

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

    def share(self, channels: int, rows: int) -> Conv2d:
        """The largest part of the filters, of which groups stay whole, and of the rows, with those beyond a border.

        Examples
        --------
        >>> part = Conv2d("c", c=64, h=31, w=31, k=127, r=3, pad=1).share(channels=2, rows=4)
        >>> part.k, part.p, part.h
        (64, 8, 10)
        """
        layer, groups = self.dense().with_(dead_out=0, dead_in=0), -(-self.groups // channels)
        if channels > 1:
            apart = max(1, channels // self.groups)  # devices that share the filters of a group
            filters = -(-(self.k // self.groups) // apart)
            layer = layer.with_(k=groups * filters, c=groups * (self.c // self.groups), groups=groups)
        if rows == 1:
            return layer
        read = (-(-self.p // rows) - 1) * self.stride[0] + self._window[0]
        return layer.with_(h=read, pad=(0, self.pad[1], 0, self.pad[3]))

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
