"""What the zeros of stored weights look like: how many values of each input channel are left, and in which pattern."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hwsim.workload.tensor import TensorSpec

__all__ = [
    "MAX_CHANNELS", "Axes", "Kept", "Pattern", "counted", "few_channels", "kept_of", "pattern_of", "stored_places",
]  # fmt: skip

#: Values that are not zero: groups x outputs of a group x inputs of a group x taps.
Kept: TypeAlias = NDArray[np.bool_]

#: The axes of stored weights, and their groups: outputs ``o``, inputs ``i`` of a group, taps ``t``.
Axes: TypeAlias = tuple[str, int]

MAX_CHANNELS = 4096
"""Layers with more input channels have a density, and no counts."""
_FULL = 0.95  # what is left of a block or a channel may have so few zeros of its own
_CHANCE = 1e-6  # zeros at random look like 2:4 at most as often
_LEAST = 0.9  # of the places of N:M groups have values, or the zeros are no such pattern
_GROUPS = ((1, 4), (2, 4), (4, 8))
#: Outputs x inputs, the largest first.
_BLOCKS = (
    (16, 16), (8, 8), (4, 4), (16, 1), (1, 16), (8, 1), (1, 8), (4, 1), (1, 4), (2, 2), (2, 1), (1, 2),
)  # fmt: skip
_PAIRS = ((1, 2), (2, 1))


def few_channels(shape: tuple[int, ...], axes: Axes) -> bool:
    """Whether weights are of whole groups, with few enough input channels to count the values of each."""
    letters, groups = axes
    outputs = math.prod(size for size, letter in zip(shape, letters) if letter == "o")
    if len(shape) != len(letters) or groups < 1 or outputs % groups:
        return False
    return groups * math.prod(size for size, letter in zip(shape, letters) if letter == "i") <= MAX_CHANNELS


def kept_of(mask: NDArray[np.bool_], axes: Axes) -> Kept:
    """A mask as groups x outputs x inputs x taps; the outputs of all groups are one axis in the file."""
    letters, groups = axes
    places = [[place for place, letter in enumerate(letters) if letter == axis] for axis in "oit"]
    turned = mask.transpose([place for axis in places for place in axis])
    sizes = [math.prod(mask.shape[place] for place in axis) for axis in places]
    return turned.reshape(groups, sizes[0] // groups, sizes[1], sizes[2])


def counted(spec: TensorSpec, kept: Kept, *, sparse: bool = False) -> TensorSpec:
    """A spec with the counts of each input channel and the pattern; as it is, where less than 5 % of it is zero.

    Some int8 weights of real networks are zero: those few are chance, and a density says enough of them. What a file
    stores as a `sparse` tensor is no chance, however few its zeros are.

    The order of `kept` is that of the layer: the inputs of the first group come first.
    """
    total = int(np.count_nonzero(kept))
    if total >= (1.0 if sparse else _FULL) * kept.size:
        return spec
    nonzeros = np.count_nonzero(kept, axis=(1, 3)).ravel()
    pattern = spec.pattern if spec.pattern not in ("dense", "random") else pattern_of(kept).name
    pattern = "2:4" if pattern == "1:4" else pattern  # as tensor cores run it
    return TensorSpec(
        spec.dtype, total / kept.size, pattern, spec.format, spec.signed, spec.array, tuple(nonzeros.tolist())
    )


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern, as a `TensorSpec` calls it, and of blocks their outputs by inputs."""

    name: str
    block: tuple[int, int] = (1, 1)


def pattern_of(kept: Kept) -> Pattern:
    """Whole channels, blocks of outputs x inputs, or N of every M inputs; else ``random``.

    Zeros are a pattern only where chance would not make it: 5 % of what a pattern leaves may be zero too. Two of four
    may be less: sparse tensor cores run it all the same.
    """
    density = np.count_nonzero(kept) / max(kept.size, 1)
    if not 0 < density < _FULL:
        return Pattern("random")

    def fits(pattern: Pattern) -> bool:
        return bool(density >= _FULL * np.count_nonzero(stored_places(kept, pattern)) / kept.size)

    if fits(channel := Pattern("channel")):
        return channel
    if any(fits(Pattern("block", pair)) for pair in _PAIRS):  # larger blocks consist of these
        sizes = [block for block in _BLOCKS if _has_two(kept, block)]
        return next((pattern for size in sizes if fits(pattern := Pattern("block", size))), Pattern("random"))
    for keep, of in _GROUPS:
        inputs = kept.shape[2]
        if inputs % of or density > keep / of or (density < _LEAST * keep / of and (keep, of) != (2, 4)):
            continue
        counts = kept.reshape(*kept.shape[:2], inputs // of, of, -1).sum(axis=3)
        chance = sum(math.comb(of, n) * density**n * (1 - density) ** (of - n) for n in range(keep + 1))
        if (counts <= keep).all() and counts.size * math.log(chance) < math.log(_CHANCE):
            return Pattern(f"{keep}:{of}")
    return Pattern("random")


def stored_places(kept: Kept, pattern: Pattern) -> Kept:
    """What storage by a pattern holds: all values of a channel or of a block in which any is kept; else those kept."""
    if pattern.name == "channel":
        alive = kept.any(axis=(1, 3), keepdims=True) & kept.any(axis=(2, 3), keepdims=True)
        return np.broadcast_to(alive, kept.shape)
    if pattern.block == (1, 1):
        return kept
    groups, outputs, inputs, taps = kept.shape
    rows = kept.transpose(0, 1, 3, 2).reshape(groups * outputs, taps * inputs)
    places = rows
    for axis, size in enumerate(pattern.block):
        if size > 1:
            places = np.logical_or.reduceat(places, np.arange(0, rows.shape[axis], size), axis=axis)
            places = places.repeat(size, axis).take(range(rows.shape[axis]), axis)
    return places.reshape(groups, outputs, taps, inputs).transpose(0, 1, 3, 2)


def _has_two(kept: Kept, block: tuple[int, int]) -> bool:
    """Whether the outputs and the inputs are two blocks at least."""
    groups, outputs, inputs, _ = kept.shape
    high, wide = block
    return (high == 1 or groups * outputs >= 2 * high) and (wide == 1 or inputs >= 2 * wide)
