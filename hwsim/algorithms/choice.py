"""The algorithms of a convolution by name, and for which layers each is there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from hwsim.algorithms.fft import Fft
from hwsim.algorithms.winograd import Winograd
from hwsim.message import Message
from hwsim.workload import Layer
from hwsim.workload.network import Matcher
from hwsim.workload.product import Geometry, geometry_of

__all__ = [
    "ALGORITHMS",
    "TRANSFORMED",
    "WINOGRAD",
    "Algorithm",
    "FftName",
    "Requested",
    "Requests",
    "WinogradName",
    "algorithm_of",
    "asked_for",
    "shape_of",
]

WinogradName = Literal["winograd-2x2", "winograd-4x4", "winograd-6x6", "winograd-2", "winograd-4"]
FftName = Literal["fft-8x8", "fft-16x16", "fft-32x32"]
Algorithm = Literal["direct"] | WinogradName | FftName
WINOGRAD: tuple[WinogradName, ...] = get_args(WinogradName)
TRANSFORMED: tuple[WinogradName | FftName, ...] = (*WINOGRAD, *get_args(FftName))
ALGORITHMS: tuple[Algorithm, ...] = ("direct", *TRANSFORMED)
Requested = Literal["auto"] | Algorithm
"""What a file asks for: `auto`, the best that the machine has, or one of them where it can be."""

MAX_TILE = 8
"""Points of a tile along an axis: with more, errors of floats grow beyond those of half precision."""


def shape_of(layer: Layer) -> Geometry | None:
    """The convolution that a layer asks for, if it is one."""
    return geometry_of(layer.lower(1))


def algorithm_of(name: Algorithm, shape: Geometry) -> Winograd | Fft | Message:
    """An algorithm for a convolution, or why it has none; the direct one has no form of its own."""
    if name == "direct":
        return Message("algorithm.direct", "the convolution as it is")
    if shape.depthwise or shape.channels == shape.filters == 1:
        return Message("algorithm.depthwise", "depthwise: no sum over channels bears the cost of the transforms")
    if shape.stride != (1, 1):
        return Message("algorithm.stride", "a stride of {down} x {across}: outputs of a tile are not neighbors",
                       {"down": shape.stride[0], "across": shape.stride[1]})  # fmt: skip
    if shape.dilation != (1, 1):
        return Message("algorithm.dilation", "dilated: inputs of a tile are not neighbors")
    filters = {"r": shape.r, "s": shape.s}
    if shape.taps == 1:
        return Message("algorithm.one_tap", "filters of 1 x 1: there is nothing to save")
    kind, _, size = name.partition("-")
    m = int(size.partition("x")[0])
    if kind == "fft":
        if max(shape.r, shape.s) > m // 2:
            return Message("algorithm.large_filter", "filters of {r} x {s}: more than half of a tile", filters)
        return Fft(m, shape.r, shape.s)
    line = min(shape.r, shape.s) == 1
    if line != ("x" not in size):
        template = "filters of {r} x {s}: a tile of one row or column" if line else "filters of {r} x {s}: square tiles"
        return Message("algorithm.axes", template, filters)
    if m + max(shape.r, shape.s) - 1 > MAX_TILE:
        template = "filters of {r} x {s}: tiles of more than {most} points a side lose too much precision"
        return Message("algorithm.points", template, filters | {"most": MAX_TILE})
    return Winograd.of(m, shape.r, shape.s)


class Requests:
    """What a file asks for a layer by its name: its own entry, that of the first pattern that matches, or `auto`."""

    def __init__(self, of: Requested | Mapping[str, Requested]) -> None:
        self.entries: Mapping[str, Requested] = of if isinstance(of, Mapping) else {"*": of}
        self.match = Matcher(self.entries)

    def __call__(self, name: str) -> Requested:
        key = self.match(name)
        return "auto" if key is None else self.entries[key]


def asked_for(of: Requested | Mapping[str, Requested]) -> set[Requested]:
    """All that a file asks for."""
    return set(of.values()) if isinstance(of, Mapping) else {of}
