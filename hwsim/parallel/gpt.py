"""GPT by its sizes: the network of one of the devices that share each block (tensor parallelism of Megatron-LM).

A device has a share of the heads and of the inner values; the sums after attention and after the feed-forward network
are all-reduced, forward and backward. The table of words and the head are one array, cut by rows of the vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

from hwsim.errors import InputError, excerpt
from hwsim.workload import Workload
from hwsim.workload.layer import Layer, whole
from hwsim.workload.layers.elementwise import Elementwise
from hwsim.workload.layers.embedding import Embedding
from hwsim.workload.layers.gemm import Gemm
from hwsim.workload.layers.matmul import BatchedMatmul
from hwsim.workload.layers.movement import DataMovement
from hwsim.workload.layers.pointwise import Activation, Normalization, Softmax
from hwsim.workload.network import INPUT, Node

__all__ = ["Gpt", "gpt_of"]

_MOST = {"hidden": 2**18, "layers": 4096, "heads": 2**14, "sequence": 2**20, "vocabulary": 2**24}


@dataclass(frozen=True)
class Gpt:
    """A decoder transformer as Megatron-LM trains it.

    Attributes
    ----------
    hidden, layers, heads : int
    sequence : int
        Tokens of an input.
    vocabulary : int

    Examples
    --------
    >>> round(Gpt(12288, 96, 96).parameters / 1e9, 1)
    174.6
    """

    hidden: int
    layers: int
    heads: int
    sequence: int = 2048
    vocabulary: int = 51200

    def __post_init__(self) -> None:
        for name, most in _MOST.items():
            number = whole(getattr(self, name))
            if number is None or not 1 <= number <= most:
                raise InputError(
                    f"{name} must be a whole number from 1 to {most:,}, not {excerpt(getattr(self, name))}"
                )
        if self.hidden % self.heads:
            raise InputError(f"heads must divide hidden, {self.hidden}, not {self.heads}")

    @property
    def name(self) -> str:
        """Its sizes."""
        return f"gpt hidden={self.hidden} layers={self.layers} heads={self.heads} sequence={self.sequence}"

    @property
    def parameters(self) -> int:
        """Of products, biases, normalizations, the table of words and that of positions."""
        h = self.hidden
        return self.layers * (12 * h * h + 13 * h) + (self.vocabulary + self.sequence) * h + 2 * h

    def network(self, ways: int = 1) -> Workload:
        """What one of so many devices that share each block runs; raises InputError if they do not divide the heads."""
        h, s = self.hidden, self.sequence
        if self.heads % ways or 4 * h % ways:
            raise InputError(f"tensor must divide the {self.heads} heads, not {ways}")
        heads, width, vocabulary = self.heads // ways, h // ways, -(-self.vocabulary // ways)
        nodes: list[Node] = []

        def add(layer: Layer, *inputs: str) -> str:
            nodes.append(Node(layer, inputs))
            return layer.name

        x = add(Embedding("words", rows=vocabulary, dim=h, tokens=s), INPUT)
        for block in range(self.layers):
            at = f"b{block}."
            y = add(Normalization(f"{at}norm1", shape=(s, h), type="layer"), x)
            qkv = add(Gemm(f"{at}qkv", m=s, n=3 * width, k=h), y)
            q, k, v = (
                add(DataMovement(f"{at}{part}", shape=(s, 3 * width), to=(s, width), type="slice"), qkv)
                for part in ("query", "key", "value")
            )
            y = add(BatchedMatmul(f"{at}scores", b=heads, m=s, n=s, k=h // self.heads), q, k)
            y = add(Softmax(f"{at}softmax", shape=(heads, s, s)), y)
            # Dropout is a kernel of its own, also where scale, mask and softmax are one.
            y = add(DataMovement(f"{at}dropout", shape=(heads, s, s), type="copy"), y)
            y = add(BatchedMatmul(f"{at}context", b=heads, m=s, n=h // self.heads, k=s), y, v)
            y = add(Gemm(f"{at}out", m=s, n=h, k=width), y)
            x = add(Elementwise(f"{at}add1", shape=(s, h)), y, x)
            y = add(Normalization(f"{at}norm2", shape=(s, h), type="layer"), x)
            y = add(Gemm(f"{at}up", m=s, n=4 * width, k=h), y)
            y = add(Activation(f"{at}gelu", shape=(s, 4 * width), type="gelu"), y)
            y = add(Gemm(f"{at}down", m=s, n=h, k=4 * width), y)
            x = add(Elementwise(f"{at}add2", shape=(s, h)), y, x)
        x = add(Normalization("norm", shape=(s, h), type="layer"), x)
        add(Gemm("head", m=s, n=vocabulary, k=h, bias=False), x)
        return Workload(self.name, nodes, graph=True, source="Narayanan et al., SC 2021 (Megatron-LM)")


def gpt_of(text: str) -> Gpt | None:
    """The model of a text such as ``gpt:hidden=1024,layers=24,heads=16``; None of another text."""
    kind, _, rest = text.partition(":")
    if kind != "gpt":
        return None
    values: dict[str, int] = {}
    for part in filter(None, rest.split(",")):
        name, _, number = part.partition("=")
        if name not in _MOST or not (number.isascii() and number.isdigit()):
            raise InputError(
                f"gpt must have {', '.join(_MOST)} with a number, as gpt:hidden=1024,layers=24,heads=16, "
                f"not {excerpt(part)}"
            )
        values[name] = int(number[:20])
    missing = [name for name in ("hidden", "layers", "heads") if name not in values]
    if missing:
        raise InputError(f"gpt must have {', '.join(missing)}, as gpt:hidden=1024,layers=24,heads=16")
    return Gpt(**values)
