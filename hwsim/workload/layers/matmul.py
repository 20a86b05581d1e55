"""Products of two activations."""

from __future__ import annotations

from typing import ClassVar

from hwsim.workload.layer import Layer, Shape, kind
from hwsim.workload.line import Line
from hwsim.workload.product import Product

__all__ = ["BatchedMatmul"]


@kind
class BatchedMatmul(Layer):
    """`b` products of an m x k by a k x n matrix that are both activations, as in attention.

    Either may come transposed, as the products that are run read a matrix by rows or by columns.
    `weight` is the type of the second operand; nothing is stored, so `weights` is 0. So many of its values are
    `cached` from earlier inferences, as the keys of earlier tokens are; another layer gives the rest, if there is one.
    """

    b: int = 1
    m: int
    n: int
    k: int
    cached: int = 0

    _lines: ClassVar[tuple[Line, ...]] = (
        Line(
            "matmul",
            "b products of two activations: m x k by k x n.",
            notes={"cached": "values of the second operand that are cached in memory"},
        ),
    )
    _op: ClassVar[str] = "matmul"
    _sizes: ClassVar[tuple[str, ...]] = ("b", "m", "n", "k")
    _counts: ClassVar[tuple[str, ...]] = ("cached",)

    def _settle(self) -> list[str]:
        size = self.b * self.k * self.n
        return [f"cached must be at most b x k x n, {size}, not {self.cached}"] if self.cached > size else []

    def _input_shape(self) -> Shape:
        return (self.b, self.m, self.k)

    def _weight_shape(self) -> Shape:
        return (self.b, self.k, self.n)

    def _output_shape(self) -> Shape:
        return (self.b, self.m, self.n)

    @property
    def operands(self) -> tuple[Shape, ...]:
        """The shapes of both factors; of the second, what is not cached."""
        if not self.cached:
            return (self.input.shape, self.weight.shape)
        rest = self.weight.elements - self.cached
        return (self.input.shape, (rest,)) if rest else (self.input.shape,)

    @property
    def inputs(self) -> int:
        """Values read of one inference, those that are cached with them."""
        return self.input.elements + self.weight.elements

    def cache_bytes(self, batch: int = 1) -> int:
        """Bytes of the cached values."""
        return -(-self.cached * self.weight.bits * batch // 8)

    def accepts(self, shape: Shape, operand: int) -> bool:
        """Whether the shape fits, or does once its last two axes change places."""
        transpose = (*shape[:-2], shape[-1], shape[-2]) if len(shape) > 1 else shape
        return super().accepts(shape, operand) or transpose == self.operands[operand]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return self.b * self.m * self.n * self.k

    def share(self, channels: int, rows: int) -> BatchedMatmul | None:
        """The largest part of the products, such as heads; None of fewer than devices, and of a cache."""
        able = self.b >= channels * rows and not self.cached
        return self.with_(b=-(-self.b // (channels * rows))) if able else None

    def lower(self, batch: int) -> Product:
        """Products of activations, those of each input apart."""
        return Product(batch, batch * self.b, self.m, self.n, self.k, stored=False)
