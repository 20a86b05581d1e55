"""Checked shape of a convolution: window origins, window extents and output size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from hwsim.errors import excerpt
from hwsim.kernels.checks import name, pair, require

__all__ = ["LAYOUTS", "Geometry", "geometry"]

LAYOUTS = ("NCHW", "NHWC")
Ints = int | Sequence[int]


@dataclass(frozen=True, slots=True)
class Geometry:
    """n images, g groups of c input and k output channels, h x w inputs, p x q outputs, r x s filters."""

    n: int
    g: int
    c: int
    h: int
    w: int
    k: int
    p: int
    q: int
    r: int
    s: int
    stride: tuple[int, int]
    pad: tuple[int, int, int, int]
    dilation: tuple[int, int]
    nhwc: bool

    @property
    def numbers(self) -> tuple[int, ...]:
        """As the C loops take it."""
        top, left = self.pad[:2]
        sizes = (self.n, self.g, self.c, self.h, self.w, self.k, self.p, self.q, self.r, self.s)
        return (*sizes, *self.stride, top, left, *self.dilation)

    @property
    def output(self) -> tuple[int, int, int, int]:
        """Shape of the result."""
        channels = self.g * self.k
        return (self.n, self.p, self.q, channels) if self.nhwc else (self.n, channels, self.p, self.q)


def padding(argument: Ints) -> tuple[int, int, int, int]:
    """(top, left, bottom, right) of one number, (vertical, horizontal) or all four."""
    numbers: tuple[Any, ...] = tuple(argument) if isinstance(argument, Sequence) else (argument,) * 4
    if len(numbers) == 2:
        numbers = (*numbers, *numbers)
    good = len(numbers) == 4 and all(isinstance(x, (int, np.integer)) and 0 <= x < 2**31 for x in numbers)
    rule = "must be one, two (vertical, horizontal) or four (top, left, bottom, right) integers of 0 to 2**31 - 1"
    require(good, "pad", f"{rule}, got {excerpt(argument)}")
    top, left, bottom, right = (int(x) for x in numbers)
    return top, left, bottom, right


def plain(argument: Ints) -> Ints:
    """Something that can be a key."""
    return tuple(argument) if isinstance(argument, Sequence) else argument


def geometry(
    shape: tuple[int, ...],
    filters: tuple[int, int, int, int],
    *,
    stride: Ints,
    pad: Ints,
    dilation: Ints,
    groups: int,
    layout: str,
) -> Geometry:
    """Of x with that shape and filters (output channels, input channels of a group, rows, columns), if they fit."""
    arguments = (shape, filters, plain(stride), plain(pad), plain(dilation), groups, layout)
    try:
        hash(arguments)
    except TypeError:  # the checks say what it must be
        return _geometry.__wrapped__(*arguments)
    return _geometry(*arguments)


@lru_cache(maxsize=1024, typed=True)
def _geometry(
    shape: tuple[int, ...],
    filters: tuple[int, int, int, int],
    stride: Ints,
    pad: Ints,
    dilation: Ints,
    groups: int,
    layout: str,
) -> Geometry:
    name("layout", layout, LAYOUTS)
    n, c, h, w = shape if layout == "NCHW" else (shape[i] for i in (0, 3, 1, 2))
    k, depth, r, s = filters
    require(min(shape) > 0, "x", f"must have no empty dim, got shape {shape}")
    require(min(filters) > 0, "w", f"must have no empty dim, got {k} filters of {depth} x {r} x {s}")
    whole = isinstance(groups, (int, np.integer)) and groups >= 1
    require(whole, "groups", f"must be an integer of at least 1, got {excerpt(groups)}")
    fits = f"must divide the input channels ({c}) and the output channels ({k}), got {excerpt(groups)}"
    require(c % groups == 0 and k % groups == 0, "groups", fits)
    message = f"filters must have {c // groups} input channels ({c} of x in {groups} groups), got {depth}"
    require(depth * groups == c, "w", message)
    (sh, sw), (dh, dw) = pair("stride", stride, 1), pair("dilation", dilation, 1)
    top, left, bottom, right = pads = padding(pad)
    reach = ((r - 1) * dh + 1, (s - 1) * dw + 1)
    room = (h + top + bottom, w + left + right)
    message = f"the padded input ({room[0]} x {room[1]}) must hold the dilated filter ({reach[0]} x {reach[1]})"
    require(room[0] >= reach[0] and room[1] >= reach[1], "w", message)
    p, q = (room[0] - reach[0]) // sh + 1, (room[1] - reach[1]) // sw + 1
    fits_memory = n * k * p * q < 2**40 and room[0] * room[1] * c < 2**40
    require(fits_memory, "pad", f"must leave tensors that fit memory, got {pads}")
    return Geometry(n, groups, c // groups, h, w, k // groups, p, q, r, s, (sh, sw), pads, (dh, dw), layout == "NHWC")
