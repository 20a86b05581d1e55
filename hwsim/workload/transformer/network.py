"""The network of one step of a decoder transformer: as one of several ranks runs it, with the kernels of servers.

Queries, keys and values are one product, and so are the two projections of a gated feed-forward network. Keys and
values of new tokens are written to the cache with the rotary embedding; attention reads all of them from there.
"""

from __future__ import annotations

from dataclasses import dataclass

from hwsim.errors import Fault, InputError, excerpt, nearest
from hwsim.workload.layer import Layer, whole
from hwsim.workload.layers.attention import Attention
from hwsim.workload.layers.collective import Collective
from hwsim.workload.layers.elementwise import Elementwise
from hwsim.workload.layers.embedding import Embedding
from hwsim.workload.layers.gated import Gated
from hwsim.workload.layers.gemm import Gemm
from hwsim.workload.layers.movement import DataMovement
from hwsim.workload.layers.pointwise import Normalization
from hwsim.workload.layers.rotary import Rotary
from hwsim.workload.network import INPUT, Node, Workload
from hwsim.workload.transformer.model import LlmSpec

__all__ = [
    "ACTIVATIONS",
    "CACHES",
    "MAX_TOKENS",
    "WEIGHTS",
    "Formats",
    "Shard",
    "count_of",
    "decode_network",
    "prefill_network",
]

#: Formats of weights -> formats of weights and activations that are multiplied; no activations: those of the model.
WEIGHTS = {
    "bf16": ("bf16", ""),
    "fp16": ("fp16", ""),
    "fp32": ("fp32", ""),
    "fp8": ("fp8", "fp8"),
    "int8": ("int8", ""),
    "int4": ("int4", ""),
    "w8a8": ("int8", "int8"),
}
CACHES = ("bf16", "fp16", "fp32", "fp8", "int8")
ACTIVATIONS = ("bf16", "fp16", "fp32", "int8")
#: Tokens of a sequence.
MAX_TOKENS = 2**20


def count_of(name: str, value: object, most: int) -> int:
    """A whole number from 1 on; raises InputError for another."""
    number = whole(value)
    if number is None or not 1 <= number <= most:
        raise InputError([Fault("", name, f"must be a whole number from 1 to {most:,}, not {excerpt(value)}")])
    return number


@dataclass(frozen=True, slots=True)
class Formats:
    """Number formats of a model as it is served.

    Attributes
    ----------
    weights : str
        A key of `WEIGHTS`: ``int8`` and ``int4`` are weights alone, ``fp8`` and ``w8a8`` activations too.
    kv : str
        Of the cache; "" as the activations.
    activations : str
        Between layers; "" is ``bf16``, or the format of the weights where it is one of 16 or 32 bits. ``int8`` is for
        machines that have nothing else.
    """

    weights: str = "bf16"
    kv: str = ""
    activations: str = ""

    def __post_init__(self) -> None:
        faults = []
        default = self.weights if self.weights in ("fp16", "fp32") else "bf16"
        object.__setattr__(self, "activations", self.activations or default)
        object.__setattr__(self, "kv", self.kv or self.activations)
        for name, valid in (("weights", tuple(WEIGHTS)), ("kv", CACHES), ("activations", ACTIVATIONS)):
            value = getattr(self, name)
            if not isinstance(value, str) or value not in valid:
                near = nearest(value, valid)
                faults.append(Fault("", name, f"must be one of {', '.join(valid)}, not {excerpt(value)}{near}"))
        if faults:
            raise InputError(faults)

    @property
    def multiplied(self) -> str:
        """Of the activations that a product reads."""
        return WEIGHTS[self.weights][1] or self.activations

    @property
    def queries(self) -> str:
        """Of the queries: those of a product in fp8 stay in it where the cache has it too."""
        return "fp8" if self.multiplied == self.kv == "fp8" else self.activations


