"""The sizes of a decoder transformer, and what follows from them: parameters and the key and value cache."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from hwsim.errors import excerpt
from hwsim.fields import Name, Spec
from hwsim.workload.layer import ACTIVATIONS

__all__ = ["LlmSpec"]

Size = Annotated[int, Field(ge=1, le=2**24, strict=True)]


class LlmSpec(Spec):
    """A decoder transformer: equal blocks of attention and a feed-forward network, between a table and a head.

    Attributes
    ----------
    hidden, layers, heads, kv_heads, head, ffn, vocabulary : int
        Values of a token between blocks; blocks; heads of queries, and of keys and values (default: as many); values of
        a head (default: hidden / heads); inner values of the feed-forward network; rows of the table.
    gated : bool
        Whether the feed-forward network multiplies two projections (SwiGLU), or has one.
    activation : str
    window : int
        Tokens that a query attends to, itself included; 0: all before it.
    window_every : int
        With a window: of so many blocks, the first has it (Gemma 2: 2); 1: all have.
    norm : str
        ``rms`` (a scale) or ``layer`` (a scale and an offset).
    norms : int
        Normalizations of a block: 2, 4 (one behind each half too), or 1 where both halves read the same one.
    qk_norm : bool
        Whether queries and keys are normalized head by head.
    tied : bool
        Whether the head shares its matrix with the table.
    qkv_bias, out_bias, ffn_bias, head_bias : bool
    positions : int
        Rows of a table of learned positions; 0: there is none.
    context : int
        Tokens that the model was made for; longer ones are a warning.
    parameters : int
        As published; a test holds what follows from the sizes equal to it.
    """

    kind: Literal["llm"]
    name: Name
    source: str
    hidden: Size
    layers: Annotated[int, Field(ge=1, le=1000, strict=True)]
    heads: Annotated[int, Field(ge=1, le=2**16, strict=True)]
    kv_heads: Annotated[int, Field(ge=1, le=2**16, strict=True)] = 0
    head: Annotated[int, Field(ge=1, le=2**14, strict=True)] = 0
    ffn: Size
    vocabulary: Size
    gated: bool = True
    activation: str = "silu"
    window: Annotated[int, Field(ge=0, le=2**24, strict=True)] = 0
    window_every: Annotated[int, Field(ge=1, le=64, strict=True)] = 1
    norm: Literal["rms", "layer"] = "rms"
    norms: Literal[1, 2, 4] = 2
    qk_norm: bool = False
    tied: bool = False
    qkv_bias: bool = False
    out_bias: bool = False
    ffn_bias: bool = False
    head_bias: bool = False
    positions: Annotated[int, Field(ge=0, le=2**24, strict=True)] = 0
    context: Annotated[int, Field(ge=0, le=2**31, strict=True)] = 0
    parameters: Annotated[int, Field(ge=0, strict=True)] = 0

    @model_validator(mode="after")
    def _consistent(self) -> LlmSpec:
        if not self.kv_heads:
            object.__setattr__(self, "kv_heads", self.heads)
        if self.heads % self.kv_heads:
            raise ValueError(f"kv_heads must divide heads, {self.heads}, not {self.kv_heads}")
        if not self.head:
            if self.hidden % self.heads:
                raise ValueError(f"head must be given: heads, {self.heads}, does not divide hidden, {self.hidden}")
            object.__setattr__(self, "head", self.hidden // self.heads)
        if self.activation not in ACTIVATIONS[1:]:
            raise ValueError(f"activation must be one of the known names, not {excerpt(self.activation)}")
        return self

    @property
    def kv_values(self) -> int:
        """Values of one token in the cache of one block."""
        return 2 * self.kv_heads * self.head

    def windowed(self, block: int) -> bool:
        """Whether the block attends to a window only."""
        return bool(self.window) and block % self.window_every == 0

    @property
    def block_parameters(self) -> int:
        """Parameters of one block."""
        q, h, f = self.heads * self.head, self.hidden, self.ffn
        qkv = h * (q + self.kv_values) + (q + self.kv_values) * self.qkv_bias
        out = q * h + h * self.out_bias
        up = (1 + self.gated) * (h * f + f * self.ffn_bias)
        down = f * h + h * self.ffn_bias
        scale = 1 if self.norm == "rms" else 2
        norms = self.norms * h * scale + 2 * self.head * self.qk_norm
        return qkv + out + up + down + norms

    @property
    def counted_parameters(self) -> int:
        """Parameters of the whole model."""
        table = self.vocabulary * self.hidden
        head = (0 if self.tied else table) + self.vocabulary * self.head_bias
        final = self.hidden * (1 if self.norm == "rms" else 2)
        return self.layers * self.block_parameters + table + self.positions * self.hidden + head + final
