"""Gradients as layers: what the backward pass of a product asks of a machine, and passes over memory.

Of a product Y = X W of m x k by k x n, the gradient of the inputs is dY W^T (m x n by n x k) and that of the weights
X^T dY (k x m by m x n, summed over the batch). That of the inputs of a convolution is a transposed convolution over the
output map, that of its weights a product whose inner dimension is all output positions of the batch. Either has the
MACs of the forward pass.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from hwsim.workload.layer import Layer, Shape, kind
from hwsim.workload.product import Product, Stream

__all__ = ["Gradient", "MemoryPass", "input_gradient", "weight_gradient"]


@kind
class Gradient(Layer):
    """A gradient of a product: of its ``input``, or of its ``weight`` (of a batched product: the second operand).

    Tensors: `input` is the gradient of the output, `weight` the operand that it meets, `output` the result.
    """

    of: Layer
    role: Literal["input", "weight"]

    _op: ClassVar[str] = "gradient"

    def _shapes(self) -> tuple[Shape, Shape, Shape]:
        x = self.of.input.shape, self.of.weight.shape
        return (self.of.output.shape, *(x[::-1] if self.role == "input" else x))

    def _input_shape(self) -> Shape:
        return self._shapes()[0]

    def _weight_shape(self) -> Shape:
        return self._shapes()[1]

    def _output_shape(self) -> Shape:
        return self._shapes()[2]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one input of the batch: those of the forward pass."""
        return self.of.macs

    @property
    def inputs(self) -> int:
        """Values read for one input of the batch."""
        return self.input.elements + (self.weight.elements if self.role == "weight" else 0)

    def lower(self, batch: int) -> Product:
        """The product, with the convolution that it is the gradient of."""
        x = self.of.lower(batch)
        assert isinstance(x, Product)
        stored = x.stored and self.role == "input"
        sizes, steps = (x.m, x.k, x.n) if self.role == "input" else (x.k, x.n, x.m), x.steps
        if self.role == "weight" and x.steps > 1:  # all steps are known: one product
            sizes, steps = (sizes[0], sizes[1], sizes[2] * x.steps), 1
        return Product(
            batch, x.b, *sizes, steps=steps, macs=x.macs, stored=stored, recurrent=x.recurrent and steps > 1,
            of=x.geometry, role=self.role,
        )  # fmt: skip


def _product(layer: Layer) -> Product | None:
    x = layer.lower(1)
    return x if isinstance(x, Product) else None


def input_gradient(layer: Layer) -> Layer | None:
    """The gradient of the inputs of a layer, of the first operand where both are activations; None if it is no product.

    Examples
    --------
    >>> import hwsim
    >>> conv = hwsim.Conv2d("c", c=31, h=28, w=28, k=64, r=3, stride=2, pad=1)
    >>> input_gradient(conv).macs == weight_gradient(conv).macs == conv.macs
    True
    """
    if _product(layer) is None:
        return None
    operand = layer.weight.dtype
    return Gradient(
        f"{layer.name}.d_input", of=layer.named("of"), role="input", input=layer.output.dtype, weight=operand,
        output=layer.input.dtype,
    )  # fmt: skip


def weight_gradient(layer: Layer) -> Layer | None:
    """The gradient of the weights of a layer, of the second operand where both are activations; None if no product."""
    if _product(layer) is None:
        return None
    return Gradient(
        f"{layer.name}.d_weight", of=layer.named("of"), role="weight", input=layer.output.dtype,
        weight=layer.input.dtype, output=layer.weight.dtype,
    )  # fmt: skip


@kind
class MemoryPass(Layer):
    """Values that are read and written in passes over memory for one input of the batch, such as of a normalization.

    `read` and `written` count values of the formats of `input` and `output`.
    """

    read: int
    written: int

    _op: ClassVar[str] = "pass"
    _sizes: ClassVar[tuple[str, ...]] = ("read", "written")

    def _input_shape(self) -> Shape:
        return (self.read,)

    def _output_shape(self) -> Shape:
        return (self.written,)

    @property
    def ops(self) -> int:
        """Scalar operations: one for each value that is read."""
        return self.read

    def lower(self, batch: int) -> Stream:
        """A pass over the values."""
        return self._stream(batch, "norm", "batch")
