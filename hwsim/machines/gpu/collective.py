"""Time of collectives between GPUs over their links, by the algorithm that a library takes.

For n ranks, a message of m bytes on each, and links of W bytes a second one way out of each GPU:

    one_shot   every rank reads the whole message of each other:     (n - 1) m
    two_shot   every rank sums its share, then collects the others:  2 (n - 1) / n m
    ring       shares go round:                                      2 (n - 1) / n m
    in_switch  the switch sums; each share is read and written once: (1 + 1 / n) m
    t          = start + rank (n - 1) + bytes / (share W)

All gathers, reduce-scatters and all-to-alls move half of what an all-reduce by shares does; their message is the whole
tensor. A library takes the fastest of the algorithms that it has for the size of the message. Those `above` a size take
at least as long as a message of that size.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, model_validator

from hwsim.errors import InputError, excerpt, nearest
from hwsim.fields import Bandwidth, Energy, Name, OneOf, Size, Spec, Time
from hwsim.workload.layers.collective import COLLECTIVES

__all__ = ["Algorithm", "CollectiveSet", "LinkSpec", "check_collective", "collective_us", "message_sizes"]

Floats = NDArray[np.float64]


class LinkSpec(Spec):
    """Links between GPUs: bytes a second one way, how many of them are joined, and energy of a byte.

    `reduces` says that the switch sums.
    """

    bandwidth: Bandwidth
    ranks: Annotated[int, Field(ge=2, le=1024, strict=True)]
    reduces: bool = False
    energy: Energy
    source: str
    energy_source: str

    @model_validator(mode="after")
    def _per_second(self) -> LinkSpec:
        if self.bandwidth.per != "s":
            raise ValueError("bandwidth must be in bytes a second, as 450 GB/s")
        return self


class Algorithm(Spec):
    """One way to run a collective: when it starts, what each further rank takes, its share of the links.

    It is for messages of `above` to `upto` bytes.
    """

    name: Literal["one_shot", "two_shot", "ring", "in_switch"]
    start: Time
    rank: Time
    share: Annotated[float, Field(gt=0, le=1)]
    above: Size | None = None
    upto: Size | None = None

    def volume(self, op: str, ranks: Floats) -> Floats:
        """Bytes that a link carries for each byte of the message."""
        if op != "all_reduce":
            return (ranks - 1) / ranks
        if self.name == "one_shot":
            return ranks - 1
        return 1 + 1 / ranks if self.name == "in_switch" else 2 * (ranks - 1) / ranks


class CollectiveSet(Spec):
    """The algorithms of a library for some collectives and generations."""

    types: Annotated[list[Annotated[str, OneOf(COLLECTIVES)]], Field(min_length=1)]
    generations: Annotated[list[Name], Field(min_length=1)]
    algorithms: Annotated[list[Algorithm], Field(min_length=1)]
    source: str
    fitted: str | None = None


def collective_us(
    op: str, size: Floats, ranks: Floats, own: CollectiveSet, link: LinkSpec
) -> tuple[Floats, NDArray[np.int64]]:
    """Microseconds of collectives, and the algorithm of each by its place.

    Parameters
    ----------
    op : str
    size : array
        Bytes of the message of a rank.
    ranks : array
        At least 2.
    own : CollectiveSet
    link : LinkSpec

    Returns
    -------
    (times, algorithms)
    """
    rate = float(link.bandwidth.amount) / 1e6
    known = [a for a in own.algorithms if a.name != "in_switch" or link.reduces]

    def time(algorithm: Algorithm, of: Floats) -> Floats:
        wait = (float(algorithm.start) + float(algorithm.rank) * (ranks - 1)) * 1e6
        us: Floats = wait + algorithm.volume(op, ranks) * of / (algorithm.share * rate)
        return us

    rows = []
    for algorithm in known:
        us = time(algorithm, size)
        if algorithm.above is not None:
            # Where a library changes its algorithm the next one may be faster: a longer message takes no less.
            edge = np.full(size.shape, float(algorithm.above))
            before = [time(a, edge) for a in known if a.upto is not None]
            us = np.maximum(us, np.minimum.reduce(before)) if before else us
        legal = size <= float(algorithm.upto or np.inf)
        if algorithm.above is not None:
            legal &= size > float(algorithm.above)
        rows.append(np.where(legal, us, np.inf))
    table = np.stack(rows)
    best = table.argmin(0)
    places = np.array([own.algorithms.index(a) for a in known])
    return table.min(0), places[best]


def check_collective(op: str) -> None:
    """InputError for what is no collective."""
    if op not in COLLECTIVES:
        near = nearest(op, COLLECTIVES)
        raise InputError(f"a collective must be one of {', '.join(COLLECTIVES)}, not {excerpt(op)}{near}")


def message_sizes(bytes: ArrayLike, ranks: ArrayLike) -> tuple[Floats, Floats]:
    """Bytes of messages and how many ranks take part, of one shape; InputError for what is no such number."""
    try:
        size, count = np.broadcast_arrays(np.asarray(bytes, float), np.asarray(ranks, float))
    except (TypeError, ValueError):
        raise InputError("bytes and ranks must be numbers, or arrays of shapes that fit") from None
    if not (np.isfinite(size) & (size >= 0) & (count >= 1) & (count == np.floor(count))).all():
        raise InputError("bytes must be at least 0, and ranks whole numbers of at least 1")
    return size, count
