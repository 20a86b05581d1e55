"""A layer as the array sees it: a convolution nest, or a product of matrices."""

from __future__ import annotations

from dataclasses import dataclass

from hwsim.machines.pe_array.spec import ArraySpec, Tensor
from hwsim.machines.plan import Action
from hwsim.workload import Layer
from hwsim.workload.product import Product

__all__ = ["ConvWork", "GemmWork", "as_conv", "as_gemm", "effectual_share", "mac_actions", "resting_words"]


@dataclass(frozen=True, slots=True)
class ConvWork:
    """A grouped convolution of a batch: channels a group, padded input size."""

    n: int
    g: int
    k: int
    c: int
    p: int
    q: int
    r: int
    s: int
    stride: tuple[int, int]
    dilation: tuple[int, int]
    height: int
    width: int
    pad_top: int = 0
    real_rows: int = 1
    real_cols: int = 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return self.n * self.g * self.k * self.c * self.p * self.q * self.r * self.s


@dataclass(frozen=True, slots=True)
class GemmWork:
    """`b` products of m x k by k x n."""

    b: int
    m: int
    n: int
    k: int

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return self.b * self.m * self.n * self.k


def as_conv(layer: Layer, batch: int, flat: bool = False) -> ConvWork | None:
    """The layer as a convolution, or None where it has no MACs.

    A product of matrices is a 1 x 1 convolution: its rows are the batch, its inner dimension the channels. A fully
    connected layer over an image is the convolution with filters as large as the image, unless it is to be `flat`.
    """
    x = layer.lower(batch)
    if not isinstance(x, Product):
        return None
    if (shape := x.geometry) is not None:
        return ConvWork(
            batch, shape.groups, shape.filters, shape.channels, shape.p, shape.q, shape.r, shape.s, shape.stride,
            shape.dilation, *shape.padded, shape.pad[0], shape.h, shape.w,
        )  # fmt: skip
    if x.window != (1, 1) and not flat:
        h, w = x.window
        return ConvWork(batch, 1, x.n, x.k // (h * w), 1, 1, h, w, (1, 1), (1, 1), h, w, 0, h, w)
    return ConvWork(x.m, x.b * x.steps, x.n, x.k, 1, 1, 1, 1, (1, 1), (1, 1), 1, 1)


def as_gemm(layer: Layer, batch: int) -> GemmWork | None:
    """The layer as products of matrices (a convolution by im2col), or None where it has no MACs.

    A recurrent layer is one product a time step, since each step waits for the one before.
    """
    x = layer.lower(batch)
    return GemmWork(x.b * x.steps, x.m, x.n, x.k) if isinstance(x, Product) else None


def effectual_share(layer: Layer, array: ArraySpec) -> float:
    """Share of the MACs that the array computes: no operand that it looks at is zero, zeros being independent."""
    if array.zeros == "compute":
        return 1.0
    first, second = layer.input.density, layer.weight.density
    return {"ifmap": first, "weight": second, "both": first * second}[array.zero_operands]


def mac_actions(layer: Layer, macs: int, array: ArraySpec) -> dict[Action, int]:
    """The MACs that are computed, and apart those that a zero gates; one that is skipped is in neither."""
    idle = round(macs * (1.0 - effectual_share(layer, array)))
    actions: dict[Action, int] = {("mac", "", layer.input.dtype): macs - idle}
    if idle and array.zeros == "gate":
        actions["mac", "", "gated"] = idle
    return actions


def resting_words(layer: Layer, macs: int, array: ArraySpec) -> dict[Tensor, int]:
    """MACs that do not touch a word of a tensor.

    One that is skipped touches none. One that is gated has read the operand that is zero, the ifmap first where the
    array looks at both.
    """
    idle = round(macs * (1.0 - effectual_share(layer, array)))
    if not idle:
        return {}
    resting: dict[Tensor, int] = {"ifmap": idle, "weight": idle, "ofmap": idle}
    if array.zeros == "gate":
        resting["weight" if array.zero_operands == "weight" else "ifmap"] = 0
        if array.zero_operands == "both":
            resting["weight"] = round(macs * (1.0 - layer.input.density))
    return {tensor: number for tensor, number in resting.items() if number}