@dataclass(frozen=True, slots=True)
class Shard:
    """What one of `tp` ranks has of a model (tensor parallelism, as of Megatron-LM).

    Heads, inner values of the feed-forward network and rows of the head are dealt out; heads of keys and values are
    repeated where there are fewer of them than ranks.
    """

    model: LlmSpec
    tp: int = 1

    def __post_init__(self) -> None:
        m, tp = self.model, count_of("tp", self.tp, 1024)
        object.__setattr__(self, "tp", tp)
        if m.heads % tp or m.ffn % tp:
            what = "heads" if m.heads % tp else "ffn"
            raise InputError([Fault("", "tp", f"must divide the {getattr(m, what)} {what} of {m.name}, not {tp}")])
        if m.kv_heads % tp and tp % m.kv_heads:
            raise InputError(
                [
                    Fault(
                        "",
                        "tp",
                        f"must divide the {m.kv_heads} kv_heads of {m.name}, or be a multiple of them, not {tp}",
                    )
                ]
            )

    @property
    def heads(self) -> int:
        """Heads of queries."""
        return self.model.heads // self.tp

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values."""
        return max(1, self.model.kv_heads // self.tp)

    @property
    def vocabulary(self) -> int:
        """Rows of the head, padded to equal shares."""
        return -(-self.model.vocabulary // self.tp)


class _Builder:
    """Nodes of one step of `tokens` tokens a sequence, against `context` tokens, these included."""

    def __init__(self, shard: Shard, formats: Formats, tokens: int, context: int) -> None:
        self.shard, self.model, self.formats = shard, shard.model, formats
        self.tokens = count_of("tokens", tokens, MAX_TOKENS)
        self.context = count_of("context", context, MAX_TOKENS)
        self.nodes: list[Node] = []

    def add(self, layer: Layer, *inputs: str) -> str:
        self.nodes.append(Node(layer, inputs))
        return layer.name

    def gemm(
        self, name: str, source: str, k: int, n: int, bias: bool = False, function: str = "none", rows: int = 0
    ) -> str:
        """A product by weights in their own format."""
        f = self.formats
        output = f.activations
        layer = Gemm(
            name, m=rows or self.tokens, n=n, k=k, bias=bias, activation=function,
            input=f.multiplied, weight=WEIGHTS[f.weights][0], output=output,
        )  # fmt: skip
        return self.add(layer, source)

    def norm(self, name: str, source: str, rows: int = 0, output: str = "") -> str:
        m, act = self.model, self.formats.activations
        shape = (rows or self.tokens, m.hidden)
        layer = Normalization(name, shape=shape, type=m.norm, input=act, weight=act, output=output or act)
        return self.add(layer, source)

    def plus(self, name: str, one: str, other: str) -> str:
        act = self.formats.activations
        shape = (self.tokens, self.model.hidden)
        return self.add(Elementwise(name, shape=shape, input=act, weight=act, output=act), one, other)

    def sum_of_ranks(self, name: str, source: str) -> str:
        """The sum over all ranks, where there are several."""
        if self.shard.tp == 1:
            return source
        act, shape = self.formats.activations, (self.tokens, self.model.hidden)
        layer = Collective(name, shape=shape, ranks=self.shard.tp, input=act, weight=act, output=act)
        return self.add(layer, source)

    def attention(self, block: int, source: str) -> str:
        m, s, f = self.model, self.shard, self.formats
        at = f"layers.{block}."
        width = (s.heads + 2 * s.kv_heads) * m.head
        qkv = self.gemm(f"{at}qkv", source, m.hidden, width, m.qkv_bias)
        rope = self.add(
            Rotary(
                f"{at}rope", tokens=self.tokens, heads=s.heads, kv_heads=s.kv_heads, dim=m.head, norm=m.qk_norm,
                input=f.activations, weight=f.activations, output=f.queries,
            ),
            qkv,
        )  # fmt: skip
        window = m.window if m.windowed(block) and m.window < self.context else 0
        attention = self.add(
            Attention(
                f"{at}attention", queries=self.tokens, context=self.context, heads=s.heads, kv_heads=s.kv_heads,
                dim=m.head, causal=True, window=window, cached=self.context,
                input=f.queries, weight=f.kv, output=f.multiplied,
            ),
            rope,
        )  # fmt: skip
        return self.gemm(f"{at}out", attention, s.heads * m.head, m.hidden, m.out_bias)

    def feed_forward(self, block: int, source: str) -> str:
        m, f = self.model, self.formats
        at, inner = f"layers.{block}.", self.model.ffn // self.shard.tp
        if not m.gated:
            up = self.gemm(f"{at}up", source, m.hidden, inner, m.ffn_bias, m.activation)
        else:
            both = self.gemm(f"{at}gate_up", source, m.hidden, 2 * inner, m.ffn_bias)
            up = self.add(
                Gated(
                    f"{at}gated", shape=(self.tokens, 2 * inner), type=m.activation,
                    input=f.activations, weight=f.activations, output=f.multiplied,
                ),
                both,
            )  # fmt: skip
        return self.gemm(f"{at}down", up, inner, m.hidden, m.ffn_bias)

    def block(self, block: int, x: str) -> str:
        m, read = self.model, self.formats.multiplied
        at = f"layers.{block}."
        if m.norms == 1:
            one = self.norm(f"{at}norm", x, output=read)
            halves = self.attention(block, one), self.feed_forward(block, one)
            both = self.sum_of_ranks(f"{at}all_reduce", self.plus(f"{at}halves", *halves))
            return self.plus(f"{at}add", both, x)
        for number, half in enumerate((self.attention, self.feed_forward), 1):
            y = half(block, self.norm(f"{at}norm{number}", x, output=read))
            y = self.sum_of_ranks(f"{at}all_reduce{number}", y)
            if m.norms == 4:
                y = self.norm(f"{at}post_norm{number}", y)
            x = self.plus(f"{at}add{number}", y, x)
        return x

    def network(self, name: str) -> Workload:
        m, act = self.model, self.formats.activations
        table = Embedding("embed", rows=m.vocabulary, dim=m.hidden, tokens=self.tokens, weight=act, output=act)
        if m.tied:
            table = table.with_tensors(weight={"array": "embed"})
        x = self.add(table, INPUT)
        if m.positions:
            rows = Embedding("positions", rows=m.positions, dim=m.hidden, tokens=self.tokens, weight=act, output=act)
            x = self.plus("add", x, self.add(rows, INPUT))
        for block in range(m.layers):
            x = self.block(block, x)
        if self.tokens > 1:  # only the last token of a sequence says which comes next
            last = DataMovement(
                "last", shape=(self.tokens, m.hidden), to=(1, m.hidden), type="slice", input=act, output=act
            )
            x = self.add(last, x)
        x = self.norm("norm", x, rows=1)
        weight: object = {"dtype": act, "array": "embed"} if m.tied and self.shard.tp == 1 else act
        head = Gemm(
            "head", n=self.shard.vocabulary, k=m.hidden, bias=m.head_bias, input=act, weight=weight, output=act,  # type: ignore[arg-type]
        )  # fmt: skip
        self.add(head, x)
        return Workload(name, self.nodes, graph=True, source=m.source)


def decode_network(model: LlmSpec, context: int, formats: Formats | None = None, tp: int = 1) -> Workload:
    """One new token of a sequence against `context` tokens, itself included; a batch of it is so many sequences.

    Parameters
    ----------
    model : LlmSpec
    context : int
    formats : Formats, optional
    tp : int
        Ranks that share each block; the network is what one of them runs.

    Raises
    ------
    InputError
        If the ranks do not divide the model.
    """
    builder = _Builder(Shard(model, tp), formats or Formats(), 1, context)
    return builder.network(f"{model.name} decode, context {context:,}")


def prefill_network(model: LlmSpec, tokens: int, formats: Formats | None = None, tp: int = 1) -> Workload:
    """All `tokens` tokens of a prompt, up to the first that follows; other parameters as of `decode_network`."""
    builder = _Builder(Shard(model, tp), formats or Formats(), tokens, tokens)
    return builder.network(f"{model.name} prefill, {tokens:,} tokens")
