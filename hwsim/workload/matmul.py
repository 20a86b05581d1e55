"""Layers that multiply matrices: fully connected, batched, recurrent, and the look-up of an embedding."""

from __future__ import annotations

import math
from typing import ClassVar

from hwsim.workload.layer import ACTIVATIONS, Converted, Layer, Pair, Shape, TensorField, kind, tensor
from hwsim.workload.product import Product, Stream

__all__ = ["BatchedMatmul", "Embedding", "Gemm", "Gru", "Lstm"]


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

    def lower(self, batch: int) -> Product:
        """One product with the rows of all inputs."""
        return Product(
            batch, 1, batch * self.m, self.n, self.k,
            window=self.window, activation=self.activation, dead_in=self.dead_in, dead_out=self.dead_out,
        )  # fmt: skip


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
        turned = (*shape[:-2], shape[-1], shape[-2]) if len(shape) > 1 else shape
        return super().accepts(shape, operand) or turned == self.operands[operand]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return self.b * self.m * self.n * self.k

    def lower(self, batch: int) -> Product:
        """Products of activations, those of each input apart."""
        return Product(batch, batch * self.b, self.m, self.n, self.k, stored=False)


@kind
class _Recurrent(Layer):
    """What LSTM and GRU share: `gates` matrices of hidden x (input + hidden), used once a step."""

    input_size: int
    hidden_size: int
    steps: int = 1
    bias: bool = True

    _gates: ClassVar[int] = 0
    _sizes: ClassVar[tuple[str, ...]] = ("input_size", "hidden_size", "steps")
    _flags: ClassVar[tuple[str, ...]] = ("bias",)

    def _input_shape(self) -> Shape:
        return (self.steps, self.input_size)

    def _weight_shape(self) -> Shape:
        return (self._gates * self.hidden_size, self.input_size + self.hidden_size)

    def _output_shape(self) -> Shape:
        return (self.steps, self.hidden_size)

    @property
    def gates(self) -> int:
        """How many gate matrices there are."""
        return self._gates

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all steps of one inference; with one step, of one token."""
        return self.steps * self.weights

    @property
    def weights(self) -> int:
        """Stored weights."""
        return self._gates * self.hidden_size * (self.input_size + self.hidden_size)

    @property
    def biases(self) -> int:
        """Stored biases, one a gate and hidden value."""
        return self._gates * self.hidden_size if self.bias else 0

    def lower(self, batch: int) -> Product:
        """One product of all gates a step, which waits for the step before."""
        n, k = self._gates * self.hidden_size, self.input_size + self.hidden_size
        return Product(batch, 1, batch, n, k, steps=self.steps, recurrent=True)


@kind
class Lstm(_Recurrent):
    """A long short-term memory: 4 * hidden_size * (input_size + hidden_size) weights, `steps` tokens an inference."""

    _op: ClassVar[str] = "lstm"
    _gates: ClassVar[int] = 4

    @property
    def ops(self) -> int:
        """Five functions, three products and one sum for each hidden value and step."""
        return 9 * self.outputs


@kind
class Gru(_Recurrent):
    """A gated recurrent unit: 3 * hidden_size * (input_size + hidden_size) weights, `steps` tokens an inference."""

    _op: ClassVar[str] = "gru"
    _gates: ClassVar[int] = 3

    @property
    def ops(self) -> int:
        """Three functions, three products and two sums for each hidden value and step."""
        return 8 * self.outputs


@kind
class Embedding(Layer):
    """The look-up of `tokens` rows of `dim` values in a table of `rows`; tokens default to ``int32``."""

    rows: int
    dim: int
    tokens: int = 1
    input: TensorField = tensor("int32")

    _op: ClassVar[str] = "embedding"
    _sizes: ClassVar[tuple[str, ...]] = ("rows", "dim", "tokens")

    def _input_shape(self) -> Shape:
        return (self.tokens,)

    def _weight_shape(self) -> Shape:
        return (self.rows, self.dim)

    def _output_shape(self) -> Shape:
        return (self.tokens, self.dim)

    @property
    def weights(self) -> int:
        """Stored weights; one inference reads `tokens` rows of them."""
        return self.rows * self.dim

    def lower(self, batch: int) -> Stream:
        """Rows of the table, one a token."""
        return self._stream(batch, "gather")

    def weights_read(self, batch: int) -> int:
        """The rows that one inference looks up: those of a batch may be the same."""
        return self.outputs
