"""Attention: scores of queries with keys, their softmax, and the sum of values that it weighs."""

from __future__ import annotations

import math
from typing import ClassVar

from hwsim.message import Message
from hwsim.workload.layer import Converted, Layer, OptionalInt, Shape, Sublayer, kind, whole
from hwsim.workload.layers.matmul import BatchedMatmul
from hwsim.workload.layers.pointwise import Softmax
from hwsim.workload.line import Line, Values
from hwsim.workload.product import Attended

__all__ = ["Attention"]


def _read(values: Values, shapes: tuple[Shape, ...]) -> Values:
    """Rows of the queries, and of the new keys where there are any, from what gives them; else all keys are cached."""
    if shapes and (rows := _rows(shapes[0], values, ("heads", "dim"))):
        values.setdefault("queries", rows)
    if shapes and len(shapes) < 3 and "context" in values:
        values.setdefault("cached", values["context"])
    elif len(shapes) > 2 and (rows := _rows(shapes[1], {"kv_heads": values["heads"]} | values, ("kv_heads", "dim"))):
        context = values.setdefault("context", rows)
        if whole(context) is not None and context >= rows:
            values.setdefault("cached", context - rows)
    return values


def _rows(shape: Shape, values: Values, keys: tuple[str, ...]) -> int | None:
    """How many rows of the product of some sizes a shape has; None if that is not whole."""
    sizes = [whole(values[key]) for key in keys]
    row = math.prod(size for size in sizes if size is not None)
    return None if None in sizes or row < 1 or math.prod(shape) % row else math.prod(shape) // row


