"""Attention kernels of a library: their tiles, what they share, and what was fitted of them."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, model_validator

from hwsim.errors import excerpt, nearest
from hwsim.fields import Name, Positive, Spec, Time
from hwsim.workload.number_format import DTYPES

__all__ = ["AttentionKernel", "DecodeKernel", "PrefillKernel", "Sizes"]


def _sizes(spec: Any) -> Any:
    """``{64: 192, 128: 128}`` is 192 for heads of up to 64 values, else 128; a number is for heads of all sizes."""
    if isinstance(spec, int) and not isinstance(spec, bool):
        return {1: spec}
    return _by_number(spec)


def _by_number(spec: Any) -> Any:
    """A mapping with whole numbers for keys, which YAML gives as text."""
    if not isinstance(spec, dict):
        return spec
    return {int(key) if isinstance(key, str) and key.isdecimal() else key: value for key, value in spec.items()}


Cycles = Annotated[float, Field(ge=0, le=1e6)]
Factor = Annotated[float, Field(gt=0, le=100)]
Sizes = Annotated[
    dict[Positive, Positive],
    BeforeValidator(_sizes, json_schema_input_type=Positive | dict[str, Positive]),
    Field(min_length=1),
]


class AttentionKernel(Spec):
    """What kernels of both phases have.

    Attributes
    ----------
    generations : list of str
    types, cache : list of str
        Of the queries; of keys and values.
    kv : Sizes
        Positions of a block of keys and values, by the size of a head.
    above, upto : int
        Sizes of heads that it is for: more than the one, at most the other.
    launch : Time
        Of all its kernels, with what they begin with.
    unmeasured : dict
        Generations and formats that were not measured, and what their times rest on.
    """

    phase: str
    generations: Annotated[list[Name], Field(min_length=1)]
    types: Annotated[list[str], Field(min_length=1)]
    cache: Annotated[list[str], Field(min_length=1)]
    kv: Sizes
    above: Annotated[int, Field(ge=0)] = 0
    upto: Positive = 2**20
    launch: Time
    source: str
    fitted: str | None = None
    unmeasured: dict[Name, str] = {}

    @model_validator(mode="after")
    def _check_names(self) -> AttentionKernel:
        for key in ("types", "cache"):
            for name in getattr(self, key):
                if name not in DTYPES:
                    raise ValueError(f"{key} names {excerpt(name)}, which is no number format{nearest(name, DTYPES)}")
        return self

    @property
    def launch_us(self) -> float:
        """Microseconds of the launches."""
        return float(self.launch) * 1e6

    def fits(self) -> Iterator[tuple[str, str]]:
        """Names and values of its numbers other than tiles, as they are told."""
        for name, value in self:
            if isinstance(value, Fraction):
                yield name, f"{float(value) * 1e6:.4g} us"
            elif isinstance(value, float):
                yield name, f"{value:.4g}"
            elif name == "sized":
                yield from ((f"{name}.{size}", f"{float(more) * 1e6:.4g} us") for size, more in value.items())

    def blocks(self, dim: NDArray[np.float64]) -> NDArray[np.int64]:
        """Positions of a block of keys and values, by the size of a head."""
        return by_size(self.kv, dim)


def by_size(sizes: dict[int, int], dim: NDArray[np.float64]) -> NDArray[np.int64]:
    """The entry of the smallest head that holds this one; of the largest where none does."""
    keys = np.array(sorted(sizes))
    values = np.array([sizes[int(key)] for key in keys], np.int64)
    return values[np.minimum(np.searchsorted(keys, dim), len(keys) - 1)]


class PrefillKernel(AttentionKernel):
    """Attention of many queries: a threadblock takes rows of queries, and goes through blocks of keys and values.

    Attributes
    ----------
    q : Sizes
        Rows of a tile, by the size of a head.
    packed : bool
        Whether a tile holds the rows of all heads that share keys and values; else those of one head.
    prepare : str
        What runs before: ``cache`` writes keys and values to the cache, ``rope`` also rotates the queries.
    efficiency : float
        Share of the peak rate that its products reach.
    exponential : float
        Cycles of an exponential over the sixteenth of a cycle that a multiprocessor takes for one.
    port : float
        Bytes a cycle of keys and values that a multiprocessor gets from L2.
    tail : float
        The share of the longest tile that multiprocessors wait for at the end.
    memory : float
        Bytes at the bandwidth of the data sheet that take as long as one of its.
    cta, windowed : float
        Cycles that a tile begins and ends with; how much more that is with a window.
    token : float
        Cycles of a multiprocessor to write a position to the cache, by a threadblock of its own.
    threads : int
        The most threads of such a block, one a value: smaller ones take less.
    skips : bool
        Whether blocks before the window are left out; else their scores are masked.
    """

    phase: Literal["prefill"]
    q: Sizes
    packed: bool = False
    prepare: Literal["cache", "rope"] = "cache"
    efficiency: Annotated[float, Field(gt=0, le=1)]
    exponential: Annotated[float, Field(ge=0, le=10)]
    port: Annotated[float, Field(gt=0, le=1000)] = 1000.0
    tail: Annotated[float, Field(ge=0, le=10)]
    memory: Factor
    cta: Cycles
    windowed: Annotated[float, Field(ge=0, le=10)] = 0.0
    token: Cycles = 0.0
    threads: Positive = 1
    skips: bool = True

    def rows(self, dim: NDArray[np.float64]) -> NDArray[np.int64]:
        """Rows of a tile, by the size of a head."""
        return by_size(self.q, dim)


class DecodeKernel(AttentionKernel):
    """Attention of one query a sequence: a threadblock takes a head of keys and values, or a part of its context.

    Attributes
    ----------
    least, group : int
        The fewest and the most heads of queries that read keys and values together; 1: each head reads its own.
    rows : int
        Heads of queries in a tile.
    dram_share : float
        Share of the bandwidth of the data sheet.
    port : float
        Bytes a cycle of keys and values that a threadblock gets.
    conversion : float
        How much longer it takes to read values of 8 bits, which are converted on their way.
    row : float
        Cycles of a head of queries for 64 of its values and a block of positions.
    resident : float
        Threadblocks of a multiprocessor that are as fast as one.
    kept : float
        Share of L2 that keeps the cache from one run to the next.
    cta, shared : float
        Cycles that a multiprocessor takes for a threadblock besides; how much more for 1024 values of queries.
    width : float
        The part of `cta` that goes with the size of a head; it is that of heads of 128.
    sequence : float
        Cycles that a multiprocessor takes for a sequence besides.
    combine : Time
        Of the sum over the parts of a split context.
    narrow : Time
        More launches for a cache of 8 bits.
    sized : dict
        More launches for heads of some sizes.
    copies : Time
        Of both copies that bring queries and results into order, where there are several sequences and heads of keys.
    """

    phase: Literal["decode"]
    least: Positive = 1
    group: Positive = 1
    rows: Positive = 64
    dram_share: Annotated[float, Field(gt=0, le=1)]
    port: Annotated[float, Field(gt=0, le=1000)]
    conversion: Annotated[float, Field(ge=0, le=10)] = 0.0
    row: Cycles = 0.0
    resident: Annotated[float, Field(gt=0, le=32)]
    kept: Annotated[float, Field(gt=0, le=1)]
    cta: Cycles
    shared: Annotated[float, Field(ge=0, le=100)] = 0.0
    width: Annotated[float, Field(ge=0, le=1)] = 0.0
    sequence: Cycles = 0.0
    combine: Time
    narrow: Time | None = None
    sized: Annotated[dict[Positive, Time], BeforeValidator(_by_number)] = {}
    copies: Time | None = None
