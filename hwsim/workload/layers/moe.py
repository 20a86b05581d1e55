"""Mixture of experts: router, experts, and the sum of what they give."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from hwsim.message import Message
from hwsim.workload.layer import ACTIVATIONS, Layer, Shape, Sublayer, kind
from hwsim.workload.layers.elementwise import Elementwise
from hwsim.workload.layers.expert_gemm import ExpertGemm, choice_faults
from hwsim.workload.layers.gemm import Gemm
from hwsim.workload.layers.pointwise import Softmax
from hwsim.workload.line import Line, axes

__all__ = ["Moe"]


@kind
class Moe(Layer):
    """A mixture of experts in place of a feed-forward block: each token goes through `topk` of `experts` networks.

    Parameters
    ----------
    name : str
    tokens : int
        Tokens of one inference.
    hidden, intermediate : int
        Values of a token, and of the inner layer of one expert.
    experts, topk : int
    shared : int
        Experts of the same size that every token goes through beside those, as one product.
    gated : bool
        Whether an expert has three matrices, activation(x G) * (x U) D, or two, activation(x U) D.
    activation : str
    router : bool
        Whether the product of hidden x experts that chooses, with its softmax, is part of the layer. If not, another
        layer gives the share of each expert as a second input.
    bias : bool
        Whether all products have biases.
    input, weight, output
        Types of the tensors. What is between the products has the type of the input.

    Notes
    -----
    `macs` are exact: tokens x topk x matrices x hidden x intermediate, and those of router and shared experts. All
    experts are stored. Which of them a batch reads depends on the router: a plan takes the rows to be spread evenly
    over as many experts as there are rows, at most all (see `ExpertGemm`); `expected_experts` is what a router reaches
    that chooses at random.

    Examples
    --------
    >>> moe = Moe("moe", tokens=1, hidden=4096, intermediate=14336, experts=8, topk=2)
    >>> moe.macs, moe.weights, round(moe.expected_experts(batch=8), 1)
    (352354304, 1409318912, 7.2)
    """

    tokens: int = 1
    hidden: int
    intermediate: int
    experts: int
    topk: int
    shared: int = 0
    gated: bool = True
    activation: str = "silu"
    router: bool = True
    bias: bool = False

    _lines: ClassVar[tuple[Line, ...]] = (
        Line(
            "moe",
            "A mixture of experts in place of a feed-forward block.",
            sizes="tokens hidden",
            source="a matrix",
            notes={
                "shared": "shared experts, which every token uses in addition",
                "gated": "three matrices per expert (default), or two",
                "router": "whether the router GEMM is part of the layer; default true",
            },
            read=axes("tokens hidden"),
        ),
    )
    _op: ClassVar[str] = "moe"
    _sizes: ClassVar[tuple[str, ...]] = ("tokens", "hidden", "intermediate", "experts", "topk")
    _counts: ClassVar[tuple[str, ...]] = ("shared",)
    _flags: ClassVar[tuple[str, ...]] = ("gated", "router", "bias")
    _names: ClassVar[dict[str, tuple[str, ...]]] = {"activation": ACTIVATIONS}

    def _settle(self) -> list[str]:
        return choice_faults(self.topk, self.experts)

    def _input_shape(self) -> Shape:
        return (self.tokens, self.hidden)

    def _weight_shape(self) -> Shape:
        return (self.weights,)

    def _output_shape(self) -> Shape:
        return (self.tokens, self.hidden)

    @property
    def operands(self) -> tuple[Shape, ...]:
        """The shape of the tokens, and without a router of its own that of the shares of each expert."""
        shape = (self.tokens, self.hidden)
        return (shape,) if self.router else (shape, (self.tokens, self.experts))

    @property
    def expert_weights(self) -> int:
        """Weights of one expert."""
        return (3 if self.gated else 2) * self.hidden * self.intermediate

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference: of the experts that are used, those that are shared, the router."""
        routing = self.hidden * self.experts if self.router else 0
        return self.tokens * ((self.topk + self.shared) * self.expert_weights + routing)

    @property
    def weights(self) -> int:
        """Stored weights: of all experts and the router."""
        routing = self.hidden * self.experts if self.router else 0
        return (self.experts + self.shared) * self.expert_weights + routing

    @property
    def biases(self) -> int:
        """Stored biases; shared experts are one network, with one bias for each output."""
        if not self.bias:
            return 0
        inner = (2 if self.gated else 1) * self.intermediate
        own = self.experts * (inner + self.hidden) + (self.experts if self.router else 0)
        return own + (self.shared * inner + self.hidden if self.shared else 0)

    @property
    def ops(self) -> int:
        """Scalar operations of its sublayers."""
        return sum(part.ops for part, _ in self.sublayers)

    def expected_experts(self, batch: int = 1) -> float:
        """Experts that a batch uses in the mean where each token chooses any `topk` of them."""
        return float(self.experts * (1 - (1 - self.topk / self.experts) ** (self.tokens * batch)))

    @property
    def sublayers(self) -> tuple[Sublayer, ...]:
        """Router, the products of the experts with what is between them, the same of shared ones, and their sum."""
        parts: list[Sublayer] = []
        first: dict[str, Any] = {"input": self.input, "weight": self.weight, "output": self.input.dtype}
        last: dict[str, Any] = {"input": self.input.dtype, "weight": self.weight, "output": self.output}
        between: dict[str, Any] = {"input": self.input.dtype, "output": self.input.dtype}

        def put(layer: Layer, *reads: int | str) -> str:
            parts.append((layer, reads))
            return layer.name

        def block(prefix: str, reads: tuple[int | str, ...], make: Callable[..., Layer], rows: int, width: int) -> str:
            """One network: its inner layer, gated or not."""
            up = make(f"{prefix}up", n=width, k=self.hidden, activation="none" if self.gated else self.activation)
            if not self.gated:
                return put(up, *reads)
            gate = make(f"{prefix}gate", n=width, k=self.hidden, activation=self.activation)
            product = Elementwise(f"{prefix}product", type="mul", shape=(rows, width), **between)
            return put(product, put(gate, *reads), put(up, *reads))

        routing: int | str = 1
        if self.router:
            shape = (self.tokens, self.experts)
            router = Gemm(f"{self.name}.router", m=shape[0], n=shape[1], k=self.hidden, bias=self.bias, **first)
            routing = put(Softmax(f"{self.name}.routing", shape=shape, **between), put(router, 0))
        sizes: dict[str, Any] = {"tokens": self.tokens, "experts": self.experts, "topk": self.topk, "bias": self.bias}
        own = partial(ExpertGemm, **sizes, **first)
        inner = block(f"{self.name}.", (0, routing), own, self.tokens * self.topk, self.intermediate)
        out = ExpertGemm(f"{self.name}.down", n=self.hidden, k=self.intermediate, type="down", **sizes, **last)
        put(out, inner, routing)
        if self.shared:
            width = self.shared * self.intermediate
            wide = partial(Gemm, m=self.tokens, bias=self.bias, **first)
            inner = block(f"{self.name}.shared_", (0,), wide, self.tokens, width)
            beside = Gemm(
                f"{self.name}.shared_down", m=self.tokens, n=self.hidden, k=width, bias=self.bias, **last
            )  # fmt: skip
            total = Elementwise(f"{self.name}.sum", shape=self.output.shape, input=self.output, output=self.output)
            put(total, out.name, put(beside, inner))
        return tuple(parts)

    def lowering(self, batch: int = 1) -> Message:
        """How many experts a batch is taken to use."""
        active = min(self.experts, self.tokens * self.topk * batch)
        return Message(
            "workload.experts",
            "rows are spread evenly over {used:,} of {experts:,} experts (a random router reaches {expected:,.4g})",
            {"used": active, "experts": self.experts, "expected": self.expected_experts(batch)},
        )
