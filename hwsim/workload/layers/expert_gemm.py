"""Products whose rows are dealt to the matrices of experts by a router."""

from __future__ import annotations

from typing import ClassVar

from hwsim.workload.layer import ACTIVATIONS, Layer, Shape, kind
from hwsim.workload.layers.conv import Conv2d
from hwsim.workload.line import Line, axes
from hwsim.workload.product import Product

__all__ = ["ExpertGemm", "choice_faults"]


def choice_faults(topk: int, experts: int) -> list[str]:
    """What does not hold of how many experts a token uses."""
    return [f"topk must be at most experts, {experts}, not {topk}"] if topk > experts else []


@kind
class ExpertGemm(Layer):
    """A product with one k x n matrix for each of `experts`, of which each token uses `topk`.

    Which ones is not known before a run: the rows of a batch are taken to be spread evenly over as many experts as
    there are rows, at most all. That is the most weights that a batch can read, and the least time of the busiest
    expert.

    Parameters
    ----------
    name : str
    tokens : int
        Tokens of one inference.
    experts, topk : int
    n, k : int
        Output and input features.
    type : str
        ``up`` reads a row for each token, and gives one for each token and expert that it uses; ``down`` reads
        these and sums what belongs to a token.
    bias : bool
    activation : str
        The function that is fused into the layer.
    input, weight, output
        Types of the tensors.
    """

    tokens: int = 1
    experts: int
    topk: int
    n: int
    k: int
    type: str = "up"
    bias: bool = False
    activation: str = "none"

    _lines: ClassVar[tuple[Line, ...]] = (
        Line(
            "expert_gemm",
            "A matrix product with the weights of topk experts for each token; "
            "it reads rows and the shares of experts.",
            keys="type tokens experts topk n k act bias",
            sizes="tokens experts k",
            source="a matrix and the shares of experts",
            read=axes("_ k", "tokens experts"),
        ),
    )
    _op: ClassVar[str] = "expert_gemm"
    _sizes: ClassVar[tuple[str, ...]] = ("tokens", "experts", "topk", "n", "k")
    _flags: ClassVar[tuple[str, ...]] = ("bias",)
    _names: ClassVar[dict[str, tuple[str, ...]]] = {"type": ("up", "down"), "activation": ACTIVATIONS}

    def _settle(self) -> list[str]:
        return choice_faults(self.topk, self.experts)

    def _input_shape(self) -> Shape:
        return (self.tokens if self.type == "up" else self.rows, self.k)

    def _weight_shape(self) -> Shape:
        return (self.experts, self.k, self.n)

    def _output_shape(self) -> Shape:
        return (self.rows if self.type == "up" else self.tokens, self.n)

    @property
    def operands(self) -> tuple[Shape, ...]:
        """The shapes of the rows, and of the router's share of each expert for each token."""
        return (self.input.shape, (self.tokens, self.experts))

    @property
    def rows(self) -> int:
        """Rows of one inference that are multiplied: one for each token and expert that it uses."""
        return self.tokens * self.topk

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return self.rows * self.n * self.k

    @property
    def weights(self) -> int:
        """Stored weights, of all experts."""
        return self.experts * self.n * self.k

    @property
    def biases(self) -> int:
        """Stored biases, of all experts."""
        return self.experts * self.n if self.bias else 0

    @property
    def ops(self) -> int:
        """Down, the products and sums that put together the rows of a token; up, none."""
        return (2 * self.topk - 1) * self.outputs if self.type == "down" else 0

    def spread(self, batch: int = 1) -> tuple[tuple[int, int], ...]:
        """(experts, rows of each) for a batch: those that have most, then those that have one row less, if any.

        >>> ExpertGemm("up", tokens=5, experts=4, topk=2, n=1, k=1).spread()
        ((2, 3), (2, 2))
        """
        active = self.used(batch)
        rows, more = divmod(self.rows * batch, active)
        return ((more, rows + 1), (active - more, rows)) if more else ((active, rows),)

    def lower(self, batch: int) -> Product:
        """A product an expert in use, with the rows of the fullest."""
        (_, rows), *_ = self.spread(batch)
        return Product(
            batch, self.used(batch), rows, self.n, self.k,
            macs=self.macs * batch, outputs=self.rows * batch * self.n, spread=self.spread(batch),
            activation=self.activation,
        )  # fmt: skip

    def weights_read(self, batch: int) -> int:
        """The matrices of the experts in use."""
        return self.used(batch) * self.n * self.k

    def used(self, batch: int = 1) -> int:
        """Experts that a batch uses, and whose weights it reads."""
        return min(self.experts, self.rows * batch)

    def grouped(self, batch: int = 1) -> tuple[Conv2d, ...]:
        """The products of a batch as grouped convolutions of one inference, a pixel a row, a group an expert."""
        return tuple(
            Conv2d(
                self.name, c=count * self.k, k=count * self.n, h=rows, w=1, r=1, groups=count, bias=self.bias,
                activation=self.activation, input=self.input, weight=self.weight, output=self.output,
            )
            for count, rows in self.spread(batch)
        )  # fmt: skip