@kind
class Attention(Layer):
    """Softmax(Q K^T) V of `heads` heads, with `queries` new positions against the `context` positions there are.

    A mask says which positions a query attends to. Where `causal`, query i is position start + i, and attends to it
    and to those before it, as far as the context has them. A `window` of w leaves the last w of these.

    `macs` and `ops` are those of the attended positions, exactly. Machines plan the layer as its `sublayers`, products
    that know no mask: they run the rectangle of all queries and all positions that some query attends to, and the run
    says how many MACs of masked scores that adds. So the MACs of a report are those of the products.

    Parameters
    ----------
    name : str
    queries, context : int
        Positions that ask, and positions that are asked (keys and values), new ones and those of the cache.
    heads, kv_heads : int
        Heads of queries, and of keys and values (default: as many). Each of the latter serves
        heads / kv_heads of the former (grouped queries), and is read once for them.
    dim, value_dim : int
        Values of a query and key, and of a value (default: as many).
    causal : bool
    window : int
        0 is no window; other windows need `causal`.
    cached : int
        Positions whose keys and values are in a cache from before. The others are outputs of two other layers, of
        which this one reads them. Those before the queries where `causal`, else none, by default.
    start : int
        The position of the first query, where `causal`. By default the queries are the last positions of the context.
    input, weight, output
        Types of the queries, of keys and values, and of the output. Scores have that of the queries.

    Examples
    --------
    >>> one = Attention("attn", queries=1, context=2048, heads=32, kv_heads=8, dim=128, causal=True, weight="fp8")
    >>> one.macs, one.operands, one.cache_bytes(batch=32)
    (16777216, ((1, 4096), (1, 1024), (1, 1024)), 134152192)
    """

    queries: int = 1
    context: int
    heads: int
    kv_heads: OptionalInt = Converted(None)
    dim: int
    value_dim: OptionalInt = Converted(None)
    causal: bool = False
    window: int = 0
    cached: OptionalInt = Converted(None)
    start: OptionalInt = Converted(None)

    _lines: ClassVar[tuple[Line, ...]] = (
        Line(
            "attention",
            "softmax(Q K^T) V; it reads queries, new keys and new values, "
            "or queries alone where all others are cached.",
            sizes="queries context",
            source="the rows of queries and keys",
            notes={
                "context": "positions of keys and values, new and cached ones",
                "kv_heads": "heads of keys and values; heads if left out",
                "dim": "values of a query and key of one head",
                "value_dim": "values of a value of one head; dim if left out",
                "window": "the last positions that a query attends to; 0: all",
                "cached": "positions whose keys and values are cached in memory",
                "start": "the position of the first query where causal; the queries are the last ones if left out",
            },
            read=_read,
        ),
    )
    _op: ClassVar[str] = "attention"
    _sizes: ClassVar[tuple[str, ...]] = ("queries", "context", "heads", "dim")
    _counts: ClassVar[tuple[str, ...]] = ("window",)
    _flags: ClassVar[tuple[str, ...]] = ("causal",)

    def _settle(self) -> list[str]:
        faults: list[str] = []
        kv_heads = self._optional("kv_heads", self.heads, 1, faults)
        self._optional("value_dim", self.dim, 1, faults)
        if self.heads % kv_heads:
            faults.append(f"kv_heads must divide heads, {self.heads}, not {kv_heads}")
        if self.causal and self.context < self.queries and self.start is None:
            faults.append(f"context must be at least queries, {self.queries}, where causal, not {self.context}")
        if self.window and not self.causal:
            faults.append(f"window must be 0 where causal is not true, not {self.window}")
        last = max(0, self.context - self.queries)
        if self._optional("start", last, 0, faults) != last and not self.causal:
            faults.append(f"start must be left out where causal is not true, not {self.start}")
        if self.window and self.start > (most := self.context + self.window - 2):
            faults.append(
                f"start must be at most {most}, so that the first query attends to a position, not {self.start}"
            )
        cached = self._optional("cached", max(0, self.context - self.queries) if self.causal else 0, 0, faults)
        least = self.context - self.span
        if not faults and not least <= cached <= self.context:
            faults.append(f"cached must be {least} to {self.context} positions of the context, not {cached}")
        return faults

    def _input_shape(self) -> Shape:
        return (self.queries, self.heads * self.dim)

    def _weight_shape(self) -> Shape:
        return (self.context, self.kv_heads * (self.dim + self.value_dim))

    def _output_shape(self) -> Shape:
        return (self.queries, self.heads * self.value_dim)

    @property
    def operands(self) -> tuple[Shape, ...]:
        """The shapes of queries, new keys and new values, a row a position; of queries alone where all are cached."""
        new = self.context - self.cached
        if not new:
            return (self.input.shape,)
        return (self.input.shape, (new, self.kv_heads * self.dim), (new, self.kv_heads * self.value_dim))

    @property
    def span(self) -> int:
        """Positions that are read: all, or with a window those from the first that some query attends to."""
        return self.context - max(0, self.start + 1 - self.window) if self.window else self.context

    @property
    def attended(self) -> int:
        """Pairs of a query and a position that it attends to."""
        if not self.causal:
            return self.queries * self.context
        seen = self._positions(self.start)
        return seen - self._positions(self.start - self.window) if self.window else seen

    def _positions(self, start: int) -> int:
        """Positions of the context before or at each query, if the first query is at `start`: their sum."""

        def until(place: int) -> int:
            inside = min(max(place, 0), self.context)
            return inside * (inside + 1) // 2 + max(place - self.context, 0) * self.context

        return until(start + self.queries) - until(start)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of both products over the attended positions."""
        return self.heads * self.attended * (self.dim + self.value_dim)

    @property
    def inputs(self) -> int:
        """Values read: queries, and keys and values of all positions that some query attends to."""
        return self.input.elements + self.span * self.kv_heads * (self.dim + self.value_dim)

    @property
    def ops(self) -> int:
        """A maximum, a difference, an exponential, a sum and a quotient for each attended score."""
        return 5 * self.heads * self.attended

    def cache_bytes(self, batch: int = 1) -> int:
        """Bytes of the keys and values that are in the cache and that some query attends to."""
        window = self.cached - (self.context - self.span)
        return -(-window * self.kv_heads * (self.dim + self.value_dim) * self.weight.bits * batch // 8)

    def lower(self, batch: int) -> Attended:
        """The whole of it, which few machines run as one kernel."""
        context = min(self.context, self.start + self.queries) if self.causal else self.context
        new = max(0, context - self.cached)
        return Attended(
            "opaque", self.inputs * batch, self.outputs * batch, self.ops * batch, operands=len(self.operands),
            batch=batch, queries=self.queries, context=context, heads=self.heads, kv_heads=self.kv_heads,
            dim=self.dim, value_dim=self.value_dim, window=self.window, causal=self.causal, new=new,
            regular=not self.causal or self.start + self.queries == context,
        )  # fmt: skip

    @property
    def sublayers(self) -> tuple[Sublayer, ...]:
        """Scores, softmax and context: a product for each head of keys and values, whose rows are all its queries."""
        rows = self.queries * self.heads // self.kv_heads
        window = (self.cached - (self.context - self.span)) * self.kv_heads
        dtype = self.input.dtype
        scores = BatchedMatmul(
            f"{self.name}.scores", b=self.kv_heads, m=rows, n=self.span, k=self.dim, cached=window * self.dim,
            input=self.input, weight=self.weight, output=dtype,
        )  # fmt: skip
        softmax = Softmax(f"{self.name}.softmax", shape=scores.output.shape, input=dtype, output=dtype)
        context = BatchedMatmul(
            f"{self.name}.context", b=self.kv_heads, m=rows, n=self.value_dim, k=self.span,
            cached=window * self.value_dim, input=dtype, weight=self.weight, output=self.output,
        )  # fmt: skip
        new = self.context > self.cached
        return (
            (scores, (0, 1) if new else (0,)),
            (softmax, (scores.name,)),
            (context, (softmax.name, 2) if new else (softmax.name,)),
        )

    def lowering(self, batch: int = 1) -> Message | None:
        """How many MACs of masked scores the products run."""
        masked_macs = sum(part.macs for part, _ in self.sublayers) - self.macs
        template = "no mask is used, {macs:,} MACs of masked scores are executed"
        return Message("workload.masked_scores", template, {"macs": masked_macs * batch}) if masked_macs else None
