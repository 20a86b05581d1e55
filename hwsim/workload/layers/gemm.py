"""The product of activations and stored weights."""

from __future__ import annotations

import math
from typing import ClassVar

from hwsim.workload.layer import ACTIVATIONS, Converted, Layer, Pair, Shape, kind
from hwsim.workload.line import Line, Values, axes
from hwsim.workload.product import Product
from hwsim.workload.row import Row

__all__ = ["Gemm"]


def _flat(values: Values, shapes: tuple[Shape, ...]) -> Values:
    """All values of what is read are the features; of an image, its size is the window."""
    if shapes:
        values.setdefault("k", math.prod(shapes[0]))
        if len(shapes[0]) == 3 and values["k"] == math.prod(shapes[0]):
            values["window"] = shapes[0][1:]
    return values


def _row(row: Row) -> Values:
    c, h, w, k = row.image()
    return {"n": k, "k": c * h * w}


@kind
class Gemm(Layer):
    """An m x k matrix of activations times a k x n matrix of weights; a fully connected layer has m = 1.

    Parameters
    ----------
    name : str
    m, n, k : int
        Rows of activations of one inference, output features, input features.
    bias : bool
    activation : str
        The function that is fused into the layer.
    window : (rows, columns)
        Where the input features are a whole image, its size: an array may treat the layer as the convolution of that
        image with filters as large as it is.
    dead_out, dead_in : int
        Output and input features that a compiler can leave out.
    input, weight, output
        Types of the tensors.

    Examples
    --------
    >>> fc = Gemm("fc", m=64, n=512, k=512, input="int8", weight="int4")
    >>> fc.macs, fc.weight.shape, fc.weight.bits
    (16777216, (512, 512), 4)
    """

    m: int = 1
    n: int
    k: int
    bias: bool = True
    activation: str = "none"
    window: Pair = Converted(1)
    dead_out: int = 0
    dead_in: int = 0

    _lines: ClassVar[tuple[Line, ...]] = (
        Line(
            "fc",
            "A fully connected layer: all of its input at once, n outputs.",
            keys="n k act bias dead_in dead_out",
            sizes="k",
            read=_flat,
            settle=lambda values: values | {"m": 1},
            row=_row,
            columns="c h w k",
        ),
        Line(
            "gemm",
            "A matrix product with stored weights: m rows of k inputs, n outputs.",
            keys="n m k act bias dead_in dead_out",
            sizes="m k",
            source="a matrix",
            read=axes("m k"),
        ),
    )
    _op: ClassVar[str] = "gemm"
    _sizes: ClassVar[tuple[str, ...]] = ("m", "n", "k")
    _counts: ClassVar[tuple[str, ...]] = ("dead_out", "dead_in")
    _flags: ClassVar[tuple[str, ...]] = ("bias",)
    _names: ClassVar[dict[str, tuple[str, ...]]] = {"activation": ACTIVATIONS}

    def _settle(self) -> list[str]:
        pairs = (("n", self.n, self.dead_out), ("k", self.k, self.dead_in))
        faults = [f"dead features must be at most {f}, {size}, not {dead}" for f, size, dead in pairs if dead > size]
        window = self._integers("window", self.window, 2, 1, faults)
        if not faults and (self.k % math.prod(window) or (self.m > 1 and math.prod(window) > 1)):
            faults.append(f"window must divide the features of one row, not {window} in {self.k} of {self.m} rows")
        self._put("window", window)
        return faults

    def _input_shape(self) -> Shape:
        return (self.m, self.k)

    def _weight_shape(self) -> Shape:
        return (self.k, self.n)

    def _channels(self, tensor: str, shape: Shape) -> int:
        return self.n if tensor == "output" else self.k

    def nonzeros(self, tensor: str) -> tuple[int, ...]:
        """Values that are not zero in each input feature of ``input`` or ``weight``, by the mask or as counted."""
        spec = getattr(self, tensor).spec
        if spec.mask is None or tensor == "output":
            return tuple(spec.nonzeros)
        return tuple(spec.mask.array.sum(1 if tensor == "weight" else 0).tolist())

    def _output_shape(self) -> Shape:
        return (self.m, self.n)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return self.m * self.n * self.k

    @property
    def macs_live(self) -> int:
        """Multiply-accumulates of one inference without dead features."""
        return self.m * (self.n - self.dead_out) * (self.k - self.dead_in)

    @property
    def weights(self) -> int:
        """Stored weights."""
        return self.n * self.k

    @property
    def biases(self) -> int:
        """Stored biases."""
        return self.n if self.bias else 0

    def share(self, channels: int, rows: int) -> Gemm:
        """The largest part of the columns."""
        return self.dense().with_(n=-(-self.n // (channels * rows)), dead_out=0, dead_in=0)

    def lower(self, batch: int) -> Product:
        """One product with the rows of all inputs."""
        return Product(
            batch, 1, batch * self.m, self.n, self.k,
            window=self.window, activation=self.activation, dead_in=self.dead_in, dead_out=self.dead_out,
        )  # fmt: skip
